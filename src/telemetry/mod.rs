//! What the program tells of itself: metrics in the text that Prometheus reads, and the log of the binary.

pub mod exposition;
mod family;
mod histogram;
#[cfg(feature = "cli")]
mod log;
#[cfg(feature = "server")]
pub(crate) mod process;

pub use exposition::{Exposition, Format};
pub use family::{Family, Kind};
pub use histogram::Histogram;
#[cfg(feature = "cli")]
pub use log::{LogFormat, init};
