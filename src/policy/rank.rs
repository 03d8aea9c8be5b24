//! Which backend is asked next: eligibility first, then order. Each rule is a function of its own.

use std::cmp::Ordering;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::ethereum::MethodClass;

use super::fleet::{Backend, BackendIndex, BackendSet, Fleet, Identity, Need, Tier};
use super::{Class, Outcome, Timestamp};

/// Past this share of failures a backend only serves when nobody better is left.
const SUSPECT_ERROR_RATE: f64 = 0.4;
/// As are this many failures in a row, whatever came before.
const SUSPECT_CONSECUTIVE: u32 = 3;
/// A favourite keeps its place this long against near-equals (BEHAVIOURS H11).
const HOLD: Duration = Duration::from_secs(15);
/// A challenger must be better by this factor, or the favourite stays: two equals would swap for ever.
const CHALLENGE_FACTOR: f64 = 0.7;
/// Better by this factor is no near-equal: the favourite gives way at once.
const CLEARLY_BETTER_FACTOR: f64 = 0.3;
/// One request in so many goes first to a primary that has not been measured lately, so that a
/// backend which came back is noticed. It can still be hedged.
const EXPLORE_ONE_IN: u32 = 32;
/// What was measured more recently than this needs no exploring.
const EXPLORE_AFTER: Duration = Duration::from_secs(10);

impl Fleet {
    /// The backend for the next attempt: nobody in `tried`, and as far as possible from those in it.
    /// `None` when nobody is left that may be asked.
    pub fn choose(
        &mut self,
        now: Timestamp,
        need: &Need,
        tried: BackendSet,
        rng: &mut impl Rng,
    ) -> Option<BackendIndex> {
        if tried.is_empty() { self.first(now, need, rng) } else { self.best(now, need, tried) }
    }

    /// Whether a backend takes part in answering reads.
    pub fn answers_reads(&self, backend: &Backend) -> bool {
        !backend.is_cordoned() && backend.identity() != Identity::WrongChain && !backend.spec().private
    }

    /// Why [`Self::choose`] found nobody at all: the reason that tells the client most.
    pub fn nobody_because(&self, now: Timestamp, need: &Need) -> Class {
        let reason = |backend: &Backend| match () {
            () if backend.is_cordoned() || !keeps_private(self, need, backend) => Class::ConnectionError,
            () if backend.identity() == Identity::WrongChain => Class::WrongChain,
            () if backend.lacks_method(now, need.method) => Class::MethodUnsupported,
            () => backend.cooling(now).map_or(Class::ConnectionError, |cooling| cooling.class),
        };
        self.iter()
            .map(|(_, backend)| reason(backend))
            .max_by_key(|class| Outcome::of(*class).tells())
            .unwrap_or(Class::ConnectionError)
    }

    /// The first attempt of a request goes to the favourite of its class.
    fn first(&mut self, now: Timestamp, need: &Need, rng: &mut impl Rng) -> Option<BackendIndex> {
        let best = self.best(now, need, BackendSet::default())?;
        if let Some(preferred) = need.prefer.filter(|preferred| {
            let backend = self.backend(*preferred);
            self.may_serve(now, need, backend)
                && backend.cooling(now).is_none()
                && !is_suspect(now, need.class, backend)
        }) {
            return Some(preferred);
        }
        if let Some(curious) = self.unmeasured_peer(now, need, best, rng) {
            return Some(curious);
        }
        if let Some((held, since)) = self.favourites[need.class.index()]
            && self.holds_against(now, need, held, since, best)
        {
            return Some(held);
        }
        let anchored = self.anchor.filter(|anchor| self.holds_against(now, need, *anchor, now, best));
        let chosen = anchored.unwrap_or(best);
        if need.only.is_none() {
            self.favourites[need.class.index()] = Some((chosen, now));
            self.anchor = Some(chosen);
        }
        Some(chosen)
    }

    /// The first in [`Order`]. After failed attempts that is somebody in another failure domain.
    fn best(&self, now: Timestamp, need: &Need, tried: BackendSet) -> Option<BackendIndex> {
        self.iter()
            .filter(|(index, backend)| !tried.contains(*index) && self.may_serve(now, need, backend))
            .map(|(index, backend)| (self.order(now, need.class, tried, index, backend), index))
            .min_by(|(a, at_a), (b, at_b)| a.compare(b).then(at_a.cmp(at_b)))
            .map(|(_, index)| index)
    }

    /// Whether it may be asked at all. These rules hold even when everything else is down.
    fn may_serve(&self, now: Timestamp, need: &Need, backend: &Backend) -> bool {
        !backend.is_cordoned()
            && backend.identity() != Identity::WrongChain
            && keeps_private(self, need, backend)
            && need.only.is_none_or(|only| std::ptr::eq(self.backend(only), backend))
            && !backend.lacks_method(now, need.method)
            && !backend.cooling(now).is_some_and(|cooling| cooling.by_its_word)
    }

    fn order(
        &self,
        now: Timestamp,
        class: MethodClass,
        tried: BackendSet,
        index: BackendIndex,
        backend: &Backend,
    ) -> Order {
        Order {
            last_resort: backend.cooling(now).is_some() || is_suspect(now, class, backend),
            tier: backend.spec().tier,
            overlap: tried.iter().map(|other| self.overlap(index, other)).sum(),
            unknown: backend.identity() == Identity::Unknown,
            cost: cost(now, class, backend),
        }
    }

    /// Whether the favourite keeps its place against the one that looks best now.
    fn holds_against(
        &self,
        now: Timestamp,
        need: &Need,
        held: BackendIndex,
        since: Timestamp,
        best: BackendIndex,
    ) -> bool {
        if held == best {
            return true;
        }
        let (favourite, challenger) = (self.backend(held), self.backend(best));
        let fit = self.may_serve(now, need, favourite)
            && favourite.spec().tier <= challenger.spec().tier
            && favourite.cooling(now).is_none()
            && !is_suspect(now, need.class, favourite);
        let (held_cost, best_cost) = (cost(now, need.class, favourite), cost(now, need.class, challenger));
        let near_equal = best_cost > CHALLENGE_FACTOR * held_cost;
        let clearly_better = best_cost < CLEARLY_BETTER_FACTOR * held_cost;
        fit && !clearly_better && (near_equal || now.since(since) < HOLD)
    }

    fn unmeasured_peer(
        &self,
        now: Timestamp,
        need: &Need,
        best: BackendIndex,
        rng: &mut impl Rng,
    ) -> Option<BackendIndex> {
        if need.submits || rng.random_range(0..EXPLORE_ONE_IN) != 0 {
            return None;
        }
        let tier = self.backend(best).spec().tier;
        self.iter()
            .filter(|(index, backend)| {
                let health = backend.health(need.class);
                *index != best
                    && (!health.is_known() || now.since(health.measured_at()) >= EXPLORE_AFTER)
                    && backend.spec().tier == tier
                    && backend.identity() == Identity::Confirmed
                    && self.may_serve(now, need, backend)
                    && backend.cooling(now).is_none()
                    && !is_suspect(now, need.class, backend)
            })
            .min_by_key(|(_, backend)| backend.health(need.class).measured_at())
            .map(|(index, _)| index)
    }
}

/// Private backends take transactions only, and where one is configured nobody else gets them.
fn keeps_private(fleet: &Fleet, need: &Need, backend: &Backend) -> bool {
    backend.spec().private == (need.submits && fleet.has_private)
}

fn is_suspect(now: Timestamp, class: MethodClass, backend: &Backend) -> bool {
    let health = backend.health(class);
    let error_rate = health.error_rate(now);
    error_rate > SUSPECT_ERROR_RATE
        || (health.consecutive_failures() >= SUSPECT_CONSECUTIVE && error_rate > SUSPECT_ERROR_RATE / 2.0)
}

/// What an attempt is expected to cost, in nanoseconds: its latency, and for its failures a second
/// attempt elsewhere that costs far more.
fn cost(now: Timestamp, class: MethodClass, backend: &Backend) -> f64 {
    const FAILURE_COST_NS: f64 = 1e9;
    let health = backend.health(class);
    health.latency(now).as_nanos() as f64 + health.error_rate(now) * FAILURE_COST_NS
}

/// The order of candidates; the smaller comes first, member by member.
#[derive(Debug)]
struct Order {
    last_resort: bool,
    tier: Tier,
    overlap: u32,
    unknown: bool,
    cost: f64,
}

impl Order {
    fn compare(&self, other: &Self) -> Ordering {
        self.last_resort
            .cmp(&other.last_resort)
            .then(self.tier.cmp(&other.tier))
            .then(self.overlap.cmp(&other.overlap))
            .then(self.unknown.cmp(&other.unknown))
            .then(self.cost.total_cmp(&other.cost))
    }
}
