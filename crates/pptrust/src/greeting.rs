//! The header a client of ours sends first.
//!
//! Not a socket: one write must carry the whole header before any payload (spec 2), which the
//! `connect` functions do.

use std::net::SocketAddr;

use ppcore::encode::{self, EncodeError, Encoder};
use ppcore::{Addresses, V1_LEN_MAX, V2_FIXED_LEN, tlv::TLV_HEADER_LEN};

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
/// // Without a client: relayed for nobody known, and for ourselves.
/// assert_eq!(Greeting::unknown().to_bytes()?, b"PROXY UNKNOWN\r\n");
/// assert_eq!(Greeting::local().to_bytes()?.len(), 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// To pass a header on as it came, send [`Received::as_bytes`](crate::Received::as_bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    V1(Addresses),
    V2 { kind: Kind, tlvs: Vec<(u8, Vec<u8>)>, crc32c: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream(Addresses),
    Datagram(Addresses),
    Local,
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

    /// A binary block with the command LOCAL: we speak for ourselves, as in a health check (spec 2.2).
    pub fn local() -> Self {
        Self::block(Kind::Local)
    }

    fn block(kind: Kind) -> Self {
        Self(Form::V2 { kind, tlvs: Vec::new(), crc32c: false })
    }

    /// Adds a TLV behind those added before. v1 has no room for any and goes without.
    #[must_use]
    pub fn tlv(mut self, kind: u8, value: impl Into<Vec<u8>>) -> Self {
        if let Form::V2 { tlvs, .. } = &mut self.0 {
            tlvs.push((kind, value.into()));
        }
        self
    }

    /// Adds a checksum over the whole header, as the last TLV (spec 2.2.3); v1 goes without.
    #[must_use]
    pub fn crc32c(mut self) -> Self {
        if let Form::V2 { crc32c, .. } = &mut self.0 {
            *crc32c = true;
        }
        self
    }

    /// Writes the header.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the TLVs make it longer than 65,551 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let (kind, tlvs, crc32c) = match &self.0 {
            Form::V1(addresses) => {
                let mut out = vec![0; V1_LEN_MAX];
                let len = encode::v1(&mut out, addresses)?;
                out.truncate(len);
                return Ok(out);
            }
            Form::V2 { kind, tlvs, crc32c } => (kind, tlvs, *crc32c),
        };
        // The longest address block written here, and a checksum.
        let fixed = V2_FIXED_LEN + 36 + TLV_HEADER_LEN + 4;
        let len_max: usize = tlvs.iter().map(|(_, value)| TLV_HEADER_LEN + value.len()).sum();
        let mut out = vec![0; fixed + len_max];
        let encoder = match kind {
            Kind::Stream(addresses) => Encoder::stream(&mut out, addresses),
            Kind::Datagram(addresses) => Encoder::datagram(&mut out, addresses),
            Kind::Local => Encoder::local(&mut out),
        };
        let encoder = tlvs.iter().fold(encoder, |encoder, (kind, value)| encoder.tlv(*kind, value));
        let encoder = if crc32c { encoder.crc32c() } else { encoder };
        let len = encoder.finish()?;
        out.truncate(len);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Received;
    use ppcore::{Command, Options, Transport};

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
}
