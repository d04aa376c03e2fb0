//! `serin analysis run`: one evaluation of a template against the real provider, from the user's machine, without a release.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::json;
use serin_analysis::{RunInput, RunMemory, Secrets, Settings, plan_run, secrets_needed};
use serin_api::{
    GROUP,
    analysis::{AnalysisRun, AnalysisRunSpec, AnalysisTemplate, Argument, ClusterAnalysisTemplate, Metric, Phase},
    compose,
    rollout::AnalysisTemplateRef,
};
use serin_controller::Clock;
use serin_model::{
    TemplateView, Templates,
    measure::{MeasureTask, Outcome, TaskAnswer},
    run_annotations,
};
use serin_providers::{AddressPolicy, ProviderSettings, Providers, ReqwestTransport};

use crate::{cluster::Cluster, files::collect};

/// Try analysis templates.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask a template's queries once, now, and say what would be made of the answers.
    Run(Box<Flags>),
}

/// One evaluation of a template: the query sent, the value received, the condition, the verdict. Nothing is written.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 successful, 1 failed, inconclusive or no data, 2 bad input, 3 the provider gave no answer."
)]
pub(crate) struct Flags {
    /// Name of an AnalysisTemplate in the cluster, a YAML file with it, or - for standard input.
    template: String,
    /// The value of an argument: NAME=VALUE.
    #[arg(long = "arg", visible_alias = "args", value_name = "NAME=VALUE")]
    args: Vec<String>,
    /// Further files with templates that the first one names.
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// It is a ClusterAnalysisTemplate.
    #[arg(long)]
    cluster_scope: bool,
    /// Where the template and the Secrets that it names are.
    #[command(flatten)]
    cluster: Cluster,
    /// Where Prometheus is when a metric does not say.
    #[arg(long, env = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS")]
    prometheus_address: Option<String>,
    /// `json` instead of text.
    #[arg(long, short, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Runs the command; problems go to standard error.
pub(crate) fn run(command: &Command) -> ExitCode {
    let Command::Run(flags) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(evaluate(flags)));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(2)
        }
    }
}

async fn evaluate(flags: &Flags) -> Result<u8> {
    if let Some(address) = flags
        .prometheus_address
        .as_deref()
        .filter(|address| !address.is_empty())
        && !["http://", "https://"].iter().any(|scheme| address.starts_with(scheme))
    {
        bail!(
            "--prometheus-address {address}: it begins with neither http:// nor https://, as http://localhost:9090 does"
        );
    }
    let mut cluster = Reader {
        cluster: &flags.cluster,
        client: None,
    };
    let (first, templates) = templates(flags, &mut cluster).await?;
    let run = analysis_run(flags, &first, &templates)?;
    let secrets = cluster.secrets(&run.spec).await?;
    let answered = ask(flags, &run, &secrets).await;
    Ok(report(flags, &run, &answered))
}

/// The template that was named, and all that it includes.
async fn templates(flags: &Flags, cluster: &mut Reader<'_>) -> Result<(AnalysisTemplateRef, Templates)> {
    let mut found = Templates::new();
    let from_file = is_file(&flags.template);
    let mut files = flags.file.clone();
    if from_file {
        files.insert(0, PathBuf::from(&flags.template));
    }
    let mut first = None;
    for path in &files {
        if path.is_dir() {
            bail!(
                "{}: this is a folder; name the file of one template, and those that it includes with --file",
                path.display()
            );
        }
        let mut read = Vec::new();
        collect(path, &mut read).map_err(anyhow::Error::msg)?;
        for document in read {
            if document.group() != GROUP || !document.kind().ends_with("AnalysisTemplate") {
                continue;
            }
            let reference = reference(document.name(), document.kind() == "ClusterAnalysisTemplate");
            let template: AnalysisTemplate = serde_json::from_value(document.object.clone())
                .with_context(|| format!("{}: {}", document.source, document.title()))?;
            first.get_or_insert_with(|| reference.clone());
            let annotations = template.metadata.annotations.unwrap_or_default();
            found.insert(
                reference,
                TemplateView {
                    spec: template.spec,
                    annotations,
                },
            );
        }
    }
    let first = match first.filter(|_| from_file) {
        Some(first) => first,
        None if from_file => bail!("{}: there is no AnalysisTemplate in it", flags.template),
        None => reference(&flags.template, flags.cluster_scope),
    };
    let mut wanted = vec![first.clone()];
    let mut seen = BTreeSet::new();
    while let Some(next) = wanted.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        if !found.contains_key(&next) {
            found.insert(next.clone(), cluster.template(&next).await?);
        }
        wanted.extend(found[&next].spec.templates.iter().flatten().cloned());
    }
    Ok((first, found))
}

/// What looks like a file is one, also where there is none: no object of a cluster has such a name.
fn is_file(template: &str) -> bool {
    let path = Path::new(template);
    let is_yaml = path.extension().is_some_and(|end| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| end.eq_ignore_ascii_case(known))
    });
    template == "-" || template.contains('/') || is_yaml || path.exists()
}

fn reference(name: &str, cluster_scope: bool) -> AnalysisTemplateRef {
    AnalysisTemplateRef {
        template_name: name.to_owned(),
        cluster_scope,
    }
}

/// The API server, asked only when something has to come from there.
struct Reader<'a> {
    cluster: &'a Cluster,
    client: Option<(Client, String)>,
}

impl Reader<'_> {
    async fn client(&mut self) -> Result<(Client, String)> {
        if self.client.is_none() {
            self.client = Some(self.cluster.connect().await?);
        }
        self.client.clone().context("there is no client")
    }

    async fn template(&mut self, wanted: &AnalysisTemplateRef) -> Result<TemplateView> {
        let (client, namespace) = self.client().await?;
        let name = &wanted.template_name;
        if wanted.cluster_scope {
            let object = Api::<ClusterAnalysisTemplate>::all(client).get(name).await;
            let object = object.with_context(|| format!("ClusterAnalysisTemplate/{name}"))?;
            return Ok(TemplateView {
                spec: object.spec.0,
                annotations: object.metadata.annotations.unwrap_or_default(),
            });
        }
        let object = Api::<AnalysisTemplate>::namespaced(client, &namespace).get(name).await;
        let object = object.with_context(|| format!("AnalysisTemplate/{name} in namespace {namespace}"))?;
        Ok(TemplateView {
            spec: object.spec,
            annotations: object.metadata.annotations.unwrap_or_default(),
        })
    }

    /// The Secrets that arguments name, read with the user's own rights.
    async fn secrets(&mut self, spec: &AnalysisRunSpec) -> Result<Secrets> {
        let mut out = Secrets::new();
        for wanted in secrets_needed(spec) {
            let (client, namespace) = self.client().await?;
            let secret = Api::<Secret>::namespaced(client, &namespace).get(&wanted.name).await;
            let value = match secret {
                Ok(secret) => {
                    let bytes = secret.data.and_then(|mut data| data.remove(&wanted.key));
                    bytes
                        .and_then(|bytes| String::from_utf8(bytes.0).ok())
                        .ok_or_else(|| format!("key '{}' does not exist in secret '{}'", wanted.key, wanted.name))
                }
                Err(error) => Err(error.to_string()),
            };
            out.insert((wanted.name, wanted.key), value);
        }
        Ok(out)
    }
}

/// The run that a Rollout would make of it, each metric once and at once.
fn analysis_run(flags: &Flags, first: &AnalysisTemplateRef, templates: &Templates) -> Result<AnalysisRun> {
    let lookup = |wanted: &AnalysisTemplateRef| templates.get(wanted).map(|t| &t.spec);
    let refs = std::slice::from_ref(first);
    let template = compose::compose(refs, lookup)?;
    let given = flags
        .args
        .iter()
        .map(|text| argument(text))
        .collect::<Result<Vec<_>>>()?;
    let declared = template.args.as_deref().unwrap_or_default();
    for arg in &given {
        if !declared.iter().any(|known| known.name == arg.name) {
            let names: Vec<&str> = declared.iter().map(|known| known.name.as_str()).collect();
            bail!(
                "--arg {}: the template has no such argument; it has: {}",
                arg.name,
                names.join(", ")
            );
        }
    }
    let args = compose::merge_args(declared, &given)
        .map_err(|problem| anyhow!("{problem}: give its value with --arg NAME=VALUE"))?;
    let metrics = template.metrics.unwrap_or_default().into_iter().map(|metric| Metric {
        count: None,
        interval: None,
        initial_delay: None,
        ..metric
    });
    let mut run = AnalysisRun::new(
        &first.template_name,
        AnalysisRunSpec {
            metrics: metrics.collect(),
            args: (!args.is_empty()).then_some(args),
            dry_run: template.dry_run,
            ..AnalysisRunSpec::default()
        },
    );
    run.metadata.annotations = Some(run_annotations(&BTreeMap::new(), refs, templates)?);
    Ok(run)
}

fn argument(text: &str) -> Result<Argument> {
    let (name, value) = text
        .split_once('=')
        .with_context(|| format!("--arg {text}: write NAME=VALUE"))?;
    Ok(Argument {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    })
}

/// What was asked and answered, and the run after that.
struct Answered {
    tasks: Vec<MeasureTask>,
    outcomes: Vec<Outcome>,
    run: AnalysisRun,
}

async fn ask(flags: &Flags, run: &AnalysisRun, secrets: &Secrets) -> Answered {
    let settings = ProviderSettings {
        prometheus_address: flags.prometheus_address.clone().filter(|a| !a.is_empty()),
    };
    let transport = Arc::new(ReqwestTransport::new(AddressPolicy { allow_link_local: true }));
    let providers = Providers::new(settings, transport);
    let clock = Clock::System;
    let plan = |run: &AnalysisRun, memory: &RunMemory, answers: &[TaskAnswer], now: DateTime<Utc>| {
        plan_run(&RunInput {
            run,
            settings: Settings::default(),
            secrets,
            memory,
            answers,
            now,
        })
    };
    let asked_at = clock.now();
    let first = plan(run, &RunMemory::default(), &[], asked_at);
    let mut outcomes = Vec::new();
    let mut answers = Vec::new();
    for task in &first.tasks {
        let outcome = providers.answer(task).await;
        outcomes.push(outcome.clone());
        answers.push(TaskAnswer {
            metric: task.metric.clone(),
            number: task.number,
            asked_at,
            answered_at: clock.now(),
            outcome,
        });
    }
    let mut run = run.clone();
    run.status = Some(first.status);
    run.status = Some(plan(&run, &first.memory, &answers, clock.now()).status);
    Answered {
        tasks: first.tasks,
        outcomes,
        run,
    }
}

/// What is said of one metric.
struct Line {
    name: String,
    query: String,
    value: String,
    conditions: Vec<String>,
    verdict: String,
    message: String,
}

/// Prints what came of it, and says the exit code.
fn report(flags: &Flags, run: &AnalysisRun, answered: &Answered) -> u8 {
    let lines: Vec<Line> = run
        .spec
        .metrics
        .iter()
        .map(|metric| line(run, metric, answered))
        .collect();
    let status = answered.run.status.clone().unwrap_or_default();
    if flags.output == "json" {
        let metrics: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({
                    "name": line.name, "query": line.query, "value": line.value, "conditions": line.conditions,
                    "verdict": line.verdict, "message": line.message,
                })
            })
            .collect();
        println!("{:#}", json!({"metrics": metrics, "message": status.message}));
    } else {
        for line in &lines {
            println!("{}", line.name);
            let query: Vec<&str> = line
                .query
                .lines()
                .map(str::trim_end)
                .filter(|l| !l.is_empty())
                .collect();
            println!("  query      {}", query.join("\n             "));
            println!("  value      {}", line.value);
            for condition in &line.conditions {
                println!("  condition  {condition}");
            }
            println!("  verdict    {}", line.verdict);
            if !line.message.is_empty() {
                println!("             {}", line.message);
            }
        }
        if answered.tasks.is_empty() && !status.message.is_empty() {
            println!("{}", status.message);
        }
    }
    if answered.tasks.is_empty() {
        return 2;
    }
    if answered.outcomes.iter().any(|o| matches!(o, Outcome::Error(_))) {
        return 3;
    }
    u8::from(!lines.iter().all(|line| line.verdict == "Successful"))
}

fn line(run: &AnalysisRun, metric: &Metric, answered: &Answered) -> Line {
    let at = answered.tasks.iter().position(|task| task.metric == metric.name);
    let provider = at.and_then(|at| answered.tasks[at].request.provider.prometheus.clone());
    let value = match at.map(|at| &answered.outcomes[at]) {
        Some(Outcome::Answer(answer)) => match answer.requests {
            Some(n) => format!("{} (of {n} requests)", answer.text),
            None => answer.text.clone(),
        },
        Some(Outcome::Error(error)) => format!("none: {error}"),
        _ => "none".to_owned(),
    };
    let status = answered.run.status.clone().unwrap_or_default();
    let result = status
        .metric_results
        .into_iter()
        .find(|r| r.name == metric.name)
        .unwrap_or_default();
    let measurement = result.measurements.last();
    let verdict = match measurement {
        Some(m) => format!("{:?}", m.phase),
        None if at.is_some() => "no data".to_owned(),
        None => format!("{:?}", Phase::Error),
    };
    let message = measurement.map(|m| m.message.clone()).filter(|m| !m.is_empty());
    Line {
        name: metric.name.clone(),
        query: provider.and_then(|p| p.query).unwrap_or_default(),
        value,
        conditions: conditions(run, metric),
        verdict,
        message: message.unwrap_or(result.message),
    }
}

/// A metric with its arguments filled in; what comes from Secrets stays hidden.
pub(crate) fn filled(run: &AnalysisRun, metric: &Metric) -> Metric {
    let args = run.spec.args.as_deref().unwrap_or_default();
    let hidden = args.iter().filter(|arg| arg.value.is_none());
    let hidden: BTreeMap<String, String> = hidden.map(|arg| (arg.name.clone(), "***".to_owned())).collect();
    compose::resolve_metric(metric, args, &hidden).unwrap_or_else(|_| metric.clone())
}

/// Conditions with their arguments filled in; what comes from Secrets stays hidden.
pub(crate) fn conditions(run: &AnalysisRun, metric: &Metric) -> Vec<String> {
    let metric = filled(run, metric);
    let said =
        |word: &str, condition: Option<String>| condition.filter(|c| !c.is_empty()).map(|c| format!("{word} if {c}"));
    [
        said("good", metric.success_condition),
        said("bad", metric.failure_condition),
    ]
    .into_iter()
    .flatten()
    .collect()
}
