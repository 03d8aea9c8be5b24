//! What waits for one client to read it: notifications, bounded in number and bytes.
//!
//! Whoever reads too slowly loses its connection, not its notifications one by one: a gap that nobody tells of is
//! worse than an end that everybody sees.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::Notify;

/// Notifications that may wait, however small they are: each costs about a hundred bytes beside its text.
const WAITING_MAX: usize = 16 * 1024;
/// What a notification weighs beside its text.
const FRAME_BYTES: usize = 128;
/// A queue that is empty keeps no more room than this.
const ROOM_KEPT: usize = 16;

/// The name of a subscription or filter: 128 random bits, so that nobody finds another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(u128);

impl HandleId {
    /// A new one; `None` where the system has no randomness to give.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        SysRng.try_fill_bytes(&mut bytes).ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    /// The id in a client's words. Nodes trim leading zeros, so whoever normalises does.
    pub(super) fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x")?;
        let is_hex = (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(digits, 16).ok().map(Self))?
    }
}

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#034x}", self.0)
    }
}

impl fmt::Debug for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// News for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Whose.
    pub subscription: HandleId,
    /// The result as JSON; all subscriptions to the same thing share these bytes.
    pub result: Bytes,
}

impl Notification {
    /// The message for the client.
    pub fn to_json(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.result.len() + FRAME_BYTES);
        out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":""#);
        out.extend_from_slice(self.subscription.to_string().as_bytes());
        out.extend_from_slice(br#"","result":"#);
        out.extend_from_slice(&self.result);
        out.extend_from_slice(b"}}");
        out.into()
    }

    fn weight(&self) -> usize {
        self.result.len() + FRAME_BYTES
    }
}

/// Why there are no more notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// More would have waited than may.
    #[error("too slow: {waiting} notifications were waiting to be read (server.websocket.max_queue)")]
    TooSlow {
        /// How many.
        waiting: usize,
    },
    /// Something happened on the chain that could not be told in full.
    #[error("news of the chain were missed: connect and subscribe again")]
    Missed,
}

/// One client's queue.
pub(super) struct Outbox {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Notification>,
    bytes: usize,
    /// Answers on their way that name a subscription: nothing may overtake them.
    holds: usize,
    end: Option<SessionEnd>,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: Mutex::default(), news: Notify::new() }
    }

    pub(super) fn push(&self, subscription: HandleId, result: Bytes) {
        self.push_all(subscription, [result]);
    }

    /// News that come together wake their reader once, and go out together.
    pub(super) fn push_all(&self, subscription: HandleId, results: impl IntoIterator<Item = Bytes>) {
        let mut waiting = self.waiting();
        for result in results {
            if waiting.end.is_some() {
                break;
            }
            let notification = Notification { subscription, result };
            waiting.bytes += notification.weight();
            waiting.queue.push_back(notification);
            // A lone one may be of any size: it has to come through.
            let full = waiting.bytes > self.bytes_max || waiting.queue.len() > WAITING_MAX;
            if full && waiting.queue.len() > 1 {
                let end = SessionEnd::TooSlow { waiting: waiting.queue.len() };
                waiting.close(end);
            }
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Ends it; what waits is forgotten.
    pub(super) fn close(&self, end: SessionEnd) {
        self.waiting().close(end);
        self.news.notify_one();
    }

    /// Nothing is given out until the hold is dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.waiting().holds += 1;
        Hold(self.clone())
    }

    /// Forgets what waits for a subscription that is no more.
    pub(super) fn forget(&self, subscription: HandleId) {
        let mut waiting = self.waiting();
        waiting.queue.retain(|notification| notification.subscription != subscription);
        waiting.bytes = waiting.queue.iter().map(Notification::weight).sum();
    }

    /// The oldest that waits, if any does and may go.
    pub(super) fn take(&self) -> Result<Option<Notification>, SessionEnd> {
        let mut waiting = self.waiting();
        if let Some(end) = waiting.end {
            return Err(end);
        }
        if waiting.holds > 0 {
            return Ok(None);
        }
        let taken = waiting.queue.pop_front();
        waiting.bytes -= taken.as_ref().map_or(0, Notification::weight);
        if waiting.queue.is_empty() {
            waiting.queue.shrink_to(ROOM_KEPT);
        }
        Ok(taken)
    }

    pub(super) fn end(&self) -> Option<SessionEnd> {
        self.waiting().end
    }

    /// Resolves when [`Outbox::take`] may have something new to say. For one who waits at a time.
    pub(super) async fn ready(&self) {
        self.news.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn close(&mut self, end: SessionEnd) {
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.end.get_or_insert(end);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.waiting().queue.len()).finish()
    }
}

/// See [`Outbox::hold`].
pub(super) struct Hold(Arc<Outbox>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.waiting().holds -= 1;
        self.0.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HandleId = HandleId(0xab);

    #[test]
    fn an_id_is_128_bits_and_read_back_with_or_without_leading_zeros() {
        assert_eq!(ID.to_string(), "0x000000000000000000000000000000ab");
        for text in ["0xab", "0x00ab", &ID.to_string()] {
            assert_eq!(HandleId::read(text), Some(ID), "{text}");
        }
        for text in ["", "0x", "ab", "0xg", "0x000000000000000000000000000000000ab", "0x+b"] {
            assert_eq!(HandleId::read(text), None, "{text}");
        }
        assert_ne!(HandleId::random(), HandleId::random());
    }

    #[test]
    fn s6_a_queue_that_grows_past_its_bounds_ends_and_keeps_nothing() {
        let (text, many) = (Bytes::from_static(b"\"0123456789\""), WAITING_MAX + 1);
        for (bytes_max, pushes) in [(1000, 8), (usize::MAX, many)] {
            let outbox = Outbox::new(bytes_max);
            for _ in 1..pushes {
                outbox.push(ID, text.clone());
            }
            assert!(outbox.take().is_ok_and(|taken| taken.is_some()), "still within bounds");
            outbox.push(ID, text.clone());
            outbox.push(ID, text.clone());
            assert_eq!(outbox.take(), Err(SessionEnd::TooSlow { waiting: pushes }));
            outbox.push(ID, text.clone());
            assert_eq!(outbox.waiting().queue.capacity(), 0);
        }
    }

    #[test]
    fn a_lone_notification_may_be_larger_than_the_queue() {
        let outbox = Outbox::new(10);
        outbox.push(ID, vec![b'1'; 1000].into());
        assert!(outbox.take().is_ok_and(|taken| taken.is_some()));
    }

    #[test]
    fn nothing_overtakes_an_answer_that_names_its_subscription() {
        let outbox = Arc::new(Outbox::new(1000));
        let hold = outbox.hold();
        outbox.push(ID, Bytes::from_static(b"1"));
        assert_eq!(outbox.take(), Ok(None));
        drop(hold);
        assert!(outbox.take().is_ok_and(|taken| taken.is_some()));
    }

    #[test]
    fn what_waits_for_a_subscription_goes_with_it() {
        let outbox = Outbox::new(1000);
        let other = HandleId(1);
        for (id, text) in [(ID, "1"), (other, "2"), (ID, "3")] {
            outbox.push(id, Bytes::from_static(text.as_bytes()));
        }
        outbox.forget(ID);
        let left = outbox.take().expect("no end").expect("one is left");
        assert_eq!((left.subscription, &*left.result), (other, &b"2"[..]));
        assert_eq!((outbox.take(), outbox.waiting().bytes), (Ok(None), 0));
    }
}
