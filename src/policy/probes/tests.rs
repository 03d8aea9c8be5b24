//! Fleets that nobody or hardly anybody uses, against a hand-turned clock.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::backend::{BackendSpec, Tier};
use super::super::{Change, DomainKind, DomainLabels, Month};
use super::*;

/// How often the gateway looks for questions.
const LOOK_MS: u64 = 250;
const TOOK: Duration = Duration::from_millis(20);

fn at(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

/// A fleet whose backends are `name cloud`, known to serve the chain.
fn fleet(backends: &[(&str, &str)]) -> Fleet {
    let spec = |(name, cloud): &(&str, &str)| BackendSpec {
        name: (*name).into(),
        tier: Tier::Primary,
        private: false,
        labels: DomainLabels::new().with(DomainKind::Cloud, cloud),
        limit_per_s: None,
    };
    let mut fleet = Fleet::new(backends.iter().map(spec).collect());
    for at in 0..backends.len() {
        fleet.set_identity(BackendIndex::at(at), Identity::Confirmed);
    }
    fleet
}

fn pair() -> Fleet {
    fleet(&[("a", "aws"), ("g", "gcp")])
}

const A: usize = 0;
const G: usize = 1;

fn need(class: MethodClass) -> Need {
    Need {
        class,
        method: Some("eth_call"),
        urgency: Urgency::Read,
        submits: false,
        prefer: None,
        only: None,
        rests: Rests::OnNothing,
        depth: None,
        log_blocks: None,
    }
}

/// A client's call reaches this backend and comes to that.
fn call(fleet: &mut Fleet, now: Timestamp, backend: usize, class: MethodClass, said: Class) {
    let (backend, need) = (BackendIndex::at(backend), need(class));
    fleet.started(now, backend, class);
    fleet.finished(now, Attempted { backend, need, took: TOOK }, &Outcome::of(said));
}

/// Puts every question that is due in this time; gives what was asked, of whom and when.
fn look_after(
    fleet: &mut Fleet,
    from_ms: u64,
    to_ms: u64,
    says: impl Fn(usize, Question) -> Class,
) -> Vec<(u64, usize, Question)> {
    let mut asked = Vec::new();
    for ms in (from_ms..to_ms).step_by(LOOK_MS as usize) {
        for backend in 0..fleet.len() {
            let index = BackendIndex::at(backend);
            while let Some(question) = fleet.next_question(at(ms), index) {
                asked.push((ms, backend, question));
                let outcome = Outcome::of(says(backend, question));
                fleet.question_ended(at(ms) + TOOK, index, question, TOOK, &outcome);
            }
        }
    }
    asked
}

fn count(asked: &[(u64, usize, Question)], backend: usize) -> usize {
    asked.iter().filter(|(_, of, _)| *of == backend).count()
}

fn standing(fleet: &Fleet, ms: u64, backend: usize, class: MethodClass) -> Standing {
    fleet.backend(BackendIndex::at(backend)).experience(class).standing(at(ms))
}

/// Who is asked first for the next of these calls.
fn chosen(fleet: &mut Fleet, ms: u64, class: MethodClass) -> Option<usize> {
    let mut rng = SmallRng::seed_from_u64(ms);
    fleet.choose(at(ms), &need(class), Default::default(), &mut rng).map(BackendIndex::get)
}

/// Takes `a` out by failures of its own in these classes at `ms`, while `g` answers.
fn take_out(fleet: &mut Fleet, ms: u64, classes: &[MethodClass]) {
    for class in classes {
        call(fleet, at(ms), G, *class, Class::Ok);
        for n in 0..4 {
            call(fleet, at(ms + n), A, *class, Class::ConnectionError);
        }
        assert_eq!(standing(fleet, ms + 10, A, *class), Standing::Out, "{class}");
    }
}

const PROVABLE: [MethodClass; 4] =
    [MethodClass::Head, MethodClass::State, MethodClass::History, MethodClass::Logs];

#[test]
fn h9_on_an_idle_chain_a_backend_that_is_well_again_comes_back_in_all_steps_and_few_calls() {
    let mut fleet = pair();
    take_out(&mut fleet, 1_000, &PROVABLE);
    let mut shares: Vec<f64> = Vec::new();
    let mut asked = 0;
    let mut back_at = None;
    for ms in (1_250..60_000).step_by(250) {
        asked += count(&look_after(&mut fleet, ms, ms + 250, |_, _| Class::Ok), A);
        if let Standing::Returning { share } = standing(&fleet, ms, A, MethodClass::State)
            && shares.last() != Some(&share)
        {
            shares.push(share);
        }
        if PROVABLE.iter().all(|class| standing(&fleet, ms, A, *class) == Standing::Admitted) {
            back_at = Some(ms);
            break;
        }
    }
    assert!(back_at.is_some_and(|ms| (9_000..15_000).contains(&ms)), "{back_at:?}");
    assert_eq!(shares, [0.01, 0.05, 0.20, 0.50]);
    assert!(asked <= 4 * 9 + 4, "{asked} calls");
}

#[test]
fn h10_a_backend_whose_cheap_calls_work_and_whose_real_ones_fail_stays_out() {
    let mut fleet = pair();
    take_out(&mut fleet, 1_000, &[MethodClass::State]);
    look_after(&mut fleet, 1_250, 120_000, |backend, question| match question {
        Question::Real(_) if backend == A => Class::InternalError,
        _ => Class::Ok,
    });
    let left = standing(&fleet, 120_000, A, MethodClass::State);
    assert!(matches!(left, Standing::Out | Standing::Shadowed), "{left:?}");
    assert!(!fleet.backend(BackendIndex::at(A)).is_down(), "somebody is there");
}

#[test]
fn r12_a_backend_that_is_gone_is_looked_for_ten_times_a_minute_and_then_once() {
    let mut fleet = pair();
    take_out(&mut fleet, 1_000, &PROVABLE);
    let asked = look_after(&mut fleet, 1_250, 1_900_000, |backend, _| match backend {
        A => Class::ConnectionError,
        _ => Class::Ok,
    });
    let within = |from, to| asked.iter().filter(|(ms, of, _)| *of == A && (from..to).contains(ms)).count();
    assert!((5..=10).contains(&within(11_000, 71_000)), "{}", within(11_000, 71_000));
    assert!((1..=2).contains(&within(1_800_000, 1_860_000)), "{}", within(1_800_000, 1_860_000));
    // Copies of clients' requests keep to the same pace.
    let copies = (1_900_000..1_960_000u64)
        .step_by(100)
        .filter(|ms| fleet.wants_copy(at(*ms), &need(MethodClass::State), BackendIndex::at(G)).is_some());
    assert!(copies.count() <= 2);
}

#[test]
fn r12_while_nobody_is_there_everybody_is_looked_for_each_second() {
    let mut fleet = pair();
    let asked = look_after(&mut fleet, 0, 60_000, |_, _| Class::ConnectionError);
    for backend in [A, G] {
        assert!((45..=70).contains(&count(&asked, backend)), "{}", count(&asked, backend));
    }
}

#[test]
fn in_calm_weather_only_heads_are_asked_for_and_now_and_then_the_chain() {
    let mut fleet = pair();
    let asked = look_after(&mut fleet, 0, 3_600_000, |_, _| Class::Ok);
    assert!((230..=260).contains(&count(&asked, A)), "{}", count(&asked, A));
    assert!(asked.iter().all(|(_, _, question)| !matches!(question, Question::Real(_))));
}

#[test]
fn no_backend_is_asked_more_than_its_budget_whatever_happens_to_it() {
    let mut fleet = pair();
    fleet.set_probe_budget(BackendIndex::at(A), 20.0, Duration::from_secs(3600));
    let mut asked = 0;
    for minute in 0..120u64 {
        let from_ms = minute * 60_000;
        // Flaps all the time, as seen by clients.
        for n in 0..5 {
            call(&mut fleet, at(from_ms + n), A, MethodClass::State, Class::ConnectionError);
        }
        call(&mut fleet, at(from_ms + 5), G, MethodClass::State, Class::Ok);
        let said = if minute % 2 == 0 { Class::Ok } else { Class::ConnectionError };
        asked += count(
            &look_after(&mut fleet, from_ms + 250, from_ms + 60_000, |backend, _| match backend {
                A => said,
                _ => Class::Ok,
            }),
            A,
        );
    }
    assert!((40..=60).contains(&asked), "{asked} in two hours, of twenty an hour and twenty in hand");
}

#[test]
fn no_question_publishes_or_traces_anything() {
    for class in MethodClass::ALL {
        let (name, params) = Question::Real(class).call();
        let method = crate::ethereum::Method::lookup(name);
        assert!(!matches!(method.health_class(), MethodClass::Submit | MethodClass::Trace), "{name}");
        assert!(method.cost <= 3.0);
        if PROVABLE.contains(&class) {
            assert_eq!(method.health_class(), class, "{name} proves its class");
        }
        let is_array = |text: &str| serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok();
        assert!(params.is_none_or(is_array), "{params:?}");
    }
    let mut fleet = pair();
    take_out(&mut fleet, 1_000, &[MethodClass::Trace]);
    let asked = look_after(&mut fleet, 1_250, 60_000, |_, _| Class::Ok);
    assert!(asked.iter().all(|(_, _, question)| !matches!(question, Question::Real(_))));
}

#[test]
fn h7_within_a_limits_window_nothing_is_asked() {
    let mut fleet = pair();
    let named = Outcome { retry_after: Some(Duration::from_secs(60)), ..Outcome::of(Class::RateLimited) };
    let (backend, need) = (BackendIndex::at(A), need(MethodClass::State));
    fleet.started(at(0), backend, need.class);
    fleet.finished(at(0), Attempted { backend, need, took: TOOK }, &named);
    let asked = look_after(&mut fleet, 250, 59_000, |_, _| Class::Ok);
    assert_eq!(count(&asked, A), 0, "{asked:?}");
    assert!(count(&look_after(&mut fleet, 60_000, 62_000, |_, _| Class::Ok), A) > 0);
}

#[test]
fn r12_a_backend_that_is_not_there_is_offered_transactions_last() {
    let mut fleet = pair();
    let submission = Need { submits: true, ..need(MethodClass::Submit) };
    call(&mut fleet, at(900), G, MethodClass::Submit, Class::Ok);
    call(&mut fleet, at(1_000), A, MethodClass::Submit, Class::Ok);
    take_out(&mut fleet, 1_000, &[MethodClass::State]);
    look_after(&mut fleet, 1_250, 60_000, |backend, _| match backend {
        A => Class::ConnectionError,
        _ => Class::Ok,
    });
    for ms in 60_000..60_100 {
        let mut rng = SmallRng::seed_from_u64(ms);
        let first = fleet.choose(at(ms), &submission, Default::default(), &mut rng);
        assert_eq!(first, Some(BackendIndex::at(G)));
        let mut has = super::super::BackendSet::default();
        has.insert(BackendIndex::at(G));
        let further = fleet.spread_to(at(ms), &submission, has, 2, &mut rng);
        assert!(further.is_empty(), "{further:?}");
    }
}

/// `a` refuses everything from one second on, `g` answers it.
fn revoked(says: Class) -> Fleet {
    let mut fleet = pair();
    call(&mut fleet, at(0), A, MethodClass::State, Class::Ok);
    for ms in [1_000, 1_100] {
        call(&mut fleet, at(ms), A, MethodClass::State, says);
        call(&mut fleet, at(ms), G, MethodClass::State, Class::Ok);
    }
    look_after(&mut fleet, 1_250, 10_000, |backend, _| if backend == A { says } else { Class::Ok });
    fleet
}

fn is_retired(fleet: &Fleet, backend: usize) -> bool {
    fleet.backend(BackendIndex::at(backend)).retirement().retired().is_some()
}

#[test]
fn h8_who_refuses_everything_is_retired_within_ten_seconds_and_then_asked_by_nobody() {
    for says in [Class::Unauthorized, Class::QuotaExhausted, Class::GeoBlocked] {
        let mut fleet = revoked(says);
        assert!(is_retired(&fleet, A), "{says:?}");
        assert!(fleet.notes().iter().any(|note| note.change == Change::Retired { class: says }));
        let asked = look_after(&mut fleet, 10_000, 60_000, |_, _| Class::Ok);
        assert_eq!(count(&asked, A), 0, "{says:?}: {asked:?}");
        // Not even when the other one fails once: it can serve again a moment later.
        let failed = {
            let mut tried = super::super::set::BackendSet::default();
            tried.insert(BackendIndex::at(G));
            tried
        };
        for ms in (10_000..60_000).step_by(100) {
            let mut rng = SmallRng::seed_from_u64(ms);
            assert_eq!(chosen(&mut fleet, ms, MethodClass::State), Some(G));
            assert_eq!(fleet.choose(at(ms), &need(MethodClass::Logs), failed, &mut rng), None);
            assert_eq!(fleet.wants_copy(at(ms), &need(MethodClass::State), BackendIndex::at(G)), None);
        }
    }
}

#[test]
fn h8_a_retired_backend_returns_at_the_first_good_answer_to_a_real_call() {
    let mut fleet = revoked(Class::Unauthorized);
    let asked = look_after(&mut fleet, 10_000, 120_000, |_, _| Class::Ok);
    let first = asked.iter().find(|(_, of, _)| *of == A).expect("it is asked again");
    assert_eq!(first.2, Question::Real(MethodClass::State));
    assert!(!is_retired(&fleet, A));
    assert!(fleet.notes().iter().any(|note| note.change == Change::Returned));
    assert!(fleet.backend(BackendIndex::at(A)).is_usable(at(120_000)));
}

#[test]
fn h8_a_retired_backend_is_the_last_resort_where_nobody_else_can_serve() {
    let mut fleet = revoked(Class::Unauthorized);
    for n in 0..3 {
        call(&mut fleet, at(31_000 + n), G, MethodClass::State, Class::ConnectionError);
    }
    assert_eq!(chosen(&mut fleet, 31_100, MethodClass::State), Some(G), "who may still be there comes first");
    let mut tried = super::super::set::BackendSet::default();
    tried.insert(BackendIndex::at(G));
    let mut rng = SmallRng::seed_from_u64(1);
    let next = fleet.choose(at(31_100), &need(MethodClass::State), tried, &mut rng);
    assert_eq!(next, Some(BackendIndex::at(A)));
    call(&mut fleet, at(31_200), A, MethodClass::State, Class::Ok);
    assert!(!is_retired(&fleet, A), "it answered");
}

#[test]
fn h8_where_everybody_is_refused_alike_nobody_is_retired() {
    let mut fleet = fleet(&[("a", "aws"), ("g", "gcp"), ("m", "metal")]);
    for backend in 0..3 {
        for ms in [1_000, 1_100] {
            call(&mut fleet, at(ms), backend, MethodClass::State, Class::Unauthorized);
        }
    }
    look_after(&mut fleet, 1_250, 900_000, |_, _| Class::Unauthorized);
    assert!((0..3).all(|backend| !is_retired(&fleet, backend)));
    assert!(chosen(&mut fleet, 900_000, MethodClass::State).is_some());
}

#[test]
fn h8_a_burst_of_refusals_together_with_a_failing_sibling_is_an_outage() {
    let mut fleet = fleet(&[("a", "aws"), ("g", "gcp"), ("sibling", "aws")]);
    for ms in [1_000, 1_100] {
        call(&mut fleet, at(ms), A, MethodClass::State, Class::Unauthorized);
        call(&mut fleet, at(ms), 2, MethodClass::State, Class::InternalError);
        call(&mut fleet, at(ms), G, MethodClass::State, Class::Ok);
    }
    let says = |backend: usize, _| match backend {
        A => Class::Unauthorized,
        G => Class::Ok,
        _ => Class::InternalError,
    };
    look_after(&mut fleet, 1_250, 60_000, says);
    assert!(!is_retired(&fleet, A));
}

#[test]
fn h8_neither_a_limit_nor_a_method_that_the_plan_lacks_retires_anybody() {
    for (class, said) in [
        (MethodClass::State, Class::RateLimited),
        (MethodClass::State, Class::Overloaded),
        (MethodClass::State, Class::MethodUnsupported),
        (MethodClass::Trace, Class::Unauthorized),
    ] {
        let mut fleet = pair();
        for ms in (0..60_000).step_by(250) {
            call(&mut fleet, at(ms), A, class, said);
            call(&mut fleet, at(ms), G, class, Class::Ok);
            look_after(&mut fleet, ms, ms + 250, |_, _| Class::Ok);
        }
        assert!(!is_retired(&fleet, A), "{said:?}");
    }
}

#[test]
fn h13_a_retired_backend_is_retired_after_a_restart_too() {
    let before = revoked(Class::QuotaExhausted);
    let a = BackendIndex::at(A);
    let remembered = before.remember_retirement(at(10_000), a).expect("retired");
    let mut after = pair();
    after.recall_retirement(at(0), a, Duration::from_secs(5), &remembered);
    call(&mut after, at(10), G, MethodClass::State, Class::Ok);
    assert!(is_retired(&after, A));
    assert_eq!(chosen(&mut after, 20, MethodClass::State), Some(G));
    assert_eq!(count(&look_after(&mut after, 250, 40_000, |_, _| Class::Ok), A), 0);
}

/// The share of a thousand calls that goes to `a`, which serves in calm weather.
fn share_of_a(fleet: &mut Fleet, ms: u64) -> f64 {
    let first = (0..1_000).filter(|n| {
        let now = ms + n * 10;
        let chosen = chosen(fleet, now, MethodClass::State);
        if let Some(backend) = chosen {
            call(fleet, at(now), backend, MethodClass::State, Class::Ok);
        }
        chosen == Some(A)
    });
    first.count() as f64 / 1_000.0
}

#[test]
fn a_backend_that_is_ahead_of_its_monthly_pace_loses_share_smoothly_and_serves_as_the_last_resort() {
    let month = Month {
        number: 24_317,
        length: Duration::from_secs(30 * 86_400),
        left: Duration::from_secs(15 * 86_400),
    };
    let paced = |used: f64| {
        let mut fleet = pair();
        fleet.set_monthly_budget(BackendIndex::at(A), 1_000_000.0);
        fleet.set_month(at(0), month);
        call(&mut fleet, at(0), A, MethodClass::State, Class::Ok);
        assert_eq!(chosen(&mut fleet, 0, MethodClass::State), Some(A));
        fleet.spent(BackendIndex::at(A), used);
        fleet
    };
    let shares = [400_000.0, 530_000.0, 570_000.0, 620_000.0].map(|used| share_of_a(&mut paced(used), 1_000));
    assert!(shares[0] > 0.9, "{shares:?}");
    assert!(shares.is_sorted_by(|more, less| more > less), "{shares:?}");
    assert!(shares[3] < 0.01, "{shares:?}");
    let mut far_ahead = paced(999_000.0);
    far_ahead.set_cordoned(BackendIndex::at(G), true);
    assert_eq!(chosen(&mut far_ahead, 1_000, MethodClass::State), Some(A), "nobody else is there");
    far_ahead.spent(BackendIndex::at(A), 1_000.0);
    assert_eq!(chosen(&mut far_ahead, 2_000, MethodClass::State), None);
    assert_eq!(far_ahead.nobody_because(at(2_000), &need(MethodClass::State)), Class::QuotaExhausted);
}
