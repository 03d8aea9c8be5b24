//! R8: logs over ranges, whole or an error. Scripted backends over one made-up chain, since what they have to do (cut at
//! their head, refuse wide ranges, lack a block behind their URL) is what no single node does; the real ones are asked in
//! `chain` and at the end here.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::anvil::{Lab, PLAIN_CHAIN_ID, number};
use crate::lab::front::{Answer, Call, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;

const HEAD: u64 = 200_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A scripted backend; what it does is changed while it runs.
struct Node {
    /// The highest block of the chain.
    head: AtomicU64,
    /// Every other search for logs goes to a node that lacks so many of the newest blocks.
    lags_by: AtomicU64,
    turn: AtomicUsize,
    /// Blocks that it searches at once.
    limit: AtomicU64,
    /// It names the limit when it refuses.
    names_limit: AtomicBool,
    /// Logs that it tells at once.
    results: AtomicU64,
    /// It knows nothing of `blockHash`.
    refuses_hash: AtomicBool,
    /// Every search from this block on fails.
    broken_from: AtomicU64,
    /// Searches: blocks of each, 0 for one by hash.
    searches: Mutex<Vec<u64>>,
}

impl Node {
    fn new() -> Arc<Node> {
        Arc::new(Node {
            head: AtomicU64::new(HEAD),
            lags_by: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            limit: AtomicU64::new(u64::MAX),
            names_limit: AtomicBool::new(true),
            results: AtomicU64::new(u64::MAX),
            refuses_hash: AtomicBool::new(false),
            broken_from: AtomicU64::new(u64::MAX),
            searches: Mutex::default(),
        })
    }

    async fn front(self: &Arc<Node>) -> Front {
        let node = Arc::clone(self);
        Front::fixture(move |call| node.answer(call)).await
    }

    fn answer(&self, call: &Call) -> Answer {
        let head = self.head.load(Ordering::Relaxed);
        match &*call.method {
            "eth_chainId" => Answer::result(json!(format!("{PLAIN_CHAIN_ID:#x}"))),
            "eth_blockNumber" => Answer::result(json!(format!("{head:#x}"))),
            "eth_syncing" => Answer::result(json!(false)),
            "eth_getBlockByNumber" => {
                let number = match call.params[0].as_str() {
                    Some("latest" | "pending") => head,
                    Some("safe" | "finalized") => head - 64,
                    Some("earliest") => 0,
                    _ => number(&call.params[0]),
                };
                Answer::result(if number <= head { block(number) } else { Value::Null })
            }
            "eth_getBlockByHash" => {
                let number = height(&call.params[0]);
                Answer::result(number.filter(|number| *number <= head).map_or(Value::Null, block))
            }
            "eth_getLogs" => self.logs(&call.params[0]),
            _ => Answer::result(json!("0x1")),
        }
    }

    fn logs(&self, filter: &Value) -> Answer {
        let lag = self.lags_by.load(Ordering::Relaxed);
        let lags = self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let head = self.head.load(Ordering::Relaxed) - if lags { lag } else { 0 };
        assert_eq!(
            filter["address"], "0x00000000000000000000000000000000000000aA",
            "the filter is the client's"
        );
        if !filter["blockHash"].is_null() {
            self.searches.lock().unwrap().push(0);
            if self.refuses_hash.load(Ordering::Relaxed) {
                return Answer::error(-32602, "invalid argument 0: unknown field blockHash");
            }
            return match height(&filter["blockHash"]).filter(|number| *number <= head) {
                Some(number) => Answer::Result(list(number, number)),
                None => Answer::error(-32000, "unknown block"),
            };
        }
        let height = |block: &Value| if block == "latest" { head } else { number(block) };
        let (from, to) = (height(&filter["fromBlock"]), height(&filter["toBlock"]));
        if from > to {
            return Answer::error(-32602, "invalid block range params");
        }
        self.searches.lock().unwrap().push(to - from + 1);
        if to >= self.broken_from.load(Ordering::Relaxed) {
            return Answer::error(-32603, "Internal error");
        }
        let limit = self.limit.load(Ordering::Relaxed);
        if to - from >= limit {
            return match self.names_limit.load(Ordering::Relaxed) {
                true => Answer::error(-32602, &format!("eth_getLogs is limited to a {limit} block range")),
                false => Answer::error(-32602, "block range is too wide"),
            };
        }
        let text = list(from, to.min(head));
        if text.matches("blockNumber").count() as u64 > self.results.load(Ordering::Relaxed) {
            return Answer::error(-32005, "query returned more than 10000 results");
        }
        Answer::Result(text)
    }

    fn forget(&self) {
        self.searches.lock().unwrap().clear();
    }

    fn searches(&self) -> Vec<u64> {
        self.searches.lock().unwrap().clone()
    }
}

fn hash(number: u64) -> String {
    format!("0x{:064x}", number + 0xb10c_0000_0000)
}

fn height(hash: &Value) -> Option<u64> {
    u64::from_str_radix(hash.as_str()?.get(50..)?, 16).ok()?.checked_sub(0xb10c_0000_0000)
}

fn block(number: u64) -> Value {
    let parent = number.checked_sub(1).map_or_else(|| format!("0x{}", "0".repeat(64)), hash);
    json!({
        "number": format!("{number:#x}"), "hash": hash(number), "parentHash": parent,
        "timestamp": format!("{:#x}", 1_700_000_000 + number), "transactions": [],
    })
}

/// The logs of these blocks, as one node would tell them: every third block has one, some have two.
fn list(from: u64, to: u64) -> String {
    let log = |number: u64, index: u64| {
        format!(
            r#"{{"address":"0x00000000000000000000000000000000000000aa","blockNumber":"{number:#x}","blockHash":"{}","logIndex":"{index:#x}","data":"0x{number:08x}"}}"#,
            hash(number)
        )
    };
    let logs: Vec<String> = (from..=to)
        .filter(|number| number % 3 == 0)
        .flat_map(|number| (0..1 + number % 2).map(move |index| log(number, index)))
        .collect();
    format!("[{}]", logs.join(","))
}

/// Two such backends behind the proxy.
struct Stage {
    nodes: Vec<Arc<Node>>,
    _fronts: Vec<Front>,
    proxy: Proxy,
}

impl Stage {
    async fn start(backends: usize, tables: &str) -> Stage {
        let nodes: Vec<_> = (0..backends).map(|_| Node::new()).collect();
        let mut fronts = Vec::new();
        for node in &nodes {
            fronts.push(node.front().await);
        }
        let mut settings = Settings::over(&fronts);
        settings.chain_id = PLAIN_CHAIN_ID;
        settings.tables = format!("[routing]\nhedging = false\n{tables}");
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        let stage = Stage { nodes, _fronts: fronts, proxy };
        let end = Instant::now() + PATIENCE;
        while !stage.is_followed().await {
            assert!(Instant::now() < end, "the head is not served: {}", stage.proxy.said());
            sleep(Duration::from_millis(20)).await;
        }
        stage.nodes.iter().for_each(|node| node.forget());
        stage
    }

    /// Whether the head is served, and everybody known to have it.
    async fn is_followed(&self) -> bool {
        // Somebody has to ask, or nobody looks.
        self.call("eth_blockNumber", json!([])).await;
        let status: Value = serde_json::from_slice(&self.proxy.get("/status").await.body).expect("JSON");
        let chain = &status["chains"][0];
        let backends = chain["backends"].as_array().cloned().unwrap_or_default();
        chain["follower"]["number"] == HEAD
            && backends.iter().all(|backend| backend["view"]["has"] == HEAD || backend["head"] == HEAD)
    }

    async fn post(&self, body: &Value) -> Vec<u8> {
        rpc::post(self.proxy.address(), &[], body.to_string().as_bytes())
            .await
            .expect("an answer")
            .body
            .to_vec()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        serde_json::from_slice(&self.post(&body).await).expect("JSON")
    }

    /// The body of an answer about these blocks.
    async fn logs(&self, from: Value, to: Value) -> String {
        String::from_utf8(self.post(&query(1, from, to)).await).expect("text")
    }

    fn searches(&self) -> Vec<u64> {
        self.nodes.iter().flat_map(|node| node.searches()).collect()
    }
}

fn query(id: u64, from: Value, to: Value) -> Value {
    let filter =
        json!({"fromBlock": from, "toBlock": to, "address": "0x00000000000000000000000000000000000000aA"});
    json!({"jsonrpc": "2.0", "id": id, "method": "eth_getLogs", "params": [filter]})
}

fn quantity(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

fn answer(from: u64, to: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}}}"#, list(from, to))
}

/// R8: one answer's bytes, at any limit.
#[tokio::test]
async fn r8_logs_over_a_hundred_thousand_blocks_at_a_limit_of_ten_thousand_are_the_bytes_of_one_answer() {
    let stage = Stage::start(2, "").await;
    for node in &stage.nodes {
        node.limit.store(10_000, Ordering::Relaxed);
    }
    let (from, to) = (50_001, 150_000);
    for round in 0..2 {
        stage.nodes.iter().for_each(|node| node.forget());
        assert_eq!(stage.logs(quantity(from), quantity(to)).await, answer(from, to));
        let refused = stage.searches().iter().filter(|blocks| **blocks > 10_000).count();
        // The limit is learned: the second time nobody is asked for what it refuses.
        assert_eq!(refused > 0, round == 0, "{:?}", stage.searches());
    }
    // Without a number in the refusal halves are tried, and what tells too much is halved where it does.
    for node in &stage.nodes {
        node.limit.store(3_000, Ordering::Relaxed);
        node.names_limit.store(false, Ordering::Relaxed);
        node.results.store(700, Ordering::Relaxed);
    }
    assert_eq!(stage.logs(quantity(10_007), quantity(31_000)).await, answer(10_007, 31_000));
}

/// R8: over the cap, or with splitting off, the limit is told under a code that no client repeats.
#[tokio::test]
async fn r8_what_may_not_be_cut_is_refused_with_the_limit() {
    for (tables, limit) in [("logs_range_max = 20000\n", "20000"), ("logs_range_max = 0\n", "10000")] {
        let stage = Stage::start(1, tables).await;
        stage.nodes[0].limit.store(10_000, Ordering::Relaxed);
        for _ in 0..2 {
            let told: Value =
                serde_json::from_str(&stage.logs(quantity(100), quantity(30_000)).await).unwrap();
            assert_eq!(told["error"]["code"], -32602, "{told}");
            assert!(told["error"]["message"].as_str().unwrap().contains(limit), "{told}");
            assert_eq!(told.get("result"), None);
        }
        let narrow = stage.logs(quantity(100), quantity(10_000)).await;
        assert_eq!(narrow, answer(100, 10_000));
    }
}

/// R8: a piece that cannot be had is an error for the whole.
#[tokio::test]
async fn r8_a_piece_that_nobody_has_makes_the_whole_an_error() {
    let stage = Stage::start(2, "").await;
    for node in &stage.nodes {
        node.limit.store(10_000, Ordering::Relaxed);
        node.broken_from.store(60_000, Ordering::Relaxed);
    }
    let told: Value = serde_json::from_str(&stage.logs(quantity(20_000), quantity(80_000)).await).unwrap();
    assert!(told.get("result").is_none() && told["error"]["code"].is_i64(), "{told}");
    // Somebody has it: the whole is told, whoever gave which part.
    stage.nodes[0].broken_from.store(u64::MAX, Ordering::Relaxed);
    let end = Instant::now() + PATIENCE;
    while stage.logs(quantity(20_000), quantity(80_000)).await != answer(20_000, 80_000) {
        assert!(Instant::now() < end, "one backend has all: {}", stage.proxy.said());
        sleep(Duration::from_millis(50)).await;
    }
}

/// C1, R8: one of two nodes behind a URL lacks the newest block, and says nothing when it is asked for a range.
#[tokio::test]
async fn r8_a_node_behind_the_url_that_lacks_the_newest_block_never_shows() {
    let stage = Stage::start(2, "").await;
    // Whoever is asked: every other node behind its URL lacks two blocks.
    stage.logs(quantity(0), quantity(1)).await;
    let favourite = stage.nodes.iter().find(|node| !node.searches().is_empty()).expect("somebody was asked");
    favourite.lags_by.store(2, Ordering::Relaxed);
    // Each is another question, so that nothing of it is kept. While somebody has the block, all is told.
    for turn in 0..20 {
        let (from, to) = (HEAD - turn, if turn % 2 == 0 { json!("latest") } else { quantity(HEAD) });
        assert_eq!(stage.logs(quantity(from), to).await, answer(from, HEAD), "{from}");
    }
    // Nobody has it for sure: all, or an error.
    for node in &stage.nodes {
        node.lags_by.store(1, Ordering::Relaxed);
    }
    for turn in 20..23 {
        let told = stage.logs(quantity(HEAD - turn), quantity(HEAD)).await;
        let is_whole = told == answer(HEAD - turn, HEAD);
        assert!(is_whole || told.contains("\"error\""), "fewer logs than there are: {turn}: {told}");
    }
    assert!(stage.searches().contains(&0), "by hash");
    // In a batch too.
    for turn in 60..62 {
        let items: Vec<Value> = (0..4)
            .map(|id| query(id, quantity(HEAD - turn * 4 - id), json!("latest")))
            .chain([json!({"jsonrpc": "2.0", "id": 9, "method": "eth_gasPrice"})])
            .collect();
        let told: Vec<Value> = serde_json::from_slice(&stage.post(&json!(items)).await).expect("a batch");
        assert_eq!(told.len(), 5);
        for (id, told) in told.iter().take(4).enumerate() {
            assert_eq!(told["id"], id);
            let whole: Value = serde_json::from_str(&list(HEAD - turn * 4 - id as u64, HEAD)).unwrap();
            assert!(told["result"] == whole || told["error"].is_object(), "{told}");
        }
    }
}

/// R8: what pieces cost where everybody is in step: one batch, one call for one block, nothing by hash below the newest.
#[tokio::test]
async fn r8_only_the_newest_blocks_are_asked_for_by_hash() {
    let stage = Stage::start(1, "").await;
    for (from, to, searches) in [
        (HEAD, HEAD, &[0][..]),
        (HEAD - 1, HEAD, &[0, 0]),
        (HEAD - 10, HEAD, &[9, 0, 0]),
        (HEAD - 10, HEAD - 1, &[9, 0]),
        (HEAD - 10, HEAD - 2, &[9]),
    ] {
        stage.nodes[0].forget();
        assert_eq!(stage.logs(quantity(from), quantity(to)).await, answer(from, to));
        assert_eq!(stage.searches(), searches, "{from} to {to}");
    }
    let requests = stage._fronts[0].requests();
    stage.logs(quantity(HEAD - 20), json!("latest")).await;
    let pieces =
        stage._fronts[0].seen().split_off(requests).into_iter().filter(|seen| seen.methods.len() == 3);
    assert_eq!(pieces.count(), 1, "one batch");
    // A backend that knows nothing of hashes is asked by number.
    stage.nodes[0].refuses_hash.store(true, Ordering::Relaxed);
    assert_eq!(stage.logs(quantity(HEAD - 30), json!("latest")).await, answer(HEAD - 30, HEAD));
}

/// R8 over real nodes: the bytes of a node's own answer, at the head and below it.
#[tokio::test]
async fn r8_real_nodes_logs_are_told_as_they_tell_them() {
    let lab = Lab::start_on(2, PLAIN_CHAIN_ID).await;
    let bell = crate::lab::bell::Bell::hang(&lab).await;
    for _ in 0..6 {
        bell.toll().await;
    }
    let mut fronts = Vec::new();
    for node in 0..2 {
        fronts.push(Front::of_node(&lab, node).await);
    }
    let mut settings = Settings::over(&fronts);
    settings.chain_id = PLAIN_CHAIN_ID;
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    let height = lab.height().await;
    let end = Instant::now() + PATIENCE;
    loop {
        proxy.rpc().call("eth_blockNumber", json!([])).await.expect("a number");
        let status: Value = serde_json::from_slice(&proxy.get("/status").await.body).expect("JSON");
        if status["chains"][0]["follower"]["number"] == height {
            break;
        }
        assert!(Instant::now() < end, "the head is not served: {}", proxy.said());
        sleep(Duration::from_millis(20)).await;
    }
    let node = lab.urls()[0].trim_start_matches("http://").trim_end_matches('/').to_owned();
    for from in 0..=height {
        for to in from..=height {
            let filter = json!({"fromBlock": quantity(from), "toBlock": quantity(to)});
            let body =
                json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [filter]}).to_string();
            let own = rpc::post(&node, &[], body.as_bytes()).await.expect("the node answers").body;
            let told =
                rpc::post(proxy.address(), &[], body.as_bytes()).await.expect("the proxy answers").body;
            assert_eq!(told, own, "{from} to {to}");
        }
    }
}
