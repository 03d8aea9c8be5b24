//! Publishing a signed transaction: written down, then the same bytes at once to backends that fail apart. The first
//! who takes them answers; the others go on without the client, who may leave.
//!
//! Resending a signed transaction is harmless, what it teaches is not: after a lost answer the next
//! backend may say "already known" or, once it is mined, "nonce too low", and both mean success. Whether
//! they do is decided by the hash, which is computed here from the bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::chain::{Fate, Happened};
use crate::config::WhenUnreachable;
use crate::ethereum::RawTransaction;
use crate::jsonrpc::reply::Payload;
use crate::jsonrpc::{ErrorObject, code};
use crate::policy::classify::Verdict;
use crate::policy::{Backend, BackendIndex, BackendSet, Class, Need, Outcome, Plan, Repeat};

use super::aside::Booking;
use super::attempt::{Order, attempt};
use super::call::{Answered, Call, Said};
use super::carry;
use super::chain::{Chain, Decider};
use super::forward::{Landed, NODES_WORD, forward_telling};
use super::ledger::Begun;
use super::packet::Source;

/// Looking a transaction up has its own time, even when the client's is spent: telling a sender "failed"
/// about a transaction that is out costs them a second payment.
const LOOK_UP: Duration = Duration::from_secs(2);
/// After a refusal, backends that were sent the same bytes have so long to say otherwise: one that lags, or has a policy
/// of its own, must not speak for all.
const SECOND_OPINION: Duration = Duration::from_secs(1);
/// The method that signed bytes are published with.
const SUBMIT: &str = "eth_sendRawTransaction";
/// How long `eth_sendRawTransactionSync` waits where the client does not say, and at most (EIP-7966).
const SYNC_DEFAULT: Duration = Duration::from_secs(20);
const SYNC_MAX: Duration = Duration::from_secs(30);
/// A receipt is asked for this often where no block tells that it is there.
const SYNC_ASK_EVERY: Duration = Duration::from_secs(2);
/// EIP-7966: added to the pool, and not mined in the time given.
const SYNC_TIMEOUT: i64 = 4;

/// Publishes the call's transaction.
pub(super) async fn submit(chain: &Arc<Chain>, call: Call<'_>, hash: B256) -> Answered {
    let wait = (call.method.name != SUBMIT).then(|| sync_timeout(&call));
    let began = Instant::now();
    let Some((call, bytes)) = plain(call) else {
        return Answered::refused(ErrorObject::new(code::INVALID_PARAMS, "invalid transaction"));
    };
    let (tell, told) = oneshot::channel();
    // Whatever becomes of the client.
    tokio::spawn(publish(chain.clone(), call, bytes, hash, tell));
    let answered = told
        .await
        .unwrap_or_else(|_| Answered::failed(ErrorObject::new(code::INTERNAL_ERROR, "internal error"), 0));
    match wait {
        Some(limit) if matches!(answered.said, Said::Result(_)) => {
            receipt(chain, hash, began + limit, answered).await
        }
        _ => answered,
    }
}

/// The call that publishes the same bytes and nothing else, and the bytes.
fn plain(call: Call<'_>) -> Option<(Call<'static>, Bytes)> {
    let values: Vec<&RawValue> = serde_json::from_str(call.params.as_deref()?.get()).ok()?;
    let text: &str = serde_json::from_str(values.first()?.get()).ok()?;
    let bytes = Bytes::from(hex::decode(text).ok()?);
    Some((of_bytes(&bytes, call.transaction?)?, bytes))
}

/// The call that publishes these bytes.
pub(super) fn of_bytes(bytes: &[u8], transaction: RawTransaction) -> Option<Call<'static>> {
    let params = RawValue::from_string(format!("[\"{}\"]", hex::encode_prefixed(bytes))).ok()?;
    Some(Call { transaction: Some(transaction), ..Call::own(SUBMIT, Cow::Owned(params)) })
}

/// What backends have said of one transaction so far.
#[derive(Default)]
struct Hearing {
    /// What tells most.
    said: Option<(Verdict, BackendIndex)>,
    attempts: u32,
    /// Somebody may have taken it without our hearing of it.
    in_the_dark: bool,
    /// Somebody says that its nonce is used: it may be ours that has used it.
    too_low: bool,
}

impl Hearing {
    fn hear(&mut self, verdict: Verdict, backend: BackendIndex) {
        self.too_low |= verdict.outcome.class == Class::TxNonceTooLow;
        let tells_more =
            self.said.as_ref().is_none_or(|(known, _)| known.outcome.tells() < verdict.outcome.tells());
        if tells_more {
            self.said = Some((verdict, backend));
        }
    }

    /// A node has given its word on the transaction.
    fn is_settled(&self) -> bool {
        self.said.as_ref().is_some_and(|(verdict, _)| verdict.outcome.tells() >= NODES_WORD)
    }

    /// Whether the transaction may be out although nobody said so. A refusal by one backend does not settle what another
    /// one did whose answer was lost.
    fn is_in_doubt(&self) -> bool {
        self.in_the_dark || self.too_low
    }
}

fn is_taken(outcome: &Outcome) -> bool {
    matches!(outcome.class, Class::Ok | Class::TxAlreadyKnown)
}

/// The whole of it, in a task of its own.
async fn publish(
    chain: Arc<Chain>,
    call: Call<'static>,
    bytes: Bytes,
    hash: B256,
    tell: oneshot::Sender<Answered>,
) {
    let Some(transaction) = &call.transaction else { return };
    let mut tell = Some(tell);
    let mut answer = |answered: Answered| {
        if let Some(tell) = tell.take() {
            // A client that has left hears nothing of it.
            let _ = tell.send(answered);
        }
    };
    let height = chain.decide().follower.head().map_or(0, |head| head.number);
    let is_private = chain.settings.backends.iter().any(|backend| backend.private);
    let begun = chain.ledger.begin(chain.now(), height, transaction, bytes, is_private).await;
    let mut is_answered = false;
    let mut is_promised = false;
    match begun {
        Err(error) => {
            let error =
                ErrorObject::new(code::INTERNAL_ERROR, format!("the transaction was not sent: {error}"));
            return answer(Answered::refused(error));
        }
        Ok(Begun::New) => {}
        Ok(Begun::Promised(fate)) => {
            chain.ledger.answered(chain.now(), hash, None).await;
            if fate.place().is_some() {
                return answer(of_journal(hash_result(hash)));
            }
            // It is sent once more, since it is asked for, and whatever comes of that it was taken before.
            is_promised = true;
        }
    }
    let plan = chain.plan(call.method, chain.routing.deadline_for(call.method));
    let calls = [call];
    let mut hearing = Hearing::default();
    let (first, mut first_sent) = mpsc::unbounded_channel();
    let main = forward_telling(&chain, &calls, plan, |backend| {
        // Only the first one matters, and by then nobody listens any more.
        let _ = first.send(backend);
    });
    tokio::pin!(main);
    let mut lanes = FuturesUnordered::new();
    let (mut main_ended, mut lanes_started) = (false, false);
    let mut until = is_promised.then(|| Instant::now() + SECOND_OPINION);
    loop {
        let ended = tokio::select! {
            biased;
            Some(backend) = first_sent.recv(), if !lanes_started => {
                lanes_started = true;
                for further in further(&chain, &plan.need, backend, is_private) {
                    hearing.attempts += 1;
                    lanes.push(lane(&chain, &calls, plan, further));
                }
                continue;
            }
            Some(ended) = lanes.next() => ended,
            landed = &mut main, if !main_ended => {
                main_ended = true;
                hearing.attempts += landed.iter().map(|landed| landed.attempts).sum::<u32>();
                let landed = landed.into_iter().next().unwrap_or(Landed::NOWHERE);
                hearing.in_the_dark |= landed.in_the_dark;
                Lane { said: landed.said, in_the_dark: false }
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() && !is_answered => {
                // Whoever is still silent has the bytes.
                hearing.in_the_dark = true;
                is_answered = true;
                match is_promised {
                    true => answer(of_journal(hash_result(hash))),
                    false => conclude(&chain, &calls[0], &mut hearing, hash, &mut answer).await,
                }
                continue;
            }
            else => break,
        };
        hearing.in_the_dark |= ended.in_the_dark;
        let Some((verdict, backend)) = ended.said else {
            if main_ended && lanes.is_empty() {
                break;
            }
            continue;
        };
        chain.ledger.heard(hash, &chain.link(backend).name, verdict.outcome.class, false);
        if is_taken(&verdict.outcome) {
            chain.ledger.tell(chain.now(), hash, Happened::Taken(backend));
            carry::took(&chain, &calls[0], backend);
            if !is_answered {
                is_answered = true;
                let said = Some((verdict, backend));
                let landed = Landed { said, attempts: hearing.attempts.max(1), in_the_dark: false };
                if !is_promised {
                    chain.ledger.answered(chain.now(), hash, None).await;
                }
                answer(carry::told(&chain, &calls[0], landed));
            }
        } else {
            hearing.hear(verdict, backend);
        }
        if main_ended && lanes.is_empty() {
            break;
        }
        if main_ended && hearing.is_settled() {
            until.get_or_insert_with(|| Instant::now() + SECOND_OPINION);
        }
    }
    if is_promised && !is_answered {
        answer(of_journal(hash_result(hash)));
    } else if !is_answered {
        conclude(&chain, &calls[0], &mut hearing, hash, &mut answer).await;
    }
}

/// Nobody has taken it, as far as they say.
async fn conclude(
    chain: &Arc<Chain>,
    call: &Call<'_>,
    hearing: &mut Hearing,
    hash: B256,
    answer: &mut impl FnMut(Answered),
) {
    if hearing.is_in_doubt()
        && let Some(backend) = who_knows(chain, hash).await
    {
        chain.ledger.tell(chain.now(), hash, Happened::Taken(backend));
        chain.ledger.answered(chain.now(), hash, None).await;
        let mut answered = Answered::local(hash_result(hash));
        answered.trail.source = Source::Backend;
        answered.trail.attempts = hearing.attempts;
        answered.trail.backends = vec![chain.link(backend).name.clone()];
        return answer(answered);
    }
    if !hearing.is_settled() && chain.when_unreachable == WhenUnreachable::Hold {
        chain.ledger.answered(chain.now(), hash, Some(Happened::Held)).await;
        tracing::warn!(chain = %chain.settings.name, %hash, "nobody can be reached: the transaction is held");
        return answer(of_journal(hash_result(hash)));
    }
    chain.ledger.answered(chain.now(), hash, Some(Happened::Refused)).await;
    let landed = Landed { said: hearing.said.take(), attempts: hearing.attempts, in_the_dark: false };
    answer(carry::told(chain, call, landed));
}

/// Known here, without asking anybody.
fn of_journal(result: Bytes) -> Answered {
    let mut answered = Answered::local(result);
    answered.trail.source = Source::Journal;
    answered
}

/// Whom the same bytes go to at the same time: those as far from the first and from each other as there are. Private
/// ones are all asked: which of them gets a transaction into a block is not known before.
fn further(chain: &Chain, need: &Need, first: BackendIndex, is_private: bool) -> Vec<BackendIndex> {
    let count = if is_private { usize::MAX } else { chain.fanout.saturating_sub(1) };
    let mut has = BackendSet::default();
    has.insert(first);
    spread(chain, need, has, count)
}

/// Up to `count` backends beside those that have it, the most distant first, booked as started.
pub(super) fn spread(chain: &Chain, need: &Need, has: BackendSet, count: usize) -> Vec<BackendIndex> {
    let now = chain.now();
    let mut decider = chain.decide();
    let Decider { fleet, rng, .. } = &mut *decider;
    fleet.spread_to(now, need, has, count, rng)
}

/// What one backend said.
pub(super) struct Lane {
    pub(super) said: Option<(Verdict, BackendIndex)>,
    /// It got the bytes, and no word of a node came back.
    in_the_dark: bool,
}

/// Sends the call to one backend, which the fleet has booked as started.
pub(super) async fn lane(chain: &Arc<Chain>, calls: &[Call<'_>], plan: Plan, backend: BackendIndex) -> Lane {
    let booking = Booking::open(chain.clone(), backend, plan.need);
    let order = Order { backend, items: vec![0], deadline: plan.deadline, repeat: plan.repeat };
    let ended = attempt(chain, calls, order).await;
    let Some((_, verdict)) = ended.verdicts.into_iter().next() else {
        return Lane { said: None, in_the_dark: ended.sent };
    };
    booking.close(&verdict.outcome);
    let outcome = &verdict.outcome;
    let in_the_dark = ended.sent && outcome.retry_elsewhere && outcome.tells() < NODES_WORD;
    Lane { said: Some((verdict, backend)), in_the_dark }
}

/// The hash as a JSON string.
pub(super) fn hash_result(hash: B256) -> Bytes {
    format!("\"{hash:#x}\"").into()
}

/// What `eth_sendRawTransactionSync` answers: the receipt, or that there is none yet.
async fn receipt(chain: &Arc<Chain>, hash: B256, until: Instant, taken: Answered) -> Answered {
    let Ok(params) = RawValue::from_string(format!("[\"{hash:#x}\"]")) else { return taken };
    let mut changed = chain.ledger.changed.subscribe();
    while Instant::now() < until {
        let call = Call::own("eth_getTransactionReceipt", Cow::Borrowed(&params));
        let answered = Box::pin(carry::carry(chain, call)).await;
        if matches!(&answered.said, Said::Result(bytes) if &**bytes != b"null") {
            return answered;
        }
        if matches!(chain.ledger.fate(&hash), Some(Fate::Replaced { .. } | Fate::Expired)) {
            break;
        }
        let pause = SYNC_ASK_EVERY.min(until.saturating_duration_since(Instant::now()));
        let _ = timeout(pause, changed.changed()).await;
    }
    let mut error = ErrorObject::new(
        SYNC_TIMEOUT,
        "the transaction was added to the mempool but was not processed in the time given",
    );
    error.data = RawValue::from_string(format!("\"{hash:#x}\"")).ok();
    Answered { said: Said::Error(error.to_json().into()), ..taken }
}

/// The second parameter, in milliseconds.
fn sync_timeout(call: &Call<'_>) -> Duration {
    let values: Option<Vec<&RawValue>> =
        call.params.as_deref().and_then(|params| serde_json::from_str(params.get()).ok());
    let second = values.as_ref().and_then(|values| values.get(1).map(|value| value.get()));
    let ms = second.and_then(|text| {
        let quantity =
            || text.trim_matches('"').strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        text.parse().ok().or_else(quantity)
    });
    ms.map_or(SYNC_DEFAULT, Duration::from_millis).min(SYNC_MAX)
}

/// A backend that answers for the transaction, pending or mined, if there is one.
async fn who_knows(chain: &Chain, hash: B256) -> Option<BackendIndex> {
    let readers: Vec<_> = {
        let decider = chain.decide();
        let fleet = &decider.fleet;
        // Where transactions are private, so is the question for one.
        let private = fleet.iter().any(|(_, backend)| backend.spec().private);
        let may_be_asked = |backend: &Backend| match private {
            true => backend.spec().private && !backend.is_cordoned(),
            false => fleet.answers_reads(backend),
        };
        fleet.iter().filter(|(_, backend)| may_be_asked(backend)).map(|(index, _)| index).collect()
    };
    let params = RawValue::from_string(format!("[\"{hash:#x}\"]")).ok()?;
    let calls = [Call::own("eth_getTransactionByHash", Cow::Owned(params))];
    let deadline = chain.now() + LOOK_UP;
    let mut asked: FuturesUnordered<_> = readers
        .into_iter()
        .map(|backend| {
            attempt(chain, &calls, Order { backend, items: vec![0], deadline, repeat: Repeat::Freely })
        })
        .collect();
    let ours = format!("{hash:#x}");
    while let Ok(Some(ended)) = tokio::time::timeout_at(chain.instant(deadline), asked.next()).await {
        let found = ended.verdicts.iter().any(|(_, verdict)| match &verdict.payload {
            Some(Payload::Result(bytes)) => is_transaction(bytes, &ours),
            _ => false,
        });
        if found {
            return Some(ended.backend);
        }
    }
    None
}

/// Whether the result is a transaction object with this hash: another hash proves nothing.
fn is_transaction(result: &[u8], hash: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Found<'a> {
        #[serde(borrow)]
        hash: Cow<'a, str>,
    }
    serde_json::from_slice::<Option<Found<'_>>>(result)
        .ok()
        .flatten()
        .is_some_and(|found| found.hash.eq_ignore_ascii_case(hash))
}

#[cfg(test)]
mod tests;
