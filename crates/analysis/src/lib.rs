//! Measurements to phases of metrics and runs (compat 3.1 to 3.6), and what an answer without data means (design
//! contract 6).
//!
//! Pure: [`plan_run`] gets a run, what is in flight and what was answered, and says what the run's status is, what to ask
//! next and when to look again. It knows no client, no provider and no clock.
//!
//! # How the controller uses it
//! 1. `plan_run` with the run as last written, the [`RunMemory`] of the last accepted plan and the answers that came in.
//! 2. When `plan.status` differs from the run's: write it. If that fails, drop the plan, keep memory and answers, and
//!    plan again on the newer run: an answer that is in the status already is recognised by its number and not counted twice.
//! 3. When it is written (or nothing was to write): record `plan.events`, forget the answers, keep `plan.memory`, drop the
//!    questions that the memory no longer lists as in flight, and start `plan.tasks`.
//! 4. Look again at `plan.wake_at`, or when an answer comes or the run changes.
//!
//! After a crash the memory is empty: what was in flight is simply asked again.

mod metric;
pub mod redact;
mod rules;
mod run;
mod setup;
mod verdict;

pub use metric::Limits;
pub use run::{InFlight, MetricMemory, RunInput, RunMemory, RunPlan, Settings, plan_run};
pub use setup::{Secrets, secrets_needed};
