//! P9, P1: recorded exchanges between a client and a node, in the form of the execution-apis tests, through the
//! proxy: what the node said is what the client reads, byte for byte.
//!
//! A `.io` file holds `// comments`, `>> request` and `<< response` lines. `tests/data/execution-apis` has a
//! small set; `OUTRIGGER_EXECUTION_APIS=/path/to/execution-apis/tests` runs every file of the public suite in
//! the same way. A fixture backend plays the node. Three kinds of exchanges end here by design, and are counted:
//! refused methods, what the configuration answers, and filters, whose ids are the proxy's own.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use outrigger::ethereum::{Method, MethodKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lab::front::{Answer, Call, Front};
use crate::lab::proxy::Settings;
use crate::protocol::site::{self, Client, text};

/// One recorded exchange.
#[derive(Clone)]
struct Exchange {
    /// File and line, for messages.
    place: String,
    request: String,
    response: String,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

/// A result of `null` is a result.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Exchange {
    fn request(&self) -> Request<'_> {
        serde_json::from_str(&self.request).unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }

    fn response(&self) -> Response {
        serde_json::from_str(&self.response).unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }

    fn result(&self) -> Option<Value> {
        serde_json::from_str(self.response().result?.get()).ok()
    }

    /// What the node said to this call.
    fn answers(&self, call: &Call) -> Option<Answer> {
        let request = self.request();
        let params = request.params.map_or("[]", RawValue::get);
        let is_same = |params: &str| serde_json::from_str(params).ok() == Some(call.params.clone());
        // Where the head is known, the node sees its number in place of a tag, and nothing else changed.
        let method = Method::lookup(&request.method);
        let is_pinned = |number: u64| {
            outrigger::ethereum::pin_blocks(method, request.params, |_| Some(number))
                .is_some_and(|pinned| is_same(pinned.get()))
        };
        let same = request.method == call.method
            && (is_same(params) || quantities(&call.params).into_iter().any(is_pinned));
        let Response { result, error } = self.response();
        let said = result.map(|raw| Answer::Result(raw.get().to_owned()));
        same.then(|| said.or(error.map(|raw| Answer::ErrorText(raw.get().to_owned())))).flatten()
    }

    /// The answer that the client must read.
    fn expected(&self) -> String {
        let (request, response) = (self.request(), self.response());
        let (member, value) = match (&response.result, &response.error) {
            (Some(result), None) => ("result", result),
            (None, Some(error)) => ("error", error),
            _ => panic!("{}: neither result nor error, or both", self.place),
        };
        format!(r#"{{"jsonrpc":"2.0","id":{},"{member}":{}}}"#, request.id.get(), value.get())
    }
}

/// Every quantity among some parameters.
fn quantities(params: &Value) -> Vec<u64> {
    match params {
        Value::String(text) => {
            text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()).into_iter().collect()
        }
        Value::Array(items) => items.iter().flat_map(quantities).collect(),
        Value::Object(members) => members.values().flat_map(quantities).collect(),
        _ => Vec::new(),
    }
}

/// All `.io` files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false if path.extension().is_some_and(|ext| ext == "io") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

/// The exchanges of a file: each request with the response that follows it.
fn exchanges(file: &Path) -> Vec<Exchange> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut asked: Option<(usize, &str)> = None;
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(request) = line.strip_prefix(">>") {
            asked = Some((at + 1, request.trim()));
        } else if let Some(response) = line.strip_prefix("<<") {
            let (line, request) =
                asked.take().unwrap_or_else(|| panic!("{}:{}: no request", file.display(), at + 1));
            all.push(Exchange {
                place: format!("{}:{line}", file.display()),
                request: request.to_owned(),
                response: response.trim().to_owned(),
            });
        }
    }
    assert!(asked.is_none(), "{}: a request without a response", file.display());
    all
}

/// What a set of files came to.
#[derive(Debug, Default)]
struct Tally {
    carried: usize,
    refused: Vec<String>,
    local: Vec<String>,
    filters: Vec<String>,
    wrong: Vec<String>,
}

async fn carry_all(folder: &Path) -> Tally {
    let files = files(folder);
    assert!(!files.is_empty(), "no .io file below {}", folder.display());
    let all: Vec<Vec<Exchange>> = files.iter().map(|file| exchanges(file)).collect();
    let recorded =
        |method: &str| all.iter().flatten().find(|e| e.request().method == method).and_then(Exchange::result);
    // the chain that was recorded is the chain that is configured
    let hex = |value: Value| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
    let chain_id = recorded("eth_chainId").and_then(hex).unwrap_or(1);
    let network_id = recorded("net_version").and_then(|id| id.as_str()?.parse().ok()).unwrap_or(chain_id);
    let now: Arc<Mutex<Option<Exchange>>> = Arc::default();
    let playing = Arc::clone(&now);
    let front = Front::fixture(move |call| {
        let exchange = playing.lock().expect("no holder panics").clone();
        exchange.and_then(|exchange| exchange.answers(call)).unwrap_or_else(|| match call.method.as_str() {
            "eth_chainId" => Answer::Result(format!("\"{chain_id:#x}\"")),
            other => site::answers(other),
        })
    })
    .await;
    let settings = Settings {
        chain_id,
        chain: format!("network_id = {network_id}\n"),
        ..site::over(std::slice::from_ref(&front))
    };
    let proxy = site::start(&settings, "").await;
    let mut client = Client::open(proxy.address()).await;
    let mut tally = Tally::default();
    for exchange in all.into_iter().flatten() {
        let method = exchange.request().method;
        *now.lock().expect("no holder panics") = Some(exchange.clone());
        front.forget();
        let said = text(&client.post("/", &[], exchange.request.as_bytes()).await);
        let reached = front.count(&method) > 0;
        if Method::lookup(&method).refused_by_default() {
            if !said.contains(r#""code":-32601"#) || reached {
                tally.wrong.push(format!("{}: not refused: {said:.300}", exchange.place));
            }
            tally.refused.push(method);
            continue;
        }
        let kind = Method::lookup(&method).kind;
        if matches!(kind, MethodKind::FilterCreate | MethodKind::FilterPoll | MethodKind::FilterRemove) {
            if reached || said.contains(r#""code":-32601"#) {
                tally.wrong.push(format!("{}: not answered here: {said:.300}", exchange.place));
            }
            tally.filters.push(method);
            continue;
        }
        if said != exchange.expected() {
            tally.wrong.push(format!(
                "{}: {:.200}\n    said     {said:.400}\n    expected {:.400}",
                exchange.place,
                exchange.request,
                exchange.expected()
            ));
        } else if reached {
            let params = exchange.request().params.map_or("[]", RawValue::get);
            if !site::forwarded(&front).iter().all(|body| body.contains(params)) {
                tally.wrong.push(format!("{}: the node saw other parameters", exchange.place));
            }
            tally.carried += 1;
        } else {
            tally.local.push(method);
        }
    }
    let kinds = [
        ("refused by design", &mut tally.refused),
        ("answered here", &mut tally.local),
        ("filters of our own", &mut tally.filters),
    ];
    for (what, methods) in kinds {
        methods.sort();
        println!("{what}: {} exchanges, of {:?}", methods.len(), {
            let mut names = methods.clone();
            names.dedup();
            names
        });
    }
    println!("carried: {} exchanges of {} files", tally.carried, files.len());
    tally
}

/// P9
#[tokio::test]
async fn recorded_exchanges_pass_through_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/execution-apis");
    let tally = carry_all(&folder).await;
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert_eq!(tally.local, ["eth_chainId", "net_version"]);
    assert_eq!(tally.filters, ["eth_getFilterChanges", "eth_newFilter", "eth_uninstallFilter"]);
    assert!(tally.refused.is_empty() && tally.carried >= 30, "{tally:?}");
}

/// P9: the public suite, where `OUTRIGGER_EXECUTION_APIS` says where it lies.
#[tokio::test]
async fn the_public_suite_passes_through_byte_for_byte() {
    let Some(folder) = std::env::var_os("OUTRIGGER_EXECUTION_APIS") else {
        println!("OUTRIGGER_EXECUTION_APIS is not set: the set in tests/data is carried alone");
        return;
    };
    let tally = carry_all(Path::new(&folder)).await;
    assert!(tally.wrong.is_empty(), "{} wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert!(tally.carried > 0, "{tally:?}");
}
