//! S7: backends that push their heads over WebSockets. Heads come at once and cost few questions, and whatever a socket
//! does, nothing is missed, nothing comes twice, and asking takes over.
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{BLOCK_TIME, PATIENCE, Stage};
use crate::lab::anvil::number;
use crate::lab::front::{Fault, Front};
use crate::lab::relay::{Carries, Relay};

/// Slower than several blocks: whatever is told sooner was not asked for.
const SLOW: Duration = Duration::from_millis(2500);

/// Three backends, each of which pushes through a relay.
struct Pushing {
    stage: Stage,
    relays: Vec<Relay>,
}

impl Pushing {
    async fn start() -> Pushing {
        let mut relays = Vec::new();
        let stage = Stage::start_with(3, |settings| {
            for backend in &mut settings.backends {
                let relay = Relay::before(&backend.url);
                backend.labels += &format!("ws = \"{}\"\n", relay.url());
                relays.push(relay);
            }
        })
        .await;
        Pushing { stage, relays }
    }

    async fn socket(&self, backend: usize) -> Value {
        self.stage.status().await["backends"][backend]["ws"].clone()
    }

    async fn until_all(&self, state: &str) {
        for backend in 0..3 {
            self.until(backend, state).await;
        }
    }

    async fn until(&self, backend: usize, state: &str) {
        let what = format!("the socket of {backend} is {state}");
        self.stage.until(&what, async || self.socket(backend).await["state"] == state).await;
    }

    /// How often the proxy asked for blocks.
    fn asked(&self, backend: usize) -> usize {
        self.stage.fronts[backend].count("eth_getBlockByNumber")
    }
}

/// A client's subscription to `newHeads`.
struct Heads {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: Option<u64>,
}

impl Heads {
    async fn of(stage: &Stage) -> Heads {
        let url = format!("ws://{}/", stage.proxy.address());
        let (mut socket, _) = connect_async(url).await.expect("the proxy takes WebSockets");
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
        socket.send(Message::text(call)).await.expect("it is written");
        let answer = socket.next().await.expect("no end").expect("an answer").into_text().expect("text");
        assert!(answer.contains("result"), "{answer}");
        Heads { socket, last: None }
    }

    /// Height and hash of the next head, which follows the one before.
    async fn next(&mut self) -> (u64, String) {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("in time");
            let Message::Text(text) = message.expect("no end").expect("a message") else { continue };
            let told: Value = serde_json::from_str(&text).expect("JSON");
            let head = &told["params"]["result"];
            let height = number(&head["number"]);
            assert!(self.last.is_none_or(|last| last + 1 == height), "{height} after {:?}", self.last);
            self.last = Some(height);
            return (height, head["hash"].as_str().expect("a hash").to_owned());
        }
    }
}

/// Item 5: what a client is told comes by a push, and not by a question.
#[tokio::test]
async fn s7_heads_reach_clients_by_pushes_while_every_question_is_slow() {
    let p = Pushing::start().await;
    let mut heads = Heads::of(&p.stage).await;
    p.until_all("connected").await;
    for front in &p.stage.fronts {
        front.set(Fault::Latency(SLOW).only(&["eth_getBlockByNumber", "eth_getBlockByHash"])).await;
    }
    // What was asked before is told by now.
    p.stage.bell.blocks(2).await;
    p.stage.forget();
    while heads.next().await.0 < p.stage.lab.height().await {}
    let from = p.stage.lab.height().await;
    let mut slowest = Duration::ZERO;
    while heads.last < Some(from + 12) {
        let (height, hash) = heads.next().await;
        let told_at = Instant::now();
        let history = p.stage.lab.history().await;
        let mined = history.iter().rev().find(|mined| mined.head.number == height).expect("it was mined");
        assert_eq!(mined.head.hash, hash);
        slowest = slowest.max(told_at.saturating_duration_since(mined.mined_at));
    }
    let asked: Vec<usize> = (0..3).map(|backend| p.asked(backend)).collect();
    println!("slowest of 12 heads {slowest:?} after it was mined, questions for blocks meanwhile {asked:?}");
    assert!(
        slowest < SLOW / 2,
        "{slowest:?}: no question was answered within {SLOW:?}\n{}",
        p.stage.proxy.said()
    );
}

#[tokio::test]
async fn s7_backends_that_push_are_asked_less_and_nothing_less_is_told() {
    let p = Pushing::start().await;
    let mut heads = Heads::of(&p.stage).await;
    p.until_all("connected").await;
    p.stage.forget();
    let from = p.stage.lab.height().await;
    while heads.next().await.0 < from + 24 {}
    let asked: Vec<usize> = (0..3).map(|backend| p.asked(backend)).collect();
    println!("questions in 24 blocks: {asked:?}");
    assert!(asked.iter().sum::<usize>() < 36, "half of a question a block and backend: {asked:?}");
}

#[tokio::test]
async fn s7_a_socket_that_falls_silent_loses_its_role_and_has_it_back_after_three_blocks() {
    let p = Pushing::start().await;
    let mut heads = Heads::of(&p.stage).await;
    p.until_all("connected").await;
    p.relays[0].set(Carries::NothingBack);
    let from = p.stage.lab.height().await;
    p.until(0, "silent").await;
    let blocks = p.stage.lab.height().await - from;
    assert!((2..=6).contains(&blocks), "{blocks} blocks");
    let silent = p.socket(0).await;
    assert!(silent["reason"].as_str().is_some_and(|why| why.contains("silent")), "{silent}");
    assert!(silent["since_s"].is_number(), "{silent}");
    p.stage.forget();
    let from = p.stage.lab.height().await;
    while heads.next().await.0 < from + 8 {}
    assert!(p.asked(0) >= 6, "asked about once a block: {}", p.asked(0));
    assert_eq!(p.stage.state(0).await, "ok", "its reads are as good as before");
    p.relays[0].set(Carries::Everything);
    let from = p.stage.lab.height().await;
    p.until(0, "connected").await;
    let blocks = p.stage.lab.height().await - from;
    assert!((2..=8).contains(&blocks), "{blocks} blocks");
    assert_eq!(p.socket(0).await["reason"], Value::Null);
    while heads.next().await.0 < p.stage.lab.height().await {}
}

#[tokio::test]
async fn s7_sockets_that_are_closed_every_second_cost_few_connections_and_no_head() {
    let p = Pushing::start().await;
    for relay in &p.relays {
        relay.set(Carries::For(Duration::from_secs(1)));
    }
    let mut heads = Heads::of(&p.stage).await;
    let (from, begun) = (p.stage.lab.height().await, Instant::now());
    while heads.next().await.0 < from + 20 {}
    let took = begun.elapsed();
    assert!(took < BLOCK_TIME * 30, "{took:?}");
    for (backend, relay) in p.relays.iter().enumerate() {
        assert!((1..=6).contains(&relay.opened()), "{} in {took:?}", relay.opened());
        assert_eq!(p.stage.state(backend).await, "ok");
    }
    p.stage
        .until("status says so", async || {
            p.socket(0).await["reason"].as_str().is_some_and(|why| why.contains("closed by the backend"))
        })
        .await;
}

/// R15: whoever listens at `ws` may be another network's.
#[tokio::test]
async fn r15_a_socket_of_another_chain_is_not_listened_to_and_does_not_touch_http() {
    let stranger = Front::table(json!({})).await;
    let other = other_chain().await;
    let stage = Stage::start_with(2, |settings| {
        settings.backends[0].labels += &format!("ws = \"ws://{other}/v3/0123456789abcdefkey\"\n");
        settings.backends[1].labels += &format!("ws = \"ws://{}\"\n", stranger.address());
    })
    .await;
    let mut heads = Heads::of(&stage).await;
    let ws = async |backend: usize| stage.status().await["backends"][backend]["ws"].clone();
    stage
        .until("it is found out", async || {
            ws(0).await["reason"].as_str().is_some_and(|why| why.contains("another chain"))
        })
        .await;
    stage.until("no handshake", async || ws(1).await["state"] == "waiting").await;
    let from = stage.lab.height().await;
    while heads.next().await.0 < from + 4 {}
    assert_eq!((stage.state(0).await, stage.state(1).await), ("ok".to_owned(), "ok".to_owned()));
    assert!(stage.proxy.said().contains("another chain"), "the log says so");
    assert!(!stage.proxy.said().contains("0123456789abcdefkey"), "the key stays inside");
}

/// The address of a WebSocket that says another chain's id, and pushes heads of it all the same.
async fn other_chain() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let Ok(call) = serde_json::from_slice::<Value>(&message.into_data()) else { continue };
                    let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": "0x1" });
                    if socket.send(Message::text(answer.to_string())).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
