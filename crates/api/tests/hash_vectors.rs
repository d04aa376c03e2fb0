//! The recorded hashes of the real controller (tests/recordings/hash-vectors.jsonl) come out exactly.

use serde_json::Value;
use serin_api::{
    digest::TemplateDigest,
    hash::{pod_template_hash, steps_hash},
    rollout::CanaryStep,
    template::PodTemplate,
};

fn vectors() -> Vec<Value> {
    include_str!("../../../tests/recordings/hash-vectors.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the field is a text")
}

/// The hash that we give for what was stored.
fn ours(vector: &Value) -> (String, String) {
    let stored = &vector["stored"];
    if vector["kind"] == "steps" {
        if vector["strategy"] == "blueGreen" {
            return (String::new(), text(&vector["stepHash"]).to_owned());
        }
        let steps: Option<Vec<CanaryStep>> = serde_json::from_value(stored.clone()).expect("steps can be read");
        return (steps_hash(steps.as_deref()), text(&vector["stepHash"]).to_owned());
    }
    let hash = pod_template_hash(&PodTemplate(stored.clone()), None);
    (hash, text(&vector["podTemplateHash"]).to_owned())
}

#[test]
fn all_recorded_hashes_come_out() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 91);
    let wrong: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let (ours, recorded) = ours(vector);
            (ours != recorded).then(|| format!("{} {}: {ours}, recorded {recorded}", vector["kind"], vector["name"]))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        vectors.len(),
        wrong.join("\n")
    );
}

/// What was submitted hashes like what was stored when the only difference is spelling (and not a schema default).
#[test]
fn other_spellings_of_the_same_template_have_the_same_hash() {
    let mut seen = 0;
    for vector in vectors().iter().filter(|v| text(&v["name"]).starts_with("quantity-")) {
        let hash = pod_template_hash(&PodTemplate(vector["submitted"].clone()), None);
        assert_eq!(hash, text(&vector["podTemplateHash"]), "{}", vector["name"]);
        seen += 1;
    }
    assert_eq!(seen, 14);
}

/// The templates of Deployments were defaulted by the API server: they mean what was submitted inline.
#[test]
fn defaulted_templates_mean_what_was_submitted() {
    let mut seen = 0;
    for vector in vectors().iter().filter(|v| v["kind"] != "steps") {
        let digest = |value: &Value| TemplateDigest::of(&PodTemplate(value.clone()), None);
        assert_eq!(
            digest(&vector["submitted"]),
            digest(&vector["stored"]),
            "{}",
            vector["name"]
        );
        seen += 1;
    }
    assert_eq!(seen, 76);
}
