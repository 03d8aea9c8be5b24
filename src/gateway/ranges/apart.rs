//! Which pieces a read of logs falls into, as calls, and what an answer to one must be.

use std::borrow::Cow;

use alloy_primitives::Bloom;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ethereum::{LogFilter, LogQuery, LogSpan};
use crate::gateway::call::Call;
use crate::gateway::carry;
use crate::gateway::chain::{Chain, is_of_development};
use crate::gateway::resolve::{Sight, resolve};
use crate::jsonrpc::reply::Payload;
use crate::policy::classify::Verdict;
use crate::policy::{Class, Outcome, Plan};

const METHOD: &str = "eth_getLogs";
/// Blocks that are asked for by hash: a node that lacks more than these is seen to lag, and not asked.
const NEWEST: u64 = 2;
/// A read of logs, and the pieces that its blocks fall into.
#[derive(Debug)]
pub(in crate::gateway) struct Apart {
    pub(super) query: LogQuery,
    /// As the client wrote it, tags being numbers.
    params: Box<RawValue>,
    /// What is asked for by heights, before it is cut.
    below: Option<(u64, u64)>,
    /// What is asked for by hash, in order.
    pub(super) newest: Vec<LogSpan>,
    /// Those of them that have such logs, as far as their blooms tell.
    expected: Vec<u64>,
}

impl Apart {
    /// `None` for whatever is no read of logs between two blocks.
    pub(in crate::gateway) fn of(chain: &Chain, call: &Call<'_>, sight: &Sight) -> Option<Self> {
        if call.method.name != METHOD || call.name != METHOD {
            return None;
        }
        let mut pinned = Call::own(METHOD, Cow::Borrowed(call.params.as_deref()?));
        resolve(chain, &mut pinned, sight);
        let params = pinned.params?.into_owned();
        let query = LogQuery::read(&params)?;
        let newest = newest(chain, &query, sight);
        let expected = expected(chain, &params, &newest);
        let end = newest.first().map_or(Some(query.to), |first| first.first().checked_sub(1));
        let below = end.filter(|end| query.from <= *end).map(|end| (query.from, end));
        Some(Self { query, params, below, newest, expected })
    }

    /// The same by heights alone.
    pub(super) fn by_heights(mut self) -> Self {
        self.newest.clear();
        self.below = Some((self.query.from, self.query.to));
        self
    }

    /// The calls that make up the whole, in order, and what they need: where nothing has to be cut.
    pub(in crate::gateway) fn at_once(
        &self,
        chain: &Chain,
        sight: &Sight,
    ) -> Option<(Vec<Call<'static>>, Plan)> {
        let spans: Vec<LogSpan> = self.heights().into_iter().chain(self.newest.iter().copied()).collect();
        let widest = spans.iter().map(LogSpan::blocks).max()?;
        let step = chain.decide().fleet.log_range_max(chain.now());
        if step.is_some_and(|step| widest > step) {
            return None;
        }
        self.calls(chain, sight, &spans)
    }

    pub(super) fn heights(&self) -> Option<LogSpan> {
        self.below.map(|(from, to)| LogSpan::Heights { from, to })
    }

    pub(super) fn calls(
        &self,
        chain: &Chain,
        sight: &Sight,
        spans: &[LogSpan],
    ) -> Option<(Vec<Call<'static>>, Plan)> {
        let calls: Option<Vec<_>> = spans.iter().map(|span| self.call(span)).collect();
        let (first, last) = (spans.first()?, spans.last()?);
        let cover = LogSpan::Heights { from: first.first(), to: last.last() };
        let mut cover = Call::own(METHOD, Cow::Owned(self.query.of(&cover)?));
        let mut plan = carry::plan(chain, &mut cover, sight);
        // Beyond the head there is nothing to be searched, however wide it looks.
        let is_served = sight.latest.is_none_or(|latest| last.last() <= latest);
        plan.need.log_blocks = spans.iter().map(LogSpan::blocks).max().filter(|_| is_served);
        let mut calls = calls?;
        for (call, span) in calls.iter_mut().zip(spans) {
            match span {
                LogSpan::Block { number, .. } => {
                    // Who does not know the hash may lag, or have left that branch behind: nothing is learned of its height.
                    // Some nodes answer an unknown hash with an empty list: where the bloom names such logs, that is no answer.
                    call.known_to_exist = self.expected.contains(number);
                }
                LogSpan::Heights { .. } => call.height = cover.height,
            }
        }
        Some((calls, plan))
    }

    pub(super) fn call(&self, span: &LogSpan) -> Option<Call<'static>> {
        match span {
            // The client's own bytes, and nothing to hold the answer against.
            whole if *whole == self.query.whole() => Some(Call::own(METHOD, Cow::Owned(self.params.clone()))),
            span => {
                let mut call = Call::own(METHOD, Cow::Owned(self.query.of(span)?));
                call.logs = Some(*span);
                Some(call)
            }
        }
    }
}

/// The newest blocks of the range, where its end is one of those. Nothing on development chains: there is one node as a
/// rule, which answers with an empty list what it does not know.
fn newest(chain: &Chain, query: &LogQuery, sight: &Sight) -> Vec<LogSpan> {
    let Some(latest) = sight.latest else { return Vec::new() };
    let first = query.from.max(latest.saturating_sub(NEWEST - 1));
    if is_of_development(&chain.settings) || query.to > latest || query.to < first {
        return Vec::new();
    }
    let decider = chain.decide();
    let served = |number| {
        let hash = match decider.follower.served(number) {
            Some(block) => block.id.hash,
            // After a start only the head is known, which names the one before.
            None => decider.follower.served(number.checked_add(1)?)?.parent,
        };
        Some(LogSpan::Block { number, hash })
    };
    let mut newest: Vec<_> = (first..=query.to).rev().map_while(served).collect();
    newest.reverse();
    newest
}

/// The blocks whose blooms name what the filter asks for.
fn expected(chain: &Chain, params: &RawValue, newest: &[LogSpan]) -> Vec<u64> {
    let filter = serde_json::from_str::<Vec<Value>>(params.get());
    let Some(filter) = filter.ok().and_then(|params| LogFilter::read(params.first()?).ok()) else {
        return Vec::new();
    };
    let decider = chain.decide();
    let has = |span: &LogSpan| {
        let block = decider.follower.served(span.first())?;
        let bloom = block.logs_bloom.as_deref().filter(|bloom| !bloom.is_zero() && tells(bloom))?;
        filter.may_be_in(bloom).then_some(span.first())
    };
    newest.iter().filter_map(has).collect()
}

/// Whether a bloom names little else than what is there: three bits a name, so that with a quarter of the bits set one name in
/// sixty-four is there by chance. On a busy chain nearly all are set, and every empty list would be doubted.
fn tells(bloom: &Bloom) -> bool {
    let set: u32 = bloom.as_slice().iter().map(|byte| byte.count_ones()).sum();
    set as usize <= bloom.as_slice().len() * 8 / 4
}

/// What the piece itself tells of its answer: whoever says something of other blocks has not understood it, or lies.
pub(in crate::gateway) fn judge(span: &LogSpan, verdict: Verdict) -> Verdict {
    match &verdict.payload {
        Some(Payload::Result(result)) if verdict.outcome.class == Class::Ok && !span.covers(result) => {
            // An old node may know nothing of hashes here.
            let hurts_health = matches!(span, LogSpan::Heights { .. });
            Outcome { retry_elsewhere: true, hurts_health, ..Outcome::of(Class::SilentWrong) }.into()
        }
        _ => verdict,
    }
}
