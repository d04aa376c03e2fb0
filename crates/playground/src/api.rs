//! The API server's socket, and the kubeconfig that leads there.

use std::net::SocketAddr;

use serde_json::json;
use serin_kubesim::Cluster;
use tokio::net::TcpListener;
use tower::Service as _;

use crate::{Error, wire::Server};

/// Whoever comes over HTTP.
const USER: &str = "you";

/// Answers requests with the cluster's own front.
pub(crate) fn serve(cluster: &Cluster, listener: TcpListener) -> Result<(Server, SocketAddr), Error> {
    let address = listener.local_addr().map_err(Error::Listen)?;
    let service = cluster.service(USER);
    let server = Server::start(listener, move |request| {
        let mut service = service.clone();
        async move { service.call(request).await }
    });
    Ok((server, address))
}

/// For kubectl and everything else: plain HTTP, nobody is asked who they are. The namespace is the first Rollout's.
pub(crate) fn kubeconfig(api: SocketAddr, rollout: Option<&(String, String)>) -> String {
    let namespace = rollout.map_or("default", |(namespace, _)| namespace);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "serin-playground",
        "clusters": [{"name": "serin-playground", "cluster": {"server": format!("http://{api}")}}],
        "users": [{"name": USER, "user": {}}],
        "contexts": [{
            "name": "serin-playground",
            "context": {"cluster": "serin-playground", "user": USER, "namespace": namespace},
        }],
    });
    format!("{config:#}\n")
}
