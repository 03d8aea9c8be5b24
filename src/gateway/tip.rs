//! Where the served chain stands, told to everybody who lives by it.

#![allow(dead_code)] // until its listeners are there

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::chain::ChainEvent;

/// Events that a listener may be behind by; whoever is slower is told how many it missed.
const EVENTS_MAX: usize = 256;

/// The stream of one chain's events.
#[derive(Debug)]
pub(super) struct Tip {
    events: broadcast::Sender<Arc<ChainEvent>>,
}

impl Default for Tip {
    fn default() -> Self {
        Self { events: broadcast::Sender::new(EVENTS_MAX) }
    }
}

impl Tip {
    /// Every event from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<ChainEvent>> {
        self.events.subscribe()
    }

    /// Tells an event to all who listen.
    pub(super) fn tell(&self, event: ChainEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(Arc::new(event));
    }
}
