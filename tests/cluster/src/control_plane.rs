//! etcd, kube-apiserver and kube-controller-manager: addresses, keys and flags.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::component::Recipe;
use crate::error::{Error, Result};

pub(crate) const API_SERVER: SocketAddr = loopback(6443);
const ETCD_CLIENT: SocketAddr = loopback(2379);
const ETCD_PEER: SocketAddr = loopback(2380);
const CONTROLLER_MANAGER: u16 = 10257;
/// Advertised in `default/kubernetes`; must lie outside 127/8.
const ADVERTISED: &str = "10.244.255.1";
const ISSUER: &str = "https://kubernetes.default.svc";
/// What the controller manager runs: what rollouts, tests and kubectl lean on, and nothing that needs real machines.
const CONTROLLERS: [&str; 11] = [
    "deployment",
    "replicaset",
    "job",
    "endpointslice",
    "garbage-collector",
    "serviceaccount",
    "namespace",
    "pod-garbage-collector",
    "disruption",
    "horizontal-pod-autoscaler",
    "clusterrole-aggregation",
];

pub(crate) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// A user that the API server knows by its token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) token: &'static str,
    name: &'static str,
    groups: &'static str,
}

/// Tests and people. The tokens are no secrets: the API server listens on loopback in a private network.
pub(crate) const ADMIN: User = User {
    token: "admin-token",
    name: "admin",
    groups: "system:masters",
};
/// The virtual nodes; a name of their own, so that the audit log tells their requests from the tests'.
pub(crate) const NODES: User = User {
    token: "nodes-token",
    name: "virtual-nodes",
    groups: "system:masters",
};
pub(crate) const CONTROLLER_MANAGER_USER: User = User {
    token: "controller-manager-token",
    name: "system:kube-controller-manager",
    groups: "",
};

/// Files of the control plane in the cluster's folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) keys: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) audit: PathBuf,
    etcd: PathBuf,
}

impl Files {
    /// Makes keys, tokens and the audit policy.
    pub(crate) fn create(dir: &Path, audit_bodies: bool) -> Result<Self> {
        let files = Self {
            keys: dir.join("keys"),
            logs: dir.join("logs"),
            audit: dir.join("logs/audit.log"),
            etcd: dir.join("etcd"),
        };
        // A cluster started again in the same folder begins anew.
        for folder in [&files.keys, &files.logs, &files.etcd] {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(Error::io("empty", folder))?;
            }
        }
        for folder in [&files.keys, &files.logs] {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let users: String = [ADMIN, NODES, CONTROLLER_MANAGER_USER]
            .iter()
            .map(|user| format!("{},{},{},\"{}\"\n", user.token, user.name, user.name, user.groups))
            .collect();
        files.write("tokens.csv", &users)?;
        files.write("audit-policy.yaml", &format!("{:#}\n", audit_policy(audit_bodies)))?;
        Ok(files)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.keys.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// The certificate that clients trust; the API server makes it when it first starts.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.keys.join("apiserver.crt")
    }

    fn service_account_key(&self) -> PathBuf {
        self.keys.join("service-account.key")
    }

    pub(crate) fn controller_manager_kubeconfig(&self) -> PathBuf {
        self.keys.join("controller-manager.kubeconfig")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// Metadata of everything, bodies of writes to what Serin and the gateway work on. No reads of watches' bodies: they are large.
fn audit_policy(bodies: bool) -> serde_json::Value {
    let mut policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "RequestResponse",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                "resources": [
                    {"group": "argoproj.io"},
                    {"group": "serin.dev"},
                    {"group": "apps"},
                    {"group": "gateway.networking.k8s.io"},
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                    {"group": "", "resources": ["services", "events"]},
                    {"group": "events.k8s.io"},
                ],
                "omitManagedFields": true,
            },
            {"level": "Metadata"},
        ],
    });
    if !bodies {
        policy["rules"] = json!([{"level": "Metadata"}]);
    }
    policy
}

pub(crate) fn etcd(program: &Path, files: &Files) -> Recipe {
    Recipe {
        program: program.to_owned(),
        arguments: arguments(
            "etcd",
            &[
                ("data-dir", files.etcd.display().to_string()),
                ("listen-client-url", format!("http://{ETCD_CLIENT}")),
                ("listen-peer-url", format!("http://{ETCD_PEER}")),
            ],
        ),
        log: files.log("etcd"),
        ready: Some((ETCD_CLIENT, "/health")),
    }
}

pub(crate) fn api_server(program: &Path, files: &Files) -> Recipe {
    let key = files.service_account_key().display().to_string();
    Recipe {
        program: program.to_owned(),
        arguments: arguments(
            "kube-apiserver",
            &[
                ("etcd-servers", format!("http://{ETCD_CLIENT}")),
                ("bind-address", API_SERVER.ip().to_string()),
                ("secure-port", API_SERVER.port().to_string()),
                ("advertise-address", ADVERTISED.into()),
                ("endpoint-reconciler-type", "none".into()),
                ("cert-dir", files.keys.display().to_string()),
                ("service-cluster-ip-range", "10.96.0.0/16".into()),
                ("authorization-mode", "RBAC".into()),
                ("token-auth-file", files.keys.join("tokens.csv").display().to_string()),
                ("service-account-issuer", ISSUER.into()),
                ("service-account-key-file", key.clone()),
                ("service-account-signing-key-file", key),
                (
                    "audit-policy-file",
                    files.keys.join("audit-policy.yaml").display().to_string(),
                ),
                ("audit-log-path", files.audit.display().to_string()),
                // Never rotated: tests read it from the first line to the last.
                ("audit-log-maxsize", "100000".into()),
                // Tests come in bursts of hundreds of requests from one user.
                ("max-requests-inflight", "2000".into()),
                ("max-mutating-requests-inflight", "1000".into()),
                // Nothing in front of it needs time to notice that it stops.
                ("shutdown-delay-duration", "0s".into()),
            ],
        ),
        log: files.log("kube-apiserver"),
        ready: None,
    }
}

pub(crate) fn controller_manager(program: &Path, files: &Files) -> Recipe {
    let controllers: Vec<String> = CONTROLLERS.iter().map(|name| format!("{name}-controller")).collect();
    Recipe {
        program: program.to_owned(),
        arguments: arguments(
            "kube-controller-manager",
            &[
                (
                    "kubeconfig",
                    files.controller_manager_kubeconfig().display().to_string(),
                ),
                ("bind-address", "127.0.0.1".into()),
                ("secure-port", CONTROLLER_MANAGER.to_string()),
                ("cert-dir", files.keys.join("controller-manager").display().to_string()),
                ("leader-elect", "false".into()),
                ("use-service-account-credentials", "true".into()),
                (
                    "service-account-private-key-file",
                    files.service_account_key().display().to_string(),
                ),
                ("controllers", controllers.join(",")),
                // Its default of 20 requests a second makes a test of a hundred pods wait for it.
                ("kube-api-qps", "300".into()),
                ("kube-api-burst", "600".into()),
            ],
        ),
        log: files.log("kube-controller-manager"),
        ready: None,
    }
}

fn arguments(subcommand: &str, flags: &[(&str, String)]) -> Vec<OsString> {
    std::iter::once(subcommand.into())
        .chain(flags.iter().map(|(name, value)| format!("--{name}={value}").into()))
        .collect()
}

/// The one key pair: signs the tokens of ServiceAccounts.
pub(crate) async fn make_service_account_key(program: &Path, files: &Files) -> Result<()> {
    let path = files.service_account_key();
    let output = tokio::process::Command::new(program)
        .arg("key")
        .output()
        .await
        .map_err(Error::io("start", program))?;
    if !output.status.success() {
        return Err(Error::Other(format!(
            "control-plane key: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    fs::write(&path, output.stdout).map_err(Error::io("write", &path))
}
