//! Replacing an object, or the part of it that a subresource is; what patches end in as well.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Write, Written, crds, create,
    meta::{self, metadata, set},
    removal, track,
};
use crate::{
    Status,
    cluster::{State, text},
    kinds::Kind,
    schema::FieldError,
    storage::Stored,
};

/// Replaces an object.
pub(crate) fn update(state: &mut State, write: &Write<'_>, mut object: Value) -> Result<Written, Status> {
    let kind = &write.kind;
    let mut warnings = Vec::new();
    super::check_type(state, write, &object)?;
    let unknown = kind.decode(&mut object, write.version)?;
    kind.treat_unknown(write.options, write.version, &unknown, &mut warnings)?;
    state.warned.clone_from(&warnings);
    meta::match_namespace(&mut object, kind, write.namespace)?;
    check_name(&object, write.name)?;
    let Some(old) = state
        .store
        .table(kind.resource)
        .get(write.namespace, write.name)
        .cloned()
    else {
        let through_status = write.subresource == "status" && kind.is("", "services");
        if kind.create_on_update && (write.subresource.is_empty() || through_status) {
            let uid = text(&object, "/metadata/uid");
            if !uid.is_empty() {
                return Err(another_uid(write, uid, ""));
            }
            let version = metadata(&mut object).remove("resourceVersion");
            let mut written = create(state, write, object).inspect_err(|_| state.warned.clone_from(&warnings))?;
            written.warnings.splice(0..0, warnings);
            if let (true, Some(version)) = (write.options.dry_run, version) {
                // Nobody has replaced the version that the client sent.
                let mut shown = (*written.object.value).clone();
                shown["metadata"]["resourceVersion"] = version;
                written.object = Stored::unsaved(shown);
            }
            return Ok(written);
        }
        return Err(Status::not_found(kind.resource, write.name));
    };
    let uid = text(&object, "/metadata/uid");
    let stored_uid = text(&old.value, "/metadata/uid");
    if !uid.is_empty() && uid != stored_uid {
        return Err(another_uid(write, uid, stored_uid));
    }
    let given = text(&object, "/metadata/resourceVersion").to_owned();
    check_number(&given)?;
    if given.is_empty() || given == "0" {
        if !kind.unconditional_update {
            return Err(version_required(kind, write.name));
        }
    } else if given != old.version.to_string() {
        return Err(Status::modified(kind.resource, write.name));
    }
    finish(state, write, &old, object, warnings)
}

/// 422: this kind cannot be written without saying which version was seen.
pub(super) fn version_required(kind: &Kind, name: &str) -> Status {
    Status::invalid(
        kind.resource.group,
        kind.resource.plural,
        name,
        &[(
            "FieldValueInvalid".into(),
            "Invalid value: 0: must be specified for an update".into(),
            "metadata.resourceVersion".into(),
        )],
    )
}

/// 500, as the real one has it: a version that is no number.
pub(super) fn check_number(version: &str) -> Result<(), Status> {
    if version.is_empty() || version.parse::<u64>().is_ok() {
        return Ok(());
    }
    let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
    Err(Status::new(500, "", message))
}

/// 409: the object that is meant is another one than that which is there, if one is there.
fn another_uid(write: &Write<'_>, uid: &str, stored_uid: &str) -> Status {
    let key = storage_key(write);
    Status::conflict(
        write.kind.resource,
        write.name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {uid}, UID in object meta: {stored_uid}"
        ),
    )
}

fn fits(kind: &Kind, object: &Value) -> bool {
    kind.rules(&kind.storage)
        .is_none_or(|rules| crate::patch::fits_schema(object, rules.node()))
}

/// How errors of the storage name an object.
fn storage_key(write: &Write<'_>) -> String {
    let resource = write.kind.resource;
    let folder = match (resource.group, resource.plural) {
        ("", "services") => "services/specs".to_owned(),
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("" | "apps" | "batch" | "discovery.k8s.io" | "coordination.k8s.io" | "policy" | "autoscaling", plural) => {
            plural.to_owned()
        }
        (group, plural) => format!("{group}/{plural}"),
    };
    // A dry run's is that of no real storage.
    let root = if write.options.dry_run { "" } else { "/registry" };
    format!("{root}/{folder}/{}", crate::storage::key(write.namespace, write.name))
}

/// The object of a PUT or of a patch's result must be the one of the path.
pub(super) fn check_name(object: &Value, name: &str) -> Result<(), Status> {
    let own = text(object, "/metadata/name");
    if own.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// The rest of every change of an object that exists: what the server keeps, defaults, checks, and the new version.
pub(super) fn finish(
    state: &mut State,
    write: &Write<'_>,
    old: &Arc<Stored>,
    mut new: Value,
    mut warnings: Vec<String>,
) -> Result<Written, Status> {
    let kind = &write.kind;
    let before = &*old.value;
    state.warned.clone_from(&warnings);
    // Where the rest of what came with a status does not fit the schema, nobody manages anything from then on.
    let misfits = write.subresource == "status" && kind.is_custom() && state.managed_fields && !fits(kind, &new);
    new["kind"] = json!(kind.kind);
    new["apiVersion"] = json!(kind.api_version(&kind.storage));
    meta::drop_nulls(&mut new);
    let own = metadata(&mut new);
    set(own, "generation", before["metadata"].get("generation").cloned());
    own.remove("selfLink");
    // No creationTimestamp, uid or deletion can be changed by a write; a foreign uid is refused below.
    set(
        own,
        "creationTimestamp",
        before["metadata"].get("creationTimestamp").cloned(),
    );
    let deletion = before["metadata"].get("deletionTimestamp").cloned();
    let mut errors = Vec::new();
    if let Some(given) = own
        .get("deletionTimestamp")
        .filter(|given| deletion.as_ref() != Some(*given))
    {
        let field = "metadata.deletionTimestamp";
        errors.push(FieldError::invalid(field, given.clone(), "field is immutable"));
    }
    set(own, "deletionTimestamp", deletion);
    set(
        own,
        "deletionGracePeriodSeconds",
        before["metadata"].get("deletionGracePeriodSeconds").cloned(),
    );
    own.insert("resourceVersion".into(), json!(old.version.to_string()));
    if own.get("uid").and_then(Value::as_str).is_none_or(str::is_empty) {
        set(own, "uid", before["metadata"].get("uid").cloned());
    }
    if write.subresource == "status" {
        kind.prepare_status(&mut new, before);
    } else {
        kind.prepare_update(&mut new, before);
    }
    kind.default(&mut new);
    track(state, write, Some(before), &mut new);
    if misfits {
        metadata(&mut new).remove("managedFields");
    }
    let mut addresses = super::addresses(state, write);
    kind.prepare(&mut new, Some(before), write.subresource, &mut addresses);
    if !write.options.dry_run {
        state.addresses = addresses;
    }
    if write.subresource != "status" {
        meta::next_generation(&mut new, before, kind);
    }
    // Metadata is looked at twice, by what all kinds share and by each kind, and both complain.
    let mut shared = errors.clone();
    errors.extend(kind.validate_update(&new, before, write.subresource));
    // What one finds no fault with, the other has none to find with either: nearly no write pays for both.
    if !kind.looks_at_metadata() || errors.iter().any(|error| error.field.starts_with("metadata.")) {
        shared.extend(kind.validate_metadata_update(&new, before));
        errors.splice(0..0, shared);
    }
    kind.invalid(write.name, errors)?;
    if write.subresource.is_empty() {
        warnings.extend(kind.warnings(&new));
    }

    let emptied = meta::is_terminating(before)
        && meta::finalizers(&new).is_empty()
        && (!meta::finalizers(before).is_empty() || kind.is("", "namespaces"))
        && before["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    if emptied && kind.may_end(&new) {
        return Ok(Written {
            object: if write.options.dry_run {
                Stored::unsaved(new)
            } else {
                removal::remove(state, write, Some(new))
            },
            created: false,
            warnings,
        });
    }
    if new == *before {
        return Ok(Written {
            object: Arc::clone(old),
            created: false,
            warnings,
        });
    }
    if write.options.dry_run {
        return Ok(Written {
            object: Stored::unsaved(new),
            created: false,
            warnings,
        });
    }
    let object = state
        .store
        .put(write.user, kind.resource, write.namespace, write.name, Some(new));
    crds::updated(state, write);
    Ok(Written {
        object,
        created: false,
        warnings,
    })
}
