//! H1-H3: what backends turn out to share though nobody wrote it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{GOOD, WATCHED, backend, status_of, until};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;

/// Three providers in three clouds, the third slower than the others, and a backup at home.
async fn four() -> [Front; 4] {
    let fronts = [backend().await, backend().await, backend().await, backend().await];
    fronts[2].set(Fault::Latency(Duration::from_millis(150))).await;
    fronts
}

async fn proxy_over(fronts: &[Front; 4]) -> Proxy {
    let mut settings = Settings::over(fronts);
    settings.backends[3].labels += "tier = \"backup\"\n";
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    for backend in ["aws", "gcp", "metal", "cloud3"] {
        until("every backend is known", async || status_of(&proxy, backend).await["state"] == "ok").await;
    }
    proxy
}

async fn domains(proxy: &Proxy) -> Value {
    let status: Value = serde_json::from_slice(&proxy.get("/status").await.body).expect("JSON");
    status["chains"][0]["domains"].clone()
}

/// Who answers the watched call.
async fn answered_by(proxy: &Proxy) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": WATCHED}).to_string();
    let answer = rpc::post(proxy.address(), &[], body.as_bytes()).await.expect("an answer");
    let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(said["result"], GOOD, "{said}");
    answer.header("x-outrigger-backend").expect("the backend's name").to_owned()
}

#[tokio::test]
async fn h2_two_that_fail_behind_an_edge_that_only_headers_tell_of_take_the_third_along() {
    for (is_one_edge, expected) in [(true, "cloud3"), (false, "metal")] {
        let fronts = four().await;
        if is_one_edge {
            for front in &fronts[..3] {
                front.also(Fault::Header("cf-ray", "8f1e3d0c9a1b2c3d-NRT")).await;
            }
        }
        let proxy = proxy_over(&fronts).await;
        let derived = json!([{ "label": "edge:cloudflare", "from": "response headers" }]);
        if is_one_edge {
            for backend in ["aws", "gcp", "metal"] {
                until("the edge is seen", async || status_of(&proxy, backend).await["derived"] == derived)
                    .await;
                let told = status_of(&proxy, backend).await["domains"].clone();
                assert!(told.as_array().expect("labels").contains(&json!("edge:cloudflare")), "{told}");
            }
        }
        assert_eq!(status_of(&proxy, "cloud3").await["derived"], json!([]));
        let told = domains(&proxy).await;
        let number = if is_one_edge { json!([2, 2.0]) } else { json!([4, 4.0]) };
        assert_eq!(json!([told["independent"], told["effective"]]), number, "{told}");
        for front in &fronts[..2] {
            front.also(Fault::Refuse).await;
        }
        // The two fail within one request, or the slow one was asked just now to be measured.
        let mut last = String::new();
        until("both have failed", async || {
            last = answered_by(&proxy).await;
            status_of(&proxy, "aws").await["failures"] != 0 && status_of(&proxy, "gcp").await["failures"] != 0
        })
        .await;
        assert_eq!(last, expected, "one edge: {is_one_edge}");
        let state = status_of(&proxy, "metal").await;
        assert_eq!(state["state"], if is_one_edge { "doubted" } else { "ok" }, "{state}");
        let failing = if is_one_edge { json!(["edge:cloudflare"]) } else { json!([]) };
        assert_eq!(domains(&proxy).await["failing"], failing);
    }
}
