//! A set of networks, and whether it holds an address.
//!
//! Not an access list: what a peer inside or outside may do is its owner's to say. Invariant: a
//! [`Networks`] is never empty, and its two lists are sorted, disjoint and free of host bits, so a
//! look-up is one binary search.
//!
//! A v4-mapped peer (`::ffff:192.0.2.1`) is its IPv4 address, so it matches IPv4 networks and no
//! IPv6 one: `::/0` holds every IPv6 peer and nobody else.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The prefix under which IPv4 addresses are mapped, `::ffff:0:0/96`.
const MAPPED_PREFIX_LEN: u8 = 96;

/// A non-empty, aggregated set of networks.
///
/// ```
/// use pptrust::{NetworkError, Networks, parse_network};
///
/// let networks = Networks::new([parse_network("10.0.0.0/9")?, parse_network("10.128.0.0/9")?])?;
/// assert!(networks.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert_eq!(networks.iter().next(), Some("10.0.0.0/8".parse().unwrap()));
/// assert!(networks.covers(&Networks::new([parse_network("10.2.0.0/16")?])?));
/// assert_eq!(parse_network("10/8"), Err(NetworkError::Invalid("10/8".to_owned())));
/// # Ok::<(), NetworkError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

/// Why a text names no trusted networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The list is empty: nobody could ever be believed.
    #[error("the list of trusted networks is empty")]
    Empty,
    /// One entry is neither a network nor an address.
    #[error("`{0}` is neither a network (10.0.0.0/8) nor an address (10.0.0.7)")]
    Invalid(String),
}

impl Networks {
    /// Sorts and aggregates `networks`; host bits are dropped, v4-mapped networks become IPv4.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Empty`] for an empty list.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Result<Self, NetworkError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match unmapped(network) {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        if v4.is_empty() && v6.is_empty() {
            return Err(NetworkError::Empty);
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

    /// Whether every address that `other` holds is held here too.
    pub fn covers(&self, other: &Self) -> bool {
        // Both are aggregated, so that one network of ours must hold each of theirs whole.
        let covers_v4 = |it: &Ipv4Net| {
            let after = self.v4.partition_point(|network| network.network() <= it.network());
            self.v4[..after].last().is_some_and(|network| network.contains(it))
        };
        let covers_v6 = |it: &Ipv6Net| {
            let after = self.v6.partition_point(|network| network.network() <= it.network());
            self.v6[..after].last().is_some_and(|network| network.contains(it))
        };
        other.v4.iter().all(covers_v4) && other.v6.iter().all(covers_v6)
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
/// [`NetworkError::Invalid`] with the text.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| NetworkError::Invalid(text.to_owned()))
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`: no peer would match it otherwise.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let Some(addr) = v6.addr().to_ipv4_mapped() else { return network };
    let Some(prefix_len) = v6.prefix_len().checked_sub(MAPPED_PREFIX_LEN) else { return network };
    Ipv4Net::new(addr, prefix_len).map_or(network, IpNet::V4)
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
        fn a_set_covers_another_if_joining_both_changes_nothing(
            list in prop::collection::vec(any_network(), 1..12),
            other in prop::collection::vec(any_network(), 1..3),
        ) {
            let (list, other) = (Networks::new(list).unwrap(), Networks::new(other).unwrap());
            let joined = Networks::new(list.iter().chain(other.iter())).unwrap();
            prop_assert_eq!(list.covers(&other), joined == list);
        }

        #[test]
        fn aggregating_twice_changes_nothing(list in prop::collection::vec(any_network(), 1..12)) {
            let once = Networks::new(list).unwrap();
            prop_assert_eq!(Networks::new(once.iter()).unwrap(), once);
        }
    }
}
