//! Transactions that wait, and who has heard of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};

use super::state::State;
use super::transaction::{Refused, Shortfall, Transaction};

/// Most transactions that wait.
pub const POOL_MAX: usize = 2_048;
/// Most bytes of them.
const POOL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most of one sender; geth queues as many.
const SENDER_MAX: usize = 64;
/// After this a transaction that cannot be mined is dropped, as geth does.
const LIFETIME: Duration = Duration::from_secs(3 * 3600);
/// How long gossip takes from the node that was told to all the others.
pub const GOSSIP: Duration = Duration::from_millis(100);

/// Index of a simulated node, below 64.
pub type NodeIndex = usize;

/// One that waits.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    first_told: Duration,
    /// A bit for each node that was told by a client.
    told: u64,
}

/// All that wait, by sender and nonce.
#[derive(Debug, Default)]
pub struct Pool {
    by_sender: BTreeMap<Address, BTreeMap<u64, Pooled>>,
    hashes: HashMap<B256, (Address, u64)>,
    bytes: usize,
}

impl Pooled {
    /// Whether a node has heard of it.
    pub fn is_known_to(&self, node: NodeIndex, now: Duration) -> bool {
        self.told & bit(node) != 0 || self.is_everywhere(now)
    }

    /// Whether everybody has heard of it, whoever makes the next block included.
    pub fn is_everywhere(&self, now: Duration) -> bool {
        self.first_told + GOSSIP <= now
    }
}

fn bit(node: NodeIndex) -> u64 {
    1 << (node % 64)
}

impl Pool {
    /// A client tells a node of a transaction.
    pub fn add(
        &mut self,
        transaction: Transaction,
        node: NodeIndex,
        now: Duration,
        state: &State,
    ) -> Result<(), Refused> {
        let (sender, nonce) = (transaction.sender, transaction.nonce());
        if let Some((sender, nonce)) = self.hashes.get(&transaction.hash)
            && let Some(pooled) = self.by_sender.get_mut(sender).and_then(|queue| queue.get_mut(nonce))
        {
            let known = pooled.is_known_to(node, now);
            pooled.told |= bit(node);
            return if known { Err(Refused::AlreadyKnown) } else { Ok(()) };
        }
        let account = state.latest(sender);
        if nonce < account.nonce {
            return Err(Refused::NonceTooLow { next: account.nonce, nonce });
        }
        let queue = self.by_sender.get(&sender);
        let replaced = queue.and_then(|queue| queue.get(&nonce));
        if replaced.is_some_and(|other| !transaction.outbids(&other.transaction)) {
            return Err(Refused::Underpriced);
        }
        let before = queue.into_iter().flat_map(|queue| queue.range(..nonce));
        let queued = before.fold(U256::ZERO, |sum, (_, p)| sum.saturating_add(p.transaction.cost_max()));
        let cost = transaction.cost_max();
        let needed = queued.saturating_add(cost);
        if needed > account.balance {
            let overshot = needed - account.balance;
            return Err(Box::new(Shortfall { balance: account.balance, queued, cost, overshot }).into());
        }
        let is_new = replaced.is_none();
        if is_new && queue.is_some_and(|queue| queue.len() >= SENDER_MAX) {
            return Err(Refused::SenderFull(SENDER_MAX));
        }
        if (is_new && self.len() >= POOL_MAX) || self.bytes + transaction.encoded.len() > POOL_BYTES_MAX {
            return Err(Refused::PoolFull);
        }
        let (hash, bytes) = (transaction.hash, transaction.encoded.len());
        let pooled = Pooled { transaction: Arc::new(transaction), first_told: now, told: bit(node) };
        if let Some(other) = self.by_sender.entry(sender).or_default().insert(nonce, pooled) {
            self.hashes.remove(&other.transaction.hash);
            self.bytes -= other.transaction.encoded.len();
        }
        self.hashes.insert(hash, (sender, nonce));
        self.bytes += bytes;
        Ok(())
    }

    /// By hash.
    pub fn get(&self, hash: &B256) -> Option<&Pooled> {
        let (sender, nonce) = self.hashes.get(hash)?;
        self.by_sender.get(sender)?.get(nonce)
    }

    /// A sender's, in order, from its next nonce up to the first gap.
    pub fn ready(&self, sender: Address, next: u64) -> impl Iterator<Item = &Pooled> {
        let queue = self.by_sender.get(&sender);
        (next..).map_while(move |nonce| queue?.get(&nonce))
    }

    /// Everybody of whom something waits.
    pub fn senders(&self) -> impl Iterator<Item = Address> {
        self.by_sender.keys().copied()
    }

    /// Forgets what was mined, what another has replaced in a block, and what is too old.
    pub fn clean(&mut self, now: Duration, state: &State) {
        let (hashes, bytes) = (&mut self.hashes, &mut self.bytes);
        self.by_sender.retain(|sender, queue| {
            let next = state.latest(*sender).nonce;
            queue.retain(|nonce, pooled| {
                let stays = *nonce >= next && now < pooled.first_told + LIFETIME;
                if !stays {
                    hashes.remove(&pooled.transaction.hash);
                    *bytes -= pooled.transaction.encoded.len();
                }
                stays
            });
            !queue.is_empty()
        });
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }
}
