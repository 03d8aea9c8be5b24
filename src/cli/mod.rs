//! The command line. Results go to standard output, progress and logs to standard error.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 wrong usage or configuration.

mod check;
mod config;
mod drill;
mod load;
mod memory;
mod serve;
mod simulate;
mod style;
mod tx;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigErrors};
use crate::telemetry::{self, LogFormat};

/// Read where no `--config` is given, if it is there.
const DEFAULT_FILE: &str = "outrigger.toml";

/// Keeps Ethereum reads true and transactions moving while a provider, a region or a whole cloud fails.
///
/// Without a command it serves: with no file at all every known chain over public endpoints, on
/// http://localhost:8545, mainnet at /.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve JSON-RPC (the default).
    Serve(serve::ServeArgs),
    /// Look a configuration over: mistakes, and what would fail together.
    Check(check::CheckArgs),
    /// Replay recorded incidents in simulated clouds.
    Drill(drill::DrillArgs),
    /// Load an endpoint, or a simulated fleet, and measure it.
    Load(load::LoadArgs),
    /// Look at the transactions that were handed in.
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// Write a configuration, or its schema.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Options of every command that reads a configuration.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Configuration file [default: outrigger.toml if it is there, else public endpoints].
    #[arg(long, short, value_name = "FILE", env = "OUTRIGGER_CONFIG")]
    config: Option<PathBuf>,
    /// How much is logged: off, error, warn, info, debug, trace, or target=level,...
    #[arg(long, value_name = "FILTER", env = "OUTRIGGER_LOG", default_value = "info")]
    log: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    WrongUsage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::WrongUsage => 2,
        })
    }
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Drill(args)) => drill::run(&args),
        Some(Command::Load(args)) => load::run(&args),
        Some(Command::Tx(command)) => tx::run(&command),
        Some(Command::Config(command)) => config::run(command),
    };
    outcome.into()
}

impl Common {
    /// Starts logging and reads the configuration. What is wrong is said here.
    fn load(&self) -> Result<(Config, Option<PathBuf>), Outcome> {
        self.start_log()?;
        let file =
            self.config.clone().or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()));
        let config = match &file {
            Some(path) => Config::from_file(path).map_err(|errors| say_mistakes(&errors))?,
            None => Config::presets(),
        };
        Ok((config, file))
    }

    /// The same, of a file that was asked for: one that merely lies here may need keys that are not set.
    fn load_named(&self) -> Result<Option<Config>, Outcome> {
        self.start_log()?;
        let named = self.config.as_ref();
        named.map(|path| Config::from_file(path).map_err(|errors| say_mistakes(&errors))).transpose()
    }

    fn start_log(&self) -> Result<(), Outcome> {
        telemetry::init(&self.log, self.log_format).map_err(|message| {
            style::complain(&message);
            Outcome::WrongUsage
        })
    }
}

fn say_mistakes(errors: &ConfigErrors) -> Outcome {
    style::complain(&errors.to_string());
    Outcome::WrongUsage
}
