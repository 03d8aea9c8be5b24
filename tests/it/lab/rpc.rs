//! The client of the laboratory: JSON-RPC over one kept-alive connection, nothing hidden.
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::wire::{self, Message};

/// How long a node may take; anvil answers in a few milliseconds, a busy machine needs the rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection failed; the kind tells refused, reset and end of file apart.
    #[error("no answer: {0}")]
    Io(#[from] std::io::Error),
    /// The answer was no JSON-RPC response.
    #[error("HTTP {status} without a JSON-RPC response: {body}")]
    Shape { status: u16, body: String },
    /// A JSON-RPC error object.
    #[error("{method}: {error}")]
    Rpc { method: String, error: Value },
}

/// Sends one HTTP POST on a connection of its own and returns the whole answer.
pub async fn post(address: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Message> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    exchange(&mut stream, address, "/", headers, body).await
}

/// Sends a call on a connection of its own and does not wait for the answer: the caller reads it, or hangs up.
pub async fn call_and_leave(address: &str, method: &str) -> std::io::Result<BufReader<TcpStream>> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
    let headers = [("host", address), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let request = Message { start: "POST / HTTP/1.1".to_owned(), headers, body: body.into() };
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.get_mut().write_all(&request.to_bytes()).await?;
    Ok(stream)
}

/// One request and its answer on an open connection.
pub async fn exchange(
    stream: &mut BufReader<TcpStream>,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Message> {
    let mut all = vec![("host".to_owned(), host.to_owned())];
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        all.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    all.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    let request =
        Message { start: format!("POST {path} HTTP/1.1"), headers: all, body: Bytes::copy_from_slice(body) };
    stream.get_mut().write_all(&request.to_bytes()).await?;
    let mut answer = wire::read_head(stream).await?.ok_or(ErrorKind::UnexpectedEof)?;
    answer.body = wire::read_body(stream, &answer).await?;
    Ok(answer)
}

/// `GET path` on a connection of its own.
pub async fn get(address: &str, path: &str) -> std::io::Result<Message> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).await?;
    let mut answer = wire::read_head(&mut stream).await?.ok_or(ErrorKind::UnexpectedEof)?;
    answer.body = wire::read_body(&mut stream, &answer).await?;
    Ok(answer)
}

/// A JSON-RPC client of one address; keeps its connection.
pub struct Rpc {
    address: String,
    stream: Mutex<Option<BufReader<TcpStream>>>,
}

impl Rpc {
    /// A client of `host:port`; connects at the first call.
    pub fn new(address: impl Into<String>) -> Rpc {
        Rpc { address: address.into(), stream: Mutex::new(None) }
    }

    /// Calls `method` and returns its `result`.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.send(request.to_string().as_bytes()).await?;
        let shape = || CallError::Shape {
            status: answer.status(),
            body: String::from_utf8_lossy(&answer.body).into(),
        };
        let mut value: Value = serde_json::from_slice(&answer.body).map_err(|_| shape())?;
        if let Some(error) = value.get_mut("error") {
            return Err(CallError::Rpc { method: method.to_owned(), error: error.take() });
        }
        value.get_mut("result").map(Value::take).ok_or_else(shape)
    }

    /// Posts a body as it is. A kept connection that the peer has closed meanwhile is replaced once.
    pub async fn send(&self, body: &[u8]) -> std::io::Result<Message> {
        let mut slot = self.stream.lock().await;
        let kept = slot.take();
        let was_kept = kept.is_some();
        let first = match kept {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let mut done = self.attempt(first, body).await;
        if was_kept && done.as_ref().is_err_and(|e| e.kind() != ErrorKind::TimedOut) {
            done = self.attempt(self.connect().await?, body).await;
        }
        let (stream, answer) = done?;
        if !answer.closes() {
            *slot = Some(stream);
        }
        Ok(answer)
    }

    async fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    async fn attempt(
        &self,
        mut stream: BufReader<TcpStream>,
        body: &[u8],
    ) -> std::io::Result<(BufReader<TcpStream>, Message)> {
        let answer = timeout(PATIENCE, exchange(&mut stream, &self.address, "/", &[], body)).await;
        Ok((stream, answer.map_err(|_| ErrorKind::TimedOut)??))
    }
}
