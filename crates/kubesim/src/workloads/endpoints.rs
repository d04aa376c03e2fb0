//! The EndpointSlice controller: which pods stand behind a Service, and in what condition.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    cache::Name,
    engine::{Engine, Outcome},
    objects::{controller_reference, has_all, is_deleted, is_finished, is_ready, list, name, number, text, uid},
};
use crate::Status;

/// Its name in the trace.
pub(super) const USER: &str = "endpointslice-controller";

/// Marks the slices that are this controller's.
const MANAGER: &str = "endpointslice-controller.k8s.io";

const SLICES: &str = "endpointslices.discovery.k8s.io";

/// Says since when the endpoints are so.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Endpoints in one slice.
const FULL: usize = 100;

/// Slices that have the same ports, as they should be.
struct Group {
    ports: Value,
    /// By the pod's uid, in the order of names.
    endpoints: Vec<Value>,
}

impl Engine {
    pub(super) fn sync_service(&mut self, key: &Name) -> Outcome {
        let Some(service) = self.cache.services.get(key).cloned() else {
            // Its slices are owned by it: the garbage collector takes them.
            return Ok(None);
        };
        let selector = service["spec"]["selector"].as_object().filter(|s| !s.is_empty());
        let Some(selector) = selector.filter(|_| text(&service["spec"]["type"]) != "ExternalName") else {
            return Ok(None);
        };
        if is_deleted(&service) {
            return Ok(None);
        }
        let mut groups = self.groups(key, &service, selector);
        // Slices by their ports; those with ports that nobody has any more are used for new ones.
        let mut kept: Vec<(Arc<Value>, Vec<Value>)> = Vec::new();
        let mut free: Vec<Arc<Value>> = Vec::new();
        for slice in self.own_slices(key, &service) {
            match groups.get_mut(&slice["ports"].to_string()) {
                Some(group) => {
                    let mut endpoints = Vec::new();
                    for endpoint in list(&slice["endpoints"]) {
                        let pod = &endpoint["targetRef"]["uid"];
                        let now = group.endpoints.iter().position(|e| e["targetRef"]["uid"] == *pod);
                        endpoints.extend(now.map(|at| group.endpoints.remove(at)));
                    }
                    kept.push((slice, endpoints));
                }
                None => free.push(slice),
            }
        }
        // What is new goes where there is room, then into further slices.
        let mut wanted: Vec<(Option<Arc<Value>>, Value, Vec<Value>)> = Vec::new();
        for (slice, mut endpoints) in kept {
            let ports = slice["ports"].clone();
            if let Some(group) = groups.get_mut(&ports.to_string()) {
                let room = FULL.saturating_sub(endpoints.len()).min(group.endpoints.len());
                endpoints.extend(group.endpoints.drain(..room));
            }
            if endpoints.is_empty() {
                free.push(slice);
            } else {
                wanted.push((Some(slice), ports, endpoints));
            }
        }
        free.sort_by(|a, b| name(a).cmp(name(b)));
        let mut free = free.into_iter();
        for group in groups.into_values() {
            for endpoints in group.endpoints.chunks(FULL) {
                wanted.push((free.next(), group.ports.clone(), endpoints.to_vec()));
            }
        }
        // One slice stays even if it is empty: it says that the Service was seen.
        if wanted.is_empty() {
            wanted.push((free.next(), Value::Null, Vec::new()));
        }
        for (slice, ports, endpoints) in wanted {
            self.write_slice(&service, slice.as_deref(), &ports, endpoints)?;
        }
        for slice in free {
            self.delete(USER, SLICES, &slice, json!({}))?;
        }
        Ok(None)
    }

    /// The slices of a Service that this controller made and that are not on their way out.
    fn own_slices(&self, key: &Name, service: &Value) -> Vec<Arc<Value>> {
        let own = self.cache.slices.of(uid(service)).filter(|(slice_key, slice)| {
            let labels = &slice["metadata"]["labels"];
            slice_key.namespace == key.namespace
                && labels["kubernetes.io/service-name"] == *key.name
                && labels["endpointslice.kubernetes.io/managed-by"] == MANAGER
                && !is_deleted(slice)
        });
        own.map(|(_, slice)| Arc::clone(slice)).collect()
    }

    /// The endpoints as they should be, by the ports under which they are reached.
    fn groups(&self, key: &Name, service: &Value, selector: &Map<String, Value>) -> BTreeMap<String, Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let publish = service["spec"]["publishNotReadyAddresses"] == true;
        // Only a port by name can be elsewhere in each pod.
        let same_for_all = !list(&service["spec"]["ports"])
            .iter()
            .any(|port| port["targetPort"].is_string());
        let mut common = Vec::new();
        for (_, pod) in self.cache.pods.within(&key.namespace) {
            let address = text(&pod["status"]["podIP"]);
            if address.is_empty() || is_finished(pod) || !has_all(selector, &pod["metadata"]["labels"]) {
                continue;
            }
            let (serving, terminating) = (is_ready(pod), is_deleted(pod));
            let mut endpoint = json!({
                "addresses": [address],
                "conditions": {
                    "ready": publish || (serving && !terminating),
                    "serving": serving,
                    "terminating": terminating,
                },
                "targetRef": {
                    "kind": "Pod",
                    "namespace": &*key.namespace,
                    "name": name(pod),
                    "uid": uid(pod),
                },
            });
            let node = &pod["spec"]["nodeName"];
            if !node.is_null() {
                endpoint["nodeName"] = node.clone();
            }
            if same_for_all {
                common.push(endpoint);
                continue;
            }
            let ports = ports(service, pod);
            let group = groups.entry(ports.to_string()).or_insert_with(|| Group {
                ports,
                endpoints: Vec::new(),
            });
            group.endpoints.push(endpoint);
        }
        if !common.is_empty() {
            let ports = ports(service, &Value::Null);
            let endpoints = common;
            groups.insert(ports.to_string(), Group { ports, endpoints });
        }
        groups
    }

    fn write_slice(
        &mut self,
        service: &Value,
        slice: Option<&Value>,
        ports: &Value,
        endpoints: Vec<Value>,
    ) -> Result<(), Status> {
        let mut labels = match &service["metadata"]["labels"] {
            Value::Object(labels) => labels.clone(),
            _ => Map::new(),
        };
        labels.insert("kubernetes.io/service-name".into(), service["metadata"]["name"].clone());
        labels.insert("endpointslice.kubernetes.io/managed-by".into(), json!(MANAGER));
        if service["spec"]["clusterIP"] == "None" {
            labels.insert("service.kubernetes.io/headless".into(), json!(""));
        }
        let endpoints = if endpoints.is_empty() {
            Value::Null
        } else {
            Value::Array(endpoints)
        };
        if let Some(slice) = slice {
            let same = |a: &Value, b: &Value| a == b || (list(a).is_empty() && list(b).is_empty());
            if same(&slice["endpoints"], &endpoints)
                && same(&slice["ports"], ports)
                && slice["metadata"]["labels"].as_object() == Some(&labels)
            {
                return Ok(());
            }
            let mut metadata = slice["metadata"].clone();
            metadata["labels"] = Value::Object(labels);
            metadata["annotations"][TRIGGER] = self.stamp();
            let ports = ("ports", ports.clone());
            let endpoints = ("endpoints", endpoints);
            if self.tracks_fields(slice) {
                let fields = [("metadata", metadata), endpoints, ports];
                return self.put_with(USER, SLICES, None, slice, fields).map(|_| ());
            }
            metadata["generation"] = json!(number(&metadata["generation"]) + 1);
            return self.store_with(USER, SLICES, slice, [("metadata", metadata), endpoints, ports]);
        }
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", name(service)),
                "namespace": service["metadata"]["namespace"],
                "labels": labels,
                "annotations": {TRIGGER: self.stamp()},
                "ownerReferences": [controller_reference(service, "v1", "Service")],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        });
        self.cluster.create(USER, SLICES, slice)?;
        Ok(())
    }
}

/// The ports of a Service as one pod has them: a port by name is wherever the pod's containers have it.
fn ports(service: &Value, pod: &Value) -> Value {
    let mut ports = Vec::new();
    for port in list(&service["spec"]["ports"]) {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let target = match &port["targetPort"] {
            Value::Null => port["port"].clone(),
            Value::String(wanted) => {
                let containers = list(&pod["spec"]["containers"]).iter();
                let named = containers.flat_map(|c| list(&c["ports"])).find(|p| {
                    text(&p["name"]) == wanted.as_str() && p["protocol"].as_str().unwrap_or("TCP") == protocol
                });
                match named {
                    Some(named) => named["containerPort"].clone(),
                    None => continue,
                }
            }
            number if *number == 0 => port["port"].clone(),
            number => number.clone(),
        };
        let mut entry = json!({"name": text(&port["name"]), "protocol": protocol, "port": target});
        if !port["appProtocol"].is_null() {
            entry["appProtocol"] = port["appProtocol"].clone();
        }
        ports.push(entry);
    }
    Value::Array(ports)
}
