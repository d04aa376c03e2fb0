//! What should be said to whoever watches: from anywhere in the playground to its terminal.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::mpsc, time::Instant};

/// Namespace and name.
pub type Name = (String, String);

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something happened.
    Plain,
    /// Something good was decided or measured.
    Good,
    /// Something bad was decided or measured.
    Bad,
    /// A weight changed.
    Traffic,
    /// About the playground itself.
    Note,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it happened.
    pub at: Instant,
    /// How it is meant.
    pub tone: Tone,
    /// The Rollout that it is about, if it is about one: namespace and name.
    pub rollout: Option<Name>,
    /// The line.
    pub text: String,
}

/// The way of lines to the terminal. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    lines: mpsc::UnboundedSender<Line>,
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Notes {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Line>) {
        let (lines, told) = mpsc::unbounded_channel();
        let said = Arc::default();
        (Self { lines, said }, told)
    }

    /// Says something about the playground itself, once.
    pub(crate) fn say(&self, text: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(text.clone()) {
            self.tell(Tone::Note, None, text);
        }
    }

    /// Tells what happened.
    pub(crate) fn tell(&self, tone: Tone, rollout: Option<Name>, text: String) {
        // Nobody listens any more only at the very end.
        let _ = self.lines.send(Line {
            at: Instant::now(),
            tone,
            rollout,
            text,
        });
    }
}
