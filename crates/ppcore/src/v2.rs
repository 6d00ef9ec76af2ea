//! The binary block of version 2 (spec 2.2), judged as it grows.
//!
//! Four bytes behind the signature say how long the header is; they are judged anew on every call,
//! which is cheaper than to remember what they said. From there on only TLV frames can go wrong,
//! and a [`Walk`] looks at each of them once, as its bytes arrive. Where all of them are there and none
//! is a checksum, [`plain_len`] has said so before, and no walk is needed.
//! Invariant: the walk stays where it is until the fixed part has passed, and never goes back.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::crc32c::{self, Found};
use crate::decode::{Decoded, Options, TlvFraming, Unspec};
use crate::header::{Addresses, Command, Family, Header, Transport, Version};
use crate::tlv::{self, Tlvs};
use crate::{Error, ErrorKind, V2_FIXED_LEN};

/// The twelve bytes every v2 header begins with (spec 2.2).
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Byte 12 of a LOCAL header: version 2, command 0.
pub(crate) const LOCAL: u8 = 0x20;
/// Byte 12 of a PROXY header: version 2, command 1.
pub(crate) const PROXY: u8 = 0x21;

const COMMAND_AT: usize = 12;
const FAMILY_AT: usize = 13;
const LEN_AT: usize = 14;

/// What the fixed part says.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    command: Command,
    family: Family,
    transport: Transport,
    /// Bytes of the address block, 0 where the header carries no addresses.
    block_len: usize,
    /// Bytes of the whole header.
    len: usize,
}

/// The state of one header.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    walk: Walk,
}

impl Block {
    pub(crate) const fn new() -> Self {
        Self { walk: Walk { at: 0, crc_at: 0 } }
    }

    /// Judges what has arrived.
    #[inline(never)]
    pub(crate) fn resume(&mut self, received: &[u8], options: &Options) -> Result<Decoded, Error> {
        let whole = received.first_chunk::<V2_FIXED_LEN>();
        let Some(bytes) = whole.filter(|bytes| bytes.starts_with(&SIGNATURE)) else {
            return judge_stump(received, options);
        };
        let Some(fixed) = Fixed::addressed(bytes, options) else {
            return judge_without_addresses(bytes, received, options);
        };
        if fixed.len > fixed.tlvs_at() && options.judges_tlvs() {
            return self.judge_tlvs(bytes, received, options);
        }
        fixed.answer(received)
    }

    /// Judges what has arrived of a header that must carry a checksum; that it carries none is known at its end.
    #[inline(never)]
    pub(crate) fn resume_summed(
        &mut self,
        received: &[u8],
        options: &Options,
    ) -> Result<Decoded, Error> {
        match self.resume(received, options)? {
            Decoded::Header(header) if crc32c::find(header.tlvs(received)) == Found::No => {
                Err(Error::new(ErrorKind::CrcMissing, header.len()))
            }
            decoded @ (Decoded::Header(_) | Decoded::Need(_) | Decoded::Absent) => Ok(decoded),
        }
    }

    /// Judges what has arrived of a header with TLVs. Apart from the other headers, which save fewer
    /// registers; to read the fixed part again is cheaper than to hand over what it says.
    #[inline(never)]
    fn judge_tlvs(
        &mut self,
        bytes: &[u8; V2_FIXED_LEN],
        received: &[u8],
        options: &Options,
    ) -> Result<Decoded, Error> {
        let Some(fixed) = Fixed::addressed(bytes, options) else {
            return judge_without_addresses(bytes, received, options);
        };
        let tlvs = received.get(fixed.tlvs_at()..fixed.len).unwrap_or_default();
        let passed = plain_len(tlvs);
        if passed == 0 || passed != tlvs.len() {
            // Strict framing blames a byte of the TLV in front of a stump.
            let passed = if options.tlv_framing == TlvFraming::Lazy { passed } else { 0 };
            self.walk.at = self.walk.at.max(fixed.tlvs_at() + passed);
            self.walk.judge(received, &fixed, options)?;
        }
        fixed.answer(received)
    }
}

/// Judges a bad signature, or less than the fixed part: what a whole one with these bytes is refused
/// for counts only if the byte to blame is there.
#[cold]
fn judge_stump(received: &[u8], options: &Options) -> Result<Decoded, Error> {
    let pairs = SIGNATURE.iter().zip(received);
    let matched = pairs.take_while(|(want, got)| want == got).count();
    if matched < SIGNATURE.len().min(received.len()) {
        return options.not_proxy(matched);
    }
    let mut bytes = [0; V2_FIXED_LEN];
    for (byte, &arrived) in bytes.iter_mut().zip(received) {
        *byte = arrived;
    }
    match Fixed::judge(&bytes, options) {
        Err(error) if error.offset() < received.len() => Err(error),
        Ok(_) | Err(_) => Ok(Decoded::Need(V2_FIXED_LEN - received.len())),
    }
}

impl Fixed {
    /// Reads the bytes behind the signature, if they begin a good header with addresses: most do.
    #[inline(always)]
    fn addressed(bytes: &[u8; V2_FIXED_LEN], options: &Options) -> Option<Self> {
        let &[.., PROXY, family, high, low] = bytes else { return None };
        let (family, transport, block_len) = addresses(family)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let fits = block_len <= len && len <= options.v2_len_max.into();
        let len = V2_FIXED_LEN + len;
        fits.then_some(Self { command: Command::Proxy, family, transport, block_len, len })
    }

    /// Judges the bytes behind the signature, in their order: a refusal depends on no byte behind its
    /// offset.
    #[cold]
    fn judge(bytes: &[u8; V2_FIXED_LEN], options: &Options) -> Result<Self, Error> {
        Self::read(bytes, options).map_err(|error| refuse(error, bytes, options))
    }

    #[inline(always)]
    fn read(bytes: &[u8; V2_FIXED_LEN], options: &Options) -> Result<Self, Error> {
        let &[.., command, family, high, low] = bytes;
        let command = match command {
            LOCAL => Command::Local,
            PROXY => Command::Proxy,
            0x22..=0x2F => return Err(Error::new(ErrorKind::V2BadCommand, COMMAND_AT)),
            _ => return Err(Error::new(ErrorKind::V2BadVersion, COMMAND_AT)),
        };
        let (family, transport, block_len) = match command {
            Command::Proxy => {
                judge_family(family, options).map_err(|kind| Error::new(kind, FAMILY_AT))?
            }
            // Ignored, whatever it says; kept only to find TLVs behind an address block.
            Command::Local | Command::Unknown => {
                let family = Family::from_nibble(family >> 4).unwrap_or(Family::Unspec);
                (family, Transport::Unspec, 0)
            }
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > options.v2_len_max.into() || len < block_len {
            return Err(refuse_len(high, len, block_len, options));
        }
        Ok(Self { command, family, transport, block_len, len: V2_FIXED_LEN + len })
    }

    /// Returns the offset of the first byte behind the addresses.
    #[inline(always)]
    fn tlvs_at(&self) -> usize {
        V2_FIXED_LEN + self.block_len
    }

    /// Builds the header, if it has arrived.
    #[inline(always)]
    fn answer(&self, received: &[u8]) -> Result<Decoded, Error> {
        let Some(header) = received.get(..self.len) else {
            return Ok(Decoded::Need(self.len - received.len()));
        };
        let block = header.get(V2_FIXED_LEN..).unwrap_or_default();
        let answer = |addresses| self.header(addresses, self.tlvs_at());
        // Each in an arm of its own: what is joined is copied.
        match (self.family, block.first_chunk(), block.first_chunk()) {
            (Family::Inet, Some(block), _) => answer(inet(block)),
            (Family::Inet6, _, Some(block)) => answer(inet6(block)),
            (Family::Unix, ..) => answer(Addresses::Unix),
            (Family::Unspec | Family::Inet | Family::Inet6, ..) => answer(Addresses::None),
        }
    }

    #[inline(always)]
    fn header(&self, addresses: Addresses, tlvs_at: usize) -> Result<Decoded, Error> {
        let Self { command, family, transport, len, .. } = *self;
        Ok(Decoded::Header(Header {
            version: Version::V2,
            command,
            family,
            transport,
            addresses,
            len: offset(len),
            tlvs_at: offset(tlvs_at),
        }))
    }
}

/// Reads the family byte of a PROXY header that carries addresses; returns also their bytes.
#[inline(always)]
const fn addresses(byte: u8) -> Option<(Family, Transport, usize)> {
    let (family, transport) = match byte {
        0x11 => (Family::Inet, Transport::Stream),
        0x12 => (Family::Inet, Transport::Dgram),
        0x21 => (Family::Inet6, Transport::Stream),
        0x22 => (Family::Inet6, Transport::Dgram),
        0x31 => (Family::Unix, Transport::Stream),
        0x32 => (Family::Unix, Transport::Dgram),
        _ => return None,
    };
    Some((family, transport, family.block_len()))
}

/// Judges the family byte of a PROXY header; returns also the bytes of the address block.
fn judge_family(byte: u8, options: &Options) -> Result<(Family, Transport, usize), ErrorKind> {
    if let Some(addresses) = addresses(byte) {
        return Ok(addresses);
    }
    let family = Family::from_nibble(byte >> 4).ok_or(ErrorKind::V2BadFamily)?;
    let transport = Transport::from_nibble(byte & 15).ok_or(ErrorKind::V2BadTransport)?;
    match options.unspec {
        Unspec::Accept => Ok((family, transport, 0)),
        Unspec::Reject => Err(ErrorKind::V2UnspecRejected),
    }
}

/// Without UNSPEC every PROXY header owes an address block: where not even the smallest fits, it is
/// the command that is refused.
#[cold]
fn refuse(error: Error, bytes: &[u8; V2_FIXED_LEN], options: &Options) -> Error {
    let owes_block = bytes.get(COMMAND_AT) == Some(&PROXY) && options.unspec == Unspec::Reject;
    if owes_block && usize::from(options.v2_len_max) < Family::Inet.block_len() {
        Error::new(ErrorKind::V2TooLong, COMMAND_AT)
    } else {
        error
    }
}

/// Names the first byte to blame for a length that is too large or leaves no room for the addresses.
#[cold]
fn refuse_len(high: u8, len: usize, block_len: usize, options: &Options) -> Error {
    let too_long = |len| len > usize::from(options.v2_len_max);
    let (kind, at) = if too_long(block_len) {
        (ErrorKind::V2TooLong, FAMILY_AT)
    } else if too_long(usize::from(high) << 8) {
        (ErrorKind::V2TooLong, LEN_AT)
    } else if too_long(len) {
        (ErrorKind::V2TooLong, LEN_AT + 1)
    } else {
        (ErrorKind::V2AddressTooShort, LEN_AT + 1)
    };
    Error::new(kind, at)
}

/// Judges what has arrived of any other header: a bad one, or one that carries no addresses, and so no
/// TLVs that a walk judges.
#[cold]
fn judge_without_addresses(
    bytes: &[u8; V2_FIXED_LEN],
    received: &[u8],
    options: &Options,
) -> Result<Decoded, Error> {
    let mut fixed = Fixed::judge(bytes, options)?;
    let Some(header) = received.get(..fixed.len) else {
        return Ok(Decoded::Need(fixed.len - received.len()));
    };
    let tlvs_at = best_effort_tlvs(header, fixed.family);
    if options.verifies() {
        let tlvs = Tlvs::new(header.get(tlvs_at..).unwrap_or_default(), tlvs_at);
        match crc32c::find(tlvs) {
            Found::No => {}
            Found::At(value_at) => verify_crc(header, value_at)?,
            Found::BadLength(at) => return Err(Error::new(ErrorKind::CrcBadLength, at)),
            Found::Duplicate(at) => return Err(Error::new(ErrorKind::CrcDuplicate, at)),
        }
    }
    if fixed.command == Command::Local {
        fixed.family = Family::Unspec;
    }
    fixed.header(Addresses::None, tlvs_at)
}

/// Finds TLVs where the rules promise none: from byte 16, else behind an address block that LOCAL
/// should not have, else nowhere. AWS sends LOCAL with TLVs at once, others with addresses first.
fn best_effort_tlvs(header: &[u8], family: Family) -> usize {
    [V2_FIXED_LEN, V2_FIXED_LEN + family.block_len()]
        .into_iter()
        .find(|&at| header.get(at..).is_some_and(|tlvs| Tlvs::new(tlvs, at).is_well_framed()))
        .unwrap_or(header.len())
}

fn inet(block: &[u8; 12]) -> Addresses {
    let &[a, b, c, d, e, f, g, h, i, j, k, l] = block;
    Addresses::Inet {
        source: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([i, j])),
        destination: SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([k, l])),
    }
}

fn inet6(block: &[u8; 36]) -> Addresses {
    let &[ref ips @ .., a, b, c, d] = block;
    // As numbers: arrays would go through memory on their way.
    let ip = |at| {
        let octets = ips.get(at..).and_then(<[u8]>::first_chunk::<16>);
        Ipv6Addr::from_bits(u128::from_be_bytes(octets.copied().unwrap_or_default()))
    };
    Addresses::Inet6 {
        source: SocketAddrV6::new(ip(0), u16::from_be_bytes([a, b]), 0, 0),
        destination: SocketAddrV6::new(ip(16), u16::from_be_bytes([c, d]), 0, 0),
    }
}

#[inline(never)]
fn verify_crc(header: &[u8], value_at: usize) -> Result<(), Error> {
    if crc32c::holds(header, value_at) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::CrcMismatch, value_at))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "offsets in a header are below 65,552")]
const fn offset(at: usize) -> u32 {
    at as u32
}

/// Returns how many bytes the TLVs take that are whole and in front of the first checksum.
#[inline(always)]
fn plain_len(tlvs: &[u8]) -> usize {
    let mut rest = tlvs;
    while let Some((&[kind, high, low], behind)) = rest.split_first_chunk() {
        match behind.get(u16::from_be_bytes([high, low]).into()..) {
            Some(behind) if kind != tlv::CRC32C => rest = behind,
            Some(_) | None => break,
        }
    }
    tlvs.len() - rest.len()
}

/// Looks at each TLV's frame once, as it arrives, and refuses at the first byte that leaves no
/// valid continuation.
#[derive(Clone, Debug)]
struct Walk {
    /// Offset of the TLV to be judged next; the header's length once there is none.
    at: usize,
    /// Offset of the checksum's value; 0 before one is found.
    crc_at: usize,
}

impl Walk {
    /// Judges the TLVs that have arrived, and the checksum once it can be computed.
    #[cold]
    fn judge(&mut self, received: &[u8], fixed: &Fixed, options: &Options) -> Result<(), Error> {
        self.advance(received, fixed, options)?;
        match received.get(..fixed.len) {
            Some(header) if self.crc_at != 0 => verify_crc(header, self.crc_at),
            Some(_) | None => Ok(()),
        }
    }

    fn advance(&mut self, received: &[u8], fixed: &Fixed, options: &Options) -> Result<(), Error> {
        let (tlvs_at, len) = (fixed.tlvs_at(), fixed.len);
        let strict = options.tlv_framing == TlvFraming::Strict;
        if strict && len - tlvs_at < tlv::TLV_HEADER_LEN {
            return Err(Error::new(ErrorKind::TlvHeaderTruncated, LEN_AT + 1));
        }
        let verify = options.verifies();
        loop {
            let at = self.at;
            let Some(room) = len.checked_sub(at + tlv::TLV_HEADER_LEN) else {
                // Nothing, or a stump that only lazy framing lets through.
                self.at = len;
                return Ok(());
            };
            let Some(frame) = received.get(at..) else { return Ok(()) };
            let Some(&kind) = frame.first() else { return Ok(()) };
            let is_crc = verify && kind == tlv::CRC32C;
            if is_crc && strict {
                self.crc_fits(room).map_err(|kind| Error::new(kind, at))?;
            }
            let Some(&high) = frame.get(1) else { return Ok(()) };
            let least = usize::from(u16::from_be_bytes([high, 0]));
            if strict && least > room {
                return Err(Error::new(ErrorKind::TlvValueOverrun, at + 1));
            }
            // A lazy walk lets a checksum that overruns pass: it is not there then.
            if is_crc && (strict || least + 0xFF <= room) && (high != 0 || self.crc_at != 0) {
                return Err(Error::new(self.crc_error(), at + 1));
            }
            let Some(&low) = frame.get(2) else { return Ok(()) };
            let value_len = usize::from(u16::from_be_bytes([high, low]));
            let refuse = |kind| Err(Error::new(kind, at + 2));
            let Some(left) = room.checked_sub(value_len) else {
                if strict {
                    return refuse(ErrorKind::TlvValueOverrun);
                }
                self.at = len;
                return Ok(());
            };
            if is_crc {
                if self.crc_at != 0 || value_len != crc32c::LEN {
                    return refuse(self.crc_error());
                }
                self.crc_at = at + tlv::TLV_HEADER_LEN;
            }
            if strict && (1..tlv::TLV_HEADER_LEN).contains(&left) {
                return refuse(ErrorKind::TlvHeaderTruncated);
            }
            self.at = at + tlv::TLV_HEADER_LEN + value_len;
        }
    }

    /// Says whether a checksum may begin here with `room` bytes behind its frame: strict framing
    /// leaves either nothing or another TLV behind it.
    const fn crc_fits(&self, room: usize) -> Result<(), ErrorKind> {
        let fits = room == crc32c::LEN || room >= crc32c::LEN + tlv::TLV_HEADER_LEN;
        if self.crc_at == 0 && fits { Ok(()) } else { Err(self.crc_error()) }
    }

    const fn crc_error(&self) -> ErrorKind {
        if self.crc_at == 0 { ErrorKind::CrcBadLength } else { ErrorKind::CrcDuplicate }
    }
}
