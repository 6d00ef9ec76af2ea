//! Those whose word counts: everybody, or the peers in some networks.
//!
//! Not an access list: a peer outside is not refused here, its word is only not taken.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::networks::{NetworkError, Networks, parse_network};

/// So many networks are shown and the rest is counted: a line is bounded.
const NETWORKS_SHOWN_MAX: usize = 8;

/// Whose word about client addresses is taken.
///
/// It is read as `any` alone, or as networks and addresses with commas between them. What it is shown as
/// is bounded: at most eight networks, and how many more there are.
///
/// ```
/// use pptrust::Peers;
///
/// let balancers: Peers = "10.0.1.9/24, fd00::1".parse()?;
/// assert!(balancers.contains("10.0.1.7".parse().unwrap()) && !balancers.is_everybody());
/// assert_eq!(balancers.to_string(), "10.0.1.0/24, fd00::1");
/// assert!("any".parse::<Peers>()?.is_everybody());
/// # Ok::<(), pptrust::NetworkError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everybody's: whoever can connect can be any client.
    Any,
    /// That of peers in these networks.
    Networks(Networks),
    /// Nobody's who has an address.
    Nobody,
}

impl Peers {
    /// Whether `peer` is believed.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Networks(networks) => networks.contains(peer),
            Self::Nobody => false,
        }
    }

    /// Whether all of IPv4 or all of IPv6 is believed, by word or by a list that says the same.
    pub fn is_everybody(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Networks(networks) => networks.iter().any(|network| network.prefix_len() == 0),
            Self::Nobody => false,
        }
    }
}

impl FromStr for Peers {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text.trim() == "any" {
            return Ok(Self::Any);
        }
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks = entries.map(parse_network).collect::<Result<Vec<_>, _>>()?;
        Networks::new(networks).map(Self::Networks)
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = match self {
            Self::Any => return f.write_str("any"),
            Self::Networks(networks) => networks,
            Self::Nobody => return f.write_str("nobody"),
        };
        for (index, network) in networks.iter().take(NETWORKS_SHOWN_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Shortest(network))?;
        }
        match networks.iter().count().saturating_sub(NETWORKS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// A network as people write it: a single address without its `/32` or `/128`.
///
/// ```
/// use pptrust::{Shortest, parse_network};
///
/// assert_eq!(Shortest(parse_network("192.0.2.7/32")?).to_string(), "192.0.2.7");
/// # Ok::<(), pptrust::NetworkError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Shortest(pub IpNet);

impl fmt::Display for Shortest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

/// Whether strangers can reach a socket bound to `addr`: anything but loopback, link-local and the
/// private ranges; the wildcard counts, since it includes whatever address the host is given.
///
/// ```
/// assert!(pptrust::is_public([0, 0, 0, 0].into()) && !pptrust::is_public([10, 0, 0, 1].into()));
/// ```
pub fn is_public(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(addr) => !(addr.is_loopback() || addr.is_private() || addr.is_link_local()),
        IpAddr::V6(addr) => {
            !(addr.is_loopback() || addr.is_unique_local() || addr.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(texts: &[&str]) -> Peers {
        let networks = texts.iter().map(|text| parse_network(text).unwrap());
        Peers::Networks(Networks::new(networks).unwrap())
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn any_believes_both_families() {
        assert!(Peers::Any.contains(addr("192.0.2.1")) && Peers::Any.contains(addr("2001:db8::1")));
    }

    #[test]
    fn a_bare_address_is_itself_alone() {
        let peers = peers(&["192.0.2.7"]);
        assert!(peers.contains(addr("192.0.2.7")));
        assert!(!peers.contains(addr("192.0.2.6")) && !peers.contains(addr("192.0.2.8")));
        assert_eq!(peers.to_string(), "192.0.2.7");
    }

    #[test]
    fn neighbours_are_joined_and_host_bits_dropped() {
        let joined = peers(&["10.0.1.9/24", "10.0.0.0/24", "10.0.0.128/25"]);
        assert_eq!(joined.to_string(), "10.0.0.0/23");
    }

    #[test]
    fn the_whole_of_a_family_is_held_and_called_everybody() {
        for all in ["0.0.0.0/0", "::/0"] {
            assert!(peers(&[all]).is_everybody(), "{all}");
        }
        let halves = peers(&["0.0.0.0/1", "128.0.0.0/1"]);
        assert!(halves.is_everybody());
        assert!(halves.contains(addr("255.255.255.255")) && halves.contains(addr("0.0.0.0")));
        assert!(!peers(&["10.0.0.0/8"]).is_everybody());
    }

    #[test]
    fn an_empty_list_and_a_bad_entry_are_errors() {
        assert_eq!("".parse::<Peers>(), Err(NetworkError::Empty));
        assert_eq!("10.0.0.0/8,x".parse::<Peers>(), Err(NetworkError::Invalid("x".into())));
        for bad in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "010.0.0.1", "any", "web"] {
            assert_eq!(parse_network(bad), Err(NetworkError::Invalid(bad.into())), "{bad}");
        }
    }

    #[test]
    fn the_flag_form_reads_any_and_comma_lists() {
        assert_eq!("any".parse::<Peers>(), Ok(Peers::Any));
        let list = "10.0.0.0/8, fd00::1".parse::<Peers>().unwrap();
        assert_eq!(list.to_string(), "10.0.0.0/8, fd00::1");
    }

    #[test]
    fn a_long_list_is_shown_bounded() {
        let many = (0..20u8).map(|n| IpNet::from(IpAddr::from([10, n, 0, 1])));
        let shown = Peers::Networks(Networks::new(many).unwrap()).to_string();
        assert!(shown.ends_with("10.7.0.1 and 12 more"), "{shown}");
    }

    #[test]
    fn private_and_loopback_addresses_are_not_public() {
        for public in ["0.0.0.0", "::", "203.0.113.9", "2001:db8::1", "172.32.0.1"] {
            assert!(is_public(addr(public)), "{public}");
        }
        for inside in ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.1", "::1", "fd00::1"] {
            assert!(!is_public(addr(inside)), "{inside}");
        }
    }
}
