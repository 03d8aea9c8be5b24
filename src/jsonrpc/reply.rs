//! What a backend answered: one reply or a batch of them, borrowed from the body's bytes.
//!
//! Results are never copied nor turned into a tree: a [`Payload`] is a reference-counted slice of the
//! body, byte for byte (numbers not reformatted, escapes not undone). The whole body is checked first,
//! so that a truncated or broken one is noticed while another backend can still be asked. Of large ones `large` checks less.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ErrorObject, large};

/// Replies in one batch. Providers take 10 to 1000 calls at once; ten times that is no honest answer.
pub const BATCH_REPLIES_MAX: usize = 10_000;

/// Levels of nesting. A `callTracer` result has two levels (object, `calls`) for each of the EVM's 1024
/// call levels; deeper bodies are made to break the client's parser.
pub const DEPTH_MAX: usize = 4096;

/// The id of a reply, compared with the numbers that our own requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyId {
    /// A whole number.
    Number(u64),
    /// A whole number inside quotes: a server that turns ids into strings.
    Quoted(u64),
    /// `null`: the server could not read the request's id.
    Null,
    /// No id at all.
    Absent,
    /// Anything else.
    Other,
}

/// The part of a reply that a client is interested in. `Debug` shows sizes and codes only: some providers
/// repeat the URL, and with it the key, in their errors.
#[derive(Clone)]
pub enum Payload {
    /// The result's bytes, unchanged.
    Result(Bytes),
    /// The backend's error.
    Error {
        /// The error value's bytes, unchanged.
        raw: Bytes,
        /// The same, read.
        object: ErrorObject,
    },
}

/// One JSON-RPC reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whose answer it is.
    pub id: ReplyId,
    /// The envelope says `"jsonrpc":"2.0"`.
    pub versioned: bool,
    /// Result or error.
    pub payload: Payload,
}

/// JSON that is no JSON-RPC reply. `Debug` shows its size only.
#[derive(Clone)]
pub struct Foreign {
    /// Its id, where it has one.
    pub id: ReplyId,
    /// It says `"jsonrpc":"2.0"` all the same.
    pub versioned: bool,
    /// The whole value's bytes.
    pub raw: Bytes,
    /// The error that stands in it beside a result, which contradict each other.
    pub error: Option<Payload>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Result(result) => write!(f, "Result({} bytes)", result.len()),
            Self::Error { raw, object } => write!(f, "Error({}, {} bytes)", object.code, raw.len()),
        }
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({:?}, {} bytes)", self.id, self.raw.len())
    }
}

/// One element of what came.
#[derive(Clone, Debug)]
pub enum Item {
    /// A JSON-RPC reply.
    Reply(Reply),
    /// Something else.
    Foreign(Foreign),
}

/// A whole body.
#[derive(Clone, Debug)]
pub enum Packet {
    /// One value.
    One(Item),
    /// An array.
    Many(Vec<Item>),
}

/// Why a body cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// No bytes, or only white space.
    #[error("the body is empty")]
    Empty,
    /// Text of another kind: a page, a sentence.
    #[error("the body is not JSON")]
    NotJson,
    /// It starts as JSON does and is truncated or broken, or it is no text at all.
    #[error("the body is broken JSON")]
    Broken,
    /// JSON nested deeper than [`DEPTH_MAX`].
    #[error("the body nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More than [`BATCH_REPLIES_MAX`] elements.
    #[error("the body has more than {BATCH_REPLIES_MAX} replies")]
    TooMany,
}

/// Reads a body: completely, or by its ends and its balance where it is large and all is as usual.
///
/// ```
/// use bytes::Bytes;
/// use outrigger::jsonrpc::reply::{self, Item, Packet, Payload, ReplyId};
///
/// let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"result":{"n":1.0}}"#);
/// let Ok(Packet::One(Item::Reply(reply))) = reply::read(&body) else { panic!("a reply") };
/// assert_eq!(reply.id, ReplyId::Number(7));
/// assert!(matches!(reply.payload, Payload::Result(bytes) if bytes == r#"{"n":1.0}"#));
/// ```
pub fn read(body: &Bytes) -> Result<Packet, Unreadable> {
    if body.len() >= large::FROM_BYTES
        && let Some(reply) = large::read(body)
    {
        return Ok(Packet::One(Item::Reply(reply)));
    }
    let Some(first) = body.iter().copied().find(|byte| !is_space(*byte)) else {
        return Err(Unreadable::Empty);
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Unreadable::Broken);
    };
    if first == b'[' {
        let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Unreadable::Broken)?;
        if elements.len() > BATCH_REPLIES_MAX {
            return Err(Unreadable::TooMany);
        }
        check_depth(body)?;
        let items = elements.into_iter().map(|raw| item(body, raw.get())).collect::<Result<_, _>>()?;
        return Ok(Packet::Many(items));
    }
    if first != b'{' {
        return match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(Packet::One(foreign(body, text.trim(), ReplyId::Absent, false))),
            Err(_) if looks_like_text(text) => Err(Unreadable::NotJson),
            Err(_) => Err(Unreadable::Broken),
        };
    }
    check_depth(body)?;
    item(body, text.trim_matches([' ', '\t', '\r', '\n'])).map(Packet::One)
}

/// White space as JSON knows it (RFC 8259, section 2).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Pages and sentences have no control characters but line ends and tabs.
fn looks_like_text(text: &str) -> bool {
    !text.chars().take(256).any(|c| c.is_control() && !c.is_whitespace())
}

/// The members of an envelope, still as bytes. A member that stands twice is refused: two readers of
/// such a body would see two different answers.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    twice: bool,
}

enum Member {
    JsonRpc,
    Id,
    Result,
    Error,
    Unknown,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "jsonrpc" => Member::JsonRpc,
                    "id" => Member::Id,
                    "result" => Member::Result,
                    "error" => Member::Error,
                    _ => Member::Unknown,
                })
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(member) = map.next_key::<Member>()? {
                    let place = match member {
                        Member::JsonRpc => &mut envelope.jsonrpc,
                        Member::Id => &mut envelope.id,
                        Member::Result => &mut envelope.result,
                        Member::Error => &mut envelope.error,
                        Member::Unknown => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    envelope.twice |= place.replace(map.next_value()?).is_some();
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads one element. `text` is a part of `body`.
fn item(body: &Bytes, text: &str) -> Result<Item, Unreadable> {
    if !text.starts_with('{') {
        return Ok(foreign(body, text, ReplyId::Absent, false));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Unreadable::Broken)?;
    let id = reply_id(envelope.id);
    let versioned = envelope.jsonrpc.is_some_and(|version| version.get() == r#""2.0""#);
    if envelope.twice {
        return Ok(foreign(body, text, id, versioned));
    }
    // `"result":null` stands in foreign protocols too; without version and id it is no answer to anything.
    if !versioned && id == ReplyId::Absent && envelope.result.is_some() {
        return Ok(foreign(body, text, id, versioned));
    }
    let is_null = |value: &&RawValue| value.get() == "null";
    let payload = match (envelope.result, envelope.error) {
        // Old servers send `error: null` beside a result. Beside `result: null` it says nothing.
        (Some(result), error) if error.is_none_or(|error| is_null(&error) && !is_null(&result)) => {
            Some(Payload::Result(slice(body, result.get())))
        }
        // Likewise `result: null` beside an error. Two values contradict each other: neither is believed.
        (result, Some(error)) if result.as_ref().is_none_or(is_null) => error_payload(body, error),
        (Some(_), Some(error)) => {
            let error = error_payload(body, error);
            return Ok(Item::Foreign(Foreign { id, versioned, raw: slice(body, text), error }));
        }
        _ => None,
    };
    Ok(match payload {
        Some(payload) => Item::Reply(Reply { id, versioned, payload }),
        None => foreign(body, text, id, versioned),
    })
}

fn error_payload(body: &Bytes, error: &RawValue) -> Option<Payload> {
    let object = serde_json::from_str::<ErrorObject>(error.get()).ok()?;
    Some(Payload::Error { raw: slice(body, error.get()), object })
}

fn foreign(body: &Bytes, text: &str, id: ReplyId, versioned: bool) -> Item {
    Item::Foreign(Foreign { id, versioned, raw: slice(body, text), error: None })
}

/// `text` is borrowed from `body`, so this shares instead of copying.
fn slice(body: &Bytes, text: &str) -> Bytes {
    if text.is_empty() { Bytes::new() } else { body.slice_ref(text.as_bytes()) }
}

fn reply_id(raw: Option<&RawValue>) -> ReplyId {
    let Some(text) = raw.map(RawValue::get) else {
        return ReplyId::Absent;
    };
    if let Ok(number) = text.parse() {
        return ReplyId::Number(number);
    }
    if text == "null" {
        return ReplyId::Null;
    }
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    unquoted.and_then(|digits| digits.parse().ok()).map_or(ReplyId::Other, ReplyId::Quoted)
}

/// Nesting cannot be deeper than there are opening brackets, and those are counted quickly; only a body
/// with very many is walked byte by byte.
fn check_depth(body: &[u8]) -> Result<(), Unreadable> {
    if memchr::memchr2_iter(b'[', b'{', body).nth(DEPTH_MAX).is_none() {
        return Ok(());
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'"' => at += text_length(&body[at..]),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(Unreadable::TooDeep);
        }
    }
    Ok(())
}

/// Bytes up to and with the quote that ends a string.
fn text_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &rest[at.min(rest.len())..]) {
        at += found + 1;
        if rest[at - 1] == b'"' {
            return at;
        }
        at += 1; // the escaped byte
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Item {
        match read(&Bytes::copy_from_slice(body.as_bytes())) {
            Ok(Packet::One(item)) => item,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_result_keeps_its_bytes_and_shares_the_body() {
        // P9
        let body = Bytes::from_static(br#" {"jsonrpc":"2.0","result": {"a":1.0,"b":"\u003c"} ,"id":7} "#);
        let Ok(Packet::One(Item::Reply(reply))) = read(&body) else { panic!("a reply") };
        assert_eq!(reply.id, ReplyId::Number(7));
        assert!(reply.versioned);
        let Payload::Result(result) = reply.payload else { panic!("a result") };
        assert_eq!(result, r#"{"a":1.0,"b":"\u003c"}"#);
        assert!(body.as_ptr_range().contains(&result.as_ptr()));
    }

    #[test]
    fn null_is_a_result_and_a_null_error_beside_a_result_is_none() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1","error":null}"#,
        ] {
            assert!(matches!(one(body), Item::Reply(Reply { payload: Payload::Result(_), .. })), "{body}");
        }
    }

    #[test]
    fn an_error_wins_over_a_null_result_and_keeps_its_bytes() {
        let body =
            r#"{"result":null,"error":{"code":-32000, "message":"\u0062oom","x":1},"id":1,"jsonrpc":"2.0"}"#;
        let Item::Reply(Reply { payload: Payload::Error { raw, object }, .. }) = one(body) else {
            panic!("an error")
        };
        assert_eq!(raw, r#"{"code":-32000, "message":"\u0062oom","x":1}"#);
        assert_eq!((object.code, object.message.as_str()), (-32000, "boom"));
    }

    #[test]
    fn what_contradicts_itself_is_no_reply() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"result":null,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1","error":{"code":1,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1","result":"0x2"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1","\u0072esult":"0x2"}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"text"}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{}"#,
            "null",
            r#""0x1""#,
        ] {
            assert!(matches!(one(body), Item::Foreign(_)), "{body}");
        }
    }

    #[test]
    fn bodies_that_cannot_be_read_say_why() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let cases: [(&[u8], Unreadable); 9] = [
            (b"", Unreadable::Empty),
            (b" \r\n", Unreadable::Empty),
            (b"<html></html>", Unreadable::NotJson),
            (b"Bad Gateway", Unreadable::NotJson),
            (br#"{"jsonrpc":"2.0","id":1,"result":"0x1"#, Unreadable::Broken),
            (br#"{"jsonrpc":"2.0","id":1,"result":NaN}"#, Unreadable::Broken),
            (b"{\"id\":1,\"result\":\"\xff\"}", Unreadable::Broken),
            (b"\x1f\x8b\x08\x00", Unreadable::Broken),
            (deep.as_bytes(), Unreadable::TooDeep),
        ];
        for (body, expected) in cases {
            assert_eq!(read(&Bytes::copy_from_slice(body)).err(), Some(expected), "{body:.40?}");
        }
    }

    #[test]
    fn many_shallow_brackets_are_not_deep() {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":[{}[]]}}"#, "[],".repeat(2 * DEPTH_MAX));
        assert!(matches!(one(&body), Item::Reply(_)));
    }

    #[test]
    fn what_is_logged_shows_no_words_of_a_backend() {
        // P3
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"see https://h.example/v3/secret"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"https://h.example/v3/secret"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"https://h.example/v3/secret"}"#,
        ] {
            assert!(!format!("{:?}", one(body)).contains("secret"), "{body}");
        }
    }

    #[test]
    fn a_bad_element_spoils_only_itself() {
        let body = Bytes::from_static(br#"[{"jsonrpc":"2.0","id":2,"result":1},7,{"id":"1"}]"#);
        let Ok(Packet::Many(items)) = read(&body) else { panic!("a batch") };
        assert!(matches!(items[0], Item::Reply(Reply { id: ReplyId::Number(2), .. })));
        assert!(matches!(items[1], Item::Foreign(_)));
        assert!(matches!(items[2], Item::Foreign(Foreign { id: ReplyId::Quoted(1), .. })));
    }
}
