//! What happened lately, numbered, for those who come and ask: every filter only keeps how far it has read.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Longer than any filter lives without being asked, so that none that lives has missed anything.
const KEPT_FOR: Duration = Duration::from_secs(360);

/// The latest happenings of one kind.
#[derive(Debug)]
pub(super) struct Record<T> {
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    bounds: Bounds,
    /// Happenings before this number are no longer complete.
    complete_from: u64,
}

/// How much a record keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) entries_max: usize,
    pub(super) bytes_max: usize,
    /// So many are kept however old they are.
    pub(super) entries_min: usize,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    at: Instant,
    bytes: usize,
    what: T,
}

impl<T> Record<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bounds, complete_from: 0 }
    }

    /// Takes down what happened; numbers grow.
    pub(super) fn push(&mut self, number: u64, bytes: usize, what: T) {
        let now = Instant::now();
        self.entries.push_back(Entry { number, at: now, bytes, what });
        self.bytes += bytes;
        while let Some(oldest) = self.entries.front() {
            let aged = now - oldest.at > KEPT_FOR && self.entries.len() > self.bounds.entries_min;
            let full = self.entries.len() > self.bounds.entries_max || self.bytes > self.bounds.bytes_max;
            if !aged && !full {
                break;
            }
            self.bytes -= oldest.bytes;
            self.complete_from = oldest.number + 1;
            self.entries.pop_front();
        }
    }

    /// What happened from this number on, the oldest first; `None` where some of it is forgotten.
    pub(super) fn since(&self, number: u64) -> Option<impl Iterator<Item = (u64, &T)>> {
        let start = self.entries.partition_point(|entry| entry.number < number);
        (number >= self.complete_from)
            .then(|| self.entries.range(start..).map(|entry| (entry.number, &entry.what)))
    }

    /// The newest first.
    pub(super) fn newest_first(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.entries.iter_mut().rev().map(|entry| (entry.number, &mut entry.what))
    }

    /// Everything is forgotten, up to this number.
    pub(super) fn forget(&mut self, before: u64) {
        self.entries = VecDeque::new();
        self.bytes = 0;
        self.complete_from = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { entries_max: 4, bytes_max: 100, entries_min: 1 };

    fn numbers(record: &Record<()>, since: u64) -> Option<Vec<u64>> {
        record.since(since).map(|entries| entries.map(|(number, ())| number).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_missed_something_is_told_so() {
        for (bytes, kept) in [(1, vec![7, 8, 9, 10]), (40, vec![9, 10])] {
            let mut record = Record::new(BOUNDS);
            for number in 1..=10 {
                record.push(number, bytes, ());
            }
            let first = kept[0];
            assert_eq!(numbers(&record, first), Some(kept.clone()));
            assert_eq!(numbers(&record, first - 1), None);
            assert_eq!(numbers(&record, 11), Some(vec![]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_goes_but_for_a_few() {
        let mut record = Record::new(BOUNDS);
        for number in 1..=3 {
            record.push(number, 1, ());
        }
        tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
        record.push(4, 1, ());
        assert_eq!(numbers(&record, 4), Some(vec![4]));
        tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
        assert_eq!(numbers(&record, 4), Some(vec![4]), "nothing came that would push it out");
        record.forget(5);
        assert_eq!((numbers(&record, 4), numbers(&record, 5)), (None, Some(vec![])));
    }
}
