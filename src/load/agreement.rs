//! Whether two backends give the same answer about settled blocks. Pure.
//!
//! Answers are compared by their meaning: order of members, case of hex digits, and members that only some node
//! software has (`totalDifficulty`, `blockTimestamp`, ...) make no difference.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::Value;

/// Answers of one backend that wait for the other's: bounds memory to some megabytes.
const WAITING_MAX: usize = 100_000;

/// Members of blocks, transactions, receipts and logs that all node software has, and that say what happened. Only
/// these are compared, where an object has any of them.
const TELLING: [&str; 22] = [
    "address",
    "blockHash",
    "blockNumber",
    "contractAddress",
    "cumulativeGasUsed",
    "data",
    "from",
    "gasUsed",
    "hash",
    "input",
    "logIndex",
    "logs",
    "nonce",
    "number",
    "parentHash",
    "stateRoot",
    "status",
    "to",
    "topics",
    "transactionHash",
    "transactions",
    "value",
];

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Answers that both gave.
    pub compared: u64,
    /// Of these, how many differ.
    pub differ: u64,
}

/// Answers of the first backend, by number and place of their call, until the second one's come.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: HashMap<(u64, usize), u64>,
    pub(super) seen: Agreement,
}

impl Answers {
    /// The first backend's answer to a call.
    pub(super) fn first(&mut self, call: (u64, usize), digest: u64) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(call, digest);
        }
    }

    /// The second backend's. Whether it may be true.
    pub(super) fn second(&mut self, call: (u64, usize), digest: u64) -> bool {
        let Some(first) = self.waiting.remove(&call) else { return true };
        self.seen.compared += 1;
        self.seen.differ += u64::from(first != digest);
        first == digest
    }

    /// What was asked meanwhile is asked no more: the next round begins.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }
}

/// A number that is the same for answers which mean the same; `None` where it is no JSON.
pub(super) fn digest(result: &[u8]) -> Option<u64> {
    let value = serde_json::from_slice(result).ok()?;
    let mut hasher = DefaultHasher::new();
    hash(&value, &mut hasher);
    Some(hasher.finish())
}

fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(hasher),
        Value::Bool(bool) => (1u8, bool).hash(hasher),
        // Shares, such as `gasUsedRatio`: their last digits are the printer's.
        Value::Number(number) => (2u8, number.as_f64().map(|number| format!("{number:.6}"))).hash(hasher),
        Value::String(text) => (3u8, text.to_ascii_lowercase()).hash(hasher),
        Value::Array(items) => {
            (4u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash(item, hasher));
        }
        Value::Object(members) => {
            5u8.hash(hasher);
            let tells = members.keys().any(|name| TELLING.contains(&name.as_str()));
            // `null` and absent mean the same.
            let counts = |name: &str, value: &Value| !value.is_null() && (!tells || TELLING.contains(&name));
            let mut members: Vec<_> = members.iter().filter(|(name, value)| counts(name, value)).collect();
            members.sort_by_key(|(name, _)| *name);
            for (name, value) in members {
                name.hash(hasher);
                hash(value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_mean_the_same_agree() {
        for (one, other) in [
            (r#""0xAb""#, r#""0xab""#),
            (
                r#"{"hash":"0x1","number":"0x2","totalDifficulty":"0x0"}"#,
                r#"{"number":"0x2","hash":"0x1","to":null}"#,
            ),
            ("[0.49999999999]", "[0.5]"),
            (
                r#"{"baseFeePerGas":["0x1"],"oldestBlock":"0x2"}"#,
                r#"{"oldestBlock":"0x2","baseFeePerGas":["0x1"]}"#,
            ),
        ] {
            assert_eq!(digest(one.as_bytes()), digest(other.as_bytes()), "{one} {other}");
        }
    }

    #[test]
    fn answers_that_differ_do_not() {
        for (one, other) in [
            (r#""0x1""#, r#""0x2""#),
            ("null", r#"{"hash":"0x1"}"#),
            (r#"{"hash":"0x1"}"#, r#"{"hash":"0x2"}"#),
            (r#"[{"data":"0x1"},{"data":"0x2"}]"#, r#"[{"data":"0x2"},{"data":"0x1"}]"#),
            ("[[],[]]", "[[[]]]"),
            (r#"{"baseFeePerGas":["0x1"]}"#, r#"{"baseFeePerGas":["0x2"]}"#),
        ] {
            assert_ne!(digest(one.as_bytes()), digest(other.as_bytes()), "{one} {other}");
        }
        assert_eq!(digest(b"{"), None);
    }

    #[test]
    fn only_what_both_answered_is_compared() {
        let mut answers = Answers::default();
        answers.first((1, 0), 10);
        answers.first((2, 0), 20);
        assert!(answers.second((1, 0), 10));
        assert!(!answers.second((2, 0), 21));
        assert!(answers.second((3, 0), 1), "the first did not answer it");
        assert_eq!(answers.seen, Agreement { compared: 2, differ: 1 });
        answers.first((4, 0), 1);
        answers.forget();
        assert!(answers.second((4, 0), 2));
    }
}
