//! The vocabulary of datagrams: whether a listener relays them, and how.

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
