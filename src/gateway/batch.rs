//! A batch from its items to its answers, in the client's order.

use std::sync::Arc;

use futures_util::future::{join_all, join4};

use crate::cache::Seat;
use crate::ethereum::{Method, MethodKind};
use crate::jsonrpc::{ErrorObject, Id, Item, Rejected, code};
use crate::policy::{Depth, Plan};

use super::admit::{Admission, admit};
use super::call::{Answered, Call};
use super::carry::{answered_by_sight, keep, plan, told};
use super::chain::Chain;
use super::forward::forward;
use super::known::{self, Leader, Question, question};
use super::packet::{Answer, Pieces, Trail};
use super::resolve::{Sight, needs_sight};
use super::standing::{Caller, carry, is_of_subscriptions, subscribe};
use super::write;
use super::{agree, nonce};

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
            Admission::Forward(call) => {
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
                            Some(seat @ Seat::Follow(_)) => waiting.push((at, call, seen, question, seat)),
                            Some(Seat::Lead(leader)) => {
                                let item = Passenger { at, call, question, leader: Some(leader) };
                                Group::add(&mut groups, chain, item, &seen);
                            }
                            None => {
                                Group::add(
                                    &mut groups,
                                    chain,
                                    Passenger { at, call, question, leader: None },
                                    &seen,
                                );
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

/// A call of a batch that a backend is asked for.
struct Passenger<'a> {
    /// Its place among the answers.
    at: usize,
    call: Call<'a>,
    /// What others may ask as well.
    question: Option<Question>,
    /// Others wait for its answer.
    leader: Option<Leader>,
}

/// Calls of a batch that share a plan.
struct Group<'a> {
    plan: Plan,
    /// Their places, and what else becomes of their answers.
    places: Vec<(usize, Option<Question>, Option<Leader>)>,
    calls: Vec<Call<'a>>,
}

impl<'a> Group<'a> {
    /// Puts a call with its like. A group's plan has the latest deadline and the greatest urgency of its calls, and
    /// names no method unless all of them have the same one.
    fn add(groups: &mut Vec<Self>, chain: &Chain, passenger: Passenger<'a>, sight: &Sight) {
        let Passenger { at, mut call, question, leader } = passenger;
        let place = (at, question, leader);
        let plan = plan(chain, &mut call, sight);
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
                group.plan.need.urgency = group.plan.need.urgency.max(plan.need.urgency);
                group.plan.need.method = group.plan.need.method.filter(|m| Some(*m) == plan.need.method);
                group.places.push(place);
                group.calls.push(call);
            }
            None => groups.push(Self { plan, places: vec![place], calls: vec![call] }),
        }
    }

    async fn carry(self, chain: &Arc<Chain>) -> Vec<(usize, Answered)> {
        let landed = forward(chain, &self.calls, self.plan).await;
        self.places
            .into_iter()
            .zip(landed.into_iter().zip(&self.calls))
            .map(|((place, question, leader), (landed, call))| {
                if let Some(question) = &question {
                    keep(chain, question, &landed);
                }
                let told = told(chain, call, landed);
                let told = if agree::denies(chain, call, &told) { agree::ask_again(told) } else { told };
                if let Some(leader) = leader {
                    leader.land(&told);
                }
                (place, told)
            })
            .collect()
    }
}

/// What reaches further back of two: whoever has that has the other too, as far as they are of one kind.
fn deeper(a: Option<Depth>, b: Option<Depth>) -> Option<Depth> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.blocks >= b.blocks { a } else { b }),
        (a, b) => a.or(b),
    }
}
