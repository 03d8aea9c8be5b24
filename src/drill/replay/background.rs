//! What a policy asks of its own accord: whether backends are well, and where they say that the chain stands.

use std::time::Duration;

use super::super::steering::Steering;
use super::super::world::{Ask, BlockAsked, Reply};
use super::Replay;
use super::event::What;
use crate::chain::{Look, Shown};
use crate::policy::{Question, Timestamp};

/// Whether the policy has a question is looked at this often: `gateway::watch`.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A header that takes longer is no news: `gateway::follow`.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);

/// Numbers of probes, by their nanosecond.
const PROBES: u64 = 1 << 62;
/// Numbers of looks, by their nanosecond.
const LOOKS: u64 = 1 << 63;

/// A look at where the chain stands, under way.
pub(super) struct Looking {
    pub(super) look: Look,
    pub(super) since: Timestamp,
    pub(super) reply: Reply,
    pub(super) shown: Shown,
}

impl<S: Steering> Replay<'_, S> {
    /// Looks where a backend says the chain stands, one question at a time.
    pub(super) fn follow(&mut self, now: Timestamp, backend: usize) {
        if self.looking[backend].is_some() || now >= self.rests_at {
            return;
        }
        let Some(look) = self.steering.next_look(now, backend) else { return };
        let ask = Ask {
            backend,
            method: self.look_method(look),
            request: LOOKS + now.since_origin().as_nanos() as u64,
            attempt: 0,
            block: match look {
                Look::Latest => BlockAsked::Latest,
                Look::Pending => BlockAsked::Pending,
                Look::Finalized | Look::Safe => BlockAsked::Finalized,
                Look::Block(_) => BlockAsked::None,
            },
            height: None,
            resolved_at: now,
            logs_by_hash: false,
            marked: false,
            probe: true,
            transaction: None,
        };
        let happening = self.world.ask(now, &ask);
        let shown = self.world.shown(now, backend, ask.request, look);
        self.gauge.measures.probes += 1;
        self.called(now, backend);
        let (took, reply) = self.in_time(&happening, backend, LOOK_PATIENCE);
        self.looking[backend] = Some(Looking { look, since: now, reply, shown });
        self.at(now + took, What::Shown { backend: backend as u8 });
    }

    pub(super) fn look_method(&self, look: Look) -> usize {
        let by_hash = matches!(look, Look::Block(_));
        let known = if by_hash { self.block_by_hash } else { self.block_by_number };
        known.unwrap_or(self.head_method)
    }

    /// Looks for the next question a moment after the last one was answered.
    pub(super) fn probe_again(&mut self, now: Timestamp, backend: usize) {
        if self.probing[backend] == 0 && now + PROBE_EVERY < self.rests_at {
            self.at(now + PROBE_EVERY, What::Probe { backend: backend as u8 });
        }
    }

    pub(super) fn method_of(&self, question: Question) -> usize {
        let (name, _) = question.call();
        self.world.method(name).unwrap_or(self.head_method)
    }

    pub(super) fn probe(&mut self, now: Timestamp, backend: usize, question: Question) {
        let method = self.method_of(question);
        let ask = Ask {
            backend,
            method,
            request: PROBES + ((method as u64) << 54) + now.since_origin().as_nanos() as u64,
            attempt: 0,
            block: BlockAsked::Latest,
            height: None,
            resolved_at: now,
            logs_by_hash: false,
            marked: false,
            probe: true,
            transaction: None,
        };
        let happening = self.world.ask(now, &ask);
        self.gauge.measures.probes += 1;
        self.called(now, backend);
        let (took, reply) = self.in_time(&happening, backend, question.patience());
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.probing[backend] += 1;
        self.at(now + took, What::Probed { backend: backend as u8, question, reply, took_us });
    }
}
