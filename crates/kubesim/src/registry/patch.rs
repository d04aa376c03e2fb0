//! Patches of the four kinds: applied to the object as it is, after which the rules of an update hold.

use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::Value;

use super::{Validation, Write, WriteOptions, Written, meta, scale, update};
use crate::{
    Patch, Status, builtin,
    cluster::{State, text},
    kinds::{Kind, strict_complaints},
    patch as patches,
    schema::{self, FieldError, Rules},
    storage::Stored,
};

/// Patches an object, or its scale.
pub(crate) fn patch(state: &mut State, write: &Write<'_>, patch: &Patch) -> Result<Written, Status> {
    let kind = &write.kind;
    let old = state
        .store
        .table(kind.resource)
        .get(write.namespace, write.name)
        .cloned();
    if let Patch::Apply { manager, force, object } = patch {
        return apply(state, write, old, manager, *force, object);
    }
    let Some(old) = old else {
        return Err(Status::not_found(kind.resource, write.name));
    };
    if write.subresource == "scale" {
        let mut scale = scale::read_scale(kind, &old.value)?;
        match patch {
            Patch::Strategic(patch) if !kind.is_custom() => {
                patches::strategic(&mut scale, patch, builtin::scale().node())?;
            }
            patch => change(kind, write.version, &mut scale, patch)?,
        }
        return scale::update_scale(state, write, scale);
    }
    let patched = || {
        let mut object = kind.convert(&old.value, write.version);
        change(kind, write.version, &mut object, patch)?;
        if matches!(patch, Patch::Strategic(_)) {
            // It is applied to the decoded object, which has no such fields.
            object["kind"] = Value::from(kind.kind.as_str());
            object["apiVersion"] = Value::from(kind.api_version(write.version));
        }
        Ok(object)
    };
    let mut object = patched()?;
    let mut warnings = Vec::new();
    check_patched(write, &mut object, &mut warnings, &patched).map_err(|refused| match patch {
        // Other than the JSON that the other patches are applied to, the patch itself is shown as Go has it.
        Patch::Strategic(patch) => match refused.message.split_once("\": illegal base64") {
            Some((_, why)) => {
                let why = format!("error decoding from json: illegal base64{why}");
                schema::invalid(
                    "",
                    "",
                    "",
                    &[FieldError::invalid("patch", schema::errors::printed(patch), why)],
                )
            }
            None => refused,
        },
        _ => refused,
    })?;
    state.warned.clone_from(&warnings);
    meta::match_namespace(&mut object, kind, write.namespace)?;
    update::check_name(&object, write.name)?;
    check_version(kind, write.name, &old, &object)?;
    update::finish(state, write, &old, object, warnings)
}

fn change(kind: &Kind, version: &str, object: &mut Value, patch: &Patch) -> Result<(), Status> {
    match patch {
        // Go decodes null as no operations, no changes.
        Patch::Json(Value::Null) | Patch::Strategic(Value::Null) => Ok(()),
        Patch::Merge(patch) => patches::merge(object, patch),
        Patch::Json(patch) => patches::json(object, patch),
        Patch::Strategic(patch) => match kind.rules(version) {
            Some(rules) if rules.strategic() => patches::strategic(object, patch, rules.node()),
            _ => Err(unsupported(kind)),
        },
        Patch::Apply { .. } => Err(unsupported(kind)),
    }
}

/// 415: this kind of patch is not understood for this kind of object.
pub(crate) fn unsupported(kind: &Kind) -> Status {
    let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
    if !kind.is_custom() {
        accepted.push("application/strategic-merge-patch+json");
    }
    accepted.push("application/apply-patch+yaml");
    Status::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}

/// What a patch made must be an object of the kind still. Refusals show the object as the patch left it: `patched` makes it
/// again, so that nobody else pays for a copy.
fn check_patched(
    write: &Write<'_>,
    object: &mut Value,
    warnings: &mut Vec<String>,
    patched: &dyn Fn() -> Result<Value, Status>,
) -> Result<(), Status> {
    let kind = &write.kind;
    let undecodable = |why: &str| patched().map_or_else(|e| e, |object| patches::undecodable(&object, why));
    check_patched_type(write, object)?;
    let unknown = kind.decode(object, write.version).map_err(|status| {
        let why = status
            .message
            .split_once(&format!("cannot be handled as a {}: ", kind.kind));
        undecodable(why.map_or(status.message.as_str(), |(_, why)| why))
    })?;
    let complaints = strict_complaints(write.options, &unknown);
    match write.options.validation {
        Validation::Strict if !complaints.is_empty() => {
            let why = format!("strict decoding error: {}", complaints.join(", "));
            Err(undecodable(&why))
        }
        Validation::Warn => {
            warnings.extend(complaints);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A patch may not make another kind of the object.
fn check_patched_type(write: &Write<'_>, object: &Value) -> Result<(), Status> {
    let kind = &write.kind;
    let (given, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
    let expected = kind.api_version(write.version);
    if !kind.is_custom() {
        return kind
            .check_built_in(given, api_version, &expected)
            .map_err(|why| patches::undecodable(object, &why));
    }
    let mut errors = Vec::new();
    if given != kind.kind {
        errors.push(FieldError::invalid("kind", given, format!("must be {}", kind.kind)));
    }
    if api_version != expected {
        let why = format!("must be {expected}");
        errors.push(FieldError::invalid("apiVersion", api_version, why));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Err(schema::invalid(group, given, write.name, &errors))
}

/// A patch may name the version that it was made for.
fn check_version(kind: &Kind, name: &str, old: &Stored, object: &Value) -> Result<(), Status> {
    let version = text(object, "/metadata/resourceVersion");
    update::check_number(version)?;
    if version.is_empty() || version == "0" {
        if kind.unconditional_update {
            return Ok(());
        }
        return Err(update::version_required(kind, name));
    }
    if version != old.version.to_string() {
        return Err(Status::modified(kind.resource, name));
    }
    Ok(())
}

/// Server-side apply: makes the object where there is none.
fn apply(
    state: &mut State,
    write: &Write<'_>,
    old: Option<Arc<Stored>>,
    manager: &str,
    force: bool,
    configuration: &Value,
) -> Result<Written, Status> {
    let kind = &write.kind;
    let Some(rules) = kind.rules(write.version).filter(|_| write.subresource != "scale") else {
        return Err(unsupported(kind));
    };
    if !configuration.is_object() {
        return Err(Status::bad_request(
            "error decoding YAML: the configuration is not an object",
        ));
    }
    let (given, version) = (text(configuration, "/kind"), text(configuration, "/apiVersion"));
    if given.is_empty() || version.is_empty() || given != kind.kind {
        let version = if version.contains('/') {
            version.to_owned()
        } else {
            format!("/{version}")
        };
        return Err(Status::bad_request(format!(
            "invalid object type: {version}, Kind={given}"
        )));
    }
    if old.is_none() && !write.subresource.is_empty() {
        return Err(Status::not_found(kind.resource, write.name));
    }
    let api_version = kind.api_version(write.version);
    let now = write.now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let live = old.as_ref().map(|old| kind.convert(&old.value, write.version));
    let as_manager = patches::Manager {
        name: manager,
        ..write.manager(&api_version, &now)
    };
    let mut object = patches::apply(live.as_ref(), configuration, rules.node(), &as_manager, force)?;
    let options = WriteOptions {
        applied: true,
        ..write.options.clone()
    };
    let write = Write {
        options: &options,
        ..write.clone()
    };
    let own_type = given == kind.kind && version == api_version;
    if let Err(refused) = kind.decode(&mut object.clone(), write.version)
        && own_type
        && !kind.is_custom()
    {
        return Err(unconvertible(&write, &object, &refused.message));
    }
    let Some(old) = old else {
        update::check_name(&object, write.name)?;
        return super::create(state, &write, object);
    };
    let mut warnings = Vec::new();
    let applied = object.clone();
    check_patched(&write, &mut object, &mut warnings, &|| Ok(applied.clone()))?;
    meta::match_namespace(&mut object, kind, write.namespace)?;
    update::check_name(&object, write.name)?;
    check_version(kind, write.name, &old, &object)?;
    update::finish(state, &write, &old, object, warnings)
}

/// 500, as the real server has it: what was applied cannot be read as the kind.
fn unconvertible(write: &Write<'_>, object: &Value, message: &str) -> Status {
    let (kind, group) = (&write.kind, write.kind.resource.group);
    let why = message
        .split_once(&format!("cannot be handled as a {}: ", kind.kind))
        .map_or(message, |(_, why)| why);
    let what = format!(
        "{}, Kind={}",
        if group.is_empty() {
            format!("/{}", write.version)
        } else {
            kind.api_version(write.version)
        },
        kind.kind
    );
    let decoder = if why.starts_with("illegal base64") {
        "error decoding from json: "
    } else {
        ""
    };
    Status::new(
        500,
        "",
        format!(
            "failed to convert new object ({}/{}; {what}) to proper version: unable to convert unstructured object to {what}: \
             {decoder}{why}",
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name"),
        ),
    )
}
