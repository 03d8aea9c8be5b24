//! The file: a redb database of two tables, so that what changes often does not drag the signed bytes along.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use alloy_primitives::B256;
use bytes::Bytes;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable,
    TableDefinition, TableError,
};

use super::{JournalError, Record};

/// Chain id and hash.
pub(super) type Key = (u64, [u8; 32]);
/// [`Record`] as JSON.
pub(super) const RECORDS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("records");
/// The signed bytes.
pub(super) const BYTES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("bytes");
/// Facts of the file itself.
pub(super) const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
/// The name of the schema's version among them.
const SCHEMA: &str = "schema";
/// The form of what is written. Another one is not read.
pub(super) const VERSION: u64 = 1;
/// Pages kept in memory; the tree's upper ones are all that is asked for often.
const CACHE_BYTES: usize = 8 << 20;

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// The open file, and how to open it again after a failure: the database refuses everything after one.
pub(crate) struct Store {
    path: PathBuf,
    opener: Box<Opener>,
    database: RwLock<Option<Database>>,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unreadable(path, error))?;
        }
        let file = path.to_owned();
        Self::with(path, move || {
            let database = builder().create(&file)?;
            keep_to_owner(&file);
            Ok(database)
        })
    }

    /// The same over any storage.
    pub(super) fn with(
        path: &Path,
        opener: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, JournalError> {
        let store = Self { path: path.to_owned(), opener: Box::new(opener), database: RwLock::new(None) };
        store.reopen()?;
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file anew.
    pub(super) fn reopen(&self) -> Result<(), JournalError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the lock on the file.
        *database = None;
        let opened = (self.opener)().map_err(|error| self.cannot_open(error))?;
        match version(&opened).map_err(|error| unreadable(&self.path, error))? {
            Some(VERSION) => {}
            None => begin(&opened).map_err(|error| unreadable(&self.path, error))?,
            Some(found) => return Err(newer(&self.path, found)),
        }
        *database = Some(opened);
        Ok(())
    }

    /// The database, where it is open.
    pub(super) fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self, chain_id: u64, hash: B256) -> Result<Option<Bytes>, JournalError> {
        self.read(|database| bytes(database, chain_id, hash))
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, JournalError> {
        self.read(records)
    }

    fn read<T>(&self, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, JournalError> {
        if self.database().is_none() {
            self.reopen()?;
        }
        let database = self.database();
        let database =
            database.as_ref().ok_or_else(|| unreadable(&self.path, "it is closed after a failure"))?;
        read(database).map_err(|error| unreadable(&self.path, error))
    }

    fn cannot_open(&self, error: DatabaseError) -> JournalError {
        cannot_open(&self.path, error)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file while somebody else writes it.
pub(super) struct ReadOnly {
    path: PathBuf,
    database: ReadOnlyDatabase,
}

impl ReadOnly {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let database = builder().open_read_only(path).map_err(|error| cannot_open(path, error))?;
        match version(&database).map_err(|error| unreadable(path, error))? {
            Some(VERSION) => Ok(Self { path: path.to_owned(), database }),
            None => Err(unreadable(path, "it is no journal of transactions")),
            Some(found) => Err(newer(path, found)),
        }
    }

    pub(super) fn bytes(&self, chain_id: u64, hash: B256) -> Result<Option<Bytes>, JournalError> {
        bytes(&self.database, chain_id, hash).map_err(|error| unreadable(&self.path, error))
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, JournalError> {
        records(&self.database).map_err(|error| unreadable(&self.path, error))
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("path", &self.path).finish_non_exhaustive()
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // One writes, and `outrigger tx` reads meanwhile.
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(CACHE_BYTES);
    builder
}

fn version(database: &impl ReadableDatabase) -> Result<Option<u64>, redb::Error> {
    let read = database.begin_read()?;
    match read.open_table(FACTS) {
        Ok(facts) => Ok(facts.get(SCHEMA)?.map(|version| version.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the tables of a new file.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(FACTS)?.insert(SCHEMA, VERSION)?;
    write.open_table(RECORDS)?;
    write.open_table(BYTES)?;
    write.commit()?;
    Ok(())
}

fn bytes(database: &impl ReadableDatabase, chain_id: u64, hash: B256) -> Result<Option<Bytes>, redb::Error> {
    let table = database.begin_read()?.open_table(BYTES)?;
    Ok(table.get((chain_id, hash.0))?.map(|bytes| Bytes::copy_from_slice(bytes.value())))
}

/// One that cannot be read is passed over: it must not keep the others from being watched.
fn records(database: &impl ReadableDatabase) -> Result<Vec<Record>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        match serde_json::from_slice(value.value()) {
            Ok(record) => records.push(record),
            Err(error) => {
                let (chain_id, hash) = key.value();
                tracing::warn!(chain_id, hash = %B256::from(hash), %error, "a journalled transaction cannot be read");
            }
        }
    }
    Ok(records)
}

fn cannot_open(path: &Path, error: DatabaseError) -> JournalError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            JournalError::InUse { path: path.display().to_string() }
        }
        error => unreadable(path, error),
    }
}

pub(super) fn unreadable(path: &Path, reason: impl fmt::Display) -> JournalError {
    JournalError::Unreadable { path: path.display().to_string(), reason: reason.to_string() }
}

fn newer(path: &Path, found: u64) -> JournalError {
    JournalError::Newer { path: path.display().to_string(), found, known: VERSION }
}

/// What was not sent yet, or privately, is nobody else's to read.
#[cfg(unix)]
fn keep_to_owner(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

#[cfg(not(unix))]
fn keep_to_owner(_: &Path) {}
