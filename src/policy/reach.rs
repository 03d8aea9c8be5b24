//! What of the chain a backend has, and what of it a request rests on.

use super::Timestamp;
use crate::ethereum::{Method, Semantics};

/// What of the chain a request rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rests {
    /// Nothing that backends differ in.
    #[default]
    OnNothing,
    /// Some part of the chain, whichever: who follows another branch is no answer.
    OnTheChain,
    /// The block at this height: whoever lacks it cannot answer.
    OnHeight(u64),
    /// What waits for the next block.
    OnPending,
}

/// What a request says of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Nothing.
    Nothing,
    /// The block that is being made.
    Pending,
    /// Blocks up to this height; `None` where that is not known.
    UpTo(Option<u64>),
}

impl Rests {
    /// What a call of this method rests on, while `latest` is served.
    pub fn of(method: &Method, named: Named, latest: Option<u64>) -> Self {
        let Some(latest) = latest else {
            return if method.blocks.is_empty() { Self::OnNothing } else { Self::OnTheChain };
        };
        let needs_no_block = matches!(method.semantics, Semantics::Constant | Semantics::Submit)
            || method.node_local()
            || !method.is_listed();
        match named {
            Named::Nothing if needs_no_block => Self::OnNothing,
            Named::Pending => Self::OnPending,
            // What names no block, names it by a hash that is not known here, or lies beyond the head, is best known to
            // whoever has the head: its `null` means that there is none.
            Named::Nothing | Named::UpTo(None) => Self::OnHeight(latest),
            Named::UpTo(Some(height)) => Self::OnHeight(height.min(latest)),
        }
    }

    /// What two requests rest on that travel together; `None` where nobody could be told apart for both.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (same, other) if same == other => Some(same),
            (Self::OnPending, _) | (_, Self::OnPending) => None,
            (Self::OnHeight(a), Self::OnHeight(b)) => Some(Self::OnHeight(a.max(b))),
            (Self::OnHeight(height), _) | (_, Self::OnHeight(height)) => Some(Self::OnHeight(height)),
            _ => Some(Self::OnTheChain),
        }
    }
}

/// What of the chain a backend has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The greatest height that it surely has; `None` before it has shown any.
    pub has: Option<u64>,
    /// The greatest height that some node behind its URL has: the same, unless several nodes there differ.
    pub claims: Option<u64>,
    /// It follows another branch, or lies.
    pub is_astray: bool,
    /// What it takes for pending is older than its own head.
    pub pending_is_stale: bool,
}

impl Reach {
    /// Whether it may answer what rests on this: never from another branch, never without the block. `is_range`: a
    /// node that lacks the end of a range answers a part of it and says nothing.
    pub(super) fn may_answer(&self, rests: Rests, is_range: bool) -> bool {
        match rests {
            Rests::OnNothing => true,
            Rests::OnTheChain | Rests::OnPending => !self.is_astray,
            // Who has never shown a head may have it: asked last, and the number is in the request.
            Rests::OnHeight(number) => {
                let known = if is_range { self.has } else { self.claims.or(self.has) };
                !self.is_astray && known.is_none_or(|known| known >= number)
            }
        }
    }

    /// Whether others are better for it.
    pub(super) fn is_doubtful(&self, rests: Rests) -> bool {
        match rests {
            Rests::OnNothing | Rests::OnTheChain => false,
            Rests::OnHeight(number) => self.has.is_none_or(|has| has < number),
            Rests::OnPending => self.pending_is_stale,
        }
    }

    /// Whether the block may come to it soon.
    pub(super) fn may_catch_up(&self, rests: Rests) -> bool {
        matches!(rests, Rests::OnHeight(number) if !self.is_astray && self.has.is_some_and(|has| has < number))
    }
}

/// Since when a backend lacks the head that is served, while others have it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lag {
    pub(super) since: Option<Timestamp>,
}
