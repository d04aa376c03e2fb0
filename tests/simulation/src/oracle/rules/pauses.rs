//! Pauses are neither begun anew nor shortened, and a person's promotion is not lost.

use super::{Memory, StatusWrite, memory::PAUSE};
use crate::oracle::report::{Report, Rule};

/// A pause that was begun is the only one of its step: its start does not move, and once it is over it does not come back, unless
/// the steps begin anew (abort, retry, new revision).
pub(crate) fn kept(write: &StatusWrite<'_, '_>, memory: &Memory<'_>, report: &mut Report) {
    let (old, new) = (write.old, write.new);
    if write.is_reset || old.index() != new.index() || old.is_aborted() != new.is_aborted() {
        return;
    }
    let remembered = memory.pause(old.namespace(), old.name());
    match (old.paused_since(PAUSE), new.paused_since(PAUSE)) {
        (Some(before), Some(after)) if before != after => {
            let message = format!(
                "moved the start of the pause at step {:?} from {before} to {after}",
                old.index()
            );
            write.say(report, Rule::PauseKept, message);
        }
        (None, Some(_)) if remembered.ended => {
            let message = format!("paused again at step {:?} after a person had gone on", old.index());
            write.say(report, Rule::PromotionKept, message);
        }
        (None, Some(after)) if remembered.begun => {
            let message = format!("began the pause at step {:?} anew at {after}", old.index());
            write.say(report, Rule::PauseKept, message);
        }
        // Compat 2.8: a full promotion and a promotion end it; else only its step's end does.
        (Some(_), None) if !write.is_fast() && !new.is_aborted() => {
            let message = format!("ended the pause at step {:?} without going on", old.index());
            write.say(report, Rule::W8, message);
        }
        _ => {}
    }
}
