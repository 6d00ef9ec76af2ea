//! The text line of version 1 (spec 2.1), judged byte by byte.
//!
//! ```text
//! Keyword -> Protocol -+-> Tcp -> Source -> Destination -> SourcePort -> DestinationPort -> Lf -> Done
//!                      +-> Unknown -> Tail ---------------------------------------------> Lf
//! ```
//!
//! Each byte is looked at once. A byte passes only if some continuation makes a valid line of at
//! most 107 bytes, so the line is never incomplete on a dead prefix.
//! Invariant: `pos` bytes have passed, and `pos + need() <= 107`.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::header::{Addresses, Command, Family, Header, Transport, Version};
use crate::{Error, ErrorKind, V1_LEN_MAX};

/// The five bytes every v1 header begins with (spec 2.1).
pub(crate) const KEYWORD: &[u8; 5] = b"PROXY";
/// The shortest v1 line: `PROXY UNKNOWN` and CRLF.
pub(crate) const LEN_MIN: usize = UNKNOWN_MIN;

const UNKNOWN_MIN: usize = b"PROXY UNKNOWN\r\n".len();
const TCP4_MIN: usize = b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len();
const TCP6_MIN: usize = b"PROXY TCP6 :: :: 0 0\r\n".len();
const PORTS_MIN: usize = b" 0 0\r\n".len();
const INET_MIN: usize = b" 0.0.0.0".len();
const INET6_MIN: usize = b" ::".len();

/// Groups of 16 bits in an IPv6 address.
const GROUPS: u8 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Keyword,
    Protocol,
    Tcp,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    Unknown,
    Tail,
    Lf,
    Done,
}

/// The state of one line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pos: u8,
    stage: Stage,
    family: Family,
    /// The address or port under way.
    number: Number,
    address: Address,
    source: u128,
    destination: u128,
    source_port: u16,
}

/// A run of digits under way.
#[derive(Clone, Copy, Debug)]
struct Number {
    digits: u8,
    value: u32,
}

/// An address under way: IPv4 octets, IPv6 groups, or both behind each other.
#[derive(Clone, Copy, Debug)]
struct Address {
    /// The octets or groups that are complete, the last one lowest.
    bits: u128,
    /// Complete octets of a dotted quad.
    octets: u8,
    /// Complete IPv6 groups.
    groups: u8,
    /// Groups in front of `::`.
    gap: Option<u8>,
    /// What stands in front of the next group, while it has no digit.
    before: Before,
    /// Whether a dotted tail was met: only those can outgrow the line.
    dotted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    LeadingColon,
    Colon,
    Gap,
}

impl Number {
    const ZERO: Self = Self { digits: 0, value: 0 };

    /// Takes a decimal digit; `None` for anything else, a leading zero, or a value above `max`.
    fn decimal(self, byte: u8, max: u32) -> Option<Self> {
        let digit = byte.wrapping_sub(b'0');
        let value = self.value * 10 + u32::from(digit);
        let leading_zero = self.digits != 0 && self.value == 0;
        let is_good = digit <= 9 && !leading_zero && value <= max;
        is_good.then_some(Self { digits: self.digits + 1, value })
    }

    /// Takes a hexadecimal digit; `None` for anything else and for a fifth one.
    fn hex(self, byte: u8) -> Option<Self> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        let value = self.value << 4 | u32::from(digit);
        (self.digits < 4).then_some(Self { digits: self.digits + 1, value })
    }

    /// Reads hexadecimal digits as the decimal octet they may turn out to be.
    fn as_octet(self) -> Option<u32> {
        let (a, b, c) = (self.value >> 8, self.value >> 4 & 15, self.value & 15);
        let leading_zero = self.digits > 1 && self.value >> (4 * (self.digits - 1)) == 0;
        let octet = a * 100 + b * 10 + c;
        let is_octet = self.digits <= 3 && !leading_zero && a <= 9 && b <= 9 && c <= 9;
        (is_octet && octet <= 255).then_some(octet)
    }
}

impl Address {
    const START: Self =
        Self { bits: 0, octets: 0, groups: 0, gap: None, before: Before::Nothing, dotted: false };

    /// Takes one byte of an IPv4 address; `None` if no address goes on like this.
    fn inet(&mut self, number: Number, byte: u8) -> Option<Number> {
        if byte != b'.' {
            return number.decimal(byte, 255);
        }
        if number.digits == 0 || self.octets == 3 {
            return None;
        }
        self.push_octet(number.value);
        Some(Number::ZERO)
    }

    fn push_octet(&mut self, octet: u32) {
        self.bits = self.bits << 8 | u128::from(octet);
        self.octets += 1;
    }

    /// Takes one byte of an IPv6 address; `None` if no address goes on like this.
    fn inet6(&mut self, number: Number, byte: u8) -> Option<Number> {
        match byte {
            _ if self.octets != 0 => self.inet(number, byte),
            b':' => self.colon(number),
            b'.' => self.first_dot(number),
            _ => {
                let is_full = self.before == Before::Gap && self.groups == GROUPS - 1;
                let may_begin = self.before != Before::LeadingColon && !is_full;
                if number.digits == 0 && !may_begin {
                    return None;
                }
                number.hex(byte)
            }
        }
    }

    fn colon(&mut self, number: Number) -> Option<Number> {
        if number.digits != 0 {
            // Behind it come either one more group, or, once, a gap of at least one group.
            let groups_max = if self.gap.is_some() { GROUPS - 2 } else { GROUPS - 1 };
            if self.groups == groups_max {
                return None;
            }
            self.push_group(number);
            self.before = Before::Colon;
            return Some(Number::ZERO);
        }
        self.before = match self.before {
            Before::Nothing => Before::LeadingColon,
            Before::LeadingColon | Before::Colon if self.gap.is_none() => {
                self.gap = Some(self.groups);
                Before::Gap
            }
            Before::LeadingColon | Before::Colon | Before::Gap => return None,
        };
        Some(Number::ZERO)
    }

    fn push_group(&mut self, number: Number) {
        self.bits = self.bits << 16 | u128::from(number.value);
        self.groups += 1;
    }

    /// A dotted quad stands for the last two groups.
    fn first_dot(&mut self, number: Number) -> Option<Number> {
        let has_room = match self.gap {
            None => self.groups == GROUPS - 2,
            Some(_) => self.groups <= GROUPS - 3,
        };
        if number.digits == 0 || !has_room {
            return None;
        }
        let octet = number.as_octet()?;
        self.dotted = true;
        self.push_octet(octet);
        Some(Number::ZERO)
    }

    /// Returns the least number of bytes that complete an IPv4 address.
    const fn inet_need(&self, number: Number) -> usize {
        (number.digits == 0) as usize + 2 * (3 - self.octets as usize)
    }

    /// Returns the least number of bytes that complete an IPv6 address.
    const fn inet6_need(&self, number: Number) -> usize {
        match self.before {
            _ if self.octets != 0 => self.inet_need(number),
            _ if number.digits != 0 => {
                let is_complete = self.gap.is_some() || self.groups == GROUPS - 1;
                if is_complete { 0 } else { 2 }
            }
            Before::Nothing => 2,
            Before::LeadingColon | Before::Colon => 1,
            Before::Gap => 0,
        }
    }

    /// Completes an IPv4 address.
    fn inet_end(mut self, number: Number) -> Option<u128> {
        if self.inet_need(number) != 0 {
            return None;
        }
        self.push_octet(number.value);
        Some(self.bits)
    }

    /// Completes an IPv6 address.
    fn inet6_end(mut self, number: Number) -> Option<u128> {
        if self.inet6_need(number) != 0 {
            return None;
        }
        if self.octets != 0 {
            self.push_octet(number.value);
            self.groups += 2;
        } else if number.digits != 0 {
            self.push_group(number);
        }
        let Some(gap) = self.gap else { return Some(self.bits) };
        let tail_bits = 16 * u32::from(self.groups.saturating_sub(gap));
        let tail = self.bits & !u128::MAX.checked_shl(tail_bits).unwrap_or(0);
        let head = self.bits.checked_shr(tail_bits).unwrap_or(0);
        Some(head.checked_shl(16 * u32::from(GROUPS - gap)).unwrap_or(0) | tail)
    }
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self {
            pos: 0,
            stage: Stage::Keyword,
            family: Family::Unspec,
            number: Number::ZERO,
            address: Address::START,
            source: 0,
            destination: 0,
            source_port: 0,
        }
    }

    /// Says whether nothing but a v1 header can follow.
    pub(crate) fn is_committed(received: &[u8]) -> bool {
        received.len() >= KEYWORD.len()
    }

    /// Judges what has arrived; `None` means that bytes are missing.
    pub(crate) fn resume(&mut self, received: &[u8]) -> Result<Option<Header>, Error> {
        while self.stage != Stage::Done {
            let Some(&byte) = received.get(usize::from(self.pos)) else { return Ok(None) };
            self.step(byte).map_err(|kind| Error::new(kind, self.pos.into()))?;
            self.pos += 1;
            // Only these two can pass the limit: see `need`.
            let may_be_long = self.stage == Stage::Tail || self.address.dotted;
            if may_be_long && usize::from(self.pos) + self.need() > V1_LEN_MAX {
                return Err(Error::new(ErrorKind::V1TooLong, usize::from(self.pos) - 1));
            }
        }
        Ok(Some(self.header()))
    }

    fn step(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match self.stage {
            Stage::Keyword => self.keyword(byte),
            Stage::Protocol => self.protocol(byte),
            Stage::Tcp => self.tcp(byte),
            Stage::Source | Stage::Destination => self.address(byte),
            Stage::SourcePort => self.port(byte, b' ', ErrorKind::V1BadSourcePort),
            Stage::DestinationPort => self.port(byte, b'\r', ErrorKind::V1BadDestinationPort),
            Stage::Unknown => self.unknown(byte),
            Stage::Tail => {
                if byte == b'\r' {
                    self.stage = Stage::Lf;
                }
                Ok(())
            }
            Stage::Lf if byte == b'\n' => {
                self.stage = Stage::Done;
                Ok(())
            }
            Stage::Lf => Err(ErrorKind::V1BadLineEnd),
            Stage::Done => Ok(()),
        }
    }

    fn keyword(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match KEYWORD.get(usize::from(self.pos)) {
            Some(&want) if byte == want => Ok(()),
            Some(_) => Err(ErrorKind::NotProxy),
            None if byte == b' ' => {
                self.stage = Stage::Protocol;
                Ok(())
            }
            None => Err(ErrorKind::V1ExpectedSpace),
        }
    }

    fn protocol(&mut self, byte: u8) -> Result<(), ErrorKind> {
        self.stage = match byte {
            b'T' => Stage::Tcp,
            b'U' => Stage::Unknown,
            _ => return Err(ErrorKind::V1BadProtocol),
        };
        Ok(())
    }

    /// `TCP4 ` or `TCP6 `, from its second letter.
    fn tcp(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match (self.pos, byte) {
            (7, b'C') | (8, b'P') => {}
            (9, b'4') => self.family = Family::Inet,
            (9, b'6') => self.family = Family::Inet6,
            (10, b' ') => self.stage = Stage::Source,
            (10, b'\r') => return Err(ErrorKind::V1MissingField),
            _ => return Err(ErrorKind::V1BadProtocol),
        }
        Ok(())
    }

    /// `UNKNOWN` from its second letter, and the byte behind it.
    fn unknown(&mut self, byte: u8) -> Result<(), ErrorKind> {
        match (b"NKNOWN".get(usize::from(self.pos).wrapping_sub(7)), byte) {
            (Some(&want), _) if byte == want => {}
            (None, b' ') => self.stage = Stage::Tail,
            (None, b'\r') => self.stage = Stage::Lf,
            (Some(_) | None, _) => return Err(ErrorKind::V1BadProtocol),
        }
        Ok(())
    }

    fn address(&mut self, byte: u8) -> Result<(), ErrorKind> {
        let refusal = match (byte, self.stage) {
            (b'\r', _) => ErrorKind::V1MissingField,
            (_, Stage::Source) => ErrorKind::V1BadSourceAddress,
            (_, _) => ErrorKind::V1BadDestinationAddress,
        };
        let is_inet6 = self.family == Family::Inet6;
        if byte != b' ' {
            let address = &mut self.address;
            let next = if is_inet6 { Address::inet6 } else { Address::inet };
            self.number = next(address, self.number, byte).ok_or(refusal)?;
            return Ok(());
        }
        let end = if is_inet6 { Address::inet6_end } else { Address::inet_end };
        let bits = end(self.address, self.number).ok_or(refusal)?;
        if self.stage == Stage::Source {
            self.source = bits;
            self.stage = Stage::Destination;
        } else {
            self.destination = bits;
            self.stage = Stage::SourcePort;
        }
        self.number = Number::ZERO;
        self.address = Address { dotted: self.address.dotted, ..Address::START };
        Ok(())
    }

    fn port(&mut self, byte: u8, end: u8, refusal: ErrorKind) -> Result<(), ErrorKind> {
        if byte != end || self.number.digits == 0 {
            self.number = self.number.decimal(byte, u16::MAX.into()).ok_or(match byte {
                b' ' if self.number.digits != 0 => ErrorKind::V1ExtraField,
                b'\r' if end == b' ' => ErrorKind::V1MissingField,
                b'\n' => ErrorKind::V1BadLineEnd,
                _ => refusal,
            })?;
        } else if self.stage == Stage::SourcePort {
            self.source_port = self.port_value();
            self.number = Number::ZERO;
            self.stage = Stage::DestinationPort;
        } else {
            self.stage = Stage::Lf;
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "Number::decimal kept it below 65,536")]
    const fn port_value(&self) -> u16 {
        self.number.value as u16
    }

    /// Returns the least number of bytes that complete the line.
    ///
    /// Without a dotted IPv6 tail no TCP line passes 104 bytes (spec 2.1), so only those and the
    /// tail of `UNKNOWN` can outgrow the limit.
    pub(crate) fn need(&self) -> usize {
        let pos = usize::from(self.pos);
        let (address, behind) = match self.family {
            Family::Inet6 => (self.address.inet6_need(self.number), INET6_MIN),
            Family::Inet | Family::Unspec | Family::Unix => {
                (self.address.inet_need(self.number), INET_MIN)
            }
        };
        let no_digit = usize::from(self.number.digits == 0);
        match self.stage {
            Stage::Keyword | Stage::Protocol | Stage::Unknown if pos <= 13 => UNKNOWN_MIN - pos,
            Stage::Tcp if self.family == Family::Inet => TCP4_MIN - pos,
            Stage::Tcp => TCP6_MIN - pos,
            Stage::Source => address + behind + PORTS_MIN,
            Stage::Destination => address + PORTS_MIN,
            Stage::SourcePort => no_digit + b" 0\r\n".len(),
            Stage::DestinationPort => no_digit + b"\r\n".len(),
            Stage::Keyword | Stage::Protocol | Stage::Unknown | Stage::Tail => b"\r\n".len(),
            Stage::Lf => 1,
            Stage::Done => 0,
        }
    }

    fn header(&self) -> Header {
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
        let len = self.pos.into();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[u8]) -> Result<Option<Header>, Error> {
        Line::new().resume(line)
    }

    fn dies_at(line: &[u8]) -> (ErrorKind, usize) {
        let error = run(line).unwrap_err();
        (error.kind(), error.offset())
    }

    fn needs(line: &[u8]) -> usize {
        let mut state = Line::new();
        assert_eq!(state.resume(line), Ok(None));
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
