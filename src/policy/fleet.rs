//! All backends of one chain, and what every attempt teaches about them.

use std::time::Duration;

use crate::ethereum::{MethodClass, Urgency};

use super::admission::Standing;
use super::backend::{Backend, BackendSpec, Identity, Lesson};
use super::budget::{Budget, Shares};
use super::decision::Decisions;
use super::diversity::Diversity;
use super::domain::{DerivedLabel, DomainLabels};
use super::notes::{Change, Notes};
use super::rate::Rate;
use super::reach::{Reach, Rests};
use super::retention::Depth;
use super::set::{BACKENDS_MAX, BackendIndex, BackendSet};
use super::shedding::Shedding;
use super::suspicion::Suspicion;
use super::{Class, Outcome, Remembered, RememberedRetirement, Timestamp};

/// On its way back a backend may be this much slower than its best peer.
const KEEPS_UP_FACTOR: f64 = 1.5;
/// Who has answered fewer calls lately than this is known too little to be trusted after a failure.
const HARDLY_ASKED: f64 = 5.0;
/// Differences below this are nobody's concern.
const KEEPS_UP_SLACK: Duration = Duration::from_millis(50);

/// What a request needs of the backend that answers it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Health is judged per class.
    pub class: MethodClass,
    /// The name in the method table, where the method is listed: backends that lack it are learned.
    pub method: Option<&'static str>,
    /// Which calls are turned away first when no backend has room.
    pub urgency: Urgency,
    /// A transaction to be published, or what is said to a relay: goes to private backends, and to them only where any
    /// exists.
    pub submits: bool,
    /// Knows best, and is asked first while it is well.
    pub prefer: Option<BackendIndex>,
    /// Nobody else will do: filters live at the node that made them.
    pub only: Option<BackendIndex>,
    /// What of the chain it rests on.
    pub rests: Rests,
    /// How old a block it speaks of, where nodes may have dropped that.
    pub depth: Option<Depth>,
    /// How many blocks are searched for logs, where backends may take fewer.
    pub log_blocks: Option<u64>,
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
    /// Points of overlap between each two that labels tell of, row by row.
    overlaps: Vec<u32>,
    pub(super) suspicion: Suspicion,
    pub(super) favourites: super::rank::Favourites,
    pub(super) has_private: bool,
    pub(super) budget: Budget,
    /// Requests that come, each once.
    pub(super) demand: Rate,
    pub(super) shedding: Shedding,
    pub(super) notes: Notes,
    pub(super) decisions: Decisions,
    /// Everybody in a domain that fails as a whole, when last looked at.
    pub(super) condemned: BackendSet,
    /// Who is gone for good.
    pub(super) retired: BackendSet,
}

/// A limit or a full queue says nothing of how well a backend is.
fn is_about_room(class: Class) -> bool {
    matches!(class, Class::RateLimited | Class::Overloaded | Class::QuotaExhausted)
}

fn overlaps(labels: &[&DomainLabels]) -> Vec<u32> {
    labels.iter().flat_map(|a| labels.iter().map(|b| a.overlap(b))).collect()
}

impl Fleet {
    /// A fleet of cold backends, in the order of the configuration.
    ///
    /// # Panics
    /// With more than [`BACKENDS_MAX`] backends; the configuration refuses that.
    pub fn new(specs: Vec<BackendSpec>) -> Self {
        assert!(specs.len() <= BACKENDS_MAX, "at most {BACKENDS_MAX} backends per chain");
        let labels: Vec<&DomainLabels> = specs.iter().map(|spec| &spec.labels).collect();
        let (overlaps, suspicion) = (overlaps(&labels), Suspicion::new(labels));
        Self {
            has_private: specs.iter().any(|spec| spec.private),
            suspicion,
            backends: specs.into_iter().map(Backend::new).collect(),
            overlaps,
            favourites: Default::default(),
            budget: Budget::default(),
            demand: Rate::default(),
            shedding: Shedding::default(),
            notes: Notes::default(),
            decisions: Decisions::default(),
            condemned: BackendSet::default(),
            retired: BackendSet::default(),
        }
    }

    /// What extra calls may cost, as shares of all requests.
    pub fn set_budget(&mut self, shares: Shares) {
        self.budget = Budget::new(shares);
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

    /// Evidence about failure domains.
    pub fn suspicion(&self) -> &Suspicion {
        &self.suspicion
    }

    /// Whether it lies in a domain that fails as a whole.
    pub fn is_condemned(&self, index: BackendIndex) -> bool {
        self.condemned.contains(index)
    }

    /// What changed lately, and why.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The latest decisions, with their candidates and reasons.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// What the backends were found to share, in the order of the configuration, in place of what was found
    /// before; see [`DomainLabels::learn`]. Failures that were seen before are held against the new domains too.
    pub fn learn_labels(&mut self, now: Timestamp, derived: &[Vec<DerivedLabel>]) {
        for (backend, derived) in self.backends.iter_mut().zip(derived) {
            backend.spec.labels.learn(derived);
        }
        let labels: Vec<&DomainLabels> = self.backends.iter().map(|backend| &backend.spec.labels).collect();
        self.overlaps = overlaps(&labels);
        self.suspicion.relabel(&labels);
        self.review_domains(now);
    }

    /// How far apart the backends really are, as far as labels and experience tell.
    pub fn diversity(&self, now: Timestamp) -> Diversity {
        let reading: Vec<_> = self.iter().filter(|(_, b)| !b.cordoned && !b.spec.private).collect();
        let members: Vec<_> = reading.iter().map(|(_, b)| (&*b.spec.name, &b.spec.labels)).collect();
        Diversity::of(&members, |a, b| self.suspicion.learned_share(now, reading[a].0, reading[b].0))
    }

    /// Takes a backend out of all use, or puts it back.
    pub fn set_cordoned(&mut self, index: BackendIndex, cordoned: bool) {
        self.backends[index.get()].cordoned = cordoned;
    }

    /// What of the chain a backend has. `served` is the head that clients are told.
    pub fn set_reach(&mut self, now: Timestamp, index: BackendIndex, reach: Reach, served: u64) {
        let backend = &mut self.backends[index.get()];
        let lacks_head = reach.has.is_some_and(|has| has < served);
        backend.lag.since = if lacks_head { backend.lag.since.or(Some(now)) } else { None };
        // What builds on an old block is as old. Blocks reach one node after the other: that is no reason to leave it.
        let is_behind = super::rank::lags_for_long(now, backend);
        backend.reach = Reach { pending_is_stale: reach.pending_is_stale || is_behind, ..reach };
    }

    /// What the backend said when it was asked for its chain.
    pub fn set_identity(&mut self, index: BackendIndex, identity: Identity) {
        self.backends[index.get()].identity = identity;
    }

    /// A first idea of a backend's latency from a call that was no client's. It says nothing of
    /// success: cheap calls often work where real ones fail.
    pub fn seed_latency(&mut self, now: Timestamp, index: BackendIndex, took: Duration) {
        for experience in &mut self.backends[index.get()].experience {
            if !experience.health.is_known() {
                experience.health.seed_latency(now, took);
            }
        }
    }

    /// Takes up what was known of a backend `age` ago. One that failed then has to prove itself first, while
    /// somebody else can serve.
    pub fn recall(
        &mut self,
        now: Timestamp,
        index: BackendIndex,
        class: MethodClass,
        age: Duration,
        remembered: Remembered,
    ) {
        let experience = &mut self.backends[index.get()].experience[class.index()];
        experience.health.recall(now, age, remembered);
        let can_come_back = !matches!(class, MethodClass::Submit | MethodClass::Other);
        if can_come_back && (remembered.out || experience.is_suspect(now)) && self.backends.len() > 1 {
            self.backends[index.get()].experience[class.index()].admission.eject(now);
        }
    }

    /// A call that was no client's came to this: it tells whether anybody is there, and no more.
    pub fn probed(&mut self, now: Timestamp, index: BackendIndex, outcome: &Outcome) {
        let backend = &mut self.backends[index.get()];
        backend.note(now, outcome);
        backend.cool_after_probe(now, outcome);
    }

    /// The backend's provider fails on another chain: somebody else is asked first here, as far as there is
    /// somebody, until this one has answered.
    pub fn hear_of_trouble(&mut self, now: Timestamp, index: BackendIndex) {
        self.backends[index.get()].hear(now);
    }

    /// Points of overlap between the failure domains of two backends, from labels and from experience.
    pub fn overlap(&self, now: Timestamp, a: BackendIndex, b: BackendIndex) -> u32 {
        self.overlaps[a.get() * self.backends.len() + b.get()] + self.suspicion.learned_overlap(now, a, b)
    }

    /// An attempt starts.
    pub(super) fn started(&mut self, now: Timestamp, index: BackendIndex, class: MethodClass) {
        self.backends[index.get()].started(now, class);
    }

    /// An attempt came to an outcome.
    pub(super) fn finished(&mut self, now: Timestamp, attempted: Attempted, outcome: &Outcome) {
        let Attempted { backend: index, need, took } = attempted;
        let backend = &mut self.backends[index.get()];
        backend.ended(need.class);
        backend.retention.learn(now, need.depth, outcome.class);
        backend.log_limits.learn(now, need.log_blocks, outcome);
        let (lesson, paused) = backend.learn(now, need.class, need.method, took, outcome);
        if paused {
            self.notes.write(now, index, Change::Paused { class: outcome.class });
            if !is_about_room(outcome.class) {
                self.eject_everywhere(now, index);
            }
        }
        match lesson {
            Lesson::Nothing => {}
            Lesson::Answered => {
                self.suspicion.answered(now, index);
                let keeps_up = self.keeps_up(now, index, need.class, took);
                let alone = !self.has_admitted_peer(now, index, need.class);
                let experience = &mut self.backends[index.get()].experience[need.class.index()];
                let before = experience.admission.standing(now);
                match alone {
                    // Nobody is better off: whoever answers serves.
                    true => experience.admission.admit(),
                    false => experience.admission.succeeded(now, need.method, keeps_up),
                }
                if before != Standing::Admitted && experience.admission.standing(now) == Standing::Admitted {
                    experience.health.forgive();
                    self.notes.write(now, index, Change::Readmitted { class: need.class });
                }
            }
            Lesson::Failed => {
                self.suspicion.failed(now, index);
                self.backends[index.get()].experience[need.class.index()].admission.failed(now, need.method);
                self.eject_if_suspect(now, index, need.class);
            }
        }
        self.settle_retirement(now, index);
        self.review_domains(now);
    }

    /// An attempt was cancelled because another one answered: a lower bound on its latency.
    pub(super) fn cancelled(&mut self, now: Timestamp, attempted: Attempted) {
        let Attempted { backend: index, need, took } = attempted;
        let serves = self.favourite().is_some_and(|(favourite, _)| favourite == index);
        let backend = &mut self.backends[index.get()];
        backend.learn_lower_bound(now, need.class, took);
        // One call that was overtaken is no silence of a backend that answers others meanwhile; nor of one that is asked
        // little, whose next call will tell.
        let is_excused = backend.answered_after(now, took) || !serves;
        let is_silent = backend.experience(need.class).is_silent(now)
            && (!is_excused || backend.experience(need.class).is_overdue_again());
        backend.ended(need.class);
        // It takes calls and answers none: that is a failure, though none of them says so.
        if is_silent {
            self.suspicion.failed(now, index);
            if self.may_eject(now, index, need.class) {
                self.backends[index.get()].experience[need.class.index()].admission.eject(now);
                self.notes.write(now, index, Change::Silent { class: need.class });
            }
            self.review_domains(now);
        }
    }

    /// A call that no client waits for came to an outcome: a copy, see [`Step::Send`](super::Step::Send), or a
    /// transaction on its way to further backends, see [`Self::spread_to`].
    pub fn aside_ended(&mut self, now: Timestamp, attempted: Attempted, outcome: &Outcome) {
        self.finished(now, attempted, outcome);
        if outcome.hurts_health {
            self.backends[attempted.backend.get()].lookout.sought(now);
        }
    }

    /// An attempt was dropped because its client went away: that says nothing of the backend.
    pub fn abandoned(&mut self, index: BackendIndex, class: MethodClass) {
        self.backends[index.get()].ended(class);
    }

    /// Takes a backend out when its answers say that it fails and somebody else is well. When everybody fails
    /// alike, our own network or the chain is to blame, and nobody is taken out.
    fn eject_if_suspect(&mut self, now: Timestamp, index: BackendIndex, class: MethodClass) {
        let experience = &self.backends[index.get()].experience[class.index()];
        // Of one that is hardly ever asked, one failure is all that will be heard before clients need it.
        let answers = |index: BackendIndex| {
            self.backends[index.get()].experience[class.index()].health.successes(now) >= HARDLY_ASKED
        };
        let is_hardly_asked = !answers(index)
            && self.favourite().is_some_and(|(favourite, _)| favourite != index && answers(favourite));
        if !(experience.is_suspect(now) || is_hardly_asked) || !self.may_eject(now, index, class) {
            return;
        }
        let (failures_in_a_row, error_rate) =
            (experience.health.consecutive_failures(), experience.health.error_rate(now));
        self.backends[index.get()].experience[class.index()].admission.eject(now);
        self.notes.write(now, index, Change::Ejected { class, failures_in_a_row, error_rate });
    }

    /// Whoever is left alone for anything but want of room comes back in steps, and not at the end of a pause.
    pub(super) fn eject_everywhere(&mut self, now: Timestamp, index: BackendIndex) {
        for class in super::probes::PROVABLE {
            if self.may_eject(now, index, class) {
                self.backends[index.get()].experience[class.index()].admission.eject(now);
            }
        }
    }

    /// Whether it takes part, could come back, and somebody else is well.
    fn may_eject(&self, now: Timestamp, index: BackendIndex, class: MethodClass) -> bool {
        // Transactions are offered to the next one anyway, and cannot be copied to prove anything.
        let can_come_back = !matches!(class, MethodClass::Submit | MethodClass::Other);
        let standing = self.backends[index.get()].experience[class.index()].standing(now);
        can_come_back && standing == Standing::Admitted && self.has_admitted_peer(now, index, class)
    }

    /// Whether somebody else could serve the class: takes part, and does not fail just now.
    fn has_admitted_peer(&self, now: Timestamp, index: BackendIndex, class: MethodClass) -> bool {
        let failing = self.suspicion.failing(now);
        self.iter().any(|(other, backend)| {
            other != index
                && !failing.contains(other)
                && self.answers_reads(backend)
                && backend.identity == Identity::Confirmed
                && backend.cooling(now).is_none()
                && backend.experience(class).standing(now) == Standing::Admitted
        })
    }

    /// Whether an answer that took so long is not much slower than the best peer's usual ones.
    fn keeps_up(&self, now: Timestamp, index: BackendIndex, class: MethodClass, took: Duration) -> bool {
        let best = self
            .iter()
            .filter(|(other, backend)| {
                *other != index && backend.experience(class).standing(now) == Standing::Admitted
            })
            .filter_map(|(_, backend)| backend.experience(class).quantile(0.95))
            .min();
        best.is_none_or(|best| took <= best.mul_f64(KEEPS_UP_FACTOR) + KEEPS_UP_SLACK)
    }

    /// Whether somebody else than this one could serve: this request, or what it usually serves.
    pub(super) fn others_serve(&self, now: Timestamp, index: BackendIndex, need: Option<&Need>) -> bool {
        let private = self.backend(index).spec.private;
        self.iter().any(|(other, backend)| {
            other != index
                && backend.spec.private == private
                && backend.is_usable(now)
                && need.is_none_or(|need| need.only.is_none() && !backend.lacks_method(now, need.method))
        })
    }

    /// Looks whether it is gone for good, or back. Where everybody is refused alike, it is our own address or
    /// somebody's login service, and nobody is.
    pub(super) fn settle_retirement(&mut self, now: Timestamp, index: BackendIndex) {
        let was = self.retired.contains(index);
        if let Some(since) = self.backend(index).retirement.refused_since()
            && !was
            && self.others_answer(now, index, since)
        {
            let together = self.is_in_trouble_with_others(now, index);
            if let Some(class) = self.backends[index.get()].retirement.settle(now, together) {
                self.notes.write(now, index, Change::Retired { class });
            }
        }
        let is = self.backend(index).retirement.retired().is_some();
        match (was, is) {
            (false, true) => self.retired.insert(index),
            (true, false) => {
                self.retired.remove(index);
                self.notes.write(now, index, Change::Returned);
            }
            _ => {}
        }
    }

    /// Whether anybody else has answered since then.
    fn others_answer(&self, now: Timestamp, index: BackendIndex, since: Timestamp) -> bool {
        self.iter().any(|(other, backend)| {
            let answers = backend.answered_since(since) || backend.lookout.heard_since(since);
            other != index && answers && backend.is_usable(now)
        })
    }

    /// Whether another member of its failure domain fails or is refused as well.
    fn is_in_trouble_with_others(&self, now: Timestamp, index: BackendIndex) -> bool {
        self.iter().any(|(other, backend)| {
            let is_ill = backend.is_down() || backend.retirement.refused_since().is_some();
            other != index && is_ill && !self.retired.contains(other) && self.overlap(now, index, other) > 0
        })
    }

    /// What is worth knowing of a retirement after a restart.
    pub fn remember_retirement(&self, now: Timestamp, index: BackendIndex) -> Option<RememberedRetirement> {
        self.backend(index).retirement.remember(now)
    }

    /// Takes up what was known `age` ago.
    pub fn recall_retirement(
        &mut self,
        now: Timestamp,
        index: BackendIndex,
        age: Duration,
        remembered: &RememberedRetirement,
    ) {
        self.backends[index.get()].retirement.recall(now, age, remembered);
        self.settle_retirement(now, index);
    }

    /// Looks at the domains again, and notes what changed.
    pub(super) fn review_domains(&mut self, now: Timestamp) {
        let condemned = self.suspicion.condemned(now);
        if condemned == self.condemned {
            return;
        }
        for (at, _) in self.backends.iter().enumerate() {
            let index = BackendIndex::at(at);
            let change = match (self.condemned.contains(index), condemned.contains(index)) {
                (false, true) => Change::Condemned,
                (true, false) => Change::Cleared,
                _ => continue,
            };
            self.notes.write(now, index, change);
        }
        self.condemned = condemned;
    }
}

#[cfg(test)]
mod tests;
