//! Asking a backend which chain it serves, before it may answer anybody.
//!
//! A wrong URL in a file, or a provider that routes a key to another network, answers fast, well formed
//! and wrong. No backend serves a read before it has named the right chain.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::jsonrpc::write_call;
use crate::policy::classify::{self, Received, Verdict};
use crate::policy::{BackendIndex, Class, Identity, Outcome, Told};
use crate::upstream;

use super::chain::Chain;

/// Somebody else's question that has been silent for this long may hang on a connection of yesterday's: a
/// backend that came back is found by asking again, not by waiting for it.
const WAIT_FOR_ANOTHER: Duration = Duration::from_millis(250);

/// One question for everybody who waits: a backend that takes a second to connect to would otherwise be asked
/// once for each of a thousand requests.
#[derive(Debug)]
pub(super) struct Question {
    /// When it was last put, while there is no answer.
    put_at: Mutex<Option<Instant>>,
    /// What the latest one came to.
    told: watch::Sender<Result<(), Outcome>>,
}

impl Default for Question {
    fn default() -> Self {
        Self { put_at: Mutex::new(None), told: watch::Sender::new(Ok(())) }
    }
}

impl Question {
    /// Takes the turn to ask, or says until when somebody else's question is to be waited for. A turn that was
    /// taken and forgotten, since its request is gone, passes by itself.
    fn take_turn(&self, now: Instant) -> Result<(), Instant> {
        let mut put_at = self.put_at.lock().unwrap_or_else(PoisonError::into_inner);
        match put_at.map(|at| at + WAIT_FOR_ANOTHER) {
            Some(until) if now < until => Err(until),
            _ => {
                *put_at = Some(now);
                Ok(())
            }
        }
    }

    fn tell(&self, said: Result<(), Outcome>) {
        *self.put_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.told.send_replace(said);
    }
}

/// Asks for the chain id, once however many requests wait for it, as long as it is answered soon.
///
/// # Errors
/// What the backend's answer came to, when it did not confirm the chain.
pub(super) async fn identify(chain: &Chain, backend: BackendIndex, deadline: Instant) -> Result<(), Outcome> {
    let link = chain.link(backend);
    let mut told = link.question.told.subscribe();
    loop {
        if link.identity() == Identity::Confirmed {
            return Ok(());
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(Outcome::of(Class::TimeoutUpstream));
        }
        tokio::select! {
            biased;
            Ok(()) = told.changed() => told.borrow_and_update().clone()?,
            said = async {
                match link.question.take_turn(now) {
                    Ok(()) => Some(ask_chain_id(chain, backend, deadline).await),
                    Err(until) => {
                        sleep_until(until.min(deadline)).await;
                        None
                    }
                }
            } => {
                if let Some(said) = said {
                    link.question.tell(said.clone());
                    return said;
                }
            }
        }
    }
}

/// What a backend that did not name the right chain came to, for a call that was meant for it. Its words were
/// about another question: no client hears them, they settle nothing, and teach nothing about the call's method.
pub(super) fn as_outcome_of_a_call(outcome: Outcome) -> Outcome {
    let about_the_question = !matches!(outcome.told, Told::Map { .. })
        || matches!(outcome.class, Class::MethodUnsupported | Class::SubscriptionUnsupported);
    if about_the_question { Outcome::of(Class::BadEnvelope) } else { outcome }
}

/// Asks for the chain id whatever is known, and keeps the answer.
pub(super) async fn ask_chain_id(
    chain: &Chain,
    backend: BackendIndex,
    deadline: Instant,
) -> Result<(), Outcome> {
    let probed = probe(chain, backend, "eth_chainId", None, deadline).await;
    keep_identity(chain, backend, probed.verdict.outcome)
}

/// What an answer to `eth_chainId` says of the backend.
pub(super) fn keep_identity(chain: &Chain, backend: BackendIndex, outcome: Outcome) -> Result<(), Outcome> {
    match outcome.class {
        Class::Ok => {
            if chain.link(backend).identity() != Identity::Confirmed {
                tracing::debug!(chain = %chain.settings.name, backend = %chain.link(backend).name, "chain confirmed");
            }
            chain.set_identity(backend, Identity::Confirmed);
            Ok(())
        }
        Class::WrongChain => {
            if chain.link(backend).identity() != Identity::WrongChain {
                tracing::warn!(
                    chain = %chain.settings.name,
                    backend = %chain.link(backend).name,
                    expected = chain.settings.chain_id,
                    "the backend serves another chain and is not used: check its url"
                );
            }
            chain.set_identity(backend, Identity::WrongChain);
            Err(outcome)
        }
        // Transaction relays answer little else than transactions: they cannot say it. Whoever is to answer
        // reads can.
        Class::MethodUnsupported if chain.settings.backends[backend.get()].private => {
            chain.set_identity(backend, Identity::Confirmed);
            Ok(())
        }
        _ => Err(outcome),
    }
}

/// One call that is no client's, with its parameters as JSON.
pub(super) async fn probe(
    chain: &Chain,
    backend: BackendIndex,
    method: &'static str,
    params: Option<&str>,
    deadline: Instant,
) -> Probed {
    let link = chain.link(backend);
    let id = chain.ids(1);
    let mut body = Vec::new();
    write_call(&mut body, id, method, params);
    chain.spend(backend, [method]);
    let answer = link.upstream.post(Bytes::from(body), deadline, None, upstream::Repeat::Safe).await;
    let received = match &answer {
        Ok(answer) => {
            chain.saw(backend, answer);
            Received::Answer { status: answer.status, headers: &answer.headers, body: &answer.body }
        }
        Err(error) => Received::Failed(error.failure),
    };
    let sent = classify::Sent {
        chain_id: Some(chain.settings.chain_id),
        vendor: link.vendor.as_deref(),
        ..classify::Sent::new(id, method)
    };
    let verdict = classify::classify(&sent, &received, super::unix_time_s());
    Probed { verdict, status: answer.ok().map(|answer| answer.status) }
}

/// What a call that is no client's came to.
pub(super) struct Probed {
    pub(super) verdict: Verdict,
    /// The HTTP status, where there was an answer at all.
    pub(super) status: Option<u16>,
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use serde_json::{Value, json};

    use super::super::stand_in::{StandIn, over};
    use super::*;

    fn mainnet(method: &str) -> Option<(&'static str, Value)> {
        Some(("result", if method == "eth_chainId" { json!("0x1") } else { json!("0x10") }))
    }

    #[tokio::test]
    async fn a_slow_backend_is_not_stormed_by_everybody_who_waits_for_its_chain() {
        let slow = StandIn::start(Duration::from_millis(700), mainnet).await;
        let gateway = over(&[&slow]);
        let chain = gateway.chain(None).expect("the chain");
        let backend = chain.decide().fleet.index(0).expect("one backend");
        let deadline = Instant::now() + Duration::from_secs(10);
        let said = join_all((0..500).map(|_| identify(chain, backend, deadline))).await;
        assert!(said.iter().all(Result::is_ok));
        assert!(slow.asked() <= 4, "{} questions in the time of one answer", slow.asked());
    }

    #[tokio::test]
    async fn what_a_backend_says_instead_of_its_chain_answers_no_client() {
        for error in [
            json!({ "code": -32602, "message": "invalid params" }),
            json!({ "code": 3, "message": "execution reverted", "data": "0x" }),
            json!({ "code": -32600, "message": "invalid request" }),
            json!({ "code": -32601, "message": "the method eth_chainId does not exist/is not available" }),
        ] {
            let refusal = error.clone();
            let odd = StandIn::start(Duration::ZERO, move |_| Some(("error", refusal.clone()))).await;
            let alone =
                over(&[&odd]).call::<String>(None, "eth_gasPrice", ()).await.expect_err("nobody answers it");
            assert!(!error["message"].as_str().is_some_and(|said| alone.message.contains(said)), "{alone:?}");
            let good = StandIn::start(Duration::ZERO, mainnet).await;
            let price = over(&[&odd, &good]).call::<String>(None, "eth_gasPrice", ()).await;
            assert_eq!(price.expect("the good one answers"), "0x10", "{error}");
        }
    }

    #[tokio::test]
    async fn r15_a_backend_that_served_another_chain_is_not_trusted_again_for_saying_nothing() {
        let silent = StandIn::start(Duration::ZERO, |_| {
            Some(("error", json!({ "code": -32601, "message": "method not found" })))
        })
        .await;
        let gateway = over(&[&silent]);
        let chain = gateway.chain(None).expect("the chain");
        let backend = chain.decide().fleet.index(0).expect("one backend");
        chain.set_identity(backend, Identity::WrongChain);
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(ask_chain_id(chain, backend, deadline).await.is_err());
        assert_eq!(chain.link(backend).identity(), Identity::WrongChain);
    }
}
