//! How a replay and a policy speak with each other: what happened goes in, what to do comes out.

use std::time::Duration;

use super::world::BlockAsked;
use crate::chain::{ChainEvent, Look, Shown};
use crate::ethereum::Method;
use crate::policy::{BackendSet, Outcome, Question, Timestamp};

/// One client request as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What is asked.
    pub method: &'static Method,
    /// The same for a request and a client's repetitions of it.
    pub key: u64,
    /// When the client is answered at the latest.
    pub deadline: Timestamp,
    /// The block it is about.
    pub block: BlockAsked,
    /// What `latest` is for it, see [`Steering::sees`].
    pub latest: Option<u64>,
    /// The number that stands in place of its block.
    pub height: Option<u64>,
}

/// What happened to a request.
#[derive(Debug)]
pub enum Told<'a> {
    /// It came.
    Start,
    /// The time named by the last step has come.
    Timer,
    /// An attempt ended.
    Ended {
        /// Whose.
        backend: usize,
        /// What it came to.
        outcome: &'a Outcome,
        /// Bytes of it may have reached the backend.
        sent: bool,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this backend, and come back at `wake`.
    Send {
        /// Whom.
        backend: usize,
        /// When to come back if nothing has happened.
        wake: Timestamp,
        /// Ask this one as well, for what its answer teaches; nobody waits for it.
        copy_to: Option<usize>,
    },
    /// Come back at `wake`.
    Wait {
        /// When.
        wake: Timestamp,
    },
    /// What just ended answers the request.
    Answer,
    /// There is no answer.
    GiveUp,
}

/// A policy as a drill drives it.
pub trait Steering {
    /// One request under way.
    type Course;

    /// How long a request of this method may take.
    fn time_for(&self, method: &'static Method) -> Duration;
    /// A request comes.
    fn begin(&mut self, call: &Call) -> Self::Course;
    /// What to do next. After [`Step::Answer`] and [`Step::GiveUp`] the request is over.
    fn on(&mut self, now: Timestamp, course: &mut Self::Course, told: Told<'_>) -> Step;

    /// What `latest` is for a request that comes now, where the policy knows it.
    fn sees(&mut self, now: Timestamp, block: BlockAsked) -> Option<u64> {
        let _ = (now, block);
        None
    }
    /// The number that is written in place of the block that a request is about.
    fn height_of(&self, method: &'static Method, block: BlockAsked, latest: u64) -> Option<u64> {
        let _ = (method, block, latest);
        None
    }
    /// Whether it asks for logs of the newest blocks by their hashes.
    fn asks_logs_by_hash(&self) -> bool {
        false
    }
    /// What `latest` is while nobody answers who has what it should be.
    fn reachable(&self, now: Timestamp) -> Option<u64> {
        let _ = now;
        None
    }
    /// What it asks a backend now to see where the chain stands.
    fn next_look(&mut self, now: Timestamp, backend: usize) -> Option<Look> {
        let _ = (now, backend);
        None
    }
    /// Such a look came to this.
    fn looked(
        &mut self,
        now: Timestamp,
        (backend, look): (usize, Look),
        took: Duration,
        outcome: &Outcome,
        shown: Shown,
    ) {
        let _ = (now, backend, look, took, outcome, shown);
    }

    /// Whether it keeps a journal: it sends a transaction to several, and sees it through to its block.
    fn keeps_a_journal(&self) -> bool {
        false
    }
    /// How many backends get the same transaction, or question for a nonce, at once: the first one included.
    fn fanout(&self, submits: bool) -> usize {
        let _ = submits;
        1
    }
    /// Up to `count` backends beside `has` for the same call, the most distant first. They are booked as started: what
    /// each comes to is told by [`Self::aside_ended`].
    fn spread(&mut self, now: Timestamp, call: &Call, has: BackendSet, count: usize) -> Vec<usize> {
        let _ = (now, call, has, count);
        Vec::new()
    }
    /// How much longer the others are waited for who were asked for the same nonce, when the first took this long.
    fn waits_for_further(&self, took: Duration) -> Duration {
        let _ = took;
        Duration::ZERO
    }
    /// Who may be asked for a transaction, those who took it first.
    fn holders(&self, now: Timestamp, taken_by: BackendSet) -> Vec<usize> {
        let _ = (now, taken_by);
        Vec::new()
    }
    /// What has changed about the served chain since this was last asked.
    fn take_events(&mut self) -> Vec<ChainEvent> {
        Vec::new()
    }
    /// The served height, and the one up to which nothing changes any more.
    fn heights(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Whether anybody can be reached who takes transactions.
    fn is_reachable(&self, now: Timestamp) -> bool {
        let _ = now;
        false
    }
    /// A copy that nobody waited for came to this.
    fn aside_ended(
        &mut self,
        now: Timestamp,
        call: &Call,
        backend: usize,
        took: Duration,
        outcome: &Outcome,
    ) {
        let _ = (now, call, backend, took, outcome);
    }
    /// Such a copy was answered otherwise than the client.
    fn contradicted(&mut self, now: Timestamp, backend: usize) {
        let _ = (now, backend);
    }
    /// What it asks a backend of its own accord now. Asked until there is nothing, and again a moment after all of
    /// it was answered.
    fn next_question(&mut self, now: Timestamp, backend: usize) -> Option<Question> {
        let _ = (now, backend);
        None
    }
    /// Such a question came to this.
    fn question_ended(
        &mut self,
        now: Timestamp,
        backend: usize,
        question: Question,
        took: Duration,
        outcome: &Outcome,
    ) {
        let _ = (now, backend, question, took, outcome);
    }
    /// Whether it leaves a backend alone for having failed.
    fn is_out(&self, now: Timestamp, backend: usize) -> bool {
        let _ = (now, backend);
        false
    }
    /// Whether it holds a backend to be gone for good.
    fn is_retired(&self, now: Timestamp, backend: usize) -> bool {
        let _ = (now, backend);
        false
    }
}
