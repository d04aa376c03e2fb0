//! What was read from the cluster and from Prometheus, before anybody judges it. Each part may be missing, with the reason:
//! a right that is not there is a finding and not an end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use serin_api::{
    hash,
    rollout::{CanaryStrategy, Rollout},
    template::PodTemplate,
};

use super::{
    controllers::Controller,
    prometheus::{Counts, Reached, Target},
    quoted::Secrets,
    rights::Right,
};

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The user may not.
    Forbidden,
    /// The API server does not serve the kind.
    NotServed,
    /// Anything else.
    Failed,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// `list services`.
    pub(super) what: String,
    pub(super) why: Why,
    /// The API server's words.
    pub(super) message: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.message)
    }
}

pub(super) type Read<T> = Result<T, Trouble>;

/// What a list holds; nothing when it could not be read.
pub(super) fn items(list: &Read<Vec<Value>>) -> &[Value] {
    list.as_deref().unwrap_or_default()
}

/// The API server's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
    /// `v1.36.0`.
    pub(super) text: String,
}

/// Where Rollouts were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everywhere.
    All,
    /// In one namespace.
    Namespace(String),
    /// In one namespace, because reading all is forbidden.
    Only(String),
}

impl Scope {
    /// The one namespace.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(namespace) | Self::Only(namespace) => Some(namespace),
        }
    }
}

/// How it was found out what the controller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The API server was asked for each verb.
    Reviewed,
    /// From the roles and bindings.
    Computed,
}

/// Answers about the rights of one account.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) way: Way,
    pub(super) answers: BTreeMap<Right, bool>,
}

/// Namespace, name, key of a Secret.
pub(super) type SecretKey = (String, String, String);

/// Objects of the namespaces that are looked at.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) apps: Read<Vec<App>>,
    pub(super) templates: Read<Vec<Value>>,
    pub(super) cluster_templates: Read<Vec<Value>>,
    pub(super) services: Read<Vec<Value>>,
    pub(super) slices: Read<Vec<Value>>,
    pub(super) replica_sets: Read<Vec<Value>>,
    pub(super) deployments: Read<Vec<Value>>,
    /// Also those of other namespaces that Rollouts name.
    pub(super) routes: Read<Vec<Value>>,
    /// Those that routes name, by namespace and name.
    pub(super) gateways: BTreeMap<(String, String), Read<Option<Value>>>,
    pub(super) budgets: Read<Vec<Value>>,
    pub(super) autoscalers: Read<Vec<Value>>,
    pub(super) quotas: Read<Vec<Value>>,
    pub(super) limits: Read<Vec<Value>>,
}

fn nothing<T>() -> Read<Vec<T>> {
    Ok(Vec::new())
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            apps: nothing(),
            templates: nothing(),
            cluster_templates: nothing(),
            services: nothing(),
            slices: nothing(),
            replica_sets: nothing(),
            deployments: nothing(),
            routes: nothing(),
            gateways: BTreeMap::new(),
            budgets: nothing(),
            autoscalers: nothing(),
            quotas: nothing(),
            limits: nothing(),
        }
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Before the installation.
    pub(super) is_before: bool,
    pub(super) scope: Scope,
    /// The API server's clock.
    pub(super) now: DateTime<Utc>,
    pub(super) version: Read<Version>,
    /// `group/version` of all that is served.
    pub(super) groups: Read<BTreeSet<String>>,
    /// By name.
    pub(super) definitions: BTreeMap<String, Read<Option<Value>>>,
    /// Where controllers are looked for when they cannot be listed everywhere.
    pub(super) home: String,
    /// Whether the namespace is there.
    pub(super) home_exists: Read<bool>,
    /// Where a playground says that its Prometheus is.
    pub(super) playground_prometheus: Option<String>,
    pub(super) controllers: Read<Vec<Controller>>,
    /// Those are all that there are.
    pub(super) has_all_controllers: bool,
    /// Of the controllers' namespaces.
    pub(super) pods: Read<Vec<Value>>,
    pub(super) leases: Read<Vec<Value>>,
    /// Pods (namespace and name) that say themselves that they lead, asked through the API server.
    pub(super) leaders: Read<BTreeSet<(String, String)>>,
    /// Of each controller of Serin, in their order; before the installation of the user.
    pub(super) rights: Vec<Read<Rights>>,
    pub(super) objects: Objects,
    pub(super) secrets: BTreeMap<SecretKey, Result<String, String>>,
    /// The address that was given by hand.
    pub(super) prometheus: Option<String>,
    pub(super) reached: BTreeMap<Target, Reached>,
    /// By Prometheus and selector.
    pub(super) counts: BTreeMap<(Target, String), Result<Counts, String>>,
}

impl Observed {
    pub(super) fn apps(&self) -> &[App] {
        self.objects.apps.as_deref().unwrap_or_default()
    }

    pub(super) fn controllers(&self) -> &[Controller] {
        self.controllers.as_deref().unwrap_or_default()
    }

    /// What must not be printed.
    pub(super) fn secret_values(&self) -> Secrets<'_> {
        Secrets::new(self.secrets.values().filter_map(|read| read.as_deref().ok()))
    }

    /// Whether the API server serves `group/version`; yes when it did not say.
    pub(super) fn serves(&self, group: &str) -> bool {
        self.groups.as_ref().map_or(true, |groups| groups.contains(group))
    }
}

/// A Rollout.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) object: Value,
    /// Or why it cannot be understood.
    pub(super) rollout: Result<Box<Rollout>, String>,
}

impl App {
    pub(super) fn new(object: Value) -> Self {
        Self {
            namespace: text(&object, "/metadata/namespace").to_owned(),
            name: text(&object, "/metadata/name").to_owned(),
            rollout: serde_json::from_value(object.clone()).map_err(|e| e.to_string()),
            object,
        }
    }

    pub(super) fn title(&self) -> String {
        format!("Rollout {}/{}", self.namespace, self.name)
    }

    pub(super) fn good(&self) -> Option<&Rollout> {
        self.rollout.as_deref().ok()
    }

    pub(super) fn canary(&self) -> Option<&CanaryStrategy> {
        self.good()?.spec.strategy.canary.as_ref()
    }

    pub(super) fn template(&self) -> PodTemplate {
        PodTemplate(self.object.pointer("/spec/template").cloned().unwrap_or_default())
    }

    pub(super) fn replicas(&self) -> i32 {
        self.good().map_or(1, |rollout| rollout.spec.desired_replicas())
    }

    /// Hash of the newest revision; what it will be when nobody has looked at the Rollout yet.
    pub(super) fn latest(&self) -> String {
        match text(&self.object, "/status/currentPodHash") {
            "" => hash::pod_template_hash(&self.template(), None),
            hash => hash.to_owned(),
        }
    }

    /// Hash of the stable revision; that of the newest one when there is none.
    pub(super) fn stable(&self) -> String {
        match text(&self.object, "/status/stableRS") {
            "" => self.latest(),
            hash => hash.to_owned(),
        }
    }

    /// Services that it names: field and name.
    pub(super) fn services(&self) -> Vec<(&'static str, &str)> {
        let Some(canary) = self.canary() else { return Vec::new() };
        [
            ("stableService", canary.stable_service.as_deref()),
            ("canaryService", canary.canary_service.as_deref()),
        ]
        .into_iter()
        .filter_map(|(field, name)| Some((field, name.filter(|n| !n.is_empty())?)))
        .collect()
    }
}

// === Reading JSON ===

/// A text, empty when there is none.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A list, empty when there is none.
pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A map of texts.
pub(super) fn map(object: &Value, path: &str) -> BTreeMap<String, String> {
    object
        .pointer(path)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `namespace/name`.
pub(super) fn key(object: &Value) -> String {
    format!("{}/{}", namespace(object), name(object))
}

/// The object of a list with that name.
pub(super) fn find<'a>(list: &'a [Value], in_namespace: &str, named: &str) -> Option<&'a Value> {
    list.iter()
        .find(|object| name(object) == named && namespace(object) == in_namespace)
}

/// Status, reason and message of a condition.
pub(super) fn condition<'a>(conditions: &'a [Value], kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = conditions.iter().find(|c| text(c, "/type") == kind)?;
    Some((text(found, "/status"), text(found, "/reason"), text(found, "/message")))
}
