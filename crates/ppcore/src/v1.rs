//! The text line of version 1 (spec 2.1), judged as it grows.
//!
//! ```text
//! opening -+-> 2 x (Quad | Groups [-> Quad]) -> Port -+-> Done
//!          +-> Tail ----------------------------------+
//! ```
//!
//! A stage takes what is complete and good: a word, or a number with the byte behind it. Anything else is
//! read again: what is bad to say why, what is incomplete when there is more, from its first byte, which
//! is cheaper than to remember its value. A byte passes only if some continuation makes a valid line of at
//! most 107 bytes, so the line is never incomplete on a dead prefix.
//! Invariant: while bytes are missing, those that arrived and those that are missing at least are no
//! more than 107.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::decode::{Decoded, Options};
use crate::header::{Addresses, Command, Family, Header, Transport, Version};
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
/// The least that stands behind the destination's address.
const PORTS_MIN: usize = b" 0 0\r\n".len();
/// The least that stands between the source's address and the ports.
const INET_MIN: usize = b" 0.0.0.0".len();
const INET6_MIN: usize = b" ::".len();

/// Letters that are hexadecimal digits.
const LETTERS: u8 = 6;
/// The most digits of an IPv6 group.
const GROUP_DIGITS: usize = 4;
/// Octets in an IPv4 address.
const OCTETS: u8 = 4;
const PORT_MAX: u32 = u16::MAX as u32;
const OCTET_MAX: u32 = u8::MAX as u32;
/// Groups of 16 bits in an IPv6 address.
const GROUPS: usize = 8;

/// What comes next, behind the opening; each stage hands over to the next by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Groups,
    Quad,
    Port,
    Tail,
    Done,
}

/// The state of one line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Bytes that have been taken.
    pos: usize,
    stage: Stage,
    family: Family,
    /// Whether the address or port under way is the source's.
    is_source: bool,
    /// Whether a dotted IPv6 tail was met: only a line with one can outgrow its limit.
    dotted: bool,
    /// The least that stands behind the address under way.
    behind: usize,
    digits: Digits,
    address: Address,
    source: [u16; GROUPS],
    source_port: u16,
    destination_port: u16,
}

/// The digits that may come next, whichever they are, and the answer to each of them: a line that comes
/// byte by byte is mostly those, and they need no judging.
#[derive(Clone, Copy, Debug)]
struct Digits {
    /// How many may come.
    left: u8,
    /// How many letters are digits: 6 in an IPv6 group, else none.
    letters: u8,
    /// Bytes that are missing behind each of them.
    need: u8,
    /// Bytes received in front of the next one.
    received: u8,
}

impl Digits {
    const NONE: Self = Self { left: 0, letters: 0, need: 0, received: 0 };

    /// Takes a byte that has arrived behind so many others, if it is one of them.
    #[inline(always)]
    fn take(&mut self, byte: u8, received: usize) -> bool {
        let is_next = self.left > 0 && received == usize::from(self.received);
        let is_expected =
            is_next && (digit(byte) <= 9 || (byte | 0x20).wrapping_sub(b'a') < self.letters);
        if is_expected {
            self.left -= 1;
            self.received += 1;
        }
        is_expected
    }
}

/// An address under way: IPv4 octets, IPv6 groups, or both behind each other.
#[derive(Clone, Copy, Debug)]
struct Address {
    /// The octets of a dotted quad that are complete, the last one lowest.
    quad: u32,
    octets: u8,
    /// Groups that are complete: an IPv4 address takes the first two.
    count: usize,
    /// Groups in front of `::`.
    gap: Option<usize>,
    groups: [u16; GROUPS],
}

/// The digits of an IPv6 group, in front of a byte that is none, or one too many, or has not arrived.
struct Group {
    value: u32,
    digits: usize,
}

impl Group {
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        let mut group = Self { value: 0, digits: 0 };
        for &byte in bytes.iter().take(GROUP_DIGITS) {
            let mut digit = digit(byte);
            if digit > 9 {
                let letter = u32::from(byte | 0x20).wrapping_sub(u32::from(b'a'));
                if letter >= LETTERS.into() {
                    break;
                }
                digit = letter + 10;
            }
            group.value = group.value << 4 | digit;
            group.digits += 1;
        }
        group
    }
}

/// Returns the value of a digit, and more than 9 for any other byte.
#[inline(always)]
fn digit(byte: u8) -> u32 {
    u32::from(byte).wrapping_sub(u32::from(b'0'))
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
        let digit = digit(byte);
        if digit > 9 || at == DIGITS || at == 1 && value == 0 {
            return None;
        }
        value = value * 10 + digit;
    }
    None
}

/// Why there is no number.
enum Fault {
    /// This byte, so many behind the first, cannot stand there.
    Byte(u8, usize),
    /// It has not arrived, or may go on.
    Missing {
        has_digit: bool,
        /// How many digits may follow, whichever they are.
        room: usize,
    },
}

/// Says why [`decimal`] took nothing.
#[inline(always)]
fn fault<const DIGITS: usize>(rest: &[u8], max: u32) -> Fault {
    let (mut value, mut digits) = (0, 0);
    for &byte in rest.iter().take(DIGITS) {
        let digit = digit(byte);
        if digit > 9 || digits == 1 && value == 0 {
            break;
        }
        value = value * 10 + digit;
        digits += 1;
    }
    let at = if value > max { digits - 1 } else { digits };
    match rest.get(at) {
        Some(&byte) => Fault::Byte(byte, at),
        None if digits == 0 => Fault::Missing { has_digit: false, room: 1 },
        None => Fault::Missing { has_digit: true, room: room(value, max) },
    }
}

/// Returns how many digits may follow a number, whichever they are.
fn room(mut value: u32, max: u32) -> usize {
    let mut room = 0;
    while value > 0 && value * 10 + 9 <= max {
        value = value * 10 + 9;
        room += 1;
    }
    room
}

impl Address {
    const START: Self = Self { quad: 0, octets: 0, count: 0, gap: None, groups: [0; GROUPS] };

    fn push(&mut self, group: u32) {
        if let Some(slot) = self.groups.get_mut(self.count) {
            *slot = low(group);
        }
        self.count += 1;
    }

    /// How many groups can be written out: `::` stands for at least one.
    fn groups_max(&self) -> usize {
        if self.gap.is_some() { GROUPS - 1 } else { GROUPS }
    }

    /// Says whether the first octet of a dotted quad, which stands for the last two groups, is next.
    #[cold]
    fn may_be_quad(&self, rest: &[u8]) -> bool {
        let has_room = match self.gap {
            None => self.count == GROUPS - 2,
            Some(_) => self.count <= GROUPS - 3,
        };
        has_room && decimal::<3>(rest, OCTET_MAX, b'.').is_some()
    }

    /// Returns the least number of bytes that complete a dotted quad.
    const fn quad_need(&self, has_digit: bool) -> usize {
        !has_digit as usize + 2 * (OCTETS - 1 - self.octets) as usize
    }

    /// Returns the least number of bytes that complete an IPv6 address without a dotted tail.
    fn groups_need(&self, has_digit: bool) -> usize {
        let is_last = self.gap.is_some() || self.count == GROUPS - 1;
        match (has_digit, self.gap) {
            (true, _) if is_last => 0,
            (true, _) => b"::".len(),
            (false, None) if self.count == 0 => b"::".len(),
            (false, Some(gap)) if gap == self.count => 0,
            (false, _) => 1,
        }
    }

    /// Writes out the gap of an address whose last group is in.
    #[cold]
    fn fill(&mut self, gap: usize) {
        let mut filled = [0; GROUPS];
        let (head, tail) = self.groups.split_at_checked(gap).unwrap_or_default();
        for (to, from) in filled.iter_mut().zip(head) {
            *to = *from;
        }
        let tail = tail.iter().take(self.count.saturating_sub(gap));
        for (to, from) in filled.iter_mut().rev().zip(tail.rev()) {
            *to = *from;
        }
        self.groups = filled;
    }
}

impl Line {
    /// Takes the opening, if all of it has arrived.
    pub(crate) fn open(received: &[u8]) -> Option<Self> {
        let (opening, stage, family, behind) = if received.starts_with(TCP4) {
            (TCP4, Stage::Quad, Family::Inet, INET_MIN + PORTS_MIN)
        } else if received.starts_with(TCP6) {
            (TCP6, Stage::Groups, Family::Inet6, INET6_MIN + PORTS_MIN)
        } else if received.starts_with(UNKNOWN_TAIL) {
            (UNKNOWN_TAIL, Stage::Tail, Family::Unspec, 0)
        } else if received.starts_with(UNKNOWN) {
            (UNKNOWN, Stage::Done, Family::Unspec, 0)
        } else {
            return None;
        };
        Some(Self {
            pos: opening.len(),
            stage,
            family,
            is_source: true,
            dotted: false,
            behind,
            digits: Digits::NONE,
            address: Address::START,
            source: [0; GROUPS],
            source_port: 0,
            destination_port: 0,
        })
    }

    /// Judges what has arrived.
    #[inline]
    pub(crate) fn resume(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        match received.split_last() {
            Some((&byte, before)) if self.digits.take(byte, before.len()) => {
                Ok(Decoded::Need(self.digits.need.into()))
            }
            Some(_) | None => self.judge(received),
        }
    }

    /// Judges it from the first byte that no stage has taken.
    #[inline(never)]
    fn judge(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        self.digits = Digits::NONE;
        let Some(rest) = received.get(self.pos..) else { return Ok(Decoded::Need(1)) };
        if self.dotted { self.run_dotted(rest) } else { self.run(rest) }
    }

    /// Expects digits, unless each might be the one too many.
    #[inline(always)]
    fn expect(&mut self, left: usize, letters: u8, need: usize, received: usize) {
        if !self.dotted {
            let [left, need, received] = [left, need, received].map(small);
            self.digits = Digits { left, letters, need, received };
        }
    }

    /// A line that can grow too long grows by single bytes, so that the one too many is found. Without a
    /// dotted IPv6 tail no TCP line passes 104 bytes (spec 2.1).
    #[cold]
    fn run_dotted(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        let begin = self.pos;
        let mut len = 0;
        loop {
            len += 1;
            let piece = rest.get(..len).unwrap_or(rest);
            match self.run(piece.get(self.pos - begin..).unwrap_or_default()) {
                Ok(Decoded::Need(need)) if begin + len + need > V1_LEN_MAX => {
                    return Err(Error::new(ErrorKind::V1TooLong, begin + len - 1));
                }
                Ok(Decoded::Need(_)) if len < rest.len() => {}
                judged => return judged,
            }
        }
    }

    #[inline(always)]
    fn run(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        match self.stage {
            Stage::Quad => self.quad(rest),
            Stage::Groups => self.groups(rest),
            Stage::Port => self.port(rest),
            Stage::Tail => self.tail(rest),
            Stage::Done => Ok(Decoded::Header(self.header())),
        }
    }

    #[cold]
    fn bad(&self, kind: ErrorKind, ahead: usize) -> Result<Decoded, Error> {
        Err(Error::new(kind, self.pos + ahead))
    }

    /// Whatever follows `UNKNOWN`, up to a CR that leaves room for the LF.
    fn tail(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        for (at, &byte) in rest.iter().enumerate() {
            if byte == b'\r' {
                return self.line_end(rest, at + 1);
            }
            if self.pos + at + 1 + LINE_END.len() > V1_LEN_MAX {
                return self.bad(ErrorKind::V1TooLong, at);
            }
        }
        self.pos += rest.len();
        Ok(Decoded::Need(LINE_END.len()))
    }

    /// Judges what follows the CR.
    #[inline(always)]
    fn line_end(&mut self, rest: &[u8], at: usize) -> Result<Decoded, Error> {
        match rest.get(at) {
            Some(b'\n') => {
                self.pos += at + 1;
                self.stage = Stage::Done;
                Ok(Decoded::Header(self.header()))
            }
            Some(_) => self.bad(ErrorKind::V1BadLineEnd, at),
            None => Ok(Decoded::Need(1)),
        }
    }

    /// Takes a dotted quad and the blank behind it.
    #[inline(never)]
    fn quad(&mut self, mut rest: &[u8]) -> Result<Decoded, Error> {
        let received = self.pos + rest.len();
        let Address { mut quad, mut octets, .. } = self.address;
        loop {
            let is_last = octets == OCTETS - 1;
            let end = if is_last { b' ' } else { b'.' };
            let Some((value, behind)) = decimal::<3>(rest, OCTET_MAX, end) else {
                (self.address.quad, self.address.octets) = (quad, octets);
                self.pos = received - rest.len();
                return self.judge_octet(rest);
            };
            quad = quad << 8 | value;
            octets += 1;
            rest = behind;
            if is_last {
                break;
            }
        }
        self.pos = received - rest.len();
        self.address.push(quad >> 16);
        self.address.push(quad & 0xFFFF);
        self.address_end(rest)
    }

    #[cold]
    fn judge_octet(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        match fault::<3>(rest, OCTET_MAX) {
            Fault::Byte(byte, ahead) => self.bad_address(byte, ahead),
            Fault::Missing { has_digit, room } => {
                let need = self.address.quad_need(has_digit) + self.behind;
                let need_then = self.address.quad_need(true) + self.behind;
                self.expect(room, 0, need_then, self.pos + rest.len());
                Ok(Decoded::Need(need))
            }
        }
    }

    /// Takes IPv6 groups and the blank behind them, or up to the first dot of a dotted tail.
    #[inline(never)]
    fn groups(&mut self, mut rest: &[u8]) -> Result<Decoded, Error> {
        loop {
            let Group { value, digits } = Group::read(rest);
            let has_digit = digits != 0;
            if has_digit && self.address.count == self.address.groups_max() {
                return self.bad_address(b'0', 0);
            }
            let Some((&byte, mut behind)) = rest.get(digits..).and_then(<[u8]>::split_first) else {
                let need = self.address.groups_need(has_digit) + self.behind;
                let need_then = self.address.groups_need(true) + self.behind;
                let is_full = self.address.count == self.address.groups_max();
                let room = if is_full { 0 } else { GROUP_DIGITS - digits };
                self.expect(room, LETTERS, need_then, self.pos + digits);
                return Ok(Decoded::Need(need));
            };
            match byte {
                b':' if has_digit => {
                    if self.address.count + 1 == self.address.groups_max() {
                        return self.bad_address(byte, digits);
                    }
                    self.address.push(value);
                }
                b':' if self.address.gap.is_none() => {
                    if self.address.count == 0 {
                        match behind.split_first() {
                            Some((b':', beyond)) => {
                                self.pos += 1;
                                behind = beyond;
                            }
                            Some((&byte, _)) => return self.bad_address(byte, 1),
                            None => return Ok(Decoded::Need(1 + self.behind)),
                        }
                    }
                    self.address.gap = Some(self.address.count);
                }
                b' ' if self.address.groups_need(has_digit) == 0 => {
                    if has_digit {
                        self.address.push(value);
                    }
                    self.pos += digits + 1;
                    return self.address_end(behind);
                }
                b'.' if self.address.may_be_quad(rest) => {
                    self.stage = Stage::Quad;
                    if self.dotted {
                        return self.quad(rest);
                    }
                    self.dotted = true;
                    return self.run_dotted(rest);
                }
                _ => return self.bad_address(byte, digits),
            }
            self.pos += digits + 1;
            rest = behind;
        }
    }

    #[inline(never)]
    fn address_end(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        if let Some(gap) = self.address.gap {
            self.address.fill(gap);
        }
        self.behind = PORTS_MIN;
        if self.is_source {
            self.is_source = false;
            self.source = self.address.groups;
            self.address = Address::START;
            if self.family == Family::Inet {
                self.quad(rest)
            } else {
                self.stage = Stage::Groups;
                self.groups(rest)
            }
        } else {
            self.is_source = true;
            self.stage = Stage::Port;
            self.port(rest)
        }
    }

    #[cold]
    fn bad_address(&self, byte: u8, ahead: usize) -> Result<Decoded, Error> {
        let kind = match byte {
            b'\r' => ErrorKind::V1MissingField,
            _ if self.is_source => ErrorKind::V1BadSourceAddress,
            _ => ErrorKind::V1BadDestinationAddress,
        };
        self.bad(kind, ahead)
    }

    /// Takes the ports and what ends them.
    #[inline(never)]
    fn port(&mut self, mut rest: &[u8]) -> Result<Decoded, Error> {
        if self.is_source {
            let Some((port, behind)) = decimal::<5>(rest, PORT_MAX, b' ') else {
                return self.judge_port(rest);
            };
            self.source_port = low(port);
            self.is_source = false;
            self.pos += rest.len() - behind.len();
            rest = behind;
        }
        let Some((port, behind)) = decimal::<5>(rest, PORT_MAX, b'\r') else {
            return self.judge_port(rest);
        };
        self.destination_port = low(port);
        self.line_end(rest, rest.len() - behind.len())
    }

    #[cold]
    fn judge_port(&mut self, rest: &[u8]) -> Result<Decoded, Error> {
        let behind = if self.is_source { b" 0\r\n".len() } else { LINE_END.len() };
        match fault::<5>(rest, PORT_MAX) {
            Fault::Byte(byte, ahead) => self.bad_port(byte, ahead),
            Fault::Missing { has_digit, room } => {
                self.expect(room, 0, behind, self.pos + rest.len());
                Ok(Decoded::Need(usize::from(!has_digit) + behind))
            }
        }
    }

    #[cold]
    fn bad_port(&self, byte: u8, ahead: usize) -> Result<Decoded, Error> {
        let kind = match byte {
            b' ' if ahead != 0 => ErrorKind::V1ExtraField,
            b'\r' if self.is_source => ErrorKind::V1MissingField,
            b'\n' => ErrorKind::V1BadLineEnd,
            _ if self.is_source => ErrorKind::V1BadSourcePort,
            _ => ErrorKind::V1BadDestinationPort,
        };
        self.bad(kind, ahead)
    }

    /// Builds the header of a line that is done.
    #[inline(never)]
    fn header(&self) -> Header {
        let (source, destination) = (self.source, self.address.groups);
        let (source_port, destination_port) = (self.source_port, self.destination_port);
        let (command, addresses) = match self.family {
            Family::Inet => {
                let addr = |[a, b, ..]: [u16; GROUPS], port| {
                    SocketAddrV4::new(Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b)), port)
                };
                let source = addr(source, source_port);
                (
                    Command::Proxy,
                    Addresses::Inet { source, destination: addr(destination, destination_port) },
                )
            }
            Family::Inet6 => {
                let addr = |groups: [u16; GROUPS], port| {
                    SocketAddrV6::new(Ipv6Addr::from(groups), port, 0, 0)
                };
                let source = addr(source, source_port);
                (
                    Command::Proxy,
                    Addresses::Inet6 { source, destination: addr(destination, destination_port) },
                )
            }
            Family::Unspec | Family::Unix => (Command::Unknown, Addresses::None),
        };
        let transport = match command {
            Command::Proxy => Transport::Stream,
            Command::Local | Command::Unknown => Transport::Unspec,
        };
        let len = offset(self.pos);
        Header {
            version: Version::V1,
            command,
            family: self.family,
            transport,
            addresses,
            len,
            tlvs_at: len,
        }
    }
}

/// Judges a line that cannot be opened: it is the beginning of an opening, or a byte is bad.
#[cold]
pub(crate) fn judge_opening(received: &[u8], options: &Options) -> Result<Decoded, Error> {
    let mut openings = OPENINGS.iter();
    if let Some((_, line_min)) = openings.find(|(opening, _)| opening.starts_with(received)) {
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

#[expect(clippy::cast_possible_truncation, reason = "a group and a port have 16 bits")]
const fn low(group: u32) -> u16 {
    group as u16
}

#[expect(clippy::cast_possible_truncation, reason = "a line has at most 107 bytes")]
const fn small(count: usize) -> u8 {
    count as u8
}

#[expect(clippy::cast_possible_truncation, reason = "a line has at most 107 bytes")]
const fn offset(pos: usize) -> u32 {
    pos as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;

    fn judge(line: &[u8]) -> Result<Decoded, Error> {
        match Line::open(line) {
            Some(mut state) => state.resume(line),
            None => judge_opening(line, &Options::new()),
        }
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

    /// What is expected of the next byte must say what judging all of them would say.
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
            (1..line.len()).step_by(step).for_each(|first| check_jumps(line, first));
            for at in (0..line.len()).step_by(step) {
                for &byte in b"059fg:. \r" {
                    let mut changed = line.to_vec();
                    changed.insert(at, byte);
                    for first in (1..changed.len()).step_by(step) {
                        check_cuts(&changed, first);
                    }
                }
            }
        }
    }

    /// Decodes so many bytes at once, and a few behind them one by one.
    fn check_cuts(line: &[u8], first: usize) {
        let whole = |len: usize| Decoder::new(Options::new()).decode(&line[..len]);
        let mut decoder = Decoder::new(Options::new());
        for len in first..line.len().min(first + 6) {
            let answer = decoder.decode(&line[..len]);
            assert_eq!(answer, whole(len), "{:?} from {first}", &line[..len]);
            if !matches!(answer, Ok(Decoded::Need(_))) {
                return;
            }
        }
    }

    /// Decodes so many bytes at once, and any number behind them at once.
    fn check_jumps(line: &[u8], first: usize) {
        for second in first..=line.len() {
            let mut decoder = Decoder::new(Options::new());
            let Ok(Decoded::Need(_)) = decoder.decode(&line[..first]) else { return };
            let whole = Decoder::new(Options::new()).decode(&line[..second]);
            assert_eq!(decoder.decode(&line[..second]), whole, "{line:?}, {first}, {second}");
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
