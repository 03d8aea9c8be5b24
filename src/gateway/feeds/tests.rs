//! Feeds with events that the tests tell, over stand-in backends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bloom};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::chain::{Block, BlockId, ChainEvent};
use crate::gateway::stand_in::{StandIn, over};
use crate::gateway::{Gateway, Packet, Session, SessionEnd, SubscribersStatus};

const A: Address = Address::repeat_byte(0xaa);
const B: Address = Address::repeat_byte(0xbb);
const BOUND: Duration = Duration::from_secs(20);

/// A block of a chain that tests make up: its branch tells blocks of one height apart.
#[derive(Clone)]
struct Made {
    block: Arc<Block>,
    logs: Vec<Value>,
}

fn hash(number: u64, branch: u8) -> B256 {
    let mut hash = B256::repeat_byte(branch);
    hash[24..].copy_from_slice(&number.to_be_bytes());
    hash
}

fn made(number: u64, branch: u8, logs: &[(Address, u8)]) -> Made {
    let id = BlockId { number, hash: hash(number, branch) };
    let mut bloom = Bloom::ZERO;
    let logs = logs
        .iter()
        .enumerate()
        .map(|(at, (address, topic))| {
            let topic = B256::repeat_byte(*topic);
            bloom.accrue_raw_log(*address, &[topic]);
            json!({
                "address": address, "topics": [topic], "data": "0x", "blockNumber": format!("{number:#x}"),
                "blockHash": id.hash, "logIndex": format!("{at:#x}"), "removed": false,
            })
        })
        .collect();
    let header = json!({ "number": format!("{number:#x}"), "hash": id.hash }).to_string().into();
    let parent = hash(number.saturating_sub(1), branch);
    let logs_bloom = Some(Box::new(bloom));
    Made { block: Arc::new(Block { id, parent, timestamp_s: number, logs_bloom, header }), logs }
}

/// A backend that gives the logs of the blocks it has, and remembers who asked for what.
struct Ledger {
    backend: StandIn,
    blocks: Arc<Mutex<HashMap<String, Vec<Value>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Ledger {
    /// What it says of a block that it does not have: nothing, or an error.
    async fn start(unknown: Option<&'static str>) -> Self {
        let blocks: Arc<Mutex<HashMap<String, Vec<Value>>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (has, notes) = (blocks.clone(), asked.clone());
        let backend = StandIn::start_with(Duration::ZERO, move |call| {
            Some(match call["method"].as_str().unwrap_or_default() {
                "eth_chainId" => ("result", json!("0x1")),
                "eth_blockNumber" => ("result", json!("0x64")),
                "eth_getLogs" => {
                    let hash = call["params"][0]["blockHash"].as_str().unwrap_or_default().to_owned();
                    notes.lock().expect("unpoisoned").push(hash.clone());
                    match (has.lock().expect("unpoisoned").get(&hash), unknown) {
                        (Some(logs), _) => ("result", json!(logs)),
                        (None, Some(words)) => ("error", json!({ "code": -32000, "message": words })),
                        (None, None) => ("result", json!([])),
                    }
                }
                _ => ("error", json!({ "code": -32601, "message": "the method does not exist" })),
            })
        })
        .await;
        Self { backend, blocks, asked }
    }

    fn has(&self, made: &Made) {
        let hash = format!("{:#x}", made.block.id.hash);
        self.blocks.lock().expect("unpoisoned").insert(hash, made.logs.clone());
    }

    fn asked_for(&self, made: &Made) -> usize {
        let hash = format!("{:#x}", made.block.id.hash);
        self.asked.lock().expect("unpoisoned").iter().filter(|asked| **asked == hash).count()
    }
}

async fn gateway(backends: &[&Ledger]) -> Gateway {
    let gateway = over(&backends.iter().map(|ledger| &ledger.backend).collect::<Vec<_>>());
    // The feeds listen from their first turn on.
    let chain = chain(&gateway);
    timeout(BOUND, async {
        while chain.tip.listeners() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the feeds listen");
    gateway
}

fn chain(gateway: &Gateway) -> Arc<Chain> {
    gateway.chain(None).expect("a chain").clone()
}

fn extend(gateway: &Gateway, made: &[&Made]) {
    let blocks = made.iter().map(|made| made.block.clone()).collect();
    chain(gateway).tip.tell(ChainEvent::Extended { blocks });
}

async fn ask(session: &Session, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = session.answer(call.to_string()).await;
    serde_json::from_slice(&answer.reply.body.clone().expect("an answer")).expect("JSON")
}

async fn subscribe(session: &Session, params: Value) -> String {
    let answer = ask(session, "eth_subscribe", params).await;
    answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The next notification: its subscription and its result.
async fn next(session: &Session) -> (String, Value) {
    let news = timeout(BOUND, session.next()).await.expect("in time").expect("no end");
    let told: Value = serde_json::from_slice(&news.to_json()).expect("JSON");
    assert_eq!(told["method"], "eth_subscription");
    let params = &told["params"];
    (params["subscription"].as_str().expect("an id").to_owned(), params["result"].clone())
}

/// What a log is told by: the block's number, its place there, and whether it is taken back.
fn told(log: &Value) -> (u64, u64, bool) {
    let number = |name: &str| {
        u64::from_str_radix(log[name].as_str().expect("a text").trim_start_matches("0x"), 16)
            .expect("a number")
    };
    (number("blockNumber"), number("logIndex"), log["removed"] == true)
}

async fn next_logs(session: &Session, count: usize) -> Vec<(u64, u64, bool)> {
    let mut logs = Vec::new();
    for _ in 0..count {
        logs.push(told(&next(session).await.1));
    }
    logs
}

async fn call(gateway: &Gateway, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let reply = gateway.answer(Packet::new(call.to_string())).await;
    serde_json::from_slice(&reply.body.expect("an answer")).expect("JSON")
}

#[tokio::test]
async fn s1_headers_come_in_order_and_each_once() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let session = gateway.session(None, None).expect("a session");
    let id = subscribe(&session, json!(["newHeads"])).await;
    let blocks: Vec<Made> = (1..=3).map(|number| made(number, 1, &[])).collect();
    let other = [made(3, 2, &[]), made(4, 2, &[])];
    extend(&gateway, &[&blocks[0]]);
    extend(&gateway, &[&blocks[1], &blocks[2]]);
    let (dropped, added) =
        (vec![blocks[2].block.clone()], other.each_ref().map(|m| m.block.clone()).to_vec());
    chain(&gateway).tip.tell(ChainEvent::Reorged { dropped, added });
    for expected in blocks.iter().chain(&other) {
        let (of, header) = next(&session).await;
        assert_eq!(of, id);
        assert_eq!(header["hash"], json!(expected.block.id.hash));
    }
    assert_eq!(session.try_next(), Ok(None));
}

#[tokio::test]
async fn s4_equal_subscriptions_share_their_bytes_and_one_fetch() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let block = made(1, 1, &[(A, 1), (B, 1)]);
    ledger.has(&block);
    let sessions: Vec<Session> = (0..3).map(|_| gateway.session(None, None).expect("a session")).collect();
    for session in &sessions {
        subscribe(session, json!(["newHeads"])).await;
        subscribe(session, json!(["logs", { "address": A }])).await;
    }
    subscribe(&sessions[0], json!(["logs", { "address": B }])).await;
    extend(&gateway, &[&block]);
    let mut bytes: Vec<Vec<*const u8>> = Vec::new();
    for session in &sessions {
        let mut of_session = Vec::new();
        for _ in 0..2 {
            let news = timeout(BOUND, session.next()).await.expect("in time").expect("no end");
            of_session.push(news.result.as_ptr());
        }
        bytes.push(of_session);
    }
    assert_eq!(bytes[1], bytes[2], "the same bytes for all");
    assert_eq!(told(&next(&sessions[0]).await.1).0, 1, "the other address's log");
    assert_eq!(ledger.asked_for(&block), 1);
}

#[tokio::test]
async fn s4_nothing_is_fetched_when_nobody_wants_it() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let blocks: Vec<Made> = (1..=4).map(|number| made(number, 1, &[(A, 1)])).collect();
    blocks.iter().for_each(|block| ledger.has(block));
    let session = gateway.session(None, None).expect("a session");
    subscribe(&session, json!(["newHeads"])).await;
    extend(&gateway, &[&blocks[0]]);
    next(&session).await;
    // The bloom shows that the block has nothing of B's.
    let of_b = subscribe(&session, json!(["logs", { "address": B }])).await;
    extend(&gateway, &[&blocks[1]]);
    next(&session).await;
    let of_a = subscribe(&session, json!(["logs", { "address": A }])).await;
    extend(&gateway, &[&blocks[2]]);
    next(&session).await;
    assert_eq!(next_logs(&session, 1).await, [(3, 0, false)]);
    for id in [of_a, of_b] {
        assert_eq!(ask(&session, "eth_unsubscribe", json!([id])).await["result"], true);
    }
    extend(&gateway, &[&blocks[3]]);
    next(&session).await;
    assert_eq!(blocks.iter().map(|block| ledger.asked_for(block)).collect::<Vec<_>>(), [0, 0, 1, 0]);
    drop(session);
    assert_eq!(chain(&gateway).feeds.audience(), 0, "all is gone with the session");
}

#[tokio::test]
async fn s2_a_reorg_takes_logs_back_newest_block_first_and_then_tells_the_new_ones() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let old: Vec<Made> = (1..=3).map(|number| made(number, 1, &[(A, 1), (B, 1), (A, 2)])).collect();
    let new: Vec<Made> = (2..=3).map(|number| made(number, 2, &[(A, 1)])).collect();
    old.iter().chain(&new).for_each(|block| ledger.has(block));
    let session = gateway.session(None, None).expect("a session");
    subscribe(&session, json!(["logs", { "address": A }])).await;
    extend(&gateway, &[&old[0], &old[1], &old[2]]);
    let added = [(1, 0, false), (1, 2, false), (2, 0, false), (2, 2, false), (3, 0, false), (3, 2, false)];
    assert_eq!(next_logs(&session, 6).await, added);
    // Who comes now has heard of none of them, and need not hear that they are gone.
    let late = gateway.session(None, None).expect("a session");
    subscribe(&late, json!(["logs", { "address": A }])).await;
    let dropped = vec![old[2].block.clone(), old[1].block.clone()];
    let added = new.iter().map(|made| made.block.clone()).collect();
    chain(&gateway).tip.tell(ChainEvent::Reorged { dropped, added });
    let expected = [(3, 0, true), (3, 2, true), (2, 0, true), (2, 2, true), (2, 0, false), (3, 0, false)];
    assert_eq!(next_logs(&session, 6).await, expected);
    assert_eq!(next_logs(&late, 2).await, [(2, 0, false), (3, 0, false)]);
    assert_eq!(session.try_next(), Ok(None));
}

#[tokio::test]
async fn s2_a_block_that_is_dropped_before_its_logs_are_there_leaves_no_trace() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let (lost, kept) = (made(1, 1, &[(A, 1)]), made(1, 2, &[(A, 2)]));
    ledger.has(&kept);
    let session = gateway.session(None, None).expect("a session");
    subscribe(&session, json!(["logs"])).await;
    extend(&gateway, &[&lost]);
    let (dropped, added) = (vec![lost.block.clone()], vec![kept.block.clone()]);
    chain(&gateway).tip.tell(ChainEvent::Reorged { dropped, added });
    let (_, log) = next(&session).await;
    assert_eq!((told(&log), &log["blockHash"]), ((1, 0, false), &json!(kept.block.id.hash)));
    assert_eq!(session.try_next(), Ok(None));
}

#[tokio::test]
async fn s3_logs_are_asked_for_elsewhere_until_somebody_has_them_all() {
    // A backend that does not have the block says so, or shows a block without logs, or with a part of them.
    for (unknown, part) in [(Some("unknown block"), 0), (None, 0), (None, 1)] {
        let (behind, ahead) = (Ledger::start(unknown).await, Ledger::start(unknown).await);
        let gateway = gateway(&[&behind, &ahead]).await;
        let blocks = [made(1, 1, &[(A, 1), (A, 2)]), made(2, 1, &[(A, 1)])];
        blocks.iter().for_each(|block| ahead.has(block));
        if part > 0 {
            let mut some = blocks[0].clone();
            some.logs.truncate(part);
            behind.has(&some);
        }
        let session = gateway.session(None, None).expect("a session");
        subscribe(&session, json!(["logs"])).await;
        extend(&gateway, &[&blocks[0], &blocks[1]]);
        assert_eq!(
            next_logs(&session, 3).await,
            [(1, 0, false), (1, 1, false), (2, 0, false)],
            "{unknown:?} {part}"
        );
        assert_eq!(session.try_next(), Ok(None));
    }
}

#[tokio::test]
async fn s1_syncing_says_at_once_how_it_stands_and_then_what_changes() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let session = gateway.session(None, None).expect("a session");
    subscribe(&session, json!(["syncing"])).await;
    assert_eq!(next(&session).await.1, json!(false));
    let at = made(7, 1, &[]).block.id;
    let tip = &chain(&gateway).tip;
    tip.tell(ChainEvent::Halted { at });
    let halted = next(&session).await.1;
    assert_eq!((&halted["syncing"], &halted["status"]["currentBlock"]), (&json!(true), &json!("0x7")));
    tip.tell(ChainEvent::Halted { at });
    tip.tell(ChainEvent::Resumed);
    assert_eq!(next(&session).await.1, json!(false));
    assert_eq!(session.try_next(), Ok(None));
}

#[tokio::test]
async fn s1_pending_transactions_are_told_once_while_somebody_listens() {
    let hashes = [B256::repeat_byte(1), B256::repeat_byte(2)];
    let made = Arc::new(Mutex::new(Vec::new()));
    let (notes, pool) = (made.clone(), hashes);
    let backend = StandIn::start_with(Duration::ZERO, move |call| {
        let method = call["method"].as_str().unwrap_or_default();
        if method.contains("Filter") {
            notes.lock().expect("unpoisoned").push(method.to_owned());
        }
        Some(match method {
            "eth_chainId" => ("result", json!("0x1")),
            "eth_newPendingTransactionFilter" => ("result", json!("0x5")),
            "eth_getFilterChanges" if call["params"] == json!(["0x5"]) => ("result", json!(pool)),
            "eth_uninstallFilter" => ("result", json!(true)),
            "eth_getTransactionByHash" => ("result", json!({ "hash": call["params"][0], "nonce": "0x0" })),
            _ => ("result", json!("0x1")),
        })
    })
    .await;
    let gateway = over(&[&backend]);
    let session = gateway.session(None, None).expect("a session");
    let plain = subscribe(&session, json!(["newPendingTransactions"])).await;
    let whole = subscribe(&session, json!(["newPendingTransactions", true])).await;
    let mut seen = HashMap::new();
    for _ in 0..4 {
        let (id, result) = next(&session).await;
        seen.entry(id).or_insert_with(Vec::new).push(result);
    }
    assert_eq!(seen[&plain], hashes.map(|hash| json!(hash)));
    let mut of_whole: Vec<_> = seen[&whole].iter().map(|tx| tx["hash"].clone()).collect();
    of_whole.sort_by_key(ToString::to_string);
    assert_eq!(of_whole, hashes.map(|hash| json!(hash)));
    // The pool shows the same again with every question.
    let polls = || made.lock().expect("unpoisoned").iter().filter(|m| *m == "eth_getFilterChanges").count();
    let seen_before = polls();
    timeout(BOUND, async {
        while polls() < seen_before + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is asked again");
    assert_eq!(session.try_next(), Ok(None));
    drop(session);
    let gone = async {
        while made.lock().expect("unpoisoned").last().is_none_or(|last| last != "eth_uninstallFilter") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(BOUND, gone).await.expect("the backend's filter goes with the last listener");
    let created =
        made.lock().expect("unpoisoned").iter().filter(|m| *m == "eth_newPendingTransactionFilter").count();
    assert_eq!(created, 1, "one source for both");
}

#[tokio::test]
async fn what_no_subscription_is_is_refused_and_limits_name_their_setting() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let session = gateway.session(None, None).expect("a session");
    for params in [
        json!([]),
        json!(null),
        json!({}),
        json!(["newBlocks"]),
        json!([1]),
        json!(["logs", "0x1"]),
        json!(["logs", { "address": "0x1" }]),
        json!(["newPendingTransactions", 1]),
        json!(["newHeads", {}, {}]),
    ] {
        let answer = ask(&session, "eth_subscribe", params.clone()).await;
        assert_eq!(answer["error"]["code"], -32602, "{params}: {answer}");
    }
    let answer = ask(&session, "eth_unsubscribe", json!(["0x1"])).await;
    assert_eq!(answer["error"], json!({ "code": -32000, "message": "subscription not found" }));
    for _ in 0..128 {
        subscribe(&session, json!(["newHeads"])).await;
    }
    let answer = ask(&session, "eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(answer["error"]["code"], -32005);
    let message = answer["error"]["message"].as_str().expect("words");
    assert!(message.contains("server.websocket.max_subscriptions"), "{message}");
    // Over HTTP there is nobody to notify.
    let answer = call(&gateway, "eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}

#[tokio::test]
async fn a_batch_subscribes_last_and_nothing_overtakes_its_answer() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let session = gateway.session(None, None).expect("a session");
    let item = |id, method, params| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let batch = json!([
        item(1, "eth_subscribe", json!(["newHeads"])),
        item(2, "eth_blockNumber", json!([])),
        item(3, "eth_subscribe", json!(["syncing"])),
    ]);
    let answer = session.answer(batch.to_string()).await;
    let items: Vec<Value> =
        serde_json::from_slice(&answer.reply.body.clone().expect("a body")).expect("an array");
    assert_eq!(items.iter().map(|item| item["id"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert!(items.iter().all(|item| item["result"].is_string()), "{items:?}");
    assert_eq!(session.try_next(), Ok(None), "kept back while the answer is on its way");
    drop(answer);
    assert_eq!(next(&session).await.0, items[2]["result"]);
}

#[tokio::test]
async fn s5_filters_show_each_change_once_and_survive_their_backends() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let id = |answer: Value| answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let of_logs = id(call(&gateway, "eth_newFilter", json!([{ "address": A }])).await);
    let of_blocks = id(call(&gateway, "eth_newBlockFilter", json!([])).await);
    assert_eq!((of_logs.len(), of_blocks.len()), (34, 34), "128 bits");
    let old = [made(1, 1, &[(A, 1)]), made(2, 1, &[(B, 1), (A, 1)])];
    let new = made(2, 2, &[(A, 3)]);
    old.iter().chain([&new]).for_each(|block| ledger.has(block));
    let changes =
        async |id: &str| call(&gateway, "eth_getFilterChanges", json!([id])).await["result"].clone();
    let logs = async || {
        let logs = changes(&of_logs).await;
        logs.as_array().expect("an array").iter().map(told).collect::<Vec<_>>()
    };
    extend(&gateway, &[&old[0]]);
    extend(&gateway, &[&old[1]]);
    let shown = timeout(BOUND, async {
        let mut shown = Vec::new();
        while shown.len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            shown.extend(logs().await);
        }
        shown
    });
    assert_eq!(shown.await.expect("in time"), [(1, 0, false), (2, 1, false)]);
    assert_eq!(logs().await, []);
    assert_eq!(changes(&of_blocks).await, json!([hash(1, 1), hash(2, 1)]));
    let (dropped, added) = (vec![old[1].block.clone()], vec![new.block.clone()]);
    chain(&gateway).tip.tell(ChainEvent::Reorged { dropped, added });
    let shown = timeout(BOUND, async {
        let mut shown = Vec::new();
        while shown.len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            shown.extend(logs().await);
        }
        shown
    });
    assert_eq!(shown.await.expect("in time"), [(2, 1, true), (2, 0, false)]);
    assert_eq!(changes(&of_blocks).await, json!([hash(2, 2)]));
    // The past is asked of a backend, with the filter's own words.
    assert_eq!(call(&gateway, "eth_getFilterLogs", json!([of_logs])).await["result"], json!([]));
    for id in [&of_logs, &of_blocks] {
        assert_eq!(call(&gateway, "eth_uninstallFilter", json!([id])).await["result"], true);
        assert_eq!(call(&gateway, "eth_uninstallFilter", json!([id])).await["result"], false);
        let answer = call(&gateway, "eth_getFilterChanges", json!([id])).await;
        assert_eq!(answer["error"], json!({ "code": -32000, "message": "filter not found" }));
    }
    assert_eq!(chain(&gateway).feeds.audience(), 0);
}

#[tokio::test]
async fn s5_a_filter_that_nobody_asks_for_is_gone_after_five_minutes() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let made = async || call(&gateway, "eth_newBlockFilter", json!([])).await["result"].clone();
    let (asked, idle) = (made().await, made().await);
    tokio::time::pause();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(200)).await;
        let answer = call(&gateway, "eth_getFilterChanges", json!([asked])).await;
        assert_eq!(answer["result"], json!([]));
    }
    let answer = call(&gateway, "eth_getFilterChanges", json!([idle])).await;
    assert_eq!(answer["error"]["message"], "filter not found");
    assert_eq!(call(&gateway, "eth_uninstallFilter", json!([asked])).await["result"], true);
    timeout(Duration::from_secs(60), async {
        while chain(&gateway).feeds.audience() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await
    .expect("the idle one is swept away");
}

#[tokio::test]
async fn s5_filters_of_one_client_are_counted_and_the_limit_names_its_setting() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let make = async |client: &str| {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_newBlockFilter"}"#;
        let client = client.parse().expect("an address");
        let reply = gateway.answer(Packet::new(call).sent_by(client)).await;
        serde_json::from_slice::<Value>(&reply.body.expect("a body")).expect("JSON")
    };
    for _ in 0..1000 {
        assert!(make("10.0.0.1").await["result"].is_string());
    }
    let refused = make("10.0.0.1").await;
    assert_eq!(refused["error"]["code"], -32005);
    assert!(refused["error"]["message"].as_str().is_some_and(|words| words.contains("server.max_filters")));
    assert!(make("10.0.0.2").await["result"].is_string(), "others are not concerned");
}

#[tokio::test]
async fn s1_who_may_have_missed_something_is_told_so() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let session = gateway.session(None, None).expect("a session");
    subscribe(&session, json!(["newHeads"])).await;
    let filter = call(&gateway, "eth_newBlockFilter", json!([])).await["result"].clone();
    // More at once than the feed's listener may be behind by; it has no turn in between.
    let blocks: Vec<Made> = (1..=600).map(|number| made(number, 1, &[])).collect();
    blocks.iter().for_each(|block| extend(&gateway, &[block]));
    assert_eq!(
        timeout(BOUND, async {
            loop {
                if let Err(end) = session.next().await {
                    return end;
                }
            }
        })
        .await,
        Ok(SessionEnd::Missed)
    );
    let answer = call(&gateway, "eth_getFilterChanges", json!([filter])).await;
    assert_eq!(answer["error"]["message"], "filter not found");
}

/// Blocks that nobody has any more cannot be told; the first block that is known is no gap.
#[tokio::test]
async fn s1_blocks_that_are_skipped_end_what_hangs_on_them_and_nothing_else() {
    let ledger = Ledger::start(None).await;
    let gateway = gateway(&[&ledger]).await;
    let skip = |made: &Made| chain(&gateway).tip.tell(ChainEvent::Skipped { to: made.block.clone() });
    let blocks = [1, 2, 1000, 1001].map(|number| made(number, 1, &[(A, 1)]));
    blocks.iter().for_each(|made| ledger.has(made));
    let [heads, logs, syncing] = [0; 3].map(|_| gateway.session(None, None).expect("a session"));
    subscribe(&heads, json!(["newHeads"])).await;
    subscribe(&logs, json!(["logs", { "address": A }])).await;
    subscribe(&syncing, json!(["syncing"])).await;
    let mut filters = Vec::new();
    for (method, params) in [("eth_newBlockFilter", json!([])), ("eth_newFilter", json!([{}]))] {
        filters.push(call(&gateway, method, params).await["result"].clone());
    }
    skip(&blocks[0]);
    extend(&gateway, &[&blocks[1]]);
    for number in [1, 2] {
        assert_eq!(next(&heads).await.1["number"], format!("{number:#x}"));
        assert_eq!(told(&next(&logs).await.1).0, number);
    }
    for filter in &filters {
        let changes = call(&gateway, "eth_getFilterChanges", json!([filter])).await;
        assert_eq!(changes["result"].as_array().map(Vec::len), Some(2), "{changes}");
    }
    assert_eq!(gateway.status().chains[0].subscribers, SubscribersStatus { subscriptions: 3, filters: 2 });
    skip(&blocks[2]);
    for session in [&heads, &logs] {
        let end = timeout(BOUND, async {
            loop {
                if let Err(end) = session.next().await {
                    return end;
                }
            }
        });
        assert_eq!(end.await, Ok(SessionEnd::Missed));
    }
    for filter in &filters {
        let changes = call(&gateway, "eth_getFilterChanges", json!([filter])).await;
        assert_eq!(changes["error"]["message"], "filter not found");
    }
    assert_eq!(next(&syncing).await.1, json!(false), "it hangs on no block");
    assert_eq!((syncing.end(), syncing.try_next()), (None, Ok(None)));
    drop((heads, logs));
    assert_eq!(gateway.status().chains[0].subscribers, SubscribersStatus { subscriptions: 1, filters: 0 });
    // Who comes after it hears what comes after it.
    let later = gateway.session(None, None).expect("a session");
    subscribe(&later, json!(["newHeads"])).await;
    subscribe(&later, json!(["logs", { "address": A }])).await;
    extend(&gateway, &[&blocks[3]]);
    let news = [next(&later).await.1, next(&later).await.1];
    assert!(news.iter().any(|news| news["number"] == "0x3e9"), "{news:?}");
    assert!(news.iter().any(|news| news["blockNumber"] == "0x3e9"), "{news:?}");
}
