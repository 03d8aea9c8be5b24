//! What a backend's WebSocket is worth: when one is held open, and whether what it pushes stands for the backend's head.
//!
//! Reads go over HTTP, and nodes behind a provider's two addresses differ. So a push is a hint at first: it makes the
//! backend be asked at once. Three blocks in a row that came in time and that HTTP bore out give the socket its role (S7):
//! from then on its heads count as the backend's own, and polls are rare. Silence, an end, or a word of HTTP against it
//! take the role away, and polls are what they were.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::policy::{Failure, Timestamp};

/// So many blocks in a row, pushed in time, give the role.
const BLOCKS_MIN: u32 = 3;
/// No push for so many block times while the chain goes on is silence; at least this, since networks stutter.
const SILENT_BLOCKS: u32 = 3;
const SILENT_MIN: Duration = Duration::from_secs(1);
/// Who is silent for so long is connected to anew: subscriptions die while their connection lives.
const GIVEN_UP_BLOCKS: u32 = 10;
const GIVEN_UP_MIN: Duration = Duration::from_secs(30);
/// A block that is pushed so many block times after it was served, and this, comes late.
const LATE_BLOCKS: u32 = 1;
const LATE_MIN: Duration = Duration::from_millis(500);
/// After a push, so much of a block time may pass until HTTP has the block too.
const APART_PART: u32 = 4;
const APART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Connections are tried again after this, doubled with each that failed, up to a minute.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_DOUBLINGS_MAX: u32 = 6;
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A connection that held its role for so long was a good one: what failed before it is forgotten.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Messages in a row that are no heads of this chain, after which a connection ends.
const UNFIT_MAX: u32 = 8;
/// Messages in a burst, and a second: a node that catches up pushes many heads, none pushes that many for long.
const BURST_MAX: f64 = 256.0;
const STEADY_PER_S: f64 = 64.0;
/// Served blocks whose time is remembered.
const ARRIVALS_MAX: usize = 64;

/// What is wrong with a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketFault {
    /// It cannot be opened, or it broke.
    Failed(Failure),
    /// The handshake was answered with this HTTP status.
    Refused(u16),
    /// It is another chain's.
    WrongChain,
    /// It does not give `newHeads`.
    NoHeads,
    /// It was closed from the other side.
    Closed,
    /// It is open, the chain goes on, and no head comes.
    Silent,
    /// Too much of what it sends is no head of this chain, or it sends far too much.
    Unfit,
    /// HTTP lacks blocks that it pushed a while ago.
    Denied,
    /// HTTP does not answer: what it pushes says nothing of whoever is to answer reads.
    Unanswered,
}

/// How a WebSocket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Not open, since nobody uses the chain, or the backend may not be asked.
    Idle,
    /// Being opened.
    Connecting,
    /// Open; its pushes are hints.
    Proving,
    /// Open; its pushes are the backend's head.
    Connected,
    /// Open; nothing comes while the chain goes on.
    Silent,
    /// It failed, and is tried again later.
    Waiting,
}

/// A WebSocket, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketView {
    /// How it stands.
    pub state: SocketState,
    /// Since when.
    pub since: Timestamp,
    /// What was wrong last, until it has its role again.
    pub why: Option<SocketFault>,
}

/// The WebSocket of one backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Push {
    view: SocketView,
    /// Where it waits: until when.
    retry_at: Timestamp,
    /// Blocks in a row that came in time.
    good: u32,
    /// The first push that HTTP has not borne out yet.
    unproven: Option<(u64, Timestamp)>,
    /// The greatest height that it pushed since it was opened, and when.
    last: Option<(u64, Timestamp)>,
    /// Connections in a row that were no good ones.
    failures: u32,
    unfit: u32,
    tokens: f64,
    filled_at: Timestamp,
}

impl Default for Push {
    fn default() -> Self {
        let view = SocketView { state: SocketState::Idle, since: Timestamp::ZERO, why: None };
        Self {
            view,
            retry_at: Timestamp::ZERO,
            good: 0,
            unproven: None,
            last: None,
            failures: 0,
            unfit: 0,
            tokens: BURST_MAX,
            filled_at: Timestamp::ZERO,
        }
    }
}

impl Push {
    pub(super) fn view(&self) -> SocketView {
        self.view
    }

    /// Whether its pushes are the backend's head.
    pub(super) fn has_role(&self) -> bool {
        self.view.state == SocketState::Connected
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.view.state, SocketState::Proving | SocketState::Connected | SocketState::Silent)
    }

    /// Whether it may be opened now, as far as it is concerned.
    pub(super) fn may_open(&self, now: Timestamp) -> bool {
        match self.view.state {
            SocketState::Idle => true,
            SocketState::Waiting => now >= self.retry_at,
            _ => false,
        }
    }

    pub(super) fn opens(&mut self, now: Timestamp) {
        self.turns(now, SocketState::Connecting);
        (self.last, self.unproven, self.good, self.unfit) = (None, None, 0, 0);
    }

    /// It is open, of the right chain, and subscribed.
    pub(super) fn opened(&mut self, now: Timestamp) {
        self.turns(now, SocketState::Proving);
        (self.tokens, self.filled_at) = (BURST_MAX, now);
    }

    /// It is closed on purpose.
    pub(super) fn left(&mut self, now: Timestamp) {
        self.turns(now, SocketState::Idle);
        self.view.why = None;
    }

    /// It ended, or was not to be opened.
    pub(super) fn ended(&mut self, now: Timestamp, fault: SocketFault, rng: &mut impl Rng) {
        if self.has_role() && now.since(self.view.since) >= GOOD_FOR {
            self.failures = 0;
        }
        let pause = RETRY_FIRST * (1 << self.failures.min(RETRY_DOUBLINGS_MAX));
        // Many proxies that lost the same provider at once do not come back at once.
        self.retry_at = now + pause.min(RETRY_MAX).mul_f64(rng.random_range(0.5..1.0));
        self.failures = self.failures.saturating_add(1);
        self.turns(now, SocketState::Waiting);
        self.view.why = Some(fault);
    }

    /// A message came. `false` where there are far too many.
    pub(super) fn heard(&mut self, now: Timestamp, block_time: Duration) -> bool {
        let per_s = STEADY_PER_S + 8.0 / block_time.as_secs_f64().max(0.01);
        let filled = self.tokens + now.since(self.filled_at).as_secs_f64() * per_s;
        (self.tokens, self.filled_at) = (filled.min(BURST_MAX) - 1.0, now);
        self.tokens >= 0.0
    }

    /// A message came that is no head of this chain. `false` where there are too many in a row.
    pub(super) fn unfit(&mut self, now: Timestamp) -> bool {
        self.loses_role(now, SocketFault::Unfit);
        self.good = 0;
        self.unfit += 1;
        self.unfit <= UNFIT_MAX
    }

    /// It pushed this height, which is taken for the backend's own.
    pub(super) fn leads(&mut self, now: Timestamp, number: u64) {
        self.last = Some((number, now));
        self.unfit = 0;
    }

    /// It pushed this height, which is a hint.
    pub(super) fn hints(&mut self, now: Timestamp, number: u64, is_in_time: bool) {
        let is_news = self.last.is_none_or(|(last, _)| number > last);
        if self.has_role() || !is_news {
            return;
        }
        self.last = Some((number, now));
        self.unfit = 0;
        if self.view.state == SocketState::Silent {
            self.turns(now, SocketState::Proving);
        }
        if !is_in_time {
            (self.good, self.unproven) = (0, None);
        } else if self.unproven.is_none() {
            self.unproven = Some((number, now));
        }
    }

    /// HTTP told of its head, and was asked `took` ago. Gives whether that says something of the backend: an answer to a
    /// question that was put before a push, or while its block was on its way, is older than the push.
    pub(super) fn compares(
        &mut self,
        now: Timestamp,
        took: Duration,
        number: u64,
        block_time: Duration,
    ) -> bool {
        let is_soon = |pushed_at: Timestamp| now.since(pushed_at) < took + apart(block_time);
        if self.has_role() {
            return match self.last {
                Some((last, at)) if number < last && is_soon(at) => false,
                Some((last, _)) if number < last => {
                    self.loses_role(now, SocketFault::Denied);
                    true
                }
                _ => true,
            };
        }
        match self.unproven {
            Some((pushed, _)) if number >= pushed => {
                (self.good, self.unproven) = (self.good + 1, None);
                if self.good >= BLOCKS_MIN && self.is_open() {
                    self.turns(now, SocketState::Connected);
                    self.view.why = None;
                }
            }
            Some((_, at)) if !is_soon(at) => (self.good, self.unproven) = (0, None),
            _ => {}
        }
        true
    }

    /// An answer over HTTP says that this height is not there. Gives whether that says something of the backend.
    pub(super) fn is_denied(&mut self, now: Timestamp, number: u64, block_time: Duration) -> bool {
        let Some((last, at)) = self.last.filter(|(last, _)| self.has_role() && number <= *last) else {
            return true;
        };
        if number == last && now.since(at) < apart(block_time) {
            return false;
        }
        self.loses_role(now, SocketFault::Denied);
        true
    }

    /// HTTP did not answer.
    pub(super) fn is_unanswered(&mut self, now: Timestamp) {
        self.loses_role(now, SocketFault::Unanswered);
    }

    /// Looks whether it is silent while the chain goes on.
    pub(super) fn listen(&mut self, now: Timestamp, arrivals: &Arrivals, block_time: Duration) {
        if !matches!(self.view.state, SocketState::Proving | SocketState::Connected) {
            return;
        }
        let above = self.last.map_or(0, |(last, _)| last);
        // Before it is open nothing can be missed on it.
        let Some(overdue) = arrivals.first_above(above, self.opened_since()) else { return };
        if now.since(overdue) >= (block_time * SILENT_BLOCKS).max(SILENT_MIN) {
            self.turns(now, SocketState::Silent);
            self.view.why = Some(SocketFault::Silent);
            (self.good, self.unproven) = (0, None);
        }
    }

    /// Whether it is silent for so long that another connection is worth a try.
    pub(super) fn is_given_up(&self, now: Timestamp, block_time: Duration) -> bool {
        let for_long = now.since(self.view.since) >= (block_time * GIVEN_UP_BLOCKS).max(GIVEN_UP_MIN);
        self.view.state == SocketState::Silent && for_long
    }

    /// From when on a block that it did not push was missed.
    fn opened_since(&self) -> Timestamp {
        self.last.map_or(self.view.since, |(_, at)| at)
    }

    fn loses_role(&mut self, now: Timestamp, why: SocketFault) {
        if self.has_role() {
            self.turns(now, SocketState::Proving);
            self.view.why = Some(why);
            (self.good, self.unproven) = (0, None);
        }
    }

    fn turns(&mut self, now: Timestamp, state: SocketState) {
        (self.view.state, self.view.since) = (state, now);
    }
}

/// For how long after a push HTTP may lack its block.
pub(super) fn apart(block_time: Duration) -> Duration {
    (block_time / APART_PART).clamp(APART.0, APART.1)
}

/// When the chain's latest blocks were first served.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    blocks: VecDeque<(u64, Timestamp)>,
}

impl Arrivals {
    /// What is served grew, or took another way, from above `from` up to this height.
    pub(super) fn note(&mut self, now: Timestamp, from: u64, to: u64) {
        while self.blocks.back().is_some_and(|(number, _)| *number > from.min(to)) {
            self.blocks.pop_back();
        }
        let first = (from + 1).max(to.saturating_sub(ARRIVALS_MAX as u64 - 1));
        self.blocks.extend((first..=to).map(|number| (number, now)));
        while self.blocks.len() > ARRIVALS_MAX {
            self.blocks.pop_front();
        }
    }

    /// Whether a block that comes now is no later than others' by more than a block time.
    pub(super) fn is_in_time(&self, now: Timestamp, number: u64, block_time: Duration) -> bool {
        let at = self.blocks.partition_point(|(known, _)| *known < number);
        let newest = self.blocks.back().map_or(0, |(newest, _)| *newest);
        match self.blocks.get(at) {
            Some((known, at)) if *known == number => {
                now.since(*at) <= (block_time * LATE_BLOCKS).max(LATE_MIN)
            }
            _ => number > newest,
        }
    }

    /// When the first block above this height came that came after `since`, or with it.
    fn first_above(&self, number: u64, since: Timestamp) -> Option<Timestamp> {
        let after = |(known, at): &&(u64, Timestamp)| *known > number && *at >= since;
        self.blocks.iter().find(after).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests;
