//! The running cluster: starts its components in order, lets tests control them, and ends them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::progress;
use crate::component::{Component, Running, Signal, send_signal};
use crate::control_plane::{self, API_SERVER, Files};
use crate::error::{Error, Result};
use crate::namespace::{FORWARDED, Inside};
use crate::node::{NodeSettings, VirtualNodes};
use crate::prometheus::Sample;
use crate::{forward, gateway, kubeconfig, manifests, prometheus};

/// What a cluster shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where and with what; from [`crate::enter`].
    pub inside: Inside,
    /// YAML files or folders with CRDs that must be there before the controller manager starts.
    pub crds: Vec<PathBuf>,
    /// How many nodes there are.
    pub nodes: usize,
    /// How the virtual nodes treat pods.
    pub node_settings: NodeSettings,
    /// Say on standard error what is being done.
    pub verbose: bool,
    /// Only etcd and kube-apiserver, whose writes are not recorded with their bodies: nothing changes an object but the
    /// caller. For benchmarks and for comparisons of answers. Other components cannot be controlled then.
    pub api_server_only: bool,
}

impl Options {
    /// Two nodes, no further CRDs.
    pub fn new(inside: Inside) -> Self {
        Self {
            inside,
            crds: Vec::new(),
            nodes: 2,
            node_settings: NodeSettings::default(),
            verbose: true,
            api_server_only: false,
        }
    }
}

/// How long a component may take to become ready. Generous: two cores may be shared with a build.
const READY: Duration = Duration::from_secs(120);
/// How long a component may take to end after SIGTERM before it is killed.
const STOP: Duration = Duration::from_secs(15);

/// A running cluster. Must be used inside the namespace (see [`crate::enter`]). Dropping it kills its processes.
pub struct Cluster {
    dir: PathBuf,
    inside: Inside,
    files: Files,
    client: kube::Client,
    folder: prometheus::Folder,
    nodes: VirtualNodes,
    components: BTreeMap<Component, Mutex<Running>>,
    forwards: Vec<tokio::task::JoinHandle<()>>,
}

impl Cluster {
    /// Starts everything and returns when all of it is ready.
    ///
    /// # Errors
    /// Which component did not come up, why, and where its log is.
    pub async fn start(options: Options) -> Result<Self> {
        // Only the first one counts, and which provider it is makes no difference.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let begin = Instant::now();
        let say = |what: &str| {
            if options.verbose {
                progress(format_args!("{what} ({:.1} s)", begin.elapsed().as_secs_f32()));
            }
        };
        let dir = options.inside.dir.clone();
        let parts = &options.inside.parts;
        let files = Files::create(&dir, !options.api_server_only)?;
        let folder = prometheus::Folder::create(&dir)?;
        control_plane::make_service_account_key(&parts.control_plane, &files).await?;

        let mut etcd = Running::new(Component::Etcd, control_plane::etcd(&parts.control_plane, &files));
        etcd.start()?;
        let mut prometheus = Running::new(Component::Prometheus, folder.recipe(&parts.prometheus, &files));
        if !options.api_server_only {
            prometheus.start()?;
        }
        etcd.ready(READY).await?;

        let mut api_server = Running::new(
            Component::ApiServer,
            control_plane::api_server(&parts.control_plane, &files),
        );
        api_server.start()?;
        let client = Self::clients(&files, &dir, &options.inside, &mut api_server).await?;
        wait_for_api_server(&mut api_server, &client).await?;
        say("the API server is ready");

        let nodes_kubeconfig = files.keys.join("nodes.kubeconfig");
        let nodes = VirtualNodes::start(
            kubeconfig::client(&nodes_kubeconfig).await?,
            if options.api_server_only { 0 } else { options.nodes },
            options.node_settings.clone(),
            &dir,
            files.certificate(),
            folder.clone(),
        )
        .await?;
        let mut crds = Vec::new();
        for path in options.crds.iter().chain([&parts.gateway_crds]) {
            for file in manifests::files(path)? {
                let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
                crds.extend(manifests::documents(&text)?);
            }
        }
        manifests::apply_crds(&client, &crds).await?;
        say("the resource definitions are established");

        let mut components = vec![(Component::Etcd, etcd), (Component::ApiServer, api_server)];
        if !options.api_server_only {
            let recipe = control_plane::controller_manager(&parts.control_plane, &files);
            let mut controller_manager = Running::new(Component::ControllerManager, recipe);
            controller_manager.start()?;
            let mut traefik = Running::new(
                Component::Gateway,
                gateway::prepare(&client, &parts.traefik, &files).await?,
            );
            traefik.start()?;
            traefik.ready(READY).await?;
            wait_for_controllers(&mut controller_manager, &client).await?;
            prometheus.ready(READY).await?;
            traefik.wait(READY, async || gateway::programmed(&client).await).await?;
            components.extend([
                (Component::ControllerManager, controller_manager),
                (Component::Prometheus, prometheus),
                (Component::Gateway, traefik),
            ]);
        }

        let mut forwards = Vec::new();
        for (name, target) in FORWARDED
            .into_iter()
            .zip([API_SERVER, gateway::ADDRESS, prometheus::ADDRESS])
        {
            forwards.push(forward::to_inside(&forward::socket(&dir, name), target)?);
        }
        let components = components
            .into_iter()
            .map(|(component, running)| (component, Mutex::new(running)))
            .collect();
        let inside = options.inside.clone();
        let cluster = Self {
            dir,
            inside,
            files,
            client,
            folder,
            nodes,
            components,
            forwards,
        };
        cluster.describe().await?;
        say("the cluster is ready");
        Ok(cluster)
    }

    /// Writes the kubeconfigs (the certificate must be there for them to be of use) and makes the tests' client.
    async fn clients(files: &Files, dir: &Path, inside: &Inside, api_server: &mut Running) -> Result<kube::Client> {
        let certificate = files.certificate();
        api_server
            .wait(READY, async || {
                if certificate.exists() {
                    Ok(())
                } else {
                    Err("it made no certificate yet".into())
                }
            })
            .await?;
        let server = format!("https://{API_SERVER}");
        let write = |path: &Path, server: &str, user: control_plane::User| {
            kubeconfig::write(path, &kubeconfig::text(server, &certificate, user.token, "default"))
        };
        write(
            &files.controller_manager_kubeconfig(),
            &server,
            control_plane::CONTROLLER_MANAGER_USER,
        )?;
        write(&files.keys.join("nodes.kubeconfig"), &server, control_plane::NODES)?;
        write(&dir.join("kubeconfig.inside"), &server, control_plane::ADMIN)?;
        if let Some(port) = inside.outside_ports.get("apiserver") {
            write(
                &dir.join("kubeconfig"),
                &format!("https://127.0.0.1:{port}"),
                control_plane::ADMIN,
            )?;
        }
        kubeconfig::client(&dir.join("kubeconfig.inside")).await
    }

    /// Writes `cluster.json`, from which other processes learn everything.
    async fn describe(&self) -> Result<()> {
        let mut pids = BTreeMap::new();
        for component in self.components.keys() {
            pids.insert(component.name(), self.pid(*component).await);
        }
        let description = json!({
            "dir": self.dir,
            "kubeconfig": self.outside_kubeconfig(),
            "kubeconfigInside": self.kubeconfig(),
            "apiServer": format!("https://{API_SERVER}"),
            "gateway": gateway::ADDRESS.to_string(),
            "prometheus": self.prometheus_url(),
            "outsidePorts": self.inside.outside_ports,
            "tokens": {"admin": control_plane::ADMIN.token},
            "auditLog": self.audit_log(),
            "logs": self.files.logs,
            "prometheusRules": self.folder.rules(),
            "pids": pids,
            "parts": self.inside.parts,
        });
        let path = self.dir.join("cluster.json");
        fs::write(&path, format!("{description:#}\n")).map_err(Error::io("write", &path))
    }

    /// A client with all rights.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Path of the kubeconfig (all rights) for programs inside the namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig.inside")
    }

    /// Path of the kubeconfig (all rights) for programs outside.
    pub fn outside_kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Port on 127.0.0.1 outside: `apiserver`, `gateway` or `prometheus`.
    pub fn outside_port(&self, name: &str) -> Option<u16> {
        self.inside.outside_ports.get(name).copied()
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of all log files; those of processes run as pods are in `pods` below it.
    pub fn logs(&self) -> &Path {
        &self.files.logs
    }

    /// The API server's audit log: one JSON event a line.
    pub fn audit_log(&self) -> &Path {
        &self.files.audit
    }

    /// Where user traffic comes in, inside the namespace.
    pub fn gateway(&self) -> std::net::SocketAddr {
        gateway::ADDRESS
    }

    /// Prometheus' URL inside the namespace, without a slash at the end.
    pub fn prometheus_url(&self) -> String {
        format!("http://{}", prometheus::ADDRESS)
    }

    /// The virtual nodes, to look at pods and to disturb them.
    pub fn nodes(&self) -> &VirtualNodes {
        &self.nodes
    }

    /// Starts a component that was stopped and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        let mut running = self.components[&component].lock().await;
        running.start()?;
        match component {
            Component::ApiServer => wait_for_api_server(&mut running, &self.client).await?,
            Component::ControllerManager => {}
            _ => running.ready(READY).await?,
        }
        drop(running);
        self.describe().await
    }

    /// Ends a component in order (SIGTERM, SIGKILL after 15 s). Its data stays.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn stop_component(&self, component: Component) -> Result<()> {
        self.components[&component].lock().await.stop(STOP).await
    }

    /// Ends a component at once (SIGKILL).
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn kill_component(&self, component: Component) -> Result<()> {
        self.components[&component].lock().await.kill().await
    }

    /// Sends a component a signal, for example [`Signal::Stop`] to freeze it.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn signal_component(&self, component: Component, signal: Signal) -> Result<()> {
        let pid = self.pid(component).await;
        let pid = pid.ok_or_else(|| Error::Other(format!("{} is not running", component.name())))?;
        send_signal(pid, signal).await
    }

    /// A component's process id inside the namespace, while it runs.
    pub async fn pid(&self, component: Component) -> Option<u32> {
        self.components[&component].lock().await.pid()
    }

    /// Applies YAML documents by server-side apply. Objects without a namespace go to `default`.
    ///
    /// # Errors
    /// The API server's answer, with the object's kind and name.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        manifests::apply(&self.client, &manifests::documents(yaml)?).await
    }

    /// Runs kubectl with all rights and returns its standard output.
    ///
    /// # Errors
    /// Its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let program = &self.inside.parts.kubectl;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.dir)
            .kill_on_drop(true);
        let output = command.output().await.map_err(Error::io("start", program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Error::Other(format!(
            "kubectl {}: {}",
            arguments.join(" "),
            errors.trim()
        )))
    }

    /// Evaluates a PromQL query at the present.
    ///
    /// # Errors
    /// Prometheus' own words, or that it cannot be reached.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        prometheus::query(promql).await
    }

    /// Adds or replaces a rule file (its name without extension) and makes Prometheus read it.
    ///
    /// # Errors
    /// Prometheus' own words on a broken file.
    pub async fn add_rules(&self, name: &str, yaml: &str) -> Result<()> {
        let path = self.folder.rules().join(format!("{name}.yml"));
        fs::write(&path, yaml).map_err(Error::io("write", &path))?;
        prometheus::reload().await
    }

    /// Kills everything and returns when it is gone. Dropping the cluster does the same without waiting.
    pub async fn shutdown(self) {
        self.nodes.stop().await;
        for forward in &self.forwards {
            forward.abort();
        }
        for running in self.components.values() {
            // It may be gone already, which is what is wanted.
            let _ = running.lock().await.kill().await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for forward in &self.forwards {
            forward.abort();
        }
    }
}

async fn wait_for_api_server(running: &mut Running, client: &kube::Client) -> Result<()> {
    running
        .wait(READY, async || {
            let request = ::http::Request::get("/readyz")
                .body(Vec::new())
                .map_err(|e| e.to_string())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            answer
                .map_err(|_| "no answer to /readyz within 5 s".to_string())?
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await
}

/// The controller manager is at work when it has given the namespace `gateway`, made a moment ago, its ServiceAccount.
async fn wait_for_controllers(running: &mut Running, client: &kube::Client) -> Result<()> {
    use k8s_openapi::api::core::v1::ServiceAccount;
    let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(client.clone(), gateway::NAMESPACE);
    running
        .wait(READY, async || {
            accounts.get("default").await.map(drop).map_err(|e| e.to_string())
        })
        .await
}
