//! R2, R12: nobody can serve for a while. Errors come quickly, what needs nobody is answered, and the first
//! call after the end of it works.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{GOOD, Pair, WATCHED, backend, call, status_of, until, watched};
use crate::lab::front::Fault;
use crate::lab::proxy::{Proxy, Settings};

/// The promise of R12.
const RECOVERY_MAX: Duration = Duration::from_secs(1);

/// Ways in which everybody fails, and how long an error may take.
fn outages() -> Vec<(Fault, Duration)> {
    let quick = Duration::from_secs(2);
    vec![
        (Fault::Refuse, quick),
        (Fault::Reset, quick),
        (Fault::status(503), quick),
        (Fault::status(502), quick),
        (Fault::status(429), quick),
        (Fault::respond(401, &[("content-type", "application/json")], r#"{"message":"bad key"}"#), quick),
        (Fault::html(), quick),
        (Fault::rpc_error(-32603, "Internal error"), quick),
        // Silence lasts until the deadline, see below.
        (Fault::Hang, Duration::from_secs(4)),
        (Fault::BlackHole, Duration::from_secs(4)),
    ]
}

#[tokio::test]
async fn r12_however_everybody_fails_clients_are_told_quickly_and_served_at_once_afterwards() {
    for (outage, error_within) in outages() {
        let pair = Pair::start_with(|settings| settings.tables += "deadline = \"1s\"\n").await;
        for front in [&pair.primary, &pair.backup] {
            front.set(outage.clone()).await;
        }
        for _ in 0..4 {
            let started = Instant::now();
            let answer = watched(&pair.proxy).await;
            assert!(answer["error"]["code"].is_i64(), "{outage:?}: {answer}");
            assert!(started.elapsed() < error_within, "{outage:?}: {:?}", started.elapsed());
            let started = Instant::now();
            assert_eq!(call(&pair.proxy, "eth_chainId", json!([])).await["result"], "0x7a69", "{outage:?}");
            assert_eq!(call(&pair.proxy, "net_version", json!([])).await["result"], "31337", "{outage:?}");
            assert!(started.elapsed() < Duration::from_secs(1), "{outage:?}: {:?}", started.elapsed());
        }
        for front in [&pair.primary, &pair.backup] {
            front.heal().await;
        }
        assert_eq!(watched(&pair.proxy).await["result"], GOOD, "{outage:?}: the first call afterwards");
    }
}

/// A provider whose login service fails refuses good keys, and several buy it from the same company.
#[tokio::test]
async fn r12_everybody_refusing_good_keys_is_an_outage_and_ends_as_one() {
    for status in [401, 402, 403, 410] {
        let pair = Pair::start().await;
        // Both have just shown that their keys are good.
        pair.primary.set(Fault::Refuse).await;
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
        pair.primary.heal().await;
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
        assert_eq!(pair.asked(), (1, 1));
        for front in [&pair.primary, &pair.backup] {
            front.set(Fault::respond(status, &[("content-type", "text/plain")], "refused")).await;
        }
        for _ in 0..5 {
            assert!(watched(&pair.proxy).await["error"].is_object());
        }
        for front in [&pair.primary, &pair.backup] {
            front.heal().await;
        }
        assert_eq!(watched(&pair.proxy).await["result"], GOOD, "{status}: the first call afterwards");
    }
}

#[tokio::test]
async fn r12_a_fleet_that_was_down_at_the_start_serves_within_a_second_of_its_recovery() {
    /// So long that the proxy by itself looks for the backends only every few seconds.
    const OUTAGE: Duration = Duration::from_millis(4500);
    let recoveries = [false, true].map(|asked_meanwhile| async move {
        let fronts = [backend().await, backend().await, backend().await];
        for front in &fronts {
            front.set(Fault::Refuse).await;
        }
        let proxy = Proxy::start(&Settings::over(&fronts)).await;
        let end = Instant::now() + OUTAGE;
        while Instant::now() < end {
            if asked_meanwhile {
                assert!(watched(&proxy).await["error"].is_object());
            }
            sleep(Duration::from_millis(100)).await;
        }
        for front in &fronts {
            front.heal().await;
        }
        let recovered_at = Instant::now();
        while watched(&proxy).await["result"] != GOOD {
            assert!(recovered_at.elapsed() < RECOVERY_MAX, "asked meanwhile: {asked_meanwhile}");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(proxy.get("/readyz").await.status(), 200, "what has just served is ready");
    });
    join_all(recoveries).await;
}

#[tokio::test]
async fn r2_a_backend_that_was_asked_in_vain_from_the_start_gets_traffic_once_it_is_up() {
    let (primary, backup) = (backend().await, backend().await);
    primary.set(Fault::Refuse).await;
    let mut settings = Settings::over(&[primary.clone(), backup.clone()]);
    settings.backends[1].labels += "tier = \"backup\"\n";
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    for _ in 0..30 {
        assert_eq!(watched(&proxy).await["result"], GOOD);
    }
    primary.heal().await;
    let recovered_at = Instant::now();
    until("traffic for the backend that came up", async || {
        assert_eq!(watched(&proxy).await["result"], GOOD);
        primary.count(WATCHED) > 0
    })
    .await;
    assert!(recovered_at.elapsed() < Duration::from_secs(8), "{:?}", recovered_at.elapsed());
    until("it serves as a primary does", async || {
        watched(&proxy).await;
        status_of(&proxy, "aws").await["state"] == "ok"
    })
    .await;
}
