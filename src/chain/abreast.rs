//! What the follower and the fleet tell each other: who may be asked, what an answer says of its backend, and who has
//! which block. Whoever drives both, by the machine's clock or by a virtual one, does it by these.

use std::sync::Arc;
use std::time::Duration;

use super::block::Block;
use super::follower::{Follower, HashCheck};
use super::look::Look;
use crate::ethereum::Method;
use crate::policy::{BackendIndex, Class, Fleet, Outcome, Reach, Timestamp};

/// What is to be asked of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This, now.
    Ask(Look),
    /// Nothing yet.
    Rest,
    /// Something, and it may not be asked: its budget or its state does not allow it.
    Denied,
}

/// What a backend showed when it was asked.
#[derive(Clone, Debug)]
pub enum Shown {
    /// A block.
    Block(Arc<Block>, HashCheck),
    /// The height of the block that it is making.
    Pending(u64),
    /// No such thing.
    Nothing,
}

impl Follower {
    /// What this backend is to be asked now. A look is booked as under way until [`Self::looked`].
    pub fn turn(
        &mut self,
        now: Timestamp,
        fleet: &mut Fleet,
        backend: BackendIndex,
        is_needed: bool,
    ) -> Turn {
        let Some(look) = self.wanted_look(now, backend) else { return Turn::Rest };
        // Nothing goes on before a gap is filled.
        let is_needed = is_needed || matches!(look, Look::Block(_));
        if !fleet.may_look(now, backend, is_needed) {
            if !fleet.may_be_looked_at(now, backend) {
                self.missed(now, backend, Look::Latest);
            }
            return Turn::Denied;
        }
        self.next_look(now, backend).map_or(Turn::Rest, Turn::Ask)
    }

    /// A look came to this after `took`.
    pub fn looked(
        &mut self,
        now: Timestamp,
        fleet: &mut Fleet,
        (backend, look): (BackendIndex, Look),
        took: Duration,
        outcome: &Outcome,
        shown: Shown,
    ) {
        self.look_ended(backend, look);
        if look == Look::Latest {
            // Only this one says whether anybody is there: others may lack a tag or a block.
            fleet.looked(now, backend, took, outcome);
        }
        match shown {
            Shown::Block(block, check) => match look {
                Look::Latest => self.saw_asked(now, backend, took, block, check),
                Look::Block(hash) if block.id.hash == hash => self.saw_block(now, backend, block, check),
                Look::Finalized | Look::Safe => self.saw_settled(backend, look, block.id.number),
                Look::Block(_) | Look::Pending => {}
            },
            Shown::Pending(number) => self.saw_pending(backend, number),
            Shown::Nothing => {
                let answered = !outcome.hurts_health && outcome.class != Class::RateLimited;
                if answered && !matches!(look, Look::Block(_)) {
                    self.refused(now, backend, look);
                }
                self.missed(now, backend, look);
            }
        }
    }

    /// Tells the fleet who has what, and hears from it who serves.
    pub fn report(&mut self, now: Timestamp, fleet: &mut Fleet) {
        self.served_by(fleet.favourite().map(|(favourite, _)| favourite));
        let served = self.head().map_or(0, |head| head.number);
        for at in 0..fleet.len() {
            let Some(index) = fleet.index(at) else { continue };
            let standing = self.standing(now, index);
            let reach = Reach {
                has: standing.has,
                claims: standing.claims,
                is_astray: standing.quarantine.is_some(),
                pending_is_stale: standing.pending_is_stale,
            };
            fleet.set_reach(now, index, reach, served);
        }
    }

    /// What `latest` is, where that is known well enough. Who has the head may be gone: then it is what the others have.
    pub fn latest(&self, now: Timestamp) -> Option<u64> {
        self.claimed(now).filter(|_| self.is_current(now))
    }
}

/// Whether a backend says, by what a call about a served block came to, that it lacks that block.
pub fn denies_block(method: &Method, outcome: &Outcome) -> bool {
    match outcome.class {
        Class::BlockNotFound | Class::AheadOfHead => true,
        // `null` in place of a block that is served.
        Class::SilentWrong => method.gives_a_block() && !outcome.hurts_health,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_whoever_says_that_it_lacks_a_served_block_lacks_it_in_whatever_words() {
        let (block, call) = (Method::lookup("eth_getBlockByNumber"), Method::lookup("eth_call"));
        let receipt = Method::lookup("eth_getTransactionReceipt");
        let of = Outcome::of;
        let lie = Outcome { hurts_health: true, ..of(Class::SilentWrong) };
        for (method, outcome, denies) in [
            (call, of(Class::BlockNotFound), true),
            (call, of(Class::AheadOfHead), true),
            (block, of(Class::SilentWrong), true),
            (block, lie, false),
            // Nobody knows of a transaction that is in no block.
            (receipt, of(Class::SilentWrong), false),
            (call, of(Class::Overloaded), false),
            (block, of(Class::Ok), false),
        ] {
            assert_eq!(denies_block(method, &outcome), denies, "{} {outcome:?}", method.name);
        }
    }
}
