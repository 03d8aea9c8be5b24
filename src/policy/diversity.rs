//! How far apart the backends of a chain really are. Two names in one cloud are one cloud.
//!
//! The *effective number of independent backends* is that of the best choice among them: the largest, over all
//! sets of them, of
//!
//! ```text
//! n / (1 + (n - 1) * s)        n: backends in the set, s: mean over its pairs of how much the two fail together
//! ```
//!
//! which is Kish's effective sample size: what n votes are worth that agree with each other for a share s of the
//! time. Two that share a place (provider, cloud, region, edge, address or a label of the operator's own) count as
//! failing together always, since a place is judged as a whole when it fails ([`Suspicion`](super::Suspicion));
//! of others, the share is what was seen: joint failures over all failures of either, and one more.
//!
//! Why so: where only labels speak, it is a whole number, the most backends of which no two share a place (the
//! theorem of Motzkin and Straus), that is, how many places must fail until nobody is left. Another backend never
//! lowers it, as it would lower a mean over all of them. Traffic does not weigh in: it goes to one favourite in
//! calm weather, and what is asked for is what is left when that one fails.

use std::collections::{BTreeMap, BTreeSet};

use super::domain::{DomainKind, DomainLabels};

/// What the backends of a chain share.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Diversity {
    /// Backends that serve reads: neither cordoned nor private.
    pub backends: usize,
    /// The most of them of which no two share a place.
    pub independent: usize,
    /// The same number with what was learned of failing together; never greater.
    pub effective: f64,
    /// Different companies.
    pub providers: usize,
    /// Different clouds that are known.
    pub clouds: usize,
    /// Different regions that are known, each within its cloud.
    pub regions: usize,
    /// Different shared edges that are known.
    pub edges: usize,
    /// Backends of which the cloud is not known.
    pub unlabelled: Vec<String>,
    /// What is wrong, one sentence each; empty where no single domain takes everything down.
    pub findings: Vec<String>,
    /// How to mend it, one sentence each.
    pub mends: Vec<String>,
}

impl Diversity {
    /// Whether no single known domain takes the chain down.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Holds backends, each with its name, against each other. `together` is how much two of them were seen to
    /// fail together, 0 to 1.
    pub(super) fn of(members: &[(&str, &DomainLabels)], together: impl Fn(usize, usize) -> f64) -> Self {
        let providers = companies(members);
        // Kind of domain -> its name -> the backends in it.
        let mut domains: BTreeMap<&str, BTreeMap<&str, BTreeSet<usize>>> = BTreeMap::new();
        for (at, (_, labels)) in members.iter().enumerate() {
            for (kind, name) in labels.iter().filter(|(kind, _)| **kind != DomainKind::Provider) {
                domains.entry(kind.name()).or_default().entry(name).or_default().insert(at);
            }
        }
        let count = |kind: DomainKind| domains.get(kind.name()).map_or(0, BTreeMap::len);
        let unlabelled: Vec<String> = members
            .iter()
            .filter(|(_, labels)| labels.get(&DomainKind::Cloud).is_none())
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let (mut findings, mut mends) = (Vec::new(), Vec::new());
        match members.len() {
            0 => {
                findings.push("no backend serves reads".to_owned());
                mends.push("add a backend that is neither cordoned nor private".to_owned());
            }
            1 => {
                findings.push("there is one backend: when it fails, everything fails".to_owned());
                mends.push("add a backend of another provider in another cloud".to_owned());
            }
            all => {
                if providers.len() == 1 {
                    let name = providers.first().copied().unwrap_or_default();
                    findings.push(format!("your {all} backends are 1 provider ({name})"));
                    mends.push("add a backend of another provider".to_owned());
                } else if providers.len() < all {
                    findings.push(format!("{all} names, {} providers", providers.len()));
                }
                for (kind, names) in &domains {
                    // A client is no place, but one bug in it is as common as a power cut.
                    if let Some((name, _)) = names.iter().find(|(_, members)| members.len() == all) {
                        findings.push(format!("your {all} backends are 1 {kind} ({name})"));
                        mends.push(match *kind {
                            "edge" => format!("add a backend that is not behind {name}"),
                            "client" => format!("add a backend that runs another client than {name}"),
                            "address" => format!("add a backend at another address than {name}"),
                            _ => format!("add a backend in another {kind} than {name}"),
                        });
                    }
                }
            }
        }
        if !unlabelled.is_empty() && members.len() > 1 {
            let list = unlabelled.join(", ");
            mends.push(format!(
                "name the cloud of {list} with cloud = \"...\", or the lists that clouds publish in routing.address_ranges, so that it can be told what fails together"
            ));
        }
        let one_place = |a: usize, b: usize| members[a].1.share_a_place(members[b].1);
        let labelled = |a, b| if one_place(a, b) { 1.0 } else { 0.0 };
        let learned = |a, b| if one_place(a, b) { 1.0 } else { together(a, b).clamp(0.0, 1.0) };
        let independent = effective_number(members.len(), labelled);
        Self {
            backends: members.len(),
            independent: independent.round() as usize,
            effective: effective_number(members.len(), learned).min(independent),
            providers: providers.len(),
            clouds: count(DomainKind::Cloud),
            regions: count(DomainKind::Region),
            edges: count(DomainKind::Edge),
            unlabelled,
            findings,
            mends,
        }
    }
}

/// The effective number of `count` backends, of which two fail together to the share that `together` says. The
/// best set is grown greedily from every backend: exact for all but odd overlaps.
fn effective_number(count: usize, together: impl Fn(usize, usize) -> f64) -> f64 {
    let shares: Vec<f64> = (0..count * count).map(|at| together(at / count, at % count)).collect();
    // Twice the sum of shares over the pairs of a set, from which n / (1 + (n - 1) * mean) follows as n^2 / (n + it).
    let number = |n: usize, pairs: f64| (n * n) as f64 / (n as f64 + pairs);
    let from = |start: usize| {
        let (mut chosen, mut pairs, mut best) = (vec![start], 0.0, 1.0);
        loop {
            let with_each = (0..count).filter(|new| !chosen.contains(new)).map(|new| {
                let pairs = pairs + 2.0 * chosen.iter().map(|old| shares[new * count + old]).sum::<f64>();
                (number(chosen.len() + 1, pairs), pairs, new)
            });
            // The first of equals: the order of the configuration.
            let next = with_each.reduce(|a, b| if b.0 > a.0 { b } else { a });
            match next {
                Some((value, with_new, new)) if value > best => {
                    chosen.push(new);
                    (pairs, best) = (with_new, value);
                }
                _ => return best,
            }
        }
    };
    (0..count).map(from).fold(0.0, f64::max)
}

/// Different companies, by name. One address is one company, whatever its two entries are labelled, and one
/// label is one company, whatever its addresses: both tie.
fn companies<'m>(members: &[(&'m str, &'m DomainLabels)]) -> Vec<&'m str> {
    let tied = |a: &DomainLabels, b: &DomainLabels| {
        let theirs: Vec<_> =
            a.iter().filter(|(kind, _)| matches!(kind, DomainKind::Provider | DomainKind::Address)).collect();
        b.iter().any(|label| theirs.contains(&label))
    };
    // The group of each backend, by the lowest index tied to it.
    let mut group: Vec<usize> = (0..members.len()).collect();
    for i in 0..members.len() {
        for j in 0..i {
            if tied(members[i].1, members[j].1) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let groups: BTreeSet<usize> = group.into_iter().collect();
    groups.into_iter().map(|g| members[g].1.get(&DomainKind::Provider).unwrap_or(members[g].0)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::domain::{DerivedLabel, LabelSource};
    use super::*;

    /// Backends by their labels, as `provider=a cloud=aws`; named `a`, `b` and so on.
    fn labels(backends: &[&str]) -> Vec<DomainLabels> {
        let pairs =
            |text: &&str| DomainLabels::of(text.split_whitespace().filter_map(|pair| pair.split_once('=')));
        backends.iter().map(pairs).collect()
    }

    fn of(labels: &[DomainLabels], together: impl Fn(usize, usize) -> f64) -> Diversity {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let members: Vec<(&str, &DomainLabels)> = names.into_iter().zip(labels).collect();
        Diversity::of(&members, together)
    }

    fn labelled(backends: &[&str]) -> Diversity {
        of(&labels(backends), |_, _| 0.0)
    }

    #[test]
    fn h3_four_names_that_are_one_cloud_are_told_so_with_the_mend() {
        let found = labelled(&[
            "provider=a cloud=aws region=aws/1",
            "provider=b cloud=AWS region=aws/2",
            "provider=c cloud=aws region=aws/3",
            "provider=d cloud=aws region=aws/4",
        ]);
        assert_eq!((found.backends, found.providers, found.clouds, found.regions), (4, 4, 1, 4));
        assert_eq!(
            (found.independent, found.effective),
            (1, 1.0),
            "several regions of one cloud are one cloud"
        );
        assert_eq!(found.findings, ["your 4 backends are 1 cloud (aws)"]);
        assert_eq!(found.mends, ["add a backend in another cloud than aws"]);
    }

    #[test]
    fn h2_a_shared_edge_counts_though_clouds_differ() {
        let found =
            labelled(&["provider=a cloud=aws edge=cloudflare", "provider=b cloud=gcp edge=cloudflare"]);
        assert_eq!((found.independent, found.edges), (1, 1));
        assert_eq!(found.findings, ["your 2 backends are 1 edge (cloudflare)"]);
        assert_eq!(found.mends, ["add a backend that is not behind cloudflare"]);
    }

    #[test]
    fn distant_backends_are_sound_and_the_same_region_name_of_two_clouds_is_two_regions() {
        let found = labelled(&[
            "provider=a cloud=aws region=aws/eu-west-1 client=geth",
            "provider=b cloud=gcp region=gcp/eu-west-1 client=reth",
        ]);
        assert!(found.is_sound(), "{found:?}");
        assert_eq!((found.regions, found.independent), (2, 2));
    }

    #[test]
    fn o6_one_address_is_one_provider_whatever_its_entries_are_called() {
        let mut labels = labels(&[
            "provider=a cloud=aws",
            "provider=b cloud=gcp",
            "provider=c cloud=metal",
            "provider=c cloud=home",
        ]);
        let address = DerivedLabel {
            kind: DomainKind::Address,
            value: "x.example".into(),
            from: LabelSource::EqualAddresses,
        };
        labels[..2].iter_mut().for_each(|labels| labels.learn(std::slice::from_ref(&address)));
        let found = of(&labels, |_, _| 0.0);
        assert_eq!((found.providers, found.independent), (2, 2));
        assert_eq!(found.findings, ["4 names, 2 providers"]);
    }

    #[test]
    fn one_backend_is_no_choice_and_none_is_nothing() {
        let found = labelled(&["provider=a cloud=aws"]);
        assert!(found.findings[0].contains("one backend"), "{found:?}");
        assert_eq!((found.independent, found.effective), (1, 1.0));
        let found = labelled(&[]);
        assert_eq!((found.independent, found.effective, found.findings.len()), (0, 0.0, 1));
    }

    #[test]
    fn backends_without_labels_are_named() {
        let found = labelled(&["provider=x", "provider=y cloud=gcp"]);
        assert_eq!(found.unlabelled, ["a"]);
        assert!(found.is_sound() && found.mends[0].contains("name the cloud of a"), "{found:?}");
    }

    #[test]
    fn the_effective_number_is_that_of_the_best_choice_and_another_backend_never_lowers_it() {
        let clouds = ["cloud=aws", "cloud=aws", "cloud=gcp", "cloud=aws", "cloud=home", "cloud=gcp"];
        let numbers: Vec<f64> = (1..=clouds.len()).map(|n| labelled(&clouds[..n]).effective).collect();
        assert_eq!(numbers, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        // The middle one shares with both ends, which share nothing: the ends are two.
        let chain = labelled(&["cloud=gcp edge=x", "cloud=aws edge=x", "cloud=aws edge=y"]);
        assert_eq!((chain.independent, chain.effective), (2, 2.0));
    }

    #[test]
    fn h3_what_was_learned_of_failing_together_lowers_the_number_by_as_much_as_it_was_seen() {
        let four = labels(&["", "", "", ""]);
        let number = |share: f64| of(&four, |a, b| if a < 3 && b < 3 { share } else { 0.0 }).effective;
        assert_eq!((number(0.0), number(1.0)), (4.0, 2.0));
        let numbers: Vec<f64> = (0..=10).map(|tenths| number(f64::from(tenths) / 10.0)).collect();
        assert!(numbers.is_sorted_by(|a, b| a >= b), "{numbers:?}");
        // All four: 16 / (4 + 6 * 0.2).
        assert!((number(0.2) - 16.0 / 5.2).abs() < 1e-9, "{}", number(0.2));
        assert_eq!(of(&four, |_, _| 0.5).independent, 4, "labels alone know nothing of it");
    }
}
