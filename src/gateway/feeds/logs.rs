//! Who wants which logs, the blocks whose logs are on their way, and the logs that came.
//!
//! What is pure bookkeeping stands here; [`super::fetch`] asks for the logs. Work is done in the order of the chain's
//! events: a block's logs are told after those of the block before it, and taken back before others take their place.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bloom};
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::chain::{Block, BlockId, ChainEvent};
use crate::ethereum::LogFilter;

use super::record::{Bounds, Record};
use crate::gateway::outbox::{HandleId, Outbox, SessionEnd};

/// Blocks whose logs may be waited for. Past it nobody has given any for an hour of mainnet.
const WORK_MAX: usize = 1024;
/// Logs of one chain that somebody wanted lately.
const KEPT: Bounds = Bounds { entries_max: 8192, bytes_max: 64 << 20, entries_min: 128 };
/// What a log weighs beside its text.
const LOG_BYTES: usize = 192;
/// A poll waits this long for logs that are on their way: a client that has seen a block looks for its logs.
const POLL_WAITS: Duration = Duration::from_millis(500);

/// A log that somebody wanted.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct KeptLog {
    pub(in crate::gateway) address: Address,
    pub(in crate::gateway) topics: Box<[B256]>,
    /// As the backend wrote it; with `"removed":true` where its block was dropped.
    pub(in crate::gateway) json: Bytes,
}

/// A piece of work, numbered as it came.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) block: Arc<Block>,
    /// Whether its logs are to be fetched, or to be taken back.
    pub(super) adds: bool,
}

/// The log feed of one chain.
#[derive(Debug)]
pub(in crate::gateway) struct Logs {
    desk: Mutex<Desk>,
    /// There is work.
    pub(super) work: Notify,
    /// Changes when a block that was to be fetched is dropped, and when work is done.
    turns: watch::Sender<()>,
}

#[derive(Debug)]
struct Desk {
    wanted: HashMap<Arc<LogFilter>, HashMap<HandleId, Member>>,
    queue: VecDeque<Queued>,
    /// How much of the queue is begun.
    begun: usize,
    record: Record<Told>,
    /// The number of the next piece of work.
    next: u64,
    /// A block was told of: before that nobody has missed any.
    is_under_way: bool,
}

#[derive(Debug)]
struct Queued {
    work: Work,
    is_dropped: bool,
}

/// One who wants logs that fit a filter: a subscription, or a filter (without an outbox) that asks for itself.
#[derive(Debug)]
struct Member {
    /// The first piece of work that concerns it.
    from: u64,
    outbox: Option<Arc<Outbox>>,
}

/// The wanted logs of one block, added or taken back.
#[derive(Debug)]
struct Told {
    block: BlockId,
    logs: Vec<Arc<KeptLog>>,
    /// The number under which they were added: whoever came later does not hear that they are gone.
    added: u64,
    /// Taken back since, or itself the taking back.
    is_over: bool,
}

impl Default for Logs {
    fn default() -> Self {
        let desk = Desk {
            wanted: HashMap::new(),
            queue: VecDeque::new(),
            begun: 0,
            record: Record::new(KEPT),
            next: 0,
            is_under_way: false,
        };
        Self { desk: Mutex::new(desk), work: Notify::new(), turns: watch::Sender::new(()) }
    }
}

impl Logs {
    pub(super) fn on(&self, event: &ChainEvent) {
        let mut desk = self.desk();
        match event {
            ChainEvent::Extended { blocks } => blocks.iter().for_each(|block| desk.add(block)),
            ChainEvent::Skipped { to } => {
                // The logs between are not known to anybody, and those that are on their way come too late to be in order.
                if desk.is_under_way {
                    desk.end();
                }
                desk.add(to);
            }
            ChainEvent::Reorged { dropped, added } => {
                dropped.iter().for_each(|block| desk.retract(block));
                added.iter().for_each(|block| desk.add(block));
            }
            ChainEvent::Halted { .. } | ChainEvent::Resumed | ChainEvent::Forked { .. } => return,
        }
        desk.is_under_way = true;
        if desk.queue.len() > WORK_MAX {
            tracing::warn!("no backend gives the logs of {WORK_MAX} blocks: log subscriptions are ended");
            desk.end();
        }
        drop(desk);
        self.work.notify_one();
        self.turns.send_replace(());
    }

    /// Events were lost: whoever hangs on their being complete is told that it is over.
    pub(super) fn missed(&self) {
        self.desk().end();
        self.turns.send_replace(());
    }

    /// Takes in one who wants logs; gives the number of the first piece of work that concerns it.
    pub(in crate::gateway) fn join(
        &self,
        id: HandleId,
        filter: &Arc<LogFilter>,
        outbox: Option<Arc<Outbox>>,
    ) -> u64 {
        let mut desk = self.desk();
        let from = desk.next;
        desk.wanted.entry(filter.clone()).or_default().insert(id, Member { from, outbox });
        from
    }

    pub(in crate::gateway) fn leave(&self, id: HandleId, filter: &LogFilter) {
        let mut desk = self.desk();
        if let Some(members) = desk.wanted.get_mut(filter) {
            members.remove(&id);
            if members.is_empty() {
                desk.wanted.remove(filter);
            }
        }
        drop(desk);
        // A fetch that nobody needs any more ends.
        self.turns.send_replace(());
    }

    pub(super) fn audience(&self) -> usize {
        self.desk().wanted.values().map(HashMap::len).sum()
    }

    /// Logs that fit and that were not read yet, for one who joined at `joined`; moves `read` past them. Waits a moment
    /// for what is on its way. `None` where some are forgotten.
    pub(in crate::gateway) async fn since(
        &self,
        read: &AtomicU64,
        joined: u64,
        filter: &LogFilter,
    ) -> Option<Vec<Arc<KeptLog>>> {
        let goal = self.desk().next;
        let mut turns = self.turns.subscribe();
        let _ = timeout(POLL_WAITS, async {
            while self.desk().done_up_to() < goal && turns.changed().await.is_ok() {}
        })
        .await;
        // Two polls at once do not tell the same: how far it has read is looked at and moved under this lock.
        let desk = self.desk();
        let mut found = Vec::new();
        for (_, told) in desk.record.since(read.load(Ordering::Relaxed))? {
            if told.added >= joined {
                let fits = |log: &&Arc<KeptLog>| filter.matches(told.block.number, &log.address, &log.topics);
                found.extend(told.logs.iter().filter(fits).cloned());
            }
        }
        read.store(desk.done_up_to(), Ordering::Relaxed);
        Some(found)
    }

    /// The next piece of work that is not begun.
    pub(super) fn begin(&self) -> Option<Work> {
        let mut desk = self.desk();
        let work = desk.queue.get(desk.begun)?.work.clone();
        desk.begun += 1;
        Some(work)
    }

    /// Whether anybody may want logs of this block.
    pub(super) fn wants(&self, work: &Work, bloom: Option<&Bloom>) -> bool {
        self.desk().wanted.iter().any(|(filter, members)| {
            members.values().any(|member| member.from <= work.number)
                && filter.reaches(work.block.id.number)
                && bloom.is_none_or(|bloom| filter.may_be_in(bloom))
        })
    }

    /// Resolves when the work is void: its block was dropped, or nobody wants its logs any more.
    pub(super) async fn void(&self, work: &Work, bloom: Option<&Bloom>) {
        let mut turns = self.turns.subscribe();
        loop {
            let is_void = {
                let desk = self.desk();
                let queued = desk.queue.iter().find(|queued| queued.work.number == work.number);
                queued.is_none_or(|queued| queued.is_dropped)
            };
            if is_void || !self.wants(work, bloom) || turns.changed().await.is_err() {
                return;
            }
        }
    }

    /// The oldest piece of work is done: logs that were fetched, none where they are to be taken back.
    pub(super) fn finish(&self, work: &Work, logs: Vec<KeptLog>) {
        let mut desk = self.desk();
        // The queue was emptied meanwhile.
        if desk.queue.front().is_none_or(|queued| queued.work.number != work.number) {
            return;
        }
        let is_dropped = desk.queue.pop_front().is_none_or(|queued| queued.is_dropped);
        desk.begun -= 1;
        match work.adds {
            true if !is_dropped => desk.tell(work, logs),
            true => {}
            false => desk.take_back(work),
        }
        drop(desk);
        self.turns.send_replace(());
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn add(&mut self, block: &Arc<Block>) {
        if !self.wanted.is_empty() {
            self.enqueue(block, true);
        }
    }

    fn enqueue(&mut self, block: &Arc<Block>, adds: bool) {
        let work = Work { number: self.next, block: block.clone(), adds };
        self.next += 1;
        self.queue.push_back(Queued { work, is_dropped: false });
    }

    /// A block is no longer part of the chain. Logs that are not told yet never are.
    fn retract(&mut self, block: &Arc<Block>) {
        let on_its_way = self
            .queue
            .iter_mut()
            .rev()
            .find(|queued| queued.work.block.id == block.id && queued.work.adds && !queued.is_dropped);
        if let Some(queued) = on_its_way {
            queued.is_dropped = true;
        } else if self.record.newest_first().any(|(_, told)| told.block == block.id && !told.is_over) {
            self.enqueue(block, false);
        }
    }

    /// Every piece of work before this number is done.
    fn done_up_to(&self) -> u64 {
        self.queue.front().map_or(self.next, |queued| queued.work.number)
    }

    fn tell(&mut self, work: &Work, logs: Vec<KeptLog>) {
        let block = work.block.id;
        let concerned = |members: &HashMap<_, Member>| members.values().any(|m| m.from <= work.number);
        let fits =
            |filter: &LogFilter, log: &KeptLog| filter.matches(block.number, &log.address, &log.topics);
        let groups: Vec<_> = self.wanted.iter().filter(|(_, members)| concerned(members)).collect();
        // An answer may be a hundred times what somebody wants of it, and must not be kept alive by that.
        let logs: Vec<_> = logs
            .into_iter()
            .filter(|log| groups.iter().any(|(filter, _)| fits(filter, log)))
            .map(|log| Arc::new(KeptLog { json: Bytes::copy_from_slice(&log.json), ..log }))
            .collect();
        for (filter, members) in groups {
            let fitting: Vec<_> = logs.iter().filter(|log| fits(filter, log)).collect();
            push(members, work.number, &fitting);
        }
        self.keep(work.number, Told { block, logs, added: work.number, is_over: false });
    }

    fn take_back(&mut self, work: &Work) {
        let block = work.block.id;
        let told = self.record.newest_first().find(|(_, told)| told.block == block && !told.is_over);
        let Some((_, told)) = told else { return };
        told.is_over = true;
        let added = told.added;
        let logs: Vec<_> = told.logs.iter().map(|log| Arc::new(super::fetch::removed(log))).collect();
        for (filter, members) in &self.wanted {
            let fits = |log: &&Arc<KeptLog>| filter.matches(block.number, &log.address, &log.topics);
            push(members, added, &logs.iter().filter(fits).collect::<Vec<_>>());
        }
        self.keep(work.number, Told { block, logs, added, is_over: true });
    }

    fn keep(&mut self, number: u64, told: Told) {
        if !told.logs.is_empty() {
            let bytes = told.logs.iter().map(|log| log.json.len() + LOG_BYTES).sum();
            self.record.push(number, bytes, told);
        }
    }

    /// Ends all that hangs on being complete.
    fn end(&mut self) {
        for member in self.wanted.values().flat_map(HashMap::values) {
            if let Some(outbox) = &member.outbox {
                outbox.close(SessionEnd::Missed);
            }
        }
        self.queue = VecDeque::new();
        self.begun = 0;
        self.next += 1;
        self.record.forget(self.next);
    }
}

/// Tells all who wanted them when they came under this number.
fn push(members: &HashMap<HandleId, Member>, number: u64, logs: &[&Arc<KeptLog>]) {
    if logs.is_empty() {
        return;
    }
    for (id, member) in members.iter().filter(|(_, member)| member.from <= number) {
        if let Some(outbox) = &member.outbox {
            outbox.push_all(*id, logs.iter().map(|log| log.json.clone()));
        }
    }
}
