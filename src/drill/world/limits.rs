//! What backends can take: limits per second, queues, quotas, and the connections to them.

use std::time::Duration;

use super::super::random::Draws;
use super::super::scenario::{Capacity, Quota};
use crate::policy::Timestamp;

/// A limit per second grants a second's worth at once (GCRA).
const BURST: Duration = Duration::from_secs(1);

/// A limit per second, or a queue in front of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limiter {
    each: Duration,
    queue: Duration,
    /// When all that was granted will have been worked off.
    busy_until: Timestamp,
}

impl Limiter {
    pub(super) fn per_second(rps: f64) -> Self {
        Self::new(rps, Duration::ZERO)
    }

    pub(super) fn of(capacity: &Capacity) -> Self {
        Self::new(capacity.rps, capacity.queue)
    }

    fn new(rps: f64, queue: Duration) -> Self {
        let each = Duration::from_nanos((1e9 / rps).clamp(1.0, 1e18) as u64);
        Self { each, queue, busy_until: Timestamp::ZERO }
    }

    /// How long this call waits for its turn; `None` is refused.
    pub(super) fn grant(&mut self, now: Timestamp) -> Option<Duration> {
        let start = self.busy_until.max(now);
        let ahead = start.since(now);
        if self.queue.is_zero() {
            // Nothing waits: the second's worth may be used at once.
            if ahead + self.each > BURST.max(self.each) {
                return None;
            }
            self.busy_until = start + self.each;
            return Some(Duration::ZERO);
        }
        if ahead > self.queue {
            return None;
        }
        self.busy_until = start + self.each;
        Some(ahead)
    }
}

/// A count per window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    quota: Quota,
    start: Timestamp,
    window: u128,
    used: u64,
}

impl Counter {
    pub(super) fn new(quota: Quota, start: Timestamp) -> Self {
        Self { quota, start, window: 0, used: 0 }
    }

    pub(super) fn grant(&mut self, now: Timestamp) -> bool {
        let window = now.since(self.start).as_nanos() / self.quota.window.as_nanos().max(1);
        if window != self.window {
            (self.window, self.used) = (window, 0);
        }
        let granted = self.used < self.quota.requests;
        self.used += u64::from(granted);
        granted
    }
}

/// Connections to one backend. A call takes any of them; one that failed is made anew by the next call.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    slots: [Option<u64>; Self::SLOTS],
    made: u64,
}

/// A connection as a call uses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    pub(super) slot: u8,
    /// Never used twice.
    pub(super) id: u64,
    pub(super) is_new: bool,
}

impl Pool {
    const SLOTS: usize = 8;

    pub(super) fn new() -> Self {
        Self { slots: [None; Self::SLOTS], made: 0 }
    }

    pub(super) fn lend(&mut self, draws: &mut Draws) -> Lent {
        let slot = draws.below(Self::SLOTS as u64) as usize;
        let is_new = self.slots[slot].is_none();
        if is_new {
            self.made += 1;
        }
        let id = *self.slots[slot].get_or_insert(self.made);
        Lent { slot: slot as u8, id, is_new }
    }

    pub(super) fn close(&mut self, slot: u8) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_limit_grants_its_rate_and_refuses_the_rest() {
        let mut limiter = Limiter::per_second(10.0);
        let granted = (0..10_000).filter(|ms| limiter.grant(at(*ms)).is_some()).count();
        assert!((108..=111).contains(&granted), "{granted}: 10 at once and 10 a second");
    }

    #[test]
    fn a_queue_shows_as_latency_before_it_refuses() {
        let mut limiter = Limiter::new(10.0, Duration::from_millis(300));
        let waits: Vec<_> = (0..5).map(|_| limiter.grant(at(0)).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(0), Some(100), Some(200), Some(300), None]);
    }

    #[test]
    fn a_quota_starts_again_with_its_window() {
        let quota = Quota {
            requests: 2,
            window: Duration::from_secs(1),
            on_exceed: super::super::Answer::Http429,
            retry_after: None,
        };
        let mut counter = Counter::new(quota, at(0));
        assert_eq!([0, 1, 2, 999, 1000].map(|ms| counter.grant(at(ms))), [true, true, false, false, true]);
    }

    #[test]
    fn a_failed_connection_is_made_anew_under_another_id() {
        let (mut pool, mut draws) = (Pool::new(), Draws::of(&[1]));
        let first = pool.lend(&mut draws);
        assert!(first.is_new);
        pool.close(first.slot);
        let again = (0..200).map(|_| pool.lend(&mut draws)).find(|lent| lent.slot == first.slot).unwrap();
        assert!(again.is_new && again.id != first.id);
    }
}
