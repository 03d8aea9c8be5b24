//! What people run today, on the same world and seed, to compare with.

use std::time::Duration;

use super::scenario::Scenario;
use super::steering::{Call, Steering, Step, Told};
use crate::config::Config;
use crate::config::Routing;
use crate::ethereum::{Method, MethodKind};
use crate::policy::Timestamp;

/// A silent backend is left after this where another one may be asked. Reverse proxies wait a minute unless
/// they are told otherwise, which would lose every request; the shortest deadline of a read is 5 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Which simple policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RivalKind {
    /// Each request begins at the next backend; after an error the next one is asked.
    RoundRobin,
    /// Each request begins at the first backend; after an error the next one is asked.
    Primary,
    /// The first backend, and nobody else.
    Single,
}

impl RivalKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RoundRobin, Self::Primary, Self::Single];

    /// The word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::Primary => "primary",
            Self::Single => "single",
        }
    }
}

/// A simple policy.
#[derive(Debug)]
pub struct Rival {
    kind: RivalKind,
    private: Vec<bool>,
    next: usize,
    routing: Routing,
}

/// One request of a [`Rival`].
#[derive(Debug)]
pub struct Turn {
    at: usize,
    left: usize,
    submits: bool,
    deadline: Timestamp,
    /// Who is being asked, and when that is given up.
    asked: usize,
    patience: Timestamp,
}

impl Rival {
    /// Over a scenario's backends, in their order.
    pub fn new(kind: RivalKind, scenario: &Scenario) -> Self {
        let private = scenario.backends.iter().map(|backend| backend.private).collect();
        Self { kind, private, next: 0, routing: Config::presets().routing }
    }

    fn serves(&self, backend: usize, submits: bool) -> bool {
        let any_private = self.private.iter().any(|private| *private);
        if submits && any_private { self.private[backend] } else { !self.private[backend] }
    }

    fn send(&mut self, now: Timestamp, turn: &mut Turn) -> Step {
        while turn.left > 0 {
            let backend = turn.at % self.private.len();
            turn.at += 1;
            turn.left -= 1;
            if !self.serves(backend, turn.submits) {
                continue;
            }
            turn.patience = match self.kind {
                RivalKind::Single => turn.deadline,
                _ => (now + ATTEMPT_TIMEOUT).min(turn.deadline),
            };
            if self.kind == RivalKind::Single {
                turn.left = 0;
            }
            turn.asked = backend;
            return Step::Send { backend, wake: turn.patience, copy_to: None };
        }
        Step::GiveUp
    }
}

impl Steering for Rival {
    type Course = Turn;

    fn time_for(&self, method: &'static Method) -> Duration {
        self.routing.deadline_for(method)
    }

    fn begin(&mut self, call: &Call) -> Turn {
        let at = if self.kind == RivalKind::RoundRobin { self.next } else { 0 };
        self.next = (self.next + 1) % self.private.len();
        Turn {
            at,
            left: self.private.len(),
            submits: call.method.kind == MethodKind::TxSubmit,
            deadline: call.deadline,
            asked: 0,
            patience: call.deadline,
        }
    }

    fn on(&mut self, now: Timestamp, turn: &mut Turn, told: Told<'_>) -> Step {
        match told {
            Told::Start => self.send(now, turn),
            // Given up before: nobody listens any more.
            Told::Ended { backend, .. } if backend != turn.asked => Step::Wait { wake: turn.patience },
            Told::Ended { outcome, .. } if !outcome.retry_elsewhere => Step::Answer,
            Told::Ended { .. } => self.send(now, turn),
            Told::Timer if now >= turn.deadline => Step::GiveUp,
            Told::Timer if now >= turn.patience => self.send(now, turn),
            Told::Timer => Step::Wait { wake: turn.patience },
        }
    }
}
