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
const OVERHEAD: u64 = 360;
/// Shards are locked one by one; each has its part of the bound, and must be able to hold the largest answer some times.
const SHARDS_MAX: u64 = 16;
const SHARD_MIN: u64 = 4 << 20;
/// The part of a shard that one answer may take, and the most it may take at all.
const SHARE_OF_SHARD: u64 = 4;
const ANSWER_MAX: u64 = 16 << 20;
/// Tables are made for entries of this size, and grow where they are smaller.
const USUAL: u64 = 4096;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::view::View;

    fn key(at: u64) -> Key {
        let params = serde_json::value::RawValue::from_string(format!("[\"{at:#066x}\",\"0x1\"]")).unwrap();
        Key::new(0, "eth_getBalance", 0, 0, Some(&params)).unwrap()
    }

    #[test]
    fn memory_stays_within_its_bound_whatever_is_kept() {
        const BYTES_MAX: u64 = 16 << 20;
        let footing = Footing::found(1, &View::default());
        for size in [10, 66, 600, 5_000, 60_000] {
            let mut told = MemoryUse::default();
            let taken = allocation_counter::measure(|| {
                let memory = Memory::new(BYTES_MAX).unwrap();
                let result = vec![b'1'; size];
                for at in 0..3 * BYTES_MAX / (size as u64 + OVERHEAD) {
                    memory.put(key(at), &result, footing);
                }
                told = memory.usage();
                std::mem::forget(memory);
            });
            let really = taken.bytes_current as f64 / BYTES_MAX as f64;
            println!(
                "answers of {size}: {} entries, {} counted, {really:.3} of the bound allocated",
                told.entries, told.bytes
            );
            assert!(told.bytes <= BYTES_MAX && told.evictions > 0, "{size}: {told:?}");
            assert!(told.bytes > BYTES_MAX * 9 / 10, "{size}: {told:?}");
            assert!(really <= 1.05, "{size}: {really} of the bound, {told:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_drives_nothing_out() {
        let memory = Memory::new(1 << 20).unwrap();
        let footing = Footing::found(1, &View::default());
        assert!(memory.put(key(1), b"1", footing));
        assert!(!memory.put(key(2), &vec![b'1'; 1 << 20], footing));
        assert!(memory.get(&key(1)).is_some() && memory.get(&key(2)).is_none());
        assert!(Memory::new(0).is_none());
    }
}
