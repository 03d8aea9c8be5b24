//! What backends turn out to share though nobody wrote it: labels derived from their addresses, from who names
//! himself in front of them, and from hosts and addresses that are equal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{self, AddressRanges, Place};
use crate::policy::{DerivedLabel, DomainKind, Fleet, LabelSource};

use super::chain::Chain;

/// What is known of one backend beyond its configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The addresses of its host.
    pub(super) addresses: Vec<IpAddr>,
    /// Who named himself in the headers of its answers.
    pub(super) marks: Vec<(DomainKind, &'static str)>,
}

/// Derives again whenever a name moves or an answer shows something new. Runs until it is dropped.
pub(super) async fn keep(chain: Arc<Chain>, mut moves: watch::Receiver<u64>) {
    loop {
        moves.mark_unchanged();
        chain.derive_domains();
        tokio::select! {
            moved = moves.changed() => if moved.is_err() { return },
            () = chain.evidence.notified() => {}
        }
    }
}

/// The labels that follow from what was seen, backend by backend.
pub(super) fn derive(
    backends: &[config::Backend],
    seen: &[Seen],
    ranges: &AddressRanges,
) -> Vec<Vec<DerivedLabel>> {
    let addresses: Vec<Vec<IpAddr>> = backends
        .iter()
        .enumerate()
        .map(|(at, backend)| match seen.get(at).map(|seen| seen.addresses.as_slice()) {
            None | Some([]) => backend.url.host().parse().into_iter().collect(),
            Some(known) => known.to_vec(),
        })
        .collect();
    let mut derived = vec![Vec::new(); backends.len()];
    for (at, labels) in derived.iter_mut().enumerate() {
        places(&addresses[at], ranges, labels);
        for (kind, name) in seen.get(at).into_iter().flat_map(|seen| &seen.marks) {
            labels.push(label(kind.clone(), name, LabelSource::ResponseHeaders));
        }
    }
    for (name, members) in doors(backends, &addresses) {
        for at in members {
            derived[at].push(label(DomainKind::Address, &name, LabelSource::EqualAddresses));
        }
    }
    derived
}

fn label(kind: DomainKind, value: &str, from: LabelSource) -> DerivedLabel {
    DerivedLabel { kind, value: value.into(), from }
}

/// Where a backend lies. What only some of its addresses have in common does not take it down as a whole: a
/// connection that fails goes to the next address.
fn places(addresses: &[IpAddr], ranges: &AddressRanges, labels: &mut Vec<DerivedLabel>) {
    let places: Vec<Place<'_>> = addresses.iter().map(|ip| ranges.find(*ip).unwrap_or_default()).collect();
    let Some(first) = places.first() else { return };
    let all_in = |part: fn(&Place<'_>) -> Option<String>| {
        part(first).filter(|wanted| places.iter().all(|place| part(place).as_ref() == Some(wanted)))
    };
    let cloud = all_in(|place| place.cloud.map(str::to_owned));
    let region = all_in(|place| Some(format!("{}/{}", place.cloud?, place.region?)));
    let edge = all_in(|place| place.edge.map(str::to_owned));
    let kinds = [(DomainKind::Cloud, cloud), (DomainKind::Region, region), (DomainKind::Edge, edge)];
    for (kind, name) in kinds {
        labels.extend(name.map(|name| label(kind, &name, LabelSource::AddressRanges)));
    }
}

/// Hosts and addresses that several backends have in common, with those backends; one for each set of them, by
/// the name of its host, else of its lowest address. Ports of this machine are tunnels and test nodes: what lies
/// behind them is what their labels say.
fn doors(backends: &[config::Backend], addresses: &[Vec<IpAddr>]) -> Vec<(String, Vec<usize>)> {
    let mut at_door: BTreeMap<(bool, String), Vec<usize>> = BTreeMap::new();
    let mut stands = |door: (bool, String), at: usize| {
        let members = at_door.entry(door).or_default();
        if members.last() != Some(&at) {
            members.push(at);
        }
    };
    for (at, backend) in backends.iter().enumerate() {
        let host = backend.url.host().to_ascii_lowercase();
        let is_name = host.parse::<IpAddr>().is_err();
        if is_name && host != "localhost" {
            stands((false, host), at);
        }
        for ip in addresses[at].iter().map(IpAddr::to_canonical).filter(|ip| !ip.is_loopback()) {
            stands((true, ip.to_string()), at);
        }
    }
    let mut doors: BTreeMap<Vec<usize>, String> = BTreeMap::new();
    for ((_, name), members) in at_door.into_iter().filter(|(_, members)| members.len() > 1) {
        doors.entry(members).or_insert(name);
    }
    doors.into_iter().map(|(members, name)| (name, members)).collect()
}

/// What is written and what was seen, where the two differ: one sentence each.
pub(super) fn contradictions(backends: &[config::Backend], derived: &[Vec<DerivedLabel>]) -> Vec<String> {
    let mut told = Vec::new();
    for (backend, derived) in backends.iter().zip(derived) {
        for (kind, written) in backend.domains() {
            let kind = DomainKind::named(&kind);
            let seen: Vec<&DerivedLabel> = derived.iter().filter(|label| label.kind == kind).collect();
            if seen.is_empty() || seen.iter().any(|label| *label.value == *written) {
                continue;
            }
            let names = seen.iter().map(|label| &*label.value).collect::<Vec<_>>().join(", ");
            let from = seen[0].from.name();
            told.push(format!(
                "{}: {} = {written} is written, and {from} say {names}; what is written counts: correct it if it is wrong",
                backend.name,
                kind.name()
            ));
        }
    }
    told
}

/// The fleet of a chain as its configuration says, with what follows from that alone.
pub(super) fn fleet(chain: &config::Chain, ranges: &AddressRanges) -> Fleet {
    let mut fleet = Fleet::new(chain.backends.iter().map(super::chain::spec).collect());
    for (at, backend) in chain.backends.iter().enumerate() {
        if backend.cordoned
            && let Some(index) = fleet.index(at)
        {
            fleet.set_cordoned(index, true);
        }
    }
    fleet.learn_labels(crate::policy::Timestamp::ZERO, &derive(&chain.backends, &[], ranges));
    fleet
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::config::{BackendBuilder, ChainBuilder, Config};
    use crate::upstream::{Answer, Dns, Resolve, Resolving, Tls};

    fn config(backends: Vec<BackendBuilder>, ranges: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ranges");
        std::fs::write(&file, ranges).expect("it is written");
        let chain = backends.into_iter().fold(ChainBuilder::new("mainnet"), ChainBuilder::backend);
        let builder = Config::builder().listen("127.0.0.1:0").chain(chain);
        builder.address_ranges(file.to_string_lossy()).build().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn at(addresses: &[&str]) -> Seen {
        let addresses = addresses.iter().map(|a| a.parse().expect("an address")).collect();
        Seen { addresses, marks: Vec::new() }
    }

    fn told(derived: &[Vec<DerivedLabel>]) -> Vec<Vec<String>> {
        let one = |label: &DerivedLabel| format!("{}:{}", label.kind.name(), label.value);
        derived.iter().map(|labels| labels.iter().map(one).collect()).collect()
    }

    const RANGES: &str = "# cloud: aws\n# region: us-east-1\n192.0.2.0/25\n2001:db8:1::/48\n# region: us-west-2\n192.0.2.128/25\n# edge: cloudflare\n198.51.100.0/24\n";

    #[test]
    fn a_backend_lies_where_all_of_its_addresses_lie() {
        let table: [(&[&str], &[&str]); 7] = [
            (&["192.0.2.1"], &["cloud:aws", "region:aws/us-east-1"]),
            (&["192.0.2.1", "2001:db8:1::7"], &["cloud:aws", "region:aws/us-east-1"]),
            // It survives the loss of either region, and not that of the cloud.
            (&["192.0.2.1", "192.0.2.129"], &["cloud:aws"]),
            (&["192.0.2.1", "203.0.113.1"], &[]),
            (&["198.51.100.1", "198.51.100.2"], &["edge:cloudflare"]),
            (&["203.0.113.1"], &[]),
            (&[], &[]),
        ];
        let config = config(vec![BackendBuilder::new("a", "https://a.example")], RANGES);
        for (addresses, expected) in table {
            let seen = [at(addresses)];
            let derived = derive(&config.chains[0].backends, &seen, &config.routing.address_ranges);
            assert_eq!(told(&derived), [expected], "{addresses:?}");
        }
    }

    #[test]
    fn o6_equal_hosts_and_equal_addresses_are_one_door_and_ports_of_this_machine_are_not() {
        let backends =
            ["https://x.example/1", "https://X.example/2", "https://y.example", "https://z.example"]
                .iter()
                .chain(&[
                    "http://127.0.0.1:1",
                    "http://127.0.0.1:2",
                    "http://localhost:3",
                    "http://localhost:4",
                ])
                .enumerate()
                .map(|(n, url)| BackendBuilder::new(format!("b{n}"), *url));
        let config = config(backends.collect(), RANGES);
        let backends = &config.chains[0].backends;
        let door = |name: &str| vec![format!("address:{name}")];
        let unresolved = told(&derive(backends, &[], &AddressRanges::default()));
        assert_eq!(unresolved[..3], [door("x.example"), door("x.example"), vec![]]);
        assert!(unresolved[4..].iter().all(Vec::is_empty), "{unresolved:?}");
        // Whatever the names: two of four addresses are the same, and so is an IPv4 address in IPv6 clothes.
        let mut seen = vec![Seen::default(); 8];
        seen[2] = at(&["203.0.113.1", "203.0.113.2", "203.0.113.9"]);
        seen[3] = at(&["203.0.113.2", "::ffff:203.0.113.1"]);
        seen[4] = at(&["127.0.0.1"]);
        seen[5] = at(&["127.0.0.1"]);
        let resolved = told(&derive(backends, &seen, &AddressRanges::default()));
        assert_eq!(
            resolved[2..6],
            [door("203.0.113.1"), door("203.0.113.1"), vec![], vec![]],
            "once, though two are shared"
        );
    }

    #[test]
    fn an_address_in_the_url_needs_no_look_up() {
        let config = config(vec![BackendBuilder::new("a", "https://192.0.2.1")], RANGES);
        let fleet = fleet(&config.chains[0], &config.routing.address_ranges);
        let labels = &fleet.backend(fleet.index(0).expect("one")).spec().labels;
        assert_eq!(labels.get(&DomainKind::Region), Some("aws/us-east-1"));
    }

    #[test]
    fn what_is_written_and_what_is_seen_are_held_against_each_other() {
        let backend = |name: &str| BackendBuilder::new(name, format!("https://{name}.example"));
        let backends = vec![
            backend("wrong").cloud("gcp"),
            backend("right").cloud("AWS").region("us-east-1"),
            backend("moved").cloud("aws").region("us-west-2"),
            backend("open"),
        ];
        let config = config(backends, RANGES);
        let backends = &config.chains[0].backends;
        let seen = vec![at(&["192.0.2.1"]); 4];
        let told = contradictions(backends, &derive(backends, &seen, &config.routing.address_ranges));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("wrong: cloud = gcp is written, and address ranges say aws; "),
            "{told:?}"
        );
        assert!(
            told[1].starts_with(
                "moved: region = aws/us-west-2 is written, and address ranges say aws/us-east-1; "
            ),
            "{told:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn h2_labels_follow_a_name_that_moves_and_headers_that_are_seen() {
        // Loopback, since the addresses are connected to; nobody listens at port 1.
        let ranges = "# cloud: aws\n127.0.0.1/32\n# cloud: gcp\n127.0.0.2/32\n";
        let config = config(vec![BackendBuilder::new("a", "http://a.test:1")], ranges);
        let says = Arc::new(Mutex::new("127.0.0.1"));
        let dns = Arc::new(Dns::with(Moving(says.clone())));
        let tls = Arc::new(Tls::new(&crate::upstream::Roots::Webpki).expect("built in"));
        let settings = config.chains[0].clone();
        let links =
            settings.backends.iter().map(|b| super::super::link(b, &config.routing, &tls, &dns)).collect();
        let known = super::super::known::Known::new(0, &Default::default(), false, false);
        let chain = Arc::new(Chain::new(settings, &config, links, Arc::default(), (None, &[]), known));
        let kept = tokio::spawn(keep(chain.clone(), dns.moves()));
        let backend = chain.decide().fleet.index(0).expect("one backend");
        let derived = || {
            let decider = chain.decide();
            let labels = &decider.fleet.backend(backend).spec().labels;
            labels.derived().map(|(kind, value, _)| format!("{}:{value}", kind.name())).collect::<Vec<_>>()
        };
        assert_eq!(derived(), [""; 0]);
        chain.link(backend).upstream.warm();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(derived(), ["cloud:aws"]);
        *says.lock().expect("no holder panics") = "127.0.0.2";
        sleep(3 * crate::upstream::REFRESH_AFTER).await;
        assert_eq!(derived(), ["cloud:gcp"]);
        let mut answer = Answer {
            status: 200,
            headers: [(http::HeaderName::from_static("cf-ray"), http::HeaderValue::from_static("1"))]
                .into_iter()
                .collect(),
            body: bytes::Bytes::new(),
            version: http::Version::HTTP_11,
            reused: true,
            repeated: false,
            remote: None,
        };
        chain.saw(backend, &answer);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(derived(), ["cloud:gcp"], "only the first answer of a connection is looked at");
        answer.reused = false;
        chain.saw(backend, &answer);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(derived(), ["cloud:gcp", "edge:cloudflare"]);
        kept.abort();
    }

    struct Moving(Arc<Mutex<&'static str>>);

    impl Resolve for Moving {
        fn resolve(&self, _: &str) -> Resolving {
            let address = self.0.lock().expect("no holder panics").parse();
            Box::pin(async move { Ok(vec![address.map_err(std::io::Error::other)?]) })
        }
    }
}
