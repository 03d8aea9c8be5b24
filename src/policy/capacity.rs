//! How much a backend can take, apart from how well it is: a rate limit is capacity, not illness.
//!
//! The rate that it takes is what the operator says, or what its refusals teach: multiplicative decrease when it
//! refuses, additive increase while it does not (as TCP does). How many calls it takes at once follows its
//! latency: when answers take longer than they used to, fewer are kept under way (Netflix's gradient limit).

use std::time::Duration;

use super::Timestamp;

/// The sending rate is averaged over about this long.
const RATE_TAU: Duration = Duration::from_secs(1);
/// A refusal cuts the rate to this part of what was being sent.
const DECREASE: f64 = 0.7;
/// While nothing is refused the learned rate grows by this part of itself a second.
const INCREASE_PER_S: f64 = 0.02;
/// A learned limit is forgotten when nothing was refused for this long: plans and neighbours change.
const LEARNED_FOR: Duration = Duration::from_secs(600);
/// No refusal teaches a rate below this: one call a second is what a probe makes.
const LEARNED_MIN_PER_S: f64 = 1.0;

/// Calls under way at once: bounds, first guess, and slack for bursts.
const IN_FLIGHT_MIN: f64 = 4.0;
const IN_FLIGHT_MAX: f64 = 1024.0;
const IN_FLIGHT_START: f64 = 64.0;
const IN_FLIGHT_SLACK: f64 = 4.0;
/// How quickly the limit follows its target, per answer.
const IN_FLIGHT_SMOOTHING: f64 = 0.05;
/// Usual latency is averaged over so many answers, recent over a tenth of it.
const USUAL_ANSWERS: f64 = 600.0;
/// Recent latency may be this many times the usual one before the limit shrinks.
const TOLERANCE: f64 = 2.0;

/// What one backend can take.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// The operator's word, in calls a second.
    configured_per_s: Option<f64>,
    /// What refusals taught, and when the last one came.
    learned: Option<(f64, Timestamp)>,
    sending_per_s: f64,
    sent_at: Timestamp,
    in_flight_max: f64,
    usual_latency_ns: f64,
    recent_latency_ns: f64,
}

impl Capacity {
    /// A backend with a known limit in calls a second, or none.
    pub fn new(configured_per_s: Option<f64>) -> Self {
        Self {
            configured_per_s: configured_per_s.filter(|rate| *rate > 0.0),
            learned: None,
            sending_per_s: 0.0,
            sent_at: Timestamp::ZERO,
            in_flight_max: IN_FLIGHT_START,
            usual_latency_ns: 0.0,
            recent_latency_ns: 0.0,
        }
    }

    /// A call is sent.
    pub(super) fn sent(&mut self, now: Timestamp) {
        self.sending_per_s = self.sending_per_s(now) + 1.0 / RATE_TAU.as_secs_f64();
        self.sent_at = now;
    }

    /// Calls a second, lately.
    pub fn sending_per_s(&self, now: Timestamp) -> f64 {
        self.sending_per_s * (-now.since(self.sent_at).as_secs_f64() / RATE_TAU.as_secs_f64()).exp()
    }

    /// It refused a call for a limit.
    pub(super) fn refused(&mut self, now: Timestamp) {
        let sending = self.sending_per_s(now);
        let before = self.limit_per_s(now).unwrap_or(sending).min(sending.max(LEARNED_MIN_PER_S));
        self.learned = Some(((before * DECREASE).max(LEARNED_MIN_PER_S), now));
    }

    /// It answered a call after `took`.
    pub(super) fn answered(&mut self, took: Duration) {
        let took_ns = took.as_nanos() as f64;
        if self.usual_latency_ns == 0.0 {
            (self.usual_latency_ns, self.recent_latency_ns) = (took_ns, took_ns);
        }
        self.usual_latency_ns += (took_ns - self.usual_latency_ns) / USUAL_ANSWERS;
        self.recent_latency_ns += (took_ns - self.recent_latency_ns) * 10.0 / USUAL_ANSWERS;
        let gradient = (TOLERANCE * self.usual_latency_ns / self.recent_latency_ns.max(1.0)).clamp(0.5, 1.0);
        let target = self.in_flight_max * gradient + IN_FLIGHT_SLACK;
        self.in_flight_max += (target - self.in_flight_max) * IN_FLIGHT_SMOOTHING;
        self.in_flight_max = self.in_flight_max.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX);
    }

    /// Calls a second that it takes, as far as is known.
    pub fn limit_per_s(&self, now: Timestamp) -> Option<f64> {
        let learned = self.learned.and_then(|(rate, at)| {
            let age = now.since(at);
            (age < LEARNED_FOR).then_some(rate * (1.0 + INCREASE_PER_S * age.as_secs_f64()))
        });
        match (self.configured_per_s, learned) {
            (Some(configured), Some(learned)) => Some(configured.min(learned)),
            (configured, learned) => configured.or(learned),
        }
    }

    /// How much of what it can take is in use: 1 is all of it. The scarcer of rate and calls under way.
    pub fn utilisation(&self, now: Timestamp, in_flight: u32) -> f64 {
        let rate = self.limit_per_s(now).map_or(0.0, |limit| self.sending_per_s(now) / limit);
        rate.max(f64::from(in_flight) / self.in_flight_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn send(capacity: &mut Capacity, from_ms: u64, seconds: u64, per_s: u64) {
        for n in 0..seconds * per_s {
            capacity.sent(at(from_ms + n * 1000 / per_s));
        }
    }

    #[test]
    fn h7_a_refusal_teaches_a_rate_below_the_one_that_was_refused() {
        let mut capacity = Capacity::new(None);
        send(&mut capacity, 0, 5, 100);
        assert_eq!(capacity.utilisation(at(5_000), 0), 0.0, "nothing is known yet");
        capacity.refused(at(5_000));
        let limit = capacity.limit_per_s(at(5_000)).unwrap();
        assert!((60.0..80.0).contains(&limit), "{limit}");
        assert!(capacity.utilisation(at(5_000), 0) > 1.0);
        assert!(capacity.limit_per_s(at(35_000)).unwrap() > limit * 1.5, "it is tried again");
        assert_eq!(capacity.limit_per_s(at(700_000)), None);
    }

    #[test]
    fn the_operators_word_bounds_what_is_learned() {
        let mut capacity = Capacity::new(Some(50.0));
        send(&mut capacity, 0, 5, 40);
        assert!((0.7..0.9).contains(&capacity.utilisation(at(5_000), 0)));
        capacity.refused(at(5_000));
        assert!(capacity.limit_per_s(at(5_000)).unwrap() < 35.0);
        assert!(capacity.limit_per_s(at(500_000)).unwrap() <= 50.0);
    }

    #[test]
    fn a_backend_that_slows_down_gets_fewer_calls_at_once() {
        let mut capacity = Capacity::new(None);
        for _ in 0..2_000 {
            capacity.answered(Duration::from_millis(50));
        }
        let calm = capacity.utilisation(at(0), 100);
        for _ in 0..200 {
            capacity.answered(Duration::from_millis(1_000));
        }
        assert!(capacity.utilisation(at(0), 100) > 4.0 * calm);
        for _ in 0..5_000 {
            capacity.answered(Duration::from_millis(50));
        }
        assert!(capacity.utilisation(at(0), 100) < 2.0 * calm);
    }
}
