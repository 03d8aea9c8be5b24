//! One chain under way: its fleet, its links and what all of its requests share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::{SmallRng, SysRng};
use tokio::time::Instant;

use crate::chain::Follower;
use crate::config;
use crate::ethereum::Method;
use crate::journal::{Journal, Record};
use crate::policy::{
    BackendIndex, BackendSpec, Change, DerivedLabel, DomainLabels, Fleet, Identity, Plan, Tier, Timestamp,
};
use crate::upstream::Answer;

use super::accepted::Accepted;
use super::domains::{self, Seen};
use super::feeds::Feeds;
use super::filters::Filters;
use super::grapevine::Grapevine;
use super::known::Known;
use super::ledger::Ledger;
use super::link::Link;
use super::tally::Tally;
use super::tip::Tip;

/// What the requests of one chain share.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) settings: config::Chain,
    pub(super) routing: config::Routing,
    /// Backends that a transaction is sent to.
    pub(super) fanout: usize,
    pub(super) links: Vec<Link>,
    /// What subscriptions and filters live on.
    pub(super) feeds: Feeds,
    pub(super) filters: Filters,
    pub(super) accepted: Accepted,
    /// Answers that need no backend.
    pub(super) known: Known,
    /// Transactions that were handed in here.
    pub(super) ledger: Ledger,
    /// Private transactions go to public backends after a while.
    pub(super) escalates: bool,
    pub(super) when_unreachable: config::WhenUnreachable,
    /// Where the chain stands, and what changes.
    pub(super) tip: Tip,
    /// Since when nothing recent is known of the head.
    pub(super) lost_sight_at: Mutex<Option<Instant>>,
    /// Somebody wants to know where the chain stands.
    pub(super) look_wanted: tokio::sync::Notify,
    decider: Mutex<Decider>,
    origin: Instant,
    next_id: AtomicU64,
    wanted: tokio::sync::Notify,
    used_at_ms: AtomicU64,
    changes_told: AtomicU64,
    pub(super) calls: Calls,
    pub(super) tally: Tally,
    grapevine: Arc<Grapevine>,
    /// An answer showed who is in front of a backend, and that was not known.
    pub(super) evidence: tokio::sync::Notify,
    /// What the fleet was told last of what its backends share.
    derived: Mutex<Vec<Vec<DerivedLabel>>>,
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
    pub(super) follower: Follower,
    pub(super) rng: SmallRng,
}

impl Chain {
    pub(super) fn new(
        settings: config::Chain,
        config: &config::Config,
        links: Vec<Link>,
        grapevine: Arc<Grapevine>,
        (journal, records): (Option<Arc<Journal>>, &[Record]),
        known: Known,
    ) -> Self {
        let mut fleet = domains::fleet(&settings, &config.routing.address_ranges);
        for (at, backend) in settings.backends.iter().enumerate() {
            let Some(index) = fleet.index(at) else { continue };
            if let Some(budget) = backend.monthly_budget {
                fleet.set_monthly_budget(index, budget as f64);
            }
            if let Some(budget) = &backend.probe_budget {
                fleet.set_probe_budget(index, budget.requests as f64, budget.per);
            }
        }
        let labels: Vec<&DomainLabels> = fleet.iter().map(|(_, backend)| &backend.spec().labels).collect();
        let follower = Follower::new(settings.block_time, is_steady(&settings), &labels);
        // Without entropy from the system any seed serves: nothing here guards a secret.
        let rng = SmallRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| SmallRng::seed_from_u64(0));
        let chain_id = settings.chain_id;
        Self {
            settings,
            routing: config.routing.clone(),
            fanout: config.transactions.fanout,
            links,
            feeds: Feeds::default(),
            filters: Filters::new(config.server.max_filters),
            accepted: Accepted::default(),
            known,
            ledger: Ledger::new(
                chain_id,
                journal,
                records,
                config.transactions.private_escalates_after,
                Timestamp::ZERO,
            ),
            escalates: config.transactions.private_escalates_after.is_some(),
            when_unreachable: config.transactions.when_unreachable,
            tip: Tip::default(),
            lost_sight_at: Mutex::default(),
            look_wanted: tokio::sync::Notify::new(),
            decider: Mutex::new(Decider { fleet, follower, rng }),
            origin: Instant::now(),
            next_id: AtomicU64::new(1),
            wanted: tokio::sync::Notify::new(),
            used_at_ms: AtomicU64::new(0),
            changes_told: AtomicU64::new(0),
            calls: Calls::default(),
            tally: Tally::default(),
            grapevine,
            evidence: tokio::sync::Notify::new(),
            derived: Mutex::default(),
        }
    }

    /// Takes up an answer's headers, where they may tell something new: a connection leads to the same place as
    /// long as it lives.
    pub(super) fn saw(&self, backend: BackendIndex, answer: &Answer) {
        if !answer.reused && self.link(backend).look_at(&answer.headers) {
            self.evidence.notify_one();
        }
    }

    /// Tells the fleet what its backends turned out to share, where that has changed.
    pub(super) fn derive_domains(&self) {
        let seen: Vec<Seen> = self.links.iter().map(Link::seen).collect();
        let derived = domains::derive(&self.settings.backends, &seen, &self.routing.address_ranges);
        let mut known = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == derived {
            return;
        }
        for (at, link) in self.links.iter().enumerate() {
            for label in derived[at].iter().filter(|label| !known.get(at).is_some_and(|k| k.contains(label)))
            {
                let (chain, domain) = (&self.settings.name, format!("{}:{}", label.kind.name(), label.value));
                tracing::debug!(%chain, backend = %link.name, %domain, from = label.from.name(), "derived");
            }
        }
        let mut decider = self.decide();
        decider.fleet.learn_labels(self.now(), &derived);
        let Decider { fleet, follower, .. } = &mut *decider;
        let labels: Vec<&DomainLabels> = fleet.iter().map(|(_, backend)| &backend.spec().labels).collect();
        follower.set_labels(&labels);
        let written = decider.fleet.notes().written();
        drop(decider);
        *known = derived;
        drop(known);
        self.tell_changes(written);
    }

    /// Where what is written differs from what was seen.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        domains::contradictions(&self.settings.backends, &derived)
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
                | Change::Retired { .. }
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

    /// Calls of these methods are sent to a backend, whose plan may be paced.
    pub(super) fn spend<'a>(&self, index: BackendIndex, methods: impl IntoIterator<Item = &'a str>) {
        let is_paced = self.settings.backends[index.get()].monthly_budget.is_some();
        let mut cost = 0.0;
        for name in methods {
            let method = Method::lookup(name);
            self.link(index).spent.count(method);
            cost += f64::from(method.cost);
        }
        if is_paced {
            self.decide().fleet.spent(index, cost);
        }
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
        Plan::of(method, &self.routing, self.now() + deadline)
    }
}

/// Whether its blocks come by the clock: those of chains that are known do, those of development nodes do not.
fn is_steady(settings: &config::Chain) -> bool {
    settings.preset.is_some() && !is_of_development(settings)
}

/// Whether its nodes are for development: they take commands that change the state of blocks that are there already.
pub(super) fn is_of_development(settings: &config::Chain) -> bool {
    /// anvil, hardhat, and ganache, geth --dev.
    const DEVELOPMENT: [u64; 2] = [31_337, 1337];
    DEVELOPMENT.contains(&settings.chain_id)
}

/// What the operator says of a backend, for the policy.
pub(super) fn spec(backend: &config::Backend) -> BackendSpec {
    BackendSpec {
        name: Arc::from(backend.name.as_str()),
        tier: match backend.tier {
            config::Tier::Primary => Tier::Primary,
            config::Tier::Backup => Tier::Backup,
        },
        private: backend.private,
        labels: DomainLabels::of(backend.domains()),
        limit_per_s: backend.rate_limit.as_ref().map(config::RateLimit::per_second),
    }
}
