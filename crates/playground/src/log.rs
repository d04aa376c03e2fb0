//! What a container wrote, kept in memory: the last lines of this run and of the one before.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::stream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serin_kubesim::{Body, LogOptions};
use tokio::sync::watch;

/// Lines that are kept.
const KEPT: usize = 2000;

#[derive(Debug, Default)]
struct Lines {
    /// How many there were before the first one that is kept.
    forgotten: usize,
    kept: VecDeque<(DateTime<Utc>, String)>,
    ended: bool,
    previous: Option<VecDeque<(DateTime<Utc>, String)>>,
}

/// See the module. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    lines: Arc<Mutex<Lines>>,
    more: Arc<watch::Sender<()>>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: Arc::default(),
            more: Arc::new(watch::Sender::new(())),
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    pub(crate) fn write(&self, line: impl Into<String>) {
        let mut lines = self.lines();
        if lines.kept.len() == KEPT {
            lines.kept.pop_front();
            lines.forgotten += 1;
        }
        lines.kept.push_back((Utc::now(), line.into()));
        drop(lines);
        self.more.send_replace(());
    }

    /// The container was started again.
    pub(crate) fn again(&self) {
        let mut lines = self.lines();
        lines.forgotten += lines.kept.len();
        lines.previous = Some(std::mem::take(&mut lines.kept));
    }

    /// Nothing will be written any more.
    pub(crate) fn end(&self) {
        self.lines().ended = true;
        self.more.send_replace(());
    }

    /// The run before this one, if there was one.
    pub(crate) fn has_previous(&self) -> bool {
        self.lines().previous.is_some()
    }

    /// As it is asked for.
    pub(crate) fn read(&self, options: &LogOptions) -> Body {
        let oldest = options
            .since
            .map(|since| Utc::now() - TimeDelta::from_std(since).unwrap_or(TimeDelta::MAX));
        let timestamps = options.timestamps;
        let (begin, next) = {
            let lines = self.lines();
            let empty = VecDeque::new();
            let all = match options.previous {
                true => lines.previous.as_ref().unwrap_or(&empty),
                false => &lines.kept,
            };
            let skipped = options.tail.map_or(0, |tail| {
                all.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX))
            });
            let wanted = all.iter().skip(skipped);
            let wanted = wanted.filter(|(at, _)| oldest.is_none_or(|oldest| *at >= oldest));
            let text: String = wanted.map(|line| written(line, timestamps)).collect();
            (text, lines.forgotten + lines.kept.len())
        };
        if !options.follow || options.previous {
            return Full::new(Bytes::from(begin)).map_err(|e| match e {}).boxed_unsync();
        }
        let state = (self.clone(), self.more.subscribe(), next, Some(begin));
        let pieces = stream::unfold(state, move |(log, mut more, mut next, mut begin)| async move {
            loop {
                let (text, ended) = match begin.take() {
                    Some(text) => (text, false),
                    None => log.after(&mut next, timestamps),
                };
                if !text.is_empty() {
                    let frame = Ok::<_, tower::BoxError>(Frame::data(Bytes::from(text)));
                    return Some((frame, (log, more, next, None)));
                }
                if ended || more.changed().await.is_err() {
                    return None;
                }
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    /// What came after the first `next` lines, and whether that is all there will be.
    fn after(&self, next: &mut usize, timestamps: bool) -> (String, bool) {
        let lines = self.lines();
        let skipped = next.saturating_sub(lines.forgotten);
        let text = lines
            .kept
            .iter()
            .skip(skipped)
            .map(|line| written(line, timestamps))
            .collect();
        *next = lines.forgotten + lines.kept.len();
        (text, lines.ended)
    }
}

fn written((at, line): &(DateTime<Utc>, String), timestamps: bool) -> String {
    if timestamps {
        let at = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        return format!("{at} {line}\n");
    }
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(log: &Log, options: &LogOptions) -> String {
        let body = log.read(options).collect().await.expect("a body");
        String::from_utf8(body.to_bytes().to_vec()).expect("a text")
    }

    #[tokio::test]
    async fn the_tail_and_the_run_before_are_told_apart() {
        let log = Log::default();
        for n in 0..5 {
            log.write(format!("old {n}"));
        }
        log.again();
        log.write("new 0");
        log.write("new 1");
        let tail = LogOptions {
            tail: Some(1),
            ..LogOptions::default()
        };
        assert_eq!(text(&log, &tail).await, "new 1\n");
        let previous = LogOptions {
            previous: true,
            tail: Some(2),
            ..LogOptions::default()
        };
        assert_eq!(text(&log, &previous).await, "old 3\nold 4\n");
    }

    #[tokio::test]
    async fn who_follows_gets_what_comes_until_the_end() {
        let log = Log::default();
        log.write("first");
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let mut body = log.read(&options);
        let mut next = async || {
            body.frame()
                .await
                .map(|frame| frame.expect("no error").into_data().expect("data"))
        };
        assert_eq!(next().await.as_deref(), Some(&b"first\n"[..]));
        log.write("second");
        assert_eq!(next().await.as_deref(), Some(&b"second\n"[..]));
        log.end();
        assert_eq!(next().await, None);
    }
}
