//! JSON-RPC 2.0 as bytes: envelopes taken apart without copying `params` or `result`.

mod error;
mod large;
pub mod reply;
mod request;
mod response;

pub use error::{ErrorObject, code};
pub use request::{Id, Item, Limits, Packet, Rejected, Request, parse};
pub use response::{write_call, write_error, write_result};
