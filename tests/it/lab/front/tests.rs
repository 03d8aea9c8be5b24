//! What a bare client sees of each fault.
use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Answer, Fault, Front, Rule};
use crate::lab::anvil::{Lab, number};
use crate::lab::rpc::{CallError, Rpc, exchange, post};
use crate::lab::wire::{Message, read_head};

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":"a7","method":"eth_blockNumber","params":[]}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":"a7","result":"0x10"}"#;
/// Longer than any answer on loopback takes.
const SILENCE: Duration = Duration::from_millis(150);

async fn backend() -> Front {
    Front::table(json!({
        "eth_blockNumber": "0x10",
        "eth_chainId": "0x1",
        "eth_call": {"__error": {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}},
    }))
    .await
}

async fn ask(front: &Front) -> std::io::Result<Message> {
    post(front.address(), &[], CALL).await
}

async fn text(front: &Front) -> String {
    String::from_utf8(ask(front).await.unwrap().body.to_vec()).unwrap()
}

async fn failure(front: &Front) -> ErrorKind {
    ask(front).await.expect_err("no whole answer arrives").kind()
}

#[tokio::test]
async fn without_a_fault_the_answer_comes_through() {
    let front = backend().await;
    assert_eq!(text(&front).await, ANSWER);
    assert_eq!((front.requests(), front.hits(), front.count("eth_blockNumber")), (1, 0, 1));
    assert_eq!(&front.seen()[0].body[..], CALL);
}

#[tokio::test]
async fn a_batch_is_answered_item_by_item_and_counted_by_method() {
    let front = backend().await;
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"eth_call"},{"jsonrpc":"2.0","method":"eth_chainId"},
                     {"jsonrpc":"2.0","id":null,"method":"eth_nope"}]"#;
    let answer: Value =
        serde_json::from_slice(&post(front.address(), &[], batch).await.unwrap().body).unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 2, "a notification gets no answer");
    assert_eq!(answer[0]["error"]["data"], "0x08c379a0");
    assert_eq!(answer[1]["error"]["code"], -32601);
    assert_eq!(front.seen()[0].methods, ["eth_call", "eth_chainId", "eth_nope"]);
}

#[tokio::test]
async fn refuse_is_a_real_refusal_and_the_port_opens_again() {
    let front = backend().await;
    let mut kept = BufReader::new(TcpStream::connect(front.address()).await.unwrap());
    exchange(&mut kept, "x", "/", &[], CALL).await.unwrap();
    for _ in 0..3 {
        front.set(Fault::Refuse).await;
        assert_eq!(failure(&front).await, ErrorKind::ConnectionRefused);
        front.heal().await;
        assert_eq!(text(&front).await, ANSWER);
    }
    assert!(exchange(&mut kept, "x", "/", &[], CALL).await.is_err(), "an open connection did not survive");
}

#[tokio::test]
async fn a_black_hole_accepts_and_says_nothing_until_it_is_healed() {
    let front = backend().await;
    let mut kept = BufReader::new(TcpStream::connect(front.address()).await.unwrap());
    exchange(&mut kept, "x", "/", &[], CALL).await.unwrap();
    front.set(Fault::BlackHole).await;
    let mut fresh = BufReader::new(TcpStream::connect(front.address()).await.expect("the kernel accepts"));
    let (mut one, mut two) = (
        Box::pin(exchange(&mut kept, "x", "/", &[], CALL)),
        Box::pin(exchange(&mut fresh, "x", "/", &[], CALL)),
    );
    assert!(timeout(SILENCE, &mut one).await.is_err(), "an open connection falls silent");
    assert!(timeout(SILENCE, &mut two).await.is_err(), "a new one is never read");
    front.heal().await;
    assert_eq!(&one.await.unwrap().body[..], ANSWER.as_bytes());
    assert_eq!(&two.await.unwrap().body[..], ANSWER.as_bytes());
}

#[tokio::test]
async fn reset_close_and_cut_fail_each_in_its_own_way() {
    let front = backend().await;
    for (fault, kind) in [
        (Fault::Reset, ErrorKind::ConnectionReset),
        (Fault::Close, ErrorKind::UnexpectedEof),
        (Fault::CutAfter(9), ErrorKind::UnexpectedEof),
        (Fault::ResetAfter(9), ErrorKind::ConnectionReset),
    ] {
        front.set(fault.clone()).await;
        assert_eq!(failure(&front).await, kind, "{fault:?}");
    }
}

#[tokio::test]
async fn hang_and_exec_then_hang_differ_in_whether_the_node_worked() {
    let worked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&worked);
    let front = Front::fixture(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Answer::result(json!("0x10"))
    })
    .await;
    for (fault, times) in [(Fault::Hang, 0), (Fault::ExecThenHang, 1)] {
        front.set(fault).await;
        assert!(timeout(SILENCE, ask(&front)).await.is_err());
        assert_eq!(worked.load(std::sync::atomic::Ordering::SeqCst), times);
    }
}

#[tokio::test]
async fn statuses_headers_and_bodies_are_sent_as_asked() {
    let front = backend().await;
    for (fault, status, header, body) in [
        (Fault::status(503), 503, None, "upstream connect error"),
        (Fault::status(502), 502, None, "upstream"),
        (Fault::status(403), 403, None, "upstream"),
        (Fault::rate_limited("2"), 429, Some(("retry-after", "2")), r#""id":"a7""#),
        (Fault::moved("http://127.0.0.1:9/"), 301, Some(("location", "http://127.0.0.1:9/")), "Moved"),
        (Fault::html(), 200, Some(("content-type", "text/html; charset=utf-8")), "<!DOCTYPE"),
        (Fault::empty(), 200, Some(("content-length", "0")), ""),
        (Fault::not_json(), 200, Some(("content-type", "application/json")), "\"resu"),
    ] {
        front.set(fault.clone()).await;
        let answer = ask(&front).await.unwrap();
        assert_eq!(answer.status(), status, "{fault:?}");
        assert!(String::from_utf8_lossy(&answer.body).contains(body), "{fault:?}: {answer:?}");
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value), "{fault:?}");
        }
    }
    front.set(Fault::empty()).await;
    assert!(ask(&front).await.unwrap().body.is_empty());
}

#[tokio::test]
async fn garbage_is_no_http() {
    let front = backend().await;
    front.set(Fault::garbage()).await;
    let got = ask(&front).await;
    assert!(got.as_ref().map_or(true, |answer| answer.status() == 0), "{got:?}");
}

#[tokio::test]
async fn changed_answers_keep_everything_else() {
    let front = backend().await;
    for (fault, expected) in [
        (Fault::WrongId, json!({"jsonrpc": "2.0", "id": 987_654_321, "result": "0x10"})),
        (Fault::NullResult, json!({"jsonrpc": "2.0", "id": "a7", "result": null})),
        (Fault::Lag(3), json!({"jsonrpc": "2.0", "id": "a7", "result": "0xd"})),
        (Fault::ChainId(5), json!({"jsonrpc": "2.0", "id": "a7", "result": "0x10"})),
        (Fault::BigResult(2), json!({"jsonrpc": "2.0", "id": "a7", "result": "0x0000"})),
        (
            Fault::rpc_error(-32005, "limit"),
            json!({"jsonrpc": "2.0", "id": "a7", "error": {"code": -32005, "message": "limit"}}),
        ),
    ] {
        front.set(fault.clone()).await;
        assert_eq!(serde_json::from_str::<Value>(&text(&front).await).unwrap(), expected, "{fault:?}");
    }
    front.set(Fault::ChainId(5)).await;
    assert_eq!(Rpc::new(front.address()).call("eth_chainId", json!([])).await.unwrap(), "0x5");
}

#[tokio::test]
async fn templates_carry_the_ids_of_the_request() {
    let front = backend().await;
    front.set(Fault::template(r#"[{"id":"$ID2"},{"id":"$ID1"},{"id":"$OTHER"},{"id":"$ID"}]"#)).await;
    let batch = br#"[{"id":"x","method":"a"},{"id":2.0,"method":"b"}]"#;
    let answer = post(front.address(), &[], batch).await.unwrap();
    assert_eq!(&answer.body[..], br#"[{"id":2.0},{"id":"x"},{"id":987654321},{"id":"x"}]"#);
}

#[tokio::test]
async fn latency_and_drip_take_their_time_and_gzip_unpacks_to_the_answer() {
    let front = backend().await;
    for fault in [Fault::Latency(SILENCE), Fault::Drip { bytes_per_second: 600 }] {
        front.set(fault.clone()).await;
        let start = Instant::now();
        assert_eq!(text(&front).await, ANSWER);
        assert!(start.elapsed() >= SILENCE, "{fault:?} took {:?}", start.elapsed());
    }
    front.set(Fault::Gzip).await;
    let answer = ask(&front).await.unwrap();
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut plain).unwrap();
    assert_eq!(plain, ANSWER);
}

#[tokio::test]
async fn a_kept_connection_closes_under_the_second_request() {
    let front = backend().await;
    front.set(Fault::CloseOnReuse).await;
    let mut kept = BufReader::new(TcpStream::connect(front.address()).await.unwrap());
    exchange(&mut kept, "x", "/", &[], CALL).await.expect("the first request is answered");
    let second = exchange(&mut kept, "x", "/", &[], CALL).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(front.connections(), [2]);
}

#[tokio::test]
async fn a_rule_meets_only_its_methods_its_share_and_its_count() {
    let front = backend().await;
    front.set(Fault::status(503).only(&["eth_chainId"])).await;
    assert_eq!(text(&front).await, ANSWER);
    let hit = Rpc::new(front.address()).call("eth_chainId", json!([])).await;
    assert!(matches!(hit, Err(CallError::Shape { status: 503, .. })), "{hit:?}");

    front.set(Fault::status(503).first(2)).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&front).await.unwrap().status());
    }
    assert_eq!(statuses, [503, 503, 200, 200]);

    front.set(Fault::status(503).sometimes(0.5)).await;
    front.forget();
    for _ in 0..100 {
        ask(&front).await.unwrap();
    }
    assert!((30..=70).contains(&front.hits()), "{} of 100 with probability 0.5", front.hits());
}

#[tokio::test]
async fn two_rules_work_together() {
    let front = backend().await;
    front.set(Fault::Latency(SILENCE)).await;
    front.also(Rule::from(Fault::Lag(1))).await;
    let start = Instant::now();
    assert!(text(&front).await.contains("0xf"));
    assert!(start.elapsed() >= SILENCE);
}

#[tokio::test]
async fn a_websocket_upgrade_passes_through() {
    let lab = Lab::start(1).await;
    let front = Front::of_node(&lab, 0).await;
    let mut stream = BufReader::new(TcpStream::connect(front.address()).await.unwrap());
    let upgrade = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        front.address()
    );
    stream.get_mut().write_all(upgrade.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await.unwrap().unwrap();
    assert_eq!(answer.status(), 101);
    // the accept value of RFC 6455, section 1.3
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[tokio::test]
async fn a_ticking_chain_behind_fronts_loses_no_transaction() {
    let lab = Lab::start(3).await;
    let (mut clients, mut hashes) = (Vec::new(), Vec::new());
    for node in 0..3 {
        let front = Front::of_node(&lab, node).await;
        clients.push((Rpc::new(front.address()), front));
    }
    let accounts = lab.rpc(0, "eth_accounts", json!([])).await.unwrap();
    let ticker = lab.spawn_ticker(Duration::from_millis(40));
    for nonce in 0..30 {
        for (account, (client, _)) in clients.iter().enumerate() {
            let transaction =
                json!({"from": accounts[account], "to": accounts[9], "nonce": format!("{nonce:#x}")});
            hashes.push(client.call("eth_sendTransaction", json!([transaction])).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(nonce)).await;
    }
    ticker.stop().await;
    lab.tick().await;
    let heads = lab.heads().await;
    assert!(heads.iter().all(|head| *head == heads[0]), "{heads:?}");
    for (i, hash) in hashes.iter().enumerate() {
        let mined = lab.rpc((i + 1) % 3, "eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert!(number(&mined["blockNumber"]) > 0, "{hash} sent to node {} was lost", i % 3);
    }
}
