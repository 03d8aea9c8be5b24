//! Reads of logs over ranges, in pieces: the newest blocks by their hashes, so that whoever lacks one says so, and what is
//! wider than backends take in parts that they do. All of it, or an error.

mod apart;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use crate::ethereum::{BlockTag, LogSpan, block_refs, merge_lists};
use crate::jsonrpc::{ErrorObject, code};
use crate::policy::{BackendIndex, Class, Timestamp, cut_range};

use super::call::{Answered, Call, Said};
use super::carry::{keep, told};
use super::chain::Chain;
use super::forward::{Landed, forward};
use super::known::Question;
use super::packet::{Source, Trail};
use super::resolve::Sight;
pub(super) use apart::{Apart, judge};

/// Pieces of one read that are under way together.
const AT_ONCE: usize = 16;
/// Pieces of one read in all.
const PIECES_MAX: usize = 256;
/// A piece that found everybody full is asked for so often again, after 0.2, 0.4, 0.8 s.
const TURNS: u32 = 3;
const TURN_PAUSE: Duration = Duration::from_millis(200);
/// How often blocks are named anew, and how long a look at the chain is waited for before that: a reorg is seen by then.
const ROUNDS: u32 = 6;
const LOOK_MAX: Duration = Duration::from_millis(300);

/// Pieces that travel together.
#[derive(Debug)]
struct Job {
    spans: Vec<LogSpan>,
    turn: u32,
}

/// Why there is no whole answer.
enum Fault {
    /// Whoever was asked lacks a block.
    Lacks(Answered),
    /// Nobody takes the hash of a block.
    Refuses,
    /// The client is told this.
    Told(Answered),
}

/// Puts the answers to [`Apart::at_once`] together; `None` where one of them is none, and the call is to be asked alone.
pub(super) fn joined(
    chain: &Chain,
    calls: &[Call<'_>],
    landed: Vec<Landed>,
    question: Option<&Question>,
) -> Option<Answered> {
    let mut trail = Trail::default();
    let mut parts = Vec::with_capacity(landed.len());
    let mut from = Vec::with_capacity(landed.len());
    for (call, landed) in calls.iter().zip(landed) {
        let class = landed.said.as_ref().map(|(verdict, _)| verdict.outcome.class);
        let is_whole = calls.len() == 1 && call.logs.is_none();
        from.push(landed.said.as_ref().map(|(_, backend)| *backend));
        let told = told(chain, call, landed);
        match told.said {
            // An empty list that is doubted is none.
            Said::Result(bytes) if is_whole || class == Some(Class::Ok) => parts.push(bytes),
            Said::Error(_)
                if is_whole && !matches!(class, Some(Class::RangeTooLarge | Class::ResponseTooLarge)) =>
            {
                return Some(told);
            }
            _ => return None,
        }
        trail.merge(told.trail);
    }
    let result = merge_parts(parts.iter())?;
    keep_whole(chain, question, &from, &result);
    Some(Answered { said: Said::Result(result), trail })
}

fn merge_parts<'a>(mut parts: impl ExactSizeIterator<Item = &'a Bytes>) -> Option<Bytes> {
    match parts.len() {
        // As it came.
        1 => parts.next().cloned(),
        _ => merge_lists(parts.map(AsRef::as_ref)),
    }
}

/// Keeps what one backend alone has answered.
fn keep_whole(chain: &Chain, question: Option<&Question>, from: &[Option<BackendIndex>], result: &Bytes) {
    if let (Some(question), Some(Some(first))) = (question, from.first())
        && from.iter().all(|backend| *backend == Some(*first))
    {
        chain.known.keep(chain, question, *first, result);
    }
}

/// Gets a read of logs answered; `None` where it is no such read, or nothing that can be taken apart.
pub(super) async fn ask(
    chain: &Arc<Chain>,
    call: &Call<'_>,
    sight: Sight,
    question: Option<&Question>,
) -> Option<Answered> {
    let moves = block_refs(call.method, call.params.as_deref()).mentions(BlockTag::Latest);
    let deadline = chain.now() + chain.routing.deadline_for(call.method);
    let (mut sight, mut question) = (sight, question);
    let (mut by_hash, mut attempts) = (true, 0);
    let mut failed = None;
    let mut events = chain.tip.listen();
    for again in 0..ROUNDS {
        let Some(mut apart) = Apart::of(chain, call, &sight) else { break };
        if !by_hash {
            apart = apart.by_heights();
        }
        let mut run = Run { chain, apart: &apart, sight, question, deadline, trail: Trail::default() };
        let ended = run.carry().await;
        attempts += run.trail.attempts;
        let is_served = |span: &LogSpan| match span {
            LogSpan::Block { number, hash } => {
                chain.decide().follower.served(*number).is_none_or(|served| served.id.hash == *hash)
            }
            LogSpan::Heights { .. } => true,
        };
        let lacks = match ended {
            // Of two branches, a part of each: no answer, and the blocks are named anew.
            Ok(_) if again == 0 && !apart.newest.iter().all(is_served) => {
                (sight, question) = (Sight::of(chain).await, None);
                continue;
            }
            Ok(result) => {
                let trail = Trail { attempts, ..run.trail };
                return Some(Answered { said: Said::Result(result), trail });
            }
            Err(Fault::Told(told)) => return Some(counted(told, attempts)),
            Err(Fault::Refuses) => {
                by_hash = false;
                continue;
            }
            Err(Fault::Lacks(told)) => told,
        };
        failed = Some(lacks);
        if !apart.newest.iter().all(is_served) {
            // Another branch is served by now: what `latest` is, and what its blocks are, is another question.
            (sight, question) = (Sight::of(chain).await, None);
            continue;
        }
        // Everybody who has the head is gone: what the others take for the latest is better than nothing. Who named a
        // number is not told of less.
        match sight.lowered(chain) {
            Some(lower) if again > 0 && moves => (sight, question) = (lower, None),
            // Several nodes behind one URL differ.
            Some(_) if again == 0 => chain.look_wanted.notify_waiters(),
            // Everybody may have left the block behind, and nobody has looked since.
            None if !apart.newest.is_empty() => {
                chain.look_wanted.notify_waiters();
                let _ = timeout(LOOK_MAX, events.recv()).await;
                (sight, question) = (Sight::of(chain).await, None);
            }
            _ => break,
        }
    }
    failed.map(|told| counted(told, attempts))
}

fn counted(mut told: Answered, attempts: u32) -> Answered {
    told.trail.attempts = attempts;
    if attempts > 0 {
        told.trail.source = Source::Backend;
    }
    told
}

/// One way through all pieces of a read.
struct Run<'a> {
    chain: &'a Arc<Chain>,
    apart: &'a Apart,
    sight: Sight,
    question: Option<&'a Question>,
    deadline: Timestamp,
    trail: Trail,
}

impl Run<'_> {
    async fn carry(&mut self) -> Result<Bytes, Fault> {
        let mut waiting = self.jobs()?;
        let (mut calls, mut bytes, mut at_once) = (pieces(&waiting), 0, AT_ONCE);
        let mut done: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut from = Vec::new();
        let mut under_way = FuturesUnordered::new();
        let (chain, apart, sight, deadline) = (self.chain, self.apart, self.sight, self.deadline);
        loop {
            while under_way.len() < at_once
                && let Some(job) = waiting.pop_front()
            {
                if let [span] = &*job.spans
                    && let Some(known) = self.known(span)
                {
                    self.trail.merge(known.1);
                    done.insert(span.first(), known.0);
                    from.push(None);
                    continue;
                }
                under_way.push(carry_job(chain, apart, sight, deadline, job));
            }
            let Some((job, calls_of_job, landed)) = under_way.next().await else { break };
            let mut again = Vec::new();
            for ((span, call), landed) in job.spans.iter().zip(&calls_of_job).zip(landed) {
                self.trail.attempts += landed.attempts;
                let class = landed.said.as_ref().map(|(verdict, _)| verdict.outcome.class);
                match class {
                    Some(Class::Ok) => {
                        self.keep(span, &landed);
                        from.push(landed.said.as_ref().map(|(_, backend)| *backend));
                        let told = told(chain, call, landed);
                        let backends = told.trail.backends.clone();
                        let Said::Result(result) = told.said else { return Err(Fault::Told(told)) };
                        self.trail.merge(Trail { backends, source: Source::Backend, ..Trail::default() });
                        bytes += result.len();
                        done.insert(span.first(), result);
                    }
                    Some(Class::RangeTooLarge | Class::ResponseTooLarge) if span.blocks() > 1 => {
                        let parts = self.cut_again(span, call, landed)?;
                        calls += parts.len();
                        waiting.extend(parts.into_iter().map(|span| Job { spans: vec![span], turn: 0 }));
                    }
                    None | Some(Class::RateLimited | Class::Overloaded)
                        if calls > 1 && job.turn < TURNS && !chain_lacks(chain, span) =>
                    {
                        again.push(*span);
                    }
                    _ => return Err(fault(chain, span, call, landed)),
                }
            }
            if !again.is_empty() {
                // They are full: fewer at a time.
                at_once = (at_once / 2).max(1);
                waiting.push_back(Job { spans: again, turn: job.turn + 1 });
            }
            if calls > PIECES_MAX {
                return Err(self.refuse(format!("it takes more than {PIECES_MAX} calls to upstreams")));
            }
            if bytes > chain.routing.max_answer {
                let max = chain.routing.max_answer;
                return Err(self.refuse(format!("its logs are more than {max} bytes")));
            }
        }
        let merged = merge_parts(done.values());
        let Some(merged) = merged else {
            let error = ErrorObject::new(code::INTERNAL_ERROR, "invalid response from upstream");
            return Err(Fault::Told(Answered::failed(error, 0)));
        };
        keep_whole(chain, self.question, &from, &merged);
        Ok(merged)
    }

    /// The pieces as far as it is known what backends take. What is asked for by hash travels with the last of the others.
    fn jobs(&self) -> Result<VecDeque<Job>, Fault> {
        let mut jobs = VecDeque::new();
        if let Some(below) = self.apart.heights() {
            let step = self.chain.decide().fleet.log_range_max(self.chain.now());
            let step = step.unwrap_or(u64::MAX);
            let parts = if below.blocks() > step { self.cut(&below, step)? } else { vec![below] };
            jobs.extend(parts.into_iter().map(|span| Job { spans: vec![span], turn: 0 }));
        }
        match jobs.back_mut() {
            Some(last) => last.spans.extend(&self.apart.newest),
            None => jobs.push_back(Job { spans: self.apart.newest.clone(), turn: 0 }),
        }
        Ok(jobs)
    }

    fn cut(&self, span: &LogSpan, step: u64) -> Result<Vec<LogSpan>, Fault> {
        let max = self.chain.routing.logs_range_max;
        let whole = self.apart.query.to - self.apart.query.from;
        if whole >= max {
            let limit = max.max(step);
            return Err(self.refuse(format!("at most {limit} blocks are searched at once")));
        }
        let parts = cut_range(span.first(), span.last(), step, PIECES_MAX).ok_or_else(|| {
            let most = step.saturating_mul(PIECES_MAX as u64 - 1);
            self.refuse(format!(
                "at most {most} blocks are searched at once, {step} by each call to an upstream"
            ))
        })?;
        Ok(parts.into_iter().map(|(from, to)| LogSpan::Heights { from, to }).collect())
    }

    /// Cuts what nobody takes in one piece: as it was said, as it was learned, or in halves.
    fn cut_again(&self, span: &LogSpan, call: &Call<'_>, landed: Landed) -> Result<Vec<LogSpan>, Fault> {
        let blocks = span.blocks();
        let outcome = landed.said.as_ref().map(|(verdict, _)| &verdict.outcome);
        let said = outcome.and_then(|outcome| outcome.range_limit_blocks);
        let is_range = outcome.is_some_and(|outcome| outcome.class == Class::RangeTooLarge);
        let learned = self.chain.decide().fleet.log_range_max(self.chain.now()).filter(|_| is_range);
        let smaller = |limit: &u64| (1..blocks).contains(limit);
        let step = learned.filter(smaller).or(said.filter(smaller)).unwrap_or(blocks.div_ceil(2));
        if self.chain.routing.logs_range_max == 0 && said.is_none() && learned.is_none() {
            // Nobody has named a number: what was said is clearer than anything that could be said here.
            return Err(Fault::Told(told(self.chain, call, landed)));
        }
        self.cut(span, step)
    }

    fn refuse(&self, why: String) -> Fault {
        let blocks = self.apart.query.whole().blocks();
        let message = format!("query exceeds max block range: {blocks} blocks are asked for, and {why}");
        let error = ErrorObject::new(code::INVALID_PARAMS, message);
        Fault::Told(Answered::refused(error))
    }

    /// The question about a piece, where pieces are kept: a whole read is kept by whoever asks for it.
    fn question(&self, span: &LogSpan) -> Option<Question> {
        let LogSpan::Heights { from, to } = *span else { return None };
        if *span == self.apart.query.whole() {
            return None;
        }
        self.chain.known.part(self.question?, &self.apart.query.of(span)?, from, to)
    }

    fn known(&self, span: &LogSpan) -> Option<(Bytes, Trail)> {
        let question = self.question(span)?;
        let known = self.chain.known.answer(self.chain, &question, &self.apart.call(span)?)?;
        match known.said {
            Said::Result(result) => Some((result, known.trail)),
            Said::Error(_) => None,
        }
    }

    fn keep(&self, span: &LogSpan, landed: &Landed) {
        if let Some(question) = self.question(span) {
            keep(self.chain, &question, landed);
        }
    }
}

fn pieces(jobs: &VecDeque<Job>) -> usize {
    jobs.iter().map(|job| job.spans.len()).sum()
}

async fn carry_job(
    chain: &Arc<Chain>,
    apart: &Apart,
    sight: Sight,
    deadline: Timestamp,
    job: Job,
) -> (Job, Vec<Call<'static>>, Vec<Landed>) {
    if job.turn > 0 {
        sleep(TURN_PAUSE * (1 << (job.turn - 1))).await;
    }
    let Some((calls, mut plan)) = apart.calls(chain, &sight, &job.spans) else {
        return (job, Vec::new(), Vec::new());
    };
    plan.deadline = deadline;
    let landed = forward(chain, &calls, plan).await;
    (job, calls, landed)
}

/// Nobody who may be asked has the block: waiting for room mends nothing.
fn chain_lacks(chain: &Chain, span: &LogSpan) -> bool {
    chain.decide().follower.reachable(chain.now()).is_some_and(|reachable| reachable < span.last())
}

fn fault(chain: &Chain, span: &LogSpan, call: &Call<'_>, landed: Landed) -> Fault {
    let class = landed.said.as_ref().map(|(verdict, _)| verdict.outcome.class);
    if landed.lacks_block() {
        return Fault::Lacks(told(chain, call, landed));
    }
    let refuses_hash = matches!(
        class,
        Some(
            Class::InvalidParams
                | Class::InvalidRequest
                | Class::MethodUnsupported
                | Class::ParseError
                | Class::ExecutionFailed
                | Class::SilentWrong
                | Class::Unknown
        )
    );
    match span {
        LogSpan::Block { .. } if refuses_hash => Fault::Refuses,
        _ => Fault::Told(told(chain, call, landed)),
    }
}
