//! `outrigger drill` as a process: recorded incidents against the policy, from the command line.

mod loopback;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A scenario that any policy passes, over in a moment.
const EASY: &str = r#"
id = "EASY"
title = "nothing happens"
duration = "5s"
chain = { id = 1, block_time = "12s", simulated_block_time = "1s" }
load = { reads = 20 }
[[backends]]
name = "a"
error_rate = 0
latency = { p50 = "20ms", p99 = "40ms" }
[[phases]]
name = "calm"
start = "0s"
end = "5s"
[expect]
read_availability = 1.0
transactions_lost = 0
"#;

fn drill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).arg("drill").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn the_list_names_every_scenario_and_its_history() {
    let output = drill(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    for words in ["S01  AWS Tokyo", "2025-04-15", "S41  Accept and hang"] {
        assert!(said.contains(words), "{words}");
    }
    let list = json(&drill(&["--list", "--json"]));
    let ways = |way: &str| list.as_array().unwrap().iter().filter(|one| one["way"] == way).count();
    assert_eq!((ways("virtual"), ways("loopback")), (30, 15));
}

#[test]
fn a_passed_drill_exits_with_0_and_skips_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let easy = file(dir.path(), "easy.toml", EASY);
    let output = drill(&["--scenario", &easy, "--seed", "3"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // Of met, missed and skipped.
    assert!(said.contains("EASY") && said.contains("2/0/0"), "{said}");
}

#[test]
fn a_missed_expectation_exits_with_1_and_names_the_command_that_replays_it() {
    let dir = tempfile::tempdir().unwrap();
    let hopeless = EASY
        .replace("end = \"5s\"", "end = \"5s\"\n[[phases.faults]]\nat = \"*\"\noutcomes = { http_503 = 1 }")
        .replace("id = \"EASY\"", "id = \"HOPELESS\"");
    let path = file(dir.path(), "hopeless.toml", &hopeless);
    let output = drill(&["--scenario", &path, "--seeds", "3-4", "--labels", "none"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("missed: HOPELESS with labels none: read availability was 0 %"), "{said}");
    assert!(said.contains(&format!("outrigger drill --seeds 3-4 --labels none --scenario {path}")), "{said}");
}

#[test]
fn the_same_seed_replays_the_same_run_and_each_rival_stands_beside_it() {
    let args = ["S41", "--seed", "7", "--labels", "each", "--compare", "all", "--json"];
    let (first, second) = (json(&drill(&args)), json(&drill(&args)));
    assert_eq!(first, second);
    let who: Vec<_> = first["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["policy"].as_str().unwrap(), run["labels"].as_str().unwrap_or("-")))
        .collect();
    let expected = [
        ("outrigger", "all"),
        ("outrigger", "provider"),
        ("outrigger", "none"),
        ("roundrobin", "-"),
        ("primary", "-"),
        ("single", "-"),
    ];
    assert_eq!(who, expected);
    let other = json(&drill(&["S41", "--seed", "8", "--json"]));
    assert_ne!(first["runs"][0]["digests"], other["runs"][0]["digests"]);
}

#[test]
fn all_but_what_is_said_in_words_is_judged() {
    let report = json(&drill(&["S13", "S30", "--json"]));
    for run in report["runs"].as_array().unwrap() {
        for one in run["expectations"].as_array().unwrap() {
            let (key, verdict) = (one["expectation"].as_str().unwrap(), one["verdict"].as_str());
            match key {
                "also" => assert_eq!(one["reason"].as_str(), Some("said in words")),
                _ => assert_ne!(verdict, Some("skipped"), "{one}"),
            }
        }
    }
}

#[test]
fn an_incident_is_replayed_against_the_backends_of_ones_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "outrigger.toml",
        "[[chains.mainnet.backends]]\nname = \"mine\"\nurl = \"http://127.0.0.1:1\"\ncloud = \"aws\"\n\
         region = \"us-east-1\"\n[[chains.mainnet.backends]]\nname = \"far\"\nurl = \"http://127.0.0.1:2\"\n\
         cloud = \"gcp\"\n",
    );
    let report = json(&drill(&["S02", "S10", "--config", &config, "--json"]));
    assert_eq!(report["runs"][0]["timeline"]["backends"], serde_json::json!(["mine", "far"]));
    let remarks = report["remarks"].to_string();
    assert!(remarks.contains("S10: none of your backends lies in edge:cloudflare"), "{remarks}");
    assert!(!remarks.contains("S02: none of your backends lies in region"), "{remarks}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_was_probably_meant() {
    let dir = tempfile::tempdir().unwrap();
    let broken = file(dir.path(), "broken.toml", &EASY.replace("latency", "latancy"));
    let cases: [(&[&str], &str); 6] = [
        (&[], "`--list` shows them"),
        (&["S0Q2"], "did you mean S02?"),
        (&["S01", "--seeds", "5-1"], "is no range of seeds"),
        (&["S01", "--labels", "some"], "possible values"),
        (&["--scenario", &broken], "unknown field `latancy`"),
        (&["S01", "--config", "/nowhere/outrigger.toml"], "cannot be read"),
    ];
    for (args, said) in cases {
        let output = drill(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let errors = text(&output.stderr);
        assert!(errors.contains(said), "{args:?}: {errors}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// Every shipped scenario runs to its end, whatever the labels.
#[test]
fn every_shipped_scenario_runs() {
    let report = json(&drill(&["--all", "--json"]));
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 30);
    for run in runs {
        assert!(run["summary"]["requests"].as_u64() > Some(1000), "{}", run["scenario"]);
        assert!(!run["expectations"].as_array().unwrap().is_empty(), "{}", run["scenario"]);
    }
}
