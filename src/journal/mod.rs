//! Transactions on disk: what is written here before it is sent outlives the process.
//!
//! One file for all chains of a gateway. A write returns once it is synced; writes that wait at the same time share one
//! sync. A disk that is full or fails refuses transactions with its own words, and is tried again with the next one.

mod entry;
mod gaps;
mod store;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use alloy_primitives::B256;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use entry::{Entry, Record, Told};
pub use gaps::gaps;

use store::Store;
pub use usage::Usage;
use writer::{Order, Put};

/// Writes that may wait for the disk. Past it submissions wait for room, which is what slows senders down.
const WAITING_MAX: usize = 4096;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Transactions in all. Past it those that are over make room, the oldest first; where none is over, new ones are
    /// refused.
    pub(crate) entries_max: u64,
    /// Those that are over are forgotten after this, in seconds.
    pub(crate) age_max_s: u64,
    /// Whether room is made in a full file; the writer says no where it has just found none.
    looks_for_room: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries_max: 100_000, age_max_s: 7 * 24 * 3600, looks_for_room: true }
    }
}

/// Why the journal cannot be used, or a transaction not be written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Two processes would each know half of what was sent.
    #[error(
        "{path} is in use by another process: stop that one, or give this one a file of its own (transactions.journal)"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// It was written by a later version.
    #[error(
        "{path} was written by a later version (schema {found}, this one reads {known}): use that version, or another file"
    )]
    Newer {
        /// The file.
        path: String,
        /// The schema in the file.
        found: u64,
        /// The schema of this version.
        known: u64,
    },
    /// It cannot be opened or read.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's or the database's words.
        reason: String,
    },
    /// It cannot be written.
    #[error("the journal of transactions cannot be written: {reason}")]
    Unwritable {
        /// The system's or the database's words.
        reason: String,
    },
    /// Everything in it is still under way.
    #[error("the journal of transactions is full: {entries} are under way")]
    Full {
        /// How many.
        entries: u64,
    },
}

/// The journal. Dropping it waits for what is being written.
pub struct Journal {
    store: Arc<Store>,
    usage: Arc<Usage>,
    orders: Option<mpsc::Sender<Order>>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the file, or makes it and the folders above it.
    ///
    /// # Errors
    /// When another process has it, a later version wrote it, or it cannot be read or made.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::over(Store::open(path)?, Bounds::default())
    }

    pub(crate) fn over(store: Store, bounds: Bounds) -> Result<Self, JournalError> {
        let store = Arc::new(store);
        let (orders, received) = mpsc::channel(WAITING_MAX);
        let usage = Arc::new(Usage::default());
        let (writing, counting) = (store.clone(), usage.clone());
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer::run(&writing, received, bounds, &counting))
            .map_err(|error| JournalError::Unwritable { reason: error.to_string() })?;
        Ok(Self { store, usage, orders: Some(orders), writer: Some(writer) })
    }

    /// What was written since it was opened, and how long that took.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        self.store.path().to_owned()
    }

    /// Writes a transaction down; it is on disk when this returns.
    ///
    /// # Errors
    /// When it is not: then it must not be sent.
    pub async fn write(&self, entry: Entry) -> Result<(), JournalError> {
        self.order(Put::New(Box::new(entry))).await
    }

    /// Writes down what has become of a transaction that is there; it is on disk when this returns.
    ///
    /// # Errors
    /// When it is not.
    pub async fn update(&self, record: Record) -> Result<(), JournalError> {
        self.order(Put::Change(Box::new(record))).await
    }

    /// The same, and nobody waits for it: what is lost of it in a crash is found out again. Dropped where the disk is
    /// that far behind.
    pub fn note(&self, record: Record) {
        if let Some(orders) = &self.orders {
            let _ = orders.try_send(Order { put: Put::Change(Box::new(record)), done: None });
        }
    }

    /// The signed bytes of a transaction.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes(&self, chain_id: u64, hash: B256) -> Result<Option<Bytes>, JournalError> {
        self.store.bytes(chain_id, hash)
    }

    /// All there is, in no particular order, without the signed bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, JournalError> {
        self.store.records()
    }

    async fn order(&self, put: Put) -> Result<(), JournalError> {
        let gone = || JournalError::Unwritable { reason: "it is closed".to_owned() };
        let (done, written) = oneshot::channel();
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(Order { put, done: Some(done) }).await.map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been told by its own hook.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("path", &self.store.path()).finish_non_exhaustive()
    }
}

/// Reads a journal without changing it, also while a proxy writes it.
#[derive(Debug)]
pub struct Reader(store::ReadOnly);

impl Reader {
    /// Opens the file.
    ///
    /// # Errors
    /// When it is not there, was not closed well and nobody has it open, or a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self(store::ReadOnly::open(path)?))
    }

    /// See [`Journal::records`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, JournalError> {
        self.0.records()
    }

    /// See [`Journal::bytes`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes(&self, chain_id: u64, hash: B256) -> Result<Option<Bytes>, JournalError> {
        self.0.bytes(chain_id, hash)
    }
}
