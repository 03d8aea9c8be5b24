//! Asks for the logs of a block until a backend has them all.
//!
//! A backend that does not have the block yet may say so, or answer `[]`, which nobody can tell from a block without
//! logs; the header's bloom can. What lacks bits that the header has is incomplete, whoever says it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bloom};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::chain::Block;
use crate::ethereum::Method;
use crate::policy::BackendIndex;

use super::logs::{KeptLog, Work};
use crate::gateway::call::{Call, Said};
use crate::gateway::carry::{plan, told};
use crate::gateway::chain::Chain;
use crate::gateway::forward::{Landed, forward};
use crate::gateway::resolve::Sight;

/// Blocks whose logs are fetched at the same time: chains with four blocks a second are faster than a round trip.
const AT_ONCE: usize = 8;
/// The first pause before asking again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// When everybody has given the same incomplete logs for so long, the chain's blooms are not Ethereum's.
const DOUBTED_FOR: Duration = Duration::from_secs(20);
/// Polygon and its test network: logs of state syncs are logs of the block, and not in its bloom.
const BLOOMLESS_LOGS: [u64; 2] = [137, 80_002];

/// Does the log feed's work until it is dropped.
pub(super) async fn fetch_logs(chain: &Arc<Chain>) {
    let logs = &chain.feeds.logs;
    let mut under_way = FuturesOrdered::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(work) = logs.begin()
        {
            under_way.push_back(carry_out(chain, work));
        }
        tokio::select! {
            Some((work, fetched)) = under_way.next() => logs.finish(&work, fetched),
            () = logs.work.notified() => {}
        }
    }
}

async fn carry_out(chain: &Arc<Chain>, work: Work) -> (Work, Vec<KeptLog>) {
    let block = work.block.clone();
    let bloomless = BLOOMLESS_LOGS.contains(&chain.settings.chain_id);
    let bloom = block.logs_bloom.as_deref().filter(|_| !bloomless);
    let is_empty = bloom.is_some_and(|bloom| bloom.is_zero());
    if !work.adds || is_empty || !chain.feeds.logs.wants(&work, bloom) {
        return (work, Vec::new());
    }
    let fetched = tokio::select! {
        fetched = fetch(chain, &block) => fetched,
        () = chain.feeds.logs.void(&work, bloom) => Vec::new(),
    };
    (work, fetched)
}

async fn fetch(chain: &Arc<Chain>, block: &Block) -> Vec<KeptLog> {
    let method = Method::lookup("eth_getLogs");
    let Ok(params) = RawValue::from_string(format!(r#"[{{"blockHash":"{:#x}"}}]"#, block.id.hash)) else {
        return Vec::new();
    };
    let began = Instant::now();
    let mut pause = PAUSE_MIN;
    for turn in 0_usize.. {
        let mut call = Call {
            method,
            name: method.name.into(),
            params: Some(Cow::Borrowed(&params)),
            height: None,
            known_to_exist: block.logs_bloom.as_ref().is_some_and(|bloom| !bloom.is_zero()),
            transaction: None,
            logs: None,
        };
        let mut plan = plan(chain, &mut call, &Sight::now(chain));
        // The usual way asks others where somebody fails. Who answers, and not all of it, is passed over in turn.
        plan.need.only = (turn % 2 == 1).then(|| reader(chain, turn / 2)).flatten();
        let calls = [call];
        let landed = forward(chain, &calls, plan).await.pop().unwrap_or(Landed::NOWHERE);
        if let Said::Result(answer) = told(chain, &calls[0], landed).said
            && let Some(logs) = read(&answer, block)
        {
            if is_complete(block, &logs) {
                return logs;
            }
            if began.elapsed() > DOUBTED_FOR {
                let (chain, block) = (&chain.settings.name, block.id.number);
                tracing::warn!(%chain, block, "logs are taken that are fewer than the block's bloom says");
                return logs;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Vec::new()
}

/// Somebody who answers reads, by turns.
fn reader(chain: &Chain, turn: usize) -> Option<BackendIndex> {
    let (decider, now) = (chain.decide(), chain.now());
    let fleet = &decider.fleet;
    let readers: Vec<_> = fleet
        .iter()
        .filter(|(_, backend)| fleet.answers_reads(backend) && backend.is_usable(now))
        .map(|(index, _)| index)
        .collect();
    (!readers.is_empty()).then(|| readers[turn % readers.len()])
}

/// The logs in an answer; `None` where it is none, or one about another block.
fn read(answer: &Bytes, block: &Block) -> Option<Vec<KeptLog>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Log<'a> {
        #[serde(borrow)]
        address: Cow<'a, str>,
        #[serde(borrow)]
        topics: Vec<Cow<'a, str>>,
        #[serde(borrow)]
        block_hash: Cow<'a, str>,
    }
    let logs: Vec<&RawValue> = serde_json::from_slice(answer).ok()?;
    let keep = |raw: &&RawValue| {
        let log: Log<'_> = serde_json::from_str(raw.get()).ok()?;
        if log.block_hash.parse() != Ok(block.id.hash) {
            return None;
        }
        let address: Address = log.address.parse().ok()?;
        let topics = log.topics.iter().map(|topic| topic.parse::<B256>().ok()).collect::<Option<_>>()?;
        Some(KeptLog { address, topics, json: answer.slice_ref(raw.get().as_bytes()) })
    };
    logs.iter().map(keep).collect()
}

/// Whether the logs account for every bit of the header's bloom. More than it says they may be.
fn is_complete(block: &Block, logs: &[KeptLog]) -> bool {
    let Some(claimed) = &block.logs_bloom else { return true };
    let mut found = Bloom::ZERO;
    for log in logs {
        found.accrue_raw_log(log.address, &log.topics);
    }
    found.contains(claimed)
}

/// The same log, of a block that was dropped.
pub(super) fn removed(log: &KeptLog) -> KeptLog {
    let json = serde_json::from_slice::<Members<'_>>(&log.json).map_or_else(
        |_| log.json.clone(),
        |Members(members)| {
            let mut out = Vec::with_capacity(log.json.len() + 16);
            for (name, value) in members.iter().filter(|(name, _)| name != "removed") {
                out.push(if out.is_empty() { b'{' } else { b',' });
                out.extend_from_slice(serde_json::Value::from(&**name).to_string().as_bytes());
                out.push(b':');
                out.extend_from_slice(value.get().as_bytes());
            }
            out.push(if out.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(br#""removed":true}"#);
            out.into()
        },
    );
    KeptLog { address: log.address, topics: log.topics.clone(), json }
}

/// An object's members in their order, values as they stand.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
