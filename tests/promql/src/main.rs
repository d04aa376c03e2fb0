//! `serin-promql-differential`: every query is a test that asks a real Prometheus on loopback and compares. See README.md.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use serin_promql::Dialect;
use serin_promql_differential::answer::{Answer, compare, ours};
use serin_promql_differential::{corpus, ground, live::Prometheus, random, recorded, title};

/// Seed and number of the random queries, unless the environment says otherwise.
const SEED: u64 = 1;
const RANDOM: u64 = 300;

fn main() -> Result<ExitCode> {
    if std::env::args().nth(1).as_deref() == Some("export") {
        println!("{}", recorded::export());
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let from_environment = |name: &str, otherwise: u64| std::env::var(name).map_or(Ok(otherwise), |v| v.parse());
    let seed = from_environment("SERIN_PROMQL_SEED", SEED)?;
    let count = usize::try_from(from_environment("SERIN_PROMQL_RANDOM", RANDOM)?)?;
    let mut queries: Vec<(&str, String)> = corpus::queries().into_iter().map(|q| ("written", q)).collect();
    queries.extend(random::queries(seed, count).into_iter().map(|q| ("random", q)));
    let queries: Vec<(String, String)> = queries
        .into_iter()
        .enumerate()
        .map(|(n, (kind, query))| (format!("{kind} {n:03} {}", title(&query)), query))
        .collect();
    if arguments.list {
        let trials = queries
            .into_iter()
            .map(|(name, _)| Trial::test(name, || Ok(())))
            .collect();
        return Ok(libtest_mimic::run(&arguments, trials).exit_code());
    }
    let wanted: Vec<String> = queries.iter().map(|(_, query)| query.clone()).collect();
    let (answers, dialect) = tokio::runtime::Runtime::new()?.block_on(ask(&wanted))?;
    let store = Arc::new(ground::store(&ground::series()));
    let trials = queries
        .into_iter()
        .zip(answers)
        .filter(|((_, query), _)| dialect == Dialect::V3 || !corpus::ONLY_3.contains(&query.as_str()))
        .map(|((name, query), answers)| {
            let store = Arc::clone(&store);
            Trial::test(name, move || {
                for (at, theirs) in ground::INSTANTS.into_iter().zip(&answers) {
                    let ours = ours(&store, &query, at, dialect);
                    compare(&query, &ours, theirs).map_err(|e| Failed::from(format!("{query}\nat {at}:\n{e}")))?;
                }
                Ok(())
            })
        })
        .collect();
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// What the real one says to every query at every instant. It has ended before the comparison begins.
async fn ask(queries: &[String]) -> Result<(Vec<Vec<Answer>>, Dialect)> {
    let prometheus = Prometheus::start().await?;
    prometheus.write(&ground::series()).await?;
    eprintln!("asking Prometheus {} {} queries", prometheus.version, queries.len());
    let mut all = Vec::with_capacity(queries.len());
    for query in queries {
        let mut answers = Vec::with_capacity(ground::INSTANTS.len());
        for at in ground::INSTANTS {
            answers.push(prometheus.ask(query, at).await?);
        }
        all.push(answers);
    }
    Ok((all, prometheus.dialect()))
}
