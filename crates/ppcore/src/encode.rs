//! The way out: a header written into a caller's slice.
//!
//! Not a socket: the specification wants the header sent in one go, before any payload (spec 2), and
//! that is the caller's to do. Lengths are exact: a slice that is too short is told how long it must
//! be, so an empty slice asks for the length. Invariant: what is written here, [`Decoder`] accepts, but
//! for a checksum given by hand.
//!
//! [`Decoder`]: crate::Decoder
//!
//! ```
//! use ppcore::{Addresses, encode::Encoder, tlv};
//!
//! let addresses = Addresses::pair("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
//! let mut out = [0; 128];
//! let len = Encoder::stream(&mut out, &addresses).tlv(tlv::ALPN, b"h2").crc32c().finish()?;
//! assert_eq!(len, 16 + 12 + 5 + 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::header::Addresses;
use crate::tlv::{self, TLV_HEADER_LEN};
use crate::{Transport, V2_FIXED_LEN, V2_LEN_MAX, crc32c, v1, v2};

/// The bytes of one UNIX name in a v2 address block.
const UNIX_NAME_LEN: usize = 108;

/// A header that cannot be written.
///
/// ```
/// use ppcore::encode::{EncodeError, Encoder};
///
/// // An empty slice asks for the length.
/// let result = Encoder::local(&mut []).crc32c().finish();
/// assert_eq!(result, Err(EncodeError::BufferTooSmall { needed: 16 + 7 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The slice is too short; what it holds now is unspecified.
    #[error("the header takes {needed} bytes, more than the buffer holds")]
    BufferTooSmall {
        /// Bytes the header takes.
        needed: usize,
    },
    /// More than 65,535 bytes follow the fixed part of a v2 header.
    #[error("a v2 header holds at most 65,551 bytes")]
    TooLong,
    /// [`Encoder::pad_to`] asks for less than what is written, or for one or two bytes more: padding
    /// takes three at least (spec 2.2.4).
    #[error("the padding must be nothing or at least 3 bytes")]
    Padding,
    /// An id is longer than 128 bytes (spec 2.2.5).
    #[error("a unique id holds at most 128 bytes")]
    UniqueId,
    /// A UNIX name is longer than 108 bytes.
    #[error("a UNIX socket name holds at most 108 bytes")]
    UnixName,
    /// UNIX names without a transport: a receiver takes no addresses from such a header, and their bytes
    /// for TLVs (spec 2.2).
    #[error("UNIX socket names need a transport, stream or datagram")]
    UnixTransport,
}

/// Writes a v1 line and returns its length, 15..=104 bytes (spec 2.1).
///
/// ```
/// use ppcore::{Addresses, encode};
///
/// let addresses = Addresses::pair("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let mut out = [0; ppcore::V1_LEN_MAX];
/// let len = encode::v1(&mut out, &addresses)?;
/// assert_eq!(&out[..len], b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Addresses::None`] and [`Addresses::Unix`], which v1 cannot carry, make `PROXY UNKNOWN`. IPv6 is
/// written as RFC 5952 has it, but in hexadecimal throughout.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`].
pub fn v1(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    let mut cursor = Cursor { out, len: 0 };
    cursor.push(v1::KEYWORD);
    match (addresses.source(), addresses.destination()) {
        (Some(source), Some(destination)) => {
            cursor.push(if source.is_ipv4() { b" TCP4 " } else { b" TCP6 " });
            cursor.ip(source);
            cursor.push(b" ");
            cursor.ip(destination);
            cursor.push(b" ");
            cursor.decimal(source.port());
            cursor.push(b" ");
            cursor.decimal(destination.port());
        }
        (_, _) => cursor.push(b" UNKNOWN"),
    }
    cursor.push(b"\r\n");
    cursor.finish()
}

/// Writes one v2 header, piece by piece (spec 2.2).
///
/// Every call adds to the header; [`finish`](Self::finish) reports the first thing that went wrong.
///
/// ```
/// use ppcore::{Addresses, Transport, encode::Encoder, tlv};
///
/// let addresses = Addresses::pair("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let mut out = [0; 512];
/// let inner: &[(u8, &[u8])] = &[(tlv::SSL_VERSION, b"TLSv1.3"), (tlv::SSL_CN, b"client")];
/// let over_tls = Encoder::stream(&mut out, &addresses).ssl(tlv::CLIENT_SSL, 0, inner);
/// assert_eq!(over_tls.pad_to(128).finish(), Ok(128));
/// assert_eq!(Encoder::datagram(&mut out, &addresses).finish(), Ok(28));
/// assert_eq!(Encoder::unix(&mut out, Transport::Stream, b"/run/a", b"/run/b").finish(), Ok(232));
/// // A health check speaks for itself.
/// assert_eq!(Encoder::local(&mut out).finish(), Ok(16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "`finish` completes the header and tells its length"]
pub struct Encoder<'a> {
    cursor: Cursor<'a>,
    /// Offset of the checksum's value.
    crc_at: Option<usize>,
    error: Option<EncodeError>,
}

impl<'a> Encoder<'a> {
    /// Begins a PROXY header of a byte stream.
    ///
    /// [`Addresses::None`] makes UNSPEC; so does [`Addresses::Unix`], whose names
    /// [`unix`](Self::unix) takes.
    pub fn stream(out: &'a mut [u8], addresses: &Addresses) -> Self {
        Self::begin(out, v2::PROXY, Transport::Stream, addresses)
    }

    /// Begins a PROXY header of a datagram; the payload follows in the same datagram (spec 2).
    pub fn datagram(out: &'a mut [u8], addresses: &Addresses) -> Self {
        Self::begin(out, v2::PROXY, Transport::Dgram, addresses)
    }

    /// Begins a LOCAL header, without addresses: the sender speaks for itself.
    pub fn local(out: &'a mut [u8]) -> Self {
        Self::begin(out, v2::LOCAL, Transport::Unspec, &Addresses::None)
    }

    /// Begins a PROXY header of a UNIX socket, stream or datagram; names are `sun_path` of unix(7), at
    /// most 108 bytes.
    pub fn unix(
        out: &'a mut [u8],
        transport: Transport,
        source: &[u8],
        destination: &[u8],
    ) -> Self {
        let mut encoder = Self::fixed(out, v2::PROXY, 0x30 | nibble(transport));
        if transport == Transport::Unspec {
            encoder.fail(EncodeError::UnixTransport);
        }
        for name in [source, destination] {
            encoder.cursor.push(name);
            match UNIX_NAME_LEN.checked_sub(name.len()) {
                Some(rest) => encoder.cursor.zeros(rest),
                None => encoder.fail(EncodeError::UnixName),
            }
        }
        encoder
    }

    fn begin(out: &'a mut [u8], command: u8, transport: Transport, addresses: &Addresses) -> Self {
        match *addresses {
            Addresses::Inet { source, destination } => {
                let mut encoder = Self::fixed(out, command, 0x10 | nibble(transport));
                encoder.cursor.push(&source.ip().octets());
                encoder.cursor.push(&destination.ip().octets());
                encoder.ports(source.port(), destination.port());
                encoder
            }
            Addresses::Inet6 { source, destination } => {
                let mut encoder = Self::fixed(out, command, 0x20 | nibble(transport));
                encoder.cursor.push(&source.ip().octets());
                encoder.cursor.push(&destination.ip().octets());
                encoder.ports(source.port(), destination.port());
                encoder
            }
            Addresses::None | Addresses::Unix => Self::fixed(out, command, 0),
        }
    }

    fn fixed(out: &'a mut [u8], command: u8, family: u8) -> Self {
        let mut cursor = Cursor { out, len: 0 };
        cursor.push(&v2::SIGNATURE);
        cursor.push(&[command, family, 0, 0]);
        Self { cursor, crc_at: None, error: None }
    }

    fn ports(&mut self, source: u16, destination: u16) {
        self.cursor.push(&source.to_be_bytes());
        self.cursor.push(&destination.to_be_bytes());
    }

    /// Adds a TLV. A checksum is [`crc32c`](Self::crc32c)'s to add: one that is given here is written
    /// as it is, right or wrong.
    pub fn tlv(mut self, kind: u8, value: &[u8]) -> Self {
        if self.tlv_header(kind, value.len()) {
            self.cursor.push(value);
        }
        self
    }

    /// Adds an opaque id of at most 128 bytes (spec 2.2.5).
    ///
    /// ```
    /// use ppcore::encode::{EncodeError, Encoder};
    ///
    /// let mut out = [0; 256];
    /// assert_eq!(Encoder::local(&mut out).unique_id(b"8f14e45f").finish(), Ok(16 + 3 + 8));
    /// assert_eq!(Encoder::local(&mut out).unique_id(&[0; 129]).finish(), Err(EncodeError::UniqueId));
    /// ```
    pub fn unique_id(mut self, id: &[u8]) -> Self {
        if id.len() > tlv::UNIQUE_ID_LEN_MAX {
            self.fail(EncodeError::UniqueId);
        }
        self.tlv(tlv::UNIQUE_ID, id)
    }

    /// Adds an SSL TLV: flags, verify result, and its inner TLVs (spec 2.2.6).
    pub fn ssl(mut self, client: u8, verify: u32, sub_tlvs: &[(u8, &[u8])]) -> Self {
        let inner = sub_tlvs.iter().map(|(_, value)| TLV_HEADER_LEN + value.len());
        let len = inner.fold(5, usize::saturating_add);
        self.tlv_header(tlv::SSL, len);
        self.cursor.push(&[client]);
        self.cursor.push(&verify.to_be_bytes());
        for (kind, value) in sub_tlvs {
            self = self.tlv(*kind, value);
        }
        self
    }

    /// Adds a checksum over the whole header, computed by [`finish`](Self::finish); a second call
    /// adds nothing.
    pub fn crc32c(mut self) -> Self {
        if self.crc_at.is_none() {
            self.tlv_header(tlv::CRC32C, crc32c::LEN);
            self.crc_at = Some(self.cursor.len);
            self.cursor.zeros(crc32c::LEN);
        }
        self
    }

    /// Pads with a NOOP TLV until the header is `len` bytes long (spec 2.2.4).
    pub fn pad_to(mut self, len: usize) -> Self {
        match len.checked_sub(self.cursor.len) {
            Some(0) => {}
            // Counted, so many bytes might overflow.
            Some(_) if len > V2_LEN_MAX => self.fail(EncodeError::TooLong),
            Some(missing) if missing >= TLV_HEADER_LEN => {
                self.tlv_header(tlv::NOOP, missing - TLV_HEADER_LEN);
                self.cursor.zeros(missing - TLV_HEADER_LEN);
            }
            Some(_) | None => self.fail(EncodeError::Padding),
        }
        self
    }

    /// Fills in the length and the checksum, and returns the header's length in bytes.
    ///
    /// # Errors
    /// The first thing that went wrong; see [`EncodeError`].
    pub fn finish(mut self) -> Result<usize, EncodeError> {
        let len = u16::try_from(self.cursor.len - V2_FIXED_LEN);
        let len = len.map_err(|_| self.error.unwrap_or(EncodeError::TooLong))?;
        if let Some(error) = self.error {
            return Err(error);
        }
        self.cursor.overwrite(V2_FIXED_LEN - 2, &len.to_be_bytes());
        if let Some(value_at) = self.crc_at {
            let header = self.cursor.out.get(..self.cursor.len).unwrap_or_default();
            let crc = crc32c::compute(header, value_at);
            self.cursor.overwrite(value_at, &crc.to_be_bytes());
        }
        self.cursor.finish()
    }

    /// Writes type and length, unless they are too long already: counting on might overflow.
    fn tlv_header(&mut self, kind: u8, len: usize) -> bool {
        match u16::try_from(len) {
            Ok(len) if self.cursor.len <= V2_LEN_MAX => {
                self.cursor.push(&[kind]);
                self.cursor.push(&len.to_be_bytes());
                true
            }
            Ok(_) | Err(_) => {
                self.fail(EncodeError::TooLong);
                false
            }
        }
    }

    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

const fn nibble(transport: Transport) -> u8 {
    match transport {
        Transport::Unspec => 0,
        Transport::Stream => 1,
        Transport::Dgram => 2,
    }
}

/// A slice and how much has been written; it goes on counting past the slice's end.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) out: &'a mut [u8],
    pub(crate) len: usize,
}

impl Cursor<'_> {
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.overwrite(self.len, bytes);
        self.len += bytes.len();
    }

    fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.out.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    fn zeros(&mut self, count: usize) {
        let room = self.out.get_mut(self.len..).unwrap_or_default();
        room.iter_mut().take(count).for_each(|byte| *byte = 0);
        self.len += count;
    }

    pub(crate) fn finish(self) -> Result<usize, EncodeError> {
        if self.len <= self.out.len() {
            Ok(self.len)
        } else {
            Err(EncodeError::BufferTooSmall { needed: self.len })
        }
    }

    fn ip(&mut self, addr: SocketAddr) {
        match addr {
            SocketAddr::V4(addr) => self.inet(*addr.ip()),
            SocketAddr::V6(addr) => self.inet6(*addr.ip()),
        }
    }

    fn inet(&mut self, ip: Ipv4Addr) {
        let [a, b, c, d] = ip.octets();
        self.decimal(a.into());
        for octet in [b, c, d] {
            self.push(b".");
            self.decimal(octet.into());
        }
    }

    /// RFC 5952: lower case, and `::` for the longest run of two or more zero groups.
    fn inet6(&mut self, ip: Ipv6Addr) {
        let groups = ip.segments();
        let run = longest_zero_run(groups);
        for (at, group) in groups.into_iter().enumerate() {
            if run.contains(&at) {
                if at == run.start {
                    self.push(b"::");
                }
                continue;
            }
            if at != 0 && at != run.end {
                self.push(b":");
            }
            self.hex(group);
        }
    }

    /// Writes digits without leading zeros. By hand: formatting through `core::fmt` leaves panic
    /// symbols in a freestanding link.
    fn decimal(&mut self, value: u16) {
        let mut divisor = 10_000;
        while divisor > 1 && value < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            let digit = value / divisor % 10;
            self.push(&[b'0' + digit.to_le_bytes()[0]]);
            divisor /= 10;
        }
    }

    fn hex(&mut self, value: u16) {
        let mut shift = 12;
        while shift > 0 && value >> shift == 0 {
            shift -= 4;
        }
        loop {
            let nibble = (value >> shift & 15).to_le_bytes()[0];
            self.push(&[if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }]);
            if shift == 0 {
                break;
            }
            shift -= 4;
        }
    }
}

/// Returns the first of the longest runs of zero groups; empty, and past the end, if there is none.
fn longest_zero_run(groups: [u16; 8]) -> core::ops::Range<usize> {
    let (mut best, mut start) = (8..8, None);
    for (at, group) in groups.into_iter().enumerate() {
        start = if group == 0 { start.or(Some(at)) } else { None };
        let longer = start.filter(|start| at + 1 - start > best.len().max(1));
        if let Some(start) = longer {
            best = start..at + 1;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};

    use super::*;

    fn line(source: &str, destination: &str) -> String {
        let addresses = Addresses::pair(source.parse().unwrap(), destination.parse().unwrap());
        let mut out = [0; 107];
        let len = v1(&mut out, &addresses).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_v1_line_reads_as_the_specification_prints_it() {
        assert_eq!(
            line("192.168.0.1:56324", "192.168.0.11:443"),
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
        );
        assert_eq!(line("[::1]:1", "1.2.3.4:0"), "PROXY TCP6 ::1 ::ffff:102:304 1 0\r\n");
    }

    #[test]
    fn ipv6_text_is_canonical() {
        for ip in ["::", "::1", "1::", "1:0:2::3", "0:1::", "2001:db8::1:0:0:1", "1:2:3:4:5:6:7:8"]
        {
            let mut out = [0; 39];
            let mut cursor = Cursor { out: &mut out, len: 0 };
            cursor.inet6(ip.parse().unwrap());
            let len = cursor.finish().unwrap();
            let want = ip.parse::<Ipv6Addr>().unwrap().to_string();
            assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), want);
        }
    }

    #[test]
    fn an_empty_slice_is_told_the_exact_length() {
        let addresses = Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:1".parse().unwrap());
        assert_eq!(v1(&mut [], &addresses), Err(EncodeError::BufferTooSmall { needed: 32 }));
        let v2 = Encoder::stream(&mut [], &addresses).crc32c().finish();
        assert_eq!(v2, Err(EncodeError::BufferTooSmall { needed: 35 }));
    }

    #[test]
    fn padding_takes_three_bytes_or_none() {
        let pad = |len| Encoder::local(&mut [0; 64]).pad_to(len).finish();
        assert_eq!(pad(16), Ok(16));
        assert_eq!(pad(17), Err(EncodeError::Padding));
        assert_eq!(pad(19), Ok(19));
        assert_eq!(pad(15), Err(EncodeError::Padding));
    }

    #[test]
    fn unix_names_need_a_transport() {
        let mut out = [0; 232];
        let nameless = Encoder::unix(&mut out, Transport::Unspec, b"/a", b"/b").finish();
        assert_eq!(nameless, Err(EncodeError::UnixTransport));
    }

    #[test]
    fn a_header_above_the_length_field_is_refused() {
        let mut out = std::vec![0; 70_000];
        let exact = Encoder::local(&mut out).tlv(0xE0, &[0; 65_532]).finish();
        assert_eq!(exact, Ok(65_551));
        assert_eq!(exact, Ok(V2_LEN_MAX));
        assert_eq!(Encoder::local(&mut out).pad_to(V2_LEN_MAX).finish(), exact);
        let long = Encoder::local(&mut out).tlv(0xE0, &[0; 65_533]).finish();
        assert_eq!(long, Err(EncodeError::TooLong));
        let endless = Encoder::local(&mut out).pad_to(usize::MAX).tlv(0xE0, b"more").crc32c();
        assert_eq!(endless.finish(), Err(EncodeError::TooLong));
    }
}
