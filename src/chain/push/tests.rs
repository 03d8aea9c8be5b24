//! One WebSocket, by itself.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

const BLOCK: Duration = Duration::from_secs(1);

fn at_ms(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

fn open() -> Push {
    let mut push = Push::default();
    push.opens(at_ms(0));
    push.opened(at_ms(0));
    push
}

/// A block each second, pushed and borne out.
fn proven() -> Push {
    let mut push = open();
    for number in 1..=3 {
        push.hints(at_ms(number * 1000), number, true);
        push.compares(at_ms(number * 1000 + 40), Duration::from_millis(30), number, BLOCK);
    }
    push
}

#[test]
fn s7_three_blocks_in_a_row_that_http_bears_out_give_the_role() {
    let mut push = open();
    for (number, in_time, borne_out, has_role) in [
        (1, true, 1, false),
        (2, true, 2, false),
        (3, false, 3, false),
        (4, true, 4, false),
        (5, true, 5, false),
        // HTTP lacks it, long after it was pushed.
        (6, true, 5, false),
        (7, true, 7, false),
        (8, true, 8, false),
        (9, true, 9, true),
    ] {
        push.hints(at_ms(number * 1000), number, in_time);
        push.compares(at_ms(number * 1000 + 600), Duration::from_millis(50), borne_out, BLOCK);
        assert_eq!(push.has_role(), has_role, "after {number}");
    }
    assert_eq!(push.view().why, None);
}

#[test]
fn s7_who_pushes_nothing_for_three_block_times_while_the_chain_goes_on_loses_the_role() {
    let mut push = proven();
    let mut arrivals = Arrivals::default();
    let mut lost_at = None;
    for ms in (3000..10_000).step_by(50) {
        if ms % 1000 == 0 {
            arrivals.note(at_ms(ms), ms / 1000 - 1, ms / 1000);
        }
        push.listen(at_ms(ms), &arrivals, BLOCK);
        if push.view().state == SocketState::Silent {
            lost_at.get_or_insert(ms);
        }
    }
    assert_eq!(lost_at, Some(7000), "the block of second 4 is three block times overdue");
    assert_eq!(push.view().why, Some(SocketFault::Silent));
    assert!(!push.is_given_up(at_ms(36_900), BLOCK));
    assert!(push.is_given_up(at_ms(37_100), BLOCK), "a subscription that died does not come back by itself");
}

#[test]
fn s7_who_is_silent_because_the_chain_stands_still_keeps_the_role() {
    let mut push = proven();
    let mut arrivals = Arrivals::default();
    arrivals.note(at_ms(3000), 2, 3);
    push.listen(at_ms(500_000), &arrivals, BLOCK);
    assert!(push.has_role());
    // A new block after that is late by nothing.
    arrivals.note(at_ms(500_000), 3, 4);
    push.listen(at_ms(502_900), &arrivals, BLOCK);
    assert!(push.has_role());
    push.listen(at_ms(503_000), &arrivals, BLOCK);
    assert!(!push.has_role());
}

#[test]
fn an_answer_that_is_older_than_a_push_says_nothing_and_a_younger_one_takes_the_role() {
    const MS: fn(u64) -> Duration = Duration::from_millis;
    for (answered_ms, took, number, tells, keeps) in [
        // Asked before block 4 came; asked while it was on its way; asked when HTTP should have it.
        (4300, MS(400), 3, false, true),
        (4300, MS(100), 3, false, true),
        (4300, MS(40), 3, true, false),
        (4300, MS(40), 4, true, true),
        (4300, MS(400), 5, true, true),
    ] {
        let mut push = proven();
        push.leads(at_ms(4000), 4);
        let told = push.compares(at_ms(answered_ms), took, number, BLOCK);
        assert_eq!((told, push.has_role()), (tells, keeps), "{number} after {took:?}");
    }
}

#[test]
fn a_read_that_lacks_a_pushed_block_takes_the_role_unless_it_came_just_now() {
    for (ms, number, tells, keeps) in
        [(4100, 4, false, true), (4400, 4, true, false), (4100, 3, true, false), (4400, 5, true, true)]
    {
        let mut push = proven();
        push.leads(at_ms(4000), 4);
        let told = push.is_denied(at_ms(ms), number, BLOCK);
        assert_eq!((told, push.has_role()), (tells, keeps), "{number} at {ms}");
    }
}

#[test]
fn a_connection_that_fails_is_tried_again_later_and_later_and_one_that_was_good_soon() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut push = Push::default();
    let mut now = at_ms(0);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        push.opens(now);
        push.opened(now);
        push.ended(now, SocketFault::Closed, &mut rng);
        assert!(!push.may_open(now));
        pauses.push(push.retry_at.since(now));
        now = push.retry_at;
        assert!(push.may_open(now));
    }
    for (at, pause) in pauses.iter().enumerate() {
        let most = Duration::from_secs((1 << at).min(60));
        assert!((most / 2..most).contains(pause), "{pauses:?}");
    }
    let mut push = proven();
    push.failures = 9;
    push.ended(at_ms(3000) + GOOD_FOR * 2, SocketFault::Closed, &mut rng);
    assert!(push.retry_at.since(at_ms(3000) + GOOD_FOR * 2) < RETRY_FIRST);
    assert!(!push.has_role());
}

#[test]
fn who_sends_far_too_much_or_too_much_that_is_no_head_is_not_heard_out() {
    let mut push = open();
    let heard = (0..10_000).take_while(|n| push.heard(at_ms(n / 10), BLOCK)).count();
    assert!((256..600).contains(&heard), "{heard} in a second");
    let mut push = open();
    assert!((0..100_000).all(|n| push.heard(at_ms(n * 20), BLOCK)), "fifty a second are bearable");
    let mut push = proven();
    let unfit = (0..100).take_while(|n| push.unfit(at_ms(4000 + n))).count();
    assert_eq!((unfit, push.has_role()), (8, false));
}

#[test]
fn a_block_is_in_time_when_it_is_no_later_than_a_block_time() {
    let mut arrivals = Arrivals::default();
    arrivals.note(at_ms(0), 9, 10);
    arrivals.note(at_ms(1000), 10, 12);
    for (ms, number, in_time) in [
        (1500, 13, true),
        (1500, 12, true),
        (2001, 12, false),
        (1000, 10, true),
        (1001, 10, false),
        (500, 9, false),
    ] {
        assert_eq!(arrivals.is_in_time(at_ms(ms), number, BLOCK), in_time, "{number} at {ms}");
    }
    // Another branch from 10 on, and then a jump.
    arrivals.note(at_ms(5000), 12, 10);
    arrivals.note(at_ms(5000), 10, 11);
    assert!(arrivals.is_in_time(at_ms(5500), 11, BLOCK));
    arrivals.note(at_ms(6000), 11, 1_000_000);
    assert!(arrivals.blocks.len() <= ARRIVALS_MAX);
}
