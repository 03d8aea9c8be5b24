//! What is counted while the load runs: totals, parts of the time, seconds, methods, classes. Bounded in size. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{Fate, is_wrong};
use super::latencies::Latencies;
use crate::policy::Class;

/// Slots of a time line: seconds, or longer ones where the load takes longer.
pub const SLOTS_MAX: u64 = 600;
/// Names of methods or backends that are told apart; further ones share the last place.
const NAMES_MAX: usize = 64;
/// Where they share it.
const OTHERS: &str = "others";
/// What was due and never sent, because no place was free until its time was over.
pub const NOT_STARTED: &str = "not_started";

/// One request that is over.
#[derive(Clone, Debug)]
pub(super) struct Ended<'a> {
    /// Since the beginning of what is measured.
    pub(super) due: Duration,
    /// From when it was due.
    pub(super) latency: Duration,
    /// From when it was sent; `None` where it was not.
    pub(super) service: Option<Duration>,
    pub(super) fate: Fate,
    /// `None` where it was not sent.
    pub(super) class: Option<Class>,
    /// See [`Request::label`](super::Request::label).
    pub(super) label: &'a str,
    pub(super) calls: u64,
    /// It had to wait for a place.
    pub(super) delayed: bool,
    /// The backend that a proxy says it came from.
    pub(super) served_by: Option<&'a str>,
    /// Its content contradicts what was said before, or elsewhere.
    pub(super) contradicts: bool,
}

/// Counts and latencies.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) requests: u64,
    pub(super) calls: u64,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) not_started: u64,
    pub(super) delayed: u64,
    pub(super) wrong: u64,
    pub(super) latency: Latencies,
}

impl Part {
    pub(super) fn new(latency: Latencies) -> Self {
        Self {
            requests: 0,
            calls: 0,
            answered: 0,
            refused: 0,
            failed: 0,
            not_started: 0,
            delayed: 0,
            wrong: 0,
            latency,
        }
    }

    fn add(&mut self, ended: &Ended<'_>) {
        self.requests += 1;
        self.calls += ended.calls;
        *match ended.fate {
            Fate::Answered => &mut self.answered,
            Fate::Refused => &mut self.refused,
            Fate::Failed => &mut self.failed,
        } += 1;
        self.not_started += u64::from(ended.class.is_none());
        self.delayed += u64::from(ended.delayed);
        self.wrong += u64::from(ended.contradicts || ended.class.is_some_and(is_wrong));
        self.latency.record(ended.latency);
    }
}

/// Counts by name, the names in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    fn index(&mut self, name: &str) -> usize {
        if let Some(at) = self.0.iter().position(|known| known == name) {
            return at;
        }
        if self.0.len() < NAMES_MAX {
            self.0.push(if self.0.len() + 1 < NAMES_MAX { name } else { OTHERS }.to_owned());
        }
        self.0.len() - 1
    }

    pub(super) fn all(&self) -> &[String] {
        &self.0
    }
}

/// One slot of the time line.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) part: Part,
    /// Requests by the backend that served them, as in [`Tally::backends`].
    pub(super) served_by: Vec<u64>,
}

/// Everything that is counted of one target.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) whole: Part,
    pub(super) service: Latencies,
    /// Parts of the time, each until its end, and what was seen in it.
    pub(super) parts: Vec<(Duration, Part)>,
    pub(super) slots: Vec<Slot>,
    pub(super) slot: Duration,
    pub(super) classes: BTreeMap<&'static str, u64>,
    pub(super) methods: Names,
    pub(super) by_method: Vec<Part>,
    pub(super) backends: Names,
    pub(super) served_by: Vec<u64>,
}

/// How long a slot of the time line is.
pub(super) fn slot(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs().div_ceil(SLOTS_MAX).max(1))
}

impl Tally {
    /// For a load of this length whose parts end at these moments; the last part needs no end.
    pub(super) fn new(length: Duration, mut ends: Vec<Duration>) -> Self {
        ends.push(Duration::MAX);
        Self {
            whole: Part::new(Latencies::fine()),
            service: Latencies::fine(),
            parts: ends.into_iter().map(|end| (end, Part::new(Latencies::fine()))).collect(),
            slots: Vec::new(),
            slot: slot(length),
            classes: BTreeMap::new(),
            methods: Names::default(),
            by_method: Vec::new(),
            backends: Names::default(),
            served_by: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, ended: &Ended<'_>) {
        self.whole.add(ended);
        if let Some(service) = ended.service {
            self.service.record(service);
        }
        if let Some((_, part)) = self.parts.iter_mut().find(|(end, _)| ended.due < *end) {
            part.add(ended);
        }
        *self.classes.entry(ended.class.map_or(NOT_STARTED, Class::name)).or_default() += 1;
        let method = self.methods.index(ended.label);
        if self.by_method.len() <= method {
            self.by_method.push(Part::new(Latencies::coarse()));
        }
        self.by_method[method].add(ended);
        let at = ended.due.as_secs() / self.slot.as_secs();
        let at = usize::try_from(at.min(SLOTS_MAX)).unwrap_or(0);
        let empty = || Slot { part: Part::new(Latencies::coarse()), served_by: Vec::new() };
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, empty);
        }
        self.slots[at].part.add(ended);
        if let Some(name) = ended.served_by {
            let backend = self.backends.index(name);
            for counts in [&mut self.served_by, &mut self.slots[at].served_by] {
                if counts.len() <= backend {
                    counts.resize(backend + 1, 0);
                }
                counts[backend] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(due_ms: u64, fate: Fate, class: Option<Class>) -> Ended<'static> {
        Ended {
            due: Duration::from_millis(due_ms),
            latency: Duration::from_millis(5),
            service: class.map(|_| Duration::from_millis(4)),
            fate,
            class,
            label: "eth_call",
            calls: 1,
            delayed: class.is_none(),
            served_by: Some("aws"),
            contradicts: false,
        }
    }

    #[test]
    fn what_ended_is_counted_once_in_each_place_it_belongs_to() {
        let mut tally =
            Tally::new(Duration::from_secs(3), vec![Duration::from_secs(1), Duration::from_secs(2)]);
        for due_ms in [0, 999, 1000, 1999, 2000] {
            tally.add(&ended(due_ms, Fate::Answered, Some(Class::Ok)));
        }
        tally.add(&ended(2500, Fate::Failed, Some(Class::WrongId)));
        tally.add(&ended(2500, Fate::Refused, Some(Class::ExecutionReverted)));
        tally.add(&ended(2900, Fate::Failed, None));
        tally.add(&Ended { contradicts: true, ..ended(2950, Fate::Answered, Some(Class::Ok)) });
        let whole = &tally.whole;
        assert_eq!((whole.requests, whole.answered, whole.refused, whole.failed), (9, 6, 1, 2));
        assert_eq!((whole.not_started, whole.delayed, whole.wrong), (1, 1, 2));
        let parts: Vec<_> = tally.parts.iter().map(|(_, part)| part.requests).collect();
        let seconds: Vec<_> = tally.slots.iter().map(|slot| slot.part.requests).collect();
        assert_eq!((parts, seconds), (vec![2, 2, 5], vec![2, 2, 5]));
        assert_eq!(tally.classes[NOT_STARTED], 1);
        assert_eq!(tally.classes.values().sum::<u64>(), 9);
        assert_eq!(tally.service.len(), 8, "what was not sent has no service time");
        assert_eq!(tally.served_by, [9]);
    }

    #[test]
    fn a_long_load_has_longer_slots_and_no_more_of_them() {
        for (length_s, slot_s) in [(1, 1), (600, 1), (601, 2), (86_400, 144)] {
            assert_eq!(slot(Duration::from_secs(length_s)), Duration::from_secs(slot_s));
        }
        let mut tally = Tally::new(Duration::from_secs(86_400), Vec::new());
        tally.add(&ended(86_399_999, Fate::Answered, Some(Class::Ok)));
        assert_eq!(tally.slots.len() as u64, SLOTS_MAX);
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for n in 0..1000 {
            names.index(&format!("method-{n}"));
        }
        assert_eq!(names.all().len(), NAMES_MAX);
        assert_eq!(names.all().last().map(String::as_str), Some(OTHERS));
        assert_eq!(names.index("method-3"), 3);
        assert_eq!(names.index("method-999"), NAMES_MAX - 1);
    }
}
