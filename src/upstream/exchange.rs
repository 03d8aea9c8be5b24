//! One request on one connection, and the single repeat after a stale one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::answer::{Answer, AttemptError, Repeat, Sent};
use super::http1::AnswerHead;
use super::pool::{Exclusive, Lease, Stream};
use super::wire::Traffic;
use super::{Upstream, body, failure};
use crate::policy::Failure;

/// How much earlier than announced an idle connection is closed here: the announcement counts from the
/// backend's last byte, which has travelled since.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How far a request has come; it outlives the attempt when time runs out.
#[derive(Default)]
pub(super) struct Progress {
    on_wire: OnWire,
    /// An earlier try within this request may have been seen.
    seen_before: bool,
}

#[derive(Default)]
enum OnWire {
    #[default]
    Waiting,
    /// On a connection of its own: what was written since `mark` is this request's.
    Alone {
        traffic: Arc<Traffic>,
        mark: u64,
    },
    Among,
}

impl Progress {
    /// No connection yet.
    pub(super) fn waits(&self) -> bool {
        matches!(self.on_wire, OnWire::Waiting)
    }

    pub(super) fn sent(&self) -> Sent {
        let now = match &self.on_wire {
            OnWire::Waiting => false,
            OnWire::Alone { traffic, mark } => traffic.written() > *mark,
            OnWire::Among => true,
        };
        if now || self.seen_before { Sent::MaybeSome } else { Sent::Nothing }
    }
}

/// One try that gave no answer.
struct Broken {
    failure: Failure,
    /// The backend has not worked on the request.
    unprocessed: bool,
    /// The connection was open before.
    reused: bool,
    /// Something of the answer came.
    begun: bool,
}

impl Broken {
    fn told(&self, progress: &Progress) -> AttemptError {
        let sent = match self.unprocessed && !progress.seen_before {
            true => Sent::Nothing,
            false => Sent::MaybeSome,
        };
        AttemptError { failure: self.failure, sent }
    }

    fn without_connection(failure: Failure) -> Self {
        Self { failure, unprocessed: true, reused: false, begun: false }
    }

    /// Whether the fault is a stale connection rather than the backend (RFC 9112, section 9.3.1).
    fn is_stale_connection(&self, repeat: Repeat) -> bool {
        match self.failure {
            // The server said that it took nothing: also on a connection made a moment ago.
            Failure::GoAway => self.unprocessed,
            Failure::Reset => self.reused && !self.begun && (self.unprocessed || repeat == Repeat::Safe),
            _ => false,
        }
    }
}

impl Upstream {
    /// The request with its one repeat.
    pub(super) async fn carried(
        &self,
        body: Bytes,
        trace: Option<&HeaderMap>,
        repeat: Repeat,
        progress: &mut Progress,
    ) -> Result<Answer, AttemptError> {
        let stale = match self.once(&body, trace, false, progress).await {
            Ok(answer) if is_stale_408(&answer) && repeat == Repeat::Safe => None,
            Ok(answer) => return Ok(answer),
            Err(broken) if broken.is_stale_connection(repeat) => Some(broken),
            Err(broken) => return Err(broken.told(progress)),
        };
        progress.seen_before = stale.is_none_or(|broken| !broken.unprocessed);
        progress.on_wire = OnWire::Waiting;
        match Box::pin(self.once(&body, trace, true, progress)).await {
            Ok(answer) => Ok(Answer { repeated: true, ..answer }),
            Err(broken) => Err(broken.told(progress)),
        }
    }

    async fn once(
        &self,
        body: &Bytes,
        trace: Option<&HeaderMap>,
        fresh: bool,
        progress: &mut Progress,
    ) -> Result<Answer, Broken> {
        match self.pool.lease(fresh).await.map_err(Broken::without_connection)? {
            // Boxed: it is larger, and every request would hold room for it.
            Lease::Stream(stream) => Box::pin(self.among(stream, body, trace, progress)).await,
            Lease::Exclusive(lease) => self.alone(lease, body, trace, progress).await,
        }
    }

    /// Over HTTP/1.1.
    async fn alone(
        &self,
        mut lease: Exclusive,
        body: &Bytes,
        trace: Option<&HeaderMap>,
        progress: &mut Progress,
    ) -> Result<Answer, Broken> {
        lease.begin();
        let Some(conn) = lease.conn() else { return Err(Broken::without_connection(Failure::Reset)) };
        let reused = std::mem::replace(&mut conn.used, true);
        let remote = conn.origin.remote;
        let traffic = Arc::clone(&conn.origin.traffic);
        let (read, written) = (traffic.read(), traffic.written());
        progress.on_wire = OnWire::Alone { traffic: Arc::clone(&traffic), mark: written };
        let broken = |failure| Broken {
            failure,
            unprocessed: traffic.written() == written,
            reused,
            begun: traffic.read() > read,
        };
        let head = |out: &mut Vec<u8>| self.head.write(out, body.len(), trace);
        let mut head = conn.client.ask(head, body).await.map_err(broken)?;
        let body = conn.client.body(&mut head, self.max_answer).await.map_err(broken)?;
        let AnswerHead { status, version, headers, rest } = head;
        let remote = Some(remote);
        let answer = Answer { status, headers, body, version, reused, repeated: false, remote };
        if !conn.client.is_done(rest) || closes(&answer) {
            return Ok(answer);
        }
        if let Some(announced) = keep_alive(&answer.headers) {
            conn.idle_timeout = conn.idle_timeout.min(announced.saturating_sub(KEEP_ALIVE_MARGIN));
        }
        lease.keep();
        Ok(answer)
    }

    /// Over HTTP/2.
    async fn among(
        &self,
        stream: Stream,
        body: &Bytes,
        trace: Option<&HeaderMap>,
        progress: &mut Progress,
    ) -> Result<Answer, Broken> {
        let conn = &stream.conn;
        progress.on_wire = OnWire::Among;
        let request = self.head.request(body.clone(), trace);
        let response = conn.sender.clone().try_send_request(request).await;
        conn.used.store(true, Ordering::Relaxed);
        let response = response.map_err(|error| {
            // Handed back unwritten: hyper learns of a GOAWAY only when it turns to the next request.
            let unwritten = error.message().is_some();
            let broken = Broken {
                failure: if unwritten { Failure::GoAway } else { failure::of(error.error()) },
                unprocessed: unwritten || failure::unprocessed(error.error()),
                reused: stream.reused,
                begun: false,
            };
            if matches!(broken.failure, Failure::Reset | Failure::GoAway) {
                stream.retire(); // the repeat must not meet it again
            }
            broken
        })?;
        self.read(response, stream.reused, conn.origin.remote).await
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        reused: bool,
        remote: SocketAddr,
    ) -> Result<Answer, Broken> {
        let (head, incoming) = response.into_parts();
        let (status, version, mut headers) = (head.status.as_u16(), head.version, head.headers);
        let body = body::whole(incoming, &mut headers, self.max_answer).await.map_err(|failure| Broken {
            failure,
            unprocessed: false,
            reused,
            begun: true,
        })?;
        Ok(Answer { status, headers, body, version, reused, repeated: false, remote: Some(remote) })
    }
}

/// A server that closes an idle connection may say so with a 408, which then meets our request.
fn is_stale_408(answer: &Answer) -> bool {
    answer.reused && answer.status == StatusCode::REQUEST_TIMEOUT && answer.version < Version::HTTP_2
}

/// The server closes the connection after this answer (RFC 9112, section 9.3).
fn closes(answer: &Answer) -> bool {
    let says =
        |word: &str| tokens(&answer.headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(word));
    says("close") || (answer.version < Version::HTTP_11 && !says("keep-alive"))
}

/// `Keep-Alive: timeout=5, max=100`: seconds that the server keeps an idle connection (RFC 2068, section 19.7.1).
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    tokens(headers, &KEEP_ALIVE).find_map(|token| {
        let (name, value) = token.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| Duration::from_secs(seconds))
    })
}

/// The comma-separated parts of a header.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
}
