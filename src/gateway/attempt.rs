//! One attempt: some calls, one backend, one verdict for each call.
//!
//! Calls travel as one batch where the backend takes batches. What a backend cannot take in one piece
//! (too many items, no batches at all) is cut smaller here; nobody above notices.

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::ethereum::{Method, MethodKind};
use crate::jsonrpc::reply::Payload;
use crate::jsonrpc::write_call;
use crate::policy::classify::{self, Received, Verdict};
use crate::policy::{BackendIndex, Class, Identity, Outcome, Repeat, Timestamp};
use crate::upstream;

use super::call::Call;
use super::chain::Chain;
use super::identity::{as_outcome_of_a_call, identify};
use super::ranges;

/// How often one attempt cuts a batch that the backend refuses: 100, 25, 6, 1.
const CUTS_MAX: usize = 4;

/// What one attempt came to.
pub(super) struct Ended {
    pub(super) backend: BackendIndex,
    /// Positions of the calls it carried, with what each came to.
    pub(super) verdicts: Vec<(usize, Verdict)>,
    /// Bytes of the calls may have reached the backend.
    pub(super) sent: bool,
}

/// What an attempt is to do.
pub(super) struct Order {
    pub(super) backend: BackendIndex,
    /// Positions of the calls to carry; never empty.
    pub(super) items: Vec<usize>,
    pub(super) deadline: Timestamp,
    pub(super) repeat: Repeat,
}

/// Makes the attempt.
pub(super) async fn attempt(chain: &Chain, calls: &[Call<'_>], order: Order) -> Ended {
    let Order { backend, items, deadline, repeat } = order;
    let tried = chain.link(backend).attempts.begin(chain.now(), items.len());
    let deadline = chain.instant(deadline);
    if chain.link(backend).identity() != Identity::Confirmed
        && let Err(outcome) = Box::pin(identify(chain, backend, deadline)).await
    {
        let verdict = Verdict::from(as_outcome_of_a_call(outcome));
        let verdicts: Vec<_> = items.into_iter().map(|item| (item, verdict.clone())).collect();
        tried.end(chain.now(), classes(&verdicts));
        return Ended { backend, verdicts, sent: false };
    }
    let mut verdicts = Vec::with_capacity(items.len());
    let (mut left, mut sent) = (items, false);
    for _ in 0..CUTS_MAX {
        let link = chain.link(backend);
        let size = link.batch_items_max();
        let parts = left.chunks(size).map(|part| exchange(chain, calls, backend, part, deadline, repeat));
        // The ordinary request is one part: no reason to set up more than its own future.
        let done = if left.len() <= size {
            match parts.into_iter().next() {
                Some(part) => vec![part.await],
                None => Vec::new(),
            }
        } else {
            Box::pin(join_all(parts)).await
        };
        left = Vec::new();
        for part in done {
            sent |= part.sent;
            match refused_batch(&part) {
                Some(any) => {
                    link.refuses_batch_of(part.verdicts.len(), any);
                    left.extend(part.verdicts.into_iter().map(|(item, _)| item));
                }
                None => verdicts.extend(part.verdicts),
            }
        }
        if left.is_empty() {
            break;
        }
    }
    // Only a backend that refuses a batch of one is left with anything here.
    verdicts.extend(left.into_iter().map(|item| (item, Verdict::from(Outcome::of(Class::BatchUnsupported)))));
    tried.end(chain.now(), classes(&verdicts));
    Ended { backend, verdicts, sent }
}

fn classes(verdicts: &[(usize, Verdict)]) -> impl Iterator<Item = Class> {
    verdicts.iter().map(|(_, verdict)| verdict.outcome.class)
}

/// Whether the part was refused for being a batch: `true` for any batch, `false` for its size.
fn refused_batch(part: &Part) -> Option<bool> {
    if part.verdicts.len() < 2 {
        return None;
    }
    let all = |class| part.verdicts.iter().all(|(_, verdict)| verdict.outcome.class == class);
    match () {
        () if all(Class::BatchUnsupported) => Some(true),
        () if all(Class::BatchTooLarge) => Some(false),
        () => None,
    }
}

struct Part {
    verdicts: Vec<(usize, Verdict)>,
    sent: bool,
}

/// One HTTP exchange.
async fn exchange(
    chain: &Chain,
    calls: &[Call<'_>],
    backend: BackendIndex,
    items: &[usize],
    deadline: Instant,
    repeat: Repeat,
) -> Part {
    let link = chain.link(backend);
    let first_id = chain.ids(items.len());
    let sent_calls: Vec<classify::Sent<'_>> = items
        .iter()
        .zip(first_id..)
        .map(|(item, id)| classify::Sent {
            chain_id: Some(chain.settings.chain_id),
            vendor: link.vendor.as_deref(),
            // Somebody took this very transaction: whoever says `null` has not heard of it yet. And a block whose
            // bloom names logs has some.
            doubt: classify::Doubt {
                empty: empty_is_suspicious(calls[*item].method) && calls[*item].known_to_exist,
                ..classify::Doubt::default()
            },
            ..classify::Sent::new(id, &calls[*item].name)
        })
        .collect();
    let body = body(calls, items, first_id);
    chain.spend(backend, items.iter().map(|item| &*calls[*item].name));
    let may_repeat = match repeat {
        Repeat::Freely => upstream::Repeat::Safe,
        Repeat::InTurn | Repeat::IfUnsent => upstream::Repeat::OnlyUnsent,
    };
    let answer = link.upstream.post(body, deadline, None, may_repeat).await;
    let (received, sent) = match &answer {
        Ok(answer) => {
            chain.saw(backend, answer);
            (Received::Answer { status: answer.status, headers: &answer.headers, body: &answer.body }, true)
        }
        Err(error) => (Received::Failed(error.failure), error.sent != upstream::Sent::Nothing),
    };
    let now_unix_s = super::unix_time_s();
    let verdicts = match &*sent_calls {
        [call] => vec![classify::classify(call, &received, now_unix_s)],
        several => {
            let batch = classify::classify_batch(several, &received, now_unix_s);
            if batch.stray.is_some() {
                tracing::debug!(backend = %link.name, "answers to calls that were not made were dropped");
            }
            batch.items
        }
    };
    let judged = |(item, verdict): (usize, Verdict)| {
        chain.lacked(backend, &calls[item], &verdict.outcome);
        (item, judge(&calls[item], verdict))
    };
    Part { verdicts: items.iter().copied().zip(verdicts).map(judged).collect(), sent }
}

pub(super) fn body(calls: &[Call<'_>], items: &[usize], first_id: u64) -> Bytes {
    /// An envelope with a usual method name, and a little room.
    const ENVELOPE_BYTES: usize = 96;
    let params = |item: &usize| calls[*item].params.as_ref().map(|raw| raw.get());
    let room = items.iter().map(|item| ENVELOPE_BYTES + params(item).map_or(2, str::len)).sum();
    let mut out = Vec::with_capacity(room);
    let batch = items.len() > 1;
    for (id, item) in (first_id..).zip(items) {
        if batch {
            out.push(if id == first_id { b'[' } else { b',' });
        }
        write_call(&mut out, id, &calls[*item].name, params(item));
    }
    if batch {
        out.push(b']');
    }
    out.into()
}

fn empty_is_suspicious(method: &Method) -> bool {
    method.null_is_suspicious() || method.name == "eth_getLogs"
}

/// What only the request itself can tell of an answer: a backend that names another hash for a
/// transaction did not publish these bytes, and one that tells logs of other blocks did not search these.
fn judge(call: &Call<'_>, verdict: Verdict) -> Verdict {
    if let Some(span) = &call.logs {
        return ranges::judge(span, verdict);
    }
    let Some(transaction) = &call.transaction else { return verdict };
    if call.method.kind != MethodKind::TxSubmit || verdict.outcome.class != Class::Ok {
        return verdict;
    }
    let names_our_hash = match &verdict.payload {
        Some(Payload::Result(bytes)) => {
            let said = std::str::from_utf8(bytes).unwrap_or_default();
            // The synchronous form answers with a receipt, which holds the hash among others.
            let ours = format!("{:#x}", transaction.hash());
            said.to_ascii_lowercase().contains(&ours)
        }
        _ => false,
    };
    if names_our_hash || !transaction.is_decoded() { verdict } else { lying().into() }
}

/// It answered, well formed and wrong: that is its fault, and another backend may be honest.
fn lying() -> Outcome {
    Outcome { retry_elsewhere: true, hurts_health: true, ..Outcome::of(Class::SilentWrong) }
}
