//! How the bytes of an input lay out a header that is to be written, or edit a configuration: each
//! choice in its own place, so that a mutation of one leaves the others.

use std::net::{IpAddr, SocketAddr};

use arbitrary::{Result, Unstructured};
use ppcore::{Addresses, Transport, tlv};

use crate::round_trip::{Piece, Start};

/// More pieces only repeat what fewer show.
const PIECES_MAX: usize = 8;
/// The longest name of a UNIX socket (spec 2.2).
pub(crate) const UNIX_NAME_MAX: u8 = 108;

pub(crate) fn addresses(u: &mut Unstructured<'_>) -> Result<Addresses> {
    Ok(match u.int_in_range(0..=15_u8)? {
        0 => Addresses::None,
        1 => Addresses::Unix,
        _ => Addresses::pair(endpoint(u)?, endpoint(u)?),
    })
}

fn endpoint(u: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip = match u.int_in_range(0..=2_u8)? {
        0 => IpAddr::from(u.arbitrary::<[u8; 4]>()?),
        1 => IpAddr::from(u.arbitrary::<[u8; 16]>()?),
        // Groups of zeros and short ones have a text of their own.
        _ => {
            let mut groups = [0; 8];
            for group in &mut groups {
                *group = u16::from(u.arbitrary::<u8>()?.saturating_sub(128));
            }
            IpAddr::from(groups)
        }
    };
    Ok(SocketAddr::new(ip, u.arbitrary()?))
}

pub(crate) fn start(u: &mut Unstructured<'_>) -> Result<Start> {
    Ok(match u.int_in_range(0..=7_u8)? {
        0 => Start::Local,
        1 | 2 => {
            let transport = *u.choose(&[Transport::Stream, Transport::Dgram])?;
            Start::Unix(transport, value(u, UNIX_NAME_MAX)?, value(u, UNIX_NAME_MAX)?)
        }
        3 | 4 => Start::Datagram(addresses(u)?),
        _ => Start::Stream(addresses(u)?),
    })
}

pub(crate) fn pieces(u: &mut Unstructured<'_>) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    while !u.is_empty() && pieces.len() < PIECES_MAX {
        pieces.push(match u.int_in_range(0..=7_u8)? {
            0 => Piece::Crc32c,
            // No TLV fits into one or two bytes.
            1 => match u.int_in_range(0..=60)? {
                1 | 2 => Piece::Padding(0),
                len => Piece::Padding(len),
            },
            2 => Piece::Ssl(u.arbitrary()?, u.arbitrary()?, sub_tlvs(u)?),
            _ => match u.arbitrary()? {
                // Only the encoder knows the checksum.
                tlv::CRC32C => Piece::Crc32c,
                kind => Piece::Tlv(kind, value(u, u8::MAX)?),
            },
        });
    }
    Ok(pieces)
}

fn sub_tlvs(u: &mut Unstructured<'_>) -> Result<Vec<(u8, Vec<u8>)>> {
    let count = u.int_in_range(0..=4)?;
    (0..count).map(|_| Ok((u.arbitrary()?, value(u, 60)?))).collect()
}

/// A length, then so many bytes, if they are there.
pub(crate) fn value(u: &mut Unstructured<'_>, len_max: u8) -> Result<Vec<u8>> {
    let len = usize::from(u.int_in_range(0..=len_max)?).min(u.len());
    u.bytes(len).map(<[u8]>::to_vec)
}

/// What a key takes at most or at least, or just not.
const LIMITS: [&str; 16] = [
    "0",
    "1",
    "2",
    "255",
    "256",
    "65535",
    "65536",
    "262144",
    "\"0s\"",
    "\"1ms\"",
    "\"366d\"",
    "\"16B\"",
    "\"65551B\"",
    "\"4KiB\"",
    "\"1MiB\"",
    "[]",
];

/// The configuration that edits make of one that is good: each chooses a line, then what its key gets
/// instead. Without a value the line goes.
pub(crate) fn edited(file: &str, words: &[&str], u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let value_at = |line: &[u8]| line.iter().position(|byte| *byte == b'=').map_or(0, |at| at + 1);
    let mut lines: Vec<Vec<u8>> = file.lines().map(|line| line.as_bytes().to_vec()).collect();
    while !u.is_empty() {
        let at = u.choose_index(lines.len())?;
        let value = match u.int_in_range(0..=4_u8)? {
            0 => value(u, u8::MAX)?,
            1 => format!("\"{}\"", u.choose(words)?).into_bytes(),
            2 => {
                let other = u.choose(&lines)?;
                other[value_at(other)..].to_vec()
            }
            _ => u.choose(&LIMITS)?.as_bytes().to_vec(),
        };
        let line = &mut lines[at];
        let key = value_at(line);
        line.truncate(if value.is_empty() { 0 } else { key });
        line.extend(value);
    }
    Ok(lines.join(&b'\n'))
}
