//! O6 and the command line: what is wrong is named, with its mend, and the exit code says so.

mod schema;

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
fn o6_what_is_wrong_with_a_file_is_told_without_its_keys() {
    let key = "s3cr3t0123456789abcdef";
    let backend = |lines: &str| format!("[[chains.mainnet.backends]]\nname = \"one\"\n{lines}\n");
    let wrong = [
        format!("url = \"htps://a.example/v3/{key}\""),
        format!("url = \"https://a.example:99999/v3/{key}\""),
        format!("url = [\"https://a.example/v3/{key}\"]"),
        format!("url = \"https://a.example\"\nwss = \"wss://a.example/v3/{key}\""),
        format!("url = \"https://a.example\"\nws = \"https://a.example/v3/{key}\""),
        format!("url = \"https://a.example\"\nheaders = {{ x-api-key = \"{key}\\n\" }}"),
        format!("url = \"https://a.example\"\nurl = \"https://a.example/v3/{key}\""),
        format!("url = \"https://a.example/v3/{key}"),
        "url = \"htps://a.example/v3/${KEY}\"".to_owned(),
        "url = \"https://${KEY}@/v3\"".to_owned(),
    ];
    for lines in wrong {
        for arguments in [&[][..], &["--json"]] {
            let output = run_check(&backend(&lines), arguments, &[("KEY", key)]);
            let (text, code) = said(&output);
            assert_eq!(code, 2, "{lines}: {text}");
            assert!(text.contains("o.toml:"), "{lines}: {text}");
            assert!(!text.contains(key), "{lines}: {text}");
            assert!(output.stdout.is_empty(), "a program that reads the result must not find one: {text}");
        }
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
    for told in ["findings", "mends"] {
        let sentences = report["chains"][0][told].as_array().expect("sentences");
        assert!(!sentences.is_empty(), "{told}");
        for sentence in sentences.iter().filter_map(Value::as_str) {
            assert!(text.contains(sentence), "`{sentence}` is missing in:\n{text}");
        }
    }
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
    for expected in [
        "stranger: serves another chain",
        "dead: could not be reached",
        "locked: key or origin refused",
        "retired: retired",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in:\n{text}");
    }
    assert!(!text.contains("good: "), "{text}");
    let report: Value = serde_json::from_slice(&as_json.stdout).expect("JSON on standard output");
    let (json, code) = said(&as_json);
    let fit: Vec<_> =
        report["probes"].as_array().expect("probes").iter().map(|probe| probe["fit"] == true).collect();
    assert_eq!((fit, code), (vec![true, false, false, false, false], 1));
    assert!(!text.contains(key) && !json.contains(key), "a key is shown:\n{text}\n{json}");
    // Both tell the same, and each finding with what to do about it.
    for probe in report["probes"].as_array().expect("probes").iter().filter(|probe| probe["fit"] == false) {
        let word = |name: &str| probe[name].as_str().expect("words").to_owned();
        let line = format!("{}: {}; {}", word("backend"), word("finding"), word("mend"));
        assert!(text.contains(&line), "`{line}` is missing in:\n{text}");
        assert!(word("mend").len() > 10, "{line}");
    }
}

/// H3: nobody wrote what they share.
#[tokio::test]
async fn o6_check_tells_what_addresses_and_headers_say_and_where_that_differs_from_what_is_written() {
    let table = json!({ "eth_chainId": "0x7a69", "eth_blockNumber": "0x10" });
    let fronts = [Front::table(table.clone()).await, Front::table(table).await];
    for front in &fronts {
        front.set(Fault::Header("x-azure-ref", "20261124T160000Z-r1")).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ranges = r#"{"prefixes": [{"ip_prefix": "127.0.0.0/8", "region": "us-east-1", "service": "EC2"}], "ipv6_prefixes": []}"#;
    std::fs::write(folder.path().join("ip-ranges.json"), ranges).expect("it is written");
    let backends: String = fronts
        .iter()
        .zip(["one", "two"])
        .map(|(front, name)| {
            format!(
                "[[chains.lab.backends]]\nname = \"{name}\"\nurl = \"{}\"\nprovider = \"{name}\"\n",
                front.url()
            )
        })
        .collect();
    let toml = format!(
        "[chains.lab]\nchain_id = 31337\n{backends}cloud = \"gcp\"\n[routing]\naddress_ranges = \"ip-ranges.json\"\n"
    );
    std::fs::write(folder.path().join("o.toml"), toml).expect("it is written");
    let run = |arguments: &'static [&'static str]| {
        let folder = folder.path().to_owned();
        tokio::task::spawn_blocking(move || {
            outrigger(&folder, &[&["check", "--config", "o.toml"], arguments].concat(), &[])
        })
    };
    let report = async |arguments| -> Value {
        let output = run(arguments).await.expect("it runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output).0))
    };
    let label = |label: &str, from: &str| json!({ "label": label, "from": from });
    // Addresses in URLs need no look-up.
    let unasked = report(&["--json"]).await["chains"][0].take();
    assert_eq!(
        unasked["backends"][0]["derived"],
        json!([label("cloud:aws", "address ranges"), label("region:aws/us-east-1", "address ranges")])
    );
    assert_eq!(unasked["backends"][1]["derived"], json!([]), "what is written counts");
    assert_eq!(
        unasked["contradictions"],
        json!([
            "two: cloud = gcp is written, and address ranges say aws; what is written counts: correct it if it is wrong"
        ])
    );
    assert_eq!((&unasked["independent"], &unasked["effective"]), (&json!(2), &json!(2.0)));
    let asked = report(&["--json", "--probe"]).await["chains"][0].take();
    for backend in [0, 1] {
        let derived = asked["backends"][backend]["derived"].as_array().expect("labels").clone();
        assert!(derived.contains(&label("edge:azure-front-door", "response headers")), "{asked}");
    }
    assert_eq!(asked["findings"], json!(["your 2 backends are 1 edge (azure-front-door)"]));
    assert_eq!((&asked["independent"], &asked["effective"]), (&json!(1), &json!(1.0)));
    let (text, code) = said(&run(&["--probe"]).await.expect("it runs"));
    assert_eq!(code, 0, "{text}");
    for expected in [
        "one lies in region:aws/us-east-1, by its address ranges",
        "two lies in edge:azure-front-door, by its response headers",
        "two: cloud = gcp is written, and address ranges say aws",
        "2 backends, effectively 1 independent",
    ] {
        assert!(text.contains(expected), "`{expected}` is missing in:\n{text}");
    }
    std::fs::write(folder.path().join("ip-ranges.json"), &ranges[..40]).expect("it is written");
    let (text, code) = said(&run(&[]).await.expect("it runs"));
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("o.toml:13:18: routing.address_ranges: \"ip-ranges.json\" is not whole JSON (line 1, column 40); download it again"),
        "{text}"
    );
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
    let path = folder.path().join("outrigger.toml");
    let first = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, format!("# mine\n{first}")).expect("it is written");
    let (text, code) = run(&["config", "init"], &[]);
    assert_eq!(code, 1, "an existing file is left alone: {text}");
    assert!(text.contains("outrigger.toml"), "{text}");
    assert!(std::fs::read_to_string(&path).expect("it is there").starts_with("# mine"));
    std::fs::write(&path, first).expect("it is written");
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
    let to_standard_output = outrigger(folder.path(), &["config", "init", "-"], &[]);
    assert_eq!(String::from_utf8_lossy(&to_standard_output.stdout), file, "`-` prints the same");
}
