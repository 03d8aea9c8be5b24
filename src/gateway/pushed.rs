//! Heads that backends push over WebSockets of their own: connects when the follower says so, asks for the chain's id before
//! anything is believed, subscribes to `newHeads`, and tells the follower what comes.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::chain::{Look, Shown, SocketFault, SocketState};
use crate::policy::{BackendIndex, Failure};
use crate::upstream::{OpenError, WebSocket, WebSocketAddress};

use super::chain::{Chain, Decider};
use super::follow::shown;
use super::watch::number;

/// Whether a socket is to be opened, or is still wanted, is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For the answers to `eth_chainId` and `eth_subscribe`.
const PATIENCE: Duration = Duration::from_secs(5);
/// Other messages that may come before an answer.
const ASIDE_MAX: usize = 16;

/// Listens to all backends that have a WebSocket, until it is dropped.
pub(super) async fn listen(chain: Arc<Chain>) {
    let everyone: Vec<BackendIndex> = chain.decide().fleet.iter().map(|(index, _)| index).collect();
    let listening = everyone.into_iter().filter_map(|backend| {
        let address = chain.link(backend).websocket.as_ref()?;
        (!chain.settings.backends[backend.get()].private).then(|| attend(&chain, backend, address))
    });
    futures_util::future::join_all(listening).await;
    std::future::pending().await
}

async fn attend(chain: &Chain, backend: BackendIndex, address: &WebSocketAddress) {
    loop {
        let opens = {
            let mut decider = chain.decide();
            let Decider { fleet, follower, .. } = &mut *decider;
            follower.opens_socket(chain.now(), fleet, backend)
        };
        if !opens {
            sleep(LOOK_EVERY).await;
            continue;
        }
        let fault = hear(chain, backend, address).await.err();
        let mut decider = chain.decide();
        let Decider { follower, rng, .. } = &mut *decider;
        let before = follower.socket(backend);
        follower.socket_ended(chain.now(), backend, fault, rng);
        drop(decider);
        let (name, backend) = (&chain.settings.name, &chain.link(backend).name);
        match fault {
            // It was told already.
            Some(fault) if before.why == Some(fault) => {
                tracing::debug!(chain = %name, %backend, "WebSocket: {}", in_words(fault));
            }
            Some(fault @ SocketFault::WrongChain) => {
                tracing::warn!(chain = %name, %backend, "WebSocket: {}", in_words(fault));
            }
            Some(fault) => tracing::info!(chain = %name, %backend, "WebSocket: {}", in_words(fault)),
            None => tracing::debug!(chain = %name, %backend, "WebSocket closed: it is not needed"),
        }
    }
}

/// One connection, from its opening until it ends; `Ok` where it is not needed any more.
async fn hear(chain: &Chain, backend: BackendIndex, address: &WebSocketAddress) -> Result<(), SocketFault> {
    let mut socket = address.open().await.map_err(|error| match error {
        OpenError::Failed(failure) => SocketFault::Failed(failure),
        OpenError::Refused(status) => SocketFault::Refused(status),
    })?;
    let name = ask(&mut socket, 1, "eth_chainId", "[]").await?.ok_or(SocketFault::NoHeads)?;
    if number(name.get().as_bytes()) != Some(chain.settings.chain_id) {
        return Err(SocketFault::WrongChain);
    }
    chain.spend(backend, ["eth_subscribe"]);
    let subscription = ask(&mut socket, 2, "eth_subscribe", r#"["newHeads"]"#).await?;
    let subscription = subscription.ok_or(SocketFault::NoHeads)?;
    chain.decide().follower.socket_opened(chain.now(), backend);
    let mut looks = interval(LOOK_EVERY);
    let mut told = SocketState::Proving;
    loop {
        tokio::select! {
            biased;
            message = socket.next() => {
                let message = message.map_err(SocketFault::Failed)?.ok_or(SocketFault::Closed)?;
                take(chain, backend, &message, &subscription)?;
            }
            _ = looks.tick() => {}
        }
        let (is_kept, view) = {
            let decider = chain.decide();
            let is_kept = decider.follower.keeps_socket(chain.now(), &decider.fleet, backend);
            (is_kept, decider.follower.socket(backend))
        };
        if std::mem::replace(&mut told, view.state) != view.state {
            tell(chain, backend, view.state, view.why);
        }
        if !is_kept? {
            socket.close().await;
            return Ok(());
        }
    }
}

/// Puts a question and waits for its answer; `None` where it is an error.
async fn ask(
    socket: &mut WebSocket,
    id: u64,
    method: &str,
    params: &str,
) -> Result<Option<Box<RawValue>>, SocketFault> {
    #[derive(Deserialize)]
    struct Answer {
        id: Option<u64>,
        result: Option<Box<RawValue>>,
    }
    let until = Instant::now() + PATIENCE;
    let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    socket.send(call).await.map_err(SocketFault::Failed)?;
    for _ in 0..ASIDE_MAX {
        let message = timeout_at(until, socket.next()).await.map_err(|_| SocketFault::Unanswered)?;
        let message = message.map_err(SocketFault::Failed)?.ok_or(SocketFault::Closed)?;
        let answer: Result<Answer, _> = serde_json::from_slice(&message);
        if let Ok(answer) = answer
            && answer.id == Some(id)
        {
            return Ok(answer.result);
        }
    }
    Err(SocketFault::Unfit)
}

/// Tells the follower of a message.
fn take(
    chain: &Chain,
    backend: BackendIndex,
    message: &[u8],
    subscription: &RawValue,
) -> Result<(), SocketFault> {
    #[derive(Deserialize)]
    struct Push<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        subscription: &'a RawValue,
        #[serde(borrow)]
        result: &'a RawValue,
    }
    let push: Option<Push<'_>> = serde_json::from_slice(message).ok();
    let header = push.filter(|push| push.params.subscription.get() == subscription.get());
    // Read without the lock: the hash is computed from the header, which takes some microseconds.
    let shown =
        header.map_or(Shown::Nothing, |push| shown(push.params.result.get().as_bytes(), Look::Latest));
    let now = chain.now();
    let mut decider = chain.decide();
    let Decider { fleet, follower, .. } = &mut *decider;
    let taken = match shown {
        Shown::Block(block, check) => {
            let number = block.id.number;
            let taken = follower.pushed(now, fleet, backend, block, check);
            if follower.socket(backend).state == SocketState::Connected {
                chain.link(backend).saw_head(number);
            }
            taken
        }
        Shown::Pending(_) | Shown::Nothing => follower.pushed_nothing(now, backend),
    };
    chain.took_note(decider);
    // Where it was a hint, HTTP is asked at once.
    chain.look_wanted.notify_waiters();
    taken
}

fn tell(chain: &Chain, backend: BackendIndex, state: SocketState, why: Option<SocketFault>) {
    let (chain, backend) = (&chain.settings.name, &chain.link(backend).name);
    match (state, why) {
        (SocketState::Connected, _) => tracing::info!(%chain, %backend, "WebSocket: its heads are followed"),
        (_, Some(fault)) => tracing::info!(%chain, %backend, "WebSocket: {}", in_words(fault)),
        _ => {}
    }
}

/// What is wrong with a WebSocket, in a sentence without anything that its server said.
pub(super) fn in_words(fault: SocketFault) -> String {
    match fault {
        SocketFault::Failed(failure) => format!("no connection: {}", failed(failure)),
        SocketFault::Refused(status) => format!("the handshake was answered with HTTP status {status}"),
        SocketFault::WrongChain => {
            "it serves another chain and is not listened to: check the ws address".to_owned()
        }
        SocketFault::NoHeads => "it does not give newHeads".to_owned(),
        SocketFault::Closed => "it was closed by the backend".to_owned(),
        SocketFault::Silent => "it is open and silent while the chain goes on".to_owned(),
        SocketFault::Unfit => "it sends what is no head of this chain, or far too much".to_owned(),
        SocketFault::Denied => "over HTTP the backend lacks blocks that it pushed".to_owned(),
        SocketFault::Unanswered => "the backend does not answer".to_owned(),
    }
}

fn failed(failure: Failure) -> &'static str {
    match failure {
        Failure::Dns => "its name does not resolve",
        Failure::Refused => "refused",
        Failure::Unreachable => "no way there",
        Failure::ConnectTimeout => "it takes too long to connect",
        Failure::Tls => "the TLS handshake failed",
        Failure::Timeout => "it is silent",
        Failure::TooLarge => "it sends a message that is too long",
        Failure::PoolExhausted => "out of sockets on this machine",
        Failure::Protocol => "it does not speak WebSocket",
        _ => "it broke",
    }
}

#[cfg(test)]
mod tests;
