//! `serin check`, the built program, on a real API server: broken installations, one after another, each put right again.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
};

use super::gate;
use crate::{
    app::{self, CANARY, NAME, STABLE},
    install,
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

const LEASE: &str = "argo-rollouts-controller-lock";
/// Nothing else of the test cluster listens there: beyond the pods' addresses, and not the gateway's.
const FORWARDER: &str = "10.244.255.77";

pub(super) fn tests(round: usize) -> Vec<Test> {
    let name = format!("checked-{round}");
    let other = format!("checked-argo-{round}");
    let mut all = vec![
        Test::new(
            Stage::Alone,
            "serin check passes a sound installation and names what is broken around a Rollout",
            async move |world| around_a_rollout(&world, &name).await,
        ),
        Test::new(
            Stage::Alone,
            "serin check names a verb that the controller's role does not grant",
            async |world| missing_verb(&world).await,
        ),
        Test::new(
            Stage::Alone,
            "serin check names a Lease that somebody else holds, and one that has expired",
            async |world| lease(&world).await,
        ),
        Test::new(
            Stage::Alone,
            "serin check names a second controller",
            async move |world| second_controller(&world, &other).await,
        ),
    ];
    if round == 0 {
        all.insert(
            0,
            Test::new(
                Stage::Before,
                "serin check --pre finds a cluster ready, and names definitions that are missing or others'",
                async |world| definitions(&world).await,
            ),
        );
    }
    all
}

/// What `serin check -o json` said.
struct Said {
    code: i32,
    report: Value,
}

async fn check(world: &World, arguments: &[&str]) -> Result<Said> {
    let output = Command::new(&world.serin)
        .args(["check", "-o", "json"])
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", world.cluster().kubeconfig())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("start {}", world.serin.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("serin check {}: {}", arguments.join(" "), errors.trim()))?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        report,
    })
}

impl Said {
    /// What did not pass.
    fn wrong(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().into_iter().flatten();
        checks
            .filter(|c| c["status"] != "pass")
            .map(|c| {
                let part = |field: &str| c[field].as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {} [{}] {} -> {}",
                    part("status"),
                    part("id"),
                    part("object"),
                    part("seen"),
                    part("advice")
                )
            })
            .collect()
    }

    /// Only this is wrong: `status id`, and all these words are said.
    fn only(&self, what: &str, says: &[&str]) -> Result<()> {
        let wrong = self.wrong();
        let begins = format!("{what} ");
        ensure!(
            !wrong.is_empty() && wrong.iter().all(|w| w.starts_with(&begins)),
            "{what} alone was expected:\n  {}",
            wrong.join("\n  ")
        );
        for part in says {
            ensure!(
                wrong.iter().any(|w| w.contains(part)),
                "{part:?} is not said:\n  {}",
                wrong.join("\n  ")
            );
        }
        let code = i32::from(what.starts_with("fail"));
        ensure!(self.code == code, "exit code {} for {what}", self.code);
        Ok(())
    }

    fn fine(&self) -> Result<()> {
        let wrong = self.wrong();
        ensure!(
            wrong.is_empty() && self.code == 0,
            "exit code {}:\n  {}",
            self.code,
            wrong.join("\n  ")
        );
        Ok(())
    }
}

// === before ===

async fn definitions(world: &World) -> Result<String> {
    let pre = check(world, &["--pre"]).await?;
    pre.fine()?;
    let kubectl = async |arguments: &[&str]| world.cluster().kubectl(arguments).await;
    let name = "analysisruns.argoproj.io";
    kubectl(&["delete", "crd", name]).await?;
    let missing = check(world, &[]).await?;
    let file = install::deploy_folder().join("crds/analysisruns-crd.yaml");
    let file = file.to_str().context("a path that is no text")?;
    kubectl(&["create", "-f", file]).await?;
    install::eventually("the definition is served again", Duration::from_secs(30), async || {
        check(world, &["--pre"]).await?.fine().map(Some)
    })
    .await?;
    let is_named = missing
        .wrong()
        .iter()
        .any(|w| w.starts_with("fail crd ") && w.contains(name));
    ensure!(is_named && missing.code == 1, "{:?}", missing.wrong());

    // As Argo Rollouts of some years ago had it.
    let name = "rollouts.argoproj.io";
    let stored: Value = serde_json::from_str(&kubectl(&["get", "crd", name, "-o", "json"]).await?)?;
    let mut others = stored.clone();
    others["metadata"]["labels"] = Value::Null;
    others["metadata"]["annotations"] = json!({"controller-gen.kubebuilder.io/version": "v0.14.0"});
    let fields = others.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
    let fields = fields.and_then(Value::as_object_mut).context("the schema has a spec")?;
    fields
        .remove("rollbackWindow")
        .context("the schema has rollbackWindow")?;
    replace(world, &others).await?;
    let pruned = check(world, &["--pre"]).await;
    replace(world, &stored).await?;
    pruned?.only("warn crd-schema", &["Argo Rollouts'", "spec.rollbackWindow"])?;
    check(world, &["--pre"]).await?.fine()?;
    Ok("ready, missing, others'".to_owned())
}

/// Writes an object over what is there, whatever its version.
async fn replace(world: &World, object: &Value) -> Result<()> {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    let path = world.cluster().dir().join("replaced.json");
    std::fs::write(&path, object.to_string())?;
    let path = path.to_str().context("a path that is no text")?;
    world.cluster().kubectl(&["replace", "-f", path]).await?;
    Ok(())
}

// === around a Rollout ===

async fn around_a_rollout(world: &World, namespace: &str) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    gate::create(&space).await?;
    let steps = json!([{"setWeight": 50}, {"analysis": gate::analysis(namespace, "2s", 2)}, {"pause": {}}]);
    space
        .create(app::behind_the_gateway(namespace, 2, steps, json!({})))
        .await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    let load = space.load(50.0);
    let here = ["-n", namespace];
    // Until Prometheus has seen the pods and recorded something.
    let sound = install::eventually("serin check finds nothing wrong", Duration::from_secs(60), async || {
        let said = check(world, &here).await?;
        said.fine().map(|()| Some(said))
    })
    .await?;
    let passed = sound.report["passed"].as_u64().unwrap_or(0);
    ensure!(passed > 30, "only {passed} checks");
    let strict = check(world, &["-n", namespace, "--strict"]).await?;
    ensure!(strict.code == 0, "--strict ends with {}", strict.code);

    let one_backend = json!([{"backendRefs": [{"name": STABLE, "port": 80}]}]);
    let both = app::route(namespace)["spec"]["rules"].clone();
    space
        .merge("HTTPRoute", NAME, None, &json!({"spec": {"rules": one_backend}}))
        .await?;
    let said = check(world, &here).await;
    space
        .merge("HTTPRoute", NAME, None, &json!({"spec": {"rules": both}}))
        .await?;
    said?.only("fail route-backends", &["HTTPRoute", CANARY, "backendRefs"])?;

    space
        .merge(
            "Service",
            CANARY,
            None,
            &json!({"spec": {"selector": {"app": "other"}}}),
        )
        .await?;
    let said = check(world, &here).await;
    space
        .merge("Service", CANARY, None, &json!({"spec": {"selector": {"app": NAME}}}))
        .await?;
    said?.only(
        "fail service-selector",
        &["demo-canary", "app=other", "spec.template.metadata.labels"],
    )?;

    apply(world, namespace, json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": NAME},
        "spec": {"minReplicas": 2, "maxReplicas": 4, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}},
    }))
    .await?;
    let said = check(world, &here).await;
    delete(world, namespace, "hpa", NAME).await?;
    said?.only("fail autoscaler", &["still scales Deployment demo", "kind: Rollout"])?;

    apply(
        world,
        namespace,
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": NAME},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": NAME}}},
        }),
    )
    .await?;
    let said = check(world, &here).await;
    delete(world, namespace, "pdb", NAME).await?;
    said?.only("warn disruption-budget", &["maxUnavailable 0", "cannot be drained"])?;

    prometheus(world, namespace).await?;
    relabelling(&space).await?;
    drop(load);
    Ok(format!(
        "{passed} checks passed, then each of six breakages was named alone"
    ))
}

async fn apply(world: &World, namespace: &str, mut object: Value) -> Result<()> {
    object["metadata"]["namespace"] = namespace.into();
    Ok(world.cluster().apply(&object.to_string()).await?)
}

async fn delete(world: &World, namespace: &str, kind: &str, name: &str) -> Result<()> {
    world
        .cluster()
        .kubectl(&["-n", namespace, "delete", kind, name])
        .await?;
    Ok(())
}

/// One that does not answer, one that is no Service, and one that only the API server reaches by its name.
async fn prometheus(world: &World, namespace: &str) -> Result<()> {
    let with = async |address: &str| check(world, &["-n", namespace, "--prometheus", address]).await;
    with("http://127.0.0.1:1")
        .await?
        .only("fail prometheus", &["connection refused"])?;
    let missing = format!("http://nowhere.{namespace}.svc:9090");
    with(&missing)
        .await?
        .only("fail prometheus", &[&format!("no Service {namespace}/nowhere")])?;

    let listener = TcpListener::bind((FORWARDER, 0)).await?;
    let port = listener.local_addr()?.port();
    let inner = world.cluster().prometheus_url();
    let target = inner.trim_start_matches("http://").to_owned();
    let forwarder = tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                if let Ok(mut there) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                }
            });
        }
    });
    // The API server passes requests on to addresses of pods only. This one is nobody's but ours.
    let pod = json!({"kind": "Pod", "namespace": namespace, "name": "prometheus"});
    apply(
        world,
        namespace,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "prometheus"},
            "spec": {"nodeName": "elsewhere", "containers": [{"name": "prometheus", "image": "prometheus"}]},
        }),
    )
    .await?;
    let running =
        Patch::Merge(json!({"status": {"phase": "Running", "podIP": FORWARDER, "podIPs": [{"ip": FORWARDER}]}}));
    let pods = world.api("Pod", namespace);
    pods.patch_status("prometheus", &PatchParams::default(), &running)
        .await?;
    apply(
        world,
        namespace,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "prometheus"},
            "spec": {"ports": [{"name": "http", "port": 9090, "targetPort": port}]},
        }),
    )
    .await?;
    apply(
        world,
        namespace,
        json!({
            // Its proxy reads these, and not EndpointSlices; this cluster has no controller that makes them.
            "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "prometheus"},
            "subsets": [{"addresses": [{"ip": FORWARDER, "targetRef": pod}], "ports": [{"name": "http", "port": port}]}],
        }),
    )
    .await?;
    let address = format!("http://prometheus.{namespace}.svc:9090");
    // The API server looks its endpoints up in a cache of its own.
    let proxied = install::eventually(
        "Prometheus is asked through the API server",
        Duration::from_secs(15),
        async || {
            let said = with(&address).await?;
            said.fine().map(|()| Some(said))
        },
    )
    .await;
    forwarder.abort();
    delete(world, namespace, "service", "prometheus").await?;
    let now = kube::api::DeleteParams::default().grace_period(0);
    pods.delete("prometheus", &now).await?;
    let said = proxied?.report.to_string();
    ensure!(said.contains("asked through the API server"), "{said}");
    Ok(())
}

/// A real Prometheus whose series do not have the label.
async fn relabelling(space: &Space) -> Result<()> {
    let query = "up{job=\"traefik\",rollouts_pod_template_hash=\"{{args.hash}}\"}";
    let metric =
        json!({"name": "up", "successCondition": "result[0] > 0", "provider": {"prometheus": {"query": query}}});
    space
        .create([app::template("unlabelled", json!([{"name": "hash"}]), metric)])
        .await?;
    let given = json!([{"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}}]);
    let steps =
        json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": "unlabelled"}], "args": given}}]);
    space
        .merge(
            "Rollout",
            NAME,
            None,
            &json!({"spec": {"strategy": {"canary": {"steps": steps}}}}),
        )
        .await?;
    space.healthy(SOON).await?;
    check(&space.world, &["-n", &space.namespace]).await?.only(
        "fail hash-label",
        &[
            "has 1 series, and none has the label rollouts_pod_template_hash",
            "relabel_configs",
            "podTargetLabels",
        ],
    )
}

// === the controller ===

/// Cluster-wide lines only: no Rollouts are in this namespace.
const NOWHERE: [&str; 2] = ["-n", "default"];

async fn missing_verb(world: &World) -> Result<String> {
    check(world, &NOWHERE).await?.fine()?;
    let text = world
        .cluster()
        .kubectl(&["get", "clusterrole", "serin-controller", "-o", "json"])
        .await?;
    let stored: Value = serde_json::from_str(&text)?;
    let mut changed = stored.clone();
    let rules = changed["rules"].as_array_mut().context("a role without rules")?;
    let routes = rules.iter_mut().find(|rule| rule["resources"] == json!(["services"]));
    let verbs = routes.and_then(|rule| rule["verbs"].as_array_mut());
    verbs.context("a rule for Services")?.retain(|verb| verb != "patch");
    replace(world, &changed).await?;
    // The API server's authoriser follows in its own time.
    let said = install::eventually("the verb is missed", Duration::from_secs(15), async || {
        let said = check(world, &NOWHERE).await?;
        Ok((!said.wrong().is_empty()).then_some(said))
    })
    .await;
    replace(world, &stored).await?;
    said?.only(
        "fail rights",
        &["may not patch services", "canary and stable pods", "cluster-role.yaml"],
    )?;
    install::eventually("the verb is there again", Duration::from_secs(15), async || {
        Ok(check(world, &NOWHERE).await?.fine().ok())
    })
    .await?;
    Ok(String::new())
}

async fn lease(world: &World) -> Result<String> {
    let api = world.api("Lease", install::NAMESPACE);
    let write = async |holder: &str, ago: i64, seconds: i64| -> Result<()> {
        let at = serin_cluster::now() - chrono::TimeDelta::seconds(ago);
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let spec =
            json!({"holderIdentity": holder, "renewTime": at, "acquireTime": at, "leaseDurationSeconds": seconds});
        let patch = Patch::Merge(json!({"spec": spec}));
        api.patch(LEASE, &PatchParams::default(), &patch).await?;
        Ok(())
    };
    // The one that leads notices at its next renewal, two seconds later at most.
    let until_named = async |what: &str, part: &str| {
        install::eventually(what, Duration::from_secs(20), async || {
            let said = check(world, &NOWHERE).await?;
            said.only("fail lease", &[part]).map(Some)
        })
        .await
    };
    write("laptop_7", 0, 600).await?;
    let held = until_named("the Lease is somebody else's", "held by laptop_7, which is no pod").await;
    // Those who wait begin to wait anew with every change that they see.
    write("gone_8", 3600, 30).await?;
    let expired = until_named("the Lease has expired", "gone_8 held it last").await;
    write("", 0, 1).await?;
    install::ready(world).await?;
    held?;
    expired?;
    check(world, &NOWHERE).await?.fine()?;
    Ok(String::new())
}

async fn second_controller(world: &World, namespace: &str) -> Result<String> {
    let labels =
        json!({"app.kubernetes.io/name": "argo-rollouts", "app.kubernetes.io/component": "rollouts-controller"});
    let container = json!({"name": "argo-rollouts", "image": "quay.io/argoproj/argo-rollouts:v1.8.3"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "argo-rollouts", "namespace": namespace, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    });
    let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let object: DynamicObject = serde_json::from_value(own)?;
    world
        .api_all("Namespace")
        .create(&PostParams::default(), &object)
        .await?;
    apply(world, namespace, deployment).await?;
    let said = check(world, &NOWHERE).await;
    let pre = check(world, &["--pre"]).await;
    world
        .cluster()
        .kubectl(&["delete", "namespace", namespace, "--wait=false"])
        .await?;
    delete(world, namespace, "deployment", "argo-rollouts").await.ok();
    said?.only(
        "fail two-controllers",
        &[&format!("Deployment {namespace}/argo-rollouts"), "at the same time"],
    )?;
    let pre = pre?;
    let is_named = pre
        .wrong()
        .iter()
        .any(|w| w.starts_with("fail controller ") && w.contains("keep the two apart"));
    ensure!(is_named && pre.code == 1, "{:?}", pre.wrong());
    install::eventually("it is gone", Duration::from_secs(20), async || {
        let said = check(world, &NOWHERE).await?;
        said.fine().map(Some).map_err(|e| anyhow!("{e}"))
    })
    .await?;
    Ok(String::new())
}
