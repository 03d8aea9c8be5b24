//! What is counted while requests pass: what clients asked and were answered, what each backend's attempts came to, and what
//! happened to the chain. Places for all of it are there from the start, so that a request only adds to some numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::chain::ChainEvent;
use crate::ethereum::{Method, MethodClass};
use crate::policy::{Class, Timestamp};
use crate::telemetry::Histogram;

use super::call::{Answered, Said};
use super::packet::Source;

/// The word for methods without a line in the table.
pub(super) const OTHER: &str = "other";
/// What answers, in the order of [`Source`].
pub(super) const SOURCES: [Source; 5] =
    [Source::Local, Source::Follower, Source::Journal, Source::Cache, Source::Backend];
/// What requests come to, in the order of [`Came`].
pub(super) const RESULTS: [&str; 4] = ["ok", "error", "refused", "failed"];

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// To a result.
    Ok,
    /// To an error that a node said, or that is known to hold.
    Error,
    /// To an error of the proxy's own, before anybody was asked.
    Refused,
    /// To nothing: no node gave its word.
    Failed,
}

impl Came {
    fn of(answered: &Answered) -> Self {
        match (&answered.said, answered.trail.source) {
            (Said::Result(_), _) => Self::Ok,
            (Said::Error(_), _) if answered.trail.unheard => Self::Failed,
            (Said::Error(_), Source::Local) => Self::Refused,
            (Said::Error(_), _) => Self::Error,
        }
    }
}

/// Requests of one method, by source and result.
type ByEnd = [[AtomicU64; RESULTS.len()]; SOURCES.len()];

/// One chain's requests and events. Bounded whatever clients ask for: names without a line in the method table count together.
#[derive(Debug)]
pub(super) struct Tally {
    listed: Box<[ByEnd]>,
    other: ByEnd,
    took: [Histogram; MethodClass::COUNT],
    malformed: AtomicU64,
    hung_up: AtomicU64,
    reorgs: AtomicU64,
    dropped_blocks: AtomicU64,
    forks: AtomicU64,
    halts: AtomicU64,
    sessions: AtomicU64,
}

/// Counters of what happened to the chain, and who is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happenings {
    pub(super) reorgs: u64,
    pub(super) dropped_blocks: u64,
    pub(super) forks: u64,
    pub(super) halts: u64,
    /// Packets, or items of batches, that are no JSON-RPC requests.
    pub(super) malformed: u64,
    /// Requests whose client left before they were answered.
    pub(super) hung_up: u64,
    /// Connections that can be told of news, now.
    pub(super) sessions: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            listed: Method::all().iter().map(|_| ByEnd::default()).collect(),
            other: ByEnd::default(),
            took: Default::default(),
            malformed: AtomicU64::new(0),
            hung_up: AtomicU64::new(0),
            reorgs: AtomicU64::new(0),
            dropped_blocks: AtomicU64::new(0),
            forks: AtomicU64::new(0),
            halts: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
        }
    }
}

fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}

/// The class that a method's requests are counted under: of names that are not known nothing is known.
fn class_of(method: &Method) -> MethodClass {
    if method.is_listed() { method.health_class() } else { MethodClass::Other }
}

impl Tally {
    /// Some requests have come that will be answered together.
    pub(super) fn begin(&self, now: Timestamp) -> Asked<'_> {
        Asked { tally: self, began: now, open: 0 }
    }

    /// Something came that is no request.
    pub(super) fn malformed(&self) {
        add(&self.malformed, 1);
    }

    /// The chain changed.
    pub(super) fn saw(&self, event: &ChainEvent) {
        match event {
            ChainEvent::Reorged { dropped, .. } => {
                add(&self.reorgs, 1);
                add(&self.dropped_blocks, dropped.len() as u64);
            }
            ChainEvent::Forked { .. } => add(&self.forks, 1),
            ChainEvent::Halted { .. } => add(&self.halts, 1),
            ChainEvent::Extended { .. } | ChainEvent::Skipped { .. } | ChainEvent::Resumed => {}
        }
    }

    /// A connection that can be told of news begins.
    pub(super) fn connected(&self) {
        add(&self.sessions, 1);
    }

    /// It ends.
    pub(super) fn disconnected(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that were answered: method, class, source, result and how many, those that there were.
    pub(super) fn answered(
        &self,
    ) -> impl Iterator<Item = (&'static str, MethodClass, Source, &'static str, u64)> {
        let listed =
            Method::all().iter().map(|method| (method.name, method.health_class())).zip(&self.listed);
        let all = listed.chain([((OTHER, MethodClass::Other), &self.other)]);
        all.flat_map(|((name, class), by_end)| {
            SOURCES.into_iter().zip(by_end).flat_map(move |(source, by_result)| {
                RESULTS.into_iter().zip(by_result).filter_map(move |(result, count)| {
                    let count = count.load(Ordering::Relaxed);
                    (count > 0).then_some((name, class, source, result, count))
                })
            })
        })
    }

    /// How long requests of a class took.
    pub(super) fn took(&self, class: MethodClass) -> &Histogram {
        &self.took[class.index()]
    }

    pub(super) fn happenings(&self) -> Happenings {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Happenings {
            reorgs: read(&self.reorgs),
            dropped_blocks: read(&self.dropped_blocks),
            forks: read(&self.forks),
            halts: read(&self.halts),
            malformed: read(&self.malformed),
            hung_up: read(&self.hung_up),
            sessions: read(&self.sessions),
        }
    }
}

/// Requests under way. Those that are dropped unanswered were left by their client.
pub(super) struct Asked<'a> {
    tally: &'a Tally,
    began: Timestamp,
    open: u64,
}

impl Asked<'_> {
    /// There is one more of them.
    pub(super) fn expect(&mut self) {
        self.open += 1;
    }

    /// One of them has its answer.
    pub(super) fn answer(&mut self, now: Timestamp, method: &'static Method, answered: &Answered) {
        self.open = self.open.saturating_sub(1);
        let by_end =
            method.place().and_then(|place| self.tally.listed.get(place)).unwrap_or(&self.tally.other);
        add(&by_end[answered.trail.source as usize][Came::of(answered) as usize], 1);
        self.tally.took[class_of(method).index()].observe(now.since(self.began));
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.open > 0 {
            add(&self.tally.hung_up, self.open);
        }
    }
}

/// What attempts at one backend came to.
#[derive(Debug)]
pub(super) struct Attempts {
    by_class: [AtomicU64; Class::ALL.len()],
    cancelled: AtomicU64,
    took: Histogram,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            by_class: std::array::from_fn(|_| AtomicU64::new(0)),
            cancelled: AtomicU64::new(0),
            took: Histogram::default(),
        }
    }
}

impl Attempts {
    /// An attempt begins that carries so many calls.
    pub(super) fn begin(&self, now: Timestamp, calls: usize) -> Tried<'_> {
        Tried { attempts: self, began: now, open: calls as u64 }
    }

    /// Calls by what they came to, those that there were.
    pub(super) fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let judged = Class::ALL.into_iter().map(Class::name).zip(&self.by_class);
        let all = judged.chain([("cancelled", &self.cancelled)]);
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }

    /// How long they took, those that were not cancelled.
    pub(super) fn took(&self) -> &Histogram {
        &self.took
    }
}

/// An attempt under way. One that is dropped was cancelled: somebody else answered, or the client left.
pub(super) struct Tried<'a> {
    attempts: &'a Attempts,
    began: Timestamp,
    open: u64,
}

impl Tried<'_> {
    /// It ended, and its calls came to this.
    pub(super) fn end(mut self, now: Timestamp, outcomes: impl Iterator<Item = Class>) {
        self.open = 0;
        for class in outcomes {
            add(&self.attempts.by_class[class.index()], 1);
        }
        self.attempts.took.observe(now.since(self.began));
    }
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if self.open > 0 {
            add(&self.attempts.cancelled, self.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jsonrpc::{ErrorObject, code};

    fn at(ms: u64) -> Timestamp {
        Timestamp::after_origin(Duration::from_millis(ms))
    }

    #[test]
    fn o5_a_hundred_thousand_unknown_methods_are_one_label() {
        let tally = Tally::default();
        let answered = Answered::local("1");
        for n in 0..100_000 {
            let mut asked = tally.begin(at(0));
            asked.expect();
            asked.answer(at(1), Method::lookup(&format!("x{n}_method{n}")), &answered);
        }
        let all: Vec<_> = tally.answered().collect();
        assert_eq!(all, [(OTHER, MethodClass::Other, Source::Local, "ok", 100_000)]);
    }

    #[test]
    fn a_request_counts_by_method_source_and_result() {
        let tally = Tally::default();
        let error = || ErrorObject::new(code::INTERNAL_ERROR, "no");
        let mut asked = tally.begin(at(0));
        let told = [Answered::local("1"), Answered::refused(error()), Answered::failed(error(), 2)];
        for answered in &told {
            asked.expect();
            asked.answer(at(3), Method::lookup("eth_call"), answered);
        }
        drop(asked);
        let all: Vec<_> =
            tally.answered().map(|(name, _, source, result, count)| (name, source, result, count)).collect();
        let expected = [
            ("eth_call", Source::Local, "ok", 1),
            ("eth_call", Source::Local, "refused", 1),
            ("eth_call", Source::Backend, "failed", 1),
        ];
        assert_eq!(all, expected);
        assert_eq!(tally.happenings().hung_up, 0);
    }

    #[test]
    fn what_is_dropped_unanswered_was_left_by_its_client() {
        let tally = Tally::default();
        let mut asked = tally.begin(at(0));
        (0..3).for_each(|_| asked.expect());
        asked.answer(at(1), Method::lookup("eth_call"), &Answered::local("1"));
        drop(asked);
        assert_eq!(tally.happenings().hung_up, 2);
    }

    #[test]
    fn an_attempt_that_is_dropped_was_cancelled() {
        let attempts = Attempts::default();
        attempts.begin(at(0), 2).end(at(5), [Class::Ok, Class::RateLimited].into_iter());
        drop(attempts.begin(at(0), 1));
        let all: Vec<_> = attempts.by_outcome().collect();
        assert_eq!(all, [("ok", 1), ("rate_limited", 1), ("cancelled", 1)]);
    }

    #[test]
    fn every_source_has_its_place() {
        assert!(SOURCES.is_sorted());
        for (at, source) in SOURCES.into_iter().enumerate() {
            assert_eq!(source as usize, at);
        }
    }
}
