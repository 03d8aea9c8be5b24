//! Clients that listen: the scripts of `tests/clients/feeds` as child processes, and what they were told.
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::clients::{alloy, clients};
use super::leash::Leash;

/// Starting Node or Python and subscribing, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A client that listens for blocks and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// viem over WebSocket: `watchBlocks`, `watchEvent`.
    Viem,
    /// ethers over WebSocket; its block event tells numbers only.
    Ethers,
    /// web3.py over WebSocket.
    Web3py,
    /// alloy over WebSocket.
    Alloy,
    /// viem over HTTP, by a block filter and a log filter; it tells hashes of blocks only.
    ViemFilters,
    /// ethers over HTTP, by a log filter; it tells logs only.
    EthersFilter,
}

/// A client at work; it ends when this is dropped.
pub struct Listener {
    pub feed: Feed,
    process: Leash,
}

/// Something that a client handed to its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// As much of number and hash as the client tells.
    Block {
        number: Option<u64>,
        hash: Option<String>,
    },
    Log {
        block: String,
        transaction: String,
        removed: bool,
    },
    Error(String),
}

// === impl Feed ===

impl Feed {
    /// Those that subscribe.
    pub const SOCKETS: [Feed; 4] = [Feed::Viem, Feed::Ethers, Feed::Web3py, Feed::Alloy];
    /// Those that poll filters.
    pub const FILTERS: [Feed; 2] = [Feed::ViemFilters, Feed::EthersFilter];

    /// Starts the client against `host:port`, listening to this contract, and waits until it does.
    pub async fn start(self, address: &str, contract: &str) -> Listener {
        let found = clients();
        let script = |name: &str| found.scripts.join("feeds").join(name).to_string_lossy().into_owned();
        let node = || PathBuf::from("node");
        let (program, script, client) = match self {
            Feed::Viem => (node(), Some(script("viem.mjs")), None),
            Feed::Ethers => (node(), Some(script("ethers.mjs")), None),
            Feed::Web3py => (found.python.clone(), Some(script("web3py.py")), None),
            Feed::Alloy => (alloy("alloy-feed"), None, None),
            Feed::ViemFilters => (node(), Some(script("polls.mjs")), Some("viem")),
            Feed::EthersFilter => (node(), Some(script("polls.mjs")), Some("ethers")),
        };
        let scheme = if Feed::SOCKETS.contains(&self) { "ws" } else { "http" };
        let mut args: Vec<String> = script.into_iter().collect();
        args.extend([format!("{scheme}://{address}/"), "--contract".into(), contract.into()]);
        args.extend(client.iter().flat_map(|client| ["--client".to_owned(), (*client).to_owned()]));
        let process = Leash::start(&program, &args, &[]);
        let process = process.unwrap_or_else(|e| panic!("{self:?} does not start ({e}): run tests/run"));
        let said = process.said().clone();
        let is_up = |line: &str| parse(line).filter(|told| told["up"] == true).map(|_| ());
        let up =
            tokio::task::spawn_blocking(move || said.find(START_LIMIT, is_up).ok_or_else(|| said.text()));
        if let Err(text) = up.await.expect("waiting does not panic") {
            panic!("{self:?} does not listen:\n{text}");
        }
        Listener { feed: self, process }
    }
}

// === impl Listener ===

impl Listener {
    /// All that it was told so far. What is no line of the script's own is an error.
    pub fn heard(&self) -> Vec<Heard> {
        self.process.said().text().lines().filter_map(heard).collect()
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
}

fn heard(line: &str) -> Option<Heard> {
    let Some(told) = parse(line) else { return Some(Heard::Error(line.to_owned())) };
    let text = |key: &str| told[key].as_str().map(str::to_owned);
    match () {
        () if told["up"] == true => None,
        () if told.get("log").is_some() => Some(Heard::Log {
            block: text("hash").unwrap_or_default(),
            transaction: text("log").unwrap_or_default(),
            removed: told["removed"] == true,
        }),
        () if told.get("block").is_some() => {
            Some(Heard::Block { number: told["block"].as_u64(), hash: text("hash") })
        }
        () => Some(Heard::Error(line.to_owned())),
    }
}
