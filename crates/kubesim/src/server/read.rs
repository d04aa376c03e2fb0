//! Get and list: one object, or pages of objects as they were at one version.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::options::{self, ListOptions};
use crate::{
    Status,
    cluster::State,
    kinds::Kind,
    selector::Fields,
    storage::{Stored, Table},
};

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub version: u64,
    pub items: Vec<Arc<Stored>>,
    pub resume: String,
    pub remaining: Option<usize>,
}

/// One object. `stale` is how many versions ago.
pub(super) fn get(
    state: &mut State,
    kind: &Kind,
    namespace: &str,
    name: &str,
    version: &str,
    stale: u64,
) -> Result<Arc<Stored>, Status> {
    let current = state.store.version;
    let wanted = options::version(version)?;
    if wanted > current {
        return Err(options::too_large(wanted, current));
    }
    let table = state.store.table(kind.resource);
    let found = if stale == 0 {
        table.get(namespace, name).cloned()
    } else {
        let then = current.saturating_sub(stale).max(table.forgotten);
        table.at(then, namespace).remove(&crate::storage::key(namespace, name))
    };
    found.ok_or_else(|| Status::not_found(kind.resource, name))
}

/// A page of a list.
pub(super) fn list(
    state: &mut State,
    kind: &Kind,
    namespace: &str,
    options: &ListOptions,
    stale: u64,
) -> Result<Page, Status> {
    let current = state.store.version;
    let table = state.store.table(kind.resource);
    if !options.resume.is_empty() {
        return resumed(table, namespace, options, current);
    }
    let asked = options::version(&options.version)
        .map_err(|status| Status::bad_request(format!("invalid resource version: {}", status.message)))?;
    if asked > current {
        return Err(options::too_large(asked, current));
    }
    let exact = options.matching == "Exact" || (options.matching.is_empty() && asked > 0 && options.limit > 0);
    let version = if exact {
        if asked < table.forgotten {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        asked
    } else {
        current
            .saturating_sub(stale)
            .max(if stale > 0 { table.forgotten } else { 0 })
    };
    // A list "from any version" comes out of a cache, which knows no pages.
    let limit = if options.version == "0" { 0 } else { options.limit };
    Ok(page(table, namespace, options, version, version == current, "", limit))
}

fn resumed(table: &Table, namespace: &str, options: &ListOptions, current: u64) -> Result<Page, Status> {
    let (version, start) = decode(&options.resume)?;
    if !matches!(options.version.as_str(), "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    if version == 0 {
        return Ok(page(table, namespace, options, current, true, &start, options.limit));
    }
    if version < table.forgotten {
        return Err(Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
             results. Continuing with the provided token results in an inconsistent list - objects that were created, \
             modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        ));
    }
    Ok(page(
        table,
        namespace,
        options,
        version,
        version == current,
        &start,
        options.limit,
    ))
}

fn page(
    table: &Table,
    namespace: &str,
    options: &ListOptions,
    version: u64,
    now: bool,
    start: &str,
    limit: usize,
) -> Page {
    let prefix = if namespace.is_empty() {
        String::new()
    } else {
        format!("{namespace}/")
    };
    let from = format!("{prefix}{start}");
    let then: BTreeMap<String, Arc<Stored>>;
    let all: Box<dyn Iterator<Item = (&String, &Arc<Stored>)>> = if now {
        // One object by name needs no look at the others.
        match options.fields.wanted_name().filter(|_| !namespace.is_empty()) {
            Some(name) => Box::new(table.entry(namespace, name).into_iter()),
            None => Box::new(table.range(namespace)),
        }
    } else {
        then = table.at(version, namespace);
        Box::new(then.iter())
    };
    let wanted = |stored: &Arc<Stored>| matches(&options.labels, &options.fields, &stored.value);
    let mut rest = all.filter(|(key, _)| **key >= from);
    if limit == 0 {
        return Page {
            version,
            items: rest.map(|(_, stored)| stored).filter(|s| wanted(s)).cloned().collect(),
            resume: String::new(),
            remaining: None,
        };
    }
    let mut items = Vec::new();
    let mut last = String::new();
    for (key, stored) in rest.by_ref() {
        if wanted(stored) {
            items.push(Arc::clone(stored));
            last.clone_from(key);
        }
        if items.len() == limit {
            break;
        }
    }
    // What is left counts whether it is wanted or not: a page can turn out to be empty, as with the real one.
    let more = rest.count();
    let resume = if more > 0 {
        encode(version, &format!("{}\0", &last[prefix.len()..]))
    } else {
        String::new()
    };
    let counts = options.labels.is_empty() && options.fields.is_empty();
    Page {
        version,
        items,
        resume,
        remaining: (more > 0 && counts).then_some(more),
    }
}

/// Whether a list or watch wants an object.
pub(super) fn matches(labels: &crate::selector::Labels, fields: &Fields, object: &Value) -> bool {
    labels.matches(object) && (fields.is_empty() || fields.matches(object))
}

/// The token with which a list goes on whose version is gone, at whatever version is current.
pub(super) fn inconsistent(token: &str) -> Option<String> {
    decode(token).ok().map(|(_, start)| encode(0, &start))
}

fn encode(version: u64, start: &str) -> String {
    let version = if version == 0 { json!(-1) } else { json!(version) };
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The version (0: whatever is current) and the key from which a continue token goes on.
fn decode(token: &str) -> Result<(u64, String), Status> {
    let bad = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|_| bad("continue key is not valid: illegal base64 data at input byte 0"))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| {
        let first = bytes.iter().copied().find(|b| !b.is_ascii_whitespace());
        let shown = match first {
            Some(byte) if byte.is_ascii_graphic() => format!("'{}'", char::from(byte)),
            Some(byte) => format!("'\\u{byte:04x}'"),
            None => return bad("continue key is not valid: unexpected end of JSON input"),
        };
        bad(&format!(
            "continue key is not valid: invalid character {shown} looking for beginning of value"
        ))
    })?;
    if token["v"] != "meta.k8s.io/v1" {
        return Err(bad(&format!(
            "continue key is not valid: server does not recognize this encoded version {}",
            token["v"]
        )));
    }
    let version = token["rv"].as_i64().unwrap_or(0);
    if version == 0 {
        return Err(bad(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ));
    }
    let start = token["start"].as_str().unwrap_or_default().to_owned();
    if start.is_empty() {
        return Err(bad(
            "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)",
        ));
    }
    Ok((u64::try_from(version).unwrap_or(0), start))
}
