//! The three releases: what is wrong with each, and how it should end.

use serde_json::{Value, json};

use crate::timeline::Ending;

/// A release of the demo's service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    pub(crate) image: &'static str,
    /// What a reader should know about it.
    pub(crate) title: &'static str,
    /// The fault in a few words.
    pub(crate) fault: &'static str,
    /// How its pods behave: environment of the demo's server. The cluster's nodes read some of it, the playground the rest.
    environment: &'static [(&'static str, &'static str)],
    pub(crate) should_be: Ending,
    /// The metric that must have failed.
    pub(crate) because_of: Option<&'static str>,
}

/// The releases in their order.
pub(crate) const RELEASES: [Release; 3] = [
    Release {
        image: "shop:v2",
        title: "a good one",
        fault: "none",
        environment: &[],
        should_be: Ending::Promoted,
        because_of: None,
    },
    Release {
        image: "shop:v3",
        title: "every twentieth answer is a 500",
        fault: "5% errors",
        environment: &[("ERROR_RATE", "0.05"), ("PLAYGROUND_BEHAVIOUR", "errors=5%")],
        should_be: Ending::Aborted,
        because_of: Some("canary-error-rate"),
    },
    Release {
        image: "shop:v4",
        title: "every tenth answer is 0.8 s late",
        fault: "10% slow",
        environment: &[
            ("LATENCY_MS", "800"),
            ("LATENCY_SHARE", "0.1"),
            ("PLAYGROUND_BEHAVIOUR", "latency=+800ms,share=10%"),
        ],
        should_be: Ending::Aborted,
        because_of: Some("canary-latency-p99"),
    },
];

impl Release {
    /// The same without its fault; it should still end as the faulty one.
    pub(crate) fn without_fault(self) -> Self {
        if self.environment.is_empty() {
            return self;
        }
        Self {
            title: "its fault taken out",
            fault: "removed",
            environment: &[],
            ..self
        }
    }

    /// The change that a pipeline would make: a new image (and, in this demo, the fault that it contains).
    pub(crate) fn patch(&self, containers: &Value) -> Value {
        let mut containers = containers.clone();
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}));
        containers[0]["image"] = self.image.into();
        containers[0]["env"] = environment.collect();
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    }
}
