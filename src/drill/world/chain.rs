//! The canonical chain, and where each backend believes it stands.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;

use super::super::random::{Draws, Lognormal};
use super::super::scenario::{Head, HeadMode, Scenario};
use super::selects;
use crate::chain::{Block, BlockId, HashCheck, Look, Shown};
use crate::policy::Timestamp;

/// Heights start here, so that a lag of hundreds of blocks has room.
pub(super) const BASE_HEIGHT: u64 = 1_000_000;
/// A finalized block is this far behind.
const FINALITY_BLOCKS: u64 = 64;
/// Blocks are made for so long after the end, for what was sent shortly before it.
pub(super) const AFTER_BLOCKS: u32 = 20;
/// A backend that hears of blocks later than this many after is none.
const LAG_STEPS_MAX: u64 = 16;

const LAG_DRAW: u64 = 1;
const SLOT_DRAW: u64 = 2;
const JITTER_DRAW: u64 = 3;
const NODE_DRAW: u64 = 4;

/// Where a backend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its `latest`.
    pub(super) latest: u64,
    /// The branch that it is on, where that is not the canonical one.
    pub(super) branch: Option<Branch>,
    /// Its `finalized`.
    pub(super) finalized: u64,
    /// The block on which its `pending` builds.
    pub(super) pending: u64,
    /// When what is wrong with it began.
    pub(super) wrong_since: Option<Timestamp>,
}

impl Standing {
    /// Whether its block at this height is another one than the canonical one.
    pub(super) fn is_forked(&self, height: u64) -> bool {
        self.branch.is_some_and(|branch| height > branch.from)
    }
}

/// A chain of other blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// Made from its name; never 0.
    pub(super) id: u64,
    /// The last block that it shares with the canonical one.
    pub(super) from: u64,
}

/// A hash that tells of its block: its branch, and its height.
fn hash(branch: Option<Branch>, number: u64) -> B256 {
    let branch = branch.filter(|branch| number > branch.from).map_or(0, |branch| branch.id);
    let mut hash = B256::repeat_byte(0xb1);
    hash[..8].copy_from_slice(&branch.to_be_bytes());
    hash[8..16].copy_from_slice(&number.to_be_bytes());
    // As everywhere, a table of blocks takes its places from what varies most.
    hash[24..].copy_from_slice(&Draws::of(&[branch, number]).word().to_be_bytes());
    hash
}

fn number_of(hash: B256) -> u64 {
    hash[8..16].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Block times.
#[derive(Debug)]
pub(super) struct Chain {
    seed: u64,
    block_time: Duration,
    times: Vec<Timestamp>,
}

impl Chain {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let block_time = scenario.chain.simulated_block_time;
        let mut times = Vec::new();
        let mut slot = 0u64;
        loop {
            slot += 1;
            let at = block_time * u32::try_from(slot).unwrap_or(u32::MAX);
            if at > scenario.duration + block_time * AFTER_BLOCKS {
                break;
            }
            let faults = scenario
                .phases
                .iter()
                .filter(|phase| (phase.start..phase.end).contains(&at))
                .flat_map(|phase| phase.faults.iter().filter_map(|fault| fault.head.as_ref()));
            let is_made = faults.into_iter().all(|head| match head.mode {
                HeadMode::Halt => false,
                _ => !Draws::of(&[seed, SLOT_DRAW, slot]).chance(head.missed_slots),
            });
            if is_made {
                times.push(Timestamp::ZERO + at);
            }
        }
        Self { seed, block_time, times }
    }

    /// The canonical height.
    pub(super) fn height(&self, now: Timestamp) -> u64 {
        BASE_HEIGHT + self.times.partition_point(|made| *made <= now) as u64
    }

    /// What headers say of their time. Nobody's clock starts at 0, and blocks before the drill have their times too;
    /// those of a branch that grows more slowly say the same as the canonical ones at their height.
    fn timestamp_s(&self, height: u64) -> u64 {
        const ORIGIN_S: u64 = 1_600_000_000;
        match self.made_at(height) {
            Some(made) => ORIGIN_S + made.since_origin().as_secs(),
            None => {
                let before = self.block_time.as_secs_f64() * BASE_HEIGHT.saturating_sub(height) as f64;
                ORIGIN_S.saturating_sub(before.ceil() as u64)
            }
        }
    }

    fn made_at(&self, height: u64) -> Option<Timestamp> {
        self.times.get(height.checked_sub(BASE_HEIGHT + 1)? as usize).copied()
    }

    /// The height a backend in step knows of.
    pub(super) fn heard(&self, now: Timestamp, backend: usize, lag: &Lognormal) -> u64 {
        let mut height = self.height(now);
        for _ in 0..LAG_STEPS_MAX {
            let Some(made) = self.made_at(height) else { break };
            let mut draws = Draws::of(&[self.seed, LAG_DRAW, backend as u64, height]);
            if made + lag.draw(&mut draws) <= now {
                break;
            }
            height -= 1;
        }
        height
    }
}

/// One head fault of one backend in one phase.
#[derive(Debug)]
struct Rule {
    head: Head,
    start: Timestamp,
    end: Timestamp,
    /// When this began, which may be phases ago, and where the backend stood then.
    since: Timestamp,
    then: (u64, Option<Branch>),
}

/// The heads of all backends.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) chain: Chain,
    lags: Vec<Lognormal>,
    rules: Vec<Vec<Rule>>,
}

impl Heads {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let chain = Chain::new(scenario, seed);
        let lags: Vec<_> = scenario.backends.iter().map(|backend| Lognormal::new(backend.head_lag)).collect();
        let mut heads = Self { chain, lags, rules: Vec::new() };
        heads.rules.resize_with(scenario.backends.len(), Vec::new);
        for (backend, spec) in scenario.backends.iter().enumerate() {
            let domains = spec.domains();
            for phase in &scenario.phases {
                let (start, end) = (Timestamp::ZERO + phase.start, Timestamp::ZERO + phase.end);
                let mut now_wrong = Vec::new();
                let of_phase = phase.faults.iter().filter(|fault| selects(&fault.at, &domains));
                for head in of_phase.filter_map(|fault| fault.head.as_ref()) {
                    now_wrong.push(heads.begin(backend, head, start, end));
                }
                heads.rules[backend].extend(now_wrong);
            }
        }
        heads
    }

    fn begin(&self, backend: usize, head: &Head, start: Timestamp, end: Timestamp) -> Rule {
        let before = self.rules[backend].iter().rfind(|rule| {
            rule.end == start && rule.head.mode == head.mode && rule.head.branch == head.branch
        });
        let (since, then) = match before {
            // What goes on from the phase before began there.
            Some(rule) => (rule.since, rule.then),
            None => {
                let just_before =
                    Timestamp::after_origin(start.since_origin().saturating_sub(Duration::from_nanos(1)));
                let standing = self.standing(just_before, backend, 0);
                let branch = match head.mode {
                    HeadMode::Frozen | HeadMode::FrozenRestart => standing.branch,
                    HeadMode::Fork => {
                        let name = &head.branch;
                        let id = name.bytes().fold(0, |id: u64, byte| id.rotate_left(8) ^ u64::from(byte));
                        Some(Branch { id: id | 1, from: self.chain.height(start) })
                    }
                    _ => None,
                };
                (start, (standing.latest, branch))
            }
        };
        Rule { head: head.clone(), start, end, since, then }
    }

    /// Where a backend stands; `salt` decides which node of a cluster answers.
    pub(super) fn standing(&self, now: Timestamp, backend: usize, salt: u64) -> Standing {
        let heard = self.chain.heard(now, backend, &self.lags[backend]);
        let behind = |height: u64, blocks: u64| height.saturating_sub(blocks);
        let mut standing = Standing {
            latest: heard,
            branch: None,
            finalized: behind(heard, FINALITY_BLOCKS),
            pending: heard,
            wrong_since: None,
        };
        let (mut finalized, mut pending_lag) = (None, 0);
        for rule in self.rules[backend].iter().filter(|rule| rule.start <= now && now < rule.end) {
            let blocks_since = heard.saturating_sub(rule.then.0);
            standing.wrong_since = Some(standing.wrong_since.unwrap_or(rule.since).min(rule.since));
            match rule.head.mode {
                HeadMode::Frozen => (standing.latest, standing.branch) = rule.then,
                HeadMode::FrozenRestart => {
                    let restarts =
                        now.since(rule.since).as_nanos() / rule.head.restart_every.as_nanos().max(1);
                    let gained = u64::try_from(restarts).unwrap_or(u64::MAX).min(blocks_since);
                    (standing.latest, standing.branch) = (rule.then.0 + gained, rule.then.1);
                }
                HeadMode::Lag => {
                    let mut draws = Draws::of(&[self.chain.seed, JITTER_DRAW, backend as u64, heard]);
                    let off = rule.head.blocks + draws.below(2 * rule.head.jitter + 1);
                    standing.latest = behind(heard, off.saturating_sub(rule.head.jitter));
                }
                HeadMode::Catchup => {
                    let whole = rule.end.since(rule.start).as_secs_f64();
                    let left = 1.0 - now.since(rule.start).as_secs_f64() / whole;
                    standing.latest = behind(heard, (rule.head.from_blocks as f64 * left).ceil() as u64);
                }
                HeadMode::Cluster => {
                    let total: f64 = rule.head.nodes.iter().map(|node| node.weight).sum();
                    let mut draws = Draws::of(&[self.chain.seed, NODE_DRAW, backend as u64, salt]);
                    let mut drawn = draws.unit() * total;
                    for node in &rule.head.nodes {
                        drawn -= node.weight;
                        if drawn < 0.0 {
                            standing.latest = if node.frozen { rule.then.0 } else { behind(heard, node.lag) };
                            break;
                        }
                    }
                }
                HeadMode::Fork => {
                    let own = (blocks_since as f64 * rule.head.growth) as u64;
                    (standing.latest, standing.branch) = (rule.then.0 + own, rule.then.1);
                }
                HeadMode::FinalizedFrozen => finalized = Some(behind(rule.then.0, FINALITY_BLOCKS)),
                HeadMode::PendingLag => pending_lag = rule.head.blocks,
                HeadMode::Halt | HeadMode::MissedSlots => standing.wrong_since = None,
            }
        }
        standing.pending = behind(standing.latest, pending_lag);
        standing.finalized = finalized.unwrap_or(behind(standing.latest, FINALITY_BLOCKS));
        standing
    }

    /// A block as its header tells of it.
    fn block(&self, branch: Option<Branch>, number: u64) -> Arc<Block> {
        Arc::new(Block {
            id: BlockId { number, hash: hash(branch, number) },
            parent: hash(branch, number.saturating_sub(1)),
            timestamp_s: self.chain.timestamp_s(number),
            logs_bloom: None,
            header: Bytes::new(),
        })
    }

    /// What a backend shows when it is looked at.
    pub(super) fn shown(&self, now: Timestamp, backend: usize, salt: u64, look: Look) -> Shown {
        let standing = self.standing(now, backend, salt);
        let number = match look {
            Look::Pending => return Shown::Pending(standing.pending + 1),
            Look::Latest => standing.latest,
            Look::Finalized | Look::Safe => standing.finalized,
            Look::Block(hash) => number_of(hash),
        };
        let block = self.block(standing.branch, number);
        let is_there = match look {
            Look::Block(hash) => block.id.hash == hash && number <= standing.latest,
            _ => true,
        };
        if is_there { Shown::Block(block, HashCheck::Unknown) } else { Shown::Nothing }
    }

    /// The canonical block at a height.
    pub(super) fn canonical(&self, number: u64) -> BlockId {
        BlockId { number, hash: hash(None, number) }
    }

    pub(super) fn block_time(&self) -> Duration {
        self.chain.block_time
    }
}
