//! Takes a query for logs apart into pieces, by heights and by the hash of a block (EIP-234), and puts the answers
//! together again, byte for byte.
//!
//! A node that lacks the end of a range answers what it has of it, and nothing tells that from a whole answer. Asked for
//! a block by its hash it has to say that it does not know it.

use std::borrow::Cow;
use std::fmt::{self, Write};

use alloy_primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::block_ref::{BlockRef, block_ref};

/// More members than filters have: whoever sends them is not worth a quadratic look.
const MEMBERS_MAX: usize = 32;

/// A query for the logs of a range, both ends written as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The first block.
    pub from: u64,
    /// The last one, not below the first.
    pub to: u64,
    /// What else the filter says, each member with a comma before it.
    filter: String,
    /// Parameters behind the filter, each with a comma before it.
    further: String,
}

/// The blocks that one piece of a query is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSpan {
    /// By their heights, both ends included.
    Heights {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// One block, by its hash.
    Block {
        /// Its height.
        number: u64,
        /// Its hash.
        hash: B256,
    },
}

impl LogSpan {
    /// The height of its first block.
    pub const fn first(&self) -> u64 {
        match self {
            Self::Heights { from, .. } => *from,
            Self::Block { number, .. } => *number,
        }
    }

    /// The height of its last block.
    pub const fn last(&self) -> u64 {
        match self {
            Self::Heights { to, .. } => *to,
            Self::Block { number, .. } => *number,
        }
    }

    /// How many blocks it has.
    pub const fn blocks(&self) -> u64 {
        match self {
            Self::Heights { from, to } => to.saturating_sub(*from).saturating_add(1),
            Self::Block { .. } => 1,
        }
    }

    /// Whether these may be all logs of these blocks: a list, and none of it names a block outside. A log that names
    /// none is taken, as what it is.
    pub fn covers(&self, result: &[u8]) -> bool {
        let inside = |log: &Log<'_>| match self {
            Self::Heights { from, to } => log.number().is_none_or(|number| (*from..=*to).contains(&number)),
            Self::Block { hash, .. } => log.hash().is_none_or(|named| named == *hash),
        };
        serde_json::from_slice::<Vec<Log<'_>>>(result).is_ok_and(|logs| logs.iter().all(inside))
    }
}

impl LogQuery {
    /// Reads the parameters of `eth_getLogs`. `None` where they are no range between two numbers, or cannot be read:
    /// then they are for a node to judge.
    pub fn read(params: &RawValue) -> Option<Self> {
        let values: Vec<&RawValue> = serde_json::from_str(params.get()).ok()?;
        let (filter, further) = values.split_first()?;
        let Members(members) = serde_json::from_str(filter.get()).ok()?;
        let mut query = Self { from: 0, to: 0, filter: String::new(), further: String::new() };
        let (mut from, mut to) = (None, None);
        for (at, (name, value)) in members.iter().enumerate() {
            // Nodes differ on which of two counts.
            if members[..at].iter().any(|(earlier, _)| earlier == name) {
                return None;
            }
            match &**name {
                "fromBlock" => from = Some(number(value)?),
                "toBlock" => to = Some(number(value)?),
                "blockHash" if value.get() == "null" => {}
                "blockHash" => return None,
                name => {
                    let name = serde_json::Value::from(name);
                    write!(query.filter, ",{name}:{value}").ok()?;
                }
            }
        }
        (query.from, query.to) = (from?, to?);
        for value in further {
            write!(query.further, ",{value}").ok()?;
        }
        (query.from <= query.to).then_some(query)
    }

    /// All of its blocks.
    pub const fn whole(&self) -> LogSpan {
        LogSpan::Heights { from: self.from, to: self.to }
    }

    /// The parameters that ask for a part of it.
    pub fn of(&self, span: &LogSpan) -> Option<Box<RawValue>> {
        let Self { filter, further, .. } = self;
        let blocks = match span {
            LogSpan::Heights { from, to } => format!(r#""fromBlock":"{from:#x}","toBlock":"{to:#x}""#),
            LogSpan::Block { hash, .. } => format!(r#""blockHash":"{hash:#x}""#),
        };
        RawValue::from_string(format!("[{{{blocks}{filter}}}{further}]")).ok()
    }
}

/// One list of what lies in several, in their order; no log is written anew. `None` where one of them is no list.
pub fn merge_lists<'a>(lists: impl IntoIterator<Item = &'a [u8]>) -> Option<Bytes> {
    let mut out = BytesMut::new();
    out.put_u8(b'[');
    for list in lists {
        let inner = list.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?.trim_ascii();
        if !inner.is_empty() {
            if out.len() > 1 {
                out.put_u8(b',');
            }
            out.put_slice(inner);
        }
    }
    out.put_u8(b']');
    Some(out.freeze())
}

fn number(value: &RawValue) -> Option<u64> {
    match block_ref(value)? {
        BlockRef::Number(number) => Some(number),
        BlockRef::Tag(_) | BlockRef::Hash { .. } => None,
    }
}

/// What a log says of its block.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(borrow, default)]
    block_number: Option<&'a RawValue>,
    #[serde(borrow, default)]
    block_hash: Option<&'a RawValue>,
}

impl Log<'_> {
    fn number(&self) -> Option<u64> {
        self.block_number.and_then(number)
    }

    fn hash(&self) -> Option<B256> {
        serde_json::from_str(self.block_hash?.get()).ok()
    }
}

/// An object's members in their order, values as they stand.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(params: &str) -> Option<LogQuery> {
        LogQuery::read(&RawValue::from_string(params.to_owned()).expect("JSON"))
    }

    fn hash(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    #[test]
    fn r8_a_piece_asks_the_same_of_fewer_blocks() {
        let query = read(
            r#"[ {"address":"0xAa","toBlock":"0x20" , "topics":[null,["0x1"]],"fromBlock":3}, {"x":1}]"#,
        )
        .expect("a range");
        assert_eq!((query.from, query.to), (3, 32));
        let of = |span| query.of(&span).expect("JSON").get().to_owned();
        assert_eq!(
            of(LogSpan::Heights { from: 3, to: 10 }),
            r#"[{"fromBlock":"0x3","toBlock":"0xa","address":"0xAa","topics":[null,["0x1"]]},{"x":1}]"#
        );
        let by_hash = of(LogSpan::Block { number: 7, hash: hash(0xab) });
        assert_eq!(
            by_hash,
            format!(
                r#"[{{"blockHash":"0x{}","address":"0xAa","topics":[null,["0x1"]]}},{{"x":1}}]"#,
                "ab".repeat(32)
            )
        );
        let whole = read(r#"[{"toBlock":"0x2","fromBlock":"0x2","blockHash":null}]"#).expect("one block");
        let span = LogSpan::Heights { from: 2, to: 2 };
        assert_eq!(whole.of(&span).expect("JSON").get(), r#"[{"fromBlock":"0x2","toBlock":"0x2"}]"#);
        assert_eq!((span.first(), span.blocks()), (2, 1));
    }

    #[test]
    fn what_is_no_range_between_numbers_is_left_alone() {
        for params in [
            "[]",
            "{}",
            "[null]",
            "[{}]",
            r#"[{"fromBlock":"0x1"}]"#,
            r#"[{"fromBlock":"0x1","toBlock":"latest"}]"#,
            r#"[{"fromBlock":"0x2","toBlock":"0x1"}]"#,
            r#"[{"fromBlock":"0x1","toBlock":"0x2","toBlock":"0x3"}]"#,
            r#"[{"fromBlock":"0x1","toBlock":"0x2","topics":[],"topics":[]}]"#,
            &format!(r#"[{{"fromBlock":"0x1","toBlock":"0x2","blockHash":"0x{}"}}]"#, "ab".repeat(32)),
        ] {
            assert_eq!(read(params), None, "{params}");
        }
    }

    #[test]
    fn r8_a_list_with_logs_of_other_blocks_is_no_answer_to_a_piece() {
        let heights = LogSpan::Heights { from: 5, to: 7 };
        let block = LogSpan::Block { number: 6, hash: hash(6) };
        let log =
            |number: u64, of: u8| format!(r#"{{"blockNumber":"{number:#x}","blockHash":"{}"}}"#, hash(of));
        for (result, in_heights, in_block) in [
            ("[]".to_owned(), true, true),
            ("[{}]".to_owned(), true, true),
            (format!("[{}]", log(6, 6)), true, true),
            (format!("[{},{}]", log(6, 6), log(7, 7)), true, false),
            (format!("[{}]", log(8, 8)), false, false),
            (format!("[{}]", log(6, 9)), true, false),
            ("null".to_owned(), false, false),
            ("{}".to_owned(), false, false),
            ("\"0x\"".to_owned(), false, false),
            ("[1]".to_owned(), false, false),
        ] {
            assert_eq!(heights.covers(result.as_bytes()), in_heights, "{result}");
            assert_eq!(block.covers(result.as_bytes()), in_block, "{result}");
        }
    }

    #[test]
    fn what_is_no_list_is_not_merged() {
        let merge = |lists: &[&str]| merge_lists(lists.iter().map(|list| list.as_bytes()));
        assert_eq!(merge(&[]).as_deref(), Some(&b"[]"[..]));
        assert_eq!(merge(&["[]", " [ {} ] ", "[]", "[1,2]"]).as_deref(), Some(&b"[{},1,2]"[..]));
        for lists in [&["[]", "null"][..], &["[1"], &["1]"], &["["], &[""]] {
            assert_eq!(merge(lists), None, "{lists:?}");
        }
    }

    proptest! {
        /// However a range is cut, its pieces' answers make the bytes of one answer.
        #[test]
        fn r8_the_answers_to_any_cut_are_the_bytes_of_one(
            logs in prop::collection::vec((0..40_u64, "[ -~]{0,12}"), 0..60),
            cuts in prop::collection::btree_set(1..40_u64, 0..12),
        ) {
            let mut logs = logs;
            logs.sort_by_key(|(number, _)| *number);
            let list = |from: u64, to: u64| {
                let inside = logs.iter().filter(|(number, _)| (from..=to).contains(number));
                let texts: Vec<String> = inside
                    .map(|(number, data)| serde_json::json!({"blockNumber": format!("{number:#x}"), "data": data}).to_string())
                    .collect();
                format!("[{}]", texts.join(","))
            };
            let firsts: Vec<u64> = std::iter::once(0).chain(cuts.iter().copied()).collect();
            let pieces: Vec<String> = firsts
                .iter()
                .enumerate()
                .map(|(at, from)| {
                    let to = firsts.get(at + 1).map_or(39, |next| next - 1);
                    let piece = list(*from, to);
                    assert!(LogSpan::Heights { from: *from, to }.covers(piece.as_bytes()));
                    piece
                })
                .collect();
            let merged = merge_lists(pieces.iter().map(|piece| piece.as_bytes()));
            let whole = list(0, 39);
            prop_assert_eq!(merged.as_deref(), Some(whole.as_bytes()));
        }

        #[test]
        fn nothing_that_a_client_sends_breaks_the_reading(params in "[\\[\\]{}\":,a-zA-Z0-9 ]{0,80}") {
            if let Ok(raw) = RawValue::from_string(params) {
                let _ = LogQuery::read(&raw);
            }
        }
    }
}
