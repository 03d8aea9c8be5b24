//! How many connections, which one, and when they go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Barrier, Semaphore};
use tokio::time::Instant;

use super::fixture::*;
use crate::policy::Failure;
use crate::upstream::{Repeat, Sent, Upstream, UpstreamSettings};

/// Answers each request once the test lets it.
async fn gated(gate: &Arc<Semaphore>) -> Server {
    let gate = Arc::clone(gate);
    Server::start(move |_, mut peer| {
        let gate = Arc::clone(&gate);
        async move {
            while peer.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                peer.send(OK).await;
            }
        }
    })
    .await
}

fn bounded(server: &Server, max_connections: usize) -> Arc<Upstream> {
    Arc::new(Upstream::new(UpstreamSettings { max_connections, ..to(server) }))
}

#[tokio::test]
async fn one_after_another_share_one_connection() {
    let server = Server::answering(OK).await;
    let upstream = upstream(&server);
    for round in 0..50 {
        assert_eq!(read(&upstream).await.unwrap().reused, round > 0);
    }
    assert_eq!(server.accepted(), 1);
    let stats = upstream.stats();
    assert_eq!((stats.open, stats.idle, stats.in_flight, stats.waiting, stats.opened), (1, 1, 0, 0, 1));
}

#[tokio::test]
async fn never_more_connections_than_the_bound_and_everybody_is_served() {
    let server = Server::answering(OK).await;
    let upstream = bounded(&server, 3);
    let answers = join_all((0..200).map(|_| read(&upstream))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.accepted(), 3);
    assert_eq!(upstream.stats().open, 3);
}

#[tokio::test]
async fn no_free_connection_until_the_deadline_is_pool_exhausted() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate).await;
    let upstream = bounded(&server, 1);
    let holder = Arc::clone(&upstream);
    let held = tokio::spawn(async move { read(&holder).await });
    until(|| upstream.stats().in_flight == 1).await;
    let deadline = Instant::now() + Duration::from_millis(30);
    let got = upstream.post(Bytes::from_static(BODY), deadline, None, Repeat::Safe).await.unwrap_err();
    assert_eq!((got.failure, got.sent), (Failure::PoolExhausted, Sent::Nothing));
    gate.add_permits(1);
    assert!(held.await.unwrap().is_ok());
    assert_eq!(upstream.stats().waiting, 0);
}

#[tokio::test]
async fn cancelled_requests_give_their_place_back() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate).await;
    let upstream = bounded(&server, 2);
    for _ in 0..20 {
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let upstream = Arc::clone(&upstream);
                tokio::spawn(async move { read(&upstream).await })
            })
            .collect();
        until(|| upstream.stats().in_flight == 2 && upstream.stats().waiting == 4).await;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        until(|| upstream.stats().in_flight == 0 && upstream.stats().connecting == 0).await;
    }
    gate.add_permits(1000);
    let answers = join_all((0..10).map(|_| read(&upstream))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(upstream.stats().open <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_impatient_requests_leaves_nothing_behind() {
    let server = Server::start(|number, mut peer| async move {
        let mut answered = 0;
        while peer.request().await.is_some() {
            answered += 1;
            if answered % 7 == number % 7 {
                return; // closes without an answer
            }
            tokio::task::yield_now().await;
            peer.send(OK).await;
        }
    })
    .await;
    let upstream = bounded(&server, 3);
    let tasks: Vec<_> = (0..2000)
        .map(|n: u64| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move {
                let patience = Duration::from_micros(n * 7919 % 30_000);
                let _ = tokio::time::timeout(patience, read(&upstream)).await;
            })
        })
        .collect();
    let watch = Arc::clone(&upstream);
    let bound = tokio::spawn(async move {
        loop {
            assert!(watch.stats().open <= 3 && watch.stats().in_flight <= 3);
            tokio::task::yield_now().await;
        }
    });
    join_all(tasks).await;
    bound.abort();
    assert!(bound.await.unwrap_err().is_cancelled());
    until(|| upstream.stats().in_flight == 0 && upstream.stats().connecting == 0).await;
    assert_eq!(upstream.stats().waiting, 0);
    let served = join_all((0..50).map(|_| read(&upstream))).await;
    assert!(served.iter().any(Result::is_ok));
}

#[tokio::test]
async fn a_request_dropped_while_connecting_leaves_the_connection_to_the_next() {
    let server = Server::answering(OK).await;
    let upstream = upstream(&server);
    tokio::select! {
        biased;
        _ = read(&upstream) => panic!("it cannot be connected yet"),
        () = std::future::ready(()) => {}
    }
    until(|| upstream.stats().idle == 1).await;
    read(&upstream).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn idle_connections_expire_and_the_last_used_is_taken_first() {
    let all = Arc::new(Barrier::new(4));
    let server = Server::start(move |_, mut peer| {
        let all = Arc::clone(&all);
        async move {
            peer.request().await;
            all.wait().await;
            peer.send(OK).await;
            while peer.request().await.is_some() {
                peer.send(OK).await;
            }
        }
    })
    .await;
    let upstream = bounded(&server, 4);
    join_all((0..4).map(|_| read(&upstream))).await;
    assert_eq!(upstream.stats().idle, 4);
    turn(Duration::from_secs(30)).await;
    read(&upstream).await.unwrap();
    turn(Duration::from_secs(30)).await; // the others have waited 60 s, this one 30 s
    assert!(read(&upstream).await.unwrap().reused);
    until(|| upstream.stats().open == 1).await;
    turn(Duration::from_secs(46)).await;
    until(|| upstream.stats().open == 0).await;
}

#[tokio::test]
async fn the_announced_keep_alive_shortens_the_idle_time() {
    let server = Server::answering(
        b"HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=5\r\ncontent-length: 4\r\n\r\nfine",
    )
    .await;
    let upstream = upstream(&server);
    read(&upstream).await.unwrap();
    turn(Duration::from_secs(3)).await;
    assert!(read(&upstream).await.unwrap().reused);
    turn(Duration::from_millis(4500)).await;
    assert!(!read(&upstream).await.unwrap().reused);
}

#[tokio::test]
async fn a_connection_in_steady_use_is_replaced_when_it_is_old() {
    let server = Server::answering(OK).await;
    let upstream = upstream(&server);
    for _ in 0..12 {
        read(&upstream).await.unwrap();
        turn(Duration::from_secs(28)).await;
    }
    assert_eq!(server.accepted(), 2); // the last read is 308 s old; the first connection lives 240 to 300 s
}

#[tokio::test]
async fn warming_opens_one_connection_before_the_first_request() {
    let server = Server::answering(OK).await;
    let upstream = upstream(&server);
    upstream.warm();
    upstream.warm();
    until(|| upstream.stats().idle == 1).await;
    read(&upstream).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_dead_backend_fails_everybody_who_waits_at_once() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream =
        Upstream::new(UpstreamSettings { max_connections: 2, ..settings(&format!("http://{address}")) });
    let answers = join_all((0..50).map(|_| read(&upstream))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_err_and(|e| e.failure == Failure::Refused)));
    assert_eq!(upstream.stats().waiting, 0);
}

/// Behaviour R2.
#[tokio::test]
async fn a_backend_that_is_down_at_first_is_used_once_it_is_up() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = Upstream::new(settings(&format!("http://{address}")));
    assert_eq!(read(&upstream).await.unwrap_err().failure, Failure::Refused);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _server = Server::on(listener, |_, mut peer| async move {
        peer.request().await;
        peer.send(OK).await;
    });
    assert!(read(&upstream).await.is_ok());
}

/// Behaviour O4.
#[test]
fn dropping_an_upstream_ends_its_tasks_and_connections() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let gate = Arc::new(Semaphore::new(3));
        let server = gated(&gate).await;
        until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 1).await; // the server's
        let upstream = Arc::new(Upstream::new(UpstreamSettings {
            dns: resolving_to(&["127.0.0.1"]),
            ..settings(&format!("http://name.test:{}", server.address.port()))
        }));
        join_all((0..3).map(|_| read(&upstream))).await;
        let one = Arc::clone(&upstream);
        let hanging = tokio::spawn(async move { read(&one).await });
        until(|| upstream.stats().in_flight == 1).await;
        hanging.abort();
        let _ = hanging.await;
        drop(upstream);
        gate.add_permits(100);
        // Only the server's accept loop is left: its scripts saw every connection close.
        until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 1).await;
        drop(server);
    });
}

#[test]
fn an_upstream_outlives_the_runtime_it_was_used_on() {
    let hole = BlackHole::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = hole.address;
    let upstream = Upstream::new(UpstreamSettings {
        max_connections: 1,
        ..settings(&format!("http://name.test:{}", address.port()))
    });
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let upstream = Arc::new(upstream);
    runtime().block_on(async {
        for _ in 0..5 {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { read(&upstream).await });
        }
        until(|| upstream.stats().connecting == 1 && upstream.stats().waiting == 5).await;
    }); // ends in the middle of a connect
    let stats = upstream.stats();
    assert_eq!((stats.open, stats.connecting, stats.waiting, stats.in_flight), (0, 0, 0, 0));
    drop(hole);
    for _ in 0..2 {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let _server = Server::on(listener, |_, mut peer| async move {
                peer.request().await;
                peer.send(OK).await;
                peer.gone().await;
            });
            assert!(!read(&upstream).await.unwrap().reused);
            turn(Duration::from_secs(60)).await;
            until(|| upstream.stats().open == 0).await; // swept here too
        });
    }
}

#[test]
fn upstreams_on_several_runtimes_do_not_meet() {
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let server = Server::answering(OK).await;
            let upstream = Arc::new(upstream(&server));
            let reads = (0..100).map(|_| {
                let upstream = Arc::clone(&upstream);
                tokio::spawn(async move { read(&upstream).await })
            });
            assert!(join_all(reads).await.iter().all(|r| r.as_ref().is_ok_and(Result::is_ok)));
        });
    }
}
