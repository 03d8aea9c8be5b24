//! A fault-injecting reverse proxy in front of one backend, turned by the test.
//!
//! It speaks HTTP/1.1 on a bare socket, because what has to be shown (a reset, half an answer, a listener that
//! is gone) is what HTTP libraries prevent. WebSocket upgrades pass through untouched.
//!
//! ```text
//! let front = Front::of_node(&lab, 0).await;         // or before(url), fixture(closure), table(json)
//! front.set(Fault::Close.only(&["eth_call"])).await; // one rule, replacing all
//! front.also(Fault::Latency(ms)).await;              // one more
//! front.heal().await;
//! front.count("eth_call"); front.hits();             // what arrived, and what met a fault
//! ```
mod answer;
mod fault;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::anvil::{Gate, Lab};
use super::ports;
use super::wire::{self, Message};
pub use answer::{Answer, Call, Calls};
pub use fault::{Fault, Rule};

/// Requests remembered; a test that sends more has to `forget` in between.
const SEEN_MAX: usize = 200_000;
/// How long a port may stay in use by what was just closed on it.
const BIND_LIMIT: Duration = Duration::from_secs(5);
/// Pieces a second in which a dripping answer is sent.
const DRIPS_PER_SECOND: usize = 20;
/// Dice of all fronts start here: `sometimes` meets the same requests in every run of the same traffic.
const SEED: u64 = 7;

/// A front; cheap to clone, ends with its last clone.
#[derive(Clone)]
pub struct Front(Arc<Owner>);

struct Owner(Arc<Shared>);

struct Shared {
    address: String,
    source: Source,
    rules: Mutex<Vec<Rule>>,
    dice: Mutex<SmallRng>,
    seen: Mutex<Vec<Seen>>,
    /// Requests of each connection ever accepted.
    connections: Mutex<Vec<usize>>,
    /// What the listener shall do, and what it does.
    wanted: watch::Sender<Listening>,
    actual: watch::Sender<Listening>,
    /// Held while the listener changes, so that two changes do not wait for each other.
    changing: tokio::sync::Mutex<()>,
    /// Ends the connections of one listening period.
    period: Mutex<CancellationToken>,
    /// Ends everything.
    end: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    Open,
    /// The socket is closed: connections are refused.
    Closed,
    /// The socket is open and nobody looks after it.
    Unattended,
}

enum Source {
    Node { address: String, gate: Gate },
    Fixture(Box<dyn Fn(&Call) -> Answer + Send + Sync>),
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    pub methods: Vec<String>,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Whether a fault met it.
    pub hit: bool,
}

// === impl Front ===

impl Front {
    /// In front of node `i` of the laboratory; waits while the node replays a block.
    pub async fn of_node(lab: &Lab, i: usize) -> Front {
        Front::start(Source::Node { address: authority(&lab.urls()[i]), gate: lab.gate(i) }).await
    }

    /// In front of any plain HTTP backend.
    pub async fn before(url: &str) -> Front {
        Front::start(Source::Node { address: authority(url), gate: Gate::default() }).await
    }

    /// A backend without a node: the closure answers every call.
    pub async fn fixture(answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Front {
        Front::start(Source::Fixture(Box::new(answer))).await
    }

    /// A backend without a node: a table from method to result; see [`Answer::from_table`].
    pub async fn table(table: serde_json::Value) -> Front {
        Front::fixture(move |call| Answer::from_table(&table, &call.method)).await
    }

    async fn start(source: Source) -> Front {
        let (listener, address) = loop {
            let address = format!("127.0.0.1:{}", ports::free());
            if let Ok(listener) = TcpListener::bind(&address).await {
                break (listener, address);
            }
        };
        let shared = Arc::new(Shared {
            address,
            source,
            rules: Mutex::default(),
            dice: Mutex::new(SmallRng::seed_from_u64(SEED)),
            seen: Mutex::default(),
            connections: Mutex::default(),
            wanted: watch::Sender::new(Listening::Open),
            actual: watch::Sender::new(Listening::Open),
            changing: tokio::sync::Mutex::default(),
            period: Mutex::default(),
            end: CancellationToken::new(),
        });
        let (task, end) = (Arc::clone(&shared), shared.end.clone());
        tokio::spawn(async move { end.run_until_cancelled(listen(task, listener)).await });
        Front(Arc::new(Owner(shared)))
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.shared().address
    }

    /// This rule and no other; in force when this returns.
    pub async fn set(&self, rule: impl Into<Rule>) {
        self.change(|rules| *rules = vec![rule.into()]).await;
    }

    /// This rule too.
    pub async fn also(&self, rule: impl Into<Rule>) {
        self.change(|rules| rules.push(rule.into())).await;
    }

    /// No fault any more. Requests that hang already stay so.
    pub async fn heal(&self) {
        self.change(Vec::clear).await;
    }

    async fn change(&self, edit: impl FnOnce(&mut Vec<Rule>)) {
        let shared = self.shared();
        let _alone = shared.changing.lock().await;
        let wanted = {
            let mut rules = shared.rules.lock().expect("no holder panics");
            edit(&mut rules);
            if rules.iter().any(|r| r.fault == Fault::Refuse) {
                Listening::Closed
            } else if rules.iter().any(|r| r.fault == Fault::BlackHole) {
                Listening::Unattended
            } else {
                Listening::Open
            }
        };
        let mut actual = shared.actual.subscribe();
        shared.wanted.send_replace(wanted);
        actual.wait_for(|now| *now == wanted).await.expect("the listener lives as long as its front");
    }

    /// All requests that arrived, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared().seen.lock().expect("no holder panics").clone()
    }

    /// How many calls of `method` arrived, batches included.
    pub fn count(&self, method: &str) -> usize {
        let seen = self.shared().seen.lock().expect("no holder panics");
        seen.iter().flat_map(|s| &s.methods).filter(|m| *m == method).count()
    }

    /// How many HTTP requests arrived.
    pub fn requests(&self) -> usize {
        self.shared().seen.lock().expect("no holder panics").len()
    }

    /// How many requests met a fault.
    pub fn hits(&self) -> usize {
        self.shared().seen.lock().expect("no holder panics").iter().filter(|s| s.hit).count()
    }

    /// Requests of each connection ever accepted, in the order of acceptance.
    pub fn connections(&self) -> Vec<usize> {
        self.shared().connections.lock().expect("no holder panics").clone()
    }

    /// Forgets the requests seen so far.
    pub fn forget(&self) {
        self.shared().seen.lock().expect("no holder panics").clear();
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end.cancel();
    }
}

/// Owns the listening socket: opens and closes it as wanted, and accepts.
async fn listen(shared: Arc<Shared>, first: TcpListener) {
    let mut wanted = shared.wanted.subscribe();
    let mut listener = Some(first);
    loop {
        let now = *wanted.borrow_and_update();
        if now == Listening::Closed {
            listener = None;
            shared.period.lock().expect("no holder panics").cancel();
        } else if listener.is_none() {
            listener = Some(bind(&shared.address).await);
            *shared.period.lock().expect("no holder panics") = CancellationToken::new();
        }
        shared.actual.send_replace(now);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()), if now == Listening::Open => {
                let id = {
                    let mut connections = shared.connections.lock().expect("no holder panics");
                    connections.push(0);
                    connections.len() - 1
                };
                let period = shared.period.lock().expect("no holder panics").clone();
                let (own, end) = (Arc::clone(&shared), shared.end.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = period.cancelled() => {}
                        () = end.cancelled() => {}
                        _ = serve(&own, id, accepted) => {}
                    }
                });
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // out of file handles: wait for some to come back
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn bind(address: &str) -> TcpListener {
    let end = Instant::now() + BIND_LIMIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if Instant::now() > end => panic!("{address} does not open again: {error}"),
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// One connection, request after request, until either side ends it.
async fn serve(shared: &Shared, id: usize, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = BufReader::new(stream);
    let mut upstream = None;
    let mut wanted = shared.wanted.subscribe();
    while let Some(mut request) = wire::read_head(&mut client).await? {
        let _ = wanted.wait_for(|now| *now != Listening::Unattended).await;
        if request.header("upgrade").is_some() {
            return tunnel(shared, &request, client).await;
        }
        request.body = wire::read_body(&mut client, &request).await?;
        let calls = Calls::read(&request.body);
        let faults = shared.record(id, &request, &calls);
        sleep(faults.iter().map(latency).sum()).await;
        let is_reused = shared.connections.lock().expect("no holder panics")[id] > 1;
        match instead(&faults, &calls, is_reused) {
            Some(Instead::Reset) => return reset(client.get_ref()),
            Some(Instead::Close) => return Ok(()),
            Some(Instead::Hang) => return hang(client).await,
            Some(Instead::Bytes(bytes)) => {
                client.get_mut().write_all(&bytes).await?;
                return Ok(());
            }
            Some(Instead::Response(response)) => deliver(client.get_mut(), &response, &faults).await?,
            None => {
                let mut response = shared.fetch(&request, &calls, &mut upstream).await?;
                if faults.contains(&Fault::ExecThenHang) {
                    return hang(client).await;
                }
                response.body = calls.spoil(response.body, &faults);
                for fault in &faults {
                    if let Fault::Header(name, value) = fault {
                        response.headers.push(((*name).to_owned(), (*value).to_owned()));
                    }
                }
                if faults.contains(&Fault::Gzip) {
                    response.body = answer::gzip(&response.body);
                    response.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
                }
                deliver(client.get_mut(), &response, &faults).await?;
            }
        }
        if request.closes() {
            return Ok(());
        }
    }
    Ok(())
}

enum Instead {
    Reset,
    Close,
    Hang,
    Bytes(Bytes),
    Response(Message),
}

/// What the first of these faults puts in the place of an answer.
fn instead(faults: &[Fault], calls: &Calls, is_reused: bool) -> Option<Instead> {
    faults.iter().find_map(|fault| match fault {
        Fault::Reset => Some(Instead::Reset),
        Fault::Close => Some(Instead::Close),
        Fault::CloseOnReuse if is_reused => Some(Instead::Close),
        Fault::Hang => Some(Instead::Hang),
        Fault::Garbage(bytes) => Some(Instead::Bytes(bytes.clone())),
        Fault::Respond { status, headers, body } => {
            Some(Instead::Response(respond(*status, headers.clone(), calls.fill(body))))
        }
        _ => None,
    })
}

fn respond(status: u16, headers: Vec<(String, String)>, body: Bytes) -> Message {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    Message { start: format!("HTTP/1.1 {status} {}", reason.unwrap_or("Unknown")), headers, body }
}

fn latency(fault: &Fault) -> Duration {
    if let Fault::Latency(time) = fault { *time } else { Duration::ZERO }
}

/// Sends a response, whole or as the faults say.
async fn deliver(client: &mut TcpStream, response: &Message, faults: &[Fault]) -> std::io::Result<()> {
    let bytes = response.to_bytes();
    let head = bytes.len() - response.body.len();
    for fault in faults {
        match *fault {
            Fault::CutAfter(body) | Fault::ResetAfter(body) => {
                client.write_all(&bytes[..(head + body).min(bytes.len())]).await?;
                if matches!(fault, Fault::ResetAfter(_)) {
                    // a reset overtakes what the peer has not read yet
                    sleep(Duration::from_millis(20)).await;
                    reset(client)?;
                }
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            Fault::Drip { bytes_per_second } => {
                for piece in bytes.chunks((bytes_per_second / DRIPS_PER_SECOND).max(1)) {
                    client.write_all(piece).await?;
                    sleep(Duration::from_secs(1) / DRIPS_PER_SECOND as u32).await;
                }
                return Ok(());
            }
            _ => {}
        }
    }
    client.write_all(&bytes).await
}

/// Lets the kernel send RST instead of FIN when the socket is dropped.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Keeps the connection, says nothing, until the peer gives up.
async fn hang(mut client: BufReader<TcpStream>) -> std::io::Result<()> {
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(|_| ())
}

/// Passes a WebSocket upgrade and all that follows through.
async fn tunnel(shared: &Shared, request: &Message, mut client: BufReader<TcpStream>) -> std::io::Result<()> {
    let Source::Node { address, .. } = &shared.source else { return Ok(()) };
    let mut upstream = TcpStream::connect(address).await?;
    let head = request.to_bytes();
    // an upgrade has no body: the length that `to_bytes` adds would only confuse
    let head = String::from_utf8_lossy(&head).replace("content-length: 0\r\n", "");
    upstream.write_all(head.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await.map(|_| ())
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned()
}

// === impl Shared ===

impl Shared {
    /// Writes the request down and decides which faults meet it.
    fn record(&self, connection: usize, request: &Message, calls: &Calls) -> Vec<Fault> {
        self.connections.lock().expect("no holder panics")[connection] += 1;
        let methods = calls.methods();
        let mut faults = Vec::new();
        for rule in self.rules.lock().expect("no holder panics").iter_mut() {
            let roll = self.dice.lock().expect("no holder panics").random::<f64>();
            if rule.meets(&methods, roll) {
                faults.push(rule.fault.clone());
            }
        }
        let mut seen = self.seen.lock().expect("no holder panics");
        if seen.len() < SEEN_MAX {
            seen.push(Seen {
                at: Instant::now(),
                connection,
                methods,
                path: request.target().to_owned(),
                headers: request.headers.clone(),
                body: request.body.clone(),
                hit: !faults.is_empty(),
            });
        }
        faults
    }

    /// The true answer: from the node behind, over this connection's own upstream connection, or the fixture's.
    async fn fetch(
        &self,
        request: &Message,
        calls: &Calls,
        upstream: &mut Option<BufReader<TcpStream>>,
    ) -> std::io::Result<Message> {
        match &self.source {
            Source::Fixture(say) => {
                let json = vec![("content-type".to_owned(), "application/json".to_owned())];
                Ok(respond(200, json, calls.answer(say)))
            }
            Source::Node { address, gate } => {
                let _open = gate.read().await;
                // anvil closes a kept connection only when it ends; then the client's connection ends as well
                if upstream.is_none() {
                    *upstream = Some(BufReader::new(TcpStream::connect(address).await?));
                }
                let stream = upstream.as_mut().expect("connected above");
                stream.get_mut().write_all(&request.to_bytes()).await?;
                let mut response = wire::read_head(stream).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                response.body = wire::read_body(stream, &response).await?;
                Ok(response)
            }
        }
    }
}
