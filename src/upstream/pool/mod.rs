//! The connections of one backend: how many, which is taken, who waits, when one is too old.
//!
//! Waiting requests stand in one queue. Whatever comes first serves the next of them: a connection given
//! back, room on an HTTP/2 connection, or a connection that was opened for the queue. A request that is
//! dropped while its connection is being made leaves that connection to the others.

mod lease;
mod tasks;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use lease::{Exclusive, Lease, Slot, Stream};
use tasks::{Dialing, Sweeping};

use super::conn::{Conn, Http1, Http2, STREAMS_MAX, Silence, here};
use super::connect::Dialer;
use super::settings;
use crate::policy::Failure;

/// Requests that wait for a connection to one backend. More would wait past any deadline, and each holds a body.
const WAITING_MAX: usize = 1024;

/// No age is longer than this, so that sums with it cannot overflow.
const LONGEST_AGE: Duration = Duration::from_secs(365 * 86_400);

/// What a pool is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_connections: usize,
    pub(super) idle_timeout: Duration,
    pub(super) max_age: Duration,
    pub(super) http2: settings::Http2,
}

/// How a backend's connections stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that exist: being made, idle or in use.
    pub open: usize,
    /// Of these, being made.
    pub connecting: usize,
    /// Of these, without a request.
    pub idle: usize,
    /// Requests on a connection.
    pub in_flight: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Connections made since the start.
    pub opened: u64,
    /// The last connection spoke HTTP/2.
    pub http2: bool,
}

pub(super) struct Pool {
    limits: Limits,
    dialer: Arc<Dialer>,
    token: CancellationToken,
    state: Mutex<State>,
}

/// What only a test needs to see.
#[cfg(test)]
impl Pool {
    pub(super) fn idle_closed(&self) -> bool {
        self.lock().idle.iter_mut().all(|idle| !idle.conn.client.is_idle())
    }
}

#[derive(Default)]
struct State {
    /// The last given back is taken first, so that the surplus grows old and goes.
    idle: Vec<Idle>,
    shared: Vec<Shared>,
    waiting: VecDeque<Waiting>,
    open: usize,
    dialing: usize,
    in_flight: usize,
    opened: u64,
    spoken: Option<Spoken>,
    sweeping: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

struct Idle {
    conn: Http1,
    since: Instant,
}

struct Shared {
    conn: Arc<Http2>,
    /// When the last request on it ended.
    since: Instant,
}

/// Connections taken out. They are dropped without the lock: each drop takes it.
#[derive(Default)]
struct Closed {
    idle: Vec<Idle>,
    shared: Vec<Shared>,
}

struct Waiting {
    /// Wants a connection made now: one that it was given before had gone stale.
    fresh: bool,
    grant: oneshot::Sender<Result<Lease, Failure>>,
}

impl Pool {
    pub(super) fn new(limits: Limits, dialer: Arc<Dialer>, token: CancellationToken) -> Arc<Self> {
        let max_age = limits.max_age.min(LONGEST_AGE);
        let limits = Limits { max_connections: limits.max_connections.max(1), max_age, ..limits };
        Arc::new(Self { limits, dialer, token, state: Mutex::default() })
    }

    /// A connection for one request; waits for it as long as the caller does. `fresh` asks for one made now,
    /// and gives up those that are idle: what closed one of them closed them all.
    pub(super) async fn lease(self: &Arc<Self>, fresh: bool) -> Result<Lease, Failure> {
        let mut closed = Closed::default();
        let granted = {
            let mut state = self.lock();
            if fresh {
                closed.idle.append(&mut state.idle);
            } else if let Some(lease) = self.ready(&mut state, &mut closed) {
                let is_foreign = matches!(&lease, Lease::Exclusive(exclusive) if exclusive.is_foreign());
                let wants_own = is_foreign && state.dialing == 0 && state.open < self.limits.max_connections;
                drop(state);
                if wants_own {
                    self.dial();
                }
                return Ok(lease);
            }
            state.waiting.retain(|waiting| !waiting.grant.is_closed());
            if state.waiting.len() >= WAITING_MAX {
                drop(state);
                return Err(Failure::PoolExhausted);
            }
            let (grant, granted) = oneshot::channel();
            let waiting = Waiting { fresh, grant };
            if fresh {
                state.waiting.push_front(waiting)
            } else {
                state.waiting.push_back(waiting)
            }
            granted
        };
        drop(closed);
        self.dial_for_waiting();
        self.serve_waiting(); // nothing may be opened, and nothing in use that could be given back
        granted.await.unwrap_or(Err(Failure::PoolExhausted))
    }

    /// Every connection is taken, and none is being made.
    pub(super) fn is_full(&self) -> bool {
        let state = self.lock();
        state.open >= self.limits.max_connections && state.dialing == 0
    }

    /// Opens one connection where there is none.
    pub(super) fn warm(self: &Arc<Self>) {
        if self.lock().open == 0 {
            self.dial();
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.lock();
        let unused = state.shared.iter().filter(|shared| shared.conn.requests() == 0).count();
        Stats {
            open: state.open,
            connecting: state.dialing,
            idle: state.idle.len() + unused,
            in_flight: state.in_flight,
            waiting: state.waiting.iter().filter(|waiting| !waiting.grant.is_closed()).count(),
            opened: state.opened,
            http2: state.spoken == Some(Spoken::Http2),
        }
    }

    /// What can be had at once. A connection that another event loop wakes serves too, at the cost of a wake-up
    /// across threads.
    fn ready(self: &Arc<Self>, state: &mut State, closed: &mut Closed) -> Option<Lease> {
        let (now, here) = (Instant::now(), here());
        while let Some(last) = state.idle.len().checked_sub(1) {
            let own = state.idle.iter().rposition(|idle| idle.conn.home == here);
            let mut idle = state.idle.remove(own.unwrap_or(last));
            if idle.is_usable(now) {
                state.in_flight += 1;
                return Some(Lease::Exclusive(self.exclusive(idle.conn)));
            }
            closed.idle.push(idle);
        }
        closed.shared.extend(state.shared.extract_if(.., |shared| !shared.conn.is_usable(now)));
        let fit = state.shared.iter().filter(|shared| shared.conn.room());
        let conn = Arc::clone(&fit.min_by_key(|shared| shared.conn.requests())?.conn);
        state.in_flight += 1;
        Some(Lease::Stream(self.stream(conn, now)))
    }

    fn exclusive(self: &Arc<Self>, conn: Http1) -> Exclusive {
        Exclusive { conn: Some(conn), begun: None, pool: Arc::downgrade(self) }
    }

    fn stream(self: &Arc<Self>, conn: Arc<Http2>, now: Instant) -> Stream {
        conn.silence().begin(conn.origin.traffic.read(), now);
        conn.in_flight.fetch_add(1, Ordering::Relaxed);
        let reused = conn.used.load(Ordering::Relaxed);
        Stream { conn, reused, pool: Arc::downgrade(self) }
    }

    /// Gives an HTTP/1.1 connection to the next in the queue, or lays it by.
    fn offer(self: &Arc<Self>, mut conn: Http1, now: Instant) {
        let mut state = self.lock();
        let made_now = !conn.used;
        if let Some(waiting) = state.next_waiting(made_now) {
            state.in_flight += 1;
            drop(state);
            // A receiver gone meanwhile drops the lease, which comes back here.
            let _ = waiting.grant.send(Ok(Lease::Exclusive(self.exclusive(conn))));
        } else {
            conn.used = true;
            state.idle.push(Idle { conn, since: now });
        }
    }

    /// Serves the queue from what can be had at once.
    fn serve_waiting(self: &Arc<Self>) {
        loop {
            let mut closed = Closed::default();
            let mut state = self.lock();
            let Some(place) = state.next_place(false) else { break };
            let Some(lease) = self.ready(&mut state, &mut closed) else { break };
            let waiting = state.waiting.remove(place);
            drop(state);
            if let Some(waiting) = waiting {
                let _ = waiting.grant.send(Ok(lease));
            }
        }
        self.dial_for_waiting();
    }

    /// Opens as many connections as the queue needs and the bound allows.
    fn dial_for_waiting(self: &Arc<Self>) {
        for _ in 0..self.wanted() {
            self.dial();
        }
    }

    fn wanted(&self) -> usize {
        let mut state = self.lock();
        state.waiting.retain(|waiting| !waiting.grant.is_closed());
        let waiting = state.waiting.len();
        let needed = match (self.limits.http2, state.spoken) {
            (settings::Http2::Never, _) | (_, Some(Spoken::Http1)) => waiting,
            (_, Some(Spoken::Http2)) => waiting.div_ceil(STREAMS_MAX),
            (_, None) => waiting.min(1), // it may serve all of them
        };
        let free = self.limits.max_connections.saturating_sub(state.open);
        needed.saturating_sub(state.dialing).min(free)
    }

    fn dial(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.token.is_cancelled() {
            return;
        }
        let sweep = {
            let mut state = self.lock();
            if state.open >= self.limits.max_connections {
                return;
            }
            state.open += 1;
            state.dialing += 1;
            !std::mem::replace(&mut state.sweeping, true)
        };
        let dialing = Dialing::new(self);
        let token = self.token.clone();
        runtime.spawn(async move { token.run_until_cancelled_owned(dialing.run()).await });
        if sweep {
            let sweeping = Sweeping(Arc::downgrade(self));
            let token = self.token.clone();
            runtime.spawn(async move { token.run_until_cancelled_owned(sweeping.run()).await });
        }
    }

    fn opened(self: &Arc<Self>, mut dialing: Dialing, conn: Conn) {
        let mut state = self.lock();
        dialing.settle(&mut state);
        state.opened += 1;
        match conn {
            Conn::Http1(conn) => {
                state.spoken = Some(Spoken::Http1);
                drop(state);
                self.offer(conn, Instant::now());
                self.dial_for_waiting(); // they may have waited to learn the protocol
            }
            Conn::Http2(conn) => {
                state.spoken = Some(Spoken::Http2);
                state.shared.push(Shared { conn: Arc::new(conn), since: Instant::now() });
                drop(state);
                self.serve_waiting();
            }
        }
    }

    /// Tells those who cannot be helped. With no connection alive, that is everybody for whom no other is
    /// being made: each would only find the same. Otherwise one, since the rest may get one in use.
    /// The slot goes last, and what is left of the queue may use it.
    fn failed(&self, mut dialing: Dialing, failure: Failure) {
        let mut state = self.lock();
        dialing.settle(&mut state);
        let alive = !state.idle.is_empty() || !state.shared.is_empty() || state.in_flight > 0;
        let surplus = state.waiting.len().saturating_sub(state.dialing);
        let told = if alive { surplus.min(1) } else { surplus };
        let told: Vec<_> = state.waiting.drain(..told).collect();
        drop(state);
        for waiting in told {
            let _ = waiting.grant.send(Err(failure));
        }
    }

    /// Closes what is idle for too long or too old; true when nothing is open any more.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut closed = Closed::default();
        let mut state = self.lock();
        closed.idle.extend(state.idle.extract_if(.., |idle| !idle.is_usable(now)));
        let limit = self.limits.idle_timeout;
        closed.shared.extend(state.shared.extract_if(.., |shared| {
            let idle = shared.conn.requests() == 0 && now.duration_since(shared.since) >= limit;
            idle || !shared.conn.is_usable(now)
        }));
        let empty = state.open == 0;
        state.sweeping = !empty;
        empty
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first who still waits and may have what there is.
    fn next_place(&mut self, made_now: bool) -> Option<usize> {
        let dialing = self.dialing > 0;
        self.waiting.retain(|waiting| !waiting.grant.is_closed());
        self.waiting.iter().position(|waiting| made_now || !waiting.fresh || !dialing)
    }

    fn next_waiting(&mut self, made_now: bool) -> Option<Waiting> {
        let place = self.next_place(made_now)?;
        self.waiting.remove(place)
    }
}

impl Idle {
    fn is_usable(&mut self, now: Instant) -> bool {
        let conn = &mut self.conn;
        now < conn.origin.retire_at
            && now.duration_since(self.since) < conn.idle_timeout
            && conn.client.is_idle()
    }
}

impl Http2 {
    fn requests(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self, now: Instant) -> bool {
        let silent = self.silence().is_too_long(self.origin.traffic.read(), now);
        !silent && !self.sender.is_closed() && now < self.origin.retire_at
    }
}
