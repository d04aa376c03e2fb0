//! May a write start now? Rule W9: none starts after our lease's renew deadline, whatever the rest of the program believes.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

/// Shared between the leader's loop, which moves the deadline, and everybody who writes.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    stopping: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Shut,
    Until(Instant),
    Open,
}

impl Gate {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Open until the deadline.
    pub fn open_until(&self, deadline: Instant) {
        self.set(State::Until(deadline));
    }

    /// Open for good (`--leader-elect=false`).
    pub fn open(&self) {
        self.set(State::Open);
    }

    /// Shut.
    pub fn shut(&self) {
        self.set(State::Shut);
    }

    /// The process is about to end: no new work, but what was begun may still be recorded.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Work may begin again (after a change of leadership).
    pub fn resume(&self) {
        self.stopping.store(false, Ordering::SeqCst);
    }

    /// Whether work is to come to an end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether a write may start now.
    pub fn is_open(&self) -> bool {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Shut => false,
            State::Until(deadline) => Instant::now() < deadline,
            State::Open => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_gate_shuts_by_itself_at_the_deadline() {
        let gate = Gate::default();
        assert!(!gate.is_open());
        gate.open_until(Instant::now() + Duration::from_secs(10));
        assert!(gate.is_open());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!gate.is_open());
    }
}
