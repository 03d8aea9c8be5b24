//! Whether two backends that were asked for the same say the same: of some things there is one truth at a block.

use crate::ethereum::{BlockNeeds, BlockRef, Method, block_refs};
use serde_json::value::RawValue;

/// What has one value at a block, whoever is asked and with whatever node software. Calls are left out: what they come to
/// may hang on a node's own caps; blocks and logs, since software writes them in different ways.
const STATE: [&str; 4] = ["eth_getBalance", "eth_getCode", "eth_getStorageAt", "eth_getTransactionCount"];

/// Whether it asks for what has one value at a block.
pub fn is_state(method: &Method) -> bool {
    STATE.contains(&method.name)
}

/// Whether every honest backend that has the block gives the same answer to this call.
pub fn has_one_answer(method: &Method, params: Option<&RawValue>) -> bool {
    let is_fixed = |needs| matches!(needs, BlockNeeds::At(BlockRef::Number(_) | BlockRef::Hash { .. }));
    is_state(method) && is_fixed(block_refs(method, params))
}

/// Whether two results, as JSON, of such a call cannot both be true.
pub fn contradict(one: &[u8], other: &[u8]) -> bool {
    match (digits(one), digits(other)) {
        (Some(one), Some(other)) => !one.eq_ignore_ascii_case(other),
        // Something else than hex says nothing that could be compared.
        _ => false,
    }
}

/// What counts of a hex string: some pad numbers with zeros.
fn digits(json: &[u8]) -> Option<&[u8]> {
    let hex = json.strip_prefix(b"\"0x")?.strip_suffix(b"\"")?;
    let zeros = hex.iter().take_while(|digit| **digit == b'0').count();
    hex.iter().all(u8::is_ascii_hexdigit).then_some(&hex[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_truth_at_a_block_is_compared() {
        let address = "\"0x0000000000000000000000000000000000000001\"";
        for (method, params, compared) in [
            ("eth_getBalance", format!("[{address},\"0x10\"]"), true),
            ("eth_getBalance", format!("[{address},\"latest\"]"), false),
            ("eth_getTransactionCount", format!("[{address},\"pending\"]"), false),
            ("eth_getCode", format!("[{address},\"0x10\"]"), true),
            ("eth_call", format!("[{{\"to\":{address}}},\"0x10\"]"), false),
            ("eth_getBlockByNumber", "[\"0x10\",false]".to_owned(), false),
        ] {
            let params = RawValue::from_string(params).expect("JSON");
            assert_eq!(has_one_answer(Method::lookup(method), Some(&params)), compared, "{method} {params}");
        }
    }

    #[test]
    fn the_same_number_in_other_digits_is_no_contradiction() {
        for (one, other, contradictory) in [
            (&b"\"0x0\""[..], &b"\"0x00\""[..], false),
            (b"\"0x0A\"", b"\"0xa\"", false),
            (b"\"0x\"", b"\"0x0\"", false),
            (b"\"0xde0b6b3a7640000\"", b"\"0x0\"", true),
            (b"null", b"\"0x1\"", false),
            (b"\"soon\"", b"\"0x1\"", false),
        ] {
            assert_eq!(contradict(one, other), contradictory);
        }
    }
}
