//! Clients that take their time, or too much room: each has its bound, and nobody else notices.
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep, timeout};

use super::site::{self, Site, call, text};

/// What the slow clients get, and the time after which the test gives up on the proxy.
const TIMEOUTS: &str = "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"";
const BOUND: Duration = Duration::from_secs(5);

/// Nothing, the start of a head, and whole heads that never end: all are closed.
#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let site = Site::with(TIMEOUTS).await;
    for start in [
        "",
        "P",
        "PR",
        "POST / HT",
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-",
        // as HTTP/2, cut in and after its preface
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM",
    ] {
        let mut slow = site.connect().await;
        slow.send(start).await;
        slow.rest(BOUND).await;
    }
    site.still_serves(&mut site.connect().await, "slow heads").await;
}

/// A byte now and then does not win more time.
#[tokio::test]
async fn a_head_that_drips_ends_the_connection() {
    let site = Site::with(TIMEOUTS).await;
    let mut slow = site.connect().await;
    slow.send("POST / HTTP/1.1\r\nhost: localhost\r\nx: ").await;
    let dripped = Instant::now();
    // writes fail at some point after the proxy has closed, and reading ends
    let end = loop {
        if slow.try_send(b"x").await.is_err() || slow.has_ended().await {
            break dripped.elapsed();
        }
        assert!(dripped.elapsed() < BOUND, "still open");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(end >= Duration::from_millis(250), "cut after {end:?}");
}

/// A body that stops, or drips, is told so and ends the connection.
#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_ends_the_connection() {
    let site = Site::with(TIMEOUTS).await;
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for rest in [
        "content-length: 100\r\n\r\n{\"json",
        "transfer-encoding: chunked\r\n\r\n64\r\n{\"json",
        "content-length: 9\r\n\r\n",
    ] {
        let mut slow = site.connect().await;
        slow.send(format!("{head}{rest}")).await;
        let answer = slow.answer().await;
        assert_eq!((answer.status(), site::code(&answer)), (408, -32600), "{rest:?}");
        slow.rest(BOUND).await;
    }
    let mut slow = site.connect().await;
    slow.send(format!("{head}content-length: 100000\r\n\r\n")).await;
    let dripped = Instant::now();
    while slow.try_send(b" ").await.is_ok() && !slow.has_ended().await {
        assert!(dripped.elapsed() < BOUND, "still open");
        sleep(Duration::from_millis(20)).await;
    }
    site.still_serves(&mut site.connect().await, "slow bodies").await;
    assert_eq!(site.forwarded().len(), 1);
}

/// On HTTP/2 a stalled body ends its own stream, not the connection.
#[tokio::test]
async fn a_stalled_body_on_http2_does_not_hold_up_its_neighbours() {
    let site = Site::with(TIMEOUTS).await;
    let mut client = site::http2(site.proxy.address()).await;
    let never =
        StreamBody::new(futures_util::stream::pending::<Result<_, std::convert::Infallible>>()).boxed();
    let whole = || http_body_util::Full::new(Bytes::from(call("eth_gasPrice"))).boxed();
    let request = |body| {
        let request = Request::post("http://localhost/").header("content-type", "application/json");
        request.body(body).expect("a request")
    };
    let stalled = client.send_request(request(never));
    let answer = client.send_request(request(whole())).await.expect("the neighbour is answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let stalled = timeout(BOUND, stalled).await.expect("in bounded time").expect("an answer");
    assert_eq!(stalled.status(), StatusCode::REQUEST_TIMEOUT);
    let answer = client.send_request(request(whole())).await.expect("the connection goes on");
    assert_eq!(answer.status(), StatusCode::OK);
}

/// No more connections than configured are served at a time; the next one's turn comes when one leaves.
#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let site = Site::with("max_connections = 2").await;
    let body = call("eth_gasPrice");
    let (mut one, mut two, mut three) = (site.connect().await, site.connect().await, site.connect().await);
    for client in [&mut one, &mut two] {
        site.still_serves(client, "within the limit").await;
    }
    let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    three.send(head).await;
    assert!(timeout(Duration::from_millis(300), three.answer()).await.is_err(), "a third one is served");
    site.still_serves(&mut one, "a third one waits").await;
    drop(two);
    assert_eq!(text(&three.answer().await), site::gas_price());
}

/// A head as large as nobody's ends in an answer or the end of the connection, never in memory.
#[tokio::test]
async fn a_huge_head_is_refused() {
    let site = Site::start().await;
    for filler in [format!("x: {}\r\n", "a".repeat(2 << 20)), "x: y\r\n".repeat(20_000)] {
        let mut client = site.connect().await;
        let request = format!("POST / HTTP/1.1\r\nhost: localhost\r\n{filler}content-length: 2\r\n\r\n{{}}");
        let _ = client.try_send(request.as_bytes()).await;
        let rest = String::from_utf8_lossy(&client.rest(BOUND).await).into_owned();
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 431") || rest.starts_with("HTTP/1.1 400"),
            "{rest}"
        );
    }
    site.still_serves(&mut site.connect().await, "huge heads").await;
}
