//! H7: a backend that names a time to come back is left alone until then, and asked again afterwards.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{GOOD, Pair, WATCHED, status_of, watched};
use crate::lab::front::Fault;

/// How a provider says that it wants to be left alone for two seconds or a little more.
fn refusals() -> Vec<(&'static str, Fault)> {
    let rpc_error = |error: serde_json::Value| Fault::RpcError(error);
    // Dates count whole seconds: three from now on are more than two.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    vec![
        ("Retry-After in seconds", Fault::rate_limited("2")),
        ("Retry-After as a date", Fault::rate_limited(&date)),
        (
            "a page, and Retry-After",
            Fault::respond(
                429,
                &[("retry-after", "2"), ("content-type", "text/html")],
                "<html>Slow down</html>",
            ),
        ),
        (
            "Infura's data",
            rpc_error(json!({
                "code": -32005,
                "message": "project ID request rate exceeded",
                "data": {"rate": {"allowed_rps": 1, "backoff_seconds": 2, "current_rps": 5}},
            })),
        ),
        ("a sentence", rpc_error(json!({"code": -32005, "message": "rate limit exceeded, try again in 2s"}))),
    ]
}

#[tokio::test]
async fn h7_the_time_that_a_backend_names_is_kept_and_not_overdone() {
    /// What a busy machine may add to the window.
    const SLACK: Duration = Duration::from_secs(5);
    let window = Duration::from_secs(2);
    let kept = refusals().into_iter().map(|(name, refusal)| async move {
        let pair = Pair::start().await;
        pair.primary.set(refusal.only(&[WATCHED]).first(1)).await;
        let end = Instant::now() + window + SLACK;
        while pair.primary.count(WATCHED) < 2 {
            assert!(Instant::now() < end, "{name}: it is not asked again");
            assert_eq!(watched(&pair.proxy).await["result"], GOOD, "{name}");
            sleep(Duration::from_millis(25)).await;
        }
        let asked: Vec<_> = pair.primary.seen().into_iter().filter(|s| s.methods == [WATCHED]).collect();
        let left_alone = asked[1].at.duration_since(asked[0].at);
        assert!(left_alone >= window, "{name}: asked again after {left_alone:?}");
        assert!(pair.backup.count(WATCHED) > 5, "{name}: the other one served meanwhile");
        assert_eq!(status_of(&pair.proxy, "aws").await["failures"], 0, "{name}: a limit is no illness");
    });
    join_all(kept).await;
}

#[tokio::test]
async fn h7_while_everybody_wants_to_be_left_alone_the_client_is_told_at_once_and_nobody_is_asked() {
    let pair = Pair::start().await;
    for front in [&pair.primary, &pair.backup] {
        front.set(Fault::rate_limited("600").only(&[WATCHED])).await;
    }
    for _ in 0..20 {
        let started = Instant::now();
        let answer = watched(&pair.proxy).await;
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    assert_eq!(pair.asked(), (1, 1));
}
