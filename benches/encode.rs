//! Encoding, beside every other crate that encodes.
//!
//! Ours writes into the caller's slice, and so does `proxy-header`; the others return a buffer or a
//! string of their own, and allocating it is part of what they cost. What is missing:
//! `haproxy-protocol` only decodes.

mod timed;

use std::hint::black_box;
use std::net::SocketAddr;

use benches::{input, ours};
use criterion::{Criterion, criterion_group, criterion_main};
use ppcore::Addresses;
use ppcore::encode::EncodeError;
use timed::cell;

/// Room for every header that is written here.
const ROOM: usize = 256;

type Write = fn(&mut [u8], &Addresses) -> Result<usize, EncodeError>;

fn ppcore(write: Write, addresses: &Addresses) -> ([u8; ROOM], usize) {
    let mut out = [0; ROOM];
    let len = write(&mut out, addresses).expect("it fits");
    (out, len)
}

fn written((out, len): &([u8; ROOM], usize)) -> Vec<u8> {
    out[..*len].to_vec()
}

fn v4(addr: SocketAddr) -> std::net::SocketAddrV4 {
    match addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(_) => panic!("the cases are IPv4"),
    }
}

fn v1(criterion: &mut Criterion) {
    let (source, destination) = input::V1_TCP4.answer();
    let (source, destination) = black_box((source, destination));
    let addresses = Addresses::pair(source, destination);
    let want = input::V1_TCP4.bytes.to_vec();
    let group = &mut criterion.benchmark_group("encode v1 TCP4 47 B");
    cell(group, "ppcore", &want, || ppcore(ours::encode_v1, black_box(&addresses)), written);
    cell(
        group,
        "ppp",
        &want,
        || ppp::v1::Addresses::from(black_box((source, destination))).to_string(),
        |line| line.clone().into_bytes(),
    );
    cell(group, "proxy-header", &want, || header(source, destination, false), written);
    cell(
        group,
        "proxy-protocol",
        &want,
        || {
            let (source, destination) = (v4(source), v4(destination));
            let addresses = proxy_protocol::version1::ProxyAddresses::Ipv4 { source, destination };
            let header = proxy_protocol::ProxyHeader::Version1 { addresses };
            proxy_protocol::encode(black_box(header)).expect("a header")
        },
        |bytes| bytes.to_vec(),
    );
    cell(
        group,
        "proxy-protocol-codec",
        &want,
        || {
            use proxy_protocol_codec::v1::{AddressPair, Header};
            let (source, destination) = black_box((v4(source), v4(destination)));
            Header::new(AddressPair::Inet {
                src_ip: *source.ip(),
                dst_ip: *destination.ip(),
                src_port: source.port(),
                dst_port: destination.port(),
            })
            .encode()
        },
        |line| line.clone().into_bytes(),
    );
    cell(
        group,
        "proxyproto",
        &want,
        || {
            let mut out = Vec::with_capacity(ROOM);
            let (source, destination) = black_box((source, destination));
            proxyproto::v1::Header::new_inet(source, destination)
                .write_to(&mut out)
                .expect("a vector takes all");
            out
        },
        Clone::clone,
    );
    cell(
        group,
        "proxy-protocol-rs",
        &want,
        || {
            let (source, destination) = black_box((source, destination));
            proxy_protocol_rs::HeaderBuilder::v1_proxy(source, destination).build()
        },
        Clone::clone,
    );
    cell(
        group,
        "haprox-rs",
        &want,
        || {
            let (source, destination) = black_box((source, destination));
            haprox_rs::ProxyHdrV1::new(source, destination).expect("a header").to_string()
        },
        |line| line.clone().into_bytes(),
    );
}

fn header(source: SocketAddr, destination: SocketAddr, is_v2: bool) -> ([u8; ROOM], usize) {
    use proxy_header::{ProxiedAddress, ProxyHeader};
    let (source, destination) = black_box((source, destination));
    let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    let mut out = [0; ROOM];
    let len = if is_v2 {
        header.encode_to_slice_v2(&mut out)
    } else {
        header.encode_to_slice_v1(&mut out)
    };
    (out, len.expect("it fits"))
}

fn v2(criterion: &mut Criterion) {
    let (source, destination) = input::V2_TCP4.answer();
    let addresses = Addresses::pair(source, destination);
    let want = input::V2_TCP4.bytes.to_vec();
    let group = &mut criterion.benchmark_group("encode v2 TCP4 28 B");
    cell(group, "ppcore", &want, || ppcore(ours::encode_v2, black_box(&addresses)), written);
    cell(
        group,
        "ppp",
        &want,
        || {
            use ppp::v2::{Addresses, Builder, Command, Protocol, Version};
            let addresses = Addresses::from(black_box((source, destination)));
            let first = Version::Two | Command::Proxy;
            Builder::with_addresses(first, Protocol::Stream, addresses).build().expect("a header")
        },
        Clone::clone,
    );
    cell(group, "proxy-header", &want, || header(source, destination, true), written);
    cell(
        group,
        "proxy-protocol",
        &want,
        || {
            use proxy_protocol::version2::{ProxyAddresses, ProxyCommand, ProxyTransportProtocol};
            let (source, destination) = (v4(source), v4(destination));
            let header = proxy_protocol::ProxyHeader::Version2 {
                command: ProxyCommand::Proxy,
                transport_protocol: ProxyTransportProtocol::Stream,
                addresses: ProxyAddresses::Ipv4 { source, destination },
            };
            proxy_protocol::encode(black_box(header)).expect("a header")
        },
        |bytes| bytes.to_vec(),
    );
    cell(
        group,
        "proxy-protocol-codec",
        &want,
        || {
            use proxy_protocol_codec::v2::{AddressPair, Header, HeaderEncoder, Protocol};
            let (source, destination) = black_box((v4(source), v4(destination)));
            let pair = AddressPair::Inet {
                src_ip: *source.ip(),
                dst_ip: *destination.ip(),
                src_port: source.port(),
                dst_port: destination.port(),
            };
            let header = Header::new_proxy(Protocol::Stream, pair);
            HeaderEncoder::encode(&header).finish().expect("a header")
        },
        Clone::clone,
    );
    cell(
        group,
        "proxyproto",
        &want,
        || {
            let (source, destination) = black_box((source, destination));
            proxyproto::v2::Header::new_tcp_ipv4_proxy(source, destination).to_vec()
        },
        Clone::clone,
    );
    cell(
        group,
        "proxy-protocol-rs",
        &want,
        || {
            let (source, destination) = black_box((source, destination));
            proxy_protocol_rs::HeaderBuilder::v2_proxy(source, destination).build()
        },
        Clone::clone,
    );
    cell(
        group,
        "haprox-rs",
        &want,
        || {
            use haprox_rs::{HdrV2OpProxy, ProxyHdrV2, ProxyTransportFam, ProxyV2Addr};
            let (src, dst) = black_box((source, destination));
            let addresses = ProxyV2Addr::Ip { src, dst };
            let header = ProxyHdrV2::<HdrV2OpProxy>::new(ProxyTransportFam::STREAM, addresses);
            Vec::<u8>::try_from(header.expect("a header")).expect("it fits")
        },
        Clone::clone,
    );
}

/// The long headers, ours only: no two crates build TLVs alike.
fn v2_ssl(criterion: &mut Criterion) {
    let (source, destination) = input::V2_SSL.answer();
    let addresses = Addresses::pair(source, destination);
    let group = &mut criterion.benchmark_group("encode v2 SSL");
    let cases: [(&input::Input, Write); 2] =
        [(&input::V2_SSL, ours::encode_v2_ssl), (&input::V2_SSL_CRC, ours::encode_v2_ssl_crc)];
    for (input, write) in cases {
        let want = input.bytes.to_vec();
        cell(group, input.name, &want, || ppcore(write, black_box(&addresses)), written);
    }
}

fn all(criterion: &mut Criterion) {
    v1(criterion);
    v2(criterion);
    v2_ssl(criterion);
}

criterion_group!(encoding, all);
criterion_main!(encoding);
