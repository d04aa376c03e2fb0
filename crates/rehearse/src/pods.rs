//! How pods start and die, by their version. What they answer is not known here.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::Value;
use serin_kubesim::workloads::{PodBehaviour, PodPlan};
use serin_model::At as _;

use crate::fault::{Fault, FaultKind};

/// A container that cannot start lives so long.
const CRASH: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Pods {
    /// Images of the new version's containers.
    pub new_images: Vec<String>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// How long a pod takes until its first probe, beside the probe's own delay.
    pub start: Duration,
    /// For what differs from pod to pod.
    pub seed: u64,
}

/// The images of a pod, or of a pod template.
pub fn images(pod: &Value) -> Vec<String> {
    let containers = pod.at("/spec/containers").and_then(Value::as_array);
    let images = containers
        .into_iter()
        .flatten()
        .map(|c| c["image"].as_str().unwrap_or_default());
    images.map(str::to_owned).collect()
}

impl PodBehaviour for Pods {
    fn start(&self, pod: &Value) -> PodPlan {
        let name = pod.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let own = name
            .bytes()
            .fold(self.seed, |h, b| h.wrapping_mul(0x0100_0000_01b3) ^ u64::from(b));
        let mut rng = SmallRng::seed_from_u64(own);
        // Some take a little longer than others.
        let mut ready = probe_delay(pod) + self.start + Duration::from_millis(rng.random_range(0..1000));
        let mut plan = PodPlan::default();
        let mut crashes_at_start = false;
        if images(pod) == self.new_images {
            for fault in &self.faults {
                let struck = rng.random_bool(fault.share);
                if !struck {
                    continue;
                }
                let dies = match &fault.kind {
                    FaultKind::SlowStart(by) => {
                        ready += *by;
                        continue;
                    }
                    FaultKind::CrashLoop => {
                        crashes_at_start |= fault.after.is_zero();
                        fault.after + CRASH
                    }
                    FaultKind::OutOfMemory(after) => fault.after + *after,
                    _ => continue,
                };
                plan.fails_after = Some(plan.fails_after.map_or(dies, |other| other.min(dies)));
            }
        }
        // Whoever dies first never gets ready; nor does a container that crashes before it listens, however fast a probe is.
        let in_time = |ready: &Duration| !crashes_at_start && plan.fails_after.is_none_or(|dies| *ready < dies);
        plan.ready_after = Some(ready).filter(in_time);
        plan
    }
}

/// When the slowest readiness probe asks for the first time.
fn probe_delay(pod: &Value) -> Duration {
    let containers = pod.at("/spec/containers").and_then(Value::as_array);
    let delays = containers
        .into_iter()
        .flatten()
        .filter_map(|c| c.at("/readinessProbe/initialDelaySeconds").and_then(Value::as_u64));
    Duration::from_secs(delays.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(image: &str, name: &str, faults: &[&str]) -> PodPlan {
        let pods = Pods {
            new_images: vec!["app:2".to_owned()],
            faults: faults.iter().map(|f| f.parse().expect("a fault")).collect(),
            start: Duration::from_secs(2),
            seed: 1,
        };
        pods.start(&json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"image": image, "readinessProbe": {"initialDelaySeconds": 5}}]},
        }))
    }

    #[test]
    fn only_pods_of_the_new_version_have_its_faults() {
        let seconds = |plan: &PodPlan| plan.ready_after.map(|d| d.as_secs());
        assert_eq!(seconds(&plan("app:1", "a", &["slowstart=90s", "crashloop"])), Some(7));
        assert_eq!(seconds(&plan("app:2", "a", &["slowstart=90s"])), Some(97));
        let crash = plan("app:2", "a", &["crashloop"]);
        assert_eq!((crash.ready_after, crash.fails_after), (None, Some(CRASH)));
        let late = plan("app:2", "a", &["crashloop,after=4m", "oom=5m"]);
        assert_eq!(late.fails_after, Some(Duration::from_secs(241)));
        assert_eq!(seconds(&late), Some(7));
    }

    #[test]
    fn a_share_of_pods_is_struck() {
        let struck = (0..1000).filter(|n| {
            plan("app:2", &format!("app-{n}"), &["crashloop,share=10%"])
                .fails_after
                .is_some()
        });
        let count = struck.count();
        assert!((60..140).contains(&count), "{count}");
    }
}
