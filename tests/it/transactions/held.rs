//! T14: what waits until a way is back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::anvil::{Lab, number};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Settings, binary};

use super::{BLOCK_TIME, Site, ask, signed};

#[tokio::test]
async fn t14_what_is_held_is_listed_can_be_taken_back_and_goes_out_in_order_when_a_way_is_back() {
    let lab = Lab::start(1).await;
    let front = Front::of_node(&lab, 0).await;
    lab.mine(2).await;
    let ticker = lab.spawn_ticker(BLOCK_TIME);
    let mut settings = Settings::over(std::slice::from_ref(&front));
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("held");
    settings.tables = format!(
        "[transactions]\njournal = '{}'\nwhen_unreachable = \"hold\"\n[routing]\ndeadline = \"1s\"\n",
        journal.display()
    );
    let site = Site::start(&settings).await;
    ask(&site, "eth_getBalance", json!(["0x00000000000000000000000000000000000000aa", "latest"])).await;
    let accounts = lab.rpc(0, "eth_accounts", json!([])).await.expect("dev accounts");
    let from = accounts[0].as_str().expect("an address").to_owned();
    let mut raws = Vec::new();
    for nonce in 0..3 {
        raws.push(signed(&lab, &from, nonce).await);
    }
    front.set(Fault::Refuse).await;
    let tx = |args: &[&str]| {
        let file = site.folder().join("outrigger.toml");
        let output = std::process::Command::new(binary())
            .arg("tx")
            .args(args)
            .args(["--config", &file.to_string_lossy(), "--log", "error"])
            .env("HOME", folder.path())
            .output()
            .expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    // The last one first, then the first one: T15, the one between is missing.
    let mut hashes = Vec::new();
    for at in [2, 0, 1] {
        let hash = site.call("eth_sendRawTransaction", json!([raws[at]])).await.expect("it is held");
        hashes.push(hash.as_str().expect("a hash").to_owned());
        if at == 0 {
            assert!(tx(&["list"]).1.contains("waits for nonce 1"), "{}", tx(&["list"]).1);
            let listed: Value = serde_json::from_str(&tx(&["list", "--json"]).1).expect("JSON");
            let last = listed.as_array().expect("a list").iter().find(|one| one["nonce"] == 2);
            assert_eq!(last.map(|last| &last["waits_for_nonce"]), Some(&json!(1)), "{listed}");
            let status = crate::lab::rpc::get(&site.address(), "/status").await.expect("it answers");
            let status: Value = serde_json::from_slice(&status.body).expect("JSON");
            assert_eq!(status["chains"][0]["transactions_behind_a_gap"], 1);
        }
    }
    assert!(!tx(&["list"]).1.contains("waits for"), "{}", tx(&["list"]).1);
    let (_, listed, _) = tx(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let states: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["held", "held", "held"], "{listed}");
    // The last one, which nothing builds on.
    let url = format!("http://{}", site.address());
    let (done, _, said) = tx(&["cancel-hold", &hashes[0], "--url", &url]);
    assert!(done, "{}", String::from_utf8_lossy(&said));
    assert!(!tx(&["cancel-hold", &hashes[0], "--url", &url]).0, "once is enough");
    site.crash().await;
    front.heal().await;
    let end = Instant::now() + Duration::from_secs(30);
    for hash in &hashes[1..] {
        while lab.rpc(0, "eth_getTransactionReceipt", json!([hash])).await.expect("it answers").is_null() {
            assert!(Instant::now() < end, "{hash} is held and not delivered\n{}", site.said());
            sleep(Duration::from_millis(50)).await;
        }
    }
    let (_, exported, _) = tx(&["export", "--all"]);
    assert!(raws.iter().all(|raw| exported.contains(raw.as_str())), "{exported}");
    lab.mine(4).await;
    let mined = lab.rpc(0, "eth_getTransactionCount", json!([from, "latest"])).await.expect("it answers");
    assert_eq!(number(&mined), 2, "what was taken back is not sent");
    let (_, shown, _) = tx(&["show", &hashes[0]]);
    assert!(shown.contains("cancelled"), "{shown}");
    ticker.stop().await;
}
