//! Who may set client addresses: the networks whose peers are believed.
//!
//! Not an access list: a peer outside is not refused here, its word is only not taken (what happens
//! to it is the listener's `untrusted`). Invariant: [`Networks`] is never empty, and its two lists
//! are sorted, disjoint and free of host bits, so a look-up is one binary search.
//!
//! A v4-mapped peer (`::ffff:192.0.2.1`) is its IPv4 address, so it matches IPv4 networks and no
//! IPv6 one: `::/0` believes every IPv6 peer and nobody else.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The start line names this many networks and counts the rest: a line is bounded.
const NETWORKS_SHOWN_MAX: usize = 8;

/// The prefix under which IPv4 addresses are mapped, `::ffff:0:0/96`.
const MAPPED_PREFIX_LEN: u8 = 96;

/// Whose word about client addresses is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Everybody's: whoever can connect can be any client.
    Any,
    /// That of peers in these networks.
    Networks(Networks),
}

/// A non-empty, aggregated set of networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

/// Why a text names no trusted networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The list is empty: nobody could ever be believed.
    #[error("the list of trusted networks is empty")]
    Empty,
    /// One entry is neither a network nor an address.
    #[error("`{0}` is neither a network (10.0.0.0/8) nor an address (10.0.0.7)")]
    Network(String),
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

impl Networks {
    /// Sorts and aggregates `networks`; host bits are dropped, v4-mapped networks become IPv4.
    ///
    /// # Errors
    ///
    /// [`TrustError::Empty`] for an empty list.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Result<Self, TrustError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match unmapped(network) {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        if v4.is_empty() && v6.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) })
    }

    /// Whether one of the networks holds `peer`.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match peer.to_canonical() {
            IpAddr::V4(addr) => {
                let after = self.v4.partition_point(|network| network.network() <= addr);
                self.v4[..after].last().is_some_and(|network| network.contains(&addr))
            }
            IpAddr::V6(addr) => {
                let after = self.v6.partition_point(|network| network.network() <= addr);
                self.v6[..after].last().is_some_and(|network| network.contains(&addr))
            }
        }
    }

    /// The networks, IPv4 first, each family in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().copied().map(IpNet::V4);
        v4.chain(self.v6.iter().copied().map(IpNet::V6))
    }
}

/// Reads one entry of a trust list: a network, or an address that stands for itself alone.
/// Host bits are kept, so that a caller can say that they mean nothing.
///
/// # Errors
///
/// [`TrustError::Network`] with the text.
pub fn parse_network(text: &str) -> Result<IpNet, TrustError> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| TrustError::Network(text.to_owned()))
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: no peer would match it otherwise.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let Some(addr) = v6.addr().to_ipv4_mapped() else { return network };
    let Some(prefix_len) = v6.prefix_len().checked_sub(MAPPED_PREFIX_LEN) else { return network };
    Ipv4Net::new(addr, prefix_len).map_or(network, IpNet::V4)
}

/// `any`, or networks and addresses with commas between them.
impl FromStr for Trust {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
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
        match self {
            Self::Any => f.write_str("any"),
            Self::Networks(networks) => networks.fmt(f),
        }
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.iter().take(NETWORKS_SHOWN_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Shortest(network))?;
        }
        match (self.v4.len() + self.v6.len()).saturating_sub(NETWORKS_SHOWN_MAX) {
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| parse_network(text).unwrap())).unwrap()
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn any_believes_both_families() {
        assert!(Trust::Any.contains(addr("192.0.2.1")) && Trust::Any.contains(addr("2001:db8::1")));
    }

    #[test]
    fn a_network_holds_its_first_and_last_address_and_neither_neighbour() {
        let trust = networks(&["10.1.0.0/16", "fd00::/8"]);
        for inside in ["10.1.0.0", "10.1.255.255", "fd00::", "fdff:ffff::1"] {
            assert!(trust.contains(addr(inside)), "{inside}");
        }
        for outside in ["10.0.255.255", "10.2.0.0", "fcff::1", "fe00::1", "::1", "0.0.0.0"] {
            assert!(!trust.contains(addr(outside)), "{outside}");
        }
    }

    #[test]
    fn a_bare_address_is_itself_alone() {
        let trust = networks(&["192.0.2.7"]);
        assert!(trust.contains(addr("192.0.2.7")));
        assert!(!trust.contains(addr("192.0.2.6")) && !trust.contains(addr("192.0.2.8")));
        assert_eq!(trust.to_string(), "192.0.2.7");
    }

    #[test]
    fn v4_mapped_peers_match_ipv4_networks_and_no_ipv6_network() {
        assert!(networks(&["10.0.0.0/8"]).contains(addr("::ffff:10.2.3.4")));
        assert!(!networks(&["::/0"]).contains(addr("::ffff:10.2.3.4")));
        assert!(!networks(&["::/0"]).contains(addr("10.2.3.4")));
    }

    #[test]
    fn a_v4_mapped_network_is_the_ipv4_network() {
        assert_eq!(networks(&["::ffff:10.0.0.0/104"]), networks(&["10.0.0.0/8"]));
        assert_eq!(networks(&["::ffff:10.0.0.1"]), networks(&["10.0.0.1"]));
    }

    #[test]
    fn neighbours_are_joined_and_host_bits_dropped() {
        let trust = networks(&["10.0.1.9/24", "10.0.0.0/24", "10.0.0.128/25"]);
        assert_eq!(trust.to_string(), "10.0.0.0/23");
    }

    #[test]
    fn the_whole_of_a_family_is_held_and_called_everybody() {
        for all in ["0.0.0.0/0", "::/0"] {
            assert!(Trust::Networks(networks(&[all])).is_everybody(), "{all}");
        }
        let halves = networks(&["0.0.0.0/1", "128.0.0.0/1"]);
        assert!(Trust::Networks(halves.clone()).is_everybody());
        assert!(halves.contains(addr("255.255.255.255")) && halves.contains(addr("0.0.0.0")));
        assert!(!Trust::Networks(networks(&["10.0.0.0/8"])).is_everybody());
    }

    #[test]
    fn an_empty_list_and_a_bad_entry_are_errors() {
        assert_eq!("".parse::<Trust>(), Err(TrustError::Empty));
        assert_eq!("10.0.0.0/8,x".parse::<Trust>(), Err(TrustError::Network("x".into())));
        for bad in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "010.0.0.1", "any", "web"] {
            assert_eq!(parse_network(bad), Err(TrustError::Network(bad.into())), "{bad}");
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
        let shown = Networks::new(many).unwrap().to_string();
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

    fn any_network() -> impl Strategy<Value = IpNet> {
        // Few leading bits, so that networks overlap, touch and hold each other's addresses.
        let v4 = (0..16u32, 0..=32u8).prop_map(|(bits, len)| {
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits << 28 | bits), len).unwrap())
        });
        let v6 = (0..16u128, 0..=128u8).prop_map(|(bits, len)| {
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(bits << 124 | bits), len).unwrap())
        });
        prop_oneof![v4, v6]
    }

    fn any_peer() -> impl Strategy<Value = IpAddr> {
        let v4 = (0..16u32, 0..16u32).prop_map(|(high, low)| Ipv4Addr::from_bits(high << 28 | low));
        let v6 = (0..16u128, 0..16u128).prop_map(|(h, l)| Ipv6Addr::from_bits(h << 124 | l));
        prop_oneof![v4.prop_map(IpAddr::V4), v6.prop_map(IpAddr::V6)]
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_asking_every_network(
            list in prop::collection::vec(any_network(), 1..12),
            peer in any_peer(),
        ) {
            let naive = list.iter().any(|network| network.contains(&peer));
            prop_assert_eq!(Networks::new(list).unwrap().contains(peer), naive);
        }

        #[test]
        fn aggregating_twice_changes_nothing(list in prop::collection::vec(any_network(), 1..12)) {
            let once = Networks::new(list).unwrap();
            prop_assert_eq!(Networks::new(once.iter()).unwrap(), once);
        }
    }
}
