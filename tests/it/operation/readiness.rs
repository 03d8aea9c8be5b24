//! O3: who may be sent traffic, and who is only alive.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{WATCHED, backend, until};
use crate::lab::front::Fault;
use crate::lab::proxy::{Proxy, Settings};

/// What `/status` says of each backend.
async fn backends(proxy: &Proxy) -> Vec<Value> {
    let mut status: Value = serde_json::from_slice(&proxy.get("/status").await.body).expect("JSON");
    serde_json::from_value(status["chains"][0]["backends"].take()).expect("an array")
}

#[tokio::test]
async fn o3_without_a_usable_backend_it_is_alive_and_not_ready() {
    let key_refused =
        Fault::respond(401, &[("content-type", "application/json")], r#"{"message":"invalid key"}"#);
    let cases = [
        ("down", Some(Fault::Refuse)),
        ("down", Some(Fault::html())),
        ("wrong chain", Some(Fault::ChainId(1))),
        ("paused", Some(key_refused)),
        ("unknown", Some(Fault::Hang)),
        ("cordoned", None),
    ];
    for (expected, fault) in cases {
        let front = backend().await;
        let mut settings = Settings::over(std::slice::from_ref(&front));
        match &fault {
            Some(fault) => front.set(fault.clone()).await,
            None => settings.backends[0].labels += "cordoned = true\n",
        }
        let proxy = Proxy::start(&settings).await;
        until(expected, async || backends(&proxy).await[0]["state"] == expected).await;
        let ready = proxy.get("/readyz").await;
        assert_eq!(ready.status(), 503, "{fault:?}");
        let ready: Value = serde_json::from_slice(&ready.body).expect("JSON");
        assert!(ready["ready"] == false && ready["reason"].is_string(), "{ready}");
        assert_eq!(proxy.get("/healthz").await.status(), 200, "{fault:?}");
    }
}

#[tokio::test]
async fn o3_traffic_tells_at_once_that_all_are_gone_and_a_return_is_seen_without_any() {
    let fronts = [backend().await, backend().await];
    let mut proxy = Proxy::start(&Settings::over(&fronts)).await;
    proxy.ready().await;
    // The next look would be a quarter of a minute away.
    until("the heads are known", async || backends(&proxy).await.iter().all(|b| b["head"] == 16)).await;
    for front in &fronts {
        front.set(Fault::Refuse).await;
    }
    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{WATCHED}"}}"#);
    let gone_at = Instant::now();
    until("not ready", async || {
        proxy.post(&call).await;
        proxy.get("/readyz").await.status() == 503
    })
    .await;
    assert!(gone_at.elapsed() < Duration::from_secs(2), "{:?}", gone_at.elapsed());
    fronts[1].heal().await;
    let back_at = Instant::now();
    until("ready", async || proxy.get("/readyz").await.status() == 200).await;
    assert!(back_at.elapsed() < Duration::from_secs(5), "{:?}", back_at.elapsed());
}
