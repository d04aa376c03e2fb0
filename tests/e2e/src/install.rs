//! Installs Serin as people do, by `kubectl apply -k`, with nothing changed but the address of Prometheus.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::json;
use serin_cluster::PodInfo;
use tokio::time::Instant;

use crate::world::World;

/// Where the controller runs.
pub(crate) const NAMESPACE: &str = "argo-rollouts";
/// Its Deployment and its ServiceAccount.
pub(crate) const NAME: &str = "serin";

/// `deploy/` of this checkout.
pub(crate) fn deploy_folder() -> PathBuf {
    root().join("deploy")
}

/// This checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Installs and waits until one replica leads and all are ready.
pub(crate) async fn install(world: &World) -> Result<()> {
    let deploy = deploy_folder().canonicalize()?;
    let folder = world.cluster().dir().join("install");
    std::fs::create_dir_all(&folder)?;
    // Kustomize wants relative paths.
    let up: PathBuf = folder.canonicalize()?.components().skip(1).map(|_| "..").collect();
    let base = up.join(deploy.strip_prefix("/")?);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [base],
        "patches": [{
            "target": {"kind": "Deployment", "name": NAME},
            "patch": json!([{
                "op": "replace", "path": "/spec/template/spec/containers/0/env/1/value", "value": world.cluster().prometheus_url(),
            }]).to_string(),
        }],
    });
    std::fs::write(folder.join("kustomization.yaml"), format!("{kustomization:#}\n"))?;
    let path = folder.to_str().context("a folder's name that is no text")?;
    world.cluster().kubectl(&["apply", "-k", path]).await?;
    ready(world).await
}

/// Gives the controller other flags and waits until the new pods are at work.
pub(crate) async fn set_arguments(world: &World, arguments: &[&str]) -> Result<()> {
    let all: Vec<&str> = ["controller"].into_iter().chain(arguments.iter().copied()).collect();
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "controller", "args": all}]}}}});
    let params = kube::api::PatchParams::default();
    let api = world.api("Deployment", NAMESPACE);
    api.patch(NAME, &params, &kube::api::Patch::Strategic(patch)).await?;
    ready(world).await
}

/// Waits until the Deployment is up to date and available, with no old pod left, and one of its pods leads.
pub(crate) async fn ready(world: &World) -> Result<()> {
    eventually(
        "the controller's Deployment is available and one replica leads",
        Duration::from_secs(90),
        async || {
            let deployment = serde_json::to_value(world.api("Deployment", NAMESPACE).get(NAME).await?)?;
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            let is_done = status["observedGeneration"] == deployment["metadata"]["generation"]
                && status["updatedReplicas"] == spec["replicas"]
                && status["availableReplicas"] == spec["replicas"]
                && status["replicas"] == spec["replicas"];
            Ok((is_done && leader(world).await?.is_some()).then_some(()))
        },
    )
    .await
}

/// The pod that says that it leads. (The Lease names the host, which all virtual nodes share.)
pub(crate) async fn leader(world: &World) -> Result<Option<String>> {
    for pod in world.controllers() {
        if let Ok(text) = metrics(&pod).await
            && text.lines().any(|line| line == "serin_leader 1")
        {
            return Ok(Some(pod.name));
        }
    }
    Ok(None)
}

/// What a controller's pod says about itself.
pub(crate) async fn metrics(pod: &PodInfo) -> Result<String> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    let answer = client.get(format!("http://{}:8090/metrics", pod.ip)).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if begin.elapsed() > limit => anyhow::bail!("not seen within {} s: {what}", limit.as_secs()),
            Err(error) if begin.elapsed() > limit => {
                return Err(error.context(format!("not seen within {} s: {what}", limit.as_secs())));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
