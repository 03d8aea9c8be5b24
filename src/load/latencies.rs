//! Latencies as an HDR histogram: every quantile to within its digits, at a size that does not grow with the count.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer is not told apart; a request has at most ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// Times in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What is said of them, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // quantiles by their usual names
pub struct Quantiles {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    /// To three digits: 100 µs is told from 100.1 µs.
    pub fn fine() -> Self {
        Self::with_digits(3)
    }

    /// To two digits, in some kilobytes: for the many of a time line.
    pub fn coarse() -> Self {
        Self::with_digits(2)
    }

    fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new(digits).expect("two and three are numbers of digits that it takes");
        Self(histogram)
    }

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        // It grows as it needs to, up to the longest; there is nothing that could fail.
        let _ = self.0.record(us);
    }

    /// Adds all of another's.
    pub fn add(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that this share, 0 to 1, does not exceed, in milliseconds; 0 without times.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }

    /// All that is usually said.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            mean_ms: self.0.mean() / 1e3,
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: self.0.max() as f64 / 1e3,
        }
    }

    /// Points of the curve from the median to the slowest: a share and the milliseconds that it does not exceed.
    /// They lie the closer the nearer the slowest, so that each tenfold rarer case has its room.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        /// Points for each time that the rest becomes a tenth.
        const PER_DECADE: u32 = 8;
        let mut curve = Vec::new();
        for step in 0..=6 * PER_DECADE {
            let rest = 10f64.powf(-f64::from(step) / f64::from(PER_DECADE));
            if rest * self.len() as f64 <= 0.5 {
                break;
            }
            curve.push((1.0 - rest, self.quantile_ms(1.0 - rest)));
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_three_digits() {
        let mut all = Latencies::fine();
        (1..=10_000).for_each(|us| all.record(Duration::from_micros(us * 10)));
        let said = all.quantiles();
        for (found, expected) in
            [(said.p50_ms, 50.0), (said.p99_ms, 99.0), (said.p999_ms, 99.9), (said.max_ms, 100.0)]
        {
            assert!((found / expected - 1.0).abs() < 0.001, "{found} {expected}");
        }
        let mut coarse = Latencies::coarse();
        coarse.add(&all);
        assert_eq!(coarse.len(), 10_000);
        assert!((coarse.quantile_ms(0.5) / 50.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest_and_nothing_as_something() {
        let mut all = Latencies::fine();
        assert!(all.is_empty() && all.curve().is_empty() && all.quantiles() == Quantiles::default());
        all.record(Duration::MAX);
        all.record(Duration::ZERO);
        assert!(all.quantiles().max_ms >= 599_000.0);
        assert!(all.quantile_ms(0.1) > 0.0);
    }

    #[test]
    fn the_curve_rises_to_the_rarest_case_there_was() {
        let mut all = Latencies::fine();
        (0..1000).for_each(|at| all.record(Duration::from_millis(if at == 999 { 900 } else { 10 })));
        let curve = all.curve();
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{curve:?}");
        assert!(curve.last().is_some_and(|(share, ms)| *share >= 0.999 && *ms > 800.0), "{curve:?}");
    }
}
