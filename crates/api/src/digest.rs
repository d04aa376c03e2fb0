//! Equality of pod templates by meaning, as a small digest (compat 2.1.4 c): a template as somebody wrote it and the same
//! one as the API server stored it inside a ReplicaSet have the same digest. It finds the ReplicaSet of a revision when its
//! hash was computed by another version of the controller.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{HASH_LABEL, go_json, quantity::Quantity, rollout::PodMetadata, template::PodTemplate};

/// Two templates that mean the same have the same digest: 128 bits of SHA-256 over the normalised template.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateDigest([u8; 16]);

impl fmt::Debug for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TemplateDigest {
    /// The digest of a template without the revision's own label and without the metadata that was injected into a
    /// ReplicaSet ([`EPHEMERAL_METADATA_ANNOTATION`](crate::EPHEMERAL_METADATA_ANNOTATION)); for the desired template
    /// nothing was injected.
    pub fn of(template: &PodTemplate, injected: Option<&PodMetadata>) -> Self {
        let bytes = go_json::encode("PodTemplateSpec", &normalised(template, injected));
        let sum = Sha256::digest(bytes.as_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&sum[..16]);
        Self(out)
    }
}

fn normalised(template: &PodTemplate, injected: Option<&PodMetadata>) -> Value {
    let mut value = template.0.clone();
    if !value.is_object() {
        value = json!({});
    }
    // Our schema stores nothing else of a template's metadata.
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| key == "labels" || key == "annotations");
    }
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
        remove_keys(labels, injected.map(|i| &i.labels));
    }
    if let Some(annotations) = value
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        remove_keys(annotations, injected.map(|i| &i.annotations));
    }
    if !value["spec"].is_object() {
        value["spec"] = json!({});
    }
    if let Some(spec) = value["spec"].as_object_mut() {
        default_spec(spec);
    }
    value
}

fn remove_keys(map: &mut Map<String, Value>, keys: Option<&std::collections::BTreeMap<String, String>>) {
    for key in keys.into_iter().flatten().map(|(key, _)| key) {
        map.remove(key);
    }
}

/// Sets a field that is missing, null, `""` or 0: all the same to Go.
fn default(map: &mut Map<String, Value>, key: &str, value: Value) {
    let missing = match map.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(_) => false,
    };
    if missing {
        map.insert(key.to_owned(), value);
    }
}

/// Sets a field whose type is a pointer in Go: there 0 and `""` are values.
fn default_pointer(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key)?.as_object_mut()
}

fn objects<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// What the API server fills into a pod template (not into a pod: no requests from limits).
fn default_spec(spec: &mut Map<String, Value>) {
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "restartPolicy", json!("Always"));
    default_pointer(spec, "securityContext", json!({}));
    default_pointer(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "schedulerName", json!("default-scheduler"));
    // The old name of the same field.
    if let Some(old) = spec.remove("serviceAccount").filter(Value::is_string) {
        default(spec, "serviceAccountName", old);
    }
    for volume in objects(spec, "volumes") {
        default_volume(volume);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in objects(spec, list) {
            default_container(container, host_network && list != "ephemeralContainers");
        }
    }
    plain_quantities(spec.get_mut("overhead"), true);
    if let Some(resources) = object(spec, "resources") {
        plain_quantities(resources.get_mut("limits"), true);
        plain_quantities(resources.get_mut("requests"), true);
    }
}

fn default_container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    default(container, "imagePullPolicy", json!(policy));
    default(container, "terminationMessagePath", json!("/dev/termination-log"));
    default(container, "terminationMessagePolicy", json!("File"));
    for port in objects(container, "ports") {
        default(port, "protocol", json!("TCP"));
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            default(port, "hostPort", number);
        }
    }
    for env in objects(container, "env") {
        let Some(source) = object(env, "valueFrom") else {
            continue;
        };
        default_field_ref(source);
        plain_divisor(source);
        if let Some(file) = object(source, "fileKeyRef") {
            default_pointer(file, "optional", json!(false));
        }
    }
    if let Some(resources) = object(container, "resources") {
        plain_quantities(resources.get_mut("limits"), true);
        plain_quantities(resources.get_mut("requests"), true);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = object(container, probe) else {
            continue;
        };
        default(probe, "timeoutSeconds", json!(1));
        default(probe, "periodSeconds", json!(10));
        default(probe, "successThreshold", json!(1));
        default(probe, "failureThreshold", json!(3));
        default_http(probe);
        if let Some(grpc) = object(probe, "grpc") {
            default_pointer(grpc, "service", json!(""));
        }
    }
    if let Some(lifecycle) = object(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = object(lifecycle, hook) {
                default_http(hook);
            }
        }
    }
}

fn default_http(handler: &mut Map<String, Value>) {
    if let Some(http) = object(handler, "httpGet") {
        default(http, "path", json!("/"));
        default(http, "scheme", json!("HTTP"));
    }
}

fn default_field_ref(source: &mut Map<String, Value>) {
    if let Some(reference) = object(source, "fieldRef") {
        default(reference, "apiVersion", json!("v1"));
    }
}

/// Every field of a volume but its name is a source.
fn default_volume(volume: &mut Map<String, Value>) {
    if !go_json::field_names("VolumeSource").any(|source| volume.get(source).is_some_and(Value::is_object)) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for (source, field, value) in [
        ("secret", "defaultMode", json!(420)),
        ("configMap", "defaultMode", json!(420)),
        ("downwardAPI", "defaultMode", json!(420)),
        ("projected", "defaultMode", json!(420)),
        ("hostPath", "type", json!("")),
        ("azureDisk", "cachingMode", json!("ReadWrite")),
        ("azureDisk", "fsType", json!("ext4")),
        ("azureDisk", "readOnly", json!(false)),
        ("azureDisk", "kind", json!("Shared")),
    ] {
        if let Some(source) = object(volume, source) {
            default_pointer(source, field, value);
        }
    }
    for (source, field, value) in [
        ("iscsi", "iscsiInterface", "default"),
        ("rbd", "pool", "rbd"),
        ("rbd", "user", "admin"),
        ("rbd", "keyring", "/etc/ceph/keyring"),
        ("scaleIO", "storageMode", "ThinProvisioned"),
        ("scaleIO", "fsType", "xfs"),
    ] {
        if let Some(source) = object(volume, source) {
            default(source, field, json!(value));
        }
    }
    if let Some(image) = object(volume, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        default(image, "pullPolicy", json!(policy));
    }
    if let Some(dir) = object(volume, "emptyDir") {
        plain_quantity(dir.get_mut("sizeLimit"), false);
    }
    if let Some(downward) = object(volume, "downwardAPI") {
        default_downward(downward);
    }
    if let Some(projected) = object(volume, "projected") {
        for source in objects(projected, "sources") {
            if let Some(downward) = object(source, "downwardAPI") {
                default_downward(downward);
            }
            if let Some(token) = object(source, "serviceAccountToken") {
                default_pointer(token, "expirationSeconds", json!(3600));
            }
        }
    }
    let claim = object(volume, "ephemeral").and_then(|e| object(e, "volumeClaimTemplate"));
    if let Some(spec) = claim.and_then(|c| object(c, "spec")) {
        default_pointer(spec, "volumeMode", json!("Filesystem"));
        if let Some(resources) = object(spec, "resources") {
            plain_quantities(resources.get_mut("limits"), true);
            plain_quantities(resources.get_mut("requests"), true);
        }
    }
}

fn default_downward(downward: &mut Map<String, Value>) {
    for item in objects(downward, "items") {
        default_field_ref(item);
        plain_divisor(item);
    }
}

fn plain_divisor(source: &mut Map<String, Value>) {
    if let Some(resource) = object(source, "resourceFieldRef") {
        plain_quantity(resource.get_mut("divisor"), false);
    }
}

fn plain_quantities(list: Option<&mut Value>, round: bool) {
    for value in list
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        plain_quantity(Some(value), round);
    }
}

/// The value alone, without its spelling; amounts of resources are kept in thousandths, as the API server keeps them.
fn plain_quantity(value: Option<&mut Value>, round: bool) {
    let Some(value) = value else { return };
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(quantity) = Quantity::parse(&text) {
        *value = Value::String(quantity.plain(round));
    }
}

/// `Always` for the tag `latest`, said or implied.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        // No image at all: the API server refuses it later.
        _ if image.is_empty() => "IfNotPresent",
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(value: Value) -> TemplateDigest {
        TemplateDigest::of(&PodTemplate(value), None)
    }

    #[test]
    fn written_and_stored_templates_mean_the_same() {
        let written = json!({"metadata": {"labels": {"app": "demo"}}, "spec": {
            "serviceAccount": "sa",
            "containers": [{
                "name": "app", "image": "demo:v1",
                "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"port": 80}},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            }],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/"}}],
        }});
        let stored = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "demo", HASH_LABEL: "abc"}}, "spec": {
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {},
            "serviceAccount": "sa", "serviceAccountName": "sa",
            "containers": [{
                "name": "app", "image": "demo:v1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                "env": [{"name": "E", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}},
            }],
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c", "defaultMode": 420}},
                {"name": "h", "hostPath": {"path": "/", "type": ""}}],
        }});
        assert_eq!(digest(written), digest(stored));
    }

    #[test]
    fn a_difference_in_meaning_is_a_difference() {
        let base =
            json!({"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "a", "image": "i:1"}]}});
        let changes = [
            ("/spec/containers/0/image", json!("i:2")),
            ("/spec/containers/0/name", json!("b")),
            ("/metadata/labels/app", json!("other")),
        ];
        for (path, value) in changes {
            let mut other = base.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert_ne!(digest(base.clone()), digest(other), "{path}");
        }
        for (key, value) in [
            ("restartPolicy", json!("Never")),
            ("terminationGracePeriodSeconds", json!(0)),
            ("hostNetwork", json!(true)),
            ("resources", json!({"limits": {"cpu": 1}})),
        ] {
            let mut other = base.clone();
            other["spec"][key] = value;
            assert_ne!(digest(base.clone()), digest(other), "{key}");
        }
    }

    #[test]
    fn injected_metadata_does_not_count() {
        let plain = json!({"metadata": {"labels": {"app": "demo"}}, "spec": {}});
        let live = json!({
            "metadata": {"labels": {"app": "demo", "role": "canary"}, "annotations": {"a": "1"}}, "spec": {},
        });
        let injected: PodMetadata =
            serde_json::from_value(json!({"labels": {"role": "canary"}, "annotations": {"a": "1"}})).unwrap();
        assert_ne!(digest(plain.clone()), digest(live.clone()));
        assert_eq!(digest(plain), TemplateDigest::of(&PodTemplate(live), Some(&injected)));
    }

    #[test]
    fn quantities_count_by_value() {
        let with =
            |cpu: &str| digest(json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": cpu}}}]}}));
        assert_eq!(with("1Gi"), with("1073741824"));
        assert_eq!(with("0.5"), with("500m"));
        assert_eq!(with("100u"), with("1m"));
        assert_ne!(with("1"), with("1001m"));
    }

    #[test]
    fn the_tag_decides_the_pull_policy() {
        for (image, policy) in [
            ("demo", "Always"),
            ("demo:latest", "Always"),
            ("demo:v1", "IfNotPresent"),
            ("host:5000/demo", "Always"),
            ("host:5000/demo:v1", "IfNotPresent"),
            ("demo@sha256:0123", "IfNotPresent"),
            ("demo:v1@sha256:0123", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
