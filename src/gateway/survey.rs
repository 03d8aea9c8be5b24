//! How far apart the backends are, before anything is served: for a person who looks a configuration over.

use serde::Serialize;

use crate::config::{self, Config};
use crate::policy::{Fleet, Timestamp};

use super::status::{DerivedStatus, DomainStatus, derived, domains as labels_of};
use super::{Gateway, domains};

/// The failure domains of one chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainSurvey {
    /// Its name.
    pub name: String,
    /// What its backends share.
    pub domains: DomainStatus,
    /// In the order of the configuration.
    pub backends: Vec<BackendSurvey>,
}

/// The failure domains of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct BackendSurvey {
    /// Its name.
    pub name: String,
    /// As `cloud:aws`, those that are derived included.
    pub domains: Vec<String>,
    /// Those of them that nobody wrote, and how they are known.
    pub derived: Vec<DerivedStatus>,
}

/// What a configuration alone tells: nothing is resolved or asked.
pub fn survey(config: &Config) -> Vec<ChainSurvey> {
    let ranges = &config.routing.address_ranges;
    let of = |chain: &config::Chain| {
        let derived = domains::derive(&chain.backends, &[], ranges);
        let told = domains::contradictions(&chain.backends, &derived);
        ChainSurvey::of(&chain.name, &domains::fleet(chain, ranges), Timestamp::ZERO, told)
    };
    config.chains.iter().map(of).collect()
}

impl Gateway {
    /// The same with what has been seen of the backends so far: their addresses, and who names himself in their
    /// answers.
    pub fn survey(&self) -> Vec<ChainSurvey> {
        let mut surveys = Vec::with_capacity(self.inner.chains.len());
        for chain in &self.inner.chains {
            chain.derive_domains();
            let told = chain.contradictions();
            surveys.push(ChainSurvey::of(&chain.settings.name, &chain.decide().fleet, chain.now(), told));
        }
        surveys
    }
}

impl ChainSurvey {
    fn of(name: &str, fleet: &Fleet, now: Timestamp, contradictions: Vec<String>) -> Self {
        let backends = fleet.iter().map(|(_, backend)| BackendSurvey {
            name: backend.spec().name.to_string(),
            domains: labels_of(&backend.spec().labels),
            derived: derived(&backend.spec().labels),
        });
        Self {
            name: name.to_owned(),
            domains: DomainStatus { contradictions, ..DomainStatus::of(fleet, now) },
            backends: backends.collect(),
        }
    }
}
