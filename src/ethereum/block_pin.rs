//! Writes numbers where a request names blocks by tag, so that several calls, or several backends,
//! speak of one and the same block.

use std::ops::Range;

use serde_json::value::RawValue;

use super::block_place::{BlockPlace, BlockRole};
use super::block_ref::{BlockNeeds, BlockRef, BlockTag, Params, block_ref, block_refs, member_sent};
use super::method::Method;

/// `params` with each tag, written or implied, replaced by the number that `number_of` gives for it;
/// tags it gives none for stay. All other bytes stay as they are.
///
/// `None` where there is nothing to replace, where the blocks cannot be read, and where an object
/// that would hold the number is missing altogether.
pub fn pin_blocks(
    method: &Method,
    params: Option<&RawValue>,
    number_of: impl Fn(BlockTag) -> Option<u64>,
) -> Option<Box<RawValue>> {
    let role_is_needed: fn(BlockRole) -> bool = match block_refs(method, params) {
        BlockNeeds::None | BlockNeeds::Unreadable => return None,
        // Nothing of the range counts beside a hash (EIP-234).
        BlockNeeds::At(_) => |role| role == BlockRole::At,
        BlockNeeds::Range { .. } => |role| role != BlockRole::At,
    };
    let values = Params::split(params)?;
    let text = params.filter(|raw| raw.get().starts_with('[')).map_or("[]", RawValue::get);
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for place in method.blocks.iter().filter(|place| role_is_needed(place.role)) {
        edits.extend(edit(place, &values, text, &number_of));
    }
    if edits.is_empty() {
        return None;
    }
    // From the end, so that earlier places hold.
    edits.sort_by_key(|(range, _)| range.start);
    let mut pinned = text.to_owned();
    let mut after = None;
    for (range, mut with) in edits.into_iter().rev() {
        // Two members into one empty object.
        if after == Some(range.clone()) && !with.ends_with(',') {
            with.push(',');
        }
        pinned.replace_range(range.clone(), &with);
        after = Some(range).filter(Range::is_empty);
    }
    RawValue::from_string(pinned).ok()
}

fn edit(
    place: &BlockPlace,
    values: &Params<'_>,
    text: &str,
    number_of: &impl Fn(BlockTag) -> Option<u64>,
) -> Option<(Range<usize>, String)> {
    let default = || Some(quantity(number_of(place.default?)?));
    let Some(name) = place.member else {
        return match (values.at(place.index), values.sent(place.index)) {
            (Some(value), _) => Some((span(text, value)?, written(value, number_of)?)),
            (None, Some(null)) => Some((span(text, null)?, default()?)),
            (None, None) if values.count == place.index => {
                let comma = if values.count == 0 { "" } else { "," };
                let end = text.rfind(']')?;
                Some((end..end, format!("{comma}{}", default()?)))
            }
            (None, None) => None,
        };
    };
    let object = values.at(place.index)?;
    match member_sent(object, name)? {
        Some(value) if value.get() == "null" => Some((span(text, value)?, default()?)),
        Some(value) => Some((span(text, value)?, written(value, number_of)?)),
        None => {
            let start = span(text, object)?.start + 1;
            let is_empty = object.get()[1..].trim_start().starts_with('}');
            let comma = if is_empty { "" } else { "," };
            Some((start..start, format!("\"{name}\":{}{comma}", default()?)))
        }
    }
}

fn written(value: &RawValue, number_of: &impl Fn(BlockTag) -> Option<u64>) -> Option<String> {
    match block_ref(value)? {
        BlockRef::Tag(tag) => number_of(tag).map(quantity),
        BlockRef::Number(_) | BlockRef::Hash { .. } => None,
    }
}

fn quantity(number: u64) -> String {
    format!("\"{number:#x}\"")
}

/// Where a part lies in the text it was borrowed from.
fn span(text: &str, part: &RawValue) -> Option<Range<usize>> {
    let part = part.get();
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let range = start..start.checked_add(part.len())?;
    (text.get(range.clone()) == Some(part)).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin(method: &str, params: &str) -> Option<String> {
        let raw: Box<RawValue> = serde_json::from_str(params).unwrap();
        let number_of = |tag| match tag {
            BlockTag::Latest => Some(16),
            BlockTag::Safe => Some(8),
            _ => None,
        };
        pin_blocks(Method::lookup(method), Some(&raw), number_of).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn c2_a_tag_written_or_implied_becomes_a_number_and_nothing_else_changes() {
        let table = [
            ("eth_getBalance", r#"["0xa", "latest" ]"#, r#"["0xa", "0x10" ]"#),
            ("eth_getBalance", r#"["0xa"]"#, r#"["0xa","0x10"]"#),
            ("eth_getBalance", r#"["0xa",null]"#, r#"["0xa","0x10"]"#),
            ("eth_getBalance", r#"["0xa",{"blockNumber":"safe"}]"#, r#"["0xa","0x8"]"#),
            ("eth_getBalance", r#"["0xa","\u006catest"]"#, r#"["0xa","0x10"]"#),
            ("eth_call", r#"[{"to":"]\u0022"},"latest",{}]"#, r#"[{"to":"]\u0022"},"0x10",{}]"#),
            ("eth_getBlockTransactionCountByNumber", "[ ]", r#"[ "0x10"]"#),
            ("eth_callMany", r#"[[],{}]"#, r#"[[],{"blockNumber":"0x10"}]"#),
            (
                "eth_getLogs",
                r#"[{"fromBlock":"safe","toBlock":null,"topics":[]}]"#,
                r#"[{"fromBlock":"0x8","toBlock":"0x10","topics":[]}]"#,
            ),
            ("eth_getLogs", r#"[{"fromBlock":"0x1"}]"#, r#"[{"toBlock":"0x10","fromBlock":"0x1"}]"#),
        ];
        for (method, params, expected) in table {
            assert_eq!(pin(method, params).as_deref(), Some(expected), "{method} {params}");
        }
    }

    #[test]
    fn two_members_that_are_implied_are_both_written() {
        for params in ["[{}]", r#"[{"topics":[]}]"#] {
            let pinned = pin("eth_getLogs", params).unwrap();
            let value: serde_json::Value = serde_json::from_str(&pinned).unwrap();
            assert_eq!(
                (&value[0]["fromBlock"], &value[0]["toBlock"]),
                (&"0x10".into(), &"0x10".into()),
                "{pinned}"
            );
        }
    }

    #[test]
    fn what_names_no_movable_block_or_cannot_be_read_stays() {
        let hash = format!(r#"[{{"blockHash":"0x{}"}}]"#, "ab".repeat(32));
        for (method, params) in [
            ("eth_getBalance", r#"["0xa","0x5"]"#),
            ("eth_getBalance", r#"["0xa","pending"]"#),
            ("eth_getBalance", r#"["0xa","nonsense"]"#),
            ("eth_getBalance", r#"{"a":1}"#),
            ("eth_getBalance", "[]"),
            ("eth_getLogs", &hash),
            ("eth_chainId", "[]"),
        ] {
            assert_eq!(pin(method, params), None, "{method} {params}");
        }
    }

    proptest! {
        #[test]
        fn what_is_pinned_reads_as_numbers(index in 0..Method::all().len(), params in params()) {
            let method = &Method::all()[index];
            let raw: Box<RawValue> = serde_json::from_str(&params).unwrap();
            if let Some(pinned) = pin_blocks(method, Some(&raw), |_| Some(77)) {
                let needs = block_refs(method, Some(&pinned));
                prop_assert!(needs.number_max().is_some(), "{} {params} {}", method.name, pinned.get());
            }
        }
    }

    fn params() -> impl Strategy<Value = String> {
        let block = prop_oneof![
            Just("\"latest\"".to_owned()),
            Just("null".to_owned()),
            Just("\"0x4\"".to_owned()),
            Just("{}".to_owned()),
            Just("{ \"toBlock\" : \"safe\" }".to_owned()),
            Just("{\"fromBlock\":null,\"x\":[]}".to_owned()),
            Just("{\"blockNumber\":\"latest\"}".to_owned()),
        ];
        prop::collection::vec(block, 0..4).prop_map(|items| format!("[{}]", items.join(", ")))
    }
}
