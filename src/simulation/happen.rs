//! Lets outages happen in their time.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backend::SimulatedBackend;
use super::fault::Fault;
use super::outage::Turn;

/// Outages whose backends are found, and whose time has not begun.
pub struct PlannedOutages {
    pub(super) turns: Vec<Turn>,
    pub(super) backends: Arc<[SimulatedBackend]>,
    pub(super) ended: CancellationToken,
}

impl PlannedOutages {
    /// Counts their times from `start` on, within a tokio runtime; they end with their simulation.
    pub fn begin(self, start: Instant) {
        let Self { turns, backends, ended } = self;
        tokio::spawn(async move {
            tokio::select! {
                () = happen(turns, &backends, start) => {}
                () = ended.cancelled() => {}
            }
        });
    }
}

async fn happen(turns: Vec<Turn>, backends: &[SimulatedBackend], start: Instant) {
    for turn in turns {
        sleep_until(start + turn.at).await;
        let names = |indices: &[usize]| {
            indices.iter().filter_map(|at| backends.get(*at)).map(|b| b.name()).collect::<Vec<_>>().join(", ")
        };
        for at in &turn.gone {
            backends[*at].set(Some(Fault::Refuse));
        }
        for at in &turn.back {
            backends[*at].set(None);
        }
        if !turn.gone.is_empty() {
            tracing::warn!("simulation: {} is gone ({})", turn.name, names(&turn.gone));
        }
        if !turn.back.is_empty() {
            tracing::info!("simulation: {} is back ({})", turn.name, names(&turn.back));
        }
    }
}
