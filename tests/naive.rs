//! The slow, obvious PROXY protocol decoder that the fast one is checked against.
//!
//! It is written from the specification and from docs/protocol.md alone: it imports nothing of
//! ppcore, sees only whole buffers, allocates freely and keeps no state. Where ppcore computes, it
//! enumerates: a v1 line is matched against a grammar as sets of positions, with the bytes that are
//! not there yet as jokers, and a v2 length is refused when trying every value of the bytes still
//! missing finds no good one.
//!
//! Invariant: an input that no further bytes can turn into a good header is never `incomplete`, and
//! its error stands at the first byte for which that is so. The one exception is CRC32C: its value,
//! and that there is none where one is required, is judged when the header is complete.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

// Named, so that tests/fuzz can include this file from where it stands.
#[path = "naive/v1.rs"]
mod v1;
#[path = "naive/v2.rs"]
pub(crate) mod v2;

const KEYWORD: &[u8] = b"PROXY";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const SPP_MAGIC: &[u8] = &[0x56, 0xEC];

/// How the bytes reached us, which decides what a missing rest means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A stream that is still open: a missing rest may come.
    Open,
    /// A stream whose peer has closed: a missing rest never comes.
    Closed,
    /// One datagram.
    Datagram,
    /// One datagram of Cloudflare's Simple Proxy Protocol, which shares nothing with v1 and v2.
    Spp,
}

/// What a receiver is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) input: Input,
    pub(crate) v1: bool,
    pub(crate) v2: bool,
    /// A v1 line's destination may be of the other family.
    pub(crate) mixed_v1: bool,
    /// What fits no allowed version is plain payload, not an error.
    pub(crate) optional: bool,
    pub(crate) verify_crc: bool,
    /// Only where checksums are verified.
    pub(crate) require_crc: bool,
    pub(crate) strict_tlv: bool,
    pub(crate) reject_unspec: bool,
    /// The largest good value of the 16-bit length field.
    pub(crate) max_v2_len: usize,
}

impl Default for Options {
    /// The defaults of `ppserver decode`.
    fn default() -> Options {
        Options {
            input: Input::Open,
            v1: true,
            v2: true,
            mixed_v1: false,
            optional: false,
            verify_crc: true,
            require_crc: false,
            strict_tlv: false,
            reject_unspec: false,
            max_v2_len: 65_535,
        }
    }
}

/// The fields of `ppserver decode --json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok(Box<Header>),
    /// `need` is the least number of bytes that are missing.
    Incomplete {
        version: Version,
        need: usize,
    },
    /// A stream without a header, in optional mode.
    Absent,
    /// The first bytes fit no allowed version.
    NotProxy {
        offset: usize,
    },
    Error {
        version: Version,
        kind: &'static str,
        offset: usize,
    },
}

/// `1`, `2`, `spp`, or nothing while the bytes fit more than one.
pub(crate) type Version = Option<&'static str>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: &'static str,
    pub(crate) command: &'static str,
    pub(crate) family: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) src: Option<String>,
    pub(crate) dst: Option<String>,
    pub(crate) consumed: usize,
    pub(crate) tlvs: Vec<(u8, Vec<u8>)>,
    pub(crate) tlv_error: Option<&'static str>,
    pub(crate) crc: &'static str,
}

/// A rule that is broken for good, and the byte that broke it.
struct Dead {
    kind: &'static str,
    offset: usize,
}

/// A prefix that nothing has ruled out: the header it begins, or how much more it takes.
enum Live {
    Header(Header),
    Need(usize),
}

/// Decodes `input`, all the bytes there are.
pub(crate) fn decode(input: &[u8], options: &Options) -> Answer {
    let verdict = match options.input {
        Input::Spp => return spp(input),
        Input::Open | Input::Closed | Input::Datagram => detect(input, options),
    };
    match verdict {
        Ok(Live::Header(header)) => Answer::Ok(Box::new(header)),
        Ok(Live::Need(need)) => unfinished(input, need, options),
        Err(Dead { kind: "not_proxy", .. }) if options.optional => Answer::Absent,
        Err(Dead { kind: "not_proxy", offset }) => Answer::NotProxy { offset },
        Err(Dead { kind, offset }) => Answer::Error { version: version(input), kind, offset },
    }
}

/// The version that a live or dead header has committed to.
fn version(input: &[u8]) -> Version {
    let is = |version, magic| input.starts_with(magic).then_some(version);
    is("1", KEYWORD).or(is("2", SIGNATURE))
}

/// Which version do the first bytes begin? `PROXY` and the signature share no first byte.
fn detect(input: &[u8], options: &Options) -> Result<Live, Dead> {
    if options.v1 && input.starts_with(KEYWORD) {
        return v1::decode(input, options);
    }
    if options.v2 && input.starts_with(SIGNATURE) {
        return v2::decode(input, options);
    }
    if options.v1 && KEYWORD.starts_with(input) {
        return Ok(Live::Need(v1::SHORTEST - input.len()));
    }
    if options.v2 && SIGNATURE.starts_with(input) {
        return Ok(Live::Need(v2::FIXED - input.len()));
    }
    let fits = |n: &usize| {
        let head = &input[..*n];
        (options.v1 && KEYWORD.starts_with(head)) || (options.v2 && SIGNATURE.starts_with(head))
    };
    // The empty prefix fits whatever is allowed, so the first one that does not has a last byte.
    let longest = (0..=input.len()).take_while(fits).last().unwrap_or(0);
    Err(Dead { kind: "not_proxy", offset: longest })
}

/// What a live prefix means while more may come, and once nothing can.
fn unfinished(input: &[u8], need: usize, options: &Options) -> Answer {
    let version = version(input);
    match options.input {
        Input::Open => Answer::Incomplete { version, need },
        Input::Closed | Input::Datagram if options.optional && version.is_none() => Answer::Absent,
        Input::Closed if input.is_empty() => Answer::Error { version, kind: "empty", offset: 0 },
        Input::Closed | Input::Datagram | Input::Spp => {
            Answer::Error { version, kind: "truncated", offset: input.len() }
        }
    }
}

/// Cloudflare's Simple Proxy Protocol: magic, two 16-byte addresses, two ports, then the payload.
fn spp(input: &[u8]) -> Answer {
    if let Some(offset) = input.iter().zip(SPP_MAGIC).position(|(byte, magic)| byte != magic) {
        return Answer::NotProxy { offset };
    }
    let Some(header) = input.get(..38) else {
        let version = input.starts_with(SPP_MAGIC).then_some("spp");
        return Answer::Error { version, kind: "truncated", offset: input.len() };
    };
    let (src, dst) = (ipv6_at(header, 2), ipv6_at(header, 18));
    let (src_port, dst_port) = (u16_at(header, 34), u16_at(header, 36));
    let (family, src, dst) = match (src.to_ipv4_mapped(), dst.to_ipv4_mapped()) {
        (Some(src), Some(dst)) => ("INET", endpoint(src, src_port), endpoint(dst, dst_port)),
        (None, _) | (_, None) => ("INET6", endpoint(src, src_port), endpoint(dst, dst_port)),
    };
    Answer::Ok(Box::new(Header {
        version: "spp",
        command: "PROXY",
        family,
        transport: "DGRAM",
        src: Some(src),
        dst: Some(dst),
        consumed: header.len(),
        tlvs: Vec::new(),
        tlv_error: None,
        crc: "absent",
    }))
}

fn endpoint<A>(addr: A, port: u16) -> String
where
    SocketAddr: From<(A, u16)>,
{
    SocketAddr::from((addr, port)).to_string()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) * 256 + u16::from(bytes[at + 1])
}

fn ipv4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn ipv6_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(octets)
}
