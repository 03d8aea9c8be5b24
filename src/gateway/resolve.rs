//! Which block a call rests on: tags become numbers, once per packet, and whoever lacks the block is not asked.

use std::borrow::Cow;

use serde_json::value::RawValue;
use tokio::time::timeout_at;

use crate::chain::Follower;
use crate::ethereum::{BlockNeeds, BlockRef, BlockTag, MethodKind, block_refs, pin_blocks};
use crate::policy::{Depth, Named, Rests, Timestamp};

use super::call::Call;
use super::chain::Chain;

/// The chain as one packet sees it: `latest` of all its calls is the same block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// What `latest` is; `None` where it is not known well enough, and backends decide.
    pub(super) latest: Option<u64>,
    /// What clients were told: no number that they get is lower.
    pub(super) promised: Option<u64>,
    safe: Option<u64>,
    finalized: Option<u64>,
}

impl Sight {
    /// What is known now. A chain that nobody has looked at for a while is looked at first.
    pub(super) async fn of(chain: &Chain) -> Self {
        let seen = {
            let now = chain.now();
            let follower = &mut chain.decide().follower;
            follower.used(now, false, false);
            Self::through(follower, now)
        };
        let Some(until) = chain.wait_for_sight(seen.latest.is_some()) else { return seen };
        let is_current = || chain.decide().follower.is_current(chain.now());
        let _ = Box::pin(timeout_at(until, chain.tip.current(is_current))).await;
        Self::through(&chain.decide().follower, chain.now())
    }

    /// The same without waiting.
    pub(super) fn now(chain: &Chain) -> Self {
        Self::through(&chain.decide().follower, chain.now())
    }

    fn through(follower: &Follower, now: Timestamp) -> Self {
        let promised = follower.head().map(|head| head.number);
        Self {
            latest: follower.latest(now),
            promised,
            safe: follower.safe(),
            finalized: follower.finalized(),
        }
    }

    /// What is left to be seen where nobody who has the head can be reached any more.
    pub(super) fn lowered(&self, chain: &Chain) -> Option<Self> {
        let reachable = chain.decide().follower.reachable(chain.now())?;
        (reachable < self.latest.or(self.promised)?).then_some(Self { latest: Some(reachable), ..*self })
    }

    /// What a tag is.
    pub(super) fn number(&self, tag: BlockTag) -> Option<u64> {
        match tag {
            BlockTag::Latest => self.latest,
            BlockTag::Safe => self.safe,
            BlockTag::Finalized => self.finalized,
            BlockTag::Earliest | BlockTag::Pending => None,
        }
    }
}

/// Whether a call has anything to do with blocks that move.
pub(super) fn needs_sight(call: &Call<'_>) -> bool {
    call.method.is_listed() && call.method.kind != MethodKind::TxSubmit && !call.method.is_for_relays()
}

/// Writes the numbers of what is seen into a call, and says what it rests on.
pub(super) fn resolve(chain: &Chain, call: &mut Call<'_>, sight: &Sight) -> (Rests, Option<Depth>) {
    let needs = block_refs(call.method, call.params.as_deref());
    let settled = needs.mentions(BlockTag::Safe) || needs.mentions(BlockTag::Finalized);
    let pending = needs.mentions(BlockTag::Pending);
    if settled || pending {
        chain.decide().follower.used(chain.now(), settled, pending);
    }
    let rests = rests_on(chain, call, &needs, sight);
    if pins(call)
        && let Some(pinned) = pin_blocks(call.method, call.params.as_deref(), |tag| sight.number(tag))
    {
        call.params = Some(Cow::Owned(pinned));
    }
    call.height = served_height(&needs, sight);
    // A block that is served is there: whoever does not know it lags.
    call.known_to_exist |= call.height.is_some() && call.method.gives_a_block();
    let oldest = needs.refs().filter_map(|block| named_height(block, sight)).min();
    let depth = oldest.zip(sight.latest).map(|(oldest, latest)| latest.saturating_sub(oldest));
    (rests, depth.and_then(|blocks| Depth::of(call.method.archive, blocks)))
}

/// The height of the served block that a call names by number. Whoever does not know that one lags; of a block beyond the
/// head, or of one that is named by its hash and may be on no branch at all, nobody has to know.
fn served_height(needs: &BlockNeeds, sight: &Sight) -> Option<u64> {
    let heights: Option<Vec<u64>> = needs.refs().map(|block| named_height(block, sight)).collect();
    heights?.into_iter().max().filter(|height| Some(*height) <= sight.latest)
}

fn named_height(block: BlockRef, sight: &Sight) -> Option<u64> {
    match block {
        BlockRef::Number(number) => Some(number),
        BlockRef::Tag(BlockTag::Earliest) => Some(0),
        BlockRef::Tag(tag) => sight.number(tag),
        BlockRef::Hash { .. } => None,
    }
}

/// Where none is written and nodes may take none, none is added.
pub(super) fn pins(call: &Call<'_>) -> bool {
    !call.method.may_take_no_block() || call.params.as_deref().is_some_and(has_second)
}

fn has_second(params: &RawValue) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(params.get()).is_ok_and(|params| params.len() > 1)
}

fn rests_on(chain: &Chain, call: &Call<'_>, needs: &BlockNeeds, sight: &Sight) -> Rests {
    let height_of = |block: BlockRef| match block {
        BlockRef::Number(number) => Some(number),
        BlockRef::Tag(tag) => sight.number(tag),
        BlockRef::Hash { hash, .. } => chain.decide().follower.height_of(hash),
    };
    let named = match needs {
        BlockNeeds::None => Named::Nothing,
        _ if needs.mentions(BlockTag::Pending) => Named::Pending,
        _ => Named::UpTo(needs.refs().filter_map(height_of).max()),
    };
    // Where it is not known well enough what `latest` is, a backend says: one that has what clients were told. To the number
    // alone that is no matter, since no lower one is told.
    if call.method.name == "eth_blockNumber" && sight.latest.is_none() {
        return Rests::OnTheChain;
    }
    Rests::of(call.method, named, sight.latest.or(sight.promised))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    #[test]
    fn c2_only_a_served_block_that_is_named_by_number_shows_who_lags() {
        let sight = Sight { latest: Some(10), safe: Some(6), ..Sight::default() };
        let tag = BlockRef::Tag;
        let hash = BlockRef::Hash { hash: B256::ZERO, require_canonical: false };
        let at = BlockNeeds::At;
        for (needs, height) in [
            (at(BlockRef::Number(7)), Some(7)),
            (at(tag(BlockTag::Latest)), Some(10)),
            (at(tag(BlockTag::Safe)), Some(6)),
            (at(tag(BlockTag::Earliest)), Some(0)),
            (BlockNeeds::Range { from: BlockRef::Number(3), to: tag(BlockTag::Latest) }, Some(10)),
            // Beyond the head, or not known: nobody has to have it.
            (at(BlockRef::Number(11)), None),
            (BlockNeeds::Range { from: BlockRef::Number(3), to: BlockRef::Number(11) }, None),
            (at(tag(BlockTag::Finalized)), None),
            (at(tag(BlockTag::Pending)), None),
            // A hash that is not found may be of a block that was dropped, or of none.
            (at(hash), None),
            (BlockNeeds::None, None),
            (BlockNeeds::Unreadable, None),
        ] {
            assert_eq!(served_height(&needs, &sight), height, "{needs:?}");
        }
        let unseen = Sight::default();
        assert_eq!(served_height(&at(BlockRef::Number(7)), &unseen), None);
    }
}
