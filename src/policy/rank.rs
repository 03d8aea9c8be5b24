//! Which backend is asked next: eligibility first, then order. Each rule is a function of its own.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::ethereum::MethodClass;

use super::admission::Standing;
use super::backend::{Backend, Identity, Tier};
use super::decay::exp2_of_negative;
use super::decision::{CANDIDATES_MAX, Candidate, Shortlist, Why};
use super::fleet::{Fleet, Need};
use super::notes::Change;
use super::pace::Pace;
use super::reach::Rests;
use super::set::{BackendIndex, BackendSet};
use super::{Class, Outcome, Timestamp};

/// A favourite keeps its place this long against near-equals (BEHAVIOURS H11).
const HOLD: Duration = Duration::from_secs(15);
/// A challenger must be better by this factor, or the favourite stays: two equals would swap for ever.
const CHALLENGE_FACTOR: f64 = 0.7;
/// Better by this factor is no near-equal: the favourite gives way without its hold time.
const CLEARLY_BETTER_FACTOR: f64 = 0.3;
/// A favourite must have been beaten for this long: a chance failure, or one slow answer, passes.
const BEATEN_FOR: Duration = Duration::from_millis(500);
/// By a little, for this long: what is left of a chance failure in the averages passes too.
const BEATEN_A_LITTLE_FOR: Duration = Duration::from_secs(3);
/// A favourite that is well is left for a better one this often in a minute and no more.
const SWITCHES_PER_MINUTE: usize = 2;
/// A favourite that lacks the head for no longer than this keeps its place: blocks reach one node after the other.
const LAGGED_FOR: Duration = Duration::from_secs(1);
/// One request in so many goes first to a primary that has not been measured lately, so that a
/// backend which came back is noticed. It can still be hedged.
const EXPLORE_ONE_IN: u32 = 32;
/// What was measured more recently than this needs no exploring.
const EXPLORE_AFTER: Duration = Duration::from_secs(10);
/// Nor does it need it so soon where the last one found a failure.
const EXPLORE_FAILED_AFTER: Duration = Duration::from_secs(60);
/// A backend whose provider fails elsewhere gets this share of its requests until it has answered one.
const RUMOURED_SHARE: f64 = 0.125;
/// A favourite with room for less than this part of what comes is too small, unless that passes.
const SHORT_BELOW: f64 = 0.8;
/// Who is to take it all must have room for so many times what comes now: what comes is never even, and who only
/// just has room today is the next one to be too small.
const ROOM_TO_SPARE: f64 = 1.25;
/// A backend that fails a tenth of its calls gets a tenth of the part that it would get as a stand-in otherwise.
const AVERSION: f64 = 33.0;
/// A method that everybody says is missing is asked for again this long after somebody said so.
const DENIED_BY_ALL_FOR: Duration = Duration::from_millis(750);

/// Who serves in calm weather. One backend for the whole chain as long as it is well, so that a client's
/// reads come from one node's view; another one for a class of methods that it fails at.
#[derive(Debug, Default)]
pub(super) struct Favourites {
    all: Option<Favourite>,
    of_class: [Option<Favourite>; MethodClass::COUNT],
    /// When the favourite of all was last left for a better one although it was well.
    switched_at: [Timestamp; SWITCHES_PER_MINUTE],
    switches: usize,
}

#[derive(Clone, Copy, Debug)]
struct Favourite {
    backend: BackendIndex,
    since: Timestamp,
    /// Since when somebody else has looked better without a break.
    beaten_since: Option<Timestamp>,
    /// Since when it has had no room for a good part of what comes.
    short_since: Option<Timestamp>,
}

impl Favourite {
    fn new(now: Timestamp, backend: BackendIndex) -> Self {
        Self { backend, since: now, beaten_since: None, short_since: None }
    }
}

/// Who is not asked first, and why.
#[derive(Clone, Copy, Debug, Default)]
struct Doubts {
    /// Not well, or not known to be well again.
    ill: BackendSet,
    /// Of those, the ones that fail or are silent: what they share with others counts against the others.
    stricken: BackendSet,
    /// Well, and left out of this one request by lot: near its limit, or only partly back.
    spared: BackendSet,
}

impl Doubts {
    fn all(self) -> BackendSet {
        self.ill.or(self.spared)
    }
}

impl Fleet {
    /// The backend for the next attempt: nobody in `tried`, and as far as possible from those in it.
    /// `None` when nobody is left that may be asked.
    pub fn choose(
        &mut self,
        now: Timestamp,
        need: &Need,
        tried: BackendSet,
        rng: &mut impl Rng,
    ) -> Option<BackendIndex> {
        // Evidence grows old by itself.
        if !self.condemned.is_empty() {
            self.review_domains(now);
        }
        let doubts = self.doubts(now, need, rng);
        let ranked = self.ranked(now, need, tried, doubts);
        let Some(best) = ranked.best() else {
            let denier = self.longest_denier(now, need).filter(|_| tried.is_empty())?;
            self.decisions.write(now, need.class, denier, Why::LastResort, ranked.shortlist());
            return Some(denier);
        };
        let (chosen, why) = match tried.is_empty() {
            true => self.first(now, need, doubts, &ranked, best.backend, rng),
            false => (best.backend, Why::Another),
        };
        let why = if chosen == best.backend && best.is_doubtful() { Why::LastResort } else { why };
        self.decisions.write(now, need.class, chosen, why, ranked.shortlist());
        Some(chosen)
    }

    /// Whether a backend takes part in answering reads.
    pub fn answers_reads(&self, backend: &Backend) -> bool {
        !backend.is_cordoned() && backend.identity() != Identity::WrongChain && !backend.spec().private
    }

    /// The widest range of blocks that is searched for logs at once, by some backend among those that are asked first;
    /// `None` where one of them may take any.
    pub fn log_range_max(&self, now: Timestamp) -> Option<u64> {
        let limits = |tier: Tier| {
            let serves = move |backend: &&Backend| {
                backend.spec().tier == tier
                    && self.answers_reads(backend)
                    && backend.is_usable(now)
                    && backend.experience(MethodClass::Logs).standing(now) == Standing::Admitted
            };
            let mut limits = self.backends.iter().filter(serves).map(|backend| backend.log_range_max(now));
            let first = limits.next();
            first.map(|first| limits.fold(first, |widest, limit| Some(widest?.max(limit?))))
        };
        limits(Tier::Primary).or_else(|| limits(Tier::Backup)).flatten()
    }

    /// The backend that serves in calm weather, and since when.
    pub fn favourite(&self) -> Option<(BackendIndex, Timestamp)> {
        self.favourites.all.map(|favourite| (favourite.backend, favourite.since))
    }

    /// Why [`Self::choose`] found nobody at all: the reason that tells the client most.
    pub fn nobody_because(&self, now: Timestamp, need: &Need) -> Class {
        let reason = |backend: &Backend| match () {
            () if backend.is_cordoned() || !keeps_private(self, need, backend) => Class::ConnectionError,
            () if backend.identity() == Identity::WrongChain => Class::WrongChain,
            () if backend.lacks_method(now, need.method) => Class::MethodUnsupported,
            () if backend.pace().is_some_and(Pace::is_exhausted) => Class::QuotaExhausted,
            () if backend.load(now).is_some() => Class::RateLimited,
            () => backend.cooling(now).map_or(Class::ConnectionError, |cooling| cooling.class),
        };
        self.iter()
            .map(|(_, backend)| reason(backend))
            .max_by_key(|class| Outcome::of(*class).tells())
            .unwrap_or(Class::ConnectionError)
    }

    /// Further backends for a transaction beside those that have it, up to `count`, each as far as possible from those
    /// before it. They are booked as started.
    pub fn spread_to(
        &mut self,
        now: Timestamp,
        need: &Need,
        has: BackendSet,
        count: usize,
        rng: &mut impl Rng,
    ) -> Vec<BackendIndex> {
        let doubts = self.doubts(now, need, rng);
        let mut tried = has;
        let mut further = Vec::new();
        while further.len() < count
            && let Some(next) = self.ranked(now, need, tried, doubts).best().map(|best| best.backend)
        {
            tried.insert(next);
            let backend = self.backend(next);
            if backend.identity() == Identity::WrongChain || backend.is_away() {
                continue;
            }
            self.started(now, next, need.class);
            further.push(next);
        }
        further
    }

    /// Somebody whose fitness is to be proven by a copy of this request.
    pub(super) fn wants_copy(
        &mut self,
        now: Timestamp,
        need: &Need,
        asked: BackendIndex,
    ) -> Option<BackendIndex> {
        for at in 0..self.backends.len() {
            let index = BackendIndex::at(at);
            let backend = self.backend(index);
            let may = index != asked
                && self.may_serve(now, need, backend)
                && backend.identity() == Identity::Confirmed
                && backend.cooling(now).is_none()
                && backend.lookout.may_seek(now, true)
                && matches!(
                    backend.experience(need.class).standing(now),
                    Standing::Shadowed | Standing::Returning { .. }
                );
            let backend = &mut self.backends[at];
            if !may {
                continue;
            }
            let admission = &mut backend.experience[need.class.index()].admission;
            // The state at a named block is the same everywhere.
            let compared = need
                .method
                .filter(|_| need.class == MethodClass::State && matches!(need.rests, Rests::OnHeight(_)));
            let wants = match compared {
                Some(method) => admission.wants_copy_of(now, method),
                None => admission.wants_copy(now, need.method),
            };
            if wants {
                backend.lookout.sought(now);
                return Some(index);
            }
        }
        None
    }

    /// Everybody who only serves when nobody better is left.
    fn doubts(&self, now: Timestamp, need: &Need, rng: &mut impl Rng) -> Doubts {
        let mut doubts = Doubts { ill: self.condemned, ..Doubts::default() };
        let demand_per_s = self.demand.per_s(now);
        let mut short_of_room = None;
        for (index, backend) in self.iter() {
            let experience = backend.experience(need.class);
            let (well, share) = match experience.standing(now) {
                Standing::Admitted => (!experience.is_suspect(now), 1.0),
                Standing::Returning { share } => (true, share),
                Standing::Out | Standing::Shadowed => (false, 0.0),
            };
            let stricken = !well || experience.is_silent(now) || backend.is_away();
            if stricken {
                doubts.stricken.insert(index);
            }
            let lacks = backend.seems_to_lack_method(now, need.method)
                || backend.reach.is_doubtful(need.rests)
                || backend.retention.lacks(now, need.depth)
                || backend.log_limits.exceeded_by(now, need.log_blocks);
            let is_ill = stricken || backend.cooling(now).is_some();
            // Asked only when it matters: it looks at everybody.
            let mut is_needed = || {
                backend.is_short(now)
                    && *short_of_room.get_or_insert_with(|| self.is_short_of_room(now, need))
            };
            if lacks || (is_ill && !is_needed()) {
                doubts.ill.insert(index);
                continue;
            }
            let share = if is_ill { 1.0 } else { share };
            let share = if backend.is_rumoured(now) { share * RUMOURED_SHARE } else { share };
            let paced = backend.pace().map_or(1.0, |pace| pace.share(now));
            let kept = share * paced * backend.room(now, demand_per_s);
            if kept < 1.0 && !rng.random_bool(kept) {
                doubts.spared.insert(index);
            }
        }
        doubts
    }

    fn first(
        &mut self,
        now: Timestamp,
        need: &Need,
        doubts: Doubts,
        ranked: &Ranking,
        best: BackendIndex,
        rng: &mut impl Rng,
    ) -> (BackendIndex, Why) {
        let doubtful = doubts.all();
        if need.only.is_some() {
            return (best, Why::Only);
        }
        self.note_shortness(now);
        let fit =
            |index: BackendIndex| !doubtful.contains(index) && self.may_serve(now, need, self.backend(index));
        if let Some(preferred) = need.prefer.filter(|preferred| fit(*preferred)) {
            return (preferred, Why::KnowsMost);
        }
        if let Some(curious) = self.unmeasured_peer(now, need, best, doubtful, rng) {
            return (curious, Why::Explored);
        }
        let mut all = self.favourites.all;
        let mut of_class = self.favourites.of_class[need.class.index()];
        let holds = |held: &mut Option<Favourite>| match held {
            Some(held) => fit(held.backend) && self.holds_against(now, need, held, best, ranked),
            None => false,
        };
        let kept = match (holds(&mut all), &all) {
            (true, Some(held)) => {
                of_class = None;
                Some((held.backend, Why::Favourite))
            }
            _ if holds(&mut of_class) => of_class.map(|held| (held.backend, Why::FavouriteOfClass)),
            _ => None,
        };
        self.favourites.all = all;
        self.favourites.of_class[need.class.index()] = of_class;
        if let Some(kept) = kept {
            return kept;
        }
        // Nobody well is left, or the favourite only sits this one out: no reason to have a new one.
        let sits_out = of_class.or(all).is_some_and(|held| {
            let backend = self.backend(held.backend);
            doubts.spared.contains(held.backend)
                || backend.retention.lacks(now, need.depth)
                || backend.log_limits.exceeded_by(now, need.log_blocks)
                || (lacks_block(backend, need) && !lags_for_long(now, backend))
                || backend
                    .pause(now)
                    .is_some_and(|pause| pause.class == Class::RateLimited && pause.until.since(now) < HOLD)
                || backend.lacks_method(now, need.method)
                || backend.seems_to_lack_method(now, need.method)
        });
        // Who cannot take it all for long makes room for who can.
        let is_too_small = of_class.or(all).is_some_and(|held| {
            held.short_since.is_some_and(|since| now.since(since) >= BEATEN_A_LITTLE_FOR)
                && self.backend(best).room(now, ROOM_TO_SPARE * self.demand.per_s(now)) >= 1.0
        });
        if sits_out && !is_too_small && !doubtful.contains(best) {
            return (self.stand_in(now, need, doubtful, best, rng), Why::InsteadOfFavourite);
        }
        if doubtful.contains(best) || need.submits {
            return (best, Why::InsteadOfFavourite);
        }
        let successor = self.successor(now, need, doubts, all, best);
        self.favour(now, need, all, successor);
        (successor, Why::Best)
    }

    fn note_shortness(&mut self, now: Timestamp) {
        let Some(held) = self.favourites.all else { return };
        let room = self.backend(held.backend).room(now, self.demand.per_s(now));
        let short_since = match held.short_since {
            since if room < SHORT_BELOW => since.or(Some(now)),
            Some(since) if room < 1.0 => Some(since),
            _ => None,
        };
        self.favourites.all = Some(Favourite { short_since, ..held });
    }

    /// Who serves while the favourite sits out a part of the requests: everybody as good as the best takes a part, the
    /// quicker the more, so that what is too much for one becomes too much for nobody else.
    fn stand_in(
        &self,
        now: Timestamp,
        need: &Need,
        doubtful: BackendSet,
        best: BackendIndex,
        rng: &mut impl Rng,
    ) -> BackendIndex {
        let tier = self.backend(best).spec().tier;
        let demand_per_s = self.demand.per_s(now);
        let mut weights = 0.0;
        let mut chosen = best;
        for (index, backend) in self.iter() {
            let is_fit = !doubtful.contains(index)
                && backend.spec().tier == tier
                && backend.identity() == Identity::Confirmed
                && self.may_serve(now, need, backend);
            if !is_fit {
                continue;
            }
            let (latency_ns, error_rate) = backend.health(need.class).expected(now);
            let quickness = 1e9 / latency_ns.max(1e6);
            let room = backend.room(now, demand_per_s);
            let weight = quickness * room * exp2_of_negative(error_rate * AVERSION);
            if weight <= 0.0 {
                continue;
            }
            weights += weight;
            // Each is kept with its share of the weights so far: one pass draws fairly.
            if rng.random_bool((weight / weights).clamp(0.0, 1.0)) {
                chosen = index;
            }
        }
        chosen
    }

    /// Who follows a favourite. One that is in trouble may only be the first of its failure domain, so somebody
    /// distant is better than somebody fast; one that was merely beaten is followed by who beat it.
    fn successor(
        &self,
        now: Timestamp,
        need: &Need,
        doubts: Doubts,
        all: Option<Favourite>,
        best: BackendIndex,
    ) -> BackendIndex {
        let Some(held) = all.map(|held| held.backend).filter(|held| *held != best) else { return best };
        let in_trouble = doubts.ill.contains(held)
            || cost(now, need.class, self.backend(best))
                < CLEARLY_BETTER_FACTOR * cost(now, need.class, self.backend(held));
        if !in_trouble {
            return best;
        }
        let mut left = BackendSet::default();
        left.insert(held);
        let distant = self.ranked(now, need, left, doubts).best();
        distant.filter(|distant| !distant.is_doubtful()).map_or(best, |distant| distant.backend)
    }

    /// `best` takes the favourite's place: for everything, or only for the class at hand.
    fn favour(&mut self, now: Timestamp, need: &Need, all: Option<Favourite>, best: BackendIndex) {
        // Failing at one class of methods only is no reason to leave it for all of them.
        let unfit = all.is_none_or(|held| {
            let backend = self.backend(held.backend);
            backend.is_down()
                || backend.cooling(now).is_some()
                || self.condemned.contains(held.backend)
                || lacks_block(backend, need)
        });
        if unfit || self.favourites.may_switch(now, need.class) {
            let instead_of = all.map(|held| held.backend);
            self.favourites.switch(now, best, unfit);
            if instead_of != Some(best) {
                self.notes.write(now, best, Change::Favoured { instead_of });
            }
        } else {
            self.favourites.of_class[need.class.index()] = Some(Favourite::new(now, best));
        }
    }

    /// The best candidates in order. After failed attempts the first is somebody in another failure domain.
    fn ranked(&self, now: Timestamp, need: &Need, tried: BackendSet, doubts: Doubts) -> Ranking {
        let mut ranking = Ranking::default();
        for (index, backend) in self.iter() {
            if !tried.contains(index) && self.may_serve(now, need, backend) {
                ranking.insert(self.ranked_one(now, need.class, tried, doubts, index, backend));
            }
        }
        ranking
    }

    /// Whether somebody would do, had it the block that is asked for.
    pub(super) fn awaits_block(&self, now: Timestamp, need: &Need, tried: BackendSet) -> bool {
        let anywhere = Need { rests: Rests::OnTheChain, ..*need };
        matches!(need.rests, Rests::OnHeight(_))
            && self.iter().any(|(index, backend)| {
                !tried.contains(index)
                    && backend.reach.may_catch_up(need.rests)
                    && self.may_serve(now, &anywhere, backend)
            })
    }

    /// Whether anybody is left to be asked.
    pub(super) fn has_candidate(&self, now: Timestamp, need: &Need, tried: BackendSet) -> bool {
        self.iter().any(|(index, backend)| !tried.contains(index) && self.may_serve(now, need, backend))
    }

    /// Whether this one may be asked.
    pub(super) fn may_ask(&self, now: Timestamp, need: &Need, index: BackendIndex) -> bool {
        self.may_serve(now, need, self.backend(index))
    }

    /// Who denied longest ago that it has the method, when everybody does so. During an outage that is said of
    /// methods which are there; asking one of them now and then costs little, and finds when it is over.
    fn longest_denier(&self, now: Timestamp, need: &Need) -> Option<BackendIndex> {
        let deniers = || {
            self.iter()
                .filter(|(_, backend)| self.may_serve_otherwise(now, need, backend))
                .filter_map(|(index, backend)| Some((backend.denied_at(need.method)?, index)))
        };
        let (latest, _) = deniers().max()?;
        let due = now.since(latest) >= DENIED_BY_ALL_FOR;
        deniers().min().filter(|_| due).map(|(_, index)| index)
    }

    /// Whether it may be asked at all. These rules hold even when everything else is down.
    pub(super) fn may_serve(&self, now: Timestamp, need: &Need, backend: &Backend) -> bool {
        self.may_serve_otherwise(now, need, backend) && !backend.lacks_method(now, need.method)
    }

    /// The same, whether it has the method or not.
    fn may_serve_otherwise(&self, now: Timestamp, need: &Need, backend: &Backend) -> bool {
        !backend.is_cordoned()
            && backend.identity() != Identity::WrongChain
            && keeps_private(self, need, backend)
            && backend.reach.may_answer(need.rests, need.class == MethodClass::Logs)
            && need.only.is_none_or(|only| std::ptr::eq(self.backend(only), backend))
            && !backend.cooling(now).is_some_and(|cooling| cooling.by_its_word)
            && !backend.pace().is_some_and(Pace::is_exhausted)
            && !self.is_spared_as_retired(now, need, backend)
    }

    /// Who is gone for good is asked by clients only where nobody else can serve them.
    fn is_spared_as_retired(&self, now: Timestamp, need: &Need, backend: &Backend) -> bool {
        backend.retirement().retired().is_some()
            && self
                .iter()
                .find(|(_, one)| std::ptr::eq(*one, backend))
                .is_some_and(|(index, _)| self.others_serve(now, index, Some(need)))
    }

    fn ranked_one(
        &self,
        now: Timestamp,
        class: MethodClass,
        tried: BackendSet,
        doubts: Doubts,
        index: BackendIndex,
        backend: &Backend,
    ) -> Ranked {
        let ill = doubts.ill.contains(index);
        let doubtful = ill || doubts.spared.contains(index);
        let away_from = tried.or(doubts.stricken);
        let overlaps = away_from.iter().filter(|other| *other != index);
        let order = Order {
            retired: self.retired.contains(index),
            doubtful,
            ill,
            failing: doubtful && self.suspicion.is_failing(now, index),
            crowding: if doubtful && !ill { backend.utilisation(now) } else { 0.0 },
            tier: backend.spec().tier,
            overlap: overlaps.map(|other| self.overlap(now, index, other)).sum(),
            unknown: backend.identity() == Identity::Unknown,
        };
        Ranked { key: order.key(), cost: cost(now, class, backend), backend: index }
    }

    /// Whether a fit favourite keeps its place against the one that looks best now.
    fn holds_against(
        &self,
        now: Timestamp,
        need: &Need,
        held: &mut Favourite,
        best: BackendIndex,
        ranked: &Ranking,
    ) -> bool {
        if held.backend == best {
            held.beaten_since = None;
            return true;
        }
        let (favourite, challenger) = (self.backend(held.backend), self.backend(best));
        let cost_of = |index: BackendIndex, backend| {
            ranked.cost_of(index).unwrap_or_else(|| cost(now, need.class, backend))
        };
        let (held_cost, best_cost) = (cost_of(held.backend, favourite), cost_of(best, challenger));
        let near_equal = best_cost > CHALLENGE_FACTOR * held_cost;
        let clearly_better = best_cost < CLEARLY_BETTER_FACTOR * held_cost;
        if favourite.spec().tier > challenger.spec().tier {
            return false;
        }
        if near_equal {
            held.beaten_since = None;
            return true;
        }
        let beaten_for = now.since(*held.beaten_since.get_or_insert(now));
        match clearly_better {
            true => beaten_for < BEATEN_FOR,
            false => beaten_for < BEATEN_A_LITTLE_FOR || now.since(held.since) < HOLD,
        }
    }

    fn unmeasured_peer(
        &self,
        now: Timestamp,
        need: &Need,
        best: BackendIndex,
        doubtful: BackendSet,
        rng: &mut impl Rng,
    ) -> Option<BackendIndex> {
        if need.submits || rng.random_range(0..EXPLORE_ONE_IN) != 0 {
            return None;
        }
        let tier = self.backend(best).spec().tier;
        self.iter()
            .filter(|(index, backend)| {
                let health = backend.health(need.class);
                *index != best
                    && (!health.is_known() || now.since(health.measured_at()) >= EXPLORE_AFTER)
                    && (health.consecutive_failures() == 0
                        || now.since(health.measured_at()) >= EXPLORE_FAILED_AFTER)
                    && backend
                        .experience(need.class)
                        .admission
                        .failed_at(need.method)
                        .is_none_or(|at| now.since(at) >= EXPLORE_FAILED_AFTER)
                    && backend.spec().tier == tier
                    && backend.identity() == Identity::Confirmed
                    && !doubtful.contains(*index)
                    && self.may_serve(now, need, backend)
            })
            .min_by_key(|(_, backend)| backend.health(need.class).measured_at())
            .map(|(index, _)| index)
    }
}

impl Favourites {
    /// A class that most reads belong to may move everything, a few times a minute.
    fn may_switch(&self, now: Timestamp, class: MethodClass) -> bool {
        let oldest = self.switched_at[self.switches % SWITCHES_PER_MINUTE];
        let main = matches!(class, MethodClass::Head | MethodClass::State | MethodClass::History);
        main && (self.switches < SWITCHES_PER_MINUTE || now.since(oldest) >= Duration::from_secs(60))
    }

    fn switch(&mut self, now: Timestamp, backend: BackendIndex, forced: bool) {
        if !forced && self.all.is_some() {
            self.switched_at[self.switches % SWITCHES_PER_MINUTE] = now;
            self.switches += 1;
        }
        self.all = Some(Favourite::new(now, backend));
        self.of_class = Default::default();
    }
}

/// Whether it lacks what the request rests on.
fn lacks_block(backend: &Backend, need: &Need) -> bool {
    !backend.reach.may_answer(need.rests, need.class == MethodClass::Logs)
}

/// Whether it has lacked the head for longer than blocks take to get around, or follows another branch.
pub(super) fn lags_for_long(now: Timestamp, backend: &Backend) -> bool {
    backend.reach.is_astray || backend.lag.since.is_some_and(|since| now.since(since) >= LAGGED_FOR)
}

/// Private backends take transactions only, and where one is configured nobody else gets them.
fn keeps_private(fleet: &Fleet, need: &Need, backend: &Backend) -> bool {
    backend.spec().private == (need.submits && fleet.has_private)
}

/// What an attempt is expected to cost, in nanoseconds: its latency, and for its failures a second
/// attempt elsewhere that costs far more.
fn cost(now: Timestamp, class: MethodClass, backend: &Backend) -> f64 {
    const FAILURE_COST_NS: f64 = 1e9;
    /// What is held against everybody who is hardly known: it must not keep a quicker one out for ever, whom nobody asks
    /// because nobody asks it.
    const DOUBT: f64 = 0.01;
    /// The peak-sensitive average lies above the median even in calm weather, by chance more or less.
    const PEAK_PART: f64 = 0.5;
    let experience = backend.experience(class);
    let (peak_ns, error_rate) = experience.health().expected(now);
    let latency_ns = match experience.quantile(0.5) {
        Some(median) => (median.as_nanos() as u64 as f64).max(PEAK_PART * peak_ns),
        None => peak_ns,
    };
    latency_ns + (error_rate - DOUBT).max(0.0) * FAILURE_COST_NS
}

/// What the order of candidates depends on, the weightiest first; their cost decides the rest.
#[derive(Debug)]
struct Order {
    /// Whoever may still be there comes before who is gone for good.
    retired: bool,
    doubtful: bool,
    /// Of those in doubt, who answered last time is better than who failed.
    failing: bool,
    /// Of those in doubt, who is short of room is better than who is not well.
    ill: bool,
    tier: Tier,
    /// Of those that are short of room, who has most of it left. Zero or more.
    crowding: f64,
    overlap: u32,
    unknown: bool,
}

/// Where the members of [`Order`] stand in its key.
mod place {
    pub(super) const UNKNOWN: u32 = 0;
    pub(super) const OVERLAP: u32 = 1;
    pub(super) const CROWDING: u32 = 33;
    pub(super) const BACKUP: u32 = 97;
    pub(super) const ILL: u32 = 98;
    pub(super) const FAILING: u32 = 99;
    pub(super) const DOUBTFUL: u32 = 100;
    pub(super) const RETIRED: u32 = 101;
}

impl Order {
    /// All of it in one number, the smaller the better: a decision compares every candidate with every other.
    fn key(&self) -> u128 {
        // Numbers of zero or more are in the order of their bits.
        u128::from(self.retired) << place::RETIRED
            | u128::from(self.doubtful) << place::DOUBTFUL
            | u128::from(self.failing) << place::FAILING
            | u128::from(self.ill) << place::ILL
            | u128::from(self.tier == Tier::Backup) << place::BACKUP
            | u128::from(self.crowding.max(0.0).to_bits()) << place::CROWDING
            | u128::from(self.overlap) << place::OVERLAP
            | u128::from(self.unknown) << place::UNKNOWN
    }
}

/// A candidate and its place.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    key: u128,
    cost: f64,
    backend: BackendIndex,
}

impl Ranked {
    fn is(self, place: u32) -> bool {
        self.key >> place & 1 == 1
    }

    fn is_doubtful(self) -> bool {
        self.is(place::DOUBTFUL)
    }

    fn goes_before(&self, other: &Self) -> bool {
        self.key < other.key || (self.key == other.key && self.cost < other.cost)
    }

    fn candidate(self) -> Candidate {
        Candidate {
            backend: self.backend,
            doubtful: self.is_doubtful(),
            failing: self.is(place::FAILING),
            backup: self.is(place::BACKUP),
            overlap: (self.key >> place::OVERLAP) as u32,
            cost: Duration::from_nanos(self.cost as u64),
        }
    }
}

/// The best candidates, the best first.
#[derive(Debug, Default)]
struct Ranking {
    best: [Option<Ranked>; CANDIDATES_MAX],
    len: usize,
}

impl Ranking {
    /// Insertion into a short sorted array: equals keep the order of the configuration.
    fn insert(&mut self, new: Ranked) {
        let mut at = self.len;
        while at > 0 && self.best[at - 1].is_some_and(|known| new.goes_before(&known)) {
            if at < CANDIDATES_MAX {
                self.best[at] = self.best[at - 1];
            }
            at -= 1;
        }
        if at < CANDIDATES_MAX {
            self.best[at] = Some(new);
            self.len = (self.len + 1).min(CANDIDATES_MAX);
        }
    }

    fn best(&self) -> Option<Ranked> {
        self.best[0]
    }

    fn cost_of(&self, backend: BackendIndex) -> Option<f64> {
        self.best.iter().flatten().find(|ranked| ranked.backend == backend).map(|ranked| ranked.cost)
    }

    fn shortlist(&self) -> Shortlist {
        Shortlist(self.best.map(|ranked| ranked.map(Ranked::candidate)))
    }
}
