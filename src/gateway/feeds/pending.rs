//! Transactions that are not in a block yet: what backends' pools show, and what is sent through the proxy itself.
//!
//! One backend is asked, and the next one when it fails, only while somebody listens. No two pools are the same, and
//! nothing here is promised to be complete; what is told is told once.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::jsonrpc::reply::Payload;
use crate::policy::{BackendIndex, Class, Repeat};

use super::record::{Bounds, Record};
use crate::gateway::attempt::{Order, attempt};
use crate::gateway::call::{Call, Said};
use crate::gateway::carry::carry;
use crate::gateway::chain::Chain;
use crate::gateway::outbox::{HandleId, Outbox};

/// A pool is asked for what is new this often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Where nobody has anything to tell, it is tried anew after this.
const REST: Duration = Duration::from_secs(5);
/// Looks at the pending block before pools are tried again.
const LOOKS: u32 = 12;
/// One question's time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Hashes that are remembered: as many as mainnet's pool sees in several minutes.
const SEEN_MAX: usize = 16 * 1024;
const KEPT: Bounds = Bounds { entries_max: SEEN_MAX, bytes_max: usize::MAX, entries_min: SEEN_MAX };
/// Whole transactions that may be waited for; of more than that the oldest are not told.
const WHOLE_MAX: usize = 1024;
/// And how many are asked for at a time.
const WHOLE_AT_ONCE: usize = 8;

/// The feed of pending transactions of one chain.
#[derive(Debug)]
pub(in crate::gateway) struct Pending {
    desk: Mutex<Desk>,
    /// Somebody came.
    came: Notify,
    /// A whole transaction is to be asked for.
    to_ask: Notify,
}

#[derive(Debug)]
struct Desk {
    hashes: HashMap<HandleId, Arc<Outbox>>,
    whole: HashMap<HandleId, Arc<Outbox>>,
    filters: usize,
    seen: HashSet<B256>,
    order: VecDeque<B256>,
    record: Record<B256>,
    next: u64,
    /// Whole transactions to be asked for.
    to_ask: VecDeque<B256>,
}

impl Default for Pending {
    fn default() -> Self {
        let desk = Desk {
            hashes: HashMap::new(),
            whole: HashMap::new(),
            filters: 0,
            seen: HashSet::new(),
            order: VecDeque::new(),
            record: Record::new(KEPT),
            next: 0,
            to_ask: VecDeque::new(),
        };
        Self { desk: Mutex::new(desk), came: Notify::new(), to_ask: Notify::new() }
    }
}

impl Pending {
    pub(super) fn subscribe(&self, id: HandleId, whole: bool, outbox: Arc<Outbox>) {
        let mut desk = self.desk();
        let seats = if whole { &mut desk.whole } else { &mut desk.hashes };
        seats.insert(id, outbox);
        self.came.notify_one();
    }

    pub(super) fn leave(&self, id: HandleId) {
        let mut desk = self.desk();
        desk.hashes.remove(&id);
        desk.whole.remove(&id);
        desk.rest();
    }

    /// One more filter: the number of the first transaction that it is to see.
    pub(in crate::gateway) fn filter_made(&self) -> u64 {
        let mut desk = self.desk();
        desk.filters += 1;
        self.came.notify_one();
        desk.next
    }

    pub(in crate::gateway) fn filter_gone(&self) {
        let mut desk = self.desk();
        desk.filters = desk.filters.saturating_sub(1);
        desk.rest();
    }

    /// Hashes that were not read yet, as far as they are remembered; moves `read` past them.
    pub(in crate::gateway) fn since(&self, read: &AtomicU64) -> Vec<B256> {
        let desk = self.desk();
        let from = read.swap(desk.next, Ordering::Relaxed).max(desk.next.saturating_sub(SEEN_MAX as u64));
        desk.record.since(from).into_iter().flatten().map(|(_, hash)| *hash).collect()
    }

    /// Somebody's pool has this transaction.
    pub(in crate::gateway) fn tell(&self, hash: B256) {
        let mut desk = self.desk();
        if desk.audience() == 0 || !desk.seen.insert(hash) {
            return;
        }
        desk.order.push_back(hash);
        if desk.order.len() > SEEN_MAX
            && let Some(oldest) = desk.order.pop_front()
        {
            desk.seen.remove(&oldest);
        }
        let number = desk.next;
        desk.next += 1;
        if desk.filters > 0 {
            desk.record.push(number, 0, hash);
        }
        let result: Bytes = format!("\"{hash:#x}\"").into();
        for (id, outbox) in &desk.hashes {
            outbox.push(*id, result.clone());
        }
        if !desk.whole.is_empty() {
            desk.to_ask.push_back(hash);
            if desk.to_ask.len() > WHOLE_MAX {
                desk.to_ask.pop_front();
            }
            self.to_ask.notify_one();
        }
    }

    fn tell_whole(&self, transaction: &Bytes) {
        for (id, outbox) in &self.desk().whole {
            outbox.push(*id, transaction.clone());
        }
    }

    fn next_whole(&self) -> Option<B256> {
        self.desk().to_ask.pop_front()
    }

    pub(super) fn audience(&self) -> usize {
        self.desk().audience()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn audience(&self) -> usize {
        self.hashes.len() + self.whole.len() + self.filters
    }

    /// Nothing is kept for nobody.
    fn rest(&mut self) {
        if self.audience() == 0 {
            self.seen = HashSet::new();
            self.order = VecDeque::new();
            self.to_ask = VecDeque::new();
            self.record.forget(self.next);
        }
    }
}

/// Where the news come from.
enum Source {
    /// A filter of the pool at a backend, by its id as JSON.
    Pool(BackendIndex, Box<RawValue>),
    /// Nobody has such filters: what the block that is being built holds, for so many more looks.
    PendingBlock(u32),
}

/// Asks backends for what is new in their pools while somebody listens. Runs until it is dropped.
pub(super) async fn poll(chain: &Arc<Chain>) {
    let pending = &chain.feeds.pending;
    futures_util::future::join(ask_pools(chain, pending), ask_whole(chain, pending)).await;
}

async fn ask_pools(chain: &Arc<Chain>, pending: &Pending) {
    let mut source: Option<Source> = None;
    let mut turn = 0;
    loop {
        if pending.audience() == 0 {
            if let Some(Source::Pool(backend, id)) = source.take() {
                let _ = ask(chain, backend, "eth_uninstallFilter", &format!("[{}]", id.get())).await;
            }
            pending.came.notified().await;
            continue;
        }
        let (found, rest, next) = match source.take() {
            None => {
                source = Some(open(chain, &mut turn).await);
                continue;
            }
            Some(Source::Pool(backend, id)) => {
                let news = ask(chain, backend, "eth_getFilterChanges", &format!("[{}]", id.get())).await;
                let found = news.and_then(|result| serde_json::from_slice::<Vec<Hash>>(&result).ok());
                (found, ASK_EVERY, Some(Source::Pool(backend, id)))
            }
            Some(Source::PendingBlock(looks)) => {
                (pending_block(chain).await, REST, looks.checked_sub(1).map(Source::PendingBlock))
            }
        };
        if let Some(hashes) = found {
            source = next;
            hashes.into_iter().filter_map(|Hash(text)| text.parse().ok()).for_each(|hash| pending.tell(hash));
        }
        sleep(rest).await;
    }
}

/// A transaction's hash as it was sent.
#[derive(Deserialize)]
#[serde(transparent)]
struct Hash(String);

/// Looks for a backend that has filters, from the next one on.
async fn open(chain: &Arc<Chain>, turn: &mut usize) -> Source {
    let readers: Vec<BackendIndex> = {
        let (decider, now) = (chain.decide(), chain.now());
        let fleet = &decider.fleet;
        let able = fleet.iter().filter(|(_, b)| fleet.answers_reads(b) && b.is_usable(now));
        able.map(|(index, _)| index).collect()
    };
    for _ in 0..readers.len() {
        let backend = readers[*turn % readers.len()];
        *turn += 1;
        let made = ask(chain, backend, "eth_newPendingTransactionFilter", "[]").await;
        if let Some(id) = made.and_then(|id| serde_json::from_slice::<Box<RawValue>>(&id).ok()) {
            return Source::Pool(backend, id);
        }
    }
    Source::PendingBlock(LOOKS)
}

/// One question to one backend; its result, if it has one.
async fn ask(chain: &Arc<Chain>, backend: BackendIndex, method: &str, params: &str) -> Option<Bytes> {
    let params = RawValue::from_string(params.to_owned()).ok()?;
    let call = Call::own(method, Cow::Borrowed(&params));
    let deadline = chain.now() + PATIENCE;
    // What changes a filter's state is not asked twice.
    let order = Order { backend, items: vec![0], deadline, repeat: Repeat::IfUnsent };
    let ended = attempt(chain, &[call], order).await;
    let verdict = ended.verdicts.into_iter().next()?.1;
    match verdict.payload {
        Some(Payload::Result(result)) if verdict.outcome.class == Class::Ok => Some(result),
        _ => None,
    }
}

async fn pending_block(chain: &Arc<Chain>) -> Option<Vec<Hash>> {
    #[derive(Deserialize)]
    struct Built {
        transactions: Vec<Hash>,
    }
    let answer = call(chain, "eth_getBlockByNumber", r#"["pending",false]"#).await?;
    Some(serde_json::from_slice::<Built>(&answer).ok()?.transactions)
}

/// One call the usual way; its result, if it has one.
async fn call(chain: &Arc<Chain>, method: &str, params: &str) -> Option<Bytes> {
    let params = RawValue::from_string(params.to_owned()).ok()?;
    let call = Call::own(method, Cow::Borrowed(&params));
    match carry(chain, call).await.said {
        Said::Result(result) => Some(result),
        Said::Error(_) => None,
    }
}

/// Asks for whole transactions, once each for everybody.
async fn ask_whole(chain: &Arc<Chain>, pending: &Pending) {
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < WHOLE_AT_ONCE
            && let Some(hash) = pending.next_whole()
        {
            under_way.push(async move {
                call(chain, "eth_getTransactionByHash", &format!("[\"{hash:#x}\"]")).await
            });
        }
        tokio::select! {
            Some(transaction) = under_way.next() => {
                // It may be gone again.
                if let Some(transaction) = transaction.filter(|json| json.starts_with(b"{")) {
                    pending.tell_whole(&transaction);
                }
            }
            () = pending.to_ask.notified() => {}
        }
    }
}
