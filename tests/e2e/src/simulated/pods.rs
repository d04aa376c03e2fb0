//! How pods behave: read off image, environment and arguments by the same code as on the real cluster.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use serde_json::Value;
use serin_cluster::Behaviour;
use serin_kubesim::workloads::{PodBehaviour, PodPlan};

/// A pod is asked for its readiness this often, as its probe says on the real cluster.
const PROBE: Duration = Duration::from_millis(300);

/// See the module.
pub(super) struct Pods;

impl PodBehaviour for Pods {
    fn start(&self, pod: &Value) -> PodPlan {
        let behaviour = behaviour(pod);
        let image = pod.pointer("/spec/containers/0/image").and_then(Value::as_str);
        let delay = behaviour.start_delay.unwrap_or_default() + PROBE;
        let sleep = pod
            .pointer("/spec/containers/0/lifecycle/preStop/sleep/seconds")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        PodPlan {
            ready_after: behaviour.ready.then_some(delay),
            fails_after: if behaviour.crash_on_start {
                Some(Duration::from_millis(1))
            } else {
                behaviour.crash_after
            },
            image_exists: !image.is_some_and(|image| image.contains("does-not-exist")),
            termination: Duration::from_secs(sleep) + behaviour.drain.unwrap_or(Duration::from_millis(100)),
            ..PodPlan::default()
        }
    }
}

/// What a pod was told to do.
pub(super) fn behaviour(pod: &Value) -> Behaviour {
    let container = pod.pointer("/spec/containers/0").cloned().unwrap_or_default();
    let container: Container = serde_json::from_value(container).unwrap_or_default();
    Behaviour::of(&container).unwrap_or_default()
}
