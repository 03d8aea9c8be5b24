//! A large answer, judged by its ends and its balance instead of byte by byte: reading a megabyte as JSON costs as much
//! as moving it through two sockets.
//!
//! What is looked at: the members in front of the result and behind it, that no other member can hide in it, that quotes and
//! brackets balance, and how deep they can nest. A body that was cut, in whatever place, is out of balance. Whatever is unusual
//! (an escape, a character beyond ASCII, the word "error") is left to the complete reader.

use bytes::Bytes;

use super::reply::{DEPTH_MAX, Payload, Reply, ReplyId};

/// From this size on a body is read this way.
pub(super) const FROM_BYTES: usize = 256 << 10;
/// Bytes that are counted together; few enough for a byte's width.
const BLOCK: usize = 192;

/// The reply, where all is as usual; nothing where the body must be read completely.
pub(super) fn read(body: &Bytes) -> Option<Reply> {
    let (mut id, mut versioned) = (None, false);
    let mut rest = body.trim_ascii().strip_prefix(b"{")?;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(br#""result":"#) {
            rest = after;
            break;
        }
        if let Some(after) = rest.strip_prefix(br#""jsonrpc":"2.0""#) {
            if std::mem::replace(&mut versioned, true) {
                return None;
            }
            rest = after;
        } else {
            let after = rest.strip_prefix(br#""id":"#)?;
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if id.replace(number(&after[..digits])).is_some() {
                return None;
            }
            rest = &after[digits..];
        }
        rest = rest.strip_prefix(b",")?;
    }
    rest = rest.strip_suffix(b"}")?.trim_ascii();
    // Some nodes write the result before the id.
    if id.is_none() {
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, digits) = rest.split_at(rest.len() - digits);
        rest = before.strip_suffix(br#","id":"#)?.trim_ascii_end();
        id = Some(number(digits));
    }
    let id = id.flatten().filter(|_| versioned)?;
    let is_whole = matches!((rest.first()?, rest.last()?), (b'[', b']') | (b'{', b'}') | (b'"', b'"'));
    if !is_whole || !is_balanced(rest) {
        return None;
    }
    let hides = |member: &[u8]| memchr::memmem::find(rest, member).is_some();
    if hides(br#""error""#) || hides(br#""result""#) {
        return None;
    }
    Some(Reply { id: ReplyId::Number(id), versioned, payload: Payload::Result(body.slice_ref(rest)) })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Plain ASCII without escapes, with as many opening as closing brackets of either kind and an even number of quotes, and
/// never so many open that a parser would be in danger.
fn is_balanced(text: &[u8]) -> bool {
    let (mut quotes, mut squares, mut curlies, mut strange) = (0_usize, 0_i64, 0_i64, 0_u8);
    for block in text.chunks(BLOCK) {
        // One byte each, so that the compiler counts many at once.
        let (mut quote, mut open_square, mut close_square, mut open_curly, mut close_curly) =
            (0, 0, 0, 0, 0_u8);
        for byte in block {
            quote += u8::from(*byte == b'"');
            open_square += u8::from(*byte == b'[');
            close_square += u8::from(*byte == b']');
            open_curly += u8::from(*byte == b'{');
            close_curly += u8::from(*byte == b'}');
            strange |= u8::from(*byte == b'\\') | u8::from(*byte >= 0x80) | u8::from(*byte < b'\t');
        }
        let opened = i64::from(open_square) + i64::from(open_curly);
        if squares + curlies + opened > DEPTH_MAX as i64 || strange != 0 {
            return false;
        }
        quotes += usize::from(quote);
        squares += i64::from(open_square) - i64::from(close_square);
        curlies += i64::from(open_curly) - i64::from(close_curly);
        if squares < 0 || curlies < 0 {
            return false;
        }
    }
    quotes % 2 == 0 && squares == 0 && curlies == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::reply;

    fn logs(count: usize) -> String {
        let log = r#"{"address":"0xdac17f958d2ee523a2206206994597c13d831ec7","topics":["0x01","0x02"],"data":"0x"}"#;
        format!("[{}]", vec![log; count].join(","))
    }

    fn result(body: &str) -> Option<Bytes> {
        match read(&Bytes::copy_from_slice(body.as_bytes()))? {
            Reply { id: ReplyId::Number(7), versioned: true, payload: Payload::Result(result) } => {
                Some(result)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn usual_envelopes_are_read_as_the_complete_reader_reads_them() {
        let logs = logs(50);
        for body in [
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{logs}}}"#),
            format!(r#"{{"id":7,"jsonrpc":"2.0","result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"2.0","result":{logs},"id":7}}"#),
            format!("\n{{ \"jsonrpc\":\"2.0\", \"id\":7, \"result\": {logs} }}\r\n"),
        ] {
            assert_eq!(result(&body).unwrap(), logs, "{body}");
            let Ok(reply::Packet::One(reply::Item::Reply(read))) = reply::read(&Bytes::from(body)) else {
                panic!("a reply")
            };
            assert!(matches!(read.payload, Payload::Result(bytes) if bytes == logs));
        }
    }

    /// Behaviour R1.
    #[test]
    fn a_body_cut_anywhere_is_left_to_the_complete_reader() {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, logs(20));
        for end in 0..body.len() {
            assert_eq!(result(&body[..end]), None, "{}", &body[..end]);
            // Also where somebody has closed the envelope behind the cut.
            let closed = format!("{}}}", &body[..end]);
            assert!(result(&closed).is_none() || closed == body, "{closed}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_complete_reader() {
        let logs = logs(3);
        for body in [
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{logs},"error":{{"code":1,"message":""}}}}"#),
            r#"{"jsonrpc":"2.0","id":7,"result":{"a":1},"error":{"code":1,"message":""}}"#.to_owned(),
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{logs},"result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":7,"id":7,"result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"2.0","jsonrpc":"2.0","id":7,"result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"1.0","id":7,"result":{logs}}}"#),
            format!(r#"{{"id":7,"result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"2.0","result":{logs}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":"7","result":{logs}}}"#),
            r#"{"jsonrpc":"2.0","id":7,"result":["\""]}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":7,"result":["ü"]}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":7,"result":null}"#.to_owned(),
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)),
            "<html>".to_owned(),
        ] {
            assert_eq!(result(&body), None, "{body}");
        }
    }
}
