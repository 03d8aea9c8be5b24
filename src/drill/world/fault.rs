//! One fault of one phase, made ready to be asked quickly.

use std::sync::Arc;
use std::time::Duration;

use super::super::random::Draws;
use super::super::scenario::{
    Affected, BackendSpec, Capacity, Content, Fault, Flap, Latency, Matching, Phase, Quota, Ramp, Sticky,
    TransactionFaults,
};
use super::answer::Detail;
use super::limits::{Counter, Lent, Limiter};
use super::{Answer, Ask, BlockAsked, Reply, selects};
use crate::ethereum::Method;
use crate::policy::Timestamp;

const FLAP_DRAW: u64 = 32;
const STICKY_DRAW: u64 = 33;

/// Methods as bits of their positions.
type MethodSet = u128;

#[derive(Debug)]
pub(super) struct Rule {
    id: u64,
    start: Timestamp,
    length: Duration,
    /// Backends as bits.
    backends: u64,
    affected: Option<Affected>,
    new_connections: bool,
    outcomes: Vec<(Answer, f64)>,
    ramp: Option<Ramp>,
    flap: Option<Flap>,
    latency: Option<Latency>,
    capacity: Option<(Capacity, u8, Vec<Limiter>)>,
    quota: Option<(Quota, u8, Vec<Counter>)>,
    /// Methods it concerns, asked about recent blocks and about old ones.
    methods: (MethodSet, MethodSet),
    exempt: MethodSet,
    matching: Option<Matching>,
    content: Option<Arc<Content>>,
    error_text: u8,
    transactions: Option<TransactionFaults>,
}

impl Rule {
    pub(super) fn new(
        fault: &Fault,
        phase: &Phase,
        id: u64,
        backends: &[BackendSpec],
        methods: &[&'static Method],
        details: &mut Vec<Detail>,
    ) -> Self {
        let start = Timestamp::ZERO + phase.start;
        let set = |names: &[String], old: bool| -> MethodSet {
            let named = |name: &str| {
                names.iter().any(|given| {
                    given == name || (old && given.strip_suffix("@old").is_some_and(|given| given == name))
                })
            };
            methods.iter().enumerate().filter(|(_, m)| named(m.name)).fold(0, |set, (at, _)| set | 1 << at)
        };
        let of_methods = |old: bool| match &fault.methods {
            None => MethodSet::MAX,
            Some(given) if given.only.is_empty() => !set(&given.except, old),
            Some(given) => set(&given.only, old),
        };
        let mut detail = |retry_after: Option<Duration>, text: &str| -> u8 {
            let detail = Detail { retry_after, text: text.to_owned() };
            let at = details.iter().position(|known| *known == detail).unwrap_or_else(|| {
                details.push(detail);
                details.len() - 1
            });
            // The format's bound on their number is far below.
            u8::try_from(at).unwrap_or(0)
        };
        Self {
            id,
            start,
            length: phase.end.saturating_sub(phase.start),
            backends: backends
                .iter()
                .enumerate()
                .filter(|(_, backend)| selects(&fault.at, &backend.domains()))
                .fold(0, |set, (at, _)| set | 1 << at),
            affected: fault.affected,
            new_connections: fault.new_connections,
            outcomes: fault.outcomes.iter().map(|(answer, share)| (*answer, *share)).collect(),
            ramp: fault.ramp,
            flap: fault.flap,
            latency: fault.latency,
            capacity: fault.capacity.map(|capacity| {
                (capacity, detail(capacity.retry_after, ""), vec![Limiter::of(&capacity); backends.len()])
            }),
            quota: fault.quota.map(|quota| {
                (quota, detail(quota.retry_after, ""), vec![Counter::new(quota, start); backends.len()])
            }),
            methods: (of_methods(false), of_methods(true)),
            exempt: set(&fault.probe_exempt, false),
            matching: fault.matching,
            error_text: fault.content.as_ref().map_or(0, |content| detail(None, &content.error_text)),
            content: fault.content.clone().map(Arc::new),
            transactions: fault.transactions,
        }
    }

    /// Whether it has a say in this call.
    pub(super) fn concerns(&self, now: Timestamp, seed: u64, ask: &Ask, lent: &Lent) -> bool {
        let old = ask.block == BlockAsked::Old;
        let methods = if old { self.methods.1 } else { self.methods.0 };
        self.backends & (1 << ask.backend) != 0
            && methods & (1 << ask.method) != 0
            && !(ask.probe && self.exempt & (1 << ask.method) != 0)
            && (lent.is_new || !self.new_connections)
            && self.matching.is_none_or(|matching| {
                (matching.older_than.is_none() || old)
                    && (!matching.head || ask.block == BlockAsked::Latest)
                    && (!matching.marked || ask.marked)
            })
            && self.affected.is_none_or(|affected| {
                let key = match affected.by {
                    Sticky::Connection => lent.id,
                    Sticky::Request => ask.request,
                    Sticky::Client | Sticky::Project => 0,
                };
                let by_backend = if affected.by == Sticky::Request { 0 } else { 1 + ask.backend as u64 };
                Draws::of(&[seed, STICKY_DRAW, self.id, by_backend, key]).unit() < affected.fraction
            })
            && self.is_up(now, seed)
    }

    /// Whether a flapping fault is there at the moment.
    fn is_up(&self, now: Timestamp, seed: u64) -> bool {
        let Some(flap) = self.flap else { return true };
        let into = now.since(self.start).as_nanos() as u64;
        let (period, down) = (flap.period.as_nanos() as u64, flap.down.as_nanos() as u64);
        let (jitter, nth) = (flap.jitter.as_nanos() as u64, into / period.max(1));
        // Early or late by up to `jitter`: the stretch that covers `now` may be a neighbour's.
        (nth.saturating_sub(1)..=nth + 1).any(|nth| {
            let mut draws = Draws::of(&[seed, FLAP_DRAW, self.id, nth]);
            let begin = (nth * period + draws.below(2 * jitter + 1)).saturating_sub(jitter);
            (begin..begin.saturating_add(down)).contains(&into)
        })
    }

    /// What its probabilities are multiplied with.
    pub(super) fn ramp(&self, now: Timestamp) -> f64 {
        self.ramp.map_or(1.0, |ramp| {
            let progress = now.since(self.start).as_secs_f64() / self.length.as_secs_f64();
            ramp.from + (ramp.to - ramp.from) * progress.min(1.0)
        })
    }

    pub(super) fn latency(&self) -> Option<Latency> {
        self.latency
    }

    /// How long a call waits for its turn, or what it is refused with.
    pub(super) fn admits(&mut self, now: Timestamp, backend: usize) -> Result<Duration, Reply> {
        if let Some((quota, detail, counters)) = &mut self.quota
            && !counters[backend].grant(now)
        {
            return Err(Reply { answer: quota.on_exceed, detail: *detail });
        }
        if let Some((capacity, detail, limiters)) = &mut self.capacity {
            let refused = Reply { answer: capacity.on_exceed, detail: *detail };
            return limiters[backend].grant(now).ok_or(refused);
        }
        Ok(Duration::ZERO)
    }

    /// What a call comes to, unless all is well.
    pub(super) fn outcome(&self, draws: &mut Draws, ramp: f64) -> Option<Answer> {
        if self.outcomes.is_empty() {
            return None;
        }
        let mut drawn = draws.unit();
        self.outcomes.iter().find_map(|(answer, share)| {
            drawn -= share * ramp;
            (drawn < 0.0).then_some(*answer)
        })
    }

    pub(super) fn content(&self) -> Option<Arc<Content>> {
        self.content.clone()
    }

    pub(super) fn transactions(&self) -> Option<TransactionFaults> {
        self.transactions
    }

    /// An error with somebody's own words in place of an answer.
    pub(super) fn said_instead(&self, draws: &mut Draws) -> Option<Reply> {
        let content = self.content.as_ref()?;
        draws.chance(content.error).then_some(Reply { answer: Answer::ErrorText, detail: self.error_text })
    }
}
