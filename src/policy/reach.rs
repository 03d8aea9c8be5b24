//! What of the chain a backend has, and what of it a request rests on.

use std::time::Duration;

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

/// How far a backend is behind the served head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lag {
    /// A height that it lacks, and since when that has been so.
    lacks: Option<(u64, Timestamp)>,
}

impl Lag {
    /// It has this height while `served` is the head. One that keeps coming, always a little late, is not further behind than
    /// that; one that stands still is behind from the first block on that it missed.
    pub(super) fn follow(&mut self, now: Timestamp, has: Option<u64>, served: u64) {
        self.lacks = match (has, self.lacks) {
            (Some(has), _) if has >= served => None,
            (Some(has), Some((height, since))) if has < height => Some((height, since)),
            (Some(_), _) => Some((served, now)),
            (None, _) => None,
        };
    }

    /// For how long it has lacked a block that was served.
    pub(super) fn lasts(&self, now: Timestamp) -> Duration {
        self.lacks.map_or(Duration::ZERO, |(_, since)| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h11_who_keeps_coming_a_little_late_lags_by_that_and_who_stands_still_ever_more() {
        let at = |ms: u64| Timestamp::ZERO + Duration::from_millis(ms);
        let (mut late, mut frozen) = (Lag::default(), Lag::default());
        // A block every quarter of a second.
        for served in 100..200u64 {
            let now = at(250 * (served - 100));
            late.follow(now, Some(served - 3), served);
            frozen.follow(now, Some(90), served);
            assert!(late.lasts(now) <= Duration::from_millis(750), "{:?}", late.lasts(now));
            assert_eq!(frozen.lasts(now), now.since(at(0)));
        }
        late.follow(at(60_000), Some(200), 200);
        assert_eq!(late.lasts(at(60_000)), Duration::ZERO);
    }
}
