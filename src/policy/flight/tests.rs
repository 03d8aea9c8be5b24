//! A fleet under traffic, one request after the other, against a hand-turned clock.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::backend::{BackendSpec, Identity, Tier};
use super::super::{Class, DomainKind, DomainLabels, Told};
use super::*;
use crate::ethereum::{MethodClass, Urgency};

mod properties;

const NEED: Need = Need {
    class: MethodClass::State,
    method: Some("eth_call"),
    urgency: Urgency::Read,
    submits: false,
    prefer: None,
    only: None,
    rests: Rests::OnNothing,
    depth: None,
    log_blocks: None,
};
const SECOND: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

fn spec(name: &str, tier: Tier, cloud: &str) -> BackendSpec {
    let labels = DomainLabels::new().with(DomainKind::Cloud, cloud);
    BackendSpec { name: name.into(), tier, private: false, labels, limit_per_s: None }
}

fn fleet(specs: &[(&str, Tier, &str)]) -> Fleet {
    let mut fleet = Fleet::new(specs.iter().map(|(n, t, c)| spec(n, *t, c)).collect());
    for (name, ..) in specs {
        fleet.set_identity(fleet.find(name).unwrap(), Identity::Confirmed);
    }
    fleet
}

fn three_clouds() -> Fleet {
    fleet(&[
        ("a", Tier::Primary, "aws"),
        ("a2", Tier::Primary, "aws"),
        ("g", Tier::Primary, "gcp"),
        ("m", Tier::Backup, "metal"),
    ])
}

fn outcome(class: Class) -> Outcome {
    let ok = matches!(class, Class::Ok | Class::ExecutionReverted);
    Outcome {
        class,
        retry_here: class == Class::BlockNotFound,
        retry_elsewhere: !ok,
        hurts_health: !ok && !matches!(class, Class::RateLimited | Class::BlockNotFound),
        lasting: false,
        cool_down: None,
        retry_after: None,
        range_limit_blocks: None,
        told: Told::Pass,
    }
}

fn plan(repeat: Repeat) -> Plan {
    let hedge_delay = (Duration::from_millis(50), Duration::from_millis(250));
    let may_copy = repeat == Repeat::Freely;
    Plan { need: NEED, key: 0, deadline: at(10_000), repeat, may_copy, hedge_delay, attempts_max: 64 }
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(7)
}

fn sent_to(step: Step, fleet: &Fleet) -> (String, Timestamp) {
    match step {
        Step::Send { backend, wake, .. } => (fleet.backend(backend).spec().name.to_string(), wake),
        other => panic!("{other:?}"),
    }
}

/// Runs a request whose every attempt ends at once with what `answer` says; gives the names asked.
fn asked(fleet: &mut Fleet, plan: Plan, answer: impl Fn(&str) -> Class) -> (Vec<String>, Step) {
    asked_at(fleet, plan, 0, answer)
}

fn asked_at(fleet: &mut Fleet, plan: Plan, ms: u64, answer: impl Fn(&str) -> Class) -> (Vec<String>, Step) {
    let (mut flight, mut names, mut rng) = (Flight::new(plan), Vec::new(), rng());
    let mut now = at(ms);
    let mut step = flight.on(now, Event::Start, fleet, &mut rng);
    loop {
        step = match step {
            Step::Send { backend, .. } => {
                let name = fleet.backend(backend).spec().name.to_string();
                let outcome = outcome(answer(&name));
                names.push(name);
                flight.on(now, Event::Ended { backend, outcome: &outcome, sent: true }, fleet, &mut rng)
            }
            Step::Wait { wake } => {
                now = wake;
                flight.on(now, Event::Timer, fleet, &mut rng)
            }
            end => return (names, end),
        };
    }
}

#[test]
fn r9_a_primary_that_answers_in_time_is_asked_alone() {
    let mut fleet = three_clouds();
    let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok);
    assert_eq!((names.len(), end), (1, Step::Answer));
}

#[test]
fn the_next_attempt_goes_to_another_failure_domain_and_nobody_is_asked_twice() {
    let mut fleet = three_clouds();
    let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
    assert_eq!(names, ["a", "g", "a2", "m"]);
    assert_eq!(end, Step::GiveUp);
}

#[test]
fn r3_a_revert_is_an_answer() {
    let mut fleet = three_clouds();
    let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ExecutionReverted);
    assert_eq!((names.len(), end), (1, Step::Answer));
    assert_eq!(fleet.iter().map(|(_, b)| b.totals().1).sum::<u64>(), 0);
}

#[test]
fn r9_a_silent_backend_is_hedged_once_to_another_domain_and_the_loser_is_booked() {
    let (mut fleet, mut rng) = (three_clouds(), rng());
    let mut flight = Flight::new(plan(Repeat::Freely));
    let (first, wake) = sent_to(flight.on(at(0), Event::Start, &mut fleet, &mut rng), &fleet);
    assert!(wake <= at(250), "{wake:?}");
    let (second, _) = sent_to(flight.on(wake, Event::Timer, &mut fleet, &mut rng), &fleet);
    assert_eq!((first.as_str(), second.as_str()), ("a", "g"));
    let winner = fleet.find("g").unwrap();
    let ok = outcome(Class::Ok);
    let event = Event::Ended { backend: winner, outcome: &ok, sent: true };
    assert_eq!(flight.on(at(700), event, &mut fleet, &mut rng), Step::Answer);
    let loser = fleet.backend(fleet.find("a").unwrap());
    assert_eq!(loser.in_flight(), 0);
    assert!(loser.health(NEED.class).latency(at(700)) >= Duration::from_millis(700));
    assert_eq!(loser.totals().1, 0, "it was cancelled, it did not fail");
}

#[test]
fn a_backend_that_hangs_for_ever_loses_its_place() {
    let (mut fleet, mut rng) = (three_clouds(), rng());
    for request in 0..3u64 {
        let start = at(request * 1000);
        let mut flight = Flight::new(Plan { deadline: start + SECOND * 10, ..plan(Repeat::Freely) });
        let mut step = flight.on(start, Event::Start, &mut fleet, &mut rng);
        let mut now = start;
        while let Step::Send { backend, wake, .. } = step {
            if &*fleet.backend(backend).spec().name == "a" {
                now = wake;
                step = flight.on(now, Event::Timer, &mut fleet, &mut rng);
            } else {
                let ok = outcome(Class::Ok);
                now = now + Duration::from_millis(5);
                step =
                    flight.on(now, Event::Ended { backend, outcome: &ok, sent: true }, &mut fleet, &mut rng);
            }
        }
    }
    let (names, _) = asked(&mut fleet, Plan { deadline: at(60_000), ..plan(Repeat::Freely) }, |_| Class::Ok);
    assert_ne!(names[0], "a");
}

#[test]
fn r14_backups_serve_only_when_no_primary_can_and_file_order_does_not_matter() {
    let mut fleet = fleet(&[("b", Tier::Backup, "metal"), ("p", Tier::Primary, "aws")]);
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok).0, ["p"]);
    let p_is_down = |name: &str| if name == "p" { Class::ConnectionError } else { Class::Ok };
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), p_is_down).0, ["p", "b"]);
    for _ in 0..10 {
        asked(&mut fleet, plan(Repeat::Freely), p_is_down);
    }
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), p_is_down).0, ["b"], "the dead primary is left alone");
}

/// Requests at a steady pace; every attempt takes 10 ms and ends as `answer(name, ms)` says. Gives who was
/// asked first, and how many attempts were made in all.
fn traffic(
    fleet: &mut Fleet,
    ms: std::ops::Range<u64>,
    every_ms: u64,
    answer: impl FnMut(&str, u64) -> Class,
) -> (Vec<String>, usize) {
    traffic_seen(fleet, ms, every_ms, answer, |_| {})
}

fn traffic_seen(
    fleet: &mut Fleet,
    ms: std::ops::Range<u64>,
    every_ms: u64,
    mut answer: impl FnMut(&str, u64) -> Class,
    mut ended: impl FnMut(Step),
) -> (Vec<String>, usize) {
    let (mut firsts, mut attempts, mut rng) = (Vec::new(), 0, SmallRng::seed_from_u64(ms.start));
    for start in ms.step_by(every_ms as usize) {
        let mut flight = Flight::new(Plan { deadline: at(start + 10_000), ..plan(Repeat::Freely) });
        let mut now_ms = start;
        let mut step = flight.on(at(now_ms), Event::Start, fleet, &mut rng);
        if let Step::Send { backend, .. } = step {
            firsts.push(fleet.backend(backend).spec().name.to_string());
        }
        while let Step::Send { backend, copy_to, .. } = step {
            attempts += 1;
            now_ms += 10;
            if let Some(copied) = copy_to {
                attempts += 1;
                let outcome = outcome(answer(&fleet.backend(copied).spec().name.clone(), now_ms));
                let attempted = Attempted { backend: copied, need: NEED, took: Duration::from_millis(10) };
                fleet.aside_ended(at(now_ms), attempted, &outcome);
            }
            let outcome = outcome(answer(&fleet.backend(backend).spec().name.clone(), now_ms));
            let event = Event::Ended { backend, outcome: &outcome, sent: true };
            step = flight.on(at(now_ms), event, fleet, &mut rng);
        }
        ended(step);
    }
    (firsts, attempts)
}

fn share(firsts: &[String], name: &str) -> f64 {
    firsts.iter().filter(|first| *first == name).count() as f64 / firsts.len() as f64
}

#[test]
fn r14_a_primary_that_is_well_again_takes_over() {
    let mut fleet = fleet(&[("p", Tier::Primary, "aws"), ("b", Tier::Backup, "metal")]);
    traffic(&mut fleet, 0..3_000, 20, |name, _| if name == "p" { Class::ConnectionError } else { Class::Ok });
    let (firsts, _) =
        traffic(
            &mut fleet,
            3_000..4_000,
            20,
            |name, _| {
                if name == "p" { Class::ConnectionError } else { Class::Ok }
            },
        );
    assert_eq!(share(&firsts, "p"), 0.0, "the dead primary is left alone");
    traffic(&mut fleet, 4_000..40_000, 20, |_, _| Class::Ok);
    let (firsts, _) = traffic(&mut fleet, 40_000..42_000, 20, |_, _| Class::Ok);
    assert_eq!(share(&firsts, "p"), 1.0);
}

#[test]
fn h1_two_failing_members_take_their_untouched_sibling_with_them() {
    let mut fleet = fleet(&[
        ("a1", Tier::Primary, "aws"),
        ("a2", Tier::Primary, "aws"),
        ("a3", Tier::Primary, "aws"),
        ("g", Tier::Primary, "gcp"),
    ]);
    for (ms, name) in [(0, "a1"), (100, "a2")] {
        let backend = fleet.find(name).unwrap();
        fleet.started(at(ms), backend, NEED.class);
        let attempted = Attempted { backend, need: NEED, took: Duration::from_millis(1) };
        fleet.finished(at(ms), attempted, &outcome(Class::ConnectionError));
    }
    let g = fleet.find("g").unwrap();
    assert_eq!(fleet.choose(at(101), &NEED, BackendSet::default(), &mut rng()), Some(g));
    let changes: Vec<_> = fleet.notes().iter().map(|note| (note.backend.get(), note.change)).collect();
    assert!(changes.contains(&(2, super::super::Change::Condemned)), "{changes:?}");
}

#[test]
fn h12_when_everybody_fails_alike_nobody_is_ejected_and_the_first_to_answer_serves_at_once() {
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..5_000, 50, |_, _| Class::ConnectionError);
    let ejected = fleet.notes().iter().filter(|n| matches!(n.change, super::super::Change::Ejected { .. }));
    assert!(ejected.count() <= 3, "only before it was clear that all fail");
    let (firsts, attempts) = traffic(&mut fleet, 5_000..6_000, 50, |_, _| Class::Ok);
    assert_eq!(firsts.len(), attempts, "every request is answered by the first who is asked");
}

#[test]
fn one_cloud_after_the_other_may_fail_and_no_request_does() {
    let mut fleet = three_clouds();
    let victims = ["a", "g", "a2", "m", "g", "a"];
    for (n, victim) in (0u64..).zip(victims.iter().cycle().take(60)) {
        let (from, to) = (n * 700, (n + 1) * 700);
        let failing = |name: &str, _| if name == *victim { Class::ConnectionError } else { Class::Ok };
        let mut failed = 0;
        traffic_seen(&mut fleet, from..to, 5, failing, |end| failed += u32::from(end == Step::GiveUp));
        assert_eq!(failed, 0, "while {victim} fails from {from} ms");
    }
}

#[test]
fn a_gray_failure_loses_half_its_share_within_five_seconds() {
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..5_000, 10, |_, _| Class::Ok);
    let mut n = 0u32;
    let mut gray = |name: &str, _| {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if name == "a" && n >> 24 < 77 { Class::ConnectionError } else { Class::Ok }
    };
    traffic(&mut fleet, 5_000..10_000, 10, &mut gray);
    let (firsts, _) = traffic(&mut fleet, 10_000..15_000, 10, &mut gray);
    assert!(share(&firsts, "a") < 0.5, "{}", share(&firsts, "a"));
}

#[test]
fn h11_chance_failures_among_thousands_of_good_answers_move_no_traffic() {
    let mut fleet = three_clouds();
    let mut calls = 0;
    let (firsts, attempts) = traffic(&mut fleet, 0..60_000, 10, |_, _| {
        calls += 1;
        if calls % 1_000 == 0 { Class::ConnectionError } else { Class::Ok }
    });
    assert!(share(&firsts, "a") > 0.9, "{}", share(&firsts, "a"));
    assert!(attempts as f64 / firsts.len() as f64 <= 1.02, "{attempts}");
    let switches =
        fleet.notes().iter().filter(|n| matches!(n.change, super::super::Change::Favoured { .. })).count();
    assert!(switches <= 4, "{switches}");
}

#[test]
fn h9_who_flaps_every_five_seconds_pulls_back_no_traffic() {
    let mut fleet = three_clouds();
    let flapping = |name: &str, ms: u64| {
        if name == "a" && (ms / 5_000).is_multiple_of(2) { Class::ConnectionError } else { Class::Ok }
    };
    traffic(&mut fleet, 0..20_000, 10, flapping);
    let (firsts, attempts) = traffic(&mut fleet, 20_000..80_000, 10, flapping);
    assert!(share(&firsts, "a") < 0.02, "{}", share(&firsts, "a"));
    assert!((attempts as f64) < 1.1 * firsts.len() as f64);
}

#[test]
fn h6_failing_at_one_class_of_methods_leaves_the_others_where_they_were() {
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..2_000, 20, |_, _| Class::Ok);
    let logs = Need { class: MethodClass::Logs, method: Some("eth_getLogs"), ..NEED };
    for n in 0..200u64 {
        let now = 2_000 + n * 20;
        let failing = |name: &str| if name == "a" { Class::InternalError } else { Class::Ok };
        let plan = Plan { need: logs, deadline: at(now + 10_000), ..plan(Repeat::InTurn) };
        let mut flight = Flight::new(plan);
        let mut step = flight.on(at(now), Event::Start, &mut fleet, &mut rng());
        while let Step::Send { backend, .. } = step {
            let outcome = outcome(failing(&fleet.backend(backend).spec().name.clone()));
            let event = Event::Ended { backend, outcome: &outcome, sent: true };
            step = flight.on(at(now + 5), event, &mut fleet, &mut rng());
        }
        let (firsts, _) = traffic(&mut fleet, now + 6..now + 18, 4, |_, _| Class::Ok);
        assert!(share(&firsts, "a") > 0.6, "calls stay with a: {firsts:?}");
    }
    let a = fleet.backend(fleet.find("a").unwrap());
    assert!(a.health(MethodClass::State).error_rate(at(6_100)) < 0.1);
    assert_ne!(a.experience(MethodClass::Logs).standing(at(6_100)), super::super::Standing::Admitted);
    let switches = fleet.notes().iter().filter(|n| matches!(n.change, super::super::Change::Favoured { .. }));
    assert_eq!(switches.count(), 1);
}

#[test]
fn a_method_that_the_favourite_lacks_does_not_cost_it_the_others() {
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..1_000, 20, |_, _| Class::Ok);
    let other = Need { method: Some("eth_getProof"), ..NEED };
    // Few enough that answers without any latency, as they come here, make nobody look quicker.
    for n in 0..10u64 {
        let plan = Plan { need: other, deadline: at(20_000 + n), ..plan(Repeat::InTurn) };
        asked_at(
            &mut fleet,
            plan,
            1_000 + n,
            |name| {
                if name == "a" { Class::MethodUnsupported } else { Class::Ok }
            },
        );
    }
    let (firsts, _) = traffic(&mut fleet, 2_000..3_000, 20, |_, _| Class::Ok);
    assert!(share(&firsts, "a") > 0.9, "{}", share(&firsts, "a"));
}

#[test]
fn trouble_of_a_provider_on_another_chain_is_heeded_until_it_answers_here() {
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..2_000, 20, |_, _| Class::Ok);
    let a = fleet.find("a").unwrap();
    fleet.hear_of_trouble(at(2_000), a);
    let failing = |name: &str, _| if name == "a" { Class::ConnectionError } else { Class::Ok };
    let (firsts, _) = traffic(&mut fleet, 2_001..2_500, 10, failing);
    assert!(share(&firsts, "a") < 0.4, "{}", share(&firsts, "a"));
    let mut fleet = three_clouds();
    traffic(&mut fleet, 0..2_000, 20, |_, _| Class::Ok);
    fleet.hear_of_trouble(at(2_000), a);
    let (firsts, _) = traffic(&mut fleet, 2_001..6_000, 10, |_, _| Class::Ok);
    assert!(share(&firsts, "a") > 0.8, "it answers, so the rumour is over: {}", share(&firsts, "a"));
}

#[test]
fn headroom_is_spread_before_a_limit_is_reached() {
    let mut specs = vec![spec("a", Tier::Primary, "aws"), spec("g", Tier::Primary, "gcp")];
    specs[0].limit_per_s = Some(50.0);
    let mut fleet = Fleet::new(specs);
    for name in ["a", "g"] {
        fleet.set_identity(fleet.find(name).unwrap(), Identity::Confirmed);
    }
    traffic(&mut fleet, 0..1_500, 10, |_, _| Class::Ok);
    let (firsts, _) = traffic(&mut fleet, 1_500..3_000, 10, |_, _| Class::Ok);
    let per_s = share(&firsts, "a") * 100.0;
    // A second or so of averaging lies between what comes and what is known of it.
    assert!((20.0..=60.0).contains(&per_s), "{per_s}");
    let (firsts, _) = traffic(&mut fleet, 8_000..20_000, 10, |_, _| Class::Ok);
    assert!(share(&firsts, "g") > 0.75, "who can take all becomes the favourite: {}", share(&firsts, "g"));
}

#[test]
fn r15_cordoned_and_wrong_chain_backends_are_never_asked_even_when_all_else_is_down() {
    let mut fleet = three_clouds();
    fleet.set_cordoned(fleet.find("g").unwrap(), true);
    fleet.set_identity(fleet.find("m").unwrap(), Identity::WrongChain);
    let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
    assert_eq!((names, end), (vec!["a".to_owned(), "a2".to_owned()], Step::GiveUp));
}

#[test]
fn r12_all_bad_backends_are_still_tried() {
    let mut fleet = three_clouds();
    for _ in 0..20 {
        asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
    }
    let (names, _) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok);
    assert_eq!(names.len(), 1, "the least bad one answers again at its first success");
}

#[test]
fn r12_a_guess_that_everybody_lacks_a_method_leaves_everybody_to_ask() {
    let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
    // Each has just answered, so that one refused key looks like a plan without this method.
    for down in ["a", "g"] {
        let answer = |name: &str| if name == down { Class::BlockNotFound } else { Class::Ok };
        asked(&mut fleet, plan(Repeat::Freely), answer);
    }
    // One may be about this call; several of the same method, while others are answered, are not.
    for _ in 0..3 {
        let (names, _) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Unauthorized);
        assert_eq!(names.len(), 2);
        let other = Plan { need: Need { method: Some("eth_getCode"), ..NEED }, ..plan(Repeat::Freely) };
        for down in ["a", "g"] {
            asked(&mut fleet, other, |name| if name == down { Class::BlockNotFound } else { Class::Ok });
        }
    }
    for seems_to_lack in [true, false] {
        let backend = fleet.backend(fleet.find("a").unwrap());
        assert_eq!(backend.seems_to_lack_method(at(0), NEED.method), seems_to_lack);
        let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::Ok);
        assert_eq!((names.as_slice(), end), (["a".to_owned()].as_slice(), Step::Answer));
    }
}

#[test]
fn r11_only_retries_that_are_made_are_paid_for() {
    let mut fleet = fleet(&[("a", Tier::Primary, "aws")]);
    for _ in 0..1_000 {
        asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError);
    }
    let in_hand = (0..1_000).take_while(|_| fleet.budget.may_retry(at(0), false)).count();
    assert!(in_hand >= 100, "nobody could be asked, and {in_hand} are left");
}

#[test]
fn r4_a_method_that_one_backend_lacks_is_learned_and_asked_of_others() {
    let mut fleet = three_clouds();
    let lacking = |name: &str| if name.starts_with('a') { Class::MethodUnsupported } else { Class::Ok };
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), lacking).0, ["a", "g"]);
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), lacking).0, ["g"]);
    let a = fleet.backend(fleet.find("a").unwrap());
    assert!(a.health(NEED.class).error_rate(at(0)) < 0.1);
}

#[test]
fn r12_a_method_that_everybody_denied_during_an_outage_is_asked_for_again_within_a_second() {
    let mut fleet = three_clouds();
    let deny = |_: &str| Class::MethodUnsupported;
    for ms in (0..60_000).step_by(50) {
        asked_at(&mut fleet, Plan { deadline: at(ms + 10_000), ..plan(Repeat::Freely) }, ms, deny);
    }
    let calls: u64 = fleet.iter().map(|(_, backend)| backend.totals().0).sum();
    assert!(calls < 60 * 5, "{calls} calls in a minute for a method that nobody has");
    let served = (60_000..61_100).step_by(50).find(|ms| {
        let plan = Plan { deadline: at(ms + 10_000), ..plan(Repeat::Freely) };
        asked_at(&mut fleet, plan, *ms, |_| Class::Ok).1 == Step::Answer
    });
    assert!(served.is_some(), "it is denied still, though everybody has it again");
}

#[test]
fn r11_a_silent_fleet_spends_nothing_on_attempts_that_nobody_is_left_for() {
    let count = |fleet: &mut Fleet| (0..1000).take_while(|_| fleet.budget.may_retry(at(0), false)).count();
    let mut untouched = fleet(&[("a", Tier::Primary, "aws")]);
    let mut fleet = fleet(&[("a", Tier::Primary, "aws")]);
    for repeat in [Repeat::Freely, Repeat::InTurn] {
        for _ in 0..20 {
            let mut flight = Flight::new(plan(repeat));
            let mut step = flight.on(at(0), Event::Start, &mut fleet, &mut rng());
            while let Step::Send { wake, .. } | Step::Wait { wake } = step {
                step = flight.on(wake, Event::Timer, &mut fleet, &mut rng());
            }
        }
    }
    assert!(fleet.budget.may_hedge(), "hedges are left");
    assert_eq!(count(&mut fleet), count(&mut untouched));
}

#[test]
fn h7_a_backend_that_named_a_time_is_not_asked_once_more_for_want_of_others() {
    let mut fleet = fleet(&[("a", Tier::Primary, "aws")]);
    let a = fleet.find("a").unwrap();
    let mut flight = Flight::new(plan(Repeat::Freely));
    flight.on(at(0), Event::Start, &mut fleet, &mut rng());
    let not_there = outcome(Class::BlockNotFound);
    let ended = Event::Ended { backend: a, outcome: &not_there, sent: true };
    let Step::Wait { wake } = flight.on(at(1), ended, &mut fleet, &mut rng()) else { panic!() };
    let limited = Outcome { retry_after: Some(SECOND * 5), ..outcome(Class::RateLimited) };
    fleet.started(at(2), a, NEED.class);
    fleet.finished(at(3), Attempted { backend: a, need: NEED, took: Duration::ZERO }, &limited);
    assert_eq!(flight.on(wake, Event::Timer, &mut fleet, &mut rng()), Step::GiveUp);
}

#[test]
fn h7_a_rate_limited_backend_is_left_alone_for_its_window_and_keeps_its_health() {
    let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
    let a = fleet.find("a").unwrap();
    let limited = Outcome { retry_after: Some(SECOND * 5), ..outcome(Class::RateLimited) };
    fleet.started(at(0), a, NEED.class);
    fleet.finished(at(0), Attempted { backend: a, need: NEED, took: Duration::ZERO }, &limited);
    let mut rng = rng();
    let g = fleet.find("g").unwrap();
    assert_eq!(fleet.choose(at(10), &NEED, BackendSet::default(), &mut rng), Some(g));
    let mut tried = BackendSet::default();
    tried.insert(g);
    assert_eq!(fleet.choose(at(4_900), &NEED, tried, &mut rng), None);
    assert_eq!(fleet.choose(at(5_000), &NEED, tried, &mut rng), Some(a));
    assert!(fleet.backend(a).health(NEED.class).error_rate(at(10)) < 0.06);
}

#[test]
fn r10_a_client_that_goes_away_penalises_nobody() {
    let (mut fleet, mut rng) = (three_clouds(), rng());
    let mut flight = Flight::new(plan(Repeat::Freely));
    flight.on(at(0), Event::Start, &mut fleet, &mut rng);
    flight.abandon(&mut fleet);
    let a = fleet.backend(fleet.find("a").unwrap());
    assert_eq!((a.in_flight(), a.totals().1, a.health(NEED.class).is_known()), (0, 0, false));
    assert_eq!(flight.on(at(1), Event::Timer, &mut fleet, &mut rng), Step::GiveUp);
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_again() {
    let (mut fleet, mut rng) = (three_clouds(), rng());
    let failed = outcome(Class::ConnectionError);
    let mut flight = Flight::new(plan(Repeat::IfUnsent));
    let Step::Send { backend, wake, .. } = flight.on(at(0), Event::Start, &mut fleet, &mut rng) else {
        panic!()
    };
    assert_eq!(wake, at(10_000), "nor is anybody else asked meanwhile");
    let unsent = Event::Ended { backend, outcome: &failed, sent: false };
    let Step::Send { backend, .. } = flight.on(at(1), unsent, &mut fleet, &mut rng) else { panic!() };
    let sent = Event::Ended { backend, outcome: &failed, sent: true };
    assert_eq!(flight.on(at(2), sent, &mut fleet, &mut rng), Step::GiveUp);
}

#[test]
fn a_block_that_is_not_there_yet_is_asked_for_once_more() {
    let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
    let (names, end) = asked(&mut fleet, plan(Repeat::Freely), |_| Class::BlockNotFound);
    assert_eq!((names.len(), end), (3, Step::GiveUp), "{names:?}");
}

#[test]
fn transactions_go_to_private_backends_only_where_any_exists_and_reads_never_do() {
    let mut specs = vec![spec("public", Tier::Primary, "aws"), spec("relay", Tier::Primary, "gcp")];
    specs[1].private = true;
    let mut fleet = Fleet::new(specs);
    let submit = Plan { need: Need { submits: true, ..NEED }, ..plan(Repeat::InTurn) };
    assert_eq!(asked(&mut fleet, submit, |_| Class::ConnectionError).0, ["relay"]);
    assert_eq!(asked(&mut fleet, plan(Repeat::Freely), |_| Class::ConnectionError).0, ["public"]);
}
