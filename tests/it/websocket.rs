//! WebSockets through the real binary, by a client of another make than the server's tests would write: calls and
//! batches as over HTTP, the same guards, subscriptions that outlive backends, and bounds that say what they are.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::lab::front::{Answer, Fault, Front};
use crate::protocol::site::{self, Client, PATIENCE, Site, call, gas_price, text};
use crate::simulate::Simulated;

/// A client's connection.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(address: &str, path: &str) -> Socket {
        Socket::try_open(address, path, &[]).await.unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// With these headers; the status where it is refused.
    async fn try_open(address: &str, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        match timeout(PATIENCE, connect_async(request)).await.expect("in time") {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn send(&mut self, body: &str) {
        self.0.send(Message::text(body)).await.expect("it is written");
    }

    /// The next text, or how it was closed.
    async fn next(&mut self) -> Result<String, Option<CloseFrame>> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
                None => return Err(None),
            }
        }
    }

    async fn next_json(&mut self) -> Value {
        serde_json::from_str(&self.next().await.expect("no end")).expect("JSON")
    }

    /// Code and reason with which it is closed.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(frame) = self.next().await {
                let frame = frame.expect("a reason");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    async fn said(&mut self, body: &str) -> String {
        self.send(body).await;
        self.next().await.expect("an answer")
    }

    async fn subscribe(&mut self, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": params });
        let answer: Value = serde_json::from_str(&self.said(&call.to_string()).await).expect("JSON");
        assert!(answer["result"].is_string(), "{answer}");
        answer["result"].clone()
    }
}

/// P1, P2, P9
#[tokio::test]
async fn p1_calls_and_batches_are_answered_as_over_http() {
    let site = Site::start().await;
    let mut socket = Socket::open(site.proxy.address(), "/").await;
    assert_eq!(socket.said(&call("eth_gasPrice")).await, gas_price());
    let bodies = [
        call("eth_call"),
        call("eth_sign"),
        "{".to_owned(),
        "[]".to_owned(),
        String::new(),
        format!("[{},{},1]", call("eth_gasPrice"), call("net_version")),
        r#"{"jsonrpc":"2.0","id":"a\u0062","method":"eth_chainId"}"#.to_owned(),
    ];
    for body in bodies {
        assert_eq!(socket.said(&body).await, site.said(&body).await, "{body}");
    }
    // What has no id has no answer: the next one belongs to the next call. Some clients send their text as binary.
    socket.send(r#"{"jsonrpc":"2.0","method":"eth_gasPrice"}"#).await;
    socket.0.send(Message::binary(call("eth_gasPrice"))).await.expect("it is written");
    assert_eq!(socket.next().await.expect("an answer"), gas_price());
}

#[tokio::test]
async fn every_path_of_a_chain_takes_websockets_and_no_other_does() {
    let site = Site::start().await;
    let address = site.proxy.address();
    for path in ["/", "/lab", "/lab/", "/1"] {
        assert_eq!(
            Socket::open(address, path).await.said(&call("eth_gasPrice")).await,
            gas_price(),
            "{path}"
        );
    }
    for (path, status) in [("/nowhere", 404), ("/status", 200), ("/lab/deeper/path", 404)] {
        assert_eq!(Socket::try_open(address, path, &[]).await.err(), Some(status), "{path}");
    }
    let plain = site.connect().await.request("GET /lab", &[], b"").await;
    assert_eq!(plain.status(), 405, "{}", text(&plain));
    let old = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "8")];
    assert_eq!(site.connect().await.request("GET /lab", &old, b"").await.status(), 426);
}

/// P5
#[tokio::test]
async fn p5_the_guards_of_http_stand_before_websockets_too() {
    let token = "a-token-of-24-characters";
    let settings =
        format!("auth = {{ tokens = [\"{token}\"] }}\nallowed_origins = [\"https://app.example\"]");
    let site = Site::with(&settings).await;
    let bearer = format!("Bearer {token}");
    let cases: [(&[(&'static str, &str)], Option<u16>); 5] = [
        (&[("authorization", &bearer)], None),
        (&[("authorization", &bearer), ("origin", "https://app.example")], None),
        (&[("authorization", &bearer), ("origin", "https://evil.example")], Some(403)),
        (&[("authorization", &bearer), ("host", "evil.example")], Some(403)),
        (&[], Some(401)),
    ];
    for (headers, refused) in cases {
        let socket = Socket::try_open(site.proxy.address(), "/", headers).await;
        assert_eq!(socket.err(), refused, "{headers:?}");
    }
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_the_next_one() {
    let site = Site::start().await;
    site.front.set(Fault::Latency(Duration::from_secs(2)).only(&["eth_call"])).await;
    let mut socket = Socket::open(site.proxy.address(), "/").await;
    socket.send(r#"{"jsonrpc":"2.0","id":7,"method":"eth_call","params":[{},"latest"]}"#).await;
    socket.send(&call("eth_gasPrice")).await;
    assert_eq!(socket.next().await.expect("an answer"), gas_price());
    assert_eq!(socket.next_json().await["id"], 7);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_the_connection_and_says_why() {
    let site = Site::with("max_body = 2048").await;
    let mut socket = Socket::open(site.proxy.address(), "/").await;
    socket.send(&format!("{}{}", call("eth_gasPrice"), " ".repeat(1900))).await;
    assert_eq!(socket.next().await.expect("an answer"), gas_price());
    socket.send(&" ".repeat(3000)).await;
    let (code, reason) = socket.closed().await;
    assert!(code == 1009 && reason.contains("server.max_body"), "{code} {reason}");
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let large = format!("\"0x{}\"", "ab".repeat(500_000));
    let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{large}}}"#);
    let site =
        Site::answering(move |call| (call.method == "eth_getCode").then(|| Answer::Result(large.clone())))
            .await;
    let mut socket = Socket::open(site.proxy.address(), "/").await;
    let address = "0x00000000000000000000000000000000000000aa";
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [address, "latest"] });
    assert!(socket.said(&body.to_string()).await == expected, "other bytes");
    assert_eq!(socket.said(&call("eth_gasPrice")).await, gas_price());
}

/// S6
#[tokio::test]
async fn s6_a_client_without_a_sign_of_life_is_closed_and_one_that_answers_is_not() {
    let site = Site::with("websocket = { ping_interval = \"200ms\" }").await;
    let mut alive = Socket::open(site.proxy.address(), "/").await;
    let mut dead = Socket::open(site.proxy.address(), "/").await;
    // Reading is what answers pings.
    assert!(timeout(Duration::from_secs(2), alive.0.next()).await.is_ok_and(|m| m.is_some()), "a ping comes");
    let reading = async {
        loop {
            let _ = alive.0.next().await;
        }
    };
    let _ = timeout(Duration::from_secs(2), reading).await;
    assert_eq!(alive.said(&call("eth_gasPrice")).await, gas_price());
    let (code, reason) = dead.closed().await;
    assert!(code == 1008 && reason.contains("no sign of life"), "{code} {reason}");
}

/// S6
#[tokio::test]
async fn s6_a_reader_that_is_too_slow_is_told_so_and_slows_nobody() {
    let hashes = AtomicU64::new(0);
    let input = format!("0x{}", "ab".repeat(30_000));
    let front = Front::fixture(move |call| match call.method.as_str() {
        "eth_newPendingTransactionFilter" => Answer::Result("\"0x1\"".to_owned()),
        "eth_getFilterChanges" => {
            let from = hashes.fetch_add(100, Ordering::Relaxed);
            let fresh: Vec<_> = (from..from + 100).map(|number| format!("0x{number:064x}")).collect();
            Answer::Result(json!(fresh).to_string())
        }
        "eth_getTransactionByHash" => {
            Answer::Result(json!({ "hash": call.params[0], "input": input }).to_string())
        }
        other => site::answers(other),
    })
    .await;
    let settings = "websocket = { max_queue = \"2MiB\" }";
    let proxy = site::start(&site::over(std::slice::from_ref(&front)), settings).await;
    let mut slow = Socket::open(proxy.address(), "/").await;
    let mut quick = Socket::open(proxy.address(), "/").await;
    for socket in [&mut slow, &mut quick] {
        socket.subscribe(json!(["newPendingTransactions", true])).await;
    }
    // Until the slow one's socket buffers and its queue are full; the quick one reads on all the time.
    let mut told = 0;
    while !proxy.said().contains("too slow") {
        quick.next().await.expect("the quick one is not closed");
        told += 1;
        assert!(told < 5000, "300 MB are more than the kernel buffers");
    }
    let (code, reason) = slow.closed().await;
    assert!(code == 1008 && reason.contains("server.websocket.max_queue"), "{code} {reason}");
    assert_eq!(quick.next_json().await["method"], "eth_subscription");
}

/// O1
#[tokio::test]
async fn o1_at_the_end_calls_are_answered_and_connections_closed_with_1001() {
    let site = Site::start().await;
    site.front.set(Fault::Latency(Duration::from_secs(2)).only(&["eth_gasPrice"])).await;
    let mut idle = Socket::open(site.proxy.address(), "/").await;
    let mut busy = Socket::open(site.proxy.address(), "/").await;
    busy.send(&call("eth_gasPrice")).await;
    while site.front.count("eth_gasPrice") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    site.proxy.signal("TERM");
    assert_eq!(idle.closed().await.0, 1001);
    assert_eq!(busy.next().await.expect("the answer first"), gas_price());
    assert_eq!(busy.closed().await.0, 1001);
    let ended = tokio::task::spawn_blocking(move || site.proxy.ended()).await.expect("it ends");
    assert_eq!(ended.0.code(), Some(0), "{}", ended.1);
}

/// S5: what a batch does to a filter, it does in its order.
#[tokio::test]
async fn s5_a_batch_about_one_filter_keeps_its_order_and_no_backend_hears_of_it() {
    let site = Site::start().await;
    let made: Value = serde_json::from_str(&site.said(&call("eth_newBlockFilter")).await).expect("JSON");
    let item =
        |id, method| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [made["result"]] });
    let batch = json!([
        item(1, "eth_getFilterChanges"),
        item(2, "eth_uninstallFilter"),
        item(3, "eth_uninstallFilter"),
    ]);
    let said: Value = serde_json::from_str(&site.said(&batch.to_string()).await).expect("JSON");
    let results: Vec<&Value> =
        said.as_array().expect("an array").iter().map(|item| &item["result"]).collect();
    assert_eq!(results[1..], [&json!(true), &json!(false)]);
    assert!(results[0].is_array(), "{said}");
    assert!(!site.forwarded().iter().any(|body| body.contains("Filter")), "{:?}", site.forwarded());
}

/// S1, S3, S5: heads and a block filter, from HTTP backends, while clouds die and come back.
#[tokio::test(flavor = "multi_thread")]
async fn s1_every_head_comes_once_and_in_order_while_clouds_are_killed() {
    let kills = ["--kill", "aws@2s..5s", "--kill", "gcp@6s..8s"];
    let simulated = Simulated::start(&kills).await;
    let mut socket = Socket::open(&simulated.address, "/").await;
    let id = socket.subscribe(json!(["newHeads"])).await;
    let mut client = Client::open(&simulated.address).await;
    let said = |message: &_| serde_json::from_str::<Value>(&text(message)).expect("JSON")["result"].clone();
    let filter = said(&client.post("/", &[], call("eth_newBlockFilter").as_bytes()).await);
    let mut heads: Vec<Value> = Vec::new();
    let mut polled: HashMap<String, usize> = HashMap::new();
    while heads.len() < 12 {
        let news = socket.next_json().await;
        assert_eq!(news["params"]["subscription"], id);
        heads.push(news["params"]["result"].clone());
        let poll = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getFilterChanges", "params": [filter] });
        let changes = said(&client.post("/", &[], poll.to_string().as_bytes()).await);
        for hash in changes.as_array().unwrap_or_else(|| panic!("{changes}")) {
            *polled.entry(hash.to_string()).or_default() += 1;
        }
    }
    for pair in heads.windows(2) {
        assert_eq!(pair[1]["parentHash"], pair[0]["hash"], "{heads:#?}");
        assert!(pair[1].get("transactions").is_none(), "a header has no transactions: {}", pair[1]);
    }
    assert!(polled.values().all(|times| *times == 1), "{polled:?}");
    // The first may have come before the filter was made.
    assert!(heads[1..].iter().all(|head| polled.contains_key(&head["hash"].to_string())), "{polled:?}");
}
