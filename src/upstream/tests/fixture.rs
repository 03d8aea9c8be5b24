//! Servers that do exactly what a test says, and an `Upstream` that talks to them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::config::BackendUrl;
use crate::upstream::{
    Answer, AttemptError, Dns, Repeat, Resolve, Resolving, Roots, Tls, Upstream, UpstreamSettings,
};

/// Longest any test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const BODY: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// Accepts connections and hands each, with its number from 0, to a script.
pub struct Server {
    pub address: SocketAddr,
    accepted: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start<F, S>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    pub fn on<F, S>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(usize, Peer) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (count, accepted) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = *count.borrow();
                count.send_replace(number + 1);
                scripts.spawn(script(number, Peer { stream, unread: Vec::new() }));
            }
        });
        Self { address, accepted, task }
    }

    /// Answers every request on every connection with the same bytes.
    pub async fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |_, mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await
    }

    /// Answers one request with the same bytes, then closes.
    pub async fn answering_once(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut peer| {
            let answer = answer.clone();
            async move {
                peer.request().await;
                peer.send(answer).await;
            }
        })
        .await
    }

    pub fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's side of one connection.
pub struct Peer {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    /// The next whole request, or nothing when the client is gone.
    pub async fn request(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.to_ascii_lowercase();
                let length = length.split("content-length: ").nth(1).and_then(|r| r.lines().next());
                let whole = head.len() + 4 + length.and_then(|l| l.parse().ok()).unwrap_or(0);
                if self.unread.len() >= whole {
                    let request = self.unread.drain(..whole).collect();
                    return String::from_utf8(request).ok();
                }
            }
            if self.stream.read_buf(&mut self.unread).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Waits until the client closes.
    pub async fn gone(&mut self) {
        while self.stream.read_buf(&mut self.unread).await.is_ok_and(|n| n > 0) {}
    }

    /// Closes with a RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A resolver made of a function; counts nothing, remembers nothing.
pub struct Resolver<F>(pub F);

impl<F, A> Resolve for Resolver<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    fn resolve(&self, _: &str) -> Resolving {
        Box::pin((self.0)())
    }
}

/// Always the same addresses.
pub fn resolving_to(addresses: &'static [&'static str]) -> Arc<Dns> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    Arc::new(Dns::with(Resolver(move || std::future::ready(Ok(addresses.clone())))))
}

pub fn tls() -> Arc<Tls> {
    static TLS: OnceLock<Arc<Tls>> = OnceLock::new();
    Arc::clone(TLS.get_or_init(|| Arc::new(Tls::new(&Roots::Webpki).unwrap())))
}

pub fn settings(url: &str) -> UpstreamSettings {
    UpstreamSettings::new(BackendUrl::http(url).unwrap(), tls(), resolving_to(&["127.0.0.1"]))
}

pub fn to(server: &Server) -> UpstreamSettings {
    settings(&format!("http://{}/v3/KEY?token=T", server.address))
}

pub fn upstream(server: &Server) -> Upstream {
    Upstream::new(to(server))
}

/// A read, with all the time a test has.
pub async fn read(upstream: &Upstream) -> Result<Answer, AttemptError> {
    upstream.post(Bytes::from_static(BODY), Instant::now() + PATIENCE, None, Repeat::Safe).await
}

/// A transaction, with all the time a test has.
pub async fn transact(upstream: &Upstream) -> Result<Answer, AttemptError> {
    upstream.post(Bytes::from_static(BODY), Instant::now() + PATIENCE, None, Repeat::OnlyUnsent).await
}

/// Lets other tasks run until `done`; nothing here waits on the clock.
pub async fn until(mut done: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "it did not happen");
        tokio::task::yield_now().await;
    }
}

/// Turns the clock on, then lets it run again. Only for a single-threaded runtime with no I/O under way.
pub async fn turn(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// A port on which connections hang: the queue of a listener that never accepts is full.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _fill: Vec<socket2::Socket>,
}

impl BlackHole {
    pub fn at(address: SocketAddr) -> Self {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fill = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        };
        Self { address, _fill: (0..4).map(|_| fill()).collect(), _listener: listener }
    }
}
