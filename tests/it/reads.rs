//! Reads whose first backend fails, one way after the other: what the client sees, and who was asked.
//!
//! A primary that fails and a backup that does not make the order certain, so that calls can be counted. Methods
//! that the proxy itself asks (`eth_chainId`, `eth_blockNumber`) are not the ones that are counted.

mod batches;
mod domains;
mod failover;
mod fleet;
mod limits;
mod outages;
mod recovery;
mod tls;
mod verdicts;

use serde_json::{Value, json};

use crate::lab::front::Front;
use crate::lab::proxy::{Proxy, Settings};

/// The call that is watched, and its good answer.
const WATCHED: &str = "eth_gasPrice";
const GOOD: &str = "0x3b9aca00";

/// A backend of the laboratory's chain that knows a few answers.
async fn backend() -> Front {
    Front::table(json!({
        "eth_chainId": "0x7a69",
        "eth_blockNumber": "0x10",
        WATCHED: GOOD,
        "eth_getBalance": "0xde0b6b3a7640000",
        "eth_getTransactionReceipt": null,
        "eth_getBlockByHash": null,
        "eth_getLogs": [],
        "eth_getCode": "0x",
    }))
    .await
}

/// A primary, a backup, and the proxy before them.
struct Pair {
    primary: Front,
    backup: Front,
    proxy: Proxy,
}

impl Pair {
    async fn start() -> Pair {
        Pair::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Settings)) -> Pair {
        let (primary, backup) = (backend().await, backend().await);
        let mut settings = Settings::over(&[primary.clone(), backup.clone()]);
        settings.backends[1].labels += "tier = \"backup\"\n";
        // A hedge would be a further call: the machine that runs this may be slow.
        // What is asked alike is to be asked as often as it is: it is calls that are counted.
        settings.tables =
            "[cache]\nmemory = \"0\"\ncoalesce = false\n[routing]\nhedging = false\n".to_owned();
        change(&mut settings);
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        Pair { primary, backup, proxy }
    }

    /// How often primary and backup were asked for the watched method.
    fn asked(&self) -> (usize, usize) {
        (self.primary.count(WATCHED), self.backup.count(WATCHED))
    }
}

/// One call through the proxy, its answer parsed; HTTP 200 whatever became of it.
async fn call(proxy: &Proxy, method: &str, params: Value) -> Value {
    let answer = proxy
        .post(&json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).to_string())
        .await;
    assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer["id"], "x", "{answer}");
    answer
}

async fn watched(proxy: &Proxy) -> Value {
    call(proxy, WATCHED, json!([])).await
}

/// What `/status` says of a backend.
async fn status_of(proxy: &Proxy, backend: &str) -> Value {
    let status: Value = serde_json::from_slice(&proxy.get("/status").await.body).expect("JSON");
    let backends = status["chains"][0]["backends"].as_array().expect("backends").clone();
    backends.into_iter().find(|b| b["name"] == backend).expect("the backend is listed")
}

/// Asks until `wanted` holds; the proxy looks after its backends in the background.
async fn until(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !wanted().await {
        assert!(tokio::time::Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
