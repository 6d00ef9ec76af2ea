//! The walk over TLVs, at the top level and inside an SSL value.
#![expect(unsafe_code, reason = "C functions take pointers")]

use ppcore::tlv::View;

use crate::raw;
use crate::status::{Status, flat};
use crate::types::{Header, Ssl, Text, Tlv, Tlvs};
use crate::{PP_TLV_SSL, PP_TLV_SSL_SIG_SCHEME, PP_TLV_SSL_VERSION};

/// Begins a walk over the TLVs of `header`, which was decoded from `received`. The walk points into
/// `received`: keep those bytes for as long as you use it, or a TLV it gave.
///
/// Returns PP_STATUS_OK, PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED, or PP_STATUS_BAD_ARGUMENT if there are
/// fewer bytes than the header has.
///
/// # Safety
/// `header` points to a pp_header, `received` to `received_len` readable bytes, `tlvs` to room for a
/// pp_tlvs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_tlvs_init(
    tlvs: *mut Tlvs,
    header: *const Header,
    received: *const u8,
    received_len: usize,
) -> Status {
    // SAFETY: this function's own contract.
    let header = unsafe { raw::get(header) };
    // SAFETY: this function's own contract.
    let bytes = unsafe { raw::all(received, received_len) };
    flat(header.and_then(|header| {
        let region = bytes?.get(header.tlvs_offset..header.len).ok_or(Status::BadArgument)?;
        // SAFETY: this function's own contract.
        unsafe { raw::put(tlvs, walk(region, header.tlvs_offset)) }?;
        Ok(Status::Ok)
    }))
}

/// Takes the next TLV.
///
/// Returns PP_STATUS_OK with the TLV, PP_STATUS_END, or PP_STATUS_TLV_HEADER_TRUNCATED or
/// PP_STATUS_TLV_VALUE_OVERRUN, once, if they are framed badly. Or PP_STATUS_NULL_POINTER,
/// PP_STATUS_MISALIGNED, PP_STATUS_BAD_ARGUMENT.
///
/// # Safety
/// `tlvs` points to a walk that pp_tlvs_init or pp_tlv_ssl began, whose bytes still stand; `tlv` to room
/// for a pp_tlv.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_tlvs_next(tlvs: *mut Tlvs, tlv: *mut Tlv) -> Status {
    // SAFETY: this function's own contract.
    let state = unsafe { raw::get_mut(tlvs) };
    flat(state.and_then(|state| {
        // SAFETY: this function's own contract: the rest of the received bytes.
        let rest = unsafe { raw::all(state.rest, state.rest_len) }?;
        let Some(next) = ppcore::tlv::Tlvs::new(rest, state.offset).next() else {
            return Ok(Status::End);
        };
        let found = match next {
            Ok(found) => found,
            Err(error) => {
                *state = walk(&[], state.offset);
                return Err(error.into());
            }
        };
        let value = found.value();
        let told = Tlv {
            kind: found.kind(),
            value_status: found.view().map_or_else(Status::from, |_| Status::Ok),
            value: value.as_ptr(),
            value_len: value.len(),
            offset: found.offset(),
        };
        // SAFETY: this function's own contract.
        unsafe { raw::put(tlv, told) }?;
        let taken = ppcore::tlv::TLV_HEADER_LEN + value.len();
        *state = walk(rest.get(taken..).unwrap_or_default(), state.offset + taken);
        Ok(Status::Ok)
    }))
}

/// Reads a TLV of PP_TLV_SSL. The inner walk points into the same received bytes.
///
/// Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if it is of another type, PP_STATUS_TLV_VALUE_LENGTH if it
/// is shorter than 5 bytes, PP_STATUS_NULL_POINTER or PP_STATUS_MISALIGNED.
///
/// # Safety
/// `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `ssl` to room for a pp_ssl.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_tlv_ssl(tlv: *const Tlv, ssl: *mut Ssl) -> Status {
    // SAFETY: this function's own contract.
    let tlv = unsafe { raw::get(tlv) };
    flat(tlv.and_then(|tlv| {
        if tlv.kind != PP_TLV_SSL {
            return Err(Status::BadArgument);
        }
        // SAFETY: this function's own contract: a value inside the received bytes.
        let value = unsafe { raw::all(tlv.value, tlv.value_len) }?;
        let (&[client, a, b, c, d], inner) =
            value.split_first_chunk::<5>().ok_or(Status::TlvValueLength)?;
        let offset = tlv.offset + ppcore::tlv::TLV_HEADER_LEN + 5;
        let read =
            Ssl { client, verify: u32::from_be_bytes([a, b, c, d]), tlvs: walk(inner, offset) };
        // SAFETY: this function's own contract.
        unsafe { raw::put(ssl, read) }?;
        Ok(Status::Ok)
    }))
}

/// Reads the text of a TLV that is one: ALPN, AUTHORITY, NETNS, the id of a VPC endpoint in PP_TLV_AWS, and those
/// inside SSL but for the certificate. It points into the same received bytes.
///
/// Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if it is of another type or subtype, the TLV's value_status if
/// its value breaks the rule of its type, PP_STATUS_NULL_POINTER or PP_STATUS_MISALIGNED.
///
/// # Safety
/// `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `text` to room for a pp_text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_tlv_text(tlv: *const Tlv, text: *mut Text) -> Status {
    // SAFETY: this function's own contract.
    let tlv = unsafe { raw::get(tlv) };
    flat(tlv.and_then(|tlv| {
        // SAFETY: this function's own contract: a value inside the received bytes.
        let value = unsafe { raw::all(tlv.value, tlv.value_len) }?;
        let read = match view(tlv.kind, value) {
            Ok(View::Alpn(bytes)) => bytes,
            Ok(View::Authority(text) | View::Netns(text) | View::AwsVpcEndpoint(text)) => {
                text.as_bytes()
            }
            Ok(View::Other(bytes))
                if (PP_TLV_SSL_VERSION..=PP_TLV_SSL_SIG_SCHEME).contains(&tlv.kind) =>
            {
                bytes
            }
            Ok(_) => return Err(Status::BadArgument),
            Err(status) => return Err(status),
        };
        // A text ends where its value does; an empty slice has no place.
        let at = tlv.value.wrapping_add(value.len() - read.len());
        // SAFETY: this function's own contract.
        unsafe { raw::put(text, Text { at, len: read.len() }) }?;
        Ok(Status::Ok)
    }))
}

/// Reads the number of a TLV that is one: CRC32C, the connection id in PP_TLV_GCP, the LINKID in PP_TLV_AZURE.
///
/// Returns as pp_tlv_text.
///
/// # Safety
/// `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `number` to room for a uint64_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_tlv_number(tlv: *const Tlv, number: *mut u64) -> Status {
    // SAFETY: this function's own contract.
    let tlv = unsafe { raw::get(tlv) };
    flat(tlv.and_then(|tlv| {
        // SAFETY: this function's own contract: a value inside the received bytes.
        let value = unsafe { raw::all(tlv.value, tlv.value_len) }?;
        let read = match view(tlv.kind, value) {
            Ok(View::Crc32c(sum)) => sum.into(),
            Ok(View::Gcp(id)) => id,
            Ok(View::AzureLinkId(id)) => id.into(),
            Ok(_) => return Err(Status::BadArgument),
            Err(status) => return Err(status),
        };
        // SAFETY: this function's own contract.
        unsafe { raw::put(number, read) }?;
        Ok(Status::Ok)
    }))
}

/// Reads a value as its type demands.
fn view(kind: u8, value: &[u8]) -> Result<View<'_>, Status> {
    ppcore::tlv::Tlv::new(kind, value, 0).view().map_err(Status::from)
}

fn walk(rest: &[u8], offset: usize) -> Tlvs {
    Tlvs { rest: rest.as_ptr(), rest_len: rest.len(), offset }
}
