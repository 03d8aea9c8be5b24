//! A file of recorded requests: JSON lines, each a JSON-RPC request or a batch. Pure; `docs/load.md` has the format.

use std::fmt;
use std::sync::Arc;

use super::call::{BATCH_MAX, Call, Request};
use crate::jsonrpc::{Item, Limits, Packet, parse};

/// Bytes of a whole file: it is kept in memory.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Requests of a file; beyond them it is a dump, not a sample.
const REQUESTS_MAX: usize = 1_000_000;

/// Requests in the order of their file.
#[derive(Clone)]
pub struct Recorded(Arc<[Request]>);

/// Why a file is not usable. Nothing of its content is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordedError {
    /// A line that is no request.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// No request at all.
    #[error("holds no request: write one JSON-RPC request or batch a line")]
    Empty,
    /// Too many.
    #[error("holds more than {REQUESTS_MAX} requests: take a sample of them")]
    TooMany,
}

impl Recorded {
    /// Reads the lines of a file. Blank ones and those that begin with `#` are passed over; ids are left out, since
    /// each request gets its own.
    ///
    /// # Errors
    /// At the first line that is no request.
    pub fn parse(text: &[u8]) -> Result<Self, RecordedError> {
        let mut requests = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if requests.len() == REQUESTS_MAX {
                return Err(RecordedError::TooMany);
            }
            requests.push(request(line).map_err(|why| RecordedError::Line { line: at + 1, why })?);
        }
        if requests.is_empty() {
            return Err(RecordedError::Empty);
        }
        Ok(Self(requests.into()))
    }

    /// The request with this number; after the last comes the first again.
    pub fn nth(&self, number: u64) -> Request {
        let at = usize::try_from(number % self.0.len() as u64).unwrap_or(0);
        self.0[at].clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: an empty file is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many hand transactions in.
    pub fn submitting(&self) -> usize {
        self.0.iter().filter(|request| request.submits()).count()
    }
}

/// Without the requests: they are the user's own.
impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorded({} requests)", self.len())
    }
}

fn request(line: &[u8]) -> Result<Request, String> {
    let packet = parse(line, &Limits { batch_items_max: BATCH_MAX }).map_err(|rejected| {
        let what = "is no JSON-RPC request or batch";
        format!("{what} ({})", rejected.error.message)
    })?;
    let call = |item: Item<'_>| -> Result<Call, String> {
        let request =
            item.map_err(|rejected| format!("is no JSON-RPC request ({})", rejected.error.message))?;
        Ok(Call::new(&request.method, request.params.map(|params| params.get())))
    };
    match packet {
        Packet::Single(item) => Ok(Request::single(call(item)?)),
        Packet::Batch(items) => {
            let calls = items.into_iter().map(call).collect::<Result<Vec<_>, _>>()?;
            Ok(Request::batch(calls))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_requests_in_their_order_and_round_again() {
        let text = b"# wallet of a morning\n\n\
            {\"jsonrpc\":\"2.0\",\"id\":99,\"method\":\"eth_blockNumber\"}\r\n\
            [{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"eth_call\",\"params\":[{\"to\":\"0x1\"},\"latest\"]},\
             {\"jsonrpc\":\"2.0\",\"method\":\"net_version\",\"params\":[]}]";
        let recorded = Recorded::parse(text).unwrap();
        assert_eq!(recorded.len(), 2);
        let labels: Vec<_> = (0..3).map(|number| recorded.nth(number).label()).collect();
        assert_eq!(labels, ["eth_blockNumber", "batch x2", "eth_blockNumber"]);
        let body = recorded.nth(1).body(1);
        assert!(body.starts_with(
            br#"[{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x1"},"latest"]}"#
        ));
        assert_eq!(recorded.submitting(), 0);
    }

    #[test]
    fn a_line_that_is_no_request_is_named_by_its_number() {
        let fine = r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#;
        for bad in
            ["nonsense", "{}", "[]", "[1]", "7", r#"{"jsonrpc":"2.0","id":1}"#, "{\"jsonrpc\":", "\u{1}"]
        {
            let error = Recorded::parse(format!("{fine}\n\n{bad}\n").as_bytes()).expect_err(bad);
            assert!(error.to_string().starts_with("line 3: is no JSON-RPC request"), "{bad}: {error}");
            assert!(
                bad.len() < 4 || !error.to_string().contains(bad),
                "nothing of the content is shown: {error}"
            );
        }
        assert_eq!(Recorded::parse(b"\n# only words\n").unwrap_err(), RecordedError::Empty);
    }

    #[test]
    fn transactions_are_counted_in_batches_too() {
        let send = r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x02"]}"#;
        let read = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}"#;
        let text = format!("{read}\n{send}\n[{read},{send}]\n");
        assert_eq!(Recorded::parse(text.as_bytes()).unwrap().submitting(), 2);
    }

    #[test]
    fn debug_shows_none_of_it() {
        let recorded =
            Recorded::parse(br#"{"jsonrpc":"2.0","id":1,"method":"a","params":["s3cret"]}"#).unwrap();
        assert_eq!(format!("{recorded:?}"), "Recorded(1 requests)");
    }
}
