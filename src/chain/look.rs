//! What a backend is asked of the chain, and when: about one question per block, sooner where others know more.

use std::time::Duration;

use alloy_primitives::B256;

use super::push::apart;
use crate::policy::Timestamp;

/// Heads of a chain that nobody uses are looked at this often.
const IDLE_PAUSE: Duration = Duration::from_secs(15);
/// Somebody is asked this often for a block that may be there any moment, and nobody more often than this.
const SCOUT_PAUSE: Duration = Duration::from_millis(100);
const STEADY_PAUSE_MIN: Duration = Duration::from_millis(400);
/// One that is behind others is asked again after this, later and later.
const BEHIND_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// After so many looks in vain a block is overdue.
const OVERDUE_LOOKS: u32 = 4;
/// The first scout of a new block comes before it is due, by this part of the block time and this much at most; the others
/// come one after the other until it is the first one's turn again.
const EARLY_PART: u32 = 20;
const EARLY_MAX: Duration = Duration::from_millis(100);
/// Finality moves slowly: it is asked for after so many blocks; and while clients ask for it, after so few.
const SETTLED_BLOCKS: u32 = 32;
const SETTLED_BLOCKS_USED: u32 = 4;
const SETTLED_PAUSE_MIN: Duration = Duration::from_secs(10);
/// Who says that it has no such thing is asked for it again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// Who pushes its heads is asked all the same after so many blocks, and this: reads go over HTTP. It is asked sooner where no
/// block came that was due.
const SAFETY_BLOCKS: u32 = 8;
const SAFETY_PAUSE_MAX: Duration = Duration::from_secs(15);
const OVERDUE_BLOCKS: f64 = 1.3;
const PENDING_BLOCKS: u32 = 2;
const PENDING_PAUSE_MIN: Duration = Duration::from_secs(2);

/// A question about blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The header of its latest block.
    Latest,
    /// The header with this hash: what hangs between a head and the chain.
    Block(B256),
    /// The header of its last final block.
    Finalized,
    /// The header of its last safe block.
    Safe,
    /// The block that it is making.
    Pending,
}

impl Look {
    /// The method, and its parameters as JSON.
    pub fn call(self) -> (&'static str, String) {
        let at = |tag: &str| ("eth_getBlockByNumber", format!("[\"{tag}\",false]"));
        match self {
            Self::Latest => at("latest"),
            Self::Finalized => at("finalized"),
            Self::Safe => at("safe"),
            Self::Pending => at("pending"),
            Self::Block(hash) => ("eth_getBlockByHash", format!("[\"{hash}\",false]")),
        }
    }
}

/// What the pauses depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) block_time: Duration,
    /// When the newest block was first seen anywhere.
    pub(super) newest_at: Option<Timestamp>,
    /// When the block after the newest one is to be expected.
    pub(super) due_at: Option<Timestamp>,
    /// The turn of this backend among the scouts of the next block: the first one's is 0.
    pub(super) turn: u32,
    pub(super) scouts: u32,
    /// Somebody has shown a higher block than this backend.
    pub(super) is_behind: bool,
    /// It has shown a head.
    pub(super) is_known: bool,
    /// It pushes its heads, and what it pushed was true.
    pub(super) is_pushed: bool,
    /// Clients use the chain.
    pub(super) is_used: bool,
    pub(super) uses_settled: bool,
    pub(super) uses_pending: bool,
}

/// When one backend was asked what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schedule {
    latest_at: Option<Timestamp>,
    /// Looks since its head last moved.
    in_vain: u32,
    settled_at: Option<Timestamp>,
    safe_at: Option<Timestamp>,
    pending_at: Option<Timestamp>,
    /// A question about the latest block, or about another one, is under way.
    asks_latest: bool,
    /// When the look that has just ended was begun.
    answers_from: Option<Timestamp>,
    asks_other: Option<Look>,
    hurry: bool,
    /// Its latest answer said nothing, and it is asked again then.
    again_at: Option<Timestamp>,
    /// It said that it cannot tell, and is not asked again before this.
    spared_until: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn is_free_for_others(&self) -> bool {
        self.asks_other.is_none()
    }

    /// Whether this block is asked for.
    pub(super) fn asks_for(&self, block: B256) -> bool {
        self.asks_other == Some(Look::Block(block))
    }

    pub(super) fn begin(&mut self, now: Timestamp, look: Look) {
        match look {
            Look::Latest => {
                self.latest_at = Some(now);
                self.answers_from = None;
                self.asks_latest = true;
                (self.hurry, self.again_at) = (false, None);
                self.in_vain = self.in_vain.saturating_add(1);
            }
            Look::Finalized => self.settled_at = Some(now),
            Look::Safe => self.safe_at = Some(now),
            Look::Pending => self.pending_at = Some(now),
            Look::Block(_) => {}
        }
        if look != Look::Latest {
            self.asks_other = Some(look);
        }
    }

    pub(super) fn end(&mut self, look: Look) {
        match look {
            Look::Latest => {
                self.asks_latest = false;
                self.answers_from = self.latest_at;
            }
            _ => self.asks_other = None,
        }
    }

    /// It does not tell headers, or not of this kind.
    pub(super) fn refused(&mut self, now: Timestamp, look: Look) {
        let later = now + REFUSED_PAUSE;
        match look {
            Look::Latest => self.spared_until = Some(later),
            Look::Finalized => self.settled_at = Some(later),
            Look::Safe => self.safe_at = Some(later),
            Look::Pending => self.pending_at = Some(later),
            Look::Block(_) => {}
        }
    }

    /// When the block that it showed now, or tells without being asked, was there already.
    pub(super) fn shown_at(&mut self, now: Timestamp) -> Timestamp {
        self.answers_from.take().unwrap_or(now)
    }

    pub(super) fn moved(&mut self) {
        self.in_vain = 0;
    }

    /// Whether its latest block was asked for after this.
    pub(super) fn asked_since(&self, since: Timestamp) -> bool {
        self.latest_at.is_some_and(|at| at >= since)
    }

    /// Something shows that its head has moved: it is asked at once.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// It was heard of a new head of it, by way of its WebSocket. However much comes that way, it is asked no more often than
    /// the quickest chain's backends are.
    pub(super) fn hinted(&mut self, now: Timestamp) {
        if self.latest_at.is_none_or(|at| now.since(at) >= STEADY_PAUSE_MIN) {
            self.hurry();
        }
    }

    /// Its answer was older than what is known of it.
    pub(super) fn again(&mut self, at: Timestamp) {
        self.again_at = Some(at);
    }

    /// Whether its latest block is to be asked for now.
    pub(super) fn wants_latest(&self, now: Timestamp, rhythm: &Rhythm) -> bool {
        if self.asks_latest || self.spared_until.is_some_and(|until| now < until) {
            return false;
        }
        let Some(asked_at) = self.latest_at else { return true };
        if self.hurry || self.again_at.is_some_and(|at| now >= at) {
            return true;
        }
        if !rhythm.is_used {
            return now.since(asked_at) >= IDLE_PAUSE.max(rhythm.block_time);
        }
        if rhythm.is_pushed {
            let safety = (rhythm.block_time * SAFETY_BLOCKS).min(SAFETY_PAUSE_MAX).max(STEADY_PAUSE_MIN);
            if now.since(asked_at) >= safety {
                return true;
            }
            // Its push is on its way, or there is no block yet.
            let wait = match rhythm.is_behind {
                true => apart(rhythm.block_time),
                false => rhythm.block_time.mul_f64(OVERDUE_BLOCKS),
            };
            if rhythm.newest_at.is_some_and(|newest_at| now < newest_at + wait) {
                return false;
            }
        }
        let doubled = |pause: Duration, times: u32| pause * (1 << times.min(8));
        if rhythm.is_behind {
            let first = (rhythm.block_time / 16).clamp(BEHIND_PAUSE.0, BEHIND_PAUSE.1);
            let pause = doubled(first, self.in_vain.saturating_sub(1));
            return now.since(asked_at) >= pause.min(rhythm.block_time.max(STEADY_PAUSE_MIN));
        }
        let first = (SCOUT_PAUSE * rhythm.scouts).min(STEADY_PAUSE_MIN);
        let pause = doubled(first, self.in_vain.saturating_sub(1));
        if now.since(asked_at) < pause.min(rhythm.block_time.max(STEADY_PAUSE_MIN)) {
            return false;
        }
        let Some(due_at) = rhythm.due_at else { return true };
        if self.in_vain >= OVERDUE_LOOKS {
            // Whoever sees it first calls the others: one is asked in each half of a slot, all in turn.
            let half = (rhythm.block_time / 2).max(Duration::from_millis(1));
            let halves = now.since(due_at).as_nanos() / half.as_nanos();
            let began_at = due_at + half.saturating_mul(u32::try_from(halves).unwrap_or(u32::MAX));
            return halves % u128::from(rhythm.scouts.max(1)) == u128::from(rhythm.turn)
                && asked_at < began_at;
        }
        let turn = first.min(rhythm.block_time) * rhythm.turn / rhythm.scouts.max(1);
        now + (rhythm.block_time / EARLY_PART).min(EARLY_MAX) >= due_at + turn
    }

    /// The other question that is due now.
    pub(super) fn wants_other(&self, now: Timestamp, rhythm: &Rhythm) -> Option<Look> {
        if self.asks_other.is_some() || !rhythm.is_used || !rhythm.is_known {
            return None;
        }
        let due = |at: Option<Timestamp>, blocks: u32, min: Duration| {
            at.is_none_or(|at| now.since(at) >= (rhythm.block_time * blocks).max(min))
        };
        if rhythm.uses_pending && due(self.pending_at, PENDING_BLOCKS, PENDING_PAUSE_MIN) {
            return Some(Look::Pending);
        }
        let blocks = if rhythm.uses_settled { SETTLED_BLOCKS_USED } else { SETTLED_BLOCKS };
        if due(self.settled_at, blocks, SETTLED_PAUSE_MIN) {
            return Some(Look::Finalized);
        }
        (rhythm.uses_settled && due(self.safe_at, blocks, SETTLED_PAUSE_MIN)).then_some(Look::Safe)
    }
}
