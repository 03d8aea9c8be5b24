//! Sees transactions through: looks for each in the blocks as they come, asks backends for those that are in none, sends
//! again what they lack, until it is in a block that no longer changes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::chain::{BlockId, ChainEvent, Fate, Happened, Looked, Next};
use crate::ethereum::RawTransaction;
use crate::jsonrpc::reply::Payload;
use crate::policy::{Backend, BackendIndex, BackendSet, Class, Need, Repeat};

use super::attempt::{Order, attempt};
use super::call::{Call, Said};
use super::carry;
use super::chain::Chain;
use super::forward::{Landed, forward};
use super::resolve::Sight;
use super::transaction::{Lane, lane, of_bytes, spread};
use super::watch::number;

/// Time passes for transactions this often.
const TICK: Duration = Duration::from_secs(1);
/// What is over is forgotten this often.
const TIDY_EVERY_TICKS: u64 = 60;
/// Things under way at a time.
const AT_ONCE: usize = 16;
/// Things that wait. Past it they are found to be due again later.
const WAITING_MAX: usize = 1024;
/// Backends that are asked for one transaction.
const ASKED_MAX: usize = 4;
/// Backends that one transaction is sent to again at a time.
const RESENT_MAX: usize = 8;
/// One answer's time.
const PATIENCE: Duration = Duration::from_secs(3);
/// A block's transactions are asked for so often; then those that may be in it are asked for one by one.
const TURNS: u32 = 4;
const TURN_PAUSE: Duration = Duration::from_millis(100);
/// Where nobody says what is final, a block this deep is.
const DEEP: u64 = 256;

/// What is to be done.
enum Work {
    /// Find out which transactions are in a block.
    Read(BlockId),
    Look(B256),
    /// To those who lack it, where it is known who does.
    Resend(B256, Option<BackendSet>),
    Escalate(B256),
    /// One after the other: the order is that of their nonces.
    Release(Vec<B256>),
}

/// Runs until it is dropped.
pub(super) async fn deliver(chain: Arc<Chain>) {
    let mut events = chain.tip.listen();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticked = 0_u64;
    let mut waiting: VecDeque<Work> = VecDeque::new();
    let mut under_way: FuturesUnordered<BoxFuture<'_, Option<Work>>> = FuturesUnordered::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(work) = waiting.pop_front()
        {
            under_way.push(Box::pin(carry_out(&chain, work)));
        }
        let room = WAITING_MAX.saturating_sub(waiting.len());
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Ok(event) if chain.ledger.has_work() => on(&chain, &event, room, &mut waiting),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {}
                // The chain is on its way out.
                Err(RecvError::Closed) => return std::future::pending().await,
            },
            Some(more) = under_way.next() => waiting.extend(more),
            _ = ticks.tick() => {
                ticked += 1;
                if ticked.is_multiple_of(TIDY_EVERY_TICKS) {
                    chain.ledger.tidy(settled(&chain));
                }
                if chain.ledger.has_work() {
                    // Somebody has to look at the chain, though no client may be there.
                    chain.touch();
                    tick(&chain, room, &mut waiting);
                }
            }
        }
    }
}

fn on(chain: &Chain, event: &ChainEvent, room: usize, waiting: &mut VecDeque<Work>) {
    let now = chain.now();
    let mut to_do = Vec::new();
    let added = match event {
        ChainEvent::Extended { blocks } => &blocks[..],
        ChainEvent::Reorged { dropped, added } => {
            if let Some(lowest) = dropped.iter().map(|block| block.id.number).min() {
                to_do.extend(chain.ledger.tell_all(now, Happened::RolledBackTo(lowest), usize::MAX));
            }
            &added[..]
        }
        ChainEvent::Skipped { to } => std::slice::from_ref(to),
        _ => return,
    };
    for block in added {
        to_do.extend(chain.ledger.tell_all(now, Happened::Served(block.id), usize::MAX));
        waiting.push_back(Work::Read(block.id));
    }
    chain.ledger.tell_all(now, Happened::Settled(settled(chain)), usize::MAX);
    if let Some(head) = added.last() {
        to_do.extend(chain.ledger.tell_all(now, Happened::Grown(head.id.number), room));
    }
    queue(chain, to_do, waiting);
}

fn tick(chain: &Chain, room: usize, waiting: &mut VecDeque<Work>) {
    let now = chain.now();
    let is_reachable = {
        let decider = chain.decide();
        let private = decider.fleet.iter().any(|(_, backend)| backend.spec().private);
        let takes = |backend: &Backend| chain.escalates || backend.spec().private == private;
        decider.fleet.iter().any(|(_, backend)| takes(backend) && backend.is_usable(now))
    };
    let to_do = chain.ledger.tell_all(now, Happened::Tick { is_reachable }, room);
    queue(chain, to_do, waiting);
}

fn queue(chain: &Chain, to_do: Vec<(B256, Next)>, waiting: &mut VecDeque<Work>) {
    let mut released = Vec::new();
    for (hash, next) in to_do {
        match next {
            Next::SendToAll if chain.ledger.fate(&hash) == Some(Fate::Held) => released.push(hash),
            next => waiting.extend(work(hash, next)),
        }
    }
    if !released.is_empty() {
        waiting.push_back(Work::Release(released));
    }
}

fn work(hash: B256, next: Next) -> Option<Work> {
    match next {
        Next::Nothing => None,
        Next::Look => Some(Work::Look(hash)),
        Next::SendToAll => Some(Work::Resend(hash, None)),
        Next::Send(lacks) => Some(Work::Resend(hash, Some(lacks))),
        Next::Escalate => Some(Work::Escalate(hash)),
    }
}

/// The height up to which blocks no longer change.
fn settled(chain: &Chain) -> u64 {
    let decider = chain.decide();
    let deep = decider.follower.head().map_or(0, |head| head.number.saturating_sub(DEEP));
    decider.follower.finalized().map_or(deep, |finalized| finalized.max(deep))
}

async fn carry_out(chain: &Arc<Chain>, work: Work) -> Option<Work> {
    match work {
        Work::Read(block) => {
            if let Some(hashes) = transactions_of(chain, block).await
                && is_served(chain, block) != Some(false)
            {
                chain.ledger.included(chain.now(), block, &hashes);
            }
            None
        }
        Work::Look(hash) => {
            let next = look(chain, hash).await;
            self::work(hash, next)
        }
        Work::Resend(hash, lacks) => {
            resend(chain, hash, lacks).await;
            None
        }
        Work::Escalate(hash) => {
            if chain.ledger.escalate(&hash) {
                tracing::warn!(chain = %chain.settings.name, %hash, "a private transaction goes to public backends now, as transactions.private_escalates_after says");
                resend(chain, hash, None).await;
            }
            None
        }
        Work::Release(hashes) => {
            for hash in hashes {
                resend(chain, hash, None).await;
            }
            None
        }
    }
}

/// Whether the served chain has this block at its height; `None` where it does not reach there.
fn is_served(chain: &Chain, block: BlockId) -> Option<bool> {
    chain.decide().follower.served(block.number).map(|served| served.id.hash == block.hash)
}

/// Whether one backend's word is enough that a transaction is in this block: the served chain has it, or has left it behind.
/// Above the head it is one backend's block, which may never become the chain's.
fn is_settled_on(chain: &Chain, block: BlockId) -> bool {
    is_served(chain, block)
        .unwrap_or_else(|| chain.decide().follower.head().is_none_or(|head| block.number <= head.number))
}

fn call(name: &'static str, params: String) -> Option<Call<'static>> {
    Some(Call::own(name, Cow::Owned(RawValue::from_string(params).ok()?)))
}

/// Hashes of the transactions in a block, in their order.
async fn transactions_of(chain: &Arc<Chain>, block: BlockId) -> Option<Vec<B256>> {
    #[derive(Deserialize)]
    struct Shown {
        hash: B256,
        transactions: Vec<B256>,
    }
    for _ in 0..TURNS {
        let mut call = call("eth_getBlockByHash", format!("[\"{:#x}\",false]", block.hash))?;
        call.known_to_exist = true;
        let plan = carry::plan(chain, &mut call, &Sight::now(chain));
        let calls = [call];
        let landed = forward(chain, &calls, plan).await.pop().unwrap_or(Landed::NOWHERE);
        if let Said::Result(bytes) = carry::told(chain, &calls[0], landed).said
            && let Ok(Some(shown)) = serde_json::from_slice::<Option<Shown>>(&bytes)
            && shown.hash == block.hash
        {
            return Some(shown.transactions);
        }
        sleep(TURN_PAUSE).await;
    }
    None
}

/// What one backend says of a transaction.
enum Seen {
    Pending,
    In(BlockId, u64),
    Nothing,
}

fn seen(bytes: &[u8], hash: B256) -> Option<Seen> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown<'a> {
        hash: B256,
        block_hash: Option<B256>,
        #[serde(borrow)]
        block_number: Option<&'a RawValue>,
        #[serde(borrow)]
        transaction_index: Option<&'a RawValue>,
    }
    let Some(shown) = serde_json::from_slice::<Option<Shown<'_>>>(bytes).ok()? else {
        return Some(Seen::Nothing);
    };
    if shown.hash != hash {
        return None;
    }
    let quantity = |raw: Option<&RawValue>| number(raw?.get().as_bytes());
    Some(match (shown.block_hash, quantity(shown.block_number), quantity(shown.transaction_index)) {
        (Some(hash), Some(number), Some(index)) => Seen::In(BlockId { number, hash }, index),
        _ => Seen::Pending,
    })
}

async fn look(chain: &Arc<Chain>, hash: B256) -> Next {
    let Some(record) = chain.ledger.record(&hash) else { return Next::Nothing };
    let Some(by_hash) = call("eth_getTransactionByHash", format!("[\"{hash:#x}\"]")) else {
        return Next::Nothing;
    };
    let calls = [by_hash];
    let height = chain.decide().follower.head().map_or(0, |head| head.number);
    let mut looked = Looked { height, ..Looked::default() };
    let mut readers = readers(chain, record.is_secret(), chain.ledger.taken_by(&hash));
    let others = readers.split_off(readers.len().min(ASKED_MAX));
    if let Some(next) = ask(chain, &calls, hash, readers, &mut looked).await {
        return next;
    }
    if looked.has.is_empty()
        && let Some(sender) = record.sender
    {
        looked.next_nonce = mined_nonce(chain, sender).await;
        let is_used = record.nonce.zip(looked.next_nonce).is_some_and(|(nonce, next)| next > nonce);
        // That it was replaced is not said before everybody was asked.
        if is_used && let Some(next) = ask(chain, &calls, hash, others, &mut looked).await {
            return next;
        }
    }
    chain.ledger.tell(chain.now(), hash, Happened::Looked(looked))
}

/// Asks these backends; what is to be done where one of them shows it in a block.
async fn ask(
    chain: &Arc<Chain>,
    calls: &[Call<'_>],
    hash: B256,
    backends: Vec<BackendIndex>,
    looked: &mut Looked,
) -> Option<Next> {
    let deadline = chain.now() + PATIENCE;
    let asked = backends.into_iter().map(|backend| {
        attempt(chain, calls, Order { backend, items: vec![0], deadline, repeat: Repeat::Freely })
    });
    for ended in join_all(asked).await {
        let payload = ended.verdicts.into_iter().next().and_then(|(_, verdict)| verdict.payload);
        let Some(Payload::Result(bytes)) = payload else { continue };
        match seen(&bytes, hash) {
            Some(Seen::In(block, index)) if is_settled_on(chain, block) => {
                return Some(chain.ledger.tell(chain.now(), hash, Happened::Included(block, index)));
            }
            // In a block that is not the chain's: on another branch it is, or was.
            Some(Seen::In(..) | Seen::Pending) => looked.has.insert(ended.backend),
            Some(Seen::Nothing) => looked.lacks.insert(ended.backend),
            None => {}
        }
    }
    None
}

/// Who may be asked for a transaction: those who took it first.
fn readers(chain: &Chain, private: bool, taken_by: BackendSet) -> Vec<BackendIndex> {
    let now = chain.now();
    let decider = chain.decide();
    let fleet = &decider.fleet;
    let mut readers: Vec<BackendIndex> = fleet
        .iter()
        .filter(|(_, backend)| {
            // Where transactions are private, so is the question for one.
            backend.is_usable(now)
                && if private { backend.spec().private } else { fleet.answers_reads(backend) }
        })
        .map(|(index, _)| index)
        .collect();
    readers.sort_by_key(|backend| !taken_by.contains(*backend));
    readers
}

async fn mined_nonce(chain: &Arc<Chain>, sender: alloy_primitives::Address) -> Option<u64> {
    let mut call = call("eth_getTransactionCount", format!("[\"{sender:#x}\",\"latest\"]"))?;
    let plan = carry::plan(chain, &mut call, &Sight::now(chain));
    let calls = [call];
    let (verdict, _) = forward(chain, &calls, plan).await.pop()?.said?;
    match verdict.payload {
        Some(Payload::Result(bytes)) if verdict.outcome.class == Class::Ok => number(&bytes),
        _ => None,
    }
}

/// Sends the same bytes to backends that lack them, or to any.
async fn resend(chain: &Arc<Chain>, hash: B256, lacks: Option<BackendSet>) {
    if !chain.ledger.fate(&hash).is_some_and(Fate::is_open) {
        return;
    }
    let Some(bytes) = chain.ledger.bytes(&hash) else { return };
    let Some(call) = RawTransaction::from_bytes(&bytes).ok().and_then(|tx| of_bytes(&bytes, tx)) else {
        return;
    };
    let plan = chain.plan(call.method, chain.routing.deadline_for(call.method));
    // Whoever is not among those who lack it has it, or was not asked.
    let mut has = BackendSet::default();
    if let Some(lacks) = lacks {
        let decider = chain.decide();
        decider.fleet.iter().filter(|(at, _)| !lacks.contains(*at)).for_each(|(at, _)| has.insert(at));
    }
    let mut backends = spread(chain, &plan.need, has, RESENT_MAX);
    if chain.ledger.record(&hash).is_some_and(|record| record.escalated) {
        // Nothing that is for private backends alone goes to others, so it is not asked for as a transaction.
        let public = Need { submits: false, ..plan.need };
        backends.extend(spread(chain, &public, has, RESENT_MAX));
    }
    let calls = [call];
    for Lane { said, .. } in join_all(backends.into_iter().map(|b| lane(chain, &calls, plan, b))).await {
        let Some((verdict, backend)) = said else { continue };
        let class = verdict.outcome.class;
        tracing::debug!(chain = %chain.settings.name, %hash, backend = %chain.link(backend).name, ?class, "sent again");
        chain.ledger.heard(hash, &chain.link(backend).name, class, true);
        if matches!(class, Class::Ok | Class::TxAlreadyKnown) {
            chain.ledger.tell(chain.now(), hash, Happened::Taken(backend));
            carry::took(chain, &calls[0], backend);
        }
    }
}
