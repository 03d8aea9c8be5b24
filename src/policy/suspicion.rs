//! What fails together: evidence pooled per failure domain, from labels and from experience.
//!
//! Two members of one domain that fail hard, with nobody in it answering since, mean that the domain fails: its
//! other members lose their place before they have cost anybody a request. Where nothing is labelled, failing
//! together is itself the label: backends that began to fail at the same time three times are joined.

use std::time::Duration;

use super::Timestamp;
use super::decay::exp2_of_negative;
use super::domain::DomainLabels;
use super::set::{BackendIndex, BackendSet};

/// A hard failure says something of a domain for this long, unless the backend answers well meanwhile.
const FRESH: Duration = Duration::from_secs(10);
/// Members that must fail before their domain is doubted.
const MEMBERS_FAILING: u32 = 2;
/// Two backends that begin to fail within this time failed together.
const TOGETHER: Duration = Duration::from_secs(2);
/// Joint events after which two backends are taken for neighbours.
const JOINED_AFTER: f64 = 2.5;
/// Of the events that befell either of two, the share that must have been joint.
const JOINED_SHARE: f64 = 0.5;
/// Half of what was learned is forgotten in this time.
const LEARNED_HALF_LIFE: Duration = Duration::from_secs(24 * 3600);
/// What a learned neighbourhood weighs, in the points of [`DomainLabels::overlap`].
const LEARNED_WEIGHT: u32 = 8;

/// Evidence about the backends of one fleet and the domains they lie in.
#[derive(Debug)]
pub struct Suspicion {
    members: Vec<Member>,
    /// Labelled domains with more than one member, the smallest first.
    domains: Vec<Domain>,
    learned: Learned,
}

/// A failure domain that several backends share.
#[derive(Debug)]
struct Domain {
    name: Box<str>,
    members: BackendSet,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// When its present run of hard failures began, and its latest one.
    failing: Option<(Timestamp, Timestamp)>,
    /// Its latest good answer.
    answered_at: Option<Timestamp>,
}

impl Suspicion {
    /// No evidence yet.
    pub(super) fn new<'a>(labels: impl IntoIterator<Item = &'a DomainLabels>) -> Self {
        let labels: Vec<&DomainLabels> = labels.into_iter().collect();
        let count = labels.len();
        Self {
            members: vec![Member::default(); count],
            domains: shared_domains(&labels),
            learned: Learned::new(count),
        }
    }

    /// The same backends turn out to share other things. What was seen of each of them stays.
    pub(super) fn relabel(&mut self, labels: &[&DomainLabels]) {
        self.domains = shared_domains(labels);
    }

    /// A backend answered well.
    pub(super) fn answered(&mut self, now: Timestamp, backend: BackendIndex) {
        let member = &mut self.members[backend.get()];
        member.failing = None;
        member.answered_at = Some(now);
    }

    /// A backend failed hard: it could not be reached, gave no answer, or an HTTP error.
    pub(super) fn failed(&mut self, now: Timestamp, backend: BackendIndex) {
        let began = match self.members[backend.get()].failing {
            Some((began, latest)) if now.since(latest) < FRESH => began,
            _ => {
                let others = self.failing(now);
                let joint = others.iter().filter(|other| {
                    *other != backend && self.began(*other).is_some_and(|began| now.since(began) < TOGETHER)
                });
                let mut together = BackendSet::default();
                joint.for_each(|other| together.insert(other));
                self.learned.began_to_fail(now, backend, together);
                now
            }
        };
        self.members[backend.get()].failing = Some((began, now));
    }

    fn began(&self, backend: BackendIndex) -> Option<Timestamp> {
        self.members[backend.get()].failing.map(|(began, _)| began)
    }

    /// Whether its latest word was a hard failure, not long ago.
    pub fn is_failing(&self, now: Timestamp, backend: BackendIndex) -> bool {
        self.members[backend.get()].failing.is_some_and(|(_, latest)| now.since(latest) < FRESH)
    }

    /// Backends whose latest word was a hard failure, not long ago.
    pub fn failing(&self, now: Timestamp) -> BackendSet {
        let mut failing = BackendSet::default();
        for (at, member) in self.members.iter().enumerate() {
            if member.failing.is_some_and(|(_, latest)| now.since(latest) < FRESH) {
                failing.insert(BackendIndex::at(at));
            }
        }
        failing
    }

    /// Everybody in a domain that fails as a whole, those who have not been asked included. The narrowest
    /// domain that explains the failures is blamed: a region before its cloud.
    pub fn condemned(&self, now: Timestamp) -> BackendSet {
        let failing = self.failing(now);
        let mut condemned = BackendSet::default();
        if failing.len() < MEMBERS_FAILING {
            return condemned;
        }
        let mut explained: Vec<BackendSet> = Vec::new();
        for domain in &self.domains {
            let struck = domain.members.and(failing);
            if struck.len() < MEMBERS_FAILING || self.somebody_answers(domain.members, struck) {
                continue;
            }
            // A smaller domain whose members are all that failed here already explains it.
            if explained.iter().any(|smaller| struck.is_within(*smaller) && *smaller != domain.members) {
                continue;
            }
            explained.push(domain.members);
            condemned = condemned.or(domain.members);
        }
        for (at, _) in self.members.iter().enumerate() {
            let index = BackendIndex::at(at);
            let neighbours = self.learned.neighbours(now, index);
            let struck = neighbours.and(failing);
            if struck.len() >= MEMBERS_FAILING && !self.somebody_answers(neighbours, struck) {
                condemned.insert(index);
            }
        }
        condemned
    }

    /// Whether a member answered well after the failures began.
    fn somebody_answers(&self, members: BackendSet, struck: BackendSet) -> bool {
        let since = struck.iter().filter_map(|backend| self.began(backend)).min();
        members.iter().any(|backend| {
            self.members[backend.get()].answered_at.is_some_and(|at| since.is_some_and(|since| at >= since))
        })
    }

    /// The domains that fail as a whole, by name.
    pub fn condemned_domains(&self, now: Timestamp) -> Vec<&str> {
        let (failing, condemned) = (self.failing(now), self.condemned(now));
        self.domains
            .iter()
            .filter(|domain| {
                domain.members.is_within(condemned) && domain.members.and(failing).len() >= MEMBERS_FAILING
            })
            .map(|domain| &*domain.name)
            .collect()
    }

    /// Points of overlap that experience adds to what the labels say.
    pub(super) fn learned_overlap(&self, now: Timestamp, a: BackendIndex, b: BackendIndex) -> u32 {
        if self.learned.are_joined(now, a, b) { LEARNED_WEIGHT } else { 0 }
    }

    /// Of the failures that befell either of two, the share that befell both, 0 to 1, as far as was seen.
    pub(super) fn learned_share(&self, now: Timestamp, a: BackendIndex, b: BackendIndex) -> f64 {
        self.learned.share(now, a, b)
    }
}

/// The labelled domains with more than one member, the smallest first.
fn shared_domains(labels: &[&DomainLabels]) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::new();
    for (at, labels) in labels.iter().enumerate() {
        for (kind, value) in labels.iter().filter(|(kind, _)| kind.fails_as_one()) {
            let name = format!("{}:{value}", kind.name());
            let index = BackendIndex::at(at);
            match domains.iter_mut().find(|domain| *domain.name == *name) {
                Some(domain) => domain.members.insert(index),
                None => {
                    let mut members = BackendSet::default();
                    members.insert(index);
                    domains.push(Domain { name: name.into(), members });
                }
            }
        }
    }
    domains.retain(|domain| domain.members.len() > 1);
    domains.sort_by_key(|domain| domain.members.len());
    domains
}

/// How often each two backends began to fail together, and how often each began to fail at all. Old events
/// fade.
#[derive(Debug)]
struct Learned {
    joint: Vec<f32>,
    alone: Vec<f32>,
    count: usize,
    at: Timestamp,
}

impl Learned {
    fn new(count: usize) -> Self {
        Self { joint: vec![0.0; count * count], alone: vec![0.0; count], count, at: Timestamp::ZERO }
    }

    fn began_to_fail(&mut self, now: Timestamp, backend: BackendIndex, together: BackendSet) {
        let kept = fading(now.since(self.at));
        self.joint.iter_mut().chain(&mut self.alone).for_each(|events| *events *= kept);
        self.at = now;
        self.alone[backend.get()] += 1.0;
        for other in together.iter() {
            self.joint[backend.get() * self.count + other.get()] += 1.0;
            self.joint[other.get() * self.count + backend.get()] += 1.0;
        }
    }

    fn share(&self, now: Timestamp, a: BackendIndex, b: BackendIndex) -> f64 {
        let kept = f64::from(fading(now.since(self.at)));
        let joint = f64::from(self.joint[a.get() * self.count + b.get()]) * kept;
        let either = f64::from(self.alone[a.get()] + self.alone[b.get()]) * kept - joint;
        // One more event, not joint, stands for those that were not seen yet: one accident is no rule. One that
        // fails twice within another's single failure makes two joint events of it, hence `max`.
        (joint / (either.max(joint) + 1.0)).clamp(0.0, 1.0)
    }

    fn are_joined(&self, now: Timestamp, a: BackendIndex, b: BackendIndex) -> bool {
        let joint = f64::from(self.joint[a.get() * self.count + b.get()]);
        // Fading only takes away: most pairs are told by one look.
        if joint < JOINED_AFTER || a == b {
            return false;
        }
        let kept = f64::from(fading(now.since(self.at)));
        let either = f64::from(self.alone[a.get()].max(self.alone[b.get()]));
        joint * kept >= JOINED_AFTER && joint >= JOINED_SHARE * either
    }

    fn neighbours(&self, now: Timestamp, backend: BackendIndex) -> BackendSet {
        let mut neighbours = BackendSet::default();
        let others = (0..self.count).map(BackendIndex::at);
        others
            .filter(|other| self.are_joined(now, backend, *other))
            .for_each(|other| neighbours.insert(other));
        neighbours
    }
}

fn fading(age: Duration) -> f32 {
    exp2_of_negative(age.as_secs_f64() / LEARNED_HALF_LIFE.as_secs_f64()) as f32
}

#[cfg(test)]
mod tests {
    use super::super::domain::DomainKind;
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn labels(cloud: &str, region: &str, edge: &str) -> DomainLabels {
        DomainLabels::new()
            .with(DomainKind::Cloud, cloud)
            .with(DomainKind::Region, region)
            .with(DomainKind::Edge, edge)
    }

    fn set(members: &[usize]) -> BackendSet {
        let mut set = BackendSet::default();
        members.iter().for_each(|at| set.insert(BackendIndex::at(*at)));
        set
    }

    fn backend(at: usize) -> BackendIndex {
        BackendIndex::at(at)
    }

    #[test]
    fn h1_two_members_that_fail_take_their_untouched_sibling_with_them() {
        let aws = labels("aws", "aws/us-east-1", "");
        let mut suspicion = Suspicion::new([&aws, &aws, &aws, &labels("gcp", "gcp/us-central1", "")]);
        suspicion.failed(at(0), backend(0));
        assert!(suspicion.condemned(at(1)).is_empty(), "one failure condemns nobody");
        suspicion.failed(at(200), backend(1));
        assert_eq!(suspicion.condemned(at(201)), set(&[0, 1, 2]));
        assert_eq!(suspicion.condemned_domains(at(201)), ["cloud:aws", "region:aws/us-east-1"]);
        suspicion.answered(at(300), backend(2));
        assert!(suspicion.condemned(at(301)).is_empty(), "a sibling that answers clears the domain");
    }

    #[test]
    fn h2_a_shared_edge_is_a_domain_like_any_other() {
        let behind = |cloud| labels(cloud, "", "cloudflare");
        let mut suspicion =
            Suspicion::new([&behind("aws"), &behind("gcp"), &behind("metal"), &labels("own", "", "")]);
        suspicion.failed(at(0), backend(0));
        suspicion.failed(at(1), backend(1));
        assert_eq!(suspicion.condemned(at(2)), set(&[0, 1, 2]));
    }

    #[test]
    fn a_region_is_blamed_before_its_cloud_and_the_cloud_when_two_regions_fail() {
        let (east, west) = (labels("aws", "aws/us-east-1", ""), labels("aws", "aws/us-west-2", ""));
        let mut suspicion = Suspicion::new([&east, &east, &west, &west, &labels("gcp", "", "")]);
        suspicion.failed(at(0), backend(0));
        suspicion.failed(at(1), backend(1));
        assert_eq!(suspicion.condemned(at(2)), set(&[0, 1]));
        suspicion.failed(at(3), backend(2));
        assert_eq!(suspicion.condemned(at(4)), set(&[0, 1, 2, 3]));
    }

    #[test]
    fn h3_without_labels_failing_together_three_times_makes_neighbours() {
        let none = DomainLabels::new();
        let mut suspicion = Suspicion::new([&none, &none, &none, &none]);
        for event in 0..3u64 {
            let start = event * 60_000;
            for n in 0..3 {
                suspicion.failed(at(start + 100 * n as u64), backend(n));
            }
            for n in 0..4 {
                suspicion.answered(at(start + 30_000), backend(n));
            }
        }
        assert!(suspicion.learned_overlap(at(200_000), backend(0), backend(2)) > 0);
        assert_eq!(suspicion.learned_overlap(at(200_000), backend(0), backend(3)), 0);
        suspicion.failed(at(240_000), backend(0));
        suspicion.failed(at(240_100), backend(1));
        assert!(suspicion.condemned(at(240_101)).contains(backend(2)), "before it has failed itself");
        assert!(!suspicion.condemned(at(240_101)).contains(backend(3)));
    }

    #[test]
    fn failing_one_after_the_other_makes_no_neighbours() {
        let none = DomainLabels::new();
        let mut suspicion = Suspicion::new([&none, &none]);
        for event in 0..20u64 {
            suspicion.failed(at(event * 10_000), backend((event % 2) as usize));
            suspicion.answered(at(event * 10_000 + 1_000), backend((event % 2) as usize));
        }
        assert_eq!(suspicion.learned_overlap(at(200_000), backend(0), backend(1)), 0);
    }

    #[test]
    fn h3_the_learned_share_grows_with_joint_failures_and_falls_with_others() {
        let none = DomainLabels::new();
        let mut suspicion = Suspicion::new([&none, &none, &none]);
        let share = |suspicion: &Suspicion, now| suspicion.learned_share(at(now), backend(0), backend(1));
        assert_eq!(share(&suspicion, 0), 0.0);
        let mut shares = Vec::new();
        for event in 0..4u64 {
            suspicion.failed(at(event * 60_000), backend(0));
            suspicion.failed(at(event * 60_000 + 100), backend(1));
            suspicion.answered(at(event * 60_000 + 30_000), backend(0));
            suspicion.answered(at(event * 60_000 + 30_000), backend(1));
            shares.push(share(&suspicion, event * 60_000 + 30_000));
        }
        assert!(shares.is_sorted_by(|a, b| a < b) && shares[3] < 1.0, "{shares:?}");
        assert!((shares[2] - 0.75).abs() < 0.01, "3 joint of 3, and one that was not seen: {shares:?}");
        suspicion.failed(at(400_000), backend(0));
        assert!(share(&suspicion, 400_000) < shares[3]);
        assert_eq!(suspicion.learned_share(at(400_000), backend(0), backend(2)), 0.0);
    }

    #[test]
    fn old_failures_condemn_nobody() {
        let aws = labels("aws", "", "");
        let mut suspicion = Suspicion::new([&aws, &aws]);
        suspicion.failed(at(0), backend(0));
        suspicion.failed(at(1), backend(1));
        assert!(!suspicion.condemned(at(2)).is_empty());
        assert!(suspicion.condemned(at(20_000)).is_empty());
    }
}
