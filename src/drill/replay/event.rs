//! What happens in a replay, and in which order.

use std::cmp::Ordering;

use super::super::world::Reply;
use super::journal::Found;
use crate::chain::BlockId;
use crate::policy::{Question, Timestamp};

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Read,
    Transaction,
    /// The oldest of the repetitions that wait.
    Again,
    Timer {
        request: u32,
        generation: u32,
    },
    Ended {
        request: u32,
        generation: u32,
        nth: u8,
    },
    Probe {
        backend: u8,
    },
    Probed {
        backend: u8,
        question: Question,
        reply: Reply,
        took_us: u32,
    },
    Aside {
        backend: u8,
        method: u8,
        reply: Reply,
        took_us: u32,
        /// Where its answer can be compared with the client's.
        compared: Option<u32>,
    },
    Look,
    /// Whether backends are to be asked where the chain stands.
    Follow,
    /// What a backend showed of it has come.
    Shown {
        backend: u8,
    },
    /// A backend beside a transaction's flight has said something of it, or has not in time.
    Lane {
        number: u32,
        backend: u8,
        reply: Reply,
        took_us: u32,
        /// Not one of those who get it again.
        is_first: bool,
    },
    /// A refusal has waited long enough for others.
    NoOpinion {
        number: u32,
    },
    /// What became of a transaction was looked up; by whom it was found.
    Concluded {
        number: u32,
        by: Option<u8>,
    },
    /// What backends said of one that is out.
    Found {
        number: u32,
        found: Found,
    },
    /// A block's transactions are asked for once more.
    ReadBlock {
        block: BlockId,
        turns: u8,
    },
    /// The others who were asked for a nonce are waited for no longer.
    Merged {
        request: u32,
        generation: u32,
    },
}

pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) sequence: u64,
    pub(super) what: What,
}

impl Event {
    /// Time first; what falls on one instant happens in the order in which it was arranged.
    fn order(&self) -> u128 {
        u128::from(self.at.nanos()) << 64 | u128::from(self.sequence)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.order().cmp(&self.order())
    }
}
