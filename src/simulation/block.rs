//! Blocks: a header whose hash and roots are true, transfers and their receipts.
//!
//! Headers have the fields of Prague and Osaka, which are the same. Blobs, withdrawals and requests there are none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::constants::{EMPTY_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::proofs::{calculate_receipt_root, ordered_trie_root_encoded};
use alloy_consensus::{Header, Receipt, ReceiptEnvelope, Transaction as _};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bloom, Bytes, U256, keccak256};
use alloy_rlp::Encodable;

use super::pool::{Pool, Pooled};
use super::state::{Account, Changes, State};
use super::transaction::Transaction;

/// Gas of one block; 1 428 transfers.
pub const GAS_LIMIT: u64 = 30_000_000;
/// Who proposes every block and gets its tips.
pub const PROPOSER: Address = Address::repeat_byte(0xfe);
/// Base fee of the first block: 1 gwei, below what wallets offer.
const GENESIS_BASE_FEE: u64 = 1_000_000_000;
/// Everybody who looks at a block sees what it is.
const EXTRA_DATA: &[u8] = b"outrigger simulation";

/// A block of the simulated chain.
#[derive(Clone, Debug)]
pub struct Block {
    /// keccak of the header's RLP.
    pub hash: B256,
    /// The header.
    pub header: Header,
    /// What it executed.
    pub transfers: Vec<Transfer>,
    /// Length of its RLP in bytes.
    pub size: u64,
    /// When it was made, since genesis.
    pub made_at: Duration,
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Gas of this one and all before it in the block.
    pub cumulative_gas: u64,
    /// Price of a unit of gas, in wei.
    pub gas_price: u128,
}

/// A block that follows another, and what it does to the state.
#[derive(Debug)]
pub struct Assembled {
    /// The block.
    pub block: Block,
    /// The accounts that it changes.
    pub changes: Changes,
}

/// What a block adds to its parent from outside.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// When, since genesis.
    pub at: Duration,
    /// The same in seconds since 1970.
    pub timestamp: u64,
    /// What the randomness of the chain is drawn from.
    pub seed: u64,
}

impl Block {
    /// The first block, after which `state` holds.
    pub fn genesis(timestamp: u64, changes: &Changes) -> Self {
        let header = Header {
            state_root: State::default().root_with(changes),
            base_fee_per_gas: Some(GENESIS_BASE_FEE),
            gas_limit: GAS_LIMIT,
            timestamp,
            parent_beacon_block_root: Some(B256::ZERO),
            ..frame()
        };
        Self::new(header, Vec::new(), Duration::ZERO)
    }

    fn new(header: Header, transfers: Vec<Transfer>, made_at: Duration) -> Self {
        let transactions: usize = transfers.iter().map(|t| item_length(&t.transaction)).sum();
        // header, transactions, no ommers, no withdrawals
        let payload = header.length() + list_length(transactions) + 1 + 1;
        Self { hash: header.hash_slow(), header, transfers, size: list_length(payload) as u64, made_at }
    }

    /// Wei a unit of gas burns. Every block here has one.
    pub fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }

    /// The base fee of the block after this one (EIP-1559).
    pub fn next_base_fee(&self) -> u64 {
        self.header.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()
    }

    /// Bytes it takes in memory, roughly.
    pub fn weight(&self) -> usize {
        /// Decoded form, receipt, index entries and versions of two accounts.
        const TRANSFER_BYTES: usize = 1_024;
        let transfers = self.transfers.iter().map(|t| 2 * t.transaction.encoded.len() + TRANSFER_BYTES);
        size_of::<Self>() + transfers.sum::<usize>()
    }

    /// The block after this one, made of what `admits` of the pool: the best tips first, each sender's in order.
    pub fn next(
        &self,
        slot: Slot,
        state: &State,
        pool: &Pool,
        admits: impl Fn(&Pooled) -> bool,
    ) -> Assembled {
        let base_fee = self.next_base_fee();
        let mut work = Work { state, changes: Changes::new(), transfers: Vec::new(), gas_used: 0, base_fee };
        let mut heads = Heads::default();
        for sender in pool.senders() {
            heads.offer(pool, sender, state.latest(sender).nonce, base_fee, &admits);
        }
        while let Some((transaction, sender)) = heads.take_best() {
            let nonce = transaction.nonce();
            // What does not fit or cannot be paid waits, and what follows it of the same sender.
            if work.execute(transaction) {
                heads.offer(pool, sender, nonce + 1, base_fee, &admits);
            }
        }
        let Work { mut changes, transfers, gas_used, .. } = work;
        let tips: U256 = transfers
            .iter()
            .map(|t| U256::from(t.gas_price.saturating_sub(base_fee.into())) * U256::from(t.transaction.gas))
            .sum();
        if !tips.is_zero() {
            changes.entry(PROPOSER).or_insert_with(|| state.latest(PROPOSER)).balance += tips;
        }
        let number = self.header.number + 1;
        let drawn = |what: &str| keccak256(format!("outrigger simulation {what} {} {number}", slot.seed));
        let encoded: Vec<&Bytes> = transfers.iter().map(|t| &t.transaction.encoded).collect();
        let receipts: Vec<ReceiptEnvelope> = transfers.iter().map(Transfer::receipt).collect();
        let header = Header {
            parent_hash: self.hash,
            state_root: match changes.is_empty() {
                true => self.header.state_root,
                false => state.root_with(&changes),
            },
            transactions_root: ordered_trie_root_encoded(&encoded),
            receipts_root: calculate_receipt_root(&receipts),
            number,
            gas_limit: GAS_LIMIT,
            gas_used,
            timestamp: slot.timestamp,
            mix_hash: drawn("randao"),
            base_fee_per_gas: Some(base_fee),
            parent_beacon_block_root: Some(drawn("beacon root")),
            ..frame()
        };
        Assembled { block: Self::new(header, transfers, slot.at), changes }
    }
}

/// What all headers have in common.
fn frame() -> Header {
    Header {
        beneficiary: PROPOSER,
        // Transfers log nothing.
        logs_bloom: Bloom::ZERO,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        extra_data: Bytes::from_static(EXTRA_DATA),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

fn list_length(payload_length: usize) -> usize {
    alloy_rlp::Header { list: true, payload_length }.length() + payload_length
}

/// A transaction in a block's body: a legacy one is a list already, others are wrapped in a string.
fn item_length(transaction: &Transaction) -> usize {
    let length = transaction.encoded.len();
    match transaction.envelope.is_legacy() {
        true => length,
        false => alloy_rlp::Header { list: false, payload_length: length }.length() + length,
    }
}

impl Transfer {
    /// The receipt as it stands in the receipts trie. Transfers do not fail once they are in a block.
    fn receipt(&self) -> ReceiptEnvelope {
        let receipt =
            Receipt { status: true.into(), cumulative_gas_used: self.cumulative_gas, logs: Vec::new() };
        ReceiptEnvelope::from_typed(self.transaction.envelope.tx_type(), receipt)
    }
}

/// A block being made.
struct Work<'a> {
    state: &'a State,
    changes: Changes,
    transfers: Vec<Transfer>,
    gas_used: u64,
    base_fee: u64,
}

impl Work<'_> {
    fn account(&self, address: Address) -> Account {
        self.changes.get(&address).copied().unwrap_or_else(|| self.state.latest(address))
    }

    /// Executes a transfer, if it fits and can be paid.
    fn execute(&mut self, transaction: &Arc<Transaction>) -> bool {
        let envelope = &transaction.envelope;
        let mut sender = self.account(transaction.sender);
        let fits = self.gas_used.saturating_add(envelope.gas_limit()) <= GAS_LIMIT;
        if !fits || sender.nonce != transaction.nonce() || transaction.cost_max() > sender.balance {
            return false;
        }
        let gas_price = envelope.effective_gas_price(Some(self.base_fee));
        // At most `cost_max`, which is there.
        let fee = U256::from(gas_price) * U256::from(transaction.gas);
        sender.balance -= fee + envelope.value();
        sender.nonce += 1;
        self.changes.insert(transaction.sender, sender);
        if !envelope.value().is_zero() {
            let mut receiver = self.account(transaction.to);
            // All there is was there at genesis: no sum of it overflows.
            receiver.balance += envelope.value();
            self.changes.insert(transaction.to, receiver);
        }
        self.gas_used += transaction.gas;
        let cumulative_gas = self.gas_used;
        self.transfers.push(Transfer { transaction: transaction.clone(), cumulative_gas, gas_price });
        true
    }
}

/// Each sender's next transaction, by what it tips; between equals, the smaller hash.
#[derive(Default)]
struct Heads<'a>(BTreeMap<(u128, B256), (&'a Arc<Transaction>, Address)>);

impl<'a> Heads<'a> {
    fn offer(
        &mut self,
        pool: &'a Pool,
        sender: Address,
        nonce: u64,
        base_fee: u64,
        admits: impl Fn(&Pooled) -> bool,
    ) {
        let next = pool.ready(sender, nonce).next().filter(|pooled| admits(pooled));
        if let Some(Pooled { transaction, .. }) = next
            && let Some(tip) = transaction.envelope.effective_tip_per_gas(base_fee)
        {
            self.0.insert((tip, transaction.hash), (transaction, sender));
        }
    }

    fn take_best(&mut self) -> Option<(&'a Arc<Transaction>, Address)> {
        self.0.pop_last().map(|(_, head)| head)
    }
}
