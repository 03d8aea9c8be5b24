//! What backends agree on: which block is served next, when another branch takes over, when the chain went back, and when to
//! start anew.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;

use super::super::block::{Block, BlockId};
use super::super::event::ChainEvent;
use super::super::fork::{Branch, Contender, Fork, SHORTER_HOLD_BLOCKS, Side, prevails};
use super::super::tempo;
use super::super::tree::Joint;
use super::*;

impl Follower {
    /// Settles what is served, after anything was learned or time has passed.
    pub(super) fn decide(&mut self, now: Timestamp) {
        if self.tree.tip().is_none() {
            self.start(now);
        }
        let before = self.tree.tip().map(|tip| tip.id);
        // Each round moves the tip, or is the last one; a round costs one walk per backend.
        for _ in 0..tempo::BLOCKS_MAX {
            let voices = self.voices(now);
            if !self.change_branch(now, &voices) && !self.grow(now, &voices) {
                self.note_fork(now, &voices);
                self.go_back(now, &voices);
                self.restart(now, &voices);
                break;
            }
        }
        let served = self.tree.tip().map_or(0, |tip| tip.id.number);
        for source in &mut self.sources {
            match source.tip.and_then(|tip| self.tree.joint(tip)) {
                Some(Joint::Joined { at, first }) => source.hangs(at, first.is_some() && at < served),
                _ => source.drifts(),
            }
        }
        let Some(tip) = self.tree.tip().cloned() else { return };
        if before != Some(tip.id) {
            // On another branch, what is served anew hangs on what both share, which is not looked for here.
            let from = before.map_or(tip.id.number.saturating_sub(1), |before| before.number);
            self.arrivals.note(now, from, tip.id.number);
        }
        if before.is_none_or(|before| before.number < tip.id.number) {
            self.tempo.grew(now, self.tree.served().rev().map(|block| &**block));
            if self.is_halted {
                self.is_halted = false;
                self.tell(ChainEvent::Resumed);
            }
        }
        let patience = (self.tempo.block_time() * 4).max(Duration::from_secs(2));
        self.shown = self.shown.filter(|(number, at)| *number > tip.id.number && now.since(*at) < patience);
        let floor_holds = self.started_at.is_some_and(|at| now.since(at) < FLOOR_HOLD);
        let reachable = tip.id.number + 1..=tip.id.number + FLOOR_AHEAD_MAX;
        self.floor = self.floor.filter(|floor| reachable.contains(floor) && floor_holds);
    }

    /// Who is heard first does not decide: others are waited for, and agreement counts.
    fn start(&mut self, now: Timestamp) {
        let Some(started_at) = self.started_at else { return };
        let voices: Vec<(usize, BlockId)> = (0..self.sources.len())
            .filter(|at| self.votes(now, *at))
            .filter_map(|at| Some((at, self.sources[at].tip?)))
            .collect();
        let unheard = self.sources.iter().any(|source| source.tip.is_none());
        let waited = now.since(started_at) >= START_HOLD;
        // Of each block that is somebody's head: who has it, as far as is known.
        let mut best: Option<(u32, u64, BlockId)> = None;
        for (_, tip) in &voices {
            let mut having = BackendSet::default();
            for (at, other) in &voices {
                let has = other.hash == tip.hash
                    || self.tree.path(tip.number, other.hash).first().is_some_and(|b| b.parent == tip.hash);
                if has {
                    having.insert(BackendIndex::at(*at));
                }
            }
            let weight = self.weights.of(having);
            let better = best.is_none_or(|(most, number, _)| {
                // Equal weight: what only one claims may be made up, and then the lower is the safer claim; what
                // several have, the higher.
                weight > most
                    || (weight == most && if weight > 1 { tip.number > number } else { tip.number < number })
            });
            if better {
                best = Some((weight, tip.number, *tip));
            }
        }
        let Some((weight, _, tip)) = best else { return };
        let all: BackendSet = voices.iter().map(|(at, _)| BackendIndex::at(*at)).collect();
        let agreed = weight >= VOICES.min(self.weights.of(all)) && (!unheard || weight >= VOICES);
        if (agreed || waited)
            && let Some(block) = self.tree.get(tip.hash).cloned()
        {
            self.tree.restart(block.clone());
            self.tell(ChainEvent::Skipped { to: block });
        }
    }

    /// Goes over to another branch, where one prevails.
    fn change_branch(&mut self, now: Timestamp, voices: &[(usize, BlockId, Joint)]) -> bool {
        let Some(served) = self.tree.tip().map(|tip| tip.id.number) else { return false };
        for (_, _, joint) in voices {
            let Joint::Joined { at, first: Some(first) } = *joint else { continue };
            if at >= served {
                continue;
            }
            let (theirs, ours) = self.sides(voices, at, first);
            let pinned = self.pin_side(at, first);
            if !prevails(&theirs, &ours, pinned) {
                self.contender = self.contender.filter(|contender| contender.first != first);
                continue;
            }
            if pinned.is_none() && !self.has_held_out(now, first, &theirs, &ours) {
                continue;
            }
            // As far as enough carry it.
            let Some(top) = theirs.tops.iter().max_by_key(|top| top.number) else { continue };
            let added = self.tree.path(at, top.hash);
            let carried = added.iter().take_while(|block| {
                let by = self.carriers(voices, block.id);
                self.weights.of(by) >= VOICES.min(theirs.weight)
            });
            let added: Vec<Arc<Block>> = carried.cloned().collect();
            if added.is_empty() {
                continue;
            }
            self.contender = None;
            let dropped = self.tree.cut(at);
            for block in &added {
                self.tree.extend(block.clone());
            }
            self.ripening = None;
            for source in &mut self.sources {
                source.forget_heights();
            }
            if let Some(top) = added.last() {
                self.begin_anew_at(now, top.id.number);
            }
            self.tell(ChainEvent::Reorged { dropped, added });
            return true;
        }
        false
    }

    /// Whether a branch that prevails does so for good: one that is shorter than the served one must keep up for a while,
    /// or it is one that falls behind, whoever follows it yet.
    fn has_held_out(&mut self, now: Timestamp, first: B256, theirs: &Side, ours: &Side) -> bool {
        if theirs.height >= ours.height {
            return true;
        }
        let behind = ours.height - theirs.height;
        let fresh = Contender { first, since: now, behind };
        let contender = self.contender.filter(|known| known.first == first).unwrap_or(fresh);
        self.contender = Some(contender);
        behind <= contender.behind
            && now.since(contender.since) >= self.tempo.block_time() * SHORTER_HOLD_BLOCKS
    }

    /// The two sides of a disagreement about the block after height `at`.
    fn sides(&self, voices: &[(usize, BlockId, Joint)], at: u64, first: B256) -> (Side, Side) {
        let (mut theirs, mut ours) = (BackendSet::default(), BackendSet::default());
        let (mut their_tops, mut our_tops) = (Vec::new(), Vec::new());
        for (voice, tip, joint) in voices {
            match *joint {
                Joint::Joined { at: theirs_at, first: theirs_first }
                    if theirs_at == at && theirs_first == Some(first) =>
                {
                    theirs.insert(BackendIndex::at(*voice));
                    their_tops.push(*tip);
                }
                Joint::Joined { at: theirs_at, .. } if theirs_at > at => {
                    ours.insert(BackendIndex::at(*voice));
                    our_tops.push(*tip);
                }
                // What is missing on its way to its head is asked for: it has had our block all the same.
                Joint::Adrift { .. } => {
                    let had = self.sources[*voice].joined_at().filter(|had| *had > at);
                    if let Some(block) = had.and_then(|had| self.tree.at(had)) {
                        ours.insert(BackendIndex::at(*voice));
                        our_tops.push(block.id);
                    }
                }
                // One of its nodes is a little behind: it has had our block all the same.
                Joint::Joined { first: None, .. } if self.sources[*voice].had(at + 1) => {
                    ours.insert(BackendIndex::at(*voice));
                    our_tops.push(*tip);
                }
                _ => {}
            }
        }
        let side = |voices: BackendSet, tops: Vec<BlockId>| Side {
            weight: self.weights.of(voices),
            height: tops.iter().map(|top| top.number).max().unwrap_or(0),
            voices,
            tops,
        };
        (side(theirs, their_tops), side(ours, our_tops))
    }

    /// Whether the operator's block is on the challenging side (`Some(true)`), or on ours.
    fn pin_side(&self, at: u64, first: B256) -> Option<bool> {
        let pin = self.tree.get(self.pin?)?.id;
        match self.tree.joint(pin)? {
            Joint::Joined { at: pin_at, first: pin_first } => {
                if pin_at == at && pin_first == Some(first) {
                    Some(true)
                } else {
                    (pin_at > at).then_some(false)
                }
            }
            Joint::Adrift { .. } => None,
        }
    }

    /// Who has a block on its path.
    fn carriers(&self, voices: &[(usize, BlockId, Joint)], block: BlockId) -> BackendSet {
        let mut set = BackendSet::default();
        for (voice, tip, _) in voices {
            if tip.number < block.number {
                continue;
            }
            let mut next = self.tree.get(tip.hash);
            while let Some(there) = next.filter(|there| there.id.number > block.number) {
                next = self.tree.get(there.parent);
            }
            if next.is_some_and(|there| there.id == block) {
                set.insert(BackendIndex::at(*voice));
            }
        }
        set
    }

    /// Puts the next block on top, where one is carried by enough.
    fn grow(&mut self, now: Timestamp, voices: &[(usize, BlockId, Joint)]) -> bool {
        let Some(tip) = self.tree.tip().map(|tip| tip.id) else { return false };
        let mut sides: Vec<(B256, Side)> = Vec::new();
        for (voice, top, joint) in voices {
            let Joint::Joined { at, first: Some(first) } = *joint else { continue };
            if at != tip.number {
                continue;
            }
            if !sides.iter().any(|(known, _)| *known == first) {
                sides.push((first, Side::default()));
            }
            let Some((_, side)) = sides.iter_mut().find(|(known, _)| *known == first) else { continue };
            side.voices.insert(BackendIndex::at(*voice));
            side.height = side.height.max(top.number);
            side.tops.push(*top);
        }
        for (_, side) in &mut sides {
            side.weight = self.weights.of(side.voices);
        }
        let Some(best) = (0..sides.len()).find(|at| {
            sides.iter().enumerate().all(|(other, (_, rival))| {
                other == *at || prevails(&sides[*at].1, rival, self.pin_side(tip.number, sides[*at].0))
            })
        }) else {
            return false;
        };
        let (first, side) = &sides[best];
        let Some(block) = self.tree.get(*first).cloned() else { return false };
        let moving_for = self.tempo.block_time().mul_f64(MOVING_BLOCKS).max(MOVING_MIN);
        let moving = self.those(|source| !source.stands_still(moving_for));
        let everyone: BackendSet = voices.iter().map(|(voice, ..)| BackendIndex::at(*voice)).collect();
        // Who stands still, or is on another branch, is not waited for and cannot confirm.
        let astray = voices.iter().filter(|(_, _, joint)| match joint {
            Joint::Joined { at, first: Some(_) } => *at < tip.number,
            Joint::Joined { first: None, .. } => false,
            Joint::Adrift { .. } => true,
        });
        let waited_for = astray.fold(moving.and(everyone).or(side.voices), |mut set, (voice, ..)| {
            set.remove(BackendIndex::at(*voice));
            set
        });
        // The operator's word is enough.
        let is_pinned = self.pin_side(tip.number, *first) == Some(true);
        let needed = if is_pinned { 1 } else { VOICES.min(self.weights.operators(waited_for)) };
        let since = match self.ripening {
            Some((ripening, since)) if ripening == *first => since,
            _ => {
                self.ripening = Some((*first, now));
                now
            }
        };
        if self.weights.operators(side.voices) < needed
            && (sides.len() > 1 || !self.is_overdue(now, &block, since, voices, moving))
        {
            return false;
        }
        // Several operators of one cloud or one software are no invention, but may share a defect: others get a moment to
        // contradict.
        let may_be_contradicted = !is_pinned && side.weight < VOICES.min(self.weights.of(waited_for));
        // Most have it, or have had the time: who is asked for it next should.
        let is_ripe = if self.is_quick() {
            let seen_at = self.beat.map(|beat| beat.at_height(block.id.number, self.tempo.soonest()));
            waited_for.and(side.voices) == waited_for || seen_at.is_none_or(|at| now.since(at) >= QUICK_HOLD)
        } else {
            let waited = now.since(since);
            let block_time = self.tempo.block_time();
            let most = side.voices.len() * 2 > waited_for.len() && !may_be_contradicted;
            let lacks =
                |serving: BackendIndex| waited_for.contains(serving) && !side.voices.contains(serving);
            let is_served = !self.serving.is_some_and(lacks)
                || waited >= (block_time / SERVING_HOLD_PART).min(SERVING_HOLD_MAX);
            let is_held = most || waited >= (block_time / HOLD_PART).min(HOLD_MAX);
            (is_held && is_served) || side.height > block.id.number
        };
        if !is_ripe {
            return false;
        }
        self.ripening = None;
        self.tree.extend(block.clone());
        match self.events.back_mut() {
            Some(ChainEvent::Extended { blocks }) if blocks.len() < tempo::BLOCKS_MAX as usize => {
                blocks.push(block)
            }
            _ => self.tell(ChainEvent::Extended { blocks: vec![block] }),
        }
        true
    }

    /// Whether it is time for the block after one that too few show, and of those who could contradict nobody lacks it but, at
    /// most, one operator: then that one is behind.
    fn is_overdue(
        &self,
        now: Timestamp,
        block: &Block,
        shown_at: Timestamp,
        voices: &[(usize, BlockId, Joint)],
        moving: BackendSet,
    ) -> bool {
        let slot = self.tempo.soonest();
        let next_at = self.beat.map(|beat| beat.at_height(block.id.number + 1, slot));
        let mut lack = BackendSet::default();
        for (voice, tip, joint) in voices {
            let keeps_up = moving.contains(BackendIndex::at(*voice));
            if keeps_up && matches!(joint, Joint::Joined { first: None, .. }) && tip.number < block.id.number
            {
                lack.insert(BackendIndex::at(*voice));
            }
        }
        now.since(shown_at) >= slot / 2
            && next_at.is_none_or(|at| now >= at)
            && self.weights.operators(lack) < VOICES
    }

    /// Follows a rollback: nobody shows the served tip any more, and those who did now show less.
    fn go_back(&mut self, now: Timestamp, voices: &[(usize, BlockId, Joint)]) {
        let Some(tip) = self.tree.tip().map(|tip| tip.id) else { return };
        let (mut everyone, mut gone_back) = (BackendSet::default(), BackendSet::default());
        let mut highest = None;
        for (voice, own, joint) in voices {
            everyone.insert(BackendIndex::at(*voice));
            if self.sources[*voice].went_back_from(tip.number) {
                gone_back.insert(BackendIndex::at(*voice));
            }
            if let Joint::Joined { at, .. } = joint {
                highest = highest.max(Some(*at));
            }
            if own.number >= tip.number {
                highest = Some(tip.number);
            }
        }
        let is_meant = self.weights.of(gone_back) >= VOICES.min(self.weights.of(everyone));
        // Somebody who has the tip going away is no rollback: others were there, too, and went back.
        let Some(highest) = highest.filter(|highest| *highest < tip.number && is_meant) else {
            self.unsupported_since = None;
            return;
        };
        let since = *self.unsupported_since.get_or_insert(now);
        if now.since(since) < ROLLBACK_HOLD_MIN.max(self.tempo.block_time().min(START_HOLD * 4)) {
            return;
        }
        self.unsupported_since = None;
        let dropped = self.tree.cut(highest);
        for source in &mut self.sources {
            source.forget_heights();
        }
        self.shown = None;
        self.begin_anew_at(now, highest);
        self.tell(ChainEvent::Reorged { dropped, added: Vec::new() });
    }

    fn begin_anew_at(&mut self, now: Timestamp, number: u64) {
        self.newest = Some((number, now));
        self.beat = Some(Beat::new(now, number));
    }

    /// Starts anew from heads that do not hang on what was served, where more voices are there than here.
    fn restart(&mut self, now: Timestamp, voices: &[(usize, BlockId, Joint)]) {
        let Some(served) = self.tree.tip().map(|tip| tip.id) else { return };
        let adrift = || {
            voices.iter().filter_map(|(voice, tip, joint)| match joint {
                Joint::Adrift { root, .. } => Some((*voice, *tip, *root)),
                Joint::Joined { .. } => None,
            })
        };
        let mut best: Option<(Side, BlockId)> = None;
        for (_, _, root) in adrift() {
            let mut side = Side::default();
            for (voice, tip, _) in adrift().filter(|(_, _, other)| *other == root) {
                side.voices.insert(BackendIndex::at(voice));
                side.height = side.height.max(tip.number);
                side.tops.push(tip);
            }
            side.weight = self.weights.of(side.voices);
            let is_better = best
                .as_ref()
                .is_none_or(|(known, _)| (side.weight, side.height) > (known.weight, known.height));
            if is_better {
                best = Some((side, root));
            }
        }
        self.is_catching_up = false;
        let Some((side, _)) = best else {
            self.adrift_since = None;
            return;
        };
        let since = *self.adrift_since.get_or_insert(now);
        // Who stays where it was: those whose heads still hang on the served chain, near its tip.
        let mut stay = BackendSet::default();
        let mut everyone = side.voices;
        for (voice, tip, joint) in voices {
            everyone.insert(BackendIndex::at(*voice));
            if matches!(joint, Joint::Joined { .. }) && tip.number + 2 >= served.number {
                stay.insert(BackendIndex::at(*voice));
            }
        }
        let stays = self.weights.of(stay);
        let is_filling = voices.iter().any(|(voice, ..)| {
            side.voices.contains(BackendIndex::at(*voice)) && self.missing(*voice).is_some()
        });
        let patience = if is_filling { GAP_PATIENCE } else { ROLLBACK_HOLD_MIN };
        // Who is silent now may still contradict: against it, one voice counts only for what time explains.
        let known = self.those(|source| source.tip.is_some() && !source.is_lying(now));
        let needed = match self.is_plausible(now, side.height) && side.height > served.number {
            true => self.weights.of(everyone),
            false => self.weights.of(known.or(everyone)),
        };
        // Only who was further has gone back: to where some stood still all the time there is no new start.
        let gone_back: BackendSet = side
            .voices
            .iter()
            .filter(|voice| self.sources[voice.get()].went_back_from(served.number))
            .collect();
        let goes_back = side.height < served.number && self.weights.of(gone_back) < VOICES.min(needed);
        let enough = side.weight >= VOICES.min(needed) && side.weight > stays && !goes_back;
        self.is_catching_up = enough;
        if !enough || now.since(since) < patience {
            return;
        }
        self.is_catching_up = false;
        let Some(top) = side.tops.iter().min_by_key(|top| top.number) else { return };
        let Some(block) = self.tree.get(top.hash).cloned() else { return };
        self.adrift_since = None;
        self.ripening = None;
        self.shown = None;
        self.floor = None;
        self.tree.restart(block.clone());
        for source in &mut self.sources {
            source.forget_heights();
        }
        self.begin_anew_at(now, block.id.number);
        self.tell(ChainEvent::Skipped { to: block });
    }

    /// Takes down who is on which branch, for people, and tells of a new disagreement that lasts.
    fn note_fork(&mut self, now: Timestamp, voices: &[(usize, BlockId, Joint)]) {
        let Some(tip) = self.tree.tip().map(|tip| tip.id) else { return };
        let mut lowest: Option<u64> = None;
        let mut branches: Vec<Branch> = Vec::new();
        for (_, _, joint) in voices {
            let Joint::Joined { at, first: Some(first) } = *joint else { continue };
            let is_rival_extension = at == tip.number
                && voices.iter().any(|(_, _, other)| {
                    matches!(other, Joint::Joined { at: other_at, first: Some(other) } if *other_at == at && *other != first)
                });
            if (at < tip.number || is_rival_extension) && !branches.iter().any(|branch| branch.first == first)
            {
                let (theirs, ours) = self.sides(voices, at, first);
                lowest = Some(lowest.map_or(at, |known| known.min(at)));
                branches.push(Branch {
                    first,
                    parent: at,
                    voices: theirs.voices,
                    weight: theirs.weight,
                    height: theirs.height,
                });
                if at < tip.number
                    && !branches.iter().any(|branch| branch.parent == at && branch.is_served(self))
                {
                    let served = self.tree.at(at + 1).map_or(B256::ZERO, |block| block.id.hash);
                    branches.push(Branch {
                        first: served,
                        parent: at,
                        voices: ours.voices,
                        weight: ours.weight,
                        height: ours.height,
                    });
                }
            }
        }
        let Some(ancestor) = lowest.and_then(|at| self.tree.at(at)).map(|block| block.id) else {
            self.fork = None;
            return;
        };
        let known = self.fork.take().filter(|fork| fork.ancestor == ancestor);
        let since = known.as_ref().map_or(now, |fork| fork.since);
        let mut is_told = known.as_ref().is_some_and(|fork| fork.is_told);
        // Two blocks at one height for a moment are everyday life.
        if !is_told && now.since(since) >= self.tempo.block_time().min(Duration::from_secs(12)) {
            is_told = true;
            self.tell(ChainEvent::Forked { ancestor });
        }
        let served_weight =
            branches.iter().filter(|branch| branch.is_served(self)).map(|branch| branch.weight).max();
        let rival_weight =
            branches.iter().filter(|branch| !branch.is_served(self)).map(|branch| branch.weight).max();
        let is_undecided = rival_weight >= served_weight && self.pin.is_none();
        let held_to = (is_undecided && served_weight.is_none()).then(|| {
            let held_to = known.and_then(|fork| fork.held_to);
            held_to.filter(|first| branches.iter().any(|branch| branch.first == *first)).or_else(|| {
                let there_since = |branch: &&Branch| {
                    branch.voices.iter().filter_map(|voice| self.sources[voice.get()].moved_at).min()
                };
                branches.iter().min_by_key(there_since).map(|branch| branch.first)
            })
        });
        let held_to = held_to.flatten();
        self.fork = Some(Fork { ancestor, since, branches, is_undecided, is_told, held_to });
    }
}
