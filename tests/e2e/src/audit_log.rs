//! What the controller asked of the API server, read off the API server's audit log.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{install, world::World};

/// One request that has been answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// When it came in.
    pub(crate) at: DateTime<Utc>,
    pub(crate) verb: String,
    /// API group; empty for the core.
    pub(crate) group: String,
    /// With its subresource: `rollouts/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: u64,
    /// The controller's pod, to which its token is bound.
    pub(crate) pod: String,
    /// What the API server said when it refused.
    pub(crate) message: String,
    /// The body of a write.
    pub(crate) body: Value,
}

impl Request {
    fn of(event: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let mut resource = text(&object["resource"]);
        if let Some(sub) = object["subresource"].as_str() {
            resource = format!("{resource}/{sub}");
        }
        Some(Self {
            at: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
            verb: text(&event["verb"]),
            group: text(&object["apiGroup"]),
            resource,
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
            message: text(&event["responseStatus"]["message"]),
            pod: text(&event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]),
            body: event["requestObject"].clone(),
        })
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    pub(crate) fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} {} {} {}/{} -> {} by {}",
            self.at, self.verb, self.resource, self.namespace, self.name, self.code, self.pod
        )
    }
}

/// All requests of the controller's ServiceAccount so far, by time.
pub(crate) fn read(world: &World) -> Result<Vec<Request>> {
    let path = world.cluster().audit_log();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let user = format!("system:serviceaccount:{}:{}", install::NAMESPACE, install::NAME);
    let mut requests = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        if !line.contains(&user) {
            continue;
        }
        // The last line may be half written still.
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if event["user"]["username"] == user.as_str() {
            requests.extend(Request::of(&event));
        }
    }
    requests.sort_by_key(|r| r.at);
    Ok(requests)
}
