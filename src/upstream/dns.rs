//! Names to addresses, off the request path: refreshed behind the scenes, and the last good ones kept
//! while the resolver fails. A DNS outage must not become an RPC outage.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::policy::Failure;

/// How old addresses grow before they are asked for again. Clouds move a name with a TTL of 60 s; the
/// system resolver tells no TTL, so a third of it is assumed.
pub const REFRESH_AFTER: Duration = Duration::from_secs(20);
/// How long the last good addresses are used while the resolver fails. Long outages of resolvers took
/// up to an hour; addresses of load balancers live longer than that.
pub const LAST_GOOD: Duration = Duration::from_secs(3600);
/// One look-up's time. glibc itself gives up after 2 x 5 s a server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Least time between two look-ups of one name, whoever asks.
const GAP: Duration = Duration::from_secs(1);
/// A name nobody asked for this long is no longer refreshed; longer than connections live.
const KEEP_FRESH: Duration = Duration::from_secs(600);
/// How long an address that failed to connect stays behind the others.
const DEMOTED_FOR: Duration = Duration::from_secs(60);
/// Addresses kept of one answer. The widest public names give eight of each family.
const ADDRESSES_MAX: usize = 16;
/// Look-ups in the system resolver at once: each holds a thread until the resolver returns, and a hung
/// resolver must not eat the whole blocking pool.
const LOOKUPS_MAX: usize = 8;

/// What a resolver gives back.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Where names are looked up. The order of the answer is kept: the system's follows RFC 6724.
pub trait Resolve: Send + Sync + 'static {
    /// Looks `host` up. The future may be dropped at any time.
    fn resolve(&self, host: &str) -> Resolving;
}

/// The operating system's resolver (`getaddrinfo`), on the runtime's blocking threads.
#[derive(Debug)]
pub struct SystemResolver {
    at_once: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        let (at_once, host) = (Arc::clone(&self.at_once), host.to_owned());
        Box::pin(async move {
            let permit = at_once.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = move || {
                // The permit goes with the thread: dropping the future does not end `getaddrinfo`.
                let _permit = permit;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|a| a.ip()).collect())
            };
            tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
        })
    }
}

/// The names in use, each looked up once for all backends that share it.
pub struct Dns {
    resolver: Arc<dyn Resolve>,
    refresh_after: Duration,
    names: Mutex<HashMap<Box<str>, Weak<Name>>>,
    moves: watch::Sender<u64>,
}

impl Dns {
    /// With the operating system's resolver.
    pub fn system() -> Self {
        Self::with(SystemResolver::default())
    }

    /// With another resolver.
    pub fn with(resolver: impl Resolve) -> Self {
        Self {
            resolver: Arc::new(resolver),
            refresh_after: REFRESH_AFTER,
            names: Mutex::default(),
            moves: watch::Sender::default(),
        }
    }

    /// How often any name came to other addresses than it had before, to be waited for.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.moves.subscribe()
    }

    /// With another time than [`REFRESH_AFTER`], a second at least: a drill has no time to wait for that.
    #[must_use]
    pub fn refreshed_after(mut self, age: Duration) -> Self {
        self.refresh_after = age.max(GAP);
        self
    }

    /// A name to hold as long as it is used. Nothing is looked up yet.
    pub(super) fn name(&self, host: &str) -> Arc<Name> {
        let mut names = lock(&self.names);
        if let Some(name) = names.get(host).and_then(Weak::upgrade) {
            return name;
        }
        names.retain(|_, name| name.strong_count() > 0);
        let name = Arc::new(Name {
            host: host.into(),
            literal: host.parse().ok(),
            resolver: Arc::clone(&self.resolver),
            refresh_after: self.refresh_after,
            known: watch::Sender::default(),
            moves: self.moves.clone(),
            wake: Arc::default(),
            uses: Mutex::default(),
        });
        names.insert(host.into(), Arc::downgrade(&name));
        name
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").field("names", &lock(&self.names).len()).finish()
    }
}

/// One name and what is known of it. Its refreshing task ends with the last handle.
pub(super) struct Name {
    host: Box<str>,
    literal: Option<IpAddr>,
    resolver: Arc<dyn Resolve>,
    refresh_after: Duration,
    known: watch::Sender<Known>,
    moves: watch::Sender<u64>,
    wake: Arc<Notify>,
    uses: Mutex<Uses>,
}

#[derive(Clone, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    resolved_at: Option<Instant>,
    failed_at: Option<Instant>,
    failing_since: Option<Instant>,
    /// Failed look-ups in a row.
    failures: u32,
    /// Look-ups that ended, well or not.
    rounds: u64,
}

impl Known {
    /// What needs no look-up to be waited for.
    fn at_once(&self, now: Instant) -> Option<&[IpAddr]> {
        self.resolved_at.filter(|at| now.duration_since(*at) < LAST_GOOD)?;
        Some(&self.addresses)
    }

    /// What is used when a look-up failed. The bound counts from the first failure: a name that nobody wanted
    /// for hours has addresses as good as any, if the resolver fails just then.
    fn last_good(&self, now: Instant) -> Option<&[IpAddr]> {
        let outage = self.failing_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        (outage < LAST_GOOD && !self.addresses.is_empty()).then_some(&self.addresses)
    }
}

#[derive(Default)]
struct Uses {
    last: Option<Instant>,
    demoted: Vec<(IpAddr, Instant)>,
    task: Option<AbortHandle>,
}

impl Name {
    /// Addresses in the order to try them. Waits for a look-up only while none is known, or all are older
    /// than [`LAST_GOOD`], and at most `limit`.
    pub(super) async fn addresses(self: &Arc<Self>, limit: Duration) -> Result<Vec<IpAddr>, Failure> {
        if let Some(literal) = self.literal {
            return Ok(vec![literal]);
        }
        let now = Instant::now();
        let mut known = self.known.subscribe();
        self.keep_fresh(now);
        let rounds = {
            let known = known.borrow_and_update();
            if let Some(addresses) = known.at_once(now) {
                if known.resolved_at.is_some_and(|at| now.duration_since(at) >= self.refresh_after) {
                    self.wake.notify_one();
                }
                return Ok(self.ordered(addresses, now));
            }
            if known.failed_at.is_some_and(|at| now.duration_since(at) < GAP) {
                return self.last_good(&known, now);
            }
            known.rounds
        };
        self.wake.notify_one();
        let _ = timeout(limit, known.wait_for(|known| known.rounds != rounds)).await;
        let known = known.borrow();
        self.last_good(&known, Instant::now())
    }

    fn last_good(&self, known: &Known, now: Instant) -> Result<Vec<IpAddr>, Failure> {
        known.last_good(now).map(|addresses| self.ordered(addresses, now)).ok_or(Failure::Dns)
    }

    /// The latest addresses in ascending order, without a look-up; empty where none is known yet.
    pub(super) fn known(&self) -> Vec<IpAddr> {
        let mut addresses = match self.literal {
            Some(literal) => vec![literal],
            None => self.known.borrow().addresses.clone(),
        };
        addresses.sort_unstable();
        addresses
    }

    /// This address did not connect: the others come first for a while, and the name is asked again.
    pub(super) fn demote(&self, address: IpAddr) {
        if self.literal.is_some() {
            return;
        }
        let now = Instant::now();
        let mut uses = lock(&self.uses);
        uses.demoted.retain(|(a, at)| *a != address && now.duration_since(*at) < DEMOTED_FOR);
        if uses.demoted.len() == ADDRESSES_MAX {
            uses.demoted.remove(0);
        }
        uses.demoted.push((address, now));
        drop(uses);
        self.wake.notify_one();
    }

    /// This address connected: it may come first again.
    pub(super) fn restore(&self, address: IpAddr) {
        lock(&self.uses).demoted.retain(|(a, _)| *a != address);
    }

    fn ordered(&self, addresses: &[IpAddr], now: Instant) -> Vec<IpAddr> {
        let uses = lock(&self.uses);
        let demoted = |address: &IpAddr| {
            uses.demoted
                .iter()
                .position(|(a, at)| a == address && now.duration_since(*at) < DEMOTED_FOR)
                .map_or(0, |place| place + 1)
        };
        let mut ordered = interleaved(addresses);
        ordered.sort_by_key(demoted); // stable: the order among equals stays
        ordered
    }

    fn keep_fresh(self: &Arc<Self>, now: Instant) {
        let mut uses = lock(&self.uses);
        uses.last = Some(now);
        if uses.task.as_ref().is_none_or(AbortHandle::is_finished) {
            uses.task = Some(tokio::spawn(refresh(Arc::downgrade(self))).abort_handle());
        }
    }

    fn learn(&self, answer: io::Result<Vec<IpAddr>>) -> u32 {
        let now = Instant::now();
        let (before, mut failures) = (self.known(), 0);
        self.known.send_modify(|known| {
            known.rounds += 1;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in answer.into_iter().flatten() {
                if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() {
                known.failures = known.failures.saturating_add(1);
                known.failed_at = Some(now);
                known.failing_since.get_or_insert(now);
            } else {
                *known =
                    Known { addresses, resolved_at: Some(now), rounds: known.rounds, ..Known::default() };
            }
            failures = known.failures;
        });
        // The order changes with every answer of a resolver that spreads load.
        if self.known() != before {
            self.moves.send_modify(|moves| *moves += 1);
        }
        failures
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.uses).task.take() {
            task.abort();
        }
    }
}

/// Alternates the families, beginning with the resolver's first (RFC 8305, section 4).
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let mut first = addresses.iter().filter(|address| address.is_ipv6() == first_is_v6);
    let mut second = addresses.iter().filter(|address| address.is_ipv6() != first_is_v6);
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

/// The one task that looks a name up: a hung resolver holds this task, never a queue of them.
async fn refresh(name: Weak<Name>) {
    let (host, resolver, refresh_after, wake) = match name.upgrade() {
        Some(name) => {
            (name.host.clone(), Arc::clone(&name.resolver), name.refresh_after, Arc::clone(&name.wake))
        }
        None => return,
    };
    let mut failed = false;
    loop {
        let answer = timeout(RESOLVE_TIMEOUT, resolver.resolve(&host)).await;
        let Some(this) = name.upgrade() else { return };
        let failures = this.learn(answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        match failures {
            0 if failed => tracing::info!(%host, "the name resolves again"),
            1 if this.known.borrow().last_good(Instant::now()).is_some() => {
                tracing::warn!(%host, "the name no longer resolves; its last good addresses stay in use")
            }
            // Without any address the backend fails, which is told where that is judged.
            1 => tracing::debug!(%host, "the name does not resolve"),
            _ => {}
        }
        failed = failures > 0;
        // Whoever asked while this look-up ran has its answer.
        let _ = wake.notified().now_or_never();
        let wanted = lock(&this.uses).last.is_some_and(|at| at.elapsed() < KEEP_FRESH);
        drop(this);
        sleep(GAP).await;
        // After a failure 2, 4, 8 s and so on; a request that finds no address wakes it sooner.
        let pause = if failed { (GAP * (1 << failures.min(5))).min(refresh_after) } else { refresh_after };
        tokio::select! {
            () = wake.notified() => {}
            () = sleep(pause.saturating_sub(GAP)), if wanted => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
