//! `outrigger serve`: the proxy.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Listen};
use crate::gateway::{ChainStatus, Gateway};
use crate::server::{App, Cores, Draining, Server};
use crate::simulation::Simulation;

use super::simulate::SimulateArgs;
use super::style::{DOUBTFUL, GOOD, STRONG, styled};
use super::{Common, Outcome, memory, style};

/// After this without any usable backend the operator is told.
const SAY_NOT_READY_AFTER: Duration = Duration::from_secs(3);

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    common: Common,
    /// Address to listen on instead of the configured ones, as 127.0.0.1:8545; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    simulated: SimulateArgs,
}

pub(super) fn run(args: &ServeArgs) -> Outcome {
    // One thread looks after backends and chains; clients' connections have their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (runtime, cores) = match runtime.and_then(|runtime| Ok((runtime, Cores::start(cores())?))) {
        Ok(started) => started,
        Err(error) => {
            style::complain(&format!("cannot start: {error}"));
            return Outcome::Failed;
        }
    };
    let inside = runtime.enter();
    let outcome =
        prepare(args).map_or_else(|outcome| outcome, |prepared| runtime.block_on(serve(&prepared, cores)));
    drop(inside);
    // Look-ups that hang in the system's resolver must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// How many threads serve clients: one a core, or as tokio's own variable says.
fn cores() -> usize {
    let asked = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|count| count.parse().ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// All that serving needs.
struct Prepared {
    config: Config,
    /// What to try next, one line each.
    hints: Vec<String>,
    simulation: Option<Simulation>,
}

fn prepare(args: &ServeArgs) -> Result<Prepared, Outcome> {
    let mut prepared = if args.simulated.simulate {
        let named = args.common.load_named()?;
        let (simulation, config) = args.simulated.start(named.as_ref())?;
        Prepared { config, hints: args.simulated.hints(), simulation: Some(simulation) }
    } else {
        let (config, file) = args.common.load()?;
        let yours = "  yours     `outrigger config init` writes a file for your own providers".to_owned();
        let hints = file.is_none().then_some(yours).into_iter().collect();
        Prepared { config, hints, simulation: None }
    };
    let config = &mut prepared.config;
    if let Some(address) = &args.listen {
        match address.parse::<Listen>() {
            Ok(listen) => config.server.listen = listen,
            Err(error) => {
                style::complain(&format!("--listen {address} {error}"));
                return Err(Outcome::WrongUsage);
            }
        }
    }
    let journal = &mut config.transactions.journal;
    if prepared.simulation.is_some() {
        // Its chain is gone when it ends.
        *journal = None;
    } else if journal.is_none() {
        *journal = memory::default_journal();
        if journal.is_none() {
            tracing::warn!(
                "transactions are not journalled: there is no home folder, and no transactions.journal"
            );
        }
    }
    for note in config.notes() {
        tracing::warn!("{note}");
    }
    Ok(prepared)
}

async fn serve(prepared: &Prepared, cores: Cores) -> Outcome {
    let config = &prepared.config;
    let gateway = match Gateway::new(config) {
        Ok(gateway) => gateway,
        Err(error) => {
            style::complain(&error.to_string());
            return Outcome::WrongUsage;
        }
    };
    let server = match Server::bind(&config.server).await {
        Ok(server) => server.on(cores),
        Err(error) => {
            style::complain(&error.to_string());
            return Outcome::Failed;
        }
    };
    welcome(&gateway, &server, &prepared.hints);
    // A simulated fleet is new each time: nothing of it is worth keeping.
    let file = memory::default_file(&gateway).filter(|_| prepared.simulation.is_none());
    if let Some(file) = &file {
        memory::recall(&gateway, file);
    }
    let keeper = file.clone().map(|file| tokio::spawn(memory::keep(gateway.clone(), file)));
    let (stop, draining) = (CancellationToken::new(), Draining::default());
    let signals = tokio::spawn(leave_on_signal(stop.clone(), draining.clone()));
    let observer = tokio::spawn(say_whether_ready(gateway.clone()));
    let app = App::new(gateway.clone(), &config.server, draining);
    server.serve(app, stop).await;
    if let Some(keeper) = keeper {
        keeper.abort();
    }
    if let Some(file) = &file {
        memory::save(&gateway, file);
    }
    observer.abort();
    signals.abort();
    tracing::info!("stopped");
    Outcome::Done
}

/// Where it listens, what it serves, how far that is from one point of failure, and what to do next.
fn welcome(gateway: &Gateway, server: &Server, hints: &[String]) {
    let scheme = if server.is_tls() { "https" } else { "http" };
    let urls: Vec<String> = server.addresses().iter().map(|address| url(scheme, *address)).collect();
    let status = gateway.status();
    let Some(first) = status.chains.first() else { return };
    let mut out = anstream::stdout().lock();
    let mut say = |line: String| {
        // A closed standard output is no reason not to serve.
        let _ = writeln!(out, "{line}");
    };
    say(format!("{} {} listens on {}", styled(STRONG, "outrigger"), status.version, urls.join(" and ")));
    say(format!("  chains    {}", chains(&status.chains)));
    say(format!("  backends  {}", domains(first)));
    let local = urls.first().map_or("", String::as_str);
    say(format!(
        "  MetaMask  Networks > {} > Add RPC URL > {local}  (chain id {})",
        if first.chain_id == 1 { "Ethereum" } else { "Add a custom network" },
        first.chain_id
    ));
    for hint in hints {
        say(hint.clone());
    }
    let _ = out.flush();
}

fn url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}

fn chains(chains: &[ChainStatus]) -> String {
    /// More names than this fill the line.
    const NAMED_MAX: usize = 12;
    let named: Vec<String> = chains
        .iter()
        .take(NAMED_MAX)
        .enumerate()
        .map(
            |(at, chain)| if at == 0 { format!("{} (at /)", chain.name) } else { format!("/{}", chain.name) },
        )
        .collect();
    let more = chains.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("{} and {more} more", named.join(" ")) } else { named.join(" ") }
}

fn domains(chain: &ChainStatus) -> String {
    let independent = chain.domains.independent;
    let style = if independent > 1 { GOOD } else { DOUBTFUL };
    let counted = format!(
        "{}: {} backends, effectively {} independent",
        chain.name,
        chain.backends.len(),
        styled(style, chain.domains.effective_in_words())
    );
    match chain.domains.findings.is_empty() {
        true => counted,
        false => format!("{counted} ({})", chain.domains.findings.join("; ")),
    }
}

/// The first signal lets requests under way finish, the second does not wait for them.
async fn leave_on_signal(stop: CancellationToken, draining: Draining) {
    let mut signals = Signals::listen();
    signals.next().await;
    draining.begin();
    tracing::info!("stopping: requests under way are finished first");
    stop.cancel();
    signals.next().await;
    std::process::exit(1);
}

/// What asks the process to leave. Listened to once for all signals: between two listeners one would be lost.
#[cfg(unix)]
struct Signals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let both = signal(SignalKind::terminate()).and_then(|t| Ok([t, signal(SignalKind::interrupt())?]));
        Self(both.ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some([terminate, interrupt]) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// One line when nothing can be reached, one when something can again.
async fn say_whether_ready(gateway: Gateway) {
    let mut said_not_ready = false;
    sleep(SAY_NOT_READY_AFTER).await;
    loop {
        let status = gateway.status();
        if !status.ready && !said_not_ready {
            said_not_ready = true;
            let why = status.chains.first().map(why_not_ready).unwrap_or_default();
            tracing::warn!(
                "no backend can be reached ({why}); still trying, local answers are given meanwhile"
            );
        } else if status.ready && said_not_ready {
            said_not_ready = false;
            tracing::info!("backends can be reached again");
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn why_not_ready(chain: &ChainStatus) -> String {
    /// Enough to see a pattern in one line.
    const NAMED_MAX: usize = 4;
    let one =
        |b: &crate::gateway::BackendStatus| format!("{}: {}", b.name, b.reason.as_deref().unwrap_or(b.state));
    chain.backends.iter().take(NAMED_MAX).map(one).collect::<Vec<_>>().join(", ")
}
