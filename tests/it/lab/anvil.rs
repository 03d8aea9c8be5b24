//! Real nodes that share one chain, moved by the test.
//!
//! Independent anvils that start with the same genesis time produce byte-identical blocks (hash, state root,
//! `mixHash`) when they mine the same transactions in the same order at the same block time. So one node
//! leads, its block becomes the canonical one, and the others replay it and compare hashes. Lag, a minority
//! fork, a kill and a restart from genesis are then decided by the test and not by chance.
//!
//! ```text
//! let lab = Lab::start(3).await;
//! let ticker = lab.spawn_ticker(Duration::from_millis(250));   // gossip the pools, mine everywhere
//! lab.stand(2, Standing::Behind(3)).await;                     // node 2 lags three blocks from now on
//! lab.fork(1, 2).await; ...; lab.heal(1).await;                // node 1 leaves and comes back by a reorg
//! lab.reorg(3).await;                                          // everybody drops three blocks for four others
//! lab.history().await;                                         // which block was there from when to when
//! ```
mod branches;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;

use super::leash::Leash;
use super::rpc::{CallError, Rpc};
use super::{clients, ports};

/// The chain id of anvil and hardhat: wallets know it as a development chain.
pub const CHAIN_ID: u64 = 31_337;
/// A chain id that nobody uses, for nodes that are not to be taken for development nodes.
pub const PLAIN_CHAIN_ID: u64 = 90_210;
/// Dev accounts of every node: one for each sender of a storm.
const ACCOUNTS: &str = "20";
/// The dev accounts of every anvil come from this phrase; each is born with 10 000 ether.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Age of the genesis block, in seconds. Blocks lie one second apart on the chain but are mined up to four a
/// second; from ten minutes ago on, two minutes of that stay in the past.
const GENESIS_AGE_S: u64 = 600;
/// How long a node may take to listen; it needs 0.1 s on a quiet machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Attempts at starting a node: each takes another port, in case somebody was quicker.
const START_ATTEMPTS: usize = 5;
/// Attempts at replaying one block. Every retry means that a client sent something in that very millisecond.
const REPLAY_ATTEMPTS: usize = 10;
/// What a forked block's time adds, so that its hash differs from the canonical block of that height.
const FORK_DELAY_S: u64 = 7;

/// Several anvils and the one chain they share. Cheap to clone; the nodes end with the last clone.
#[derive(Clone)]
pub struct Lab(Arc<Inner>);

struct Inner {
    genesis_s: u64,
    chain_id: u64,
    addresses: Vec<String>,
    rpcs: Vec<Rpc>,
    gates: Vec<Gate>,
    /// One lock for all that moves the chain: a tick, a kill and a fork never overlap.
    chain: Mutex<Chain>,
}

/// Closed while a node replays a block: whoever goes through it sees the node before or after, never with a
/// pool half taken out, and nothing that arrives meanwhile is lost.
pub type Gate = Arc<RwLock<()>>;

struct Chain {
    log: Vec<Block>,
    nodes: Vec<Node>,
    /// Every block that was ever canonical, dropped ones included.
    history: Vec<Mined>,
    /// Seconds by which block times run ahead since a reorg: the same block at another time is another block.
    drift_s: u64,
}

/// A canonical block and its time on this machine's clock.
#[derive(Clone, Debug)]
pub struct Mined {
    pub head: Head,
    /// From when on somebody may have had it.
    pub mined_at: Instant,
    /// From when on everybody who was to have it had it.
    pub settled_at: Option<Instant>,
    /// When a reorg that dropped it began.
    pub dropped_at: Option<Instant>,
}

struct Node {
    process: Option<Leash>,
    standing: Standing,
    /// How many canonical blocks this node has.
    applied: usize,
}

/// How a node keeps up with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Has every block as soon as it is mined.
    InStep,
    /// Stays that many blocks behind.
    Behind(usize),
    /// Gets no new block, but answers.
    Frozen,
    /// Left the canonical chain; see [`Lab::fork`] and [`Lab::heal`].
    Forked,
    /// The same, and it adds a block of its own whenever the canonical chain grows; see [`Lab::rival`].
    Rival,
    /// Its process is gone; see [`Lab::kill`] and [`Lab::restart`].
    Dead,
}

/// A canonical block as the followers replay it.
#[derive(Clone)]
struct Block {
    timestamp: u64,
    base_fee: Value,
    hash: String,
    /// Hash and raw bytes of its transactions, in order.
    transactions: Vec<(String, String)>,
}

/// A transaction in the pool of a node.
struct Pending {
    node: usize,
    sender: String,
    hash: String,
    raw: String,
}

/// Number and hash of a node's newest block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub hash: String,
}

/// A running clock of blocks; dropping it stops the clock after the tick under way.
pub struct Ticker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

// === impl Lab ===

impl Lab {
    /// Starts `n` nodes at the same genesis block.
    pub async fn start(n: usize) -> Lab {
        Lab::start_on(n, CHAIN_ID).await
    }

    /// The same on a chain of another id.
    pub async fn start_on(n: usize, chain_id: u64) -> Lab {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
        let genesis_s = now_s - GENESIS_AGE_S;
        let (mut addresses, mut nodes) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let (address, process) = start_somewhere(genesis_s, chain_id).await;
            addresses.push(address);
            nodes.push(Node { process: Some(process), standing: Standing::InStep, applied: 0 });
        }
        let rpcs = addresses.iter().map(Rpc::new).collect();
        let gates = addresses.iter().map(|_| Gate::default()).collect();
        let chain = Mutex::new(Chain { log: Vec::new(), nodes, history: Vec::new(), drift_s: 0 });
        Lab(Arc::new(Inner { genesis_s, chain_id, addresses, rpcs, gates, chain }))
    }

    /// The chain's id.
    pub fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    /// The URLs of all nodes, in order.
    pub fn urls(&self) -> Vec<String> {
        self.0.addresses.iter().map(|address| format!("http://{address}")).collect()
    }

    /// The gate of node `i`; a front in front of the node holds it open during each exchange.
    pub fn gate(&self, i: usize) -> Gate {
        Arc::clone(&self.0.gates[i])
    }

    /// Asks node `i` directly, past its gate.
    pub async fn rpc(&self, i: usize, method: &str, params: Value) -> Result<Value, CallError> {
        self.0.rpcs[i].call(method, params).await
    }

    /// The newest block of node `i`.
    pub async fn head(&self, i: usize) -> Head {
        let block = self.must(i, "eth_getBlockByNumber", json!(["latest", false])).await;
        Head { number: number(&block["number"]), hash: text(&block["hash"]) }
    }

    /// The newest blocks of all nodes that run.
    pub async fn heads(&self) -> Vec<Head> {
        let chain = self.0.chain.lock().await;
        let mut heads = Vec::new();
        for (i, node) in chain.nodes.iter().enumerate() {
            if node.standing != Standing::Dead {
                heads.push(self.head(i).await);
            }
        }
        heads
    }

    /// Every block that was ever canonical, in the order in which they were mined.
    pub async fn history(&self) -> Vec<Mined> {
        self.0.chain.lock().await.history.clone()
    }

    /// Height of the canonical chain.
    pub async fn height(&self) -> u64 {
        self.0.chain.lock().await.log.len() as u64
    }

    /// Mines `count` blocks; every node follows as its standing says.
    pub async fn mine(&self, count: usize) {
        let all: Vec<usize> = (0..self.0.rpcs.len()).collect();
        self.mine_only(&all, count).await;
    }

    /// Mines `count` blocks of which only the nodes `only` hear; the others fall behind.
    pub async fn mine_only(&self, only: &[usize], count: usize) {
        let mut chain = self.0.chain.lock().await;
        for _ in 0..count {
            self.extend(&mut chain, only, &[]).await;
        }
    }

    /// What a real network does each slot: every pool's transactions reach everybody, then a block is mined.
    pub async fn tick(&self) {
        let all: Vec<usize> = (0..self.0.rpcs.len()).collect();
        self.tick_only(&all).await;
    }

    /// A tick of which only the nodes `only` hear.
    pub async fn tick_only(&self, only: &[usize]) {
        let mut chain = self.0.chain.lock().await;
        let mut gossip = Vec::new();
        for i in (0..chain.nodes.len()).filter(|i| chain.nodes[*i].standing != Standing::Dead) {
            gossip.extend(self.pool(i).await);
        }
        self.extend(&mut chain, only, &gossip).await;
    }

    /// Ticks every `period` until the handle is dropped.
    pub fn spawn_ticker(&self, period: Duration) -> Ticker {
        let (lab, stop) = (self.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut clock = tokio::time::interval(period);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(clock.tick()).await.is_some() {
                lab.tick().await;
            }
        });
        Ticker { stop, task }
    }

    /// Changes how node `i` keeps up, from now on. Back in step, it gets what it missed at once.
    pub async fn stand(&self, i: usize, standing: Standing) {
        let mut chain = self.0.chain.lock().await;
        let was = chain.nodes[i].standing;
        assert!(was != Standing::Dead && !was.has_left(), "node {i} is {was:?}: restart or heal it first");
        assert!(standing != Standing::Dead && !standing.has_left(), "use kill, fork or rival");
        chain.nodes[i].standing = standing;
        self.follow(&mut chain, i).await;
    }

    /// Kills node `i` as a power cut would: connections reset, pool and chain forgotten.
    pub async fn kill(&self, i: usize) {
        let node = &mut self.0.chain.lock().await.nodes[i];
        node.process = None;
        node.standing = Standing::Dead;
    }

    /// Starts node `i` again on its port, at genesis, and lets it replay the chain.
    pub async fn restart(&self, i: usize) {
        let mut chain = self.0.chain.lock().await;
        chain.nodes[i].process = None;
        let process = start_on(&self.0.addresses[i], self.0.genesis_s, self.0.chain_id).await;
        let process = process.unwrap_or_else(|said| panic!("anvil does not start again: {said}"));
        chain.nodes[i] = Node { process: Some(process), standing: Standing::InStep, applied: 0 };
        self.follow(&mut chain, i).await;
    }

    /// Empties the pool of node `i`, as a restart or an overfull pool would.
    pub async fn forget_pool(&self, i: usize) {
        let _chain = self.0.chain.lock().await;
        self.must(i, "anvil_dropAllTransactions", json!([])).await;
    }

    /// The first node in step mines what it and the others know; `only` and standing decide who follows.
    async fn extend(&self, chain: &mut MutexGuard<'_, Chain>, only: &[usize], gossip: &[Pending]) {
        let height = chain.log.len();
        let leads =
            |i: &usize| chain.nodes[*i].standing == Standing::InStep && chain.nodes[*i].applied == height;
        let Some(leader) = only.iter().copied().find(leads) else { return };
        let known: HashMap<&str, &str> = gossip.iter().map(|t| (t.hash.as_str(), t.raw.as_str())).collect();
        for i in only.iter().copied().filter(|i| chain.nodes[*i].standing != Standing::Dead) {
            for transaction in gossip.iter().filter(|t| t.node != i) {
                self.offer(i, &transaction.raw).await;
            }
        }
        let mined_at = Instant::now();
        let timestamp = self.0.genesis_s + chain.drift_s + height as u64 + 1;
        self.must(leader, "evm_setNextBlockTimestamp", json!([timestamp])).await;
        self.must(leader, "evm_mine", json!([])).await;
        let block = self.must(leader, "eth_getBlockByNumber", json!(["latest", false])).await;
        let mut transactions = Vec::new();
        for hash in block["transactions"].as_array().into_iter().flatten().map(text) {
            let raw = match known.get(hash.as_str()) {
                Some(raw) => (*raw).to_owned(),
                None => text(&self.must(leader, "eth_getRawTransactionByHash", json!([hash])).await),
            };
            transactions.push((hash, raw));
        }
        let base_fee = block["baseFeePerGas"].clone();
        let head = Head { number: number(&block["number"]), hash: text(&block["hash"]) };
        chain.history.push(Mined { head, mined_at, settled_at: None, dropped_at: None });
        chain.log.push(Block { timestamp, base_fee, hash: text(&block["hash"]), transactions });
        chain.nodes[leader].applied += 1;
        for i in only.iter().copied().filter(|i| *i != leader) {
            if chain.nodes[i].standing == Standing::Rival {
                self.mine_apart(i).await;
            }
            self.follow(chain, i).await;
        }
        if let Some(mined) = chain.history.last_mut() {
            mined.settled_at = Some(Instant::now());
        }
    }

    /// Brings node `i` to where its standing allows.
    async fn follow(&self, chain: &mut MutexGuard<'_, Chain>, i: usize) {
        let height = chain.log.len();
        let upto = match chain.nodes[i].standing {
            Standing::InStep => height,
            Standing::Behind(blocks) => height.saturating_sub(blocks),
            Standing::Frozen | Standing::Forked | Standing::Rival | Standing::Dead => return,
        };
        while chain.nodes[i].applied < upto {
            let block = chain.log[chain.nodes[i].applied].clone();
            let _closed = self.0.gates[i].write().await;
            self.replay(i, &block).await;
            chain.nodes[i].applied += 1;
        }
    }

    /// Mines `block` on node `i` too. A pool that holds more, or several senders in another order, would make
    /// another block: then everything waits outside for these few milliseconds and is put back. What a client
    /// sends past the gate just then is lost if it builds on something that waits outside. The node's gate is
    /// closed by the caller.
    async fn replay(&self, i: usize, block: &Block) {
        let belongs = |t: &Pending| block.transactions.iter().any(|(hash, _)| *hash == t.hash);
        for _ in 0..REPLAY_ATTEMPTS {
            let pool = self.pool(i).await;
            let one_sender = pool.windows(2).all(|pair| pair[0].sender == pair[1].sender);
            let fits = one_sender && pool.len() == block.transactions.len() && pool.iter().all(belongs);
            if !fits {
                // the newest first: anvil drops a transaction together with all that build on it
                for transaction in pool.iter().rev() {
                    self.must(i, "anvil_dropTransaction", json!([transaction.hash])).await;
                }
                for (_, raw) in &block.transactions {
                    self.offer(i, raw).await;
                }
            }
            self.must(i, "evm_setNextBlockTimestamp", json!([block.timestamp])).await;
            // a rollback does not restore the next base fee
            self.must(i, "anvil_setNextBlockBaseFeePerGas", json!([block.base_fee])).await;
            self.must(i, "evm_mine", json!([])).await;
            let mined = self.head(i).await;
            if mined.hash == block.hash {
                for transaction in pool.iter().filter(|t| !fits && !belongs(t)) {
                    self.offer(i, &transaction.raw).await;
                }
                return;
            }
            let surplus = self.transactions_of_latest(i).await;
            self.must(i, "anvil_rollback", json!([1])).await;
            for raw in pool.iter().map(|t| &t.raw).chain(&surplus) {
                self.offer(i, raw).await;
            }
        }
        panic!("node {i} cannot replay block {} after {REPLAY_ATTEMPTS} attempts", block.hash);
    }

    /// The raw transactions of node `i`'s newest block.
    async fn transactions_of_latest(&self, i: usize) -> Vec<String> {
        let block = self.must(i, "eth_getBlockByNumber", json!(["latest", false])).await;
        let mut raws = Vec::new();
        for hash in block["transactions"].as_array().into_iter().flatten() {
            raws.push(text(&self.must(i, "eth_getRawTransactionByHash", json!([hash])).await));
        }
        raws
    }

    /// What lies in node `i`'s pool, each sender's in the order of its nonces.
    async fn pool(&self, node: usize) -> Vec<Pending> {
        let content = self.must(node, "txpool_content", json!([])).await;
        let mut found = Vec::new();
        for (sender, by_nonce) in content["pending"].as_object().into_iter().flatten() {
            let mut by_nonce: Vec<_> = by_nonce.as_object().into_iter().flatten().collect();
            by_nonce.sort_by_key(|(nonce, _)| nonce.parse::<u64>().unwrap_or(u64::MAX));
            for (_, transaction) in by_nonce {
                let hash = text(&transaction["hash"]);
                let raw = self.must(node, "eth_getRawTransactionByHash", json!([hash])).await;
                if let Some(raw) = raw.as_str().map(str::to_owned) {
                    found.push(Pending { node, sender: sender.clone(), hash, raw });
                }
            }
        }
        found
    }

    /// Offers a transaction. A refusal is no failure: it is known already, or its nonce is used by now.
    async fn offer(&self, i: usize, raw: &str) {
        match self.rpc(i, "eth_sendRawTransaction", json!([raw])).await {
            Ok(_) | Err(CallError::Rpc { .. }) => {}
            Err(broken) => panic!("node {i}: {broken}"),
        }
    }

    async fn must(&self, i: usize, method: &str, params: Value) -> Value {
        self.rpc(i, method, params).await.unwrap_or_else(|e| panic!("node {i}: {e}"))
    }
}

// === impl Standing ===

impl Standing {
    fn has_left(self) -> bool {
        matches!(self, Standing::Forked | Standing::Rival)
    }
}

// === impl Ticker ===

impl Ticker {
    /// Stops after the tick under way; panics when a tick failed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("every tick succeeds");
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start_somewhere(genesis_s: u64, chain_id: u64) -> (String, Leash) {
    let mut said = String::new();
    for _ in 0..START_ATTEMPTS {
        let address = format!("127.0.0.1:{}", ports::free());
        match start_on(&address, genesis_s, chain_id).await {
            Ok(process) => return (address, process),
            Err(why) => said = why,
        }
    }
    panic!("anvil does not start: {said}");
}

/// Starts a node and waits until it answers; the error is what it said.
async fn start_on(address: &str, genesis_s: u64, chain_id: u64) -> Result<Leash, String> {
    let (host, port) = address.split_once(':').expect("host:port");
    let (id, genesis) = (chain_id.to_string(), genesis_s.to_string());
    let args = ["--host", host, "--port", port, "--chain-id", &id, "--timestamp", &genesis]
        .into_iter()
        .chain(["--no-mining", "--order", "fifo", "--silent", "--accounts", ACCOUNTS])
        .map(str::to_owned);
    let mut process = Leash::start(&clients::clients().anvil, &args.collect::<Vec<_>>(), &[])
        .map_err(|e| format!("cannot be executed: {e}"))?;
    let end = Instant::now() + START_LIMIT;
    let rpc = Rpc::new(address);
    loop {
        let answer = rpc.call("eth_chainId", json!([])).await;
        // its process must be alive too: on a port clash the answer comes from somebody else's node
        if let Some(status) = process.ended() {
            return Err(format!("ended with {status}: {}", process.said().text()));
        }
        if answer.is_ok() {
            return Ok(process);
        }
        if Instant::now() > end {
            return Err(format!("does not answer within {START_LIMIT:?}: {}", process.said().text()));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A JSON quantity as a number; 0 where it is none.
pub fn number(quantity: &Value) -> u64 {
    let digits = quantity.as_str().and_then(|q| q.strip_prefix("0x")).unwrap_or("0");
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
