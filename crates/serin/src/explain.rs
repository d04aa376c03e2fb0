//! `serin explain`: what a Rollout is doing, why, since when, and what happens next. Reads with the user's own rights and
//! writes nothing; the words are the planner's.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use kube::{Api, Client};
use serde_json::{Value, json};
use serin_analysis::Limits;
use serin_api::analysis::{AnalysisRun, Measurement, Metric, MetricResult, Phase};
use serin_controller::{Clock, Key, context::Memory, look::look, observe::Observed, stores::Stores};
use serin_model::Settings;
use serin_planner::{Explanation, WaitsFor, explain};

use crate::{
    analysis::{conditions, filled},
    cluster::Cluster,
};

/// Of an error's message so many characters are shown: what was asked, and what came of it.
const LONGEST_ERROR: usize = 160;

/// Say what a Rollout is doing, why, since when, and what happens next.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 explained, 2 there is no such Rollout, or the cluster cannot be read.")]
pub(crate) struct Flags {
    /// rollout/NAME, or NAME; without one all Rollouts of the namespace, a line each.
    #[arg(value_name = "ROLLOUT")]
    rollout: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with_all = ["rollout", "namespace"])]
    all_namespaces: bool,
    /// `json` instead of text.
    #[arg(long, short, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Runs the command; problems go to standard error.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(told(flags)));
    match text {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(2)
        }
    }
}

async fn told(flags: &Flags) -> Result<String> {
    let (client, namespace) = flags.cluster.connect().await?;
    let wanted = (!flags.all_namespaces).then_some(namespace.as_str());
    let stores = look(&client, wanted).await.context("the cluster cannot be read")?;
    let now = Clock::System.now();
    let as_json = flags.output == "json";
    let Some(name) = &flags.rollout else {
        return Ok(all(&stores, now, as_json));
    };
    let name = name_of(name)?;
    let key = Key::new(namespace.as_str(), name);
    let Some(explanation) = of(&stores, &key, now)? else {
        bail!("there is no Rollout {name} in namespace {namespace}; serin explain -A lists all of them");
    };
    let runs = runs(&client, &namespace, &explanation).await;
    Ok(if as_json {
        let metrics: Vec<Value> = runs
            .iter()
            .map(|run| json!({"name": run.metadata.name, "status": run.status}))
            .collect();
        let mut whole = serde_json::to_value(&explanation)?;
        whole["rollout"] = json!({ "namespace": namespace, "name": name });
        whole["runs"] = Value::Array(metrics);
        format!("{whole:#}\n")
    } else {
        text(&key, &explanation, &runs, now)
    })
}

fn name_of(given: &str) -> Result<&str> {
    match given.split_once('/') {
        None => Ok(given),
        Some(("rollout" | "rollouts" | "ro" | "rollouts.argoproj.io", name)) => Ok(name),
        Some((kind, _)) => bail!("{given}: only Rollouts can be explained, not {kind}; write rollout/NAME"),
    }
}

fn of(stores: &Stores, key: &Key, now: DateTime<Utc>) -> Result<Option<Explanation>> {
    Ok(match stores.world(key, &Settings::default(), &Memory::default()) {
        Observed::Gone => None,
        Observed::World(world) => Some(explain(&world, now)),
        Observed::NotReady(kind) => bail!("{} were not listed", kind.plural()),
        Observed::Undecodable(bad) => {
            bail!(
                "Rollout {}/{} cannot be understood: {}",
                key.namespace,
                key.name,
                bad.error
            )
        }
    })
}

/// The runs that it speaks of; one that is gone meanwhile, or that may not be read, is left out.
async fn runs(client: &Client, namespace: &str, explanation: &Explanation) -> Vec<AnalysisRun> {
    let api = Api::<AnalysisRun>::namespaced(client.clone(), namespace);
    let mut out = Vec::new();
    for name in &explanation.analysis_runs {
        out.extend(api.get_opt(name).await.ok().flatten());
    }
    out
}

/// One line a Rollout.
fn all(stores: &Stores, now: DateTime<Utc>, as_json: bool) -> String {
    let mut rows = Vec::new();
    for (key, _) in stores.rollouts.iter() {
        match of(stores, key, now) {
            Ok(Some(explanation)) => rows.push((key, Ok(explanation))),
            Ok(None) => {}
            Err(problem) => rows.push((key, Err(format!("{problem:#}")))),
        }
    }
    if as_json {
        let list = rows.iter().map(|(key, known)| {
            let mut whole = match known {
                Ok(known) => serde_json::to_value(known).unwrap_or_default(),
                Err(problem) => json!({ "problem": problem }),
            };
            whole["rollout"] = json!({ "namespace": key.namespace, "name": key.name });
            whole
        });
        return format!("{:#}\n", Value::Array(list.collect()));
    }
    let mut out = String::new();
    let name = |key: &Key| format!("{}/{}", key.namespace, key.name);
    let width = rows.iter().map(|(key, _)| name(key).len()).max().unwrap_or(0);
    for (key, known) in &rows {
        let (state, what) = match known {
            Ok(known) => (format!("{:?}", known.state), known.what.clone()),
            Err(problem) => ("Invalid".to_owned(), problem.clone()),
        };
        let _ = writeln!(out, "{:width$}  {state:<19}  {what}", name(key));
    }
    if out.is_empty() {
        out.push_str("There are no Rollouts here.\n");
    }
    out
}

fn text(key: &Key, known: &Explanation, runs: &[AnalysisRun], now: DateTime<Utc>) -> String {
    let mut out = format!(
        "Rollout {}/{}: {:?}\n  {}\n",
        key.namespace, key.name, known.state, known.what
    );
    for (index, why) in known.why.iter().enumerate() {
        let head = if index == 0 { "why" } else { "" };
        let _ = writeln!(out, "  {head:<6} {why}");
    }
    if let Some(since) = known.since {
        let _ = writeln!(out, "  since  {} ({} ago)", stamp(since), length(now - since));
    }
    let when = match (known.next.at, known.next.waits_for) {
        (Some(at), WaitsFor::Time) => format!("{} (in {}): ", stamp(at), length(at - now)),
        (Some(at), _) => format!("by {} (in {}): ", stamp(at), length(at - now)),
        (None, _) => String::new(),
    };
    let _ = writeln!(out, "  next   {when}{}", known.next.what);
    for run in runs {
        let status = run.status.clone().unwrap_or_default();
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let _ = writeln!(out, "\nAnalysisRun {name}: {}", word(status.phase.as_str()));
        for metric in &run.spec.metrics {
            let result = status.metric_results.iter().find(|result| result.name == metric.name);
            let none = MetricResult::default();
            let result = result.unwrap_or(&none);
            let _ = writeln!(out, "  {}", measured(run, metric, result));
            for line in troubles(&filled(run, metric), result) {
                let _ = writeln!(out, "    {line}");
            }
        }
    }
    out
}

fn word(phase: &str) -> &str {
    if phase.is_empty() { "not begun" } else { phase }
}

/// One metric in a line: verdict, counts, last value, and the conditions that judge it.
fn measured(run: &AnalysisRun, metric: &Metric, result: &MetricResult) -> String {
    let mut parts = vec![format!("{}: {}", metric.name, word(result.phase.as_str()))];
    let counts = [
        (result.successful, "good"),
        (result.failed, "bad"),
        (result.inconclusive, "inconclusive"),
        (result.error, "without an answer"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    parts.push(if counts.is_empty() {
        "not measured yet".to_owned()
    } else {
        counts.join(", ")
    });
    let value = result.measurements.last().map(|m| m.value.as_str());
    parts.extend(value.filter(|v| !v.is_empty()).map(|v| format!("last {v}")));
    parts.extend(conditions(run, metric));
    // The last error is told in a line of its own.
    if !result.message.is_empty() && last_error(result).is_none_or(|last| last.message != result.message) {
        parts.push(result.message.clone());
    }
    parts.join("; ")
}

fn last_error(result: &MetricResult) -> Option<&Measurement> {
    result.measurements.iter().rev().find(|m| m.phase == Phase::Error)
}

/// Why measurements fail, and how much more of it ends the run. The controller has taken Secrets out of the messages before
/// it wrote them.
fn troubles(metric: &Metric, result: &MetricResult) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(last) = last_error(result).filter(|last| !last.message.is_empty()) {
        out.push(format!("last error: {}", one_line(&last.message)));
    }
    let is_over = result.phase.is_completed();
    if is_over || result.dry_run || result.error + result.failed + result.inconclusive == 0 {
        return out;
    }
    let limits = Limits::of(metric);
    let more = |limit: i32, count: i32, what: [&str; 2], verdict: &str, field: &str| {
        // It ends with the first one beyond the limit.
        let left = limit.saturating_add(1).saturating_sub(count).max(1);
        let what = if left == 1 { what[0] } else { what[1] };
        format!("{verdict} with {left} more {what} ({field} {limit})")
    };
    let mut ends = Vec::new();
    if result.error > 0 {
        ends.push(more(
            limits.errors,
            result.consecutive_error,
            ["error in a row", "errors in a row"],
            "Error",
            "consecutiveErrorLimit",
        ));
    }
    if limits.failures >= 0 {
        ends.push(more(
            limits.failures,
            result.failed,
            ["bad one", "bad ones"],
            "Failed",
            "failureLimit",
        ));
    }
    if result.inconclusive > 0 {
        ends.push(more(
            limits.inconclusive,
            result.inconclusive,
            ["inconclusive one", "inconclusive ones"],
            "Inconclusive",
            "inconclusiveLimit",
        ));
    }
    if !ends.is_empty() {
        out.push(format!("it ends as {}", ends.join(", as ")));
    }
    out
}

/// A message without its line breaks, cut where it gets long.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text,
    }
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `45 s`, `12 min`, `3 h`, `5 d`.
fn length(time: chrono::TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use serde_json::{Value, json};

    use super::*;

    /// The lines that follow upon a metric with this result.
    fn said(metric: &Value, result: &Value) -> Vec<String> {
        let mut whole = json!({ "name": "m", "provider": { "prometheus": { "query": "up" } } });
        extend(&mut whole, metric);
        let mut found = json!({ "name": "m", "phase": "Running" });
        extend(&mut found, result);
        troubles(
            &serde_json::from_value(whole).unwrap(),
            &serde_json::from_value(found).unwrap(),
        )
    }

    fn extend(whole: &mut Value, part: &Value) {
        whole.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }

    fn error(message: &str) -> Value {
        json!({ "phase": "Error", "message": message })
    }

    #[test]
    fn a_metric_with_errors_says_the_last_one_and_how_many_more_end_it() {
        let lines = said(
            &json!({}),
            &json!({ "error": 3, "consecutiveError": 3, "measurements": [error("first"), error("last\n  of all")] }),
        );
        assert_eq!(
            lines,
            [
                "last error: last of all",
                "it ends as Error with 2 more errors in a row (consecutiveErrorLimit 4), as Failed with 1 more bad one (failureLimit 0)",
            ]
        );
    }

    #[test]
    fn limits_of_the_metric_count_and_an_answer_interrupts_the_row() {
        let good = json!({ "phase": "Successful", "value": "1" });
        let lines = said(
            &json!({ "consecutiveErrorLimit": 1, "failureLimit": -1, "inconclusiveLimit": "2" }),
            &json!({ "error": 1, "inconclusive": 1, "consecutiveError": 0, "measurements": [error("away"), good] }),
        );
        assert_eq!(lines[0], "last error: away");
        assert_eq!(
            lines[1],
            "it ends as Error with 2 more errors in a row (consecutiveErrorLimit 1), \
             as Inconclusive with 2 more inconclusive ones (inconclusiveLimit 2)"
        );
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = "é".repeat(400);
        let lines = said(&json!({}), &json!({ "error": 1, "measurements": [error(&long)] }));
        assert_eq!(lines[0], format!("last error: {}…", "é".repeat(LONGEST_ERROR)));
    }

    #[test]
    fn what_goes_well_is_over_or_decides_nothing_says_nothing_of_its_end() {
        let good = json!({ "successful": 3, "measurements": [{ "phase": "Successful", "value": "1" }] });
        assert_eq!(said(&json!({}), &good), Vec::<String>::new());
        for more in [json!({ "dryRun": true }), json!({ "phase": "Error" })] {
            let mut result = json!({ "error": 5, "consecutiveError": 5, "measurements": [error("away")] });
            extend(&mut result, &more);
            assert_eq!(said(&json!({}), &result), ["last error: away"]);
        }
    }
}
