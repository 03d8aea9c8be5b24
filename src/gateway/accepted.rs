//! Which backend took a transaction: until it has spread, only that one knows of it.
//!
//! A wallet that has just sent asks for the transaction and for its next nonce within milliseconds. The
//! answers of a backend that the gossip has not reached would contradict what the wallet was told.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use serde_json::value::RawValue;

use crate::ethereum::RawTransaction;
use crate::policy::{BackendIndex, Timestamp};

use super::call::Call;

/// Transactions and senders remembered per chain. Past it the oldest are forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// Gossip takes seconds, a block twelve; after this everybody knows or nobody ever will.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Accepted {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_hash: Recent<B256>,
    by_sender: Recent<Address>,
}

impl Accepted {
    /// A backend took this transaction.
    pub(super) fn took(&self, now: Timestamp, transaction: &RawTransaction, backend: BackendIndex) {
        // Recovering the sender takes a third of a millisecond: not under the lock.
        let (hash, sender) = (transaction.hash(), transaction.sender());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.by_hash.put(now, hash, backend);
        if let Some(sender) = sender {
            taken.by_sender.put(now, sender, backend);
        }
    }

    /// The backend that knows most about what the call asks for, if a transaction of late is the reason.
    pub(super) fn who_knows(&self, now: Timestamp, call: &Call<'_>) -> Option<BackendIndex> {
        let of_hash = || {
            let hash = argument(call.params.as_deref()?, 0)?.parse().ok()?;
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).by_hash.get(now, &hash)
        };
        match call.method.name {
            "eth_getTransactionByHash" | "eth_getRawTransactionByHash" | "eth_getTransactionReceipt" => {
                of_hash()
            }
            "eth_getTransactionCount" if argument(call.params.as_deref()?, 1)? == "pending" => {
                let sender = argument(call.params.as_deref()?, 0)?.parse().ok()?;
                self.taken.lock().unwrap_or_else(PoisonError::into_inner).by_sender.get(now, &sender)
            }
            _ => None,
        }
    }
}

/// A string among the parameters.
fn argument(params: &RawValue, at: usize) -> Option<&str> {
    let values: Vec<&RawValue> = serde_json::from_str(params.get()).ok()?;
    serde_json::from_str(values.get(at)?.get()).ok()
}

#[derive(Debug)]
struct Recent<K>(HashMap<K, (BackendIndex, Timestamp)>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Recent<K> {
    fn put(&mut self, now: Timestamp, key: K, backend: BackendIndex) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, (_, at)| now.since(*at) < REMEMBERED_FOR);
        }
        if self.0.len() >= REMEMBERED_MAX {
            // All of them are recent: half of them make room at once, so that this stays rare.
            let mut ages: Vec<Timestamp> = self.0.values().map(|(_, at)| *at).collect();
            let (_, median, _) = ages.select_nth_unstable(REMEMBERED_MAX / 2);
            let median = *median;
            self.0.retain(|_, (_, at)| *at > median);
        }
        self.0.insert(key, (backend, now));
    }

    fn get(&self, now: Timestamp, key: &K) -> Option<BackendIndex> {
        self.0.get(key).filter(|(_, at)| now.since(*at) < REMEMBERED_FOR).map(|(backend, _)| *backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Fleet;

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let backend = Fleet::new(vec![crate::policy::BackendSpec {
            name: "a".into(),
            tier: crate::policy::Tier::Primary,
            private: false,
            labels: crate::policy::DomainLabels::new(),
            limit_per_s: None,
        }])
        .index(0)
        .unwrap();
        let mut recent = Recent::default();
        let at = |n: usize| Timestamp::ZERO + Duration::from_millis(n as u64);
        for n in 0..3 * REMEMBERED_MAX {
            recent.put(at(n), n, backend);
            assert!(recent.0.len() <= REMEMBERED_MAX);
        }
        let last = 3 * REMEMBERED_MAX - 1;
        assert!(recent.get(at(last), &last).is_some());
        assert!(recent.get(at(last) + REMEMBERED_FOR, &last).is_none());
    }
}
