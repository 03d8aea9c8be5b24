//! Draws that depend on nothing but what they are made from.
//!
//! The world draws from (seed, who, what, when) and not from one stream, so that two policies which ask
//! the same question of the same backend meet the same luck, however they came to ask it.

use std::sync::LazyLock;
use std::time::Duration;

use super::scenario::Quantiles;

/// A stream of numbers (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// The stream that belongs to these words.
    pub(super) fn of(words: &[u64]) -> Self {
        Self(words.iter().fold(0x6f75_7472_6967_6765, |state, word| mix(state ^ mix(*word))))
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 up to 1, 1 excluded.
    pub(super) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    /// Below `end`, or 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// Time to the next arrival at `rate` per second.
    pub(super) fn interval(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.unit()).ln() / rate;
        Duration::from_nanos((seconds * 1e9).min(1e18) as u64)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A log-normal distribution as a table: a draw is one look-up, and no floating-point function lies in
/// the replay's way.
#[derive(Clone, Debug)]
pub(super) struct Lognormal {
    nanos: Box<[u64]>,
}

impl Lognormal {
    const STEPS: usize = 1024;
    /// The 99th percentile of the standard normal distribution.
    const Z99: f64 = 2.326_347_874_040_841;

    pub(super) fn new(quantiles: Quantiles) -> Self {
        let p50 = quantiles.p50.as_nanos().max(1) as f64;
        let sigma = (quantiles.p99.as_nanos() as f64 / p50).max(1.0).ln() / Self::Z99;
        Self { nanos: NORMAL.iter().map(|quantile| (p50 * (sigma * quantile).exp()) as u64).collect() }
    }

    pub(super) fn draw(&self, draws: &mut Draws) -> Duration {
        Duration::from_nanos(self.nanos[draws.below(Self::STEPS as u64) as usize])
    }
}

/// The middles of the standard normal distribution's steps.
static NORMAL: LazyLock<[f64; Lognormal::STEPS]> = LazyLock::new(|| {
    std::array::from_fn(|step| normal_quantile((step as f64 + 0.5) / Lognormal::STEPS as f64))
});

/// Where a standard normal variable is below with this probability (Acklam's approximation, 1e-9).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    const TAIL: f64 = 0.02425;
    let poly = |of: &[f64], x: f64| of.iter().fold(0.0, |sum, c| sum * x + c);
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / (poly(&D, q) * q + 1.0)
    } else if p > 1.0 - TAIL {
        -normal_quantile(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        poly(&A, r) * q / (poly(&B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lognormal_draw_has_the_quantiles_it_was_made_from() {
        let ms = Duration::from_millis;
        let table = Lognormal::new(Quantiles { p50: ms(100), p99: ms(320) });
        let mut draws = Draws::of(&[1]);
        let mut drawn: Vec<_> = (0..20_000).map(|_| table.draw(&mut draws)).collect();
        drawn.sort_unstable();
        assert!((ms(97)..ms(103)).contains(&drawn[10_000]), "{:?}", drawn[10_000]);
        assert!((ms(300)..ms(340)).contains(&drawn[19_800]), "{:?}", drawn[19_800]);
    }

    #[test]
    fn the_same_words_draw_the_same_and_others_do_not() {
        assert_eq!(Draws::of(&[1, 2]).word(), Draws::of(&[1, 2]).word());
        assert_ne!(Draws::of(&[1, 2]).word(), Draws::of(&[2, 1]).word());
        assert_ne!(Draws::of(&[0]).word(), Draws::of(&[0, 0]).word());
    }

    #[test]
    fn arrivals_come_at_their_rate() {
        let mut draws = Draws::of(&[3]);
        let total: Duration = (0..10_000).map(|_| draws.interval(100.0)).sum();
        assert!((95.0..105.0).contains(&total.as_secs_f64()), "{total:?}");
    }
}
