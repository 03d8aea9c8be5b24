//! What is asked: the habits of a wallet, an indexer or a trader, drawn from a seed. Pure.
//!
//! Every call is a read that any chain can answer: addresses, tokens and hashes are of the chain itself
//! ([`Known`]), and blocks are named by numbers that lie a little below its head, or `latest`.

use std::str::FromStr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::call::{Call, Request};
use super::known::{Known, TRANSFER_TOPIC};
use super::recorded::Recorded;

/// Blocks below the head from which on every backend has a block, and no reorg is to be expected.
pub const SETTLED: u64 = 4;
/// Blocks that are asked about: full nodes keep the state of the last 128.
const WINDOW: u64 = 60;
/// Blocks whose logs are asked for at once: what every provider takes.
const LOG_BLOCKS_MAX: u64 = 5;

/// One question, as it stands in a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    HeadNumber,
    ChainId,
    GasPrice,
    FeeHistory,
    Balance,
    SettledBalance,
    Nonce,
    Code,
    TokenBalance,
    SettledTokenBalance,
    Estimate,
    LatestBlock,
    SettledBlock,
    FullBlock,
    BlockReceipts,
    Logs,
    LatestLogs,
    Transaction,
    Receipt,
    Balances,
    Receipts,
}

use Question::*;

/// Shares in a hundred. A wallet follows the head, looks at what an account has, and now and then prepares a transaction.
const WALLET: &[(Question, u32)] = &[
    (HeadNumber, 22),
    (Balance, 16),
    (SettledBalance, 4),
    (TokenBalance, 18),
    (SettledTokenBalance, 4),
    (LatestBlock, 8),
    (Nonce, 5),
    (GasPrice, 4),
    (FeeHistory, 4),
    (Estimate, 3),
    (Code, 2),
    (ChainId, 2),
    (Transaction, 2),
    (Receipt, 3),
    (Balances, 3),
];
/// An indexer walks behind the head and takes everything: large answers, and batches.
const INDEXER: &[(Question, u32)] = &[
    (HeadNumber, 10),
    (FullBlock, 24),
    (SettledBlock, 6),
    (BlockReceipts, 10),
    (Logs, 26),
    (Receipt, 10),
    (Transaction, 4),
    (Receipts, 10),
];
/// A trader reads state at the head, over and over, and what its next transaction will cost.
const TRADER: &[(Question, u32)] = &[
    (HeadNumber, 12),
    (TokenBalance, 44),
    (LatestBlock, 8),
    (SettledTokenBalance, 6),
    (GasPrice, 5),
    (FeeHistory, 3),
    (Nonce, 6),
    (Estimate, 8),
    (LatestLogs, 5),
    (Receipt, 3),
];

/// What is asked.
#[derive(Clone, Debug)]
pub enum Mix {
    /// A wallet: heads, balances, small calls.
    Wallet,
    /// An indexer: blocks, receipts and logs in large pieces.
    Indexer,
    /// A trading program: calls at the head, fees, nonces.
    Trader,
    /// Requests of a file, in their order, over and over.
    Recorded(Recorded),
}

/// Why a name is no mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no mix: there are wallet, indexer and trader")]
pub struct MixError;

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        match text.to_ascii_lowercase().as_str() {
            "wallet" => Ok(Self::Wallet),
            "indexer" => Ok(Self::Indexer),
            "trader" => Ok(Self::Trader),
            _ => Err(MixError),
        }
    }
}

impl Mix {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Indexer => "indexer",
            Self::Trader => "trader",
            Self::Recorded(_) => "recorded",
        }
    }

    fn shares(&self) -> &'static [(Question, u32)] {
        match self {
            Self::Wallet => WALLET,
            Self::Indexer => INDEXER,
            Self::Trader => TRADER,
            Self::Recorded(_) => &[],
        }
    }
}

/// Draws the requests of a mix. The same seed, number and height give the same request, so that two backends can
/// be asked the same, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    source: Source,
    known: Known,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Shares(Vec<(Question, u32)>),
    Recorded(Recorded),
}

impl Draws {
    pub(super) fn new(mix: &Mix, known: Known, seed: u64) -> Self {
        let source = match mix {
            Mix::Recorded(recorded) => Source::Recorded(recorded.clone()),
            mix => Source::Shares(mix.shares().to_vec()),
        };
        Self { source, known, seed }
    }

    /// One example of each question; of a file, none.
    pub(super) fn examples(&self) -> Vec<(Question, Request)> {
        let Source::Shares(shares) = &self.source else { return Vec::new() };
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let head = self.known.head;
        shares.iter().map(|(question, _)| (*question, self.request(*question, head, &mut rng))).collect()
    }

    /// Asks this no more. The answer says whether anything is left.
    pub(super) fn leave_out(&mut self, question: Question) -> bool {
        match &mut self.source {
            Source::Recorded(_) => true,
            Source::Shares(shares) => {
                shares.retain(|(kept, _)| *kept != question);
                !shares.is_empty()
            }
        }
    }

    /// The request with this number, when the chain's head is `head`.
    pub(super) fn nth(&self, number: u64, head: u64) -> Request {
        let shares = match &self.source {
            Source::Recorded(recorded) => return recorded.nth(number),
            Source::Shares(shares) => shares,
        };
        // Neighbouring seeds give unrelated streams: the generator's seeding mixes them.
        let mut rng = SmallRng::seed_from_u64(self.seed.rotate_left(32) ^ number);
        let all: u32 = shares.iter().map(|(_, share)| share).sum();
        let mut left = rng.random_range(0..all.max(1));
        for (question, share) in shares {
            if left < *share {
                return self.request(*question, head, &mut rng);
            }
            left -= share;
        }
        self.request(HeadNumber, head, &mut rng)
    }

    fn request(&self, question: Question, head: u64, rng: &mut SmallRng) -> Request {
        let known = &self.known;
        let newest = head.saturating_sub(SETTLED);
        let block = newest.saturating_sub(rng.random_range(0..WINDOW));
        let blocks = rng.random_range(0..LOG_BLOCKS_MAX);
        let account = known.account(rng.random());
        let other = known.account(rng.random());
        let token = known.token(rng.random());
        let number = format!("\"{block:#x}\"");
        // balanceOf(address)
        let balance_of = |at: &str| {
            format!(
                r#"[{{"to":"{token:#x}","data":"0x70a08231{}"}},{at}]"#,
                account.into_word().to_string().split_off(2)
            )
        };
        let latest = |method, params: String| call(method, &params, false);
        let settled = |method, params: String| call(method, &params, true);
        let receipt = |rng: &mut SmallRng| {
            settled("eth_getTransactionReceipt", format!("[\"{}\"]", known.transaction(rng.random())))
        };
        Request::single(match question {
            HeadNumber => call("eth_blockNumber", "[]", false),
            ChainId => call("eth_chainId", "[]", true),
            GasPrice => call("eth_gasPrice", "[]", false),
            FeeHistory => settled("eth_feeHistory", format!("[\"0x4\",{number},[25]]")),
            Balance => latest("eth_getBalance", format!("[\"{account:#x}\",\"latest\"]")),
            SettledBalance => settled("eth_getBalance", format!("[\"{account:#x}\",{number}]")),
            Nonce => latest("eth_getTransactionCount", format!("[\"{account:#x}\",\"latest\"]")),
            Code => settled("eth_getCode", format!("[\"{token:#x}\",{number}]")),
            TokenBalance => latest("eth_call", balance_of("\"latest\"")),
            SettledTokenBalance => settled("eth_call", balance_of(&number)),
            // Nothing is moved, so that nobody can be too poor for it.
            Estimate => latest(
                "eth_estimateGas",
                format!(r#"[{{"from":"{account:#x}","to":"{other:#x}","value":"0x0"}}]"#),
            ),
            LatestBlock => latest("eth_getBlockByNumber", "[\"latest\",false]".to_owned()),
            SettledBlock => settled("eth_getBlockByNumber", format!("[{number},false]")),
            FullBlock => settled("eth_getBlockByNumber", format!("[{number},true]")),
            BlockReceipts => settled("eth_getBlockReceipts", format!("[{number}]")),
            Logs => {
                let from = block.saturating_sub(blocks);
                settled("eth_getLogs", format!(r#"[{{"fromBlock":"{from:#x}","toBlock":{number}}}]"#))
            }
            LatestLogs => latest(
                "eth_getLogs",
                format!(r#"[{{"fromBlock":"latest","toBlock":"latest","topics":["{TRANSFER_TOPIC}"]}}]"#),
            ),
            Transaction => {
                settled("eth_getTransactionByHash", format!("[\"{}\"]", known.transaction(rng.random())))
            }
            Receipt => receipt(rng),
            Balances => {
                let balance = |_| {
                    let account = known.account(rng.random());
                    latest("eth_getBalance", format!("[\"{account:#x}\",\"latest\"]"))
                };
                return Request::batch((0..5).map(balance).collect());
            }
            Receipts => return Request::batch((0..10).map(|_| receipt(rng)).collect()),
        })
    }
}

fn call(method: &str, params: &str, is_settled: bool) -> Call {
    Call { method: method.into(), params: Some(Arc::from(params)), is_settled }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ethereum::{Method, MethodKind};

    const MIXES: [Mix; 3] = [Mix::Wallet, Mix::Indexer, Mix::Trader];

    #[test]
    fn shares_are_of_a_hundred_and_kept() {
        for mix in MIXES {
            assert_eq!(mix.shares().iter().map(|(_, share)| share).sum::<u32>(), 100, "{}", mix.name());
            let draws = Draws::new(&mix, Known::new(1, 1000), 1);
            let mut seen: HashMap<String, u32> = HashMap::new();
            (0..20_000).for_each(|n| *seen.entry(draws.nth(n, 1000).label()).or_default() += 1);
            let heads = mix.shares().iter().find(|(q, _)| *q == HeadNumber).map_or(0, |(_, share)| *share);
            let found = seen["eth_blockNumber"];
            assert!(found.abs_diff(heads * 200) < 300, "{} {found} {heads}", mix.name());
        }
    }

    #[test]
    fn every_call_is_a_read_with_sound_params() {
        for mix in MIXES {
            let draws = Draws::new(&mix, Known::new(1, 1000), 1);
            for number in 0..2000 {
                for call in draws.nth(number, 1000).calls.iter() {
                    let method = Method::lookup(&call.method);
                    assert!(method.is_listed(), "{}", call.method);
                    assert!(!call.submits() && method.kind != MethodKind::AdminDangerous, "{}", call.method);
                    let params = call.params.as_deref().unwrap_or("[]");
                    let params: serde_json::Value = serde_json::from_str(params).expect(params);
                    assert!(params.is_array(), "{params}");
                    // What is called settled names no moving block.
                    assert!(!call.is_settled || !params.to_string().contains("latest"), "{params}");
                }
            }
        }
    }

    /// At genesis and far above it: no block above the settled ones, none below zero.
    #[test]
    fn numbered_blocks_exist_on_any_chain() {
        for head in [0, 3, 5, 1_000_000] {
            let draws = Draws::new(&Mix::Indexer, Known::new(1, head), 3);
            for number in 0..500 {
                let request = draws.nth(number, head);
                for call in request.calls.iter().filter(|call| &*call.method == "eth_getBlockByNumber") {
                    let params: Vec<serde_json::Value> =
                        serde_json::from_str(call.params.as_deref().unwrap()).unwrap();
                    let block = params[0].as_str().unwrap().strip_prefix("0x").unwrap();
                    let block = u64::from_str_radix(block, 16).unwrap();
                    assert!(
                        block <= head.saturating_sub(SETTLED) && block + SETTLED + WINDOW > head,
                        "{block} {head}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_same_seed_number_and_height_give_the_same_request_and_others_do_not() {
        let draws = |seed| Draws::new(&Mix::Wallet, Known::new(1, 1000), seed);
        let all = |draws: &Draws| (0..200).map(|n| draws.nth(n, 1000)).collect::<Vec<_>>();
        assert_eq!(all(&draws(1)), all(&draws(1)));
        assert_ne!(all(&draws(1)), all(&draws(2)));
    }

    #[test]
    fn what_is_not_offered_is_left_out_until_nothing_is_left() {
        let mut draws = Draws::new(&Mix::Indexer, Known::new(1, 1000), 1);
        assert!(draws.leave_out(BlockReceipts));
        assert!((0..2000).all(|n| draws.nth(n, 1000).label() != "eth_getBlockReceipts"));
        let rest: Vec<_> = draws.examples().iter().map(|(question, _)| *question).collect();
        let left: Vec<bool> = rest.iter().map(|question| draws.leave_out(*question)).collect();
        assert_eq!(left.iter().filter(|left| !**left).count(), 1);
        assert_eq!(left.last(), Some(&false));
    }

    #[test]
    fn names_are_known_in_any_case_and_others_are_told_which_there_are() {
        assert!(matches!("Wallet".parse(), Ok(Mix::Wallet)));
        assert!("walet".parse::<Mix>().unwrap_err().to_string().contains("indexer"));
    }
}
