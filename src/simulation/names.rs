//! The simulated backends' names, and a resolver that knows them and nothing else.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::upstream::{Resolve, Resolving};

use super::fault::Fault;

/// No name under it exists in the real world, nor ever will (RFC 6761, section 6.4).
pub(super) const DOMAIN: &str = "simulation.invalid";
/// Where a name leads that leads elsewhere: this machine, but not where backends listen.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A backend's name.
pub(super) fn of_backend(index: usize) -> String {
    format!("backend-{index}.{DOMAIN}")
}

/// What is known of one name.
pub(super) struct Named {
    pub(super) address: IpAddr,
    pub(super) fault: watch::Receiver<Option<Fault>>,
    pub(super) struck: Arc<AtomicU64>,
}

/// All names of a simulation.
pub(super) struct Names(pub(super) HashMap<String, Named>);

impl Resolve for Names {
    fn resolve(&self, host: &str) -> Resolving {
        let fault = self.0.get(host).and_then(|named| *named.fault.borrow());
        let named = self.0.get(host);
        if let Some(named) = named.filter(|_| matches!(fault, Some(Fault::NameGone | Fault::NameElsewhere))) {
            named.struck.fetch_add(1, Ordering::Relaxed);
        }
        let found = match (named, fault) {
            (None, _) | (_, Some(Fault::NameGone)) => Err(io::ErrorKind::NotFound.into()),
            (_, Some(Fault::NameElsewhere)) => Ok(vec![ELSEWHERE]),
            (Some(named), _) => Ok(vec![named.address]),
        };
        Box::pin(async move { found })
    }
}
