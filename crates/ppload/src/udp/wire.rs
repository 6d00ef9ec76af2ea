//! A datagram as generator and sink write it, and the header in front of it.
//!
//! A payload says everything of itself: how long it is, whose, which, and when it was meant to be sent; so neither end
//! keeps a table of what is under way, and an aggregate can be taken apart without the kernel's word. An answer is the payload
//! come back, under another mark.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use clap::ValueEnum;

use crate::pattern::{Check, Pattern};

/// What goes in front of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framing {
    /// No header
    None,
    /// Version 2 in front of each
    V2,
    /// Version 2 in front of a flow's first
    V2First,
    /// Cloudflare's Simple Proxy Protocol, in front of each and of each answer
    Spp,
}

/// The longest header that is sent: SPP's.
pub(crate) const HEADER_BYTES_MAX: usize = SPP_BYTES;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const PROXY: u8 = 0x21;
const UDP_IPV4: u8 = 0x12;
const UDP_IPV6: u8 = 0x22;
const SPP_MAGIC: [u8; 2] = [0x56, 0xEC];
const SPP_BYTES: usize = 38;
/// Where every header says that its datagram went, a documentation address.
const DESTINATION: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 443);

impl Framing {
    /// Returns the header of a client's datagrams; nothing where there is none.
    pub(super) fn header(self, client: SocketAddrV4) -> Vec<u8> {
        let (destination, to) = DESTINATION;
        let ports = [client.port(), to].map(u16::to_be_bytes).concat();
        match self {
            Self::None => Vec::new(),
            Self::V2 | Self::V2First => {
                let addrs = [client.ip().octets(), destination.octets()].concat();
                [V2_SIGNATURE, &[PROXY, UDP_IPV4, 0, 12][..], &addrs, &ports].concat()
            }
            Self::Spp => {
                let addrs = [client.ip(), &destination].map(|ip| ip.to_ipv6_mapped().octets());
                [&SPP_MAGIC[..], &addrs.concat(), &ports].concat()
            }
        }
    }

    /// Finds the header at the beginning of a datagram: its length, and the client that it names.
    pub(super) fn find(self, bytes: &[u8]) -> Option<(usize, SocketAddr)> {
        match self {
            Self::None => None,
            Self::V2 | Self::V2First => find_v2(bytes),
            Self::Spp => {
                let header =
                    bytes.get(..SPP_BYTES).filter(|bytes| bytes.starts_with(&SPP_MAGIC))?;
                Some((SPP_BYTES, SocketAddr::new(ipv6(header, 2)?, port(header, 34)?)))
            }
        }
    }
}

fn find_v2(bytes: &[u8]) -> Option<(usize, SocketAddr)> {
    let rest = bytes.strip_prefix(V2_SIGNATURE)?;
    let (command, family) = (*rest.first()?, *rest.get(1)?);
    let len = V2_FIXED + usize::from(port(bytes, 14)?);
    let header = bytes.get(..len)?;
    let client = match (command, family) {
        (PROXY, UDP_IPV4) => {
            let octets = *header.get(16..)?.first_chunk::<4>()?;
            SocketAddr::new(Ipv4Addr::from(octets).into(), port(header, 24)?)
        }
        (PROXY, UDP_IPV6) => SocketAddr::new(ipv6(header, 16)?, port(header, 48)?),
        _ => return None,
    };
    Some((len, client))
}

/// Whether a payload is a question, which wants an answer, or is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is to be answered.
    Question,
    /// It is not.
    Statement,
    /// It came back.
    Answer,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Question, Self::Statement, Self::Answer];

    const fn bytes(self) -> &'static [u8; 4] {
        match self {
            Self::Question => b"ppl?",
            Self::Statement => b"ppl.",
            Self::Answer => b"ppl!",
        }
    }
}

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) mark: Mark,
    /// Of all of it.
    pub(super) len: usize,
    /// Whom a header in front of it is to name.
    pub(super) client: SocketAddr,
    pub(super) flow: u32,
    /// Counted over all flows of a run.
    pub(super) number: u64,
    /// When it was meant to be sent, in nanoseconds since the run began.
    pub(super) meant: u64,
}

/// What a payload says before its pattern begins, and so the shortest.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 44;

impl Payload {
    /// Writes it to the end of `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, pattern: &Pattern) {
        let len = u16::try_from(self.len).expect("no datagram is longer");
        out.extend_from_slice(self.mark.bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.client.port().to_be_bytes());
        out.extend_from_slice(&mapped(self.client.ip()).octets());
        out.extend_from_slice(&self.flow.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.meant.to_be_bytes());
        out.extend_from_slice(pattern.piece(self.number, filling(self.len)));
    }

    /// Reads the payload at the beginning of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(bytes: &[u8], check: Check, pattern: &Pattern) -> Result<Self, Wrong> {
        let is_marked = |mark: &Mark| bytes.starts_with(mark.bytes());
        let mark = Mark::ALL.into_iter().find(is_marked).ok_or(Wrong::Foreign)?;
        let payload = Self::fields(mark, bytes).ok_or(Wrong::Cut)?;
        let filled = bytes.get(PAYLOAD_BYTES_MIN..payload.len).ok_or(Wrong::Cut)?;
        match pattern.matches(payload.number, filled, check) {
            true => Ok(payload),
            false => Err(Wrong::Bytes),
        }
    }

    fn fields(mark: Mark, bytes: &[u8]) -> Option<Self> {
        let eight = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes);
        Some(Self {
            mark,
            len: port(bytes, 4)?.into(),
            client: SocketAddr::new(ipv6(bytes, 8)?, port(bytes, 6)?),
            flow: u32::from_be_bytes(*bytes.get(24..)?.first_chunk()?),
            number: eight(28)?,
            meant: eight(36)?,
        })
    }

    /// Turns the payload at the beginning of `bytes` into its answer.
    pub(super) fn turn_round(bytes: &mut [u8]) {
        if let Some(mark) = bytes.first_chunk_mut() {
            *mark = *Mark::Answer.bytes();
        }
    }
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is nobody's here.
    Foreign,
    /// A part of it is missing.
    Cut,
    /// Other bytes than belong there.
    Bytes,
}

fn filling(len: usize) -> u64 {
    u64::try_from(len.saturating_sub(PAYLOAD_BYTES_MIN)).unwrap_or(0)
}

/// Two bytes in the order of the network: a port or a length.
fn port(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An IPv6 address, or the IPv4 one that is mapped in it.
fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?).to_canonical())
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// An address without what only this host knows of it.
pub(super) fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 7), 51_820);

    #[test]
    fn each_header_names_its_client_and_none_that_is_cut_does() {
        for framing in [Framing::V2, Framing::V2First, Framing::Spp] {
            let header = framing.header(CLIENT);
            assert!(header.len() <= HEADER_BYTES_MAX, "{framing:?}");
            let bytes = [&header[..], b"payload"].concat();
            let found = (header.len(), SocketAddr::from(CLIENT));
            assert_eq!(framing.find(&bytes), Some(found), "{framing:?}");
            for cut in 0..header.len() {
                assert_eq!(framing.find(&header[..cut]), None, "{framing:?} at {cut}");
            }
            assert_eq!(Framing::None.find(&bytes), None);
        }
        assert_eq!(Framing::None.header(CLIENT), b"");
        // Of datagrams over IPv4: 12 bytes of addresses.
        let header = Framing::V2.header(CLIENT);
        assert_eq!(header[12..16], [0x21, 0x12, 0, 12]);
        assert_eq!(header[16..], [198, 18, 0, 7, 192, 0, 2, 1, 0xCA, 0x6C, 0x01, 0xBB]);
    }

    #[test]
    fn a_client_of_ipv6_and_a_header_with_tlvs_are_found() {
        let client: SocketAddr = "[2001:db8::7]:51820".parse().unwrap();
        let SocketAddr::V6(v6) = client else { panic!("it is one") };
        let header = [
            V2_SIGNATURE,
            &[PROXY, UDP_IPV6, 0, 36 + 5][..],
            &v6.ip().octets(),
            &Ipv6Addr::LOCALHOST.octets(),
            &[0xCA, 0x6C, 0x01, 0xBB],
            &[0xE0, 0, 2, 1, 2],
        ]
        .concat();
        assert_eq!(Framing::V2.find(&header), Some((57, client)));
        assert_eq!(Framing::V2.find(&header[..56]), None);
    }

    #[test]
    fn what_is_wrong_with_a_payload_is_told() {
        let pattern = Pattern::new();
        for client in ["198.18.0.7:51820", "[2001:db8::7]:51820"] {
            let client = client.parse().unwrap();
            let len = PAYLOAD_BYTES_MIN + 100;
            let payload =
                Payload { mark: Mark::Question, len, client, flow: 3, number: 9, meant: 5 };
            let mut bytes = Vec::new();
            payload.write(&mut bytes, &pattern);
            let read = |bytes: &[u8]| Payload::read(bytes, Check::Full, &pattern);
            assert_eq!(read(&bytes), Ok(payload));
            for cut in 4..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Err(Wrong::Cut), "{cut}");
            }
            Payload::turn_round(&mut bytes);
            assert_eq!(read(&bytes), Ok(Payload { mark: Mark::Answer, ..payload }));
            bytes[len - 1] ^= 1;
            assert_eq!(read(&bytes), Err(Wrong::Bytes));
            assert_eq!(read(b"\0\0somebody else's"), Err(Wrong::Foreign));
        }
    }
}
