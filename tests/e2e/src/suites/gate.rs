//! The ready templates as they are shipped, shortened by their own arguments only.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{install, space::Space};

/// The metrics that judge.
pub(crate) const ERRORS: &str = "canary-error-rate";
pub(crate) const LATENCY: &str = "canary-latency-p99";
const FILES: [&str; 2] = ["http-error-rate", "http-latency-p99"];

/// The shipped recording rules.
pub(crate) fn rules() -> Result<String> {
    read("recording-rules")
}

/// A shipped template.
pub(crate) fn template(name: &str) -> Result<Value> {
    serde_saphyr::from_str(&read(name)?).with_context(|| format!("analysis-templates/{name}.yaml is no YAML"))
}

/// Error rate and latency, created in the namespace.
pub(crate) async fn create(space: &Space) -> Result<()> {
    for name in FILES {
        space.create([template(name)?]).await?;
    }
    Ok(())
}

/// What a step or a background analysis says to use both: asked every `interval` (such as `4s`), `count` times.
pub(crate) fn analysis(namespace: &str, interval: &str, count: u32) -> Value {
    let templates = FILES.map(|name| json!({"templateName": name}));
    json!({"templates": templates, "args": [
        {"name": "namespace", "value": namespace},
        {"name": "canary-hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        {"name": "stable-hash", "valueFrom": {"podTemplateHashValue": "Stable"}},
        {"name": "interval", "value": interval},
        {"name": "count", "value": count.to_string()},
        {"name": "window", "value": "30s"},
    ]})
}

fn read(name: &str) -> Result<String> {
    let path = install::root().join("analysis-templates").join(format!("{name}.yaml"));
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}
