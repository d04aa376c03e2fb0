//! Names of revisions: hashes over the very bytes that Go's JSON encoder writes (compat 2.1.1, 2.1.2).

use crate::{rollout::CanaryStep, template::PodTemplate};

/// Hash of a pod template.
pub fn pod_template_hash(template: &PodTemplate, collision_count: Option<i32>) -> String {
    let _ = (template, collision_count);
    String::new()
}

/// Hash of the canary steps.
pub fn steps_hash(steps: Option<&[CanaryStep]>) -> String {
    let _ = steps;
    String::new()
}

/// A number in letters and digits that make no words.
pub fn safe_encode(number: u32) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    number
        .to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}
