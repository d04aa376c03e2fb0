//! W6, and W4 at the very end.

use super::{StatusWrite, steps::background_verdict};
use crate::oracle::{
    facts::shares,
    picture::Kind,
    report::{Report, Rule},
};

/// W6: `stableRS` changes only on completion (compat 2.4): all steps passed, not aborted, the pods available, and behind a router
/// the whole weight.
///
/// Excused: the first deploy, promoted at once (2.3), and what is like it, when somebody deleted the stable ReplicaSet (2.4); a full promotion does not wait for steps and weight (2.8); nor does the
/// rollback window (2.7); replicaProgressThreshold (2.4).
pub(crate) fn stable(write: &StatusWrite<'_, '_>, report: &mut Report) {
    let (old, new) = (write.old, write.new);
    if old.stable() == new.stable() {
        return;
    }
    if new.stable() != new.current() {
        let message = format!(
            "made {:?} stable while {:?} is the present revision",
            new.stable(),
            new.current()
        );
        return write.say(report, Rule::W6, message);
    }
    if old.stable().is_empty() || write.is_first() {
        return;
    }
    let fast = old.is_full() || write.is_in_window();
    if old.is_aborted() && !write.is_reset && !fast {
        write.say(report, Rule::W6, "promoted while the abort stands".to_owned());
    }
    let (available, replicas) = (write.available(), new.replicas());
    if !new.is_enough(available, replicas) {
        let message = format!(
            "promoted {} with {available} of {replicas} pods available",
            new.current()
        );
        write.say(report, Rule::W6, message);
    }
    if fast {
        return;
    }
    let steps = new.steps().len();
    if steps > 0 && new.index() != Some(steps) {
        let message = format!("promoted {} at step {:?} of {steps}", new.current(), new.index());
        write.say(report, Rule::W6, message);
    }
    if let Some(why) = background_verdict(write) {
        write.say(report, Rule::W4, format!("promoted {}: {why}", new.current()));
    }
    for (namespace, name) in new.routes() {
        let views = write.scene.views(Kind::Route, namespace, name);
        let has_all = views
            .into_iter()
            .flatten()
            .any(|r| shares(r, new.canary_service(), new.stable_service()).0 > 0.999);
        if !has_all && replicas > 0 && steps > 0 {
            let message = format!(
                "promoted {} while HTTPRoute {name} never gave it the whole weight",
                new.current()
            );
            write.say(report, Rule::W6, message);
        }
    }
}
