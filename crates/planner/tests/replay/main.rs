//! Every recording of the real controller that Serin supports by now, replayed closed-loop: the same inputs at the same
//! moments, the planner's plans carried out on an ideal ground in virtual time, and the same sequences out of it.

mod ground;

use std::collections::BTreeMap;

use ground::Ground;
use serin_recordings::{Act, Scenario, compare, describe, is_known, known_differences, names};

/// Recordings of other matters: providers and runs of their own belong to the analysis crate's tests, and a run's own
/// termination and renamed annotations need inputs that this ground does not take.
const ELSEWHERE: [&str; 9] = [
    "analysis-args",
    "analysis-error",
    "analysis-job",
    "analysis-job-hang",
    "analysis-history",
    "reconcile-idle",
    "runs",
    "runs-more",
    "terminate-run",
];

/// Milliseconds between pods that start together. The recorded cluster started them all at once or one after the other,
/// as its load permitted; that pace is an input like any other, and the one that fits counts.
const PACES: [i64; 3] = [0, 8, 25];

/// Plans made in one moment before the test gives up.
const TOO_MANY: usize = 400;

/// Where the controller dies in the middle of a plan: a small generator, so that a seed says it all.
struct Crashes(u64);

impl Crashes {
    /// How many of so many writes are carried out before the end.
    fn cut(&mut self, writes: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 40).unwrap_or(0) % (writes + 1)
    }
}

/// Plans and carries out until nothing is left to do in this moment; answers when to look again.
fn settle(ground: &mut Ground, crashes: &mut Option<Crashes>) -> Option<i64> {
    ground.advance_runs();
    for _ in 0..TOO_MANY {
        let world = ground.world()?;
        let plan = serin_planner::plan(&world, ground.clock());
        let found = serin_audit::audit(&world, &plan, ground.clock());
        ground
            .findings
            .extend(found.iter().map(|finding| format!("at {} ms: {finding}", ground.now)));
        if plan.is_empty() {
            return plan
                .wake_at
                .map(|at| (at - ground.clock()).num_milliseconds().max(1) + ground.now);
        }
        let mut fresh = BTreeMap::new();
        let carried_out = crashes.as_mut().map_or(plan.writes.len(), |c| c.cut(plan.writes.len()));
        for planned in plan.writes.iter().take(carried_out) {
            ground.apply(&planned.write, &mut fresh);
            ground.record(&planned.events);
        }
    }
    let world = ground.world()?;
    panic!(
        "the planner does not settle at {} ms: {:#?}",
        ground.now,
        serin_planner::plan(&world, ground.clock())
    );
}

/// Lets time pass up to `until`, or up to the moment at which `done` holds.
fn pass(ground: &mut Ground, crashes: &mut Option<Crashes>, until: i64, done: impl Fn(&Ground) -> bool) -> bool {
    loop {
        let wake = settle(ground, crashes);
        if done(ground) {
            return true;
        }
        let next = [ground.next_change(), wake]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(i64::MAX);
        if next > until {
            ground.now = ground.now.max(until);
            return false;
        }
        ground.now = next;
    }
}

fn play(scenario: &Scenario, stagger: i64, mut crashes: Option<Crashes>) -> Ground {
    let mut ground = Ground::new(scenario, stagger);
    let mut shift = 0;
    for line in &scenario.script {
        let at = line.at + shift;
        match &line.act {
            Act::Seen(seen) => {
                let holds = |g: &Ground| g.rollout.as_ref().is_some_and(|r| seen.holds(r).unwrap_or(false));
                if !matches!(seen, serin_recordings::Seen::Other(_)) {
                    let found = pass(&mut ground, &mut crashes, at + 60_000, holds);
                    assert!(
                        found,
                        "{}: never seen: {seen:?}; {:#?}",
                        scenario.name,
                        ground.rollout.as_ref().map(|r| &r["status"])
                    );
                }
                // What follows keeps its distance to the moment that was seen.
                shift = ground.now - line.at;
            }
            act => {
                let until = at.max(ground.now);
                pass(&mut ground, &mut crashes, until, |_| false);
                match act {
                    Act::Create { kind, name } => {
                        if let Some(object) = scenario.object(kind, name) {
                            ground.create(&object.clone());
                        }
                    }
                    Act::Patch {
                        kind,
                        name,
                        subresource,
                        is_json_patch,
                        body,
                    } => {
                        ground.patch(kind, name, subresource.as_deref(), *is_json_patch, body);
                    }
                    Act::Delete { kind, name } => ground.delete(kind, name),
                    Act::Metric { .. } | Act::Wait | Act::Seen(_) | Act::End => {}
                }
            }
        }
    }
    let end = ground.now + 30_000;
    pass(&mut ground, &mut crashes, end, |_| false);
    ground
}

#[test]
fn every_recording_is_replayed_with_the_same_sequences() {
    let known = known_differences().unwrap();
    let only = std::env::var("RECORDING").ok();
    let (mut equal, mut listed, mut failures) = (0, 0, Vec::new());
    for name in names().unwrap() {
        if ELSEWHERE.contains(&name.as_str()) || only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let scenario = Scenario::load(&name).unwrap();
        let played = std::panic::catch_unwind(|| {
            let tries = PACES.map(|pace| compare(&play(&scenario, pace, None).seen, &scenario.recorded));
            tries.into_iter().min_by_key(Vec::len).unwrap_or_default()
        });
        let Ok(differences) = played else {
            failures.push(format!("{name}: the replay broke off (see above)"));
            continue;
        };
        if std::env::var_os("LIST_DIFFERENCES").is_some() {
            for d in &differences {
                println!(
                    "{}",
                    serde_json::json!({ "recording": name, "aspect": d.aspect, "ours": d.ours })
                );
            }
        }
        let (expected, new): (Vec<_>, Vec<_>) = differences
            .into_iter()
            .partition(|d| known.iter().any(|k| k.ground.is_none() && is_known(k, &name, d)));
        for k in known.iter().filter(|k| k.recording == name && k.ground.is_none()) {
            if !expected.iter().any(|d| d.aspect == k.aspect) {
                failures.push(format!(
                    "{name}: the listed difference in {} is gone or another one now",
                    k.aspect
                ));
            }
        }
        match (new.is_empty(), expected.is_empty()) {
            (true, true) => equal += 1,
            (true, false) => listed += 1,
            (false, _) => failures.extend(new.iter().map(|d| format!("{name}: {}", describe(d)))),
        }
    }
    println!("{equal} recordings equal, {listed} with listed differences only");
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_crash_between_any_two_writes_changes_nothing_but_lost_events() {
    let mut failures = Vec::new();
    for name in names().unwrap() {
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        let scenario = Scenario::load(&name).unwrap();
        let mut whole = play(&scenario, 0, None).seen;
        whole.aspects.remove("events");
        for seed in [1, 42] {
            let played = std::panic::catch_unwind(|| play(&scenario, 0, Some(Crashes(seed))));
            let Ok(ground) = played else {
                failures.push(format!("{name}, seed {seed}: the replay broke off (see above)"));
                continue;
            };
            let mut cut = ground.seen;
            cut.aspects.remove("events");
            let differences = compare(&cut, &whole);
            failures.extend(
                differences
                    .iter()
                    .map(|d| format!("{name}, seed {seed}: {}", describe(d))),
            );
        }
    }
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_plan_of_every_recording_passes_the_audit_capacity_rules_included() {
    let only = std::env::var("RECORDING").ok();
    let mut failures = Vec::new();
    for name in names().unwrap() {
        if ELSEWHERE.contains(&name.as_str()) || only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let scenario = Scenario::load(&name).unwrap();
        for (pace, crashes) in [(0, None), (25, None), (0, Some(Crashes(7)))] {
            let Ok(ground) = std::panic::catch_unwind(|| play(&scenario, pace, crashes)) else {
                failures.push(format!("{name}, pace {pace}: the replay broke off (see above)"));
                continue;
            };
            failures.extend(ground.findings.iter().map(|f| format!("{name}, pace {pace}, {f}")));
        }
    }
    assert!(
        failures.is_empty(),
        "{} findings:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
