//! R13, K1, K2: what is answered without a backend, through the real binary over real nodes. Their chain has an id that is
//! nobody's, since what is kept of development nodes is little.

mod disk;
mod shared;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::anvil::{CHAIN_ID, Lab, PLAIN_CHAIN_ID};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;
use crate::lab::wire::Message;

/// A dev account of every anvil, with a balance.
const RICH: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
/// Where nothing happens by itself, in case a machine is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes behind fronts behind the proxy; blocks come when the test says so.
struct Stage {
    lab: Lab,
    fronts: Vec<Front>,
    proxy: Proxy,
}

impl Stage {
    async fn start(tables: &str) -> Stage {
        Stage::start_on(PLAIN_CHAIN_ID, tables).await
    }

    async fn start_on(chain_id: u64, tables: &str) -> Stage {
        Stage::start_over(Lab::start_on(2, chain_id).await, 2, tables).await
    }

    /// With one backend: whoever is slow is not helped by another one.
    async fn start_alone(tables: &str) -> Stage {
        Stage::start_over(Lab::start_on(1, PLAIN_CHAIN_ID).await, 1, tables).await
    }

    async fn start_over(lab: Lab, backends: usize, tables: &str) -> Stage {
        lab.mine(3).await;
        let mut fronts = Vec::new();
        for node in 0..backends {
            fronts.push(Front::of_node(&lab, node).await);
        }
        let mut settings = Settings::over(&fronts);
        settings.chain_id = lab.chain_id();
        // A hedge would be a further call: the machine that runs this may be slow.
        settings.tables = format!("[routing]\nhedging = false\n{tables}");
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        let stage = Stage { lab, fronts, proxy };
        stage.in_step().await;
        stage
    }

    /// Until the proxy serves the head that all nodes have, and knows that all have it.
    async fn in_step(&self) {
        let height = self.lab.height().await;
        self.until("everybody is known to have the head", async || {
            // Somebody has to ask, or nobody looks.
            self.told("eth_blockNumber", json!([])).await;
            let chain = self.status().await["chains"][0].clone();
            let has = |backend: &Value| backend["view"]["has"] == height || backend["head"] == height;
            let backends = chain["backends"].as_array().cloned().unwrap_or_default();
            chain["follower"]["number"] == height && backends.iter().all(has)
        })
        .await;
    }

    /// One block more, which the proxy serves.
    async fn mine(&self) {
        self.lab.mine(1).await;
        self.in_step().await;
    }

    async fn post(&self, body: &Value, headers: &[(&str, &str)]) -> Message {
        let answer = rpc::post(self.proxy.address(), headers, body.to_string().as_bytes()).await;
        answer.expect("the proxy answers")
    }

    /// What a call is told, and by whom.
    async fn told(&self, method: &str, params: Value) -> (Value, String) {
        self.told_with(method, params, &[]).await
    }

    async fn told_with(&self, method: &str, params: Value, headers: &[(&str, &str)]) -> (Value, String) {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        let answer = self.post(&body, headers).await;
        let source = answer.header("x-outrigger-source").expect("a source").to_owned();
        let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(value["id"], "x", "{value}");
        (value, source)
    }

    /// How often clients' questions of this method went to a backend. The proxy's own light calls are about the zero address.
    fn asked(&self, method: &str) -> usize {
        let zero = "0x0000000000000000000000000000000000000000";
        let is_own = |body: &[u8]| String::from_utf8_lossy(body).contains(zero);
        self.fronts
            .iter()
            .flat_map(Front::seen)
            .filter(|seen| !is_own(&seen.body))
            .map(|seen| seen.methods.iter().filter(|name| *name == method).count())
            .sum()
    }

    fn forget(&self) {
        self.fronts.iter().for_each(Front::forget);
    }

    async fn status(&self) -> Value {
        serde_json::from_slice(&self.proxy.get("/status").await.body).expect("JSON")
    }

    async fn saved(&self, what: &str) -> u64 {
        self.status().await["chains"][0]["saved"][what].as_u64().expect("a count")
    }

    async fn until(&self, what: &str, mut wanted: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted().await {
            let status = self.status().await;
            assert!(Instant::now() < end, "in vain: {what}\n{status:#}\n{}", self.proxy.said());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn k1_an_answer_is_kept_until_its_block_is_not_the_one_that_is_asked_for() {
    let stage = Stage::start("").await;
    let balance = json!([RICH, "latest"]);
    let (first, source) = stage.told("eth_getBalance", balance.clone()).await;
    assert_eq!(source, "backend");
    // Written otherwise, and by number: the same question.
    let head = format!("{:#x}", stage.lab.height().await);
    for params in [
        balance.clone(),
        json!([RICH.to_uppercase().replace('X', "x"), "latest"]),
        json!([RICH]),
        json!([RICH, head]),
    ] {
        let told = stage.told("eth_getBalance", params.clone()).await;
        assert_eq!(told, (first.clone(), "cache".to_owned()), "{params}");
    }
    assert_eq!(stage.asked("eth_getBalance"), 1);
    stage.mine().await;
    let (_, source) = stage.told("eth_getBalance", balance.clone()).await;
    assert_eq!(source, "backend", "of another block");
    // The block of before is still there.
    let (_, source) = stage.told("eth_getBalance", json!([RICH, head])).await;
    assert_eq!(source, "cache");
    // What goes with the head is gone with it.
    for source in ["backend", "cache"] {
        assert_eq!(stage.told("eth_gasPrice", json!([])).await.1, source);
    }
    stage.mine().await;
    assert_eq!(stage.told("eth_gasPrice", json!([])).await.1, "backend");
    let status = stage.status().await;
    let (cache, saved) = (&status["cache"], &status["chains"][0]["saved"]);
    assert!(cache["entries"].as_u64() >= Some(3) && cache["bytes"].as_u64() > Some(0), "{cache}");
    assert_eq!(cache["bytes_max"], 256 << 20, "{cache}");
    assert_eq!(saved["hits"], 6, "{saved}");
    assert!(saved["credits"].as_f64() >= Some(6.0), "{saved}");
    let spent: u64 = status["chains"][0]["backends"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|backend| backend["spent"]["methods"]["eth_gasPrice"].as_u64())
        .sum();
    assert_eq!(spent, 2, "{status:#}");
}

#[tokio::test]
async fn k1_what_is_kept_is_served_byte_for_byte() {
    let stage = Stage::start("").await;
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", true]});
    let first = stage.post(&body, &[]).await;
    let second = stage.post(&body, &[]).await;
    assert_eq!(second.header("x-outrigger-source"), Some("cache"));
    assert_eq!(second.header("x-outrigger-attempts"), Some("0"));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn k1_null_errors_and_what_is_pending_are_never_kept() {
    let stage = Stage::start("").await;
    let nothing = format!("0x{}", "ab".repeat(32));
    for (method, params) in [
        ("eth_getTransactionReceipt", json!([nothing])),
        ("eth_getBlockByHash", json!([nothing, false])),
        ("eth_getBalance", json!([RICH, "pending"])),
        ("eth_getTransactionCount", json!([RICH, "pending"])),
        ("eth_getBlockByNumber", json!(["pending", false])),
        ("eth_call", json!([{"to": RICH, "gas": "0x1"}, "latest"])),
        ("eth_getBalance", json!(["0xnonsense", "latest"])),
    ] {
        for _ in 0..2 {
            let (told, source) = stage.told(method, params.clone()).await;
            assert_eq!(source, "backend", "{method} {params} {told}");
        }
    }
    assert_eq!(stage.saved("kept").await, 0);
}

#[tokio::test]
async fn k2_a_reorg_takes_the_block_its_state_and_its_transactions_along() {
    let stage = Stage::start("").await;
    let payment = json!({"from": RICH, "to": format!("0x{}", "11".repeat(20)), "value": "0x1"});
    let hash = stage.lab.rpc(0, "eth_sendTransaction", json!([payment])).await.expect("a hash");
    stage.lab.tick().await;
    stage.in_step().await;
    let block = stage.told("eth_getBlockByNumber", json!(["latest", false])).await.0["result"].clone();
    let (number, block_hash) = (block["number"].clone(), block["hash"].clone());
    let questions = [
        ("eth_getBlockByNumber", json!([number, false])),
        ("eth_getBlockByHash", json!([block_hash, false])),
        ("eth_getBalance", json!([RICH, number])),
        ("eth_getTransactionReceipt", json!([hash])),
        ("eth_getTransactionByHash", json!([hash])),
        ("eth_getBlockReceipts", json!([number])),
    ];
    for (method, params) in &questions {
        stage.told(method, params.clone()).await;
        let (told, source) = stage.told(method, params.clone()).await;
        assert_eq!(source, "cache", "{method} {told}");
        assert!(!told["result"].is_null(), "{method} {told}");
    }
    stage.lab.reorg(1).await;
    stage
        .until("the reorg is seen", async || {
            let told = stage.told("eth_getBlockByNumber", json!([number, false])).await.0;
            told["result"]["hash"] != block_hash
        })
        .await;
    for (method, params) in &questions {
        let (told, _) = stage.told(method, params.clone()).await;
        assert_ne!(told["result"]["blockHash"], block_hash, "{method} {told}");
        if *method != "eth_getBlockByHash" {
            assert_ne!(told["result"]["hash"], block_hash, "{method} {told}");
        }
    }
}

#[tokio::test]
async fn a_client_may_want_a_backends_own_answer() {
    let stage = Stage::start("").await;
    let balance = json!([RICH, "latest"]);
    stage.told("eth_getBalance", balance.clone()).await;
    assert_eq!(stage.told("eth_getBalance", balance.clone()).await.1, "cache");
    for directive in ["no-cache", "no-store", "max-stale, No-Cache", "max-age=0"] {
        let told = stage.told_with("eth_getBalance", balance.clone(), &[("cache-control", directive)]).await;
        assert_eq!(told.1, "backend", "{directive}");
    }
    // What means nothing of the kind, and who has other credentials.
    assert_eq!(
        stage.told_with("eth_getBalance", balance.clone(), &[("cache-control", "max-age=5")]).await.1,
        "cache"
    );
    let somebody = [("authorization", "Bearer somebody")];
    assert_eq!(stage.told_with("eth_getBalance", balance.clone(), &somebody).await.1, "backend");
    assert_eq!(stage.told_with("eth_getBalance", balance, &somebody).await.1, "cache");
}

#[tokio::test]
async fn of_a_development_node_only_what_names_its_block_is_kept() {
    let stage = Stage::start_on(CHAIN_ID, "").await;
    let balance = json!([RICH, "latest"]);
    let before = stage.told("eth_getBalance", balance.clone()).await.0;
    for node in 0..2 {
        let set = json!([RICH, "0x1"]);
        stage.lab.rpc(node, "anvil_setBalance", set).await.expect("anvil can do that");
    }
    let (after, source) = stage.told("eth_getBalance", balance).await;
    assert_eq!((after["result"].as_str(), &*source), (Some("0x1"), "backend"), "{before}");
    for source in ["backend", "cache"] {
        assert_eq!(stage.told("eth_getBlockByNumber", json!(["latest", false])).await.1, source);
    }
}

#[tokio::test]
async fn a_memory_of_zero_keeps_nothing() {
    let stage = Stage::start("[cache]\nmemory = \"0\"\n").await;
    for _ in 0..3 {
        assert_eq!(stage.told("eth_getBalance", json!([RICH, "latest"])).await.1, "backend");
    }
    assert_eq!(stage.status().await["cache"]["bytes_max"], 0);
}

#[tokio::test]
async fn k1_of_a_batch_what_is_kept_is_answered_at_once_and_the_rest_by_a_backend() {
    let stage = Stage::start("").await;
    let known = json!({"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": [RICH, "latest"]});
    let other = json!({"jsonrpc": "2.0", "id": 8, "method": "eth_getCode", "params": [RICH, "latest"]});
    let first: Value = serde_json::from_slice(&stage.post(&known, &[]).await.body).expect("JSON");
    stage.forget();
    let answer = stage.post(&json!([other, known, known]), &[]).await;
    assert_eq!(answer.header("x-outrigger-source"), Some("backend"));
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&told[0]["id"], &told[1], &told[2]), (&json!(8), &first, &first), "{told}");
    assert_eq!((stage.asked("eth_getBalance"), stage.asked("eth_getCode")), (0, 1));
    let answer = stage.post(&json!([known, other]), &[]).await;
    assert_eq!(answer.header("x-outrigger-source"), Some("cache"), "nothing of it came from a backend");
    assert_eq!((stage.asked("eth_getBalance"), stage.asked("eth_getCode")), (0, 1));
}

/// R12: while nobody can be reached, `eth_blockNumber` is the last height that is known; what was kept of that block is told,
/// by its number and as the latest.
#[tokio::test]
async fn r12_what_is_kept_is_still_told_while_everybody_is_down() {
    let stage = Stage::start("").await;
    let head = format!("{:#x}", stage.lab.height().await);
    let balance = stage.told("eth_getBalance", json!([RICH, "latest"])).await.0;
    for front in &stage.fronts {
        front.set(Fault::Refuse).await;
    }
    // Nothing is kept of this one: it shows when it has become known that nobody is there.
    stage
        .until("nobody answers", async || {
            stage.told("eth_getCode", json!([RICH, "latest"])).await.0["error"].is_object()
                && stage.status().await["chains"][0]["backends"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .all(|b| b["state"] != "ok")
        })
        .await;
    for params in [json!([RICH, head]), json!([RICH, "latest"])] {
        let told = stage.told("eth_getBalance", params.clone()).await;
        assert_eq!(told, (balance.clone(), "cache".to_owned()), "{params}");
    }
    assert_eq!(stage.told("eth_blockNumber", json!([])).await.0["result"], head);
    assert!(stage.told("eth_getCode", json!([RICH, "latest"])).await.0["error"].is_object());
}
