//! How a pod behaves, read off its object: an annotation, an environment variable, or the tag of its image. Pure.
//!
//! The words are those of `serin rehearse --fault`: `errors=30%`, `latency=+900ms`, `latency=x3`, `crashloop`,
//! `slowstart=90s`, `oom=5m`, each with `,share=10%`, `,after=4m` and `,above=25` if wanted, several separated by `;`, or `none`.
//! A tag cannot hold `=` and `%`: there they are `shop:v3-errors30`, `-latency900ms`, `-latencyx3`, `-crashloop`,
//! `-slowstart90s`, `-oom5m`.

use std::time::Duration;

use serde_json::Value;
use serin_kubesim::workloads::PodPlan;
use serin_model::At as _;
use serin_staging::fault::{Fault, FaultKind};

/// The pod's annotation.
pub const ANNOTATION: &str = "playground.serin.dev/behaviour";
/// The environment variable of a container.
pub const VARIABLE: &str = "PLAYGROUND_BEHAVIOUR";

/// From the start of a container until it is ready, beside the delay of its readiness probe.
const START: Duration = Duration::from_millis(300);
/// A container that cannot start lives so long: it never gets ready.
const CRASH: Duration = Duration::from_millis(200);
/// How long a pod goes on answering after its deletion: gateways follow a little late.
const TERMINATION: Duration = Duration::from_millis(800);
/// How long a container works that is to end.
const WORK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Behaviour {
    /// What is wrong with it.
    pub(crate) faults: Vec<Fault>,
    /// What was written and is not understood; nothing is wrong with the pod then.
    pub(crate) misunderstood: Option<String>,
}

impl Behaviour {
    /// The annotation counts before the variable, and that before the tag.
    pub(crate) fn of(pod: &Value) -> Self {
        let annotations = pod.at("/metadata/annotations");
        let annotation = annotations.and_then(|all| all[ANNOTATION].as_str());
        let variables = containers(pod).flat_map(|c| c["env"].as_array().into_iter().flatten());
        let variable = variables
            .filter(|v| v["name"] == VARIABLE)
            .find_map(|v| v["value"].as_str());
        let Some(text) = annotation.or(variable) else {
            let image = containers(pod).next().and_then(|c| c["image"].as_str());
            return Self {
                faults: in_tag(image.unwrap_or_default()),
                misunderstood: None,
            };
        };
        let parts = text.split(';').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty() && *part != "none");
        match parts.map(str::parse).collect() {
            Ok(faults) => Self {
                faults,
                misunderstood: None,
            },
            Err(error) => {
                let error: serin_staging::fault::FaultError = error;
                Self {
                    faults: Vec::new(),
                    misunderstood: Some(error.to_string()),
                }
            }
        }
    }

    /// When the pod gets ready, fails and ends.
    pub(crate) fn plan(&self, pod: &Value) -> PodPlan {
        let name = pod.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let delays = containers(pod).filter_map(|c| c.at("/readinessProbe/initialDelaySeconds")?.as_u64());
        let mut ready = START + Duration::from_secs(delays.max().unwrap_or(0));
        let mut dies: Option<Duration> = None;
        for fault in self.faults.iter().filter(|fault| strikes(fault, name)) {
            let at = match &fault.kind {
                FaultKind::SlowStart(by) => {
                    ready += *by;
                    continue;
                }
                FaultKind::CrashLoop => fault.after + CRASH,
                FaultKind::OutOfMemory(after) => fault.after + *after,
                FaultKind::Errors(_) | FaultKind::SlowerBy(_) | FaultKind::SlowerTimes(_) => continue,
            };
            dies = Some(dies.map_or(at, |other| other.min(at)));
        }
        let policy = pod.at("/spec/restartPolicy").and_then(Value::as_str);
        PodPlan {
            ready_after: Some(ready).filter(|ready| dies.is_none_or(|dies| *ready < dies)),
            fails_after: dies,
            completes_after: matches!(policy, Some("Never" | "OnFailure")).then_some(WORK),
            image_exists: !containers(pod).any(|c| {
                let image = c["image"].as_str().unwrap_or_default();
                image.ends_with("does-not-exist")
            }),
            termination: TERMINATION,
            ..PodPlan::default()
        }
    }

    /// What becomes of the n-th answer (from 0) of a container that has run for so long and gets so many requests per second:
    /// how much longer than usual it takes, as a factor and an addition, and whether it is an error.
    pub(crate) fn answer(&self, n: u64, age: Duration, rate: f64) -> Fate {
        let mut fate = Fate::default();
        let strikes = |fault: &&Fault| age >= fault.after && (fault.above <= 0.0 || rate > fault.above);
        for fault in self.faults.iter().filter(strikes) {
            match fault.kind {
                FaultKind::Errors(share) => fate.is_error |= hits(share * fault.share, n),
                FaultKind::SlowerBy(by) if hits(fault.share, n) => fate.later += by,
                FaultKind::SlowerTimes(times) if hits(fault.share, n) => fate.times *= times,
                _ => {}
            }
        }
        fate
    }

    /// `5% of answers are errors; …`, or that it is healthy.
    pub(crate) fn words(&self) -> String {
        if self.faults.is_empty() {
            return "healthy".to_owned();
        }
        let words: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        words.join("; ")
    }
}

/// See [`Behaviour::answer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    pub(crate) is_error: bool,
    pub(crate) later: Duration,
    pub(crate) times: f64,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            is_error: false,
            later: Duration::ZERO,
            times: 1.0,
        }
    }
}

/// The containers of a pod.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.at("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The tag of an image, or without one the image: what people call its version.
pub(crate) fn version(image: &str) -> &str {
    tag(image).unwrap_or(image)
}

/// An image without tag and digest.
pub(crate) fn repository(image: &str) -> &str {
    parts(image).0
}

fn tag(image: &str) -> Option<&str> {
    parts(image).1
}

/// Repository and tag.
fn parts(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A registry's port is no tag.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    }
}

/// Words in a tag that name a fault; others are just a name.
fn in_tag(image: &str) -> Vec<Fault> {
    let words = tag(image).unwrap_or_default().split('-').filter_map(|word| {
        let text = if word == "crashloop" {
            word.to_owned()
        } else if let Some(share) = word.strip_prefix("errors") {
            format!("errors={share}%")
        } else if let Some(times) = word.strip_prefix("latencyx") {
            format!("latency=x{times}")
        } else if let Some(by) = word.strip_prefix("latency") {
            format!("latency=+{by}")
        } else if let Some(by) = word.strip_prefix("slowstart") {
            format!("slowstart={by}")
        } else {
            format!("oom={}", word.strip_prefix("oom")?)
        };
        text.parse().ok()
    });
    words.collect()
}

/// Whether the n-th of many belongs to a share of them: exact over every hundred, and evenly spread.
fn hits(share: f64, n: u64) -> bool {
    let so_far = |n: f64| (n * share + 1e-9).floor();
    let n = n as f64;
    so_far(n + 1.0) > so_far(n)
}

/// Whether a pod is among the share that is struck; always the same for the same name.
fn strikes(fault: &Fault, name: &str) -> bool {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The upper half of the bits is as good as a random number between nothing and all.
    ((hash >> 32) as f64) < fault.share * f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(image: &str, annotation: Option<&str>, variable: Option<&str>) -> Value {
        json!({
            "metadata": {"name": "shop-1", "annotations": annotation.map(|text| json!({ANNOTATION: text}))},
            "spec": {"containers": [{"image": image, "env": variable.map(|text| json!([{"name": VARIABLE, "value": text}]))}]},
        })
    }

    fn words(pod: &Value) -> String {
        Behaviour::of(pod).words()
    }

    #[test]
    fn tag_variable_and_annotation_say_the_same_things() {
        let errors = "5% of answers are errors";
        assert_eq!(words(&pod("registry:5000/shop:v3-errors5", None, None)), errors);
        assert_eq!(words(&pod("shop:v3", None, Some("errors=5%"))), errors);
        assert_eq!(words(&pod("shop:v3", Some("errors=5%"), None)), errors);
        let slow = "answers take 900ms longer";
        assert_eq!(words(&pod("shop:v3-latency900ms", None, None)), slow);
        assert_eq!(words(&pod("shop:v3", Some("none"), Some("errors=5%"))), "healthy");
        assert_eq!(words(&pod("registry:5000/shop-errors5", None, None)), "healthy");
        let both = "5% of answers are errors; containers crash at their start";
        assert_eq!(words(&pod("shop:v3-errors5-crashloop", None, None)), both);
    }

    #[test]
    fn what_is_not_understood_is_kept_and_changes_nothing() {
        let behaviour = Behaviour::of(&pod("shop:v3-errors5", Some("errors=many"), None));
        assert!(behaviour.faults.is_empty());
        let said = behaviour.misunderstood.expect("it is said");
        assert!(said.starts_with("errors=many") && said.contains("errors=30%"), "{said}");
    }

    #[test]
    fn a_share_of_answers_is_hit_exactly() {
        let behaviour = Behaviour::of(&pod(
            "shop:v3",
            Some("errors=5%; latency=+800ms,share=10%,after=1s"),
            None,
        ));
        let fates = |age: Duration| (0..200).map(|n| behaviour.answer(n, age, 30.0)).collect::<Vec<_>>();
        let late = fates(Duration::from_secs(1));
        assert_eq!(late.iter().filter(|f| f.is_error).count(), 10);
        assert_eq!(late.iter().filter(|f| f.later > Duration::ZERO).count(), 20);
        assert_eq!(
            fates(Duration::ZERO)
                .iter()
                .filter(|f| f.later > Duration::ZERO)
                .count(),
            0
        );
    }

    #[test]
    fn what_strikes_under_load_spares_a_pod_with_little() {
        let behaviour = Behaviour::of(&pod("shop:v3", Some("errors=100%,above=25"), None));
        assert!(behaviour.answer(0, Duration::ZERO, 26.0).is_error);
        assert!(!behaviour.answer(0, Duration::ZERO, 25.0).is_error);
    }

    #[test]
    fn a_container_that_crashes_never_gets_ready() {
        let of = |image: &str| {
            let pod = pod(image, None, None);
            Behaviour::of(&pod).plan(&pod)
        };
        let crash = of("shop:crashloop");
        assert_eq!((crash.ready_after, crash.fails_after), (None, Some(CRASH)));
        assert_eq!(of("shop:v1").ready_after, Some(START));
        assert_eq!(of("shop:slowstart2s").ready_after, Some(START + Duration::from_secs(2)));
        assert!(!of("shop:does-not-exist").image_exists);
    }
}
