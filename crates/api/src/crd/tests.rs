//! What the API server must be told, and that the committed files say it.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;

fn schema(plural: &str) -> Value {
    let definition = all().into_iter().find(|d| d.plural == plural).unwrap();
    definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    let mut place = schema;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        let name = part.trim_end_matches("[]");
        place = &place["properties"][name];
        assert!(!place.is_null(), "no {path} (at {part})");
        if name != part {
            place = &place["items"];
        }
    }
    place
}

#[test]
fn the_committed_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let stale = "is stale: run `make crds`";
    for definition in all() {
        let file = folder.join(definition.file_name());
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == definition.yaml(), "{} {stale}", definition.file_name());
    }
    assert_eq!(
        fs::read_to_string(folder.join("kustomization.yaml")).unwrap_or_default(),
        kustomization(),
        "{stale}"
    );
    let known: BTreeSet<String> = all()
        .iter()
        .map(Definition::file_name)
        .chain(["kustomization.yaml".to_owned()])
        .collect();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "deploy/crds/{name} is made by nobody");
    }
}

#[test]
fn plain_kubectl_apply_can_store_them() {
    for definition in all() {
        let json = serde_json::to_string(&definition.object).unwrap().len();
        let yaml = definition.yaml().len();
        assert!(
            json < 256 * 1024 && yaml < 200_000,
            "{}: {json} bytes JSON, {yaml} bytes YAML",
            definition.plural
        );
    }
}

/// Paths of all defaults and enums.
fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(map) = schema.as_object() else { return };
    for key in ["default", "enum"] {
        if let Some(value) = map.get(key) {
            found.insert(format!("{path} {key} {value}"));
        }
    }
    assert!(
        !map.contains_key("description") && !map.contains_key("nullable") && !map.contains_key("$ref"),
        "{path}"
    );
    let typed = map.contains_key("type")
        || map.contains_key("x-kubernetes-int-or-string")
        || map.contains_key("x-kubernetes-preserve-unknown-fields");
    assert!(typed, "{path} has no type");
    for (name, inner) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = map.get(key) {
            walk(inner, &format!("{path}{mark}"), found);
        }
    }
    let keys = map.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    for key in keys.into_iter().flatten().filter_map(Value::as_str) {
        let items = &map["items"];
        let required = items["required"].as_array().is_some_and(|r| r.iter().any(|n| n == key));
        let default = !items["properties"][key]["default"].is_null();
        assert!(
            required || default,
            "{path}: key {key} is neither required nor defaulted"
        );
    }
}

#[test]
fn defaults_are_exactly_upstreams() {
    let mut found = BTreeSet::new();
    walk(&schema("rollouts"), "", &mut found);
    let mut expected = BTreeSet::from([".spec.template.spec.imagePullSecrets[].name default \"\"".to_owned()]);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (path, default) in [
            ("ports[].protocol", "\"TCP\""),
            ("livenessProbe.grpc.service", "\"\""),
            ("readinessProbe.grpc.service", "\"\""),
            ("startupProbe.grpc.service", "\"\""),
            ("env[].valueFrom.configMapKeyRef.name", "\"\""),
            ("env[].valueFrom.secretKeyRef.name", "\"\""),
            ("env[].valueFrom.fileKeyRef.optional", "false"),
            ("envFrom[].configMapRef.name", "\"\""),
            ("envFrom[].secretRef.name", "\"\""),
        ] {
            expected.insert(format!(".spec.template.spec.{list}[].{path} default {default}"));
        }
    }
    assert_eq!(found, expected);
    let mut found = BTreeSet::new();
    walk(&schema("analysistemplates"), "", &mut found);
    found.retain(|line| !line.contains("provider.job"));
    let datadog = ".spec.metrics[].provider.datadog";
    let expected = [
        format!(
            "{datadog}.aggregator enum [\"avg\",\"min\",\"max\",\"sum\",\"last\",\"percentile\",\"mean\",\"l2norm\",\"area\"]"
        ),
        format!("{datadog}.apiVersion default \"v1\""),
        format!("{datadog}.apiVersion enum [\"v1\",\"v2\"]"),
        format!("{datadog}.interval default \"5m\""),
        format!("{datadog}.requestTimeout default \"10s\""),
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn what_upstream_requires_is_required_and_no_more() {
    let canary = "spec.strategy.canary";
    let rollouts = schema("rollouts");
    for (path, fields) in [
        ("", json!(["spec"])),
        ("spec", Value::Null),
        ("spec.strategy.blueGreen", json!(["activeService"])),
        (canary, Value::Null),
        (&format!("{canary}.pingPong"), json!(["pingService", "pongService"])),
        (&format!("{canary}.trafficRouting.alb"), json!(["servicePort"])),
        (
            &format!("{canary}.trafficRouting.alb.stickinessConfig"),
            json!(["durationSeconds", "enabled"]),
        ),
        (&format!("{canary}.trafficRouting.managedRoutes[]"), json!(["name"])),
        (&format!("{canary}.replicaProgressThreshold"), json!(["type", "value"])),
        (&format!("{canary}.steps[].plugin"), json!(["name"])),
        (&format!("{canary}.steps[].setHeaderRoute"), Value::Null),
        (
            &format!("{canary}.steps[].setHeaderRoute.match[]"),
            json!(["headerName", "headerValue"]),
        ),
        (&format!("{canary}.steps[].setMirrorRoute"), json!(["name"])),
        (
            &format!("{canary}.steps[].experiment.templates[]"),
            json!(["name", "specRef"]),
        ),
        (
            &format!("{canary}.steps[].experiment.analyses[]"),
            json!(["name", "templateName"]),
        ),
        (&format!("{canary}.analysis.args[]"), json!(["name"])),
        (&format!("{canary}.analysis.dryRun[]"), json!(["metricName"])),
        (
            &format!("{canary}.analysis.measurementRetention[]"),
            json!(["limit", "metricName"]),
        ),
        ("spec.template", Value::Null),
        ("spec.template.spec", json!(["containers"])),
        ("spec.template.spec.containers[]", json!(["name"])),
    ] {
        let mut required = at(&rollouts, path)["required"].clone();
        if let Some(list) = required.as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
        assert_eq!(required, fields, "{path}");
    }
    let runs = schema("analysisruns");
    assert_eq!(at(&runs, "spec")["required"], json!(["metrics"]));
    assert_eq!(at(&runs, "status")["required"], json!(["phase"]));
    assert_eq!(at(&runs, "spec.metrics[]")["required"], json!(["name", "provider"]));
    assert_eq!(
        at(&schema("experiments"), "spec.templates[]")["required"],
        json!(["name", "selector", "template"])
    );
}

#[test]
fn only_rollouts_have_subresources() {
    for definition in all() {
        let subresources = &definition.object["spec"]["versions"][0]["subresources"];
        assert_eq!(
            subresources.is_null(),
            definition.plural != "rollouts",
            "{}",
            definition.plural
        );
    }
    let rollouts = schema("rollouts");
    let rule = &at(&rollouts, "spec.selector")["x-kubernetes-validations"][0];
    assert_eq!(
        rule,
        &json!({"rule": "self == oldSelf", "message": ".spec.selector is immutable"})
    );
}

#[test]
fn numbers_may_be_texts_where_upstream_lets_them() {
    let rollouts = schema("rollouts");
    for path in ["maxSurge", "maxUnavailable", "steps[].pause.duration"] {
        let place = at(&rollouts, &format!("spec.strategy.canary.{path}"));
        assert_eq!(place["x-kubernetes-int-or-string"], true, "{path}");
    }
    let templates = schema("analysistemplates");
    for field in [
        "count",
        "failureLimit",
        "inconclusiveLimit",
        "consecutiveErrorLimit",
        "consecutiveSuccessLimit",
    ] {
        assert_eq!(
            at(&templates, &format!("spec.metrics[].{field}"))["x-kubernetes-int-or-string"],
            true,
            "{field}"
        );
    }
}

/// What is kept whatever it is: nothing beyond upstream's list (compat 1).
#[test]
fn unknown_fields_are_kept_only_where_upstream_keeps_them() {
    fn preserved(schema: &Value, path: &str, found: &mut Vec<String>) {
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            found.push(path.to_owned());
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            preserved(inner, &format!("{path}.{name}"), found);
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                preserved(&schema[key], path, found);
            }
        }
    }
    let mut found = Vec::new();
    preserved(&schema("rollouts"), "", &mut found);
    found.retain(|path| !path.contains(".resources."));
    assert_eq!(
        found,
        [
            ".spec.strategy.canary.steps.plugin.config",
            ".spec.strategy.canary.trafficRouting.plugins",
            ".spec.template.spec.volumes",
            ".status.canary.stepPluginStatuses.status",
        ]
    );
    let mut found = Vec::new();
    preserved(&schema("analysistemplates"), "", &mut found);
    found.retain(|path| !path.contains(".job."));
    assert_eq!(
        found,
        [".spec.metrics.provider.plugin", ".spec.metrics.provider.web.jsonBody"]
    );
}
