//! Follows the chain: asks backends where it stands when the follower says so, tells it what they showed, and
//! everybody else what changed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::chain::{Block, BlockId, ChainEvent, HashCheck, Look, Shown, Turn, denies_block};
use crate::ethereum::{read_header, read_number};
use crate::jsonrpc::reply::Payload;
use crate::policy::{BackendIndex, Class, Outcome};

use super::call::Call;
use super::chain::{Chain, Decider};
use super::identity::probe;

/// Whether something is to be asked is looked at this often while the chain is in use.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Where nobody uses it, this often.
const LOOK_EVERY_UNUSED: Duration = Duration::from_millis(500);
/// A look that a backend's budget or state does not allow is tried again after this.
const DENIED_PAUSE: Duration = Duration::from_millis(250);
/// A header that takes longer is no news.
const PATIENCE: Duration = Duration::from_secs(3);
/// A chain that nobody has used for this long is looked at no more where it is a preset.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// How long requests wait for a look at a chain that nobody has looked at for a while.
const FIRST_LOOK_MAX: Duration = Duration::from_millis(300);

/// Follows one chain until it is dropped. `eager` chains from the start, others from their first use.
pub(super) async fn follow(chain: Arc<Chain>, eager: bool) {
    if !eager {
        chain.first_wanted().await;
    }
    let everyone: Vec<BackendIndex> = chain.decide().fleet.iter().map(|(index, _)| index).collect();
    let looking = everyone.into_iter().filter(|index| !chain.settings.backends[index.get()].private);
    let looking = futures_util::future::join_all(looking.map(|backend| attend(&chain, backend, eager)));
    futures_util::future::join(looking, keep_time(&chain)).await;
}

/// Time passes for the follower too: holds run out, chains halt.
async fn keep_time(chain: &Chain) {
    loop {
        {
            let mut decider = chain.decide();
            let now = chain.now();
            if chain.listens() {
                decider.follower.used(now, false, false);
            }
            decider.follower.tick(now);
            let pace = decider.follower.block_time();
            let in_use = chain.is_in_use();
            decider.fleet.set_block_pace(in_use.then_some(pace));
            chain.took_note(decider);
        }
        sleep(chain.look_pause()).await;
    }
}

async fn attend(chain: &Chain, backend: BackendIndex, eager: bool) {
    loop {
        if !eager && !chain.listens() && chain.idle_for().is_none_or(|idle| idle > FORGET_AFTER) {
            sleep(LOOK_EVERY_UNUSED).await;
            continue;
        }
        let turn = {
            let now = chain.now();
            let mut decider = chain.decide();
            let Decider { fleet, follower, .. } = &mut *decider;
            follower.turn(now, fleet, backend, chain.listens())
        };
        match turn {
            Turn::Ask(look) => ask(chain, backend, look).await,
            Turn::Rest => chain.until_wanted(chain.look_pause()).await,
            Turn::Denied => sleep(DENIED_PAUSE).await,
        }
    }
}

/// Puts one question and tells the follower what was shown.
async fn ask(chain: &Chain, backend: BackendIndex, look: Look) {
    let mut put = Put { chain, backend, look, is_open: true };
    let asked_at = Instant::now();
    let (method, params) = look.call();
    let verdict = probe(chain, backend, method, Some(&params), asked_at + PATIENCE).await.verdict;
    put.is_open = false;
    let now = chain.now();
    let mut decider = chain.decide();
    let Decider { fleet, follower, .. } = &mut *decider;
    let shown = match (&verdict.outcome.class, &verdict.payload) {
        (Class::Ok, Some(Payload::Result(bytes))) => shown(bytes, look),
        _ => Shown::Nothing,
    };
    if let (Look::Latest, Shown::Block(block, _)) = (look, &shown) {
        chain.link(backend).saw_head(block.id.number);
    }
    follower.looked(now, fleet, (backend, look), asked_at.elapsed(), &verdict.outcome, shown);
    chain.took_note(decider);
}

/// What a backend's words show.
pub(super) fn shown(bytes: &[u8], look: Look) -> Shown {
    if look == Look::Pending {
        return read_number(bytes).map_or(Shown::Nothing, Shown::Pending);
    }
    let Ok(Some(header)) = read_header(bytes) else { return Shown::Nothing };
    let check = match header.computed {
        None => HashCheck::Unknown,
        Some(computed) if computed == header.hash => HashCheck::Matches,
        Some(_) => HashCheck::Differs,
    };
    let block = Block {
        id: BlockId { number: header.number, hash: header.hash },
        parent: header.parent,
        timestamp_s: header.timestamp_s,
        logs_bloom: header.logs_bloom,
        header: Bytes::from(header.json),
    };
    Shown::Block(Arc::new(block), check)
}

/// A look under way, which is taken back where its task ends before it.
struct Put<'a> {
    chain: &'a Chain,
    backend: BackendIndex,
    look: Look,
    is_open: bool,
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.chain.decide().follower.look_ended(self.backend, self.look);
        }
    }
}

impl Chain {
    /// Passes on what the follower has decided: to the fleet who has what, to listeners what changed.
    pub(super) fn took_note(&self, mut decider: std::sync::MutexGuard<'_, Decider>) {
        let now = self.now();
        let Decider { fleet, follower, .. } = &mut *decider;
        let served = follower.head().map_or(0, |head| head.number);
        follower.report(now, fleet);
        self.known.look(follower, now, fleet);
        let events = follower.take_events();
        let news = fleet.notes().written();
        // Told under the lock, so that listeners hear them in order.
        for event in events {
            self.log(&event);
            self.tally.saw(&event);
            self.tip.tell(event);
        }
        drop(decider);
        self.tip.moved(served);
        self.tell_changes(news);
    }

    fn log(&self, event: &ChainEvent) {
        let chain = &self.settings.name;
        match event {
            ChainEvent::Extended { blocks } => {
                if let Some(block) = blocks.last() {
                    tracing::debug!(%chain, number = block.id.number, hash = %block.id.hash, "head");
                }
            }
            ChainEvent::Reorged { dropped, added } => {
                tracing::info!(%chain, dropped = dropped.len(), added = added.len(), "reorg");
            }
            ChainEvent::Skipped { to } => {
                tracing::info!(%chain, number = to.id.number, hash = %to.id.hash, "following from here");
            }
            ChainEvent::Halted { at } => tracing::warn!(%chain, number = at.number, "the chain stands still"),
            ChainEvent::Resumed => tracing::info!(%chain, "the chain goes on"),
            ChainEvent::Forked { ancestor } => {
                tracing::warn!(%chain, ancestor = ancestor.number, hash = %ancestor.hash, "backends follow different branches");
            }
        }
    }

    /// Sleeps, or until somebody wants to know where the chain stands.
    async fn until_wanted(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.look_wanted.notified() => {}
        }
    }

    fn is_in_use(&self) -> bool {
        self.idle_for().is_some_and(|idle| idle < Duration::from_secs(60)) || self.listens()
    }

    fn look_pause(&self) -> Duration {
        if self.is_in_use() { LOOK_EVERY } else { LOOK_EVERY_UNUSED }
    }

    /// Somebody lives by the chain's events: a subscription, or a filter.
    fn listens(&self) -> bool {
        self.feeds.audience() > 0
    }

    /// Until when a request waits for the chain to be looked at: one period after it was lost from sight, not each
    /// request anew, since backends may be down or tell nothing of it.
    pub(super) fn wait_for_sight(&self, is_current: bool) -> Option<Instant> {
        let mut lost_at = self.lost_sight_at.lock().unwrap_or_else(PoisonError::into_inner);
        if is_current {
            *lost_at = None;
            return None;
        }
        // Nothing was ever promised: backends say for themselves what is the latest.
        self.decide().follower.head()?;
        let until = *lost_at.get_or_insert_with(|| {
            self.look_wanted.notify_waiters();
            Instant::now()
        }) + FIRST_LOOK_MAX;
        (Instant::now() < until).then_some(until)
    }

    /// An answer that goes to a client tells of something in this block: the chain is at least that high.
    pub(super) fn showed(&self, backend: BackendIndex, number: u64) {
        self.link(backend).saw_head(number);
        let mut decider = self.decide();
        if decider.follower.head().is_none_or(|head| head.number < number) {
            decider.follower.showed(self.now(), backend, number);
            self.took_note(decider);
        }
    }

    /// What a client's call came to may say that a backend lacks a block which it should have.
    pub(super) fn lacked(&self, backend: BackendIndex, call: &Call<'_>, outcome: &Outcome) {
        if let Some(height) = call.height.filter(|_| denies_block(call.method, outcome)) {
            self.decide().follower.lacks(self.now(), backend, height);
        }
    }
}
