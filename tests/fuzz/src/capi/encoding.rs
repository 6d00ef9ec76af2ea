//! The way out: headers in rooms that fit, or not quite.

use std::ptr;

use arbitrary::{Result, Unstructured};
use ppcapi::{Status, TlvValue, V2};
use ppcore::encode::{EncodeError, Encoder};
use ppcore::{Addresses, Transport, tlv};

use super::guarded::{Arg, Fence, Guarded, Kind, call};
use super::{JUNK, JUNK_LEN, c_addresses, decodes, name};
use crate::layout::{self, UNIX_NAME_MAX};
use crate::naive;

/// The most that a length field holds.
const U16_MAX: usize = 65_535;

/// Writes what the choices say, in a room of about the size it takes, and reads it back.
pub(crate) fn encodes(fence: Fence, u: &mut Unstructured<'_>) -> Result<()> {
    let written = match u.int_in_range(0..=3_u8)? {
        0 => addresses(fence, u, ppcapi::pp_encode_v1, ppcore::encode::v1)?,
        1 => addresses(fence, u, ppcapi::pp_spp_encode, ppcore::spp::encode)?,
        _ => v2(fence, u)?,
    };
    let len = written.len();
    decodes(fence, &naive::Options::default(), &written, [len / 2, len]);
    Ok(())
}

/// A function of C and one of Rust that write nothing but addresses.
fn addresses(
    fence: Fence,
    u: &mut Unstructured<'_>,
    c: unsafe extern "C" fn(*mut u8, usize, *const ppcapi::Addresses, *mut usize) -> Status,
    rust: fn(&mut [u8], &Addresses) -> std::result::Result<usize, EncodeError>,
) -> Result<Vec<u8>> {
    let addresses = layout::addresses(u)?;
    let given = Guarded::one(fence, c_addresses(&addresses));
    let c = |[out, given, len]: [Arg; 3]| {
        // SAFETY: so much room, addresses, room for a length; what is broken is refused.
        unsafe { c(out.at.cast(), out.len, given.at.cast(), len.at.cast()) }
    };
    writes(fence, u, given.arg(Kind::One), |out| told(rust(out, &addresses)), c)
}

fn v2(fence: Fence, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let command = *u.choose(&[ppcapi::PP_COMMAND_PROXY, ppcapi::PP_COMMAND_LOCAL, 2])?;
    let transport =
        *u.choose(&[ppcapi::PP_TRANSPORT_STREAM, ppcapi::PP_TRANSPORT_DGRAM, 0, u8::MAX])?;
    let addresses = layout::addresses(u)?;
    let source = Guarded::array(fence, &layout::value(u, UNIX_NAME_MAX + 1)?);
    let destination = Guarded::array(fence, &layout::value(u, UNIX_NAME_MAX + 1)?);
    let ssl = ssl_value(fence, u)?;
    let mut tlvs = tlvs(u)?;
    let is_summed: bool = u.arbitrary()?;
    let pad_to = match u.int_in_range(0..=3_u8)? {
        0 => u.arbitrary()?,
        1 => 16 + usize::from(u.arbitrary::<u8>()?),
        _ => 0,
    };
    tlvs.extend(ssl.map(|value| (tlv::SSL, value)));

    let rust = |out: &mut [u8]| {
        let begun = match (command, transport, &addresses) {
            (ppcapi::PP_COMMAND_LOCAL, ..) => Some(Encoder::local(out)),
            (ppcapi::PP_COMMAND_PROXY, _, Addresses::None) => {
                Some(Encoder::stream(out, &Addresses::None))
            }
            (ppcapi::PP_COMMAND_PROXY, 1 | 2, Addresses::Unix) => {
                let transport = [Transport::Stream, Transport::Dgram][usize::from(transport) - 1];
                Some(Encoder::unix(out, transport, &source, &destination))
            }
            (ppcapi::PP_COMMAND_PROXY, 1, _) => Some(Encoder::stream(out, &addresses)),
            (ppcapi::PP_COMMAND_PROXY, 2, _) => Some(Encoder::datagram(out, &addresses)),
            _ => None,
        };
        let Some(begun) = begun else { return ("bad_argument", JUNK_LEN) };
        let encoder = tlvs.iter().fold(begun, |to, (kind, value)| to.tlv(*kind, value));
        let encoder = if is_summed { encoder.crc32c() } else { encoder };
        told(if pad_to == 0 { encoder } else { encoder.pad_to(pad_to) }.finish())
    };

    let values = Values::new(fence, &tlvs);
    let header = V2 {
        command,
        transport,
        crc32c: u8::from(is_summed),
        addresses: c_addresses(&addresses),
        source_name: source.as_ptr(),
        source_name_len: source.len(),
        destination_name: destination.as_ptr(),
        destination_name_len: destination.len(),
        tlvs: values.array.as_ptr(),
        tlvs_len: values.array.len(),
        pad_to,
    };
    let without_room = Guarded::one(fence, header);
    let status = call([without_room.arg(Kind::One)], |[header]| {
        // SAFETY: no room at all, a header that holds what it says; what is broken is refused.
        unsafe { ppcapi::pp_encode_v2(ptr::null_mut(), 0, header.at.cast(), &mut 0) }
    });
    assert_ne!(status, Status::Ok);
    writes(fence, u, values.array.arg(Kind::Array), rust, |[out, tlvs, len]| {
        let header = V2 { tlvs: tlvs.at.cast(), tlvs_len: tlvs.len, ..header };
        let header = Guarded::one(fence, header);
        // SAFETY: so much room, a header that holds what it says, room for a length; what is broken is
        // refused.
        unsafe { ppcapi::pp_encode_v2(out.at.cast(), out.len, header.as_ptr(), len.at.cast()) }
    })
}

/// An SSL value, unless it did not get the room it takes.
fn ssl_value(fence: Fence, u: &mut Unstructured<'_>) -> Result<Option<Vec<u8>>> {
    let (client, verify): (u8, u32) = u.arbitrary()?;
    let inner = tlvs(u)?;
    // Rust writes such a value only inside a header.
    let mut value = [&[client][..], &verify.to_be_bytes()].concat();
    for (kind, bytes) in &inner {
        value.push(*kind);
        value.extend(bytes.len().to_be_bytes().last_chunk::<2>().expect("a usize has two bytes"));
        value.extend(bytes);
    }
    let is_too_long = value.len() > U16_MAX || inner.iter().any(|(_, bytes)| bytes.len() > U16_MAX);
    let rust = |out: &mut [u8]| {
        if is_too_long {
            return ("too_long", JUNK_LEN);
        }
        let Some(out) = out.get_mut(..value.len()) else { return ("room_too_small", value.len()) };
        out.copy_from_slice(&value);
        ("ok", value.len())
    };
    let values = Values::new(fence, &inner);
    let written = writes(fence, u, values.array.arg(Kind::Array), rust, |[out, tlvs, len]| {
        let (at, room, len_at) = (out.at.cast(), out.len, len.at.cast());
        // SAFETY: so much room, TLVs that hold what they say, room for a length; what is broken is
        // refused.
        unsafe { ppcapi::pp_encode_ssl(at, room, client, verify, tlvs.at.cast(), tlvs.len, len_at) }
    })?;
    Ok((!written.is_empty()).then_some(written))
}

fn tlvs(u: &mut Unstructured<'_>) -> Result<Vec<(u8, Vec<u8>)>> {
    let count = u.int_in_range(0..=4_u8)?;
    (0..count)
        .map(|_| {
            // Now and then one that no length field can hold.
            if u.ratio(1, 32)? {
                let len = 1 + usize::from(u.arbitrary::<u16>()?);
                Ok((u.arbitrary()?, vec![JUNK; len]))
            } else {
                Ok((u.arbitrary()?, layout::value(u, u8::MAX)?))
            }
        })
        .collect()
}

/// TLVs as C holds them.
struct Values {
    array: Guarded<TlvValue>,
    /// What its pointers point to.
    _bytes: Vec<Guarded<u8>>,
}

impl Values {
    fn new(fence: Fence, tlvs: &[(u8, Vec<u8>)]) -> Self {
        let bytes: Vec<_> = tlvs.iter().map(|(_, value)| Guarded::array(fence, value)).collect();
        let pointers: Vec<_> = tlvs
            .iter()
            .zip(&bytes)
            .map(|((kind, value), at)| TlvValue {
                kind: *kind,
                value: if value.is_empty() { ptr::null() } else { at.as_ptr() },
                value_len: value.len(),
            })
            .collect();
        Self { array: Guarded::array(fence, &pointers), _bytes: bytes }
    }
}

/// Writes with both into rooms of one size, and returns what was written, if it was. The arguments are
/// the room, what is to be written, and where its length goes.
fn writes(
    fence: Fence,
    u: &mut Unstructured<'_>,
    what: Arg,
    rust: impl Fn(&mut [u8]) -> (&'static str, usize),
    c: impl Fn([Arg; 3]) -> Status,
) -> Result<Vec<u8>> {
    let (_, needed) = rust(&mut []);
    let room = match u.int_in_range(0..=5_u8)? {
        0 => u.int_in_range(0..=needed)?,
        1 => needed - 1,
        2 => needed + usize::from(u.arbitrary::<u8>()?),
        _ => needed,
    };
    let mut expected = vec![JUNK; room];
    let out = Guarded::array(fence, &expected);
    let len = Guarded::one(fence, JUNK_LEN);
    let status = call([out.arg(Kind::Array), what, len.arg(Kind::One)], c);
    let told = rust(&mut expected);
    assert_eq!((name(status), len[0]), told);
    if status != Status::Ok {
        return Ok(Vec::new());
    }
    assert_eq!(out[..], expected[..]);
    expected.truncate(len[0]);
    Ok(expected)
}

/// The name of Rust's outcome, and the length it tells.
fn told(written: std::result::Result<usize, EncodeError>) -> (&'static str, usize) {
    match written {
        Ok(len) => ("ok", len),
        Err(EncodeError::BufferTooSmall { needed }) => ("room_too_small", needed),
        Err(EncodeError::TooLong) => ("too_long", JUNK_LEN),
        Err(EncodeError::Padding) => ("padding", JUNK_LEN),
        Err(EncodeError::UnixName) => ("unix_name", JUNK_LEN),
        Err(EncodeError::UniqueId | EncodeError::UnixTransport) => ("bad_argument", JUNK_LEN),
        Err(other) => panic!("an error without a status: {other:?}"),
    }
}
