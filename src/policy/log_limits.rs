//! How many blocks a backend searches for logs at once, learned from what it refuses (BEHAVIOURS R8), and how a range is
//! cut by that.

use std::time::Duration;

use super::{Class, Outcome, Timestamp};

/// What was learned is doubted after so long: plans change, and so do the nodes behind a URL.
const BELIEVED_FOR: Duration = Duration::from_secs(1800);

/// The widest range that a backend is known to take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogLimits {
    /// In blocks, and when it was last heard.
    blocks: Option<(u64, Timestamp)>,
}

impl LogLimits {
    /// Takes what came of a search through so many blocks.
    pub(super) fn learn(&mut self, now: Timestamp, blocks: Option<u64>, outcome: &Outcome) {
        let Some(asked) = blocks else { return };
        match outcome.class {
            // Too many results, or too slow a search, says something of the filter: the next one may find less.
            Class::RangeTooLarge if asked > 1 => {
                let named = outcome.range_limit_blocks.filter(|limit| (1..asked).contains(limit));
                let limit = named.unwrap_or(asked / 2);
                // A word of its own replaces what was guessed.
                let known = self.known(now).filter(|_| named.is_none());
                self.blocks = Some((known.map_or(limit, |known| known.min(limit)), now));
            }
            Class::Ok if self.blocks.is_some_and(|(limit, _)| limit < asked) => self.blocks = None,
            _ => {}
        }
    }

    /// The limit, where one is known.
    pub(super) fn known(&self, now: Timestamp) -> Option<u64> {
        self.blocks.filter(|(_, at)| now.since(*at) < BELIEVED_FOR).map(|(limit, _)| limit)
    }

    /// Whether it is known not to search so many.
    pub(super) fn exceeded_by(&self, now: Timestamp, blocks: Option<u64>) -> bool {
        blocks.zip(self.known(now)).is_some_and(|(blocks, limit)| blocks > limit)
    }
}

/// Cuts a range, both ends included, into pieces of at most `step` blocks that begin at multiples of it: ranges that
/// overlap have pieces in common. Gives at most `pieces_max`; `None` where it takes more.
pub fn cut_range(from: u64, to: u64, step: u64, pieces_max: usize) -> Option<Vec<(u64, u64)>> {
    let step = step.max(1);
    let mut pieces = Vec::new();
    let mut first = from;
    while first <= to {
        if pieces.len() == pieces_max {
            return None;
        }
        // A range that is no longer than a step is one piece, wherever it begins.
        let last = match to - from < step {
            true => to,
            false => (first - first % step).saturating_add(step - 1).min(to),
        };
        pieces.push((first, last));
        match last.checked_add(1) {
            Some(next) => first = next,
            None => break,
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(s)
    }

    fn refused(limit: Option<u64>) -> Outcome {
        Outcome { range_limit_blocks: limit, ..Outcome::of(Class::RangeTooLarge) }
    }

    #[test]
    fn r8_how_many_blocks_a_backend_searches_is_learned_and_forgotten() {
        let mut limits = LogLimits::default();
        assert!(!limits.exceeded_by(at(0), Some(1_000_000)), "nobody knows yet");
        limits.learn(at(0), Some(100_000), &refused(Some(10_000)));
        assert_eq!(limits.known(at(1)), Some(10_000));
        assert!(limits.exceeded_by(at(1), Some(10_001)) && !limits.exceeded_by(at(1), Some(10_000)));
        assert!(!limits.exceeded_by(at(1), None), "no search for logs");
        // Its own new word counts, also where it is a larger one.
        limits.learn(at(2), Some(30_000), &refused(Some(20_000)));
        assert_eq!(limits.known(at(2)), Some(20_000));
        // Without a number half of what it refused is tried; a number that it just refused is none.
        limits.learn(at(3), Some(8_000), &refused(None));
        assert_eq!(limits.known(at(3)), Some(4_000));
        limits.learn(at(3), Some(4_000), &refused(Some(10_000)));
        assert_eq!(limits.known(at(3)), Some(2_000));
        // What was too much to tell says nothing of blocks.
        limits.learn(at(4), Some(1_000), &Outcome::of(Class::ResponseTooLarge));
        assert_eq!(limits.known(at(4)), Some(2_000));
        limits.learn(at(5), Some(2_500), &Outcome::of(Class::Ok));
        assert_eq!(limits.known(at(5)), None, "it answered more");
        limits.learn(at(6), Some(10), &refused(Some(5)));
        assert_eq!(limits.known(at(6 + 1800)), None, "forgotten");
        limits.learn(at(6 + 1800), Some(1), &refused(None));
        assert_eq!(limits.known(at(6 + 1800)), None, "one block cannot be cut");
    }

    proptest! {
        #[test]
        fn r8_pieces_are_the_range_without_gap_or_overlap(
            from in prop_oneof![0..100_000_u64, (u64::MAX - 50_000)..=u64::MAX],
            blocks in 1..60_000_u64,
            step in 0..20_000_u64,
        ) {
            let to = from.saturating_add(blocks - 1);
            let pieces_max = 64;
            match cut_range(from, to, step, pieces_max) {
                None => prop_assert!((to - from) / step.max(1) + 2 > pieces_max as u64),
                Some(pieces) => {
                    prop_assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (from, to));
                    prop_assert!(pieces.iter().all(|(a, b)| a <= b && b - a < step.max(1)));
                    prop_assert!(pieces.windows(2).all(|two| two[0].1 + 1 == two[1].0));
                    prop_assert!(pieces.iter().skip(1).all(|(a, _)| a % step.max(1) == 0));
                }
            }
        }
    }
}
