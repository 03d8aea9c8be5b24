//! What an outage costs those who are served: a load on the real gateway over simulated clouds, one of which dies.
//!
//!     cargo bench --bench outage                     # six ways to die, about three minutes
//!     cargo bench --bench outage -- --quick          # two of them, shorter
//!     cargo bench --bench outage -- --rate 500 --seconds 10 --json outage.json
//!
//! Client, server, gateway and clouds share this process and this machine, so latencies hold all of their work; the clouds'
//! own are 20, 35 and 50 ms at the median. The loop is open: a request counts from when it was due. The client is
//! `outrigger load`'s, by its library.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use outrigger::config::BackendUrl;
use outrigger::load::{self, Counts, Event, Mark, Rate, Report, Target};
use outrigger::server::Loopback;
use outrigger::simulation::{Fault, Settings, Simulation};
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "--quick, --rate N, --seconds S, --json FILE";
/// The cloud that dies is the nearest: it serves nearly everything.
const VICTIM: usize = 0;
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Ways to die, the first two also in a quick run.
const FAULTS: [(&str, Fault); 6] = [
    ("no power: refused and reset", Fault::Refuse),
    ("silence: read and never answered", Fault::Hang),
    ("HTTP 503", Fault::Status(503)),
    ("black hole: accepted, not read", Fault::BlackHole),
    ("half an answer", Fault::Truncated),
    ("30 of 100 fail", Fault::Flaky(30)),
];

struct Options {
    faults: usize,
    rate: f64,
    phase: Duration,
    json: Option<String>,
}

fn options() -> Result<Option<Options>, String> {
    let mut options =
        Options { faults: FAULTS.len(), rate: 200.0, phase: Duration::from_secs(8), json: None };
    let mut asked_for = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => asked_for = true,
            "--quick" => (options.faults, options.phase) = (2, Duration::from_secs(3)),
            "--rate" => options.rate = value()?.parse().map_err(|_| "--rate takes a number")?,
            "--seconds" => {
                let seconds = value()?.parse().ok().filter(|s| (1..=300).contains(s));
                options.phase = Duration::from_secs(seconds.ok_or("--seconds takes a number from 1 to 300")?);
            }
            "--json" => options.json = Some(value()?),
            other => return Err(format!("unknown argument {other}; there are {USAGE}")),
        }
    }
    Ok(asked_for.then_some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            // Started by `cargo test --benches`, which wants to see that it starts and no more.
            eprintln!("this is a bench: cargo bench --bench outage -- {USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    println!(
        "{} requests a second of a wallet, {} s each of calm, outage and recovery; ms from when a request was due\n",
        options.rate,
        options.phase.as_secs()
    );
    println!(
        "{:<34} {:>8} {:>6} {:>6} | {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>6} {:>6} | {:>9}",
        "", "requests", "failed", "wrong", "calm", "p99", "outage", "p99", "max", "after", "p99", "late p99"
    );
    let (mut rows, mut unwell) = (Vec::new(), 0);
    for (name, fault) in FAULTS.into_iter().take(options.faults) {
        progress(name);
        let report = one(options, fault).await?;
        progress("");
        let Some(target) = report.targets.first() else { continue };
        let whole = &target.whole;
        unwell += whole.failed + whole.wrong;
        let of = |part: usize| target.parts.get(part).map_or(Counts::default(), |part| part.counts).latency;
        let (calm, outage, after) = (of(0), of(1), of(2));
        println!(
            "{:<34} {:>8} {:>6} {:>6} | {:>6.1} {:>6.1} | {:>6.1} {:>6.1} {:>6.1} | {:>6.1} {:>6.1} | {:>9.2}",
            name,
            whole.requests,
            whole.failed,
            whole.wrong,
            calm.p50_ms,
            calm.p99_ms,
            outage.p50_ms,
            outage.p99_ms,
            outage.max_ms,
            after.p50_ms,
            after.p99_ms,
            report.generator.late.p99_ms,
        );
        rows.push(json!({ "fault": name, "report": report }));
    }
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", Value::from(rows)))
            .map_err(|error| format!("{path}: {error}"))?;
    }
    match unwell {
        0 => Ok(()),
        unwell => Err(format!("{unwell} requests failed or were answered wrongly: the outage was noticed")),
    }
}

/// A fleet of its own for each fault, so that none has a past.
async fn one(options: &Options, fault: Fault) -> Result<Report, String> {
    let (simulation, mut config) = Simulation::start(&Settings::default(), None).map_err(text)?;
    config.transactions.journal = None;
    let gateway = simulation.gateway(&config).map_err(text)?;
    let served = Loopback::serve(&gateway, &config.server).await.map_err(text)?;
    let asked = Instant::now();
    while gateway
        .status()
        .chains
        .iter()
        .flat_map(|chain| &chain.backends)
        .any(|backend| backend.state != "ok")
    {
        if asked.elapsed() > READY_WITHIN {
            return Err("the simulated clouds are not all in use".to_owned());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let phase = options.phase;
    let mark = |at, name: &str| Mark { at, name: name.to_owned() };
    let settings = load::Settings {
        rate: Rate::constant(options.rate).map_err(text)?,
        duration: phase * 3,
        marks: vec![mark(phase, "outage"), mark(phase * 2, "after")],
        ..load::Settings::new(Target::new(BackendUrl::http(&served.url()).map_err(text)?))
    };
    let (begin, began) = tokio::sync::oneshot::channel();
    let mut begin = Some(begin);
    let dying = async {
        let Ok(at) = began.await else { return };
        let cloud = &simulation.backends()[VICTIM];
        sleep_until(tokio::time::Instant::from_std(at + phase)).await;
        cloud.set(Some(fault));
        sleep_until(tokio::time::Instant::from_std(at + phase * 2)).await;
        cloud.set(None);
    };
    let stop = CancellationToken::new();
    let loading = load::run(&settings, &stop, |event| {
        if let Event::Measuring { at, .. } = event
            && let Some(begin) = begin.take()
        {
            let _ = begin.send(at);
        }
    });
    let (report, ()) = tokio::join!(loading, dying);
    report.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Replaces the line before it on a terminal; nobody else is told.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
