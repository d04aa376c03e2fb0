//! The stage: Serin and the demo's service, on a real cluster or on the playground. What follows is the same on both.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{Stream, StreamExt as _, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use serin_cluster::load::{Load, LoadOptions};
use serin_cluster::{Cluster, Inside, Options};

use crate::page::Page;
use crate::playground::Playground;
use crate::script::Release;
use crate::timeline::Seen;

/// Namespace and name of the demo's service.
pub(crate) const SHOP: &str = "shop";
/// Its host name at the gateway.
pub(crate) const HOST: &str = "shop.example";
/// Its canary service, as in `manifests/shop.yaml`.
pub(crate) const CANARY_SERVICE: &str = "shop-canary";
/// Requests per second: at 5 % the canary still gets a hundred within one interval of the analysis, twice what the
/// templates call enough.
pub(crate) const RATE: f64 = 200.0;
/// How long Serin and the service may take to come up, on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// How often something that has no event of its own is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the releases play on.
enum Ground {
    Cluster { cluster: Box<Cluster>, kubectl: PathBuf },
    Playground(Box<Playground>),
}

/// Everything that the releases play on, and users.
pub(crate) struct Stage {
    ground: Ground,
    /// The program, for what people ask it.
    serin: PathBuf,
    client: Client,
    pub(crate) load: Load,
}

impl Stage {
    /// Starts the playground, whose own shop it is, and says so.
    pub(crate) async fn playground(serin: &Path, prometheus: Option<&Path>, page: Page) -> Result<Self> {
        let begin = Instant::now();
        let playground = Playground::start(serin, prometheus).await?;
        let measures = match prometheus {
            Some(program) => format!("Prometheus is {}", program.display()),
            None => "there is no Prometheus: the playground evaluates PromQL itself".to_owned(),
        };
        page.say(&format!(
            "The playground is up; {measures} ({:.1} s)",
            begin.elapsed().as_secs_f32()
        ));
        let stage = Self {
            serin: serin.to_owned(),
            client: playground.client().await?,
            load: Load::start(LoadOptions::new(playground.gateway, HOST, RATE)),
            ground: Ground::Playground(Box::new(playground)),
        };
        stage.come_up(begin, page).await?;
        Ok(stage)
    }

    /// Brings a whole cluster up and says so.
    pub(crate) async fn cluster(root: &Path, serin: &Path, inside: Inside, page: Page) -> Result<Self> {
        let kubectl = inside.parts.kubectl.clone();
        let mut options = Options::new(inside);
        let serin = serin.canonicalize();
        let serin = serin.context("the serin binary is missing: `make demo` builds it")?;
        options.node_settings.serin = Some(serin.clone());
        let cluster = Cluster::start(options).await?;

        page.say("kubectl apply -k deploy: resource definitions, rights, two controllers");
        let begin = Instant::now();
        let manifests = root.join("tests/demo/manifests");
        apply(&cluster, &["-k", path(&root.join("deploy"))?]).await?;
        let timeout = format!("--timeout={}s", READY.as_secs());
        cluster
            .kubectl(&["-n", "argo-rollouts", "rollout", "status", "deployment/serin", &timeout])
            .await
            .with_context(|| {
                format!(
                    "Serin did not come up; its logs are in {}",
                    cluster.logs().join("pods").display()
                )
            })?;
        page.say(&format!("Serin is ready ({:.1} s)", begin.elapsed().as_secs_f32()));

        let begin = Instant::now();
        let templates = root.join("analysis-templates");
        cluster.kubectl(&["create", "namespace", SHOP]).await?;
        let rules = templates.join("recording-rules.yaml");
        let rules = std::fs::read_to_string(&rules).with_context(|| format!("failed to read {}", rules.display()))?;
        cluster.add_rules("serin", &rules).await?;
        apply(&cluster, &["-n", SHOP, "-k", path(&templates)?]).await?;
        apply(&cluster, &["-n", SHOP, "-f", path(&manifests.join("shop.yaml"))?]).await?;
        let stage = Self {
            serin,
            client: cluster.client(),
            load: Load::start(LoadOptions::new(cluster.gateway(), HOST, RATE)),
            ground: Ground::Cluster {
                cluster: Box::new(cluster),
                kubectl,
            },
        };
        stage.come_up(begin, page).await?;
        Ok(stage)
    }

    async fn come_up(&self, begin: Instant, page: Page) -> Result<()> {
        self.service_answers().await?;
        page.say(&format!(
            "The service answers through the gateway, {RATE} requests a second go on from here ({:.1} s)",
            begin.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    /// Ends all of it.
    pub(crate) async fn end(self) {
        drop(self.load);
        match self.ground {
            Ground::Cluster { cluster, .. } => cluster.shutdown().await,
            Ground::Playground(playground) => playground.end().await,
        }
    }

    /// Where Serin's own words are.
    fn logs(&self) -> String {
        match &self.ground {
            Ground::Cluster { cluster, .. } => cluster.logs().join("pods").display().to_string(),
            Ground::Playground(playground) => playground.log.clone(),
        }
    }

    /// Waits until the Rollout is healthy and a second's worth of requests in a row was answered by its pods.
    async fn service_answers(&self) -> Result<()> {
        let wait = async {
            while self.rollout().await?["status"]["phase"] != "Healthy" {
                tokio::time::sleep(LOOK).await;
            }
            while !self.load.next(RATE as usize).await.failures().is_empty() {}
            anyhow::Ok(())
        };
        if let Ok(result) = tokio::time::timeout(READY, wait).await {
            return result;
        }
        let status = &self.rollout().await?["status"];
        bail!(
            "the service does not answer after {} s; Rollout: {} {}; {}; Serin's logs: {}",
            READY.as_secs(),
            status["phase"],
            status["message"],
            self.load.report(),
            self.logs()
        )
    }

    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        let Kind {
            group,
            version,
            kind,
            plural,
        } = *kind;
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), SHOP, &resource)
    }

    /// The Rollout as it is.
    pub(crate) async fn rollout(&self) -> Result<Value> {
        let object = self
            .api(&ROLLOUT)
            .get(SHOP)
            .await
            .context("failed to read the Rollout")?;
        Ok(serde_json::to_value(object)?)
    }

    /// Changes the image, as a pipeline would.
    pub(crate) async fn release(&self, release: &Release) -> Result<()> {
        let rollout = self.rollout().await?;
        let patch = release.patch(&rollout["spec"]["template"]["spec"]["containers"]);
        let api = self.api(&ROLLOUT);
        api.patch(SHOP, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("failed to change the image to {}", release.image))?;
        Ok(())
    }

    /// Every change of every object that the timeline is told from.
    pub(crate) fn watch(&self) -> impl Stream<Item = Result<Seen>> + Unpin + use<> {
        let one = |kind: &Kind, seen: fn(Value) -> Seen| {
            let name = kind.kind;
            let events = watcher(self.api(kind), watcher::Config::default());
            let objects = events.default_backoff().applied_objects();
            let all = objects.map(move |object| {
                let object = object.with_context(|| format!("failed to watch {name}s"))?;
                Ok(seen(serde_json::to_value(object)?))
            });
            all.boxed()
        };
        stream::select_all([
            one(&ROLLOUT, Seen::Rollout),
            one(&REPLICA_SET, Seen::ReplicaSet),
            one(&RUN, Seen::Run),
            one(&ROUTE, Seen::Route),
            one(&EVENT, Seen::Event),
        ])
    }

    /// What `serin explain` says of the service now, as anyone may ask it; nothing when it cannot be asked.
    pub(crate) async fn explained(&self) -> String {
        let kubeconfig = match &self.ground {
            Ground::Cluster { cluster, .. } => cluster.kubeconfig(),
            Ground::Playground(playground) => PathBuf::from(&playground.kubeconfig),
        };
        let mut serin = tokio::process::Command::new(&self.serin);
        let serin = serin
            .args(["explain", "-n", SHOP, SHOP, "--kubeconfig"])
            .arg(kubeconfig);
        let said = serin
            .output()
            .await
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        said.unwrap_or_default()
    }

    /// How to look around while all of it is up.
    pub(crate) fn addresses(&self) -> Vec<(&'static str, String)> {
        let (program, kubeconfig, gateway, prometheus) = match &self.ground {
            Ground::Cluster { cluster, kubectl } => {
                let url = |name| {
                    let port = cluster.outside_port(name);
                    port.map_or_else(String::new, |port| format!("http://127.0.0.1:{port}"))
                };
                let kubeconfig = cluster.outside_kubeconfig().display().to_string();
                (
                    kubectl.display().to_string(),
                    kubeconfig,
                    url("gateway"),
                    url("prometheus"),
                )
            }
            Ground::Playground(p) => {
                let gateway = format!("http://{}", p.gateway);
                (
                    "kubectl".to_owned(),
                    p.kubeconfig.clone(),
                    gateway,
                    p.prometheus.clone(),
                )
            }
        };
        let kubectl = format!("{program} --kubeconfig {kubeconfig} -n {SHOP}");
        let container = "/spec/template/spec/containers/0";
        // Without the fault that the last release brought.
        let patch = json!([
            {"op": "replace", "path": format!("{container}/image"), "value": "shop:v5"},
            {"op": "replace", "path": format!("{container}/env"), "value": []},
        ]);
        vec![
            ("look", format!("{kubectl} get rollouts,analysisruns,pods")),
            (
                "release",
                format!("{kubectl} patch rollout {SHOP} --type json -p '{patch}'"),
            ),
            ("use it", format!("curl -H 'Host: {HOST}' {gateway}")),
            ("prometheus", prometheus),
            ("kubeconfig", kubeconfig),
            ("logs", self.logs()),
        ]
    }
}

struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

const ROLLOUT: Kind = Kind {
    group: "argoproj.io",
    version: "v1alpha1",
    kind: "Rollout",
    plural: "rollouts",
};
const RUN: Kind = Kind {
    group: "argoproj.io",
    version: "v1alpha1",
    kind: "AnalysisRun",
    plural: "analysisruns",
};
const REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
};
const EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
};
const ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    version: "v1",
    kind: "HTTPRoute",
    plural: "httproutes",
};

fn path(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("{} is no text", path.display()))
}

async fn apply(cluster: &Cluster, what: &[&str]) -> Result<()> {
    let arguments = [&["apply"], what].concat();
    cluster.kubectl(&arguments).await?;
    Ok(())
}
