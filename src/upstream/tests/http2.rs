//! HTTP/2: many requests on one connection, and servers that leave.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response, Version};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fixture::*;
use super::tls::Authority;
use crate::policy::Failure;
use crate::upstream::{Http2, Repeat, Sent, Upstream, UpstreamSettings};

fn plain(server: &Server) -> UpstreamSettings {
    UpstreamSettings { http2: Http2::Always, ..to(server) }
}

fn answer(respond: &mut SendResponse<Bytes>) {
    if let Ok(mut body) = respond.send_response(Response::new(()), false) {
        let _ = body.send_data(Bytes::from_static(b"fine"), true);
    }
}

/// Serves each connection with `each`, called with the connection's number and its request's number.
async fn serving<F, S>(streams: u32, each: F) -> Server
where
    F: Fn(usize, usize, Request<RecvStream>, SendResponse<Bytes>) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    Server::start(move |number, peer| {
        let each = each.clone();
        async move {
            let mut builder = server::Builder::new();
            builder.max_concurrent_streams(streams);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(peer).await else { return };
            let mut requests = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(each(number, requests, request, respond));
                requests += 1;
            }
        }
    })
    .await
}

/// Behaviour P6.
#[tokio::test]
async fn alpn_puts_many_requests_on_one_connection() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("node.test", &[b"h2", b"http/1.1"], false);
    let server = Server::start(move |_, peer| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(peer).await.unwrap();
            let mut connection = server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/KEY");
                assert!(!request.headers().contains_key("host"));
                answer(&mut respond);
            }
        }
    })
    .await;
    let url = format!("https://node.test:{}/KEY", server.address.port());
    let upstream = Upstream::new(UpstreamSettings { tls: authority.tls(), ..settings(&url) });
    let answers = join_all((0..80).map(|_| read(&upstream))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((&answer.body[..], answer.version), (&b"fine"[..], Version::HTTP_2));
    }
    assert_eq!(server.accepted(), 1);
    assert!(upstream.stats().http2);
    assert_eq!((upstream.stats().idle, upstream.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn a_full_connection_gets_a_second_one_and_the_bound_holds() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let server = serving(4, move |_, _, _, mut respond| {
        let gate = Arc::clone(&wait);
        async move {
            gate.acquire().await.unwrap().forget();
            answer(&mut respond);
        }
    })
    .await;
    let upstream = Arc::new(Upstream::new(UpstreamSettings { max_connections: 2, ..plain(&server) }));
    gate.add_permits(1);
    read(&upstream).await.unwrap(); // the server's bound is known from here
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { read(&upstream).await })
        })
        .collect();
    until(|| upstream.stats().in_flight == 8 && upstream.stats().waiting == 4).await;
    assert_eq!(server.accepted(), 2);
    gate.add_permits(100);
    assert!(join_all(tasks).await.into_iter().all(|done| done.unwrap().is_ok()));
    assert_eq!(upstream.stats().in_flight, 0);
}

#[tokio::test]
async fn a_refused_stream_is_repeated_even_for_a_transaction() {
    let server = serving(100, |number, request, _, mut respond| async move {
        if number == 0 && request == 1 {
            respond.send_reset(Reason::REFUSED_STREAM);
        } else {
            answer(&mut respond);
        }
    })
    .await;
    let upstream = Upstream::new(plain(&server));
    transact(&upstream).await.unwrap();
    assert!(transact(&upstream).await.unwrap().repeated);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_going_away_and_saw_nothing() {
    let server = serving(100, |_, _, _, mut respond| async move {
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let got = transact(&Upstream::new(plain(&server))).await.unwrap_err();
    assert_eq!((got.failure, got.sent), (Failure::GoAway, Sent::Nothing));
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_goaway_lets_the_work_under_way_end_and_sends_the_next_elsewhere() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let server = Server::start(move |number, peer| {
        let gate = Arc::clone(&wait);
        async move {
            let mut connection = server::handshake(peer).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            if number == 0 {
                connection.graceful_shutdown();
                tokio::spawn(async move {
                    gate.acquire().await.unwrap().forget();
                    answer(&mut respond);
                });
            } else {
                answer(&mut respond);
            }
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                answer(&mut respond); // what was on its way before the client saw the GOAWAY
            }
        }
    })
    .await;
    let upstream = Arc::new(Upstream::new(plain(&server)));
    let one = Arc::clone(&upstream);
    let first = tokio::spawn(async move { transact(&one).await });
    until(|| upstream.stats().in_flight == 1).await;
    let deadline = Instant::now() + PATIENCE;
    while server.accepted() < 2 {
        assert!(Instant::now() < deadline);
        assert_eq!(transact(&upstream).await.unwrap().status, 200);
    }
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status, 200);
}

/// Reads the preface and then frames, until one of this type has come.
async fn until_frame(peer: &mut Peer, wanted: u8) {
    let mut preface = [0; 24];
    peer.stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        peer.stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        peer.stream.read_exact(&mut payload).await.unwrap();
        if head[3] == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn a_goaway_that_leaves_a_request_out_is_repeated_elsewhere() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY_ALL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // By hand: h2's server never names a last stream below one that it has read. Once the GOAWAY crosses
    // the request, once it comes before.
    for frame in [1, 4] {
        let server = Server::start(move |number, mut peer| async move {
            if number == 0 {
                peer.send(SETTINGS).await;
                until_frame(&mut peer, frame).await;
                peer.send(GOAWAY_ALL).await;
                return peer.gone().await;
            }
            let mut connection = server::handshake(peer).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                answer(&mut respond);
            }
        })
        .await;
        let upstream = Upstream::new(plain(&server));
        assert_eq!(transact(&upstream).await.unwrap().status, 200);
        assert_eq!(server.accepted(), 2);
    }
}

#[tokio::test]
async fn a_connection_cut_under_a_transaction_is_a_reset_that_may_have_been_seen() {
    let server = Server::start(|_, peer| async move {
        let mut connection = server::handshake(peer).await.unwrap();
        let _request = connection.accept().await;
    })
    .await;
    let got = transact(&Upstream::new(plain(&server))).await.unwrap_err();
    assert_eq!((got.failure, got.sent), (Failure::Reset, Sent::MaybeSome));
    assert_eq!(server.accepted(), 1);
}

/// The first connection answers one request and then nothing any more.
async fn silent_after_one() -> Server {
    serving(100, |number, request, _, mut respond| async move {
        match (number, request) {
            (0, 1..) => std::future::pending().await,
            _ => answer(&mut respond),
        }
    })
    .await
}

#[tokio::test]
async fn a_silent_connection_gets_no_new_requests() {
    let server = silent_after_one().await;
    let upstream = Upstream::new(plain(&server));
    read(&upstream).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(1100);
    let got = upstream.post(Bytes::from_static(BODY), deadline, None, Repeat::Safe).await.unwrap_err();
    assert_eq!((got.failure, got.sent), (Failure::Timeout, Sent::MaybeSome));
    assert!(!read(&upstream).await.unwrap().reused);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_cancelled_request_resets_its_stream_and_not_the_connection() {
    let resets = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resets);
    let server = serving(100, move |_, request, _, mut respond| {
        let count = Arc::clone(&count);
        async move {
            if request == 0 {
                let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                count.fetch_add(1, Ordering::SeqCst);
            } else {
                answer(&mut respond);
            }
        }
    })
    .await;
    let upstream = Arc::new(Upstream::new(plain(&server)));
    let one = Arc::clone(&upstream);
    let cancelled = tokio::spawn(async move { read(&one).await });
    until(|| upstream.stats().in_flight == 1).await;
    // The request must be on its way: a second one behind it is answered.
    read(&upstream).await.unwrap();
    cancelled.abort();
    until(|| resets.load(Ordering::SeqCst) == 1).await;
    read(&upstream).await.unwrap();
    assert_eq!((server.accepted(), upstream.stats().in_flight), (1, 0));
}

/// Behaviour O4.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_over_connections_that_keep_leaving_leaves_nothing_behind() {
    let server = Server::start(|number, peer| async move {
        let Ok(mut connection) = server::Builder::new().max_concurrent_streams(5).handshake(peer).await
        else {
            return;
        };
        let mut requests = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            requests += 1;
            match (requests + number) % 23 {
                7 => respond.send_reset(Reason::REFUSED_STREAM),
                11 => connection.graceful_shutdown(),
                13 => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
                17 => return,
                _ => answer(&mut respond),
            }
        }
    })
    .await;
    let upstream = Arc::new(Upstream::new(UpstreamSettings { max_connections: 3, ..plain(&server) }));
    let tasks: Vec<_> = (0..1000)
        .map(|n: u64| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move {
                let patience = Duration::from_micros(n * 7919 % 30_000);
                let _ = tokio::time::timeout(patience, read(&upstream)).await;
                assert!(upstream.stats().open <= 3);
            })
        })
        .collect();
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    until(|| upstream.stats().in_flight == 0 && upstream.stats().connecting == 0).await;
    assert_eq!(upstream.stats().waiting, 0);
    assert!(join_all((0..50).map(|_| read(&upstream))).await.iter().any(Result::is_ok));
}

/// Behaviour O4.
#[test]
fn dropping_an_upstream_ends_the_tasks_of_http2() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = serving(100, |_, _, _, mut respond| async move { answer(&mut respond) }).await;
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let upstream = Upstream::new(plain(&server));
        join_all((0..20).map(|_| read(&upstream))).await;
        assert!(alive() > 1);
        drop(upstream);
        until(|| alive() == 1).await;
    });
}
