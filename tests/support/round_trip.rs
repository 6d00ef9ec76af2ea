//! Headers that ppcore writes, read back by the oracle, never by ppcore itself.

use std::net::{IpAddr, SocketAddr};

use ppcore::encode::{EncodeError, Encoder};
use ppcore::{Addresses, Transport, tlv};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::naive::{self, Answer, Header, Input, Options};

/// How a v2 header begins.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    Stream(Addresses),
    Datagram(Addresses),
    Local,
    Unix(Transport, Vec<u8>, Vec<u8>),
}

/// What is added to it.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Tlv(u8, Vec<u8>),
    Ssl(u8, u32, Vec<(u8, Vec<u8>)>),
    Crc32c,
    /// Bytes of padding, its TLV header included.
    Padding(usize),
}

pub(crate) fn addresses() -> BoxedStrategy<Addresses> {
    // Boxed, as a debug build keeps every alternative of every field on the stack otherwise.
    // Zero groups and v4-mapped addresses have a text of their own.
    let group = prop_oneof![Just(0), any::<u16>(), 0_u16..16];
    let v6 = prop_oneof![
        6 => prop::array::uniform8(group).prop_map(|groups| IpAddr::V6(groups.into())),
        1 => any::<[u8; 4]>().prop_map(|ip| IpAddr::V6(std::net::Ipv4Addr::from(ip).to_ipv6_mapped())),
    ];
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), v6].boxed();
    let port = || prop_oneof![any::<u16>(), 0_u16..12, Just(u16::MAX)];
    let pair = (ip.clone(), port(), ip, port()).prop_map(|(src, src_port, dst, dst_port)| {
        Addresses::pair(SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port))
    });
    prop_oneof![12 => pair, 1 => Just(Addresses::None), 1 => Just(Addresses::Unix)].boxed()
}

pub(crate) fn start() -> impl Strategy<Value = Start> {
    let transport = prop_oneof![Just(Transport::Stream), Just(Transport::Dgram)];
    let name =
        || prop_oneof![vec(any::<u8>(), 0..=108), vec(1_u8.., 0..=108), vec(any::<u8>(), 108)];
    prop_oneof![
        4 => addresses().prop_map(Start::Stream),
        2 => addresses().prop_map(Start::Datagram),
        1 => Just(Start::Local),
        2 => (transport, name(), name()).prop_map(|(how, src, dst)| Start::Unix(how, src, dst)),
    ]
}

pub(crate) fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let value = |len| vec(any::<u8>(), 0..len);
    let kind =
        any::<u8>().prop_filter("only the encoder knows the checksum", |kind| *kind != tlv::CRC32C);
    let sub_tlvs = vec((0x21_u8..0x29, value(20)), 0..4);
    let piece = prop_oneof![
        4 => (kind, value(60)).prop_map(|(kind, value)| Piece::Tlv(kind, value)),
        1 => (any::<u8>(), any::<u32>(), sub_tlvs).prop_map(|(client, verify, subs)| Piece::Ssl(client, verify, subs)),
        2 => Just(Piece::Crc32c),
        1 => prop_oneof![Just(0), 3_usize..40].prop_map(Piece::Padding),
    ];
    vec(piece, 0..6)
}

/// Writes into slices of every length up to the exact one, and returns the header.
fn at_every_size(write: impl Fn(&mut [u8]) -> Result<usize, EncodeError>) -> Vec<u8> {
    const UNTOUCHED: u8 = 0xA5;
    let Err(EncodeError::BufferTooSmall { needed }) = write(&mut []) else {
        panic!("an empty slice is too small for any header");
    };
    for size in 1..needed {
        assert_eq!(write(&mut vec![0; size]), Err(EncodeError::BufferTooSmall { needed }));
    }
    let mut exact = vec![UNTOUCHED; needed];
    assert_eq!(write(&mut exact), Ok(needed));
    let mut roomy = vec![UNTOUCHED; needed + 7];
    assert_eq!(write(&mut roomy), Ok(needed));
    assert_eq!(roomy, [&exact[..], &[UNTOUCHED; 7]].concat(), "depends on the slice's size");
    exact
}

/// What the oracle, as strict as it can be, reads in `header`.
fn read(header: &[u8], input: Input) -> Header {
    let options = Options { input, strict_tlv: true, ..Options::default() };
    match naive::decode(header, &options) {
        Answer::Ok(found) => {
            assert_eq!(found.consumed, header.len(), "{header:02x?}");
            *found
        }
        refused @ (Answer::Incomplete { .. }
        | Answer::Absent
        | Answer::NotProxy { .. }
        | Answer::Error { .. }) => panic!("{refused:?} for {header:02x?}"),
    }
}

fn assert_endpoints(header: &Header, addresses: &Addresses) {
    assert_eq!(header.src, addresses.source().map(|addr| addr.to_string()));
    assert_eq!(header.dst, addresses.destination().map(|addr| addr.to_string()));
}

pub(crate) fn v1(addresses: &Addresses) {
    let line = at_every_size(|out| ppcore::encode::v1(out, addresses));
    assert!((15..=104).contains(&line.len()), "{line:?}");
    let header = read(&line, Input::Open);
    let command = if addresses.source().is_some() { "PROXY" } else { "UNKNOWN" };
    assert_eq!((header.version, header.command), ("1", command));
    assert_endpoints(&header, addresses);
}

pub(crate) fn spp(addresses: &Addresses) {
    let bytes = at_every_size(|out| ppcore::spp::encode(out, addresses));
    let header = read(&bytes, Input::Spp);
    if addresses.source().is_some() {
        assert_endpoints(&header, addresses);
    } else {
        assert_eq!(header.src.as_deref(), Some("[::]:0"));
        assert_eq!(header.dst.as_deref(), Some("[::]:0"));
    }
}

pub(crate) fn v2(start: &Start, pieces: &[Piece]) {
    let bytes = at_every_size(|out| write(out, start, pieces));
    let header = read(&bytes, Input::Open);
    let (command, transport) = match start {
        Start::Stream(_) | Start::Unix(Transport::Stream, ..) => ("PROXY", "STREAM"),
        Start::Datagram(_) | Start::Unix(..) => ("PROXY", "DGRAM"),
        Start::Local => ("LOCAL", "UNSPEC"),
    };
    assert_eq!((header.version, header.command), ("2", command));
    match start {
        Start::Stream(addresses) | Start::Datagram(addresses) if addresses.source().is_some() => {
            assert_endpoints(&header, addresses);
            assert_eq!(header.transport, transport);
        }
        Start::Stream(_) | Start::Datagram(_) | Start::Local => {
            assert_eq!((header.family, header.transport), ("UNSPEC", "UNSPEC"));
        }
        Start::Unix(_, src, dst) => {
            assert_eq!((header.family, header.transport), ("UNIX", transport));
            let names = [src, dst].map(|name| [&name[..], &vec![0; 108 - name.len()]].concat());
            assert_eq!(bytes[16..232], names.concat());
        }
    }
    let expected = tlvs(pieces);
    let has_crc = expected.iter().any(|(kind, _)| *kind == tlv::CRC32C);
    assert_eq!(header.crc, if has_crc { "valid" } else { "absent" });
    let nameless =
        |(kind, value)| if kind == tlv::CRC32C { (kind, vec![0; 4]) } else { (kind, value) };
    assert_eq!(header.tlvs.into_iter().map(nameless).collect::<Vec<_>>(), expected);
}

fn write(out: &mut [u8], start: &Start, pieces: &[Piece]) -> Result<usize, EncodeError> {
    let mut encoder = match start {
        Start::Stream(addresses) => Encoder::stream(out, addresses),
        Start::Datagram(addresses) => Encoder::datagram(out, addresses),
        Start::Local => Encoder::local(out),
        Start::Unix(transport, src, dst) => Encoder::unix(out, *transport, src, dst),
    };
    let start_len = 16
        + match start {
            Start::Stream(addresses) | Start::Datagram(addresses) => match addresses {
                Addresses::Inet { .. } => 12,
                Addresses::Inet6 { .. } => 36,
                Addresses::None | Addresses::Unix => 0,
            },
            Start::Local => 0,
            Start::Unix(..) => 216,
        };
    for (index, piece) in pieces.iter().enumerate() {
        encoder = match piece {
            Piece::Tlv(kind, value) => encoder.tlv(*kind, value),
            Piece::Ssl(client, verify, subs) => {
                let subs: Vec<_> = subs.iter().map(|(kind, value)| (*kind, &value[..])).collect();
                encoder.ssl(*client, *verify, &subs)
            }
            Piece::Crc32c => encoder.crc32c(),
            Piece::Padding(bytes) => {
                let before = tlvs(&pieces[..index]);
                let before: usize = before.iter().map(|(_, value)| 3 + value.len()).sum();
                encoder.pad_to(start_len + before + bytes)
            }
        };
    }
    encoder.finish()
}

/// The TLVs that the pieces stand for; a checksum counts as zeros.
fn tlvs(pieces: &[Piece]) -> Vec<(u8, Vec<u8>)> {
    let mut tlvs = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Tlv(kind, value) => tlvs.push((*kind, value.clone())),
            Piece::Ssl(client, verify, subs) => {
                let mut value = vec![*client];
                value.extend(verify.to_be_bytes());
                for (kind, sub) in subs {
                    value.extend([*kind, 0, u8::try_from(sub.len()).expect("a short value")]);
                    value.extend(sub);
                }
                tlvs.push((tlv::SSL, value));
            }
            Piece::Crc32c if tlvs.iter().any(|(kind, _)| *kind == tlv::CRC32C) => {}
            Piece::Crc32c => tlvs.push((tlv::CRC32C, vec![0; 4])),
            Piece::Padding(0) => {}
            Piece::Padding(bytes) => tlvs.push((tlv::NOOP, vec![0; bytes - 3])),
        }
    }
    tlvs
}
