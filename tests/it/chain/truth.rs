//! What is true of the chain: every block that ever was canonical, with its facts and its time.
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::BLOCK_TIME;
use crate::lab::anvil::{Lab, Mined};
use crate::lab::bell::{Bell, Facts};

/// How long after everybody has a block what was before it may still be told: C5.
pub const LATENESS_MAX: Duration = BLOCK_TIME.saturating_add(Duration::from_millis(500));

/// The canonical chain and all that was dropped from it.
#[derive(Default)]
pub struct Truth {
    facts: HashMap<String, Facts>,
    blocks: Vec<Block>,
}

/// A block that was canonical for a while.
pub struct Block {
    pub facts: Facts,
    /// From when on it may be told.
    pub from: Instant,
    /// From when on there is something newer that everybody has; `None` for the last block.
    pub surpassed_at: Option<Instant>,
    /// When a reorg that dropped it began.
    pub dropped_at: Option<Instant>,
    /// From when on it is no longer part of the chain for anybody.
    pub gone_at: Option<Instant>,
}

// === impl Truth ===

impl Truth {
    /// Learns the facts of all blocks that are canonical now; to be called before they are dropped.
    pub async fn gather(&mut self, lab: &Lab, bell: &Bell) {
        for Mined { head, .. } in lab.history().await.iter().filter(|mined| mined.dropped_at.is_none()) {
            if !self.facts.contains_key(&head.hash) {
                self.facts.insert(head.hash.clone(), bell.facts(&head.hash).await);
            }
        }
    }

    /// Puts what was gathered on the time line.
    pub async fn close(&mut self, lab: &Lab, bell: &Bell) {
        self.gather(lab, bell).await;
        let history = lab.history().await;
        let settled = |mined: &Mined| mined.settled_at.expect("the clock was stopped");
        self.blocks = history
            .iter()
            .enumerate()
            .map(|(i, mined)| {
                let later = &history[i + 1..];
                // the first block that is there instead of it
                let instead = later.iter().find(|other| other.head.number <= mined.head.number);
                Block {
                    facts: self.facts.get(&mined.head.hash).expect("gathered before it was dropped").clone(),
                    from: mined.mined_at,
                    surpassed_at: later.first().map(settled),
                    dropped_at: mined.dropped_at,
                    gone_at: mined.dropped_at.and(instead).map(settled),
                }
            })
            .collect();
    }

    /// All blocks, in the order in which they were mined.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// Block and transaction of every log of the bell from a height to this block, in order.
    pub fn logs(&self, from: u64, to: &Block) -> Vec<(String, String)> {
        let mut branch = vec![to];
        while branch[branch.len() - 1].facts.number > from {
            let parent = &branch[branch.len() - 1].facts.parent;
            let Some(parent) = self.blocks.iter().find(|block| block.facts.hash == *parent) else { break };
            branch.push(parent);
        }
        let logs = |block: &&Block| {
            let of = |log: &String| (block.facts.hash.clone(), log.clone());
            block.facts.logs.iter().map(of).collect::<Vec<_>>()
        };
        branch.iter().rev().filter(|block| block.facts.number >= from).flat_map(logs).collect()
    }
}

// === impl Block ===

impl Block {
    /// Whether it is part of the chain at some time between question and answer, as far as a proxy can know.
    pub fn is_there(&self, asked: Instant, answered: Instant) -> bool {
        self.from <= answered && self.gone_at.is_none_or(|gone| asked < gone + LATENESS_MAX)
    }

    /// Whether somebody who was answered then may have been told that there is no such block.
    pub fn may_be_gone(&self, answered: Instant) -> bool {
        self.dropped_at.is_some_and(|at| answered >= at)
    }

    /// For how long everybody has had something newer when the question came.
    pub fn staleness(&self, asked: Instant) -> Duration {
        self.surpassed_at.map_or(Duration::ZERO, |at| asked.saturating_duration_since(at))
    }
}
