//! Feeds as they come: late, forked, far ahead, lying, frozen, going back and forth.

use alloy_primitives::keccak256;
use proptest::prelude::*;

use super::*;
use crate::policy::DomainKind;

pub(super) const BLOCK: Duration = Duration::from_secs(1);

pub(super) fn at_ms(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

pub(super) fn who(at: usize) -> BackendIndex {
    BackendIndex::at(at)
}

/// The block of a branch at a height; branches share everything up to `from`.
pub(super) fn block(branch: u64, from: u64, number: u64) -> Arc<Block> {
    let name = |number: u64| if number > from { branch } else { 0 };
    let hash = |number: u64| keccak256(format!("{} {number}", name(number)));
    Arc::new(Block {
        id: BlockId { number, hash: hash(number) },
        parent: number.checked_sub(1).map_or(B256::ZERO, hash),
        timestamp_s: number,
        logs_bloom: None,
        header: bytes::Bytes::new(),
    })
}

pub(super) fn main_block(number: u64) -> Arc<Block> {
    block(0, 0, number)
}

fn labels(of: &[(&str, &str)]) -> Vec<DomainLabels> {
    of.iter()
        .map(|(provider, client)| {
            DomainLabels::new().with(DomainKind::Provider, provider).with(DomainKind::Client, client)
        })
        .collect()
}

fn follower(backends: usize) -> Follower {
    let labels = vec![DomainLabels::new(); backends];
    Follower::new(BLOCK, true, &labels.iter().collect::<Vec<_>>())
}

impl Follower {
    fn shows(&mut self, ms: u64, source: usize, block: Arc<Block>) {
        self.saw_latest(at_ms(ms), who(source), block, HashCheck::Matches);
    }

    fn number(&self) -> u64 {
        self.head().expect("something is served").number
    }

    fn quarantined(&self, ms: u64, source: usize) -> Option<Quarantine> {
        self.standing(at_ms(ms), who(source)).quarantine
    }
}

/// Everybody at 100, then at 101.
fn in_step(backends: usize) -> Follower {
    let mut follower = follower(backends);
    for number in [100, 101] {
        for source in 0..backends {
            follower.shows((number - 100) * 1000 + 5 * source as u64, source, main_block(number));
        }
    }
    assert_eq!(follower.number(), 101);
    follower.take_events();
    follower
}

#[test]
fn c1_the_head_never_goes_back_when_who_has_it_goes_away() {
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2010, 1, main_block(102));
    assert_eq!(follower.number(), 102);
    for ms in (2100..30_000).step_by(100) {
        follower.missed(at_ms(ms), who(0), Look::Latest);
        follower.missed(at_ms(ms), who(1), Look::Latest);
        follower.shows(ms, 2, main_block(101));
        follower.tick(at_ms(ms));
        assert_eq!(follower.number(), 102, "at {ms} ms");
    }
    assert_eq!(follower.reachable(at_ms(30_000)), Some(101), "what can be answered is known");
}

#[test]
fn c1_a_block_that_one_of_two_shows_is_served_when_the_next_one_is_due() {
    let mut follower = in_step(2);
    follower.shows(2000, 0, main_block(102));
    for ms in (2050..2800).step_by(50) {
        follower.shows(ms, 1, main_block(101));
        follower.tick(at_ms(ms));
        assert_eq!(follower.number(), 101, "nobody says so but one, at {ms} ms");
    }
    for ms in (2800..=3000).step_by(50) {
        follower.shows(ms, 1, main_block(101));
        follower.tick(at_ms(ms));
    }
    assert_eq!(follower.number(), 102, "the other one is behind");
}

#[test]
fn c1_a_block_that_one_shows_and_two_deny_is_not_served_for_being_due() {
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    for ms in (2050..2950).step_by(50) {
        follower.shows(ms, 1, main_block(101));
        follower.shows(ms + 1, 2, main_block(101));
        follower.tick(at_ms(ms + 1));
        assert_eq!(follower.number(), 101, "at {ms} ms");
    }
}

#[test]
fn c1_those_who_stood_still_all_the_time_are_no_rollback() {
    let mut follower = in_step(5);
    // So far that what they show is no longer remembered.
    for number in 102..700 {
        let ms = (number - 100) * 1000;
        for source in 2..5 {
            follower.shows(ms + source as u64, source, main_block(number));
        }
        for source in 0..2 {
            follower.shows(ms + 500, source, main_block(101));
        }
        follower.tick(at_ms(ms + 600));
        assert_eq!(follower.number(), number);
    }
    // Of the three one shows the next block, and the others wait for it.
    for ms in (600_000..605_000).step_by(100) {
        follower.shows(ms, 2, main_block(700));
        (3..5).for_each(|source| follower.shows(ms, source, main_block(699)));
        (0..2).for_each(|source| follower.shows(ms, source, main_block(101)));
        follower.tick(at_ms(ms));
        assert!(follower.number() >= 699, "{} at {ms} ms", follower.number());
    }
}

#[test]
fn c4_a_voice_whose_head_is_not_linked_yet_still_counts_for_its_branch() {
    let mut follower = in_step(5);
    let shows = |follower: &mut Follower, ms: u64, main: u64| {
        (3..5).for_each(|source| follower.shows(ms + source as u64, source, main_block(main)));
        let forked = 102 + (main - 102) / 3;
        (0..3).for_each(|source| follower.shows(ms + source as u64, source, block(7, 101, forked)));
    };
    (102..=111).for_each(|number| shows(&mut follower, (number - 100) * 1000, number));
    assert_eq!(follower.number(), 111, "it is six blocks ahead, and two have it");
    follower.shows(12_000, 4, main_block(113));
    assert!(follower.missing(4).is_some(), "what is between is not known");
    for ms in (12_010..12_500).step_by(50) {
        follower.tick(at_ms(ms));
        assert_eq!(follower.number(), 111, "at {ms} ms");
    }
}

#[test]
fn c1_blocks_quicker_than_looks_wait_for_all_who_keep_up_but_not_for_long() {
    let labels = vec![DomainLabels::new(); 3];
    let mut follower = Follower::new(Duration::from_millis(250), true, &labels.iter().collect::<Vec<_>>());
    let quick = |number: u64| {
        let mut block = (*main_block(number)).clone();
        block.timestamp_s = number / 4;
        Arc::new(block)
    };
    for step in 0..40u64 {
        (0..3).for_each(|source| follower.shows(step * 250, source, quick(1000 + step)));
    }
    assert_eq!(follower.number(), 1039);
    // The third is looked at half a second later than the others each time.
    for step in 40..80u64 {
        let ms = step * 250;
        (0..2).for_each(|source| follower.shows(ms, source, quick(1000 + step)));
        follower.shows(ms, 2, quick(1000 + step - 2));
        follower.tick(at_ms(ms));
    }
    assert_eq!(follower.number(), 1077, "what all have");
    for step in 80..100u64 {
        let ms = step * 250;
        (0..2).for_each(|source| follower.shows(ms, source, quick(1000 + step)));
        follower.tick(at_ms(ms));
        assert!(follower.number() + 5 >= 1000 + step, "{} at {step}", follower.number());
    }
    // A receipt in a block that is held back is a promise like any other.
    follower.showed(at_ms(99 * 250 + 10), who(0), 1099);
    assert_eq!(follower.number(), 1099);
}

#[test]
fn c1_a_development_node_however_quick_waits_for_nobody_who_is_behind() {
    let labels = vec![DomainLabels::new(); 3];
    let mut follower = Follower::new(Duration::from_millis(250), false, &labels.iter().collect::<Vec<_>>());
    for step in 0..40u64 {
        (0..2).for_each(|source| follower.shows(step * 250, source, main_block(1000 + step)));
        follower.shows(step * 250 + 1, 2, main_block(1000 + step.saturating_sub(3)));
        follower.tick(at_ms(step * 250 + 1));
    }
    assert_eq!(follower.number(), 1039);
}

#[test]
fn c1_a_rollback_that_all_confirm_is_followed() {
    let mut follower = in_step(3);
    for ms in (2000..8000).step_by(250) {
        for source in 0..3 {
            follower.shows(ms + source as u64, source, main_block(99.min(ms)));
        }
        follower.tick(at_ms(ms + 100));
    }
    // 99 was never served: it hangs on nothing that is.
    assert_eq!(follower.number(), 99);
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2001, 1, main_block(102));
    follower.take_events();
    for ms in (3000..8000).step_by(250) {
        for source in 0..3 {
            follower.shows(ms + source as u64, source, main_block(100));
        }
    }
    assert_eq!(follower.number(), 100);
    let events = follower.take_events();
    let [ChainEvent::Reorged { dropped, added }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(dropped.iter().map(|block| block.id.number).collect::<Vec<_>>(), [102, 101]);
    assert!(added.is_empty());
}

#[test]
fn c4_a_shorter_branch_with_more_voices_must_keep_up_before_it_takes_over() {
    let labels = labels(&[("a", "x"), ("b", "y"), ("c", "z"), ("d", "v"), ("e", "w")]);
    let served = |growth: u64| {
        let mut follower = Follower::new(BLOCK, true, &labels.iter().collect::<Vec<_>>());
        for (number, ms) in (95..=101).zip((0..).step_by(1000)) {
            (0..5).for_each(|source| follower.shows(ms + 5 * source as u64, source, main_block(number)));
        }
        // Two go on; three stand still for three blocks, and then go on on another branch.
        for block in 1..30u64 {
            let ms = 6000 + 1000 * block;
            (0..2).for_each(|source| follower.shows(ms + source as u64, source, main_block(101 + block)));
            let theirs = (block.saturating_sub(1)) * growth / 10;
            for source in 2..5 {
                follower.shows(ms + source as u64, source, self::block(9, 101, 101 + theirs));
            }
            follower.tick(at_ms(ms + 500));
        }
        let head = follower.head().and_then(|head| head.hash).expect("a block is served");
        head == main_block(130).id.hash
    };
    assert!(!served(10), "it grows as quickly and has more voices");
    assert!(served(6), "it falls behind");
}

#[test]
fn after_a_halt_the_chain_is_as_quick_as_before() {
    let mut follower = follower(2);
    let show = |follower: &mut Follower, number: u64, halted_s: u64| {
        let mut block = (*main_block(number)).clone();
        block.timestamp_s += halted_s;
        for source in 0..2 {
            follower.shows((number + halted_s) * 1000 + source as u64, source, Arc::new(block.clone()));
        }
    };
    (0..40).for_each(|number| show(&mut follower, number, 0));
    assert_eq!(follower.block_time(), BLOCK);
    for number in 40..60 {
        show(&mut follower, number, 7000);
        assert_eq!(follower.block_time(), BLOCK, "two hours without a block are no slow block");
    }
}

#[test]
fn where_slots_are_missed_each_block_is_looked_for_when_it_may_come() {
    let mut follower = follower(1);
    for number in 0..30 {
        let mut block = (*main_block(number)).clone();
        block.timestamp_s = number * 3;
        follower.used(at_ms(number * 3000), false, false);
        follower.shows(number * 3000, 0, Arc::new(block));
    }
    assert_eq!(follower.block_time(), BLOCK * 3);
    follower.next_look(at_ms(87_500), who(0));
    follower.look_ended(who(0), Look::Latest);
    assert_eq!(
        follower.wanted_look(at_ms(88_100), who(0)),
        Some(Look::Latest),
        "one slot after the last block"
    );
}

#[test]
fn a_chain_that_is_slower_than_expected_is_found_out() {
    let mut follower = follower(1);
    for number in 0..20 {
        let mut block = (*main_block(number)).clone();
        block.timestamp_s = number * 60;
        follower.shows(number * 60_000, 0, Arc::new(block));
    }
    assert_eq!(follower.block_time(), BLOCK * 60);
}

#[test]
fn c1_after_a_gap_that_nobody_filled_who_stood_still_does_not_take_the_chain_back() {
    let mut follower = in_step(4);
    for number in 102..108 {
        (0..2).for_each(|source| follower.shows((number - 100) * 1000, source, main_block(number)));
        follower.tick(at_ms((number - 100) * 1000 + 900));
    }
    assert_eq!(follower.number(), 107);
    // Two go on, beyond a gap that is never filled; two stand still, and nothing served links to them any more.
    for step in 0..200u64 {
        let (ms, number) = (9000 + 250 * step, 110 + 2 * (step / 4));
        for (source, block) in [(0, number), (1, number + (step / 2) % 2), (2, 101), (3, 101)] {
            let before = follower.head().map(|head| head.number);
            follower.shows(ms + source as u64, source, main_block(block));
            follower.tick(at_ms(ms + 10));
            assert!(follower.head().map(|head| head.number) >= before, "at {ms} ms");
        }
    }
    assert!(follower.number() > 150, "{}", follower.number());
}

#[test]
fn a_gap_is_filled_before_another_head_is_asked_for_and_by_one_backend() {
    let mut follower = in_step(3);
    follower.used(at_ms(1000), false, false);
    (0..2).for_each(|source| follower.shows(3500, source, main_block(104)));
    // Long enough for another look at the latest block to be due as well.
    let wanted = |follower: &mut Follower, source| follower.next_look(at_ms(9000), who(source));
    assert_eq!(wanted(&mut follower, 0), Some(Look::Block(main_block(103).id.hash)));
    assert_eq!(wanted(&mut follower, 1), Some(Look::Latest), "one is enough");
}

#[test]
fn c3_a_height_from_nowhere_is_disbelieved() {
    for number in [1_000_000, 0, 107] {
        let mut follower = in_step(3);
        for ms in (1100..60_000).step_by(500) {
            follower.shows(ms, 2, block(7, 0, number));
            follower.shows(ms, 0, main_block(101));
            follower.shows(ms, 1, main_block(101));
            follower.tick(at_ms(ms));
            assert_eq!(follower.number(), 101, "{number} at {ms} ms");
        }
    }
}

#[test]
fn c3_at_the_start_agreement_counts_and_not_who_comes_first() {
    let mut follower = follower(3);
    follower.shows(0, 2, block(7, 0, 5_000_000));
    assert_eq!(follower.head(), None, "others are waited for");
    follower.shows(20, 0, main_block(100));
    follower.shows(40, 1, main_block(101));
    follower.tick(at_ms(600));
    assert_eq!(follower.number(), 101.min(follower.number()));
    assert!(follower.number() >= 100 && follower.number() <= 101);
}

#[test]
fn a_single_backend_is_followed_as_it_goes() {
    let mut follower = follower(1);
    for number in 100..110 {
        follower.shows((number - 100) * 1000, 0, main_block(number));
        follower.tick(at_ms((number - 100) * 1000 + 600));
        assert_eq!(follower.number(), number);
    }
}

#[test]
fn c5_a_block_that_only_one_shows_waits_for_a_second_voice() {
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.tick(at_ms(2900));
    assert_eq!(follower.number(), 101);
    follower.shows(2950, 1, main_block(102));
    assert_eq!(follower.number(), 102);
    assert_eq!(
        follower.standing(at_ms(2950), who(2)),
        Standing { has: Some(101), claims: Some(101), ..Standing::default() }
    );
}

#[test]
fn c4_whoever_has_a_head_that_hangs_on_nothing_known_is_not_asked_for_what_it_may_have_otherwise() {
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2001, 1, main_block(102));
    // Its 102 is another one, and nobody has seen that yet.
    follower.shows(2002, 2, block(9, 101, 103));
    let claims = |follower: &Follower| follower.standing(at_ms(2003), who(2)).claims;
    assert_eq!((follower.number(), claims(&follower)), (102, Some(101)));
    follower.saw_block(at_ms(2004), who(2), block(9, 101, 102), HashCheck::Matches);
    assert_eq!(follower.quarantined(2005, 2), Some(Quarantine::Forked));
    // It skips another block of its branch, and then comes back.
    follower.shows(3000, 2, block(9, 101, 105));
    assert_eq!(follower.quarantined(3001, 2), Some(Quarantine::Forked));
    follower.shows(3002, 2, main_block(102));
    assert_eq!(follower.quarantined(3003, 2), None);
    // Of one that has only skipped a block, the path shows it.
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2001, 1, main_block(102));
    follower.shows(2002, 2, main_block(103));
    assert_eq!(claims(&follower), Some(103));
}

#[test]
fn c3_a_live_minority_moves_on_once_it_went_on_for_long_enough() {
    let mut follower = in_step(3);
    for number in 102..112 {
        (0..2).for_each(|source| follower.shows((number - 100) * 1000 - 5, source, main_block(101)));
        follower.shows((number - 100) * 1000, 2, main_block(number));
        follower.tick(at_ms((number - 100) * 1000 + 500));
    }
    assert!(follower.number() >= 110, "{}", follower.number());
}

#[test]
fn c4_the_minority_by_independence_is_quarantined_though_it_counts_more_backends() {
    let labels = labels(&[("a", "geth"), ("b", "geth"), ("c", "geth"), ("d", "besu"), ("e", "reth")]);
    let mut follower = Follower::new(BLOCK, true, &labels.iter().collect::<Vec<_>>());
    for number in [100, 101] {
        for source in 0..5 {
            follower.shows((number - 100) * 1000 + source as u64, source, main_block(number));
        }
    }
    for source in 0..3 {
        follower.shows(2000 + source as u64, source, block(9, 101, 102));
    }
    for source in 3..5 {
        follower.shows(2100 + source as u64, source, main_block(102));
    }
    follower.tick(at_ms(2400));
    assert_eq!(follower.head().and_then(|head| head.hash), Some(main_block(102).id.hash));
    for source in 0..3 {
        assert_eq!(follower.quarantined(2200, source), Some(Quarantine::Forked), "{source}");
    }
    follower.tick(at_ms(3300));
    let fork = follower.fork().expect("it is noticed");
    assert_eq!(fork.ancestor, main_block(101).id);
    assert!(!fork.is_undecided);
    assert!(follower.take_events().iter().any(|event| matches!(event, ChainEvent::Forked { .. })));
    // Healed: they come back to the served chain.
    for source in 0..5 {
        follower.shows(4000 + source as u64, source, main_block(103));
    }
    assert_eq!(follower.quarantined(4100, 0), None);
    assert!(follower.fork().is_none());
}

#[test]
fn c4_where_independence_is_equal_nothing_is_chosen_and_an_operator_can() {
    let mut follower = in_step(2);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2001, 1, block(9, 101, 102));
    for ms in (2100..5000).step_by(100) {
        follower.tick(at_ms(ms));
    }
    assert_eq!(follower.number(), 101, "both branches hold this one");
    assert!(follower.fork().expect("an alarm").is_undecided);
    // What clients ask of beyond that block is answered from one side only: the one that was there first.
    assert_eq!(follower.quarantined(5000, 0), None);
    assert_eq!(follower.quarantined(5000, 1), Some(Quarantine::Forked));
    follower.pin(at_ms(5000), Some(block(9, 101, 102).id.hash));
    follower.tick(at_ms(5500));
    assert_eq!(follower.head().and_then(|head| head.hash), Some(block(9, 101, 102).id.hash));
    assert_eq!(follower.quarantined(5600, 0), Some(Quarantine::Forked));
    // Both branches grow: the chosen one is followed, though nobody else confirms it.
    for number in 103..110 {
        follower.shows((number - 97) * 1000, 0, main_block(number));
        follower.shows((number - 97) * 1000 + 1, 1, block(9, 101, number));
        follower.tick(at_ms((number - 97) * 1000 + 500));
        assert_eq!(follower.head().and_then(|head| head.hash), Some(block(9, 101, number).id.hash));
    }
}

#[test]
fn c4_an_operator_can_choose_while_both_branches_grow() {
    let mut follower = in_step(2);
    let both = |follower: &mut Follower, number: u64| {
        follower.shows((number - 100) * 1000, 0, main_block(number));
        follower.shows((number - 100) * 1000 + 1, 1, block(9, 101, number));
        follower.tick(at_ms((number - 100) * 1000 + 500));
    };
    (102..106).for_each(|number| both(&mut follower, number));
    assert_eq!(follower.number(), 101);
    follower.pin(at_ms(5700), Some(block(9, 101, 102).id.hash));
    (106..110).for_each(|number| both(&mut follower, number));
    assert_eq!(follower.head().and_then(|head| head.hash), Some(block(9, 101, 109).id.hash));
    // And changes their mind.
    follower.pin(at_ms(9700), Some(main_block(102).id.hash));
    (110..112).for_each(|number| both(&mut follower, number));
    assert_eq!(follower.head().and_then(|head| head.hash), Some(main_block(111).id.hash));
}

#[test]
fn c1_a_reorg_is_followed_with_what_was_dropped_and_added() {
    let mut follower = in_step(3);
    for number in 102..=104 {
        for source in 0..3 {
            follower.shows((number - 100) * 1000 + source as u64, source, main_block(number));
        }
    }
    follower.take_events();
    for source in 0..3 {
        follower.shows(5000 + 10 * source as u64, source, block(5, 101, 105));
        // It hangs in the air: the blocks between are asked for.
        while let Some(hash) = follower.missing(source) {
            let missing = (102..=104).map(|n| block(5, 101, n)).find(|block| block.id.hash == hash);
            follower.saw_block(at_ms(5001), who(source), missing.expect("known"), HashCheck::Matches);
        }
    }
    let events = follower.take_events();
    let [ChainEvent::Reorged { dropped, added }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(dropped.iter().map(|block| block.id.number).collect::<Vec<_>>(), [104, 103, 102]);
    assert_eq!(added.iter().map(|block| block.id.number).collect::<Vec<_>>(), [102, 103, 104, 105]);
    assert_eq!(follower.number(), 105);
}

#[test]
fn r15_a_header_that_does_not_hash_to_what_it_claims_is_a_lie_only_where_others_do() {
    let mut follower = in_step(3);
    follower.saw_latest(at_ms(2000), who(2), block(3, 101, 102), HashCheck::Differs);
    assert_eq!(follower.quarantined(2000, 2), Some(Quarantine::Lying));
    let mut strange = super::tests::follower(2);
    for source in 0..2 {
        strange.saw_latest(at_ms(0), who(source), main_block(100), HashCheck::Differs);
    }
    assert_eq!(strange.quarantined(10, 0), None, "headers of its own kind");
    assert_eq!(strange.number(), 100);
}

#[test]
fn c8_a_cluster_whose_head_goes_back_and_forth_has_only_what_its_slowest_node_has() {
    let mut follower = in_step(3);
    follower.shows(2000, 0, main_block(102));
    follower.shows(2001, 1, main_block(102));
    follower.shows(2002, 2, main_block(102));
    follower.shows(2400, 2, main_block(100));
    assert_eq!(follower.number(), 102);
    assert_eq!(follower.standing(at_ms(2400), who(2)).has, Some(100));
    follower.shows(2500, 2, main_block(102));
    assert_eq!(follower.standing(at_ms(2500), who(2)).has, Some(100), "its slow node is still there");
}

#[test]
fn h12_a_halt_is_told_and_so_is_its_end_and_nobody_is_quarantined() {
    let mut follower = in_step(3);
    for ms in (1100..30_000).step_by(200) {
        for source in 0..3 {
            follower.shows(ms, source, main_block(101));
        }
        follower.tick(at_ms(ms));
    }
    assert!(follower.is_halted());
    for source in 0..3 {
        assert_eq!(
            follower.standing(at_ms(30_000), who(source)),
            Standing { has: Some(101), claims: Some(101), ..Standing::default() }
        );
        follower.shows(30_000, source, main_block(102));
    }
    let events = follower.take_events();
    assert!(matches!(events[0], ChainEvent::Halted { .. }), "{events:?}");
    assert!(events.contains(&ChainEvent::Resumed), "{events:?}");
}

#[test]
fn a_gap_after_a_long_sleep_is_crossed() {
    let mut follower = in_step(3);
    for ms in (5_000_000..5_003_000).step_by(100) {
        for source in 0..3 {
            follower.shows(ms, source, main_block(5100 + source as u64 % 2));
            if let Some(hash) = follower.missing(source) {
                let found = (5000..5102).map(main_block).find(|block| block.id.hash == hash).expect("known");
                follower.saw_block(at_ms(ms), who(source), found, HashCheck::Matches);
            }
        }
        follower.tick(at_ms(ms));
    }
    assert!(follower.number() >= 5100);
    assert!(follower.take_events().iter().any(|event| matches!(event, ChainEvent::Skipped { .. })));
}

#[test]
fn what_a_client_was_shown_is_not_taken_back() {
    let mut follower = in_step(3);
    follower.showed(at_ms(2000), who(1), 102);
    assert_eq!(follower.head(), Some(Head { number: 102, hash: None }));
    assert_eq!(follower.standing(at_ms(2000), who(1)).has, Some(102));
    assert_eq!(follower.wanted_look(at_ms(2001), who(0)), Some(Look::Latest), "the others are asked at once");
    follower.showed(at_ms(2000), who(2), 1_000_000);
    assert_eq!(follower.number(), 102, "no answer makes the chain a million blocks longer");
}

#[test]
fn a_restart_does_not_go_back() {
    let mut follower = follower(2);
    follower.set_floor(103);
    follower.shows(0, 0, main_block(101));
    follower.shows(1, 1, main_block(101));
    assert_eq!(follower.number(), 103);
    for source in 0..2 {
        follower.shows(70_000, source, main_block(102));
    }
    assert_eq!(follower.number(), 102, "the chain itself went back");
}

#[test]
fn about_one_question_per_block_and_backend_in_calm_weather() {
    let block_time = Duration::from_secs(12);
    let labels = vec![DomainLabels::new(); 4];
    let mut follower = Follower::new(block_time, true, &labels.iter().collect::<Vec<_>>());
    let mut looks = 0;
    for ms in (0..1_200_000).step_by(100) {
        let now = at_ms(ms);
        follower.used(now, false, false);
        // Each hears of a block some hundreds of milliseconds after it was made.
        for source in 0..4 {
            if let Some(look) = follower.next_look(now, who(source)) {
                looks += u32::from(look == Look::Latest);
                let number = 100 + ms.saturating_sub(300 + 200 * source as u64) / 12_000;
                let mut block = (*main_block(number)).clone();
                block.timestamp_s = number * 12;
                if look == Look::Latest {
                    follower.shows(ms, source, Arc::new(block));
                }
                follower.look_ended(who(source), look);
            }
        }
        follower.tick(now);
    }
    let per_block = f64::from(looks) / 4.0 / 100.0;
    assert!((1.0..=2.0).contains(&per_block), "{per_block}");
}

#[derive(Clone, Debug)]
enum Feed {
    /// An honest backend shows what it knows, so many milliseconds late.
    Honest {
        source: usize,
        late_ms: u64,
    },
    /// A liar's own branch, from some blocks back, as high as it likes.
    Branch {
        source: usize,
        back: u64,
        ahead: u64,
    },
    /// A header that is not what it claims.
    BadHash {
        source: usize,
    },
    Silence,
}

fn feeds() -> impl Strategy<Value = Vec<Feed>> {
    let feed = prop_oneof![
        6 => (0usize..3, 0u64..900).prop_map(|(source, late_ms)| Feed::Honest { source, late_ms }),
        2 => (3usize..5, 0u64..6, 0u64..4).prop_map(|(source, back, ahead)| Feed::Branch { source, back, ahead }),
        1 => (3usize..5).prop_map(|source| Feed::BadHash { source }),
        1 => Just(Feed::Silence),
    ];
    prop::collection::vec(feed, 200..500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Three honest voices, two liars: what is served is the truth, in order, without gaps, in bounded memory.
    #[test]
    fn c4_the_heavier_truth_is_served_whatever_liars_show(feeds in feeds()) {
        let mut follower = follower(5);
        let (mut ms, mut told) = (0u64, None::<u64>);
        for source in 0..3 {
            follower.shows(0, source, main_block(1000));
        }
        for (step, feed) in feeds.iter().enumerate() {
            ms += 60;
            let truth = |ms: u64| 1000 + ms / 1000;
            match *feed {
                Feed::Honest { source, late_ms } => {
                    follower.shows(ms, source, main_block(truth(ms.saturating_sub(late_ms))));
                }
                Feed::Branch { source, back, ahead } => {
                    let from = truth(ms) - back;
                    follower.shows(ms, source, block(40 + step as u64, from, from + 1 + ahead));
                }
                Feed::BadHash { source } => {
                    follower.saw_latest(at_ms(ms), who(source), block(99, 0, truth(ms)), HashCheck::Differs);
                }
                Feed::Silence => ms += 400,
            }
            for source in 0..3 {
                if let Some(hash) = follower.missing(source) {
                    let found = (900..=truth(ms)).map(main_block).find(|block| block.id.hash == hash);
                    if let Some(found) = found {
                        follower.saw_block(at_ms(ms), who(source), found, HashCheck::Matches);
                    }
                }
            }
            follower.tick(at_ms(ms));
            if let Some(head) = follower.head() {
                prop_assert!(told.is_none_or(|told| head.number >= told), "{:?} after {:?}", head, told);
                told = Some(head.number);
                prop_assert_eq!(head.hash, Some(main_block(head.number).id.hash));
                prop_assert!(head.number <= truth(ms));
            }
            prop_assert!(follower.blocks_kept() < 2000);
        }
        prop_assert!(told.is_some());
        let mut next = None;
        for event in follower.take_events() {
            match event {
                ChainEvent::Skipped { to } => next = Some(to.id.number + 1),
                ChainEvent::Extended { blocks } => for block in blocks {
                    prop_assert_eq!(Some(block.id.number), next);
                    next = Some(block.id.number + 1);
                },
                ChainEvent::Reorged { .. } => prop_assert!(false, "the truth was never taken back"),
                _ => {}
            }
        }
    }
}
