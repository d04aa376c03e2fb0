//! S5: after two controllers were at work at once, everything is as if there had been one.

use std::collections::BTreeMap;

use crate::{
    history::History,
    oracle::{
        facts::{hash_of, owner, text},
        picture::{Kind, Picture},
        report::{Report, Rule},
    },
};

/// S5: the lease is held by a process that lives, and nothing exists twice: no two runs at work for the same purpose. (S1 to S4
/// hold besides; two ReplicaSets of a template are `NoRestart`.)
pub(crate) fn check(history: &History, picture: &Picture<'_>, report: &mut Report) {
    for (namespace, name, lease) in picture.all(Kind::Lease) {
        let holder = text(lease, "/spec/holderIdentity");
        let known = history.replicas.iter().any(|r| r.identity.is_some());
        let lives = |r: &crate::history::Replica| r.identity.as_deref() == Some(holder) && r.ended.is_none();
        if known && !history.replicas.iter().any(lives) && history.replicas.iter().any(|r| r.ended.is_none()) {
            let key = format!("Lease {namespace}/{name}");
            report.add(
                Rule::S5,
                history.end,
                &key,
                format!("held by {holder:?}, who does not live"),
            );
        }
    }
    let mut purposes: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (namespace, name, run) in picture.all(Kind::Run) {
        let is_over = matches!(
            text(run, "/status/phase"),
            "Successful" | "Failed" | "Error" | "Inconclusive"
        );
        let Some(("Rollout", rollout, _)) = owner(run).filter(|_| !is_over) else {
            continue;
        };
        let purpose = (
            namespace,
            rollout,
            text(run, "/metadata/labels/rollout-type"),
            text(run, "/metadata/labels/step-index"),
            hash_of(run),
        );
        purposes.entry(purpose).or_default().push(name);
    }
    for ((namespace, rollout, kind, step, _), runs) in purposes {
        if runs.len() > 1 {
            let message = format!("{} runs at once for {kind} {step}: {runs:?}", runs.len());
            report.add(Rule::S5, history.end, &format!("{namespace}/{rollout}"), message);
        }
    }
}
