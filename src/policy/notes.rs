//! What was decided lately and why: a bounded ring that the status page and the log read.

use std::collections::VecDeque;

use crate::ethereum::MethodClass;

use super::set::BackendIndex;
use super::{Class, Timestamp};

/// Notes kept. An outage makes some tens of them.
const KEPT: usize = 256;

/// Something that changed how requests are routed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Lost its place: it failed too often, or was silent.
    Ejected {
        /// For which methods.
        class: MethodClass,
        /// Failures in a row at that moment.
        failures_in_a_row: u32,
        /// Its estimated share of failures, 0 to 1.
        error_rate: f64,
    },
    /// Lost its place: calls were under way, and nothing came back any more.
    Silent {
        /// For which methods.
        class: MethodClass,
    },
    /// Is left alone for a while: it said so, or two calls in a row did.
    Paused {
        /// What it said.
        class: Class,
    },
    /// Is gone for good, as far as is known: nothing but this came of it.
    Retired {
        /// What it said.
        class: Class,
    },
    /// Answered after it had been retired.
    Returned,
    /// Lost its place because its failure domain fails as a whole.
    Condemned,
    /// Is no longer held responsible for its domain.
    Cleared,
    /// Takes part in full again.
    Readmitted {
        /// For which methods.
        class: MethodClass,
    },
    /// Became the backend that serves in calm weather.
    Favoured {
        /// Who was it before.
        instead_of: Option<BackendIndex>,
    },
}

/// One change, when and to whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Whom it concerns.
    pub backend: BackendIndex,
    /// What changed.
    pub change: Change,
}

/// The latest notes.
#[derive(Debug, Default)]
pub struct Notes {
    ring: VecDeque<Note>,
    written: u64,
}

impl Notes {
    pub(super) fn write(&mut self, at: Timestamp, backend: BackendIndex, change: Change) {
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(Note { at, backend, change });
        self.written += 1;
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.ring.iter()
    }

    /// How many were ever written.
    pub fn written(&self) -> u64 {
        self.written
    }
}
