//! Medians over the rounds: as a table for people, as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::case::CASES;
use crate::load::Measured;
use crate::subject::Subject;

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    /// Case, connections and subject, each with one measurement a round; the direct call is subject 0.
    rounds: BTreeMap<(usize, usize, usize), Vec<Measured>>,
}

/// Where it was measured.
#[derive(Serialize)]
pub struct Machine {
    cores: usize,
    kernel: String,
    /// Processes that wanted to run in the minute before: above zero, others were at work too.
    load_before: f64,
}

#[derive(Serialize)]
struct Row {
    answer: &'static str,
    connections: usize,
    subject: String,
    rounds: usize,
    requests_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Against the direct call of the same round.
    added_p50_us: f64,
    added_p99_us: f64,
    /// `null` where the processes are not known.
    cpu_us_per_request: Option<f64>,
    rss_idle_mib: Option<f64>,
    rss_load_mib: Option<f64>,
    failed: u64,
}

// === impl Machine ===

impl Machine {
    /// This one, now.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
        }
    }
}

// === impl Report ===

impl Report {
    /// Adds what a round saw of one subject.
    pub fn add(&mut self, case: usize, connections: usize, subject: usize, measured: Measured) {
        self.rounds.entry((case, connections, subject)).or_default().push(measured);
    }

    /// Requests that were not answered well, over everything.
    pub fn failed(&self) -> u64 {
        self.rounds.values().flatten().map(|measured| measured.failed).sum()
    }

    /// The table.
    pub fn print(&self, machine: &Machine, subjects: &[Subject]) {
        println!(
            "{} cores, Linux {}, load before {:.1}; closed loop, medians of rounds, latencies in us\n",
            machine.cores, machine.kernel, machine.load_before
        );
        println!(
            "{:<7} {:>5} {:<13} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>6}",
            "answer",
            "conns",
            "subject",
            "req/s",
            "p50",
            "p99",
            "+p50",
            "+p99",
            "CPU us",
            "idle MiB",
            "load MiB",
            "failed"
        );
        for row in self.rows(subjects) {
            let or_dash = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            println!(
                "{:<7} {:>5} {:<13} {:>8.0} {:>7.0} {:>7.0} {:>7.0} {:>7.0} {:>7} {:>8} {:>8} {:>6}",
                row.answer,
                row.connections,
                row.subject,
                row.requests_per_s,
                row.p50_us,
                row.p99_us,
                row.added_p50_us,
                row.added_p99_us,
                or_dash(row.cpu_us_per_request),
                or_dash(row.rss_idle_mib),
                or_dash(row.rss_load_mib),
                row.failed,
            );
        }
    }

    /// The same and the machine.
    pub fn json(&self, machine: &Machine, subjects: &[Subject]) -> serde_json::Value {
        serde_json::json!({ "machine": machine, "rows": self.rows(subjects) })
    }

    fn rows(&self, subjects: &[Subject]) -> Vec<Row> {
        let known = |value: f64| value.is_finite().then_some(value);
        let row = |(&(case, connections, at), rounds): (&(usize, usize, usize), &Vec<Measured>)| {
            let direct = self.rounds.get(&(case, connections, 0)).unwrap_or(rounds);
            let of = |pick: fn(&Measured) -> f64| median(rounds.iter().map(pick).collect());
            // Machines drift: a round is held against its own direct call.
            let added = |pick: fn(&Measured) -> f64| {
                median(rounds.iter().zip(direct).map(|(own, direct)| pick(own) - pick(direct)).collect())
            };
            Row {
                answer: CASES[case].name,
                connections,
                subject: subjects[at].name.clone(),
                rounds: rounds.len(),
                requests_per_s: of(|m| m.requests_per_s),
                p50_us: of(|m| m.p50_us),
                p99_us: of(|m| m.p99_us),
                added_p50_us: added(|m| m.p50_us),
                added_p99_us: added(|m| m.p99_us),
                cpu_us_per_request: known(of(|m| m.cpu_us)),
                rss_idle_mib: known(subjects[at].rss_idle_mib),
                rss_load_mib: known(of(|m| m.rss_mib)),
                failed: rounds.iter().map(|measured| measured.failed).sum(),
            }
        };
        self.rounds.iter().map(row).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
