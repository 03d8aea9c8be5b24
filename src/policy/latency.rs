//! Live latency quantiles of one (backend, method class), in a fixed amount of memory.
//!
//! Log-linear buckets as in HdrHistogram: four to an octave, so that a quantile is right to within a fifth of its
//! value, which is far finer than what decides. Two windows take turns: the younger one fills, the older one
//! still counts, so that quantiles never come from nothing, and what is older than two windows is forgotten.

use std::time::Duration;

use super::Timestamp;

/// Below this everything is the same to us: a loopback answer.
const SMALLEST: Duration = Duration::from_micros(128);
/// Buckets to a doubling.
const PER_OCTAVE: usize = 4;
/// From 128 us to 67 s: the longest deadline is 60 s, and what is longer counts as that.
const OCTAVES: usize = 19;
const BUCKETS: usize = PER_OCTAVE * OCTAVES;
/// A window ends after this, or after so many samples: a busy backend's change shows at once.
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_SAMPLES: u32 = 500;

/// Counts of recent latencies.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    young: Window,
    old: Window,
    /// What [`QUANTILES`] were when last looked up: decisions ask far more often than they change.
    known: [Option<Duration>; QUANTILES.len()],
}

/// The shares that decisions are made by.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// They are looked up anew with each answer while there are few, and later with each so many.
const FEW: u32 = 64;
const LOOK_UP_EVERY: u32 = 8;

#[derive(Clone, Debug)]
struct Window {
    counts: [u16; BUCKETS],
    samples: u32,
    since: Timestamp,
}

impl Default for Window {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], samples: 0, since: Timestamp::ZERO }
    }
}

impl Latencies {
    /// One answer came after `took`.
    pub fn record(&mut self, now: Timestamp, took: Duration) {
        if self.young.samples >= WINDOW_SAMPLES || now.since(self.young.since) >= WINDOW {
            self.old = std::mem::take(&mut self.young);
            self.young.since = now;
        }
        let count = &mut self.young.counts[bucket(took)];
        *count = count.saturating_add(1);
        self.young.samples += 1;
        if self.samples() <= FEW || self.young.samples.is_multiple_of(LOOK_UP_EVERY) {
            self.known = self.look_up(QUANTILES);
        }
    }

    /// Samples that the quantiles come from.
    pub fn samples(&self) -> u32 {
        self.young.samples + self.old.samples
    }

    /// The latency that a share `q` (0 to 1) of recent answers stayed within; `None` without any. It is the
    /// bucket's upper edge: never an underestimate.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        match QUANTILES.iter().position(|known| *known == q) {
            Some(at) => self.known[at],
            None => self.look_up([q])[0],
        }
    }

    /// Of several shares, the smallest first, in one pass.
    fn look_up<const N: usize>(&self, shares: [f64; N]) -> [Option<Duration>; N] {
        let samples = self.samples();
        if samples == 0 {
            return [None; N];
        }
        let (mut at, mut seen) = (0, self.count(0));
        shares.map(|q| {
            let wanted = ((f64::from(samples) * q).ceil() as u32).clamp(1, samples);
            while seen < wanted && at < BUCKETS - 1 {
                at += 1;
                seen += self.count(at);
            }
            Some(upper_edge(at))
        })
    }

    fn count(&self, bucket: usize) -> u32 {
        u32::from(self.young.counts[bucket]) + u32::from(self.old.counts[bucket])
    }
}

fn bucket(took: Duration) -> usize {
    let smallest = SMALLEST.as_nanos() as u64;
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(smallest);
    let octave = (nanos / smallest).ilog2() as usize;
    let base = smallest << octave.min(OCTAVES);
    let within =
        ((nanos.saturating_sub(base)) / (base / PER_OCTAVE as u64)).min(PER_OCTAVE as u64 - 1) as usize;
    (octave * PER_OCTAVE + within).min(BUCKETS - 1)
}

fn upper_edge(bucket: usize) -> Duration {
    let base = (SMALLEST.as_nanos() as u64) << (bucket / PER_OCTAVE);
    Duration::from_nanos(base + base / PER_OCTAVE as u64 * (bucket % PER_OCTAVE + 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn quantiles_are_right_to_within_a_bucket() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for ms in 1..=400 {
            latencies.record(at(ms), Duration::from_millis(ms));
        }
        for (q, exact_ms) in [(0.5, 200.0), (0.95, 380.0), (0.99, 396.0)] {
            let said_ms = latencies.quantile(q).unwrap().as_secs_f64() * 1e3;
            assert!((exact_ms..exact_ms * 1.26).contains(&said_ms), "p{q}: {said_ms} for {exact_ms}");
        }
    }

    #[test]
    fn a_change_shows_within_two_windows() {
        let mut latencies = Latencies::default();
        for n in 0..2000 {
            latencies.record(at(n), Duration::from_millis(10));
        }
        for n in 0..2 * u64::from(WINDOW_SAMPLES) {
            latencies.record(at(2000 + n), Duration::from_millis(100));
        }
        assert!(latencies.quantile(0.05).unwrap() >= Duration::from_millis(100));
        latencies.record(at(200_000), Duration::from_millis(1));
        latencies.record(at(300_000), Duration::from_millis(1));
        assert!(latencies.quantile(1.0).unwrap() < Duration::from_millis(2));
    }

    proptest::proptest! {
        #[test]
        fn every_latency_lies_below_its_buckets_upper_edge(nanos in 0u64..60_000_000_000) {
            let took = Duration::from_nanos(nanos);
            let edge = upper_edge(bucket(took));
            proptest::prop_assert!(took <= edge);
            proptest::prop_assert!(took <= SMALLEST || edge.as_secs_f64() <= took.as_secs_f64() * 1.26);
        }
    }
}
