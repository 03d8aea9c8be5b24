//! What is known of one backend in one class of methods: health, live quantiles, standing, and whether it is silent.

use std::time::Duration;

use super::admission::{Admission, Standing};
use super::health::Health;
use super::latency::Latencies;
use super::{Remembered, Timestamp};

/// Past this share of failures a backend loses its place.
const SUSPECT_ERROR_RATE: f64 = 0.4;
/// Frequent failures say something for this long.
const SUSPECT_FOR: Duration = Duration::from_secs(10);
/// Calls under way that have been silent for this many times the slowest usual answer are in trouble.
const SILENT_FACTOR: u32 = 2;
/// Never earlier than this: a hedge has been sent by then.
const SILENT_MIN: Duration = Duration::from_millis(400);
/// So is a backend of which so many attempts in a row had to be cancelled long after its usual answers came.
const OVERDUE_MAX: u32 = 3;
/// Fewer samples than this make no quantile.
const SAMPLES_MIN: u32 = 20;

/// Experience with one backend in one class of methods.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    pub(super) health: Health,
    pub(super) latencies: Latencies,
    pub(super) admission: Admission,
    in_flight: u32,
    /// Attempts in a row that were cancelled although its usual answers would have come, and no answer between.
    overdue_in_a_row: u32,
    /// When it last answered, or began to work after having nothing to do.
    active_at: Timestamp,
}

impl Experience {
    /// Errors and expected latency.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Live quantiles.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// The latency that a share `q` of answers stays within, once there are enough to say.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        self.latencies.quantile(q).filter(|_| self.latencies.samples() >= SAMPLES_MIN)
    }

    /// How far it takes part.
    pub fn standing(&self, now: Timestamp) -> Standing {
        self.admission.standing(now)
    }

    /// What is worth knowing after a restart; `None` where nothing was measured.
    pub fn remember(&self, now: Timestamp) -> Option<Remembered> {
        let out = self.standing(now) != Standing::Admitted;
        self.health.remember(now).map(|remembered| Remembered { out, ..remembered })
    }

    /// Whether calls are under way that have been silent for far too long.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        if self.in_flight == 0 {
            return false;
        }
        // Where too little is known, the average would only repeat how long it has been silent before.
        let usual = self.quantile(0.99).unwrap_or(SILENT_MIN / SILENT_FACTOR);
        let waits_in_vain = now.since(self.active_at) >= (usual * SILENT_FACTOR).max(SILENT_MIN);
        waits_in_vain || self.overdue_in_a_row >= OVERDUE_MAX
    }

    /// Whether more than one call in a row would have taken longer than nearly all.
    pub(super) fn is_overdue_again(&self) -> bool {
        self.overdue_in_a_row > 1
    }

    /// Whether its answers say that it fails.
    pub fn is_suspect(&self, now: Timestamp) -> bool {
        let failed_lately = now.since(self.health.measured_at()) < SUSPECT_FOR;
        (failed_lately && self.health.is_alarming()) || self.health.fails_more_than(now, SUSPECT_ERROR_RATE)
    }

    pub(super) fn started(&mut self, now: Timestamp) {
        if self.in_flight == 0 {
            self.active_at = now;
        }
        self.in_flight += 1;
    }

    /// An outcome came, whatever it was: it is not silent.
    pub(super) fn was_heard(&mut self, now: Timestamp) {
        self.active_at = now;
        self.overdue_in_a_row = 0;
    }

    /// An attempt was cancelled after `took`: it would have lasted at least so long.
    pub(super) fn was_cancelled(&mut self, now: Timestamp, took: Duration) {
        let usual = self.quantile(0.99).unwrap_or_else(|| self.health.latency(now) * SILENT_FACTOR);
        if took >= usual {
            self.overdue_in_a_row = self.overdue_in_a_row.saturating_add(1);
        }
        self.health.record_cancelled(now, took);
        if self.latencies.quantile(0.5).is_some_and(|median| took > median) {
            self.latencies.record(now, took);
        }
    }

    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}
