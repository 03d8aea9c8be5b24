//! Sees transactions through to their blocks, as `gateway::deliver` does: [`Life`](crate::chain::Life) says when one is
//! looked for and when it is sent again.

use std::time::Duration;

use super::super::steering::{Call, Steering};
use super::super::world::{BlockAsked, Known};
use super::event::What;
use super::{BLOCKS, Replay};
use crate::chain::{BlockId, ChainEvent, Happened, Looked, Next};
use crate::policy::{BackendIndex, BackendSet, Timestamp};

/// Time passes for transactions this often: `gateway::deliver`, as all of these.
const TICK: Duration = Duration::from_secs(1);
const ASKED_MAX: usize = 4;
const RESENT_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(3);
const TURNS: u8 = 4;
const TURN_PAUSE: Duration = Duration::from_millis(100);

/// What backends said when they were asked for a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    has: BackendSet,
    lacks: BackendSet,
    /// The block that one of them shows it in.
    block: Option<u64>,
    is_used: bool,
    height: u64,
}

impl<S: Steering> Replay<'_, S> {
    /// Takes what the chain has done, and lets time pass.
    pub(super) fn see_through(&mut self, now: Timestamp) {
        for event in self.steering.take_events() {
            let blocks = match event {
                ChainEvent::Extended { blocks } => blocks,
                ChainEvent::Reorged { dropped, added } => {
                    if let Some(lowest) = dropped.iter().map(|block| block.id.number).min() {
                        self.tell_lives(now, Happened::RolledBackTo(lowest));
                    }
                    added
                }
                ChainEvent::Skipped { to } => vec![to],
                _ => continue,
            };
            for block in &blocks {
                self.tell_lives(now, Happened::Served(block.id));
                self.read_block(now, block.id, TURNS);
            }
            let (_, settled) = self.steering.heights();
            self.tell_lives(now, Happened::Settled(settled));
            if let Some(head) = blocks.last() {
                self.tell_lives(now, Happened::Grown(head.id.number));
            }
        }
        if now.since(self.ticked_at) >= TICK {
            self.ticked_at = now;
            let is_reachable = self.steering.is_reachable(now);
            self.tell_lives(now, Happened::Tick { is_reachable });
        }
    }

    fn tell_lives(&mut self, now: Timestamp, happened: Happened) {
        for number in self.open.clone() {
            let transaction = &mut self.transactions[number as usize];
            let Some(life) = &mut transaction.life else { continue };
            if let Happened::Grown(height) = happened {
                life.reached(height);
            }
            // Until its client is told something, it is on its way.
            if transaction.told.is_some() {
                let next = life.on(now, happened);
                self.carry_out(now, number, next);
            }
        }
        let transactions = &self.transactions;
        let is_over = |number: u32| {
            let life = transactions[number as usize].life.as_ref();
            life.is_none_or(|life| life.is_over())
        };
        self.open.retain(|number| !is_over(*number));
    }

    fn carry_out(&mut self, now: Timestamp, number: u32, next: Next) {
        match next {
            // It is private for good.
            Next::Nothing | Next::Escalate => {}
            Next::Look => self.look_for(now, number),
            Next::SendToAll => self.send_again(now, number, BackendSet::default(), RESENT_MAX),
            Next::Send(lacks) => {
                let has = (0..self.private.len()).map(BackendIndex::at).filter(|at| !lacks.contains(*at));
                self.send_again(now, number, has.collect(), RESENT_MAX);
            }
        }
    }

    /// Reads which transactions are in a block, as any read is made.
    pub(super) fn read_block(&mut self, now: Timestamp, block: BlockId, turns: u8) {
        let Some(method) = self.block_by_hash.filter(|_| !self.open.is_empty()) else { return };
        let request =
            self.request(BLOCKS + block.number + (u64::from(turns) << 32), method, BlockAsked::None);
        let slot = &mut self.requests[request as usize];
        (slot.reads_block, slot.height, slot.resolved_at) = (Some((block, turns)), Some(block.number), now);
        slot.started = now;
        let method = self.world.methods()[method];
        let call = Call {
            method,
            key: slot.number,
            deadline: now + self.steering.time_for(method),
            block: BlockAsked::None,
            latest: None,
            height: slot.height,
        };
        slot.course = Some(self.steering.begin(&call));
        self.step(now, request, super::Told::Start);
    }

    pub(super) fn block_was_read(&mut self, now: Timestamp, (block, turns): (BlockId, u8), is_read: bool) {
        if !is_read {
            if let Some(turns) = turns.checked_sub(1).filter(|turns| *turns > 0) {
                self.at(now + TURN_PAUSE, What::ReadBlock { block, turns });
            }
            return;
        }
        // A block of another branch has none of them.
        if self.world.block(block.number) != block {
            return;
        }
        for number in self.open.clone() {
            if self.world.transaction(number).block == Some(block.number)
                && let Some(life) = &mut self.transactions[number as usize].life
            {
                life.on(now, Happened::Included(block, 0));
            }
        }
    }

    fn look_for(&mut self, now: Timestamp, number: u32) {
        let Some(life) = &self.transactions[number as usize].life else { return };
        let mut holders = self.steering.holders(now, life.taken_by());
        let others = holders.split_off(holders.len().min(ASKED_MAX));
        let (height, _) = self.steering.heights();
        let none = BackendSet::default();
        let mut found = Found { has: none, lacks: none, block: None, is_used: false, height };
        let mut took = self.ask_holders(now, number, &holders, &mut found);
        if found.has.is_empty() && found.block.is_none() {
            // The sender's nonce in the served chain is a read that somebody answers.
            found.is_used = self.world.transaction(number).block.is_some_and(|block| block <= height);
            if found.is_used {
                took = took.max(self.ask_holders(now, number, &others, &mut found));
            }
        }
        self.at(now + took, What::Found { number, found });
    }

    fn ask_holders(
        &mut self,
        now: Timestamp,
        number: u32,
        backends: &[usize],
        found: &mut Found,
    ) -> Duration {
        let mut longest = Duration::ZERO;
        for backend in backends {
            let (took, known) = self.ask_for(now, number, *backend, PATIENCE);
            longest = longest.max(took);
            let index = BackendIndex::at(*backend);
            match known {
                Some(Known::Nothing) => found.lacks.insert(index),
                Some(Known::Pending) => found.has.insert(index),
                Some(Known::In(block)) if block <= found.height => found.block = Some(block),
                // Above the served head it is one backend's block.
                Some(Known::In(_)) => found.has.insert(index),
                None => {}
            }
        }
        longest
    }

    pub(super) fn found(&mut self, now: Timestamp, number: u32, found: Found) {
        let happened = match found.block {
            Some(block) => Happened::Included(self.world.block(block), 0),
            None => Happened::Looked(Looked {
                has: found.has,
                lacks: found.lacks,
                next_nonce: found.has.is_empty().then_some(u64::from(found.is_used)),
                height: found.height,
            }),
        };
        if let Some(life) = &mut self.transactions[number as usize].life {
            let next = life.on(now, happened);
            self.carry_out(now, number, next);
        }
    }
}
