//! The way out: a header written into the caller's room.
#![expect(unsafe_code, reason = "C functions take pointers")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use ppcore::encode::{EncodeError, Encoder};
use ppcore::{Transport, encode};

use crate::raw;
use crate::status::{Status, flat};
use crate::types::{Address, Addresses, TlvValue, V2};
use crate::{
    PP_COMMAND_LOCAL, PP_COMMAND_PROXY, PP_FAMILY_INET, PP_FAMILY_INET6, PP_FAMILY_UNIX,
    PP_FAMILY_UNSPEC, PP_TRANSPORT_DGRAM, PP_TRANSPORT_STREAM,
};

/// Writes a v1 line, 15 to 104 bytes. PP_FAMILY_UNSPEC and PP_FAMILY_UNIX make `PROXY UNKNOWN`.
///
/// Returns PP_STATUS_OK with the length in `*len`; PP_STATUS_ROOM_TOO_SMALL with the length it takes there,
/// and unspecified bytes in `out`; PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
///
/// # Safety
/// `out` points to `room` writable bytes, `addresses` to a pp_addresses, `len` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_encode_v1(
    out: *mut u8,
    room: usize,
    addresses: *const Addresses,
    len: *mut usize,
) -> Status {
    // SAFETY: this function's own contract.
    unsafe { write_addresses(out, room, addresses, len, encode::v1) }
}

/// Writes a v2 header with its TLVs.
///
/// Returns as pp_encode_v1; and PP_STATUS_TOO_LONG, PP_STATUS_PADDING, PP_STATUS_UNIX_NAME, with unspecified
/// bytes in `out`.
///
/// # Safety
/// `out` points to `room` writable bytes, `header` to a pp_v2 whose pointers hold what it says, `len` to
/// a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_encode_v2(
    out: *mut u8,
    room: usize,
    header: *const V2,
    len: *mut usize,
) -> Status {
    // SAFETY: this function's own contract.
    let header = unsafe { raw::get(header) };
    // SAFETY: this function's own contract.
    let out = unsafe { raw::room(out, room) };
    flat(header.and_then(|header| {
        // SAFETY: this function's own contract.
        let mut encoder = unsafe { begin(out?, header) }?;
        // SAFETY: this function's own contract.
        for tlv in unsafe { raw::all(header.tlvs, header.tlvs_len) }? {
            // SAFETY: this function's own contract.
            encoder = encoder.tlv(tlv.kind, unsafe { raw::all(tlv.value, tlv.value_len) }?);
        }
        if header.crc32c != 0 {
            encoder = encoder.crc32c();
        }
        if header.pad_to != 0 {
            encoder = encoder.pad_to(header.pad_to);
        }
        // SAFETY: this function's own contract.
        unsafe { tell(encoder.finish(), len) }
    }))
}

/// Writes the value of a TLV of PP_TLV_SSL: flags, verify result, inner TLVs. Give it to pp_encode_v2 as
/// the value of that type.
///
/// Returns as pp_encode_v1, and PP_STATUS_TOO_LONG above 65535 bytes.
///
/// # Safety
/// `out` points to `room` writable bytes, `tlvs` to `tlvs_len` pp_tlv_value whose pointers hold what
/// they say, `len` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_encode_ssl(
    out: *mut u8,
    room: usize,
    client: u8,
    verify: u32,
    tlvs: *const TlvValue,
    tlvs_len: usize,
    len: *mut usize,
) -> Status {
    // SAFETY: this function's own contract.
    let out = unsafe { raw::room(out, room) };
    flat(out.and_then(|out| {
        let mut writer = Writer { out, len: 0 };
        writer.push(&[client]);
        writer.push(&verify.to_be_bytes());
        // SAFETY: this function's own contract.
        for tlv in unsafe { raw::all(tlvs, tlvs_len) }? {
            // SAFETY: this function's own contract.
            let value = unsafe { raw::all(tlv.value, tlv.value_len) }?;
            let value_len = u16::try_from(value.len()).map_err(|_| Status::TooLong)?;
            writer.push(&[tlv.kind]);
            writer.push(&value_len.to_be_bytes());
            writer.push(value);
        }
        let written = match writer.len {
            65536.. => Err(EncodeError::TooLong),
            needed if needed > room => Err(EncodeError::BufferTooSmall { needed }),
            written => Ok(written),
        };
        // SAFETY: this function's own contract.
        unsafe { tell(written, len) }
    }))
}

/// Writes a Simple Proxy Protocol header, PP_SPP_LEN bytes. Without IP addresses they are `::`, port 0.
///
/// Returns as pp_encode_v1.
///
/// # Safety
/// As pp_encode_v1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_spp_encode(
    out: *mut u8,
    room: usize,
    addresses: *const Addresses,
    len: *mut usize,
) -> Status {
    // SAFETY: this function's own contract.
    unsafe { write_addresses(out, room, addresses, len, ppcore::spp::encode) }
}

/// Writes a header that is nothing but addresses.
///
/// # Safety
/// As [`pp_encode_v1`].
unsafe fn write_addresses(
    out: *mut u8,
    room: usize,
    addresses: *const Addresses,
    len: *mut usize,
    write: fn(&mut [u8], &ppcore::Addresses) -> Result<usize, EncodeError>,
) -> Status {
    // SAFETY: this function's own contract.
    let addresses = unsafe { raw::get(addresses) };
    // SAFETY: this function's own contract.
    let out = unsafe { raw::room(out, room) };
    flat(addresses.and_then(|addresses| {
        let written = write(out?, &addresses_from(addresses)?);
        // SAFETY: this function's own contract.
        unsafe { tell(written, len) }
    }))
}

/// # Safety
/// The names of `header` point to as many bytes as it says.
unsafe fn begin<'a>(out: &'a mut [u8], header: &V2) -> Result<Encoder<'a>, Status> {
    match header.command {
        PP_COMMAND_LOCAL => return Ok(Encoder::local(out)),
        PP_COMMAND_PROXY => {}
        _ => return Err(Status::BadArgument),
    }
    let transport = match header.transport {
        PP_TRANSPORT_STREAM => Transport::Stream,
        PP_TRANSPORT_DGRAM => Transport::Dgram,
        _ if header.addresses.family == PP_FAMILY_UNSPEC => Transport::Stream,
        _ => return Err(Status::BadArgument),
    };
    if header.addresses.family == PP_FAMILY_UNIX {
        // SAFETY: this function's own contract.
        let source = unsafe { raw::all(header.source_name, header.source_name_len) }?;
        // SAFETY: this function's own contract.
        let destination =
            unsafe { raw::all(header.destination_name, header.destination_name_len) }?;
        return Ok(Encoder::unix(out, transport, source, destination));
    }
    let addresses = addresses_from(&header.addresses)?;
    Ok(match transport {
        Transport::Dgram => Encoder::datagram(out, &addresses),
        Transport::Stream | Transport::Unspec => Encoder::stream(out, &addresses),
    })
}

fn addresses_from(given: &Addresses) -> Result<ppcore::Addresses, Status> {
    let v4 = |address: &Address| {
        let [a, b, c, d, ..] = address.ip;
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), address.port)
    };
    let v6 = |address: &Address| SocketAddrV6::new(Ipv6Addr::from(address.ip), address.port, 0, 0);
    Ok(match given.family {
        PP_FAMILY_UNSPEC => ppcore::Addresses::None,
        PP_FAMILY_INET => ppcore::Addresses::Inet {
            source: v4(&given.source),
            destination: v4(&given.destination),
        },
        PP_FAMILY_INET6 => ppcore::Addresses::Inet6 {
            source: v6(&given.source),
            destination: v6(&given.destination),
        },
        PP_FAMILY_UNIX => ppcore::Addresses::Unix,
        _ => return Err(Status::BadArgument),
    })
}

/// # Safety
/// `len`, unless NULL or misaligned, points to a size_t.
unsafe fn tell(written: Result<usize, EncodeError>, len: *mut usize) -> Result<Status, Status> {
    let (told, status) = match written {
        Ok(len) => (len, Status::Ok),
        Err(EncodeError::BufferTooSmall { needed }) => (needed, Status::RoomTooSmall),
        Err(error) => return Err(error.into()),
    };
    // SAFETY: this function's own contract.
    unsafe { raw::put(len, told) }?;
    Ok(status)
}

/// Writes what fits and counts everything.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.out.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }
}
