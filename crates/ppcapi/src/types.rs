//! What C and Rust hand each other: plain values, every bit pattern of which is one.
//!
//! Flags and kinds are `u8`, so that no value a C program writes can be undefined behaviour here.

use crate::PP_DECODER_SIZE;
use crate::status::Status;

/// A decoder of one stream's header. Its bytes are private and may be moved between calls; it owns
/// nothing, so it is not to be freed.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct DecoderState {
    /// Private.
    pub opaque: [u8; PP_DECODER_SIZE],
}

/// What a decoder accepts. All zeros are the options for a server behind a balancer: v1 and v2, any length,
/// checksums verified, TLVs judged when they are walked, UNSPEC accepted, a header required.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// PP_VERSIONS_BOTH, PP_VERSIONS_V1 or PP_VERSIONS_V2.
    pub versions: u8,
    /// PP_CRC32C_VERIFY, PP_CRC32C_IGNORE or PP_CRC32C_REQUIRE.
    pub crc32c: u8,
    /// Not 0: refuse TLVs that are framed badly at the first byte that makes it certain. 0: the header
    /// is good, the walk over its TLVs yields the error.
    pub strict_tlvs: u8,
    /// Not 0: refuse a v2 PROXY header of unspecified family or transport.
    pub reject_unspec: u8,
    /// Not 0: a stream may begin with its payload; the answer is then PP_STATUS_ABSENT. Only for peers
    /// that are trusted.
    pub may_be_absent: u8,
    /// Not 0: take the v1 lines that nginx writes behind set_real_ip_from, whose addresses are of two families;
    /// the pair is read as IPv6, with the IPv4 one mapped.
    pub mixed_v1_families: u8,
    /// The largest v2 length field to take, in bytes; the whole header may be 16 bytes longer. 0: any.
    pub v2_len_max: u16,
}

/// An IP address and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Network order; IPv4 takes the first 4 bytes, the rest is 0.
    pub ip: [u8; 16],
    /// Host order.
    pub port: u16,
}

/// The addresses of a header; both are of one family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// PP_FAMILY_...
    pub family: u8,
    /// The client.
    pub source: Address,
    /// The address the client connected to.
    pub destination: Address,
}

/// A decoded header. It points nowhere: keep it as long as you like.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole header, 15 to 65551: the payload begins behind them.
    pub len: usize,
    /// Offset of the first TLV; `len` if there is none.
    pub tlvs_offset: usize,
    /// 1 or 2.
    pub version: u8,
    /// PP_COMMAND_...
    pub command: u8,
    /// PP_FAMILY_... as read, PP_FAMILY_UNSPEC in LOCAL and UNKNOWN; a header may name a family and no
    /// transport, and then carries no addresses.
    pub family: u8,
    /// PP_TRANSPORT_...
    pub transport: u8,
    /// The carried addresses, as they were written. They count if their family is PP_FAMILY_INET or
    /// PP_FAMILY_INET6 and the transport is that of the socket; otherwise use those of the socket.
    pub addresses: Addresses,
}

/// What a decoder answers; each field is set for the statuses it names, and 0 for all others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// PP_STATUS_NEED: at least this many bytes are missing. Reading just as many never takes a byte of
    /// the payload.
    pub need: usize,
    /// A refusal: the offset of the first byte that has no valid continuation; for a checksum that of
    /// its value, for a truncated input its length.
    pub offset: usize,
    /// PP_STATUS_OK: the header.
    pub header: Header,
}

/// A UNIX socket's name: bytes inside the received ones, without a terminating NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The first byte; NULL if the socket has no name.
    pub at: *const u8,
    /// At most 108; a name in the abstract namespace comes without its leading NUL.
    pub len: usize,
    /// Not 0: in the abstract namespace.
    pub is_abstract: u8,
}

/// A walk over TLVs. Its fields are private; it points into the received bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tlvs {
    /// Private.
    pub rest: *const u8,
    /// Private.
    pub rest_len: usize,
    /// Private.
    pub offset: usize,
}

/// One TLV; its value points into the received bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tlv {
    /// PP_TLV_... or any other type byte. Types may repeat.
    pub kind: u8,
    /// Whether the value keeps the rule of its type: PP_STATUS_OK, or why not. A header is good all the
    /// same.
    pub value_status: Status,
    /// The value.
    pub value: *const u8,
    /// Bytes of the value, 0 to 65532.
    pub value_len: usize,
    /// Offset of the type byte from the first byte of the header.
    pub offset: usize,
}

/// Text inside the received bytes, without a terminating NUL; whoever sent it chose every byte.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The first byte.
    pub at: *const u8,
    /// Bytes.
    pub len: usize,
}

/// What the sender knows of the client's TLS.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ssl {
    /// PP_CLIENT_... flags.
    pub client: u8,
    /// 0 if the client gave a certificate that was verified.
    pub verify: u32,
    /// A walk over the inner TLVs, for pp_tlvs_next.
    pub tlvs: Tlvs,
}

/// A TLV to be written.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TlvValue {
    /// The type byte.
    pub kind: u8,
    /// The value; may be NULL if `value_len` is 0.
    pub value: *const u8,
    /// Bytes of the value.
    pub value_len: usize,
}

/// A v2 header to be written. All zeros is a LOCAL header without anything.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct V2 {
    /// PP_COMMAND_LOCAL, which carries no addresses, or PP_COMMAND_PROXY.
    pub command: u8,
    /// PP_TRANSPORT_STREAM or PP_TRANSPORT_DGRAM; not looked at without addresses.
    pub transport: u8,
    /// Not 0: add a checksum over the whole header, behind the TLVs.
    pub crc32c: u8,
    /// The addresses; PP_FAMILY_UNIX takes the names below.
    pub addresses: Addresses,
    /// PP_FAMILY_UNIX: the client's `sun_path`, `source_name_len` bytes.
    pub source_name: *const u8,
    /// At most 108.
    pub source_name_len: usize,
    /// PP_FAMILY_UNIX: the `sun_path` the client connected to, `destination_name_len` bytes.
    pub destination_name: *const u8,
    /// At most 108.
    pub destination_name_len: usize,
    /// TLVs in their order; may be NULL if `tlvs_len` is 0.
    pub tlvs: *const TlvValue,
    /// Number of TLVs.
    pub tlvs_len: usize,
    /// Pad with a NOOP TLV until the header is so long; 0: no padding.
    pub pad_to: usize,
}
