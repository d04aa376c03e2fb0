//! Traefik as a Gateway API implementation.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::component::Recipe;
use crate::control_plane::{API_SERVER, Files};
use crate::error::{Error, Result, answer};
use crate::manifests;

/// Where user traffic comes in. An address of the pod network on the port that manifests name.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 244, 255, 2), 80));
/// Traefik's own ping and metrics.
pub(crate) const METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 244, 255, 2), 9100));
/// Namespace of the Gateway.
pub const NAMESPACE: &str = "gateway";
/// Name of the Gateway and of its listener's class.
pub const GATEWAY: &str = "gw";
/// Name of the GatewayClass.
pub const CLASS: &str = "traefik";

/// Namespace, account, rights, class and Gateway; any namespace's routes may attach.
fn objects() -> Vec<Value> {
    let group = "gateway.networking.k8s.io";
    let read = ["get", "list", "watch"];
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "traefik", "namespace": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "traefik"},
            "rules": [
                {"apiGroups": [""], "resources": ["namespaces", "services", "secrets", "configmaps", "nodes"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
                {"apiGroups": [group], "resources": ["*"], "verbs": read},
                {"apiGroups": [group], "verbs": ["update", "patch"], "resources": [
                    "gatewayclasses/status", "gateways/status", "httproutes/status", "grpcroutes/status",
                    "backendtlspolicies/status",
                ]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "traefik"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "traefik"},
            "subjects": [{"kind": "ServiceAccount", "name": "traefik", "namespace": NAMESPACE}],
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "GatewayClass", "metadata": {"name": CLASS},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "Gateway", "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": CLASS, "listeners": [{
                "name": "http", "protocol": "HTTP", "port": ADDRESS.port(), "allowedRoutes": {"namespaces": {"from": "All"}},
            }]},
        }),
    ]
}

/// Makes the gateway's objects and says how to start it.
pub(crate) async fn prepare(client: &kube::Client, program: &Path, files: &Files) -> Result<Recipe> {
    manifests::apply(client, &objects()).await?;
    let token = service_account_token(client, NAMESPACE, "traefik", None).await?;
    let provider = "--providers.kubernetesgateway";
    Ok(Recipe {
        program: program.to_owned(),
        arguments: [
            format!("{provider}=true"),
            format!("{provider}.endpoint=https://{API_SERVER}"),
            format!("{provider}.token={token}"),
            format!("{provider}.certauthfilepath={}", files.certificate().display()),
            format!("--entrypoints.web.address={ADDRESS}"),
            format!("--entrypoints.traefik.address={METRICS}"),
            // Changes of routes and endpoints are visible at once; the default waits up to 2 s.
            "--providers.providersthrottleduration=100ms".into(),
            "--metrics.prometheus=true".into(),
            "--metrics.prometheus.entrypoint=traefik".into(),
            "--metrics.prometheus.addserviceslabels=true".into(),
            "--metrics.prometheus.addrouterslabels=true".into(),
            "--ping=true".into(),
            "--global.checknewversion=false".into(),
            "--global.sendanonymoususage=false".into(),
            "--log.level=INFO".into(),
        ]
        .map(Into::into)
        .to_vec(),
        log: files.log("traefik"),
        ready: Some((METRICS, "/ping")),
    })
}

/// Whether Traefik has taken up the Gateway.
pub(crate) async fn programmed(client: &kube::Client) -> Result<(), String> {
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/{GATEWAY}");
    let request = ::http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
    let gateway: Value = client.request(request).await.map_err(|e| e.to_string())?;
    let conditions = gateway.pointer("/status/conditions").and_then(Value::as_array);
    let done = conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Programmed" && c["status"] == "True"));
    if done {
        Ok(())
    } else {
        Err(format!("the Gateway is not Programmed: {}", gateway["status"]))
    }
}

/// A token of a ServiceAccount for a day, the API server's longest without extension. Bound to a pod (name and UID) it ends
/// with the pod, and the audit log names the pod with every request.
pub(crate) async fn service_account_token(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    pod: Option<(&str, &str)>,
) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let mut request = TokenRequest::default();
    request.spec.expiration_seconds = Some(86_400);
    request.spec.bound_object_ref = pod.map(|(name, uid)| BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
    });
    let action = format!("get a token of ServiceAccount `{namespace}/{name}`");
    answer(
        action,
        accounts.create_token_request(name, &PostParams::default(), &request),
    )
    .await?
    .status
    .map(|status| status.token)
    .ok_or_else(|| {
        Error::Other(format!(
            "the token request of `{namespace}/{name}` was answered without a token"
        ))
    })
}
