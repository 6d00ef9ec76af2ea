//! The vocabulary of datagrams: whether a listener relays them, and how.

use super::{Config, Listener};

/// What a listener relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a listener does with datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// A flow ends with so many answers to each datagram of its client; 0 is never. 0..=65,535.
    pub responses: u32,
    /// Whether what leaves may be fragmented.
    pub dont_fragment: DontFragment,
}

/// Whether datagrams that leave may be fragmented (IP_MTU_DISCOVER, ip(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DontFragment {
    /// As the system is set.
    Kernel,
    /// They may not, whatever is known of the path.
    Probe,
    /// They may.
    Off,
}

/// Which datagrams of a flow carry a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagrams {
    /// Each.
    Each,
    /// The first.
    First,
}

impl Config {
    /// Returns the listeners whose clients may go to an upstream.
    pub fn users(&self, upstream: usize) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(move |listener| listener.upstreams().any(|at| at == upstream))
    }

    /// Whether datagrams go to an upstream, and no connections.
    pub fn takes_datagrams_alone(&self, upstream: usize) -> bool {
        self.users(upstream).next().is_some()
            && self.users(upstream).all(|listener| listener.protocol == Protocol::Udp)
    }
}
