//! Simulated clouds: recorded incidents replayed against the very policy that serves in production.
//!
//! A [`Scenario`] says who the backends are, what they share, and what fails when. A [`World`] makes it
//! happen, from a seed; [`replay`] drives requests through a policy under a virtual clock, millions of
//! attempts a minute, and gives [`Measures`]; [`judge`] holds them against what the scenario expects.
//! Nothing here reads a clock, opens a socket or draws ambient randomness, so that a seed replays a run.
//! `docs/scenarios.md` describes the files. [`loopback`] is the other half: one cloud fails over real sockets,
//! by the machine's own clock.

#![deny(clippy::disallowed_methods)]

mod driver;
mod expectations;
mod format;
#[allow(clippy::disallowed_methods)] // it measures
pub mod loopback;
mod measures;
mod onsets;
mod random;
mod replay;
mod rivals;
mod scenario;
mod shipped;
mod steering;
mod world;

pub use driver::{LabelMode, Outrigger};
pub use expectations::{Judgement, Verdict, added_p99, clean_backends, judge, time_to_divert};
pub use format::{FILE_BYTES_MAX, ScenarioErrors};
pub use measures::{Histogram, Inclusion, Measures, Second};
pub use onsets::{Onset, matched as matched_backends, onsets};
pub use replay::replay;
pub use rivals::{Rival, RivalKind, Turn};
pub use scenario::{
    Affected, BackendSpec, Capacity, ChainSpec, ClusterNode, Content, Expect, Fault, Flap, Head, HeadMode,
    Latency, Load, Matching, Methods, Phase, Quantiles, Quota, Ramp, Scenario, Sticky, TransactionFaults,
};
pub use shipped::{find, nearest, shipped};
pub use steering::{Call, Steering, Step, Told};
pub use world::{Answer, Ask, BlockAsked, Facts, Happening, Known, Received, Reply, TransactionState, World};
