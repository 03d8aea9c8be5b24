//! What subscriptions and filters live on: one source for each thing that happens on a chain, however many want it.
//!
//! Headers come from the follower. The logs of a block are asked for once, when somebody wants some of them; pending
//! transactions only while somebody listens.

mod fetch;
mod heads;
mod logs;
mod pending;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join4;
use tokio::sync::broadcast::error::RecvError;

use crate::ethereum::LogFilter;

use super::chain::Chain;
use super::outbox::{HandleId, Outbox};
use heads::Heads;
use logs::Logs;
use pending::Pending;

/// Filters that nobody asks for are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// A chain's feeds and who is subscribed to them.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    pub(super) heads: Heads,
    pub(super) logs: Logs,
    pub(super) pending: Pending,
}

/// What a subscription is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Heads,
    Logs(Arc<LogFilter>),
    /// With the whole transactions, or with their hashes alone.
    Pending {
        whole: bool,
    },
    Syncing,
}

impl Feeds {
    pub(super) fn subscribe(&self, id: HandleId, topic: &Topic, outbox: &Arc<Outbox>) {
        let outbox = outbox.clone();
        match topic {
            Topic::Heads => self.heads.subscribe(id, outbox),
            Topic::Logs(filter) => {
                self.logs.join(id, filter, Some(outbox));
            }
            Topic::Pending { whole } => self.pending.subscribe(id, *whole, outbox),
            Topic::Syncing => self.heads.subscribe_syncing(id, outbox),
        }
    }

    pub(super) fn leave(&self, id: HandleId, topic: &Topic) {
        match topic {
            Topic::Heads | Topic::Syncing => self.heads.leave(id),
            Topic::Logs(filter) => self.logs.leave(id, filter),
            Topic::Pending { .. } => self.pending.leave(id),
        }
    }

    /// Subscriptions and filters.
    pub(super) fn audience(&self) -> usize {
        self.heads.audience() + self.logs.audience() + self.pending.audience()
    }
}

/// Keeps a chain's feeds going until it is dropped.
pub(super) async fn run(chain: Arc<Chain>) {
    join4(listen(&chain), fetch::fetch_logs(&chain), pending::poll(&chain), sweep(&chain)).await;
}

async fn listen(chain: &Chain) {
    let mut events = chain.tip.listen();
    loop {
        match events.recv().await {
            Ok(event) => {
                chain.feeds.heads.on(&event);
                chain.feeds.logs.on(&event);
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(chain = %chain.settings.name, missed, "events of the chain were missed");
                chain.feeds.heads.missed();
                chain.feeds.logs.missed();
            }
            // The chain is on its way out.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Forgets filters that nobody asks for, and keeps a chain in use that somebody listens to without asking.
async fn sweep(chain: &Chain) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        chain.filters.sweep(&chain.feeds);
        if chain.feeds.audience() > 0 {
            chain.touch();
        }
    }
}
