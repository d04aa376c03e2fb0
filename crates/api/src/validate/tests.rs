//! The recorded answers of the real controller (tests/recordings/invalid.jsonl), and what is ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;
use crate::{analysis::AnalysisTemplateSpec, rollout::AnalysisTemplateRef};

/// Lines on which Serin says something else than the recording, each with its reason.
const DIFFERENT: &[(&str, &str)] = &[
    // The API server refuses these before any controller sees them.
    ("two-names", REFUSED),
    ("negative-replicas", REFUSED),
    ("bg-no-active", REFUSED),
    // The same text, and after it what was written and how a duration is written.
    ("pause-text", MORE),
    // What we do not do yet is refused, whatever else is right or wrong with it.
    ("ref-missing", UNSUPPORTED),
    ("bg-active-missing", UNSUPPORTED),
    ("bg-preview-missing", UNSUPPORTED),
    ("bg-plain-ok", UNSUPPORTED),
    ("bg-max-unavailable", UNSUPPORTED),
    ("nginx-missing-ingress", UNSUPPORTED),
    ("nginx-wrong-ingress", UNSUPPORTED),
    ("nginx-none", UNSUPPORTED),
    ("nginx-both", UNSUPPORTED),
    ("alb-none", UNSUPPORTED),
    ("alb-both", UNSUPPORTED),
    ("alb-missing", UNSUPPORTED),
    ("alb-stickiness", UNSUPPORTED),
    ("istio-none", UNSUPPORTED),
    ("istio-both", UNSUPPORTED),
    ("istio-missing", UNSUPPORTED),
    ("istio-no-route", UNSUPPORTED),
    ("istio-wrong-hosts", UNSUPPORTED),
    ("ambassador-none", UNSUPPORTED),
    ("ambassador-missing", UNSUPPORTED),
    ("appmesh-missing", UNSUPPORTED),
    ("pingpong-no-router", UNSUPPORTED),
    ("step-weight-and-scale", UNSUPPORTED),
    ("scale-two", UNSUPPORTED),
    ("scale-weight-over", UNSUPPORTED),
    ("scale-negative", UNSUPPORTED),
    ("mirror-percentage", UNSUPPORTED),
    ("bg-analysis-missing", UNSUPPORTED),
    ("bg-analysis-endless", UNSUPPORTED),
    ("plugin-step-unknown", UNSUPPORTED),
];
const REFUSED: &str = "refused by the API server";
const UNSUPPORTED: &str = "not supported yet";
const MORE: &str = "the recorded text, and more after it";

struct Recorded {
    name: String,
    spec: RolloutSpec,
    message: Option<String>,
    refused: bool,
    index: usize,
}

/// The usual fields, replaced by those of the line (`null` takes one out).
fn recorded() -> Vec<Recorded> {
    let usual = json!({
        "replicas": 0,
        "selector": {"matchLabels": {"app": "demo"}},
        "template": {"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]}},
    });
    let lines = include_str!("../../../../tests/recordings/invalid.jsonl").lines();
    lines
        .enumerate()
        .map(|(index, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut spec: Map<String, Value> = usual.as_object().unwrap().clone();
            for (key, value) in line["spec"].as_object().unwrap() {
                spec.insert(key.clone(), value.clone());
            }
            spec.retain(|_, value| !value.is_null());
            // An object that the API server refuses need not even be readable.
            let refused = line.get("refused").is_some();
            let spec = serde_json::from_value(Value::Object(spec));
            Recorded {
                name: line["name"].as_str().unwrap().to_owned(),
                spec: if refused {
                    spec.unwrap_or_default()
                } else {
                    spec.unwrap()
                },
                message: line
                    .pointer("/invalid/message")
                    .and_then(Value::as_str)
                    .map(ToOwned::to_owned),
                refused,
                index,
            }
        })
        .collect()
}

/// The objects that stood around the recorded Rollouts.
struct Around {
    index: usize,
    templates: BTreeMap<String, AnalysisTemplateSpec>,
}

impl Around {
    fn new(index: usize) -> Self {
        let metric = json!({
            "name": "rate", "successCondition": "result[0] < 0.05",
            "provider": {"prometheus": {"address": "http://127.0.0.1:9", "query": "demo_error_rate"}},
        });
        let mut endless = metric.clone();
        endless["interval"] = json!("5s");
        let templates = [
            ("endless", json!({"metrics": [endless]})),
            ("endless2", json!({"metrics": [endless]})),
            ("needs-arg", json!({"metrics": [metric], "args": [{"name": "who"}]})),
        ];
        let templates = templates.map(|(name, spec)| (name.to_owned(), serde_json::from_value(spec).unwrap()));
        Self {
            index,
            templates: templates.into(),
        }
    }
}

impl References for Around {
    fn service(&self, name: &str) -> Option<ServiceFacts> {
        let mut selector = BTreeMap::from([("app".to_owned(), "demo".to_owned())]);
        let mut annotations = BTreeMap::new();
        match name.strip_suffix(&format!("-{}", self.index))? {
            "svc-a" | "svc-b" | "demo-canary" | "demo-stable" => {}
            "svc-foreign" => {
                selector.insert("tier".to_owned(), "x".to_owned());
            }
            "svc-managed" => {
                annotations.insert(crate::MANAGED_BY_ANNOTATION.to_owned(), "another".to_owned());
            }
            _ => return None,
        }
        Some(ServiceFacts { selector, annotations })
    }

    fn template(&self, template: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.templates.get(&template.template_name)
    }
}

/// All three questions, as the controller asks them.
fn said(line: &Recorded) -> Option<String> {
    let problem = validate_rollout(&line.spec, &line.name)
        .map_err(|e| e.to_string())
        .and_then(|()| match unsupported_fields(&line.spec).into_iter().next() {
            Some((path, what)) => Err(format!("{path}: {what}")),
            None => validate_references(&line.spec, &line.name, &Around::new(line.index)).map_err(|e| e.to_string()),
        });
    problem
        .err()
        .map(|e| format!("The Rollout {:?} is invalid: {e}", line.name))
}

#[test]
fn every_recorded_answer_is_given_or_listed() {
    let lines = recorded();
    assert_eq!(lines.len(), 109);
    let mut wrong = Vec::new();
    let mut equal = 0;
    for line in &lines {
        let listed = DIFFERENT.iter().find(|(name, _)| *name == line.name);
        let ours = said(line);
        let fits = match listed {
            Some((_, reason)) if *reason == REFUSED => line.refused,
            Some((_, reason)) if *reason == MORE => {
                let recorded = line.message.as_deref().unwrap_or_default();
                ours.as_ref()
                    .is_some_and(|o| o.len() > recorded.len() && o.starts_with(recorded))
            }
            Some(_) => ours.as_ref().is_some_and(|o| o.contains("not supported yet")) && ours != line.message,
            None => {
                equal += 1;
                !line.refused && ours == line.message
            }
        };
        if !fits {
            wrong.push(format!(
                "{}\n  ours     {ours:?}\n  recorded {:?}",
                line.name, line.message
            ));
        }
    }
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(equal + DIFFERENT.len(), lines.len());
}

fn canary(strategy: Value) -> RolloutSpec {
    serde_json::from_value(json!({
        "selector": {"matchLabels": {"app": "demo"}},
        "template": {"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]}},
        "strategy": {"canary": strategy},
    }))
    .unwrap()
}

#[test]
fn what_is_done_is_not_called_unsupported() {
    let spec = canary(json!({
        "canaryService": "c", "stableService": "s", "dynamicStableScale": true, "minPodsPerReplicaSet": 2,
        "replicaProgressThreshold": {"type": "Pods", "value": 1}, "maxSurge": 1, "abortScaleDownDelaySeconds": 3,
        "trafficRouting": {"maxTrafficWeight": 1000, "plugins": {"argoproj-labs/gatewayAPI": {
            "httpRoutes": [{"name": "r"}], "httpRoute": "r", "namespace": "n"}}},
        "analysis": {"templates": [{"templateName": "t"}], "startingStep": 1},
        "steps": [{"setWeight": 5}, {"pause": {}}, {"analysis": {}}, {"setCanaryScale": {"replicas": 1}}],
    }));
    assert_eq!(unsupported_fields(&spec), []);
    assert_eq!(validate_rollout(&spec, "x"), Ok(()));
}

#[test]
fn what_is_not_done_is_named_with_a_way_out() {
    let spec = canary(json!({
        "antiAffinity": {}, "canaryMetadata": {}, "pingPong": {"pingService": "a", "pongService": "b"},
        "trafficRouting": {"istio": {}, "managedRoutes": [], "plugins": {
            "a/b": {}, "argoproj-labs/gatewayAPI": {"grpcRoute": "g", "tcpRoutes": [], "httpRoutes": [{"name": "r", "useHeaderRoutes": true}]}}},
        "steps": [{"experiment": {"templates": []}}, {"setHeaderRoute": {}}, {"setMirrorRoute": {"name": "m"}}, {"plugin": {"name": "p"}}],
    }));
    let list = unsupported_fields(&spec);
    let paths: Vec<&str> = list
        .iter()
        .map(|(path, _)| path.trim_start_matches("spec.strategy.canary."))
        .collect();
    assert_eq!(
        paths,
        [
            "antiAffinity",
            "canaryMetadata",
            "pingPong",
            "trafficRouting.istio",
            "trafficRouting.managedRoutes",
            "trafficRouting.plugins[\"a/b\"]",
            "trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"].grpcRoute",
            "trafficRouting.plugins[\"argoproj-labs/gatewayAPI\"].httpRoutes[0].useHeaderRoutes",
            "steps[0].experiment",
            "steps[1].setHeaderRoute",
            "steps[2].setMirrorRoute",
            "steps[3].plugin",
        ]
    );
    assert!(list.iter().all(|(_, what)| what.starts_with("not supported yet: ")));
}

#[test]
fn providers_other_than_prometheus_are_named() {
    let metric = |provider: Value| serde_json::from_value(json!({"name": "m", "provider": provider})).unwrap();
    let path = |provider: Value| unsupported_metric(&metric(provider)).map(|(path, _)| path);
    assert_eq!(
        path(json!({"prometheus": {"query": "q", "authentication": {"basicAuth": {}, "sigv4": {}}}})),
        None
    );
    assert_eq!(path(json!({"web": {}})).unwrap(), "provider.web");
    assert_eq!(
        path(json!({"plugin": {"a/b": {}}})).unwrap(),
        "provider.plugin[\"a/b\"]"
    );
    assert_eq!(
        path(json!({"prometheus": {"authentication": {"oauth2": {"tokenUrl": "t"}}}})).unwrap(),
        "provider.prometheus.authentication.oauth2"
    );
    assert_eq!(path(json!({})), None);
}

#[test]
fn a_count_that_the_rollout_gives_makes_a_step_analysis_end() {
    struct One(AnalysisTemplateSpec);
    impl References for One {
        fn service(&self, _: &str) -> Option<ServiceFacts> {
            None
        }
        fn template(&self, _: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
            Some(&self.0)
        }
    }
    let template = serde_json::from_value(json!({"args": [{"name": "n"}], "metrics": [{
        "name": "m", "count": "{{args.n}}", "interval": "5s", "provider": {"prometheus": {"query": "q"}}}]}));
    let around = One(template.unwrap());
    let with = |args: Value| {
        let spec = canary(json!({"steps": [{"analysis": {"templates": [{"templateName": "t"}], "args": args}}]}));
        validate_references(&spec, "x", &around).map_err(|e| e.to_string())
    };
    assert_eq!(with(json!([{"name": "n", "value": "3"}])), Ok(()));
    let endless = with(json!([{"name": "n", "value": "0"}])).unwrap_err();
    assert!(
        endless.ends_with("has metric m which runs indefinitely. Invalid value for count: 0"),
        "{endless}"
    );
}

#[test]
fn a_service_that_already_selects_one_version_fits() {
    struct Selecting;
    impl References for Selecting {
        fn service(&self, _: &str) -> Option<ServiceFacts> {
            let selector = [("app", "demo"), (crate::HASH_LABEL, "abc")];
            let selector = selector.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let annotations = [(crate::MANAGED_BY_ANNOTATION.to_owned(), "x".to_owned())].into();
            Some(ServiceFacts { selector, annotations })
        }
        fn template(&self, _: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
            None
        }
    }
    let spec = canary(json!({"canaryService": "c", "stableService": "s"}));
    assert_eq!(validate_references(&spec, "x", &Selecting), Ok(()));
    let other = validate_references(&spec, "y", &Selecting).unwrap_err().to_string();
    assert_eq!(
        other,
        "spec.strategy.canary.stableService: Invalid value: \"s\": Service \"s\" is managed by another Rollout"
    );
}
