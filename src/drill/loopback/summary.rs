//! What a drill came to, in numbers.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::faults::NEW_FOR;
use super::log::{Asked, Fate, Log, Written};
use crate::gateway::{CallsStatus, ChainStatus, DecisionStatus, Gateway};

/// A share is read over so long.
const SHARE_OVER: Duration = Duration::from_millis(250);
/// And that often.
const SHARE_STEP: Duration = Duration::from_millis(50);
/// Fewer attempts than this in a window say nothing.
const SHARE_ATTEMPTS_MIN: u64 = 4;
/// Decisions that are told.
const DECISIONS_MAX: usize = 32;
/// What was wrong with requests, as far as it is told.
const TOLD_MAX: usize = 5;

/// Who failed, and when.
pub(super) struct Outage {
    pub(super) victim: usize,
    pub(super) name: String,
    pub(super) begun: Duration,
    pub(super) ended: Duration,
    pub(super) over: Duration,
    pub(super) struck: u64,
}

/// One drill. Times are in milliseconds; latencies count from when a request was due.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The backend that failed.
    pub victim: String,
    /// Since the measured time began: the outage's beginning and end, and the drill's end.
    pub phases_ms: [u64; 3],
    /// Requests of the client.
    pub requests: usize,
    /// Of these, not answered, or with an error.
    pub failed: usize,
    /// Of these, answered with what no node of the chain could have said.
    pub wrong: usize,
    /// Transactions among them.
    pub transactions: usize,
    /// Transactions that were acknowledged and are in no block.
    pub transactions_lost: usize,
    /// How often the fault met somebody, as far as it can be counted, and attempts at the backend meanwhile.
    pub struck: u64,
    /// See `struck`.
    pub attempts_at_victim: u64,
    /// Latency of the calm.
    pub calm: Latencies,
    /// Latency of the outage's first five seconds.
    pub first: Latencies,
    /// Of what came later in it; `None` where it was shorter.
    pub later: Option<Latencies>,
    /// Of the time after it.
    pub recovery: Latencies,
    /// The failed backend's share of all attempts in the calm.
    pub share_calm: f64,
    /// From when on that was less than half of it until the end of the outage; `None`: never.
    pub halved_ms: Option<u64>,
    /// Its share in the drill's last two seconds.
    pub share_at_end: f64,
    /// From the outage's end until it took part in full; `None`: not yet.
    pub back_ms: Option<u64>,
    /// Attempts per request, light probes left out.
    pub amplification: f64,
    /// Requests that went to backends, and extra calls, of the calm.
    pub calls_calm: CallsStatus,
    /// The same of the outage.
    pub calls_outage: CallsStatus,
    /// The same of all.
    pub calls: CallsStatus,
    /// Examples of what failed or was wrong.
    pub told: Vec<String>,
    /// Second by second.
    pub timeline: Vec<SecondReport>,
    /// What the gateway changed and why.
    pub changes: Vec<ChangeReport>,
    /// Its first decisions in the outage, of those alike (class, choice and reason) the first.
    pub decisions: Vec<DecisionReport>,
}

/// What the gateway says of itself.
pub(super) struct Told {
    pub(super) changes: Vec<ChangeReport>,
    pub(super) decisions: Vec<DecisionReport>,
}

/// Latencies of one phase, and how late the machine itself was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latencies {
    /// Half of the requests took no longer.
    pub p50_ms: f64,
    /// All but one of a hundred.
    pub p99_ms: f64,
    /// A task that had nothing to do was woken no later, in all but one of a hundred cases.
    pub jitter_p99_ms: f64,
}

/// One second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SecondReport {
    /// Requests that were due.
    pub requests: usize,
    /// Of these, not answered well.
    pub bad: usize,
    /// The slowest but one of a hundred.
    pub p99_ms: f64,
    /// The failed backend's share of the attempts.
    pub share: f64,
}

/// Something that the gateway changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeReport {
    /// Since the measured time began; negative in the warm-up.
    pub at_s: f64,
    /// Whom it concerns.
    pub backend: String,
    /// In a sentence.
    pub what: String,
}

/// A decision, and when it was made since the measured time began.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionReport {
    /// In seconds.
    pub at_s: f64,
    /// Whom it chose, and why.
    #[serde(flatten)]
    pub decision: DecisionStatus,
}

impl DecisionReport {
    pub(super) fn since(gateway: &Gateway, origin: Instant, begun: Duration) -> Vec<Self> {
        let Some(chain) = gateway.chains().next() else { return Vec::new() };
        let now_s = origin.elapsed().as_secs_f64();
        let decisions = gateway.decisions(chain).unwrap_or_default().into_iter().rev();
        let dated = decisions.map(|decision| Self { at_s: rounded(now_s - decision.seconds_ago), decision });
        let mut known = Vec::new();
        let told = dated.filter(|told| {
            let DecisionStatus { class, chosen, why, .. } = &told.decision;
            let kind = (*class, chosen.clone(), *why);
            let is_news = told.at_s >= begun.as_secs_f64() && !known.contains(&kind);
            if is_news {
                known.push(kind);
            }
            is_news
        });
        told.take(DECISIONS_MAX).collect()
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

impl ChangeReport {
    pub(super) fn all(chain: &ChainStatus, origin: Instant) -> Vec<Self> {
        let now_s = origin.elapsed().as_secs_f64();
        let changes = chain.changes.iter().rev().map(|change| Self {
            at_s: rounded(now_s - change.seconds_ago),
            backend: change.backend.clone(),
            what: change.what.clone(),
        });
        changes.collect()
    }
}

impl Summary {
    pub(super) fn new(log: &Log, outage: Outage, lost: usize, said: Told) -> Self {
        let written = log.read();
        let Outage { victim, name, begun, ended, over, struck } = outage;
        let asked: Vec<&Asked> = written.asked.iter().filter(|asked| asked.due.is_some()).collect();
        let count = |of: fn(&Fate) -> bool| written.asked.iter().filter(|asked| of(&asked.fate)).count();
        let first_until = ended.min(begun + NEW_FOR);
        let told = written.asked.iter().filter_map(|asked| match &asked.fate {
            Fate::Answered => None,
            Fate::Failed(why) | Fate::Wrong(why) => {
                let at = asked.due.map_or_else(|| "the warm-up".to_owned(), |due| format!("{due:.3?}"));
                Some(format!("{} at {at}: {why}", asked.method))
            }
        });
        let calls = written.calls(Duration::ZERO, over);
        let extra = calls.hedges + calls.retries + calls.copies;
        let attempts = written.attempts(begun, ended);
        Self {
            victim: name,
            phases_ms: [begun, ended, over].map(whole_ms),
            requests: asked.len(),
            failed: count(|fate| matches!(fate, Fate::Failed(_))),
            wrong: count(|fate| matches!(fate, Fate::Wrong(_))),
            transactions: asked.iter().filter(|asked| asked.method == "eth_sendRawTransaction").count(),
            transactions_lost: lost,
            struck,
            attempts_at_victim: attempts.get(victim).copied().unwrap_or_default(),
            calm: written.latencies(Duration::ZERO, begun),
            first: written.latencies(begun, first_until),
            later: (first_until < ended).then(|| written.latencies(first_until, ended)),
            recovery: written.latencies(ended, over),
            share_calm: written.share(victim, Duration::ZERO, begun).unwrap_or_default(),
            halved_ms: halved(&written, victim, begun, ended).map(whole_ms),
            share_at_end: written
                .share(victim, over.saturating_sub(Duration::from_secs(2)), over)
                .unwrap_or_default(),
            back_ms: written.well_since(victim, ended).map(|since| whole_ms(since.saturating_sub(ended))),
            amplification: 1.0 + extra as f64 / (calls.carried as f64).max(1.0),
            calls_calm: written.calls(Duration::ZERO, begun),
            calls_outage: written.calls(begun, ended),
            calls,
            told: told.take(TOLD_MAX).collect(),
            timeline: timeline(&written, victim, over),
            changes: said.changes,
            decisions: said.decisions,
        }
    }

    /// Whether the fault met anybody: one that did not proves nothing.
    pub fn has_struck(&self) -> bool {
        self.struck > 0 || self.attempts_at_victim > 0
    }
}

/// From when on the share stays at half of the calm's or less.
fn halved(written: &Written, victim: usize, begun: Duration, ended: Duration) -> Option<Duration> {
    let half = written.share(victim, Duration::ZERO, begun)? / 2.0;
    let mut since = Some(begun);
    let mut from = begun;
    while from + SHARE_OVER <= ended {
        match written.share(victim, from, from + SHARE_OVER) {
            Some(share) if share > half => since = None,
            _ => since = since.or(Some(from)),
        }
        from += SHARE_STEP;
    }
    since.map(|since| since - begun)
}

fn timeline(written: &Written, victim: usize, over: Duration) -> Vec<SecondReport> {
    (0..over.as_secs())
        .map(|second| {
            let (from, until) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            let due = written.due(from, until);
            SecondReport {
                requests: due.len(),
                bad: due.iter().filter(|asked| asked.fate != Fate::Answered).count(),
                p99_ms: written.latencies(from, until).p99_ms,
                share: written.share(victim, from, until).map_or(0.0, rounded),
            }
        })
        .collect()
}

impl Written {
    fn due(&self, from: Duration, until: Duration) -> Vec<&Asked> {
        let due = |asked: &&Asked| asked.due.is_some_and(|due| due >= from && due < until);
        self.asked.iter().filter(due).collect()
    }

    fn latencies(&self, from: Duration, until: Duration) -> Latencies {
        let mut took: Vec<_> = self.due(from, until).iter().map(|asked| asked.took).collect();
        let within = |at: &Duration| *at >= from && *at < until;
        let mut late: Vec<_> =
            self.jitter.iter().filter(|(at, _)| within(at)).map(|(_, late)| *late).collect();
        Latencies {
            p50_ms: quantile_ms(&mut took, 0.5),
            p99_ms: quantile_ms(&mut took, 0.99),
            jitter_p99_ms: quantile_ms(&mut late, 0.99),
        }
    }

    /// A backend's share of the attempts; `None` where there are too few.
    fn share(&self, backend: usize, from: Duration, until: Duration) -> Option<f64> {
        let attempts = self.attempts(from, until);
        let all: u64 = attempts.iter().sum();
        (all >= SHARE_ATTEMPTS_MIN).then(|| attempts.get(backend).map_or(0.0, |own| *own as f64 / all as f64))
    }

    fn calls(&self, from: Duration, until: Duration) -> CallsStatus {
        let at = |at| self.tick_at(at).map(|tick| tick.calls).unwrap_or_default();
        let (first, last) = (at(from), at(until));
        CallsStatus {
            carried: last.carried.saturating_sub(first.carried),
            hedges: last.hedges.saturating_sub(first.hedges),
            retries: last.retries.saturating_sub(first.retries),
            copies: last.copies.saturating_sub(first.copies),
            shed: last.shed.saturating_sub(first.shed),
        }
    }
}

/// The value that a share of them does not exceed (nearest rank), with a resolution of a tenth of a millisecond.
fn quantile_ms(values: &mut [Duration], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    let value = rank.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or_default();
    (value.as_secs_f64() * 1e4).round() / 10.0
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::log::Tick;
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Ticks of two backends, ten attempts each 50 ms, of which the first gets what `share` says.
    fn written(share: impl Fn(u64) -> u64, ok: impl Fn(u64) -> bool, until_ms: u64) -> Written {
        let mut attempts = vec![0, 0];
        let ticks = (0..=until_ms).step_by(50).map(|ms| {
            let tick = Tick {
                at: Some(MS(ms)),
                attempts: attempts.clone(),
                is_ok: vec![ok(ms), true],
                calls: CallsStatus { carried: ms, ..CallsStatus::default() },
            };
            attempts[0] += share(ms);
            attempts[1] += 10 - share(ms);
            tick
        });
        Written { ticks: ticks.collect(), ..Written::default() }
    }

    #[test]
    fn the_share_is_halved_once_it_stays_below_half() {
        let drops_at = |at: u64| written(move |ms| if ms < at { 9 } else { 1 }, |_| true, 10_000);
        let measured = |written: &Written| halved(written, 0, MS(4_000), MS(9_000));
        assert_eq!(measured(&drops_at(4_000)), Some(MS(0)));
        let later = measured(&drops_at(5_000)).unwrap();
        assert!((MS(700)..=MS(1_000)).contains(&later), "{later:?}");
        assert_eq!(measured(&drops_at(9_000)), None);
        let comes_back = written(|ms| if (4_000..8_000).contains(&ms) { 0 } else { 9 }, |_| true, 10_000);
        assert_eq!(measured(&comes_back), None, "it has to stay so");
    }

    #[test]
    fn a_backend_is_back_from_its_last_return_on() {
        let flaps = written(|_| 5, |ms| ms < 4_000 || (6_000..7_000).contains(&ms) || ms >= 8_000, 10_000);
        assert_eq!(flaps.well_since(0, MS(5_000)), Some(MS(8_000)));
        assert_eq!(flaps.well_since(1, MS(5_000)), Some(MS(5_000)));
        let never = written(|_| 5, |ms| ms < 4_000, 10_000);
        assert_eq!(never.well_since(0, MS(5_000)), None);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut hundred: Vec<_> = (1..=100).rev().map(MS).collect();
        assert_eq!((quantile_ms(&mut hundred, 0.5), quantile_ms(&mut hundred, 0.99)), (50.0, 99.0));
        assert_eq!(quantile_ms(&mut [], 0.99), 0.0);
        assert_eq!(quantile_ms(&mut [MS(7)], 0.5), 7.0);
    }
}
