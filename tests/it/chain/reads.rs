//! C1, C2, C4, C5, R5, R8: what is read through three backends is true, current and never goes back, whatever one of
//! them, or the whole network, does to its chain.
use super::judge::Verdict;
use super::reader::Readers;
use super::truth::Truth;
use super::{BLOCK_TIME, Stage};
use crate::lab::anvil::{Lab, PLAIN_CHAIN_ID, Standing};
use crate::lab::bell::Bell;
use crate::lab::front::Front;

const READERS: usize = 6;
/// What the promise is made for.
const READS_MIN: usize = 10_000;
/// Blocks of one phase at least: time for what is behind to be noticed, and for what is noticed to matter.
const PHASE_BLOCKS: u64 = 4;

struct Phases {
    stage: Stage,
    readers: Readers,
}

impl Phases {
    /// Reads `reads` times and for some blocks.
    async fn read(&self, reads: usize) {
        let until = self.readers.count() + reads;
        self.stage.bell.blocks(PHASE_BLOCKS).await;
        self.stage.until("the readers read", async || self.readers.count() >= until).await;
    }

    /// The backend that carries most of the readers' calls now.
    async fn favourite(&self) -> usize {
        self.stage.forget();
        let until = self.readers.count() + 300;
        // Of what is kept nobody is asked: it may take a block until somebody is.
        let is_asked = || self.stage.served(self.stage.busiest()) > 0;
        self.stage.until("the readers read", async || self.readers.count() >= until && is_asked()).await;
        self.stage.busiest()
    }
}

/// C1, C2, C4, C5, R5, R8: 10 000 reads.
#[tokio::test]
async fn c_every_answer_is_true_of_the_block_it_claims_while_nodes_freeze_fork_and_reorganise() {
    is_true_of_the_block_it_claims(Stage::start(3).await).await;
}

/// The same where every backend pushes its heads.
#[tokio::test]
async fn c_every_answer_is_true_where_backends_push_their_heads() {
    is_true_of_the_block_it_claims(Stage::start_pushing(3).await).await;
}

/// K2, K3: the same where the state of blocks is kept, since nobody takes the nodes for development nodes: a frozen and a
/// forked backend, and a reorg, while the cache is hot.
#[tokio::test]
async fn k2_every_answer_is_true_of_the_block_it_claims_while_the_cache_is_hot() {
    let lab = Lab::start_on(4, PLAIN_CHAIN_ID).await;
    is_true_of_the_block_it_claims(Stage::start_over(lab, 3, |_| {}).await).await;
}

async fn is_true_of_the_block_it_claims(stage: Stage) {
    let readers = Readers::start(READERS, stage.proxy.address(), &stage.bell);
    let mut truth = Truth::default();
    let mut p = Phases { stage, readers };
    p.read(1000).await;

    let frozen = p.favourite().await;
    p.stage.lab.stand(p.stage.node(frozen), Standing::Frozen).await;
    p.read(2000).await;
    p.stage.lab.stand(p.stage.node(frozen), Standing::InStep).await;
    p.read(500).await;

    let rival = p.favourite().await;
    p.stage.lab.rival(p.stage.node(rival), 1).await;
    p.read(1500).await;
    p.stage.forget();
    p.read(500).await;
    assert_eq!(p.stage.served(rival), 0, "who is on another branch gets no reads: {}", p.stage.proxy.said());
    p.stage.lab.heal(p.stage.node(rival)).await;
    p.read(500).await;

    for _ in 0..2 {
        let shaken = p.favourite().await;
        p.stage.lab.fork(p.stage.node(shaken), 3).await;
        p.stage.bell.blocks(1).await;
        p.stage.lab.heal(p.stage.node(shaken)).await;
        p.read(1000).await;
    }

    // the clock stands still while the facts of what will be dropped are written down
    p.stage.stop_clock().await;
    truth.gather(&p.stage.lab, &p.stage.bell).await;
    p.stage.lab.reorg(3).await;
    p.stage.start_clock();
    p.read(1500).await;

    while p.readers.count() < READS_MIN {
        p.read(500).await;
    }
    p.stage.stop_clock().await;
    let saved = p.stage.status().await["saved"].clone();
    let reads = p.readers.stop().await;
    truth.close(&p.stage.lab, &p.stage.bell).await;
    let verdict = Verdict::of(&reads, &truth);
    println!(
        "{} reads over {} blocks: stalest {:?}, half within {:?}, 99 of 100 within {:?}, {:?}",
        verdict.reads,
        truth.blocks().count(),
        verdict.stalest,
        verdict.took[0],
        verdict.took[1],
        verdict.kinds
    );
    println!("{saved}");
    assert!(verdict.reads >= READS_MIN);
    // A development node's state is not kept, what names its block is.
    let hits_min = if p.stage.lab.chain_id() == PLAIN_CHAIN_ID { READS_MIN / 4 } else { 1 };
    assert!(saved["hits"].as_u64().is_some_and(|hits| hits >= hits_min as u64), "{saved}");
    verdict.is_clean(|| p.stage.proxy.said());
}

/// The checker itself, with nothing between it and a node that freezes, forks and comes back.
#[tokio::test]
async fn the_checker_sees_what_is_old_what_is_wrong_and_what_goes_back() {
    let lab = Lab::start(2).await;
    let bell = Bell::hang(&lab).await;
    let node = Front::of_node(&lab, 1).await;
    let readers = Readers::start(1, node.address(), &bell);
    let clock = bell.spawn_clock(BLOCK_TIME);
    bell.blocks(2).await;
    lab.stand(1, Standing::Frozen).await;
    bell.blocks(4).await;
    lab.stand(1, Standing::InStep).await;
    lab.rival(1, 3).await;
    bell.blocks(2).await;
    lab.heal(1).await;
    let until = readers.count() + 50;
    while readers.count() < until {
        tokio::task::yield_now().await;
    }
    clock.stop().await;
    let reads = readers.stop().await;
    let mut truth = Truth::default();
    truth.close(&lab, &bell).await;
    let verdict = Verdict::of(&reads, &truth);
    assert!(!verdict.stale.is_empty(), "a frozen node tells of old blocks");
    assert!(!verdict.wrong.is_empty(), "a forked node tells of blocks that nobody else has");
    assert!(!verdict.regressions.is_empty(), "a node that comes back from a taller branch goes back");
    let [honest, ..] = &reads[..] else { panic!("nothing was read") };
    assert!(!verdict.wrong.contains(&format!("{honest:?}")), "the first answer was true");
}
