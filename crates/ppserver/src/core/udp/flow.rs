//! A flow: the datagrams of one client on one path through a listener.
//!
//! A value, without a socket. Addresses are kept small, since a flood makes many of them. Invariant: what
//! an address is unpacked to is the canonical form of what was packed.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ppcore::Version;

use crate::core::intent::{Intent, Purpose};

/// The path of a datagram that came to a listener; its answer goes it backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The socket's peer: the client itself, or a balancer.
    pub peer: SocketAddr,
    /// Our own address that it came to.
    pub local: SocketAddr,
}

/// An address in 18 bytes; the link of a link-local one is kept beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Packed {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Packed {
    fn new(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: addr.port().to_be_bytes() }
    }

    fn addr(self, link: u32) -> SocketAddr {
        let port = u16::from_be_bytes(self.port);
        match Ipv6Addr::from(self.ip).to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, port),
            IpAddr::V6(ip) => {
                let link = if ip.is_unicast_link_local() { link } else { 0 };
                SocketAddrV6::new(ip, port, 0, link).into()
            }
        }
    }
}

/// Which datagrams carry a header, where any does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Each: it says whose the datagram is.
    Each,
    /// The first one of a flow; the path says whose the others are.
    First,
}

/// Whose datagrams a flow's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// The link that the peer is on, of which every link-local address is taken to be; 0 where it is not link-local.
    link: u32,
    peer: Packed,
    local: Packed,
    client: Packed,
    destination: Option<Packed>,
    purpose: Purpose,
    version: Option<Version>,
}

impl Who {
    pub(super) fn new(path: Path, intent: &Intent) -> Self {
        Self {
            link: match path.peer {
                SocketAddr::V4(_) => 0,
                SocketAddr::V6(peer) => peer.scope_id(),
            },
            peer: Packed::new(path.peer),
            local: Packed::new(path.local),
            client: Packed::new(intent.client),
            destination: intent.destination.map(Packed::new),
            purpose: intent.purpose,
            version: intent.version,
        }
    }

    pub(super) fn path(&self) -> Path {
        Path { peer: self.peer.addr(self.link), local: self.local.addr(self.link) }
    }

    pub(super) fn intent(&self) -> Intent {
        Intent {
            peer: self.peer.addr(self.link),
            client: self.client.addr(self.link),
            destination: self.destination.map(|addr| addr.addr(self.link)),
            version: self.version,
            purpose: self.purpose,
        }
    }

    /// Whether it is somebody's on this path, where the path says it all.
    pub(super) fn is_on(&self, other: &Self) -> bool {
        (self.link, self.peer, self.local) == (other.link, other.peer, other.local)
    }

    /// Whether it is the same somebody's: what is sent upstream for both is the same.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let named = |who: &Self| (who.client, who.destination, who.purpose);
        self.is_on(other) && named(self) == named(other)
    }

    /// Feeds what [`is_on`](Self::is_on) compares, or [`is_of`](Self::is_of).
    pub(super) fn hash(&self, headers: Headers, hasher: &mut impl Hasher) {
        (self.link, self.peer, self.local).hash(hasher);
        if headers == Headers::Each {
            (self.client, self.destination).hash(hasher);
        }
    }
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, len: usize) {
        self.datagrams += 1;
        self.bytes += len as u64;
    }
}

/// A flow, with what it was let in with, and what the shell keeps of its way upstream.
#[derive(Clone, Debug)]
pub struct Flow<U, A = ()> {
    pub(super) who: Who,
    /// Its socket and endpoint, once there are some.
    pub(super) upstream: Option<U>,
    pub(super) admitted: A,
    pub(super) began: Moment,
    /// When its last datagram came, either way.
    pub(super) last: Moment,
    pub(super) up: Tally,
    pub(super) down: Tally,
}

/// A time, in nanoseconds behind the table's first: half of what an Instant takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl<U, A> Flow<U, A> {
    /// Returns the path that its client's datagrams take to us.
    pub fn path(&self) -> Path {
        self.who.path()
    }

    /// Returns who its client is, and what for it came.
    pub fn intent(&self) -> Intent {
        self.who.intent()
    }

    /// Returns what the shell keeps of its way upstream.
    pub const fn upstream(&self) -> Option<&U> {
        self.upstream.as_ref()
    }

    /// Returns what it was let in with.
    pub const fn admitted(&self) -> &A {
        &self.admitted
    }

    /// Returns the same, to be given back.
    pub const fn admitted_mut(&mut self) -> &mut A {
        &mut self.admitted
    }

    /// Returns what came from the client.
    pub const fn up(&self) -> Tally {
        self.up
    }

    /// Returns what came from the upstream.
    pub const fn down(&self) -> Tally {
        self.down
    }

    /// Returns whether it has had an answer.
    pub const fn is_answered(&self) -> bool {
        self.down.datagrams > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_whole_in_their_canonical_form() {
        let local = "[fe80::2%7]:53".parse().unwrap();
        for (text, kept) in [
            ("203.0.113.7:65535", "203.0.113.7:65535"),
            ("[2001:db8::7]:1", "[2001:db8::7]:1"),
            ("[::]:0", "[::]:0"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::ffff:10.0.0.1]:9", "10.0.0.1:9"),
            ("[fe80::1%7]:53", "[fe80::1%7]:53"),
        ] {
            let [addr, kept]: [SocketAddr; 2] = [text, kept].map(|text| text.parse().unwrap());
            let path = Path { peer: "[fe80::9%7]:1".parse().unwrap(), local };
            let intent = Intent { destination: Some(addr), ..Intent::plain(addr) };
            let who = Who::new(path, &intent);
            assert_eq!((who.intent().client, who.intent().destination), (kept, Some(kept)));
            assert_eq!(who.path(), path);
            let from = Who::new(Path { peer: addr, local: addr }, &intent);
            assert_eq!(from.path(), Path { peer: kept, local: kept });
        }
    }

    #[test]
    fn one_address_on_two_links_is_two_peers() {
        let local = "[fe80::2%7]:53".parse().unwrap();
        let [one, other] = ["[fe80::1%7]:1", "[fe80::1%8]:1"].map(|text| {
            let peer = text.parse().unwrap();
            Who::new(Path { peer, local }, &Intent::plain(peer))
        });
        assert!(!one.is_on(&other) && !one.is_of(&other));
    }

    #[test]
    fn a_balancers_own_datagrams_are_no_clients() {
        let [peer, local] = ["10.0.0.1:9", "10.0.0.2:53"].map(|addr| addr.parse().unwrap());
        let path = Path { peer, local };
        let plain = Intent::plain(peer);
        let own = Intent { purpose: Purpose::HealthCheck, ..plain };
        let (plain, own) = (Who::new(path, &plain), Who::new(path, &own));
        assert!(plain.is_on(&own) && !plain.is_of(&own) && own.is_of(&own));
        assert_eq!(own.intent().purpose, Purpose::HealthCheck);
    }
}
