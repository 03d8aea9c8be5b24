//! `outrigger load`: how much an endpoint takes, how fast it is then, and what it gets wrong.

mod progress;
mod report;
mod simulated;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::header::{HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use self::progress::Watch;
use self::simulated::{Fleet, FleetArgs};
use super::Outcome;
use super::style::{self, DOUBTFUL, styled};
use crate::config::{BackendUrl, parse_duration};
use crate::load::{
    self, Arrivals, CONNECTIONS, DURATION, FILE_BYTES_MAX, LoadError, Mix, ROUNDS, Rate, Recorded, Report,
    Settings, TIMEOUT, Target, WARM_UP_MAX,
};
use crate::upstream::Roots;

/// Options of `load`.
///
/// Requests are sent when they are due, whatever became of those before, and latencies count from then. Exit code 0 when
/// it is done, 1 when nothing could be loaded, an answer was wrong, or more failed than --max-failed; 2 for wrong usage.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  outrigger load http://localhost:8545 --rate 500 --duration 30s
  outrigger load http://localhost:8545 --rate 100..2000 --mix trader --report load.html
  outrigger load http://localhost:8545 --compare https://provider.example/KEY --rate 50
  outrigger load http://localhost:8545 --requests recorded.jsonl     docs/load.md describes the file
  outrigger load --simulate --kill aws@10s                           an outage under load, no network needed")]
pub(super) struct LoadArgs {
    /// The endpoint.
    #[arg(value_name = "URL", required_unless_present = "simulate")]
    url: Option<String>,
    /// A second endpoint of the same chain, loaded in turns with the first by the same requests.
    #[arg(long, value_name = "URL", conflicts_with = "kill")]
    compare: Option<String>,
    /// Requests a second, or a ramp.
    #[arg(long, value_name = "N|A..B", default_value = "50")]
    rate: Rate,
    /// How long each endpoint is measured [default: 10s; with --kill until 10s after the last change].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// How long each is loaded before, at the first rate.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = warm_up)]
    warm_up: Duration,
    /// What is asked: wallet, indexer or trader.
    #[arg(long, value_name = "MIX", default_value = "wallet")]
    mix: Mix,
    /// Recorded requests instead of a mix: one JSON-RPC request or batch a line.
    #[arg(long, value_name = "FILE", conflicts_with = "mix")]
    requests: Option<PathBuf>,
    /// How requests follow each other.
    #[arg(long, value_enum, default_value_t = Spacing::Even)]
    arrivals: Spacing,
    /// What chance is drawn from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Requests under way at once; what is due beyond them waits, and its latency counts.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = connections)]
    connections: usize,
    /// How long after it was due a request may be answered.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    /// Turns of each endpoint with --compare.
    #[arg(long, value_name = "N", default_value_t = 5, requires = "compare", value_parser = rounds)]
    rounds: u32,
    /// A header of every request to the first endpoint, as "x-api-key: KEY"; repeatable.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Certificate authorities to believe instead of the built-in ones.
    #[arg(long, value_name = "FILE.pem")]
    ca: Option<PathBuf>,
    /// Exit with 1 when more requests than this failed.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share)]
    max_failed: Share,
    /// Write a page with plots too.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spacing {
    /// One after the other at equal distances.
    Even,
    /// By chance, as those of many independent clients.
    Poisson,
}

/// From 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share(f64);

/// An address may hold a key, so what is wrong with it is said without it; clap would show it.
fn target(name: &str, text: &str) -> Result<Target, String> {
    BackendUrl::http(text).map(Target::new).map_err(|error| format!("{name} {error}"))
}

fn within(text: &str, holds: impl Fn(Duration) -> bool, otherwise: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if holds(time) { Ok(time) } else { Err(otherwise.to_owned()) }
}

fn duration(text: &str) -> Result<Duration, String> {
    within(text, |time| DURATION.contains(&time), "is out of bounds: a load takes from 1s to 24h")
}

fn warm_up(text: &str) -> Result<Duration, String> {
    within(text, |time| time <= WARM_UP_MAX, "is too long: a warm-up takes at most 10m")
}

fn timeout(text: &str) -> Result<Duration, String> {
    within(text, |time| TIMEOUT.contains(&time), "is out of bounds: a request has from 10ms to 5m")
}

fn connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| CONNECTIONS.contains(number));
    number.ok_or_else(|| format!("write a number from {} to {}", CONNECTIONS.start(), CONNECTIONS.end()))
}

fn rounds(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| ROUNDS.contains(number));
    number.ok_or_else(|| format!("write a number from {} to {}", ROUNDS.start(), ROUNDS.end()))
}

fn share(text: &str) -> Result<Share, String> {
    let wrong = || "is no share: write 0.1% or 0.001".to_owned();
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map_err(|_| wrong())? / unit;
    if (0.0..=1.0).contains(&share) { Ok(Share(share)) } else { Err(wrong()) }
}

/// The same holds for it.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = text.split_once(':').ok_or("is no header: write it as \"name: value\"")?;
    let name = name.trim().parse().map_err(|_| "has no header's name before the colon")?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "has a value that no header can have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

pub(super) fn run(args: &LoadArgs) -> Outcome {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            style::complain(&format!("cannot start: {error}"));
            return Outcome::Failed;
        }
    };
    let loaded = runtime.block_on(load(args));
    runtime.shutdown_timeout(Duration::from_millis(100));
    let report = match loaded {
        Ok(report) => report,
        Err(outcome) => return outcome,
    };
    report::print(&report, args.json, args.fleet.simulate);
    if let Some(path) = &args.report
        && let Err(error) = std::fs::write(path, load::page(&report))
    {
        style::complain(&format!("the page cannot be written to {}: {error}", path.display()));
        return Outcome::Failed;
    }
    let is_fine = report.wrong() == 0 && report.failed_share() <= args.max_failed.0;
    if is_fine { Outcome::Done } else { Outcome::Failed }
}

/// What is wrong is said here.
async fn load(args: &LoadArgs) -> Result<Report, Outcome> {
    let wrong_usage = |message: String| {
        style::complain(&message);
        Outcome::WrongUsage
    };
    // With `conflicts_with` clap would let `URL --kill` pass: what a conflict excludes it requires no more.
    if args.fleet.simulate && args.url.is_some() {
        return Err(wrong_usage(
            "URL cannot be used with --simulate: load either an endpoint or a simulated fleet".into(),
        ));
    }
    let mix = match &args.requests {
        None => args.mix.clone(),
        Some(path) => recorded(path).map_err(wrong_usage)?,
    };
    let fleet = match args.fleet.simulate {
        true => Some(Fleet::start(&args.fleet, args.seed).await?),
        false => None,
    };
    let url = fleet.as_ref().map(Fleet::url).or_else(|| args.url.clone()).unwrap_or_default();
    let mut first = target("the endpoint", &url).map_err(wrong_usage)?;
    for text in &args.header {
        let (name, value) = header(text).map_err(|why| wrong_usage(format!("--header {why}")))?;
        first.headers.append(name, value);
    }
    let compare = args.compare.as_deref().map(|url| target("--compare", url));
    let duration = args.duration.unwrap_or_else(|| args.fleet.length());
    let settings = Settings {
        compare: compare.transpose().map_err(wrong_usage)?,
        rate: args.rate,
        arrivals: match args.arrivals {
            Spacing::Even => Arrivals::Even,
            Spacing::Poisson => Arrivals::Poisson,
        },
        duration,
        warm_up: args.warm_up,
        rounds: args.rounds,
        mix,
        seed: args.seed,
        connections: args.connections,
        timeout: args.timeout,
        marks: args.fleet.marks(duration).map_err(wrong_usage)?,
        roots: args.ca.clone().map_or(Roots::Webpki, Roots::File),
        ..Settings::new(first)
    };
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.cancel();
        }
    });
    let watch = Watch::new(args.json, &settings);
    let loading = load::run(&settings, &stop, |event| {
        if let (load::Event::Measuring { at, .. }, Some(fleet)) = (&event, &fleet) {
            fleet.begin(*at);
        }
        watch.tell(&event);
    });
    let loaded = loading.await;
    watch.end();
    loaded.map_err(|error| {
        style::complain(&error.to_string());
        match error {
            LoadError::Setting(_) | LoadError::TwoChains { .. } | LoadError::Tls(_) => Outcome::WrongUsage,
            _ => Outcome::Failed,
        }
    })
}

/// A file of requests. What it would do to a chain is said here.
fn recorded(path: &Path) -> Result<Mix, String> {
    let shown = path.display();
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| format!("--requests {shown} cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "--requests {shown} is larger than {} MiB: take a sample of it",
            FILE_BYTES_MAX >> 20
        ));
    }
    let recorded = Recorded::parse(&text).map_err(|error| format!("--requests {shown}: {error}"))?;
    let submitting = recorded.submitting();
    if submitting > 0 {
        let warning = styled(DOUBTFUL, "warning:");
        let _ = std::io::Write::write_fmt(
            &mut anstream::stderr(),
            format_args!(
                "{warning} {submitting} of the {} requests in {shown} hand transactions in; they are sent, each time round\n",
                recorded.len()
            ),
        );
    }
    Ok(Mix::Recorded(recorded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_in_both_ways() {
        assert_eq!(share("1%"), Ok(Share(0.01)));
        assert_eq!(share("0.25"), Ok(Share(0.25)));
        assert_eq!(share("100 %"), Ok(Share(1.0)));
        for text in ["", "%", "101%", "-1%", "2", "NaN", "all"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_header_that_is_none_is_refused_without_showing_it() {
        let (name, value) = header("X-Api-Key: s3cret").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap(), value.is_sensitive()),
            ("x-api-key", "s3cret", true)
        );
        for text in ["s3cret", "s3 cret: x", "x: s3cret\u{7f}"] {
            assert!(!header(text).unwrap_err().contains("s3cret"), "{text}");
        }
    }
}
