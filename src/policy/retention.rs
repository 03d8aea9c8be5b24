//! How far back a backend answers, learned from what it says of old blocks (BEHAVIOURS R5).

use std::time::Duration;

use super::{Class, Timestamp};
use crate::ethereum::Archive;

/// What was learned is doubted after so long: nodes are resynced, and gateways change who stands behind them.
const BELIEVED_FOR: Duration = Duration::from_secs(1800);
/// Blocks so near the head are not old, whatever is said of them: somebody lags.
const DEPTH_MIN: u64 = 16;

/// Something that nodes keep for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The state after a block: balances, code, calls, traces.
    State,
    /// Bodies, receipts and logs.
    History,
}

/// How old the oldest block is that a request speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// What of it is asked for.
    pub kept: Kept,
    /// Blocks behind the head.
    pub blocks: u64,
}

impl Depth {
    /// The depth of a request that needs this of a node; `None` where any node has it.
    pub fn of(archive: Archive, blocks: u64) -> Option<Self> {
        let kept = match archive {
            Archive::Nothing => return None,
            Archive::State | Archive::Trace => Kept::State,
            Archive::History => Kept::History,
        };
        (blocks >= DEPTH_MIN).then_some(Self { kept, blocks })
    }
}

/// Where a backend's memory ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retention {
    /// The least depth at which each [`Kept`] was missing, and when that was said.
    ends: [Option<(u64, Timestamp)>; 2],
}

impl Retention {
    pub(super) fn learn(&mut self, now: Timestamp, depth: Option<Depth>, class: Class) {
        let Some(Depth { kept, blocks }) = depth else { return };
        let end = &mut self.ends[kept as usize];
        match class {
            Class::MissingDataArchive | Class::BlockNotFound => {
                let least = end.map_or(blocks, |(known, _)| known.min(blocks));
                *end = Some((least, now));
            }
            // It answers where it was thought to end: the end lies deeper, and nobody has seen where.
            Class::Ok if end.is_some_and(|(known, _)| known <= blocks) => *end = None,
            _ => {}
        }
    }

    /// Whether what is asked for lies beyond its memory, as far as is known.
    pub(super) fn lacks(&self, now: Timestamp, depth: Option<Depth>) -> bool {
        depth.is_some_and(|Depth { kept, blocks }| {
            self.ends[kept as usize].is_some_and(|(end, at)| blocks >= end && now.since(at) < BELIEVED_FOR)
        })
    }

    /// Depths at which state and history end, where that is known.
    pub(super) fn known(&self, now: Timestamp) -> [Option<u64>; 2] {
        self.ends.map(|end| end.filter(|(_, at)| now.since(*at) < BELIEVED_FOR).map(|(end, _)| end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_where_a_backends_memory_ends_is_learned_per_kind_and_forgotten() {
        let at = |s| Timestamp::ZERO + Duration::from_secs(s);
        let state = |blocks| Depth::of(Archive::State, blocks);
        let mut retention = Retention::default();
        assert!(!retention.lacks(at(0), state(10_000)));
        retention.learn(at(0), state(10_000), Class::MissingDataArchive);
        retention.learn(at(0), state(200), Class::MissingDataArchive);
        for (blocks, lacks) in [(199, false), (200, true), (1_000_000, true)] {
            assert_eq!(retention.lacks(at(1), state(blocks)), lacks, "{blocks}");
        }
        assert!(
            !retention.lacks(at(1), Depth::of(Archive::History, 1_000_000)),
            "state says nothing of logs"
        );
        assert_eq!(retention.known(at(1)), [Some(200), None]);
        assert!(!retention.lacks(at(3600), state(1000)), "forgotten");
        retention.learn(at(1), state(500), Class::Ok);
        assert!(!retention.lacks(at(2), state(500)), "it answered");
        assert_eq!(Depth::of(Archive::State, 3), None, "who lacks a new block lags");
        assert_eq!(Depth::of(Archive::Nothing, 1000), None);
    }
}
