//! Pods: W2, W5, W7, and W3 without a router.

use serde_json::Value;

use super::{delays, say};
use crate::oracle::{
    counts::is_scaled_by_hand,
    facts::{Rollout, available, hash_of, owner, wanted},
    picture::Kind,
    report::{Report, Rule},
    scene::Scene,
};

/// A change of the size of a ReplicaSet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resize<'h> {
    pub name: &'h str,
    pub hash: &'h str,
    pub before: &'h Value,
    /// Wanted from now on; 0 when it was deleted.
    pub to: i64,
    pub is_deletion: bool,
}

/// Why a write may not be, under one view of the Rollout.
pub(crate) type Verdict = Result<(), (Rule, String)>;

/// A controller wrote a ReplicaSet.
pub(crate) fn replica_set(scene: &Scene<'_, '_>, report: &mut Report) {
    let change = scene.change;
    let Some(object) = scene.old().or(scene.new_object()) else {
        return;
    };
    let Some(("Rollout", rollout, _)) = owner(object) else {
        return;
    };
    let views: Vec<Rollout<'_>> = scene
        .rollouts(&change.namespace, rollout)
        .into_iter()
        .filter(|r| !r.is_going())
        .collect();
    let Some(latest) = views.first().copied() else { return };
    let Some(before) = scene.old() else {
        // Compat 2.1.3: made with 0 pods, scaled afterwards.
        if wanted(object) > 0 {
            let message = format!("created {} with {} pods at once", change.name, wanted(object));
            say(scene, report, Rule::W5, latest, message);
        }
        return;
    };
    let resize = Resize {
        name: &change.name,
        hash: hash_of(before),
        before,
        to: scene.new_object().map_or(0, wanted),
        is_deletion: scene
            .new_object()
            .is_none_or(|o| o.pointer("/metadata/deletionTimestamp").is_some()),
    };
    let verdicts: Vec<Verdict> = if resize.is_deletion {
        views.iter().map(|r| deletion(scene, *r, resize)).collect()
    } else if resize.to < wanted(before) {
        views.iter().map(|r| lowering(scene, *r, resize)).collect()
    } else if resize.to > wanted(before) {
        views.iter().map(|r| raising(scene, *r, resize)).collect()
    } else {
        delays::stamped(scene, &views, report);
        return;
    };
    if verdicts.iter().all(Result::is_err)
        && let Some(Err((rule, why))) = verdicts.into_iter().next()
    {
        let what = if resize.is_deletion {
            format!("deleted {}", resize.name)
        } else {
            format!("scaled {} from {} to {}", resize.name, wanted(before), resize.to)
        };
        say(scene, report, rule, latest, format!("{what}: {why}"));
    }
    delays::stamped(scene, &views, report);
}

fn lowering(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    if rollout.replicas() == 0 {
        return Ok(());
    }
    if rollout.has_router() {
        selected_with_weight(scene, rollout, resize)?;
        share_of_capacity(scene, rollout, resize)?;
        delays::respected(scene, rollout, resize)
    } else {
        enough_available(scene, rollout, resize)
    }
}

/// W7: behind a router, nothing of a revision with weight above 0, or selected by a managed Service, is deleted or scaled to 0,
/// unless spec.replicas is 0.
///
/// A Service without weight serves nobody: the canary at weight 0 has 0 pods (2.5). Nor has the stable one at the whole weight
/// under dynamicStableScale (2.5).
fn selected_with_weight(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    if resize.to > 0 {
        return Ok(());
    }
    let (canary, stable) = scene.least_shares(rollout);
    for (service, share) in [(rollout.canary_service(), canary), (rollout.stable_service(), stable)] {
        if share > 0.0 && !scene.may_be_unselected(rollout.namespace(), service, resize.hash) {
            return Err((
                Rule::W7,
                format!("{service} selects it and has a share of {share:.2} of the traffic"),
            ));
        }
    }
    let stays = resize.is_deletion || (resize.hash == rollout.stable() && !rollout.is_dynamic());
    let services: &[&str] = if resize.is_deletion {
        &[rollout.canary_service(), rollout.stable_service()]
    } else {
        &[rollout.stable_service()]
    };
    for service in services {
        if stays && !scene.may_be_unselected(rollout.namespace(), service, resize.hash) {
            return Err((Rule::W7, format!("{service} selects it")));
        }
    }
    Ok(())
}

/// W2: no write lowers an arm's ready capacity below its share of traffic less maxUnavailable, unless the spec or a person asks
/// for it: setCanaryScale, replicaProgressThreshold, full promotion.
fn share_of_capacity(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    let is_canary = resize.hash == rollout.current() && !rollout.is_promoted();
    if is_canary && (is_scaled_by_hand(rollout) || rollout.has_threshold() || rollout.is_full()) {
        return Ok(());
    }
    if resize.to >= available(resize.before) {
        return Ok(());
    }
    let (canary, stable) = scene.least_shares(rollout);
    let share: f64 = [(rollout.canary_service(), canary), (rollout.stable_service(), stable)]
        .into_iter()
        .filter(|(service, _)| !scene.may_be_unselected(rollout.namespace(), service, resize.hash))
        .map(|(_, share)| share)
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    let needed = share.min(1.0) * rollout.replicas() as f64;
    #[expect(clippy::cast_possible_truncation, reason = "counts are small")]
    let needed = (needed + 1e-6).floor() as i64 - rollout.unavailable();
    if resize.to < needed {
        return Err((
            Rule::W2,
            format!("it has a share of {share:.2} and needs {needed} pods at least"),
        ));
    }
    Ok(())
}

/// W5, first half: without a router, available >= replicas - maxUnavailable. Taking away pods that are not available lowers
/// nothing (2.5: a ReplicaSet gives up those first).
fn enough_available(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    let namespace = rollout.namespace();
    if resize.to >= available(resize.before) {
        return Ok(());
    }
    let others: i64 = scene
        .siblings(namespace, rollout.name(), resize.before)
        .map(|name| scene.available(namespace, name))
        .sum();
    let (left, needed) = (others + resize.to, rollout.replicas() - rollout.unavailable());
    if left < needed {
        return Err((Rule::W5, format!("{left} available pods stay, {needed} are needed")));
    }
    Ok(())
}

/// W5, second half: without a router, total <= replicas + maxSurge. And W3 without weights: an aborted canary does not grow.
fn raising(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    if rollout.has_router() {
        return Ok(());
    }
    // A full promotion ends the abort (compat 2.8).
    let aborted =
        rollout.is_aborted() && !rollout.is_full() && !rollout.is_promoted() && resize.hash == rollout.current();
    // When somebody deleted the stable ReplicaSet there is nothing else to serve (compat 2.4, `Initial deploy`).
    let has_stable = scene
        .replica_set_of(rollout.namespace(), rollout.name(), rollout.stable())
        .is_some_and(|rs| !scene.may_be_gone(rollout.namespace(), rs));
    if aborted && has_stable && rollout.is_observed() {
        return Err((Rule::W3, "the abort stands".to_owned()));
    }
    let namespace = rollout.namespace();
    let others: i64 = scene
        .siblings(namespace, rollout.name(), resize.before)
        .map(|name| {
            let views = scene.views(Kind::ReplicaSet, namespace, name);
            views.into_iter().map(|o| o.map_or(0, wanted)).min().unwrap_or(0)
        })
        .sum();
    let limit = rollout.replicas() + rollout.surge();
    let total = others + resize.to;
    if total > limit {
        return Err((Rule::W5, format!("{total} pods in total, {limit} are allowed")));
    }
    Ok(())
}

/// W7 for deletions, and that the history is kept: only an empty ReplicaSet that is neither stable nor current goes, and only
/// beyond revisionHistoryLimit (compat 2.17).
fn deletion(scene: &Scene<'_, '_>, rollout: Rollout<'_>, resize: Resize<'_>) -> Verdict {
    let (hash, namespace) = (resize.hash, rollout.namespace());
    if hash == rollout.stable() || (hash == rollout.current() && rollout.is_observed()) {
        return Err((Rule::W7, "it is the stable or the present revision".to_owned()));
    }
    if available(resize.before) > 0 || wanted(resize.before) > 0 {
        return Err((Rule::W7, "it has pods".to_owned()));
    }
    if rollout.has_router() && rollout.replicas() > 0 {
        selected_with_weight(scene, rollout, resize)?;
    }
    let others = scene
        .siblings(namespace, rollout.name(), resize.before)
        .filter_map(|name| scene.picture.latest(Kind::ReplicaSet, namespace, name))
        .filter(|o| ![rollout.stable(), rollout.current()].contains(&hash_of(o)))
        .filter(|o| o.pointer("/metadata/deletionTimestamp").is_none())
        .count()
        + 1;
    if i64::try_from(others).is_ok_and(|n| n <= rollout.history_limit()) {
        return Err((
            Rule::HistoryKept,
            format!(
                "there are {others} old ones, {} are to be kept",
                rollout.history_limit()
            ),
        ));
    }
    Ok(())
}
