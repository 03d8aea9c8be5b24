//! What the journal costs: `cargo bench --bench journal`.
//!
//! Transactions written and synced, many at once and one after the other, on the disk that this folder lies on; then the file,
//! as a kill would leave it, opened and read.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use outrigger::chain::Fate;
use outrigger::journal::{Entry, Journal, JournalError, Record};
use tokio::task::JoinSet;

const ENTRIES: u64 = 100_000;
const AT_ONCE: usize = 64;
const ALONE: u64 = 200;

fn entry(n: u64) -> Entry {
    let record = Record {
        chain_id: 1,
        hash: B256::from(U256::from(n)),
        sender: Some(Address::with_last_byte(7)),
        nonce: Some(n),
        private: false,
        escalated: false,
        fate: Fate::Submitted,
        submitted_at_s: 4_000_000_000,
        changed_at_s: 4_000_000_000,
        resends: 0,
        told: Default::default(),
    };
    // A plain transfer of the dynamic fee kind.
    Entry { record, bytes: Bytes::from(vec![n as u8; 117]) }
}

async fn write(journal: &Arc<Journal>, numbers: std::ops::Range<u64>, at_once: usize) -> f64 {
    let began = Instant::now();
    let count = numbers.end - numbers.start;
    let mut under_way: JoinSet<Result<(), JournalError>> = JoinSet::new();
    for n in numbers {
        while under_way.len() >= at_once {
            under_way.join_next().await.expect("one is under way").expect("no panic").expect("written");
        }
        let journal = journal.clone();
        under_way.spawn(async move { journal.write(entry(n)).await });
    }
    while let Some(written) = under_way.join_next().await {
        written.expect("no panic").expect("written");
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Resident memory of this process, in MiB.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
        .expect("a folder on a disk");
    let path = folder.path().join("journal");
    let journal = Arc::new(Journal::open(&path).expect("it is made"));
    // The last ones first: the journal holds no more than it may, and drops the oldest.
    println!("one at a time: {:.0}/s", write(&journal, 0..ALONE, 1).await);
    println!(
        "{AT_ONCE} at once: {:.0}/s, each synced before it is told",
        write(&journal, ALONE..ENTRIES, AT_ONCE).await
    );
    let killed = folder.path().join("killed");
    std::fs::copy(&path, &killed).expect("copied");
    let (before, began) = (resident_mib(), Instant::now());
    let reopened = Journal::open(&killed).expect("it opens");
    let records = reopened.records().expect("read");
    println!(
        "{} entries opened and read in {:.2} s, {:.0} MiB more in memory, file {} MiB",
        records.len(),
        began.elapsed().as_secs_f64(),
        resident_mib() - before,
        std::fs::metadata(&killed).map_or(0, |file| file.len() >> 20)
    );
}
