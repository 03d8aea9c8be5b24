//! What the journal has written, and how long the disk took for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::Histogram;

/// Counts since the journal was opened.
#[derive(Debug, Default)]
pub struct Usage {
    writes: AtomicU64,
    failed: AtomicU64,
    took: Histogram,
}

impl Usage {
    /// Some writes shared one sync, which took so long.
    pub(super) fn count(&self, took: Duration, writes: usize, succeeded: bool) {
        let of = if succeeded { &self.writes } else { &self.failed };
        of.fetch_add(writes as u64, Ordering::Relaxed);
        self.took.observe(took);
    }

    /// Records that are on disk.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Records that could not be written: transactions among them were not sent.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How long each sync took, with what was written by it.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
