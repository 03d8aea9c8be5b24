//! Looks after a chain's backends in the background: who serves the right chain, who is there at all, and
//! what their heads are.
//!
//! It asks little: public endpoints are small. A chain of the presets that nobody uses is left alone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::jsonrpc::reply::Payload;
use crate::policy::{BackendIndex, Identity};

use super::chain::Chain;
use super::identity::{ask_chain_id, identify, probe};

/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// A backend that has not said its chain yet is asked again after this, then twice as long, up to the end
/// of the range: down at the start does not mean down for long.
const UNKNOWN_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// A backend that failed last time is looked for this often.
const DOWN_PAUSE: Duration = Duration::from_secs(1);
/// A well one is asked for its head this often.
const CALM_PAUSE: Duration = Duration::from_secs(15);
/// One that serves another chain may have been mended.
const WRONG_PAUSE: Duration = Duration::from_secs(60);
/// A key can be routed to another network at any time.
const CONFIRM_AGAIN: Duration = Duration::from_secs(600);
/// A chain that nobody has used for this long is left alone.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// Runs until it is dropped. `eager` chains are looked after from the start, others from their first use.
pub(super) async fn watch(chain: Arc<Chain>, eager: bool) {
    if !eager {
        chain.first_wanted().await;
    }
    let everyone: Vec<BackendIndex> = chain.decide().fleet.iter().map(|(index, _)| index).collect();
    join_all(everyone.into_iter().map(|backend| tend(&chain, backend, eager))).await;
}

async fn tend(chain: &Chain, backend: BackendIndex, eager: bool) {
    let mut unknown_pause = UNKNOWN_PAUSE.0;
    let mut confirmed_at = Instant::now();
    loop {
        let deadline = Instant::now() + PATIENCE;
        let named = chain.decide().fleet.backend(backend).cooling(chain.now()).filter(|c| c.by_its_word);
        let pause = match chain.link(backend).identity() {
            // A limit counts these questions too.
            _ if named.is_some() => named.map_or(CALM_PAUSE, |cooling| cooling.until.since(chain.now())),
            _ if chain.decide().fleet.backend(backend).is_cordoned() => CALM_PAUSE,
            _ if !eager && chain.idle_for().is_none_or(|idle| idle > FORGET_AFTER) => CALM_PAUSE,
            Identity::Unknown => match identify(chain, backend, deadline).await {
                Ok(()) => {
                    confirmed_at = Instant::now();
                    Duration::ZERO
                }
                Err(outcome) => {
                    chain.decide().fleet.probed(chain.now(), backend, &outcome);
                    let pause = unknown_pause;
                    unknown_pause = (unknown_pause * 2).min(UNKNOWN_PAUSE.1);
                    pause
                }
            },
            Identity::WrongChain => {
                sleep(WRONG_PAUSE).await;
                let _ = ask_chain_id(chain, backend, Instant::now() + PATIENCE).await;
                Duration::ZERO
            }
            Identity::Confirmed if confirmed_at.elapsed() >= CONFIRM_AGAIN => {
                if ask_chain_id(chain, backend, deadline).await.is_ok() {
                    confirmed_at = Instant::now();
                }
                CALM_PAUSE
            }
            Identity::Confirmed => {
                look_at_head(chain, backend, deadline).await;
                calm(chain, backend).await;
                Duration::ZERO
            }
        };
        sleep(pause).await;
    }
}

/// Until the next look at a backend that serves: soon after it failed, whoever met the failure. A fleet that
/// died between two looks and is back would otherwise be taken for dead until the next one.
async fn calm(chain: &Chain, backend: BackendIndex) {
    let looked_at = Instant::now();
    while looked_at.elapsed() < CALM_PAUSE {
        sleep(DOWN_PAUSE).await;
        if chain.decide().fleet.backend(backend).failed_last() {
            return;
        }
    }
}

async fn look_at_head(chain: &Chain, backend: BackendIndex, deadline: Instant) {
    let asked_at = Instant::now();
    let verdict = probe(chain, backend, "eth_blockNumber", deadline).await.verdict;
    let took = asked_at.elapsed();
    if let Some(number) = verdict.payload.as_ref().and_then(block_number) {
        chain.link(backend).saw_head(number);
        chain.decide().fleet.seed_latency(chain.now(), backend, took);
    }
    chain.decide().fleet.probed(chain.now(), backend, &verdict.outcome);
}

/// The number in an answer to `eth_blockNumber`.
pub(super) fn block_number(payload: &Payload) -> Option<u64> {
    let Payload::Result(bytes) = payload else { return None };
    let text = std::str::from_utf8(bytes).ok()?.trim().strip_prefix("\"0x")?.strip_suffix('"')?;
    u64::from_str_radix(text, 16).ok()
}
