//! T1, T12, T13: MetaMask's own TransactionController signs, publishes and follows through the proxy.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::lab::anvil::{Lab, Standing};
use crate::lab::clients::clients;
use crate::lab::front::{Fault, Front};
use crate::lab::leash::Leash;
use crate::lab::proxy::{Proxy, Settings};

use super::{BLOCK_TIME, favourite};

/// Starting Node and everything MetaMask loads, on a busy machine, and the transactions.
const LIMIT: Duration = Duration::from_secs(90);
const SUBMIT: &str = "eth_sendRawTransaction";

/// What MetaMask made of its transactions.
struct Told {
    /// How many came to each status.
    statuses: HashMap<String, u64>,
    troubles: u64,
    text: String,
}

impl Told {
    fn came_to(&self, status: &str) -> u64 {
        self.statuses.get(status).copied().unwrap_or_default()
    }

    fn all_were_confirmed(&self, count: u64) {
        assert_eq!(self.came_to("submitted"), count, "{}", self.text);
        assert_eq!(self.came_to("confirmed"), count, "{}", self.text);
        assert_eq!(self.came_to("dropped") + self.came_to("failed"), 0, "{}", self.text);
        assert_eq!(self.troubles, 0, "MetaMask had to help itself: {}", self.text);
    }
}

async fn metamask_sends(proxy: &Proxy, count: u64) -> Told {
    let script = clients().scripts.join("metamask/send.mjs").to_string_lossy().into_owned();
    let args = [script, proxy.url(), "--account".into(), "5".into(), "--count".into(), count.to_string()];
    let mut process = Leash::start(std::path::Path::new("node"), &args, &[]).expect("run tests/run");
    tokio::task::spawn_blocking(move || {
        let status = process.wait(LIMIT);
        let last = process.said().find(Duration::from_secs(2), |line| {
            serde_json::from_str::<Value>(line).ok().filter(|told| told["client"].is_string())
        });
        let text = process.said().text();
        let last = last.unwrap_or_else(|| panic!("MetaMask told nothing ({status:?}): {text}"));
        let statuses = serde_json::from_value(last["statuses"].clone()).expect("numbers");
        Told { statuses, troubles: last["troubles"].as_u64().expect("a number"), text }
    })
    .await
    .expect("no panic")
}

/// Three nodes on a chain that moves, behind a front each.
async fn three() -> (Lab, Vec<Front>) {
    let lab = Lab::start(3).await;
    let mut fronts = Vec::new();
    for node in 0..3 {
        fronts.push(Front::of_node(&lab, node).await);
    }
    lab.mine(4).await;
    (lab, fronts)
}

/// T1: asked one after the other, and all at once.
#[tokio::test(flavor = "multi_thread")]
async fn t1_taken_and_cut_off_then_already_known_is_submitted_and_confirmed_for_metamask() {
    for fanout in [1, 3] {
        let (lab, fronts) = three().await;
        let ticker = lab.spawn_ticker(BLOCK_TIME);
        let mut settings = Settings::over(&fronts);
        settings.tables = format!("[transactions]\nfanout = {fanout}\n");
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        // The one that is asked first takes the bytes and hangs up; whoever is asked next has them already.
        let first = &fronts[favourite(&proxy, &fronts).await];
        for front in &fronts {
            front.set(Fault::rpc_error(-32000, "already known").only(&[SUBMIT])).await;
        }
        first.set(Fault::CutAfter(0).only(&[SUBMIT])).await;
        let told = metamask_sends(&proxy, 2).await;
        told.all_were_confirmed(2);
        assert!(first.count(SUBMIT) > 0, "nobody hung up: {}", told.text);
        let others = fronts.iter().filter(|front| front.address() != first.address());
        assert!(others.map(|front| front.count(SUBMIT)).sum::<usize>() > 0, "nobody knew: {}", told.text);
        ticker.stop().await;
    }
}

/// T13: the backend that is asked first has the blocks and not their receipts, the next is three blocks behind, the third is
/// fresh. Over the first alone MetaMask calls them dropped.
#[tokio::test(flavor = "multi_thread")]
async fn t13_metamask_never_calls_a_transaction_dropped_while_backends_lag() {
    let (lab, fronts) = three().await;
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    let mut proxy = Proxy::start(&Settings::over(&fronts)).await;
    proxy.ready().await;
    let first = favourite(&proxy, &fronts).await;
    fronts[first].set(Fault::NullResult.only(&["eth_getTransactionReceipt"])).await;
    lab.stand((first + 1) % 3, Standing::Behind(3)).await;
    let told = metamask_sends(&proxy, 8).await;
    told.all_were_confirmed(8);
    assert!(fronts[first].hits() > 0, "nobody asked the one without receipts: {}", told.text);
    ticker.stop().await;
}
