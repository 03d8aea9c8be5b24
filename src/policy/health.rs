//! How one backend has done lately, for one class of methods: how often it fails and how long it takes.
//!
//! Errors: the mean of a Beta posterior whose evidence fades, so that one failure of a fresh backend
//! says little and old sins are forgotten. Latency: peak-EWMA (Finagle, linkerd2-proxy): it jumps up
//! at once and comes down slowly. A failure is recorded as a long round trip, since an instantly
//! failing backend must never look fast; a cancelled attempt as a lower bound on its latency.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::decay::{exp2_of_negative, faded, halved};

/// Half of the evidence on errors is forgotten in this time: long enough to remember an outage's
/// start, short enough to readmit within a minute.
const ERROR_HALF_LIFE: Duration = Duration::from_secs(15);
/// However many calls were made, the estimate stands on about so many of them: a busy backend that turns bad
/// shows it within as many calls, not within half a minute.
const EVIDENCE_MAX: f64 = 60.0;
/// The latency average's time constant on the way down.
const LATENCY_TAU: Duration = Duration::from_secs(10);
/// Prior: one failure in a hundred attempts, worth five attempts. One failure of a fresh backend then
/// reads as 17 %, three as 38 %.
const PRIOR_FAILURES: f64 = 0.05;
const PRIOR_SUCCESSES: f64 = 4.95;
/// Page's test (1954) finds a change in the share of failures with the fewest calls: from one in two hundred to one
/// in five. A failure adds ln(0.2 / 0.005), a good answer takes away ln(0.995 / 0.8).
const ALARM_MORE: f64 = 3.69;
const ALARM_LESS: f64 = 0.218;
/// Reached by three failures with at most eleven good answers between them. With one failure in two thousand calls,
/// which is usual, that happens once in some tens of millions.
const ALARM_AT: f64 = 8.6;
/// A failure counts as a round trip of at least this.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);
/// No latency that is worth recalling is longer: the longest deadline is two minutes.
const RECALLED_LATENCY_MAX_MS: f64 = 120_000.0;
/// With this weight in the average.
const FAILURE_WEIGHT: f64 = 0.2;
/// What is assumed of a backend that has not been measured: neither good nor bad.
const UNKNOWN_LATENCY_NS: f64 = 150e6;
/// What was measured is unknown again after some of these; four times [`ERROR_HALF_LIFE`], see [`Health::expected`].
const UNKNOWN_AGAIN_HALF_LIFE: Duration = Duration::from_secs(60);

/// Recent experience with one (backend, method class).
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    failures: f64,
    successes: f64,
    latency_ns: f64,
    measured: bool,
    consecutive_failures: u32,
    /// CUSUM: what the latest calls say for "it fails one in five" against "all is well", never below zero.
    alarm: f64,
    at: Timestamp,
}

impl Health {
    /// An attempt answered after `took`.
    pub fn record_success(&mut self, now: Timestamp, took: Duration) {
        self.fade(now);
        self.successes += 1.0;
        self.consecutive_failures = 0;
        self.alarm = (self.alarm - ALARM_LESS).max(0.0);
        self.observe_latency(now, took);
        self.at = now;
    }

    /// An attempt failed in a way that is the backend's fault, after `took`.
    pub fn record_failure(&mut self, now: Timestamp, took: Duration) {
        self.fade(now);
        self.failures += 1.0;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.alarm = (self.alarm + ALARM_MORE).min(2.0 * ALARM_AT);
        self.observe_failure(took.max(FAILURE_LATENCY));
        self.at = now;
    }

    /// It has proven itself: what it failed at before no longer counts.
    pub fn forgive(&mut self) {
        self.failures = 0.0;
        self.consecutive_failures = 0;
        self.alarm = 0.0;
    }

    /// Whether its failures have become frequent: three in a row, or within a dozen calls.
    pub fn is_alarming(&self) -> bool {
        self.alarm >= ALARM_AT
    }

    /// An attempt was cancelled after `took`: it would have lasted at least that long.
    pub fn record_cancelled(&mut self, now: Timestamp, took: Duration) {
        if took > self.latency(now) {
            self.observe_latency(now, took);
            self.at = now;
        }
    }

    /// A first idea of the latency; no evidence of success.
    pub fn seed_latency(&mut self, now: Timestamp, took: Duration) {
        self.observe_latency(now, took);
        self.at = now;
    }

    /// The share of attempts that fail, 0 to 1, as far as is known.
    pub fn error_rate(&self, now: Timestamp) -> f64 {
        self.expected(now).1
    }

    /// Expected latency of an attempt.
    pub fn latency(&self, now: Timestamp) -> Duration {
        Duration::from_nanos(self.latency_ns(now) as u64)
    }

    /// The same as a number.
    pub(super) fn latency_ns(&self, now: Timestamp) -> f64 {
        self.expected(now).0
    }

    /// Latency in nanoseconds and share of failures at once: a decision compares many of them.
    pub(super) fn expected(&self, now: Timestamp) -> (f64, f64) {
        let kept = halved(now, self.at, UNKNOWN_AGAIN_HALF_LIFE);
        // What was measured long ago drifts back to unknown, so that a backend which nobody asks is
        // neither written off nor preferred for ever.
        let latency_ns = match self.measured {
            true => self.latency_ns * kept + UNKNOWN_LATENCY_NS * (1.0 - kept),
            false => UNKNOWN_LATENCY_NS,
        };
        // A quarter of the half-life is the fourth power.
        (latency_ns, self.error_rate_keeping((kept * kept) * (kept * kept)))
    }

    /// Whether the share of failures lies above this one, which must not be below the prior's.
    pub(super) fn fails_more_than(&self, now: Timestamp, share: f64) -> bool {
        // Fading moves the estimate towards the prior: most backends are told without reckoning how much.
        self.error_rate_keeping(1.0) > share && self.error_rate(now) > share
    }

    fn error_rate_keeping(&self, kept: f64) -> f64 {
        let failures = self.failures * kept + PRIOR_FAILURES;
        failures / (failures + self.successes * kept + PRIOR_SUCCESSES)
    }

    /// Good answers, as far as they still count.
    pub(super) fn successes(&self, now: Timestamp) -> f64 {
        self.successes * halved(now, self.at, ERROR_HALF_LIFE)
    }

    /// Failures in a row, up to now.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// When anything was last learned; the origin for what was never measured.
    pub fn measured_at(&self) -> Timestamp {
        self.at
    }

    /// Whether anything was ever measured.
    pub fn is_known(&self) -> bool {
        self.measured
    }

    /// What is worth knowing after a restart; `None` where nothing was measured.
    pub fn remember(&self, now: Timestamp) -> Option<Remembered> {
        let kept = halved(now, self.at, ERROR_HALF_LIFE);
        self.measured.then(|| Remembered {
            failures: self.failures * kept,
            successes: self.successes * kept,
            latency_ms: self.latency(now).as_secs_f64() * 1e3,
            out: false,
        })
    }

    /// Takes up what was remembered `age` ago. What is no number that could have been written is left out.
    pub fn recall(&mut self, now: Timestamp, age: Duration, remembered: Remembered) {
        let Remembered { failures, successes, latency_ms, .. } = remembered;
        let sane = |value: f64, max: f64| (0.0..=max).contains(&value);
        if self.measured || !sane(failures, EVIDENCE_MAX) || !sane(successes, EVIDENCE_MAX) {
            return;
        }
        let kept = exp2_of_negative(age.as_secs_f64() / ERROR_HALF_LIFE.as_secs_f64());
        (self.failures, self.successes) = (failures * kept, successes * kept);
        if sane(latency_ms, RECALLED_LATENCY_MAX_MS) {
            self.observe_latency(now, Duration::from_secs_f64(latency_ms / 1e3));
        }
        self.at = now;
    }

    fn fade(&mut self, now: Timestamp) {
        let left = halved(now, self.at, ERROR_HALF_LIFE);
        let kept = left * (EVIDENCE_MAX / (self.failures + self.successes).max(EVIDENCE_MAX));
        self.failures *= kept;
        self.successes *= kept;
        self.alarm *= left;
    }

    /// A long round trip, at a weight: a chance failure among thousands of good answers must not read as a
    /// backend that has become slow, while three in ten do.
    fn observe_failure(&mut self, took: Duration) {
        let took_ns = took.as_nanos() as f64;
        if !self.measured || took_ns < self.latency_ns {
            self.latency_ns = self.latency_ns.max(took_ns);
        } else {
            self.latency_ns += (took_ns - self.latency_ns) * FAILURE_WEIGHT;
        }
        self.measured = true;
    }

    fn observe_latency(&mut self, now: Timestamp, took: Duration) {
        let took_ns = took.as_nanos() as f64;
        if !self.measured || took_ns > self.latency_ns {
            self.latency_ns = took_ns;
        } else {
            // At least a little weight, or a burst of calls within one instant would change nothing.
            let kept = faded(now, self.at, LATENCY_TAU).min(0.95);
            self.latency_ns = self.latency_ns * kept + took_ns * (1.0 - kept);
        }
        self.measured = true;
    }
}

/// One (backend, method class)'s health, to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Evidence of failures, in calls.
    pub failures: f64,
    /// Evidence of good answers, in calls.
    pub successes: f64,
    /// Expected latency in milliseconds.
    pub latency_ms: f64,
    /// It had lost its place.
    pub out: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn h4_one_failure_of_a_fresh_backend_says_little() {
        let mut health = Health::default();
        health.record_failure(at(0), Duration::from_millis(1));
        assert!(health.error_rate(at(0)) < 0.25);
        for _ in 0..5 {
            health.record_failure(at(0), Duration::from_millis(1));
        }
        assert!(health.error_rate(at(0)) > 0.5);
    }

    #[test]
    fn h5_failing_fast_is_not_being_fast() {
        let mut failing = Health::default();
        let mut slow = Health::default();
        failing.record_failure(at(0), Duration::from_micros(200));
        slow.record_success(at(0), Duration::from_millis(600));
        assert!(failing.latency(at(0)) > slow.latency(at(0)));
    }

    #[test]
    fn latency_jumps_up_at_once_and_comes_down_slowly() {
        let mut health = Health::default();
        health.record_success(at(0), Duration::from_millis(10));
        health.record_success(at(10), Duration::from_millis(400));
        assert_eq!(health.latency(at(10)), Duration::from_millis(400));
        health.record_success(at(20), Duration::from_millis(10));
        assert!(health.latency(at(20)) > Duration::from_millis(300));
        for i in 0..200 {
            health.record_success(at(30 + i), Duration::from_millis(10));
        }
        assert!(health.latency(at(230)) < Duration::from_millis(20));
    }

    #[test]
    fn r9_a_cancelled_attempt_is_a_lower_bound() {
        let mut health = Health::default();
        health.record_success(at(0), Duration::from_millis(20));
        health.record_cancelled(at(1), Duration::from_millis(5));
        assert!(health.latency(at(1)) < Duration::from_millis(25));
        health.record_cancelled(at(2), Duration::from_millis(900));
        assert_eq!(health.latency(at(2)), Duration::from_millis(900));
    }

    #[test]
    fn old_sins_are_forgotten() {
        let mut health = Health::default();
        for _ in 0..20 {
            health.record_failure(at(0), Duration::ZERO);
        }
        assert!(health.error_rate(at(0)) > 0.75);
        assert!(health.error_rate(at(90_000)) < 0.12);
    }

    #[test]
    fn h13_what_was_known_before_a_restart_is_known_after_it_and_fades_meanwhile() {
        let mut before = Health::default();
        for _ in 0..40 {
            before.record_failure(at(0), Duration::from_millis(1));
        }
        let remembered = before.remember(at(10)).unwrap();
        let (mut soon, mut late) = (Health::default(), Health::default());
        soon.recall(at(0), Duration::from_secs(5), remembered);
        late.recall(at(0), Duration::from_secs(300), remembered);
        assert!(soon.error_rate(at(0)) > 0.7);
        assert!(late.error_rate(at(0)) < 0.1);
        let mut nonsense = Health::default();
        nonsense.recall(
            at(0),
            Duration::ZERO,
            Remembered { failures: f64::NAN, successes: -1.0, latency_ms: 1e300, out: false },
        );
        assert!(!nonsense.is_known());
        assert_eq!(Health::default().remember(at(0)), None);
    }

    proptest::proptest! {
        #[test]
        fn a_further_failure_never_lowers_the_error_rate(
            past in proptest::collection::vec((proptest::prelude::any::<bool>(), 0u64..5_000), 0..50)
        ) {
            let mut health = Health::default();
            let mut ms = 0;
            for (failed, gap) in past {
                ms += gap;
                if failed {
                    health.record_failure(at(ms), Duration::from_millis(1));
                } else {
                    health.record_success(at(ms), Duration::from_millis(1));
                }
            }
            let before = (health.error_rate(at(ms)), health.latency(at(ms)));
            health.record_failure(at(ms), Duration::from_millis(1));
            proptest::prop_assert!(health.error_rate(at(ms)) >= before.0);
            proptest::prop_assert!(health.latency(at(ms)) >= before.1.min(Duration::from_secs(1)));
        }
    }
}
