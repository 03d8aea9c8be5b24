//! The one thread that writes. Everything that waits when it comes back from a sync goes into the next one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{Durability, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use crate::chain::EXPIRES_AFTER;

use super::store::{BYTES, Key, RECORDS, Store};
use super::usage::Usage;
use super::{Bounds, Entry, JournalError, Record};

/// Writes that share one sync.
const GROUP_MAX: usize = 1024;
/// Signed bytes that share one sync: with sidecars a transaction may have two megabytes.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// What is over and old is looked for this often.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// While the disk fails, so many writes that failed are remembered.
const UNDO_MAX: usize = 100_000;
/// In a full file nobody looks for room again before this: it takes a third of a second.
const FULL_FOR: Duration = Duration::from_secs(5);
/// When the file is full, so many make room at once that this stays rare.
const ROOM_SHARE: u64 = 16;

/// What is to be written.
pub(super) enum Put {
    /// A transaction that is new. Where it is there already, it stays as it is.
    New(Box<Entry>),
    /// What has become of one that is there.
    Change(Box<Record>),
}

/// One write, and who waits for it.
pub(super) struct Order {
    pub(super) put: Put,
    pub(super) done: Option<oneshot::Sender<Result<(), JournalError>>>,
}

impl Order {
    fn bytes(&self) -> usize {
        match &self.put {
            Put::New(entry) => entry.bytes.len(),
            Put::Change(_) => 0,
        }
    }
}

/// Writes until the last sender is gone.
pub(super) fn run(store: &Store, mut orders: mpsc::Receiver<Order>, bounds: Bounds, usage: &Usage) {
    let mut tidied_at: Option<Instant> = None;
    let mut undo = Vec::new();
    let mut full_at: Option<Instant> = None;
    while let Some(first) = orders.blocking_recv() {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && bytes < GROUP_BYTES_MAX
            && let Ok(next) = orders.try_recv()
        {
            bytes += next.bytes();
            group.push(next);
        }
        let ends = |order: &Order| matches!(&order.put, Put::Change(record) if !record.fate.is_open());
        if group.iter().any(ends) {
            full_at = None;
        }
        let full = full_at.is_some_and(|at| at.elapsed() < FULL_FOR);
        let bounds = Bounds { looks_for_room: !full, ..bounds };
        let tidy = !full && tidied_at.is_none_or(|at| at.elapsed() >= TIDY_EVERY);
        let began = Instant::now();
        let written = write(store, &group, bounds, tidy, &mut undo);
        usage.count(began.elapsed(), group.len(), written.is_ok());
        if tidy && written.is_ok() {
            tidied_at = Some(Instant::now());
        }
        let is_full = |refused: &Option<JournalError>| matches!(refused, Some(JournalError::Full { .. }));
        if !full && written.as_ref().is_ok_and(|each| each.iter().any(is_full)) {
            full_at = Some(Instant::now());
        }
        for (order, result) in group.into_iter().zip(results(written)) {
            if let Some(done) = order.done {
                // Whoever asked may be gone.
                let _ = done.send(result);
            }
        }
    }
}

/// The result of each order of a group.
fn results(
    written: Result<Vec<Option<JournalError>>, JournalError>,
) -> impl Iterator<Item = Result<(), JournalError>> {
    let (each, all) = match written {
        Ok(each) => (each, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut each = each.into_iter();
    std::iter::from_fn(move || {
        let refused = all.clone().or_else(|| each.next().flatten());
        Some(refused.map_or(Ok(()), Err))
    })
}

/// Writes a group and syncs it. After a failure the file is opened anew: the database refuses everything until then.
///
/// What was written and could not be synced may be in the file all the same. Its senders are told that it was not sent,
/// so it must not be sent after a restart: `undo` is what has to be taken out of the file, with the next write if not at
/// once.
fn write(
    store: &Store,
    group: &[Order],
    bounds: Bounds,
    tidy: bool,
    undo: &mut Vec<Key>,
) -> Result<Vec<Option<JournalError>>, JournalError> {
    if store.database().is_none() {
        store.reopen().map_err(|error| JournalError::Unwritable { reason: error.to_string() })?;
    }
    let mut begun = Vec::new();
    let failed = match commit(store, group, bounds, tidy, undo, &mut begun) {
        Ok(written) => {
            undo.clear();
            return Ok(written);
        }
        Err(error) => error,
    };
    tracing::error!(file = %store.path().display(), error = %failed, "the journal cannot be written");
    undo.append(&mut begun);
    let mended = store.reopen().map_err(|error| error.to_string());
    match mended.and_then(|()| {
        commit(store, &[], bounds, false, undo, &mut Vec::new()).map_err(|error| error.to_string())
    }) {
        Ok(_) => undo.clear(),
        Err(error) => {
            tracing::error!(file = %store.path().display(), %error, "the journal cannot be mended yet");
            undo.truncate(UNDO_MAX);
        }
    }
    Err(JournalError::Unwritable { reason: failed.to_string() })
}

fn commit(
    store: &Store,
    group: &[Order],
    bounds: Bounds,
    tidy: bool,
    undo: &[Key],
    begun: &mut Vec<Key>,
) -> Result<Vec<Option<JournalError>>, redb::Error> {
    let database = store.database();
    let Some(database) = database.as_ref() else {
        return Err(redb::Error::Io(std::io::Error::other("it is closed after a failure")));
    };
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    let arriving = group.iter().filter(|order| matches!(order.put, Put::New(_))).count() as u64;
    let kept = make_room(&write, arriving, bounds, tidy)?;
    let mut room = bounds.entries_max.saturating_sub(kept);
    let mut refused = Vec::with_capacity(group.len());
    {
        let mut records = write.open_table(RECORDS)?;
        let mut all_bytes = write.open_table(BYTES)?;
        for key in undo {
            records.remove(key)?;
            all_bytes.remove(key)?;
        }
        for order in group {
            let (record, bytes) = match &order.put {
                Put::New(entry) => (&entry.record, Some(&entry.bytes)),
                Put::Change(record) => (&**record, None),
            };
            let key: Key = (record.chain_id, record.hash.0);
            let is_there = records.get(key)?.is_some();
            refused.push(match bytes {
                Some(_) if is_there => None,
                Some(_) if room == 0 => Some(JournalError::Full { entries: kept }),
                Some(bytes) => {
                    room -= 1;
                    begun.push(key);
                    all_bytes.insert(key, &**bytes)?;
                    records.insert(key, &*text(record)?)?;
                    None
                }
                None => {
                    if is_there {
                        records.insert(key, &*text(record)?)?;
                    }
                    None
                }
            });
        }
    }
    write.commit()?;
    Ok(refused)
}

fn text(record: &Record) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(record).map_err(|error| redb::Error::Io(error.into()))
}

/// Forgets what is over and old, and more of what is over where `arriving` ones would find no room. Gives how many are
/// left.
fn make_room(
    write: &WriteTransaction,
    arriving: u64,
    bounds: Bounds,
    tidy: bool,
) -> Result<u64, redb::Error> {
    let mut records = write.open_table(RECORDS)?;
    let kept = records.len()?;
    let short_of = (kept + arriving).saturating_sub(bounds.entries_max);
    if !tidy && (short_of == 0 || !bounds.looks_for_room) {
        return Ok(kept);
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut over: Vec<(u64, Key)> = Vec::new();
    for entry in records.iter()? {
        let (key, value) = entry?;
        // What cannot be read is of use to nobody.
        match serde_json::from_slice::<Record>(value.value()) {
            Ok(record) if record.fate.is_open() && !is_forgotten(&record, now_s, bounds) => {}
            Ok(record) => over.push((record.changed_at_s, key.value())),
            Err(_) => over.push((0, key.value())),
        }
    }
    over.sort_unstable();
    let must_go = match short_of {
        0 => 0,
        short_of => short_of + bounds.entries_max / ROOM_SHARE,
    };
    let mut all_bytes = write.open_table(BYTES)?;
    let mut gone = 0;
    for (changed_at_s, key) in over {
        if gone >= must_go && changed_at_s.saturating_add(bounds.age_max_s) > now_s {
            break;
        }
        records.remove(key)?;
        all_bytes.remove(key)?;
        gone += 1;
    }
    Ok(kept - gone)
}

/// Of a chain that is configured no more: nobody ends what is under way there.
fn is_forgotten(record: &Record, now_s: u64, bounds: Bounds) -> bool {
    let end_s =
        record.submitted_at_s.saturating_add(EXPIRES_AFTER.as_secs()).saturating_add(bounds.age_max_s);
    end_s < now_s
}
