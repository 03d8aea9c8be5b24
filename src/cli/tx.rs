//! `outrigger tx`: the transactions that were handed in, from the journal, also while a proxy writes it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;

use crate::chain::{Fate, Happened, Life};
use crate::config::Config;
use crate::journal::{Journal, JournalError, Reader, Record, gaps};
use crate::policy::Timestamp;

use super::{Common, Outcome, memory, style};

/// An answer of the proxy's administration is a line or two.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// `outrigger tx list|show|cancel-hold|export`.
#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// List transactions, the latest first.
    List {
        #[command(flatten)]
        of: Of,
        /// Only those that are: submitted, held, pending, dropped, mined, finalized, replaced, expired, refused or
        /// cancelled; `open` is the first four.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show all that is known of one.
    Show {
        #[command(flatten)]
        of: Of,
        /// Its hash.
        hash: B256,
    },
    /// Take one back that waits for a way out. What has been sent cannot be taken back.
    CancelHold {
        #[command(flatten)]
        of: Of,
        /// Its hash.
        hash: B256,
        /// Where the proxy listens, where it runs elsewhere than its configuration says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Write them out as lines of JSON with the signed bytes, to be sent by other means. Whoever has the bytes can send
    /// them.
    Export {
        #[command(flatten)]
        of: Of,
        /// Those that are over as well.
        #[arg(long)]
        all: bool,
    },
}

/// Whose transactions.
#[derive(Clone, Debug, Args)]
pub(super) struct Of {
    #[command(flatten)]
    common: Common,
    /// The journal instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Only those of this chain, by its name or id.
    #[arg(long, value_name = "CHAIN")]
    chain: Option<String>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// A transaction as it is written out.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    record: &'a Record,
    /// In words.
    state: &'static str,
    /// It cannot be mined before somebody sends this nonce of its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for_nonce: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(record: &'a Record, waiting: &HashMap<B256, u64>, bytes: Option<&Bytes>) -> Self {
        Self {
            record,
            state: record.fate.name(),
            waits_for_nonce: waiting.get(&record.hash).copied(),
            raw: bytes.map(hex::encode_prefixed),
        }
    }
}

pub(super) fn run(command: &TxCommand) -> Outcome {
    let done = match command {
        TxCommand::List { of, state, limit } => list(of, state.as_deref(), *limit),
        TxCommand::Show { of, hash } => show(of, *hash),
        TxCommand::CancelHold { of, hash, url } => cancel_hold(of, *hash, url.as_deref()),
        TxCommand::Export { of, all } => export(of, *all),
    };
    done.map_or_else(
        |failure| {
            if let Some(message) = failure.1 {
                style::complain(&message);
            }
            failure.0
        },
        |()| Outcome::Done,
    )
}

/// How it ended, and what is still to be said of it.
type Failure = (Outcome, Option<String>);

fn failed(message: impl ToString) -> Failure {
    (Outcome::Failed, Some(message.to_string()))
}

/// What is opened: the journal without changing it, or, where a proxy was killed and nothing mended it since, with.
enum Source {
    Reader(Reader),
    Journal(Journal),
}

impl Source {
    fn records(&self) -> Result<Vec<Record>, JournalError> {
        match self {
            Self::Reader(reader) => reader.records(),
            Self::Journal(journal) => journal.records(),
        }
    }

    fn bytes(&self, record: &Record) -> Result<Option<Bytes>, JournalError> {
        match self {
            Self::Reader(reader) => reader.bytes(record.chain_id, record.hash),
            Self::Journal(journal) => journal.bytes(record.chain_id, record.hash),
        }
    }
}

impl Of {
    /// The configuration and the journal's place.
    fn place(&self) -> Result<(Config, PathBuf), Failure> {
        let (config, _) = self.common.load().map_err(|outcome| (outcome, None))?;
        let path = self.journal.clone().or_else(|| config.transactions.journal.clone());
        let path = path.or_else(memory::default_journal);
        let path =
            path.ok_or_else(|| (Outcome::WrongUsage, Some("there is no journal: name one".to_owned())))?;
        Ok((config, path))
    }

    /// The journal, and the records that are asked for, the latest first.
    fn read(&self) -> Result<(Source, Vec<Record>), Failure> {
        let (config, path) = self.place()?;
        if !path.exists() {
            return Err(failed(format!("{}: no transaction has been journalled there", path.display())));
        }
        let source = match Reader::open(&path) {
            Ok(reader) => Source::Reader(reader),
            Err(JournalError::Unreadable { .. }) => Source::Journal(Journal::open(&path).map_err(failed)?),
            Err(error) => return Err(failed(error)),
        };
        let mut records = source.records().map_err(failed)?;
        if let Some(name) = &self.chain {
            let by_name = config.chains.iter().find(|chain| chain.name == *name).map(|chain| chain.chain_id);
            let id = by_name.or_else(|| name.parse().ok());
            let id = id.ok_or_else(|| (Outcome::WrongUsage, Some(format!("no chain {name}"))))?;
            records.retain(|record| record.chain_id == id);
        }
        records.sort_by_key(|record| std::cmp::Reverse((record.submitted_at_s, record.nonce, record.hash)));
        Ok((source, records))
    }
}

fn list(of: &Of, state: Option<&str>, limit: usize) -> Result<(), Failure> {
    if let Some(state) = state.filter(|state| *state != "open" && !Fate::NAMES.contains(state)) {
        let known = Fate::NAMES.join(", ");
        return Err((Outcome::WrongUsage, Some(format!("no state {state}: there are open, {known}"))));
    }
    let (_, mut records) = of.read()?;
    let waiting = gaps(&records);
    records.retain(|record| match state {
        None => true,
        Some("open") => record.fate.is_open(),
        Some(name) => record.fate.name() == name,
    });
    let more = records.len().saturating_sub(limit);
    records.truncate(limit);
    if of.json {
        let shown: Vec<_> = records.iter().map(|record| Shown::of(record, &waiting, None)).collect();
        return say_json(&shown);
    }
    if records.is_empty() {
        style::say("no transactions");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["hash", "chain", "sender", "nonce", "state", "age", ""]);
    for record in &records {
        table.add_row([
            format!("{:#x}", record.hash),
            record.chain_id.to_string(),
            record.sender.map_or_else(|| "?".to_owned(), |sender| format!("{sender:#x}")),
            record.nonce.map_or_else(|| "?".to_owned(), |nonce| nonce.to_string()),
            record.fate.name().to_owned(),
            ago(record.submitted_at_s),
            note(record, &waiting),
        ]);
    }
    style::say(table);
    if more > 0 {
        style::say(format!("and {more} more (--limit)"));
    }
    Ok(())
}

fn show(of: &Of, hash: B256) -> Result<(), Failure> {
    let (source, records) = of.read()?;
    let record = records.iter().find(|record| record.hash == hash);
    let record = record.ok_or_else(|| failed(format!("{hash:#x} is not in the journal")))?;
    let bytes = source.bytes(record).map_err(failed)?;
    let waiting = gaps(&records);
    if of.json {
        // A private transaction's bytes are its secret until it is mined.
        return say_json(&Shown::of(record, &waiting, bytes.as_ref().filter(|_| !record.is_secret())));
    }
    let line = |name: &str, value: String| style::say(format!("{name:<10} {value}"));
    line("hash", format!("{:#x}", record.hash));
    line("chain", record.chain_id.to_string());
    line("sender", record.sender.map_or_else(|| "?".to_owned(), |sender| format!("{sender:#x}")));
    line("nonce", record.nonce.map_or_else(|| "?".to_owned(), |nonce| nonce.to_string()));
    line("state", state_in_words(record.fate));
    if let Some(missing) = waiting.get(&hash) {
        line("waits for", format!("nonce {missing}, which nobody has sent"));
    }
    let private = match (record.private, record.escalated) {
        (true, true) => "no longer",
        (true, false) => "yes",
        (false, _) => "no",
    };
    line("private", private.to_owned());
    line("bytes", bytes.map_or(0, |bytes| bytes.len()).to_string());
    line("submitted", format!("{} ago", ago(record.submitted_at_s)));
    line("changed", format!("{} ago", ago(record.changed_at_s)));
    line("resent", format!("{} times", record.resends));
    for (backend, told) in &record.told {
        line("told", format!("{backend}: {} ({} ago)", told.class, ago(told.at_s)));
    }
    Ok(())
}

/// What its state does not say.
fn note(record: &Record, waiting: &HashMap<B256, u64>) -> String {
    match (record.fate, waiting.get(&record.hash)) {
        (Fate::Replaced { by: Some(by) }, _) => format!("by {by:#x}"),
        (_, Some(missing)) => format!("waits for nonce {missing}, which nobody has sent"),
        _ => String::new(),
    }
}

fn state_in_words(fate: Fate) -> String {
    match fate {
        Fate::Mined { block, index } | Fate::Finalized { block, index } => {
            format!("{} in block {} ({:#x}) at {index}", fate.name(), block.number, block.hash)
        }
        Fate::Replaced { by: Some(by) } => format!("replaced by {by:#x}"),
        fate => fate.name().to_owned(),
    }
}

fn export(of: &Of, all: bool) -> Result<(), Failure> {
    let (source, mut records) = of.read()?;
    let waiting = gaps(&records);
    records.retain(|record| all || record.fate.is_open());
    // In the order that they can be sent in.
    records.sort_by_key(|record| (record.chain_id, record.sender, record.nonce, record.submitted_at_s));
    for record in &records {
        let bytes = source.bytes(record).map_err(failed)?;
        let line = serde_json::to_string(&Shown::of(record, &waiting, bytes.as_ref())).map_err(failed)?;
        style::say(line);
    }
    Ok(())
}

fn cancel_hold(of: &Of, hash: B256, url: Option<&str>) -> Result<(), Failure> {
    let (config, path) = of.place()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        match Journal::open(&path) {
            Ok(journal) => cancel_in(&journal, hash).await,
            // The proxy that has it does it.
            Err(JournalError::InUse { .. }) => ask_proxy(&config, hash, url).await,
            Err(error) => Err(failed(error)),
        }
    })?;
    style::say(format!("{hash:#x} will not be sent"));
    Ok(())
}

async fn cancel_in(journal: &Journal, hash: B256) -> Result<(), Failure> {
    let records = journal.records().map_err(failed)?;
    let record = records.into_iter().find(|record| record.hash == hash);
    let mut record = record.ok_or_else(|| failed(format!("{hash:#x} is not in the journal")))?;
    let now = Timestamp::ZERO;
    let mut life = Life::resume(now, record.nonce, 0, record.fate, std::time::Duration::ZERO);
    life.on(now, Happened::Cancelled);
    if record.fate != Fate::Held || life.fate() != Fate::Cancelled {
        return Err(failed(format!("{hash:#x} is {}, not held", record.fate.name())));
    }
    record.fate = life.fate();
    record.changed_at_s = now_s();
    journal.update(record).await.map_err(failed)
}

async fn ask_proxy(config: &Config, hash: B256, url: Option<&str>) -> Result<(), Failure> {
    let base = match url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let address = config.server.listen.required.first().or(config.server.listen.if_possible.first());
            let mut address = *address.ok_or_else(|| failed("the proxy listens nowhere: --url"))?;
            if address.ip().is_unspecified() {
                address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            format!("http://{address}")
        }
    };
    let mut request = http::Request::post(format!("{base}/admin/transactions/{hash:#x}/cancel"));
    if let Some(token) = config.server.tokens.first() {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::new(Bytes::new())).map_err(failed)?;
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|error| {
        failed(format!("the proxy that holds the journal cannot be asked at {base} ({error}): --url"))
    })?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    if status.is_success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&body))) }
}

fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    style::say(serde_json::to_string_pretty(value).map_err(failed)?);
    Ok(())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn ago(at_s: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(now_s().saturating_sub(at_s))).to_string()
}
