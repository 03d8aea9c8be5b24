use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use super::super::Gateway;
use super::super::status::STATES;
use super::*;
use crate::config::{BackendBuilder, ChainBuilder, Config};
use crate::telemetry::Kind;

/// Chains with backends that nobody listens behind.
fn fleet(chains: usize, backends: usize) -> Gateway {
    let mut config = Config::builder();
    for n in 0..chains {
        let mut chain = ChainBuilder::new(format!("chain-{n}")).chain_id(900_000 + n as u64);
        for b in 0..backends {
            let url = format!("http://127.0.0.1:1/v3/SECRET-{b}");
            chain = chain.backend(BackendBuilder::new(format!("backend-{b}"), &url).cloud("aws"));
        }
        config = config.chain(chain);
    }
    Gateway::new(&config.build().expect("a configuration")).expect("a gateway")
}

/// The table of `docs/metrics.md`.
fn table() -> String {
    let mut table = "| Metric | Kind | Labels | What it tells |\n|---|---|---|---|\n".to_owned();
    #[cfg(feature = "server")]
    let process = crate::telemetry::process::FAMILIES.iter();
    #[cfg(not(feature = "server"))]
    let process = [].iter();
    for family in f::ALL.iter().copied().chain(process) {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (family.kind.name(), labels.join(", "));
        let _ = writeln!(table, "| `{}` | {kind} | {labels} | {} |", family.name, family.help);
    }
    table
}

#[test]
fn the_documentation_lists_every_metric() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let docs = std::fs::read_to_string(file).expect("docs/metrics.md");
    assert!(docs.ends_with(&table()), "the end of docs/metrics.md is to be this:\n{}", table());
}

#[test]
fn names_follow_the_conventions() {
    let names: BTreeSet<_> = f::ALL.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), f::ALL.len(), "each once");
    for family in f::ALL {
        let Family { name, kind, help, labels, .. } = family;
        assert!(name.starts_with("outrigger_"), "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(!help.contains(['"', '\\', '\n', '|']) && help.ends_with('.'), "{name}");
        let plain = |label: &&str| label.bytes().all(|b| b.is_ascii_lowercase()) && *label != "le";
        assert!(labels.iter().all(plain), "{name}");
    }
}

#[tokio::test]
async fn every_metric_is_told_once_in_either_format_and_no_address_is() {
    let gateway = fleet(2, 3);
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = gateway.metrics(format);
        let told: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all: Vec<_> = f::ALL
            .iter()
            .map(|family| {
                let is_open = format == Format::OpenMetrics;
                let name = family.name.strip_suffix("_total").filter(|_| is_open).unwrap_or(family.name);
                format!("{name} {}", family.kind.name())
            })
            .collect();
        assert_eq!(told, all);
        assert!(!text.contains("SECRET") && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn o5_unknown_methods_are_one_sample() {
    let gateway = fleet(1, 1);
    for n in 0..1000 {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"admin_x{n}","params":[]}}"#);
        gateway.answer(super::super::Packet::new(body)).await;
    }
    let text = gateway.metrics(Format::Prometheus);
    let requests: Vec<_> = text.lines().filter(|line| line.starts_with("outrigger_requests_total")).collect();
    let one = r#"outrigger_requests_total{chain="chain-0",method="other",class="other",source="local",result="refused"} 1000"#;
    assert_eq!(requests, [one]);
}

#[tokio::test]
async fn a_batch_counts_each_item_and_a_broken_body_as_such() {
    let gateway = fleet(1, 1);
    let item = |id: u32, method: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
    let body =
        format!("[{},{},1,{}]", item(1, "eth_chainId"), item(2, "net_version"), item(3, "eth_chainId"));
    gateway.answer(super::super::Packet::new(body)).await;
    gateway.answer(super::super::Packet::new("nonsense")).await;
    let text = gateway.metrics(Format::Prometheus);
    for line in [
        r#"outrigger_requests_total{chain="chain-0",method="eth_chainId",class="head",source="local",result="ok"} 2"#,
        r#"outrigger_requests_total{chain="chain-0",method="net_version",class="head",source="local",result="ok"} 1"#,
        r#"outrigger_request_duration_seconds_count{chain="chain-0",class="head"} 3"#,
        r#"outrigger_malformed_requests_total{chain="chain-0"} 2"#,
        r#"outrigger_abandoned_requests_total{chain="chain-0"} 0"#,
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn every_state_of_a_backend_has_its_label() {
    let gateway = fleet(1, 2);
    gateway.set_cordoned("chain-0", "backend-1", true).expect("it is there");
    let text = gateway.metrics(Format::Prometheus);
    let state = |backend: &str, state: &str| {
        let name =
            format!(r#"outrigger_backend_state{{chain="chain-0",backend="{backend}",state="{state}"}} "#);
        text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
    };
    assert_eq!(state("backend-1", "cordoned").as_deref(), Some("1"));
    assert_eq!(state("backend-1", "ok").as_deref(), Some("0"));
    let states = text.lines().filter(|line| line.starts_with("outrigger_backend_state{"));
    assert_eq!(states.clone().count(), 2 * STATES.len());
    assert_eq!(states.filter(|line| line.ends_with(" 1")).count(), 2, "one each");
}

/// The bar is 20 ms in a release build, which `cargo bench --bench micro` measures; here it is held loosely.
#[tokio::test]
async fn ten_chains_with_eight_backends_are_told_quickly() {
    let gateway = fleet(10, 8);
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            let began = Instant::now();
            let text = gateway.metrics(Format::Prometheus);
            (began.elapsed(), text.len())
        })
        .collect();
    times.sort_unstable();
    println!("a scrape of 10 x 8: median {:?}, {} bytes", times[4].0, times[4].1);
    assert!(times[0].0.as_secs() < 1, "{times:?}");
}
