//! Which backend, when, how often. Pure: events, `now` and a random generator go in, decisions
//! come out. No clock, no I/O, no task, no lock.

#![deny(clippy::disallowed_methods)]

mod admission;
mod backend;
mod budget;
mod capacity;
pub mod classify;
mod decay;
mod decision;
mod diversity;
mod domain;
mod experience;
mod fleet;
mod flight;
mod health;
mod latency;
mod log_limits;
mod notes;
mod outcome;
mod pace;
mod probes;
mod rank;
mod rate;
mod reach;
mod retention;
mod retirement;
mod set;
mod shedding;
mod suspicion;
mod timestamp;

pub use admission::{Admission, Standing};
pub use backend::{Backend, BackendSpec, Cooling, Identity, Tier};
pub use budget::{Budget, Shares};
pub use capacity::Capacity;
pub use decision::{Candidate, Decision, Decisions, Why};
pub use diversity::Diversity;
pub use domain::{DerivedLabel, DomainKind, DomainLabels, LabelSource};
pub use experience::Experience;
pub use fleet::{Attempted, Fleet, Need};
pub use flight::{Event, Flight, Plan, Repeat, Step};
pub use health::{Health, Remembered};
pub use latency::Latencies;
pub use log_limits::cut_range;
pub use notes::{Change, Note, Notes};
pub use outcome::{Class, Failure, Outcome, Told};
pub use pace::{Month, Pace, RememberedUse};
pub use probes::{PROBE_BUDGET, Question};
pub use reach::{Named, Reach, Rests};
pub use retention::{Depth, Kept};
pub use retirement::{RememberedRetirement, Retired, Retirement};
pub use set::{BACKENDS_MAX, BackendIndex, BackendSet};
pub use suspicion::Suspicion;
pub use timestamp::Timestamp;
