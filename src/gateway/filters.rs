//! Filters that clients poll, made from the chain's own feeds: no backend knows of them, none takes them along.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::B256;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::ethereum::LogFilter;
use crate::jsonrpc::{ErrorObject, code};

use super::call::{Answered, Call};
use super::carry::carry;
use super::chain::Chain;
use super::feeds::Feeds;
use super::outbox::HandleId;

/// Filters of one chain.
const FILTERS_MAX: usize = 10_000;
/// Addresses and topics in all log filters of one chain: they are kept in memory and matched with every log.
const VALUES_MAX: usize = 200_000;
/// Nodes drop a filter that nobody polls for five minutes (geth's default).
const IDLE_MAX: Duration = Duration::from_secs(300);

/// A chain's filters.
#[derive(Debug)]
pub(super) struct Filters {
    all: Mutex<HashMap<HandleId, Arc<Filter>>>,
    /// Filters of one client.
    per_client_max: usize,
}

#[derive(Debug)]
struct Filter {
    client: Option<IpAddr>,
    of: Of,
    used_at: Mutex<Instant>,
    /// How far its feed was read.
    read: AtomicU64,
}

#[derive(Debug)]
enum Of {
    Blocks,
    Pending,
    Logs {
        filter: Arc<LogFilter>,
        joined: u64,
        /// The params of the `eth_getLogs` that finds what it found before.
        query: Box<RawValue>,
    },
}

impl Filter {
    fn is_idle(&self) -> bool {
        self.used_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE_MAX
    }

    fn values(&self) -> usize {
        if let Of::Logs { filter, .. } = &self.of { filter.values() } else { 0 }
    }
}

impl Filters {
    pub(super) fn new(per_client_max: usize) -> Self {
        Self { all: Mutex::default(), per_client_max }
    }

    /// Answers a call that makes, asks or ends a filter.
    pub(super) async fn answer(
        &self,
        chain: &Arc<Chain>,
        client: Option<IpAddr>,
        call: Call<'_>,
    ) -> Answered {
        let said = match &*call.name {
            "eth_newFilter" => self.make_of_logs(&chain.feeds, client, call.params.as_deref()),
            "eth_newBlockFilter" => {
                self.make(&chain.feeds, client, || (Of::Blocks, chain.feeds.heads.filter_made()))
            }
            "eth_newPendingTransactionFilter" => {
                self.make(&chain.feeds, client, || (Of::Pending, chain.feeds.pending.filter_made()))
            }
            "eth_uninstallFilter" => id(call.params.as_deref()).map(|id| {
                let gone = id.and_then(|id| self.remove(&chain.feeds, id));
                gone.is_some().to_string()
            }),
            "eth_getFilterChanges" => self.changes(chain, call.params.as_deref()).await,
            "eth_getFilterLogs" => match self.find(call.params.as_deref()) {
                Ok((_, filter)) => match &filter.of {
                    Of::Logs { query, .. } => return carry(chain, get_logs(query)).await,
                    Of::Blocks | Of::Pending => Err(not_found()),
                },
                Err(error) => Err(error),
            },
            // Other chains' kinds of filters live at a backend, and nobody says which.
            _ => Err(super::call::no_such_method(&call.name)),
        };
        said.map_or_else(Answered::refused, Answered::local)
    }

    /// How many live.
    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    /// Ends filters that nobody has asked for long.
    pub(super) fn sweep(&self, feeds: &Feeds) {
        let idle: Vec<HandleId> =
            self.all().iter().filter(|(_, filter)| filter.is_idle()).map(|(id, _)| *id).collect();
        for id in idle {
            self.remove(feeds, id);
        }
    }

    fn make_of_logs(
        &self,
        feeds: &Feeds,
        client: Option<IpAddr>,
        params: Option<&RawValue>,
    ) -> Result<String, ErrorObject> {
        let invalid = |message: String| ErrorObject::new(code::INVALID_PARAMS, message);
        let object = params
            .and_then(|params| serde_json::from_str::<Vec<Value>>(params.get()).ok()?.into_iter().next())
            .ok_or_else(|| invalid("missing value for required argument 0".to_owned()))?;
        let filter = Arc::new(LogFilter::read(&object).map_err(|error| invalid(error.to_string()))?);
        let query = query(object).ok_or_else(|| invalid("the filter must be an object".to_owned()))?;
        self.may_make(feeds, client, filter.values())?;
        let id = new_id()?;
        let joined = feeds.logs.join(id, &filter, None);
        self.keep(id, client, Of::Logs { filter, joined, query }, joined);
        Ok(format!("\"{id}\""))
    }

    fn make(
        &self,
        feeds: &Feeds,
        client: Option<IpAddr>,
        made: impl FnOnce() -> (Of, u64),
    ) -> Result<String, ErrorObject> {
        self.may_make(feeds, client, 0)?;
        let id = new_id()?;
        let (of, from) = made();
        self.keep(id, client, of, from);
        Ok(format!("\"{id}\""))
    }

    fn keep(&self, id: HandleId, client: Option<IpAddr>, of: Of, from: u64) {
        let filter = Filter { client, of, used_at: Mutex::new(Instant::now()), read: AtomicU64::new(from) };
        self.all().insert(id, Arc::new(filter));
    }

    fn may_make(&self, feeds: &Feeds, client: Option<IpAddr>, values: usize) -> Result<(), ErrorObject> {
        let counts = || {
            let all = self.all();
            let of_client = all.values().filter(|f| client.is_some() && f.client == client).count();
            (all.len(), of_client, all.values().map(|filter| filter.values()).sum::<usize>() + values)
        };
        let fits = |(all, of_client, values): (usize, usize, usize)| {
            all < FILTERS_MAX && of_client < self.per_client_max && values <= VALUES_MAX
        };
        if fits(counts()) {
            return Ok(());
        }
        self.sweep(feeds);
        let now = counts();
        if fits(now) {
            return Ok(());
        }
        let message = if now.1 >= self.per_client_max {
            format!("too many filters: at most {} for one client (server.max_filters)", self.per_client_max)
        } else {
            "too many filters on this chain: try again when others have ended".to_owned()
        };
        Err(ErrorObject::new(code::LIMIT_EXCEEDED, message))
    }

    async fn changes(&self, chain: &Arc<Chain>, params: Option<&RawValue>) -> Result<String, ErrorObject> {
        let (id, filter) = self.find(params)?;
        let feeds = &chain.feeds;
        let found = match &filter.of {
            Of::Blocks => feeds.heads.since(&filter.read).map(|hashes| list_hashes(&hashes)),
            Of::Pending => Some(list_hashes(&feeds.pending.since(&filter.read))),
            Of::Logs { filter: wanted, joined, .. } => {
                let logs = feeds.logs.since(&filter.read, *joined, wanted).await;
                logs.map(|logs| list(logs.iter().map(|log| String::from_utf8_lossy(&log.json))))
            }
        };
        // What it should have shown is not known any more. The client makes a new one, and knows that it must.
        found.ok_or_else(|| {
            self.remove(feeds, id);
            not_found()
        })
    }

    fn find(&self, params: Option<&RawValue>) -> Result<(HandleId, Arc<Filter>), ErrorObject> {
        let id = id(params)?.ok_or_else(not_found)?;
        let filter = self.all().get(&id).cloned().filter(|filter| !filter.is_idle()).ok_or_else(not_found)?;
        *filter.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok((id, filter))
    }

    fn remove(&self, feeds: &Feeds, id: HandleId) -> Option<()> {
        let filter = self.all().remove(&id)?;
        match &filter.of {
            Of::Blocks => feeds.heads.filter_gone(),
            Of::Pending => feeds.pending.filter_gone(),
            Of::Logs { filter, .. } => feeds.logs.leave(id, filter),
        }
        Some(())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<HandleId, Arc<Filter>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found() -> ErrorObject {
    ErrorObject::new(code::SERVER_ERROR, "filter not found")
}

fn new_id() -> Result<HandleId, ErrorObject> {
    HandleId::random()
        .ok_or_else(|| ErrorObject::new(code::INTERNAL_ERROR, "the system has no randomness to give"))
}

/// The id that a call names; `None` where it is none of ours.
fn id(params: Option<&RawValue>) -> Result<Option<HandleId>, ErrorObject> {
    let ids: Option<(String,)> = params.and_then(|params| serde_json::from_str(params.get()).ok());
    let (text,) =
        ids.ok_or_else(|| ErrorObject::new(code::INVALID_PARAMS, "the params must be the filter's id"))?;
    Ok(HandleId::read(&text))
}

/// What nodes read of a filter object, and nothing else of it.
fn query(object: Value) -> Option<Box<RawValue>> {
    let Value::Object(mut object) = object else { return None };
    let read = ["fromBlock", "toBlock", "blockHash", "address", "topics"];
    let kept: Map<String, Value> =
        read.iter().filter_map(|name| Some(((*name).to_owned(), object.remove(*name)?))).collect();
    to_raw_value(&[kept]).ok()
}

fn get_logs(query: &RawValue) -> Call<'_> {
    Call::own("eth_getLogs", Cow::Borrowed(query))
}

fn list_hashes(hashes: &[B256]) -> String {
    list(hashes.iter().map(|hash| format!("\"{hash:#x}\"")))
}

fn list<T: AsRef<str>>(items: impl Iterator<Item = T>) -> String {
    let mut out = "[".to_owned();
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(item.as_ref());
    }
    out.push(']');
    out
}
