//! How one of a pool's endpoints is chosen.
//!
//! Not who may be chosen, which is for the pool to say.

use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::maglev::Maglev;

/// How an endpoint is chosen among those that may be.
#[derive(Clone, Debug)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight, over all workers.
    LeastConnections,
    /// The less loaded of two that are drawn.
    RandomOfTwo,
    /// By the client's address, the same on every node.
    SourceHash(Arc<Maglev>),
    /// The first.
    First,
}

impl Balance {
    /// By the client's address, over these endpoints of the pool of this name, in whatever order they stand. Backups
    /// have no clients of their own.
    pub fn source_hash(pool: &str, endpoints: &[Endpoint]) -> Self {
        let members = endpoints.iter().map(|endpoint| &endpoint.member);
        let mut sorted: Vec<_> = members.enumerate().collect();
        sorted.sort_by_key(|(_, member)| member.addr);
        let owners = sorted.iter().filter(|(_, member)| !member.is_backup);
        let owners = owners.map(|(at, member)| (*at, member.addr.to_string(), member.weight));
        Self::SourceHash(Arc::new(Maglev::new(pool, owners)))
    }
}

/// The bytes that tell a client, without its port; IPv4 in the clothes of IPv6 is IPv4.
pub(super) fn with_client<T>(client: IpAddr, act: impl FnOnce(&[u8]) -> T) -> T {
    match client.to_canonical() {
        IpAddr::V4(addr) => act(&addr.octets()),
        IpAddr::V6(addr) => act(&addr.octets()),
    }
}
