//! How far apart the backends of a chain really are. Two names in one cloud are one cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::settings::{Backend, Chain};

/// What a chain's backends share.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diversity {
    /// The chain's name.
    pub chain: String,
    /// Backends that serve reads: neither cordoned nor private.
    pub backends: usize,
    /// The most backends of which no two share a provider, cloud, edge or label: how many failures of one
    /// domain each it would take to stop all reads.
    pub independent: usize,
    /// Different companies; a host stands for a backend that names none.
    pub providers: usize,
    /// Different clouds that are named.
    pub clouds: usize,
    /// Different regions that are named, each within its cloud.
    pub regions: usize,
    /// Different shared edges that are named.
    pub edges: usize,
    /// Backends of which the cloud is not named.
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
}

impl fmt::Display for Diversity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.chain, counted(self.backends, "backend"))?;
        let counts = [
            (self.providers, "provider"),
            (self.clouds, "cloud"),
            (self.regions, "region"),
            (self.edges, "edge"),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {}", counted(count, what))?;
        }
        for line in self.findings.iter().chain(&self.mends) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Holds the backends of a chain against each other.
pub fn diversity(chain: &Chain) -> Diversity {
    let reading: Vec<&Backend> = chain.backends.iter().filter(|b| !b.cordoned && !b.private).collect();
    let providers = companies(&reading);
    // Kind of domain -> its name -> the backends in it.
    let mut domains: BTreeMap<String, BTreeMap<String, BTreeSet<usize>>> = BTreeMap::new();
    for (i, backend) in reading.iter().enumerate() {
        for (kind, name) in backend.domains().into_iter().filter(|(kind, _)| kind != "provider") {
            domains.entry(kind).or_default().entry(name).or_default().insert(i);
        }
    }
    let count = |kind: &str| domains.get(kind).map_or(0, BTreeMap::len);
    let unlabelled: Vec<String> =
        reading.iter().filter(|b| b.cloud.is_none()).map(|b| b.name.clone()).collect();
    let (mut findings, mut mends) = (Vec::new(), Vec::new());
    match reading.len() {
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
                let name = providers.keys().next().map_or("", String::as_str);
                findings.push(format!("your {all} backends are 1 provider ({name})"));
                mends.push("add a backend of another provider".to_owned());
            } else if providers.len() < all {
                findings.push(format!("{all} names, {} providers", providers.len()));
            }
            for (kind, names) in &domains {
                // A client is no place, but one bug in it is as common as a power cut.
                if let Some((name, _)) = names.iter().find(|(_, members)| members.len() == all) {
                    findings.push(format!("your {all} backends are 1 {kind} ({name})"));
                    mends.push(match kind.as_str() {
                        "edge" => format!("add a backend that is not behind {name}"),
                        "client" => format!("add a backend that runs another client than {name}"),
                        _ => format!("add a backend in another {kind} than {name}"),
                    });
                }
            }
        }
    }
    if !unlabelled.is_empty() && reading.len() > 1 {
        let list = unlabelled.join(", ");
        mends.push(format!(
            "name the cloud of {list} with cloud = \"...\", so that it can be told what fails together"
        ));
    }
    Diversity {
        chain: chain.name.clone(),
        backends: reading.len(),
        independent: independent(&reading),
        providers: providers.len(),
        clouds: count("cloud"),
        regions: count("region"),
        edges: count("edge"),
        unlabelled,
        findings,
        mends,
    }
}

/// Size of a set of backends that pairwise share nothing which fails as one. Node software is left out: it
/// fails with wrong answers, not with the place. Greedy from every start: exact for all but odd overlaps.
fn independent(backends: &[&Backend]) -> usize {
    let domains: Vec<BTreeSet<(String, String)>> = backends
        .iter()
        .map(|backend| {
            let host = tied_host(backend).map(|host| ("host".to_owned(), host));
            backend.domains().into_iter().filter(|(kind, _)| kind != "client").chain(host).collect()
        })
        .collect();
    let from = |start: usize| {
        let mut chosen: Vec<usize> = Vec::new();
        for i in (start..domains.len()).chain(0..start) {
            if chosen.iter().all(|c| domains[*c].is_disjoint(&domains[i])) {
                chosen.push(i);
            }
        }
        chosen.len()
    };
    (0..domains.len()).map(from).max().unwrap_or(0)
}

/// The host whose name ties its backends together. Ports of this machine are tunnels and test nodes: what
/// lies behind them is what their labels say.
fn tied_host(backend: &Backend) -> Option<String> {
    let host = backend.url.host().to_ascii_lowercase();
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (!here).then_some(host)
}

/// Backends by company. One host is one company, whatever its two entries are labelled, and one
/// label is one company, whatever its hosts: both tie.
fn companies(backends: &[&Backend]) -> BTreeMap<String, usize> {
    let host = |b: &Backend| b.url.host().to_ascii_lowercase();
    let label = |b: &Backend| b.provider.as_deref().map(str::to_lowercase);
    // The group of each backend, by the lowest index tied to it.
    let mut group: Vec<usize> = (0..backends.len()).collect();
    for i in 0..backends.len() {
        for j in 0..i {
            let (a, b) = (backends[i], backends[j]);
            let one_host = tied_host(a).is_some() && tied_host(a) == tied_host(b);
            if one_host || label(a).is_some() && label(a) == label(b) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let mut companies = BTreeMap::new();
    for g in group {
        let name = label(backends[g]).unwrap_or_else(|| host(backends[g]));
        // Different groups have different names: equal ones would have been tied.
        *companies.entry(name).or_insert(0) += 1;
    }
    companies
}
