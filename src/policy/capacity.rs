//! How much a backend can take, apart from how well it is: a rate limit is capacity, not illness.
//!
//! The rate that it takes is what the operator says, or what its refusals teach: what it answers while it refuses is
//! what it takes. From there on the rate is raised slowly at first, in case it is exact, and then faster and
//! faster, in case the shortage is over (as TCP's CUBIC does, RFC 9438). How many calls it takes at once follows its
//! latency: when answers take longer than they used to, fewer are kept under way (Netflix's gradient limit).

use std::time::Duration;

use super::Timestamp;
use super::rate::Rate;

/// A refusal cuts the rate to this part of what is answered: what was refused would be refused again.
const DECREASE: f64 = 0.95;
/// One lesson leaves at least this part of what was known.
const LESSON_MAX: f64 = 0.7;
/// After this long without a refusal the learned rate grows in earnest, with the third power of time.
const CONVEX_AFTER: Duration = Duration::from_secs(10);
/// Each refusal that finds the same limit again, within this part of it, makes that twice as long, and no longer than this:
/// a limit that is exact is not to be run into every few seconds.
const SAME_LIMIT: f64 = 0.15;
const CONVEX_AFTER_MAX: Duration = Duration::from_secs(80);
/// After this part of it more than a little has been tried.
const TRIED_PART: u32 = 5;
/// Until then it grows by this part of itself.
const INCREASE: f64 = 0.2;
/// But never beyond so many times what it answers now.
const GROWTH_MAX: f64 = 1.5;
/// A backend that answers less than this part of what it is sent is ill rather than short of capacity.
const SHORT_NOT_ILL: f64 = 0.2;
/// Nor does one that refuses so many in a row.
const ILL_IN_A_ROW: u32 = 6;
/// The rate is cut once in this time.
const ONE_LESSON: Duration = Duration::from_secs(1);
/// A full queue refuses more than a call now and then: so many a second, and this part of all.
const OVERLOADED_PER_S: f64 = 3.0;
const OVERLOADED_SHARE: f64 = 0.1;
/// Below this rate it is hardly our calls that are too many.
const SHORT_FROM_PER_S: f64 = 5.0;
/// So much of a known limit is used before a part of the traffic goes to others.
const HEADROOM: f64 = 0.9;
/// From this part of its calls under way on, part of the traffic goes to others.
const CROWDED_FROM: f64 = 0.8;
/// A refusal tells of a limit for this long.
const REFUSED_LATELY: Duration = Duration::from_secs(10);
/// A learned limit is forgotten when nothing was refused for this long: plans and neighbours change.
const LEARNED_FOR: Duration = Duration::from_secs(600);
/// No refusal teaches a rate below this: one call a second is what a probe makes.
const LEARNED_MIN_PER_S: f64 = 1.0;

/// Calls under way at once: bounds, first guess, and slack for bursts.
const IN_FLIGHT_MIN: f64 = 4.0;
const IN_FLIGHT_MAX: f64 = 1024.0;
const IN_FLIGHT_START: f64 = 24.0;
const IN_FLIGHT_SLACK: f64 = 4.0;
/// From this part of the limit on it has been tried.
const TRIED: f64 = 0.5;
/// How quickly the limit follows its target, per answer.
const IN_FLIGHT_SMOOTHING: f64 = 0.05;
/// Usual latency is averaged over so many answers, recent over a tenth of it.
const USUAL_ANSWERS: f64 = 600.0;
/// Of the first so many answers the plain average is the usual latency.
const FIRST_ANSWERS: u32 = 32;
/// While answers take so many times as long as usual, that becomes the usual more slowly by the second factor: a queue that stays full is
/// no new way there, and without this it would be after some seconds.
const SLOW: f64 = 1.5;
const RELUCTANCE: f64 = 16.0;
/// Recent latency may be this many times the usual one before the limit shrinks.
const TOLERANCE: f64 = 2.0;

/// What one backend can take.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// The operator's word, in calls a second.
    configured_per_s: Option<f64>,
    /// What refusals taught.
    learned: Option<Learned>,
    refused_in_a_row: u32,
    sending: Rate,
    answering: Rate,
    overloading: Rate,
    in_flight_max: f64,
    /// Up to [`FIRST_ANSWERS`].
    answers: u32,
    usual_latency_ns: f64,
    recent_latency_ns: f64,
}

impl Capacity {
    /// A backend with a known limit in calls a second, or none.
    pub fn new(configured_per_s: Option<f64>) -> Self {
        Self {
            configured_per_s: configured_per_s.filter(|rate| *rate > 0.0),
            learned: None,
            refused_in_a_row: 0,
            sending: Rate::default(),
            answering: Rate::default(),
            overloading: Rate::default(),
            in_flight_max: IN_FLIGHT_START,
            answers: 0,
            usual_latency_ns: 0.0,
            recent_latency_ns: 0.0,
        }
    }

    /// A call is sent.
    pub(super) fn sent(&mut self, now: Timestamp) {
        self.sending.count(now);
    }

    /// Calls a second, lately.
    pub fn sending_per_s(&self, now: Timestamp) -> f64 {
        self.sending.per_s(now)
    }

    /// It refused a call for a limit.
    pub(super) fn refused(&mut self, now: Timestamp) {
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        // Calls that were under way together are refused together: one lesson.
        if self.learned.is_some_and(|learned| now.since(learned.refused_at) < ONE_LESSON) {
            return;
        }
        let takes = (self.answering.per_s(now) * DECREASE).max(LEARNED_MIN_PER_S);
        // Who is sent less answers less, which is no news of what it takes.
        let (at_least, at_most) =
            self.learned_per_s(now).map_or((0.0, f64::INFINITY), |known| (known * LESSON_MAX, known));
        let per_s = takes.max(at_least).min(at_most);
        let convex_after = match self.learned {
            Some(before) if (per_s - before.per_s).abs() > SAME_LIMIT * before.per_s => CONVEX_AFTER,
            // More was tried, and refused.
            Some(before) if now.since(before.since) >= before.convex_after / TRIED_PART => {
                (before.convex_after * 2).min(CONVEX_AFTER_MAX)
            }
            Some(before) => before.convex_after,
            None => CONVEX_AFTER,
        };
        self.learned = Some(Learned { per_s, since: now, refused_at: now, convex_after });
    }

    /// It refused a call for want of resources, as a full queue does. Whether its queue is full: it answers a good
    /// part, and that much later than usual. Who refuses and answers as quickly as ever is ill.
    pub(super) fn overloaded(&mut self, now: Timestamp) -> bool {
        self.overloading.count(now);
        if self.is_short(now) && self.recent_latency_ns >= TOLERANCE * self.usual_latency_ns {
            self.refused(now);
            return true;
        }
        let often =
            self.overloading.per_s(now) >= OVERLOADED_PER_S.max(OVERLOADED_SHARE * self.sending.per_s(now));
        match often && self.is_short(now) {
            true => self.refused(now),
            false => self.refused_in_a_row = self.refused_in_a_row.saturating_add(1),
        }
        false
    }

    /// Whether calls that it refuses now (a full queue, HTTP 503) say how much it takes: it answers a good part of
    /// many. One that answers hardly any, or refuses some of a few, is ill, which is another matter.
    pub(super) fn is_short(&self, now: Timestamp) -> bool {
        let sending = self.sending.per_s(now);
        self.refused_in_a_row < ILL_IN_A_ROW
            && sending >= SHORT_FROM_PER_S
            && self.answering.per_s(now) >= SHORT_NOT_ILL * sending
    }

    /// It answered a call after `took`, with so many others under way.
    pub(super) fn answered(&mut self, now: Timestamp, took: Duration, in_flight: u32) {
        self.answering.count(now);
        self.refused_in_a_row = 0;
        // Refusals come back sooner than answers: the first guess may have been too low.
        if let Some(known) = self.learned_per_s(now) {
            let takes = self.answering.per_s(now) * DECREASE;
            if let Some(learned) = self.learned.as_mut().filter(|_| takes > known) {
                (learned.per_s, learned.since) = (takes, now);
            }
        }
        let took_ns = took.as_nanos() as f64;
        self.answers = (self.answers + 1).min(FIRST_ANSWERS);
        let is_slow =
            self.recent_latency_ns >= SLOW * self.usual_latency_ns && took_ns > self.usual_latency_ns;
        let answers = match self.answers {
            // One of the first answers alone may be far from what is usual.
            first if first < FIRST_ANSWERS => f64::from(first),
            _ => USUAL_ANSWERS * if is_slow { RELUCTANCE } else { 1.0 },
        };
        self.usual_latency_ns += (took_ns - self.usual_latency_ns) / answers;
        self.recent_latency_ns += (took_ns - self.recent_latency_ns) / answers.min(USUAL_ANSWERS / 10.0);
        let gradient = (TOLERANCE * self.usual_latency_ns / self.recent_latency_ns.max(1.0)).clamp(0.5, 1.0);
        let target = self.in_flight_max * gradient + IN_FLIGHT_SLACK;
        // What has not been tried says nothing of how much more it would take.
        if target < self.in_flight_max || f64::from(in_flight) >= TRIED * self.in_flight_max {
            self.in_flight_max += (target - self.in_flight_max) * IN_FLIGHT_SMOOTHING;
        }
        self.in_flight_max = self.in_flight_max.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX);
    }

    /// Calls a second that it takes, as far as is known.
    pub fn limit_per_s(&self, now: Timestamp) -> Option<f64> {
        match (self.configured_per_s, self.learned_per_s(now)) {
            (Some(configured), Some(learned)) => Some(configured.min(learned)),
            (configured, learned) => configured.or(learned),
        }
    }

    /// The share of `demand_per_s`, calls that would all go here, that it can take: 0 to 1.
    pub fn room(&self, now: Timestamp, in_flight: u32, demand_per_s: f64) -> f64 {
        let of_rate = self.limit_per_s(now).map_or(1.0, |limit| {
            // What it is sent beyond its share (retries, copies) takes from its room too.
            let demand = demand_per_s.max(self.sending_per_s(now));
            HEADROOM * limit / demand.max(f64::MIN_POSITIVE)
        });
        let used = f64::from(in_flight) / self.in_flight_max;
        // Mostly there is place, and every decision asks everybody.
        if used <= CROWDED_FROM {
            return of_rate.min(1.0);
        }
        of_rate.min(1.0) * (1.0 - ((used - CROWDED_FROM) / (1.0 - CROWDED_FROM)).min(1.0))
    }

    /// Whether a limit was learned and its latest calls were not all refused.
    pub(super) fn knows_its_limit(&self, now: Timestamp) -> bool {
        self.refused_in_a_row < ILL_IN_A_ROW && self.learned_per_s(now).is_some()
    }

    fn learned_per_s(&self, now: Timestamp) -> Option<f64> {
        let learned = self.learned.filter(|learned| now.since(learned.refused_at) < LEARNED_FOR)?;
        let age = now.since(learned.since).as_secs_f64() / learned.convex_after.as_secs_f64();
        let growth = 1.0 + INCREASE * age + cubed(age);
        // What has not been tried is not believed: an idle backend's limit stays what it was.
        let tried = learned.per_s.max(GROWTH_MAX * self.answering.per_s(now));
        Some((learned.per_s * growth).min(tried))
    }

    /// Calls a second that it is sent and that it can take, where it has shown that lately by refusing some. A limit that
    /// nobody has run into shows nothing, and answers that take long may take so because of our own machine.
    pub fn load(&self, now: Timestamp, in_flight: u32) -> Option<(f64, f64)> {
        self.learned.filter(|learned| now.since(learned.refused_at) < REFUSED_LATELY)?;
        let is_congested = f64::from(in_flight) >= CROWDED_FROM * self.in_flight_max
            && self.recent_latency_ns >= TOLERANCE * self.usual_latency_ns;
        let sent = self.sending_per_s(now);
        // Who refuses everything, or some of a few, is not short of room.
        let of_rate = self.limit_per_s(now).filter(|_| self.is_short(now));
        let of_place = is_congested.then(|| sent * self.in_flight_max / f64::from(in_flight));
        let takes = of_rate.unwrap_or(f64::INFINITY).min(of_place.unwrap_or(f64::INFINITY));
        takes.is_finite().then_some((sent, takes))
    }

    /// How much of what it can take is in use: 1 is all of it. The scarcer of rate and calls under way.
    pub fn utilisation(&self, now: Timestamp, in_flight: u32) -> f64 {
        let rate = self.limit_per_s(now).map_or(0.0, |limit| self.sending_per_s(now) / limit);
        rate.max(f64::from(in_flight) / self.in_flight_max)
    }
}

fn cubed(x: f64) -> f64 {
    x * x * x
}

/// A limit that refusals taught.
#[derive(Clone, Copy, Debug)]
struct Learned {
    per_s: f64,
    /// From when on it grows.
    since: Timestamp,
    refused_at: Timestamp,
    /// When that is in earnest.
    convex_after: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    /// Calls at a steady rate for some seconds, of which it answers so many a second and refuses the others.
    fn send(capacity: &mut Capacity, from_ms: u64, seconds: u64, per_s: u64, takes_per_s: u64) {
        for n in 0..seconds * per_s {
            let now = at(from_ms + n * 1000 / per_s);
            capacity.sent(now);
            match (n * takes_per_s) / per_s == ((n + 1) * takes_per_s) / per_s {
                true => capacity.refused(now),
                false => capacity.answered(now, Duration::from_millis(50), 0),
            }
        }
    }

    #[test]
    fn h7_who_refuses_with_a_full_queue_is_short_and_who_refuses_as_quickly_as_ever_is_ill() {
        let is_full = |slow_ms| {
            let mut capacity = Capacity::new(None);
            for ms in (0..4_000).step_by(10) {
                let took = if ms < 3_000 { 100 } else { slow_ms };
                capacity.sent(at(ms));
                capacity.answered(at(ms), Duration::from_millis(took), 0);
            }
            capacity.overloaded(at(4_000))
        };
        assert!(is_full(1_000));
        assert!(!is_full(100));
    }

    #[test]
    fn h7_what_a_backend_answers_while_it_refuses_is_what_it_takes() {
        let mut capacity = Capacity::new(None);
        send(&mut capacity, 0, 5, 100, 100);
        assert_eq!(capacity.utilisation(at(5_000), 0), 0.0, "nothing is known yet");
        send(&mut capacity, 5_000, 5, 100, 60);
        let limit = capacity.limit_per_s(at(10_000)).unwrap();
        assert!((50.0..65.0).contains(&limit), "{limit}");
        assert!(capacity.utilisation(at(10_000), 0) > 1.0);
        assert_eq!(capacity.load(at(10_000), 0).map(|(_, takes)| takes), Some(limit));
        assert!(capacity.limit_per_s(at(20_000)).unwrap() <= limit, "what is not tried is not believed");
        send(&mut capacity, 10_000, 3, 57, 57);
        let soon = capacity.limit_per_s(at(13_000)).unwrap();
        assert!((limit..1.2 * limit).contains(&soon), "a little more is tried soon: {soon}");
        send(&mut capacity, 13_000, 27, 100, 100);
        let later = capacity.limit_per_s(at(40_000)).unwrap();
        assert!(later > 140.0, "and much more when nothing is refused: {later}");
        assert_eq!(capacity.load(at(40_000), 0), None);
        assert_eq!(capacity.limit_per_s(at(700_000)), None, "old refusals are forgotten");
    }

    #[test]
    fn answers_that_come_after_the_refusals_correct_the_first_guess() {
        let mut capacity = Capacity::new(None);
        for _ in 0..100 {
            capacity.sent(at(0));
        }
        capacity.refused(at(10));
        assert!(capacity.limit_per_s(at(10)).unwrap() < 2.0);
        for _ in 0..60 {
            capacity.answered(at(100), Duration::from_millis(100), 0);
        }
        assert!(capacity.limit_per_s(at(100)).unwrap() > 50.0);
    }

    #[test]
    fn who_fails_nearly_everything_or_some_of_a_few_calls_is_ill_and_not_short() {
        for (per_s, answers_one_in, is_short) in [(100, 2, true), (100, 10, false), (2, 2, false)] {
            let mut capacity = Capacity::new(None);
            for n in 1..=per_s * 10 {
                let now = at(n * 1000 / per_s);
                capacity.sent(now);
                if n.is_multiple_of(answers_one_in) {
                    capacity.answered(now, Duration::from_millis(50), 0);
                }
            }
            assert_eq!(capacity.is_short(at(10_000)), is_short, "{per_s} {answers_one_in}");
        }
    }

    #[test]
    fn the_operators_word_bounds_what_is_learned() {
        let mut capacity = Capacity::new(Some(50.0));
        send(&mut capacity, 0, 5, 40, 40);
        assert!((0.7..0.9).contains(&capacity.utilisation(at(5_000), 0)));
        assert_eq!(capacity.load(at(5_000), 0), None, "nobody has run into it");
        send(&mut capacity, 5_000, 5, 40, 30);
        assert!(capacity.limit_per_s(at(10_000)).unwrap() < 35.0);
        assert!(capacity.limit_per_s(at(500_000)).unwrap() <= 50.0);
    }

    #[test]
    fn a_backend_that_slows_down_gets_fewer_calls_at_once() {
        let mut capacity = Capacity::new(None);
        for _ in 0..2_000 {
            capacity.answered(at(0), Duration::from_millis(50), 1000);
        }
        let calm = capacity.utilisation(at(0), 100);
        for _ in 0..200 {
            capacity.answered(at(0), Duration::from_millis(1_000), 1000);
        }
        assert!(capacity.utilisation(at(0), 100) > 4.0 * calm);
        for _ in 0..5_000 {
            capacity.answered(at(0), Duration::from_millis(50), 1000);
        }
        assert!(capacity.utilisation(at(0), 100) < 2.0 * calm);
    }
}
