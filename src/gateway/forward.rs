//! Calls on their way to backends and back: drives a [`Flight`] under tokio.
//!
//! One task runs a request from its first attempt to its answer, hedges and retries included; nothing is
//! spawned. Dropping the future is how a client that hung up cancels its attempts.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::jsonrpc::reply::Payload;
use crate::policy::classify::Verdict;
use crate::policy::{BackendIndex, Class, Event, Flight, Outcome, Plan, Step};

use super::aside::send_aside;
use super::attempt::{Ended, Order, attempt};
use super::call::Call;
use super::chain::Chain;

/// From here on an outcome is what a node said of the call itself, see [`Outcome::tells`].
pub(super) const NODES_WORD: u8 = 2;

/// What became of one call.
pub(super) struct Landed {
    /// The best that any backend said, and who said it; `None` when none could be asked in time.
    pub(super) said: Option<(Verdict, BackendIndex)>,
    /// Backends that were asked.
    pub(super) attempts: u32,
    /// Some backend may have carried the call out without our hearing of it: it got the bytes, and no word
    /// of a node on them came back.
    pub(super) in_the_dark: bool,
}

impl Landed {
    /// A call that nobody was asked for.
    pub(super) const NOWHERE: Self = Self { said: None, attempts: 0, in_the_dark: false };

    /// Whoever was asked lacks the block, or nobody who has it could be asked.
    pub(super) fn lacks_block(&self) -> bool {
        self.said.as_ref().is_none_or(|(verdict, _)| {
            let outcome = &verdict.outcome;
            outcome.retry_elsewhere && matches!(outcome.class, Class::BlockNotFound | Class::AheadOfHead)
        })
    }
}

/// Sends the calls, which share one plan, until each is answered or nobody is left to ask. Gives one
/// [`Landed`] per call, in their order.
pub(super) async fn forward(chain: &Arc<Chain>, calls: &[Call<'_>], plan: Plan) -> Vec<Landed> {
    forward_telling(chain, calls, plan, |_| {}).await
}

/// The same; `sending` hears of every backend that is asked, before it is.
pub(super) async fn forward_telling(
    chain: &Arc<Chain>,
    calls: &[Call<'_>],
    plan: Plan,
    mut sending: impl FnMut(BackendIndex),
) -> Vec<Landed> {
    let mut board = Board::new(calls.len());
    let mut course = Course { chain, flight: Flight::new(plan) };
    let mut under_way = UnderWay::default();
    let count = |of: &AtomicU64, calls: usize| of.fetch_add(calls as u64, Ordering::Relaxed);
    count(&chain.calls.carried, calls.len());
    let mut step = course.on(Event::Start);
    let (mut asked_before, mut by_time) = (false, false);
    // Who waits to compare a copy's answer with what the client is told.
    let mut tell_copy = None;
    loop {
        let wake = match step {
            Step::Send { backend, wake, copy_to } => {
                sending(backend);
                if let Some(copy_to) = copy_to {
                    count(&chain.calls.copies, calls.len());
                    tell_copy = send_aside(chain, calls, copy_to, plan.need);
                }
                if asked_before {
                    // Somebody who is still silent is hedged; after a failure it is another attempt.
                    let hedged = by_time && !under_way.is_empty();
                    count(
                        if hedged { &chain.calls.hedges } else { &chain.calls.retries },
                        board.open().len(),
                    );
                }
                asked_before = true;
                let items = board.open();
                board.asked(&items);
                let order = Order { backend, items, deadline: plan.deadline, repeat: plan.repeat };
                under_way.push(attempt(chain, calls, order));
                wake
            }
            Step::Wait { wake } => wake,
            Step::Answer | Step::GiveUp => {
                // Attempts that are cancelled now have sent their bytes, as far as anybody can tell.
                if !under_way.is_empty() {
                    board.landed.iter_mut().for_each(|landed| landed.in_the_dark = true);
                }
                if let (Some(tell), [landed]) = (tell_copy, &*board.landed)
                    && let Some((Verdict { payload: Some(Payload::Result(told)), .. }, _)) = &landed.said
                {
                    // Nobody listens where the copy has failed.
                    let _ = tell.send(told.clone());
                }
                return board.landed;
            }
        };
        let ended = under_way.next_until(chain.instant(wake)).await;
        by_time = ended.is_none();
        step = match ended {
            Some(ended) => {
                let (backend, sent) = (ended.backend, ended.sent);
                let outcome = board.take(ended);
                tracing::debug!(
                    chain = %chain.settings.name,
                    backend = %chain.link(backend).name,
                    method = calls[0].method.name,
                    calls = calls.len(),
                    class = ?outcome.class,
                    "attempt ended"
                );
                course.on(Event::Ended { backend, outcome: &outcome, sent })
            }
            None => course.on(Event::Timer),
        };
    }
}

/// The attempts of one request that are under way: one nearly always, and a few at most. All of them are polled whenever
/// one wakes, which is cheaper than to tell them apart.
struct UnderWay<F> {
    attempts: Vec<Pin<Box<F>>>,
    /// One for the whole request, set anew for each step.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<F> Default for UnderWay<F> {
    fn default() -> Self {
        Self { attempts: Vec::new(), alarm: None }
    }
}

impl<F: Future> UnderWay<F> {
    fn push(&mut self, attempt: F) {
        self.attempts.push(Box::pin(attempt));
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// What the next attempt comes to that ends; nothing when none does before `wake`.
    async fn next_until(&mut self, wake: Instant) -> Option<F::Output> {
        let mut set = false;
        poll_fn(|cx| {
            for at in 0..self.attempts.len() {
                if let Poll::Ready(ended) = self.attempts[at].as_mut().poll(cx) {
                    drop(self.attempts.swap_remove(at));
                    return Poll::Ready(Some(ended));
                }
            }
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(wake)));
            if !std::mem::replace(&mut set, true) && alarm.deadline() != wake {
                alarm.as_mut().reset(wake);
            }
            alarm.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}

/// A flight that is told when its request is dropped before its end.
struct Course<'a> {
    chain: &'a Chain,
    flight: Flight,
}

impl Course<'_> {
    fn on(&mut self, event: Event<'_>) -> Step {
        let now = self.chain.now();
        let mut decider = self.chain.decide();
        let super::chain::Decider { fleet, rng, .. } = &mut *decider;
        let step = self.flight.on(now, event, fleet, rng);
        let news = fleet.notes().written();
        drop(decider);
        self.chain.tell_changes(news);
        step
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        if !self.flight.is_over() {
            self.flight.abandon(&mut self.chain.decide().fleet);
        }
    }
}

/// Which calls are answered, and what the best answer to each is so far.
struct Board {
    landed: Vec<Landed>,
    settled: Vec<bool>,
}

impl Board {
    fn new(calls: usize) -> Self {
        Self { landed: (0..calls).map(|_| Landed::NOWHERE).collect(), settled: vec![false; calls] }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.settled.len()).filter(|item| !self.settled[*item]).collect()
    }

    fn asked(&mut self, items: &[usize]) {
        for item in items {
            self.landed[*item].attempts += 1;
        }
    }

    /// Books an attempt's verdicts; gives the outcome that stands for all of them: of those that need
    /// another backend the worst, or else how the last one was settled.
    fn take(&mut self, ended: Ended) -> Outcome {
        let mut worst: Option<Outcome> = None;
        for (item, verdict) in ended.verdicts {
            let outcome = verdict.outcome.clone();
            if ended.sent && outcome.retry_elsewhere && outcome.tells() < NODES_WORD {
                self.landed[item].in_the_dark = true;
            }
            if self.settled[item] {
                continue;
            }
            if !outcome.retry_elsewhere && !outcome.retry_here {
                self.settled[item] = true;
                self.landed[item].said = Some((verdict, ended.backend));
            } else {
                let tells_more = self.landed[item]
                    .said
                    .as_ref()
                    .is_none_or(|(known, _)| known.outcome.tells() < outcome.tells());
                if tells_more {
                    self.landed[item].said = Some((verdict, ended.backend));
                }
            }
            if worst.as_ref().is_none_or(|worst| severity(&outcome) >= severity(worst)) {
                worst = Some(outcome);
            }
        }
        worst.unwrap_or_else(|| Outcome::of(Class::Ok))
    }
}

fn severity(outcome: &Outcome) -> (bool, bool) {
    (outcome.retry_elsewhere || outcome.retry_here, outcome.hurts_health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Fleet;
    use crate::policy::{BackendSpec, DomainLabels, Tier};

    fn ended(backend: BackendIndex, classes: &[Class], sent: bool) -> Ended {
        let verdicts = classes.iter().map(|class| Verdict::from(Outcome::of(*class))).enumerate().collect();
        Ended { backend, verdicts, sent }
    }

    fn somebody() -> BackendIndex {
        let spec = BackendSpec {
            name: "a".into(),
            tier: Tier::Primary,
            private: false,
            labels: DomainLabels::new(),
            limit_per_s: None,
        };
        Fleet::new(vec![spec]).index(0).expect("one backend")
    }

    #[test]
    fn t3_a_lost_answer_leaves_its_call_in_the_dark_whatever_another_backend_says() {
        let a = somebody();
        for (first, sent, in_the_dark) in [
            (Class::TimeoutUpstream, true, true),
            (Class::Overloaded, true, true),
            (Class::NotJson, true, true),
            // Nobody listened, or a node gave its word on the transaction.
            (Class::ConnectionError, false, false),
            (Class::TxPoolFull, true, false),
        ] {
            let mut board = Board::new(1);
            board.take(ended(a, &[first], sent));
            board.take(ended(a, &[Class::TxInsufficientFunds], true));
            let landed = &board.landed[0];
            assert_eq!(landed.in_the_dark, in_the_dark, "{first:?}");
            let said = landed.said.as_ref().map(|(verdict, _)| verdict.outcome.class);
            assert_eq!(said, Some(Class::TxInsufficientFunds));
        }
    }
}
