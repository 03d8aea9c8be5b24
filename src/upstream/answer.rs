//! What one POST comes to: a whole answer, or why there is none and whether the backend may have seen it.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Version};

use crate::policy::Failure;

/// A whole HTTP answer, of any status. Redirects are answers too: they are never followed.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Headers as they came, without `content-encoding` where the body was unpacked here.
    pub headers: HeaderMap,
    /// The whole body, unpacked; at most `max_answer` bytes.
    pub body: Bytes,
    /// The protocol that carried it.
    pub version: Version,
    /// The connection was open before this request: its latency holds no handshake.
    pub reused: bool,
    /// A reused connection had gone stale, and the request was repeated on a fresh one.
    pub repeated: bool,
    /// The backend's address.
    pub remote: Option<SocketAddr>,
}

/// Without headers and body: a backend may repeat our address, key and cookies in them.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("version", &self.version)
            .field("reused", &self.reused)
            .field("repeated", &self.repeated)
            .finish_non_exhaustive()
    }
}

/// Whether bytes of the request may have reached the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sent {
    /// The backend has not worked on it: any request may be repeated freely.
    Nothing,
    /// It may have been carried out.
    MaybeSome,
}

/// Whether a request that may already have reached the backend can be repeated *inside* one POST, when a
/// reused connection turns out to have gone stale (RFC 9110, section 9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Carrying it out twice does no harm: every read.
    Safe,
    /// Only while nothing of it was written: transactions, and whatever creates state.
    OnlyUnsent,
}

/// No answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", said(*.failure))]
pub struct AttemptError {
    /// Why.
    pub failure: Failure,
    /// Whether the backend may have seen the request.
    pub sent: Sent,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing sent",
            Self::MaybeSome => "request may have been seen",
        })
    }
}

/// One sentence a failure, with what to look at. None of it comes from the backend.
fn said(failure: Failure) -> &'static str {
    match failure {
        Failure::Dns => "the backend's name does not resolve: check the host in its url and the resolver",
        Failure::Refused => "the connection was refused: nothing listens at the backend's port",
        Failure::Unreachable => "the backend cannot be reached: no route to its address",
        Failure::ConnectTimeout => "no connection was made within the connect timeout",
        Failure::Tls => "the TLS handshake failed: check the certificate, its name and `roots`",
        Failure::Reset => "the connection closed before the whole answer came",
        Failure::Protocol => "what came back is not valid HTTP",
        Failure::GoAway => "the backend refused the request unread: it is shutting the connection down",
        Failure::Timeout => "the answer did not come within its time",
        Failure::TooLarge => "the answer is larger than the configured bound",
        Failure::PoolExhausted => "every connection to the backend is in use: raise `max_connections`",
    }
}
