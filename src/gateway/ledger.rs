//! The transactions of one chain that were handed in here: what has become of each, in memory and in the journal.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use bytes::Bytes;

use crate::chain::{Fate, Happened, Life, Next, next_nonce};
use crate::ethereum::RawTransaction;
use crate::journal::{Entry, Journal, JournalError, Record, Told, gaps};
use crate::policy::{Class, Timestamp};

use super::unix_time_s;
use due::{Due, Marks};

mod due;
#[cfg(test)]
mod tests;

/// Transactions in memory, those that are over included. Past it new ones are refused.
const ENTRIES_MAX: usize = 100_000;
/// Signed bytes in memory. Past it they are read from the journal when they are sent again; without one they are not.
const BYTES_MAX: usize = 64 << 20;
/// What is over is remembered this long: wallets ask for it.
const REMEMBERED_FOR_S: u64 = 3600;
/// Transactions under way whose senders are looked through for gaps, when somebody asks for the status.
const GAPS_SOUGHT_MAX: usize = 10_000;
/// A nonce that was told is not told lower for this long, while transactions of its sender are under way.
const TOLD_FOR: Duration = Duration::from_secs(120);
/// Several backends are asked for one sender's nonce no more often: what it sends here is known without them, and what it
/// sends elsewhere is not that urgent.
const ASKS_AROUND_EVERY: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    chain_id: u64,
    journal: Option<Arc<Journal>>,
    /// Private transactions stay private for so long; `None`: for ever.
    private_for: Option<Duration>,
    desk: Mutex<Desk>,
    /// The fate of some transaction has changed.
    pub(super) changed: tokio::sync::watch::Sender<u64>,
    /// Transactions that came to a fate since the start, in the order of [`Fate::NAMES`].
    fates: [AtomicU64; Fate::NAMES.len()],
    resends: AtomicU64,
}

#[derive(Debug, Default)]
struct Desk {
    by_hash: HashMap<B256, Kept>,
    by_sender: HashMap<Address, Sender>,
    due: Due,
    /// What the chain has grown to.
    height: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    life: Life,
    record: Record,
    bytes: Option<Bytes>,
    /// Clients that are being answered: until then nobody looks after it.
    submitting: u32,
    /// Where it stands among what is due.
    marks: Marks,
}

#[derive(Debug, Default)]
struct Sender {
    by_nonce: BTreeMap<u64, Vec<B256>>,
    /// The next nonce with what is pending, as it was told last.
    pending: Option<(u64, Timestamp)>,
    /// When several backends were asked for it last.
    asked_around: Option<Timestamp>,
    /// The same in the chain, and the height that it was read at.
    mined: (u64, u64),
}

/// What is there of a transaction that is handed in.
pub(super) enum Begun {
    /// It is written down, and is to be sent.
    New,
    /// It was taken before.
    Promised(Fate),
}

impl Ledger {
    /// Takes up what the journal holds of this chain.
    pub(super) fn new(
        chain_id: u64,
        journal: Option<Arc<Journal>>,
        records: &[Record],
        private_for: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        let mut desk = Desk::default();
        let now_s = unix_time_s();
        for record in records.iter().filter(|record| record.chain_id == chain_id) {
            // A clock that was set back makes an age of zero.
            let since = |at_s: u64| now_s.saturating_sub(at_s);
            if !record.fate.is_open() && since(record.changed_at_s) > REMEMBERED_FOR_S {
                continue;
            }
            let mut record = record.clone();
            if record.fate == Fate::Submitted {
                // Its sender may have been told that it is out, a moment before the end.
                record.fate = Fate::Pending;
            }
            let age = Duration::from_secs(since(record.submitted_at_s)).max(Duration::from_millis(1));
            let mut life = Life::resume(now, record.nonce, 0, record.fate, age);
            if record.is_secret() {
                life = life.privately(private_for.map(|d| now + d.saturating_sub(age)));
            }
            desk.put(life, record, None, 0);
        }
        let changed = tokio::sync::watch::Sender::new(0);
        let (fates, resends) = Default::default();
        Self { chain_id, journal, private_for, desk: Mutex::new(desk), changed, fates, resends }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a transaction down that a client hands in. [`Self::answered`] must follow, unless this fails.
    pub(super) async fn begin(
        &self,
        now: Timestamp,
        height: u64,
        transaction: &RawTransaction,
        bytes: Bytes,
        private: bool,
    ) -> Result<Begun, JournalError> {
        let (hash, sender) = (transaction.hash(), transaction.sender());
        let at_s = unix_time_s();
        let begun = |nonce| {
            let life = Life::begin(now, nonce, height);
            if private { life.privately(self.private_for.map(|d| now + d)) } else { life }
        };
        let (record, is_new) = {
            let mut desk = self.desk();
            let full = desk.by_hash.len() >= ENTRIES_MAX;
            let known = desk.change(&hash, |kept, _| {
                kept.submitting += 1;
                if kept.submitting == 1 && !kept.record.fate.was_promised() {
                    // It was refused, or expired: handed in anew it has a life anew.
                    kept.life = begun(kept.record.nonce);
                    (kept.record.private, kept.record.escalated) = (private, false);
                    kept.record.fate = Fate::Submitted;
                    (kept.record.submitted_at_s, kept.record.changed_at_s) = (at_s, at_s);
                }
                kept.record.clone()
            });
            match known {
                Some(record) if record.fate.was_promised() => return Ok(Begun::Promised(record.fate)),
                Some(record) => (record, false),
                None if full => return Err(JournalError::Full { entries: ENTRIES_MAX as u64 }),
                None => {
                    let record = Record {
                        chain_id: self.chain_id,
                        hash,
                        sender,
                        nonce: transaction.nonce(),
                        private,
                        escalated: false,
                        fate: Fate::Submitted,
                        submitted_at_s: at_s,
                        changed_at_s: at_s,
                        resends: 0,
                        told: BTreeMap::new(),
                    };
                    let life = begun(record.nonce);
                    desk.put(life, record.clone(), Some(bytes.clone()), 1);
                    (record, true)
                }
            }
        };
        let Some(journal) = &self.journal else {
            self.count(Fate::Submitted);
            return Ok(Begun::New);
        };
        // The one who comes second writes too: its sync is not earlier than the first one's.
        let mut written = journal.write(Entry { record: record.clone(), bytes }).await;
        if written.is_ok() && !is_new {
            written = journal.update(record).await;
        }
        if let Err(error) = written {
            let mut desk = self.desk();
            if let Some(kept) = desk.by_hash.get_mut(&hash) {
                kept.submitting -= 1;
                if kept.submitting == 0 && kept.life.fate() == Fate::Submitted {
                    desk.remove(&hash);
                }
            }
            return Err(error);
        }
        self.count(Fate::Submitted);
        Ok(Begun::New)
    }

    /// The client is being answered with this. A refusal is on disk when this returns: what was refused is not sent
    /// after a restart.
    pub(super) async fn answered(&self, now: Timestamp, hash: B256, happened: Option<Happened>) {
        let record = {
            let mut desk = self.desk();
            desk.change(&hash, |kept, height| {
                kept.submitting = kept.submitting.saturating_sub(1);
                // Somebody else is about to be told something else.
                let happened = happened.filter(|_| kept.submitting == 0);
                happened.and_then(|happened| kept.on(now, height, happened).1)
            })
        };
        let Some(record) = record.flatten() else { return };
        self.count(record.fate);
        self.tell_change();
        let Some(journal) = &self.journal else { return };
        match record.fate {
            Fate::Refused | Fate::Held => {
                if let Err(error) = journal.update(record).await {
                    tracing::error!(%hash, %error, "what became of a transaction is not written down");
                }
            }
            _ => journal.note(record),
        }
    }

    /// Tells a transaction what happened; what is to be done about it.
    pub(super) fn tell(&self, now: Timestamp, hash: B256, happened: Happened) -> Next {
        let (next, record) = {
            let mut desk = self.desk();
            let told = desk.change(&hash, |kept, height| {
                if kept.submitting > 0 && !matches!(happened, Happened::Taken(_) | Happened::Included(..)) {
                    return (Next::Nothing, None);
                }
                kept.on(now, height, happened)
            });
            told.unwrap_or((Next::Nothing, None))
        };
        self.keep(record);
        next
    }

    /// The same for all of them that it concerns: those that something is to be done about, in the order of senders and
    /// nonces, at most `max`. The others are told the next time.
    pub(super) fn tell_all(&self, now: Timestamp, happened: Happened, max: usize) -> Vec<(B256, Next)> {
        let mut to_do = Vec::new();
        let mut changed = Vec::new();
        {
            let mut desk = self.desk();
            if let Happened::Grown(height) = happened {
                desk.height = desk.height.max(height);
            }
            for hash in desk.concerned(now, happened, max) {
                let told = desk.change(&hash, |kept, height| {
                    if kept.submitting > 0 {
                        return None;
                    }
                    let (next, record) = kept.on(now, height, happened);
                    changed.extend(record);
                    (next != Next::Nothing).then_some((kept.record.sender, kept.record.nonce, hash, next))
                });
                to_do.extend(told.flatten());
                if to_do.len() >= max {
                    break;
                }
            }
        }
        for record in changed {
            self.keep(Some(record));
        }
        to_do.sort_unstable_by_key(|(sender, nonce, hash, _)| (*sender, *nonce, *hash));
        to_do.into_iter().map(|(.., hash, next)| (hash, next)).collect()
    }

    /// A block of the served chain holds these transactions.
    pub(super) fn included(&self, now: Timestamp, block: crate::chain::BlockId, hashes: &[B256]) {
        for (index, hash) in (0..).zip(hashes) {
            self.tell(now, *hash, Happened::Included(block, index));
            let rivals: Vec<B256> = {
                let desk = self.desk();
                let place = desk.by_hash.get(hash).and_then(|k| Some((k.record.sender?, k.record.nonce?)));
                let same =
                    place.and_then(|(sender, nonce)| desk.by_sender.get(&sender)?.by_nonce.get(&nonce));
                same.into_iter().flatten().filter(|other| *other != hash).copied().collect()
            };
            for rival in rivals {
                self.tell(now, rival, Happened::Outrun { by: *hash, height: block.number });
            }
        }
    }

    /// A backend answered a transaction with this.
    pub(super) fn heard(&self, hash: B256, backend: &str, class: Class, resent: bool) {
        /// As many as a chain may have backends.
        const TOLD_MAX: usize = 64;
        self.resends.fetch_add(u64::from(resent), Ordering::Relaxed);
        let mut desk = self.desk();
        let Some(kept) = desk.by_hash.get_mut(&hash) else { return };
        kept.record.resends += u32::from(resent);
        let told = Told { class: class.name().to_owned(), at_s: unix_time_s() };
        if kept.record.told.len() < TOLD_MAX || kept.record.told.contains_key(backend) {
            kept.record.told.insert(backend.to_owned(), told);
        }
    }

    fn keep(&self, record: Option<Record>) {
        let Some(record) = record else { return };
        self.count(record.fate);
        self.tell_change();
        if let Some(journal) = &self.journal {
            journal.note(record);
        }
    }

    fn count(&self, fate: Fate) {
        if let Some(at) = Fate::NAMES.iter().position(|name| *name == fate.name()) {
            self.fates[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where they are written down, if anywhere.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    /// How many transactions came to each fate since the start; one may come to several after another.
    pub(super) fn fates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fate::NAMES.into_iter().zip(&self.fates).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// How often a transaction was sent to a backend again since the start.
    pub(super) fn resends(&self) -> u64 {
        self.resends.load(Ordering::Relaxed)
    }

    fn tell_change(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Forgets what is over for a while. `settled` is the height up to which blocks no longer change.
    pub(super) fn tidy(&self, settled: u64) {
        let now_s = unix_time_s();
        let mut desk = self.desk();
        let is_settled = |hash: &B256| {
            let kept = desk.by_hash.get(hash);
            kept.is_some_and(|kept| kept.submitting == 0 && kept.life.is_settled(settled))
        };
        let over: Vec<B256> =
            desk.due.over_before(now_s.saturating_sub(REMEMBERED_FOR_S)).filter(is_settled).collect();
        for hash in &over {
            desk.remove(hash);
        }
    }

    /// Whether any is under way, or in a block that may still change.
    pub(super) fn has_work(&self) -> bool {
        let desk = self.desk();
        WORK.iter().any(|fate| desk.due.count(fate) > 0)
    }

    /// How many there are by what has become of them.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let desk = self.desk();
        Fate::NAMES.into_iter().map(|name| (name, desk.due.count(name))).collect()
    }

    /// How many of those under way wait for a nonce that nobody has sent; of very many, among some of them.
    pub(super) fn behind_a_gap(&self) -> usize {
        let desk = self.desk();
        let under_way = desk.due.open().take(GAPS_SOUGHT_MAX).filter_map(|hash| desk.by_hash.get(&hash));
        let senders: HashSet<Address> = under_way.filter_map(|kept| kept.record.sender).collect();
        let theirs = senders.iter().filter_map(|sender| desk.by_sender.get(sender));
        let hashes = theirs.flat_map(|sender| sender.by_nonce.values().flatten());
        gaps(hashes.filter_map(|hash| desk.by_hash.get(hash)).map(|kept| &kept.record)).len()
    }

    /// What is known of one.
    pub(super) fn record(&self, hash: &B256) -> Option<Record> {
        self.desk().by_hash.get(hash).map(|kept| kept.record.clone())
    }

    /// What has become of one.
    pub(super) fn fate(&self, hash: &B256) -> Option<Fate> {
        self.desk().by_hash.get(hash).map(|kept| kept.record.fate)
    }

    /// Who is known to have it.
    pub(super) fn taken_by(&self, hash: &B256) -> crate::policy::BackendSet {
        self.desk().by_hash.get(hash).map(|kept| kept.life.taken_by()).unwrap_or_default()
    }

    /// Public backends get a private transaction from now on; whether it is there.
    pub(super) fn escalate(&self, hash: &B256) -> bool {
        let record = self.desk().by_hash.get_mut(hash).map(|kept| {
            kept.record.escalated = true;
            kept.record.clone()
        });
        let is_there = record.is_some();
        self.keep(record);
        is_there
    }

    /// The transaction of a sender that was taken with this nonce.
    pub(super) fn promised_of(&self, sender: Address, nonce: u64) -> Option<B256> {
        let desk = self.desk();
        let hashes = desk.by_sender.get(&sender)?.by_nonce.get(&nonce)?;
        hashes
            .iter()
            .rev()
            .find(|hash| desk.by_hash.get(*hash).is_some_and(|k| k.record.fate.was_promised()))
            .copied()
    }

    /// Its signed bytes.
    pub(super) fn bytes(&self, hash: &B256) -> Option<Bytes> {
        if let Some(bytes) = self.desk().by_hash.get(hash)?.bytes.clone() {
            return Some(bytes);
        }
        let bytes = match self.journal.as_ref()?.bytes(self.chain_id, *hash) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::error!(%hash, %error, "a transaction's bytes cannot be read");
                return None;
            }
        };
        let mut desk = self.desk();
        if desk.bytes + bytes.len() <= BYTES_MAX
            && let Some(kept) = desk.by_hash.get_mut(hash)
            && kept.bytes.is_none()
        {
            kept.bytes = Some(bytes.clone());
            desk.bytes += bytes.len();
        }
        Some(bytes)
    }

    /// Whether this sender hands in here, or did lately.
    pub(super) fn knows(&self, sender: Address) -> bool {
        self.desk().by_sender.contains_key(&sender)
    }

    /// The same, and whether several backends may be asked for its nonce again; they are taken to be.
    pub(super) fn may_ask_around(&self, now: Timestamp, sender: Address) -> bool {
        let mut desk = self.desk();
        let Some(known) = desk.by_sender.get_mut(&sender) else { return false };
        let may = known.asked_around.is_none_or(|at| now.since(at) >= ASKS_AROUND_EVERY);
        if may {
            known.asked_around = Some(now);
        }
        may
    }

    /// The next nonce with what is pending, where backends say `told`: as the transactions that were handed in here make
    /// it, and not lower than it was a moment ago unless one that was counted on is lost.
    pub(super) fn pending_nonce(&self, now: Timestamp, sender: Address, told: u64) -> u64 {
        let mut desk = self.desk();
        let Desk { by_hash, by_sender, .. } = &mut *desk;
        let Some(known) = by_sender.get_mut(&sender) else { return told };
        let any = |hashes: &[B256], is: &dyn Fn(Fate) -> bool| {
            hashes.iter().any(|hash| by_hash.get(hash).is_some_and(|kept| is(kept.record.fate)))
        };
        let is_promised = |hashes: &[B256]| any(hashes, &Fate::was_promised);
        // Its nonce is used, if by another.
        let is_used = |hashes: &[B256]| {
            any(hashes, &|fate| fate.was_promised() || matches!(fate, Fate::Replaced { .. }))
        };
        let told = told.max(known.mined.0);
        let is_fresh = |at: Timestamp| now.since(at) < TOLD_FOR;
        let before = known.pending.filter(|(_, at)| is_fresh(*at)).map_or(0, |(nonce, _)| nonce);
        // Who has nothing under way here sends by other ways too: what backends say now is all there is.
        // Only what several of them told a moment ago holds until they are asked again.
        let asked_lately = known.asked_around.is_some_and(|at| now.since(at) < ASKS_AROUND_EVERY);
        let holds = asked_lately || known.by_nonce.values().any(|hashes| is_promised(hashes));
        let before = if holds { before } else { 0 };
        // One that was refused, or is still being answered, was never counted on: it tells nothing of its nonce.
        let tells = |hashes: &[B256]| any(hashes, &|fate| !matches!(fate, Fate::Submitted | Fate::Refused));
        let from_told = known.by_nonce.range(told..).filter(|(_, hashes)| tells(hashes));
        let nonce = next_nonce(told, before, from_told.map(|(nonce, hashes)| (*nonce, is_used(hashes))));
        // What is only remembered is not remembered for longer by being told again.
        if nonce != before || told >= before {
            known.pending = Some((nonce, now));
        }
        nonce
    }

    /// A client is told that this is the sender's next nonce in the chain, at this height.
    pub(super) fn showed_mined_nonce(&self, sender: Address, nonce: u64, height: u64) {
        if let Some(known) = self.desk().by_sender.get_mut(&sender)
            && nonce != known.mined.0
        {
            known.mined = (nonce, height);
        }
    }

    /// The height at which clients were shown that this transaction's nonce is used, if they were.
    pub(super) fn shown_used_at(&self, hash: &B256) -> Option<u64> {
        let desk = self.desk();
        let record = &desk.by_hash.get(hash)?.record;
        let (next, height) = desk.by_sender.get(&record.sender?)?.mined;
        (next > record.nonce?).then_some(height)
    }

    /// Takes one back that waits for a way out; `false` where it does not. It is on disk when this returns.
    pub(super) async fn cancel_held(&self, now: Timestamp, hash: B256) -> Result<bool, JournalError> {
        if self.fate(&hash) != Some(Fate::Held) {
            return Ok(false);
        }
        self.tell(now, hash, Happened::Cancelled);
        let Some(record) = self.record(&hash).filter(|record| record.fate == Fate::Cancelled) else {
            return Ok(false);
        };
        if let Some(journal) = &self.journal {
            journal.update(record).await?;
        }
        Ok(true)
    }
}

/// The names of what somebody has to look after.
const WORK: [&str; 5] = ["submitted", "held", "pending", "dropped", "mined"];

impl Kept {
    /// The record where the fate has changed. The chain has grown to `height`.
    fn on(&mut self, now: Timestamp, height: u64, happened: Happened) -> (Next, Option<Record>) {
        self.life.reached(height);
        let next = self.life.on(now, happened);
        if self.life.fate() == self.record.fate {
            return (next, None);
        }
        self.record.fate = self.life.fate();
        self.record.changed_at_s = unix_time_s();
        (next, Some(self.record.clone()))
    }
}

impl Desk {
    fn put(&mut self, life: Life, record: Record, bytes: Option<Bytes>, submitting: u32) {
        let hash = record.hash;
        let marks = Marks::of(&life, &record, submitting > 0);
        let mut kept = Kept { life, record, bytes, submitting, marks };
        self.due.add(&marks);
        if let (Some(sender), Some(nonce)) = (kept.record.sender, kept.record.nonce) {
            self.by_sender.entry(sender).or_default().by_nonce.entry(nonce).or_default().push(hash);
        }
        let size = kept.bytes.as_ref().map_or(0, Bytes::len);
        if self.bytes + size > BYTES_MAX {
            kept.bytes = None;
        } else {
            self.bytes += size;
        }
        self.by_hash.insert(hash, kept);
    }

    /// Changes one of them, and with it what is due.
    fn change<T>(&mut self, hash: &B256, change: impl FnOnce(&mut Kept, u64) -> T) -> Option<T> {
        let kept = self.by_hash.get_mut(hash)?;
        let changed = change(kept, self.height);
        let marks = Marks::of(&kept.life, &kept.record, kept.submitting > 0);
        if marks != kept.marks {
            self.due.remove(&kept.marks);
            self.due.add(&marks);
            kept.marks = marks;
        }
        Some(changed)
    }

    /// Those that what happened may concern. Of those that are due `max` are enough: each says something.
    fn concerned(&self, now: Timestamp, happened: Happened, max: usize) -> Vec<B256> {
        match happened {
            Happened::Grown(_) => self.due.at_height(self.height).take(max).collect(),
            Happened::Tick { is_reachable } => {
                // Whoever is among several is told again, and has nothing to say then.
                let looked_for = self.due.at_height(self.height).take(max);
                let held = self.due.held().filter(|_| is_reachable);
                self.due.at_time(now).take(max).chain(looked_for).chain(held).collect()
            }
            Happened::Served(block) => self.due.on_blocks(block.number..=block.number).collect(),
            Happened::RolledBackTo(height) => self.due.on_blocks(height..).collect(),
            Happened::Settled(height) => self.due.on_blocks(..=height).collect(),
            // What concerns one transaction is told to that one.
            _ => Vec::new(),
        }
    }

    fn remove(&mut self, hash: &B256) {
        let Some(kept) = self.by_hash.remove(hash) else { return };
        self.due.remove(&kept.marks);
        self.bytes -= kept.bytes.as_ref().map_or(0, Bytes::len);
        let (Some(sender), Some(nonce)) = (kept.record.sender, kept.record.nonce) else { return };
        let Some(known) = self.by_sender.get_mut(&sender) else { return };
        if let Some(hashes) = known.by_nonce.get_mut(&nonce) {
            hashes.retain(|other| other != hash);
            if hashes.is_empty() {
                known.by_nonce.remove(&nonce);
            }
        }
        if known.by_nonce.is_empty() {
            self.by_sender.remove(&sender);
        }
    }
}
