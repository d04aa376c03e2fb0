//! kubesim against the answers that the real kube-apiserver gave, without a control plane.

use serin_conformance::compare::{listed, outcome};
use serin_conformance::generate::{self, Seen};
use serin_conformance::grounds::Simulated;
use serin_conformance::recorded;

#[test]
fn kubesim_answers_as_the_real_server_did_but_where_the_list_says_why_not() {
    let cases = generate::committed().expect("the committed cases");
    let real = recorded::read(&cases).expect("recorded answers");
    let simulated = Simulated::new().expect("definitions").play(&cases).expect("all cases");
    let outcome = outcome(&cases, &real, &simulated, &listed().expect("differences.json"), true);
    assert!(outcome.is_good(), "{}\n{}", outcome.report(10), outcome.summary());
}

#[test]
fn the_committed_cases_are_those_that_the_committed_shapes_give() {
    // Compared by name: files come in another order than kinds.
    let mut generated: Vec<_> = Seen::committed()
        .expect("shapes.json")
        .cases()
        .into_values()
        .flatten()
        .collect();
    let mut committed = generate::committed().expect("the committed cases");
    for cases in [&mut generated, &mut committed] {
        cases.sort_by(|a, b| a.name.cmp(&b.name));
    }
    assert!(generated == committed, "run `serin-conformance generate`, then record");
}

#[test]
fn the_same_cases_give_the_same_answers_again() {
    let cases: Vec<_> = generate::committed()
        .expect("the committed cases")
        .into_iter()
        .step_by(25)
        .collect();
    let simulated = Simulated::new().expect("definitions");
    assert!(simulated.play(&cases).expect("once") == simulated.play(&cases).expect("twice"));
}
