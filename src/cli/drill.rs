//! `outrigger drill`: how this policy, and simpler ones, would have fared in recorded incidents.

mod loopback;
mod own_fleet;
mod report;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::report::{Report, Run};
use super::style::{self, STRONG, styled};
use super::{Outcome, say_mistakes};
use crate::config::{Config, Routing};
use crate::drill::{self, LabelMode, Measures, Outrigger, Rival, RivalKind, Scenario};

/// Seeds of one command: each is a run of its own.
const SEEDS_MAX: u64 = 1000;

/// Options of `drill`.
///
/// Exit code 0 when every expectation is met, 1 when one is missed, 2 for wrong usage.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  outrigger drill --list
  outrigger drill S02 S10 --seed 7
  outrigger drill S02 --seeds 1-20 --labels each
  outrigger drill --all --compare roundrobin
  outrigger drill S09 --config outrigger.toml    the incident against your own fleet
  outrigger drill --loopback                     over real sockets, in every way that a cloud can fail
  outrigger drill --loopback refuse hang --rate 200")]
pub(super) struct DrillArgs {
    /// Scenarios to replay; with --loopback the names of faults.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Show the scenarios that come with the program, and the faults of --loopback.
    #[arg(long, conflicts_with_all = ["ids", "all", "scenario"])]
    list: bool,
    /// Replay every scenario that comes with the program.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// What chance is drawn from; the same seed gives the same run.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// One run for each of these seeds.
    #[arg(long, value_name = "A-B", value_parser = seeds)]
    seeds: Option<Seeds>,
    /// Which failure-domain labels the policy is told.
    #[arg(long, value_enum, default_value_t = Labels::All)]
    labels: Labels,
    /// Simpler policies to run on the same world and seed.
    #[arg(long, value_enum)]
    compare: Option<Compare>,
    /// Put the backends of this configuration into the scenarios, or in the place of the three clouds.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A scenario of your own; docs/scenarios.md describes the format.
    #[arg(long, value_name = "FILE")]
    scenario: Vec<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sockets: loopback::LoopbackArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Labels {
    /// Every label.
    All,
    /// Only who provides a backend.
    Provider,
    /// None: what fails together must be learned.
    None,
    /// One after the other.
    Each,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compare {
    /// The next backend for each request, and after an error.
    Roundrobin,
    /// The first backend; after an error the next.
    Primary,
    /// The first backend alone.
    Single,
    /// All three.
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seeds(RangeInclusive<u64>);

/// Who is steering.
#[derive(Clone, Copy, Debug)]
enum Policy {
    Outrigger(LabelMode),
    Rival(RivalKind),
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Self::Outrigger(_) => "outrigger",
            Self::Rival(kind) => kind.name(),
        }
    }

    fn labels(self) -> Option<&'static str> {
        match self {
            Self::Outrigger(labels) => Some(labels.name()),
            Self::Rival(_) => None,
        }
    }

    fn replay(self, scenario: &Scenario, seed: u64, routing: &Routing) -> Measures {
        match self {
            Self::Outrigger(labels) => {
                drill::replay(scenario, seed, &mut Outrigger::new(scenario, labels, routing, seed))
            }
            Self::Rival(kind) => drill::replay(scenario, seed, &mut Rival::new(kind, scenario)),
        }
    }
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let wrong = || format!("is no range of seeds: write 1-20, at most {SEEDS_MAX} of them");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) =
        (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
    let fits = first <= last && last - first < SEEDS_MAX;
    if fits { Ok(Seeds(first..=last)) } else { Err(wrong()) }
}

pub(super) fn run(args: &DrillArgs) -> Outcome {
    if args.list {
        return list(args.json);
    }
    if args.sockets.loopback {
        return loopback::run(args);
    }
    let mut scenarios = match scenarios(args) {
        Ok(scenarios) => scenarios,
        Err(message) => {
            style::complain(&message);
            return Outcome::WrongUsage;
        }
    };
    let (mut routing, mut remarks) = (Config::presets().routing, Vec::new());
    if let Some(path) = &args.config {
        let config = match Config::from_file(path) {
            Ok(config) => config,
            Err(errors) => return say_mistakes(&errors),
        };
        for scenario in &mut scenarios {
            match own_fleet::put(&config, scenario) {
                Ok(said) => remarks.extend(said),
                Err(message) => {
                    style::complain(&message);
                    return Outcome::WrongUsage;
                }
            }
        }
        routing = config.routing;
    }
    let report = replay_all(args, &scenarios, &routing, remarks);
    report.print(args.json);
    if report.is_met() { Outcome::Done } else { Outcome::Failed }
}

fn list(json: bool) -> Outcome {
    let shipped = drill::shipped();
    if json {
        let rows: Vec<_> = shipped
            .iter()
            .map(|s| serde_json::json!({ "id": s.id, "title": s.title, "history": s.history, "way": "virtual" }))
            .chain(drill::loopback::FAULTS.iter().map(
                |fault| serde_json::json!({ "id": fault.name, "title": fault.title, "way": "loopback" }),
            ))
            .collect();
        anstream::println!("{}", serde_json::Value::from(rows));
        return Outcome::Done;
    }
    for scenario in shipped {
        anstream::println!("{}  {}", styled(STRONG, &scenario.id), scenario.title);
        anstream::println!("     {}", scenario.history);
    }
    anstream::println!("\nwith --loopback, over real sockets:");
    for fault in drill::loopback::FAULTS {
        anstream::println!("{}  {}", styled(STRONG, format!("{:13}", fault.name)), fault.title);
    }
    Outcome::Done
}

fn scenarios(args: &DrillArgs) -> Result<Vec<Scenario>, String> {
    let mut scenarios = if args.all { drill::shipped() } else { Vec::new() };
    for id in &args.ids {
        scenarios.push(drill::find(id).ok_or_else(|| {
            let near = drill::nearest(id).map(|near| format!("; did you mean {near}?"));
            let id: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("no scenario is called {id}{}; `--list` shows them", near.unwrap_or_default())
        })?);
    }
    for path in &args.scenario {
        scenarios.push(Scenario::from_file(path).map_err(|errors| errors.to_string())?);
    }
    if scenarios.is_empty() {
        return Err("name the scenarios to replay, or --all; `--list` shows them".into());
    }
    Ok(scenarios)
}

fn policies(args: &DrillArgs) -> Vec<Policy> {
    let labels: &[LabelMode] = match args.labels {
        Labels::All => &[LabelMode::All],
        Labels::Provider => &[LabelMode::Provider],
        Labels::None => &[LabelMode::None],
        Labels::Each => &LabelMode::ALL,
    };
    let rivals: &[RivalKind] = match args.compare {
        None => &[],
        Some(Compare::Roundrobin) => &[RivalKind::RoundRobin],
        Some(Compare::Primary) => &[RivalKind::Primary],
        Some(Compare::Single) => &[RivalKind::Single],
        Some(Compare::All) => &RivalKind::ALL,
    };
    let own = labels.iter().map(|labels| Policy::Outrigger(*labels));
    own.chain(rivals.iter().map(|kind| Policy::Rival(*kind))).collect()
}

fn replay_all(args: &DrillArgs, scenarios: &[Scenario], routing: &Routing, remarks: Vec<String>) -> Report {
    let seeds = args.seeds.clone().unwrap_or(Seeds(args.seed..=args.seed)).0;
    let policies = policies(args);
    let each = seeds.end() - seeds.start() + 1;
    let total = scenarios.len() as u64 * policies.len() as u64 * each;
    let target = if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(look) = ProgressStyle::with_template("replaying {pos}/{len} {bar:30} {msg} {eta}") {
        bar.set_style(look);
    }
    let mut runs = Vec::new();
    for scenario in scenarios {
        for policy in &policies {
            bar.set_message(format!("{} {}", scenario.id, policy.name()));
            let measures: Vec<_> = seeds
                .clone()
                .map(|seed| {
                    let seen = policy.replay(scenario, seed, routing);
                    bar.inc(1);
                    seen
                })
                .collect();
            runs.push(Run::new(scenario, *policy, &seeds, &measures));
        }
    }
    bar.finish_and_clear();
    let mut again = Vec::new();
    if let Some(path) = &args.config {
        again.push(format!("--config {}", path.display()));
    }
    again.extend(args.scenario.iter().map(|path| format!("--scenario {}", path.display())));
    Report::new(seeds, runs, remarks, again.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_one() {
        assert_eq!(seeds("3-5"), Ok(Seeds(3..=5)));
        assert_eq!(seeds("7"), Ok(Seeds(7..=7)));
        for wrong in ["", "5-3", "a-b", "1-", "0-1000", "1-18446744073709551615"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
