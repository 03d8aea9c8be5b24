//! HTTP on top of a byte stream: one connection each of HTTP/1.1 and HTTP/2. The first is driven by whoever has it; the
//! second by tasks of its own, which end with the last handle of the connection.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::Dialed;
use super::failure;
use super::http1::{self, HEAD_MAX};
use super::pool::Slot;
use super::wire::Traffic;
use crate::policy::Failure;

/// Requests on one HTTP/2 connection at once, where the server allows more: a lost packet stops them all.
pub(super) const STREAMS_MAX: usize = 100;
/// Bytes a server may send ahead on one stream: at 100 ms round trip this is 20 MB/s.
const STREAM_WINDOW: u32 = 2 << 20;
/// The same for all streams of a connection together; it bounds what one connection can hold unread.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Ping an HTTP/2 connection after this much silence, and drop it when no pong comes in `PONG_TIMEOUT`.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PONG_TIMEOUT: Duration = Duration::from_secs(5);
/// An HTTP/2 connection that is silent for this long under requests takes no new ones: its own ping would
/// notice a black hole only after 20 s, and until then every request would vanish there. Over HTTP/1.1 it
/// makes the connections suspect that lie idle beside it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// What both kinds have in common.
pub(super) struct Origin {
    pub(super) traffic: Arc<Traffic>,
    pub(super) remote: SocketAddr,
    /// No request begins after this.
    pub(super) retire_at: Instant,
    /// Of the tasks that drive it, if any.
    _tasks: Option<DropGuard>,
    /// Last: it lets the next connection be opened, when this one is closed.
    _slot: Slot,
}

/// HTTP/1.1: one request at a time. Never in the pool while an answer is unread.
pub(super) struct Http1 {
    pub(super) client: http1::Client,
    /// Below the backend's keep-alive, as far as it tells.
    pub(super) idle_timeout: Duration,
    /// Has carried a request, or waited idle: it may have gone stale.
    pub(super) used: bool,
    /// The event loop that wakes whoever waits for it.
    pub(super) home: Option<runtime::Id>,
    pub(super) origin: Origin,
}

/// The event loop that runs this.
pub(super) fn here() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|handle| handle.id())
}

/// HTTP/2: many requests at a time.
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<Full<Bytes>>,
    pub(super) streams_max: Arc<AtomicUsize>,
    /// Requests under way; changed under the pool's lock.
    pub(super) in_flight: AtomicUsize,
    /// Has carried a request before.
    pub(super) used: AtomicBool,
    pub(super) silence: Mutex<Silence>,
    pub(super) origin: Origin,
}

impl Http2 {
    pub(super) fn room(&self) -> bool {
        let max = self.streams_max.load(Ordering::Relaxed).clamp(1, STREAMS_MAX);
        self.in_flight.load(Ordering::Relaxed) < max
    }
}

/// How long requests have waited on one HTTP/2 connection while nothing at all arrived there. It adds up over
/// requests that were given up early, since a hedge may cancel each of them long before its deadline.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Bytes read when it began.
    read: u64,
    waited: Duration,
    /// Since when requests are under way again.
    since: Option<Instant>,
}

impl Silence {
    /// A request begins.
    pub(super) fn begin(&mut self, read: u64, now: Instant) {
        if read != self.read {
            *self = Self { read, ..Self::default() };
        }
        self.since.get_or_insert(now);
    }

    /// No request is under way any more.
    pub(super) fn pause(&mut self, now: Instant) {
        self.waited += self.since.take().map_or(Duration::ZERO, |since| now.duration_since(since));
    }

    pub(super) fn is_too_long(&self, read: u64, now: Instant) -> bool {
        let waiting = self.since.map_or(Duration::ZERO, |since| now.duration_since(since));
        read == self.read && self.waited + waiting >= SILENCE_MAX
    }
}

/// A connection ready for requests.
pub(super) enum Conn {
    Http1(Http1),
    Http2(Http2),
}

/// Speaks HTTP over a fresh stream. The tasks that drive it end with the connection, and with `owner`.
pub(super) async fn start(
    dialed: Dialed,
    slot: Slot,
    owner: &CancellationToken,
    max_age: Duration,
    idle_timeout: Duration,
) -> Result<Conn, Failure> {
    let token = dialed.http2.then(|| owner.child_token());
    let origin = Origin {
        traffic: dialed.wire.traffic(),
        remote: dialed.remote,
        retire_at: Instant::now() + max_age,
        _tasks: token.clone().map(CancellationToken::drop_guard),
        _slot: slot,
    };
    let Some(token) = token else {
        return Ok(Conn::Http1(Http1 {
            client: http1::Client::new(dialed.wire),
            idle_timeout,
            used: false,
            home: here(),
            origin,
        }));
    };
    let io = TokioIo::new(dialed.wire);
    let (sender, connection) = http2::Builder::new(Tied(token.clone()))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_MAX as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PONG_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(io)
        .await
        .map_err(|e| failure::of(&e))?;
    let streams_max = Arc::new(AtomicUsize::new(STREAMS_MAX));
    let seen = Arc::clone(&streams_max);
    Tied(token).execute(async move {
        let mut connection = pin!(connection);
        std::future::poll_fn(|cx| {
            let done = connection.as_mut().poll(cx);
            seen.store(connection.current_max_send_streams(), Ordering::Relaxed);
            done.map(drop)
        })
        .await;
    });
    Ok(Conn::Http2(Http2 {
        sender,
        streams_max,
        in_flight: AtomicUsize::new(0),
        used: AtomicBool::new(false),
        silence: Mutex::default(),
        origin,
    }))
}

/// Runs a connection's tasks until its token is cancelled: hyper's HTTP/2 spawns several.
#[derive(Clone)]
struct Tied(CancellationToken);

impl<F> Executor<F> for Tied
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let token = self.0.clone();
        tokio::spawn(async move { token.run_until_cancelled_owned(task).await.map(drop) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_adds_up_over_requests_given_up_early_and_not_over_idle_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = Silence::default();
        silence.begin(100, at(0));
        silence.begin(100, at(200)); // a second one beside it changes nothing
        silence.pause(at(400));
        assert!(!silence.is_too_long(100, at(5000)), "idle time is no silence");
        silence.begin(100, at(5000));
        assert!(!silence.is_too_long(100, at(5599)));
        assert!(silence.is_too_long(100, at(5600)));
        assert!(!silence.is_too_long(101, at(5600)), "something arrived");
        silence.begin(101, at(5600));
        assert!(!silence.is_too_long(101, at(6599)));
    }
}
