//! One chain under way: its fleet, its links and what all of its requests share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{SmallRng, SysRng};
use tokio::time::Instant;

use crate::config;
use crate::ethereum::{Method, MethodKind};
use crate::policy::{
    BackendIndex, BackendSpec, Change, DomainKind, DomainLabels, Fleet, Identity, Need, Plan, Repeat, Tier,
    Timestamp,
};

use super::accepted::Accepted;
use super::filters::Filters;
use super::grapevine::Grapevine;
use super::link::Link;

/// What the requests of one chain share.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) settings: config::Chain,
    pub(super) routing: config::Routing,
    /// Backends that a transaction is sent to.
    pub(super) fanout: usize,
    pub(super) links: Vec<Link>,
    pub(super) filters: Filters,
    pub(super) accepted: Accepted,
    decider: Mutex<Decider>,
    origin: Instant,
    next_id: AtomicU64,
    wanted: tokio::sync::Notify,
    used_at_ms: AtomicU64,
    changes_told: AtomicU64,
    pub(super) calls: Calls,
    grapevine: Arc<Grapevine>,
}

/// How many calls clients made, and how many were made beyond them.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) carried: AtomicU64,
    pub(super) hedges: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) copies: AtomicU64,
}

/// The policy's state and the generator it draws from, behind one lock that is held for microseconds.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) fleet: Fleet,
    pub(super) rng: SmallRng,
}

impl Chain {
    pub(super) fn new(
        settings: config::Chain,
        config: &config::Config,
        links: Vec<Link>,
        grapevine: Arc<Grapevine>,
    ) -> Self {
        let mut fleet = Fleet::new(settings.backends.iter().map(spec).collect());
        for (at, backend) in settings.backends.iter().enumerate() {
            if backend.cordoned
                && let Some(index) = fleet.index(at)
            {
                fleet.set_cordoned(index, true);
            }
        }
        // Without entropy from the system any seed serves: nothing here guards a secret.
        let rng = SmallRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| SmallRng::seed_from_u64(0));
        Self {
            settings,
            routing: config.routing.clone(),
            fanout: config.transactions.fanout,
            links,
            filters: Filters::default(),
            accepted: Accepted::default(),
            decider: Mutex::new(Decider { fleet, rng }),
            origin: Instant::now(),
            next_id: AtomicU64::new(1),
            wanted: tokio::sync::Notify::new(),
            used_at_ms: AtomicU64::new(0),
            changes_told: AtomicU64::new(0),
            calls: Calls::default(),
            grapevine,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::after_origin(self.origin.elapsed())
    }

    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        // A timestamp that means "never" would overflow the clock: a year is never enough here.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.origin + at.since_origin().min(self.origin.elapsed() + FAR)
    }

    /// The policy's state. A panic while it was held leaves counters, not broken invariants.
    pub(super) fn decide(&self) -> MutexGuard<'_, Decider> {
        self.decider.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what changed since the last time. `written` is how many changes there are by now.
    pub(super) fn tell_changes(&self, written: u64) {
        // Nearly always nothing: one load, and no lock.
        let told = self.changes_told.load(Ordering::Relaxed);
        if written <= told
            || self
                .changes_told
                .compare_exchange(told, written, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let news: Vec<_> = {
            let decider = self.decide();
            let fresh = usize::try_from(written - told).unwrap_or(usize::MAX);
            let mut latest: Vec<_> = decider.fleet.notes().iter().rev().take(fresh).copied().collect();
            latest.reverse();
            latest
        };
        for note in news {
            let backend = &self.link(note.backend).name;
            let what = super::status::in_words(self, &note);
            let chain = &self.settings.name;
            if matches!(note.change, Change::Ejected { .. } | Change::Silent { .. } | Change::Condemned)
                && let Some(provider) = &self.link(note.backend).vendor
            {
                self.grapevine.tell(chain, provider);
            }
            match note.change {
                Change::Ejected { .. }
                | Change::Silent { .. }
                | Change::Paused { .. }
                | Change::Condemned => {
                    tracing::warn!(%chain, %backend, "{what}")
                }
                _ => tracing::info!(%chain, %backend, "{what}"),
            }
        }
    }

    pub(super) fn link(&self, index: BackendIndex) -> &Link {
        &self.links[index.get()]
    }

    /// `count` request ids in a row that no other attempt of this chain has.
    pub(super) fn ids(&self, count: usize) -> u64 {
        self.next_id.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// A client asked something: the watch may look after the backends again.
    pub(super) fn touch(&self) {
        let now_ms = self.origin.elapsed().as_millis() as u64;
        let before = self.used_at_ms.swap(now_ms.max(1), Ordering::Relaxed);
        if before == 0 {
            self.wanted.notify_one();
        }
    }

    /// Time since a client last asked something; `None` if nobody has.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let used_at = self.used_at_ms.load(Ordering::Relaxed);
        (used_at > 0).then(|| self.origin.elapsed().saturating_sub(Duration::from_millis(used_at)))
    }

    /// Resolves when the first client asks something.
    pub(super) async fn first_wanted(&self) {
        if self.idle_for().is_none() {
            self.wanted.notified().await;
        }
    }

    pub(super) fn set_identity(&self, index: BackendIndex, identity: Identity) {
        self.link(index).set_identity(identity);
        self.decide().fleet.set_identity(index, identity);
    }

    /// The plan for one call, or for several of one method class.
    pub(super) fn plan(&self, method: &'static Method, deadline: Duration) -> Plan {
        let submits = method.kind == MethodKind::TxSubmit;
        Plan {
            need: Need {
                class: method.health_class(),
                method: method.is_listed().then_some(method.name),
                submits,
                prefer: None,
                only: None,
            },
            deadline: self.now() + deadline,
            repeat: match () {
                () if submits => Repeat::InTurn,
                () if method.hedgeable() && self.routing.hedging => Repeat::Freely,
                () if method.retry_elsewhere() => Repeat::InTurn,
                () => Repeat::IfUnsent,
            },
            may_copy: method.hedgeable(),
            hedge_delay: (self.routing.hedge_delay_min, self.routing.hedge_delay_max),
            attempts_max: u32::try_from(self.routing.max_attempts).unwrap_or(u32::MAX),
        }
    }
}

fn spec(backend: &config::Backend) -> BackendSpec {
    let labels = backend.domains().iter().fold(DomainLabels::new(), |labels, (kind, name)| {
        let kind = match kind.as_str() {
            "provider" => DomainKind::Provider,
            "cloud" => DomainKind::Cloud,
            "region" => DomainKind::Region,
            "edge" => DomainKind::Edge,
            "client" => DomainKind::Client,
            other => DomainKind::Label(other.into()),
        };
        labels.with(kind, name)
    });
    BackendSpec {
        name: Arc::from(backend.name.as_str()),
        tier: match backend.tier {
            config::Tier::Primary => Tier::Primary,
            config::Tier::Backup => Tier::Backup,
        },
        private: backend.private,
        labels,
        limit_per_s: backend.rate_limit.as_ref().map(config::RateLimit::per_second),
    }
}
