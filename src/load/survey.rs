//! Looks at a chain before it is loaded: which one, how high, who lives there, and which methods are offered.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::call::{Call, Request};
use super::judge::{Fate, judge};
use super::known::{Known, TRANSFER_TOPIC};
use super::mix::{Draws, SETTLED};
use super::settings::LoadError;
use crate::jsonrpc::reply::{Item, Packet, Payload, read};
use crate::policy::Class;
use crate::upstream::{AttemptError, Repeat, Upstream};

/// Blocks that are looked through for accounts.
const BLOCKS_MAX: u64 = 16;
/// For one question.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one call. The result, or what it came to instead.
async fn ask(upstream: &Upstream, method: &str, params: &str) -> Result<Result<Bytes, Class>, AttemptError> {
    let request = Request::single(Call::new(method, Some(params)));
    let answer = upstream.post(request.body(1), Instant::now() + PATIENCE, None, Repeat::Safe).await?;
    let judged = judge(&request, 1, None, Ok((answer.status, &answer.headers, &answer.body)), false);
    if judged.class != Class::Ok {
        return Ok(Err(judged.class));
    }
    match read(&answer.body) {
        Ok(Packet::One(Item::Reply(reply))) => match reply.payload {
            Payload::Result(result) => Ok(Ok(result)),
            Payload::Error { .. } => Ok(Err(Class::Unknown)),
        },
        _ => Ok(Err(Class::BadEnvelope)),
    }
}

/// Looks at the chain that a target serves.
pub(super) async fn survey(upstream: &Upstream) -> Result<Known, LoadError> {
    let url = upstream.url();
    let number = async |method: &'static str| {
        let answer = ask(upstream, method, "[]").await;
        let result =
            answer.map_err(|error| LoadError::Unreachable { url: url.to_string(), method, error })?;
        let unfit = |class| LoadError::Unfit { url: url.to_string(), method, class };
        let text: String =
            serde_json::from_slice(&result.map_err(unfit)?).map_err(|_| unfit(Class::BadEnvelope))?;
        let digits = text.strip_prefix("0x").ok_or_else(|| unfit(Class::BadEnvelope))?;
        u64::from_str_radix(digits, 16).map_err(|_| unfit(Class::BadEnvelope))
    };
    let (chain_id, head) = (number("eth_chainId").await?, number("eth_blockNumber").await?);
    let mut known = Known::new(chain_id, head);
    let newest = head.saturating_sub(SETTLED);
    // Whoever does not tell logs or whole blocks is asked about the accounts that every chain has.
    let filter =
        format!(r#"[{{"fromBlock":"{newest:#x}","toBlock":"{newest:#x}","topics":["{TRANSFER_TOPIC}"]}}]"#);
    if let Ok(Ok(logs)) = ask(upstream, "eth_getLogs", &filter).await {
        known.learn_transfers(&logs);
    }
    for back in 0..BLOCKS_MAX.min(newest + 1) {
        if back > 0 && !known.wants_more() {
            break;
        }
        match ask(upstream, "eth_getBlockByNumber", &format!("[\"{:#x}\",true]", newest - back)).await {
            Ok(Ok(block)) => known.learn_block(&block),
            _ => break,
        }
    }
    Ok(known)
}

/// Leaves out of a mix what a target does not offer; the methods that are meant.
pub(super) async fn fit(upstream: &Upstream, draws: &mut Draws) -> Result<Vec<String>, LoadError> {
    let mut left_out = Vec::new();
    for (question, request) in draws.examples() {
        let deadline = Instant::now() + PATIENCE;
        let Ok(answer) = upstream.post(request.body(1), deadline, None, Repeat::Safe).await else { continue };
        let judged = judge(&request, 1, None, Ok((answer.status, &answer.headers, &answer.body)), false);
        let is_missing =
            matches!(judged.class, Class::MethodUnsupported | Class::BatchUnsupported | Class::BatchTooLarge);
        if judged.fate != Fate::Answered && is_missing {
            left_out.push(request.label());
            if !draws.leave_out(question) {
                return Err(LoadError::NothingToAsk { url: upstream.url().to_string() });
            }
        }
    }
    Ok(left_out)
}
