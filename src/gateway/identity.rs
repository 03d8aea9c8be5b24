//! Asking a backend which chain it serves, before it may answer anybody.
//!
//! A wrong URL in a file, or a provider that routes a key to another network, answers fast, well formed
//! and wrong. No backend serves a read before it has named the right chain.

use bytes::Bytes;
use tokio::time::Instant;

use crate::jsonrpc::reply::Payload;
use crate::jsonrpc::write_call;
use crate::policy::classify::{self, Received, Verdict};
use crate::policy::{BackendIndex, Class, Identity, Outcome};
use crate::upstream;

use super::chain::Chain;

/// Asks for the chain id, once however many requests wait for it.
///
/// # Errors
/// What the backend's answer came to, when it did not confirm the chain.
pub(super) async fn identify(chain: &Chain, backend: BackendIndex, deadline: Instant) -> Result<(), Outcome> {
    let link = chain.link(backend);
    let _turn = match tokio::time::timeout_at(deadline, link.identifying.lock()).await {
        Ok(turn) => turn,
        Err(_) => return Err(Outcome::of(Class::TimeoutUpstream)),
    };
    if link.identity() == Identity::Confirmed {
        return Ok(());
    }
    ask_chain_id(chain, backend, deadline).await
}

/// Asks for the chain id whatever is known, and keeps the answer.
pub(super) async fn ask_chain_id(
    chain: &Chain,
    backend: BackendIndex,
    deadline: Instant,
) -> Result<(), Outcome> {
    let verdict = probe(chain, backend, "eth_chainId", deadline).await;
    match verdict.outcome.class {
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
                    answered = %answered(&verdict),
                    "the backend serves another chain and is not used: check its url"
                );
            }
            chain.set_identity(backend, Identity::WrongChain);
            Err(verdict.outcome)
        }
        // Transaction relays answer little else than transactions: they cannot say it.
        Class::MethodUnsupported => {
            chain.set_identity(backend, Identity::Confirmed);
            Ok(())
        }
        _ => Err(verdict.outcome),
    }
}

/// One call without parameters that is no client's.
pub(super) async fn probe(
    chain: &Chain,
    backend: BackendIndex,
    method: &'static str,
    deadline: Instant,
) -> Verdict {
    let link = chain.link(backend);
    let id = chain.ids(1);
    let mut body = Vec::new();
    write_call(&mut body, id, method, None);
    let answer = link.upstream.post(Bytes::from(body), deadline, None, upstream::Repeat::Safe).await;
    let received = match &answer {
        Ok(answer) => {
            Received::Answer { status: answer.status, headers: &answer.headers, body: &answer.body }
        }
        Err(error) => Received::Failed(error.failure),
    };
    let sent = classify::Sent {
        chain_id: Some(chain.settings.chain_id),
        vendor: link.vendor.as_deref(),
        ..classify::Sent::new(id, method)
    };
    classify::classify(&sent, &received, super::unix_time_s())
}

/// The chain id it named, cut to what a log line may hold.
fn answered(verdict: &Verdict) -> String {
    match &verdict.payload {
        Some(Payload::Result(bytes)) => {
            String::from_utf8_lossy(bytes).chars().filter(|c| c.is_ascii_alphanumeric()).take(20).collect()
        }
        _ => "?".to_owned(),
    }
}
