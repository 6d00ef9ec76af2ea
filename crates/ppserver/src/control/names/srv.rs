//! What SRV records say (RFC 2782), as a pool has it.
//!
//! A pool has two tiers: who is chosen, and who is when no other is there. So the lowest priority is the first
//! tier and every other the second one, where the RFC has as many tiers as priorities: with a third one down,
//! a second, and a first one, the rest share what comes, which is better than to drop them. A weight of 0, which is
//! for records that are not to be weighed, is 1.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::found::{FOUND_MAX, Found, sorted};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Lower is better.
    pub(super) priority: u16,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) weight: u16,
}

/// Puts records in an order of their own, and drops those that nobody is behind: port 0, or the root as a host.
pub(super) fn usable(mut targets: Vec<Target>) -> Vec<Target> {
    targets.retain(|target| target.port != 0 && target.host != ".");
    targets.sort_unstable();
    targets.dedup();
    targets.truncate(FOUND_MAX);
    targets
}

/// Returns the endpoints that the targets stand for, by the addresses of their hosts, and how many there are too many.
pub(super) fn found(
    targets: &[Target],
    addrs: &BTreeMap<String, Vec<IpAddr>>,
) -> (Vec<Found>, usize) {
    // By who is there: a first tier without an address would leave nobody but the second.
    let has_addr =
        |target: &&Target| addrs.get(&target.host).is_some_and(|addrs| !addrs.is_empty());
    let first = targets.iter().filter(has_addr).map(|target| target.priority).min();
    let mut found = Vec::new();
    for target in targets {
        let is_backup = Some(target.priority) != first;
        for ip in addrs.get(&target.host).into_iter().flatten() {
            let addr = SocketAddr::new(*ip, target.port);
            // Targets come by priority: of two that are one endpoint the better stays.
            if !found.iter().any(|other: &Found| other.addr == addr) {
                found.push(Found { addr, weight: u32::from(target.weight).max(1), is_backup });
            }
        }
    }
    let excess = found.len().saturating_sub(FOUND_MAX);
    found.truncate(FOUND_MAX);
    (sorted(found), excess)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, host: &str, port: u16) -> Target {
        Target { priority, host: host.to_owned(), port, weight }
    }

    fn addrs(hosts: &[(&str, &[u8])]) -> BTreeMap<String, Vec<IpAddr>> {
        let ip = |last: &u8| IpAddr::from([192, 0, 2, *last]);
        let host = |(host, last): &(&str, &[u8])| {
            ((*host).to_owned(), last.iter().map(ip).collect::<Vec<_>>())
        };
        hosts.iter().map(host).collect()
    }

    fn shown(targets: Vec<Target>, hosts: &[(&str, &[u8])]) -> Vec<(String, u32, bool)> {
        let (found, excess) = found(&usable(targets), &addrs(hosts));
        assert_eq!(excess, 0);
        let shown = |found: Found| (found.addr.to_string(), found.weight, found.is_backup);
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn the_lowest_priority_comes_first_and_all_others_stand_by() {
        let targets = vec![
            target(30, 1, "c", 80),
            target(10, 5, "a", 80),
            target(20, 0, "b", 81),
            target(10, 0, "d", 80),
        ];
        let hosts: [(&str, &[u8]); 4] = [("a", &[1, 2]), ("b", &[3]), ("c", &[4]), ("d", &[5])];
        let expected = [
            ("192.0.2.1:80", 5, false),
            ("192.0.2.2:80", 5, false),
            ("192.0.2.3:81", 1, true),
            ("192.0.2.4:80", 1, true),
            ("192.0.2.5:80", 1, false),
        ];
        let expected = expected.map(|(addr, weight, backup)| (addr.to_owned(), weight, backup));
        assert_eq!(shown(targets, &hosts), expected);
    }

    #[test]
    fn a_tier_that_nobody_has_an_address_for_is_none() {
        let targets = vec![target(1, 1, "a", 80), target(2, 1, "b", 80)];
        assert_eq!(shown(targets, &[("b", &[1])]), [("192.0.2.1:80".to_owned(), 1, false)]);
    }

    #[test]
    fn one_endpoint_of_two_records_has_the_better_and_what_is_no_endpoint_is_left_out() {
        let targets = vec![
            target(2, 7, "b", 80),
            target(1, 3, "a", 80),
            target(1, 1, ".", 80),
            target(1, 1, "a", 0),
        ];
        let hosts: [(&str, &[u8]); 2] = [("a", &[1]), ("b", &[1])];
        assert_eq!(shown(targets, &hosts), [("192.0.2.1:80".to_owned(), 3, false)]);
    }

    #[test]
    fn there_are_at_most_so_many() {
        let targets = vec![target(1, 1, "a", 80), target(1, 1, "a", 81)];
        let many: Vec<IpAddr> = (0..200_u32).map(|at| IpAddr::V4((1 << 24 | at).into())).collect();
        let (found, excess) = found(&targets, &BTreeMap::from([("a".to_owned(), many)]));
        assert_eq!((found.len(), excess), (FOUND_MAX, 400 - FOUND_MAX));
    }
}
