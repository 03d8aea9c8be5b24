//! T10-T13: five hundred transactions while backends are killed, frozen, wiped and black-holed, and the proxy is killed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::lab::anvil::{Lab, Standing, number};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::Settings;

use super::{BLOCK_TIME, LIMIT, Site, ask, signed};

const SENDERS: usize = 20;
/// Transactions of each sender.
const EACH: u64 = 25;
const ALL: usize = SENDERS * EACH as usize;
/// Each fault is held until so many transactions were sent amid it and answered.
const A_FAULT: usize = 25;
/// And for so many blocks, which makes half a second.
const FAULT_BLOCKS: u64 = 2;
const CRASHES: usize = 5;
/// Another one is named by `OUTRIGGER_STORM_SEED`.
const SEED: u64 = 20_211_207;

/// What happens to one of the three backends, or to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trouble {
    /// Its process is gone, and comes back with nothing: it replays the chain, and its pool is empty.
    Killed,
    /// It answers, and gets no new block.
    Frozen,
    /// No block is made, then all pools are emptied: only the proxy can bring back what was acknowledged meanwhile.
    Wiped,
    /// The kernel accepts, nobody reads.
    BlackHoled,
    /// It takes the bytes, and its answer is lost.
    Mute,
}

const TROUBLES: [Trouble; 5] =
    [Trouble::Killed, Trouble::Frozen, Trouble::Wiped, Trouble::BlackHoled, Trouble::Mute];

/// What all senders share.
struct Storm {
    lab: Lab,
    site: Site,
    /// How many transactions may be sent by now: the next fault lets more go.
    gate: Semaphore,
    acknowledged: watch::Sender<usize>,
    /// Held while no block is to be made.
    mining: Mutex<()>,
    /// Transactions that were in all pools and are in none any more.
    wiped: AtomicU64,
    /// Receipts that were read.
    receipts: AtomicU64,
}

/// A transaction whose hash was answered.
struct Sent {
    hash: String,
    has_receipt: bool,
}

impl Storm {
    /// Sends its transactions one after the other and reads what wallets read; gives their hashes.
    async fn send(self: Arc<Self>, from: String, raws: Vec<String>) -> Vec<String> {
        let mut all: Vec<Sent> = Vec::new();
        for (nonce, raw) in (0..).zip(&raws) {
            self.gate.acquire().await.expect("it stays open").forget();
            let pending = number(&ask(&self.site, "eth_getTransactionCount", json!([from, "pending"])).await);
            assert_eq!(pending, nonce, "the pending nonce of {from} is wrong\n{}", self.site.said());
            let hash = ask(&self.site, "eth_sendRawTransaction", json!([raw])).await;
            self.acknowledged.send_modify(|count| *count += 1);
            let hash = hash.as_str().expect("a hash").to_owned();
            let found = ask(&self.site, "eth_getTransactionByHash", json!([hash])).await;
            assert_eq!(found["hash"], hash.as_str(), "an acknowledged transaction is denied");
            all.push(Sent { hash, has_receipt: false });
            self.look_back(&from, &mut all).await;
        }
        all.into_iter().map(|sent| sent.hash).collect()
    }

    /// Nonce and receipt of the latest ones, in the order in which they could contradict each other.
    async fn look_back(&self, from: &str, all: &mut [Sent]) {
        for (nonce, sent) in all.iter_mut().enumerate().rev().take(3) {
            let (nonce, hash) = (nonce as u64, &sent.hash);
            let mined = number(&ask(&self.site, "eth_getTransactionCount", json!([from, "latest"])).await);
            assert!(
                mined > nonce || !sent.has_receipt,
                "{hash} had a receipt, and its nonce {nonce} is free ({mined})\n{}",
                self.site.said()
            );
            // An error contradicts nothing: a wallet asks again.
            let Ok(receipt) = self.site.call("eth_getTransactionReceipt", json!([hash])).await else {
                continue;
            };
            let has_receipt = !receipt.is_null();
            assert!(
                has_receipt || mined <= nonce,
                "{hash} has no receipt, yet its nonce {nonce} is used ({mined})\n{}",
                self.site.said()
            );
            assert!(has_receipt || !sent.has_receipt, "{hash} had a receipt\n{}", self.site.said());
            sent.has_receipt = has_receipt;
            self.receipts.fetch_add(u64::from(has_receipt), Ordering::SeqCst);
        }
    }

    /// One fault after the other, each with traffic amid it; gives how often each was.
    async fn rage(self: Arc<Self>, fronts: Arc<[Front]>, mut dice: SmallRng) -> HashMap<Trouble, usize> {
        let mut met = HashMap::new();
        let mut order = TROUBLES;
        for round in 0..ALL / A_FAULT {
            if round % order.len() == 0 {
                order.shuffle(&mut dice);
            }
            let trouble = order[round % order.len()];
            let at = dice.random_range(0..fronts.len());
            match trouble {
                Trouble::Killed => self.lab.kill(at).await,
                Trouble::Frozen => self.lab.stand(at, Standing::Frozen).await,
                Trouble::Wiped => {}
                Trouble::BlackHoled => fronts[at].set(Fault::BlackHole).await,
                Trouble::Mute => fronts[at].set(Fault::ExecThenHang.only(&["eth_sendRawTransaction"])).await,
            }
            *met.entry(trouble).or_default() += 1;
            let still = if trouble == Trouble::Wiped { Some(self.mining.lock().await) } else { None };
            self.gate.add_permits(A_FAULT);
            let wanted = (round + 1) * A_FAULT;
            let answered = self.acknowledged.subscribe().wait_for(|count| *count >= wanted).await.is_ok();
            assert!(answered, "the senders are gone");
            if still.is_some() {
                self.wipe(fronts.len()).await;
            }
            drop(still);
            let height = self.lab.height().await;
            while self.lab.height().await < height + FAULT_BLOCKS {
                sleep(BLOCK_TIME / 5).await;
            }
            match trouble {
                Trouble::Killed => self.lab.restart(at).await,
                Trouble::Frozen => self.lab.stand(at, Standing::InStep).await,
                Trouble::Wiped => {}
                Trouble::BlackHoled | Trouble::Mute => fronts[at].heal().await,
            }
        }
        met
    }

    async fn wipe(&self, nodes: usize) {
        let (mut kept, mut wiped) = (HashSet::new(), HashSet::new());
        for node in 0..nodes {
            let pool = self.lab.rpc(node, "txpool_content", json!([])).await.expect("it answers");
            for by_nonce in pool["pending"].as_object().into_iter().flatten().map(|(_, by_nonce)| by_nonce) {
                for one in by_nonce.as_object().into_iter().flatten().map(|(_, one)| one) {
                    wiped.insert(one["hash"].as_str().expect("a hash").to_owned());
                }
            }
            self.lab.forget_pool(node).await;
        }
        for node in 0..nodes {
            for hash in &wiped {
                let shown = self.lab.rpc(node, "eth_getTransactionByHash", json!([hash])).await;
                if !shown.expect("it answers").is_null() {
                    kept.insert(hash.clone());
                }
            }
        }
        self.wiped.fetch_add((wiped.len() - kept.len()) as u64, Ordering::SeqCst);
    }

    /// What a network does four times a second.
    async fn mine(self: Arc<Self>) {
        let mut clock = interval(BLOCK_TIME);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let _may = self.mining.lock().await;
            self.lab.tick().await;
        }
    }

    /// `kill -9` whenever so many were acknowledged.
    async fn crash(self: Arc<Self>, moments: Vec<usize>) {
        let mut acknowledged = self.acknowledged.subscribe();
        for moment in moments {
            acknowledged.wait_for(|count| *count >= moment).await.expect("the senders live");
            self.site.crash().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_what_was_acknowledged_is_mined_once_whatever_is_lost_meanwhile() {
    let began = Instant::now();
    let lab = Lab::start(3).await;
    let mut fronts = Vec::new();
    for node in 0..3 {
        fronts.push(Front::of_node(&lab, node).await);
    }
    let fronts: Arc<[Front]> = fronts.into();
    let accounts = lab.rpc(0, "eth_accounts", json!([])).await.expect("dev accounts");
    let accounts: Vec<String> =
        (0..SENDERS).map(|at| accounts[at].as_str().expect("an address").to_owned()).collect();
    let mut raws = Vec::new();
    for from in &accounts {
        let mut own = Vec::new();
        for nonce in 0..EACH {
            own.push(signed(&lab, from, nonce).await);
        }
        raws.push(own);
    }
    lab.mine(2).await;
    let site = Site::start(&Settings::over(&fronts)).await;
    let storm = Arc::new(Storm {
        lab: lab.clone(),
        site,
        gate: Semaphore::new(0),
        acknowledged: watch::Sender::new(0),
        mining: Mutex::default(),
        wiped: AtomicU64::new(0),
        receipts: AtomicU64::new(0),
    });
    let ticker = tokio::spawn(storm.clone().mine());
    let seed = std::env::var("OUTRIGGER_STORM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut moments: Vec<usize> = (0..CRASHES).map(|_| dice.random_range(1..ALL)).collect();
    moments.sort_unstable();
    let trouble = tokio::spawn(storm.clone().rage(fronts.clone(), dice));
    let crashes = tokio::spawn(storm.clone().crash(moments));
    let senders: Vec<_> = accounts
        .iter()
        .zip(raws)
        .map(|(from, raws)| tokio::spawn(storm.clone().send(from.clone(), raws)))
        .collect();
    let mut all = Vec::new();
    for sender in senders {
        all.extend(timeout(LIMIT, sender).await.expect("it is answered in time").expect("it sends"));
    }
    let met = timeout(LIMIT, trouble).await.expect("it ends").expect("it makes trouble");
    timeout(LIMIT, crashes).await.expect("it ends").expect("it crashes");
    assert!(TROUBLES.iter().all(|trouble| met.contains_key(trouble)), "{met:?}");
    let wiped = storm.wiped.load(Ordering::SeqCst);
    assert!(wiped > 0, "no pool lost anything");
    assert!(storm.receipts.load(Ordering::SeqCst) > 0, "nobody read a receipt amid it");

    let end = Instant::now() + LIMIT;
    for from in &accounts {
        loop {
            let mined = lab.rpc(0, "eth_getTransactionCount", json!([from, "latest"])).await;
            if number(&mined.expect("it answers")) == EACH {
                break;
            }
            assert!(Instant::now() < end, "not all of {from} is mined\n{}", storm.site.said());
            sleep(BLOCK_TIME / 5).await;
        }
    }
    let mut mined: HashMap<String, usize> = HashMap::new();
    for height in 0..=lab.height().await {
        let block = lab.rpc(0, "eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await;
        for hash in block.expect("it answers")["transactions"].as_array().into_iter().flatten() {
            *mined.entry(hash.as_str().expect("a hash").to_owned()).or_default() += 1;
        }
    }
    for hash in &all {
        assert_eq!(mined.get(hash), Some(&1), "{hash} was acknowledged: mined once");
    }
    assert_eq!((all.len(), mined.len()), (ALL, ALL), "nothing else was mined");
    println!(
        "{ALL} transactions amid {met:?}, {wiped} wiped, {CRASHES} crashes (seed {seed}) in {:?}",
        began.elapsed()
    );
    assert!(!ticker.is_finished(), "a tick failed");
    ticker.abort();
}
