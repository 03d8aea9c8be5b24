//! `[routing]`, `[transactions]` and `[cache]`.

use std::path::Path;
use std::time::Duration;

use super::Resolver;
use crate::config::file::{CacheFile, OneOrMany, RoutingFile, TransactionsFile, WhenUnreachableFile};
use crate::config::ranges::{self, AddressRanges};
use crate::config::secret::Secret;
use crate::config::settings::{Budgets, Cache, Roots, Routing, SharedStore, Transactions, WhenUnreachable};
use crate::config::url::BackendUrl;

/// A wallet shows its user an error after about ten seconds in any case.
const DEADLINE: Duration = Duration::from_secs(10);
/// What tracing a full block takes on a node that is not alone.
const HEAVY_DEADLINE: Duration = Duration::from_secs(120);
/// Three round trips around the earth.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One per domain in a usual set-up; a fifth attempt has never been seen to help.
const MAX_ATTEMPTS: u64 = 4;
/// Sooner, a hedge only answers the jitter of one network.
const HEDGE_DELAY_MIN: Duration = Duration::from_millis(30);
/// The promise for a backend that accepts and stays silent.
const HEDGE_DELAY_MAX: Duration = Duration::from_millis(250);
/// The promised shares of extra calls.
const BUDGET_CALM: f64 = 0.02;
const BUDGET_FAULT: f64 = 0.10;
/// Nodes cap an answer of `eth_getLogs` at some tens of megabytes, traces of a block at about a hundred.
const MAX_ANSWER: u64 = 128 << 20;
/// Ten calls at the ten thousand blocks that most providers take in one.
const LOGS_RANGE_MAX: u64 = 100_000;
/// Two distant domains, and one to spare.
const FANOUT: u64 = 3;
/// By then a transaction expires.
const ESCALATES_AFTER_MAX: Duration = Duration::from_secs(48 * 3600);
const CACHE_MEMORY: u64 = 256 << 20;
const CACHE_DISK: u64 = 4 << 30;

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Resolver<'_> {
    pub(super) fn routing(&mut self, file: &RoutingFile) -> Routing {
        let routing = Routing {
            deadline: self.duration(
                "routing.deadline",
                file.deadline.as_ref(),
                DEADLINE,
                10 * MS..=10 * MINUTE,
            ),
            heavy_deadline: self.duration(
                "routing.heavy_deadline",
                file.heavy_deadline.as_ref(),
                HEAVY_DEADLINE,
                10 * MS..=60 * MINUTE,
            ),
            connect_timeout: self.duration(
                "routing.connect_timeout",
                file.connect_timeout.as_ref(),
                CONNECT_TIMEOUT,
                10 * MS..=MINUTE,
            ),
            max_attempts: file.max_attempts.unwrap_or(MAX_ATTEMPTS) as usize,
            hedging: file.hedging.unwrap_or(true),
            hedge_delay_min: self.duration(
                "routing.hedge_delay_min",
                file.hedge_delay_min.as_ref(),
                HEDGE_DELAY_MIN,
                MS..=MINUTE,
            ),
            hedge_delay_max: self.duration(
                "routing.hedge_delay_max",
                file.hedge_delay_max.as_ref(),
                HEDGE_DELAY_MAX,
                MS..=MINUTE,
            ),
            budgets: Budgets {
                calm: file.budgets.calm.unwrap_or(BUDGET_CALM),
                fault: file.budgets.fault.unwrap_or(BUDGET_FAULT),
            },
            address_ranges: self.address_ranges(file.address_ranges.as_ref()),
            read_quorum: file.read_quorum.unwrap_or(1) as usize,
            max_answer: self.size(
                "routing.max_answer",
                file.max_answer.as_ref(),
                MAX_ANSWER,
                64 << 10..=2 << 30,
            ) as usize,
            logs_range_max: file.logs_range_max.unwrap_or(LOGS_RANGE_MAX),
            roots: match file.roots.as_deref() {
                None | Some("webpki") => Roots::Webpki,
                Some("native") => Roots::Native,
                Some(_) => {
                    self.file_path("routing.roots", file.roots.as_ref()).map_or(Roots::Webpki, Roots::File)
                }
            },
        };
        if routing.hedge_delay_min > routing.hedge_delay_max {
            let blamed = if file.hedge_delay_min.is_some() { "min" } else { "max" };
            self.fault(
                &format!("routing.hedge_delay_{blamed}"),
                "leaves no delay between hedge_delay_min and hedge_delay_max",
                "make hedge_delay_min the smaller one",
            );
        }
        if routing.budgets.calm > routing.budgets.fault {
            let blamed = if file.budgets.calm.is_some() { "calm" } else { "fault" };
            self.fault(
                &format!("routing.budgets.{blamed}"),
                "allows more extra calls in calm than in a fault",
                "make calm the smaller one",
            );
        }
        routing
    }

    /// Reads the lists at once: what is wrong with one is told like any other mistake of the configuration, and
    /// before anything is served with it.
    fn address_ranges(&mut self, files: Option<&OneOrMany>) -> AddressRanges {
        let key = "routing.address_ranges";
        let files: Vec<(String, &String)> = match files {
            None => Vec::new(),
            Some(OneOrMany::One(file)) => vec![(key.to_owned(), file)],
            Some(OneOrMany::Many(files)) => {
                files.iter().enumerate().map(|(i, file)| (format!("{key}[{i}]"), file)).collect()
            }
        };
        let mut reader = ranges::Reader::default();
        for (path, file) in files {
            if let Err(error) = reader.file(Path::new(file)) {
                let error = error.to_string();
                let (problem, mend) = error.split_once(": ").unwrap_or((&error, "correct it"));
                self.fault(&path, format!("{} {problem}", self.source.shown_file(&path, file)), mend);
            }
        }
        reader.done()
    }

    pub(super) fn transactions(&mut self, file: &TransactionsFile) -> Transactions {
        Transactions {
            journal: self.file_path("transactions.journal", file.journal.as_ref()),
            fanout: file.fanout.unwrap_or(FANOUT) as usize,
            when_unreachable: match file.when_unreachable {
                None | Some(WhenUnreachableFile::Reject) => WhenUnreachable::Reject,
                Some(WhenUnreachableFile::Hold) => WhenUnreachable::Hold,
            },
            private_escalates_after: file.private_escalates_after.as_ref().map(|text| {
                let bounds = Duration::from_secs(1)..=ESCALATES_AFTER_MAX;
                self.duration("transactions.private_escalates_after", Some(text), *bounds.end(), bounds)
            }),
        }
    }

    pub(super) fn cache(&mut self, file: &CacheFile) -> Cache {
        Cache {
            memory: self.size("cache.memory", file.memory.as_ref(), CACHE_MEMORY, 0..=1 << 40),
            disk: self.file_path("cache.disk", file.disk.as_ref()),
            disk_max: self.size("cache.disk_max", file.disk_max.as_ref(), CACHE_DISK, 1 << 20..=1 << 44),
            coalesce: file.coalesce.unwrap_or(true),
            shared: file.shared.as_deref().and_then(|text| self.shared_store(text)),
        }
    }

    fn shared_store(&mut self, text: &str) -> Option<SharedStore> {
        let text = text.trim();
        let url = BackendUrl::parse(text, &["redis", "rediss"], "redis or rediss")
            .ok()
            .filter(|_| !self.source.has_key_in_host("cache.shared", text));
        if url.is_none() {
            let mend = "write it as redis://host:6379 or, encrypted, rediss://host:6379";
            self.fault("cache.shared", "is no address of a shared store", mend);
        }
        Some(SharedStore { url: url?, text: Secret::new(text) })
    }
}
