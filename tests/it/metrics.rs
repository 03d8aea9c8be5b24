//! O5, P3, T15: what `/metrics` tells of the real binary over real nodes, read as Prometheus reads it, and that dashboard,
//! alerts and documentation name nothing else.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::lab::anvil::{CHAIN_ID, Lab};
use crate::lab::clients::promtool;
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;
use crate::protocol::site;

const RICH: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const PATIENCE: Duration = Duration::from_secs(30);

/// One scrape.
struct Scrape(String);

impl Scrape {
    async fn of(proxy: &Proxy) -> Scrape {
        let answer = proxy.get("/metrics").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Scrape(String::from_utf8(answer.body.to_vec()).expect("text"))
    }

    /// The sum of the samples of this name whose labels hold all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let samples = of_name.filter(|rest| rest.starts_with(['{', ' ']));
        let wanted = samples.filter(|rest| labels.iter().all(|label| rest.contains(label)));
        wanted.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Names of the families, and those that have a sample.
    fn names(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let samples = self.0.lines().filter(|line| !line.starts_with('#'));
        let sampled = samples.filter_map(|line| line.split(['{', ' ']).next());
        // A histogram as a whole goes by the name without what its samples end in.
        let sampled = sampled.flat_map(|name| [Some(name), name.strip_suffix("_count")]).flatten();
        (types.map(|(name, _)| name).collect(), sampled.collect())
    }
}

/// Names of metrics in a text: words that begin as ours do.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("outrigger_") || word.starts_with("process_")).collect()
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `promtool check`, with this as its input; all it says, where it is content.
fn check(args: &[&str], input: &str) {
    let mut command = Command::new(promtool());
    command.arg("check").args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("promtool starts");
    let mut stdin = process.stdin.take().expect("its input");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = process.wait_with_output().expect("promtool ends");
    // It may end before it has read all.
    let _ = writing.join();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool check {args:?}: {}", String::from_utf8_lossy(&said));
}

/// The dashboard's queries as recording rules, which can be checked.
fn as_rules(dashboard: &str) -> tempfile::NamedTempFile {
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(n, target)| {
            let query = target["expr"].as_str().expect("a query");
            let query =
                query.replace("$__rate_interval", "1m").replace("$instance", ".+").replace("$chain", ".+");
            assert!(!query.contains('$'), "{query}");
            json!({ "record": format!("dashboard:query:{n}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 30, "{rules:?}");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    // JSON is YAML too.
    file.write_all(groups.to_string().as_bytes()).expect("the file can be written");
    file
}

/// Two nodes behind fronts behind a proxy in which everything is configured that has metrics of its own.
struct Stage {
    lab: Lab,
    fronts: Vec<Front>,
    proxy: Proxy,
    _cache: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Stage {
        let lab = Lab::start_on(2, CHAIN_ID).await;
        lab.mine(3).await;
        let mut fronts = Vec::new();
        for node in 0..2 {
            fronts.push(Front::of_node(&lab, node).await);
        }
        let cache = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::over(&fronts);
        settings.backends[0].labels += "monthly_budget = 1000000\n";
        settings.tables = format!("[cache]\ndisk = '{}'\n", cache.path().display());
        let mut proxy = Proxy::start(&settings).await;
        proxy.ready().await;
        Stage { lab, fronts, proxy, _cache: cache }
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.proxy.rpc().call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        let end = Instant::now() + PATIENCE;
        loop {
            let scrape = Scrape::of(&self.proxy).await;
            if wanted(&scrape) {
                return scrape;
            }
            assert!(Instant::now() < end, "in vain: {what}\n{}\n{}", scrape.0, self.proxy.said());
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn signed(&self, nonce: u64, gas_price: u64) -> Value {
        let transaction = json!({
            "from": RICH, "to": "0x00000000000000000000000000000000000000aa", "value": "0x1", "gas": "0x5208",
            "gasPrice": format!("{gas_price:#x}"), "nonce": format!("{nonce:#x}"), "chainId": "0x7a69",
        });
        self.lab.rpc(0, "eth_signTransaction", json!([transaction])).await.expect("it signs")
    }
}

#[tokio::test]
async fn o5_traffic_moves_the_numbers_and_unknown_methods_are_one_label() {
    let stage = Stage::start().await;
    let requests = "outrigger_requests_total";
    for _ in 0..3 {
        stage.call("eth_getBalance", json!([RICH, "latest"])).await;
        stage.call("eth_chainId", json!([])).await;
    }
    for n in 0..50 {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": format!("acme_method{n}"), "params": []});
        stage.proxy.post(&body.to_string()).await;
    }
    let call = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "eth_gasPrice", "params": []});
    stage.proxy.post(&json!([call(1), call(2), 7]).to_string()).await;
    stage.proxy.post("{").await;
    let scrape = Scrape::of(&stage.proxy).await;
    let sum = |name: &str, labels: &[&str]| scrape.sum(name, labels);
    assert_eq!(sum(requests, &[r#"method="eth_getBalance""#, r#"class="state""#, r#"result="ok""#]), 3.0);
    let local = [r#"method="eth_chainId""#, r#"source="local""#, r#"result="ok""#];
    assert_eq!(sum(requests, &local), 3.0);
    assert_eq!(sum(requests, &[r#"method="other""#]), 50.0);
    assert_eq!(sum(requests, &[r#"method="eth_gasPrice""#]), 2.0, "{}", scrape.0);
    assert!(!scrape.0.contains("acme_"), "{}", scrape.0);
    assert_eq!(sum("outrigger_malformed_requests_total", &[]), 2.0);
    assert_eq!(sum("outrigger_request_duration_seconds_count", &[]), sum(requests, &[]));
    // What was answered without a backend and what was not add up.
    let asked = sum(requests, &[r#"source="backend""#, r#"method="eth_getBalance""#]);
    let saved = sum(requests, &[r#"source="cache""#, r#"method="eth_getBalance""#]);
    assert_eq!(asked + saved, 3.0);
    assert!(sum("outrigger_attempts_total", &[r#"outcome="ok""#]) >= 1.0, "{}", scrape.0);
    assert!(sum("outrigger_attempt_duration_seconds_count", &[]) >= 1.0);
    assert_eq!(sum("outrigger_backend_up", &[]), 2.0);
    assert_eq!(sum("outrigger_backend_state", &[r#"state="ok""#]), 2.0);
    assert_eq!(sum("outrigger_effective_independent_backends", &[]), 2.0);
    assert!(sum("process_resident_memory_bytes", &[]) > 1e6);
    let head = stage.lab.height().await as f64;
    assert!(sum("outrigger_head_block_number", &[]) <= head);
}

#[tokio::test]
async fn a_backend_that_dies_shows_and_no_request_fails() {
    let stage = Stage::start().await;
    let end = Instant::now() + PATIENCE;
    let mut scrape = Scrape::of(&stage.proxy).await;
    // Each another question, so that none of them is kept.
    for n in 1000.. {
        if scrape.sum("outrigger_backend_favourite", &[]) == 1.0 {
            break;
        }
        assert!(Instant::now() < end, "nobody becomes the favourite: {}", scrape.0);
        stage.call("eth_getBalance", json!([format!("0x{n:040x}"), "latest"])).await;
        scrape = Scrape::of(&stage.proxy).await;
    }
    let is_first = scrape.sum("outrigger_backend_favourite", &[r#"backend="aws""#]) == 1.0;
    let (dies, name) = if is_first { (0, r#"backend="aws""#) } else { (1, r#"backend="gcp""#) };
    stage.fronts[dies].set(Fault::Refuse).await;
    for n in 0..20 {
        stage.call("eth_getBalance", json!([format!("0x{n:040x}"), "latest"])).await;
    }
    let scrape = stage
        .until("it is known to be down", |s| {
            s.sum("outrigger_backend_up", &[name]) == 0.0
                && s.sum("outrigger_backend_state", &[name, r#"state="ok""#]) == 0.0
        })
        .await;
    assert!(scrape.sum("outrigger_attempts_total", &[name, r#"outcome="connection_error""#]) >= 1.0);
    assert!(scrape.sum("outrigger_retries_total", &[]) >= 1.0, "{}", scrape.0);
    assert_eq!(scrape.sum("outrigger_requests_total", &[r#"result="failed""#]), 0.0);
    assert_eq!(scrape.sum("outrigger_ready", &[]), 1.0);
    // With nobody left, requests fail and say so.
    stage.fronts[1 - dies].set(Fault::Refuse).await;
    assert!(stage.proxy.rpc().call("eth_call", json!([{"to": RICH}, "latest"])).await.is_err());
    stage
        .until("a failed request", |s| s.sum("outrigger_requests_total", &[r#"result="failed""#]) >= 1.0)
        .await;
    stage.until("the chain is not ready", |s| s.sum("outrigger_ready", &[]) == 0.0).await;
    stage.fronts[dies].heal().await;
    stage.until("it is back", |s| s.sum("outrigger_backend_up", &[name]) == 1.0).await;
}

#[tokio::test]
async fn t15_transactions_a_replacement_and_a_gap_are_counted() {
    let stage = Stage::start().await;
    let (state, changed) = ("outrigger_transactions", "outrigger_transaction_changes_total");
    let first = stage.signed(0, 2_000_000_000).await;
    let dearer = stage.signed(0, 4_000_000_000).await;
    let later = stage.signed(5, 2_000_000_000).await;
    for raw in [first, dearer, later] {
        stage.call("eth_sendRawTransaction", json!([raw])).await;
    }
    let scrape = stage.until("all are pending", |s| s.sum(changed, &[r#"state="pending""#]) == 3.0).await;
    assert_eq!(scrape.sum(changed, &[r#"state="submitted""#]), 3.0);
    assert_eq!(scrape.sum("outrigger_transactions_behind_gap", &[]), 1.0, "{}", scrape.0);
    assert!(scrape.sum("outrigger_journal_writes_total", &[]) >= 3.0);
    assert!(scrape.sum("outrigger_journal_sync_duration_seconds_count", &[]) >= 1.0);
    assert_eq!(scrape.sum("outrigger_journal_write_errors_total", &[]), 0.0);
    assert_eq!(scrape.sum("outrigger_requests_total", &[r#"class="submit""#, r#"result="ok""#]), 3.0);
    stage.lab.mine(1).await;
    stage
        .until("one is mined, and the other one replaced", |s| {
            s.sum(state, &[r#"state="mined""#]) + s.sum(state, &[r#"state="finalized""#]) == 1.0
                && s.sum(state, &[r#"state="replaced""#]) == 1.0
                && s.sum(changed, &[r#"state="replaced""#]) == 1.0
        })
        .await;
}

#[tokio::test]
async fn prometheus_reads_all_of_it_and_nothing_else_is_named_anywhere() {
    let stage = Stage::start().await;
    stage.call("eth_getBalance", json!([RICH, "latest"])).await;
    let raw = stage.signed(0, 2_000_000_000).await;
    stage.call("eth_sendRawTransaction", json!([raw])).await;
    let deployed = ["deploy/prometheus/alerts.yml", "deploy/grafana/outrigger.json"].map(file);
    // What is found out in the background, such as finality, is there after a moment.
    let scrape = stage
        .until("each name in deploy/ has a sample", |s| {
            let (_, sampled) = s.names();
            deployed.iter().all(|text| named(text).is_subset(&sampled))
        })
        .await;
    check(&["metrics"], &scrape.0);
    check(&["rules", "deploy/prometheus/alerts.yml"], "");
    let (families, _) = scrape.names();
    assert!(deployed.iter().all(|text| named(text).len() > 10), "names are found");
    check(&["rules", &as_rules(&file("deploy/grafana/outrigger.json")).path().display().to_string()], "");
    let docs = file("docs/metrics.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), families, "docs/metrics.md");
    // The same samples for whoever asks for OpenMetrics.
    let mut client = site::Client::open(stage.proxy.address()).await;
    let accept = ("accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    let open = client.request("GET /metrics", &[accept], b"").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(kind));
    let open = site::text(&open);
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    let open = Scrape(open);
    assert!(deployed.iter().all(|text| named(text).is_subset(&open.names().1)), "{}", open.0);
}

#[tokio::test]
async fn p5_metrics_have_the_guards_of_the_status_page() {
    let guarded = site::Site::with("auth = { tokens = [\"a-token-of-sufficient-length\"] }").await;
    let address = guarded.proxy.address();
    assert_eq!(rpc::get(address, "/metrics").await.expect("an answer").status(), 401);
    let mut client = guarded.connect().await;
    let token = ("authorization", "Bearer a-token-of-sufficient-length");
    for (headers, status) in [(vec![], 401), (vec![token], 200), (vec![token, ("host", "evil.example")], 403)]
    {
        let answers = [
            client.request("GET /metrics", &headers, b"").await.status(),
            client.request("GET /status", &headers, b"").await.status(),
        ];
        assert_eq!(answers, [status, status], "{headers:?}");
    }
}
