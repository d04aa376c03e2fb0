//! What the API server makes of an object on its way in, beyond defaults: what its admission plugins add to pods, the
//! addresses of Services, the selectors of Jobs.

use serde_json::{Map, Value, json};

/// Prepares a new object (`old` is none) or a changed one. `addresses` counts the cluster addresses given out.
pub(super) fn prepare(plural: &str, object: &mut Value, old: Option<&Value>, subresource: &str, addresses: &mut u32) {
    if !subresource.is_empty() {
        return;
    }
    match (plural, old) {
        ("pods", None) => {
            pod(object);
            patience(object);
        }
        ("pods", Some(_)) => patience(object),
        ("jobs", None) => job(object),
        ("services", old) => service(object, old, addresses),
        ("namespaces", None) => namespace(object),
        _ => {}
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn pod(object: &mut Value) {
    let suffix: String = {
        let uid = text(object, "/metadata/uid");
        uid.chars().filter(char::is_ascii_alphanumeric).rev().take(5).collect()
    };
    let class = quality(object);
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        service_account(spec, &suffix);
        tolerations(spec);
        for (field, value) in [
            ("priority", json!(0)),
            ("preemptionPolicy", json!("PreemptLowerPriority")),
        ] {
            if !spec.contains_key(field) {
                spec.insert(field.to_owned(), value);
            }
        }
    }
    object["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// A negative grace period is a second.
fn patience(object: &mut Value) {
    if let Some(seconds) = object.pointer_mut("/spec/terminationGracePeriodSeconds")
        && seconds.as_i64().is_some_and(|seconds| seconds < 0)
    {
        *seconds = json!(1);
    }
}

/// The account, and its token in a volume.
fn service_account(spec: &mut Map<String, Value>, suffix: &str) {
    const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    if spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        spec.insert("serviceAccountName".to_owned(), json!("default"));
        spec.insert("serviceAccount".to_owned(), json!("default"));
    }
    if spec.get("automountServiceAccountToken") == Some(&Value::Bool(false)) {
        return;
    }
    let volume = format!("kube-api-access-{suffix}");
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        let containers = spec.get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().all(|mount| mount["mountPath"] != MOUNT) {
                mounts.push(json!({"mountPath": MOUNT, "name": volume, "readOnly": true}));
                mounted = true;
            }
        }
    }
    if mounted {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(json!({
                "name": volume,
                "projected": {
                    "defaultMode": 420,
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                        {"downwardAPI": {"items": [{
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            "path": "namespace",
                        }]}},
                    ],
                },
            }));
        }
    }
}

/// Five minutes' patience with a node that is not there.
fn tolerations(spec: &mut Map<String, Value>) {
    let list = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|toleration| {
            let field = |name: &str| toleration.get(name).and_then(Value::as_str).unwrap_or_default();
            (field("key") == key || field("key").is_empty()) && matches!(field("effect"), "NoExecute" | "")
        });
        if !tolerated {
            list.push(json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}));
        }
    }
}

/// The quality of service that a pod's requests and limits ask for.
fn quality(object: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for field in ["/spec/initContainers", "/spec/containers"] {
        let containers = object.pointer(field).and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            let amount = |kind: &str, name: &str| {
                container
                    .pointer(&format!("/resources/{kind}/{name}"))
                    .and_then(Value::as_str)
                    .filter(|amount| *amount != "0")
            };
            for name in ["cpu", "memory"] {
                let (request, limit) = (amount("requests", name), amount("limits", name));
                any |= request.is_some() || limit.is_some();
                guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn job(object: &mut Value) {
    if object.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) || !object["spec"]["template"].is_object() {
        return;
    }
    let (uid, name) = (object["metadata"]["uid"].clone(), object["metadata"]["name"].clone());
    // Labels that were taken from the template are the same ones in the server's memory.
    let shared = object.pointer("/metadata/labels").is_some()
        && object.pointer("/metadata/labels") == object.pointer("/spec/template/metadata/labels");
    let labels = &mut object["spec"]["template"]["metadata"]["labels"];
    for (label, value) in [
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
    ] {
        if labels.get(label).is_none() && (labels.is_object() || labels.is_null()) {
            labels[label] = value.clone();
        }
    }
    if shared {
        object["metadata"]["labels"] = object["spec"]["template"]["metadata"]["labels"].clone();
    }
    let matched = &mut object["spec"]["selector"]["matchLabels"];
    if matched.get("batch.kubernetes.io/controller-uid").is_none() {
        matched["batch.kubernetes.io/controller-uid"] = uid;
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    object["spec"]["finalizers"] = json!(["kubernetes"]);
    object["status"]["phase"] = json!("Active");
}

/// Gives a Service its addresses and node ports; a changed one keeps what it has and does not name.
fn service(object: &mut Value, old: Option<&Value>, addresses: &mut u32) {
    let kind = text(object, "/spec/type").to_owned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if kind == "ExternalName" {
        if old.is_some() {
            for field in [
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "internalTrafficPolicy",
            ] {
                spec.remove(field);
            }
        }
        return;
    }
    let before = old
        .and_then(|old| old.get("spec"))
        .filter(|spec| spec["type"] != "ExternalName");
    if let Some(before) = before {
        let given = spec.get("clusterIP").cloned();
        for field in ["clusterIP", "clusterIPs"] {
            if !spec.contains_key(field)
                && let Some(value) = before.get(field)
            {
                spec.insert(field.to_owned(), value.clone());
            }
        }
        // The older field speaks for the newer one where only it was changed.
        if let Some(given) = given.filter(|given| Some(given) != before.get("clusterIP"))
            && spec.get("clusterIPs") == before.get("clusterIPs")
        {
            spec.insert("clusterIPs".to_owned(), json!([given]));
        }
    }
    // One that was made through its status never gets an address.
    let without_address = before.is_some_and(|before| text(before, "/type") == kind) && !spec.contains_key("clusterIP");
    let first = spec
        .get("clusterIPs")
        .and_then(|list| list.get(0))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let address = match spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default() {
        "" if !first.is_empty() => first,
        "" if without_address => String::new(),
        "" => {
            *addresses += 1;
            // The first ones of the range are the API server's and the name service's.
            let number = addresses.wrapping_add(10);
            format!("10.96.{}.{}", number >> 8 & 255, number & 255)
        }
        given => given.to_owned(),
    };
    let headless = address == "None";
    if !without_address {
        spec.insert("clusterIP".to_owned(), json!(address));
        if !spec.contains_key("clusterIPs") {
            spec.insert("clusterIPs".to_owned(), json!([address]));
        }
    }
    for (field, value) in [
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        if !spec.contains_key(field) {
            // A Service without selector and without address may have any.
            let any = headless && spec.get("selector").is_none_or(|selector| selector == &json!({}));
            let value = match (field, any) {
                ("ipFamilies", true) => json!(["IPv4", "IPv6"]),
                ("ipFamilyPolicy", true) => json!("RequireDualStack"),
                _ => value,
            };
            spec.insert(field.to_owned(), value);
        }
    }
    if let Some(before) = before {
        drop_dependents(spec, before, &kind);
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        let had: Vec<Value> = before
            .and_then(|before| before["ports"].as_array().cloned())
            .unwrap_or_default();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0 {
                let kept = had
                    .iter()
                    .find(|old| old.get("port") == port.get("port") && old.get("protocol") == port.get("protocol"))
                    .and_then(|old| old.get("nodePort"))
                    .cloned();
                let number = kept.unwrap_or_else(|| {
                    *addresses += 1;
                    json!(30_000 + *addresses % 2768)
                });
                port.insert("nodePort".to_owned(), number);
            }
        }
    } else if let Some(before) = before.filter(|before| before["type"] != kind.as_str()) {
        // Node ports that were the former type's go with it, unless they are asked for.
        let had = before["ports"].as_array().cloned().unwrap_or_default();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if had
                .iter()
                .any(|old| old.get("nodePort").is_some() && old.get("nodePort") == port.get("nodePort"))
            {
                port.remove("nodePort");
            }
        }
    }
}

/// What a Service had for its former type and did not change goes with that type.
fn drop_dependents(spec: &mut Map<String, Value>, before: &Value, kind: &str) {
    let external = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    let former = text(before, "/type").to_owned();
    let mut gone = Vec::new();
    if former == "LoadBalancer" && kind != "LoadBalancer" {
        gone.extend([
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "healthCheckNodePort",
        ]);
    }
    if external(&former) && !external(kind) {
        gone.push("externalTrafficPolicy");
    }
    for field in gone {
        if spec.get(field) == before.get(field) {
            spec.remove(field);
        }
    }
}
