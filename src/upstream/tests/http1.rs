//! HTTP/1.1: what is sent, what is read, and how each way to break is named.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify};
use tokio::time::{Instant, timeout};

use super::fixture::*;
use crate::policy::Failure;
use crate::upstream::{AttemptError, Repeat, Sent, Upstream, UpstreamSettings};

fn error(failure: Failure, sent: Sent) -> AttemptError {
    AttemptError { failure, sent }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn sized(headers: &str, body: &[u8]) -> Vec<u8> {
    answer(&format!("{headers}content-length: {}\r\n", body.len()), body)
}

fn small(server: &Server, max_answer: usize) -> Upstream {
    Upstream::new(UpstreamSettings { max_answer, ..to(server) })
}

/// Behaviour P3, P6.
#[tokio::test]
async fn a_request_carries_key_credentials_and_type() {
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let keep = Arc::clone(&seen);
    let server = Server::start(move |_, mut peer| {
        let keep = Arc::clone(&keep);
        async move {
            *keep.lock().unwrap() = peer.request().await.unwrap();
            peer.send(OK).await;
        }
    })
    .await;
    let url = format!("http://me:p%40ss@{}/v3/KEY?token=T", server.address);
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("hush"));
    headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    let upstream = Upstream::new(UpstreamSettings { headers, ..settings(&url) });
    let mut trace = HeaderMap::new();
    trace.insert("traceparent", HeaderValue::from_static("00-1-2-01"));
    trace.insert("authorization", HeaderValue::from_static("Bearer of the client"));
    trace.insert("content-length", HeaderValue::from_static("5"));
    let deadline = Instant::now() + PATIENCE;
    let got = upstream.post(Bytes::from_static(BODY), deadline, Some(&trace), Repeat::Safe).await.unwrap();
    assert_eq!((got.status, &got.body[..], got.reused, got.repeated), (200, &b"fine"[..], false, false));
    assert_eq!(got.remote, Some(server.address));

    let request = seen.lock().unwrap().to_ascii_lowercase();
    let host = format!("host: {}\r\n", server.address);
    for part in [
        "post /v3/key?token=t http/1.1\r\n",
        host.as_str(),
        "content-type: application/json\r\n",
        "accept: application/json\r\n",
        "accept-encoding: gzip\r\n",
        "user-agent: outrigger/",
        "authorization: basic bwu6cebzcw==\r\n", // me:p@ss
        "x-api-key: hush\r\n",
        "traceparent: 00-1-2-01\r\n",
        "content-length: 47\r\n",
    ] {
        assert!(request.contains(part), "{part:?} in {request}");
    }
    assert!(!request.contains("bearer") && !request.contains("chunked") && !request.contains("length: 5\r"));
    let shown = format!("{upstream:?}");
    assert!(!shown.contains("KEY") && !shown.contains("ss@") && !shown.contains("hush"), "{shown}");
}

/// Behaviour R2.
#[tokio::test]
async fn nobody_listening_is_refused_and_nothing_was_sent() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = Upstream::new(settings(&format!("http://{address}")));
    assert_eq!(read(&upstream).await.unwrap_err(), error(Failure::Refused, Sent::Nothing));
    until(|| upstream.stats().open == 0).await;
}

#[tokio::test]
async fn a_black_hole_ends_with_the_connect_timeout() {
    let hole = BlackHole::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let settings = settings(&format!("http://{}", hole.address));
    let upstream = Upstream::new(UpstreamSettings { connect_timeout: Duration::from_millis(80), ..settings });
    assert_eq!(read(&upstream).await.unwrap_err(), error(Failure::ConnectTimeout, Sent::Nothing));
}

#[tokio::test]
async fn a_black_hole_longer_than_the_deadline_is_a_timeout_and_nothing_was_sent() {
    let hole = BlackHole::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let upstream = Upstream::new(settings(&format!("http://{}", hole.address)));
    let deadline = Instant::now() + Duration::from_millis(50);
    let got = upstream.post(Bytes::from_static(BODY), deadline, None, Repeat::Safe).await;
    assert_eq!(got.unwrap_err(), error(Failure::Timeout, Sent::Nothing));
}

#[tokio::test]
async fn the_second_address_serves_while_the_first_is_a_black_hole() {
    let server = Server::answering(OK).await;
    let hole = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let _hole = BlackHole::at(hole);
    let url = format!("http://two.test:{}", server.address.port());
    let dns = resolving_to(&["127.0.0.2", "127.0.0.1"]);
    let settings = UpstreamSettings { dns, ..settings(&url) };
    let dialer =
        crate::upstream::Dialer::new(settings.url.clone(), tls(), &settings.dns, Duration::from_secs(10));
    let upstream = Upstream::new(settings);
    assert_eq!(read(&upstream).await.unwrap().remote, Some(server.address));
    // The address that hung stands behind the other from now on: no 250 ms of head start for it.
    let before = std::time::Instant::now();
    let dialed = dialer.dial(crate::upstream::Alpn::Http1).await.map_err(|_| ()).unwrap();
    assert_eq!(dialed.remote, server.address);
    assert!(before.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn answers_that_break_are_named() {
    let flood = format!("{}\r\n", "x: y\r\n".repeat(4000));
    let wide = format!("x: {}\r\n\r\n", "y".repeat(200_000));
    let cases: Vec<(&str, Vec<u8>, Failure)> = vec![
        ("closed at once", vec![], Failure::Reset),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), Failure::Reset),
        ("half a body", answer("content-length: 50\r\n", b"{\"jsonrpc\""), Failure::Reset),
        ("half a chunk", answer("transfer-encoding: chunked\r\n", b"10\r\nabc"), Failure::Reset),
        ("no last chunk", answer("transfer-encoding: chunked\r\n", b"3\r\nabc\r\n"), Failure::Reset),
        ("no chunk size", answer("transfer-encoding: chunked\r\n", b"zz\r\nabc\r\n"), Failure::Protocol),
        ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), Failure::Protocol),
        ("too many headers", answer(&flood, b""), Failure::Protocol),
        ("too wide a header", answer(&wide, b""), Failure::Protocol),
        ("two lengths", answer("content-length: 3\r\ncontent-length: 4\r\n", b"abcd"), Failure::Protocol),
        ("larger than the bound", sized("", &[b'x'; 2000]), Failure::TooLarge),
        ("a length like a bomb", answer("content-length: 99999999999\r\n", b"x"), Failure::TooLarge),
        ("a gzip bomb", sized("content-encoding: gzip\r\n", &gzip(&[0; 1 << 20])), Failure::TooLarge),
        ("broken gzip", sized("content-encoding: gzip\r\n", b"plain text, alas"), Failure::Protocol),
        ("cut gzip", sized("content-encoding: gzip\r\n", &gzip(b"hello")[..12]), Failure::Protocol),
        ("unasked brotli", sized("content-encoding: br\r\n", b"xxx"), Failure::Protocol),
        ("gzip twice", sized("content-encoding: gzip, gzip\r\n", &gzip(b"x")), Failure::Protocol),
    ];
    for (name, bytes, failure) in cases {
        let server = Server::answering_once(bytes).await;
        let got = read(&small(&server, 1000)).await;
        assert_eq!(got.unwrap_err(), error(failure, Sent::MaybeSome), "{name}");
        assert_eq!(server.accepted(), 1, "{name}: a fault on a fresh connection is not repeated");
    }
}

/// Behaviour P6.
#[tokio::test]
async fn answers_of_every_shape_are_read_whole() {
    let packed = gzip(b"hello");
    let two = [gzip(b"hel"), gzip(b"lo")].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("sized", sized("", b"hello")),
        ("chunked", answer("transfer-encoding: chunked\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")),
        ("until close", answer("", b"hello")),
        ("gzip", sized("Content-Encoding: GZIP\r\n", &packed)),
        ("two members of gzip", sized("content-encoding: x-gzip\r\n", &two)),
        ("identity", sized("content-encoding: identity\r\n", b"hello")),
        ("after 103", [b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), sized("", b"hello")].concat()),
    ];
    for (name, bytes) in cases {
        let server = Server::answering_once(bytes).await;
        let got = read(&small(&server, 1000)).await.unwrap();
        assert_eq!((got.status, &got.body[..]), (200, &b"hello"[..]), "{name}");
        assert!(name != "gzip" || !got.headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn statuses_and_redirects_are_answers() {
    for status in [204, 301, 304, 307, 400, 401, 429, 500, 503, 529] {
        let bytes = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\nretry-after: 7\r\n\
             content-encoding: gzip\r\ncontent-length: 0\r\n\r\n"
        );
        let server = Server::answering_once(bytes).await;
        let got = read(&upstream(&server)).await.unwrap();
        assert_eq!((got.status, got.body.len(), server.accepted()), (status, 0, 1));
        assert_eq!(got.headers["retry-after"], "7");
    }
}

#[tokio::test]
async fn an_endless_body_stops_at_the_bound() {
    let server = Server::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(answer("transfer-encoding: chunked\r\n", b"")).await;
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &chunk).await.is_ok() {}
    })
    .await;
    let upstream = small(&server, 100_000);
    assert_eq!(read(&upstream).await.unwrap_err(), error(Failure::TooLarge, Sent::MaybeSome));
    until(|| upstream.stats().open == 0).await; // never pooled with an answer unread
}

#[tokio::test]
async fn a_slow_body_ends_at_the_deadline_and_its_connection_is_closed() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let server = Server::start(move |_, mut peer| {
        let told = Arc::clone(&told);
        async move {
            peer.request().await;
            peer.send(answer("content-length: 50\r\n", b"a")).await;
            peer.gone().await;
            told.notify_one();
        }
    })
    .await;
    let upstream = upstream(&server);
    let deadline = Instant::now() + Duration::from_millis(50);
    let got = upstream.post(Bytes::from_static(BODY), deadline, None, Repeat::Safe).await;
    assert_eq!(got.unwrap_err(), error(Failure::Timeout, Sent::MaybeSome));
    timeout(PATIENCE, gone.notified()).await.unwrap();
    until(|| upstream.stats().open == 0).await;
}

#[tokio::test]
async fn a_server_that_hangs_up_at_once_is_a_reset_and_not_called_again() {
    for _ in 0..20 {
        let server = Server::start(|_, _| async {}).await;
        assert_eq!(read(&upstream(&server)).await.unwrap_err().failure, Failure::Reset);
        assert_eq!(server.accepted(), 1);
    }
}

#[tokio::test]
async fn a_deadline_in_the_past_sends_nothing() {
    let server = Server::answering(OK).await;
    let upstream = upstream(&server);
    read(&upstream).await.unwrap();
    let got = upstream.post(Bytes::from_static(BODY), Instant::now(), None, Repeat::Safe).await;
    assert_eq!(got.unwrap_err(), error(Failure::Timeout, Sent::Nothing));
}

#[tokio::test]
async fn an_answer_shows_its_size_and_not_its_content() {
    let server =
        Server::answering(b"HTTP/1.1 200 OK\r\nset-cookie: hush\r\ncontent-length: 4\r\n\r\nhush").await;
    let shown = format!("{:?}", read(&upstream(&server)).await.unwrap());
    assert!(shown.contains("200") && !shown.contains("hush"), "{shown}");
}

/// Behaviour R2.
#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer_is_a_reset() {
    let server = Server::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(answer("content-length: 50\r\n", b"a")).await;
        peer.reset();
    })
    .await;
    assert_eq!(read(&upstream(&server)).await.unwrap_err(), error(Failure::Reset, Sent::MaybeSome));
}

#[tokio::test]
async fn what_lay_idle_beside_a_connection_that_fell_silent_is_not_used() {
    let both = Arc::new(Barrier::new(2));
    let server = Server::start(move |number, mut peer| {
        let both = Arc::clone(&both);
        async move {
            peer.request().await;
            if number < 2 {
                both.wait().await;
            }
            peer.send(OK).await;
            peer.gone().await; // reads on, and never answers again
        }
    })
    .await;
    let upstream = Arc::new(upstream(&server));
    let two = [Arc::clone(&upstream), Arc::clone(&upstream)];
    for done in join_all(two.iter().map(|upstream| read(upstream))).await {
        done.unwrap();
    }
    assert_eq!(upstream.stats().idle, 2);
    let deadline = Instant::now() + Duration::from_millis(1100);
    let got = upstream.post(Bytes::from_static(BODY), deadline, None, Repeat::Safe).await;
    assert_eq!(got.unwrap_err(), error(Failure::Timeout, Sent::MaybeSome));
    assert!(!read(&upstream).await.unwrap().reused);
}

/// Answers the first request of the first connection, and closes on its second without a byte.
async fn stale_after_one() -> Server {
    Server::start(|number, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
        if number > 0 {
            peer.send(OK).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_read_on_a_stale_connection_is_repeated_on_a_fresh_one() {
    let server = stale_after_one().await;
    let upstream = upstream(&server);
    read(&upstream).await.unwrap();
    let second = read(&upstream).await.unwrap();
    assert_eq!((second.status, second.repeated, second.reused), (200, true, false));
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_transaction_that_may_have_been_seen_is_not_repeated() {
    let server = stale_after_one().await;
    let upstream = upstream(&server);
    transact(&upstream).await.unwrap();
    assert_eq!(transact(&upstream).await.unwrap_err(), error(Failure::Reset, Sent::MaybeSome));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_reused_connection_that_breaks_within_the_answer_is_not_repeated() {
    let server = Server::start(|_, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
        peer.send("HTTP/1.1 200").await;
    })
    .await;
    let upstream = upstream(&server);
    read(&upstream).await.unwrap();
    assert_eq!(read(&upstream).await.unwrap_err(), error(Failure::Reset, Sent::MaybeSome));
}

#[tokio::test]
async fn the_408_of_a_closing_idle_connection_is_not_the_answer() {
    let server = Server::start(|number, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
        if number == 0 {
            peer.send("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let upstream = upstream(&server);
    read(&upstream).await.unwrap();
    assert_eq!(read(&upstream).await.unwrap().status, 200);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing() {
    let server = Server::answering_once(OK).await;
    let upstream = upstream(&server);
    for round in 1..=5 {
        assert_eq!(transact(&upstream).await.unwrap().status, 200);
        assert_eq!(server.accepted(), round);
        // The server has closed; what the client's kernel knows, its task must have seen first.
        until(|| upstream.pool.idle_closed()).await;
    }
}

#[tokio::test]
async fn connection_close_and_http_1_0_are_not_kept() {
    for head in ["HTTP/1.1 200 OK\r\nConnection: keep, Close\r\n", "HTTP/1.0 200 OK\r\n"] {
        let bytes = format!("{head}content-length: 4\r\n\r\nfine");
        let server = Server::start(move |_, mut peer| {
            let bytes = bytes.clone();
            async move {
                peer.request().await;
                peer.send(bytes).await;
                peer.gone().await;
            }
        })
        .await;
        let upstream = upstream(&server);
        read(&upstream).await.unwrap();
        until(|| upstream.stats().open == 0).await;
        assert!(!read(&upstream).await.unwrap().reused);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_written_is_the_answer() {
    let server = Server::start(|_, mut peer| async move {
        // Refuses by the head and reads no further: the kernel's buffers fill up.
        peer.send(sized("", b"too large")).await;
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = upstream(&server);
    let body = Bytes::from(vec![b' '; 32 << 20]);
    let got = upstream.post(body, Instant::now() + PATIENCE, None, Repeat::Safe).await.unwrap();
    assert_eq!(&got.body[..], b"too large");
    until(|| upstream.stats().open == 0).await; // half a request stands on it
}

#[tokio::test]
async fn a_connection_with_bytes_behind_an_answer_is_not_used_again() {
    let server = Server::start(|_, mut peer| async move {
        while peer.request().await.is_some() {
            peer.send([sized("", b"mine"), sized("", b"whose?")].concat()).await;
        }
    })
    .await;
    let upstream = upstream(&server);
    for round in 1..=3 {
        assert_eq!(&read(&upstream).await.unwrap().body[..], b"mine");
        // They may come in a piece of their own, while the connection lies idle.
        until(|| upstream.pool.idle_closed()).await;
        assert_eq!(server.accepted(), round);
    }
}

#[tokio::test]
async fn bodies_of_every_size_and_chunking_come_whole() {
    for size in [0, 1, 4096, 4097, 8192, 8193, 65_536, 65_537, 300_000] {
        let body: Vec<u8> = (0..size).map(|n: usize| b'a' + (n % 23) as u8).collect();
        let mut chunked = answer("transfer-encoding: chunked\r\n", b"");
        for piece in body.chunks(1 + size / 7) {
            chunked.extend(format!("{:x};ext=1\r\n", piece.len()).bytes());
            chunked.extend(piece);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\nx-trailer: y\r\n\r\n");
        for bytes in [sized("", &body), chunked] {
            let bytes = Bytes::from(bytes);
            let server = Server::start(move |_, mut peer| {
                let bytes = bytes.clone();
                async move {
                    while peer.request().await.is_some() {
                        peer.send(&bytes).await;
                    }
                }
            })
            .await;
            let upstream = upstream(&server);
            for round in 0..3 {
                let got = read(&upstream).await.unwrap();
                assert!(got.body == body, "{size} bytes");
                assert_eq!(got.reused, round > 0, "{size} bytes");
            }
        }
    }
}
