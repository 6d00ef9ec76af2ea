//! The way in: bytes received so far, a datagram, UNIX names.
#![expect(unsafe_code, reason = "C functions take pointers")]

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use ppcore::{
    Command, Crc32cPolicy, Decoded, Decoder, Error, Family, Presence, TlvFraming, Transport,
    UnixAddr, Unspec, V1Families, Version, Versions, decode_datagram,
};

use crate::raw;
use crate::status::{Status, flat};
use crate::types::{Address, Addresses, Answer, DecoderState, Header, Name, Options};
use crate::{
    PP_COMMAND_LOCAL, PP_COMMAND_PROXY, PP_COMMAND_UNKNOWN, PP_CRC32C_IGNORE, PP_CRC32C_REQUIRE,
    PP_CRC32C_VERIFY, PP_FAMILY_INET, PP_FAMILY_INET6, PP_FAMILY_UNIX, PP_FAMILY_UNSPEC,
    PP_TRANSPORT_DGRAM, PP_TRANSPORT_STREAM, PP_TRANSPORT_UNSPEC, PP_VERSIONS_BOTH, PP_VERSIONS_V1,
    PP_VERSIONS_V2,
};

/// What a DecoderState holds. The mark tells an initialised one from chance, not from malice.
#[repr(C)]
struct Slot {
    mark: u64,
    decoder: Decoder,
}

const MARK: u64 = u64::from_le_bytes(*b"ppcore 0");
const _: () = assert!(size_of::<Slot>() <= size_of::<DecoderState>());
const _: () = assert!(align_of::<Slot>() <= align_of::<DecoderState>());

/// Makes a decoder of whatever is in `decoder`, for a stream of which nothing has been read. `options`
/// may be NULL: as all zeros.
///
/// Returns PP_STATUS_OK, PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
///
/// # Safety
/// `decoder` points to room for a pp_decoder; `options`, unless NULL, to pp_options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_decoder_init(
    decoder: *mut DecoderState,
    options: *const Options,
) -> Status {
    // SAFETY: this function's own contract; nothing is asked of what is there.
    let room = unsafe { raw::get_mut(decoder.cast::<MaybeUninit<DecoderState>>()) };
    // SAFETY: this function's own contract.
    let options = unsafe { read_options(options) };
    flat(room.and_then(|room| {
        let slot = Slot { mark: MARK, decoder: Decoder::new(options?) };
        // SAFETY: the assertions above: a Slot fits, and the room is aligned for it.
        unsafe { room.as_mut_ptr().cast::<Slot>().write(slot) };
        Ok(Status::Ok)
    }))
}

/// Judges all bytes received so far: `received` begins with the stream's first byte, and what an
/// earlier call has seen must not have changed. Call it again each time there are more bytes: it goes
/// on where it stopped. Once the answer is final, more bytes do not alter it.
///
/// Returns PP_STATUS_OK with the header, PP_STATUS_NEED with the number of bytes that are missing,
/// PP_STATUS_ABSENT, or a refusal with its offset, which is final: close the connection. Or
/// PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED, PP_STATUS_NOT_INITIALISED, PP_STATUS_BAD_ARGUMENT: then the
/// answer, if it can be written, is all 0.
///
/// # Safety
/// `decoder` points to an initialised pp_decoder, `received` to `received_len` readable bytes, `answer`
/// to room for a pp_answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_decode(
    decoder: *mut DecoderState,
    received: *const u8,
    received_len: usize,
    answer: *mut Answer,
) -> Status {
    // SAFETY: this function's own contract.
    unsafe { run(decoder, received, received_len, answer, Decoder::decode) }
}

/// Judges the bytes of a stream that has ended behind them, as pp_decode does; in place of
/// PP_STATUS_NEED come PP_STATUS_EMPTY, if there are none, PP_STATUS_TRUNCATED, or, where it is allowed,
/// PP_STATUS_ABSENT.
///
/// # Safety
/// As pp_decode.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_finish(
    decoder: *mut DecoderState,
    received: *const u8,
    received_len: usize,
    answer: *mut Answer,
) -> Status {
    // SAFETY: this function's own contract.
    unsafe { run(decoder, received, received_len, answer, Decoder::finish) }
}

/// Decodes the v1 or v2 header of one UDP datagram; `options` may be NULL: as all zeros.
///
/// Returns as pp_decode, but never PP_STATUS_NEED: a datagram that ends inside its header is
/// PP_STATUS_TRUNCATED, and so is an empty one. v1 is a protocol of TCP: that datagrams should carry v2
/// alone is for the options to say.
///
/// # Safety
/// `options`, unless NULL, points to pp_options, `datagram` to `datagram_len` readable bytes, `answer`
/// to room for a pp_answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_decode_datagram(
    options: *const Options,
    datagram: *const u8,
    datagram_len: usize,
    answer: *mut Answer,
) -> Status {
    // SAFETY: this function's own contract.
    let given = unsafe { read_options(options) };
    // SAFETY: this function's own contract.
    let bytes = unsafe { raw::all(datagram, datagram_len) };
    let judged = given.and_then(|options| Ok(decode_datagram(options, bytes?)));
    // SAFETY: this function's own contract.
    unsafe { tell(judged, answer) }
}

/// Decodes the Simple Proxy Protocol header of one UDP datagram, PP_SPP_LEN bytes.
///
/// Returns PP_STATUS_OK, PP_STATUS_NOT_PROXY, PP_STATUS_TRUNCATED, PP_STATUS_NULL_POINTER,
/// PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
///
/// # Safety
/// `datagram` points to `datagram_len` readable bytes, `addresses` to room for a pp_addresses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_spp_decode(
    datagram: *const u8,
    datagram_len: usize,
    addresses: *mut Addresses,
) -> Status {
    // SAFETY: this function's own contract.
    let bytes = unsafe { raw::all(datagram, datagram_len) };
    flat(bytes.and_then(|bytes| {
        let read = ppcore::spp::decode(bytes)?;
        // SAFETY: this function's own contract.
        unsafe { raw::put(addresses, addresses_of(&read)) }?;
        Ok(Status::Ok)
    }))
}

/// Reads the names of a header of PP_FAMILY_UNIX; they point into `received`, the bytes that header was
/// decoded from.
///
/// Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if the bytes are no such header, PP_STATUS_NULL_POINTER or
/// PP_STATUS_MISALIGNED.
///
/// # Safety
/// `received` points to `received_len` readable bytes, `source` and `destination` each to room for a
/// pp_name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_unix_names(
    received: *const u8,
    received_len: usize,
    source: *mut Name,
    destination: *mut Name,
) -> Status {
    // SAFETY: this function's own contract.
    let bytes = unsafe { raw::all(received, received_len) };
    flat(bytes.and_then(|bytes| {
        let options = ppcore::Options::new().crc32c(Crc32cPolicy::Ignore);
        let Ok(Decoded::Header(header)) = Decoder::new(options).decode(bytes) else {
            return Err(Status::BadArgument);
        };
        let (from, to) = header.unix(bytes).ok_or(Status::BadArgument)?;
        // SAFETY: this function's own contract.
        unsafe { raw::put(source, name_of(from)) }?;
        // SAFETY: this function's own contract.
        unsafe { raw::put(destination, name_of(to)) }?;
        Ok(Status::Ok)
    }))
}

/// # Safety
/// As [`pp_decode`].
unsafe fn run(
    decoder: *mut DecoderState,
    received: *const u8,
    received_len: usize,
    answer: *mut Answer,
    judge: fn(&mut Decoder, &[u8]) -> Result<Decoded, Error>,
) -> Status {
    // SAFETY: this function's own contract: the state is initialised memory, whatever is in it.
    let state = unsafe { raw::get_mut(decoder) };
    // SAFETY: this function's own contract.
    let bytes = unsafe { raw::all(received, received_len) };
    let judged = state.and_then(|state| {
        let bytes = bytes?;
        let slot = std::ptr::from_mut(state).cast::<Slot>();
        // SAFETY: a Slot begins with its mark and fits; any 8 bytes are a u64.
        if unsafe { slot.cast::<u64>().read() } != MARK {
            return Err(Status::NotInitialised);
        }
        // SAFETY: the mark says that pp_decoder_init has written a Slot here.
        let slot = unsafe { &mut *slot };
        Ok(judge(&mut slot.decoder, bytes))
    });
    // SAFETY: this function's own contract.
    unsafe { tell(judged, answer) }
}

/// Writes the answer: nothing but zeros if there was nothing to judge.
///
/// # Safety
/// `answer`, unless NULL or misaligned, points to room for a pp_answer.
unsafe fn tell(judged: Result<Result<Decoded, Error>, Status>, answer: *mut Answer) -> Status {
    let (told, status) = match judged {
        Ok(judged) => answer_of(judged),
        Err(status) => (Answer::default(), status),
    };
    // SAFETY: this function's own contract.
    match unsafe { raw::put(answer, told) } {
        Err(unwritable) if judged.is_ok() => unwritable,
        Ok(()) | Err(_) => status,
    }
}

/// # Safety
/// `options`, unless NULL or misaligned, points to pp_options.
unsafe fn read_options(options: *const Options) -> Result<ppcore::Options, Status> {
    if options.is_null() {
        return Ok(ppcore::Options::new());
    }
    // SAFETY: this function's own contract.
    let given = unsafe { raw::get(options) }?;
    let versions = match given.versions {
        PP_VERSIONS_BOTH => Versions::Both,
        PP_VERSIONS_V1 => Versions::V1,
        PP_VERSIONS_V2 => Versions::V2,
        _ => return Err(Status::BadArgument),
    };
    let crc32c = match given.crc32c {
        PP_CRC32C_VERIFY => Crc32cPolicy::Verify,
        PP_CRC32C_IGNORE => Crc32cPolicy::Ignore,
        PP_CRC32C_REQUIRE => Crc32cPolicy::Require,
        _ => return Err(Status::BadArgument),
    };
    let families =
        if given.mixed_v1_families == 0 { V1Families::Strict } else { V1Families::Mixed };
    let framing = if given.strict_tlvs == 0 { TlvFraming::Lazy } else { TlvFraming::Strict };
    let unspec = if given.reject_unspec == 0 { Unspec::Accept } else { Unspec::Reject };
    let presence = if given.may_be_absent == 0 { Presence::Required } else { Presence::Optional };
    Ok(ppcore::Options::new()
        .versions(versions)
        .v1_families(families)
        .v2_len_max(if given.v2_len_max == 0 { u16::MAX } else { given.v2_len_max })
        .crc32c(crc32c)
        .tlv_framing(framing)
        .unspec(unspec)
        .presence(presence))
}

fn answer_of(judged: Result<Decoded, Error>) -> (Answer, Status) {
    let nothing = Answer::default();
    match judged {
        Ok(Decoded::Header(header)) => {
            (Answer { header: header_of(&header), ..nothing }, Status::Ok)
        }
        Ok(Decoded::Need(need)) => (Answer { need, ..nothing }, Status::Need),
        Ok(Decoded::Absent) => (nothing, Status::Absent),
        Err(error) => (Answer { offset: error.offset(), ..nothing }, error.into()),
    }
}

fn header_of(header: &ppcore::Header) -> Header {
    Header {
        len: header.len(),
        tlvs_offset: header.tlvs_offset(),
        version: match header.version() {
            Version::V1 => 1,
            Version::V2 => 2,
        },
        command: match header.command() {
            Command::Local => PP_COMMAND_LOCAL,
            Command::Proxy => PP_COMMAND_PROXY,
            Command::Unknown => PP_COMMAND_UNKNOWN,
        },
        family: family_of(header.family()),
        transport: match header.transport() {
            Transport::Unspec => PP_TRANSPORT_UNSPEC,
            Transport::Stream => PP_TRANSPORT_STREAM,
            Transport::Dgram => PP_TRANSPORT_DGRAM,
        },
        addresses: addresses_of(header.addresses()),
    }
}

fn addresses_of(addresses: &ppcore::Addresses) -> Addresses {
    let address = |addr: Option<SocketAddr>| {
        let mut ip = [0; 16];
        match addr {
            Some(SocketAddr::V4(addr)) => ip[..4].copy_from_slice(&addr.ip().octets()),
            Some(SocketAddr::V6(addr)) => ip = addr.ip().octets(),
            None => {}
        }
        Address { ip, port: addr.map_or(0, |addr| addr.port()) }
    };
    Addresses {
        family: family_of(addresses.family()),
        source: address(addresses.source()),
        destination: address(addresses.destination()),
    }
}

fn family_of(family: Family) -> u8 {
    match family {
        Family::Unspec => PP_FAMILY_UNSPEC,
        Family::Inet => PP_FAMILY_INET,
        Family::Inet6 => PP_FAMILY_INET6,
        Family::Unix => PP_FAMILY_UNIX,
    }
}

fn name_of(addr: UnixAddr<'_>) -> Name {
    match addr {
        UnixAddr::Unnamed => Name { at: std::ptr::null(), len: 0, is_abstract: 0 },
        UnixAddr::Path(name) => Name { at: name.as_ptr(), len: name.len(), is_abstract: 0 },
        UnixAddr::Abstract(name) => Name { at: name.as_ptr(), len: name.len(), is_abstract: 1 },
    }
}
