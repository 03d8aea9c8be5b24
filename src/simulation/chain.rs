//! The one chain that all simulated clouds follow. Pure: it has no clock and does no I/O; time comes in, as
//! the time since genesis.
//!
//! Nodes are points of view upon it. A node sees a block once it had the time to arrive there, and a
//! transaction once a client or gossip told it: [`View`] says which node asks, and when.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::accounts::{DEV_ACCOUNTS, GENESIS_BALANCE};
use super::block::{Assembled, Block, PROPOSER, Slot, Transfer};
use super::pool::{NodeIndex, Pool, Pooled};
use super::state::{ACCOUNTS_MAX, Account, Changes, State};
use super::transaction::{Refused, Transaction};

/// Most blocks that are kept, and the state after each.
pub const HISTORY_MAX: usize = 4_096;
/// Most bytes of them; full blocks shorten the history.
const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// `safe` is this far behind the head, `finalized` twice as far. Mainnet's are 32 and 64: nobody tries
/// something out that long.
pub const SAFE_DISTANCE: u64 = 2;
/// How long a block is on its way to a node: at least this, up to 100 ms more.
const HEAD_LAG_MIN: Duration = Duration::from_millis(50);

/// What the chain starts from.
#[derive(Clone, Copy, Debug)]
pub struct Genesis {
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Time between blocks; at least a second, the resolution of a header's timestamp.
    pub block_time: Duration,
    /// Everything random is drawn from it.
    pub seed: u64,
}

/// Who looks, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The node.
    pub node: NodeIndex,
    /// Since genesis.
    pub now: Duration,
    /// Blocks that the node is behind what it should have.
    pub behind: u64,
}

/// Where a transaction is.
#[derive(Debug)]
pub enum Found<'a> {
    /// It waits, as far as the node knows.
    Pending(&'a Transaction),
    /// It is in a block.
    Mined(&'a Block, usize),
}

/// The chain and its pool.
#[derive(Debug)]
pub struct Chain {
    genesis: Genesis,
    /// Neighbours, the first is the earliest that is kept. Never empty.
    blocks: VecDeque<Block>,
    weight: usize,
    numbers: HashMap<B256, u64>,
    mined: HashMap<B256, (u64, usize)>,
    state: State,
    pool: Pool,
}

impl Chain {
    /// A chain with its first block.
    pub fn new(mut genesis: Genesis) -> Self {
        genesis.block_time = genesis.block_time.max(Duration::from_secs(1));
        let account = Account { nonce: 0, balance: GENESIS_BALANCE };
        let changes: Changes = DEV_ACCOUNTS.iter().map(|dev| (dev.address, account)).collect();
        let block = Block::genesis(genesis.timestamp, &changes);
        let mut chain = Self {
            genesis,
            blocks: VecDeque::new(),
            weight: 0,
            numbers: HashMap::new(),
            mined: HashMap::new(),
            state: State::default(),
            pool: Pool::default(),
        };
        chain.append(Assembled { block, changes });
        chain
    }

    /// Makes all blocks that are due.
    pub fn advance(&mut self, now: Duration) {
        loop {
            let slot = self.next_slot();
            if slot.at > now {
                return;
            }
            let Some(head) = self.blocks.back() else { return };
            let next = head.next(slot, &self.state, &self.pool, |pooled| pooled.is_everywhere(slot.at));
            self.append(next);
            self.pool.clean(slot.at, &self.state);
            self.forget();
        }
    }

    /// A client gives a node a transaction.
    ///
    /// # Errors
    /// When the node would not take it.
    pub fn submit(&mut self, view: View, raw: &str) -> Result<B256, Refused> {
        let transaction = Transaction::check(raw)?;
        let accounts = self.state.len() + self.pool.len();
        if accounts >= ACCOUNTS_MAX && !self.state.has(transaction.to) {
            return Err(Refused::AccountsFull(ACCOUNTS_MAX));
        }
        let hash = transaction.hash;
        self.pool.add(transaction, view.node, view.now, &self.state)?;
        Ok(hash)
    }

    /// The last block that a node has.
    pub fn head(&self, view: View) -> &Block {
        let made = self.blocks.iter().rev();
        let arrived = made.skip_while(|block| block.made_at + self.lag(view.node, block) > view.now);
        let behind = usize::try_from(view.behind).unwrap_or(usize::MAX);
        arrived.into_iter().nth(behind).unwrap_or(&self.blocks[0])
    }

    /// A block that a node has, by number.
    pub fn block(&self, view: View, number: u64) -> Option<&Block> {
        let at = number.checked_sub(self.earliest())?;
        self.blocks.get(usize::try_from(at).ok()?).filter(|_| number <= self.head(view).header.number)
    }

    /// The same by hash.
    pub fn block_by_hash(&self, view: View, hash: &B256) -> Option<&Block> {
        self.numbers.get(hash).and_then(|number| self.block(view, *number))
    }

    /// The block that a node would make now: what it knows of the pool on top of its head. One that is
    /// made already and still on its way counts as that.
    pub fn pending(&self, view: View) -> Block {
        let head = self.head(view);
        if let Some(made) = self.raw(head.header.number + 1) {
            return made.clone();
        }
        let slot = self.next_slot();
        head.next(slot, &self.state, &self.pool, |pooled| pooled.is_known_to(view.node, view.now)).block
    }

    /// The earliest block that is kept.
    pub fn earliest(&self) -> u64 {
        self.blocks.front().map_or(0, |block| block.header.number)
    }

    /// An account after a block that is kept.
    pub fn account(&self, address: Address, number: u64) -> Account {
        self.state.at(address, number)
    }

    /// The account once all is mined of which the node knows.
    pub fn account_pending(&self, view: View, address: Address) -> Account {
        let mut account = self.state.latest(address);
        account.nonce += self.waiting(view, address, account.nonce).count() as u64;
        account
    }

    /// By hash, as far as a node knows.
    pub fn find(&self, view: View, hash: &B256) -> Option<Found<'_>> {
        if let Some((number, index)) = self.mined.get(hash) {
            return match self.block(view, *number) {
                Some(block) => Some(Found::Mined(block, *index)),
                // The block is on its way; what is in it has been everywhere before.
                None => self.raw(*number).and_then(|b| b.transfers.get(*index)).map(pending),
            };
        }
        let pooled = self.pool.get(hash).filter(|pooled| pooled.is_known_to(view.node, view.now))?;
        Some(Found::Pending(&pooled.transaction))
    }

    fn waiting(&self, view: View, sender: Address, next: u64) -> impl Iterator<Item = &Pooled> {
        self.pool.ready(sender, next).take_while(move |pooled| pooled.is_known_to(view.node, view.now))
    }

    fn raw(&self, number: u64) -> Option<&Block> {
        let at = number.checked_sub(self.earliest())?;
        self.blocks.get(usize::try_from(at).ok()?)
    }

    fn next_slot(&self) -> Slot {
        let number = self.blocks.back().map_or(0, |head| head.header.number + 1);
        let number = u32::try_from(number).unwrap_or(u32::MAX); // 136 years of seconds
        let at = self.genesis.block_time.saturating_mul(number);
        Slot { at, timestamp: self.genesis.timestamp + at.as_secs(), seed: self.genesis.seed }
    }

    /// How long a block is on its way to a node: 50 to 150 ms, the later nodes later.
    fn lag(&self, node: NodeIndex, block: &Block) -> Duration {
        if block.header.number == 0 {
            return Duration::ZERO;
        }
        let seed = self.genesis.seed ^ ((node as u64) << 48) ^ block.header.number;
        let distance = 25 * (node as u64 % 4);
        HEAD_LAG_MIN + Duration::from_millis(distance + SmallRng::seed_from_u64(seed).random_range(0..=25))
    }

    fn append(&mut self, assembled: Assembled) {
        let Assembled { block, changes } = assembled;
        let number = block.header.number;
        self.state.apply(number, &changes);
        self.weight += block.weight();
        self.numbers.insert(block.hash, number);
        let hashes = block.transfers.iter().enumerate();
        self.mined.extend(hashes.map(|(index, t)| (t.transaction.hash, (number, index))));
        self.blocks.push_back(block);
    }

    fn forget(&mut self) {
        while self.blocks.len() > 1
            && (self.blocks.len() > HISTORY_MAX || self.weight > HISTORY_BYTES_MAX)
            && let Some(block) = self.blocks.pop_front()
        {
            self.weight -= block.weight();
            self.numbers.remove(&block.hash);
            let earliest = self.earliest();
            for Transfer { transaction, .. } in &block.transfers {
                self.mined.remove(&transaction.hash);
                for address in [transaction.sender, transaction.to, PROPOSER] {
                    self.state.forget(address, earliest);
                }
            }
        }
    }
}

fn pending(transfer: &Transfer) -> Found<'_> {
    Found::Pending(&transfer.transaction)
}

#[cfg(test)]
mod tests;
