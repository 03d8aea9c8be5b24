//! Every answer against the truth at the block it claims.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::reader::{At, Question, Read};
use super::truth::{Block, LATENESS_MAX, Truth};
use crate::lab::anvil::number;

/// Offences told in full; the rest is only counted.
const TOLD_MAX: usize = 10;

/// What became of all reads.
#[derive(Debug, Default)]
pub struct Verdict {
    pub reads: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Not true of any block that the answer may be about, or no answer at all.
    pub wrong: Vec<String>,
    /// True, of a block that everybody had left behind for too long.
    pub stale: Vec<String>,
    /// True, of a block below one that the same reader was told of before.
    pub regressions: Vec<String>,
    /// How old the oldest answer about the newest block was.
    pub stalest: Duration,
    /// Half of all answers, and all but one of a hundred, came within this.
    pub took: [Duration; 2],
}

/// What an answer may be about.
enum Claim<'a> {
    /// The newest block: one of these, all of which fit the answer.
    Newest(Vec<&'a Block>),
    /// Some block that the question named.
    Named { fits: bool },
}

// === impl Verdict ===

impl Verdict {
    /// Judges all that was read.
    pub fn of(reads: &[Read], truth: &Truth) -> Verdict {
        let mut verdict = Verdict { reads: reads.len(), ..Verdict::default() };
        for read in reads {
            *verdict.kinds.entry(kind(&read.question)).or_default() += 1;
            match claim(read, truth) {
                Claim::Named { fits: true } => {}
                Claim::Named { fits: false } => verdict.wrong.push(format!("{read:?}")),
                Claim::Newest(blocks) => verdict.judge_newest(read, &blocks),
            }
        }
        let mut took: Vec<Duration> = reads.iter().map(|read| read.answered - read.asked).collect();
        took.sort_unstable();
        if let Some(last) = took.len().checked_sub(1) {
            verdict.took = [took[last / 2], took[last * 99 / 100]];
        }
        verdict
    }

    fn judge_newest(&mut self, read: &Read, blocks: &[&Block]) {
        let Some(highest) = blocks.iter().map(|block| block.facts.number).max() else {
            self.wrong.push(format!("{read:?}"));
            return;
        };
        let staleness = blocks.iter().map(|block| block.staleness(read.asked)).min().unwrap_or_default();
        self.stalest = self.stalest.max(staleness);
        if staleness > LATENESS_MAX {
            self.stale.push(format!("by {staleness:?}: {read:?}"));
        }
        if highest < read.known {
            self.regressions.push(format!("to {highest}: {read:?}"));
        }
    }

    /// Panics unless everything that was read was true, current and never went back.
    pub fn is_clean(&self, context: impl FnOnce() -> String) {
        let told = |offences: &[String]| {
            let first: Vec<&String> = offences.iter().take(TOLD_MAX).collect();
            format!("{}: {first:#?}", offences.len())
        };
        let clean = self.wrong.is_empty() && self.stale.is_empty() && self.regressions.is_empty();
        assert!(
            clean,
            "of {} reads wrong {}\nstale {}\nregressions {}\n{}",
            self.reads,
            told(&self.wrong),
            told(&self.stale),
            told(&self.regressions),
            context()
        );
    }
}

fn kind(question: &Question) -> &'static str {
    match question {
        Question::Height => "height",
        Question::Block(_) => "block",
        Question::Balance(_) => "balance",
        Question::Nonce(_) => "nonce",
        Question::Count(_) => "call",
        Question::Logs(_, None) => "logs to latest",
        Question::Logs(..) => "logs of a range",
        Question::Receipt(_) => "receipt",
        Question::Both => "batch",
    }
}

fn claim<'a>(read: &Read, truth: &'a Truth) -> Claim<'a> {
    let answer = read.answer.as_ref().ok();
    let there = |block: &&Block| block.is_there(read.asked, read.answered);
    let newest = |fits: &dyn Fn(&Block) -> bool| {
        Claim::Newest(truth.blocks().filter(there).filter(|block| fits(block)).collect())
    };
    // of a block at a height: one that is there; of one by its hash: that one, or that it is gone
    let named = |at: &At, fits: &dyn Fn(&Block) -> bool| match at {
        At::Latest => newest(fits),
        At::Number(height) | At::Height(height) => {
            let mut at = truth.blocks().filter(there).filter(|block| block.facts.number == *height);
            Claim::Named { fits: at.any(fits) }
        }
        At::Hash(hash) => {
            let block = truth.blocks().find(|block| block.facts.hash == *hash);
            let is_nothing = answer.is_none_or(Value::is_null);
            Claim::Named {
                fits: block.is_some_and(|b| fits(b) || (is_nothing && b.may_be_gone(read.answered))),
            }
        }
    };
    let is = |value: &Value, text: &str| value.as_str() == Some(text);
    match &read.question {
        Question::Height => newest(&|b| answer.is_some_and(|a| a.is_string() && number(a) == b.facts.number)),
        Question::Block(at) => named(at, &|b| {
            answer.is_some_and(|a| is(&a["hash"], &b.facts.hash) && number(&a["number"]) == b.facts.number)
        }),
        Question::Balance(at) => named(at, &|b| answer.is_some_and(|a| is(a, &b.facts.balance))),
        Question::Nonce(at) => named(at, &|b| answer.is_some_and(|a| is(a, &b.facts.nonce))),
        Question::Count(at) => named(at, &|b| answer.is_some_and(|a| is(a, &b.facts.count))),
        Question::Logs(from, to) => {
            let told = answer.and_then(logs);
            let fits = |b: &Block| told.as_ref().is_some_and(|told| *told == truth.logs(*from, b));
            match to {
                None => newest(&|b| b.facts.number >= *from && fits(b)),
                Some(to) => named(&At::Number(*to), &fits),
            }
        }
        Question::Receipt(hash) => {
            let holds = |block: &&Block| block.facts.transactions.contains(hash);
            let mut blocks = truth.blocks().filter(holds);
            let fits = |block: &Block| match answer {
                Some(Value::Null) => there(&block) && block.may_be_gone(read.answered),
                Some(a) => is(&a["blockHash"], &block.facts.hash) && there(&block),
                None => false,
            };
            Claim::Named { fits: blocks.any(fits) }
        }
        Question::Both => {
            newest(&|b| answer.is_some_and(|a| is(&a[0], &b.facts.balance) && is(&a[1], &b.facts.count)))
        }
    }
}

/// Block and transaction of every log in an answer.
fn logs(answer: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    answer
        .as_array()?
        .iter()
        .map(|log| Some((text(&log["blockHash"])?, text(&log["transactionHash"])?)))
        .collect()
}
