//! Who is turned away when no backend has room (BEHAVIOURS H7, R11).
//!
//! More calls than all backends together can take are refused by somebody. Refused there, they cost a round trip
//! and a place in a queue, and any of them may be the one that is refused. Refused here, they cost nothing, and it
//! is the least urgent ones. Which ones among equals depends on what they ask for and not on chance: a client that
//! repeats at once what was refused is refused again, and does not crowd out somebody who asks for the first time.
//! (By chance, one call in a hundred too many makes a third of all fail once clients repeat three times.)
//!
//! Only backends that have shown how much they take count: a limit that nobody has run into turns nobody away.

use std::time::Duration;

use crate::ethereum::Urgency;

use super::Timestamp;
use super::admission::Standing;
use super::backend::{Backend, Identity};
use super::fleet::{Fleet, Need};
use super::reach::Rests;

/// What is admitted is held at this part of what all backends take.
const AIM: f64 = 0.97;
/// The level for each time that the load exceeds the aim by its own size: a quarter too much turns all bulk away. Calls
/// under way add up what is admitted beyond what is taken, so that this alone settles; a level that itself added up would
/// swing to and fro.
const GAIN: f64 = 4.0;
/// Slow changes of the level a second for the same, until the aim is met in the long run too.
const TRIM_PER_S: f64 = 0.3;
/// When there is room again these go so fast.
const RELIEF_PER_S: f64 = 0.5;
/// Steps of the level are for at most this long: between two requests of a quiet client nothing was learned.
const STEP_MAX: Duration = Duration::from_millis(100);
/// Whoever was turned away this long gets a chance, somebody else is turned away.
const TURN: Duration = Duration::from_secs(10);
/// Transactions are never turned away, and a part of everything else goes through at any level.
const LEVEL_MAX: f64 = 2.95;
/// Without so much of the known room in use, a further call crowds nobody out.
const CROWDED: f64 = 0.9;

/// How many are turned away: 0 nobody, 1 all bulk, 2 all reads too, 3 everything but transactions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shedding {
    level: f64,
    /// The slow part of it.
    trim: f64,
    at: Timestamp,
    /// Requests that were turned away.
    refused: u64,
}

impl Shedding {
    fn follow(&mut self, now: Timestamp, used: Option<f64>) {
        let step_s = now.since(self.at).min(STEP_MAX).as_secs_f64();
        self.at = now;
        let (at_once, per_s) = match used {
            Some(used) => (GAIN * (used - AIM), TRIM_PER_S * (used - AIM)),
            None => (0.0, -RELIEF_PER_S),
        };
        self.trim = (self.trim + per_s * step_s).clamp(0.0, LEVEL_MAX);
        self.level = (self.trim + at_once).clamp(0.0, LEVEL_MAX);
    }

    /// The share of requests of this urgency that are turned away.
    fn share(&self, urgency: Urgency) -> f64 {
        let above = match urgency {
            Urgency::Bulk => 0.0,
            Urgency::Read => 1.0,
            Urgency::FollowUp => 2.0,
            Urgency::Transaction => return 0.0,
        };
        (self.level - above).clamp(0.0, 1.0)
    }
}

impl Fleet {
    /// Whether a request that comes now is to be refused without asking anybody. `key` is the same for requests
    /// that ask for the same.
    pub(super) fn sheds(&mut self, now: Timestamp, need: &Need, key: u64) -> bool {
        let used = self.overload(now, need);
        if used.is_none() && self.shedding.level == 0.0 {
            return false;
        }
        self.shedding.follow(now, used);
        let share = self.shedding.share(need.urgency);
        let sheds =
            share > 0.0 && !need.submits && place(key, now.since_origin().as_secs() / TURN.as_secs()) < share;
        self.shedding.refused += u64::from(sheds);
        sheds
    }

    /// Requests that were turned away since the start because nobody had room.
    pub fn shed(&self) -> u64 {
        self.shedding.refused
    }

    /// Whether a second call would only take the place of somebody else's first.
    pub(super) fn is_crowded(&self, now: Timestamp, need: &Need) -> bool {
        self.overload(now, need).is_some_and(|used| used >= CROWDED)
    }

    /// How much of what all backends together can take is asked of them; `None` while somebody serves who has not
    /// shown any limit.
    fn overload(&self, now: Timestamp, need: &Need) -> Option<f64> {
        let (mut asked, mut room) = (0.0, 0.0);
        let need = &wherever_the_head_is(need);
        for (_, backend) in self.iter().filter(|(_, backend)| self.may_serve(now, need, backend)) {
            match backend.load(now) {
                Some((sent_per_s, takes_per_s)) => {
                    asked += sent_per_s;
                    room += takes_per_s;
                }
                None if serves(now, need, backend) => return None,
                None => {}
            }
        }
        (room > 0.0).then(|| asked / room)
    }

    /// Whether more comes than those can take who have their place. Then whoever lost its place for being full, and
    /// has shown how much it takes, is asked for that much.
    pub(super) fn is_short_of_room(&self, now: Timestamp, need: &Need) -> bool {
        let mut room = 0.0;
        let need = &wherever_the_head_is(need);
        for (_, backend) in self.iter().filter(|(_, backend)| self.may_serve(now, need, backend)) {
            if serves(now, need, backend) {
                let Some((_, takes_per_s)) = backend.load(now) else { return false };
                room += takes_per_s;
            }
        }
        self.demand.per_s(now) > room * CROWDED
    }
}

/// The same need of backends that a new block has not reached yet: that takes moments, and they have room.
fn wherever_the_head_is(need: &Need) -> Need {
    match need.rests {
        Rests::OnHeight(_) => Need { rests: Rests::OnTheChain, ..*need },
        _ => *need,
    }
}

fn serves(now: Timestamp, need: &Need, backend: &Backend) -> bool {
    backend.identity() == Identity::Confirmed
        && backend.cooling(now).is_none()
        && matches!(
            backend.experience(need.class).standing(now),
            Standing::Admitted | Standing::Returning { .. }
        )
}

/// Where a request stands between 0 and 1 in a turn: evenly spread, anew each turn (SplitMix64's last step).
fn place(key: u64, turn: u64) -> f64 {
    let mut bits = key ^ turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
}
