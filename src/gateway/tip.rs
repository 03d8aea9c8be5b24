//! Where the served chain stands, told to everybody who lives by it.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::chain::ChainEvent;

/// Events that a listener may be behind by; whoever is slower is told how many it missed.
const EVENTS_MAX: usize = 256;

/// The stream of one chain's events.
#[derive(Debug)]
pub(super) struct Tip {
    events: broadcast::Sender<Arc<ChainEvent>>,
    /// The served height, whenever anything was learned of it.
    height: watch::Sender<u64>,
}

impl Default for Tip {
    fn default() -> Self {
        Self { events: broadcast::Sender::new(EVENTS_MAX), height: watch::Sender::new(0) }
    }
}

impl Tip {
    /// Every event from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<ChainEvent>> {
        self.events.subscribe()
    }

    /// How many listen.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.events.receiver_count()
    }

    /// Tells an event to all who listen.
    pub(super) fn tell(&self, event: ChainEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(Arc::new(event));
    }

    /// Something was learned; the served height is this now.
    pub(super) fn moved(&self, height: u64) {
        self.height.send_replace(height);
    }

    /// Resolves once `is_current` holds; it is asked whenever something was learned.
    pub(super) async fn current(&self, is_current: impl Fn() -> bool) {
        let mut height = self.height.subscribe();
        // Dropping the sender ends the chain and all who wait with it.
        while !is_current() && height.changed().await.is_ok() {}
    }
}
