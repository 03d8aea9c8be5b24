//! Whose an address is: the lists of addresses that clouds and CDNs publish, and the longest match in them.

mod formats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::address::Network;

/// The largest list known, Azure's, has about 5 MB.
pub const RANGES_BYTES_MAX: usize = 32 << 20;
/// Networks of all files together. AWS publishes some 15 000, Azure with all its services some 100 000.
pub const NETWORKS_MAX: usize = 400_000;
/// Different places of all files together: each is a cloud's region or an edge.
const PLACES_MAX: usize = 4096;
/// Characters of a name that becomes a label.
const NAME_MAX: usize = 64;

/// Why a list of addresses cannot be used. The text reads `is wrong: mend it so`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RangesError {
    /// There is no such file, or it may not be read.
    #[error("cannot be read ({0}): name the file as it was downloaded, or remove it from address_ranges")]
    Unreadable(std::io::Error),
    /// A folder, a pipe or a device.
    #[error("is no ordinary file: download the list, and name the file")]
    NoFile,
    /// Larger than any list that is published.
    #[error("has more than {RANGES_BYTES_MAX} bytes: leave the ranges of the clouds that are used")]
    TooLarge,
    /// The files hold more networks together than is plausible.
    #[error("brings the networks to more than {NETWORKS_MAX}: leave the ranges of the clouds that are used")]
    TooMany,
    /// More names of regions and edges than clouds have.
    #[error("brings the regions and edges to more than {PLACES_MAX}: leave the clouds that are used")]
    TooManyPlaces,
    /// Bytes that are no text.
    #[error("is not UTF-8 text from line {0} on: download it again")]
    NoText(usize),
    /// Begins like JSON and is none.
    #[error("is not whole JSON (line {line}, column {column}): download it again")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON of another kind.
    #[error(
        "is none of the lists known here: take ip-ranges.json of AWS, cloud.json of Google, ips-v4 and ips-v6 of Cloudflare, ServiceTags of Azure, public_ip_ranges.json of Oracle, public-ip-list of Fastly, or a text with one network a line"
    )]
    UnknownFormat,
    /// A text with networks that does not say whose they are.
    #[error(
        "does not say whose addresses it lists: begin it with a line such as `# edge: NAME`, or `# cloud: NAME` and `# region: NAME`"
    )]
    Nameless,
    /// An entry that is no network.
    #[error("has an entry that is no network ({0}): write CIDR blocks, as 10.0.0.0/8, or download it again")]
    NoNetwork(String),
    /// A network that every address lies in.
    #[error("has a network that every address lies in ({0}): remove it")]
    Everything(String),
    /// A name that cannot become a label.
    #[error(
        "has a name of more than {NAME_MAX} characters, or with some that do not print ({0}): shorten it"
    )]
    BadName(String),
    /// A list without entries.
    #[error("lists no networks: download it again")]
    Empty,
}

/// Where an address lies, as far as the lists tell. Names are lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place<'r> {
    /// Whose machines answer there.
    pub cloud: Option<&'r str>,
    /// Where, within that cloud.
    pub region: Option<&'r str>,
    /// The CDN that answers there; what lies behind it the address does not tell.
    pub edge: Option<&'r str>,
}

/// The lists of the configuration as one. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AddressRanges(Arc<Table>);

/// One map per prefix length: a look-up goes through the lengths that occur, some twenty, the longest first.
/// It is made when addresses of a backend change, which a trie would not be felt in.
#[derive(Default, PartialEq, Eq)]
struct Table {
    networks: HashMap<Network, u16>,
    places: Vec<Owned>,
    /// Lengths that occur, the longest first, for IPv4 and for IPv6.
    lengths: [Vec<u8>; 2],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Owned {
    cloud: Option<Box<str>>,
    region: Option<Box<str>>,
    edge: Option<Box<str>>,
}

impl AddressRanges {
    /// Where an address lies: the narrowest network that holds it. `None` where no list holds it.
    pub fn find(&self, address: IpAddr) -> Option<Place<'_>> {
        let address = address.to_canonical();
        let lengths = &self.0.lengths[usize::from(address.is_ipv6())];
        let at = lengths
            .iter()
            .find_map(|length| self.0.networks.get(&Network::around(address, *length)?))
            .copied()?;
        let place = self.0.places.get(usize::from(at))?;
        Some(Place {
            cloud: place.cloud.as_deref(),
            region: place.region.as_deref(),
            edge: place.edge.as_deref(),
        })
    }

    /// How many networks the lists hold.
    pub fn len(&self) -> usize {
        self.0.networks.len()
    }

    /// Whether there are no lists.
    pub fn is_empty(&self) -> bool {
        self.0.networks.is_empty()
    }
}

impl fmt::Debug for AddressRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressRanges").field("networks", &self.len()).finish()
    }
}

/// Puts lists together, one file after the other.
#[derive(Default)]
pub(super) struct Reader {
    table: Table,
    known: HashMap<Owned, u16>,
}

impl Reader {
    /// Reads one file.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), RangesError> {
        // A pipe would make the start wait for somebody who never writes.
        if !std::fs::metadata(path).map_err(RangesError::Unreadable)?.is_file() {
            return Err(RangesError::NoFile);
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(RANGES_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(RangesError::Unreadable)?;
        self.list(&bytes)
    }

    /// Reads one list.
    fn list(&mut self, bytes: &[u8]) -> Result<(), RangesError> {
        if bytes.len() > RANGES_BYTES_MAX {
            return Err(RangesError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            RangesError::NoText(memchr::memchr_iter(b'\n', before).count() + 1)
        })?;
        let before = self.table.networks.len();
        let mut entries = 0;
        formats::read(text.trim_start_matches('\u{feff}'), &mut |network, place| {
            entries += 1;
            self.add(network, place)
        })?;
        match entries {
            0 => Err(RangesError::Empty),
            _ => {
                tracing::debug!(entries, new = self.table.networks.len() - before, "a list of addresses");
                Ok(())
            }
        }
    }

    /// One list names a network several times, once for each service in it, and two lists may name the same.
    fn add(&mut self, text: &str, place: Place<'_>) -> Result<(), RangesError> {
        let network: Network = text.parse().map_err(|_| RangesError::NoNetwork(shown(text)))?;
        if network.prefix() == 0 {
            return Err(RangesError::Everything(shown(text)));
        }
        // Published with or without the bits that do not count.
        let network = Network::around(network.address(), network.prefix())
            .ok_or_else(|| RangesError::NoNetwork(shown(text)))?;
        let mut merged =
            Owned { cloud: name(place.cloud)?, region: name(place.region)?, edge: name(place.edge)? };
        if let Some(known) = self.table.networks.get(&network)
            && let Some(known) = self.table.places.get(usize::from(*known))
        {
            let clash = known.cloud.is_some() && merged.cloud.is_some() && known.cloud != merged.cloud;
            merged = Owned {
                cloud: known.cloud.clone().or(merged.cloud),
                // A region of another cloud than the first one named says nothing of the first one's.
                region: known.region.clone().or(merged.region.filter(|_| !clash)),
                edge: known.edge.clone().or(merged.edge),
            };
        } else if self.table.networks.len() >= NETWORKS_MAX {
            return Err(RangesError::TooMany);
        }
        if merged.edge.is_some() {
            merged.region = None; // answered wherever the edge is nearest
        }
        let at = match self.known.get(&merged) {
            Some(at) => *at,
            None if self.table.places.len() >= PLACES_MAX => return Err(RangesError::TooManyPlaces),
            None => {
                let at = u16::try_from(self.table.places.len()).map_err(|_| RangesError::TooManyPlaces)?;
                self.table.places.push(merged.clone());
                self.known.insert(merged, at);
                at
            }
        };
        self.table.networks.insert(network, at);
        Ok(())
    }

    /// All lists that were read.
    pub(super) fn done(mut self) -> AddressRanges {
        for (is_v6, lengths) in [false, true].into_iter().zip(&mut self.table.lengths) {
            let of_family = self.table.networks.keys().filter(|n| n.address().is_ipv6() == is_v6);
            let occurring: BTreeSet<u8> = of_family.map(Network::prefix).collect();
            *lengths = occurring.into_iter().rev().collect();
        }
        AddressRanges(Arc::new(self.table))
    }
}

/// A name as it becomes a label.
fn name(name: Option<&str>) -> Result<Option<Box<str>>, RangesError> {
    let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
    let sound = name.chars().count() <= NAME_MAX && name.chars().all(|c| !c.is_control() && c != '"');
    if sound { Ok(Some(name.to_lowercase().into())) } else { Err(RangesError::BadName(shown(name))) }
}

/// A piece of a file in a message: short, on one line.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 44;
    let mut shown: String =
        text.trim().chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().count() > SHOWN_MAX {
        shown.push_str("...");
    }
    format!("`{shown}`")
}
