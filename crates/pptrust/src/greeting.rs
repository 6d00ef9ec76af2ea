//! The header a client of ours sends first.
//!
//! Not a socket: one write must carry the whole header before any payload (spec 2), which the
//! `connect` functions do.

use std::borrow::Cow;
use std::net::SocketAddr;

use ppcore::encode::{self, EncodeError, Encoder};
use ppcore::{Addresses, Transport, V1_LEN_MAX};

use crate::received::Received;

/// A header to be sent, v1 or v2.
///
/// ```
/// use pptrust::Greeting;
/// use pptrust::ppcore::tlv;
///
/// let (client, server) = ("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let line = Greeting::v1(client, server).to_bytes()?;
/// assert_eq!(line, b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n");
/// let block = Greeting::v2(client, server).tlv(tlv::ALPN, b"h2").crc32c().to_bytes()?;
/// assert_eq!(block.len(), 16 + 12 + 5 + 7);
/// assert_eq!(Greeting::v2_datagram(client, server).to_bytes()?.len(), 16 + 12);
/// assert_eq!(Greeting::unix(b"/run/client.sock", b"\0server").to_bytes()?.len(), 16 + 216);
/// // Without a client: relayed for nobody known, and for ourselves.
/// assert_eq!(Greeting::unknown().to_bytes()?, b"PROXY UNKNOWN\r\n");
/// assert_eq!(Greeting::local().to_bytes()?.len(), 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A [`Received`] header is sent on as it is.
#[doc(alias = "header")]
#[doc(alias = "send-proxy")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    V1(Addresses),
    V2(Block),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    kind: Kind,
    tlvs: Vec<Tlv>,
    crc32c: bool,
    /// Bytes of the whole header, if it is to be padded.
    pad_to: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Stream(Addresses),
    Datagram(Addresses),
    Unix { source: Vec<u8>, destination: Vec<u8> },
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tlv {
    Bytes(u8, Vec<u8>),
    UniqueId(Vec<u8>),
    Ssl { client: u8, verify: u32, inner: Vec<(u8, Vec<u8>)> },
}

impl Greeting {
    /// A line of text: the client at `source` connected to `destination` (spec 2.1). A pair of two
    /// families is written as IPv6, with the IPv4 address mapped.
    pub fn v1(source: SocketAddr, destination: SocketAddr) -> Self {
        Self(Form::V1(Addresses::pair(source, destination)))
    }

    /// `PROXY UNKNOWN`: relayed, for a client that is not known (spec 2.1).
    pub fn unknown() -> Self {
        Self(Form::V1(Addresses::None))
    }

    /// A binary block: the client at `source` connected to `destination` over TCP (spec 2.2).
    pub fn v2(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::block(Kind::Stream(Addresses::pair(source, destination)))
    }

    /// A binary block for the payload of one UDP datagram, which follows it in the same datagram.
    pub fn v2_datagram(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::block(Kind::Datagram(Addresses::pair(source, destination)))
    }

    /// A binary block: the client's UNIX stream socket is named `source` and connected to `destination`. A name is
    /// a path, or a NUL and a name in the abstract namespace (`sun_path` of unix(7)), of at most 108 bytes.
    pub fn unix(source: impl Into<Vec<u8>>, destination: impl Into<Vec<u8>>) -> Self {
        Self::block(Kind::Unix { source: source.into(), destination: destination.into() })
    }

    /// A binary block with the command LOCAL: we speak for ourselves, as in a health check (spec 2.2).
    pub fn local() -> Self {
        Self::block(Kind::Local)
    }

    fn block(kind: Kind) -> Self {
        Self(Form::V2(Block { kind, tlvs: Vec::new(), crc32c: false, pad_to: None }))
    }

    /// Adds a TLV behind those added before. v1 has no room for any and goes without, here and below.
    #[must_use]
    pub fn tlv(self, kind: u8, value: impl Into<Vec<u8>>) -> Self {
        let value = value.into();
        self.change(|block| block.tlvs.push(Tlv::Bytes(kind, value)))
    }

    /// Adds an opaque id of at most 128 bytes (spec 2.2.5), by which the hops' logs are found together.
    ///
    /// ```
    /// use pptrust::Greeting;
    /// use pptrust::ppcore::encode::EncodeError;
    ///
    /// assert_eq!(Greeting::local().unique_id(b"8f14e45f").to_bytes()?.len(), 16 + 3 + 8);
    /// assert_eq!(Greeting::local().unique_id([0; 129]).to_bytes(), Err(EncodeError::UniqueId));
    /// # Ok::<(), EncodeError>(())
    /// ```
    #[must_use]
    pub fn unique_id(self, id: impl Into<Vec<u8>>) -> Self {
        let id = id.into();
        self.change(|block| block.tlvs.push(Tlv::UniqueId(id)))
    }

    /// Adds what is known of the client's TLS (spec 2.2.6): the flags ([`CLIENT_SSL`](ppcore::tlv::CLIENT_SSL) and its siblings), the
    /// verify result, which is 0 for a certificate that was verified, and TLVs inside. [`SSL_VERSION`](ppcore::tlv::SSL_VERSION) must be
    /// among them where the flag says that the client used TLS.
    ///
    /// ```
    /// use pptrust::Greeting;
    /// use pptrust::ppcore::tlv::{self, CLIENT_CERT_CONN, CLIENT_SSL};
    ///
    /// let alice: [(u8, &[u8]); 2] = [(tlv::SSL_VERSION, b"TLSv1.3"), (tlv::SSL_CN, b"alice")];
    /// let header = Greeting::local().ssl(CLIENT_SSL | CLIENT_CERT_CONN, 0, alice);
    /// assert_eq!(header.to_bytes()?.len(), 16 + 8 + 10 + 8);
    /// # Ok::<(), pptrust::ppcore::encode::EncodeError>(())
    /// ```
    #[must_use]
    pub fn ssl<V: Into<Vec<u8>>>(
        self,
        client: u8,
        verify: u32,
        inner: impl IntoIterator<Item = (u8, V)>,
    ) -> Self {
        let inner = inner.into_iter().map(|(kind, value)| (kind, value.into())).collect();
        self.change(|block| block.tlvs.push(Tlv::Ssl { client, verify, inner }))
    }

    /// Adds a checksum over the whole header, behind the TLVs (spec 2.2.3).
    #[must_use]
    pub fn crc32c(self) -> Self {
        self.change(|block| block.crc32c = true)
    }

    /// Pads the header to `len` bytes in all, behind everything else (spec 2.2.4).
    ///
    /// ```
    /// use pptrust::Greeting;
    ///
    /// let header = Greeting::local().crc32c().pad_to(64).to_bytes()?;
    /// assert_eq!(header.len(), 64);
    /// # Ok::<(), pptrust::ppcore::encode::EncodeError>(())
    /// ```
    #[must_use]
    pub fn pad_to(self, len: usize) -> Self {
        self.change(|block| block.pad_to = Some(len))
    }

    fn change(mut self, change: impl FnOnce(&mut Block)) -> Self {
        match &mut self.0 {
            Form::V1(_) => {}
            Form::V2(block) => change(block),
        }
        self
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the TLVs make it longer than 65,551 bytes, [`EncodeError::UniqueId`],
    /// [`EncodeError::UnixName`], and [`EncodeError::Padding`] where it is longer than it is to be padded to, or one
    /// or two bytes shorter.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let write = |out: &mut [u8]| match &self.0 {
            Form::V1(addresses) => encode::v1(out, addresses),
            Form::V2(block) => block.write(out),
        };
        let mut out = vec![0; V1_LEN_MAX];
        let len = match write(&mut out) {
            Err(EncodeError::BufferTooSmall { needed }) => {
                out.resize(needed, 0);
                write(&mut out)?
            }
            written => written?,
        };
        out.truncate(len);
        Ok(out)
    }
}

impl Block {
    fn write(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut encoder = match &self.kind {
            Kind::Stream(addresses) => Encoder::stream(out, addresses),
            Kind::Datagram(addresses) => Encoder::datagram(out, addresses),
            Kind::Unix { source, destination } => {
                Encoder::unix(out, Transport::Stream, source, destination)
            }
            Kind::Local => Encoder::local(out),
        };
        for tlv in &self.tlvs {
            encoder = match tlv {
                Tlv::Bytes(kind, value) => encoder.tlv(*kind, value),
                Tlv::UniqueId(id) => encoder.unique_id(id),
                Tlv::Ssl { client, verify, inner } => {
                    let inner: Vec<_> =
                        inner.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
                    encoder.ssl(*client, *verify, &inner)
                }
            };
        }
        if self.crc32c {
            encoder = encoder.crc32c();
        }
        if let Some(len) = self.pad_to {
            encoder = encoder.pad_to(len);
        }
        encoder.finish()
    }
}

/// What can be sent as a header: a [`Greeting`], a [`Received`] one as it came, or bytes that are one.
///
/// ```
/// use pptrust::{AsHeader, Greeting, Received, ppcore::Options};
///
/// let greeting = Greeting::unknown();
/// let received = Received::decode(Options::new(), b"PROXY UNKNOWN\r\n")?.expect("it is whole");
/// let bytes = b"PROXY UNKNOWN\r\n";
/// for header in [&greeting as &dyn AsHeader, &received, bytes] {
///     assert_eq!(*header.header_bytes()?, *bytes);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AsHeader {
    /// Returns the bytes of the whole header.
    ///
    /// # Errors
    /// As [`Greeting::to_bytes`], and no other.
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError>;
}

impl AsHeader for Greeting {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        self.to_bytes().map(Cow::Owned)
    }
}

impl AsHeader for Received {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        Ok(Cow::Borrowed(self.as_bytes()))
    }
}

impl AsHeader for [u8] {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        Ok(Cow::Borrowed(self))
    }
}

impl<const N: usize> AsHeader for [u8; N] {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        self.as_slice().header_bytes()
    }
}

impl AsHeader for Vec<u8> {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        self.as_slice().header_bytes()
    }
}

#[cfg(feature = "bytes")]
impl AsHeader for bytes::Bytes {
    fn header_bytes(&self) -> Result<Cow<'_, [u8]>, EncodeError> {
        self.as_ref().header_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Received;
    use ppcore::{Command, Crc32cStatus, Options, UnixAddr};

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_decodes_to_what_was_asked_for() {
        let (source, destination) = (addr("[2001:db8::7]:1"), addr("192.0.2.1:2"));
        let mapped = addr("[::ffff:192.0.2.1]:2");
        for greeting in [
            Greeting::v1(source, destination),
            Greeting::v2(source, destination).crc32c(),
            Greeting::v2_datagram(source, destination).tlv(0xE0, vec![1, 2]),
        ] {
            let bytes = greeting.to_bytes().unwrap();
            let header = Received::decode(Options::new(), &bytes).unwrap().unwrap();
            assert_eq!((header.source(), header.destination()), (Some(source), Some(mapped)));
            assert_eq!(header.as_bytes(), bytes);
        }
        let decoded = |greeting: Greeting| {
            Received::decode(Options::new(), &greeting.to_bytes().unwrap()).unwrap().unwrap()
        };
        assert_eq!(decoded(Greeting::local()).command(), Command::Local);
        assert_eq!(decoded(Greeting::unknown()).command(), Command::Unknown);
        let datagram = Greeting::v2_datagram(source, destination);
        assert_eq!(decoded(datagram).transport(), Transport::Dgram);
    }

    #[test]
    fn tlvs_keep_their_order_and_too_many_are_an_error() {
        let greeting = Greeting::v2(addr("1.2.3.4:5"), addr("5.6.7.8:9"));
        let two = greeting.clone().tlv(0xE1, b"a").tlv(0xE0, b"b").to_bytes().unwrap();
        assert_eq!(&two[28..], b"\xE1\0\x01a\xE0\0\x01b");
        let long = greeting.tlv(0xE0, vec![0; 40_000]).tlv(0xE0, vec![0; 40_000]).to_bytes();
        assert_eq!(long, Err(EncodeError::TooLong));
    }

    #[test]
    fn a_padded_header_has_its_length_with_the_checksum_and_a_line_goes_without() {
        let greeting = Greeting::v2(addr("1.2.3.4:5"), addr("5.6.7.8:9")).tlv(0xE1, b"a").crc32c();
        let bytes = greeting.clone().pad_to(256).to_bytes().unwrap();
        assert_eq!(bytes.len(), 256);
        let header = Received::decode(Options::new(), &bytes).unwrap().unwrap();
        assert_eq!(header.crc32c(&bytes), Crc32cStatus::Valid);
        assert_eq!(greeting.clone().pad_to(40).to_bytes(), Err(EncodeError::Padding));
        assert_eq!(greeting.pad_to(39).to_bytes().unwrap().len(), 39);
        let line = Greeting::unknown().pad_to(64).unique_id([0; 129]).crc32c().to_bytes();
        assert_eq!(line.unwrap(), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn names_of_unix_sockets_come_out_as_they_went_in_and_have_a_bound() {
        let bytes = Greeting::unix(b"/run/a", b"\0b").to_bytes().unwrap();
        let header = Received::decode(Options::new(), &bytes).unwrap().unwrap();
        assert_eq!(header.unix(), Some((UnixAddr::Path(b"/run/a"), UnixAddr::Abstract(b"b"))));
        assert_eq!(Greeting::unix([b'a'; 109], b"").to_bytes(), Err(EncodeError::UnixName));
    }

    #[test]
    fn a_header_goes_as_bytes_without_a_copy() {
        let greeting = Greeting::v2(addr("203.0.113.7:51820"), addr("192.0.2.1:443"));
        let encoded = bytes::Bytes::from(greeting.to_bytes().unwrap());
        let received = Received::decode(Options::new(), &encoded).unwrap().unwrap();
        let at = received.as_bytes().as_ptr();
        let shared = bytes::Bytes::from(received);
        assert_eq!((shared.as_ptr(), &shared), (at, &encoded));
        assert_eq!(*shared.header_bytes().unwrap(), *greeting.header_bytes().unwrap());
    }
}
