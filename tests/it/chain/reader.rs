//! A client that reads one thing after the other and writes down when it asked what, and what it was told.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lab::anvil::number;
use crate::lab::bell::Bell;
use crate::lab::rpc::Rpc;

/// Heights below the head that a reader asks for.
const DEPTH_MAX: u64 = 12;
/// Blocks of which a reader keeps hash and transactions.
const BLOCKS_KEPT: usize = 8;

/// What a reader wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Height,
    Block(At),
    Balance(At),
    Nonce(At),
    Count(At),
    /// From a height to another one, or to `latest`.
    Logs(u64, Option<u64>),
    /// The receipt of a transaction that was in a block the reader was shown.
    Receipt(String),
    /// Balance and count of one moment, in one batch.
    Both,
}

/// Of which block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Latest,
    Number(u64),
    /// EIP-1898 by height.
    Height(u64),
    /// EIP-1898 by hash, or `eth_getBlockByHash`.
    Hash(String),
}

/// A question and what became of it.
#[derive(Clone, Debug)]
pub struct Read {
    pub asked: Instant,
    pub answered: Instant,
    pub question: Question,
    pub answer: Result<Value, String>,
    /// The greatest height that this reader was told before.
    pub known: u64,
}

/// Readers at work.
pub struct Readers {
    reads: Arc<Mutex<Vec<Read>>>,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Reader {
    rpc: Rpc,
    bell: Bell,
    dice: SmallRng,
    known: u64,
    /// Hash and transactions of blocks it was shown, the newest last.
    blocks: Vec<(String, Vec<String>)>,
}

// === impl Readers ===

impl Readers {
    /// Lets `n` readers loose on the endpoint at `address`.
    pub fn start(n: usize, address: &str, bell: &Bell) -> Readers {
        let (reads, count, stop) =
            (Arc::<Mutex<Vec<Read>>>::default(), Arc::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for index in 0..n {
            let mut reader = Reader {
                rpc: Rpc::new(address),
                bell: bell.clone(),
                dice: SmallRng::seed_from_u64(index as u64),
                known: 0,
                blocks: Vec::new(),
            };
            let (reads, count, stop) = (Arc::clone(&reads), Arc::clone(&count), stop.clone());
            tasks.spawn(async move {
                while !stop.is_cancelled() {
                    let read = reader.read().await;
                    reads.lock().expect("no holder panics").push(read);
                    AtomicUsize::fetch_add(&count, 1, Ordering::Relaxed);
                }
            });
        }
        Readers { reads, count, stop, tasks }
    }

    /// How much was read so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Lets them finish the question under way; all that was read.
    pub async fn stop(mut self) -> Vec<Read> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no reader panics");
        }
        std::mem::take(&mut *self.reads.lock().expect("no holder panics"))
    }
}

// === impl Reader ===

impl Reader {
    async fn read(&mut self) -> Read {
        let question = if self.blocks.is_empty() { Question::Block(At::Latest) } else { self.choose() };
        let known = self.known;
        let asked = Instant::now();
        let answer = self.ask(&question).await;
        let read = Read { asked, answered: Instant::now(), question, answer, known };
        self.learn(&read);
        read
    }

    fn choose(&mut self) -> Question {
        let some = self.known.saturating_sub(self.dice.random_range(0..DEPTH_MAX)).max(2);
        let (hash, transactions) = self.blocks.choose(&mut self.dice).expect("it was shown one").clone();
        let at = match self.dice.random_range(0..8) {
            0..4 => At::Latest,
            4..6 => At::Number(some),
            6 => At::Height(some),
            _ => At::Hash(hash),
        };
        match self.dice.random_range(0..16) {
            0..2 => Question::Height,
            2..5 => Question::Block(at),
            5..7 => Question::Balance(at),
            7..9 => Question::Nonce(at),
            9..11 => Question::Count(at),
            11..13 => Question::Logs(some, None),
            13 => Question::Logs(some.saturating_sub(3).max(2), Some(some)),
            14 => match transactions.choose(&mut self.dice) {
                Some(hash) => Question::Receipt(hash.clone()),
                None => Question::Height,
            },
            _ => Question::Both,
        }
    }

    async fn ask(&self, question: &Question) -> Result<Value, String> {
        let (ringer, bell) = (&self.bell.ringer, &self.bell.address);
        let call = json!({"to": bell, "data": self.bell.rung});
        let hex = |number: &u64| format!("{number:#x}");
        let (method, params) = match question {
            Question::Height => ("eth_blockNumber", json!([])),
            Question::Block(At::Hash(hash)) => ("eth_getBlockByHash", json!([hash, false])),
            // blocks have no EIP-1898: the height as it is
            Question::Block(At::Height(height)) => ("eth_getBlockByNumber", json!([hex(height), false])),
            Question::Block(at) => ("eth_getBlockByNumber", json!([at.param(), false])),
            Question::Balance(at) => ("eth_getBalance", json!([ringer, at.param()])),
            Question::Nonce(at) => ("eth_getTransactionCount", json!([ringer, at.param()])),
            Question::Count(at) => ("eth_call", json!([call, at.param()])),
            Question::Logs(from, to) => {
                let to = to.as_ref().map_or_else(|| "latest".to_owned(), hex);
                ("eth_getLogs", json!([{"address": bell, "fromBlock": hex(from), "toBlock": to}]))
            }
            Question::Receipt(hash) => ("eth_getTransactionReceipt", json!([hash])),
            Question::Both => {
                return self.ask_both(&json!([ringer, "latest"]), &json!([call, "latest"])).await;
            }
        };
        self.rpc.call(method, params).await.map_err(|error| error.to_string())
    }

    async fn ask_both(&self, balance: &Value, count: &Value) -> Result<Value, String> {
        let batch = json!([
            {"jsonrpc": "2.0", "id": 0, "method": "eth_getBalance", "params": balance},
            {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": count},
        ]);
        let answer = self.rpc.send(batch.to_string().as_bytes()).await.map_err(|error| error.to_string())?;
        let items: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let result = |at: usize| items[at].get("result").cloned().ok_or_else(|| items.to_string());
        Ok(json!([result(0)?, result(1)?]))
    }

    fn learn(&mut self, read: &Read) {
        let Ok(answer) = &read.answer else { return };
        match read.question {
            Question::Height => self.known = self.known.max(number(answer)),
            Question::Block(At::Latest) if answer.is_object() => {
                self.known = self.known.max(number(&answer["number"]));
                let hash = answer["hash"].as_str().unwrap_or_default().to_owned();
                let transactions = answer["transactions"].as_array().into_iter().flatten();
                let transactions = transactions.filter_map(Value::as_str).map(str::to_owned).collect();
                if self.blocks.last().is_none_or(|(last, _)| *last != hash) {
                    self.blocks.push((hash, transactions));
                }
                let surplus = self.blocks.len().saturating_sub(BLOCKS_KEPT);
                self.blocks.drain(..surplus);
            }
            _ => {}
        }
    }
}

// === impl At ===

impl At {
    fn param(&self) -> Value {
        match self {
            At::Latest => json!("latest"),
            At::Number(number) => json!(format!("{number:#x}")),
            At::Height(number) => json!({"blockNumber": format!("{number:#x}")}),
            At::Hash(hash) => json!({"blockHash": hash}),
        }
    }
}
