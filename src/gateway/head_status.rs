//! What people may know of where a chain stands and who stands where: heads, forks, quarantines.

use serde::Serialize;

use super::chain::{Chain, Decider};
use crate::chain::{Fork, Quarantine};
use crate::policy::{BackendIndex, Timestamp};

/// Where a chain stands.
#[derive(Clone, Debug, Serialize)]
pub struct FollowerStatus {
    /// The block that clients are told is the latest, and its hash.
    pub number: Option<u64>,
    /// Its hash; absent while only its number was seen.
    pub hash: Option<String>,
    /// The last final block that independent backends agree on.
    pub finalized: Option<u64>,
    /// The estimated time between blocks, in milliseconds.
    pub block_time_ms: u64,
    /// No backend has had a new block for much longer than that: the chain itself stands still.
    pub halted: bool,
    /// What backends disagree about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkStatus>,
    /// The block whose branch an operator has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// A disagreement about the block after `ancestor`.
#[derive(Clone, Debug, Serialize)]
pub struct ForkStatus {
    /// Height of the last block that all share.
    pub ancestor_number: u64,
    /// Its hash.
    pub ancestor_hash: String,
    /// For how long, in seconds.
    pub since_s: u64,
    /// No branch has more independent backends: nothing is mixed, and an operator should choose.
    pub undecided: bool,
    /// Why the served branch is served, in a sentence.
    pub why: String,
    /// The served branch and the others.
    pub branches: Vec<BranchStatus>,
}

/// One branch.
#[derive(Clone, Debug, Serialize)]
pub struct BranchStatus {
    /// Hash of its first block.
    pub first: String,
    /// Its height.
    pub height: u64,
    /// Whether clients are answered from it.
    pub served: bool,
    /// How many independent voices are on it: by provider, cloud and node software, not by count.
    pub weight: u32,
    /// Who is on it.
    pub backends: Vec<String>,
}

/// Where one backend stands.
#[derive(Clone, Debug, Serialize)]
pub struct ViewStatus {
    /// The head that it showed last.
    pub number: Option<u64>,
    /// Its hash.
    pub hash: Option<String>,
    /// Blocks behind what clients are told, as far as it surely has them.
    pub behind: Option<u64>,
    /// Seconds since it showed it.
    pub seconds_ago: Option<f64>,
    /// Average delay behind whoever shows a block first, in milliseconds.
    pub lateness_ms: u64,
    /// Its head went back lately: several nodes behind one URL, of which some lag.
    pub unsteady: bool,
    /// Its last final block.
    pub finalized: Option<u64>,
    /// Its pending block lags behind its own head.
    pub pending_stale: bool,
    /// It has no state that is this many blocks old, as far as it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_ends_blocks: Option<u64>,
    /// It has no bodies, receipts or logs that are this many blocks old, as far as it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_ends_blocks: Option<u64>,
}

impl FollowerStatus {
    pub(super) fn of(chain: &Chain, decider: &Decider, now: Timestamp) -> Self {
        let follower = &decider.follower;
        let head = follower.head();
        Self {
            number: head.map(|head| head.number),
            hash: head.and_then(|head| head.hash).map(|hash| hash.to_string()),
            finalized: follower.finalized(),
            block_time_ms: follower.block_time().as_millis() as u64,
            halted: follower.is_halted(),
            fork: follower.fork().map(|fork| ForkStatus::of(chain, decider, fork, now)),
            pinned: follower.pinned().map(|hash| hash.to_string()),
        }
    }
}

impl ForkStatus {
    fn of(chain: &Chain, decider: &Decider, fork: &Fork, now: Timestamp) -> Self {
        let branches: Vec<BranchStatus> = fork
            .branches
            .iter()
            .map(|branch| BranchStatus {
                first: branch.first.to_string(),
                height: branch.height,
                served: branch.is_served(&decider.follower),
                weight: branch.weight,
                backends: branch.voices.iter().map(|voice| chain.link(voice).name.to_string()).collect(),
            })
            .collect();
        let served = branches.iter().find(|branch| branch.served);
        let rival = branches.iter().filter(|branch| !branch.served).max_by_key(|branch| branch.weight);
        let why = match (served, rival) {
            _ if decider.follower.pinned().is_some() => "an operator has chosen its branch".to_owned(),
            _ if fork.is_undecided => "no branch has more independent backends: what was served stays, and backends of other branches \
                 answer nothing; choose with POST /admin/{chain}/pin/{block hash}"
                .replace("{chain}", &chain.settings.name),
            (Some(served), Some(rival)) if served.weight > rival.weight => format!(
                "{} independent backends are on the served branch, {} on the next",
                served.weight, rival.weight
            ),
            _ => "the served branch grows as the chain does, the other one falls behind".to_owned(),
        };
        Self {
            ancestor_number: fork.ancestor.number,
            ancestor_hash: fork.ancestor.hash.to_string(),
            since_s: now.since(fork.since).as_secs(),
            undecided: fork.is_undecided,
            why,
            branches,
        }
    }
}

impl ViewStatus {
    pub(super) fn of(decider: &Decider, now: Timestamp, backend: BackendIndex) -> Self {
        let view = decider.follower.view(now, backend);
        let served = decider.follower.head().map(|head| head.number);
        let [state_ends_blocks, history_ends_blocks] = decider.fleet.backend(backend).retention(now);
        let behind = |has: u64| Some(served?.saturating_sub(has));
        Self {
            number: view.tip.map(|tip| tip.number),
            hash: view.tip.map(|tip| tip.hash.to_string()),
            behind: view.standing.has.and_then(behind),
            seconds_ago: view.heard_at.map(|at| (now.since(at).as_secs_f64() * 1000.0).round() / 1000.0),
            lateness_ms: (view.lateness_s * 1000.0) as u64,
            unsteady: view.is_unsteady,
            finalized: view.standing.finalized,
            pending_stale: view.standing.pending_is_stale,
            state_ends_blocks,
            history_ends_blocks,
        }
    }
}

/// The word and the sentence for a backend that gets no reads.
pub(super) fn quarantine(why: Quarantine) -> (&'static str, &'static str) {
    match why {
        Quarantine::Forked => (
            "forked",
            "it follows another branch than the one that is served: it gets no reads while it does",
        ),
        Quarantine::Contradicted => (
            "contradicted",
            "while it was on its way back, it answered otherwise about a block than the backend that serves: it gets no \
             reads for ten minutes after that",
        ),
        Quarantine::Lying => {
            ("lying", "it showed a header that does not hash to what it claims, while others' headers do")
        }
    }
}
