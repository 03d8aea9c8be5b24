//! What becomes of a fleet whose backends turn out to share something.

use super::super::{Class, DomainKind, LabelSource};
use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

/// Providers in clouds of their own, of which nothing else is known.
fn fleet(count: usize) -> Fleet {
    let spec = |n: usize| BackendSpec {
        name: format!("b{n}").into(),
        tier: super::super::Tier::Primary,
        private: false,
        labels: DomainLabels::of([("provider", format!("p{n}")), ("cloud", format!("c{n}"))]),
        limit_per_s: None,
    };
    let mut fleet = Fleet::new((0..count).map(spec).collect());
    for n in 0..count {
        fleet.set_identity(BackendIndex::at(n), Identity::Confirmed);
    }
    fleet
}

/// The first `behind` of so many stand behind one edge, as headers told.
fn behind_one_edge(count: usize, behind: usize) -> Vec<Vec<DerivedLabel>> {
    let edge = DerivedLabel {
        kind: DomainKind::Edge,
        value: "cloudflare".into(),
        from: LabelSource::ResponseHeaders,
    };
    (0..count).map(|n| if n < behind { vec![edge.clone()] } else { Vec::new() }).collect()
}

fn fail(fleet: &mut Fleet, now: Timestamp, backend: usize) {
    let need = Need {
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
    let backend = BackendIndex::at(backend);
    fleet.started(now, backend, need.class);
    let attempted = Attempted { backend, need, took: Duration::from_millis(1) };
    fleet.finished(now, attempted, &Outcome::of(Class::ConnectionError));
}

fn condemned(fleet: &Fleet) -> Vec<usize> {
    fleet
        .iter()
        .map(|(index, _)| index)
        .filter(|index| fleet.is_condemned(*index))
        .map(BackendIndex::get)
        .collect()
}

#[test]
fn h2_an_edge_that_was_only_seen_is_condemned_like_one_that_was_written() {
    let mut seen = fleet(4);
    seen.learn_labels(at(0), &behind_one_edge(4, 3));
    fail(&mut seen, at(10), 0);
    assert_eq!(condemned(&seen), [0; 0], "one failure condemns nobody");
    fail(&mut seen, at(20), 1);
    assert_eq!(condemned(&seen), [0, 1, 2], "the untouched sibling with them, and nobody else");
    assert_eq!(seen.suspicion().condemned_domains(at(21)), ["edge:cloudflare"]);
    let mut unseen = fleet(4);
    fail(&mut unseen, at(10), 0);
    fail(&mut unseen, at(20), 1);
    assert_eq!(condemned(&unseen), [0; 0]);
}

#[test]
fn h1_failures_count_against_a_domain_that_is_found_out_after_them() {
    let mut fleet = fleet(4);
    fail(&mut fleet, at(10), 0);
    fail(&mut fleet, at(20), 1);
    fleet.learn_labels(at(30), &behind_one_edge(4, 3));
    assert_eq!(condemned(&fleet), [0, 1, 2]);
    fleet.learn_labels(at(40), &behind_one_edge(4, 0));
    assert_eq!(condemned(&fleet), [0; 0], "what they no longer share takes nobody along");
}

#[test]
fn what_was_seen_moves_backends_nearer_and_lowers_the_effective_number() {
    let mut fleet = fleet(4);
    let overlap = |fleet: &Fleet, a, b| fleet.overlap(at(0), BackendIndex::at(a), BackendIndex::at(b));
    assert_eq!((overlap(&fleet, 0, 1), fleet.diversity(at(0)).effective), (0, 4.0));
    fleet.learn_labels(at(0), &behind_one_edge(4, 3));
    assert!(overlap(&fleet, 0, 1) > overlap(&fleet, 0, 3));
    let diversity = fleet.diversity(at(0));
    assert_eq!((diversity.independent, diversity.effective, diversity.edges), (2, 2.0, 1));
    fleet.set_cordoned(BackendIndex::at(3), true);
    assert_eq!(fleet.diversity(at(0)).findings, ["your 3 backends are 1 edge (cloudflare)"]);
}

#[test]
fn h3_failing_together_lowers_the_effective_number_though_no_label_is_shared() {
    let mut fleet = fleet(3);
    let numbers: Vec<f64> = (0..4)
        .map(|event| {
            let begins = event * 60_000;
            fail(&mut fleet, at(begins + 100), 0);
            fail(&mut fleet, at(begins + 200), 1);
            fleet.diversity(at(begins + 300)).effective
        })
        .collect();
    assert!(numbers.is_sorted_by(|before, after| before > after), "{numbers:?}");
    assert!(numbers[0] > 2.2 && numbers[3] < 2.2, "once is an accident, four times is a rule: {numbers:?}");
    assert_eq!(fleet.diversity(at(200_000)).independent, 3, "labels know nothing of it");
}

/// C7.
#[test]
fn who_lacks_the_head_builds_its_pending_block_on_an_old_one() {
    let mut fleet = fleet(2);
    let need = Need {
        class: MethodClass::State,
        method: Some("eth_getTransactionCount"),
        urgency: Urgency::FollowUp,
        submits: false,
        prefer: None,
        only: None,
        rests: super::super::Rests::OnPending,
        depth: None,
        log_blocks: None,
    };
    let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
    for (heights, chosen) in [([100, 99], 0), ([99, 100], 1)] {
        for (n, height) in heights.into_iter().enumerate() {
            let reach = Reach { has: Some(height), ..Reach::default() };
            for ms in [0, 3000] {
                fleet.set_reach(at(ms), BackendIndex::at(n), reach, 100);
            }
        }
        for ms in 3000..3100 {
            let first = fleet.choose(at(ms), &need, BackendSet::default(), &mut rng);
            assert_eq!(first.map(BackendIndex::get), Some(chosen));
        }
    }
}
