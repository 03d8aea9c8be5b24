//! Failure domains: what backends share, and so lose together.
//!
//! Distance between domains is what protects, not the number of providers (two 99.9 % providers in
//! one region lose 39 minutes a month together, two independent ones 0.04).

use std::collections::BTreeMap;

/// What kind of thing is shared. Free-form labels are kinds of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DomainKind {
    /// The company that answers: one account, one deployment, one mistake.
    Provider,
    /// Whose machines it runs on.
    Cloud,
    /// Where, within a cloud.
    Region,
    /// The CDN in front.
    Edge,
    /// One host or IP address: whatever the names before it, one door. Never configured, only derived.
    Address,
    /// The node software: a bug forks every node that runs it.
    Client,
    /// A label of the operator's own.
    Label(Box<str>),
}

impl DomainKind {
    /// The kind that the configuration calls so.
    pub fn named(name: &str) -> Self {
        match name {
            "provider" => Self::Provider,
            "cloud" => Self::Cloud,
            "region" => Self::Region,
            "edge" => Self::Edge,
            "client" => Self::Client,
            other => Self::Label(other.into()),
        }
    }

    /// How much sharing this says about failing together, in points. A provider is nearly the same
    /// thing twice; a region or a single door is the commonest outage; a whole cloud or an edge fails less
    /// often; node software only matters for wrong answers.
    const fn weight(&self) -> u32 {
        match self {
            Self::Provider => 16,
            Self::Region | Self::Address => 8,
            Self::Edge => 6,
            Self::Cloud => 4,
            Self::Label(_) => 3,
            Self::Client => 1,
        }
    }

    /// Whether it fails as one place. Node software fails with wrong answers, wherever it runs.
    pub(super) const fn fails_as_one(&self) -> bool {
        !matches!(self, Self::Client)
    }

    /// The name as the configuration writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Provider => "provider",
            Self::Cloud => "cloud",
            Self::Region => "region",
            Self::Edge => "edge",
            Self::Address => "address",
            Self::Client => "client",
            Self::Label(name) => name,
        }
    }
}

/// How a label came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelSource {
    /// The operator wrote it.
    Configuration,
    /// The backend's addresses lie in a list that a cloud or CDN publishes.
    AddressRanges,
    /// A CDN or load balancer named itself in the headers of answers.
    ResponseHeaders,
    /// Another backend has the same host or address.
    EqualAddresses,
}

impl LabelSource {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::AddressRanges => "address ranges",
            Self::ResponseHeaders => "response headers",
            Self::EqualAddresses => "equal addresses",
        }
    }
}

/// A label that nobody wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DerivedLabel {
    /// What is shared.
    pub kind: DomainKind,
    /// Its name; a region is qualified by its cloud, as `aws/us-east-1`.
    pub value: Box<str>,
    /// How it is known.
    pub from: LabelSource,
}

/// The labels of one backend. A region only means something within its cloud: `us-east-1` of two
/// clouds are two regions. One kind has several values where an answer passes through several, such as two
/// CDNs in a row; losing any of them loses the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainLabels {
    labels: BTreeMap<(DomainKind, Box<str>), LabelSource>,
}

impl DomainLabels {
    /// No labels: nothing is known to be shared.
    pub fn new() -> Self {
        Self::default()
    }

    /// The labels that somebody wrote, as pairs of kind and name.
    pub fn of<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let with = |labels: Self, (kind, value): (K, V)| {
            labels.with(DomainKind::named(kind.as_ref()), value.as_ref())
        };
        pairs.into_iter().fold(Self::new(), with)
    }

    /// Sets the label of a kind as it was written; case and surrounding space do not make another domain.
    #[must_use]
    pub fn with(mut self, kind: DomainKind, value: &str) -> Self {
        if let Some(value) = plain(value) {
            self.labels.retain(|(other, _), _| *other != kind);
            self.labels.insert((kind, value), LabelSource::Configuration);
        }
        self
    }

    /// Takes up what was derived, in place of what was derived before. Whoever wrote a label knows better: for
    /// its kind nothing is derived, and no region of another cloud than the one that was written.
    pub fn learn(&mut self, derived: &[DerivedLabel]) {
        self.labels.retain(|_, from| *from == LabelSource::Configuration);
        let written: Vec<DomainKind> = self.labels.keys().map(|(kind, _)| kind.clone()).collect();
        let cloud = self.get(&DomainKind::Cloud).map(|cloud| format!("{cloud}/"));
        for DerivedLabel { kind, value, from } in derived {
            let Some(value) = plain(value) else { continue };
            let elsewhere =
                *kind == DomainKind::Region && cloud.as_ref().is_some_and(|cloud| !value.starts_with(cloud));
            if !written.contains(kind) && !elsewhere {
                self.labels.entry((kind.clone(), value)).or_insert(*from);
            }
        }
    }

    /// Every label, most telling kinds first.
    pub fn iter(&self) -> impl Iterator<Item = (&DomainKind, &str)> {
        self.labels.keys().map(|(kind, value)| (kind, value.as_ref()))
    }

    /// Every label that nobody wrote.
    pub fn derived(&self) -> impl Iterator<Item = (&DomainKind, &str, LabelSource)> {
        let all = self.labels.iter().map(|((kind, value), from)| (kind, value.as_ref(), *from));
        all.filter(|(.., from)| *from != LabelSource::Configuration)
    }

    /// The label of one kind, the first in the alphabet where there are several.
    pub fn get(&self, kind: &DomainKind) -> Option<&str> {
        self.iter().find(|(other, _)| *other == kind).map(|(_, value)| value)
    }

    fn has(&self, kind: &DomainKind, value: &str) -> bool {
        self.iter().any(|label| label == (kind, value))
    }

    fn shared<'l>(&'l self, other: &'l Self) -> impl Iterator<Item = (&'l DomainKind, &'l str)> {
        let clouds = || self.iter().filter(|(kind, _)| **kind == DomainKind::Cloud).map(|(_, cloud)| cloud);
        let one_cloud = move || {
            self.get(&DomainKind::Cloud) == other.get(&DomainKind::Cloud)
                || clouds().any(|cloud| other.has(&DomainKind::Cloud, cloud))
        };
        self.iter()
            .filter(|(kind, value)| other.has(kind, value))
            .filter(move |(kind, _)| **kind != DomainKind::Region || one_cloud())
    }

    /// How much these two share, in points; 0 means that nothing is known to connect them.
    pub fn overlap(&self, other: &Self) -> u32 {
        self.shared(other).map(|(kind, _)| kind.weight()).sum()
    }

    /// Whether they share a place, so that one failure can take both.
    pub fn share_a_place(&self, other: &Self) -> bool {
        self.shared(other).any(|(kind, _)| kind.fails_as_one())
    }
}

/// A label's value as it is compared.
fn plain(value: &str) -> Option<Box<str>> {
    let value = value.trim().to_ascii_lowercase();
    (!value.is_empty()).then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(provider: &str, cloud: &str, region: &str) -> DomainLabels {
        DomainLabels::new()
            .with(DomainKind::Provider, provider)
            .with(DomainKind::Cloud, cloud)
            .with(DomainKind::Region, region)
    }

    #[test]
    fn what_shares_more_is_nearer() {
        let here = labels("infura", "aws", "us-east-1");
        let sibling = labels("infura", "AWS ", "us-east-1");
        let neighbour = labels("alchemy", "aws", "us-east-1");
        let same_cloud = labels("alchemy", "aws", "eu-west-1");
        let far = labels("tenderly", "gcp", "us-east-1");
        let overlaps = [&sibling, &neighbour, &same_cloud, &far].map(|other| here.overlap(other));
        assert!(overlaps.is_sorted_by(|a, b| a > b), "{overlaps:?}");
        assert_eq!(overlaps[3], 0, "a region of another cloud is another region");
    }

    #[test]
    fn unknown_is_not_shared() {
        assert_eq!(DomainLabels::new().overlap(&DomainLabels::new()), 0);
        assert_eq!(labels("", "aws", "").iter().count(), 1);
    }

    fn derived(kind: DomainKind, value: &str, from: LabelSource) -> DerivedLabel {
        DerivedLabel { kind, value: value.into(), from }
    }

    fn told(labels: &DomainLabels) -> Vec<String> {
        labels
            .derived()
            .map(|(kind, value, from)| format!("{}:{value} ({})", kind.name(), from.name()))
            .collect()
    }

    #[test]
    fn h2_what_is_derived_counts_like_what_is_written_and_never_overrides_it() {
        use LabelSource::{AddressRanges, ResponseHeaders};
        let seen = [
            derived(DomainKind::Cloud, "gcp", AddressRanges),
            derived(DomainKind::Region, "gcp/us-east1", AddressRanges),
            derived(DomainKind::Edge, "Cloudflare", ResponseHeaders),
        ];
        let mut open = DomainLabels::new().with(DomainKind::Provider, "a");
        open.learn(&seen);
        assert_eq!(
            told(&open),
            [
                "cloud:gcp (address ranges)",
                "region:gcp/us-east1 (address ranges)",
                "edge:cloudflare (response headers)"
            ]
        );
        let written = DomainLabels::new().with(DomainKind::Cloud, "gcp").with(DomainKind::Edge, "cloudflare");
        assert_eq!(open.overlap(&written), DomainKind::Cloud.weight() + DomainKind::Edge.weight());

        let mut elsewhere = DomainLabels::new().with(DomainKind::Cloud, "aws").with(DomainKind::Edge, "own");
        elsewhere.learn(&seen);
        assert_eq!(told(&elsewhere), [""; 0], "nor a region of a cloud that it is not in");
        let mut same = DomainLabels::new().with(DomainKind::Cloud, "GCP");
        same.learn(&seen);
        assert_eq!(
            told(&same)[0],
            "region:gcp/us-east1 (address ranges)",
            "the cloud is written, its region is not"
        );

        open.learn(&seen[2..]);
        assert_eq!(
            told(&open),
            ["edge:cloudflare (response headers)"],
            "what is no longer seen is forgotten"
        );
        assert_eq!(open.get(&DomainKind::Provider), Some("a"));
    }

    #[test]
    fn of_several_edges_in_a_row_each_one_that_is_shared_counts() {
        let edges = |names: &[&str]| {
            let mut labels = DomainLabels::new();
            let seen = names.iter().map(|n| derived(DomainKind::Edge, n, LabelSource::ResponseHeaders));
            labels.learn(&seen.collect::<Vec<_>>());
            labels
        };
        let both = edges(&["cloudflare", "fastly"]);
        assert_eq!(both.overlap(&edges(&["fastly"])), DomainKind::Edge.weight());
        assert_eq!(both.overlap(&edges(&["cloudflare"])), DomainKind::Edge.weight());
        assert!(!both.share_a_place(&edges(&["akamai"])));
    }

    #[test]
    fn node_software_is_shared_and_no_place() {
        let geth = DomainLabels::new().with(DomainKind::Client, "geth");
        assert!(geth.overlap(&geth) > 0);
        assert!(!geth.share_a_place(&geth));
    }
}
