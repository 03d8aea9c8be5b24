//! `outrigger check`: what is wrong with a configuration, and what would fail together.

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::config::{self, Config};
use crate::gateway::{ChainSurvey, DerivedStatus, DomainStatus, Examination, Gateway, survey};

use super::style::{BAD, DOUBTFUL, GOOD, STRONG, styled};
use super::{Common, Outcome, style};

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    common: Common,
    /// Ask every backend for its chain and its head.
    #[arg(long)]
    probe: bool,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// The result as a program reads it.
#[derive(Debug, Serialize)]
struct Report {
    chains: Vec<ChainReport>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<Vec<Examination>>,
}

#[derive(Debug, Serialize)]
struct ChainReport {
    name: String,
    chain_id: u64,
    backends: Vec<BackendReport>,
    independent: usize,
    effective: f64,
    findings: Vec<String>,
    mends: Vec<String>,
    contradictions: Vec<String>,
    #[serde(skip)]
    effective_in_words: String,
}

#[derive(Debug, Serialize)]
struct BackendReport {
    name: String,
    endpoint: String,
    tier: &'static str,
    domains: Vec<String>,
    derived: Vec<DerivedStatus>,
}

pub(super) fn run(args: &CheckArgs) -> Outcome {
    let (config, _) = match args.common.load() {
        Ok(loaded) => loaded,
        Err(outcome) => return outcome,
    };
    let (surveys, probes) = match args.probe.then(|| probe(&config, args.json)).transpose() {
        Ok(Some((surveys, probes))) => (surveys, Some(probes)),
        Ok(None) => (survey(&config), None),
        Err(message) => {
            style::complain(&message);
            return Outcome::WrongUsage;
        }
    };
    let report = Report {
        chains: config
            .chains
            .iter()
            .zip(surveys)
            .map(|(chain, survey)| chain_report(chain, survey))
            .collect(),
        notes: config.notes().to_vec(),
        probes,
    };
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => style::say(text),
            Err(error) => style::complain(&error.to_string()),
        }
    } else {
        print(&report);
    }
    let unfit = report.probes.iter().flatten().any(|probe| !probe.fit);
    if unfit { Outcome::Failed } else { Outcome::Done }
}

fn chain_report(chain: &config::Chain, survey: ChainSurvey) -> ChainReport {
    let effective_in_words = survey.domains.effective_in_words();
    let backends = chain
        .backends
        .iter()
        .zip(survey.backends)
        .map(|(backend, survey)| BackendReport {
            name: survey.name,
            endpoint: backend.url.to_string(),
            tier: match (backend.cordoned, backend.private, backend.tier) {
                (true, ..) => "cordoned",
                (_, true, _) => "private",
                (_, _, config::Tier::Primary) => "primary",
                (_, _, config::Tier::Backup) => "backup",
            },
            domains: survey.domains,
            derived: survey.derived,
        })
        .collect();
    let DomainStatus { independent, effective, findings, mends, contradictions, .. } = survey.domains;
    ChainReport {
        name: survey.name,
        chain_id: chain.chain_id,
        backends,
        independent,
        effective,
        findings,
        mends,
        contradictions,
        effective_in_words,
    }
}

/// Asks every backend; what was seen of their failure domains on the way, and what they said.
fn probe(config: &Config, quiet: bool) -> Result<(Vec<ChainSurvey>, Vec<Examination>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let backends = config.chains.iter().map(|chain| chain.backends.len() as u64).sum();
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(backends), target);
    if let Ok(look) = ProgressStyle::with_template("asking {pos}/{len} backends {bar:30} {msg}") {
        bar.set_style(look);
    }
    let found = runtime.block_on(async {
        let mut config = config.clone();
        // It may be another process's, and nothing is sent here.
        config.transactions.journal = None;
        let gateway = Gateway::new(&config).map_err(|error| error.to_string())?;
        let found = gateway
            .examine(|one| {
                bar.set_message(one.backend.clone());
                bar.inc(1);
            })
            .await;
        Ok((gateway.survey(), found))
    });
    bar.finish_and_clear();
    runtime.shutdown_background();
    found
}

fn print(report: &Report) {
    for chain in &report.chains {
        style::say(format!("{} (chain id {})", styled(STRONG, &chain.name), chain.chain_id));
        style::say(backend_table(chain, report.probes.as_deref()));
        let colour = if chain.independent > 1 { GOOD } else { DOUBTFUL };
        style::say(format!(
            "  {} backends, effectively {} independent",
            chain.backends.len(),
            styled(colour, &chain.effective_in_words)
        ));
        for finding in &chain.findings {
            style::say(format!("  {} {finding}", styled(DOUBTFUL, "!")));
        }
        for mend in &chain.mends {
            style::say(format!("    {mend}"));
        }
        for backend in &chain.backends {
            for DerivedStatus { label, from } in &backend.derived {
                style::say(format!("  {} lies in {label}, by its {from}", backend.name));
            }
        }
        for contradiction in &chain.contradictions {
            style::say(format!("  {} {contradiction}", styled(DOUBTFUL, "!")));
        }
        for probe in report.probes.iter().flatten().filter(|probe| probe.chain == chain.name && !probe.fit) {
            let mend = probe.mend.unwrap_or_default();
            style::say(format!("  {} {}: {}; {mend}", styled(BAD, "x"), probe.backend, probe.finding));
        }
        style::say("");
    }
    for note in &report.notes {
        style::say(format!("{} {note}", styled(STRONG, "note:")));
    }
}

fn backend_table(chain: &ChainReport, probes: Option<&[Examination]>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let mut head = vec!["  backend", "tier", "endpoint", "failure domains"];
    if probes.is_some() {
        head.extend(["answer", "head", "ms"]);
    }
    table.set_header(head);
    for backend in &chain.backends {
        let mut row = vec![
            format!("  {}", backend.name),
            backend.tier.to_owned(),
            backend.endpoint.clone(),
            backend.domains.join(" "),
        ];
        let probe = probes
            .and_then(|probes| probes.iter().find(|p| p.chain == chain.name && p.backend == backend.name));
        if let Some(probe) = probe {
            row.push(probe.finding.to_owned());
            row.push(probe.head.map(|head| head.to_string()).unwrap_or_default());
            row.push(probe.latency_ms.map(|ms| ms.to_string()).unwrap_or_default());
        }
        table.add_row(row);
    }
    table
}
