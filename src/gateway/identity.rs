//! Asking a backend which chain it serves, before it may answer anybody.
//!
//! A wrong URL in a file, or a provider that routes a key to another network, answers fast, well formed
//! and wrong. No backend serves a read before it has named the right chain.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::jsonrpc::write_call;
use crate::policy::classify::{self, Received, Verdict};
use crate::policy::{BackendIndex, Class, Identity, Outcome};
use crate::upstream;

use super::chain::Chain;

/// Somebody else's question that has been silent for this long may hang on a connection of yesterday's: a
/// backend that came back is found by asking again, not by waiting for it.
const WAIT_FOR_ANOTHER: Duration = Duration::from_millis(250);

/// Asks for the chain id, once however many requests wait for it, as long as it is answered soon.
///
/// # Errors
/// What the backend's answer came to, when it did not confirm the chain.
pub(super) async fn identify(chain: &Chain, backend: BackendIndex, deadline: Instant) -> Result<(), Outcome> {
    let link = chain.link(backend);
    let patience = deadline.min(Instant::now() + WAIT_FOR_ANOTHER);
    let _turn = tokio::time::timeout_at(patience, link.identifying.lock()).await;
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
    let probed = probe(chain, backend, "eth_chainId", deadline).await;
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
        // Transaction relays answer little else than transactions: they cannot say it.
        Class::MethodUnsupported => {
            chain.set_identity(backend, Identity::Confirmed);
            Ok(())
        }
        _ => Err(outcome),
    }
}

/// One call without parameters that is no client's.
pub(super) async fn probe(
    chain: &Chain,
    backend: BackendIndex,
    method: &'static str,
    deadline: Instant,
) -> Probed {
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
    let verdict = classify::classify(&sent, &received, super::unix_time_s());
    Probed { verdict, status: answer.ok().map(|answer| answer.status) }
}

/// What a call that is no client's came to.
pub(super) struct Probed {
    pub(super) verdict: Verdict,
    /// The HTTP status, where there was an answer at all.
    pub(super) status: Option<u16>,
}
