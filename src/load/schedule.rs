//! When each request is due: settled beforehand, whatever becomes of those before it (an open loop). Pure.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Requests a second: less is nothing to measure, more is beyond one machine.
pub const RATE: RangeInclusive<f64> = 0.1..=200_000.0;

/// Requests a second, constant or rising (or falling) in a line from the first moment to the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    from: f64,
    to: f64,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no rate: write requests a second, from {} to {}, as 200, or a ramp, as 100..2000", RATE.start(), RATE.end())]
pub struct RateError;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// One after the other at equal distances.
    #[default]
    Even,
    /// By chance, as those of many independent clients are: sometimes several at once.
    Poisson,
}

/// Moments at which requests are due, in order, since the beginning.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: Rate,
    length: Duration,
    arrivals: Arrivals,
    rng: SmallRng,
    /// How many requests were to be expected by the next moment.
    expected: f64,
}

// === impl Rate ===

impl Rate {
    /// The same all the time.
    ///
    /// # Errors
    /// Outside [`RATE`].
    pub fn constant(per_second: f64) -> Result<Self, RateError> {
        Self::ramp(per_second, per_second)
    }

    /// In a line from one to the other.
    ///
    /// # Errors
    /// Outside [`RATE`].
    pub fn ramp(from: f64, to: f64) -> Result<Self, RateError> {
        // Not a number is in no range.
        if RATE.contains(&from) && RATE.contains(&to) { Ok(Self { from, to }) } else { Err(RateError) }
    }

    /// Requests a second at first.
    pub fn from(&self) -> f64 {
        self.from
    }

    /// Requests a second at last.
    pub fn to(&self) -> f64 {
        self.to
    }

    /// Whether it changes.
    pub fn is_ramp(&self) -> bool {
        self.from != self.to
    }

    /// When `expected` requests were to be expected, on a way that takes `length`; `None` beyond its end.
    fn moment(&self, expected: f64, length: f64) -> Option<f64> {
        // expected(t) = from t + (to - from) t^2 / 2 length, solved for t in the form that loses no digits.
        let bend = (self.to - self.from) / (2.0 * length);
        let under_root = self.from * self.from + 4.0 * bend * expected;
        if under_root < 0.0 {
            return None;
        }
        let at = 2.0 * expected / (self.from + under_root.sqrt());
        (at < length).then_some(at)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// Reads `200`, `0.5` or a ramp, `100..2000`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| RateError);
        match text.split_once("..") {
            Some((from, to)) => Self::ramp(number(from)?, number(to)?),
            None => number(text).and_then(Self::constant),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ramp() { write!(f, "{}..{}", self.from, self.to) } else { write!(f, "{}", self.from) }
    }
}

// === impl Schedule ===

impl Schedule {
    /// Everything that is due within `length`; the same seed gives the same moments.
    pub fn new(rate: Rate, arrivals: Arrivals, length: Duration, seed: u64) -> Self {
        let mut schedule = Self { rate, length, arrivals, rng: SmallRng::seed_from_u64(seed), expected: 0.0 };
        if arrivals == Arrivals::Poisson {
            schedule.expected = schedule.gap();
        }
        schedule
    }

    /// Requests to be expected between this one and the next.
    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Even => 1.0,
            // 1 - u is never 0.
            Arrivals::Poisson => -(1.0 - self.rng.random::<f64>()).ln(),
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let at = self.rate.moment(self.expected, self.length.as_secs_f64())?;
        self.expected += self.gap();
        Duration::try_from_secs_f64(at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(rate: &str, arrivals: Arrivals, length_s: u64, seed: u64) -> Vec<Duration> {
        Schedule::new(rate.parse().unwrap(), arrivals, Duration::from_secs(length_s), seed).collect()
    }

    #[test]
    fn even_arrivals_are_exactly_as_many_as_rate_and_time_say() {
        for (rate, length_s, count) in [("100", 3, 300), ("0.5", 10, 5), ("7", 3, 21), ("20000", 1, 20_000)] {
            let all = due(rate, Arrivals::Even, length_s, 1);
            assert_eq!(all.len(), count, "{rate}");
            assert_eq!(all[0], Duration::ZERO);
            assert!(all.is_sorted());
        }
        let all = due("100", Arrivals::Even, 1, 1);
        assert!(all.windows(2).all(|two| (two[1] - two[0]).as_micros().abs_diff(10_000) <= 1), "{all:?}");
    }

    #[test]
    fn a_ramp_has_its_mean_rate_and_ends_at_its_last() {
        for (rate, count) in [("100..300", 2000), ("300..100", 2000)] {
            let all = due(rate, Arrivals::Even, 10, 1);
            assert_eq!(all.len(), count, "{rate}");
            let in_last = all.iter().filter(|at| **at >= Duration::from_secs(9)).count();
            let expected = if rate.starts_with('1') { 290 } else { 110 };
            assert!(in_last.abs_diff(expected) <= 1, "{rate}: {in_last}");
        }
    }

    #[test]
    fn chance_keeps_the_rate_and_follows_its_seed() {
        let all = due("1000", Arrivals::Poisson, 20, 7);
        assert!(all.len().abs_diff(20_000) < 600, "{}", all.len());
        assert_eq!(all, due("1000", Arrivals::Poisson, 20, 7));
        assert_ne!(all, due("1000", Arrivals::Poisson, 20, 8));
        // Of exponential gaps a share of 1 - 1/e is below the mean.
        let gaps = all.windows(2).map(|two| two[1] - two[0]);
        let below = gaps.filter(|gap| *gap < Duration::from_millis(1)).count();
        assert!((0.61..0.65).contains(&(below as f64 / all.len() as f64)), "{below}");
    }

    #[test]
    fn what_is_no_rate_is_refused_and_told_what_one_looks_like() {
        for text in
            ["", "fast", "0", "-1", "NaN", "inf", "1e9", "100..", "..5", "100..x", "0..100", "1..2..3"]
        {
            let error = text.parse::<Rate>().expect_err(text);
            assert!(error.to_string().contains("100..2000"), "{error}");
        }
        assert_eq!("100 .. 2000".parse::<Rate>().unwrap().to_string(), "100..2000");
        assert_eq!("5..5".parse::<Rate>().unwrap().to_string(), "5");
    }
}
