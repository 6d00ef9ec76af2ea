//! Decoding, beside every other crate of the field: v1 and v2, whole and one byte at a time.
//!
//! Each crate is called as its documentation shows. A crate that cannot resume parses from the
//! start again for every byte that arrives: that is the comparison. What is missing one byte at a
//! time: `ppp`, which refuses a line that stops right behind a blank; `haprox-rs`, which refuses less than
//! six bytes; `proxy-protocol` and `proxy-protocol-codec`, which tell an incomplete v1 line by the same
//! errors as a broken one.

mod timed;

use std::hint::black_box;
use std::net::SocketAddr;

use benches::{input, input::Input, ours};
use criterion::{Criterion, criterion_group, criterion_main};
use ppcore::{Decoded, Error};
use timed::cell;

type Answer = (SocketAddr, SocketAddr);

fn ppcore(decoded: &Result<Decoded, Error>) -> Answer {
    let Ok(Decoded::Header(header)) = decoded else { panic!("{decoded:?}") };
    both(header.source(), header.destination())
}

fn both(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Answer {
    (source.expect("a source"), destination.expect("a destination"))
}

/// Feeds one byte more each time until the answer is no longer `None`.
fn dribble<R>(bytes: &'static [u8], decode: impl Fn(&'static [u8]) -> Option<R>) -> R {
    let pieces = (1..=bytes.len()).map(|len| black_box(&bytes[..len]));
    pieces.filter_map(decode).next().expect("the whole line is a header")
}

fn v1(criterion: &mut Criterion, input: &Input) {
    let (bytes, want) = (input.bytes, input.answer());
    let group = &mut criterion.benchmark_group(input.name);
    cell(group, "ppcore", &want, || ours::decode(black_box(bytes)), ppcore);
    cell(group, "ppp", &want, || ppp::v1(black_box(bytes)), ppp::v1_answer);
    cell(group, "proxy-header", &want, || header::any(black_box(bytes)), header::answer);
    cell(group, "proxy-protocol", &want, || protocol::any(black_box(bytes)), protocol::answer);
    cell(group, "haproxy-protocol", &want, || haproxy::v1(black_box(bytes)), haproxy::v1_answer);
    cell(group, "proxy-protocol-codec", &want, || codec::v1(black_box(bytes)), codec::v1_answer);
    cell(group, "proxyproto", &want, || proto::v1(black_box(bytes)), proto::v1_answer);
    cell(group, "proxy-protocol-rs", &want, || rs::any(black_box(bytes)), rs::answer);
    cell(group, "haprox-rs", &want, || haprox::v1(black_box(bytes)), haprox::v1_answer);
}

fn v1_dribbled(criterion: &mut Criterion, input: &Input) {
    let (bytes, want) = (input.bytes, input.answer());
    let group = &mut criterion.benchmark_group(format!("{} one byte at a time", input.name));
    cell(group, "ppcore", &want, || ours::decode_dribbled(black_box(bytes)), ppcore);
    cell(group, "proxy-header", &want, || Some(dribble(bytes, header::any)), header::answer);
    cell(
        group,
        "haproxy-protocol",
        &want,
        || Some(dribble(bytes, haproxy::v1)),
        haproxy::v1_answer,
    );
    cell(group, "proxyproto", &want, || Some(dribble(bytes, proto::v1)), proto::v1_answer);
    cell(group, "proxy-protocol-rs", &want, || Some(dribble(bytes, rs::any)), rs::answer);
}

fn v2(criterion: &mut Criterion, input: &Input) {
    let (bytes, want) = (input.bytes, input.answer());
    let group = &mut criterion.benchmark_group(input.name);
    cell(group, "ppcore", &want, || ours::decode(black_box(bytes)), ppcore);
    cell(group, "ppp", &want, || ppp::v2(black_box(bytes)), ppp::v2_answer);
    cell(group, "proxy-header", &want, || header::any(black_box(bytes)), header::answer);
    cell(group, "proxy-protocol", &want, || protocol::any(black_box(bytes)), protocol::answer);
    cell(group, "haproxy-protocol", &want, || haproxy::v2(black_box(bytes)), haproxy::v2_answer);
    cell(group, "proxy-protocol-codec", &want, || codec::v2(black_box(bytes)), codec::v2_answer);
    cell(group, "proxyproto", &want, || proto::v2(black_box(bytes)), proto::v2_answer);
    cell(group, "proxy-protocol-rs", &want, || rs::any(black_box(bytes)), rs::answer);
    cell(group, "haprox-rs", &want, || haprox::v2(black_box(bytes)), haprox::v2_answer);
}

mod ppp {
    use ppp::{v1, v2};

    use super::{Answer, SocketAddr};

    pub(crate) fn v1(bytes: &[u8]) -> v1::Header<'_> {
        v1::Header::try_from(bytes).expect("a header")
    }

    pub(crate) fn v1_answer(header: &v1::Header<'_>) -> Answer {
        match header.addresses {
            v1::Addresses::Tcp4(a) => (
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v1::Addresses::Tcp6(a) => (
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v1::Addresses::Unknown => panic!("no addresses"),
        }
    }

    pub(crate) fn v2(bytes: &[u8]) -> v2::Header<'_> {
        v2::Header::try_from(bytes).expect("a header")
    }

    pub(crate) fn v2_answer(header: &v2::Header<'_>) -> Answer {
        let pair = |source: SocketAddr, destination| (source, destination);
        match header.addresses {
            v2::Addresses::IPv4(a) => pair(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v2::Addresses::IPv6(a) => pair(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => panic!("no addresses"),
        }
    }
}

mod header {
    use proxy_header::{Error, ParseConfig, ProxyHeader};

    use super::Answer;

    pub(crate) fn any(bytes: &[u8]) -> Option<(ProxyHeader<'_>, usize)> {
        match ProxyHeader::parse(bytes, ParseConfig::default()) {
            Ok(parsed) => Some(parsed),
            Err(Error::BufferTooShort) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn answer(parsed: &Option<(ProxyHeader<'_>, usize)>) -> Answer {
        let (header, _) = parsed.as_ref().expect("a header");
        let addresses = header.proxied_address().expect("addresses");
        (addresses.source, addresses.destination)
    }
}

mod protocol {
    use proxy_protocol::{ProxyHeader, parse, version1, version2};

    use super::Answer;

    pub(crate) fn any(mut bytes: &[u8]) -> ProxyHeader {
        parse(&mut bytes).expect("a header")
    }

    pub(crate) fn answer(header: &ProxyHeader) -> Answer {
        match *header {
            ProxyHeader::Version1 { addresses } => match addresses {
                version1::ProxyAddresses::Ipv4 { source, destination } => {
                    (source.into(), destination.into())
                }
                version1::ProxyAddresses::Ipv6 { source, destination } => {
                    (source.into(), destination.into())
                }
                version1::ProxyAddresses::Unknown => panic!("no addresses"),
            },
            ProxyHeader::Version2 { addresses, .. } => match addresses {
                version2::ProxyAddresses::Ipv4 { source, destination } => {
                    (source.into(), destination.into())
                }
                version2::ProxyAddresses::Ipv6 { source, destination } => {
                    (source.into(), destination.into())
                }
                version2::ProxyAddresses::Unspec | version2::ProxyAddresses::Unix { .. } => {
                    panic!("no addresses")
                }
            },
            _ => panic!("a version from the future"),
        }
    }
}

mod haproxy {
    use haproxy_protocol::{Error, ProxyHdrV1, ProxyHdrV2, RemoteAddress};

    use super::Answer;

    pub(crate) fn v1(bytes: &[u8]) -> Option<(usize, ProxyHdrV1)> {
        match ProxyHdrV1::parse(bytes) {
            Ok(parsed) => Some(parsed),
            Err(Error::Incomplete { .. }) => None,
            Err(error @ (Error::Invalid | Error::UnableToComplete)) => panic!("{error:?}"),
        }
    }

    pub(crate) fn v1_answer(parsed: &Option<(usize, ProxyHdrV1)>) -> Answer {
        let (_, header) = parsed.as_ref().expect("a header");
        answer(header.clone().to_remote_addr())
    }

    pub(crate) fn v2(bytes: &[u8]) -> (usize, ProxyHdrV2) {
        ProxyHdrV2::parse(bytes).expect("a header")
    }

    pub(crate) fn v2_answer(parsed: &(usize, ProxyHdrV2)) -> Answer {
        answer(parsed.1.clone().to_remote_addr())
    }

    fn answer(addresses: RemoteAddress) -> Answer {
        match addresses {
            RemoteAddress::TcpV4 { src, dst } => (src.into(), dst.into()),
            RemoteAddress::TcpV6 { src, dst } => (src.into(), dst.into()),
            other @ (RemoteAddress::Local
            | RemoteAddress::Invalid
            | RemoteAddress::UdpV4 { .. }
            | RemoteAddress::UdpV6 { .. }) => panic!("{other:?}"),
        }
    }
}

mod codec {
    use proxy_protocol_codec::{v1, v2};

    use super::Answer;

    pub(crate) fn v1(bytes: &[u8]) -> v1::Decoded {
        v1::Header::decode(bytes).expect("a header")
    }

    pub(crate) fn v1_answer(decoded: &v1::Decoded) -> Answer {
        let v1::Decoded::Some(header) = decoded else { panic!("no header") };
        match header.address_pair() {
            v1::AddressPair::Inet { src_ip, dst_ip, src_port, dst_port } => {
                ((src_ip, src_port).into(), (dst_ip, dst_port).into())
            }
            v1::AddressPair::Inet6 { src_ip, dst_ip, src_port, dst_port } => {
                ((src_ip, src_port).into(), (dst_ip, dst_port).into())
            }
            v1::AddressPair::Unspecified => panic!("no addresses"),
        }
    }

    pub(crate) fn v2(bytes: &[u8]) -> v2::Decoded<'_> {
        v2::Header::decode(bytes).expect("a header")
    }

    pub(crate) fn v2_answer(decoded: &v2::Decoded<'_>) -> Answer {
        let v2::Decoded::Some(decoded) = decoded else { panic!("no header") };
        match *decoded.header.address_pair() {
            v2::AddressPair::Inet { src_ip, dst_ip, src_port, dst_port } => {
                ((src_ip, src_port).into(), (dst_ip, dst_port).into())
            }
            v2::AddressPair::Inet6 { src_ip, dst_ip, src_port, dst_port } => {
                ((src_ip, src_port).into(), (dst_ip, dst_port).into())
            }
            v2::AddressPair::Unspecified | v2::AddressPair::Unix { .. } => panic!("no addresses"),
        }
    }
}

mod proto {
    use proxyproto::{v1, v2};

    use super::{Answer, both};

    pub(crate) fn v1(bytes: &[u8]) -> Option<v1::Header> {
        match v1::Header::try_from_bytes(bytes) {
            Ok((_, header)) => Some(header),
            Err(error) if error.is_incomplete() => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) fn v1_answer(header: &Option<v1::Header>) -> Answer {
        let header = header.as_ref().expect("a header");
        both(header.source_addr(), header.destination_addr())
    }

    pub(crate) fn v2(bytes: &[u8]) -> v2::Header {
        v2::Header::try_from_bytes(bytes).expect("a header").1
    }

    pub(crate) fn v2_answer(header: &v2::Header) -> Answer {
        both(header.source_addr(), header.destination_addr())
    }
}

mod rs {
    use proxy_protocol_rs::{ParseError, ProxyInfo, parse};

    use super::{Answer, both};

    pub(crate) fn any(bytes: &[u8]) -> Option<(ProxyInfo, usize)> {
        match parse(bytes) {
            Ok(parsed) => Some(parsed),
            Err(ParseError::Incomplete) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn answer(parsed: &Option<(ProxyInfo, usize)>) -> Answer {
        let (info, _) = parsed.as_ref().expect("a header");
        both(info.source_inet(), info.destination_inet())
    }
}

mod haprox {
    use haprox_rs::{HapProtoV1, ProxyV1Parser, ProxyV2Addr, ProxyV2Parser};

    use super::Answer;

    pub(crate) fn v1(bytes: &[u8]) -> HapProtoV1 {
        ProxyV1Parser::try_from_slice(bytes, false).expect("a header")
    }

    pub(crate) fn v1_answer(header: &HapProtoV1) -> Answer {
        let addr =
            |ip: Option<_>, port: Option<_>| (ip.expect("an IP"), port.expect("a port")).into();
        (
            addr(header.get_src_addr(), header.get_src_port()),
            addr(header.get_dst_addr(), header.get_dst_port()),
        )
    }

    /// It reads the addresses when it is asked for them.
    pub(crate) fn v2(bytes: &[u8]) -> ProxyV2Addr {
        let header = ProxyV2Parser::try_from_slice(bytes).expect("a header");
        header.get_address().expect("good addresses").expect("addresses")
    }

    pub(crate) fn v2_answer(addresses: &ProxyV2Addr) -> Answer {
        let ProxyV2Addr::Ip { src, dst } = *addresses else { panic!("no addresses") };
        (src, dst)
    }
}

fn all(criterion: &mut Criterion) {
    v1(criterion, &input::V1_TCP4);
    v1(criterion, &input::V1_TCP6);
    v1_dribbled(criterion, &input::V1_TCP6);
    v2(criterion, &input::V2_TCP4);
    v2(criterion, &input::V2_TCP6);
}

criterion_group!(decoding, all);
criterion_main!(decoding);
