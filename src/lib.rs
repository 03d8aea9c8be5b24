//! Outrigger keeps Ethereum reads true and transactions moving while a provider, a region or a
//! whole cloud fails.
//!
//! `ARCHITECTURE.md` tells the problem, the floors of the house and the way of one read.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// floor 0
pub mod config;
pub mod ethereum;
pub mod jsonrpc;
pub mod telemetry;
// floor 1
pub mod chain;
pub mod policy;
// floor 2
pub mod cache;
pub mod journal;
pub mod upstream;
// floor 3
pub mod gateway;
// floor 4
#[cfg(feature = "cli")]
pub mod drill;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod simulation;
// floor 5
#[cfg(feature = "cli")]
pub mod cli;

pub use config::Config;
pub use gateway::Gateway;

/// Keeps README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
