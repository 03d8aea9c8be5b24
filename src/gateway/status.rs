//! What a person or a load balancer may know: chains, backends, domains, health, heads. No secrets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::chain::{SocketState, SocketView};
use crate::ethereum::MethodClass;
use crate::policy::{
    Backend, BackendIndex, Change, DomainKind, DomainLabels, Fleet, Identity, LabelSource, Note, Standing,
    Tier, Timestamp,
};

use super::chain::Chain;
use super::head_status::{self, FollowerStatus, ViewStatus};
use super::pushed;
use super::saved::{CacheStatus, SavedStatus};
use super::spent::Spent;

/// Changes shown; the fleet keeps more.
const CHANGES_MAX: usize = 50;
/// Every [`BackendStatus::state`].
pub(super) const STATES: [&str; 14] = [
    "ok",
    "returning",
    "doubted",
    "ejected",
    "paused",
    "down",
    "unknown",
    "forked",
    "contradicted",
    "lying",
    "exhausted",
    "retired",
    "cordoned",
    "wrong chain",
];

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
    /// Answers that are kept.
    pub cache: CacheStatus,
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
    /// The block number that clients are told; before the chain is followed, the highest that any backend named.
    pub head: Option<u64>,
    /// Where the chain stands.
    pub follower: FollowerStatus,
    /// The backend that serves in calm weather.
    pub favourite: Option<String>,
    /// Calls that went to backends, and what was sent beyond them.
    pub calls: CallsStatus,
    /// What was answered without a backend.
    pub saved: SavedStatus,
    /// Transactions that were handed in, by what has become of them: `submitted`, `held`, `pending`, `dropped`, `mined`,
    /// `finalized`, `replaced`, `expired`, `refused`, `cancelled`. What is over is counted for an hour.
    pub transactions: BTreeMap<&'static str, usize>,
    /// Who lives by the chain's events.
    pub subscribers: SubscribersStatus,
    /// Of those under way, how many cannot be mined before somebody sends a nonce that is missing below theirs.
    /// `outrigger tx list` says which.
    pub transactions_behind_a_gap: usize,
    /// How far the backends fail apart.
    pub domains: DomainStatus,
    /// In the order of the configuration.
    pub backends: Vec<BackendStatus>,
    /// What changed lately and why, the latest first.
    pub changes: Vec<ChangeStatus>,
}

/// Subscriptions and filters that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SubscribersStatus {
    /// Subscriptions of WebSocket clients and sessions.
    pub subscriptions: usize,
    /// Filters that clients poll.
    pub filters: usize,
}

/// Calls of one chain since the start. Extra calls come out of budgets; light probes are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallsStatus {
    /// Of clients, as far as a backend had to be asked.
    pub carried: u64,
    /// Sent to a second backend while the first was silent.
    pub hedges: u64,
    /// Sent to another backend after a failure.
    pub retries: u64,
    /// Sent to a backend on its way back as well, to prove it; nobody waits for their answers.
    pub copies: u64,
    /// Turned away, because all backends together had no room.
    pub shed: u64,
}

/// Something that changed how requests are routed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeStatus {
    /// How long ago, in seconds.
    pub seconds_ago: f64,
    /// Whom it concerns.
    pub backend: String,
    /// What happened, in a sentence.
    pub what: String,
}

/// How far the backends of a chain fail apart.
#[derive(Clone, Debug, Serialize)]
pub struct DomainStatus {
    /// The most backends of which no two share anything that fails as one.
    pub independent: usize,
    /// The effective number of independent backends, with what was learned of failing together: see
    /// [`Diversity`](crate::policy::Diversity).
    pub effective: f64,
    /// Domains that fail as a whole at this moment.
    pub failing: Vec<String>,
    /// What is wrong with it, one sentence each; empty where no single domain takes everything down.
    pub findings: Vec<String>,
    /// How to mend it, one sentence each.
    pub mends: Vec<String>,
    /// Where labels that are written differ from what addresses and headers say, one sentence each.
    pub contradictions: Vec<String>,
    /// Backends by domain, as `cloud:aws`.
    pub members: BTreeMap<String, Vec<String>>,
}

/// A label that nobody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DerivedStatus {
    /// As `cloud:aws`.
    pub label: String,
    /// How it is known: `address ranges`, `response headers` or `equal addresses`.
    pub from: &'static str,
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Scheme, host and port; never path, query or user.
    pub endpoint: String,
    /// The failure domains it lies in, as `cloud:aws`, those that are derived included.
    pub domains: Vec<String>,
    /// Those of them that nobody wrote, and how they are known.
    pub derived: Vec<DerivedStatus>,
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
    /// Where it stands; absent for those that answer no reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewStatus>,
    /// Its WebSocket, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ws: Option<SocketStatus>,
    /// Where `state` is `retired`: why, since when and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired: Option<RetiredStatus>,
    /// How much of its monthly budget is used, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// What it was asked for since the start.
    pub spent: SpentStatus,
    /// Whether it could be asked now with some hope.
    pub usable: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// How much of what it can take is in use, as far as it has shown its limit; 1 is all of it.
    pub utilisation: f64,
    /// Calls since the start.
    pub attempts: u64,
    /// Of these, failed by its own fault.
    pub failures: u64,
    /// Open connections.
    pub connections: usize,
    /// Per method class that has been used.
    pub health: BTreeMap<&'static str, HealthStatus>,
}

/// The WebSocket by which a backend pushes its heads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SocketStatus {
    /// `connected`: its heads are followed, and polls are rare. `proving`: it is open, and each push makes the backend be
    /// asked. `silent`: it is open, and nothing comes while the chain goes on. `connecting`. `waiting`: it failed, and is
    /// tried again later. `idle`: nobody uses the chain, or the backend may not be asked.
    pub state: &'static str,
    /// For how long, in seconds.
    pub since_s: f64,
    /// What was wrong last, until its heads are followed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A backend that is gone for good, as far as is known.
#[derive(Clone, Debug, Serialize)]
pub struct RetiredStatus {
    /// What it says.
    pub why: &'static str,
    /// For how long it has said nothing else, in seconds.
    pub since_s: u64,
    /// In how many seconds it is asked again.
    pub next_probe_s: u64,
}

/// A monthly budget and its pace.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BudgetStatus {
    /// Plain reads a month.
    pub monthly: f64,
    /// Used of it this month.
    pub used: f64,
    /// The part of the month that is gone, 0 to 1.
    pub month_gone: Option<f64>,
    /// The share of its requests that it keeps while others can serve, 0 to 1: less than 1 where it is ahead of
    /// its pace.
    pub kept_share: f64,
}

/// Experience with one backend in one class of methods.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HealthStatus {
    /// Share of calls that fail, 0 to 1.
    pub error_rate: f64,
    /// Expected latency of a call, in milliseconds.
    pub latency_ms: f64,
    /// Live quantiles of answers, in milliseconds: half of them, nineteen of twenty, all but one of a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantiles_ms: Option<[f64; 3]>,
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
                let (mut state, mut reason) = state(now, backend, decider.fleet.is_condemned(index));
                if let Some(why) = decider.follower.standing(now, index).quarantine
                    && matches!(state, "ok" | "returning" | "doubted")
                {
                    let (word, sentence) = head_status::quarantine(why);
                    (state, reason) = (word, Some(sentence.to_owned()));
                }
                debug_assert!(STATES.contains(&state), "{state}");
                let (attempts, failures) = backend.totals();
                BackendStatus {
                    name: link.name.to_string(),
                    endpoint: settings.url.to_string(),
                    domains: domains(&backend.spec().labels),
                    derived: derived(&backend.spec().labels),
                    tier: match backend.spec().tier {
                        Tier::Primary => "primary",
                        Tier::Backup => "backup",
                    },
                    private: settings.private,
                    state,
                    reason,
                    head: link.head(),
                    view: (!settings.private).then(|| ViewStatus::of(&decider, now, index)),
                    ws: link
                        .websocket
                        .as_ref()
                        .map(|_| SocketStatus::of(now, decider.follower.socket(index))),
                    retired: retired(now, backend),
                    budget: budget(now, backend),
                    spent: SpentStatus::of(&link.spent),
                    usable: backend.is_usable(now),
                    in_flight: backend.in_flight(),
                    utilisation: round(backend.utilisation(now)),
                    attempts,
                    failures,
                    connections: link.upstream.stats().open,
                    health: health(now, backend),
                }
            })
            .collect();
        let follower = FollowerStatus::of(chain, &decider, now);
        let fleet = &decider.fleet;
        let ready = fleet.iter().any(|(_, backend)| backend.is_usable(now));
        let name = |index: BackendIndex| chain.link(index).name.to_string();
        let favourite = fleet.favourite().map(|(index, _)| name(index));
        let domains = DomainStatus::of(fleet, now);
        let shed = fleet.shed();
        let changes = fleet
            .notes()
            .iter()
            .rev()
            .take(CHANGES_MAX)
            .map(|note| ChangeStatus {
                seconds_ago: round(now.since(note.at).as_secs_f64()),
                backend: name(note.backend),
                what: in_words(chain, note),
            })
            .collect();
        drop(decider);
        let domains = DomainStatus { contradictions: chain.contradictions(), ..domains };
        Self {
            name: chain.settings.name.clone(),
            chain_id: chain.settings.chain_id,
            ready,
            head: follower.number.or_else(|| {
                backends.iter().filter(|b| b.state != "wrong chain").filter_map(|b| b.head).max()
            }),
            follower,
            favourite,
            calls: CallsStatus { shed, ..CallsStatus::of(chain) },
            saved: SavedStatus::of(chain),
            transactions: chain.ledger.counts(),
            subscribers: SubscribersStatus::of(chain),
            transactions_behind_a_gap: chain.ledger.behind_a_gap(),
            domains,
            backends,
            changes,
        }
    }
}

/// What a backend was asked for: what its provider bills, as far as that is known here.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SpentStatus {
    /// Calls, the proxy's own among them; each item of a batch is one.
    pub requests: u64,
    /// What they cost, in plain reads: what `monthly_budget` is counted in.
    pub credits: f64,
    /// Calls by method; names that are not known count as `other`.
    pub methods: BTreeMap<&'static str, u64>,
}

impl SpentStatus {
    fn of(spent: &Spent) -> Self {
        let methods = spent.by_method();
        Self { requests: methods.values().sum(), credits: spent.credits(), methods }
    }
}

impl SocketStatus {
    fn of(now: Timestamp, view: SocketView) -> Self {
        Self {
            state: match view.state {
                SocketState::Idle => "idle",
                SocketState::Connecting => "connecting",
                SocketState::Proving => "proving",
                SocketState::Connected => "connected",
                SocketState::Silent => "silent",
                SocketState::Waiting => "waiting",
            },
            since_s: round(now.since(view.since).as_secs_f64()),
            reason: view.why.map(pushed::in_words),
        }
    }
}

impl SubscribersStatus {
    fn of(chain: &Chain) -> Self {
        let filters = chain.filters.len();
        Self { subscriptions: chain.feeds.audience().saturating_sub(filters), filters }
    }
}

impl CallsStatus {
    fn of(chain: &Chain) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let calls = &chain.calls;
        Self {
            carried: read(&calls.carried),
            hedges: read(&calls.hedges),
            retries: read(&calls.retries),
            copies: read(&calls.copies),
            shed: 0,
        }
    }
}

impl DomainStatus {
    pub(super) fn of(fleet: &Fleet, now: Timestamp) -> Self {
        let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, backend) in fleet.iter() {
            for domain in domains(&backend.spec().labels) {
                members.entry(domain).or_default().push(backend.spec().name.to_string());
            }
        }
        let diversity = fleet.diversity(now);
        Self {
            independent: diversity.independent,
            effective: round(diversity.effective),
            failing: fleet.suspicion().condemned_domains(now).into_iter().map(str::to_owned).collect(),
            findings: diversity.findings,
            mends: diversity.mends,
            contradictions: Vec::new(),
            members,
        }
    }

    /// The effective number for people: a whole one without decimals.
    pub fn effective_in_words(&self) -> String {
        let tenths = (self.effective * 10.0).round() / 10.0;
        tenths.to_string()
    }
}

pub(super) fn domains(labels: &DomainLabels) -> Vec<String> {
    labels.iter().map(|(kind, name)| format!("{}:{name}", kind.name())).collect()
}

pub(super) fn derived(labels: &DomainLabels) -> Vec<DerivedStatus> {
    let one = |(kind, name, from): (&DomainKind, &str, LabelSource)| DerivedStatus {
        label: format!("{}:{name}", kind.name()),
        from: from.name(),
    };
    labels.derived().map(one).collect()
}

fn state(now: Timestamp, backend: &Backend, condemned: bool) -> (&'static str, Option<String>) {
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
    if let Some(retired) = retired(now, backend) {
        let RetiredStatus { why, since_s, next_probe_s } = retired;
        let reason = format!(
            "{why}, and nothing else for {since_s} s; no client's call goes there while others serve; asked again in {next_probe_s} s"
        );
        return ("retired", Some(reason));
    }
    if backend.pace().is_some_and(|pace| pace.is_exhausted()) {
        return ("exhausted", Some("its monthly_budget is used up".to_owned()));
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
    if condemned {
        let why = "other backends of its failure domain fail, and it has not answered since";
        return ("doubted", Some(why.to_owned()));
    }
    for class in MethodClass::ALL {
        match backend.experience(class).standing(now) {
            Standing::Admitted => {}
            Standing::Out | Standing::Shadowed => {
                let proving = format!("failed at {} calls; copies of requests prove it first", class.name());
                return (
                    "ejected",
                    Some(last().map_or(proving.clone(), |last| format!("{proving}; {last}"))),
                );
            }
            Standing::Returning { share } => {
                let percent = share * 100.0;
                return (
                    "returning",
                    Some(format!("with {percent:.0} % of its share of {} calls", class.name())),
                );
            }
        }
    }
    ("ok", None)
}

fn retired(now: Timestamp, backend: &Backend) -> Option<RetiredStatus> {
    let retired = backend.retirement().retired()?;
    Some(RetiredStatus {
        why: retired.class.describe(),
        since_s: retired.lasts(now).as_secs(),
        next_probe_s: retired.next_probe.since(now).as_secs(),
    })
}

fn budget(now: Timestamp, backend: &Backend) -> Option<BudgetStatus> {
    let pace = backend.pace()?;
    Some(BudgetStatus {
        monthly: pace.budget(),
        used: round(pace.used()),
        month_gone: pace.month_gone(now).map(round),
        kept_share: round(if pace.is_exhausted() { 0.0 } else { pace.share(now) }),
    })
}

/// A change as a sentence about the backend.
pub(super) fn in_words(chain: &Chain, note: &Note) -> String {
    match note.change {
        Change::Ejected { class, failures_in_a_row, error_rate } => format!(
            "lost its place for {} calls: {failures_in_a_row} failures in a row, {:.0} % of the latest calls failed",
            class.name(),
            error_rate * 100.0
        ),
        Change::Silent { class } => {
            format!("lost its place for {} calls: it takes them and answers nothing", class.name())
        }
        Change::Paused { class } => format!("is left alone for a while: {}", class.describe()),
        Change::Retired { class } => {
            format!("is retired: {}, whatever is asked; it is asked again within an hour", class.describe())
        }
        Change::Returned => "answers again, and is no longer retired".to_owned(),
        Change::Condemned => "lost its place because its failure domain fails".to_owned(),
        Change::Cleared => "is no longer held responsible for its failure domain".to_owned(),
        Change::Readmitted { class } => format!("takes part in {} calls in full again", class.name()),
        Change::Favoured { instead_of: None } => "serves from now on".to_owned(),
        Change::Favoured { instead_of: Some(before) } => {
            format!("serves from now on instead of {}", chain.link(before).name)
        }
    }
}

fn quantiles_ms(backend: &Backend, class: MethodClass) -> Option<[f64; 3]> {
    let experience = backend.experience(class);
    let ms = |q| experience.quantile(q).map(|latency| round(latency.as_secs_f64() * 1000.0));
    Some([ms(0.5)?, ms(0.95)?, ms(0.99)?])
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn health(now: Timestamp, backend: &Backend) -> BTreeMap<&'static str, HealthStatus> {
    MethodClass::ALL
        .into_iter()
        .filter(|class| backend.health(*class).is_known())
        .map(|class| {
            let health = backend.health(class);
            let status = HealthStatus {
                error_rate: round(health.error_rate(now)),
                latency_ms: round(health.latency(now).as_secs_f64() * 1000.0),
                quantiles_ms: quantiles_ms(backend, class),
            };
            (class.name(), status)
        })
        .collect()
}
