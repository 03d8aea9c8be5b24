//! Sockets: accepting, telling HTTP/1 from HTTP/2, and leaving in good order.
//!
//! hyper's own connection builders are used instead of `axum::serve`, which has no timer: a peer that
//! sends nothing, or half a header, would hold its connection for ever.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;

use super::direct::Entry;
use super::ws::Place;
use super::{App, Connection, Cores};

/// After a failed accept (usually: no file descriptors left) the listener rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A peer that has sent the first bytes of HTTP/2's preface is asked again after this, to tell HTTP/1 from HTTP/2.
const SNIFF_PAUSE: Duration = Duration::from_millis(5);
/// Streams of one HTTP/2 connection: browsers and wallets open a hundred at most.
const H2_STREAMS_MAX: u32 = 256;
/// Header list of one HTTP/2 request.
const H2_HEADERS_BYTES_MAX: u32 = 32 * 1024;
/// A dead HTTP/2 peer is noticed within two of these.
const H2_PING_EVERY: Duration = Duration::from_secs(20);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", in_words(.source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("server.tls: {path}: {reason}", path = .path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another port with --listen".to_owned()
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another one".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// Bound sockets, not serving yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    settings: config::Server,
    tls: Option<TlsAcceptorHolder>,
    cores: Option<Cores>,
}

/// `TlsAcceptor` has no `Debug`.
struct TlsAcceptorHolder(TlsAcceptor);

impl std::fmt::Debug for TlsAcceptorHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Server {
    /// Binds every address of the configuration. The second family of `localhost` is optional.
    ///
    /// # Errors
    /// When a required address or the certificate cannot be used.
    pub async fn bind(settings: &config::Server) -> Result<Self, ServerError> {
        let tls = settings.tls.as_ref().map(super::tls::acceptor).transpose()?.map(TlsAcceptorHolder);
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        let mut add = |listener: TcpListener| {
            addresses.extend(listener.local_addr());
            listeners.push(listener);
        };
        for address in &settings.listen.required {
            let listener =
                listen(*address).map_err(|source| ServerError::Listen { address: *address, source })?;
            add(listener);
        }
        let chosen_port = listeners_port(&settings.listen.required, &listeners);
        for address in &settings.listen.if_possible {
            let mut address = *address;
            if address.port() == 0
                && let Some(port) = chosen_port
            {
                address.set_port(port);
            }
            match listen(address) {
                Ok(listener) => {
                    addresses.extend(listener.local_addr());
                    listeners.push(listener);
                }
                Err(error) => tracing::debug!(%address, reason = in_words(&error), "not listening"),
            }
        }
        Ok(Self { listeners, addresses, settings: settings.clone(), tls, cores: None })
    }

    /// Serves connections on these loops instead of the runtime that it is called on.
    #[must_use]
    pub fn on(mut self, cores: Cores) -> Self {
        self.cores = Some(cores);
        self
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether clients speak TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until `stop` is cancelled, then lets requests under way finish within the grace period.
    pub async fn serve(self, app: impl Into<App> + Send, stop: CancellationToken) {
        let app = app.into();
        let slots = Arc::new(Semaphore::new(self.settings.max_connections));
        let connections = TaskTracker::new();
        let shared = Arc::new(Serving {
            app,
            settings: self.settings,
            tls: self.tls.map(|t| t.0),
            cores: self.cores,
            stop,
            cut: CancellationToken::new(),
        });
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(accept(listener, shared.clone(), slots.clone(), connections.clone()))
            })
            .collect();
        for task in accepting {
            // It ends when `stop` is cancelled; a panic in it ends the serving, not the process.
            let _ = task.await;
        }
        connections.close();
        if timeout(shared.settings.shutdown_grace, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "connections were cut at the end of the grace period");
            shared.cut.cancel();
            connections.wait().await;
        }
    }
}

fn listeners_port(required: &[SocketAddr], listeners: &[TcpListener]) -> Option<u16> {
    let asked_any = required.iter().position(|address| address.port() == 0)?;
    listeners.get(asked_any)?.local_addr().ok().map(|address| address.port())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    /// The kernel cuts it to its own bound; connections beyond it are refused by clients' retries.
    const BACKLOG: i32 = 1024;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Otherwise `[::]` takes `0.0.0.0` as well, and listing both fails.
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What the connections share.
struct Serving {
    app: App,
    settings: config::Server,
    tls: Option<TlsAcceptor>,
    cores: Option<Cores>,
    stop: CancellationToken,
    /// The grace period is over.
    cut: CancellationToken,
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Serving>,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
) {
    loop {
        let accepted = async {
            // Full: the kernel's queue holds newcomers until somebody leaves.
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slot else { return };
        let on_loop = shared.cores.as_ref().and_then(Cores::place);
        let (handle, on_loop) =
            on_loop.map_or((None, None), |(handle, taken)| (Some(handle.clone()), Some(taken)));
        let place = Place {
            _on_loop: on_loop,
            _slot: slot,
            connections: connections.clone(),
            stop: shared.stop.clone(),
            cut: shared.cut.clone(),
        };
        let shared = shared.clone();
        match handle {
            // It is to be woken by the loop that serves it.
            Some(handle) => {
                let Ok(stream) = stream.into_std() else { continue };
                connections.spawn_on(
                    async move {
                        let Ok(stream) = TcpStream::from_std(stream) else { return };
                        attend(stream, peer, place, shared).await;
                    },
                    &handle,
                );
            }
            None => {
                connections.spawn(attend(stream, peer, place, shared));
            }
        }
    }
}

/// One client's connection, until it ends or is cut.
async fn attend(stream: TcpStream, peer: SocketAddr, place: Place, shared: Arc<Serving>) {
    let cut = shared.cut.clone();
    tokio::select! {
        () = cut.cancelled() => {}
        () = converse(stream, peer, Arc::new(place), shared) => {}
    }
}

/// One client's connection, from its first byte to its end.
async fn converse(stream: TcpStream, peer: SocketAddr, place: Arc<Place>, shared: Arc<Serving>) {
    let Ok(local) = stream.local_addr() else { return };
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = Connection { peer, local };
    let patience = shared.settings.header_timeout;
    // Boxed, what is not plain HTTP/1: every connection would hold room for it, and thousands lie idle.
    if let Some(acceptor) = &shared.tls {
        return Box::pin(shielded(acceptor, stream, connection, place, &shared)).await;
    }
    let sniffed = {
        let mut sniffing = Box::pin(timeout(patience, speaks_http2(&stream)));
        tokio::select! {
            () = shared.stop.cancelled() => return,
            sniffed = &mut sniffing => sniffed,
        }
    };
    let Ok(Ok(http2)) = sniffed else { return };
    exchange(stream, connection, place, http2, &shared).await;
}

/// The same over TLS.
async fn shielded(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    connection: Connection,
    place: Arc<Place>,
    shared: &Serving,
) {
    let shaken = tokio::select! {
        () = shared.stop.cancelled() => return,
        shaken = timeout(shared.settings.header_timeout, acceptor.accept(stream)) => shaken,
    };
    let Ok(Ok(stream)) = shaken else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    exchange(stream, connection, place, http2, shared).await;
}

/// Whether the client starts with HTTP/2's preface. No HTTP/1 method begins so. All of it is waited for here,
/// where time is bounded: hyper would wait for the rest of it for ever, since pings begin only after it.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut start = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut start).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if start[..read] != PREFACE[..read] {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        sleep(SNIFF_PAUSE).await;
    }
}

async fn exchange<S>(stream: S, connection: Connection, place: Arc<Place>, http2: bool, shared: &Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = Entry { app: shared.app.clone(), connection, place };
    let io = TokioIo::new(stream);
    let ended = if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(H2_HEADERS_BYTES_MAX)
            .keep_alive_interval(H2_PING_EVERY)
            .keep_alive_timeout(H2_PING_EVERY);
        let mut serving = Box::pin(builder.serve_connection(io, service));
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = shared.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(shared.settings.header_timeout);
        let mut serving = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = shared.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %connection.peer, %error, "connection ended");
    }
}
