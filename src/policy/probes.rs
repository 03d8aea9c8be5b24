//! What the proxy asks a backend of its own accord: which chain it serves, where its head is, and, for a backend
//! that is to come back, light calls of real methods where no copies of clients' requests prove it.
//!
//! Clients pay for none of it and hear none of it; a plan does. So it comes out of a budget, and whoever is not
//! there at all is looked for less and less often, copies of requests included: looking must cost a part of an
//! outage's length, not a call a second for as long as it lasts.

use std::time::Duration;

use crate::ethereum::{MethodClass, Urgency};

use super::admission::Standing;
use super::backend::{Backend, Identity, is_about_the_account};
use super::fleet::{Attempted, Fleet, Need};
use super::reach::Rests;
use super::set::BackendIndex;
use super::{Class, Outcome, Timestamp};

/// A well backend is asked for its head this often.
const CALM_PAUSE: Duration = Duration::from_secs(15);
/// One that has answered nothing for this long, whoever met the failure, this often: a fleet that died between two looks and is back
/// would otherwise be taken for dead until the next one.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// A key can be routed to another network at any time.
const CONFIRM_PAUSE: Duration = Duration::from_secs(600);
/// One that serves another chain may have been mended.
const WRONG_PAUSE: Duration = Duration::from_secs(60);
/// Whoever is not there is looked for after half the time that it has been away, within this range. Six seconds
/// are ten calls a minute, and leave time for all steps of readmission within a quarter of a minute.
const AWAY_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(6));
/// Later after this part of that time, up to the bound.
const AWAY_PART: u32 = 15;
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many failures in a row, over at least this, are no string of bad luck of somebody who is there.
const AWAY_FAILURES: u32 = 3;
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// In calm weather this share of the budget is kept for when it is needed.
const KEPT_IN_CALM: f64 = 0.5;

/// While a chain is in use and no budget is configured: a look per block and some in vain, but not more than this.
const LOOKS_PER_BLOCK: f64 = 1.5;
const LOOKS_PER_S_MAX: f64 = 2.5;

/// Calls of the proxy's own that one backend may be asked, where the configuration says nothing: the head every
/// fifteen seconds, and some recoveries an hour.
pub const PROBE_BUDGET: (f64, Duration) = (300.0, Duration::from_secs(3600));

/// Classes that light calls can prove: none stands for a trace, and none may publish a transaction.
pub(super) const PROVABLE: [MethodClass; 4] =
    [MethodClass::State, MethodClass::Head, MethodClass::History, MethodClass::Logs];

/// When a backend that has been away for so long is looked for again.
fn look_again_after(away: Duration) -> Duration {
    (away / 2).clamp(AWAY_PAUSE.0, AWAY_PAUSE.1).max(away / AWAY_PART).min(AWAY_PAUSE_MAX)
}

/// What a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which chain it serves.
    Chain,
    /// Where its head is: whether anybody is there.
    Head,
    /// A light call of a real method of this class.
    Real(MethodClass),
}

impl Question {
    /// The method, and its parameters as JSON.
    pub const fn call(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Chain => ("eth_chainId", None),
            Self::Real(MethodClass::State) => {
                ("eth_getBalance", Some(r#"["0x0000000000000000000000000000000000000000","latest"]"#))
            }
            Self::Real(MethodClass::History) => ("eth_getBlockByNumber", Some(r#"["latest",false]"#)),
            Self::Real(MethodClass::Logs) => (
                "eth_getLogs",
                Some(
                    r#"[{"fromBlock":"latest","toBlock":"latest","address":"0x0000000000000000000000000000000000000000"}]"#,
                ),
            ),
            Self::Head | Self::Real(_) => ("eth_blockNumber", None),
        }
    }

    /// How long its answer is waited for.
    pub const fn patience(self) -> Duration {
        match self {
            Self::Chain | Self::Head => Duration::from_secs(5),
            Self::Real(_) => Duration::from_secs(2),
        }
    }
}

/// What is known of one backend from asking it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookout {
    /// When it was last asked for its head, and for its chain.
    head_at: Option<Timestamp>,
    chain_at: Option<Timestamp>,
    /// When it last answered one of these.
    heard_at: Option<Timestamp>,
    /// Since when everything failed, our own plain question included.
    away_since: Option<Timestamp>,
    /// When it was last looked for while it was away.
    sought_at: Timestamp,
    tokens: f64,
    tokens_max: f64,
    per_s: f64,
    filled_at: Timestamp,
    /// The configuration says nothing of a budget.
    is_default: bool,
}

impl Default for Lookout {
    fn default() -> Self {
        let (calls, per) = PROBE_BUDGET;
        Self {
            head_at: None,
            chain_at: None,
            heard_at: None,
            away_since: None,
            sought_at: Timestamp::ZERO,
            tokens: calls,
            tokens_max: calls,
            per_s: calls / per.as_secs_f64(),
            filled_at: Timestamp::ZERO,
            is_default: true,
        }
    }
}

impl Lookout {
    pub(super) fn is_away(&self) -> bool {
        self.away_since.is_some()
    }

    /// Whether it may be looked for now, with a question or a copy.
    pub(super) fn may_seek(&self, now: Timestamp, others_serve: bool) -> bool {
        self.away_since.is_none_or(|since| {
            // While clients wait for anybody at all, nobody is looked for slowly.
            let pause = look_again_after(now.since(since));
            now.since(self.sought_at) >= if others_serve { pause } else { pause.min(FAILED_PAUSE) }
        })
    }

    pub(super) fn sought(&mut self, now: Timestamp) {
        self.sought_at = now;
    }

    pub(super) fn heard_since(&self, since: Timestamp) -> bool {
        self.heard_at.is_some_and(|at| at >= since)
    }

    /// Somebody is there.
    pub(super) fn present(&mut self) {
        self.away_since = None;
    }

    /// Our own plain question failed, and so has everything else since `since`.
    fn away(&mut self, now: Timestamp, since: Timestamp) {
        self.away_since.get_or_insert(since);
        self.sought_at = now;
    }

    fn may_spend(&mut self, now: Timestamp, is_needed: bool) -> bool {
        self.tokens =
            (self.tokens + now.since(self.filled_at).as_secs_f64() * self.per_s).min(self.tokens_max);
        self.filled_at = now;
        let kept = if is_needed { 0.0 } else { self.tokens_max * KEPT_IN_CALM };
        self.tokens >= kept.max(1.0)
    }
}

impl Fleet {
    /// How many calls of the proxy's own a backend may be asked: so many in this time, and no more in a row.
    pub fn set_probe_budget(&mut self, index: BackendIndex, calls: f64, per: Duration) {
        let lookout = &mut self.backends[index.get()].lookout;
        lookout.is_default = false;
        lookout.tokens_max = calls.max(1.0);
        lookout.tokens = lookout.tokens_max;
        lookout.per_s = calls / per.as_secs_f64().max(1e-3);
    }

    /// What this backend is to be asked now; it is booked as asked. To be called until there is nothing, and
    /// again twice a second or so. Each answer belongs to [`Self::question_ended`].
    pub fn next_question(&mut self, now: Timestamp, index: BackendIndex) -> Option<Question> {
        let others_serve = self.others_serve(now, index, None);
        let backend = &mut self.backends[index.get()];
        let told_off = backend.pause(now).is_some_and(|cooling| cooling.by_its_word);
        // A limit counts these questions too.
        if backend.is_cordoned() || told_off {
            return None;
        }
        if !backend.lookout.may_spend(now, true) {
            return None;
        }
        let (question, is_needed) = backend.wanted_question(now, others_serve)?;
        if !backend.lookout.may_spend(now, is_needed) {
            return None;
        }
        backend.lookout.tokens -= 1.0;
        match question {
            Question::Chain => backend.lookout.chain_at = Some(now),
            Question::Head => backend.lookout.head_at = Some(now),
            Question::Real(class) => self.started(now, index, class),
        }
        self.backends[index.get()].lookout.sought(now);
        Some(question)
    }

    /// Whether a backend may be asked now where the chain stands; it is booked as asked. Who fails, is away or has
    /// not said its chain is looked after by [`Self::next_question`], and not asked besides.
    pub fn may_look(&mut self, now: Timestamp, index: BackendIndex, is_needed: bool) -> bool {
        if !self.may_be_looked_at(now, index) {
            return false;
        }
        let lookout = &mut self.backends[index.get()].lookout;
        let may_spend = lookout.may_spend(now, is_needed);
        if may_spend {
            lookout.tokens -= 1.0;
        }
        may_spend
    }

    /// The same, whatever the budget says: who may not has no voice in what the chain is.
    pub fn may_be_looked_at(&self, now: Timestamp, index: BackendIndex) -> bool {
        let backend = self.backend(index);
        let told_off = backend.pause(now).is_some_and(|cooling| cooling.by_its_word);
        let fails = backend.failing_since().is_some_and(|since| now.since(since) >= FAILED_PAUSE);
        !backend.is_cordoned()
            && !backend.spec.private
            && !told_off
            && !fails
            && !backend.is_away()
            && backend.identity == Identity::Confirmed
            && backend.retirement.retired().is_none()
    }

    /// A look at where the chain stands came to this: it shows as well as any question whether somebody is there.
    pub fn looked(&mut self, now: Timestamp, index: BackendIndex, took: Duration, outcome: &Outcome) {
        self.backends[index.get()].lookout.head_at = Some(now);
        self.question_ended(now, index, Question::Head, took, outcome);
    }

    /// The chain is in use and makes a block so often, or is not in use: where nothing is configured, the budget
    /// allows about a look per block.
    pub fn set_block_pace(&mut self, block_time: Option<Duration>) {
        for backend in &mut self.backends {
            let lookout = &mut backend.lookout;
            if lookout.is_default {
                let (calls, per) = PROBE_BUDGET;
                let looks_per_s = block_time
                    .map_or(0.0, |time| (LOOKS_PER_BLOCK / time.as_secs_f64()).min(LOOKS_PER_S_MAX));
                lookout.per_s = (calls / per.as_secs_f64()).max(looks_per_s);
            }
        }
    }

    /// A question came to this after `took`.
    pub fn question_ended(
        &mut self,
        now: Timestamp,
        index: BackendIndex,
        question: Question,
        took: Duration,
        outcome: &Outcome,
    ) {
        match question {
            Question::Real(class) => {
                // What it says of our question is about the backend: no plan lacks these methods.
                let need = Need {
                    class,
                    method: None,
                    urgency: Urgency::Read,
                    submits: false,
                    prefer: None,
                    only: None,
                    rests: Rests::OnNothing,
                    depth: None,
                    log_blocks: None,
                };
                self.aside_ended(now, Attempted { backend: index, need, took }, outcome);
            }
            Question::Chain | Question::Head => {
                if outcome.class == Class::Ok {
                    // The first question pays for the connection, which calls do not.
                    if question == Question::Head {
                        self.seed_latency(now, index, took);
                    }
                    self.backends[index.get()].lookout.heard_at = Some(now);
                }
                self.probed(now, index, outcome);
                let backend = &mut self.backends[index.get()];
                match outcome.class {
                    // A relay answers nothing but transactions: more than a word from it cannot be had.
                    Class::Ok | Class::MethodUnsupported if backend.spec.private => backend.vouch(now, took),
                    Class::Ok if question == Question::Chain => backend.retirement.prove_now(now),
                    _ => {}
                }
            }
        }
        let backend = &mut self.backends[index.get()];
        if outcome.lasting {
            backend.retirement.proof_refused();
        }
        if outcome.hurts_health {
            backend.lookout.sought(now);
        }
        if outcome.hurts_health && !matches!(question, Question::Real(_)) {
            let was_away = backend.is_away();
            backend.is_missed(now);
            // Nobody has met its failures perhaps, and yet it comes back in steps.
            if backend.is_away() && !was_away {
                self.eject_everywhere(now, index);
            }
        }
        self.settle_retirement(now, index);
    }

    /// A question was dropped before it came to anything.
    pub fn question_dropped(&mut self, index: BackendIndex, question: Question) {
        if let Question::Real(class) = question {
            self.abandoned(index, class);
        }
    }
}

impl Backend {
    /// The question that is due, and whether more hangs on it than on a look in calm weather.
    fn wanted_question(&mut self, now: Timestamp, others_serve: bool) -> Option<(Question, bool)> {
        let is_due = |at: Option<Timestamp>, pause| at.is_none_or(|at| now.since(at) >= pause);
        let since_chain = self.lookout.chain_at;
        if self.identity == Identity::WrongChain {
            return is_due(since_chain, WRONG_PAUSE).then_some((Question::Chain, true));
        }
        let is_unknown = self.identity == Identity::Unknown;
        if self.retirement.wants_proof(now) {
            let proof = match () {
                () if is_unknown => Question::Chain,
                () if self.spec.private => Question::Head,
                () => Question::Real(MethodClass::State),
            };
            return Some((proof, true));
        }
        if self.retirement.retired().is_some() || !self.lookout.may_seek(now, others_serve) {
            return None;
        }
        if is_unknown {
            let down_for = self.failing_since().map_or(Duration::ZERO, |since| now.since(since));
            return is_due(since_chain, look_again_after(down_for)).then_some((Question::Chain, true));
        }
        let is_away = self.lookout.is_away();
        let failed = self.failing_since().is_some_and(|since| now.since(since) >= FAILED_PAUSE);
        if !is_away && is_due(self.lookout.head_at, if failed { FAILED_PAUSE } else { CALM_PAUSE }) {
            return Some((Question::Head, failed));
        }
        if let Some(class) = self.unproven_class(now) {
            return Some((Question::Real(class), true));
        }
        if is_away {
            return Some((Question::Head, true));
        }
        // A client's request may have asked before.
        let confirmed_at = *self.lookout.chain_at.get_or_insert(now);
        (now.since(confirmed_at) >= CONFIRM_PAUSE).then_some((Question::Chain, false))
    }

    /// A class of methods in which it is to come back and lacks copies to prove itself on.
    fn unproven_class(&mut self, now: Timestamp) -> Option<MethodClass> {
        // Cheap calls may be allowed where real ones are not, and the account is asked about above.
        let is_told_off = |class| is_about_the_account(class) || matches!(class, Class::RateLimited);
        if self.spec.private || self.pause(now).is_some_and(|pause| is_told_off(pause.class)) {
            return None;
        }
        PROVABLE.into_iter().find(|class| {
            let admission = &mut self.experience[class.index()].admission;
            let returns = matches!(admission.standing(now), Standing::Shadowed | Standing::Returning { .. });
            returns && admission.wants_probe(now, Question::Real(*class).call().0)
        })
    }

    /// Our own plain question failed: if nothing else was answered lately either, nobody is there.
    fn is_missed(&mut self, now: Timestamp) {
        if self.failures_in_a_row() >= AWAY_FAILURES
            && let Some(since) = self.failing_since()
            && now.since(since) >= AWAY_AFTER
        {
            self.lookout.away(now, since);
        }
    }

    /// Whether nobody is there: everything fails, the proxy's own plain questions included.
    pub(super) fn is_away(&self) -> bool {
        self.lookout.is_away()
    }
}

#[cfg(test)]
mod tests;
