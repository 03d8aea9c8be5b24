//! When the next block is to be expected: the chain's beat, heard from when its blocks are first seen.
//!
//! A look shows a block at its own time, not at the block's: whoever waits a block time after a sight is late by what that
//! sight was late, and later still with the next one. So the earliest sights set the beat, and later ones move it little.

use std::time::Duration;

use crate::policy::Timestamp;

/// A sight that is later than expected delays the beat by at most this part of the time between blocks: block times are
/// estimates, and paths get slower.
const DELAY_PART: u32 = 64;

/// Where the beat is: when a block of this height was first seen, had it been looked for all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    number: u64,
    at: Timestamp,
}

impl Beat {
    /// One that begins with this sight.
    pub(super) fn new(now: Timestamp, number: u64) -> Self {
        Self { number, at: now }
    }

    /// A block higher than all before is seen for the first time. Blocks come every `slot`, or whole
    /// slots later.
    pub(super) fn heard(&mut self, now: Timestamp, number: u64, slot: Duration) {
        let expected = self.at_height(number, slot);
        let missed = now.since(expected).as_nanos() / slot.as_nanos().max(1);
        let expected = expected + slot.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        *self = Self { number, at: now.min(expected + slot / DELAY_PART) };
    }

    /// When a block of this height is seen at the earliest.
    pub(super) fn at_height(&self, number: u64, slot: Duration) -> Timestamp {
        let blocks = u32::try_from(number.abs_diff(self.number)).unwrap_or(u32::MAX);
        let away = slot.saturating_mul(blocks);
        match number >= self.number {
            true => self.at + away,
            false => Timestamp::after_origin(self.at.since_origin().saturating_sub(away)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Duration = Duration::from_secs(2);

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    fn next(beat: Beat) -> f64 {
        beat.at_height(beat.number + 1, SLOT).since_origin().as_secs_f64()
    }

    #[test]
    fn late_sights_delay_the_beat_by_little_and_early_ones_set_it() {
        let mut beat = Beat::new(at(10.0), 5);
        beat.heard(at(13.0), 6, SLOT);
        assert!((14.0..14.1).contains(&next(beat)), "{}", next(beat));
        beat.heard(at(13.5), 7, SLOT);
        assert_eq!(next(beat), 15.5);
    }

    #[test]
    fn sights_that_are_late_time_and_again_move_the_beat_in_the_end() {
        let mut beat = Beat::new(at(10.0), 5);
        (0..30u32).for_each(|n| beat.heard(at(12.5 + 2.0 * f64::from(n)), 6 + u64::from(n), SLOT));
        assert_eq!(next(beat), 10.5 + 2.0 * 31.0);
    }

    #[test]
    fn a_missed_slot_and_a_long_pause_leave_the_beat_where_it_was_in_its_slot() {
        for missed in [1.0, 2.0, 100.0] {
            let mut beat = Beat::new(at(10.0), 5);
            beat.heard(at(12.1 + 2.0 * missed), 6, SLOT);
            let slack = next(beat) - (14.0 + 2.0 * missed);
            assert!((0.0..0.1).contains(&slack), "{missed}: {slack}");
        }
    }

    #[test]
    fn blocks_that_were_skipped_are_counted() {
        let mut beat = Beat::new(at(10.0), 5);
        beat.heard(at(18.9), 9, SLOT);
        assert!((20.0..20.1).contains(&next(beat)), "{}", next(beat));
        assert_eq!(beat.at_height(7, SLOT), Timestamp::after_origin(beat.at.since_origin() - 2 * SLOT));
    }
}
