//! Answers that need no backend: those that are kept, and those that somebody else is being told at the moment.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cache::{
    Answer, Ask, Disk, Flights, Follow, Footing, Key, Lead, Memory, Seat, Share, View, holds, keep,
};
use crate::chain::Follower;
use crate::ethereum::{BlockNeeds, BlockRef, BlockTag, Method, MethodKind, Refusal, block_refs, pin_blocks};
use crate::policy::{BackendIndex, Fleet, Timestamp};

use super::agree;
use super::call::{Answered, Call, Said};
use super::carry::{answered_by_sight, ask};
use super::chain::Chain;
use super::packet::{Source, Terms, Trail};
use super::resolve::{Sight, needs_sight, pins};
use super::spent;

/// What one chain keeps and shares.
#[derive(Debug)]
pub(super) struct Known {
    /// The chain's place among all: the memory is one for all of them.
    place: u16,
    memory: Option<Arc<Memory>>,
    disk: Option<Arc<Disk>>,
    /// Calls that ask the same at the same time share an answer.
    coalesce: bool,
    /// The state of blocks that are there can be changed from outside.
    can_be_changed: bool,
    /// How often that was done through here.
    age: AtomicU64,
    view: ArcSwap<View>,
    flights: Flights<Answered>,
    pub(super) counts: Counts,
}

/// Where answers are kept, for all chains.
#[derive(Clone, Debug, Default)]
pub(super) struct Tiers {
    pub(super) memory: Option<Arc<Memory>>,
    /// Behind the memory, never without one.
    pub(super) disk: Option<Arc<Disk>>,
}

/// What was saved, and what was not.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Calls that were answered by what is kept.
    pub(super) hits: AtomicU64,
    /// Calls that might have been.
    pub(super) misses: AtomicU64,
    /// Calls that shared somebody else's answer.
    pub(super) coalesced: AtomicU64,
    /// Calls that wait for somebody else's answer now.
    pub(super) waiting: AtomicU64,
    /// Answers that were kept.
    pub(super) kept: AtomicU64,
    /// Kept answers that no longer held when they were asked for.
    pub(super) outdated: AtomicU64,
    /// What the calls would have cost that no backend was asked for, in thousandths of a plain read.
    pub(super) saved_millis: AtomicU64,
}

/// A call as a question that others may ask as well.
#[derive(Debug)]
pub(super) struct Question {
    key: Key,
    /// What its answer would rest on, where it may be kept.
    ask: Option<Ask>,
    share: Option<Share>,
    /// The chain when it was put.
    view: Arc<View>,
    method: &'static Method,
}

/// The one who asks for all who ask the same.
pub(super) type Leader = Lead<Answered>;

fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

impl Known {
    pub(super) fn new(place: usize, tiers: &Tiers, coalesce: bool, can_be_changed: bool) -> Self {
        let Tiers { memory, disk } = tiers.clone();
        Self {
            // What is final on a development node is gone when it starts anew.
            disk: disk.filter(|_| !can_be_changed && memory.is_some()),
            // More chains than that fit into no configuration; the last ones would share no memory with others.
            memory: u16::try_from(place).ok().and(memory),
            place: u16::try_from(place).unwrap_or(u16::MAX),
            coalesce,
            can_be_changed,
            age: AtomicU64::new(0),
            view: ArcSwap::default(),
            flights: Flights::default(),
            counts: Counts::default(),
        }
    }

    /// The chain as kept answers are held against it.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Takes a new picture of the chain, under the lock that its changes are made under.
    pub(super) fn look(&self, follower: &Follower, now: Timestamp, fleet: &Fleet) {
        if self.memory.is_none() {
            return;
        }
        let backends = fleet.iter().map(|(index, _)| index);
        if let Some(view) = self.view.load().after(follower, now, backends) {
            self.view.store(Arc::new(view));
        }
    }

    /// Somebody changes the chain's state from outside: nothing of before is believed, and nothing of meanwhile.
    pub(super) fn changed_from_outside(&self) {
        self.age.fetch_add(1, Ordering::Relaxed);
    }

    fn saved(&self, method: &Method) {
        self.counts.saved_millis.fetch_add(spent::millis(method), Ordering::Relaxed);
    }

    /// The kept answer to a question, where it still holds.
    pub(super) fn answer(&self, chain: &Chain, question: &Question, call: &Call<'_>) -> Option<Answered> {
        let memory = self.memory.as_ref().filter(|_| question.ask.is_some())?;
        let entry = memory.get(&question.key);
        let Some(entry) = entry else {
            count(&self.counts.misses);
            return None;
        };
        if !holds(&entry.footing, &question.view, chain.now()) {
            count(&self.counts.misses);
            // By a view that is not the newest it may be one that holds now.
            if !holds(&entry.footing, &self.view.load(), chain.now()) {
                count(&self.counts.outdated);
                memory.forget(&question.key, &entry.footing);
            }
            return None;
        }
        if let (Some(disk), 0) = (&self.disk, question.key.age)
            && entry.footing.is_final(&question.view)
            && let Some(number) = entry.footing.height()
        {
            // It may have become final since it was kept.
            disk.put(chain.settings.chain_id, &question.key, number, &entry.result);
        }
        Some(self.hit(chain, question, call, entry.result))
    }

    fn hit(&self, chain: &Chain, question: &Question, call: &Call<'_>, result: Bytes) -> Answered {
        count(&self.counts.hits);
        self.saved(question.method);
        let trail = Trail { source: Source::Cache, ..Trail::default() };
        agree::agree(chain, call, Answered { said: Said::Result(result), trail })
    }

    /// The answer that lies on disk, where it still holds.
    pub(super) async fn found(
        &self,
        chain: &Chain,
        question: &Question,
        call: &Call<'_>,
    ) -> Option<Answered> {
        let (Some(disk), Some(memory), 0) = (&self.disk, &self.memory, question.key.age) else { return None };
        question.ask.as_ref().filter(|ask| ask.may_be_final())?;
        let found = disk.get(chain.settings.chain_id, &question.key).await?;
        let footing = Footing::found(found.number, &question.view);
        if !holds(&footing, &question.view, chain.now()) {
            return None;
        }
        memory.put(question.key.clone(), &found.result, footing);
        Some(self.hit(chain, question, call, found.result))
    }

    /// The kept answer to a question that no backend can be asked.
    fn last_known(&self, chain: &Chain, question: &Question) -> Option<Answered> {
        let memory = self.memory.as_ref().filter(|_| question.ask.is_some())?;
        let entry = memory.get(&question.key)?;
        if !holds(&entry.footing, &self.view.load(), chain.now()) {
            return None;
        }
        count(&self.counts.hits);
        let trail = Trail { source: Source::Cache, ..Trail::default() };
        Some(Answered { said: Said::Result(entry.result), trail })
    }

    /// Keeps a backend's result, where that may be done.
    pub(super) fn keep(&self, chain: &Chain, question: &Question, backend: BackendIndex, result: &[u8]) {
        let (Some(memory), Some(ask)) = (&self.memory, &question.ask) else { return };
        if question.key.age != self.age.load(Ordering::Relaxed) {
            return;
        }
        let answer = Answer { result, backend: backend.get() };
        let footing = keep(ask, &question.view, &self.view.load(), chain.now(), answer);
        if let Some(footing) = footing
            && memory.put(question.key.clone(), result, footing)
        {
            count(&self.counts.kept);
            if let (Some(disk), 0) = (&self.disk, question.key.age)
                && footing.is_final(&question.view)
                && let Some(number) = footing.height()
            {
                disk.put(chain.settings.chain_id, &question.key, number, &Bytes::copy_from_slice(result));
            }
        }
    }

    /// The same question about some of its blocks; `None` where the answer may not be kept.
    pub(super) fn part(&self, whole: &Question, params: &RawValue, from: u64, to: u64) -> Option<Question> {
        whole.ask?;
        let needs = BlockNeeds::Range { from: BlockRef::Number(from), to: BlockRef::Number(to) };
        let ask = Ask::of(whole.method, &needs, self.can_be_changed);
        let Key { chain, method, scope, age, .. } = whole.key;
        let key = Key::new(chain, method, scope, age, Some(params))?;
        Some(Question { key, ask, share: None, view: whole.view.clone(), method: whole.method })
    }

    /// A seat with those who ask the same at the moment, or the lead; `None` where such calls are not shared.
    pub(super) fn board(&self, question: &Question) -> Option<Seat<Answered>> {
        question.share.clone().map(|share| self.flights.board(share))
    }

    /// What somebody who waited was told.
    pub(super) fn shared(&self, method: &Method, mut answered: Answered) -> Answered {
        count(&self.counts.coalesced);
        self.saved(method);
        answered.trail.attempts = 0;
        answered
    }
}

/// The question that a call puts; `None` where its answer is for it alone. The call itself stays as it is.
pub(super) fn question(
    chain: &Chain,
    terms: Terms,
    view: &Arc<View>,
    call: &Call<'_>,
    sight: &Sight,
) -> Option<Question> {
    let known = &chain.known;
    let (method, params) = (call.method, call.params.as_deref());
    if terms.fresh || !is_shareable(call) || (known.memory.is_none() && !known.coalesce) {
        return None;
    }
    let needs = block_refs(method, params);
    if needs == BlockNeeds::Unreadable || needs.mentions(BlockTag::Pending) {
        return None;
    }
    if needs.mentions(BlockTag::Safe) || needs.mentions(BlockTag::Finalized) {
        chain.decide().follower.used(chain.now(), true, false);
    }
    let (needs, params) = match pins(call) {
        true => {
            let pinned = pin_blocks(method, params, |tag| sight.number(tag));
            let params = pinned.map(Cow::Owned).or_else(|| params.map(Cow::Borrowed));
            (resolved(needs, sight), params)
        }
        false => (needs, params.map(Cow::Borrowed)),
    };
    let age = known.age.load(Ordering::Relaxed);
    let key = Key::new(known.place, method.name, terms.scope, age, params.as_deref())?;
    let ask = known.memory.as_ref().and_then(|_| Ask::of(method, &needs, known.can_be_changed));
    let share = known.coalesce.then(|| {
        // What is named by its height is the same question at every head.
        let named = needs.number_max().filter(|_| needs.refs().all(|block| block.number().is_some()));
        let height = named.or(sight.latest);
        let hash = height.and_then(|height| view.hash_at(height));
        Share { key: key.clone(), height, hash }
    });
    Some(Question { key, ask, share, view: view.clone(), method })
}

/// Whether several may have the same answer: what may be with two backends at a time may be asked once for two clients.
fn is_shareable(call: &Call<'_>) -> bool {
    let method = call.method;
    method.is_listed()
        // Another name of it may mean something else to the node.
        && call.name == method.name
        && method.idempotent()
        && method.hedgeable()
        && method.sticky().is_none()
        && !method.is_for_relays()
        && !method.ws_only()
        && call.transaction.is_none()
        && !matches!(method.kind, MethodKind::TxSubmit | MethodKind::LocalSensitive)
}

fn resolved(needs: BlockNeeds, sight: &Sight) -> BlockNeeds {
    let number = |block: BlockRef| match block {
        BlockRef::Tag(tag) => sight.number(tag).map_or(block, BlockRef::Number),
        _ => block,
    };
    match needs {
        BlockNeeds::At(block) => BlockNeeds::At(number(block)),
        BlockNeeds::Range { from, to } => BlockNeeds::Range { from: number(from), to: number(to) },
        other => other,
    }
}

/// Gets one admitted call answered: by what is kept, by whoever asks the same already, or by a backend.
pub(super) async fn carry(chain: &Arc<Chain>, terms: Terms, call: Call<'_>) -> Answered {
    if call.transaction.is_some() {
        return super::carry::carry(chain, call).await;
    }
    if call.method.refusal == Some(Refusal::DevelopmentChain) {
        chain.known.changed_from_outside();
        let answered = super::carry::carry(chain, call).await;
        chain.known.changed_from_outside();
        return answered;
    }
    let sight = if needs_sight(&call) { Sight::of(chain).await } else { Sight::default() };
    if let Some(answered) = answered_by_sight(&call, &sight) {
        return answered;
    }
    let Some(question) = question(chain, terms, &chain.known.view(), &call, &sight) else {
        return ask(chain, call, sight, None).await;
    };
    if let Some(answered) = chain.known.answer(chain, &question, &call) {
        return answered;
    }
    if let Some(answered) = chain.known.found(chain, &question, &call).await {
        return answered;
    }
    // Where nobody tells where the chain stands, clients are told the last height that is known; what was kept of that one
    // is better than nothing.
    let last_known = sight.promised.filter(|_| sight.latest.is_none()).and_then(|promised| {
        let mut then = sight;
        then.latest = Some(promised);
        self::question(chain, terms, &question.view, &call, &then)
    });
    let answered = match chain.known.board(&question) {
        Some(seat) => sit(chain, call, sight, Some(question), Some(seat)).await,
        None => ask(chain, call, sight, Some(&question)).await,
    };
    match last_known.filter(|_| is_failure(&answered)) {
        Some(last_known) => chain.known.last_known(chain, &last_known).unwrap_or(answered),
        None => answered,
    }
}

/// Waits for the answer that somebody else gets, or gets it for all who wait. Whoever is told that nobody answered had
/// less time than its own: it tries once more, again together with all others in its place.
pub(super) async fn sit(
    chain: &Arc<Chain>,
    call: Call<'_>,
    sight: Sight,
    question: Option<Question>,
    seat: Option<Seat<Answered>>,
) -> Answered {
    let (mut seat, mut failed) = (seat, false);
    let method = call.method;
    loop {
        match seat.take().or_else(|| chain.known.board(question.as_ref()?)) {
            Some(Seat::Follow(seat)) => match wait(chain, seat).await {
                Some(answered) if failed || !is_failure(&answered) => {
                    return chain.known.shared(method, answered);
                }
                told => failed |= told.is_some(),
            },
            Some(Seat::Lead(leader)) => {
                let answered = ask(chain, call, sight, question.as_ref()).await;
                leader.land(&answered);
                return answered;
            }
            None => return ask(chain, call, sight, question.as_ref()).await,
        }
    }
}

/// Waits for somebody else's answer, and counts as long as it does.
async fn wait(chain: &Chain, seat: Follow<Answered>) -> Option<Answered> {
    struct Waiting<'a>(&'a AtomicU64);
    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let waiting = &chain.known.counts.waiting;
    count(waiting);
    let _waiting = Waiting(waiting);
    seat.landed().await
}

/// No node gave its word on it.
fn is_failure(answered: &Answered) -> bool {
    matches!(answered.said, Said::Error(_)) && answered.trail.unheard
}
