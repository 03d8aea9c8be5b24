//! What a backend was asked for, by method: what a provider bills.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ethereum::Method;

/// Calls that a backend was sent since the start, the proxy's own among them. Bounded: names without a line in the method
/// table count together.
#[derive(Debug)]
pub(super) struct Spent {
    listed: Box<[AtomicU64]>,
    other: AtomicU64,
    /// In thousandths of what a plain read costs.
    millis: AtomicU64,
}

/// The word for names without a line.
const OTHER: &str = "other";

impl Default for Spent {
    fn default() -> Self {
        let listed = Method::all().iter().map(|_| AtomicU64::new(0)).collect();
        Self { listed, other: AtomicU64::new(0), millis: AtomicU64::new(0) }
    }
}

impl Spent {
    pub(super) fn count(&self, method: &'static Method) {
        let counter = method.place().and_then(|place| self.listed.get(place)).unwrap_or(&self.other);
        counter.fetch_add(1, Ordering::Relaxed);
        self.millis.fetch_add(millis(method), Ordering::Relaxed);
    }

    /// Calls by method, those that were made at all.
    pub(super) fn by_method(&self) -> BTreeMap<&'static str, u64> {
        let names = Method::all().iter().map(|method| method.name).chain([OTHER]);
        let counts = self.listed.iter().chain([&self.other]).map(|count| count.load(Ordering::Relaxed));
        names.zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// What they cost, in plain reads.
    pub(super) fn credits(&self) -> f64 {
        in_credits(self.millis.load(Ordering::Relaxed))
    }
}

/// What a call of a method costs, in thousandths of a plain read.
pub(super) fn millis(method: &Method) -> u64 {
    (f64::from(method.cost) * 1000.0).round() as u64
}

/// In plain reads.
pub(super) fn in_credits(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o5_unknown_names_count_together() {
        let spent = Spent::default();
        for name in ["eth_call", "eth_call", "eth_somethingNew", "x_1", "debug_unheardOf", "klay_call"] {
            spent.count(Method::lookup(name));
        }
        let by_method: Vec<_> = spent.by_method().into_iter().collect();
        assert_eq!(by_method, [("eth_call", 3), (OTHER, 3)]);
        assert!((spent.credits() - (3.0 * 1.3 + 2.0 + 1.0)).abs() < 2.5);
    }

    #[test]
    fn every_listed_method_has_its_own_place() {
        for (place, method) in Method::all().iter().enumerate() {
            assert_eq!(method.place(), Some(place));
        }
        assert_eq!(Method::lookup("eth_somethingNew").place(), None);
    }
}
