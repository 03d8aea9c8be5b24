//! The policy that serves in production, behind the replay's wheel: the one place in a drill that knows
//! how [`Fleet`] and [`Flight`] are driven, as `gateway::forward` and `gateway::watch` do it under tokio.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::scenario::{BackendSpec, Scenario};
use super::steering::{Call, Steering, Step, Told};
use crate::config::{Config, Routing};
use crate::ethereum::{Method, MethodClass};
use crate::policy::{
    self, Attempted, BackendIndex, Class, DomainLabels, Event, Fleet, Flight, Identity, Outcome, Plan,
    Question, Standing, Tier, Timestamp,
};

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
    rng: Xoshiro256PlusPlus,
    routing: Routing,
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
        Self { fleet, rng: Xoshiro256PlusPlus::seed_from_u64(seed), routing: routing.clone() }
    }

    /// With what holds where a configuration says nothing.
    pub fn with_defaults(scenario: &Scenario, labels: LabelMode, seed: u64) -> Self {
        Self::new(scenario, labels, &Config::presets().routing, seed)
    }

    /// The fleet as the replay has left it: what was decided, and why.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn plan(&self, call: &Call) -> Plan {
        Plan { key: call.key, ..Plan::of(call.method, &self.routing, call.deadline) }
    }
}

impl Steering for Outrigger {
    type Course = Flight;

    fn time_for(&self, method: &'static Method) -> Duration {
        self.routing.deadline_for(method)
    }

    fn begin(&mut self, call: &Call) -> Flight {
        Flight::new(self.plan(call))
    }

    fn on(&mut self, now: Timestamp, flight: &mut Flight, told: Told<'_>) -> Step {
        let event = match told {
            Told::Start => Event::Start,
            Told::Timer => Event::Timer,
            Told::Ended { backend, outcome, sent } => match self.fleet.index(backend) {
                Some(backend) => Event::Ended { backend, outcome, sent },
                None => return Step::GiveUp,
            },
        };
        match flight.on(now, event, &mut self.fleet, &mut self.rng) {
            policy::Step::Send { backend, wake, copy_to } => {
                Step::Send { backend: backend.get(), wake, copy_to: copy_to.map(BackendIndex::get) }
            }
            policy::Step::Wait { wake } => Step::Wait { wake },
            policy::Step::Answer => Step::Answer,
            policy::Step::GiveUp => Step::GiveUp,
        }
    }

    fn looks_transactions_up(&self) -> bool {
        true
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
