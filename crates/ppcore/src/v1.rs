//! The text line of version 1 (spec 2.1), judged byte by byte.
//!
//! ```text
//! Keyword -+-> Tcp -> Source -> Destination -> SourcePort -> DestinationPort -> Lf -> Done
//!          +-> Unknown -> Tail ---------------------------------------------> Lf
//! ```
//!
//! Each byte is looked at once; a stage takes as many as it can before it gives way to the next. A
//! byte passes only if some continuation makes a valid line of at most 107 bytes, so the line is
//! never incomplete on a dead prefix.
//! Invariant: `pos` bytes have passed, and `pos + need() <= 107`.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::header::{Addresses, Command, Family, Header, Transport, Version};
use crate::{Error, ErrorKind, V1_LEN_MAX};

/// The five bytes every v1 header begins with (spec 2.1).
pub(crate) const KEYWORD: &[u8; 5] = b"PROXY";
/// The shortest v1 line: `PROXY UNKNOWN` and CRLF.
pub(crate) const LEN_MIN: usize = UNKNOWN_MIN;

const PROTOCOL_AT: usize = b"PROXY ".len();
const UNKNOWN_MIN: usize = b"PROXY UNKNOWN\r\n".len();
const TCP4_MIN: usize = b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len();
const TCP6_MIN: usize = b"PROXY TCP6 :: :: 0 0\r\n".len();
const PORTS_MIN: usize = b" 0 0\r\n".len();
const INET_MIN: usize = b" 0.0.0.0".len();
const INET6_MIN: usize = b" ::".len();

/// Octets in an IPv4 address.
const OCTETS: u8 = 4;
/// Groups of 16 bits in an IPv6 address.
const GROUPS: u8 = 8;
/// Hexadecimal digits in a group.
const GROUP_DIGITS_MAX: usize = 4;

/// In the order in which a line can go through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Keyword,
    Unknown,
    Tail,
    Tcp,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Lf,
    Done,
}

/// The state of one line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Bytes that have passed.
    pos: usize,
    stage: Stage,
    family: Family,
    /// The address or port under way.
    number: Number,
    address: Address,
    /// Whether a dotted IPv6 tail was met: only a line with one can outgrow its limit.
    dotted: bool,
    source: u128,
    destination: u128,
    source_port: u16,
}

/// A run of digits under way: those from `at` to the line's `pos`.
#[derive(Clone, Copy, Debug)]
struct Number {
    at: usize,
    value: u32,
}

/// An address under way: IPv4 octets, IPv6 groups, or both behind each other.
#[derive(Clone, Copy, Debug)]
struct Address {
    /// The octets of a dotted quad that are complete, the last one lowest.
    quad: u32,
    octets: u8,
    /// The IPv6 groups that are complete, the last one lowest.
    bits: u128,
    groups: u8,
    /// Groups in front of `::`.
    gap: Option<u8>,
    /// What stands in front of the next group, while it has no digit.
    before: Before,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    LeadingColon,
    Colon,
    Gap,
}

impl Number {
    const fn begin(at: usize) -> Self {
        Self { at, value: 0 }
    }

    /// Takes the digits of an IPv6 group; returns the byte behind it, a digit too many among them,
    /// or `None` while that is missing.
    fn hex(&mut self, received: &[u8], pos: &mut usize, digits_max: usize) -> Option<u8> {
        while let Some(&byte) = received.get(*pos) {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return Some(byte),
            };
            if *pos - self.at == digits_max {
                return Some(byte);
            }
            self.value = self.value << 4 | u32::from(digit);
            *pos += 1;
        }
        None
    }

    /// Takes the digits of a decimal number without leading zeros, at most `max`; returns the byte
    /// behind it, a digit too many among them, or `None` while that is missing. The error is a byte
    /// where the number should begin.
    fn decimal(&mut self, received: &[u8], pos: &mut usize, max: u32) -> Result<Option<u8>, u8> {
        if *pos == self.at {
            let Some(&byte) = received.get(*pos) else { return Ok(None) };
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(byte);
            }
            self.value = digit.into();
            *pos += 1;
        }
        if self.value == 0 {
            // Behind it there is no other digit.
            return Ok(received.get(*pos).copied());
        }
        while let Some(&byte) = received.get(*pos) {
            let digit = byte.wrapping_sub(b'0');
            let value = self.value * 10 + u32::from(digit);
            if digit > 9 || value > max {
                return Ok(Some(byte));
            }
            self.value = value;
            *pos += 1;
        }
        Ok(None)
    }
}

impl Address {
    const START: Self =
        Self { quad: 0, octets: 0, bits: 0, groups: 0, gap: None, before: Before::Nothing };

    fn push_group(&mut self, group: u32) {
        self.bits = self.bits << 16 | u128::from(group);
        self.groups += 1;
    }

    /// Takes a colon behind a group, if there is one; `None` if no address goes on like this.
    fn colon(&mut self, group: Option<u32>) -> Option<()> {
        if let Some(group) = group {
            // Behind it come either one more group, or, once, a gap of at least one group.
            let groups_max = if self.gap.is_some() { GROUPS - 2 } else { GROUPS - 1 };
            if self.groups == groups_max {
                return None;
            }
            self.push_group(group);
            self.before = Before::Colon;
            return Some(());
        }
        self.before = match self.before {
            Before::Nothing => Before::LeadingColon,
            Before::LeadingColon | Before::Colon if self.gap.is_none() => {
                self.gap = Some(self.groups);
                Before::Gap
            }
            Before::LeadingColon | Before::Colon | Before::Gap => return None,
        };
        Some(())
    }

    /// Takes the dot behind the first octet: a dotted quad stands for the last two groups.
    fn first_dot(&mut self, octet: u32) -> Option<()> {
        let has_room = match self.gap {
            None => self.groups == GROUPS - 2,
            Some(_) => self.groups <= GROUPS - 3,
        };
        has_room.then(|| (self.quad, self.octets) = (octet, 1))
    }

    /// Says whether a group may begin here.
    fn may_begin_group(&self) -> bool {
        match self.before {
            Before::Nothing | Before::Colon => true,
            Before::LeadingColon => false,
            Before::Gap => self.groups < GROUPS - 1,
        }
    }

    /// Returns the least number of bytes that complete a dotted quad.
    const fn quad_need(&self, has_digit: bool) -> usize {
        !has_digit as usize + 2 * (OCTETS - 1 - self.octets) as usize
    }

    /// Returns the least number of bytes that complete an IPv6 address.
    const fn inet6_need(&self, has_digit: bool) -> usize {
        if self.octets != 0 {
            return self.quad_need(has_digit);
        }
        match self.before {
            _ if has_digit => {
                let is_complete = self.gap.is_some() || self.groups == GROUPS - 1;
                if is_complete { 0 } else { 2 }
            }
            Before::Nothing => 2,
            Before::LeadingColon | Before::Colon => 1,
            Before::Gap => 0,
        }
    }

    /// Completes an IPv6 address whose last group or quad is in.
    fn inet6_end(&self) -> u128 {
        let Some(gap) = self.gap else { return self.bits };
        let tail_bits = 16 * u32::from(self.groups.saturating_sub(gap));
        let tail = self.bits & !u128::MAX.checked_shl(tail_bits).unwrap_or(0);
        let head = self.bits.checked_shr(tail_bits).unwrap_or(0);
        head.checked_shl(16 * u32::from(GROUPS - gap)).unwrap_or(0) | tail
    }
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self {
            pos: 0,
            stage: Stage::Keyword,
            family: Family::Unspec,
            number: Number::begin(0),
            address: Address::START,
            dotted: false,
            source: 0,
            destination: 0,
            source_port: 0,
        }
    }

    /// Says whether nothing but a v1 header can follow.
    pub(crate) fn is_committed(received: &[u8]) -> bool {
        received.len() >= KEYWORD.len()
    }

    /// Judges what has arrived; `false` means that bytes are missing.
    pub(crate) fn resume(&mut self, received: &[u8]) -> Result<bool, Error> {
        if !self.dotted {
            self.run(received)?;
        }
        if self.dotted {
            self.resume_dotted(received)?;
        }
        Ok(self.stage == Stage::Done)
    }

    /// A line that can grow too long takes single bytes, so that the one too many is found.
    #[cold]
    fn resume_dotted(&mut self, received: &[u8]) -> Result<(), Error> {
        while self.stage != Stage::Done {
            let Some(piece) = received.get(..=self.pos) else { break };
            self.run(piece)?;
            if self.pos + self.need() > V1_LEN_MAX {
                return Err(Error::new(ErrorKind::V1TooLong, self.pos - 1));
            }
        }
        Ok(())
    }

    /// Goes through the stages in their order: each takes what it can, and what is left is for the
    /// next.
    fn run(&mut self, received: &[u8]) -> Result<(), Error> {
        self.stages(received).map_err(|kind| Error::new(kind, self.pos))
    }

    /// At a bad byte `pos` stays.
    fn stages(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        if self.stage <= Stage::Tcp {
            self.opening(received)?;
        }
        if self.stage == Stage::Source {
            self.address(received, ErrorKind::V1BadSourceAddress)?;
        }
        if self.stage == Stage::Destination {
            self.address(received, ErrorKind::V1BadDestinationAddress)?;
        }
        if self.stage >= Stage::SourcePort {
            self.ending(received)?;
        }
        Ok(())
    }

    fn opening(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        if self.stage == Stage::Keyword {
            self.keyword(received)?;
        }
        if self.stage == Stage::Tcp {
            self.tcp(received)?;
        }
        if self.stage == Stage::Unknown {
            self.unknown(received)?;
        }
        if self.stage == Stage::Tail {
            self.tail(received)?;
        }
        Ok(())
    }

    fn ending(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        if self.stage == Stage::SourcePort {
            self.port(received, b' ', ErrorKind::V1BadSourcePort)?;
        }
        if self.stage == Stage::DestinationPort {
            self.port(received, b'\r', ErrorKind::V1BadDestinationPort)?;
        }
        if self.stage == Stage::Lf {
            self.lf(received)?;
        }
        Ok(())
    }

    /// Takes the bytes of a literal that begins at `begin`; `false` if one differs.
    fn literal<const N: usize>(
        &mut self,
        received: &[u8],
        begin: usize,
        literal: &[u8; N],
    ) -> bool {
        let arrived = received.get(begin..).unwrap_or_default();
        if arrived.first_chunk() == Some(literal) {
            self.pos = begin + N;
            return true;
        }
        let pairs = literal.iter().zip(arrived).skip(self.pos - begin);
        self.pos += pairs.take_while(|(want, got)| want == got).count();
        self.pos == received.len()
    }

    /// `PROXY `, and the first letter of the protocol.
    fn keyword(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        if !self.literal(received, 0, b"PROXY ") {
            let is_keyword = self.pos == KEYWORD.len();
            return Err(if is_keyword { ErrorKind::V1ExpectedSpace } else { ErrorKind::NotProxy });
        }
        let next = received.get(PROTOCOL_AT).filter(|_| self.pos == PROTOCOL_AT);
        if let Some(&byte) = next {
            self.stage = match byte {
                b'T' => Stage::Tcp,
                b'U' => Stage::Unknown,
                _ => return Err(ErrorKind::V1BadProtocol),
            };
            self.pos += 1;
        }
        Ok(())
    }

    /// `TCP4 ` or `TCP6 `, from its second letter.
    fn tcp(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        const AT: usize = PROTOCOL_AT + 1;
        const DIGIT_AT: usize = AT + 2;
        const BLANK_AT: usize = AT + 3;
        let (family, fits) = match received.get(DIGIT_AT) {
            Some(b'6') => (Family::Inet6, self.literal(received, AT, b"CP6 ")),
            Some(_) | None => (Family::Inet, self.literal(received, AT, b"CP4 ")),
        };
        if !fits {
            let ends = self.pos == BLANK_AT && received.get(BLANK_AT) == Some(&b'\r');
            return Err(if ends { ErrorKind::V1MissingField } else { ErrorKind::V1BadProtocol });
        }
        if self.pos > DIGIT_AT {
            self.family = family;
        }
        if self.pos > BLANK_AT {
            self.next_field(Stage::Source);
        }
        Ok(())
    }

    /// `UNKNOWN` from its second letter, and the byte behind it.
    fn unknown(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        const AT: usize = PROTOCOL_AT + 1;
        const END: usize = AT + b"NKNOWN".len();
        if !self.literal(received, AT, b"NKNOWN") {
            return Err(ErrorKind::V1BadProtocol);
        }
        let next = received.get(END).filter(|_| self.pos == END);
        if let Some(&byte) = next {
            self.stage = match byte {
                b' ' => Stage::Tail,
                b'\r' => Stage::Lf,
                _ => return Err(ErrorKind::V1BadProtocol),
            };
            self.pos += 1;
        }
        Ok(())
    }

    /// Whatever follows `UNKNOWN`, up to a CR that leaves room for the LF.
    fn tail(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        while let Some(&byte) = received.get(self.pos) {
            if byte == b'\r' {
                self.pos += 1;
                self.stage = Stage::Lf;
                break;
            }
            if self.pos + 1 + b"\r\n".len() > V1_LEN_MAX {
                return Err(ErrorKind::V1TooLong);
            }
            self.pos += 1;
        }
        Ok(())
    }

    fn lf(&mut self, received: &[u8]) -> Result<(), ErrorKind> {
        match received.get(self.pos) {
            Some(b'\n') => {
                self.pos += 1;
                self.stage = Stage::Done;
                Ok(())
            }
            Some(_) => Err(ErrorKind::V1BadLineEnd),
            None => Ok(()),
        }
    }

    fn address(&mut self, received: &[u8], refusal: ErrorKind) -> Result<(), ErrorKind> {
        let refuse = |byte| if byte == b'\r' { ErrorKind::V1MissingField } else { refusal };
        if self.family == Family::Inet6 && self.address.octets == 0 {
            self.groups(received).map_err(refuse)
        } else {
            self.quad(received).map_err(refuse)
        }
    }

    /// Takes a dotted quad and the blank behind it; the error is the byte that does not fit.
    fn quad(&mut self, received: &[u8]) -> Result<(), u8> {
        let Self { mut pos, mut number, .. } = *self;
        let Address { mut quad, mut octets, .. } = self.address;
        let judged = loop {
            let byte = match number.decimal(received, &mut pos, u8::MAX.into()) {
                Ok(Some(byte)) => byte,
                Ok(None) => break Ok(()),
                Err(byte) => break Err(byte),
            };
            let is_last = octets == OCTETS - 1;
            if byte != if is_last { b' ' } else { b'.' } {
                break Err(byte);
            }
            quad = quad << 8 | number.value;
            octets += 1;
            pos += 1;
            number = Number::begin(pos);
            if is_last {
                break Ok(());
            }
        };
        (self.pos, self.number) = (pos, number);
        (self.address.quad, self.address.octets) = (quad, octets);
        if octets == OCTETS {
            self.quad_end();
        }
        judged
    }

    fn quad_end(&mut self) {
        let quad = u128::from(self.address.quad);
        if self.family == Family::Inet6 {
            self.address.bits = self.address.bits << 32 | quad;
            self.address.groups += 2;
            self.address_end(self.address.inet6_end());
        } else {
            self.address_end(quad);
        }
    }

    /// Takes IPv6 groups and the blank behind them, or up to the first dot of a dotted tail; the
    /// error is the byte that does not fit.
    fn groups(&mut self, received: &[u8]) -> Result<(), u8> {
        while let Some(byte) = self.group_digits(received) {
            let group = self.has_digit().then_some(self.number.value);
            match byte {
                b':' => self.address.colon(group).ok_or(byte)?,
                b'.' => {
                    let octet = self.as_octet().ok_or(byte)?;
                    self.address.first_dot(octet).ok_or(byte)?;
                    self.dotted = true;
                }
                b' ' if self.address.inet6_need(self.has_digit()) == 0 => {
                    if let Some(group) = group {
                        self.address.push_group(group);
                    }
                    self.pos += 1;
                    self.address_end(self.address.inet6_end());
                    break;
                }
                _ => return Err(byte),
            }
            self.pos += 1;
            self.next_number();
            if self.dotted {
                break;
            }
        }
        Ok(())
    }

    fn address_end(&mut self, bits: u128) {
        if self.stage == Stage::Source {
            self.source = bits;
            self.next_field(Stage::Destination);
        } else {
            self.destination = bits;
            self.next_field(Stage::SourcePort);
        }
    }

    fn port(&mut self, received: &[u8], end: u8, refusal: ErrorKind) -> Result<(), ErrorKind> {
        let Self { mut pos, mut number, .. } = *self;
        let behind = number.decimal(received, &mut pos, u16::MAX.into());
        (self.pos, self.number) = (pos, number);
        match behind {
            Ok(None) => return Ok(()),
            Ok(Some(byte)) if byte == end => {}
            Ok(Some(b' ')) => return Err(ErrorKind::V1ExtraField),
            Ok(Some(b'\r')) | Err(b'\r') if end == b' ' => return Err(ErrorKind::V1MissingField),
            Ok(Some(b'\n')) | Err(b'\n') => return Err(ErrorKind::V1BadLineEnd),
            Ok(Some(_)) | Err(_) => return Err(refusal),
        }
        self.pos += 1;
        if self.stage == Stage::SourcePort {
            self.source_port = self.port_value();
            self.next_field(Stage::DestinationPort);
        } else {
            self.stage = Stage::Lf;
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "`port` kept it below 65,536")]
    const fn port_value(&self) -> u16 {
        self.number.value as u16
    }

    fn next_field(&mut self, stage: Stage) {
        self.stage = stage;
        self.address = Address::START;
        self.next_number();
    }

    const fn next_number(&mut self) {
        self.number = Number::begin(self.pos);
    }

    /// Says whether the number under way has begun.
    const fn has_digit(&self) -> bool {
        self.pos != self.number.at
    }

    fn group_digits(&mut self, received: &[u8]) -> Option<u8> {
        let Self { mut pos, mut number, .. } = *self;
        let may_go_on = self.has_digit() || self.address.may_begin_group();
        let digits_max = if may_go_on { GROUP_DIGITS_MAX } else { 0 };
        let behind = number.hex(received, &mut pos, digits_max);
        (self.pos, self.number) = (pos, number);
        behind
    }

    /// Reads the hexadecimal digits under way as the decimal octet they turn out to be.
    fn as_octet(&self) -> Option<u32> {
        let (value, digits) = (self.number.value, self.pos - self.number.at);
        let (a, b, c) = (value >> 8, value >> 4 & 15, value & 15);
        let octet = a * 100 + b * 10 + c;
        let least = match digits {
            1 => 0,
            2 => 10,
            3 => 100,
            _ => return None,
        };
        let is_octet = a <= 9 && b <= 9 && c <= 9 && (least..=255).contains(&octet);
        is_octet.then_some(octet)
    }

    /// Returns the least number of bytes that complete the line.
    ///
    /// Without a dotted IPv6 tail no TCP line passes 104 bytes (spec 2.1), so only those and the
    /// tail of `UNKNOWN` can outgrow the limit.
    pub(crate) fn need(&self) -> usize {
        let has_digit = self.has_digit();
        let no_digit = usize::from(!has_digit);
        match self.stage {
            Stage::Keyword | Stage::Unknown => UNKNOWN_MIN - self.pos,
            Stage::Tcp if self.family == Family::Inet => TCP4_MIN - self.pos,
            Stage::Tcp => TCP6_MIN - self.pos,
            Stage::Source | Stage::Destination => {
                let (address, other) = match self.family {
                    Family::Inet6 => (self.address.inet6_need(has_digit), INET6_MIN),
                    Family::Inet | Family::Unspec | Family::Unix => {
                        (self.address.quad_need(has_digit), INET_MIN)
                    }
                };
                let behind = if self.stage == Stage::Source { other } else { 0 };
                address + behind + PORTS_MIN
            }
            Stage::SourcePort => no_digit + b" 0\r\n".len(),
            Stage::DestinationPort => no_digit + b"\r\n".len(),
            Stage::Tail => b"\r\n".len(),
            Stage::Lf => 1,
            Stage::Done => 0,
        }
    }

    /// Builds the header of a line that is done.
    pub(crate) fn header(&self) -> Header {
        let (source, destination) = (self.source, self.destination);
        let (source_port, destination_port) = (self.source_port, self.port_value());
        let (command, addresses) = match self.family {
            Family::Inet => {
                let addr = |bits, port| SocketAddrV4::new(Ipv4Addr::from_bits(low(bits)), port);
                let source = addr(source, source_port);
                (
                    Command::Proxy,
                    Addresses::Inet { source, destination: addr(destination, destination_port) },
                )
            }
            Family::Inet6 => {
                let addr = |bits, port| SocketAddrV6::new(Ipv6Addr::from_bits(bits), port, 0, 0);
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

#[expect(clippy::cast_possible_truncation, reason = "an IPv4 address fills the low 32 bits")]
const fn low(bits: u128) -> u32 {
    bits as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a line has at most 107 bytes")]
const fn offset(pos: usize) -> u32 {
    pos as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[u8]) -> Result<Option<Header>, Error> {
        let mut state = Line::new();
        Ok(state.resume(line)?.then(|| state.header()))
    }

    fn dies_at(line: &[u8]) -> (ErrorKind, usize) {
        let error = run(line).unwrap_err();
        (error.kind(), error.offset())
    }

    fn needs(line: &[u8]) -> usize {
        let mut state = Line::new();
        assert_eq!(state.resume(line), Ok(false));
        state.need()
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
