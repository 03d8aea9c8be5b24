//! `outrigger --simulate`: simulated clouds instead of real backends.

use std::time::Duration;

use clap::Args;

use crate::config::{Config, parse_duration};
use crate::simulation::{BLOCK_TIME, CHAIN_ID, DEV_ACCOUNTS, Outage, Settings, Simulation, SimulationError};

use super::style::{DOUBTFUL, styled};
use super::{Outcome, style};

/// Options of `serve --simulate`.
#[derive(Clone, Debug, Args)]
pub(super) struct SimulateArgs {
    /// Serve a simulated chain over simulated clouds instead of real backends; needs no network. With --config
    /// the backends of its default chain are simulated under their names and labels.
    #[arg(long, help_heading = "Simulation")]
    pub(super) simulate: bool,
    /// Take a simulated backend or failure domain away, and let it come back, as aws@20s or aws@20s..40s; repeatable.
    #[arg(long, value_name = "NAME@TIME[..TIME]", requires = "simulate", help_heading = "Simulation")]
    kill: Vec<Outage>,
    /// Time between simulated blocks, 1s to 60s.
    #[arg(
        long,
        value_name = "TIME",
        requires = "simulate",
        value_parser = block_time,
        default_value = "1s",
        help_heading = "Simulation"
    )]
    block_time: Duration,
    /// What simulated latencies are drawn from.
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "simulate",
        default_value_t = 1,
        help_heading = "Simulation"
    )]
    seed: u64,
}

fn block_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    match BLOCK_TIME.contains(&time) {
        true => Ok(time),
        false => Err("blocks come every 1s to 60s".to_owned()),
    }
}

impl SimulateArgs {
    /// Starts the clouds and returns how to serve them. What is wrong is said here.
    pub(super) fn start(&self, of: Option<&Config>) -> Result<(Simulation, Config), Outcome> {
        let settings = Settings {
            block_time: self.block_time,
            seed: self.seed,
            outages: self.kill.clone(),
            ..Settings::default()
        };
        Simulation::start(&settings, of).map_err(|error| {
            let (prefix, outcome) = match &error {
                SimulationError::Outage { .. } => ("--kill ", Outcome::WrongUsage),
                SimulationError::Config(_) => ("", Outcome::WrongUsage),
                _ => ("", Outcome::Failed),
            };
            style::complain(&format!("{prefix}{error}"));
            outcome
        })
    }

    /// What the person who tries it needs to know.
    pub(super) fn hints(&self) -> Vec<String> {
        let warned = styled(DOUBTFUL, "public keys, never send them anything real");
        let mut lines = vec![
            format!(
                "  {}  no real chain: a block every {}, transfers only, no contracts; gone when it ends",
                styled(DOUBTFUL, "SIMULATED"),
                humantime::format_duration(self.block_time),
            ),
            format!("  accounts  10 of the mnemonic `test test ... test junk`, 10000 ETH each; {warned}:"),
        ];
        for account in &DEV_ACCOUNTS[..2] {
            lines.push(format!("            {}  key {}", account.address, account.key));
        }
        lines.push(format!(
            "            in MetaMask: add the network (chain id {CHAIN_ID}, symbol ETH), import a key, send"
        ));
        lines.push(match self.kill.as_slice() {
            [] => "  outage    `--kill aws@20s` takes a cloud away, `--kill aws@20s..40s` for a while"
                .to_owned(),
            outages => {
                let spoken: Vec<String> = outages.iter().map(spoken).collect();
                format!("  outage    {}", spoken.join(", "))
            }
        });
        lines
    }
}

fn spoken(outage: &Outage) -> String {
    let time = |time: Duration| humantime::format_duration(time).to_string();
    match outage.until {
        Some(until) => {
            format!("{} goes at {} and is back at {}", outage.name, time(outage.from), time(until))
        }
        None => format!("{} goes at {}", outage.name, time(outage.from)),
    }
}
