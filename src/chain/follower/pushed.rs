//! What backends' WebSockets do for the follower: who may hold one open, and what becomes of a head that was pushed.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::super::block::Block;
use super::super::push::{SocketFault, SocketView, apart};
use super::{Follower, HashCheck};
use crate::policy::{BackendIndex, Fleet, Timestamp};

/// A WebSocket is opened for a chain that clients used within this time.
const USED_FOR: Duration = Duration::from_secs(60);
/// And closed once nobody has used it for this long.
const LEFT_AFTER: Duration = Duration::from_secs(180);

impl Follower {
    /// Whether a backend's WebSocket is to be opened now; it is booked as being opened until [`Self::socket_opened`] or
    /// [`Self::socket_ended`]. What it costs comes out of the backend's probe budget.
    pub fn opens_socket(&mut self, now: Timestamp, fleet: &mut Fleet, backend: BackendIndex) -> bool {
        let is_used = self.used_at.is_some_and(|at| now.since(at) <= USED_FOR);
        let opens = is_used && self.pushes[backend.get()].may_open(now) && fleet.may_look(now, backend, true);
        if opens {
            self.pushes[backend.get()].opens(now);
        }
        opens
    }

    /// It is open: the chain is the right one, and heads were asked for.
    pub fn socket_opened(&mut self, now: Timestamp, backend: BackendIndex) {
        self.pushes[backend.get()].opened(now);
    }

    /// Whether it is to be kept open. A chain that nobody uses holds none, and a backend that may not be asked neither.
    ///
    /// # Errors
    /// Where it is closed for a fault.
    pub fn keeps_socket(
        &self,
        now: Timestamp,
        fleet: &Fleet,
        backend: BackendIndex,
    ) -> Result<bool, SocketFault> {
        if self.pushes[backend.get()].is_given_up(now, self.tempo.block_time()) {
            return Err(SocketFault::Silent);
        }
        let is_used = self.used_at.is_some_and(|at| now.since(at) <= LEFT_AFTER);
        Ok(is_used && fleet.may_be_looked_at(now, backend))
    }

    /// It is no longer open: for a fault, or on purpose.
    pub fn socket_ended(
        &mut self,
        now: Timestamp,
        backend: BackendIndex,
        fault: Option<SocketFault>,
        rng: &mut impl Rng,
    ) {
        let push = &mut self.pushes[backend.get()];
        match fault {
            Some(fault) => push.ended(now, fault, rng),
            None => push.left(now),
        }
    }

    /// How it stands, for people.
    pub fn socket(&self, backend: BackendIndex) -> SocketView {
        self.pushes[backend.get()].view()
    }

    /// Something came that is no head.
    ///
    /// # Errors
    /// Where it is enough, and the connection is to be closed.
    pub fn pushed_nothing(&mut self, now: Timestamp, backend: BackendIndex) -> Result<(), SocketFault> {
        let block_time = self.tempo.block_time();
        let push = &mut self.pushes[backend.get()];
        let is_bearable = push.heard(now, block_time) && push.unfit(now);
        is_bearable.then_some(()).ok_or(SocketFault::Unfit)
    }

    /// A backend pushed its head. It moves the backend's head up and nothing else: whatever contradicts what is known
    /// makes HTTP be asked, and is believed when that says so. Many nodes push headers that lack members of late forks:
    /// that one does not hash to what it claims is no proof of a lie here, as it is over HTTP.
    ///
    /// # Errors
    /// Where it is enough, and the connection is to be closed.
    pub fn pushed(
        &mut self,
        now: Timestamp,
        fleet: &Fleet,
        backend: BackendIndex,
        block: Arc<Block>,
        check: HashCheck,
    ) -> Result<(), SocketFault> {
        let (at, id, block_time) = (backend.get(), block.id, self.tempo.soonest());
        if !fleet.may_be_looked_at(now, backend) {
            return Ok(());
        }
        let is_proven = check == HashCheck::Matches || !self.hashes_match;
        if !is_proven || self.contradicts(&block) {
            self.schedules[at].hinted(now);
            return self.pushed_nothing(now, backend);
        }
        if !self.pushes[at].heard(now, block_time) {
            return Err(SocketFault::Unfit);
        }
        let tip = self.sources[at].tip;
        let is_higher = tip.is_none_or(|tip| id.number > tip.number);
        let is_plausible = self.is_plausible(now, id.number);
        if is_higher && is_plausible && self.pushes[at].has_role() {
            self.pushes[at].leads(now, id.number);
            self.expected = self.expected.filter(|(expected, _)| *expected != backend);
            self.saw_latest(now, backend, block, check);
            return Ok(());
        }
        let is_in_time = is_plausible && self.arrivals.is_in_time(now, id.number, block_time);
        self.pushes[at].hints(now, id.number, is_in_time);
        if let Some(tip) = tip.filter(|tip| tip.number >= id.number) {
            self.pushes[at].compares(now, Duration::ZERO, tip.number, block_time);
        }
        // A block that it is known to have is no news, and neither is one before that.
        let is_known = self.tree.get(id.hash).is_some() && !is_higher;
        if !is_known {
            self.schedules[at].hinted(now);
        }
        Ok(())
    }

    /// A backend showed its latest block when it was asked `took` ago.
    pub(in crate::chain) fn saw_asked(
        &mut self,
        now: Timestamp,
        backend: BackendIndex,
        took: Duration,
        block: Arc<Block>,
        check: HashCheck,
    ) {
        let block_time = self.tempo.soonest();
        if self.pushes[backend.get()].compares(now, took, block.id.number, block_time) {
            self.saw_latest(now, backend, block, check);
        } else {
            self.schedules[backend.get()].again(now + apart(block_time));
        }
    }

    /// Who stays silent while the chain goes on loses its role.
    pub(super) fn listen_to_pushes(&mut self, now: Timestamp) {
        let block_time = self.tempo.block_time();
        for push in &mut self.pushes {
            push.listen(now, &self.arrivals, block_time);
        }
    }
}

#[cfg(test)]
mod tests;
