//! W9: nobody writes who does not lead.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    history::{History, is_controller},
    oracle::{
        facts::{number, text},
        knowledge::{Knowledge, Target, is_write},
        report::{Report, Rule},
    },
};

/// From the sending of a request to its arrival, without faults.
const TRAVEL: Duration = Duration::from_millis(50);

/// No write starts after our lease's renew deadline (two thirds of the lease's duration after the last renewal was sent, compat
/// 7.2), and one that is late all the same changes nothing: what the next leader has written is not written over.
///
/// Events are not writes of this kind: they decide nothing.
pub(crate) fn check(history: &History, knowledge: &Knowledge<'_>, report: &mut Report) {
    let mut leads: BTreeMap<&str, Vec<(Duration, Duration)>> = BTreeMap::new();
    let mut holders: Vec<(Duration, &str, &str)> = Vec::new();
    for change in history.changes.iter().filter(|c| c.resource.plural == "leases") {
        let Some(lease) = change.new.as_deref() else { continue };
        let holder = text(lease, "/spec/holderIdentity");
        if is_controller(&change.user) {
            let lasts = u64::try_from(number(lease, "/spec/leaseDurationSeconds").unwrap_or(0)).unwrap_or(0);
            let lasts = if holder.is_empty() { 0 } else { lasts };
            let deadline = change.at + Duration::from_secs(lasts) * 2 / 3;
            leads
                .entry(change.user.as_str())
                .or_default()
                .push((change.at, deadline));
            holders.push((change.at, &change.user, holder));
        }
    }
    if holders.is_empty() {
        return;
    }
    for asked in history
        .requests
        .iter()
        .filter(|r| is_controller(&r.user) && is_write(r))
    {
        let elects = history
            .replicas
            .iter()
            .any(|r| r.user == asked.user && r.identity.is_some());
        let Some(target) = Target::of(asked).filter(|t| elects && !matters_not(t.resource)) else {
            continue;
        };
        let times = leads.get(asked.user.as_str()).map_or(&[][..], Vec::as_slice);
        let last = times.partition_point(|(at, _)| *at <= asked.at);
        let deadline = last.checked_sub(1).map(|i| times[i].1);
        let slack = TRAVEL + knowledge.slowness(asked.at);
        if deadline.is_none_or(|d| asked.at > d + slack) {
            let object = format!("{} {}/{}", target.resource, target.namespace, target.name);
            let message = format!(
                "{} sent {} although its lease had run out ({deadline:?})",
                asked.user, asked.method
            );
            report.add(Rule::W9, asked.at, &object, message);
        }
    }
    late_writes(history, &holders, report);
}

/// The second half: a version that another leader wrote since it took over is not replaced by the earlier leader.
fn late_writes(history: &History, holders: &[(Duration, &str, &str)], report: &mut Report) {
    let mut last: BTreeMap<(&str, &str, &str), (Duration, &str)> = BTreeMap::new();
    for change in history.changes.iter().filter(|c| !matters_not(c.resource.plural)) {
        let key = (change.resource.plural, change.namespace.as_str(), change.name.as_str());
        let at = holders.partition_point(|(at, _, _)| *at <= change.at);
        let leader = at.checked_sub(1).map(|i| holders[i]);
        let before = last.insert(key, (change.at, change.user.as_str()));
        if !is_controller(&change.user) {
            continue;
        }
        if let (Some((_, user, identity)), Some((_, writer))) = (leader, before)
            && !identity.is_empty()
            && user != change.user
            && writer == user
            && change.new.is_some()
        {
            let object = format!("{} {}/{}", key.0, key.1, key.2);
            let message = format!("{} wrote over what {user} wrote, who leads", change.user);
            report.add(Rule::W9, change.at, &object, message);
        }
    }
}

fn matters_not(resource: &str) -> bool {
    matches!(resource, "leases" | "events")
}
