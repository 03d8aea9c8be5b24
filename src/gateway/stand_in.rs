//! A backend of a few lines on a loopback socket, for tests of what the gateway does with answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Gateway;
use crate::config::Config;

/// What it says to a call: the member `result` or `error` and its value; `None` is silence.
type Says = dyn Fn(&Value) -> Option<(&'static str, Value)> + Send + Sync;

/// The backend; it ends with the runtime of its test.
pub(super) struct StandIn {
    pub(super) url: String,
    asked: Arc<AtomicUsize>,
}

impl StandIn {
    /// Answers every call after `pause`.
    pub(super) async fn start(
        pause: Duration,
        says: impl Fn(&str) -> Option<(&'static str, Value)> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(pause, move |call| says(call["method"].as_str().unwrap_or_default())).await
    }

    /// The same, from the whole call.
    pub(super) async fn start_with(
        pause: Duration,
        says: impl Fn(&Value) -> Option<(&'static str, Value)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, says): (_, Arc<Says>) = (asked.clone(), Arc::new(says));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, pause, says.clone(), counter.clone()));
            }
        });
        Self { url, asked }
    }

    /// Requests that came.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A gateway over such backends, in this order.
pub(super) fn over(backends: &[&StandIn]) -> Gateway {
    let mut file = "[chains.mainnet]\n".to_owned();
    for (at, backend) in backends.iter().enumerate() {
        file += &format!("[[chains.mainnet.backends]]\nname = \"b{at}\"\nurl = \"{}\"\n", backend.url);
    }
    let config = Config::from_toml(&file, "test", &|_| None).expect("a sound file");
    Gateway::new(&config).expect("a gateway")
}

async fn serve(mut stream: TcpStream, pause: Duration, says: Arc<Says>, asked: Arc<AtomicUsize>) {
    let mut read = Vec::new();
    while let Some(body) = next_body(&mut stream, &mut read).await {
        asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(pause).await;
        let answer = |call: &Value| {
            let (member, value) = says(call)?;
            Some(json!({ "jsonrpc": "2.0", "id": call["id"], member: value }))
        };
        let answer = match &body {
            Value::Array(calls) => calls.iter().map(answer).collect::<Option<Vec<_>>>().map(Value::Array),
            call => answer(call),
        };
        let Some(answer) = answer else { return std::future::pending().await };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn next_body(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Value> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let (start, length) = (end + 4, length.unwrap_or(0));
            if read.len() >= start + length {
                let body = serde_json::from_slice(&read[start..start + length]).ok();
                read.drain(..start + length);
                return body;
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}
