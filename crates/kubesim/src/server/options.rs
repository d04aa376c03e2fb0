//! The options of requests: from queries and bodies, checked as the API server checks them.

use std::time::Duration;

use serde_json::{Value, json};

use super::path::Query;
use crate::{
    LogOptions, Status,
    kinds::Kind,
    registry::{Validation, WriteOptions},
    schema::{self, FieldError},
    selector::{Fields, Labels},
};

/// The options of a list or watch.
#[derive(Clone, Debug, Default)]
pub(super) struct ListOptions {
    pub labels: Labels,
    pub fields: Fields,
    pub limit: usize,
    pub resume: String,
    pub version: String,
    /// `resourceVersionMatch`.
    pub matching: String,
    pub bookmarks: bool,
    pub initial: Option<bool>,
    pub timeout: Option<Duration>,
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = query.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
}

impl ListOptions {
    pub(super) fn parse(query: &Query, kind: &Kind, version: &str, name: &str, watch: bool) -> Result<Self, Status> {
        let mut options = Self {
            labels: Labels::parse(query.get("labelSelector"))?,
            limit: number(query, "limit")?
                .and_then(|l| usize::try_from(l).ok())
                .unwrap_or(0),
            resume: query.get("continue").to_owned(),
            version: query.get("resourceVersion").to_owned(),
            matching: query.get("resourceVersionMatch").to_owned(),
            bookmarks: query.is_true("allowWatchBookmarks"),
            initial: query
                .has("sendInitialEvents")
                .then(|| query.is_true("sendInitialEvents")),
            timeout: number(query, "timeoutSeconds")?
                .and_then(|s| u64::try_from(s).ok())
                .filter(|s| *s > 0)
                .map(Duration::from_secs),
            fields: Fields::default(),
        };
        let oldest = matches!(options.version.as_str(), "" | "0");
        if watch && oldest && options.initial.is_none() && options.matching.is_empty() {
            options.initial = Some(true);
            options.matching = "NotOlderThan".to_owned();
        }
        let errors = if watch {
            options.watch_errors()
        } else {
            options.list_errors()
        };
        if !errors.is_empty() {
            return Err(schema::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        options.fields = Fields::parse(query.get("fieldSelector"), kind, version)?;
        if !name.is_empty() {
            if options.fields.is_empty() {
                options.fields = Fields::name(name);
            } else if options.fields.wanted_name() != Some(name) {
                return Err(Status::bad_request(
                    "fieldSelector metadata.name doesn't match requested name",
                ));
            }
        }
        Ok(options)
    }

    fn list_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = "resourceVersionMatch";
        if !self.matching.is_empty() {
            if self.version.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.resume.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !matches!(self.matching.as_str(), "Exact" | "NotOlderThan") {
                errors.push(FieldError::not_supported(
                    field,
                    self.matching.as_str(),
                    ["Exact", "NotOlderThan", ""],
                ));
            }
            if self.matching == "Exact" && self.version == "0" {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if self.initial.is_some() {
            errors.push(FieldError::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        errors
    }

    fn watch_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let field = "resourceVersionMatch";
        if self.initial.is_some() && self.matching != "NotOlderThan" {
            errors.push(FieldError::forbidden(
                field,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !self.matching.is_empty() {
            if self.initial.is_none() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if self.matching != "NotOlderThan" {
                errors.push(FieldError::not_supported(
                    field,
                    self.matching.as_str(),
                    ["NotOlderThan"],
                ));
            }
            if !self.resume.is_empty() {
                errors.push(FieldError::forbidden(
                    field,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        errors
    }
}

/// A resourceVersion as a number.
pub(super) fn version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Status::new(
            500,
            "",
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"),
        )
    })
}

/// 504: a version that does not exist yet.
pub(super) fn too_large(wanted: u64, current: u64) -> Status {
    Status::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {wanted}, current: {current}"),
    )
    .with_details(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }))
}

/// The options of a write; `what` is their kind, such as `PatchOptions`.
pub(super) fn write_options(query: &Query, agent: &str, what: &str, apply: bool) -> Result<WriteOptions, Status> {
    let mut errors = Vec::new();
    let dry_run = query.all("dryRun");
    if dry_run.iter().any(|v| *v != "All") {
        let values: Vec<Value> = dry_run.iter().map(|v| json!(v)).collect();
        errors.push(FieldError::not_supported("dryRun", Value::Array(values), ["All"]));
    }
    let validation = match query.get("fieldValidation") {
        "" | "Warn" => Validation::Warn,
        "Ignore" => Validation::Ignore,
        "Strict" => Validation::Strict,
        other => {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                other,
                ["", "Ignore", "Strict", "Warn"],
            ));
            Validation::Warn
        }
    };
    let manager = query.get("fieldManager");
    if what == "PatchOptions" {
        if apply && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !apply && query.has("force") {
            errors.push(FieldError::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
    }
    if let Some((at, bad)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        errors.push(FieldError::invalid(
            "fieldManager",
            manager,
            format!("invalid character U+{:04X} (at position {at})", u32::from(bad)),
        ));
    }
    if manager.len() > 128 {
        errors.push(FieldError::too_long("fieldManager", 128));
    }
    if !errors.is_empty() {
        return Err(schema::invalid("meta.k8s.io", what, "", &errors));
    }
    let manager = if manager.is_empty() {
        agent.split('/').next().unwrap_or_default()
    } else {
        manager
    };
    Ok(WriteOptions {
        dry_run: !dry_run.is_empty(),
        manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
        validation,
        ..WriteOptions::default()
    })
}

/// What is wanted of a container's log.
pub(super) fn log_options(query: &Query, container: &str) -> Result<LogOptions, Status> {
    let positive = |name: &str| {
        let given = number(query, name)?;
        Ok::<_, Status>(given.and_then(|n| u64::try_from(n).ok()))
    };
    Ok(LogOptions {
        container: container.to_owned(),
        follow: query.is_true("follow"),
        previous: query.is_true("previous"),
        timestamps: query.is_true("timestamps"),
        tail: positive("tailLines")?,
        since: positive("sinceSeconds")?.map(Duration::from_secs),
    })
}

/// `DeleteOptions`: the body, or without one the query.
pub(super) fn delete_options(query: &Query, body: Value) -> Result<Value, Status> {
    let options = if body.is_null() {
        let mut options = json!({});
        for name in ["propagationPolicy", "gracePeriodSeconds", "orphanDependents"] {
            let text = query.get(name);
            if text.is_empty() {
                continue;
            }
            options[name] = match name {
                "gracePeriodSeconds" => json!(number(query, name)?),
                "orphanDependents" => json!(query.is_true(name)),
                _ => json!(text),
            };
        }
        let dry_run = query.all("dryRun");
        if !dry_run.is_empty() {
            options["dryRun"] = json!(dry_run);
        }
        options
    } else {
        check_types(&body)?;
        body
    };
    if options["dryRun"]
        .as_array()
        .is_some_and(|list| list.iter().any(|v| v != "All"))
    {
        let error = FieldError::not_supported("dryRun", options["dryRun"].clone(), ["All"]);
        return Err(schema::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
    }
    Ok(options)
}

/// What the decoder says of a body that is no `DeleteOptions`.
fn check_types(body: &Value) -> Result<(), Status> {
    let kind = body["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = body["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    for (field, wanted) in [
        ("gracePeriodSeconds", "int64"),
        ("orphanDependents", "bool"),
        ("propagationPolicy", "v1.DeletionPropagation"),
    ] {
        let (fits, given) = match &body[field] {
            Value::Null => continue,
            Value::String(_) => (field == "propagationPolicy", "string"),
            Value::Bool(_) => (field == "orphanDependents", "bool"),
            Value::Number(_) => (field == "gracePeriodSeconds", "number"),
            Value::Array(_) => (false, "array"),
            Value::Object(_) => (false, "object"),
        };
        if !fits {
            return Err(Status::bad_request(format!(
                "json: cannot unmarshal {given} into Go struct field DeleteOptions.{field} of type {wanted}"
            )));
        }
    }
    Ok(())
}
