//! Which backend a filter lives at: filter ids mean nothing to the node next door.
//!
//! Until filters are made from the chain's own record, a filter is lost with its backend; the client
//! is told "filter not found", which every wallet answers by making a new one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::policy::{BackendIndex, Timestamp};

/// Filters remembered per chain. Past it the one that was unused for longest is forgotten.
const FILTERS_MAX: usize = 10_000;
/// Nodes drop a filter that nobody polls for five minutes (geth's default).
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Ids are at most 32 bytes in hex with their prefix; what is longer is no id.
const ID_BYTES_MAX: usize = 80;

#[derive(Clone, Copy, Debug)]
struct Home {
    backend: BackendIndex,
    used_at: Timestamp,
}

/// Homes of the filters that clients hold.
#[derive(Debug, Default)]
pub(super) struct Filters {
    homes: Mutex<HashMap<Box<str>, Home>>,
}

impl Filters {
    /// A backend made this filter.
    pub(super) fn made(&self, now: Timestamp, id: &str, backend: BackendIndex) {
        if id.len() > ID_BYTES_MAX {
            return;
        }
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= FILTERS_MAX {
            homes.retain(|_, home| now.since(home.used_at) < IDLE_MAX);
        }
        if homes.len() >= FILTERS_MAX
            && let Some(oldest) = homes.iter().min_by_key(|(_, home)| home.used_at).map(|(id, _)| id.clone())
        {
            homes.remove(&oldest);
        }
        homes.insert(id.into(), Home { backend, used_at: now });
    }

    /// Where a filter lives, if it is known.
    pub(super) fn home(&self, now: Timestamp, id: &str) -> Option<BackendIndex> {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let home = homes.get_mut(id)?;
        home.used_at = now;
        Some(home.backend)
    }
}
