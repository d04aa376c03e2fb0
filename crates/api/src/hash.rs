//! Names of revisions: hashes over the very bytes that Go's JSON encoder writes (compat 2.1.1, 2.1.2), so that a cluster run
//! by Argo Rollouts can be taken over without a new ReplicaSet.

use serde_json::Value;

use crate::{go_json, rollout::CanaryStep, template::PodTemplate};

/// The hash of a pod template as stored by the API server: value of the label `rollouts-pod-template-hash` and end of the
/// ReplicaSet's name (compat 2.1.1).
pub fn pod_template_hash(template: &PodTemplate, collision_count: Option<i32>) -> String {
    let mut hash = Fnv::new();
    hash.add(go_json::encode("PodTemplateSpec", &template.0).as_bytes());
    if let Some(count) = collision_count {
        hash.add(&count.to_le_bytes());
        hash.add(&[0; 4]);
    }
    safe_encode(hash.0)
}

/// `status.currentStepHash` of a canary (compat 2.1.2). No steps and an empty list are the same. A blue-green Rollout has
/// the empty text instead; that is the caller's to know.
pub fn steps_hash(steps: Option<&[CanaryStep]>) -> String {
    let values: Option<Vec<Value>> = steps.filter(|s| !s.is_empty()).map(|steps| {
        // A step that does not serialise cannot exist: it came from JSON.
        steps
            .iter()
            .map(|s| serde_json::to_value(s).unwrap_or_default())
            .collect()
    });
    let mut hash = Fnv::new();
    hash.add(go_json::encode_list("CanaryStep", values.as_deref()).as_bytes());
    safe_encode(hash.0)
}

/// A number in letters and digits that make no words (compat 2.1.1).
pub fn safe_encode(number: u32) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    number
        .to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// FNV-1a of 32 bits.
struct Fnv(u32);

impl Fnv {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digits_become_letters_that_make_no_words() {
        assert_eq!(safe_encode(1_234_567_890), "56789bcdf4");
        assert_eq!(safe_encode(0), "4");
    }

    /// The constants of compat 2.1.2.
    #[test]
    fn known_constants_come_out() {
        let scale = json!({"metadata": {"labels": {"app": "dynamic-stable-scale"}}, "spec": {"containers": [{
            "name": "dynamic-stable-scale", "image": "nginx:1.19-alpine",
            "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}}}],
            "readinessGates": [{"conditionType": "argoproj.io/e2e-readiness"}]}});
        assert_eq!(pod_template_hash(&PodTemplate(scale), None), "6b56c8cdb4");
        let delay = json!({"metadata": {"labels": {"app": "canary-scaledowndelay"}}, "spec": {"containers": [{
            "name": "canary-scaledowndelay", "image": "nginx:1.19-alpine",
            "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}}}]}});
        assert_eq!(pod_template_hash(&PodTemplate(delay), None), "674d8cf959");
        assert_eq!(steps_hash(None), "5ffbfbbd64");
        assert_eq!(steps_hash(Some(&[])), "5ffbfbbd64");
        let pause: CanaryStep = serde_json::from_value(json!({"pause": {}})).unwrap();
        assert_eq!(steps_hash(Some(std::slice::from_ref(&pause))), "6b9b86fbd5");
        assert_eq!(steps_hash(Some(&[pause.clone(), pause])), "79c9b9f6bf");
    }

    #[test]
    fn a_collision_changes_the_hash_and_zero_is_not_none() {
        let template = PodTemplate(json!({"metadata": {}, "spec": {"containers": []}}));
        let hashes = [None, Some(0), Some(1)].map(|count| pod_template_hash(&template, count));
        assert!(
            hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2],
            "{hashes:?}"
        );
    }
}
