//! One connection from a name to a handshaken byte stream: addresses raced, sockets tuned, TLS on top.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::dns::{Dns, Name};
use super::tls::{Alpn, Tls};
use super::wire::Wire;
use crate::config::BackendUrl;
use crate::policy::Failure;

/// Head start of each address over the next one (RFC 8305, section 8: recommended 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Silence on a socket before the kernel probes it; shorter than the NAT timeouts of cloud gateways (350 s
/// at AWS) and of home routers (some 60 s).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Time between two such probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered probes until the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`). Without it Linux retransmits for a
/// quarter of an hour into a black hole.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// Out of file descriptors, in the process or the machine: `EMFILE`, `ENFILE` on every Unix.
const OUT_OF_SOCKETS: [i32; 2] = [24, 23];

/// Connects to one backend. Pools use it, and so does whoever needs a bare stream (WebSockets).
pub struct Dialer {
    url: BackendUrl,
    tls: Arc<Tls>,
    name: Arc<Name>,
    limit: Duration,
}

/// A stream that is ready for HTTP.
pub struct Dialed {
    /// Reads and writes.
    pub wire: Wire,
    /// The address that won.
    pub remote: SocketAddr,
    /// The TLS handshake settled on HTTP/2.
    pub http2: bool,
}

impl Dialer {
    /// `limit` bounds TCP and TLS together; a first DNS look-up has as much again.
    pub fn new(url: BackendUrl, tls: Arc<Tls>, dns: &Dns, limit: Duration) -> Self {
        let name = dns.name(url.host());
        Self { url, tls, name, limit }
    }

    /// The addresses that connections go to, in ascending order; empty before the first look-up.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.name.known()
    }

    /// Makes a connection.
    pub async fn dial(&self, alpn: Alpn) -> Result<Dialed, Failure> {
        let addresses = self.name.addresses(self.limit).await?;
        let addresses: Vec<_> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, self.url.port())).collect();
        let mut started = Vec::new();
        let attempt = async {
            let (stream, remote) = race(&addresses, open, &mut started).await?;
            self.handshaken(stream, remote, alpn).await
        };
        let dialed = timeout(self.limit, attempt).await.unwrap_or(Err(Failure::ConnectTimeout));
        let winner = dialed.as_ref().ok().map(|dialed| dialed.remote.ip());
        for address in started.into_iter().take_while(|address| Some(*address) != winner) {
            self.name.demote(address); // refused, silent, or overtaken in spite of its head start
        }
        if let Some(winner) = winner {
            self.name.restore(winner);
        }
        dialed
    }

    async fn handshaken(&self, stream: TcpStream, remote: SocketAddr, alpn: Alpn) -> Result<Dialed, Failure> {
        if !self.url.is_tls() {
            return Ok(Dialed { wire: Wire::plain(stream), remote, http2: alpn == Alpn::Http2 });
        }
        let name = ServerName::try_from(self.url.host().to_owned()).map_err(|_| Failure::Tls)?;
        let connector = TlsConnector::from(self.tls.offering(alpn));
        let stream = connector.connect(name, stream).await.map_err(|e| tls_failure(&e))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if alpn == Alpn::Http2 && !http2 {
            return Err(Failure::Protocol);
        }
        Ok(Dialed { wire: Wire::tls(stream), remote, http2 })
    }
}

/// Happy eyeballs: the next address starts after [`STAGGER`], or at once when one failed; the first
/// to connect wins. `started` tells which were tried, also when the caller gives up in between.
async fn race<S, F>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
    started: &mut Vec<IpAddr>,
) -> Result<(S, SocketAddr), Failure>
where
    F: Future<Output = io::Result<S>>,
{
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut failure = Failure::Unreachable;
    loop {
        if let Some(address) = waiting.next() {
            started.push(address.ip());
            let connecting = connect(address);
            running.push(async move { (connecting.await, address) });
        } else if running.is_empty() {
            return Err(failure);
        }
        let more = waiting.len() > 0;
        let stagger = sleep(STAGGER);
        tokio::pin!(stagger);
        loop {
            tokio::select! {
                biased;
                Some((done, address)) = running.next() => match done {
                    Ok(stream) => return Ok((stream, address)),
                    Err(error) => {
                        // A machine without IPv6 finds every such address unreachable: that says least.
                        if failure == Failure::Unreachable {
                            failure = connect_failure(&error);
                        }
                        if more || running.is_empty() {
                            break;
                        }
                    }
                },
                () = &mut stagger, if more => break,
            }
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    tune(&SockRef::from(&socket))?;
    socket.connect(address).await
}

fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?; // requests are small: Nagle would hold them back for an ACK
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

fn connect_failure(error: &io::Error) -> Failure {
    if error.raw_os_error().is_some_and(|code| OUT_OF_SOCKETS.contains(&code)) {
        return Failure::PoolExhausted; // our own shortage, not the backend's illness
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable,
    }
}

/// A peer that hangs up says nothing about its certificate.
fn tls_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Failure::Reset,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Tls,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Races addresses of which each connects, or fails, after its time in milliseconds.
    async fn raced(
        addresses: &[(&str, u64, Result<(), io::ErrorKind>)],
    ) -> (Result<String, Failure>, Duration, usize) {
        let all: Vec<SocketAddr> = addresses.iter().map(|(a, ..)| a.parse().unwrap()).collect();
        let connect = |address| {
            let place = all.iter().position(|a| *a == address).unwrap();
            let (_, after, end) = addresses[place];
            async move {
                sleep(MS(after)).await;
                end.map_err(io::Error::from)
            }
        };
        let (mut started, before) = (Vec::new(), Instant::now());
        let won = race(&all, connect, &mut started).await;
        (won.map(|((), address)| address.to_string()), before.elapsed(), started.len())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_connect_wins_and_the_next_starts_late_or_after_a_failure() {
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable};
        const FOREVER: u64 = 1 << 40;
        let (a, b, c) = ("[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1");
        let won = |address: &str| Ok(address.to_owned());

        assert_eq!(raced(&[(a, 10, Ok(())), (b, 0, Ok(()))]).await, (won(a), MS(10), 1));
        assert_eq!(raced(&[(a, FOREVER, Ok(())), (b, 5, Ok(()))]).await, (won(b), MS(255), 2));
        assert_eq!(raced(&[(a, 300, Ok(())), (b, 100, Ok(()))]).await, (won(a), MS(300), 2));
        let first_refuses = [(a, 0, Err(ConnectionRefused)), (b, 5, Ok(()))];
        assert_eq!(raced(&first_refuses).await, (won(b), MS(5), 2));
        let third_is_left = [(a, FOREVER, Ok(())), (b, 10, Err(ConnectionRefused)), (c, 5, Ok(()))];
        assert_eq!(raced(&third_is_left).await, (won(c), MS(265), 3));

        let no_ipv6 = [(a, 0, Err(NetworkUnreachable)), (b, 20, Err(ConnectionRefused))];
        assert_eq!(raced(&no_ipv6).await, (Err(Failure::Refused), MS(20), 2));
        assert_eq!(raced(&[]).await, (Err(Failure::Unreachable), MS(0), 0));
    }

    #[test]
    fn our_own_shortage_of_sockets_is_no_fault_of_the_backend() {
        let failure = |code| connect_failure(&io::Error::from_raw_os_error(code));
        assert_eq!(failure(24), Failure::PoolExhausted);
        #[cfg(target_os = "linux")]
        assert_eq!(
            [failure(111), failure(110), failure(113), failure(101)],
            [Failure::Refused, Failure::ConnectTimeout, Failure::Unreachable, Failure::Unreachable]
        );
    }
}
