//! Who owns what, now and at every block that is kept.

use std::collections::{BTreeMap, VecDeque};

use alloy_consensus::proofs::state_root;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::TrieAccount;

/// Most accounts: each takes part in the state root of every block that moves something.
pub const ACCOUNTS_MAX: usize = 8_192;

/// An account without code: all there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Transactions it has sent.
    pub nonce: u64,
    /// In wei.
    pub balance: U256,
}

/// All accounts by the hash of their address, the order of the state trie.
#[derive(Debug, Default)]
pub struct State {
    accounts: BTreeMap<B256, VecDeque<Version>>,
}

/// An account from a block on.
#[derive(Clone, Copy, Debug)]
struct Version {
    since: u64,
    account: Account,
}

/// Accounts as a block leaves them; those it does not name stay as they are.
pub type Changes = BTreeMap<Address, Account>;

impl State {
    /// The account now; an unknown one is empty.
    pub fn latest(&self, address: Address) -> Account {
        self.versions(address).and_then(VecDeque::back).map(|v| v.account).unwrap_or_default()
    }

    /// The account after block `number`.
    pub fn at(&self, address: Address, number: u64) -> Account {
        let Some(versions) = self.versions(address) else { return Account::default() };
        let later = versions.partition_point(|version| version.since <= number);
        later.checked_sub(1).and_then(|at| versions.get(at)).map(|v| v.account).unwrap_or_default()
    }

    /// Whether it exists.
    pub fn has(&self, address: Address) -> bool {
        self.versions(address).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// The state root once `changes` are made.
    pub fn root_with(&self, changes: &Changes) -> B256 {
        let latest =
            self.accounts.iter().filter_map(|(key, versions)| Some((*key, versions.back()?.account)));
        let mut accounts: BTreeMap<B256, Account> = latest.collect();
        accounts.extend(changes.iter().map(|(address, account)| (keccak256(address), *account)));
        state_root(accounts.into_iter().map(|(key, account)| {
            let Account { nonce, balance } = account;
            (key, TrieAccount { nonce, balance, ..TrieAccount::default() })
        }))
    }

    /// Makes the changes of block `number`.
    pub fn apply(&mut self, number: u64, changes: &Changes) {
        for (address, account) in changes {
            let versions = self.accounts.entry(keccak256(address)).or_default();
            versions.push_back(Version { since: number, account: *account });
        }
    }

    /// Forgets how the account was before block `earliest`.
    pub fn forget(&mut self, address: Address, earliest: u64) {
        if let Some(versions) = self.accounts.get_mut(&keccak256(address)) {
            while versions.get(1).is_some_and(|next| next.since <= earliest) {
                versions.pop_front();
            }
        }
    }

    /// Everything anybody owns, in wei.
    #[cfg(test)]
    pub fn total(&self) -> U256 {
        self.accounts.values().filter_map(|versions| Some(versions.back()?.account.balance)).sum()
    }

    fn versions(&self, address: Address) -> Option<&VecDeque<Version>> {
        self.accounts.get(&keccak256(address))
    }
}
