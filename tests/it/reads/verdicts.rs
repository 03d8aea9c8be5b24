//! R3, R4, R7, H7: what a backend says of the call itself, and what that says of the backend.

use serde_json::{Value, json};

use super::{GOOD, Pair, WATCHED, backend, call, status_of, watched};
use crate::lab::front::{Answer, Fault, Front};
use crate::lab::proxy::{Proxy, Settings};

#[tokio::test]
async fn r3_a_revert_is_passed_on_byte_for_byte_and_held_against_nobody() {
    let reverts = [
        r#"{"code":3,"message":"execution reverted: rate limit exceeded","data":"0x08c379a0"}"#,
        r#"{"code":3, "message":"execution reverted: unauthorized: monthly capacity", "data":"0x"}"#,
        r#"{"code":-32000,"message":"execution reverted: nonce too low"}"#,
        r#"{"message":"execution reverted: unauthorized","data":"0x82b42900","code":-32000}"#,
        r#"{"code":-32000,"message":"execution reverted","data":"0x08c379a0000000000000000000000000"}"#,
        r#"{"code":-32015,"message":"VM execution error.","data":"Reverted 0x08c379a0"}"#,
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
}

#[tokio::test]
async fn r4_a_method_that_nobody_has_is_said_to_be_missing_and_no_backend_is_the_worse_for_it() {
    let pair = Pair::start().await;
    for _ in 0..3 {
        let answer = call(&pair.proxy, "eth_feeHistory", json!(["0x1", "latest", []])).await;
        let message = "the method eth_feeHistory does not exist/is not available";
        assert_eq!(answer["error"], json!({"code": -32601, "message": message}));
    }
    let asked = (pair.primary.count("eth_feeHistory"), pair.backup.count("eth_feeHistory"));
    assert_eq!(asked, (1, 1), "each was asked once, and then it was known");
    for name in ["aws", "gcp"] {
        let status = status_of(&pair.proxy, name).await;
        assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("ok")), "{status}");
    }
    assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    assert_eq!(pair.asked(), (1, 0), "what they have they are asked for as before");
}

/// What nodes say of state and blocks that they do not have (yet, or any more).
const NOT_HERE: [(i64, &str); 6] = [
    (-32000, "missing trie node 1f2e3d (path ) state 0xabcdef is not available, not found"),
    (-32000, "header not found"),
    (-32000, "header for hash not found"),
    (-32001, "block not found"),
    (-32603, "historical state 0xabcdef is not available"),
    (4444, "pruned history unavailable"),
];

#[tokio::test]
async fn r5_state_and_blocks_that_one_backend_lacks_come_from_another_and_it_stays_well() {
    for (code, message) in NOT_HERE {
        let pair = Pair::start().await;
        pair.primary.set(Fault::rpc_error(code, message).only(&["eth_getBalance"])).await;
        let params = json!(["0x0000000000000000000000000000000000000001", "0x8"]);
        for _ in 0..20 {
            let answer = call(&pair.proxy, "eth_getBalance", params.clone()).await;
            assert_eq!(answer["result"], "0xde0b6b3a7640000", "{message}: {answer}");
        }
        assert_eq!(pair.backup.count("eth_getBalance"), 20, "{message}");
        let status = status_of(&pair.proxy, "aws").await;
        assert_eq!((&status["failures"], &status["state"]), (&json!(0), &json!("ok")), "{message}: {status}");
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
        assert_eq!(pair.asked(), (1, 0), "{message}: it is asked for the rest as before");
    }
}

#[tokio::test]
async fn r5_what_nobody_has_is_said_in_the_backends_own_words() {
    for (code, message) in NOT_HERE {
        let pair = Pair::start().await;
        for front in [&pair.primary, &pair.backup] {
            front.set(Fault::rpc_error(code, message).only(&["eth_getBalance"])).await;
        }
        let params = json!(["0x0000000000000000000000000000000000000001", "0x8"]);
        let answer = call(&pair.proxy, "eth_getBalance", params).await;
        assert_eq!(answer["error"]["message"], message, "{answer}");
    }
}

#[tokio::test]
async fn r7_a_legal_empty_answer_counts_more_than_somebody_elses_error() {
    let hash = format!("0x{}", "ab".repeat(32));
    let cases = [
        ("eth_getTransactionReceipt", json!([hash]), Value::Null),
        ("eth_getBlockByHash", json!([hash, false]), Value::Null),
        ("eth_getLogs", json!([{"fromBlock": "0x1", "toBlock": "0x2"}]), json!([])),
        ("eth_getCode", json!(["0x0000000000000000000000000000000000000001", "latest"]), json!("0x")),
    ];
    let errors = [Fault::status(503), Fault::rpc_error(-32603, "Internal error"), Fault::Reset];
    for (method, params, empty) in cases {
        for error in &errors[..if empty.is_null() { 3 } else { 2 }] {
            let pair = Pair::start().await;
            pair.primary.set(error.clone().only(&[method])).await;
            let answer = call(&pair.proxy, method, params.clone()).await;
            assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "x", "result": empty}), "{method} {error:?}");
        }
    }
}

/// What two backends say, and the code and message that the client shall see of it.
fn two_errors() -> Vec<(Fault, Fault, i64, &'static str)> {
    let pruned = "missing trie node 0xabc (path ) state 0xdef is not available";
    let page = || Fault::respond(502, &[("content-type", "text/html")], "<html>Bad Gateway</html>");
    vec![
        (Fault::rpc_error(-32000, pruned), page(), -32000, pruned),
        (page(), Fault::rpc_error(-32000, pruned), -32000, pruned),
        (
            Fault::Reset,
            Fault::rpc_error(-32005, "rate limit exceeded"),
            -32005,
            "rate limit exceeded on all upstreams",
        ),
        (Fault::status(503), Fault::rpc_error(-32602, "invalid block range"), -32602, "invalid block range"),
        (
            Fault::rpc_error(-32601, "the method eth_gasPrice does not exist/is not available"),
            Fault::rpc_error(-32000, pruned),
            -32000,
            pruned,
        ),
    ]
}

#[tokio::test]
async fn r7_the_error_a_client_sees_is_the_one_that_tells_most() {
    for (of_primary, of_backup, code, message) in two_errors() {
        let pair = Pair::start().await;
        pair.primary.set(of_primary.clone().only(&[WATCHED])).await;
        pair.backup.set(of_backup.clone().only(&[WATCHED])).await;
        let answer = watched(&pair.proxy).await;
        let expected = json!({"code": code, "message": message});
        assert_eq!(answer["error"], expected, "{of_primary:?}, {of_backup:?}");
    }
}

#[tokio::test]
async fn h8_a_key_that_works_again_is_noticed_by_the_next_call() {
    let front = backend().await;
    let mut proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
    proxy.ready().await;
    let json = [("content-type", "application/json")];
    let refused = Fault::respond(401, &json, r#"{"message":"No API key found in request"}"#);
    front.set(refused.only(&[WATCHED])).await;
    for _ in 0..3 {
        assert!(watched(&proxy).await["error"].is_object());
    }
    assert_eq!(status_of(&proxy, "aws").await["state"], "paused");
    assert_eq!(proxy.get("/readyz").await.status(), 503);
    front.heal().await;
    assert_eq!(watched(&proxy).await["result"], GOOD, "it is still asked while nobody else is left");
    assert_eq!(status_of(&proxy, "aws").await["state"], "ok");
    assert_eq!(proxy.get("/readyz").await.status(), 200);
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
