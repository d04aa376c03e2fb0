//! What a request means: from its method and path to the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

use super::{
    Body,
    body::{self, Decoded, Format},
    discovery,
    options::{self, ListOptions},
    path::{Path, Query},
    read,
    respond::{Answer, Form, Show},
    watch::Watch,
};
use crate::{
    Cluster, Patch, Status,
    cluster::{State, text},
    kinds::Kind,
    registry::{self, Deleted, Write, WriteOptions, Written},
};

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asks {
    pub method: Method,
    /// Path and query.
    pub uri: String,
    pub path: Path,
    /// The path names a resource.
    is_resource: bool,
    whole_path: String,
    query: Query,
    headers: HeaderMap,
    format: Format,
    pub body: Value,
    raw: Bytes,
    undecodable: Option<String>,
    duplicates: Vec<String>,
}

/// An answer, or a watch that answers for long.
pub(super) enum Outcome {
    Answer(Answer),
    /// With its warnings.
    Watch(Box<Watch>, Vec<String>),
    /// A log that somebody else writes.
    Log(Body),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// The warning to who deletes a Job and does not say what shall become of its Pods.
const PODS_ARE_PRESERVED: &str = "child pods are preserved by default when jobs are deleted; set \
     propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
const NO_PAGE: &str = "404 page not found\n";

impl Asks {
    pub(super) fn new(parts: http::request::Parts, raw: Bytes) -> Self {
        let path = Path::parse(parts.uri.path());
        let format = Format::of(header_text(&parts.headers, header::CONTENT_TYPE));
        let (decoded, undecodable) = match format.decode(&raw) {
            Ok(decoded) => (decoded, None),
            Err(why) => (Decoded::default(), Some(why)),
        };
        Self {
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            whole_path: parts.uri.path().to_owned(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            is_resource: path.is_some(),
            path: path.unwrap_or_default(),
            method: parts.method,
            headers: parts.headers,
            format,
            body: decoded.value,
            raw,
            undecodable,
            duplicates: decoded.duplicates,
        }
    }

    /// What the request does, in the words of access control.
    pub(super) fn verb(&self) -> &'static str {
        match (self.method.as_str(), self.path.name.is_empty()) {
            ("GET" | "HEAD", _) if !self.is_resource => "get",
            ("GET" | "HEAD", true) if self.query.is_true("watch") => "watch",
            ("GET" | "HEAD", true) => "list",
            ("GET" | "HEAD", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "",
        }
    }

    fn accept(&self) -> &str {
        header_text(&self.headers, header::ACCEPT)
    }

    /// Carries the request out.
    pub(super) fn handle(&self, cluster: &Cluster, user: &str, stale: u64) -> Outcome {
        let mut state = cluster.state();
        if !self.is_resource || self.path.resource.is_empty() {
            let form = Form::negotiate(self.accept(), "", true, false);
            return discovery::answer(&state.kinds, &self.whole_path, form)
                .unwrap_or_else(|| Answer::plain(404, NO_PAGE))
                .into();
        }
        if let Some(answer) = self.review() {
            return answer.into();
        }
        let path = &self.path;
        let Some(kind) = state.kinds.served(&path.group, &path.version, &path.resource) else {
            return self.not_served(&state).into();
        };
        let across = matches!(self.verb(), "list" | "watch");
        if kind.is_custom() && (kind.namespaced == path.namespace.is_empty()) && !(across && kind.namespaced) {
            return Answer::plain(404, NO_PAGE).into();
        }
        if !kind.is_custom() && !kind.namespaced && !path.namespace.is_empty() || path.rest {
            return Answer::refusal(&Status::no_such_path()).into();
        }
        if !kind.is_custom() && kind.namespaced && path.namespace.is_empty() && !across {
            let status = if path.name.is_empty() {
                self.not_allowed(&kind)
            } else {
                Status::no_such_path()
            };
            return Answer::refusal(&status).into();
        }
        state.warned.clear();
        let result = self.of_kind(cluster, &mut state, user, &kind, stale);
        let mut outcome = result.unwrap_or_else(|status| {
            let mut body = status.json();
            let resume = self.query.get("continue");
            if status.code == 410
                && let Some(token) = read::inconsistent(resume)
            {
                body["metadata"]["continue"] = json!(token);
            }
            let mut answer = Answer::json(status.code, &body);
            answer.warnings = std::mem::take(&mut state.warned);
            answer.into()
        });
        if kind.is("", "endpoints") {
            let warnings = match &mut outcome {
                Outcome::Answer(answer) => &mut answer.warnings,
                Outcome::Watch(_, warnings) => warnings,
                Outcome::Log(_) => return outcome,
            };
            let warning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
            warnings.insert(0, warning.to_owned());
        }
        outcome
    }

    /// The path's resource is not served: said by the server of built-in groups, or by nobody.
    fn not_served(&self, state: &State) -> Answer {
        let is_ours = state
            .kinds
            .all()
            .any(|k| !k.is_custom() && k.resource.group == self.path.group);
        if is_ours {
            Answer::refusal(&Status::no_such_path())
        } else {
            Answer::plain(404, NO_PAGE)
        }
    }

    /// Reviews of access: everybody may do everything here.
    fn review(&self) -> Option<Answer> {
        if self.path.group != "authorization.k8s.io" || self.method != Method::POST {
            return None;
        }
        let kind = match self.path.resource.as_str() {
            "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
            "subjectaccessreviews" => "SubjectAccessReview",
            "localsubjectaccessreviews" => "LocalSubjectAccessReview",
            _ => return None,
        };
        let mut review = self.body.clone();
        if !review.is_object() {
            // In a format that is not read here, such as protobuf: whatever is asked, the answer is the same.
            let version = format!("{}/{}", self.path.group, self.path.version);
            review = json!({"kind": kind, "apiVersion": version, "spec": {}});
        }
        review["status"] = json!({"allowed": true, "reason": "everything is allowed here"});
        Some(Answer::json(201, &review))
    }

    fn of_kind(
        &self,
        cluster: &Cluster,
        state: &mut State,
        user: &str,
        kind: &Arc<Kind>,
        stale: u64,
    ) -> Result<Outcome, Status> {
        let at = At {
            asks: self,
            cluster,
            user,
            kind,
            agent: header_text(&self.headers, header::USER_AGENT),
        };
        if !self.path.subresource.is_empty() {
            let is_log = kind.is("", "pods") && self.path.subresource == "log" && self.method == Method::GET;
            return if is_log {
                at.log(state)
            } else {
                at.subresource(state).map(Into::into)
            };
        }
        match (self.method.as_str(), !self.path.name.is_empty()) {
            ("GET" | "HEAD", true) => at.get(state, stale).map(Into::into),
            ("GET" | "HEAD", false) => at.list_or_watch(state, stale),
            // A custom resource is created wherever its POST goes.
            ("POST", is_named) if !is_named || kind.is_custom() => at.create(state).map(Into::into),
            ("PUT", true) => at.update(state, "").map(Into::into),
            ("PATCH", true) => at.patch(state, "").map(Into::into),
            ("DELETE", true) => at.delete(state).map(Into::into),
            ("DELETE", false) => at.delete_collection(state).map(Into::into),
            _ => Err(self.not_allowed(kind)),
        }
    }

    /// 405.
    fn not_allowed(&self, kind: &Kind) -> Status {
        let is_patch = !matches!(self.format, Format::Json | Format::Yaml | Format::Unknown);
        if kind.is_custom() && self.path.name.is_empty() && self.method == Method::PATCH && !is_patch {
            return registry::unsupported(kind);
        }
        if kind.is_custom() && self.path.name.is_empty() && matches!(self.method.as_str(), "PUT" | "PATCH") {
            return Status::bad_request("name must be provided");
        }
        if kind.is_custom() {
            let resource = kind.resource;
            let message = format!("{} is not supported on resources of kind \"{resource}\"", self.verb());
            return Status::new(405, "MethodNotAllowed", message)
                .with_details(json!({"group": resource.group, "kind": resource.plural}));
        }
        Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    /// The body as an object of this kind.
    fn object(&self, kind: &str) -> Result<Value, Status> {
        if !matches!(self.format, Format::Json | Format::Yaml) {
            return Err(body::unsupported());
        }
        match &self.undecodable {
            Some(why) => Err(body::undecodable(kind, why, &self.raw)),
            None => match body::not_an_object(&self.body) {
                Some(why) => Err(body::undecodable(kind, &why, &self.raw)),
                None => Ok(self.body.clone()),
            },
        }
    }
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// A request whose kind is known.
struct At<'a> {
    asks: &'a Asks,
    cluster: &'a Cluster,
    user: &'a str,
    kind: &'a Arc<Kind>,
    agent: &'a str,
}

impl At<'_> {
    fn show(&self) -> Result<Show, Status> {
        let asks = self.asks;
        let is_list = asks.path.name.is_empty() && asks.method == Method::GET;
        let include = asks.query.get("includeObject");
        let form = Form::negotiate(asks.accept(), include, !self.kind.is_custom(), is_list)?;
        Ok(Show {
            kind: Arc::clone(self.kind),
            version: asks.path.version.clone(),
            form,
            now: self.cluster.now(),
        })
    }

    fn write<'w>(&'w self, subresource: &'w str, options: &'w WriteOptions) -> Write<'w> {
        let path = &self.asks.path;
        Write {
            user: self.user,
            kind: Arc::clone(self.kind),
            version: &path.version,
            namespace: &path.namespace,
            name: &path.name,
            subresource,
            now: self.cluster.now(),
            options,
        }
    }

    fn options(&self, what: &str, apply: bool) -> Result<WriteOptions, Status> {
        let mut options = options::write_options(&self.asks.query, self.agent, what, apply)?;
        options.duplicates.clone_from(&self.asks.duplicates);
        Ok(options)
    }

    fn get(&self, state: &mut State, stale: u64) -> Result<Answer, Status> {
        let (path, show) = (&self.asks.path, self.show()?);
        let version = self.asks.query.get("resourceVersion");
        let found = read::get(state, self.kind, &path.namespace, &path.name, version, stale)?;
        Ok(Answer::text(200, show.object(&found)))
    }

    fn list_or_watch(&self, state: &mut State, stale: u64) -> Result<Outcome, Status> {
        let (path, show) = (&self.asks.path, self.show()?);
        let watch = self.asks.query.is_true("watch");
        let options = ListOptions::parse(&self.asks.query, self.kind, &path.version, "", watch)?;
        if watch {
            let watch = Watch::new(self.cluster, state, self.user, show, &path.namespace, options)?;
            return Ok(Outcome::Watch(Box::new(watch), Vec::new()));
        }
        let page = read::list(state, self.kind, &path.namespace, &options, stale)?;
        let text = show.list(page.version, &page.items, &page.resume, page.remaining);
        Ok(Answer::text(200, text).into())
    }

    fn written(&self, show: &Show, written: Written) -> Answer {
        let mut answer = Answer::text(if written.created { 201 } else { 200 }, show.object(&written.object));
        answer.warnings = written.warnings;
        answer
    }

    fn create(&self, state: &mut State) -> Result<Answer, Status> {
        let show = self.show()?;
        let object = self.asks.object(&self.kind.kind)?;
        let options = self.options("CreateOptions", false)?;
        let write = Write {
            name: "",
            ..self.write("", &options)
        };
        let written = registry::create(state, &write, object)?;
        Ok(self.written(&show, written))
    }

    fn update(&self, state: &mut State, subresource: &str) -> Result<Answer, Status> {
        let show = self.show()?;
        let options = self.options("UpdateOptions", false)?;
        let write = self.write(subresource, &options);
        if subresource == "scale" {
            let written = registry::update_scale(state, &write, self.asks.object("Scale")?)?;
            return self.scale(&show, &written);
        }
        let object = self.asks.object(&self.kind.kind)?;
        let written = registry::update(state, &write, object)?;
        Ok(self.written(&show, written))
    }

    fn scale(&self, show: &Show, written: &Written) -> Result<Answer, Status> {
        let scale = registry::read_scale(self.kind, &written.object.value)?;
        let mut answer = Answer::text(200, show.scale(&scale));
        answer.warnings.clone_from(&written.warnings);
        Ok(answer)
    }

    fn patch(&self, state: &mut State, subresource: &str) -> Result<Answer, Status> {
        let asks = self.asks;
        let apply = asks.format == Format::Apply;
        let strategic = asks.format == Format::StrategicMergePatch;
        let is_patch = !matches!(asks.format, Format::Json | Format::Yaml | Format::Unknown);
        if !is_patch && !self.kind.is_custom() {
            let refusal = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            return Err(refusal.with_details(json!({})));
        }
        if !is_patch || strategic && self.kind.is_custom() {
            return Err(registry::unsupported(self.kind));
        }
        let show = self.show()?;
        let options = self.options("PatchOptions", apply)?;
        if let Some(why) = &asks.undecodable {
            return Err(Status::bad_request(match asks.format {
                Format::Apply => format!("error decoding YAML: {why}"),
                Format::StrategicMergePatch => why.clone(),
                _ => format!("error decoding patch: {why}"),
            }));
        }
        let given = asks.body.clone();
        let patch = match asks.format {
            Format::JsonPatch => Patch::Json(given),
            Format::MergePatch => Patch::Merge(given),
            Format::StrategicMergePatch => Patch::Strategic(given),
            _ => Patch::Apply {
                manager: options.manager.clone(),
                force: asks.query.is_true("force"),
                object: given,
            },
        };
        let written = registry::patch(state, &self.write(subresource, &options), &patch)?;
        if subresource == "scale" {
            return self.scale(&show, &written);
        }
        Ok(self.written(&show, written))
    }

    fn delete_options(&self) -> Result<Value, Status> {
        let asks = self.asks;
        let body = match &asks.undecodable {
            _ if asks.raw.is_empty() => Value::Null,
            Some(why) if asks.format == Format::Json => {
                return Err(Status::bad_request(format!(
                    "couldn't get version/kind; json parse error: {why}"
                )));
            }
            _ => asks.object("DeleteOptions")?,
        };
        options::delete_options(&self.asks.query, body)
    }

    fn delete(&self, state: &mut State) -> Result<Answer, Status> {
        let show = self.show()?;
        let options = self.delete_options()?;
        let write_options = WriteOptions {
            dry_run: options["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
            ..WriteOptions::default()
        };
        state.warned = self.deletion_warnings(&options);
        let mut answer = match registry::delete(state, &self.write("", &write_options), &options)? {
            Deleted::Status(status) => Answer::json(200, &status),
            Deleted::Object(object) => Answer::text(200, show.object(&object)),
        };
        answer.warnings = self.deletion_warnings(&options);
        Ok(answer)
    }

    fn delete_collection(&self, state: &mut State) -> Result<Answer, Status> {
        let path = &self.asks.path;
        let show = self.show()?;
        let list = ListOptions::parse(&self.asks.query, self.kind, &path.version, "", false)?;
        let options = self.delete_options()?;
        let page = read::list(state, self.kind, &path.namespace, &list, 0)?;
        let keys: Vec<(String, String)> = page
            .items
            .iter()
            .map(|stored| {
                let of = |pointer| text(&stored.value, pointer).to_owned();
                (of("/metadata/namespace"), of("/metadata/name"))
            })
            .collect();
        let write_options = WriteOptions {
            dry_run: options["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
            ..WriteOptions::default()
        };
        registry::delete_collection(state, &self.write("", &write_options), &keys, &options)?;
        let text = show.list(page.version, &page.items, &page.resume, page.remaining);
        let mut answer = Answer::text(200, text);
        answer.warnings = self.deletion_warnings(&options);
        Ok(answer)
    }

    /// Jobs alone leave their Pods behind unless told otherwise.
    fn deletion_warnings(&self, options: &Value) -> Vec<String> {
        let told = !options["propagationPolicy"].is_null() || !options["orphanDependents"].is_null();
        if !self.kind.is("batch", "jobs") || told {
            return Vec::new();
        }
        vec![PODS_ARE_PRESERVED.to_owned()]
    }

    fn subresource(&self, state: &mut State) -> Result<Answer, Status> {
        let asks = self.asks;
        let path = &asks.path;
        let (sub, method) = (path.subresource.as_str(), asks.method.as_str());
        let core = |plural| self.kind.is("", plural);
        match (sub, method) {
            ("status", _) if !self.kind.status => Err(self.no_subresource()),
            ("scale", _) if self.kind.scale.is_none() => Err(self.no_subresource()),
            ("status", "GET") => self.get(state, 0),
            ("scale", "GET") => {
                let show = self.show()?;
                let found = read::get(state, self.kind, &path.namespace, &path.name, "", 0)?;
                let scale = registry::read_scale(self.kind, &found.value)?;
                Ok(Answer::text(200, show.scale(&scale)))
            }
            ("status" | "scale", "PUT") => self.update(state, sub),
            ("status" | "scale", "PATCH") => self.patch(state, sub),
            ("binding", "POST") if core("pods") => self.with_body(state, "Binding", registry::bind),
            ("eviction", "POST") if core("pods") => self.with_body(state, "Eviction", registry::evict),
            ("finalize", "PUT") if core("namespaces") => {
                let show = self.show()?;
                let object = asks.object("Namespace")?;
                let options = WriteOptions::default();
                let written = registry::finalize(state, &self.write(sub, &options), &object)?;
                Ok(Answer::text(200, show.object(&written)))
            }
            ("token", "POST") if core("serviceaccounts") => self.token(state),
            ("status" | "scale", _) => Err(asks.not_allowed(self.kind)),
            ("binding" | "eviction" | "log", _) if core("pods") => Err(asks.not_allowed(self.kind)),
            _ => Err(self.no_subresource()),
        }
    }

    fn no_subresource(&self) -> Status {
        if self.kind.is_custom() {
            return Status::not_found(self.kind.resource, &self.asks.path.name);
        }
        Status::no_such_path()
    }

    /// POSTs something that acts on the object.
    fn with_body(
        &self,
        state: &mut State,
        kind: &str,
        act: fn(&mut State, &Write<'_>, &Value) -> Result<Value, Status>,
    ) -> Result<Answer, Status> {
        let object = self.asks.object(kind)?;
        let options = self.options("CreateOptions", false)?;
        let write = self.write("", &options);
        act(state, &write, &object).map(|status| Answer::json(201, &status))
    }

    /// The log of a Pod: as whoever runs Pods has it, else one line.
    fn log(&self, state: &mut State) -> Result<Outcome, Status> {
        let path = &self.asks.path;
        let found = read::get(state, self.kind, &path.namespace, &path.name, "", 0)?;
        if text(&found.value, "/spec/nodeName").is_empty() {
            return Err(Status::bad_request(format!(
                "pod {} does not have a host assigned",
                path.name
            )));
        }
        let containers = found.value["spec"]["containers"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let wanted = self.asks.query.get("container");
        let Some(container) = containers.iter().find(|c| wanted.is_empty() || c["name"] == wanted) else {
            return Err(Status::bad_request(format!(
                "container {wanted} is not valid for pod {}",
                path.name
            )));
        };
        if let Some(logs) = &state.logs {
            let options = options::log_options(&self.asks.query, text(container, "/name"))?;
            return logs.read(&found.value, &options).map(Outcome::Log);
        }
        let line = format!("{} of {} runs\n", text(container, "/image"), path.name);
        Ok(Answer::plain(200, &line).into())
    }

    fn token(&self, state: &mut State) -> Result<Answer, Status> {
        let path = &self.asks.path;
        let found = read::get(state, self.kind, &path.namespace, &path.name, "", 0)?;
        let mut request = self.asks.object("TokenRequest")?;
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let until = self.cluster.now() + chrono::TimeDelta::seconds(seconds);
        request["metadata"]["name"] = json!(path.name);
        request["metadata"]["namespace"] = json!(path.namespace);
        for field in ["uid", "creationTimestamp"] {
            request["metadata"][field] = found.value["metadata"][field].clone();
        }
        if !request["spec"]["audiences"].is_array() {
            request["spec"]["audiences"] = json!(["https://kubernetes.default.svc"]);
        }
        request["spec"]["expirationSeconds"] = json!(seconds);
        request["status"] = json!({
            "token": token(&path.namespace, &path.name, text(&found.value, "/metadata/uid"), until.timestamp()),
            "expirationTimestamp": until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        });
        Ok(Answer::json(201, &request))
    }
}

/// A token that says whose it is and is signed by nobody.
fn token(namespace: &str, name: &str, uid: &str, until: i64) -> String {
    use base64::Engine;
    let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": format!("system:serviceaccount:{namespace}:{name}"), "uid": uid, "exp": until});
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
}
