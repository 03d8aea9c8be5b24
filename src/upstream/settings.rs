//! What one backend's connections are made with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::dns::Dns;
use super::tls::Tls;
use crate::config::BackendUrl;

/// Connections open to one backend at once. The slowest plan of a provider takes some tens of requests a
/// second; at 250 ms each, 64 connections carry 256 a second, and HTTP/2 multiplies that.
pub const MAX_CONNECTIONS: usize = 64;
/// How long an idle connection is kept: below the shortest common keep-alive of a load balancer (60 s at
/// AWS ALB, 75 s at nginx), so that we close before the backend does. `Keep-Alive: timeout=` shortens it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How old a connection may grow. A name that moved is followed within this time even under steady traffic.
pub const MAX_AGE: Duration = Duration::from_secs(300);
/// TCP and TLS handshake together. Half the globe is 300 ms away, and a handshake takes three round trips.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an unpacked answer. The largest honest ones are traces of full blocks and wide log ranges.
pub const MAX_ANSWER: usize = 64 << 20;

/// When HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Offered in the TLS handshake (ALPN); the backend chooses.
    #[default]
    Offer,
    /// Never: some edges answer worse over HTTP/2.
    Never,
    /// Always, over plain TCP too, without asking (RFC 9113, section 3.3): a node in the same cluster.
    Always,
}

/// One backend's address, credentials and bounds. `Debug` shows no secret.
#[derive(Clone)]
pub struct UpstreamSettings {
    /// Where, with the key in its path and the user for `Authorization: Basic`.
    pub url: BackendUrl,
    /// Sent with every request; they win over the prepared ones. Values are treated as secrets.
    pub headers: HeaderMap,
    /// Open connections, in use and idle together; at least one.
    pub max_connections: usize,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`MAX_AGE`]; each connection draws its own age between four fifths of this and all of it.
    pub max_age: Duration,
    /// See [`CONNECT_TIMEOUT`]. A first DNS look-up has the same time again.
    pub connect_timeout: Duration,
    /// See [`MAX_ANSWER`].
    pub max_answer: usize,
    /// When HTTP/2 is spoken.
    pub http2: Http2,
    /// Shared by all backends.
    pub tls: Arc<Tls>,
    /// Shared by all backends.
    pub dns: Arc<Dns>,
}

impl UpstreamSettings {
    /// The defaults for an address.
    pub fn new(url: BackendUrl, tls: Arc<Tls>, dns: Arc<Dns>) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            max_connections: MAX_CONNECTIONS,
            idle_timeout: IDLE_TIMEOUT,
            max_age: MAX_AGE,
            connect_timeout: CONNECT_TIMEOUT,
            max_answer: MAX_ANSWER,
            http2: Http2::default(),
            tls,
            dns,
        }
    }
}

impl fmt::Debug for UpstreamSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSettings")
            .field("url", &self.url)
            .field("max_connections", &self.max_connections)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_age", &self.max_age)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_answer", &self.max_answer)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}
