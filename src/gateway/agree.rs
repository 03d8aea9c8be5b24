//! Reads that agree with what was sent: what a sender was told is out is not denied by a backend that has not heard of
//! it (BEHAVIOURS T12, T13).

use alloy_primitives::{Address, B256};
use serde_json::value::RawValue;

use crate::chain::Fate;
use crate::ethereum::RawTransaction;
use crate::jsonrpc::{ErrorObject, code};

use super::call::{Answered, Call, Said};
use super::chain::Chain;
use super::packet::Source;
use super::watch;

/// Whether the call asks for a transaction that was taken, so that `null` only means that a backend lags.
pub(super) fn is_promised(chain: &Chain, call: &Call<'_>) -> bool {
    match call.method.name {
        // What is only pending has no receipt: asking everybody for one does not make it.
        "eth_getTransactionReceipt" => hash(call).is_some_and(|hash| {
            chain.ledger.fate(&hash).is_some_and(|fate| fate.place().is_some())
                || chain.ledger.shown_used_at(&hash).is_some()
        }),
        "eth_getTransactionByHash" | "eth_getRawTransactionByHash" => {
            hash(call).and_then(|hash| chain.ledger.fate(&hash)).is_some_and(Fate::was_promised)
        }
        _ => false,
    }
}

/// The answer, where it contradicts nothing that is known here, or what is known.
pub(super) fn agree(chain: &Chain, call: &Call<'_>, answered: Answered) -> Answered {
    match call.method.name {
        "eth_getTransactionCount" => nonce(chain, call, answered),
        "eth_getTransactionByHash" if is_null(&answered) => {
            hash(call).and_then(|hash| known(chain, hash)).unwrap_or(answered)
        }
        "eth_getTransactionBySenderAndNonce" if is_null(&answered) => {
            let hash = sender(call)
                .zip(argument(call, 1).and_then(|text| quantity(&text)))
                .and_then(|(sender, nonce)| chain.ledger.promised_of(sender, nonce));
            hash.and_then(|hash| known(chain, hash)).unwrap_or(answered)
        }
        "eth_getRawTransactionByHash" if is_null(&answered) => {
            let bytes = hash(call)
                .filter(|hash| chain.ledger.fate(hash).is_some_and(Fate::was_promised))
                .and_then(|hash| chain.ledger.bytes(&hash));
            bytes.map_or(answered, |bytes| {
                of_journal(format!("\"{}\"", alloy_primitives::hex::encode_prefixed(bytes)))
            })
        }
        _ => answered,
    }
}

fn nonce(chain: &Chain, call: &Call<'_>, answered: Answered) -> Answered {
    let Said::Result(bytes) = &answered.said else { return answered };
    let (Some(sender), Some(told)) = (sender(call), watch::number(bytes)) else { return answered };
    if argument(call, 1).as_deref() != Some("pending") {
        // Of an earlier block it is lower; whoever asks for that is not misled by it.
        if argument(call, 1).is_none_or(|block| !block.starts_with("0x")) || call.height.is_some() {
            chain.ledger.showed_mined_nonce(sender, told, call.height.unwrap_or(0));
        }
        return answered;
    }
    let merged = chain.ledger.pending_nonce(chain.now(), sender, told);
    if merged == told {
        return answered;
    }
    let mut merged = Answered::local(format!("\"{merged:#x}\""));
    merged.trail = answered.trail;
    merged
}

/// Whether the answer says "no receipt yet" of a transaction that is in a block, or whose nonce a client was shown to be
/// used: a wallet reads those two together as "dropped" (MetaMask tells its user so). A read rests on a block; what only a
/// later one holds does not contradict it.
pub(super) fn denies(chain: &Chain, call: &Call<'_>, answered: &Answered) -> bool {
    if call.method.name != "eth_getTransactionReceipt" || !is_null(answered) {
        return false;
    }
    let Some(hash) = hash(call) else { return false };
    let Some(fate) = chain.ledger.fate(&hash) else { return false };
    let is_seen = |height: u64| call.height.is_none_or(|rests_on| height <= rests_on);
    match fate.place() {
        Some((block, _)) => is_seen(block.number),
        None => fate.is_open() && chain.ledger.shown_used_at(&hash).is_some_and(is_seen),
    }
}

/// What is said instead, when asking again has not helped.
pub(super) fn ask_again(answered: Answered) -> Answered {
    let error = ErrorObject::new(
        code::INTERNAL_ERROR,
        "the transaction is out, and no upstream that answers has its receipt yet: ask again",
    );
    Answered { said: Said::Error(error.to_json().into()), ..answered }
}

/// The transaction as a node would show it.
fn known(chain: &Chain, hash: B256) -> Option<Answered> {
    let fate = chain.ledger.fate(&hash).filter(|fate| fate.was_promised())?;
    let transaction = RawTransaction::from_bytes(&chain.ledger.bytes(&hash)?).ok()?;
    let place = fate.place().map(|(block, index)| (block.number, block.hash, index));
    Some(of_journal(transaction.to_json(place)?))
}

fn of_journal(result: String) -> Answered {
    let mut answered = Answered::local(result);
    answered.trail.source = Source::Journal;
    answered
}

fn is_null(answered: &Answered) -> bool {
    matches!(&answered.said, Said::Result(bytes) if bytes.trim_ascii() == b"null")
}

fn hash(call: &Call<'_>) -> Option<B256> {
    argument(call, 0)?.parse().ok()
}

pub(super) fn sender(call: &Call<'_>) -> Option<Address> {
    argument(call, 0)?.parse().ok()
}

fn quantity(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A string among the parameters.
pub(super) fn argument(call: &Call<'_>, at: usize) -> Option<String> {
    let values: Vec<&RawValue> = serde_json::from_str(call.params.as_deref()?.get()).ok()?;
    serde_json::from_str(values.get(at)?.get()).ok()
}
