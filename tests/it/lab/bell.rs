//! A bell that rings once a block, so that an answer tells which block it is from.
//!
//! Each canonical block holds one transaction of one account to one contract. So the account's balance and nonce, the
//! contract's count and its logs are others in every block, and what a client was told can be held against the block
//! that it was told of.
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::anvil::{Lab, number};
use super::clients::clients;

/// The dev account that rings: wallets of the tests have others.
const ACCOUNT: usize = 8;
/// Enough for a ring; with a fixed limit and fixed prices every node makes the same transaction of it.
const GAS: &str = "0x30d40";

/// A deployed bell and who rings it, through the first node.
#[derive(Clone)]
pub struct Bell {
    lab: Lab,
    /// The contract.
    pub address: String,
    /// The account that rings.
    pub ringer: String,
    /// Call data of the function that tells how often it rang.
    pub rung: String,
    ring: String,
}

/// What is true of the chain at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub number: u64,
    pub hash: String,
    pub parent: String,
    pub balance: String,
    pub nonce: String,
    pub count: String,
    /// The transactions of the block.
    pub transactions: Vec<String>,
    /// Transaction hash of each log of the bell in the block, in order.
    pub logs: Vec<String>,
}

/// A clock that rings and ticks until it is dropped or stopped.
pub struct Clock {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Bell ===

impl Bell {
    /// Puts the contract on the chain: one block.
    pub async fn hang(lab: &Lab) -> Bell {
        let script = std::fs::read(clients().scripts.join("wallets/bell.json")).expect("bell.json");
        let bell: Value = serde_json::from_slice(&script).expect("bell.json is JSON");
        let selector = |name: &str| bell["selectors"][name].as_str().expect("a selector").to_owned();
        let accounts = lab.rpc(0, "eth_accounts", json!([])).await.expect("accounts");
        let ringer = accounts[ACCOUNT].as_str().expect("a dev account").to_owned();
        let mut hung = Bell {
            lab: lab.clone(),
            address: String::new(),
            ringer,
            rung: selector("rung"),
            ring: selector("ring"),
        };
        let deployment = json!({"from": hung.ringer, "data": bell["bytecode"], "gas": "0xf4240"});
        let hash = hung.send(deployment).await;
        lab.tick().await;
        let receipt = lab.rpc(0, "eth_getTransactionReceipt", json!([hash])).await.expect("a receipt");
        hung.address = receipt["contractAddress"].as_str().expect("a contract").to_owned();
        hung
    }

    /// Rings and mines: one block that everybody hears of as they stand.
    pub async fn toll(&self) {
        self.send(json!({"from": self.ringer, "to": self.address, "data": self.ring, "gas": GAS})).await;
        self.lab.tick().await;
    }

    /// Rings and ticks every `period` until the handle is dropped.
    pub fn spawn_clock(&self, period: Duration) -> Clock {
        let (bell, stop) = (self.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut clock = tokio::time::interval(period);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(clock.tick()).await.is_some() {
                bell.toll().await;
            }
        });
        Clock { stop, task }
    }

    /// Waits until `count` more blocks are there.
    pub async fn blocks(&self, count: u64) {
        let until = self.lab.height().await + count;
        let end = Instant::now() + Duration::from_secs(60);
        while self.lab.height().await < until {
            assert!(Instant::now() < end, "the chain stands still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the first node knows of a block by its hash, while it is canonical there.
    pub async fn facts(&self, hash: &str) -> Facts {
        let block = self.ask("eth_getBlockByHash", json!([hash, false])).await;
        let at = &block["number"];
        let call = json!({"to": self.address, "data": self.rung});
        let logs = self.ask("eth_getLogs", json!([{"address": self.address, "blockHash": hash}])).await;
        let text = |value: Value| value.as_str().expect("a string").to_owned();
        Facts {
            number: number(at),
            hash: hash.to_owned(),
            parent: text(block["parentHash"].clone()),
            balance: text(self.ask("eth_getBalance", json!([self.ringer, at])).await),
            nonce: text(self.ask("eth_getTransactionCount", json!([self.ringer, at])).await),
            count: text(self.ask("eth_call", json!([call, at])).await),
            transactions: strings(&block["transactions"]),
            logs: logs
                .as_array()
                .into_iter()
                .flatten()
                .map(|log| text(log["transactionHash"].clone()))
                .collect(),
        }
    }

    async fn send(&self, transaction: Value) -> String {
        let hash = self.ask("eth_sendTransaction", json!([transaction])).await;
        hash.as_str().expect("a hash").to_owned()
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        self.lab.rpc(0, method, params).await.unwrap_or_else(|e| panic!("the first node: {e}"))
    }
}

// === impl Clock ===

impl Clock {
    /// Stops after the tick under way; panics when a tick failed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("every tick succeeds");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn strings(values: &Value) -> Vec<String> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_block_has_facts_of_its_own_and_all_nodes_tell_the_same() {
    let lab = Lab::start(2).await;
    let bell = Bell::hang(&lab).await;
    for _ in 0..4 {
        bell.toll().await;
    }
    let mut known = Vec::new();
    for mined in lab.history().await.iter().skip(1) {
        let facts = bell.facts(&mined.head.hash).await;
        assert_eq!((facts.number, facts.logs.len()), (mined.head.number, 1));
        assert_eq!(facts.logs, facts.transactions);
        let block = lab.rpc(1, "eth_getBlockByNumber", json!([format!("{:#x}", facts.number), false])).await;
        assert_eq!(block.unwrap()["hash"], facts.hash);
        known.push(facts);
    }
    for pair in known.windows(2) {
        assert!(pair[0].balance != pair[1].balance && pair[0].nonce != pair[1].nonce);
        assert!(pair[0].count != pair[1].count);
    }
}
