//! C1, C2, C4, C5, R5, R8: what is read through three backends is true, current and never goes back, whatever one of
//! them, or the whole network, does to its chain.
use super::Stage;
use super::judge::Verdict;
use super::reader::Readers;
use super::truth::Truth;

const READERS: usize = 6;
/// What the promise is made for.
const READS_MIN: usize = 10_000;
/// Blocks of one phase at least: time for what is behind to be noticed, and for what is noticed to matter.
const PHASE_BLOCKS: u64 = 6;

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
        self.stage.until("the readers read", async || self.readers.count() >= until).await;
        let front = self.stage.busiest();
        assert!(self.stage.served(front) > 0, "somebody serves");
        front
    }
}

/// C1, C2, C4, C5, R5, R8: 10 000 reads.
#[tokio::test]
async fn c_every_answer_is_true_of_the_block_it_claims_while_nodes_freeze_fork_and_reorganise() {
    let stage = Stage::start(3).await;
    let readers = Readers::start(READERS, stage.proxy.address(), &stage.bell);
    let mut truth = Truth::default();
    let mut p = Phases { stage, readers };
    p.read(1000).await;

    let frozen = p.favourite().await;
    p.stage.lab.stand(p.stage.node(frozen), crate::lab::anvil::Standing::Frozen).await;
    p.read(2000).await;
    p.stage.lab.stand(p.stage.node(frozen), crate::lab::anvil::Standing::InStep).await;
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

    let left = READS_MIN.saturating_sub(p.readers.count());
    p.read(left).await;
    p.stage.stop_clock().await;
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
    assert!(verdict.reads >= READS_MIN);
    verdict.is_clean(|| p.stage.proxy.said());
}
