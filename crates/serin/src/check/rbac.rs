//! What an account may do, computed from roles and bindings: for those who may read them and may not ask the API server.

use serde_json::Value;

use super::{
    controllers::Controller,
    observed::{list, text},
    rights::{Right, subject},
};

/// The roles and bindings of a cluster.
pub(super) struct Bindings {
    pub(super) cluster_roles: Vec<Value>,
    pub(super) cluster_bindings: Vec<Value>,
    pub(super) roles: Vec<Value>,
    pub(super) bindings: Vec<Value>,
}

impl Bindings {
    /// Whether an account may do something, as RBAC decides it.
    pub(super) fn allow(&self, controller: &Controller, right: &Right) -> bool {
        let cluster = self
            .cluster_bindings
            .iter()
            .filter(|b| is_subject(b, controller))
            .any(|b| self.role(b, "").is_some_and(|role| grants(role, right)));
        let Some(namespace) = right.namespace.as_deref().filter(|_| !cluster) else {
            return cluster;
        };
        self.bindings
            .iter()
            .filter(|b| text(b, "/metadata/namespace") == namespace && is_subject(b, controller))
            .any(|b| self.role(b, namespace).is_some_and(|role| grants(role, right)))
    }

    fn role(&self, binding: &Value, namespace: &str) -> Option<&Value> {
        let named = text(binding, "/roleRef/name");
        let is_named = |role: &&Value| text(role, "/metadata/name") == named;
        match text(binding, "/roleRef/kind") {
            "ClusterRole" => self.cluster_roles.iter().find(is_named),
            _ => self
                .roles
                .iter()
                .filter(|role| text(role, "/metadata/namespace") == namespace)
                .find(is_named),
        }
    }
}

fn is_subject(binding: &Value, controller: &Controller) -> bool {
    let (user, groups) = subject(controller);
    list(binding, "/subjects").iter().any(|s| match text(s, "/kind") {
        "ServiceAccount" => {
            let namespace = match text(s, "/namespace") {
                "" => text(binding, "/metadata/namespace"),
                namespace => namespace,
            };
            text(s, "/name") == controller.account && namespace == controller.namespace
        }
        "User" => text(s, "/name") == user,
        "Group" => groups.iter().any(|g| g == text(s, "/name")),
        _ => false,
    })
}

fn grants(role: &Value, right: &Right) -> bool {
    let has = |rule: &Value, field: &str, wanted: &str| {
        list(rule, field)
            .iter()
            .filter_map(Value::as_str)
            .any(|v| v == "*" || v == wanted)
    };
    list(role, "/rules").iter().any(|rule| {
        let subresource = right.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        let names = list(rule, "/resourceNames");
        has(rule, "/apiGroups", &right.group)
            && has(rule, "/verbs", &right.verb)
            && (has(rule, "/resources", &right.resource)
                || subresource.is_some_and(|any| list(rule, "/resources").iter().any(|r| *r == any.as_str())))
            && (names.is_empty()
                || right
                    .name
                    .as_ref()
                    .is_some_and(|name| names.iter().any(|n| n == name.as_str())))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controller() -> Controller {
        Controller::of(&json!({
            "metadata": {"name": "serin", "namespace": "argo-rollouts"},
            "spec": {"template": {"spec": {"serviceAccountName": "serin", "containers": [{"image": "serin", "args": ["controller"]}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn roles_of_a_cluster_and_of_a_namespace_are_read_as_rbac_reads_them() {
        let role = |kind: &str, name: &str, namespace: &str, rules: Value| json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules});
        let binding = |namespace: &str, kind: &str, name: &str, subjects: Value| json!({"metadata": {"name": "b", "namespace": namespace}, "roleRef": {"kind": kind, "name": name}, "subjects": subjects});
        let account = json!([{"kind": "ServiceAccount", "name": "serin", "namespace": "argo-rollouts"}]);
        let bindings = Bindings {
            cluster_roles: vec![
                role(
                    "ClusterRole",
                    "some",
                    "",
                    json!([{"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list"]}]),
                ),
                role(
                    "ClusterRole",
                    "all",
                    "",
                    json!([{"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["*"]}]),
                ),
            ],
            cluster_bindings: vec![
                binding("", "ClusterRole", "some", account.clone()),
                binding(
                    "",
                    "ClusterRole",
                    "all",
                    json!([{"kind": "Group", "name": "system:serviceaccounts:argo-rollouts"}]),
                ),
            ],
            roles: vec![role(
                "Role",
                "lease",
                "argo-rollouts",
                json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["lock"], "verbs": ["update"]}]),
            )],
            bindings: vec![binding(
                "argo-rollouts",
                "Role",
                "lease",
                json!([{"kind": "ServiceAccount", "name": "serin"}]),
            )],
        };
        let right = |group: &str, resource: &str, verb: &str, namespace: Option<&str>, name: Option<&str>| Right {
            group: group.into(),
            resource: resource.into(),
            verb: verb.into(),
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
        };
        for (expected, right) in [
            (true, right("apps", "replicasets", "get", None, None)),
            (false, right("apps", "replicasets", "patch", None, None)),
            (false, right("", "replicasets", "get", None, None)),
            (
                true,
                right("argoproj.io", "rollouts/status", "patch", Some("shop"), None),
            ),
            (false, right("argoproj.io", "rollouts", "patch", Some("shop"), None)),
            (
                true,
                right(
                    "coordination.k8s.io",
                    "leases",
                    "update",
                    Some("argo-rollouts"),
                    Some("lock"),
                ),
            ),
            (
                false,
                right(
                    "coordination.k8s.io",
                    "leases",
                    "update",
                    Some("argo-rollouts"),
                    Some("other"),
                ),
            ),
            (
                false,
                right("coordination.k8s.io", "leases", "update", Some("shop"), Some("lock")),
            ),
        ] {
            assert_eq!(bindings.allow(&controller(), &right), expected, "{right:?}");
        }
    }
}
