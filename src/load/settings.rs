//! What is loaded, how, and for how long; and why that may not be possible.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderMap;

use super::mix::Mix;
use super::schedule::{Arrivals, Rate};
use crate::config::BackendUrl;
use crate::policy::Class;
use crate::upstream::{AttemptError, Roots, TlsError};

/// How long a load may take.
pub const DURATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// How long the load may run before anything counts.
pub const WARM_UP_MAX: Duration = Duration::from_secs(600);
/// How long an answer may be waited for.
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);
/// Requests under way at once.
pub const CONNECTIONS: RangeInclusive<usize> = 1..=20_000;
/// Turns of each of two that are compared.
pub const ROUNDS: RangeInclusive<u32> = 1..=100;

/// An address to load.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub url: BackendUrl,
    /// Sent with every request; values are secrets.
    pub headers: HeaderMap,
}

/// A moment that splits the time: what was seen before it and after it is told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Since the beginning of what is measured.
    pub at: Duration,
    /// What the time from then on is called.
    pub name: String,
}

/// How a load is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is loaded.
    pub target: Target,
    /// What is loaded in turns with it, with the same requests.
    pub compare: Option<Target>,
    /// Requests a second.
    pub rate: Rate,
    /// How they follow each other.
    pub arrivals: Arrivals,
    /// How long each target is measured, within [`DURATION`].
    pub duration: Duration,
    /// How long each is loaded before, at the first rate; at most [`WARM_UP_MAX`].
    pub warm_up: Duration,
    /// Turns of each of two, within [`ROUNDS`]. One target has one.
    pub rounds: u32,
    /// What is asked.
    pub mix: Mix,
    /// What requests and moments are drawn from.
    pub seed: u64,
    /// Requests under way at once, within [`CONNECTIONS`]; over HTTP/1.1 each has a connection to itself. What is due
    /// while all places are taken starts later, and its latency counts from when it was due.
    pub connections: usize,
    /// How long after it was due a request may be answered, within [`TIMEOUT`].
    pub timeout: Duration,
    /// Where the time is split, in order.
    pub marks: Vec<Mark>,
    /// Whose certificates are believed.
    pub roots: Roots,
}

/// Why there is no load. Addresses are scheme, host and port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A setting out of its bounds.
    #[error("{0}")]
    Setting(&'static str),
    /// Nobody answers.
    #[error("{url} does not answer `{method}`: {error}")]
    Unreachable {
        /// Who.
        url: String,
        /// What it was asked.
        method: &'static str,
        /// Why.
        error: AttemptError,
    },
    /// Somebody answers, and it is no Ethereum node.
    #[error("{url} is no Ethereum endpoint: asked `{method}` it {}", class.describe())]
    Unfit {
        /// Who.
        url: String,
        /// What it was asked.
        method: &'static str,
        /// What it came to.
        class: Class,
    },
    /// Nothing of the mix is offered.
    #[error("{url} offers none of the methods of the mix: choose another one with --mix")]
    NothingToAsk {
        /// Who.
        url: String,
    },
    /// Two chains.
    #[error(
        "{target} serves chain {chain_id} and {compare} chain {other}: only the same chain can be compared"
    )]
    TwoChains {
        /// The first.
        target: String,
        /// Its chain.
        chain_id: u64,
        /// The second.
        compare: String,
        /// Its chain.
        other: u64,
    },
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread for the clock.
    #[error("cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Without headers.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Target {
    /// An address without headers of its own.
    pub fn new(url: BackendUrl) -> Self {
        Self { url, headers: HeaderMap::new() }
    }
}

impl Settings {
    /// 50 requests of a wallet a second for ten seconds, after two of warm-up.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            compare: None,
            rate: Rate::constant(50.0).expect("50 is within its bounds"),
            arrivals: Arrivals::Even,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            rounds: 5,
            mix: Mix::Wallet,
            seed: 1,
            connections: 256,
            timeout: Duration::from_secs(10),
            marks: Vec::new(),
            roots: Roots::Webpki,
        }
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        let holds = |holds: bool, otherwise| if holds { Ok(()) } else { Err(LoadError::Setting(otherwise)) };
        holds(DURATION.contains(&self.duration), "a load takes from 1s to 24h")?;
        holds(self.warm_up <= WARM_UP_MAX, "a warm-up takes at most 10m")?;
        holds(TIMEOUT.contains(&self.timeout), "a request has from 10ms to 5m")?;
        holds(CONNECTIONS.contains(&self.connections), "there are from 1 to 20000 connections")?;
        holds(ROUNDS.contains(&self.rounds), "there are from 1 to 100 rounds")?;
        holds(self.marks.is_sorted_by_key(|mark| mark.at), "marks stand in the order of their time")
    }

    /// How often each target has its turn.
    pub(super) fn turns(&self) -> u32 {
        if self.compare.is_some() { self.rounds } else { 1 }
    }
}
