//! The text line of version 1 (spec 2.1).
//!
//! Most lines arrive whole and good: [`whole`] reads those, field behind field. What it does not take a
//! [`Line`] judges byte by byte, as it grows; one that may mix families is read by [`mixed`] at its end.
//!
//! ```text
//! opening -+-> address -> address -> Port -> Port -+-> LineEnd
//!          +-> Tail -------------------------------+
//! address: Octet, of which there are four
//!          Start -+-> Colon -> Gap -+-> Group <-> Separator -> Gap -> Group
//!                 +-----------------+                   a last Group may turn into Octet
//! ```
//!
//! It knows what may come next, and no value: those are read when the line is whole.
//! A byte passes only if some continuation makes a valid line of at most 107 bytes, so the line is never
//! incomplete on a dead prefix.
//! Invariant: `whole`, and `mixed` where families may be, take exactly the lines that a `Line` lets pass to their
//! end.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::decode::{Decoded, Options, V1Families};
use crate::header::{Addresses, Command, Header, Transport, Version};
use crate::{Error, ErrorKind, V1_LEN_MAX};

/// The five bytes every v1 header begins with (spec 2.1).
pub(crate) const KEYWORD: &[u8; 5] = b"PROXY";
/// The shortest v1 line.
pub(crate) const LEN_MIN: usize = UNKNOWN.len();

const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const UNKNOWN_TAIL: &[u8] = b"PROXY UNKNOWN ";
const TCP4: &[u8] = b"PROXY TCP4 ";
const TCP6: &[u8] = b"PROXY TCP6 ";

/// What a line can begin with, and the length of the shortest line that does; the shortest first. All that
/// an incomplete `PROXY UNKNOWN ` begins with, the first of them does too.
static OPENINGS: [(&[u8], usize); 3] = [
    (UNKNOWN, LEN_MIN),
    (TCP6, b"PROXY TCP6 :: :: 0 0\r\n".len()),
    (TCP4, b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len()),
];

const LINE_END: &[u8] = b"\r\n";
/// What a destination of IPv6 saves in the shortest `TCP4` line.
const MIXED_SAVES: usize = INET_MIN - INET6_MIN;
/// The least that stands behind the destination's address.
const PORTS_MIN: usize = b" 0 0\r\n".len();
/// The least that stands between the source's address and the ports.
const INET_MIN: usize = b" 0.0.0.0".len();
const INET6_MIN: usize = b" ::".len();

/// The most digits of an IPv6 group.
const GROUP_DIGITS: u8 = 4;
/// Octets in an IPv4 address.
const OCTETS: u8 = 4;
/// Groups of 16 bits in an IPv6 address.
const GROUPS: u8 = 8;

/// Reads the line that `received` begins with, if it is whole and good.
#[inline(never)]
pub(crate) fn whole(received: &[u8]) -> Option<Header> {
    if received.len() < LEN_MIN {
        return None;
    }
    let (addresses, rest) = if let Some(rest) = received.strip_prefix(TCP4) {
        let (source, rest) = quad(rest)?;
        let (destination, rest) = quad(rest)?;
        let (source_port, destination_port, rest) = ports(rest)?;
        let addr = |bits, port| SocketAddrV4::new(Ipv4Addr::from_bits(bits), port);
        let source = addr(source, source_port);
        let destination = addr(destination, destination_port);
        (Addresses::Inet { source, destination }, rest)
    } else if let Some(rest) = received.strip_prefix(TCP6) {
        let (source, rest) = groups(rest)?;
        let (destination, rest) = groups(rest)?;
        let (source_port, destination_port, rest) = ports(rest)?;
        let source = SocketAddrV6::new(source, source_port, 0, 0);
        let destination = SocketAddrV6::new(destination, destination_port, 0, 0);
        (Addresses::Inet6 { source, destination }, rest)
    } else {
        (Addresses::None, tail(received)?)
    };
    let len = received.len() - rest.len();
    (len <= V1_LEN_MAX).then(|| header(addresses, len))
}

/// Reads the line that `received` begins with, if it is whole, good but for a destination of the other family.
#[cold]
fn mixed(received: &[u8]) -> Option<Header> {
    let mapped = |bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped();
    let (source, destination, rest) = if let Some(rest) = received.strip_prefix(TCP4) {
        let (source, rest) = quad(rest)?;
        let (destination, rest) = groups(rest)?;
        (mapped(source), destination, rest)
    } else {
        let (source, rest) = groups(received.strip_prefix(TCP6)?)?;
        let (destination, rest) = quad(rest)?;
        (source, mapped(destination), rest)
    };
    let (source_port, destination_port, rest) = ports(rest)?;
    let source = SocketAddrV6::new(source, source_port, 0, 0);
    let destination = SocketAddrV6::new(destination, destination_port, 0, 0);
    let len = received.len() - rest.len();
    (len <= V1_LEN_MAX).then(|| header(Addresses::Inet6 { source, destination }, len))
}

#[inline(always)]
fn header(addresses: Addresses, len: usize) -> Header {
    let (command, transport) = match addresses {
        Addresses::None => (Command::Unknown, Transport::Unspec),
        Addresses::Inet { .. } | Addresses::Inet6 { .. } | Addresses::Unix => {
            (Command::Proxy, Transport::Stream)
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "a line has at most 107 bytes")]
    let len = len as u32;
    let (version, family) = (Version::V1, addresses.family());
    Header { version, command, family, transport, addresses, len, tlvs_at: len }
}

/// Takes `PROXY UNKNOWN` and all up to the line's end.
#[cold]
fn tail(received: &[u8]) -> Option<&[u8]> {
    let opening = UNKNOWN.strip_suffix(LINE_END)?;
    let rest = received.strip_prefix(opening)?;
    let at = rest.iter().take(V1_LEN_MAX).position(|&byte| byte == b'\r')?;
    let (tail, end) = rest.split_at_checked(at)?;
    if tail.is_empty() || tail.starts_with(b" ") { end.strip_prefix(LINE_END) } else { None }
}

/// Takes a number of at most `DIGITS` digits, without leading zeros and no larger than `max`, and the byte
/// that ends it; returns also what is behind.
#[inline(always)]
fn decimal<const DIGITS: usize>(mut rest: &[u8], max: u32, end: u8) -> Option<(u32, &[u8])> {
    let mut value = 0;
    for at in 0..=DIGITS {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        if at > 0 && byte == end {
            return (value <= max).then_some((value, rest));
        }
        let digit = u32::from(byte).wrapping_sub(u32::from(b'0'));
        if digit > 9 || at == DIGITS || at == 1 && value == 0 {
            return None;
        }
        value = value * 10 + digit;
    }
    None
}

/// Takes a dotted quad and the blank behind it.
#[inline(never)]
fn quad(mut rest: &[u8]) -> Option<(u32, &[u8])> {
    let mut quad = 0;
    for end in [b'.', b'.', b'.', b' '] {
        let (octet, behind) = decimal::<3>(rest, u8::MAX.into(), end)?;
        quad = quad << 8 | octet;
        rest = behind;
    }
    Some((quad, rest))
}

/// Takes both ports and the line's end.
#[inline(never)]
fn ports(rest: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (source, rest) = decimal::<5>(rest, u16::MAX.into(), b' ')?;
    let (destination, rest) = decimal::<5>(rest, u16::MAX.into(), b'\r')?;
    Some((low(source), low(destination), rest.strip_prefix(b"\n")?))
}

/// Takes an IPv6 address and the blank behind it.
#[inline(never)]
fn groups(mut rest: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (mut bits, mut count, mut gap) = (0, 0, None);
    if rest.first() == Some(&b':') {
        rest = rest.strip_prefix(b"::")?;
        gap = Some(0);
    }
    loop {
        let (group, digits) = hexadecimal(rest);
        let (&byte, behind) = rest.get(digits..)?.split_first()?;
        if byte == b'.' {
            let (quad, behind) = quad(rest)?;
            (bits, count, rest) = (bits << 32 | u128::from(quad), count + 2, behind);
            break;
        }
        rest = behind;
        if digits > 0 {
            (bits, count) = (bits << 16 | u128::from(group), count + 1);
        } else if gap != Some(count) {
            return None;
        }
        match byte {
            b' ' => break,
            b':' if digits > 0 && count < GROUPS => {}
            _ => return None,
        }
        if let Some(behind) = rest.strip_prefix(b":") {
            if gap.replace(count).is_some() {
                return None;
            }
            rest = behind;
        }
    }
    match gap {
        None => (count == GROUPS).then_some((Ipv6Addr::from_bits(bits), rest)),
        // `::` stands for one group at least.
        Some(head) => (count < GROUPS).then(|| (elided(bits, head, count - head), rest)),
    }
}

/// Puts a gap behind the first so many groups of an address, in front of the other ones.
#[cold]
fn elided(bits: u128, head: u8, tail: u8) -> Ipv6Addr {
    let tail_bits = 16 * u32::from(tail);
    let head_at = 16 * u32::from(GROUPS - head);
    let head = (bits >> tail_bits).checked_shl(head_at).unwrap_or_default();
    Ipv6Addr::from_bits(head | bits & ((1 << tail_bits) - 1))
}

/// Reads the digits of an IPv6 group, in front of a byte that is none, or one too many; returns also their
/// number.
#[inline(always)]
fn hexadecimal(bytes: &[u8]) -> (u32, usize) {
    let (mut value, mut digits) = (0, 0);
    for &byte in bytes.iter().take(GROUP_DIGITS.into()) {
        let Some(digit) = nibble(byte) else { break };
        value = value << 4 | digit;
        digits += 1;
    }
    (value, digits)
}

/// Returns the value of a hexadecimal digit.
#[inline(always)]
fn nibble(byte: u8) -> Option<u32> {
    let digit = u32::from(byte).wrapping_sub(u32::from(b'0'));
    let letter = u32::from(byte | 0x20).wrapping_sub(u32::from(b'a'));
    if digit <= 9 {
        Some(digit)
    } else if letter < 6 {
        Some(letter + 10)
    } else {
        None
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
const fn low(number: u32) -> u16 {
    number as u16
}

/// What has passed, and so what may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing of an IPv6 address.
    Start,
    /// The first colon of one that begins with two.
    Colon,
    /// A `::`.
    Gap,
    /// A single colon behind a group.
    Separator,
    /// Digits of a group.
    Group,
    /// Digits of an octet, or what is in front of it.
    Octet,
    /// Digits of a port, or the blank in front of it.
    Port,
    /// `UNKNOWN`, a blank, and anything.
    Tail,
    /// The CR.
    LineEnd,
}

/// A line that is not whole, or not good.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Bytes that have passed.
    pos: usize,
    /// The least number of bytes behind them that complete the line.
    need: usize,
    /// The part of it that stands behind the address, port or tail under way.
    behind: usize,
    stage: Stage,
    families: V1Families,
    /// The stage in which the destination begins, and what `left` is then.
    start: (Stage, u8),
    /// Whether the address or port under way is the source's.
    is_source: bool,
    /// Whether a `::` stands for groups of the address under way.
    is_elided: bool,
    /// How many groups or octets the address under way may hold, those that are complete not counted.
    left: u8,
    number: Number,
}

/// The digits of the number under way, one a nibble, so that decimal numbers too keep their order.
#[derive(Clone, Copy, Debug)]
struct Number {
    nibbles: u32,
    digits: u8,
}

impl Number {
    const NONE: Self = Self { nibbles: 0, digits: 0 };
    const OCTET_MAX: u32 = 0x255;
    const PORT_MAX: u32 = 0x6_5535;

    const fn is_empty(self) -> bool {
        self.digits == 0
    }

    /// Takes a digit of a decimal number without leading zeros.
    fn take_decimal(&mut self, byte: u8, max: u32) -> bool {
        let Some(digit @ 0..=9) = nibble(byte) else { return false };
        let nibbles = self.nibbles << 4 | digit;
        let fits = nibbles <= max && (self.nibbles > 0 || self.is_empty());
        if fits {
            *self = Self { nibbles, digits: self.digits + 1 };
        }
        fits
    }

    /// Takes a digit of an IPv6 group.
    fn take_hexadecimal(&mut self, byte: u8) -> bool {
        let Some(digit) = nibble(byte) else { return false };
        let fits = self.digits < GROUP_DIGITS;
        if fits {
            *self = Self { nibbles: self.nibbles << 4 | digit, digits: self.digits + 1 };
        }
        fits
    }

    /// Says whether the digits of a group make an octet as well.
    #[cold]
    fn is_octet(self) -> bool {
        let are_decimal = (0..GROUP_DIGITS).all(|at| self.nibbles >> (4 * at) & 15 <= 9);
        let has_leading_zero = self.digits > 1 && self.nibbles >> (4 * (self.digits - 1)) == 0;
        are_decimal && !has_leading_zero && self.nibbles <= Self::OCTET_MAX
    }
}

impl Line {
    /// Takes the opening, if all of it has arrived.
    pub(crate) fn open(received: &[u8], options: &Options) -> Option<Self> {
        let families = options.v1_families;
        let (opening, stage, left, behind) = if received.starts_with(TCP4) {
            (TCP4, Stage::Octet, OCTETS, INET_MIN + PORTS_MIN)
        } else if received.starts_with(TCP6) {
            (TCP6, Stage::Start, GROUPS, INET6_MIN + PORTS_MIN)
        } else if received.starts_with(UNKNOWN_TAIL) {
            (UNKNOWN_TAIL, Stage::Tail, 0, LINE_END.len())
        } else {
            return None;
        };
        // An address that may be of either family begins as one of IPv6 does.
        let (start, behind) = if families == V1Families::Mixed && stage == Stage::Octet {
            ((Stage::Start, GROUPS), behind - MIXED_SAVES)
        } else {
            ((stage, left), behind)
        };
        let mut line = Self {
            pos: opening.len(),
            need: 0,
            behind,
            stage,
            families,
            start,
            is_source: true,
            is_elided: false,
            left,
            number: Number::NONE,
        };
        line.need = line.least();
        Some(line)
    }

    /// Judges what has arrived.
    #[inline(never)]
    pub(crate) fn resume(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        loop {
            if self.pos + self.need > V1_LEN_MAX {
                return Err(Error::new(ErrorKind::V1TooLong, self.pos - 1));
            }
            let Some(&byte) = received.get(self.pos) else { return Ok(Decoded::Need(self.need)) };
            if self.stage == Stage::LineEnd {
                let header = whole(received).or_else(|| self.mixed(received));
                let header = header.ok_or(Error::new(ErrorKind::V1BadLineEnd, self.pos));
                return header.map(Decoded::Header);
            }
            self.step(byte).map_err(|kind| Error::new(kind, self.pos))?;
            self.pos += 1;
            self.need = self.least();
        }
    }

    /// Reads a line that has passed to its end, if it mixes families and may.
    #[cold]
    fn mixed(&self, received: &[u8]) -> Option<Header> {
        if self.families == V1Families::Mixed { mixed(received) } else { None }
    }

    /// Takes a byte.
    #[inline(always)]
    fn step(&mut self, byte: u8) -> Result<(), ErrorKind> {
        use Stage::{Colon, Gap, Group, LineEnd, Octet, Port, Separator, Start, Tail};
        match (self.stage, byte) {
            (Group, _) if self.number.take_hexadecimal(byte) => {}
            (Start | Separator | Gap, _) if self.left > 0 && self.number.take_hexadecimal(byte) => {
                self.stage = Group;
            }
            (Start, b':') => self.stage = Colon,
            (Colon, b':') => self.elide(),
            (Separator, b':') if !self.is_elided => self.elide(),
            (Group, b':') if self.left > 1 => self.next(Separator, self.left - 1),
            (Group, b'.') if self.number.is_octet() && self.has_room_for_quad() => {
                self.next(Octet, OCTETS - 1);
            }
            (Octet, _) if self.number.take_decimal(byte, Number::OCTET_MAX) => {}
            (Octet, b'.') if !self.number.is_empty() && self.left > 1 => {
                self.next(Octet, self.left - 1);
            }
            (Gap | Group | Octet, b' ') if self.is_address() => self.end_address(),
            (Port, _) if self.number.take_decimal(byte, Number::PORT_MAX) => {}
            (Port, b' ') if !self.number.is_empty() && self.is_source => {
                (self.is_source, self.behind, self.number) = (false, LINE_END.len(), Number::NONE);
            }
            (Port, b'\r') if !self.number.is_empty() && !self.is_source => self.end(),
            (Tail, b'\r') => self.end(),
            (Tail, _) => {}
            (Start | Colon | Gap | Separator | Group | Octet | Port | LineEnd, _) => {
                return Err(self.fault(byte));
            }
        }
        Ok(())
    }

    /// Goes on behind a separator.
    fn next(&mut self, stage: Stage, left: u8) {
        (self.stage, self.left, self.number) = (stage, left, Number::NONE);
    }

    /// A `::` has passed, which stands for one group at least.
    fn elide(&mut self) {
        self.is_elided = true;
        self.next(Stage::Gap, self.left - 1);
    }

    /// Goes on with the next address, or with the ports. Inlined, it would cost every byte.
    #[inline(never)]
    fn end_address(&mut self) {
        let (stage, left) = if self.is_source { self.start } else { (Stage::Port, 0) };
        self.behind = if self.is_source { PORTS_MIN } else { b" 0\r\n".len() };
        (self.is_source, self.is_elided) = (!self.is_source, false);
        self.next(stage, left);
    }

    /// The CR has passed.
    fn end(&mut self) {
        (self.stage, self.behind) = (Stage::LineEnd, 1);
    }

    /// Says whether the address under way is one as it stands.
    fn is_address(&self) -> bool {
        match self.stage {
            Stage::Gap => true,
            Stage::Group => self.is_elided || self.left == 1,
            Stage::Octet => !self.number.is_empty() && self.left == 1,
            Stage::Start | Stage::Colon | Stage::Separator | Stage::Port => false,
            Stage::Tail | Stage::LineEnd => false,
        }
    }

    /// Says whether a dotted quad may be next, which stands for the last two groups, or for all of a destination
    /// that may be of the other family.
    fn has_room_for_quad(&self) -> bool {
        let may_be_all = self.families == V1Families::Mixed && !self.is_source;
        match self.is_elided {
            true => self.left >= 2,
            false => self.left == 2 || self.left == GROUPS && may_be_all,
        }
    }

    /// Returns the least number of bytes that complete the line.
    fn least(&self) -> usize {
        let is_empty = usize::from(self.number.is_empty());
        self.behind
            + match self.stage {
                Stage::Start => b"::".len(),
                Stage::Colon | Stage::Separator => 1,
                Stage::Group if !self.is_address() => b"::".len(),
                Stage::Octet => is_empty + 2 * usize::from(self.left - 1),
                Stage::Port => is_empty,
                Stage::Gap | Stage::Group | Stage::Tail | Stage::LineEnd => 0,
            }
    }

    /// Says why a byte cannot stand there.
    #[cold]
    fn fault(&self, byte: u8) -> ErrorKind {
        let is_port = self.stage == Stage::Port;
        match byte {
            b'\n' if is_port => ErrorKind::V1BadLineEnd,
            b' ' if is_port && !self.number.is_empty() => ErrorKind::V1ExtraField,
            b'\r' if !is_port || self.is_source => ErrorKind::V1MissingField,
            _ => match (is_port, self.is_source) {
                (false, true) => ErrorKind::V1BadSourceAddress,
                (false, false) => ErrorKind::V1BadDestinationAddress,
                (true, true) => ErrorKind::V1BadSourcePort,
                (true, false) => ErrorKind::V1BadDestinationPort,
            },
        }
    }
}

/// Judges a line that cannot be opened: it is the beginning of an opening, or a byte is bad.
#[cold]
pub(crate) fn judge_opening(received: &[u8], options: &Options) -> Result<Decoded, Error> {
    let mut openings = OPENINGS.iter();
    if let Some((opening, line_min)) = openings.find(|(opening, _)| opening.starts_with(received)) {
        let is_shorter = *opening == TCP4 && options.v1_families == V1Families::Mixed;
        let line_min = line_min - if is_shorter { MIXED_SAVES } else { 0 };
        return Ok(Decoded::Need(line_min - received.len()));
    }
    let passed = OPENINGS.map(|(opening, _)| {
        let pairs = opening.iter().zip(received);
        pairs.take_while(|(want, got)| want == got).count()
    });
    let passed = passed.into_iter().max().unwrap_or_default();
    let is_line_end = received.get(passed) == Some(&b'\r');
    let kind = match received.get(..passed).unwrap_or_default() {
        b"PROXY" => ErrorKind::V1ExpectedSpace,
        b"PROXY TCP4" | b"PROXY TCP6" if is_line_end => ErrorKind::V1MissingField,
        b"PROXY UNKNOWN\r" => ErrorKind::V1BadLineEnd,
        opening if opening.starts_with(KEYWORD) => ErrorKind::V1BadProtocol,
        _ => return options.not_proxy(passed),
    };
    Err(Error::new(kind, passed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;

    fn judge(line: &[u8]) -> Result<Decoded, Error> {
        Decoder::new(Options::new()).decode(line)
    }

    fn run(line: &[u8]) -> Result<Option<Header>, Error> {
        match judge(line)? {
            Decoded::Header(header) => Ok(Some(header)),
            Decoded::Need(_) | Decoded::Absent => Ok(None),
        }
    }

    fn dies_at(line: &[u8]) -> (ErrorKind, usize) {
        let error = run(line).unwrap_err();
        (error.kind(), error.offset())
    }

    fn needs(line: &[u8]) -> usize {
        match judge(line) {
            Ok(Decoded::Need(need)) => need,
            judged => panic!("{judged:?}"),
        }
    }

    #[test]
    fn every_shortest_line_is_complete_exactly_at_its_end() {
        for line in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
            b"PROXY TCP6 :: :: 0 0\r\n",
        ] {
            assert!(run(line).unwrap().is_some());
            // From the protocol's name on, the line's own shortest form is what is missing.
            for cut in 11..line.len() {
                assert_eq!(needs(&line[..cut]), line.len() - cut, "cut at {cut}");
            }
        }
    }

    #[test]
    fn ipv6_forms_give_the_address_the_standard_library_reads() {
        for text in [
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1::8",
            "1:2:3:4:5:6:7:8",
            "::1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "1::5:6:1.2.3.4",
            "::ffff:255.255.255.255",
            "fe80::ABCD",
        ] {
            let line = format(text);
            let header = run(line.as_bytes()).unwrap().unwrap_or_else(|| panic!("{text}"));
            let want: Ipv6Addr = text.parse().unwrap();
            assert_eq!(header.source().unwrap().ip(), want, "{text}");
        }
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_judged_as_one_that_comes_whole() {
        let lines: [&[u8]; 8] = [
            b"PROXY TCP4 0.10.99.255 254.249.200.1 0 65535\r\n",
            b"PROXY TCP4 25.2.9.100 1.1.1.1 9999 6553\r\n",
            b"PROXY TCP6 2001:db8::8a2e:370:7334 ::ffff:1.20.255.4 65529 6\r\n",
            b"PROXY TCP6 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: 10000 10\r\n",
            b"PROXY TCP6 :: 1::8 0 443\r\n",
            b"PROXY TCP6 fFfF:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
              ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 \
              ffff:ffff:ffff:ffff:ffff:ffff:25.25.25.255 6553 6553\r\n",
            b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n",
        ];
        // Interpreted, all of them take hours.
        let step = if cfg!(miri) { 23 } else { 1 };
        for line in lines {
            for at in (0..=line.len()).step_by(step) {
                for &byte in b"059fg:. \r\n" {
                    let (before, behind) = line.split_at(at);
                    let changed = [before, &[byte], behind].concat();
                    let mut decoder = Decoder::new(Options::new());
                    let decided = (1..=changed.len())
                        .map(|len| decoder.decode(&changed[..len]))
                        .find(|answer| !matches!(answer, Ok(Decoded::Need(_))));
                    if let Some(decided) = decided {
                        assert_eq!(decided, judge(&changed), "{}", changed.escape_ascii());
                    }
                }
            }
        }
    }

    extern crate std;
    use std::string::String;
    fn format(source: &str) -> String {
        std::format!("PROXY TCP6 {source} :: 1 2\r\n")
    }

    #[test]
    fn a_dead_prefix_is_refused_at_the_byte_that_kills_it() {
        use ErrorKind::*;
        assert_eq!(dies_at(b"PROXX"), (NotProxy, 4));
        assert_eq!(dies_at(b"PROXYT"), (V1ExpectedSpace, 5));
        assert_eq!(dies_at(b"PROXY UDP"), (V1BadProtocol, 7));
        assert_eq!(dies_at(b"PROXY UNKNOWN\r\r"), (V1BadLineEnd, 14));
        assert_eq!(dies_at(b"PROXY TCP4 256"), (V1BadSourceAddress, 13));
        assert_eq!(dies_at(b"PROXY TCP4 01"), (V1BadSourceAddress, 12));
        assert_eq!(dies_at(b"PROXY TCP6 1.2"), (V1BadSourceAddress, 12));
        assert_eq!(dies_at(b"PROXY TCP6 1:2:3:4:5:6:7:8:"), (V1BadSourceAddress, 26));
        assert_eq!(dies_at(b"PROXY TCP6 ::1::"), (V1BadSourceAddress, 15));
        assert_eq!(dies_at(b"PROXY TCP4 1.2.3.4 5.6.7.8 65536"), (V1BadSourcePort, 31));
        assert_eq!(dies_at(b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r"), (V1MissingField, 28));
        assert_eq!(dies_at(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r"), (V1BadDestinationPort, 29));
        assert_eq!(dies_at(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 "), (V1ExtraField, 30));
        assert_eq!(dies_at(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"), (V1BadLineEnd, 30));
    }

    #[test]
    fn a_line_that_cannot_end_in_107_bytes_is_refused_before_it_is_full() {
        let line = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 \
            ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 65535 65535\r\n";
        let (kind, offset) = dies_at(line);
        // Behind byte 101 only ` 0 0` and CRLF fit.
        assert_eq!((kind, offset), (ErrorKind::V1TooLong, 101));
    }
}
