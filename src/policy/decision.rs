//! Recent decisions with their candidates, so that each can be explained afterwards (BEHAVIOURS H14).
//!
//! Written for every decision, so it costs one copy of a few hundred bytes into a ring and no allocation.

use std::time::Duration;

use crate::ethereum::MethodClass;

use super::Timestamp;
use super::set::BackendIndex;

/// Decisions kept per chain.
const KEPT: usize = 128;
/// Candidates kept per decision, the best first.
pub const CANDIDATES_MAX: usize = 8;

/// Why a backend was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It serves in calm weather, and nobody was clearly better.
    Favourite,
    /// The favourite fails at this class of methods; this one serves it meanwhile.
    FavouriteOfClass,
    /// It looked best, and serves from now on.
    Best,
    /// The favourite sat this one out: near its limit, partly back, or without this method.
    InsteadOfFavourite,
    /// It took the transaction that is asked about.
    KnowsMost,
    /// It has not been measured lately.
    Explored,
    /// Nobody else will do: it made the filter.
    Only,
    /// Others had been asked before; it shares least with them.
    Another,
    /// Nobody well was left: the least bad.
    LastResort,
}

/// One backend that could have been chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub backend: BackendIndex,
    /// Not well, or left out of this one by lot: asked when nobody better was left.
    pub doubtful: bool,
    /// Failed last time.
    pub failing: bool,
    /// Serves only when no primary can.
    pub backup: bool,
    /// Points of overlap with the failure domains of those asked before.
    pub overlap: u32,
    /// Expected cost: latency, and for its failures a second attempt.
    pub cost: Duration,
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// For what kind of method.
    pub class: MethodClass,
    /// Who.
    pub chosen: BackendIndex,
    /// Why.
    pub why: Why,
    candidates: [Option<Candidate>; CANDIDATES_MAX],
}

impl Decision {
    /// The candidates, the best first, at most [`CANDIDATES_MAX`].
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().flatten()
    }
}

/// The latest decisions.
#[derive(Debug)]
pub struct Decisions {
    ring: Vec<Decision>,
    next: usize,
}

impl Default for Decisions {
    fn default() -> Self {
        Self { ring: Vec::with_capacity(KEPT), next: 0 }
    }
}

impl Decisions {
    pub(super) fn write(
        &mut self,
        at: Timestamp,
        class: MethodClass,
        chosen: BackendIndex,
        why: Why,
        candidates: Shortlist,
    ) {
        let decision = Decision { at, class, chosen, why, candidates: candidates.0 };
        if self.ring.len() < KEPT {
            self.ring.push(decision);
        } else {
            self.ring[self.next] = decision;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Decision> {
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        newer.iter().rev().chain(older.iter().rev())
    }
}

/// The best candidates of one decision, kept in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shortlist(pub(super) [Option<Candidate>; CANDIDATES_MAX]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_decisions_are_kept_in_order() {
        let mut decisions = Decisions::default();
        for n in 0..300u64 {
            let at = Timestamp::ZERO + Duration::from_secs(n);
            let chosen = BackendIndex::at(n as usize % 3);
            decisions.write(at, MethodClass::State, chosen, Why::Favourite, Shortlist::default());
        }
        let ages: Vec<u64> = decisions.iter().map(|decision| decision.at.since_origin().as_secs()).collect();
        assert_eq!(ages, (300 - KEPT as u64..300).rev().collect::<Vec<_>>());
    }
}
