//! T8, T10, T12, T13: five wallets send and wait while a cloud is lost at the worst moments. Their own retries are as they
//! come; none of them has to give up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::lab::anvil::Lab;
use crate::lab::clients::{self, clients};
use crate::lab::front::{Fault, Front};
use crate::lab::leash::{Leash, Said};
use crate::lab::proxy::{Proxy, Settings};

use super::{BLOCK_TIME, favourite};

/// Starting five wallets on a busy machine, or what they wait for at most.
const LIMIT: Duration = Duration::from_secs(45);
/// The keys of the first five development accounts, which every anvil prints when it starts.
const KEYS: [&str; 5] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
];

/// A wallet that pays, each from an account of its own.
struct Payer {
    name: &'static str,
    process: Leash,
}

impl Payer {
    fn all(url: &str) -> Vec<Payer> {
        let found = clients();
        let script = |name: &str| Some(found.scripts.join("pay").join(name).to_string_lossy().into_owned());
        let node = PathBuf::from("node");
        let wallets = [
            ("viem", node.clone(), script("viem.mjs")),
            ("ethers", node, script("ethers.mjs")),
            ("web3.py", found.python.clone(), script("web3py.py")),
            ("cast", PathBuf::from("bash"), script("cast.sh")),
            ("alloy", clients::alloy("pay"), None),
        ];
        let cast = ("CAST".to_owned(), found.cast.to_string_lossy().into_owned());
        let start = |((name, program, script), key): ((&'static str, PathBuf, Option<String>), &&str)| {
            let args: Vec<String> = script.into_iter().chain([url.to_owned(), (*key).to_owned()]).collect();
            let process = Leash::start(Path::new(&program), &args, std::slice::from_ref(&cast));
            Payer { name, process: process.unwrap_or_else(|e| panic!("{name} ({e}): run tests/run")) }
        };
        wallets.into_iter().zip(&KEYS).map(start).collect()
    }

    /// What it tells under this key, or that it gave up.
    async fn tells(&self, key: &'static str) -> Value {
        let said: Said = self.process.said().clone();
        let told = tokio::task::spawn_blocking(move || {
            said.find(LIMIT, |line| {
                let told: Value = serde_json::from_str(line).ok()?;
                (told[key].is_string() || told["error"].is_string()).then_some(told)
            })
        });
        let told = told.await.expect("no panic");
        let told =
            told.unwrap_or_else(|| panic!("{} tells nothing: {}", self.name, self.process.said().text()));
        assert!(told["error"].is_null(), "{} gave up: {told}", self.name);
        told
    }
}

/// What happens to the backend that clients' reads go to, and when.
struct Outage {
    /// From before the wallets start until all have a hash.
    at_send: bool,
    /// From when all have a hash, before the next block, to the end.
    before_receipt: bool,
}

async fn all_are_paid_through(outage: Outage) {
    let lab = Lab::start(3).await;
    let mut fronts = Vec::new();
    for node in 0..3 {
        fronts.push(Front::of_node(&lab, node).await);
    }
    lab.mine(2).await;
    let mut proxy = Proxy::start(&Settings::over(&fronts)).await;
    proxy.ready().await;
    let first = favourite(&proxy, &fronts).await;
    if outage.at_send {
        fronts[first].set(Fault::BlackHole).await;
    }
    let payers = Payer::all(proxy.url().trim_end_matches('/'));
    let mut hashes = Vec::new();
    for payer in &payers {
        let told = payer.tells("sent").await;
        hashes.push(told["sent"].clone());
    }
    // No block was made meanwhile: nobody can have a receipt.
    fronts[first].heal().await;
    if outage.before_receipt {
        lab.kill(first).await;
    }
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    for (payer, hash) in payers.iter().zip(&hashes) {
        let told = payer.tells("mined").await;
        assert_eq!((&told["mined"], &told["success"]), (hash, &Value::Bool(true)), "{}", payer.name);
    }
    ticker.stop().await;
}

/// T8: the first acceptance answers.
#[tokio::test(flavor = "multi_thread")]
async fn t8_five_wallets_send_into_a_black_hole_and_get_their_receipts() {
    all_are_paid_through(Outage { at_send: true, before_receipt: false }).await;
}

/// T12, T13.
#[tokio::test(flavor = "multi_thread")]
async fn t13_five_wallets_get_their_receipts_though_the_backend_is_killed_after_they_sent() {
    all_are_paid_through(Outage { at_send: false, before_receipt: true }).await;
}
