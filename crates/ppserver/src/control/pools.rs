//! The pools, as the control plane knows them: what is known of each endpoint, by its upstream's name and its address,
//! through reloads and over all workers.
//!
//! Invariant: there is one [`Shared`] for an endpoint as long as a worker or a configuration has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::core::pool::Pool;
use crate::core::pool::balance::Balance;
use crate::core::pool::endpoint::{Endpoint, Member, Shared};

/// An endpoint's name: its upstream's, and its address.
type Name = (String, SocketAddr);

/// What is known of all endpoints.
#[derive(Debug)]
pub(super) struct Pools {
    workers: usize,
    endpoints: BTreeMap<Name, Arc<Shared>>,
}

impl Pools {
    /// Begins for so many workers.
    pub(super) const fn new(workers: usize) -> Self {
        Self { workers, endpoints: BTreeMap::new() }
    }

    /// Returns what the upstreams of a configuration, with these members, are to be.
    pub(super) fn follow(&mut self, config: &Config, members: Vec<Vec<Member>>) -> Vec<Pool> {
        let pools = config.upstreams.iter().zip(members);
        let pools = pools.map(|(upstream, members)| self.pool(upstream, members)).collect();
        // Others are held by connections only, or by nobody.
        self.endpoints.retain(|_, shared| Arc::strong_count(shared) > 1);
        pools
    }

    fn pool(&mut self, upstream: &config::Upstream, members: Vec<Member>) -> Pool {
        let workers = self.workers;
        let endpoint = |member: Member| {
            let name = (upstream.name.clone(), member.addr);
            let shared = self.endpoints.entry(name);
            let shared = shared.or_insert_with(|| Arc::new(Shared::new(workers)));
            Endpoint { member, shared: Arc::clone(shared) }
        };
        Pool {
            endpoints: members.into_iter().map(endpoint).collect(),
            attempts_max: 1 + upstream.retries,
            failures_max: 0,
            balance: Balance::RoundRobin,
        }
    }
}
