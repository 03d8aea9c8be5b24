//! R13: calls that ask the same at the same time share one answer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{RICH, Stage};
use crate::lab::front::Fault;
use crate::lab::rpc;

/// As long as an answer takes: all who ask come in before it.
const SLOW: Duration = Duration::from_millis(1500);
/// Nothing is kept, so that only what is under way can be shared.
const NOTHING_KEPT: &str = "[cache]\nmemory = \"0\"\n";

async fn slow(stage: &Stage, method: &str) {
    for front in &stage.fronts {
        front.set(Fault::Latency(SLOW).only(&[method])).await;
    }
}

fn balance(id: usize) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "eth_getBalance", "params": [RICH, "latest"]})
}

#[tokio::test]
async fn r13_a_hundred_identical_reads_are_one_backend_call_and_each_caller_has_its_own_id() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    slow(&stage, "eth_getBalance").await;
    let mut callers = JoinSet::new();
    for id in 0..100 {
        let address = stage.proxy.address().to_owned();
        callers.spawn(async move {
            let answer =
                rpc::post(&address, &[], balance(id).to_string().as_bytes()).await.expect("an answer");
            let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
            let attempts = answer.header("x-outrigger-attempts").expect("attempts").to_owned();
            (id, told, attempts)
        });
    }
    let mut attempts = 0;
    while let Some(told) = callers.join_next().await {
        let (id, told, made) = told.expect("no caller panics");
        assert_eq!((&told["id"], told["result"].is_string()), (&json!(id), true), "{told}");
        attempts += made.parse::<usize>().expect("a number");
    }
    assert_eq!((stage.asked("eth_getBalance"), attempts), (1, 1));
    assert_eq!(stage.saved("coalesced").await, 99);
}

#[tokio::test]
async fn r13_items_of_batches_share_with_each_other_and_with_single_calls() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    slow(&stage, "eth_getBalance").await;
    let code = json!({"jsonrpc": "2.0", "id": "c", "method": "eth_getCode", "params": [RICH, "latest"]});
    let bodies = [
        json!([balance(1), code, balance(2)]),
        json!([balance(3)]),
        balance(4),
        json!([balance(5), balance(6)]),
    ];
    let posts = bodies.iter().map(|body| stage.post(body, &[]));
    let mut told = Vec::new();
    for answer in futures_util::future::join_all(posts).await {
        match serde_json::from_slice::<Value>(&answer.body).expect("JSON") {
            Value::Array(items) => told.extend(items),
            item => told.push(item),
        }
    }
    let ids: Vec<Value> = told.iter().map(|item| item["id"].clone()).collect();
    assert_eq!(json!(ids), json!([1, "c", 2, 3, 4, 5, 6]));
    assert!(told.iter().all(|item| item["result"].is_string()), "{told:?}");
    assert_eq!((stage.asked("eth_getBalance"), stage.asked("eth_getCode")), (1, 1));
}

#[tokio::test]
async fn r13_a_leader_that_leaves_strands_nobody() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    slow(&stage, "eth_gasPrice").await;
    let leader = rpc::call_and_leave(stage.proxy.address(), "eth_gasPrice").await.expect("it is sent");
    stage.until("the leader's call is at a backend", async || stage.asked("eth_gasPrice") == 1).await;
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": "eth_gasPrice"});
    let followers = futures_util::future::join_all((0..20).map(|_| stage.post(&body, &[])));
    let leaving = async {
        stage.until("they wait", async || stage.saved("waiting").await == 20).await;
        drop(leader);
    };
    let (answers, ()) = tokio::join!(followers, leaving);
    for answer in answers {
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((&told["id"], told["result"].is_string()), (&json!(9), true), "{told}");
    }
    assert_eq!(stage.asked("eth_gasPrice"), 2, "the leader's call, and one for all others");
}

#[tokio::test]
async fn r13_a_failure_is_told_to_all_and_does_not_become_a_storm() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    for front in &stage.fronts {
        front.set(Fault::status(503).only(&["eth_gasPrice"])).await;
    }
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": "eth_gasPrice"});
    let answers = futures_util::future::join_all((0..50).map(|_| stage.post(&body, &[]))).await;
    for answer in answers {
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(told["error"].is_object(), "{told}");
    }
    let asked = stage.asked("eth_gasPrice");
    assert!(asked < 50, "{asked} calls for fifty that ask the same");
}

#[tokio::test]
async fn r13_calls_with_other_credentials_or_directives_never_share() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    slow(&stage, "eth_getBalance").await;
    let alike: &[(&str, &str)] = &[];
    let kinds: [&[(&str, &str)]; 6] = [
        alike,
        alike,
        &[("authorization", "Bearer one")],
        &[("authorization", "Bearer one")],
        &[("authorization", "Bearer two")],
        &[("cache-control", "no-cache")],
    ];
    let body = balance(1);
    let posts = kinds.iter().map(|headers| stage.post(&body, headers));
    for answer in futures_util::future::join_all(posts).await {
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(stage.asked("eth_getBalance"), 4, "two pairs share, two are alone");
}

#[tokio::test]
async fn transactions_are_never_shared() {
    let stage = Stage::start_alone(NOTHING_KEPT).await;
    slow(&stage, "eth_sendRawTransaction").await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": ["0x00"]});
    let other = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_somethingNew", "params": []});
    let posts = [&body, &body, &other, &other].map(|body| stage.post(body, &[]));
    for answer in futures_util::future::join_all(posts).await {
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(told["error"].is_object(), "{told}");
    }
    assert_eq!(stage.saved("coalesced").await, 0);
}
