//! The pending nonce of a sender whose transactions are under way here: the highest that several backends know, since each
//! knows only what has reached its own pool.

use std::sync::Arc;

use alloy_primitives::Address;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::jsonrpc::reply::Payload;
use crate::policy::classify::Verdict;
use crate::policy::{BackendIndex, BackendSet, Class, Plan};

use super::agree;
use super::call::Call;
use super::chain::Chain;
use super::forward::{Landed, forward_telling};
use super::transaction::{lane, spread};
use super::watch::number;

/// Whether the call asks for the pending nonce of a sender who hands in here.
pub(super) fn is_merged(chain: &Chain, call: &Call<'_>) -> bool {
    sender_of(call).is_some_and(|sender| chain.ledger.knows(sender))
}

/// Whether several backends are to be asked: for such a sender, and not so soon after the last time. Everybody else's is
/// one read like any other.
pub(super) fn asks_around(chain: &Chain, call: &Call<'_>) -> bool {
    chain.fanout > 1 && sender_of(call).is_some_and(|sender| chain.ledger.may_ask_around(chain.now(), sender))
}

fn sender_of(call: &Call<'_>) -> Option<Address> {
    let is_pending = call.method.name == "eth_getTransactionCount"
        && agree::argument(call, 1).as_deref() == Some("pending");
    is_pending.then(|| agree::sender(call)).flatten()
}

/// The one who is asked first has its hedges and retries as ever. The others get the same question at the same moment; who
/// takes more than twice as long as the first is not waited for.
pub(super) async fn highest(chain: &Arc<Chain>, calls: &[Call<'_>], plan: Plan) -> Landed {
    let began = Instant::now();
    let (first, mut first_sent) = mpsc::unbounded_channel();
    let main = forward_telling(chain, calls, plan, |backend| {
        // Only the first one matters.
        let _ = first.send(backend);
    });
    tokio::pin!(main);
    let mut lanes = FuturesUnordered::new();
    let (mut is_spread, mut extra) = (false, 0);
    let mut heard = Vec::new();
    let landed = loop {
        tokio::select! {
            biased;
            Some(backend) = first_sent.recv(), if !is_spread => {
                is_spread = true;
                let mut has = BackendSet::default();
                has.insert(backend);
                for further in spread(chain, &plan.need, has, chain.fanout - 1) {
                    extra += 1;
                    lanes.push(lane(chain, calls, plan, further));
                }
            }
            Some(ended) = lanes.next() => heard.extend(ended.said),
            landed = &mut main => break landed.into_iter().next().unwrap_or(Landed::NOWHERE),
        }
    };
    let patience = began.elapsed().clamp(plan.hedge_delay.0, plan.hedge_delay.1);
    let _ = timeout(patience, async {
        while let Some(ended) = lanes.next().await {
            heard.extend(ended.said);
        }
    })
    .await;
    let attempts = landed.attempts + extra;
    let nonce = |said: &(Verdict, BackendIndex)| nonce(&said.0);
    // The first one's answer where nobody knows more, so that an error stays the most informative one.
    let said = match heard.into_iter().max_by_key(&nonce) {
        Some(other) if nonce(&other) > landed.said.as_ref().and_then(nonce) => Some(other),
        _ => landed.said,
    };
    Landed { said, attempts, ..landed }
}

fn nonce(verdict: &Verdict) -> Option<u64> {
    match &verdict.payload {
        Some(Payload::Result(bytes)) if verdict.outcome.class == Class::Ok => number(bytes),
        _ => None,
    }
}
