//! Whole outages in miniature: six backends in three clouds under steady load, one cloud failing in one of the ways
//! that clouds fail, many seeds, three modes of labels. What is asserted are the promises, not numbers of one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::backend::{BackendSpec, Identity, Tier};
use super::super::{Change, Class, DomainKind, DomainLabels};
use super::*;
use crate::ethereum::{MethodClass, Urgency};

const ONSET_MS: u64 = 15_000;
const HEALED_MS: u64 = 40_000;
const END_MS: u64 = 70_000;
const REQUESTS_PER_S: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Connections are refused.
    Refused,
    /// Requests are read and never answered.
    Hang,
    /// Every answer takes forty times as long.
    Slow,
    /// This share of requests fails.
    Gray(f64),
    /// Down and up every five seconds.
    Flapping,
}

#[derive(Clone, Copy, Debug)]
enum Labels {
    All,
    ProviderOnly,
    None,
}

#[derive(Debug, Default)]
struct Report {
    requests: usize,
    failed: usize,
    attempts: usize,
    /// Latency of every request by its arrival.
    latencies_ms: Vec<(u64, u64)>,
    /// First attempts: arrival, and whether they went to the cloud that fails.
    firsts: Vec<(u64, bool)>,
    switches: usize,
    /// When a backend of the failing cloud was last taken back in full.
    readmitted_ms: Option<u64>,
}

impl Report {
    fn p99_ms(&self, from: u64, to: u64) -> u64 {
        let mut window: Vec<u64> =
            self.latencies_ms.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, ms)| *ms).collect();
        window.sort_unstable();
        window.get(window.len() * 99 / 100).copied().unwrap_or(0)
    }

    /// Share of first attempts that went to the failing cloud in a window.
    fn share(&self, from: u64, to: u64) -> f64 {
        let window: Vec<bool> =
            self.firsts.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, ill)| *ill).collect();
        window.iter().filter(|ill| **ill).count() as f64 / window.len().max(1) as f64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Ended { request: usize, backend: usize, ok: bool },
    CopyEnded { backend: usize, sent_ms: u64, ok: bool },
    Timer { request: usize },
    Arrival,
}

fn outcome(ok: bool) -> Outcome {
    Outcome::of(if ok { Class::Ok } else { Class::ConnectionError })
}

/// The first two backends, which would serve in calm weather, are in the cloud that fails.
fn fleet(labels: Labels) -> Fleet {
    let mut fleet = Fleet::new(
        (0..6)
            .map(|n| {
                let labelled = DomainLabels::new();
                let labelled = match labels {
                    Labels::None => labelled,
                    _ => labelled.with(DomainKind::Provider, &format!("provider-{n}")),
                };
                let labelled = match labels {
                    Labels::All => labelled.with(DomainKind::Cloud, &format!("cloud-{}", n / 2)),
                    _ => labelled,
                };
                BackendSpec {
                    name: format!("backend-{n}").into(),
                    tier: Tier::Primary,
                    private: false,
                    labels: labelled,
                    limit_per_s: None,
                }
            })
            .collect(),
    );
    for n in 0..6 {
        let index = fleet.index(n).unwrap();
        fleet.set_identity(index, Identity::Confirmed);
    }
    fleet
}

/// How long the backend takes from `now_ms` on, and whether it answers well; `None`: never.
fn nature(outage: Outage, backend: usize, now_ms: u64, rng: &mut SmallRng) -> Option<(u64, bool)> {
    let base_ms = [20.0, 30.0, 45.0, 60.0, 80.0, 100.0][backend];
    // Log-normal as providers' latencies are: p99 about three times the median.
    let normal: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    let usual_ms = (base_ms * (0.47 * normal).exp()).max(1.0) as u64;
    let chance_failure = rng.random_bool(0.0005);
    if backend >= 2 || !(ONSET_MS..HEALED_MS).contains(&now_ms) {
        return Some((usual_ms, !chance_failure));
    }
    match outage {
        Outage::Refused => Some((1, false)),
        Outage::Hang => None,
        Outage::Slow => Some((usual_ms * 40, true)),
        Outage::Gray(share) => Some((usual_ms, !rng.random_bool(share))),
        Outage::Flapping if (now_ms / 5_000) % 2 == 1 => Some((1, false)),
        Outage::Flapping => Some((usual_ms, true)),
    }
}

fn replay(outage: Outage, labels: Labels, seed: u64) -> Report {
    let mut world = SmallRng::seed_from_u64(seed);
    let mut rng = SmallRng::seed_from_u64(!seed);
    let mut fleet = fleet(labels);
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
    let mut report = Report::default();
    let mut flights: BTreeMap<usize, (Flight, u64)> = BTreeMap::new();
    let mut queue: BinaryHeap<Reverse<(u64, usize, What)>> = BinaryHeap::new();
    let mut order = 0;
    let mut push = |queue: &mut BinaryHeap<_>, at_us: u64, what| {
        order += 1;
        queue.push(Reverse((at_us, order, what)));
    };
    push(&mut queue, 0, What::Arrival);
    while let Some(Reverse((now_us, _, what))) = queue.pop() {
        let now = Timestamp::ZERO + Duration::from_micros(now_us);
        let now_ms = now_us / 1000;
        let (request, step) = match what {
            What::Arrival if now_ms >= END_MS => continue,
            What::Arrival => {
                let gap_s = -(1.0 - world.random::<f64>()).ln() / REQUESTS_PER_S;
                push(&mut queue, now_us + (gap_s * 1e6) as u64, What::Arrival);
                let plan = Plan {
                    need,
                    key: 0,
                    deadline: now + Duration::from_secs(10),
                    repeat: Repeat::Freely,
                    may_copy: true,
                    hedge_delay: (Duration::from_millis(30), Duration::from_millis(250)),
                    attempts_max: 64,
                };
                let request = report.requests;
                report.requests += 1;
                let mut flight = Flight::new(plan);
                let step = flight.on(now, Event::Start, &mut fleet, &mut rng);
                if let Step::Send { backend, .. } = step {
                    report.firsts.push((now_ms, backend.get() < 2));
                }
                flights.insert(request, (flight, now_ms));
                (request, step)
            }
            What::CopyEnded { backend, sent_ms, ok } => {
                let backend = fleet.index(backend).unwrap();
                let took = Duration::from_millis(now_ms - sent_ms);
                fleet.aside_ended(now, Attempted { backend, need, took }, &outcome(ok));
                continue;
            }
            What::Ended { request, backend, ok } => {
                let Some((flight, _)) = flights.get_mut(&request) else { continue };
                let backend = fleet.index(backend).unwrap();
                let outcome = outcome(ok);
                let event = Event::Ended { backend, outcome: &outcome, sent: true };
                (request, flight.on(now, event, &mut fleet, &mut rng))
            }
            What::Timer { request } => {
                let Some((flight, _)) = flights.get_mut(&request) else { continue };
                (request, flight.on(now, Event::Timer, &mut fleet, &mut rng))
            }
        };
        match step {
            Step::Send { backend, wake, copy_to } => {
                report.attempts += 1 + usize::from(copy_to.is_some());
                let backend = backend.get();
                if let Some((ms, ok)) = nature(outage, backend, now_ms, &mut world) {
                    push(&mut queue, now_us + ms * 1000, What::Ended { request, backend, ok });
                }
                if let Some(copied) = copy_to {
                    // A copy has two seconds.
                    let (ms, ok) = nature(outage, copied.get(), now_ms, &mut world)
                        .filter(|(ms, _)| *ms < 2_000)
                        .unwrap_or((2_000, false));
                    let what = What::CopyEnded { backend: copied.get(), sent_ms: now_ms, ok };
                    push(&mut queue, now_us + ms * 1000, what);
                }
                push(&mut queue, wake.since_origin().as_micros() as u64 + 1, What::Timer { request });
            }
            Step::Wait { wake } => {
                push(&mut queue, wake.since_origin().as_micros() as u64 + 1, What::Timer { request });
            }
            Step::Answer | Step::GiveUp => {
                if let Some((_, arrived_ms)) = flights.remove(&request) {
                    report.failed += usize::from(step == Step::GiveUp);
                    report.latencies_ms.push((arrived_ms, now_ms - arrived_ms));
                }
            }
        }
    }
    report.readmitted_ms = fleet
        .notes()
        .iter()
        .filter(|note| matches!(note.change, Change::Readmitted { .. }) && note.backend.get() < 2)
        .map(|note| note.at.since_origin().as_millis() as u64)
        .max();
    report.switches =
        fleet.notes().iter().filter(|note| matches!(note.change, Change::Favoured { .. })).count();
    assert!(fleet.iter().all(|(_, backend)| backend.in_flight() == 0), "nothing is left in flight");
    report
}

fn outages() -> [Outage; 6] {
    [Outage::Refused, Outage::Hang, Outage::Slow, Outage::Gray(0.2), Outage::Gray(0.5), Outage::Flapping]
}

#[test]
fn an_outage_of_one_cloud_is_not_noticed() {
    for outage in outages() {
        for labels in [Labels::All, Labels::ProviderOnly, Labels::None] {
            for seed in 1..=2 {
                let report = replay(outage, labels, seed);
                let context = format!("{outage:?}, labels {labels:?}, seed {seed}");
                assert_eq!(report.failed, 0, "{context}: of {} requests", report.requests);
                let amplification = report.attempts as f64 / report.requests as f64;
                assert!(amplification <= 1.15, "{context}: amplification {amplification:.3}");
                // The first favourite is no switch.
                let per_minute = (report.switches - 1) as f64 * 60_000.0 / END_MS as f64;
                assert!(per_minute <= 5.0, "{context}: {} switches", report.switches);
                let calm = report.p99_ms(5_000, ONSET_MS);
                let first = report.p99_ms(ONSET_MS, ONSET_MS + 5_000).saturating_sub(calm);
                let later = report.p99_ms(ONSET_MS + 5_000, HEALED_MS).saturating_sub(calm);
                // Without the cloud's label its second backend has to be found out as well.
                let bound = if matches!(labels, Labels::All) { 400 } else { 2_000 };
                assert!(
                    first <= bound,
                    "{context}: p99 {first} ms over the calm one in the first five seconds"
                );
                assert!(later <= 250, "{context}: p99 {later} ms over the calm one afterwards");
            }
        }
    }
}

#[test]
fn traffic_leaves_the_cloud_that_fails() {
    for outage in [Outage::Refused, Outage::Hang, Outage::Slow, Outage::Gray(0.5)] {
        for seed in 1..=5 {
            let report = replay(outage, Labels::All, seed);
            let before = report.share(5_000, ONSET_MS);
            let after = report.share(ONSET_MS + 1_500, ONSET_MS + 5_000);
            assert!(before > 0.9, "{outage:?}, seed {seed}: it served {before:.2} before");
            assert!(after < 0.1, "{outage:?}, seed {seed}: it still serves {after:.2}");
        }
    }
}

#[test]
fn a_cloud_that_is_well_again_takes_part_again_within_half_a_minute_and_not_before() {
    for outage in [Outage::Refused, Outage::Hang, Outage::Gray(0.5)] {
        for seed in 1..=5 {
            let report = replay(outage, Labels::All, seed);
            let readmitted_ms = report
                .readmitted_ms
                .unwrap_or_else(|| panic!("{outage:?}, seed {seed}: it was out, and came back"));
            let context = format!("{outage:?}, seed {seed}: taken back at {readmitted_ms} ms");
            assert!((HEALED_MS..HEALED_MS + 25_000).contains(&readmitted_ms), "{context}");
        }
    }
}

#[test]
fn the_same_seed_replays_to_the_last_decision() {
    let digest = |seed| {
        let report = replay(Outage::Gray(0.5), Labels::None, seed);
        (report.requests, report.attempts, report.latencies_ms, report.firsts)
    };
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}
