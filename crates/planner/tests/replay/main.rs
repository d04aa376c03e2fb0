//! Every recording of the real controller that Serin supports by now, replayed closed-loop: the same inputs at the same
//! moments, the planner's plans carried out on an ideal ground in virtual time, and the same sequences out of it.

mod ground;

use std::collections::BTreeMap;

use ground::Ground;
use serde_json::Value;
use serin_api::{analysis::Metric, rollout::RolloutSpec, validate};
use serin_recordings::{Act, Ground as On, Scenario, Seen, Tally, chosen, compare, describe, is_known, left_out};

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
        let told = serin_planner::explain(&world, ground.clock());
        if let Some(misfit) = serin_planner::misfit(&world, ground.clock(), &told) {
            ground.misfits.push(format!("at {} ms: {misfit}: {told:?}", ground.now));
        }
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

/// Lets time pass, with nobody at work while the controller is stopped.
fn wait(ground: &mut Ground, crashes: &mut Option<Crashes>, at: i64, is_stopped: bool) {
    let until = at.max(ground.now);
    if is_stopped {
        ground.now = until;
    } else {
        pass(ground, crashes, until, |_| false);
    }
}

fn play(scenario: &Scenario, stagger: i64, mut crashes: Option<Crashes>) -> Ground {
    let mut ground = Ground::new(scenario, stagger);
    let mut shift = 0;
    let mut is_stopped = false;
    for line in &scenario.script {
        let at = line.at + shift;
        match &line.act {
            Act::Seen(seen) => {
                let holds = |g: &Ground| match seen {
                    Seen::Run(phase) => g.has_run(phase),
                    _ => g.rollout.as_ref().is_some_and(|r| seen.holds(r).unwrap_or(false)),
                };
                if matches!(seen, Seen::Other(_)) {
                    // The Rollout does not tell: by the clock.
                    wait(&mut ground, &mut crashes, at, is_stopped);
                    is_stopped = false;
                } else {
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
                wait(&mut ground, &mut crashes, at, is_stopped);
                is_stopped |= matches!(act, Act::Stop);
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
                    Act::Metric { .. } | Act::Wait | Act::Stop | Act::Told | Act::Seen(_) | Act::End => {}
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
    let mut tally = Tally::new(On::Planner).unwrap();
    for name in chosen(On::Planner).unwrap() {
        let scenario = Scenario::load(&name).unwrap();
        let play = |pace| play(&scenario, i64::try_from(pace).unwrap(), None).seen;
        let Some(differences) = tally.play(&scenario, play) else {
            continue;
        };
        // The list is not longer than it has to be.
        let is_there = |known| differences.iter().any(|d| is_known(known, &name, d));
        let gone: Vec<String> = tally
            .known(&name)
            .filter(|known| !is_there(known))
            .map(|known| {
                format!(
                    "{name}: the listed difference in {} is gone or another one now",
                    known.aspect
                )
            })
            .collect();
        gone.into_iter().for_each(|what| tally.fail(what));
    }
    tally.end();
}

/// Moments of a recording, `@ms`, as a time.
fn with_times(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if text.starts_with('@') => Value::String("2026-01-01T00:00:00Z".to_owned()),
        Value::Object(map) => {
            map.values_mut().for_each(|v| *v = with_times(v.take()));
            value
        }
        _ => value,
    }
}

/// Every field of a recording's Rollouts and metrics that Serin says it does not support yet.
fn refused(objects: &[Value], steps: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let patches = steps.lines().filter_map(|line| line.split_once(" merge "));
    let patches: Vec<Value> = patches
        .filter_map(|(_, body)| serde_json::from_str(body).ok())
        .map(with_times)
        .collect();
    for object in objects {
        let metrics = object["spec"]["metrics"].as_array();
        for metric in metrics.into_iter().flatten() {
            let metric: Metric = serde_json::from_value(metric.clone()).expect("a metric");
            fields.extend(validate::unsupported_metric(&metric).map(|(path, _)| path));
        }
        if object["kind"] == "Rollout" {
            let mut spec = object["spec"].clone();
            for patch in &patches {
                json_patch::merge(&mut spec, &patch["spec"]);
                let Ok(spec) = serde_json::from_value::<RolloutSpec>(spec.clone()) else {
                    continue;
                };
                fields.extend(validate::unsupported_fields(&spec).into_iter().map(|(path, _)| path));
            }
            let spec: RolloutSpec = serde_json::from_value(object["spec"].clone()).expect("a Rollout");
            fields.extend(validate::unsupported_fields(&spec).into_iter().map(|(path, _)| path));
        }
    }
    fields
}

#[test]
fn what_is_left_out_is_what_serin_says_it_does_not_support() {
    let mut wrong = Vec::new();
    for left_out in left_out().unwrap() {
        let Some(field) = &left_out.field else { continue };
        let found = refused(&left_out.objects().unwrap(), &left_out.steps().unwrap());
        if !found.contains(field) {
            wrong.push(format!(
                "{}: {field} is supported now (refused: {found:?}): play it",
                left_out.recording
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_crash_between_any_two_writes_changes_nothing_but_lost_events() {
    let mut failures = Vec::new();
    for name in chosen(On::Planner).unwrap() {
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
fn every_plan_of_every_recording_passes_the_audit_capacity_rules_included_and_is_explained_as_it_is() {
    let mut failures = Vec::new();
    for name in chosen(On::Planner).unwrap() {
        let scenario = Scenario::load(&name).unwrap();
        for (pace, crashes) in [(0, None), (25, None), (0, Some(Crashes(7)))] {
            let Ok(ground) = std::panic::catch_unwind(|| play(&scenario, pace, crashes)) else {
                failures.push(format!("{name}, pace {pace}: the replay broke off (see above)"));
                continue;
            };
            let said = ground.findings.iter().chain(&ground.misfits);
            failures.extend(said.map(|f| format!("{name}, pace {pace}, {f}")));
        }
    }
    assert!(
        failures.is_empty(),
        "{} findings:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
