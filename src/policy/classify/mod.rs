//! One attempt's answer, or its absence, becomes one typed [`Outcome`]. Pure: no clock, no I/O.
//!
//! The order of the questions is the rule, since each may mislead the next:
//!
//! 1. is there an answer at all, is it JSON, is it a JSON-RPC reply, is it ours (id)?
//! 2. codes that mean one thing (4444, `eth_simulateV1`'s, a bundler's)
//! 3. a revert: its text is the contract author's, so it is recognised before any word is believed (R3);
//!    then the statuses that mean one thing (402, 451)
//! 4. words, the most specific meaning first, heard in the context of the method (`wording`)
//! 5. a vendor's own codes, then the HTTP status, then JSON-RPC's general codes
//!
//! What follows from a class stands in one table, `defaults`.

mod calls;
mod capacity;
mod client;
mod codes;
mod defaults;
mod execution;
mod hints;
mod http_status;
mod method;
mod rule;
mod state;
mod text;
mod transactions;
mod wording;

#[cfg(test)]
mod paraphrased;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

pub use client::{ToClient, to_client};
pub use hints::RETRY_AFTER_MAX;

use self::defaults::Twist;
use self::method::{Scope, Scopes, is_replay};
use self::text::Text;
use self::wording::Heard;
use super::{Class, Failure, Outcome, Told};
use crate::jsonrpc::ErrorObject;
use crate::jsonrpc::code;
use crate::jsonrpc::reply::{self, Foreign, Item, Packet, Payload, Reply, ReplyId, Unreadable};

/// What was asked of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The id that we gave the call.
    pub id: u64,
    /// The method, as sent.
    pub method: &'a str,
    /// The chain that `eth_chainId` and `net_version` must name; `None` leaves them unchecked.
    pub chain_id: Option<u64>,
    /// The provider's or node software's label, lower case. Only codes that collide need it.
    pub vendor: Option<&'a str>,
    /// What the caller knows that makes some well-formed answers doubtful.
    pub doubt: Doubt,
}

impl<'a> Sent<'a> {
    /// A call about whose answer nothing is known.
    pub fn new(id: u64, method: &'a str) -> Self {
        Self { id, method, chain_id: None, vendor: None, doubt: Doubt::default() }
    }
}

/// Knowledge of heads, blocks and other backends, boiled down to what it means for one answer.
///
/// A silently wrong answer cannot be told from its bytes; who tracks the chain says here what to doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// An empty answer (`null`, `[]`, `"0x"`, `"0x0"`) is suspicious: the block is recent and known
    /// elsewhere, the receipt was seen, the logs' end lies beyond this backend's head.
    pub empty: bool,
    /// The state asked for may be older than what this backend keeps, and it does not say so clearly: a
    /// bare "execution reverted" (`-32000`, no data) then means missing state.
    pub old_state: bool,
    /// Heights, lowest and highest, between which an answer to `eth_blockNumber` can be true.
    pub head: Option<(u64, u64)>,
}

/// What came. `Debug` shows the status and the size only, since a body may repeat a key.
#[derive(Clone, Copy)]
pub enum Received<'a> {
    /// An HTTP answer, or a WebSocket message as status 200 without headers.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The HTTP headers.
        headers: &'a HeaderMap,
        /// The whole body, decompressed.
        body: &'a Bytes,
    },
    /// No answer.
    Failed(Failure),
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { status, body, .. } => write!(f, "Answer({status}, {} bytes)", body.len()),
            Self::Failed(failure) => write!(f, "Failed({failure:?})"),
        }
    }
}

/// The outcome of one call, and what came with it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What it was.
    pub outcome: Outcome,
    /// The result or error that may be passed on; none where what came must not be believed.
    pub payload: Option<Payload>,
}

/// The outcomes of a batch.
#[derive(Clone, Debug)]
pub struct BatchVerdict {
    /// One for each call, in the order of the calls.
    pub items: Vec<Verdict>,
    /// Replies came to calls that were not in the batch. They are dropped; somebody should know.
    pub stray: Option<Outcome>,
}

impl Verdict {
    fn of(class: Class) -> Self {
        Outcome::of(class).into()
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, payload: None }
    }
}

/// Judges the answer to a single call. `now_unix_s` is only needed for dates in `Retry-After`.
///
/// ```
/// use bytes::Bytes;
/// use http::HeaderMap;
/// use outrigger::policy::Class;
/// use outrigger::policy::classify::{Received, Sent, classify};
///
/// let body = Bytes::from_static(
///     br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"nonce too low"}}"#,
/// );
/// let received = Received::Answer { status: 200, headers: &HeaderMap::new(), body: &body };
/// let verdict = classify(&Sent::new(7, "eth_sendRawTransaction"), &received, 0);
/// assert_eq!(verdict.outcome.class, Class::TxNonceTooLow);
/// ```
pub fn classify(sent: &Sent<'_>, received: &Received<'_>, now_unix_s: u64) -> Verdict {
    let (status, headers, body) = match *received {
        Received::Failed(failure) => return failed(failure).into(),
        Received::Answer { status, headers, body } => (status, headers, body),
    };
    let way = Way { status, headers, now_unix_s };
    match reply::read(body) {
        Ok(Packet::One(Item::Reply(reply))) => way.reply(sent, reply),
        Ok(Packet::One(Item::Foreign(foreign))) => way.no_such_reply(sent, foreign),
        Ok(Packet::Many(_)) => way.no_reply(sent, Class::BadEnvelope).into(),
        Err(unreadable) => way.unreadable(sent, unreadable, body).into(),
    }
}

/// Judges the answer to a batch: items in any order, some possibly missing (P2).
pub fn classify_batch(sent: &[Sent<'_>], received: &Received<'_>, now_unix_s: u64) -> BatchVerdict {
    let all = |verdict: Verdict| BatchVerdict { items: vec![verdict; sent.len()], stray: None };
    let Some(first) = sent.first() else {
        return BatchVerdict { items: Vec::new(), stray: None };
    };
    let (status, headers, body) = match *received {
        Received::Failed(failure) => return all(failed(failure).into()),
        Received::Answer { status, headers, body } => (status, headers, body),
    };
    let way = Way { status, headers, now_unix_s };
    match reply::read(body) {
        Ok(Packet::Many(items)) if !items.is_empty() => way.batch(sent, items),
        Ok(Packet::Many(_)) => all(way.no_reply(first, Class::BadEnvelope).into()),
        Ok(Packet::One(Item::Reply(reply))) if sent.len() == 1 && reply.id == ReplyId::Number(first.id) => {
            all(way.reply(first, reply))
        }
        Ok(Packet::One(Item::Reply(Reply { payload: Payload::Error { object, .. }, .. }))) => {
            all(way.instead_of_a_batch(first, &object).into())
        }
        Ok(Packet::One(Item::Reply(_))) => all(way.no_reply(first, Class::BadEnvelope).into()),
        Ok(Packet::One(Item::Foreign(foreign))) => all(way.foreign(first, &foreign).into()),
        Err(unreadable) => all(way.unreadable(first, unreadable, body).into()),
    }
}

/// Nothing came back.
fn failed(failure: Failure) -> Outcome {
    match failure {
        Failure::Timeout => Outcome::of(Class::TimeoutUpstream),
        // The peer says that it has not worked on the request; a new connection takes it at once.
        Failure::GoAway => {
            Outcome::of(Class::ConnectionError).twisted(Twist::Here, 0).twisted(Twist::Healthy, 0)
        }
        // Our own bounds, not the backend's illness.
        Failure::TooLarge => Outcome {
            told: Told::Map { code: code::INVALID_PARAMS, message: "response too large".into() },
            ..Outcome::of(Class::ResponseTooLarge)
        },
        Failure::PoolExhausted => {
            Outcome { cool_down: None, ..Outcome::of(Class::Overloaded) }.twisted(Twist::Healthy, 0)
        }
        Failure::Dns
        | Failure::Refused
        | Failure::Unreachable
        | Failure::ConnectTimeout
        | Failure::Tls
        | Failure::Reset
        | Failure::Protocol => Outcome::of(Class::ConnectionError),
    }
}

/// How an answer came: what stands around the body.
struct Way<'a> {
    status: u16,
    headers: &'a HeaderMap,
    now_unix_s: u64,
}

impl Way<'_> {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn reply(&self, sent: &Sent<'_>, reply: Reply) -> Verdict {
        let wrong_id = || {
            // A server that quotes numbers answers the right call in the wrong way.
            let twist = if reply.id == ReplyId::Quoted(sent.id) { Twist::Healthy } else { Twist::None };
            Outcome::of(Class::WrongId).twisted(twist, self.status)
        };
        match &reply.payload {
            Payload::Result(_) if reply.id != ReplyId::Number(sent.id) => wrong_id().into(),
            Payload::Result(_) if !reply.versioned => {
                Outcome::of(Class::BadEnvelope).twisted(Twist::Healthy, self.status).into()
            }
            Payload::Result(_) if !self.is_success() => self.no_reply(sent, Class::BadEnvelope).into(),
            Payload::Result(result) => {
                let outcome = result_outcome(sent, result);
                let may_pass = !matches!(outcome.class, Class::WrongChain | Class::BadEnvelope);
                Verdict { outcome, payload: may_pass.then_some(reply.payload) }
            }
            Payload::Error { object, .. } => {
                let outcome = self.error(sent, object);
                let ours = matches!(reply.id, ReplyId::Null | ReplyId::Absent)
                    || reply.id == ReplyId::Number(sent.id);
                // That a backend is busy is true whoever was told; a last word must be for this call.
                if !ours && !outcome.retry_elsewhere {
                    return wrong_id().into();
                }
                Verdict { outcome, payload: Some(reply.payload) }
            }
        }
    }

    /// A JSON-RPC error.
    fn error(&self, sent: &Sent<'_>, object: &ErrorObject) -> Outcome {
        let scopes = Scopes::of(sent.method);
        let message = Text::new(&object.message);
        let detail = hints::words_in_data(object.data.as_deref());
        let (class, twist, heard) = self.error_class(sent, scopes, object, &message, &detail);
        let mut outcome = Outcome::of(class).twisted(twist, self.status);
        in_context(&mut outcome, scopes);
        if class == Class::MissingDataArchive && heard == Heard::Data && object.code == code::INTERNAL_ERROR {
            // The message says "internal error" and the data holds a stack trace.
            outcome.told = Told::Map { code: -32000, message: "state not available".into() };
        }
        if is_passing(class) {
            outcome.retry_after = hints::in_headers(self.headers, self.now_unix_s)
                .or_else(|| hints::in_data(object.data.as_deref()))
                .or_else(|| hints::in_text(&message))
                .or_else(|| hints::in_text(&detail));
        }
        if matches!(class, Class::RangeTooLarge | Class::ResponseTooLarge) {
            outcome.range_limit_blocks = hints::range_limit(&message).or_else(|| hints::range_limit(&detail));
        }
        outcome
    }

    fn error_class(
        &self,
        sent: &Sent<'_>,
        scopes: Scopes,
        object: &ErrorObject,
        message: &Text,
        detail: &Text,
    ) -> (Class, Twist, Heard) {
        let status = self.status;
        let said = |(class, twist)| (class, twist, Heard::Message);
        if let Some(found) = codes::sure(scopes, object.code) {
            return said(found);
        }
        if let Some(found) = execution::verdict(scopes, &sent.doubt, object, message, detail) {
            return said(found);
        }
        if http_status::is_final_word(status)
            && let Some(found) = http_status::class(status, sent.vendor)
        {
            return said(found);
        }
        if let Some((rule, heard)) = wording::find(scopes, message, detail)
            && !is_outweighed(status, rule.class)
        {
            return (rule.class, rule.twist, heard);
        }
        if let Some(class) = codes::of_vendor(scopes, sent.vendor, object.code) {
            return said((class, Twist::None));
        }
        let by_status = if self.is_success() || codes::speaks_of_the_call(object.code) && status != 429 {
            None
        } else {
            http_status::class(status, sent.vendor)
        };
        said(by_status.or_else(|| codes::plain(scopes, object.code)).unwrap_or((Class::Unknown, Twist::None)))
    }

    /// JSON that is no JSON-RPC reply: a gateway's own error, or nonsense. Where nobody does better, the error that
    /// stood in it tells a client most.
    fn no_such_reply(&self, sent: &Sent<'_>, foreign: Foreign) -> Verdict {
        let outcome = self.foreign(sent, &foreign);
        match foreign.error {
            Some(error) if outcome.class == Class::BadEnvelope && foreign.id == ReplyId::Number(sent.id) => {
                Verdict { outcome: Outcome { told: Told::Pass, ..outcome }, payload: Some(error) }
            }
            _ => outcome.into(),
        }
    }

    fn foreign(&self, sent: &Sent<'_>, foreign: &Foreign) -> Outcome {
        let scopes = Scopes::of(sent.method);
        let sentences = hints::sentences(&foreign.raw);
        let heard = http_status::heard(scopes, self.status, &sentences);
        let (class, twist) = match heard {
            _ if http_status::is_final_word(self.status) => self.status_or(sent, Class::NotJson),
            Some(found) => found,
            None if self.is_success() => (Class::BadEnvelope, Twist::None),
            // 403 means too many things for a body that says nothing we can read.
            None if self.status == 403 && sentences.is_empty() => (Class::NotJson, Twist::None),
            None => self.status_or(sent, Class::NotJson),
        };
        self.with_wait(Outcome::of(class).twisted(twist, self.status), &sentences)
    }

    fn unreadable(&self, sent: &Sent<'_>, why: Unreadable, body: &Bytes) -> Outcome {
        let success = self.is_success();
        match why {
            Unreadable::Empty if success => Outcome::of(Class::EmptyBody),
            Unreadable::Broken | Unreadable::TooDeep | Unreadable::TooMany if success => {
                let twist = if ends_in_an_error(body) { Twist::Healthy } else { Twist::None };
                Outcome::of(Class::BadJson).twisted(twist, self.status)
            }
            _ => {
                let (class, twist) =
                    http_status::page(Scopes::of(sent.method), self.status, sent.vendor, body);
                let outcome = Outcome::of(class).twisted(twist, self.status);
                let beginning = String::from_utf8_lossy(&body[..body.len().min(1024)]);
                self.with_wait(outcome, &beginning)
            }
        }
    }

    /// A body that is JSON-RPC and yet no answer: the status decides, or `otherwise` is what it is.
    fn no_reply(&self, sent: &Sent<'_>, otherwise: Class) -> Outcome {
        let (class, twist) =
            if self.is_success() { (otherwise, Twist::None) } else { self.status_or(sent, otherwise) };
        self.with_wait(Outcome::of(class).twisted(twist, self.status), "")
    }

    fn status_or(&self, sent: &Sent<'_>, otherwise: Class) -> (Class, Twist) {
        http_status::class(self.status, sent.vendor).unwrap_or((otherwise, Twist::None))
    }

    fn with_wait(&self, mut outcome: Outcome, spoken: &str) -> Outcome {
        if is_passing(outcome.class) {
            outcome.retry_after = hints::in_headers(self.headers, self.now_unix_s)
                .or_else(|| hints::in_text(&Text::new(spoken)));
        }
        outcome
    }

    fn batch(&self, sent: &[Sent<'_>], items: Vec<Item>) -> BatchVerdict {
        let places: HashMap<u64, usize> = sent.iter().enumerate().map(|(at, call)| (call.id, at)).collect();
        let mut found: Vec<Option<Verdict>> = vec![None; sent.len()];
        let (mut nobodys, mut stray) = (None, false);
        for item in items {
            let id = match &item {
                Item::Reply(reply) => reply.id,
                Item::Foreign(foreign) => foreign.id,
            };
            let number = match id {
                ReplyId::Number(number) | ReplyId::Quoted(number) => Some(number),
                ReplyId::Null | ReplyId::Absent | ReplyId::Other => None,
            };
            let Some(&at) = number.and_then(|number| places.get(&number)) else {
                match item {
                    Item::Reply(Reply { payload: Payload::Error { object, .. }, .. }) if number.is_none() => {
                        nobodys.get_or_insert_with(|| self.instead_of_a_batch(&sent[0], &object));
                    }
                    _ => stray = true,
                }
                continue;
            };
            let verdict = match item {
                // Two answers to one call: neither is believed.
                _ if found[at].is_some() => Verdict::of(Class::WrongId),
                Item::Reply(reply) => self.reply(&sent[at], reply),
                Item::Foreign(foreign) => self.no_such_reply(&sent[at], foreign),
            };
            found[at] = Some(verdict);
        }
        // geth answers the first call of a too large batch for all of them.
        let for_all = found
            .iter()
            .flatten()
            .map(|verdict| &verdict.outcome)
            .find(|outcome| matches!(outcome.class, Class::BatchTooLarge | Class::BatchUnsupported))
            .cloned();
        let missing = for_all.or(nobodys).unwrap_or_else(|| Outcome::of(Class::WrongId));
        BatchVerdict {
            items: found
                .into_iter()
                .map(|verdict| verdict.unwrap_or_else(|| missing.clone().into()))
                .collect(),
            stray: stray.then(|| Outcome::of(Class::WrongId).twisted(Twist::Healthy, self.status)),
        }
    }

    /// One error where a batch was asked for. It can speak of the backend or of the batch, but it is
    /// nobody's last word.
    fn instead_of_a_batch(&self, first: &Sent<'_>, object: &ErrorObject) -> Outcome {
        let outcome = self.error(first, object);
        match outcome.class {
            Class::InvalidRequest | Class::ParseError | Class::InvalidParams => {
                Outcome::of(Class::BatchUnsupported)
            }
            _ if outcome.retry_elsewhere => outcome,
            _ => Outcome::of(Class::BadEnvelope),
        }
    }
}

/// Conditions that pass, so that a time to come back makes sense.
fn is_passing(class: Class) -> bool {
    use Class::{Overloaded, QuotaExhausted, RateLimited, Syncing, TimeoutUpstream};
    matches!(class, RateLimited | QuotaExhausted | Overloaded | Syncing | TimeoutUpstream)
}

/// Whether the HTTP status says more than words as general as these.
fn is_outweighed(status: u16, class: Class) -> bool {
    use Class::*;
    let general = matches!(class, InternalError | InvalidRequest | InvalidParams | ParseError | Unknown);
    match status {
        401 => !matches!(
            class,
            QuotaExhausted | RateLimited | GeoBlocked | MethodUnsupported | MissingDataArchive
        ),
        403 => general || matches!(class, TxNotFound | BlockNotFound | Overloaded | ConnectionError),
        429 => {
            general || matches!(class, Unauthorized | MethodUnsupported | TimeoutUpstream | ConnectionError)
        }
        // A method that is refused with 503 is refused for now.
        503 => class == MethodUnsupported,
        408 | 413 | 504 | 522 | 524 => general || class == Overloaded,
        _ => false,
    }
}

/// Departures that come from the method, not from the words.
fn in_context(outcome: &mut Outcome, scopes: Scopes) {
    use Class::*;
    match outcome.class {
        // A replay's balance is an artefact of missing state; a pool's or a call's is the account's.
        TxInsufficientFunds if scopes.contains(Scope::Trace) => outcome.retry_elsewhere = true,
        // A pool's policy is its own; in a simulation the same words are a computed result.
        TxNonceTooHigh | TxUnderpriced | TxFeeCap if !scopes.contains(Scope::Broadcast) => {
            outcome.retry_elsewhere = false;
        }
        // No backend holds the user's keys.
        MethodUnsupported if scopes.contains(Scope::Account) => outcome.retry_elsewhere = false,
        // A bundle or a private transaction goes to the relay that it was made for, and nowhere else.
        RateLimited if scopes.contains(Scope::Relay) => outcome.retry_elsewhere = false,
        _ => {}
    }
}

/// A well-formed result may still be wrong.
fn result_outcome(sent: &Sent<'_>, result: &Bytes) -> Outcome {
    let chain = |named: Option<u64>| match (named, sent.chain_id) {
        (None, _) => Class::BadEnvelope,
        (Some(named), Some(expected)) if named != expected => Class::WrongChain,
        _ => Class::Ok,
    };
    match sent.method {
        "eth_chainId" => return Outcome::of(chain(quantity(result))),
        "net_version" => return Outcome::of(chain(decimal(result))),
        "eth_blockNumber" => {
            if let (Some(height), Some((lowest, highest))) = (quantity(result), sent.doubt.head)
                && !(lowest..=highest).contains(&height)
            {
                return Outcome { hurts_health: true, ..Outcome::of(Class::SilentWrong) };
            }
        }
        "eth_createAccessList" if reverts_inside(result) => return Outcome::of(Class::ExecutionReverted),
        method if is_replay(method) && timed_out_inside(result) => {
            return Outcome::of(Class::ExecutionTimeout);
        }
        _ => {}
    }
    if sent.doubt.empty && is_empty_answer(result) {
        return Outcome::of(Class::SilentWrong);
    }
    Outcome::of(Class::Ok)
}

fn is_empty_answer(result: &[u8]) -> bool {
    matches!(result, b"null" | b"[]" | b"{}" | b"\"\"" | b"\"0x\"" | b"\"0x0\"")
}

fn unquoted(result: &[u8]) -> Option<&str> {
    std::str::from_utf8(result.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()
}

/// `"0x1"`.
fn quantity(result: &[u8]) -> Option<u64> {
    u64::from_str_radix(unquoted(result)?.strip_prefix("0x")?, 16).ok()
}

/// `"1"`; some nodes answer `net_version` in hex.
fn decimal(result: &[u8]) -> Option<u64> {
    unquoted(result)?.parse().ok().or_else(|| quantity(result))
}

/// An access list's own `error` member: the transaction reverts, the answer is whole.
fn reverts_inside(result: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct AccessList<'a> {
        #[serde(borrow, default)]
        error: Option<std::borrow::Cow<'a, str>>,
    }
    serde_json::from_slice::<AccessList<'_>>(result)
        .is_ok_and(|list| list.error.is_some_and(|e| !e.is_empty()))
}

/// A block's trace in which a transaction ran into the node's own time cap. Inside a JSON string the
/// quotes would be escaped, so nobody can write this into one.
fn timed_out_inside(result: &[u8]) -> bool {
    [&b"\"error\":\"execution timeout"[..], b"\"error\": \"execution timeout"]
        .iter()
        .any(|needle| memchr::memmem::find(result, needle).is_some())
}

/// A node that streams its result and fails half way appends the error to what it has written (Erigon).
/// Another backend is asked, but such an end is a refusal, not an illness.
fn ends_in_an_error(body: &[u8]) -> bool {
    const TAIL_BYTES: usize = 4096; // an error object is shorter
    let tail = &body[body.len().saturating_sub(TAIL_BYTES)..];
    tail.trim_ascii_end().ends_with(b"}}") && memchr::memmem::find(tail, b"\"error\":{\"code\":").is_some()
}
