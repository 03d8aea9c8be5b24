//! Leaving the chain and coming back: forks of one node, and reorgs of all.
use serde_json::json;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::{Chain, FORK_DELAY_S, Lab, Standing, number};

/// Whose balance tells a fork's state from the canonical one; nobody holds its key.
pub const FORK_MARK: &str = "0x00000000000000000000000000000000000f03c5";

impl Lab {
    /// Node `i` leaves the chain by `depth` blocks (at least one) that nobody else has, and hears of no other until healed.
    pub async fn fork(&self, i: usize, depth: usize) {
        let mut chain = self.0.chain.lock().await;
        self.leave(&mut chain, i, depth, Standing::Forked).await;
    }

    /// The same, and whenever the canonical chain grows, node `i` mines one more of its own: two branches of one
    /// height. Nodes that leave from the same block in the same state are on one branch together.
    pub async fn rival(&self, i: usize, depth: usize) {
        let mut chain = self.0.chain.lock().await;
        self.leave(&mut chain, i, depth, Standing::Rival).await;
    }

    /// Node `i` returns: back to the common ancestor, then over to the canonical chain, as in a reorg. Whoever goes
    /// through its gate sees it before or after.
    pub async fn heal(&self, i: usize) {
        let mut chain = self.0.chain.lock().await;
        assert!(chain.nodes[i].standing.has_left(), "node {i} has not left the chain");
        chain.nodes[i].standing = Standing::InStep;
        let height = chain.nodes[i].applied;
        self.cross_over(&mut chain, i, height).await;
    }

    /// The whole network drops its newest `depth` blocks and has one more in their place; their transactions are
    /// mined again. The leader crosses over first, then every node in step, one after the other.
    pub async fn reorg(&self, depth: usize) {
        let mut chain = self.0.chain.lock().await;
        let height = chain.log.len();
        let ancestor = height.checked_sub(depth).expect("the chain is that long");
        let in_step =
            |i: &usize| chain.nodes[*i].standing == Standing::InStep && chain.nodes[*i].applied == height;
        let followers: Vec<usize> = (0..chain.nodes.len()).filter(in_step).collect();
        let leader = *followers.first().expect("a node in step");
        let begun_at = Instant::now();
        let dropped = chain.log.split_off(ancestor);
        for block in &dropped {
            let mined = chain.history.iter_mut().rfind(|mined| mined.head.hash == block.hash);
            mined.expect("what is in the log is in the history").dropped_at = Some(begun_at);
        }
        chain.drift_s += FORK_DELAY_S;
        {
            let gate = self.gate(leader);
            let _closed = gate.write().await;
            self.must(leader, "anvil_rollback", json!([depth])).await;
            chain.nodes[leader].applied = ancestor;
            for (_, raw) in dropped.iter().flat_map(|block| &block.transactions) {
                self.offer(leader, raw).await;
            }
            // a rollback does not restore the next base fee
            let base_fee = &dropped.first().expect("a depth above 0").base_fee;
            self.must(leader, "anvil_setNextBlockBaseFeePerGas", json!([base_fee])).await;
            for _ in 0..=depth {
                self.extend(&mut chain, &[leader], &[]).await;
            }
        }
        for i in followers.into_iter().filter(|i| *i != leader) {
            self.cross_over(&mut chain, i, ancestor).await;
        }
        let settled_at = Some(Instant::now());
        chain.history.iter_mut().rev().take(depth + 1).for_each(|mined| mined.settled_at = settled_at);
    }

    async fn leave(&self, chain: &mut MutexGuard<'_, Chain>, i: usize, depth: usize, standing: Standing) {
        chain.nodes[i].standing = standing;
        let gate = self.gate(i);
        let _closed = gate.write().await;
        self.mine_apart(i).await;
        // its state differs too, not only its hashes; after the first block, so that a rollback undoes it
        self.must(i, "anvil_setBalance", json!([FORK_MARK, "0x1"])).await;
        for _ in 1..depth {
            self.mine_apart(i).await;
        }
    }

    /// Node `i` mines a block that is on no other chain: its time is another.
    pub(super) async fn mine_apart(&self, i: usize) {
        let latest = self.must(i, "eth_getBlockByNumber", json!(["latest", false])).await;
        let timestamp = number(&latest["timestamp"]) + 1 + FORK_DELAY_S;
        self.must(i, "evm_setNextBlockTimestamp", json!([timestamp])).await;
        self.must(i, "evm_mine", json!([])).await;
    }

    /// Node `i` goes back to `ancestor` and over to the canonical chain, at once for whoever uses its gate.
    async fn cross_over(&self, chain: &mut MutexGuard<'_, Chain>, i: usize, ancestor: usize) {
        let gate = self.gate(i);
        let _closed = gate.write().await;
        let surplus = self.head(i).await.number as usize - ancestor;
        if surplus > 0 {
            self.must(i, "anvil_rollback", json!([surplus])).await;
        }
        chain.nodes[i].applied = ancestor;
        while chain.nodes[i].applied < chain.log.len() {
            let block = chain.log[chain.nodes[i].applied].clone();
            self.replay(i, &block).await;
            chain.nodes[i].applied += 1;
        }
    }
}
