//! Which of two branches is followed, and what people are told of it.

use alloy_primitives::B256;

use super::block::BlockId;
use super::follower::Follower;
use crate::policy::{BackendSet, Timestamp};

/// A branch that is so many blocks shorter has lost the power that makes blocks, whoever still follows it: a network
/// whose minority split off makes them at the minority's rate.
const SHORTER_BY: u64 = 3;
/// Against that, a taller branch needs so many independent voices: one alone could make anything up.
const VOICES: u32 = 2;

/// A branch with more voices that is no longer than the served one takes over when it has not fallen further behind
/// after so many block times.
pub(super) const SHORTER_HOLD_BLOCKS: u32 = 3;

/// A branch that would take over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    /// Its first block.
    pub(super) first: B256,
    /// Since when it has more voices.
    pub(super) since: Timestamp,
    /// By how many blocks it was shorter then.
    pub(super) behind: u64,
}

/// One side of a disagreement.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) voices: BackendSet,
    /// How many of them are independent.
    pub(super) weight: u32,
    /// The highest head among them.
    pub(super) height: u64,
    pub(super) tops: Vec<BlockId>,
}

/// Whether the challenger takes the place of the defender. `pinned` tells on whose side the operator's block is.
/// Equal weight changes nothing: without a reason, no choice.
pub(super) fn prevails(challenger: &Side, defender: &Side, pinned: Option<bool>) -> bool {
    if let Some(pinned) = pinned {
        return pinned && challenger.weight > 0;
    }
    let outgrows = |tall: &Side, short: &Side| {
        tall.height >= short.height + SHORTER_BY && tall.weight >= VOICES.min(short.weight)
    };
    if outgrows(challenger, defender) {
        return true;
    }
    if outgrows(defender, challenger) && defender.weight > 0 {
        return false;
    }
    challenger.weight > defender.weight
}

/// A disagreement that goes on.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The last block that all share.
    pub ancestor: BlockId,
    /// Since when.
    pub since: Timestamp,
    /// The served branch and the others.
    pub branches: Vec<Branch>,
    /// No branch has more independent voices, and no operator has chosen: what was served stays.
    pub is_undecided: bool,
    pub(super) is_told: bool,
    /// The branch that was there first, where the disagreement is about the next block and nobody has decided: what
    /// clients have seen beyond the ancestor is most likely of it.
    pub(super) held_to: Option<B256>,
}

impl Fork {
    /// Whether whoever is on this branch answers nothing while nobody decides, so that clients are never told of both.
    pub(super) fn leaves_out(&self, parent: u64, first: B256) -> bool {
        self.is_told && parent == self.ancestor.number && self.held_to.is_some_and(|held_to| held_to != first)
    }
}

/// One branch of a fork.
#[derive(Clone, Copy, Debug)]
pub struct Branch {
    /// Its first block.
    pub first: B256,
    /// Height of the block before that.
    pub parent: u64,
    /// Who is on it.
    pub voices: BackendSet,
    /// How many of them are independent.
    pub weight: u32,
    /// Its height.
    pub height: u64,
}

impl Branch {
    /// Whether it is the one that is served.
    pub fn is_served(&self, follower: &Follower) -> bool {
        follower.served(self.parent + 1).is_some_and(|block| block.id.hash == self.first)
    }
}
