//! The tasks of a pool: one for each connection that is being made, and one that closes what is idle too long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::lease::Slot;
use super::{Pool, State};
use crate::upstream::tls::Alpn;
use crate::upstream::{conn, settings};

/// How often idle connections are looked through; between, a check at every use keeps stale ones out.
const SWEEP: Duration = Duration::from_secs(5);

/// One connection that is being made.
pub(super) struct Dialing {
    pool: Arc<Pool>,
    slot: Option<Slot>,
    settled: bool,
}

impl Dialing {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), slot: Some(Slot(Arc::downgrade(pool))), settled: false }
    }

    /// Makes it and hands it to the queue.
    pub(super) async fn run(mut self) {
        let pool = Arc::clone(&self.pool);
        let limits = pool.limits;
        let alpn = match limits.http2 {
            settings::Http2::Offer => Alpn::Any,
            settings::Http2::Never => Alpn::Http1,
            settings::Http2::Always => Alpn::Http2,
        };
        let dialed = match pool.dialer.dial(alpn).await {
            Ok(dialed) => dialed,
            Err(failure) => return pool.failed(self, failure),
        };
        let Some(slot) = self.slot.take() else { return };
        match conn::start(dialed, slot, &pool.token, jittered(limits.max_age), limits.idle_timeout).await {
            Ok(conn) => pool.opened(self, conn),
            Err(failure) => pool.failed(self, failure),
        }
    }

    /// Under the lock, so that nobody counts this one both as being made and as made.
    pub(super) fn settle(&mut self, state: &mut State) {
        self.settled = true;
        state.dialing -= 1;
    }
}

/// Cut off by the end of its runtime. Whoever waits hears so: another attempt would be cut off as well, and
/// one started by its slot's drop would end in this very place again.
impl Drop for Dialing {
    fn drop(&mut self) {
        if !self.settled {
            let mut state = self.pool.lock();
            state.dialing -= 1;
            let waiting = std::mem::take(&mut state.waiting);
            drop((state, waiting)); // in this order
        }
    }
}

/// Between four fifths of `age` and all of it: connections opened together must not close together.
fn jittered(age: Duration) -> Duration {
    use std::hash::BuildHasher;
    let draw = std::hash::RandomState::new().hash_one(()) % 1000;
    age - age / 5 * u32::try_from(draw).unwrap_or(0) / 1000
}

/// The one task that closes what is idle for too long; it ends when nothing is open.
pub(super) struct Sweeping(pub(super) Weak<Pool>);

impl Sweeping {
    pub(super) async fn run(self) {
        loop {
            sleep(SWEEP).await;
            let Some(pool) = self.0.upgrade() else { return };
            if pool.sweep() {
                return;
            }
        }
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.lock().sweeping = false; // its runtime may have ended before the pool
        }
    }
}
