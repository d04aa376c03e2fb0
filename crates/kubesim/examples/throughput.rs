//! How fast a cluster answers, through kube's client in virtual time: requests a second of wall-clock time for get, patch,
//! list and watch events. Run it with `cargo run --release -p serin-kubesim --example throughput`.

use std::{sync::Arc, time::Instant};

use futures::TryStreamExt;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use serin_kubesim::{Cluster, Crd, Options};

const ROUNDS: u32 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let definition: Value = serde_saphyr::from_str(include_str!("../../../deploy/crds/rollouts-crd.yaml"))?;
    let began = Instant::now();
    let crd = Crd::parse(&definition)?;
    println!("definition parsed in {:?}", began.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(measure(&crd))
}

fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": 60}}]}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

async fn measure(crd: &Arc<Crd>) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    for seed in 0..1000 {
        let options = Options {
            seed,
            ..Options::default()
        };
        Cluster::new(options).register(crd);
    }
    println!("a cluster is made in {:?}", began.elapsed() / 1000);
    let cluster = Cluster::new(Options::default());
    cluster.register(crd);
    let kind = ApiResource {
        group: "argoproj.io".into(),
        version: "v1alpha1".into(),
        api_version: "argoproj.io/v1alpha1".into(),
        kind: "Rollout".into(),
        plural: "rollouts".into(),
    };
    let api: Api<DynamicObject> = Api::default_namespaced_with(cluster.client("bench"), &kind);
    for i in 0..10 {
        cluster.create("bench", "rollouts", rollout(&format!("r{i}")))?;
    }
    let began = Instant::now();
    for i in 0..ROUNDS {
        api.get(&format!("r{}", i % 10)).await?;
    }
    report("get", began);
    let began = Instant::now();
    for i in 0..ROUNDS {
        let patch = json!({"spec": {"replicas": i}});
        api.patch(&format!("r{}", i % 10), &PatchParams::default(), &Patch::Merge(patch))
            .await?;
    }
    report("merge patch of the spec", began);
    let began = Instant::now();
    for i in 0..ROUNDS {
        let patch = json!({"status": {"phase": "Progressing", "message": i.to_string()}});
        let params = PatchParams::default();
        api.patch_status(&format!("r{}", i % 10), &params, &Patch::Merge(patch))
            .await?;
    }
    report("merge patch of the status", began);
    let began = Instant::now();
    for _ in 0..ROUNDS {
        api.list(&ListParams::default()).await?;
    }
    report("list of ten", began);
    let began = Instant::now();
    let patch = serin_kubesim::Patch::Merge(json!({"status": {"phase": "Paused"}}));
    for i in 0..ROUNDS {
        let patch = if i % 2 == 0 {
            patch.clone()
        } else {
            serin_kubesim::Patch::Merge(json!({"status": {"phase": "Healthy"}}))
        };
        cluster.patch("bench", "rollouts", "default", "r1", Some("status"), &patch)?;
    }
    report("patch without a request", began);
    let stream = watcher(api, watcher::Config::default()).applied_objects();
    tokio::pin!(stream);
    for _ in 0..10 {
        stream.try_next().await?;
    }
    let began = Instant::now();
    for i in 0..ROUNDS / 10 {
        for j in 0..10 {
            let patch = serin_kubesim::Patch::Merge(json!({"status": {"message": i.to_string()}}));
            cluster.patch("bench", "rollouts", "default", &format!("r{j}"), Some("status"), &patch)?;
        }
        for _ in 0..10 {
            stream.try_next().await?;
        }
    }
    report("patch without a request, and its watch event", began);
    Ok(())
}

fn report(what: &str, began: Instant) {
    let each = began.elapsed() / ROUNDS;
    println!("{what}: {:.0} a second ({each:?} each)", 1.0 / each.as_secs_f64());
}
