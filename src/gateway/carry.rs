//! One admitted call from its plan to what the client is told, and what the answer teaches on its way.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::jsonrpc::reply::Payload;
use crate::jsonrpc::{ErrorObject, code};
use crate::policy::{BackendIndex, Class, Plan, classify};

use super::call::{Answered, Call, Said, no_such_method};
use super::chain::Chain;
use super::forward::{Landed, NODES_WORD, forward};
use super::known::Question;
use super::packet::{Source, Trail};
use super::resolve::{Sight, needs_sight, resolve};
use super::{agree, nonce, ranges, transaction, watch};

/// How often, and after which pause, a receipt is asked for again that must be there.
const RECEIPT_TURNS: u32 = 8;
const RECEIPT_PAUSE: Duration = Duration::from_millis(200);

/// Gets one admitted call answered.
pub(super) async fn carry(chain: &Arc<Chain>, call: Call<'_>) -> Answered {
    if let Some(hash) = call.transaction.as_ref().map(|transaction| transaction.hash()) {
        return Box::pin(transaction::submit(chain, call, hash)).await;
    }
    let sight = if needs_sight(&call) { Sight::of(chain).await } else { Sight::default() };
    if let Some(answered) = answered_by_sight(&call, &sight) {
        return answered;
    }
    ask(chain, call, sight, None).await
}

/// Gets it answered by a backend, as somebody who sees the chain so; what comes is kept where `question` says that it may be.
pub(super) async fn ask(
    chain: &Arc<Chain>,
    call: Call<'_>,
    sight: Sight,
    question: Option<&Question>,
) -> Answered {
    if let Some(answered) = ranges::ask(chain, &call, sight, question).await {
        return answered;
    }
    let sent = call.params.clone();
    let asks_around = nonce::asks_around(chain, &call);
    let mut calls = [call];
    let mut sight = sight;
    let mut question = question;
    let mut landed = Landed::NOWHERE;
    // Once more where several nodes behind one URL differ; then, since everybody who has the head is gone, what the others
    // have is better than nothing.
    for again in 0..3 {
        calls[0].params.clone_from(&sent);
        let plan = self::plan(chain, &mut calls[0], &sight);
        let asked_before = landed.attempts;
        landed = match asks_around {
            true => Box::pin(nonce::highest(chain, &calls, plan)).await,
            false => forward(chain, &calls, plan).await.pop().unwrap_or(Landed::NOWHERE),
        };
        landed.attempts += asked_before;
        if !landed.lacks_block() {
            break;
        }
        match sight.lowered(chain) {
            Some(lower) if again > 0 => {
                // Another block than the one that was asked for.
                (sight, question) = (lower, None);
            }
            Some(_) => {}
            None => break,
        }
    }
    if let Some(question) = question {
        keep(chain, question, &landed);
    }
    let mut told = told(chain, &calls[0], landed);
    // A block is known before everybody has indexed it.
    for again in 0.. {
        if !agree::denies(chain, &calls[0], &told) {
            break;
        }
        if again == RECEIPT_TURNS {
            told = agree::ask_again(told);
            break;
        }
        Box::pin(sleep(RECEIPT_PAUSE)).await;
        let mut plan = self::plan(chain, &mut calls[0], &sight);
        plan.need.prefer = None;
        landed = Box::pin(forward(chain, &calls, plan)).await.pop().unwrap_or(Landed::NOWHERE);
        landed.attempts += told.trail.attempts;
        told = self::told(chain, &calls[0], landed);
    }
    match sight.promised {
        Some(promised) if calls[0].method.name == "eth_blockNumber" => not_below(told, promised),
        _ => told,
    }
}

/// Keeps what a backend answered, where that may be done.
pub(super) fn keep(chain: &Chain, question: &Question, landed: &Landed) {
    if let Some((verdict, backend)) = &landed.said
        && verdict.outcome.class == Class::Ok
        && let Some(Payload::Result(result)) = &verdict.payload
    {
        chain.known.keep(chain, question, *backend, result);
    }
}

/// No head is told that is lower than what clients know; and where nobody tells one, that is the latest that is known.
fn not_below(told: Answered, promised: u64) -> Answered {
    match &told.said {
        Said::Result(bytes) if watch::number(bytes).is_some_and(|number| number >= promised) => told,
        _ => {
            let mut known = Answered::local(format!("\"{promised:#x}\""));
            known.trail.source = Source::Follower;
            known.trail.attempts = told.trail.attempts;
            known
        }
    }
}

/// What the follower answers by itself.
pub(super) fn answered_by_sight(call: &Call<'_>, sight: &Sight) -> Option<Answered> {
    if call.method.name != "eth_blockNumber" {
        return None;
    }
    let mut answered = Answered::local(format!("\"{:#x}\"", sight.latest.and(sight.promised)?));
    answered.trail.source = Source::Follower;
    Some(answered)
}

/// The plan for one call, with what is known of whom to ask for it.
pub(super) fn plan(chain: &Chain, call: &mut Call<'_>, sight: &Sight) -> Plan {
    let mut plan = chain.plan(call.method, chain.routing.deadline_for(call.method));
    plan.key = key(call);
    plan.need.prefer = chain.accepted.who_knows(chain.now(), call);
    call.known_to_exist |= plan.need.prefer.is_some() || agree::is_promised(chain, call);
    (plan.need.rests, plan.need.depth) = resolve(chain, call, sight);
    plan
}

/// The same for calls that ask for the same. Of very long parameters a part is enough: the key only says who is turned
/// away when somebody must be.
fn key(call: &Call<'_>) -> u64 {
    /// Bytes of the parameters that count.
    const READ_MAX: usize = 512;
    let params = call.params.as_ref().map_or(&[][..], |params| params.get().as_bytes());
    let mut hasher = DefaultHasher::new();
    (call.method.name, params.len(), &params[..params.len().min(READ_MAX)]).hash(&mut hasher);
    hasher.finish()
}

/// What the client is told, and what the answer teaches on its way.
pub(super) fn told(chain: &Chain, call: &Call<'_>, landed: Landed) -> Answered {
    let Landed { said, attempts, .. } = landed;
    let Some((verdict, backend)) = said else {
        return Answered::failed(nobody_answered(chain, call, attempts), attempts);
    };
    if matches!(verdict.outcome.class, Class::Ok | Class::TxAlreadyKnown) {
        learn(chain, call, backend, verdict.payload.as_ref());
    }
    let said = match classify::to_client(&verdict.outcome, verdict.payload.as_ref(), &call.name) {
        classify::ToClient::Result(bytes) => Said::Result(bytes),
        classify::ToClient::ErrorBytes(bytes) => Said::Error(chain.link(backend).mask.error_bytes(bytes)),
        classify::ToClient::Error(object) => {
            Said::Error(chain.link(backend).mask.error(object).to_json().into())
        }
        classify::ToClient::TransactionHash => match &call.transaction {
            Some(transaction) => Said::Result(transaction::hash_result(transaction.hash())),
            None => Said::Error(ErrorObject::new(code::INTERNAL_ERROR, "already known").to_json().into()),
        },
    };
    let backends = vec![chain.link(backend).name.clone()];
    let unheard = verdict.outcome.tells() < NODES_WORD;
    let trail = Trail { backends, source: Source::Backend, attempts, hint: None, unheard };
    agree::agree(chain, call, Answered { said, trail })
}

/// A backend took the call's transaction.
pub(super) fn took(chain: &Chain, call: &Call<'_>, backend: BackendIndex) {
    let Some(transaction) = &call.transaction else { return };
    chain.accepted.took(chain.now(), transaction, backend);
    chain.decide().follower.took_transaction(chain.now(), backend);
    chain.look_wanted.notify_waiters();
    chain.feeds.pending.tell(transaction.hash());
}

fn learn(chain: &Chain, call: &Call<'_>, backend: BackendIndex, payload: Option<&Payload>) {
    let Some(payload) = payload else { return };
    if let Payload::Result(bytes) = payload
        && let Some(number) = shown_height(call, bytes)
    {
        chain.showed(backend, number);
    }
}

/// The height of the block that an answer tells of, where it is one of the newest things there are.
fn shown_height(call: &Call<'_>, result: &[u8]) -> Option<u64> {
    let member: &[u8] = match call.method.name {
        "eth_blockNumber" => return watch::number(result),
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" | "eth_sendRawTransactionSync" => {
            b"\"blockNumber\":"
        }
        "eth_getBlockByNumber" | "eth_getBlockByHash" => b"\"number\":",
        _ => return None,
    };
    let at = memchr::memmem::find(result, member)? + member.len();
    let text = result.get(at..)?.trim_ascii_start();
    let end = text.iter().skip(1).position(|byte| *byte == b'"')? + 2;
    watch::number(text.get(..end)?)
}

/// Why no backend said anything, in words that tell what to change.
fn nobody_answered(chain: &Chain, call: &Call<'_>, attempts: u32) -> ErrorObject {
    if attempts > 0 {
        return ErrorObject::new(code::INTERNAL_ERROR, "upstream timeout");
    }
    let plan = chain.plan(call.method, Duration::ZERO);
    match chain.decide().fleet.nobody_because(chain.now(), &plan.need) {
        Class::MethodUnsupported => no_such_method(&call.name),
        Class::RateLimited | Class::QuotaExhausted => {
            ErrorObject::new(code::LIMIT_EXCEEDED, "rate limit exceeded on all upstreams")
        }
        Class::WrongChain => ErrorObject::new(code::INTERNAL_ERROR, "no upstream on the requested chain"),
        _ => ErrorObject::new(code::INTERNAL_ERROR, "no upstream may be used for this request"),
    }
}
