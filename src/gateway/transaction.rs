//! Publishing a signed transaction: the same bytes to one backend after another until one takes them, then to
//! further ones behind the client's back.
//!
//! Resending a signed transaction is harmless, what it teaches is not: after a lost answer the next
//! backend may say "already known" or, once it is mined, "nonce too low", and both mean success. Whether
//! they do is decided by the hash, which is computed here from the bytes.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;

use crate::ethereum::Method;
use crate::jsonrpc::reply::Payload;
use crate::policy::{Backend, BackendIndex, Class, Need, Repeat};

use super::aside::send_aside;
use super::attempt::{Order, attempt};
use super::call::{Answered, Call, Said};
use super::chain::{Chain, Decider};
use super::forward::{Landed, forward};
use super::packet::{Source, Trail};

/// Looking a transaction up has its own time, even when the client's is spent: telling a sender "failed"
/// about a transaction that is out costs them a second payment.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Publishes the call's transaction.
pub(super) async fn submit(chain: &Arc<Chain>, call: Call<'_>, transaction_hash: B256) -> Answered {
    let plan = chain.plan(call.method, chain.routing.deadline_for(call.method));
    let calls = [call];
    let landed = forward(chain, &calls, plan).await.pop().unwrap_or(Landed::NOWHERE);
    let [call] = calls;
    let in_doubt = in_doubt(&landed);
    let attempts = landed.attempts;
    if let Some((verdict, taken)) = &landed.said
        && matches!(verdict.outcome.class, Class::Ok | Class::TxAlreadyKnown)
    {
        spread(chain, &call, plan.need, *taken);
    }
    let answered = super::carry::told(chain, &call, landed);
    if in_doubt && call.method.name == "eth_sendRawTransaction" && is_known(chain, transaction_hash).await {
        let said = Said::Result(hash_result(transaction_hash));
        return Answered { said, trail: Trail { source: Source::Backend, attempts, ..answered.trail } };
    }
    answered
}

/// Whether the transaction may be out although nobody said so. A refusal by one backend does not settle what
/// another one did whose answer was lost.
fn in_doubt(landed: &Landed) -> bool {
    match landed.said.as_ref().map(|(verdict, _)| verdict.outcome.class) {
        Some(Class::Ok | Class::TxAlreadyKnown) => false,
        // It may be ours that has the nonce.
        Some(Class::TxNonceTooLow) => true,
        _ => landed.in_the_dark,
    }
}

/// One backend has it: the same bytes go to further ones, in other failure domains first, so that the loss of
/// the first does not lose the transaction. Nobody waits for them.
fn spread(chain: &Arc<Chain>, call: &Call<'_>, need: Need, taken: BackendIndex) {
    if call.method.name != "eth_sendRawTransaction" {
        return;
    }
    let now = chain.now();
    let further = {
        let mut decider = chain.decide();
        let Decider { fleet, rng, .. } = &mut *decider;
        fleet.spread_to(now, &need, taken, chain.fanout.saturating_sub(1), rng)
    };
    for backend in further {
        // A transaction's answers are compared by its hash.
        let _ = send_aside(chain, std::slice::from_ref(call), backend, need);
    }
}

/// The hash as a JSON string.
pub(super) fn hash_result(hash: B256) -> bytes::Bytes {
    format!("\"{hash:#x}\"").into()
}

/// Whether any backend that answers reads has the transaction, pending or mined.
async fn is_known(chain: &Chain, hash: B256) -> bool {
    let method = Method::lookup("eth_getTransactionByHash");
    let Ok(params) = RawValue::from_string(format!("[\"{hash:#x}\"]")) else { return false };
    let call = Call {
        method,
        name: method.name.into(),
        params: Some(std::borrow::Cow::Owned(params)),
        height: None,
        known_to_exist: false,
        transaction: None,
    };
    let calls = [call];
    let deadline = chain.now() + LOOK_UP;
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
            return true;
        }
    }
    false
}

/// Whether the result is a transaction object with this hash: another hash proves nothing.
fn is_transaction(result: &[u8], hash: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Found<'a> {
        #[serde(borrow)]
        hash: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Option<Found<'_>>>(result)
        .ok()
        .flatten()
        .is_some_and(|found| found.hash.eq_ignore_ascii_case(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_a_refusal_is_doubted_while_another_answer_is_lost() {
        let index = crate::policy::Fleet::new(vec![crate::policy::BackendSpec {
            name: "a".into(),
            tier: crate::policy::Tier::Primary,
            private: false,
            labels: crate::policy::DomainLabels::new(),
            limit_per_s: None,
        }])
        .index(0)
        .expect("one backend");
        for (class, in_the_dark, expected) in [
            (Class::Ok, true, false),
            (Class::TxAlreadyKnown, true, false),
            (Class::TxInsufficientFunds, true, true),
            (Class::TxUnderpriced, true, true),
            (Class::TxInsufficientFunds, false, false),
            (Class::TxNonceTooLow, false, true),
        ] {
            let said = Some((crate::policy::Outcome::of(class).into(), index));
            let landed = Landed { said, attempts: 2, in_the_dark };
            assert_eq!(in_doubt(&landed), expected, "{class:?} {in_the_dark}");
        }
    }

    #[test]
    fn t2_only_the_same_hash_proves_that_a_transaction_is_known() {
        assert!(is_transaction(br#"{"blockHash":null,"hash":"0xAB"}"#, "0xab"));
        for other in ["null", "{}", r#"{"hash":"0xac"}"#, r#"{"hash":null}"#, "[]", "\"0xab\"", "{"] {
            assert!(!is_transaction(other.as_bytes(), "0xab"), "{other}");
        }
    }
}
