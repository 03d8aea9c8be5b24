//! What holds in every world of random answers.

use proptest::prelude::*;

use super::*;

/// A world of random answers: when each attempt ends and with what.
fn world() -> impl Strategy<Value = Vec<(u64, u8)>> {
    proptest::collection::vec((0u64..20_000, 0u8..6), 1..12)
}

fn class(n: u8) -> Class {
    [
        Class::Ok,
        Class::ConnectionError,
        Class::RateLimited,
        Class::BlockNotFound,
        Class::MethodUnsupported,
        Class::ExecutionReverted,
    ][usize::from(n) % 6]
}

proptest! {
    #[test]
    fn every_request_ends_by_its_deadline_and_leaves_nothing_in_flight(
        answers in world(), seed in 0u64..1000, repeat in 0u8..3
    ) {
        let mut fleet = three_clouds();
        let mut rng = SmallRng::seed_from_u64(seed);
        let repeat = [Repeat::Freely, Repeat::InTurn, Repeat::IfUnsent][usize::from(repeat)];
        let mut flight = Flight::new(plan(repeat));
        let mut under_way: Vec<(Timestamp, BackendIndex, Class)> = Vec::new();
        let mut answers = answers.into_iter().cycle();
        let (mut now, mut steps) = (at(0), 0);
        let mut step = flight.on(now, Event::Start, &mut fleet, &mut rng);
        let mut seen = Vec::new();
        loop {
            steps += 1;
            prop_assert!(steps < 200, "it spins");
            let wake = match step {
                Step::Send { backend, wake, .. } => {
                    prop_assert!(!under_way.iter().any(|(_, b, _)| *b == backend));
                    seen.push(backend);
                    let (ms, n) = answers.next().unwrap();
                    under_way.push((now + Duration::from_millis(ms), backend, class(n)));
                    wake
                }
                Step::Wait { wake } => wake,
                Step::Answer | Step::GiveUp => break,
            };
            prop_assert!(wake <= at(10_000));
            prop_assert!(wake > now, "a timer in the past spins: {wake:?} {now:?}");
            under_way.sort_by_key(|(ends, ..)| *ends);
            step = match under_way.first().copied() {
                Some((ends, backend, class)) if ends <= wake => {
                    under_way.remove(0);
                    now = ends.max(now);
                    let outcome = outcome(class);
                    flight.on(now, Event::Ended { backend, outcome: &outcome, sent: true }, &mut fleet, &mut rng)
                }
                _ => {
                    now = wake;
                    flight.on(now, Event::Timer, &mut fleet, &mut rng)
                }
            };
        }
        prop_assert!(now <= at(10_000));
        prop_assert!(fleet.iter().all(|(_, b)| b.in_flight() == 0));
        let distinct = seen.iter().collect::<std::collections::BTreeSet<_>>().len();
        prop_assert!(seen.len() <= distinct + 1, "at most one backend is asked once more");
        let booked: Vec<_> = fleet.iter().map(|(_, b)| (b.totals(), b.in_flight())).collect();
        for late in under_way.iter().map(|(_, backend, _)| *backend).chain(seen.first().copied()) {
            let outcome = outcome(Class::Ok);
            let ended = Event::Ended { backend: late, outcome: &outcome, sent: true };
            prop_assert_eq!(flight.on(now, ended, &mut fleet, &mut rng), Step::GiveUp);
        }
        for event in [Event::Timer, Event::Start] {
            prop_assert_eq!(flight.on(now, event, &mut fleet, &mut rng), Step::GiveUp);
        }
        let after: Vec<_> = fleet.iter().map(|(_, b)| (b.totals(), b.in_flight())).collect();
        prop_assert_eq!(booked, after, "what comes after the end changes nothing");
    }

    #[test]
    fn budgets_hold_and_who_is_excluded_is_never_asked_whatever_happens(
        classes in proptest::collection::vec(0u8..8, 200..600),
        gaps_ms in proptest::collection::vec(1u64..200, 1..20),
        excluded in 0usize..4,
        wrong in 0usize..4,
        seed in 0u64..1000,
    ) {
        let mut fleet = three_clouds();
        let mut rng = SmallRng::seed_from_u64(seed);
        fleet.set_cordoned(BackendIndex::at(excluded), true);
        fleet.set_identity(BackendIndex::at(wrong), Identity::WrongChain);
        let (mut now_ms, mut attempts, mut requests) = (0u64, 0u64, 0u64);
        let mut classes = classes.into_iter();
        let mut gaps_ms = gaps_ms.into_iter().cycle();
        while classes.len() > 0 && requests < 2_000 {
            now_ms += gaps_ms.next().unwrap();
            let plan = Plan { deadline: at(now_ms + 10_000), may_copy: true, ..plan(Repeat::Freely) };
            let (mut flight, mut now) = (Flight::new(plan), at(now_ms));
            let mut step = flight.on(now, Event::Start, &mut fleet, &mut rng);
            requests += 1;
            loop {
                step = match step {
                    Step::Send { backend, copy_to, .. } => {
                        attempts += 1 + u64::from(copy_to.is_some());
                        for asked in copy_to.into_iter().chain([backend]) {
                            prop_assert!(asked.get() != excluded && asked.get() != wrong);
                        }
                        if let Some(backend) = copy_to {
                            let attempted = Attempted { backend, need: NEED, took: SECOND / 100 };
                            fleet.aside_ended(now, attempted, &outcome(Class::Ok));
                        }
                        let class = match classes.next().unwrap_or(0) {
                            7 => Class::Overloaded,
                            6 => Class::Unauthorized,
                            n => class(n),
                        };
                        let outcome = outcome(class);
                        let ended = Event::Ended { backend, outcome: &outcome, sent: true };
                        flight.on(now, ended, &mut fleet, &mut rng)
                    }
                    Step::Wait { wake } => {
                        now = wake;
                        flight.on(now, Event::Timer, &mut fleet, &mut rng)
                    }
                    Step::Answer | Step::GiveUp => break,
                };
            }
            now_ms = now.since_origin().as_millis() as u64;
        }
        let shares = super::super::super::Shares::default();
        let earned = requests as f64 * (shares.hedges_fault + shares.retries);
        let in_hand = 60.0 + 100.0 + 10.0 + 10.0 * (now_ms as f64 / 1e3 + 1.0);
        prop_assert!(attempts as f64 <= requests as f64 + earned + in_hand, "{attempts} for {requests}");
        prop_assert!(fleet.iter().all(|(_, b)| b.in_flight() == 0));
    }

    #[test]
    fn with_one_more_failure_a_backend_stands_no_earlier_in_any_history(
        history in proptest::collection::vec((0usize..4, 0u8..6, 1u64..300), 0..80), seed in 0u64..100
    ) {
        // Nobody shares anything and nobody else fails: a failure also counts against neighbours, those that
        // failed together with it included, and they may fall behind it.
        let place = |more_failures: u64| {
            let clouds = ["aws", "gcp", "metal", "hetzner"];
            let mut fleet = fleet(&clouds.map(|cloud| (cloud, Tier::Primary, cloud)));
            let mut now_ms = 0;
            let book = |fleet: &mut Fleet, at_ms: u64, backend: usize, class: Class| {
                let backend = BackendIndex::at(backend);
                fleet.started(at(at_ms), backend, NEED.class);
                let attempted = Attempted { backend, need: NEED, took: Duration::from_millis(20) };
                fleet.finished(at(at_ms), attempted, &outcome(class));
            };
            for (backend, n, gap_ms) in &history {
                now_ms += gap_ms;
                let fails = *backend == 0 && *n >= 3;
                let class = if fails { Class::ConnectionError } else { Class::Ok };
                book(&mut fleet, now_ms, *backend, class);
            }
            (0..more_failures).for_each(|_| book(&mut fleet, now_ms, 0, Class::ConnectionError));
            let mut rng = SmallRng::seed_from_u64(seed);
            fleet.choose(at(now_ms), &NEED, BackendSet::default(), &mut rng);
            let latest = fleet.decisions().iter().next().copied().unwrap();
            let order = latest.candidates().map(|candidate| candidate.backend.get());
            order.collect::<Vec<_>>().iter().position(|backend| *backend == 0).unwrap_or(usize::MAX)
        };
        let (before, after) = (place(0), place(1));
        prop_assert!(after >= before, "from place {before} to {after}");
    }

    #[test]
    fn more_failures_never_raise_a_rank(failures in 1usize..10, seed in 0u64..100) {
        let mut fleet = fleet(&[("a", Tier::Primary, "aws"), ("g", Tier::Primary, "gcp")]);
        let (a, g) = (fleet.find("a").unwrap(), fleet.find("g").unwrap());
        let mut rng = SmallRng::seed_from_u64(seed);
        for ms in 0..20 {
            fleet.started(at(ms), g, NEED.class);
            fleet.finished(
                at(ms),
                Attempted { backend: g, need: NEED, took: Duration::from_millis(20) },
                &outcome(Class::Ok),
            );
        }
        for _ in 0..failures {
            fleet.started(at(30), a, NEED.class);
            fleet.finished(
                at(30),
                Attempted { backend: a, need: NEED, took: Duration::from_millis(1) },
                &outcome(Class::ConnectionError),
            );
        }
        prop_assert_eq!(fleet.choose(at(31), &NEED, BackendSet::default(), &mut rng), Some(g));
    }
}
