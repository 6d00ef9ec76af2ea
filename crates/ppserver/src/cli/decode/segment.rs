//! What a packet carries: a segment of TCP or a datagram of UDP, whose it is, and its bytes.
//!
//! Fragments are not joined. Invariant: nothing here keeps a byte.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

/// The bytes of a loopback link: the address family.
const LOOPBACK_LEN: usize = 4;
/// The bytes of Linux' cooked links, and where the protocol stands in them.
const COOKED_V1: (usize, usize) = (16, 14);
const COOKED_V2: (usize, usize) = (20, 0);

/// What stands in front of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    Cooked { len: usize, protocol_at: usize },
    Loopback,
    Raw,
}

impl Link {
    /// Returns the link of this number (LINKTYPE_ of libpcap) if it is one of those that are known.
    pub(super) fn of(linktype: Linktype) -> Option<Self> {
        let cooked = |(len, protocol_at)| Self::Cooked { len, protocol_at };
        Some(match linktype {
            Linktype::ETHERNET => Self::Ethernet,
            Linktype::LINUX_SLL => cooked(COOKED_V1),
            Linktype::LINUX_SLL2 => cooked(COOKED_V2),
            Linktype::NULL | Linktype::LOOP => Self::Loopback,
            // What BSD and Linux write for raw IP in place of 101.
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => Self::Raw,
            _ => return None,
        })
    }

    /// Returns the link of a packet as tcpdump prints it: from IP on (-X), or with Ethernet (-XX).
    pub(super) fn of_printed(packet: &[u8]) -> Self {
        let version = |at: usize| packet.get(at).map(|byte| byte >> 4);
        match packet.get(12..14) {
            Some([0x08, 0x00]) if version(14) == Some(4) => Self::Ethernet,
            Some([0x86, 0xDD]) if version(14) == Some(6) => Self::Ethernet,
            _ => Self::Raw,
        }
    }

    fn slice(self, packet: &[u8]) -> Option<LaxSlicedPacket<'_>> {
        match self {
            Self::Ethernet => LaxSlicedPacket::from_ethernet(packet).ok(),
            Self::Cooked { len, protocol_at } => {
                let protocol = packet.get(protocol_at..)?.first_chunk()?;
                let protocol = EtherType(u16::from_be_bytes(*protocol));
                Some(LaxSlicedPacket::from_ether_type(protocol, packet.get(len..)?))
            }
            Self::Loopback => LaxSlicedPacket::from_ip(packet.get(LOOPBACK_LEN..)?).ok(),
            Self::Raw => LaxSlicedPacket::from_ip(packet).ok(),
        }
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// One direction of a connection, or the datagrams from one socket to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) protocol: Protocol,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Flow {
    /// Returns the other direction.
    pub(super) fn back(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// What a packet carries.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) flow: Flow,
    pub(super) tcp: Option<Tcp>,
    pub(super) payload: &'a [u8],
}

/// What TCP says of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) sequence: u32,
    pub(super) syn: bool,
    /// What it acknowledges, if it does.
    pub(super) acknowledged: Option<u32>,
    pub(super) fin: bool,
}

/// A packet, looked into.
#[derive(Debug)]
pub(super) enum Carried<'a> {
    Segment(Segment<'a>),
    /// A fragment of IP.
    Fragment,
    /// Neither TCP nor UDP, or cut inside its headers.
    Other,
}

/// Looks into a packet.
pub(super) fn carried(link: Link, packet: &[u8]) -> Carried<'_> {
    let Some(sliced) = link.slice(packet) else { return Carried::Other };
    let (source, destination): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Arp(_)) | None => return Carried::Other,
    };
    let flow = |protocol, source_port, destination_port| Flow {
        protocol,
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Carried::Segment(Segment {
            flow: flow(Protocol::Tcp, tcp.source_port(), tcp.destination_port()),
            tcp: Some(Tcp {
                sequence: tcp.sequence_number(),
                syn: tcp.syn(),
                acknowledged: tcp.ack().then(|| tcp.acknowledgment_number()),
                fin: tcp.fin(),
            }),
            payload: tcp.payload(),
        }),
        Some(TransportSlice::Udp(udp)) => Carried::Segment(Segment {
            flow: flow(Protocol::Udp, udp.source_port(), udp.destination_port()),
            tcp: None,
            payload: udp.payload(),
        }),
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => Carried::Other,
        None => match sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref) {
            Some(ip) if ip.fragmented => Carried::Fragment,
            Some(_) | None => Carried::Other,
        },
    }
}
