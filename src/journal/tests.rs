//! What a disk can do to a journal: nothing acknowledged is lost, and nothing is there that was refused (T10).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, B256};
use bytes::Bytes;
use redb::{Builder, StorageBackend};

use super::store::Store;
use super::{Bounds, Entry, Journal, JournalError, Reader, Record};
use crate::chain::Fate;

fn entry(n: u64) -> Entry {
    let record = Record {
        chain_id: 1,
        hash: B256::with_last_byte(n as u8) | B256::from(alloy_primitives::U256::from(n)),
        sender: Some(Address::with_last_byte(7)),
        nonce: Some(n),
        private: false,
        escalated: false,
        fate: Fate::Submitted,
        submitted_at_s: 4_000_000_000,
        changed_at_s: 1_700_000_000 + n,
        resends: 0,
        told: Default::default(),
    };
    Entry { record, bytes: Bytes::from(vec![n as u8; 120]) }
}

/// What has to be done to a file.
#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Half of it is written, and an error.
    ShortWrite,
    /// All of it is written and none is synced, as far as the system says.
    Sync,
    /// Nothing fits any more.
    Full,
}

/// A file in memory that fails when it is told to, and remembers what was done to it.
#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    log: Vec<Op>,
    /// Operations that still go well, then what goes wrong with each.
    fault: Option<(usize, Fault)>,
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl Platter {
    fn apply(&mut self, op: &Op, part: usize) {
        match op {
            Op::Write(at, data) => {
                let at = *at as usize;
                self.bytes[at..at + part].copy_from_slice(&data[..part]);
            }
            Op::SetLen(len) => self.bytes.resize(*len as usize, 0),
            Op::Sync => {}
        }
    }

    fn perform(&mut self, op: Op) -> io::Result<()> {
        let size = match &op {
            Op::Write(_, data) => data.len(),
            _ => 0,
        };
        let fault = match &mut self.fault {
            Some((0, fault)) => Some(*fault),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        match (fault, &op) {
            (Some(Fault::ShortWrite), Op::Write(..)) => {
                self.apply(&op, size / 2);
                return full();
            }
            (Some(Fault::Sync), Op::Sync) => return Err(io::Error::other("fsync failed")),
            (Some(Fault::Full), Op::Write(..) | Op::SetLen(_)) => return full(),
            _ => {}
        }
        self.apply(&op, size);
        self.log.push(op);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let at = offset as usize;
        let there = platter.bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().perform(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().perform(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().perform(Op::Write(offset, data.to_vec()))
    }
}

impl Disk {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter { bytes, ..Platter::default() })))
    }

    fn store(&self) -> Result<Store, JournalError> {
        let disk = self.clone();
        Store::with(Path::new("memory"), move || {
            Builder::new().set_cache_size(1 << 20).create_with_backend(disk.clone())
        })
    }

    fn journal(&self, bounds: Bounds) -> Journal {
        Journal::over(self.store().expect("it opens"), bounds).expect("a thread")
    }

    fn image(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    fn fail(&self, fault: Option<(usize, Fault)>) {
        self.0.lock().unwrap().fault = fault;
    }

    /// What somebody finds who opens the file after the process was killed.
    fn found(&self) -> BTreeSet<u64> {
        found(&Self::of(self.image()).store().expect("it opens after a crash"))
    }
}

/// Nonces of the entries, each of which must be whole.
fn found(store: &Store) -> BTreeSet<u64> {
    let records = store.records().expect("it can be read");
    for record in &records {
        let expected = entry(record.nonce.unwrap());
        assert_eq!(*record, expected.record);
        assert_eq!(store.bytes(1, record.hash).expect("it can be read"), Some(expected.bytes));
    }
    records.iter().filter_map(|record| record.nonce).collect()
}

#[tokio::test]
async fn t10_what_is_written_is_there_after_a_kill() {
    let disk = Disk::default();
    let journal = disk.journal(Bounds::default());
    for n in 1..=3 {
        journal.write(entry(n)).await.expect("written");
        assert_eq!(disk.found(), (1..=n).collect());
    }
}

#[tokio::test]
async fn a_file_cut_at_any_byte_of_the_last_write_holds_all_before_it_and_the_last_whole_or_not() {
    let disk = Disk::default();
    let journal = disk.journal(Bounds::default());
    for n in 1..=3 {
        journal.write(entry(n)).await.expect("written");
    }
    let before = disk.image();
    disk.0.lock().unwrap().log.clear();
    journal.write(entry(4)).await.expect("written");
    let log = disk.0.lock().unwrap().log.clone();
    let (mut without, mut with) = (0, 0);
    let mut check = |image: Vec<u8>, what: &dyn Fn() -> String| {
        let store = Disk::of(image).store().unwrap_or_else(|error| panic!("{}: {error}", what()));
        let there = found(&store);
        match there.len() {
            3 => without += 1,
            _ => with += 1,
        }
        assert!(there.is_superset(&(1..=3).collect()) && there.is_subset(&(1..=4).collect()), "{}", what());
    };
    // A page that changes in a few places is cut around each of them: elsewhere a cut changes nothing.
    let mut image = Platter { bytes: before.clone(), ..Platter::default() };
    for (at, op) in log.iter().enumerate() {
        if let Op::Write(offset, data) = op {
            for (part, byte) in data.iter().enumerate() {
                if image.bytes[*offset as usize + part] == *byte {
                    continue;
                }
                let mut cut = Platter { bytes: image.bytes.clone(), ..Platter::default() };
                cut.apply(op, part);
                check(cut.bytes, &|| format!("operation {at} cut after {part} bytes"));
            }
        }
        let size = if let Op::Write(_, data) = op { data.len() } else { 0 };
        image.apply(op, size);
        check(image.bytes.clone(), &|| format!("after operation {at}"));
    }
    // Before the sync the disk may have any of the writes and not another.
    let synced = log.iter().position(|op| matches!(op, Op::Sync)).expect("it is synced");
    for lost in 0..synced {
        let mut image = Platter { bytes: before.clone(), ..Platter::default() };
        for (_, op) in log[..synced].iter().enumerate().filter(|(at, _)| *at != lost) {
            image.apply(op, if let Op::Write(_, data) = op { data.len() } else { 0 });
        }
        check(image.bytes, &|| format!("operation {lost} lost"));
    }
    assert!(without > 10 && with > 0, "{without} without it, {with} with it");
}

#[tokio::test]
async fn whatever_fails_whenever_what_was_taken_stays_and_what_was_refused_is_not_there() {
    for fault in [Fault::ShortWrite, Fault::Sync, Fault::Full] {
        let mut refused = 0;
        for good in 0..40 {
            let disk = Disk::default();
            let journal = disk.journal(Bounds::default());
            let mut taken = BTreeSet::new();
            for n in 1..=2 {
                journal.write(entry(n)).await.expect("written");
                taken.insert(n);
            }
            disk.fail(Some((good, fault)));
            for n in 3..=5 {
                match journal.write(entry(n)).await {
                    Ok(()) => drop(taken.insert(n)),
                    Err(error) => {
                        refused += 1;
                        assert!(
                            error.to_string().starts_with("the journal of transactions cannot be written: ")
                        );
                    }
                }
            }
            assert!(disk.found().is_superset(&taken), "{fault:?} after {good}");
            disk.fail(None);
            journal.write(entry(6)).await.expect("the disk is well again");
            taken.insert(6);
            assert_eq!(disk.found(), taken, "{fault:?} after {good}");
            assert_eq!(journal.records().expect("read").len(), taken.len());
        }
        assert!(refused > 10, "{fault:?} met {refused} writes");
    }
}

#[tokio::test]
async fn reads_go_on_while_the_disk_is_full() {
    let disk = Disk::default();
    let journal = disk.journal(Bounds::default());
    journal.write(entry(1)).await.expect("written");
    disk.fail(Some((0, Fault::ShortWrite)));
    let error = journal.write(entry(2)).await.expect_err("full");
    assert!(matches!(&error, JournalError::Unwritable { reason } if !reason.is_empty()), "{error}");
    disk.fail(None);
    assert_eq!(journal.bytes(1, entry(1).record.hash), Ok(Some(entry(1).bytes)));
}

#[tokio::test]
async fn many_that_wait_share_a_sync() {
    let disk = Disk::default();
    let journal = Arc::new(disk.journal(Bounds::default()));
    disk.0.lock().unwrap().log.clear();
    let all = (0..500).map(|n| {
        let journal = journal.clone();
        async move { journal.write(entry(n)).await }
    });
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    let syncs = disk.0.lock().unwrap().log.iter().filter(|op| matches!(op, Op::Sync)).count();
    assert!(syncs <= 50, "{syncs} syncs for 500 writes");
    assert_eq!(disk.found().len(), 500);
}

#[tokio::test]
async fn what_is_over_makes_room_the_oldest_first_and_what_is_under_way_does_not() {
    let journal =
        Disk::default().journal(Bounds { entries_max: 8, age_max_s: u64::MAX / 2, ..Bounds::default() });
    for n in 0..8 {
        journal.write(entry(n)).await.expect("room");
    }
    assert_eq!(journal.write(entry(8)).await, Err(JournalError::Full { entries: 8 }));
    for n in [5, 2] {
        let over = Record { fate: Fate::Expired, ..entry(n).record };
        journal.update(over).await.expect("written");
    }
    journal.write(entry(9)).await.expect("one has made room");
    let left: BTreeSet<_> = journal.records().expect("read").iter().filter_map(|r| r.nonce).collect();
    assert_eq!(left, [0, 1, 3, 4, 5, 6, 7, 9].into());
}

#[tokio::test]
async fn what_is_over_is_forgotten_after_its_time() {
    let disk = Disk::default();
    let journal = disk.journal(Bounds { age_max_s: 60, ..Bounds::default() });
    for n in 0..4 {
        journal.write(entry(n)).await.expect("written");
    }
    journal.update(Record { fate: Fate::Refused, ..entry(1).record }).await.expect("written");
    drop(journal);
    // The first write after the start tidies up.
    let journal = disk.journal(Bounds { age_max_s: 60, ..Bounds::default() });
    journal.write(entry(4)).await.expect("written");
    let left: BTreeSet<_> = journal.records().expect("read").iter().filter_map(|r| r.nonce).collect();
    assert_eq!(left, [0, 2, 3, 4].into());
}

#[tokio::test]
async fn a_second_process_is_told_and_a_reader_reads_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/journal");
    let journal = Journal::open(&path).expect("it is made");
    journal.write(entry(1)).await.expect("written");
    let told = Journal::open(&path).expect_err("it is in use").to_string();
    assert!(told.contains("in use by another process") && told.contains("transactions.journal"), "{told}");
    let reader = Reader::open(&path).expect("reading is free");
    assert_eq!(reader.records().expect("read"), [entry(1).record]);
    journal.write(entry(2)).await.expect("a reader is in nobody's way");
    drop((journal, reader));
    assert_eq!(Journal::open(&path).expect("it is free").records().expect("read").len(), 2);
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let disk = Disk::default();
    let store = disk.store().expect("it opens");
    {
        let database = store.database();
        let write = database.as_ref().unwrap().begin_write().unwrap();
        write.open_table(super::store::FACTS).unwrap().insert("schema", 99).unwrap();
        write.commit().unwrap();
    }
    drop(store);
    let told = disk.store().expect_err("it is newer").to_string();
    assert!(told.contains("schema 99"), "{told}");
}

#[test]
fn what_is_no_journal_is_told_so_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    std::fs::write(&path, "something else altogether").expect("written");
    let told = Journal::open(&path).expect_err("no journal").to_string();
    assert!(told.starts_with(&path.display().to_string()), "{told}");
    assert_eq!(std::fs::read(&path).expect("read"), b"something else altogether");
}
