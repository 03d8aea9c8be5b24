//! What clients are told of a chain, held against what is true of it: real nodes on one chain, a miner that no client
//! reaches, and three backends that hear of its blocks when the test says so.
//!
//! ```text
//! clients ──> proxy ──> front 0 ──> anvil 1 ┐
//!                  ├──> front 1 ──> anvil 2 ├── anvil 0, the miner: one ring of the bell a block
//!                  └──> front 2 ──> anvil 3 ┘
//! ```

mod feeds;
mod forks;
mod judge;
mod pushes;
mod reader;
mod reads;
mod truth;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::lab::anvil::Lab;
use crate::lab::bell::{Bell, Clock};
use crate::lab::front::Front;
use crate::lab::proxy::{Proxy, Settings};

/// Two blocks a second: as quick as a client can follow by asking, slow enough that every block is a block.
const BLOCK_TIME: Duration = Duration::from_millis(500);
/// The longest anything here waits for.
const PATIENCE: Duration = Duration::from_secs(30);

const ZERO_ADDRESS: &str = "0x0000000000000000000000000000000000000000";

/// The arrangement above; everything ends with it.
struct Stage {
    lab: Lab,
    bell: Bell,
    fronts: Vec<Front>,
    proxy: Proxy,
    clock: Option<Clock>,
}

// === impl Stage ===

impl Stage {
    /// `n` backends, each in a cloud of its own, and a chain that moves.
    async fn start(n: usize) -> Stage {
        Stage::start_with(n, |_| {}).await
    }

    /// The same, and every backend pushes its heads.
    async fn start_pushing(n: usize) -> Stage {
        Stage::start_with(n, |settings| {
            for backend in &mut settings.backends {
                backend.labels += &format!("ws = \"{}\"\n", backend.url.replace("http", "ws"));
            }
        })
        .await
    }

    async fn start_with(n: usize, change: impl FnOnce(&mut Settings)) -> Stage {
        Stage::start_over(Lab::start(n + 1).await, n, change).await
    }

    /// The same over nodes that are there already: the miner and `n` more.
    async fn start_over(lab: Lab, n: usize, change: impl FnOnce(&mut Settings)) -> Stage {
        let bell = Bell::hang(&lab).await;
        let mut fronts = Vec::new();
        for node in 1..=n {
            fronts.push(Front::of_node(&lab, node).await);
        }
        let clock = Some(bell.spawn_clock(BLOCK_TIME));
        let mut settings = Settings::over(&fronts);
        settings.chain_id = lab.chain_id();
        settings.chain = format!("block_time = \"{}ms\"\n", BLOCK_TIME.as_millis());
        change(&mut settings);
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        Stage { lab, bell, fronts, proxy, clock }
    }

    /// The node behind a front.
    fn node(&self, front: usize) -> usize {
        front + 1
    }

    /// The front that carried most of the clients' calls since the last `forget`.
    fn busiest(&self) -> usize {
        (0..self.fronts.len()).max_by_key(|i| self.served(*i)).expect("there are fronts")
    }

    /// How many calls of clients went through a front. The proxy's own light calls, by which a backend is to prove itself, are
    /// about the zero address; no reader asks for that.
    fn served(&self, front: usize) -> usize {
        let methods = ["eth_getBalance", "eth_getTransactionCount", "eth_call", "eth_getLogs"];
        let is_own = |body: &[u8]| String::from_utf8_lossy(body).contains(ZERO_ADDRESS);
        self.fronts[front]
            .seen()
            .iter()
            .filter(|seen| !is_own(&seen.body))
            .flat_map(|seen| &seen.methods)
            .filter(|method| methods.contains(&method.as_str()))
            .count()
    }

    fn forget(&self) {
        self.fronts.iter().for_each(Front::forget);
    }

    /// Stops the clock after the tick under way.
    async fn stop_clock(&mut self) {
        if let Some(clock) = self.clock.take() {
            clock.stop().await;
        }
    }

    fn start_clock(&mut self) {
        self.clock = Some(self.bell.spawn_clock(BLOCK_TIME));
    }

    /// What `/status` says of the chain.
    async fn status(&self) -> Value {
        let status: Value = serde_json::from_slice(&self.proxy.get("/status").await.body).expect("JSON");
        status["chains"][0].clone()
    }

    /// The word that `/status` has for a backend.
    async fn state(&self, front: usize) -> String {
        self.status().await["backends"][front]["state"].as_str().expect("a state").to_owned()
    }

    /// Looks again and again until `wanted` holds.
    async fn until(&self, what: &str, mut wanted: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted().await {
            assert!(
                Instant::now() < end,
                "in vain: {what}\n{:#}\n{}",
                self.status().await,
                self.proxy.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
