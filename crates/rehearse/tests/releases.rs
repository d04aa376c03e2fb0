//! Whole rehearsals of one small release: verdicts follow from what is assumed and measured, never from a name.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use serin_rehearse::{
    Problem,
    assume::Assumptions,
    manifests::documents,
    play::{Outcome, Rehearsal, Replay, World, play},
    series::Exposition,
    setup::prepare,
    timeline,
};

use common::{GATE, ROLLOUT, rehearsal};

fn faulty(words: &[(&str, &str)], fault: &str) -> Replay {
    play(&rehearsal(words, fault), World::Faulty, 1).unwrap()
}

fn healthy(words: &[(&str, &str)]) -> Replay {
    play(&rehearsal(words, "errors=30%"), World::Healthy, 1).unwrap()
}

fn text(replay: &Replay) -> String {
    let lines = timeline::lines(replay);
    lines.into_iter().map(|line| line.text + "\n").collect()
}

#[test]
fn the_healthy_version_is_promoted_and_the_faulty_one_aborted_at_its_analysis() {
    let good = healthy(&[]);
    assert_eq!(good.outcome, Outcome::Promoted, "{}", text(&good));
    assert!(good.length > Duration::from_secs(60 + 3 * 30 + 120));
    assert_eq!(good.totals.unanswered, 0);

    let bad = faulty(&[], "errors=30%");
    assert!(
        matches!(&bad.outcome, Outcome::Aborted(why) if why.contains("errors")),
        "{}",
        text(&bad)
    );
    assert!(bad.off.is_some_and(|off| off < bad.length + Duration::from_secs(5)));
    // A fifth of 50 requests/s for about a minute, three tenths of them lost.
    assert!((100..400).contains(&bad.totals.failed_at_new), "{:?}", bad.totals);
    assert!(text(&bad).contains("measured errors: [0."), "{}", text(&bad));
    assert!(bad.requests.iter().any(|r| r.path.contains("/httproutes/shop")));
}

#[test]
fn an_inverted_condition_or_the_other_versions_hash_flips_the_verdict() {
    let inverted = [("result[0] < 0.05", "result[0] >= 0.05")];
    assert!(matches!(healthy(&inverted).outcome, Outcome::Aborted(_)));
    assert_eq!(faulty(&inverted, "errors=30%").outcome, Outcome::Promoted);

    let other = [("podTemplateHashValue: Latest", "podTemplateHashValue: Stable")];
    assert_eq!(faulty(&other, "errors=30%").outcome, Outcome::Promoted);
    assert_eq!(healthy(&other).outcome, Outcome::Promoted);
}

#[test]
fn too_little_traffic_for_the_window_is_no_data_and_no_verdict() {
    let mut quiet = rehearsal(&[], "errors=30%");
    quiet.assumptions.rps = 0.01;
    let played = play(&quiet, World::Faulty, 1).unwrap();
    assert!(matches!(&played.outcome, Outcome::Stuck(_)), "{:?}", played.outcome);
    let lines = text(&played);
    assert!(lines.to_lowercase().contains("no data"), "{lines}");
}

#[test]
fn scrape_interval_window_and_relabelling_change_what_is_measured() {
    let measured = |change: &dyn Fn(&mut Rehearsal), words: &[(&str, &str)]| {
        let mut rehearsal = rehearsal(words, "errors=30%");
        change(&mut rehearsal);
        play(&rehearsal, World::Faulty, 1).unwrap()
    };
    let aborted = |replay: &Replay| matches!(replay.outcome, Outcome::Aborted(_));
    let rare = |r: &mut Rehearsal| r.assumptions.scrape_interval = Duration::from_secs(60);
    let seldom = measured(&rare, &[]);
    assert!(
        !aborted(&seldom),
        "one sample a minute gives no rate over a minute: {}",
        text(&seldom)
    );
    assert!(aborted(&measured(&rare, &[("[1m]", "[4m]")])));
    let without_hash = |r: &mut Rehearsal| {
        r.exposition
            .relabelling
            .drop
            .insert("rollouts_pod_template_hash".to_owned());
    };
    assert!(!aborted(&measured(&without_hash, &[])), "no series carries the hash");
}

#[test]
fn the_same_seed_plays_the_same_release_and_another_one_another() {
    let rehearsal = rehearsal(&[], "errors=30%");
    let played = |seed: u64| {
        let replay = play(&rehearsal, World::Faulty, seed).unwrap();
        (replay.totals, replay.length, text(&replay))
    };
    assert_eq!(played(7), played(7));
    assert_ne!(played(7), played(8));
}

#[test]
fn a_version_that_never_gets_ready_is_stuck_unless_the_deadline_aborts() {
    let stuck = faulty(&[], "crashloop");
    assert!(
        matches!(&stuck.outcome, Outcome::Stuck(why) if why.contains("ProgressDeadlineExceeded")),
        "{:?}",
        stuck.outcome
    );
    assert_eq!(stuck.totals.to_new, 0);
    let words = [(
        "progressDeadlineSeconds: 120",
        "progressDeadlineSeconds: 120\n  progressDeadlineAbort: true",
    )];
    assert!(matches!(faulty(&words, "crashloop").outcome, Outcome::Aborted(_)));
}

#[test]
fn what_is_not_simulated_is_named_with_its_place_and_may_be_assumed() {
    let words = [
        ("(sum(rate(", "(sum(double_exponential_smoothing("),
        ("[1m])) or", "[1m], 0.5, 0.5)) or"),
    ];
    let mut odd = rehearsal(&words, "errors=30%");
    let Err(Problem::NotSimulated(why)) = play(&odd, World::Faulty, 1) else {
        panic!("it is not simulated");
    };
    assert!(
        why.contains("not simulated: 1:") && why.contains("--assume errors="),
        "{why}"
    );
    odd.assumed.insert("errors".to_owned(), 0.0);
    assert_eq!(play(&odd, World::Faulty, 1).unwrap().outcome, Outcome::Promoted);
    odd.assumed.insert("errors".to_owned(), 0.5);
    assert!(matches!(
        play(&odd, World::Healthy, 1).unwrap().outcome,
        Outcome::Aborted(_)
    ));
}

#[test]
fn what_the_controller_would_refuse_is_bad_input_and_what_it_does_not_support_is_not_simulated() {
    let prepared = |text: &str| prepare(&documents("test.yaml", text).unwrap(), None);
    let Err(Problem::BadInput(why)) = prepared(ROLLOUT) else {
        panic!("its template is missing");
    };
    assert!(why.contains("gate"), "{why}");
    let Err(Problem::BadInput(why)) = prepared(&format!(
        "{}---{GATE}",
        ROLLOUT.replace("setWeight: 20", "setWeight: 120")
    )) else {
        panic!("there is no weight of 120");
    };
    assert!(why.contains("120"), "{why}");
    let blue_green =
        ROLLOUT.split("    canary:").next().unwrap().to_owned() + "    blueGreen: { activeService: shop }\n";
    let Err(Problem::NotSimulated(why)) = prepared(&blue_green) else {
        panic!("blue-green is not supported yet");
    };
    assert!(why.contains("spec.strategy.blueGreen"), "{why}");
}

#[test]
fn what_is_referred_to_and_not_given_is_supplied_and_said() {
    let notes = rehearsal(&[], "").setup.notes.join("\n");
    for part in ["Service/shop-canary", "Service/shop-stable", "HTTPRoute/shop"] {
        assert!(notes.contains(part), "{notes}");
    }
}

#[test]
fn a_field_that_means_nothing_is_named_with_its_place() {
    let manifest = "kind: Rollout\napiVersion: argoproj.io/v1alpha1\nmetadata: { name: web }\nspec:\n  selector: { matchLabels: { app: web } }\n  template:\n    metadata: { labels: { app: web } }\n    spec: { containers: [{ name: app, image: 'web:2' }] }\n  strategy: { canary: { stepz: [{ setWeight: 5 }] } }\n";
    let setup = prepare(&documents("web.yaml", manifest).unwrap(), None).unwrap();
    let notes = setup.notes.join("\n");
    assert!(
        notes.contains("web.yaml: Rollout/web: spec.strategy.canary.stepz"),
        "{notes}"
    );
}

#[test]
fn the_timeline_tells_what_is_explained() {
    let replay = play(&rehearsal(&[], "errors=30%"), World::Faulty, 1).unwrap();
    let told = text(&replay);
    assert!(told.contains("Revision 2 is at step "), "{told}");
    assert!(replay.told.iter().any(|(_, known)| !known.why.is_empty()));
}

#[test]
fn the_manifest_from_the_field_plays_with_our_template_and_without_a_router() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let template = read("analysis-templates/http-success-rate.yaml")
        .replace("- name: service\n", "- name: service\n    value: checkout\n");
    let manifest = format!("{}\n---\n{template}", read("examples/field-manifest/rollout.yaml"));
    let setup = prepare(&documents("field.yaml", &manifest).unwrap(), None).unwrap();
    assert!(setup.notes.iter().any(|note| note.contains("there is no router")));
    let rehearsal = Rehearsal {
        setup,
        assumptions: Assumptions {
            errors: 0.0001,
            ..Assumptions::default()
        },
        exposition: Exposition::default(),
        assumed: BTreeMap::new(),
        warm_up: Duration::from_secs(360),
        stay: Duration::ZERO,
        explains: false,
    };
    let replay = play(&rehearsal, World::Healthy, 1).unwrap();
    assert_eq!(replay.outcome, Outcome::Promoted, "{}", text(&replay));
    assert!(
        text(&replay).contains("50.0% of requests go to the new version"),
        "{}",
        text(&replay)
    );
}
