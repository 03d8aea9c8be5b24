//! End to end: what Outrigger costs beside a direct call and beside plain reverse proxies.
//!
//!     cargo bench --bench proxy                      # seven rounds, about six minutes
//!     cargo bench --bench proxy -- --quick           # two short rounds
//!     cargo bench --bench proxy -- --json out.json http://127.0.0.1:8545/    # and whatever you name
//!
//! A fixture backend and a closed-loop load generator live in this process; Outrigger, and nginx and HAProxy where
//! they are installed, are processes of their own in front of the same backend. Subjects take turns within each
//! round and the medians over the rounds count, since machines drift. Requests a second and latencies of a closed
//! loop say how subjects compare, not what an open world would see. CPU per request is the kernel's own accounting of
//! the proxy's processes, and holds still where the rest does not.

mod backend;
mod load;
mod subject;

use std::collections::BTreeMap;
use std::time::Duration;

use load::{Measured, measure};
use subject::Subject;

/// Answer sizes: a block number, a block, a wide range of logs. The method tells the fixture which one is meant.
const ANSWERS: [(&str, &str, usize); 3] = [
    ("60 B", "eth_blockNumber", 20),
    ("30 KB", "eth_getBlockByNumber", 30_000),
    ("1 MB", "eth_getLogs", 1_000_000),
];
const CONNECTIONS: [usize; 2] = [1, 64];

struct Options {
    rounds: usize,
    window: Duration,
    json: Option<String>,
    urls: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { rounds: 7, window: Duration::from_millis(1500), json: None, urls: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {} // cargo says so
            "--quick" => (options.rounds, options.window) = (2, Duration::from_millis(400)),
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|_| "--rounds takes a number".to_owned())?
            }
            "--seconds" => {
                let seconds: f64 = value()?.parse().map_err(|_| "--seconds takes a number".to_owned())?;
                options.window = Duration::from_secs_f64(seconds.clamp(0.1, 60.0));
            }
            "--json" => options.json = Some(value()?),
            url if url.starts_with("http://") => options.urls.push(url.to_owned()),
            other => {
                return Err(format!(
                    "unknown argument {other}: --quick, --rounds N, --seconds S, --json FILE, URL"
                ));
            }
        }
    }
    Ok(options)
}

fn main() {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(options));
}

/// (answer, connections, subject) -> one measurement a round.
type Table = BTreeMap<(usize, usize, usize), Vec<Measured>>;

async fn run(options: Options) {
    let backend = backend::start(ANSWERS.map(|(_, method, bytes)| (method, bytes))).await;
    let mut subjects = Subject::all(&backend, &options.urls).await;
    let mut table = Table::new();
    for round in 0..options.rounds {
        for (answer, (name, method, _)) in ANSWERS.iter().enumerate() {
            for connections in CONNECTIONS {
                for (at, subject) in subjects.iter_mut().enumerate() {
                    eprint!(
                        "\r\x1b[Kround {} of {}: {name}, {connections} connections, {}",
                        round + 1,
                        options.rounds,
                        subject.name
                    );
                    let measured = measure(subject, method, connections, options.window).await;
                    table.entry((answer, connections, at)).or_default().push(measured);
                }
            }
        }
    }
    eprintln!("\r\x1b[K");
    print(&table, &subjects);
    if let Some(path) = options.json {
        std::fs::write(&path, json(&table, &subjects).to_string())
            .unwrap_or_else(|error| eprintln!("{path}: {error}"));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(table: &Table, subjects: &[Subject]) {
    println!(
        "{:<7} {:>5} {:<11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "answer", "conns", "subject", "req/s", "p50 us", "p99 us", "+p50 us", "CPU us", "RSS MiB"
    );
    for (&(answer, connections, at), rounds) in table {
        let of = |pick: fn(&Measured) -> f64| median(rounds.iter().map(pick).collect());
        let direct = table
            .get(&(answer, connections, 0))
            .map_or(f64::NAN, |direct| median(direct.iter().map(|measured| measured.p50_us).collect()));
        println!(
            "{:<7} {:>5} {:<11} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1}",
            ANSWERS[answer].0,
            connections,
            subjects[at].name,
            of(|m| m.requests_per_s),
            of(|m| m.p50_us),
            of(|m| m.p99_us),
            of(|m| m.p50_us) - direct,
            of(|m| m.cpu_us),
            of(|m| m.rss_mib),
        );
    }
}

fn json(table: &Table, subjects: &[Subject]) -> serde_json::Value {
    table
        .iter()
        .map(|(&(answer, connections, at), rounds)| {
            let of = |pick: fn(&Measured) -> f64| median(rounds.iter().map(pick).collect());
            serde_json::json!({
                "answer": ANSWERS[answer].0, "connections": connections, "subject": subjects[at].name,
                "rounds": rounds.len(), "requests_per_s": of(|m| m.requests_per_s), "p50_us": of(|m| m.p50_us),
                "p99_us": of(|m| m.p99_us), "cpu_us": of(|m| m.cpu_us), "rss_mib": of(|m| m.rss_mib),
                "failed": rounds.iter().map(|m| m.failed).sum::<u64>(),
            })
        })
        .collect()
}
