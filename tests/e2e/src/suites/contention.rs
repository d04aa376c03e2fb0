//! Other people write to the same objects all the time: the release goes on all the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    app::{self, CANARY, NAME, STABLE},
    audit_log,
    runner::{Stage, Test},
    space::{SOON, Space},
    stub::Stub,
    world::World,
};

/// What is read again after a conflict.
const READ_AGAIN: [&str; 5] = ["rollouts", "replicasets", "services", "httproutes", "analysisruns"];
/// Releases until every kind has had its conflict, at most.
const RELEASES: usize = 12;

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![Test::new(
        Stage::Alone,
        "a release goes on while others write to all of its objects, and what changed is read again",
        async move |world| contended(&world, &format!("busy-{round}")).await,
    )]
}

async fn contended(world: &World, namespace: &str) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    let source = format!("{namespace}.m");
    world.stub.answer(&source, json!([0]));
    let metric = json!({
        "name": "m", "interval": "1s", "count": 2, "successCondition": "result[0] == 0",
        "provider": {"prometheus": {"address": Stub::address(&source), "query": "x"}},
    });
    space.create([app::template("check", json!([]), metric)]).await?;
    let analysis = json!({"analysis": {"templates": [{"templateName": "check"}]}});
    let steps = json!([{"setWeight": 20}, analysis, {"setWeight": 40}, {"setWeight": 60}, {"setWeight": 80}]);
    space
        .create(app::behind_the_gateway(
            namespace,
            2,
            steps,
            json!({"scaleDownDelaySeconds": 1}),
        ))
        .await?;
    space.healthy(SOON).await?;
    let begin = serin_cluster::now();
    let (mut conflicts, mut releases) = (0, 0);
    while releases < RELEASES {
        releases += 1;
        space.set_image(&format!("demo:v{}", releases + 1)).await?;
        let done = space.healthy(Duration::from_secs(90));
        tokio::select! {
            biased;
            result = done => result?,
            () = meddle(&space) => {}
        }
        let requests: Vec<_> = audit_log::read(world)?.into_iter().filter(|r| r.at > begin).collect();
        conflicts = requests
            .iter()
            .filter(|r| r.namespace == namespace && r.is_write() && !r.is_done())
            .count();
        if READ_AGAIN
            .iter()
            .all(|kind| requests.iter().any(|r| r.verb == "get" && r.resource == *kind))
        {
            break;
        }
    }
    ensure!(conflicts > 0, "no write was ever refused: nothing was tested");
    let events = space.recorder.seen().events();
    let alarms: Vec<_> = events.iter().filter(|(kind, ..)| kind == "Warning").collect();
    ensure!(alarms.is_empty(), "conflicts were told to the user: {alarms:?}");
    Ok(format!("{releases} releases, {conflicts} writes refused and repeated"))
}

/// Changes an annotation of every object, over and over.
async fn meddle(space: &Space) {
    let params = PatchParams::default();
    for n in 0_u64.. {
        let mut objects = vec![("Rollout", NAME.to_owned()), ("HTTPRoute", NAME.to_owned())];
        objects.extend([CANARY, STABLE].map(|name| ("Service", name.to_owned())));
        {
            let seen = space.recorder.seen();
            for kind in ["ReplicaSet", "AnalysisRun"] {
                let names = seen
                    .all(kind)
                    .into_iter()
                    .filter_map(|o| o["metadata"]["name"].as_str());
                objects.extend(names.map(|name| (kind, name.to_owned())));
            }
        }
        let writes = objects.into_iter().map(|(kind, name)| {
            let (space, params) = (&space, &params);
            async move {
                let patch = json!({"metadata": {"annotations": {"example.com/meddled": n.to_string()}}});
                // An object that is gone by now needs no annotation.
                let _ = space
                    .world
                    .api(kind, &space.namespace)
                    .patch(&name, params, &Patch::Merge(patch))
                    .await;
            }
        });
        futures::future::join_all(writes).await;
    }
}
