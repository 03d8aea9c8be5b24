//! Which transactions wait for a nonce that nothing here uses: none of them can be mined before somebody sends it.

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{Address, B256};

use crate::chain::Fate;

use super::Record;

/// For each transaction that cannot be mined yet, the nonce that is missing below it.
///
/// A nonce is missing where what was handed in with it was refused, has expired or was taken back, or where it lies between
/// those of others of the same sender and was never handed in. What lies below all that is known here was used before.
pub fn gaps<'a>(records: impl IntoIterator<Item = &'a Record>) -> HashMap<B256, u64> {
    let mut senders: HashMap<(u64, Address), BTreeMap<u64, Vec<&Record>>> = HashMap::new();
    for record in records {
        if let (Some(sender), Some(nonce)) = (record.sender, record.nonce) {
            let nonces = senders.entry((record.chain_id, sender)).or_default();
            nonces.entry(nonce).or_default().push(record);
        }
    }
    let mut waiting = HashMap::new();
    for nonces in senders.values() {
        let mut missing = None;
        let mut expected = None;
        for (nonce, records) in nonces {
            if expected.is_some_and(|expected| expected < *nonce) {
                missing = expected;
            }
            if records.iter().any(|record| record.fate.place().is_some()) {
                // In a block: whatever is below it is used, by whom ever.
                missing = None;
            }
            let open = records.iter().filter(|record| record.fate.is_open());
            waiting
                .extend(missing.into_iter().flat_map(|missing| open.clone().map(move |r| (r.hash, missing))));
            let is_used =
                |record: &&Record| !matches!(record.fate, Fate::Refused | Fate::Expired | Fate::Cancelled);
            if !records.iter().any(is_used) {
                missing = missing.or(Some(*nonce));
            }
            expected = Some(nonce.saturating_add(1));
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(nonce: u64, fate: Fate) -> Record {
        Record {
            chain_id: 1,
            hash: B256::with_last_byte(nonce as u8),
            sender: Some(Address::ZERO),
            nonce: Some(nonce),
            private: false,
            escalated: false,
            fate,
            submitted_at_s: 0,
            changed_at_s: 0,
            resends: 0,
            told: BTreeMap::new(),
        }
    }

    #[test]
    fn t15_who_waits_for_a_nonce_is_told_which() {
        let block = crate::chain::BlockId { number: 1, hash: B256::ZERO };
        let mined = Fate::Mined { block, index: 0 };
        /// Nonces and what became of them; who waits for which.
        type Case<'a> = (&'a [(u64, Fate)], &'a [(u64, u64)]);
        let table: [Case<'_>; 7] = [
            (&[(5, Fate::Pending), (6, Fate::Pending)], &[]),
            (&[(5, Fate::Pending), (7, Fate::Pending), (8, Fate::Held)], &[(7, 6), (8, 6)]),
            (&[(5, Fate::Cancelled), (6, Fate::Held)], &[(6, 5)]),
            (&[(5, Fate::Expired), (7, Fate::Pending)], &[(7, 6)]),
            (&[(5, Fate::Replaced { by: None }), (6, Fate::Pending)], &[]),
            (&[(5, Fate::Refused), (6, mined), (7, Fate::Pending)], &[]),
            (&[(5, Fate::Pending), (7, Fate::Refused)], &[]),
        ];
        for (nonces, expected) in table {
            let records: Vec<Record> = nonces.iter().map(|(nonce, fate)| record(*nonce, *fate)).collect();
            let expected: HashMap<B256, u64> =
                expected.iter().map(|(nonce, missing)| (record(*nonce, mined).hash, *missing)).collect();
            assert_eq!(gaps(&records), expected, "{nonces:?}");
        }
    }
}
