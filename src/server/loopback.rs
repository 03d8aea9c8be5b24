//! A gateway served on a free port of this machine, until it is dropped: for drills, loads and benches.

use std::net::SocketAddr;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::{App, Draining, Server, ServerError};
use crate::config::{self, Listen};
use crate::gateway::Gateway;

/// A server that only this machine reaches; it ends when this is dropped.
pub struct Loopback {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Loopback {
    /// Serves a gateway on a port of 127.0.0.1 that the system chooses, whatever address the settings name. To be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When there is no loopback.
    pub async fn serve(gateway: &Gateway, settings: &config::Server) -> Result<Self, ServerError> {
        let mut settings = settings.clone();
        settings.listen = Listen { required: vec![([127, 0, 0, 1], 0).into()], if_possible: Vec::new() };
        let server = Server::bind(&settings).await?;
        // Bound to one address, or there is an error.
        let address = server.addresses().first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let stop = CancellationToken::new();
        let app = App::new(gateway.clone(), &settings, Draining::default());
        tokio::spawn(server.serve(app, stop.clone()));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
