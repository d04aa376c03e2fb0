//! Makes `data/builtin.json`, the schemas of the built-in kinds, from the API server's own OpenAPI documents.
//!
//! `cargo run -p serin-kubesim --example builtin_schemas -- FOLDER MODULES`, where FOLDER is `api/openapi-spec/v3` of the
//! sources of Kubernetes, or holds what `/openapi/v3/<path>` of a running API server answers under the same names, and
//! MODULES holds the Go modules `api@…`, `apimachinery@…` and `apiextensions-apiserver@…` of the same version. What is
//! left: types, required fields, formats and how lists are merged; no descriptions. The Go sources say what OpenAPI does
//! not: which empty values are written and which are left out (`x-zero`), and the names of scalar types (`x-go`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

/// Document and the types in it that are served.
const KINDS: [(&str, &[&str]); 10] = [
    (
        "api__v1",
        &[
            "io.k8s.api.authentication.v1.TokenRequest",
            "io.k8s.api.core.v1.Binding",
            "io.k8s.api.core.v1.ConfigMap",
            "io.k8s.api.core.v1.Endpoints",
            "io.k8s.api.core.v1.Event",
            "io.k8s.api.core.v1.Namespace",
            "io.k8s.api.core.v1.Node",
            "io.k8s.api.core.v1.Pod",
            "io.k8s.api.core.v1.Secret",
            "io.k8s.api.core.v1.Service",
            "io.k8s.api.core.v1.ServiceAccount",
            "io.k8s.api.policy.v1.Eviction",
        ],
    ),
    (
        "apis__apps__v1",
        &[
            "io.k8s.api.apps.v1.DaemonSet",
            "io.k8s.api.apps.v1.Deployment",
            "io.k8s.api.apps.v1.ReplicaSet",
            "io.k8s.api.apps.v1.StatefulSet",
            "io.k8s.api.autoscaling.v1.Scale",
        ],
    ),
    ("apis__batch__v1", &["io.k8s.api.batch.v1.Job"]),
    (
        "apis__autoscaling__v2",
        &["io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"],
    ),
    ("apis__coordination.k8s.io__v1", &["io.k8s.api.coordination.v1.Lease"]),
    ("apis__discovery.k8s.io__v1", &["io.k8s.api.discovery.v1.EndpointSlice"]),
    ("apis__events.k8s.io__v1", &["io.k8s.api.events.v1.Event"]),
    ("apis__policy__v1", &["io.k8s.api.policy.v1.PodDisruptionBudget"]),
    (
        "apis__rbac.authorization.k8s.io__v1",
        &[
            "io.k8s.api.rbac.v1.ClusterRole",
            "io.k8s.api.rbac.v1.ClusterRoleBinding",
            "io.k8s.api.rbac.v1.Role",
            "io.k8s.api.rbac.v1.RoleBinding",
        ],
    ),
    (
        "apis__apiextensions.k8s.io__v1",
        &["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"],
    ),
];

/// Types whose schema says less than their JSON: written by hand.
const OPAQUE: [&str; 2] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
];

const KEPT: [&str; 10] = [
    "type",
    "format",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
];

mod go {
    //! What the Go sources say about the fields of the server's types.

    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use serde_json::{Value, json};

    #[derive(Clone)]
    struct Field {
        json: String,
        go: String,
        omit_empty: bool,
        omit_zero: bool,
        inline: bool,
    }

    type Structs = BTreeMap<String, Vec<Field>>;

    pub(super) struct Sources {
        packages: BTreeMap<String, Structs>,
    }

    impl Sources {
        pub(super) fn new(modules: &Path) -> Result<Self, Box<dyn std::error::Error>> {
            let mut packages = BTreeMap::new();
            for (package, module, folder) in [
                (
                    "apiextensions.v1",
                    "apiextensions-apiserver@",
                    "pkg/apis/apiextensions/v1",
                ),
                ("apps.v1", "api@", "apps/v1"),
                ("authentication.v1", "api@", "authentication/v1"),
                ("autoscaling.v1", "api@", "autoscaling/v1"),
                ("autoscaling.v2", "api@", "autoscaling/v2"),
                ("batch.v1", "api@", "batch/v1"),
                ("coordination.v1", "api@", "coordination/v1"),
                ("core.v1", "api@", "core/v1"),
                ("discovery.v1", "api@", "discovery/v1"),
                ("events.v1", "api@", "events/v1"),
                ("meta.v1", "apimachinery@", "pkg/apis/meta/v1"),
                ("policy.v1", "api@", "policy/v1"),
                ("rbac.v1", "api@", "rbac/v1"),
            ] {
                let folder = newest(modules, module)?.join(folder);
                packages.insert(package.to_owned(), structs(&folder)?);
            }
            Ok(Self { packages })
        }

        /// Adds what is known of the fields of the type `name` to its schema.
        pub(super) fn annotate(&self, name: &str, schema: &mut Value) -> Result<(), String> {
            let (package, kind) = name.rsplit_once('.').ok_or("a type without a package")?;
            let Some(structs) = self.packages.get(package) else {
                return Ok(());
            };
            let mut fields = BTreeMap::new();
            collect(structs, kind, &mut fields);
            let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
                return Ok(());
            };
            for (property, schema) in properties {
                let Some(field) = fields.get(property) else {
                    if matches!(property.as_str(), "apiVersion" | "kind") {
                        continue;
                    }
                    return Err(format!("there is no field {property} in the Go type {name}"));
                };
                let pointer = field.go.starts_with('*');
                let structure = schema.get("$ref").is_some();
                let collection = matches!(schema["type"].as_str(), Some("array" | "object")) && !structure;
                let zero = match (pointer, structure, collection) {
                    (true, ..) => None,
                    _ if field.omit_zero => Some("dropped"),
                    (false, true, _) => Some("written"),
                    _ if field.omit_empty => Some("dropped"),
                    _ => Some("written"),
                };
                if let Some(zero) = zero {
                    schema["x-zero"] = json!(zero);
                }
                let scalar = field.go.trim_start_matches('*');
                if !structure && !collection {
                    if let Some(named) = named(scalar) {
                        schema["x-go"] = json!(named);
                    }
                } else if let Some(item) = scalar.strip_prefix("[]")
                    && schema["items"].get("$ref").is_none()
                    && schema["items"].is_object()
                    && let Some(named) = named(item)
                {
                    schema["items"]["x-go"] = json!(named);
                }
            }
            Ok(())
        }
    }

    /// The name of a scalar type as error messages write it, if it has one of its own.
    fn named(go: &str) -> Option<String> {
        const PLAIN: [&str; 9] = [
            "string", "bool", "int32", "int64", "int", "byte", "float64", "[]byte", "uint8",
        ];
        if PLAIN.contains(&go) || go.starts_with("map[") || go.starts_with("[]") {
            return None;
        }
        Some(match go.split_once('.') {
            None => format!("v1.{go}"),
            Some(("metav1" | "corev1" | "api", name)) => format!("v1.{name}"),
            Some(_) => go.to_owned(),
        })
    }

    fn collect(structs: &Structs, name: &str, into: &mut BTreeMap<String, Field>) {
        for field in structs.get(name).into_iter().flatten() {
            if field.inline {
                collect(structs, field.go.trim_start_matches('*'), into);
            } else {
                into.insert(field.json.clone(), field.clone());
            }
        }
    }

    fn newest(modules: &Path, prefix: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(modules)?
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
            .pop()
            .ok_or_else(|| format!("there is no {prefix}… in {}", modules.display()).into())
    }

    fn structs(folder: &Path) -> Result<Structs, Box<dyn std::error::Error>> {
        let mut structs = Structs::new();
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.ends_with(".go") || name.ends_with("_test.go") || name.contains("generated") {
                continue;
            }
            let text = std::fs::read_to_string(&file)?;
            let mut open: Option<String> = None;
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("type ") {
                    open = rest.strip_suffix(" struct {").map(str::to_owned);
                } else if line == "}" {
                    open = None;
                } else if let Some(name) = &open
                    && let Some(field) = field(line)
                {
                    structs.entry(name.clone()).or_default().push(field);
                }
            }
        }
        Ok(structs)
    }

    fn field(line: &str) -> Option<Field> {
        let (before, tag) = line.trim().split_once("`json:\"")?;
        let tag = tag.split('"').next()?;
        let mut words = before.split_whitespace();
        let first = words.next()?;
        let go = words.next().unwrap_or(first).to_owned();
        let mut options = tag.split(',');
        let json = options.next()?.to_owned();
        let options: Vec<&str> = options.collect();
        Some(Field {
            json,
            go,
            omit_empty: options.contains(&"omitempty"),
            omit_zero: options.contains(&"omitzero"),
            inline: options.contains(&"inline"),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: builtin_schemas FOLDER MODULES";
    let folder = std::env::args().nth(1).ok_or(USAGE)?;
    let go = go::Sources::new(Path::new(&std::env::args().nth(2).ok_or(USAGE)?))?;
    let mut types: BTreeMap<String, Value> = BTreeMap::new();
    for (document, kinds) in KINDS {
        let path = Path::new(&folder).join(format!("{document}_openapi.json"));
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let document: Value = serde_json::from_slice(&text)?;
        let schemas = document["components"]["schemas"].as_object().ok_or("no schemas")?;
        let mut open: Vec<String> = kinds.iter().map(|&kind| kind.to_owned()).collect();
        while let Some(name) = open.pop() {
            let short = short(&name);
            if types.contains_key(&short) {
                continue;
            }
            let schema = schemas
                .get(&name)
                .ok_or_else(|| format!("there is no {name} in the document"))?;
            let reduced = if OPAQUE.contains(&name.as_str()) {
                serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
            } else {
                let mut references = BTreeSet::new();
                let mut reduced = reduce(schema, &mut references);
                open.extend(references);
                go.annotate(&short, &mut reduced)?;
                reduced
            };
            types.insert(short, reduced);
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/builtin.json");
    let mut text = String::from("{\n");
    let lines: Vec<String> = types
        .iter()
        .map(|(name, schema)| format!("{}:{schema}", Value::from(name.as_str())))
        .collect();
    text.push_str(&lines.join(",\n"));
    text.push_str("\n}\n");
    std::fs::write(&file, text)?;
    Ok(())
}

/// `io.k8s.api.core.v1.Pod` -> `core.v1.Pod`.
fn short(name: &str) -> String {
    name.trim_start_matches("io.k8s.")
        .trim_start_matches("api.")
        .trim_start_matches("apimachinery.pkg.apis.")
        .trim_start_matches("apimachinery.pkg.")
        .trim_start_matches("apiextensions-apiserver.pkg.apis.")
        .to_owned()
}

fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref");
    let wrapped = schema
        .get("allOf")
        .and_then(|all| all.get(0))
        .and_then(|one| one.get("$ref"));
    direct
        .or(wrapped)
        .and_then(Value::as_str)
        .map(|path| path.trim_start_matches("#/components/schemas/"))
}

fn reduce(schema: &Value, references: &mut BTreeSet<String>) -> Value {
    let mut reduced = Map::new();
    if let Some(name) = reference(schema) {
        references.insert(name.to_owned());
        reduced.insert("$ref".to_owned(), Value::from(short(name)));
    }
    for field in KEPT {
        if let Some(value) = schema.get(field) {
            reduced.insert(field.to_owned(), value.clone());
        }
    }
    // The defaults of OpenAPI are not those of the server, except that list items are told apart by them.
    if let Some(default) = schema
        .get("default")
        .filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
    {
        reduced.insert("default".to_owned(), default.clone());
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let properties = properties
            .iter()
            .map(|(name, property)| (name.clone(), reduce(property, references)));
        reduced.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(field).filter(|inner| inner.is_object()) {
            reduced.insert(field.to_owned(), reduce(inner, references));
        }
    }
    Value::Object(reduced)
}
