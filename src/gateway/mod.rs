//! One request's way through: admitted, answered here or sent to backends, and answered.
//!
//! [`Gateway`] is the product as a library: the server is a thin layer around it.

mod accepted;
mod admit;
mod agree;
mod aside;
mod attempt;
mod batch;
mod call;
mod carry;
mod chain;
mod deliver;
mod domains;
mod examine;
mod explain;
mod feeds;
mod filters;
mod follow;
mod forward;
mod grapevine;
mod head_status;
mod identity;
mod known;
mod ledger;
mod link;
mod marks;
mod mask;
mod memory;
mod metrics;
mod nonce;
mod outbox;
mod packet;
mod pushed;
mod ranges;
mod resolve;
mod saved;
mod session;
mod spent;
#[cfg(test)]
mod stand_in;
mod standing;
mod status;
mod survey;
mod tally;
mod tip;
mod transaction;
mod watch;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cache::{Disk, Memory as CacheMemory};
use crate::config::{self, Config};
use crate::ethereum::chains::ChainPreset;
use crate::ethereum::{Method, MethodKind};
use crate::journal::{Journal, JournalError};
use crate::jsonrpc::{self, ErrorObject, Id, Limits, Rejected, Request, code};
use crate::upstream::{Dns, Tls, TlsError, Upstream, UpstreamSettings, WebSocketAddress};

use admit::{Admission, admit};
use call::{Answered, Said};
use chain::Chain;
use grapevine::Grapevine;
use known::{Known, Tiers};
use link::Link;
use mask::Mask;
use standing::Caller;

pub use examine::Examination;
pub use explain::{CandidateStatus, DecisionStatus};
pub use head_status::{BranchStatus, FollowerStatus, ForkStatus, ViewStatus};
pub use memory::Memory;
pub use outbox::{HandleId, Notification, SessionEnd};
pub(crate) use packet::{Answer, Pieces};
pub use packet::{Packet, Reply, Source, Terms, Trail};
pub use saved::{CacheStatus, DiskStatus, SavedStatus};
pub use session::{Session, SessionReply};
pub use status::{
    BackendStatus, BudgetStatus, CallsStatus, ChainStatus, ChangeStatus, DerivedStatus, DomainStatus,
    HealthStatus, RetiredStatus, SocketStatus, SpentStatus, Status, SubscribersStatus,
};
pub use survey::{BackendSurvey, ChainSurvey, survey};

/// Why a gateway cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The certificate authorities that backends are checked against cannot be loaded.
    #[error("routing.roots: {0}")]
    Tls(#[from] TlsError),
    /// Tasks that look after the backends need a runtime to live in.
    #[error("no tokio runtime: make the gateway inside one")]
    NoRuntime,
    /// The journal of transactions cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A name that the gateway does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// No chain of this name or id.
    #[error("no such chain")]
    Chain,
    /// No backend of this name on the chain.
    #[error("no such backend")]
    Backend,
}

/// Several RPC providers as one that does not fail. Cheap to clone; its tasks end when the last clone is
/// dropped. Several gateways can live in one process.
///
/// As a [`tower::Service`] it takes a [`Packet`] and never errs: what went wrong is in the JSON-RPC answer.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    chains: Vec<Arc<Chain>>,
    server: config::Server,
    tiers: Tiers,
    made_at: Instant,
    _tasks: DropGuard,
}

impl Gateway {
    /// Makes a gateway and starts looking after its backends.
    ///
    /// # Errors
    /// When certificate authorities cannot be loaded, or outside a tokio runtime.
    pub fn new(config: &Config) -> Result<Self, GatewayError> {
        Self::over(config, Tls::new(&roots(&config.routing.roots))?, Dns::system())
    }

    /// The same with other certificate authorities and another resolver than the configuration's: a network
    /// that is simulated.
    pub(crate) fn over(config: &Config, tls: Tls, dns: Dns) -> Result<Self, GatewayError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| GatewayError::NoRuntime)?;
        let (tls, dns) = (Arc::new(tls), Arc::new(dns));
        let tasks = CancellationToken::new();
        let grapevine = Arc::new(Grapevine::default());
        let journal = match &config.transactions.journal {
            Some(path) => Some(Arc::new(Journal::open(path)?)),
            None => None,
        };
        let records = journal.as_ref().map_or(Ok(Vec::new()), |journal| journal.records())?;
        let tiers = tiers(&config.cache);
        let chains: Vec<_> = config
            .chains
            .iter()
            .enumerate()
            .map(|(place, settings)| {
                let links = settings.backends.iter().map(|b| link(b, &config.routing, &tls, &dns)).collect();
                let kept = (journal.clone(), &*records);
                let can_be_changed = chain::is_of_development(settings);
                let known = Known::new(place, &tiers, config.cache.coalesce, can_be_changed);
                Arc::new(Chain::new(settings.clone(), config, links, grapevine.clone(), kept, known))
            })
            .collect();
        grapevine.connect(chains.iter().map(Arc::downgrade).collect());
        for (at, chain) in chains.iter().enumerate() {
            // Public endpoints are small, and of the chains that come with the presets few are used.
            let eager = at == 0 || !chain.settings.is_public();
            let watched = watch::watch(chain.clone(), eager);
            let followed = follow::follow(chain.clone(), eager);
            let derived = domains::keep(chain.clone(), dns.moves());
            let pushed = pushed::listen(chain.clone());
            let fed = feeds::run(chain.clone());
            let delivered = deliver::deliver(chain.clone());
            let done = tasks.clone();
            // A task of its own: transactions are seen through whatever becomes of the rest, and the reverse.
            runtime.spawn(async move { done.run_until_cancelled(delivered).await });
            let ended = tasks.clone();
            runtime.spawn(async move {
                tokio::select! {
                    () = watched => {}
                    () = followed => {}
                    () = pushed => {}
                    () = derived => {}
                    () = fed => {}
                    () = ended.cancelled() => {}
                }
            });
        }
        let server = config.server.clone();
        let inner = Inner { chains, server, tiers, made_at: Instant::now(), _tasks: tasks.drop_guard() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Answers one packet. Never fails: what went wrong is in the JSON-RPC answer. Dropping the future
    /// cancels what is under way.
    pub async fn answer(&self, packet: Packet) -> Reply {
        self.answer_apart(packet).await.whole()
    }

    /// The same, with a large result left where it lies.
    pub(crate) async fn answer_apart(&self, packet: Packet) -> Answer {
        let Ok(chain) = self.chain(packet.chain.as_deref()) else {
            let error = ErrorObject::new(code::INVALID_REQUEST, "no such chain");
            return reply(&Id::NULL, Answered::refused(error));
        };
        self.answer_on(
            chain,
            &packet.body,
            Caller { client: packet.client, session: None, terms: packet.terms },
        )
        .await
    }

    async fn answer_on(&self, chain: &Arc<Chain>, body: &[u8], caller: Caller<'_>) -> Answer {
        chain.touch();
        let limits = Limits { batch_items_max: self.inner.server.max_batch };
        match jsonrpc::parse(body, &limits) {
            Err(rejected) | Ok(jsonrpc::Packet::Single(Err(rejected))) => {
                chain.tally.malformed();
                refuse(rejected)
            }
            Ok(jsonrpc::Packet::Single(Ok(request))) => single(chain, &caller, request).await,
            // Boxed, as all that is not an ordinary call: the room of a request is moved about on its way.
            Ok(jsonrpc::Packet::Batch(items)) => Box::pin(batch::batch(chain, &caller, items)).await,
        }
    }

    /// Makes one call. `params` is anything that serialises to a JSON array or object, `()` where there are
    /// none. The result is read as whatever type is asked for; `Box<RawValue>` is its bytes unread.
    ///
    /// ```no_run
    /// # async fn example(gateway: outrigger::Gateway) -> Result<(), outrigger::jsonrpc::ErrorObject> {
    /// let head: String = gateway.call(None, "eth_blockNumber", ()).await?;
    /// let owner = "0xd8da6bf26964af9d7eed9e03e53415d37aa96045";
    /// let balance: String = gateway.call(Some("base"), "eth_getBalance", (owner, "latest")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The JSON-RPC error object that the call was answered with; -32603 when the result is of another type.
    pub async fn call<R: DeserializeOwned>(
        &self,
        chain: Option<&str>,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, ErrorObject> {
        let chain =
            self.chain(chain).map_err(|error| ErrorObject::new(code::INVALID_REQUEST, error.to_string()))?;
        chain.touch();
        let params = to_raw_value(&params)
            .map_err(|error| ErrorObject::new(code::INVALID_PARAMS, format!("params: {error}")))?;
        // `()` serialises to `null`, which nodes refuse as params.
        let params = Some(&*params).filter(|params| params.get() != "null");
        let request = Request { id: Some(Id::NULL), method: method.into(), params };
        let internal = |message: String| ErrorObject::new(code::INTERNAL_ERROR, message);
        match one(chain, &Caller::default(), request).await.said {
            Said::Result(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| internal(format!("the result is not of the type asked for: {error}"))),
            Said::Error(bytes) => Err(serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| internal(String::from_utf8_lossy(&bytes).into_owned()))),
        }
    }

    /// Whether a chain goes by this name, alias or decimal id; `None` is the default chain.
    pub fn has_chain(&self, chain: Option<&str>) -> bool {
        self.chain(chain).is_ok()
    }

    /// Names of the chains, in the order of the configuration; the first is the default.
    pub fn chains(&self) -> impl Iterator<Item = &str> {
        self.inner.chains.iter().map(|chain| chain.settings.name.as_str())
    }

    /// A picture of the present.
    pub fn status(&self) -> Status {
        let chains: Vec<_> = self.inner.chains.iter().map(|chain| ChainStatus::of(chain)).collect();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.inner.made_at.elapsed().as_secs(),
            ready: chains.iter().any(|chain| chain.ready),
            cache: CacheStatus::of(self),
            chains,
        }
    }

    /// Whether any chain has a usable backend.
    pub fn is_ready(&self) -> bool {
        self.inner.chains.iter().any(|chain| {
            let now = chain.now();
            chain.decide().fleet.iter().any(|(_, backend)| backend.is_usable(now))
        })
    }

    /// Takes a backend out of all use, or puts it back. Calls under way are not disturbed.
    ///
    /// # Errors
    /// When there is no such chain or backend.
    pub fn set_cordoned(&self, chain: &str, backend: &str, cordoned: bool) -> Result<(), NotFound> {
        let chain = self.chain(Some(chain))?;
        let mut decider = chain.decide();
        let index = decider.fleet.find(backend).ok_or(NotFound::Backend)?;
        decider.fleet.set_cordoned(index, cordoned);
        drop(decider);
        tracing::info!(chain = %chain.settings.name, backend, cordoned, "cordon");
        Ok(())
    }

    /// Chooses the branch of a forked chain that holds this block, whatever backends agree on; `None` lets agreement
    /// choose again. It holds until then, or until the gateway ends.
    ///
    /// # Errors
    /// When there is no such chain.
    pub fn pin_branch(&self, chain: &str, block: Option<alloy_primitives::B256>) -> Result<(), NotFound> {
        let chain = self.chain(Some(chain))?;
        let mut decider = chain.decide();
        decider.follower.pin(chain.now(), block);
        chain.took_note(decider);
        tracing::info!(chain = %chain.settings.name, ?block, "pin");
        Ok(())
    }

    /// Takes a transaction back that waits for a way out (`when_unreachable = "hold"`): it will not be sent. `false` where
    /// there is none of this hash, or it does not wait.
    ///
    /// # Errors
    /// When that cannot be written down: then it may be sent after a restart.
    pub async fn cancel_held(&self, hash: alloy_primitives::B256) -> Result<bool, JournalError> {
        for chain in &self.inner.chains {
            if chain.ledger.cancel_held(chain.now(), hash).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[cfg(feature = "server")]
    pub(crate) fn server_settings(&self) -> &config::Server {
        &self.inner.server
    }

    fn chain(&self, name: Option<&str>) -> Result<&Arc<Chain>, NotFound> {
        let chains = &self.inner.chains;
        let Some(name) = name else { return chains.first().ok_or(NotFound::Chain) };
        let by_name = chains.iter().find(|chain| chain.settings.name == name);
        let goes_by = |chain: &&Arc<Chain>| {
            let known_as = |preset: &ChainPreset| preset.name == name || preset.aliases.contains(&name);
            chain.settings.preset.is_some_and(known_as) || name.parse() == Ok(chain.settings.chain_id)
        };
        by_name.or_else(|| chains.iter().find(goes_by)).ok_or(NotFound::Chain)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("chains", &self.chains().collect::<Vec<_>>()).finish()
    }
}

impl tower::Service<Packet> for Gateway {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: Packet) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.answer(packet).await) })
    }
}

/// Where answers are kept. A disk that cannot be used costs a warning.
fn tiers(settings: &config::Cache) -> Tiers {
    let memory = CacheMemory::new(settings.memory).map(Arc::new);
    let open = |folder: &std::path::PathBuf| match Disk::open(folder, settings.disk_max) {
        Ok(disk) => Some(Arc::new(disk)),
        Err(error) => {
            tracing::warn!(%error, "the cache on disk is not used");
            None
        }
    };
    let disk = settings.disk.as_ref().filter(|_| memory.is_some()).and_then(open);
    Tiers { memory, disk }
}

fn roots(roots: &config::Roots) -> crate::upstream::Roots {
    match roots {
        config::Roots::Webpki => crate::upstream::Roots::Webpki,
        config::Roots::Native => crate::upstream::Roots::Native,
        config::Roots::File(path) => crate::upstream::Roots::File(path.clone()),
    }
}

fn link(backend: &config::Backend, routing: &config::Routing, tls: &Arc<Tls>, dns: &Arc<Dns>) -> Link {
    let mut settings = UpstreamSettings::new(backend.url.clone(), tls.clone(), dns.clone());
    settings.connect_timeout = routing.connect_timeout;
    settings.max_answer = routing.max_answer;
    if let Some(max) = backend.max_connections {
        settings.max_connections = max;
    }
    for (name, value) in &backend.headers {
        // The configuration has checked that these are header values.
        if let Ok(mut value) = http::HeaderValue::from_str(value.expose()) {
            value.set_sensitive(true);
            settings.headers.insert(name.clone(), value);
        }
    }
    let vendor = backend.provider.as_deref().map(|provider| provider.to_lowercase().into());
    let websocket = backend.ws.as_ref().map(|ws| {
        WebSocketAddress::new(ws.clone(), settings.headers.clone(), tls.clone(), dns, routing.connect_timeout)
    });
    Link::new(backend.name.as_str().into(), vendor, Mask::of(backend), Upstream::new(settings), websocket)
}

/// Seconds since 1970, for `Retry-After` dates and nothing else.
fn unix_time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn refuse(rejected: Rejected<'_>) -> Answer {
    match rejected.id {
        Some(id) => reply(&id, Answered::refused(rejected.error)),
        None => Answer { body: None, trail: Trail::default() },
    }
}

fn reply(id: &Id<'_>, answered: Answered) -> Answer {
    /// From here on copying a result costs more than sending it in a piece of its own.
    const APART_FROM_BYTES: usize = 16 << 10;
    let mut body = Vec::new();
    let body = match answered.said {
        Said::Result(result) if result.len() >= APART_FROM_BYTES => {
            jsonrpc::write_result(&mut body, id.as_str(), b"");
            let end = body.split_off(body.len() - 1);
            Pieces::Framed([body.into(), result, end.into()])
        }
        said => {
            write(&mut body, id, &said);
            Pieces::Whole(body.into())
        }
    };
    Answer { body: Some(body), trail: answered.trail }
}

fn write(out: &mut Vec<u8>, id: &Id<'_>, said: &Said) {
    match said {
        Said::Result(result) => jsonrpc::write_result(out, id.as_str(), result),
        Said::Error(error) => jsonrpc::write_error(out, id.as_str(), error),
    }
}

async fn single(chain: &Arc<Chain>, caller: &Caller<'_>, request: Request<'_>) -> Answer {
    let Some(id) = request.id else {
        Box::pin(notify(chain, request)).await;
        return Answer { body: None, trail: Trail::default() };
    };
    let answered = one(chain, caller, request).await;
    reply(&id, answered)
}

/// A notification is carried out where that has an effect, and never answered.
async fn notify(chain: &Arc<Chain>, request: Request<'_>) {
    if let Admission::Forward(call) = admit(&chain.settings, request)
        && call.method.kind == MethodKind::TxSubmit
    {
        let method = call.method;
        let mut asked = chain.tally.begin(chain.now());
        asked.expect();
        let answered = carry::carry(chain, call).await;
        asked.answer(chain.now(), method, &answered);
    }
}

async fn one(chain: &Arc<Chain>, caller: &Caller<'_>, request: Request<'_>) -> Answered {
    let method = Method::lookup(&request.method);
    let mut asked = chain.tally.begin(chain.now());
    asked.expect();
    let answered = match admit(&chain.settings, request) {
        Admission::Answered(answered) => answered,
        Admission::Forward(call) => standing::carry(chain, caller, call).await,
    };
    asked.answer(chain.now(), method, &answered);
    answered
}
