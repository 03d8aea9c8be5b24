//! The policy that serves in production, behind the replay's wheel: the one place in a drill that knows
//! how [`Fleet`] and [`Flight`] are driven, as `gateway::forward` and `gateway::watch` do it under tokio.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::scenario::{BackendSpec, Scenario};
use super::steering::{Call, Steering, Step, Told};
use super::world::BlockAsked;
use crate::chain::{ChainEvent, Follower, Look, Shown, Turn, denies_block};
use crate::config::{Config, Routing};
use crate::ethereum::{Method, MethodClass};
use crate::policy::{
    self, Attempted, BackendIndex, BackendSet, Class, Depth, DomainLabels, Event, Fleet, Flight, Identity,
    Named, Outcome, Plan, Question, Rests, Standing, Tier, Timestamp,
};

/// The follower is told this often that time passes. In production more often: here it costs as much as attempts do.
const TICK_EVERY: Duration = Duration::from_millis(75);
/// A look that may not be made is tried again after this: `gateway::follow`.
const DENIED_PAUSE: Duration = Duration::from_millis(250);
/// Where nobody says what is final, a block this deep is: `gateway::deliver`.
const DEEP: u64 = 256;
/// Old blocks lie so far behind the head.
const OLD_BLOCKS: u64 = 256;

/// How many of the failure-domain labels the policy is told. The world has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelMode {
    /// Every one.
    All,
    /// Who provides it.
    Provider,
    /// None: what fails together must be learned.
    None,
}

impl LabelMode {
    /// All three.
    pub const ALL: [Self; 3] = [Self::All, Self::Provider, Self::None];

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Provider => "provider",
            Self::None => "none",
        }
    }

    fn labels(self, backend: &BackendSpec) -> DomainLabels {
        let told = |kind: &str| match self {
            Self::All => true,
            Self::Provider => kind == "provider",
            Self::None => false,
        };
        DomainLabels::of(backend.domains().into_iter().filter(|(kind, _)| told(kind)))
    }
}

/// Outrigger's own policy.
#[derive(Debug)]
pub struct Outrigger {
    fleet: Fleet,
    follower: Follower,
    rng: Xoshiro256PlusPlus,
    routing: Routing,
    fanout: usize,
    events: Vec<ChainEvent>,
    /// When the follower was last told that time passes.
    ticked_at: Timestamp,
    /// Until when each backend is not looked at, since it may not be asked.
    denied_until: Vec<Timestamp>,
}

/// One request under way.
#[derive(Debug)]
pub struct Course {
    flight: Flight,
    method: &'static Method,
    /// The block that whoever answers must have.
    height: Option<u64>,
}

impl Outrigger {
    /// A cold fleet of a scenario's backends, every one known to serve the chain.
    pub fn new(scenario: &Scenario, labels: LabelMode, routing: &Routing, seed: u64) -> Self {
        let spec = |backend: &BackendSpec| policy::BackendSpec {
            name: Arc::from(backend.name.as_str()),
            tier: if backend.backup { Tier::Backup } else { Tier::Primary },
            private: backend.private,
            labels: labels.labels(backend),
            limit_per_s: None,
        };
        let mut fleet = Fleet::new(scenario.backends.iter().map(spec).collect());
        let everyone: Vec<BackendIndex> = fleet.iter().map(|(index, _)| index).collect();
        for index in everyone {
            fleet.set_identity(index, Identity::Confirmed);
        }
        let labels: Vec<&DomainLabels> = fleet.iter().map(|(_, backend)| &backend.spec().labels).collect();
        let block_time = scenario.chain.simulated_block_time;
        let follower = Follower::new(block_time, true, &labels);
        fleet.set_block_pace(Some(block_time));
        Self {
            denied_until: vec![Timestamp::ZERO; fleet.len()],
            fleet,
            follower,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            routing: routing.clone(),
            fanout: Config::presets().transactions.fanout,
            events: Vec::new(),
            ticked_at: Timestamp::ZERO,
        }
    }

    /// With what holds where a configuration says nothing.
    pub fn with_defaults(scenario: &Scenario, labels: LabelMode, seed: u64) -> Self {
        Self::new(scenario, labels, &Config::presets().routing, seed)
    }

    /// The fleet as the replay has left it: what was decided, and why.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What the follower sees and decides.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// As `gateway::carry` and `gateway::resolve` make it.
    fn plan(&self, call: &Call) -> Plan {
        let mut plan = Plan { key: call.key, ..Plan::of(call.method, &self.routing, call.deadline) };
        let named = match call.block {
            BlockAsked::None => Named::Nothing,
            BlockAsked::Pending => Named::Pending,
            BlockAsked::Old => Named::UpTo(call.latest.map(|latest| latest.saturating_sub(OLD_BLOCKS))),
            BlockAsked::Latest | BlockAsked::Finalized => Named::UpTo(call.height),
        };
        plan.need.rests = Rests::of(call.method, named, call.latest);
        if call.block == BlockAsked::Old {
            plan.need.depth = Depth::of(call.method.archive, OLD_BLOCKS);
        }
        plan
    }

    /// Transactions are for private backends alone where there are any.
    fn is_private(&self) -> bool {
        self.fleet.iter().any(|(_, backend)| backend.spec().private)
    }

    fn report(&mut self, now: Timestamp) {
        self.follower.report(now, &mut self.fleet);
        self.events.extend(self.follower.take_events());
    }

    /// Time passes for the follower too, as in `gateway::follow`.
    fn tick(&mut self, now: Timestamp) {
        if now.since(self.ticked_at) >= TICK_EVERY {
            self.ticked_at = now;
            self.follower.tick(now);
            self.fleet.set_block_pace(Some(self.follower.block_time()));
            self.report(now);
        }
    }
}

impl Steering for Outrigger {
    type Course = Course;

    fn time_for(&self, method: &'static Method) -> Duration {
        self.routing.deadline_for(method)
    }

    fn begin(&mut self, call: &Call) -> Course {
        let plan = self.plan(call);
        let height = match plan.need.rests {
            Rests::OnHeight(height) => Some(height),
            _ => None,
        };
        Course { flight: Flight::new(plan), method: call.method, height }
    }

    fn sees(&mut self, now: Timestamp, block: BlockAsked) -> Option<u64> {
        let (settled, pending) = (block == BlockAsked::Finalized, block == BlockAsked::Pending);
        self.follower.used(now, settled, pending);
        self.follower.latest(now)
    }

    /// As `gateway::ranges` does.
    fn asks_logs_by_hash(&self) -> bool {
        true
    }

    fn height_of(&self, method: &'static Method, block: BlockAsked, latest: u64) -> Option<u64> {
        match block {
            _ if method.name == "eth_blockNumber" => Some(latest),
            _ if method.blocks.is_empty() || method.may_take_no_block() => None,
            BlockAsked::Latest => Some(latest),
            BlockAsked::Finalized => self.follower.finalized(),
            BlockAsked::None | BlockAsked::Pending | BlockAsked::Old => None,
        }
    }

    fn reachable(&self, now: Timestamp) -> Option<u64> {
        self.follower.reachable(now)
    }

    fn next_look(&mut self, now: Timestamp, backend: usize) -> Option<Look> {
        self.tick(now);
        if now < self.denied_until[backend] {
            return None;
        }
        let index = self.fleet.index(backend).filter(|index| !self.fleet.backend(*index).spec().private)?;
        match self.follower.turn(now, &mut self.fleet, index, false) {
            Turn::Ask(look) => Some(look),
            Turn::Rest => None,
            Turn::Denied => {
                self.denied_until[backend] = now + DENIED_PAUSE;
                None
            }
        }
    }

    fn looked(
        &mut self,
        now: Timestamp,
        (backend, look): (usize, Look),
        took: Duration,
        outcome: &Outcome,
        shown: Shown,
    ) {
        let Some(backend) = self.fleet.index(backend) else { return };
        self.follower.looked(now, &mut self.fleet, (backend, look), took, outcome, shown);
        self.report(now);
    }

    fn on(&mut self, now: Timestamp, course: &mut Course, told: Told<'_>) -> Step {
        let event = match told {
            Told::Start => Event::Start,
            Told::Timer => Event::Timer,
            Told::Ended { backend, outcome, sent } => match self.fleet.index(backend) {
                Some(backend) => {
                    if let Some(height) = course.height.filter(|_| denies_block(course.method, outcome)) {
                        self.follower.lacks(now, backend, height);
                    }
                    Event::Ended { backend, outcome, sent }
                }
                None => return Step::GiveUp,
            },
        };
        match course.flight.on(now, event, &mut self.fleet, &mut self.rng) {
            policy::Step::Send { backend, wake, copy_to } => {
                Step::Send { backend: backend.get(), wake, copy_to: copy_to.map(BackendIndex::get) }
            }
            policy::Step::Wait { wake } => Step::Wait { wake },
            policy::Step::Answer => Step::Answer,
            policy::Step::GiveUp => Step::GiveUp,
        }
    }

    fn keeps_a_journal(&self) -> bool {
        true
    }

    fn fanout(&self, submits: bool) -> usize {
        // Private ones are all asked, as in `gateway::transaction`.
        if submits && self.is_private() { usize::MAX } else { self.fanout }
    }

    fn spread(&mut self, now: Timestamp, call: &Call, has: BackendSet, count: usize) -> Vec<usize> {
        let need = self.plan(call).need;
        let further = self.fleet.spread_to(now, &need, has, count, &mut self.rng);
        further.into_iter().map(BackendIndex::get).collect()
    }

    fn waits_for_further(&self, took: Duration) -> Duration {
        took.clamp(self.routing.hedge_delay_min, self.routing.hedge_delay_max)
    }

    fn holders(&self, now: Timestamp, taken_by: BackendSet) -> Vec<usize> {
        let private = self.is_private();
        let may_be_asked = |backend: &policy::Backend| {
            backend.is_usable(now)
                && if private { backend.spec().private } else { self.fleet.answers_reads(backend) }
        };
        let mut holders: Vec<BackendIndex> =
            self.fleet.iter().filter(|(_, backend)| may_be_asked(backend)).map(|(index, _)| index).collect();
        holders.sort_by_key(|backend| !taken_by.contains(*backend));
        holders.into_iter().map(BackendIndex::get).collect()
    }

    fn take_events(&mut self) -> Vec<ChainEvent> {
        std::mem::take(&mut self.events)
    }

    fn heights(&self) -> (u64, u64) {
        let head = self.follower.head().map_or(0, |head| head.number);
        let deep = head.saturating_sub(DEEP);
        (head, self.follower.finalized().map_or(deep, |finalized| finalized.max(deep)))
    }

    fn is_reachable(&self, now: Timestamp) -> bool {
        let private = self.is_private();
        self.fleet.iter().any(|(_, backend)| backend.spec().private == private && backend.is_usable(now))
    }

    fn aside_ended(
        &mut self,
        now: Timestamp,
        call: &Call,
        backend: usize,
        took: Duration,
        outcome: &Outcome,
    ) {
        let Some(backend) = self.fleet.index(backend) else { return };
        let need = self.plan(call).need;
        self.fleet.aside_ended(now, Attempted { backend, need, took }, outcome);
    }

    fn contradicted(&mut self, now: Timestamp, backend: usize) {
        if let Some(backend) = self.fleet.index(backend) {
            self.follower.contradicted(now, backend);
            self.report(now);
        }
    }

    fn next_question(&mut self, now: Timestamp, backend: usize) -> Option<Question> {
        let index = self.fleet.index(backend)?;
        self.fleet.next_question(now, index)
    }

    fn question_ended(
        &mut self,
        now: Timestamp,
        backend: usize,
        question: Question,
        took: Duration,
        outcome: &Outcome,
    ) {
        if let Some(index) = self.fleet.index(backend) {
            match (question, outcome.class) {
                (Question::Chain, Class::Ok) => self.fleet.set_identity(index, Identity::Confirmed),
                (Question::Chain, Class::WrongChain) => self.fleet.set_identity(index, Identity::WrongChain),
                _ => {}
            }
            self.fleet.question_ended(now, index, question, took, outcome);
        }
    }

    fn is_out(&self, now: Timestamp, backend: usize) -> bool {
        self.fleet.index(backend).is_some_and(|index| {
            let backend = self.fleet.backend(index);
            let classes = MethodClass::ALL.iter();
            backend.is_down()
                || self.fleet.is_condemned(index)
                || classes.map(|class| backend.experience(*class).standing(now)).any(|s| s == Standing::Out)
                || backend.identity() == Identity::WrongChain
                || backend.cooling(now).is_some_and(|cooling| cooling.class != Class::RateLimited)
        })
    }

    fn is_retired(&self, _: Timestamp, backend: usize) -> bool {
        self.fleet
            .index(backend)
            .is_some_and(|index| self.fleet.backend(index).retirement().retired().is_some())
    }
}
