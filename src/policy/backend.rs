//! One backend as the policy knows it: what was configured, and what its answers taught.

use std::sync::Arc;
use std::time::Duration;

use crate::ethereum::MethodClass;

use super::capacity::Capacity;
use super::domain::DomainLabels;
use super::experience::Experience;
use super::health::Health;
use super::log_limits::LogLimits;
use super::pace::Pace;
use super::probes::Lookout;
use super::reach::{Lag, Reach};
use super::retention::Retention;
use super::retirement::Retirement;
use super::{Class, Outcome, Timestamp};

/// No word of a backend keeps it out longer than this; then it is asked again.
const COOL_DOWN_MAX: Duration = Duration::from_secs(3600);
/// "Method not found" is believed this long at first, twice as long each time it is heard again, and never longer:
/// a gateway that is ill says it of methods that it has, and nodes are upgraded.
const UNSUPPORTED_FOR: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Methods remembered as unsupported, per backend. Past it the oldest is forgotten.
const UNSUPPORTED_MAX: usize = 64;
/// One hard failure may be chance (a reset, one full queue); the second in a row is a pattern.
const COOL_AFTER_CONSECUTIVE: u32 = 2;
/// So is it here.
const DOWN_AFTER: u32 = 2;
/// The share of calls that a backend refuses here and there, for what they ask or whom they are about: at least this,
/// and what the latest so many calls told.
const REFUSES_AT_LEAST: f64 = 0.005;
const REFUSES_CALLS: f64 = 60.0;
/// So many refusals in a row that chance brings them about no more often than this are about more than the calls.
const NO_CHANCE: f64 = 1e-4;
/// And so many are, whatever it refuses otherwise.
const REFUSED_MAX: u32 = 8;
/// What is heard of a provider from another chain counts for this long, or until the backend answers here.
const RUMOUR_FOR: Duration = Duration::from_secs(10);
/// A backend that answered within this time has an account that works.
const ANSWERED_LATELY: Duration = Duration::from_secs(10);
/// A limit that names no time usually counts per second.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);
/// A full queue empties in moments; whether it is more than that is found by copies, which a longer pause would
/// hold up.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(2);
/// No backend is asked again sooner than this after it named a time.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(250);

/// Backups serve only while no primary can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Serves in calm weather.
    #[default]
    Primary,
    /// Serves when no primary can.
    Backup,
}

/// What the operator says of a backend.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Unique within the chain.
    pub name: Arc<str>,
    /// Primary or backup.
    pub tier: Tier,
    /// Takes transactions only, and where one exists transactions go nowhere else.
    pub private: bool,
    /// What it shares with others.
    pub labels: DomainLabels,
    /// A known limit, in calls a second.
    pub limit_per_s: Option<f64>,
}

/// Whether a backend is known to serve the chain it is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not asked yet, or it did not answer.
    Unknown,
    /// It said the right chain id, or cannot say one at all (transaction relays).
    Confirmed,
    /// It serves another chain. Never used, not even when everything else is down.
    WrongChain,
}

/// Why and until when a backend is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Cooling {
    /// When it may be asked again.
    pub until: Timestamp,
    /// What it said.
    pub class: Class,
    /// It named the time itself, or a limit did: asking earlier would only prolong it.
    pub by_its_word: bool,
    /// Since when.
    since: Timestamp,
    /// It was a call that is no client's that met this.
    by_probe: bool,
}

/// A method that the backend does not offer.
#[derive(Clone, Copy, Debug)]
struct Lacking {
    method: &'static str,
    /// When it was last said, in answer to a call that was made because the word before it had grown old.
    since: Timestamp,
    believed_for: Duration,
    /// When it was last said at all.
    said_at: Timestamp,
    /// It said so itself; else it only looks like it.
    by_its_word: bool,
    /// How often in a row.
    times: u32,
}

/// One backend: what was configured and what was learned.
#[derive(Debug)]
pub struct Backend {
    pub(super) spec: BackendSpec,
    pub(super) identity: Identity,
    pub(super) cordoned: bool,
    pub(super) experience: [Experience; MethodClass::COUNT],
    pub(super) capacity: Capacity,
    pub(super) pace: Option<Pace>,
    pub(super) retirement: Retirement,
    pub(super) lookout: Lookout,
    pub(super) reach: Reach,
    pub(super) lag: Lag,
    pub(super) retention: Retention,
    pub(super) log_limits: LogLimits,
    cooling: Option<Cooling>,
    unsupported: Vec<Lacking>,
    in_flight: u32,
    attempts: u64,
    failures: u64,
    /// Over all classes, probes included: whether anybody is there at all.
    failures_in_a_row: u32,
    failing_since: Option<Timestamp>,
    /// Clients' calls in a row that were refused as by an account, and the share of such calls before.
    refused_in_a_row: u32,
    refuses: f64,
    last_failure: Option<(Class, Timestamp)>,
    /// Its latest good answer to a client's call, or to one like it.
    answered_at: Option<Timestamp>,
    /// When its provider was last heard to fail elsewhere.
    rumoured_at: Option<Timestamp>,
}

impl Backend {
    /// Depths in blocks at which its state, and its bodies, receipts and logs, end; `None` where that is not known.
    pub fn retention(&self, now: Timestamp) -> [Option<u64>; 2] {
        self.retention.known(now)
    }

    /// Blocks that it searches for logs at once; `None` where that is not known.
    pub fn log_range_max(&self, now: Timestamp) -> Option<u64> {
        self.log_limits.known(now)
    }

    pub(super) fn new(spec: BackendSpec) -> Self {
        Self {
            capacity: Capacity::new(spec.limit_per_s),
            spec,
            identity: Identity::Unknown,
            cordoned: false,
            experience: Default::default(),
            pace: None,
            retirement: Retirement::default(),
            lookout: Lookout::default(),
            reach: Reach::default(),
            lag: Lag::default(),
            retention: Retention::default(),
            log_limits: LogLimits::default(),
            cooling: None,
            unsupported: Vec::new(),
            in_flight: 0,
            attempts: 0,
            failures: 0,
            failures_in_a_row: 0,
            failing_since: None,
            refused_in_a_row: 0,
            refuses: REFUSES_AT_LEAST,
            last_failure: None,
            answered_at: None,
            rumoured_at: None,
        }
    }

    /// What the operator said of it.
    pub fn spec(&self) -> &BackendSpec {
        &self.spec
    }

    /// Whether it serves the right chain.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Taken out by the operator.
    pub fn is_cordoned(&self) -> bool {
        self.cordoned
    }

    /// Experience with one class of methods.
    pub fn experience(&self, class: MethodClass) -> &Experience {
        &self.experience[class.index()]
    }

    /// The same, as far as errors and expected latency go.
    pub fn health(&self, class: MethodClass) -> &Health {
        &self.experience(class).health
    }

    /// What it can take.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// How much of what it can take is in use; 1 is all of it.
    pub fn utilisation(&self, now: Timestamp) -> f64 {
        self.capacity.utilisation(now, self.in_flight)
    }

    /// The share of `demand_per_s`, calls that would all go here, that it can take.
    pub(super) fn room(&self, now: Timestamp, demand_per_s: f64) -> f64 {
        self.capacity.room(now, self.in_flight, demand_per_s)
    }

    /// Whether it answers, and refuses what is more than it can take.
    pub(super) fn is_short(&self, now: Timestamp) -> bool {
        self.capacity.knows_its_limit(now)
    }

    /// Calls a second that it is sent and that it can take, where it has shown its limit lately.
    pub(super) fn load(&self, now: Timestamp) -> Option<(f64, f64)> {
        self.capacity.load(now, self.in_flight)
    }

    /// What it has used of its monthly budget, where it has one.
    pub fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref()
    }

    /// Whether it is gone for good.
    pub fn retirement(&self) -> &Retirement {
        &self.retirement
    }

    /// Why it is left alone, while it is.
    pub fn cooling(&self, now: Timestamp) -> Option<Cooling> {
        let retired = self.retirement.retired().map(|retired| Cooling {
            until: retired.next_probe,
            class: retired.class,
            by_its_word: false,
            since: retired.since,
            by_probe: false,
        });
        retired.or_else(|| self.pause(now))
    }

    /// The same, where it is to be asked again soon.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Cooling> {
        self.cooling.filter(|cooling| cooling.until > now)
    }

    /// Whether it has failed whatever was asked of it lately, probes included.
    pub fn is_down(&self) -> bool {
        self.failures_in_a_row >= DOWN_AFTER
    }

    /// Whether it could be asked now with some hope.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.identity == Identity::Confirmed
            && !self.cordoned
            && !self.is_down()
            && self.retirement.retired().is_none()
            && !self.pace.is_some_and(|pace| pace.is_exhausted())
            && !self.cooling(now).is_some_and(|cooling| is_about_the_account(cooling.class))
    }

    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Since when nothing good has come of it.
    pub(super) fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// Whether a client's call, or one like it, was answered since then.
    pub(super) fn answered_since(&self, since: Timestamp) -> bool {
        self.answered_at.is_some_and(|at| at >= since)
    }

    /// Its provider fails on another chain, and it has not answered here since.
    pub fn is_rumoured(&self, now: Timestamp) -> bool {
        self.rumoured_at.is_some_and(|heard| {
            now.since(heard) < RUMOUR_FOR && self.answered_at.is_none_or(|answered| answered < heard)
        })
    }

    pub(super) fn hear(&mut self, now: Timestamp) {
        self.rumoured_at = Some(now);
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Attempts and failures since the start.
    pub fn totals(&self) -> (u64, u64) {
        (self.attempts, self.failures)
    }

    /// The latest failure that was its own fault.
    pub fn last_failure(&self) -> Option<(Class, Timestamp)> {
        self.last_failure
    }

    /// Whether it said of late that it does not offer the method.
    pub(super) fn lacks_method(&self, now: Timestamp, method: Option<&'static str>) -> bool {
        self.believed_lack(now, method).is_some_and(|lacking| lacking.by_its_word)
    }

    /// Whether it only looks as if it did not offer the method: others are asked first, and it is asked all the
    /// same when nobody else is left.
    pub(super) fn seems_to_lack_method(&self, now: Timestamp, method: Option<&'static str>) -> bool {
        self.believed_lack(now, method).is_some_and(|lacking| !lacking.by_its_word)
    }

    fn believed_lack(&self, now: Timestamp, method: Option<&'static str>) -> Option<&Lacking> {
        self.lacking(method).filter(|lacking| now.since(lacking.since) < lacking.believed_for)
    }

    /// When it last said that it lacks the method.
    pub(super) fn denied_at(&self, method: Option<&'static str>) -> Option<Timestamp> {
        self.lacking(method).filter(|lacking| lacking.by_its_word).map(|lacking| lacking.said_at)
    }

    fn lacking(&self, method: Option<&'static str>) -> Option<&Lacking> {
        let method = method?;
        self.unsupported.iter().find(|lacking| lacking.method == method)
    }

    pub(super) fn started(&mut self, now: Timestamp, class: MethodClass) {
        self.in_flight += 1;
        self.attempts += 1;
        self.capacity.sent(now);
        self.experience[class.index()].started(now);
    }

    /// Whether it has answered any call since one that began so long ago.
    pub(super) fn answered_after(&self, now: Timestamp, ago: Duration) -> bool {
        self.answered_at.is_some_and(|at| now.since(at) < ago)
    }

    /// An attempt is over, whatever it came to.
    pub(super) fn ended(&mut self, class: MethodClass) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.experience[class.index()].ended();
    }

    /// Books what an attempt came to: whether that was good, bad or neither, and whether the backend is left
    /// alone from now on.
    pub(super) fn learn(
        &mut self,
        now: Timestamp,
        class: MethodClass,
        method: Option<&'static str>,
        took: Duration,
        outcome: &Outcome,
    ) -> (Lesson, bool) {
        let about_the_method = self.is_about_the_method(now, outcome, class, method);
        let experience = &mut self.experience[class.index()];
        experience.was_heard(now);
        let lesson = match outcome.class {
            _ if about_the_method => {
                self.lack(now, method, false, is_on_few_plans(class));
                Lesson::Nothing
            }
            Class::RateLimited => {
                self.capacity.refused(now);
                Lesson::Nothing
            }
            Class::MethodUnsupported => {
                self.lack(now, method, true, true);
                Lesson::Nothing
            }
            Class::WrongChain => {
                self.identity = Identity::WrongChain;
                Lesson::Nothing
            }
            _ if outcome.hurts_health => {
                // A full queue is capacity, as a rate limit is.
                if outcome.class == Class::Overloaded && self.capacity.overloaded(now) {
                    Lesson::Nothing
                } else {
                    experience.health.record_failure(now, took);
                    Lesson::Failed
                }
            }
            _ => {
                experience.health.record_success(now, took);
                experience.latencies.record(now, took);
                self.capacity.answered(now, took, self.in_flight);
                self.answered_at = Some(now);
                self.has(method);
                self.end_refusals();
                self.retirement.answered(now, took);
                // Sent after the refusal: no straggler from before it.
                self.account_works(|cooling| now.since(cooling.since) >= took);
                Lesson::Answered
            }
        };
        let consecutive = self.experience[class.index()].health.consecutive_failures();
        // Whoever likes can ask for what a plan lacks, twice in a row too: that makes no backend look dead.
        if !(about_the_method && is_on_few_plans(class)) {
            self.note(now, outcome);
            if is_about_the_account(outcome.class) {
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
            }
        }
        if !about_the_method {
            self.note_refusal(now, outcome);
        }
        let paused = !about_the_method && self.cool(now, outcome, consecutive, false);
        (lesson, paused)
    }

    /// `at_once`: the first time is believed, else what a call asked for may have been the reason.
    fn lack(&mut self, now: Timestamp, method: Option<&'static str>, by_its_word: bool, at_once: bool) {
        let Some(method) = method else { return };
        let (mut since, mut believed_for, mut times) = (now, UNSUPPORTED_FOR.0, 1);
        if let Some(known) = self.lacking(Some(method)) {
            times = known.times.saturating_add(1);
            if now.since(known.since) < known.believed_for {
                // Calls that were under way together say it together.
                (since, believed_for) = (known.since, known.believed_for);
            } else if !known.believed_for.is_zero() {
                believed_for = (known.believed_for * 2).min(UNSUPPORTED_FOR.1);
            }
        }
        if !at_once && !self.is_no_chance(times) {
            believed_for = Duration::ZERO;
        }
        let lacking = Lacking { method, since, believed_for, said_at: now, by_its_word, times };
        self.has(Some(method));
        if self.unsupported.len() == UNSUPPORTED_MAX {
            self.unsupported.remove(0);
        }
        self.unsupported.push(lacking);
    }

    /// It answered a call of this method.
    fn has(&mut self, method: Option<&'static str>) {
        if let Some(method) = method {
            self.unsupported.retain(|lacking| lacking.method != method);
        }
    }

    /// An answer came: what was refused before it may have been about those calls.
    fn end_refusals(&mut self) {
        for _ in 0..self.refused_in_a_row.min(REFUSED_MAX) {
            self.refuses += (1.0 - self.refuses) / REFUSES_CALLS;
        }
        self.refused_in_a_row = 0;
        self.refuses = (self.refuses * (1.0 - 1.0 / REFUSES_CALLS)).max(REFUSES_AT_LEAST);
    }

    /// Whether so many refusals in a row are more than chance, as much as it refuses otherwise.
    fn is_no_chance(&self, in_a_row: u32) -> bool {
        let mut chance = 1.0;
        in_a_row >= REFUSED_MAX
            || (0..in_a_row).any(|_| {
                chance *= self.refuses;
                chance <= NO_CHANCE
            })
    }

    /// An attempt was cancelled: it would have lasted at least so long.
    pub(super) fn learn_lower_bound(&mut self, now: Timestamp, class: MethodClass, took: Duration) {
        self.experience[class.index()].was_cancelled(now, took);
    }

    pub(super) fn note(&mut self, now: Timestamp, outcome: &Outcome) {
        if outcome.hurts_health {
            self.failing_since.get_or_insert(now);
            self.failures += 1;
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            self.last_failure = Some((outcome.class, now));
        } else {
            self.failures_in_a_row = 0;
            self.failing_since = None;
            self.lookout.present();
        }
    }

    /// Evidence of whether it is gone for good.
    fn note_refusal(&mut self, now: Timestamp, outcome: &Outcome) {
        if outcome.lasting {
            self.retirement.refused(now, outcome.class);
        } else if outcome.hurts_health {
            self.retirement.failed();
        }
    }

    /// It answered as much as can be had of it: what its account was refused before no longer counts.
    pub(super) fn vouch(&mut self, now: Timestamp, took: Duration) {
        self.retirement.answered(now, took);
        self.account_works(|cooling| now.since(cooling.since) >= took);
    }

    pub(super) fn cool_after_probe(&mut self, now: Timestamp, outcome: &Outcome) {
        // What a probe was refused, a probe may find mended. What a client's call was refused it may not: a
        // plan can lack real methods and have the cheap ones.
        if outcome.class == Class::Ok {
            self.account_works(|cooling| cooling.by_probe);
        }
        self.note_refusal(now, outcome);
        let consecutive = self.failures_in_a_row;
        self.cool(now, outcome, consecutive, true);
    }

    /// A pause that was about the account ends early where an answer disproves it.
    fn account_works(&mut self, disproved: impl Fn(&Cooling) -> bool) {
        self.cooling = self.cooling.filter(|cooling| {
            cooling.by_its_word || !is_about_the_account(cooling.class) || !disproved(cooling)
        });
    }

    /// Leaves it alone for a while where the outcome says so. Whether that is news.
    fn cool(&mut self, now: Timestamp, outcome: &Outcome, consecutive_failures: u32, by_probe: bool) -> bool {
        // An overloaded backend that names a time may still be asked when nobody else is left.
        let by_its_word = outcome.retry_after.is_some() && outcome.class == Class::RateLimited;
        // Who refuses a part of its calls gets that many fewer; a pause would only swing everything to and fro.
        let is_short = outcome.class == Class::RateLimited && self.capacity.is_short(now);
        let pause = match (outcome.retry_after, outcome.cool_down) {
            // Some say "0": at once would be once more too early.
            (Some(named), _) => named.max(RETRY_AFTER_MIN),
            _ if is_short => return false,
            // Accounts and limits do not change between two calls; a full queue may.
            (None, Some(usual)) if is_about_the_account(outcome.class) => usual,
            (None, Some(_))
                if outcome.class == Class::Overloaded && consecutive_failures >= COOL_AFTER_CONSECUTIVE =>
            {
                OVERLOAD_PAUSE
            }
            (None, Some(usual)) if consecutive_failures >= COOL_AFTER_CONSECUTIVE => usual,
            _ if outcome.class == Class::RateLimited => RATE_LIMIT_PAUSE,
            _ => return false,
        };
        let until = now + pause.min(COOL_DOWN_MAX);
        let is_news = self.cooling(now).is_none();
        if self.cooling.is_none_or(|cooling| cooling.until < until) {
            self.cooling = Some(Cooling { until, class: outcome.class, by_its_word, since: now, by_probe });
        }
        is_news
    }

    /// A refusal that is about the account, from a backend that answered other calls a moment ago: more likely
    /// its plan lacks the method, or it will not answer this one call. What chance cannot bring about is believed: the
    /// second one in a row where hardly any call is refused, a later one where some always are. Of what few plans have
    /// none is, since the proxy's own questions find soon enough whether the account is in order. Either way it is a
    /// guess: when a provider's login service fails, good keys are refused for a while.
    fn is_about_the_method(
        &self,
        now: Timestamp,
        outcome: &Outcome,
        class: MethodClass,
        method: Option<&'static str>,
    ) -> bool {
        let answered_lately = || self.answered_at.is_some_and(|at| now.since(at) < ANSWERED_LATELY);
        is_about_the_account(outcome.class)
            && outcome.class != Class::WrongChain
            && (is_on_few_plans(class)
                || (method.is_some()
                    && self.failures_in_a_row <= self.refused_in_a_row
                    && !self.is_no_chance(self.refused_in_a_row + 1)
                    && answered_lately()))
    }
}

/// Traces, and whatever is not in the method table.
fn is_on_few_plans(class: MethodClass) -> bool {
    matches!(class, MethodClass::Trace | MethodClass::Other)
}

/// What an attempt says of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    Answered,
    Failed,
    /// A limit, a missing method: neither well nor ill.
    Nothing,
}

pub(super) fn is_about_the_account(class: Class) -> bool {
    matches!(class, Class::QuotaExhausted | Class::Unauthorized | Class::GeoBlocked | Class::WrongChain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: MethodClass = MethodClass::ALL[0];

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn backend() -> Backend {
        let labels = DomainLabels::new();
        let mut backend = Backend::new(BackendSpec {
            name: "a".into(),
            tier: Tier::Primary,
            private: false,
            labels,
            limit_per_s: None,
        });
        backend.identity = Identity::Confirmed;
        backend
    }

    fn learn(backend: &mut Backend, now: Timestamp, took_ms: u64, class: Class) {
        backend.learn(now, CLASS, None, Duration::from_millis(took_ms), &Outcome::of(class));
    }

    #[test]
    fn h8_an_answer_to_a_call_that_was_sent_after_the_refusal_ends_the_pause_about_the_account() {
        let mut backend = backend();
        learn(&mut backend, at(1000), 10, Class::Unauthorized);
        learn(&mut backend, at(1020), 500, Class::Ok);
        assert!(backend.cooling(at(1020)).is_some(), "it was sent before the refusal and says nothing");
        learn(&mut backend, at(1040), 10, Class::Ok);
        assert!(backend.cooling(at(1040)).is_none() && backend.is_usable(at(1040)));
    }

    #[test]
    fn h10_a_probe_takes_back_what_a_probe_was_refused_and_nothing_else() {
        let mut refused_probe = backend();
        refused_probe.cool_after_probe(at(0), &Outcome::of(Class::QuotaExhausted));
        assert!(!refused_probe.is_usable(at(5)));
        refused_probe.cool_after_probe(at(10), &Outcome::of(Class::Ok));
        assert!(refused_probe.is_usable(at(10)));
        let mut refused_call = backend();
        learn(&mut refused_call, at(0), 1, Class::QuotaExhausted);
        refused_call.cool_after_probe(at(10), &Outcome::of(Class::Ok));
        assert!(!refused_call.is_usable(at(10)), "cheap calls may be allowed where real ones are not");
    }

    #[test]
    fn h7_a_good_answer_does_not_shorten_the_window_of_a_limit() {
        let mut backend = backend();
        let limited =
            Outcome { retry_after: Some(Duration::from_secs(60)), ..Outcome::of(Class::RateLimited) };
        backend.learn(at(0), CLASS, None, Duration::ZERO, &limited);
        learn(&mut backend, at(100), 1, Class::Ok);
        backend.cool_after_probe(at(200), &Outcome::of(Class::Ok));
        assert!(backend.cooling(at(59_000)).is_some_and(|cooling| cooling.by_its_word));
    }

    #[test]
    fn h8_a_refusal_of_what_few_plans_have_does_not_take_the_backend_out() {
        for (class, method) in [
            (MethodClass::Trace, Some("debug_traceCall")),
            (MethodClass::Trace, None),
            (MethodClass::Other, None),
        ] {
            let mut quiet = backend();
            for ms in 0..5 {
                quiet.learn(at(ms), class, method, Duration::ZERO, &Outcome::of(Class::Unauthorized));
            }
            assert!(quiet.is_usable(at(10)) && quiet.cooling(at(10)).is_none(), "{class:?} {method:?}");
        }
        let mut revoked = backend();
        for ms in 0..2 {
            revoked.learn(at(ms), CLASS, Some("eth_call"), Duration::ZERO, &Outcome::of(Class::Unauthorized));
        }
        assert!(!revoked.is_usable(at(10)));
    }

    #[test]
    fn h8_calls_that_are_refused_here_and_there_take_neither_the_backend_nor_the_method_out() {
        // One call in ten is about somebody who is blocked, twice in a row too; then the key is revoked.
        let mut backend = backend();
        let ask = |backend: &mut Backend, ms: u64, class| {
            backend.learn(at(ms), CLASS, Some("eth_call"), Duration::ZERO, &Outcome::of(class));
        };
        for ms in 0..400 {
            let is_blocked = ms % 20 < 2;
            ask(&mut backend, ms, if is_blocked && ms >= 20 { Class::Unauthorized } else { Class::Ok });
            if ms >= 100 {
                assert!(backend.cooling(at(ms)).is_none(), "at {ms} ms");
                assert!(!backend.seems_to_lack_method(at(ms), Some("eth_call")), "at {ms} ms");
            }
        }
        let refusals = (400..420).take_while(|ms| {
            ask(&mut backend, *ms, Class::Unauthorized);
            backend.cooling(at(*ms)).is_none()
        });
        assert!((2..REFUSED_MAX as usize).contains(&refusals.count()));
    }

    #[test]
    fn h7_a_probe_that_meets_the_limit_of_a_busy_backend_pauses_nobody() {
        let limited = Outcome::of(Class::RateLimited);
        let (mut busy, mut idle) = (backend(), backend());
        for ms in (0..1_000).step_by(20) {
            busy.started(at(ms), CLASS);
            busy.ended(CLASS);
            learn(&mut busy, at(ms), 1, Class::Ok);
        }
        for (backend, is_paused) in [(&mut busy, false), (&mut idle, true)] {
            backend.cool_after_probe(at(1_000), &limited);
            assert_eq!(backend.cooling(at(1_001)).is_some(), is_paused);
        }
    }

    #[test]
    fn r4_a_missing_method_is_asked_for_again_soon_and_then_less_and_less_often() {
        let mut backend = backend();
        let deny = |backend: &mut Backend, ms| {
            let unsupported = Outcome::of(Class::MethodUnsupported);
            backend.learn(at(ms), CLASS, Some("eth_call"), Duration::ZERO, &unsupported);
        };
        let asked = (0..3_600_000u64).step_by(1000).filter(|ms| {
            let asks = !backend.lacks_method(at(*ms), Some("eth_call"));
            if asks {
                deny(&mut backend, *ms);
                // A second answer to a call that was sent together with it tells nothing new.
                deny(&mut backend, *ms + 1);
            }
            asks
        });
        let asked: Vec<u64> = asked.collect();
        assert!(asked[1] <= 15_000 && asked.len() < 20, "{asked:?}");
        let back = asked.last().unwrap() + 600_000;
        backend.learn(at(back), CLASS, Some("eth_call"), Duration::ZERO, &Outcome::of(Class::Ok));
        deny(&mut backend, back + 1);
        assert!(!backend.lacks_method(at(back + 15_000), Some("eth_call")), "an answer wipes the slate");
    }
}
