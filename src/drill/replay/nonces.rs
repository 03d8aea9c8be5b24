//! The pending nonce of a wallet that sends here: the highest that several backends and the journal know, as
//! `gateway::nonce` and `gateway::ledger` merge it.

use std::time::Duration;

use super::super::steering::{Call, Steering};
use super::super::world::{Answer, Ask, BlockAsked, Facts};
use super::event::What;
use super::{COPY_PATIENCE, Ended, Replay};
use crate::policy::{BackendIndex, BackendSet, Timestamp};

/// One sender's nonce is asked for in several places no more often: `gateway::ledger`.
const ASKS_AROUND_EVERY: Duration = Duration::from_millis(500);

/// What a backend beside the first says of a nonce, and when.
#[derive(Clone, Copy)]
pub(super) struct Further {
    comes: Timestamp,
    facts: Option<Facts>,
}

impl<S: Steering> Replay<'_, S> {
    /// Whether a request asks for the pending nonce of a wallet that sends here: every session does, where any does.
    pub(super) fn is_own_nonce(&self, request: u32) -> bool {
        let slot = &self.requests[request as usize];
        slot.transaction.is_none()
            && slot.block == BlockAsked::Pending
            && self.scenario.load.transactions > 0.0
            && self.steering.keeps_a_journal()
            && self.world.methods()[slot.method].name == "eth_getTransactionCount"
    }

    /// The first was asked: others get the same question at the same moment.
    pub(super) fn ask_around(&mut self, now: Timestamp, request: u32, first: usize) {
        if !self.is_own_nonce(request) {
            return;
        }
        let slot = &self.requests[request as usize];
        let session = slot.session;
        if self.asked_around[session].is_some_and(|at| now.since(at) < ASKS_AROUND_EVERY) {
            return;
        }
        self.asked_around[session] = Some(now);
        let call = Call {
            method: self.world.methods()[slot.method],
            key: slot.number,
            deadline: now,
            block: slot.block,
            latest: slot.latest,
            height: slot.height,
        };
        let count = self.steering.fanout(false).saturating_sub(1);
        let has = BackendSet::from_iter([BackendIndex::at(first)]);
        for backend in self.steering.spread(now, &call, has, count) {
            let slot = &self.requests[request as usize];
            let ask = Ask {
                backend,
                method: slot.method,
                request: slot.number,
                attempt: 0,
                block: slot.block,
                height: slot.height,
                resolved_at: slot.resolved_at,
                logs_by_hash: false,
                marked: slot.marked,
                probe: false,
                transaction: None,
            };
            let happening = self.world.ask(now, &ask);
            self.gauge.measures.attempts += 1;
            self.called(now, backend);
            self.gauge.note(((happening.reply.answer as u64) << 24) ^ ask.request);
            let (took, reply) = self.in_time(&happening, backend, COPY_PATIENCE);
            let facts = reply.answer.is_ok().then_some(happening.facts);
            self.requests[request as usize].further.push(Further { comes: now + took, facts });
            let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
            let (backend, method) = (backend as u8, ask.method as u8);
            self.at(now + took, What::Aside { backend, method, reply, took_us, compared: None });
        }
    }

    /// Whether the session was told its nonce right since several were last asked for it, and that a moment ago.
    fn was_told_lately(&self, now: Timestamp, session: usize) -> bool {
        self.asked_around[session].is_some_and(|asked| {
            now.since(asked) < ASKS_AROUND_EVERY
                && self.nonce_told_at[session].is_some_and(|told| told >= asked)
        })
    }

    /// Until when the others are waited for, now that the first has answered.
    pub(super) fn waits_for_further(&self, now: Timestamp, request: u32) -> Option<Timestamp> {
        let slot = &self.requests[request as usize];
        let last = slot.further.iter().map(|further| further.comes).max().filter(|last| *last > now)?;
        Some(last.min(now + self.steering.waits_for_further(now.since(slot.started))))
    }

    /// The highest of what has come: a nonce that is wrong is too low.
    pub(super) fn highest(&self, now: Timestamp, request: u32, ended: Ended) -> Ended {
        let slot = &self.requests[request as usize];
        let is_right = |facts: &Facts| !facts.wrong;
        if ended.said().is_some_and(|(answer, facts)| answer.is_ok() && is_right(&facts)) {
            return ended;
        }
        // The journal counts on from its own, and what several told a moment ago holds: `gateway::ledger`.
        if self.is_own_nonce(request)
            && (self.promised[slot.session] || self.was_told_lately(now, slot.session))
            && let Some((answer, facts)) = ended.said()
            && answer.is_ok()
        {
            return Ended::Here(Facts { wrong: false, ..facts });
        }
        let came = slot.further.iter().filter(|further| further.comes <= now);
        let told: Vec<Facts> = came.filter_map(|further| further.facts).collect();
        let best = told.iter().find(|facts| is_right(facts)).or(told.first());
        match (ended.said(), best) {
            (Some((Answer::Ok | Answer::OkWrongContentType, _)), Some(best)) if !is_right(best) => ended,
            (_, Some(best)) => Ended::Here(*best),
            (_, None) => ended,
        }
    }
}
