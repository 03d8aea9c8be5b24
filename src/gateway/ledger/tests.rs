use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::chain::{BlockId, Looked};
use crate::policy::{BackendIndex, BackendSet};

fn block(number: u64, branch: u8) -> BlockId {
    BlockId { number, hash: B256::with_last_byte(branch) }
}

fn record(n: u64) -> Record {
    Record {
        chain_id: 1,
        hash: B256::from(alloy_primitives::U256::from(n + 1)),
        sender: Some(Address::with_last_byte((n % 7) as u8)),
        nonce: Some(n / 7),
        private: false,
        escalated: false,
        fate: Fate::Submitted,
        submitted_at_s: 0,
        changed_at_s: 0,
        resends: 0,
        told: BTreeMap::new(),
    }
}

fn ledger(entries: u64) -> Ledger {
    let ledger = Ledger::new(1, None, &[], None, Timestamp::ZERO);
    for n in 0..entries {
        let record = record(n);
        ledger.desk().put(Life::begin(Timestamp::ZERO, record.nonce, 100), record, None, 0);
    }
    ledger
}

fn one_backend() -> BackendSet {
    let mut set = BackendSet::default();
    set.insert(BackendIndex::at(0));
    set
}

fn something(dice: &mut SmallRng, height: u64) -> Happened {
    let near = height.saturating_sub(dice.random_range(0..4));
    let (all, none) = (one_backend(), BackendSet::default());
    let (has, lacks) = if dice.random() { (all, none) } else { (none, all) };
    match dice.random_range(0..7) {
        0 => Happened::Taken(BackendIndex::at(0)),
        1 => Happened::Held,
        2 => Happened::Refused,
        3 => Happened::Included(block(near, dice.random_range(0..2)), 0),
        4 => Happened::Outrun { by: B256::ZERO, height: near },
        _ => Happened::Looked(Looked { has, lacks, next_nonce: Some(dice.random_range(0..5)), height }),
    }
}

#[test]
fn t15_what_transactions_come_to_is_counted_an_expiry_too() {
    let ledger = ledger(3);
    let [first, second, third] = [record(0).hash, record(1).hash, record(2).hash];
    for hash in [first, second] {
        ledger.tell(Timestamp::ZERO, hash, Happened::Taken(BackendIndex::at(0)));
    }
    ledger.tell(Timestamp::ZERO, third, Happened::Refused);
    ledger.tell(Timestamp::ZERO, first, Happened::Included(block(101, 1), 0));
    let late = Timestamp::ZERO + crate::chain::EXPIRES_AFTER;
    ledger.tell_all(late, Happened::Tick { is_reachable: true }, 10);
    let count = |fate: &str| ledger.fates().find(|(name, _)| *name == fate).map(|(_, count)| count);
    for (fate, expected) in [("pending", 2), ("refused", 1), ("mined", 1), ("expired", 1), ("replaced", 0)] {
        assert_eq!(count(fate), Some(expected), "{fate}");
    }
}

/// Telling those that are marked is telling all of them.
#[test]
fn nobody_is_forgotten_though_only_those_are_asked_that_something_is_due_for() {
    let mut dice = SmallRng::seed_from_u64(11);
    let ledger = ledger(60);
    let (mut height, mut now) = (100, Timestamp::ZERO);
    let mut said = 0;
    for _ in 0..4000 {
        now = now + Duration::from_millis(dice.random_range(0..3000));
        height += u64::from(dice.random_range(0..3_u8) == 0);
        let one = record(dice.random_range(0..60)).hash;
        ledger.tell(now, one, something(&mut dice, height));
        let is_reachable = dice.random();
        let events = [
            Happened::Tick { is_reachable },
            Happened::Grown(height),
            Happened::Served(block(height - 1, dice.random_range(0..2))),
            Happened::RolledBackTo(height.saturating_sub(dice.random_range(0..3)).max(90) + 1),
            Happened::Settled(height.saturating_sub(20)),
        ];
        // What is due by time waits for a tick.
        for event in events {
            let mut expected: Vec<(B256, Next)> = Vec::new();
            let mut fates: HashMap<B256, Fate> = HashMap::new();
            {
                let desk = ledger.desk();
                for (hash, kept) in &desk.by_hash {
                    let mut life = kept.life.clone();
                    life.reached(if matches!(event, Happened::Grown(_)) { height } else { desk.height });
                    let next = life.on(now, event);
                    fates.insert(*hash, life.fate());
                    if next != Next::Nothing {
                        expected.push((*hash, next));
                    }
                }
            }
            let mut told = ledger.tell_all(now, event, usize::MAX);
            said += told.len();
            told.sort_unstable_by_key(|(hash, _)| *hash);
            expected.sort_unstable_by_key(|(hash, _)| *hash);
            assert_eq!(told, expected, "{event:?}");
            for (hash, kept) in &ledger.desk().by_hash {
                assert_eq!(kept.life.fate(), fates[hash], "{event:?}");
            }
        }
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for kept in ledger.desk().by_hash.values() {
            *counts.entry(kept.record.fate.name()).or_default() += 1;
        }
        assert!(ledger.counts().into_iter().filter(|(_, count)| *count > 0).eq(counts), "the counts are off");
    }
    assert!(said > 1000, "too little happened: {said}");
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let ledger = ledger(60);
    let mut desk = ledger.desk();
    for n in 0..60 {
        desk.remove(&record(n).hash);
    }
    assert_eq!(desk.due.at_height(u64::MAX).count() + desk.due.on_blocks(..).count(), 0);
    assert_eq!(desk.due.at_time(Timestamp::ZERO + Duration::from_secs(1 << 30)).count(), 0);
    assert_eq!(desk.due.over_before(u64::MAX).count() + desk.due.count("submitted"), 0);
}

#[test]
fn t14_of_many_that_are_held_the_lowest_nonces_of_each_sender_go_first() {
    let ledger = ledger(60);
    for n in (0..60).rev() {
        ledger.tell(Timestamp::ZERO, record(n).hash, Happened::Held);
    }
    let later = Timestamp::ZERO + Duration::from_secs(10);
    let first = ledger.tell_all(later, Happened::Tick { is_reachable: true }, 10);
    let nonces: Vec<_> = first.iter().map(|(hash, _)| ledger.record(hash).unwrap().nonce).collect();
    assert_eq!(nonces, [0, 1, 2, 3, 4, 5, 6, 7, 8, 0].map(Some), "sender after sender, nonce after nonce");
}

/// T15: not hidden by what was told before.
#[test]
fn t12_a_gap_that_opens_is_the_next_nonce_and_what_a_backend_told_before_holds_otherwise() {
    let ledger = ledger(21);
    let (now, sender) = (Timestamp::ZERO, Address::with_last_byte(0));
    // The sender's nonces are 0, 1 and 2.
    let of_nonce = |nonce: u64| record(nonce * 7).hash;
    for nonce in 0..3 {
        ledger.tell(now, of_nonce(nonce), Happened::Held);
    }
    assert_eq!(ledger.pending_nonce(now, sender, 0), 3);
    assert_eq!(ledger.pending_nonce(now, sender, 5), 5, "two were sent elsewhere");
    assert_eq!(ledger.pending_nonce(now, sender, 0), 5, "another backend has not heard of them");
    ledger.tell(now, of_nonce(1), Happened::Cancelled);
    assert_eq!(ledger.pending_nonce(now, sender, 0), 1, "the others wait for this one");
    assert_eq!(ledger.behind_a_gap(), 1);
    assert_eq!(ledger.pending_nonce(now, sender, 2), 3, "somebody has another one with that nonce");
}
