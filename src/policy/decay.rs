//! How much is left of what was learned a while ago: exponential decay, the same to the last bit on every machine.
//!
//! The mathematical library's `exp` differs between platforms in its last digit, and a seed must replay everywhere;
//! it is also what a decision would spend a fifth of its time on.

use std::time::Duration;

use super::Timestamp;

/// What is left of one after half of it has been lost in each `half_life` from `since` to `now`.
pub(super) fn halved(now: Timestamp, since: Timestamp, half_life: Duration) -> f64 {
    exp2_of_negative(now.seconds_since(since) / half_life.as_secs_f64())
}

/// What is left of one that fades with the time constant `tau`.
pub(super) fn faded(now: Timestamp, since: Timestamp, tau: Duration) -> f64 {
    exp2_of_negative(now.seconds_since(since) / (tau.as_secs_f64() * std::f64::consts::LN_2))
}

/// 2 to the power of -n/16.
const SIXTEENTHS: [f64; 16] = [
    1.0,
    0.9576032806985737,
    0.9170040432046712,
    0.8781260801866497,
    0.8408964152537145,
    0.8052451659746271,
    0.7711054127039704,
    0.7384130729697497,
    std::f64::consts::FRAC_1_SQRT_2,
    0.6771277734684463,
    0.6484197773255048,
    0.620928906036742,
    0.5946035575013605,
    0.5693943173783458,
    0.5452538663326288,
    0.5221368912137069,
];

/// 2 to the power of `-x`, for `x` of zero or more, to within three parts in ten million.
pub(super) fn exp2_of_negative(x: f64) -> f64 {
    /// Past it nothing is left that anybody could count.
    const NOTHING_LEFT: f64 = 1000.0;
    if x <= 0.0 {
        return 1.0;
    }
    if x >= NOTHING_LEFT || x.is_nan() {
        return 0.0;
    }
    let sixteenths = (x * 16.0) as u64;
    let (whole, sixteenth) = (sixteenths / 16, sixteenths % 16);
    let rest = (x - sixteenths as f64 / 16.0) * std::f64::consts::LN_2;
    // exp(-rest) for rest below ln 2 / 16: Taylor's series up to the third power.
    let series = 1.0 - rest * (1.0 - rest * (0.5 - rest / 6.0));
    // A power of two is nothing but an exponent.
    SIXTEENTHS[sixteenth as usize] * series * f64::from_bits((1023 - whole) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential_function_and_never_rises() {
        let mut before = 1.0;
        for n in 0..200_000u32 {
            let x = f64::from(n) / 1e3;
            let kept = exp2_of_negative(x);
            assert!((kept / (-x).exp2() - 1.0).abs() < 3e-7, "{x}: {kept}");
            assert!(kept <= before, "{x}");
            before = kept;
        }
        assert_eq!((exp2_of_negative(0.0), exp2_of_negative(-1.0), exp2_of_negative(1e9)), (1.0, 1.0, 0.0));
        assert_eq!(exp2_of_negative(f64::NAN), 0.0);
    }

    #[test]
    fn half_is_left_after_a_half_life() {
        let (now, since) =
            (Timestamp::ZERO + Duration::from_secs(40), Timestamp::ZERO + Duration::from_secs(10));
        assert!((halved(now, since, Duration::from_secs(30)) - 0.5).abs() < 1e-5);
        assert!((faded(now, since, Duration::from_secs(30)) - (-1f64).exp()).abs() < 1e-5);
        assert_eq!(halved(since, now, Duration::from_secs(30)), 1.0);
    }
}
