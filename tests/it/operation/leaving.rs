//! O1: the first signal lets work finish and takes no more, the second does not wait.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{WATCHED, backend, until};
use crate::lab::front::{Fault, Front};
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;

/// Longer than two signals and a look at the listener take, shorter than the grace period of ten seconds.
const SLOW: Duration = Duration::from_secs(3);

/// A proxy with one backend, and a call under way that the backend meets with `fault`.
async fn busy(fault: Fault) -> (Front, Proxy, tokio::io::BufReader<TcpStream>) {
    let front = backend().await;
    let mut settings = Settings::over(std::slice::from_ref(&front));
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    front.set(fault.only(&[WATCHED])).await;
    let client = rpc::call_and_leave(proxy.address(), WATCHED).await.expect("it listens");
    until("the call is under way", async || front.count(WATCHED) > 0).await;
    (front, proxy, client)
}

async fn ended(proxy: Proxy) -> (std::process::ExitStatus, String) {
    tokio::task::spawn_blocking(move || proxy.ended()).await.expect("it is waited for")
}

#[tokio::test]
async fn o1_while_work_is_finished_nobody_new_is_taken_or_told_that_it_can_serve() {
    for signal in ["TERM", "INT"] {
        let (_front, proxy, mut client) = busy(Fault::Latency(SLOW)).await;
        proxy.signal(signal);
        until("new connections are refused", async || {
            // Until then a load balancer that asks is told to go elsewhere.
            let stopping = proxy.said().contains("stopping");
            let told = rpc::get(proxy.address(), "/readyz").await.map(|answer| answer.status());
            assert!(!(stopping && told.as_ref().is_ok_and(|status| *status == 200)), "{told:?}");
            TcpStream::connect(proxy.address()).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
        })
        .await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("the whole answer, then the end");
        assert!(answer.ends_with(r#""result":"0x1"}"#), "{signal}: work under way is finished: {answer}");
        let (status, said) = ended(proxy).await;
        assert_eq!(status.code(), Some(0), "{signal}: {said}");
    }
}

#[tokio::test]
async fn o1_a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let (_front, proxy, _client) = busy(Fault::Hang).await;
        proxy.signal(first);
        until("it is stopping", async || proxy.said().contains("stopping")).await;
        let signalled_at = Instant::now();
        proxy.signal(second);
        let (status, said) = ended(proxy).await;
        assert!(
            signalled_at.elapsed() < Duration::from_secs(2),
            "{first} {second}: {:?}",
            signalled_at.elapsed()
        );
        assert_eq!(status.code(), Some(1), "work was lost, and the exit code says so: {said}");
    }
}
