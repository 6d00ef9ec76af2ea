//! The addresses of this host, by the tables that the kernel shows in /proc.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// A router's table of routes goes far beyond it, and is not worth the time.
const TABLE_BYTES_MAX: u64 = 4 << 20;

/// Returns what the tables say, loopback and all; an empty list if they are not to be had.
pub(super) fn networks() -> Vec<IpNet> {
    let v4 = read("/proc/net/fib_trie").unwrap_or_default();
    let v6 = read("/proc/net/if_inet6").unwrap_or_default();
    let v4 = v4_networks(&v4).map(IpNet::V4);
    v4.chain(v6_addrs(&v6).map(|addr| IpNet::from(IpAddr::V6(addr)))).collect()
}

fn read(path: &str) -> io::Result<String> {
    let mut table = String::new();
    File::open(path)?.take(TABLE_BYTES_MAX).read_to_string(&mut table)?;
    Ok(table)
}

/// What the trie of routes calls LOCAL: a line has the address, one below it the prefix and the kind.
fn v4_networks(trie: &str) -> impl Iterator<Item = Ipv4Net> {
    let mut addr = Ipv4Addr::UNSPECIFIED;
    trie.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            addr = leaf.parse().ok()?;
            return None;
        }
        let prefix_len = line.strip_prefix('/')?.strip_suffix(" host LOCAL")?;
        Ipv4Net::new(addr, prefix_len.parse().ok()?).ok()
    })
}

/// The first column of proc(5)'s if_inet6: 32 hexadecimal digits.
fn v6_addrs(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    table.lines().filter_map(|line| {
        let bits = u128::from_str_radix(line.split(' ').next()?, 16).ok()?;
        Some(Ipv6Addr::from_bits(bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
";

    #[test]
    fn local_networks_are_told_from_routes_and_broadcast() {
        let found: Vec<_> = v4_networks(FIB_TRIE).map(|network| network.to_string()).collect();
        assert_eq!(found, ["127.0.0.0/8", "127.0.0.1/32", "192.0.2.2/32"]);
    }

    #[test]
    fn an_address_is_the_first_column_of_its_line() {
        let table = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
        let found: Vec<_> = v6_addrs(table).collect();
        assert_eq!(found, ["fe80::fc:ff:fe00:1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn this_host_has_its_own_addresses_and_not_those_of_documentation() {
        let networks = networks();
        let is_ours = |text: &str| {
            let addr: IpAddr = text.parse().unwrap();
            networks.iter().any(|network| network.contains(&addr))
        };
        assert!(is_ours("127.0.0.1"));
        // RFC 5737, TEST-NET-3, and RFC 3849.
        assert!(!is_ours("203.0.113.1") && !is_ours("2001:db8::1"));
    }
}
