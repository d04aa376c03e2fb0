//! Single findings, from what was observed and then changed by hand; and what comes before the installation.

use serde_json::json;
use serin_api::rollout::Rollout;

use super::stage::{HOME, SHOP, Stage, wrong};
use crate::check::{
    findings,
    line::Status::{Fail, Pass, Warn},
    observed::{App, Observed, Version},
    quota, text,
};

async fn healthy() -> Observed {
    Stage::healthy().observe().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_old_api_server_fails_and_an_aging_one_warns() {
    let mut seen = healthy().await;
    for (minor, expected) in [
        (24, vec![("api-version", Fail)]),
        (27, vec![("api-version", Warn)]),
        (29, vec![]),
    ] {
        seen.version = Ok(Version {
            major: 1,
            minor,
            text: format!("v1.{minor}.0"),
        });
        assert_eq!(wrong(&findings(&seen)), expected, "1.{minor}");
    }
}

#[tokio::test(start_paused = true)]
async fn rollouts_that_route_need_the_gateway_api() {
    let mut seen = healthy().await;
    seen.groups.as_mut().unwrap().retain(|g| !g.starts_with("gateway."));
    assert_eq!(wrong(&findings(&seen)), [("gateway-api", Fail)]);
    seen.objects.apps = Ok(Vec::new());
    assert_eq!(wrong(&findings(&seen)), [("gateway-api", Warn)]);
}

#[tokio::test(start_paused = true)]
async fn openshift_wants_rights_on_finalizers() {
    let mut seen = healthy().await;
    seen.groups
        .as_mut()
        .unwrap()
        .insert("security.openshift.io/v1".to_owned());
    assert_eq!(wrong(&findings(&seen)), []);
    for (right, allowed) in &mut seen.rights[0].as_mut().unwrap().answers {
        *allowed &= right.resource != "rollouts/finalizers";
    }
    assert_eq!(wrong(&findings(&seen)), [("rights-owner-references", Fail)]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_verb_that_is_not_needed_warns() {
    let mut seen = healthy().await;
    for (right, allowed) in &mut seen.rights[0].as_mut().unwrap().answers {
        *allowed &= right.resource != "events" && right.resource != "clusteranalysistemplates";
    }
    assert_eq!(wrong(&findings(&seen)), [("rights", Warn)]);
}

#[tokio::test(start_paused = true)]
async fn an_app_of_a_repeated_kind_is_grouped_and_listed_on_demand() {
    let mut seen = healthy().await;
    let one = seen.objects.apps.as_ref().unwrap()[0].object.clone();
    let apps = (0..200).map(|i| {
        let mut object = one.clone();
        object["metadata"]["name"] = format!("app-{i}").into();
        object["spec"]["strategy"] = json!({"canary": {"steps": [{"setWeight": 50}]}});
        App::new(object)
    });
    seen.objects.apps = Ok(apps.collect());
    seen.objects.autoscalers = Ok(Vec::new());
    let lines = findings(&seen);
    let style = text::Style {
        has_colour: false,
        is_verbose: false,
        width: 100,
    };
    let shown = text::text(&lines, style);
    assert!(
        shown.contains("√ 200 Rollouts: valid, and all analysis templates exist"),
        "{shown}"
    );
    assert!(shown.lines().count() < 45, "{shown}");
    let all = text::text(
        &lines,
        text::Style {
            is_verbose: true,
            ..style
        },
    );
    assert!(all.contains("√ Rollout shop/app-199 is valid"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn raw_series_without_the_label_are_told_from_no_series() {
    let stage = Stage::healthy();
    stage.apply(
        include_str!("../../../../../analysis-templates/http-success-rate.yaml"),
        SHOP,
    );
    let args = json!([
        {"name": "service", "value": "checkout"},
        {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
    ]);
    let steps =
        json!([{"setWeight": 5}, {"analysis": {"templates": [{"templateName": "http-success-rate"}], "args": args}}]);
    stage.merge(
        "rollouts",
        SHOP,
        "checkout",
        json!({"spec": {"strategy": {"canary": {"steps": steps, "analysis": null}}}}),
    );
    let service: (&str, &str) = ("service", "checkout");
    stage.series(&[
        ("http_requests_total", &[service, ("code", "200"), ("pod", "a")]),
        ("http_requests_total", &[service, ("code", "200"), ("pod", "b")]),
    ]);
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [("hash-label", Fail)]);
    let line = lines.iter().find(|l| l.status == Fail).unwrap();
    assert!(
        line.seen
            .contains("has 2 series, and none has the label rollouts_pod_template_hash"),
        "{line:?}"
    );

    stage.series(&[("http_requests_total", &[("service", "other")])]);
    let lines = stage.check().await;
    assert_eq!(
        wrong(&lines),
        [("hash-label", Fail)],
        "the label is nowhere: {lines:#?}"
    );
    stage.series(&[("other", &[("rollouts_pod_template_hash", "x")])]);
    let lines = stage.check().await;
    let line = lines.iter().find(|l| l.status == Fail).unwrap();
    assert!(line.seen.contains("no series http_requests_total at all"), "{line:?}");
    // Pods without traffic have no series, and nobody is wrong.
    stage.merge("rollouts", SHOP, "checkout", json!({"spec": {"replicas": 0}}));
    assert_eq!(wrong(&stage.check().await), []);
}

/// A stage whose one Rollout asks with a password out of a Secret; the value is given twice, the second time in base64.
fn with_password(value: &str, encoded: &str) -> Stage {
    let stage = Stage::healthy();
    let secret = json!({"metadata": {"name": "prometheus", "namespace": SHOP}, "stringData": {"password": value}, "data": {"password": encoded}});
    stage.create("secrets", secret);
    let metric = json!({
        "name": "m", "successCondition": "result[0] < 1",
        "provider": {"prometheus": {
            "query": "missing{password=\"{{args.password}}\",hash=\"{{args.hash}}\"}",
            "authentication": {"basicAuth": {"username": "serin", "password": "{{args.password}}"}},
        }},
    });
    let args = json!([{"name": "hash"}, {"name": "password", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "password"}}}]);
    stage.create(
        "analysistemplates",
        json!({"metadata": {"name": "secret", "namespace": SHOP}, "spec": {"args": args, "metrics": [metric]}}),
    );
    let given = json!([{"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}}]);
    let steps = json!([{"analysis": {"templates": [{"templateName": "secret"}], "args": given}}]);
    stage.merge(
        "rollouts",
        SHOP,
        "checkout",
        json!({"spec": {"strategy": {"canary": {"steps": steps, "analysis": null}}}}),
    );
    stage
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_a_common_word_garbles_neither_names_nor_sentences() {
    let stage = with_password(SHOP, "c2hvcA==");
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [("hash-label", Fail)], "{lines:#?}");
    let line = lines.iter().find(|l| l.status == Fail).unwrap();
    assert_eq!(line.about, "Rollout shop/checkout");
    assert!(line.seen.contains("no series missing"), "{line:?}");
    assert!(lines.iter().all(|l| !l.about.contains("***")), "{lines:#?}");
    let service = lines.iter().find(|l| l.check.id == "service").unwrap();
    assert!(service.about.contains("shop/"), "{service:?}");
    // What the provider says is another matter.
    stage.prometheus().refuses = None;
    let mut seen = stage.observe().await.unwrap();
    for counts in seen.counts.values_mut() {
        *counts = Err("password shop is no good at shopping".to_owned());
    }
    let said = findings(&seen)
        .into_iter()
        .find(|l| l.check.id == "query")
        .unwrap()
        .seen;
    assert!(
        said.contains("password *** is no good at shopping") && said.contains("password=\"***\""),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_come_from_secrets_and_never_reach_the_output() {
    let stage = with_password("hunter22", "aHVudGVyMjI=");
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [("hash-label", Fail)], "{lines:#?}");
    let asked: Vec<_> = stage.prometheus().asked_by.clone();
    assert!(asked.contains(&Some(("serin".into(), "hunter22".into()))), "{asked:?}");
    assert!(!format!("{lines:?}").contains("hunter22"), "{lines:?}");

    stage.prometheus().refuses = Some(401);
    assert_eq!(wrong(&stage.check().await), [("prometheus", Fail)]);
    stage.forbid(|call| call.resource == "secrets");
    stage.prometheus().asked_by.clear();
    let lines = stage.check().await;
    assert_eq!(
        wrong(&lines),
        [("prometheus", Fail), ("prometheus-secrets", Warn)],
        "{lines:#?}"
    );
    assert!(
        stage.prometheus().asked_by.iter().all(Option::is_none),
        "asked without the password it needs"
    );
}

#[tokio::test(start_paused = true)]
async fn before_the_installation_an_empty_cluster_is_ready() {
    let mut stage = Stage::empty();
    stage.wanted.is_before = true;
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [], "{lines:#?}");
    assert!(lines.iter().any(|l| l.check.id == "crd-free"));
    assert!(lines.iter().any(|l| l.check.id == "install-rights"));

    let mut seen = stage.observe().await.unwrap();
    for allowed in seen.rights[0].as_mut().unwrap().answers.values_mut() {
        *allowed = false;
    }
    assert_eq!(
        wrong(&findings(&seen)),
        [("install-rights", Fail), ("install-escalation", Fail)]
    );
    seen.groups.as_mut().unwrap().clear();
    assert!(wrong(&findings(&seen)).contains(&("gateway-api", Warn)));
}

#[tokio::test(start_paused = true)]
async fn before_the_installation_another_controller_is_in_the_way_unless_it_shares_the_lease() {
    for (namespace, expected) in [(HOME, Warn), ("argo", Fail)] {
        let mut stage = Stage::empty();
        stage.wanted.is_before = true;
        stage.argo(namespace);
        assert_eq!(wrong(&stage.check().await), [("controller", expected)], "{namespace}");
    }
}

/// Serin's Deployment is gone, and somebody holds the Lease.
fn held_by(holder: &str) -> Stage {
    let stage = Stage::healthy();
    stage.delete("deployments", HOME, "serin");
    stage.hold(holder, 15);
    stage
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_holds_is_told_without_any_deployment() {
    let mut stage = held_by("laptop_7");
    let lines = stage.check().await;
    let line = lines.iter().find(|l| l.check.id == "lease").expect("it is told");
    assert!(
        line.status == Warn && line.seen.contains("somebody holds it: laptop_7"),
        "{line:?}"
    );
    assert!(wrong(&lines).contains(&("controller", Fail)), "{lines:#?}");

    stage.wanted.is_before = true;
    let lines = stage.check().await;
    let line = lines.iter().find(|l| l.check.id == "lease").expect("it is told");
    assert!(
        line.status == Warn && line.seen.contains("another controller is at work"),
        "{line:?}"
    );
    assert!(
        !lines.iter().any(|l| l.seen.contains("no other controller")),
        "{lines:#?}"
    );

    // Also by who may see one namespace only.
    stage.forbid(|call| call.namespace.is_empty() && call.resource == "leases");
    assert!(wrong(&stage.check().await).contains(&("lease", Warn)));
    // Long ago is nobody.
    stage.merge(
        "leases",
        HOME,
        "argo-rollouts-controller-lock",
        json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}),
    );
    assert!(!stage.check().await.iter().any(|l| l.check.id == "lease"));
}

#[tokio::test(start_paused = true)]
async fn in_a_playground_there_is_no_deployment_and_its_prometheus_is_named() {
    let mut stage = held_by("playground_4711");
    let annotations = json!({"playground.serin.dev/prometheus": "http://127.0.0.1:4712"});
    stage.merge(
        "namespaces",
        "",
        HOME,
        json!({"metadata": {"annotations": annotations}}),
    );
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [("prometheus-address", Warn)], "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|l| l.check.id == "controller" && l.seen.contains("process 4711"))
    );
    let line = lines.iter().find(|l| l.check.id == "prometheus-address").unwrap();
    assert!(line.advice.contains("--prometheus http://127.0.0.1:4712"), "{line:?}");
    stage.wanted.is_before = true;
    let lines = stage.check().await;
    assert!(
        wrong(&lines).contains(&("lease", Warn))
            && !lines.iter().any(|l| l.check.id == "controller" && l.status != Pass),
        "{lines:#?}"
    );
    // Only a process id makes a playground of it.
    let stage = held_by("playground_of-somebody");
    assert!(wrong(&stage.check().await).contains(&("controller", Fail)));
}

#[tokio::test(start_paused = true)]
async fn one_namespace_is_looked_at_when_all_is_forbidden() {
    let mut stage = Stage::healthy();
    stage
        .forbid(|call| call.namespace.is_empty() && call.verb == "list" && call.resource != "clusteranalysistemplates");
    stage.wanted.default_namespace = SHOP.into();
    let lines = stage.check().await;
    assert_eq!(wrong(&lines), [], "{lines:#?}");
    assert!(lines.iter().any(|l| l.check.id == "rollout-spec" && l.status == Pass));
}

#[test]
fn a_quota_must_leave_room_for_the_pods_of_a_release() {
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a", "namespace": "n"},
        "spec": {"replicas": 4, "template": {"spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}},
        ]}}, "strategy": {"canary": {"maxSurge": "25%"}}},
    });
    assert!(serde_json::from_value::<Rollout>(rollout.clone()).is_ok());
    let mut seen = blank();
    let quota = |hard: serde_json::Value, used: serde_json::Value| json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
    let mut with = |object: &serde_json::Value, quota, autoscalers: &[serde_json::Value]| {
        seen.objects.quotas = Ok(vec![quota]);
        seen.objects.autoscalers = Ok(autoscalers.to_vec());
        let app = App::new(object.clone());
        quota::findings(&seen, &app)
            .iter()
            .map(|l| (l.status, l.seen.clone()))
            .collect::<Vec<_>>()
    };
    let mut ask = |object: &serde_json::Value, quota| with(object, quota, &[]);
    // One pod more without a route: 250m.
    assert_eq!(
        ask(
            &rollout,
            quota(
                json!({"requests.cpu": "1250m", "pods": "5"}),
                json!({"requests.cpu": "1", "pods": "4"})
            )
        )[0]
        .0,
        Pass
    );
    let short = ask(&rollout, quota(json!({"cpu": "1200m"}), json!({"cpu": "1"})));
    assert!(short[0].0 == Warn && short[0].1.contains("cpu for 0 more"), "{short:?}");
    // With a route all four once more.
    let mut routed = rollout.clone();
    routed["spec"]["strategy"]["canary"]["trafficRouting"] = json!({});
    let short = ask(&routed, quota(json!({"pods": "7"}), json!({"pods": "4"})));
    assert!(
        short[0].0 == Warn && short[0].1.contains("up to 4 pods") && short[0].1.contains("pods for 3 more"),
        "{short:?}"
    );
    // What the quota counts must be said by the pods.
    let refused = ask(&rollout, quota(json!({"limits.cpu": "9"}), json!({"limits.cpu": "0"})));
    assert!(
        refused[0].0 == Fail && refused[0].1.contains("limits.cpu of container c"),
        "{refused:?}"
    );
    // An autoscaler may want more by then.
    let hpa = json!({"metadata": {"name": "h", "namespace": "n"}, "spec": {"maxReplicas": 6, "scaleTargetRef": {"kind": "Rollout", "name": "a"}}});
    assert_eq!(
        with(&routed, quota(json!({"pods": "8"}), json!({"pods": "4"})), &[])[0].0,
        Pass
    );
    let short = with(&routed, quota(json!({"pods": "8"}), json!({"pods": "4"})), &[hpa]);
    assert!(
        short[0].0 == Warn && short[0].1.contains("at the 6 replicas") && short[0].1.contains("up to 8 pods"),
        "{short:?}"
    );
}

/// Nothing was seen.
fn blank() -> Observed {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Stage::empty().observe().await.unwrap() })
}
