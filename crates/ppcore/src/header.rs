//! The vocabulary: what a header says once it is decoded.
//!
//! Not the bytes themselves: a [`Header`] borrows nothing, so a server keeps it while its buffer
//! goes. What lives in the bytes (TLVs, UNIX paths) is read through it with the bytes at hand.
//! Invariant: `V2_FIXED_LEN <= tlvs_at <= len` for v2, `tlvs_at == len` for v1.

use core::fmt;
use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::V2_FIXED_LEN;
use crate::crc32c::{self, Crc32cStatus};
use crate::tlv::Tlvs;

/// The wire format a header arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text (spec 2.1).
    V1,
    /// A binary block (spec 2.2).
    V2,
}

impl Version {
    /// Returns `v1` or `v2`.
    ///
    /// ```
    /// assert_eq!(ppcore::Version::V2.name(), "v2");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What the sender asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// The connection is relayed for a client whose addresses follow.
    Proxy,
    /// v2: the sender speaks for itself, as in a health check. Use the socket's own addresses.
    Local,
    /// v1: relayed, but the addresses are not known. Use the socket's own addresses.
    Unknown,
}

impl Command {
    /// Returns the word of the specification: `PROXY`, `LOCAL` or `UNKNOWN`.
    ///
    /// ```
    /// assert_eq!(ppcore::Command::Local.name(), "LOCAL");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "PROXY",
            Self::Local => "LOCAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The address family: the high nibble of byte 13 of a v2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Not stated: v1 `UNKNOWN`, v2 LOCAL, or a v2 family nibble of 0.
    Unspec,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// A UNIX domain socket.
    Unix,
}

impl Family {
    /// Returns the length in bytes of a v2 address block of this family: 0, 12, 36 or 216.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Unspec => 0,
            Self::Inet => 12,
            Self::Inet6 => 36,
            Self::Unix => 216,
        }
    }

    pub(crate) const fn from_nibble(nibble: u8) -> Option<Self> {
        match nibble {
            0 => Some(Self::Unspec),
            1 => Some(Self::Inet),
            2 => Some(Self::Inet6),
            3 => Some(Self::Unix),
            _ => None,
        }
    }
}

/// The transport: the low nibble of byte 13 of a v2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Not stated.
    Unspec,
    /// TCP, or a UNIX stream socket. All of v1 but `UNKNOWN`.
    Stream,
    /// UDP, or a UNIX datagram socket.
    Dgram,
}

impl Transport {
    pub(crate) const fn from_nibble(nibble: u8) -> Option<Self> {
        match nibble {
            0 => Some(Self::Unspec),
            1 => Some(Self::Stream),
            2 => Some(Self::Dgram),
            _ => None,
        }
    }
}

/// The addresses a header carries. Both are of one family: the formats cannot mix them.
///
/// ```
/// use ppcore::{Addresses, Family};
///
/// let mixed = Addresses::pair("203.0.113.7:51820".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
/// assert_eq!((mixed.family(), mixed.family().block_len()), (Family::Inet6, 36));
/// assert_eq!(mixed.source(), Some("[::ffff:203.0.113.7]:51820".parse().unwrap()));
/// let (client, _) = mixed.canonical().unwrap();
/// assert_eq!(client, "203.0.113.7:51820".parse().unwrap());
/// assert_eq!(Addresses::None.destination(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// None: the receiver uses those of the socket.
    None,
    /// IPv4 addresses and ports.
    Inet {
        /// The client.
        source: SocketAddrV4,
        /// The address the client connected to.
        destination: SocketAddrV4,
    },
    /// IPv6 addresses and ports; scope and flow label are always 0.
    Inet6 {
        /// The client.
        source: SocketAddrV6,
        /// The address the client connected to.
        destination: SocketAddrV6,
    },
    /// UNIX socket names, 108 bytes each: read them with [`Header::unix`].
    Unix,
}

impl Addresses {
    /// Pairs two socket addresses as the wire wants them.
    ///
    /// v4-mapped pairs become IPv4; in a mixed pair the IPv4 address becomes v4-mapped IPv6, since
    /// neither format can carry two families.
    pub fn pair(source: SocketAddr, destination: SocketAddr) -> Self {
        match (canonical(source), canonical(destination)) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                Self::Inet { source, destination }
            }
            (source, destination) => {
                Self::Inet6 { source: to_v6(source), destination: to_v6(destination) }
            }
        }
    }

    /// Returns the client's address if it is an IP address.
    pub const fn source(&self) -> Option<SocketAddr> {
        match *self {
            Self::Inet { source, .. } => Some(SocketAddr::V4(source)),
            Self::Inet6 { source, .. } => Some(SocketAddr::V6(source)),
            Self::None | Self::Unix => None,
        }
    }

    /// Returns the address the client connected to if it is an IP address.
    pub const fn destination(&self) -> Option<SocketAddr> {
        match *self {
            Self::Inet { destination, .. } => Some(SocketAddr::V4(destination)),
            Self::Inet6 { destination, .. } => Some(SocketAddr::V6(destination)),
            Self::None | Self::Unix => None,
        }
    }

    /// Returns the client's address and the one it connected to, each [`canonical`], if they are IP
    /// addresses.
    pub fn canonical(&self) -> Option<(SocketAddr, SocketAddr)> {
        match *self {
            Self::Inet { source, destination } => Some((source.into(), destination.into())),
            Self::Inet6 { source, destination } => {
                Some((canonical(source.into()), canonical(destination.into())))
            }
            Self::None | Self::Unix => None,
        }
    }

    /// Returns the family these addresses are of.
    pub const fn family(&self) -> Family {
        match self {
            Self::None => Family::Unspec,
            Self::Inet { .. } => Family::Inet,
            Self::Inet6 { .. } => Family::Inet6,
            Self::Unix => Family::Unix,
        }
    }
}

/// Returns the IPv4 address of a v4-mapped one (`::ffff:192.0.2.1`), and any other as it is.
///
/// A sender that writes IPv4 as IPv6, and a socket of both families, mean the same client: who compares,
/// counts or logs addresses wants one form of each.
///
/// ```
/// let mapped = ppcore::canonical("[::ffff:192.0.2.1]:443".parse().unwrap());
/// assert_eq!(mapped, "192.0.2.1:443".parse().unwrap());
/// ```
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => v6
            .ip()
            .to_ipv4_mapped()
            .map_or(addr, |ip| SocketAddr::V4(SocketAddrV4::new(ip, v6.port()))),
    }
}

fn to_v6(addr: SocketAddr) -> SocketAddrV6 {
    match addr {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0),
    }
}

/// A UNIX socket's name as a v2 header carries it: 108 bytes, `sun_path` of unix(7).
///
/// ```
/// use ppcore::{Decoded, Decoder, Options, Transport, UnixAddr, encode::Encoder};
///
/// let mut bytes = [0; 232];
/// Encoder::unix(&mut bytes, Transport::Stream, b"/run/client", b"\0server").finish()?;
/// let Decoded::Header(header) = Decoder::new(Options::new()).decode(&bytes)? else { panic!() };
/// let names = header.unix(&bytes);
/// assert_eq!(names, Some((UnixAddr::Path(b"/run/client"), UnixAddr::Abstract(b"server"))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddr<'a> {
    /// No name: all bytes are 0.
    Unnamed,
    /// A path, up to the first NUL. Any bytes: not necessarily UTF-8.
    Path(&'a [u8]),
    /// A name in the abstract namespace, without its leading and trailing NULs.
    Abstract(&'a [u8]),
}

impl<'a> UnixAddr<'a> {
    fn from_block(block: &'a [u8; 108]) -> Self {
        let Some(end) = block.iter().rposition(|&byte| byte != 0) else { return Self::Unnamed };
        match block.split_first() {
            Some((0, name)) => Self::Abstract(name.get(..end).unwrap_or(name)),
            Some(_) | None => {
                Self::Path(block.split(|&byte| byte == 0).next().unwrap_or(block.as_slice()))
            }
        }
    }
}

/// A decoded header. `Copy`, and free of the buffer it came from.
///
/// ```
/// use ppcore::{Command, Crc32cStatus, Decoded, Decoder, Family, Header, Options, Transport, Version};
/// use ppcore::{Addresses, encode::Encoder, tlv};
///
/// let addresses = Addresses::pair("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let mut bytes = [0; 64];
/// let len = Encoder::stream(&mut bytes, &addresses).tlv(tlv::ALPN, b"h2").finish()?;
///
/// let decoded = Decoder::new(Options::new()).decode(&bytes[..len])?;
/// let Decoded::Header(header): Decoded = decoded else { panic!() };
/// assert_eq!((header.version(), header.command()), (Version::V2, Command::Proxy));
/// assert_eq!((header.family(), header.transport()), (Family::Inet, Transport::Stream));
/// assert_eq!(header.len(), len);
/// assert_eq!(header.addresses(), &addresses);
/// assert_eq!((header.source(), header.destination()), (addresses.source(), addresses.destination()));
/// assert_eq!(header.tlvs(&bytes).count(), 1);
/// assert_eq!(header.crc32c(&bytes), Crc32cStatus::Absent);
/// println!("{header}"); // v2 PROXY TCP 203.0.113.7:51820 -> 192.0.2.1:443
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    pub(crate) version: Version,
    pub(crate) command: Command,
    pub(crate) family: Family,
    pub(crate) transport: Transport,
    pub(crate) addresses: Addresses,
    /// Bytes of the whole header: 15..=65,551.
    pub(crate) len: u32,
    /// Offset of the first TLV; `len` if there is none.
    pub(crate) tlvs_at: u32,
}

/// For a log: `v1 PROXY TCP 203.0.113.7:51820 -> 192.0.2.1:443`, `v2 PROXY UNIX`, `v2 LOCAL`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version.name(), self.command.name())?;
        match (self.source().zip(self.destination()), self.transport) {
            (Some((source, destination)), Transport::Stream) => {
                write!(f, " TCP {source} -> {destination}")
            }
            (Some((source, destination)), Transport::Dgram) => {
                write!(f, " UDP {source} -> {destination}")
            }
            (Some((source, destination)), Transport::Unspec) => {
                write!(f, " {source} -> {destination}")
            }
            (None, _) if self.family == Family::Unix => f.write_str(" UNIX"),
            (None, _) => Ok(()),
        }
    }
}

impl Header {
    /// Returns the wire format.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Returns the command.
    pub const fn command(&self) -> Command {
        self.command
    }

    /// Returns the family as read; LOCAL and UNKNOWN have none.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the transport as read; LOCAL and UNKNOWN have none.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the carried addresses.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the client's address if the header carries an IP address.
    pub const fn source(&self) -> Option<SocketAddr> {
        self.addresses.source()
    }

    /// Returns the address the client connected to if the header carries an IP address.
    pub const fn destination(&self) -> Option<SocketAddr> {
        self.addresses.destination()
    }

    /// Returns the client's address and the one it connected to, each [`canonical`], as they count for a
    /// connection of `transport`, or for a datagram; `None` where those of the socket count.
    ///
    /// Addresses of another transport are not those of this connection, nor are the names of UNIX
    /// sockets: as if none were carried. [`source`](Self::source) and
    /// [`destination`](Self::destination) tell what was written, whatever it is worth.
    ///
    /// ```
    /// use ppcore::{Decoded, Decoder, Options, Transport};
    ///
    /// let line = b"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 51820 443\r\n";
    /// let Decoded::Header(header) = Decoder::new(Options::new()).decode(line)? else { panic!() };
    /// let (client, destination) = header.addresses_for(Transport::Stream).expect("both count");
    /// assert_eq!((client, destination), ("203.0.113.7:51820".parse()?, "[2001:db8::1]:443".parse()?));
    /// assert_eq!(header.source(), Some("[::ffff:203.0.113.7]:51820".parse()?));
    /// assert_eq!(header.addresses_for(Transport::Dgram), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn addresses_for(&self, transport: Transport) -> Option<(SocketAddr, SocketAddr)> {
        if self.transport != transport {
            return None;
        }
        self.addresses.canonical()
    }

    /// Returns the bytes the header takes, 15..=65,551: the payload begins behind them.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns the offset of the first TLV, [`len`](Self::len) if there is none.
    ///
    /// ```
    /// # use ppcore::{Decoded, Decoder, Options};
    /// let line = b"PROXY UNKNOWN\r\n";
    /// let Ok(Decoded::Header(header)) = Decoder::new(Options::new()).decode(line) else { panic!() };
    /// assert_eq!(header.tlvs_offset(), header.len());
    /// ```
    pub const fn tlvs_offset(&self) -> usize {
        self.tlvs_at as usize
    }

    /// Returns the UNIX names, source first, if the header carries any.
    ///
    /// `received` are the bytes the header was decoded from; with others the answer is `None` or
    /// nonsense, never a panic.
    pub fn unix<'a>(&self, received: &'a [u8]) -> Option<(UnixAddr<'a>, UnixAddr<'a>)> {
        if self.addresses != Addresses::Unix {
            return None;
        }
        let block = received.get(V2_FIXED_LEN..)?;
        let (source, rest) = block.split_first_chunk::<108>()?;
        let destination = rest.first_chunk::<108>()?;
        Some((UnixAddr::from_block(source), UnixAddr::from_block(destination)))
    }

    /// Returns an iterator over the TLVs; it yields nothing for v1.
    ///
    /// `received` are the bytes the header was decoded from; with others the answer is nonsense,
    /// never a panic.
    #[inline]
    pub fn tlvs<'a>(&self, received: &'a [u8]) -> Tlvs<'a> {
        let region = received.get(self.tlvs_offset()..self.len()).unwrap_or_default();
        Tlvs::new(region, self.tlvs_offset())
    }

    /// Says whether the header carries a CRC32C TLV and whether it holds (spec 2.2.3).
    ///
    /// A decoder that verifies has refused everything but `Absent` and `Valid` already. Computes the
    /// checksum anew: linear in the header's length.
    pub fn crc32c(&self, received: &[u8]) -> Crc32cStatus {
        crc32c::status(received.get(..self.len()).unwrap_or_default(), self.tlvs(received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_pair_is_written_as_ipv4() {
        let pair =
            Addresses::pair("[::ffff:1.2.3.4]:1".parse().unwrap(), "5.6.7.8:2".parse().unwrap());
        assert_eq!(pair.source(), Some("1.2.3.4:1".parse().unwrap()));
        assert_eq!(pair.family(), Family::Inet);
    }

    #[test]
    fn a_mixed_pair_is_written_as_ipv6_with_the_ipv4_one_mapped() {
        let pair =
            Addresses::pair("[2001:db8::1]:1".parse().unwrap(), "5.6.7.8:2".parse().unwrap());
        assert_eq!(pair.destination(), Some("[::ffff:5.6.7.8]:2".parse().unwrap()));
    }

    fn header(family: Family, transport: Transport, addresses: Addresses) -> Header {
        let (version, command) = (Version::V2, Command::Proxy);
        Header { version, command, family, transport, addresses, len: 16, tlvs_at: 16 }
    }

    #[test]
    fn addresses_count_for_their_own_transport_alone() {
        let [source, destination] = ["1.2.3.4:5", "6.7.8.9:10"].map(|text| text.parse().unwrap());
        let pair = Addresses::pair(source, destination);
        let transports = [Transport::Unspec, Transport::Stream, Transport::Dgram];
        for (at, transport) in transports.into_iter().enumerate().skip(1) {
            let header = header(Family::Inet, transport, pair);
            let mut expected = [None; 3];
            expected[at] = Some((source, destination));
            assert_eq!(transports.map(|other| header.addresses_for(other)), expected);
        }
        for (family, addresses) in
            [(Family::Unix, Addresses::Unix), (Family::Inet, Addresses::None)]
        {
            let header = header(family, Transport::Stream, addresses);
            assert_eq!(header.addresses_for(Transport::Stream), None);
        }
    }

    #[test]
    fn each_address_that_counts_is_canonical_by_itself() {
        let v6 = |text: &str| text.parse::<SocketAddrV6>().unwrap();
        let (mapped, plain) = (v6("[::ffff:1.2.3.4]:5"), v6("[2001:db8::1]:6"));
        let v4: SocketAddr = "1.2.3.4:5".parse().unwrap();
        for (source, destination, expected) in [
            (mapped, plain, (v4, plain.into())),
            (plain, mapped, (plain.into(), v4)),
            (mapped, mapped, (v4, v4)),
        ] {
            let addresses = Addresses::Inet6 { source, destination };
            let header = header(Family::Inet6, Transport::Stream, addresses);
            assert_eq!(header.addresses_for(Transport::Stream), Some(expected));
            assert_eq!(header.source(), Some(source.into()), "as it was written");
        }
    }

    #[test]
    fn unix_names_are_told_apart_by_their_first_byte() {
        let mut block = [0; 108];
        assert_eq!(UnixAddr::from_block(&block), UnixAddr::Unnamed);
        block[1] = b'x';
        block[3] = b'y';
        assert_eq!(UnixAddr::from_block(&block), UnixAddr::Abstract(b"x\0y"));
        block[0] = b'/';
        assert_eq!(UnixAddr::from_block(&block), UnixAddr::Path(b"/x"));
    }
}
