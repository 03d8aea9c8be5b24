//! Calls that no client waits for, in tasks of their own: copies of requests that prove whether a backend is
//! well again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::chain::{contradict, has_one_answer};
use crate::jsonrpc::reply::Payload;
use crate::policy::classify::{self, Received};
use crate::policy::{Attempted, BackendIndex, Class, Need, Outcome, Timestamp};
use crate::upstream;

use super::attempt::body;
use super::call::Call;
use super::chain::Chain;

/// A copy that has no answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends the calls to `backend` as well. The fleet has booked the attempt as started. Where the answer can be compared
/// with what the client is told, that is to be sent to whom it gives.
pub(super) fn send_aside(
    chain: &Arc<Chain>,
    calls: &[Call<'_>],
    backend: BackendIndex,
    need: Need,
) -> Option<oneshot::Sender<Bytes>> {
    let first_id = chain.ids(calls.len());
    let items: Vec<usize> = (0..calls.len()).collect();
    let body = body(calls, &items, first_id);
    chain.spend(backend, calls.iter().map(|call| &*call.name));
    let methods: Vec<String> = calls.iter().map(|call| call.name.clone().into_owned()).collect();
    let sent_at = chain.now();
    let deadline = sent_at + PATIENCE;
    let repeat = if need.submits { upstream::Repeat::OnlyUnsent } else { upstream::Repeat::Safe };
    let is_compared = matches!(calls, [call] if has_one_answer(call.method, call.params.as_deref()));
    let (tell, told) = if is_compared { Some(oneshot::channel::<Bytes>()).unzip() } else { (None, None) };
    let booking = Booking::open(chain.clone(), backend, need);
    tokio::spawn(async move {
        let link = booking.chain.link(backend);
        let until = booking.chain.instant(deadline);
        let answer = link.upstream.post(body, until, None, repeat).await;
        let received = match &answer {
            Ok(answer) => {
                Received::Answer { status: answer.status, headers: &answer.headers, body: &answer.body }
            }
            Err(error) => Received::Failed(error.failure),
        };
        let sent: Vec<classify::Sent<'_>> = methods
            .iter()
            .zip(first_id..)
            .map(|(method, id)| classify::Sent {
                chain_id: Some(booking.chain.settings.chain_id),
                vendor: link.vendor.as_deref(),
                ..classify::Sent::new(id, method)
            })
            .collect();
        let mut copied = None;
        let outcome = match &*sent {
            [one] => {
                let verdict = classify::classify(one, &received, super::unix_time_s());
                copied = verdict.payload;
                verdict.outcome
            }
            several => classify::classify_batch(several, &received, super::unix_time_s())
                .items
                .into_iter()
                .map(|verdict| verdict.outcome)
                .max_by_key(|outcome| outcome.hurts_health)
                .unwrap_or_else(|| Outcome::of(Class::Ok)),
        };
        let chain = booking.chain.clone();
        booking.close(&outcome);
        if let (Some(told), Some(Payload::Result(copied))) = (told, copied)
            && let Ok(Ok(told)) = timeout(PATIENCE, told).await
            && contradict(&told, &copied)
        {
            contradicted(&chain, backend);
        }
    });
    tell
}

/// The fleet's account of such a call: closed with an outcome, or, when the task ends before, without one.
pub(super) struct Booking {
    chain: Arc<Chain>,
    backend: BackendIndex,
    need: Need,
    sent_at: Timestamp,
    open: bool,
}

impl Booking {
    /// The attempt starts now.
    pub(super) fn open(chain: Arc<Chain>, backend: BackendIndex, need: Need) -> Self {
        let sent_at = chain.now();
        Self { chain, backend, need, sent_at, open: true }
    }

    pub(super) fn close(mut self, outcome: &Outcome) {
        self.open = false;
        let now = self.chain.now();
        let took = now.since(self.sent_at);
        let attempted = Attempted { backend: self.backend, need: self.need, took };
        self.chain.decide().fleet.aside_ended(now, attempted, outcome);
    }
}

/// Of two answers to one question one is wrong, and who was ill before is believed less.
fn contradicted(chain: &Chain, backend: BackendIndex) {
    let name = &chain.link(backend).name;
    tracing::warn!(chain = %chain.settings.name, backend = %name, "answers otherwise than the backend that serves");
    let mut decider = chain.decide();
    decider.follower.contradicted(chain.now(), backend);
    chain.took_note(decider);
}

impl Drop for Booking {
    fn drop(&mut self) {
        if self.open {
            self.chain.decide().fleet.abandoned(self.backend, self.need.class);
        }
    }
}
