//! The header that is sent for a connection, or a datagram: made of the one that came with it, or of the
//! socket's addresses.
//!
//! Pure: bytes and addresses in, bytes out, whenever they are wanted and as often. LOCAL stays LOCAL,
//! families are never mixed, and a checksum is never copied but computed anew.

use std::net::SocketAddr;

use ppcore::encode::{self, EncodeError, Encoder};
use ppcore::tlv::{self, Tlv};
use ppcore::{Addresses, Command, Error, Header, Transport, spp};

use crate::datagram::Datagram;

/// What header is sent.
///
/// ```
/// use pptrust::ppcore::{Decoded, Decoder, Options};
/// use pptrust::{
///     ChecksumSent, Destination, Facts, Outgoing, SocketAddrs, TlvPass, TlvSet, TlvSource, TlvValue,
/// };
///
/// let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";
/// let Decoded::Header(header) = Decoder::new(Options::new()).decode(line)? else { panic!() };
/// let socket = Some(SocketAddrs { peer: "10.0.0.2:1".parse()?, local: "10.0.0.1:443".parse()? });
/// let mut out = [0; 128];
///
/// let v1 = Outgoing::V1 { destination: Destination::Local };
/// let len = v1.compose(&mut out, Some((&header, line)), socket, Facts::default())?;
/// assert_eq!(&out[..len], b"PROXY TCP4 203.0.113.7 10.0.0.1 51820 443\r\n");
///
/// let (destination, tlv_pass) = (Destination::Original, TlvPass::All);
/// let tlv_set = vec![
///     TlvSet { kind: 0xE1, value: TlvValue::Bytes(b"edge-1".to_vec()) },
///     TlvSet { kind: 0x05, value: TlvValue::From(TlvSource::Id) },
/// ];
/// let v2 = Outgoing::V2 { destination, tlv_pass, tlv_set, crc32c: ChecksumSent::WhenReceived };
/// assert!(!v2.needs_local(Some(&header)) && !v2.needs_bytes(&header));
/// assert!(v2.needs_id() && v2.takes_tlvs() && !v2.needs_hello());
/// let facts = Facts { id: Some(b"0a-17"), ..Facts::default() };
/// let len = v2.compose(&mut out, Some((&header, line)), socket, facts)?;
/// assert_eq!(len, 16 + 12 + 9 + 8);
/// assert_eq!(Outgoing::Off.compose(&mut out, None, socket, Facts::default()), Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// None.
    Off,
    /// The text line.
    V1 {
        /// What it says the client connected to.
        destination: Destination,
    },
    /// Cloudflare's Simple Proxy Protocol, of datagrams alone.
    Spp {
        /// What it says the client sent to.
        destination: Destination,
    },
    /// The binary header.
    V2 {
        /// What it says the client connected to.
        destination: Destination,
        /// The TLVs copied from the header that came in.
        tlv_pass: TlvPass,
        /// The TLVs of its own, behind those and in this order; none of their types is copied.
        tlv_set: Vec<TlvSet>,
        /// When it carries a checksum.
        crc32c: ChecksumSent,
    },
}

/// The destination address of a header that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The one of the header that came in.
    Original,
    /// Our own address on the client's connection.
    Local,
}

/// The TLVs copied from the header that came in, byte for byte; a CRC32C TLV never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlvPass {
    /// Every one.
    All,
    /// Those of these types, ascending; may be empty.
    Types(Vec<u8>),
}

/// A TLV that is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvSet {
    /// Its type; not that of CRC32C.
    pub kind: u8,
    /// What it holds.
    pub value: TlvValue,
}

/// What a TLV that is made here holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlvValue {
    /// The same for every connection.
    Bytes(Vec<u8>),
    /// What is known of the connection; there is no TLV where that is nothing.
    From(TlvSource),
}

/// What of a connection a TLV is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvSource {
    /// Its id, of at most 128 bytes (spec 2.2.5).
    Id,
    /// The name that its ClientHello asks for.
    Sni,
    /// The protocol that its ClientHello offers first.
    Alpn,
}

/// What is known of a connection beside its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// [`TlvSource::Id`].
    pub id: Option<&'a [u8]>,
    /// [`TlvSource::Sni`].
    pub sni: Option<&'a [u8]>,
    /// [`TlvSource::Alpn`].
    pub alpn: Option<&'a [u8]>,
}

/// When a v2 header that is sent carries a CRC32C TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumSent {
    /// If one came in.
    WhenReceived,
    /// Always.
    Always,
}

/// Where a client's connection comes from and goes to, as its socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAddrs {
    /// The socket's peer.
    pub peer: SocketAddr,
    /// Our own address on it.
    pub local: SocketAddr,
}

impl Outgoing {
    /// Says whether [`compose`](Self::compose) needs our own address: asking the kernel for it costs a
    /// system call.
    pub fn needs_local(&self, received: Option<&Header>) -> bool {
        let is_local = received.is_some_and(|header| header.command() == Command::Local);
        match self {
            Self::Off => false,
            Self::V1 { destination } | Self::Spp { destination } | Self::V2 { destination, .. } => {
                let carried = received.and_then(carried).is_some();
                !is_local && (!carried || *destination == Destination::Local)
            }
        }
    }

    /// Says whether [`compose`](Self::compose) needs the bytes of the header that came in, and not only what
    /// it says: who composes later keeps them then.
    pub fn needs_bytes(&self, received: &Header) -> bool {
        self.takes_tlvs() && received.tlvs_offset() < received.len()
    }

    /// Says whether [`compose`](Self::compose) may take something from the TLVs of a header that came in.
    pub fn takes_tlvs(&self) -> bool {
        match self {
            Self::Off | Self::V1 { .. } | Self::Spp { .. } => false,
            Self::V2 { .. } => true,
        }
    }

    /// Says whether [`compose`](Self::compose) needs the connection's id.
    pub fn needs_id(&self) -> bool {
        self.sets_from(&[TlvSource::Id])
    }

    /// Says whether [`compose`](Self::compose) needs what a ClientHello says.
    pub fn needs_hello(&self) -> bool {
        self.sets_from(&[TlvSource::Sni, TlvSource::Alpn])
    }

    fn sets_from(&self, sources: &[TlvSource]) -> bool {
        match self {
            Self::Off | Self::V1 { .. } | Self::Spp { .. } => false,
            Self::V2 { tlv_set, .. } => tlv_set.iter().any(|set| match &set.value {
                TlvValue::Bytes(_) => false,
                TlvValue::From(source) => sources.contains(source),
            }),
        }
    }

    /// Writes the header into `out` and returns its length; 0 if none is sent, and so with SPP, which is of datagrams.
    ///
    /// `received` is the header that came in, with its bytes. Without one, and where none of its addresses
    /// count for a connection, those of the socket are told; a UNIX socket has none, and where there is nothing
    /// to tell the header says so: UNSPEC, or `PROXY UNKNOWN`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] if the TLVs do not fit a v2 header, and
    /// [`EncodeError::BufferTooSmall`] if `out` is shorter than that.
    pub fn compose(
        &self,
        out: &mut [u8],
        received: Option<(&Header, &[u8])>,
        socket: Option<SocketAddrs>,
        facts: Facts<'_>,
    ) -> Result<usize, EncodeError> {
        let header = received.map(|(header, _)| header);
        let is_local = header.is_some_and(|header| header.command() == Command::Local);
        let told = |destination| addresses(header.and_then(carried), destination, socket);
        match self {
            Self::Off | Self::Spp { .. } => Ok(0),
            Self::V1 { destination } => {
                encode::v1(out, &if is_local { Addresses::None } else { told(*destination) })
            }
            Self::V2 { destination, .. } => {
                let encoder = match is_local {
                    true => Encoder::local(out),
                    false => Encoder::stream(out, &told(*destination)),
                };
                let tlvs = received.into_iter().flat_map(|(header, bytes)| header.tlvs(bytes));
                self.finish(encoder, tlvs, facts)
            }
        }
    }

    /// Writes the header of a datagram into `out` and returns its length; 0 if none is sent, and so with v1,
    /// which is of connections. `local` is our own address that the datagram came to.
    ///
    /// ```
    /// use pptrust::{ChecksumSent, Destination, Facts, Outgoing, TlvPass, datagram::Datagram};
    ///
    /// let (client, service) = ("203.0.113.7:53".parse()?, "192.0.2.1:53".parse()?);
    /// let (balancer, ours) = ("10.0.0.1:9".parse()?, "10.0.0.2:53".parse()?);
    /// let (tlv_set, crc32c) = (Vec::new(), ChecksumSent::WhenReceived);
    /// let (destination, tlv_pass) = (Destination::Original, TlvPass::All);
    /// let v2 = Outgoing::V2 { destination, tlv_pass, tlv_set, crc32c };
    /// let later = Datagram::continuing(balancer, Some((client, service)), false, b"query");
    /// let mut out = [0; 64];
    /// assert_eq!(v2.compose_datagram(&mut out, &later, ours, Facts::default()), Ok(28));
    /// assert_eq!(out[13], 0x12, "IPv4 and datagrams");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`compose`](Self::compose).
    pub fn compose_datagram(
        &self,
        out: &mut [u8],
        datagram: &Datagram<'_>,
        local: SocketAddr,
        facts: Facts<'_>,
    ) -> Result<usize, EncodeError> {
        match self {
            Self::Off | Self::V1 { .. } => Ok(0),
            Self::Spp { destination } => {
                let socket = SocketAddrs { peer: datagram.socket_peer_addr(), local };
                spp::encode(out, &addresses(datagram.carried(), *destination, Some(socket)))
            }
            Self::V2 { destination, .. } => {
                let socket = SocketAddrs { peer: datagram.socket_peer_addr(), local };
                let told = addresses(datagram.carried(), *destination, Some(socket));
                let encoder = match datagram.is_local() {
                    true => Encoder::local(out),
                    false => Encoder::datagram(out, &told),
                };
                self.finish(encoder, datagram.tlvs(), facts)
            }
        }
    }

    /// Writes the TLVs behind what `encoder` has begun with.
    fn finish<'a>(
        &self,
        mut encoder: Encoder<'_>,
        received: impl Iterator<Item = Result<Tlv<'a>, Error>>,
        facts: Facts<'_>,
    ) -> Result<usize, EncodeError> {
        let Self::V2 { tlv_pass, tlv_set, crc32c, .. } = self else { return encoder.finish() };
        let mut has_crc = *crc32c == ChecksumSent::Always;
        for tlv in received.flatten() {
            if tlv.kind() == tlv::CRC32C {
                has_crc = true;
            } else if tlv_pass.contains(tlv.kind())
                && !tlv_set.iter().any(|set| set.kind == tlv.kind())
            {
                encoder = encoder.tlv(tlv.kind(), tlv.value());
            }
        }
        for TlvSet { kind, value } in tlv_set {
            if let Some(bytes) = value.bytes(facts) {
                encoder = encoder.tlv(*kind, bytes);
            }
        }
        if has_crc { encoder.crc32c().finish() } else { encoder.finish() }
    }
}

impl TlvValue {
    fn bytes<'a>(&'a self, facts: Facts<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::From(TlvSource::Id) => facts.id,
            Self::From(TlvSource::Sni) => facts.sni,
            Self::From(TlvSource::Alpn) => facts.alpn,
        }
    }
}

impl TlvPass {
    fn contains(&self, kind: u8) -> bool {
        match self {
            Self::All => true,
            Self::Types(types) => types.binary_search(&kind).is_ok(),
        }
    }
}

/// What is told: what the header that came carried, or what the socket says.
fn addresses(
    carried: Option<(SocketAddr, SocketAddr)>,
    destination: Destination,
    socket: Option<SocketAddrs>,
) -> Addresses {
    match (carried, socket, destination) {
        (Some((source, _)), Some(socket), Destination::Local) => {
            Addresses::pair(source, socket.local)
        }
        (Some((source, original)), _, _) => Addresses::pair(source, original),
        (None, Some(socket), _) => Addresses::pair(socket.peer, socket.local),
        (None, None, _) => Addresses::None,
    }
}

/// What counts for the client's connection, which is one of a byte stream.
fn carried(header: &Header) -> Option<(SocketAddr, SocketAddr)> {
    header.addresses_for(Transport::Stream)
}

#[cfg(test)]
mod tests {
    use ppcore::{Crc32cStatus, Decoded, Decoder, Options};

    use super::*;
    use crate::{Policy, datagram};

    const FACTS: Facts<'_> = Facts { id: Some(b"id"), sni: Some(b"a.test"), alpn: None };

    fn socket() -> Option<SocketAddrs> {
        Some(SocketAddrs {
            peer: "127.0.0.1:5000".parse().unwrap(),
            local: "127.0.0.2:443".parse().unwrap(),
        })
    }

    fn decode(bytes: &[u8]) -> Header {
        match Decoder::new(Options::new()).decode(bytes) {
            Ok(Decoded::Header(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    fn v1(destination: Destination) -> Outgoing {
        Outgoing::V1 { destination }
    }

    fn v2(tlv_pass: TlvPass) -> Outgoing {
        setting(tlv_pass, Vec::new())
    }

    fn setting(tlv_pass: TlvPass, tlv_set: Vec<TlvSet>) -> Outgoing {
        let destination = Destination::Original;
        Outgoing::V2 { destination, tlv_pass, tlv_set, crc32c: ChecksumSent::WhenReceived }
    }

    fn sent(outgoing: &Outgoing, received: Option<&[u8]>) -> Vec<u8> {
        let header = received.map(decode);
        let mut out = vec![0; ppcore::V2_LEN_MAX];
        let len =
            outgoing.compose(&mut out, header.as_ref().zip(received), socket(), FACTS).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn without_carried_addresses_the_sockets_own_are_sent() {
        for received in [None, Some(&b"PROXY UNKNOWN\r\n"[..])] {
            let line = sent(&v1(Destination::Original), received);
            assert_eq!(line, b"PROXY TCP4 127.0.0.1 127.0.0.2 5000 443\r\n");
        }
    }

    #[test]
    fn a_unix_socket_has_no_addresses_to_tell() {
        let compose = |outgoing: &Outgoing, received: Option<&[u8]>| {
            let header = received.map(decode);
            let mut out = [0; 64];
            let len = outgoing
                .compose(&mut out, header.as_ref().zip(received), None, Facts::default())
                .unwrap();
            out[..len].to_vec()
        };
        let unspec = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
        assert_eq!(compose(&v2(TlvPass::All), None), unspec);
        assert_eq!(compose(&v1(Destination::Local), None), b"PROXY UNKNOWN\r\n");
        // What was carried is known all the same.
        let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n";
        for destination in [Destination::Original, Destination::Local] {
            assert_eq!(compose(&v1(destination), Some(line)), line);
        }
    }

    #[test]
    fn addresses_of_datagrams_are_not_those_of_the_connection() {
        let received =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a";
        let line = sent(&v1(Destination::Original), Some(received));
        assert_eq!(line, b"PROXY TCP4 127.0.0.1 127.0.0.2 5000 443\r\n");
    }

    #[test]
    fn the_destination_is_the_original_or_our_own() {
        let received = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n";
        let original = sent(&v1(Destination::Original), Some(received));
        assert_eq!(original, received);
        let local = sent(&v1(Destination::Local), Some(received));
        assert_eq!(local, b"PROXY TCP4 1.2.3.4 127.0.0.2 9 443\r\n");
    }

    #[test]
    fn local_stays_local() {
        let mut local = [0; 16];
        Encoder::local(&mut local).finish().unwrap();
        assert_eq!(sent(&v2(TlvPass::All), Some(&local)), local);
        assert_eq!(sent(&v1(Destination::Original), Some(&local)), b"PROXY UNKNOWN\r\n");
        assert_eq!(sent(&Outgoing::Off, Some(&local)), b"");
    }

    #[test]
    fn tlvs_pass_byte_exact_and_the_checksum_is_made_anew() {
        let addresses =
            Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let mut bytes = [0; 256];
        let len = Encoder::stream(&mut bytes, &addresses)
            .tlv(tlv::AWS, b"\x01vpce\0\xff")
            .crc32c()
            .tlv(tlv::NOOP, b"")
            .finish()
            .unwrap();
        let received = &bytes[..len];
        let all = sent(&v2(TlvPass::All), Some(received));
        let header = decode(&all);
        let kinds: Vec<u8> = header.tlvs(&all).map(|tlv| tlv.unwrap().kind()).collect();
        assert_eq!(kinds, [tlv::AWS, tlv::NOOP, tlv::CRC32C]);
        assert_eq!(header.crc32c(&all), Crc32cStatus::Valid);
        let one = sent(&v2(TlvPass::Types(vec![tlv::AWS])), Some(received));
        let kinds: Vec<u8> = decode(&one).tlvs(&one).map(|tlv| tlv.unwrap().kind()).collect();
        assert_eq!(kinds, [tlv::AWS, tlv::CRC32C]);
    }

    #[test]
    fn what_is_set_takes_the_place_of_what_would_pass_and_the_rest_keeps_order_and_duplicates() {
        let addresses =
            Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let mut bytes = [0; 256];
        let len = Encoder::stream(&mut bytes, &addresses)
            .tlv(0xE1, b"a client's word")
            .tlv(0xE2, b"2")
            .tlv(tlv::UNIQUE_ID, b"theirs")
            .tlv(0xE0, b"0")
            .tlv(0xE2, b"")
            .tlv(0xE1, b"and another")
            .finish()
            .unwrap();
        let set = |kind, bytes: &[u8]| TlvSet { kind, value: TlvValue::Bytes(bytes.to_vec()) };
        let ours = vec![
            set(0xE1, b"edge-1"),
            TlvSet { kind: tlv::UNIQUE_ID, value: TlvValue::From(TlvSource::Id) },
            set(0xE1, b"\0"),
        ];
        let outgoing = setting(TlvPass::All, ours);
        let out = sent(&outgoing, Some(&bytes[..len]));
        let fixed =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x29\x01\x02\x03\x04\x06\x07\x08\x09\0\x05\0\x0a";
        let tlvs = b"\xe2\0\x012\xe0\0\x010\xe2\0\0\xe1\0\x06edge-1\x05\0\x02id\xe1\0\x01\0";
        assert_eq!(out, [&fixed[..], tlvs].concat());
        assert!(outgoing.needs_id() && !v2(TlvPass::All).needs_id());
        // Also where nothing came, and of LOCAL.
        let plain = sent(&outgoing, None);
        assert_eq!(plain[28..], tlvs[11..]);
        let mut local = [0; 16];
        Encoder::local(&mut local).finish().unwrap();
        assert_eq!(sent(&outgoing, Some(&local))[16..], tlvs[11..]);
    }

    #[test]
    fn a_datagram_is_told_as_a_connection_is_and_with_its_own_transport() {
        let SocketAddrs { peer, local: ours } = socket().unwrap();
        let [source, service] = ["1.2.3.4:5", "6.7.8.9:10"].map(|addr| addr.parse().unwrap());
        let sent = |outgoing: &Outgoing, datagram: &Datagram<'_>| {
            let mut out = [0; 128];
            let len = outgoing.compose_datagram(&mut out, datagram, ours, FACTS).unwrap();
            out[..len].to_vec()
        };
        let read = |bytes: &[u8]| {
            let datagram = datagram::read_v2(Policy::Use, Options::new(), peer, bytes).unwrap();
            sent(&v2(TlvPass::All), &datagram)
        };
        let mut bytes = [0; 128];
        let len = Encoder::datagram(&mut bytes, &Addresses::pair(source, service))
            .tlv(tlv::AWS, b"\x01vpce")
            .crc32c()
            .finish()
            .unwrap();
        let header = bytes[..len].to_vec();
        bytes[len..len + 5].copy_from_slice(b"query");
        assert_eq!(read(&bytes[..len + 5]), header);
        let plain = datagram::write_v2(peer, ours, b"");
        assert_eq!(read(b"query"), plain);
        let of_a_stream = Encoder::stream(&mut bytes, &Addresses::pair(source, service)).finish();
        assert_eq!(read(&bytes[..of_a_stream.unwrap()]), plain, "no addresses of datagrams");
        let local = Encoder::local(&mut bytes).finish().unwrap();
        assert_eq!(read(&bytes[..local]), bytes[..local]);
        let later = Datagram::continuing(peer, None, true, b"query");
        assert_eq!(sent(&v2(TlvPass::All), &later), bytes[..local]);
        let later = Datagram::continuing(peer, Some((source, service)), false, b"query");
        for (destination, second) in [(Destination::Original, service), (Destination::Local, ours)]
        {
            let (tlv_pass, tlv_set) = (TlvPass::All, Vec::new());
            let crc32c = ChecksumSent::WhenReceived;
            let outgoing = Outgoing::V2 { destination, tlv_pass, tlv_set, crc32c };
            assert_eq!(sent(&outgoing, &later), datagram::write_v2(source, second, b""));
            let spp = Outgoing::Spp { destination };
            assert_eq!(sent(&spp, &later), datagram::write_spp(source, second, b""));
            assert!(!spp.takes_tlvs() && !spp.needs_id());
            let composed = spp.compose(&mut bytes, None, socket(), FACTS);
            assert_eq!(composed, Ok(0), "a connection");
        }
        for none in [Outgoing::Off, v1(Destination::Original)] {
            assert_eq!(sent(&none, &later), b"");
        }
    }

    #[test]
    fn our_own_address_is_asked_for_only_where_it_is_sent() {
        let carried = decode(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n");
        assert!(!v2(TlvPass::All).needs_local(Some(&carried)));
        assert!(v2(TlvPass::All).needs_local(None));
        assert!(v1(Destination::Local).needs_local(Some(&carried)));
        assert!(!Outgoing::Off.needs_local(None));
    }

    #[test]
    fn what_is_composed_without_the_bytes_is_the_same_where_they_are_not_needed() {
        let addresses =
            Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let mut bytes = [0; 64];
        let plain = Encoder::stream(&mut bytes, &addresses).finish().unwrap();
        let plain = bytes[..plain].to_vec();
        let tlvs = Encoder::stream(&mut bytes, &addresses).tlv(tlv::NOOP, b"").crc32c().finish();
        let tlvs = bytes[..tlvs.unwrap()].to_vec();
        for received in [&plain, &tlvs] {
            let header = decode(received);
            for outgoing in [Outgoing::Off, v1(Destination::Original), v2(TlvPass::All)] {
                let mut out = [0; 64];
                let len =
                    outgoing.compose(&mut out, Some((&header, &[])), socket(), FACTS).unwrap();
                let is_same = out[..len] == sent(&outgoing, Some(received));
                assert_eq!(is_same, !outgoing.needs_bytes(&header), "{outgoing:?}");
            }
        }
    }

    #[test]
    fn what_is_made_of_a_connection_is_sent_where_it_is_known_and_never_taken_from_who_came() {
        let set = |kind, source| TlvSet { kind, value: TlvValue::From(source) };
        let tlv_set = vec![set(tlv::AUTHORITY, TlvSource::Sni), set(tlv::ALPN, TlvSource::Alpn)];
        let outgoing = setting(TlvPass::All, tlv_set);
        assert!(outgoing.needs_hello() && !outgoing.needs_id());
        let addresses =
            Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let mut bytes = [0; 256];
        let encoder = Encoder::stream(&mut bytes, &addresses).tlv(tlv::ALPN, b"claimed");
        let len = encoder.tlv(tlv::AUTHORITY, b"claimed.test").finish().unwrap();
        let bytes = sent(&outgoing, Some(&bytes[..len]));
        let header = decode(&bytes);
        let tlvs: Vec<_> = header.tlvs(&bytes).map(|tlv| tlv.unwrap()).collect();
        assert_eq!(tlvs.len(), 1, "no protocol is known");
        assert_eq!((tlvs[0].kind(), tlvs[0].value()), (tlv::AUTHORITY, &b"a.test"[..]));
    }
}
