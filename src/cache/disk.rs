//! The tier on disk: what is final, kept over restarts. It is asked in the hope of an answer and never waited for: two
//! threads of its own read and write, what their queues do not take is left out, and a file that is broken is put aside.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Keccak256, map::foldhash};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::key::Key;
use super::store::{Fault, Store};

/// Its file in the folder.
const FILE: &str = "answers.redb";
/// What is read and written at a time; more is left out.
const READS_MAX: usize = 256;
const WRITES_MAX: usize = 1024;
const WRITES_BYTES_MAX: u64 = 32 << 20;
/// An answer that takes longer to be read is asked of a backend.
const READ_PATIENCE: Duration = Duration::from_millis(50);
/// Larger ones are not written.
const ANSWER_MAX: usize = 4 << 20;

/// A question on disk. A digest: no parameters and no credentials lie there.
pub(super) type Digest = [u8; 32];

/// An answer as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The height that it rests on, which was final.
    pub number: u64,
    /// The result's JSON text.
    pub result: Bytes,
}

pub(super) struct Write {
    pub(super) digest: Digest,
    pub(super) number: u64,
    pub(super) result: Bytes,
}

struct Read {
    digest: Digest,
    tell: oneshot::Sender<Option<Found>>,
}

/// What the tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Answers.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: u64,
    /// The bound of the file.
    pub bytes_max: u64,
    /// Answers that were found there.
    pub hits: u64,
    /// Answers that were not written because the disk is slow.
    pub left_out: u64,
    /// It is out of use until the next start: the file cannot be used.
    pub is_out: bool,
}

#[derive(Debug)]
struct Shared {
    /// What lies there, by the first part of the digest, with its place in the order of age: most questions are answered
    /// "no" by this alone.
    present: Mutex<HashMap<u64, u64, foldhash::fast::RandomState>>,
    bytes: AtomicU64,
    bytes_max: u64,
    queued: AtomicU64,
    hits: AtomicU64,
    left_out: AtomicU64,
    is_out: AtomicBool,
}

/// Answers that outlive the process. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    reads: mpsc::Sender<Read>,
    writes: mpsc::Sender<Write>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Write({} bytes)", self.result.len())
    }
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Read")
    }
}

impl Disk {
    /// A tier in this folder, of at most about so many bytes. It is opened on a thread of its own, and until then empty.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            present: Mutex::default(),
            bytes: AtomicU64::new(0),
            bytes_max,
            queued: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            is_out: AtomicBool::new(false),
        });
        let (reads, reads_wanted) = mpsc::channel(READS_MAX);
        let (writes, writes_wanted) = mpsc::channel(WRITES_MAX);
        let (ours, folder) = (shared.clone(), folder.to_owned());
        std::thread::Builder::new()
            .name("cache-disk".to_owned())
            .spawn(move || keep(&ours, &folder, reads_wanted, writes_wanted))?;
        Ok(Self { shared, reads, writes })
    }

    /// What lies there under a question of a chain; `None` too where that is not known in time.
    pub async fn get(&self, chain_id: u64, key: &Key) -> Option<Found> {
        let digest = digest(chain_id, key);
        if !self.shared.has(&digest) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        self.reads.try_send(Read { digest, tell }).ok()?;
        let found = timeout(READ_PATIENCE, told).await.ok()?.ok()??;
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Writes an answer that is final, some time soon, unless it is there.
    pub fn put(&self, chain_id: u64, key: &Key, number: u64, result: &Bytes) {
        let digest = digest(chain_id, key);
        let shared = &self.shared;
        if result.len() > ANSWER_MAX || shared.is_out.load(Ordering::Relaxed) || shared.has(&digest) {
            return;
        }
        let bytes = result.len() as u64;
        let is_full = shared.queued.fetch_add(bytes, Ordering::Relaxed) + bytes > WRITES_BYTES_MAX;
        let write = Write { digest, number, result: result.clone() };
        if is_full || self.writes.try_send(write).is_err() {
            shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            shared.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it holds.
    pub fn usage(&self) -> DiskUse {
        let shared = &self.shared;
        DiskUse {
            entries: shared.present().len(),
            bytes: shared.bytes.load(Ordering::Relaxed),
            bytes_max: shared.bytes_max,
            hits: shared.hits.load(Ordering::Relaxed),
            left_out: shared.left_out.load(Ordering::Relaxed),
            is_out: shared.is_out.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn present(&self) -> MutexGuard<'_, HashMap<u64, u64, foldhash::fast::RandomState>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.present().contains_key(&short(digest))
    }

    fn give_up(&self, why: &str) {
        if !self.is_out.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                why,
                "the cache on disk is out of use until the next start; nothing else depends on it"
            );
        }
        self.present().clear();
    }
}

fn short(digest: &Digest) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

/// Chain, schema and question in one: another chain's answer, or one in another form, is never found.
fn digest(chain_id: u64, key: &Key) -> Digest {
    let mut hasher = Keccak256::new();
    hasher.update(Store::VERSION.to_be_bytes());
    hasher.update(chain_id.to_be_bytes());
    hasher.update(key.scope.to_be_bytes());
    hasher.update((key.method.len() as u64).to_be_bytes());
    hasher.update(key.method.as_bytes());
    hasher.update(key.params().as_bytes());
    hasher.finalize().0
}

/// Opens the file, lets another thread read, and writes until the tier is dropped.
fn keep(shared: &Arc<Shared>, folder: &Path, reads: mpsc::Receiver<Read>, writes: mpsc::Receiver<Write>) {
    let store = match open(folder, shared.bytes_max) {
        Ok(store) => Arc::new(store),
        Err(why) => return shared.give_up(&why),
    };
    for (digest, seq) in store.take_listing() {
        shared.present().insert(short(&digest), seq);
    }
    shared.bytes.store(store.bytes(), Ordering::Relaxed);
    let (reader, ours) = (store.clone(), shared.clone());
    let started = std::thread::Builder::new()
        .name("cache-disk-read".to_owned())
        .spawn(move || read(&ours, &reader, reads));
    if started.is_err() {
        return shared.give_up("no thread could be started");
    }
    write(shared, &store, writes);
}

/// A file that cannot be read is put aside, and a new one begun.
fn open(folder: &Path, bytes_max: u64) -> Result<Store, String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let file = folder.join(FILE);
    match guarded(|| Store::open(&file, bytes_max)) {
        Ok(store) => Ok(store),
        Err(Fault::InUse) => {
            Err("another process uses it: give each its own folder under cache.disk".to_owned())
        }
        Err(Fault::Broken(why)) => {
            let aside = aside(&file);
            tracing::warn!(file = %file.display(), why, "the cache on disk is broken; it is put aside and begun anew");
            std::fs::rename(&file, &aside).map_err(|error| error.to_string())?;
            guarded(|| Store::open(&file, bytes_max)).map_err(|fault| fault.to_string())
        }
    }
}

fn aside(file: &Path) -> PathBuf {
    file.with_extension("broken")
}

/// What a broken file may make of the code that reads it stays here.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault::Broken("reading it failed".to_owned())))
}

fn read(shared: &Shared, store: &Store, mut reads: mpsc::Receiver<Read>) {
    while let Some(Read { digest, tell }) = reads.blocking_recv() {
        match guarded(|| store.get(&digest)) {
            // Whoever asked may have gone on.
            Ok(found) => drop(tell.send(found)),
            Err(fault) => shared.give_up(&fault.to_string()),
        }
    }
}

fn write(shared: &Shared, store: &Store, mut writes: mpsc::Receiver<Write>) {
    /// Writes that share one sync.
    const GROUP_MAX: usize = 256;
    while let Some(first) = writes.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = writes.try_recv()
        {
            group.push(next);
        }
        let bytes: u64 = group.iter().map(|write| write.result.len() as u64).sum();
        let done = guarded(|| store.put(&group));
        shared.queued.fetch_sub(bytes, Ordering::Relaxed);
        match done {
            Ok(change) => {
                let mut present = shared.present();
                for (digest, seq) in &change.written {
                    present.insert(short(digest), *seq);
                }
                for (digest, seq) in &change.dropped {
                    // Unless it was written anew meanwhile.
                    if present.get(&short(digest)) == Some(seq) {
                        present.remove(&short(digest));
                    }
                }
                drop(present);
                shared.bytes.store(store.bytes(), Ordering::Relaxed);
            }
            Err(fault) => return shared.give_up(&fault.to_string()),
        }
    }
}
