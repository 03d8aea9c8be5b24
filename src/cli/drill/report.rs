//! What a drill came to: a table and the misses in words, or the same as data.

use std::ops::RangeInclusive;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use super::super::style::{BAD, DOUBTFUL, GOOD, STRONG, styled};
use super::Policy;
use crate::drill::{Judgement, Measures, Scenario, Verdict, added_p99, judge, time_to_divert};

/// All runs of one command.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seeds: (u64, u64),
    /// No expectation of this policy's is missed; others are only compared with.
    met: bool,
    runs: Vec<Run>,
    remarks: Vec<String>,
    #[serde(skip)]
    again: String,
}

/// One scenario under one policy, over all seeds.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    scenario: String,
    title: String,
    policy: &'static str,
    /// Which labels the policy was told.
    labels: Option<&'static str>,
    /// One for each seed: equal digests, equal runs.
    digests: Vec<String>,
    summary: Summary,
    expectations: Vec<Expectation>,
    /// Of the first seed, second by second.
    timeline: Timeline,
}

#[derive(Debug, Serialize)]
struct Summary {
    requests: u64,
    attempts: u64,
    probes: u64,
    read_availability: f64,
    transaction_availability: Option<f64>,
    wrong_answers: u64,
    stale_reads: u64,
    fork_reads: u64,
    head_regressions: u64,
    logs_incomplete: u64,
    transactions_lost: u64,
    divert_p50_ms: Option<u64>,
    divert_p99_ms: Option<u64>,
    never_diverted: usize,
    added_p99_ms: Option<u64>,
    amplification: f64,
    hedge_share: f64,
    ejections: u64,
    switches_per_minute: u64,
    onsets: Vec<OnsetReport>,
}

#[derive(Debug, Serialize)]
struct OnsetReport {
    seed: u64,
    domain: String,
    at_ms: u64,
    /// `null`: never.
    diverted_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Expectation {
    pub(super) expectation: &'static str,
    pub(super) bar: String,
    pub(super) measured: String,
    /// `met`, `missed`, `skipped` or `no_occasion`.
    pub(super) verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Timeline {
    backends: Vec<String>,
    requests: Vec<u32>,
    answered: Vec<u32>,
    /// First attempts by backend.
    first_attempts: Vec<Vec<u32>>,
    /// First attempts by failure domain.
    domains: std::collections::BTreeMap<String, Vec<u32>>,
}

impl Run {
    pub(super) fn new(
        scenario: &Scenario,
        policy: Policy,
        seeds: &RangeInclusive<u64>,
        measures: &[Measures],
    ) -> Self {
        Self {
            scenario: scenario.id.clone(),
            title: scenario.title.clone(),
            policy: policy.name(),
            labels: policy.labels(),
            digests: measures.iter().map(|m| format!("{:016x}", m.digest)).collect(),
            summary: Summary::new(seeds, measures),
            expectations: judge(scenario, measures).into_iter().map(Expectation::from).collect(),
            timeline: Timeline::new(scenario, measures.first()),
        }
    }

    fn count(&self, verdict: &str) -> usize {
        self.expectations.iter().filter(|one| one.verdict == verdict).count()
    }

    fn who(&self) -> String {
        match self.labels {
            Some(labels) => format!("{} ({labels})", self.policy),
            None => self.policy.to_owned(),
        }
    }
}

impl Summary {
    fn new(seeds: &RangeInclusive<u64>, measures: &[Measures]) -> Self {
        let sum = |of: fn(&Measures) -> u64| measures.iter().map(of).sum::<u64>();
        let share = |good: u64, all: u64| good as f64 / all as f64;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (requests, reads, transactions) =
            (sum(|m| m.requests), sum(|m| m.reads), sum(|m| m.transactions));
        let of_seed = |(seed, run): (u64, &Measures)| {
            run.diverted
                .iter()
                .map(|(onset, diverted)| OnsetReport {
                    seed,
                    domain: onset.domain.clone(),
                    at_ms: ms(onset.at),
                    diverted_ms: diverted.map(ms),
                })
                .collect::<Vec<_>>()
        };
        let onsets: Vec<_> = seeds.clone().zip(measures).flat_map(of_seed).collect();
        Self {
            requests,
            attempts: sum(|m| m.attempts),
            probes: sum(|m| m.probes),
            read_availability: if reads == 0 { 1.0 } else { share(sum(|m| m.reads_answered), reads) },
            transaction_availability: (transactions > 0)
                .then(|| share(sum(|m| m.transactions_acknowledged), transactions)),
            wrong_answers: sum(|m| m.wrong_answers),
            stale_reads: sum(|m| m.stale_reads),
            fork_reads: sum(|m| m.fork_reads),
            head_regressions: sum(|m| m.head_regressions),
            logs_incomplete: sum(|m| m.logs_incomplete),
            transactions_lost: sum(|m| m.transactions_lost),
            divert_p50_ms: time_to_divert(measures, 0.5).flatten().map(ms),
            divert_p99_ms: time_to_divert(measures, 0.99).flatten().map(ms),
            never_diverted: onsets.iter().filter(|onset| onset.diverted_ms.is_none()).count(),
            added_p99_ms: added_p99(measures).flatten().map(ms),
            amplification: share(sum(|m| m.attempts), requests.max(1)),
            hedge_share: share(sum(|m| m.hedges), requests.max(1)),
            ejections: sum(|m| m.ejections),
            switches_per_minute: measures.iter().map(Measures::switches_per_minute).max().unwrap_or(0),
            onsets,
        }
    }
}

impl From<Judgement> for Expectation {
    fn from(judgement: Judgement) -> Self {
        let (verdict, reason) = match judgement.verdict {
            Verdict::Met => ("met", None),
            Verdict::Missed => ("missed", None),
            Verdict::Skipped(why) => ("skipped", Some(why)),
            Verdict::NoOccasion(why) => ("no_occasion", Some(why)),
        };
        let Judgement { expectation, bar, measured, .. } = judgement;
        Self { expectation, bar, measured, verdict, reason }
    }
}

impl Timeline {
    fn new(scenario: &Scenario, run: Option<&Measures>) -> Self {
        let seconds = run.map_or(&[][..], |run| &run.seconds[..]);
        let of = |backend: usize| -> Vec<u32> {
            seconds.iter().map(|second| second.first.get(backend).copied().unwrap_or(0)).collect()
        };
        let mut domains = std::collections::BTreeMap::new();
        for (at, backend) in scenario.backends.iter().enumerate() {
            for (kind, name) in backend.domains() {
                let sums: &mut Vec<u32> =
                    domains.entry(format!("{kind}:{name}")).or_insert_with(|| vec![0; seconds.len()]);
                for (sum, count) in sums.iter_mut().zip(of(at)) {
                    *sum += count;
                }
            }
        }
        Self {
            backends: scenario.backends.iter().map(|backend| backend.name.clone()).collect(),
            requests: seconds.iter().map(|second| second.requests).collect(),
            answered: seconds.iter().map(|second| second.answered).collect(),
            first_attempts: (0..scenario.backends.len()).map(of).collect(),
            domains,
        }
    }
}

impl Report {
    pub(super) fn new(
        seeds: RangeInclusive<u64>,
        runs: Vec<Run>,
        remarks: Vec<String>,
        again: String,
    ) -> Self {
        let met = runs.iter().filter(|run| run.labels.is_some()).all(|run| run.count("missed") == 0);
        Self { seeds: (*seeds.start(), *seeds.end()), met, runs, remarks, again }
    }

    pub(super) fn is_met(&self) -> bool {
        self.met
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            match serde_json::to_string_pretty(self) {
                Ok(text) => anstream::println!("{text}"),
                Err(error) => super::style::complain(&error.to_string()),
            }
            return;
        }
        anstream::println!("{}", self.table());
        for remark in &self.remarks {
            anstream::println!("{} {remark}", styled(STRONG, "note:"));
        }
        let mut skipped: Vec<(&str, &str)> = Vec::new();
        for run in &self.runs {
            for one in run.expectations.iter().filter(|one| one.verdict == "skipped") {
                if !skipped.contains(&(one.expectation, one.reason.unwrap_or_default())) {
                    skipped.push((one.expectation, one.reason.unwrap_or_default()));
                }
            }
        }
        for reason in ["needs the follower", "needs the journal"] {
            let keys: Vec<_> =
                skipped.iter().filter(|(_, why)| *why == reason).map(|(key, _)| *key).collect();
            if !keys.is_empty() {
                anstream::println!("{} {reason}: {}", styled(DOUBTFUL, "skipped:"), keys.join(", "));
            }
        }
        for run in self.runs.iter().filter(|run| run.labels.is_some()) {
            for one in run.expectations.iter().filter(|one| one.verdict == "missed") {
                anstream::println!(
                    "{} {} with labels {}: {} was {}, expected {}",
                    styled(BAD, "missed:"),
                    run.scenario,
                    run.labels.unwrap_or_default(),
                    in_words(one.expectation),
                    one.measured,
                    one.bar,
                );
            }
            if run.count("missed") > 0 {
                anstream::println!("        replay: {}", self.command(run));
            }
        }
        if self.met {
            anstream::println!("{} every expectation that could be judged", styled(GOOD, "met:"));
        }
    }

    fn command(&self, run: &Run) -> String {
        let seeds = match self.seeds {
            (first, last) if first == last => format!("--seed {first}"),
            (first, last) => format!("--seeds {first}-{last}"),
        };
        let labels = run.labels.unwrap_or("all");
        let id = if self.again.contains("--scenario") { "" } else { run.scenario.as_str() };
        let words = ["outrigger drill", id, &seeds, "--labels", labels, &self.again];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "scenario",
            "policy",
            "reads",
            "txs",
            "wrong",
            "divert p50",
            "p99",
            "p99 added",
            "ampl.",
            "hedges",
            "eject.",
            "switch/min",
            "met/missed/skipped",
            "digest",
        ]);
        for run in &self.runs {
            let summary = &run.summary;
            let share = |share: f64| format!("{:.3} %", share * 100.0);
            let ms = |ms: Option<u64>, never: bool| match ms {
                Some(ms) => format!("{ms} ms"),
                None if never => "never".into(),
                None => "-".into(),
            };
            let wrong = summary.wrong_answers + summary.stale_reads + summary.fork_reads;
            let never = summary.never_diverted > 0;
            let missed = run.count("missed");
            let style = if missed == 0 { GOOD } else { BAD };
            let digests = run.digests.iter().filter_map(|digest| u64::from_str_radix(digest, 16).ok());
            let digest = digests.fold(0u64, |all, one| all.rotate_left(7) ^ one);
            table.add_row([
                run.scenario.clone(),
                run.who(),
                share(summary.read_availability),
                summary.transaction_availability.map_or("-".into(), share),
                wrong.to_string(),
                ms(summary.divert_p50_ms, never),
                ms(summary.divert_p99_ms, never),
                ms(summary.added_p99_ms, false),
                format!("{:.3}", summary.amplification),
                format!("{:.2} %", summary.hedge_share * 100.0),
                summary.ejections.to_string(),
                summary.switches_per_minute.to_string(),
                styled(style, format!("{}/{missed}/{}", run.count("met"), run.count("skipped"))),
                format!("{digest:016x}"),
            ]);
        }
        table
    }
}

/// An expectation's key as words.
pub(super) fn in_words(key: &str) -> String {
    match key {
        "added_p99_first_5s" => "the latency p99 added in the first 5 s".into(),
        "added_p99_later" => "the latency p99 added from 5 s on".into(),
        "share_halved_within" => "the time until the failed cloud kept less than half of its share".into(),
        "back_within" => "the time until a recovered cloud took part in full".into(),
        "divert_p50" => "the median time to divert".into(),
        "divert_p99" => "the 99th percentile of the time to divert".into(),
        "added_p99" => "the latency p99 added while diverting".into(),
        "amplification" => "upstream attempts per request".into(),
        "readmitted_within" => "the time until a recovered backend had half of its share".into(),
        "switches_per_minute" => "primary changes in a minute".into(),
        "duplicate_harm" => "transactions reported as failed that are out".into(),
        other => other.replace('_', " "),
    }
}
