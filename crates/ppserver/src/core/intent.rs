//! What a connection wants, once its header is known: what is routed, limited and told goes by it.

use std::net::SocketAddr;

use ppcore::{Command, Header, Transport, Version};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve a client.
    Service,
    /// To see whether we live: a probe, or a LOCAL header.
    HealthCheck,
}

/// Who comes, from where, and what for. `A` is an address of IP, or what may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent<A = SocketAddr> {
    /// The socket's peer.
    pub peer: A,
    /// The client: the carried address, or the peer if none was carried.
    pub client: A,
    /// What the client connected to, as it was carried.
    pub destination: Option<SocketAddr>,
    /// That of its header; `None` without one.
    pub version: Option<Version>,
    /// Service, unless a LOCAL header says otherwise.
    pub purpose: Purpose,
}

impl<A: Copy + From<SocketAddr>> Intent<A> {
    /// That of a connection without a header.
    pub const fn plain(peer: A) -> Self {
        let (destination, version) = (None, None);
        Self { peer, client: peer, destination, version, purpose: Purpose::Service }
    }

    /// That of a connection with this header.
    pub fn of(peer: A, header: &Header) -> Self {
        let (client, destination) = header.addresses_for(Transport::Stream).unzip();
        let purpose = match header.command() {
            Command::Local => Purpose::HealthCheck,
            Command::Proxy | Command::Unknown => Purpose::Service,
        };
        let (client, version) = (client.map_or(peer, A::from), Some(header.version()));
        Self { peer, client, destination, version, purpose }
    }
}
