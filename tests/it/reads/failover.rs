//! R1, R2, R10, R12: whatever one backend does, the client sees the good answer of another.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{GOOD, Pair, WATCHED, backend, call, status_of, until, watched};
use crate::lab::front::Fault;
use crate::lab::proxy::{Proxy, Settings};

/// R1: what a failing provider answers with.
pub(super) fn failures() -> Vec<(&'static str, Fault)> {
    let json_error = |status, code, message: &str| {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":"$ID","error":{{"code":{code},"message":"{message}"}}}}"#);
        Fault::respond(status, &[("content-type", "application/json")], &body)
    };
    vec![
        ("301", Fault::moved("http://169.254.169.254/latest/meta-data/")),
        ("302", Fault::respond(302, &[("location", "https://login.example/")], "")),
        (
            "400 with garbage",
            Fault::respond(400, &[("content-type", "text/plain")], "Bad Request: \u{0}\u{1}"),
        ),
        ("401", json_error(401, -32600, "invalid project id")),
        ("403", Fault::respond(403, &[("content-type", "text/html")], "<html>Forbidden</html>")),
        ("404", Fault::status(404)),
        ("410", Fault::respond(410, &[("content-type", "text/plain")], "Gone: this endpoint was shut down")),
        ("429", Fault::rate_limited("3")),
        ("500", Fault::status(500)),
        ("502", Fault::respond(502, &[("content-type", "text/html")], "<html>502 Bad Gateway</html>")),
        ("503", Fault::status(503)),
        ("504", Fault::status(504)),
        ("520", Fault::respond(520, &[("server", "cloudflare")], "error code: 520")),
        ("522", Fault::respond(522, &[("server", "cloudflare")], "error code: 522")),
        ("526", Fault::respond(526, &[("server", "cloudflare")], "<html>Invalid SSL certificate</html>")),
        ("HTML with 200", Fault::html()),
        ("empty", Fault::empty()),
        ("truncated", Fault::CutAfter(20)),
        ("reset in the middle", Fault::ResetAfter(10)),
        ("wrong id", Fault::WrongId),
        ("not JSON", Fault::not_json()),
        ("no HTTP", Fault::garbage()),
        ("closed without an answer", Fault::Close),
        ("reset", Fault::Reset),
        ("refused", Fault::Refuse),
        ("internal error in 200", Fault::rpc_error(-32603, "Internal error")),
        (
            "both members",
            Fault::template(
                r#"{"jsonrpc":"2.0","id":"$ID","result":"0x666","error":{"code":-32000,"message":"boom"}}"#,
            ),
        ),
        (
            "missing trie node",
            Fault::rpc_error(-32000, "missing trie node 1f2e (path ) state 0xab is not available"),
        ),
        ("header not found", Fault::rpc_error(-32000, "header not found")),
    ]
}

#[tokio::test]
async fn r1_a_failing_backend_is_asked_once_and_the_client_sees_the_good_answer() {
    for (name, fault) in failures() {
        let pair = Pair::start().await;
        let whole_address = fault == Fault::Refuse;
        if whole_address {
            pair.primary.set(fault).await;
        } else {
            pair.primary.set(fault.only(&[WATCHED])).await;
        }
        assert_eq!(
            watched(&pair.proxy).await,
            json!({"jsonrpc": "2.0", "id": "x", "result": GOOD}),
            "{name}"
        );
        let (primary, backup) = pair.asked();
        assert_eq!(backup, 1, "{name}");
        // A reset on a kept connection is asked for again on a fresh one: that is no failure yet.
        let stale = ["closed without an answer", "reset"].contains(&name);
        assert!(whole_address || primary == 1 || (stale && primary == 2), "{name}: asked {primary} times");
        let said = pair.proxy.said();
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}

/// R1, P3: what a gateway sends instead of an answer stays inside, whether somebody else answers or nobody.
#[tokio::test]
async fn r1_nothing_of_a_failed_answer_reaches_the_client() {
    const MARK: &str = "MARK-7f3a";
    let statuses = [
        200, 301, 302, 400, 401, 402, 403, 404, 405, 410, 413, 429, 451, 500, 502, 503, 504, 520, 521, 522,
        523, 524, 525, 526, 530,
    ];
    let location = format!("http://{MARK}.example/");
    let headers = [("content-type", "text/html"), ("server", MARK), ("location", &location)];
    let page = format!("<html><body>{MARK}\u{1}</body></html>");
    let object = format!(r#"{{"message":"{MARK}","path":"/v3/{MARK}"}}"#);
    for status in statuses {
        // A fleet for each: retries come out of a budget, which one storm of failures would use up.
        let pair = Pair::start().await;
        for body in [&page, &object, MARK] {
            let fault = Fault::respond(status, &headers, body);
            for front in [&pair.primary, &pair.backup] {
                front.set(fault.clone().only(&[WATCHED])).await;
            }
            let before = pair.primary.hits() + pair.backup.hits();
            let answer =
                pair.proxy.post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{WATCHED}"}}"#)).await;
            assert!(pair.primary.hits() + pair.backup.hits() > before, "{status}: nobody was asked");
            let whole = String::from_utf8_lossy(&answer.to_bytes()).into_owned();
            assert!(!whole.contains(MARK), "{status} {body}: {whole}");
            let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert!(answer["error"]["message"].is_string(), "{status} {body}: {answer}");
            pair.backup.heal().await;
            let answer =
                pair.proxy.post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{WATCHED}"}}"#)).await;
            assert_eq!(
                &answer.body[..],
                format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{GOOD}"}}"#).as_bytes()
            );
            let head = format!("{:?}", answer.headers);
            assert!(!head.contains(MARK), "{status} {body}: {head}");
        }
        assert!(!pair.proxy.said().contains(MARK), "nor the log:\n{}", pair.proxy.said());
    }
}

#[tokio::test]
async fn r1_in_a_batch_only_the_missing_items_move_and_the_order_stays() {
    let pair = Pair::start().await;
    let partial = Fault::template(r#"[{"jsonrpc":"2.0","id":"$ID2","result":"0x2222"}]"#);
    pair.primary.set(partial.only(&["eth_getBalance"])).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": ["0x0000000000000000000000000000000000000001", "latest"]},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_getBalance", "params": ["0x0000000000000000000000000000000000000002", "latest"]},
    ]);
    let answer = pair.proxy.post(&batch.to_string()).await;
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": 1, "result": "0xde0b6b3a7640000"}));
    assert_eq!(answer[1], json!({"jsonrpc": "2.0", "id": 2, "result": "0x2222"}));
    assert_eq!(pair.backup.count("eth_getBalance"), 1, "the item that was answered stays");
}

#[tokio::test]
async fn p2_a_backend_that_takes_no_batches_gets_single_calls_and_nobody_notices() {
    let pair = Pair::start().await;
    let refusal =
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch requests are not supported"}}"#;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": WATCHED},
        {"jsonrpc": "2.0", "id": 2, "method": WATCHED},
    ]);
    pair.primary.set(Fault::template(refusal).only(&[WATCHED]).first(1)).await;
    for _ in 0..2 {
        let answer = pair.proxy.post(&batch.to_string()).await;
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&answer[0]["result"], &answer[1]["result"]), (&json!(GOOD), &json!(GOOD)));
    }
    assert_eq!(pair.backup.count(WATCHED), 0);
    let bodies: Vec<_> =
        pair.primary.seen().into_iter().filter(|seen| seen.methods.iter().any(|m| m == WATCHED)).collect();
    let batches = bodies.iter().filter(|seen| seen.body.starts_with(b"[")).count();
    assert_eq!((batches, bodies.len()), (1, 5), "one batch was tried, then it was known");
}

#[tokio::test]
async fn r2_a_name_that_does_not_resolve_and_a_wrong_certificate_are_masked_at_once() {
    let (no_tls, good) = (backend().await, backend().await);
    let mut settings = Settings::over(&[good.clone(), no_tls.clone(), good.clone()]);
    settings.backends[0].url = "http://no-such-host.invalid/".to_owned();
    // A plain HTTP port is no TLS server.
    settings.backends[1].url = no_tls.url().replace("http://", "https://");
    settings.backends[2].labels += "tier = \"backup\"\n";
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    let started = Instant::now();
    assert_eq!(watched(&proxy).await["result"], GOOD);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn r2_a_silent_backend_is_hedged() {
    for silent in [Fault::Hang, Fault::BlackHole, Fault::ExecThenHang] {
        let pair = Pair::start_with(|settings| settings.tables.clear()).await;
        pair.primary.set(silent.clone()).await;
        let started = Instant::now();
        assert_eq!(watched(&pair.proxy).await["result"], GOOD, "{silent:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{silent:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn r2_a_backend_that_is_down_at_the_start_gets_traffic_once_it_is_up() {
    let fronts = [backend().await, backend().await];
    fronts[0].set(Fault::Refuse).await;
    let mut settings = Settings::over(&fronts);
    settings.backends[1].labels += "tier = \"backup\"\n";
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    assert_eq!(watched(&proxy).await["result"], GOOD);
    assert_eq!(fronts[0].count(WATCHED), 0);
    fronts[0].heal().await;
    until("traffic for the backend that came up", async || {
        watched(&proxy).await;
        fronts[0].count(WATCHED) > 0
    })
    .await;
}

#[tokio::test]
async fn r10_a_client_that_hangs_up_costs_no_backend_its_name() {
    let pair = Pair::start().await;
    pair.primary.set(Fault::Hang.only(&[WATCHED])).await;
    let mut client = TcpStream::connect(pair.proxy.address()).await.expect("it listens");
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{WATCHED}"}}"#);
    let request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.expect("it is sent");
    until("the call reaches the backend", async || pair.primary.count(WATCHED) == 1).await;
    drop(client);
    until("the call is given up", async || status_of(&pair.proxy, "aws").await["in_flight"] == 0).await;
    assert_eq!(status_of(&pair.proxy, "aws").await["failures"], 0);
    pair.primary.heal().await;
    assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    assert_eq!(pair.asked(), (2, 0), "it is still the first to be asked");
}

#[tokio::test]
async fn r12_with_every_backend_down_errors_come_quickly_in_http_200_and_constants_are_answered() {
    let pair = Pair::start().await;
    for front in [&pair.primary, &pair.backup] {
        front.set(Fault::Refuse).await;
    }
    for _ in 0..10 {
        let started = Instant::now();
        let answer = watched(&pair.proxy).await;
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    assert_eq!(call(&pair.proxy, "eth_chainId", json!([])).await["result"], "0x7a69");
    assert_eq!(call(&pair.proxy, "net_version", json!([])).await["result"], "31337");
    for front in [&pair.primary, &pair.backup] {
        front.heal().await;
    }
    assert_eq!(watched(&pair.proxy).await["result"], GOOD, "the first call after the recovery");
}
