//! A relay in front of one address that carries bytes as they are, until the test says otherwise: for sockets that fall
//! silent or end while nothing else does.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What becomes of what is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    Everything,
    /// What comes from behind is thrown away; the connection stays.
    NothingBack,
    /// Each connection ends after this.
    For(Duration),
}

/// A relay; it ends when this is dropped.
pub struct Relay {
    address: String,
    carries: watch::Sender<Carries>,
    opened: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Relay {
    /// In front of an `http` address.
    pub fn before(url: &str) -> Relay {
        let behind = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address").to_string();
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let (carries, opened, end) = (
            watch::Sender::new(Carries::Everything),
            Arc::<AtomicUsize>::default(),
            CancellationToken::new(),
        );
        let (mode, count, ended) = (carries.clone(), opened.clone(), end.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let carrying = carry(stream, behind.clone(), mode.subscribe());
                tokio::spawn(ended.clone().run_until_cancelled_owned(carrying));
            }
        }));
        Relay { address, carries, opened, _end: end.drop_guard() }
    }

    /// Where it listens, for WebSockets.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn set(&self, carries: Carries) {
        self.carries.send_replace(carries);
    }

    /// Connections that were ever made to it.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, behind: String, mut mode: watch::Receiver<Carries>) {
    let Ok(node) = TcpStream::connect(&behind).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let born = tokio::time::Instant::now();
    let forth = tokio::io::copy(&mut from_client, &mut to_node);
    let seen = mode.clone();
    let back = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_node.read(&mut bytes).await {
            let is_carried = *seen.borrow() != Carries::NothingBack;
            if is_carried && to_client.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    let over = async {
        loop {
            let carries = *mode.borrow_and_update();
            match carries {
                Carries::For(time) => tokio::select! {
                    () = tokio::time::sleep_until(born + time) => return,
                    _ = mode.changed() => {}
                },
                _ if mode.changed().await.is_err() => return std::future::pending().await,
                _ => {}
            }
        }
    };
    tokio::select! {
        _ = forth => {}
        () = back => {}
        () = over => {}
    }
}
