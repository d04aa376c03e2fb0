//! Makes a failing scenario smaller: fewer faults, actions, apps, and simpler specs, as long as the same rule is broken.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::{
    judge::{Finding, trial},
    scenario::{FaultKind, Scenario, What},
};

/// A smaller scenario that breaks one of the same rules, and how many were tried.
///
/// # Errors
/// The scenario cannot be set up.
pub fn shrink(
    scenario: &Scenario,
    findings: &[Finding],
    tries: usize,
    mut tell: impl FnMut(&Scenario),
) -> Result<(Scenario, usize)> {
    let rules: BTreeSet<&str> = findings.iter().map(|f| f.rule.as_str()).collect();
    let mut best = scenario.clone();
    let mut left = tries;
    let mut better = true;
    while better && left > 0 {
        better = false;
        let mut n = 0;
        // The list of candidates changes with each success: go on at the same place.
        while left > 0 {
            let candidate = candidates(&best).nth(n);
            let Some(candidate) = candidate else { break };
            left -= 1;
            // A scenario that cannot be set up is no smaller one.
            let fails = trial(&candidate).is_ok_and(|(_, found)| found.iter().any(|f| rules.contains(f.rule.as_str())));
            if fails {
                best = candidate;
                better = true;
                tell(&best);
            } else {
                n += 1;
            }
        }
    }
    Ok((best, tries - left))
}

/// Everything that is a little smaller, the big bites first.
fn candidates(of: &Scenario) -> Box<dyn Iterator<Item = Scenario> + '_> {
    let faults = pieces(of.faults.len()).into_iter().map(|(from, to)| {
        let mut s = of.clone();
        s.faults.drain(from..to);
        s
    });
    let actions = pieces(of.actions.len()).into_iter().map(|(from, to)| {
        let mut s = of.clone();
        s.actions.drain(from..to);
        s
    });
    let apps = (0..of.apps.len())
        .filter(|_| of.apps.len() > 1)
        .map(|app| without_app(of, app));
    let controller = [
        of.controller.replicas > 1,
        of.controller.election && of.controller.replicas == 1,
        of.controller.workers > 1,
    ];
    let controller = controller
        .into_iter()
        .enumerate()
        .filter(|(_, can)| *can)
        .map(|(which, _)| {
            let mut s = of.clone();
            match which {
                0 => {
                    s.controller.replicas = 1;
                    for fault in &mut s.faults {
                        if let FaultKind::ClockJump { replica, .. } = &mut fault.kind {
                            *replica = 0;
                        }
                    }
                }
                1 => s.controller.election = false,
                _ => s.controller.workers = 1,
            }
            s
        });
    let fields = (0..of.apps.len()).flat_map(move |app| {
        removable(&of.apps[app].rollout["spec"]).into_iter().map(move |path| {
            let mut s = of.clone();
            remove(&mut s.apps[app].rollout["spec"], &path);
            s
        })
    });
    let images = (0..of.apps.len()).flat_map(move |app| {
        let all = 1..of.apps[app].images.len();
        all.filter(move |n| of.apps[app].images[*n] != of.apps[app].images[0])
            .map(move |n| {
                let mut s = of.clone();
                s.apps[app].images[n] = s.apps[app].images[0].clone();
                s
            })
    });
    let edits = (0..of.actions.len()).filter_map(move |n| match &of.actions[n].what {
        What::Edit(patch) => {
            let steps = patch.pointer("/spec/strategy/canary/steps")?.as_array()?.len();
            (steps > 0).then(|| {
                let mut s = of.clone();
                if let What::Edit(patch) = &mut s.actions[n].what {
                    remove(&mut patch["spec"], &format!("/strategy/canary/steps/{}", steps - 1));
                }
                s
            })
        }
        _ => None,
    });
    let alone = (0..of.apps.len()).filter(|n| of.apps[*n].other_rules > 0).map(|app| {
        let mut s = of.clone();
        s.apps[app].other_rules = 0;
        s
    });
    Box::new(
        faults
            .chain(apps)
            .chain(actions)
            .chain(controller)
            .chain(fields)
            .chain(images)
            .chain(edits)
            .chain(alone),
    )
}

/// All of a list, its halves, its quarters, … down to single ones.
fn pieces(len: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut size = len;
    while size > 0 {
        out.extend((0..len).step_by(size).map(|from| (from, (from + size).min(len))));
        size /= 2;
    }
    out
}

fn without_app(of: &Scenario, app: usize) -> Scenario {
    let mut s = of.clone();
    let name = s.apps.remove(app).name;
    s.templates.retain(|t| {
        let own = t["metadata"]["name"].as_str().unwrap_or_default();
        !own.starts_with(&format!("{name}-"))
    });
    s.actions.retain(|action| action.app != app);
    s.faults.retain(|fault| {
        let of_object = matches!(
            fault.kind,
            FaultKind::Route(_)
                | FaultKind::DeleteService { .. }
                | FaultKind::EditService { .. }
                | FaultKind::DeleteReplicaSet { .. }
                | FaultKind::ScaleReplicaSet { .. }
                | FaultKind::KillPods { .. }
        );
        fault.app != app || !(of_object || fault.during.is_some())
    });
    for index in s
        .actions
        .iter_mut()
        .map(|a| &mut a.app)
        .chain(s.faults.iter_mut().map(|f| &mut f.app))
    {
        if *index > app {
            *index -= 1;
        } else if *index == app {
            *index = 0;
        }
    }
    s
}

/// What may be left out of a spec: JSON pointers.
fn removable(spec: &Value) -> Vec<String> {
    let canary = "/strategy/canary";
    let mut out = Vec::new();
    let steps = spec
        .pointer("/strategy/canary/steps")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    out.extend((0..steps).rev().map(|n| format!("{canary}/steps/{n}")));
    for field in [
        "minReadySeconds",
        "progressDeadlineAbort",
        "revisionHistoryLimit",
        "rollbackWindow",
        "analysis",
    ] {
        out.push(format!("/{field}"));
    }
    for field in [
        "analysis",
        "dynamicStableScale",
        "scaleDownDelayRevisionLimit",
        "minPodsPerReplicaSet",
        "replicaProgressThreshold",
        "maxSurge",
        "maxUnavailable",
        "abortScaleDownDelaySeconds",
        "scaleDownDelaySeconds",
    ] {
        out.push(format!("{canary}/{field}"));
    }
    out.retain(|path| spec.pointer(path).is_some());
    out
}

fn remove(value: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else {
        return;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(key);
        }
        Some(Value::Array(items)) => {
            if let Ok(n) = key.parse::<usize>()
                && n < items.len()
            {
                items.remove(n);
            }
        }
        _ => {}
    }
}

/// A scenario for people.
pub fn describe(scenario: &Scenario) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let Scenario {
        seed,
        controller,
        apps,
        templates,
        actions,
        faults,
    } = scenario;
    let _ = writeln!(out, "seed {seed}: {controller:?}");
    for app in apps {
        let _ = writeln!(
            out,
            "app {}/{}{}, {} other rules",
            app.namespace,
            app.name,
            if app.router { " behind an HTTPRoute" } else { "" },
            app.other_rules
        );
        let _ = writeln!(out, "  spec {}", app.rollout["spec"]);
        for (n, image) in app.images.iter().enumerate() {
            let _ = writeln!(out, "  v{n} {image:?}");
        }
    }
    for template in templates {
        let (metadata, spec) = (&template["metadata"], &template["spec"]["metrics"]);
        let _ = writeln!(out, "template {} {} {spec}", metadata["name"], metadata["annotations"]);
    }
    for action in actions {
        let _ = writeln!(
            out,
            "at {:>7} ms {}: {:?}",
            action.at, apps[action.app].name, action.what
        );
    }
    for (n, fault) in faults.iter().enumerate() {
        let during = fault
            .during
            .as_ref()
            .map_or(String::new(), |step| format!(" during {step:?}"));
        let name = &apps[fault.app].name;
        let _ = writeln!(
            out,
            "at {:>7} ms fault [{n}] {name}{during}: {:?}",
            fault.at, fault.kind
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_halves_and_single_ones() {
        assert_eq!(pieces(0), []);
        assert_eq!(pieces(1), [(0, 1)]);
        assert_eq!(pieces(3), [(0, 3), (0, 1), (1, 2), (2, 3)]);
    }

    #[test]
    fn a_scenario_without_an_app_names_it_nowhere() {
        let scenario = (0..50)
            .map(crate::generate::scenario)
            .find(|s| s.apps.len() == 3)
            .expect("one in seven has three apps");
        let smaller = without_app(&scenario, 1);
        assert_eq!(smaller.apps.len(), 2);
        assert!(smaller.actions.iter().all(|a| a.app < 2));
        assert!(smaller.faults.iter().all(|f| f.app < 2));
        assert!(!describe(&smaller).contains("app-b"));
    }
}
