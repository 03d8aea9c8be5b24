//! What is known of the connection that a request came over.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};

use crate::config;

/// Both ends of a client's connection. Our listener puts it into every request's extensions; behind another one
/// axum's [`ConnectInfo`] with the client's address stands in for it.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The client's end, or that of a proxy in between.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

impl Connection {
    /// The connection that a request came over, where its listener told.
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        let told = extensions.get::<Self>().copied();
        told.or_else(|| {
            let ConnectInfo(peer) = *extensions.get::<ConnectInfo<SocketAddr>>()?;
            // Our end is not told. Whoever comes from loopback came to loopback, and nobody else can.
            Some(Self { peer, local: peer })
        })
    }

    /// Whether it came in on a loopback address of ours.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.local.ip().to_canonical().is_loopback()
    }

    /// The client's address: the peer's, or the one that trusted proxies name. `X-Forwarded-For` is read
    /// from its end, since everything before the first entry that a trusted proxy wrote can be made up.
    pub(super) fn client(&self, headers: &HeaderMap, settings: &config::Server) -> IpAddr {
        let trusted = |ip: IpAddr| settings.trusted_proxies.iter().any(|network| network.contains(ip));
        let mut client = self.peer.ip().to_canonical();
        let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let mut named: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        while trusted(client)
            && let Some(Ok(ip)) = named.pop().map(str::parse::<IpAddr>)
        {
            client = ip.to_canonical();
        }
        client
    }

    /// Whether the client is this machine itself, with nothing in between.
    pub(super) fn is_this_machine(&self, headers: &HeaderMap) -> bool {
        let relayed = ["x-forwarded-for", "forwarded", "via", "x-real-ip"];
        self.peer.ip().to_canonical().is_loopback() && !relayed.iter().any(|name| headers.contains_key(*name))
    }
}
