//! `outrigger load` as a process: what it sends, what it measures, what it finds wrong, and how it ends.
//!
//! The fronts count what arrives, so that numbers are exact; times are only compared with each other.

mod compared;
mod usage;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::anvil::{CHAIN_ID, Lab};
use crate::lab::front::{Answer, Fault, Front};
use crate::lab::leash::Leash;

/// A call that no survey asks: a front that counts it counts the load alone.
const PLAIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getStorageAt","params":["0x0000000000000000000000000000000000000001","0x0","latest"]}"#;
const METHOD: &str = "eth_getStorageAt";

/// Runs the command; fronts answer meanwhile.
async fn load(args: &[&str]) -> Output {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || Command::new(env!("CARGO_BIN_EXE_outrigger")).arg("load").args(args).output();
    tokio::task::spawn_blocking(run).await.expect("it runs").expect("the binary can be executed")
}

/// The same at an address.
async fn load_at(url: &str, args: &[&[&str]]) -> Output {
    load(&[&[url], &args.concat()[..]].concat()).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The report, and the exit code.
fn report(output: &Output) -> (Value, Option<i32>) {
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output.status.code())
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("the folder can be written");
    path.display().to_string()
}

/// A backend without a node that knows little more than what a survey needs.
async fn plain_front() -> Front {
    Front::table(json!({
        "eth_chainId": "0x7a69",
        "eth_blockNumber": "0x10",
        "eth_getLogs": [],
        "eth_getBlockByNumber": null,
        METHOD: "0x01",
    }))
    .await
}

/// As many requests as rate and time say, all of which arrive, on kept connections.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_arrive_as_rate_and_time_say() {
    let front = plain_front().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let common = ["--requests", &requests, "--duration", "2s", "--warm-up", "0s", "--json"];
    for (rate, count) in [("40", 80), ("20..60", 80)] {
        front.forget();
        let (report, code) = report(&load_at(&front.url(), &[&["--rate", rate], &common]).await);
        assert_eq!(code, Some(0), "{report:#}");
        let target = &report["targets"][0];
        assert_eq!(target["whole"]["requests"], count, "{rate}");
        assert_eq!(target["whole"]["answered"], count, "{rate}");
        assert_eq!(target["classes"], json!({ "ok": count }), "{rate}");
        assert_eq!(target["protocol"], "HTTP/1.1");
        assert_eq!(front.count(METHOD), count, "{rate}");
        let seconds: Vec<_> = target["timeline"]
            .as_array()
            .expect("seconds")
            .iter()
            .map(|second| &second["requests"])
            .collect();
        let expected = if rate == "40" { [40, 40] } else { [30, 50] };
        assert_eq!(seconds, expected, "{rate}");
        assert!(target["connections_opened"].as_u64() < Some(count as u64), "connections are kept");
    }
    // The warm-up asks too, and nothing of it is counted.
    front.forget();
    let args = ["--rate", "20", "--requests", &requests, "--duration", "1s", "--warm-up", "1s"];
    let (report, _) = report(&load_at(&front.url(), &[&args, &["--json", "--arrivals", "poisson"]]).await);
    let counted = report["targets"][0]["whole"]["requests"].as_u64().expect("a number");
    assert!(front.count(METHOD) as u64 > counted, "{} {counted}", front.count(METHOD));
}

/// A real node answers every mix without a single error: addresses, blocks and hashes are its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_mix_is_answered_by_a_real_node() {
    let lab = Lab::start(1).await;
    lab.mine(3).await;
    let url = &lab.urls()[0];
    for mix in ["wallet", "indexer", "trader"] {
        let args = ["--mix", mix, "--rate", "60", "--duration", "2s", "--warm-up", "0s", "--json"];
        let (report, code) = report(&load_at(url, &[&args]).await);
        assert_eq!(code, Some(0), "{mix}: {report:#}");
        let whole = &report["targets"][0]["whole"];
        assert_eq!((&whole["requests"], &whole["answered"]), (&json!(120), &json!(120)), "{mix}: {report:#}");
        assert_eq!(report["chain_id"], CHAIN_ID);
        assert_eq!(
            report["warnings"].as_array().map(|all| all.iter().filter(|w| is_about_asking(w)).count()),
            Some(0)
        );
        let methods = report["targets"][0]["methods"].as_array().expect("methods").len();
        assert!(methods >= 5, "{mix}: {methods}");
    }
}

/// Of what is asked, not of how fast this machine is.
fn is_about_asking(warning: &Value) -> bool {
    warning.as_str().is_some_and(|warning| warning.contains("left out") || warning.contains("never sent"))
}

/// Coordinated omission: two requests of two hundred are held up, for a second. A client that waits for them would
/// report those two; here everybody who was due meanwhile was late, and shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_two_requests_shows_in_all_that_were_due_meanwhile() {
    let front = plain_front().await;
    front.set(Fault::Latency(Duration::from_secs(1)).only(&[METHOD]).first(2)).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let args = ["--requests", &requests, "--rate", "50", "--duration", "4s", "--warm-up", "0s", "--json"];
    let (report, code) = report(&load_at(&front.url(), &[&["--connections", "2"], &args]).await);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(front.hits(), 2);
    let target = &report["targets"][0];
    assert_eq!(target["whole"]["answered"], 200, "all of them are sent all the same");
    let p90 = |of: &Value| of["p90_ms"].as_f64().expect("a number");
    // A quarter was due within that second.
    let (due, sent) = (p90(&target["whole"]["latency"]), p90(&target["service"]));
    assert!(due > 500.0 && due > 2.0 * sent, "from due {due} ms, from sent {sent} ms");
    assert!(target["whole"]["latency"]["max_ms"].as_f64() >= Some(1000.0));
}

/// Memory stays bounded and nothing is hidden when nobody answers: what finds no place in its time counts as failed.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_in_its_time_is_counted_as_failed() {
    let front = plain_front().await;
    front.set(Fault::Hang.only(&[METHOD])).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let args = ["--requests", &requests, "--rate", "2000", "--duration", "1s", "--warm-up", "0s", "--json"];
    let bounds = ["--connections", "1", "--timeout", "300ms"];
    let (report, code) = report(&load_at(&front.url(), &[&bounds, &args]).await);
    assert_eq!(code, Some(1));
    let target = &report["targets"][0];
    let whole = &target["whole"];
    assert_eq!((&whole["requests"], &whole["failed"]), (&json!(2000), &json!(2000)), "{report:#}");
    let not_started = target["classes"]["not_started"].as_u64();
    assert!(not_started > Some(0) && not_started == whole["not_started"].as_u64(), "{report:#}");
    assert!(whole["delayed"].as_u64() >= Some(1990), "all but the first had to wait: {whole:#}");
    assert!((front.count(METHOD) as u64) < 2000, "one at a time: {}", front.count(METHOD));
    // Their latency is not left out either.
    assert!(whole["latency"]["p50_ms"].as_f64() >= Some(299.0), "{whole:#}");
    assert!(report["warnings"].to_string().contains("never sent: it does not keep up"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_goes_back_is_wrong() {
    let asked = AtomicU64::new(0);
    let front = Front::fixture(move |call| match call.method.as_str() {
        "eth_chainId" => Answer::result(json!("0x1")),
        // Up to 130, then seven back.
        "eth_blockNumber" => {
            let nth = asked.fetch_add(1, Ordering::Relaxed);
            Answer::result(json!(format!("{:#x}", if nth <= 30 { 100 + nth } else { 123 })))
        }
        _ => Answer::result(json!(null)),
    })
    .await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "heads.jsonl", r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}"#);
    let args = [
        "--requests",
        &requests,
        "--rate",
        "50",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
        "--connections",
        "1",
    ];
    let (report, code) = report(&load_at(&front.url(), &[&args, &["--json"]]).await);
    assert_eq!(code, Some(1), "{report:#}");
    let target = &report["targets"][0];
    let heads = &target["heads"];
    assert_eq!(
        (&heads["told"], &heads["highest"], &heads["went_back_by"]),
        (&json!(50), &json!(130), &json!(7))
    );
    // The survey asked once.
    assert_eq!((&heads["went_back"], &target["whole"]["wrong"]), (&json!(20), &json!(20)), "{report:#}");
    assert_eq!(target["whole"]["failed"], 0, "each came in time and well formed");
    let said = text(&load_at(&front.url(), &[&args]).await.stdout);
    assert!(said.contains("head:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_its_class_and_exits_with_1_beyond_what_is_allowed() {
    let front = plain_front().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let url = front.url();
    let args = ["--requests", &requests, "--rate", "40", "--duration", "1s", "--warm-up", "0s", "--json"];
    for (fault, class, wrong) in [
        (Fault::status(503), "overloaded", 0),
        (Fault::rate_limited("1"), "rate_limited", 0),
        (Fault::html(), "not_json", 0),
        (Fault::empty(), "empty_body", 0),
        (Fault::Close, "connection_error", 0),
        (Fault::CutAfter(10), "connection_error", 0),
        (Fault::WrongId, "wrong_id", 40),
    ] {
        front.set(fault.clone().only(&[METHOD])).await;
        let (report, code) = report(&load_at(&url, &[&args]).await);
        let target = &report["targets"][0];
        assert_eq!(target["classes"], json!({ class: 40 }), "{fault:?}");
        assert_eq!(
            (&target["whole"]["failed"], &target["whole"]["wrong"]),
            (&json!(40), &json!(wrong)),
            "{fault:?}"
        );
        assert_eq!(code, Some(1), "{fault:?}");
    }
    // Its last word on the call: no failure of the endpoint.
    front.set(Fault::rpc_error(3, "execution reverted").only(&[METHOD])).await;
    let (reverted, code) = report(&load_at(&url, &[&args]).await);
    assert_eq!((&reverted["targets"][0]["whole"]["refused"], code), (&json!(40), Some(0)));
    // One in forty is more than 1 %, and less than 5 %.
    for (allowed, expected) in [("1%", 1), ("5%", 0)] {
        front.set(Fault::status(503).only(&[METHOD]).first(1)).await;
        let output = load_at(&url, &[&args, &["--max-failed", allowed]]).await;
        assert_eq!(output.status.code(), Some(expected), "{allowed}");
    }
}

/// Batches and transactions of a file go out as they stand there, with a word of warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_file_is_sent_in_its_order_and_transactions_with_a_warning() {
    let front = Front::fixture(|call| match call.method.as_str() {
        "eth_chainId" => Answer::result(json!("0x1")),
        "eth_blockNumber" => Answer::result(json!("0x10")),
        _ => Answer::result(json!("0x00")),
    })
    .await;
    let send = r#"{"jsonrpc":"2.0","id":5,"method":"eth_sendRawTransaction","params":["0x02"]}"#;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests =
        file(dir.path(), "mixed.jsonl", &format!("# a morning\n{PLAIN}\n[{PLAIN},{PLAIN}]\n\n{send}\n"));
    let args = ["--requests", &requests, "--rate", "9", "--duration", "1s", "--warm-up", "0s"];
    let output = load_at(&front.url(), &[&args, &["--connections", "1", "--json"]]).await;
    let errors = text(&output.stderr);
    assert!(errors.contains("warning: 1 of the 3 requests"), "{errors}");
    let (report, code) = report(&output);
    assert_eq!(code, Some(0), "{report:#}");
    let whole = &report["targets"][0]["whole"];
    assert_eq!((&whole["requests"], &whole["calls"]), (&json!(9), &json!(12)));
    assert_eq!((front.count("eth_sendRawTransaction"), front.count(METHOD)), (3, 9));
    let seen = front.seen();
    let sent: Vec<usize> =
        seen.iter().skip_while(|s| s.methods != [METHOD]).map(|s| s.methods.len()).collect();
    assert_eq!(sent, [1, 2, 1, 1, 2, 1, 1, 2, 1]);
}

/// What an endpoint does not offer is left out of a mix, and said.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_left_out_and_named() {
    let front = Front::table(json!({
        "eth_chainId": "0x1",
        "eth_blockNumber": "0x10",
        "eth_getLogs": [],
        "eth_getBlockByNumber": null,
        "eth_getTransactionReceipt": null,
        "eth_getTransactionByHash": null,
    }))
    .await;
    let args = ["--mix", "indexer", "--rate", "50", "--duration", "1s", "--warm-up", "0s", "--json"];
    let (report, code) = report(&load_at(&front.url(), &[&args]).await);
    assert_eq!((code, &report["targets"][0]["whole"]["answered"]), (Some(0), &json!(50)), "{report:#}");
    assert!(report["warnings"].to_string().contains("eth_getBlockReceipts"), "{}", report["warnings"]);
    assert_eq!(front.count("eth_getBlockReceipts"), 1, "it was asked once, to see");
}

/// R2: an outage under load in one command. Nobody notices, and the time line shows who took over.
#[tokio::test(flavor = "multi_thread")]
async fn r2_a_killed_cloud_under_load_fails_no_request() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let page = dir.path().join("page.html").display().to_string();
    let kill = ["--simulate", "--kill", "aws@2s..4s", "--duration", "6s", "--rate", "60"];
    let output = load(&[&kill[..], &["--json", "--report", &page]].concat()).await;
    let (report, code) = report(&output);
    assert_eq!(code, Some(0), "{report:#}");
    let target = &report["targets"][0];
    assert_eq!((&target["whole"]["requests"], &target["whole"]["answered"]), (&json!(360), &json!(360)));
    assert_eq!((&target["whole"]["failed"], &target["whole"]["wrong"]), (&json!(0), &json!(0)));
    let parts = target["parts"].as_array().expect("parts");
    let named: Vec<_> = parts.iter().map(|part| (part["name"].as_str(), part["requests"].as_u64())).collect();
    assert_eq!(
        named,
        [(Some("before"), Some(120)), (Some("aws gone"), Some(120)), (Some("aws back"), Some(120))]
    );
    let served = |second: usize, by: &str| target["timeline"][second]["served_by"][by].as_u64().unwrap_or(0);
    assert!(served(1, "simulated-aws") > 0, "the nearest serves the calm: {:#}", target["timeline"][1]);
    assert_eq!(served(3, "simulated-aws"), 0, "{:#}", target["timeline"][3]);
    let page = std::fs::read_to_string(page).expect("the page is there");
    assert!(
        page.contains("<svg") && page.contains("aws gone") && page.contains("prefers-color-scheme: dark")
    );
    for outside in ["<script", "src=", "<link", "url(", "@import", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// Ctrl-C ends it early, and what there is is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_interrupted_reports_what_it_saw() {
    let front = plain_front().await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let args =
        ["load", &front.url(), "--requests", &requests, "--duration", "10m", "--warm-up", "0s", "--json"];
    let args = args.map(str::to_owned);
    let mut process =
        Leash::start(Path::new(env!("CARGO_BIN_EXE_outrigger")), &args, &[]).expect("it starts");
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while front.count(METHOD) < 20 {
        assert!(tokio::time::Instant::now() < patience, "nothing is sent: {}", process.said().text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.signal("INT");
    let status = process.wait(Duration::from_secs(20)).expect("it ends");
    let report: Value = serde_json::from_str(&process.said().text()).expect("the report");
    assert_eq!((status.code(), &report["stopped_early"]), (Some(0), &json!(true)));
    assert!(report["targets"][0]["whole"]["answered"].as_u64() >= Some(15), "{report:#}");
    assert!(
        report["targets"][0]["served_per_s"].as_f64() > Some(5.0),
        "by the time it took, not by ten minutes"
    );
}

/// For people: the same as a table, a second a line.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_line_of_an_outage_reads_second_by_second() {
    let args = ["--simulate", "--kill", "aws@1s", "--duration", "3s", "--rate", "40", "--warm-up", "1s"];
    let output = load(&args).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in
        ["before (0 to 1 s)", "aws gone (1 to 3 s)", "<- aws gone", "nothing failed, and no answer was wrong"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}
