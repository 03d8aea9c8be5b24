//! One backend as the gateway holds it: its connections, and what was learned about talking to it.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::time::Instant;

use crate::policy::Identity;
use crate::upstream::{Upstream, WebSocketAddress};

use super::domains::Seen;
use super::identity::Question;
use super::marks::Marks;
use super::mask::Mask;
use super::spent::Spent;
use super::tally::Attempts;

/// Items in one upstream batch. Gateways that take larger ones exist, but most stop at or above this.
const BATCH_ITEMS_MAX: usize = 100;
/// A batch that was too large is cut to this part.
const BATCH_CUT: usize = 4;

/// A backend's connections and manners.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: Arc<str>,
    /// Its company, lower case: some word their errors in ways of their own.
    pub(super) vendor: Option<Box<str>>,
    pub(super) mask: Mask,
    pub(super) upstream: Upstream,
    /// Where it pushes its heads, if anywhere.
    pub(super) websocket: Option<WebSocketAddress>,
    /// Which chain it serves.
    pub(super) question: Question,
    /// What it was asked for.
    pub(super) spent: Spent,
    /// What clients' calls came to there.
    pub(super) attempts: Attempts,
    identity: AtomicU8,
    batch_items_max: AtomicUsize,
    /// Block number last seen in an answer; 0 before the first.
    head: AtomicU64,
    /// Who names himself in front of it.
    marks: Mutex<Marks>,
}

impl Link {
    pub(super) fn new(
        name: Arc<str>,
        vendor: Option<Box<str>>,
        mask: Mask,
        upstream: Upstream,
        websocket: Option<WebSocketAddress>,
    ) -> Self {
        Self {
            name,
            vendor,
            mask,
            upstream,
            websocket,
            question: Question::default(),
            spent: Spent::default(),
            attempts: Attempts::default(),
            identity: AtomicU8::new(Identity::Unknown as u8),
            batch_items_max: AtomicUsize::new(BATCH_ITEMS_MAX),
            head: AtomicU64::new(0),
            marks: Mutex::default(),
        }
    }

    /// Looks at the headers of an answer; whether they show something new of who is in front.
    pub(super) fn look_at(&self, headers: &HeaderMap) -> bool {
        self.marks().look(Instant::now(), headers)
    }

    /// What is known of where it lies.
    pub(super) fn seen(&self) -> Seen {
        Seen { addresses: self.upstream.addresses(), marks: self.marks().say() }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what the fleet knows, readable without its lock.
    pub(super) fn identity(&self) -> Identity {
        match self.identity.load(Ordering::Acquire) {
            at if at == Identity::Confirmed as u8 => Identity::Confirmed,
            at if at == Identity::WrongChain as u8 => Identity::WrongChain,
            _ => Identity::Unknown,
        }
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        self.identity.store(identity as u8, Ordering::Release);
    }

    /// Items this backend takes in one batch, as far as is known; 1 means that it takes none.
    pub(super) fn batch_items_max(&self) -> usize {
        self.batch_items_max.load(Ordering::Relaxed)
    }

    /// It refused a batch of `items`: too large, or any at all.
    pub(super) fn refuses_batch_of(&self, items: usize, any: bool) {
        let limit = if any { 1 } else { (items / BATCH_CUT).max(1) };
        self.batch_items_max.fetch_min(limit, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> Option<u64> {
        Some(self.head.load(Ordering::Relaxed)).filter(|head| *head > 0)
    }

    pub(super) fn saw_head(&self, number: u64) {
        self.head.store(number, Ordering::Relaxed);
    }
}
