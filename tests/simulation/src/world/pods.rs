//! How pods behave: by their version, by the mood of each, and by the time at which they start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use serin_kubesim::workloads::{PodBehaviour, PodPlan};
use serin_model::At as _;
use tokio::time::Instant;

use crate::{
    scenario::{Image, Scenario},
    seed::Stream,
};

/// See the module.
pub struct Pods {
    seed: u64,
    /// By image.
    images: BTreeMap<String, Image>,
    /// Until when pods start slower, and by how many milliseconds.
    slow: Mutex<Option<(Instant, u64)>>,
}

impl Pods {
    /// The pods of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let images = scenario.apps.iter().flat_map(|app| {
            let versions = app.images.iter().enumerate();
            versions.map(|(n, image)| (format!("{}:v{n}", app.name), image.clone()))
        });
        Self {
            seed: scenario.seed,
            images: images.collect(),
            slow: Mutex::new(None),
        }
    }

    /// Pods that start from now on take longer, for a while.
    pub fn slow_down(&self, by: u64, during: Duration) {
        *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now() + during, by));
    }
}

/// The image of a pod's first container.
pub(super) fn image(pod: &Value) -> &str {
    pod.at("/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl PodBehaviour for Pods {
    fn start(&self, pod: &Value) -> PodPlan {
        let Some(image) = self.images.get(image(pod)) else {
            return PodPlan::default();
        };
        let name = pod.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let mut mood = Stream::new(self.seed, name);
        // Some take a little longer than others.
        let own = mood.between(0, 200);
        let moody = image.moody > 0 && mood.percent(u64::from(image.moody));
        let now = Instant::now();
        let later = match *self.slow.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((until, by)) if now < until => by,
            _ => 0,
        };
        let mut ready = image.start.map(|ms| ms + own + later);
        let mut crash = if image.moody > 0 && !moody { None } else { image.crash };
        if moody && crash.is_none() {
            ready = ready.map(|ms| ms * 10);
        }
        if ready.is_none() {
            crash = None;
        }
        PodPlan {
            ready_after: ready.map(Duration::from_millis),
            fails_after: crash.map(Duration::from_millis),
            image_exists: image.exists,
            termination: Duration::from_millis(image.stop),
            ..PodPlan::default()
        }
    }
}
