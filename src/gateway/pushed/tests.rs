//! Sockets that do what no node should, over a stand-in for HTTP whose chain stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::super::Gateway;
use super::super::stand_in::StandIn;
use super::*;
use crate::config::Config;

const BOUND: Duration = Duration::from_secs(20);
const KEY: &str = "0123456789abcdefsecret";

/// A header that does not hash to what it claims; HTTP's own neither, so that the chain's headers seem to be of a kind of
/// their own.
fn header(number: u64) -> Value {
    json!({
        "number": format!("{number:#x}"), "hash": format!("{:#066x}", number + 1),
        "parentHash": format!("{number:#066x}"), "timestamp": format!("{number:#x}"),
    })
}

/// HTTP of a backend whose head is the block of this number.
async fn http(head: Arc<AtomicUsize>) -> StandIn {
    StandIn::start(Duration::ZERO, move |method| {
        Some((
            "result",
            match method {
                "eth_chainId" => json!("0x1"),
                "eth_getBlockByNumber" => header(head.load(Ordering::SeqCst) as u64),
                "eth_blockNumber" => json!(format!("{:#x}", head.load(Ordering::SeqCst))),
                _ => json!("0x10"),
            },
        ))
    })
    .await
}

/// A server whose connections go to this closure, and how many there were.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

/// Answers `eth_chainId` and `eth_subscribe`, and gives the socket.
async fn subscribed(stream: TcpStream) -> WebSocketStream<TcpStream> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
    for result in ["0x1", "0xcd0c3e8af590364c09d0fa6a1210faf5"] {
        let call = socket.next().await.expect("a call").expect("a message").into_data();
        let call: Value = serde_json::from_slice(&call).expect("JSON");
        let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string();
        socket.send(Message::text(answer)).await.expect("it is taken");
    }
    socket
}

fn push(header: &Value) -> Message {
    let params = json!({ "subscription": "0xcd0c3e8af590364c09d0fa6a1210faf5", "result": header });
    Message::text(json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": params }).to_string())
}

fn gateway(http: &StandIn, ws: &str) -> Gateway {
    let file = format!(
        "[[chains.mainnet.backends]]\nname = \"a\"\nurl = \"{}\"\nws = \"ws://user:{KEY}@{ws}/v3/{KEY}?k={KEY}\"\n",
        http.url
    );
    Gateway::new(&Config::from_toml(&file, "test", &|_| None).expect("a sound file")).expect("a gateway")
}

/// Uses the chain until the socket's status fits.
async fn until(gateway: &Gateway, what: &str, fits: impl Fn(&str, Option<&str>) -> bool) {
    let told = timeout(BOUND, async {
        loop {
            let _ = gateway.call::<String>(None, "eth_blockNumber", ()).await;
            let ws = gateway.status().chains[0].backends[0].ws.clone().expect("it has one");
            if fits(ws.state, ws.reason.as_deref()) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(told.await.is_ok(), "{what}: {:?}", gateway.status().chains[0].backends[0].ws);
}

/// Uses the chain until its socket failed for this reason; nothing of HTTP is held against the backend.
async fn fails<F>(what: &str, reason: &str, serve: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let http = http(Arc::new(AtomicUsize::new(7))).await;
    let (ws, opened) = server(serve).await;
    let gateway = gateway(&http, &ws);
    until(&gateway, what, |state, why| state == "waiting" && why.is_some_and(|why| why.contains(reason)))
        .await;
    assert_eq!(opened.load(Ordering::SeqCst), 1, "{what}");
    let number = gateway.call::<String>(None, "eth_blockNumber", ()).await;
    assert_eq!(number.expect("it is answered"), "0x7", "{what}");
    let status = gateway.status();
    assert_eq!(status.chains[0].backends[0].state, "ok", "{what}");
    let shown = format!("{status:?} {gateway:?} {}", serde_json::to_string(&status).expect("JSON"));
    assert!(!shown.contains(KEY), "{what}: {shown}");
}

/// Answers a handshake with these bytes.
async fn refuse(mut stream: TcpStream, answer: &str) {
    let _ = stream.read(&mut [0; 4096]).await;
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// S7, R15, P3
#[tokio::test]
async fn s7_a_socket_that_misbehaves_is_closed_said_why_and_hurts_nothing() {
    fails("refused", "HTTP status 401", async |stream| {
        refuse(stream, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    // Elsewhere, with the key: nobody goes there.
    fails("moved", "HTTP status 302", async |stream| {
        refuse(stream, "HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
            .await;
    })
    .await;
    fails("no WebSocket", "does not speak WebSocket", async |stream| {
        refuse(stream, "\0\x15\x03 {garbage}\r\n\r\n").await;
    })
    .await;
    fails("closed at once", "no connection", async |stream| drop(stream)).await;
    fails("another chain", "another chain", async |stream| {
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
        let _ = socket.next().await;
        let _ = socket.send(Message::text(r#"{"jsonrpc":"2.0","id":1,"result":"0x2"}"#)).await;
        // It pushes all the same.
        let _ = socket.send(push(&header(1_000_000))).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    fails("no newHeads", "does not give newHeads", async |stream| {
        let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
        let _ = socket.next().await;
        let _ = socket.send(Message::text(r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#)).await;
        let _ = socket.next().await;
        let refusal = format!(r#"{{"jsonrpc":"2.0","id":2,"error":{{"code":-32601,"message":"no {KEY}"}}}}"#);
        let _ = socket.send(Message::text(refusal)).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    // Too few to be far too much.
    fails("garbage", "no head of this chain", async |stream| {
        let mut socket = subscribed(stream).await;
        for _ in 0..9 {
            let _ = socket.send(Message::text("{\"jsonrpc\":")).await;
        }
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    fails("another's subscription", "no head of this chain", async |stream| {
        let mut socket = subscribed(stream).await;
        for number in 8..17 {
            let text = push(&header(number)).into_text().expect("text").replace("0xcd0c", "0xabcd");
            let _ = socket.send(Message::text(text)).await;
        }
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    fails("a flood of heads", "far too much", async |stream| {
        let mut socket = subscribed(stream).await;
        while socket.send(push(&header(7))).await.is_ok() {}
    })
    .await;
    fails("an endless message", "too long", async |stream| {
        let mut stream = subscribed(stream).await.into_inner();
        // A text frame of 2^40 bytes.
        let head = [0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0];
        let _ = stream.write_all(&head).await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    fails("endless fragments", "too long", async |stream| {
        let mut stream = subscribed(stream).await.into_inner();
        let mut frame = [b'x'; 1004];
        frame[..4].copy_from_slice(&[0x01, 126, 0x03, 0xe8]);
        while stream.write_all(&frame).await.is_ok() {
            frame[0] = 0;
        }
    })
    .await;
}

#[tokio::test]
async fn a_chain_that_nobody_uses_opens_no_socket() {
    let http = http(Arc::new(AtomicUsize::new(7))).await;
    let (ws, opened) = server(async |stream| {
        let mut socket = subscribed(stream).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let gateway = gateway(&http, &ws);
    // It is looked after meanwhile: HTTP was asked.
    timeout(BOUND, async {
        while gateway.status().chains[0].backends[0].head.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(3 * LOOK_EVERY).await;
    })
    .await
    .expect("HTTP is asked");
    assert_eq!(opened.load(Ordering::SeqCst), 0);
    assert_eq!(gateway.status().chains[0].backends[0].ws.clone().expect("it has one").state, "idle");
    until(&gateway, "it is used", |state, _| state == "proving").await;
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

/// A hint is worth one question: the head is told when HTTP has it, long before it would have been asked for.
#[tokio::test]
async fn a_push_makes_the_backend_be_asked_at_once() {
    let head = Arc::new(AtomicUsize::new(7));
    let http = http(head.clone()).await;
    let (ws, _) = server(move |stream| {
        let head = head.clone();
        async move {
            let mut socket = subscribed(stream).await;
            // What was asked at the start is over: questions come a block of twelve seconds apart.
            sleep(Duration::from_secs(1)).await;
            head.store(8, Ordering::SeqCst);
            let _ = socket.send(push(&header(8))).await;
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
    let gateway = gateway(&http, &ws);
    until(&gateway, "it is open", |state, _| state == "proving").await;
    let told = timeout(Duration::from_secs(3), async {
        while gateway.call::<String>(None, "eth_blockNumber", ()).await.ok().as_deref() != Some("0x8") {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(told.await.is_ok(), "{:?}", gateway.status().chains[0].follower);
}
