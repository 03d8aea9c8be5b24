//! JSON-RPC 2.0 as bytes: envelopes taken apart without copying `params` or `result`.

mod error;
pub mod reply;

pub use error::{ErrorObject, code};
