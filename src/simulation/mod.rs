//! A simulated fleet over a simulated chain, so that everything can be tried with no network: real wallets,
//! the real gateway, real sockets. **It is a simulation**: its ether is worth nothing, its accounts' keys are
//! public, and there is no EVM behind it; transfers are executed, contracts are not.
//!
//! ```text
//! wallet ──> server, gateway ──> simulated-aws    (us-east-1)   ┐
//!                           ├──> simulated-gcp    (us-central1) ├ one chain: blocks arrive after 50 to 150 ms,
//!                           └──> simulated-metal  (fra)         ┘ transactions spread within 100 ms
//! ```
//!
//! From a terminal, with anything that speaks JSON-RPC on the other side:
//!
//! ```text
//! outrigger --simulate                                  # three clouds, a block a second, chain id 31337
//! outrigger --simulate --kill aws@20s                   # a cloud goes away and stays away
//! outrigger --simulate --kill aws@20s..40s --kill simulated-gcp@60s..70s
//! outrigger --simulate --config outrigger.toml          # your own backends' names and labels, simulated
//!
//! cast send --rpc-url http://localhost:8545 --private-key $KEY 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --value 1ether
//! ```
//!
//! In code, a drill sets any [`Fault`] at any time:
//!
//! ```
//! use outrigger::Gateway;
//! use outrigger::simulation::{Fault, Settings, Simulation};
//!
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! let (simulation, config) = Simulation::start(&Settings::default(), None)?;
//! let gateway = Gateway::new(&config)?;
//! simulation.backends()[0].set(Some(Fault::Hang));
//! let head = gateway.call::<String>(None, "eth_blockNumber", ()).await;
//! assert!(head.is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accounts;
mod backend;
#[deny(clippy::disallowed_methods)]
mod block;
mod certificates;
#[deny(clippy::disallowed_methods)]
mod chain;
mod fault;
mod fees;
mod happen;
mod json;
mod names;
#[deny(clippy::disallowed_methods)]
mod node;
#[deny(clippy::disallowed_methods)]
mod outage;
#[deny(clippy::disallowed_methods)]
mod pool;
mod respond;
mod state;
mod transaction;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{self, BackendBuilder, ChainBuilder, Config, ConfigErrors};
use crate::gateway::{Gateway, GatewayError};
use crate::upstream::{Dns, Roots, Tls};

use backend::World;
use certificates::Certificates;
use chain::{Chain, Genesis};
use names::Names;
use outage::timeline;

pub use accounts::{DEV_ACCOUNTS, DevAccount, GENESIS_BALANCE};
pub use backend::{Latency, SimulatedBackend};
pub use certificates::CertificateError;
pub use fault::Fault;
pub use happen::PlannedOutages;
pub use outage::{Outage, OutageError};

/// The chain id of local test chains, never a real network's: what is signed for the simulation is worthless
/// elsewhere, and it takes nothing that was signed for elsewhere.
pub const CHAIN_ID: u64 = 31_337;
/// The chain's name in URLs; it stands at `/`.
pub const CHAIN_NAME: &str = "simulated";
/// Header timestamps are whole seconds, so blocks cannot come faster; beyond a minute nobody waits.
pub const BLOCK_TIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// The clouds, where no configuration names others: cloud and region.
const CLOUDS: [(&str, &str); 3] = [("aws", "us-east-1"), ("gcp", "us-central1"), ("metal", "fra")];

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between blocks, within [`BLOCK_TIME`].
    pub block_time: Duration,
    /// Latencies, lags and the chain's own randomness are drawn from it.
    pub seed: u64,
    /// Who goes away and when.
    pub outages: Vec<Outage>,
    /// What is spoken with the backends.
    pub transport: Transport,
}

/// What is spoken with simulated backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// HTTP/1.1 at a plain address.
    #[default]
    Plain,
    /// TLS under a name, as with providers: only [`Simulation::gateway`] finds the way.
    #[cfg(feature = "cli")]
    Tls {
        /// HTTP/2 for those who offer it; else HTTP/1.1.
        http2: bool,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self { block_time: *BLOCK_TIME.start(), seed: 1, outages: Vec::new(), transport: Transport::Plain }
    }
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// An outage that hits nobody.
    #[error("`{name}` {error}")]
    Outage {
        /// Whom it names.
        name: String,
        /// What is wrong.
        error: OutageError,
    },
    /// The configuration's names do not fit.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// No certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// No sockets on loopback.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Io(#[from] io::Error),
}

/// A running simulation; it ends when this is dropped.
pub struct Simulation {
    backends: Arc<[SimulatedBackend]>,
    world: Arc<World>,
    block_time: Duration,
    certificates: Option<Arc<Certificates>>,
    ended: CancellationToken,
    _outages: DropGuard,
}

/// How old an address grows before a gateway of [`Simulation::gateway`] asks for it again: ten times as often as
/// in the real world, so that an outage of a name need not last for minutes to be noticed.
const NAMES_REFRESHED_AFTER: Duration = Duration::from_secs(2);

impl Simulation {
    /// Starts the clouds, inside a tokio runtime. The answer's second part is the configuration to serve them
    /// with: `of`'s with its default chain's backends simulated one for one, else three clouds with all defaults.
    ///
    /// # Errors
    /// When an outage names nobody, or there is no loopback.
    pub fn start(settings: &Settings, of: Option<&Config>) -> Result<(Self, Config), SimulationError> {
        let fleet = of.map_or_else(clouds, |config| simulated(&config.default_chain().backends));
        let genesis =
            Genesis { timestamp: unix_time_s(), block_time: settings.block_time, seed: settings.seed };
        let world = Arc::new(World::new(Chain::new(genesis)));
        let started = Instant::now();
        let certificates = match settings.transport {
            Transport::Plain => None,
            #[cfg(feature = "cli")]
            Transport::Tls { http2 } => Some(Arc::new(Certificates::make(http2)?)),
        };
        let backends = fleet.iter().enumerate().map(|(node, (name, _))| {
            let (world, certificates) = (world.clone(), certificates.clone());
            SimulatedBackend::start(world, node, name, latency(node), settings.seed, certificates)
        });
        let backends = backends.collect::<io::Result<Arc<[_]>>>()?;
        let config = configured(of, &fleet, settings.block_time, |at| backends[at].url())?;
        let (block_time, ended) = (settings.block_time, CancellationToken::new());
        let _outages = ended.clone().drop_guard();
        let simulation = Self { backends, world, block_time, certificates, ended, _outages };
        simulation.plan(&settings.outages, &config)?.begin(started);
        Ok((simulation, config))
    }

    /// Outages besides those of the settings, to be counted from a moment of the caller's choice. `config` is the one
    /// that [`start`](Self::start) gave.
    ///
    /// # Errors
    /// When an outage names nobody.
    pub fn plan(&self, outages: &[Outage], config: &Config) -> Result<PlannedOutages, SimulationError> {
        let turns = timeline(outages, &config.default_chain().backends)
            .map_err(|(outage, error)| SimulationError::Outage { name: outage.name, error })?;
        Ok(PlannedOutages { turns, backends: self.backends.clone(), ended: self.ended.clone() })
    }

    /// A gateway that finds the simulated names and believes the simulated certificates, and no others.
    ///
    /// # Errors
    /// As [`Gateway::new`].
    pub fn gateway(&self, config: &Config) -> Result<Gateway, GatewayError> {
        let Some(certificates) = &self.certificates else { return Gateway::new(config) };
        let tls = Tls::new(&Roots::Given(vec![certificates.root.clone()]))?;
        let names = Names(self.backends.iter().map(SimulatedBackend::named).collect());
        Gateway::over(config, tls, Dns::with(names).refreshed_after(NAMES_REFRESHED_AFTER))
    }

    /// The highest block number that any cloud has by now.
    pub fn head(&self) -> u64 {
        self.world.head(self.backends.len())
    }

    /// Time between blocks.
    pub fn block_time(&self) -> Duration {
        self.block_time
    }

    /// Whether a node of this chain could have given `result` to `call` (a JSON-RPC request object), now or up to
    /// `behind` blocks ago: what an answer is checked against that somebody got meanwhile.
    pub fn could_answer(&self, call: &[u8], result: &serde_json::Value, behind: u64) -> bool {
        self.world.could_answer(self.backends.len(), behind, call, result)
    }

    /// The backends, in the order of the configuration.
    pub fn backends(&self) -> &[SimulatedBackend] {
        &self.backends
    }
}

/// A backend to be simulated: its name, and everything of its configuration but the address.
type Planned = (String, Box<dyn Fn(String) -> BackendBuilder>);

fn clouds() -> Vec<Planned> {
    let cloud = |(cloud, region): &(&'static str, &'static str)| -> Planned {
        let (cloud, region) = (*cloud, *region);
        let name = format!("simulated-{cloud}");
        let make = {
            let name = name.clone();
            move |url| {
                BackendBuilder::new(name.clone(), url).provider(name.clone()).cloud(cloud).region(region)
            }
        };
        (name, Box::new(make))
    };
    CLOUDS.iter().map(cloud).collect()
}

/// The user's backends: name, labels and role stay; address, headers and limits are the real one's and go.
fn simulated(backends: &[config::Backend]) -> Vec<Planned> {
    let plan = |backend: &config::Backend| -> Planned {
        let backend = backend.clone();
        let name = backend.name.clone();
        let make = move |url| {
            // Without a provider the host stands for one, and all are on one host here.
            let provider = backend.provider.clone().unwrap_or_else(|| backend.url.host().to_owned());
            let mut made = BackendBuilder::new(backend.name.clone(), url)
                .provider(provider)
                .tier(backend.tier)
                .private(backend.private)
                .cordoned(backend.cordoned);
            made = set(made, &backend.cloud, BackendBuilder::cloud);
            made = set(made, &backend.region, BackendBuilder::region);
            made = set(made, &backend.edge, BackendBuilder::edge);
            made = set(made, &backend.client, BackendBuilder::client);
            for (kind, label) in &backend.labels {
                made = made.label(kind.clone(), label.clone());
            }
            made
        };
        (name, Box::new(make))
    };
    backends.iter().map(plan).collect()
}

fn set(
    builder: BackendBuilder,
    label: &Option<String>,
    with: fn(BackendBuilder, String) -> BackendBuilder,
) -> BackendBuilder {
    match label {
        Some(label) => with(builder, label.clone()),
        None => builder,
    }
}

/// The configuration over these addresses.
fn configured(
    of: Option<&Config>,
    fleet: &[Planned],
    block_time: Duration,
    url: impl Fn(usize) -> String,
) -> Result<Config, ConfigErrors> {
    let chain =
        ChainBuilder::new(CHAIN_NAME).chain_id(CHAIN_ID).block_time(format!("{}ms", block_time.as_millis()));
    let backends = fleet.iter().enumerate();
    let chain = backends.fold(chain, |chain, (at, (_, make))| chain.backend(make(url(at))));
    let made = Config::builder().chain(chain).build()?;
    let Some(of) = of else { return Ok(made) };
    let mut config = of.clone();
    config.chains = made.chains;
    // What is true of a simulated chain must not be found later by anybody who serves a real one.
    config.cache.disk = None;
    config.cache.shared = None;
    Ok(config)
}

/// Clouds at different distances.
fn latency(node: usize) -> Latency {
    let median = Duration::from_millis([20, 35, 50, 60][node % 4]);
    Latency { median, spread: 0.3 }
}

/// Seconds since 1970, for the first block's timestamp.
fn unix_time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
