//! One simulated backend: an HTTP server on a free loopback port, with a latency of its own, that can be made to fail.
//! Here are its sockets; `respond.rs` has its answers.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::certificates::Certificates;
use super::chain::{Chain, View};
use super::fault::Fault;
use super::names::{self, Named};
use super::node::converse;
use super::pool::NodeIndex;
use super::respond::respond;

/// Connections of one backend; beyond them the kernel's queue holds newcomers.
const CONNECTIONS_MAX: usize = 512;
/// The kernel's queue.
const BACKLOG: i32 = 128;
/// Requests under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// A client that sends half a header is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept or bind.
pub(super) const REST: Duration = Duration::from_millis(50);

/// The chain and the moment it began: what all backends share.
pub(super) struct World {
    chain: Mutex<Chain>,
    started: Instant,
}

impl World {
    pub(super) fn new(chain: Chain) -> Self {
        Self { chain: Mutex::new(chain), started: Instant::now() }
    }

    /// Answers a body as this node would now.
    pub(super) fn converse(&self, node: NodeIndex, behind: u64, name: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that time never goes back for the chain.
        let now = self.started.elapsed();
        chain.advance(now);
        converse(&mut chain, View { node, now, behind }, name, body)
    }

    /// The highest block number that one of the first `nodes` nodes has.
    pub(super) fn head(&self, nodes: usize) -> u64 {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        chain.advance(now);
        let heads = (0..nodes).map(|node| chain.head(View { node, now, behind: 0 }).header.number);
        heads.max().unwrap_or_default()
    }

    /// Whether one of the first `nodes` nodes could have answered so, now or up to `behind` blocks ago.
    pub(super) fn could_answer(&self, nodes: usize, behind: u64, call: &[u8], result: &Value) -> bool {
        let views = (0..=behind).flat_map(|behind| (0..nodes).map(move |node| (node, behind)));
        views.into_iter().any(|(node, behind)| {
            let said = self.converse(node, behind, "", call).unwrap_or_default();
            let said: Value = serde_json::from_slice(&said).unwrap_or_default();
            said.get("result") == Some(result)
        })
    }
}

/// How long a backend takes: lognormal, as round trips through the internet are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the answers come sooner.
    pub median: Duration,
    /// Standard deviation of the logarithm; 0.3 puts one answer in a hundred above twice the median.
    pub spread: f64,
}

impl Latency {
    pub(super) fn draw(&self, rng: &mut SmallRng) -> Duration {
        /// Nothing takes longer than that many medians: the tail beyond is a fault, and faults are asked for.
        const LONGEST: f64 = 8.0;
        // Box and Muller; 1 - u keeps the logarithm finite.
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        self.median.mul_f64((self.spread * normal).exp().min(LONGEST))
    }
}

/// A running backend; it ends when this is dropped.
pub struct SimulatedBackend {
    name: Arc<str>,
    node: NodeIndex,
    address: SocketAddr,
    has_tls: bool,
    fault: watch::Sender<Option<Fault>>,
    struck: Arc<AtomicU64>,
    _task: DropGuard,
}

/// What the connections of a backend share.
pub(super) struct Serving {
    pub(super) world: Arc<World>,
    pub(super) node: NodeIndex,
    pub(super) name: Arc<str>,
    latency: Latency,
    rng: Mutex<SmallRng>,
    pub(super) fault: watch::Receiver<Option<Fault>>,
    struck: Arc<AtomicU64>,
    certificates: Option<Arc<Certificates>>,
    ended: CancellationToken,
}

impl Serving {
    pub(super) fn latency(&self) -> Duration {
        self.latency.draw(&mut self.rng())
    }

    /// An HTTP status for so many of a hundred.
    pub(super) fn fails_as(&self, percent: u8) -> Option<u16> {
        const STATUSES: [u16; 3] = [500, 502, 503];
        let mut rng = self.rng();
        let fails = rng.random_range(0..100) < percent;
        fails.then(|| STATUSES[rng.random_range(0..STATUSES.len())])
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, SmallRng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault has met somebody.
    pub(super) fn strikes(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }
}

impl SimulatedBackend {
    /// Starts it on a free loopback port.
    pub(super) fn start(
        world: Arc<World>,
        node: NodeIndex,
        name: &str,
        latency: Latency,
        seed: u64,
        certificates: Option<Arc<Certificates>>,
    ) -> io::Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = listening(socket)?;
        let (fault, watched) = watch::channel(None);
        let ended = CancellationToken::new();
        let name: Arc<str> = name.into();
        let (struck, has_tls) = (Arc::<AtomicU64>::default(), certificates.is_some());
        let serving = Arc::new(Serving {
            world,
            node,
            name: name.clone(),
            latency,
            rng: Mutex::new(SmallRng::seed_from_u64(seed ^ node as u64)),
            fault: watched,
            struck: struck.clone(),
            certificates,
            ended: ended.clone(),
        });
        tokio::spawn(async move {
            tokio::select! {
                () = accept(&serving, listener, address) => {}
                () = serving.ended.cancelled() => {}
            }
        });
        Ok(Self { name, node, address, has_tls, fault, struck, _task: ended.drop_guard() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        match self.has_tls {
            true => format!("https://{}:{}/", names::of_backend(self.node), self.address.port()),
            false => format!("http://{}/", self.address),
        }
    }

    /// From now on it fails so, or works again.
    pub fn set(&self, fault: Option<Fault>) {
        self.fault.send_replace(fault);
    }

    /// How often a fault has met somebody: a request, a connection that was accepted or open, a look-up of its
    /// name. Connections that are refused, or not even that, cannot be counted.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::Relaxed)
    }

    pub(super) fn named(&self) -> (String, Named) {
        let (fault, struck) = (self.fault.subscribe(), self.struck.clone());
        (names::of_backend(self.node), Named { address: self.address.ip(), fault, struck })
    }
}

/// A socket that has the address and does not listen: connections to it are refused, and nobody else takes it.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(serving: &Arc<Serving>, listener: TcpListener, address: SocketAddr) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut fault = serving.fault.clone();
    let mut listener = Some(listener);
    loop {
        let now = *fault.borrow_and_update();
        match now {
            Some(Fault::Refuse | Fault::NameElsewhere) => {
                drop(listener.take());
                let reserved = bound(address);
                if fault.changed().await.is_err() {
                    return;
                }
                listener = reserved.and_then(listening).ok();
                continue;
            }
            Some(Fault::BlackHole) => {
                if fault.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Some(Fault::Unanswered) => {
                let closed = listener.as_ref().map(|listener| Closed::new(listener, address));
                let changed = fault.changed().await;
                drop(closed);
                if changed.is_err() {
                    return;
                }
                if let Some(listener) = &listener {
                    let _ = SockRef::from(listener).listen(BACKLOG);
                }
                continue;
            }
            _ => {}
        }
        let Some(open) = &listener else {
            // Another program was quicker to take the port. It may give it back.
            listener = bound(address).and_then(listening).ok();
            if listener.is_none() {
                sleep(REST).await;
            }
            continue;
        };
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, open.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            _ = fault.changed() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    tokio::select! {
                        () = serve(&serving, stream) => {}
                        () = serving.ended.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a simulated backend cannot accept a connection");
                sleep(REST).await;
            }
        }
    }
}

/// A listener whose queue is full, so that Linux drops every further connection's first packet.
struct Closed {
    _filling: Vec<Socket>,
}

impl Closed {
    /// The shortest queue holds one; a second connection makes sure that it is there.
    const FILLING: usize = 2;

    fn new(listener: &TcpListener, address: SocketAddr) -> Self {
        let _ = SockRef::from(listener).listen(0);
        let filling = (0..Self::FILLING).filter_map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).ok()?;
            socket.set_nonblocking(true).ok()?;
            let _ = socket.connect(&address.into()); // under way
            Some(socket)
        });
        Self { _filling: filling.collect() }
    }
}

async fn serve(serving: &Arc<Serving>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket: how it is closed is decided after hyper has let go of the first.
    let Ok(handle) = SockRef::from(&stream).try_clone() else { return };
    let mut fault = serving.fault.clone();
    let ends = Ends::default();
    let mut exchange = std::pin::pin!(exchange(serving, stream, &ends));
    let mut is_new = true;
    loop {
        let now = *fault.borrow_and_update();
        match now {
            Some(Fault::Refuse) => break,
            Some(now) if now.is_silence() => {
                serving.strikes();
                if fault.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Some(now) if now.is_of_new_connections() && !is_new => ends.in_order.cancel(),
            _ => {}
        }
        is_new = false;
        tokio::select! {
            biased;
            _ = fault.changed() => {}
            () = ends.cut.cancelled() => break,
            () = exchange.as_mut() => return,
        }
    }
    // Closing with nothing to wait for is a reset.
    let _ = handle.set_linger(Some(Duration::ZERO));
}

/// How a connection is told to end.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// What is under way is answered first.
    in_order: CancellationToken,
    /// Nothing is.
    pub(super) cut: CancellationToken,
}

/// One connection from its first byte to its end in good order.
async fn exchange(serving: &Arc<Serving>, stream: TcpStream, ends: &Ends) {
    let Some(certificates) = &serving.certificates else {
        return converse_over(serving, stream, false, ends).await;
    };
    let has_expired = *serving.fault.borrow() == Some(Fault::ExpiredCertificate);
    if has_expired {
        serving.strikes();
    }
    let config = if has_expired { &certificates.expired } else { &certificates.valid };
    if let Ok(stream) = TlsAcceptor::from(config.clone()).accept(stream).await {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        converse_over(serving, stream, http2, ends).await;
    }
}

async fn converse_over<S>(serving: &Arc<Serving>, stream: S, http2: bool, ends: &Ends)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let service = service_fn(|request| {
        let (serving, cut) = (serving.clone(), ends.cut.clone());
        async move { Ok::<_, Infallible>(respond(serving, request, cut).await) }
    });
    // Errors are the client's, or asked for.
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        let mut exchange = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            _ = exchange.as_mut() => return,
            () = ends.in_order.cancelled() => {}
        }
        exchange.as_mut().graceful_shutdown();
        let _ = exchange.await;
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let mut exchange = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            _ = exchange.as_mut() => return,
            () = ends.in_order.cancelled() => {}
        }
        exchange.as_mut().graceful_shutdown();
        let _ = exchange.await;
    }
}
