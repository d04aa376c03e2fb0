//! Watches: a stream of lines, one an event, from a version on.
//!
//! An event reaches its watcher one latency after the change, so that the answer to a write comes before its events, as
//! with a real server. Between events nothing wakes up but the end of the watch.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{
    Body, Broken,
    options::{self, ListOptions},
    read,
    respond::{Form, Show},
};
use crate::{
    Cluster, Resource, Status, WatchFault,
    cluster::State,
    signal::Changes,
    storage::{Record, Stored},
};

/// How long a watch lasts that says nothing about it.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// How long before its end a watch that wants bookmarks is told its version.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// One watch.
pub(super) struct Watch {
    cluster: Cluster,
    user: String,
    show: Show,
    namespace: String,
    options: ListOptions,
    /// Lines to send before anything else.
    initial: VecDeque<(&'static str, Arc<Stored>)>,
    /// The bookmark after them.
    initial_end: Option<u64>,
    /// Changes up to this version have been looked at.
    from: u64,
    pending: VecDeque<Arc<Record>>,
    changed: Changes,
    cuts: Changes,
    deadline: Instant,
    bookmark_due: Option<Instant>,
    /// An event that a fault holds back until then.
    held: Option<(Instant, Vec<u8>)>,
    /// The event that ends the watch.
    last: Option<String>,
    ended: bool,
    /// An event was sent.
    began: bool,
}

impl Watch {
    /// Begins a watch.
    pub(super) fn new(
        cluster: &Cluster,
        state: &mut State,
        user: &str,
        show: Show,
        namespace: &str,
        options: ListOptions,
    ) -> Result<Self, Status> {
        let asked = options::version(&options.version)?;
        let current = state.store.version;
        let resource = show.kind.resource;
        let table = state.store.table(resource);
        let now = Instant::now();
        let deadline = now + options.timeout.unwrap_or(TIMEOUT);
        let wants_initial = options.initial == Some(true);
        let mut watch = Self {
            cluster: cluster.clone(),
            user: user.to_owned(),
            namespace: namespace.to_owned(),
            initial: VecDeque::new(),
            initial_end: None,
            from: if asked == 0 { current } else { asked },
            pending: VecDeque::new(),
            changed: table.changed.subscribe(),
            cuts: cluster.inner.cuts.subscribe(),
            deadline,
            bookmark_due: options
                .bookmarks
                .then(|| deadline - LAST_BOOKMARK)
                .filter(|due| *due > now),
            held: None,
            last: None,
            ended: false,
            began: false,
            show,
            options,
        };
        if wants_initial {
            if asked > current {
                return Err(options::too_large(asked, current));
            }
            watch.initial = table
                .range(namespace)
                .filter(|(_, stored)| read::matches(&watch.options.labels, &watch.options.fields, &stored.value))
                .map(|(_, stored)| ("ADDED", Arc::clone(stored)))
                .collect();
            watch.initial_end = watch.options.bookmarks.then_some(current);
            watch.from = current;
        } else if asked > 0 && asked < table.forgotten {
            watch.last = Some(too_old(resource, asked, table.forgotten));
        }
        Ok(watch)
    }

    /// The response's body.
    pub(super) fn body(self) -> Body {
        let stream = futures::stream::unfold(self, |mut watch| async move {
            let chunk = watch.next().await?;
            Some((chunk.map(Frame::data).map_err(tower::BoxError::from), watch))
        });
        StreamBody::new(stream).boxed_unsync()
    }

    fn is_cut(&self) -> bool {
        self.cluster.state().cut.contains(&self.user)
    }

    /// Waits until then; whether the connection still stands.
    async fn wait(&mut self, until: Instant) -> bool {
        let sleep = tokio::time::sleep_until(until);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                () = self.cuts.changed() => if self.is_cut() { return false },
                () = &mut sleep => return true,
            }
        }
    }

    /// The next lines; nothing at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if self.ended {
                return None;
            }
            if self.is_cut() {
                self.ended = true;
                return Some(Err(Broken));
            }
            if let Some((until, line)) = self.held.take() {
                if !self.wait(until).await {
                    self.ended = true;
                    return Some(Err(Broken));
                }
                return Some(Ok(Bytes::from(line)));
            }
            if let Some(last) = self.last.take() {
                self.ended = true;
                return (!last.is_empty()).then(|| Ok(Bytes::from(last)));
            }
            if let Some(lines) = self.initial_lines() {
                return Some(Ok(Bytes::from(lines)));
            }
            if self.ended || self.held.is_some() || self.last.is_some() {
                continue;
            }
            self.fetch();
            let now = Instant::now();
            if let Some(due) = self.pending.front().map(|r| r.at + self.cluster.inner.options.latency) {
                if due > now {
                    if !self.wait(due).await {
                        continue;
                    }
                    if Instant::now() >= self.deadline {
                        return None;
                    }
                }
                let lines = self.due_lines();
                if !lines.is_empty() {
                    return Some(Ok(Bytes::from(lines)));
                }
                continue;
            }
            if self.last.is_some() {
                continue;
            }
            if now >= self.deadline {
                return None;
            }
            let until = self.bookmark_due.unwrap_or(self.deadline);
            tokio::select! {
                biased;
                () = self.cuts.changed() => {}
                () = self.changed.changed() => {}
                () = tokio::time::sleep_until(until) => {
                    if self.bookmark_due.take().is_some() {
                        let version = self.cluster.state().store.version;
                        self.from = self.from.max(version);
                        return Some(Ok(Bytes::from(self.bookmark(version, false))));
                    }
                }
            }
        }
    }

    /// Takes over the changes that are not yet looked at.
    fn fetch(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        self.changed.mark_unchanged();
        let mut state = self.cluster.state();
        let table = state.store.table(self.show.kind.resource);
        if self.from < table.forgotten {
            self.last = Some(too_old(self.show.kind.resource, self.from, table.forgotten));
            return;
        }
        self.pending = table.since(self.from).cloned().collect();
    }

    fn initial_lines(&mut self) -> Option<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some((kind, stored)) = self.initial.pop_front() {
            if !self.deliver(&mut lines, kind, &stored) {
                return Some(lines).filter(|l| !l.is_empty());
            }
        }
        // A bookmark has no rows: who asks for tables gets none.
        if let Some(version) = self
            .initial_end
            .take()
            .filter(|_| !matches!(self.show.form, Form::Table(_)))
        {
            lines.extend_from_slice(self.bookmark(version, true).as_bytes());
        }
        Some(lines).filter(|l| !l.is_empty())
    }

    /// The lines of all events whose time has come.
    fn due_lines(&mut self) -> Vec<u8> {
        let now = Instant::now();
        let latency = self.cluster.inner.options.latency;
        let mut lines = Vec::new();
        while self.pending.front().is_some_and(|record| record.at + latency <= now) {
            let Some(record) = self.pending.pop_front() else { break };
            self.from = record.version;
            let Some((kind, stored)) = self.event(&record) else {
                continue;
            };
            if !self.deliver(&mut lines, kind, &stored) {
                break;
            }
        }
        lines
    }

    /// What a change is to this watch.
    fn event(&self, record: &Record) -> Option<(&'static str, Arc<Stored>)> {
        if !self.namespace.is_empty()
            && !record
                .key
                .strip_prefix(&self.namespace)
                .is_some_and(|rest| rest.starts_with('/'))
        {
            return None;
        }
        let wanted = |stored: &Option<Arc<Stored>>| {
            stored
                .as_ref()
                .filter(|s| read::matches(&self.options.labels, &self.options.fields, &s.value))
                .cloned()
        };
        match (wanted(&record.old), wanted(&record.new)) {
            (None, None) => None,
            (None, Some(new)) => Some(("ADDED", new)),
            (Some(_), Some(new)) => Some(("MODIFIED", new)),
            (Some(_), None) => record.last().map(|last| ("DELETED", last)),
        }
    }

    /// Adds an event to the lines, or lets a fault happen to it; whether the watch goes on at once.
    fn deliver(&mut self, lines: &mut Vec<u8>, kind: &'static str, stored: &Stored) -> bool {
        let intercept = self.cluster.state().intercept.clone();
        let fault = intercept.map_or(WatchFault::Deliver, |intercept| {
            intercept.watch_event(&self.user, self.show.kind.resource.plural, &stored.value)
        });
        // Ages are those of the moment in which they are sent: a watch may go on for long.
        self.show.now = self.cluster.now();
        let object = if self.began {
            self.show.next_object(stored)
        } else {
            self.show.object(stored)
        };
        self.began = true;
        match fault {
            WatchFault::Deliver => {
                write_line(lines, kind, &object);
                true
            }
            WatchFault::Delay(time) => {
                let mut line = Vec::new();
                write_line(&mut line, kind, &object);
                self.held = Some((Instant::now() + time, line));
                false
            }
            WatchFault::Close => {
                self.initial.clear();
                self.initial_end = None;
                self.end_after(lines, "");
                false
            }
            WatchFault::Gone => {
                self.initial.clear();
                self.initial_end = None;
                let line = gone(&format!(
                    "too old resource version: {} ({})",
                    stored.version.saturating_sub(1),
                    stored.version
                ));
                self.end_after(lines, &line);
                false
            }
        }
    }

    /// Ends the watch once the lines collected so far are sent.
    fn end_after(&mut self, lines: &[u8], last: &str) {
        if lines.is_empty() && last.is_empty() {
            self.ended = true;
        } else {
            self.last = Some(last.to_owned());
        }
    }

    fn bookmark(&self, version: u64, initial_end: bool) -> String {
        let kind = &self.show.kind;
        let (name, api_version) = match self.show.form {
            Form::Partial => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Table(_) => ("Table".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Whole | Form::Aggregated => (kind.kind.clone(), kind.api_version(&self.show.version)),
        };
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": Value::Null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": name, "apiVersion": api_version, "metadata": metadata});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }
}

fn write_line(lines: &mut Vec<u8>, kind: &str, object: &[u8]) {
    lines.reserve(kind.len() + object.len() + 24);
    for part in [b"{\"type\":\"", kind.as_bytes(), b"\",\"object\":", object, b"}\n"] {
        lines.extend_from_slice(part);
    }
}

/// The event of a watch that comes too late.
fn too_old(resource: Resource, asked: u64, forgotten: u64) -> String {
    if resource.plural == "events" {
        // Events are not cached: their storage says it itself.
        return gone("The resourceVersion for the provided watch is too old.");
    }
    gone(&format!("too old resource version: {asked} ({forgotten})"))
}

/// The event of a version that is no longer kept.
fn gone(message: &str) -> String {
    let status = Status::expired(message).json();
    format!("{}\n", json!({"type": "ERROR", "object": status}))
}
