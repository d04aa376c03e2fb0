//! S4: users' requests fail only where the canary itself failed them.

use std::time::Duration;

use crate::{
    history::{Cause, History, Sample},
    oracle::{
        facts::Rollout,
        picture::{Kind, Picture},
        report::{Report, Rule},
    },
    scenario::{App, FaultKind, Foreign, What},
};

/// How long what somebody did to Services, routes, ReplicaSets and pods may be felt.
const FELT: Duration = Duration::from_secs(120);

/// S4. Excused: the pods' own errors; what people and the world did to the app (deleted or edited Services, routes, ReplicaSets,
/// pods; a scale to 0; a deleted Rollout), for as long as it may be felt; apps with versions whose pods die by themselves;
/// the time before the app was first Healthy; specs that allow all pods to be unavailable.
pub(crate) fn check(history: &History, picture: &Picture<'_>, report: &mut Report) {
    let excuses: Vec<Vec<(Duration, Duration)>> = history
        .scenario
        .apps
        .iter()
        .enumerate()
        .map(|(i, app)| excuses(history, picture, i, app))
        .collect();
    for sample in &history.traffic {
        let Some(app) = history.scenario.apps.get(sample.app) else {
            continue;
        };
        let is_excused = |(from, to): &(Duration, Duration)| *from < sample.to && sample.from <= *to;
        for share in &sample.shares {
            let is_ours = match share.cause {
                Cause::None | Cause::Pod => false,
                Cause::NoRoute | Cause::NoService => true,
                Cause::NoEndpoint | Cause::PodGone => !dies_by_itself(app),
            };
            let failed = share.failed * share.of;
            if is_ours && failed > 1e-9 && !excuses[sample.app].iter().any(is_excused) {
                say(report, sample, app, share.cause, &share.service, &share.hash, failed);
            }
        }
    }
}

fn say(report: &mut Report, sample: &Sample, app: &App, cause: Cause, service: &str, hash: &str, failed: f64) {
    let message = format!(
        "{:.1}% of users' requests failed from {:.1}s to {:.1}s: {cause:?} behind {service:?}, revision {hash:?}",
        failed * 100.0,
        sample.from.as_secs_f64(),
        sample.to.as_secs_f64()
    );
    report.add(
        Rule::S4,
        sample.from,
        &format!("{}/{}", app.namespace, app.name),
        message,
    );
}

fn dies_by_itself(app: &App) -> bool {
    app.images.iter().any(|i| i.crash.is_some() || i.moody > 0)
}

fn excuses(history: &History, picture: &Picture<'_>, index: usize, app: &App) -> Vec<(Duration, Duration)> {
    let track = picture.track(Kind::Rollout, &app.namespace, &app.name);
    let mut out = Vec::new();
    // Before it was first Healthy; after it was deleted until it is Healthy again; at 0 replicas and until it is Healthy again.
    let mut down_since = Some(Duration::ZERO);
    for version in track {
        let rollout = version.object.map(Rollout);
        let is_up = rollout.is_some_and(|r| r.phase() == "Healthy" && r.is_observed() && r.replicas() > 0);
        let goes_down = rollout.is_none_or(|r| {
            r.replicas() == 0 || r.is_going() || r.replicas() - r.unavailable() <= 0 && !r.has_router()
        });
        match down_since {
            None if goes_down => down_since = Some(version.at),
            Some(from) if is_up && !goes_down => {
                out.push((from, version.at + Duration::from_secs(10)));
                down_since = None;
            }
            _ => {}
        }
    }
    if let Some(from) = down_since {
        out.push((from, history.end));
    }
    let of_app = |name: &str| name.is_empty() || name == app.name;
    for fault in history.faults.iter().filter(|f| of_app(&f.rollout)) {
        let lasts = match &fault.what {
            FaultKind::Route(Foreign::Weights | Foreign::Gone)
            | FaultKind::EditService { .. }
            | FaultKind::DeleteReplicaSet { .. }
            | FaultKind::ScaleReplicaSet { .. }
            | FaultKind::KillPods { .. } => FELT,
            FaultKind::DeleteService { back, .. } => FELT + Duration::from_millis(*back),
            _ => continue,
        };
        out.push((fault.at, fault.at + lasts));
    }
    let names = |i: usize| history.scenario.actions.get(i).is_some_and(|a| a.app == index);
    for done in history.actions.iter().filter(|d| of_app(&d.rollout) && names(d.index)) {
        if matches!(done.what, What::DeletePod | What::Delete | What::Recreate) {
            out.push((done.at, done.at + FELT));
        }
    }
    out
}
