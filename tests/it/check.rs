//! O6 and the command line: what is wrong is named, with its mend, and the exit code says so.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::lab::front::{Fault, Front};

fn outrigger(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

/// Everything a run said, and its exit code.
fn said(output: &Output) -> (String, i32) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap_or(-1))
}

fn run_check(toml: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("o.toml"), toml).expect("it is written");
    let arguments = [&["check", "--config", "o.toml"], arguments].concat();
    outrigger(folder.path(), &arguments, variables)
}

fn check(toml: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (String, i32) {
    said(&run_check(toml, arguments, variables))
}

#[test]
fn o6_every_mistake_of_a_file_is_named_at_once_with_line_and_mend() {
    let (text, code) = check(
        r#"[server]
listn = "127.0.0.1:8545"
max_batch = "many"

[chains.mainnet]
chain_id = 5

[[chains.mainnet.backends]]
name = "one"
url = "https://a.example/${NO_SUCH_KEY}"

[[chains.mainnet.backends]]
name = "one"
url = "htps://b.example"
"#,
        &[],
        &[],
    );
    assert_eq!(code, 2, "{text}");
    for expected in [
        "o.toml:2",
        "listn",
        "listen", // an unknown key, and the one that was meant
        "o.toml:3",
        "max_batch", // a wrong type
        "o.toml:6",
        "chain_id", // a contradiction
        "o.toml:10",
        "NO_SUCH_KEY", // an unset variable
        "o.toml:13",   // a duplicate name
        "o.toml:14",   // a bad scheme
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in:\n{text}");
    }
}

#[test]
fn o6_three_backends_in_one_cloud_are_said_to_be_one_cloud() {
    let backend = |n: u8| {
        format!(
            "[[chains.mainnet.backends]]\nname = \"p{n}\"\nurl = \"https://p{n}.example\"\nprovider = \"p{n}\"\ncloud = \"aws\"\n"
        )
    };
    let toml = [backend(1), backend(2), backend(3)].concat();
    let (text, code) = check(&toml, &[], &[]);
    assert!(text.contains("your 3 backends are 1 cloud (aws)"), "{text}");
    assert_eq!(code, 0, "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("o.toml"), toml).expect("it is written");
    let output = outrigger(folder.path(), &["check", "--config", "o.toml", "--json"], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    assert_eq!(report["chains"][0]["independent"], 1);
    assert_eq!(report["chains"][0]["backends"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn o6_a_probe_finds_wrong_chains_dead_retired_and_locked_backends_and_shows_no_key() {
    let table = json!({ "eth_chainId": "0x7a69", "eth_blockNumber": "0x10" });
    let mut fronts = Vec::new();
    for _ in 0..5 {
        fronts.push(Front::table(table.clone()).await);
    }
    fronts[1].set(Fault::ChainId(1)).await;
    fronts[2].set(Fault::Refuse).await;
    fronts[3]
        .set(Fault::respond(
            401,
            &[("content-type", "application/json")],
            r#"{"message":"No API key found"}"#,
        ))
        .await;
    fronts[4].set(Fault::respond(410, &[("content-type", "text/plain")], "Gone")).await;
    let names = ["good", "stranger", "dead", "locked", "retired"];
    let backends: String = fronts
        .iter()
        .zip(names)
        .map(|(front, name)| {
            format!(
                "[[chains.lab.backends]]\nname = \"{name}\"\nurl = \"{}/v3/${{KEY}}\"\ncloud = \"{name}\"\n",
                front.url()
            )
        })
        .collect();
    let toml = format!("[chains.lab]\nchain_id = 31337\n{backends}");
    let key = "s3cr3t-key-0123456789abcdef";
    let (as_table, as_json) = tokio::task::spawn_blocking(move || {
        let variables = [("KEY", key)];
        (check(&toml, &["--probe"], &variables), run_check(&toml, &["--probe", "--json"], &variables))
    })
    .await
    .expect("it runs");
    let (text, code) = as_table;
    assert_eq!(code, 1, "{text}");
    let findings = [
        ("stranger", "serves another chain", "belongs to another network"),
        ("dead", "could not be reached", "check host and port"),
        ("locked", "key or origin refused", "check the key"),
        ("retired", "retired", "remove it"),
    ];
    for (name, finding, mend) in findings {
        let line = text.lines().find(|line| line.contains(&format!("{name}: {finding}; ")));
        assert!(
            line.is_some_and(|line| line.contains(mend)),
            "`{name}: {finding}; {mend}` is missing in:\n{text}"
        );
    }
    assert!(!text.contains("good: "), "{text}");
    let report: Value = serde_json::from_slice(&as_json.stdout).expect("JSON on standard output");
    let (json, code) = said(&as_json);
    let fit: Vec<_> =
        report["probes"].as_array().expect("probes").iter().map(|probe| probe["fit"] == true).collect();
    assert_eq!((fit, code), (vec![true, false, false, false, false], 1));
    // The same for programs as for people.
    for (probe, (name, finding, mend)) in
        report["probes"].as_array().expect("probes")[1..].iter().zip(findings)
    {
        assert_eq!((&probe["backend"], &probe["finding"]), (&json!(name), &json!(finding)));
        assert!(probe["mend"].as_str().is_some_and(|said| said.contains(mend)), "{probe}");
    }
    assert_eq!(report["probes"][0]["head"], 16, "{report}");
    assert!(!text.contains(key) && !json.contains(key), "a key is shown:\n{text}\n{json}");
}

#[test]
fn exit_codes_tell_wrong_usage_from_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| said(&outrigger(folder.path(), arguments, &[]));
    assert_eq!(run(&["serve", "--no-such-option"]).1, 2);
    assert_eq!(run(&["frobnicate"]).1, 2);
    let (text, code) = run(&["check", "--config", "missing.toml"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("missing.toml") && text.contains("config init"), "{text}");
    assert_eq!(run(&["serve", "--listen", "nonsense"]).1, 2);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (text, code) = run(&["serve", "--listen", &address]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("another program listens there"), "{text}");
}

#[test]
fn a_first_file_is_written_once_and_passes_its_own_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        said(&outrigger(folder.path(), arguments, variables))
    };
    let (text, code) = run(&["config", "init"], &[]);
    assert_eq!(code, 0, "{text}");
    let (text, code) = run(&["config", "init"], &[]);
    assert_eq!(code, 1, "an existing file is left alone: {text}");
    let (text, code) = run(&["check"], &[]);
    assert_eq!(code, 2, "its variables are not set: {text}");
    let file = std::fs::read_to_string(folder.path().join("outrigger.toml")).expect("it is there");
    let names: Vec<&str> = file
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split("${").skip(1).filter_map(|rest| rest.split('}').next()))
        .collect();
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, "0123456789abcdef")).collect();
    let (text, code) = run(&["check"], &variables);
    assert_eq!(code, 0, "{text}");
}

/// A comment that shows a key must show one that is understood: whoever takes the `#` away gets what it says.
#[test]
fn every_key_that_the_first_file_mentions_is_understood_when_its_comment_is_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, code) = said(&outrigger(folder.path(), &["config", "init", "-"], &[]));
    assert_eq!(code, 0, "{file}");
    let (mut keys, mut taken_away) = (Vec::new(), 0);
    let mut lines = Vec::new();
    for line in file.lines() {
        let bare = line.strip_prefix("# ").filter(|rest| key_of(rest).is_some());
        if line.starts_with('[') {
            keys.clear();
        }
        match key_of(bare.unwrap_or(line)) {
            // The file shows a second way to say what it has said.
            Some(key) if keys.contains(&key) => lines.push(line),
            Some(key) => {
                keys.push(key);
                taken_away += usize::from(bare.is_some());
                lines.push(bare.unwrap_or(line));
            }
            None => lines.push(line),
        }
    }
    assert!(taken_away > 30, "{taken_away} comments were taken away:\n{file}");
    let variables = ["INFURA_KEY", "API_KEY", "OUTRIGGER_TOKEN"].map(|name| (name, "0123456789abcdef"));
    let (text, code) = check(&lines.join("\n"), &[], &variables);
    assert_eq!(code, 0, "{text}\n{}", lines.join("\n"));
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim_end();
    (!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(key)
}

#[test]
fn the_printed_schema_leads_nowhere_else_and_knows_every_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let (schema, code) = said(&outrigger(folder.path(), &["config", "schema"], &[]));
    assert_eq!(code, 0, "{schema}");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false, "an editor marks unknown keys");
    for table in ["server", "chains", "routing", "transactions", "cache"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
    let (mut unread, mut references) = (vec![&schema], 0);
    while let Some(value) = unread.pop() {
        if let Some(reference) = value["$ref"].as_str() {
            let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
            assert!(schema.pointer(place).is_some_and(Value::is_object), "{reference} leads nowhere");
            references += 1;
        }
        match value {
            Value::Object(members) => unread.extend(members.values()),
            Value::Array(items) => unread.extend(items),
            _ => {}
        }
    }
    assert!(references > 5, "{references}");
}
