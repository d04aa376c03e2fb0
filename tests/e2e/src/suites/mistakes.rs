//! Bad manifests and first-hour mistakes: the message names the object and what to do, pods stay, the controller lives.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::gate;
use crate::{
    app::{self, CANARY, NAME},
    install,
    recorder::Seen,
    runner::{Stage, Test},
    space::{SOON, Space},
    stub::Stub,
    world::World,
};

/// A mistake, and what one message about it must contain.
struct Mistake {
    what: &'static str,
    make: fn(&Space) -> BoxFuture<'_, Result<()>>,
    says: &'static [&'static str],
}

pub(super) fn tests(round: usize) -> Vec<Test> {
    let all = mistakes();
    let tests = all.into_iter().enumerate().map(|(i, mistake)| {
        let name = format!("a first-hour mistake is explained and harms nothing: {}", mistake.what);
        Test::new(Stage::Together, name, async move |world| {
            one(&world, &format!("mistake-{i}-{round}"), &mistake).await
        })
        .on_both()
    });
    tests.collect()
}

/// A healthy release, the mistake on top of it, the message; the pods are the same ones as before.
async fn one(world: &World, namespace: &str, mistake: &Mistake) -> Result<String> {
    let space = Space::new(world, namespace).await?;
    let steps = json!([{"setWeight": 50}, {"pause": {}}]);
    space
        .create(app::behind_the_gateway(namespace, 2, steps, json!({})))
        .await?;
    space.healthy(SOON).await?;
    let stable = space.current();
    let pods = |seen: &Seen| -> BTreeSet<String> {
        let all = seen.all("Pod").into_iter();
        let own = all.filter(|p| p["metadata"]["labels"]["rollouts-pod-template-hash"] == stable.as_str());
        own.filter(|p| p["metadata"]["deletionTimestamp"].is_null())
            .map(|p| p["metadata"]["uid"].to_string())
            .collect()
    };
    let two = |s: &Seen| (pods(s).len() == 2).then(|| pods(s));
    let before = space.until("two pods", SOON, two).await?;
    let controllers = restarts(world);

    (mistake.make)(&space).await?;
    let what = format!("a message with {:?}", mistake.says);
    let fits = |text: &String| mistake.says.iter().all(|part| text.contains(part));
    let found = space
        .until(&what, Duration::from_secs(60), |s| said(s).into_iter().find(fits))
        .await;
    let message = match found {
        Ok(message) => message,
        Err(error) => {
            let all = said(&space.recorder.seen());
            return Err(error.context(format!("what was said:\n  {}", all.join("\n  "))));
        }
    };
    let after = pods(&space.recorder.seen());
    ensure!(before == after, "running pods changed: {before:?} became {after:?}");
    ensure!(restarts(world) == controllers, "a controller was restarted");
    // Where it is no pod, its end is noticed at the end of the test.
    ensure!(
        world.is_simulated() || install::leader(world).await?.is_some(),
        "no controller leads"
    );
    Ok(message)
}

fn restarts(world: &World) -> Vec<(String, u32)> {
    let mut all: Vec<_> = world.controllers().into_iter().map(|p| (p.name, p.restarts)).collect();
    all.sort();
    all
}

/// Every text that a user sees: conditions, events, analysis runs and their measurements.
fn said(seen: &Seen) -> Vec<String> {
    let mut texts = Vec::new();
    let mut add = |value: &Value| texts.extend(value.as_str().filter(|t| !t.is_empty()).map(str::to_owned));
    add(&seen.status()["message"]);
    for condition in seen.status()["conditions"].as_array().into_iter().flatten() {
        add(&condition["message"]);
    }
    for run in seen.all("AnalysisRun") {
        add(&run["status"]["message"]);
        for metric in run["status"]["metricResults"].as_array().into_iter().flatten() {
            add(&metric["message"]);
            for measurement in metric["measurements"].as_array().into_iter().flatten() {
                add(&measurement["message"]);
            }
        }
    }
    texts.extend(seen.events().into_iter().map(|(_, _, message)| message));
    texts
}

/// Changes the Rollout's canary strategy and its image in one go.
async fn change(space: &Space, canary: Value) -> Result<()> {
    let mut containers = app::rollout(2, json!({}))["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = "demo:v2".into();
    let body = json!({"spec": {
        "template": {"spec": {"containers": containers}},
        "strategy": {"canary": canary},
    }});
    space.merge("Rollout", NAME, None, &body).await
}

/// One metric with another source, condition or provider.
async fn measure(space: &Space, change_metric: Value, args: Value) -> Result<()> {
    let source = format!("{}.m", space.namespace);
    space.world.stub.answer(&source, json!([0]));
    let mut metric = json!({
        "name": "rate", "successCondition": "result[0] < 0.05",
        "provider": {"prometheus": {"address": Stub::address(&source), "query": "rate"}},
    });
    json_patch::merge(&mut metric, &change_metric);
    space.create([app::template("check", args, metric)]).await?;
    change(
        space,
        json!({"steps": [{"analysis": {"templates": [{"templateName": "check"}]}}]}),
    )
    .await
}

fn mistakes() -> Vec<Mistake> {
    vec![
        Mistake {
            what: "no series for the canary's hash",
            make: |s| {
                Box::pin(async move {
                    gate::create(s).await?;
                    // Nobody sends requests, so Prometheus knows nothing of this revision.
                    let analysis = gate::analysis(&s.namespace, "2s", 2);
                    change(s, json!({"steps": [{"setWeight": 50}, {"analysis": analysis}]})).await
                })
            },
            says: &["canary-error-rate", "no data"],
        },
        Mistake {
            what: "Prometheus cannot be reached",
            make: |s| {
                let provider = json!({"prometheus": {"address": "http://127.0.0.1:1"}});
                Box::pin(measure(
                    s,
                    json!({"consecutiveErrorLimit": 0, "provider": provider}),
                    json!([]),
                ))
            },
            says: &["http://127.0.0.1:1"],
        },
        Mistake {
            what: "a Service that does not select the Rollout's pods",
            make: |s| {
                Box::pin(async move {
                    s.merge(
                        "Service",
                        CANARY,
                        None,
                        &json!({"spec": {"selector": {"app": "other"}}}),
                    )
                    .await?;
                    s.set_image("demo:v2").await
                })
            },
            says: &["demo-canary", "label app", "spec.template.metadata.labels"],
        },
        Mistake {
            what: "a Service that does not exist",
            make: |s| Box::pin(change(s, json!({"canaryService": "nowhere"}))),
            says: &["Create Service \"nowhere\"", "canaryService"],
        },
        Mistake {
            what: "a route that does not exist",
            make: |s| {
                let router = json!({"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "nowhere"}}});
                Box::pin(change(s, json!({"trafficRouting": router})))
            },
            says: &["nowhere"],
        },
        Mistake {
            what: "a route without the canary's Service",
            make: |s| {
                Box::pin(async move {
                    let rules = json!([{"backendRefs": [{"name": app::STABLE, "port": 80}]}]);
                    s.merge("HTTPRoute", NAME, None, &json!({"spec": {"rules": rules}}))
                        .await?;
                    s.set_image("demo:v2").await
                })
            },
            says: &["demo-canary", "backendRef"],
        },
        Mistake {
            what: "an analysis template that does not exist",
            make: |s| {
                let analysis = json!({"templates": [{"templateName": "nowhere"}]});
                Box::pin(change(s, json!({"steps": [{"analysis": analysis}]})))
            },
            says: &["Create AnalysisTemplate \"nowhere\"", "steps[0]"],
        },
        Mistake {
            what: "an argument that nobody gives",
            make: |s| Box::pin(measure(s, json!({}), json!([{"name": "service-name"}]))),
            says: &["Give the argument a value", "steps[0]"],
        },
        Mistake {
            what: "a metric provider that does not exist here",
            make: |s| {
                let provider = json!({"prometheus": null, "datadog": {"query": "x"}});
                Box::pin(measure(s, json!({"provider": provider}), json!([])))
            },
            says: &["datadog", "not supported yet"],
        },
        Mistake {
            what: "a condition that is no expression",
            make: |s| Box::pin(measure(s, json!({"successCondition": "result[0] <"}), json!([]))),
            says: &["result[0] <"],
        },
        Mistake {
            what: "a strategy that is not there yet (blueGreen)",
            make: |s| {
                Box::pin(async move {
                    let strategy = json!({"canary": null, "blueGreen": {"activeService": app::STABLE}});
                    s.merge("Rollout", NAME, None, &json!({"spec": {"strategy": strategy}}))
                        .await
                })
            },
            says: &["blueGreen", "not supported yet"],
        },
        Mistake {
            what: "a step that is not there yet (setHeaderRoute)",
            make: |s| {
                let header = json!({"setHeaderRoute": {"name": "h", "match": [{"headerName": "x", "headerValue": {"exact": "y"}}]}});
                Box::pin(change(s, json!({"steps": [header]})))
            },
            says: &["setHeaderRoute", "not supported yet"],
        },
        Mistake {
            what: "a duration that is none",
            make: |s| {
                Box::pin(change(
                    s,
                    json!({"steps": [{"setWeight": 50}, {"pause": {"duration": "10 minutes"}}]}),
                ))
            },
            says: &["duration", "10 minutes"],
        },
        Mistake {
            what: "an image that cannot be pulled",
            make: |s| {
                Box::pin(async move {
                    s.merge("Rollout", NAME, None, &json!({"spec": {"progressDeadlineSeconds": 3}}))
                        .await?;
                    s.set_image("demo:does-not-exist").await
                })
            },
            says: &["pods of revision 2", "kubectl", "image"],
        },
    ]
}
