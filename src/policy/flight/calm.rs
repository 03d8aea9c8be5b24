//! What a decision may cost in calm weather: no allocation.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::backend::{BackendSpec, Identity, Tier};
use super::super::{Class, DomainKind, DomainLabels};
use super::*;
use crate::ethereum::MethodClass;

/// Runs requests that are answered in 10 ms each, 1 ms apart.
fn run(fleet: &mut Fleet, rng: &mut SmallRng, requests: std::ops::Range<u64>) {
    let answered = Outcome::of(Class::Ok);
    for n in requests {
        let now = Timestamp::ZERO + Duration::from_millis(n);
        let need = Need {
            class: [MethodClass::State, MethodClass::Head, MethodClass::History][(n % 3) as usize],
            method: Some("eth_call"),
            urgency: Urgency::Read,
            submits: false,
            prefer: None,
            only: None,
            rests: Rests::OnNothing,
            depth: None,
            log_blocks: None,
        };
        let plan = Plan {
            need,
            key: n,
            deadline: now + Duration::from_secs(10),
            repeat: Repeat::Freely,
            may_copy: true,
            hedge_delay: (Duration::from_millis(30), Duration::from_millis(250)),
            attempts_max: 8,
        };
        let mut flight = Flight::new(plan);
        let step = flight.on(now, Event::Start, fleet, rng);
        let Step::Send { backend, .. } = step else { panic!("{step:?}") };
        let ended = Event::Ended { backend, outcome: &answered, sent: true };
        assert_eq!(flight.on(now + Duration::from_millis(10), ended, fleet, rng), Step::Answer);
    }
}

#[test]
fn a_decision_in_calm_weather_allocates_nothing() {
    let spec = |n: usize| BackendSpec {
        name: format!("backend-{n}").into(),
        tier: Tier::Primary,
        private: false,
        labels: DomainLabels::new().with(DomainKind::Cloud, &format!("cloud-{}", n % 3)),
        limit_per_s: Some(10_000.0),
    };
    let mut fleet = Fleet::new((0..8).map(spec).collect());
    let everybody: Vec<_> = fleet.iter().map(|(index, _)| index).collect();
    everybody.iter().for_each(|index| fleet.set_identity(*index, Identity::Confirmed));
    let mut rng = SmallRng::seed_from_u64(1);
    run(&mut fleet, &mut rng, 0..3_000);
    let cost = allocation_counter::measure(|| run(&mut fleet, &mut rng, 3_000..23_000));
    assert_eq!(cost.count_total, 0, "{cost:?}");
}
