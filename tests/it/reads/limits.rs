//! H7: a backend that names a time is left alone until then, and no longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::time::Instant;

use super::{GOOD, Pair, WATCHED, backend, status_of, until, watched};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};

/// What the windows of these tests are at least.
const WINDOW: Duration = Duration::from_secs(2);

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An HTTP date (RFC 9110, 5.6.7), from seconds since 1970.
fn http_date(at: u64) -> String {
    let (days, second) = (at / 86_400, at % 86_400);
    // Howard Hinnant's civil_from_days
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    format!(
        "{weekday}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        names[(month - 1) as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[test]
fn dates_are_written_as_http_does() {
    // RFC 9110's own example, and a leap day
    assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
}

/// Refusals that name a window of at least [`WINDOW`].
fn refusals() -> Vec<(&'static str, Fault)> {
    vec![
        ("Retry-After in seconds", Fault::rate_limited("2")),
        // A date has whole seconds: three of them are more than two from now.
        ("Retry-After as a date", Fault::rate_limited(&http_date(seconds_since_1970() + 3))),
        (
            "backoff in the error's data",
            Fault::RpcError(json!({
                "code": -32005,
                "message": "project ID request rate exceeded",
                "data": {"rate": {"allowed_rps": 1, "backoff_seconds": 2, "current_rps": 1.1}},
            })),
        ),
        ("words", Fault::rpc_error(-32005, "rate limit exceeded, try again in 2 seconds")),
    ]
}

/// When the watched method arrived.
fn arrivals(front: &Front) -> Vec<Instant> {
    front
        .seen()
        .into_iter()
        .filter(|seen| seen.methods.iter().any(|m| m == WATCHED))
        .map(|seen| seen.at)
        .collect()
}

#[tokio::test]
async fn h7_a_named_window_is_kept_and_then_the_backend_serves_again() {
    for (what, _) in refusals() {
        let pair = Pair::start().await;
        // made here, since a date grows old
        let fault = refusals().into_iter().find(|(name, _)| *name == what).expect("it is listed").1;
        pair.primary.set(fault.only(&[WATCHED]).first(1)).await;
        until(what, async || {
            assert_eq!(watched(&pair.proxy).await["result"], GOOD, "{what}: no client notices");
            pair.primary.count(WATCHED) > 1
        })
        .await;
        let arrived = arrivals(&pair.primary);
        let pause = arrived[1] - arrived[0];
        // The refusal was read a moment after the call arrived, so the pause is longer than the window. How much longer
        // depends on how many calls a second this loop makes: who has just refused gets a small part of them at first.
        assert!(pause >= WINDOW, "{what}: asked again after {pause:?}");
        assert_eq!(status_of(&pair.proxy, "aws").await["failures"], 0, "{what}: a limit is no illness");
    }
}

#[tokio::test]
async fn h7_a_window_is_kept_even_when_nobody_else_is_left() {
    let pair = Pair::start().await;
    for front in [&pair.primary, &pair.backup] {
        front.set(Fault::rate_limited("2").only(&[WATCHED]).first(1)).await;
    }
    let mut refused = 0;
    until("the windows have passed", async || {
        let asked_at = Instant::now();
        let answer = watched(&pair.proxy).await;
        assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
        if answer["result"] == GOOD {
            return true;
        }
        refused += 1;
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        false
    })
    .await;
    assert!(refused > 10, "only {refused} calls fell into the window");
    let (primary, backup) = (arrivals(&pair.primary), arrivals(&pair.backup));
    assert_eq!(primary.len() + backup.len(), 3, "each was asked once, and one of them once more");
    for arrived in [primary, backup].iter().filter(|arrived| arrived.len() == 2) {
        assert!(arrived[1] - arrived[0] >= WINDOW, "{:?}", arrived[1] - arrived[0]);
    }
}

#[tokio::test]
async fn h7_a_limit_without_a_time_takes_traffic_away_and_no_health() {
    let pair = Pair::start().await;
    pair.primary.set(Fault::rpc_error(-32005, "limit exceeded").only(&[WATCHED])).await;
    for _ in 0..30 {
        assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    }
    let (primary, backup) = pair.asked();
    assert!(primary <= 5, "asked {primary} times while it refuses");
    assert_eq!(backup, 30);
    assert_eq!(status_of(&pair.proxy, "aws").await["failures"], 0);
}

#[tokio::test]
async fn h7_the_proxys_own_questions_keep_the_window_too() {
    let fronts = [backend().await, backend().await];
    fronts[0].set(Fault::rate_limited("3").first(1)).await;
    let proxy = Proxy::start(&Settings::over(&fronts)).await;
    until("it is asked again", async || fronts[0].requests() > 1).await;
    let seen = fronts[0].seen();
    let pause = seen[1].at - seen[0].at;
    assert!(pause >= Duration::from_secs(3), "{:?} after the refusal: {:?}", pause, seen[1].methods);
    until("it serves", async || status_of(&proxy, "aws").await["state"] == "ok").await;
}
