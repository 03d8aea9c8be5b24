//! R2, R12: everything is down, and then it is not.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{GOOD, Pair, backend, call, until, watched};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};

/// Time from the recovery of a backend to the first good answer.
const RECOVERY_LIMIT: Duration = Duration::from_secs(1);
/// What an error may take where a backend says at once that it fails; a deadline is ten seconds.
const QUICK: Duration = Duration::from_secs(2);

/// Ways in which a whole fleet is down and says so at once.
fn ways_to_be_down() -> Vec<(&'static str, Fault)> {
    let json = [("content-type", "application/json")];
    vec![
        ("refused", Fault::Refuse),
        ("reset", Fault::Reset),
        ("closed", Fault::Close),
        ("cut", Fault::CutAfter(9)),
        ("500", Fault::status(500)),
        ("503", Fault::status(503)),
        ("503 that names a time", Fault::respond(503, &[("retry-after", "600")], "Service Unavailable")),
        ("401", Fault::respond(401, &json, r#"{"message":"No API key found in request"}"#)),
        ("402", Fault::respond(402, &json, r#"{"error":"payment required"}"#)),
        ("limited, with no time named", Fault::rpc_error(-32005, "rate limit exceeded")),
        ("a web page", Fault::html()),
        ("nothing", Fault::empty()),
        ("garbage", Fault::garbage()),
    ]
}

async fn set_all(fronts: &[&Front], fault: &Fault) {
    for front in fronts {
        front.set(fault.clone()).await;
    }
}

/// Heals the fronts, and asks without a pause until the answer is good.
async fn recovers_in_time(proxy: &Proxy, fronts: &[&Front], what: &str) {
    for front in fronts {
        front.heal().await;
    }
    let healed_at = Instant::now();
    until(what, async || watched(proxy).await["result"] == GOOD).await;
    assert!(healed_at.elapsed() <= RECOVERY_LIMIT, "{what}: {:?} {}", healed_at.elapsed(), proxy.said());
    // Whoever asks whether it can serve hears of it too.
    until(&format!("ready: {what}"), async || proxy.get("/readyz").await.status() == 200).await;
}

#[tokio::test]
async fn r12_when_all_fail_an_error_comes_quickly_and_the_recovery_is_noticed_at_once() {
    for (what, fault) in ways_to_be_down() {
        let pair = Pair::start().await;
        let fronts = [&pair.primary, &pair.backup];
        set_all(&fronts, &fault).await;
        for _ in 0..8 {
            let asked_at = Instant::now();
            let answer = watched(&pair.proxy).await;
            assert!(answer["error"]["code"].is_i64() && answer.get("result").is_none(), "{what}: {answer}");
            assert!(asked_at.elapsed() < QUICK, "{what}: {:?}", asked_at.elapsed());
        }
        for (method, constant) in [("eth_chainId", "0x7a69"), ("net_version", "31337")] {
            assert_eq!(call(&pair.proxy, method, json!([])).await["result"], constant, "{what}");
        }
        recovers_in_time(&pair.proxy, &fronts, what).await;
    }
}

#[tokio::test]
async fn r2_a_fleet_that_is_down_at_the_start_serves_as_soon_as_it_is_up() {
    let mut ways = ways_to_be_down();
    ways.push(("silent", Fault::Hang));
    ways.push(("a black hole", Fault::BlackHole));
    for (what, fault) in ways {
        let fronts = [backend().await, backend().await];
        let down = [&fronts[0], &fronts[1]];
        set_all(&down, &fault).await;
        let proxy = Proxy::start(&Settings::over(&fronts)).await;
        assert_eq!(proxy.get("/readyz").await.status(), 503, "{what}");
        if !matches!(fault, Fault::Hang | Fault::BlackHole) {
            assert!(watched(&proxy).await["error"].is_object(), "{what}");
        }
        recovers_in_time(&proxy, &down, what).await;
    }
}

#[tokio::test]
async fn r2_a_fleet_that_falls_silent_serves_as_soon_as_it_speaks_again() {
    for fault in [Fault::Hang, Fault::BlackHole] {
        let pair =
            Pair::start_with(|settings| settings.tables = "[routing]\ndeadline = \"1s\"\n".to_owned()).await;
        let fronts = [&pair.primary, &pair.backup];
        set_all(&fronts, &fault).await;
        for _ in 0..3 {
            let asked_at = Instant::now();
            let answer = watched(&pair.proxy).await;
            assert!(answer["error"].is_object(), "{fault:?}: {answer}");
            assert!(asked_at.elapsed() < QUICK, "{fault:?}: {:?}", asked_at.elapsed());
        }
        recovers_in_time(&pair.proxy, &fronts, "a silent fleet").await;
    }
}

#[tokio::test]
async fn o3_without_any_traffic_too_a_fleet_that_comes_up_is_ready() {
    for (what, fault) in ways_to_be_down() {
        let front = backend().await;
        front.set(fault).await;
        let proxy = Proxy::start(&Settings::over(std::slice::from_ref(&front))).await;
        until("it was asked once", async || front.requests() > 0 || what == "refused").await;
        assert_eq!(proxy.get("/readyz").await.status(), 503, "{what}");
        front.heal().await;
        until(what, async || proxy.get("/readyz").await.status() == 200).await;
    }
}
