//! What the controller may do, verb by verb, against the roles that are shipped: the very files, so that this list cannot
//! differ from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde_json::Value;
use serin_rehearse::manifests::documents;

use super::{
    controllers::{Controller, Product},
    line::{Line, RIGHTS, RIGHTS_LEASE, RIGHTS_OWNERS, RIGHTS_SECRETS},
    metrics,
    observed::{Observed, Way, list},
};

const CLUSTER: &str = include_str!("../../../../deploy/base/cluster-rights/cluster-role.yaml");
const NAMESPACED: &str = include_str!("../../../../deploy/overlays/namespaced/role.yaml");
const LEASE: &str = include_str!("../../../../deploy/base/controller/lease.yaml");
const OWNERS: &str = include_str!("../../../../deploy/components/owner-references/owner-references.yaml");
/// The group by which OpenShift is known: it has the plugin OwnerReferencesPermissionEnforcement.
const OPENSHIFT: &str = "security.openshift.io/v1";

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    pub(super) group: String,
    /// With its subresource: `rollouts/status`.
    pub(super) resource: String,
    pub(super) verb: String,
    /// All when left out.
    pub(super) namespace: Option<String>,
    /// All when left out.
    pub(super) name: Option<String>,
}

impl Right {
    /// `rollouts.argoproj.io`.
    pub(super) fn target(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// As `resourceAttributes` of a review.
    pub(super) fn attributes(&self) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        serde_json::json!({
            "group": self.group, "resource": resource, "subresource": subresource, "verb": self.verb,
            "namespace": self.namespace.as_deref().unwrap_or_default(), "name": self.name.as_deref().unwrap_or_default(),
        })
    }
}

/// The rules of all roles in a manifest.
pub(super) fn rules(manifest: &str) -> Vec<Right> {
    let documents = documents("a shipped role", manifest).unwrap_or_default();
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        list(rule, &format!("/{field}"))
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let mut all = Vec::new();
    for rule in documents.iter().flat_map(|d| list(&d.object, "/rules")) {
        let names: Vec<Option<String>> = match texts(rule, "resourceNames") {
            names if names.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    all.extend(names.iter().map(|name| Right {
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        namespace: None,
                        name: name.clone(),
                    }));
                }
            }
        }
    }
    all
}

static CLUSTER_RULES: LazyLock<Vec<Right>> = LazyLock::new(|| rules(CLUSTER));
static NAMESPACED_RULES: LazyLock<Vec<Right>> = LazyLock::new(|| rules(NAMESPACED));

/// What a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Work,
    Lease,
    Owners,
}

/// All that a controller needs.
fn needed(controller: &Controller) -> Vec<(For, Right)> {
    let work = if controller.is_namespaced {
        &*NAMESPACED_RULES
    } else {
        &*CLUSTER_RULES
    };
    let mut all: Vec<(For, Right)> = work
        .iter()
        .cloned()
        .map(|mut right| {
            // With --namespace alone it still lists what has no namespace.
            if right.resource != "clusteranalysistemplates" {
                right.namespace.clone_from(&controller.watches);
            }
            (For::Work, right)
        })
        .collect();
    if controller.elects {
        all.extend(rules(LEASE).into_iter().map(|mut right| {
            right.namespace = Some(controller.namespace.clone());
            right.name = right.name.map(|_| controller.lease());
            (For::Lease, right)
        }));
    }
    all.extend(rules(OWNERS).into_iter().map(|mut right| {
        right.namespace.clone_from(&controller.watches);
        (For::Owners, right)
    }));
    all
}

/// Everything to be asked about a controller's account, `secrets` included.
pub(super) fn wanted(controller: &Controller, secrets: &BTreeSet<(String, String)>) -> Vec<Right> {
    let mut all: Vec<Right> = needed(controller).into_iter().map(|(_, right)| right).collect();
    all.extend(secrets.iter().map(|(namespace, name)| secret(namespace, name)));
    all
}

fn secret(namespace: &str, name: &str) -> Right {
    Right {
        group: String::new(),
        resource: "secrets".to_owned(),
        verb: "get".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
    }
}

/// What will not work without a right of the shipped roles.
fn without(right: &Right) -> &'static str {
    match (right.resource.as_str(), right.verb.as_str()) {
        ("rollouts", "list" | "watch") => "no Rollout is seen",
        ("rollouts", "get") => "after a conflict a Rollout is not read again, and stands still for longer",
        ("rollouts", "patch") => "revisions and pauses are not written: releases stand still",
        ("rollouts/status", _) => "no status is written: releases stand still",
        ("analysisruns", "list" | "watch" | "get") => "analysis runs are not seen: releases with analysis stand still",
        ("analysisruns", "create") => "no analysis begins: releases stand still at their analysis",
        ("analysisruns", "patch") => "measurements are not written down: analyses never end",
        ("analysisruns", "delete") => "old analysis runs pile up",
        ("analysistemplates", _) => "templates are not seen: Rollouts with analysis are InvalidSpec",
        ("clusteranalysistemplates", _) => "cluster templates are not seen: Rollouts that name one are InvalidSpec",
        ("replicasets", "list" | "watch" | "get") => "ReplicaSets are not seen: nothing is released",
        ("replicasets", "create") => "a new version gets no pods",
        ("replicasets", "patch") => "versions are not scaled: releases stand still, aborts too",
        ("replicasets", "delete") => "old ReplicaSets pile up",
        ("services", "list" | "watch" | "get") => "Services are not seen: Rollouts that name one are InvalidSpec",
        ("services", _) => "Services are not pointed at canary and stable pods: releases stand still",
        ("endpointslices", _) => {
            "weights follow the pods' readiness and not the Services' endpoints: requests may fail for a moment"
        }
        ("httproutes", "list" | "watch" | "get") => "routes are not seen: Rollouts with a route stand still",
        ("httproutes", _) => "weights are not written: no canary gets traffic, and none is taken away in an abort",
        ("events", _) => "`kubectl describe rollout` shows no events",
        ("leases", "create") => "there is no Lease to take in a new cluster: nobody ever leads",
        ("leases", _) => "the Lease is not taken: nobody leads, and no Rollout moves",
        ("rollouts/finalizers", _) => {
            "the API server refuses ReplicaSets and analysis runs that block the deletion of their Rollout"
        }
        _ => "",
    }
}

/// Whether Serin goes on without it, perhaps because nobody here needs it.
fn is_spared(seen: &Observed, right: &Right) -> bool {
    let has_routes = || {
        seen.apps()
            .iter()
            .any(|a| a.canary().is_some_and(|c| c.traffic_routing.is_some()))
    };
    match (right.resource.as_str(), right.verb.as_str()) {
        ("events" | "endpointslices", _) | (_, "delete") => true,
        ("httproutes", _) => !has_routes(),
        ("clusteranalysistemplates", _) => !metrics::template_refs(seen)
            .iter()
            .any(|(_, template)| template.cluster_scope),
        _ => false,
    }
}

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let serins = seen.controllers().iter().filter(|c| c.product == Product::Serin);
    serins
        .zip(&seen.rights)
        .flat_map(|(controller, rights)| {
            let about = format!("ServiceAccount {}/{}", controller.namespace, controller.account);
            match rights {
                Ok(rights) => account(seen, controller, &about, rights.way, &rights.answers),
                Err(trouble) => vec![RIGHTS.warn(
                    about,
                    format!("what it may do is not known: cannot {}: {}", trouble.what, trouble.message),
                    "Check as somebody who may create SubjectAccessReviews or read ClusterRoles and their bindings, such as a cluster admin.",
                )],
            }
        })
        .collect()
}

fn account(
    seen: &Observed,
    controller: &Controller,
    about: &str,
    way: Way,
    answers: &BTreeMap<Right, bool>,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let how = match way {
        Way::Reviewed => "asked verb by verb",
        Way::Computed => "read from roles and bindings, because the API server may not be asked",
    };
    let all = needed(controller);
    for (purpose, check, file) in [
        (
            For::Work,
            &RIGHTS,
            if controller.is_namespaced {
                "deploy/overlays/namespaced/role.yaml"
            } else {
                "deploy/base/cluster-rights/cluster-role.yaml"
            },
        ),
        (For::Lease, &RIGHTS_LEASE, "deploy/base/controller/lease.yaml"),
    ] {
        let mine: Vec<&Right> = all
            .iter()
            .filter(|(p, _)| *p == purpose)
            .map(|(_, right)| right)
            .collect();
        if mine.is_empty() {
            continue;
        }
        let denied: Vec<&Right> = mine
            .iter()
            .copied()
            .filter(|right| answers.get(*right) == Some(&false))
            .collect();
        if denied.is_empty() {
            lines.push(check.pass(
                about,
                format!("may do all that {file} says: {} rights, {how}", mine.len()),
            ));
            continue;
        }
        if denied.len() == mine.len() {
            lines.push(check.fail(
                about,
                format!("may do nothing of what {file} says ({how})"),
                format!("Apply it with its binding, whose subject must be {about}: a binding that still names another namespace gives nothing."),
            ));
            continue;
        }
        lines.extend(by_resource(seen, check, about, &denied, file));
    }
    lines.extend(owners(seen, about, &all, answers));
    lines.extend(secrets(seen, about, answers));
    lines
}

/// One line for each resource and each way in which its verbs are missed.
fn by_resource(
    seen: &Observed,
    check: &'static super::line::Check,
    about: &str,
    denied: &[&Right],
    file: &str,
) -> Vec<Line> {
    let mut groups: BTreeMap<(String, bool), Vec<&Right>> = BTreeMap::new();
    for right in denied {
        groups
            .entry((right.target(), is_spared(seen, right)))
            .or_default()
            .push(right);
    }
    groups
        .into_iter()
        .map(|((target, spared), rights)| {
            let verbs: BTreeSet<&str> = rights.iter().map(|r| r.verb.as_str()).collect();
            let lost: BTreeSet<&str> = rights.iter().map(|r| without(r)).collect();
            let place = match rights.first().and_then(|r| r.namespace.as_deref()) {
                Some(namespace) => format!(" in namespace {namespace}"),
                None => String::new(),
            };
            let what = format!(
                "may not {} {target}{place}: {}",
                verbs.into_iter().collect::<Vec<_>>().join(", "),
                lost.into_iter().collect::<Vec<_>>().join("; ")
            );
            let advice =
                format!("Grant it as {file} does; `kubectl apply -k deploy` brings the role back as it is shipped.");
            if spared {
                check.warn(about, what, advice)
            } else {
                check.fail(about, what, advice)
            }
        })
        .collect()
}

/// Only known where OpenShift is: the plugin itself cannot be asked for.
fn owners(seen: &Observed, about: &str, all: &[(For, Right)], answers: &BTreeMap<Right, bool>) -> Option<Line> {
    let is_openshift = seen.groups.as_ref().is_ok_and(|groups| groups.contains(OPENSHIFT));
    if !is_openshift {
        return None;
    }
    let denied = all
        .iter()
        .find(|(purpose, right)| *purpose == For::Owners && answers.get(right) == Some(&false));
    Some(match denied {
        None => RIGHTS_OWNERS.pass(about, "may own what it creates"),
        Some((_, right)) => RIGHTS_OWNERS.fail(
            about,
            format!(
                "may not {} {}, and this is OpenShift: {}",
                right.verb,
                right.target(),
                without(right)
            ),
            "Add the component components/owner-references to your kustomization.",
        ),
    })
}

fn secrets(seen: &Observed, about: &str, answers: &BTreeMap<Right, bool>) -> Vec<Line> {
    let used = metrics::secrets_used(seen);
    let names: BTreeSet<(String, String)> = used.iter().map(|(ns, name, _)| (ns.clone(), name.clone())).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let denied: Vec<String> = names
        .iter()
        .filter(|(namespace, name)| answers.get(&secret(namespace, name)) == Some(&false))
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect();
    vec![if denied.is_empty() {
        RIGHTS_SECRETS.pass(
            about,
            format!("may read the {} Secrets that analyses name", names.len()),
        )
    } else {
        RIGHTS_SECRETS.fail(
            about,
            format!("may not get Secret {}, which analyses take arguments from: these end with phase Error", denied.join(", ")),
            "Apply a Role like deploy/components/secrets/secret-reader.yaml in the namespace, or add components/secrets for all Secrets.",
        )
    }]
}

/// What somebody must be able to do to install: the kinds of `kubectl apply -k deploy`.
pub(super) fn to_install(home: &str) -> Vec<Right> {
    let right = |group: &str, resource: &str, verb: &str, namespace: Option<&str>| Right {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: None,
    };
    let rbac = "rbac.authorization.k8s.io";
    let mut all = Vec::new();
    for verb in ["create", "patch"] {
        all.push(right("apiextensions.k8s.io", "customresourcedefinitions", verb, None));
        all.push(right("", "namespaces", verb, None));
        all.push(right(rbac, "clusterroles", verb, None));
        all.push(right(rbac, "clusterrolebindings", verb, None));
        for (group, resource) in [
            (rbac, "roles"),
            (rbac, "rolebindings"),
            ("", "serviceaccounts"),
            ("", "services"),
            ("apps", "deployments"),
            ("policy", "poddisruptionbudgets"),
        ] {
            all.push(right(group, resource, verb, Some(home)));
        }
    }
    all
}

/// Who creates a role must have its rights, or be allowed to escalate.
pub(super) fn escalate() -> Right {
    Right {
        group: "rbac.authorization.k8s.io".to_owned(),
        resource: "clusterroles".to_owned(),
        verb: "escalate".to_owned(),
        namespace: None,
        name: None,
    }
}

/// What the shipped ClusterRole grants.
pub(super) fn granted() -> &'static [Right] {
    &CLUSTER_RULES
}

/// The name that RBAC knows a ServiceAccount by, and its groups.
pub(super) fn subject(controller: &Controller) -> (String, Vec<String>) {
    let Controller { namespace, account, .. } = controller;
    (
        format!("system:serviceaccount:{namespace}:{account}"),
        vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_known_for_every_right_that_is_shipped() {
        let all: Vec<Right> = [CLUSTER, NAMESPACED, LEASE, OWNERS]
            .iter()
            .flat_map(|m| rules(m))
            .collect();
        assert!(all.len() > 60, "{}", all.len());
        for right in &all {
            assert!(!without(right).is_empty(), "nothing is said of {right:?}");
        }
    }
}
