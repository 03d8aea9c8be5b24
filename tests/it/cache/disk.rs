//! K4: what is final is there after a restart, after a crash, and a broken file costs a warning.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{RICH, Stage};
use crate::lab::anvil::{Lab, PLAIN_CHAIN_ID};
use crate::lab::front::Front;
use crate::lab::proxy::Proxy;

/// anvil takes for final what is 64 blocks deep.
const DEEP: usize = 80;
/// What is asked of a final block.
const NUMBER: &str = "0x4";

/// A chain that is long enough, and a proxy before it that keeps on disk.
async fn stage(folder: &Path) -> Stage {
    let lab = Lab::start_on(1, PLAIN_CHAIN_ID).await;
    lab.mine(DEEP).await;
    let stage = Stage::start_over(lab, 1, &tables(folder)).await;
    knows_what_is_final(&stage).await;
    stage
}

fn tables(folder: &Path) -> String {
    format!("[cache]\ndisk = '{}'\ndisk_max = \"16MiB\"\n", folder.display())
}

async fn knows_what_is_final(stage: &Stage) {
    stage
        .until("it is known what is final", async || {
            stage.told("eth_getBlockByNumber", json!(["finalized", false])).await;
            stage.status().await["chains"][0]["follower"]["finalized"]
                .as_u64()
                .is_some_and(|number| number > 4)
        })
        .await;
}

fn questions() -> [(&'static str, Value); 3] {
    [
        ("eth_getBalance", json!([RICH, NUMBER])),
        ("eth_getBlockByNumber", json!([NUMBER, true])),
        ("eth_getLogs", json!([{"fromBlock": "0x2", "toBlock": NUMBER}])),
    ]
}

/// Asks until all of it lies on disk; what was told.
async fn kept(stage: &Stage) -> Vec<Value> {
    let mut told = Vec::new();
    for (method, params) in questions() {
        told.push(stage.told(method, params).await.0);
    }
    stage
        .until("it is written", async || {
            stage.status().await["cache"]["disk"]["entries"].as_u64() >= Some(questions().len() as u64)
        })
        .await;
    told
}

/// The proxy once more, over the same nodes.
async fn again(stage: Stage, folder: &Path, end: impl FnOnce(Proxy)) -> Stage {
    let Stage { lab, fronts, proxy } = stage;
    end(proxy);
    fronts.iter().for_each(Front::forget);
    let stage = Stage::start_over(lab, 1, &tables(folder)).await;
    knows_what_is_final(&stage).await;
    stage
}

async fn is_told_by_the_disk(stage: &Stage, told: &[Value]) {
    for ((method, params), told) in questions().into_iter().zip(told) {
        let again = stage.told(method, params).await;
        assert_eq!(again, (told.clone(), "cache".to_owned()), "{method}");
    }
    let disk = stage.status().await["cache"]["disk"].clone();
    assert_eq!(disk["hits"], questions().len(), "{disk}");
}

#[tokio::test]
async fn k4_what_is_final_survives_a_restart_and_a_crash() {
    let folder = TempDir::new().expect("a folder");
    let stage = stage(folder.path()).await;
    let told = kept(&stage).await;
    let stage = again(stage, folder.path(), |proxy| drop(proxy.stop())).await;
    is_told_by_the_disk(&stage, &told).await;
    let stage = again(stage, folder.path(), |proxy| drop(proxy.crash())).await;
    is_told_by_the_disk(&stage, &told).await;
}

#[tokio::test]
async fn k4_a_broken_file_costs_a_warning_and_not_a_start() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("answers.redb");
    let stage = stage(folder.path()).await;
    kept(&stage).await;
    let mut stage = stage;
    for broken in [b"no database at all".repeat(1000), Vec::new(), damaged(&file)] {
        stage = again(stage, folder.path(), |proxy| {
            proxy.stop();
            std::fs::write(&file, &broken).expect("it can be written");
        })
        .await;
        // It serves, and keeps anew.
        for (method, params) in questions() {
            let told = stage.told(method, params).await.0;
            assert!(told.get("error").is_none(), "{told}");
        }
        kept(&stage).await;
        let said = stage.proxy.said();
        assert!(broken.is_empty() || said.contains("cache on disk is broken"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// The file as it is, with its head destroyed.
fn damaged(file: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(file).expect("it is there");
    bytes.iter_mut().skip(9).take(300).for_each(|byte| *byte ^= 0x5a);
    bytes
}

#[tokio::test]
async fn k4_a_folder_that_another_process_uses_costs_a_warning() {
    let folder = TempDir::new().expect("a folder");
    let stage = stage(folder.path()).await;
    kept(&stage).await;
    let lab = stage.lab.clone();
    let second = Stage::start_over(lab, 1, &tables(folder.path())).await;
    second.until("it says so", async || second.proxy.said().contains("another process uses it")).await;
    assert!(second.told("eth_getBalance", json!([RICH, NUMBER])).await.0["result"].is_string());
    assert_eq!(second.status().await["cache"]["disk"]["out_of_use"], true);
    // And the first one goes on.
    assert_eq!(stage.told("eth_getBalance", json!([RICH, NUMBER])).await.1, "cache");
}
