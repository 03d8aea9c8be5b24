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
    /// The node software: a bug forks every node that runs it.
    Client,
    /// A label of the operator's own.
    Label(Box<str>),
}

impl DomainKind {
    /// How much sharing this says about failing together, in points. A provider is nearly the same
    /// thing twice; a region is the commonest outage; a whole cloud or an edge fails less often; node
    /// software only matters for wrong answers.
    const fn weight(&self) -> u32 {
        match self {
            Self::Provider => 16,
            Self::Region => 8,
            Self::Edge => 6,
            Self::Cloud => 4,
            Self::Label(_) => 3,
            Self::Client => 1,
        }
    }

    /// The name as the configuration writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Provider => "provider",
            Self::Cloud => "cloud",
            Self::Region => "region",
            Self::Edge => "edge",
            Self::Client => "client",
            Self::Label(name) => name,
        }
    }
}

/// The labels of one backend. A region only means something within its cloud: `us-east-1` of two
/// clouds are two regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainLabels {
    labels: BTreeMap<DomainKind, Box<str>>,
}

impl DomainLabels {
    /// No labels: nothing is known to be shared.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a label; case and surrounding space do not make another domain.
    #[must_use]
    pub fn with(mut self, kind: DomainKind, value: &str) -> Self {
        let value = value.trim().to_ascii_lowercase();
        if !value.is_empty() {
            self.labels.insert(kind, value.into());
        }
        self
    }

    /// Every label, most telling kinds first.
    pub fn iter(&self) -> impl Iterator<Item = (&DomainKind, &str)> {
        self.labels.iter().map(|(kind, value)| (kind, value.as_ref()))
    }

    /// The label of one kind.
    pub fn get(&self, kind: &DomainKind) -> Option<&str> {
        self.labels.get(kind).map(AsRef::as_ref)
    }

    /// How much these two share, in points; 0 means that nothing is known to connect them.
    pub fn overlap(&self, other: &Self) -> u32 {
        self.labels
            .iter()
            .filter(|(kind, value)| other.labels.get(*kind) == Some(*value))
            .filter(|(kind, _)| {
                **kind != DomainKind::Region
                    || self.labels.get(&DomainKind::Cloud) == other.labels.get(&DomainKind::Cloud)
            })
            .map(|(kind, _)| kind.weight())
            .sum()
    }
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
}
