//! Events a second, averaged over about a second: cheap to keep, and without a window to fall out of.

use std::time::Duration;

use super::Timestamp;
use super::decay::faded;

/// The average forgets in about this time.
const TAU: Duration = Duration::from_secs(1);

/// A rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    per_s: f64,
    at: Timestamp,
}

impl Rate {
    /// One more.
    pub(super) fn count(&mut self, now: Timestamp) {
        self.per_s = self.per_s(now) + 1.0 / TAU.as_secs_f64();
        self.at = now;
    }

    /// Events a second, lately.
    pub(super) fn per_s(&self, now: Timestamp) -> f64 {
        self.per_s * faded(now, self.at, TAU)
    }
}
