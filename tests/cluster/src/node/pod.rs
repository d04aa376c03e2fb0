//! One pod: bound to a node, started, reported, ended and removed. One task a pod.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::behaviour::{Behaviour, Image, image, job_end};
use super::container::{AbortOnDrop, ContainerPlan, Order, Phase, Program, Report, Restart, supervise};
use super::probe::ProbePlan;
use super::server::Identity;
use super::status::{Conditions, Constants, status};
use super::{Context, PodInfo};
use crate::clock::now;
use crate::{gateway, kubeconfig};

/// The label by which pods of a rollout's revision are told apart, and that of Deployments.
const HASH_LABELS: [&str; 2] = ["rollouts-pod-template-hash", "pod-template-hash"];
/// Pause before a request that failed is sent again, for example while the API server is down.
const AGAIN: Duration = Duration::from_millis(300);
const REQUEST: Duration = Duration::from_secs(10);

/// Lives until the pod's object is gone; a closed channel says that it is.
pub(crate) async fn run(context: Arc<Context>, mut seen: watch::Receiver<Arc<Pod>>) {
    let first = seen.borrow().clone();
    let Some(names) = Names::of(&first) else { return };
    let uid = names.uid.clone();
    let mut end = seen.clone();
    tokio::select! {
        biased;
        () = closed(&mut end) => {}
        () = live(&context, &names, &mut seen) => {}
    }
    context.forget(&uid);
}

/// Waits until nobody sends any more: the object is gone, and with it every right to run.
async fn closed(seen: &mut watch::Receiver<Arc<Pod>>) {
    while seen.changed().await.is_ok() {}
}

struct Names {
    namespace: String,
    name: String,
    uid: String,
}

impl Names {
    fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }
}

async fn live(context: &Arc<Context>, names: &Names, seen: &mut watch::Receiver<Arc<Pod>>) {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &names.namespace);
    let Some(node) = bind(context, &api, names, seen).await else {
        return remove(&api, names).await;
    };
    let pod = seen.borrow().clone();
    let Some(spec) = pod.spec.clone() else { return };
    let ip = context.next_address();
    let mut plans = Vec::new();
    for container in &spec.containers {
        plans.push(plan(context, &pod, &spec, container, ip, &node.name).await);
    }
    let constants = Constants {
        uid: names.uid.clone(),
        ip,
        host_ip: node.ip,
        containers: spec
            .containers
            .iter()
            .map(|c| (c.name.clone(), c.image.clone().unwrap_or_default()))
            .collect(),
        init_containers: spec
            .init_containers
            .iter()
            .flatten()
            .map(|c| (c.name.clone(), c.image.clone().unwrap_or_default()))
            .collect(),
        started: now(),
    };
    let crash = Arc::new(Notify::new());
    context.remember(
        PodInfo {
            namespace: names.namespace.clone(),
            name: names.name.clone(),
            uid: names.uid.clone(),
            node: node.name.clone(),
            ip,
            hash: hash(&pod),
            image: constants
                .containers
                .first()
                .map(|(_, image)| image.clone())
                .unwrap_or_default(),
            pid: None,
            restarts: 0,
            ready: false,
            running: false,
        },
        plans.iter().map(|p| p.behaviour.clone()).collect(),
        crash.clone(),
    );

    let (order, ordered) = watch::channel(Order::Run);
    let (told, mut reports) = mpsc::unbounded_channel();
    let mut latest = vec![Report::creating(); plans.len()];
    let mut tasks = Vec::new();
    for (index, plan) in plans.into_iter().enumerate() {
        let (told, ordered, crash) = (told.clone(), ordered.clone(), crash.clone());
        // The pod task may be gone when the last report comes: then nobody wants it.
        let report = move |report| drop(told.send((index, report)));
        tasks.push(AbortOnDrop(tokio::spawn(supervise(plan, ip, ordered, crash, report))));
    }
    drop(told);

    let mut conditions = Conditions::default();
    let mut written: Option<serde_json::Value> = None;
    let mut deleting = false;
    let mut over = false;
    let mut dirty = false;
    let always = restart(&spec) == Restart::Always;
    loop {
        if !deleting && let Some(grace) = grace(&seen.borrow()) {
            deleting = true;
            dirty = latest.iter().any(|r| r.ready);
            order.send_replace(Order::Stop {
                deadline: Instant::now() + grace,
            });
        }
        if over && deleting {
            let finalizers = !seen
                .borrow()
                .metadata
                .finalizers
                .as_deref()
                .unwrap_or_default()
                .is_empty();
            // Only who waits for the end of a job reads how it ended.
            if !always || finalizers {
                let body = status(&constants, &latest, &mut conditions, true, true, now());
                // Gone already is as good.
                let _ = write(context, &api, names, &body).await;
            }
            return remove(&api, names).await;
        }
        if dirty {
            let finished = over && !always;
            let body = status(&constants, &latest, &mut conditions, deleting, finished, now());
            if written.as_ref() != Some(&body) {
                match write(context, &api, names, &body).await {
                    Ok(()) => written = Some(body),
                    Err(Gone) => return,
                }
            }
            dirty = false;
        }
        tokio::select! {
            biased;
            changed = seen.changed() => if changed.is_err() { return },
            told = reports.recv(), if !over => {
                let mut next = told;
                over = next.is_none();
                while let Some((index, report)) = next {
                    latest[index] = report;
                    next = reports.try_recv().ok();
                }
                over |= reports.is_closed() && reports.is_empty();
                context.update(&names.uid, |info| {
                    info.ready = !deleting && latest.iter().all(|r| r.ready);
                    info.running = latest.iter().any(|r| matches!(r.phase, Phase::Running { .. }));
                    info.restarts = latest.iter().map(|r| r.restarts).max().unwrap_or(0);
                    info.pid = latest.iter().find_map(|r| r.pid);
                });
                let settled = latest.iter().all(|r| r.phase != Report::creating().phase);
                // A pod on its way out is written once at its start and once at its end.
                dirty = settled && !deleting;
            }
        }
    }
}

/// Gives the pod a node. None: it is being deleted before it ever ran.
async fn bind(
    context: &Context,
    api: &Api<Pod>,
    names: &Names,
    seen: &mut watch::Receiver<Arc<Pod>>,
) -> Option<super::Node> {
    let node = context.pick_node();
    loop {
        let pod = seen.borrow().clone();
        if let Some(name) = pod.spec.as_ref().and_then(|s| s.node_name.as_ref()) {
            return context.node(name);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": names.name, "namespace": names.namespace, "uid": names.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node.name},
        });
        let post = PostParams::default();
        let request = api.create_subresource::<_, serde_json::Value>("binding", &names.name, &post, &binding);
        let result = {
            let _permit = context.permit().await;
            tokio::time::timeout(REQUEST, request).await
        };
        match result {
            Ok(Ok(_)) => return Some(node),
            // Bound already or gone: the watch will tell which.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                if tokio::time::timeout(AGAIN, seen.changed())
                    .await
                    .is_ok_and(|c| c.is_err())
                {
                    return None;
                }
            }
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

struct Gone;

/// Writes the status, again and again while the API server cannot be reached.
async fn write(context: &Context, api: &Api<Pod>, names: &Names, status: &serde_json::Value) -> Result<(), Gone> {
    let patch = json!({"metadata": {"uid": names.uid}, "status": status});
    loop {
        let result = {
            let _permit = context.permit().await;
            let patch = Patch::Strategic(&patch);
            tokio::time::timeout(REQUEST, api.patch_status(&names.name, &PatchParams::default(), &patch)).await
        };
        match result {
            Ok(Ok(_)) => return Ok(()),
            // 409: another pod of this name. 422: a status that the API server does not take; saying it again does not help.
            Ok(Err(kube::Error::Api(answer))) if [404, 409].contains(&answer.code) => return Err(Gone),
            Ok(Err(kube::Error::Api(answer))) if answer.code == 422 => {
                eprintln!(
                    "cluster: status of pod {}/{} refused: {}",
                    names.namespace, names.name, answer.message
                );
                return Ok(());
            }
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Removes the object, as the kubelet does when everything has ended.
async fn remove(api: &Api<Pod>, names: &Names) {
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(names.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    loop {
        match tokio::time::timeout(REQUEST, api.delete(&names.name, &params)).await {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(answer))) if [404, 409].contains(&answer.code) => return,
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// How long the pod may still run, if it is being deleted. The API server has put the grace period into the object.
fn grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

pub(super) fn hash(pod: &Pod) -> String {
    let labels = pod.metadata.labels.as_ref();
    HASH_LABELS
        .iter()
        .find_map(|label| labels?.get(*label).cloned())
        .unwrap_or_default()
}

fn restart(spec: &PodSpec) -> Restart {
    match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    }
}

/// The ports that a container listens on.
pub(super) fn ports(container: &Container) -> Vec<u16> {
    let mut ports: Vec<u16> = container
        .ports
        .iter()
        .flatten()
        .filter_map(|p| u16::try_from(p.container_port).ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() { vec![8080] } else { ports }
}

async fn plan(
    context: &Context,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    ip: Ipv4Addr,
    node: &str,
) -> ContainerPlan {
    let settings = context.settings();
    let name = container.image.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let restart = restart(spec);
    let (behaviour, wrong) = match Behaviour::of(container) {
        Ok(behaviour) => (behaviour, None),
        Err(why) => (Behaviour::default(), Some(why)),
    };
    let pull = |message: String| Program::Refused {
        reason: "ImagePullBackOff",
        message,
    };
    let program = match image(&name, &settings.known_images, settings.ready_after) {
        _ if wrong.is_some() => Program::Refused {
            reason: "CreateContainerConfigError",
            message: wrong.unwrap_or_default(),
        },
        Image::Unknown => pull(format!("Back-off pulling image \"{name}\": not found")),
        Image::Controller => match controller(context, pod, spec, container, ip, node).await {
            Ok(program) => program,
            Err(why) => pull(why),
        },
        Image::App { .. } if restart != Restart::Always => Program::Job {
            duration: settings.job_duration,
            end: job_end(&name),
        },
        Image::App { start_delay } => Program::Server {
            ports: ports(container),
            start_delay,
            identity: Identity {
                namespace: namespace.clone(),
                pod: pod.metadata.name.clone().unwrap_or_default(),
                node: node.to_owned(),
                image: name.clone(),
                hash: hash(pod),
            },
        },
    };
    let probe = |probe: &Option<k8s_openapi::api::core::v1::Probe>| probe.as_ref().map(|p| ProbePlan::of(p, container));
    let job = matches!(program, Program::Job { .. });
    ContainerPlan {
        program,
        behaviour: Arc::new(RwLock::new(behaviour)),
        restart,
        readiness: if job { None } else { probe(&container.readiness_probe) },
        liveness: if job || !settings.liveness {
            None
        } else {
            probe(&container.liveness_probe)
        },
        startup: if job { None } else { probe(&container.startup_probe) },
        pre_stop: pre_stop(container),
        backoff: settings.crash_backoff,
        drain: settings.drain_in(&namespace),
    }
}

fn pre_stop(container: &Container) -> Duration {
    let sleep = container
        .lifecycle
        .as_ref()
        .and_then(|l| l.pre_stop.as_ref())
        .and_then(|h| h.sleep.as_ref());
    Duration::from_secs(sleep.and_then(|s| u64::try_from(s.seconds).ok()).unwrap_or(0))
}

/// Serin itself: the real binary, with the rights of the pod's ServiceAccount and the pod's own address.
async fn controller(
    context: &Context,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    ip: Ipv4Addr,
    node: &str,
) -> Result<Program, String> {
    let program = context
        .settings()
        .serin
        .ok_or("no serin binary was given to the virtual nodes")?;
    if !program.exists() {
        return Err(format!("the serin binary {} does not exist", program.display()));
    }
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let token = gateway::service_account_token(&context.client, &namespace, account, Some((&name, &uid)))
        .await
        .map_err(|e| e.to_string())?;
    let folder = context.dir.join("pods");
    std::fs::create_dir_all(&folder).map_err(|e| format!("create {}: {e}", folder.display()))?;
    let config = folder.join(format!("{namespace}_{name}.kubeconfig"));
    let server = format!("https://{}", crate::control_plane::API_SERVER);
    kubeconfig::write(
        &config,
        &kubeconfig::text(&server, &context.certificate, &token, &namespace),
    )
    .map_err(|e| e.to_string())?;
    let mut environment: BTreeMap<String, String> = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("KUBECONFIG", config.display().to_string()),
        ("POD_NAME", name.clone()),
        ("POD_NAMESPACE", namespace.clone()),
        ("POD_IP", ip.to_string()),
        ("HOSTNAME", name.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(from)) => from
                .field_ref
                .as_ref()
                .and_then(|f| field(pod, &f.field_path, ip, node)),
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            environment.insert(variable.name.clone(), value);
        }
    }
    let logs = context.dir.join("logs/pods");
    std::fs::create_dir_all(&logs).map_err(|e| format!("create {}: {e}", logs.display()))?;
    // The image's entry point is the program; `command` replaces it, so its first word is dropped.
    let command = container.command.iter().flatten().skip(1);
    Ok(Program::Process {
        program,
        arguments: command
            .chain(container.args.iter().flatten())
            .map(|a| expand(a, &environment))
            .collect(),
        log: logs.join(format!("{namespace}_{name}_{}.log", container.name)),
        environment,
    })
}

/// `$(NAME)` in arguments, as Kubernetes expands it.
fn expand(argument: &str, environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(argument.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

/// The downward API's fields.
fn field(pod: &Pod, path: &str, ip: Ipv4Addr, node: &str) -> Option<String> {
    let meta = &pod.metadata;
    let keyed = |map: &Option<BTreeMap<String, String>>, start: &str| {
        let key = path.strip_prefix(start)?.strip_suffix("']")?;
        map.as_ref()?.get(key).cloned()
    };
    match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => Some(node.to_owned()),
        "spec.serviceAccountName" => pod.spec.as_ref().and_then(|s| s.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(ip.to_string()),
        _ => keyed(&meta.labels, "metadata.labels['").or_else(|| keyed(&meta.annotations, "metadata.annotations['")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn a_container_without_ports_listens_on_8080() {
        let container: Container = serde_json::from_value(json!({"name": "app"})).expect("a container");
        assert_eq!(ports(&container), [8080]);
    }

    #[test]
    fn the_downward_api_reads_names_labels_and_the_address() {
        let pod = pod(
            json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "x"}}, "spec": {"containers": []}}),
        );
        let ip = Ipv4Addr::new(10, 244, 0, 9);
        for (path, wanted) in [
            ("metadata.name", "a"),
            ("metadata.labels['app']", "x"),
            ("status.podIP", "10.244.0.9"),
            ("spec.nodeName", "node-1"),
        ] {
            assert_eq!(field(&pod, path, ip, "node-1").as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn a_pod_that_is_deleted_without_grace_has_none() {
        let deleted = pod(json!({"metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}}));
        assert_eq!(grace(&deleted), Some(Duration::ZERO));
        assert_eq!(grace(&pod(json!({"metadata": {}}))), None);
    }
}
