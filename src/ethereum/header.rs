//! A block's header out of what a node answers: where it hangs, whether it hashes to what it claims, and the form in
//! which `eth_subscribe("newHeads")` gives it.

use std::fmt;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bloom};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members of a block that are no part of its header, or differ between nodes.
const NO_HEADER: [&str; 6] = ["transactions", "uncles", "withdrawals", "size", "totalDifficulty", "author"];
/// A header is no longer than this; extra data is 32 bytes on most chains and some hundreds on clique and its heirs.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// A header as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadHeader {
    /// Height.
    pub number: u64,
    /// The hash it claims.
    pub hash: B256,
    /// Hash of the block before it.
    pub parent: B256,
    /// Seconds since 1970.
    pub timestamp_s: u64,
    /// Which addresses and topics its logs may have.
    pub logs_bloom: Option<Box<Bloom>>,
    /// The hash computed from its fields; `None` where some of Ethereum's are missing.
    pub computed: Option<B256>,
    /// The header as a JSON object.
    pub json: Vec<u8>,
}

/// Why a block could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no block with number, hash and parent hash")]
pub struct NoHeader;

#[derive(Deserialize)]
struct Place {
    #[serde(deserialize_with = "quantity")]
    number: u64,
    hash: B256,
    #[serde(rename = "parentHash")]
    parent: B256,
    #[serde(deserialize_with = "quantity", default)]
    timestamp: u64,
    #[serde(rename = "logsBloom", default)]
    logs_bloom: Option<Box<Bloom>>,
}

/// Reads a block as `eth_getBlockByNumber` answers it; `None` where it is `null`.
///
/// # Errors
/// When it is no block, or its header is longer than headers are.
pub fn read_header(block: &[u8]) -> Result<Option<ReadHeader>, NoHeader> {
    if block.trim_ascii() == b"null" {
        return Ok(None);
    }
    let members: Members<'_> = serde_json::from_slice(block).map_err(|_| NoHeader)?;
    let mut json = Vec::with_capacity(2048);
    for (name, value) in &members.0 {
        json.push(if json.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut json, name).map_err(|_| NoHeader)?;
        json.push(b':');
        json.extend_from_slice(value.get().as_bytes());
        if json.len() > HEADER_BYTES_MAX {
            return Err(NoHeader);
        }
    }
    if json.is_empty() {
        return Err(NoHeader);
    }
    json.push(b'}');
    let place: Place = serde_json::from_slice(&json).map_err(|_| NoHeader)?;
    let computed = serde_json::from_slice::<Header>(&json).ok().map(|header| header.hash_slow());
    Ok(Some(ReadHeader {
        number: place.number,
        hash: place.hash,
        parent: place.parent,
        timestamp_s: place.timestamp,
        logs_bloom: place.logs_bloom,
        computed,
        json,
    }))
}

/// The number of a block, where that is all there is to know: a pending block has no hash.
pub fn read_number(block: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        #[serde(deserialize_with = "quantity")]
        number: u64,
    }
    serde_json::from_slice::<Numbered>(block).ok().map(|block| block.number)
}

/// The members of a header, in the order of the node; of a name that comes twice, the first.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                /// Chains add members of their own, but not many.
                const MEMBERS_MAX: usize = 64;
                let mut members: Vec<(String, &RawValue)> = Vec::with_capacity(24);
                while let Some(name) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value()?;
                    let is_known = members.iter().any(|(known, _)| *known == name);
                    if members.len() < MEMBERS_MAX && !is_known && !NO_HEADER.contains(&name.as_str()) {
                        members.push((name, value));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let digits = text.strip_prefix("0x").ok_or_else(|| serde::de::Error::custom("no quantity"))?;
    u64::from_str_radix(digits, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mainnet's first block, as geth answers it.
    const GENESIS_WITHOUT_BLOOM: &str = r#"{"difficulty":"0x400000000","extraData":"0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa","gasLimit":"0x1388","gasUsed":"0x0","hash":"0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3","logsBloom":"BLOOM","miner":"0x0000000000000000000000000000000000000000","mixHash":"0x0000000000000000000000000000000000000000000000000000000000000000","nonce":"0x0000000000000042","number":"0x0","parentHash":"0x0000000000000000000000000000000000000000000000000000000000000000","receiptsRoot":"0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421","sha3Uncles":"0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347","size":"0x21c","stateRoot":"0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544","timestamp":"0x0","transactions":[],"transactionsRoot":"0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421","uncles":[]}"#;

    fn genesis() -> String {
        GENESIS_WITHOUT_BLOOM.replace("BLOOM", &format!("0x{}", "0".repeat(512)))
    }

    #[test]
    fn a_true_header_hashes_to_what_it_claims_and_a_changed_one_does_not() {
        let read = read_header(genesis().as_bytes()).unwrap().unwrap();
        assert_eq!(read.computed, Some(read.hash));
        let changed = genesis().replace("0x1388", "0x1389");
        let read = read_header(changed.as_bytes()).unwrap().unwrap();
        assert!(read.computed.is_some_and(|computed| computed != read.hash));
    }

    #[test]
    fn a_header_is_a_block_without_what_hangs_on_it() {
        let read = read_header(genesis().as_bytes()).unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&read.json).unwrap();
        for name in NO_HEADER {
            assert!(json.get(name).is_none(), "{name}");
        }
        assert_eq!(json["stateRoot"], "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544");
    }

    #[test]
    fn headers_of_another_kind_are_read_and_nothing_else_is() {
        let strange = r#"{"number":"0x2","hash":"0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3","parentHash":"0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3","timestamp":"0x5","l1BatchNumber":"0x1"}"#;
        let read = read_header(strange.as_bytes()).unwrap().unwrap();
        assert_eq!((read.number, read.timestamp_s, read.computed), (2, 5, None));
        assert_eq!(read_header(b" null "), Ok(None));
        for wrong in [
            "{}",
            "[]",
            "\"0x1\"",
            r#"{"number":"0x1"}"#,
            r#"{"number":7,"hash":"0x","parentHash":"0x"}"#,
            "{",
        ] {
            assert_eq!(read_header(wrong.as_bytes()), Err(NoHeader), "{wrong}");
        }
        let long = format!(r#"{{"extraData":"{}"}}"#, "0".repeat(HEADER_BYTES_MAX));
        assert_eq!(read_header(long.as_bytes()), Err(NoHeader));
    }

    #[test]
    fn a_pending_block_has_a_number_at_least() {
        assert_eq!(read_number(br#"{"number":"0x10","hash":null,"transactions":[]}"#), Some(16));
        assert_eq!(read_number(b"null"), None);
    }
}
