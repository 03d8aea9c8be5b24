//! Drives requests through a policy under a virtual clock: a heap of events, and nothing else.
//!
//! The same scenario, seed and policy give the same run, event by event; [`Measures::digest`] shows it.

mod background;
mod event;
mod journal;
mod nonces;
mod transactions;

use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use self::background::Looking;
use self::event::{Event, What};
use self::nonces::Further;
use self::transactions::Transaction;
use super::measures::{Gauge, Measures};
use super::random::Draws;
use super::scenario::Scenario;
use super::steering::{Call, Steering, Step, Told};
use super::world::{Answer, Ask, BlockAsked, Facts, Happening, Reply, World};
use crate::chain::{BlockId, Shown};
use crate::ethereum::Method;
use crate::policy::Timestamp;

/// Backends are looked at this often, to see who is in use.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Whether the follower wants to look is looked at this often: `gateway::follow`.
const FOLLOW_EVERY: Duration = Duration::from_millis(25);
/// A copy that has no answer by then has failed: `gateway::aside`.
const COPY_PATIENCE: Duration = Duration::from_secs(2);
/// Marks a copy among the attempts at one backend.
const ASIDE: u32 = u32::MAX;
/// After the end of long blocks, no more than this is waited.
const AFTER_MAX: Duration = Duration::from_secs(600);
/// Attempts of one request under way together that are followed; a policy has fewer.
const FLYING_MAX: usize = 8;

/// Numbers of requests: reads count from 1, so that what a policy does to one changes no other's luck.
const TRANSACTIONS: u64 = 1 << 40;
/// Numbers of reads of blocks, by their height.
const BLOCKS: u64 = 1 << 56;
/// A client's repetition of a request is so far from it.
const RETRIES: u64 = 1 << 48;

const READ_DRAW: u64 = 48;
const TRANSACTION_DRAW: u64 = 49;
const REQUEST_DRAW: u64 = 50;

/// Replays a scenario.
pub fn replay<S: Steering>(scenario: &Scenario, seed: u64, steering: &mut S) -> Measures {
    let world = World::new(scenario, seed);
    let names: Vec<_> = world.methods().iter().map(|method| method.name).collect();
    let end = Timestamp::ZERO + scenario.duration;
    let mut replay = Replay {
        gauge: Gauge::new(scenario, &names),
        mix: Mix::new(scenario, &world),
        head_method: world.method("eth_blockNumber").unwrap_or(0),
        submit_method: world.method("eth_sendRawTransaction").unwrap_or(0),
        look_up_method: world.method("eth_getTransactionByHash").unwrap_or(0),
        block_by_number: world.method("eth_getBlockByNumber"),
        block_by_hash: world.method("eth_getBlockByHash"),
        probing: vec![0; scenario.backends.len()],
        comparisons: Vec::new(),
        looking: scenario.backends.iter().map(|_| None).collect(),
        private: scenario.backends.iter().map(|backend| backend.private).collect(),
        end,
        rests_at: if scenario.load.transactions > 0.0 && steering.keeps_a_journal() {
            world.after(end).min(end + AFTER_MAX)
        } else {
            end
        },
        ticked_at: Timestamp::ZERO,
        open: Vec::new(),
        asked_around: vec![None; scenario.load.sessions as usize],
        nonce_told_at: vec![None; scenario.load.sessions as usize],
        promised: vec![false; scenario.load.sessions as usize],
        scenario,
        seed,
        steering,
        world,
        heap: BinaryHeap::new(),
        sequence: 0,
        requests: Vec::new(),
        free: Vec::new(),
        repetitions: VecDeque::new(),
        read_draws: Draws::of(&[seed, READ_DRAW]),
        transaction_draws: Draws::of(&[seed, TRANSACTION_DRAW]),
        reads: 0,
        transactions: Vec::new(),
    };
    replay.run();
    replay.finish()
}

/// Which method comes next.
struct Mix {
    shares: Vec<(f64, usize)>,
    total: f64,
}

impl Mix {
    fn new(scenario: &Scenario, world: &World) -> Self {
        let mut total = 0.0;
        let shares = scenario
            .load
            .mix
            .iter()
            .filter_map(|(name, share)| {
                total += share;
                Some((total, world.method(name)?))
            })
            .collect();
        Self { shares, total }
    }

    fn draw(&self, draws: &mut Draws) -> usize {
        let drawn = draws.unit() * self.total;
        let at = self.shares.partition_point(|(upto, _)| *upto <= drawn);
        self.shares.get(at).or(self.shares.last()).map_or(0, |(_, method)| *method)
    }
}

/// What a client was told, and what a copy of its request came to: whether each is the truth.
#[derive(Clone, Copy)]
struct Comparison {
    backend: usize,
    told: Option<bool>,
    copied: bool,
    /// The copy's answer is here.
    has_come: bool,
}

/// A client's repetition of what failed.
struct Repetition {
    number: u64,
    left: u8,
    method: usize,
    session: usize,
    block: BlockAsked,
    marked: bool,
}

#[derive(Clone, Copy)]
struct Flying {
    backend: usize,
    connection: u8,
    reply: Reply,
    facts: Facts,
}

/// How a request ended.
#[derive(Clone, Copy)]
enum Ended {
    /// Nobody answered.
    Nowhere,
    /// A backend answered.
    There(Flying),
    /// The policy knew the answer, of which this is true.
    Here(Facts),
}

impl Ended {
    fn said(self) -> Option<(Answer, Facts)> {
        match self {
            Self::Nowhere => None,
            Self::There(flying) => Some((flying.reply.answer, flying.facts)),
            Self::Here(facts) => Some((Answer::Ok, facts)),
        }
    }

    fn answer(self) -> Option<Answer> {
        self.said().map(|(answer, _)| answer)
    }
}

struct Request<C> {
    generation: u32,
    /// `None` between two requests.
    course: Option<C>,
    number: u64,
    method: usize,
    block: BlockAsked,
    /// What `latest` is for it, and the number in place of its block.
    latest: Option<u64>,
    height: Option<u64>,
    /// When that was settled.
    resolved_at: Timestamp,
    /// It has been sent for a lower block, since nobody had the latest.
    is_lowered: bool,
    /// Its answer is to be compared with that of a copy.
    compared: Option<u32>,
    /// The greatest block number that its session knew when it came.
    told_before: u64,
    marked: bool,
    session: usize,
    transaction: Option<u32>,
    /// It is the policy's own: which transactions are in this block, asked so often more.
    reads_block: Option<(BlockId, u8)>,
    /// What others say of the same nonce.
    further: Vec<Further>,
    /// How it ended, while those are waited for.
    merging: Option<Ended>,
    retries_left: u8,
    /// A client's repetition of an earlier one.
    is_retry: bool,
    started: Timestamp,
    timer: Timestamp,
    attempts: u32,
    asked: u64,
    flying: [Option<Flying>; FLYING_MAX],
}

struct Replay<'a, S: Steering> {
    scenario: &'a Scenario,
    seed: u64,
    steering: &'a mut S,
    world: World,
    gauge: Gauge,
    mix: Mix,
    head_method: usize,
    submit_method: usize,
    look_up_method: usize,
    block_by_number: Option<usize>,
    block_by_hash: Option<usize>,
    private: Vec<bool>,
    /// Questions under way at each backend.
    probing: Vec<u32>,
    comparisons: Vec<Comparison>,
    /// The look under way at each backend.
    looking: Vec<Option<Looking>>,
    /// No client asks any more.
    end: Timestamp,
    /// Nobody waits any more for what was sent before that.
    rests_at: Timestamp,
    heap: BinaryHeap<Event>,
    sequence: u64,
    requests: Vec<Request<S::Course>>,
    free: Vec<u32>,
    /// All wait equally long, so the first in is the first out.
    repetitions: VecDeque<Repetition>,
    read_draws: Draws,
    transaction_draws: Draws,
    reads: u64,
    transactions: Vec<Transaction>,
    /// Those of them that the journal still follows.
    open: Vec<u32>,
    /// When time last passed for them.
    ticked_at: Timestamp,
    /// When each session's nonce was last asked for in several places.
    asked_around: Vec<Option<Timestamp>>,
    /// When each was last told it right.
    nonce_told_at: Vec<Option<Timestamp>>,
    /// Which sessions were told that a transaction of theirs is out: the journal remembers that for an hour.
    promised: Vec<bool>,
}

impl<S: Steering> Replay<'_, S> {
    fn at(&mut self, at: Timestamp, what: What) {
        self.sequence += 1;
        self.heap.push(Event { at, sequence: self.sequence, what });
    }

    fn run(&mut self) {
        let first = self.read_draws.interval(self.scenario.load.reads);
        self.at(Timestamp::ZERO + first, What::Read);
        if self.scenario.load.transactions > 0.0 {
            let first = self.transaction_draws.interval(self.scenario.load.transactions);
            self.at(Timestamp::ZERO + first, What::Transaction);
        }
        for backend in 0..self.private.len() {
            self.at(Timestamp::ZERO, What::Probe { backend: backend as u8 });
        }
        self.at(Timestamp::ZERO, What::Look);
        self.at(Timestamp::ZERO, What::Follow);
        while let Some(Event { at: now, what, .. }) = self.heap.pop() {
            self.happen(now, what);
        }
    }

    fn happen(&mut self, now: Timestamp, what: What) {
        match what {
            What::Read => {
                let next = now + self.read_draws.interval(self.scenario.load.reads);
                if next < self.end {
                    self.at(next, What::Read);
                }
                self.read(now);
            }
            What::Transaction => {
                let next = now + self.transaction_draws.interval(self.scenario.load.transactions);
                if next < self.end {
                    self.at(next, What::Transaction);
                }
                self.hand_in(now);
            }
            What::Again => {
                let Some(again) = self.repetitions.pop_front() else { return };
                let request = self.request(again.number, again.method, again.block);
                let slot = &mut self.requests[request as usize];
                (slot.marked, slot.session) = (again.marked, again.session);
                (slot.retries_left, slot.is_retry) = (again.left, true);
                self.begin(now, request);
            }
            What::Lane { number, backend, reply, took_us, is_first } => {
                let took = Duration::from_micros(u64::from(took_us));
                self.lane_ended(now, number, usize::from(backend), reply, took, is_first);
            }
            What::NoOpinion { number } => self.no_opinion(now, number),
            What::Concluded { number, by } => self.concluded(now, number, by),
            What::Found { number, found } => self.found(now, number, found),
            What::ReadBlock { block, turns } => self.read_block(now, block, turns),
            What::Merged { request, generation } => {
                let slot = &mut self.requests[request as usize];
                if slot.generation == generation
                    && let Some(ended) = slot.merging.take()
                {
                    self.finish_request(now, request, ended);
                }
            }
            What::Timer { request, generation } => {
                let slot = &self.requests[request as usize];
                if slot.generation == generation && slot.timer == now && slot.course.is_some() {
                    self.requests[request as usize].timer = Timestamp::NEVER;
                    self.step(now, request, Told::Timer);
                }
            }
            What::Ended { request, generation, nth } => {
                let slot = &mut self.requests[request as usize];
                if slot.generation == generation
                    && let Some(flying) = slot.flying[usize::from(nth)].take()
                {
                    self.ended(now, request, flying);
                }
            }
            What::Probe { backend } => {
                while let Some(question) = self.steering.next_question(now, usize::from(backend)) {
                    self.probe(now, usize::from(backend), question);
                }
                self.probe_again(now, usize::from(backend));
            }
            What::Probed { backend, question, reply, took_us } => {
                let backend = usize::from(backend);
                let method = self.method_of(question);
                let outcome = self.world.verdict(method, reply);
                if outcome.hurts_health {
                    self.gauge.failed(now, backend);
                }
                let took = Duration::from_micros(u64::from(took_us));
                self.steering.question_ended(now, backend, question, took, outcome);
                self.probing[backend] -= 1;
                self.probe_again(now, backend);
            }
            What::Aside { backend, method, reply, took_us, compared } => {
                let (backend, method) = (usize::from(backend), usize::from(method));
                let took = Duration::from_micros(u64::from(took_us));
                let method_of_copy = self.world.methods()[method];
                let call = Call {
                    method: method_of_copy,
                    key: 0,
                    deadline: now,
                    block: BlockAsked::None,
                    latest: None,
                    height: None,
                };
                let outcome = self.world.verdict(method, reply);
                self.steering.aside_ended(now, &call, backend, took, outcome);
                if let Some(at) = compared {
                    self.comparisons[at as usize].has_come = true;
                    self.compare(now, at);
                }
            }
            What::Look => {
                for backend in 0..self.private.len() {
                    let is_out = self.steering.is_out(now, backend);
                    let is_retired = self.steering.is_retired(now, backend);
                    self.gauge.look(now, backend, is_out, is_retired);
                }
                if now + LOOK_EVERY < self.end {
                    self.at(now + LOOK_EVERY, What::Look);
                }
            }
            What::Follow => {
                for backend in 0..self.private.len() {
                    self.follow(now, backend);
                }
                if self.steering.keeps_a_journal() {
                    self.see_through(now);
                }
                if now + FOLLOW_EVERY < self.rests_at {
                    self.at(now + FOLLOW_EVERY, What::Follow);
                }
            }
            What::Shown { backend } => {
                let backend = usize::from(backend);
                let Some(Looking { look, since, reply, shown }) = self.looking[backend].take() else {
                    return;
                };
                let outcome = self.world.verdict(self.look_method(look), reply);
                let shown = if reply.answer.is_ok() { shown } else { Shown::Nothing };
                self.steering.looked(now, (backend, look), now.since(since), outcome, shown);
                self.follow(now, backend);
            }
        }
    }

    fn read(&mut self, now: Timestamp) {
        self.reads += 1;
        let mut draws = Draws::of(&[self.seed, REQUEST_DRAW, self.reads]);
        let method = self.mix.draw(&mut draws);
        let facts = self.world.methods()[method];
        let is_old = draws.chance(self.scenario.load.historical);
        // What names neither an address nor a block has nothing that could be marked.
        let marked = draws.chance(self.scenario.load.marked) && !facts.blocks.is_empty();
        let session = draws.below(u64::from(self.scenario.load.sessions)) as usize;
        let block = block_asked(facts, is_old, &mut draws);
        let request = self.request(self.reads, method, block);
        let slot = &mut self.requests[request as usize];
        (slot.marked, slot.session) = (marked, session);
        slot.retries_left = u8::try_from(self.scenario.load.client_retries).unwrap_or(u8::MAX);
        self.begin(now, request);
    }

    /// A place for a request.
    fn request(&mut self, number: u64, method: usize, block: BlockAsked) -> u32 {
        let fresh = Request {
            generation: 0,
            course: None,
            number,
            method,
            block,
            latest: None,
            height: None,
            resolved_at: Timestamp::ZERO,
            is_lowered: false,
            compared: None,
            told_before: 0,
            marked: false,
            session: 0,
            transaction: None,
            reads_block: None,
            further: Vec::new(),
            merging: None,
            retries_left: 0,
            is_retry: false,
            started: Timestamp::ZERO,
            timer: Timestamp::NEVER,
            attempts: 0,
            asked: 0,
            flying: [None; FLYING_MAX],
        };
        if let Some(at) = self.free.pop() {
            let generation = self.requests[at as usize].generation;
            self.requests[at as usize] = Request { generation, ..fresh };
            return at;
        }
        self.requests.push(fresh);
        (self.requests.len() - 1) as u32
    }

    fn begin(&mut self, now: Timestamp, request: u32) {
        let slot = &mut self.requests[request as usize];
        slot.started = now;
        slot.told_before = self.gauge.highest_told(slot.session);
        let (is_retry, is_transaction) = (slot.is_retry, slot.transaction.is_some());
        let measures = &mut self.gauge.measures;
        measures.requests += 1;
        if !is_retry {
            if is_transaction {
                measures.transactions += 1;
            } else {
                measures.reads += 1;
            }
            self.gauge.second(now).requests += 1;
        }
        let block = self.requests[request as usize].block;
        let latest = if is_transaction { None } else { self.steering.sees(now, block) };
        self.start(now, request, latest);
    }

    /// Starts a request for which this is the latest block.
    fn start(&mut self, now: Timestamp, request: u32, latest: Option<u64>) {
        let slot = &mut self.requests[request as usize];
        let method = self.world.methods()[slot.method];
        (slot.latest, slot.resolved_at) = (latest, now);
        slot.height = latest.and_then(|latest| self.steering.height_of(method, slot.block, latest));
        if slot.method == self.head_method
            && let Some(height) = slot.height
        {
            return self.end_request(now, request, Ended::Here(self.world.facts_at(now, height)));
        }
        let call = Call {
            method,
            key: slot.number % RETRIES,
            deadline: now + self.steering.time_for(method),
            block: slot.block,
            latest,
            height: slot.height,
        };
        slot.course = Some(self.steering.begin(&call));
        self.step(now, request, Told::Start);
    }

    /// Everybody who has the head is gone: what the others have is better than nothing, as in `gateway::carry`.
    fn give_up(&mut self, now: Timestamp, request: u32) {
        let slot = &mut self.requests[request as usize];
        let reachable = self.steering.reachable(now);
        match reachable.filter(|reachable| slot.latest.is_some_and(|latest| *reachable < latest)) {
            Some(reachable) if !slot.is_lowered => {
                slot.is_lowered = true;
                self.let_go(request);
                self.start(now, request, Some(reachable));
            }
            _ => self.end_request(now, request, Ended::Nowhere),
        }
    }

    /// Nobody waits any more for what is under way.
    fn let_go(&mut self, request: u32) {
        let slot = &mut self.requests[request as usize];
        slot.course = None;
        slot.generation = slot.generation.wrapping_add(1);
        slot.timer = Timestamp::NEVER;
        let flying = std::mem::take(&mut slot.flying);
        for loser in flying.into_iter().flatten() {
            self.world.close(loser.backend, loser.connection);
        }
    }

    fn ended(&mut self, now: Timestamp, request: u32, flying: Flying) {
        let slot = &self.requests[request as usize];
        if let Some(number) = slot.transaction {
            let word = self.word(flying.reply);
            if self.steering.keeps_a_journal() {
                self.heard(now, number, flying.backend, word);
            }
        }
        let slot = &mut self.requests[request as usize];
        let Some(course) = &mut slot.course else { return };
        let outcome = self.world.verdict(slot.method, flying.reply);
        if outcome.hurts_health {
            self.gauge.failed(now, flying.backend);
        }
        let sent = !flying.reply.answer.is_before_sending();
        let told = Told::Ended { backend: flying.backend, outcome, sent };
        match self.steering.on(now, course, told) {
            Step::Answer => self.end_request(now, request, Ended::There(flying)),
            step => self.act(now, request, step),
        }
    }

    fn step(&mut self, now: Timestamp, request: u32, told: Told<'_>) {
        let by_timer = matches!(told, Told::Timer);
        let slot = &mut self.requests[request as usize];
        let Some(course) = &mut slot.course else { return };
        let step = self.steering.on(now, course, told);
        let own = slot.reads_block.is_some();
        if by_timer && !own && matches!(step, Step::Send { .. }) && slot.flying.iter().any(Option::is_some) {
            self.gauge.measures.hedges += 1;
        }
        self.act(now, request, step);
    }

    fn act(&mut self, now: Timestamp, request: u32, step: Step) {
        match step {
            Step::Send { backend, wake, copy_to } => {
                if let Some(copy_to) = copy_to {
                    self.send_aside(now, request, copy_to);
                }
                self.send(now, request, backend);
                self.wake_at(request, wake);
            }
            Step::Wait { wake } => self.wake_at(request, wake),
            Step::GiveUp => self.give_up(now, request),
            Step::Answer => self.end_request(now, request, Ended::Nowhere),
        }
    }

    fn wake_at(&mut self, request: u32, wake: Timestamp) {
        let slot = &mut self.requests[request as usize];
        if wake != Timestamp::NEVER && slot.timer != wake {
            slot.timer = wake;
            let generation = slot.generation;
            self.at(wake, What::Timer { request, generation });
        }
    }

    fn send(&mut self, now: Timestamp, request: u32, backend: usize) {
        let slot = &self.requests[request as usize];
        let asked_before = slot.asked & (1 << backend) != 0;
        let ask = Ask {
            backend,
            method: slot.method,
            request: slot.number,
            attempt: if asked_before { slot.attempts } else { 0 },
            block: slot.block,
            height: slot.height,
            resolved_at: slot.resolved_at,
            logs_by_hash: self.steering.asks_logs_by_hash(),
            marked: slot.marked,
            probe: false,
            transaction: slot.transaction,
        };
        let is_first = slot.attempts == 0;
        let own = slot.reads_block.is_some();
        if ask.transaction.is_some() && self.breaks_privacy(backend) {
            self.gauge.measures.privacy_violations += 1;
        }
        let happening = self.world.ask(now, &ask);
        if is_first && ask.transaction.is_none() && !own {
            self.gauge.first_attempt(now, backend, ask.method, happening.touched);
        }
        let counted = if own { &mut self.gauge.measures.probes } else { &mut self.gauge.measures.attempts };
        *counted += 1;
        self.called(now, backend);
        self.gauge.note(now.nanos() ^ ((backend as u64) << 56));
        self.gauge.note(((happening.reply.answer as u64) << 56) ^ ask.request);
        let Happening { after, reply, connection, facts, .. } = happening;
        let slot = &mut self.requests[request as usize];
        slot.attempts += 1;
        slot.asked |= 1 << backend;
        let Some(nth) = slot.flying.iter().position(Option::is_none) else { return };
        slot.flying[nth] = Some(Flying { backend, connection, reply, facts });
        if let Some(after) = after {
            let generation = slot.generation;
            self.at(now + after, What::Ended { request, generation, nth: nth as u8 });
        }
        if is_first && self.steering.keeps_a_journal() {
            match ask.transaction {
                Some(number) => self.broadcast(now, number, backend),
                None => self.ask_around(now, request, backend),
            }
        }
    }

    /// A backend gets a call.
    fn called(&mut self, now: Timestamp, backend: usize) {
        if now < self.end {
            self.gauge.second(now).calls[backend] += 1;
        }
    }

    /// A copy of a request whose answer only teaches.
    fn send_aside(&mut self, now: Timestamp, request: u32, backend: usize) {
        let slot = &self.requests[request as usize];
        let ask = Ask {
            backend,
            method: slot.method,
            request: slot.number,
            attempt: ASIDE,
            block: slot.block,
            height: slot.height,
            resolved_at: slot.resolved_at,
            logs_by_hash: self.steering.asks_logs_by_hash(),
            marked: slot.marked,
            probe: false,
            transaction: None,
        };
        let happening = self.world.ask(now, &ask);
        self.gauge.measures.attempts += 1;
        self.gauge.measures.copies += 1;
        self.called(now, backend);
        self.gauge.note(((happening.reply.answer as u64) << 48) ^ ask.request);
        let (took, reply) = self.in_time(&happening, backend, COPY_PATIENCE);
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let (backend, method) = (backend as u8, ask.method as u8);
        let compared = (ask.height.is_some() && reply.answer.is_ok() && self.has_one_answer(ask.method))
            .then(|| {
                let copied = !happening.facts.wrong;
                self.comparisons.push(Comparison {
                    backend: ask.backend,
                    told: None,
                    copied,
                    has_come: false,
                });
                (self.comparisons.len() - 1) as u32
            });
        self.requests[request as usize].compared = compared;
        self.at(now + took, What::Aside { backend, method, reply, took_us, compared });
    }

    fn has_one_answer(&self, method: usize) -> bool {
        crate::chain::is_state(self.world.methods()[method])
    }

    /// As `gateway::aside` compares, whichever answer comes later.
    fn compare(&mut self, now: Timestamp, at: u32) {
        let Comparison { backend, told, copied, has_come } = self.comparisons[at as usize];
        if has_come && told.is_some_and(|told| told != copied) {
            self.steering.contradicted(now, backend);
        }
    }

    /// What a call that has no other end comes to within `limit`.
    fn in_time(&mut self, happening: &Happening, backend: usize, limit: Duration) -> (Duration, Reply) {
        if let Some(after) = happening.after.filter(|after| *after <= limit) {
            return (after, happening.reply);
        }
        self.world.close(backend, happening.connection);
        (limit, Answer::AcceptHang.into())
    }

    fn end_request(&mut self, now: Timestamp, request: u32, ended: Ended) {
        let slot = &mut self.requests[request as usize];
        let was_flying = slot.flying.iter().any(Option::is_some);
        let (transaction, reads_block) = (slot.transaction, slot.reads_block);
        self.let_go(request);
        if let Some(number) = transaction {
            self.free.push(request);
            return self.flight_ended(now, number, ended, was_flying);
        }
        if let Some(asked) = reads_block {
            self.free.push(request);
            return self.block_was_read(now, asked, ended.answer().is_some_and(Answer::is_ok));
        }
        if let Some(until) = self.waits_for_further(now, request) {
            let slot = &mut self.requests[request as usize];
            slot.merging = Some(ended);
            let generation = slot.generation;
            return self.at(until, What::Merged { request, generation });
        }
        self.finish_request(now, request, ended);
    }

    fn finish_request(&mut self, now: Timestamp, request: u32, ended: Ended) {
        let ended = self.highest(now, request, ended);
        if self.is_own_nonce(request)
            && ended.said().is_some_and(|(answer, facts)| answer.is_ok() && !facts.wrong)
        {
            self.nonce_told_at[self.requests[request as usize].session] = Some(now);
        }
        let slot = &self.requests[request as usize];
        let (started, is_retry) = (slot.started, slot.is_retry);
        let answered = self.end_read(now, request, ended);
        if answered && !is_retry {
            self.gauge.second(started).answered += 1;
        }
        self.gauge.note(now.nanos() ^ u64::from(answered));
        self.free.push(request);
    }

    fn end_read(&mut self, now: Timestamp, request: u32, ended: Ended) -> bool {
        let slot = &self.requests[request as usize];
        let (method, session, is_retry) = (slot.method, slot.session, slot.is_retry);
        let told_before = slot.told_before;
        self.gauge.read_took(slot.started, now.since(slot.started));
        let says = |answer: Answer| answer.is_ok() || answer == Answer::NullResult;
        let Some((answer, facts)) = ended.said().filter(|(answer, _)| says(*answer)) else {
            if let Some(left) = slot.retries_left.checked_sub(1) {
                let (block, marked) = (slot.block, slot.marked);
                let number = slot.number + RETRIES;
                self.repetitions.push_back(Repetition { number, left, method, session, block, marked });
                self.at(now + self.scenario.load.client_backoff, What::Again);
            }
            return false;
        };
        let compared = slot.compared;
        let measures = &mut self.gauge.measures;
        measures.reads_answered += u64::from(!is_retry);
        let is_wrong = facts.wrong || answer == Answer::NullResult;
        measures.wrong_answers += u64::from(is_wrong && !facts.early);
        measures.wrong_answers_early += u64::from(is_wrong && facts.early);
        measures.logs_incomplete += u64::from(facts.incomplete);
        measures.stale_reads += u64::from(facts.stale && !facts.early);
        measures.fork_reads += u64::from(facts.forked && !facts.early);
        measures.fork_reads_early += u64::from(facts.forked && facts.early);
        let names_a_height = method == self.head_method || Some(method) == self.block_by_number;
        if let Some(head) = facts.head.filter(|_| names_a_height) {
            self.gauge.told_head(session, told_before, head);
        }
        if let Some(at) = compared {
            self.comparisons[at as usize].told = Some(!facts.wrong);
            self.compare(now, at);
        }
        true
    }

    fn finish(mut self) -> Measures {
        self.judge_transactions();
        self.gauge.finish()
    }
}

/// Which block a read is about. Wallets ask for `pending` nonces; one in eight who reads blocks waits for
/// a finalized one.
fn block_asked(method: &Method, is_old: bool, draws: &mut Draws) -> BlockAsked {
    match method.name {
        "eth_blockNumber" | "eth_feeHistory" | "eth_gasPrice" => BlockAsked::Latest,
        _ if method.blocks.is_empty() => BlockAsked::None,
        _ if is_old => BlockAsked::Old,
        "eth_getTransactionCount" => BlockAsked::Pending,
        "eth_getBlockByNumber" if draws.chance(0.125) => BlockAsked::Finalized,
        _ => BlockAsked::Latest,
    }
}

#[cfg(test)]
mod tests;
