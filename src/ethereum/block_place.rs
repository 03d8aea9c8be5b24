//! Where in `params` a method names the block it speaks of.

/// What a block parameter means to its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRole {
    /// The block, or the state after the block, that is read.
    At,
    /// First block of a range, inclusive.
    From,
    /// Last block of a range, inclusive.
    To,
}

/// The place of one block parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// What it means.
    pub role: BlockRole,
    /// Position in the `params` array, from 0; at most [`BlockPlace::INDEX_MAX`].
    pub index: usize,
    /// The member that holds it, where the parameter is an object.
    pub member: Option<&'static str>,
    /// What a node takes when it is absent or null; `None`: it must be there (or, for `blockHash`
    /// beside other members, simply does not apply).
    pub default: Option<super::BlockTag>,
}

impl BlockPlace {
    /// The furthest position in use (`eth_getStorageAt`, `eth_getProof`, `trace_call`).
    pub const INDEX_MAX: usize = 2;
}

use super::BlockTag::{Earliest, Latest};
use BlockRole::{At, From, To};

const fn at(index: usize) -> BlockPlace {
    BlockPlace { role: At, index, member: None, default: None }
}

const fn latest(index: usize) -> BlockPlace {
    BlockPlace { role: At, index, member: None, default: Some(Latest) }
}

const fn member(
    role: BlockRole,
    index: usize,
    name: &'static str,
    or: Option<super::BlockTag>,
) -> BlockPlace {
    BlockPlace { role, index, member: Some(name), default: or }
}

pub(super) static NONE: &[BlockPlace] = &[];
/// A block that must be named.
pub(super) static AT_0: &[BlockPlace] = &[at(0)];
pub(super) static AT_1: &[BlockPlace] = &[at(1)];
/// The same, for methods whose first parameter is a block hash.
pub(super) static HASH_0: &[BlockPlace] = &[at(0)];
/// A block that is `latest` unless named.
pub(super) static LATEST_0: &[BlockPlace] = &[latest(0)];
pub(super) static LATEST_1: &[BlockPlace] = &[latest(1)];
pub(super) static LATEST_2: &[BlockPlace] = &[latest(2)];
/// `eth_callMany`: `[bundles, {blockNumber, transactionIndex}]`.
pub(super) static STATE_CONTEXT_1: &[BlockPlace] = &[member(At, 1, "blockNumber", Some(Latest))];
/// `eth_callBundle`: the bundle's own target lies in the future; the state is what must be there.
pub(super) static BUNDLE_STATE_0: &[BlockPlace] = &[member(At, 0, "stateBlockNumber", Some(Latest))];
/// `trace_filter` and its kin.
pub(super) static FILTER_0: &[BlockPlace] =
    &[member(From, 0, "fromBlock", Some(Latest)), member(To, 0, "toBlock", Some(Latest))];
/// `eth_getLogs`: a range, or one block by its hash (EIP-234).
pub(super) static LOG_FILTER_0: &[BlockPlace] = &[
    member(From, 0, "fromBlock", Some(Latest)),
    member(To, 0, "toBlock", Some(Latest)),
    member(At, 0, "blockHash", None),
];
/// `alchemy_getAssetTransfers` starts at the first block unless told.
pub(super) static TRANSFERS_0: &[BlockPlace] =
    &[member(From, 0, "fromBlock", Some(Earliest)), member(To, 0, "toBlock", Some(Latest))];
/// A range of two plain parameters.
pub(super) static RANGE_0_1: &[BlockPlace] = &[
    BlockPlace { role: From, index: 0, member: None, default: None },
    BlockPlace { role: To, index: 1, member: None, default: None },
];
/// `ots_searchTransactionsAfter`: from a block up to the head.
pub(super) static FROM_1: &[BlockPlace] = &[BlockPlace { role: From, index: 1, member: None, default: None }];
/// `alchemy_getTransactionReceipts`: `{blockNumber}` or `{blockHash}`.
pub(super) static BLOCK_OBJECT_0: &[BlockPlace] =
    &[member(At, 0, "blockNumber", Some(Latest)), member(At, 0, "blockHash", None)];
