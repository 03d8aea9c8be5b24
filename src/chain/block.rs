//! A block as the follower keeps it: where it hangs, and its header as clients see it.

use alloy_primitives::{B256, Bloom};
use bytes::Bytes;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct BlockId {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// A block's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Height and hash.
    pub id: BlockId,
    /// Hash of the block before it.
    pub parent: B256,
    /// What it says of its time, in seconds since 1970.
    pub timestamp_s: u64,
    /// Which addresses and topics its logs may have; `None` where the header does not tell.
    pub logs_bloom: Option<Box<Bloom>>,
    /// The header as a JSON object, as `eth_subscribe("newHeads")` gives it; empty in a drill.
    pub header: Bytes,
}
