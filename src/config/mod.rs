//! The configuration file, presets of public endpoints, and validation.

mod url;

pub use url::{BackendUrl, UrlError};
