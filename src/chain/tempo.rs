//! How quickly the chain makes blocks, estimated from what it says of itself.

use std::time::Duration;

use super::block::Block;
use crate::policy::Timestamp;

/// Headers tell whole seconds: over fewer blocks than this, rounding would rule.
const BLOCKS_MIN: u64 = 8;
/// An estimate is looked for over at most this many blocks.
pub(super) const BLOCKS_MAX: u64 = 64;
/// Blocks come at random times on some chains: without one for this many times the usual pause, by chance that
/// happens once in e^12 (the phi-accrual detector of Hayashibara with exponential pauses, at phi = 5.2).
const HALT_PAUSES: u32 = 12;
/// However quick a chain is, so short a pause is no halt.
const HALT_MIN: Duration = Duration::from_secs(5);
/// Estimates lie within this range.
const RANGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(600));

/// The estimated time between blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempo {
    block_time: Duration,
    /// What was expected.
    slot: Duration,
    max: Duration,
    /// When the newest block was first seen.
    newest_at: Option<Timestamp>,
}

impl Tempo {
    pub(super) fn new(block_time: Duration, is_steady: bool) -> Self {
        let block_time = block_time.clamp(RANGE.0, RANGE.1);
        Self {
            block_time,
            slot: block_time,
            max: if is_steady { RANGE.1 } else { block_time },
            newest_at: None,
        }
    }

    /// Whether blocks come by the clock.
    pub(super) fn is_steady(self) -> bool {
        self.max == RANGE.1
    }

    pub(super) fn block_time(self) -> Duration {
        self.block_time
    }

    /// How soon after a block the next one may come: where slots are missed, blocks are rarer than that, and each may
    /// come in time all the same.
    pub(super) fn soonest(self) -> Duration {
        self.block_time.min(self.slot)
    }

    pub(super) fn newest_at(self) -> Option<Timestamp> {
        self.newest_at
    }

    /// The chain grew. `recent` are its newest blocks, the newest first. What they say of their times bridges any gap in
    /// what was seen; a pause in which the chain stood still says nothing of how quickly it goes.
    pub(super) fn grew<'a>(&mut self, now: Timestamp, recent: impl Iterator<Item = &'a Block>) {
        self.newest_at = Some(now);
        let still = self.halt().as_secs();
        let (mut blocks, mut span_s) = (0, 0);
        let (mut all_blocks, mut whole_span_s) = (0, 0);
        let mut later: Option<&Block> = None;
        for block in recent.take(BLOCKS_MAX as usize + 1) {
            if let Some(later) = later {
                let each = later.id.number.saturating_sub(block.id.number);
                let pause_s = later.timestamp_s.saturating_sub(block.timestamp_s);
                (all_blocks, whole_span_s) = (all_blocks + each, whole_span_s + pause_s);
                if pause_s <= still {
                    (blocks, span_s) = (blocks + each, span_s + pause_s);
                }
            }
            later = Some(block);
        }
        // Where most pauses are that long, what was expected was wrong.
        if blocks * 2 < all_blocks {
            (blocks, span_s) = (all_blocks, whole_span_s);
        }
        if blocks >= BLOCKS_MIN && span_s > 0 {
            let each = Duration::from_secs_f64(span_s as f64 / blocks as f64);
            self.block_time = each.clamp(RANGE.0, self.max);
        }
    }

    /// A pause that is longer than this is no chance.
    fn halt(self) -> Duration {
        (self.block_time * HALT_PAUSES).max(HALT_MIN)
    }

    /// Whether there has been no block for so long that the chain must stand still.
    pub(super) fn is_halted(self, now: Timestamp) -> bool {
        self.newest_at.is_some_and(|at| now.since(at) > self.halt())
    }
}
