//! O1, O3: starting, being ready, and leaving.

mod leaving;
mod readiness;

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;

const WATCHED: &str = "eth_gasPrice";

async fn backend() -> Front {
    Front::table(json!({ "eth_chainId": "0x7a69", "eth_blockNumber": "0x10", WATCHED: "0x1" })).await
}

/// Waits for what the proxy finds out in the background.
async fn until(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !wanted().await {
        assert!(tokio::time::Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn o3_readiness_follows_the_backends_and_liveness_does_not() {
    let front = backend().await;
    front.set(Fault::Refuse).await;
    let proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
    assert_eq!(proxy.get("/healthz").await.status(), 200);
    assert_eq!(proxy.get("/readyz").await.status(), 503);
    front.heal().await;
    until("ready once a backend is up", async || proxy.get("/readyz").await.status() == 200).await;
    // Nobody asks anything meanwhile: it is noticed all the same.
    front.set(Fault::Refuse).await;
    until("not ready once all are gone", async || proxy.get("/readyz").await.status() == 503).await;
    assert_eq!(proxy.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn o3_one_silent_backend_does_not_hold_up_the_start() {
    let fronts = [backend().await, backend().await];
    fronts[0].set(Fault::BlackHole).await;
    let started = tokio::time::Instant::now();
    let mut proxy = Proxy::start(&Settings::over(&fronts)).await;
    proxy.ready().await;
    let answer = proxy.post(&json!({"jsonrpc": "2.0", "id": 1, "method": WATCHED}).to_string()).await;
    assert_eq!(answer.status(), 200);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(body.contains("\"result\""), "{body} {}", proxy.said());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn o1_on_sigterm_work_under_way_is_finished_and_kept_connections_are_sent_away() {
    let front = backend().await;
    let mut proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
    proxy.ready().await;
    let mut idle = TcpStream::connect(proxy.address()).await.expect("it listens");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it is sent");
    let mut buffer = vec![0; 4096];
    assert!(idle.read(&mut buffer).await.expect("an answer") > 0);
    front.set(Fault::Latency(Duration::from_millis(600)).only(&[WATCHED])).await;
    let mut busy = rpc::call_and_leave(proxy.address(), WATCHED).await.expect("it listens");
    until("the call is under way", async || front.count(WATCHED) > 0).await;
    let address = proxy.address().to_owned();
    proxy.signal("TERM");
    assert_eq!(idle.read(&mut buffer).await.expect("a close, no reset"), 0, "the idle connection is closed");
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.expect("the whole answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#""result":"0x1"}"#), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    let (status, said) = tokio::task::spawn_blocking(move || proxy.ended()).await.expect("it is waited for");
    assert!(status.success(), "{said}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn o1_a_request_that_never_ends_cannot_hold_up_the_end() {
    let front = backend().await;
    let mut settings = Settings::over(std::slice::from_ref(&front));
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let toml = settings.to_toml(&folder.path().join("journal"));
    let toml = toml.replace("[server]\n", "[server]\nshutdown_grace = \"1s\"\n");
    let mut proxy = Proxy::start_with(folder, &toml, &[]).await;
    proxy.ready().await;
    front.set(Fault::Hang.only(&[WATCHED])).await;
    let _busy = rpc::call_and_leave(proxy.address(), WATCHED).await.expect("it listens");
    until("the call is under way", async || front.count(WATCHED) > 0).await;
    let started = tokio::time::Instant::now();
    let (status, said) = tokio::task::spawn_blocking(move || proxy.stop()).await.expect("it is waited for");
    assert!(status.success(), "{said}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn h13_health_survives_a_restart_and_a_broken_file_costs_nothing() {
    let fronts = [backend().await, backend().await];
    let mut settings = Settings::over(&fronts);
    settings.backends[1].labels += "tier = \"backup\"\n";
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    fronts[0].set(Fault::Close.only(&[WATCHED])).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": WATCHED}).to_string();
    for _ in 0..8 {
        proxy.post(&call).await;
    }
    let home = tempfile::tempdir().expect("a folder");
    let folder = proxy.dir().join(".local/state/outrigger");
    proxy.signal("TERM");
    let kept = home.path().join("health.json");
    let mut name = None;
    until("it is written down", async || {
        let mut files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        name = files
            .find(|file| file.path().extension().is_some_and(|e| e == "json"))
            .map(|file| file.file_name());
        name.as_ref().is_some_and(|name| std::fs::copy(folder.join(name), &kept).is_ok())
    })
    .await;
    let name = name.expect("its name");
    drop(proxy);
    fronts.iter().for_each(Front::forget);
    let restart = async |memory: &[u8]| {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join(".local/state/outrigger");
        std::fs::create_dir_all(&state).expect("it is made");
        std::fs::write(state.join(&name), memory).expect("it is written");
        let toml = settings.to_toml(&folder.path().join("journal"));
        let mut proxy = Proxy::start_with(folder, &toml, &[]).await;
        proxy.ready().await;
        proxy
    };
    let proxy = restart(&std::fs::read(&kept).expect("the copy")).await;
    for _ in 0..3 {
        let answer = proxy.post(&call).await;
        assert_eq!(answer.header("x-outrigger-backend"), Some("gcp"));
        assert_eq!(answer.header("x-outrigger-attempts"), Some("1"), "nobody pays for knowing it again");
    }
    let proxy = restart(b"{ broken").await;
    assert_eq!(proxy.post(&call).await.status(), 200);
    assert!(proxy.said().contains("learned anew"), "{}", proxy.said());
}

#[tokio::test]
async fn what_happens_to_a_backend_is_told_in_the_log_and_at_status() {
    let fronts = [backend().await, backend().await];
    let mut settings = Settings::over(&fronts);
    settings.backends[1].labels += "tier = \"backup\"\n";
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    fronts[0].set(Fault::status(503).only(&[WATCHED])).await;
    for _ in 0..6 {
        proxy.post(&json!({"jsonrpc": "2.0", "id": 1, "method": WATCHED}).to_string()).await;
    }
    let status: serde_json::Value = serde_json::from_slice(&proxy.get("/status").await.body).expect("JSON");
    let chain = &status["chains"][0];
    assert_eq!(chain["favourite"], "gcp", "{status}");
    let changes: Vec<_> =
        chain["changes"].as_array().expect("changes").iter().map(|c| c["what"].clone()).collect();
    assert!(
        changes
            .iter()
            .any(|what| what.as_str().is_some_and(|w| w.contains("left alone for a while: overloaded"))),
        "{changes:?}"
    );
    // H14: each decision can be explained afterwards.
    let decisions: serde_json::Value =
        serde_json::from_slice(&proxy.get("/status/lab/decisions").await.body).expect("JSON");
    let decisions = decisions.as_array().expect("decisions");
    assert_eq!(decisions[0]["chosen"], "gcp", "{decisions:?}");
    let names: Vec<_> =
        decisions[0]["candidates"].as_array().expect("candidates").iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["gcp", "aws"], "{decisions:?}");
    assert!(
        decisions
            .iter()
            .any(|d| d["chosen"] == "gcp" && d["why"].as_str().is_some_and(|w| w.contains("shares least")))
    );
    assert_eq!(proxy.get("/status/nowhere/decisions").await.status(), 404);
    until("the log tells it", async || proxy.said().contains("left alone for a while")).await;
}
