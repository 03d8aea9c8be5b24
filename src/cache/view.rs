//! The chain as answers are held against it: the served blocks, what is final, where each backend stands, and how far
//! back each of these has changed its mind since a given moment.

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_primitives::B256;

use crate::chain::{BlockId, Follower};
use crate::policy::{BackendIndex, Timestamp};

/// Changes of mind that are told apart; older ones are lumped together, which only ever drops more.
const BREAKS_MAX: usize = 32;

/// What the follower knows at one moment, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Height of the first of `served`.
    pub base: u64,
    /// Hashes of the served blocks that are kept, the oldest first, each the parent of the next.
    pub served: Arc<[B256]>,
    /// The last final block.
    pub finalized: Option<u64>,
    /// Every backend, in their order.
    pub backends: Vec<Sight>,
}

/// Where a backend stands at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The block that it showed last.
    pub tip: Option<BlockId>,
    /// Height of the last served block from which that one descends; `None` where that is not known.
    pub joined: Option<u64>,
    /// The height that every node behind its URL has.
    pub has: Option<u64>,
    /// It is on another branch, or lies.
    pub astray: bool,
}

impl Picture {
    /// What a follower of these backends knows now; the blocks are not copied where `known` has the same.
    fn of(
        follower: &Follower,
        now: Timestamp,
        backends: impl Iterator<Item = BackendIndex>,
        known: &Self,
    ) -> Self {
        let mut window = follower.window();
        let base = window.next().map_or(0, |block| block.id.number);
        let head = window.next_back().or_else(|| follower.window().next_back()).map(|block| block.id.hash);
        // Each block is the parent of the next: the last one stands for all.
        let is_known = known.base == base && known.served.last().copied() == head;
        let served = match is_known {
            true => known.served.clone(),
            false => follower.window().map(|block| block.id.hash).collect(),
        };
        let backends = backends
            .map(|backend| {
                let standing = follower.standing(now, backend);
                Sight {
                    tip: follower.tip_of(backend),
                    joined: follower.joined_at(backend),
                    has: standing.has,
                    astray: standing.quarantine.is_some(),
                }
            })
            .collect();
        Self { base, served, finalized: follower.finalized(), backends }
    }
}

/// From which height on something is not what it was before, and since when. Heights grow with time: a later change
/// that goes as deep makes an earlier one unimportant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Breaks(VecDeque<(u64, u64)>);

impl Breaks {
    fn add(&mut self, at: u64, from_height: u64) {
        while self.0.back().is_some_and(|(_, height)| *height >= from_height) {
            self.0.pop_back();
        }
        self.0.push_back((at, from_height));
        if self.0.len() > BREAKS_MAX
            && let Some((_, deepest)) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.1 = deepest;
        }
    }

    /// Whether what was true of a height at a moment still is.
    fn spare(&self, height: u64, since: u64) -> bool {
        !self.0.iter().any(|(at, from)| *at > since && *from <= height)
    }
}

/// One backend as answers are held against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    sight: Sight,
    breaks: Breaks,
}

/// The chain at one moment, with its past as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Counts pictures that differ.
    moment: u64,
    picture: Picture,
    breaks: Breaks,
    backends: Vec<Seen>,
}

impl View {
    /// The moment, for [`View::spares`].
    pub fn moment(&self) -> u64 {
        self.moment
    }

    /// The served head, where its block is known.
    pub fn tip(&self) -> Option<BlockId> {
        let hash = *self.picture.served.last()?;
        Some(BlockId { number: self.picture.base + self.picture.served.len() as u64 - 1, hash })
    }

    /// The served block at a height, where it is kept.
    pub fn hash_at(&self, number: u64) -> Option<B256> {
        let at = usize::try_from(number.checked_sub(self.picture.base)?).ok()?;
        self.picture.served.get(at).copied()
    }

    /// The height of a served block that is kept.
    pub fn height_of(&self, hash: B256) -> Option<u64> {
        // The newest are asked for most.
        let at = self.picture.served.iter().rposition(|served| *served == hash)?;
        Some(self.picture.base + at as u64)
    }

    /// Whether a height is below all blocks that are kept.
    pub fn is_below(&self, number: u64) -> bool {
        !self.picture.served.is_empty() && number < self.picture.base
    }

    /// Whether a height is final.
    pub fn is_final(&self, number: u64) -> bool {
        self.picture.finalized.is_some_and(|finalized| number <= finalized)
    }

    /// Whether the served chain up to a height is what it was at a moment.
    pub fn spares(&self, number: u64, since: u64) -> bool {
        self.breaks.spare(number, since)
    }

    /// Whether a backend has, as far as anybody knows, not been on another branch at a height since a moment.
    pub fn vouches(&self, backend: usize, number: u64, since: u64) -> bool {
        self.backends.get(backend).is_some_and(|seen| seen.breaks.spare(number, since))
    }

    /// Whether a backend has shown that it has the served block at a height: its own head descends from it, and no
    /// node behind its URL is known to be lower.
    pub fn proves(&self, backend: usize, number: u64) -> bool {
        self.backends.get(backend).is_some_and(|seen| {
            let Sight { joined, has, astray, .. } = seen.sight;
            !astray && joined.is_some_and(|at| at >= number) && has.is_some_and(|has| has >= number)
        })
    }

    /// The view after this one, of a follower of these backends; `None` where nothing has changed.
    pub fn after(
        &self,
        follower: &Follower,
        now: Timestamp,
        backends: impl Iterator<Item = BackendIndex>,
    ) -> Option<Self> {
        self.then(Picture::of(follower, now, backends, &self.picture))
    }

    /// The same, of what is known as plain data.
    pub fn then(&self, picture: Picture) -> Option<Self> {
        if picture == self.picture {
            return None;
        }
        let moment = self.moment + 1;
        let mut breaks = self.breaks.clone();
        if let Some(from) = first_lost(&self.picture, &picture) {
            breaks.add(moment, from);
        }
        let head = picture.base + (picture.served.len() as u64).saturating_sub(1);
        let backends = picture
            .backends
            .iter()
            .enumerate()
            .map(|(at, sight)| {
                let before = self.backends.get(at);
                let mut breaks = before.map_or_else(Breaks::default, |seen| seen.breaks.clone());
                let moved = before
                    .is_none_or(|seen| (seen.sight.tip, seen.sight.joined) != (sight.tip, sight.joined));
                // Above the place where it left the served chain it may have been elsewhere for a while already.
                if let (Some(tip), Some(joined), true) = (sight.tip, sight.joined, moved)
                    && joined < tip.number
                    && joined < head
                {
                    breaks.add(moment, joined + 1);
                }
                Seen { sight: *sight, breaks }
            })
            .collect();
        Some(Self { moment, picture, breaks, backends })
    }
}

/// The lowest height whose block is not certain to be the same in both.
fn first_lost(before: &Picture, after: &Picture) -> Option<u64> {
    if before.served.is_empty() {
        return None;
    }
    let head_before = before.base + before.served.len() as u64 - 1;
    let hash = |picture: &Picture, number: u64| {
        let at = usize::try_from(number.checked_sub(picture.base)?).ok()?;
        picture.served.get(at).copied()
    };
    // Each block is the parent of the next, so that one that is the same vouches for all before it.
    let same = (after.base.max(before.base)..=head_before)
        .rev()
        .find(|number| hash(before, *number) == hash(after, *number));
    match same {
        Some(number) if number == head_before => None,
        Some(number) => Some(number + 1),
        // Blocks are missing in between, and what was final stays so.
        None if after.base > head_before => Some(before.finalized.map_or(0, |finalized| finalized + 1)),
        // Another chain, as far as can be seen.
        None => Some(0),
    }
}
