//! What a scenario says, as its file says it. Times are those of the drill: an outage of hours is told in
//! minutes, while latencies are real.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::world::Answer;
use crate::config::parse_duration;

/// One incident to be replayed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short name on the command line.
    pub id: String,
    /// One line.
    pub title: String,
    /// What happened, when and where.
    #[serde(default)]
    pub history: String,
    /// The whole drill.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// How the drill's time relates to the incident's, for people.
    #[serde(default)]
    pub compression: String,
    /// The chain.
    pub chain: ChainSpec,
    /// Who asks what.
    pub load: Load,
    /// The backends, in the order of a configuration.
    pub backends: Vec<BackendSpec>,
    /// What happens when; in order, without overlap.
    pub phases: Vec<Phase>,
    /// The bars.
    #[serde(default)]
    pub expect: Expect,
}

/// The chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// Chain id.
    pub id: u64,
    /// The real chain's.
    #[serde(deserialize_with = "duration")]
    pub block_time: Duration,
    /// The drill's.
    #[serde(deserialize_with = "duration")]
    pub simulated_block_time: Duration,
}

/// Who asks what. Arrivals are Poisson.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Reads per second.
    pub reads: f64,
    /// Signed transactions per second.
    #[serde(default)]
    pub transactions: f64,
    /// Wallets that share the reads; each remembers the highest block it was told.
    #[serde(default = "one")]
    pub sessions: u32,
    /// Shares by method; they need not add up to one.
    #[serde(default = "usual_mix")]
    pub mix: BTreeMap<String, f64>,
    /// Share of reads about a block older than 128.
    #[serde(default)]
    pub historical: f64,
    /// Share of reads that carry the mark which `match.marked` looks for: a sanctioned address, say.
    #[serde(default)]
    pub marked: f64,
    /// How often a client repeats what failed.
    #[serde(default)]
    pub client_retries: u32,
    /// How long it waits before.
    #[serde(default, deserialize_with = "duration")]
    pub client_backoff: Duration,
}

/// One backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    /// Unique.
    pub name: String,
    /// Failure domain: the company.
    pub provider: Option<String>,
    /// Failure domain: whose machines.
    pub cloud: Option<String>,
    /// Failure domain: where in that cloud.
    pub region: Option<String>,
    /// Failure domain: the CDN in front.
    pub edge: Option<String>,
    /// Node software.
    pub client: Option<String>,
    /// Further domains, free-form.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of an answer over an open connection; log-normal.
    pub latency: Quantiles,
    /// Share of calls that fail with 502 on the best of days.
    #[serde(default = "usual_error_rate")]
    pub error_rate: f64,
    /// How long after a block was made this backend knows it; log-normal.
    #[serde(default = "usual_head_lag")]
    pub head_lag: Quantiles,
    /// Calls per second before 429.
    #[serde(default = "usual_rate_limit")]
    pub rate_limit: f64,
    /// Keeps old state.
    #[serde(default = "yes")]
    pub archive: bool,
    /// Takes transactions only.
    #[serde(default)]
    pub private: bool,
    /// Serves only while no primary can.
    #[serde(default)]
    pub backup: bool,
}

impl BackendSpec {
    /// Its failure domains as selectors name them: `provider:infura`, `region:aws/us-east-1`.
    pub fn domains(&self) -> Vec<(String, String)> {
        let lower = |text: &str| text.trim().to_lowercase();
        let mut domains = Vec::new();
        let mut add = |kind: &str, value: Option<String>| {
            domains.extend(value.map(|value| (kind.to_owned(), value)));
        };
        add("provider", self.provider.as_deref().map(lower));
        add("cloud", self.cloud.as_deref().map(lower));
        add(
            "region",
            self.region.as_deref().map(|region| match &self.cloud {
                Some(cloud) => lower(&format!("{}/{region}", cloud.trim())),
                None => lower(region),
            }),
        );
        add("edge", self.edge.as_deref().map(lower));
        add("client", self.client.as_deref().map(lower));
        for (kind, value) in &self.labels {
            add(kind, Some(lower(value)));
        }
        domains
    }
}

/// A log-normal distribution.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// Median.
    #[serde(deserialize_with = "duration")]
    pub p50: Duration,
    /// One in a hundred is above.
    #[serde(deserialize_with = "duration")]
    pub p99: Duration,
}

/// A stretch of the drill.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// For people.
    pub name: String,
    /// First moment.
    #[serde(deserialize_with = "duration")]
    pub start: Duration,
    /// First moment after it.
    #[serde(deserialize_with = "duration")]
    pub end: Duration,
    /// What is wrong meanwhile. In their order the first that makes a call fail decides.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// One thing that is wrong in a domain. Shares are probabilities per call, 0 to 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `kind:name` of a failure domain, or `*`.
    pub at: String,
    /// Only this part of the callers.
    pub affected: Option<Affected>,
    /// Only connections that are made now.
    #[serde(default)]
    pub new_connections: bool,
    /// What calls come to, and how often; the rest succeed.
    #[serde(default)]
    pub outcomes: BTreeMap<Answer, f64>,
    /// Multiplies the shares, from the phase's start to its end.
    pub ramp: Option<Ramp>,
    /// Comes and goes.
    pub flap: Option<Flap>,
    /// Slowness.
    pub latency: Option<Latency>,
    /// A limit per second and backend.
    pub capacity: Option<Capacity>,
    /// A limit per window and backend.
    pub quota: Option<Quota>,
    /// Only these methods.
    pub methods: Option<Methods>,
    /// Only calls like this.
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
    /// Methods that go on working when they are asked as a probe: cheap ones.
    #[serde(default)]
    pub probe_exempt: Vec<String>,
    /// What it takes for the chain's head.
    pub head: Option<Head>,
    /// What is wrong in successful answers.
    pub content: Option<Content>,
    /// What becomes of transactions it accepts.
    pub transactions: Option<TransactionFaults>,
}

/// A part of the callers, the same ones all along.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affected {
    /// How many, 0 to 1.
    pub fraction: f64,
    /// What decides.
    pub by: Sticky,
}

/// What decides whether a caller is affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// The connection: another one may work.
    Connection,
    /// Our address: every call, or none.
    Client,
    /// The call, wherever it is repeated.
    Request,
    /// Our account: every call, or none.
    Project,
}

/// A straight line over the phase.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Ramp {
    pub from: f64,
    pub to: f64,
}

/// Active for `down` out of each `period`, each time early or late by up to `jitter`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Flap {
    #[serde(deserialize_with = "duration")]
    pub period: Duration,
    #[serde(deserialize_with = "duration")]
    pub down: Duration,
    #[serde(default, deserialize_with = "duration")]
    pub jitter: Duration,
}

/// Slowness.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Everything takes so many times as long.
    #[serde(default = "unchanged")]
    pub times: f64,
    /// Share of calls that stall on top.
    #[serde(default)]
    pub stall: f64,
    /// For how long.
    #[serde(default, deserialize_with = "duration")]
    pub stall_for: Duration,
}

/// What a backend can take.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Calls per second.
    pub rps: f64,
    /// What the rest comes to.
    pub on_exceed: Answer,
    /// Calls wait for their turn up to so long before that: overload shows as latency first.
    #[serde(default, deserialize_with = "duration")]
    pub queue: Duration,
    /// `Retry-After` of the refusal.
    #[serde(default, deserialize_with = "optional_duration")]
    pub retry_after: Option<Duration>,
}

/// So many calls in each window.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How many.
    pub requests: u64,
    /// How long until the count starts again.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    /// What the rest comes to.
    pub on_exceed: Answer,
    /// `Retry-After` of the refusal.
    #[serde(default, deserialize_with = "optional_duration")]
    pub retry_after: Option<Duration>,
}

/// `{ only = [...] }` or `{ except = [...] }`. `NAME@old` is the method asked about an old block.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Methods {
    #[serde(default)]
    pub only: Vec<String>,
    #[serde(default)]
    pub except: Vec<String>,
}

/// Only calls like this; everything that is given must hold.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// About a block older than so many: `load.historical` of the reads.
    pub older_than: Option<u64>,
    /// About the latest block.
    #[serde(default)]
    pub head: bool,
    /// Marked: `load.marked` of the reads.
    #[serde(default)]
    pub marked: bool,
}

/// What a backend takes for the chain's head.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// In which way it is wrong.
    pub mode: HeadMode,
    /// `lag`, `pending_lag`: blocks behind.
    #[serde(default)]
    pub blocks: u64,
    /// `lag`: more or fewer by up to so many.
    #[serde(default)]
    pub jitter: u64,
    /// `catchup`: blocks behind at the phase's start.
    #[serde(default)]
    pub from_blocks: u64,
    /// `frozen_restart`: the node restarts this often, and gains a block each time.
    #[serde(default, deserialize_with = "duration")]
    pub restart_every: Duration,
    /// `cluster`: the nodes behind one address.
    #[serde(default)]
    pub nodes: Vec<ClusterNode>,
    /// `fork`: which one; backends on the same one agree.
    #[serde(default)]
    pub branch: String,
    /// `fork`: its blocks per canonical block.
    #[serde(default = "unchanged")]
    pub growth: f64,
    /// `missed_slots`, `finalized_frozen`: share of slots without a block, for everyone.
    #[serde(default)]
    pub missed_slots: f64,
}

/// In which way a head is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadMode {
    /// Stops at the phase's start.
    Frozen,
    /// As frozen, with a block gained at each restart.
    FrozenRestart,
    /// Always behind.
    Lag,
    /// Behind, and back in step at the phase's end.
    Catchup,
    /// Each call meets another node, each with its own lag.
    Cluster,
    /// Another branch from the phase's start on.
    Fork,
    /// The chain itself stops.
    Halt,
    /// `latest` moves, `safe` and `finalized` do not.
    FinalizedFrozen,
    /// Slots stay empty, for everyone.
    MissedSlots,
    /// Only `pending` is old.
    PendingLag,
}

/// A node of a cluster.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterNode {
    /// Share of the calls, in proportion.
    pub weight: f64,
    /// Blocks behind.
    #[serde(default)]
    pub lag: u64,
    /// Stands still since the phase's start instead.
    #[serde(default)]
    pub frozen: bool,
}

/// What is wrong in successful answers, each a share of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// A JSON-RPC error with `error_text` instead.
    pub error: f64,
    /// What it says.
    pub error_text: String,
    /// `eth_getBalance` says 0.
    pub balance_zero: f64,
    /// `eth_getBalance` says anything.
    pub balance_random: f64,
    /// What `eth_chainId` says.
    pub chain_id: Option<u64>,
    /// How often it does.
    pub chain_id_in: f64,
    /// `eth_sendRawTransaction` names another hash.
    pub hash_mismatch: f64,
    /// `eth_getLogs` leaves some out.
    pub logs_dropped: f64,
    /// `eth_getLogs` ends at the answering node's head without a word.
    pub logs_end_at_head: bool,
    /// `eth_getTransactionCount` is too low.
    pub nonce_stale: f64,
}

/// What becomes of transactions, each a share of those that reach it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransactionFaults {
    /// Accepted, and forgotten.
    pub dropped: f64,
    /// Accepted and kept, never included.
    pub never_included: f64,
    /// Accepted, and the answer never comes.
    pub silent_after_accept: f64,
    /// Accepted; the answer is `already known`.
    pub already_known: f64,
    /// Not accepted; the answer is `nonce too low`.
    pub nonce_too_low: f64,
}

/// The bars. What is not given is not judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // `docs/scenarios.md` defines each, and `expectations` how it is measured
pub struct Expect {
    pub read_availability: Option<f64>,
    pub transaction_availability: Option<f64>,
    pub transactions_lost: Option<u64>,
    pub duplicate_harm: Option<u64>,
    pub wrong_answers: Option<u64>,
    pub wrong_answers_before_detection: Option<u64>,
    pub logs_incomplete: Option<u64>,
    pub fork_reads: Option<u64>,
    pub fork_reads_before_detection: Option<u64>,
    pub head_regressions: Option<u64>,
    pub stale_reads: Option<u64>,
    #[serde(deserialize_with = "optional_duration")]
    pub divert_p50: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    pub divert_p99: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    pub added_p99: Option<Duration>,
    pub amplification: Option<f64>,
    #[serde(deserialize_with = "optional_duration")]
    pub readmitted_within: Option<Duration>,
    pub switches_per_minute: Option<u64>,
    pub ejections_in_halt: Option<u64>,
    pub privacy_violations: Option<u64>,
    pub goodput_after: Option<f64>,
    #[serde(deserialize_with = "optional_duration")]
    pub recovered_within: Option<Duration>,
    pub calls_to_dead_per_minute: Option<f64>,
    #[serde(deserialize_with = "optional_duration")]
    pub retired_within: Option<Duration>,
    pub calls_to_retired_per_minute: Option<f64>,
    pub inclusion_p99_blocks: Option<u64>,
    /// In words; shown, not judged.
    pub also: Vec<String>,
    /// For people.
    pub notes: Vec<String>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn unchanged() -> f64 {
    1.0
}

fn usual_error_rate() -> f64 {
    0.0005
}

fn usual_rate_limit() -> f64 {
    100.0
}

fn usual_head_lag() -> Quantiles {
    Quantiles { p50: Duration::from_millis(150), p99: Duration::from_millis(900) }
}

/// What wallets and backends ask, by share.
pub(super) fn usual_mix() -> BTreeMap<String, f64> {
    [
        ("eth_call", 0.42),
        ("eth_blockNumber", 0.14),
        ("eth_getBalance", 0.12),
        ("eth_getLogs", 0.06),
        ("eth_getTransactionReceipt", 0.08),
        ("eth_getTransactionCount", 0.04),
        ("eth_getBlockByNumber", 0.08),
        ("eth_estimateGas", 0.03),
        ("eth_feeHistory", 0.02),
        ("eth_chainId", 0.01),
    ]
    .into_iter()
    .map(|(name, share)| (name.to_owned(), share))
    .collect()
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?} {error}")))
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}
