//! Which kinds are served, built-in ones and custom resources alike, and how a request names them.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

use crate::{
    Crd, Resource, Status,
    builtin::{self, BuiltIn},
    cluster::text,
    registry::{Validation, WriteOptions},
    schema::{self, FieldError, Rules},
};

/// What bumps `metadata.generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// There is none.
    None,
    /// A change of the spec.
    Spec,
    /// A change of the spec or of the annotations (Deployments).
    SpecOrAnnotations,
    /// A change of anything but metadata (and status, where that is a subresource): custom resources.
    Content,
    /// A change of anything but metadata, or of the labels (EndpointSlices).
    ContentOrLabels,
}

/// Where a kind's `scale` subresource finds its numbers: JSON pointers.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub replicas: String,
    pub status_replicas: String,
    /// Of a text for custom resources, of a label selector for built-in kinds.
    pub selector: Option<String>,
}

/// A kind that is served.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub resource: Resource,
    pub kind: String,
    pub list_kind: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// Served versions, the preferred one first.
    pub versions: Vec<String>,
    pub storage: String,
    pub namespaced: bool,
    pub status: bool,
    pub scale: Option<Scale>,
    pub generation: Generation,
    /// A PUT without a resourceVersion is accepted.
    pub unconditional_update: bool,
    /// A PUT of what does not exist creates it.
    pub create_on_update: bool,
    /// A DELETE is answered with the object.
    pub returns_deleted: bool,
    /// Of custom resources.
    pub crd: Option<Arc<Crd>>,
    /// By version.
    pub rules: Vec<(String, Arc<dyn Rules>)>,
}

impl Kind {
    /// `group/version`, or `version` in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.resource.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.resource.group)
        }
    }

    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.crd.is_some()
    }

    /// The object in another version than the stored one.
    pub(crate) fn convert(&self, object: &Value, version: &str) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = Value::String(self.api_version(version));
        object
    }

    /// The rules of a version, or of the stored one.
    pub(crate) fn rules(&self, version: &str) -> Option<&dyn Rules> {
        let of = |version: &str| self.rules.iter().find(|(v, _)| v == version).map(|(_, rules)| &**rules);
        of(version).or_else(|| of(&self.storage))
    }

    /// The kind of a custom resource, as its definition has it.
    pub(crate) fn custom(crd: &Arc<Crd>) -> Self {
        let storage = crd.storage();
        let mut versions: Vec<String> = crd
            .versions
            .iter()
            .filter(|v| v.served)
            .map(|v| v.name.clone())
            .collect();
        versions.sort_by(|a, b| version_priority(b).cmp(&version_priority(a)).then_with(|| a.cmp(b)));
        Self {
            resource: Resource::new(&crd.group, &crd.plural),
            kind: crd.kind.clone(),
            list_kind: crd.list_kind.clone(),
            singular: crd.singular.clone(),
            short_names: crd.short_names.clone(),
            categories: crd.categories.clone(),
            versions,
            storage: storage.name.clone(),
            namespaced: crd.namespaced,
            status: storage.status,
            scale: storage.scale.as_ref().map(|scale| Scale {
                replicas: pointer(&scale.spec_replicas),
                status_replicas: pointer(&scale.status_replicas),
                selector: scale.label_selector.as_deref().map(pointer),
            }),
            generation: Generation::Content,
            unconditional_update: false,
            create_on_update: false,
            returns_deleted: false,
            rules: crd
                .versions
                .iter()
                .map(|v| (v.name.clone(), Arc::clone(v) as Arc<dyn Rules>))
                .collect(),
            crd: Some(Arc::clone(crd)),
        }
    }

    /// Whether an object says the kind and version that the path says.
    pub(crate) fn check_type(&self, object: &Value, version: &str) -> Result<(), Status> {
        let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
        if self.is_custom() && kind.is_empty() {
            let body = object.to_string();
            let mut summary: String = body.chars().take(30).collect();
            if summary.len() < body.len() {
                summary += " ...";
            }
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{body}' ({summary})",
                self.kind
            )));
        }
        let expected = self.api_version(version);
        if !self.is_custom() {
            return self.check_built_in(kind, api_version, &expected).map_err(|why| {
                if why.starts_with("the API version") {
                    return Status::bad_request(why);
                }
                let given = api_version.rsplit('/').next().unwrap_or_default();
                Status::bad_request(format!(
                    "{kind} in version {given:?} cannot be handled as a {}: {why}",
                    self.kind
                ))
            });
        }
        if api_version != expected && !(kind == self.kind && self.serves(api_version)) {
            return Err(Status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        if kind == self.kind {
            return Ok(());
        }
        let error = FieldError::invalid("kind", kind, format!("must be {}", self.kind));
        let name = text(object, "/metadata/name");
        Err(schema::invalid(self.resource.group, kind, name, &[error]))
    }

    /// What the decoder of built-in kinds says of an object of another type than the path's.
    pub(crate) fn check_built_in(&self, kind: &str, api_version: &str, expected: &str) -> Result<(), String> {
        let kind = if kind.is_empty() { self.kind.as_str() } else { kind };
        let api_version = if api_version.is_empty() { expected } else { api_version };
        if kind == self.kind && api_version == expected {
            return Ok(());
        }
        let known = builtin::kinds().any(|k| {
            let of = if k.group.is_empty() {
                k.version.to_owned()
            } else {
                format!("{}/{}", k.group, k.version)
            };
            k.kind == kind && of == api_version
        });
        if !known {
            return Err(format!(
                "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
            ));
        }
        if kind == self.kind {
            return Err(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            ));
        }
        let group = if self.resource.group.is_empty() {
            "core"
        } else {
            self.resource.group.split('.').next().unwrap_or_default()
        };
        Err(format!(
            "converting (v1.{kind}) to ({group}.{}): unknown conversion",
            self.kind
        ))
    }

    fn serves(&self, api_version: &str) -> bool {
        self.is_custom() && self.versions.iter().any(|v| self.api_version(v) == api_version)
    }

    /// Brings an object into the stored form; the paths of unknown fields.
    pub(crate) fn decode(&self, object: &mut Value, version: &str) -> Result<Vec<String>, Status> {
        if !object.is_object() {
            return Err(Status::bad_request(format!(
                "{} in version {version:?} cannot be handled as a {}: the body is not an object",
                self.kind, self.kind
            )));
        }
        self.rules(version)
            .map_or_else(|| Ok(Vec::new()), |rules| rules.decode(object))
    }

    /// What the request wants to be done with unknown fields, and with those that are there twice.
    pub(crate) fn treat_unknown(
        &self,
        options: &WriteOptions,
        version: &str,
        unknown: &[String],
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let complaints = strict_complaints(options, unknown);
        match options.validation {
            Validation::Strict if !complaints.is_empty() => {
                let why = format!("strict decoding error: {}", complaints.join(", "));
                Err(schema::errors::cannot_be_handled(&self.kind, version, &why))
            }
            Validation::Warn => {
                warnings.extend(complaints);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts the defaults in.
    pub(crate) fn default(&self, object: &mut Value) {
        if let Some(rules) = self.rules(&self.storage) {
            rules.default(object);
        }
    }

    /// What the server adds on the way in.
    pub(crate) fn prepare(&self, object: &mut Value, old: Option<&Value>, subresource: &str, addresses: &mut u32) {
        if let Some(rules) = self.rules(&self.storage) {
            rules.prepare(object, old, subresource, addresses);
        }
    }

    /// Complaints about a new object.
    pub(crate) fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        self.rules(&self.storage)
            .map(|rules| rules.validate(object))
            .unwrap_or_default()
    }

    /// Whether the metadata of a change is looked at by the kind's own rules too.
    pub(crate) fn looks_at_metadata(&self) -> bool {
        !matches!(
            self.resource.plural,
            "events" | "endpointslices" | "poddisruptionbudgets"
        ) || self.is_custom()
    }

    /// Complaints about the metadata of a change that do not depend on the kind.
    pub(crate) fn validate_metadata_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        if self.is("", "events") {
            return Vec::new();
        }
        schema::names::metadata_before_update(object, old, self.namespaced)
    }

    /// Complaints about a change.
    pub(crate) fn validate_update(&self, object: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        self.rules(&self.storage)
            .map(|rules| rules.validate_update(object, old, subresource))
            .unwrap_or_default()
    }

    /// What is not wrong but looks like a mistake.
    pub(crate) fn warnings(&self, object: &Value) -> Option<String> {
        let spec = &object["spec"];
        let ignored = self.is("", "services") && spec.get("externalName").is_some() && spec["type"] != "ExternalName";
        ignored.then(|| "spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned())
    }

    /// 422 if there are complaints.
    pub(crate) fn invalid(&self, name: &str, errors: Vec<FieldError>) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(schema::invalid(self.resource.group, &self.kind, name, &errors))
    }

    /// What the server makes of a new object before it is checked: its status is not the client's to set.
    pub(crate) fn prepare_create(&self, object: &mut Value) {
        if self.status
            && !self.is("", "nodes")
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
    }

    /// What the server makes of a change of the whole object: the status stays.
    pub(crate) fn prepare_update(&self, new: &mut Value, old: &Value) {
        let Some(map) = new.as_object_mut() else { return };
        if self.status {
            keep(map, old, "status");
        }
        if self.is("", "namespaces") {
            keep(map, old, "spec");
            new["metadata"]["labels"]["kubernetes.io/metadata.name"] = new["metadata"]["name"].clone();
        }
    }

    /// What the server makes of a change of the status: everything else stays.
    pub(crate) fn prepare_status(&self, new: &mut Value, old: &Value) {
        let Some(map) = new.as_object_mut() else { return };
        let others: Vec<String> = map
            .keys()
            .chain(old.as_object().into_iter().flat_map(|o| o.keys()))
            .filter(|field| !matches!(field.as_str(), "metadata" | "status"))
            .cloned()
            .collect();
        for field in others {
            keep(map, old, &field);
        }
        if self.is("", "pods")
            && let Some(class) = old["status"].get("qosClass")
            && let Some(status) = map.get_mut("status").and_then(Value::as_object_mut)
        {
            status.insert("qosClass".into(), class.clone());
        }
        let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        if self.is_custom() {
            let mut fields: Vec<String> = metadata.keys().cloned().collect();
            fields.extend(old["metadata"].as_object().into_iter().flat_map(|o| o.keys().cloned()));
            for field in fields.iter().filter(|field| *field != "managedFields") {
                keep(metadata, &old["metadata"], field);
            }
            return;
        }
        // Each built-in kind has its own idea of what of the metadata may come along with a status.
        let kept: &[&str] = match self.resource.plural {
            "deployments" => &["labels"],
            "pods" => &["ownerReferences"],
            _ => &[],
        };
        for field in kept {
            keep(metadata, &old["metadata"], field);
        }
    }

    /// Whether a terminating object without finalizers may go: a namespace waits for its content.
    pub(crate) fn may_end(&self, object: &Value) -> bool {
        !self.is("", "namespaces") || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
    }
}

/// What strict decoding finds fault with.
pub(crate) fn strict_complaints(options: &WriteOptions, unknown: &[String]) -> Vec<String> {
    let twice = options
        .duplicates
        .iter()
        .map(|field| format!("duplicate field {field:?}"));
    let unknown = unknown.iter().map(|field| format!("unknown field {field:?}"));
    twice.chain(unknown).collect()
}

/// Takes a field over from the old object.
fn keep(map: &mut serde_json::Map<String, Value>, old: &Value, field: &str) {
    match old.get(field) {
        // A look is cheaper than a copy, and mostly nothing has changed.
        same if same == map.get(field) => {}
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    }
}

/// `.spec.replicas` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.trim_start_matches('$').replace('.', "/")
}

/// Orders versions as discovery does: v2 before v1 before v1beta2 before v1alpha1 before anything else.
pub(crate) fn version_priority(version: &str) -> (u8, u64, u64) {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let major = digits(rest);
    let (stage, minor) = match &rest[major.len()..] {
        "" => (3, String::new()),
        beta if beta.starts_with("beta") => (2, digits(&beta[4..])),
        alpha if alpha.starts_with("alpha") => (1, digits(&alpha[5..])),
        _ => return (0, 0, 0),
    };
    match major.parse() {
        Ok(major) => (stage, major, minor.parse().unwrap_or(0)),
        Err(_) => (0, 0, 0),
    }
}

/// All kinds that are served.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    by_resource: BTreeMap<Resource, Arc<Kind>>,
}

impl Kinds {
    pub(crate) fn add(&mut self, kind: Kind) {
        self.by_resource.insert(kind.resource, Arc::new(kind));
    }

    pub(crate) fn remove(&mut self, resource: Resource) {
        self.by_resource.remove(&resource);
    }

    pub(crate) fn get(&self, resource: Resource) -> Option<Arc<Kind>> {
        self.by_resource.get(&resource).cloned()
    }

    /// By group, version and plural, as paths name it.
    pub(crate) fn served(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.by_resource
            .values()
            .find(|kind| kind.is(group, plural) && kind.versions.iter().any(|v| v == version))
            .cloned()
    }

    /// By `plural` or `plural.group`; of several the one of the core group, else the first group by name.
    pub(crate) fn find(&self, resource: &str) -> Result<Arc<Kind>, Status> {
        let (plural, group) = resource.split_once('.').map_or((resource, None), |(p, g)| (p, Some(g)));
        self.by_resource
            .values()
            .find(|kind| kind.resource.plural == plural && group.is_none_or(|g| g == kind.resource.group))
            .cloned()
            .ok_or_else(Status::no_such_path)
    }

    /// All, ordered by group and plural.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_resource.values()
    }
}

impl Kinds {
    /// Serves the built-in kinds.
    pub(crate) fn add_builtin(&mut self) {
        static BUILTIN: LazyLock<Vec<Arc<Kind>>> =
            LazyLock::new(|| builtin::kinds().map(|kind| Arc::new(Kind::built_in(kind))).collect());
        for kind in BUILTIN.iter() {
            self.by_resource.insert(kind.resource, Arc::clone(kind));
        }
    }
}

impl Kind {
    fn built_in(kind: &'static Arc<BuiltIn>) -> Self {
        let has = |sub: &str| kind.subresources.contains(&sub);
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let mut served = Self {
            resource: Resource::new(kind.group, kind.plural),
            kind: kind.kind.to_owned(),
            list_kind: format!("{}List", kind.kind),
            singular: kind.singular.clone(),
            short_names: owned(kind.short_names),
            categories: owned(kind.categories),
            versions: vec![kind.version.to_owned()],
            storage: kind.version.to_owned(),
            namespaced: kind.namespaced,
            status: has("status"),
            scale: has("scale").then(|| Scale {
                replicas: "/spec/replicas".into(),
                status_replicas: "/status/replicas".into(),
                selector: Some("/spec/selector".into()),
            }),
            generation: Generation::None,
            unconditional_update: true,
            create_on_update: false,
            returns_deleted: false,
            crd: None,
            rules: vec![(kind.version.to_owned(), Arc::clone(kind) as Arc<dyn Rules>)],
        };
        served.habits();
        served
    }

    /// What built-in kinds do each in their own way.
    fn habits(&mut self) {
        let plural = self.resource.plural;
        self.generation = match plural {
            "deployments" => Generation::SpecOrAnnotations,
            "replicasets"
            | "statefulsets"
            | "daemonsets"
            | "jobs"
            | "cronjobs"
            | "poddisruptionbudgets"
            | "pods"
            | "customresourcedefinitions" => Generation::Spec,
            "endpointslices" => Generation::ContentOrLabels,
            _ => Generation::None,
        };
        self.unconditional_update = !matches!(plural, "leases" | "poddisruptionbudgets" | "customresourcedefinitions");
        self.create_on_update = matches!(
            plural,
            "leases"
                | "events"
                | "services"
                | "endpoints"
                | "roles"
                | "rolebindings"
                | "clusterroles"
                | "clusterrolebindings"
        );
        self.returns_deleted = matches!(plural, "namespaces" | "pods" | "services" | "serviceaccounts");
    }
}
