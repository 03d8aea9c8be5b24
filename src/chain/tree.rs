//! The blocks that are known, and the part of them that is served.

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_primitives::B256;
use alloy_primitives::map::B256HashMap;

use super::block::{Block, BlockId};

/// Served blocks that are kept: a reorg that goes deeper cannot be followed block by block.
pub(super) const WINDOW: usize = 256;
/// When there are more blocks than the ones in use might be, the rest is thrown away.
const SLACK: usize = 512;

/// How a block hangs on the served chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// It is on it, or descends from it.
    Joined {
        /// Height of the last served block on its path.
        at: u64,
        /// The block after that on its path; `None` where the block itself is served.
        first: Option<B256>,
    },
    /// The path ends before it meets the served chain.
    Adrift {
        /// The last known block on the path.
        root: BlockId,
        /// The one before it, which nobody has shown yet.
        missing: B256,
    },
}

/// Blocks by hash, and the served ones in order.
#[derive(Debug, Default)]
pub(super) struct Tree {
    blocks: B256HashMap<Arc<Block>>,
    served: VecDeque<Arc<Block>>,
}

impl Tree {
    pub(super) fn get(&self, hash: B256) -> Option<&Arc<Block>> {
        self.blocks.get(&hash)
    }

    pub(super) fn insert(&mut self, block: Arc<Block>) {
        self.blocks.entry(block.id.hash).or_insert(block);
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn tip(&self) -> Option<&Arc<Block>> {
        self.served.back()
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Block>> {
        self.served.front()
    }

    /// The served blocks, the oldest first.
    pub(super) fn served(&self) -> impl DoubleEndedIterator<Item = &Arc<Block>> {
        self.served.iter()
    }

    /// The served block at a height.
    pub(super) fn at(&self, number: u64) -> Option<&Arc<Block>> {
        let base = self.served.front()?.id.number;
        self.served.get(usize::try_from(number.checked_sub(base)?).ok()?)
    }

    /// Puts a child of the tip on top of it.
    pub(super) fn extend(&mut self, block: Arc<Block>) {
        self.served.push_back(block);
        if self.served.len() > WINDOW {
            self.served.pop_front();
        }
    }

    /// Takes all served blocks above a height away, the newest first.
    pub(super) fn cut(&mut self, above: u64) -> Vec<Arc<Block>> {
        let mut dropped = Vec::new();
        while self.served.back().is_some_and(|block| block.id.number > above) {
            dropped.extend(self.served.pop_back());
        }
        dropped
    }

    /// Serves another chain from this block on.
    pub(super) fn restart(&mut self, at: Arc<Block>) {
        self.served.clear();
        self.served.push_back(at);
    }

    /// Whether a block is served.
    pub(super) fn serves(&self, id: BlockId) -> bool {
        self.at(id.number).is_some_and(|block| block.id.hash == id.hash)
    }

    /// Follows the path from a block down to the served chain.
    pub(super) fn joint(&self, of: BlockId) -> Option<Joint> {
        let mut block = self.blocks.get(&of.hash)?;
        let mut first = None;
        for _ in 0..=WINDOW {
            if self.serves(block.id) {
                return Some(Joint::Joined { at: block.id.number, first });
            }
            first = Some(block.id.hash);
            match self.blocks.get(&block.parent) {
                // A parent that is not one lower is no parent.
                Some(parent) if parent.id.number + 1 == block.id.number => block = parent,
                _ => break,
            }
        }
        Some(Joint::Adrift { root: block.id, missing: block.parent })
    }

    /// The blocks from the one after height `above` up to `to`, the oldest first.
    pub(super) fn path(&self, above: u64, to: B256) -> Vec<Arc<Block>> {
        let mut path = Vec::new();
        let mut next = self.blocks.get(&to);
        while let Some(block) = next.filter(|block| block.id.number > above && path.len() <= WINDOW) {
            path.push(block.clone());
            next = self.blocks.get(&block.parent);
        }
        path.reverse();
        path
    }

    /// Forgets what neither is served nor on the path of a tip, once there is much of it.
    pub(super) fn prune(&mut self, tips: impl Iterator<Item = BlockId>) {
        let tips: Vec<BlockId> = tips.collect();
        if self.blocks.len() <= SLACK + self.served.len() {
            return;
        }
        let mut kept = B256HashMap::default();
        for block in &self.served {
            kept.insert(block.id.hash, block.clone());
        }
        // All paths share what the window holds: what is adrift gets an equal part of the rest.
        let each = SLACK / 2 / tips.len().max(1);
        for tip in tips {
            let mut next = self.blocks.get(&tip.hash);
            for _ in 0..each.max(8) {
                let Some(block) = next else { break };
                kept.insert(block.id.hash, block.clone());
                next = self.blocks.get(&block.parent);
            }
        }
        self.blocks = kept;
    }
}
