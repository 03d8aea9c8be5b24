//! Which backend, when, how often. Pure: events, `now` and a random generator go in, decisions
//! come out. No clock, no I/O, no task, no lock.

pub mod classify;
mod outcome;

pub use outcome::{Class, Failure, Outcome, Told};
