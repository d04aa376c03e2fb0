//! The playground: a simulated Kubernetes over HTTP on loopback, in real time, with pods that are HTTP servers, a gateway, users,
//! a Prometheus, and the shipped controller, unchanged.
//!
//! [`Playground::start`] brings all of it up in this process; nothing is installed, nothing needs rights, and everything ends with
//! [`Playground::end`] or with the process. Knows no flags and no terminal: what it has to say comes as [`Line`]s.

mod api;
mod behaviour;
mod container;
mod controller;
mod folder;
mod gateway;
mod load;
mod log;
mod metrics;
mod notes;
mod pods;
mod prometheus;
mod routes;
mod scraping;
mod stage;
mod story;
mod substitute;
mod transport;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use chrono::Utc;
use serde_json::Value;
use serin_kubesim::{Cluster, Crd, Options as ClusterOptions, Patch, workloads::Workloads};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use behaviour::{ANNOTATION, VARIABLE};
pub use controller::PROMETHEUS_ANNOTATION;
pub use folder::Folder;
pub use load::{Counts, Door};
pub use notes::{Line, Name, Tone};
pub use prometheus::find as find_prometheus;
pub use stage::Stage;

use crate::{
    controller::Controller,
    gateway::Gateway,
    load::Met,
    notes::Notes,
    pods::{Kubelets, Network, Pods},
    prometheus::Prometheus,
    substitute::Substitute,
    wire::{Client, Server},
};

/// Who puts manifests on stage, in the requests' trace and in `managedFields`.
const USER: &str = "kubectl-client-side-apply";
/// How long what is on stage may take to come up.
const UP: Duration = Duration::from_secs(60);

/// Why there is no playground.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address on loopback.
    #[error("cannot listen on loopback: {0}")]
    Listen(#[source] io::Error),
    /// A port that was asked for.
    #[error("cannot listen on {address}; choose another port with {option} PORT, or any that is free with {option} 0")]
    Port {
        /// Where.
        address: SocketAddr,
        /// What chooses it.
        option: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file or program.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was to be done with it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Prometheus was found and does not start, or has ended.
    #[error(
        "{} ended: {said}; name another one with --prometheus PATH, or do without one with --prometheus none",
        program.display()
    )]
    Prometheus {
        /// The program.
        program: PathBuf,
        /// Its last words.
        said: String,
    },
    /// The API refuses a manifest.
    #[error("{what}: {why}")]
    Refused {
        /// Where it is from, and its kind and name.
        what: String,
        /// In the API's words.
        why: String,
    },
    /// A bug.
    #[error("{0}; this is a bug in Serin, please report it")]
    Bug(String),
}

impl Error {
    fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

/// How it is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is put on stage.
    pub stage: Stage,
    /// Users' requests per second to each Rollout; none at 0.
    pub rps: f64,
    /// The Prometheus to start; without one its API is served from within.
    pub prometheus: Option<PathBuf>,
    /// Between two scrapes.
    pub scrape_interval: Duration,
    /// Port of the gateway on 127.0.0.1; 0: any that is free.
    pub gateway_port: u16,
    /// Port of the API server on 127.0.0.1; 0: any that is free.
    pub api_port: u16,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For `KUBECONFIG`.
    pub kubeconfig: PathBuf,
    /// The API server.
    pub api: SocketAddr,
    /// Where users come in.
    pub gateway: SocketAddr,
    /// Prometheus, or what stands in for it.
    pub prometheus: SocketAddr,
    /// The controller's `/metrics`.
    pub controller: SocketAddr,
    /// The controller's log.
    pub log: PathBuf,
    /// Where pods are.
    pub pods: String,
}

/// A running one. It ends when this is dropped.
pub struct Playground {
    addresses: Addresses,
    cluster: Cluster,
    met: Met,
    controller: Option<Controller>,
    // In the order in which they end: who asks before who answers.
    tasks: JoinSet<()>,
    gateway: Gateway,
    prometheus: Option<Prometheus>,
    _substitute: Option<Substitute>,
    _api: Server,
    _folder: Folder,
}

/// Definitions of the Gateway API, HTTPRoute apart.
const GATEWAY_API: &str = include_str!("../data/gateway-api.yaml");

/// Every definition that is there from the beginning.
static DEFINITIONS: LazyLock<Result<Vec<Value>, String>> = LazyLock::new(|| {
    let mut all: Vec<Value> = serin_api::crd::all()
        .into_iter()
        .map(|definition| definition.object)
        .collect();
    for text in [GATEWAY_API, serin_staging::HTTP_ROUTES] {
        all.extend(serde_saphyr::from_multiple::<Value>(text).map_err(|e| e.to_string())?);
    }
    for object in &all {
        Crd::parse(object).map_err(|status| status.message)?;
    }
    Ok(all)
});

impl Playground {
    /// Brings everything up; returns when what is on stage is there, but not yet healthy. Lines come from the second value.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(mut folder: Folder, options: Options) -> Result<(Self, mpsc::UnboundedReceiver<Line>), Error> {
        let (notes, lines) = Notes::new();
        folder.watch_over(None);
        let mut tasks = JoinSet::new();
        let cluster = Cluster::new(ClusterOptions {
            start: Utc::now(),
            seed: u64::from(std::process::id()),
            latency: Duration::from_millis(1),
            history: 10_000,
            record: false,
            managed_fields: true,
            bare: false,
        });
        for definition in DEFINITIONS.as_ref().map_err(|e| Error::Bug(e.clone()))? {
            create(
                &cluster,
                "customresourcedefinitions",
                definition.clone(),
                "a definition",
            )?;
        }

        // Pods and all that is usual in a cluster.
        let network = Network::take();
        let pods_at = network.words();
        let (changed, changes) = watch::channel(());
        let pods = Pods::default();
        cluster.logs(Arc::new(pods.clone()));
        let kubelets = Kubelets {
            network,
            notes: notes.clone(),
        };
        tasks.spawn(Workloads::new(&cluster, Arc::new(kubelets)).run());
        tasks.spawn(pods.clone().follow(cluster.clone(), notes.clone(), changed));

        // Everybody's doors.
        let client = Arc::<Client>::default();
        let api = listen("--api-port", options.api_port).await?;
        let gateway = listen("--gateway-port", options.gateway_port).await?;
        let (api_server, api_address) = api::serve(&cluster, api)?;
        let kubeconfig = folder.path().join("kubeconfig");
        let text = api::kubeconfig(api_address, options.stage.rollouts.first());
        std::fs::write(&kubeconfig, text).map_err(|e| Error::file("write", &kubeconfig, e))?;
        let gateway = Gateway::start(gateway, &cluster, &pods, changes.clone(), &notes, &client).await;
        let gateway = gateway.map_err(Error::Listen)?;
        let controller_metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::Listen)?;
        let controller_address = controller_metrics.local_addr().map_err(Error::Listen)?;

        // Who measures.
        let fixed = vec![("gateway", gateway.metrics), ("serin", controller_address)];
        let (mut real, mut substitute) = (None, None);
        let measured_by = match &options.prometheus {
            Some(program) => {
                let setup = prometheus::Setup {
                    program,
                    folder: folder.path().join("prometheus"),
                    rules: &options.stage.rules,
                    interval: options.scrape_interval,
                    fixed,
                    pods: pods.clone(),
                    changed: changes.clone(),
                };
                let started = Prometheus::start(setup, &client).await?;
                folder.watch_over(started.process);
                real.insert(started).address
            }
            None => {
                let (rules, interval) = (&options.stage.rules, options.scrape_interval);
                let started = Substitute::start(rules, interval, fixed, pods.clone(), &client, &notes).await?;
                substitute.insert(started).address
            }
        };

        let controller = Controller::start(&cluster, measured_by, controller_metrics, &notes)?;
        let met = Met::default();
        tasks.spawn(story::tell(cluster.clone(), met.clone(), notes.clone()));
        let addresses = Addresses {
            log: folder.log().to_owned(),
            kubeconfig,
            api: api_address,
            gateway: gateway.address,
            prometheus: measured_by,
            controller: controller_address,
            pods: pods_at,
        };
        let mut playground = Self {
            addresses,
            cluster,
            met,
            controller: Some(controller),
            tasks,
            gateway,
            prometheus: real,
            _substitute: substitute,
            _api: api_server,
            _folder: folder,
        };
        playground.set(&options.stage, &notes)?;
        if options.rps > 0.0 {
            let up = playground.up(&options.stage).await;
            if !up {
                notes.say(format!(
                    "not everything on stage is healthy after {UP:?}; users come all the same"
                ));
            }
            for (rollout, door) in options.stage.rollouts.iter().zip(&options.stage.doors) {
                let users = load::send(
                    playground.gateway.address,
                    rollout.clone(),
                    door.clone(),
                    options.rps,
                    Arc::clone(&client),
                    playground.met.clone(),
                );
                playground.tasks.spawn(users);
            }
        }
        Ok((playground, lines))
    }

    /// Creates what is on stage.
    fn set(&mut self, stage: &Stage, notes: &Notes) -> Result<(), Error> {
        for note in &stage.notes {
            notes.say(note.clone());
        }
        let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
        for document in &stage.objects {
            let Some((resource, namespaced)) = self.cluster.resource(document.group(), document.kind()) else {
                *unknown.entry(document.kind()).or_default() += 1;
                continue;
            };
            let mut object = document.object.clone();
            if namespaced {
                object["metadata"]["namespace"] = stage::namespace_of(&document.object).into();
            } else if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
            let what = format!("{}: {}", document.source, document.title());
            create(&self.cluster, &resource.to_string(), object, &what)?;
        }
        for (kind, n) in unknown {
            notes.say(format!("left out: {n} {kind}, a kind that is not served here"));
        }
        Ok(())
    }

    /// Whether every Rollout got healthy in time.
    async fn up(&self, stage: &Stage) -> bool {
        let wait = async {
            let mut changes = self.cluster.changes();
            loop {
                changes.mark_unchanged();
                let is_healthy = |(namespace, name): &(String, String)| {
                    let rollout = self.cluster.get("rollouts", namespace, name);
                    // What the controller cannot carry out will not get better by waiting.
                    rollout.is_none_or(|rollout| {
                        let phase = rollout["status"]["phase"].as_str();
                        matches!(phase, Some("Healthy" | "Degraded"))
                    })
                };
                if stage.rollouts.iter().all(is_healthy) {
                    return;
                }
                changes.changed().await;
            }
        };
        timeout(UP, wait).await.is_ok()
    }

    /// Where everything is.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What users met so far: all of it.
    pub fn users(&self) -> Counts {
        let all = self.met.so_far();
        let all = all.values().flat_map(BTreeMap::values);
        all.fold(Counts::default(), |sum, counts| Counts {
            requests: sum.requests + counts.requests,
            failed: sum.failed + counts.failed,
        })
    }

    /// Changes a Rollout's image, as `kubectl patch` would.
    ///
    /// # Errors
    /// In the API's words.
    pub fn release(&self, namespace: &str, name: &str, image: &str) -> Result<(), Error> {
        let patch = serde_json::json!([
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
        ]);
        let patched = self
            .cluster
            .patch(USER, "rollouts", namespace, name, None, &Patch::Json(patch));
        patched.map(drop).map_err(|status| Error::Refused {
            what: format!("Rollout/{name}"),
            why: status.message,
        })
    }

    /// Waits until something that should never end does.
    pub async fn broken(&mut self) -> Error {
        let controller = async {
            match &mut self.controller {
                Some(controller) => controller.ended().await,
                None => std::future::pending().await,
            }
        };
        let prometheus = async {
            match &mut self.prometheus {
                Some(prometheus) => prometheus.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            why = controller => Error::Bug(why),
            why = prometheus => why,
            Some(_) = self.tasks.join_next() => Error::Bug("a part of the playground ended".to_owned()),
        }
    }

    /// Ends everything; afterwards nothing is left.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        if let Some(controller) = self.controller.take() {
            controller.end().await;
        }
        if let Some(prometheus) = self.prometheus.take() {
            prometheus.end().await;
        }
        // Sockets are closed by tasks that see that nobody holds them any more.
        drop(self);
        sleep(Duration::from_millis(10)).await;
    }
}

/// A port on loopback that somebody may have chosen; 0: any.
async fn listen(option: &'static str, port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Port {
        address,
        option,
        source,
    })
}

fn create(cluster: &Cluster, resource: &str, object: Value, what: &str) -> Result<(), Error> {
    let made = cluster.create(USER, resource, object);
    made.map(drop).or_else(|status| {
        // `default` and its kind are there already.
        let is_there = status.code == 409 && resource == "namespaces";
        is_there.then_some(()).ok_or(Error::Refused {
            what: what.to_owned(),
            why: status.message,
        })
    })
}
