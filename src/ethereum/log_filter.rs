//! Which logs somebody wants: the filter object of `eth_newFilter` and `eth_subscribe("logs")`, what it matches, and
//! what a block's bloom says of it.
//!
//! Read as geth reads it (`eth/filters/api.go`): an absent or `null` position is anything, an array is any of its
//! members, and a `null` among them is anything again.

use alloy_primitives::{Address, B256, Bloom, BloomInput, keccak256};
use serde_json::Value;

/// Topics that a log can have.
const TOPICS_MAX: usize = 4;

/// Which logs somebody wants. Equal filters are equal: they are matched once for all who hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogFilter {
    /// Any of these; empty is any. Sorted, each once.
    addresses: Box<[Address]>,
    /// For each position any of these; empty is any. Sorted, each once.
    topics: Box<[Box<[B256]>]>,
    /// No block before this one.
    from: Option<u64>,
    /// No block after this one.
    to: Option<u64>,
}

/// Why an object is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    /// Something else than an object.
    #[error("the filter must be an object")]
    NoObject,
    /// Neither an address nor an array of them.
    #[error("invalid address in the filter: 20 bytes as 0x and 40 hex digits, or an array of such")]
    Address,
    /// Neither a topic nor an array of them.
    #[error("invalid topic in the filter: null, 32 bytes as 0x and 64 hex digits, or an array of such")]
    Topic,
    /// A fifth position.
    #[error("exceed max topics: a log has at most 4")]
    Positions,
    /// More values than one filter may have.
    #[error("the filter names too many addresses and topics: at most {}", LogFilter::VALUES_MAX)]
    Values,
    /// The range is no range.
    #[error("invalid block range in the filter")]
    Range,
}

impl LogFilter {
    /// Addresses and topics of one filter, as many of each as geth takes.
    pub const VALUES_MAX: usize = 1000;

    /// Reads the filter object. A block range with numbers limits it; tags do not, since what is asked for are
    /// logs to come.
    ///
    /// # Errors
    /// When it is not one.
    pub fn read(object: &Value) -> Result<Self, LogFilterError> {
        let object = object.as_object().ok_or(LogFilterError::NoObject)?;
        let addresses = match object.get("address") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => one_or_many(value, LogFilterError::Address)?.unwrap_or_default(),
        };
        let topics = match object.get("topics") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(positions)) if positions.len() > TOPICS_MAX => {
                return Err(LogFilterError::Positions);
            }
            Some(Value::Array(positions)) => positions.iter().map(topic).collect::<Result<_, _>>()?,
            Some(_) => return Err(LogFilterError::Topic),
        };
        let filter = Self {
            addresses: addresses.into(),
            topics: topics.into(),
            from: number(object.get("fromBlock"))?,
            to: number(object.get("toBlock"))?,
        };
        if filter.values() > Self::VALUES_MAX {
            return Err(LogFilterError::Values);
        }
        match (filter.from, filter.to) {
            (Some(from), Some(to)) if from > to => Err(LogFilterError::Range),
            _ => Ok(filter),
        }
    }

    /// The same for a subscription, which is to whatever comes.
    #[must_use]
    pub fn of_any_block(self) -> Self {
        Self { from: None, to: None, ..self }
    }

    /// How many addresses and topics it names: what it costs to keep and to match.
    pub fn values(&self) -> usize {
        self.addresses.len() + self.topics.iter().map(|any| any.len()).sum::<usize>()
    }

    /// Whether a log of this block fits.
    pub fn matches(&self, block_number: u64, address: &Address, topics: &[B256]) -> bool {
        let position = |(at, any): (usize, &[B256])| {
            // A position that takes anything still asks that there is one.
            topics.get(at).is_some_and(|topic| any.is_empty() || any.binary_search(topic).is_ok())
        };
        self.reaches(block_number)
            && (self.addresses.is_empty() || self.addresses.binary_search(address).is_ok())
            && self.topics.iter().map(AsRef::as_ref).enumerate().all(position)
    }

    /// Whether the block lies within the filter's range.
    pub fn reaches(&self, block_number: u64) -> bool {
        self.from.is_none_or(|from| from <= block_number) && self.to.is_none_or(|to| block_number <= to)
    }

    /// Whether a block with this bloom may have a log that fits.
    pub fn may_be_in(&self, bloom: &Bloom) -> bool {
        let has = |bytes: &[u8]| bloom.contains_input(BloomInput::Hash(keccak256(bytes)));
        (self.addresses.is_empty() || self.addresses.iter().any(|address| has(address.as_slice())))
            && self.topics.iter().all(|any| any.is_empty() || any.iter().any(|topic| has(topic.as_slice())))
    }
}

fn topic(position: &Value) -> Result<Box<[B256]>, LogFilterError> {
    match position {
        Value::Null => Ok(Box::default()),
        value => Ok(one_or_many(value, LogFilterError::Topic)?.unwrap_or_default().into()),
    }
}

/// The value or the array's values, sorted; `None` where one of them is `null`, which is anything.
fn one_or_many<T: std::str::FromStr + Ord>(
    value: &Value,
    error: LogFilterError,
) -> Result<Option<Vec<T>>, LogFilterError> {
    let read = |value: &Value| match value.as_str() {
        // The prefix is asked for: nodes refuse it without.
        Some(text) if text.starts_with("0x") => text.parse().map_err(|_| error.clone()),
        _ => Err(error.clone()),
    };
    let Value::Array(values) = value else { return Ok(Some(vec![read(value)?])) };
    if values.len() > LogFilter::VALUES_MAX {
        return Err(LogFilterError::Values);
    }
    if values.contains(&Value::Null) {
        return Ok(None);
    }
    let mut read: Vec<T> = values.iter().map(read).collect::<Result<_, _>>()?;
    read.sort();
    read.dedup();
    Ok(Some(read))
}

fn number(block: Option<&Value>) -> Result<Option<u64>, LogFilterError> {
    match block {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).map(Some).map_err(|_| LogFilterError::Range),
            None if matches!(&**text, "latest" | "pending" | "safe" | "finalized") => Ok(None),
            None if text == "earliest" || text.is_empty() => Ok(None),
            None => Err(LogFilterError::Range),
        },
        Some(_) => Err(LogFilterError::Range),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: Address = Address::repeat_byte(0xaa);
    const B: Address = Address::repeat_byte(0xbb);

    fn topic(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    #[test]
    fn s1_a_filter_matches_as_geth_matches() {
        let (a, b) = (A.to_string(), B.to_string());
        let (t1, t2) = (topic(1).to_string(), topic(2).to_string());
        let log = (A, [topic(1), topic(2)]);
        for (filter, expected) in [
            (json!({}), true),
            (json!({ "address": null, "topics": null }), true),
            (json!({ "address": a }), true),
            (json!({ "address": b }), false),
            (json!({ "address": [a, b] }), true),
            (json!({ "address": [] }), true),
            (json!({ "topics": [] }), true),
            (json!({ "topics": [t1] }), true),
            (json!({ "topics": [t2] }), false),
            (json!({ "topics": [null, t2] }), true),
            (json!({ "topics": [null, [t1, t2]] }), true),
            (json!({ "topics": [[t2], null] }), false),
            (json!({ "topics": [[t2, null]] }), true),
            // A third position asks for a third topic, whatever it is.
            (json!({ "topics": [null, null, null] }), false),
            (json!({ "fromBlock": "0x5", "toBlock": "0x5" }), true),
            (json!({ "fromBlock": "0x6" }), false),
            (json!({ "toBlock": "0x4" }), false),
            (json!({ "fromBlock": "latest", "toBlock": "pending" }), true),
        ] {
            let read = LogFilter::read(&filter).expect("a filter");
            assert_eq!(read.matches(5, &log.0, &log.1), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_reason() {
        let many: Vec<_> = (0..=LogFilter::VALUES_MAX as u64).map(|n| format!("{:#066x}", n)).collect();
        for (object, expected) in [
            (json!("logs"), LogFilterError::NoObject),
            (json!({ "address": "0x12" }), LogFilterError::Address),
            (json!({ "address": [1] }), LogFilterError::Address),
            (json!({ "address": "aa".repeat(20) }), LogFilterError::Address),
            (json!({ "topics": "0x" }), LogFilterError::Topic),
            (json!({ "topics": ["0x12"] }), LogFilterError::Topic),
            (json!({ "topics": [null, null, null, null, null] }), LogFilterError::Positions),
            (json!({ "topics": [many] }), LogFilterError::Values),
            (json!({ "fromBlock": "soon" }), LogFilterError::Range),
            (json!({ "fromBlock": "0x2", "toBlock": "0x1" }), LogFilterError::Range),
        ] {
            assert_eq!(LogFilter::read(&object), Err(expected), "{object}");
        }
    }

    #[test]
    fn a_bloom_excludes_a_filter_only_if_none_of_its_values_is_in_it() {
        let mut bloom = Bloom::ZERO;
        bloom.accrue_raw_log(A, &[topic(1), topic(2)]);
        for (filter, expected) in [
            (json!({}), true),
            (json!({ "address": [A, B] }), true),
            (json!({ "address": B }), false),
            (json!({ "topics": [null, topic(2)] }), true),
            (json!({ "address": A, "topics": [topic(3)] }), false),
        ] {
            assert_eq!(LogFilter::read(&filter).expect("a filter").may_be_in(&bloom), expected, "{filter}");
        }
        // Who wants anything finds nothing in a block without logs, and that is for the caller to know.
        assert!(LogFilter::default().may_be_in(&Bloom::ZERO));
    }

    #[test]
    fn equal_filters_are_equal_however_they_are_written() {
        let one = LogFilter::read(&json!({ "address": [A, B, A] })).expect("a filter");
        let lower = format!("{B:#x}");
        let other = LogFilter::read(&json!({ "address": [lower, A], "topics": [] })).expect("a filter");
        assert_eq!(one, other);
        assert_eq!(one.values(), 2);
    }
}
