//! One request's life: whom to ask, when to ask another one as well, when to give up.
//!
//! A state machine without a clock: it is told what happened and when, and says what to do next.
//! Under tokio `gateway::forward` drives it, in a drill a virtual clock does.

use std::time::Duration;

use rand::Rng;

use super::fleet::{Attempted, Fleet, Need};
use super::set::{BackendIndex, BackendSet};
use super::{Outcome, Timestamp};

/// What repeating a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: it may even run at two backends at once.
    Freely,
    /// Nothing when one follows the other (a signed transaction is the same one everywhere), but it is
    /// not worth asking two at once.
    InTurn,
    /// Something: it is sent again only if no byte of it can have reached a backend.
    IfUnsent,
}

/// What is fixed about a request before its first attempt.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What the answering backend must be able to do.
    pub need: Need,
    /// When the client is answered at the latest.
    pub deadline: Timestamp,
    /// What repeating it may do.
    pub repeat: Repeat,
    /// Whether a copy of it may prove that another backend is well again: it runs twice then.
    pub may_copy: bool,
    /// A silent backend is hedged after a multiple of its usual latency, never earlier or later than this.
    pub hedge_delay: (Duration, Duration),
    /// Attempts in all, the first one included.
    pub attempts_max: u32,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request came.
    Start,
    /// The time named by the last step has come.
    Timer,
    /// An attempt ended.
    Ended {
        /// Whose.
        backend: BackendIndex,
        /// What it came to. For several items at once: the worst of those that need another backend,
        /// or what the last one came to.
        outcome: &'a Outcome,
        /// Bytes of the request may have reached the backend.
        sent: bool,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the request to this backend, then come back with [`Event::Timer`] at `wake`.
    Send {
        /// Whom to ask.
        backend: BackendIndex,
        /// When to come back if nothing has happened.
        wake: Timestamp,
        /// Send a copy there too, whose answer nobody waits for: it proves or disproves that this backend is
        /// well again. Report it to [`Fleet::aside_ended`].
        copy_to: Option<BackendIndex>,
    },
    /// Nothing but waiting until then.
    Wait {
        /// When to come back if nothing has happened.
        wake: Timestamp,
    },
    /// The outcome just reported answers the request.
    Answer,
    /// Nobody is left to ask, or the deadline has come: answer with the most informative outcome.
    GiveUp,
}

/// A silent backend is doubted once so many of its answers would have come.
const HEDGE_QUANTILE: f64 = 0.95;
/// While there are too few answers to say, after this many times its usual latency.
const HEDGE_LATENCY_FACTOR: u32 = 3;
/// Without budget for a hedge, or where hedging is not allowed, the next backend is asked after this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause before the same backend is asked once more.
const SAME_BACKEND_PAUSE: Duration = Duration::from_millis(200);
/// Attempts of one request that may be under way together.
const FLYING_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Flying {
    backend: BackendIndex,
    since: Timestamp,
}

/// One request under way.
#[derive(Debug)]
pub struct Flight {
    plan: Plan,
    tried: BackendSet,
    flying: [Option<Flying>; FLYING_MAX],
    attempts: u32,
    hedged: bool,
    /// Whom to ask once more, and from when on.
    again: Option<(BackendIndex, Timestamp)>,
    repeated_here: bool,
    may_repeat: bool,
    over: bool,
}

impl Flight {
    /// A flight that has not started.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            tried: BackendSet::default(),
            flying: [None; FLYING_MAX],
            attempts: 0,
            hedged: false,
            again: None,
            repeated_here: false,
            may_repeat: true,
            over: false,
        }
    }

    /// Attempts made so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes what happened and says what is to be done. After [`Step::Answer`] or [`Step::GiveUp`]
    /// every attempt still under way has been booked as cancelled, and the flight is over.
    pub fn on(&mut self, now: Timestamp, event: Event<'_>, fleet: &mut Fleet, rng: &mut impl Rng) -> Step {
        if self.over {
            return Step::GiveUp;
        }
        match event {
            Event::Start => {
                let in_fault = !fleet.condemned.is_empty() || !fleet.suspicion.failing(now).is_empty();
                fleet.budget.earn(in_fault);
                self.launch(now, fleet, rng)
            }
            Event::Ended { backend, outcome, sent } => {
                self.land(now, backend, outcome, fleet);
                if !outcome.retry_elsewhere && !outcome.retry_here {
                    return self.end(now, fleet, Step::Answer);
                }
                if self.plan.repeat == Repeat::IfUnsent && sent {
                    self.may_repeat = false;
                }
                if outcome.retry_here && !self.repeated_here && self.again.is_none() {
                    self.again = Some((backend, now + SAME_BACKEND_PAUSE));
                }
                if self.may_repeat && !fleet.budget.may_retry(now) {
                    self.may_repeat = false;
                }
                self.launch(now, fleet, rng)
            }
            Event::Timer => {
                if now >= self.plan.deadline {
                    return self.end(now, fleet, Step::GiveUp);
                }
                let again_is_due = self.again.is_some_and(|(_, from)| from <= now);
                if again_is_due || self.doubts_are_due(now, fleet) {
                    self.launch(now, fleet, rng)
                } else {
                    self.wait(now, fleet)
                }
            }
        }
    }

    /// The client went away: attempts under way say nothing of their backends.
    pub fn abandon(&mut self, fleet: &mut Fleet) {
        for flying in self.flying.iter_mut().filter_map(Option::take) {
            fleet.abandoned(flying.backend, self.plan.need.class);
        }
        self.over = true;
    }

    fn launch(&mut self, now: Timestamp, fleet: &mut Fleet, rng: &mut impl Rng) -> Step {
        if now >= self.plan.deadline {
            return self.end(now, fleet, Step::GiveUp);
        }
        let free = self.flying.iter().position(Option::is_none);
        let allowed = self.may_repeat && self.attempts < self.plan.attempts_max;
        if let Some(slot) = free.filter(|_| allowed)
            && let Some(backend) = self.candidate(now, fleet, rng)
        {
            self.tried.insert(backend);
            self.flying[slot] = Some(Flying { backend, since: now });
            self.attempts += 1;
            fleet.started(now, backend, self.plan.need.class);
            let copy_to = (self.attempts == 1).then(|| self.copy_to(now, backend, fleet)).flatten();
            return Step::Send { backend, wake: self.doubt_at(now, backend, now, fleet), copy_to };
        }
        if self.is_flying() || (allowed && self.again.is_some()) {
            return self.wait(now, fleet);
        }
        self.end(now, fleet, Step::GiveUp)
    }

    /// A backend on its way back is proven by real requests that may run twice.
    fn copy_to(&self, now: Timestamp, asked: BackendIndex, fleet: &mut Fleet) -> Option<BackendIndex> {
        if !self.plan.may_copy || self.plan.need.only.is_some() {
            return None;
        }
        let copy_to = fleet.wants_copy(now, &self.plan.need, asked)?;
        if !fleet.budget.may_hedge() {
            return None;
        }
        fleet.started(now, copy_to, self.plan.need.class);
        Some(copy_to)
    }

    /// Somebody untried first; then, once, the backend that asked for a moment's patience.
    fn candidate(&mut self, now: Timestamp, fleet: &mut Fleet, rng: &mut impl Rng) -> Option<BackendIndex> {
        if let Some(fresh) = fleet.choose(now, &self.plan.need, self.tried, rng) {
            return Some(fresh);
        }
        let (backend, _) = self.again.filter(|(_, from)| *from <= now)?;
        self.again = None;
        self.repeated_here = true;
        Some(backend)
    }

    fn land(&mut self, now: Timestamp, backend: BackendIndex, outcome: &Outcome, fleet: &mut Fleet) {
        let slot = self.flying.iter_mut().find(|f| f.is_some_and(|f| f.backend == backend));
        if let Some(flying) = slot.and_then(Option::take) {
            let took = now.since(flying.since);
            fleet.finished(now, Attempted { backend, need: self.plan.need, took }, outcome);
        }
    }

    /// Whether the attempts under way have been silent for long enough to ask somebody else too.
    fn doubts_are_due(&mut self, now: Timestamp, fleet: &mut Fleet) -> bool {
        let Some(youngest) = self.youngest() else { return true };
        let silent = now.since(youngest.since);
        if self.plan.repeat == Repeat::IfUnsent {
            return false;
        }
        if self.plan.repeat == Repeat::Freely
            && !self.hedged
            && silent >= self.hedge_delay(now, youngest.backend, fleet)
            && fleet.budget.may_hedge()
        {
            self.hedged = true;
            return true;
        }
        silent >= PATIENCE && fleet.budget.may_retry(now)
    }

    fn wait(&self, now: Timestamp, fleet: &Fleet) -> Step {
        let doubt = match self.youngest() {
            Some(youngest) => self.doubt_at(now, youngest.backend, youngest.since, fleet),
            None => Timestamp::NEVER,
        };
        let again = self.again.map(|(_, from)| from).filter(|from| *from > now).unwrap_or(Timestamp::NEVER);
        Step::Wait { wake: doubt.min(again).min(self.plan.deadline) }
    }

    /// When an attempt that started at `since` has been silent for too long.
    fn doubt_at(&self, now: Timestamp, backend: BackendIndex, since: Timestamp, fleet: &Fleet) -> Timestamp {
        let due = |delay| Some(since + delay).filter(|at| *at > now);
        let hedge = (self.plan.repeat == Repeat::Freely && !self.hedged)
            .then(|| due(self.hedge_delay(now, backend, fleet)))
            .flatten();
        let patience = (self.plan.repeat != Repeat::IfUnsent).then(|| due(PATIENCE)).flatten();
        hedge.or(patience).unwrap_or(Timestamp::NEVER).min(self.plan.deadline)
    }

    fn hedge_delay(&self, now: Timestamp, backend: BackendIndex, fleet: &Fleet) -> Duration {
        let experience = fleet.backend(backend).experience(self.plan.need.class);
        let usual = experience
            .quantile(HEDGE_QUANTILE)
            .unwrap_or_else(|| experience.health().latency(now) * HEDGE_LATENCY_FACTOR);
        let (earliest, latest) = self.plan.hedge_delay;
        usual.min(latest).max(earliest)
    }

    fn youngest(&self) -> Option<Flying> {
        self.flying.iter().flatten().max_by_key(|f| f.since).copied()
    }

    fn is_flying(&self) -> bool {
        self.flying.iter().any(Option::is_some)
    }

    fn end(&mut self, now: Timestamp, fleet: &mut Fleet, step: Step) -> Step {
        for flying in self.flying.iter_mut().filter_map(Option::take) {
            let took = now.since(flying.since);
            fleet.cancelled(now, Attempted { backend: flying.backend, need: self.plan.need, took });
        }
        self.over = true;
        step
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::backend::{BackendSpec, Identity, Tier};
    use super::super::{Class, DomainKind, DomainLabels, Told};
    use super::*;
    use crate::ethereum::MethodClass;

    const NEED: Need = Need {
        class: MethodClass::State,
        method: Some("eth_call"),
        submits: false,
        prefer: None,
        only: None,
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn spec(name: &str, tier: Tier, cloud: &str) -> BackendSpec {
        let labels = DomainLabels::new().with(DomainKind::Cloud, cloud);
        BackendSpec { name: name.into(), tier, private: false, labels, limit_per_s: None }
    }

    fn fleet(specs: &[(&str, Tier, &str)]) -> Fleet {
        let mut fleet = Fleet::new(specs.iter().map(|(n, t, c)| spec(n, *t, c)).collect());
        for (name, ..) in specs {
            fleet.set_identity(fleet.find(name).unwrap(), Identity::Confirmed);
        }
        fleet
    }

    fn three_clouds() -> Fleet {
        fleet(&[
            ("a", Tier::Primary, "aws"),
            ("a2", Tier::Primary, "aws"),
            ("g", Tier::Primary, "gcp"),
            ("m", Tier::Backup, "metal"),
        ])
    }

    fn outcome(class: Class) -> Outcome {
        let ok = matches!(class, Class::Ok | Class::ExecutionReverted);
        Outcome {
            class,
            retry_here: class == Class::BlockNotFound,
            retry_elsewhere: !ok,
            hurts_health: !ok && !matches!(class, Class::RateLimited | Class::BlockNotFound),
            cool_down: None,
            retry_after: None,
            range_limit_blocks: None,
            told: Told::Pass,
        }
    }

    fn plan(repeat: Repeat) -> Plan {
        let hedge_delay = (Duration::from_millis(50), Duration::from_millis(250));
        let may_copy = repeat == Repeat::Freely;
        Plan { need: NEED, deadline: at(10_000), repeat, may_copy, hedge_delay, attempts_max: 64 }
    }

    fn rng() -> SmallRng {
        SmallRng::seed_from_u64(7)
    }

    fn sent_to(step: Step, fleet: &Fleet) -> (String, Timestamp) {
        match step {
            Step::Send { backend, wake, .. } => (fleet.backend(backend).spec().name.to_string(), wake),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a request whose every attempt ends at once with what `answer` says; gives the names asked.
    fn asked(fleet: &mut Fleet, plan: Plan, answer: impl Fn(&str) -> Class) -> (Vec<String>, Step) {
        let (mut flight, mut names, mut rng) = (Flight::new(plan), Vec::new(), rng());
        let mut now = at(0);
        let mut step = flight.on(now, Event::Start, fleet, &mut rng);
        loop {
            step = match step {
                Step::Send { backend, .. } => {
                    let name = fleet.backend(backend).spec().name.to_string();
                    let outcome = outcome(answer(&name));
                    names.push(name);
                    flight.on(now, Event::Ended { backend, outcome: &outcome, sent: true }, fleet, &mut rng)
                }
                Step::Wait { wake } => {
                    now = wake;
                    flight.on(now, Event::Timer, fleet, &mut rng)
                }
                end => return (names, end),
            };
        }
    }

    #[test]
    fn r9_a_primary_that_answers_in_time_is_asked_alone() {
        let mut fleet = three_clouds();
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok);
        assert_eq!((names.len(), end), (1, Step::Answer));
    }

    #[test]
    fn the_next_attempt_goes_to_another_failure_domain_and_nobody_is_asked_twice() {
        let mut fleet = three_clouds();
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
        assert_eq!(names, ["a", "g", "a2", "m"]);
        assert_eq!(end, Step::GiveUp);
    }

    #[test]
    fn r3_a_revert_is_an_answer() {
        let mut fleet = three_clouds();
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ExecutionReverted);
        assert_eq!((names.len(), end), (1, Step::Answer));
        assert_eq!(fleet.iter().map(|(_, b)| b.totals().1).sum::<u64>(), 0);
    }

    #[test]
    fn r9_a_silent_backend_is_hedged_once_to_another_domain_and_the_loser_is_booked() {
        let (mut fleet, mut rng) = (three_clouds(), rng());
        let mut flight = Flight::new(plan(Repeat::Freely));
        let (first, wake) = sent_to(flight.on(at(0), Event::Start, &mut fleet, &mut rng), &fleet);
        assert!(wake <= at(250), "{wake:?}");
        let (second, _) = sent_to(flight.on(wake, Event::Timer, &mut fleet, &mut rng), &fleet);
        assert_eq!((first.as_str(), second.as_str()), ("a", "g"));
        let winner = fleet.find("g").unwrap();
        let ok = outcome(Class::Ok);
        let event = Event::Ended { backend: winner, outcome: &ok, sent: true };
        assert_eq!(flight.on(at(700), event, &mut fleet, &mut rng), Step::Answer);
        let loser = fleet.backend(fleet.find("a").unwrap());
        assert_eq!(loser.in_flight(), 0);
        assert!(loser.health(NEED.class).latency(at(700)) >= Duration::from_millis(700));
        assert_eq!(loser.totals().1, 0, "it was cancelled, it did not fail");
    }

    #[test]
    fn a_backend_that_hangs_for_ever_loses_its_place() {
        let (mut fleet, mut rng) = (three_clouds(), rng());
        for request in 0..3u64 {
            let start = at(request * 1000);
            let mut flight = Flight::new(Plan { deadline: start + SECOND * 10, ..plan(Repeat::Freely) });
            let mut step = flight.on(start, Event::Start, &mut fleet, &mut rng);
            let mut now = start;
            while let Step::Send { backend, wake, .. } = step {
                if &*fleet.backend(backend).spec().name == "a" {
                    now = wake;
                    step = flight.on(now, Event::Timer, &mut fleet, &mut rng);
                } else {
                    let ok = outcome(Class::Ok);
                    now = now + Duration::from_millis(5);
                    step = flight.on(
                        now,
                        Event::Ended { backend, outcome: &ok, sent: true },
                        &mut fleet,
                        &mut rng,
                    );
                }
            }
        }
        let (names, _) =
            asked(&mut fleet, Plan { deadline: at(60_000), ..plan(Repeat::Freely) }, |_| Class::Ok);
        assert_ne!(names[0], "a");
    }

    #[test]
    fn r14_backups_serve_only_when_no_primary_can_and_file_order_does_not_matter() {
        let mut fleet = fleet(&[("b", Tier::Backup, "metal"), ("p", Tier::Primary, "aws")]);
        assert_eq!(asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok).0, ["p"]);
        let p_is_down = |name: &str| if name == "p" { Class::ConnectionError } else { Class::Ok };
        assert_eq!(asked(&mut fleet, plan(Repeat::Freely), p_is_down).0, ["p", "b"]);
        for _ in 0..10 {
            asked(&mut fleet, plan(Repeat::Freely), p_is_down);
        }
        assert_eq!(
            asked(&mut fleet, plan(Repeat::Freely), p_is_down).0,
            ["b"],
            "the dead primary is left alone"
        );
    }

    /// Requests at a steady pace; every attempt takes 10 ms and ends as `answer(name, ms)` says. Gives who was
    /// asked first, and how many attempts were made in all.
    fn traffic(
        fleet: &mut Fleet,
        ms: std::ops::Range<u64>,
        every_ms: u64,
        answer: impl FnMut(&str, u64) -> Class,
    ) -> (Vec<String>, usize) {
        traffic_seen(fleet, ms, every_ms, answer, |_| {})
    }

    fn traffic_seen(
        fleet: &mut Fleet,
        ms: std::ops::Range<u64>,
        every_ms: u64,
        mut answer: impl FnMut(&str, u64) -> Class,
        mut ended: impl FnMut(Step),
    ) -> (Vec<String>, usize) {
        let (mut firsts, mut attempts, mut rng) = (Vec::new(), 0, SmallRng::seed_from_u64(ms.start));
        for start in ms.step_by(every_ms as usize) {
            let mut flight = Flight::new(Plan { deadline: at(start + 10_000), ..plan(Repeat::Freely) });
            let mut now_ms = start;
            let mut step = flight.on(at(now_ms), Event::Start, fleet, &mut rng);
            if let Step::Send { backend, .. } = step {
                firsts.push(fleet.backend(backend).spec().name.to_string());
            }
            while let Step::Send { backend, copy_to, .. } = step {
                attempts += 1;
                now_ms += 10;
                if let Some(copied) = copy_to {
                    attempts += 1;
                    let outcome = outcome(answer(&fleet.backend(copied).spec().name.clone(), now_ms));
                    let attempted =
                        Attempted { backend: copied, need: NEED, took: Duration::from_millis(10) };
                    fleet.aside_ended(at(now_ms), attempted, &outcome);
                }
                let outcome = outcome(answer(&fleet.backend(backend).spec().name.clone(), now_ms));
                let event = Event::Ended { backend, outcome: &outcome, sent: true };
                step = flight.on(at(now_ms), event, fleet, &mut rng);
            }
            ended(step);
        }
        (firsts, attempts)
    }

    fn share(firsts: &[String], name: &str) -> f64 {
        firsts.iter().filter(|first| *first == name).count() as f64 / firsts.len() as f64
    }

    #[test]
    fn r14_a_primary_that_is_well_again_takes_over() {
        let mut fleet = fleet(&[("p", Tier::Primary, "aws"), ("b", Tier::Backup, "metal")]);
        traffic(
            &mut fleet,
            0..3_000,
            20,
            |name, _| if name == "p" { Class::ConnectionError } else { Class::Ok },
        );
        let (firsts, _) = traffic(&mut fleet, 3_000..4_000, 20, |name, _| {
            if name == "p" { Class::ConnectionError } else { Class::Ok }
        });
        assert_eq!(share(&firsts, "p"), 0.0, "the dead primary is left alone");
        traffic(&mut fleet, 4_000..40_000, 20, |_, _| Class::Ok);
        let (firsts, _) = traffic(&mut fleet, 40_000..42_000, 20, |_, _| Class::Ok);
        assert_eq!(share(&firsts, "p"), 1.0);
    }

    #[test]
    fn h1_two_failing_members_take_their_untouched_sibling_with_them() {
        let mut fleet = fleet(&[
            ("a1", Tier::Primary, "aws"),
            ("a2", Tier::Primary, "aws"),
            ("a3", Tier::Primary, "aws"),
            ("g", Tier::Primary, "gcp"),
        ]);
        for (ms, name) in [(0, "a1"), (100, "a2")] {
            let backend = fleet.find(name).unwrap();
            fleet.started(at(ms), backend, NEED.class);
            let attempted = Attempted { backend, need: NEED, took: Duration::from_millis(1) };
            fleet.finished(at(ms), attempted, &outcome(Class::ConnectionError));
        }
        let g = fleet.find("g").unwrap();
        assert_eq!(fleet.choose(at(101), &NEED, BackendSet::default(), &mut rng()), Some(g));
        let changes: Vec<_> = fleet.notes().iter().map(|note| (note.backend.get(), note.change)).collect();
        assert!(changes.contains(&(2, super::super::Change::Condemned)), "{changes:?}");
    }

    #[test]
    fn h12_when_everybody_fails_alike_nobody_is_ejected_and_the_first_to_answer_serves_at_once() {
        let mut fleet = three_clouds();
        traffic(&mut fleet, 0..5_000, 50, |_, _| Class::ConnectionError);
        let ejected =
            fleet.notes().iter().filter(|n| matches!(n.change, super::super::Change::Ejected { .. }));
        assert!(ejected.count() <= 3, "only before it was clear that all fail");
        let (firsts, attempts) = traffic(&mut fleet, 5_000..6_000, 50, |_, _| Class::Ok);
        assert_eq!(firsts.len(), attempts, "every request is answered by the first who is asked");
    }

    #[test]
    fn one_cloud_after_the_other_may_fail_and_no_request_does() {
        let mut fleet = three_clouds();
        let victims = ["a", "g", "a2", "m", "g", "a"];
        for (n, victim) in (0u64..).zip(victims.iter().cycle().take(60)) {
            let (from, to) = (n * 700, (n + 1) * 700);
            let failing = |name: &str, _| if name == *victim { Class::ConnectionError } else { Class::Ok };
            let mut failed = 0;
            traffic_seen(&mut fleet, from..to, 5, failing, |end| failed += u32::from(end == Step::GiveUp));
            assert_eq!(failed, 0, "while {victim} fails from {from} ms");
        }
    }

    #[test]
    fn a_gray_failure_loses_half_its_share_within_five_seconds() {
        let mut fleet = three_clouds();
        traffic(&mut fleet, 0..5_000, 10, |_, _| Class::Ok);
        let mut n = 0u32;
        let mut gray = |name: &str, _| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if name == "a" && n >> 24 < 77 { Class::ConnectionError } else { Class::Ok }
        };
        traffic(&mut fleet, 5_000..10_000, 10, &mut gray);
        let (firsts, _) = traffic(&mut fleet, 10_000..15_000, 10, &mut gray);
        assert!(share(&firsts, "a") < 0.5, "{}", share(&firsts, "a"));
    }

    #[test]
    fn h11_chance_failures_among_thousands_of_good_answers_move_no_traffic() {
        let mut fleet = three_clouds();
        let mut calls = 0;
        let (firsts, attempts) = traffic(&mut fleet, 0..60_000, 10, |_, _| {
            calls += 1;
            if calls % 1_000 == 0 { Class::ConnectionError } else { Class::Ok }
        });
        assert!(share(&firsts, "a") > 0.9, "{}", share(&firsts, "a"));
        assert!(attempts as f64 / firsts.len() as f64 <= 1.02, "{attempts}");
        let switches = fleet
            .notes()
            .iter()
            .filter(|n| matches!(n.change, super::super::Change::Favoured { .. }))
            .count();
        assert!(switches <= 4, "{switches}");
    }

    #[test]
    fn h9_who_flaps_every_five_seconds_pulls_back_no_traffic() {
        let mut fleet = three_clouds();
        let flapping = |name: &str, ms: u64| {
            if name == "a" && (ms / 5_000).is_multiple_of(2) { Class::ConnectionError } else { Class::Ok }
        };
        traffic(&mut fleet, 0..20_000, 10, flapping);
        let (firsts, attempts) = traffic(&mut fleet, 20_000..80_000, 10, flapping);
        assert!(share(&firsts, "a") < 0.02, "{}", share(&firsts, "a"));
        assert!((attempts as f64) < 1.1 * firsts.len() as f64);
    }

    #[test]
    fn headroom_is_spread_before_a_limit_is_reached() {
        let mut specs = vec![spec("a", Tier::Primary, "aws"), spec("g", Tier::Primary, "gcp")];
        specs[0].limit_per_s = Some(50.0);
        let mut fleet = Fleet::new(specs);
        for name in ["a", "g"] {
            fleet.set_identity(fleet.find(name).unwrap(), Identity::Confirmed);
        }
        let (firsts, _) = traffic(&mut fleet, 0..20_000, 10, |_, _| Class::Ok);
        let per_s = share(&firsts, "a") * 100.0;
        assert!((20.0..=50.0).contains(&per_s), "{per_s}");
    }

    #[test]
    fn r15_cordoned_and_wrong_chain_backends_are_never_asked_even_when_all_else_is_down() {
        let mut fleet = three_clouds();
        fleet.set_cordoned(fleet.find("g").unwrap(), true);
        fleet.set_identity(fleet.find("m").unwrap(), Identity::WrongChain);
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
        assert_eq!((names, end), (vec!["a".to_owned(), "a2".to_owned()], Step::GiveUp));
    }

    #[test]
    fn r12_all_bad_backends_are_still_tried() {
        let mut fleet = three_clouds();
        for _ in 0..20 {
            asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
        }
        let (names, _) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok);
        assert_eq!(names.len(), 1, "the least bad one answers again at its first success");
    }

    #[test]
    fn r4_a_method_that_one_backend_lacks_is_learned_and_asked_of_others() {
        let mut fleet = three_clouds();
        let lacking = |name: &str| if name.starts_with('a') { Class::MethodUnsupported } else { Class::Ok };
        assert_eq!(asked(&mut fleet, plan(Repeat::Freely), lacking).0, ["a", "g"]);
        assert_eq!(asked(&mut fleet, plan(Repeat::Freely), lacking).0, ["g"]);
        let a = fleet.backend(fleet.find("a").unwrap());
        assert!(a.health(NEED.class).error_rate(at(0)) < 0.1);
    }

    #[test]
    fn h7_a_rate_limited_backend_is_left_alone_for_its_window_and_keeps_its_health() {
        let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
        let a = fleet.find("a").unwrap();
        let limited = Outcome { retry_after: Some(SECOND * 5), ..outcome(Class::RateLimited) };
        fleet.started(at(0), a, NEED.class);
        fleet.finished(at(0), Attempted { backend: a, need: NEED, took: Duration::ZERO }, &limited);
        let mut rng = rng();
        let g = fleet.find("g").unwrap();
        assert_eq!(fleet.choose(at(10), &NEED, BackendSet::default(), &mut rng), Some(g));
        let mut tried = BackendSet::default();
        tried.insert(g);
        assert_eq!(fleet.choose(at(4_900), &NEED, tried, &mut rng), None);
        assert_eq!(fleet.choose(at(5_000), &NEED, tried, &mut rng), Some(a));
        assert!(fleet.backend(a).health(NEED.class).error_rate(at(10)) < 0.06);
    }

    #[test]
    fn r10_a_client_that_goes_away_penalises_nobody() {
        let (mut fleet, mut rng) = (three_clouds(), rng());
        let mut flight = Flight::new(plan(Repeat::Freely));
        flight.on(at(0), Event::Start, &mut fleet, &mut rng);
        flight.abandon(&mut fleet);
        let a = fleet.backend(fleet.find("a").unwrap());
        assert_eq!((a.in_flight(), a.totals().1, a.health(NEED.class).is_known()), (0, 0, false));
        assert_eq!(flight.on(at(1), Event::Timer, &mut fleet, &mut rng), Step::GiveUp);
    }

    #[test]
    fn what_may_have_had_an_effect_is_not_sent_again() {
        let (mut fleet, mut rng) = (three_clouds(), rng());
        let failed = outcome(Class::ConnectionError);
        let mut flight = Flight::new(plan(Repeat::IfUnsent));
        let Step::Send { backend, wake, .. } = flight.on(at(0), Event::Start, &mut fleet, &mut rng) else {
            panic!()
        };
        assert_eq!(wake, at(10_000), "nor is anybody else asked meanwhile");
        let unsent = Event::Ended { backend, outcome: &failed, sent: false };
        let Step::Send { backend, .. } = flight.on(at(1), unsent, &mut fleet, &mut rng) else { panic!() };
        let sent = Event::Ended { backend, outcome: &failed, sent: true };
        assert_eq!(flight.on(at(2), sent, &mut fleet, &mut rng), Step::GiveUp);
    }

    #[test]
    fn a_block_that_is_not_there_yet_is_asked_for_once_more() {
        let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::BlockNotFound);
        assert_eq!((names.len(), end), (3, Step::GiveUp), "{names:?}");
    }

    #[test]
    fn transactions_go_to_private_backends_only_where_any_exists_and_reads_never_do() {
        let mut specs = vec![spec("public", Tier::Primary, "aws"), spec("relay", Tier::Primary, "gcp")];
        specs[1].private = true;
        let mut fleet = Fleet::new(specs);
        let submit = Plan { need: Need { submits: true, ..NEED }, ..plan(Repeat::InTurn) };
        assert_eq!(asked(&mut fleet, submit, |_| Class::ConnectionError).0, ["relay"]);
        assert_eq!(asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError).0, ["public"]);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// A world of random answers: when each attempt ends and with what.
        fn world() -> impl Strategy<Value = Vec<(u64, u8)>> {
            proptest::collection::vec((0u64..20_000, 0u8..6), 1..12)
        }

        fn class(n: u8) -> Class {
            [
                Class::Ok,
                Class::ConnectionError,
                Class::RateLimited,
                Class::BlockNotFound,
                Class::MethodUnsupported,
                Class::ExecutionReverted,
            ][usize::from(n) % 6]
        }

        proptest! {
            #[test]
            fn every_request_ends_by_its_deadline_and_leaves_nothing_in_flight(
                answers in world(), seed in 0u64..1000, repeat in 0u8..3
            ) {
                let mut fleet = three_clouds();
                let mut rng = SmallRng::seed_from_u64(seed);
                let repeat = [Repeat::Freely, Repeat::InTurn, Repeat::IfUnsent][usize::from(repeat)];
                let mut flight = Flight::new(plan(repeat));
                let mut under_way: Vec<(Timestamp, BackendIndex, Class)> = Vec::new();
                let mut answers = answers.into_iter().cycle();
                let (mut now, mut steps) = (at(0), 0);
                let mut step = flight.on(now, Event::Start, &mut fleet, &mut rng);
                let mut seen = Vec::new();
                loop {
                    steps += 1;
                    prop_assert!(steps < 200, "it spins");
                    let wake = match step {
                        Step::Send { backend, wake, .. } => {
                            prop_assert!(!under_way.iter().any(|(_, b, _)| *b == backend));
                            seen.push(backend);
                            let (ms, n) = answers.next().unwrap();
                            under_way.push((now + Duration::from_millis(ms), backend, class(n)));
                            wake
                        }
                        Step::Wait { wake } => wake,
                        Step::Answer | Step::GiveUp => break,
                    };
                    prop_assert!(wake <= at(10_000));
                    prop_assert!(wake > now, "a timer in the past spins: {wake:?} {now:?}");
                    under_way.sort_by_key(|(ends, ..)| *ends);
                    step = match under_way.first().copied() {
                        Some((ends, backend, class)) if ends <= wake => {
                            under_way.remove(0);
                            now = ends.max(now);
                            let outcome = outcome(class);
                            flight.on(now, Event::Ended { backend, outcome: &outcome, sent: true }, &mut fleet, &mut rng)
                        }
                        _ => {
                            now = wake;
                            flight.on(now, Event::Timer, &mut fleet, &mut rng)
                        }
                    };
                }
                prop_assert!(now <= at(10_000));
                prop_assert!(fleet.iter().all(|(_, b)| b.in_flight() == 0));
                let distinct = seen.iter().collect::<std::collections::BTreeSet<_>>().len();
                prop_assert!(seen.len() <= distinct + 1, "at most one backend is asked once more");
                prop_assert_eq!(flight.on(now, Event::Timer, &mut fleet, &mut rng), Step::GiveUp);
            }

            #[test]
            fn more_failures_never_raise_a_rank(failures in 1usize..10, seed in 0u64..100) {
                let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
                let (a, g) = (fleet.find("a").unwrap(), fleet.find("g").unwrap());
                let mut rng = SmallRng::seed_from_u64(seed);
                for ms in 0..20 {
                    fleet.started(at(ms), g, NEED.class);
                    fleet.finished(
                        at(ms),
                        Attempted { backend: g, need: NEED, took: Duration::from_millis(20) },
                        &outcome(Class::Ok),
                    );
                }
                for _ in 0..failures {
                    fleet.started(at(30), a, NEED.class);
                    fleet.finished(
                        at(30),
                        Attempted { backend: a, need: NEED, took: Duration::from_millis(1) },
                        &outcome(Class::ConnectionError),
                    );
                }
                prop_assert_eq!(fleet.choose(at(31), &NEED, BackendSet::default(), &mut rng), Some(g));
            }
        }
    }
}
