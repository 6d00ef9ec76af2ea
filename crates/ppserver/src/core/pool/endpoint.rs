//! An endpoint: what it was asked to be, and what all workers and the control plane know of it.
//!
//! Invariant: each worker's load has one writer, that worker, or whoever cleans up behind its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::health::Health;
use super::ramp::{Ramp, WHOLE};
use crate::core::addr::Addr;

/// What an endpoint is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub addr: Addr,
    /// Its part of the connections, beside others' weights; 0 is none.
    pub weight: u32,
    /// Whether it is chosen only while no other is up.
    pub is_backup: bool,
    /// Connections of all workers at a time; 0 is no limit.
    pub connections_max: u64,
    /// The header that it is sent.
    pub header: HeaderSent,
}

/// The header that an endpoint is sent; what it says is for whoever composes it. A later one holds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderSent {
    /// None.
    Off,
    /// The text line.
    V1,
    /// Of datagrams: the Simple Proxy Protocol.
    Spp,
    /// The binary header.
    V2,
}

/// An endpoint of a pool.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What it is to be.
    pub member: Member,
    /// What everybody knows of it.
    pub shared: Arc<Shared>,
}

/// What all workers and the control plane know of an endpoint.
#[derive(Debug)]
pub struct Shared {
    /// Whether it gets new clients.
    pub health: Health,
    /// How much of its weight counts.
    pub ramp: Ramp,
    /// Connections and attempts of each worker.
    loads: Box<[Load]>,
}

/// Aligned so that no two workers write to one pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicU64);

impl Member {
    /// One like any other.
    pub const fn at(addr: SocketAddr) -> Self {
        let (addr, header) = (Addr::Inet(addr), HeaderSent::Off);
        Self { addr, weight: 1, is_backup: false, connections_max: 0, header }
    }
}

impl Endpoint {
    /// One of whom nothing is known, for so many workers.
    pub fn new(member: Member, workers: usize) -> Self {
        Self { member, shared: Arc::new(Shared::new(workers)) }
    }

    /// Whether one more connection may go there.
    pub(super) fn has_room(&self) -> bool {
        self.member.connections_max == 0 || self.shared.active() < self.member.connections_max
    }

    /// Its weight as it counts now, in parts; 0 only of one that has none.
    pub(super) fn weight(&self, now: Instant) -> u64 {
        u64::from(self.member.weight) * self.shared.ramp.part(now)
    }

    /// The connections for each part of weight, as a number that can be compared.
    pub(super) fn load_key(&self, now: Instant) -> u64 {
        let each = (self.shared.active() + 1).saturating_mul(WHOLE << 20);
        each / self.weight(now).max(1)
    }

    /// Counts a connection of a worker's, unless others were faster and it has no room any more.
    pub(super) fn take(&self, worker: usize) -> bool {
        let Load(load) = &self.shared.loads[worker];
        if self.member.connections_max == 0 {
            load.store(load.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return true;
        }
        // In one order over all workers: of two that count at once, one at least sees both.
        load.fetch_add(1, Ordering::SeqCst);
        let active: u64 = self.shared.loads.iter().map(|load| load.0.load(Ordering::SeqCst)).sum();
        let has_room = active <= self.member.connections_max;
        if !has_room {
            self.give(worker);
        }
        has_room
    }

    /// A connection of a worker's is gone.
    pub(super) fn give(&self, worker: usize) {
        let Load(load) = &self.shared.loads[worker];
        let before = load.load(Ordering::Relaxed);
        debug_assert!(before > 0, "every count is given back once");
        load.store(before.saturating_sub(1), Ordering::Relaxed);
    }
}

impl Shared {
    /// Begins with an endpoint that is up, for so many workers.
    pub fn new(workers: usize) -> Self {
        let loads = (0..workers).map(|_| Load::default()).collect();
        Self { health: Health::default(), ramp: Ramp::default(), loads }
    }

    /// Returns how many connections it has, attempts among them.
    pub fn active(&self) -> u64 {
        self.loads.iter().map(|load| load.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_workers_that_saw_the_same_room_one_gets_it() {
        let member = Member { connections_max: 1, ..Member::at(([127, 0, 0, 1], 1).into()) };
        let endpoint = Endpoint::new(member, 2);
        assert!(endpoint.has_room());
        assert_eq!([endpoint.take(0), endpoint.take(1)], [true, false]);
        assert_eq!((endpoint.shared.active(), endpoint.has_room()), (1, false));
        endpoint.give(0);
        assert!(endpoint.take(1));
    }
}
