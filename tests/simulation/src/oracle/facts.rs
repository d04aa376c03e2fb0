//! Objects as an outside observer reads them: raw JSON in, plain numbers and words out. Knows the fields' defaults
//! (compat 1.1) and nothing of what anybody should do about them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_model::At as _;

/// The label that tells revisions apart, and the key in a managed Service's selector.
pub(crate) const HASH: &str = "rollouts-pod-template-hash";
const PLUGIN: &str = "argoproj-labs/gatewayAPI";

/// The text at this path; empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.at(path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at this path.
pub(crate) fn number(value: &Value, path: &str) -> Option<i64> {
    value.at(path).and_then(Value::as_i64)
}

/// Whether the field at this path is `true`.
pub(crate) fn flag(value: &Value, path: &str) -> bool {
    value.at(path).and_then(Value::as_bool).unwrap_or(false)
}

/// The list at this path; empty when there is none.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A time stamp.
pub(crate) fn time(stamp: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(stamp).ok().map(|t| t.to_utc())
}

/// The `rollouts-pod-template-hash` of a ReplicaSet, Pod or AnalysisRun.
pub(crate) fn hash_of(object: &Value) -> &str {
    object
        .get("metadata")
        .and_then(|m| m.get("labels"))
        .and_then(|l| l.get(HASH))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The revision that a Service selects; empty when it selects all.
pub(crate) fn selected(service: &Value) -> &str {
    service
        .get("spec")
        .and_then(|s| s.get("selector"))
        .and_then(|s| s.get(HASH))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// (kind, name, uid) of the controlling owner.
pub(crate) fn owner(object: &Value) -> Option<(&str, &str, &str)> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|o| flag(o, "/controller"))
        .map(|o| (text(o, "/kind"), text(o, "/name"), text(o, "/uid")))
}

/// `spec.replicas` of a ReplicaSet.
pub(crate) fn wanted(replica_set: &Value) -> i64 {
    number(replica_set, "/spec/replicas").unwrap_or(1)
}

/// `status.availableReplicas` of a ReplicaSet, never more than it wants.
pub(crate) fn available(replica_set: &Value) -> i64 {
    number(replica_set, "/status/availableReplicas")
        .unwrap_or(0)
        .min(wanted(replica_set))
}

/// The annotation that says until when a ReplicaSet is kept.
pub(crate) fn scale_down_deadline(replica_set: &Value) -> Option<DateTime<Utc>> {
    let annotations = replica_set.get("metadata")?.get("annotations")?;
    time(annotations.get("scale-down-deadline")?.as_str()?)
}

/// What a step is; the first match decides (compat 1.1.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    /// Until a person goes on, or so many seconds.
    Pause(Option<i64>),
    /// The size of the canary.
    Scale(&'a Value),
    /// The weight.
    Weight(i64),
    /// An analysis run.
    Analysis,
    /// Anything else.
    Other,
}

/// A Rollout with the defaults of compat 1.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rollout<'a>(pub &'a Value);

impl<'a> Rollout<'a> {
    fn canary(self) -> &'a Value {
        self.0.at("/spec/strategy/canary").unwrap_or(&Value::Null)
    }

    pub(crate) fn status(self) -> &'a Value {
        self.0.get("status").unwrap_or(&Value::Null)
    }

    pub(crate) fn name(self) -> &'a str {
        text(self.0, "/metadata/name")
    }

    pub(crate) fn namespace(self) -> &'a str {
        text(self.0, "/metadata/namespace")
    }

    pub(crate) fn is_going(self) -> bool {
        self.0.at("/metadata/deletionTimestamp").is_some()
    }

    pub(crate) fn replicas(self) -> i64 {
        number(self.0, "/spec/replicas").unwrap_or(1)
    }

    pub(crate) fn is_paused(self) -> bool {
        flag(self.0, "/spec/paused")
    }

    /// Whether the status speaks of the present spec.
    pub(crate) fn is_observed(self) -> bool {
        let generation = number(self.0, "/metadata/generation").unwrap_or(0);
        text(self.status(), "/observedGeneration") == generation.to_string()
    }

    pub(crate) fn steps(self) -> &'a [Value] {
        list(self.canary(), "/steps")
    }

    pub(crate) fn step(self, index: usize) -> Option<Step<'a>> {
        let step = self.steps().get(index)?;
        Some(if let Some(pause) = step.get("pause") {
            Step::Pause(pause.get("duration").and_then(seconds))
        } else if let Some(scale) = step.get("setCanaryScale") {
            Step::Scale(scale)
        } else if let Some(weight) = step.get("setWeight").and_then(Value::as_i64) {
            Step::Weight(weight)
        } else if step.get("analysis").is_some() {
            Step::Analysis
        } else {
            Step::Other
        })
    }

    /// Whether a router splits the traffic.
    pub(crate) fn has_router(self) -> bool {
        self.canary().at("/trafficRouting/plugins").is_some()
    }

    /// (namespace, name) of the HTTPRoutes.
    pub(crate) fn routes(self) -> Vec<(&'a str, &'a str)> {
        let plugins = self.canary().at("/trafficRouting/plugins");
        let Some(config) = plugins.and_then(|p| p.get(PLUGIN)) else {
            return Vec::new();
        };
        let namespace = match text(config, "/namespace") {
            "" => self.namespace(),
            other => other,
        };
        let mut names: Vec<&str> = list(config, "/httpRoutes").iter().map(|r| text(r, "/name")).collect();
        names.extend(config.get("httpRoute").and_then(Value::as_str));
        names.retain(|n| !n.is_empty());
        names.into_iter().map(|name| (namespace, name)).collect()
    }

    pub(crate) fn canary_service(self) -> &'a str {
        text(self.canary(), "/canaryService")
    }

    pub(crate) fn stable_service(self) -> &'a str {
        text(self.canary(), "/stableService")
    }

    /// The weight that is the whole.
    pub(crate) fn whole(self) -> i64 {
        number(self.canary(), "/trafficRouting/maxTrafficWeight")
            .filter(|w| *w > 0)
            .unwrap_or(100)
    }

    pub(crate) fn surge(self) -> i64 {
        count(self.canary().get("maxSurge"), self.replicas(), true)
    }

    pub(crate) fn unavailable(self) -> i64 {
        let unavailable = count(self.canary().get("maxUnavailable"), self.replicas(), false);
        let unavailable = if unavailable == 0 && self.surge() == 0 {
            1
        } else {
            unavailable
        };
        unavailable.min(self.replicas())
    }

    pub(crate) fn is_dynamic(self) -> bool {
        flag(self.canary(), "/dynamicStableScale")
    }

    pub(crate) fn min_pods(self) -> Option<i64> {
        number(self.canary(), "/minPodsPerReplicaSet")
    }

    /// `replicaProgressThreshold`: whether so many available pods of so many are enough.
    pub(crate) fn is_enough(self, available: i64, desired: i64) -> bool {
        let Some(threshold) = self.canary().get("replicaProgressThreshold") else {
            return available >= desired;
        };
        let value = number(threshold, "/value").unwrap_or(0);
        available >= desired
            || match text(threshold, "/type") {
                "Percent" => desired == 0 || available * 100 >= value * desired,
                "Pods" => available >= value,
                _ => false,
            }
    }

    pub(crate) fn has_threshold(self) -> bool {
        self.canary().get("replicaProgressThreshold").is_some()
    }

    /// How long the old ReplicaSet is kept after a promotion.
    pub(crate) fn scale_down_delay(self) -> i64 {
        if !self.has_router() || self.is_dynamic() {
            return 0;
        }
        number(self.canary(), "/scaleDownDelaySeconds").unwrap_or(30)
    }

    pub(crate) fn has_revision_limit(self) -> bool {
        number(self.canary(), "/scaleDownDelayRevisionLimit").is_some()
    }

    /// How long the canary is kept after an abort: as written, or 30. 0 is for ever.
    pub(crate) fn abort_delay(self) -> i64 {
        number(self.canary(), "/abortScaleDownDelaySeconds").unwrap_or(30)
    }

    pub(crate) fn has_abort_delay(self) -> bool {
        number(self.canary(), "/abortScaleDownDelaySeconds").is_some()
    }

    pub(crate) fn history_limit(self) -> i64 {
        number(self.0, "/spec/revisionHistoryLimit").unwrap_or(10)
    }

    pub(crate) fn deadline(self) -> i64 {
        number(self.0, "/spec/progressDeadlineSeconds").unwrap_or(600)
    }

    pub(crate) fn rollback_window(self) -> i64 {
        number(self.0, "/spec/rollbackWindow/revisions").unwrap_or(0)
    }

    /// What makes a new revision or starts the steps anew: template and steps.
    pub(crate) fn plan_of_release(self) -> (Option<&'a Value>, Option<&'a Value>) {
        (self.0.at("/spec/template"), self.canary().get("steps"))
    }

    // Status.

    pub(crate) fn current(self) -> &'a str {
        text(self.status(), "/currentPodHash")
    }

    pub(crate) fn stable(self) -> &'a str {
        text(self.status(), "/stableRS")
    }

    pub(crate) fn step_hash(self) -> &'a str {
        text(self.status(), "/currentStepHash")
    }

    pub(crate) fn is_promoted(self) -> bool {
        !self.stable().is_empty() && self.stable() == self.current()
    }

    pub(crate) fn index(self) -> Option<usize> {
        number(self.status(), "/currentStepIndex").and_then(|i| usize::try_from(i).ok())
    }

    pub(crate) fn is_aborted(self) -> bool {
        flag(self.status(), "/abort")
    }

    pub(crate) fn is_full(self) -> bool {
        flag(self.status(), "/promoteFull")
    }

    pub(crate) fn controller_pause(self) -> bool {
        flag(self.status(), "/controllerPause")
    }

    pub(crate) fn phase(self) -> &'a str {
        text(self.status(), "/phase")
    }

    pub(crate) fn message(self) -> &'a str {
        text(self.status(), "/message")
    }

    /// `startTime` of the pause condition with this reason.
    pub(crate) fn paused_since(self, reason: &str) -> Option<&'a str> {
        list(self.status(), "/pauseConditions")
            .iter()
            .find(|c| text(c, "/reason") == reason)
            .map(|c| text(c, "/startTime"))
    }

    pub(crate) fn is_held(self) -> bool {
        !list(self.status(), "/pauseConditions").is_empty()
    }

    pub(crate) fn condition(self, kind: &str) -> Option<&'a Value> {
        list(self.status(), "/conditions")
            .iter()
            .find(|c| text(c, "/type") == kind)
    }

    pub(crate) fn is_invalid(self) -> bool {
        self.condition("InvalidSpec")
            .is_some_and(|c| text(c, "/status") == "True")
    }

    /// Name of the AnalysisRun of the step, as the status says.
    pub(crate) fn step_run(self) -> &'a str {
        text(self.status(), "/canary/currentStepAnalysisRunStatus/name")
    }

    /// Name of the AnalysisRun in the background, as the status says.
    pub(crate) fn background_run(self) -> &'a str {
        text(self.status(), "/canary/currentBackgroundAnalysisRunStatus/name")
    }
}

/// `pause.duration` in seconds: a number, digits, or a duration like `1m30s`.
pub(crate) fn seconds(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let written = value.as_str()?;
    if let Ok(number) = written.parse() {
        return Some(number);
    }
    let mut total = 0.0;
    let mut digits = String::new();
    let mut unit = String::new();
    let mut parts: Vec<(f64, String)> = Vec::new();
    for c in written.chars() {
        if c.is_ascii_digit() || c == '.' {
            if !unit.is_empty() {
                parts.push((digits.parse().ok()?, std::mem::take(&mut unit)));
                digits.clear();
            }
            digits.push(c);
        } else {
            unit.push(c);
        }
    }
    parts.push((digits.parse().ok()?, unit));
    for (n, unit) in parts {
        total += n * match unit.as_str() {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
    }
    #[expect(clippy::cast_possible_truncation, reason = "pauses are short")]
    Some(total.round() as i64)
}

/// An int-or-percent of a total; a bare number in quotes is a percentage, and 25% is the default (compat H10).
fn count(value: Option<&Value>, total: i64, up: bool) -> i64 {
    let percent = match value {
        None | Some(Value::Null) => 25,
        Some(Value::String(s)) => s.trim_end_matches('%').parse().unwrap_or(0),
        Some(other) => return other.as_i64().unwrap_or(0),
    };
    let hundredths = percent * total;
    if up {
        (hundredths + 99).div_euclid(100)
    } else {
        hundredths.div_euclid(100)
    }
}

/// Of a route: of each rule that has both Services, (weight of canary, weight of stable).
pub(crate) fn weights(route: &Value, canary: &str, stable: &str) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    for rule in list(route, "/spec/rules") {
        let sum = |service: &str| {
            let mut refs = list(rule, "/backendRefs")
                .iter()
                .filter(|r| text(r, "/name") == service)
                .peekable();
            refs.peek()?;
            Some(refs.map(|r| number(r, "/weight").unwrap_or(1)).sum::<i64>())
        };
        if let (Some(canary), Some(stable)) = (sum(canary), sum(stable)) {
            out.push((canary, stable));
        }
    }
    out
}

/// The greatest share (0 to 1) that a rule of the route gives to the canary's and to the stable Service.
pub(crate) fn shares(route: &Value, canary: &str, stable: &str) -> (f64, f64) {
    let mut out = (0.0_f64, 0.0_f64);
    for (c, s) in weights(route, canary, stable) {
        if c + s > 0 {
            out.0 = out.0.max(ratio(c, c + s));
            out.1 = out.1.max(ratio(s, c + s));
        }
    }
    out
}

/// A quotient of small numbers.
pub(crate) fn ratio(part: i64, whole: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "weights and counts are small")]
    let out = part as f64 / whole as f64;
    out
}

/// Whether an EndpointSlice has a ready endpoint that is a Pod of this ReplicaSet.
pub(crate) fn serves(slice: &Value, replica_set: &str) -> bool {
    list(slice, "/endpoints").iter().any(|e| {
        let pod = text(e, "/targetRef/name");
        pod.strip_prefix(replica_set).is_some_and(|rest| rest.starts_with('-'))
            && e.at("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
    })
}

/// Virtual time in words.
pub(crate) fn seconds_of(at: Duration) -> String {
    format!("{:.3}s", at.as_secs_f64())
}
