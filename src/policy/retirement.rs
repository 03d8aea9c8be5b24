//! Whether a backend is gone for good: its key revoked, its plan ended, its endpoint shut down (BEHAVIOURS H8).
//!
//! What a person or the end of a period must mend is refused again and again, whatever is asked. So a backend is
//! retired when for some seconds nothing else came of it, the proxy's own plain questions were refused too, and
//! somebody else answers meanwhile. A failed login service does the same for a while: the first questions after
//! that come within minutes, and an hour apart only once nobody has mended it for that long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Timestamp};

/// Refusals of the proxy's own questions that it takes, the first one a second after whatever was refused.
const PROOFS: u32 = 3;
/// They are spread over at least this, each twice as far from the beginning as the one before.
const FIRST_PROOF_AFTER: Duration = Duration::from_secs(1);
const PROVEN_AFTER: Duration = Duration::from_secs(4);
/// Where another member of its failure domain is in trouble too, it is an outage until it has lasted for longer
/// than login services are down.
const PROVEN_TOGETHER_AFTER: Duration = Duration::from_secs(600);
/// Proofs are never further apart while nothing is decided.
const PROOF_PAUSE_MAX: Duration = Duration::from_secs(60);
/// More than this share of the failures must be refusals: who mostly fails otherwise is ill.
const REFUSED_SHARE: f64 = 0.5;
/// A retired backend is asked again after this, then each time after four times as long, up to the end of the range.
const PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
const PAUSE_FACTOR: u32 = 4;

/// Whether one backend is gone for good, and the evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retirement {
    refusals: Option<Refusals>,
    retired: Option<Retired>,
}

/// Nothing but refusals, up to now.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    since: Timestamp,
    class: Class,
    refused: u32,
    failed_otherwise: u32,
    proofs: u32,
    proof_at: Timestamp,
}

/// A backend that is gone for good, as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    /// What it says.
    pub class: Class,
    /// Since when it has said nothing else, in this run.
    pub since: Timestamp,
    /// For how long it had said nothing else when this run began.
    before: Duration,
    /// When it is asked again.
    pub next_probe: Timestamp,
    pause: Duration,
}

/// A retired backend, to be written down.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedRetirement {
    /// The name of what it says, see [`Class::name`].
    pub class: String,
    /// For how long it has said nothing else, in seconds.
    pub for_s: u64,
    /// In how many seconds it is asked again.
    pub next_probe_s: u64,
    /// How far its questions lie apart by now, in seconds.
    pub pause_s: u64,
}

impl Retired {
    /// For how long it has said nothing else.
    pub fn lasts(&self, now: Timestamp) -> Duration {
        self.before.saturating_add(now.since(self.since))
    }
}

impl Retirement {
    /// Why and since when it is retired, while it is.
    pub fn retired(&self) -> Option<&Retired> {
        self.retired.as_ref()
    }

    /// It refused a call in a way that lasts.
    pub(super) fn refused(&mut self, now: Timestamp, class: Class) {
        let proof_at = now + FIRST_PROOF_AFTER;
        let fresh = Refusals { since: now, class, refused: 0, failed_otherwise: 0, proofs: 0, proof_at };
        let refusals = self.refusals.get_or_insert(fresh);
        refusals.refused = refusals.refused.saturating_add(1);
        refusals.class = class;
    }

    /// So it did with a question of the proxy's own.
    pub(super) fn proof_refused(&mut self) {
        if let Some(refusals) = &mut self.refusals {
            refusals.proofs = refusals.proofs.saturating_add(1);
        }
    }

    /// It failed in another way.
    pub(super) fn failed(&mut self) {
        if let Some(refusals) = &mut self.refusals {
            refusals.failed_otherwise = refusals.failed_otherwise.saturating_add(1);
        }
    }

    /// It carried a call out, which took so long. Whether it had been retired until now.
    pub(super) fn answered(&mut self, now: Timestamp, took: Duration) -> bool {
        // A straggler from before the first refusal says nothing.
        let disproves = |since: Timestamp| now.since(since) >= took;
        self.refusals = self.refusals.filter(|refusals| !disproves(refusals.since));
        let was = self.retired.is_some_and(|retired| disproves(retired.since));
        if was {
            self.retired = None;
        }
        was
    }

    /// Whether a question is due that proves or disproves it; if so, one is assumed to be asked.
    pub(super) fn wants_proof(&mut self, now: Timestamp) -> bool {
        if let Some(retired) = &mut self.retired {
            let due = now >= retired.next_probe;
            if due {
                retired.next_probe = now + retired.pause;
                retired.pause = (retired.pause * PAUSE_FACTOR).min(PAUSE.1);
            }
            return due;
        }
        let Some(refusals) = &mut self.refusals else { return false };
        let due = now >= refusals.proof_at;
        if due {
            let age = now.since(refusals.since);
            refusals.proof_at = now + age.clamp(FIRST_PROOF_AFTER, PROOF_PAUSE_MAX);
        }
        due
    }

    /// The next question is due at once: a simpler one was answered.
    pub(super) fn prove_now(&mut self, now: Timestamp) {
        if let Some(retired) = &mut self.retired {
            retired.next_probe = now;
        }
    }

    /// Whether it is retired from now on. `together`: others of its failure domain are in trouble as well.
    pub(super) fn settle(&mut self, now: Timestamp, together: bool) -> Option<Class> {
        let refusals = self.refusals.filter(|_| self.retired.is_none())?;
        let proven_after = if together { PROVEN_TOGETHER_AFTER } else { PROVEN_AFTER };
        let share = f64::from(refusals.refused) / f64::from(refusals.refused + refusals.failed_otherwise);
        if refusals.proofs < PROOFS || now.since(refusals.since) < proven_after || share <= REFUSED_SHARE {
            return None;
        }
        let Refusals { class, since, .. } = refusals;
        let (first, longest) = PAUSE;
        let pause = (first * PAUSE_FACTOR).min(longest);
        let before = Duration::ZERO;
        self.retired = Some(Retired { class, since, before, next_probe: now + first, pause });
        Some(class)
    }

    /// Since when nothing but refusals came, where they did.
    pub(super) fn refused_since(&self) -> Option<Timestamp> {
        self.refusals.map(|refusals| refusals.since)
    }

    /// What is worth knowing after a restart.
    pub(super) fn remember(&self, now: Timestamp) -> Option<RememberedRetirement> {
        self.retired.map(|retired| RememberedRetirement {
            class: retired.class.name().to_owned(),
            for_s: retired.lasts(now).as_secs(),
            next_probe_s: retired.next_probe.since(now).as_secs(),
            pause_s: retired.pause.as_secs(),
        })
    }

    /// Takes up what was remembered `age` ago. A class that is none of the lasting ones is not believed.
    pub(super) fn recall(&mut self, now: Timestamp, age: Duration, remembered: &RememberedRetirement) {
        let lasting = [Class::Unauthorized, Class::QuotaExhausted, Class::GeoBlocked, Class::InternalError];
        let Some(class) = lasting.into_iter().find(|class| class.name() == remembered.class) else { return };
        if self.retired.is_some() || self.refusals.is_some() {
            return;
        }
        let left = Duration::from_secs(remembered.next_probe_s).saturating_sub(age).min(PAUSE.1);
        let pause = Duration::from_secs(remembered.pause_s).clamp(PAUSE.0, PAUSE.1);
        let before = Duration::from_secs(remembered.for_s).saturating_add(age);
        self.retired = Some(Retired { class, since: now, before, next_probe: now + left, pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    /// Refuses whatever is asked from `from_ms` on, for so long; gives when it was asked and when it was retired.
    fn refusing(
        retirement: &mut Retirement,
        from_ms: u64,
        for_ms: u64,
        together: bool,
    ) -> (Vec<u64>, Option<u64>) {
        let (mut asked, mut retired) = (Vec::new(), None);
        retirement.refused(at(from_ms), Class::Unauthorized);
        for ms in (from_ms..from_ms + for_ms).step_by(500) {
            if retirement.wants_proof(at(ms)) {
                asked.push(ms - from_ms);
                retirement.refused(at(ms), Class::Unauthorized);
                retirement.proof_refused();
            }
            if retirement.settle(at(ms), together).is_some() {
                retired = Some(ms - from_ms);
            }
        }
        (asked, retired)
    }

    #[test]
    fn h8_who_refuses_everything_is_retired_within_seconds_and_asked_less_and_less_up_to_hourly() {
        let mut retirement = Retirement::default();
        let (asked, retired) = refusing(&mut retirement, 0, 6 * 3_600_000, false);
        assert!(retired.is_some_and(|ms| (4_000..8_000).contains(&ms)), "{retired:?}");
        let after: Vec<u64> = asked.into_iter().filter(|ms| Some(*ms) > retired).collect();
        let gaps: Vec<u64> = after.windows(2).map(|pair| (pair[1] - pair[0]) / 60_000).collect();
        assert_eq!(gaps[..3], [4, 16, 60], "{gaps:?}");
        assert!(gaps[2..].iter().all(|minutes| *minutes == 60), "{gaps:?}");
    }

    #[test]
    fn h8_one_good_answer_ends_it_unless_it_is_a_straggler() {
        let mut retirement = Retirement::default();
        refusing(&mut retirement, 10_000, 10_000, false);
        assert!(!retirement.answered(at(20_000), Duration::from_secs(11)), "sent before the first refusal");
        assert!(retirement.retired().is_some());
        assert!(retirement.answered(at(21_000), Duration::from_millis(100)));
        assert!(retirement.retired().is_none() && !retirement.wants_proof(at(4_000_000)));
    }

    #[test]
    fn h8_refusals_together_with_a_sibling_are_an_outage_until_they_last() {
        let mut retirement = Retirement::default();
        let (asked, retired) = refusing(&mut retirement, 0, 60_000, true);
        assert_eq!(retired, None);
        assert!(asked.len() < 10, "{asked:?}");
        assert!(refusing(&mut Retirement::default(), 0, 1_200_000, true).1.is_some());
    }

    #[test]
    fn h8_who_fails_in_other_ways_more_often_is_ill_and_not_gone() {
        let mut retirement = Retirement::default();
        for ms in (0..60_000).step_by(500) {
            retirement.refused(at(ms), Class::Unauthorized);
            retirement.proof_refused();
            retirement.failed();
            assert_eq!(retirement.settle(at(ms), false), None);
        }
    }

    #[test]
    fn h8_what_clients_were_refused_alone_retires_nobody() {
        let mut retirement = Retirement::default();
        for ms in (0..60_000).step_by(100) {
            retirement.refused(at(ms), Class::Unauthorized);
        }
        assert_eq!(retirement.settle(at(60_000), false), None);
    }

    #[test]
    fn h13_a_retired_backend_stays_so_over_a_restart_and_is_asked_when_it_would_have_been() {
        let mut before = Retirement::default();
        refusing(&mut before, 0, 30_000, false);
        let remembered = before.remember(at(30_000)).expect("retired");
        let mut soon = Retirement::default();
        soon.recall(at(0), Duration::from_secs(10), &remembered);
        assert!(soon.retired().is_some() && !soon.wants_proof(at(1_000)) && soon.wants_proof(at(40_000)));
        let mut late = Retirement::default();
        late.recall(at(0), Duration::from_secs(86_400), &remembered);
        assert!(late.retired().is_some_and(|retired| retired.lasts(at(0)).as_secs() == 86_430));
        assert!(late.wants_proof(at(0)));
        let mut nonsense = Retirement::default();
        nonsense.recall(at(0), Duration::ZERO, &RememberedRetirement { class: "ok".into(), ..remembered });
        assert!(nonsense.retired().is_none());
    }
}
