//! Logs of the binary: readable on a terminal, one JSON object a line elsewhere.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Sends logs to standard error. `filter` is a level, or targets with levels as `outrigger=debug,hyper=warn`.
///
/// # Errors
/// When the filter cannot be read; the text says what is possible.
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = match filter.parse::<LevelFilter>() {
        // Libraries speak from `warn` on: their inner life is nobody's concern.
        Ok(level) => Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target(env!("CARGO_CRATE_NAME"), level),
        Err(_) => filter.parse::<Targets>().map_err(|_| {
            format!(
                "log filter `{filter}`: write off, error, warn, info, debug or trace, or target=level,..."
            )
        })?,
    };
    let terminal = io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let text = format == LogFormat::Text || (format == LogFormat::Auto && terminal);
    // A second initialisation, as in a test, keeps the first.
    let _ = if text {
        let layer = fmt::layer().with_writer(io::stderr).with_ansi(terminal).with_target(false);
        registry.with(layer).try_init()
    } else {
        registry.with(fmt::layer().with_writer(io::stderr).json().flatten_event(true)).try_init()
    };
    Ok(())
}
