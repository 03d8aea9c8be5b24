//! What a request holds of a pool, and gives back by being dropped: nothing can be forgotten.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::Pool;
use crate::upstream::conn::{Http1, Http2, SILENCE_MAX, here};

/// The right to one connection of the pool's number.
pub(in crate::upstream) struct Slot(pub(super) Weak<Pool>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.lock().open -= 1;
            pool.dial_for_waiting();
        }
    }
}

/// A connection, or room on one, for one request.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would be an allocation a request"
)]
pub(in crate::upstream) enum Lease {
    Exclusive(Exclusive),
    Stream(Stream),
}

/// An HTTP/1.1 connection in use. Dropped once a request has begun, it is closed; before, it goes back.
pub(in crate::upstream) struct Exclusive {
    pub(super) conn: Option<Http1>,
    pub(super) begun: Option<Begun>,
    pub(super) pool: Weak<Pool>,
}

impl Exclusive {
    pub(in crate::upstream) fn conn(&mut self) -> Option<&mut Http1> {
        self.conn.as_mut()
    }

    /// Another event loop wakes it.
    pub(super) fn is_foreign(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.home != here())
    }

    /// A request is written from here on.
    pub(in crate::upstream) fn begin(&mut self) {
        let read = self.conn.as_ref().map_or(0, |conn| conn.origin.traffic.read());
        self.begun = Some(Begun { at: Instant::now(), read });
    }

    /// The answer was read to its end: the connection may serve again.
    pub(in crate::upstream) fn keep(mut self) {
        self.begun = None;
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let (Some(pool), Some(mut conn)) = (self.pool.upgrade(), self.conn.take()) else { return };
        let now = Instant::now();
        let mut state = pool.lock();
        state.in_flight -= 1;
        let Some(begun) = &self.begun else {
            drop(state);
            if now < conn.origin.retire_at && conn.client.is_idle() {
                pool.offer(conn, now);
            }
            return;
        };
        // Silence to the end: what has lain idle since before is likely gone too (a NAT or load balancer that
        // lost its state). What came back since then has proved to be alive.
        let silent = conn.origin.traffic.read() == begun.read && now.duration_since(begun.at) >= SILENCE_MAX;
        let suspect: Vec<_> = state.idle.extract_if(.., |idle| silent && idle.since < begun.at).collect();
        drop(state);
        drop((conn, suspect)); // without the lock: each drop takes it
    }
}

/// When a request was begun, and what had been read on its connection by then.
pub(super) struct Begun {
    at: Instant,
    read: u64,
}

/// Room for one request on an HTTP/2 connection.
pub(in crate::upstream) struct Stream {
    pub(in crate::upstream) conn: Arc<Http2>,
    /// The connection had carried requests before.
    pub(in crate::upstream) reused: bool,
    pub(super) pool: Weak<Pool>,
}

impl Stream {
    /// The connection takes no more requests; those under way may end.
    pub(in crate::upstream) fn retire(&self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut state = pool.lock();
            let place = state.shared.iter().position(|shared| Arc::ptr_eq(&shared.conn, &self.conn));
            let retired = place.map(|place| state.shared.swap_remove(place));
            drop((state, retired)); // in this order
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = pool.lock();
        let now = Instant::now();
        state.in_flight -= 1;
        if self.conn.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.conn.silence().pause(now);
        }
        if let Some(shared) = state.shared.iter_mut().find(|shared| Arc::ptr_eq(&shared.conn, &self.conn)) {
            shared.since = now;
        }
        let awaited = !state.waiting.is_empty();
        drop(state);
        if awaited {
            pool.serve_waiting();
        }
    }
}
