//! The oracle: reads what happened in storage, to users' requests and to the metrics provider, and says which rules were broken.
//!
//! It shares no code with the planner and the audit and knows nothing of how the controller decides: objects are raw JSON,
//! rules are written from design section 5 and the compatibility map, whose sections the exceptions name.
//!
//! A write of a controller is judged against the state of the storage just before it. It is excused only for what its
//! writer could not know yet: see [`picture`]. The rules of [`rules`] judge writes, those of [`settling`] the end.

mod counts;
mod facts;
mod knowledge;
mod picture;
mod report;
mod rules;
mod scene;
mod settling;
#[cfg(test)]
mod tests;

pub use report::{Rule, Violation};

use knowledge::Knowledge;
use picture::Picture;
use report::Report;
use rules::Memory;
use scene::Scene;

use crate::history::{History, is_controller};

/// Every rule over the whole history. In order of time; the same rule speaks at most three times of the same object.
pub fn check(history: &History) -> Vec<Violation> {
    let mut report = Report::default();
    let knowledge = Knowledge::of(history);
    let mut picture = Picture::default();
    let mut memory = Memory::default();
    rules::requests::check(history, &knowledge, &mut report);
    rules::lease::check(history, &knowledge, &mut report);
    for change in &history.changes {
        if is_controller(&change.user) {
            let scene = Scene::new(&picture, &knowledge, change);
            rules::judge(&scene, &memory, &mut report);
        }
        memory.note(&picture, change);
        picture.take(change, knowledge.was_told(change));
    }
    settling::check(history, &picture, &mut report);
    for refused in &history.refusals {
        let message = format!("the audit refused a plan of {}: {}", refused.user, refused.why);
        report.add(Rule::Audit, refused.at, &refused.rollout, message);
    }
    for (at, user, why) in &history.ends {
        report.add(Rule::Alive, *at, user, format!("a controller ended by itself: {why}"));
    }
    report.finish()
}
