//! Which blocks a request speaks of, read at their places in `params`.
//!
//! What cannot be read is [`BlockNeeds::Unreadable`], never an error: the node decides. Being
//! stricter than a node would refuse calls that work today.

use std::borrow::Cow;
use std::fmt;

use alloy_primitives::B256;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::block_place::{BlockPlace, BlockRole};
use super::method::Method;

/// The named positions of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockTag {
    /// The first block that is there.
    Earliest,
    /// The last block that cannot be reverted.
    Finalized,
    /// The last block that an honest majority will not revert.
    Safe,
    /// The head.
    Latest,
    /// The head and the transactions that wait.
    Pending,
}

impl BlockTag {
    /// The tag as it stands in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Finalized => "finalized",
            Self::Safe => "safe",
            Self::Latest => "latest",
            Self::Pending => "pending",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Latest, Self::Pending, Self::Finalized, Self::Safe, Self::Earliest]
            .into_iter()
            .find(|tag| tag.name() == text)
    }
}

impl fmt::Display for BlockTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One reference to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockRef {
    /// By height.
    Number(u64),
    /// By position.
    Tag(BlockTag),
    /// By hash.
    Hash {
        /// The block's hash.
        hash: B256,
        /// EIP-1898: the block must lie on the canonical chain.
        require_canonical: bool,
    },
}

impl BlockRef {
    /// The height, where it is named.
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether the answer moves with the head.
    pub const fn moves(&self) -> bool {
        matches!(self, Self::Tag(tag) if !matches!(tag, BlockTag::Earliest))
    }
}

/// The blocks a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockNeeds {
    /// The method speaks of no block.
    None,
    /// One block, or the state after it.
    At(BlockRef),
    /// All blocks of a range, both ends included.
    Range {
        /// The first.
        from: BlockRef,
        /// The last.
        to: BlockRef,
    },
    /// There should be a block, but it cannot be read here: pass the request on as it is, and keep
    /// nothing of the answer.
    Unreadable,
}

impl BlockNeeds {
    /// Every reference, in order.
    pub fn refs(&self) -> impl Iterator<Item = BlockRef> + use<> {
        let (first, second) = match *self {
            Self::At(at) => (Some(at), None),
            Self::Range { from, to } => (Some(from), Some(to)),
            Self::None | Self::Unreadable => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The greatest height named: only a backend that has it can answer.
    pub fn number_max(&self) -> Option<u64> {
        self.refs().filter_map(|r| r.number()).max()
    }

    /// The smallest height named: an old one needs an archive.
    pub fn number_min(&self) -> Option<u64> {
        self.refs().filter_map(|r| r.number()).min()
    }

    /// Whether a tag is named.
    pub fn mentions(&self, tag: BlockTag) -> bool {
        self.refs().any(|r| r == BlockRef::Tag(tag))
    }
}

/// Reads the blocks that a request names. `params` is the member as sent, absent where there was none.
pub fn block_refs(method: &Method, params: Option<&RawValue>) -> BlockNeeds {
    if method.blocks.is_empty() {
        return BlockNeeds::None;
    }
    read(method.blocks, params).unwrap_or(BlockNeeds::Unreadable)
}

fn read(places: &[BlockPlace], params: Option<&RawValue>) -> Option<BlockNeeds> {
    let values = Params::split(params)?;
    let (mut at, mut from, mut to) = (None, None, None);
    for place in places {
        let found = match (values.at(place.index), place.member) {
            (None, _) => None,
            (Some(raw), None) => Some(block_ref(raw)?),
            (Some(raw), Some(name)) => match member(raw, name)? {
                Some(raw) => Some(block_ref(raw)?),
                None => None,
            },
        };
        let slot = match place.role {
            BlockRole::At => &mut at,
            BlockRole::From => &mut from,
            BlockRole::To => &mut to,
        };
        match (found, &slot) {
            // `{blockNumber, blockHash}`: what is written outweighs a default, two written clash.
            (Some(found), None | Some((_, false))) => *slot = Some((found, true)),
            (Some(_), Some((_, true))) => return None,
            (None, None) => *slot = place.default.map(|tag| (BlockRef::Tag(tag), false)),
            (None, Some(_)) => {}
        }
    }
    let written = |slot: &Option<(BlockRef, bool)>| slot.is_some_and(|(_, written)| written);
    match (at, from, to) {
        // EIP-234: a block hash excludes the range.
        (Some(_), from, to) if written(&from) || written(&to) => None,
        (Some((at, _)), ..) => Some(BlockNeeds::At(at)),
        (None, Some((from, _)), Some((to, _))) => Some(BlockNeeds::Range { from, to }),
        // Open to the head, so that nothing passes for settled that is not.
        (None, Some((from, _)), None) => {
            Some(BlockNeeds::Range { from, to: BlockRef::Tag(BlockTag::Latest) })
        }
        (None, None, _) => None,
    }
}

/// The first parameters, taken apart without copying.
pub(super) struct Params<'a> {
    first: [Option<&'a RawValue>; BlockPlace::INDEX_MAX + 1],
    /// How many there are, at least as far as `first` reaches.
    pub count: usize,
}

impl<'a> Params<'a> {
    pub fn split(params: Option<&'a RawValue>) -> Option<Self> {
        let none = Self { first: [None; BlockPlace::INDEX_MAX + 1], count: 0 };
        let Some(params) = params.filter(|raw| !is_null(raw)) else { return Some(none) };
        if !params.get().starts_with('[') {
            return None; // by name: nodes refuse it, and it is theirs to say so
        }
        let mut deserializer = serde_json::Deserializer::from_str(params.get());
        deserializer.deserialize_seq(none).ok()
    }

    /// A parameter as sent, null included.
    pub fn sent(&self, index: usize) -> Option<&'a RawValue> {
        self.first.get(index).copied().flatten()
    }

    /// A parameter; null counts as absent.
    pub fn at(&self, index: usize) -> Option<&'a RawValue> {
        self.sent(index).filter(|raw| !is_null(raw))
    }
}

impl<'de> Visitor<'de> for Params<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of parameters")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        for slot in &mut self.first {
            match seq.next_element::<&RawValue>()? {
                Some(raw) => *slot = Some(raw),
                None => return Ok(self),
            }
            self.count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.count += 1;
        }
        Ok(self)
    }
}

pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// A member of an object; null counts as absent.
fn member<'a>(raw: &'a RawValue, name: &str) -> Option<Option<&'a RawValue>> {
    member_sent(raw, name).map(|found| found.filter(|raw| !is_null(raw)))
}

/// A member of an object as sent; `Some(None)` where the object lacks it, `None` where this is no
/// object or names the member twice (nodes differ on which of the two counts).
pub(super) fn member_sent<'a>(raw: &'a RawValue, name: &str) -> Option<Option<&'a RawValue>> {
    struct Member<'n>(&'n str);
    impl<'de> Visitor<'de> for Member<'_> {
        type Value = Option<Option<&'de RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut found, mut twice) = (None, false);
            while let Some(Text(key)) = map.next_key()? {
                if key == self.0 {
                    twice |= found.is_some();
                    found = Some(map.next_value::<&RawValue>()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok((!twice).then_some(found))
        }
    }
    impl<'de> DeserializeSeed<'de> for Member<'_> {
        type Value = Option<Option<&'de RawValue>>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    Member(name).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).ok().flatten()
}

/// A string that borrows unless it holds escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Number, tag, hash or EIP-1898 object.
pub(super) fn block_ref(raw: &RawValue) -> Option<BlockRef> {
    match raw.get().as_bytes().first()? {
        b'"' => {
            let Text(text) = serde_json::from_str(raw.get()).ok()?;
            from_text(&text)
        }
        b'{' => eip1898(raw),
        // Otterscan's methods take plain numbers, and some nodes do everywhere.
        b'0'..=b'9' => raw.get().parse().ok().map(BlockRef::Number),
        _ => None,
    }
}

fn from_text(text: &str) -> Option<BlockRef> {
    if let Some(tag) = BlockTag::parse(text) {
        return Some(BlockRef::Tag(tag));
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    if digits.len() == 64 {
        let hash = digits.parse::<B256>().ok()?;
        return Some(BlockRef::Hash { hash, require_canonical: false });
    }
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(BlockRef::Number)
}

/// EIP-1898: `{blockNumber}` or `{blockHash, requireCanonical?}`, not both.
fn eip1898(raw: &RawValue) -> Option<BlockRef> {
    let number = member(raw, "blockNumber")?;
    let hash = member(raw, "blockHash")?;
    let require_canonical = match member(raw, "requireCanonical")? {
        Some(raw) => serde_json::from_str(raw.get()).ok()?,
        None => false,
    };
    match (number, hash) {
        (Some(number), None) => match block_ref(number)? {
            BlockRef::Hash { .. } => None,
            number => Some(number),
        },
        (None, Some(hash)) => match block_ref(hash)? {
            BlockRef::Hash { hash, .. } => Some(BlockRef::Hash { hash, require_canonical }),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";

    fn needs(method: &str, params: &str) -> BlockNeeds {
        let raw: Box<RawValue> = serde_json::from_str(params).unwrap();
        block_refs(Method::lookup(method), Some(&raw))
    }

    fn at(number: u64) -> BlockNeeds {
        BlockNeeds::At(BlockRef::Number(number))
    }

    fn tag(tag: BlockTag) -> BlockNeeds {
        BlockNeeds::At(BlockRef::Tag(tag))
    }

    fn hash(require_canonical: bool) -> BlockNeeds {
        BlockNeeds::At(BlockRef::Hash { hash: HASH.parse().unwrap(), require_canonical })
    }

    fn range(from: BlockRef, to: BlockRef) -> BlockNeeds {
        BlockNeeds::Range { from, to }
    }

    #[test]
    fn c6_each_form_of_a_block_is_read_at_its_place() {
        use BlockRef::{Number, Tag};
        use BlockTag::*;
        let table = [
            ("eth_getBalance", r#"["0xa","0x1b4"]"#, at(0x1b4)),
            ("eth_getBalance", r#"["0xa","latest"]"#, tag(Latest)),
            ("eth_getBalance", r#"["0xa","\u006catest"]"#, tag(Latest)),
            ("eth_getBalance", r#"["0xa"]"#, tag(Latest)),
            ("eth_getBalance", r#"["0xa", null ]"#, tag(Latest)),
            ("eth_getBalance", "[]", tag(Latest)),
            ("eth_call", r#"[{"to":"0xa"},"safe"]"#, tag(Safe)),
            ("eth_call", r#"[{"to":"0xa"},"finalized",{}, {"x":[1]}]"#, tag(Finalized)),
            ("eth_call", r#"[{"to":"0xa"},"pending"]"#, tag(Pending)),
            ("eth_call", r#"[{"to":"0xa"},{"blockNumber":"0x5"}]"#, at(5)),
            ("eth_getStorageAt", r#"["0xa","0x0","earliest"]"#, tag(Earliest)),
            ("eth_getBlockByNumber", r#"["0x0",false]"#, at(0)),
            ("eth_getBlockByNumber", r#"["0xffffffffffffffff",false]"#, at(u64::MAX)),
            ("eth_callMany", r#"[[],{"blockNumber":"0x7"}]"#, at(7)),
            ("eth_callMany", "[[]]", tag(Latest)),
            ("ots_searchTransactionsAfter", r#"["0xa",9,25]"#, range(Number(9), Tag(Latest))),
            ("eth_getLogs", r#"[{"fromBlock":"0x1","toBlock":"0x2"}]"#, range(Number(1), Number(2))),
            ("eth_getLogs", r#"[{"topics":[null],"fromBlock":"0x1"}]"#, range(Number(1), Tag(Latest))),
            ("eth_getLogs", r#"[{"fromBlock":null}]"#, range(Tag(Latest), Tag(Latest))),
            ("eth_getLogs", "[{}]", range(Tag(Latest), Tag(Latest))),
            ("eth_blockNumber", "[]", BlockNeeds::None),
            ("eth_sendRawTransaction", r#"["0x02"]"#, BlockNeeds::None),
        ];
        for (method, params, expected) in table {
            assert_eq!(needs(method, params), expected, "{method} {params}");
        }
        assert_eq!(block_refs(Method::lookup("eth_getBalance"), None), tag(Latest));
        assert_eq!(needs("eth_getBalance", "null"), tag(Latest));
    }

    #[test]
    fn a_block_hash_is_read_plain_in_an_object_and_in_a_log_filter() {
        for (method, params, canonical) in [
            ("eth_getBlockByHash", format!(r#"["{HASH}",true]"#), false),
            ("eth_getBalance", format!(r#"["0xa","{HASH}"]"#), false),
            ("eth_getBalance", format!(r#"["0xa",{{"blockHash":"{HASH}"}}]"#), false),
            ("eth_call", format!(r#"[{{}},{{"requireCanonical":true,"blockHash":"{HASH}"}}]"#), true),
            ("eth_getLogs", format!(r#"[{{"blockHash":"{HASH}","topics":[]}}]"#), false),
            ("alchemy_getTransactionReceipts", format!(r#"[{{"blockHash":"{HASH}"}}]"#), false),
        ] {
            assert_eq!(needs(method, &params), hash(canonical), "{method} {params}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_node() {
        for (method, params) in [
            ("eth_getBlockByNumber", "[]"),
            ("eth_getBalance", r#"["0xa","LATEST"]"#),
            ("eth_getBalance", r#"["0xa","12"]"#),
            ("eth_getBalance", r#"["0xa","0x"]"#),
            ("eth_getBalance", r#"["0xa","0x+1"]"#),
            ("eth_getBalance", r#"["0xa","0x10000000000000000"]"#),
            ("eth_getBalance", r#"["0xa",-1]"#),
            ("eth_getBalance", r#"["0xa",1.5]"#),
            ("eth_getBalance", r#"["0xa",{}]"#),
            ("eth_getBalance", r#"["0xa",["latest"]]"#),
            ("eth_getBalance", r#"{"address":"0xa"}"#),
            ("eth_getBalance", r#""latest""#),
            ("eth_getLogs", r#"["latest"]"#),
            ("eth_getLogs", r#"[{"fromBlock":"0x1","fromBlock":"0x2"}]"#),
        ] {
            assert_eq!(needs(method, params), BlockNeeds::Unreadable, "{method} {params}");
        }
        let both = format!(r#"[{{"blockHash":"{HASH}","fromBlock":"0x1"}}]"#);
        assert_eq!(needs("eth_getLogs", &both), BlockNeeds::Unreadable);
        let both = format!(r#"["0xa",{{"blockHash":"{HASH}","blockNumber":"0x1"}}]"#);
        assert_eq!(needs("eth_getBalance", &both), BlockNeeds::Unreadable);
    }

    #[test]
    fn the_greatest_and_the_smallest_height_of_a_range_are_told() {
        let needs = needs("eth_getLogs", r#"[{"fromBlock":"0x9","toBlock":"0x4"}]"#);
        assert_eq!((needs.number_min(), needs.number_max()), (Some(4), Some(9)));
        assert!(!needs.mentions(BlockTag::Latest));
    }

    proptest! {
        #[test]
        fn no_params_make_it_panic(index in 0..Method::all().len(), text in "\\PC{0,80}", json in json()) {
            let method = &Method::all()[index];
            for params in [text, json.to_string(), format!("[{json},{json},{json}]")] {
                if let Ok(raw) = RawValue::from_string(params) {
                    block_refs(method, Some(&raw));
                }
            }
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "(0x)?[0-9a-fA-F]{0,70}".prop_map(Into::into),
            "latest|pending|safe".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map(
                    "fromBlock|toBlock|blockHash|blockNumber|requireCanonical|x",
                    inner,
                    0..4
                )
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }
}
