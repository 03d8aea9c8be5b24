//! `load --simulate`: a simulated fleet behind a gateway of this process, and clouds that are taken away meanwhile.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::time::sleep;

use super::super::{Outcome, say_mistakes, style};
use crate::config::Config;
use crate::gateway::{BackendStatus, Gateway};
use crate::load::Mark;
use crate::server::Loopback;
use crate::simulation::{Outage, PlannedOutages, Settings, Simulation, SimulationError};

/// Backends that are not well by then are not going to be.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a load is without outages.
const LENGTH: Duration = Duration::from_secs(10);
/// How long it goes on after the last change.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Options of `load --simulate`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(super) struct FleetArgs {
    /// Load a simulated fleet behind Outrigger, all in this process, instead of an endpoint; needs no network.
    #[arg(long)]
    pub(super) simulate: bool,
    /// Take a simulated backend or failure domain away, and let it come back, as aws@10s or aws@10s..20s, counted from
    /// when measuring begins; repeatable.
    #[arg(long, value_name = "NAME@TIME[..TIME]", requires = "simulate")]
    kill: Vec<Outage>,
    /// Simulate the backends of this configuration, under their names and labels.
    #[arg(long, short, value_name = "FILE", requires = "simulate")]
    config: Option<PathBuf>,
}

/// A fleet at work; it ends when this is dropped.
pub(super) struct Fleet {
    served: Loopback,
    outages: Mutex<Option<PlannedOutages>>,
    _gateway: Gateway,
    _simulation: Simulation,
}

impl FleetArgs {
    /// Long enough to see what an outage did.
    pub(super) fn length(&self) -> Duration {
        let last = self.kill.iter().map(|outage| outage.until.unwrap_or(outage.from)).max();
        last.map_or(LENGTH, |last| (last + AFTERWARDS).max(LENGTH))
    }

    /// The moments at which something goes or comes back, in order.
    pub(super) fn marks(&self, duration: Duration) -> Result<Vec<Mark>, String> {
        let mut marks = Vec::new();
        for outage in &self.kill {
            if outage.from >= duration {
                return Err(format!(
                    "--kill {} happens when the load is over: raise --duration",
                    outage.name
                ));
            }
            marks.push(Mark { at: outage.from, name: format!("{} gone", outage.name) });
            let back = outage.until.filter(|until| *until < duration);
            marks.extend(back.map(|at| Mark { at, name: format!("{} back", outage.name) }));
        }
        marks.sort_by_key(|mark| mark.at);
        Ok(marks)
    }
}

impl Fleet {
    /// Starts it and waits until all of it is in use. What is wrong is said here.
    pub(super) async fn start(args: &FleetArgs, seed: u64) -> Result<Self, Outcome> {
        let named = args.config.as_ref().map(Config::from_file).transpose();
        let named = named.map_err(|errors| say_mistakes(&errors))?;
        let failed = |error: String| {
            style::complain(&error);
            Outcome::Failed
        };
        let simulated = |error: SimulationError| {
            let is_usage = matches!(error, SimulationError::Outage { .. } | SimulationError::Config(_));
            let prefix = if matches!(error, SimulationError::Outage { .. }) { "--kill " } else { "" };
            style::complain(&format!("{prefix}{error}"));
            if is_usage { Outcome::WrongUsage } else { Outcome::Failed }
        };
        let settings = Settings { seed, ..Settings::default() };
        let (simulation, mut config) = Simulation::start(&settings, named.as_ref()).map_err(simulated)?;
        let outages = simulation.plan(&args.kill, &config).map_err(simulated)?;
        // Its chain is gone when it ends; and whom the user's server would let in is not what is loaded.
        config.transactions.journal = None;
        config.server = Config::presets().server;
        let gateway = simulation.gateway(&config).map_err(|error| failed(error.to_string()))?;
        let served = Loopback::serve(&gateway, &config.server).await;
        let served = served.map_err(|error| failed(error.to_string()))?;
        let asked = Instant::now();
        let is_ready = || {
            let chain = gateway.status().chains.into_iter().next();
            chain.is_some_and(|chain| chain.backends.iter().all(is_fine))
        };
        while !is_ready() && asked.elapsed() < READY_WITHIN {
            sleep(LOOK_EVERY).await;
        }
        Ok(Self { served, outages: Mutex::new(Some(outages)), _gateway: gateway, _simulation: simulation })
    }

    pub(super) fn url(&self) -> String {
        self.served.url()
    }

    /// From here on the times of outages count.
    pub(super) fn begin(&self, at: Instant) {
        let outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(outages) = outages {
            outages.begin(at.into());
        }
    }
}

fn is_fine(backend: &BackendStatus) -> bool {
    matches!(backend.state, "ok" | "cordoned")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(kill: &[&str]) -> FleetArgs {
        let kill = kill.iter().map(|text| text.parse().unwrap()).collect();
        FleetArgs { simulate: true, kill, config: None }
    }

    #[test]
    fn outages_split_the_time_in_their_order() {
        let args = args(&["gcp@12s", "aws@3s..8s"]);
        assert_eq!(args.length(), Duration::from_secs(22));
        let marks: Vec<_> = args.marks(args.length()).unwrap().into_iter().map(|mark| mark.name).collect();
        assert_eq!(marks, ["aws gone", "aws back", "gcp gone"]);
        assert!(args.marks(Duration::from_secs(12)).unwrap_err().contains("--duration"));
        let marks = args.marks(Duration::from_secs(13)).unwrap();
        assert_eq!(marks.len(), 3);
    }
}
