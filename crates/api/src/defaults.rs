//! What counts when a field is left out, and the numbers that follow from it. Defaults are code, never schema: the stored
//! object stays as its author wrote it (compat 1.1).

use crate::{
    intstr::IntOrString,
    rollout::{AnalysisRunStrategy, BlueGreenStrategy, CanaryStrategy, RolloutSpec},
};

/// `maxSurge` and `maxUnavailable` when left out (compat H10).
const QUARTER: &str = "25%";
/// Seconds for which an old or aborted version is kept (compat 1.1.1, 1.1.2).
pub const DEFAULT_SCALE_DOWN_DELAY: i32 = 30;
/// Finished analysis runs kept of each kind (compat 1.1).
pub const DEFAULT_RUN_HISTORY: i32 = 5;

impl RolloutSpec {
    /// `analysis.successfulRunHistoryLimit`, 5 when left out (compat 1.1, 2.17).
    pub fn successful_run_history(&self) -> i32 {
        limit(self.analysis.as_ref(), |a| a.successful_run_history_limit)
    }

    /// `analysis.unsuccessfulRunHistoryLimit`, 5 when left out (compat 1.1, 2.17).
    pub fn unsuccessful_run_history(&self) -> i32 {
        limit(self.analysis.as_ref(), |a| a.unsuccessful_run_history_limit)
    }

    /// `progressDeadlineAbort` (compat 1.1).
    pub fn aborts_on_deadline(&self) -> bool {
        self.progress_deadline_abort.unwrap_or(false)
    }

    /// `rollbackWindow.revisions`; 0 is off, and so is a negative number (compat 2.7, recordings 33).
    pub fn rollback_window_revisions(&self) -> i32 {
        self.rollback_window
            .as_ref()
            .and_then(|w| w.revisions)
            .unwrap_or(0)
            .max(0)
    }
}

fn limit(strategy: Option<&AnalysisRunStrategy>, field: impl Fn(&AnalysisRunStrategy) -> Option<i32>) -> i32 {
    strategy.and_then(field).unwrap_or(DEFAULT_RUN_HISTORY)
}

impl CanaryStrategy {
    /// Pods above `replicas` (compat 1.1.2, 2.5): a share is rounded up. Text that is no number is 0, because upstream
    /// accepts it (recordings 33).
    pub fn max_surge_count(&self, replicas: i32) -> i32 {
        share(self.max_surge.as_ref(), replicas, true)
    }

    /// Pods that may be missing (compat 1.1.2, 2.5): a share is rounded down; never more than `replicas`; 1 when this and
    /// the surge would both be 0, since nothing could move then. 0 for no replicas.
    pub fn max_unavailable_count(&self, replicas: i32) -> i32 {
        if replicas <= 0 {
            return 0;
        }
        let unavailable = share(self.max_unavailable.as_ref(), replicas, false);
        if unavailable == 0 && self.max_surge_count(replicas) == 0 {
            return 1;
        }
        unavailable.min(replicas)
    }

    /// Seconds for which the old version is kept after a promotion (compat 1.1.2): 30 with a router, 0 without.
    pub fn scale_down_delay(&self) -> i32 {
        match (self.scale_down_delay_seconds, &self.traffic_routing) {
            (_, None) => 0,
            (Some(seconds), Some(_)) => seconds,
            (None, Some(_)) => DEFAULT_SCALE_DOWN_DELAY,
        }
    }

    /// Old versions kept scaled at the same time, no limit when left out (compat 1.1.2).
    pub fn scale_down_delay_limit(&self) -> i32 {
        self.scale_down_delay_revision_limit.unwrap_or(i32::MAX)
    }

    /// Seconds for which an aborted canary is kept (compat 1.1.2, H11, 2.6): 30 with a router when left out. [`None`] is for
    /// ever (the field says 0). Without a router the field means nothing and the canary goes at once: `Some(0)`.
    pub fn abort_scale_down_delay(&self) -> Option<i32> {
        if self.traffic_routing.is_none() {
            return Some(0);
        }
        match self.abort_scale_down_delay_seconds {
            Some(0) => None,
            Some(seconds) => Some(seconds),
            None => Some(DEFAULT_SCALE_DOWN_DELAY),
        }
    }

    /// `minPodsPerReplicaSet` for that many replicas (compat 2.5): 0 stays 0, anything else is raised to the minimum, which
    /// itself never exceeds `replicas`. Without a router the field means nothing.
    pub fn at_least_min_pods(&self, count: i32, replicas: i32) -> i32 {
        match (self.min_pods_per_replica_set, &self.traffic_routing) {
            (Some(least), Some(_)) if count != 0 => count.max(least.min(replicas)),
            _ => count,
        }
    }
}

impl BlueGreenStrategy {
    /// `scaleDownDelaySeconds`, 30 when left out (compat 1.1.1).
    pub fn scale_down_delay(&self) -> i32 {
        self.scale_down_delay_seconds.unwrap_or(DEFAULT_SCALE_DOWN_DELAY)
    }

    /// `scaleDownDelayRevisionLimit`, no limit when left out (compat 1.1.1).
    pub fn scale_down_delay_limit(&self) -> i32 {
        self.scale_down_delay_revision_limit.unwrap_or(i32::MAX)
    }

    /// As for a canary with a router: 30 when left out, [`None`] is for ever (compat 1.1.1, H11).
    pub fn abort_scale_down_delay(&self) -> Option<i32> {
        match self.abort_scale_down_delay_seconds {
            Some(0) => None,
            Some(seconds) => Some(seconds),
            None => Some(DEFAULT_SCALE_DOWN_DELAY),
        }
    }

    /// `autoPromotionEnabled`, true when left out (compat 1.1.1).
    pub fn promotes_by_itself(&self) -> bool {
        self.auto_promotion_enabled.unwrap_or(true)
    }
}

fn share(value: Option<&IntOrString>, replicas: i32, round_up: bool) -> i32 {
    let quarter = IntOrString::String(QUARTER.to_owned());
    value.unwrap_or(&quarter).scaled(replicas, round_up).unwrap_or(0).max(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn canary(value: Value) -> CanaryStrategy {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let c = canary(json!({}));
        assert_eq!((c.max_surge_count(10), c.max_unavailable_count(10)), (3, 2));
        assert_eq!((c.max_surge_count(1), c.max_unavailable_count(1)), (1, 0));
        assert_eq!((c.max_surge_count(0), c.max_unavailable_count(0)), (0, 0));
    }

    #[test]
    fn when_both_come_to_nothing_one_pod_may_be_missing() {
        let c = canary(json!({"maxSurge": "0%", "maxUnavailable": "10%"}));
        assert_eq!((c.max_surge_count(5), c.max_unavailable_count(5)), (0, 1));
        let text = canary(json!({"maxSurge": "abc", "maxUnavailable": 0}));
        assert_eq!((text.max_surge_count(5), text.max_unavailable_count(5)), (0, 1));
    }

    #[test]
    fn no_more_pods_may_be_missing_than_there_are() {
        let c = canary(json!({"maxUnavailable": "150%"}));
        assert_eq!(c.max_unavailable_count(4), 4);
        assert_eq!(canary(json!({"maxUnavailable": 9})).max_unavailable_count(4), 4);
    }

    #[test]
    fn delays_need_a_router() {
        let router = json!({"plugins": {"argoproj-labs/gatewayAPI": {}}});
        assert_eq!(canary(json!({})).scale_down_delay(), 0);
        assert_eq!(canary(json!({"trafficRouting": router})).scale_down_delay(), 30);
        assert_eq!(
            canary(json!({"trafficRouting": router, "scaleDownDelaySeconds": 3})).scale_down_delay(),
            3
        );
        assert_eq!(
            canary(json!({"abortScaleDownDelaySeconds": 5})).abort_scale_down_delay(),
            Some(0)
        );
        assert_eq!(
            canary(json!({"trafficRouting": router})).abort_scale_down_delay(),
            Some(30)
        );
        assert_eq!(
            canary(json!({"trafficRouting": router, "abortScaleDownDelaySeconds": 0})).abort_scale_down_delay(),
            None
        );
    }

    #[test]
    fn the_least_number_of_pods_is_capped_and_leaves_zero_alone() {
        let c = canary(json!({"minPodsPerReplicaSet": 3, "trafficRouting": {}}));
        assert_eq!([0, 1, 5].map(|n| c.at_least_min_pods(n, 10)), [0, 3, 5]);
        assert_eq!(c.at_least_min_pods(1, 2), 2);
        assert_eq!(canary(json!({"minPodsPerReplicaSet": 3})).at_least_min_pods(1, 10), 1);
    }
}
