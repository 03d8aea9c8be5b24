//! Whether an answer may be kept, what it then rests on, and whether that still stands. Pure.

use crate::chain::BlockId;
use crate::ethereum::{BlockNeeds, BlockRef, BlockTag, CacheRule, Method, MethodKind, Semantics};
use crate::policy::Timestamp;
use alloy_primitives::B256;

use super::shape::{Shape, block_of, blocks_of};
use super::view::View;

/// What an answer depends on, as far as the question tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing that changes.
    Nothing,
    /// The chain up to this height.
    Height(u64),
    /// The block of this hash.
    Hash(B256),
    /// Wherever the chain stands.
    Head,
    /// The answer itself says in which block it lies.
    Told,
}

/// A question whose answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    basis: Basis,
    shape: Shape,
    /// Several blocks are read, so that one of them proves nothing of the others.
    is_range: bool,
    /// Milliseconds after which it is asked anew in any case.
    ttl_ms: Option<u32>,
    /// Only what names its own block may be kept.
    only_verified: bool,
    /// It has nothing to do with where the chain stands.
    is_constant: bool,
}

impl Ask {
    /// What is known of a question, its tags already numbers; `None` where the answer is not to be kept. `can_be_changed`:
    /// the state of this chain's blocks can be changed from outside, as development nodes allow.
    pub fn of(method: &Method, needs: &BlockNeeds, can_be_changed: bool) -> Option<Self> {
        // Where the chain stands is told by those who follow it; what waits for a block is never kept.
        if method.name == "eth_blockNumber" || method.semantics == Semantics::Mempool {
            return None;
        }
        let shape = Shape::of(method);
        let named = match *needs {
            BlockNeeds::None => None,
            BlockNeeds::At(block) => Some(basis_of(block)?),
            BlockNeeds::Range { from, to } => {
                let (Basis::Height(from), Basis::Height(to)) = (basis_of(from)?, basis_of(to)?) else {
                    return None;
                };
                Some(Basis::Height(from.max(to)))
            }
            BlockNeeds::Unreadable => return None,
        };
        let is_constant = method.kind == MethodKind::Constant || method.semantics == Semantics::Constant;
        let (basis, ttl_ms) = match method.cache {
            CacheRule::Never => return None,
            CacheRule::Forever => (Basis::Nothing, None),
            CacheRule::ShortTtl { ms } => (named.unwrap_or(Basis::Nothing), Some(ms)),
            CacheRule::ByHead => (Basis::Head, None),
            CacheRule::WhenFinalized => match named {
                Some(named) => (named, None),
                None if shape == Shape::Placed => (Basis::Told, None),
                None => return None,
            },
        };
        // What is "for ever" about something by its hash is so only as long as its block is there, and the answer names none.
        if method.cache == CacheRule::Forever && !is_constant {
            return None;
        }
        if can_be_changed && !is_constant && shape == Shape::Opaque {
            return None;
        }
        let is_range = matches!(needs, BlockNeeds::Range { .. });
        Some(Self { basis, shape, is_range, ttl_ms, only_verified: can_be_changed, is_constant })
    }
}

impl Ask {
    /// Whether the answer may come to rest on what is final.
    pub fn may_be_final(&self) -> bool {
        self.ttl_ms.is_none() && matches!(self.basis, Basis::Height(_) | Basis::Hash(_) | Basis::Told)
    }
}

fn basis_of(block: BlockRef) -> Option<Basis> {
    match block {
        BlockRef::Number(number) => Some(Basis::Height(number)),
        BlockRef::Tag(BlockTag::Earliest) => Some(Basis::Height(0)),
        BlockRef::Hash { hash, .. } => Some(Basis::Hash(hash)),
        // Not known here what it is.
        BlockRef::Tag(_) => None,
    }
}

/// What a kept answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footing {
    rests: Rests,
    /// The moment of the question.
    since: u64,
    /// Who answered; no matter where the answer names the block that it is from.
    backend: Option<u16>,
    /// When it is asked anew in any case.
    until: Option<Timestamp>,
}

/// On what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rests {
    Nothing,
    Head(BlockId),
    Block { number: u64, hash: Option<B256> },
}

impl Footing {
    /// Whether it rests on a block that is final: it may outlive the process.
    pub fn is_final(&self, view: &View) -> bool {
        self.until.is_none() && matches!(self.rests, Rests::Block { number, .. } if view.is_final(number))
    }

    /// The height that it rests on.
    pub fn height(&self) -> Option<u64> {
        match self.rests {
            Rests::Block { number, .. } => Some(number),
            Rests::Head(id) => Some(id.number),
            Rests::Nothing => None,
        }
    }

    /// What was final when it was written down, found again.
    pub fn found(number: u64, view: &View) -> Self {
        Self { rests: Rests::Block { number, hash: None }, since: view.moment(), backend: None, until: None }
    }
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The result's JSON text.
    pub result: &'a [u8],
    /// Who gave it, by its place.
    pub backend: usize,
}

/// What an answer rests on, where it may be kept: `asked` is the chain when the question was put, `now` the present one.
/// Null is never kept, nor what comes from a backend that did not have the block at both moments, unless the answer
/// itself names the served block that it is from.
pub fn keep(ask: &Ask, asked: &View, now: &View, at: Timestamp, answer: Answer<'_>) -> Option<Footing> {
    let Answer { result, backend } = answer;
    let result = result.trim_ascii();
    if result.is_empty() || result == b"null" {
        return None;
    }
    let proven = |number: u64| asked.proves(backend, number) && now.proves(backend, number);
    // In the meantime the question may have become another one.
    let same = |number: u64| now.spares(number, asked.moment());
    let rests = match ask.basis {
        Basis::Nothing if ask.is_constant => Some((Rests::Nothing, true)),
        Basis::Nothing => {
            let tip = now.tip()?;
            proven(asked.tip()?.number.min(tip.number)).then_some((Rests::Nothing, false))
        }
        Basis::Head => {
            let tip = now.tip().filter(|tip| asked.tip() == Some(*tip))?;
            (proven(tip.number) && same(tip.number)).then_some((Rests::Head(tip), false))
        }
        Basis::Height(number) => at_height(ask, asked, now, number, result, &proven),
        Basis::Hash(hash) => match now.height_of(hash) {
            Some(number) => at_height(ask, asked, now, number, result, &proven),
            None => told(ask, now, result, &proven, Some(hash)),
        },
        Basis::Told => told(ask, now, result, &proven, None),
    };
    let (rests, verified) = rests?;
    if let Rests::Block { number, .. } = rests
        && !same(number)
    {
        return None;
    }
    if ask.only_verified && !verified {
        return None;
    }
    let backend = if verified { None } else { Some(u16::try_from(backend).ok()?) };
    let until = ask.ttl_ms.map(|ms| at + std::time::Duration::from_millis(ms.into()));
    Some(Footing { rests, since: asked.moment(), backend, until })
}

/// About a block whose height is known.
fn at_height(
    ask: &Ask,
    asked: &View,
    now: &View,
    number: u64,
    result: &[u8],
    proven: &impl Fn(u64) -> bool,
) -> Option<(Rests, bool)> {
    let hash = now.hash_at(number);
    if hash.is_none() && !(now.is_below(number) && now.is_final(number)) {
        return None;
    }
    // Which block it was when the question was put is known, or it was final already.
    if hash.is_some() && asked.hash_at(number) != hash {
        return None;
    }
    let rests = Rests::Block { number, hash };
    let names_it = |block: &BlockId| block.number == number && hash.is_none_or(|hash| block.hash == hash);
    match ask.shape {
        Shape::Block | Shape::Placed => {
            let block = block_of(ask.shape, result)?;
            let verified = hash.is_some();
            (names_it(&block) && (verified || proven(number))).then_some((rests, verified))
        }
        Shape::PlacedEach => {
            let blocks = blocks_of(result)?;
            // Of nothing nobody can tell whose nothing it is, and nodes know a block before they have its logs.
            if blocks.is_empty() && !now.is_final(number) {
                return None;
            }
            let contradicted = |block: &BlockId| {
                block.number > number || now.hash_at(block.number).is_some_and(|hash| hash != block.hash)
            };
            if blocks.iter().any(contradicted) {
                return None;
            }
            let verified =
                !ask.is_range && hash.is_some() && !blocks.is_empty() && blocks.iter().all(names_it);
            (verified || proven(number)).then_some((rests, verified))
        }
        Shape::Opaque => proven(number).then_some((rests, false)),
    }
}

/// About a block that the answer has to name.
fn told(
    ask: &Ask,
    now: &View,
    result: &[u8],
    proven: &impl Fn(u64) -> bool,
    hash: Option<B256>,
) -> Option<(Rests, bool)> {
    let block = block_of(ask.shape, result)?;
    if hash.is_some_and(|hash| block.hash != hash) {
        return None;
    }
    match now.hash_at(block.number) {
        Some(served) => (served == block.hash)
            .then_some((Rests::Block { number: block.number, hash: Some(served) }, true)),
        None => (now.is_below(block.number) && now.is_final(block.number) && proven(block.number))
            .then_some((Rests::Block { number: block.number, hash: None }, false)),
    }
}

/// Whether what an answer rests on still stands.
pub fn holds(footing: &Footing, now: &View, at: Timestamp) -> bool {
    if footing.until.is_some_and(|until| at >= until) {
        return false;
    }
    let vouched = |number: u64| {
        footing.backend.is_none_or(|backend| now.vouches(usize::from(backend), number, footing.since))
    };
    match footing.rests {
        Rests::Nothing => true,
        Rests::Head(tip) => now.tip() == Some(tip) && vouched(tip.number),
        Rests::Block { number, hash } => {
            let stands = match (now.hash_at(number), hash) {
                (Some(served), Some(hash)) => served == hash,
                // It was final and below what is kept, and still nothing has come in its place.
                (Some(_), None) => true,
                (None, _) => now.is_below(number) && now.is_final(number),
            };
            stands && now.spares(number, footing.since) && vouched(number)
        }
    }
}
