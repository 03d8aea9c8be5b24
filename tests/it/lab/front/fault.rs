//! The faults a front can inject, and the rule that says which requests they meet.
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// One way to fail. Made from what providers have done; see the names of the self-tests for what a client sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    // --- of the whole address: methods, probability and count do not matter
    /// Nobody listens: a real ECONNREFUSED, and connections that were open are gone.
    Refuse,
    /// The kernel accepts, nobody reads: a hung process or a full event loop.
    BlackHole,

    // --- instead of an answer
    /// The connection is reset (RST) once the request was read.
    Reset,
    /// The connection is closed (FIN) without an answer.
    Close,
    /// The request is read and never answered, nor passed on.
    Hang,
    /// Another HTTP response. `"$ID"`, `"$ID1"`, `"$ID2"`.. in the body become the ids of the request as they
    /// stood there, `"$OTHER"` an id that nobody sent.
    Respond { status: u16, headers: Vec<(String, String)>, body: Bytes },
    /// Bytes that are no HTTP.
    Garbage(Bytes),
    /// The second request on a connection finds it closing: the race that every kept-alive connection has.
    CloseOnReuse,

    // --- the answer is changed; the request did reach the node
    /// The node works and the answer is never sent: what a lost return path looks like.
    ExecThenHang,
    /// Answers carry an id that nobody sent.
    WrongId,
    /// Every answer is this error object.
    RpcError(Value),
    /// Every result is null.
    NullResult,
    /// `eth_blockNumber` is that many blocks lower.
    Lag(u64),
    /// `eth_chainId` is another chain's.
    ChainId(u64),
    /// Every result is a hex string of that many bytes.
    BigResult(usize),
    /// Every answer carries this header too, as an edge in front adds it.
    Header(&'static str, &'static str),

    // --- the answer is right, its delivery is not
    /// The answer comes that much later.
    Latency(Duration),
    /// The answer comes at that many bytes a second.
    Drip { bytes_per_second: usize },
    /// The answer is compressed, with `content-encoding: gzip`.
    Gzip,
    /// The length is announced in full; after that many bytes of the body the connection is closed.
    CutAfter(usize),
    /// The same, and the connection is reset.
    ResetAfter(usize),
}

/// A fault and the requests it meets.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) fault: Fault,
    /// Empty: any method.
    pub(super) methods: Vec<String>,
    pub(super) probability: f64,
    /// How many more requests it meets.
    pub(super) left: usize,
}

// === impl Fault ===

impl Fault {
    /// That status, with a body as load balancers send it.
    pub fn status(status: u16) -> Fault {
        Fault::respond(status, &[("content-type", "text/plain")], "upstream connect error")
    }

    /// 429 with `Retry-After`, in seconds or as a date.
    pub fn rate_limited(retry_after: &str) -> Fault {
        let body = r#"{"jsonrpc":"2.0","id":"$ID","error":{"code":-32005,"message":"rate limit exceeded"}}"#;
        Fault::respond(429, &[("content-type", "application/json"), ("retry-after", retry_after)], body)
    }

    /// 301 to another place.
    pub fn moved(location: &str) -> Fault {
        Fault::respond(301, &[("content-type", "text/html"), ("location", location)], "<html>Moved</html>")
    }

    /// HTTP 200 with a web page: a captive portal, a status page, a parked domain.
    pub fn html() -> Fault {
        let page = "<!DOCTYPE html><html><body>We'll be back soon.</body></html>";
        Fault::respond(200, &[("content-type", "text/html; charset=utf-8")], page)
    }

    /// HTTP 200 with no body.
    pub fn empty() -> Fault {
        Fault::respond(200, &[("content-type", "application/json")], "")
    }

    /// HTTP 200 that claims to be JSON and is none.
    pub fn not_json() -> Fault {
        Fault::respond(200, &[("content-type", "application/json")], r#"{"jsonrpc":"2.0","id":"$ID","resu"#)
    }

    /// Bytes that no HTTP parser takes.
    pub fn garbage() -> Fault {
        Fault::Garbage(Bytes::from_static(b"\x00\x15\x03\x01{]garbage\r\n\r\n\xff\xfe"))
    }

    /// Every answer is this JSON-RPC error.
    pub fn rpc_error(code: i64, message: &str) -> Fault {
        Fault::RpcError(json!({"code": code, "message": message}))
    }

    /// HTTP 200 with this JSON body; ids are put in as said at [`Fault::Respond`].
    pub fn template(body: &str) -> Fault {
        Fault::respond(200, &[("content-type", "application/json")], body)
    }

    /// Any HTTP response.
    pub fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Fault::Respond { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    /// Meets only requests with one of these methods.
    pub fn only(self, methods: &[&str]) -> Rule {
        Rule::from(self).only(methods)
    }

    /// Meets a request with this probability (0 to 1).
    pub fn sometimes(self, probability: f64) -> Rule {
        Rule::from(self).sometimes(probability)
    }

    /// Meets that many requests, then is gone.
    pub fn first(self, count: usize) -> Rule {
        Rule::from(self).first(count)
    }
}

// === impl Rule ===

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Rule {
        Rule { fault, methods: Vec::new(), probability: 1.0, left: usize::MAX }
    }
}

impl Rule {
    /// Meets only requests with one of these methods.
    pub fn only(mut self, methods: &[&str]) -> Rule {
        self.methods = methods.iter().map(|m| (*m).to_owned()).collect();
        self
    }

    /// Meets a request with this probability (0 to 1).
    pub fn sometimes(mut self, probability: f64) -> Rule {
        self.probability = probability;
        self
    }

    /// Meets that many requests, then is gone.
    pub fn first(mut self, count: usize) -> Rule {
        self.left = count;
        self
    }

    /// Whether it meets this request; counts down if so. `roll` is uniform between 0 and 1.
    pub(super) fn meets(&mut self, methods: &[String], roll: f64) -> bool {
        let named = self.methods.is_empty() || methods.iter().any(|m| self.methods.contains(m));
        let hit = named && self.left > 0 && roll < self.probability;
        self.left -= usize::from(hit);
        hit
    }
}
