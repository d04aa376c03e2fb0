//! The defaults of built-in kinds.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Puts the defaults of a kind into an object.
pub(super) fn default(plural: &str, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    match plural {
        "pods" => {
            if let Some(spec) = inner(object, "spec") {
                pod_spec(spec);
                pod(spec);
            }
        }
        "replicasets" => {
            template(object);
            if let Some(spec) = inner(object, "spec") {
                or(spec, "replicas", 1);
            }
        }
        "deployments" => {
            template(object);
            if let Some(spec) = inner(object, "spec") {
                deployment(spec);
            }
        }
        "statefulsets" => {
            template(object);
            if let Some(spec) = inner(object, "spec") {
                stateful_set(spec);
            }
        }
        "daemonsets" => {
            template(object);
            if let Some(spec) = inner(object, "spec") {
                let strategy = filled(spec, "updateStrategy");
                or_empty(strategy, "type", "RollingUpdate");
                if strategy["type"] == "RollingUpdate" {
                    let rolling = filled(strategy, "rollingUpdate");
                    or(rolling, "maxUnavailable", 1);
                    or(rolling, "maxSurge", 0);
                }
                or(spec, "revisionHistoryLimit", 10);
            }
        }
        "jobs" => {
            template(object);
            job(object);
        }
        "services" => {
            if let Some(spec) = inner(object, "spec") {
                service(spec);
            }
        }
        "secrets" => or_empty(object, "type", "Opaque"),
        "endpoints" => {
            for subset in items(object, "subsets") {
                for port in items(subset, "ports") {
                    or_empty(port, "protocol", "TCP");
                }
            }
        }
        "endpointslices" => {
            for port in items(object, "ports") {
                or(port, "name", "");
                or(port, "protocol", "TCP");
            }
        }
        "namespaces" => {
            let name = object
                .get("metadata")
                .and_then(|metadata| metadata.get("name"))
                .cloned();
            if let Some(name) = name.filter(|name| name != "") {
                let labels = filled(filled(object, "metadata"), "labels");
                labels.insert("kubernetes.io/metadata.name".to_owned(), name);
            }
            or_empty(filled(object, "status"), "phase", "Active");
        }
        "nodes" => {
            if let Some(status) = inner(object, "status")
                && let Some(capacity) = status.get("capacity").cloned()
            {
                or(status, "allocatable", capacity);
            }
        }
        "horizontalpodautoscalers" => {
            if let Some(spec) = inner(object, "spec") {
                autoscaler(spec);
            }
        }
        "rolebindings" | "clusterrolebindings" => {
            const GROUP: &str = "rbac.authorization.k8s.io";
            or_empty(filled(object, "roleRef"), "apiGroup", GROUP);
            for subject in items(object, "subjects") {
                if subject
                    .get("kind")
                    .is_some_and(|kind| kind == "User" || kind == "Group")
                {
                    or_empty(subject, "apiGroup", GROUP);
                }
            }
        }
        "customresourcedefinitions" => definition(object),
        _ => {}
    }
}

fn inner<'a>(object: &'a mut Object, field: &str) -> Option<&'a mut Object> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

/// The object in a field, made if need be.
fn filled<'a>(object: &'a mut Object, field: &str) -> &'a mut Object {
    let value = object.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("made an object above")
}

fn items<'a>(object: &'a mut Object, field: &str) -> impl Iterator<Item = &'a mut Object> {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Sets what is not there.
fn or(object: &mut Object, field: &str, value: impl Into<Value>) {
    if !object.contains_key(field) {
        object.insert(field.to_owned(), value.into());
    }
}

/// Sets what is not there or an empty text.
fn or_empty(object: &mut Object, field: &str, value: &str) {
    if object.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
        object.insert(field.to_owned(), Value::from(value));
    }
}

/// Sets what is not there or nought.
fn or_nought(object: &mut Object, field: &str, value: i64) {
    if object.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
        object.insert(field.to_owned(), Value::from(value));
    }
}

fn template(object: &mut Object) {
    if let Some(spec) = inner(object, "spec")
        && let Some(template) = inner(spec, "template")
        && let Some(spec) = inner(template, "spec")
    {
        pod_spec(spec);
    }
}

/// What every pod spec gets, in templates as well.
fn pod_spec(spec: &mut Object) {
    or_empty(spec, "dnsPolicy", "ClusterFirst");
    or_empty(spec, "restartPolicy", "Always");
    or(spec, "securityContext", json!({}));
    or(spec, "terminationGracePeriodSeconds", 30);
    or_empty(spec, "schedulerName", "default-scheduler");
    // The old name of the field follows the new one.
    match (
        spec.get("serviceAccountName").cloned(),
        spec.get("serviceAccount").cloned(),
    ) {
        (Some(name), _) => {
            spec.insert("serviceAccount".to_owned(), name);
        }
        (None, Some(name)) => {
            spec.insert("serviceAccountName".to_owned(), name);
        }
        (None, None) => {}
    }
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for each in items(spec, field) {
            container(each);
        }
    }
    for each in items(spec, "volumes") {
        volume(each);
    }
}

fn container(container: &mut Object) {
    if container.get("imagePullPolicy").is_none() {
        let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
        let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
        container.insert("imagePullPolicy".to_owned(), Value::from(policy));
    }
    or_empty(container, "terminationMessagePath", "/dev/termination-log");
    or_empty(container, "terminationMessagePolicy", "File");
    for port in items(container, "ports") {
        or_empty(port, "protocol", "TCP");
    }
    for env in items(container, "env") {
        if let Some(from) = inner(env, "valueFrom")
            && let Some(field) = inner(from, "fieldRef")
        {
            or_empty(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = inner(container, name) {
            or_nought(probe, "timeoutSeconds", 1);
            or_nought(probe, "periodSeconds", 10);
            or_nought(probe, "successThreshold", 1);
            or_nought(probe, "failureThreshold", 3);
            handler(probe);
        }
    }
    if let Some(lifecycle) = inner(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(each) = inner(lifecycle, name) {
                handler(each);
            }
        }
    }
}

fn handler(handler: &mut Object) {
    if let Some(get) = inner(handler, "httpGet") {
        or_empty(get, "path", "/");
        or_empty(get, "scheme", "HTTP");
    }
    if let Some(grpc) = inner(handler, "grpc") {
        or(grpc, "service", "");
    }
}

/// Whether an image has the tag `latest`, said or not.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|name| name == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for (name, mode) in [
        ("secret", 420),
        ("configMap", 420),
        ("downwardAPI", 420),
        ("projected", 420),
    ] {
        if let Some(source) = inner(volume, name) {
            or(source, "defaultMode", mode);
            for item in items(source, "items") {
                if let Some(field) = inner(item, "fieldRef") {
                    or_empty(field, "apiVersion", "v1");
                }
            }
            for part in items(source, "sources") {
                if let Some(token) = inner(part, "serviceAccountToken") {
                    or(token, "expirationSeconds", 3600);
                }
                if let Some(downward) = inner(part, "downwardAPI") {
                    for item in items(downward, "items") {
                        if let Some(field) = inner(item, "fieldRef") {
                            or_empty(field, "apiVersion", "v1");
                        }
                    }
                }
            }
        }
    }
    if let Some(source) = inner(volume, "hostPath") {
        or(source, "type", "");
    }
}

/// What only pods themselves get.
fn pod(spec: &mut Object) {
    for field in ["containers", "initContainers"] {
        for container in items(spec, field) {
            if let Some(resources) = inner(container, "resources")
                && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
            {
                let requests = filled(resources, "requests");
                for (name, limit) in limits {
                    requests.entry(name).or_insert(limit);
                }
            }
        }
    }
    or(spec, "enableServiceLinks", true);
}

fn deployment(spec: &mut Object) {
    or(spec, "replicas", 1);
    let strategy = filled(spec, "strategy");
    or_empty(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = filled(strategy, "rollingUpdate");
        or(rolling, "maxUnavailable", "25%");
        or(rolling, "maxSurge", "25%");
    }
    or(spec, "revisionHistoryLimit", 10);
    or(spec, "progressDeadlineSeconds", 600);
}

fn stateful_set(spec: &mut Object) {
    or_empty(spec, "podManagementPolicy", "OrderedReady");
    let strategy = filled(spec, "updateStrategy");
    if strategy.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
        strategy.insert("type".to_owned(), Value::from("RollingUpdate"));
        or(strategy, "rollingUpdate", json!({}));
    }
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = inner(strategy, "rollingUpdate")
    {
        or(rolling, "partition", 0);
    }
    let retention = filled(spec, "persistentVolumeClaimRetentionPolicy");
    or_empty(retention, "whenDeleted", "Retain");
    or_empty(retention, "whenScaled", "Retain");
    or(spec, "replicas", 1);
    or(spec, "revisionHistoryLimit", 10);
}

fn job(object: &mut Object) {
    let Some(spec) = inner(object, "spec") else { return };
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        or(spec, "completions", 1);
    }
    or(spec, "parallelism", 1);
    let limit = if spec.contains_key("backoffLimitPerIndex") {
        i32::MAX
    } else {
        6
    };
    or(spec, "backoffLimit", limit);
    or(spec, "completionMode", "NonIndexed");
    or(spec, "suspend", false);
    let policy = if spec.contains_key("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    or(spec, "podReplacementPolicy", policy);
    or(spec, "manualSelector", false);
    let labels = spec
        .get("template")
        .and_then(|template| template.pointer("/metadata/labels"))
        .filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
        .cloned();
    if let Some(labels) = labels {
        or(filled(object, "metadata"), "labels", labels);
    }
}

fn service(spec: &mut Object) {
    or_empty(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP" {
        or(
            filled(filled(spec, "sessionAffinityConfig"), "clientIP"),
            "timeoutSeconds",
            10800,
        );
    }
    or_empty(spec, "type", "ClusterIP");
    for port in items(spec, "ports") {
        or_empty(port, "protocol", "TCP");
        let given = port.get("targetPort");
        if given.is_none_or(|target| target == 0 || target == "") {
            let number = port.get("port").cloned().unwrap_or_else(|| Value::from(0));
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let external = kind == "NodePort"
        || kind == "LoadBalancer"
        || (kind == "ClusterIP"
            && spec
                .get("externalIPs")
                .and_then(Value::as_array)
                .is_some_and(|list| !list.is_empty()));
    if external {
        or_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        or(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        or(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn autoscaler(spec: &mut Object) {
    or(spec, "minReplicas", 1);
    if !spec.contains_key("metrics") {
        spec.insert(
            "metrics".to_owned(),
            json!([{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }]),
        );
    }
    if let Some(behaviour) = inner(spec, "behavior") {
        let up = filled(behaviour, "scaleUp");
        or(up, "stabilizationWindowSeconds", 0);
        or(up, "selectPolicy", "Max");
        or(
            up,
            "policies",
            json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        );
        let down = filled(behaviour, "scaleDown");
        or(down, "selectPolicy", "Max");
        or(
            down,
            "policies",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
}

fn definition(object: &mut Object) {
    let mut stored = None;
    if let Some(spec) = inner(object, "spec") {
        for version in spec.get("versions").and_then(Value::as_array).into_iter().flatten() {
            if version["storage"] == true && stored.is_none() {
                stored = Some(json!([version["name"]]));
            }
        }
        let names = filled(spec, "names");
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !kind.is_empty() {
            or_empty(names, "singular", &kind.to_lowercase());
            or_empty(names, "listKind", &format!("{kind}List"));
        }
        or(spec, "conversion", json!({"strategy": "None"}));
    }
    if let Some(stored) = stored {
        let status = filled(object, "status");
        if status
            .get("storedVersions")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            status.insert("storedVersions".to_owned(), stored);
        }
    }
}
