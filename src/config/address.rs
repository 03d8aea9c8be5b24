//! Where the server listens, and whom it believes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Why an address cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not `address:port`.
    #[error(
        "is no address to listen on: write \"127.0.0.1:8545\", \"[::1]:8545\", \"localhost:8545\" or, for every interface, \"0.0.0.0:8545\""
    )]
    Listen,
    /// Not a network.
    #[error("is no network: write an address or a CIDR block, as \"10.0.0.0/8\" or \"fd00::/8\"")]
    Network,
}

/// Addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// These must work, or the server does not start.
    pub required: Vec<SocketAddr>,
    /// These are tried: the IPv6 side of `localhost`, which a machine may lack.
    pub if_possible: Vec<SocketAddr>,
}

impl Listen {
    /// The port that wallets expect a node on.
    pub const PORT: u16 = 8545;
    /// More addresses are not needed by anybody.
    pub const MAX: usize = 16;

    pub(super) fn merge(all: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = Self { required: Vec::new(), if_possible: Vec::new() };
        for listen in all {
            merged.required.extend(listen.required);
            merged.if_possible.extend(listen.if_possible);
        }
        merged.if_possible.retain(|address| !merged.required.contains(address));
        merged
    }

    /// Every address.
    pub fn all(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.required.iter().chain(&self.if_possible).copied()
    }

    /// Whether nobody outside this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.all().all(|address| address.ip().is_loopback())
    }
}

impl Default for Listen {
    /// `localhost:8545`: browsers resolve `localhost` to `[::1]` first, libraries to `127.0.0.1`.
    fn default() -> Self {
        Self::localhost(Self::PORT)
    }
}

impl Listen {
    fn localhost(port: u16) -> Self {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        Self {
            required: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            // A port that the system chooses would be another one there.
            if_possible: if port == 0 { Vec::new() } else { vec![v6] },
        }
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    /// Reads `127.0.0.1:8545`, `[::1]:8545` or `localhost:8545` (both sides of loopback).
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(port) = text.strip_prefix("localhost:") {
            return port.parse().map(Self::localhost).map_err(|_| AddressError::Listen);
        }
        let address = text.parse().map_err(|_| AddressError::Listen)?;
        Ok(Self { required: vec![address], if_possible: Vec::new() })
    }
}

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The block of this prefix length around an address; `None` where the address has fewer bits.
    pub(super) fn around(ip: IpAddr, prefix: u8) -> Option<Self> {
        let address = match ip {
            IpAddr::V4(ip) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, prefix })
    }

    /// Any address of it.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all of its addresses have in common.
    pub(super) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address lies in it; an IPv4 address mapped into IPv6 counts as itself.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.address.is_ipv4() == ip.is_ipv4()
            && Self::around(ip, self.prefix) == Self::around(self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = AddressError;

    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| AddressError::Network)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(p) if !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) => {
                p.parse().map_err(|_| AddressError::Network)?
            }
            Some(_) => return Err(AddressError::Network),
        };
        if prefix > longest { Err(AddressError::Network) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_both_sides_of_loopback_and_an_address_is_itself() {
        let listen: Listen = "localhost:8545".parse().unwrap();
        assert_eq!(listen, Listen::default());
        assert_eq!(listen.all().count(), 2);
        assert!(listen.is_loopback());
        let listen: Listen = "127.0.0.1:9000".parse().unwrap();
        assert_eq!(listen.all().count(), 1);
        assert_eq!("localhost:0".parse::<Listen>().unwrap().all().count(), 1);
        assert!(!"0.0.0.0:8545".parse::<Listen>().unwrap().is_loopback());
        for text in ["", "8545", ":8545", "127.0.0.1", "example.org:80", "127.0.0.1:99999", "::1:8545x"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.8", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
        ];
        for (network, ip, inside) in table {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), inside, "{network:?} {ip}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "fd00::/129", "host/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
