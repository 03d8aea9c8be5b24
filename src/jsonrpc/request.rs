//! What a client sent: one request or a batch, borrowed from the body's bytes.
//!
//! The envelope is never forwarded as it came: Go nodes match member names without regard to case
//! and let the last one win, so `"METHOD":"admin_peers"` beside a harmless `"method"` would be run
//! by a node and missed by a check. What is read here is written anew ([`super::write_call`]).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{ErrorObject, code};

/// Bounds of one packet. Everything beyond them is refused before anything else is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Items in a batch. A larger one gets one error per item.
    pub batch_items_max: usize,
}

/// An id is echoed, so its size is bounded against amplification. Wallets send up to 36 bytes.
const ID_BYTES_MAX: usize = 16 * 1024;
/// The longest name in the method table has 47 bytes.
const METHOD_BYTES_MAX: usize = 128;
/// Nesting inside `params`; nodes refuse more than a hundred or so, the deepest real calls need six.
const DEPTH_MAX: usize = 128;
/// Past this many items a too large batch is refused with one error instead of one for each.
const BATCH_ITEMS_ANSWERED_MAX: usize = 10_000;

/// A request's id exactly as the client wrote it: a number, a string or `null`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// What answers a request whose id could not be read.
    pub const NULL: Id<'static> = Id("null");

    /// The token, byte for byte.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({:.64})", self.0)
    }
}

/// One well-formed request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// `None` marks a notification: it is never answered.
    pub id: Option<Id<'a>>,
    /// The name with its escapes undone: what is checked is what is sent.
    pub method: Cow<'a, str>,
    /// An array or object as it came; `None` when absent or `null`.
    pub params: Option<&'a RawValue>,
}

/// Why an item is no request, and the id its answer carries.
#[derive(Clone, Debug)]
pub struct Rejected<'a> {
    /// `None`: a notification, which gets no answer even when it is wrong.
    pub id: Option<Id<'a>>,
    /// What the client is told.
    pub error: ErrorObject,
}

/// A request, or why it is none.
pub type Item<'a> = Result<Request<'a>, Rejected<'a>>;

/// What one body holds.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// A lone request object.
    Single(Item<'a>),
    /// A non-empty array, in the client's order.
    Batch(Vec<Item<'a>>),
}

/// Reads a body.
///
/// # Errors
/// When no item can be told apart: no JSON (-32700), neither object nor array, an empty batch, or a
/// batch far beyond the limit (-32600).
pub fn parse<'a>(body: &'a [u8], limits: &Limits) -> Result<Packet<'a>, Rejected<'a>> {
    let text = std::str::from_utf8(body).map_err(|_| no_json())?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Envelope>(text)
            .map(|e| Packet::Single(e.into_item()))
            .map_err(|_| no_json()),
        Some(b'[') => parse_batch(text, limits),
        _ => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(Rejected { id: Some(Id::NULL), error: invalid_request() }),
            Err(_) => Err(no_json()),
        },
    }
}

fn parse_batch<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, Rejected<'a>> {
    let items: BoundedItems<'a> = serde_json::from_str(text).map_err(|_| no_json())?;
    let refuse = |message: &str| Rejected {
        id: Some(Id::NULL),
        error: ErrorObject::new(code::INVALID_REQUEST, message),
    };
    if items.count == 0 {
        return Err(refuse("empty batch"));
    }
    if items.count > BATCH_ITEMS_ANSWERED_MAX.max(limits.batch_items_max) {
        return Err(refuse("batch too large"));
    }
    let too_large = items.count > limits.batch_items_max;
    let item = |raw: &'a RawValue| -> Item<'a> {
        let item = match serde_json::from_str::<Envelope>(raw.get()) {
            Ok(envelope) => envelope.into_item(),
            Err(_) => Err(Rejected { id: Some(Id::NULL), error: invalid_request() }),
        };
        match item {
            Ok(request) if too_large => Err(Rejected {
                id: request.id,
                error: ErrorObject::new(code::INVALID_REQUEST, "batch too large"),
            }),
            other => other,
        }
    };
    Ok(Packet::Batch(items.kept.into_iter().map(item).collect()))
}

fn no_json() -> Rejected<'static> {
    Rejected { id: Some(Id::NULL), error: ErrorObject::new(code::PARSE_ERROR, "parse error") }
}

fn invalid_request() -> ErrorObject {
    ErrorObject::new(code::INVALID_REQUEST, "invalid request")
}

/// The array's items, kept up to a bound and counted beyond it.
struct BoundedItems<'a> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for BoundedItems<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = BoundedItems<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = BoundedItems { kept: Vec::new(), count: 0 };
                while items.kept.len() < BATCH_ITEMS_ANSWERED_MAX {
                    let Some(raw) = seq.next_element::<&RawValue>()? else { return Ok(items) };
                    items.kept.push(raw);
                    items.count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    items.count += 1;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// The members of a request object as they stand, before they are judged.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    duplicate: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<Member>()? {
                    let slot = match key {
                        Member::Jsonrpc => &mut envelope.jsonrpc,
                        Member::Id => &mut envelope.id,
                        Member::Method => &mut envelope.method,
                        Member::Params => &mut envelope.params,
                        Member::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    // Parsers disagree on which of two equal members counts, so neither does.
                    envelope.duplicate |= slot.replace(map.next_value()?).is_some();
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "jsonrpc" => Member::Jsonrpc,
                    "id" => Member::Id,
                    "method" => Member::Method,
                    "params" => Member::Params,
                    _ => Member::Other,
                })
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl<'a> Envelope<'a> {
    fn into_item(self) -> Item<'a> {
        let reject = |id, error| Err(Rejected { id, error });
        if self.duplicate {
            return reject(Some(Id::NULL), invalid_request());
        }
        let id = match self.id.map(RawValue::get) {
            None => None,
            Some(raw) if raw.len() > ID_BYTES_MAX => return reject(Some(Id::NULL), invalid_request()),
            Some(raw) => match raw.as_bytes().first() {
                Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Some(Id(raw)),
                _ => return reject(Some(Id::NULL), invalid_request()),
            },
        };
        // An object that is no request at all cannot be a notification either: it is told so.
        let Some(method) = self.method else {
            return reject(id.or(Some(Id::NULL)), invalid_request());
        };
        if self.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
            return reject(id.or(Some(Id::NULL)), invalid_request());
        }
        let method = match serde_json::from_str::<MethodName>(method.get()) {
            Ok(MethodName(name)) if !name.is_empty() => name,
            _ => return reject(id.or(Some(Id::NULL)), invalid_request()),
        };
        if method.len() > METHOD_BYTES_MAX {
            return reject(id, ErrorObject::new(code::METHOD_NOT_FOUND, "method not found"));
        }
        let params = match self.params {
            None => None,
            Some(raw) => match raw.get().as_bytes().first() {
                Some(b'n') => None,
                Some(b'[' | b'{') if depth_is_sane(raw.get()) => Some(raw),
                _ => return reject(id.or(Some(Id::NULL)), invalid_request()),
            },
        };
        Ok(Request { id, method, params })
    }
}

/// serde borrows a `Cow` only through a field that says so.
#[derive(Deserialize)]
struct MethodName<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether brackets nest no deeper than [`DEPTH_MAX`]. The text is known to be valid JSON.
fn depth_is_sane(json: &str) -> bool {
    let bytes = json.as_bytes();
    // Each level needs an opening and a closing byte: short texts cannot be deep.
    if bytes.len() <= 2 * DEPTH_MAX {
        return true;
    }
    let (mut depth, mut at) = (0usize, 0usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(bytes, at),
            _ => {}
        }
        at += 1;
    }
    true
}

/// Index of the quote that closes the string opened at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += offset;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { batch_items_max: 3 };

    fn single(body: &str) -> Item<'_> {
        match parse(body.as_bytes(), &LIMITS) {
            Ok(Packet::Single(item)) => item,
            Ok(Packet::Batch(_)) => panic!("a batch"),
            Err(rejected) => Err(rejected),
        }
    }

    fn refusal(body: &str) -> (i64, Option<String>) {
        let rejected = single(body).expect_err(body);
        (rejected.error.code, rejected.id.map(|id| id.as_str().to_owned()))
    }

    #[test]
    fn an_id_is_kept_byte_for_byte() {
        for id in
            ["0", "-0", "1e400", "9007199254740993", "99999999999999999999", "1.5", r#""\u0041\/""#, "null"]
        {
            let body = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"eth_chainId"}}"#);
            assert_eq!(single(&body).unwrap().id.unwrap().as_str(), id);
        }
    }

    #[test]
    fn members_that_a_node_might_read_otherwise_are_ambiguous_or_dropped() {
        assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#).0, code::INVALID_REQUEST);
        assert_eq!(
            refusal(r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#).0,
            code::INVALID_REQUEST
        );
        let request =
            single(r#"{"jsonrpc":"2.0","id":1,"method":"a","METHOD":"b","params\u017f":[1]}"#).unwrap();
        assert_eq!((request.method.as_ref(), request.params.is_none()), ("a", true));
    }

    #[test]
    fn a_method_is_read_with_its_escapes_undone() {
        let request = single(r#"{"jsonrpc":"2.0","id":1,"method":"\u0061dmin_peers"}"#).unwrap();
        assert_eq!(request.method, "admin_peers");
    }

    #[test]
    fn what_is_no_json_and_what_is_no_request_are_told_apart() {
        for body in ["", " ", "{", "{'a':1}", "[1,", "{}x", "nul", r#"{"id":01}"#, "[NaN]"] {
            assert_eq!(refusal(body), (code::PARSE_ERROR, Some("null".into())), "{body}");
        }
        for body in ["null", "1", "\"x\"", "{}", "[]", r#"{"id":{},"jsonrpc":"2.0","method":"a"}"#] {
            assert_eq!(refusal(body), (code::INVALID_REQUEST, Some("null".into())), "{body}");
        }
        assert_eq!(
            refusal(r#"{"jsonrpc":"1.0","id":7,"method":"a"}"#),
            (code::INVALID_REQUEST, Some("7".into()))
        );
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let call = |params: String| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}"#);
        let nested = |depth| call("[".repeat(depth) + &"]".repeat(depth));
        assert!(single(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(refusal(&nested(DEPTH_MAX + 1)).0, code::INVALID_REQUEST);
        assert!(single(&call(format!(r#"["\"{}"]"#, "[".repeat(1000)))).is_ok());
    }

    #[test]
    fn a_batch_keeps_its_order_and_a_too_large_one_gets_an_error_for_each() {
        let Ok(Packet::Batch(items)) = parse(br#"[{"jsonrpc":"2.0","id":1,"method":"a"},7,null]"#, &LIMITS)
        else {
            panic!()
        };
        assert!(items[0].is_ok() && items[1].is_err() && items[2].is_err());
        let body = format!("[{}]", [r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#; 4].join(","));
        let Ok(Packet::Batch(items)) = parse(body.as_bytes(), &LIMITS) else { panic!() };
        assert!(items.iter().all(|i| i.as_ref().is_err_and(|r| r.error.message == "batch too large")));
        let body = format!("[{}1]", "1,".repeat(BATCH_ITEMS_ANSWERED_MAX));
        assert_eq!(refusal(&body).0, code::INVALID_REQUEST);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&body, &LIMITS);
        }

        #[test]
        fn no_text_of_json_characters_makes_it_panic(body in r#"[\[\]{}:,"\\0-9a-ntu. -]{0,120}"#) {
            let _ = parse(body.as_bytes(), &LIMITS);
        }
    }
}
