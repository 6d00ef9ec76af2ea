//! The text header, matched against its grammar (spec 2.1).
//!
//! This is not a scanner. [`Line`] answers one question, "where may a whole line end that begins
//! with these bytes?", by carrying *sets* of positions through the grammar; a position behind the
//! last byte matches anything. No position left: the prefix is dead. The smallest one: where the
//! shortest line ends, which is the line itself when it lies within the bytes at hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Dead, Header, Live, Options, endpoint};

/// `PROXY UNKNOWN\r\n`.
pub(super) const SHORTEST: usize = 15;
/// The longest line, its CRLF included (spec 2.1).
const LONGEST: usize = 107;

/// Decodes `input`, which begins with `PROXY`.
pub(super) fn decode(input: &[u8], options: &Options) -> Result<Live, Dead> {
    let input = &input[..input.len().min(LONGEST)];
    let mixed = options.mixed_v1;
    match shortest_line(input, LONGEST, mixed) {
        Some(end) if end <= input.len() => Ok(Live::Header(fields(&input[..end]))),
        Some(end) => Ok(Live::Need(end - input.len())),
        None => {
            let lengths: Vec<usize> = (0..=input.len()).collect();
            let live =
                lengths.partition_point(|n| shortest_line(&input[..*n], LONGEST, mixed).is_some());
            Err(Dead { kind: kind(input, live - 1, mixed), offset: live - 1 })
        }
    }
}

/// The length of the shortest good line of at most `longest` bytes that agrees with `input`.
fn shortest_line(input: &[u8], longest: usize, mixed: bool) -> Option<usize> {
    let ends = Line { input, longest, mixed }.ends();
    (ends != NOWHERE).then(|| usize::try_from(ends.trailing_zeros()).expect("at most 128"))
}

/// The fields of a line that the grammar has accepted; the addresses are read by the standard
/// library, which is a second opinion on the grammar.
fn fields(line: &[u8]) -> Header {
    let unknown = Header {
        version: "1",
        command: "UNKNOWN",
        family: "UNSPEC",
        transport: "UNSPEC",
        src: None,
        dst: None,
        consumed: line.len(),
        tlvs: Vec::new(),
        tlv_error: None,
        crc: "absent",
    };
    if line.starts_with(b"PROXY UNKNOWN") {
        return unknown;
    }
    let text = std::str::from_utf8(line).expect("all but UNKNOWN lines are ASCII");
    let words: Vec<&str> = text.trim_end_matches("\r\n").split(' ').collect();
    let [_, protocol, src, dst, src_port, dst_port] = words[..] else {
        panic!("the grammar let {text:?} pass");
    };
    let port = |word: &str| word.parse::<u16>().expect("the grammar's ports are below 65536");
    let (src_port, dst_port) = (port(src_port), port(dst_port));
    let ip = |word: &str| word.parse::<IpAddr>().expect("the grammar's addresses are std's");
    let mapped = |addr: Ipv4Addr| addr.to_ipv6_mapped();
    let endpoints =
        |src: Ipv6Addr, dst: Ipv6Addr| ("INET6", endpoint(src, src_port), endpoint(dst, dst_port));
    assert_eq!(protocol == "TCP4", ip(src).is_ipv4(), "the source is of the announced family");
    let (family, src, dst) = match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ("INET", endpoint(src, src_port), endpoint(dst, dst_port))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => endpoints(src, dst),
        (IpAddr::V4(src), IpAddr::V6(dst)) => endpoints(mapped(src), dst),
        (IpAddr::V6(src), IpAddr::V4(dst)) => endpoints(src, mapped(dst)),
    };
    let (src, dst) = (Some(src), Some(dst));
    Header { command: "PROXY", family, transport: "STREAM", src, dst, ..unknown }
}

/// Names the rule that the byte at `offset` broke, by the field it stands in. Where it breaks two,
/// either name would do.
fn kind(input: &[u8], offset: usize, mixed: bool) -> &'static str {
    if shortest_line(&input[..=offset], 127, mixed).is_some() {
        return "v1_too_long";
    }
    let blanks = input[..offset].iter().filter(|byte| **byte == b' ').count();
    let (before, byte) = (input[offset - 1], input[offset]);
    let ends_line = byte == b'\r' || byte == b'\n';
    match blanks {
        0 => "v1_expected_space",
        _ if before == b'\r' => "v1_bad_line_end",
        1 if input[..offset].ends_with(b"TCP4") && ends_line => "v1_missing_field",
        1 => "v1_bad_protocol",
        2..=4 if ends_line => "v1_missing_field",
        2 => "v1_bad_src_addr",
        3 => "v1_bad_dst_addr",
        4 => "v1_bad_src_port",
        _ if before == b' ' => "v1_bad_dst_port",
        _ if byte == b' ' => "v1_extra_field",
        _ if byte == b'\n' => "v1_bad_line_end",
        _ => "v1_bad_dst_port",
    }
}

/// A set of positions in the line: bit `p` is set when a reading of the grammar may stand before
/// byte `p`.
type Spots = u128;

const NOWHERE: Spots = 0;
const START: Spots = 1;

/// One character: any byte from the first to the second.
type Class = (u8, u8);

const DIGIT: Class = (b'0', b'9');
const DIGIT_BUT_0: Class = (b'1', b'9');

/// 0..=255 without leading zeros.
const OCTET: &[&[Class]] = &[
    &[DIGIT],
    &[DIGIT_BUT_0, DIGIT],
    &[(b'1', b'1'), DIGIT, DIGIT],
    &[(b'2', b'2'), (b'0', b'4'), DIGIT],
    &[(b'2', b'2'), (b'5', b'5'), (b'0', b'5')],
];

/// 0..=65535 without leading zeros.
const PORT: &[&[Class]] = &[
    &[DIGIT],
    &[DIGIT_BUT_0, DIGIT],
    &[DIGIT_BUT_0, DIGIT, DIGIT],
    &[DIGIT_BUT_0, DIGIT, DIGIT, DIGIT],
    &[(b'1', b'5'), DIGIT, DIGIT, DIGIT, DIGIT],
    &[(b'6', b'6'), (b'0', b'4'), DIGIT, DIGIT, DIGIT],
    &[(b'6', b'6'), (b'5', b'5'), (b'0', b'4'), DIGIT, DIGIT],
    &[(b'6', b'6'), (b'5', b'5'), (b'5', b'5'), (b'0', b'2'), DIGIT],
    &[(b'6', b'6'), (b'5', b'5'), (b'5', b'5'), (b'3', b'3'), (b'0', b'5')],
];

/// The bytes at hand, and how long a line may grow.
struct Line<'a> {
    input: &'a [u8],
    longest: usize,
    /// The destination may be of the other family.
    mixed: bool,
}

impl Line<'_> {
    /// Where a line may end.
    fn ends(&self) -> Spots {
        let protocol = self.text(START, "PROXY ");
        let tcp4 = self.text(protocol, "TCP4 ");
        let tcp4 = self.addresses_and_ports(tcp4, Line::ipv4, Line::ipv6);
        let tcp6 = self.text(protocol, "TCP6 ");
        let tcp6 = self.addresses_and_ports(tcp6, Line::ipv6, Line::ipv4);
        let unknown = self.text(protocol, "UNKNOWN");
        let unknown = unknown | self.anything_but_cr(self.text(unknown, " "));
        self.text(tcp4 | tcp6 | unknown, "\r\n")
    }

    fn addresses_and_ports(
        &self,
        from: Spots,
        addr: fn(&Self, Spots) -> Spots,
        other: fn(&Self, Spots) -> Spots,
    ) -> Spots {
        // The other family's: most of the work, for nothing.
        if from == NOWHERE {
            return NOWHERE;
        }
        let src = addr(self, from);
        let blank = self.text(src, " ");
        let mixed = if self.mixed { other(self, blank) } else { NOWHERE };
        let dst = addr(self, blank) | mixed;
        let src_port = self.any_of(self.text(dst, " "), PORT);
        self.any_of(self.text(src_port, " "), PORT)
    }

    fn ipv4(&self, from: Spots) -> Spots {
        let mut spots = self.any_of(from, OCTET);
        for _ in 0..3 {
            spots = self.any_of(self.text(spots, "."), OCTET);
        }
        spots
    }

    /// Eight groups; or fewer, with one `::` for at least one group of zeros. The last two groups
    /// may be written as an IPv4 address.
    fn ipv6(&self, from: Spots) -> Spots {
        let mut ends = self.groups(from, 8) | self.ipv4(self.text(self.groups(from, 6), ":"));
        let elided: Vec<Spots> =
            (0..=7).map(|left| self.text(self.groups(from, left), "::")).collect();
        let behind_at_most = |left: usize| elided[..=left].iter().fold(NOWHERE, |all, at| all | at);
        for right in 0..=7 {
            ends |= self.groups(behind_at_most(7 - right), right);
        }
        for right in 0..=5 {
            let spots = self.groups(behind_at_most(5 - right), right);
            ends |= self.ipv4(if right > 0 { self.text(spots, ":") } else { spots });
        }
        ends
    }

    /// `count` groups of one to four hex digits with a colon between each two.
    fn groups(&self, from: Spots, count: usize) -> Spots {
        let mut spots = from;
        for group in 0..count {
            if group > 0 {
                spots = self.text(spots, ":");
            }
            let mut ends = NOWHERE;
            for _ in 0..4 {
                spots = self.one(spots, |byte| byte.is_ascii_hexdigit());
                ends |= spots;
            }
            spots = ends;
        }
        spots
    }

    fn anything_but_cr(&self, from: Spots) -> Spots {
        let more = from | self.one(from, |byte| byte != b'\r');
        if more == from { from } else { self.anything_but_cr(more) }
    }

    fn any_of(&self, from: Spots, patterns: &[&[Class]]) -> Spots {
        let pattern = |classes: &&[Class]| {
            classes.iter().fold(from, |spots, (low, high)| {
                self.one(spots, |byte| (*low..=*high).contains(&byte))
            })
        };
        patterns.iter().map(pattern).fold(NOWHERE, |all, ends| all | ends)
    }

    fn text(&self, from: Spots, text: &str) -> Spots {
        text.bytes().fold(from, |spots, wanted| self.one(spots, |byte| byte == wanted))
    }

    /// Steps over one byte: a good one, or one that is not there yet. Behind the input everything
    /// matches, so the first position there speaks for the later ones.
    fn one(&self, from: Spots, good: impl Fn(u8) -> bool) -> Spots {
        let mut to = NOWHERE;
        let behind = from >> self.input.len() << self.input.len();
        let mut rest = (from & !behind) | (behind & behind.wrapping_neg());
        while rest != NOWHERE {
            let at = usize::try_from(rest.trailing_zeros()).expect("at most 128");
            rest &= rest - 1;
            if at < self.longest && self.input.get(at).is_none_or(|byte| good(*byte)) {
                to |= 1 << (at + 1);
            }
        }
        to
    }
}
