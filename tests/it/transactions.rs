//! T10-T13: transactions through the real binary over real nodes, while nodes, pools and the proxy itself are lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::lab::anvil::{Lab, number};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings, binary};
use crate::lab::rpc::{CallError, Rpc};

/// Four blocks a second.
const BLOCK_TIME: Duration = Duration::from_millis(250);
const SENDERS: usize = 5;
/// Transactions of each sender.
const EACH: u64 = 40;
/// Everything is acknowledged and mined by then, or lost.
const LIMIT: Duration = Duration::from_secs(120);

/// A proxy that may be killed and started again at any time; its clients find it at its new address.
struct Site {
    proxy: Mutex<Option<Proxy>>,
    address: Mutex<String>,
    toml: String,
}

impl Site {
    async fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = settings.to_toml(&folder.path().join("journal"));
        let site = Site { proxy: Mutex::new(None), address: Mutex::new(String::new()), toml };
        site.start_in(folder).await;
        site
    }

    async fn start_in(&self, folder: TempDir) {
        let proxy = Proxy::start_with(folder, &self.toml, &[]).await;
        *self.address.lock().unwrap() = proxy.address().to_owned();
        *self.proxy.lock().unwrap() = Some(proxy);
    }

    /// `kill -9`, and the next start.
    async fn crash(&self) {
        let proxy = self.proxy.lock().unwrap().take().expect("it runs");
        self.start_in(proxy.crash()).await;
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let address = self.address.lock().unwrap().clone();
        Rpc::new(address).call(method, params).await
    }

    fn said(&self) -> String {
        self.proxy.lock().unwrap().as_ref().map(Proxy::said).unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        self.proxy.lock().unwrap().as_ref().expect("it runs").dir()
    }
}

/// Asks until somebody answers: the proxy may be away for a moment.
async fn ask(site: &Site, method: &str, params: Value) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        match site.call(method, params.clone()).await {
            Ok(result) => return result,
            Err(error) => assert!(Instant::now() < end, "{method} {params}: {error}\n{}", site.said()),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn signed(lab: &Lab, from: &str, nonce: u64) -> String {
    let transaction = json!({
        "from": from, "to": "0x00000000000000000000000000000000000000aa", "value": "0x1", "gas": "0x5208",
        "gasPrice": "0x77359400", "nonce": format!("{nonce:#x}"), "chainId": "0x7a69",
    });
    let end = Instant::now() + LIMIT;
    // The node that signs may be the one that is killed.
    loop {
        match lab.rpc(0, "eth_signTransaction", json!([transaction])).await {
            Ok(raw) => return raw.as_str().expect("raw bytes").to_owned(),
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sends its transactions one after the other and reads what wallets read; gives their hashes.
async fn sender(lab: Lab, site: Arc<Site>, from: String, acknowledged: Arc<AtomicUsize>) -> Vec<String> {
    let mut hashes: Vec<String> = Vec::new();
    for nonce in 0..EACH {
        let pending = number(&ask(&site, "eth_getTransactionCount", json!([from, "pending"])).await);
        assert_eq!(pending, nonce, "the pending nonce of {from} went back\n{}", site.said());
        let raw = signed(&lab, &from, nonce).await;
        let hash = ask(&site, "eth_sendRawTransaction", json!([raw])).await;
        acknowledged.fetch_add(1, Ordering::SeqCst);
        let hash = hash.as_str().expect("a hash").to_owned();
        let found = ask(&site, "eth_getTransactionByHash", json!([hash])).await;
        assert_eq!(found["hash"], hash.as_str(), "an acknowledged transaction is denied");
        hashes.push(hash);
        for (nonce, hash) in hashes.iter().enumerate().rev().take(3) {
            let mined = number(&ask(&site, "eth_getTransactionCount", json!([from, "latest"])).await);
            if let Ok(receipt) = site.call("eth_getTransactionReceipt", json!([hash])).await {
                assert!(
                    !receipt.is_null() || mined <= nonce as u64,
                    "{hash} has no receipt, yet its nonce {nonce} is used ({mined})"
                );
            }
        }
        sleep(Duration::from_millis(40)).await;
    }
    hashes
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_what_was_acknowledged_is_mined_once_whatever_is_lost_meanwhile() {
    let lab = Lab::start(3).await;
    let mut fronts = Vec::new();
    for node in 0..3 {
        fronts.push(Front::of_node(&lab, node).await);
    }
    lab.mine(2).await;
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    let site = Arc::new(Site::start(&Settings::over(&fronts)).await);
    let accounts = lab.rpc(0, "eth_accounts", json!([])).await.expect("dev accounts");
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|at| {
            let from = accounts[at].as_str().expect("an address").to_owned();
            tokio::spawn(sender(lab.clone(), site.clone(), from, acknowledged.clone()))
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let trouble = tokio::spawn({
        let (lab, site, over) = (lab.clone(), site.clone(), over.clone());
        async move {
            let mut rounds = 0;
            let mut crashes = 0;
            for round in 0.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let at = round % 3;
                match round % 5 {
                    0 => {
                        site.crash().await;
                        crashes += 1;
                    }
                    // Nobody has what was not mined yet: only the proxy can bring it back.
                    1 => {
                        for node in 0..3 {
                            lab.forget_pool(node).await;
                        }
                    }
                    2 => {
                        fronts[at].set(Fault::BlackHole).await;
                        sleep(Duration::from_millis(600)).await;
                        fronts[at].heal().await;
                    }
                    3 => {
                        lab.kill(2).await;
                        sleep(Duration::from_millis(300)).await;
                        lab.restart(2).await;
                    }
                    _ => {
                        fronts[at].set(Fault::ExecThenHang.only(&["eth_sendRawTransaction"])).await;
                        sleep(Duration::from_millis(400)).await;
                        fronts[at].heal().await;
                    }
                }
                rounds += 1;
                sleep(Duration::from_millis(250)).await;
            }
            (rounds, crashes)
        }
    });
    let mut all = Vec::new();
    for sender in senders {
        all.push(sender.await.expect("it sends"));
    }
    over.store(true, Ordering::SeqCst);
    let (rounds, crashes) = trouble.await.expect("it makes trouble");
    assert!(rounds >= 8 && crashes >= 2, "too little went wrong: {rounds} rounds, {crashes} crashes");
    let end = Instant::now() + Duration::from_secs(60);
    for (at, hashes) in all.iter().enumerate() {
        for hash in hashes {
            while lab.rpc(0, "eth_getTransactionReceipt", json!([hash])).await.expect("it answers").is_null()
            {
                assert!(Instant::now() < end, "{hash} was acknowledged and is not mined\n{}", site.said());
                sleep(Duration::from_millis(50)).await;
            }
        }
        let mined = lab.rpc(0, "eth_getTransactionCount", json!([accounts[at], "latest"])).await;
        assert_eq!(number(&mined.expect("it answers")), EACH, "each is mined once");
    }
    ticker.stop().await;
}

#[tokio::test]
async fn t14_what_is_held_is_listed_can_be_taken_back_and_goes_out_in_order_when_a_way_is_back() {
    let lab = Lab::start(1).await;
    let front = Front::of_node(&lab, 0).await;
    lab.mine(2).await;
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    let mut settings = Settings::over(std::slice::from_ref(&front));
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("held");
    settings.tables = format!(
        "[transactions]\njournal = '{}'\nwhen_unreachable = \"hold\"\n[routing]\ndeadline = \"1s\"\n",
        journal.display()
    );
    let site = Site::start(&settings).await;
    ask(&site, "eth_getBalance", json!(["0x00000000000000000000000000000000000000aa", "latest"])).await;
    let accounts = lab.rpc(0, "eth_accounts", json!([])).await.expect("dev accounts");
    let from = accounts[0].as_str().expect("an address").to_owned();
    let mut raws = Vec::new();
    for nonce in 0..3 {
        raws.push(signed(&lab, &from, nonce).await);
    }
    front.set(Fault::Refuse).await;
    let mut hashes = Vec::new();
    for raw in raws.iter().rev() {
        let hash = site.call("eth_sendRawTransaction", json!([raw])).await.expect("it is held");
        hashes.push(hash.as_str().expect("a hash").to_owned());
    }
    let tx = |args: &[&str]| {
        let file = site.folder().join("outrigger.toml");
        let output = std::process::Command::new(binary())
            .arg("tx")
            .args(args)
            .args(["--config", &file.to_string_lossy(), "--log", "error"])
            .env("HOME", folder.path())
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let (_, listed, _) = tx(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let states: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["held", "held", "held"], "{listed}");
    // The last one, which nothing builds on.
    let url = format!("http://{}", site.address.lock().unwrap());
    let (done, _, said) = tx(&["cancel-hold", &hashes[0], "--url", &url]);
    assert!(done, "{}", String::from_utf8_lossy(&said));
    assert!(!tx(&["cancel-hold", &hashes[0], "--url", &url]).0, "once is enough");
    site.crash().await;
    front.heal().await;
    let end = Instant::now() + Duration::from_secs(30);
    for hash in &hashes[1..] {
        while lab.rpc(0, "eth_getTransactionReceipt", json!([hash])).await.expect("it answers").is_null() {
            assert!(Instant::now() < end, "{hash} is held and not delivered\n{}", site.said());
            sleep(Duration::from_millis(50)).await;
        }
    }
    let (_, exported, _) = tx(&["export", "--all"]);
    assert!(raws.iter().all(|raw| exported.contains(raw.as_str())), "{exported}");
    lab.mine(4).await;
    let mined = lab.rpc(0, "eth_getTransactionCount", json!([from, "latest"])).await.expect("it answers");
    assert_eq!(number(&mined), 2, "what was taken back is not sent");
    let (_, shown, _) = tx(&["show", &hashes[0]]);
    assert!(shown.contains("cancelled"), "{shown}");
    ticker.stop().await;
}
