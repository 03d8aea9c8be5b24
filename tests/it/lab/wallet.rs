//! The wallets' scripts as child processes, and what they told of their day.
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::clients::clients;
use super::leash::Leash;

/// How much longer than asked a script may take: starting Node or Python on a busy machine, the whole day once,
/// and the time its last step may need (see OVERTIME_MS in day.mjs).
const OVERTIME: Duration = Duration::from_secs(45);

/// A wallet that the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wallet {
    Viem,
    Ethers,
    Web3py,
    Cast,
    MetaMask,
}

/// A wallet's day under way.
pub struct Day {
    wallet: Wallet,
    process: Leash,
    limit: Duration,
}

/// What a wallet told of its day.
#[derive(Clone, Debug)]
pub struct Told {
    pub wallet: Wallet,
    pub steps: u64,
    pub sends: u64,
    pub slowest: Duration,
    pub errors: u64,
    /// Its JSON line, and what else it wrote.
    pub text: String,
}

impl Wallet {
    /// Everyone but MetaMask, whose day has a test of its own.
    pub const SIMPLE: [Wallet; 4] = [Wallet::Viem, Wallet::Ethers, Wallet::Web3py, Wallet::Cast];

    /// Starts a day against `url`: once through, or `seconds` long. The wallet owns its dev account alone.
    pub fn start(self, url: &str, seconds: u64) -> Day {
        let found = clients();
        let script = |name: &str| found.scripts.join(name).to_string_lossy().into_owned();
        let node = || PathBuf::from("node");
        let (program, first, account) = match self {
            Wallet::Viem => (node(), script("wallets/viem.mjs"), 1),
            Wallet::Ethers => (node(), script("wallets/ethers.mjs"), 2),
            Wallet::Web3py => (found.python.clone(), script("wallets/web3py.py"), 3),
            Wallet::Cast => (PathBuf::from("bash"), script("wallets/cast.sh"), 4),
            Wallet::MetaMask => (node(), script("metamask/day.mjs"), 5),
        };
        let args = [&first, url, "--account", &account.to_string(), "--seconds", &seconds.to_string()];
        let args: Vec<String> = args.map(str::to_owned).into();
        let cast = ("CAST".to_owned(), found.cast.to_string_lossy().into_owned());
        let process = Leash::start(Path::new(&program), &args, &[cast]);
        let process = process.unwrap_or_else(|e| panic!("{self:?} does not start ({e}): run tests/run"));
        Day { wallet: self, process, limit: Duration::from_secs(seconds) + OVERTIME }
    }
}

impl Day {
    /// Waits for the wallet's account of its day.
    pub async fn told(mut self) -> Told {
        tokio::task::spawn_blocking(move || {
            let status = self.process.wait(self.limit);
            // its last line may still be on its way through the pipe
            let line = self.process.said().find(Duration::from_secs(2), |line| {
                serde_json::from_str::<Value>(line).ok().filter(|told| told["client"].is_string())
            });
            let text = self.process.said().text();
            let Some(told) = line.filter(|_| status.is_some()) else {
                panic!("{:?} told nothing of its day ({status:?}):\n{text}", self.wallet);
            };
            let number = |key: &str| told[key].as_u64().unwrap_or_default();
            Told {
                wallet: self.wallet,
                steps: number("steps"),
                sends: number("sends"),
                slowest: Duration::from_millis(number("slowest_ms")),
                errors: number("error_count"),
                text,
            }
        })
        .await
        .unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }
}
