//! `outrigger drill --loopback`: one cloud fails over real sockets.

use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::super::style::{self, BAD, DOUBTFUL, GOOD, STRONG, styled};
use super::super::{Outcome, say_mistakes};
use super::DrillArgs;
use super::report::{Expectation, in_words};
use crate::config::{Config, parse_duration};
use crate::drill::loopback::{self, FAULTS, LoopbackFault, Settings, Summary};

/// Drills of one fault in one command.
const REPEAT_MAX: u8 = 20;

/// Options of `drill --loopback`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Over real sockets")]
pub(super) struct LoopbackArgs {
    /// Let one of three simulated clouds fail over real sockets; without names in every way there is.
    #[arg(long, conflicts_with_all = ["list", "all", "seeds", "labels", "compare", "scenario"])]
    pub(super) loopback: bool,
    /// Requests per second.
    #[arg(long, value_name = "N", requires = "loopback", default_value_t = 100, value_parser = rate)]
    rate: u32,
    /// How long all is well at first.
    #[arg(long, value_name = "TIME", requires = "loopback", default_value = "10s", value_parser = phase)]
    calm: Duration,
    /// How long one cloud fails.
    #[arg(long, value_name = "TIME", requires = "loopback", default_value = "10s", value_parser = phase)]
    outage: Duration,
    /// How long it may take to be back in full.
    #[arg(long, value_name = "TIME", requires = "loopback", default_value = "25s", value_parser = phase)]
    recovery: Duration,
    /// What is spoken with the clouds.
    #[arg(long, value_enum, requires = "loopback", default_value_t = Over::Http2)]
    over: Over,
    /// Drills of each fault; of their times the median is judged.
    #[arg(
        long,
        value_name = "N",
        requires = "loopback",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(REPEAT_MAX))
    )]
    repeat: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// One connection for many requests, as most providers offer.
    Http2,
    /// A connection for each request under way.
    Http1,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::Http2 => "http2",
            Self::Http1 => "http1",
        }
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let range = loopback::RATE;
    let wrong = || format!("is no rate: write a number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|rate| range.contains(rate)).ok_or_else(wrong)
}

fn phase(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    match loopback::PHASE.contains(&time) {
        true => Ok(time),
        false => Err("is out of bounds: a phase lasts from 1s to 5m".to_owned()),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    rate: u32,
    over: &'static str,
    seed: u64,
    met: bool,
    runs: Vec<Run>,
}

/// One fault and all its drills.
#[derive(Debug, Serialize)]
struct Run {
    fault: &'static str,
    title: &'static str,
    expectations: Vec<Expectation>,
    drills: Vec<Summary>,
}

pub(super) fn run(args: &DrillArgs) -> Outcome {
    let faults = match faults(&args.ids) {
        Ok(faults) => faults,
        Err(message) => {
            style::complain(&message);
            return Outcome::WrongUsage;
        }
    };
    let config = match args.config.as_ref().map(Config::from_file).transpose() {
        Ok(config) => config,
        Err(errors) => return say_mistakes(&errors),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            style::complain(&format!("cannot start: {error}"));
            return Outcome::Failed;
        }
    };
    let drilled = runtime.block_on(drill_all(args, &faults, config.as_ref()));
    runtime.shutdown_timeout(Duration::from_millis(100));
    let report = match drilled {
        Ok(report) => report,
        Err(error @ loopback::LoopbackError::Alone) => {
            style::complain(&error.to_string());
            return Outcome::WrongUsage;
        }
        Err(error) => {
            style::complain(&error.to_string());
            return Outcome::Failed;
        }
    };
    report.print(args.json);
    if report.met { Outcome::Done } else { Outcome::Failed }
}

/// The faults of these names; all of them where there are none.
fn faults(names: &[String]) -> Result<Vec<&'static LoopbackFault>, String> {
    if names.is_empty() {
        return Ok(FAULTS.iter().collect());
    }
    let find = |name: &String| {
        loopback::find(name).ok_or_else(|| {
            let near = loopback::nearest(name).map(|near| format!("; did you mean {near}?"));
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("no fault is called {name}{}; `--list` shows them", near.unwrap_or_default())
        })
    };
    names.iter().map(find).collect()
}

async fn drill_all(
    args: &DrillArgs,
    faults: &[&'static LoopbackFault],
    config: Option<&Config>,
) -> Result<Report, loopback::LoopbackError> {
    let LoopbackArgs { rate, calm, outage, recovery, over, repeat, .. } = args.sockets;
    let each = calm + outage + recovery;
    let total = faults.len() as u64 * u64::from(repeat) * each.as_secs();
    let target = if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(look) = ProgressStyle::with_template("drilling {bar:30} {msg} {eta} at most") {
        bar.set_style(look);
    }
    let mut runs = Vec::new();
    let mut done = 0;
    for fault in faults {
        let mut drills = Vec::new();
        for again in 0..repeat {
            let seed = args.seed.wrapping_add(u64::from(again));
            let settings = Settings { rate, calm, outage, recovery, http2: over == Over::Http2, seed };
            let tell =
                |phase: loopback::Phase, _| bar.set_message(format!("{}: {}", fault.name, phase.name()));
            let drilling = loopback::run(fault, &settings, config, tell);
            let ticking = async {
                let begun = tokio::time::Instant::now();
                loop {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    bar.set_position(done + begun.elapsed().min(each).as_secs());
                }
            };
            let summary = tokio::select! {
                summary = drilling => summary?,
                () = ticking => continue,
            };
            drills.push(summary);
            done += each.as_secs();
            bar.set_position(done);
        }
        let expectations = loopback::judge(fault, &drills).into_iter().map(Expectation::from).collect();
        runs.push(Run { fault: fault.name, title: fault.title, expectations, drills });
    }
    bar.finish_and_clear();
    // What nothing could be proven of is not met.
    let met = runs.iter().all(|run| run.count("missed") == 0 && run.drills.iter().all(Summary::has_struck));
    Ok(Report { rate, over: over.name(), seed: args.seed, met, runs })
}

impl Run {
    fn count(&self, verdict: &str) -> usize {
        self.expectations.iter().filter(|one| one.verdict == verdict).count()
    }
}

impl Report {
    fn print(&self, json: bool) {
        if json {
            match serde_json::to_string_pretty(self) {
                Ok(text) => anstream::println!("{text}"),
                Err(error) => style::complain(&error.to_string()),
            }
            return;
        }
        anstream::println!("{}", self.table());
        for run in &self.runs {
            for one in &run.expectations {
                match one.verdict {
                    "missed" => anstream::println!(
                        "{} {}: {} was {}, expected {}",
                        styled(BAD, "missed:"),
                        run.fault,
                        in_words(one.expectation),
                        one.measured,
                        one.bar
                    ),
                    "no_occasion" => anstream::println!(
                        "{} {}: {} ({})",
                        styled(DOUBTFUL, "not judged:"),
                        run.fault,
                        in_words(one.expectation),
                        one.reason.unwrap_or_default()
                    ),
                    _ => {}
                }
            }
            for told in run.drills.iter().flat_map(|drill| &drill.told) {
                anstream::println!("        {told}");
            }
            if run.count("missed") > 0 {
                let Self { rate, over, seed, .. } = self;
                anstream::println!(
                    "        again: outrigger drill --loopback {} --rate {rate} --over {over} --seed {seed}",
                    run.fault
                );
            }
        }
        anstream::println!(
            "{} {} requests a second over {}; p99 in ms, later = from 5 s on, jitter = what the machine itself was late",
            styled(STRONG, "note:"),
            self.rate,
            self.over
        );
        if self.met {
            anstream::println!("{} every expectation", styled(GOOD, "met:"));
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "fault",
            "failed cloud",
            "requests",
            "failed",
            "wrong",
            "p50 calm",
            "p99 calm",
            "first 5s",
            "later",
            "jitter",
            "share",
            "halved",
            "back",
            "ampl.",
            "hedges",
            "retries",
            "copies",
            "met/missed",
        ]);
        for run in &self.runs {
            for drill in &run.drills {
                let ms = |ms: f64| format!("{ms:.0}");
                let s = |time: Option<u64>| match time {
                    Some(ms) => format!("{:.2} s", ms as f64 / 1e3),
                    None => "never".into(),
                };
                let missed = run.count("missed");
                table.add_row([
                    run.fault.to_owned(),
                    drill.victim.clone(),
                    drill.requests.to_string(),
                    drill.failed.to_string(),
                    (drill.wrong + drill.transactions_lost).to_string(),
                    ms(drill.calm.p50_ms),
                    ms(drill.calm.p99_ms),
                    ms(drill.first.p99_ms),
                    drill.later.map_or("-".into(), |later| ms(later.p99_ms)),
                    format!("{:.0}/{:.0}", drill.calm.jitter_p99_ms, drill.first.jitter_p99_ms),
                    format!("{:.0} %", drill.share_calm * 100.0),
                    s(drill.halved_ms),
                    s(drill.back_ms),
                    format!("{:.3}", drill.amplification),
                    drill.calls.hedges.to_string(),
                    drill.calls.retries.to_string(),
                    drill.calls.copies.to_string(),
                    styled(if missed == 0 { GOOD } else { BAD }, format!("{}/{missed}", run.count("met"))),
                ]);
            }
        }
        table
    }
}
