//! The world of a drill: backends that answer, stall, lie and come back as a scenario says, from a seed.
//!
//! Pure: `now` and a question go in; how long it takes and what comes back go out. The virtual replay
//! asks it directly; a server that asks it before it answers on a socket makes the same weather for the
//! whole program ([`World::received`] has the bytes).

mod answer;
mod chain;
mod fault;
mod limits;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use answer::{Answer, Received, Reply};

use self::answer::Detail;
use self::chain::{AFTER_BLOCKS, Heads};
use self::fault::Rule;
use self::limits::{Limiter, Pool};
use super::random::{Draws, Lognormal};
use super::scenario::{Content, Scenario, TransactionFaults};
use crate::chain::{BlockId, Look, Shown};
use crate::ethereum::Method;
use crate::policy::{Outcome, Timestamp};

/// Handshakes end after this, as they do in `upstream`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A resolver's answer.
const RESOLVER_ROUND_TRIP: Duration = Duration::from_millis(20);
/// A refusal comes from the host's kernel; not zero, or a retry loop would take no time at all.
const REFUSAL: Duration = Duration::from_millis(1);
/// Head faults are visible after two blocks.
const DETECTION_BLOCKS: u32 = 2;
/// A block reaches everybody within this, and is served then: a head is old one block and this after it was made.
pub(super) const PROPAGATION: Duration = Duration::from_millis(500);
/// Chains with faster blocks are judged in seconds.
const SLOW_CHAIN: Duration = Duration::from_secs(10);
const FAST_CHAIN_STALE: Duration = Duration::from_secs(2);

const ASK_DRAW: u64 = 16;

/// The block a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAsked {
    /// None, or one by its hash.
    None,
    /// `latest`.
    Latest,
    /// `pending`.
    Pending,
    /// `finalized`.
    Finalized,
    /// One that is older than 128.
    Old,
}

/// One call to one backend.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Position in the scenario.
    pub backend: usize,
    /// Position in [`World::methods`].
    pub method: usize,
    /// The client's request, the same one at every backend.
    pub request: u64,
    /// Which attempt at this backend.
    pub attempt: u32,
    /// What it is about.
    pub block: BlockAsked,
    /// The number that stands in its place.
    pub height: Option<u64>,
    /// When that number was written there: what was the latest block then is what is read.
    pub resolved_at: Timestamp,
    /// Logs of the newest blocks are asked for by their hashes: who lacks one says so.
    pub logs_by_hash: bool,
    /// It carries the mark that `match.marked` looks for.
    pub marked: bool,
    /// A look at a backend's health.
    pub probe: bool,
    /// Number of the transaction it publishes.
    pub transaction: Option<u32>,
}

/// What comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Happening {
    /// How long it takes; `None`: nothing ever comes.
    pub after: Option<Duration>,
    /// What comes.
    pub reply: Reply,
    /// Which of the backend's connections it used.
    pub connection: u8,
    /// A fault has to do with it.
    pub touched: bool,
    /// What is known about the answer, were it to come, by those who see through everything.
    pub facts: Facts,
}

/// The truth about an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The height it rests on, where it rests on `latest`.
    pub head: Option<u64>,
    /// That height is older than what is allowed.
    pub stale: bool,
    /// It comes from another branch.
    pub forked: bool,
    /// It differs from the truth.
    pub wrong: bool,
    /// Logs are missing.
    pub incomplete: bool,
    /// So soon after it began that nobody could know.
    pub early: bool,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionState {
    /// Backends that took it and keep it.
    pub held_by: u64,
    /// Since when one of them passes it on, to other public ones or to those who make blocks.
    pub passed_on: Option<Timestamp>,
    /// One of those is public, so that the others hear of it.
    pub is_public: bool,
    /// The block that it comes into, made or to be made.
    pub block: Option<u64>,
}

/// What a backend says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has not heard of it.
    Nothing,
    /// It holds it.
    Pending,
    /// It is in this block.
    In(u64),
}

#[derive(Debug)]
struct Backend {
    latency: Lognormal,
    round_trip: Duration,
    error_rate: f64,
    archive: bool,
    private: bool,
    limit: Limiter,
    pool: Pool,
}

/// All that is outside.
#[derive(Debug)]
pub struct World {
    seed: u64,
    chain_id: u64,
    backends: Vec<Backend>,
    methods: Vec<&'static Method>,
    heads: Heads,
    phases: Vec<(Timestamp, Timestamp, Vec<Rule>)>,
    phase: usize,
    details: Vec<Detail>,
    /// Of each answer to each method, judged when it is first heard: most are in no scenario.
    verdicts: Vec<OnceLock<Outcome>>,
    transactions: Vec<TransactionState>,
    stale_blocks: u64,
}

impl World {
    /// The world of a scenario that has been checked.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut methods: Vec<&'static Method> = scenario.load.mix.keys().map(|m| Method::lookup(m)).collect();
        let own = ["eth_blockNumber", "eth_sendRawTransaction", "eth_getTransactionByHash"];
        let questions =
            ["eth_getBlockByHash", "eth_chainId", "eth_getBalance", "eth_getBlockByNumber", "eth_getLogs"];
        for name in own.into_iter().chain(questions) {
            let method = Method::lookup(name);
            if !methods.iter().any(|known| known.name == method.name) {
                methods.push(method);
            }
        }
        let mut details = vec![Detail::default()];
        let phases = scenario
            .phases
            .iter()
            .enumerate()
            .map(|(at, phase)| {
                let compile = |(nth, fault)| {
                    let id = (at * 1000 + nth) as u64;
                    Rule::new(fault, phase, id, &scenario.backends, &methods, &mut details)
                };
                let rules = phase.faults.iter().enumerate().map(compile).collect();
                (Timestamp::ZERO + phase.start, Timestamp::ZERO + phase.end, rules)
            })
            .collect();
        let block_time = scenario.chain.block_time;
        let mut world = Self {
            seed,
            chain_id: scenario.chain.id,
            backends: scenario
                .backends
                .iter()
                .map(|backend| Backend {
                    latency: Lognormal::new(backend.latency),
                    round_trip: backend.latency.p50 / 2,
                    error_rate: backend.error_rate,
                    archive: backend.archive,
                    private: backend.private,
                    limit: Limiter::per_second(backend.rate_limit),
                    pool: Pool::new(),
                })
                .collect(),
            heads: Heads::new(scenario, seed),
            methods,
            phases,
            phase: 0,
            details,
            verdicts: Vec::new(),
            transactions: Vec::new(),
            stale_blocks: if block_time >= SLOW_CHAIN {
                1
            } else {
                FAST_CHAIN_STALE.as_nanos().div_ceil(block_time.as_nanos().max(1)) as u64
            },
        };
        let judged_max = world.details.len() * world.methods.len() * Answer::ALL.len();
        world.verdicts.resize_with(judged_max, OnceLock::new);
        world
    }

    /// The methods of its load, and those the program itself calls.
    pub fn methods(&self) -> &[&'static Method] {
        &self.methods
    }

    /// The position of a method in [`Self::methods`].
    pub fn method(&self, name: &str) -> Option<usize> {
        self.methods.iter().position(|method| method.name == name)
    }

    /// The verdict on an answer: made by the classifier from real bytes, once.
    pub fn verdict(&self, method: usize, reply: Reply) -> &Outcome {
        let row = usize::from(reply.detail) * self.methods.len() + method;
        self.verdicts[row * Answer::ALL.len() + reply.answer as usize].get_or_init(|| {
            let detail = &self.details[usize::from(reply.detail)];
            reply.answer.judged(self.methods[method].name, self.chain_id, detail)
        })
    }

    /// An answer's bytes. `result` is what a healthy backend says, as JSON.
    pub fn received(&self, id: u64, reply: Reply, result: &str) -> Received {
        reply.answer.received(id, result, &self.details[usize::from(reply.detail)])
    }

    /// The canonical height, and the one at which a backend says it stands.
    pub fn heights(&self, now: Timestamp, backend: usize, request: u64) -> (u64, u64) {
        (self.heads.chain.height(now), self.heads.standing(now, backend, request).latest)
    }

    /// The canonical block at a height.
    pub fn block(&self, number: u64) -> BlockId {
        self.heads.canonical(number)
    }

    /// When nothing more is to be waited for: twenty blocks after the end.
    pub(super) fn after(&self, end: Timestamp) -> Timestamp {
        end + self.heads.block_time() * AFTER_BLOCKS
    }

    /// Whether a transaction is in a block that has been made.
    pub fn is_included(&self, now: Timestamp, number: u32) -> bool {
        self.transaction(number).block.is_some_and(|block| block <= self.heads.chain.height(now))
    }

    /// What a backend that answers says of a transaction.
    pub fn known(&self, now: Timestamp, backend: usize, number: u32) -> Known {
        let transaction = self.transaction(number);
        let standing = self.heads.standing(now, backend, u64::from(number));
        let is_seen = |block: &u64| *block <= standing.latest && !standing.is_forked(*block);
        if let Some(block) = transaction.block.filter(is_seen) {
            return Known::In(block);
        }
        let has_heard = transaction.is_public
            && !self.backends[backend].private
            && transaction.passed_on.is_some_and(|since| since + PROPAGATION <= now);
        if transaction.held_by & (1 << backend) != 0 || has_heard { Known::Pending } else { Known::Nothing }
    }

    /// What became of a transaction.
    pub fn transaction(&self, number: u32) -> TransactionState {
        self.transactions.get(number as usize).copied().unwrap_or_default()
    }

    /// A connection was closed: by a failure, or because its call was given up.
    pub fn close(&mut self, backend: usize, connection: u8) {
        self.backends[backend].pool.close(connection);
    }

    /// What a backend shows of the chain when it answers a look well.
    pub fn shown(&self, now: Timestamp, backend: usize, request: u64, look: Look) -> Shown {
        self.heads.shown(now, backend, request, look)
    }

    /// The truth about an answer that rests on this height of the served chain.
    pub fn facts_at(&self, now: Timestamp, height: u64) -> Facts {
        // Blocks are shortened, their way through the network is not.
        let by_then = Timestamp::after_origin(now.since_origin().saturating_sub(PROPAGATION));
        let stale = self.heads.chain.height(by_then).saturating_sub(height) > self.stale_blocks;
        Facts { head: Some(height), stale, ..Facts::default() }
    }

    /// Asks a backend.
    pub fn ask(&mut self, now: Timestamp, ask: &Ask) -> Happening {
        let mut draws =
            Draws::of(&[self.seed, ASK_DRAW, ask.request, ask.backend as u64, u64::from(ask.attempt)]);
        let lent = self.backends[ask.backend].pool.lend(&mut draws);
        let old = ask.block == BlockAsked::Old;
        let (mut times, mut waits) = (1.0, Duration::ZERO);
        let mut failed: Option<Reply> = None;
        let mut touched = false;
        if self.backends[ask.backend].limit.grant(now).is_none() {
            failed = Some(Answer::Http429.into());
        }
        let mut content: Option<Arc<Content>> = None;
        let mut transactions: Option<TransactionFaults> = None;
        let phase = self.phase_at(now);
        if let Some((_, _, rules)) = phase.and_then(|at| self.phases.get_mut(at)) {
            for rule in rules.iter_mut() {
                if !rule.concerns(now, self.seed, ask, &lent) {
                    continue;
                }
                touched = true;
                if failed.is_none() {
                    match rule.admits(now, ask.backend) {
                        Ok(wait) => waits += wait,
                        Err(refusal) => failed = Some(refusal),
                    }
                }
                let share = rule.ramp(now);
                if let Some(latency) = rule.latency() {
                    times *= latency.times;
                    if draws.chance(latency.stall * share) {
                        waits += latency.stall_for;
                    }
                }
                if failed.is_none() {
                    failed = rule.outcome(&mut draws, share).map(Into::into);
                }
            }
            for rule in rules.iter().filter(|rule| rule.concerns(now, self.seed, ask, &lent)) {
                content = content.or_else(|| rule.content());
                transactions = transactions.or(rule.transactions());
                if failed.is_none()
                    && let Some(reply) = rule.said_instead(&mut draws)
                {
                    failed = Some(reply);
                }
            }
        }
        let backend = &self.backends[ask.backend];
        if failed.is_none() && draws.chance(backend.error_rate) {
            failed = Some(Answer::Http502.into());
        }
        if failed.is_none() && old && !backend.archive {
            failed = Some(Answer::RpcMissingTrieNode.into());
        }
        if failed.is_none()
            && backend.private
            && ask.transaction.is_none()
            && !ask.probe
            && !self.looks_up(ask.method)
        {
            failed = Some(Answer::RpcMethodNotFound.into());
        }
        let drawn = backend.latency.draw(&mut draws);
        let mut usual = if times == 1.0 { drawn } else { drawn.mul_f64(times) } + waits;
        if lent.is_new {
            // TCP and TLS: a round trip each.
            usual += backend.round_trip * 2;
        }
        let mut facts = Facts::default();
        let mut reply = failed.unwrap_or(Answer::Ok.into());
        let mut silent = false;
        if failed.is_none() {
            if let Some(number) = ask.transaction {
                (reply, silent) =
                    self.publish(now, &mut draws, ask, number, transactions, content.as_deref());
            } else {
                (reply, facts) = self.read(now, &mut draws, ask, content.as_deref());
            }
        }
        let round_trip = self.backends[ask.backend].round_trip;
        let after = match reply.answer {
            _ if silent => None,
            Answer::AcceptHang | Answer::SlowTrickle => None,
            Answer::ConnRefused => Some(REFUSAL),
            Answer::ConnReset => Some(round_trip),
            // Over a connection that was there before, nothing says that nobody listens any more.
            Answer::ConnBlackhole => lent.is_new.then_some(CONNECT_TIMEOUT),
            Answer::DnsNxdomain | Answer::DnsServfail => Some(RESOLVER_ROUND_TRIP),
            Answer::DnsTimeout => Some(CONNECT_TIMEOUT),
            Answer::TlsExpired | Answer::TlsHandshakeFail => Some(round_trip * 2),
            _ => Some(usual),
        };
        if reply.answer.ends_the_connection() && after.is_some() {
            self.close(ask.backend, lent.slot);
        }
        Happening { after, reply, connection: lent.slot, touched, facts }
    }

    /// Whether a method asks for one transaction: a private backend answers for those that it was given.
    fn looks_up(&self, method: usize) -> bool {
        self.methods[method].name == "eth_getTransactionByHash"
    }

    /// Phases come one after the other, and so do questions, nearly.
    fn phase_at(&mut self, now: Timestamp) -> Option<usize> {
        let holds =
            |at: usize| self.phases.get(at).is_some_and(|(start, end, _)| *start <= now && now < *end);
        if !holds(self.phase) {
            self.phase = self.phases.iter().position(|(start, end, _)| *start <= now && now < *end)?;
        }
        Some(self.phase)
    }

    /// What is wrong for no longer than this cannot be known yet.
    fn grace(&self) -> Duration {
        self.heads.block_time() * (DETECTION_BLOCKS + u32::try_from(self.stale_blocks).unwrap_or(u32::MAX))
    }

    fn read(
        &self,
        now: Timestamp,
        draws: &mut Draws,
        ask: &Ask,
        content: Option<&Content>,
    ) -> (Reply, Facts) {
        let method = self.methods[ask.method].name;
        let mut facts = Facts::default();
        let asks_for_the_head = matches!(ask.block, BlockAsked::Latest | BlockAsked::Pending);
        if asks_for_the_head || ask.height.is_some() {
            let standing = self.heads.standing(now, ask.backend, ask.request);
            let ends_early = content.is_some_and(|content| content.logs_end_at_head)
                && method == "eth_getLogs"
                && !(ask.logs_by_hash && ask.height.is_some());
            let rests_on = match (ask.height, ask.block) {
                (Some(height), _) => height,
                (None, BlockAsked::Pending) => standing.pending,
                (None, _) => standing.latest,
            };
            if rests_on > standing.latest && !ends_early {
                let gives_a_block = self.methods[ask.method].gives_a_block();
                let lacks = if gives_a_block { Answer::NullForBlock } else { Answer::RpcHeaderNotFound };
                return (lacks.into(), facts);
            }
            if asks_for_the_head {
                let is_early = standing.wrong_since.is_some_and(|since| now < since + self.grace());
                facts = self.facts_at(ask.height.map_or(now, |_| ask.resolved_at), rests_on);
                facts.forked = standing.is_forked(rests_on);
                // Who names a number answers for its age; who is asked for it, for its branch.
                facts.early = is_early && (facts.forked || ask.height.is_none());
                facts.stale &= !facts.forked;
                facts.head = facts.head.filter(|_| ask.block == BlockAsked::Latest);
                let lacks_logs = match ask.height {
                    Some(height) => standing.latest < height,
                    None => standing.latest + 1 < self.heads.chain.height(now),
                };
                facts.incomplete = ends_early && lacks_logs;
            }
        }
        let mut reply = Answer::Ok;
        if let Some(content) = content {
            // Phases begin with their faults.
            let since = self.phases.get(self.phase).map_or(Timestamp::ZERO, |(start, ..)| *start);
            facts.early |= now < since + self.grace();
            match method {
                "eth_getBalance" => {
                    facts.wrong = draws.chance(content.balance_zero + content.balance_random);
                }
                "eth_getLogs" => facts.incomplete |= draws.chance(content.logs_dropped),
                "eth_getTransactionCount" => facts.wrong = draws.chance(content.nonce_stale),
                "eth_chainId" | "net_version" if draws.chance(content.chain_id_in) => {
                    reply = Answer::OtherChain;
                }
                _ => {}
            }
        }
        (reply.into(), facts)
    }

    /// Whoever has it already says so, and whoever has it in a block that its nonce is used.
    fn publish(
        &mut self,
        now: Timestamp,
        draws: &mut Draws,
        ask: &Ask,
        number: u32,
        faults: Option<TransactionFaults>,
        content: Option<&Content>,
    ) -> (Reply, bool) {
        let faults = faults.unwrap_or_default();
        if draws.chance(faults.nonce_too_low) {
            return (Answer::NonceTooLow.into(), false);
        }
        let at = number as usize;
        if self.transactions.len() <= at {
            self.transactions.resize(at + 1, TransactionState::default());
        }
        let known = self.known(now, ask.backend, number);
        // Blocks are shortened, the way to those who make them is not.
        let next_block = self.heads.chain.height(now + PROPAGATION) + 1;
        let is_public = !self.backends[ask.backend].private;
        let transaction = &mut self.transactions[at];
        if !draws.chance(faults.dropped) && !matches!(known, Known::In(_)) {
            transaction.held_by |= 1 << ask.backend;
            if !draws.chance(faults.never_included) {
                transaction.passed_on.get_or_insert(now);
                transaction.is_public |= is_public;
                transaction.block.get_or_insert(next_block);
            }
        }
        let silent = draws.chance(faults.silent_after_accept);
        let answer = match known {
            Known::In(_) => Answer::NonceTooLow,
            Known::Pending => Answer::AlreadyKnown,
            Known::Nothing if draws.chance(content.map_or(0.0, |content| content.hash_mismatch)) => {
                Answer::OtherHash
            }
            Known::Nothing if draws.chance(faults.already_known) => Answer::AlreadyKnown,
            Known::Nothing => Answer::Ok,
        };
        (answer.into(), silent)
    }
}

/// Whether a selector names one of these domains.
pub(super) fn selects(selector: &str, domains: &[(String, String)]) -> bool {
    selector == "*"
        || selector
            .split_once(':')
            .is_some_and(|(kind, value)| domains.iter().any(|(k, v)| k == kind && v == value))
}

#[cfg(test)]
mod tests;
