//! The whole arrangement that most tests want: a moving chain, three clouds with a front each, the proxy.
use std::time::Duration;

use super::anvil::{Lab, Ticker};
use super::front::{Fault, Front};
use super::proxy::{Proxy, Settings};
use super::wallet::Told;

/// Four blocks a second: fast enough that a test sees many, slow enough for two cores.
const BLOCK_TIME: Duration = Duration::from_millis(250);
/// How long one fault stays: several requests of every wallet meet it.
const FAULT_TIME: Duration = Duration::from_millis(700);
/// Between two faults: a failed cloud is back, the next one still works.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest a wallet may wait for an answer. MetaMask calls an endpoint degraded at 5 s; the promise for
/// a hard failure is 50 ms, which a busy two-core machine cannot prove, but no wallet-side timeout is near.
const SLOWEST: Duration = Duration::from_secs(4);

/// The chain, the fronts and the proxy of one test; everything ends with it.
pub struct World {
    pub lab: Lab,
    pub fronts: Vec<Front>,
    pub proxy: Proxy,
    pub ticker: Ticker,
}

/// A fault that was injected, and how many requests ran into it.
#[derive(Debug)]
pub struct Met {
    pub fault: Fault,
    pub hits: usize,
}

impl World {
    /// Three nodes behind three fronts behind the proxy, and a chain that moves.
    pub async fn start() -> World {
        let lab = Lab::start(3).await;
        let mut fronts = Vec::new();
        for node in 0..3 {
            fronts.push(Front::of_node(&lab, node).await);
        }
        lab.mine(2).await;
        let ticker = lab.spawn_ticker(BLOCK_TIME);
        let mut proxy = Proxy::start(&Settings::over(&fronts)).await;
        proxy.ready().await;
        World { lab, fronts, proxy, ticker }
    }

    /// One cloud at a time fails, each time in the next way, until `live` says that nobody is left to notice.
    /// It is always the cloud that carried most since the last fault: the one whose failure hurts.
    pub async fn flap(&self, mut live: impl FnMut() -> bool) -> Vec<Met> {
        let mut met = Vec::new();
        for fault in hard_failures().into_iter().cycle() {
            if !live() {
                break;
            }
            let busiest = self.fronts.iter().max_by_key(|front| front.requests()).expect("there are fronts");
            self.fronts.iter().for_each(Front::forget);
            busiest.set(fault.clone()).await;
            tokio::time::sleep(FAULT_TIME).await;
            busiest.heal().await;
            met.push(Met { hits: busiest.hits(), fault });
            self.fronts.iter().for_each(Front::forget);
            tokio::time::sleep(PAUSE).await;
        }
        met
    }

    /// Asserts that every fault had its turn and that traffic ran into most of them.
    pub fn was_tested(&self, met: &[Met]) {
        assert!(met.len() >= hard_failures().len(), "not every fault had its turn: {met:?}");
        // a refused connection shows at no front, and traffic may have moved on in the very moment
        let felt = met.iter().filter(|met| met.hits > 0).count();
        assert!(felt * 2 > met.len(), "traffic met only {felt} of {} faults: {met:?}", met.len());
    }

    /// Asserts a day without a single error, and with what makes it a day.
    pub fn has_served(&self, told: &Told, steps: u64) {
        let log = || format!("{told:#?}\nthe proxy said:\n{}", self.proxy.said());
        assert_eq!(told.errors, 0, "{}", log());
        assert!(told.steps >= steps && told.sends >= 1, "too little happened: {}", log());
        assert!(told.slowest < SLOWEST, "it had to wait: {}", log());
    }
}

/// Hard failures: all that a proxy can see at once and mask inside the same request.
pub fn hard_failures() -> Vec<Fault> {
    vec![
        Fault::Refuse,
        Fault::Close,
        Fault::Reset,
        Fault::status(503),
        Fault::html(),
        Fault::garbage(),
        Fault::WrongId,
        Fault::empty(),
        Fault::CutAfter(20),
        Fault::CloseOnReuse,
    ]
}
