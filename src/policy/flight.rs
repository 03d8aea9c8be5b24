//! One request's life: whom to ask, when to ask another one as well, when to give up.
//!
//! A state machine without a clock: it is told what happened and when, and says what to do next.
//! Under tokio `gateway::forward` drives it, in a drill a virtual clock does.

use std::time::Duration;

use rand::Rng;

use crate::config::Routing;
use crate::ethereum::{Method, MethodKind, Urgency};

use super::fleet::{Attempted, Fleet, Need};
use super::reach::Rests;
use super::set::{BackendIndex, BackendSet};
use super::{Class, Outcome, Timestamp};

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
    /// The same for requests that ask for the same: when some must be turned away, repeating helps nobody.
    pub key: u64,
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

impl Plan {
    /// The plan for a method, as production and drills make it.
    pub fn of(method: &'static Method, routing: &Routing, deadline: Timestamp) -> Self {
        let submits = method.kind == MethodKind::TxSubmit || method.is_for_relays();
        Self {
            need: Need {
                class: method.health_class(),
                method: method.is_listed().then_some(method.name),
                urgency: method.urgency(),
                submits,
                prefer: None,
                only: None,
                rests: Rests::OnNothing,
                depth: None,
                log_blocks: None,
            },
            key: 0,
            deadline,
            repeat: match () {
                () if submits => Repeat::InTurn,
                () if method.hedgeable() && routing.hedging => Repeat::Freely,
                () if method.retry_elsewhere() => Repeat::InTurn,
                () => Repeat::IfUnsent,
            },
            may_copy: method.hedgeable(),
            hedge_delay: (routing.hedge_delay_min, routing.hedge_delay_max),
            attempts_max: u32::try_from(routing.max_attempts).unwrap_or(u32::MAX),
        }
    }
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
/// How soon a silent backend is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// Pause before the same backend is asked once more.
const SAME_BACKEND_PAUSE: Duration = Duration::from_millis(200);
/// A transaction waits so often for room where everybody is full: 0.2, 0.4, 0.8 s.
const WAITS_FOR_ROOM_MAX: u32 = 3;
/// A block that was promised and that nobody left has is waited for so long: it is on its way to them.
const BLOCK_PATIENCE: Duration = Duration::from_millis(1500);
/// Whether it has come is looked at this often.
const BLOCK_LOOK: Duration = Duration::from_millis(50);
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
    /// How often somebody was asked once more.
    repeated_here: u32,
    may_repeat: bool,
    /// Since when everybody who is left lacks the block that is asked for.
    awaits_block_since: Option<Timestamp>,
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
            repeated_here: 0,
            may_repeat: true,
            awaits_block_since: None,
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
                fleet.demand.count(now);
                if fleet.sheds(now, &self.plan.need, self.plan.key) {
                    return self.end(now, fleet, Step::GiveUp);
                }
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
                // A transaction waits a moment for room where a read is told at once.
                let waits_for_room =
                    self.plan.need.submits && matches!(outcome.class, Class::Overloaded | Class::RateLimited);
                let repeats_max = if waits_for_room { WAITS_FOR_ROOM_MAX } else { 1 };
                if (outcome.retry_here || waits_for_room)
                    && self.repeated_here < repeats_max
                    && self.again.is_none()
                {
                    self.again = Some((backend, now + SAME_BACKEND_PAUSE * (1 << self.repeated_here)));
                }
                if self.could_ask_another(now, fleet) && !fleet.budget.may_retry(now, self.plan.need.submits)
                {
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

    /// Nothing is under way any more, and nothing will be.
    pub fn is_over(&self) -> bool {
        self.over
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
        let allowed = self.may_ask_again();
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
        if allowed && fleet.awaits_block(now, &self.plan.need, self.tried) {
            let until = *self.awaits_block_since.get_or_insert(now) + BLOCK_PATIENCE;
            if now < until {
                return Step::Wait { wake: (now + BLOCK_LOOK).min(until).min(self.plan.deadline) };
            }
        }
        self.end(now, fleet, Step::GiveUp)
    }

    fn may_ask_again(&self) -> bool {
        self.may_repeat && self.attempts < self.plan.attempts_max
    }

    /// Whether an attempt could follow at all: budgets pay for those that are made. When everybody is full, a second
    /// call only takes the place of somebody else's first.
    fn could_ask_another(&self, now: Timestamp, fleet: &Fleet) -> bool {
        self.may_ask_again()
            && (self.plan.need.urgency > Urgency::Read || !fleet.is_crowded(now, &self.plan.need))
            && self.flying.iter().any(Option::is_none)
            && (self.again.is_some() || fleet.has_candidate(now, &self.plan.need, self.tried))
    }

    /// A backend on its way back is proven by real requests that may run twice.
    fn copy_to(&self, now: Timestamp, asked: BackendIndex, fleet: &mut Fleet) -> Option<BackendIndex> {
        if !self.plan.may_copy || self.plan.need.only.is_some() || !fleet.budget.can_hedge() {
            return None;
        }
        let copy_to = fleet.wants_copy(now, &self.plan.need, asked)?;
        fleet.budget.may_hedge();
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
        self.repeated_here += 1;
        // It may have named a time meanwhile, or been taken out.
        fleet.may_ask(now, &self.plan.need, backend).then_some(backend)
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
        if self.plan.repeat == Repeat::IfUnsent || !self.could_ask_another(now, fleet) {
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
        // When nobody gets an answer from it any more, its requests are as good as failed.
        let given_up = silent >= PATIENCE
            || fleet.backend(youngest.backend).experience(self.plan.need.class).is_silent(now);
        if given_up && fleet.budget.may_retry(now, self.plan.need.submits) {
            self.hedged = true;
            return true;
        }
        false
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
        if self.plan.repeat == Repeat::IfUnsent {
            return self.plan.deadline;
        }
        let hedge = (self.plan.repeat == Repeat::Freely && !self.hedged)
            .then(|| due(self.hedge_delay(now, backend, fleet)))
            .flatten();
        // A hedge that was not affordable, or not allowed, may be called for a moment later.
        let look_again = Some(now + LOOK_AGAIN).filter(|at| *at < since + PATIENCE);
        hedge.or(look_again).or(due(PATIENCE)).unwrap_or(Timestamp::NEVER).min(self.plan.deadline)
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
mod calm;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod tests;
