//! The JSON-RPC error object and the codes that Outrigger itself answers with.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Error codes of JSON-RPC 2.0 (section 5.1) and EIP-1474 that Outrigger itself uses.
pub mod code {
    /// The bytes are no JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON, but not a request object.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method does not exist or is refused.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// No backend could give an answer.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// What was asked for is not there (EIP-1474's invalid input; nodes say it of filters).
    pub const SERVER_ERROR: i64 = -32000;
    /// A limit was reached (EIP-1474).
    pub const LIMIT_EXCEEDED: i64 = -32005;
}

/// A JSON-RPC error object. `data` keeps its bytes: clients decode reverts from it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ErrorObject {
    /// What kind of error, see [`code`].
    pub code: i64,
    /// One sentence for a person.
    pub message: String,
    /// Anything more, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ErrorObject {}

impl ErrorObject {
    /// An error without `data`.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}
