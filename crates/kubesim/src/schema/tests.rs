//! Vectors for schemas.

use std::sync::Arc;

use chrono::{TimeDelta, TimeZone, Utc};
use serde_json::{Value, json};

use super::{Crd, CrdVersion, Include, Rules, human_duration, invalid, table, unknown_fields};

fn rollouts() -> Arc<Crd> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds/rollouts-crd.yaml");
    let text = std::fs::read_to_string(path).expect("the file is part of the repository");
    let object: Value = serde_saphyr::from_str(&text).expect("YAML");
    Crd::parse(&object).expect("a good definition")
}

fn rollout() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "x", "namespace": "default", "resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [
                    {"name": "main", "image": "x:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}}},
                ]},
            },
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"pause": {"duration": 10}}]}},
        },
    })
}

/// A definition with this schema of `spec`.
pub(crate) fn with_spec(spec: &Value) -> Arc<CrdVersion> {
    let crd = Crd::parse(&json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    }));
    crd.expect("a good definition").storage().clone()
}

pub(crate) fn thing(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "default"}, "spec": spec})
}

fn complaints(spec: &Value, value: &Value) -> Vec<String> {
    let version = with_spec(spec);
    let mut object = thing(value);
    version.decode(&mut object).expect("it decodes");
    version.default(&mut object);
    let complaints = version.validate(&object);
    // What always comes last where the form is wrong.
    let about_rules = |text: &String| !text.contains("some validation rules were not checked");
    complaints.iter().map(ToString::to_string).filter(about_rules).collect()
}

#[test]
fn the_rollout_of_the_repositorys_definition_is_accepted_and_keeps_its_fields() {
    let crd = rollouts();
    let version = crd.version("v1alpha1").expect("served");
    let mut object = rollout();
    assert_eq!(version.decode(&mut object).expect("it decodes"), Vec::<String>::new());
    let decoded = object.clone();
    assert_eq!(decoded, rollout());
    version.default(&mut object);
    assert_eq!(version.validate(&object), Vec::new());
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    assert!(version.status && version.scale.is_some());
    assert_eq!(crd.list_kind, "RolloutList");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_in_the_servers_words() {
    let crd = rollouts();
    let version = crd.storage();
    let mut object = rollout();
    object["spec"]["replicas"] = json!("three");
    version.decode(&mut object).expect("it decodes");
    let status = invalid("argoproj.io", "Rollout", "x", &version.validate(&object));
    assert_eq!(status.code, 422);
    assert_eq!(
        status.message,
        "Rollout.argoproj.io \"x\" is invalid: [spec.replicas: Invalid value: \"string\": spec.replicas in body must be of \
         type integer: \"string\", .spec.replicas: Invalid value: 0: .spec.replicas accessor error: three is of the type \
         string, expected int64, <nil>: Invalid value: null: some validation rules were not checked because the object was \
         invalid; correct the existing errors to complete validation]"
    );
    assert_eq!(status.details["causes"][0]["reason"], "FieldValueTypeInvalid");
    assert_eq!(status.details["causes"][0]["field"], "spec.replicas");
    assert_eq!(status.details["group"], "argoproj.io");
}

#[test]
fn unknown_fields_are_pruned_and_named() {
    let crd = rollouts();
    let version = crd.storage();
    let mut object = rollout();
    object["spec"]["colour"] = json!("green");
    object["spec"]["template"]["spec"]["containers"][0]["colour"] = json!({"deep": 1});
    object["metadata"]["colour"] = json!("red");
    let unknown = version.decode(&mut object).expect("it decodes");
    assert_eq!(
        unknown,
        [
            "metadata.colour",
            "spec.colour",
            "spec.template.spec.containers[0].colour"
        ]
    );
    assert_eq!(object, rollout());
    assert_eq!(
        unknown_fields("Rollout", "v1alpha1", &unknown[..2]).message,
        "Rollout in version \"v1alpha1\" cannot be handled as a Rollout: strict decoding error: unknown field \
         \"metadata.colour\", unknown field \"spec.colour\""
    );
}

#[test]
fn metadata_of_a_wrong_type_does_not_decode() {
    let crd = rollouts();
    let mut object = rollout();
    object["metadata"]["labels"]["a"] = json!(1);
    let status = crd.storage().decode(&mut object).expect_err("a number is no label");
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            400,
            "Rollout in version \"v1alpha1\" cannot be handled as a Rollout: json: cannot unmarshal number into Go struct \
             field ObjectMeta.labels of type string"
        )
    );
}

#[test]
fn every_keyword_of_a_schema_complains_in_the_servers_words() {
    let spec = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
            "colour": {"type": "string", "enum": ["red", "green"]},
            "count": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 10},
            "when": {"type": "string", "format": "date-time"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "list": {"type": "array", "maxItems": 2, "minItems": 1, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "flag": {"type": "boolean"},
            "keyed": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["id"],
                "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            },
            "one": {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            },
        },
    });
    for (value, expected) in [
        (
            json!({"name": "abc", "port": "http", "count": 3, "one": {"a": "1"}}),
            vec![],
        ),
        (
            json!({"name": "abc", "port": 80, "when": "2026-01-01T00:00:00Z"}),
            vec![],
        ),
        (json!({}), vec!["spec.name: Required value"]),
        (
            json!({"name": "A"}),
            vec!["spec.name: Invalid value: \"A\": spec.name in body should be at least 2 chars long"],
        ),
        (
            json!({"name": "ABC"}),
            vec!["spec.name: Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'"],
        ),
        (
            json!({"name": "abcde"}),
            vec!["spec.name: Too long: may not be more than 4 bytes"],
        ),
        (
            json!({"name": "abc", "colour": "blue"}),
            vec!["spec.colour: Unsupported value: \"blue\": supported values: \"red\", \"green\""],
        ),
        (
            json!({"name": "abc", "count": 0}),
            vec!["spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1"],
        ),
        (
            json!({"name": "abc", "count": 11}),
            vec!["spec.count: Invalid value: 11: spec.count in body should be less than or equal to 10"],
        ),
        (
            json!({"name": "abc", "count": true}),
            vec!["spec.count: Invalid value: \"\": spec.count in body must be of type int32: \"\""],
        ),
        (
            json!({"name": "abc", "when": "noon"}),
            vec!["spec.when: Invalid value: \"noon\": spec.when in body must be of type date-time: \"noon\""],
        ),
        (
            json!({"name": "abc", "port": true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
                "<nil>: Invalid value: \"\": \"spec.port\" must validate at least one schema (anyOf)",
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer: \"boolean\"",
            ],
        ),
        (
            json!({"name": "abc", "list": ["a", "b", "a"]}),
            vec![
                "spec.list: Too many: 3: must have at most 2 items",
                "spec.list[2]: Duplicate value: \"a\"",
            ],
        ),
        (
            json!({"name": "abc", "list": []}),
            vec!["spec.list: Invalid value: 0: spec.list in body should have at least 1 items"],
        ),
        (
            json!({"name": "abc", "flag": "yes"}),
            vec!["spec.flag: Invalid value: \"string\": spec.flag in body must be of type boolean: \"string\""],
        ),
        (
            json!({"name": "abc", "keyed": [{"id": "a"}, {"id": "a"}]}),
            vec!["spec.keyed[1]: Duplicate value: {\"id\":\"a\"}"],
        ),
        (
            json!({"name": "abc", "one": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.a: Required value",
            ],
        ),
        (
            json!({"name": "abc", "one": {"a": "1", "b": "2"}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid \
                 alternatives",
            ],
        ),
        (
            json!("text"),
            vec!["spec: Invalid value: \"string\": spec in body must be of type object: \"string\""],
        ),
    ] {
        assert_eq!(complaints(&spec, &value), expected, "{value}");
    }
}

#[test]
fn defaults_fill_what_is_missing_and_replace_nulls_that_may_not_be() {
    let version = with_spec(&json!({
        "type": "object",
        "default": {},
        "properties": {
            "size": {"type": "integer", "default": 3},
            "maybe": {"type": "string", "nullable": true, "default": "x"},
            "plain": {"type": "string"},
            "inner": {"type": "object", "properties": {"deep": {"type": "boolean", "default": true}}},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    }));
    for (given, expected) in [
        (
            json!({"size": null, "maybe": null, "plain": null, "inner": {}, "raw": {"a": {"b": null}}}),
            json!({"size": 3, "maybe": null, "inner": {"deep": true}, "raw": {"a": {"b": null}}}),
        ),
        (json!({"size": 5.0}), json!({"size": 5, "maybe": "x"})),
    ] {
        let mut object = thing(&given);
        version.decode(&mut object).expect("it decodes");
        version.default(&mut object);
        assert_eq!(object["spec"], expected);
    }
}

#[test]
fn an_old_mistake_that_is_not_touched_is_not_complained_about_again() {
    let version = with_spec(
        &json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}, "m": {"type": "integer"}}}),
    );
    let mut old = thing(&json!({"n": 0, "m": 1}));
    old["metadata"]["resourceVersion"] = json!("1");
    let mut new = old.clone();
    new["spec"]["m"] = json!(2);
    assert_eq!(version.validate_update(&new, &old, ""), Vec::new());
    new["spec"]["n"] = json!(-1);
    assert_eq!(version.validate_update(&new, &old, "").len(), 1);
}

#[test]
fn a_status_is_validated_as_the_server_names_its_fields() {
    let crd = rollouts();
    let mut old = rollout();
    old["status"] = json!({"replicas": 1});
    let mut new = old.clone();
    new["status"]["replicas"] = json!("1");
    let errors = crd.storage().validate_update(&new, &old, "status");
    assert_eq!(
        errors[0].to_string(),
        "status.replicas: Invalid value: \"string\": replicas in body must be of type integer: \"string\""
    );
}

#[test]
fn names_and_labels_are_checked() {
    let version = with_spec(&json!({"type": "object"}));
    let mut object = thing(&json!({}));
    object["metadata"]["name"] = json!("Upper_Case");
    object["metadata"]["labels"] = json!({"-x": "ok", "y": "not ok"});
    let texts: Vec<String> = version.validate(&object).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "metadata.name: Invalid value: \"Upper_Case\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
             regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "metadata.labels: Invalid value: \"-x\": name part must consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
             validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "metadata.labels: Invalid value: \"not ok\": a valid label must be an empty string or consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ]
    );
}

#[test]
fn a_bad_definition_is_refused() {
    let status =
        Crd::parse(&json!({"metadata": {"name": "a"}, "spec": {"group": "g", "scope": "Space"}})).expect_err("bad");
    assert_eq!(status.code, 422);
    for part in [
        "spec.names.kind: Required value",
        "must be spec.names.plural+\\\".\\\"+spec.group",
        "spec.scope: Unsupported value: \"Space\": supported values: \"Cluster\", \"Namespaced\"",
        "must have exactly one version marked as storage version",
    ] {
        assert!(
            status.message.contains(&part.replace("\\\"", "\"")),
            "{part}: {}",
            status.message
        );
    }
}

#[test]
fn a_table_shows_the_printer_columns() {
    let crd = rollouts();
    let mut object = rollout();
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["status"] = json!({"replicas": 2});
    let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 5, 3).single().expect("a moment");
    let shown = table(
        crd.storage().columns(),
        [&object],
        now,
        Include::Metadata,
        json!({"resourceVersion": "7"}),
    );
    let names: Vec<&str> = shown["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(names, ["Name", "Desired", "Current", "Up-to-date", "Available", "Age"]);
    assert_eq!(shown["rows"][0]["cells"], json!(["x", 3, 2, null, null, "5m3s"]));
    assert_eq!(shown["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[test]
fn durations_are_shown_in_two_units_at_most() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (605, "10m"),
        (599, "9m59s"),
        (3 * 3600, "3h"),
        (7 * 3600 + 60, "7h1m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (800 * 86400, "2y70d"),
    ] {
        assert_eq!(human_duration(TimeDelta::seconds(seconds)), text);
    }
}
