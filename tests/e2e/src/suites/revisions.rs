//! What people change while a canary is under way: another image, the stable one again, the size.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::{
    app::{self, NAME},
    recorder::Seen,
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    let test = |name: &'static str, run: fn(World, String) -> LocalBoxFuture<'static, Result<String>>, space: &str| {
        let namespace = format!("{space}-{round}");
        Test::new(Stage::Together, name, move |world| run(world, namespace)).on_both()
    };
    vec![
        test(
            "a new revision during a canary starts again at the first step and no request fails",
            |w, n| Box::pin(new_revision(w, n)),
            "newrev",
        ),
        test(
            "back to the stable image during a canary all traffic returns at once and no request fails",
            |w, n| Box::pin(rollback(w, n)),
            "rollback",
        ),
        test(
            "scaling and the scale subresource during a canary keep the share of pods and no request fails",
            |w, n| Box::pin(scale(w, n)),
            "scale",
        ),
        test(
            "history limits delete old ReplicaSets and old analysis runs",
            |w, n| Box::pin(history(w, n)),
            "history",
        ),
    ]
}

async fn start(world: &World, namespace: &str, replicas: i64) -> Result<Space> {
    let space = Space::new(world, namespace).await?;
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let more = json!({"scaleDownDelaySeconds": 2, "abortScaleDownDelaySeconds": 2});
    space
        .create(app::behind_the_gateway(namespace, replicas, steps, more))
        .await?;
    space.healthy(SOON).await?;
    space.reachable(SOON).await?;
    Ok(space)
}

fn weights(seen: &Seen) -> Vec<i64> {
    seen.weights(NAME, app::CANARY)
        .into_iter()
        .map(|(_, weight)| weight)
        .collect()
}

async fn new_revision(world: World, namespace: String) -> Result<String> {
    let space = start(&world, &namespace, 4).await?;
    let load = space.load(50.0);
    load.next(50).await;
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    let second = space.current();
    space.status(json!({"pauseConditions": null})).await?;
    space.paused_at(3, SOON).await?;

    space.set_image("demo:v3").await?;
    let is_new = |s: &Seen| {
        let status = s.status();
        let paused = serin_recordings::Seen::PausedAt(1).holds(s.rollout())?;
        (paused && status["currentPodHash"] != second.as_str()).then_some(())
    };
    space
        .until("the third revision is paused at its first weight", SOON, is_new)
        .await?;
    let third = space.current();
    let what = "the second revision is gone";
    space
        .until(what, SOON, |s| (Space::wanted(s, &second) == Some(0)).then_some(()))
        .await?;
    space.status(json!({"promoteFull": true})).await?;
    space.healthy(SOON).await?;
    ensure!(space.current() == third, "another revision was promoted");
    load.next(150).await;
    let report = load.stop();
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    let weights = weights(&space.recorder.seen());
    let after: Vec<i64> = weights.iter().copied().skip_while(|w| *w != 50).collect();
    ensure!(
        after.first() == Some(&50) && after.contains(&25),
        "the weights were {weights:?}"
    );
    Ok(format!("{} requests, 0 failed; weights {weights:?}", report.total()))
}

async fn rollback(world: World, namespace: String) -> Result<String> {
    let space = start(&world, &namespace, 4).await?;
    let old = space.current();
    let load = space.load(50.0);
    load.next(50).await;
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    let second = space.current();
    let begin = world.now();
    space.set_image("demo:v1").await?;
    let zero = |s: &Seen| {
        s.weights(NAME, app::CANARY)
            .last()
            .filter(|(_, w)| *w == 0)
            .map(|(at, _)| *at)
    };
    let at = space.until("the weight is 0", SOON, zero).await?;
    space.healthy(SOON).await?;
    ensure!(space.current() == old, "the stable revision is another one");
    let what = "the abandoned canary is scaled down";
    space
        .until(what, SOON, |s| (Space::wanted(s, &second) == Some(0)).then_some(()))
        .await?;
    ensure!(
        Space::wanted(&space.recorder.seen(), &old) == Some(4),
        "stable has not its four pods"
    );
    load.next(100).await;
    let report = load.stop();
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    let millis = (at - begin).num_milliseconds();
    Ok(format!(
        "weight 0 after {millis} ms; {} requests, 0 failed",
        report.total()
    ))
}

async fn scale(world: World, namespace: String) -> Result<String> {
    let space = start(&world, &namespace, 4).await?;
    let old = space.current();
    let load = space.load(50.0);
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    let new = space.current();
    let sized = async |stable: i64, canary: i64| {
        let what = format!("{stable} stable and {canary} canary pods, reported to an autoscaler");
        space
            .until(&what, SOON, |s| {
                let status = s.status();
                let done = (Space::wanted(s, &old), Space::wanted(s, &new)) == (Some(stable), Some(canary))
                    && status["HPAReplicas"] == stable + canary
                    && status["availableReplicas"] == stable + canary;
                done.then_some(())
            })
            .await
    };
    sized(4, 1).await?;
    // As an autoscaler does it.
    space
        .merge("Rollout", NAME, Some("scale"), &json!({"spec": {"replicas": 8}}))
        .await?;
    sized(8, 2).await?;
    let scale: Value = serde_json::to_value(world.api("Rollout", &namespace).get_scale(NAME).await?)?;
    ensure!(
        scale["status"]["selector"] == "app=demo",
        "the scale subresource says {scale}"
    );
    ensure!(
        scale["status"]["replicas"] == 10 && scale["spec"]["replicas"] == 8,
        "the scale subresource says {scale}"
    );
    space
        .merge("Rollout", NAME, None, &json!({"spec": {"replicas": 2}}))
        .await?;
    sized(2, 1).await?;
    let step = space.recorder.seen().status()["currentStepIndex"].clone();
    ensure!(step == 1, "scaling moved the release to step {step}");
    space.status(json!({"promoteFull": true})).await?;
    space.healthy(SOON).await?;
    load.next(150).await;
    let report = load.stop();
    ensure!(
        report.failures().is_empty(),
        "{report}; the first: {:?}",
        report.failures()[0]
    );
    Ok(format!("{} requests, 0 failed", report.total()))
}

async fn history(world: World, namespace: String) -> Result<String> {
    let space = Space::new(&world, &namespace).await?;
    let source = format!("{namespace}.m");
    world.stub.answer(&source, json!([0]));
    let metric = json!({
        "name": "m", "successCondition": "result[0] == 0",
        "provider": {"prometheus": {"address": crate::stub::Stub::address(&source), "query": "x"}},
    });
    space.create([app::template("check", json!([]), metric)]).await?;
    let steps = json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": "check"}]}}]);
    let mut rollout = app::rollout(1, json!({"steps": steps}));
    rollout["spec"]["revisionHistoryLimit"] = 1.into();
    rollout["spec"]["analysis"] = json!({"successfulRunHistoryLimit": 1, "unsuccessfulRunHistoryLimit": 1});
    space.create([rollout]).await?;
    space.healthy(SOON).await?;
    for n in 2..=4 {
        space.set_image(&format!("demo:v{n}")).await?;
        space
            .until("the new image is seen", SOON, |s| {
                let current = s.status()["observedGeneration"].as_str()?.parse::<i64>().ok()?;
                (current >= n).then_some(())
            })
            .await?;
        space.healthy(SOON).await?;
    }
    let kept = |s: &Seen| (s.all("ReplicaSet").len(), s.all("AnalysisRun").len());
    space
        .until("two ReplicaSets and one run are left", Duration::from_secs(60), |s| {
            (kept(s) == (2, 1)).then_some(())
        })
        .await?;
    let all: std::collections::BTreeSet<String> = space
        .recorder
        .seen()
        .versions
        .iter()
        .filter(|v| v.kind == "AnalysisRun")
        .map(|v| v.name.clone())
        .collect();
    ensure!(all.len() == 3, "{} runs were made", all.len());
    Ok("of 4 ReplicaSets 2 are left, of 3 runs 1".to_owned())
}
