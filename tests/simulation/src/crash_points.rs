//! Crash points: (kind of the last write, kind of the next write) of one process of the controller.

/// Every pair that can occur, with how often a scenario should wait for it: rare ones more often.
pub const POSSIBLE: &[(u64, (&str, &str))] = &[
    (1, ("patch rollouts/status", "patch rollouts/status")),
    (1, ("create replicasets", "patch rollouts/status")),
    (1, ("patch replicasets", "patch rollouts/status")),
    (1, ("patch rollouts/status", "patch replicasets")),
    (1, ("patch rollouts/status", "create replicasets")),
    (1, ("patch httproutes", "patch rollouts/status")),
    (1, ("patch services", "patch rollouts/status")),
    (1, ("patch rollouts/status", "patch httproutes")),
];

/// The kind of a write as it is called here.
pub fn kind(verb: &str, resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}/{subresource}")
    }
}
