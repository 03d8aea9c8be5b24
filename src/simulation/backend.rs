//! One simulated backend: an HTTP server on a free loopback port, with a latency of its own, that can be made to fail.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::chain::{Chain, View};
use super::fault::Fault;
use super::node::converse;
use super::pool::NodeIndex;

/// Largest request that a node takes, as in geth.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Connections of one backend; beyond them the kernel's queue holds newcomers.
const CONNECTIONS_MAX: usize = 512;
/// The kernel's queue.
const BACKLOG: i32 = 128;
/// A client that sends half a header is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept or bind.
const REST: Duration = Duration::from_millis(50);

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
    fn converse(&self, node: NodeIndex, behind: u64, name: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that time never goes back for the chain.
        let now = self.started.elapsed();
        chain.advance(now);
        converse(&mut chain, View { node, now, behind }, name, body)
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
    address: SocketAddr,
    fault: watch::Sender<Option<Fault>>,
    _task: DropGuard,
}

/// What the connections of a backend share.
struct Serving {
    world: Arc<World>,
    node: NodeIndex,
    name: Arc<str>,
    latency: Latency,
    rng: Mutex<SmallRng>,
    fault: watch::Receiver<Option<Fault>>,
    ended: CancellationToken,
}

impl SimulatedBackend {
    /// Starts it on a free loopback port.
    pub(super) fn start(
        world: Arc<World>,
        node: NodeIndex,
        name: &str,
        latency: Latency,
        seed: u64,
    ) -> io::Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = listening(socket)?;
        let (fault, watched) = watch::channel(None);
        let ended = CancellationToken::new();
        let name: Arc<str> = name.into();
        let serving = Arc::new(Serving {
            world,
            node,
            name: name.clone(),
            latency,
            rng: Mutex::new(SmallRng::seed_from_u64(seed ^ node as u64)),
            fault: watched,
            ended: ended.clone(),
        });
        tokio::spawn(async move {
            tokio::select! {
                () = accept(&serving, listener, address) => {}
                () = serving.ended.cancelled() => {}
            }
        });
        Ok(Self { name, address, fault, _task: ended.drop_guard() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on it fails so, or works again.
    pub fn set(&self, fault: Option<Fault>) {
        self.fault.send_replace(fault);
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
            Some(Fault::Refuse) => {
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

async fn serve(serving: &Arc<Serving>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket: how it is closed is decided after hyper has let go of the first.
    let Ok(handle) = SockRef::from(&stream).try_clone() else { return };
    let mut fault = serving.fault.clone();
    let service = service_fn(|request| respond(serving.clone(), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut exchange = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        let now = *fault.borrow_and_update();
        match now {
            Some(Fault::Refuse) => break,
            Some(Fault::BlackHole) => {
                if fault.changed().await.is_err() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        tokio::select! {
            biased;
            _ = fault.changed() => {}
            ended = exchange.as_mut() => match ended {
                Err(error) if is_cut(&error) => break,
                _ => return,
            },
        }
    }
    // Closing with nothing to wait for is a reset.
    let _ = handle.set_linger(Some(Duration::ZERO));
}

/// The service fails so when the connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

fn is_cut(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<Cut>())
}

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

async fn respond(serving: Arc<Serving>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if request.method() != Method::POST {
        return Ok(page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::from_static(b"POST only\n")));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return Ok(page(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", Bytes::new()));
    };
    let mut watched = serving.fault.clone();
    let fault = *watched.borrow_and_update();
    sleep(serving.latency()).await;
    match fault {
        Some(Fault::Reset) => return Err(Cut),
        Some(Fault::Hang) => {
            let _ = watched.changed().await;
            return Err(Cut);
        }
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(page(status, "text/html", web_page(status.as_str())));
        }
        Some(Fault::Html) => {
            return Ok(page(StatusCode::OK, "text/html", web_page("Just a moment...")));
        }
        Some(Fault::Slow(longer)) => sleep(longer).await,
        _ => {}
    }
    let behind = fault.map_or(0, Fault::blocks_behind);
    let answer = serving.world.converse(serving.node, behind, &serving.name, &body.to_bytes());
    let answer = Bytes::from(answer.unwrap_or_default());
    Ok(match fault {
        Some(Fault::Trickle(rate)) => sent(StatusCode::OK, JSON, answer.len(), trickle(answer, rate)),
        Some(Fault::Truncated) => {
            sent(StatusCode::OK, JSON, answer.len(), truncated(answer.slice(..answer.len() / 2)))
        }
        _ => page(StatusCode::OK, JSON, answer),
    })
}

const JSON: &str = "application/json";

impl Serving {
    fn latency(&self) -> Duration {
        self.latency.draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn web_page(title: &str) -> Bytes {
    format!("<!DOCTYPE html><html><title>{title}</title><body><h1>{title}</h1></body></html>\n").into()
}

fn page(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let length = body.len();
    let whole = stream::once(async move { Ok::<_, Infallible>(Frame::data(body)) });
    sent(status, content_type, length, whole.map(|Ok(frame)| Ok(frame)).boxed())
}

fn sent(
    status: StatusCode,
    content_type: &'static str,
    length: usize,
    body: BoxStream<'static, io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The bytes, and then an end that was not announced. hyper drops what it has not written yet when a body
/// fails, so the end comes a little later.
fn truncated(half: Bytes) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let end = stream::once(async {
        sleep(REST).await;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    stream::once(async { Ok(Frame::data(half)) }).chain(end).boxed()
}

/// Ten pieces a second.
fn trickle(body: Bytes, bytes_per_second: u32) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    const PIECES_PER_SECOND: u32 = 10;
    let piece = usize::try_from((bytes_per_second / PIECES_PER_SECOND).max(1)).unwrap_or(1);
    let pieces = stream::unfold(body, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        sleep(Duration::from_secs(1) / PIECES_PER_SECOND).await;
        let next = left.split_to(piece.min(left.len()));
        Some((Ok(Frame::data(next)), left))
    });
    pieces.boxed()
}
