//! What the journal costs: `cargo bench --bench journal`.
//!
//! Transactions written and synced, many at once and one after the other, on the disk that this folder lies on; then the file,
//! as a kill would leave it, opened and read; then what a gateway costs that looks after a few of them, and after all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use outrigger::chain::{BlockId, Fate};
use outrigger::config::Config;
use outrigger::gateway::Gateway;
use outrigger::journal::{Entry, Journal, JournalError, Record};
use tokio::task::JoinSet;

const ENTRIES: u64 = 100_000;
const AT_ONCE: usize = 64;
const ALONE: u64 = 200;
/// Before the cost of a gateway is measured, and how long.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);

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

/// Processor time in milliseconds, of all threads of this process.
fn cpu_ms() -> f64 {
    const MS_A_TICK: f64 = 10.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() * MS_A_TICK
}

/// Milliseconds of processor time a second that a gateway takes whose journal holds so many transactions that are in
/// blocks and not final: nothing is due for any of them. Nobody answers where its backend should be.
async fn idle_cost(path: &Path, entries: u64) -> f64 {
    let now_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |at| at.as_secs());
    let journal = Arc::new(Journal::open(path).expect("it is made"));
    let mut under_way: JoinSet<Result<(), JournalError>> = JoinSet::new();
    for n in 0..entries {
        let journal = journal.clone();
        let mut entry = entry(n);
        let block = BlockId { number: 20_000_000 + n / 100, hash: B256::from(U256::from(n / 100)) };
        entry.record.fate = Fate::Mined { block, index: n % 100 };
        (entry.record.submitted_at_s, entry.record.changed_at_s) = (now_s, now_s);
        while under_way.len() >= 1024 {
            under_way.join_next().await.expect("one is under way").expect("no panic").expect("written");
        }
        under_way.spawn(async move { journal.write(entry).await });
    }
    while let Some(written) = under_way.join_next().await {
        written.expect("no panic").expect("written");
    }
    drop(journal);
    let file = format!(
        "[transactions]\njournal = '{}'\n[chains.mainnet]\n[[chains.mainnet.backends]]\nname = \"nobody\"\n\
         url = \"http://127.0.0.1:9\"\n",
        path.display()
    );
    let config = Config::from_toml(&file, "bench", &|_| None).expect("a sound file");
    let gateway = Gateway::new(&config).expect("a gateway");
    assert_eq!(gateway.status().chains[0].transactions["mined"] as u64, entries);
    tokio::time::sleep(SETTLE).await;
    let began = cpu_ms();
    tokio::time::sleep(IDLE).await;
    (cpu_ms() - began) / IDLE.as_secs_f64()
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
    drop((records, reopened, journal));
    for entries in [100, 90_000] {
        let path = folder.path().join(format!("idle-{entries}"));
        println!(
            "a gateway over {entries}: {:.1} ms of processor time a second",
            idle_cost(&path, entries).await
        );
    }
}
