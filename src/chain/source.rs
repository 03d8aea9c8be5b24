//! What one backend has shown of its view of the chain.

use std::time::Duration;

use super::block::BlockId;
use crate::policy::Timestamp;

/// A node behind the same URL that was seen to lag is assumed to be there for this long.
const SLACK_FOR: Duration = Duration::from_secs(600);
/// A header that does not hash to what it claims, or an answer that another one disproves, is held against a backend for this long.
const LIE_FOR: Duration = Duration::from_secs(600);
/// So many looks in a row without an answer, and it has no voice until it speaks again.
const MISSES_MAX: u32 = 3;
/// Nodes behind one URL differ: only who shows less so often in a row has gone back.
const LOWER_MIN: u32 = 3;
/// Weight of the newest delay in the average.
const LATENESS_GAIN: f64 = 0.2;

/// One backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// What it showed last as its latest block.
    pub(super) tip: Option<BlockId>,
    pub(super) heard_at: Option<Timestamp>,
    /// When its head last grew.
    pub(super) moved_at: Option<Timestamp>,
    /// The greatest height it has shown.
    high: u64,
    /// How far below that some node behind the same URL was, and when that was last seen.
    slack: Option<(u64, Timestamp)>,
    /// The greatest height of the served chain that was on its path when its head last hung on it.
    joined: Option<u64>,
    is_adrift: bool,
    is_beside: bool,
    lied_at: Option<Timestamp>,
    contradicted_at: Option<Timestamp>,
    misses: u32,
    /// So many looks in a row showed less than its greatest height.
    lower: u32,
    pub(super) finalized: Option<u64>,
    pub(super) safe: Option<u64>,
    /// The height on which its pending block builds, and its head at that time.
    pending: Option<(u64, u64)>,
    /// Average delay behind whoever showed a block first, in seconds.
    pub(super) lateness_s: f64,
}

impl Source {
    /// It showed its latest block. Gives whether that is news.
    pub(super) fn shows(&mut self, now: Timestamp, tip: BlockId) -> bool {
        self.heard_at = Some(now);
        self.misses = 0;
        self.lower = if tip.number < self.high { self.lower.saturating_add(1) } else { 0 };
        if tip.number > self.high {
            self.high = tip.number;
            self.moved_at = Some(now);
        } else if tip.number < self.high {
            self.lags(now, self.high - tip.number);
        }
        let is_news = self.tip != Some(tip);
        self.tip = Some(tip);
        is_news
    }

    /// Some node of it is so many blocks behind its greatest height.
    fn lags(&mut self, now: Timestamp, blocks: u64) {
        let known = self.slack(now);
        self.slack = Some((known.max(blocks), now));
    }

    fn slack(&self, now: Timestamp) -> u64 {
        self.slack.filter(|(_, at)| now.since(*at) < SLACK_FOR).map_or(0, |(blocks, _)| blocks)
    }

    /// It told a client of something in this block.
    pub(super) fn reached(&mut self, number: u64) {
        self.high = self.high.max(number);
    }

    /// It said that it lacks a block which it should have.
    pub(super) fn lacks(&mut self, now: Timestamp, number: u64) {
        if number <= self.high {
            self.lags(now, self.high - number + 1);
        }
    }

    /// The greatest height that whoever answers at this URL has.
    pub(super) fn has(&self, now: Timestamp) -> Option<u64> {
        self.tip?;
        Some(self.verified(self.high.saturating_sub(self.slack(now))))
    }

    /// The greatest height that any node at this URL has.
    pub(super) fn claims(&self) -> Option<u64> {
        self.tip.map(|_| self.verified(self.high))
    }

    /// Whether its head was seen to go back lately.
    pub(super) fn is_unsteady(&self, now: Timestamp) -> bool {
        self.slack(now) > 0
    }

    /// Whether it was asked so long after its head last moved, and still showed the same: not having been asked is no
    /// standing still.
    pub(super) fn stands_still(&self, after: Duration) -> bool {
        self.heard_at.zip(self.moved_at).is_some_and(|(heard, moved)| heard.since(moved) > after)
    }

    /// Whether it has had this height, and has shown less often enough to mean it.
    pub(super) fn went_back_from(&self, number: u64) -> bool {
        self.high >= number && self.lower >= LOWER_MIN && self.tip.is_some_and(|tip| tip.number < number)
    }

    /// Whether it has had this height, and shows less only now and then.
    pub(super) fn had(&self, number: u64) -> bool {
        self.high >= number && self.lower < LOWER_MIN
    }

    /// Its head hangs on the served chain from this height on, as part of it or (`is_beside`) of another branch.
    pub(super) fn hangs(&mut self, at: u64, is_beside: bool) {
        (self.joined, self.is_adrift, self.is_beside) = (Some(at), false, is_beside);
    }

    /// The greatest height of the served chain that was on its path when that was last known, unless it went on from there
    /// on another branch.
    pub(super) fn joined_at(&self) -> Option<u64> {
        self.joined.filter(|_| !self.is_beside)
    }

    /// Its head hangs on nothing that is known. A block is missing between, and a branch is not left by skipping one.
    pub(super) fn drifts(&mut self) {
        self.is_adrift = true;
    }

    /// Whether it was on another branch when that was last known.
    pub(super) fn was_beside(&self) -> bool {
        self.is_beside
    }

    /// No more than what was on its path while that was known: what else it has may be of another branch.
    fn verified(&self, height: u64) -> u64 {
        self.joined.filter(|_| self.is_adrift).map_or(height, |joined| joined.min(height))
    }

    /// Everybody went to another chain: heights of the old one prove nothing.
    pub(super) fn forget_heights(&mut self) {
        self.high = self.tip.map_or(0, |tip| tip.number);
        self.slack = None;
        self.joined = None;
        self.is_beside = false;
        self.lower = 0;
    }

    pub(super) fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    pub(super) fn lied(&mut self, now: Timestamp) {
        self.lied_at = Some(now);
    }

    pub(super) fn contradicted(&mut self, now: Timestamp) {
        self.contradicted_at = Some(now);
    }

    pub(super) fn is_contradicted(&self, now: Timestamp) -> bool {
        self.contradicted_at.is_some_and(|at| now.since(at) < LIE_FOR)
    }

    pub(super) fn is_lying(&self, now: Timestamp) -> bool {
        self.lied_at.is_some_and(|at| now.since(at) < LIE_FOR)
    }

    /// Whether its word counts.
    pub(super) fn votes(&self, now: Timestamp, fresh_for: Duration) -> bool {
        self.misses < MISSES_MAX
            && !self.is_lying(now)
            && !self.is_contradicted(now)
            && self.heard_at.is_some_and(|at| now.since(at) <= fresh_for)
    }

    pub(super) fn shows_pending(&mut self, on: u64) {
        self.pending = self.tip.map(|tip| (on, tip.number));
    }

    /// Whether its pending block was seen to lag behind its own head.
    pub(super) fn is_pending_stale(&self) -> bool {
        self.pending.is_some_and(|(on, head)| on + 1 < head)
    }

    pub(super) fn came_after(&mut self, delay: Duration) {
        self.lateness_s += (delay.as_secs_f64() - self.lateness_s) * LATENESS_GAIN;
    }
}
