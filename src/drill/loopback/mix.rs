//! What the client asks: calls of wallets and backends, about a chain that moves.

use std::collections::VecDeque;
use std::time::Duration;

use alloy_primitives::B256;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::scenario::usual_mix;
use crate::simulation::{DEV_ACCOUNTS, Simulation};

/// Every so many requests one is a transaction, once a second at the usual rate.
const TRANSACTION_EVERY: u64 = 100;
/// Blocks behind the head that a call names by number: every cloud has them.
const SETTLED: u64 = 4;
/// A transaction is in a block that everybody has after this: gossip, a block, its way, and some more.
const MINED_AFTER: Duration = Duration::from_secs(4);
/// Acknowledged transactions that are remembered, and asked for.
const REMEMBERED_MAX: usize = 4096;
/// Wei.
const VALUE: u64 = 7;

/// One call.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) body: Vec<u8>,
    /// Of a transaction: what it must be answered with.
    pub(super) hash: Option<B256>,
}

/// Draws calls.
pub(super) struct Mix {
    rng: SmallRng,
    shares: Vec<(&'static str, f64)>,
    asked: u64,
    nonce: u64,
    acknowledged: VecDeque<(B256, Instant)>,
}

/// Methods that the usual mix may name, as they stand in a table.
const METHODS: [&str; 10] = [
    "eth_call",
    "eth_blockNumber",
    "eth_getBalance",
    "eth_getLogs",
    "eth_getTransactionReceipt",
    "eth_getTransactionCount",
    "eth_getBlockByNumber",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_chainId",
];

impl Mix {
    pub(super) fn new(seed: u64) -> Self {
        let usual = usual_mix();
        let shares = METHODS.iter().filter_map(|name| Some((*name, *usual.get(*name)?))).collect();
        Self { rng: SmallRng::seed_from_u64(seed), shares, asked: 0, nonce: 0, acknowledged: VecDeque::new() }
    }

    /// The next call, when the chain's head is `head`.
    pub(super) fn next(&mut self, head: u64) -> Call {
        self.asked += 1;
        if self.asked.is_multiple_of(TRANSACTION_EVERY)
            && let Some((raw, hash)) = DEV_ACCOUNTS[0].transfer(self.nonce, DEV_ACCOUNTS[1].address, VALUE)
        {
            self.nonce += 1;
            return call("eth_sendRawTransaction", json!([raw]), Some(hash));
        }
        let method = self.method();
        let account = DEV_ACCOUNTS[self.rng.random_range(0..3)].address;
        let settled = format!("{:#x}", head.saturating_sub(SETTLED));
        let block = if self.rng.random_bool(0.5) { json!(settled) } else { json!("latest") };
        let transfer = json!({ "from": account, "to": DEV_ACCOUNTS[3].address, "value": "0x1" });
        let params = match method {
            "eth_call" => json!([transfer, block]),
            "eth_estimateGas" => json!([transfer, "latest"]),
            "eth_getBalance" | "eth_getTransactionCount" => json!([account, block]),
            "eth_getBlockByNumber" => json!([block, false]),
            "eth_getLogs" => json!([{ "fromBlock": settled, "toBlock": settled, "address": account }]),
            "eth_feeHistory" => json!(["0x4", settled, [25.0]]),
            "eth_getTransactionReceipt" => match self.mined() {
                Some(hash) => json!([hash]),
                None => return call("eth_blockNumber", json!([]), None),
            },
            _ => json!([]),
        };
        call(method, params, None)
    }

    /// A transaction was taken.
    pub(super) fn acknowledged(&mut self, hash: B256) {
        if self.acknowledged.len() < REMEMBERED_MAX {
            self.acknowledged.push_back((hash, Instant::now()));
        }
    }

    fn method(&mut self) -> &'static str {
        let all: f64 = self.shares.iter().map(|(_, share)| share).sum();
        let mut left = self.rng.random::<f64>() * all;
        for (method, share) in &self.shares {
            left -= share;
            if left < 0.0 {
                return method;
            }
        }
        "eth_blockNumber"
    }

    /// A transaction that is in a block for sure, if it was not lost.
    fn mined(&mut self) -> Option<B256> {
        let old = self.acknowledged.iter().take_while(|(_, at)| at.elapsed() >= MINED_AFTER).count();
        (old > 0).then(|| self.acknowledged[self.rng.random_range(0..old)].0)
    }

    pub(super) fn into_transactions(self) -> Transactions {
        Transactions(self.acknowledged.into_iter().map(|(hash, _)| hash).collect())
    }
}

/// Transactions that were acknowledged.
pub(super) struct Transactions(Vec<B256>);

impl Transactions {
    /// How long until the last of them must be in a block.
    pub(super) fn settle(&self) -> Duration {
        if self.0.is_empty() { Duration::ZERO } else { MINED_AFTER }
    }

    /// How many are in no block although they were acknowledged.
    pub(super) fn lost(&self, simulation: &Simulation) -> usize {
        let is_lost = |hash: &&B256| {
            let asked = call("eth_getTransactionReceipt", json!([hash]), None);
            simulation.could_answer(&asked.body, &Value::Null, 0)
        };
        self.0.iter().filter(is_lost).count()
    }
}

fn call(method: &'static str, params: Value, hash: Option<B256>) -> Call {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    Call { method, body: body.to_string().into_bytes(), hash }
}
