//! R3, R4, R7, H7: what a backend says of the call itself, and what that says of the backend.

use serde_json::{Value, json};

use super::{GOOD, Pair, WATCHED, backend, call, status_of, watched};
use crate::lab::front::{Answer, Fault, Front};
use crate::lab::proxy::{Proxy, Settings};

const ADDRESS: &str = "0x00000000000000000000000000000000000000aa";

#[tokio::test]
async fn r3_a_revert_is_passed_on_byte_for_byte_and_held_against_nobody() {
    let reverts = [
        r#"{"code":3,"message":"execution reverted: rate limit exceeded","data":"0x08c379a0"}"#,
        r#"{"code":3, "message":"execution reverted: unauthorized: monthly capacity", "data":"0x"}"#,
        r#"{"code":-32000,"message":"execution reverted: nonce too low"}"#,
        r#"{"code":-32000,"message":"execution reverted: rate limit exceeded","data":"0x08c379a0"}"#,
        r#"{"data" : "0x", "message":"execution reverted: \u0075nauthorized, daily limit", "code":3}"#,
    ];
    for revert in reverts {
        let pair = Pair::start().await;
        let body = format!(r#"{{"jsonrpc":"2.0","id":"$ID","error":{revert}}}"#);
        pair.primary.set(Fault::template(&body).only(&["eth_call"])).await;
        let request = r#"{"jsonrpc":"2.0","id":7,"method":"eth_call","params":[{"to":"0x0000000000000000000000000000000000000001"},"latest"]}"#;
        for _ in 0..50 {
            let answer = pair.proxy.post(request).await;
            assert_eq!(
                String::from_utf8_lossy(&answer.body),
                format!(r#"{{"jsonrpc":"2.0","id":7,"error":{revert}}}"#)
            );
        }
        assert_eq!((pair.primary.count("eth_call"), pair.backup.count("eth_call")), (50, 0), "{revert}");
        let status = status_of(&pair.proxy, "aws").await;
        assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("ok")), "{revert}");
    }
}

#[tokio::test]
async fn r4_invalid_params_are_returned_and_not_retried() {
    let pair = Pair::start().await;
    let message = "invalid argument 0: hex string without 0x prefix";
    pair.primary.set(Fault::rpc_error(-32602, message).only(&["eth_getBalance"])).await;
    let answer = call(&pair.proxy, "eth_getBalance", json!(["f00", "latest"])).await;
    assert_eq!(answer["error"], json!({"code": -32602, "message": message}));
    assert_eq!(pair.backup.count("eth_getBalance"), 0);
}

#[tokio::test]
async fn r4_a_method_that_one_backend_lacks_is_asked_of_another_and_remembered() {
    let pair = Pair::start().await;
    let missing = Fault::rpc_error(-32601, "the method eth_gasPrice does not exist/is not available");
    pair.primary.set(missing.only(&[WATCHED])).await;
    for _ in 0..5 {
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    }
    assert_eq!(pair.asked(), (1, 5));
    let status = status_of(&pair.proxy, "aws").await;
    assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("ok")));
    let unknown = call(&pair.proxy, "eth_feeHistory", json!(["0x1", "latest", []])).await;
    assert_eq!(unknown["error"]["code"], -32601, "nobody has it: {unknown}");
}

/// R5: ways to say "not with what I keep", which another backend may keep.
const NOT_HERE: &[(i64, &str)] = &[
    (-32000, "missing trie node 5c1d (path ) state 0x5c1d is not available, not found"),
    (-32000, "header not found"),
    (-32000, "header for hash not found"),
    (-32000, "required historical state unavailable (reexec=128)"),
    (-32000, "historical state 5c1d is not available"),
    (-32001, "block not found"),
    (4444, "pruned history unavailable"),
];

#[tokio::test]
async fn r5_what_one_backend_does_not_keep_another_may_and_neither_is_ill() {
    for (code, message) in NOT_HERE {
        let pair = Pair::start().await;
        pair.primary.set(Fault::rpc_error(*code, message).only(&["eth_getBalance"])).await;
        for asked in 1..=5 {
            let answer = call(&pair.proxy, "eth_getBalance", json!([ADDRESS, "0x5"])).await;
            assert_eq!(answer["result"], "0xde0b6b3a7640000", "{message}");
            assert_eq!(pair.backup.count("eth_getBalance"), asked, "{message}");
        }
        assert_eq!(pair.primary.count("eth_getBalance"), 5, "{message}: once for each call");
        for backend in ["aws", "gcp"] {
            let status = status_of(&pair.proxy, backend).await;
            assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("ok")), "{message}");
        }
    }
}

#[tokio::test]
async fn r5_what_nobody_keeps_is_said_in_the_backends_own_words() {
    for (code, message) in NOT_HERE {
        let pair = Pair::start().await;
        for front in [&pair.primary, &pair.backup] {
            front.set(Fault::rpc_error(*code, message).only(&["eth_getBalance"])).await;
        }
        let started = tokio::time::Instant::now();
        let answer = call(&pair.proxy, "eth_getBalance", json!([ADDRESS, "0x5"])).await;
        assert_eq!(answer["error"], json!({"code": code, "message": message}));
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{message}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn r7_whoever_fails_first_the_error_that_tells_most_is_the_one_that_is_seen() {
    let pruned =
        json!({"code": -32000, "message": "missing trie node 0xabc (path ) state 0xdef is not available"});
    let telling = || Fault::RpcError(pruned.clone());
    // What says nothing of the call: none of it may take the place of the error that does.
    let empty_words = [
        Fault::status(502),
        Fault::html(),
        Fault::Refuse,
        Fault::rate_limited("60"),
        Fault::rpc_error(-32603, "Internal error"),
        Fault::rpc_error(-32601, "the method eth_gasPrice does not exist/is not available"),
    ];
    for empty in empty_words {
        for telling_first in [true, false] {
            let pair = Pair::start().await;
            let (teller, other) = match telling_first {
                true => (&pair.primary, &pair.backup),
                false => (&pair.backup, &pair.primary),
            };
            teller.set(telling().only(&[WATCHED])).await;
            match empty.clone() {
                Fault::Refuse => other.set(Fault::Refuse).await,
                fault => other.set(fault.only(&[WATCHED])).await,
            }
            let answer = watched(&pair.proxy).await;
            assert_eq!(answer["error"], pruned, "{empty:?}, telling first: {telling_first}");
        }
    }
}

#[tokio::test]
async fn r7_every_legal_nothing_counts_more_than_somebody_elses_error() {
    let table = [
        ("eth_getLogs", json!([{"fromBlock": "0x1", "toBlock": "0x2"}]), json!([])),
        ("eth_getCode", json!([ADDRESS, "latest"]), json!("0x")),
        ("eth_getBlockByNumber", json!(["0x5", false]), json!(null)),
        ("eth_getTransactionCount", json!([ADDRESS, "latest"]), json!("0x0")),
    ];
    for (method, params, nothing) in table {
        for error in [Fault::status(503), Fault::rpc_error(-32603, "Internal error"), Fault::WrongId] {
            let pair = Pair::start().await;
            pair.primary.set(error.clone().only(&[method])).await;
            let said = json!({"jsonrpc": "2.0", "id": "$ID", "result": nothing}).to_string();
            pair.backup.set(Fault::template(&said).only(&[method])).await;
            let answer = call(&pair.proxy, method, params.clone()).await;
            assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "x", "result": nothing}), "{method} {error:?}");
        }
    }
}

#[tokio::test]
async fn r7_a_legal_null_counts_more_than_somebody_elses_error() {
    let pair = Pair::start().await;
    pair.primary.set(Fault::status(503).only(&["eth_getTransactionReceipt"])).await;
    let hash = format!("0x{}", "ab".repeat(32));
    let answer = call(&pair.proxy, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "x", "result": null}));
}

#[tokio::test]
async fn r7_the_error_a_client_sees_is_the_one_that_tells_most() {
    let pair = Pair::start().await;
    let pruned = "missing trie node 0xabc (path ) state 0xdef is not available";
    pair.primary.set(Fault::rpc_error(-32000, pruned).only(&[WATCHED])).await;
    pair.backup.set(Fault::status(502).only(&[WATCHED])).await;
    let answer = watched(&pair.proxy).await;
    assert_eq!(answer["error"], json!({"code": -32000, "message": pruned}));
}

#[tokio::test]
async fn h7_a_rate_limited_backend_is_not_asked_again_inside_its_window_and_stays_well() {
    let pair = Pair::start().await;
    pair.primary.set(Fault::rate_limited("600").only(&[WATCHED])).await;
    for _ in 0..20 {
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    }
    assert_eq!(pair.asked(), (1, 20));
    let status = status_of(&pair.proxy, "aws").await;
    assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("paused")), "{status}");
}

#[tokio::test]
async fn p9_the_bytes_of_a_result_reach_the_client_unchanged() {
    let odd = r#"{"b":"\u003c=","a":1.0, "n":1e2 ,"big":12345678901234567890123}"#;
    let front = Front::fixture(move |call| match call.method.as_str() {
        "eth_chainId" => Answer::result(json!("0x7a69")),
        "eth_blockNumber" => Answer::result(json!("0x10")),
        _ => Answer::Result(odd.to_owned()),
    })
    .await;
    for rule in [None, Some(Fault::Gzip)] {
        front.heal().await;
        if let Some(fault) = rule {
            front.set(fault).await;
        }
        let mut proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
        proxy.ready().await;
        let answer = proxy.post(r#"{"jsonrpc":"2.0","id":1.50,"method":"eth_syncing"}"#).await;
        let expected = format!(r#"{{"jsonrpc":"2.0","id":1.50,"result":{odd}}}"#);
        assert_eq!(String::from_utf8_lossy(&answer.body), expected);
    }
}

#[tokio::test]
async fn answers_say_who_gave_them_and_how_many_were_asked() {
    let pair = Pair::start().await;
    pair.primary.set(Fault::status(500).only(&[WATCHED])).await;
    let answer = pair.proxy.post(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{WATCHED}"}}"#)).await;
    assert_eq!(answer.header("x-outrigger-backend"), Some("gcp"));
    assert_eq!(answer.header("x-outrigger-source"), Some("backend"));
    assert_eq!(answer.header("x-outrigger-attempts"), Some("2"));
    let local = pair.proxy.post(r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#).await;
    assert_eq!(local.header("x-outrigger-source"), Some("local"));
    let body: Value = serde_json::from_slice(&local.body).expect("JSON");
    assert_eq!(body["result"], "0x7a69");
    drop(backend());
}
