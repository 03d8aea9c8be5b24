//! A transaction from its client to its answer, as `gateway::transaction` publishes it: the same bytes at once to several,
//! the first who takes them answers, and a refusal waits for the others.

use std::time::Duration;

use super::super::measures::Inclusion;
use super::super::random::Draws;
use super::super::steering::{Call, Steering};
use super::super::world::{Answer, Ask, BlockAsked, Known, Reply};
use super::event::What;
use super::{Ended, Replay, TRANSACTIONS};
use crate::chain::{Happened, Life};
use crate::policy::{BackendIndex, BackendSet, Class, Timestamp};

/// After a refusal, others that were sent the same bytes have so long to say otherwise: `gateway::transaction`.
const SECOND_OPINION: Duration = Duration::from_secs(1);
/// A transaction's fate is looked up within this: `gateway::transaction`.
const LOOK_UP: Duration = Duration::from_secs(2);
/// From here on an outcome is what a node said of the transaction itself: `gateway::forward`.
const NODES_WORD: u8 = 2;

const SENDER_DRAW: u64 = 51;

/// One transaction.
pub(super) struct Transaction {
    pub(super) session: usize,
    came: Timestamp,
    /// Where the policy keeps a journal.
    pub(super) life: Option<Life>,
    /// Whether the client was told that it is out, and the canonical height then.
    pub(super) told: Option<(bool, u64)>,
    /// When it was last sent to somebody.
    pub(super) sent_at: Timestamp,
    /// How often it was sent again, and looked for.
    pub(super) resent: u32,
    pub(super) looked: u32,
    deadline: Timestamp,
    /// The flight is over, and so many beside it are not.
    flight_is_over: bool,
    lanes: u32,
    /// Somebody may have it without having said so.
    in_the_dark: bool,
    /// Somebody says that its nonce is used: it may be ours that has used it.
    too_low: bool,
    /// A node has given its word on it.
    settled: bool,
    awaits_opinions: bool,
    /// It is being looked up, and nothing else is heard meanwhile.
    concluding: bool,
}

/// What one backend's answer says of a transaction.
#[derive(Clone, Copy)]
pub(super) struct Word {
    taken: bool,
    too_low: bool,
    settles: bool,
    in_the_dark: bool,
}

impl<S: Steering> Replay<'_, S> {
    /// A client hands in its next transaction.
    pub(super) fn hand_in(&mut self, now: Timestamp) {
        let number = self.transactions.len() as u32;
        let mut draws = Draws::of(&[self.seed, SENDER_DRAW, u64::from(number)]);
        let session = draws.below(u64::from(self.scenario.load.sessions)) as usize;
        let (height, _) = self.steering.heights();
        // Each is its sender's only one: what became of others never stands in its way.
        let is_private = self.private.iter().any(|private| *private);
        let life = self.steering.keeps_a_journal().then(|| {
            let life = Life::begin(now, Some(0), height);
            if is_private { life.privately(None) } else { life }
        });
        if life.is_some() {
            self.open.push(number);
        }
        let method = self.world.methods()[self.submit_method];
        self.transactions.push(Transaction {
            session,
            came: now,
            life,
            told: None,
            sent_at: now,
            resent: 0,
            looked: 0,
            deadline: now + self.steering.time_for(method),
            flight_is_over: false,
            lanes: 0,
            in_the_dark: false,
            too_low: false,
            settled: false,
            awaits_opinions: false,
            concluding: false,
        });
        let request = self.request(TRANSACTIONS + u64::from(number), self.submit_method, BlockAsked::None);
        let slot = &mut self.requests[request as usize];
        (slot.transaction, slot.session) = (Some(number), session);
        self.begin(now, request);
    }

    /// The call that publishes it.
    fn publishing(&self, number: u32, deadline: Timestamp) -> Call {
        Call {
            method: self.world.methods()[self.submit_method],
            key: TRANSACTIONS + u64::from(number),
            deadline,
            block: BlockAsked::None,
            latest: None,
            height: None,
        }
    }

    /// The flight has sent it to its first backend: others get it at the same moment.
    pub(super) fn broadcast(&mut self, now: Timestamp, number: u32, first: usize) {
        let count = self.steering.fanout(true).saturating_sub(1);
        let has = BackendSet::from_iter([BackendIndex::at(first)]);
        let deadline = self.transactions[number as usize].deadline;
        let further = self.steering.spread(now, &self.publishing(number, deadline), has, count);
        self.transactions[number as usize].lanes = further.len() as u32;
        for backend in further {
            self.lane(now, number, backend, deadline, true);
        }
    }

    /// Sends it again to up to `count` of those who are not among `has`.
    pub(super) fn send_again(&mut self, now: Timestamp, number: u32, has: BackendSet, count: usize) {
        let deadline = now + self.steering.time_for(self.world.methods()[self.submit_method]);
        let backends = self.steering.spread(now, &self.publishing(number, deadline), has, count);
        for backend in backends {
            let transaction = &mut self.transactions[number as usize];
            transaction.resent += 1;
            transaction.sent_at = now;
            self.lane(now, number, backend, deadline, false);
        }
    }

    fn lane(&mut self, now: Timestamp, number: u32, backend: usize, deadline: Timestamp, is_first: bool) {
        let ask = Ask {
            backend,
            method: self.submit_method,
            request: TRANSACTIONS + u64::from(number),
            attempt: if is_first { 0 } else { self.transactions[number as usize].resent },
            block: BlockAsked::None,
            height: None,
            resolved_at: now,
            logs_by_hash: false,
            marked: false,
            probe: false,
            transaction: Some(number),
        };
        self.gauge.measures.privacy_violations += u64::from(self.breaks_privacy(backend));
        let happening = self.world.ask(now, &ask);
        self.gauge.measures.attempts += 1;
        self.called(now, backend);
        self.gauge.note(((happening.reply.answer as u64) << 40) ^ ask.request ^ ((backend as u64) << 56));
        let (took, reply) = self.in_time(&happening, backend, deadline.since(now));
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let backend = backend as u8;
        self.at(now + took, What::Lane { number, backend, reply, took_us, is_first });
    }

    /// Whether a transaction that goes there is for others.
    pub(super) fn breaks_privacy(&self, backend: usize) -> bool {
        !self.private[backend] && self.private.iter().any(|private| *private)
    }

    pub(super) fn lane_ended(
        &mut self,
        now: Timestamp,
        number: u32,
        backend: usize,
        reply: Reply,
        took: Duration,
        is_first: bool,
    ) {
        let call = self.publishing(number, now);
        let outcome = self.world.verdict(self.submit_method, reply);
        self.steering.aside_ended(now, &call, backend, took, outcome);
        let word = self.word(reply);
        if is_first {
            self.transactions[number as usize].lanes -= 1;
        }
        self.heard(now, number, backend, word);
        self.weigh(now, number);
    }

    pub(super) fn word(&self, reply: Reply) -> Word {
        let outcome = self.world.verdict(self.submit_method, reply);
        let was_sent = !reply.answer.is_before_sending();
        let tells = outcome.tells() >= NODES_WORD;
        Word {
            taken: matches!(outcome.class, Class::Ok | Class::TxAlreadyKnown),
            too_low: outcome.class == Class::TxNonceTooLow,
            settles: tells,
            in_the_dark: was_sent && outcome.retry_elsewhere && !tells,
        }
    }

    /// A backend has said something of it.
    pub(super) fn heard(&mut self, now: Timestamp, number: u32, backend: usize, word: Word) {
        let transaction = &mut self.transactions[number as usize];
        if word.taken {
            if let Some(life) = &mut transaction.life {
                // Whoever has it is nobody to do anything about.
                life.on(now, Happened::Taken(BackendIndex::at(backend)));
            }
            if !transaction.concluding {
                self.tell(now, number, true);
            }
            return;
        }
        transaction.too_low |= word.too_low;
        transaction.settled |= word.settles;
        transaction.in_the_dark |= word.in_the_dark;
    }

    /// The flight has ended. Whoever was still being asked may have it.
    pub(super) fn flight_ended(&mut self, now: Timestamp, number: u32, ended: Ended, was_flying: bool) {
        if !self.steering.keeps_a_journal() {
            // A plain proxy passes on what it heard.
            let taken = [Answer::Ok, Answer::OkWrongContentType, Answer::AlreadyKnown];
            return self.tell(now, number, ended.answer().is_some_and(|said| taken.contains(&said)));
        }
        let transaction = &mut self.transactions[number as usize];
        transaction.flight_is_over = true;
        transaction.in_the_dark |= was_flying;
        self.weigh(now, number);
    }

    /// Whether there is anything to wait for before its client is told that nobody took it.
    fn weigh(&mut self, now: Timestamp, number: u32) {
        let transaction = &mut self.transactions[number as usize];
        if transaction.told.is_some() || transaction.concluding || !transaction.flight_is_over {
            return;
        }
        if transaction.lanes == 0 {
            self.conclude(now, number);
        } else if transaction.settled && !transaction.awaits_opinions {
            transaction.awaits_opinions = true;
            self.at(now + SECOND_OPINION, What::NoOpinion { number });
        }
    }

    /// Others have had their second: whoever is still silent has the bytes.
    pub(super) fn no_opinion(&mut self, now: Timestamp, number: u32) {
        let transaction = &mut self.transactions[number as usize];
        if transaction.told.is_none() && !transaction.concluding {
            transaction.in_the_dark = true;
            self.conclude(now, number);
        }
    }

    /// Nobody has taken it, as far as they say.
    fn conclude(&mut self, now: Timestamp, number: u32) {
        let transaction = &mut self.transactions[number as usize];
        if !transaction.in_the_dark && !transaction.too_low {
            return self.tell(now, number, false);
        }
        transaction.concluding = true;
        let mut found = None;
        for backend in self.steering.holders(now, BackendSet::default()) {
            let (took, known) = self.ask_for(now, number, backend, LOOK_UP);
            if matches!(known, Some(Known::Pending | Known::In(_)))
                && found.is_none_or(|(fastest, _)| took < fastest)
            {
                found = Some((took, backend as u8));
            }
        }
        let (took, by) = found.map_or((LOOK_UP, None), |(took, backend)| (took, Some(backend)));
        self.at(now + took, What::Concluded { number, by });
    }

    pub(super) fn concluded(&mut self, now: Timestamp, number: u32, by: Option<u8>) {
        self.transactions[number as usize].concluding = false;
        match by {
            Some(backend) => {
                let word = Word { taken: true, too_low: false, settles: true, in_the_dark: false };
                self.heard(now, number, usize::from(backend), word);
            }
            None => self.tell(now, number, false),
        }
    }

    /// Asks a backend for it: what it says, where it says anything in time.
    pub(super) fn ask_for(
        &mut self,
        now: Timestamp,
        number: u32,
        backend: usize,
        patience: Duration,
    ) -> (Duration, Option<Known>) {
        let looked = &mut self.transactions[number as usize].looked;
        let ask = Ask {
            backend,
            method: self.look_up_method,
            request: TRANSACTIONS + u64::from(number),
            attempt: *looked,
            block: BlockAsked::None,
            height: None,
            resolved_at: now,
            logs_by_hash: false,
            marked: false,
            probe: false,
            transaction: None,
        };
        *looked += 1;
        let happening = self.world.ask(now, &ask);
        self.gauge.measures.probes += 1;
        self.called(now, backend);
        let known = self.world.known(now, backend, number);
        let (took, reply) = self.in_time(&happening, backend, patience);
        let said = match reply.answer {
            Answer::NullResult => Some(Known::Nothing),
            answer => answer.is_ok().then_some(known),
        };
        self.gauge.note(((reply.answer as u64) << 32) ^ ask.request ^ ((backend as u64) << 56));
        (took, said)
    }

    /// Its client is told, once.
    fn tell(&mut self, now: Timestamp, number: u32, taken: bool) {
        let height = self.world.heights(now, 0, 0).0;
        let transaction = &mut self.transactions[number as usize];
        if transaction.told.is_some() {
            return;
        }
        transaction.told = Some((taken, height));
        if let Some(life) = transaction.life.as_mut().filter(|_| !taken) {
            life.on(now, Happened::Refused);
        }
        let (came, session) = (transaction.came, transaction.session);
        self.promised[session] |= taken && transaction.life.is_some();
        self.gauge.measures.transactions_acknowledged += u64::from(taken);
        self.gauge.second(came).answered += u32::from(taken);
        self.gauge.note(now.nanos() ^ u64::from(taken));
    }

    /// What became of all of them in the end.
    pub(super) fn judge_transactions(&mut self) {
        let rests_at = self.rests_at;
        for (number, transaction) in self.transactions.iter().enumerate() {
            let number = number as u32;
            let included = self.world.is_included(rests_at, number);
            let is_open = transaction.life.as_ref().is_some_and(|life| life.fate().is_open());
            let measures = &mut self.gauge.measures;
            match transaction.told {
                Some((true, height)) => {
                    let block = self.world.transaction(number).block.filter(|_| included);
                    measures.inclusions.push(match block {
                        Some(block) => Inclusion::After(block.saturating_sub(height)),
                        None => Inclusion::Never,
                    });
                    // Whoever only hopes has lost it; whoever still sends it has not.
                    let is_sent_again = is_open && transaction.sent_at >= self.end;
                    measures.transactions_lost += u64::from(!included && !is_sent_again);
                }
                Some((false, _)) => measures.duplicate_harm += u64::from(included),
                None => {}
            }
        }
    }
}
