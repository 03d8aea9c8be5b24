//! Whether a backend's head goes back, seen by a client whose requests overlap. Pure.

use serde::Serialize;

/// What a backend said of its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Heads {
    /// Answers that told a height.
    pub told: u64,
    /// The first height that was told.
    pub first: u64,
    /// The highest one.
    pub highest: u64,
    /// Answers that were below a height that had been told *before they were asked for*: what overlaps may overtake.
    pub went_back: u64,
    /// Blocks by which the worst of them did.
    pub went_back_by: u64,
}

impl Heads {
    /// What an answer to a question that is asked now must not be below.
    pub fn floor(&self) -> u64 {
        self.highest
    }

    /// An answer told this height, to a question for which this was the floor. Whether it may be true.
    pub fn tell(&mut self, height: u64, floor: u64) -> bool {
        if self.told == 0 {
            self.first = height;
        }
        self.told += 1;
        self.highest = self.highest.max(height);
        let back_by = floor.saturating_sub(height);
        self.went_back += u64::from(back_by > 0);
        self.went_back_by = self.went_back_by.max(back_by);
        back_by == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_overlap_may_overtake_each_other_and_later_ones_may_not_go_back() {
        let mut heads = Heads::default();
        let floor = heads.floor();
        assert!(heads.tell(100, floor));
        // Both were asked for while 100 was the highest.
        let floor = heads.floor();
        assert!(heads.tell(102, floor));
        assert!(heads.tell(101, floor), "overtaken, not gone back");
        let floor = heads.floor();
        assert!(!heads.tell(99, floor));
        let expected = Heads { told: 4, first: 100, highest: 102, went_back: 1, went_back_by: 3 };
        assert_eq!(heads, expected);
    }
}
