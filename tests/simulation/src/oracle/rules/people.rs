//! What people asked for is not forgotten.

use super::StatusWrite;
use crate::oracle::report::{Report, Rule};

/// `status.abort` goes only by a person, a new revision, or because there is nothing to abort: the revision is stable already
/// (compat 2.6), a full promotion (2.8) or the rollback window (2.7) ended it.
pub(crate) fn abort_kept(write: &StatusWrite<'_, '_>, report: &mut Report) {
    let (old, new) = (write.old, write.new);
    if !old.is_aborted() || new.is_aborted() {
        return;
    }
    let is_nothing_to_abort = old.is_promoted() || old.stable().is_empty();
    if write.is_reset || is_nothing_to_abort || write.is_fast() {
        return;
    }
    write.say(report, Rule::AbortKept, "took back the abort".to_owned());
}
