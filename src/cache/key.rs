//! What makes two calls the same question.

use std::fmt;

use serde_json::value::RawValue;

/// Longer parameters are neither kept nor shared: they would fill the memory with questions.
const PARAMS_MAX: usize = 64 << 10;

/// One question: chain, method, parameters, and whose it is. `Debug` shows the length of the parameters only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The chain, by its place.
    pub chain: u16,
    /// The method's own name, never an alias of it: not every alias has the same meaning everywhere.
    pub method: &'static str,
    /// Who asks, as far as that matters: calls with different credentials have nothing in common.
    pub scope: u64,
    /// How often the chain was changed from outside, as development nodes allow.
    pub age: u64,
    params: Box<str>,
}

impl Key {
    /// The key of a call; `None` where its parameters are too long.
    pub fn new(
        chain: u16,
        method: &'static str,
        scope: u64,
        age: u64,
        params: Option<&RawValue>,
    ) -> Option<Self> {
        let params = params.map_or("[]", RawValue::get);
        (params.len() <= PARAMS_MAX).then(|| Self { chain, method, scope, age, params: canonical(params) })
    }

    /// The parameters in their one form.
    pub fn params(&self) -> &str {
        &self.params
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {} bytes)", self.method, self.params.len())
    }
}

/// JSON text in a form that is the same for texts that mean the same: without white space between its parts, and with
/// hexadecimal strings in lower case, as their case means nothing in Ethereum's interface (a checksum at most).
pub fn canonical(json: &str) -> Box<str> {
    let bytes = json.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'"' => {
                let end = end_of_string(bytes, at);
                let text = &bytes[at..end];
                let start = out.len();
                out.extend_from_slice(text);
                if is_hex(text) {
                    out[start..].make_ascii_lowercase();
                }
                at = end;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    // Only whole ASCII bytes were left out or changed.
    String::from_utf8(out).unwrap_or_else(|_| json.to_owned()).into()
}

/// Behind the closing quote of the string that begins here.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `"0x..."` with nothing but hexadecimal digits in it.
fn is_hex(quoted: &[u8]) -> bool {
    match quoted {
        [b'"', b'0', b'x' | b'X', digits @ .., b'"'] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r13_white_space_and_the_case_of_an_address_make_no_other_question() {
        for (a, b) in [
            (r#"[ "0xAbC" , "0x1" ]"#, r#"["0xabc","0x1"]"#),
            ("[{\"to\" :\"0xFF\"},\n\"0x10\"]", r#"[{"to":"0xff"},"0x10"]"#),
        ] {
            assert_eq!(canonical(a), canonical(b));
        }
        for (a, b) in [
            (r#"["a b"]"#, r#"["ab"]"#),
            (r#"["Latest"]"#, r#"["latest"]"#),
            (r#"["0xAg"]"#, r#"["0xag"]"#),
            (r#"["\"", "0xA"]"#, r#"["\"","0xb"]"#),
            (r#"["a\\", " b"]"#, r#"["a\\","b"]"#),
        ] {
            assert_ne!(canonical(a), canonical(b), "{a} {b}");
        }
    }

    #[test]
    fn a_key_does_not_show_what_was_asked() {
        let params: Box<RawValue> = serde_json::from_str(r#"["0xdead"]"#).unwrap();
        let key = Key::new(0, "eth_getBalance", 0, 0, Some(&params)).unwrap();
        assert!(!format!("{key:?}").contains("dead"));
        let long = format!("[\"{}\"]", "a".repeat(PARAMS_MAX));
        let long: Box<RawValue> = serde_json::from_str(&long).unwrap();
        assert!(Key::new(0, "eth_call", 0, 0, Some(&long)).is_none());
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_json_that_means_the_same(texts in prop::collection::vec(".{0,12}", 0..4)) {
            let json = serde_json::to_string_pretty(&texts).unwrap();
            let form = canonical(&json);
            let read: Vec<String> = serde_json::from_str(&form).unwrap();
            for (text, read) in texts.iter().zip(&read) {
                prop_assert!(text.eq_ignore_ascii_case(read));
                prop_assert!(text == read || text.starts_with("0x") || text.starts_with("0X"));
            }
            prop_assert_eq!(canonical(&form), form);
        }

        #[test]
        fn any_bytes_at_all_do_no_harm(text in ".*") {
            canonical(&text);
        }
    }
}
