//! Asking every backend once, for a person who wants to know whether a configuration works.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::Instant;

use crate::policy::{BackendIndex, Class};

use super::Gateway;
use super::chain::Chain;
use super::identity::{keep_identity, probe};
use super::watch::block_number;

/// HTTP's word for what will not come back.
const GONE: u16 = 410;
/// Time for one backend.
const PATIENCE: Duration = Duration::from_secs(8);

/// What one backend said.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// Name of the chain.
    pub chain: String,
    /// Name of the backend.
    pub backend: String,
    /// Whether it is fit for use; a cordoned one is not asked and counts as fit.
    pub fit: bool,
    /// What it is, in a word or two.
    pub finding: &'static str,
    /// What to do about it, where it is not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
    /// Its latest block.
    pub head: Option<u64>,
    /// Time of one cheap call on an open connection, in milliseconds.
    pub latency_ms: Option<f64>,
}

impl Gateway {
    /// Asks every backend for its chain and its head, all at the same time. `done` is called with each
    /// result as it comes; the results are in the order of the configuration.
    pub async fn examine(&self, mut done: impl FnMut(&Examination)) -> Vec<Examination> {
        let mut asked: FuturesUnordered<_> = self
            .inner
            .chains
            .iter()
            .enumerate()
            .flat_map(|(at, chain)| {
                let backends: Vec<BackendIndex> =
                    chain.decide().fleet.iter().map(|(index, _)| index).collect();
                backends
                    .into_iter()
                    .map(move |backend| async move { ((at, backend), examine_one(chain, backend).await) })
            })
            .collect();
        let mut found = Vec::new();
        while let Some((place, examination)) = asked.next().await {
            done(&examination);
            found.push((place, examination));
        }
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, examination)| examination).collect()
    }
}

async fn examine_one(chain: &Chain, backend: BackendIndex) -> Examination {
    let mut examination = Examination {
        chain: chain.settings.name.clone(),
        backend: chain.link(backend).name.to_string(),
        fit: true,
        finding: "ok",
        mend: None,
        head: None,
        latency_ms: None,
    };
    if chain.settings.backends[backend.get()].cordoned {
        examination.finding = "cordoned";
        return examination;
    }
    let deadline = Instant::now() + PATIENCE;
    let probed = probe(chain, backend, "eth_chainId", None, deadline).await;
    if let Err(outcome) = keep_identity(chain, backend, probed.verdict.outcome) {
        let (finding, mend) = match probed.status {
            Some(GONE) => ("retired", "the provider has shut it down: remove it"),
            _ => (outcome.class.describe(), mend(outcome.class)),
        };
        return Examination { fit: false, finding, mend: Some(mend), ..examination };
    }
    let asked_at = Instant::now();
    let verdict = probe(chain, backend, "eth_blockNumber", None, deadline).await.verdict;
    let took_ms = asked_at.elapsed().as_secs_f64() * 1000.0;
    match verdict.payload.as_ref().and_then(block_number) {
        Some(0) => {
            Examination { fit: false, finding: "at block 0", mend: Some(mend(Class::Syncing)), ..examination }
        }
        Some(head) => {
            examination.head = Some(head);
            examination.latency_ms = Some((took_ms * 10.0).round() / 10.0);
            examination
        }
        // A relay takes transactions and has no head.
        None if chain.settings.backends[backend.get()].private => examination,
        None => Examination {
            fit: false,
            finding: verdict.outcome.class.describe(),
            mend: Some(mend(verdict.outcome.class)),
            ..examination
        },
    }
}

fn mend(class: Class) -> &'static str {
    match class {
        Class::WrongChain => "check the url: it belongs to another network than the chain it is listed under",
        Class::Unauthorized => "check the key in the url, and the origins and addresses it is allowed for",
        Class::QuotaExhausted => "the plan is used up or ended: top it up, or remove the backend",
        Class::RateLimited => "it limits this address: ask less, or use a key of your own",
        Class::GeoBlocked => "it does not serve this region: remove it",
        Class::ConnectionError => "check host and port of the url, the resolver and the firewall",
        Class::TimeoutUpstream => "it does not answer in time: check the network, or remove it",
        Class::Syncing => "it is not synced yet: wait, or set cordoned = true meanwhile",
        Class::MethodUnsupported => {
            "it does not say which chain it serves: set private = true if it takes transactions only, or remove it"
        }
        Class::NotJson | Class::BadEnvelope | Class::EmptyBody | Class::BadJson => {
            "the url does not lead to a JSON-RPC endpoint, or no longer does: check its path with the provider"
        }
        _ => "try the url by hand; if it is retired, remove it",
    }
}
