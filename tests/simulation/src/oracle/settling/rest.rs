//! S3: at rest (no run active, no deadline pending): no query, and no write but the lease.

use super::{End, settled::is_settled};
use crate::{
    history::{History, is_controller},
    oracle::{
        facts::{Rollout, Step, owner, scale_down_deadline, text},
        knowledge::{Target, is_write},
        picture::Kind,
        report::{Report, Rule},
    },
};

/// S3. Pods that fail again and again are news, and the time to live of a run is a deadline.
pub(crate) fn check(history: &History, ends: &[End<'_, '_>], report: &mut Report) {
    let at_rest: Vec<_> = ends.iter().filter(|e| is_at_rest(e)).collect();
    let all = at_rest.len() == ends.len();
    let late = history.requests.partition_point(|r| r.at < history.settled_from);
    for asked in history.requests[late..]
        .iter()
        .filter(|r| is_controller(&r.user) && is_write(r))
    {
        let Some(target) = Target::of(asked).filter(|t| t.resource != "leases") else {
            continue;
        };
        let is_ttl = asked.method == "DELETE" && target.resource == "analysisruns";
        let is_about = |e: &&&End<'_, '_>| {
            target.namespace == e.rollout.namespace()
                && target
                    .name
                    .strip_prefix(e.rollout.name())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
        };
        if is_ttl {
            continue;
        }
        if let Some(end) = at_rest.iter().find(is_about) {
            let message = format!(
                "at rest {} sent {} {} ({})",
                asked.user, asked.method, asked.path, asked.code
            );
            let key = format!("{}/{}", end.rollout.namespace(), end.rollout.name());
            report.add(Rule::S3, asked.at, &key, message);
        }
    }
    if all {
        for query in history.queries.iter().filter(|q| q.at >= history.settled_from) {
            let message = format!("at rest {} asked {:?}", query.user, query.text);
            report.add(Rule::S3, query.at, "metrics provider", message);
        }
    }
}

fn is_at_rest(end: &End<'_, '_>) -> bool {
    let rollout = end.rollout;
    let (namespace, name) = (rollout.namespace(), rollout.name());
    let waits = match rollout.phase() {
        "Healthy" | "Degraded" => false,
        "Paused" if rollout.is_paused() => false,
        "Paused" => matches!(
            rollout.index().and_then(|i| rollout.step(i)),
            Some(Step::Pause(Some(_)))
        ),
        _ => true,
    };
    // What was on its way when the rest began may run into its deadline in it.
    let track = end.picture.track(Kind::Rollout, namespace, name);
    let began = track.iter().rev().find(|v| v.at <= end.history.settled_from);
    let waits = waits
        || began
            .and_then(|v| v.object)
            .is_some_and(|o| Rollout(o).phase() == "Progressing");
    let runs = end.picture.runs_of(namespace, name).any(|run| end.is_running(run));
    let keeps = end.replica_sets.iter().any(|o| scale_down_deadline(o).is_some());
    let moves = end.last_moved() + std::time::Duration::from_secs(30) > end.history.settled_from;
    is_settled(end).is_ok() && !waits && !runs && !keeps && !moves && !pods_moved(end)
}

/// Whether pods of the Rollout changed at the end: each change may be news for the status.
fn pods_moved(end: &End<'_, '_>) -> bool {
    let from = end.history.settled_from;
    let late = end.history.changes.partition_point(|c| c.at < from);
    end.history.changes[late..].iter().any(|change| {
        let object = change.new.as_deref().or(change.old.as_deref());
        let of_a_set = |o| owner(o).is_some_and(|(_, set, _)| set.starts_with(end.rollout.name()));
        change.namespace == end.rollout.namespace()
            && (Kind::of(&change.resource) == Some(Kind::Pod) && object.is_some_and(of_a_set)
                || Kind::of(&change.resource) == Some(Kind::Run) && !is_controller(&change.user)
                || Kind::of(&change.resource) == Some(Kind::ReplicaSet)
                    && !is_controller(&change.user)
                    && object.is_some_and(|o| text(o, "/metadata/name").starts_with(end.rollout.name())))
    })
}
