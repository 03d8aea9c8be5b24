//! What a call can come to: the vocabulary of the scenario files, each word with the bytes that a real
//! backend would send, so that one and the same classifier judges them in a drill and in production.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use crate::policy::classify::{self, Doubt, Sent, classify};
use crate::policy::{Class, Failure, Outcome};

macro_rules! answers {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// What a call came to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // `docs/scenarios.md` tells each
        pub enum Answer { $($variant),* }

        impl Answer {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word in scenario files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

answers! {
    Ok = "ok",
    ConnRefused = "conn_refused",
    ConnBlackhole = "conn_blackhole",
    ConnReset = "conn_reset",
    AcceptHang = "accept_hang",
    SlowTrickle = "slow_trickle",
    DnsNxdomain = "dns_nxdomain",
    DnsServfail = "dns_servfail",
    DnsTimeout = "dns_timeout",
    TlsExpired = "tls_expired",
    TlsHandshakeFail = "tls_handshake_fail",
    Http400 = "http_400",
    Http401 = "http_401",
    Http402 = "http_402",
    Http403 = "http_403",
    Http404 = "http_404",
    Http410 = "http_410",
    Http429 = "http_429",
    Http500 = "http_500",
    Http502 = "http_502",
    Http503 = "http_503",
    Http504 = "http_504",
    Http500Html = "http_500_html",
    Http502Html = "http_502_html",
    Html200 = "html_200",
    Text200 = "text_200",
    Empty200 = "empty_200",
    TruncatedBody = "truncated_body",
    WrongId = "wrong_id",
    OkWrongContentType = "ok_wrong_content_type",
    RpcInternal = "rpc_200_-32603",
    RpcLimit = "rpc_200_-32005",
    RpcCannotFulfill = "rpc_200_-32046",
    RpcGeneric = "rpc_200_-32000_generic",
    RpcUnauthorized = "rpc_200_-32000_unauthorized",
    RpcBlocked = "rpc_200_-32000_blocked",
    RpcHeaderNotFound = "rpc_200_-32000_header_not_found",
    RpcMissingTrieNode = "rpc_200_-32000_missing_trie_node",
    RpcMethodNotFound = "rpc_200_-32601",
    NullResult = "null_result",
    // What faults of other kinds and heads come to; not in the vocabulary of `outcomes`.
    NullForBlock = "null_for_block",
    ErrorText = "error_text",
    OtherChain = "other_chain",
    OtherHash = "other_hash",
    AlreadyKnown = "already_known",
    NonceTooLow = "nonce_too_low",
}

/// An answer, and which of a scenario's `retry_after` values and error texts it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub answer: Answer,
    /// Into the world's list; 0 is none.
    pub detail: u8,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, detail: 0 }
    }
}

/// What an answer carries besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) retry_after: Option<Duration>,
    pub(super) text: String,
}

/// An answer as it comes over a connection.
#[derive(Clone, Debug)]
pub enum Received {
    /// Nothing of HTTP.
    Failed(Failure),
    /// An HTTP answer.
    Http {
        /// Status.
        status: u16,
        /// Content type, and `Retry-After` where one is sent.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
}

impl Answer {
    /// What `outcomes` and `on_exceed` may name.
    pub fn vocabulary() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|answer| *answer < Self::NullForBlock)
    }

    /// The answer with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::vocabulary().find(|answer| answer.name() == name)
    }

    /// Whether the request cannot have reached the backend.
    pub fn is_before_sending(self) -> bool {
        use Answer::{ConnRefused, DnsNxdomain, DnsServfail, DnsTimeout, TlsExpired, TlsHandshakeFail};
        matches!(self, ConnRefused | DnsNxdomain | DnsServfail | DnsTimeout | TlsExpired | TlsHandshakeFail)
    }

    /// Whether the connection is of no use afterwards.
    pub fn ends_the_connection(self) -> bool {
        use Answer::{AcceptHang, ConnBlackhole, ConnReset, SlowTrickle, TruncatedBody};
        self.is_before_sending()
            || matches!(self, ConnBlackhole | ConnReset | AcceptHang | SlowTrickle | TruncatedBody)
    }

    /// Whether the call was carried out as asked.
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Ok | Self::OkWrongContentType)
    }

    /// Its bytes, for a call with this id. `result` is what a healthy backend answers, as JSON.
    pub(super) fn received(self, id: u64, result: &str, detail: &Detail) -> Received {
        use Answer::*;
        let json = "application/json";
        let http = |status: u16, content_type: &'static str, body: String| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            if let Some(wait) = detail.retry_after {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            Received::Http { status, headers, body: body.into() }
        };
        let error = |code: i64, message: &str| {
            let message = serde_json::Value::from(message);
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#);
            http(200, json, body)
        };
        let result_of = |id: u64, result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let html = |said: &str| format!("<html><head><title>{said}</title></head><body>{said}</body></html>");
        match self {
            Ok => http(200, json, result_of(id, result)),
            OkWrongContentType => http(200, "text/plain", result_of(id, result)),
            ConnRefused => Received::Failed(Failure::Refused),
            ConnBlackhole => Received::Failed(Failure::ConnectTimeout),
            ConnReset => Received::Failed(Failure::Reset),
            AcceptHang | SlowTrickle => Received::Failed(Failure::Timeout),
            DnsNxdomain | DnsServfail | DnsTimeout => Received::Failed(Failure::Dns),
            TlsExpired | TlsHandshakeFail => Received::Failed(Failure::Tls),
            Http400 => http(400, "text/plain", "Bad Request".into()),
            Http401 => http(401, "text/plain", "Unauthorized".into()),
            Http402 => http(402, "text/plain", "Payment Required".into()),
            Http403 => http(403, "text/plain", "Forbidden".into()),
            Http404 => http(404, "text/plain", "Not Found".into()),
            Http410 => http(410, "text/plain", "Gone".into()),
            Http429 => http(429, "text/plain", "Too Many Requests".into()),
            Http500 => http(500, "text/plain", "Internal Server Error".into()),
            Http502 => http(502, "text/plain", "Bad Gateway".into()),
            Http503 => http(503, "text/plain", "Service Unavailable".into()),
            Http504 => http(504, "text/plain", "Gateway Timeout".into()),
            Http500Html => http(500, "text/html", html("500 Internal Server Error")),
            Http502Html => http(502, "text/html", html("502 Bad Gateway")),
            Html200 => http(200, "text/html", html("Welcome")),
            Text200 => http(200, json, "invalid host specified".into()),
            Empty200 => http(200, json, String::new()),
            TruncatedBody => Received::Failed(Failure::Reset),
            WrongId => http(200, json, result_of(id ^ 0x5a5a, result)),
            RpcInternal => error(-32603, "Internal error"),
            RpcLimit => error(-32005, "limit exceeded"),
            RpcCannotFulfill => error(-32046, "Cannot fulfill request"),
            RpcGeneric => error(-32000, "server error"),
            RpcUnauthorized => error(
                -32000,
                "Unauthorized: You must authenticate your request with an API key. Create an account and generate your personal API key for free",
            ),
            RpcBlocked => error(-32000, "request blocked by policy"),
            RpcHeaderNotFound => error(-32000, "header not found"),
            RpcMissingTrieNode => error(
                -32000,
                "missing trie node 5c0e5b1a9f6b1dd0e9ca8bbbb2c8c5a3dd6f3f0e95f4f3f7a1a9d8c1c1f6b4a2 (path ) state is not available",
            ),
            RpcMethodNotFound => error(-32601, "the method does not exist/is not available"),
            NullResult | NullForBlock => http(200, json, result_of(id, "null")),
            ErrorText => error(-32000, &detail.text),
            OtherChain => http(200, json, result_of(id, "\"0x539\"")),
            OtherHash => http(200, json, result_of(id, &format!("\"0x{}\"", "9".repeat(64)))),
            AlreadyKnown => error(-32000, "already known"),
            NonceTooLow => error(-32000, "nonce too low"),
        }
    }

    /// The verdict of the one classifier that production uses.
    pub(super) fn judged(self, method: &'static str, chain_id: u64, detail: &Detail) -> Outcome {
        const ID: u64 = 7;
        // The gateway computes a transaction's hash itself and disbelieves who names another.
        if self == Self::OtherHash {
            return Outcome { retry_elsewhere: true, hurts_health: true, ..Outcome::of(Class::SilentWrong) };
        }
        // A node that lacks a served block; `gateway::resolve` doubts its answer.
        let doubt = Doubt { empty: self == Self::NullForBlock, ..Doubt::default() };
        let sent = Sent { chain_id: Some(chain_id), doubt, ..Sent::new(ID, method) };
        match self.received(ID, &usual_result(method, chain_id), detail) {
            Received::Failed(failure) => classify(&sent, &classify::Received::Failed(failure), 0).outcome,
            Received::Http { status, headers, body } => {
                let received = classify::Received::Answer { status, headers: &headers, body: &body };
                classify(&sent, &received, 0).outcome
            }
        }
    }
}

/// What a healthy backend answers, near enough for a classifier.
fn usual_result(method: &str, chain_id: u64) -> String {
    match method {
        "eth_chainId" => format!("\"{chain_id:#x}\""),
        "net_version" => format!("\"{chain_id}\""),
        "eth_getLogs" => r#"[{"logIndex":"0x0"}]"#.into(),
        "eth_sendRawTransaction" => format!("\"0x{}\"", "5".repeat(64)),
        name if name.contains("Block") && name.starts_with("eth_get") => r#"{"number":"0x64"}"#.into(),
        name if name.contains("Receipt") => r#"{"status":"0x1"}"#.into(),
        _ => "\"0x64\"".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(answer: Answer) -> Class {
        answer.judged("eth_call", 1, &Detail::default()).class
    }

    #[test]
    fn every_outcome_is_judged_as_production_judges_its_bytes() {
        use Answer::*;
        #[rustfmt::skip]
        let cases = [
            (Ok, Class::Ok), (OkWrongContentType, Class::Ok), (NullResult, Class::Ok),
            (ConnRefused, Class::ConnectionError), (ConnBlackhole, Class::ConnectionError),
            (DnsNxdomain, Class::ConnectionError), (TlsExpired, Class::ConnectionError),
            (AcceptHang, Class::TimeoutUpstream), (Http401, Class::Unauthorized),
            (Http429, Class::RateLimited), (Http503, Class::Overloaded),
            (Html200, Class::NotJson), (Empty200, Class::EmptyBody),
            (WrongId, Class::WrongId), (RpcMissingTrieNode, Class::MissingDataArchive),
            (RpcHeaderNotFound, Class::BlockNotFound), (RpcMethodNotFound, Class::MethodUnsupported),
            (RpcInternal, Class::InternalError), (OtherHash, Class::SilentWrong),
        ];
        for (answer, expected) in cases {
            assert_eq!(class(answer), expected, "{answer:?}");
        }
        let other = OtherChain.judged("eth_chainId", 1, &Detail::default());
        assert_eq!(other.class, Class::WrongChain);
    }

    #[test]
    fn nothing_but_success_or_a_word_on_the_call_ends_a_request() {
        for answer in Answer::vocabulary().filter(|answer| !answer.is_ok() && *answer != Answer::NullResult) {
            let outcome = answer.judged("eth_call", 1, &Detail::default());
            assert!(outcome.retry_elsewhere, "{answer:?}: {outcome:?}");
        }
    }

    #[test]
    fn a_named_wait_reaches_the_verdict() {
        let detail = Detail { retry_after: Some(Duration::from_secs(3)), text: String::new() };
        let outcome = Answer::Http429.judged("eth_call", 1, &detail);
        assert_eq!(outcome.retry_after, Some(Duration::from_secs(3)));
    }
}
