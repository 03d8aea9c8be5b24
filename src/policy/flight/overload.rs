//! More requests than all backends together can take, from clients that repeat at once what was refused.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::backend::{BackendSpec, Identity, Tier};
use super::super::{Class, DomainKind, DomainLabels};
use super::*;
use crate::ethereum::MethodClass;

/// What each of the two backends takes.
const TAKES_PER_S: f64 = 50.0;
const COMES_PER_S: f64 = 120.0;
/// How often a client repeats at once what was refused.
const REPEATS: u32 = 3;

/// A queue that takes so many a second, and a quarter of a second's worth at once.
struct Queue {
    places: f64,
    at_ms: u64,
}

impl Queue {
    fn takes(&mut self, now_ms: u64) -> bool {
        let most = TAKES_PER_S / 4.0;
        self.places = (self.places + now_ms.saturating_sub(self.at_ms) as f64 / 1e3 * TAKES_PER_S).min(most);
        self.at_ms = self.at_ms.max(now_ms);
        let taken = self.places >= 1.0;
        self.places -= if taken { 1.0 } else { 0.0 };
        taken
    }
}

#[derive(Default)]
struct Seen {
    came: [u32; 4],
    answered_at_once: [u32; 4],
    calls: u32,
}

impl Seen {
    fn share(&self, urgency: Urgency) -> f64 {
        f64::from(self.answered_at_once[urgency as usize]) / f64::from(self.came[urgency as usize])
    }
}

/// Runs the load for so long, the last `counted` of which is counted.
fn run(refusal: Class, comes_per_s: f64, seconds: u64, counted: u64, seed: u64) -> Seen {
    let mut world = SmallRng::seed_from_u64(seed);
    let mut rng = SmallRng::seed_from_u64(!seed);
    let spec = |cloud: &str| BackendSpec {
        name: cloud.into(),
        tier: Tier::Primary,
        private: false,
        labels: DomainLabels::new().with(DomainKind::Cloud, cloud),
        limit_per_s: None,
    };
    let mut fleet = Fleet::new(vec![spec("aws"), spec("gcp")]);
    let everybody: Vec<_> = fleet.iter().map(|(index, _)| index).collect();
    everybody.iter().for_each(|index| fleet.set_identity(*index, Identity::Confirmed));
    let mut queues = [Queue { places: 10.0, at_ms: 0 }, Queue { places: 10.0, at_ms: 0 }];
    let mut seen = Seen::default();
    for now_ms in 0..seconds * 1000 {
        if !world.random_bool(comes_per_s / 1e3) {
            continue;
        }
        let (urgency, class) = match world.random_range(0..100) {
            0..10 => (Urgency::Bulk, MethodClass::Logs),
            10..90 => (Urgency::Read, MethodClass::State),
            90..97 => (Urgency::FollowUp, MethodClass::History),
            _ => (Urgency::Transaction, MethodClass::Submit),
        };
        let submits = urgency == Urgency::Transaction;
        let now = Timestamp::ZERO + Duration::from_millis(now_ms);
        let plan = Plan {
            need: Need {
                class,
                method: None,
                urgency,
                submits,
                prefer: None,
                only: None,
                rests: Rests::OnNothing,
                depth: None,
                log_blocks: None,
            },
            key: world.random(),
            deadline: now + Duration::from_secs(10),
            repeat: if submits { Repeat::InTurn } else { Repeat::Freely },
            may_copy: false,
            hedge_delay: (Duration::from_millis(30), Duration::from_millis(250)),
            attempts_max: 8,
        };
        let is_counted = now_ms >= (seconds - counted) * 1000;
        for repeated in 0..=REPEATS {
            let mut flight = Flight::new(plan);
            let mut step = flight.on(now, Event::Start, &mut fleet, &mut rng);
            let mut now = now;
            loop {
                step = match step {
                    Step::Send { backend, .. } => {
                        seen.calls += u32::from(is_counted);
                        let now_ms = now.since_origin().as_millis() as u64;
                        let class = if queues[backend.get()].takes(now_ms) { Class::Ok } else { refusal };
                        let event = Event::Ended { backend, outcome: &Outcome::of(class), sent: true };
                        flight.on(now, event, &mut fleet, &mut rng)
                    }
                    Step::Wait { wake } => {
                        now = wake;
                        flight.on(now, Event::Timer, &mut fleet, &mut rng)
                    }
                    Step::Answer | Step::GiveUp => break,
                }
            }
            let answered = step == Step::Answer;
            if repeated == 0 && is_counted {
                seen.came[urgency as usize] += 1;
                seen.answered_at_once[urgency as usize] += u32::from(answered);
            }
            if answered {
                break;
            }
        }
    }
    seen
}

#[test]
fn h7_when_nobody_has_room_bulk_goes_first_and_transactions_go_through() {
    for refusal in [Class::RateLimited, Class::Overloaded] {
        for seed in 1..=3 {
            let seen = run(refusal, COMES_PER_S, 60, 40, seed);
            let shares = [Urgency::Transaction, Urgency::FollowUp, Urgency::Read, Urgency::Bulk]
                .map(|urgency| seen.share(urgency));
            let context = format!("{refusal:?}, seed {seed}: {shares:.3?}, {} calls", seen.calls);
            assert!(shares[0] >= 0.95, "{context}");
            assert!(shares[1] >= 0.9, "{context}");
            assert!(shares[2] >= 0.6, "{context}");
            assert!(shares[3] <= 0.5, "{context}");
            assert!(f64::from(seen.calls) <= 1.2 * 2.0 * TAKES_PER_S * 40.0, "{context}");
        }
    }
}

#[test]
fn nobody_is_turned_away_while_there_is_room() {
    for seed in 1..=3 {
        let seen = run(Class::RateLimited, 70.0, 60, 50, seed);
        for urgency in [Urgency::Bulk, Urgency::Read, Urgency::FollowUp, Urgency::Transaction] {
            assert!(seen.share(urgency) >= 0.99, "{urgency:?}, seed {seed}: {}", seen.share(urgency));
        }
    }
}
