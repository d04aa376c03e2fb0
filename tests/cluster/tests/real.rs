//! Everything that the cluster promises, on the running thing: control plane, virtual nodes, gateway, Prometheus.
//!
//! Enters the namespace by itself (`cargo test -p serin-cluster`); the tests share one cluster and run one after another.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use serin_cluster::load::{Load, LoadOptions};
use serin_cluster::{Cluster, Component, Enter, Options, Signal, enter, now};
use tokio::runtime::Runtime;
use tokio::time::Instant;

type Outcome = Result<(), Failed>;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        // No cluster is needed to name the tests.
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    let inside = match enter(&Enter::default()) {
        Ok(inside) => inside,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let runtime = Runtime::new().expect("a runtime");
    let mut options = Options::new(inside);
    options.node_settings.serin = Some(stand_in(&options.inside));
    let cluster = match runtime.block_on(Cluster::start(options)) {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(Some((Arc::new(runtime), cluster))));
    conclusion.exit();
}

/// A script in place of the controller: says who it is to the API server, then waits.
fn stand_in(inside: &serin_cluster::Inside) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = inside.dir.join("serin-stand-in");
    let kubectl = inside.parts.kubectl.display();
    let script = format!(
        "#!/bin/sh\necho args $* pod $POD_NAMESPACE/$POD_NAME ip $POD_IP\n{kubectl} auth whoami\nexec sleep 1000\n"
    );
    std::fs::write(&path, script).expect("the cluster's folder can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    path
}

fn trials(world: Option<(Arc<Runtime>, Arc<Cluster>)>) -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$({
                let world = world.clone();
                Trial::test(stringify!($name), move || {
                    let (runtime, cluster) = world.ok_or("no cluster")?;
                    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), $name(cluster)).await })
                        .map_err(|_| Failed::from("not done within 120 s"))?
                })
            }),*]
        };
    }
    trials![
        pods_become_ready_in_their_time_and_answer_through_the_gateway,
        the_gateway_splits_by_weight,
        a_pod_killed_without_grace_fails_requests,
        the_end_of_the_grace_period_closes_the_socket,
        a_rolling_restart_fails_none,
        an_unknown_image_never_becomes_ready,
        a_readiness_probe_holds_a_pod_back,
        a_crashing_container_is_restarted_with_back_off,
        a_job_runs_to_its_end,
        errors_and_latency_come_as_asked_and_prometheus_sees_them,
        a_label_taken_off_the_pod_empties_the_query,
        prometheus_keeps_its_data_over_a_restart,
        the_cluster_goes_on_after_the_api_server_was_away,
        a_frozen_component_goes_on_where_it_was,
        the_audit_log_names_users_verbs_and_versions,
        the_real_controller_binary_runs_as_a_pod_with_its_account,
        prometheus_is_found_by_its_usual_name,
        nothing_is_left_of_a_namespace_whose_owner_was_killed,
        the_exit_code_of_a_command_inside_is_passed_on,
    ]
}

/// Waits for something to become true; the message names it.
async fn eventually(what: &str, timeout: Duration, mut check: impl AsyncFnMut() -> Result<bool, Failed>) -> Outcome {
    let begin = Instant::now();
    while !check().await? {
        if begin.elapsed() > timeout {
            return Err(format!("not seen within {} s: {what}", timeout.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

fn ensure(condition: bool, otherwise: impl Into<String>) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(otherwise.into().into())
    }
}

/// A namespace with a Deployment `name`, its Service and a route for the host `<namespace>.example`.
async fn application(cluster: &Cluster, namespace: &str, replicas: u32, container: serde_json::Value) -> Outcome {
    let documents = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        deployment(namespace, "demo", replicas, container),
        service(namespace, "demo"),
        route(namespace, json!([{"name": "demo", "port": 80}])),
    ];
    for document in documents {
        cluster.apply(&document.to_string()).await?;
    }
    Ok(())
}

fn deployment(namespace: &str, name: &str, replicas: u32, mut container: serde_json::Value) -> serde_json::Value {
    container["name"] = "app".into();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    })
}

fn service(namespace: &str, name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn route(namespace: &str, backends: serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "demo", "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "gw", "namespace": "gateway"}], "hostnames": [format!("{namespace}.example")],
            "rules": [{"backendRefs": backends}],
        },
    })
}

fn load(cluster: &Cluster, namespace: &str, rps: f64) -> Load {
    Load::start(LoadOptions::new(cluster.gateway(), format!("{namespace}.example"), rps))
}

fn pods(cluster: &Cluster, namespace: &str) -> Api<Pod> {
    Api::namespaced(cluster.client(), namespace)
}

/// Waits until the gateway answers 200 for the namespace's host from this many different pods.
async fn serving(cluster: &Cluster, namespace: &str, from: usize) -> Outcome {
    eventually("the gateway answers", Duration::from_secs(30), async || {
        let load = load(cluster, namespace, 200.0);
        let report = load.next(20).await;
        Ok(report.failures().is_empty() && report.by_code().keys().eq(["200"]) && report.by_pod().len() == from)
    })
    .await
}

async fn pods_become_ready_in_their_time_and_answer_through_the_gateway(cluster: Arc<Cluster>) -> Outcome {
    let begin = Instant::now();
    application(&cluster, "ready", 3, json!({"image": "demo:v1"})).await?;
    eventually("three ready pods", Duration::from_secs(20), async || {
        Ok(cluster
            .nodes()
            .pods()
            .iter()
            .filter(|p| p.namespace == "ready" && p.ready)
            .count()
            == 3)
    })
    .await?;
    ensure(
        begin.elapsed() >= Duration::from_millis(150),
        "ready sooner than a program can start",
    )?;
    let ips: std::collections::BTreeSet<_> = cluster.nodes().pods().into_iter().map(|p| p.ip).collect();
    ensure(ips.len() == cluster.nodes().pods().len(), "two pods share an address")?;
    serving(&cluster, "ready", 3).await
}

async fn the_gateway_splits_by_weight(cluster: Arc<Cluster>) -> Outcome {
    application(&cluster, "split", 2, json!({"image": "demo:v1"})).await?;
    let other = deployment("split", "other", 2, json!({"image": "demo:v2"}));
    for document in [other, service("split", "other")] {
        cluster.apply(&document.to_string()).await?;
    }
    serving(&cluster, "split", 2).await?;
    let weights = json!([{"name": "demo", "port": 80, "weight": 95}, {"name": "other", "port": 80, "weight": 5}]);
    cluster.apply(&route("split", weights).to_string()).await?;
    let hash = |image: &str| {
        let pods = cluster.nodes().pods();
        pods.into_iter()
            .find(|p| p.namespace == "split" && p.image == image)
            .map(|p| p.hash)
            .unwrap_or_default()
    };
    let load = load(&cluster, "split", 400.0);
    eventually("the new backend answers", Duration::from_secs(20), async || {
        Ok(load.report().share(&hash("demo:v2")) > 0.0)
    })
    .await?;
    let report = load.next(2000).await;
    let share = report.share(&hash("demo:v2"));
    ensure(
        (share - 0.05).abs() < 0.01 && report.failures().is_empty(),
        format!("5% asked, got {share:.4}: {report}"),
    )
}

async fn a_pod_killed_without_grace_fails_requests(cluster: Arc<Cluster>) -> Outcome {
    application(
        &cluster,
        "kill",
        2,
        json!({"image": "demo:v1", "env": [{"name": "LATENCY_MS", "value": "500"}]}),
    )
    .await?;
    serving(&cluster, "kill", 2).await?;
    let load = load(&cluster, "kill", 200.0);
    let before = load.next(200).await;
    ensure(
        before.failures().is_empty(),
        format!("failures before anything was killed: {before}"),
    )?;
    let victim = cluster
        .nodes()
        .pods()
        .into_iter()
        .find(|p| p.namespace == "kill")
        .ok_or("no pod")?;
    let start = now();
    pods(&cluster, "kill")
        .delete(&victim.name, &DeleteParams::default().grace_period(0))
        .await?;
    load.next(200).await;
    // Sent before the kill and not answered yet: no gateway can save them.
    let under_way = load.between(start - Duration::from_millis(400), start);
    ensure(
        !under_way.failures().is_empty(),
        format!("a pod vanished under load and no request failed: {under_way}"),
    )
}

async fn the_end_of_the_grace_period_closes_the_socket(cluster: Arc<Cluster>) -> Outcome {
    // Answers take 3 s and the program would like a minute, but has one second.
    let environment = json!([{"name": "LATENCY_MS", "value": "3000"}, {"name": "DRAIN_MS", "value": "60000"}]);
    application(&cluster, "grace", 1, json!({"image": "demo:v1", "env": environment})).await?;
    serving(&cluster, "grace", 1).await?;
    let victim = cluster
        .nodes()
        .pods()
        .into_iter()
        .find(|p| p.namespace == "grace")
        .ok_or("no pod")?;
    let load = load(&cluster, "grace", 20.0);
    load.next(20).await;
    let (start, begin) = (now(), Instant::now());
    pods(&cluster, "grace")
        .delete(&victim.name, &DeleteParams::default().grace_period(1))
        .await?;
    eventually("the end of the pod", Duration::from_secs(10), async || {
        Ok(cluster.nodes().pods().iter().all(|p| p.uid != victim.uid))
    })
    .await?;
    let lived = begin.elapsed();
    ensure(
        (1.0..3.0).contains(&lived.as_secs_f32()),
        format!("a grace of 1 s lasted {} ms", lived.as_millis()),
    )?;
    load.next(20).await;
    // Sent before the deletion, so the gateway had every right to believe in an answer.
    let before = load.between(start - Duration::from_secs(2), start);
    ensure(
        !before.failures().is_empty(),
        format!("answers under way at the end of the grace period came: {before}"),
    )
}

async fn a_rolling_restart_fails_none(cluster: Arc<Cluster>) -> Outcome {
    application(&cluster, "rolling", 3, json!({"image": "demo:v1"})).await?;
    serving(&cluster, "rolling", 3).await?;
    let load = load(&cluster, "rolling", 100.0);
    load.next(50).await;
    cluster
        .apply(&deployment("rolling", "demo", 3, json!({"image": "demo:v2"})).to_string())
        .await?;
    eventually("only the new pods", Duration::from_secs(30), async || {
        let pods: Vec<_> = cluster
            .nodes()
            .pods()
            .into_iter()
            .filter(|p| p.namespace == "rolling")
            .collect();
        Ok(pods.len() == 3 && pods.iter().all(|p| p.image == "demo:v2" && p.ready))
    })
    .await?;
    load.next(50).await;
    let report = load.stop();
    ensure(
        report.failures().is_empty(),
        format!("a graceful restart lost requests: {report}"),
    )?;
    ensure(
        report.by_hash().len() == 2,
        format!("both revisions should have answered: {report}"),
    )
}

async fn an_unknown_image_never_becomes_ready(cluster: Arc<Cluster>) -> Outcome {
    application(&cluster, "unknown", 1, json!({"image": "demo:does-not-exist"})).await?;
    let api = pods(&cluster, "unknown");
    eventually("ImagePullBackOff", Duration::from_secs(20), async || {
        let list = api.list(&Default::default()).await?;
        let reason = list.items.first().and_then(|pod| {
            let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            status.state.as_ref()?.waiting.as_ref()?.reason.clone()
        });
        Ok(reason.as_deref() == Some("ImagePullBackOff"))
    })
    .await?;
    ensure(
        !cluster
            .nodes()
            .pods()
            .iter()
            .any(|p| p.namespace == "unknown" && p.ready),
        "it became ready",
    )?;
    // Deleting it needs no program to end.
    cluster
        .kubectl(&["delete", "namespace", "unknown", "--timeout=60s"])
        .await?;
    Ok(())
}

async fn a_readiness_probe_holds_a_pod_back(cluster: Arc<Cluster>) -> Outcome {
    let probe = json!({"httpGet": {"path": "/ready", "port": 8080}, "initialDelaySeconds": 2, "periodSeconds": 1, "failureThreshold": 1});
    let begin = Instant::now();
    application(
        &cluster,
        "probe",
        1,
        json!({"image": "demo:v1", "readinessProbe": probe}),
    )
    .await?;
    let ready = async || Ok(cluster.nodes().pods().iter().any(|p| p.namespace == "probe" && p.ready));
    eventually("ready", Duration::from_secs(20), ready).await?;
    ensure(
        begin.elapsed() > Duration::from_secs(2),
        "ready before the probe's initial delay was over",
    )?;
    let pod = cluster
        .nodes()
        .pods()
        .into_iter()
        .find(|p| p.namespace == "probe")
        .ok_or("no pod")?;
    ensure(
        cluster.nodes().set_behaviour("probe", &pod.hash, |b| b.ready = false) == 1,
        "one container",
    )?;
    eventually("not ready after failing probes", Duration::from_secs(10), async || {
        Ok(!ready().await?)
    })
    .await?;
    cluster.nodes().set_behaviour("probe", &pod.hash, |b| b.ready = true);
    eventually("ready again", Duration::from_secs(10), ready).await
}

async fn a_crashing_container_is_restarted_with_back_off(cluster: Arc<Cluster>) -> Outcome {
    application(
        &cluster,
        "crash",
        1,
        json!({"image": "demo:v1", "env": [{"name": "CRASH_ON_START", "value": "true"}]}),
    )
    .await?;
    let api = pods(&cluster, "crash");
    eventually("CrashLoopBackOff with restarts", Duration::from_secs(20), async || {
        let list = api.list(&Default::default()).await?;
        let found = list.items.first().and_then(|pod| {
            let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.clone();
            let reason = status.state?.waiting?.reason?;
            Some((reason, status.restart_count, status.last_state?.terminated?.exit_code))
        });
        Ok(found.is_some_and(|(reason, restarts, code)| reason == "CrashLoopBackOff" && restarts >= 1 && code == 1))
    })
    .await?;
    cluster
        .kubectl(&["delete", "namespace", "crash", "--wait=false"])
        .await?;
    Ok(())
}

async fn a_job_runs_to_its_end(cluster: Arc<Cluster>) -> Outcome {
    for (name, image) in [("well", "job:ok"), ("ill", "job:fail")] {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "job", "image": image}]}}},
        });
        cluster.apply(&job.to_string()).await?;
    }
    cluster
        .kubectl(&["wait", "job/well", "--for=condition=Complete", "--timeout=30s"])
        .await?;
    cluster
        .kubectl(&["wait", "job/ill", "--for=condition=Failed", "--timeout=30s"])
        .await?;
    Ok(())
}

async fn errors_and_latency_come_as_asked_and_prometheus_sees_them(cluster: Arc<Cluster>) -> Outcome {
    let environment = json!([
        {"name": "ERROR_RATE", "value": "0.1"}, {"name": "LATENCY_MS", "value": "600"}, {"name": "LATENCY_SHARE", "value": "0.5"},
    ]);
    application(&cluster, "faults", 1, json!({"image": "demo:v1", "env": environment})).await?;
    eventually("answers", Duration::from_secs(30), async || {
        Ok(load(&cluster, "faults", 50.0)
            .next(1)
            .await
            .by_code()
            .contains_key("200"))
    })
    .await?;
    let load = load(&cluster, "faults", 50.0);
    let report = load.next(400).await;
    let failed = report.failures().len();
    ensure((36..=44).contains(&failed), format!("10% errors asked: {report}"))?;
    let slow = report.quantile(0.9).unwrap_or_default();
    ensure(
        slow >= Duration::from_millis(600) && report.quantile(0.4) < Some(Duration::from_millis(200)),
        format!("half should take 600 ms more: {report}"),
    )?;
    let by_code = "sum by (code) (increase(http_requests_total{namespace=\"faults\",service=\"demo\"}[20s]))";
    eventually("the error rate in Prometheus", Duration::from_secs(30), async || {
        let samples = cluster.query(by_code).await?;
        let of = |code: &str| {
            samples
                .iter()
                .find(|s| s.labels["code"] == code)
                .map_or(0.0, |s| s.value)
        };
        let rate = of("500") / (of("500") + of("200"));
        Ok((rate - 0.1).abs() < 0.02)
    })
    .await?;
    let p99 =
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{namespace=\"faults\"}[20s])))";
    let samples = cluster.query(p99).await?;
    ensure(
        samples.first().is_some_and(|s| (0.6..0.8).contains(&s.value)),
        format!("p99 of about 0.61 s: {samples:?}"),
    )
}

async fn a_label_taken_off_the_pod_empties_the_query(cluster: Arc<Cluster>) -> Outcome {
    application(&cluster, "label", 1, json!({"image": "demo:v1"})).await?;
    serving(&cluster, "label", 1).await?;
    let pod = cluster
        .nodes()
        .pods()
        .into_iter()
        .find(|p| p.namespace == "label")
        .ok_or("no pod")?;
    let api = pods(&cluster, "label");
    let set = async |value: serde_json::Value| {
        let patch = json!({"metadata": {"labels": {"rollouts-pod-template-hash": value}}});
        api.patch(&pod.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
    };
    set(json!("abc")).await?;
    let query = "http_requests_total{namespace=\"label\",rollouts_pod_template_hash=\"abc\"}";
    eventually("a series with the label", Duration::from_secs(30), async || {
        Ok(!cluster.query(query).await?.is_empty())
    })
    .await?;
    set(serde_json::Value::Null).await?;
    eventually("no series with the label", Duration::from_secs(30), async || {
        Ok(cluster.query(query).await?.is_empty())
    })
    .await
}

async fn prometheus_keeps_its_data_over_a_restart(cluster: Arc<Cluster>) -> Outcome {
    eventually("a first sample", Duration::from_secs(30), async || {
        Ok(!cluster.query("up{job=\"prometheus\"}").await?.is_empty())
    })
    .await?;
    let rule = "groups: [{name: test, rules: [{record: \"test:up\", expr: \"up{job='prometheus'} + 1\"}]}]";
    cluster.add_rules("test", rule).await?;
    ensure(
        cluster.add_rules("broken", "groups: 7").await.is_err(),
        "a broken rule file was taken",
    )?;
    std::fs::remove_file(cluster.dir().join("prometheus/rules/broken.yml"))?;
    eventually("the recorded series", Duration::from_secs(20), async || {
        Ok(!cluster.query("test:up").await?.is_empty())
    })
    .await?;
    let before = cluster.query("count_over_time(up{job=\"prometheus\"}[10m])").await?;
    cluster.stop_component(Component::Prometheus).await?;
    ensure(cluster.query("up").await.is_err(), "a stopped Prometheus answered")?;
    cluster.start_component(Component::Prometheus).await?;
    let after = cluster.query("count_over_time(up{job=\"prometheus\"}[10m])").await?;
    let count = |samples: &[serin_cluster::Sample]| samples.first().map_or(0.0, |s| s.value);
    ensure(
        count(&before) > 0.0 && count(&after) >= count(&before),
        format!("before {before:?}, after {after:?}"),
    )
}

async fn the_cluster_goes_on_after_the_api_server_was_away(cluster: Arc<Cluster>) -> Outcome {
    application(&cluster, "away", 1, json!({"image": "demo:v1"})).await?;
    serving(&cluster, "away", 1).await?;
    let load = load(&cluster, "away", 50.0);
    cluster.kill_component(Component::ApiServer).await?;
    ensure(
        cluster.client().apiserver_version().await.is_err(),
        "a killed API server answered",
    )?;
    let during = load.next(100).await;
    ensure(
        during.failures().is_empty(),
        format!("traffic needs no API server: {during}"),
    )?;
    cluster.start_component(Component::ApiServer).await?;
    cluster
        .kubectl(&["-n", "away", "scale", "deployment/demo", "--replicas=3"])
        .await?;
    serving(&cluster, "away", 3).await
}

async fn a_frozen_component_goes_on_where_it_was(cluster: Arc<Cluster>) -> Outcome {
    cluster
        .signal_component(Component::ControllerManager, Signal::Stop)
        .await?;
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "frozen"}}).to_string())
        .await?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(cluster.client(), "frozen");
    let until = now() + Duration::from_secs(1);
    while now() < until {
        ensure(
            accounts.get_opt("default").await?.is_none(),
            "a frozen controller manager was at work",
        )?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster
        .signal_component(Component::ControllerManager, Signal::Cont)
        .await?;
    eventually("the ServiceAccount", Duration::from_secs(20), async || {
        Ok(accounts.get_opt("default").await?.is_some())
    })
    .await
}

async fn the_audit_log_names_users_verbs_and_versions(cluster: Arc<Cluster>) -> Outcome {
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "audit"}}).to_string())
        .await?;
    cluster.apply(&service("audit", "demo").to_string()).await?;
    eventually("the write in the audit log", Duration::from_secs(10), async || {
        let text = std::fs::read_to_string(cluster.audit_log())?;
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        Ok(events.into_iter().any(|event| {
            event["user"]["username"] == "admin"
                && event["verb"] == "patch"
                && event["objectRef"]["resource"] == "services"
                && event["objectRef"]["namespace"] == "audit"
                && event["requestObject"]["spec"]["selector"]["app"] == "demo"
                && event["responseObject"]["metadata"]["resourceVersion"].is_string()
        }))
    })
    .await
}

async fn the_real_controller_binary_runs_as_a_pod_with_its_account(cluster: Arc<Cluster>) -> Outcome {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "serin", "namespace": "serin"}});
    let mut controller = deployment(
        "serin",
        "serin",
        1,
        json!({"image": "ghcr.io/example/serin:v1", "args": ["controller", "--pod=$(POD_NAME)"]}),
    );
    controller["spec"]["template"]["spec"]["serviceAccountName"] = "serin".into();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serin"}});
    for document in [namespace, account, controller] {
        cluster.apply(&document.to_string()).await?;
    }
    let pod = || {
        cluster
            .nodes()
            .pods()
            .into_iter()
            .find(|p| p.namespace == "serin" && p.pid.is_some())
    };
    eventually("a process", Duration::from_secs(20), async || Ok(pod().is_some())).await?;
    let first = pod().ok_or("no process")?;
    let log = cluster.logs().join(format!("pods/serin_{}_app.log", first.name));
    eventually("its account", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&log)?;
        let hello = format!(
            "args controller --pod={} pod serin/{} ip {}",
            first.name, first.name, first.ip
        );
        Ok(text.contains(&hello) && text.contains("system:serviceaccount:serin:serin"))
    })
    .await?;
    cluster.nodes().signal("serin", &first.name, Signal::Kill).await?;
    eventually("a new process after SIGKILL", Duration::from_secs(20), async || {
        Ok(pod().is_some_and(|p| p.uid == first.uid && p.pid != first.pid && p.restarts == 1))
    })
    .await?;
    let second = pod().and_then(|p| p.pid).ok_or("no process")?;
    cluster
        .kubectl(&["delete", "namespace", "serin", "--timeout=60s"])
        .await?;
    ensure(
        !std::path::Path::new(&format!("/proc/{second}")).exists(),
        "the process of a deleted pod lives",
    )
}

async fn prometheus_is_found_by_its_usual_name(cluster: Arc<Cluster>) -> Outcome {
    let address = tokio::net::lookup_host("prometheus.monitoring.svc:9090")
        .await?
        .next()
        .ok_or("no address")?;
    ensure(
        cluster.prometheus_url().ends_with(&address.to_string()),
        format!("it leads to {address}"),
    )
}

/// A command that runs `serin-cluster` as from outside a namespace.
fn serin_cluster(arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_serin-cluster"));
    command
        .args(arguments)
        .env_remove("SERIN_CLUSTER_STAGE")
        .kill_on_drop(true);
    command
}

/// Whether a process with this argument runs in our process namespace or one below it.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes.into_iter().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"sleep") && line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

async fn nothing_is_left_of_a_namespace_whose_owner_was_killed(_: Arc<Cluster>) -> Outcome {
    let mut owner = serin_cluster(&["enter", "--", "sleep", "98765"]).spawn()?;
    eventually("the command inside", Duration::from_secs(20), async || {
        Ok(runs("98765"))
    })
    .await?;
    owner.kill().await?;
    eventually("the end of the command inside", Duration::from_secs(10), async || {
        Ok(!runs("98765"))
    })
    .await
}

async fn the_exit_code_of_a_command_inside_is_passed_on(_: Arc<Cluster>) -> Outcome {
    let status = serin_cluster(&["enter", "--", "sh", "-c", "exit 7"]).status().await?;
    ensure(
        status.code() == Some(7),
        format!("the command exits with 7, serin-cluster with {status}"),
    )
}
