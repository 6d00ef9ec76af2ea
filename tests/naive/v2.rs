//! The binary header (spec 2.2), judged by trying what may still come.
//!
//! A byte of a length is refused when no value of the bytes behind it gives a good length. The TLVs
//! of a complete header are then collected from scratch, by a walk that shares nothing with the one
//! that judged the prefix.

use super::{Dead, Header, Live, Options, SIGNATURE, endpoint, ipv4_at, ipv6_at, u16_at};

/// Signature, version and command, family and transport, length.
pub(super) const FIXED: usize = 16;

const FAMILIES: [&str; 4] = ["UNSPEC", "INET", "INET6", "UNIX"];
const TRANSPORTS: [&str; 3] = ["UNSPEC", "STREAM", "DGRAM"];
const CRC32C: u8 = 3;

/// What bytes 12 and 13 announce.
#[derive(Clone, Copy)]
struct Shape {
    proxy: bool,
    family: usize,
    transport: usize,
}

impl Shape {
    /// PROXY with a family and a transport: an address block and well-framed TLVs are owed.
    fn has_addresses(self) -> bool {
        self.proxy && self.family != 0 && self.transport != 0
    }

    /// The size of the family's address block, none for a family that has none.
    fn block(self) -> Option<usize> {
        [None, Some(12), Some(36), Some(216)].get(self.family).copied().flatten()
    }
}

/// Decodes `input`, which begins with the signature.
pub(super) fn decode(input: &[u8], options: &Options) -> Result<Live, Dead> {
    let missing = Ok(Live::Need(FIXED.saturating_sub(input.len())));
    let Some(&version_command) = input.get(SIGNATURE.len()) else { return missing };
    let proxy = command(version_command)?;
    let savable =
        |byte: u8| shape(proxy, byte, options).is_ok_and(|shape| some_good_length(shape, options));
    if !(0..=255).any(savable) {
        return Err(Dead { kind: "v2_too_long", offset: 12 });
    }
    let Some(&family_transport) = input.get(13) else { return missing };
    let shape = shape(proxy, family_transport, options)?;
    if !some_good_length(shape, options) {
        return Err(Dead { kind: "v2_too_long", offset: 13 });
    }
    let Some(&high) = input.get(14) else { return missing };
    let good = |low: usize| good_length(shape, usize::from(high) * 256 + low, options);
    if !(0..256).any(good) {
        return Err(Dead {
            kind: length_kind(shape, usize::from(high) * 256, options),
            offset: 14,
        });
    }
    let Some(&low) = input.get(15) else { return missing };
    let length = usize::from(high) * 256 + usize::from(low);
    if !good(usize::from(low)) {
        return Err(Dead { kind: length_kind(shape, length, options), offset: 15 });
    }
    let end = FIXED + length;
    let tlvs = FIXED + shape.block().unwrap_or(0);
    if shape.has_addresses() {
        judge_tlvs(&input[..input.len().min(end)], tlvs, end, options)?;
    }
    match input.get(..end) {
        Some(header) => complete(header, shape, options).map(Live::Header),
        None => Ok(Live::Need(end - input.len())),
    }
}

/// Byte 12: whether it is PROXY rather than LOCAL.
fn command(byte: u8) -> Result<bool, Dead> {
    match (byte >> 4, byte & 15) {
        (2, 0) => Ok(false),
        (2, 1) => Ok(true),
        (2, _) => Err(Dead { kind: "v2_bad_command", offset: 12 }),
        (_, _) => Err(Dead { kind: "v2_bad_version", offset: 12 }),
    }
}

/// Byte 13, which means nothing to LOCAL.
fn shape(proxy: bool, byte: u8, options: &Options) -> Result<Shape, Dead> {
    let (family, transport) = (usize::from(byte >> 4), usize::from(byte & 15));
    if proxy && family >= FAMILIES.len() {
        return Err(Dead { kind: "v2_bad_family", offset: 13 });
    }
    if proxy && transport >= TRANSPORTS.len() {
        return Err(Dead { kind: "v2_bad_transport", offset: 13 });
    }
    if proxy && options.reject_unspec && (family == 0 || transport == 0) {
        return Err(Dead { kind: "v2_unspec_rejected", offset: 13 });
    }
    Ok(Shape { proxy, family, transport })
}

fn good_length(shape: Shape, length: usize, options: &Options) -> bool {
    let block = if shape.has_addresses() { shape.block().unwrap_or(0) } else { 0 };
    length <= options.max_v2_len
        && length >= block
        // One or two bytes are no TLV.
        && !(shape.has_addresses() && options.strict_tlv && matches!(length - block, 1 | 2))
}

fn some_good_length(shape: Shape, options: &Options) -> bool {
    (0..=65_535).any(|length| good_length(shape, length, options))
}

fn length_kind(shape: Shape, length: usize, options: &Options) -> &'static str {
    if length > options.max_v2_len {
        "v2_too_long"
    } else if length < shape.block().unwrap_or(0) {
        "v2_addr_too_short"
    } else {
        "tlv_header_truncated"
    }
}

/// Refuses the TLVs from `at` to `end`, of which `input` holds a prefix, if they are beyond hope.
fn judge_tlvs(input: &[u8], at: usize, end: usize, options: &Options) -> Result<(), Dead> {
    let mut at = at;
    let mut crc_seen = false;
    while end - at >= 3 {
        let room = end - at - 3;
        let Some(&tlv) = input.get(at) else { return Ok(()) };
        let crc = options.verify_crc && tlv == CRC32C;
        let good = |length: usize| {
            if length > room {
                return !options.strict_tlv;
            }
            !(options.strict_tlv && matches!(room - length, 1 | 2))
                && !(crc && (crc_seen || length != 4))
        };
        let kind = |least: usize| match (crc, crc_seen) {
            (_, _) if least > room => "tlv_value_overrun",
            (true, true) => "crc_duplicate",
            (true, false) => "crc_bad_length",
            (false, _) => "tlv_header_truncated",
        };
        if !(0..=65_535).any(good) {
            return Err(Dead { kind: kind(0), offset: at });
        }
        let Some(&high) = input.get(at + 1) else { return Ok(()) };
        let least = usize::from(high) * 256;
        if !(least..least + 256).any(good) {
            return Err(Dead { kind: kind(least), offset: at + 1 });
        }
        let Some(&low) = input.get(at + 2) else { return Ok(()) };
        let length = least + usize::from(low);
        if !good(length) {
            return Err(Dead { kind: kind(length), offset: at + 2 });
        }
        if length > room {
            return Ok(());
        }
        crc_seen |= crc;
        at += 3 + length;
    }
    Ok(())
}

/// The fields of a header whose bytes are all there.
fn complete(header: &[u8], shape: Shape, options: &Options) -> Result<Header, Dead> {
    let (tlvs, tlv_error) = find_tlvs(header, shape);
    let crc = crc_state(header, &tlvs);
    if options.verify_crc {
        refuse_crc(crc, &tlvs)?;
        if options.require_crc && crc == "absent" {
            return Err(Dead { kind: "crc_missing", offset: header.len() });
        }
    }
    let (src, dst) = endpoints(header, shape);
    let named =
        |names: &[&'static str], index: usize| if shape.proxy { names[index] } else { names[0] };
    Ok(Header {
        version: "2",
        command: if shape.proxy { "PROXY" } else { "LOCAL" },
        family: named(&FAMILIES, shape.family),
        transport: named(&TRANSPORTS, shape.transport),
        src,
        dst,
        consumed: header.len(),
        tlvs: tlvs.iter().map(|tlv| (tlv.kind, tlv.value.to_vec())).collect(),
        tlv_error,
        crc,
    })
}

struct Tlv<'a> {
    /// Where its type byte stands in the header.
    at: usize,
    kind: u8,
    value: &'a [u8],
}

/// The TLVs of a whole header, and why there are no more of them.
fn find_tlvs(header: &[u8], shape: Shape) -> (Vec<Tlv<'_>>, Option<&'static str>) {
    let behind_block = shape.block().map(|block| FIXED + block).filter(|at| *at <= header.len());
    if shape.has_addresses() {
        return walk(header, behind_block.expect("shorter ones are refused"));
    }
    // A guess at what the sender meant: whole walks only, and never an error.
    let starts = [Some(FIXED), behind_block];
    let mut walks = starts.into_iter().flatten().map(|at| walk(header, at));
    walks.find(|(_, error)| error.is_none()).unwrap_or_default()
}

fn walk(header: &[u8], start: usize) -> (Vec<Tlv<'_>>, Option<&'static str>) {
    let mut tlvs = Vec::new();
    let mut at = start;
    while at < header.len() {
        let [kind, high, low, rest @ ..] = &header[at..] else {
            return (tlvs, Some("tlv_header_truncated"));
        };
        let Some(value) = rest.get(..usize::from(*high) * 256 + usize::from(*low)) else {
            return (tlvs, Some("tlv_value_overrun"));
        };
        tlvs.push(Tlv { at, kind: *kind, value });
        at += 3 + value.len();
    }
    (tlvs, None)
}

fn crc_state(header: &[u8], tlvs: &[Tlv<'_>]) -> &'static str {
    let crcs: Vec<&Tlv<'_>> = tlvs.iter().filter(|tlv| tlv.kind == CRC32C).collect();
    match crcs[..] {
        [] => "absent",
        [&Tlv { at, value: &[a, b, c, d], .. }] => {
            let mut zeroed = header.to_vec();
            zeroed[at + 3..at + 7].fill(0);
            if crc32c(&zeroed) == u32::from_be_bytes([a, b, c, d]) { "valid" } else { "mismatch" }
        }
        [_, ..] => "malformed",
    }
}

/// The first CRC32C TLV that breaks a rule. Behind an address block `judge_tlvs` has already
/// refused all but the mismatch.
fn refuse_crc(state: &'static str, tlvs: &[Tlv<'_>]) -> Result<(), Dead> {
    for (index, tlv) in tlvs.iter().filter(|tlv| tlv.kind == CRC32C).enumerate() {
        if index > 0 {
            return Err(Dead { kind: "crc_duplicate", offset: tlv.at });
        }
        if tlv.value.len() != 4 {
            return Err(Dead { kind: "crc_bad_length", offset: tlv.at + 2 });
        }
        if state == "mismatch" {
            return Err(Dead { kind: "crc_mismatch", offset: tlv.at + 3 });
        }
    }
    Ok(())
}

/// Castagnoli's polynomial, reflected, one bit at a time (RFC 4960, appendix B).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

fn endpoints(header: &[u8], shape: Shape) -> (Option<String>, Option<String>) {
    if !shape.has_addresses() {
        return (None, None);
    }
    let port = |at: usize| u16_at(header, at);
    let (src, dst) = match FAMILIES[shape.family] {
        "INET" => {
            (endpoint(ipv4_at(header, 16), port(24)), endpoint(ipv4_at(header, 20), port(26)))
        }
        "INET6" => {
            (endpoint(ipv6_at(header, 16), port(48)), endpoint(ipv6_at(header, 32), port(50)))
        }
        _ => (unix(&header[16..124]), unix(&header[124..232])),
    };
    (Some(src), Some(dst))
}

/// A path up to its first NUL, byte for code point; or the name behind a leading NUL, in hex.
fn unix(name: &[u8]) -> String {
    let used = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match &name[..used] {
        [0, rest @ ..] => {
            let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("unix-abstract:{hex}")
        }
        path => path
            .iter()
            .take_while(|byte| **byte != 0)
            .fold("unix:".to_owned(), |text, byte| text + &char::from(*byte).to_string()),
    }
}
