//! `outrigger config`: a first file to start from, and the schema for editors.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use crate::config;

use super::{DEFAULT_FILE, Outcome, style};

/// `outrigger config init|schema`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Write a commented configuration file to start from. An existing file is never overwritten.
    Init {
        /// Where to write it; `-` is standard output.
        #[arg(default_value = DEFAULT_FILE, value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration, for editors and checkers.
    Schema,
}

pub(super) fn run(command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Init { file } if file.as_os_str() == "-" => {
            style::say(config::template().trim_end());
            Outcome::Done
        }
        ConfigCommand::Init { file } => {
            let written = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&file)
                .and_then(|mut out| out.write_all(config::template().as_bytes()));
            match written {
                Ok(()) => {
                    style::say(format!("wrote {}: edit it, then run `outrigger check`", file.display()));
                    Outcome::Done
                }
                Err(error) => {
                    style::complain(&format!("{}: {error}", file.display()));
                    Outcome::Failed
                }
            }
        }
        ConfigCommand::Schema => {
            style::say(format!("{:#}", config::schema()));
            Outcome::Done
        }
    }
}
