//! A plain Deployment: the new version takes the place of the old one as fast as its pods get ready, and nobody looks until
//! users complain.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Options, Patch, workloads::Workloads};
use serin_model::At as _;
use serin_rehearse::{
    load::{Entry, Load, Totals},
    pods::Pods,
    series::Exposition,
};
use tokio::time::{Instant, sleep_until};

use crate::services::Release;

const PEOPLE: &str = "person";
const NAMESPACE: &str = "default";
const NAME: &str = "app";

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rolled {
    /// What users met from the change on.
    pub(crate) totals: Totals,
    /// Every pod was of the new version at some time.
    pub(crate) complete: bool,
    /// From the change until no request goes to the bad version any more; none for a good one.
    pub(crate) off: Option<Duration>,
}

/// Rolls the release out; somebody goes back `noticed` after users first met what is wrong.
///
/// # Errors
/// The simulation cannot be set up.
pub(crate) fn roll(release: &Release, noticed: Duration, stay: Duration) -> Result<Rolled> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let rolled = runtime.block_on(played(release, noticed, stay));
    runtime.shutdown_background();
    rolled
}

fn image(tag: &str) -> Value {
    json!({ "containers": [{
        "name": "app", "image": format!("app:{tag}"),
        "readinessProbe": { "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 },
    }] })
}

async fn played(release: &Release, noticed: Duration, stay: Duration) -> Result<Rolled> {
    let cluster = Cluster::new(Options {
        seed: release.seed,
        ..Options::default()
    });
    let pods = Arc::new(Pods {
        new_images: vec!["app:new".to_owned()],
        faults: release.assumptions.faults.clone(),
        start: release.assumptions.start,
        seed: release.seed,
    });
    let load = Load::new(
        cluster.clone(),
        NAMESPACE,
        Entry::Service(NAME.to_owned()),
        &pods,
        &release.assumptions,
        &Exposition::default().bounds(),
    );
    let workloads = tokio::spawn(Workloads::new(&cluster, pods as _).terse().run());
    let labels = json!({ "app": NAME });
    let create = |resource: &str, object: Value| {
        cluster
            .create(PEOPLE, resource, object)
            .map(drop)
            .map_err(|status| anyhow!("{resource}: {}", status.message))
    };
    create(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME, "namespace": NAMESPACE },
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }),
    )?;
    create(
        "deployments",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME, "namespace": NAMESPACE },
            "spec": {
                "replicas": release.replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": image("old") },
            },
        }),
    )?;
    let started = Instant::now();
    let mut run = Run { cluster, load, started };
    run.until(Duration::from_secs(120), |_| false).await;
    let changed = run.now();
    let before = run.load.totals();
    run.set("new")?;
    let mut complete = false;
    let noticed_at = release.bad.map(|_| changed + release.first_harm() + noticed);
    let end = changed + stay;
    run.until(noticed_at.map_or(end, |at| at.min(end)), |run| {
        complete |= run.load.share_of_new() > 0.999;
        false
    })
    .await;
    let mut off = None;
    if noticed_at.is_some_and(|at| at < end) {
        run.set("old")?;
        if run.until(end, |run| run.load.share_of_new() == 0.0).await {
            off = Some(run.now() - changed);
        }
    }
    run.until(end, |_| false).await;
    workloads.abort();
    Ok(Rolled {
        totals: run.load.totals().since(before),
        complete,
        off,
    })
}

struct Run {
    cluster: Cluster,
    load: Load,
    started: Instant,
}

impl Run {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn set(&self, tag: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "template": { "spec": image(tag) } } }));
        let patched = self.cluster.patch(PEOPLE, "deployments", NAMESPACE, NAME, None, &patch);
        let deployment = patched.map_err(|status| anyhow!("{}", status.message))?;
        deployment
            .at("/spec/replicas")
            .map(drop)
            .context("a Deployment without replicas")
    }

    /// Goes on until then, or until `look` says so.
    async fn until(&mut self, end: Duration, mut look: impl FnMut(&Self) -> bool) -> bool {
        let mut changes = self.cluster.changes();
        loop {
            changes.mark_unchanged();
            self.load.advance(self.started.elapsed());
            if look(self) {
                return true;
            }
            if self.now() >= end {
                return false;
            }
            tokio::select! {
                biased;
                () = changes.changed() => {}
                () = sleep_until(self.started + end) => {}
            }
        }
    }
}
