//! End to end: what Outrigger costs beside a direct call and beside plain reverse proxies.
//!
//!     cargo bench --bench proxy                      # seven rounds, about five minutes
//!     cargo bench --bench proxy -- --quick           # two short rounds, under twenty seconds
//!     cargo bench --bench proxy -- --only outrigger --only haproxy --case 60B --connections 64
//!     cargo bench --bench proxy -- --json out.json --backend-port 9545 http://127.0.0.1:8545/#4711
//!
//! The last form measures one more program, already running in front of `--backend-port`; `#4711` is its process.
//! `OUTRIGGER_BIN=/path` measures an `outrigger` that was built elsewhere.
//!
//! The fixture backend is a process of its own, and so are Outrigger, nginx and HAProxy (those that are installed);
//! this one is the load generator, on one thread. Subjects take turns within each round, and medians over the
//! rounds count, since machines drift. The loop is closed: requests a second and latencies say how subjects
//! compare, not what an open world would see. CPU per request is the kernel's own accounting of the proxy's
//! processes, and holds still where the rest does not.

mod backend;
mod case;
#[allow(dead_code)] // the tests use more of it
#[path = "../../tests/it/lab/leash.rs"]
mod leash;
mod load;
#[path = "../../tests/it/lab/ports.rs"]
mod ports;
mod report;
mod subject;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use backend::Backend;
use case::{CASES, Case};
use report::{Machine, Report};
use subject::Subject;

const CONNECTIONS: [usize; 2] = [1, 64];
const USAGE: &str = "--quick, --rounds N, --seconds S, --json FILE, --case NAME, --connections N, --only SUBJECT, \
                     --backend-port PORT, http://127.0.0.1:PORT/[#PID]";

struct Options {
    rounds: usize,
    window: Duration,
    json: Option<String>,
    /// Names of those that are measured; everything where there are none.
    cases: Vec<String>,
    connections: Vec<usize>,
    only: Vec<String>,
    backend_port: u16,
    urls: Vec<String>,
}

impl Options {
    fn usual() -> Self {
        Self {
            rounds: 7,
            window: Duration::from_secs(1),
            json: None,
            cases: Vec::new(),
            connections: Vec::new(),
            only: Vec::new(),
            backend_port: 0,
            urls: Vec::new(),
        }
    }

    fn connections(&self) -> Vec<usize> {
        if self.connections.is_empty() { CONNECTIONS.to_vec() } else { self.connections.clone() }
    }

    fn wants(&self, case: &Case) -> bool {
        let named = |name: &String| name.replace(' ', "") == case.name.replace(' ', "");
        self.cases.is_empty() || self.cases.iter().any(named)
    }
}

/// What this process is to be.
enum Role {
    Bench(Options),
    Backend(u16),
    /// Started by `cargo test --benches`, which wants to see that it starts and no more.
    Nothing,
}

fn role(arguments: impl Iterator<Item = String>) -> Result<Role, String> {
    let mut options = Options::usual();
    let mut asked_for = false;
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let mut number = |least: f64, most: f64| {
            let given = value()?.parse().ok().filter(|n| (least..=most).contains(n));
            given.ok_or(format!("{argument} takes a number from {least} to {most}"))
        };
        match argument.as_str() {
            "--bench" => asked_for = true,
            backend::ARGUMENT => return Ok(Role::Backend(number(0.0, 65_535.0)? as u16)),
            "--quick" => (options.rounds, options.window) = (2, Duration::from_millis(200)),
            "--rounds" => options.rounds = number(1.0, 1000.0)? as usize,
            "--seconds" => options.window = Duration::from_secs_f64(number(0.1, 60.0)?),
            "--json" => options.json = Some(value()?),
            "--case" => options.cases.push(value()?),
            "--connections" => options.connections.push(number(1.0, 10_000.0)? as usize),
            "--only" => options.only.push(value()?),
            "--backend-port" => options.backend_port = number(1.0, 65_535.0)? as u16,
            url if url.starts_with("http://") => options.urls.push(url.to_owned()),
            other => return Err(format!("unknown argument {other}; there are {USAGE}")),
        }
    }
    Ok(if asked_for { Role::Bench(options) } else { Role::Nothing })
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = match role(std::env::args().skip(1)) {
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
        Ok(Role::Nothing) => {
            eprintln!("this is a bench: cargo bench --bench proxy -- {USAGE}");
            Ok(())
        }
        Ok(Role::Backend(port)) => runtime.block_on(backend::serve(port)).map_err(|error| error.to_string()),
        Ok(Role::Bench(options)) => runtime.block_on(run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    let machine = Machine::this();
    let backend = Backend::start(options.backend_port)?;
    let subjects = Subject::all(&backend.address, &options.urls, &options.only).await?;
    let mut report = Report::default();
    for round in 0..options.rounds {
        for (at_case, case) in CASES.into_iter().enumerate().filter(|(_, case)| options.wants(case)) {
            for connections in options.connections() {
                for (at, subject) in subjects.iter().enumerate() {
                    let (round, rounds) = (round + 1, options.rounds);
                    progress(&format!(
                        "round {round} of {rounds}: {}, {connections} connections, {}",
                        case.name, subject.name
                    ));
                    let measured = load::measure(subject, case, connections, options.window).await;
                    report.add(at_case, connections, at, measured);
                }
            }
        }
    }
    progress("");
    report.print(&machine, &subjects);
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json(&machine, &subjects)))
            .map_err(|error| format!("{path}: {error}"))?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(format!("{failed} requests were not answered well: the figures are not to be trusted")),
    }
}

/// Replaces the line before it on a terminal; nobody else is told.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
