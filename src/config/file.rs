//! The configuration file as it is written. These types are the one source of its JSON Schema, of
//! the check for unknown keys and wrong types, and of the reference.
//!
//! None of them is `Debug`: they hold addresses and tokens as plain text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Outrigger's configuration. Every key is optional. `${VAR}` inside a string is taken from the
/// environment, `${VAR:-default}` has a default, and `$${` stands for `${`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// What listens, and what it lets in.
    pub server: ServerFile,
    /// The chains by name; the first in the file is the default at `/`. Without any, every known
    /// chain is served over public endpoints.
    #[schemars(extend("maxProperties" = super::CHAINS_MAX))]
    pub chains: BTreeMap<String, ChainFile>,
    /// How requests find their way.
    pub routing: RoutingFile,
    /// How transactions are kept and delivered.
    pub transactions: TransactionsFile,
    /// What answers are kept, and where.
    pub cache: CacheFile,
}

/// One value or an array of them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    /// One value.
    One(String),
    /// Several.
    Many(#[schemars(length(max = 64))] Vec<String>),
}

/// Bytes as a number, or a text with a unit, as `"16MiB"`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SizeFile {
    /// Bytes.
    Bytes(u64),
    /// With a unit.
    Text(String),
}

/// What listens, and what it lets in.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerFile {
    /// Address and port, or several. RPC, WebSocket, dashboard, status and metrics share it.
    /// Default `localhost:8545`, which is both `127.0.0.1:8545` and `[::1]:8545`.
    #[schemars(example = &"127.0.0.1:8545")]
    pub listen: Option<OneOrMany>,
    /// Names that the `Host` header may carry, besides loopback and the listening addresses; `*`
    /// for any. It keeps web pages from reaching a local proxy through DNS rebinding.
    pub allowed_hosts: Option<OneOrMany>,
    /// Origins of web pages that may call. Default `["*"]`.
    pub allowed_origins: Option<OneOrMany>,
    /// Largest request body. Default `"16MiB"`: a transaction with six blobs is 1.6 MB as hex.
    #[schemars(example = &"16MiB")]
    pub max_body: Option<SizeFile>,
    /// Most calls in one batch. Default 500.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_batch: Option<u64>,
    /// Most connections at a time. Default 4096.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<u64>,
    /// Most filters (`eth_newFilter` and the like) of one client on one chain. Default 1000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_filters: Option<u64>,
    /// WebSocket connections.
    pub websocket: WebSocketFile,
    /// Longest time a connection may take to send a request's head, idle time included. Default
    /// `"75s"`: shorter cuts the connections that clients keep.
    #[schemars(example = &"75s")]
    pub header_timeout: Option<String>,
    /// Longest time a request's body may take. Default `"30s"`.
    #[schemars(example = &"30s")]
    pub body_timeout: Option<String>,
    /// Who may call.
    pub auth: AuthFile,
    /// Certificate and key, if the server itself shall speak TLS.
    pub tls: TlsFile,
    /// Addresses or CIDR blocks of proxies whose `X-Forwarded-For` is believed. Default none.
    #[schemars(example = &"10.0.0.0/8")]
    pub trusted_proxies: Option<OneOrMany>,
    /// How long work in flight may take at the end. Default `"10s"`.
    #[schemars(example = &"10s")]
    pub shutdown_grace: Option<String>,
}

/// WebSocket connections. Messages are bounded by `max_body`, their number by `max_connections`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebSocketFile {
    /// Most subscriptions of one connection. Default 128.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_subscriptions: Option<u64>,
    /// Notifications that may wait for one connection to read them; one that is slower is closed. Default `"4MiB"`.
    #[schemars(example = &"4MiB")]
    pub max_queue: Option<SizeFile>,
    /// Most messages of one connection that are worked on at a time; more wait unread. Default 64.
    #[schemars(range(min = 1, max = 1000))]
    pub max_in_flight: Option<u64>,
    /// A connection is asked for a sign of life this often, and closed after twice that without any. Default `"30s"`.
    #[schemars(example = &"30s")]
    pub ping_interval: Option<String>,
}

/// Who may call.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthFile {
    /// Bearer tokens, any of which lets in. Default none: everybody who reaches the port may call.
    #[schemars(example = ["${OUTRIGGER_TOKEN}"], length(max = 64))]
    pub tokens: Vec<String>,
}

/// Certificate and key.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFile {
    /// PEM file with the certificate chain.
    pub cert: Option<String>,
    /// PEM file with its private key.
    pub key: Option<String>,
}

/// One chain. For known chains everything is filled in, backends included.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChainFile {
    /// EIP-155 chain id. Known chains need none.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64), example = 1)]
    pub chain_id: Option<u64>,
    /// What `net_version` answers, where it differs from the chain id.
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_u64))]
    pub network_id: Option<u64>,
    /// Time between blocks. Default that of the known chain, else `"12s"`.
    #[schemars(example = &"12s")]
    pub block_time: Option<String>,
    /// For chains whose nodes do not know the tag `finalized`: a block this deep is taken for final.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub finality_depth: Option<u64>,
    /// Methods that go through although refused by default; `debug_*` covers all that begin so.
    /// The most exact pattern decides, and `deny_methods` on a tie.
    #[schemars(example = ["debug_dumpBlock"])]
    pub allow_methods: Option<OneOrMany>,
    /// Methods that are refused.
    #[schemars(example = ["trace_*"])]
    pub deny_methods: Option<OneOrMany>,
    /// Add the known public endpoints as backups. Default false.
    pub public_backup: bool,
    /// The ways in. Without any, the public endpoints of a known chain.
    #[schemars(length(max = super::BACKENDS_MAX))]
    pub backends: Vec<BackendFile>,
}

/// One way into a chain.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["url"]))]
pub(super) struct BackendFile {
    /// A name, unique within the chain. Default the provider, else the host.
    #[schemars(length(max = 64), example = &"infura")]
    pub name: Option<String>,
    /// Where requests go. The key in it is never shown.
    #[schemars(example = &"https://mainnet.infura.io/v3/${INFURA_KEY}")]
    pub url: Option<String>,
    /// Where it pushes its heads over a WebSocket: they come at once then, and it is asked for them less often.
    #[schemars(example = &"wss://mainnet.infura.io/ws/v3/${INFURA_KEY}")]
    pub ws: Option<String>,
    /// Failure domain: the company.
    #[schemars(length(max = 64), example = &"infura")]
    pub provider: Option<String>,
    /// Failure domain: the cloud or data centre.
    #[schemars(length(max = 64), example = &"aws")]
    pub cloud: Option<String>,
    /// Failure domain: the cloud's region.
    #[schemars(length(max = 64), example = &"us-east-1")]
    pub region: Option<String>,
    /// Failure domain: a CDN or load balancer shared with others.
    #[schemars(length(max = 64), example = &"cloudflare")]
    pub edge: Option<String>,
    /// Node software.
    #[schemars(length(max = 64), example = &"geth")]
    pub client: Option<String>,
    /// Further failure domains, as `{ datacentre = "fra-2" }`.
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
    /// `primary` (default), or `backup`: used where no primary can serve.
    pub tier: Option<TierFile>,
    /// Gets transactions only (a protect or private relay). Default false.
    pub private: bool,
    /// A known limit, as requests per time.
    #[schemars(example = &"100/s")]
    pub rate_limit: Option<String>,
    /// Calls a month (UTC), to pace, in plain reads: `eth_getBalance` is 1, `eth_call` 1.3, `eth_getLogs` 3. For
    /// a plan in credits, divide by what it charges for `eth_getBalance`.
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807_u64), example = 3_000_000)]
    pub monthly_budget: Option<u64>,
    /// Calls of the proxy's own, as calls per time: the head now and then, and light calls that prove it well
    /// again. Default `"300/h"`.
    #[schemars(example = &"300/h")]
    pub probe_budget: Option<String>,
    /// Headers added to each request; their values are never shown.
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// Most connections at a time.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connections: Option<u64>,
    /// Configured, and not used. Default false.
    pub cordoned: bool,
}

/// Everyday or backup.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TierFile {
    /// In normal use.
    Primary,
    /// Used where no primary can serve.
    Backup,
}

/// How requests find their way.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RoutingFile {
    /// Longest time an ordinary request may take, all attempts together. Each method has its own
    /// deadline below that. Default `"10s"`.
    #[schemars(example = &"10s")]
    pub deadline: Option<String>,
    /// The same for traces and database walks. Default `"120s"`.
    #[schemars(example = &"120s")]
    pub heavy_deadline: Option<String>,
    /// Longest time to connect, TLS included. Default `"1s"`.
    #[schemars(example = &"1s")]
    pub connect_timeout: Option<String>,
    /// Most attempts for one request, hedges included. Default 4.
    #[schemars(range(min = 1, max = 16))]
    pub max_attempts: Option<u64>,
    /// Whether slow reads are sent to a second backend. Default true.
    pub hedging: Option<bool>,
    /// A hedge is never sent sooner. Default `"30ms"`.
    #[schemars(example = &"30ms")]
    pub hedge_delay_min: Option<String>,
    /// A hedge is never sent later. Default `"250ms"`.
    #[schemars(example = &"250ms")]
    pub hedge_delay_max: Option<String>,
    /// How many extra calls (hedges and retries) may be made.
    pub budgets: BudgetsFile,
    /// Independent backends that must agree on a read. Default 1: one is asked.
    #[schemars(range(min = 1, max = 5))]
    pub read_quorum: Option<u64>,
    /// Largest answer taken from a backend. Default `"128MiB"`.
    #[schemars(example = &"128MiB")]
    pub max_answer: Option<SizeFile>,
    /// Blocks that one `eth_getLogs` may search in several calls, where backends take fewer in one. Default 100000; 0
    /// never cuts it. What a backend takes in one call is not limited by this.
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_u64), example = 100_000)]
    pub logs_range_max: Option<u64>,
    /// Files with the addresses that clouds and CDNs publish: `ip-ranges.json` of AWS, `cloud.json` of Google,
    /// `ips-v4` and `ips-v6` of Cloudflare, ServiceTags of Azure, those of Oracle and Fastly, or a text with one
    /// network a line. A backend whose addresses lie in them is labelled with cloud, region and edge where the
    /// file leaves that open. Default none.
    #[schemars(example = ["ip-ranges.json", "ips-v4"])]
    pub address_ranges: Option<OneOrMany>,
    /// Trusted certificate authorities: `webpki` (Mozilla's, built in; default), `native` (the
    /// operating system's) or the path of a PEM file.
    #[schemars(example = &"webpki")]
    pub roots: Option<String>,
}

/// Extra calls (hedges and retries) as a share of all calls.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BudgetsFile {
    /// While all is calm. Default 0.02.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub calm: Option<f64>,
    /// While backends fail. Default 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fault: Option<f64>,
}

/// How transactions are kept and delivered.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TransactionsFile {
    /// Where the journal lies. Default: the user's state folder.
    #[schemars(example = &"outrigger-journal")]
    pub journal: Option<String>,
    /// How many backends a transaction is sent to at once. Default 3.
    #[schemars(range(min = 1, max = 16))]
    pub fanout: Option<u64>,
    /// When no backend can be reached: `reject` (default) answers with an error and sends nothing
    /// later; `hold` answers with the hash and delivers when a way is back.
    pub when_unreachable: Option<WhenUnreachableFile>,
    /// A private transaction that is not in a block after so long is sent to public backends too, where everybody sees
    /// it. Default: never.
    #[schemars(example = &"10m")]
    pub private_escalates_after: Option<String>,
}

/// What happens when no backend can be reached.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhenUnreachableFile {
    /// An error, and nothing is sent later.
    Reject,
    /// The hash, and delivery when a way is back.
    Hold,
}

/// What answers are kept, and where.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CacheFile {
    /// Memory for answers, of all chains; 0 keeps none. Default `"256MiB"`.
    #[schemars(example = &"256MiB")]
    pub memory: Option<SizeFile>,
    /// A folder for answers that outlive a restart: those that are final. Default none.
    pub disk: Option<String>,
    /// The most that they may take there. Default `"4GiB"`.
    #[schemars(example = &"4GiB")]
    pub disk_max: Option<SizeFile>,
    /// Calls that ask the same at the same time share one answer. Default `true`.
    pub coalesce: Option<bool>,
    /// A store that replicas share. Default none.
    #[schemars(example = &"redis://127.0.0.1:6379")]
    pub shared: Option<String>,
}
