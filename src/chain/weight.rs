//! How much the agreement of several backends is worth: by independent places and node software, never by count.

use crate::policy::{BackendSet, DomainKind, DomainLabels};

/// What makes two backends one voice: the same operator, the same cloud, the same node software.
const KINDS: [DomainKind; 3] = [DomainKind::Provider, DomainKind::Cloud, DomainKind::Client];

/// Where the operator stands among them.
const PROVIDER: usize = 0;

/// The places of all backends, by their index.
#[derive(Debug, Default)]
pub(super) struct Weights(Vec<[u16; KINDS.len()]>);

impl Weights {
    /// A backend that lacks a label is like nobody else: what is not known to be shared is not.
    pub(super) fn new(labels: &[&DomainLabels]) -> Self {
        let mut names: [Vec<String>; KINDS.len()] = Default::default();
        let places = labels.iter().enumerate().map(|(at, labels)| {
            let mut place = [0; KINDS.len()];
            for (nth, kind) in KINDS.iter().enumerate() {
                let name = match labels.get(kind) {
                    Some(name) if *kind == DomainKind::Client => software(name).to_owned(),
                    Some(name) => name.to_owned(),
                    None => format!("\0{at}"),
                };
                let known = names[nth].iter().position(|other| *other == name);
                place[nth] = known.unwrap_or_else(|| {
                    names[nth].push(name);
                    names[nth].len() - 1
                }) as u16;
            }
            place
        });
        Self(places.collect())
    }

    /// The number of independent voices among these: as many as there are different names in the kind of which
    /// there are fewest. Five providers with one node software are one voice: a defect takes them all.
    pub(super) fn of(&self, set: BackendSet) -> u32 {
        let mut seen = [0u64; KINDS.len()];
        for index in set.iter() {
            let Some(place) = self.0.get(index.get()) else { continue };
            for (nth, name) in place.iter().enumerate() {
                // At most 64 backends, so at most 64 names of a kind.
                seen[nth] |= 1 << (name & 63);
            }
        }
        seen.iter().map(|names| names.count_ones()).min().unwrap_or(0)
    }

    /// How many operators these are: enough to know that a block is not one operator's invention, where nobody shows another.
    pub(super) fn operators(&self, set: BackendSet) -> u32 {
        let places = set.iter().filter_map(|index| self.0.get(index.get()));
        places.fold(0u64, |seen, place| seen | 1 << (place[PROVIDER] & 63)).count_ones()
    }
}

/// The name of a node software without its version: `geth/v1.9.9`, `geth-1.9.9` and `geth` are one family, which has
/// its defects in common more often than not.
fn software(name: &str) -> &str {
    let name = name.split_once('/').map_or(name, |(name, _)| name);
    let version = name.match_indices('-').map(|(at, _)| at).find(|at| {
        let rest = name[at + 1..].trim_start_matches('v');
        rest.starts_with(|c: char| c.is_ascii_digit())
    });
    version.map_or(name, |at| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::BackendIndex;

    fn set(of: &[usize]) -> BackendSet {
        let mut set = BackendSet::default();
        of.iter().for_each(|at| set.insert(BackendIndex::at(*at)));
        set
    }

    fn labels(of: &[(&str, &str, &str)]) -> Vec<DomainLabels> {
        of.iter()
            .map(|(provider, cloud, client)| {
                DomainLabels::new()
                    .with(DomainKind::Provider, provider)
                    .with(DomainKind::Cloud, cloud)
                    .with(DomainKind::Client, client)
            })
            .collect()
    }

    #[test]
    fn c4_agreement_is_weighed_by_what_is_independent() {
        let labels = labels(&[
            ("infura", "aws", "geth-1.9.9"),
            ("alchemy", "aws", "geth/v1.9.23"),
            ("self", "hetzner", "besu"),
            ("", "", ""),
            ("", "", ""),
        ]);
        let weights = Weights::new(&labels.iter().collect::<Vec<_>>());
        for (members, weight) in [
            (&[][..], 0),
            (&[0], 1),
            (&[0, 1], 1),
            (&[0, 2], 2),
            (&[0, 1, 2], 2),
            (&[3, 4], 2),
            (&[0, 1, 2, 3], 3),
        ] {
            assert_eq!(weights.of(set(members)), weight, "{members:?}");
        }
    }

    #[test]
    fn a_version_is_no_part_of_a_software_s_name() {
        for (name, software_is) in [
            ("geth-1.9.9", "geth"),
            ("geth/v1.16.7-stable/linux", "geth"),
            ("op-reth", "op-reth"),
            ("op-geth-v1.1", "op-geth"),
            ("geth-old", "geth-old"),
        ] {
            assert_eq!(software(name), software_is);
        }
    }
}
