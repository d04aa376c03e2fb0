//! The controller's own metrics, under the names that people's dashboards and alerts know (compat 7.4).
//!
//! Counters and histograms are kept here; what describes the state of objects is read off the stores at each scrape, so
//! series of deleted objects are gone at once.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use serin_api::rollout::{Rollout, TrafficRouting};
use serin_audit::Rule;

use crate::{kinds::Kind, stores::Stores, table::Key};

type Labels = Vec<(&'static str, String)>;

/// See the module.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Labels, Histogram, fn() -> Histogram>,
    /// A gauge that only goes up: the upstream counter's name lacks the suffix that OpenMetrics demands of counters.
    errors: Family<Labels, Gauge>,
    events: Family<Labels, Counter>,
    writes: Family<Labels, Counter>,
    measurements: Family<Labels, Counter>,
    plans_refused: Family<Labels, Counter>,
    plan_warnings: Family<Labels, Counter>,
    leader: Gauge,
    queue_depth: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn reconcile_histogram() -> Histogram {
    Histogram::new([0.01, 0.15, 0.25, 0.5, 1.0])
}

fn of(key: &Key) -> Labels {
    vec![("namespace", key.namespace.clone()), ("name", key.name.clone())]
}

impl Metrics {
    /// All series registered, nothing counted.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            reconciles: Family::new_with_constructor(reconcile_histogram as fn() -> Histogram),
            errors: Family::default(),
            events: Family::default(),
            writes: Family::default(),
            measurements: Family::default(),
            plans_refused: Family::default(),
            plan_warnings: Family::default(),
            leader: Gauge::default(),
            queue_depth: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "rollout_reconcile",
            "Duration of reconciles in seconds",
            metrics.reconciles.clone(),
        );
        registry.register(
            "rollout_reconcile_error",
            "Reconciles that failed",
            metrics.errors.clone(),
        );
        registry.register("rollout_events", "Events recorded", metrics.events.clone());
        registry.register(
            "serin_writes",
            "Writes to the API server by kind and result",
            metrics.writes.clone(),
        );
        registry.register(
            "serin_measurements",
            "Answers of metric providers by result",
            metrics.measurements.clone(),
        );
        registry.register(
            "serin_plans_refused",
            "Plans that the audit refused, by the write rule that they break; any is a bug in Serin",
            metrics.plans_refused.clone(),
        );
        registry.register(
            "serin_plan_warnings",
            "Plans that were applied although they break a rule, by rule: about capacity, and any with --audit=warn",
            metrics.plan_warnings.clone(),
        );
        registry.register("serin_leader", "1 while this process leads", metrics.leader.clone());
        registry.register(
            "serin_queue_depth",
            "Rollouts that are due and wait for a worker",
            metrics.queue_depth.clone(),
        );
        let version = env!("CARGO_PKG_VERSION");
        let info: Family<Labels, Gauge> = Family::default();
        info.get_or_create(&vec![("version", version.to_owned())]).set(1);
        registry.register("argo_rollouts_controller_info", "The controller's version", info);
        let build: Family<Labels, Gauge> = Family::default();
        build
            .get_or_create(&vec![
                ("version", version.to_owned()),
                ("implementation", "serin".to_owned()),
            ])
            .set(1);
        registry.register("build_info", "What was built", build);
        Self { registry, ..metrics }
    }

    /// One reconcile ended.
    pub fn reconciled(&self, key: &Key, took: Duration, failed: bool) {
        self.reconciles.get_or_create(&of(key)).observe(took.as_secs_f64());
        if failed {
            self.errors.get_or_create(&of(key)).inc();
        }
    }

    /// Drops the series of a Rollout that no longer exists.
    pub fn forget(&self, key: &Key) {
        self.reconciles.remove(&of(key));
        self.errors.remove(&of(key));
    }

    /// An event was recorded.
    pub fn event(&self, key: &Key, kind: &str, reason: &str) {
        let mut labels = of(key);
        labels.extend([("type", kind.to_owned()), ("reason", reason.to_owned())]);
        self.events.get_or_create(&labels).inc();
    }

    /// A write was sent.
    pub fn write(&self, kind: &'static str, verb: &'static str, result: &'static str) {
        let labels = vec![
            ("kind", kind.to_owned()),
            ("verb", verb.to_owned()),
            ("result", result.to_owned()),
        ];
        self.writes.get_or_create(&labels).inc();
    }

    /// A provider answered.
    pub fn measurement(&self, result: &'static str) {
        self.measurements
            .get_or_create(&vec![("result", result.to_owned())])
            .inc();
    }

    /// The audit refused a plan.
    pub fn plan_refused(&self, rule: Rule) {
        self.plans_refused
            .get_or_create(&vec![("rule", rule.as_str().to_owned())])
            .inc();
    }

    /// The audit warned of a plan.
    pub fn plan_warned(&self, rule: Rule) {
        self.plan_warnings
            .get_or_create(&vec![("rule", rule.as_str().to_owned())])
            .inc();
    }

    /// Whether this process leads.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The text of a scrape.
    pub fn render(&self, stores: &Stores, leads: bool, queue_depth: usize) -> String {
        self.queue_depth.set(i64::try_from(queue_depth).unwrap_or(i64::MAX));
        let mut out = String::new();
        let state = if leads { state(stores) } else { Registry::default() };
        let written = encode_registry(&mut out, &self.registry)
            .and_then(|()| encode_registry(&mut out, &state))
            .and_then(|()| encode_eof(&mut out));
        written.expect("writing to a string cannot fail");
        out
    }
}

/// What only the leader tells: the state of Rollouts and runs (compat 7.4; a standby exports none of it).
fn state(stores: &Stores) -> Registry {
    let mut registry = Registry::default();
    let info: Family<Labels, Gauge> = Family::default();
    let phases: Family<Labels, Gauge> = Family::default();
    let counts: [(&str, &str, Family<Labels, Gauge>); 4] = [
        ("rollout_info_replicas_available", "Available pods", Family::default()),
        (
            "rollout_info_replicas_unavailable",
            "Unavailable pods",
            Family::default(),
        ),
        ("rollout_info_replicas_desired", "Desired pods", Family::default()),
        (
            "rollout_info_replicas_updated",
            "Pods of the newest revision",
            Family::default(),
        ),
    ];
    for (key, entry) in stores.rollouts.iter() {
        let Some(rollout) = entry.good() else { continue };
        let status = rollout.status.as_ref();
        let phase = progressing_phase(rollout);
        let mut labels = of(key);
        labels.push(("strategy", strategy(rollout).to_owned()));
        let mut with_router = labels.clone();
        with_router.push(("traffic_router", router(rollout).to_owned()));
        with_router.push(("phase", phase.to_owned()));
        info.get_or_create(&with_router).set(1);
        for known in PHASES {
            let mut labels = labels.clone();
            labels.push(("phase", known.to_owned()));
            phases.get_or_create(&labels).set(i64::from(known == phase));
        }
        let desired = rollout.spec.desired_replicas();
        let available = status.map_or(0, |s| s.available_replicas);
        let updated = status.map_or(0, |s| s.updated_replicas);
        for ((_, _, family), n) in counts
            .iter()
            .zip([available, (desired - available).max(0), desired, updated])
        {
            family.get_or_create(&of(key)).set(i64::from(n));
        }
    }
    registry.register("rollout_info", "Information about a Rollout", info);
    registry.register("rollout_phase", "Phase of a Rollout (use rollout_info)", phases);
    for (name, help, family) in counts {
        registry.register(name, help, family);
    }
    let info: Family<Labels, Gauge> = Family::default();
    let phases: Family<Labels, Gauge> = Family::default();
    for (key, run) in stores.runs.iter() {
        let mut labels = of(key);
        labels.push(("phase", run.view.phase.to_string()));
        info.get_or_create(&labels).set(1);
        for known in RUN_PHASES {
            let mut labels = of(key);
            labels.push(("phase", known.to_owned()));
            phases
                .get_or_create(&labels)
                .set(i64::from(known == run.view.phase.as_str()));
        }
    }
    registry.register("analysis_run_info", "Information about an analysis run", info);
    registry.register(
        "analysis_run_phase",
        "Phase of an analysis run (use analysis_run_info)",
        phases,
    );
    registry
}

const PHASES: [&str; 7] = [
    "Completed",
    "Progressing",
    "Paused",
    "Timeout",
    "Error",
    "Abort",
    "InvalidSpec",
];
const RUN_PHASES: [&str; 6] = ["Pending", "Running", "Successful", "Failed", "Error", "Inconclusive"];

fn strategy(rollout: &Rollout) -> &'static str {
    let strategy = &rollout.spec.strategy;
    match (&strategy.blue_green, &strategy.canary) {
        (Some(_), _) => "blueGreen",
        (None, Some(_)) => "canary",
        (None, None) => "none",
    }
}

/// Upstream's names of routers; those it has no name for are empty.
fn router(rollout: &Rollout) -> &'static str {
    let Some(r) = rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .and_then(|c| c.traffic_routing.as_ref())
    else {
        return "";
    };
    let TrafficRouting {
        alb,
        ambassador,
        istio,
        nginx,
        smi,
        app_mesh,
        ..
    } = r;
    [
        ("ALB", alb),
        ("Ambassador", ambassador),
        ("Istio", istio),
        ("Nginx", nginx),
        ("SMI", smi),
        ("AppMesh", app_mesh),
    ]
    .into_iter()
    .find(|(_, config)| config.is_some())
    .map_or("", |(name, _)| name)
}

/// The phase of these metrics comes from the reasons of conditions (compat 7.4).
fn progressing_phase(rollout: &Rollout) -> &'static str {
    let conditions = rollout
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    if conditions.iter().any(|c| c.kind == "InvalidSpec") {
        return "InvalidSpec";
    }
    match conditions
        .iter()
        .find(|c| c.kind == "Progressing")
        .map(|c| c.reason.as_str())
    {
        Some("NewReplicaSetAvailable") => "Completed",
        Some("RolloutPaused") => "Paused",
        Some("ProgressDeadlineExceeded") => "Timeout",
        Some("RolloutAborted") => "Abort",
        Some("ReplicaSetCreateError" | "FailedCreate" | "RolloutAnalysisRunFailed" | "ReconciliationError") => "Error",
        _ => "Progressing",
    }
}

/// Shared.
pub type SharedMetrics = Arc<Metrics>;

/// The word for a kind in `serin_writes`.
pub fn kind_label(kind: Kind) -> &'static str {
    kind.plural()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::{Lean, RolloutEntry};

    #[test]
    fn a_scrape_has_upstreams_names_and_state_only_on_the_leader() {
        let metrics = Metrics::new();
        let key = Key::new("n", "demo");
        metrics.reconciled(&key, Duration::from_millis(5), true);
        metrics.event(&key, "Normal", "RolloutCompleted");
        let mut stores = Stores::default();
        let rollout = json!({
            "metadata": {"name": "demo", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"replicas": 3, "strategy": {"canary": {}}},
            "status": {"availableReplicas": 2, "canary": {}, "blueGreen": {}, "conditions": [{
                "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "",
                "lastUpdateTime": "2026-11-21T12:00:00Z", "lastTransitionTime": "2026-11-21T12:00:00Z"}]},
        });
        stores.observe(Lean::<RolloutEntry>::from_object(rollout).unwrap());
        let text = metrics.render(&stores, true, 0);
        for line in [
            r#"rollout_info{namespace="n",name="demo",strategy="canary",traffic_router="",phase="Completed"} 1"#,
            r#"rollout_phase{namespace="n",name="demo",strategy="canary",phase="Paused"} 0"#,
            r#"rollout_info_replicas_unavailable{namespace="n",name="demo"} 1"#,
            r#"rollout_reconcile_error{namespace="n",name="demo"} 1"#,
            r#"rollout_events_total{namespace="n",name="demo",type="Normal",reason="RolloutCompleted"} 1"#,
            r#"rollout_reconcile_count{namespace="n",name="demo"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
        assert!(text.contains("argo_rollouts_controller_info{version=") && text.ends_with("# EOF\n"));
        assert!(!metrics.render(&stores, false, 0).contains("rollout_info{"));
    }
}
