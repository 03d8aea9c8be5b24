//! One client's connection: answers its packets, and holds what it is subscribed to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config;
use crate::ethereum::LogFilter;
use crate::jsonrpc::{ErrorObject, code};

use super::chain::Chain;
use super::feeds::Topic;
use super::outbox::{HandleId, Hold, Notification, Outbox, SessionEnd};
use super::packet::{Reply, Terms};
use super::standing::Caller;
use super::{Gateway, NotFound};

/// Addresses and topics in all log filters of one connection: they are kept in memory and matched with every log.
const VALUES_MAX: usize = 8 * LogFilter::VALUES_MAX;

/// A connection that can be told of news: it answers calls as [`Gateway::answer`] does, `eth_subscribe` and
/// `eth_unsubscribe` too. What it is subscribed to ends with its last clone.
///
/// ```no_run
/// # async fn example(gateway: outrigger::Gateway) -> Result<(), Box<dyn std::error::Error>> {
/// let session = gateway.session(None, None)?;
/// let answer = session.answer(br#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#.as_slice()).await;
/// println!("{:?}", answer.reply.body);
/// drop(answer);                                    // from now on notifications may follow
/// loop {
///     let news = session.next().await?;            // an error where the reader was too slow
///     println!("{}", String::from_utf8_lossy(&news.to_json()));
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    gateway: Gateway,
    chain: Arc<Chain>,
    client: Option<IpAddr>,
    terms: Terms,
    outbox: Arc<Outbox>,
    topics: Mutex<HashMap<HandleId, Topic>>,
}

/// The answer to a packet. Notifications that it must not be overtaken by wait until it is dropped.
pub struct SessionReply {
    /// What goes to the client.
    pub reply: Reply,
    _hold: Option<Hold>,
}

impl std::fmt::Debug for SessionReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionReply").field("reply", &self.reply).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A connection to a chain (its name, alias or decimal id; `None` is the default chain) for a client, whose
    /// address its filters are counted by.
    ///
    /// # Errors
    /// When there is no such chain.
    pub fn session(&self, chain: Option<&str>, client: Option<IpAddr>) -> Result<Session, NotFound> {
        self.session_of(chain, client, Terms::default())
    }

    /// The same for a client with credentials, see [`Terms::scope_of`].
    pub(crate) fn session_of(
        &self,
        chain: Option<&str>,
        client: Option<IpAddr>,
        terms: Terms,
    ) -> Result<Session, NotFound> {
        let chain = self.chain(chain)?.clone();
        let outbox = Arc::new(Outbox::new(self.inner.server.websocket.max_queue));
        chain.tally.connected();
        let inner = Inner { gateway: self.clone(), chain, client, terms, outbox, topics: Mutex::default() };
        Ok(Session { inner: Arc::new(inner) })
    }
}

impl Session {
    /// Answers one body with one or more calls. Never fails: what went wrong is in the JSON-RPC answer.
    pub async fn answer(&self, body: impl Into<Bytes>) -> SessionReply {
        let hold = OnceLock::new();
        let caller =
            Caller { client: self.inner.client, session: Some((self, &hold)), terms: self.inner.terms };
        let answer = self.inner.gateway.answer_on(&self.inner.chain, &body.into(), caller).await;
        SessionReply { reply: answer.whole(), _hold: hold.into_inner() }
    }

    /// The next notification. For one caller at a time.
    ///
    /// # Errors
    /// When the session is over: see [`SessionEnd`].
    pub async fn next(&self) -> Result<Notification, SessionEnd> {
        loop {
            if let Some(notification) = self.try_next()? {
                return Ok(notification);
            }
            self.inner.outbox.ready().await;
        }
    }

    /// The next notification, if one waits.
    ///
    /// # Errors
    /// When the session is over.
    pub fn try_next(&self) -> Result<Option<Notification>, SessionEnd> {
        self.inner.outbox.take()
    }

    /// Resolves when [`Session::try_next`] may have something new to say. For one caller at a time.
    pub async fn ready(&self) {
        self.inner.outbox.ready().await;
    }

    /// Why it is over, once it is.
    pub fn end(&self) -> Option<SessionEnd> {
        self.inner.outbox.end()
    }

    /// How many subscriptions it has.
    pub fn subscriptions(&self) -> usize {
        self.inner.topics().len()
    }

    /// Makes a subscription; its id as JSON.
    pub(super) fn subscribe(
        &self,
        params: Option<&RawValue>,
        hold: &OnceLock<Hold>,
    ) -> Result<String, ErrorObject> {
        let topic = topic(params)?;
        let Inner { chain, outbox, gateway, .. } = &*self.inner;
        let limits: &config::WebSocket = &gateway.inner.server.websocket;
        let mut topics = self.inner.topics();
        let limit = |message: String| Err(ErrorObject::new(code::LIMIT_EXCEEDED, message));
        if topics.len() >= limits.max_subscriptions {
            return limit(format!(
                "too many subscriptions on this connection: at most {} (server.websocket.max_subscriptions)",
                limits.max_subscriptions
            ));
        }
        let values = topics.values().chain([&topic]).map(values).sum::<usize>();
        if values > VALUES_MAX {
            return limit(format!(
                "too many addresses and topics in the subscriptions of this connection: at most {VALUES_MAX}"
            ));
        }
        let Some(id) = HandleId::random() else {
            return Err(ErrorObject::new(code::INTERNAL_ERROR, "the system has no randomness to give"));
        };
        hold.get_or_init(|| outbox.hold());
        chain.feeds.subscribe(id, &topic, outbox);
        topics.insert(id, topic);
        Ok(format!("\"{id}\""))
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&self, params: Option<&RawValue>) -> Result<String, ErrorObject> {
        let (text,): (String,) = params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .ok_or_else(|| invalid("the params must be the subscription's id"))?;
        let gone = HandleId::read(&text).and_then(|id| Some((id, self.inner.topics().remove(&id)?)));
        let Some((id, topic)) = gone else {
            return Err(ErrorObject::new(code::SERVER_ERROR, "subscription not found"));
        };
        self.inner.chain.feeds.leave(id, &topic);
        self.inner.outbox.forget(id);
        Ok("true".to_owned())
    }
}

impl Inner {
    fn topics(&self) -> MutexGuard<'_, HashMap<HandleId, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for (id, topic) in self.topics().drain() {
            self.chain.feeds.leave(id, &topic);
        }
        self.chain.tally.disconnected();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("chain", &self.inner.chain.settings.name).finish_non_exhaustive()
    }
}

fn values(topic: &Topic) -> usize {
    if let Topic::Logs(filter) = topic { filter.values() } else { 0 }
}

fn invalid(message: impl Into<String>) -> ErrorObject {
    ErrorObject::new(code::INVALID_PARAMS, message)
}

/// What `eth_subscribe` asks for.
fn topic(params: Option<&RawValue>) -> Result<Topic, ErrorObject> {
    let missing = || invalid("the params must be an array: what to subscribe to, and what of it");
    let params: Vec<Value> =
        params.and_then(|params| serde_json::from_str(params.get()).ok()).ok_or_else(missing)?;
    let (name, argument) = match &*params {
        [Value::String(name)] => (&**name, &Value::Null),
        [Value::String(name), argument] => (&**name, argument),
        _ => return Err(missing()),
    };
    match (name, argument) {
        // What else stands there is ignored, as geth does.
        ("newHeads", _) => Ok(Topic::Heads),
        ("syncing", _) => Ok(Topic::Syncing),
        ("logs", Value::Null) => Ok(Topic::Logs(Arc::default())),
        ("logs", filter) => {
            let filter = LogFilter::read(filter).map_err(|error| invalid(error.to_string()))?;
            Ok(Topic::Logs(Arc::new(filter.of_any_block())))
        }
        ("newPendingTransactions", Value::Null | Value::Bool(false)) => Ok(Topic::Pending { whole: false }),
        ("newPendingTransactions", Value::Bool(true)) => Ok(Topic::Pending { whole: true }),
        ("newPendingTransactions", _) => {
            Err(invalid("newPendingTransactions takes true, for whole transactions, or nothing"))
        }
        _ => Err(invalid(format!(
            "no {name:.64?} subscription in eth namespace: there are newHeads, logs, newPendingTransactions and syncing"
        ))),
    }
}
