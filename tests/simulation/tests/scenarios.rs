//! What seeds make: scenarios that are sound, that come back from JSON as they were, and that differ.

use std::collections::BTreeSet;

use serin_api::{
    rollout::RolloutSpec,
    validate::{unsupported_fields, validate_rollout},
};
use serin_simulation::{
    generate::scenario,
    scenario::{Scenario, What},
};

const SEEDS: u64 = 500;

fn spec(value: &serde_json::Value) -> RolloutSpec {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

#[test]
fn every_rollout_is_sound_and_supported_before_and_after_each_edit() {
    for seed in 0..SEEDS {
        let scenario = scenario(seed);
        for (index, app) in scenario.apps.iter().enumerate() {
            let mut rollout = app.rollout.clone();
            let edits = scenario.actions.iter().filter(|a| a.app == index);
            let edits = edits.filter_map(|action| match &action.what {
                What::Edit(patch) => Some(patch.clone()),
                _ => None,
            });
            for patch in std::iter::once(serde_json::Value::Null).chain(edits) {
                if !patch.is_null() {
                    json_patch::merge(&mut rollout, &patch);
                }
                let spec = spec(&rollout["spec"]);
                assert_eq!(validate_rollout(&spec, &app.name), Ok(()), "seed {seed}: {rollout}");
                assert_eq!(unsupported_fields(&spec), [], "seed {seed}: {rollout}");
            }
        }
    }
}

#[test]
fn a_scenario_comes_back_from_json_as_it_was() {
    for seed in 0..SEEDS {
        let scenario = scenario(seed);
        let text = serde_json::to_string(&scenario).expect("a scenario is JSON");
        let back: Scenario = serde_json::from_str(&text).expect("it was JSON");
        assert_eq!(back, scenario, "seed {seed}");
    }
}

#[test]
fn scenarios_of_different_seeds_differ() {
    let all: BTreeSet<String> = (0..SEEDS).map(|seed| format!("{:?}", scenario(seed).apps)).collect();
    assert_eq!(all.len() as u64, SEEDS);
}
