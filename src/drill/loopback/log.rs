//! What is written down while a drill runs: requests, the gateway's counts, and the machine's own jitter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::gateway::{CallsStatus, ChainStatus};

/// The machine's lateness is looked at this often.
const JITTER_EVERY: Duration = Duration::from_millis(5);

/// One request of the client's.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Since the origin; `None` in the warm-up.
    pub(super) due: Option<Duration>,
    /// From when it was due.
    pub(super) took: Duration,
    pub(super) method: &'static str,
    pub(super) fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// Why.
    Failed(String),
    /// What was said.
    Wrong(String),
}

/// The gateway's counts at one moment.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    /// Since the origin; `None` in the warm-up.
    pub(super) at: Option<Duration>,
    /// Attempts since the start, by backend.
    pub(super) attempts: Vec<u64>,
    pub(super) is_ok: Vec<bool>,
    pub(super) calls: CallsStatus,
}

impl Tick {
    pub(super) fn of(chain: &ChainStatus, origin: Instant) -> Self {
        Self {
            at: Instant::now().checked_duration_since(origin),
            attempts: chain.backends.iter().map(|backend| backend.attempts).collect(),
            is_ok: chain.backends.iter().map(|backend| backend.state == "ok").collect(),
            calls: chain.calls,
        }
    }
}

/// All of it; cheap to clone. It grows with the drill's length and rate, which are bounded.
#[derive(Clone)]
pub(super) struct Log {
    origin: Instant,
    written: Arc<Mutex<Written>>,
}

#[derive(Default)]
pub(super) struct Written {
    pub(super) asked: Vec<Asked>,
    pub(super) ticks: Vec<Tick>,
    /// When, and how late the machine was.
    pub(super) jitter: Vec<(Duration, Duration)>,
}

impl Log {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin, written: Arc::default() }
    }

    pub(super) fn since_origin(&self, at: Instant) -> Option<Duration> {
        at.checked_duration_since(self.origin)
    }

    pub(super) fn asked(&self, asked: Asked) {
        self.read().asked.push(asked);
    }

    pub(super) fn tick(&self, tick: Tick) {
        self.read().ticks.push(tick);
    }

    pub(super) fn read(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend with the most attempts in a time.
    pub(super) fn busiest(&self, from: Duration, until: Duration) -> Option<usize> {
        let attempts = self.read().attempts(from, until);
        (0..attempts.len()).rev().max_by_key(|backend| attempts[*backend])
    }

    /// Whether a backend is well since `from` or later, and for so long.
    pub(super) fn is_well_for(&self, backend: usize, from: Duration, long: Duration) -> bool {
        let written = self.read();
        let now = written.ticks.last().and_then(|tick| tick.at).unwrap_or_default();
        written.well_since(backend, from).is_some_and(|since| now >= since + long)
    }
}

impl Written {
    /// Attempts by backend between two moments.
    pub(super) fn attempts(&self, from: Duration, until: Duration) -> Vec<u64> {
        let (Some(first), Some(last)) = (self.tick_at(from), self.tick_at(until)) else { return Vec::new() };
        first.attempts.iter().zip(&last.attempts).map(|(first, last)| last.saturating_sub(*first)).collect()
    }

    /// The counts as they were at a moment.
    pub(super) fn tick_at(&self, at: Duration) -> Option<&Tick> {
        let after = self.ticks.partition_point(|tick| tick.at.is_none_or(|then| then <= at));
        self.ticks.get(after.checked_sub(1)?)
    }

    /// Since when a backend is well without a break until the last moment.
    pub(super) fn well_since(&self, backend: usize, from: Duration) -> Option<Duration> {
        let later = self.ticks.iter().rev().take_while(|tick| tick.at.is_some_and(|at| at >= from));
        let well = later.take_while(|tick| tick.is_ok.get(backend) == Some(&true));
        well.last().and_then(|tick| tick.at)
    }
}

/// Writes down how late the machine wakes a task that has nothing to do. What comes late for that reason is
/// nobody's fault here.
pub(super) fn watch_jitter(log: Log) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut due = Instant::now();
        loop {
            due += JITTER_EVERY;
            sleep_until(due).await;
            let late = due.elapsed();
            if let Some(at) = log.since_origin(due) {
                log.read().jitter.push((at, late));
            }
            due = due.max(Instant::now() - JITTER_EVERY);
        }
    }))
}
