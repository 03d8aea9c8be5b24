//! The report as one HTML page: nothing is fetched, nothing is executed, and nothing that came over a wire is markup.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::chart::{Line, Plot, Scale, Series, escaped, number};
use super::report::{Counts, Moment, NamedPart, Report, TargetReport};

const STYLE: &str = include_str!("page.css");
/// Colours that the style has.
const COLOURS: usize = 6;

/// The report as a page of its own, light or dark as its reader likes it.
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>outrigger load</title><style>{STYLE}</style></head><body>"
    );
    head(&mut out, report);
    summary(&mut out, report);
    plots(&mut out, report);
    for target in &report.targets {
        details(&mut out, report, target);
    }
    out.push_str("</body></html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let urls: Vec<String> = report.targets.iter().map(|target| escaped(&target.url)).collect();
    let (from, to) = report.rate;
    let rate = if from == to { number(from) } else { format!("{} to {}", number(from), number(to)) };
    let _ = write!(
        out,
        "<h1>Load on {}</h1><p class=\"soft\">chain {}, mix {}, {rate} requests a second ({}), {} s each after {} s of \
         warm-up, at most {} under way, {} ms each, seed {}. Latencies count from when a request was due.</p>",
        urls.join(" and "),
        report.chain_id,
        report.mix,
        report.arrivals,
        number(report.duration_ms as f64 / 1e3),
        number(report.warm_up_ms as f64 / 1e3),
        report.connections,
        report.timeout_ms,
        report.seed,
    );
    if report.stopped_early {
        out.push_str("<p class=\"warn\">Stopped before its time.</p>");
    }
    for warning in &report.warnings {
        let _ = write!(out, "<p class=\"warn\">{}</p>", escaped(warning));
    }
}

const COLUMNS: &str = "<th>requests</th><th>answered</th><th>refused</th><th>failed</th><th>wrong</th><th>p50 ms</th>\
                       <th>p90 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>max ms</th>";

fn row(out: &mut String, name: &str, counts: &Counts) {
    let latency = counts.latency;
    let _ = write!(out, "<tr><td>{}</td>", escaped(name));
    for count in [counts.requests, counts.answered, counts.refused, counts.failed, counts.wrong] {
        let _ = write!(out, "<td>{count}</td>");
    }
    for ms in [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms] {
        let _ = write!(out, "<td>{ms:.2}</td>");
    }
    out.push_str("</tr>");
}

fn summary(out: &mut String, report: &Report) {
    let _ = write!(out, "<h2>Result</h2><table><tr><th></th>{COLUMNS}</tr>");
    for target in &report.targets {
        row(out, &target.url, &target.whole);
    }
    out.push_str("</table>");
    if let Some(comparison) = &report.comparison {
        let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = write!(
            out,
            "<p>The second over the first, median of {} rounds: p50 {}, p90 {}, p99 {}. Of {} answers about settled \
             blocks that both gave, {} differ.</p>",
            comparison.rounds,
            ratio(comparison.p50_ratio),
            ratio(comparison.p90_ratio),
            ratio(comparison.p99_ratio),
            comparison.agreement.compared,
            comparison.agreement.differ,
        );
    }
}

fn plots(out: &mut String, report: &Report) {
    let marks: Vec<Line> = match &report.targets[..] {
        [target] => target.parts.iter().skip(1).map(mark).collect(),
        _ => Vec::new(),
    };
    let over_time = |of: fn(&Moment) -> f64, name: &str, colour: usize, target: &TargetReport| Series {
        name: name.to_owned(),
        colour,
        points: target.timeline.iter().map(|moment| (moment.at_ms as f64 / 1e3, of(moment))).collect(),
    };
    let mut latencies = Vec::new();
    let mut counts = Vec::new();
    for (at, target) in report.targets.iter().enumerate() {
        let of = if report.targets.len() > 1 { format!(" {}", name(at)) } else { String::new() };
        latencies.push(over_time(|m| m.counts.latency.p50_ms, &format!("p50{of}"), 1 + at * 3, target));
        latencies.push(over_time(|m| m.counts.latency.p99_ms, &format!("p99{of}"), 2 + at * 3, target));
        latencies.push(over_time(|m| m.counts.latency.max_ms, &format!("slowest{of}"), 3 + at * 3, target));
        let good = |m: &Moment| (m.counts.answered + m.counts.refused) as f64;
        counts.push(over_time(good, &format!("answered{of}"), 1 + at * 3, target));
        counts.push(over_time(|m| m.counts.failed as f64, &format!("failed{of}"), 2 + at * 3, target));
    }
    let curves = report.targets.iter().enumerate().map(|(at, target)| Series {
        name: name(at).to_owned(),
        colour: 1 + at * 3,
        // Each ten times rarer case has the same room.
        points: target.curve.iter().map(|(share, ms)| (-(1.0 - share).log10(), *ms)).collect(),
    });
    let shares = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
    let rarity = |(at, label): (usize, &&str)| (if at == 0 { 0.301 } else { at as f64 }, (*label).to_owned());
    let plot = |title, x_title, y_title, scale, series, lines| Plot {
        title,
        x_title,
        y_title,
        scale,
        series,
        lines,
        x_ticks: None,
    };
    out.push_str("<h2>Over time</h2>");
    out.push_str(
        &plot(
            "Latency of what was due in each second",
            "seconds",
            "ms",
            Scale::Log,
            latencies,
            marks.clone(),
        )
        .svg(),
    );
    out.push_str(
        &plot("What became of it", "seconds", "requests", Scale::Linear, counts, marks.clone()).svg(),
    );
    for target in report.targets.iter().filter(|target| !target.served_by.is_empty()) {
        let series = served_by(target);
        out.push_str(
            &plot("Who served it", "seconds", "requests", Scale::Linear, series, marks.clone()).svg(),
        );
    }
    let by_rarity = Plot {
        x_ticks: Some(shares.iter().enumerate().map(rarity).collect()),
        ..plot(
            "Latency that a share of requests does not exceed",
            "share",
            "ms",
            Scale::Log,
            curves.collect(),
            vec![],
        )
    };
    out.push_str("<h2>By rarity</h2>");
    out.push_str(&by_rarity.svg());
}

fn mark(part: &NamedPart) -> Line {
    Line { at: part.from_ms as f64 / 1e3, name: part.name.clone() }
}

/// What the targets are called where both are spoken of.
fn name(target: usize) -> &'static str {
    if target == 0 { "first" } else { "second" }
}

fn served_by(target: &TargetReport) -> Vec<Series> {
    let backends: BTreeSet<&String> = target.served_by.keys().collect();
    let one = |(at, backend): (usize, &String)| Series {
        name: backend.clone(),
        colour: 1 + at % COLOURS,
        points: target
            .timeline
            .iter()
            .map(|moment| {
                (moment.at_ms as f64 / 1e3, moment.served_by.get(backend).copied().unwrap_or(0) as f64)
            })
            .collect(),
    };
    backends.into_iter().enumerate().map(one).collect()
}

fn details(out: &mut String, report: &Report, target: &TargetReport) {
    let _ = write!(
        out,
        "<h2>{}</h2><p>{} served a second over {}, {} connections opened. Height {} to {}; it went back {} times. From \
         when they were sent rather than due, p50 is {:.2} ms and p99 {:.2} ms.</p>",
        escaped(&target.url),
        number(target.served_per_s),
        escaped(target.protocol.as_deref().unwrap_or("nothing")),
        target.connections_opened,
        target.heads.first,
        target.heads.highest,
        target.heads.went_back,
        target.service.p50_ms,
        target.service.p99_ms,
    );
    if !target.parts.is_empty() {
        let _ = write!(out, "<table><tr><th>part</th>{COLUMNS}</tr>");
        for part in &target.parts {
            let name = format!(
                "{} ({} to {} s)",
                part.name,
                number(part.from_ms as f64 / 1e3),
                number(part.until_ms as f64 / 1e3)
            );
            row(out, &name, &part.counts);
        }
        out.push_str("</table>");
    }
    let _ = write!(out, "<table><tr><th>method</th>{COLUMNS}</tr>");
    for method in &target.methods {
        row(out, &method.method, &method.counts);
    }
    out.push_str("</table><table><tr><th>came to</th><th>requests</th><th>share</th></tr>");
    for (class, count) in &target.classes {
        let share = *count as f64 / target.whole.requests.max(1) as f64 * 100.0;
        let _ = write!(out, "<tr><td>{class}</td><td>{count}</td><td>{share:.3} %</td></tr>");
    }
    out.push_str("</table>");
    let generator = report.generator;
    let cpu = generator.cpu_cores.map(|cpu| format!("; {cpu:.2} of {} cores busy", generator.cores));
    let _ = write!(
        out,
        "<p class=\"soft\">The load generator itself: requests began {:.2} ms late at p99{}.</p>",
        generator.late.p99_ms,
        cpu.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup_and_nothing_is_fetched() {
        let page = page(&Report::example());
        for outside in
            ["<img", "<b>", "<aws>", "<script", "s3cret", "url(", "@import", "<link", "href=", "NaN"]
        {
            assert!(!page.contains(outside), "{outside}");
        }
        for inside in [
            "&lt;img src=x&gt;",
            "&lt;aws&gt; &amp; co gone",
            "a&amp;b",
            "default-src 'none'",
            "http://one.example",
        ] {
            assert!(page.contains(inside), "{inside}");
        }
        assert_eq!(page.matches("<svg").count(), 4, "latency, counts, who served, rarity");
        for tag in ["table", "figure", "svg", "p", "tr"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
