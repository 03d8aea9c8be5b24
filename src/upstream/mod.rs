//! Connections to backends: DNS, TCP, TLS, HTTP/1.1 and HTTP/2, pooled and bounded, and WebSockets.
//!
//! An [`Upstream`] is one backend. It knows nothing of methods, health or other backends: it carries a
//! body there, and brings a whole answer back, or says what failed and whether the backend may have seen
//! the request. The one repeat it makes on its own is that of a request which met a stale connection.

mod answer;
mod body;
mod conn;
mod connect;
mod dns;
mod exchange;
mod failure;
mod http1;
mod pool;
mod request;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;
mod wire;

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use answer::{Answer, AttemptError, Repeat, Sent};
pub use connect::{Dialed, Dialer};
pub use dns::{Dns, LAST_GOOD, REFRESH_AFTER, Resolve, Resolving, SystemResolver};
pub use pool::Stats;
pub use settings::{
    CONNECT_TIMEOUT, Http2, IDLE_TIMEOUT, MAX_AGE, MAX_ANSWER, MAX_CONNECTIONS, UpstreamSettings,
};
pub use tls::{Alpn, Roots, Tls, TlsError};
pub use websocket::{MESSAGE_MAX, OpenError, PING_AFTER, WebSocket, WebSocketAddress};
pub use wire::Wire;

use crate::config::BackendUrl;
use crate::policy::Failure;
use exchange::Progress;
use pool::{Limits, Pool};
use request::Head;
pub(crate) use request::percent_decoded;

/// One backend: its connections, and the way of a request over them. Share it in an [`Arc`]; dropping the
/// last handle ends every connection and task.
pub struct Upstream {
    url: BackendUrl,
    head: Head,
    dialer: Arc<Dialer>,
    pool: Arc<Pool>,
    max_answer: usize,
    _tasks: DropGuard,
}

impl Upstream {
    /// Prepares; nothing is resolved or connected yet, and no runtime is needed.
    pub fn new(settings: UpstreamSettings) -> Self {
        let UpstreamSettings { url, tls, dns, .. } = settings;
        // Without TLS there is nothing to negotiate HTTP/2 with.
        let http2 = match settings.http2 {
            Http2::Offer if !url.is_tls() => Http2::Never,
            chosen => chosen,
        };
        let limits = Limits {
            max_connections: settings.max_connections,
            idle_timeout: settings.idle_timeout,
            max_age: settings.max_age,
            http2,
        };
        let token = CancellationToken::new();
        let head = Head::new(&url, &settings.headers);
        let dialer = Arc::new(Dialer::new(url.clone(), tls, &dns, settings.connect_timeout));
        let pool = Pool::new(limits, dialer.clone(), token.clone());
        Self { url, head, dialer, pool, max_answer: settings.max_answer, _tasks: token.drop_guard() }
    }

    /// Posts a JSON body and reads the whole answer, until `deadline` at the latest. `trace` adds headers
    /// (`traceparent` and its kind) and replaces none of the prepared ones.
    ///
    /// Dropping the future cancels the attempt: its connection is closed or its stream reset, and its place
    /// is free for others.
    ///
    /// # Errors
    ///
    /// No whole answer came; see [`AttemptError`]. A status of 300 or more is an answer.
    pub async fn post(
        &self,
        body: Bytes,
        deadline: Instant,
        trace: Option<&HeaderMap>,
        repeat: Repeat,
    ) -> Result<Answer, AttemptError> {
        if deadline <= Instant::now() {
            return Err(AttemptError { failure: Failure::Timeout, sent: Sent::Nothing });
        }
        let mut progress = Progress::default();
        let done = until(deadline, self.carried(body, trace, repeat, &mut progress)).await;
        let done = done.unwrap_or_else(|| Err(self.late(&progress)));
        if let Err(error) = &done {
            tracing::debug!(host = self.url.host(), failure = ?error.failure, sent = %error.sent, "no answer");
        }
        done
    }

    /// Opens a first connection in the background, where there is none: the first request then finds it.
    pub fn warm(&self) {
        self.pool.warm();
    }

    /// How its connections stand.
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// The IP addresses of its host as last looked up, in ascending order; none before the first request.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.dialer.addresses()
    }

    /// Its address; shows no secret.
    pub fn url(&self) -> &BackendUrl {
        &self.url
    }

    fn late(&self, progress: &Progress) -> AttemptError {
        let failure = match progress.waits() && self.pool.is_full() {
            true => Failure::PoolExhausted,
            false => Failure::Timeout,
        };
        AttemptError { failure, sent: progress.sent() }
    }
}

/// What `work` comes to, or nothing at the deadline. The timer is made when it is waited for, and lies apart: it would make
/// every future around it large, and align it to cache lines.
async fn until<F: Future>(deadline: Instant, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut timer = None;
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            timer.as_mut().poll(cx).map(|()| None)
        }
    })
    .await
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("url", &self.url).field("stats", &self.stats()).finish()
    }
}
