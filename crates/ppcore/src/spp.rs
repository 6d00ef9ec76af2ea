//! Cloudflare's Simple Proxy Protocol: 38 fixed bytes in front of every UDP datagram.
//!
//! Not part of the PROXY protocol, and told from it by configuration, never by guessing. Source:
//! Cloudflare Spectrum's documentation. IPv4 addresses travel as v4-mapped IPv6.
//!
//! ```
//! use ppcore::{Addresses, spp};
//!
//! let addresses = Addresses::pair("203.0.113.7:51820".parse()?, "192.0.2.1:53".parse()?);
//! let mut header = [0; spp::LEN];
//! spp::encode(&mut header, &addresses)?;
//! assert_eq!(spp::decode(&header)?, addresses);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::encode::{Cursor, EncodeError};
use crate::{Addresses, Error, ErrorKind};

/// The bytes of an SPP header.
pub const LEN: usize = 38;
/// The two bytes it begins with.
pub const MAGIC: [u8; 2] = [0x56, 0xEC];

/// Decodes the header of one datagram; the payload begins behind [`LEN`] bytes.
///
/// # Errors
/// [`ErrorKind::NotProxy`] if the magic is missing, [`ErrorKind::Truncated`] if the datagram ends
/// inside the header.
pub fn decode(datagram: &[u8]) -> Result<Addresses, Error> {
    if let Some(at) = MAGIC.iter().zip(datagram).position(|(want, got)| want != got) {
        return Err(Error::new(ErrorKind::NotProxy, at));
    }
    let truncated = || Error::new(ErrorKind::Truncated, datagram.len());
    let header = datagram.first_chunk::<LEN>().ok_or_else(truncated)?;
    let (_, rest) = header.split_at_checked(MAGIC.len()).ok_or_else(truncated)?;
    let (source, rest) = rest.split_first_chunk::<16>().ok_or_else(truncated)?;
    let (destination, rest) = rest.split_first_chunk::<16>().ok_or_else(truncated)?;
    let &[a, b, c, d] = rest.first_chunk::<4>().ok_or_else(truncated)?;
    let addr = |ip: &[u8; 16], port| {
        SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(*ip), u16::from_be_bytes(port), 0, 0))
    };
    Ok(Addresses::pair(addr(source, [a, b]), addr(destination, [c, d])))
}

/// Writes a header and returns its length, always [`LEN`].
///
/// Without IP addresses ([`Addresses::None`], [`Addresses::Unix`]) they are written as `::`, port 0.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`].
pub fn encode(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    let wire = |addr: Option<SocketAddr>| match addr {
        Some(SocketAddr::V4(addr)) => (addr.ip().to_ipv6_mapped(), addr.port()),
        Some(SocketAddr::V6(addr)) => (*addr.ip(), addr.port()),
        None => (Ipv6Addr::UNSPECIFIED, 0),
    };
    let (source, source_port) = wire(addresses.source());
    let (destination, destination_port) = wire(addresses.destination());
    let mut cursor = Cursor { out, len: 0 };
    cursor.push(&MAGIC);
    cursor.push(&source.octets());
    cursor.push(&destination.octets());
    cursor.push(&source_port.to_be_bytes());
    cursor.push(&destination_port.to_be_bytes());
    cursor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        let addresses = Addresses::pair("192.0.2.7:5".parse().unwrap(), "[::1]:6".parse().unwrap());
        let mut out = [0; LEN];
        assert_eq!(encode(&mut out, &addresses), Ok(LEN));
        assert_eq!(decode(&out), Ok(addresses));
    }

    #[test]
    fn a_datagram_without_the_magic_is_not_spp() {
        assert_eq!(decode(b"V\xed").unwrap_err().kind(), ErrorKind::NotProxy);
        assert_eq!(decode(b"V\xec").unwrap_err().kind(), ErrorKind::Truncated);
    }
}
