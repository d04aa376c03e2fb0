//! Broken installations: each is named, with nothing else, and the way out is said.

use serde_json::json;

use super::stage::{HOME, RECORDED, SHOP, Stage, wrong};
use crate::check::{
    exit,
    line::{
        ALL, Line,
        Status::{self, Fail, Pass, Warn},
    },
};

const NAMESPACED: &str = include_str!("../../../../../deploy/overlays/namespaced/role.yaml");

/// How somebody broke it, and what is said then: what does not pass, and words of the first of these lines.
struct Broken {
    how: &'static str,
    make: fn(&Stage),
    wrong: &'static [(&'static str, Status)],
    says: &'static [&'static str],
}

const BROKEN: &[Broken] = &[
    Broken {
        how: "a resource definition is missing",
        make: |s| s.delete("customresourcedefinitions", "", "analysisruns.argoproj.io"),
        wrong: &[("crd", Fail)],
        says: &[
            "analysisruns.argoproj.io",
            "is not there",
            "kubectl apply -k deploy/crds",
        ],
    },
    Broken {
        how: "the definitions are Argo Rollouts' and older",
        make: |s| {
            let name = "rollouts.argoproj.io";
            let mut found = (*s.cluster.get("customresourcedefinitions", "", name).unwrap()).clone();
            let spec = found.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
            spec.unwrap()
                .as_object_mut()
                .unwrap()
                .remove("progressDeadlineAbort")
                .unwrap();
            found["metadata"]["labels"] = json!({});
            found["metadata"]["annotations"] = json!({"controller-gen.kubebuilder.io/version": "v0.14.0"});
            s.cluster
                .update("admin", "customresourcedefinitions", None, found)
                .unwrap();
        },
        wrong: &[("crd-schema", Warn)],
        says: &[
            "Argo Rollouts'",
            "it works",
            "spec.progressDeadlineAbort",
            "kubectl apply -k deploy/crds",
        ],
    },
    Broken {
        how: "Argo Rollouts runs in the same namespace",
        make: |s| s.argo(HOME),
        wrong: &[("two-controllers", Warn)],
        says: &[
            "share the Lease",
            "stands by",
            "scale deployment argo-rollouts --replicas=0",
        ],
    },
    Broken {
        how: "Argo Rollouts runs in another namespace",
        make: |s| s.argo("argo"),
        wrong: &[("two-controllers", Fail)],
        says: &["Deployment argo/argo-rollouts", "at the same time", "--instance-id"],
    },
    Broken {
        how: "a verb is missing in the ClusterRole, and the API server may not be asked about it",
        make: |s| {
            s.forbid(|call| call.resource == "subjectaccessreviews");
            let mut role = (*s.cluster.get("clusterroles", "", "serin-controller").unwrap()).clone();
            let rules = role["rules"].as_array_mut().unwrap();
            let rule = rules
                .iter_mut()
                .find(|r| r["resources"] == json!(["services"]))
                .unwrap();
            rule["verbs"] = json!(["get", "list", "watch"]);
            s.cluster.update("admin", "clusterroles", None, role).unwrap();
        },
        wrong: &[("rights", Fail)],
        says: &["may not patch services", "canary and stable", "cluster-role.yaml"],
    },
    Broken {
        how: "the binding names another namespace",
        make: |s| {
            s.forbid(|call| call.resource == "subjectaccessreviews");
            let subject = json!([{"kind": "ServiceAccount", "name": "serin", "namespace": "elsewhere"}]);
            s.merge(
                "clusterrolebindings",
                "",
                "serin-controller",
                json!({"subjects": subject}),
            );
        },
        wrong: &[("rights", Fail)],
        says: &["may do nothing", "binding"],
    },
    Broken {
        how: "the Lease has expired",
        make: |s| {
            let long_ago = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
            s.merge("leases", HOME, "argo-rollouts-controller-lock", long_ago);
        },
        wrong: &[("lease", Fail)],
        says: &["expired 2191 days ago", "serin-1-a_0", "serin-lease"],
    },
    Broken {
        how: "the Lease is held by somebody unknown",
        make: |s| s.hold("laptop_7", 15),
        wrong: &[("lease", Fail)],
        says: &["held by laptop_7", "no pod of namespace argo-rollouts", "delete lease"],
    },
    Broken {
        how: "the Lease is held by Argo Rollouts",
        make: |s| {
            s.pod("argo-rollouts-1-a", "argo-rollouts");
            s.hold("argo-rollouts-1-a_7", 15);
        },
        wrong: &[("lease", Fail)],
        says: &["held by Argo Rollouts", "Serin stands by", "goes on at the step"],
    },
    Broken {
        how: "Prometheus cannot be reached, and there is no such Service",
        make: |s| s.prometheus().is_away = true,
        wrong: &[("prometheus", Fail)],
        says: &[
            "http://prometheus.monitoring.svc:9090",
            "no such host",
            "no Service monitoring/prometheus",
            "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS",
        ],
    },
    Broken {
        how: "the hash label is lost in the relabelling",
        make: |s| s.series(&[("http_requests_total", &[("namespace", SHOP), ("pod", "checkout-1")])]),
        wrong: &[("hash-label", Fail)],
        says: &[
            "no series of this Prometheus has the label rollouts_pod_template_hash",
            "target_label: rollouts_pod_template_hash",
            "podTargetLabels",
        ],
    },
    Broken {
        how: "the recording rules are not loaded",
        make: |s| {
            s.prometheus().rules.clear();
            let hash = s.hash();
            s.series(&[(
                "http_requests_total",
                &[("namespace", SHOP), ("rollouts_pod_template_hash", &hash)],
            )]);
        },
        wrong: &[("hash-label", Fail)],
        says: &["no rule records it", "recording-rules.yaml"],
    },
    Broken {
        how: "only old pods are scraped",
        make: |s| {
            let old: &[(&str, &str)] = &[("namespace", SHOP), ("rollouts_pod_template_hash", "old")];
            s.series(&RECORDED.map(|metric| (metric, old)));
        },
        wrong: &[("hash-label", Warn)],
        says: &["none of the newest revision", "it has old (1)"],
    },
    Broken {
        how: "the series have another namespace",
        make: |s| {
            let hash = s.hash();
            let other: &[(&str, &str)] = &[("namespace", "other"), ("rollouts_pod_template_hash", &hash)];
            s.series(&RECORDED.map(|metric| (metric, other)));
        },
        wrong: &[("hash-label", Warn)],
        says: &[
            "1 series serin:http_error_rate",
            "none with the conditions",
            "namespace=\"shop\"",
        ],
    },
    Broken {
        how: "the route does not have the canary's Service",
        make: |s| {
            let rules = json!([{"backendRefs": [{"name": "checkout-stable", "port": 80}]}]);
            s.merge("httproutes", SHOP, "checkout", json!({"spec": {"rules": rules}}));
        },
        wrong: &[("route-backends", Fail)],
        says: &["checkout-canary is in none of them", "backendRefs:"],
    },
    Broken {
        how: "a second rule has the stable Service only",
        make: |s| {
            let both = json!([{"name": "checkout-stable", "port": 80, "weight": 100}, {"name": "checkout-canary", "port": 80, "weight": 0}]);
            let rules = json!([{"backendRefs": both}, {"backendRefs": [{"name": "checkout-stable", "port": 80}]}]);
            s.merge("httproutes", SHOP, "checkout", json!({"spec": {"rules": rules}}));
        },
        wrong: &[("route-backends", Warn)],
        says: &["rules[1] has only checkout-stable", "not split"],
    },
    Broken {
        how: "the route's Services are of another namespace",
        make: |s| {
            let of =
                |name: &str, weight: i32| json!({"name": name, "namespace": "other", "port": 80, "weight": weight});
            let rules = json!([{"backendRefs": [of("checkout-stable", 100), of("checkout-canary", 0)]}]);
            s.merge("httproutes", SHOP, "checkout", json!({"spec": {"rules": rules}}));
        },
        wrong: &[("route-backends", Fail)],
        says: &["another namespace than shop", "ReferenceGrant"],
    },
    Broken {
        how: "somebody else writes the weights",
        make: |s| {
            let both = json!([{"name": "checkout-stable", "port": 80, "weight": 50}, {"name": "checkout-canary", "port": 80, "weight": 0}]);
            s.merge(
                "httproutes",
                SHOP,
                "checkout",
                json!({"spec": {"rules": [{"backendRefs": both}]}}),
            );
        },
        wrong: &[("route-weights", Warn)],
        says: &["canary 0 and stable 50", "ignoreDifferences"],
    },
    Broken {
        how: "the Gateway is not programmed",
        make: |s| {
            let is = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "AddressNotAssigned", "message": "no address"});
            let conditions = json!([is("Accepted", "True"), is("Programmed", "False")]);
            s.merge(
                "gateways",
                "gateway",
                "gw",
                json!({"status": {"conditions": conditions}}),
            );
        },
        wrong: &[("gateway", Fail)],
        says: &["Programmed: False", "no address"],
    },
    Broken {
        how: "two Rollouts name the same Services",
        make: |s| {
            let one = s.cluster.get("rollouts", SHOP, "checkout").unwrap();
            s.create("rollouts", json!({"metadata": {"name": "second", "namespace": SHOP}, "spec": one["spec"], "status": one["status"]}));
            s.status("rollouts", SHOP, "second", json!({"status": one["status"]}));
        },
        wrong: &[("service", Fail)],
        says: &["is named by Rollout second too", "Services of its own"],
    },
    Broken {
        how: "a Service carries the hash of a Rollout that is gone",
        make: |s| {
            let selector = json!({"rollouts-pod-template-hash": "0000000000"});
            s.merge(
                "services",
                SHOP,
                "checkout-canary",
                json!({"spec": {"selector": selector}}),
            );
        },
        wrong: &[("service-selector", Warn)],
        says: &["points at hash 0000000000", "no ReplicaSet"],
    },
    Broken {
        how: "a Service selects pods that there are not",
        make: |s| {
            s.merge(
                "services",
                SHOP,
                "checkout-canary",
                json!({"spec": {"selector": {"app": "chekout"}}}),
            );
        },
        wrong: &[("service-selector", Fail)],
        says: &["Service shop/checkout-canary", "app=chekout", "theirs is checkout"],
    },
    Broken {
        how: "an autoscaler still scales the Deployment that was there before",
        make: |s| {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
            s.create(
                "horizontalpodautoscalers",
                json!({
                    "metadata": {"name": "checkout", "namespace": SHOP},
                    "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9},
                }),
            );
        },
        wrong: &[("autoscaler", Fail)],
        says: &[
            "still scales Deployment checkout",
            "does not exist any more",
            "kind: Rollout",
        ],
    },
    Broken {
        how: "a disruption budget allows no disruption",
        make: |s| {
            s.create(
                "poddisruptionbudgets",
                json!({
                    "metadata": {"name": "checkout", "namespace": SHOP},
                    "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "checkout"}}},
                }),
            );
        },
        wrong: &[("disruption-budget", Warn)],
        says: &["minAvailable 100%", "cannot be drained", "maxUnavailable: 1"],
    },
    Broken {
        how: "the controller is scaled to nothing",
        make: |s| s.merge("deployments", HOME, "serin", json!({"spec": {"replicas": 0}})),
        wrong: &[("controller-ready", Fail)],
        says: &["0 replicas", "--replicas=2"],
    },
    Broken {
        how: "a Rollout belongs to an instance that there is not",
        make: |s| {
            let labels = json!({"argo-rollouts.argoproj.io/controller-instance-id": "blue"});
            s.merge("rollouts", SHOP, "checkout", json!({"metadata": {"labels": labels}}));
        },
        wrong: &[("rollout-attended", Fail)],
        says: &["nobody looks after it", "--instance-id blue"],
    },
    Broken {
        how: "the controller has one namespace only, with the rights for that, and the Rollouts are elsewhere",
        make: |s| {
            s.forbid(|call| call.resource == "subjectaccessreviews");
            s.delete("clusterrolebindings", "", "serin-controller");
            s.apply(NAMESPACED, HOME);
            let mut deployment = (*s.cluster.get("deployments", HOME, "serin").unwrap()).clone();
            deployment["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["controller", "--namespaced"]);
            s.cluster.update("admin", "deployments", None, deployment).unwrap();
        },
        wrong: &[("rollout-attended", Fail)],
        says: &["no controller of Serin watches namespace shop"],
    },
    Broken {
        how: "an analysis template is missing",
        make: |s| s.delete("analysistemplates", SHOP, "http-error-rate"),
        wrong: &[("rollout-spec", Fail)],
        says: &[
            "AnalysisTemplate 'http-error-rate' not found",
            "Create AnalysisTemplate",
        ],
    },
    Broken {
        how: "a Rollout asks for what there is not yet",
        make: |s| {
            let strategy = json!({"canary": null, "blueGreen": {"activeService": "checkout-stable"}});
            s.merge("rollouts", SHOP, "checkout", json!({"spec": {"strategy": strategy}}));
        },
        wrong: &[("rollout-unsupported", Warn)],
        says: &["blueGreen", "not supported yet"],
    },
    Broken {
        how: "the Gateway is gone",
        make: |s| s.delete("gateways", "gateway", "gw"),
        wrong: &[("gateway", Fail)],
        says: &["Gateway gateway/gw", "does not exist"],
    },
    Broken {
        how: "the gateway does not take the route",
        make: |s| {
            let no = json!({"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "no"});
            s.merge(
                "httproutes",
                SHOP,
                "checkout",
                json!({"status": {"parents": [{"parentRef": {"name": "gw"}, "conditions": [no]}]}}),
            );
        },
        wrong: &[("route-accepted", Fail)],
        says: &["NotAllowedByListeners"],
    },
    Broken {
        how: "the route sends to a port that the Service does not have, which leads to a port that the pods do not have",
        make: |s| {
            s.merge(
                "services",
                SHOP,
                "checkout-stable",
                json!({"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}}),
            );
            s.merge(
                "services",
                SHOP,
                "checkout-canary",
                json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]}}),
            );
        },
        wrong: &[("service-ports", Fail)],
        says: &["checkout-canary", "port named web"],
    },
    Broken {
        how: "no pod is ready, and none could say so",
        make: |s| {
            s.delete("endpointslices", SHOP, "checkout-stable");
            let rollout = s.cluster.get("rollouts", SHOP, "checkout").unwrap();
            let mut containers = rollout["spec"]["template"]["spec"]["containers"].clone();
            containers[0].as_object_mut().unwrap().remove("readinessProbe").unwrap();
            s.merge(
                "rollouts",
                SHOP,
                "checkout",
                json!({"spec": {"template": {"spec": {"containers": containers}}}}),
            );
        },
        wrong: &[("service-endpoints", Fail), ("readiness-probe", Warn)],
        says: &["no ready pod", "wants 4"],
    },
    Broken {
        how: "the Deployment that was there before still runs",
        make: |s| {
            let labels = json!({"app": "checkout"});
            s.create(
                "deployments",
                json!({
                    "metadata": {"name": "checkout", "namespace": SHOP},
                    "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": {
                        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]},
                    }},
                }),
            );
        },
        wrong: &[("old-deployment", Warn)],
        says: &["still runs 3 pods", "--replicas=0"],
    },
];

#[tokio::test(start_paused = true)]
async fn what_is_shipped_passes_every_check() {
    let lines = Stage::with_definitions().check().await;
    assert_eq!(wrong(&lines), [], "{lines:#?}");
    assert_eq!(exit(&lines, true), 0);
    let seen: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.check.id).collect();
    assert!(seen.len() > 20, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn every_broken_installation_is_named_and_nothing_else_is() {
    let mut problems = Vec::new();
    for broken in BROKEN {
        let is_of_definitions = broken.wrong.iter().any(|(id, _)| id.starts_with("crd"));
        let stage = if is_of_definitions {
            Stage::with_definitions()
        } else {
            Stage::healthy()
        };
        (broken.make)(&stage);
        let lines = stage.check().await;
        let found = wrong(&lines);
        if found != broken.wrong {
            problems.push(format!(
                "{}: {found:?} instead of {:?}\n{:#?}",
                broken.how,
                broken.wrong,
                not_fine(&lines)
            ));
            continue;
        }
        let first = lines.iter().find(|line| line.status != Pass).expect("one");
        let text = format!("{} {} {}", first.about, first.seen, first.advice);
        for part in broken.says {
            if !text.contains(part) {
                problems.push(format!("{}: {part:?} is not said: {text}", broken.how));
            }
        }
        for line in not_fine(&lines) {
            if line.advice.is_empty() {
                problems.push(format!("{}: no way out: {line:?}", broken.how));
            }
        }
        let worst = broken.wrong.iter().map(|(_, status)| *status).max();
        if exit(&lines, false) != u8::from(worst == Some(Fail)) || exit(&lines, true) != 1 {
            problems.push(format!("{}: exit code", broken.how));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn not_fine(lines: &[Line]) -> Vec<&Line> {
    lines.iter().filter(|line| line.status != Pass).collect()
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_nothing_gets_warnings_and_no_crash() {
    let stage = Stage::healthy();
    stage.forbid(|call| !call.resource.is_empty());
    let lines = stage.check().await;
    assert!(lines.iter().all(|line| line.status != Fail), "{:#?}", not_fine(&lines));
    let reading = lines.iter().filter(|line| line.check.id == "reading").count();
    assert!(reading >= 3, "{:#?}", not_fine(&lines));
}

#[tokio::test(start_paused = true)]
async fn each_kind_that_may_not_be_read_is_said_and_harms_no_other_check() {
    let every = ALL.len();
    assert!(every > 30);
    for resource in [
        "analysistemplates",
        "clusteranalysistemplates",
        "services",
        "endpointslices",
        "httproutes",
        "gateways",
        "deployments",
        "poddisruptionbudgets",
        "horizontalpodautoscalers",
        "replicasets",
        "leases",
        "pods",
        "customresourcedefinitions",
        "subjectaccessreviews",
        "namespaces",
    ] {
        let stage = Stage::healthy();
        stage.forbid(move |call| call.resource == resource);
        let lines = stage.check().await;
        assert!(
            lines.iter().all(|line| line.status != Fail),
            "{resource}: {:#?}",
            not_fine(&lines)
        );
        assert!(exit(&lines, false) == 0);
        let is_silent = matches!(resource, "replicasets" | "namespaces" | "subjectaccessreviews" | "pods");
        assert!(is_silent || exit(&lines, true) == 1, "{resource}: nothing is said");
    }
}
