//! Whether a backend takes part, for one class of methods: ejection at once, readmission in steps.
//!
//! "Recovered" comes before recovered (AWS's own reports of 7 December 2021 and 20 October 2025 have three waves
//! each). So an ejected backend first answers copies of real requests that nobody waits for; then it gets a
//! hundredth of the traffic, then a twentieth, and so on; and each relapse doubles how long it has to prove itself,
//! so that one which flaps pulls back no traffic.

use std::time::Duration;

use super::Timestamp;

/// Shares of traffic on the way back.
pub const STEPS: [f64; 4] = [0.01, 0.05, 0.20, 0.50];
/// How long each of them lasts at least: 10 s from the first copy to full service.
const STEP: Duration = Duration::from_secs(2);
/// Good answers that a step needs, however long it lasts.
const STEP_SUCCESSES: u32 = 1;
/// Good answers to copies before the first client's request.
const SHADOW_SUCCESSES: u32 = 3;
/// Copies are not sent faster than this: they come out of the budget for extra calls.
const SHADOW_GAP: Duration = Duration::from_millis(100);
/// Copies under way to one that has answered some already.
const UNHEARD_MAX: u32 = 3;
/// A copy that was not heard of for so long is given up, and another one may be sent.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// After a copy that failed, the next one is sent at least this much later, after a part of the time that it has
/// been ill, and no later than this.
const STILL_ILL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const STILL_ILL_PART: u32 = 15;
/// While it has a share of the traffic, copies come more slowly.
const RETURNING_GAP: Duration = Duration::from_millis(500);
/// Of each method whose answers can be compared, so many copies, so far apart; methods that are remembered.
const PROVEN_COPIES: u8 = 12;
const PROVEN_GAP: Duration = Duration::from_millis(30);
const PROVEN_METHODS: usize = 8;
/// Without a copy for this long it may be asked something instead: a little longer than the gaps between copies,
/// so that clients' own requests come first.
const PROBE_GAP: Duration = Duration::from_millis(700);
/// Who must answer well for a longer time is asked so many times in it.
const PROBES_WHILE_PROVING: u32 = 8;
/// Who was thrown out for one method proves itself on that one, as long as one is asked within this time.
const BLAMED_FOR: Duration = Duration::from_secs(3);
/// A first ejection, and the longest of a series.
const PROBATION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After this long without a relapse a backend is as good as new.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

/// How far a backend takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Standing {
    /// In full.
    #[default]
    Admitted,
    /// Not asked, unless nobody better is left.
    Out,
    /// Gets copies of real requests; their answers reach nobody.
    Shadowed,
    /// Gets this share of what it would get if it were admitted.
    Returning {
        /// 0 to 1.
        share: f64,
    },
}

/// The state behind a [`Standing`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Admission {
    state: State,
    relapses: u32,
    /// When it was last ejected.
    ejected_at: Timestamp,
    proven: Proven,
    /// What it failed at last and has not answered since, and when.
    blamed: Option<(&'static str, Timestamp)>,
}

/// How many copies of calls of each method went to one that is on its way back. Who lies may lie about one of them only.
#[derive(Clone, Copy, Debug, Default)]
struct Proven {
    methods: [(Option<&'static str>, u8); PROVEN_METHODS],
    copied_at: Timestamp,
}

impl Proven {
    /// Whether a copy of a call of this method is wanted, whatever was copied of others.
    fn wants(&mut self, now: Timestamp, method: &'static str) -> bool {
        if now.since(self.copied_at) < PROVEN_GAP {
            return false;
        }
        let known = |(name, _): &&mut (Option<&'static str>, u8)| name.is_none_or(|name| name == method);
        let Some((name, copies)) = self.methods.iter_mut().find(known) else { return false };
        if *copies >= PROVEN_COPIES {
            return false;
        }
        (*name, *copies, self.copied_at) = (Some(method), *copies + 1, now);
        true
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Admitted,
    Out {
        until: Timestamp,
    },
    Shadowed {
        since: Timestamp,
        successes: u32,
        copied_at: Timestamp,
        /// Copies sent since anything was heard of one.
        unheard: u32,
    },
    Returning {
        step: usize,
        since: Timestamp,
        successes: u32,
        copied_at: Timestamp,
    },
}

impl Admission {
    /// How far it takes part now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.state {
            State::Admitted => Standing::Admitted,
            State::Out { until } if now < until => Standing::Out,
            State::Out { .. } | State::Shadowed { .. } => Standing::Shadowed,
            State::Returning { step, .. } => Standing::Returning { share: STEPS[step] },
        }
    }

    /// Takes it out. Does nothing where it is out already.
    pub fn eject(&mut self, now: Timestamp) {
        if matches!(self.state, State::Out { until } if now < until) {
            return;
        }
        if self.relapses > 0 && now.since(self.ejected_at) > FORGIVEN_AFTER {
            self.relapses = 0;
        }
        self.state = State::Out { until: now + self.probation() };
        self.relapses = self.relapses.saturating_add(1);
        self.ejected_at = now;
        self.proven = Proven::default();
    }

    /// The same for a copy of a call whose answer can be held against the client's: while it comes back, some of each
    /// method, however many there were of others.
    pub fn wants_copy_of(&mut self, now: Timestamp, method: &'static str) -> bool {
        let wants = self.wants_copy(now, Some(method));
        let returns = matches!(self.state, State::Shadowed { .. } | State::Returning { .. });
        (returns && self.proven.wants(now, method)) || wants
    }

    /// When it failed at this method, where that was the last one it failed at and it has not answered it since.
    pub(super) fn failed_at(&self, method: Option<&'static str>) -> Option<Timestamp> {
        self.blamed.filter(|(blamed, _)| method == Some(blamed)).map(|(_, at)| at)
    }

    /// When it was last ejected, and how often in this series.
    pub fn ejections(&self) -> (Timestamp, u32) {
        (self.ejected_at, self.relapses)
    }

    /// Whether a copy of a request for this method should go to it now; if so, one is assumed to be sent.
    pub fn wants_copy(&mut self, now: Timestamp, method: Option<&'static str>) -> bool {
        // Answering others well proves nothing where one method fails alone.
        let is_beside_the_point = self
            .blamed
            .is_some_and(|(blamed, since)| method != Some(blamed) && now.since(since) < BLAMED_FOR);
        if is_beside_the_point && matches!(self.state, State::Out { .. } | State::Shadowed { .. }) {
            return false;
        }
        match &mut self.state {
            State::Out { until } if now >= *until => {
                self.state = State::Shadowed { since: now, successes: 0, copied_at: now, unheard: 1 };
                true
            }
            State::Shadowed { successes, copied_at, unheard, .. } => {
                let silent = now.since(*copied_at);
                // One that is silent still would take every copy that can be afforded, and answer none.
                let may_wait = if *successes == 0 { 1 } else { UNHEARD_MAX };
                let wants = (silent >= SHADOW_GAP && *unheard < may_wait) || silent >= GIVEN_UP_AFTER;
                if wants {
                    (*copied_at, *unheard) = (now, *unheard + 1);
                }
                wants
            }
            // A backend that is nobody's first choice would have no requests to prove itself on.
            State::Returning { copied_at, .. } if now.since(*copied_at) >= RETURNING_GAP => {
                *copied_at = now;
                true
            }
            _ => false,
        }
    }

    /// The same for a question of the proxy's own, which must do where no copies come: few, since they cost.
    pub fn wants_probe(&mut self, now: Timestamp, method: &'static str) -> bool {
        let quiet = match &self.state {
            State::Shadowed { successes, copied_at, .. } if *successes >= SHADOW_SUCCESSES => {
                now.since(*copied_at) >= (self.probation() / 2 / PROBES_WHILE_PROVING).max(PROBE_GAP)
            }
            State::Shadowed { copied_at, .. } => now.since(*copied_at) >= PROBE_GAP,
            State::Returning { since, copied_at, .. } => {
                now.since(*since) >= STEP && now.since(*copied_at) >= PROBE_GAP
            }
            State::Out { until } => now >= *until && now.since(*until) >= PROBE_GAP,
            State::Admitted => false,
        };
        quiet && self.wants_copy(now, Some(method))
    }

    /// A good answer, to a copy or to a client's request. `keeps_up` says whether it is not much slower
    /// than its peers.
    pub fn succeeded(&mut self, now: Timestamp, method: Option<&'static str>, keeps_up: bool) {
        self.blamed = self.blamed.filter(|(blamed, _)| method != Some(blamed));
        // Each relapse doubles the time it has to answer copies without a fault.
        let proving = self.probation() / 2;
        match &mut self.state {
            State::Admitted | State::Out { .. } => {}
            State::Shadowed { since, successes, unheard, .. } => {
                *unheard = 0;
                *successes = if keeps_up { *successes + 1 } else { 0 };
                let proven = self.relapses <= 1 || now.since(*since) >= proving;
                if *successes >= SHADOW_SUCCESSES && proven {
                    self.state = State::Returning { step: 0, since: now, successes: 0, copied_at: now };
                }
            }
            State::Returning { step, since, successes, copied_at } => {
                *successes = if keeps_up { *successes + 1 } else { 0 };
                if *successes >= STEP_SUCCESSES && now.since(*since) >= STEP {
                    self.state = match *step + 1 {
                        next if next < STEPS.len() => {
                            State::Returning { step: next, since: now, successes: 0, copied_at: *copied_at }
                        }
                        _ => State::Admitted,
                    };
                }
            }
        }
    }

    /// Takes it back in full at once: nobody else is there.
    pub fn admit(&mut self) {
        self.state = State::Admitted;
    }

    /// A hard failure while it is on its way back throws it out again; while it is admitted, its error rate
    /// decides (one failure evicts nobody).
    pub fn failed(&mut self, now: Timestamp, method: Option<&'static str>) {
        self.blamed = method.map(|method| (method, now)).or(self.blamed);
        match self.state {
            State::Admitted | State::Out { .. } => {}
            // It is still the same outage: no relapse, only another look a little later.
            State::Shadowed { .. } => {
                self.state = State::Out { until: now + still_ill(now.since(self.ejected_at)) };
            }
            State::Returning { .. } => self.eject(now),
        }
    }

    fn probation(&self) -> Duration {
        let (first, longest) = PROBATION;
        (first * (1 << self.relapses.min(6))).min(longest)
    }
}

fn still_ill(for_so_long: Duration) -> Duration {
    (for_so_long / STILL_ILL_PART).clamp(STILL_ILL.0, STILL_ILL.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    /// Lets it answer well every 10 ms until it is admitted; gives the shares it had and how long it took.
    fn way_back(admission: &mut Admission, from_ms: u64) -> (Vec<f64>, Duration) {
        let mut shares = Vec::new();
        for ms in (from_ms..from_ms + 600_000).step_by(10) {
            match admission.standing(at(ms)) {
                Standing::Admitted => return (shares, at(ms).since(at(from_ms))),
                Standing::Out => {}
                Standing::Shadowed => {
                    if admission.wants_copy(at(ms), None) {
                        admission.succeeded(at(ms), None, true);
                    }
                }
                Standing::Returning { share } => {
                    if shares.last() != Some(&share) {
                        shares.push(share);
                    }
                    admission.succeeded(at(ms), None, true);
                }
            }
        }
        panic!("it never came back");
    }

    #[test]
    fn h9_readmission_goes_in_steps_and_takes_about_ten_seconds() {
        let mut admission = Admission::default();
        admission.eject(at(0));
        assert_eq!(admission.standing(at(500)), Standing::Out);
        let (shares, took) = way_back(&mut admission, 0);
        assert_eq!(shares, STEPS);
        assert!((8..=12).contains(&took.as_secs()), "{took:?}");
    }

    #[test]
    fn h9_each_relapse_makes_the_way_back_longer_up_to_a_bound() {
        let mut admission = Admission::default();
        let (mut now_ms, mut before) = (0, Duration::ZERO);
        for relapse in 0..8 {
            admission.eject(at(now_ms));
            let (_, took) = way_back(&mut admission, now_ms);
            assert!(took >= before, "relapse {relapse}");
            assert!(took < Duration::from_secs(110));
            before = took;
            now_ms += took.as_millis() as u64 + 10;
        }
        assert!(before > Duration::from_secs(60));
    }

    #[test]
    fn h9_who_flaps_every_five_seconds_pulls_back_no_traffic() {
        let mut admission = Admission::default();
        let mut served = 0.0;
        admission.eject(at(0));
        for ms in (0..120_000u64).step_by(10) {
            let is_well = !(ms / 5_000).is_multiple_of(2);
            let answered = |admission: &mut Admission| match is_well {
                true => admission.succeeded(at(ms), None, true),
                false => admission.failed(at(ms), None),
            };
            match admission.standing(at(ms)) {
                Standing::Shadowed if admission.wants_copy(at(ms), None) => answered(&mut admission),
                Standing::Returning { share } => {
                    served += share;
                    answered(&mut admission);
                }
                Standing::Admitted => panic!("admitted while it flaps"),
                _ => {}
            }
        }
        assert!(served / 12_000.0 < 0.01, "{served}");
    }

    #[test]
    fn a_failure_on_the_way_back_throws_it_out_and_one_in_full_service_does_not() {
        let mut admission = Admission::default();
        admission.failed(at(0), None);
        assert_eq!(admission.standing(at(0)), Standing::Admitted);
        admission.eject(at(0));
        assert!(admission.wants_copy(at(1_000), None));
        admission.failed(at(1_010), None);
        assert_eq!(admission.standing(at(1_020)), Standing::Out);
        assert_eq!(admission.ejections().1, 1, "a copy that fails is no relapse");
        let (shares, _) = way_back(&mut admission, 1_020);
        assert_eq!(shares, STEPS);
        admission.eject(at(20_000));
        for ms in (22_000..26_000).step_by(10) {
            admission.wants_copy(at(ms), None);
            admission.succeeded(at(ms), None, true);
        }
        assert!(matches!(admission.standing(at(26_000)), Standing::Returning { .. }));
        admission.failed(at(26_000), None);
        assert_eq!((admission.standing(at(26_010)), admission.ejections().1), (Standing::Out, 3));
    }

    #[test]
    fn who_does_not_keep_up_with_its_peers_stays_on_the_step() {
        let mut admission = Admission::default();
        admission.eject(at(0));
        for ms in (1_000..60_000).step_by(100) {
            admission.wants_copy(at(ms), None);
            admission.succeeded(at(ms), None, false);
        }
        assert_eq!(admission.standing(at(60_000)), Standing::Shadowed);
    }

    #[test]
    fn h8_while_it_comes_back_each_method_is_copied_a_dozen_times_however_many_calls_there_are_of_others() {
        let mut admission = Admission::default();
        assert!(!admission.wants_copy_of(at(0), "eth_call"), "who is well needs no proof");
        admission.eject(at(0));
        assert!(!admission.wants_copy_of(at(500), "eth_call"), "nor does who is out");
        let mut copies = [0, 0];
        for ms in (1_000..21_000).step_by(10) {
            let rare = ms % 200 == 0;
            let method = if rare { "eth_getBalance" } else { "eth_call" };
            copies[usize::from(rare)] += u32::from(admission.wants_copy_of(at(ms), method));
            if ms % 1_000 == 0 {
                admission.succeeded(at(ms), None, true);
            }
        }
        assert!(copies[1] >= u32::from(PROVEN_COPIES), "{copies:?}");
        assert!(copies[0] < 80, "and no more than proof takes: {copies:?}");
    }

    #[test]
    fn h8_who_fails_at_one_method_proves_itself_on_that_one_while_it_is_asked_for() {
        let mut admission = Admission::default();
        admission.failed(at(0), Some("eth_getTransactionReceipt"));
        admission.eject(at(0));
        assert!(!admission.wants_copy(at(1_500), Some("eth_getBlockByNumber")));
        assert!(!admission.wants_probe(at(2_900), "eth_getBlockByNumber"));
        assert!(admission.wants_copy(at(3_100), Some("eth_getTransactionReceipt")));
        admission.failed(at(3_200), Some("eth_getTransactionReceipt"));
        assert!(!admission.wants_copy(at(6_000), Some("eth_getBlockByNumber")), "it fails still");
        assert!(admission.wants_copy(at(6_300), Some("eth_getBlockByNumber")), "nobody asks for it any more");
        admission.succeeded(at(6_400), Some("eth_getTransactionReceipt"), true);
        assert!(admission.wants_copy(at(6_500), Some("eth_getBlockByNumber")));
    }
}
