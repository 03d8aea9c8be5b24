//! The tier in memory: one for all chains, bounded in bytes, and asked without waiting.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::keep::Footing;
use super::key::Key;

/// What an entry takes beyond its texts: both structs, two allocations, its place in the table and in the queues.
const OVERHEAD: u64 = 320;
/// Shards are locked one by one; each has its part of the bound, and must be able to hold the largest answer some times.
const SHARDS_MAX: u64 = 16;
const SHARD_MIN: u64 = 4 << 20;
/// The part of a shard that one answer may take, and the most it may take at all.
const SHARE_OF_SHARD: u64 = 4;
const ANSWER_MAX: u64 = 16 << 20;
/// What entries take on average, to size tables for.
const USUAL: u64 = 1024;
const ESTIMATE_MAX: u64 = 1 << 20;

/// A kept answer.
#[derive(Clone)]
pub struct Entry {
    /// The result's JSON text, byte for byte as it came.
    pub result: Bytes,
    /// What it rests on.
    pub footing: Footing,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes)", self.result.len())
    }
}

/// Answers by their questions.
#[derive(Debug)]
pub struct Memory {
    cache: Cache<Key, Entry, Weight, DefaultHashBuilder, Evictions>,
    answer_max: usize,
    evicted: Arc<AtomicU64>,
}

/// What the tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Answers.
    pub entries: usize,
    /// Bytes, questions and bookkeeping included.
    pub bytes: u64,
    /// Its bound.
    pub bytes_max: u64,
    /// Answers that had to make room for others.
    pub evictions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        (key.params().len() + entry.result.len()) as u64 + OVERHEAD
    }
}

#[derive(Clone, Debug)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Memory {
    /// A tier of at most so many bytes; `None` for 0.
    pub fn new(bytes_max: u64) -> Option<Self> {
        if bytes_max == 0 {
            return None;
        }
        let shards = (bytes_max / SHARD_MIN).clamp(1, SHARDS_MAX).next_power_of_two();
        let shards = usize::try_from(shards).unwrap_or(1);
        let estimate = usize::try_from((bytes_max / USUAL).clamp(16, ESTIMATE_MAX)).unwrap_or(16);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(estimate)
            .weight_capacity(bytes_max)
            .build()
            .ok()?;
        let evicted = Arc::new(AtomicU64::new(0));
        let cache =
            Cache::with_options(options, Weight, DefaultHashBuilder::default(), Evictions(evicted.clone()));
        let answer_max = (cache.shard_capacity() / SHARE_OF_SHARD).min(ANSWER_MAX);
        Some(Self { cache, answer_max: usize::try_from(answer_max).unwrap_or(0), evicted })
    }

    /// The answer to a question, if one is kept.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.cache.get(key)
    }

    /// Keeps an answer, unless it is too large. The text is copied: a part of a batch's body would keep the whole of it.
    pub fn put(&self, key: Key, result: &[u8], footing: Footing) -> bool {
        if result.len() > self.answer_max {
            return false;
        }
        self.cache.insert(key, Entry { result: Bytes::copy_from_slice(result), footing });
        true
    }

    /// Forgets an answer, unless it is another one by now.
    pub fn forget(&self, key: &Key, footing: &Footing) {
        self.cache.remove_if(key, |entry| entry.footing == *footing);
    }

    /// What it holds.
    pub fn usage(&self) -> MemoryUse {
        MemoryUse {
            entries: self.cache.len(),
            bytes: self.cache.weight(),
            bytes_max: self.cache.capacity(),
            evictions: self.evicted.load(Ordering::Relaxed),
        }
    }
}
