//! Abort, retry, promote, pause and undo by the very requests that the upstream plugin was recorded to send
//! (tests/recordings/plugin, compat 5.2).

use anyhow::{Context, Result, ensure};
use kube::client::Body;
use serde_json::{Value, json};

use crate::{
    app::{self, NAME},
    runner::{Stage, Test},
    space::{SOON, Space},
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    vec![
        Test::new(
            Stage::Together,
            "the plugin's patches abort, retry, promote a step and promote fully",
            async move |world| abort_retry_promote(&world, &format!("plugin-a-{round}")).await,
        )
        .on_both(),
        Test::new(
            Stage::Together,
            "the plugin's patches skip a step, a weight that never becomes ready and all steps",
            async move |world| skip(&world, &format!("plugin-b-{round}")).await,
        )
        .on_both(),
        Test::new(
            Stage::Together,
            "the plugin's patches pause, resume, promote an aborted release fully and undo",
            async move |world| pause_undo(&world, &format!("plugin-c-{round}")).await,
        )
        .on_both(),
    ]
}

/// Sends what the plugin sent when it was called so in that state; `nth` counts equal calls. Returns how many requests.
async fn call(space: &Space, state: &str, args: &[&str], nth: usize) -> Result<usize> {
    let file = match args[0] {
        "retry" => "retry-rollout",
        other => other,
    };
    let path = serin_recordings::root().join("plugin").join(format!("{file}.jsonl"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let wanted = json!(args);
    let mut fitting = lines
        .iter()
        .filter(|l| l["state"] == state && l["args"] == wanted && l["exit"] == 0);
    let line = fitting
        .nth(nth)
        .with_context(|| format!("no recorded call {args:?} in state {state}"))?;
    let recorded = format!("/namespaces/p-{state}/");
    let mut sent = 0;
    for request in line["requests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| r["method"] != "GET")
    {
        let path = request["path"].as_str().context("a request without a path")?;
        ensure!(path.contains(&recorded), "{path} is not in the recorded namespace");
        let path = path.replace(&recorded, &format!("/namespaces/{}/", space.namespace));
        let query = request["query"].as_str().map(|q| format!("?{q}")).unwrap_or_default();
        let http = http::Request::builder()
            .method(request["method"].as_str().unwrap_or_default())
            .uri(format!("{path}{query}"))
            .header("content-type", request["contentType"].as_str().unwrap_or_default())
            .body(Body::from(serde_json::to_vec(&request["body"])?))?;
        let answer = space.world.client.send(http).await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        sent += 1;
    }
    Ok(sent)
}

/// The application in which the plugin was recorded: four steps, no router.
async fn start(world: &World, namespace: &str) -> Result<Space> {
    let space = Space::new(world, namespace).await?;
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    space.create([app::rollout(4, json!({"steps": steps}))]).await?;
    space.healthy(SOON).await?;
    Ok(space)
}

async fn abort_retry_promote(world: &World, namespace: &str) -> Result<String> {
    let space = start(world, namespace).await?;
    let old = space.current();
    let mut sent = 0;
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    let new = space.current();

    sent += call(&space, "paused", &["abort", NAME], 0).await?;
    space.phase("Degraded", SOON).await?;
    space
        .until("no canary pod after the abort", SOON, |s| {
            (Space::wanted(s, &new) == Some(0)).then_some(())
        })
        .await?;
    {
        let seen = space.recorder.seen();
        let status = seen.status();
        ensure!(
            status["abort"] == true && status["currentStepIndex"] == 0,
            "status {status}"
        );
        ensure!(
            status["message"] == "RolloutAborted: Rollout aborted update to revision 2",
            "message {}",
            status["message"]
        );
        ensure!(status["stableRS"] == old.as_str(), "stable is {}", status["stableRS"]);
    }
    // Said twice it changes nothing.
    sent += call(&space, "aborted", &["abort", NAME], 0).await?;

    sent += call(&space, "aborted", &["retry", "ro", NAME], 0).await?;
    space.paused_at(1, SOON).await?;
    ensure!(space.current() == new, "the retry made another revision");

    sent += call(&space, "paused", &["promote", NAME], 0).await?;
    space.paused_at(3, SOON).await?;
    ensure!(
        Space::wanted(&space.recorder.seen(), &new) == Some(2),
        "not half of the pods are new at 50%"
    );

    sent += call(&space, "paused-full", &["promote", NAME, "--full"], 0).await?;
    space.healthy(SOON).await?;
    space
        .event("RolloutCompleted", "Full promotion requested", SOON)
        .await?;
    let what = "all pods are of the new revision";
    space
        .until(what, SOON, |s| {
            (Space::wanted(s, &new) == Some(4) && Space::wanted(s, &old) == Some(0)).then_some(())
        })
        .await?;
    // Fully promoted there is nothing to abort.
    sent += call(&space, "healthy", &["abort", NAME], 0).await?;
    space
        .until("the abort of a finished release is taken back", SOON, |s| {
            (s.status()["abort"] != true).then_some(())
        })
        .await?;
    space.healthy(SOON).await?;
    Ok(format!("{sent} recorded requests"))
}

async fn skip(world: &World, namespace: &str) -> Result<String> {
    let space = start(world, namespace).await?;
    let mut sent = 0;
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    sent += call(
        &space,
        "paused-skip-current",
        &["promote", NAME, "--skip-current-step"],
        0,
    )
    .await?;
    space.paused_at(3, SOON).await?;
    sent += call(&space, "paused-skip-all", &["promote", NAME, "--skip-all-steps"], 0).await?;
    space.healthy(SOON).await?;

    space
        .release("demo:v3", json!([{"name": "READY", "value": "false"}]))
        .await?;
    let (what, third) = ("a canary pod of revision 3", "3");
    space
        .until(what, SOON, |s| {
            let sets = s.all("ReplicaSet");
            let set = sets
                .into_iter()
                .find(|rs| rs["metadata"]["annotations"]["rollout.argoproj.io/revision"] == third)?;
            (set["status"]["replicas"] == 1).then_some(())
        })
        .await?;
    ensure!(
        space.recorder.seen().status()["currentStepIndex"] == 0,
        "the weight's step ended without a ready pod"
    );
    sent += call(&space, "weight-step", &["promote", NAME], 0).await?;
    space.paused_at(1, SOON).await?;
    // A release that can never end is left by going back.
    space.release("demo:v2", json!([])).await?;
    space.healthy(SOON).await?;
    Ok(format!("{sent} recorded requests"))
}

async fn pause_undo(world: &World, namespace: &str) -> Result<String> {
    let space = start(world, namespace).await?;
    let old = space.current();
    let mut sent = 0;
    space.set_image("demo:v2").await?;
    space.paused_at(1, SOON).await?;
    sent += call(&space, "manual-pause", &["pause", NAME], 0).await?;
    let manual = |s: &crate::recorder::Seen| (s.status()["message"] == "manually paused").then_some(());
    space.until("manually paused", SOON, manual).await?;
    // Ends the manual pause alone, in the recording too: the step's own pause begins anew, unless the controller came
    // between the plugin's two patches.
    sent += call(&space, "manual-pause", &["promote", NAME], 0).await?;
    let resumed = |s: &crate::recorder::Seen| {
        let paused = |step| {
            serin_recordings::Seen::PausedAt(step)
                .holds(s.rollout())
                .unwrap_or(false)
        };
        let step = [1, 3].into_iter().find(|step| paused(*step))?;
        (s.status()["message"] == "CanaryPauseStep").then_some(step)
    };
    if space.until("not manually paused any more", SOON, resumed).await? == 1 {
        sent += call(&space, "paused", &["promote", NAME], 0).await?;
    }
    space.paused_at(3, SOON).await?;
    sent += call(&space, "paused", &["abort", NAME], 0).await?;
    space.phase("Degraded", SOON).await?;
    sent += call(&space, "aborted-full", &["promote", NAME, "--full"], 0).await?;
    space.healthy(SOON).await?;
    let new = space.current();
    ensure!(new != old, "the aborted release was not promoted");

    // The template that `undo` sends is the one of the older ReplicaSet, without the label of its hash.
    let body = {
        let seen = space.recorder.seen();
        let sets = seen.all("ReplicaSet");
        let set = sets
            .iter()
            .find(|rs| rs["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "1");
        let mut template = set.context("no ReplicaSet of revision 1")?["spec"]["template"].clone();
        template["metadata"]["labels"]
            .as_object_mut()
            .context("no labels")?
            .remove("rollouts-pod-template-hash");
        json!([{"op": "replace", "path": "/spec/template", "value": template}])
    };
    space.json_patch("Rollout", NAME, None, &body).await?;
    space.paused_at(1, SOON).await?;
    let back = space.current();
    ensure!(back == old, "undo gives revision {back} instead of {old}");
    let seen_revision = |s: &crate::recorder::Seen| {
        let revision = &s.rollout()["metadata"]["annotations"]["rollout.argoproj.io/revision"];
        (revision == "3").then_some(())
    };
    space
        .until("the old revision has number 3", SOON, seen_revision)
        .await?;
    Ok(format!("{} recorded requests", sent + 1))
}
