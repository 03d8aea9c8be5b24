//! The file of the tier on disk: a redb database that forgets what is oldest when it is full.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::{Digest, Found, Write};

/// Place in the order of age, height, checksum, and the result's text.
const ANSWERS: TableDefinition<'_, Digest, &[u8]> = TableDefinition::new("answers");
/// From the oldest to the newest: digest, and bytes that it takes.
const AGES: TableDefinition<'_, u64, (Digest, u64)> = TableDefinition::new("ages");
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const SCHEMA: &str = "schema";
/// Pages kept in memory.
const CACHE_BYTES: usize = 4 << 20;
/// Before the text.
const HEAD_BYTES: usize = 20;
/// What an answer takes beyond its text: keys, heads, and its part of half-empty pages.
const OVERHEAD: u64 = 256;
/// A database needs room for what it replaces, and keeps pages that it has emptied.
const FILE_PER_PAYLOAD: u64 = 2;
/// Answers at most: their digests are held in memory.
const ENTRIES_MAX: u64 = 1_000_000;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("another process uses it")]
    InUse,
    #[error("{0}")]
    Broken(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Broken(error.into().to_string())
    }
}

/// The open file.
pub(super) struct Store {
    database: Database,
    payload_max: u64,
    bytes: AtomicU64,
    next: AtomicU64,
    entries: AtomicU64,
    listing: Mutex<Vec<(Digest, u64)>>,
}

/// What a write has changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) written: Vec<(Digest, u64)>,
    pub(super) dropped: Vec<(Digest, u64)>,
}

impl Store {
    /// The form of what is written. Another one is not read.
    pub(super) const VERSION: u64 = 1;

    pub(super) fn open(file: &Path, bytes_max: u64) -> Result<Self, Fault> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(file).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Fault::InUse,
            other => other.into(),
        })?;
        keep_to_owner(file);
        let transaction = database.begin_write()?;
        {
            let mut facts = transaction.open_table(FACTS)?;
            let found = facts.get(SCHEMA)?.map(|found| found.value());
            match found {
                Some(Self::VERSION) => {}
                None => drop(facts.insert(SCHEMA, Self::VERSION)?),
                Some(other) => return Err(Fault::Broken(format!("it is of version {other}"))),
            }
            transaction.open_table(ANSWERS)?;
            transaction.open_table(AGES)?;
        }
        transaction.commit()?;
        let (mut bytes, mut next, mut listing) = (0_u64, 0, Vec::new());
        for entry in database.begin_read()?.open_table(AGES)?.iter()? {
            let (seq, entry) = entry?;
            let (digest, size) = entry.value();
            bytes = bytes.saturating_add(size);
            next = seq.value().saturating_add(1);
            listing.push((digest, seq.value()));
        }
        Ok(Self {
            database,
            payload_max: bytes_max / FILE_PER_PAYLOAD,
            bytes: AtomicU64::new(bytes),
            next: AtomicU64::new(next),
            entries: AtomicU64::new(listing.len() as u64),
            listing: Mutex::new(listing),
        })
    }

    /// What lay in the file when it was opened; once.
    pub(super) fn take_listing(&self) -> Vec<(Digest, u64)> {
        std::mem::take(&mut self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes that answers take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// An answer; what does not have its checksum is none.
    pub(super) fn get(&self, digest: &Digest) -> Result<Option<Found>, Fault> {
        let table = self.database.begin_read()?.open_table(ANSWERS)?;
        let Some(entry) = table.get(digest)? else { return Ok(None) };
        Ok(decode(digest, entry.value()))
    }

    /// Writes answers, and makes room for them.
    pub(super) fn put(&self, group: &[Write]) -> Result<Change, Fault> {
        let mut change = Change::default();
        let (mut bytes, mut entries) = (self.bytes(), self.entries.load(Ordering::Relaxed));
        let mut next = self.next.load(Ordering::Relaxed);
        let mut transaction = self.database.begin_write()?;
        // One sync a group: what is lost with the power was asked for once and can be asked for again.
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut answers = transaction.open_table(ANSWERS)?;
            let mut ages = transaction.open_table(AGES)?;
            for Write { digest, number, result } in group {
                if answers.get(digest)?.is_some() {
                    continue;
                }
                let size = result.len() as u64 + OVERHEAD;
                answers.insert(digest, encode(digest, next, *number, result).as_slice())?;
                ages.insert(next, (*digest, size))?;
                change.written.push((*digest, next));
                (bytes, entries, next) = (bytes + size, entries + 1, next + 1);
            }
            while bytes > self.payload_max || entries > ENTRIES_MAX {
                let Some((seq, entry)) = ages.pop_first()? else { break };
                let (digest, size) = entry.value();
                answers.remove(&digest)?;
                change.dropped.push((digest, seq.value()));
                (bytes, entries) = (bytes.saturating_sub(size), entries.saturating_sub(1));
            }
        }
        transaction.commit()?;
        self.bytes.store(bytes, Ordering::Relaxed);
        self.entries.store(entries, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        Ok(change)
    }
}

fn encode(digest: &Digest, seq: u64, number: u64, result: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + result.len());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&checksum(digest, number, result).to_be_bytes());
    out.extend_from_slice(result);
    out
}

fn decode(digest: &Digest, entry: &[u8]) -> Option<Found> {
    let (_, rest) = entry.split_first_chunk::<8>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (sum, result) = rest.split_first_chunk::<4>()?;
    let number = u64::from_be_bytes(*number);
    let is_whole = u32::from_be_bytes(*sum) == checksum(digest, number, result);
    // JSON is text: what is none cannot be an answer.
    (is_whole && std::str::from_utf8(result).is_ok())
        .then(|| Found { number, result: Bytes::copy_from_slice(result) })
}

fn checksum(digest: &Digest, number: u64, result: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(digest);
    sum.update(&number.to_be_bytes());
    sum.update(result);
    sum.sum()
}

/// What clients asked for is nobody else's business on this machine.
fn keep_to_owner(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // On file systems without permissions there are none to set.
        let _ = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600));
    }
    #[cfg(not(unix))]
    let _ = file;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(at: u64) -> Digest {
        *alloy_primitives::keccak256(at.to_be_bytes())
    }

    fn write(at: u64, bytes: usize) -> Write {
        Write { digest: digest(at), number: at, result: vec![b'1'; bytes].into() }
    }

    #[test]
    fn k4_what_was_written_is_there_after_the_file_was_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("answers.redb");
        let store = Store::open(&file, 1 << 24).unwrap();
        let change = store.put(&[write(1, 10), write(2, 20), write(1, 10)]).unwrap();
        assert_eq!(change.written.len(), 2);
        drop(store);
        let store = Store::open(&file, 1 << 24).unwrap();
        assert_eq!((store.take_listing().len(), store.bytes()), (2, 30 + 2 * OVERHEAD));
        assert_eq!(store.get(&digest(2)).unwrap().unwrap().result.len(), 20);
        assert_eq!(store.get(&digest(3)).unwrap(), None);
        // The order of age goes on where it was.
        assert_eq!(store.put(&[write(3, 5)]).unwrap().written, [(digest(3), 2)]);
    }

    #[test]
    fn k4_the_file_stays_within_its_bound_and_the_oldest_goes() {
        const BYTES_MAX: u64 = 8 << 20;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("answers.redb");
        let store = Store::open(&file, BYTES_MAX).unwrap();
        for round in 0..60 {
            let group: Vec<Write> =
                (0..50).map(|at| write(round * 50 + at, 2000 + (at as usize * 997) % 6000)).collect();
            store.put(&group).unwrap();
            assert!(store.bytes() <= BYTES_MAX / FILE_PER_PAYLOAD);
        }
        let length = std::fs::metadata(&file).unwrap().len();
        assert!(length <= BYTES_MAX * 5 / 4, "{length} bytes");
        assert_eq!(store.get(&digest(0)).unwrap(), None);
        assert!(store.get(&digest(2999)).unwrap().is_some());
    }

    #[test]
    fn k4_an_answer_with_a_wrong_bit_is_none() {
        let whole = encode(&digest(1), 7, 5, b"\"0x1\"");
        assert_eq!(decode(&digest(1), &whole).unwrap().number, 5);
        for at in 8..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert_eq!(decode(&digest(1), &broken), None, "bit of byte {at}");
        }
        assert_eq!(decode(&digest(2), &whole), None, "of another question");
        assert_eq!(decode(&digest(1), &whole[..12]), None);
    }
}
