//! What the follower tells those who live by it: subscriptions, filters, caches and watched transactions.

use std::sync::Arc;

use super::block::{Block, BlockId};

/// One change of the served chain. Every block that is served appears exactly once, in order, and is taken back
/// before another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// The chain grew by these blocks, the oldest first; each is the child of the one before it.
    Extended {
        /// At least one.
        blocks: Vec<Arc<Block>>,
    },
    /// Some blocks are no longer part of the chain; others are in their place.
    Reorged {
        /// The newest first.
        dropped: Vec<Arc<Block>>,
        /// The oldest first; the first one's parent is the last dropped one's. May be empty: a rollback.
        added: Vec<Arc<Block>>,
    },
    /// Blocks are missing between what was served and what comes now, and nobody has them (a gap longer than the window,
    /// or a start from scratch): what hangs on single blocks starts anew from here.
    Skipped {
        /// The first block that is known.
        to: Arc<Block>,
    },
    /// Nobody has had a new block for much longer than the chain usually takes.
    Halted {
        /// The last block.
        at: BlockId,
    },
    /// Blocks come again.
    Resumed,
    /// Backends disagree about the block after `ancestor`.
    Forked {
        /// The last block that they share.
        ancestor: BlockId,
    },
}
