//! What one chain learns of a provider is told to the others: providers fail on all chains at once.

use std::sync::{OnceLock, Weak};

use super::chain::Chain;

/// Who tells whom.
#[derive(Debug, Default)]
pub(super) struct Grapevine {
    chains: OnceLock<Vec<Weak<Chain>>>,
}

impl Grapevine {
    /// Everybody who listens; said once, when all chains are made.
    pub(super) fn connect(&self, chains: Vec<Weak<Chain>>) {
        // Nobody else sets it.
        let _ = self.chains.set(chains);
    }

    /// A backend of this provider lost its place on the chain called `from`.
    pub(super) fn tell(&self, from: &str, provider: &str) {
        for chain in self.chains.get().into_iter().flatten().filter_map(Weak::upgrade) {
            if chain.settings.name == from {
                continue;
            }
            let now = chain.now();
            for (at, link) in chain.links.iter().enumerate() {
                if link.vendor.as_deref() != Some(provider) {
                    continue;
                }
                let mut decider = chain.decide();
                if let Some(index) = decider.fleet.index(at) {
                    decider.fleet.hear_of_trouble(now, index);
                }
            }
        }
    }
}
