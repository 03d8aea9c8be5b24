//! How long until a transaction is acknowledged: `cargo bench --bench acknowledge`.
//!
//! Three backends in this process, over real sockets, that answer after a fixed time; a gateway over them whose journal lies
//! on the disk of this folder. Each transaction is written and synced, sent to all three, and acknowledged once the
//! first takes it. The same is asked of the fastest backend alone, in turns, by a plain client: what counts is the
//! difference in the same run. The bar is 1.2 times the fastest healthy backend's answer and 5 ms.
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256, hex, keccak256, uint};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger::config::Config;
use outrigger::gateway::Gateway;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

const ROUNDS: u64 = 200;
/// The fastest's time to answer, and how much later the others do.
const FASTEST_MS: [u64; 3] = [5, 20, 100];
const LATER: [u64; 3] = [1, 3, 6];
/// The bar.
const FACTOR: f64 = 1.2;
const SLACK: Duration = Duration::from_millis(5);

/// A transfer that differs from all others in its nonce. Any signature recovers to somebody.
fn raw(nonce: u64) -> String {
    let transaction = TxEip1559 {
        chain_id: 1,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0xaa)),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    // The generator's x is on the curve.
    let r = uint!(0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798_U256);
    let signed = transaction.into_signed(Signature::new(r, U256::from(7), false));
    hex::encode_prefixed(TxEnvelope::from(signed).encoded_2718())
}

fn answer(call: &Value) -> Value {
    let result = match call["method"].as_str().unwrap_or_default() {
        "eth_sendRawTransaction" => {
            let raw = hex::decode(call["params"][0].as_str().unwrap_or_default()).unwrap_or_default();
            json!(keccak256(raw))
        }
        "eth_chainId" => json!("0x1"),
        _ => Value::Null,
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

/// A backend that takes every transaction after this time; what else is asked is answered at once.
async fn backend(takes: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            let service = service_fn(move |request: hyper::Request<Incoming>| async move {
                let body =
                    request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
                if asked["method"] == "eth_sendRawTransaction" {
                    sleep(takes).await;
                }
                let answer = match &asked {
                    Value::Array(calls) => calls.iter().map(answer).collect(),
                    call => answer(call),
                };
                let body = Full::new(Bytes::from(answer.to_string()));
                let answer = hyper::Response::builder().header("content-type", "application/json").body(body);
                Ok::<_, Infallible>(answer.expect("a response"))
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    sender
}

async fn directly(plain: &mut SendRequest<Full<Bytes>>, raw: &str) -> Duration {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]});
    let request = hyper::Request::post("/")
        .header("host", "backend")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a request");
    let began = Instant::now();
    let answer = plain.send_request(request).await.expect("an answer");
    answer.into_body().collect().await.expect("its body");
    began.elapsed()
}

async fn acknowledged(gateway: &Gateway, raw: &str) -> Duration {
    let began = Instant::now();
    let hash: Result<String, _> = gateway.call(None, "eth_sendRawTransaction", (raw,)).await;
    hash.expect("it is taken");
    began.elapsed()
}

fn at(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
        .expect("a folder on a disk");
    println!("fastest | alone p50 / p95 | acknowledged p50 / p95 | bar at p50 / p95");
    let mut nonce = 0;
    for fastest_ms in FASTEST_MS {
        let mut file = format!(
            "[transactions]\njournal = '{}'\n[chains.mainnet]\n",
            folder.path().join(format!("journal-{fastest_ms}")).display()
        );
        let mut addresses = Vec::new();
        for (at, later) in LATER.into_iter().enumerate() {
            let address = backend(Duration::from_millis(fastest_ms * later)).await;
            file += &format!(
                "[[chains.mainnet.backends]]\nname = \"b{at}\"\nurl = \"http://{address}\"\nprovider = \"p{at}\"\n"
            );
            addresses.push(address);
        }
        let config = Config::from_toml(&file, "bench", &|_| None).expect("a sound file");
        let gateway = Gateway::new(&config).expect("a gateway");
        let mut plain = connect(&addresses[0]).await;
        let (mut alone, mut through) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            nonce += 1;
            let raw = raw(nonce);
            alone.push(directly(&mut plain, &raw).await);
            through.push(acknowledged(&gateway, &raw).await);
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (p50, p95) = (at(&mut alone, 0.5), at(&mut alone, 0.95));
        let (ack50, ack95) = (at(&mut through, 0.5), at(&mut through, 0.95));
        let bar = |alone: Duration| alone.mul_f64(FACTOR) + SLACK;
        let word = |ack: Duration, alone: Duration| if ack <= bar(alone) { "kept" } else { "missed" };
        println!(
            "{fastest_ms} ms | {:.1} / {:.1} ms | {:.1} / {:.1} ms | {:.1} ms {} / {:.1} ms {}",
            ms(p50),
            ms(p95),
            ms(ack50),
            ms(ack95),
            ms(bar(p50)),
            word(ack50, p50),
            ms(bar(p95)),
            word(ack95, p95),
        );
    }
}
