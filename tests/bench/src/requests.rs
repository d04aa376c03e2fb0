//! Plain requests to the API server, and a user of the controller's own, so that its requests can be counted.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use serin_cluster::Cluster;

const NAMESPACE: &str = "argo-rollouts";
const USER: &str = "system:serviceaccount:argo-rollouts:bench";
/// Requests under way at the same time while a cluster is filled.
const AT_ONCE: usize = 48;

/// How requests get out.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
}

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("content-type", kind)
            .body(body)?;
        let answer = self.client.request::<Value>(request).await;
        answer.with_context(|| format!("{method} {path}"))
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, "application/json", object).await
    }

    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch)
            .await
    }

    pub(crate) async fn json_patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, "application/json-patch+json", patch)
            .await
    }

    /// Creates very many objects, some at a time, and forgets the answers.
    pub(crate) async fn fill(&self, objects: impl Iterator<Item = (String, Value)>) -> Result<()> {
        let tasks = objects.map(|(path, object)| async move {
            let body = serde_json::to_vec(&object)?;
            let request = Request::post(path.as_str()).header("content-type", "application/json");
            let answer = self.client.request_text(request.body(body)?).await;
            answer.map(drop).with_context(|| format!("POST {path}"))
        });
        stream::iter(tasks)
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await
    }

    /// Creates many objects, some at a time.
    pub(crate) async fn create_all(&self, objects: impl Iterator<Item = (String, Value)>) -> Result<Vec<Value>> {
        let tasks = objects.map(|(path, object)| {
            let api = self.clone();
            async move { api.create(&path, &object).await }
        });
        let done: Vec<Result<Value>> = stream::iter(tasks).buffered(AT_ONCE).collect().await;
        done.into_iter().collect()
    }
}

/// Makes a ServiceAccount with all rights and returns the path of its kubeconfig.
pub(crate) async fn controller_kubeconfig(api: &Api, cluster: &Cluster) -> Result<PathBuf> {
    api.create(
        "/api/v1/namespaces",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    )
    .await?;
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    api.create(
        &accounts,
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bench"}}),
    )
    .await?;
    api.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": NAMESPACE}],
        }),
    )
    .await?;
    let token = api
        .create(
            &format!("{accounts}/bench/token"),
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 36000}}),
        )
        .await?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {
            "server": "https://127.0.0.1:6443",
            "certificate-authority": cluster.dir().join("keys/apiserver.crt"),
        }}],
        "users": [{"name": "bench", "user": {"token": token["status"]["token"]}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": NAMESPACE}}],
    });
    let path = cluster.dir().join("kubeconfig.controller");
    fs::write(&path, kubeconfig.to_string())?;
    Ok(path)
}

/// What the controller asked so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) requests: usize,
    pub(crate) writes: usize,
    /// Those of the writes that renew a lease.
    pub(crate) renewals: usize,
    /// Anything but the lease, for people to read.
    pub(crate) others: Vec<String>,
}

/// Counts the controller's requests in the API server's audit log. The log is read from `skip` bytes on.
pub(crate) fn asked(cluster: &Cluster, skip: u64) -> Result<Asked> {
    use std::io::{Seek as _, SeekFrom};
    let mut file = fs::File::open(cluster.audit_log())?;
    file.seek(SeekFrom::Start(skip))?;
    let mut asked = Asked::default();
    for line in BufReader::new(file).lines() {
        let line = line?;
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if event["user"]["username"] != USER {
            continue;
        }
        let verb = event["verb"].as_str().unwrap_or_default();
        let write = !matches!(verb, "get" | "list" | "watch");
        asked.requests += 1;
        asked.writes += usize::from(write);
        if event["objectRef"]["resource"] == "leases" {
            asked.renewals += usize::from(write);
        } else {
            asked
                .others
                .push(format!("{verb} {}", event["requestURI"].as_str().unwrap_or_default()));
        }
    }
    Ok(asked)
}

/// How long the audit log is now.
pub(crate) fn audit_length(cluster: &Cluster) -> Result<u64> {
    Ok(fs::metadata(cluster.audit_log())?.len())
}
