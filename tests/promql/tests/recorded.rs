//! The answers of Prometheus 3, as they were recorded: every query is a test, and no Prometheus is needed.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use serin_promql::Dialect;
use serin_promql_differential::answer::{compare, ours};
use serin_promql_differential::recorded::{self, Recorded};
use serin_promql_differential::{ground, title};

fn main() {
    let recorded = Recorded::read(include_str!("../data/prometheus-3.json")).expect("as reference/ wrote it");
    let store = Arc::new(ground::store(&ground::series()));
    let is_current = recorded.asked() == recorded::asked();
    let mut trials = vec![Trial::test("the recorded queries are those of the corpus", move || {
        if is_current {
            Ok(())
        } else {
            Err("record them again: README.md says how".into())
        }
    })];
    for (number, (query, at, theirs)) in recorded.answers().into_iter().enumerate() {
        let (query, store) = (query.to_owned(), Arc::clone(&store));
        trials.push(Trial::test(format!("{number:04} {}", title(&query)), move || {
            let ours = ours(&store, &query, at, Dialect::V3);
            compare(&query, &ours, &theirs).map_err(|e| Failed::from(format!("{query}\nat {at}:\n{e}")))
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
