//! Holds what replays saw against what their scenario expects.

use std::time::Duration;

use super::measures::{DEAD_GRACE, Histogram, Inclusion, Measures};
use super::onsets::{Onset, matched, onsets, recoveries};
use super::scenario::Scenario;

/// A backend with less of the calm traffic than this has no place to be readmitted to.
const FAIR_SHARE_MIN: f64 = 0.05;
/// A backend that is slower by less serves as well.
const EQUAL_WITHIN: f64 = 1.5;
/// Shares are read over so many seconds.
const SHARE_SECONDS: usize = 2;

/// How an expectation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Met.
    Met,
    /// Missed.
    Missed,
    /// Said in words, which no drill can measure.
    Skipped(&'static str),
    /// The scenario gave no occasion.
    NoOccasion(&'static str),
}

/// One expectation and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Its key in the scenario.
    pub expectation: &'static str,
    /// The bar, with its unit.
    pub bar: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// How it stands.
    pub verdict: Verdict,
}

const IN_WORDS: Verdict = Verdict::Skipped("said in words");

/// Judges the replays of one scenario, one for each seed.
pub fn judge(scenario: &Scenario, runs: &[Measures]) -> Vec<Judgement> {
    let expect = &scenario.expect;
    let mut found = Findings(Vec::new());
    let sum = |of: fn(&Measures) -> u64| runs.iter().map(of).sum::<u64>();
    let most = |of: fn(&Measures) -> u64| runs.iter().map(of).max().unwrap_or(0);
    found.at_least(
        "read_availability",
        expect.read_availability,
        sum(|m| m.reads_answered),
        sum(|m| m.reads),
    );
    found.at_least(
        "transaction_availability",
        expect.transaction_availability,
        sum(|m| m.transactions_acknowledged),
        sum(|m| m.transactions),
    );
    found.at_most("duplicate_harm", expect.duplicate_harm, sum(|m| m.duplicate_harm));
    found.at_most("privacy_violations", expect.privacy_violations, sum(|m| m.privacy_violations));

    for (key, bar, share) in [("divert_p50", expect.divert_p50, 0.5), ("divert_p99", expect.divert_p99, 0.99)]
    {
        let measured = time_to_divert(runs, share);
        found.longest(key, bar, measured, "no fault that makes a fifth of the calls fail");
    }
    found.longest("added_p99", expect.added_p99, added_p99(runs), "no calm beginning, or no such fault");
    let amplification = sum(|m| m.attempts) as f64 / (sum(|m| m.requests) as f64).max(1.0);
    found.number("amplification", expect.amplification, amplification);
    let readmitted = expect.readmitted_within.and_then(|bar| readmission(scenario, runs, bar));
    found.longest(
        "readmitted_within",
        expect.readmitted_within,
        readmitted,
        "no backend with a share of the calm traffic recovers in time",
    );
    found.at_most("switches_per_minute", expect.switches_per_minute, most(Measures::switches_per_minute));
    if let Some(trigger_end) = onsets(scenario).iter().map(|onset| onset.until).max() {
        let after = trigger_end + expect.recovered_within.unwrap_or_default();
        let goodputs = runs.iter().filter_map(|run| run.goodput_from(after));
        let worst = goodputs.fold(None, |worst: Option<f64>, one| Some(worst.map_or(one, |w| w.min(one))));
        if let (Some(bar), Some(worst)) = (expect.goodput_after, worst) {
            let verdict = if worst >= bar { Verdict::Met } else { Verdict::Missed };
            found.add("goodput_after", percent(bar), percent(worst), verdict);
        }
        let slowest = runs.iter().map(|run| run.recovered_after(trigger_end)).max_by_key(never_last);
        found.longest("recovered_within", expect.recovered_within, slowest, "");
    }
    for (key, bar) in [
        ("calls_to_dead_per_minute", expect.calls_to_dead_per_minute),
        ("calls_to_retired_per_minute", expect.calls_to_retired_per_minute),
    ] {
        match calls_to_dead(scenario, runs) {
            Some(calls) => found.number(key, bar, calls),
            None => found.no_occasion(key, bar.map(|bar| bar.to_string()), "nothing is dead for long enough"),
        }
    }
    let retired = runs.iter().flat_map(|run| run.retired.iter().copied()).max_by_key(never_last);
    found.longest("retired_within", expect.retired_within, retired, "nothing is dead");

    for (key, bar, measured) in [
        ("wrong_answers", expect.wrong_answers, sum(|m| m.wrong_answers)),
        (
            "wrong_answers_before_detection",
            expect.wrong_answers_before_detection,
            sum(|m| m.wrong_answers_early),
        ),
        ("logs_incomplete", expect.logs_incomplete, sum(|m| m.logs_incomplete)),
        ("fork_reads", expect.fork_reads, sum(|m| m.fork_reads)),
        ("fork_reads_before_detection", expect.fork_reads_before_detection, sum(|m| m.fork_reads_early)),
        ("head_regressions", expect.head_regressions, sum(|m| m.head_regressions)),
        ("stale_reads", expect.stale_reads, sum(|m| m.stale_reads)),
        ("ejections_in_halt", expect.ejections_in_halt, sum(|m| m.ejections_in_halt)),
    ] {
        found.at_most(key, bar, measured);
    }
    found.at_most("transactions_lost", expect.transactions_lost, sum(|m| m.transactions_lost));
    if let Some(bar) = expect.inclusion_p99_blocks {
        let mut inclusions: Vec<Inclusion> = runs.iter().flat_map(|run| &run.inclusions).copied().collect();
        inclusions.sort_unstable();
        let rank = (inclusions.len() as f64 * 0.99).ceil() as usize;
        let (measured, verdict) = match inclusions.get(rank.saturating_sub(1)) {
            Some(Inclusion::After(blocks)) if *blocks <= bar => (blocks.to_string(), Verdict::Met),
            Some(Inclusion::After(blocks)) => (blocks.to_string(), Verdict::Missed),
            Some(Inclusion::Never) => ("never".into(), Verdict::Missed),
            None => ("-".into(), Verdict::NoOccasion("nothing was acknowledged")),
        };
        found.add("inclusion_p99_blocks", bar.to_string(), measured, verdict);
    }
    for text in &expect.also {
        found.add("also", text.clone(), "not measured".into(), IN_WORDS);
    }
    found.0
}

struct Findings(Vec<Judgement>);

impl Findings {
    fn add(&mut self, expectation: &'static str, bar: String, measured: String, verdict: Verdict) {
        self.0.push(Judgement { expectation, bar, measured, verdict });
    }

    fn no_occasion(&mut self, key: &'static str, bar: Option<String>, why: &'static str) {
        if let Some(bar) = bar {
            self.add(key, bar, "-".into(), Verdict::NoOccasion(why));
        }
    }

    fn at_least(&mut self, key: &'static str, bar: Option<f64>, good: u64, all: u64) {
        let Some(bar) = bar else { return };
        if all == 0 {
            return self.no_occasion(key, Some(percent(bar)), "nobody asked");
        }
        let share = good as f64 / all as f64;
        let verdict = if share >= bar { Verdict::Met } else { Verdict::Missed };
        let measured = format!("{} ({} of {all} failed)", percent(share), all - good);
        self.add(key, percent(bar), measured, verdict);
    }

    fn at_most(&mut self, key: &'static str, bar: Option<u64>, measured: u64) {
        let Some(bar) = bar else { return };
        let verdict = if measured <= bar { Verdict::Met } else { Verdict::Missed };
        self.add(key, bar.to_string(), measured.to_string(), verdict);
    }

    fn number(&mut self, key: &'static str, bar: Option<f64>, measured: f64) {
        let Some(bar) = bar else { return };
        let verdict = if measured <= bar { Verdict::Met } else { Verdict::Missed };
        self.add(key, bar.to_string(), format!("{measured:.3}"), verdict);
    }

    /// `None` is no occasion, `Some(None)` never.
    fn longest(
        &mut self,
        key: &'static str,
        bar: Option<Duration>,
        measured: Option<Option<Duration>>,
        no_occasion: &'static str,
    ) {
        let Some(bar) = bar else { return };
        let Some(measured) = measured else {
            return self.no_occasion(key, Some(time(bar)), no_occasion);
        };
        let verdict = if measured.is_some_and(|m| m <= bar) { Verdict::Met } else { Verdict::Missed };
        self.add(key, time(bar), measured.map_or("never".into(), time), verdict);
    }
}

/// Orders times so that "never" is the greatest.
#[allow(clippy::trivially_copy_pass_by_ref)] // as `max_by_key` passes it
fn never_last(time: &Option<Duration>) -> Duration {
    time.unwrap_or(Duration::MAX)
}

fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Milliseconds, as people read them.
fn time(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Over all onsets of all runs: the time until no more than 1 % of first attempts went there.
pub fn time_to_divert(runs: &[Measures], share: f64) -> Option<Option<Duration>> {
    let mut times: Vec<_> = runs.iter().flat_map(|run| run.diverted.iter().map(|(_, time)| *time)).collect();
    times.sort_by_key(never_last);
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied()
}

/// 99th percentile at the start of faults, minus that of the calm before.
pub fn added_p99(runs: &[Measures]) -> Option<Option<Duration>> {
    let merged = |of: fn(&Measures) -> &Histogram| {
        runs.iter().fold(Histogram::default(), |mut all, run| {
            all.merge(of(run));
            all
        })
    };
    let calm = merged(|run| &run.calm).quantile(0.99)?;
    let diverting = merged(|run| &run.diverting).quantile(0.99)?;
    Some(Some(diverting.saturating_sub(calm)))
}

/// The longest time from a true recovery until half of the calm share; or until it is in full use again behind
/// another backend that serves as well: taking the place back from an equal would be one more switch.
fn readmission(scenario: &Scenario, runs: &[Measures], bar: Duration) -> Option<Option<Duration>> {
    let calm_end = scenario.phases.iter().find(|phase| !phase.faults.is_empty())?.start.as_secs() as usize;
    let onsets = onsets(scenario);
    let mut slowest = None;
    for run in runs {
        for (backend, from, until) in recoveries(scenario) {
            let failed = onsets.iter().any(|onset| onset.backends & (1 << backend) != 0 && onset.at < from);
            let fair = run.share(backend, 0..calm_end).filter(|share| *share >= FAIR_SHARE_MIN);
            let (Some(fair), true) = (fair, failed) else { continue };
            let (from_s, until_s) = (from.as_secs() as usize, until.as_secs() as usize);
            let back = (from_s..until_s.saturating_sub(SHARE_SECONDS - 1)).find(|second| {
                let seconds = *second..second + SHARE_SECONDS;
                let as_well = |leader: usize| {
                    let p50 = |at: usize| scenario.backends[at].latency.p50;
                    p50(leader) <= p50(backend).mul_f64(EQUAL_WITHIN)
                };
                run.share(backend, seconds.clone()).is_some_and(|share| share >= fair / 2.0)
                    || run.stands_by_for(backend, seconds).is_some_and(as_well)
            });
            let took = back.map(|second| Duration::from_secs((second - from_s) as u64));
            // A drill that ends before its bar cannot be held against a policy.
            if took.is_some() || until - from > bar {
                slowest = Some(slowest.map_or(took, |known: Option<Duration>| {
                    if never_last(&took) > never_last(&known) { took } else { known }
                }));
            }
        }
    }
    slowest
}

/// Calls a minute to the dead backend that gets most, once there was time to learn that it is dead.
fn calls_to_dead(scenario: &Scenario, runs: &[Measures]) -> Option<f64> {
    let dead: Vec<Onset> = onsets(scenario).into_iter().filter(|onset| onset.dead).collect();
    let mut worst = None;
    for run in runs {
        for onset in &dead {
            let (from, until) = ((onset.at + DEAD_GRACE).as_secs() as usize, onset.until.as_secs() as usize);
            let Some(seconds) = run.seconds.get(from..until.min(run.seconds.len())) else { continue };
            if seconds.is_empty() {
                continue;
            }
            for backend in (0..scenario.backends.len()).filter(|b| onset.backends & (1 << b) != 0) {
                let calls: u64 =
                    seconds.iter().filter_map(|s| s.calls.get(backend)).map(|count| u64::from(*count)).sum();
                let per_minute = calls as f64 * 60.0 / seconds.len() as f64;
                worst = Some(worst.map_or(per_minute, |known: f64| known.max(per_minute)));
            }
        }
    }
    worst
}

/// Backends that no fault of a phase is about, for every phase: what perfect routing could use.
pub fn clean_backends(scenario: &Scenario) -> Vec<u32> {
    let everyone = scenario.backends.iter().enumerate().fold(0, |set, (at, _)| set | 1u64 << at);
    let touched = |faults: &[super::Fault]| faults.iter().fold(0, |set, f| set | matched(scenario, f));
    scenario.phases.iter().map(|phase| (everyone & !touched(&phase.faults)).count_ones()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rivals::{Rival, RivalKind};
    use super::super::{LabelMode, Outrigger, replay};
    use super::*;

    /// Two clouds; `fault` is wrong in the first one from 20 s to 50 s of 80 s.
    fn scenario(fault: &str, expect: &str) -> Scenario {
        let text = format!(
            "id = \"T\"\ntitle = \"t\"\nduration = \"80s\"\n\
             chain = {{ id = 1, block_time = \"12s\", simulated_block_time = \"1s\" }}\n\
             load = {{ reads = 50 }}\n\
             [[backends]]\nname = \"a\"\ncloud = \"a\"\nerror_rate = 0\nlatency = {{ p50 = \"20ms\", p99 = \"30ms\" }}\n\
             [[backends]]\nname = \"b\"\ncloud = \"b\"\nerror_rate = 0\nlatency = {{ p50 = \"90ms\", p99 = \"99ms\" }}\n\
             [[phases]]\nname = \"p\"\nstart = \"20s\"\nend = \"50s\"\n[[phases.faults]]\nat = \"cloud:a\"\n{fault}\n\
             [expect]\n{expect}\n"
        );
        Scenario::from_toml(&text, "test").unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn judged(fault: &str, expect: &str, kind: RivalKind) -> Judgement {
        let scenario = scenario(fault, expect);
        let run = replay(&scenario, 1, &mut Rival::new(kind, &scenario));
        let mut judgements = judge(&scenario, &[run]);
        assert_eq!(judgements.len(), 1, "{expect}: {judgements:?}");
        judgements.remove(0)
    }

    #[test]
    fn each_expectation_is_met_and_missed_by_policies_that_should() {
        use RivalKind::{Primary, RoundRobin, Single};
        use Verdict::{Met, Missed};
        let down = "outcomes = { http_503 = 1 }";
        #[rustfmt::skip]
        let cases = [
            ("read_availability = 0.99", Primary, Met, Single, Missed),
            ("amplification = 1.1", Single, Met, Primary, Missed),
            ("calls_to_dead_per_minute = 4000", Primary, Met, Primary, Met),
            ("calls_to_dead_per_minute = 10", Primary, Missed, RoundRobin, Missed),
            ("divert_p99 = \"10s\"", Primary, Missed, RoundRobin, Missed),
            ("readmitted_within = \"5s\"", Primary, Met, RoundRobin, Met),
            ("switches_per_minute = 0", Primary, Met, Single, Met),
            ("goodput_after = 0.99", Primary, Met, Single, Met),
            ("recovered_within = \"1s\"", Primary, Met, Single, Met),
            ("retired_within = \"1s\"", Primary, Missed, Single, Missed),
            // A failed call, a slower backend, and a connection to it that must first be made.
            ("added_p99 = \"200ms\"", Single, Met, Primary, Met),
            ("added_p99 = \"20ms\"", Single, Met, Primary, Missed),
        ];
        for (expect, first, first_verdict, second, second_verdict) in cases {
            for (kind, verdict) in [(first, first_verdict), (second, second_verdict)] {
                let judgement = judged(down, expect, kind);
                assert_eq!(judgement.verdict, verdict, "{} {expect}: {judgement:?}", kind.name());
            }
        }
    }

    #[test]
    fn stale_heads_are_judged() {
        let frozen = "head = { mode = \"frozen\" }";
        let stale = judged(frozen, "stale_reads = 0", RivalKind::Primary);
        assert_eq!(stale.verdict, Verdict::Missed);
        assert!(stale.measured.parse::<u64>().unwrap() > 100, "{stale:?}");
    }

    #[test]
    fn without_an_occasion_nothing_is_met() {
        let gray = "outcomes = { http_503 = 0.1 }";
        for expect in ["divert_p50 = \"1s\"", "calls_to_dead_per_minute = 10", "readmitted_within = \"5s\""] {
            let judgement = judged(gray, expect, RivalKind::Primary);
            assert!(matches!(judgement.verdict, Verdict::NoOccasion(_)), "{judgement:?}");
        }
    }

    #[test]
    fn a_backend_that_never_comes_back_is_a_miss() {
        let scenario = scenario("outcomes = { http_503 = 1 }", "readmitted_within = \"5s\"");
        let mut run = replay(&scenario, 1, &mut Outrigger::with_defaults(&scenario, LabelMode::All, 1));
        for second in &mut run.seconds[50..] {
            second.first = vec![0, 50];
        }
        let judgements = judge(&scenario, &[run]);
        assert_eq!((judgements[0].verdict, judgements[0].measured.as_str()), (Verdict::Missed, "never"));
    }

    #[test]
    fn the_time_to_divert_is_taken_over_all_onsets_and_never_is_the_longest() {
        let onset = Onset {
            at: Duration::ZERO,
            until: Duration::ZERO,
            domain: "*".into(),
            backends: 1,
            methods: Vec::new(),
            dead: false,
        };
        let ms = Duration::from_millis;
        let run = |times: &[Option<Duration>]| Measures {
            diverted: times.iter().map(|time| (onset.clone(), *time)).collect(),
            ..Measures::default()
        };
        let runs = [run(&[Some(ms(300)), None]), run(&[Some(ms(100)), Some(ms(200))])];
        assert_eq!(time_to_divert(&runs, 0.5), Some(Some(ms(200))));
        assert_eq!(time_to_divert(&runs, 0.99), Some(None));
        assert_eq!(time_to_divert(&[], 0.5), None);
    }
}
