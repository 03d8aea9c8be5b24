//! What was seen, as programs read it; people get tables and a page made of the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::agreement::Agreement;
use super::aim::{Aim, Board, lock};
use super::heads::Heads;
use super::latencies::Quantiles;
use super::machine;
use super::run::{repeated, submitting};
use super::schedule::Arrivals;
use super::settings::Settings;
use super::tally::{Part, Slot, Tally};

/// The generator is out of breath when its own delay is more than this at p99: what it measures is itself.
const LATE_MAX_MS: f64 = 10.0;
/// Or when it keeps all cores but this share of one busy.
const CPU_FREE_MIN: f64 = 0.15;
/// Above this share of requests that had to wait for a connection, the reader is told.
const DELAYED_MAX: f64 = 0.001;

/// The result of a load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The chain that was asked.
    pub chain_id: u64,
    /// The name of the mix.
    pub mix: &'static str,
    /// Requests a second: at first and at last.
    pub rate: (f64, f64),
    /// `even` or `poisson`.
    pub arrivals: &'static str,
    /// What chance was drawn from.
    pub seed: u64,
    /// How long each target was to be measured.
    pub duration_ms: u64,
    /// How long each was loaded before.
    pub warm_up_ms: u64,
    /// Requests under way at once, at most.
    pub connections: usize,
    /// How long a request had.
    pub timeout_ms: u64,
    /// It was told to end before its time.
    pub stopped_early: bool,
    /// What was loaded: one, or two that are compared.
    pub targets: Vec<TargetReport>,
    /// The second beside the first.
    pub comparison: Option<Comparison>,
    /// What the load cost its own process.
    pub generator: Generator,
    /// What a reader of the figures should know.
    pub warnings: Vec<String>,
}

/// What was seen of one target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// Scheme, host and port.
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2.0`; `null` where it never answered.
    pub protocol: Option<String>,
    /// Requests that were answered or refused, a second.
    pub served_per_s: f64,
    /// Everything.
    pub whole: Counts,
    /// Latencies from when requests were sent rather than due: what a closed loop would have reported.
    pub service: Quantiles,
    /// Parts of the time: turns of one of two, or what lies between marks.
    pub parts: Vec<NamedPart>,
    /// By method, or by kind of batch; the most frequent first.
    pub methods: Vec<MethodReport>,
    /// Requests by what they came to: the names of `policy::Class`, and `not_started`.
    pub classes: BTreeMap<&'static str, u64>,
    /// Requests by the backend that a proxy says it asked.
    pub served_by: BTreeMap<String, u64>,
    /// What it said of its head.
    pub heads: Heads,
    /// Connections that were made.
    pub connections_opened: u64,
    /// Requests that met a connection which had gone stale, and were sent again on a fresh one.
    pub repeated: u64,
    /// Second by second, or in longer steps where it took longer than ten minutes.
    pub timeline: Vec<Moment>,
    /// Share of requests, and the milliseconds that it does not exceed.
    pub curve: Vec<(f64, f64)>,
}

/// Counts and latencies. `requests` are `answered`, `refused` and `failed` together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// HTTP requests that were due.
    pub requests: u64,
    /// JSON-RPC calls in them.
    pub calls: u64,
    /// Came to a result.
    pub answered: u64,
    /// Came to an error that is the last word on the call, such as a revert.
    pub refused: u64,
    /// Came to nothing, or to an error that another backend would not have given.
    pub failed: u64,
    /// Of the failed: those that could not be sent before their time was over.
    pub not_started: u64,
    /// Were sent late, because all connections were busy when they were due.
    pub delayed: u64,
    /// Contradict what was said before or elsewhere, answer another request, or are of another chain.
    pub wrong: u64,
    /// From when they were due.
    pub latency: Quantiles,
}

/// A part of the time.
#[derive(Clone, Debug, Serialize)]
pub struct NamedPart {
    /// What it is called.
    pub name: String,
    /// Since the beginning of what is measured.
    pub from_ms: u64,
    /// The same.
    pub until_ms: u64,
    /// What was seen in it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// One method.
#[derive(Clone, Debug, Serialize)]
pub struct MethodReport {
    /// Its name, with the number of calls of a batch.
    pub method: String,
    /// What was seen of it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// One step of the time line.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// When it begins, since the beginning of what is measured.
    pub at_ms: u64,
    /// What was due in it.
    #[serde(flatten)]
    pub counts: Counts,
    /// By the backend that a proxy says it asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub served_by: BTreeMap<String, u64>,
}

/// The second target beside the first: above 1, the second's figure is larger.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Turns of each.
    pub rounds: u32,
    /// Median over the rounds of what the second's figure was over the first's; `null` where there is none.
    pub p50_ratio: Option<f64>,
    /// The same.
    pub p90_ratio: Option<f64>,
    /// The same.
    pub p99_ratio: Option<f64>,
    /// Answers about settled blocks, held against each other.
    pub agreement: Agreement,
}

/// What the load cost its own process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Generator {
    /// How late requests were begun that nothing but this process kept from it.
    pub late: Quantiles,
    /// Processor time over time: 1 is one core; `null` where the system does not tell.
    pub cpu_cores: Option<f64>,
    /// Cores that it may use.
    pub cores: usize,
    /// The figures are partly its own.
    pub is_bottleneck: bool,
}

/// What was found out besides the tallies.
pub(super) struct Measured {
    pub(super) chain_id: u64,
    pub(super) took: Duration,
    pub(super) cpu: Option<Duration>,
    pub(super) left_out: Vec<String>,
    pub(super) stopped_early: bool,
}

// === impl Report ===

impl Report {
    pub(super) fn new(settings: &Settings, aims: &[Arc<Aim>], board: &Board, measured: Measured) -> Self {
        let generator = Generator::new(board, &measured);
        let targets: Vec<_> = aims.iter().map(|aim| TargetReport::new(settings, aim)).collect();
        let comparison = match &targets[..] {
            [first, second] => Some(Comparison::new(settings, first, second, lock(&board.answers).seen)),
            _ => None,
        };
        let mut report = Self {
            chain_id: measured.chain_id,
            mix: settings.mix.name(),
            rate: (settings.rate.from(), settings.rate.to()),
            arrivals: match settings.arrivals {
                Arrivals::Even => "even",
                Arrivals::Poisson => "poisson",
            },
            seed: settings.seed,
            duration_ms: ms(settings.duration),
            warm_up_ms: ms(settings.warm_up),
            connections: settings.connections,
            timeout_ms: ms(settings.timeout),
            stopped_early: measured.stopped_early,
            targets,
            comparison,
            generator,
            warnings: Vec::new(),
        };
        report.warn(settings, &measured.left_out);
        report
    }

    fn warn(&mut self, settings: &Settings, left_out: &[String]) {
        let mut warnings = Vec::new();
        let Generator { late, cpu_cores, cores, is_bottleneck } = self.generator;
        if is_bottleneck {
            let cpu = cpu_cores.map(|cpu| format!(" and {cpu:.1} of {cores} cores busy")).unwrap_or_default();
            warnings.push(format!(
                "this load generator was out of breath: requests began {:.1} ms late at p99{cpu}, and latencies hold \
                 that; lower --rate, or load from another machine",
                late.p99_ms
            ));
        }
        for target in &self.targets {
            let counts = &target.whole;
            if counts.delayed as f64 > counts.requests as f64 * DELAYED_MAX {
                warnings.push(format!(
                    "{} of {} requests to {} were due while all {} connections were busy, and {} of these were never sent: it \
                     does not keep up with this rate, or --connections is too low for its latency",
                    counts.delayed, counts.requests, target.url, self.connections, counts.not_started
                ));
            }
        }
        if !left_out.is_empty() {
            warnings.push(format!("left out, since it is not offered: {}", left_out.join(", ")));
        }
        let submitting = submitting(&settings.mix);
        if submitting > 0 {
            warnings.push(format!("{submitting} of the recorded requests handed transactions in"));
        }
        self.warnings = warnings;
    }

    /// Requests of all targets that failed, as a share.
    pub fn failed_share(&self) -> f64 {
        let sum = |of: fn(&Counts) -> u64| self.targets.iter().map(|target| of(&target.whole)).sum::<u64>();
        sum(|counts| counts.failed) as f64 / sum(|counts| counts.requests).max(1) as f64
    }

    /// Answers of all targets that are wrong.
    pub fn wrong(&self) -> u64 {
        self.targets.iter().map(|target| target.whole.wrong).sum()
    }
}

impl TargetReport {
    fn new(settings: &Settings, aim: &Aim) -> Self {
        let tally = lock(&aim.tally);
        let whole = Counts::of(&tally.whole);
        let named = |names: &[String], counts: &[u64]| -> BTreeMap<String, u64> {
            names.iter().cloned().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
        };
        let methods = tally.methods.all().iter().zip(&tally.by_method);
        let mut methods: Vec<_> = methods
            .map(|(method, part)| MethodReport { method: method.clone(), counts: Counts::of(part) })
            .collect();
        methods.sort_by_key(|method| std::cmp::Reverse(method.counts.requests));
        let moment = |(at, slot): (usize, &Slot)| Moment {
            at_ms: ms(tally.slot * u32::try_from(at).unwrap_or(0)),
            counts: Counts::of(&slot.part),
            served_by: named(tally.backends.all(), &slot.served_by),
        };
        Self {
            url: aim.upstream.url().to_string(),
            protocol: lock(&aim.version).map(|version| format!("{version:?}")),
            served_per_s: (whole.answered + whole.refused) as f64 / lock(&aim.span).as_secs_f64().max(1e-3),
            whole,
            service: tally.service.quantiles(),
            parts: parts(settings, &tally),
            methods,
            classes: tally.classes.clone(),
            served_by: named(tally.backends.all(), &tally.served_by),
            heads: *lock(&aim.heads),
            connections_opened: aim.upstream.stats().opened,
            repeated: repeated(aim),
            timeline: tally.slots.iter().enumerate().map(moment).collect(),
            curve: tally.whole.latency.curve(),
        }
    }
}

/// Turns, or what lies between marks; nothing where there is only one part.
fn parts(settings: &Settings, tally: &Tally) -> Vec<NamedPart> {
    if tally.parts.len() < 2 {
        return Vec::new();
    }
    let mut from = Duration::ZERO;
    let named = tally.parts.iter().enumerate().map(|(at, (until, part))| {
        let name = match (settings.compare.is_some(), at.checked_sub(1)) {
            (true, _) => format!("round {}", at + 1),
            (false, None) => "before".to_owned(),
            (false, Some(mark)) => settings.marks.get(mark).map(|mark| mark.name.clone()).unwrap_or_default(),
        };
        let until = (*until).min(settings.duration);
        let named =
            NamedPart { name, from_ms: ms(from.min(until)), until_ms: ms(until), counts: Counts::of(part) };
        from = until;
        named
    });
    named.collect()
}

impl Counts {
    fn of(part: &Part) -> Self {
        Self {
            requests: part.requests,
            calls: part.calls,
            answered: part.answered,
            refused: part.refused,
            failed: part.failed,
            not_started: part.not_started,
            delayed: part.delayed,
            wrong: part.wrong,
            latency: part.latency.quantiles(),
        }
    }
}

impl Comparison {
    fn new(settings: &Settings, first: &TargetReport, second: &TargetReport, agreement: Agreement) -> Self {
        let one = |target: &TargetReport| match target.parts.is_empty() {
            true => vec![target.whole.latency],
            false => {
                target.parts.iter().filter(|p| p.counts.requests > 0).map(|p| p.counts.latency).collect()
            }
        };
        let (first, second) = (one(first), one(second));
        let ratio = |of: fn(&Quantiles) -> f64| {
            let ratios = first.iter().zip(&second).map(|(first, second)| of(second) / of(first));
            median(ratios.filter(|ratio| ratio.is_finite()).collect())
        };
        Self {
            rounds: settings.turns(),
            p50_ratio: ratio(|latency| latency.p50_ms),
            p90_ratio: ratio(|latency| latency.p90_ms),
            p99_ratio: ratio(|latency| latency.p99_ms),
            agreement,
        }
    }
}

/// The middle one; of two in the middle their mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let is_odd = values.len() % 2 == 1;
    Some(if is_odd { upper } else { (upper + values[values.len() / 2 - 1]) / 2.0 })
}

impl Generator {
    fn new(board: &Board, measured: &Measured) -> Self {
        let late = lock(&board.late).quantiles();
        let cores = machine::cores();
        let cpu_cores = measured.cpu.map(|cpu| cpu.as_secs_f64() / measured.took.as_secs_f64().max(1e-3));
        let is_breathless = cpu_cores.is_some_and(|cpu| cpu > cores as f64 - CPU_FREE_MIN);
        Self { late, cpu_cores, cores, is_bottleneck: late.p99_ms > LATE_MAX_MS || is_breathless }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl Report {
    /// A report of two endpoints, one of which says odd things of itself.
    pub(super) fn example() -> Self {
        use super::aim::Recent;
        use super::known::Known;
        use super::mix::Draws;
        use super::tally::Ended;
        use crate::config::BackendUrl;
        use crate::load::{Fate, Mark, Target};
        use crate::policy::Class;
        use crate::upstream::{Dns, Roots, Tls};

        let url = BackendUrl::http("http://user:s3cret@one.example/s3cret").unwrap();
        let mark = Mark { at: Duration::from_secs(1), name: "<aws> & co gone".to_owned() };
        let settings = Settings { marks: vec![mark], ..Settings::new(Target::new(url)) };
        let (tls, dns) = (Arc::new(Tls::new(&Roots::Webpki).unwrap()), Arc::new(Dns::system()));
        let mut tally = Tally::new(settings.duration, vec![Duration::from_secs(1)]);
        for n in 0..30u64 {
            tally.add(&Ended {
                due: Duration::from_millis(n * 100),
                latency: Duration::from_millis(1 + n),
                service: Some(Duration::from_millis(1)),
                fate: if n == 7 { Fate::Failed } else { Fate::Answered },
                class: Some(if n == 7 { Class::Overloaded } else { Class::Ok }),
                label: if n < 20 { "eth_call" } else { "<img src=x>" },
                calls: 1,
                delayed: false,
                served_by: Some(if n < 10 { "aws" } else { "a&b" }),
                contradicts: n == 9,
            });
        }
        let aims = [Arc::new(Aim::new(&settings.target, &settings, tally, &tls, &dns))];
        let board = Board {
            draws: Draws::new(&settings.mix, Known::new(1, 1), 1),
            answers: Default::default(),
            compares: false,
            chain_id: 1,
            recent: std::sync::Mutex::new(Recent::new()),
            late: std::sync::Mutex::new(super::latencies::Latencies::coarse()),
            next_id: Default::default(),
        };
        let measured = Measured {
            chain_id: 1,
            took: Duration::from_secs(3),
            cpu: Some(Duration::from_secs(1)),
            left_out: vec!["<b>eth_x</b>".to_owned()],
            stopped_early: true,
        };
        Self::new(&settings, &aims, &board, measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_up_and_shows_no_secret() {
        let report = Report::example();
        let target = &report.targets[0];
        assert_eq!((target.whole.requests, target.whole.failed, report.wrong()), (30, 1, 1));
        assert!((report.failed_share() - 1.0 / 30.0).abs() < 1e-9);
        let parts: Vec<_> = target
            .parts
            .iter()
            .map(|part| (part.name.as_str(), part.from_ms, part.until_ms, part.counts.requests))
            .collect();
        assert_eq!(parts, [("before", 0, 1000, 10), ("<aws> & co gone", 1000, 10_000, 20)]);
        let sum =
            |of: fn(&Counts) -> u64| target.timeline.iter().map(|moment| of(&moment.counts)).sum::<u64>();
        assert_eq!((sum(|counts| counts.requests), sum(|counts| counts.wrong)), (30, 1));
        assert_eq!(target.served_by["a&b"], 20);
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains("s3cret") && text.contains("http://one.example"), "{text}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
