//! What people hand in: what is made of it, and what is said where it cannot be played.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::time::Duration;

use serin_rehearse::{
    Problem,
    manifests::documents,
    play::{Outcome, Rehearsal, World, play},
    setup::prepare,
};

use common::{GATE, ROLLOUT, of, rehearsal};

fn whole() -> String {
    format!("{ROLLOUT}---{GATE}")
}

/// What is said of manifests before anything is played, and whether they are bad input.
fn refused(text: &str, words: &[(&str, &str)]) -> (String, bool) {
    match of(text, words, "") {
        Ok(_) => panic!("it is not refused"),
        Err(Problem::BadInput(why)) => (why, true),
        Err(problem) => (problem.to_string(), false),
    }
}

/// The same once it is played.
fn refused_in_play(rehearsal: &Rehearsal) -> (String, bool) {
    match play(rehearsal, World::Healthy, 1) {
        Ok(replay) => panic!("it is not refused: {:?}", replay.outcome),
        Err(Problem::BadInput(why)) => (why, true),
        Err(problem) => (problem.to_string(), false),
    }
}

fn share_at_the_first_step(rehearsal: &Rehearsal) -> f64 {
    let replay = play(rehearsal, World::Healthy, 1).unwrap();
    assert_eq!(replay.outcome, Outcome::Promoted);
    let after = replay.shares.iter().filter(|(at, _)| *at > replay.changed);
    after.map(|(_, share)| *share).find(|share| *share > 0.0).unwrap()
}

const NO_ROUTER: (&str, &str) = (
    "      trafficRouting: { plugins: { argoproj-labs/gatewayAPI: { httpRoute: shop, namespace: web } } }\n",
    "",
);

const SERVICES: &str = "
---
{ apiVersion: v1, kind: Service, metadata: { name: shop-canary, namespace: web }, spec: { selector: { app: shop }, ports: [{ port: 80 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: shop-stable, namespace: web }, spec: { selector: { app: shop }, ports: [{ port: 80 }] } }
";

#[test]
fn without_a_router_users_come_through_neither_of_the_versions_services() {
    let own = of(&format!("{}{SERVICES}", whole()), &[NO_ROUTER], "").unwrap();
    assert!(
        own.setup.notes.join("\n").contains("Service/shop,"),
        "{:?}",
        own.setup.notes
    );
    assert!((share_at_the_first_step(&own) - 0.2).abs() < 1e-9);
    // The one that is free is taken, wherever its name stands in the alphabet.
    let free = "---\n{ apiVersion: v1, kind: Service, metadata: { name: zoo, namespace: web }, spec: { selector: { app: shop }, ports: [{ port: 80 }] } }\n";
    let given = of(&format!("{}{SERVICES}{free}", whole()), &[NO_ROUTER], "").unwrap();
    assert!(
        given.setup.notes.join("\n").contains("Service/zoo,"),
        "{:?}",
        given.setup.notes
    );
    assert!((share_at_the_first_step(&given) - 0.2).abs() < 1e-9);
}

const TESTERS: &str = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: web }
spec:
  parentRefs: [{ name: gateway }]
  rules:
  - matches: [{ headers: [{ name: x-canary, value: '1' }] }]
    backendRefs: [{ name: shop-canary, port: 80 }]
  - backendRefs: [{ name: shop-stable, port: 80 }, { name: shop-canary, port: 80 }]
";

#[test]
fn users_come_by_the_rule_whose_weights_the_controller_writes() {
    let with_testers = of(&format!("{}{TESTERS}", whole()), &[], "").unwrap();
    assert!((share_at_the_first_step(&with_testers) - 0.2).abs() < 1e-9);
    let words = [("name: shop-stable, port: 80 }, ", "name: other, port: 80 }, ")];
    let (why, is_bad) = refused(&format!("{}{TESTERS}", whole()), &words);
    assert!(is_bad && why.contains("HTTPRoute web/shop has no rule"), "{why}");
}

#[test]
fn the_time_before_midnight_is_that_of_the_day_before() {
    let mut night = rehearsal(&[], "");
    night.assumptions.begin = Duration::ZERO;
    let all_day = play(&night, World::Healthy, 1).unwrap().totals.requests as f64;
    // Nobody comes between one and eleven at night; the release is over within the first hour.
    night.assumptions.curve = "00:00=1,00:59=1,01:00=0,22:59=0,23:00=1".parse().unwrap();
    let at_night = play(&night, World::Healthy, 1).unwrap().totals.requests as f64;
    assert!((at_night / all_day - 1.0).abs() < 0.05, "{at_night} of {all_day}");
}

#[test]
fn a_series_that_nobody_exposes_is_named_and_not_just_empty() {
    let memory = rehearsal(
        &[("sum(rate(http_requests_total{code", "sum(rate(memory_bytes{code")],
        "",
    );
    let (why, is_bad) = refused_in_play(&memory);
    assert!(!is_bad && why.contains("not simulated: 1:11: memory_bytes: "), "{why}");
    assert!(why.contains("--assume errors=VALUE"), "{why}");

    // A rule gives it.
    let rules =
        "---\ngroups: [{ name: g, interval: 15s, rules: [{ record: memory_bytes, expr: 'http_requests_total' }] }]\n";
    let words = [("sum(rate(http_requests_total{code", "sum(rate(memory_bytes{code")];
    let recorded = of(&format!("{}{rules}", whole()), &words, "").unwrap();
    assert_eq!(play(&recorded, World::Healthy, 1).unwrap().outcome, Outcome::Promoted);

    // A rule that reads what nobody exposes is no better.
    let empty = rules.replace("'http_requests_total'", "'nobody_has_it'");
    let (why, is_bad) = refused_in_play(&of(&format!("{}{empty}", whole()), &words, "").unwrap());
    assert!(!is_bad && why.contains("nobody_has_it"), "{why}");
}

#[test]
fn a_rule_that_is_not_simulated_matters_only_where_it_is_asked_for() {
    let rules = "---\ngroups: [{ name: g, rules: [{ record: odd, expr: 'histogram_fraction(0, 1, x)' }] }]\n";
    let beside = of(&format!("{}{rules}", whole()), &[], "").unwrap();
    assert!(
        beside.setup.notes.join("\n").contains("histogram_fraction"),
        "{:?}",
        beside.setup.notes
    );
    assert_eq!(play(&beside, World::Healthy, 1).unwrap().outcome, Outcome::Promoted);
    let words = [("sum(rate(http_requests_total{code", "sum(rate(odd{code")];
    let (why, is_bad) = refused_in_play(&of(&format!("{}{rules}", whole()), &words, "").unwrap());
    assert!(
        !is_bad && why.contains("odd: the rule that records it is not simulated: 1:1"),
        "{why}"
    );
}

#[test]
fn a_rule_that_fails_is_told() {
    let rules = "---\ngroups: [{ name: g, interval: 15s, rules: [{ record: odd, expr: 'up * on(job) up' }] }]\n";
    let words = [("sum(rate(http_requests_total{code", "sum(rate(odd{code")];
    let (why, is_bad) = refused_in_play(&of(&format!("{}{rules}", whole()), &words, "").unwrap());
    assert!(
        is_bad && why.contains("recording rules: group \"g\", rule \"odd\""),
        "{why}"
    );
}

#[test]
fn broken_queries_and_conditions_are_bad_input_and_no_verdict() {
    let broken = rehearsal(&[("or vector(0))", "or vector(0)")], "");
    let (why, is_bad) = refused_in_play(&broken);
    assert!(
        is_bad && why.starts_with("metric errors: ") && why.contains("in the query"),
        "{why}"
    );
    for (condition, part) in [("result[0] <<< 3", "<<"), ("result[0] < limit", "limit")] {
        let played = of(&whole(), &[("result[0] < 0.05", condition)], "");
        let (why, is_bad) = match played {
            Err(Problem::BadInput(why)) => (why, true),
            other => panic!("{condition}: {other:?}"),
        };
        assert!(
            is_bad && why.contains("successCondition") && why.contains(part),
            "{why}"
        );
    }
    let (why, is_bad) = refused(&whole(), &[("  metrics:", "  metriks:")]);
    assert!(is_bad && why.contains("spec.metrics is empty"), "{why}");
    // A scalar is judged without an index.
    assert!(of(&whole(), &[("result[0] < 0.05", "result < 0.05")], "").is_ok());
}

#[test]
fn a_secret_that_is_not_given_is_supplied_and_said() {
    let words = [
        (
            "  args: [{ name: hash }]\n",
            "  args: [{ name: hash }, { name: token, valueFrom: { secretKeyRef: { name: prometheus, key: token } } }]\n",
        ),
        (
            "        query: |",
            "        headers: [{ key: Authorization, value: 'Bearer {{args.token}}' }]\n        query: |",
        ),
    ];
    let without = of(&whole(), &words, "").unwrap();
    assert!(
        without
            .setup
            .notes
            .join("\n")
            .contains("key token of Secret/prometheus"),
        "{:?}",
        without.setup.notes
    );
    assert_eq!(play(&without, World::Healthy, 1).unwrap().outcome, Outcome::Promoted);
    let secret = "---\n{ apiVersion: v1, kind: Secret, metadata: { name: prometheus, namespace: web }, stringData: { token: a } }\n";
    let with = of(&format!("{}{secret}", whole()), &words, "").unwrap();
    assert!(
        !with.setup.notes.join("\n").contains("Secret"),
        "{:?}",
        with.setup.notes
    );
    assert_eq!(play(&with, World::Healthy, 1).unwrap().outcome, Outcome::Promoted);
}

#[test]
fn a_typo_is_named_where_a_step_is_refused_for_it() {
    let (why, is_bad) = refused(&whole(), &[("- setWeight: 20", "- setWeigth: 20")]);
    assert!(
        is_bad && why.contains("not known: ") && why.contains("setWeigth"),
        "{why}"
    );
    let (why, is_bad) = refused(&whole(), &[("  replicas: 5", "  paused: true")]);
    assert!(is_bad && why.contains("spec.paused: true"), "{why}");
}

#[test]
fn the_rollout_is_chosen_by_its_namespace_and_has_to_be_one_of_ours() {
    let two = format!(
        "{}---{}",
        whole(),
        ROLLOUT.replace("namespace: web }\nspec", "namespace: staging }\nspec")
    );
    let choose =
        |text: &str, which| prepare(&documents("test.yaml", text).unwrap(), which).map(|setup| setup.namespace);
    let Err(Problem::BadInput(why)) = choose(&two, None) else {
        panic!("there are two")
    };
    assert!(why.contains("web/shop, staging/shop"), "{why}");
    assert!(choose(&two, Some("shop")).is_err());
    assert_eq!(choose(&two, Some("web/shop")), Ok("web".to_owned()));
    for (version, part) in [
        ("foo.io/v1", "there is no Rollout of argoproj.io/v1alpha1"),
        ("argoproj.io/v1beta7", "write argoproj.io/v1alpha1"),
    ] {
        let (why, is_bad) = refused(
            &whole(),
            &[(
                "apiVersion: argoproj.io/v1alpha1\nkind: Rollout",
                &format!("apiVersion: {version}\nkind: Rollout"),
            )],
        );
        assert!(is_bad && why.contains(part), "{why}");
    }
}

#[test]
fn how_long_steps_pause_is_known_before() {
    let setup = rehearsal(&[("- setWeight: 60", "- pause: {}")], "").setup;
    assert_eq!(setup.pauses(Duration::from_secs(60)), Duration::from_secs(180));
}
