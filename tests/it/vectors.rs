//! P1: every vector of `tests/data/jsonrpc.json`, against the real binary over a fixture backend.
//!
//! A vector says what a client sends, what it is answered (`match` says how exactly) and which methods a
//! backend must see. Two rules of this proxy bend them, for all vectors alike:
//!
//! * `eth_chainId`, `net_version` and `eth_accounts` are answered from the configuration, so that a wallet can
//!   add the network while every backend is down. Where a vector lists them as forwarded, they may be.
//! * For the same reason a vector of the category `upstream`, in which the backend misbehaves, would never
//!   meet its backend with `eth_chainId`: those run with `eth_gasPrice` in its place.
//!
//! What the proxy asks for itself (`eth_chainId`, `eth_blockNumber`, headers) does not count as forwarded.
//! [`EXCEPTIONS`] holds what departs from a vector, each with its reason; the test prints it.
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lab::front::{Answer, Fault, Front};
use crate::lab::proxy::Proxy;
use crate::lab::wire::Message;
use crate::protocol::site::{self, Client, text};

const FILE: &str = include_str!("../data/jsonrpc.json");

/// Answered from the configuration.
const CONSTANTS: [&str; 3] = ["eth_chainId", "net_version", "eth_accounts"];

/// What the proxy asks for itself, whoever calls.
const OWN: [&str; 3] = ["eth_chainId", "eth_blockNumber", "eth_getBlockByNumber"];

/// Where this proxy departs from a vector, and why.
struct Exception {
    id: &'static str,
    /// The body instead of the vector's.
    body: Option<&'static str>,
    /// The forwarded methods instead of the vector's.
    forwarded: Option<&'static [&'static str]>,
    why: &'static str,
}

const EXCEPTIONS: [Exception; 2] = [
    Exception {
        id: "J34",
        body: None,
        forwarded: Some(&[]),
        why: "0x00 is no transaction: it is refused before any backend is called (T7). That a notification with \
              a real transaction is sent is shown in protocol::envelopes",
    },
    Exception {
        id: "J102",
        body: None,
        forwarded: Some(&[]),
        why: "filters live here and at no backend (S5); that their calls keep a batch's order is shown in \
              protocol::websocket",
    },
];

#[derive(Deserialize)]
struct File {
    /// What the backend answers, by method: a result, or `{"__error": {..}}`. As it stands there, since the
    /// order of an error's members is compared.
    backend: BTreeMap<String, Box<RawValue>>,
    vectors: Vec<Vector>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    id: String,
    category: String,
    title: String,
    #[serde(default = "post")]
    http_method: String,
    #[serde(default = "json_content")]
    headers: BTreeMap<String, String>,
    /// The body; `$REPEAT(x,9)` stands for nine `x`.
    #[serde(default)]
    request: String,
    /// The body where it is no text.
    request_base64: Option<String>,
    /// What the backend answers instead; see [`Fault::Respond`].
    upstream: Option<String>,
    /// Acceptable statuses.
    status: Vec<u16>,
    r#match: Match,
    #[serde(default)]
    body: String,
    forwarded: Forwarded,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Match {
    /// The same bytes.
    Exact,
    /// Equal as JSON but for `error.message`.
    Json,
    /// The same ids and error codes.
    Code,
    /// Any error whose id is null or the request's.
    AnyError,
    /// Only the status counts.
    Status,
    /// Nothing of the body counts.
    Any,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Forwarded {
    /// `"optional"`.
    Free(String),
    /// These methods and no others.
    Methods(Vec<String>),
}

fn post() -> String {
    "POST".to_owned()
}

fn json_content() -> BTreeMap<String, String> {
    [("content-type".to_owned(), "application/json".to_owned())].into()
}

fn file() -> File {
    let file: File = serde_json::from_str(FILE).expect("the vectors are well formed");
    assert_eq!(file.vectors.len(), 94, "a vector got lost");
    file
}

/// `$REPEAT(x,9)` written out.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$REPEAT(") {
        let (inside, tail) = after.split_once(')').expect("$REPEAT is closed");
        let (what, times) = inside.rsplit_once(',').expect("$REPEAT has two arguments");
        out += before;
        out += &what.repeat(times.parse().expect("a count"));
        rest = tail;
    }
    out + rest
}

impl File {
    /// A backend that answers so.
    async fn front(&self) -> Front {
        let answers: BTreeMap<String, Answer> =
            self.backend.iter().map(|(m, raw)| (m.clone(), answer(raw))).collect();
        Front::fixture(move |call| match answers.get(&call.method) {
            Some(answer) => answer.clone(),
            None => Answer::from_table(&Value::Null, &call.method),
        })
        .await
    }
}

fn answer(raw: &RawValue) -> Answer {
    #[derive(Deserialize)]
    struct Marked {
        __error: Box<RawValue>,
    }
    match serde_json::from_str::<Marked>(raw.get()) {
        Ok(marked) => Answer::ErrorText(marked.__error.get().to_owned()),
        Err(_) => Answer::Result(raw.get().to_owned()),
    }
}

impl Vector {
    fn exception(&self) -> Option<&'static Exception> {
        EXCEPTIONS.iter().find(|exception| exception.id == self.id)
    }

    fn request(&self) -> Vec<u8> {
        match &self.request_base64 {
            Some(text) => STANDARD.decode(text).expect("base64"),
            None => expand(&self.request).into_bytes(),
        }
    }

    /// The same vector with a method that really goes to a backend.
    fn going_upstream(mut self) -> Vector {
        self.request = self.request.replace("eth_chainId", "eth_gasPrice");
        if let Forwarded::Methods(methods) = &mut self.forwarded {
            methods.iter_mut().filter(|m| *m == "eth_chainId").for_each(|m| *m = "eth_gasPrice".to_owned());
        }
        self
    }

    /// Sends it, compares the answer, and says what is wrong with it.
    async fn run(&self, proxy: &Proxy, fronts: &[&Front]) -> Vec<String> {
        fronts.iter().for_each(|front| front.forget());
        if let Some(Exception { id, why, .. }) = self.exception() {
            println!("exception {id}: {why}");
        }
        let mut client = Client::open(proxy.address()).await;
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut body = self.request();
        if self.headers.contains_key("Transfer-Encoding") {
            body = chunked(&body);
        }
        let answer = client.request(&format!("{} /", self.http_method), &headers, &body).await;
        let mut wrong = Vec::new();
        if !self.status.contains(&answer.status()) {
            wrong.push(format!("status {} is none of {:?}", answer.status(), self.status));
        }
        if let Err(why) = self.judge(&answer) {
            wrong.push(format!(
                "{why}\n    said     {:.300}\n    expected {:.300}",
                text(&answer),
                self.body
            ));
        }
        let seen: Vec<String> =
            fronts.iter().flat_map(|front| front.seen()).flat_map(|s| s.methods).collect();
        wrong.extend(self.judge_forwarded(&seen));
        wrong
    }

    fn judge(&self, answer: &Message) -> Result<(), String> {
        let bent = self.exception().and_then(|exception| exception.body);
        let expected = bent.map_or_else(|| expand(&self.body), str::to_owned);
        let parsed =
            |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("no JSON: {error}"));
        match self.r#match {
            Match::Status | Match::Any => Ok(()),
            Match::Exact if text(answer) == expected => Ok(()),
            Match::Exact => Err("other bytes".to_owned()),
            Match::Json => same(masked(parsed(&text(answer))?), masked(parsed(&expected)?)),
            Match::Code => same(codes(&parsed(&text(answer))?), codes(&parsed(&expected)?)),
            Match::AnyError => {
                let said = parsed(&text(answer))?;
                let own_id = serde_json::from_slice::<Value>(&self.request()).ok().map(|r| r["id"].clone());
                let id_fits = said["id"].is_null() || said["id"] == 1 || own_id == Some(said["id"].clone());
                match said["error"]["code"].is_i64() && id_fits && said.get("result").is_none() {
                    true => Ok(()),
                    false => Err("no error with that id".to_owned()),
                }
            }
        }
    }

    fn judge_forwarded(&self, seen: &[String]) -> Vec<String> {
        let bent = self.exception().and_then(|exception| exception.forwarded);
        let listed: Vec<&str> = match (&self.forwarded, bent) {
            (_, Some(methods)) => methods.to_vec(),
            (Forwarded::Methods(methods), None) => methods.iter().map(String::as_str).collect(),
            (Forwarded::Free(word), None) => {
                assert_eq!(word, "optional", "{}", self.id);
                return Vec::new();
            }
        };
        let count = |all: &mut dyn Iterator<Item = &str>, method: &str| all.filter(|m| *m == method).count();
        let mut wrong = Vec::new();
        for method in listed.iter().copied().collect::<BTreeSet<_>>() {
            let wanted = count(&mut listed.iter().copied(), method);
            let came = count(&mut seen.iter().map(String::as_str), method);
            if came < wanted && !CONSTANTS.contains(&method) {
                wrong.push(format!("{method} reached the backend {came} times, not {wanted}"));
            }
        }
        let foreign = |m: &&String| !listed.contains(&m.as_str()) && !OWN.contains(&m.as_str());
        wrong.extend(seen.iter().filter(foreign).map(|m| format!("{m} reached the backend")));
        wrong
    }
}

fn same(said: Value, expected: Value) -> Result<(), String> {
    if said == expected { Ok(()) } else { Err("not equal".to_owned()) }
}

/// Without the words of errors.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = masked(item.take())),
        single => {
            if let Some(error) = single.get_mut("error") {
                error["message"] = Value::Null;
            }
        }
    }
    value
}

/// Ids and error codes.
fn codes(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(codes).collect(),
        single => Value::Array(vec![single["id"].clone(), single["error"]["code"].clone()]),
    }
}

/// One chunk, and the last.
fn chunked(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// One proxy with default settings serves them all.
    Plain,
    /// A batch of two is the largest.
    SmallBatches,
    /// The backend misbehaves: a proxy each, so that none inherits what another has learned.
    Upstream,
    /// The primary backend fails.
    Failover,
}

impl Group {
    fn of(vector: &Vector) -> Group {
        match (vector.id.as_str(), vector.category.as_str()) {
            ("J100", _) => Group::SmallBatches,
            ("J126", _) => Group::Failover,
            (_, "upstream") => Group::Upstream,
            _ => Group::Plain,
        }
    }
}

async fn run_all(group: Group, server: &str) {
    let file = file();
    let front = file.front().await;
    let proxy = site::start(&site::over(std::slice::from_ref(&front)), server).await;
    let mut failed = Vec::new();
    for vector in file.vectors.iter().filter(|vector| Group::of(vector) == group) {
        let wrong = vector.run(&proxy, &[&front]).await;
        failed.extend(wrong.iter().map(|why| format!("{} {}: {why}", vector.id, vector.title)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn p1_what_clients_send_is_answered_as_the_vectors_say() {
    run_all(Group::Plain, "").await;
}

#[tokio::test]
async fn p1_a_batch_over_the_limit_is_answered_as_the_vectors_say() {
    run_all(Group::SmallBatches, "max_batch = 2").await;
}

#[tokio::test]
async fn p1_what_a_backend_does_wrong_is_answered_as_the_vectors_say() {
    let mut file = file();
    file.backend.insert("eth_gasPrice".to_owned(), file.backend["eth_chainId"].clone());
    let mut failed = Vec::new();
    for vector in file.vectors.iter().filter(|vector| Group::of(vector) == Group::Upstream) {
        let vector = vector.clone().going_upstream();
        let front = file.front().await;
        let proxy = site::start(&site::over(std::slice::from_ref(&front)), "").await;
        let template =
            Fault::template(vector.upstream.as_ref().expect("such a vector says what the backend answers"));
        let rule = template.only(&["eth_gasPrice", "eth_getTransactionReceipt"]);
        // a batch that is cut in pieces after such an answer gets the pieces answered
        let is_batch = vector.request.starts_with('[');
        front.set(if is_batch { rule.first(1) } else { rule }).await;
        let mut wrong = vector.run(&proxy, &[&front]).await;
        if front.hits() == 0 {
            wrong.push("the backend's answer was never asked for".to_owned());
        }
        if vector.id == "J113" && front.count("eth_gasPrice") != 1 {
            wrong.push("an answer out of order was not taken".to_owned());
        }
        failed.extend(wrong.iter().map(|why| format!("{} {}: {why}", vector.id, vector.title)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn p1_an_id_survives_failover_as_the_vectors_say() {
    let file = file();
    let (primary, backup) = (file.front().await, file.front().await);
    let mut settings = site::over(&[primary.clone(), backup.clone()]);
    settings.backends[1].labels += "tier = \"backup\"\n";
    let proxy = site::start(&settings, "").await;
    primary.set(Fault::Close.only(&["eth_blockNumber"])).await;
    let vectors: Vec<_> = file.vectors.iter().filter(|v| Group::of(v) == Group::Failover).collect();
    assert_eq!(vectors.len(), 1);
    for vector in vectors {
        let wrong = vector.run(&proxy, &[&primary, &backup]).await;
        assert!(wrong.is_empty(), "{} {}: {wrong:?}", vector.id, vector.title);
        assert!(primary.hits() > 0 && backup.requests() > 0, "nothing failed over");
    }
}

#[test]
fn repeats_are_written_out() {
    assert_eq!(expand("a$REPEAT([,3)b$REPEAT(x,2)"), "a[[[bxx");
    assert_eq!(expand("plain"), "plain");
}
