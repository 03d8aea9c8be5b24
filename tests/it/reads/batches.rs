//! R1, P2 for batches: what a failing backend does to a batch stays between it and the proxy.

use serde_json::{Value, json};

use super::failover::failures;
use super::{GOOD, Pair, WATCHED, status_of};
use crate::lab::front::Fault;

/// Three watched calls with ids of every kind.
fn batch() -> String {
    json!([
        {"jsonrpc": "2.0", "id": 1, "method": WATCHED},
        {"jsonrpc": "2.0", "id": "two", "method": WATCHED, "params": []},
        {"jsonrpc": "2.0", "id": null, "method": WATCHED},
    ])
    .to_string()
}

fn good() -> Value {
    json!([
        {"jsonrpc": "2.0", "id": 1, "result": GOOD},
        {"jsonrpc": "2.0", "id": "two", "result": GOOD},
        {"jsonrpc": "2.0", "id": null, "result": GOOD},
    ])
}

async fn post(pair: &Pair) -> Value {
    let answer = pair.proxy.post(&batch()).await;
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn r1_a_batch_that_meets_a_failing_backend_is_answered_in_full_and_in_order() {
    for (what, fault) in failures() {
        let pair = Pair::start().await;
        let whole_address = fault == Fault::Refuse;
        match whole_address {
            true => pair.primary.set(fault).await,
            false => pair.primary.set(fault.only(&[WATCHED])).await,
        }
        assert_eq!(post(&pair).await, good(), "{what}");
        assert_eq!(pair.backup.count(WATCHED), 3, "{what}: each call goes there once");
        let requests =
            pair.primary.seen().iter().filter(|seen| seen.methods.iter().any(|m| m == WATCHED)).count();
        // A connection that closes without an answer is tried once more on a fresh one.
        let repeats = ["closed without an answer", "reset"].contains(&what);
        assert!(
            whole_address || requests == 1 || (repeats && requests == 2),
            "{what}: asked {requests} times"
        );
    }
}

#[tokio::test]
async fn p2_one_answer_for_a_whole_batch_is_no_answer() {
    let single = Fault::template(r#"{"jsonrpc":"2.0","id":"$ID","result":"0x666"}"#);
    let pair = Pair::start().await;
    pair.primary.set(single.only(&[WATCHED]).first(1)).await;
    assert_eq!(post(&pair).await, good());
    assert_eq!(pair.asked(), (3, 3), "all of it moves");
    assert_eq!(status_of(&pair.proxy, "aws").await["failures"], 1, "and it is a failure of that backend");
}

#[tokio::test]
async fn p2_answers_that_nobody_asked_for_and_answers_given_twice_reach_nobody() {
    let cases = [
        // a stranger's answer in place of the second
        r#"[{"jsonrpc":"2.0","id":"$ID1","result":"0x3b9aca00"},{"jsonrpc":"2.0","id":"$OTHER","result":"0x666"},
            {"jsonrpc":"2.0","id":"$ID3","result":"0x3b9aca00"}]"#,
        // the second twice, and differently
        r#"[{"jsonrpc":"2.0","id":"$ID1","result":"0x3b9aca00"},{"jsonrpc":"2.0","id":"$ID2","result":"0x666"},
            {"jsonrpc":"2.0","id":"$ID2","result":"0x777"},{"jsonrpc":"2.0","id":"$ID3","result":"0x3b9aca00"}]"#,
    ];
    for case in cases {
        let pair = Pair::start().await;
        pair.primary.set(Fault::template(case).only(&[WATCHED])).await;
        assert_eq!(post(&pair).await, good(), "{case}");
        assert_eq!(pair.asked(), (3, 1), "only the second call moves: {case}");
    }
}
