//! What the client hears when an outcome is the last word.
//!
//! Errors pass byte for byte, since clients decode reverts from them, unless they hold an address:
//! providers put keys into URLs, and some repeat the URL in their errors (P3).

use std::borrow::Cow;

use bytes::Bytes;

use super::text::clip;
use crate::jsonrpc::reply::Payload;
use crate::jsonrpc::{ErrorObject, code};
use crate::policy::{Outcome, Told};

/// Longest message passed on. A revert reason may be a page; beyond that it is a burden on the client.
const MESSAGE_MAX: usize = 8192;

/// Longest method name repeated; the longest known one has 43 characters.
const METHOD_MAX: usize = 64;

/// Keys have 20 characters and more; names of networks and API paths fewer.
const KEY_MIN: usize = 20;

/// The client's answer.
#[derive(Clone, Debug)]
pub enum ToClient {
    /// Success: the result's bytes.
    Result(Bytes),
    /// A backend's error value, byte for byte.
    ErrorBytes(Bytes),
    /// An error in our own words, or a backend's made safe.
    Error(ErrorObject),
    /// Success: the hash of the transaction, computed from its bytes by the caller.
    TransactionHash,
}

/// What the client hears of `outcome`. `payload` is what came with it, `method` the call's name.
pub fn to_client(outcome: &Outcome, payload: Option<&Payload>, method: &str) -> ToClient {
    match (&outcome.told, payload) {
        (Told::TransactionHash, _) => ToClient::TransactionHash,
        (Told::Map { code, message }, _) => {
            ToClient::Error(ErrorObject::new(*code, with_method(message, method)))
        }
        (_, Some(Payload::Result(result))) => ToClient::Result(result.clone()),
        (Told::Pass, Some(Payload::Error { raw, object })) => {
            if object.message.len() <= MESSAGE_MAX && !shows_address(object) {
                ToClient::ErrorBytes(raw.clone())
            } else {
                ToClient::Error(safe(object, object.code))
            }
        }
        (Told::PassAs(code), Some(Payload::Error { object, .. })) => ToClient::Error(safe(object, *code)),
        (Told::Pass | Told::PassAs(_), None) => {
            ToClient::Error(ErrorObject::new(code::INTERNAL_ERROR, "no answer from upstream"))
        }
    }
}

fn with_method<'a>(message: &'a str, method: &str) -> Cow<'a, str> {
    if !message.contains("{method}") {
        return Cow::Borrowed(message);
    }
    let shown: String = method.chars().filter(|c| c.is_ascii_graphic()).take(METHOD_MAX).collect();
    Cow::Owned(message.replace("{method}", &shown))
}

/// Bounded, and without addresses.
fn safe(object: &ErrorObject, code: i64) -> ErrorObject {
    let message = without_addresses(clip(&object.message, MESSAGE_MAX)).into_owned();
    let data = object.data.clone().filter(|data| !data_shows_address(data.get()));
    ErrorObject { code, message, data }
}

fn shows_address(object: &ErrorObject) -> bool {
    matches!(without_addresses(&object.message), Cow::Owned(_))
        || object.data.as_ref().is_some_and(|data| data_shows_address(data.get()))
}

/// `data` is arbitrary JSON and is not rewritten: with an address in it, in any escape, it is left out.
fn data_shows_address(data: &str) -> bool {
    if data.starts_with("\"0x") && data[1..data.len() - 1].bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    data.contains("://")
        || data.contains(":\\/")
        || data.to_ascii_lowercase().contains("\\u002f")
        || data.to_ascii_lowercase().contains("\\u003a")
        || data.split(['"', ' ', ',']).any(holds_key_path)
}

/// Replaces `scheme://user@host:port/path` by `host:port`, and `host/…/key` by `host`.
fn without_addresses(text: &str) -> Cow<'_, str> {
    if !text.contains('/') && !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut changed = false;
    let is_edge = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';')
    };
    for word in text.split_inclusive(is_edge) {
        let (bare, edge) = match word.char_indices().next_back() {
            Some((at, last)) if is_edge(last) => word.split_at(at),
            _ => (word, ""),
        };
        let bare_kept = match bare.find("://") {
            Some(at) => {
                changed = true;
                let before =
                    bare[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
                kept.push_str(before);
                host(&bare[at + 3..])
            }
            None if holds_key_path(bare) => {
                changed = true;
                bare.split('/').next().unwrap_or("")
            }
            None => bare,
        };
        kept.push_str(bare_kept);
        kept.push_str(edge);
    }
    if changed { Cow::Owned(kept) } else { Cow::Borrowed(text) }
}

/// Host and port of what follows `://`.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or("");
    authority.rsplit('@').next().unwrap_or("")
}

/// A path with a part that may be a key: long, letters and digits mixed, not a hash or an address.
fn holds_key_path(word: &str) -> bool {
    word.contains('/')
        && word.split(['/', '?', '=', '&']).skip(1).any(|part| {
            part.len() >= KEY_MIN
                && !part.starts_with("0x")
                && part.bytes().any(|b| b.is_ascii_digit())
                && part.bytes().any(|b| b.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Class;

    fn error(code: i64, message: &str, data: Option<&str>) -> Payload {
        let object = ErrorObject {
            code,
            message: message.to_owned(),
            data: data.map(|data| serde_json::from_str(data).expect("JSON")),
        };
        let raw = Bytes::from(serde_json::to_vec(&object).expect("JSON"));
        Payload::Error { raw, object }
    }

    #[test]
    fn a_revert_passes_byte_for_byte() {
        // R3
        let payload = error(3, "execution reverted: a/b", Some("\"0x08c379a0\""));
        let Payload::Error { raw, .. } = &payload else { unreachable!() };
        let told = to_client(&Outcome::of(Class::ExecutionReverted), Some(&payload), "eth_call");
        assert!(matches!(told, ToClient::ErrorBytes(bytes) if bytes == raw));
    }

    #[test]
    fn addresses_and_keys_never_reach_the_client() {
        // P3
        for (message, data, expected) in [
            ("see https://node.example/v3/0123456789abcdef0123456789abcdef.", None, "see node.example"),
            ("(wss://user:pw@h.example:8546/key?x=1) closed", None, "(h.example:8546) closed"),
            ("post node.example/v2/AbCdEf0123456789-xyz_99: refused", None, "post node.example refused"),
            ("boom", Some(r#"{"url":"https:\/\/h.example\/key"}"#), "boom"),
            ("boom", Some(r#""http://h.example/key""#), "boom"),
        ] {
            let told =
                to_client(&Outcome::of(Class::Unknown), Some(&error(-32000, message, data)), "eth_call");
            let ToClient::Error(object) = told else { panic!("{message}: passed as it was") };
            assert_eq!(object.message, expected);
            assert!(object.data.is_none());
        }
    }

    #[test]
    fn a_range_refusal_has_the_code_that_clients_do_not_repeat() {
        // R8
        let payload = error(-32005, "range too large, max is 500", None);
        let told = to_client(&Outcome::of(Class::RangeTooLarge), Some(&payload), "eth_getLogs");
        assert!(
            matches!(told, ToClient::Error(object) if object.code == -32602 && object.message.contains("500"))
        );
    }

    #[test]
    fn the_method_is_named_in_a_bounded_way() {
        let long = format!("eth_\n{}", "x".repeat(500));
        let told = to_client(&Outcome::of(Class::MethodUnsupported), None, &long);
        let ToClient::Error(object) = told else { panic!("an error") };
        assert_eq!(object.code, -32601);
        assert!(object.message.starts_with("the method eth_xxx") && object.message.len() < 120);
    }

    #[test]
    fn messages_are_bounded() {
        let payload = error(-32000, &"é".repeat(MESSAGE_MAX), None);
        let told = to_client(&Outcome::of(Class::Unknown), Some(&payload), "eth_call");
        assert!(matches!(told, ToClient::Error(object) if object.message.len() <= MESSAGE_MAX));
    }
}
