//! What extra calls may cost. "Retries can be the outage": every call beyond the first comes out of a budget that
//! ordinary requests fill.

use std::time::Duration;

use super::Timestamp;

/// Tokens that requests earn and extra calls spend.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    in_hand_max: f64,
}

impl Bucket {
    const fn full(in_hand_max: f64) -> Self {
        Self { tokens: in_hand_max, in_hand_max }
    }

    fn earn(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.in_hand_max);
    }

    fn spend(&mut self) -> bool {
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

/// Extra calls as shares of all requests.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Hedges and copies while all is calm: slow answers happen.
    pub hedges_calm: f64,
    /// The same while a backend fails.
    pub hedges_fault: f64,
    /// Second attempts after failures.
    pub retries: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { hedges_calm: 0.02, hedges_fault: 0.10, retries: 0.20 }
    }
}

/// The budgets of one fleet.
#[derive(Clone, Debug)]
pub struct Budget {
    shares: Shares,
    hedges: Bucket,
    retries: Bucket,
    /// Quiet fleets may retry all the same: a wallet makes one request a minute.
    floor: Bucket,
    floor_at: Timestamp,
    /// Transactions are few, and a failed one costs its sender most: what reads have spent is not missed here.
    transactions: Bucket,
    transactions_at: Timestamp,
}

/// Retries a second that are always affordable.
const RETRY_FLOOR_PER_S: f64 = 10.0;
/// How much may be saved: a burst of hedges when a backend falls silent, of retries when it dies.
const HEDGES_IN_HAND: f64 = 60.0;
const RETRIES_IN_HAND: f64 = 100.0;

impl Budget {
    /// Full pockets.
    pub fn new(shares: Shares) -> Self {
        Self {
            shares,
            hedges: Bucket::full(HEDGES_IN_HAND),
            retries: Bucket::full(RETRIES_IN_HAND),
            floor: Bucket::full(RETRY_FLOOR_PER_S),
            floor_at: Timestamp::ZERO,
            transactions: Bucket::full(RETRY_FLOOR_PER_S),
            transactions_at: Timestamp::ZERO,
        }
    }

    /// A request came.
    pub(super) fn earn(&mut self, in_fault: bool) {
        self.hedges.earn(if in_fault { self.shares.hedges_fault } else { self.shares.hedges_calm });
        self.retries.earn(self.shares.retries);
    }

    /// Whether there is any hope of [`Self::may_hedge`].
    pub(super) fn can_hedge(&self) -> bool {
        self.hedges.tokens >= 1.0
    }

    /// Whether a second backend may be asked while the first is silent.
    pub(super) fn may_hedge(&mut self) -> bool {
        self.hedges.spend()
    }

    /// Whether another backend may be asked after a failure.
    pub(super) fn may_retry(&mut self, now: Timestamp, submits: bool) -> bool {
        refill(&mut self.floor, &mut self.floor_at, now);
        if self.retries.spend() || self.floor.spend() {
            return true;
        }
        refill(&mut self.transactions, &mut self.transactions_at, now);
        submits && self.transactions.spend()
    }
}

fn refill(floor: &mut Bucket, at: &mut Timestamp, now: Timestamp) {
    let since: Duration = now.since(*at);
    floor.earn(since.as_secs_f64() * RETRY_FLOOR_PER_S);
    *at = now;
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Shares::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r11_extra_calls_stay_within_their_share_however_many_are_wanted() {
        let mut budget = Budget::default();
        let (mut hedges, mut retries) = (0, 0);
        for n in 0..10_000u64 {
            let now = Timestamp::ZERO + Duration::from_millis(n / 10);
            budget.earn(true);
            hedges += u32::from(budget.may_hedge());
            retries += u32::from(budget.may_retry(now, false));
        }
        assert!(hedges <= 1_000 + 60, "{hedges}");
        assert!(retries <= 2_000 + 100 + 20, "{retries}");
    }

    #[test]
    fn reads_that_have_spent_all_leave_transactions_their_retries() {
        let mut budget = Budget::default();
        while budget.may_retry(Timestamp::ZERO, false) {}
        let left = (0..1_000).take_while(|_| budget.may_retry(Timestamp::ZERO, true)).count();
        assert_eq!(left, 10);
    }

    #[test]
    fn a_quiet_client_may_always_retry() {
        let mut budget = Budget::default();
        for minute in 0..1_000u64 {
            budget.earn(false);
            assert!(budget.may_retry(Timestamp::ZERO + Duration::from_secs(60 * minute), false));
        }
    }
}
