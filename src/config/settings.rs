//! The configuration once it is known to be sound: plain types, all defaults filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::address::{Listen, Network};
use super::presets;
use super::quantity::RateLimit;
use super::ranges::AddressRanges;
use super::secret::Secret;
use super::url::BackendUrl;
use crate::ethereum::chains::{ChainPreset, Finality};
use crate::ethereum::{Method, MethodClass};

/// A sound configuration.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What listens, and what it lets in.
    pub server: Server,
    /// The chains, in the order of the file; the first is the default at `/`. Never empty.
    pub chains: Vec<Chain>,
    /// How requests find their way.
    pub routing: Routing,
    /// How transactions are kept and delivered.
    pub transactions: Transactions,
    /// What answers are kept, and where.
    pub cache: Cache,
    pub(super) notes: Vec<String>,
}

impl Config {
    /// The chain at `/`.
    pub fn default_chain(&self) -> &Chain {
        &self.chains[0]
    }

    /// The chain of this name, preset alias or decimal chain id; exact.
    pub fn chain(&self, name_or_id: &str) -> Option<&Chain> {
        self.chains
            .iter()
            .find(|chain| chain.name == name_or_id)
            .or_else(|| {
                let id = name_or_id.parse::<u64>().ok()?;
                self.chains.iter().find(|chain| chain.chain_id == id && id.to_string() == name_or_id)
            })
            .or_else(|| {
                let has = |chain: &&Chain| chain.preset.is_some_and(|p| p.aliases.contains(&name_or_id));
                self.chains.iter().find(has)
            })
    }

    /// What is right and still worth knowing, one line each: keys that take effect in a later
    /// version, and the like.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Server {
    /// Addresses to listen on.
    pub listen: Listen,
    /// Host names, besides loopback and the listening addresses, that the `Host` header may carry;
    /// `*` for any. Lower case, without port.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call; `*` for any.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Most calls in one batch.
    pub max_batch: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most filters of one client on one chain.
    pub max_filters: usize,
    /// WebSocket connections.
    pub websocket: WebSocket,
    /// Longest time a connection may take to send a request's head; it bounds idle keep-alive too.
    pub header_timeout: Duration,
    /// Longest time a request's body may take.
    pub body_timeout: Duration,
    /// Bearer tokens, any of which lets in; empty lets everybody in.
    pub tokens: Vec<Secret>,
    /// Certificate and key, where the server itself speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// How long work in flight may take at the end.
    pub shutdown_grace: Duration,
}

/// `[server.websocket]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocket {
    /// Most subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Most bytes of notifications that may wait for one connection to read them.
    pub max_queue: usize,
    /// Most messages of one connection that are worked on at a time; more wait unread.
    pub max_in_flight: usize,
    /// A connection is asked for a sign of life this often, and closed after twice that without any.
    pub ping_interval: Duration,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[chains.NAME]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Chain {
    /// Its name in the file and in the URL.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// What `net_version` answers.
    pub network_id: u64,
    /// Time between blocks.
    pub block_time: Duration,
    /// How it settles.
    pub finality: Finality,
    /// What was known beforehand.
    pub preset: Option<&'static ChainPreset>,
    /// Patterns of methods that go through although refused by default.
    pub allow_methods: Vec<MethodPattern>,
    /// Patterns of methods that are refused.
    pub deny_methods: Vec<MethodPattern>,
    /// The ways in, in the order of the file. Never empty.
    pub backends: Vec<Backend>,
}

impl Chain {
    /// Whether it is served by the presets' public endpoints alone, which are small and shared by many.
    pub fn is_public(&self) -> bool {
        let public = presets::backends(self.chain_id);
        self.backends.iter().all(|backend| public.iter().any(|known| known.url == backend.url))
    }

    /// Whether a method may be called here; `Err` is the hint for the caller.
    ///
    /// The most exact pattern that fits decides, `deny_methods` on a tie; without one, the
    /// method's own default. `name` is the name as the client sent it, decoded. A method is refused in
    /// any spelling, since nodes and gateways exist that fold case, and allowed in the written one only.
    pub fn permits(&self, name: &str, method: &Method) -> Result<(), &'static str> {
        let allow = self.allow_methods.iter().filter_map(|pattern| pattern.fits(name)).max();
        let deny = self.deny_methods.iter().filter_map(|pattern| pattern.fits_in_any_case(name)).max();
        match (allow, deny) {
            (Some(allow), Some(deny)) if allow > deny => Ok(()),
            (_, Some(_)) => Err("is refused by deny_methods of this chain"),
            (Some(_), None) => Ok(()),
            (None, None) => method.refusal.map_or(Ok(()), |refusal| Err(refusal.hint())),
        }
    }
}

/// A method name, or a beginning of names followed by `*`.
#[derive(Clone, PartialEq, Eq)]
pub struct MethodPattern(pub(super) Box<str>);

impl MethodPattern {
    /// How exactly the pattern fits: greater is more exact, `None` is not at all.
    fn fits(&self, name: &str) -> Option<usize> {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning).then_some(beginning.len()),
            None => (*self.0 == *name).then_some(usize::MAX),
        }
    }

    /// The same for a name in other letters.
    fn fits_in_any_case(&self, name: &str) -> Option<usize> {
        let same = |name: &str, pattern: &str| name.eq_ignore_ascii_case(pattern);
        match self.0.strip_suffix('*') {
            Some(beginning) => {
                name.get(..beginning.len()).is_some_and(|n| same(n, beginning)).then_some(beginning.len())
            }
            None => same(name, &self.0).then_some(usize::MAX),
        }
    }

    /// Whether the pattern fits a name, letter for letter.
    pub fn matches(&self, name: &str) -> bool {
        self.fits(name).is_some()
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MethodPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a backend carries everyday traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tier {
    /// In normal use.
    #[default]
    Primary,
    /// Used where no primary can serve.
    Backup,
}

/// `[[chains.NAME.backends]]`: one way into a chain.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Backend {
    /// Its name, unique within the chain.
    pub name: String,
    /// Where requests go.
    pub url: BackendUrl,
    /// Where it pushes its heads over a WebSocket: they come at once then, and it is asked for them less often.
    pub ws: Option<BackendUrl>,
    /// Failure domain: the company.
    pub provider: Option<String>,
    /// Failure domain: the cloud or data centre.
    pub cloud: Option<String>,
    /// Failure domain: the cloud's region.
    pub region: Option<String>,
    /// Failure domain: a CDN or load balancer shared with others.
    pub edge: Option<String>,
    /// Node software.
    pub client: Option<String>,
    /// Further failure domains, free-form.
    pub labels: BTreeMap<String, String>,
    /// Everyday or backup.
    pub tier: Tier,
    /// Gets transactions only (a protect or private relay).
    pub private: bool,
    /// A known limit.
    pub rate_limit: Option<RateLimit>,
    /// Calls a month (UTC) to pace, in plain reads: what a provider charges for `eth_getBalance` is 1, dearer
    /// methods count for more.
    pub monthly_budget: Option<u64>,
    /// Calls of the proxy's own: heads, chain ids and proofs that it is well again. `None` is 300 an hour.
    pub probe_budget: Option<RateLimit>,
    /// Headers added to each request.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Most connections at a time; `None` leaves it to the default of the connection pool.
    pub max_connections: Option<usize>,
    /// Configured, and not used.
    pub cordoned: bool,
}

impl Backend {
    /// The failure domains it lies in, as `(kind, name)`: provider, cloud, region, edge, client and
    /// its labels. Names are lower case; a region is qualified by its cloud (`aws/us-east-1`).
    ///
    /// Without a provider the host stands for it: two keys for one host fail together.
    pub fn domains(&self) -> Vec<(String, String)> {
        let lower = |text: &str| text.to_lowercase();
        let provider = self.provider.as_deref().unwrap_or_else(|| self.url.host());
        let mut domains = vec![("provider".to_owned(), lower(provider))];
        if let Some(cloud) = &self.cloud {
            domains.push(("cloud".to_owned(), lower(cloud)));
        }
        if let Some(region) = &self.region {
            let region = match &self.cloud {
                Some(cloud) => format!("{cloud}/{region}"),
                None => region.clone(),
            };
            domains.push(("region".to_owned(), lower(&region)));
        }
        for (kind, name) in [("edge", &self.edge), ("client", &self.client)] {
            if let Some(name) = name {
                domains.push((kind.to_owned(), lower(name)));
            }
        }
        domains.extend(self.labels.iter().map(|(kind, name)| (kind.clone(), lower(name))));
        domains
    }
}

/// `[routing]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Routing {
    /// Longest time an ordinary request may take, all attempts together.
    pub deadline: Duration,
    /// The same for traces and database walks.
    pub heavy_deadline: Duration,
    /// Longest time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Most attempts for one request, hedges included.
    pub max_attempts: usize,
    /// Whether slow reads are sent to a second backend.
    pub hedging: bool,
    /// A hedge is never sent sooner.
    pub hedge_delay_min: Duration,
    /// A hedge is never sent later.
    pub hedge_delay_max: Duration,
    /// How many extra calls may be made.
    pub budgets: Budgets,
    /// Independent backends that must agree on a read; 1 asks one.
    pub read_quorum: usize,
    /// Whose the addresses of backends are, as far as lists of them were named.
    pub address_ranges: AddressRanges,
    /// Largest answer taken from a backend, in bytes.
    pub max_answer: usize,
    /// Blocks that one `eth_getLogs` may search in several calls, where backends take fewer in one; 0 never cuts it.
    pub logs_range_max: u64,
    /// Which certificate authorities are trusted.
    pub roots: Roots,
}

impl Routing {
    /// The deadline of one call: what suits the method, within the configured bounds. Submissions
    /// keep their own, since some wait for a receipt.
    pub fn deadline_for(&self, method: &Method) -> Duration {
        match method.health_class() {
            MethodClass::Submit => method.timeout(),
            MethodClass::Trace => method.timeout().min(self.heavy_deadline),
            _ => method.timeout().min(self.deadline),
        }
    }
}

/// `routing.budgets`: extra calls (hedges, retries) as a share of all calls, 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budgets {
    /// While all is calm.
    pub calm: f64,
    /// While backends fail; not below `calm`.
    pub fault: f64,
}

/// `routing.roots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// The list Mozilla keeps, as built in.
    Webpki,
    /// The list of the operating system.
    Native,
    /// A PEM file.
    File(PathBuf),
}

/// `[transactions]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Transactions {
    /// Where the journal lies. `None`: the program takes the user's state folder, a library keeps transactions in memory
    /// alone.
    pub journal: Option<PathBuf>,
    /// How many backends a transaction is sent to at once.
    pub fanout: usize,
    /// What happens when no backend can be reached.
    pub when_unreachable: WhenUnreachable,
    /// A private transaction that is not in a block after so long is sent to public backends too. `None`: never.
    pub private_escalates_after: Option<Duration>,
}

/// `transactions.when_unreachable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// An error, and nothing is sent later.
    Reject,
    /// The hash, and delivery when a way is back.
    Hold,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cache {
    /// Memory for answers, in bytes; 0 keeps none.
    pub memory: u64,
    /// A folder for answers that outlive a restart.
    pub disk: Option<PathBuf>,
    /// The most that they may take there, in bytes.
    pub disk_max: u64,
    /// Calls that ask the same at the same time share one answer.
    pub coalesce: bool,
    /// A store that replicas share.
    pub shared: Option<SharedStore>,
}

/// The address of a shared store; shows scheme, host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedStore {
    pub(super) url: BackendUrl,
    pub(super) text: Secret,
}

impl SharedStore {
    /// The whole address with its password. **Secret**.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

impl fmt::Display for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}
