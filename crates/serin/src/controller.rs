//! `serin controller`: flags (Argo Rollouts' own where they make sense, compat 7.1), logging, signals, and the start.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args, ValueEnum};
use serin_api::duration::GoDuration;
use serin_controller::{Clock, Config, Context, Election, OnRefusal, health};
use serin_providers::{AddressPolicy, ProviderSettings, Providers, ReqwestTransport};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// The lease that Argo Rollouts uses too: the two never work at the same time (compat 7.2).
pub(crate) const LEASE: &str = "argo-rollouts-controller-lock";
/// Namespace of the lease when nothing says where we run (compat 7.1).
const DEFAULT_NAMESPACE: &str = "argo-rollouts";
/// Where Kubernetes tells a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What an empty or NaN answer of a metric provider means where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NoData {
    /// It is judged as Argo Rollouts judges it.
    Verdict,
    /// It counts for nothing; the analysis waits for data.
    Hold,
}

/// What becomes of a plan that breaks a write rule about traffic, aborts or promotions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Audit {
    /// The Rollout holds.
    Refuse,
    /// It is carried out, and said in the log, a metric and an event.
    Warn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Flags of `serin controller`.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Path of a kubeconfig; default: KUBECONFIG, then ~/.kube/config, then the pod's service account.
    #[arg(long)]
    kubeconfig: Option<String>,
    /// Watch this namespace only.
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// Use no rights beyond one namespace (ClusterAnalysisTemplates are disabled).
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = ArgAction::Set)]
    namespaced: bool,
    /// Work only on objects whose label argo-rollouts.argoproj.io/controller-instance-id has this value.
    #[arg(long, default_value = "")]
    instance_id: String,
    /// Port of /metrics.
    #[arg(long = "metricsPort", visible_alias = "metricsport", default_value_t = 8090)]
    metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long = "healthzPort", visible_alias = "healthzport", default_value_t = 8080)]
    healthz_port: u16,
    /// Wait for the lease before working.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    leader_elect: bool,
    /// How long others wait for a silent leader.
    #[arg(long, default_value = "15s", value_parser = positive)]
    leader_election_lease_duration: Duration,
    /// How long a leader that cannot renew its lease goes on.
    #[arg(long, default_value = "10s", value_parser = positive)]
    leader_election_renew_deadline: Duration,
    /// Time between two tries to acquire or renew the lease.
    #[arg(long, default_value = "2s", value_parser = positive)]
    leader_election_retry_period: Duration,
    /// Rollouts worked on at the same time.
    #[arg(long, default_value_t = 10)]
    rollout_threads: usize,
    /// debug, info, warn or error; or a filter such as `serin_controller=debug,info`.
    #[arg(long, default_value = "info", value_parser = crate::loglevel::checked)]
    loglevel: String,
    /// Format of the log.
    #[arg(long, value_enum, default_value = "text")]
    logformat: LogFormat,
    /// Prometheus for metrics that name none.
    #[arg(long, env = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS")]
    prometheus_address: Option<String>,
    /// What an answer without data means where neither Rollout nor template says so (annotation serin.dev/no-data).
    #[arg(long, value_enum, default_value = "verdict")]
    no_data: NoData,
    /// What becomes of a plan that breaks a rule about traffic, aborts or promotions: a bug in Serin, noticed in time.
    #[arg(long, value_enum, default_value = "refuse")]
    audit: Audit,
    /// Let metric providers use link-local and cloud metadata addresses.
    #[arg(long)]
    allow_link_local_providers: bool,
    #[command(flatten)]
    unused: Unused,
}

/// Flags of Argo Rollouts that are understood and change nothing, so that its manifests start Serin unchanged.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted for compatibility, without effect")]
struct Unused {
    /// Serin writes little enough to need no limit of its own.
    #[arg(long)]
    qps: Option<f64>,
    /// See --qps.
    #[arg(long)]
    burst: Option<u32>,
    /// Serin needs no resync.
    #[arg(long)]
    rollout_resync: Option<i64>,
    /// Measurements are not limited by threads.
    #[arg(long)]
    analysis_threads: Option<u32>,
    /// Serin has no such queue.
    #[arg(long)]
    service_threads: Option<u32>,
    /// Serin has no such queue.
    #[arg(long)]
    ingress_threads: Option<u32>,
    /// Serin has no such queue.
    #[arg(long)]
    experiment_threads: Option<u32>,
    /// Serin has no such queue.
    #[arg(long)]
    ephemeral_metadata_threads: Option<u32>,
    /// There is no klog in Serin; see --loglevel.
    #[arg(long)]
    kloglevel: Option<u32>,
}

impl Unused {
    fn given(&self) -> Vec<&'static str> {
        [
            ("qps", self.qps.is_some()),
            ("burst", self.burst.is_some()),
            ("rollout-resync", self.rollout_resync.is_some()),
            ("analysis-threads", self.analysis_threads.is_some()),
            ("service-threads", self.service_threads.is_some()),
            ("ingress-threads", self.ingress_threads.is_some()),
            ("experiment-threads", self.experiment_threads.is_some()),
            ("ephemeral-metadata-threads", self.ephemeral_metadata_threads.is_some()),
            ("kloglevel", self.kloglevel.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration = text.parse().map_err(|e| format!("{e}"))?;
    let duration = u64::try_from(parsed.as_nanos())
        .ok()
        .filter(|n| *n > 0)
        .map(Duration::from_nanos);
    duration.ok_or_else(|| format!("{text:?} is not a positive duration such as 15s"))
}

impl Flags {
    fn election(&self, namespace: String, identity: String) -> Result<Option<Election>> {
        if !self.leader_elect {
            return Ok(None);
        }
        let (lease, renew, retry) = (
            self.leader_election_lease_duration,
            self.leader_election_renew_deadline,
            self.leader_election_retry_period,
        );
        anyhow::ensure!(
            retry < renew && renew < lease,
            "--leader-election-retry-period ({retry:?}) must be less than --leader-election-renew-deadline ({renew:?}), and \
             that less than --leader-election-lease-duration ({lease:?}): a leader must stop writing before another may begin"
        );
        let name = match self.instance_id.as_str() {
            "" => LEASE.to_owned(),
            id => format!("{LEASE}-{id}"),
        };
        Ok(Some(Election {
            namespace,
            names: vec![name],
            identity,
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
        }))
    }
}

/// Runs the controller until SIGTERM.
pub(crate) fn run(flags: Flags) -> Result<()> {
    log(&flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(start(flags))
}

fn log(flags: &Flags) -> Result<()> {
    let filter = EnvFilter::try_new(&flags.loglevel).with_context(|| format!("--loglevel {:?}", flags.loglevel))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match flags.logformat {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn start(flags: Flags) -> Result<()> {
    let unused = flags.unused.given();
    if !unused.is_empty() {
        warn!(flags = unused.join(","), "Flags without effect");
    }
    let client = client(flags.kubeconfig.as_deref()).await?;
    let own_namespace = own_namespace();
    let identity = format!("{}_{}", hostname(), uuid()?);
    let namespace = flags.namespace.clone().filter(|n| !n.is_empty());
    let config = Config {
        namespace: if flags.namespaced {
            namespace.or_else(|| Some(own_namespace.clone()))
        } else {
            namespace
        },
        namespaced: flags.namespaced,
        settings: serin_model::Settings {
            no_data_hold: flags.no_data == NoData::Hold,
            instance_id: flags.instance_id.clone(),
        },
        workers: flags.rollout_threads.clamp(1, 256),
        election: flags.election(own_namespace, identity)?,
        on_refusal: match flags.audit {
            Audit::Refuse => OnRefusal::Hold,
            Audit::Warn => OnRefusal::Warn,
        },
    };
    let policy = AddressPolicy {
        allow_link_local: flags.allow_link_local_providers,
    };
    let transport = Arc::new(ReqwestTransport::new(policy));
    let settings = ProviderSettings {
        prometheus_address: flags.prometheus_address.clone().filter(|a| !a.is_empty()),
    };
    let providers = Arc::new(Providers::new(settings, transport));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = config.namespace.as_deref().unwrap_or("*"),
        "Starting"
    );
    let ctx = Arc::new(Context::new(client, Clock::System, providers, config));
    let address = bind_address()?;
    let health = health::serve((address, flags.healthz_port).into(), health::health(Arc::clone(&ctx)));
    let metrics = health::serve((address, flags.metrics_port).into(), health::metrics(Arc::clone(&ctx)));
    tokio::select! {
        biased;
        result = serin_controller::run(ctx, terminated()) => result.context("the controller ended"),
        result = health => result.with_context(|| format!("failed to serve /healthz on {address}:{} (--healthzPort)", flags.healthz_port)),
        result = metrics => result.with_context(|| format!("failed to serve /metrics on {address}:{} (--metricsPort)", flags.metrics_port)),
    }
}

async fn client(kubeconfig: Option<&str>) -> Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("failed to read --kubeconfig {path}"))?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .with_context(|| format!("failed to use --kubeconfig {path}"))?
        }
        None => kube::Config::infer().await.context(
            "no API server is known: set KUBECONFIG or --kubeconfig, or run in a pod with a service account",
        )?,
    };
    // Fifteen tries with growing waits would hold up an abort for minutes: every retry is ours (design contract 5).
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    kube::Client::try_from(config).context("failed to set up the API server's client")
}

/// Both servers listen on the pod's own address when it is known.
fn bind_address() -> Result<IpAddr> {
    match std::env::var("POD_IP").ok().filter(|ip| !ip.is_empty()) {
        Some(ip) => ip.parse().with_context(|| format!("POD_IP {ip:?} is no address")),
        None => Ok(IpAddr::from([0, 0, 0, 0])),
    }
}

fn own_namespace() -> String {
    std::env::var("POD_NAMESPACE")
        .ok()
        .or_else(|| std::fs::read_to_string(NAMESPACE_FILE).ok())
        .map(|n| n.trim().to_owned())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|n| n.trim().to_owned())
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// A random UUID (version 4): two processes on one host must never share an identity.
fn uuid() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut term), Ok(mut int)) => tokio::select! {
                biased;
                _ = term.recv() => {}
                _ = int.recv() => {}
            },
            _ => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    info!("Told to end; finishing what was begun");
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        flags: Flags,
    }

    fn parse(arguments: &[&str]) -> Result<Flags, String> {
        let all = std::iter::once(&"serin").chain(arguments);
        Only::try_parse_from(all).map(|o| o.flags).map_err(|e| e.to_string())
    }

    #[test]
    fn the_flags_are_consistent() {
        Only::command().debug_assert();
    }

    #[test]
    fn flags_of_argo_rollouts_manifests_are_understood() {
        let flags = parse(&[
            "--leader-elect=false",
            "--namespaced",
            "--metricsport",
            "9090",
            "--qps=40",
            "--burst=80",
            "--instance-id",
            "blue",
            "--loglevel",
            "debug",
            "--logformat=json",
            "--rollout-threads=3",
        ])
        .unwrap();
        assert!(!flags.leader_elect && flags.namespaced);
        assert_eq!((flags.metrics_port, flags.rollout_threads), (9090, 3));
        assert_eq!(flags.unused.given(), ["qps", "burst"]);
    }

    #[test]
    fn an_unknown_flag_is_an_error_that_names_it() {
        let error = parse(&["--aws-verify-target-group"]).unwrap_err();
        assert!(error.contains("--aws-verify-target-group"), "{error}");
    }

    #[test]
    fn lease_times_that_would_allow_two_leaders_are_refused() {
        let flags = parse(&["--leader-election-renew-deadline", "20s"]).unwrap();
        let error = flags.election("n".into(), "me".into()).unwrap_err().to_string();
        assert!(error.contains("--leader-election-renew-deadline (20s)"), "{error}");
        assert!(parse(&["--leader-election-retry-period", "0s"]).is_err());
    }

    #[test]
    fn plans_that_break_a_rule_are_refused_unless_told_otherwise() {
        assert_eq!(parse(&[]).unwrap().audit, Audit::Refuse);
        assert_eq!(parse(&["--audit=warn"]).unwrap().audit, Audit::Warn);
        let error = parse(&["--audit=off"]).unwrap_err();
        assert!(error.contains("refuse") && error.contains("warn"), "{error}");
    }

    #[test]
    fn an_instance_id_has_a_lease_of_its_own() {
        let flags = parse(&["--instance-id", "blue"]).unwrap();
        let names = flags.election("n".into(), "me".into()).unwrap().unwrap().names;
        assert_eq!(names, ["argo-rollouts-controller-lock-blue"]);
    }
}
