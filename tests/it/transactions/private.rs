//! T9: what is for private relays reaches them and nobody else, and is in no log.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::anvil::Lab;
use crate::lab::front::{Answer, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc::CallError;

use super::{BLOCK_TIME, LIMIT, signed};

/// What wallets and searchers say to relays: method, and parameters with something to keep quiet about.
fn said_to_relays() -> Vec<(&'static str, Value)> {
    let bundle = json!([{"txs": [SECRET], "blockNumber": "0x10"}]);
    vec![
        ("eth_sendBundle", bundle.clone()),
        ("mev_sendBundle", json!([{"version": "v0.1", "body": [{"tx": SECRET, "canRevert": false}]}])),
        ("eth_callBundle", json!([{"txs": [SECRET], "blockNumber": "0x10", "stateBlockNumber": "latest"}])),
        ("mev_simBundle", bundle.clone()),
        ("eth_sendPrivateTransaction", json!([{"tx": SECRET}])),
        ("eth_sendPrivateRawTransaction", json!([SECRET])),
        ("eth_cancelPrivateTransaction", json!([{"txHash": SECRET}])),
        ("eth_cancelBundle", json!([{"replacementUuid": SECRET}])),
        ("flashbots_getBundleStatsV2", json!([{"bundleHash": SECRET, "blockNumber": "0x10"}])),
        // Names that are not listed, of the same namespaces.
        ("mev_sendSomething", bundle.clone()),
        ("flashbots_somethingNew", bundle),
    ]
}

/// What nobody else may see, long enough to be found in a log.
const SECRET: &str = "0x02f86b827a6980843b9aca00847735940082520894000000000000000000000000000000000000dead";

#[tokio::test(flavor = "multi_thread")]
async fn t9_bundles_and_private_transactions_reach_private_backends_only_and_no_log() {
    let lab = Lab::start(2).await;
    let mut fronts = vec![Front::of_node(&lab, 0).await, Front::of_node(&lab, 1).await];
    fronts.push(
        Front::fixture(|call| match &*call.method {
            "eth_chainId" => Answer::result(json!("0x7a69")),
            method => Answer::result(json!({"heard": method})),
        })
        .await,
    );
    lab.mine(2).await;
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    let mut settings = Settings::over(&fronts);
    settings.backends[2].labels += "private = true\n";
    settings.environment = vec![("OUTRIGGER_LOG".to_owned(), "trace".to_owned())];
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    for (method, params) in said_to_relays() {
        let heard = proxy.rpc().call(method, params.clone()).await.expect("the relay answers");
        assert_eq!(heard["heard"], method);
        let other_case = method.to_ascii_uppercase();
        proxy.rpc().call(&other_case, params.clone()).await.expect_err("who would read that?");
        let alone = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let read = json!({"jsonrpc": "2.0", "id": 2, "method": "eth_gasPrice", "params": []});
        let answer = proxy.post(&json!([alone, read]).to_string()).await;
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer[0]["result"]["heard"], method, "{answer}");
        assert!(answer[1]["result"].is_string(), "{answer}");
        assert_eq!(fronts[2].count(method), 2, "{method}");
    }
    for front in &fronts[..2] {
        for seen in front.seen() {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            assert!(!body.contains(SECRET), "a public backend was told: {body}");
        }
    }
    let (_, said) = proxy.stop();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log says little: {said}");
    assert!(!said.contains(&SECRET[2..]), "the log tells");
    ticker.stop().await;
}

#[tokio::test]
async fn t9_without_a_private_backend_nobody_hears_and_the_error_says_what_to_configure() {
    let front = Front::table(json!({"eth_chainId": "0x7a69"})).await;
    let proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
    for (method, params) in said_to_relays() {
        match proxy.rpc().call(method, params).await {
            Err(CallError::Rpc { error, .. }) => {
                assert_eq!(error["code"], -32601, "{error}");
                let message = error["message"].as_str().expect("words");
                assert!(message.contains(method) && message.contains("private = true"), "{message}");
            }
            other => panic!("{method}: {other:?}"),
        }
        assert_eq!(front.count(method), 0);
    }
}

/// A relay that gets nothing into a block.
#[tokio::test(flavor = "multi_thread")]
async fn t9_a_private_transaction_goes_to_public_backends_only_after_the_time_that_the_configuration_says() {
    let lab = Lab::start(2).await;
    let (public, relay) = (Front::of_node(&lab, 0).await, Front::of_node(&lab, 1).await);
    let from = lab.rpc(0, "eth_accounts", json!([])).await.expect("dev accounts")[0].clone();
    let raw = signed(&lab, from.as_str().expect("an address"), 0).await;
    lab.mine(2).await;
    let mut settings = Settings::over(&[public.clone(), relay.clone()]);
    settings.backends[1].labels += "private = true\n";
    settings.tables = "[transactions]\nprivate_escalates_after = \"3s\"\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    let began = Instant::now();
    let hash = proxy.rpc().call("eth_sendRawTransaction", json!([raw])).await.expect("the relay takes it");
    // Blocks go by without it: nobody's pool reaches anybody else here.
    while public.count("eth_sendRawTransaction") == 0 {
        assert!(began.elapsed() < LIMIT, "it is never escalated\n{}", proxy.said());
        lab.mine_only(&[0], 1).await;
        sleep(BLOCK_TIME).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "after {:?}", began.elapsed());
    let secret = raw.as_str();
    let told = public.seen().into_iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains(secret));
    assert!(told.into_iter().all(|seen| seen.at.duration_since(began) >= Duration::from_secs(2)));
    lab.mine_only(&[0], 1).await;
    let mined = lab.rpc(0, "eth_getTransactionReceipt", json!([hash])).await.expect("it answers");
    assert!(mined["blockNumber"].is_string(), "{mined}");
    assert!(proxy.said().contains("private_escalates_after"), "it is said");
}
