//! How long things took, counted by upper bounds: two additions and no lock for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds: from an answer that is kept to a deadline, about two and a half times apart.
const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// See the module. The bounds are the same for all, so that they can be added up and compared.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what took longer.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|bound_us| bound_us * 1_000 < nanos);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// How many took at most so long, by upper bound in seconds; the last one, of all there are, has none.
    pub(super) fn cumulated(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = BOUNDS_US.iter().map(|us| Some(*us as f64 / 1e6)).chain([None]);
        let mut so_far = 0;
        bounds.zip(&self.counts).map(move |(bound, count)| {
            so_far += count.load(Ordering::Relaxed);
            (bound, so_far)
        })
    }

    /// What all of them took together, in seconds.
    pub(super) fn sum_s(&self) -> f64 {
        self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_the_first_bound_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 1_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let told: Vec<_> = histogram.cumulated().collect();
        let up_to = |bound: Option<f64>| told.iter().find(|(at, _)| *at == bound).map(|(_, count)| *count);
        assert_eq!(up_to(Some(0.0001)), Some(2));
        assert_eq!(up_to(Some(0.00025)), Some(3));
        assert_eq!(up_to(Some(1.0)), Some(4));
        assert_eq!(up_to(Some(30.0)), Some(4));
        assert_eq!(up_to(None), Some(5));
        assert!((histogram.sum_s() - 31.000202).abs() < 1e-6, "{}", histogram.sum_s());
    }
}
