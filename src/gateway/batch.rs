//! A batch from its items to its answers, in the client's order.

use std::sync::Arc;

use futures_util::future::{join_all, join4};

use crate::cache::Seat;
use crate::ethereum::{Method, MethodKind};
use crate::jsonrpc::{ErrorObject, Id, Item, Rejected, code};
use crate::policy::{Depth, Plan};

use super::admit::{Admission, admit};
use super::call::{Answered, Call};
use super::carry::{answered_by_sight, ask, keep, plan, told};
use super::chain::Chain;
use super::forward::{Landed, forward};
use super::known::{self, Leader, Question, question};
use super::packet::{Answer, Pieces, Trail};
use super::resolve::{Sight, needs_sight};
use super::standing::{Caller, carry, is_of_subscriptions, subscribe};
use super::write;
use super::{agree, nonce, ranges};

/// A batch: calls of one class travel together, transactions and filters one after the other in the
/// client's order, all of them at the same time. Subscriptions are made when all else is answered.
pub(super) async fn batch(chain: &Arc<Chain>, caller: &Caller<'_>, items: Vec<Item<'_>>) -> Answer {
    let mut answers: Vec<Option<(Id<'_>, Answered)>> = Vec::new();
    // Of each of them, in order; none where the item was no request.
    let mut methods: Vec<Option<&'static Method>> = Vec::new();
    let mut asked = chain.tally.begin(chain.now());
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut in_turn: Vec<(Option<usize>, Call<'_>)> = Vec::new();
    let mut merged: Vec<(usize, Call<'_>)> = Vec::new();
    let mut at_last: Vec<(usize, Call<'_>)> = Vec::new();
    // Somebody asks the same already, maybe an earlier item.
    let mut waiting = Vec::new();
    // One for all: `latest` of every item is the same block (BEHAVIOURS C2).
    let mut sight = None;
    for item in items {
        let request = match item {
            Ok(request) => request,
            Err(Rejected { id, error }) => {
                chain.tally.malformed();
                methods.extend(id.is_some().then_some(None));
                answers.extend(id.map(|id| Some((id, Answered::refused(error)))));
                continue;
            }
        };
        let id = request.id;
        let at = id.map(|_| answers.len());
        if at.is_some() {
            methods.push(Some(Method::lookup(&request.method)));
            asked.expect();
        }
        match admit(&chain.settings, request) {
            Admission::Answered(answered) => answers.extend(id.map(|id| Some((id, answered)))),
            Admission::Forward(call) if is_of_subscriptions(&call) => {
                at_last.extend(at.map(|at| (at, call)));
                answers.extend(id.map(|id| Some((id, unanswered()))));
            }
            Admission::Forward(call) if must_go_in_turn(&call) => {
                if at.is_some() || call.method.kind == MethodKind::TxSubmit {
                    in_turn.push((at, call));
                }
                answers.extend(id.map(|id| Some((id, unanswered()))));
            }
            Admission::Forward(call) if at.is_some() && nonce::is_merged(chain, &call) => {
                merged.extend(at.map(|at| (at, call)));
                answers.extend(id.map(|id| Some((id, unanswered()))));
            }
            Admission::Forward(mut call) => {
                if sight.is_none() && needs_sight(&call) {
                    let seen = Sight::of(chain).await;
                    sight = Some((seen, chain.known.view()));
                }
                let (seen, view) = match &sight {
                    Some((seen, view)) => (*seen, view.clone()),
                    None => (Sight::default(), chain.known.view()),
                };
                let mut answered = answered_by_sight(&call, &seen);
                if let Some(at) = at.filter(|_| answered.is_none()) {
                    let question = question(chain, caller.terms, &view, &call, &seen);
                    answered = question.as_ref().and_then(|q| chain.known.answer(chain, q, &call));
                    if answered.is_none() {
                        match question.as_ref().and_then(|question| chain.known.board(question)) {
                            Some(seat @ Seat::Follow(_)) => {
                                waiting.push((at, call, seen, question, Some(seat)));
                            }
                            seat => {
                                let apart = ranges::Apart::of(chain, &call, &seen);
                                match apart.map(|apart| apart.at_once(chain, &seen)) {
                                    // It takes too many pieces.
                                    Some(None) => waiting.push((at, call, seen, question, seat)),
                                    Some(Some((calls, plan))) => {
                                        let whole = Some((call, seen));
                                        let leader = leader(seat);
                                        let passenger =
                                            Passenger { at, question, leader, calls: calls.len(), whole };
                                        Group::add(&mut groups, plan, calls, passenger);
                                    }
                                    None => {
                                        let plan = plan(chain, &mut call, &seen);
                                        let leader = leader(seat);
                                        let passenger =
                                            Passenger { at, question, leader, calls: 1, whole: None };
                                        Group::add(&mut groups, plan, vec![call], passenger);
                                    }
                                }
                            }
                        }
                    }
                }
                answers.extend(id.map(|id| Some((id, answered.unwrap_or_else(unanswered)))));
            }
        }
    }
    let together = join_all(groups.into_iter().map(|group| group.carry(chain)));
    let one_by_one = async {
        let mut done = Vec::with_capacity(in_turn.len());
        for (at, call) in in_turn {
            done.push((at, carry(chain, caller, call).await));
        }
        done
    };
    let merged = join_all(merged.into_iter().map(async |(at, call)| (at, carry(chain, caller, call).await)));
    let waiting = join_all(waiting.into_iter().map(async |(at, call, sight, question, seat)| {
        (at, known::sit(chain, call, sight, question, seat).await)
    }));
    let (together, one_by_one, merged, waited) = join4(together, one_by_one, merged, waiting).await;
    let alone = one_by_one.into_iter().filter_map(|(at, answered)| at.map(|at| (at, answered)));
    let subscribed = at_last.into_iter().map(|(at, call)| (at, subscribe(caller, &call)));
    for (at, answered) in
        together.into_iter().flatten().chain(alone).chain(merged).chain(waited).chain(subscribed)
    {
        if let Some(Some((_, slot))) = answers.get_mut(at) {
            *slot = answered;
        }
    }
    let now = chain.now();
    for (method, (_, answered)) in methods.into_iter().zip(answers.iter().flatten()) {
        if let Some(method) = method {
            asked.answer(now, method, answered);
        }
    }
    assemble(answers.into_iter().flatten())
}

/// Stands in a batch's answers until the call's own answer takes its place.
fn unanswered() -> Answered {
    Answered::failed(ErrorObject::new(code::INTERNAL_ERROR, "internal error"), 0)
}

fn assemble<'a>(answers: impl Iterator<Item = (Id<'a>, Answered)>) -> Answer {
    let mut trail = Trail::default();
    let mut body = Vec::new();
    for (id, answered) in answers {
        body.push(if body.is_empty() { b'[' } else { b',' });
        write(&mut body, &id, &answered.said);
        trail.merge(answered.trail);
    }
    if body.is_empty() {
        return Answer { body: None, trail };
    }
    body.push(b']');
    Answer { body: Some(Pieces::Whole(body.into())), trail }
}

/// What changes something, or hangs on a handle that an earlier call made; and what only relays may see.
fn must_go_in_turn(call: &Call<'_>) -> bool {
    let method = call.method;
    method.kind == MethodKind::TxSubmit
        || method.is_for_relays()
        || method.sticky().is_some()
        || !method.batchable()
}

fn leader(seat: Option<Seat<Answered>>) -> Option<Leader> {
    match seat {
        Some(Seat::Lead(leader)) => Some(leader),
        Some(Seat::Follow(_)) | None => None,
    }
}

/// A call of a batch that a backend is asked for.
struct Passenger<'a> {
    /// Its place among the answers.
    at: usize,
    /// What others may ask as well.
    question: Option<Question>,
    /// Others wait for its answer.
    leader: Option<Leader>,
    /// As how many calls it travels.
    calls: usize,
    /// The call itself and what it sees, where it may have to be asked once more, alone.
    whole: Option<(Call<'a>, Sight)>,
}

/// Calls of a batch that share a plan.
struct Group<'a> {
    plan: Plan,
    /// Whose they are, in their order.
    passengers: Vec<Passenger<'a>>,
    calls: Vec<Call<'a>>,
}

impl<'a> Group<'a> {
    /// Puts calls with their like. A group's plan has the latest deadline and the greatest urgency of its calls, and
    /// names no method unless all of them have the same one.
    fn add(groups: &mut Vec<Self>, plan: Plan, calls: Vec<Call<'a>>, passenger: Passenger<'a>) {
        let alike = |group: &&mut Self| {
            let (a, b) = (&group.plan, &plan);
            (a.need.class, a.need.prefer, a.repeat) == (b.need.class, b.need.prefer, b.repeat)
                && a.need.rests.and(b.need.rests).is_some()
        };
        match groups.iter_mut().find(alike) {
            Some(group) => {
                group.plan.deadline = group.plan.deadline.max(plan.deadline);
                group.plan.need.rests = group.plan.need.rests.and(plan.need.rests).unwrap_or_default();
                group.plan.need.depth = deeper(group.plan.need.depth, plan.need.depth);
                group.plan.need.log_blocks = group.plan.need.log_blocks.max(plan.need.log_blocks);
                group.plan.need.urgency = group.plan.need.urgency.max(plan.need.urgency);
                group.plan.need.method = group.plan.need.method.filter(|m| Some(*m) == plan.need.method);
                group.passengers.push(passenger);
                group.calls.extend(calls);
            }
            None => groups.push(Self { plan, passengers: vec![passenger], calls }),
        }
    }

    async fn carry(self, chain: &Arc<Chain>) -> Vec<(usize, Answered)> {
        let Self { plan, passengers, calls } = self;
        let mut landed = forward(chain, &calls, plan).await.into_iter();
        let mut calls = &calls[..];
        let mut told = Vec::with_capacity(passengers.len());
        for passenger in passengers {
            let (own, others) = calls.split_at(passenger.calls.min(calls.len()));
            calls = others;
            let landed: Vec<Landed> = landed.by_ref().take(own.len()).collect();
            told.push(async move {
                let Passenger { at, question, leader, whole, .. } = passenger;
                let told = match whole {
                    None => alone(chain, own, landed, question.as_ref()),
                    Some((call, sight)) => match ranges::joined(chain, own, landed, question.as_ref()) {
                        Some(told) => told,
                        // A piece that nobody had, or that is too large: there is more to be tried than here.
                        None => ask(chain, call, sight, question.as_ref()).await,
                    },
                };
                if let Some(leader) = leader {
                    leader.land(&told);
                }
                (at, told)
            });
        }
        join_all(told).await
    }
}

/// What a call is told that travelled as it is.
fn alone(chain: &Chain, calls: &[Call<'_>], landed: Vec<Landed>, question: Option<&Question>) -> Answered {
    let (Some(call), Some(landed)) = (calls.first(), landed.into_iter().next()) else { return unanswered() };
    if let Some(question) = question {
        keep(chain, question, &landed);
    }
    let told = told(chain, call, landed);
    if agree::denies(chain, call, &told) { agree::ask_again(told) } else { told }
}

/// What reaches further back of two: whoever has that has the other too, as far as they are of one kind.
fn deeper(a: Option<Depth>, b: Option<Depth>) -> Option<Depth> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.blocks >= b.blocks { a } else { b }),
        (a, b) => a.or(b),
    }
}
