//! When something is due for which transaction, so that nobody has to look through all of them: with a hundred thousand
//! kept, a block or a tick concerns a few.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};

use alloy_primitives::{Address, B256};

use crate::chain::{Fate, Life};
use crate::journal::Record;
use crate::policy::Timestamp;

/// Held transactions in the order in which they can be mined.
type Turn = (Option<Address>, Option<u64>, B256);

/// Where one transaction stands in [`Due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    hash: B256,
    fate: &'static str,
    /// The height from which on it is looked for.
    from_height: Option<u64>,
    /// The time from which on a tick concerns it.
    from_time: Option<Timestamp>,
    /// It waits for a way out.
    turn: Option<Turn>,
    /// The block that its fate hangs on.
    block: Option<u64>,
    /// It is over since then, in seconds since 1970.
    over_since_s: Option<u64>,
}

/// The marks of all transactions that are kept.
#[derive(Debug, Default)]
pub(super) struct Due {
    counts: BTreeMap<&'static str, usize>,
    by_height: BTreeSet<(u64, B256)>,
    by_time: BTreeSet<(Timestamp, B256)>,
    turns: BTreeSet<Turn>,
    by_block: BTreeSet<(u64, B256)>,
    over: BTreeSet<(u64, B256)>,
}

impl Marks {
    /// While its client is being answered (`is_submitting`) nobody looks after it.
    pub(super) fn of(life: &Life, record: &Record, is_submitting: bool) -> Self {
        let fate = life.fate();
        let is_free = !is_submitting;
        let is_over = !fate.is_open() && !matches!(fate, Fate::Mined { .. });
        Self {
            hash: record.hash,
            fate: fate.name(),
            from_height: life.looks_from().filter(|_| is_free),
            from_time: life.wakes_at().filter(|_| is_free),
            turn: (fate == Fate::Held && is_free).then_some((record.sender, record.nonce, record.hash)),
            block: life.hangs_on(),
            over_since_s: is_over.then_some(record.changed_at_s),
        }
    }
}

impl Due {
    pub(super) fn add(&mut self, marks: &Marks) {
        let hash = marks.hash;
        *self.counts.entry(marks.fate).or_default() += 1;
        self.by_height.extend(marks.from_height.map(|height| (height, hash)));
        self.by_time.extend(marks.from_time.map(|time| (time, hash)));
        self.turns.extend(marks.turn);
        self.by_block.extend(marks.block.map(|block| (block, hash)));
        self.over.extend(marks.over_since_s.map(|since_s| (since_s, hash)));
    }

    pub(super) fn remove(&mut self, marks: &Marks) {
        let hash = marks.hash;
        if let Some(count) = self.counts.get_mut(marks.fate) {
            *count = count.saturating_sub(1);
        }
        if let Some(height) = marks.from_height {
            self.by_height.remove(&(height, hash));
        }
        if let Some(time) = marks.from_time {
            self.by_time.remove(&(time, hash));
        }
        if let Some(turn) = marks.turn {
            self.turns.remove(&turn);
        }
        if let Some(block) = marks.block {
            self.by_block.remove(&(block, hash));
        }
        if let Some(since_s) = marks.over_since_s {
            self.over.remove(&(since_s, hash));
        }
    }

    pub(super) fn count(&self, fate: &str) -> usize {
        self.counts.get(fate).copied().unwrap_or_default()
    }

    /// Those that are looked for at this height.
    pub(super) fn at_height(&self, height: u64) -> impl Iterator<Item = B256> {
        self.by_height.range(..=(height, B256::repeat_byte(0xff))).map(|(_, hash)| *hash)
    }

    /// Those that a tick concerns now.
    pub(super) fn at_time(&self, now: Timestamp) -> impl Iterator<Item = B256> {
        self.by_time.range(..=(now, B256::repeat_byte(0xff))).map(|(_, hash)| *hash)
    }

    /// Those that are under way.
    pub(super) fn open(&self) -> impl Iterator<Item = B256> {
        self.by_time.iter().map(|(_, hash)| *hash)
    }

    /// Those that wait for a way out, in the order in which they can be mined.
    pub(super) fn held(&self) -> impl Iterator<Item = B256> {
        self.turns.iter().map(|(.., hash)| *hash)
    }

    /// Those whose fate hangs on one of these blocks.
    pub(super) fn on_blocks(&self, heights: impl RangeBounds<u64>) -> impl Iterator<Item = B256> {
        let start = match heights.start_bound() {
            Bound::Included(height) => Bound::Included((*height, B256::ZERO)),
            Bound::Excluded(height) => Bound::Excluded((*height, B256::repeat_byte(0xff))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match heights.end_bound() {
            Bound::Included(height) => Bound::Included((*height, B256::repeat_byte(0xff))),
            Bound::Excluded(height) => Bound::Excluded((*height, B256::ZERO)),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.by_block.range((start, end)).map(|(_, hash)| *hash)
    }

    /// Those that are over since before then, in seconds since 1970.
    pub(super) fn over_before(&self, at_s: u64) -> impl Iterator<Item = B256> {
        self.over.range(..(at_s, B256::ZERO)).map(|(_, hash)| *hash)
    }
}
