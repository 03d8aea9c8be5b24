//! What is kept and what that saves, as the status page tells it.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Gateway;
use super::chain::Chain;
use super::spent::in_credits;

/// The cache of all chains.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Answers in memory.
    pub entries: usize,
    /// Bytes that they take, their questions and bookkeeping included.
    pub bytes: u64,
    /// The bound of that; 0 where none are kept.
    pub bytes_max: u64,
    /// Answers that had to make room for others since the start.
    pub evictions: u64,
    /// The tier on disk, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStatus>,
}

/// Answers that outlive a restart.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DiskStatus {
    /// Answers on disk.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: u64,
    /// The bound of their file.
    pub bytes_max: u64,
    /// Answers that were found there since the start.
    pub hits: u64,
    /// Answers that were not written because the disk is slow.
    pub left_out: u64,
    /// The file cannot be used: nothing is read or written until the next start.
    pub out_of_use: bool,
}

/// What one chain's clients were answered without a backend, since the start.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SavedStatus {
    /// Calls that were answered by what is kept.
    pub hits: u64,
    /// Calls that might have been, and were not.
    pub misses: u64,
    /// Calls that shared the answer which somebody else was about to get.
    pub coalesced: u64,
    /// Calls that wait for such an answer now.
    pub waiting: u64,
    /// Answers that were kept.
    pub kept: u64,
    /// Kept answers that no longer held when they were asked for: their block was dropped, or the head moved.
    pub outdated: u64,
    /// Calls that no backend was asked for, by both.
    pub requests: u64,
    /// What those would have cost, in plain reads.
    pub credits: f64,
}

impl SavedStatus {
    pub(super) fn of(chain: &Chain) -> Self {
        let counts = &chain.known.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (hits, coalesced) = (read(&counts.hits), read(&counts.coalesced));
        Self {
            hits,
            misses: read(&counts.misses),
            coalesced,
            waiting: read(&counts.waiting),
            kept: read(&counts.kept),
            outdated: read(&counts.outdated),
            requests: hits + coalesced,
            credits: in_credits(read(&counts.saved_millis)),
        }
    }
}

impl CacheStatus {
    pub(super) fn of(gateway: &Gateway) -> Self {
        let usage = gateway.inner.tiers.memory.as_ref().map(|memory| memory.usage()).unwrap_or_default();
        Self {
            entries: usage.entries,
            bytes: usage.bytes,
            bytes_max: usage.bytes_max,
            evictions: usage.evictions,
            disk: gateway.inner.tiers.disk.as_ref().map(|disk| {
                let usage = disk.usage();
                DiskStatus {
                    entries: usage.entries,
                    bytes: usage.bytes,
                    bytes_max: usage.bytes_max,
                    hits: usage.hits,
                    left_out: usage.left_out,
                    out_of_use: usage.is_out,
                }
            }),
        }
    }
}
