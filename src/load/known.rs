//! What a load has to know of a chain to ask it sensible questions: who lives there, and what happened. Pure.

use std::collections::HashSet;

use alloy_primitives::{Address, B256};
use serde::Deserialize;

/// Addresses, tokens and transactions that are kept: enough that no cache answers all of it.
const KEPT_MAX: usize = 256;
/// `Transfer(address,address,uint256)`: whoever emits it with three topics is an ERC-20 token.
pub const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// What was found on a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub chain_id: u64,
    /// Its height when it was looked at.
    pub head: u64,
    accounts: Vec<Address>,
    tokens: Vec<Address>,
    transactions: Vec<B256>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    miner: Option<Address>,
    #[serde(default)]
    transactions: Vec<Transaction>,
}

/// Chains add kinds of their own, so nothing has to be there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Transaction {
    hash: Option<B256>,
    from: Option<Address>,
    to: Option<Address>,
}

#[derive(Deserialize)]
struct Log {
    address: Address,
    #[serde(default)]
    topics: Vec<B256>,
}

impl Known {
    /// Nothing but where it stands.
    pub fn new(chain_id: u64, head: u64) -> Self {
        Self { chain_id, head, ..Self::default() }
    }

    /// Learns from a block with whole transactions, the `result` of `eth_getBlockByNumber`. What cannot be read
    /// teaches nothing.
    pub fn learn_block(&mut self, result: &[u8]) {
        let Ok(block) = serde_json::from_slice::<Block>(result) else { return };
        for transaction in block.transactions {
            add(&mut self.transactions, transaction.hash);
            add(&mut self.accounts, transaction.from);
            add(&mut self.accounts, transaction.to);
        }
        add(&mut self.accounts, block.miner);
    }

    /// Learns from logs of transfers, the `result` of `eth_getLogs`.
    pub fn learn_transfers(&mut self, result: &[u8]) {
        let Ok(logs) = serde_json::from_slice::<Vec<Log>>(result) else { return };
        for log in logs.iter().filter(|log| log.topics.len() == 3) {
            add(&mut self.tokens, Some(log.address));
            add(&mut self.accounts, log.topics.get(2).map(|topic| Address::from_word(*topic)));
        }
    }

    /// Whether more blocks would teach more.
    pub fn wants_more(&self) -> bool {
        self.accounts.len() < KEPT_MAX / 4
    }

    /// What two backends of a chain can both be asked about.
    pub fn with(mut self, other: Self) -> Self {
        self.head = self.head.min(other.head);
        let before: HashSet<_> = self.accounts.iter().copied().collect();
        self.accounts.extend(other.accounts.into_iter().filter(|account| !before.contains(account)));
        self.accounts.truncate(KEPT_MAX);
        self
    }

    /// An account, by a number that chance gave. Every chain has the two that are taken where none was found.
    pub fn account(&self, draw: u64) -> Address {
        const BURNT: Address = alloy_primitives::address!("000000000000000000000000000000000000dEaD");
        pick(&self.accounts, draw).unwrap_or(if draw.is_multiple_of(2) { Address::ZERO } else { BURNT })
    }

    /// A token contract; an account where no token was found: it answers a call with nothing.
    pub fn token(&self, draw: u64) -> Address {
        pick(&self.tokens, draw).unwrap_or_else(|| self.account(draw))
    }

    /// A transaction in a block; where none was found, a hash that nobody has seen.
    pub fn transaction(&self, draw: u64) -> B256 {
        pick(&self.transactions, draw).unwrap_or_else(|| B256::from(alloy_primitives::U256::from(draw)))
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, one: Option<T>) {
    if let Some(one) = one
        && all.len() < KEPT_MAX
        && !all.contains(&one)
    {
        all.push(one);
    }
}

fn pick<T: Copy>(all: &[T], draw: u64) -> Option<T> {
    let at = draw.checked_rem(all.len() as u64)?;
    all.get(usize::try_from(at).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_and_its_transfers_teach_who_lives_there() {
        let mut known = Known::new(1, 100);
        assert!(known.wants_more());
        let one = "0x1111111111111111111111111111111111111111";
        let two = "0x2222222222222222222222222222222222222222";
        let hash = format!("0x{}", "ab".repeat(32));
        let block = format!(
            r#"{{"number":"0x60","miner":"{two}","transactions":[{{"hash":"{hash}","from":"{one}","to":null,"type":"0x7e"}},{{"hash":"{hash}","from":"{one}","to":"{two}"}}]}}"#
        );
        known.learn_block(block.as_bytes());
        let token = "0x3333333333333333333333333333333333333333";
        let word = |address: &str| format!("0x{:0>64}", &address[2..]);
        let (from, to) = (word(one), word("0x4444444444444444444444444444444444444444"));
        let logs = format!(
            r#"[{{"address":"{token}","topics":["{TRANSFER_TOPIC}","{from}","{to}"]}},{{"address":"{two}","topics":["{TRANSFER_TOPIC}"]}}]"#
        );
        known.learn_transfers(logs.as_bytes());
        assert_eq!(known.accounts.len(), 3, "{known:?}");
        assert_eq!((known.tokens.len(), known.transactions.len()), (1, 1));
        assert_eq!(known.token(17), token.parse::<Address>().unwrap());
        assert_eq!(known.account(3), one.parse::<Address>().unwrap());
    }

    #[test]
    fn an_empty_chain_can_be_asked_too_and_nonsense_teaches_nothing() {
        let mut known = Known::new(1, 0);
        for nonsense in ["null", "[]", "{", r#"{"transactions":["0x1"]}"#, r#"[{"address":7}]"#] {
            known.learn_block(nonsense.as_bytes());
            known.learn_transfers(nonsense.as_bytes());
        }
        assert_eq!(known, Known::new(1, 0));
        assert_ne!(known.account(0), known.account(1));
        assert_eq!(known.token(0), known.account(0));
        assert_ne!(known.transaction(0), known.transaction(1));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let transactions: Vec<_> = (0..2000u64)
            .map(|n| format!(r#"{{"from":"{}"}}"#, Address::left_padding_from(&n.to_be_bytes())))
            .collect();
        let mut known = Known::new(1, 0);
        known.learn_block(format!(r#"{{"transactions":[{}]}}"#, transactions.join(",")).as_bytes());
        assert_eq!(known.accounts.len(), KEPT_MAX);
        assert!(!known.wants_more());
    }
}
