//! When faults begin that a policy should turn away from, and when their backends are well again.
//!
//! A fault is there from when it makes a fifth of the calls fail, or from when a head stands where the chain is not.
//! What limits (capacity, quota), concerns few calls (`match`, new connections only) or shows in content alone is no
//! such onset.

use std::time::Duration;

use super::scenario::{Fault, HeadMode, Phase, Scenario, Sticky};
use super::world::{Answer, PROPAGATION, selects};

/// From this share of failing calls on a fault is one to turn away from.
const GRAY: f64 = 0.2;
/// From this share on nothing works at all.
const DEAD: f64 = 0.99;

/// The beginning of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Onset {
    /// When it makes a fifth of the calls fail.
    pub at: Duration,
    /// When that is over.
    pub until: Duration,
    /// The failure domain, as the scenario names it.
    pub domain: String,
    /// Its backends as bits of their positions.
    pub backends: u64,
    /// Only these methods; empty is all.
    pub methods: Vec<String>,
    /// Nothing works at all.
    pub dead: bool,
}

/// Every onset of a scenario, in order.
pub fn onsets(scenario: &Scenario) -> Vec<Onset> {
    let mut found: Vec<Onset> = Vec::new();
    for phase in &scenario.phases {
        let mut begun = Vec::new();
        for fault in &phase.faults {
            let in_heads = head_span(scenario, phase, fault);
            let Some((at, until)) = span(phase, fault).or(in_heads) else { continue };
            let methods = fault.methods.as_ref().map(|m| m.only.clone()).unwrap_or_default();
            let mut backends = matched(scenario, fault);
            for before in &mut found {
                // What goes on from the phase before is no new onset, it lasts longer.
                let begins = if in_heads == Some((at, until)) { phase.start } else { at };
                let goes_on =
                    before.until == begins && (before.methods.is_empty() || before.methods == methods);
                let shared = before.backends & backends;
                if goes_on && shared != 0 {
                    backends &= !shared;
                    if shared == before.backends {
                        before.until = until;
                    }
                }
            }
            if backends != 0 {
                let dead = failing(fault) >= DEAD
                    && fault.flap.is_none()
                    && fault.ramp.is_none()
                    && methods.is_empty();
                let domain = fault.at.clone();
                begun.push(Onset { at, until, domain, backends, methods, dead });
            }
        }
        found.extend(begun);
    }
    found.sort_by_key(|onset| onset.at);
    found
}

/// For each backend: from when to when nothing at all is wrong with it, after something was.
pub(super) fn recoveries(scenario: &Scenario) -> Vec<(usize, Duration, Duration)> {
    let mut found = Vec::new();
    for backend in 0..scenario.backends.len() {
        let touched: Vec<_> = scenario
            .phases
            .iter()
            .filter(|phase| phase.faults.iter().any(|fault| matched(scenario, fault) & (1 << backend) != 0))
            .map(|phase| (phase.start, phase.end))
            .collect();
        for (at, (_, end)) in touched.iter().enumerate() {
            let next = touched.get(at + 1).map_or(scenario.duration, |(start, _)| *start);
            if next > *end {
                found.push((backend, *end, next));
            }
        }
    }
    found
}

/// The backends a fault is about, as bits.
pub fn matched(scenario: &Scenario, fault: &Fault) -> u64 {
    scenario
        .backends
        .iter()
        .enumerate()
        .filter(|(_, backend)| selects(&fault.at, &backend.domains()))
        .fold(0, |set, (at, _)| set | 1 << at)
}

/// The share of calls it makes fail, its ramp left aside.
fn failing(fault: &Fault) -> f64 {
    let fails = |answer: Answer| !answer.is_ok() && answer != Answer::NullResult;
    let outcomes: f64 =
        fault.outcomes.iter().filter(|(answer, _)| fails(**answer)).map(|(_, share)| share).sum();
    let stalls = fault.latency.map_or(0.0, |latency| latency.stall);
    let words = fault.content.as_ref().map_or(0.0, |content| content.error);
    let affected = fault.affected.map_or(1.0, |affected| match affected.by {
        Sticky::Connection | Sticky::Request => affected.fraction,
        Sticky::Client | Sticky::Project => affected.fraction.floor(),
    });
    (outcomes + stalls + words).min(1.0) * affected
}

/// From when to when it makes enough calls fail.
fn span(phase: &Phase, fault: &Fault) -> Option<(Duration, Duration)> {
    if fault.new_connections || fault.matching.is_some() {
        return None;
    }
    let share = failing(fault);
    let Some(ramp) = fault.ramp else {
        return (share >= GRAY).then_some((phase.start, phase.end));
    };
    let (first, last) = (share * ramp.from, share * ramp.to);
    if first.max(last) < GRAY {
        return None;
    }
    let length = phase.end.saturating_sub(phase.start);
    let crossing = if first == last { 0.0 } else { ((GRAY - first) / (last - first)).clamp(0.0, 1.0) };
    let crossed = phase.start + length.mul_f64(crossing);
    Some(match (first >= GRAY, last >= GRAY) {
        (true, true) => (phase.start, phase.end),
        (true, false) => (phase.start, crossed),
        _ => (crossed, phase.end),
    })
}

/// From when to when a backend stands where the chain is not, as everybody could see: from the first block on that it
/// should have and has not, once that block has got around; of a branch of its own, from the second one on. What some nodes behind one URL lag is no such thing.
fn head_span(scenario: &Scenario, phase: &Phase, fault: &Fault) -> Option<(Duration, Duration)> {
    let is_elsewhere = |mode| {
        use HeadMode::{Catchup, Fork, Frozen, FrozenRestart, Lag};
        matches!(mode, Catchup | Fork | Frozen | FrozenRestart | Lag)
    };
    let head = fault.head.as_ref().filter(|head| is_elsewhere(head.mode))?;
    // Of two branches none is the wrong one before the second block.
    let blocks = if head.mode == HeadMode::Fork { 2 } else { 1 };
    let seen = phase.start + scenario.chain.simulated_block_time * blocks + PROPAGATION;
    (seen < phase.end).then_some((seen, phase.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Scenario {
        super::super::find(id).unwrap()
    }

    fn seconds(id: &str) -> Vec<(u64, u64, String)> {
        onsets(&named(id)).iter().map(|o| (o.at.as_secs(), o.until.as_secs(), o.domain.clone())).collect()
    }

    #[test]
    fn a_fault_is_there_from_when_it_makes_a_fifth_of_the_calls_fail() {
        let region = "region:aws/us-east-1".to_owned();
        assert_eq!(seconds("S41"), [(10, 50, "provider:alchemy".to_owned())]);
        // A ramp from 0 to 32 % crosses a fifth 12.5 s after its start, then goes on in the next phases.
        let of = seconds("S03");
        assert_eq!((of.len(), of[0].0, &of[0].2), (1, 22, &region));
        assert!((109..=111).contains(&of[0].1), "{of:?}");
    }

    #[test]
    fn limits_clusters_and_gray_tenths_are_no_onsets() {
        for id in ["S23", "S24", "S28", "S37", "S39"] {
            assert_eq!(seconds(id), [], "{id}");
        }
    }

    #[test]
    fn a_head_that_stands_is_an_onset_once_the_next_block_is_everywhere() {
        let all = onsets(&named("S14"));
        let [one] = &all[..] else { panic!("{all:?}") };
        assert_eq!((one.at, one.until), (Duration::from_millis(11_500), Duration::from_secs(75)), "{one:?}");
        assert!(!one.dead, "it answers");
    }

    #[test]
    fn a_backend_has_recovered_only_when_nothing_touches_it() {
        let of_infura: Vec<_> =
            recoveries(&named("S01")).into_iter().filter(|(backend, ..)| *backend == 0).collect();
        assert_eq!(of_infura, [(0, Duration::from_secs(105), Duration::from_secs(120))]);
    }
}
