//! Writing envelopes: the call that goes to a backend, the answer that goes to a client.
//!
//! Members always stand in the order `jsonrpc`, `id`, `method` | `result` | `error`, without white
//! space; values that came from outside are copied byte for byte.

use super::ErrorObject;

/// Appends a call with our own numeric id. `params` is the client's text, `None` becomes `[]`:
/// some nodes refuse a call without the member.
pub fn write_call(out: &mut Vec<u8>, id: u64, method: &str, params: Option<&str>) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(br#","method":"#);
    write_string(out, method);
    out.extend_from_slice(br#","params":"#);
    out.extend_from_slice(params.unwrap_or("[]").as_bytes());
    out.push(b'}');
}

/// Appends an answer that holds `result`, which must be one JSON value.
pub fn write_result(out: &mut Vec<u8>, id: &str, result: &[u8]) {
    write_answer(out, id, br#","result":"#, result);
}

/// Appends an answer that holds `error`, which must be one JSON error object.
pub fn write_error(out: &mut Vec<u8>, id: &str, error: &[u8]) {
    write_answer(out, id, br#","error":"#, error);
}

fn write_answer(out: &mut Vec<u8>, id: &str, member: &[u8], value: &[u8]) {
    const FRAME_BYTES: usize = 32;
    out.reserve(id.len() + value.len() + FRAME_BYTES);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(member);
    out.extend_from_slice(value);
    out.push(b'}');
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

impl ErrorObject {
    /// The object as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, a number and valid raw JSON always serialise; the fallback is there so that no
        // path can panic.
        serde_json::to_vec(self).unwrap_or_else(|_| br#"{"code":-32603,"message":"internal error"}"#.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_rebuilt_with_our_id_and_untouched_params() {
        let mut out = Vec::new();
        write_call(&mut out, 7, "eth_call", Some(r#"[{"a":1.0}, "\u003c"]"#));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":7,"method":"eth_call","params":[{"a":1.0}, "\u003c"]}"#
        );
        let mut out = Vec::new();
        write_call(&mut out, 1, "a\"b", None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"method":"a\"b","params":[]}"#
        );
    }

    #[test]
    fn answers_stand_in_canonical_order() {
        let mut out = Vec::new();
        write_result(&mut out, "\"x\"", b"{\"b\" : 1.0}");
        out.push(b' ');
        write_error(&mut out, "null", &ErrorObject::new(-32600, "no \"x\"").to_json());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"b\" : 1.0}} \
             {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"no \\\"x\\\"\"}}"
        );
    }
}
