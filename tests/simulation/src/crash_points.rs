//! Crash points: (kind of the last write, kind of the next write) of one process of the controller.

/// Every pair that comes up in the ordinary course of things, with the chance in percent that a crash waits for it among
/// others: rare ones more often. Other pairs are left to chance: they need two Rollouts whose writes happen to follow each
/// other.
pub const POSSIBLE: &[(u64, (&str, &str))] = &[
    (50, ("create analysisruns", "patch analysisruns")),
    (80, ("create analysisruns", "patch replicasets")),
    (20, ("create analysisruns", "patch rollouts/status")),
    (4, ("create replicasets", "patch rollouts/status")),
    (50, ("delete replicasets", "patch rollouts/status")),
    (80, ("delete analysisruns", "delete replicasets")),
    (8, ("patch analysisruns", "patch analysisruns")),
    (80, ("patch analysisruns", "patch httproutes")),
    (50, ("patch analysisruns", "patch replicasets")),
    (50, ("patch analysisruns", "patch services")),
    (4, ("patch analysisruns", "patch rollouts/status")),
    (80, ("patch httproutes", "patch replicasets")),
    (8, ("patch httproutes", "patch rollouts/status")),
    (50, ("patch replicasets", "patch analysisruns")),
    (50, ("patch replicasets", "patch httproutes")),
    (4, ("patch replicasets", "patch replicasets")),
    (20, ("patch replicasets", "patch rollouts")),
    (4, ("patch replicasets", "patch rollouts/status")),
    (4, ("patch rollouts", "create replicasets")),
    (20, ("patch rollouts", "patch rollouts/status")),
    (8, ("patch rollouts/status", "create analysisruns")),
    (80, ("patch rollouts/status", "create replicasets")),
    (80, ("patch rollouts/status", "delete analysisruns")),
    (80, ("patch rollouts/status", "delete replicasets")),
    (4, ("patch rollouts/status", "patch analysisruns")),
    (8, ("patch rollouts/status", "patch httproutes")),
    (4, ("patch rollouts/status", "patch replicasets")),
    (4, ("patch rollouts/status", "patch rollouts")),
    (4, ("patch rollouts/status", "patch rollouts/status")),
    (8, ("patch rollouts/status", "patch services")),
    (50, ("patch services", "patch analysisruns")),
    (20, ("patch services", "patch replicasets")),
    (8, ("patch services", "patch rollouts/status")),
    (20, ("patch services", "patch services")),
];

/// Pairs that a crash waits for alone, with their weights: those that come late in a run, when others have come before.
pub const LATE: &[(u64, (&str, &str))] = &[
    (100, ("delete analysisruns", "delete replicasets")),
    (50, ("patch services", "patch analysisruns")),
    (30, ("patch analysisruns", "patch httproutes")),
    (20, ("patch analysisruns", "patch analysisruns")),
    (20, ("patch analysisruns", "patch services")),
    (20, ("patch rollouts/status", "patch analysisruns")),
    (20, ("patch rollouts/status", "create analysisruns")),
    (20, ("patch replicasets", "patch analysisruns")),
    (20, ("delete replicasets", "patch rollouts/status")),
    (20, ("create analysisruns", "patch analysisruns")),
    (20, ("patch rollouts/status", "delete analysisruns")),
    (20, ("patch rollouts/status", "delete replicasets")),
    (10, ("patch analysisruns", "patch rollouts/status")),
    (10, ("patch rollouts/status", "patch httproutes")),
    (10, ("patch services", "patch replicasets")),
    (10, ("patch replicasets", "patch rollouts")),
    (10, ("patch rollouts", "patch rollouts/status")),
    (10, ("patch httproutes", "patch rollouts/status")),
    (10, ("patch services", "patch services")),
    (10, ("patch analysisruns", "patch replicasets")),
];

/// The kind of a write as it is called here.
pub fn kind(verb: &str, resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}/{subresource}")
    }
}
