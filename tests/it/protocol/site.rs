//! A proxy over fixture backends, and a client that hides nothing.
use std::time::Duration;

use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::lab::front::{Answer, Call, Front, Seen};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::wire::{self, Message};

/// How long an answer may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy with one fixture backend on chain 1.
pub struct Site {
    pub front: Front,
    pub proxy: Proxy,
}

impl Site {
    /// Default settings, and a backend that knows the methods of [`answers`].
    pub async fn start() -> Site {
        Site::with("").await
    }

    /// With these keys of `[server]`, as TOML lines.
    pub async fn with(server: &str) -> Site {
        let front = Front::fixture(|call| answers(&call.method)).await;
        let proxy = start(&over(std::slice::from_ref(&front)), server).await;
        Site { front, proxy }
    }

    /// With a backend that answers by this closure, or else as [`answers`] says.
    pub async fn answering(answer: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) -> Site {
        let front = Front::fixture(move |call| answer(call).unwrap_or_else(|| answers(&call.method))).await;
        let proxy = start(&over(std::slice::from_ref(&front)), "").await;
        Site { front, proxy }
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Client {
        Client::open(self.proxy.address()).await
    }

    /// Posts a JSON body to the default chain.
    pub async fn post(&self, body: &str) -> Message {
        self.connect().await.post("/", &[], body.as_bytes()).await
    }

    /// Posts, and returns the answer's body.
    pub async fn said(&self, body: &str) -> String {
        text(&self.post(body).await)
    }

    /// Bodies that reached the backend and hold none of what the proxy asks for itself.
    pub fn forwarded(&self) -> Vec<String> {
        forwarded(&self.front)
    }

    /// Asserts that this connection still serves.
    pub async fn still_serves(&self, client: &mut Client, after: &str) {
        let answer = client.post("/", &[], call("eth_gasPrice").as_bytes()).await;
        assert_eq!(text(&answer), gas_price(), "{after}");
    }
}

/// What a backend of mainnet answers.
pub fn answers(method: &str) -> Answer {
    let result = |text: &str| Answer::Result(format!("\"{text}\""));
    match method {
        "eth_chainId" => result("0x1"),
        "eth_blockNumber" => result("0x10"),
        "eth_gasPrice" => result("0x3b9aca00"),
        "eth_getBalance" => result("0xde0b6b3a7640000"),
        "eth_call" => {
            Answer::ErrorText(r#"{"code":3,"message":"execution reverted","data":"0x08c379a0"}"#.to_owned())
        }
        _ => Answer::from_table(&Value::Null, method),
    }
}

/// A call without parameters, with the id 1.
pub fn call(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)
}

/// What the fixture's price is answered with.
pub fn gas_price() -> &'static str {
    r#"{"jsonrpc":"2.0","id":1,"result":"0x3b9aca00"}"#
}

/// Settings for chain 1 over these fronts. A short name and no block time of the laboratory's.
pub fn over(fronts: &[Front]) -> Settings {
    Settings { chain_id: 1, chain: String::new(), ..Settings::over(fronts) }
}

/// Starts a proxy with more keys of `[server]`, and waits until it has a usable backend.
pub async fn start(settings: &Settings, server: &str) -> Proxy {
    let mut proxy = start_unready(settings, server).await;
    proxy.ready().await;
    proxy
}

/// The same without waiting for a backend.
pub async fn start_unready(settings: &Settings, server: &str) -> Proxy {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let toml = settings.to_toml(&dir.path().join("journal"));
    let toml = toml.replacen("[server]\n", &format!("[server]\n{server}\n"), 1);
    Proxy::start_with(dir, &toml, &settings.environment).await
}

/// Whether the proxy itself asked: for the chain, or for a head, with or without its header.
pub fn is_own(seen: &Seen) -> bool {
    match &seen.methods[..] {
        [method] if method == "eth_getBlockByNumber" => {
            let body = String::from_utf8_lossy(&seen.body);
            ["latest", "finalized", "safe"].iter().any(|tag| body.ends_with(&format!("[\"{tag}\",false]}}")))
        }
        [method] => method == "eth_chainId" || method == "eth_blockNumber",
        _ => false,
    }
}

/// Bodies that reached a front, without those in which the proxy itself asks for chain and head.
pub fn forwarded(front: &Front) -> Vec<String> {
    let seen = front.seen().into_iter().filter(|seen| !is_own(seen));
    seen.map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
}

/// A message's body as text.
pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// A message's body as JSON.
pub fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.body)
        .unwrap_or_else(|error| panic!("{error}: {} {:?}", message.start, text(message)))
}

/// The code of a JSON-RPC error, or 0.
pub fn code(message: &Message) -> i64 {
    json(message)["error"]["code"].as_i64().unwrap_or(0)
}

/// An HTTP/2 connection by prior knowledge.
pub async fn http2<B>(address: &str) -> SendRequest<B>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.expect("the proxy accepts");
    let (client, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection); // ends with its client
    client
}

// === impl Client ===

/// One connection, spoken by hand.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects to `host:port`.
    pub async fn open(address: &str) -> Client {
        let stream = TcpStream::connect(address).await.expect("the proxy accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        Client { stream: BufReader::new(stream), host: address.to_owned() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).await.expect("the proxy reads");
    }

    /// Sends bytes to a proxy that may have closed.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// Whether the proxy has closed the connection; skips what it said before.
    pub async fn has_ended(&mut self) -> bool {
        let mut said = [0; 4096];
        loop {
            match timeout(Duration::from_millis(1), self.stream.read(&mut said)).await {
                Err(_) => return false,
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Reads one answer.
    pub async fn answer(&mut self) -> Message {
        let read = async {
            let mut answer =
                wire::read_head(&mut self.stream).await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            answer.body = wire::read_body(&mut self.stream, &answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        timeout(PATIENCE, read).await.expect("the proxy answers in time").expect("the proxy answers in HTTP")
    }

    /// Sends one request, with exactly these headers besides `host` (unless given) and the length.
    pub async fn request(&mut self, start: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let mut head = format!("{start} HTTP/1.1\r\n");
        if !has("host") {
            head += &format!("host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !has("content-length") && !has("transfer-encoding") && !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        self.send([head.as_bytes(), b"\r\n", body].concat()).await;
        self.answer().await
    }

    /// Posts JSON.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.request(&format!("POST {path}"), &all, body).await
    }

    /// Waits until the proxy closes, and returns what came before that.
    pub async fn rest(&mut self, limit: Duration) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = timeout(limit, self.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open after {limit:?}, said {:?}", String::from_utf8_lossy(&rest));
        rest // a reset ends the connection as well
    }
}
