//! What is written of one transaction.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::chain::Fate;

/// A transaction with its signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is known of it.
    pub record: Record,
    /// The signed bytes, as they were handed in.
    pub bytes: Bytes,
}

/// What is known of a transaction. Members that a reader does not know are passed over, and new ones have defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// EIP-155 id of its chain.
    pub chain_id: u64,
    /// Its hash.
    pub hash: B256,
    /// Who signed it; `None` where the type is not known.
    pub sender: Option<Address>,
    /// The sender's nonce; `None` where the type is not known.
    pub nonce: Option<u64>,
    /// It goes to private backends only.
    #[serde(default)]
    pub private: bool,
    /// It was private for as long as the configuration says, and public backends have it too since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// What has become of it.
    pub fate: Fate,
    /// When it was handed in, in seconds since 1970.
    pub submitted_at_s: u64,
    /// When its fate changed last, in seconds since 1970.
    pub changed_at_s: u64,
    /// How often the bytes were sent beyond the first broadcast.
    #[serde(default)]
    pub resends: u32,
    /// What backends said to it last, by their name.
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
}

impl Record {
    /// Nobody but private backends may see it.
    pub fn is_secret(&self) -> bool {
        self.private && !self.escalated
    }
}

/// What a backend said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The class of its answer, such as `ok` or `tx_underpriced`.
    pub class: String,
    /// When, in seconds since 1970.
    pub at_s: u64,
}
