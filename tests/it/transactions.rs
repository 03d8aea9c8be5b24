//! T10-T15: transactions through the real binary over real nodes, while nodes, pools and the proxy itself are lost.

mod held;
mod metamask;
mod outages;
mod private;
mod storm;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::lab::anvil::Lab;
use crate::lab::front::Front;
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc::{CallError, Rpc};

/// Four blocks a second.
const BLOCK_TIME: Duration = Duration::from_millis(250);
/// Everything is answered by then, or lost.
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

    fn address(&self) -> String {
        self.address.lock().unwrap().clone()
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

/// Which of them clients' reads go to.
async fn favourite(proxy: &Proxy, fronts: &[Front]) -> usize {
    for _ in 0..10 {
        proxy.rpc().call("eth_gasPrice", json!([])).await.expect("it answers");
    }
    let asked = |at: &usize| fronts[*at].count("eth_gasPrice");
    (0..fronts.len()).max_by_key(asked).expect("there are some")
}
