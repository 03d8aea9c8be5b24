//! The follower of one chain: takes what backends show, decides what is served and who has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;

use super::beat::Beat;
use super::block::{Block, BlockId};
use super::event::ChainEvent;
use super::fork::{Contender, Fork};
use super::look::{Look, Rhythm, Schedule};
use super::push::{Arrivals, Push};
use super::source::Source;
use super::tempo::Tempo;
use super::tree::{Joint, Tree};
use super::weight::Weights;
use crate::policy::{BackendIndex, BackendSet, DomainLabels, Timestamp};

/// So many independent voices carry a new block, where as many are there.
const VOICES: u32 = 2;
/// Where blocks come quicker than backends are looked at, one waits so long for all who keep up: what the others showed is
/// older than that block.
const QUICK_BELOW: Duration = Duration::from_millis(400);
const QUICK_HOLD: Duration = Duration::from_secs(1);
/// Whose head moved within so many block times takes part in carrying new ones.
const MOVING_BLOCKS: f64 = 2.0;
const MOVING_MIN: Duration = Duration::from_millis(1500);
/// A block that enough carry waits so long for most to have it: one part of a block time, at most this.
const HOLD_PART: u32 = 4;
const HOLD_MAX: Duration = Duration::from_millis(400);
/// Whoever serves is waited for a little longer, since its clients would be sent to others for as long as it lacks the block.
const SERVING_HOLD_PART: u32 = 2;
const SERVING_HOLD_MAX: Duration = Duration::from_millis(500);
/// At the start, and when everybody goes back, others are waited for this long.
const START_HOLD: Duration = Duration::from_millis(500);
const ROLLBACK_HOLD_MIN: Duration = Duration::from_millis(1000);
/// Blocks between a head and what is known that are asked for one by one.
const GAP_MAX: u64 = 128;
/// How long filling a gap may stand still.
const GAP_PATIENCE: Duration = Duration::from_secs(5);
/// A voice that was not heard for this long, and for four blocks, is none.
const FRESH_MIN: Duration = Duration::from_secs(40);
const FRESH_BLOCKS: u32 = 4;
/// What is known of the head is recent when somebody told it within so many block times, and this: a look may take a while.
const CURRENT_BLOCKS: f64 = 1.5;
const CURRENT_SLACK: Duration = Duration::from_millis(750);
/// A number that a client was shown runs ahead of the chain by at most this much more than time explains.
const SHOWN_AHEAD_MAX: u64 = 2;
/// Clients used something within this time: it is kept fresh.
const USED_FOR: Duration = Duration::from_secs(60);
/// A block that a transaction may have made is expected for so long.
const EXPECTED_FOR: Duration = Duration::from_millis(250);
/// Events that wait to be taken.
const EVENTS_MAX: usize = 1024;
/// A chain that went back for good is believed after so long, restarts included.
const FLOOR_HOLD: Duration = Duration::from_secs(60);
/// Backends may be this much behind what was served before; a chain that is further back has been started anew.
const FLOOR_AHEAD_MAX: u64 = 8;

/// How a header's hash compares with the one computed from its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashCheck {
    /// It is what it claims.
    Matches,
    /// It is not; or this chain's headers have fields that are not known here.
    Differs,
    /// It was not or cannot be computed.
    Unknown,
}

/// The head that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What clients are told.
    pub number: u64,
    /// Its hash, where the block itself is known.
    pub hash: Option<B256>,
}

/// Where one backend stands, for whoever routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The greatest height that it surely has; `None` before it has shown any.
    pub has: Option<u64>,
    /// The greatest height that some node behind its URL has.
    pub claims: Option<u64>,
    /// Why it gets no reads at all.
    pub quarantine: Option<Quarantine>,
    /// Its last final block.
    pub finalized: Option<u64>,
    /// Its last safe block.
    pub safe: Option<u64>,
    /// Its pending block lags behind its own head.
    pub pending_is_stale: bool,
}

/// Why a backend gets no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It is on another branch.
    Forked,
    /// It showed a header that does not hash to what it claims, while others' do.
    Lying,
    /// On its way back, it answered otherwise about a block than the backend that serves.
    Contradicted,
}

/// One backend's view, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// What it showed last.
    pub tip: Option<BlockId>,
    /// When.
    pub heard_at: Option<Timestamp>,
    /// Average delay behind whoever showed a block first.
    pub lateness_s: f64,
    /// Its head went back lately: several nodes behind one URL.
    pub is_unsteady: bool,
    /// For whoever routes.
    pub standing: Standing,
}

/// The follower of one chain.
#[derive(Debug)]
pub struct Follower {
    tree: Tree,
    sources: Vec<Source>,
    schedules: Vec<Schedule>,
    /// Their WebSockets.
    pushes: Vec<Push>,
    arrivals: Arrivals,
    weights: Weights,
    tempo: Tempo,
    /// The latest look at which a header of this chain hashed to what it claims.
    hashes_match: bool,
    /// The branch that an operator has chosen.
    pin: Option<B256>,
    fork: Option<Fork>,
    /// The block that enough carry and that waits for most to have it, since when.
    ripening: Option<(B256, Timestamp)>,
    /// Who answers most reads.
    serving: Option<BackendIndex>,
    /// A branch with more voices than the served one, which is longer.
    contender: Option<Contender>,
    /// Since when nobody shows the served tip any more.
    unsupported_since: Option<Timestamp>,
    adrift_since: Option<Timestamp>,
    /// More voices are beyond a gap than here: what is served is old.
    is_catching_up: bool,
    /// A backend that is about to have a new block, and since when.
    expected: Option<(BackendIndex, Timestamp)>,
    started_at: Option<Timestamp>,
    is_halted: bool,
    finalized: Option<u64>,
    safe: Option<u64>,
    /// The greatest number that a client was shown and that the chain has not reached yet.
    shown: Option<(u64, Timestamp)>,
    /// What was served before a restart.
    floor: Option<u64>,
    newest: Option<(u64, Timestamp)>,
    beat: Option<Beat>,
    used_at: Option<Timestamp>,
    settled_used_at: Option<Timestamp>,
    pending_used_at: Option<Timestamp>,
    events: VecDeque<ChainEvent>,
}

impl Follower {
    /// A follower of backends that share what their labels say, on a chain that makes a block about so often. One that
    /// is not `is_steady` makes them whenever it likes, as development nodes do: however long it made none, it is
    /// looked at as often as that.
    pub fn new(block_time: Duration, is_steady: bool, labels: &[&DomainLabels]) -> Self {
        Self {
            tree: Tree::default(),
            sources: vec![Source::default(); labels.len()],
            schedules: vec![Schedule::default(); labels.len()],
            pushes: vec![Push::default(); labels.len()],
            arrivals: Arrivals::default(),
            weights: Weights::new(labels),
            tempo: Tempo::new(block_time, is_steady),
            hashes_match: false,
            pin: None,
            fork: None,
            ripening: None,
            serving: None,
            contender: None,
            unsupported_since: None,
            adrift_since: None,
            is_catching_up: false,
            expected: None,
            started_at: None,
            is_halted: false,
            finalized: None,
            safe: None,
            shown: None,
            floor: None,
            newest: None,
            beat: None,
            used_at: None,
            settled_used_at: None,
            pending_used_at: None,
            events: VecDeque::new(),
        }
    }

    /// What backends share turned out to be something else.
    pub fn set_labels(&mut self, labels: &[&DomainLabels]) {
        self.weights = Weights::new(labels);
    }

    /// This backend answers most reads.
    pub fn served_by(&mut self, backend: Option<BackendIndex>) {
        self.serving = backend;
    }

    /// The number that was served before a restart: nothing lower is served while the chain may still reach it.
    pub fn set_floor(&mut self, number: u64) {
        self.floor = Some(number);
    }

    /// Chooses the branch that this block is on, whatever is agreed; `None` lets agreement choose again.
    pub fn pin(&mut self, now: Timestamp, block: Option<B256>) {
        self.pin = block;
        self.decide(now);
    }

    /// The branch that an operator has chosen.
    pub fn pinned(&self) -> Option<B256> {
        self.pin
    }

    /// A backend showed its latest block.
    pub fn saw_latest(&mut self, now: Timestamp, source: BackendIndex, block: Arc<Block>, check: HashCheck) {
        if !self.takes(now, source, &block, check) {
            return;
        }
        let tip = block.id;
        let there_at = self.schedules[source.get()].shown_at(now);
        self.started_at.get_or_insert(now);
        let delay = match self.newest {
            Some((number, at)) if number >= tip.number => Some((number, now.since(at))),
            _ => None,
        };
        match delay {
            Some((number, delay))
                if number == tip.number
                    && self.sources[source.get()].tip.is_none_or(|known| known.number < tip.number) =>
            {
                self.sources[source.get()].came_after(delay);
            }
            Some(_) => {}
            // Only a block that may be one of ours sets the time: a height from nowhere does not.
            None if self.is_plausible(now, tip.number) => {
                self.sources[source.get()].came_after(Duration::ZERO);
                self.newest = Some((tip.number, now));
                match &mut self.beat {
                    Some(beat) if self.tempo.is_steady() => {
                        beat.heard(there_at, tip.number, self.tempo.soonest())
                    }
                    beat => *beat = Some(Beat::new(now, tip.number)),
                }
                // Who was asked too early for it is asked anew, and not as late as the last of many vain looks.
                self.schedules.iter_mut().for_each(Schedule::moved);
            }
            None => {}
        }
        if self
            .expected
            .is_some_and(|(at, since)| at == source && self.schedules[at.get()].asked_since(since))
        {
            self.expected = None;
        }
        self.tree.insert(block);
        if self.sources[source.get()].shows(now, tip) {
            self.schedules[source.get()].moved();
        }
        self.tree.prune(self.sources.iter().filter_map(|source| source.tip));
        self.decide(now);
    }

    /// A backend showed some other block that it was asked for.
    pub fn saw_block(&mut self, now: Timestamp, source: BackendIndex, block: Arc<Block>, check: HashCheck) {
        if self.takes(now, source, &block, check) {
            self.adrift_since = None;
            self.tree.insert(block);
            self.decide(now);
        }
    }

    /// A backend told what it takes for final, or for safe.
    pub fn saw_settled(&mut self, source: BackendIndex, look: Look, number: u64) {
        let seen = &mut self.sources[source.get()];
        match look {
            Look::Finalized => seen.finalized = Some(number),
            Look::Safe => seen.safe = Some(number),
            _ => return,
        }
        let agreed = |of: fn(&Source) -> Option<u64>| {
            let mut heights: Vec<u64> = self.sources.iter().filter_map(of).collect();
            heights.sort_unstable();
            // The highest that two independent voices reach; of one alone, its own.
            heights.into_iter().rev().find(|height| {
                let reach = self.those(|source| of(source).is_some_and(|own| own >= *height));
                let all = self.those(|source| of(source).is_some());
                self.weights.of(reach) >= VOICES.min(self.weights.of(all))
            })
        };
        let (finalized, safe) = (agreed(|source| source.finalized), agreed(|source| source.safe));
        // Final is final: it does not go back because one backend went away.
        self.finalized = self.finalized.max(finalized);
        self.safe = safe.or(self.safe);
    }

    /// A backend showed the block that it is making.
    pub fn saw_pending(&mut self, source: BackendIndex, number: u64) {
        self.sources[source.get()].shows_pending(number.saturating_sub(1));
    }

    /// An answer that went to a client told of something in this block.
    pub fn showed(&mut self, now: Timestamp, source: BackendIndex, number: u64) {
        let known = self.head().map_or(0, |head| head.number);
        if number <= known || !self.is_plausible(now, number) {
            return;
        }
        self.sources[source.get()].reached(number);
        self.shown = Some((number, now));
        for schedule in &mut self.schedules {
            schedule.hurry();
        }
    }

    /// A backend said that it lacks a block that it should have.
    pub fn lacks(&mut self, now: Timestamp, source: BackendIndex, number: u64) {
        if self.pushes[source.get()].is_denied(now, number, self.tempo.soonest()) {
            self.sources[source.get()].lacks(now, number);
        }
    }

    /// A backend on its way back answered a copy of a request otherwise than the one whose answer the client got.
    pub fn contradicted(&mut self, now: Timestamp, source: BackendIndex) {
        self.sources[source.get()].contradicted(now);
    }

    /// A question about blocks was asked in vain.
    pub fn missed(&mut self, now: Timestamp, source: BackendIndex, look: Look) {
        if look == Look::Latest {
            self.schedules[source.get()].shown_at(now);
            self.sources[source.get()].missed();
            self.pushes[source.get()].is_unanswered(now);
            self.decide(now);
        }
    }

    /// A backend answered a question about blocks by saying that it has no such thing.
    pub fn refused(&mut self, now: Timestamp, source: BackendIndex, look: Look) {
        self.schedules[source.get()].refused(now, look);
    }

    /// This backend took a transaction. Where blocks are made whenever there is one, it has a new block now: what is
    /// known of the head is not current until it was asked.
    pub fn took_transaction(&mut self, now: Timestamp, source: BackendIndex) {
        if !self.tempo.is_steady() {
            self.schedules[source.get()].hurry();
            self.expected = Some((source, now));
        }
    }

    /// A client asked something that rests on the head, on what is settled, or on what is pending.
    pub fn used(&mut self, now: Timestamp, settled: bool, pending: bool) {
        self.used_at = Some(now);
        if settled {
            self.settled_used_at = Some(now);
        }
        if pending {
            self.pending_used_at = Some(now);
        }
    }

    /// What this backend is to be asked now. It is booked as under way until [`Self::look_ended`].
    pub fn next_look(&mut self, now: Timestamp, source: BackendIndex) -> Option<Look> {
        let look = self.wanted_look(now, source)?;
        self.schedules[source.get()].begin(now, look);
        Some(look)
    }

    /// The same without booking it.
    pub fn wanted_look(&self, now: Timestamp, source: BackendIndex) -> Option<Look> {
        let at = source.get();
        let recently = |used: Option<Timestamp>| used.is_some_and(|at| now.since(at) <= USED_FOR);
        let tip = self.sources[at].tip;
        let newest = self.newest.map_or(0, |(number, _)| number);
        // Those who answer and keep up take turns; who does not is asked besides.
        let (mut before, mut scouts) = (0u32, 0u32);
        let keeps_up = |other: usize| {
            self.sources[other].tip.is_some_and(|tip| tip.number >= newest) && self.votes(now, other)
        };
        for other in (0..self.sources.len()).filter(|other| *other == at || keeps_up(*other)) {
            before += u32::from(other < at);
            scouts += 1;
        }
        let rhythm = Rhythm {
            block_time: self.tempo.soonest(),
            newest_at: self.newest.map(|(_, at)| at),
            due_at: self.beat.map(|beat| beat.at_height(newest + 1, self.tempo.soonest())),
            turn: ((u64::from(before) + newest) % u64::from(scouts)) as u32,
            scouts,
            is_behind: tip.is_none_or(|tip| tip.number < newest),
            is_known: tip.is_some(),
            is_pushed: self.pushes[at].has_role(),
            is_used: recently(self.used_at),
            uses_settled: recently(self.settled_used_at),
            uses_pending: recently(self.pending_used_at),
        };
        let schedule = &self.schedules[at];
        // What hangs in the air is worth more than another head above it; one that has it is enough.
        let missing = self.missing(at).filter(|missing| {
            schedule.is_free_for_others() && !self.schedules.iter().any(|other| other.asks_for(*missing))
        });
        if let Some(missing) = missing {
            return Some(Look::Block(missing));
        }
        if schedule.wants_latest(now, &rhythm) {
            return Some(Look::Latest);
        }
        schedule.wants_other(now, &rhythm)
    }

    /// A question has its answer, or will have none.
    pub fn look_ended(&mut self, source: BackendIndex, look: Look) {
        self.schedules[source.get()].end(look);
    }

    /// Time passed.
    pub fn tick(&mut self, now: Timestamp) {
        self.decide(now);
        self.listen_to_pushes(now);
        if !self.is_halted && self.tempo.is_halted(now) && self.is_watched(now) {
            self.is_halted = true;
            if let Some(at) = self.tree.tip().map(|tip| tip.id) {
                self.tell(ChainEvent::Halted { at });
            }
        }
    }

    /// What has changed since the last time.
    pub fn take_events(&mut self) -> Vec<ChainEvent> {
        self.events.drain(..).collect()
    }

    /// The served head: never lower than what any client was told.
    pub fn head(&self) -> Option<Head> {
        let tip = self.tree.tip()?.id;
        let least = self.floor.unwrap_or(0).max(self.shown.map_or(0, |(number, _)| number));
        Some(Head { number: tip.number.max(least), hash: (tip.number >= least).then_some(tip.hash) })
    }

    /// The served block at a height, within the window.
    pub fn served(&self, number: u64) -> Option<&Arc<Block>> {
        self.tree.at(number)
    }

    /// The height of a served block, within the window.
    pub fn height_of(&self, hash: B256) -> Option<u64> {
        self.tree.get(hash).map(|block| block.id).filter(|id| self.tree.serves(*id)).map(|id| id.number)
    }

    /// All served blocks that are kept, the oldest first.
    pub fn window(&self) -> impl DoubleEndedIterator<Item = &Arc<Block>> {
        self.tree.served()
    }

    /// The last final block that is agreed.
    pub fn finalized(&self) -> Option<u64> {
        self.finalized
    }

    /// The last safe block that is agreed.
    pub fn safe(&self) -> Option<u64> {
        self.safe
    }

    /// Whether what is known of the head is recent: somebody told it within about a block.
    pub fn is_current(&self, now: Timestamp) -> bool {
        let within = self.tempo.block_time().mul_f64(CURRENT_BLOCKS) + CURRENT_SLACK;
        let recent = |source: &Source| source.heard_at.is_some_and(|at| now.since(at) <= within);
        let expects = self.expected.is_some_and(|(_, since)| now.since(since) < EXPECTED_FOR);
        self.tree.tip().is_some() && !self.is_catching_up && !expects && self.sources.iter().any(recent)
    }

    /// The greatest height, up to the head, that a backend with a voice surely has: what is served while
    /// everybody who has the head is gone.
    pub fn reachable(&self, now: Timestamp) -> Option<u64> {
        self.highest(now, |source| source.has(now))
    }

    /// The same, where it is enough that some node behind its URL has it.
    pub fn claimed(&self, now: Timestamp) -> Option<u64> {
        self.highest(now, Source::claims)
    }

    fn highest(&self, now: Timestamp, of: impl Fn(&Source) -> Option<u64>) -> Option<u64> {
        let head = self.head()?.number;
        let height = |at: usize| {
            of(&self.sources[at]).filter(|_| self.votes(now, at) && self.quarantine(now, at).is_none())
        };
        (0..self.sources.len()).filter_map(height).max().map(|height| height.min(head))
    }

    /// Where a backend stands.
    pub fn standing(&self, now: Timestamp, source: BackendIndex) -> Standing {
        let at = source.get();
        let seen = &self.sources[at];
        Standing {
            has: seen.has(now),
            claims: seen.claims(),
            quarantine: self.quarantine(now, at),
            finalized: seen.finalized,
            safe: seen.safe,
            pending_is_stale: seen.is_pending_stale(),
        }
    }

    /// What is known of a backend.
    pub fn view(&self, now: Timestamp, source: BackendIndex) -> View {
        let seen = &self.sources[source.get()];
        View {
            tip: seen.tip,
            heard_at: seen.heard_at,
            lateness_s: seen.lateness_s,
            is_unsteady: seen.is_unsteady(now),
            standing: self.standing(now, source),
        }
    }

    /// What a backend showed last.
    pub fn tip_of(&self, source: BackendIndex) -> Option<BlockId> {
        self.sources.get(source.get())?.tip
    }

    /// The height of the last served block from which a backend's head descends; `None` where that is not known.
    pub fn joined_at(&self, source: BackendIndex) -> Option<u64> {
        match self.tree.joint(self.tip_of(source)?)? {
            Joint::Joined { at, .. } => Some(at),
            Joint::Adrift { .. } => None,
        }
    }

    /// What backends disagree about.
    pub fn fork(&self) -> Option<&Fork> {
        self.fork.as_ref()
    }

    /// Whether the chain stands still.
    pub fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// The estimated time between blocks.
    pub fn block_time(&self) -> Duration {
        self.tempo.block_time()
    }

    /// Blocks that are kept in memory.
    pub fn blocks_kept(&self) -> usize {
        self.tree.len()
    }

    /// Whether a header may be believed at all.
    fn takes(&mut self, now: Timestamp, source: BackendIndex, block: &Block, check: HashCheck) -> bool {
        if source.get() >= self.sources.len() {
            return false;
        }
        match check {
            HashCheck::Matches => self.hashes_match = true,
            // Where nobody's header hashes to what it claims, the chain has headers of its own kind.
            HashCheck::Differs if self.hashes_match => {
                self.sources[source.get()].lied(now);
                self.decide(now);
                return false;
            }
            HashCheck::Differs | HashCheck::Unknown => {}
        }
        if self.contradicts(block) {
            self.sources[source.get()].lied(now);
            self.decide(now);
            return false;
        }
        true
    }

    /// A child says which block it follows: one that contradicts what is known of that block is made up.
    fn contradicts(&self, block: &Block) -> bool {
        let contradicts = self.tree.get(block.parent).is_some_and(|parent| {
            parent.id.number + 1 != block.id.number || parent.timestamp_s > block.timestamp_s
        });
        contradicts && block.id.number > 0
    }

    /// Whether blocks come quicker than backends are looked at, by the clock: what a development node makes is served at once.
    fn is_quick(&self) -> bool {
        self.tempo.is_steady() && self.tempo.block_time() < QUICK_BELOW
    }

    /// Whether the chain may have reached this height by now.
    fn is_plausible(&self, now: Timestamp, number: u64) -> bool {
        let (Some(tip), Some(at)) = (self.tree.tip(), self.tempo.newest_at()) else { return true };
        let by_time = now.since(at).as_secs_f64() / self.tempo.block_time().as_secs_f64();
        // Where blocks are held back, it may have been there for as long as that.
        let held_for = if self.is_quick() { QUICK_HOLD } else { Duration::ZERO };
        let held = held_for.as_secs_f64() / self.tempo.block_time().as_secs_f64();
        number <= tip.id.number + SHOWN_AHEAD_MAX + (held + 2.0 * by_time) as u64
    }

    fn is_watched(&self, now: Timestamp) -> bool {
        // Nobody asking is no proof that nothing happens.
        self.sources.iter().any(|source| {
            source.heard_at.is_some_and(|at| now.since(at) <= self.tempo.block_time() * 2 + START_HOLD)
        })
    }

    fn votes(&self, now: Timestamp, at: usize) -> bool {
        let fresh_for = (self.tempo.block_time() * FRESH_BLOCKS).max(FRESH_MIN);
        self.sources[at].votes(now, fresh_for)
    }

    fn those(&self, wanted: impl Fn(&Source) -> bool) -> BackendSet {
        let mut set = BackendSet::default();
        for (at, _) in self.sources.iter().enumerate().filter(|(_, source)| wanted(source)) {
            set.insert(BackendIndex::at(at));
        }
        set
    }

    fn quarantine(&self, now: Timestamp, at: usize) -> Option<Quarantine> {
        if self.sources[at].is_lying(now) {
            return Some(Quarantine::Lying);
        }
        if self.sources[at].is_contradicted(now) {
            return Some(Quarantine::Contradicted);
        }
        let tip = self.sources[at].tip?;
        let served = self.tree.tip()?.id.number;
        match self.tree.joint(tip) {
            Some(Joint::Joined { at, first: Some(_) }) if at < served => Some(Quarantine::Forked),
            Some(Joint::Joined { at, first: Some(first) })
                if self.fork.as_ref().is_some_and(|fork| fork.leaves_out(at, first)) =>
            {
                Some(Quarantine::Forked)
            }
            Some(Joint::Adrift { .. }) if self.sources[at].was_beside() => Some(Quarantine::Forked),
            // Beside the served chain, at a height where its block is known to be another one.
            Some(Joint::Adrift { root, .. })
                if self.tree.at(root.number).is_some_and(|block| block.id.hash != root.hash) =>
            {
                Some(Quarantine::Forked)
            }
            _ => None,
        }
    }

    /// The block that is missing between a backend's head and the served chain.
    fn missing(&self, at: usize) -> Option<B256> {
        let tip = self.sources[at].tip?;
        let Some(Joint::Adrift { root, missing }) = self.tree.joint(tip) else { return None };
        if root.number == 0 || missing == B256::ZERO {
            return None;
        }
        let served = self.tree.tip().map(|block| block.id.number);
        let floor = match self.tree.oldest() {
            Some(oldest) if Some(tip.number) <= served.map(|served| served + GAP_MAX) => oldest.id.number,
            // Nothing is served yet, or it is too far away: down to the lowest head of a neighbour.
            _ => {
                let near = |number: &u64| *number + GAP_MAX > tip.number && Some(*number) > served;
                self.sources.iter().filter_map(|source| Some(source.tip?.number)).filter(near).min()?
            }
        };
        (root.number > floor).then_some(missing)
    }

    /// Every voice and how its head hangs on the served chain.
    fn voices(&self, now: Timestamp) -> Vec<(usize, BlockId, Joint)> {
        (0..self.sources.len())
            .filter(|at| self.votes(now, *at))
            .filter_map(|at| {
                let tip = self.sources[at].tip?;
                Some((at, tip, self.tree.joint(tip)?))
            })
            .collect()
    }

    fn tell(&mut self, event: ChainEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

mod agreement;
mod pushed;
#[cfg(test)]
mod tests;
