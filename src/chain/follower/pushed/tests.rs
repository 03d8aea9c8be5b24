//! Backends that push: what is served, what they are asked, and what a socket cannot do.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::super::abreast::{Shown, Turn};
use super::super::super::look::Look;
use super::super::super::push::SocketState;
use super::super::tests::{BLOCK, at_ms, block, main_block, who};
use super::*;
use crate::policy::{BackendSpec, Class, DomainLabels, Identity, Outcome, Tier};

/// A chain in use, whose backends answer at once and whose sockets push what a test says.
struct Run {
    follower: Follower,
    fleet: Fleet,
    ms: u64,
    /// How often each was asked for its latest block.
    asked: Vec<u32>,
    /// The served head never went back from here.
    told: u64,
}

const FIRST: u64 = 1000;

/// The chain's height at a time: a block a second.
fn truth(ms: u64) -> u64 {
    FIRST + ms / 1000
}

impl Run {
    fn new(backends: usize) -> Self {
        let spec = |at: usize| BackendSpec {
            name: at.to_string().into(),
            tier: Tier::Primary,
            private: false,
            labels: DomainLabels::new(),
            limit_per_s: None,
        };
        let mut fleet = Fleet::new((0..backends).map(spec).collect());
        for at in 0..backends {
            fleet.set_identity(who(at), Identity::Confirmed);
            fleet.set_probe_budget(who(at), 100_000.0, Duration::from_secs(1));
        }
        let labels = vec![DomainLabels::new(); backends];
        let follower = Follower::new(BLOCK, true, &labels.iter().collect::<Vec<_>>());
        let mut run = Self { follower, fleet, ms: 0, asked: vec![0; backends], told: 0 };
        run.follower.used(at_ms(0), false, false);
        (0..backends).for_each(|at| run.open(at));
        run
    }

    fn open(&mut self, at: usize) {
        assert!(self.follower.opens_socket(at_ms(self.ms), &mut self.fleet, who(at)));
        self.follower.socket_opened(at_ms(self.ms), who(at));
    }

    fn push(&mut self, at: usize, block: Arc<Block>, check: HashCheck) -> Result<(), SocketFault> {
        self.follower.pushed(at_ms(self.ms), &self.fleet, who(at), block, check)
    }

    /// Asks whoever is to be asked; `http` is the height that a backend has.
    fn ask(&mut self, http: impl Fn(usize, u64) -> u64) {
        for at in 0..self.asked.len() {
            // A few at most: a block that nobody has is asked for again and again.
            for _ in 0..4 {
                let turn = self.follower.turn(at_ms(self.ms), &mut self.fleet, who(at), true);
                let Turn::Ask(look) = turn else { break };
                let height = http(at, self.ms);
                let shown = match look {
                    Look::Latest => {
                        self.asked[at] += 1;
                        Some(main_block(height))
                    }
                    Look::Block(hash) => (900..=height).map(main_block).find(|block| block.id.hash == hash),
                    _ => None,
                };
                let shown = shown.map_or(Shown::Nothing, |block| Shown::Block(block, HashCheck::Matches));
                let outcome = Outcome::of(Class::Ok);
                let looked = (who(at), look);
                self.follower.looked(
                    at_ms(self.ms),
                    &mut self.fleet,
                    looked,
                    Duration::ZERO,
                    &outcome,
                    shown,
                );
            }
        }
        let head = self.follower.head().map_or(0, |head| head.number);
        assert!(head >= self.told, "{head} after {}", self.told);
        self.told = head;
    }

    /// Lets so many seconds pass, in which these push each block as it comes.
    fn pass(&mut self, seconds: u64, pushing: &[usize], http: impl Fn(usize, u64) -> u64) {
        let until = self.ms + seconds * 1000;
        while self.ms < until {
            self.ms += 25;
            self.follower.used(at_ms(self.ms), false, false);
            if self.ms.is_multiple_of(1000) {
                for at in pushing {
                    self.push(*at, main_block(truth(self.ms)), HashCheck::Matches).expect("a sound head");
                }
            }
            self.ask(&http);
            self.follower.tick(at_ms(self.ms));
        }
    }

    fn honest(&mut self, seconds: u64, pushing: &[usize]) {
        self.pass(seconds, pushing, |_, ms| truth(ms));
    }

    fn states(&self) -> Vec<SocketState> {
        (0..self.asked.len()).map(|at| self.follower.socket(who(at)).state).collect()
    }

    fn head(&self) -> u64 {
        self.follower.head().expect("something is served").number
    }
}

use SocketState::{Connected, Proving, Silent};

#[test]
fn heads_that_are_pushed_are_served_at_once_and_polls_are_rare() {
    let mut run = Run::new(3);
    run.honest(5, &[0, 1, 2]);
    assert_eq!(run.states(), [Connected; 3]);
    run.asked = vec![0; 3];
    run.honest(80, &[0, 1, 2]);
    assert!(run.asked.iter().all(|asked| (5..=20).contains(asked)), "{:?} in 80 blocks", run.asked);
    // The block of the next second, by pushes alone.
    run.ms += 1000;
    for at in 0..3 {
        run.push(at, main_block(truth(run.ms)), HashCheck::Matches).expect("a sound head");
    }
    assert_eq!(run.head(), truth(run.ms));
    let mut polled = Run::new(3);
    polled.honest(85, &[]);
    assert!(polled.asked.iter().all(|asked| *asked >= 80), "{:?} without pushes", polled.asked);
}

#[test]
fn s7_a_silent_socket_loses_its_role_polling_takes_over_and_three_blocks_give_it_back() {
    let mut run = Run::new(3);
    run.honest(10, &[0, 1, 2]);
    run.honest(3, &[1, 2]);
    assert_eq!(run.states(), [Connected; 3], "not yet");
    run.honest(1, &[1, 2]);
    assert_eq!(run.states(), [Silent, Connected, Connected]);
    run.asked = vec![0; 3];
    run.honest(10, &[1, 2]);
    assert!(run.asked[0] >= 9, "asked about once a block: {:?}", run.asked);
    run.honest(2, &[0, 1, 2]);
    assert_eq!(run.states(), [Proving, Connected, Connected]);
    // The third, and time for HTTP to bear it out.
    run.honest(2, &[0, 1, 2]);
    assert_eq!(run.states(), [Connected; 3]);
    assert_eq!(run.follower.socket(who(0)).why, None);
}

#[test]
fn s7_when_all_sockets_fall_silent_at_once_the_chain_is_followed_by_asking() {
    let mut run = Run::new(2);
    run.honest(10, &[0, 1]);
    let mut latest = 0;
    for _ in 0..20 {
        run.honest(1, &[]);
        latest = latest.max(truth(run.ms) - run.head());
    }
    assert!(latest <= 1, "{latest} blocks late");
    assert_eq!(run.states(), [Silent; 2]);
}

#[test]
fn a_backend_whose_http_stands_still_has_no_more_than_http_shows_whatever_its_socket_pushes() {
    let mut run = Run::new(3);
    run.honest(10, &[0, 1, 2]);
    let stuck = truth(run.ms);
    run.pass(20, &[0, 1, 2], |at, ms| if at == 0 { stuck } else { truth(ms) });
    assert_eq!(run.states(), [Proving, Connected, Connected]);
    assert_eq!(run.follower.socket(who(0)).why, Some(SocketFault::Denied));
    assert_eq!(run.head(), truth(run.ms));
    let has = run.follower.standing(at_ms(run.ms), who(0)).has;
    assert!(has <= Some(stuck), "{has:?}, and HTTP is at {stuck}");
}

#[test]
fn a_pushed_header_with_another_hash_makes_the_backend_be_asked_and_nothing_worse() {
    let mut run = Run::new(2);
    run.honest(10, &[0, 1]);
    let asked = run.asked[0];
    run.ms += 950;
    for number in [7, truth(run.ms) + 1, truth(run.ms) + 1000, u64::MAX] {
        run.push(0, block(9, 0, number), HashCheck::Differs).expect("bearable");
    }
    assert_eq!(run.states()[0], Proving);
    assert_eq!(run.follower.standing(at_ms(run.ms), who(0)).quarantine, None);
    run.ask(|_, ms| truth(ms));
    assert_eq!(run.asked[0], asked + 1, "once, however many they are");
    let enough = (0..20).find(|_| run.push(0, block(9, 0, 5), HashCheck::Differs).is_err());
    assert!(enough.is_some(), "it is closed in the end");
}

#[test]
fn a_socket_that_reorders_repeats_or_invents_heads_moves_nothing() {
    let mut run = Run::new(2);
    run.honest(10, &[0, 1]);
    let (head, number) = (run.head(), truth(run.ms));
    for odd in [
        main_block(number - 3),
        main_block(number),
        block(9, number - 3, number - 2),
        block(9, number - 3, number),
        block(9, 0, number + 500),
        block(9, 0, u64::MAX),
    ] {
        run.push(0, odd, HashCheck::Matches).expect("bearable");
        assert_eq!(run.head(), head);
        let standing = run.follower.standing(at_ms(run.ms), who(0));
        assert_eq!((standing.has, standing.quarantine), (Some(number), None));
    }
    run.honest(5, &[0, 1]);
    assert_eq!(run.head(), truth(run.ms));
}

#[test]
fn a_socket_is_open_only_while_the_chain_is_used_and_the_backend_may_be_asked() {
    let mut run = Run::new(1);
    run.honest(5, &[0]);
    let keeps = |run: &Run, ms: u64| run.follower.keeps_socket(at_ms(ms), &run.fleet, who(0));
    assert_eq!(keeps(&run, run.ms + 170_000), Ok(true));
    assert_eq!(keeps(&run, run.ms + 190_000), Ok(false));
    run.fleet.set_cordoned(who(0), true);
    assert_eq!(keeps(&run, run.ms), Ok(false));
    let told = run.follower.view(at_ms(run.ms), who(0)).tip;
    run.push(0, main_block(truth(run.ms) + 1), HashCheck::Matches).expect("bearable");
    assert_eq!(run.follower.view(at_ms(run.ms), who(0)).tip, told, "what it says does not count");
    let mut rng = SmallRng::seed_from_u64(1);
    run.follower.socket_ended(at_ms(run.ms), who(0), None, &mut rng);
    assert!(!run.follower.opens_socket(at_ms(run.ms), &mut run.fleet, who(0)), "it is cordoned");
    run.fleet.set_cordoned(who(0), false);
    assert!(!run.follower.opens_socket(at_ms(run.ms + 61_000), &mut run.fleet, who(0)), "nobody uses it");
    assert!(run.follower.opens_socket(at_ms(run.ms), &mut run.fleet, who(0)));
    assert!(!run.follower.opens_socket(at_ms(run.ms), &mut run.fleet, who(0)), "it is being opened");
}

#[derive(Clone, Debug)]
enum Odd {
    /// The true head as it was so many milliseconds ago.
    Late(u64),
    /// A block of another branch that leaves the chain so many blocks back.
    Branch { back: u64, ahead: u64 },
    /// A header that does not hash to what it claims.
    Wrong,
    /// No header at all.
    Garbage,
    /// The connection ends and is opened anew.
    Ends,
    /// Nothing, for so many steps.
    Silence(u8),
}

fn odds() -> impl Strategy<Value = Vec<(usize, Odd)>> {
    let odd = prop_oneof![
        12 => (0u64..2500).prop_map(Odd::Late),
        12 => Just(Odd::Late(0)),
        2 => (0u64..5, 0u64..5).prop_map(|(back, ahead)| Odd::Branch { back, ahead }),
        1 => Just(Odd::Wrong),
        1 => Just(Odd::Garbage),
        1 => Just(Odd::Ends),
        1 => (1u8..100).prop_map(Odd::Silence),
    ];
    prop::collection::vec((0usize..3, odd), 100..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// S7, C1: whatever sockets push, drop, repeat or invent, the served head is the truth, does not go back, and is late by
    /// no more than asking alone would make it.
    #[test]
    fn s7_no_push_makes_the_head_go_back_leave_the_truth_or_fall_behind(odds in odds()) {
        let mut run = Run::new(3);
        let mut rng = SmallRng::seed_from_u64(3);
        run.honest(6, &[0, 1, 2]);
        for (step, (at, odd)) in odds.into_iter().enumerate() {
            run.ms += 50;
            run.follower.used(at_ms(run.ms), false, false);
            let now = truth(run.ms);
            let result = match odd {
                Odd::Late(late) => run.push(at, main_block(truth(run.ms.saturating_sub(late))), HashCheck::Matches),
                // Only one of them lies: the truth has more voices.
                Odd::Branch { back, ahead } => {
                    let from = now - back;
                    run.push(0, block(40 + step as u64, from, from + 1 + ahead), HashCheck::Matches)
                }
                Odd::Wrong => run.push(at, block(99, 0, now), HashCheck::Differs),
                Odd::Garbage => run.follower.pushed_nothing(at_ms(run.ms), who(at)),
                Odd::Ends => Err(SocketFault::Closed),
                Odd::Silence(steps) => {
                    for _ in 0..steps {
                        run.ms += 50;
                        run.ask(|_, ms| truth(ms));
                        run.follower.tick(at_ms(run.ms));
                    }
                    Ok(())
                }
            };
            if let Err(fault) = result {
                run.follower.socket_ended(at_ms(run.ms), who(at), Some(fault), &mut rng);
            }
            for at in 0..3 {
                if run.follower.opens_socket(at_ms(run.ms), &mut run.fleet, who(at)) {
                    run.follower.socket_opened(at_ms(run.ms), who(at));
                }
            }
            run.ask(|_, ms| truth(ms));
            run.follower.tick(at_ms(run.ms));
            let head = run.follower.head().expect("something is served");
            prop_assert_eq!(head.hash, Some(main_block(head.number).id.hash));
            prop_assert!(head.number <= truth(run.ms));
            prop_assert!(head.number + 2 >= truth(run.ms), "{} of {}", head.number, truth(run.ms));
            prop_assert!(run.follower.blocks_kept() < 2000);
        }
    }
}
