//! What a replay saw. Everything is counted from outside, the same way for every policy.

use std::collections::VecDeque;
use std::time::Duration;

use super::onsets::{Onset, onsets};
use super::scenario::{HeadMode, Scenario};
use crate::policy::Timestamp;

/// A share of at most 1 % is judged over so many first attempts.
const DIVERT_WINDOW: usize = 100;
/// Of those, so many may still go there.
const DIVERT_LEFT: usize = 1;
/// Latency at the start of a fault is looked at for so long.
pub(super) const DIVERT_SPAN: Duration = Duration::from_secs(5);
/// A new primary has so many times the first attempts of the one before.
const SWITCH_FACTOR: u32 = 2;
/// A dead backend may still be asked freely for so long.
pub(super) const DEAD_GRACE: Duration = Duration::from_secs(10);

/// Latencies, to within 1 %.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Bits of precision below the leading one.
    const FINE: u32 = 7;

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bits = (64 - micros.leading_zeros()).saturating_sub(Self::FINE + 1);
        let at = ((u64::from(bits) << Self::FINE) + (micros >> bits)) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The value that this share, 0 to 1, does not exceed; `None` without values.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })? as u64;
        // The first two powers are exact; each later block of a power holds its upper half only.
        let fine = 1u64 << Self::FINE;
        let bits = (at / fine).saturating_sub(1);
        Some(Duration::from_micros((at - bits * fine) << bits))
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Blocks from when a transaction was acknowledged until it was in one. The longest is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inclusion {
    /// So many later.
    After(u64),
    /// Not within twenty blocks after the end.
    Never,
}

/// One second of the drill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Reads and transactions that came, client retries left out.
    pub requests: u32,
    /// Of these, how many were answered.
    pub answered: u32,
    /// First attempts by backend.
    pub first: Vec<u32>,
    /// All calls by backend, probes included.
    pub calls: Vec<u32>,
    /// Backends that were out of use for a part of it, one bit each.
    pub out: u64,
}

/// What one replay saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures {
    /// Depends on every attempt and every answer: equal digests, equal runs.
    pub digest: u64,
    /// Client requests, retries included.
    pub requests: u64,
    /// Upstream attempts, probes left out.
    pub attempts: u64,
    /// Of these, copies that only teach.
    pub copies: u64,
    /// Upstream probes.
    pub probes: u64,
    /// Second attempts while the first was still silent.
    pub hedges: u64,
    /// Reads, client retries left out.
    pub reads: u64,
    /// Of these, how many were answered.
    pub reads_answered: u64,
    /// Transactions, client retries left out.
    pub transactions: u64,
    /// Of these, how many were acknowledged.
    pub transactions_acknowledged: u64,
    /// Acknowledged, in no block twenty blocks after the end, and not being sent again either.
    pub transactions_lost: u64,
    /// Of each acknowledged one: how many blocks later it was in one.
    pub inclusions: Vec<Inclusion>,
    /// Reported as failed, and in a block to come.
    pub duplicate_harm: u64,
    /// Sent to a public backend although there are private ones.
    pub privacy_violations: u64,
    /// Answers that differ from the truth, once that could be known.
    pub wrong_answers: u64,
    /// Answers that differ from the truth before that.
    pub wrong_answers_early: u64,
    /// Answers to `eth_getLogs` that leave some out.
    pub logs_incomplete: u64,
    /// Answers that are older than allowed, once that could be known.
    pub stale_reads: u64,
    /// Answers from another branch, once that could be known.
    pub fork_reads: u64,
    /// Answers from another branch before that.
    pub fork_reads_early: u64,
    /// Block numbers below what the same session had been told when it asked.
    pub head_regressions: u64,
    /// For each onset the time until at most 1 % of first attempts went there; `None`: never.
    pub diverted: Vec<(Onset, Option<Duration>)>,
    /// Read latencies before the first fault.
    pub calm: Histogram,
    /// Read latencies in the first 5 s of each onset.
    pub diverting: Histogram,
    /// All read latencies.
    pub latencies: Histogram,
    /// Times a backend was taken out of use.
    pub ejections: u64,
    /// Of these, while the chain itself stood or limped.
    pub ejections_in_halt: u64,
    /// For each backend that was dead for good: time until it counted as retired.
    pub retired: Vec<Option<Duration>>,
    /// What happened when.
    pub seconds: Vec<Second>,
}

impl Measures {
    /// Attempts per request.
    pub fn amplification(&self) -> f64 {
        self.attempts as f64 / (self.requests as f64).max(1.0)
    }

    /// The most primary changes within a minute. The primary is who gets more than half of a second's first attempts,
    /// and it stays that until somebody else gets more than half and twice as many as it: where two share the load,
    /// who has more of it is chance, and nothing has moved.
    pub fn switches_per_minute(&self) -> u64 {
        let mut primary: Option<usize> = None;
        let mut switched_at = Vec::new();
        for (second, seen) in self.seconds.iter().enumerate() {
            let total: u32 = seen.first.iter().sum();
            let leads = |count: &u32| {
                let of_primary = primary.map_or(0, |primary| seen.first[primary]);
                count * 2 > total && *count >= SWITCH_FACTOR * of_primary
            };
            let leader = seen.first.iter().position(leads);
            if let Some(leader) = leader.filter(|leader| primary != Some(*leader)) {
                if primary.is_some() {
                    switched_at.push(second);
                }
                primary = Some(leader);
            }
        }
        let within_a_minute =
            |from: usize| switched_at.iter().filter(|at| (from..from + 60).contains(*at)).count();
        switched_at.iter().map(|from| within_a_minute(*from) as u64).max().unwrap_or(0)
    }

    /// Share of requests answered from `from` on; `None` where none came.
    pub fn goodput_from(&self, from: Duration) -> Option<f64> {
        let seconds = self.seconds.iter().skip(from.as_secs() as usize);
        let (answered, requests) = seconds.fold((0u64, 0u64), |(answered, requests), second| {
            (answered + u64::from(second.answered), requests + u64::from(second.requests))
        });
        (requests > 0).then(|| answered as f64 / requests as f64)
    }

    /// Time after `from` until no five seconds in a row answer less than 99 %; `None`: never.
    pub fn recovered_after(&self, from: Duration) -> Option<Duration> {
        const WINDOW: usize = 5;
        let from = from.as_secs() as usize;
        let rest = self.seconds.get(from..)?;
        let is_bad = |window: &[Second]| {
            let requests: u32 = window.iter().map(|second| second.requests).sum();
            let answered: u32 = window.iter().map(|second| second.answered).sum();
            f64::from(answered) < 0.99 * f64::from(requests)
        };
        let last_bad = rest.windows(WINDOW).rposition(is_bad);
        match last_bad {
            None => Some(Duration::ZERO),
            Some(at) if at + WINDOW >= rest.len() => None,
            Some(at) => Some(Duration::from_secs(at as u64 + 1)),
        }
    }

    /// Whether a backend was in use all through these seconds, and another one had most of the first attempts: that one.
    pub fn stands_by_for(&self, backend: usize, seconds: std::ops::Range<usize>) -> Option<usize> {
        let seen = self.seconds.get(seconds.clone())?;
        let in_use = seen.iter().all(|second| second.out & (1 << backend) == 0);
        let leads = |other: &usize| self.share(*other, seconds.clone()).is_some_and(|share| share > 0.5);
        (0..seen.first()?.first.len()).find(leads).filter(|leader| in_use && *leader != backend)
    }

    /// Share of first attempts that go to a backend in these seconds.
    pub fn share(&self, backend: usize, seconds: std::ops::Range<usize>) -> Option<f64> {
        let seen =
            self.seconds.get(seconds.start.min(self.seconds.len())..seconds.end.min(self.seconds.len()))?;
        let total: u64 = seen.iter().flat_map(|second| &second.first).map(|count| u64::from(*count)).sum();
        let own: u64 = seen.iter().filter_map(|s| s.first.get(backend)).map(|count| u64::from(*count)).sum();
        (total > 0).then(|| own as f64 / total as f64)
    }
}

/// Watches whether first attempts leave a domain in which a fault began.
#[derive(Debug)]
struct Diverting {
    onset: Onset,
    methods: u128,
    window: VecDeque<(Timestamp, bool)>,
    hits: usize,
    /// The last first attempt that went there and has left the window.
    last_hit: Option<Timestamp>,
    done: Option<Duration>,
}

/// Looks at who is in use come this soon after a failure that takes somebody out.
const FAILED_LATELY: Duration = Duration::from_secs(2);

impl Diverting {
    /// Where too few calls came in all to fill the window: the last one that went there, but for the one that may.
    fn of_a_few(&self) -> Option<Duration> {
        let hits = self.window.iter().rev().filter(|(_, hit)| *hit);
        let last = hits.map(|(at, _)| at.since_origin().saturating_sub(self.onset.at)).nth(DIVERT_LEFT);
        (self.window.len() < DIVERT_WINDOW).then(|| last.unwrap_or_default())
    }
}

/// Takes what happens and makes [`Measures`] of it.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) measures: Measures,
    diverting: Vec<Diverting>,
    first_fault: Duration,
    halts: Vec<(Duration, Duration)>,
    out: Vec<bool>,
    /// When each backend last failed a call.
    failed_at: Vec<Option<Duration>>,
    dead: Vec<(usize, Duration, Option<Duration>)>,
    sessions: Vec<u64>,
}

impl Gauge {
    pub(super) fn new(scenario: &Scenario, methods: &[&'static str]) -> Self {
        let backends = scenario.backends.len();
        let onsets = onsets(scenario);
        let dead = onsets
            .iter()
            .filter(|onset| onset.dead)
            .flat_map(|onset| {
                let of = (0..backends).filter(|backend| onset.backends & (1 << backend) != 0);
                of.map(|backend| (backend, onset.at, None))
            })
            .collect();
        let diverting = onsets
            .into_iter()
            .map(|onset| Diverting {
                methods: methods
                    .iter()
                    .enumerate()
                    .filter(|(_, name)| onset.methods.is_empty() || onset.methods.iter().any(|m| m == *name))
                    .fold(0, |set, (at, _)| set | 1 << at),
                onset,
                window: VecDeque::with_capacity(DIVERT_WINDOW + 1),
                hits: 0,
                last_hit: None,
                done: None,
            })
            .collect();
        let limps = |mode: HeadMode| {
            matches!(mode, HeadMode::Halt | HeadMode::MissedSlots | HeadMode::FinalizedFrozen)
        };
        let seconds = scenario.duration.as_secs() as usize + 1;
        let empty = Second { first: vec![0; backends], calls: vec![0; backends], ..Second::default() };
        Self {
            measures: Measures {
                digest: 0xcbf2_9ce4_8422_2325,
                seconds: vec![empty; seconds],
                ..Measures::default()
            },
            diverting,
            first_fault: scenario
                .phases
                .iter()
                .find(|phase| !phase.faults.is_empty())
                .map_or(scenario.duration, |phase| phase.start),
            halts: scenario
                .phases
                .iter()
                .filter(|p| p.faults.iter().filter_map(|f| f.head.as_ref()).any(|head| limps(head.mode)))
                .map(|phase| (phase.start, phase.end))
                .collect(),
            out: vec![false; backends],
            failed_at: vec![None; backends],
            dead,
            sessions: vec![0; scenario.load.sessions as usize],
        }
    }

    /// Mixes a word into the digest (FNV-1a over its bytes, eight at once).
    pub(super) fn note(&mut self, word: u64) {
        let digest = &mut self.measures.digest;
        *digest = (*digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn second(&mut self, at: Timestamp) -> &mut Second {
        let last = self.measures.seconds.len() - 1;
        &mut self.measures.seconds[(at.since_origin().as_secs() as usize).min(last)]
    }

    /// A first attempt at a backend; `touched` by some fault, or it got away with it as if there was none.
    pub(super) fn first_attempt(&mut self, now: Timestamp, backend: usize, method: usize, touched: bool) {
        self.second(now).first[backend] += 1;
        let at = now.since_origin();
        for one in self.diverting.iter_mut().filter(|one| one.done.is_none()) {
            if at < one.onset.at || at >= one.onset.until || one.methods & (1 << method) == 0 {
                continue;
            }
            let hit = touched && one.onset.backends & (1 << backend) != 0;
            one.window.push_back((now, hit));
            one.hits += usize::from(hit);
            if one.window.len() > DIVERT_WINDOW
                && let Some((left_at, true)) = one.window.pop_front()
            {
                one.hits -= 1;
                one.last_hit = Some(left_at);
            }
            if one.window.len() == DIVERT_WINDOW && one.hits <= DIVERT_LEFT {
                one.done = Some(
                    one.last_hit
                        .map_or(Duration::ZERO, |hit| hit.since_origin().saturating_sub(one.onset.at)),
                );
            }
        }
    }

    pub(super) fn read_took(&mut self, started: Timestamp, took: Duration) {
        let at = started.since_origin();
        self.measures.latencies.record(took);
        if at < self.first_fault {
            self.measures.calm.record(took);
        }
        let begins = |one: &Diverting| (one.onset.at..one.onset.at + DIVERT_SPAN).contains(&at);
        if self.diverting.iter().any(begins) {
            self.measures.diverting.record(took);
        }
    }

    /// The greatest block number that a session has been told.
    pub(super) fn highest_told(&self, session: usize) -> u64 {
        self.sessions[session]
    }

    /// A session is told a block number; `before` is the greatest that it knew when it asked. Two questions on their way
    /// at once may be answered in any order.
    pub(super) fn told_head(&mut self, session: usize, before: u64, head: u64) {
        self.measures.head_regressions += u64::from(head < before);
        let highest = &mut self.sessions[session];
        *highest = head.max(*highest);
    }

    /// A backend failed a call.
    pub(super) fn failed(&mut self, now: Timestamp, backend: usize) {
        self.failed_at[backend] = Some(now.since_origin());
    }

    /// Looks whether a backend is in use.
    pub(super) fn look(&mut self, now: Timestamp, backend: usize, is_out: bool, is_retired: bool) {
        let at = now.since_origin();
        if is_out && !self.out[backend] {
            self.measures.ejections += 1;
            // Who fails is taken out for that, whatever the chain does.
            let failed = self.failed_at[backend].is_some_and(|failed_at| at - failed_at < FAILED_LATELY);
            let in_halt = !failed && self.halts.iter().any(|(start, end)| (*start..*end).contains(&at));
            self.measures.ejections_in_halt += u64::from(in_halt);
        }
        self.out[backend] = is_out;
        self.second(now).out |= u64::from(is_out) << backend;
        for (dead, since, retired) in &mut self.dead {
            if *dead == backend && is_retired && at >= *since && retired.is_none() {
                *retired = Some(at - *since);
            }
        }
    }

    pub(super) fn finish(mut self) -> Measures {
        self.measures.retired = self.dead.iter().map(|(.., retired)| *retired).collect();
        self.measures.diverted = self
            .diverting
            .into_iter()
            .map(|one| {
                let done = one.done.or_else(|| one.of_a_few());
                (one.onset, done)
            })
            .collect();
        self.measures
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Draws;
    use super::*;

    #[test]
    fn a_histogram_keeps_quantiles_to_within_one_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000u64).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (share, micros) in [(0.001, 100.0), (0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let found = histogram.quantile(share).unwrap().as_micros() as f64;
            assert!((found / micros - 1.0).abs() < 0.01, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_digest_depends_on_what_was_noted_and_in_which_order() {
        let digest = |words: &[u64]| {
            let mut gauge = Gauge::new(&super::super::find("S41").unwrap(), &[]);
            words.iter().for_each(|word| gauge.note(*word));
            gauge.measures.digest
        };
        assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
        assert!(digest(&[1, 2]) != digest(&[1, 3]) && digest(&[1, 2]) != digest(&[2, 1]));
    }

    fn seconds(answered: &[u32]) -> Measures {
        let of = |answered: &u32| Second { requests: 100, answered: *answered, ..Second::default() };
        Measures { seconds: answered.iter().map(of).collect(), ..Measures::default() }
    }

    #[test]
    fn recovery_is_where_the_last_bad_stretch_ends() {
        let measures = seconds(&[100, 0, 0, 0, 100, 100, 100, 100, 100, 100, 100]);
        assert_eq!(measures.recovered_after(Duration::from_secs(1)), Some(Duration::from_secs(3)));
        assert_eq!(measures.recovered_after(Duration::from_secs(4)), Some(Duration::ZERO));
        assert_eq!(seconds(&[100, 100, 100, 100, 100, 0]).recovered_after(Duration::ZERO), None);
    }

    #[test]
    fn of_few_calls_the_last_that_went_there_tells_how_long_it_took_to_turn_away() {
        let onset = Onset {
            at: Duration::from_secs(10),
            until: Duration::from_secs(30),
            domain: "*".into(),
            backends: 1,
            methods: Vec::new(),
            dead: false,
        };
        let took = |hits: &[u64]| {
            let window =
                (10..30).map(|s| (Timestamp::ZERO + Duration::from_secs(s), hits.contains(&s))).collect();
            Diverting { onset: onset.clone(), methods: 0, window, hits: 0, last_hit: None, done: None }
                .of_a_few()
        };
        assert_eq!(took(&[]), Some(Duration::ZERO));
        assert_eq!(took(&[10, 11, 12]), Some(Duration::from_secs(1)));
        assert_eq!(took(&(10..30).collect::<Vec<_>>()), Some(Duration::from_secs(18)), "it never did");
    }

    fn switches(first: impl IntoIterator<Item = [u32; 2]>) -> u64 {
        let of = |first: [u32; 2]| Second { first: first.into(), ..Second::default() };
        let seconds = first.into_iter().map(of).collect();
        Measures { seconds, ..Measures::default() }.switches_per_minute()
    }

    #[test]
    fn h11_a_primary_changes_when_another_gets_more_than_half_and_twice_as_much() {
        assert_eq!(switches([[9, 1], [5, 5], [4, 6], [3, 7], [6, 4], [3, 7], [8, 2]]), 2);
        assert_eq!(switches([[0, 0], [9, 1], [0, 0], [10, 0]]), 0);
    }

    #[test]
    fn h11_who_shares_the_load_switches_nothing_and_who_throws_it_to_and_fro_does() {
        // A hundred calls a second between two: evenly, and seven tenths here and there by turns of five seconds.
        let mut draws = Draws::of(&[1]);
        let mut second = |share: f64| {
            let first = (0..100).filter(|_| draws.chance(share)).count() as u32;
            [first, 100 - first]
        };
        assert!(switches((0..600).map(|_| second(0.5))) <= 1);
        assert!(switches((0..600).map(|at| second(if at / 5 % 2 == 0 { 0.7 } else { 0.3 }))) > 4);
    }
}
