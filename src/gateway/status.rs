//! What a person or a load balancer may know: chains, backends, domains, health, heads. No secrets.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config;
use crate::ethereum::MethodClass;
use crate::policy::{Backend, Identity, Tier, Timestamp};

use super::chain::Chain;

/// Everything a gateway says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of Outrigger.
    pub version: &'static str,
    /// Seconds since the gateway was made.
    pub uptime_s: u64,
    /// Whether requests can be served: at least one chain has a usable backend.
    pub ready: bool,
    /// In the order of the configuration; the first is the default.
    pub chains: Vec<ChainStatus>,
}

/// One chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainStatus {
    /// Its name in the URL.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Whether it has a usable backend.
    pub ready: bool,
    /// Highest block number that any backend named.
    pub head: Option<u64>,
    /// How far the backends fail apart.
    pub domains: DomainStatus,
    /// In the order of the configuration.
    pub backends: Vec<BackendStatus>,
}

/// How far the backends of a chain fail apart.
#[derive(Clone, Debug, Serialize)]
pub struct DomainStatus {
    /// The most backends of which no two share anything that fails as one.
    pub independent: usize,
    /// What is wrong with it, one sentence each; empty where no single domain takes everything down.
    pub findings: Vec<String>,
    /// Backends by domain, as `cloud:aws`.
    pub members: BTreeMap<String, Vec<String>>,
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Scheme, host and port; never path, query or user.
    pub endpoint: String,
    /// The failure domains it lies in, as `cloud:aws`.
    pub domains: Vec<String>,
    /// `primary` or `backup`.
    pub tier: &'static str,
    /// Takes transactions only.
    pub private: bool,
    /// One word; `reason` says more.
    pub state: &'static str,
    /// Why, where `state` is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Latest block number it named.
    pub head: Option<u64>,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls since the start.
    pub attempts: u64,
    /// Of these, failed by its own fault.
    pub failures: u64,
    /// Open connections.
    pub connections: usize,
    /// Per method class that has been used.
    pub health: BTreeMap<&'static str, HealthStatus>,
}

/// Experience with one backend in one class of methods.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HealthStatus {
    /// Share of calls that fail, 0 to 1.
    pub error_rate: f64,
    /// Expected latency of a call, in milliseconds.
    pub latency_ms: f64,
}

impl ChainStatus {
    pub(super) fn of(chain: &Chain) -> Self {
        let now = chain.now();
        let decider = chain.decide();
        let backends: Vec<_> = decider
            .fleet
            .iter()
            .zip(&chain.settings.backends)
            .map(|((index, backend), settings)| {
                let link = chain.link(index);
                let (state, reason) = state(now, backend);
                let (attempts, failures) = backend.totals();
                BackendStatus {
                    name: link.name.to_string(),
                    endpoint: settings.url.to_string(),
                    domains: domains(settings),
                    tier: match backend.spec().tier {
                        Tier::Primary => "primary",
                        Tier::Backup => "backup",
                    },
                    private: settings.private,
                    state,
                    reason,
                    head: link.head(),
                    in_flight: backend.in_flight(),
                    attempts,
                    failures,
                    connections: link.upstream.stats().open,
                    health: health(now, backend),
                }
            })
            .collect();
        let ready = decider.fleet.iter().any(|(_, backend)| backend.is_usable(now));
        drop(decider);
        Self {
            name: chain.settings.name.clone(),
            chain_id: chain.settings.chain_id,
            ready,
            head: backends.iter().filter(|b| b.state != "wrong chain").filter_map(|b| b.head).max(),
            domains: DomainStatus::of(&chain.settings),
            backends,
        }
    }
}

impl DomainStatus {
    fn of(chain: &config::Chain) -> Self {
        let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for backend in &chain.backends {
            for domain in domains(backend) {
                members.entry(domain).or_default().push(backend.name.clone());
            }
        }
        let diversity = config::diversity(chain);
        Self { independent: diversity.independent, findings: diversity.findings, members }
    }
}

fn domains(backend: &config::Backend) -> Vec<String> {
    backend.domains().into_iter().map(|(kind, name)| format!("{kind}:{name}")).collect()
}

fn state(now: Timestamp, backend: &Backend) -> (&'static str, Option<String>) {
    let last = || {
        backend
            .last_failure()
            .map(|(class, at)| format!("{} {} s ago", class.describe(), now.since(at).as_secs()))
    };
    if backend.is_cordoned() {
        return ("cordoned", Some("taken out by the operator".to_owned()));
    }
    if backend.identity() == Identity::WrongChain {
        return ("wrong chain", Some("it answers with another chain id: check its url".to_owned()));
    }
    if let Some(cooling) = backend.cooling(now) {
        let left = cooling.until.since(now).as_secs_f64();
        return ("paused", Some(format!("{}; asked again in {left:.0} s", cooling.class.describe())));
    }
    if backend.is_down() {
        return ("down", last());
    }
    if backend.identity() == Identity::Unknown {
        return ("unknown", last().or_else(|| Some("it has not been asked yet".to_owned())));
    }
    ("ok", None)
}

fn health(now: Timestamp, backend: &Backend) -> BTreeMap<&'static str, HealthStatus> {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    MethodClass::ALL
        .into_iter()
        .filter(|class| backend.health(*class).is_known())
        .map(|class| {
            let health = backend.health(class);
            let status = HealthStatus {
                error_rate: round(health.error_rate(now)),
                latency_ms: round(health.latency(now).as_secs_f64() * 1000.0),
            };
            (class.name(), status)
        })
        .collect()
}
