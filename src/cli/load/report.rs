//! The result of a load for people: a few tables, and what to make of them.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

use super::super::style::{self, BAD, DOUBTFUL, GOOD, STRONG, styled};
use crate::load::{Comparison, Counts, Moment, NOT_STARTED, Report, TargetReport};

/// Seconds that are shown one by one; of longer loads `--report` and `--json` have them.
const MOMENTS_MAX: usize = 120;
/// Methods that are shown.
const METHODS_MAX: usize = 16;

pub(super) fn print(report: &Report, json: bool, simulated: bool) {
    if json {
        match serde_json::to_string_pretty(report) {
            Ok(text) => style::say(text),
            Err(error) => style::complain(&error.to_string()),
        }
        return;
    }
    style::say(headline(report, simulated));
    style::say(whole(report));
    if let Some(comparison) = &report.comparison {
        style::say(compared(comparison));
    }
    for target in &report.targets {
        if report.targets.len() > 1 {
            style::say(format!("\n{}", styled(STRONG, &target.url)));
        }
        if report.comparison.is_none() && !target.parts.is_empty() {
            style::say(format!("\n{}", parts(target)));
            style::say(format!("\n{}", seconds(target)));
        }
        style::say(format!("\n{}", methods(target)));
        for line in remarks(target) {
            style::say(line);
        }
    }
    let late = report.generator.late.p99_ms;
    let cpu = report.generator.cpu_cores.map(|cpu| {
        let of = if simulated { ", fleet and proxy included" } else { "" };
        format!(", {cpu:.2} of {} cores busy{of}", report.generator.cores)
    });
    style::say(format!(
        "{} requests began {late:.2} ms late at p99{}",
        styled(STRONG, "generator:"),
        cpu.unwrap_or_default()
    ));
    for warning in &report.warnings {
        style::say(format!("{} {warning}", styled(DOUBTFUL, "warning:")));
    }
    style::say(verdict(report));
}

fn headline(report: &Report, simulated: bool) -> String {
    let (from, to) = report.rate;
    let rate = if from == to { from.to_string() } else { format!("{from} to {to}") };
    let what = if simulated { " (simulated)" } else { "" };
    let stopped = if report.stopped_early { ", stopped early" } else { "" };
    format!(
        "chain {}{what}, mix {}, {rate} requests a second ({}), {} s{}{stopped}; latencies in ms, from when a request was due",
        report.chain_id,
        report.mix,
        report.arrivals,
        report.duration_ms as f64 / 1e3,
        if report.comparison.is_some() { " each" } else { "" },
    )
}

fn table(first: &str, rest: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([&[first], rest].concat());
    table
}

/// Counts and latencies, in the order of [`COLUMNS`]. Colour would shift the columns: the table counts it as text.
fn row(name: String, counts: &Counts) -> Vec<String> {
    let latency = counts.latency;
    let mut row = vec![name];
    row.extend([counts.requests, counts.refused, counts.failed, counts.wrong].map(|count| count.to_string()));
    let quantiles = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms];
    row.extend(quantiles.map(ms));
    row
}

/// With three digits that tell something.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.2}"),
    }
}

fn count(count: u64) -> String {
    if count == 0 { "0".to_owned() } else { styled(BAD, count) }
}

const COLUMNS: [&str; 9] = ["requests", "refused", "failed", "wrong", "p50", "p90", "p99", "p99.9", "max"];

fn whole(report: &Report) -> Table {
    let mut table = table("", &[&COLUMNS[..], &["served/s", "protocol"]].concat());
    for target in &report.targets {
        let mut row = row(target.url.clone(), &target.whole);
        row.push(format!("{:.1}", target.served_per_s));
        row.push(target.protocol.clone().unwrap_or_else(|| "-".to_owned()));
        table.add_row(row);
    }
    table
}

fn compared(comparison: &Comparison) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    let Comparison { rounds, p50_ratio, p90_ratio, p99_ratio, agreement } = comparison;
    format!(
        "{} p50 {}, p90 {}, p99 {} (median of {rounds} rounds, in turns); of {} answers about settled blocks {} differ",
        styled(STRONG, "second over first:"),
        ratio(*p50_ratio),
        ratio(*p90_ratio),
        ratio(*p99_ratio),
        agreement.compared,
        count(agreement.differ),
    )
}

fn parts(target: &TargetReport) -> Table {
    let mut table = table("part", &COLUMNS);
    for part in &target.parts {
        let (from, until) = (part.from_ms as f64 / 1e3, part.until_ms as f64 / 1e3);
        table.add_row(row(format!("{} ({from} to {until} s)", part.name), &part.counts));
    }
    table
}

/// Second by second, and what happened in it.
fn seconds(target: &TargetReport) -> Table {
    let mut table = table("second", &["requests", "failed", "p50", "p99", "max", "served by", ""]);
    for (at, moment) in target.timeline.iter().take(MOMENTS_MAX).enumerate() {
        let next = target.timeline.get(at + 1).map_or(u64::MAX, |next| next.at_ms);
        let happened =
            target.parts.iter().skip(1).filter(|part| (moment.at_ms..next).contains(&part.from_ms));
        let happened: Vec<String> =
            happened.map(|part| styled(DOUBTFUL, format!("<- {}", part.name))).collect();
        let Counts { requests, failed, latency, .. } = moment.counts;
        table.add_row([
            (moment.at_ms / 1000).to_string(),
            requests.to_string(),
            failed.to_string(),
            ms(latency.p50_ms),
            ms(latency.p99_ms),
            ms(latency.max_ms),
            served_by(moment),
            happened.join(" "),
        ]);
    }
    table
}

/// Shares, the largest first.
fn served_by(moment: &Moment) -> String {
    let all: u64 = moment.served_by.values().sum();
    let mut shares: Vec<_> = moment.served_by.iter().collect();
    shares.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let share =
        |(name, count): &(&String, &u64)| format!("{name} {:.0} %", **count as f64 / all as f64 * 100.0);
    shares.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn methods(target: &TargetReport) -> Table {
    let mut table = table("method", &COLUMNS);
    for method in target.methods.iter().take(METHODS_MAX) {
        table.add_row(row(method.method.clone(), &method.counts));
    }
    table
}

fn remarks(target: &TargetReport) -> Vec<String> {
    let mut lines = Vec::new();
    let not_ok: Vec<_> = target.classes.iter().filter(|(class, _)| **class != "ok").collect();
    if !not_ok.is_empty() {
        let said = not_ok.iter().map(|(class, count)| match **class {
            NOT_STARTED => format!("{count} not sent in time"),
            class => format!("{count} {class}"),
        });
        let said = said.collect::<Vec<_>>().join(", ");
        lines.push(format!("{} {said}", styled(STRONG, "not answered with a result:")));
    }
    let heads = target.heads;
    if heads.told > 0 {
        let went_back = match heads.went_back {
            0 => "never went back".to_owned(),
            times => {
                styled(BAD, format!("went back {times} times, by {} blocks at most", heads.went_back_by))
            }
        };
        lines.push(format!("{} {} to {}, {went_back}", styled(STRONG, "head:"), heads.first, heads.highest));
    }
    lines
}

fn verdict(report: &Report) -> String {
    let share = report.failed_share() * 100.0;
    match (report.wrong(), share) {
        (0, 0.0) => styled(GOOD, "nothing failed, and no answer was wrong"),
        (0, share) => styled(DOUBTFUL, format!("{share:.3} % failed; no answer was wrong")),
        (wrong, share) => styled(BAD, format!("{wrong} answers were wrong; {share:.3} % failed")),
    }
}
