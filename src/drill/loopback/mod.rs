//! One cloud of three fails over real sockets: client, server, gateway and connections are the real ones, and
//! only the clouds are simulated. For what a virtual drill cannot show: faults that live in sockets, and what
//! masking them costs by the clock.
//!
//! ```text
//! open-loop client ──> server, gateway ──TLS──> three simulated clouds, one of which fails for a while
//! ```
//!
//! Times are the machine's own, so a busy one shows: its jitter is measured beside them and told apart.

mod client;
mod faults;
mod judge;
mod log;
mod mix;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use crate::config::Config;
use crate::gateway::{BackendStatus, ChainStatus, GatewayError};
use crate::server::{Loopback, ServerError};
use crate::simulation::{Settings as SimulationSettings, Simulation, SimulationError, Transport};

use client::Client;
use log::{Log, Tick};

pub use faults::{FAULTS, LoopbackFault, find, nearest};
pub use judge::judge;
pub use summary::{ChangeReport, DecisionReport, SecondReport, Summary};

/// Requests per second: more than that measures the machine.
pub const RATE: std::ops::RangeInclusive<u32> = 10..=1000;
/// How long a phase may last.
pub const PHASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Backends that are not well by then are not going to be.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// Before anything is measured: connections open, and latencies are known.
const WARM_UP: Duration = Duration::from_secs(3);
/// How often the gateway's counts are read.
const TICK: Duration = Duration::from_millis(50);
/// Whom requests turned to first is decided by then, and decisions are kept no longer than some hundred requests.
const DIVERTED_AFTER: Duration = Duration::from_millis(500);
/// A backend that is back is watched for so long.
const STAYS_WELL: Duration = Duration::from_secs(3);

/// How a drill is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests per second, within [`RATE`].
    pub rate: u32,
    /// How long all is well, within [`PHASE`].
    pub calm: Duration,
    /// How long one cloud fails, within [`PHASE`].
    pub outage: Duration,
    /// How long it may take to be back, within [`PHASE`].
    pub recovery: Duration,
    /// Whether the clouds speak HTTP/2; else HTTP/1.1.
    pub http2: bool,
    /// What requests and simulated latencies are drawn from.
    pub seed: u64,
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is measured yet.
    Starting,
    /// All is well.
    Calm,
    /// One cloud fails.
    Outage,
    /// It is well again.
    Recovery,
}

impl Phase {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Calm => "calm",
            Self::Outage => "outage",
            Self::Recovery => "recovery",
        }
    }
}

/// Why there is no drill.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoopbackError {
    /// No simulated clouds.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// No gateway over them.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// No server in front of it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It could not begin.
    #[error("the simulated clouds were not all in use within 15 s: {0}")]
    NotReady(String),
    /// No outage without a way around it.
    #[error("one backend alone answers reads: an outage of it is an outage")]
    Alone,
}

/// Lets one cloud fail, the one that served most, and measures. With `of` its default chain's backends are the
/// clouds, under their names and labels. `tell` hears what goes on and for how long it will.
///
/// # Errors
/// When there is no loopback, or no two backends that answer reads.
pub async fn run(
    fault: &LoopbackFault,
    settings: &Settings,
    of: Option<&Config>,
    mut tell: impl FnMut(Phase, Duration),
) -> Result<Summary, LoopbackError> {
    tell(Phase::Starting, WARM_UP);
    let transport = Transport::Tls { http2: settings.http2 };
    let simulated = SimulationSettings { seed: settings.seed, transport, ..SimulationSettings::default() };
    let (simulation, mut config) = Simulation::start(&simulated, of)?;
    // Whom the user's server would listen for is not what is drilled.
    config.server = Config::presets().server;
    config.transactions.journal = None;
    // What is measured is how backends are led: an answer without one would hide them.
    (config.cache.memory, config.cache.coalesce) = (0, false);
    let simulation = Arc::new(simulation);
    let gateway = simulation.gateway(&config)?;
    let served = Loopback::serve(&gateway, &config.server).await?;
    let address = served.address();

    let chain = || gateway.status().chains.into_iter().next();
    let readers = chain().map_or(0, |chain| chain.backends.iter().filter(|b| takes_reads(b)).count());
    if readers < 2 {
        return Err(LoopbackError::Alone);
    }
    let waiting = Instant::now();
    while chain().is_some_and(|chain| !chain.backends.iter().all(is_fine)) {
        if waiting.elapsed() > READY_WITHIN {
            let said = chain().map(|chain| states(&chain)).unwrap_or_default();
            return Err(LoopbackError::NotReady(said));
        }
        sleep(TICK).await;
    }

    // Measured time begins after the warm-up.
    let origin = Instant::now() + WARM_UP;
    let log = Log::new(origin);
    let client = Client::start(address, simulation.clone(), settings, log.clone());
    let _jitter = log::watch_jitter(log.clone());
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let watch = async |until: Instant, ticks: &mut tokio::time::Interval| {
        while Instant::now() < until {
            ticks.tick().await;
            if let Some(chain) = chain() {
                log.tick(Tick::of(&chain, origin));
            }
        }
    };

    watch(origin, &mut ticks).await;
    tell(Phase::Calm, settings.calm);
    watch(origin + settings.calm, &mut ticks).await;

    let victim = log.busiest(Duration::ZERO, settings.calm).unwrap_or_default();
    let cloud = &simulation.backends()[victim];
    tell(Phase::Outage, settings.outage);
    cloud.set(Some(fault.fault));
    let begun = origin.elapsed();
    let until = origin + settings.calm + settings.outage;
    watch(until.min(Instant::now() + DIVERTED_AFTER), &mut ticks).await;
    let decisions = DecisionReport::since(&gateway, origin, begun);
    watch(until, &mut ticks).await;

    cloud.set(None);
    let ended = origin.elapsed();
    let struck = cloud.struck();
    tell(Phase::Recovery, settings.recovery);
    let over = origin + ended + settings.recovery;
    while Instant::now() < over && !log.is_well_for(victim, ended, STAYS_WELL) {
        watch(Instant::now() + TICK, &mut ticks).await;
    }
    let over = origin.elapsed();
    let transactions = client.finish().await;
    sleep_until(Instant::now() + transactions.settle()).await;
    let lost = transactions.lost(&simulation);
    let changes = chain().map(|chain| ChangeReport::all(&chain, origin)).unwrap_or_default();
    let name = cloud.name().to_owned();
    let outage = summary::Outage { victim, name, begun, ended, over, struck };
    Ok(Summary::new(&log, outage, lost, summary::Told { changes, decisions }))
}

fn takes_reads(backend: &BackendStatus) -> bool {
    !backend.private && backend.state != "cordoned" && backend.tier == "primary"
}

fn is_fine(backend: &BackendStatus) -> bool {
    matches!(backend.state, "ok" | "cordoned")
}

fn states(chain: &ChainStatus) -> String {
    let each = chain.backends.iter().map(|b| {
        let why = b.reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{} is {}{why}", b.name, b.state)
    });
    each.collect::<Vec<_>>().join(", ")
}
