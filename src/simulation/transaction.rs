//! A transaction of the simulation: checked as geth checks one before it enters the pool, in geth's words.
//!
//! No contract runs here, so what a transfer costs is known beforehand: 21 000 gas and its calldata.

use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, U256};

use crate::ethereum::{RawTransaction, RawTransactionError};

use super::CHAIN_ID;
use super::block::GAS_LIMIT;

/// geth's bound of one transaction in its pool.
const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// Why a transaction is not taken. The texts are geth's where geth has one, since wallets read them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is no transaction.
    #[error(transparent)]
    Undecodable(#[from] RawTransactionError),
    /// Blobs, delegations, or a type of the future.
    #[error("transaction type not supported: the simulation takes types 0, 1 and 2, not {0}")]
    Type(u8),
    /// Signed for another network. What is signed for the simulation must be worthless elsewhere too, so it
    /// takes nothing without a chain id.
    #[error("invalid chain id for signer: have {0} want {want}", want = CHAIN_ID)]
    Chain(u64),
    /// Valid on every network.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    /// The signature recovers to nobody.
    #[error("invalid sender")]
    Signature,
    /// There is no EVM.
    #[error("the simulation runs no contracts: it executes plain transfers only, and creates none")]
    Creation,
    /// Longer than a pool takes.
    #[error("oversized data: transaction size {0}, limit {max}", max = TRANSACTION_BYTES_MAX)]
    TooLarge(usize),
    /// Less gas than a transfer takes.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas {
        /// What it allows.
        gas: u64,
        /// What it takes.
        needed: u64,
    },
    /// More gas than a block has.
    #[error("exceeds block gas limit")]
    GasLimit,
    /// The tip is part of the fee.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}"
    )]
    TipAboveFeeCap {
        /// `maxPriorityFeePerGas`.
        tip: u128,
        /// `maxFeePerGas`.
        cap: u128,
    },
    /// Its nonce is used up.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The sender's next one.
        next: u64,
        /// The transaction's.
        nonce: u64,
    },
    /// The pool has it.
    #[error("already known")]
    AlreadyKnown,
    /// The pool has another with this nonce that pays nearly as much.
    #[error("replacement transaction underpriced")]
    Underpriced,
    /// Together with what waits before it, it costs more than there is.
    #[error(transparent)]
    InsufficientFunds(#[from] Box<Shortfall>),
    /// Too many of one sender wait.
    #[error("account limit exceeded: at most {0} transactions of one sender wait")]
    SenderFull(usize),
    /// Too many wait.
    #[error("txpool is full")]
    PoolFull,
    /// Too many accounts exist.
    #[error("the simulation holds at most {0} accounts: send to one that exists")]
    AccountsFull(usize),
}

/// What is missing to pay for a transaction, in wei.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {overshot}"
)]
pub struct Shortfall {
    /// The sender's.
    pub balance: U256,
    /// Of the sender's transactions that go first.
    pub queued: U256,
    /// Of this one at most.
    pub cost: U256,
    /// What is missing.
    pub overshot: U256,
}

/// A signed transfer.
#[derive(Debug)]
pub struct Transaction {
    /// As it was decoded.
    pub envelope: TxEnvelope,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Who receives.
    pub to: Address,
    /// EIP-2718 bytes, as they stand in a block.
    pub encoded: Bytes,
    /// What it will use.
    pub gas: u64,
}

impl Transaction {
    /// Decodes and checks everything that needs no state.
    ///
    /// # Errors
    /// In geth's words.
    pub fn check(hex: &str) -> Result<Self, Refused> {
        let raw = RawTransaction::decode(hex)?;
        let Some(envelope) = raw.envelope().filter(|_| raw.tx_type() <= 2) else {
            return Err(Refused::Type(raw.tx_type()));
        };
        if raw.size() > TRANSACTION_BYTES_MAX {
            return Err(Refused::TooLarge(raw.size()));
        }
        match raw.chain_id() {
            None => return Err(Refused::Unprotected),
            Some(CHAIN_ID) => {}
            Some(other) => return Err(Refused::Chain(other)),
        }
        let to = envelope.to().ok_or(Refused::Creation)?;
        let needed = intrinsic_gas(envelope.input(), envelope.access_list());
        if envelope.gas_limit() < needed {
            return Err(Refused::IntrinsicGas { gas: envelope.gas_limit(), needed });
        }
        if envelope.gas_limit() > GAS_LIMIT {
            return Err(Refused::GasLimit);
        }
        let cap = envelope.max_fee_per_gas();
        if let Some(tip) = envelope.max_priority_fee_per_gas().filter(|tip| *tip > cap) {
            return Err(Refused::TipAboveFeeCap { tip, cap });
        }
        let sender = raw.sender().ok_or(Refused::Signature)?;
        let encoded = Bytes::from(envelope.encoded_2718());
        Ok(Self { envelope: envelope.clone(), hash: raw.hash(), sender, to, encoded, gas: needed })
    }

    /// The sender's count.
    pub fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// What it takes from the sender at most. Fees are saturated: nobody owns so much.
    pub fn cost_max(&self) -> U256 {
        let fee =
            U256::from(self.envelope.max_fee_per_gas()).saturating_mul(U256::from(self.envelope.gas_limit()));
        fee.saturating_add(self.envelope.value())
    }

    /// Whether it pays at least a tenth more than `other` in both fees, geth's price of a replacement.
    pub fn outbids(&self, other: &Self) -> bool {
        let raised = |fee: u128| fee.saturating_add((fee / 10).max(1));
        let tip = |tx: &Self| {
            tx.envelope.max_priority_fee_per_gas().unwrap_or_else(|| tx.envelope.max_fee_per_gas())
        };
        self.envelope.max_fee_per_gas() >= raised(other.envelope.max_fee_per_gas())
            && tip(self) >= raised(tip(other))
    }
}

/// Gas of a transaction that runs no code: 21 000, calldata (EIP-2028, with the floor of EIP-7623), access
/// list (EIP-2930).
pub fn intrinsic_gas(input: &[u8], access_list: Option<&AccessList>) -> u64 {
    const TRANSFER: u64 = 21_000;
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let tokens = zeros + 4 * (input.len() as u64 - zeros);
    let (addresses, keys) = access_list.map_or((0, 0), |list| {
        (list.0.len() as u64, list.0.iter().map(|item| item.storage_keys.len() as u64).sum())
    });
    let standard = TRANSFER + 4 * tokens + 2_400 * addresses + 1_900 * keys;
    standard.max(TRANSFER + 10 * tokens)
}
