//! ppcore behind a C ABI in a program with no std, no allocator, no libc and no panic.
//!
//! Two proofs in one: the program runs (it decodes, walks, verifies and encodes, and exits with the
//! number of the first check that fails), and its symbol table shows what is not in it. Options and
//! bytes come in as arguments, so that the compiler cannot decide anything in advance and every
//! branch of ppcore is in the program. A platform is a file with an entry that calls `run`, and `exit`.
#![no_std]
#![no_main]

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "arm", path = "thumbv7em.rs")]
#[cfg_attr(target_arch = "wasm32", path = "wasm32.rs")]
mod platform;
mod runtime;

use core::hint::black_box;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ppcore::encode::{self, EncodeError, Encoder};
use ppcore::{
    Addresses, Collector, Crc32cPolicy, Crc32cStatus, Decoded, Decoder, Error, Options, Presence,
    TlvFraming, Unspec, Versions, decode_datagram, spp, tlv,
};

/// A run of bytes as C passes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    at: *const u8,
    len: usize,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self { at: bytes.as_ptr(), len: bytes.len() }
    }

    /// # Safety
    /// `at` points to `len` readable bytes that nobody changes meanwhile.
    unsafe fn get<'a>(self) -> &'a [u8] {
        // SAFETY: what this function asks of its caller is what the slice needs.
        unsafe { core::slice::from_raw_parts(self.at, self.len) }
    }
}

/// Room for an answer as C passes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Room {
    at: *mut u8,
    len: usize,
}

impl Room {
    fn of(room: &mut [u8]) -> Self {
        Self { at: room.as_mut_ptr(), len: room.len() }
    }

    /// # Safety
    /// `at` points to `len` writable bytes that nobody else uses meanwhile.
    unsafe fn get<'a>(self) -> &'a mut [u8] {
        // SAFETY: what this function asks of its caller is what the slice needs.
        unsafe { core::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

/// Decodes a stream's first bytes: the header's length, 0 for absent, minus what is missing for
/// incomplete, or an error's offset below -1,000,000.
///
/// # Safety
/// As [`Bytes::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_decode(received: Bytes, flags: u32, is_closed: bool) -> i64 {
    // SAFETY: the caller vouches for it.
    let received = unsafe { received.get() };
    let mut decoder = Decoder::new(options(flags));
    let decoded = if is_closed { decoder.finish(received) } else { decoder.decode(received) };
    answer(decoded)
}

/// Decodes the header of a datagram; answers as [`pp_decode`].
///
/// # Safety
/// As [`Bytes::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_decode_datagram(datagram: Bytes, flags: u32) -> i64 {
    // SAFETY: the caller vouches for it.
    answer(decode_datagram(options(flags), unsafe { datagram.get() }))
}

/// Collects a header from chunks of `chunk_len` bytes; answers as [`pp_decode`].
///
/// # Safety
/// As [`Bytes::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_collect(received: Bytes, flags: u32, chunk_len: usize) -> i64 {
    let mut collector = Collector::<536>::new(options(flags));
    // SAFETY: the caller vouches for it.
    let mut rest = unsafe { received.get() };
    while let Some((chunk, behind)) = rest.split_at_checked(chunk_len.clamp(1, rest.len().max(1))) {
        rest = behind;
        match collector.push(chunk) {
            Ok(collected) if matches!(collected.decoded, Decoded::Need(_)) => {}
            decided => return answer(decided.map(|collected| collected.decoded)),
        }
    }
    answer(collector.finish())
}

/// Walks the TLVs of a header and reads each by its type: how many read well, or -1 for a broken
/// frame, -2 for a value that breaks the rule of its type, -3 where there is no header.
///
/// # Safety
/// As [`Bytes::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_walk_tlvs(received: Bytes, flags: u32) -> i64 {
    // SAFETY: the caller vouches for it.
    let received = unsafe { received.get() };
    let Ok(Decoded::Header(header)) = Decoder::new(options(flags)).decode(received) else {
        return -3;
    };
    black_box(header.unix(received));
    let mut count = 0;
    for tlv in header.tlvs(received) {
        let Ok(tlv) = tlv else { return -1 };
        black_box(tlv::name(tlv.kind()));
        match tlv.view() {
            Ok(tlv::View::Ssl(ssl)) => {
                black_box((ssl.is_verified(), ssl.text(tlv::SSL_CN).is_ok()));
                count += 1 + i64::from(ssl.tlvs().all(|inner| inner.is_ok()));
            }
            Ok(view) => {
                black_box(view);
                count += 1;
            }
            Err(_) => return -2,
        }
    }
    count
}

/// Verifies the checksum of a header: 0 absent, 1 valid, 2 mismatch, 3 malformed, -1 where there is
/// no header.
///
/// # Safety
/// As [`Bytes::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_verify_crc32c(received: Bytes, flags: u32) -> i64 {
    // SAFETY: the caller vouches for it.
    let received = unsafe { received.get() };
    match Decoder::new(options(flags)).decode(received) {
        Ok(Decoded::Header(header)) => match header.crc32c(received) {
            Crc32cStatus::Absent => 0,
            Crc32cStatus::Valid => 1,
            Crc32cStatus::Mismatch => 2,
            Crc32cStatus::Malformed => 3,
        },
        Ok(Decoded::Need(_) | Decoded::Absent) | Err(_) => -1,
    }
}

/// Writes the addresses of a decoded header as v1: the length, or minus the length it would take.
///
/// # Safety
/// As [`Bytes::get`] and [`Room::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_encode_v1(room: Room, received: Bytes, flags: u32) -> i64 {
    // SAFETY: the caller vouches for both.
    let (room, received) = unsafe { (room.get(), received.get()) };
    written(encode::v1(room, &addresses(received, flags)))
}

/// Writes the addresses of a decoded header as v2, with TLVs, SSL, a checksum and padding up to
/// `len`; answers as [`pp_encode_v1`]. `kind`: 0 stream, 1 datagram, 2 LOCAL, 3 UNIX.
///
/// # Safety
/// As [`Bytes::get`] and [`Room::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_encode_v2(
    room: Room,
    received: Bytes,
    flags: u32,
    kind: u32,
    value: Bytes,
    len: usize,
) -> i64 {
    // SAFETY: the caller vouches for all three.
    let (room, received, value) = unsafe { (room.get(), received.get(), value.get()) };
    let addresses = addresses(received, flags);
    let encoder = match kind {
        0 => Encoder::stream(room, &addresses),
        1 => Encoder::datagram(room, &addresses),
        2 => Encoder::local(room),
        _ => Encoder::unix(room, ppcore::Transport::Stream, value, value),
    };
    let ssl = [(tlv::SSL_VERSION, value), (tlv::SSL_CN, value)];
    let encoder = encoder.tlv(tlv::ALPN, value).ssl(tlv::CLIENT_SSL, 0, &ssl).crc32c();
    written(encoder.pad_to(len).finish())
}

/// Decodes an SPP datagram and writes its header again; answers as [`pp_encode_v1`], -1 where there
/// is none.
///
/// # Safety
/// As [`Bytes::get`] and [`Room::get`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_spp(room: Room, datagram: Bytes) -> i64 {
    // SAFETY: the caller vouches for both.
    let (room, datagram) = unsafe { (room.get(), datagram.get()) };
    match spp::decode(datagram) {
        Ok(addresses) => written(spp::encode(room, &addresses)),
        Err(_) => -1,
    }
}

/// Reads a byte wherever it is told to: the panic that the check must find.
///
/// # Safety
/// As [`Bytes::get`].
#[cfg(feature = "planted")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pp_planted(received: Bytes, at: usize) -> u8 {
    // SAFETY: the caller vouches for it.
    let received = unsafe { received.get() };
    received[at]
}

fn options(flags: u32) -> Options {
    let is_set = |bit: u32| flags & (1 << bit) != 0;
    let versions = match (is_set(0), is_set(1)) {
        (true, false) => Versions::V1,
        (false, true) => Versions::V2,
        (true, true) | (false, false) => Versions::Both,
    };
    Options::new()
        .versions(versions)
        .crc32c(if is_set(2) { Crc32cPolicy::Ignore } else { Crc32cPolicy::Verify })
        .tlv_framing(if is_set(3) { TlvFraming::Strict } else { TlvFraming::Lazy })
        .unspec(if is_set(4) { Unspec::Reject } else { Unspec::Accept })
        .presence(if is_set(5) { Presence::Optional } else { Presence::Required })
        .v2_len_max(if is_set(6) { 512 } else { u16::MAX })
}

fn answer(decoded: Result<Decoded, Error>) -> i64 {
    let number = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    match decoded {
        Ok(Decoded::Header(header)) => number(header.len()),
        Ok(Decoded::Absent) => 0,
        Ok(Decoded::Need(missing)) => number(missing).wrapping_neg(),
        Err(error) => (-1_000_000_i64).wrapping_sub(number(error.offset())),
    }
}

fn written(result: Result<usize, EncodeError>) -> i64 {
    let number = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
    match result {
        Ok(len) => number(len),
        Err(EncodeError::BufferTooSmall { needed }) => number(needed).wrapping_neg(),
        Err(_) => i64::MIN,
    }
}

fn addresses(received: &[u8], flags: u32) -> Addresses {
    match Decoder::new(options(flags)).decode(received) {
        Ok(Decoded::Header(header)) => *header.addresses(),
        Ok(Decoded::Need(_) | Decoded::Absent) | Err(_) => Addresses::None,
    }
}

/// Uses every export, through pointers that the compiler does not see through, so that each is in
/// the program as a function of its own. Returns the number of the first check that fails, or 0.
fn run() -> i32 {
    let decode = black_box(pp_decode as unsafe extern "C" fn(Bytes, u32, bool) -> i64);
    let datagram = black_box(pp_decode_datagram as unsafe extern "C" fn(Bytes, u32) -> i64);
    let collect = black_box(pp_collect as unsafe extern "C" fn(Bytes, u32, usize) -> i64);
    let walk_tlvs = black_box(pp_walk_tlvs as unsafe extern "C" fn(Bytes, u32) -> i64);
    let verify_crc32c = black_box(pp_verify_crc32c as unsafe extern "C" fn(Bytes, u32) -> i64);
    let encode_v1 = black_box(pp_encode_v1 as unsafe extern "C" fn(Room, Bytes, u32) -> i64);
    let encode_v2 =
        black_box(pp_encode_v2 as unsafe extern "C" fn(Room, Bytes, u32, u32, Bytes, usize) -> i64);
    let again = black_box(pp_spp as unsafe extern "C" fn(Room, Bytes) -> i64);
    #[cfg(feature = "planted")]
    black_box(pp_planted as unsafe extern "C" fn(Bytes, usize) -> u8);

    let flags = black_box(0);
    // An array keeps its length: slicing it here is no panic of ours.
    let line: &[u8; 43] = black_box(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65535\r\n");
    let mut room = [0; 256];
    // A header of 128 bytes: 16 fixed, 12 of addresses, ALPN 9, SSL 26, checksum 7, padding 58.
    let len = 128;
    let value = b"TLSv1.";

    // SAFETY: every argument is a slice of this function's own, used by one call at a time.
    let checks = unsafe {
        [
            decode(Bytes::of(line), flags, false) == 43,
            decode(Bytes::of(&line[..9]), flags, false) < 0,
            decode(Bytes::of(b"P@"), flags, true) == -1_000_001,
            decode(Bytes::of(b"GET"), flags | 32, false) == 0,
            collect(Bytes::of(line), flags, 1) == 43,
            encode_v1(Room::of(&mut room), Bytes::of(line), flags) == 43 && room[..43] == *line,
            encode_v1(Room::of(&mut room[..7]), Bytes::of(line), flags) == -43,
            encode_v2(Room::of(&mut room), Bytes::of(line), flags, 0, Bytes::of(value), len) == 128,
            decode(Bytes::of(&room), flags | 8, false) == 128,
            datagram(Bytes::of(&room[..127]), flags) == -1_000_127,
            walk_tlvs(Bytes::of(&room), flags) == 5,
            verify_crc32c(Bytes::of(&room), flags) == 1,
            {
                room[20] ^= 1;
                verify_crc32c(Bytes::of(&room), flags | 4) == 2
            },
            {
                let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 53));
                let mut udp = [0; spp::LEN];
                let pair = Addresses::pair(address, address);
                spp::encode(&mut udp, &pair) == Ok(spp::LEN)
                    && again(Room::of(&mut room), Bytes::of(&udp)) == 38
                    && room[..38] == udp
            },
        ]
    };
    let failed = checks.iter().position(|held| !held).map_or(0, |index| index + 1);
    i32::try_from(failed).unwrap_or(i32::MAX)
}
