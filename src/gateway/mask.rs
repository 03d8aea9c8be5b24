//! Keys that a backend repeats in its errors, made unreadable before a client sees them.
//!
//! Addresses in errors are cut whoever wrote them (see `policy::classify`). A key that stands alone, as in
//! `project 9aa3d9… is over its limit`, looks like a hash; but we know our own keys, and compare.

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::{RawValue, to_raw_value};

use crate::config;
use crate::config::BackendUrl;
use crate::jsonrpc::ErrorObject;
use crate::upstream::percent_decoded;

/// What stands in a key's place.
const MASKED: &str = "***";
/// Parts of a path or query shorter than this are `v3` and names of networks, which errors speak of.
const KEY_BYTES_MIN: usize = 12;
/// From here on a part without a digit counts as well.
const WORDY_KEY_BYTES_MIN: usize = 24;
/// Users, passwords and header values are secrets whatever they look like; a shorter one stands in any text.
const SECRET_BYTES_MIN: usize = 6;

/// A backend's keys, the longest first.
#[derive(Default)]
pub(super) struct Mask {
    keys: Vec<Box<str>>,
}

impl Mask {
    /// What the configuration of one backend hides.
    pub(super) fn of(backend: &config::Backend) -> Self {
        let mut keys: Vec<Box<str>> = Vec::new();
        for url in [Some(&backend.url), backend.ws.as_ref()].into_iter().flatten() {
            keys.extend(in_address(url));
        }
        for (_, value) in &backend.headers {
            // `Bearer KEY` is often repeated without its first word.
            let words = value.expose().split_whitespace().chain([value.expose()]);
            keys.extend(
                words.filter(|word| word.len() >= SECRET_BYTES_MIN && *word != "Bearer").map(Box::from),
            );
        }
        keys.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        keys.dedup();
        Self { keys }
    }

    /// An error value's bytes, the same unless they hold a key.
    pub(super) fn error_bytes(&self, raw: Bytes) -> Bytes {
        let holds = |text: &[u8]| self.keys.iter().any(|key| memmem::find(text, key.as_bytes()).is_some());
        if !holds(&raw) && !raw.contains(&b'\\') {
            return raw;
        }
        match serde_json::from_slice::<serde_json::Value>(&raw) {
            // Escapes are undone only to look: `\/` and `\u0039` hide a key from the comparison above.
            Ok(value) if !holds(&raw) && !self.is_in(&value) => raw,
            _ => match serde_json::from_slice::<ErrorObject>(&raw) {
                Ok(object) => self.error(object).to_json().into(),
                Err(_) => ErrorObject::new(crate::jsonrpc::code::INTERNAL_ERROR, "error from upstream")
                    .to_json()
                    .into(),
            },
        }
    }

    /// An error without keys.
    pub(super) fn error(&self, object: ErrorObject) -> ErrorObject {
        let data = object.data.and_then(|data| self.data(data));
        ErrorObject { code: object.code, message: self.text(&object.message), data }
    }

    fn data(&self, data: Box<RawValue>) -> Option<Box<RawValue>> {
        let mut value: serde_json::Value = serde_json::from_str(data.get()).ok()?;
        if !self.is_in(&value) {
            return Some(data);
        }
        self.cover(&mut value);
        to_raw_value(&value).ok()
    }

    fn text(&self, text: &str) -> String {
        self.keys.iter().fold(text.to_owned(), |text, key| match text.contains(&**key) {
            true => text.replace(&**key, MASKED),
            false => text,
        })
    }

    fn is_in(&self, value: &serde_json::Value) -> bool {
        use serde_json::Value;
        let is_in = |text: &str| self.keys.iter().any(|key| text.contains(&**key));
        match value {
            Value::String(text) => is_in(text),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(members) => members.iter().any(|(name, item)| is_in(name) || self.is_in(item)),
            Value::Number(number) => is_in(&number.to_string()),
            Value::Null | Value::Bool(_) => false,
        }
    }

    fn cover(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.cover(item)),
            Value::Object(members) => {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, mut item)| {
                        self.cover(&mut item);
                        (self.text(&name), item)
                    })
                    .collect();
            }
            Value::Number(number) if self.text(&number.to_string()).contains(MASKED) => {
                *value = Value::String(MASKED.to_owned());
            }
            Value::Number(_) | Value::Null | Value::Bool(_) => {}
        }
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} keys)", self.keys.len())
    }
}

/// Parts of an address that may be keys, as they stand there and with their escapes undone.
fn in_address(url: &BackendUrl) -> Vec<Box<str>> {
    use base64::Engine;
    let decoded = |text: &str| String::from_utf8(percent_decoded(text)).unwrap_or_default();
    let looks_like_a_key = |part: &&str| {
        part.len() >= WORDY_KEY_BYTES_MIN
            || (part.len() >= KEY_BYTES_MIN && part.bytes().any(|byte| byte.is_ascii_digit()))
    };
    let parts = url.path_and_query().split(['/', '?', '&', '=']).filter(looks_like_a_key);
    let mut keys: Vec<Box<str>> = parts.flat_map(|part| [part.into(), decoded(part).into()]).collect();
    if let Some(user_info) = url.user_info() {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let basic = format!("{}:{}", decoded(user), decoded(password));
        keys.push(base64::engine::general_purpose::STANDARD.encode(basic).into());
        let secrets = [user, password].into_iter().filter(|part| part.len() >= SECRET_BYTES_MIN);
        keys.extend(secrets.flat_map(|part| [part.into(), decoded(part).into()]));
    }
    keys.retain(|key| key.len() >= SECRET_BYTES_MIN);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        let url =
            "https://user77:p%40ssword@node.example/eth-mainnet/v3/9aa3d95b3bc440fa?apikey=Q7querykeyQ7";
        let file = format!(
            "[chains.mainnet]\n[[chains.mainnet.backends]]\nurl = \"{url}\"\nheaders = {{ x-key = \"Bearer headerkey\" }}"
        );
        let config = config::Config::from_toml(&file, "test", &|_| None).expect("a sound file");
        Mask::of(&config.chains[0].backends[0])
    }

    #[test]
    fn p3_a_key_in_an_error_is_masked_wherever_it_stands() {
        for key in ["9aa3d95b3bc440fa", "Q7querykeyQ7", "user77", "p@ssword", "p%40ssword", "headerkey"] {
            let escaped = key.replacen('a', "\\u0061", 1).replacen('Q', "\\u0051", 1);
            for written in [key, &escaped] {
                for error in [
                    format!(r#"{{"code":3,"message":"no {written}!"}}"#),
                    format!(r#"{{"code":3,"message":"no","data":"{written}"}}"#),
                    format!(r#"{{"code":3,"message":"no","data":{{"{written}":[1,"x{written}"]}}}}"#),
                    format!(r#"{{"code":3,"message":"no","{written}":1}}"#),
                ] {
                    let told = mask().error_bytes(Bytes::from(error.clone()));
                    let value: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
                    assert!(!value.to_string().contains(key), "{error} became {value}");
                    assert_eq!(value["code"], 3);
                }
            }
        }
    }

    #[test]
    fn r3_an_error_without_a_key_keeps_its_bytes() {
        for error in [
            r#"{"data":"0x08c379a0","message":"execution reverted: \u003cno\u003e", "code":3}"#,
            r#"{"code":-32000,"message":"eth-mainnet does not know v3","x":1.0}"#,
        ] {
            assert_eq!(mask().error_bytes(Bytes::from(error)), error);
        }
    }
}
