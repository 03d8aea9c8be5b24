//! What subscribers cost: `cargo bench --bench websocket -- [--clients 1000] [--blocks 30]`.
//!
//! The binary over one fixture backend that makes a block a second with four logs in it. Every client is a real
//! WebSocket with a `newHeads` and a `logs` subscription. Measured are the binary's memory for each of them, and how
//! long after the backend gave the header, or the logs, each client has them. Backend and clients live in this process
//! and share the machine with the proxy. Both sides need a descriptor for each client: `ulimit -n`.
use std::collections::HashMap;
use std::convert::Infallible;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, keccak256};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const LOGS_A_BLOCK: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// The fixture's chain: what it answers, and when it first did.
#[derive(Default)]
struct Node {
    blocks: Vec<Made>,
}

struct Made {
    header: Value,
    hash: B256,
    logs: Value,
    header_given_at: Option<Instant>,
    logs_given_at: Option<Instant>,
    logs_asked: usize,
}

impl Node {
    fn mine(&mut self) {
        let number = self.blocks.len() as u64;
        let address = Address::repeat_byte(0xaa);
        let topics =
            [keccak256("Transfer(address,address,uint256)"), B256::repeat_byte(1), B256::repeat_byte(2)];
        let mut logs_bloom = Bloom::ZERO;
        logs_bloom.accrue_raw_log(address, &topics);
        let since_1970 =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let header = Header {
            number,
            parent_hash: self.blocks.last().map_or(B256::ZERO, |parent| parent.hash),
            timestamp: since_1970.as_secs(),
            gas_limit: 30_000_000,
            logs_bloom,
            base_fee_per_gas: Some(7),
            ..Header::default()
        };
        let hash = header.hash_slow();
        let log = |at: usize| {
            json!({
                "address": address, "topics": topics, "data": format!("0x{}", "00".repeat(32)),
                "blockNumber": format!("{number:#x}"), "blockHash": hash, "logIndex": format!("{at:#x}"),
                "transactionHash": B256::repeat_byte(3), "transactionIndex": "0x0", "removed": false,
            })
        };
        let logs = (0..LOGS_A_BLOCK).map(log).collect();
        let mut header = serde_json::to_value(header).expect("a header");
        header["hash"] = json!(hash);
        header["transactions"] = json!([]);
        let made = Made { header, hash, logs, header_given_at: None, logs_given_at: None, logs_asked: 0 };
        self.blocks.push(made);
    }

    fn answer(&mut self, call: &Value) -> Value {
        let now = Instant::now();
        let last = self.blocks.len() - 1;
        let of_hash =
            |blocks: &[Made], hash: &Value| blocks.iter().position(|made| json!(made.hash) == *hash);
        let params = &call["params"];
        match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!("0x1"),
            "eth_blockNumber" => json!(format!("{last:#x}")),
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                let at = match params[0].as_str().unwrap_or_default() {
                    "latest" => Some(last),
                    "safe" | "finalized" => Some(0),
                    text if text.len() == 66 => of_hash(&self.blocks, &params[0]),
                    text => usize::from_str_radix(text.trim_start_matches("0x"), 16).ok(),
                };
                let Some(made) = at.and_then(|at| self.blocks.get_mut(at)) else { return Value::Null };
                made.header_given_at.get_or_insert(now);
                made.header.clone()
            }
            "eth_getLogs" => {
                let at = of_hash(&self.blocks, &params[0]["blockHash"]);
                let Some(made) = at.and_then(|at| self.blocks.get_mut(at)) else { return json!([]) };
                made.logs_given_at.get_or_insert(now);
                made.logs_asked += 1;
                made.logs.clone()
            }
            _ => json!("0x0"),
        }
    }
}

async fn serve(node: Arc<Mutex<Node>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let node = node.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let node = node.clone();
                async move {
                    let body =
                        request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let mut node = node.lock().expect("no holder panics");
                    let mut answer = |call: &Value| json!({ "jsonrpc": "2.0", "id": call["id"], "result": node.answer(call) });
                    let answer = match &asked {
                        Value::Array(calls) => calls.iter().map(&mut answer).collect(),
                        call => answer(call),
                    };
                    let body = Full::new(Bytes::from(answer.to_string()));
                    let answer =
                        hyper::Response::builder().header("content-type", "application/json").body(body);
                    Ok::<_, Infallible>(answer.expect("a response"))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// The binary; it ends with this.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    async fn start(backend: &str, home: &std::path::Path) -> (Self, String) {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let file = home.join("outrigger.toml");
        let config = format!(
            "[server]\nlisten = \"{address}\"\nmax_connections = 20000\n[chains.mainnet]\nblock_time = \"1s\"\n\
             [[chains.mainnet.backends]]\nname = \"fixture\"\nurl = \"http://{backend}\"\nprobe_budget = \"100/s\"\n"
        );
        std::fs::write(&file, config).expect("the temporary folder can be written");
        let binary =
            std::env::var_os("OUTRIGGER_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_outrigger").into());
        let child = Command::new(binary)
            .arg("--config")
            .arg(&file)
            .args(["--log", "warn"])
            .env("HOME", home)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let proxy = Self(child);
        let end = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(Instant::now() < end, "it does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        (proxy, address)
    }

    /// Memory in KiB that is resident now.
    fn rss_kib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(f64::NAN)
    }

    /// Processor time in seconds, of all its threads.
    fn cpu_s(&self) -> f64 {
        const TICKS_PER_S: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks =
            after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS_PER_S
    }
}

/// What a client got: a header or a log of this block, when.
struct Got {
    is_log: bool,
    number: u64,
    at: Instant,
}

async fn client(address: String, ready: mpsc::Sender<()>, got: mpsc::UnboundedSender<Got>) {
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let url = format!("ws://{address}/");
    let (mut socket, _) = connect_async_with_config(url, Some(config), true).await.expect("it connects");
    for params in [json!(["newHeads"]), json!(["logs", { "address": Address::repeat_byte(0xaa) }])] {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": params });
        socket.send(Message::text(call.to_string())).await.expect("it is sent");
    }
    let mut answers = 0;
    while let Some(Ok(message)) = socket.next().await {
        let at = Instant::now();
        let Message::Text(text) = message else { continue };
        if text.contains("\"id\":1") {
            answers += 1;
            if answers == 2 {
                let _ = ready.send(()).await;
            }
            continue;
        }
        let is_log = text.contains("\"blockNumber\":\"");
        let member = if is_log { "\"blockNumber\":\"0x" } else { "\"number\":\"0x" };
        let number = text.split_once(member).and_then(|(_, rest)| rest.split('"').next());
        let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        let _ = got.send(Got { is_log, number, at });
    }
}

fn argument(name: &str, default: usize) -> usize {
    let given: Vec<String> = std::env::args().collect();
    let at = given.iter().position(|arg| arg == name);
    at.and_then(|at| given.get(at + 1)?.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let (clients, blocks) = (argument("--clients", 1000), argument("--blocks", 30) as u64);
    let home = tempfile::tempdir().expect("a temporary folder");
    let node = Arc::new(Mutex::new(Node::default()));
    node.lock().expect("no holder panics").mine();
    let (proxy, address) = Proxy::start(&serve(node.clone()).await, home.path()).await;
    let (ready, mut is_ready) = mpsc::channel(clients.max(1));
    let (got, mut all_got) = mpsc::unbounded_channel();
    // One client first: what the first connection of all costs is not what each costs.
    tokio::spawn(client(address.clone(), ready.clone(), got.clone()));
    is_ready.recv().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        node.lock().expect("no holder panics").mine();
    }
    let before = proxy.rss_kib();
    for _ in 1..clients {
        tokio::spawn(client(address.clone(), ready.clone(), got.clone()));
        sleep(Duration::from_millis(2)).await;
    }
    for _ in 1..clients {
        timeout(PATIENCE, is_ready.recv()).await.expect("all subscribe in time");
    }
    sleep(Duration::from_secs(2)).await;
    let idle = proxy.rss_kib();
    let (cpu_before, first) = (proxy.cpu_s(), node.lock().expect("no holder panics").blocks.len() as u64);
    for _ in 0..blocks {
        node.lock().expect("no holder panics").mine();
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let (cpu, busy) = (proxy.cpu_s() - cpu_before, proxy.rss_kib());
    let node = node.lock().expect("no holder panics");
    let (mut headers, mut logs, mut counts) = (Vec::new(), Vec::new(), HashMap::<(bool, u64), usize>::new());
    while let Ok(Got { is_log, number, at }) = all_got.try_recv() {
        if number < first {
            continue;
        }
        let made = &node.blocks[number as usize];
        let given = if is_log { made.logs_given_at } else { made.header_given_at };
        let took = at - given.expect("it was given");
        if is_log {
            logs.push(took)
        } else {
            headers.push(took)
        }
        *counts.entry((is_log, number)).or_default() += 1;
    }
    let measured = first..first + blocks;
    let is_whole = measured.clone().all(|number| {
        counts.get(&(false, number)) == Some(&clients)
            && counts.get(&(true, number)) == Some(&(clients * LOGS_A_BLOCK))
    });
    for number in measured.clone() {
        let got = |is_log| counts.get(&(is_log, number)).copied().unwrap_or_default();
        if (got(false), got(true)) != (clients, clients * LOGS_A_BLOCK) {
            println!("block {number}: {} headers, {} logs", got(false), got(true));
        }
    }
    let asked: usize = measured.map(|number| node.blocks[number as usize].logs_asked).sum();
    println!(
        "{clients} clients, each with newHeads and logs; {blocks} blocks with {LOGS_A_BLOCK} logs, one a second"
    );
    println!("every client has every header and log exactly once: {is_whole}");
    println!("eth_getLogs at the backend: {asked} for {blocks} blocks");
    println!(
        "memory a client: {:.1} KiB idle, {:.1} KiB after {blocks} blocks (whole process {:.0} MiB)",
        (idle - before) / (clients as f64 - 1.0),
        (busy - before) / (clients as f64 - 1.0),
        busy / 1024.0
    );
    for (what, delays) in [("header", &mut headers), ("log", &mut logs)] {
        delays.sort();
        let at = |share: f64| {
            let place = ((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1));
            delays.get(place).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1000.0)
        };
        println!(
            "{what} at a client after the backend gave it: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    println!("processor time of the proxy: {:.0} ms a block", cpu * 1000.0 / blocks as f64);
}
