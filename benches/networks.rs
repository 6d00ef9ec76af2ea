//! Whether a list of networks holds an address, as long as the list may be: what each connection costs a rule on its
//! client. An address that is in none of them takes the longest.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use pptrust::{Networks, parse_network};

/// Every second /24, so that none can be joined with another.
fn networks(count: u32) -> Networks {
    let network = |at: u32| parse_network(&format!("{}/24", Ipv4Addr::from_bits(at << 9)));
    Networks::new((0..count).map(|at| network(at).expect("a network"))).expect("there is one")
}

fn contains(criterion: &mut Criterion) {
    let group = &mut criterion.benchmark_group("networks");
    for count in [1, 100, 10_000, 100_000] {
        let networks = networks(count);
        // Addresses all over the list, so that no look-up finds the way of the one before it in the cache.
        let addrs: Vec<IpAddr> = (0..4096u32)
            .map(|at| {
                Ipv4Addr::from_bits((at.wrapping_mul(2_654_435_761) % count) << 9 | 0x100).into()
            })
            .collect();
        assert!(!addrs.iter().any(|addr| networks.contains(*addr)));
        let mut next = addrs.iter().cycle();
        group.bench_function(count.to_string(), |bencher| {
            bencher.iter(|| networks.contains(*black_box(next.next().expect("it never ends"))));
        });
    }
}

criterion_group!(benches, contains);
criterion_main!(benches);
