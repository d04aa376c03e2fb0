//! kubeconfig files, written as JSON (which is YAML), and clients made from them.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::error::{Error, Result};

/// The text of a kubeconfig with one cluster and one token.
pub(crate) fn text(server: &str, certificate_file: &Path, token: &str, namespace: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "serin", "cluster": {"server": server, "certificate-authority": certificate_file}}],
        "users": [{"name": "serin", "user": {"token": token}}],
        "contexts": [{"name": "serin", "context": {"cluster": "serin", "user": "serin", "namespace": namespace}}],
        "current-context": "serin",
    });
    format!("{config:#}\n")
}

/// Writes a kubeconfig that only its owner can read.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("write", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}

/// A client that talks as this kubeconfig says. It never repeats a request by itself: callers here know better when.
pub(crate) async fn client(path: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(path)
        .map_err(|e| Error::Other(format!("failed to read the kubeconfig `{}`: {e}", path.display())))?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|e| Error::Other(format!("failed to use the kubeconfig `{}`: {e}", path.display())))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.default_retry = false;
    kube::Client::try_from(config).map_err(Error::api("make a client"))
}
