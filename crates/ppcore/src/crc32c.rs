//! The header's checksum: CRC32C over every byte of it, its own four counted as 0 (spec 2.2.3).
//!
//! Stored big-endian: the specification names only the algorithm, captures from AWS and HAProxy
//! settle the byte order. The small byte-wise table of `crc` is used on purpose: its larger ones
//! leave panic symbols in a freestanding link.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::tlv::{self, Tlvs};

const CASTAGNOLI: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// The bytes of a checksum.
pub(crate) const LEN: usize = 4;

/// Whether a header carries a checksum, and whether it holds.
///
/// ```
/// use ppcore::{Crc32cPolicy, Crc32cStatus, Decoded, Decoder, Options, encode::Encoder};
///
/// let mut bytes = [0; 23];
/// Encoder::local(&mut bytes).crc32c().finish()?;
/// bytes[22] ^= 1;
/// // A decoder refuses such a header, unless it is told to let the caller judge.
/// let lenient = Options::new().crc32c(Crc32cPolicy::Ignore);
/// let Decoded::Header(header) = Decoder::new(lenient).decode(&bytes)? else { panic!() };
/// assert_eq!(header.crc32c(&bytes), Crc32cStatus::Mismatch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crc32cStatus {
    /// There is no CRC32C TLV.
    Absent,
    /// There is one, and it matches.
    Valid,
    /// There is one, and it does not match.
    Mismatch,
    /// There are two, or it is not 4 bytes long.
    Malformed,
}

/// Where a walk finds the checksum's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    No,
    /// Offset of the value.
    At(usize),
    /// Offset of the low length byte that is wrong.
    BadLength(usize),
    /// Offset of the second TLV.
    Duplicate(usize),
}

/// Finds the checksum among the TLVs in front of the first broken frame.
pub(crate) fn find(tlvs: Tlvs<'_>) -> Found {
    let mut found = Found::No;
    for tlv in tlvs.flatten().filter(|tlv| tlv.kind() == tlv::CRC32C) {
        if found != Found::No {
            return Found::Duplicate(tlv.offset());
        }
        if tlv.value().len() != LEN {
            return Found::BadLength(tlv.value_offset() - 1);
        }
        found = Found::At(tlv.value_offset());
    }
    found
}

/// Computes the checksum of a whole header whose checksum stands, or will stand, at `value_at`.
pub(crate) fn compute(header: &[u8], value_at: usize) -> u32 {
    let mut digest = CASTAGNOLI.digest();
    digest.update(header.get(..value_at).unwrap_or_default());
    digest.update(&[0; LEN]);
    digest.update(header.get(value_at + LEN..).unwrap_or_default());
    digest.finalize()
}

/// Says whether the checksum stored at `value_at` holds.
pub(crate) fn holds(header: &[u8], value_at: usize) -> bool {
    let stored = header.get(value_at..).and_then(|rest| rest.first_chunk::<LEN>());
    stored.is_some_and(|stored| u32::from_be_bytes(*stored) == compute(header, value_at))
}

pub(crate) fn status(header: &[u8], tlvs: Tlvs<'_>) -> Crc32cStatus {
    match find(tlvs) {
        Found::No => Crc32cStatus::Absent,
        Found::At(value_at) if holds(header, value_at) => Crc32cStatus::Valid,
        Found::At(_) => Crc32cStatus::Mismatch,
        Found::BadLength(_) | Found::Duplicate(_) => Crc32cStatus::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_gives_the_published_check_value() {
        assert_eq!(CASTAGNOLI.checksum(b"123456789"), 0xE306_9283);
    }
}
