//! New headers, for subscriptions and block filters, and whether blocks come at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use bytes::Bytes;

use crate::chain::{Block, BlockId, ChainEvent};

use super::record::{Bounds, Record};
use crate::gateway::outbox::{HandleId, Outbox, SessionEnd};

/// Five minutes of the fastest chain's blocks, and as many again.
const KEPT: Bounds = Bounds { entries_max: 4096, bytes_max: usize::MAX, entries_min: 0 };

/// Who wants headers, and the latest of them.
#[derive(Debug)]
pub(in crate::gateway) struct Heads {
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    headers: HashMap<HandleId, Arc<Outbox>>,
    syncing: HashMap<HandleId, Arc<Outbox>>,
    /// Block filters that live.
    filters: usize,
    record: Record<B256>,
    /// The number of the next block that comes.
    next: u64,
    halted_at: Option<BlockId>,
}

impl Default for Heads {
    fn default() -> Self {
        let record = Record::new(KEPT);
        Self {
            desk: Mutex::new(Desk {
                headers: HashMap::new(),
                syncing: HashMap::new(),
                filters: 0,
                record,
                next: 0,
                halted_at: None,
            }),
        }
    }
}

impl Heads {
    pub(super) fn on(&self, event: &ChainEvent) {
        let mut desk = self.desk();
        match event {
            ChainEvent::Extended { blocks } => desk.add(blocks),
            ChainEvent::Reorged { added, .. } => desk.add(added),
            ChainEvent::Skipped { to } => {
                // Before the first block nobody has missed any.
                if desk.next > 0 {
                    desk.end();
                }
                desk.add(std::slice::from_ref(to));
            }
            ChainEvent::Halted { at } => desk.set_halted(Some(*at)),
            ChainEvent::Resumed => desk.set_halted(None),
            ChainEvent::Forked { .. } => {}
        }
    }

    /// Events were lost: whoever hangs on their being complete is told that it is over.
    pub(super) fn missed(&self) {
        let mut desk = self.desk();
        desk.end();
        desk.syncing.values().for_each(|outbox| outbox.close(SessionEnd::Missed));
    }

    pub(super) fn subscribe(&self, id: HandleId, outbox: Arc<Outbox>) {
        self.desk().headers.insert(id, outbox);
    }

    /// Says at once how it stands, and then each change.
    pub(super) fn subscribe_syncing(&self, id: HandleId, outbox: Arc<Outbox>) {
        let mut desk = self.desk();
        outbox.push(id, syncing(desk.halted_at));
        desk.syncing.insert(id, outbox);
    }

    pub(super) fn leave(&self, id: HandleId) {
        let mut desk = self.desk();
        desk.headers.remove(&id);
        desk.syncing.remove(&id);
    }

    /// One more block filter: the number of the first block that it is to see.
    pub(in crate::gateway) fn filter_made(&self) -> u64 {
        let mut desk = self.desk();
        if desk.filters == 0 {
            let next = desk.next;
            desk.record.forget(next);
        }
        desk.filters += 1;
        desk.next
    }

    pub(in crate::gateway) fn filter_gone(&self) {
        let mut desk = self.desk();
        desk.filters = desk.filters.saturating_sub(1);
    }

    /// Hashes of the blocks that were not read yet; moves `read` past them. `None` where some are forgotten.
    pub(in crate::gateway) fn since(&self, read: &AtomicU64) -> Option<Vec<B256>> {
        let desk = self.desk();
        let hashes = desk.record.since(read.load(Ordering::Relaxed))?.map(|(_, hash)| *hash).collect();
        read.store(desk.next, Ordering::Relaxed);
        Some(hashes)
    }

    pub(super) fn audience(&self) -> usize {
        let desk = self.desk();
        desk.headers.len() + desk.syncing.len() + desk.filters
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Ends all that hangs on every block being told.
    fn end(&mut self) {
        self.next += 1;
        self.record.forget(self.next);
        self.headers.values().for_each(|outbox| outbox.close(SessionEnd::Missed));
    }

    fn add(&mut self, blocks: &[Arc<Block>]) {
        for block in blocks {
            for (id, outbox) in &self.headers {
                outbox.push(*id, block.header.clone());
            }
            if self.filters > 0 {
                self.record.push(self.next, 0, block.id.hash);
            }
            self.next += 1;
        }
    }

    fn set_halted(&mut self, halted_at: Option<BlockId>) {
        if self.halted_at.is_some() == halted_at.is_some() {
            return;
        }
        self.halted_at = halted_at;
        let result = syncing(halted_at);
        for (id, outbox) in &self.syncing {
            outbox.push(*id, result.clone());
        }
    }
}

/// What `syncing` subscribers are told, in geth's form. Nodes that have no new blocks are behind, as far as a client is
/// concerned; how far nobody knows.
fn syncing(halted_at: Option<BlockId>) -> Bytes {
    match halted_at {
        None => Bytes::from_static(b"false"),
        Some(BlockId { number, .. }) => format!(
            r#"{{"syncing":true,"status":{{"startingBlock":"{number:#x}","currentBlock":"{number:#x}","highestBlock":"{number:#x}"}}}}"#
        )
        .into(),
    }
}
