//! What an answer says itself of the block it belongs to.

use std::borrow::Cow;

use alloy_primitives::B256;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chain::BlockId;
use crate::ethereum::Method;

/// Where an answer names its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is a block: `hash` and `number`.
    Block,
    /// It lies in one: `blockHash` and `blockNumber`.
    Placed,
    /// An array of such.
    PlacedEach,
    /// Nowhere that is known.
    Opaque,
}

impl Shape {
    pub(super) fn of(method: &Method) -> Self {
        match method.name {
            "eth_getBlockByNumber"
            | "eth_getBlockByHash"
            | "eth_getHeaderByNumber"
            | "eth_getHeaderByHash" => Self::Block,
            "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
            | "eth_getTransactionByBlockHashAndIndex"
            | "eth_getTransactionByBlockNumberAndIndex"
            | "eth_getTransactionBySenderAndNonce" => Self::Placed,
            "eth_getBlockReceipts"
            | "eth_getTransactionReceiptsByBlock"
            | "parity_getBlockReceipts"
            | "eth_getLogs" => Self::PlacedEach,
            _ => Self::Opaque,
        }
    }
}

/// The block that an answer says it is, or lies in.
pub(super) fn block_of(shape: Shape, answer: &[u8]) -> Option<BlockId> {
    match shape {
        Shape::Block => serde_json::from_slice::<Block<'_>>(answer).ok()?.id(),
        Shape::Placed => serde_json::from_slice::<Placed<'_>>(answer).ok()?.id(),
        Shape::PlacedEach | Shape::Opaque => None,
    }
}

/// The blocks that the members of an answer lie in, in their order; `None` where one of them does not say.
pub(super) fn blocks_of(answer: &[u8]) -> Option<Vec<BlockId>> {
    let members: Vec<&RawValue> = serde_json::from_slice(answer).ok()?;
    members.iter().map(|raw| serde_json::from_str::<Placed<'_>>(raw.get()).ok()?.id()).collect()
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(borrow)]
    number: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed<'a> {
    #[serde(borrow)]
    block_hash: Cow<'a, str>,
    #[serde(borrow)]
    block_number: Cow<'a, str>,
}

impl Block<'_> {
    fn id(&self) -> Option<BlockId> {
        id(&self.number, &self.hash)
    }
}

impl Placed<'_> {
    fn id(&self) -> Option<BlockId> {
        id(&self.block_number, &self.block_hash)
    }
}

fn id(number: &str, hash: &str) -> Option<BlockId> {
    let number = u64::from_str_radix(number.strip_prefix("0x")?, 16).ok()?;
    let hash: B256 = hash.parse().ok()?;
    Some(BlockId { number, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k1_what_is_pending_or_says_nothing_lies_in_no_block() {
        let hash = format!("0x{}", "ab".repeat(32));
        let placed = format!(r#"{{"blockHash":"{hash}","blockNumber":"0x10","hash":"0x1"}}"#);
        assert_eq!(block_of(Shape::Placed, placed.as_bytes()).map(|id| id.number), Some(16));
        assert_eq!(
            block_of(Shape::Block, format!(r#"{{"number":"0x5","hash":"{hash}"}}"#).as_bytes())
                .map(|id| id.number),
            Some(5)
        );
        for (shape, answer) in [
            (Shape::Placed, r#"{"blockHash":null,"blockNumber":null}"#.to_owned()),
            (Shape::Placed, format!(r#"{{"blockHash":"{hash}"}}"#)),
            (Shape::Placed, format!(r#"{{"blockHash":"{hash}","blockNumber":"16"}}"#)),
            (Shape::Placed, r#"{"blockHash":"0xab","blockNumber":"0x10"}"#.to_owned()),
            (Shape::Block, format!(r#"{{"number":null,"hash":"{hash}"}}"#)),
            (Shape::Block, "null".to_owned()),
            (Shape::Block, "[]".to_owned()),
            (Shape::Opaque, placed.clone()),
        ] {
            assert_eq!(block_of(shape, answer.as_bytes()), None, "{shape:?} {answer}");
        }
        assert_eq!(blocks_of(format!("[{placed},{placed}]").as_bytes()).map(|blocks| blocks.len()), Some(2));
        assert_eq!(blocks_of(format!("[{placed},{{}}]").as_bytes()), None);
        assert_eq!(blocks_of(b"[]"), Some(Vec::new()));
        assert_eq!(blocks_of(b"null"), None);
    }
}
