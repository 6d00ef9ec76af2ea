//! PROXY headers as the tests write and read them: straight from the specification, small, slow
//! and without `ppcore`, so that the check is independent of what it checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first twelve bytes of a version 2 header (section 2.2).
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The TLV type of the checksum (section 2.2.3).
pub(crate) const CRC32C: u8 = 0x03;

/// A version 2 header, read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct V2 {
    /// Its length in bytes, signature included.
    pub(crate) len: usize,
    pub(crate) command: Command,
    /// Source and destination of a TCP connection; `None` for LOCAL and UNSPEC.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// All TLVs in order, the checksum included.
    pub(crate) tlvs: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Local,
    Proxy,
}

impl V2 {
    /// Reads the header at the start of `bytes`; a checksum in it must hold.
    #[track_caller]
    pub(crate) fn read(bytes: &[u8]) -> V2 {
        assert!(
            bytes.starts_with(SIGNATURE),
            "no signature: {:02x?}",
            &bytes[..bytes.len().min(16)]
        );
        let len = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        let block = &bytes[16..len];
        let command = match bytes[12] {
            0x20 => Command::Local,
            0x21 => Command::Proxy,
            other => panic!("version and command {other:#04x}"),
        };
        let (addresses, rest) = match (command, bytes[13]) {
            (_, 0x00) => (None, block),
            (Command::Proxy, 0x11) => (Some(pair(block, 4)), &block[12..]),
            (Command::Proxy, 0x21) => (Some(pair(block, 16)), &block[36..]),
            (_, other) => panic!("family and transport {other:#04x} with {command:?}"),
        };
        let header = V2 { len, command, addresses, tlvs: tlvs(rest) };
        for (at, value) in header.checksums(&bytes[..len]) {
            let mut zeroed = bytes[..len].to_vec();
            zeroed[at..at + 4].fill(0);
            assert_eq!(value, crc32c(&zeroed), "the checksum at byte {at} does not hold");
        }
        header
    }

    /// The values of the TLVs of this type.
    pub(crate) fn values(&self, kind: u8) -> Vec<&[u8]> {
        self.tlvs.iter().filter(|(of, _)| *of == kind).map(|(_, value)| &value[..]).collect()
    }

    /// Offset in the header and value of each checksum.
    fn checksums(&self, header: &[u8]) -> Vec<(usize, u32)> {
        let mut at =
            header.len() - self.tlvs.iter().map(|(_, value)| 3 + value.len()).sum::<usize>();
        let mut found = Vec::new();
        for (kind, value) in &self.tlvs {
            if *kind == CRC32C {
                let value = <[u8; 4]>::try_from(&value[..]).expect("a checksum is 4 bytes");
                found.push((at + 3, u32::from_be_bytes(value)));
            }
            at += 3 + value.len();
        }
        found
    }
}

/// A version 2 PROXY header over TCP for a pair of one family.
pub(crate) fn v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut block = Vec::new();
    for addr in [source, destination] {
        match addr.ip() {
            IpAddr::V4(ip) => block.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => block.extend_from_slice(&ip.octets()),
        }
    }
    for addr in [source, destination] {
        block.extend_from_slice(&addr.port().to_be_bytes());
    }
    let family = match block.len() {
        12 => 0x11,
        36 => 0x21,
        _ => panic!("{source} and {destination} are of two families"),
    };
    let len = u16::try_from(block.len()).expect("36 at most");
    [SIGNATURE, &[0x21, family][..], &len.to_be_bytes()[..], &block[..]].concat()
}

/// A version 1 line over TCP for a pair of one family.
pub(crate) fn v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// CRC32C (RFC 3309), a bit at a time.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}

/// Bytes from hexadecimal text; white space is for the reader.
#[track_caller]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).expect("two hexadecimal digits")).collect()
}

fn pair(block: &[u8], width: usize) -> (SocketAddr, SocketAddr) {
    let ip = |at: usize| match width {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(&block[at..at + 4]).expect("4 bytes")).into(),
        _ => IpAddr::from(Ipv6Addr::from(
            <[u8; 16]>::try_from(&block[at..at + 16]).expect("16 bytes"),
        )),
    };
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let ports = 2 * width;
    (SocketAddr::new(ip(0), port(ports)), SocketAddr::new(ip(width), port(ports + 2)))
}

fn tlvs(mut rest: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [kind, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        found.push((*kind, behind[..len].to_vec()));
        rest = &behind[len..];
    }
    assert!(rest.is_empty(), "{} bytes behind the last TLV", rest.len());
    found
}

#[test]
fn crc32c_matches_the_check_value_of_the_algorithm() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}
