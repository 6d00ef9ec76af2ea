//! Who may set client addresses: the networks whose peers are believed.
//!
//! Not an access list: a peer outside is not refused here, its word is only not taken (what happens
//! to it is the listener's `untrusted`). Which network holds which peer is ppnet's to say.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use ppnet::{NetworkError, Networks, parse_network};

/// The start line names this many networks and counts the rest: a line is bounded.
const NETWORKS_SHOWN_MAX: usize = 8;

/// Whose word about client addresses is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Everybody's: whoever can connect can be any client.
    Any,
    /// That of peers in these networks.
    Networks(Networks),
}

impl Trust {
    /// Whether `peer` is believed.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Networks(networks) => networks.contains(peer),
        }
    }

    /// Whether all of IPv4 or all of IPv6 is believed, by word or by a list that says the same.
    pub fn is_everybody(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Networks(networks) => networks.iter().any(|network| network.prefix_len() == 0),
        }
    }
}

/// `any` alone, or networks and addresses with commas between them.
impl FromStr for Trust {
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

/// For the start line: `any`, or at most eight networks and how many more there are.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Networks(networks) = self else { return f.write_str("any") };
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
pub(crate) fn is_public(addr: IpAddr) -> bool {
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

    fn trust(texts: &[&str]) -> Trust {
        let networks = texts.iter().map(|text| parse_network(text).unwrap());
        Trust::Networks(Networks::new(networks).unwrap())
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn any_believes_both_families() {
        assert!(Trust::Any.contains(addr("192.0.2.1")) && Trust::Any.contains(addr("2001:db8::1")));
    }

    #[test]
    fn a_bare_address_is_itself_alone() {
        let trust = trust(&["192.0.2.7"]);
        assert!(trust.contains(addr("192.0.2.7")));
        assert!(!trust.contains(addr("192.0.2.6")) && !trust.contains(addr("192.0.2.8")));
        assert_eq!(trust.to_string(), "192.0.2.7");
    }

    #[test]
    fn neighbours_are_joined_and_host_bits_dropped() {
        let joined = trust(&["10.0.1.9/24", "10.0.0.0/24", "10.0.0.128/25"]);
        assert_eq!(joined.to_string(), "10.0.0.0/23");
    }

    #[test]
    fn the_whole_of_a_family_is_held_and_called_everybody() {
        for all in ["0.0.0.0/0", "::/0"] {
            assert!(trust(&[all]).is_everybody(), "{all}");
        }
        let halves = trust(&["0.0.0.0/1", "128.0.0.0/1"]);
        assert!(halves.is_everybody());
        assert!(halves.contains(addr("255.255.255.255")) && halves.contains(addr("0.0.0.0")));
        assert!(!trust(&["10.0.0.0/8"]).is_everybody());
    }

    #[test]
    fn an_empty_list_and_a_bad_entry_are_errors() {
        assert_eq!("".parse::<Trust>(), Err(NetworkError::Empty));
        assert_eq!("10.0.0.0/8,x".parse::<Trust>(), Err(NetworkError::Invalid("x".into())));
        for bad in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "010.0.0.1", "any", "web"] {
            assert_eq!(parse_network(bad), Err(NetworkError::Invalid(bad.into())), "{bad}");
        }
    }

    #[test]
    fn the_flag_form_reads_any_and_comma_lists() {
        assert_eq!("any".parse::<Trust>(), Ok(Trust::Any));
        let list = "10.0.0.0/8, fd00::1".parse::<Trust>().unwrap();
        assert_eq!(list.to_string(), "10.0.0.0/8, fd00::1");
    }

    #[test]
    fn a_long_list_is_shown_bounded() {
        let many = (0..20u8).map(|n| IpNet::from(IpAddr::from([10, n, 0, 1])));
        let shown = Trust::Networks(Networks::new(many).unwrap()).to_string();
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
