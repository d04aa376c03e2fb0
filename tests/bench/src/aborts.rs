//! From the failing measurement to weight 0 in the HTTPRoute: Prometheus is a stand-in that notes when it gave the bad
//! answer; the route is watched.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use axum::{Router, extract::State};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    Bench,
    objects::{self, ROLLOUTS, ROUTES, SERVICES, TEMPLATES},
    progress, row, workloads,
};

/// Between two releases that go bad.
const BETWEEN: Duration = Duration::from_millis(200);

/// Between two measurements of one release, in seconds. The releases begin spread over it: a hundred measurements a second
/// would measure the API server and nothing else.
const INTERVAL: u32 = 10;

#[derive(Default)]
struct Answers {
    /// Names of Rollouts whose measurements fail from now on.
    bad: BTreeSet<String>,
    /// When the first bad answer left.
    told: BTreeMap<String, Instant>,
}

type Shared = Arc<Mutex<Answers>>;

/// Aborts `count` releases and prints how long each took.
pub(crate) async fn measure(bench: &Bench, count: usize) -> Result<()> {
    let answers = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(Arc::clone(&answers));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let _workloads = workloads::start(&bench.api);
    prepare(bench, count, &address).await?;
    let mut controller = bench.measured.start()?;
    controller.ready().await?;
    until(bench, count, "Healthy", |status| status["phase"] == "Healthy").await?;
    for nth in 0..count {
        let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"}]);
        bench
            .api
            .json_patch(&format!("{ROLLOUTS}/{}", objects::name(nth)), &image)
            .await?;
        tokio::time::sleep(Duration::from_secs(INTERVAL.into()) / u32::try_from(count)?).await;
    }
    until(bench, count, "at weight 20 with a running analysis", |status| {
        status["phase"] == "Paused" && status["canary"]["currentBackgroundAnalysisRunStatus"]["status"] == "Running"
    })
    .await?;
    progress(&format!(
        "{count} releases go bad, one every {} ms",
        BETWEEN.as_millis()
    ));
    let mut routes = workloads::watch(&bench.api, "gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
    let flips = tokio::spawn({
        let answers = Arc::clone(&answers);
        async move {
            for nth in 0..count {
                tokio::time::sleep(BETWEEN).await;
                answers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .bad
                    .insert(objects::name(nth));
            }
        }
    });
    let mut took: BTreeMap<String, Duration> = BTreeMap::new();
    while took.len() < count {
        let Ok(Some(route)) = tokio::time::timeout(Duration::from_secs(120), routes.next()).await else {
            bail!("only {} of {count} releases were aborted", took.len());
        };
        let now = Instant::now();
        let name = route["metadata"]["name"].as_str().unwrap_or_default();
        let told = answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .told
            .get(name)
            .copied();
        if let Some(told) = told
            && route["spec"]["rules"][0]["backendRefs"][1]["weight"] == 0
        {
            took.entry(name.to_owned()).or_insert(now - told);
        }
    }
    flips.await?;
    let mut all: Vec<Duration> = took.into_values().collect();
    all.sort();
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    let text = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("\n{count} aborts: the bad answer leaves Prometheus -> weight 0 is seen in the HTTPRoute");
    row("median", &text(at(0.5)), "");
    row("p99", &text(at(0.99)), "< 100 ms");
    row("maximum", &text(at(1.0)), "");
    controller.terminate().await?;
    server.abort();
    Ok(())
}

async fn answer(State(answers): State<Shared>, body: String) -> String {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let bad = answers.bad.iter().find(|name| body.contains(name.as_str())).cloned();
    let value = if bad.is_some() { "0.5" } else { "0.001" };
    if let Some(name) = bad {
        answers.told.entry(name).or_insert_with(Instant::now);
    }
    json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}})
        .to_string()
}

async fn prepare(bench: &Bench, count: usize, address: &str) -> Result<()> {
    let api = &bench.api;
    progress(&format!("creating {count} Rollouts behind routes"));
    api.create_all(std::iter::once(objects::namespace())).await?;
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "errors"},
        "spec": {"args": [{"name": "app"}], "metrics": [{
            "name": "errors", "interval": format!("{INTERVAL}s"), "successCondition": "result[0] < 0.1",
            "provider": {"prometheus": {"address": address, "query": "errors{app=\"{{args.app}}\"}"}},
        }]},
    });
    api.create(TEMPLATES, &template).await?;
    let all = (0..count).flat_map(|nth| {
        let name = objects::name(nth);
        let (stable, canary) = (format!("{name}-stable"), format!("{name}-canary"));
        let strategy = json!({
            "stableService": stable, "canaryService": canary,
            "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": name, "namespace": "bench"}}},
            "analysis": {"templates": [{"templateName": "errors"}], "args": [{"name": "app", "value": name}]},
            "steps": [{"setWeight": 20}, {"pause": {}}],
        });
        [
            (SERVICES.to_owned(), objects::service(&name, &stable)),
            (SERVICES.to_owned(), objects::service(&name, &canary)),
            (ROUTES.to_owned(), objects::route(&name)),
            (ROLLOUTS.to_owned(), objects::rollout(&name, 1, &strategy)),
        ]
    });
    api.create_all(all).await.context("fill the cluster").map(drop)
}

async fn until(bench: &Bench, count: usize, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    let mut there = BTreeSet::new();
    let mut seen = workloads::watch(&bench.api, "argoproj.io", "v1alpha1", "Rollout", "rollouts");
    while there.len() < count {
        let Ok(Some(rollout)) = tokio::time::timeout(Duration::from_secs(120), seen.next()).await else {
            bail!("only {} of {count} Rollouts became {what}", there.len());
        };
        let name = rollout["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if is(&rollout["status"]) {
            there.insert(name);
        }
    }
    progress(&format!("all {count} are {what}"));
    Ok(())
}
