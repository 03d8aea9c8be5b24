//! The life of one transaction after it was handed in: what has become of it, when it is looked for, and when it is
//! sent again. Pure: what was seen and `now` go in, the next step comes out.
//!
//! The rule behind all of it: a transaction whose nonce is free can still be mined, so it is sent again until it is; one
//! whose nonce is used can not, so nothing more is sent. Neither is final before the block that decided it is.

use std::time::Duration;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::policy::{BackendIndex, BackendSet, Timestamp};

use super::block::BlockId;

/// Blocks between two looks at the most: a transaction that everybody has and nobody mines pays too little, and asking
/// for it does not help.
const PAUSE_BLOCKS_MAX: u64 = 32;
/// The same of a private one. A relay keeps what it takes for some blocks (Flashbots Protect: 25) and never says what it
/// did with it, so that it is given the bytes anew before that.
const RELAY_PAUSE_BLOCKS_MAX: u64 = 16;
/// Where no blocks are seen, time passes for them.
const PAUSE_MIN: Duration = Duration::from_secs(4);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Blocks between finding a nonce used by somebody unknown and believing it: the node that said so may be ahead of those
/// that were asked for the transaction.
const USED_FOR_BLOCKS: u64 = 2;
/// A transaction that is neither mined nor replaced by then expires. Pools forget after hours; two days outlast every
/// outage on record.
pub const EXPIRES_AFTER: Duration = Duration::from_secs(48 * 3600);

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// Written down, and nobody has said yet whether they take it.
    Submitted,
    /// Nobody could be reached; it is sent when somebody can.
    Held,
    /// Some backend has it.
    Pending,
    /// It was taken, and when it was last looked for nobody had it: it is being sent again.
    Dropped,
    /// It is in a block.
    Mined {
        /// Which.
        block: BlockId,
        /// Its place there, from 0.
        index: u64,
    },
    /// It is in a block that no longer changes.
    Finalized {
        /// Which.
        block: BlockId,
        /// Its place there, from 0.
        index: u64,
    },
    /// Its nonce was used by another transaction.
    Replaced {
        /// That one, where it is known.
        by: Option<B256>,
    },
    /// It was not mined in time.
    Expired,
    /// No backend took it, and the sender was told so.
    Refused,
    /// The operator took it back while it was held.
    Cancelled,
}

impl Fate {
    /// The word for lists and counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Held => "held",
            Self::Pending => "pending",
            Self::Dropped => "dropped",
            Self::Mined { .. } => "mined",
            Self::Finalized { .. } => "finalized",
            Self::Replaced { .. } => "replaced",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// The names in the order of a transaction's life.
    pub const NAMES: [&'static str; 10] = [
        "submitted",
        "held",
        "pending",
        "dropped",
        "mined",
        "finalized",
        "replaced",
        "expired",
        "refused",
        "cancelled",
    ];

    /// It may still come into a block, and whoever sent it counts on that.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Held | Self::Pending | Self::Dropped)
    }

    /// Nothing more can become of it by itself. A replacement ends too, once its block is final.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finalized { .. } | Self::Expired | Self::Refused | Self::Cancelled)
    }

    /// Its sender was told that it was taken, or may have been: reads must not deny it.
    pub fn was_promised(self) -> bool {
        matches!(
            self,
            Self::Held | Self::Pending | Self::Dropped | Self::Mined { .. } | Self::Finalized { .. }
        )
    }

    /// Where it stands in the chain.
    pub fn place(self) -> Option<(BlockId, u64)> {
        match self {
            Self::Mined { block, index } | Self::Finalized { block, index } => Some((block, index)),
            _ => None,
        }
    }
}

/// What happened to a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Happened {
    /// A backend took it, or said that it has it already.
    Taken(BackendIndex),
    /// Nobody took it, and its sender was told so.
    Refused,
    /// Nobody could be reached, and its sender was told that it will be sent.
    Held,
    /// The operator takes it back.
    Cancelled,
    /// The chain has grown to this height.
    Grown(u64),
    /// Time has passed; a way may be open again.
    Tick {
        /// Whether any backend can be reached.
        is_reachable: bool,
    },
    /// It is in a block of the served chain.
    Included(BlockId, u64),
    /// Blocks from this height on are no longer what they were.
    RolledBackTo(u64),
    /// This block is part of the served chain: another one at its height is not.
    Served(BlockId),
    /// Blocks up to this height no longer change.
    Settled(u64),
    /// Another transaction of the same sender and nonce is in a block at this height.
    Outrun {
        /// That one.
        by: B256,
        /// Where it is.
        height: u64,
    },
    /// Backends were asked for it.
    Looked(Looked),
}

/// What backends said when they were asked for a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// Who has it, pending.
    pub has: BackendSet,
    /// Who does not.
    pub lacks: BackendSet,
    /// The next nonce of the sender in the chain, where somebody told.
    pub next_nonce: Option<u64>,
    /// The height that they were asked at.
    pub height: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet.
    Nothing,
    /// Ask backends for it, and tell [`Happened::Looked`].
    Look,
    /// Send the same bytes to those among these who can be reached.
    Send(BackendSet),
    /// Send the same bytes to whoever can be reached.
    SendToAll,
    /// It was private for as long as it was to be: send the same bytes to public backends too.
    Escalate,
}

/// One transaction under way.
#[derive(Clone, Debug)]
pub struct Life {
    fate: Fate,
    nonce: Option<u64>,
    expires_at: Timestamp,
    taken_by: BackendSet,
    /// The next look by height, and the blocks between this one and the one after.
    look_at: u64,
    pause_blocks: u64,
    /// The same by time.
    look_by: Timestamp,
    pause: Duration,
    height: u64,
    /// Only relays have it.
    is_private: bool,
    /// When public backends get it, though it is private; `None` once they did, and where they never shall.
    escalates_at: Option<Timestamp>,
    /// The height at which the nonce was found to be used, or the rival is.
    used_at: Option<u64>,
    /// The block of the rival no longer changes.
    is_replaced_for_good: bool,
}

impl Life {
    /// One that was handed in now.
    pub fn begin(now: Timestamp, nonce: Option<u64>, height: u64) -> Self {
        Self::resume(now, nonce, height, Fate::Submitted, Duration::ZERO)
    }

    /// One that was written down before a restart, so old by now. It is looked for at once.
    pub fn resume(now: Timestamp, nonce: Option<u64>, height: u64, fate: Fate, age: Duration) -> Self {
        let fresh = age.is_zero();
        Self {
            fate,
            nonce,
            expires_at: now + EXPIRES_AFTER.saturating_sub(age),
            taken_by: BackendSet::default(),
            look_at: if fresh { height + 1 } else { 0 },
            pause_blocks: 1,
            look_by: if fresh { now + PAUSE_MIN } else { now },
            pause: PAUSE_MIN,
            height,
            is_private: false,
            escalates_at: None,
            used_at: None,
            is_replaced_for_good: false,
        }
    }

    /// The same, for relays only: until then, or for good.
    #[must_use]
    pub fn privately(mut self, until: Option<Timestamp>) -> Self {
        self.is_private = true;
        self.escalates_at = until;
        self
    }

    /// What has become of it.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Who has said that they have it, since it was last found missing everywhere.
    pub fn taken_by(&self) -> BackendSet {
        self.taken_by
    }

    /// Whether nothing more can become of it: it need not be watched.
    pub fn is_over(&self) -> bool {
        self.fate.is_final()
    }

    /// The chain has grown to this height, which concerns it only once it is looked for there.
    pub fn reached(&mut self, height: u64) {
        self.height = self.height.max(height);
    }

    /// The height from which on [`Happened::Grown`] concerns it.
    pub fn looks_from(&self) -> Option<u64> {
        (self.fate.is_open() && self.fate != Fate::Held).then_some(self.look_at)
    }

    /// The time from which on [`Happened::Tick`] concerns it; one that is held besides waits for a way out.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        let look_by = (self.fate != Fate::Held).then_some(self.look_by);
        let wakes_at = [Some(self.expires_at), self.escalates_at, look_by].into_iter().flatten().min();
        wakes_at.filter(|_| self.fate.is_open())
    }

    /// The height of the block that its fate hangs on: when that block goes, so does its fate.
    pub fn hangs_on(&self) -> Option<u64> {
        match self.fate {
            Fate::Mined { block, .. } => Some(block.number),
            // Where that is not known, any block may be the one.
            Fate::Replaced { .. } if !self.is_replaced_for_good => Some(self.used_at.unwrap_or(u64::MAX)),
            _ => None,
        }
    }

    /// Takes note of what happened and says what is to be done.
    pub fn on(&mut self, now: Timestamp, happened: Happened) -> Next {
        match happened {
            Happened::Taken(by) => {
                self.taken_by.insert(by);
                // Who says "already known" of a transaction in a block means just that. A refusal told before this
                // answer came was premature: the transaction is out, and is followed.
                if self.fate.is_open() || self.fate == Fate::Refused {
                    self.fate = Fate::Pending;
                }
            }
            Happened::Refused if self.fate == Fate::Submitted => self.fate = Fate::Refused,
            Happened::Held if self.fate == Fate::Submitted => self.fate = Fate::Held,
            Happened::Cancelled if self.fate == Fate::Held => self.fate = Fate::Cancelled,
            Happened::Refused | Happened::Held | Happened::Cancelled => {}
            Happened::Grown(height) => {
                self.reached(height);
                return self.due(now);
            }
            Happened::Tick { is_reachable } => return self.tick(now, is_reachable),
            Happened::Included(block, index) if !self.fate.is_final() || self.fate == Fate::Expired => {
                self.fate = Fate::Mined { block, index };
                self.used_at = None;
            }
            Happened::Included(..) => {}
            Happened::Served(served) => {
                if let Fate::Mined { block, .. } = self.fate
                    && block.number == served.number
                    && block.hash != served.hash
                {
                    return self.rolled_back(now, served.number);
                }
            }
            Happened::RolledBackTo(height) => return self.rolled_back(now, height),
            Happened::Settled(height) => self.settle(height),
            Happened::Outrun { by, height } if self.fate.is_open() => {
                self.fate = Fate::Replaced { by: Some(by) };
                self.used_at = Some(height);
            }
            Happened::Outrun { .. } => {}
            Happened::Looked(looked) => return self.looked(now, looked),
        }
        Next::Nothing
    }

    fn due(&mut self, now: Timestamp) -> Next {
        let by_height = self.height >= self.look_at;
        if !self.fate.is_open() || self.fate == Fate::Held || !(by_height || now >= self.look_by) {
            return Next::Nothing;
        }
        // Asked once, until the answer or the next pause.
        self.look_at = self.height + self.pause_blocks;
        self.look_by = now + self.pause;
        Next::Look
    }

    fn tick(&mut self, now: Timestamp, is_reachable: bool) -> Next {
        if self.fate.is_open() && now >= self.expires_at {
            self.fate = Fate::Expired;
            return Next::Nothing;
        }
        if self.fate.is_open() && self.escalates_at.is_some_and(|at| now >= at) {
            self.escalates_at = None;
            self.is_private = false;
            self.look_at = self.height + 1;
            return Next::Escalate;
        }
        if self.fate != Fate::Held {
            return self.due(now);
        }
        if !is_reachable || now < self.look_by {
            return Next::Nothing;
        }
        self.look_by = now + PAUSE_MIN;
        Next::SendToAll
    }

    fn rolled_back(&mut self, now: Timestamp, height: u64) -> Next {
        let is_undone = match self.fate {
            _ if self.is_replaced_for_good => false,
            Fate::Mined { block, .. } => block.number >= height,
            Fate::Replaced { .. } => self.used_at.is_none_or(|at| at >= height),
            _ => false,
        };
        if !is_undone {
            return Next::Nothing;
        }
        self.fate = Fate::Pending;
        self.used_at = None;
        self.taken_by = BackendSet::default();
        self.pause_blocks = 1;
        self.pause = PAUSE_MIN;
        self.look_at = self.height + 1;
        self.look_by = now + self.pause;
        Next::SendToAll
    }

    fn settle(&mut self, height: u64) {
        if let Fate::Mined { block, index } = self.fate
            && block.number <= height
        {
            self.fate = Fate::Finalized { block, index };
        }
        self.is_replaced_for_good |= self.is_settled(height);
    }

    /// Whether its replacement no longer changes at this height.
    pub fn is_settled(&self, height: u64) -> bool {
        match self.fate {
            Fate::Replaced { .. } => self.used_at.is_some_and(|at| at <= height),
            fate => fate.is_final(),
        }
    }

    fn looked(&mut self, now: Timestamp, looked: Looked) -> Next {
        if !self.fate.is_open() || self.fate == Fate::Held {
            return Next::Nothing;
        }
        let is_used = self.nonce.zip(looked.next_nonce).is_some_and(|(nonce, next)| next > nonce);
        if is_used {
            // Mined where we have not seen it yet, or replaced: the next looks tell.
            let since = *self.used_at.get_or_insert(looked.height);
            if looked.has.is_empty() && !looked.lacks.is_empty() && looked.height >= since + USED_FOR_BLOCKS {
                self.fate = Fate::Replaced { by: None };
            } else {
                self.look_at = self.look_at.min(self.height + 1);
            }
            return Next::Nothing;
        }
        self.used_at = None;
        if looked.has.is_empty() && looked.lacks.is_empty() {
            // Nobody said anything: the answer is still wanted.
            self.look_at = self.look_at.min(self.height + 1);
            return Next::Nothing;
        }
        for backend in looked.has.iter() {
            self.taken_by.insert(backend);
        }
        for backend in looked.lacks.iter() {
            self.taken_by.remove(backend);
        }
        if looked.has.is_empty() {
            self.fate = Fate::Dropped;
        } else {
            self.fate = Fate::Pending;
        }
        let pause_max = if self.is_private { RELAY_PAUSE_BLOCKS_MAX } else { PAUSE_BLOCKS_MAX };
        self.pause_blocks = (self.pause_blocks * 2).min(pause_max);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.look_by = now + self.pause;
        self.look_at = self.height + self.pause_blocks;
        if looked.has.is_empty() {
            // Nowhere at all: whoever can be reached, and again in the next block if that has not helped.
            self.look_at = self.height + 1;
            self.look_by = now + PAUSE_MIN;
            return Next::SendToAll;
        }
        // That a relay has it does not say that anybody is shown it.
        if self.is_private {
            return Next::SendToAll;
        }
        if looked.lacks.is_empty() { Next::Nothing } else { Next::Send(looked.lacks) }
    }
}

/// The next nonce of a sender: what the chain and pools say (`told`), carried on over those that follow without a gap.
///
/// `known` are the nonces from `told` on that transactions were handed in with, ascending, and whether each is used up: one
/// that was refused, expired or taken back leaves a gap, which is the next nonce. Of those that nobody handed in here, what
/// somebody told a moment ago (`before`) holds.
pub fn next_nonce(told: u64, before: u64, known: impl IntoIterator<Item = (u64, bool)>) -> u64 {
    let mut next = told;
    for (nonce, is_used) in known {
        if nonce > next.max(before) {
            break;
        }
        if !is_used {
            return nonce;
        }
        next = nonce.saturating_add(1);
    }
    next.max(before)
}

#[cfg(test)]
mod tests;
