use proptest::prelude::*;

use super::*;

fn at(s: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(s)
}

fn block(number: u64) -> BlockId {
    BlockId { number, hash: B256::with_last_byte(number as u8) }
}

fn set(of: &[usize]) -> BackendSet {
    let mut set = BackendSet::default();
    for backend in of {
        set.insert(BackendIndex::at(*backend));
    }
    set
}

/// A transaction with nonce 5 that backend 0 took at height 100.
fn taken() -> Life {
    let mut life = Life::begin(at(0), Some(5), 100);
    life.on(at(0), Happened::Taken(BackendIndex::at(0)));
    life
}

fn looked(life: &mut Life, height: u64, has: &[usize], lacks: &[usize], next_nonce: Option<u64>) -> Next {
    let looked = Looked { has: set(has), lacks: set(lacks), next_nonce, height };
    life.on(at(height), Happened::Looked(looked))
}

#[test]
fn t11_what_nobody_has_any_more_is_sent_again_in_the_next_block_and_in_each_after_it() {
    let mut life = taken();
    for height in 101..110 {
        assert_eq!(life.on(at(1), Happened::Grown(height)), Next::Look, "{height}");
        assert_eq!(looked(&mut life, height, &[], &[0, 1, 2], Some(5)), Next::SendToAll);
        assert_eq!(life.fate(), Fate::Dropped);
    }
}

#[test]
fn t11_backends_that_lack_it_get_it_while_another_has_it() {
    let mut life = taken();
    assert_eq!(life.on(at(1), Happened::Grown(101)), Next::Look);
    assert_eq!(looked(&mut life, 101, &[1], &[0, 2], Some(5)), Next::Send(set(&[0, 2])));
    assert_eq!((life.fate(), life.taken_by()), (Fate::Pending, set(&[1])));
}

#[test]
fn what_everybody_has_is_looked_for_less_and_less_often() {
    let mut life = taken();
    let mut looks = Vec::new();
    for height in 101..=300 {
        if life.on(at(1), Happened::Grown(height)) == Next::Look {
            looks.push(height - 100);
            looked(&mut life, height, &[0, 1], &[], Some(5));
        }
    }
    assert_eq!(looks, [1, 3, 7, 15, 31, 63, 95, 127, 159, 191]);
}

#[test]
fn where_no_blocks_are_seen_time_passes_for_them() {
    let mut life = taken();
    let mut looks = Vec::new();
    for s in 1..100 {
        if life.on(at(s), Happened::Tick { is_reachable: true }) == Next::Look {
            looks.push(s);
            life.on(at(s), Happened::Looked(Looked { has: set(&[0]), height: 100, ..Looked::default() }));
        }
    }
    assert_eq!(looks, [4, 12, 28, 60]);
}

#[test]
fn nothing_is_sent_once_the_nonce_is_used_and_two_blocks_prove_the_replacement() {
    let mut life = taken();
    assert_eq!(looked(&mut life, 101, &[], &[0, 1], Some(6)), Next::Nothing);
    assert!(life.fate().is_open(), "it may be the one that is mined");
    assert_eq!(life.on(at(2), Happened::Grown(102)), Next::Look);
    assert_eq!(looked(&mut life, 102, &[], &[0, 1], Some(6)), Next::Nothing);
    assert!(life.fate().is_open());
    life.on(at(3), Happened::Grown(103));
    assert_eq!(looked(&mut life, 103, &[], &[0, 1], Some(6)), Next::Nothing);
    assert_eq!(life.fate(), Fate::Replaced { by: None });
}

#[test]
fn t15_another_transaction_of_the_same_nonce_in_a_block_replaces_it() {
    let mut life = taken();
    let by = B256::with_last_byte(9);
    life.on(at(1), Happened::Outrun { by, height: 101 });
    assert_eq!(life.fate(), Fate::Replaced { by: Some(by) });
    assert!(!life.is_settled(100) && life.is_settled(101));
    assert_eq!(life.on(at(1), Happened::Grown(102)), Next::Nothing);
    assert_eq!(life.on(at(2), Happened::RolledBackTo(101)), Next::SendToAll, "the block is gone");
    assert_eq!(life.fate(), Fate::Pending);
}

#[test]
fn what_is_reorged_out_is_sent_and_looked_for_again_and_what_stays_is_not() {
    let mut life = taken();
    life.on(at(1), Happened::Included(block(101), 3));
    assert_eq!(life.on(at(2), Happened::RolledBackTo(102)), Next::Nothing);
    assert_eq!(life.fate(), Fate::Mined { block: block(101), index: 3 });
    assert_eq!(life.on(at(2), Happened::RolledBackTo(101)), Next::SendToAll);
    assert_eq!(life.fate(), Fate::Pending);
    assert_eq!(life.on(at(3), Happened::Grown(101)), Next::Look);
    life.on(at(3), Happened::Included(block(101), 0));
    life.on(at(4), Happened::Settled(101));
    assert_eq!(life.fate(), Fate::Finalized { block: block(101), index: 0 });
    assert!(life.is_over());
}

#[test]
fn what_was_seen_in_a_block_that_the_chain_did_not_take_is_sent_again() {
    let mut life = taken();
    let other = BlockId { number: 101, hash: B256::with_last_byte(0xee) };
    life.on(at(1), Happened::Included(other, 3));
    assert_eq!(life.on(at(1), Happened::Served(block(100))), Next::Nothing);
    assert_eq!(life.on(at(2), Happened::Served(block(101))), Next::SendToAll);
    life.on(at(2), Happened::Included(block(101), 3));
    assert_eq!(life.on(at(2), Happened::Served(block(101))), Next::Nothing);
}

#[test]
fn t14_what_is_held_goes_out_when_a_way_is_back_and_not_after_it_was_taken_back() {
    let mut life = Life::begin(at(0), Some(5), 100);
    life.on(at(0), Happened::Held);
    for s in 1..20 {
        assert_eq!(life.on(at(s), Happened::Tick { is_reachable: false }), Next::Nothing);
        assert_eq!(life.on(at(s), Happened::Grown(100 + s)), Next::Nothing);
    }
    assert_eq!(life.on(at(20), Happened::Tick { is_reachable: true }), Next::SendToAll);
    assert_eq!(life.on(at(21), Happened::Tick { is_reachable: true }), Next::Nothing, "it is on its way");
    let mut cancelled = life.clone();
    life.on(at(21), Happened::Taken(BackendIndex::at(1)));
    assert_eq!(life.fate(), Fate::Pending);
    life.on(at(22), Happened::Cancelled);
    assert_eq!(life.fate(), Fate::Pending, "it is out");
    cancelled.on(at(22), Happened::Cancelled);
    assert_eq!(cancelled.fate(), Fate::Cancelled);
    assert_eq!(cancelled.on(at(60), Happened::Tick { is_reachable: true }), Next::Nothing);
}

#[test]
fn t10_what_is_resumed_is_looked_for_at_once_and_keeps_its_age() {
    let mut life = Life::resume(at(0), Some(5), 0, Fate::Submitted, Duration::from_secs(3600));
    assert_eq!(life.on(at(0), Happened::Tick { is_reachable: true }), Next::Look);
    let left = EXPIRES_AFTER.as_secs() - 3600;
    life.on(at(left - 1), Happened::Tick { is_reachable: true });
    assert!(life.fate().is_open());
    life.on(at(left), Happened::Tick { is_reachable: true });
    assert_eq!(life.fate(), Fate::Expired);
}

#[test]
fn a_refusal_is_final_unless_somebody_took_it_after_all() {
    let mut life = Life::begin(at(0), Some(5), 100);
    life.on(at(0), Happened::Refused);
    assert_eq!(life.on(at(99), Happened::Grown(200)), Next::Nothing);
    assert_eq!(life.fate(), Fate::Refused);
    life.on(at(99), Happened::Taken(BackendIndex::at(2)));
    assert_eq!(life.fate(), Fate::Pending);
}

#[test]
fn t12_the_next_nonce_goes_on_over_what_was_taken_and_hides_no_gap() {
    let known = [(5, true), (6, true), (8, true), (11, false), (12, true)];
    // What is told, what was told a moment ago, what comes of it.
    for (told, before, expected) in [
        (5, 0, 7),
        (6, 0, 7),
        (7, 0, 7),
        (8, 0, 9),
        (4, 0, 4),
        (9, 0, 9),
        // Nobody here knows of 7, 9 and 10; somebody does who was asked before.
        (5, 8, 9),
        (5, 10, 10),
        // 11 was lost: it is next, whatever was told before.
        (5, 11, 11),
        (5, 13, 11),
        (11, 0, 11),
        (12, 0, 13),
        (5, u64::MAX, 11),
        (13, u64::MAX, u64::MAX),
    ] {
        let known = known.into_iter().filter(|(nonce, _)| *nonce >= told);
        assert_eq!(next_nonce(told, before, known), expected, "{told} {before}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Taken(usize),
    Refused,
    Held,
    Cancelled,
    Grow,
    Tick(u64, bool),
    Include,
    RollBack(u64),
    Settle(u64),
    Look(u8, u8, Option<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_usize..4).prop_map(Step::Taken),
        Just(Step::Refused),
        Just(Step::Held),
        Just(Step::Cancelled),
        Just(Step::Grow),
        (0_u64..400_000, any::<bool>()).prop_map(|(s, reachable)| Step::Tick(s, reachable)),
        Just(Step::Include),
        (0_u64..4).prop_map(Step::RollBack),
        (0_u64..4).prop_map(Step::Settle),
        (0_u8..16, 0_u8..16, prop::option::of(4_u64..8))
            .prop_map(|(has, lacks, next)| Step::Look(has, lacks, next)),
    ];
    prop::collection::vec(step, 0..60)
}

fn bits(bits: u8) -> BackendSet {
    set(&(0..4).filter(|bit| bits & (1 << bit) != 0).collect::<Vec<_>>())
}

proptest! {
    /// Whatever happens: what is final stays, nothing is sent of what cannot be mined, and what can be is looked for
    /// within the longest pause.
    #[test]
    fn what_is_open_is_looked_after_and_what_is_not_is_left_alone(steps in steps()) {
        let mut life = Life::begin(at(0), Some(5), 100);
        let (mut height, mut now) = (100, 0);
        for step in steps {
            let before = life.fate();
            let (happened, used) = match step {
                Step::Taken(by) => (Happened::Taken(BackendIndex::at(by)), false),
                Step::Refused => (Happened::Refused, false),
                Step::Held => (Happened::Held, false),
                Step::Cancelled => (Happened::Cancelled, false),
                Step::Grow => { height += 1; (Happened::Grown(height), false) }
                Step::Tick(s, is_reachable) => { now += s / 1000; (Happened::Tick { is_reachable }, false) }
                Step::Include => (Happened::Included(block(height), 0), false),
                Step::RollBack(depth) => (Happened::RolledBackTo(height - depth), false),
                Step::Settle(depth) => (Happened::Settled(height - depth), false),
                Step::Look(has, lacks, next_nonce) => {
                    let lacks = lacks & !has;
                    let used = next_nonce.is_some_and(|next| next > 5);
                    (Happened::Looked(Looked { has: bits(has), lacks: bits(lacks), next_nonce, height }), used)
                }
            };
            let next = life.on(at(now), happened);
            if matches!(before, Fate::Finalized { .. } | Fate::Cancelled) {
                prop_assert_eq!((life.fate(), next), (before, Next::Nothing));
            }
            if next != Next::Nothing {
                prop_assert!(life.fate().is_open(), "{:?} {:?}", life.fate(), next);
                prop_assert!(!used, "sent though its nonce is used");
            }
            if let Next::Send(to) = next {
                prop_assert!(!to.is_empty() && to.and(life.taken_by()).is_empty());
            }
        }
        if life.fate().is_open() && life.fate() != Fate::Held {
            let looked = (1..=PAUSE_BLOCKS_MAX).any(|more| life.on(at(now), Happened::Grown(height + more)) == Next::Look);
            prop_assert!(looked, "{:?}", life);
        }
    }
}

#[test]
fn t9_what_is_private_stays_so_until_the_time_that_was_set_and_is_told_once() {
    let tick = Happened::Tick { is_reachable: false };
    let mut kept = taken();
    let mut until = taken().privately(Some(at(60)));
    let mut held = Life::begin(at(0), Some(5), 100).privately(Some(at(60)));
    held.on(at(0), Happened::Held);
    for s in 0..60 {
        for life in [&mut kept, &mut until, &mut held] {
            assert_ne!(life.on(at(s), tick), Next::Escalate, "{s}");
        }
    }
    for s in 60..7200 {
        assert_ne!(kept.on(at(s), tick), Next::Escalate, "never is the default");
        for life in [&mut until, &mut held] {
            assert_eq!(life.on(at(s), tick) == Next::Escalate, s == 60, "{s}");
        }
    }
}

#[test]
fn t9_what_is_in_a_block_by_then_is_not_escalated() {
    let mut life = taken().privately(Some(at(60)));
    life.on(at(1), Happened::Included(block(101), 0));
    for s in 0..120 {
        assert_eq!(life.on(at(s), Happened::Tick { is_reachable: true }), Next::Nothing);
    }
}

#[test]
fn t9_a_relay_that_keeps_a_transaction_and_never_shows_it_to_anybody_is_given_it_again() {
    let relay = BackendSet::from_iter([BackendIndex::at(0)]);
    let mut resent_at = Vec::new();
    let mut public = taken();
    let mut private = taken().privately(None);
    for height in 101..=300 {
        let looked = Happened::Looked(Looked { has: relay, height, ..Looked::default() });
        if private.on(at(height), Happened::Grown(height)) == Next::Look
            && private.on(at(height), looked) == Next::SendToAll
        {
            resent_at.push(height);
        }
        if public.on(at(height), Happened::Grown(height)) == Next::Look {
            assert_eq!(public.on(at(height), looked), Next::Nothing, "a pool that has it gossips it");
        }
    }
    let gaps = resent_at.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(resent_at.len() > 10 && gaps.max() < Some(25), "relays forget after 25 blocks: {resent_at:?}");
}
