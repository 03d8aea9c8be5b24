//! All backends of one chain as the policy knows them, and what every attempt teaches about them.

use std::sync::Arc;
use std::time::Duration;

use crate::ethereum::MethodClass;

use super::domain::DomainLabels;
use super::health::Health;
use super::{Class, Outcome, Timestamp};

/// A chain has at most this many backends: sets of them are bits of a `u64`.
pub const BACKENDS_MAX: usize = 64;

/// No word of a backend keeps it out longer than this; then it is asked again.
const COOL_DOWN_MAX: Duration = Duration::from_secs(3600);
/// "Method not found" is believed this long: nodes are upgraded.
const UNSUPPORTED_FOR: Duration = Duration::from_secs(600);
/// Methods remembered as unsupported, per backend. Past it the oldest is forgotten.
const UNSUPPORTED_MAX: usize = 64;
/// One hard failure may be chance (a reset, one full queue); the second in a row is a pattern.
const COOL_AFTER_CONSECUTIVE: u32 = 2;
/// So is it here.
const DOWN_AFTER: u32 = 2;

/// A backend's place in its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendIndex(u8);

impl BackendIndex {
    /// The place at this position, which must lie below [`BACKENDS_MAX`].
    pub(super) fn at(position: usize) -> Self {
        debug_assert!(position < BACKENDS_MAX);
        Self(position as u8)
    }

    /// The position in the order of the configuration.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of backends of one fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendSet(u64);

impl BackendSet {
    /// Adds one.
    pub fn insert(&mut self, backend: BackendIndex) {
        self.0 |= 1 << backend.0;
    }

    /// Whether it is in the set.
    pub fn contains(self, backend: BackendIndex) -> bool {
        self.0 & (1 << backend.0) != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everybody in it is in the other one too.
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// How many are in the set.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether nobody is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Everyone in it, in the order of the configuration.
    pub fn iter(self) -> impl Iterator<Item = BackendIndex> {
        (0..BACKENDS_MAX as u8).map(BackendIndex).filter(move |b| self.contains(*b))
    }
}

/// Backups serve only while no primary can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Serves in calm weather.
    #[default]
    Primary,
    /// Serves when no primary can.
    Backup,
}

/// What the operator says of a backend.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// Unique within the chain.
    pub name: Arc<str>,
    /// Primary or backup.
    pub tier: Tier,
    /// Takes transactions only, and where one exists transactions go nowhere else.
    pub private: bool,
    /// What it shares with others.
    pub labels: DomainLabels,
}

/// Whether a backend is known to serve the chain it is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Not asked yet, or it did not answer.
    Unknown,
    /// It said the right chain id, or cannot say one at all (transaction relays).
    Confirmed,
    /// It serves another chain. Never used, not even when everything else is down.
    WrongChain,
}

/// One backend: what was configured and what was learned.
#[derive(Debug)]
pub struct Backend {
    pub(super) spec: BackendSpec,
    pub(super) identity: Identity,
    pub(super) cordoned: bool,
    pub(super) health: [Health; MethodClass::COUNT],
    /// Left alone until then, by its own word or after hard failures.
    pub(super) cooling: Option<Cooling>,
    unsupported: Vec<(&'static str, Timestamp)>,
    in_flight: u32,
    attempts: u64,
    failures: u64,
    /// Over all classes, probes included: whether anybody is there at all.
    failures_in_a_row: u32,
    last_failure: Option<(Class, Timestamp)>,
}

/// Why and until when a backend is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Cooling {
    /// When it may be asked again.
    pub until: Timestamp,
    /// What it said.
    pub class: Class,
    /// It named the time itself, or a limit did: asking earlier would only prolong it.
    pub by_its_word: bool,
}

impl Backend {
    fn new(spec: BackendSpec) -> Self {
        Self {
            spec,
            identity: Identity::Unknown,
            cordoned: false,
            health: Default::default(),
            cooling: None,
            unsupported: Vec::new(),
            in_flight: 0,
            attempts: 0,
            failures: 0,
            failures_in_a_row: 0,
            last_failure: None,
        }
    }

    /// What the operator said of it.
    pub fn spec(&self) -> &BackendSpec {
        &self.spec
    }

    /// Whether it serves the right chain.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Taken out by the operator.
    pub fn is_cordoned(&self) -> bool {
        self.cordoned
    }

    /// Experience with one class of methods.
    pub fn health(&self, class: MethodClass) -> &Health {
        &self.health[class.index()]
    }

    /// Why it is left alone, while it is.
    pub fn cooling(&self, now: Timestamp) -> Option<Cooling> {
        self.cooling.filter(|cooling| cooling.until > now)
    }

    /// Whether it has failed whatever was asked of it lately, probes included.
    pub fn is_down(&self) -> bool {
        self.failures_in_a_row >= DOWN_AFTER
    }

    /// Whether it could be asked now with some hope.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.identity == Identity::Confirmed
            && !self.cordoned
            && !self.is_down()
            && !self.cooling(now).is_some_and(|cooling| is_about_the_account(cooling.class))
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Attempts and failures since the start.
    pub fn totals(&self) -> (u64, u64) {
        (self.attempts, self.failures)
    }

    /// The latest failure that was its own fault.
    pub fn last_failure(&self) -> Option<(Class, Timestamp)> {
        self.last_failure
    }

    pub(super) fn lacks_method(&self, now: Timestamp, method: Option<&'static str>) -> bool {
        method.is_some_and(|method| {
            self.unsupported
                .iter()
                .any(|(known, since)| *known == method && now.since(*since) < UNSUPPORTED_FOR)
        })
    }
}

/// What a request needs of the backend that answers it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Health is judged per class.
    pub class: MethodClass,
    /// The name in the method table, where the method is listed: backends that lack it are learned.
    pub method: Option<&'static str>,
    /// A transaction to be published: goes to private backends, and to them only where any exists.
    pub submits: bool,
    /// Knows best, and is asked first while it is well.
    pub prefer: Option<BackendIndex>,
    /// Nobody else will do: filters live at the node that made them.
    pub only: Option<BackendIndex>,
}

/// One attempt as the fleet learns from it.
#[derive(Clone, Copy, Debug)]
pub struct Attempted {
    /// Who was asked.
    pub backend: BackendIndex,
    /// For what.
    pub need: Need,
    /// How long it took.
    pub took: Duration,
}

/// All backends of one chain.
#[derive(Debug)]
pub struct Fleet {
    pub(super) backends: Vec<Backend>,
    /// Points of overlap between each two, row by row.
    overlaps: Vec<u32>,
    /// The backend that serves a class in calm weather, and since when.
    pub(super) favourites: [Option<(BackendIndex, Timestamp)>; MethodClass::COUNT],
    /// The favourite that was chosen last, of any class: near-equals give way to it, so that one client's
    /// reads come from one node's view of the chain.
    pub(super) anchor: Option<BackendIndex>,
    pub(super) has_private: bool,
    pub(super) hedges: HedgeBudget,
}

impl Fleet {
    /// A fleet of cold backends, in the order of the configuration.
    ///
    /// # Panics
    /// With more than [`BACKENDS_MAX`] backends; the configuration refuses that.
    pub fn new(specs: Vec<BackendSpec>) -> Self {
        assert!(specs.len() <= BACKENDS_MAX, "at most {BACKENDS_MAX} backends per chain");
        let overlaps = specs.iter().flat_map(|a| specs.iter().map(|b| a.labels.overlap(&b.labels))).collect();
        Self {
            has_private: specs.iter().any(|spec| spec.private),
            backends: specs.into_iter().map(Backend::new).collect(),
            overlaps,
            favourites: Default::default(),
            anchor: None,
            hedges: HedgeBudget::default(),
        }
    }

    /// How many backends there are.
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// Every backend with its place.
    pub fn iter(&self) -> impl Iterator<Item = (BackendIndex, &Backend)> {
        self.backends.iter().enumerate().map(|(at, backend)| (BackendIndex::at(at), backend))
    }

    /// The place of the backend at this position of the configuration.
    pub fn index(&self, at: usize) -> Option<BackendIndex> {
        (at < self.backends.len()).then(|| BackendIndex::at(at))
    }

    /// One backend.
    pub fn backend(&self, index: BackendIndex) -> &Backend {
        &self.backends[index.get()]
    }

    /// The place of the backend with this name.
    pub fn find(&self, name: &str) -> Option<BackendIndex> {
        self.iter().find(|(_, backend)| &*backend.spec.name == name).map(|(index, _)| index)
    }

    /// Takes a backend out of all use, or puts it back.
    pub fn set_cordoned(&mut self, index: BackendIndex, cordoned: bool) {
        self.backends[index.get()].cordoned = cordoned;
    }

    /// What the backend said when it was asked for its chain.
    pub fn set_identity(&mut self, index: BackendIndex, identity: Identity) {
        self.backends[index.get()].identity = identity;
    }

    /// A first idea of a backend's latency from a call that was no client's. It says nothing of
    /// success: cheap calls often work where real ones fail.
    pub fn seed_latency(&mut self, now: Timestamp, index: BackendIndex, took: Duration) {
        for health in &mut self.backends[index.get()].health {
            if !health.is_known() {
                health.seed_latency(now, took);
            }
        }
    }

    /// A call that was no client's came to this: it tells whether anybody is there, and no more.
    pub fn probed(&mut self, now: Timestamp, index: BackendIndex, outcome: &Outcome) {
        let backend = &mut self.backends[index.get()];
        backend.note(now, outcome);
        let consecutive = backend.failures_in_a_row;
        backend.cool(now, outcome, consecutive);
    }

    /// Points of overlap between the failure domains of two backends.
    pub fn overlap(&self, a: BackendIndex, b: BackendIndex) -> u32 {
        self.overlaps[a.get() * self.backends.len() + b.get()]
    }

    /// An attempt starts.
    pub(super) fn started(&mut self, index: BackendIndex) {
        let backend = &mut self.backends[index.get()];
        backend.in_flight += 1;
        backend.attempts += 1;
    }

    /// An attempt came to an outcome.
    pub(super) fn finished(&mut self, now: Timestamp, attempted: Attempted, outcome: &Outcome) {
        let Attempted { backend: index, need, took } = attempted;
        let backend = &mut self.backends[index.get()];
        backend.in_flight = backend.in_flight.saturating_sub(1);
        let health = &mut backend.health[need.class.index()];
        match outcome.class {
            Class::RateLimited => {}
            Class::MethodUnsupported => {
                if let Some(method) = need.method {
                    backend.unsupported.retain(|(known, _)| *known != method);
                    if backend.unsupported.len() == UNSUPPORTED_MAX {
                        backend.unsupported.remove(0);
                    }
                    backend.unsupported.push((method, now));
                }
            }
            Class::WrongChain => backend.identity = Identity::WrongChain,
            _ if outcome.hurts_health => health.record_failure(now, took),
            _ => health.record_success(now, took),
        }
        let consecutive = health.consecutive_failures();
        backend.note(now, outcome);
        backend.cool(now, outcome, consecutive);
    }

    /// An attempt was cancelled because another one answered: a lower bound on its latency.
    pub(super) fn cancelled(&mut self, now: Timestamp, attempted: Attempted) {
        let backend = &mut self.backends[attempted.backend.get()];
        backend.in_flight = backend.in_flight.saturating_sub(1);
        backend.health[attempted.need.class.index()].record_cancelled(now, attempted.took);
    }

    /// An attempt was dropped because its client went away: that says nothing of the backend.
    pub(super) fn abandoned(&mut self, index: BackendIndex) {
        let backend = &mut self.backends[index.get()];
        backend.in_flight = backend.in_flight.saturating_sub(1);
    }
}

impl Backend {
    fn note(&mut self, now: Timestamp, outcome: &Outcome) {
        if outcome.hurts_health {
            self.failures += 1;
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            self.last_failure = Some((outcome.class, now));
        } else {
            self.failures_in_a_row = 0;
        }
    }

    fn cool(&mut self, now: Timestamp, outcome: &Outcome, consecutive_failures: u32) {
        let by_its_word = outcome.retry_after.is_some();
        let pause = match (outcome.retry_after, outcome.cool_down) {
            (Some(named), _) => named,
            // Accounts and limits do not change between two calls; a full queue may.
            (None, Some(usual)) if is_about_the_account(outcome.class) => usual,
            (None, Some(usual)) if consecutive_failures >= COOL_AFTER_CONSECUTIVE => usual,
            _ if outcome.class == Class::RateLimited => RATE_LIMIT_PAUSE,
            _ => return,
        };
        let until = now + pause.min(COOL_DOWN_MAX);
        if self.cooling.is_none_or(|cooling| cooling.until < until) {
            self.cooling = Some(Cooling { until, class: outcome.class, by_its_word });
        }
    }
}

/// A limit that names no time usually counts per second.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);

fn is_about_the_account(class: Class) -> bool {
    matches!(class, Class::QuotaExhausted | Class::Unauthorized | Class::GeoBlocked | Class::WrongChain)
}

/// Hedges come out of a budget: a tenth of the requests, with a little in hand, so that a slow fleet
/// is not made slower by twice the calls.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    tokens: f64,
}

impl HedgeBudget {
    const PER_REQUEST: f64 = 0.1;
    const IN_HAND_MAX: f64 = 10.0;

    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + Self::PER_REQUEST).min(Self::IN_HAND_MAX);
    }

    pub(super) fn spend(&mut self) -> bool {
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

impl Default for HedgeBudget {
    fn default() -> Self {
        Self { tokens: Self::IN_HAND_MAX }
    }
}
