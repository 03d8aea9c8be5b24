//! Holds what loopback drills measured against what is expected of their fault.

use std::time::Duration;

use super::super::expectations::{Judgement, Verdict};
use super::faults::{LoopbackFault, STEPS_TAKE, UNSEEN_FOR};
use super::summary::{Latencies, Summary};

type Measured<T> = fn(&Summary) -> T;

/// Attempts per request over a drill.
const AMPLIFICATION_MAX: f64 = 1.15;

/// Judges the drills of one fault. Counts are added up; of times, which other programs on the machine disturb, the
/// median is judged. From what a phase adds to the calm's p99, what the machine was later in it is taken off.
pub fn judge(fault: &LoopbackFault, runs: &[Summary]) -> Vec<Judgement> {
    let mut found = Vec::new();
    let mut add = |expectation, bar: String, measured: String, verdict| {
        found.push(Judgement { expectation, bar, measured, verdict });
    };
    let holds = |holds| if holds { Verdict::Met } else { Verdict::Missed };
    let struck = runs.iter().all(Summary::has_struck);
    let counts: [(_, Measured<usize>); 3] = [
        ("failed_requests", |run| run.failed),
        ("wrong_answers", |run| run.wrong),
        ("transactions_lost", |run| run.transactions_lost),
    ];
    for (key, of) in counts {
        let count: usize = runs.iter().map(of).sum();
        let verdict = match (count, struck) {
            (0, false) => Verdict::NoOccasion("the fault met nobody"),
            (count, _) => holds(count == 0),
        };
        add(key, "0".into(), count.to_string(), verdict);
    }
    let firsts = runs.iter().map(|run| Some(added_ms(run, &run.first))).collect();
    let laters = runs.iter().map(|run| Some(added_ms(run, run.later.as_ref()?))).collect();
    for (key, bar, added) in
        [("added_p99_first_5s", fault.added_at_first, firsts), ("added_p99_later", fault.added_later, laters)]
    {
        let bar_ms = bar.as_secs_f64() * 1e3;
        match median(added) {
            Some(added) => add(key, ms(bar_ms), ms(added), holds(added <= bar_ms)),
            None => {
                add(key, ms(bar_ms), "-".into(), Verdict::NoOccasion("the outage is not longer than 5 s"))
            }
        }
    }
    let away = runs.iter().map(|run| run.phases_ms[1].saturating_sub(run.phases_ms[0])).max().unwrap_or(0);
    let back_within = STEPS_TAKE + Duration::from_millis(away).max(UNSEEN_FOR);
    let within: [(_, _, Measured<Option<u64>>); 2] = [
        ("share_halved_within", fault.halved_within, |run| run.halved_ms),
        ("back_within", Some(back_within), |run| run.back_ms),
    ];
    for (key, bar, of) in within {
        let Some(bar) = bar else { continue };
        let bar_ms = bar.as_secs_f64() * 1e3;
        // Never is later than any time.
        let never = Duration::MAX.as_secs_f64();
        let times = runs.iter().map(|run| Some(of(run).map_or(never, |time| time as f64))).collect();
        match median(times) {
            Some(time) if time < never => add(key, ms(bar_ms), ms(time), holds(time <= bar_ms)),
            _ => add(key, ms(bar_ms), "never".into(), Verdict::Missed),
        }
    }
    let amplification = median(runs.iter().map(|run| Some(run.amplification)).collect()).unwrap_or(1.0);
    let verdict = holds(amplification <= AMPLIFICATION_MAX);
    add("amplification", AMPLIFICATION_MAX.to_string(), format!("{amplification:.3}"), verdict);
    found
}

/// What a phase's p99 lies above the calm's, without what the machine itself was later.
pub(super) fn added_ms(run: &Summary, phase: &Latencies) -> f64 {
    let later = (phase.jitter_p99_ms - run.calm.jitter_p99_ms).max(0.0);
    phase.p99_ms - run.calm.p99_ms - later
}

/// The middle one of those that are there; of two in the middle the higher.
fn median(values: Vec<Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().flatten().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn ms(ms: f64) -> String {
    format!("{:.0} ms", ms)
}

#[cfg(test)]
mod tests {
    use super::super::faults::find;
    use super::*;
    use crate::gateway::CallsStatus;

    fn fine() -> Summary {
        let latencies = |p99_ms| Latencies { p50_ms: 20.0, p99_ms, jitter_p99_ms: 2.0 };
        Summary {
            victim: "a".into(),
            phases_ms: [8_000, 18_000, 38_000],
            requests: 3_000,
            failed: 0,
            wrong: 0,
            transactions: 30,
            transactions_lost: 0,
            struck: 5,
            attempts_at_victim: 5,
            calm: latencies(60.0),
            first: latencies(300.0),
            later: Some(latencies(80.0)),
            recovery: latencies(60.0),
            share_calm: 0.9,
            halved_ms: Some(400),
            share_at_end: 0.9,
            back_ms: Some(11_000),
            amplification: 1.03,
            calls_calm: CallsStatus::default(),
            calls_outage: CallsStatus::default(),
            calls: CallsStatus::default(),
            told: Vec::new(),
            timeline: Vec::new(),
            changes: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn missed(runs: &[Summary]) -> Vec<&'static str> {
        let judged = judge(find("hang").unwrap(), runs);
        judged.into_iter().filter(|one| one.verdict == Verdict::Missed).map(|one| one.expectation).collect()
    }

    #[test]
    fn each_bar_is_missed_by_what_lies_beyond_it_and_by_nothing_else() {
        assert_eq!(missed(&[fine()]), Vec::<&str>::new());
        type Spoil = fn(&mut Summary);
        let table: [(Spoil, &str); 10] = [
            (|run| run.failed = 1, "failed_requests"),
            (|run| run.wrong = 1, "wrong_answers"),
            (|run| run.transactions_lost = 1, "transactions_lost"),
            (|run| run.first.p99_ms = 361.0, "added_p99_first_5s"),
            (|run| run.later = Some(Latencies { p99_ms: 91.0, ..run.calm }), "added_p99_later"),
            (|run| run.halved_ms = Some(1_001), "share_halved_within"),
            (|run| run.halved_ms = None, "share_halved_within"),
            (|run| run.back_ms = None, "back_within"),
            (|run| run.back_ms = Some(20_001), "back_within"),
            (|run| run.amplification = 1.16, "amplification"),
        ];
        for (at, (spoil, key)) in table.into_iter().enumerate() {
            let mut run = fine();
            spoil(&mut run);
            assert_eq!(missed(&[run]), [key], "{at}");
        }
    }

    #[test]
    fn a_late_machine_is_not_held_against_us_and_one_bad_time_of_three_neither() {
        let mut late = fine();
        late.first = Latencies { p50_ms: 20.0, p99_ms: 400.0, jitter_p99_ms: 60.0 };
        assert_eq!(missed(&[late]), Vec::<&str>::new());
        let mut slow = fine();
        slow.first.p99_ms = 2_000.0;
        slow.back_ms = None;
        assert_eq!(missed(&[slow.clone(), fine(), fine()]), Vec::<&str>::new());
        assert_eq!(missed(&[slow.clone(), slow, fine()]), ["added_p99_first_5s", "back_within"]);
    }

    #[test]
    fn a_fault_that_met_nobody_proves_nothing() {
        let mut idle = fine();
        (idle.struck, idle.attempts_at_victim) = (0, 0);
        let judged = judge(find("hang").unwrap(), &[idle]);
        assert_eq!(judged[0].verdict, Verdict::NoOccasion("the fault met nobody"));
    }
}
