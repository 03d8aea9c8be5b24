//! The real binary: started on a free port with a generated configuration, listened to, and stopped.
//!
//! ```text
//! let proxy = Proxy::start(&Settings::over(&fronts)).await;
//! proxy.rpc().call("eth_blockNumber", json!([])).await;
//! let ended = proxy.stop();      // SIGTERM, its status and everything it said
//! ```
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::front::Front;
use super::leash::Leash;
use super::rpc::{self, Rpc};
use super::wire::Message;

/// How long the binary may take until it answers `/healthz`.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to drain and leave after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A backend as the configuration names it.
#[derive(Clone, Debug)]
pub struct Backend {
    pub name: String,
    pub url: String,
    /// More keys of its table, as TOML lines: `cloud = "aws"`.
    pub labels: String,
}

/// What the configuration file says.
#[derive(Clone, Debug)]
pub struct Settings {
    pub chain_id: u64,
    pub backends: Vec<Backend>,
    /// More keys of `[chains.lab]`, as TOML lines.
    pub chain: String,
    /// More tables at the end of the file, such as `[routing]`.
    pub tables: String,
    /// Added to the environment of the process.
    pub environment: Vec<(String, String)>,
}

/// A running proxy; it ends when this is dropped.
pub struct Proxy {
    process: Leash,
    address: String,
    dir: TempDir,
}

// === impl Settings ===

impl Settings {
    /// The laboratory's chain over these fronts: three clouds, named `aws`, `gcp` and `metal` in that order.
    pub fn over(fronts: &[Front]) -> Settings {
        let clouds = ["aws", "gcp", "metal"];
        let backends = fronts.iter().enumerate().map(|(i, front)| {
            let cloud = clouds.get(i).map_or_else(|| format!("cloud{i}"), |cloud| (*cloud).to_owned());
            Backend {
                url: front.url(),
                labels: format!(
                    "provider = \"{cloud}-nodes\"\ncloud = \"{cloud}\"\nregion = \"{cloud}-1\"\n"
                ),
                name: cloud,
            }
        });
        Settings {
            chain_id: super::anvil::CHAIN_ID,
            backends: backends.collect(),
            chain: "block_time = \"250ms\"\n".to_owned(),
            tables: String::new(),
            environment: Vec::new(),
        }
    }

    /// The file.
    pub fn to_toml(&self, journal: &Path) -> String {
        let mut toml = "[server]\nlisten = \"127.0.0.1:0\"\n\n".to_owned();
        toml += &format!("[chains.lab]\nchain_id = {}\n{}\n", self.chain_id, self.chain);
        for Backend { name, url, labels } in &self.backends {
            toml += &format!("[[chains.lab.backends]]\nname = \"{name}\"\nurl = \"{url}\"\n{labels}\n");
        }
        if !self.tables.contains("[transactions]") {
            toml += &format!("[transactions]\njournal = '{}'\n\n", journal.display());
        }
        toml + &self.tables
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts the binary and waits until it answers.
    pub async fn start(settings: &Settings) -> Proxy {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let toml = settings.to_toml(&dir.path().join("journal"));
        Proxy::start_with(dir, &toml, &settings.environment).await
    }

    /// Starts the binary with this file in this folder, and waits until it answers.
    pub async fn start_with(dir: TempDir, toml: &str, environment: &[(String, String)]) -> Proxy {
        let file = dir.path().join("outrigger.toml");
        std::fs::write(&file, toml).expect("the temporary folder can be written");
        let file = file.to_string_lossy().into_owned();
        let args = ["serve", "--config", &file, "--listen", "127.0.0.1:0"].map(str::to_owned);
        // its state folder and whatever else it may look for at home lies in the test's folder
        let mut vars = vec![("HOME".to_owned(), dir.path().to_string_lossy().into_owned())];
        vars.extend(environment.iter().cloned());
        let mut process = Leash::start(&binary(), &args, &vars).expect("the binary can be executed");
        let end = Instant::now() + START_LIMIT;
        let address = loop {
            // an address that the file names is a backend's, not ours
            let own = |line: &str| loopback(line).filter(|address| !toml.contains(address));
            if let Some(address) = process.said().find(Duration::ZERO, own) {
                break address;
            }
            alive(&mut process, end, "it said where it listens");
            sleep(Duration::from_millis(5)).await;
        };
        while !rpc::get(&address, "/healthz").await.is_ok_and(|answer| answer.status() == 200) {
            alive(&mut process, end, "/healthz answered 200");
            sleep(Duration::from_millis(5)).await;
        }
        Proxy { process, address, dir }
    }

    /// Waits until `/readyz` says that a backend is usable.
    pub async fn ready(&mut self) {
        let end = Instant::now() + START_LIMIT;
        while self.get("/readyz").await.status() != 200 {
            alive(&mut self.process, end, "/readyz answered 200");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where wallets find it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder of its configuration and its journal.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A client of its default chain.
    pub fn rpc(&self) -> Rpc {
        Rpc::new(&self.address)
    }

    /// Posts a body to its default chain.
    pub async fn post(&self, body: &str) -> Message {
        rpc::post(&self.address, &[], body.as_bytes()).await.expect("the proxy answers")
    }

    /// Gets a page, such as `/status`.
    pub async fn get(&self, path: &str) -> Message {
        rpc::get(&self.address, path).await.expect("the proxy answers")
    }

    /// What it wrote so far.
    pub fn said(&self) -> String {
        self.process.said().text()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Asks it to leave and waits: its status, and all it wrote.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.process.signal("TERM");
        let status = self.process.wait(STOP_LIMIT);
        let status = status.unwrap_or_else(|| panic!("it does not leave after SIGTERM:\n{}", self.said()));
        (status, self.said())
    }

    /// Waits until it has left by itself, after a signal: its status, and all it wrote.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.process.wait(STOP_LIMIT);
        let status = status.unwrap_or_else(|| panic!("it does not leave:\n{}", self.said()));
        (status, self.said())
    }

    /// `kill -9`, as a crash or the kernel's memory guard would; returns its folder for the next start.
    pub fn crash(mut self) -> TempDir {
        self.process.kill();
        self.dir
    }
}

/// The binary under test; `OUTRIGGER_BIN=/path` tests one that was built elsewhere, such as a release.
pub fn binary() -> PathBuf {
    std::env::var_os("OUTRIGGER_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_outrigger")), PathBuf::from)
}

fn alive(process: &mut Leash, end: Instant, before: &str) {
    if let Some(status) = process.ended() {
        panic!("outrigger ended with {status} before {before}:\n{}", process.said().text());
    }
    assert!(Instant::now() < end, "{START_LIMIT:?} passed before {before}:\n{}", process.said().text());
}

/// The `127.0.0.1:PORT` of the first `http://127.0.0.1:PORT` in a line.
fn loopback(line: &str) -> Option<String> {
    let host = "127.0.0.1:";
    let rest = line.split_once(&format!("http://{host}"))?.1;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    port.parse::<u16>().ok().filter(|port| *port > 0).map(|port| format!("{host}{port}"))
}

#[test]
fn the_address_is_found_in_plain_and_in_decorated_lines() {
    for (line, address) in [
        ("listening on http://127.0.0.1:4321", Some("127.0.0.1:4321")),
        ("INFO rpc=http://127.0.0.1:80/ ready", Some("127.0.0.1:80")),
        ("listening on http://127.0.0.1:0", None),
        ("listening on http://[::1]:8545", None),
        ("", None),
    ] {
        assert_eq!(loopback(line).as_deref(), address, "{line}");
    }
}
