//! The configuration file, presets of public endpoints, and validation.
//!
//! [`Config::from_file`] reads a file and names every mistake at once, with its line and its mend;
//! [`Config::presets`] is what holds without one; [`Config::builder`] makes one in code.

mod address;
mod builder;
mod conform;
mod file;
mod load;
mod mistake;
mod presets;
mod quantity;
mod ranges;
mod resolve;
mod schema;
mod secret;
mod settings;
mod template;
mod url;
mod variables;

pub use address::{AddressError, Listen, Network};
pub use builder::{BackendBuilder, ChainBuilder, ConfigBuilder};
pub use load::FILE_BYTES_MAX;
pub use mistake::{ConfigErrors, Mistake};
pub use quantity::{QuantityError, RateLimit, parse_duration, parse_size};
pub use ranges::{AddressRanges, NETWORKS_MAX, Place, RANGES_BYTES_MAX, RangesError};
pub use schema::schema;
pub use secret::Secret;
pub use settings::{
    Backend, Budgets, Cache, Chain, Config, MethodPattern, Roots, Routing, Server, SharedStore, Tier,
    TlsFiles, Transactions, WebSocket, WhenUnreachable,
};
pub use template::template;
pub use url::{BackendUrl, UrlError};

/// Most chains in one configuration.
pub const CHAINS_MAX: usize = 64;
/// Most backends of one chain: sets of them fit into a machine word.
pub const BACKENDS_MAX: usize = 64;

#[cfg(test)]
mod tests;
