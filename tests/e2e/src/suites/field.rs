//! The manifest that a team has in production, unchanged, with our success-rate template.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use serin_cluster::load::{Load, LoadOptions};

use crate::{
    install::root,
    recorder::{Recorder, Seen},
    runner::{Stage, Test},
    space::SOON,
    world::World,
};

const NAMESPACE: &str = "payments";
const NAME: &str = "checkout";

pub(super) fn tests(round: usize) -> Vec<Test> {
    if round > 0 {
        return Vec::new();
    }
    vec![Test::new(
        Stage::Together,
        "the field manifest runs unchanged with our success-rate template",
        async |world| field(&world).await,
    )]
}

async fn field(world: &World) -> Result<String> {
    let folder = root().join("examples/field-manifest");
    let manifest = std::fs::read_to_string(folder.join("rollout.yaml"))?;
    let manifest: Value = serde_saphyr::from_str(&manifest).context("rollout.yaml is no YAML")?;
    ensure!(
        manifest["spec"]["strategy"]["canary"]["steps"]
            .as_array()
            .map_or(0, Vec::len)
            == 8,
        "the manifest is another one"
    );
    let recorder = Recorder::start(world, NAMESPACE);
    let path = folder.to_str().context("a folder's name that is no text")?;
    world.cluster().kubectl(&["apply", "-k", path]).await?;
    // Requests come to whatever pods there are.
    let front = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "parentRefs": [{"name": serin_cluster::GATEWAY, "namespace": serin_cluster::GATEWAY_NAMESPACE}],
                "hostnames": ["payments.example"],
                "rules": [{"backendRefs": [{"name": NAME, "port": 80}]}],
            },
        }),
    ];
    for object in front {
        world.cluster().apply(&object.to_string()).await?;
    }
    // The template's defaults shortened: the manifest gives no arguments.
    let template = world
        .api("AnalysisTemplate", NAMESPACE)
        .get("http-success-rate")
        .await?;
    let mut args = template.data["spec"]["args"].clone();
    for (name, value) in [("interval", "3s"), ("count", "3"), ("window", "30s")] {
        let argument = args.as_array_mut().into_iter().flatten().find(|a| a["name"] == name);
        argument.with_context(|| format!("the template has no argument {name}"))?["value"] = value.into();
    }
    patch(
        world,
        "AnalysisTemplate",
        "http-success-rate",
        None,
        &json!({"spec": {"args": args}}),
    )
    .await?;

    let healthy = |s: &Seen| {
        let rollout = s.get("Rollout", NAME);
        let status = &rollout["status"];
        let done = status["phase"] == "Healthy" && status["stableRS"] == status["currentPodHash"] && is_new(rollout);
        done.then_some(())
    };
    recorder.until("the first deploy is Healthy", SOON, healthy).await?;
    let load = Load::start(LoadOptions::new(world.cluster().gateway(), "payments.example", 30.0));
    tokio::time::timeout(SOON, async {
        while load
            .next(10)
            .await
            .answers
            .iter()
            .any(|a| a.failed() || a.hash.is_none())
        {}
    })
    .await
    .context("the gateway never answered")?;
    let begin = serin_cluster::now();
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "registry/checkout:1.43.0"}]}}}});
    // A merge patch replaces the whole list: keep the probe.
    let mut body = image;
    let probe = &manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
    body["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe.clone();
    patch(world, "Rollout", NAME, None, &body).await?;
    // The pauses take ten minutes: a person ends them early. The analysis between them decides by itself.
    for step in [1, 4, 6] {
        let paused = |s: &Seen| {
            let rollout = s.get("Rollout", NAME);
            (is_new(rollout) && serin_recordings::Seen::PausedAt(step).holds(rollout)?).then_some(())
        };
        recorder
            .until(&format!("paused at step {step}"), Duration::from_secs(60), paused)
            .await?;
        patch(
            world,
            "Rollout",
            NAME,
            Some("status"),
            &json!({"status": {"pauseConditions": null}}),
        )
        .await?;
    }
    recorder.until("promoted", Duration::from_secs(60), healthy).await?;
    let report = load.stop().between(begin, serin_cluster::now());
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    let seen = recorder.seen();
    let runs = seen.all("AnalysisRun");
    ensure!(
        runs.len() == 1 && runs[0]["status"]["phase"] == "Successful",
        "{} runs, the first {}",
        runs.len(),
        runs[0]["status"]
    );
    let value = &runs[0]["status"]["metricResults"][0]["measurements"][0]["value"];
    Ok(format!("success rate {value}; {} requests, 0 failed", report.total()))
}

fn is_new(rollout: &Value) -> bool {
    crate::space::is_observed(rollout)
}

async fn patch(world: &World, kind: &str, name: &str, subresource: Option<&str>, body: &Value) -> Result<()> {
    let api = world.api(kind, NAMESPACE);
    let (params, patch) = (kube::api::PatchParams::default(), kube::api::Patch::Merge(body));
    match subresource {
        Some(sub) => api.patch_subresource(sub, name, &params, &patch).await.map(drop),
        None => api.patch(name, &params, &patch).await.map(drop),
    }
    .with_context(|| format!("patch {kind} {name} with {body}"))
}
