//! Metrics of a gateway, in the text that Prometheus reads.
//!
//! Nothing is collected beforehand: counters that requests add to, and what the status page tells, are read when somebody
//! asks. Labels are names of the configuration and of static tables, so that no client can make one more of them.

mod backends;
mod families;
#[cfg(test)]
mod tests;

use crate::ethereum::MethodClass;
use crate::journal;
use crate::telemetry::exposition::Value;
use crate::telemetry::{Exposition, Family, Format};

use super::chain::Chain;
use super::packet::Source;
use super::status::{ChainStatus, Status};
use super::tally::Happenings;
use super::{CacheStatus, Gateway};
use families as f;

/// One chain at the moment of the scrape.
struct Seen<'a> {
    chain: &'a Chain,
    status: ChainStatus,
    happened: Happenings,
}

impl Seen<'_> {
    fn name(&self) -> &str {
        &self.status.name
    }
}

impl Gateway {
    /// Metrics of all chains as text, with names that begin with `outrigger_`. `docs/metrics.md` lists them. A scrape of
    /// ten chains with eight backends each takes a few milliseconds.
    ///
    /// ```no_run
    /// # fn example(gateway: outrigger::Gateway) {
    /// use outrigger::telemetry::Format;
    /// println!("{}", gateway.metrics(Format::Prometheus));
    /// # }
    /// ```
    pub fn metrics(&self, format: Format) -> String {
        let mut exposition = Exposition::new(format);
        self.write_metrics(&mut exposition);
        exposition.finish()
    }

    /// Adds them to a text that has other families too.
    pub fn write_metrics(&self, to: &mut Exposition) {
        let Status { version, chains, cache, .. } = self.status();
        let seen: Vec<Seen<'_>> = self
            .inner
            .chains
            .iter()
            .zip(chains)
            .map(|(chain, status)| Seen { chain, status, happened: chain.tally.happenings() })
            .collect();
        to.family(&f::BUILD_INFO).add(&[version], true);
        each(to, &f::READY, &seen, |seen| seen.status.ready);
        requests(to, &seen);
        backends::traffic(to, &seen);
        backends::health(to, &seen);
        whereabouts(to, &seen);
        transactions(to, &seen);
        let journal = self.inner.chains.first().and_then(|chain| chain.ledger.journal());
        journalled(to, journal.map(|journal| journal.usage()));
        saved(to, &seen, &cache);
    }
}

/// A family with one sample a chain.
fn each<V: Into<Value>>(
    to: &mut Exposition,
    family: &'static Family,
    seen: &[Seen<'_>],
    value: impl Fn(&Seen<'_>) -> V,
) {
    maybe(to, family, seen, |seen| Some(value(seen)));
}

/// The same, where there is one.
fn maybe<V: Into<Value>>(
    to: &mut Exposition,
    family: &'static Family,
    seen: &[Seen<'_>],
    value: impl Fn(&Seen<'_>) -> Option<V>,
) {
    let mut samples = to.family(family);
    for seen in seen {
        samples.maybe(&[seen.name()], value(seen));
    }
}

fn requests(to: &mut Exposition, seen: &[Seen<'_>]) {
    let mut samples = to.family(&f::REQUESTS);
    for seen in seen {
        for (method, class, source, result, count) in seen.chain.tally.answered() {
            samples.add(&[seen.name(), method, class.name(), Source::as_str(source), result], count);
        }
    }
    let mut samples = to.family(&f::REQUEST_DURATION);
    for seen in seen {
        for class in MethodClass::ALL {
            let took = seen.chain.tally.took(class);
            if !took.is_empty() {
                samples.histogram(&[seen.name(), class.name()], took);
            }
        }
    }
    each(to, &f::MALFORMED, seen, |seen| seen.happened.malformed);
    each(to, &f::ABANDONED, seen, |seen| seen.happened.hung_up);
    each(to, &f::SHED, seen, |seen| seen.status.calls.shed);
    each(to, &f::SESSIONS, seen, |seen| seen.happened.sessions);
    each(to, &f::SUBSCRIPTIONS, seen, |seen| seen.status.subscribers.subscriptions);
    each(to, &f::FILTERS, seen, |seen| seen.status.subscribers.filters);
}

fn whereabouts(to: &mut Exposition, seen: &[Seen<'_>]) {
    maybe(to, &f::HEAD, seen, |seen| seen.status.head);
    maybe(to, &f::FINALIZED, seen, |seen| seen.status.follower.finalized);
    each(to, &f::BLOCK_TIME, seen, |seen| seen.status.follower.block_time_ms as f64 / 1000.0);
    each(to, &f::HALTED, seen, |seen| seen.status.follower.halted);
    each(to, &f::FORKED, seen, |seen| seen.status.follower.fork.is_some());
    each(to, &f::HALTS, seen, |seen| seen.happened.halts);
    each(to, &f::FORKS, seen, |seen| seen.happened.forks);
    each(to, &f::REORGS, seen, |seen| seen.happened.reorgs);
    each(to, &f::REORGED, seen, |seen| seen.happened.dropped_blocks);
}

fn transactions(to: &mut Exposition, seen: &[Seen<'_>]) {
    let mut samples = to.family(&f::TRANSACTIONS);
    for seen in seen {
        for (state, count) in &seen.status.transactions {
            samples.add(&[seen.name(), state], *count);
        }
    }
    let mut samples = to.family(&f::TRANSACTION_CHANGES);
    for seen in seen {
        for (state, count) in seen.chain.ledger.fates() {
            samples.add(&[seen.name(), state], count);
        }
    }
    each(to, &f::TRANSACTIONS_BEHIND_GAP, seen, |seen| seen.status.transactions_behind_a_gap);
    each(to, &f::RESENDS, seen, |seen| seen.chain.ledger.resends());
}

fn journalled(to: &mut Exposition, usage: Option<&journal::Usage>) {
    to.family(&f::JOURNAL_WRITES).maybe(&[], usage.map(journal::Usage::writes));
    to.family(&f::JOURNAL_ERRORS).maybe(&[], usage.map(journal::Usage::failed));
    let mut samples = to.family(&f::JOURNAL_SYNC);
    if let Some(usage) = usage {
        samples.histogram(&[], usage.took());
    }
}

fn saved(to: &mut Exposition, seen: &[Seen<'_>], cache: &CacheStatus) {
    each(to, &f::CACHE_HITS, seen, |seen| seen.status.saved.hits);
    each(to, &f::CACHE_MISSES, seen, |seen| seen.status.saved.misses);
    each(to, &f::CACHE_KEPT, seen, |seen| seen.status.saved.kept);
    each(to, &f::CACHE_OUTDATED, seen, |seen| seen.status.saved.outdated);
    each(to, &f::COALESCED, seen, |seen| seen.status.saved.coalesced);
    each(to, &f::WAITING, seen, |seen| seen.status.saved.waiting);
    each(to, &f::SAVED, seen, |seen| seen.status.saved.credits);
    let disk = cache.disk.as_ref();
    let mut tiers = |family, memory: u64, disk: Option<u64>| {
        to.family(family).add(&["memory"], memory).maybe(&["disk"], disk);
    };
    tiers(&f::CACHE_ENTRIES, cache.entries as u64, disk.map(|disk| disk.entries as u64));
    tiers(&f::CACHE_BYTES, cache.bytes, disk.map(|disk| disk.bytes));
    tiers(&f::CACHE_LIMIT, cache.bytes_max, disk.map(|disk| disk.bytes_max));
    to.family(&f::CACHE_EVICTIONS).add(&[], cache.evictions);
    to.family(&f::DISK_HITS).maybe(&[], disk.map(|disk| disk.hits));
    to.family(&f::DISK_LEFT_OUT).maybe(&[], disk.map(|disk| disk.left_out));
    to.family(&f::DISK_BROKEN).maybe(&[], disk.map(|disk| disk.out_of_use));
}
