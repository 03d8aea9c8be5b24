//! `outrigger --simulate`: real wallets over simulated clouds, with no node and no network at all.
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::clients::clients;
use crate::lab::leash::Leash;
use crate::lab::rpc::{self, Rpc};

/// For everything that must happen and has no time of its own; a busy machine needs it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first account's key, which the banner prints and everybody knows.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// The binary, simulating.
pub struct Simulated {
    process: Leash,
    pub address: String,
    _home: tempfile::TempDir,
}

fn outrigger(args: &[&str], home: &tempfile::TempDir) -> Leash {
    let binary = std::env::var_os("OUTRIGGER_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_outrigger")), PathBuf::from);
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let home = ("HOME".to_owned(), home.path().to_string_lossy().into_owned());
    Leash::start(&binary, &args, &[home]).expect("the binary can be executed")
}

impl Simulated {
    pub async fn start(more: &[&str]) -> Simulated {
        let home = tempfile::tempdir().expect("a temporary folder");
        let args = [&["--simulate", "--listen", "127.0.0.1:0"], more].concat();
        let process = outrigger(&args, &home);
        let address = |line: &str| Some(line.split_once("listens on http://")?.1.trim().to_owned());
        let address = process.said().find(PATIENCE, address).expect("it says where it listens");
        let simulated = Simulated { process, address, _home: home };
        simulated.until("a backend is usable", |status| status["ready"] == true).await;
        simulated
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn rpc(&self) -> Rpc {
        Rpc::new(&self.address)
    }

    /// Waits until `/status` shows it.
    async fn until(&self, what: &str, shows: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = rpc::get(&self.address, "/status").await.expect("it answers");
            let status: Value = serde_json::from_slice(&answer.body).expect("JSON");
            if shows(&status) {
                return;
            }
            assert!(Instant::now() < end, "not seen: {what}\n{status:#}\n{}", self.process.said().text());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn says(&self, words: &str) {
        let found = self.process.said().find(PATIENCE, |line| line.contains(words).then_some(()));
        assert!(found.is_some(), "it does not say `{words}`:\n{}", self.process.said().text());
    }
}

/// A wallet's script, `seconds` long; what it told.
fn script(program: &Path, name: &str, url: &str, account: u32, seconds: u32) -> Leash {
    let script = clients().scripts.join("wallets").join(name).to_string_lossy().into_owned();
    let (account, seconds) = (account.to_string(), seconds.to_string());
    let args = [&script, url, "--account", &account, "--seconds", &seconds].map(str::to_owned);
    Leash::start(program, &args, &[]).expect("the wallet starts")
}

fn told(mut wallet: Leash) -> Value {
    let line =
        |line: &str| serde_json::from_str::<Value>(line).ok().filter(|told| told["client"].is_string());
    let told = wallet.said().find(Duration::from_secs(75), line);
    let told = told.unwrap_or_else(|| panic!("it told nothing:\n{}", wallet.said().text()));
    assert!(wallet.wait(PATIENCE).is_some(), "it does not end");
    told
}

/// Runs cast once; its output.
fn cast(url: &str, args: &[&str]) -> Result<String, String> {
    let output = std::process::Command::new(&clients().cast)
        .args(args)
        .env("ETH_RPC_URL", url)
        .env("NO_COLOR", "1")
        .output()
        .expect("cast can be executed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// R2, T8, T12, T13, C1, C2: a cloud dies, later another, and no wallet sees more than its transfers confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn wallets_send_and_see_it_confirmed_while_clouds_are_killed() {
    let simulated = Simulated::start(&["--kill", "aws@3s..9s", "--kill", "metal/fra@11s"]).await;
    let url = simulated.url();
    let viem = script(Path::new("node"), "transfer.mjs", &url, 1, 14);
    let web3py = script(&clients().python, "transfer.py", &url, 2, 14);
    let by_cast = tokio::task::spawn_blocking(move || {
        let mut sent = 0;
        let end = std::time::Instant::now() + Duration::from_secs(14);
        while std::time::Instant::now() < end {
            let args = ["send", OTHER, "--value", "1gwei", "--private-key", KEY, "--timeout", "15", "--json"];
            let receipt: Value = serde_json::from_str(&cast(&url, &args)?).map_err(|e| e.to_string())?;
            let hash = receipt["transactionHash"].as_str().ok_or("no hash")?;
            let status = cast(&url, &["receipt", hash, "status"])?;
            if !status.contains("true") && !status.starts_with('1') {
                return Err(format!("status {status}"));
            }
            cast(&url, &["balance", ADDRESS])?;
            sent += 1;
        }
        Ok::<u64, String>(sent)
    });
    let is = |name: &'static str, state: &'static str| {
        move |status: &Value| {
            let backends = status["chains"][0]["backends"].as_array().cloned().unwrap_or_default();
            backends.iter().any(|b| b["name"] == name && b["state"] == state)
        }
    };
    simulated.until("aws is down", is("simulated-aws", "down")).await;
    simulated.says("simulation: aws is gone (simulated-aws)");
    simulated.until("aws is back", is("simulated-aws", "ok")).await;
    simulated.says("simulation: aws is back (simulated-aws)");
    simulated.until("metal is down", is("simulated-metal", "down")).await;
    let days = tokio::task::spawn_blocking(move || [viem, web3py].map(told));
    for told in days.await.expect("the wallets told") {
        assert_eq!(told["error_count"], 0, "{told:#}\n{}", simulated.process.said().text());
        assert!(told["sends"].as_u64() >= Some(4), "{told:#}");
    }
    let sent = by_cast.await.expect("cast ran").unwrap_or_else(|error| panic!("cast: {error}"));
    assert!(sent >= 3, "cast sent {sent}");
}

/// A transaction that was signed for the simulation is worthless elsewhere, and the reverse.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_for_another_chain_is_refused_and_so_are_contracts() {
    let simulated = Simulated::start(&[]).await;
    let url = simulated.url();
    let fixed =
        ["--nonce", "0", "--gas-limit", "21000", "--gas-price", "2gwei", "--priority-gas-price", "1gwei"];
    let signed = |more: &[&str]| {
        let args = [&["mktx", "--private-key", KEY][..], &fixed, more].concat();
        cast(&url, &args).unwrap_or_else(|error| panic!("cast mktx: {error}"))
    };
    let foreign = signed(&["--chain", "1", OTHER, "--value", "1"]);
    let creation = signed(&["--chain", "31337", "--create", "0x00"]);
    let rpc = simulated.rpc();
    for (raw, expected) in [(foreign, "31337"), (creation, "runs no contracts")] {
        let error = rpc.call("eth_sendRawTransaction", json!([raw])).await.expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let nonce = rpc.call("eth_getTransactionCount", json!([ADDRESS, "pending"])).await.expect("a nonce");
    assert_eq!(nonce, "0x0", "neither went through");
    let own = signed(&["--chain", "31337", OTHER, "--value", "1"]);
    rpc.call("eth_sendRawTransaction", json!([own])).await.expect("its own is taken");
}

#[tokio::test]
async fn the_banner_says_that_it_is_a_simulation_and_whose_keys_these_are() {
    let simulated = Simulated::start(&["--kill", "simulated-gcp@1h..2h"]).await;
    for words in [
        "SIMULATED",
        ADDRESS,
        KEY,
        "public keys",
        "chain id 31337",
        "simulated-gcp goes at 1h and is back at 2h",
    ] {
        simulated.says(words);
    }
    let version = simulated.rpc().call("web3_clientVersion", json!([])).await.expect("a version").to_string();
    assert!(version.contains("simulation"), "{version}");
}

#[tokio::test]
async fn a_kill_that_hits_nobody_is_wrong_usage_and_names_what_can_be_killed() {
    let table: [(&[&str], &[&str]); 6] = [
        (
            &["--simulate", "--kill", "azure@3s"],
            &["azure", "simulated-aws", "aws", "gcp/us-central1", "metal"],
        ),
        (&["--simulate", "--kill", "aws"], &["NAME@TIME", "aws@20s..40s"]),
        (&["--simulate", "--kill", "aws@9s..3s"], &["earlier time first"]),
        (&["--kill", "aws@3s"], &["--simulate"]),
        (&["--simulate", "--block-time", "10ms"], &["1s to 60s"]),
        (&["--simulate", "--config", "/nowhere/outrigger.toml"], &["/nowhere/outrigger.toml"]),
    ];
    for (args, expected) in table {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut process = outrigger(args, &home);
        let status = process.wait(PATIENCE).and_then(|status| status.code());
        for words in expected {
            let found =
                process.said().find(Duration::from_secs(2), |line| line.contains(words).then_some(()));
            assert!(found.is_some(), "{args:?} does not say `{words}`:\n{}", process.said().text());
        }
        assert_eq!(status, Some(2), "{args:?}\n{}", process.said().text());
    }
}

/// One's own fleet can be rehearsed: its names, its labels, simulated.
#[tokio::test]
async fn a_configurations_backends_are_simulated_under_their_own_names() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("own.toml");
    let toml = "[[chains.mainnet.backends]]\nname = \"one\"\nurl = \"https://one.invalid/KEY\"\ncloud = \"aws\"\n\
                [[chains.mainnet.backends]]\nname = \"two\"\nurl = \"https://two.invalid/KEY\"\ncloud = \"gcp\"\n";
    std::fs::write(&file, toml).expect("the folder can be written");
    let simulated = Simulated::start(&["--config", &file.to_string_lossy(), "--kill", "aws@0s"]).await;
    simulated.says("simulation: aws is gone (one)");
    let head = simulated.rpc().call("eth_blockNumber", json!([])).await;
    assert!(head.is_ok(), "{head:?}");
    simulated
        .until("both by their names", |status| {
            let backends = &status["chains"][0]["backends"];
            backends[0]["name"] == "one" && backends[1]["name"] == "two"
        })
        .await;
}
