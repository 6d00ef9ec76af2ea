//! The other decoders, each called as its documentation shows.

use std::net::SocketAddr;

use crate::Verdict;

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) decode: fn(&[u8]) -> Verdict,
}

pub(crate) const ALL: &[Peer] = &[
    Peer { name: "haproxy-protocol", decode: haproxy },
    Peer { name: "ppp", decode: ppp },
    Peer { name: "proxy-header", decode: header },
    Peer { name: "proxy-protocol", decode: protocol },
    Peer { name: "proxy-protocol-codec", decode: codec },
    Peer { name: "proxy-protocol-rs", decode: rs },
    Peer { name: "proxyproto", decode: proto },
];

const REFUSED: Verdict = Verdict::Refused("");

fn is_v2(received: &[u8]) -> bool {
    received.first() == Some(&b'\r')
}

fn found<A: Into<SocketAddr>>(len: Option<usize>, pair: Option<(A, A)>) -> Verdict {
    let (source, destination) =
        pair.map(|(source, destination)| (source.into(), destination.into())).unzip();
    Verdict::Header { len, source, destination }
}

fn ppp(received: &[u8]) -> Verdict {
    use ppp::{HeaderResult, PartialResult, v1, v2};

    let result = HeaderResult::parse(received);
    if result.is_incomplete() {
        return Verdict::Incomplete;
    }
    match result {
        HeaderResult::V1(Ok(header)) => {
            let len = Some(header.header.len());
            match header.addresses {
                v1::Addresses::Tcp4(a) => found(
                    len,
                    Some((
                        (a.source_address, a.source_port),
                        (a.destination_address, a.destination_port),
                    )),
                ),
                v1::Addresses::Tcp6(a) => found(
                    len,
                    Some((
                        (a.source_address, a.source_port),
                        (a.destination_address, a.destination_port),
                    )),
                ),
                v1::Addresses::Unknown => found::<SocketAddr>(len, None),
            }
        }
        HeaderResult::V2(Ok(header)) => {
            let len = Some(header.len());
            match header.addresses {
                v2::Addresses::IPv4(a) => found(
                    len,
                    Some((
                        (a.source_address, a.source_port),
                        (a.destination_address, a.destination_port),
                    )),
                ),
                v2::Addresses::IPv6(a) => found(
                    len,
                    Some((
                        (a.source_address, a.source_port),
                        (a.destination_address, a.destination_port),
                    )),
                ),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => {
                    found::<SocketAddr>(len, None)
                }
            }
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => REFUSED,
    }
}

fn header(received: &[u8]) -> Verdict {
    use proxy_header::{Error, ParseConfig, ProxyHeader};

    match ProxyHeader::parse(received, ParseConfig::default()) {
        Ok((header, len)) => {
            let addresses = header.proxied_address();
            found(Some(len), addresses.map(|both| (both.source, both.destination)))
        }
        Err(Error::BufferTooShort) => Verdict::Incomplete,
        Err(_) => REFUSED,
    }
}

fn protocol(received: &[u8]) -> Verdict {
    use proxy_protocol::{ProxyHeader, parse, version1, version2};

    let mut rest = received;
    let Ok(header) = parse(&mut rest) else { return REFUSED };
    let len = Some(received.len() - rest.len());
    match header {
        ProxyHeader::Version1 { addresses } => match addresses {
            version1::ProxyAddresses::Ipv4 { source, destination } => {
                found(len, Some((source, destination)))
            }
            version1::ProxyAddresses::Ipv6 { source, destination } => {
                found(len, Some((source, destination)))
            }
            version1::ProxyAddresses::Unknown => found::<SocketAddr>(len, None),
        },
        ProxyHeader::Version2 { addresses, .. } => match addresses {
            version2::ProxyAddresses::Ipv4 { source, destination } => {
                found(len, Some((source, destination)))
            }
            version2::ProxyAddresses::Ipv6 { source, destination } => {
                found(len, Some((source, destination)))
            }
            version2::ProxyAddresses::Unspec | version2::ProxyAddresses::Unix { .. } => {
                found::<SocketAddr>(len, None)
            }
        },
        _ => unreachable!("a version from the future"),
    }
}

fn haproxy(received: &[u8]) -> Verdict {
    use haproxy_protocol::{Error, ProxyHdrV1, ProxyHdrV2, RemoteAddress};

    let parsed = if is_v2(received) {
        ProxyHdrV2::parse(received).map(|(len, header)| (len, header.to_remote_addr()))
    } else {
        ProxyHdrV1::parse(received).map(|(len, header)| (len, header.to_remote_addr()))
    };
    let (len, addresses) = match parsed {
        Ok((len, addresses)) => (Some(len), addresses),
        Err(Error::Incomplete { .. }) => return Verdict::Incomplete,
        Err(Error::Invalid | Error::UnableToComplete) => return REFUSED,
    };
    match addresses {
        RemoteAddress::TcpV4 { src, dst } | RemoteAddress::UdpV4 { src, dst } => {
            found(len, Some((src, dst)))
        }
        RemoteAddress::TcpV6 { src, dst } | RemoteAddress::UdpV6 { src, dst } => {
            found(len, Some((src, dst)))
        }
        RemoteAddress::Local | RemoteAddress::Invalid => found::<SocketAddr>(len, None),
    }
}

fn codec(received: &[u8]) -> Verdict {
    use proxy_protocol_codec::{v1, v2};

    if is_v2(received) {
        return match v2::Header::decode(received) {
            Ok(v2::Decoded::Some(decoded)) => match *decoded.header.address_pair() {
                v2::AddressPair::Inet { src_ip, dst_ip, src_port, dst_port } => {
                    found(None, Some(((src_ip, src_port), (dst_ip, dst_port))))
                }
                v2::AddressPair::Inet6 { src_ip, dst_ip, src_port, dst_port } => {
                    found(None, Some(((src_ip, src_port), (dst_ip, dst_port))))
                }
                v2::AddressPair::Unspecified | v2::AddressPair::Unix { .. } => {
                    found::<SocketAddr>(None, None)
                }
            },
            Ok(v2::Decoded::Partial(_)) => Verdict::Incomplete,
            Ok(v2::Decoded::None) | Err(_) => REFUSED,
        };
    }
    match v1::Header::decode(received) {
        Ok(v1::Decoded::Some(header)) => match header.address_pair() {
            v1::AddressPair::Inet { src_ip, dst_ip, src_port, dst_port } => {
                found(None, Some(((src_ip, src_port), (dst_ip, dst_port))))
            }
            v1::AddressPair::Inet6 { src_ip, dst_ip, src_port, dst_port } => {
                found(None, Some(((src_ip, src_port), (dst_ip, dst_port))))
            }
            v1::AddressPair::Unspecified => found::<SocketAddr>(None, None),
        },
        Ok(v1::Decoded::Partial) => Verdict::Incomplete,
        Ok(v1::Decoded::None) | Err(_) => REFUSED,
    }
}

fn proto(received: &[u8]) -> Verdict {
    use proxyproto::{v1, v2};

    let pair = |source: Option<SocketAddr>, destination: Option<SocketAddr>, rest: &[u8]| {
        Verdict::Header { len: Some(received.len() - rest.len()), source, destination }
    };
    if is_v2(received) {
        return match v2::Header::try_from_bytes(received) {
            Ok((rest, header)) => pair(header.source_addr(), header.destination_addr(), rest),
            Err(_) => REFUSED,
        };
    }
    match v1::Header::try_from_bytes(received) {
        Ok((rest, header)) => pair(header.source_addr(), header.destination_addr(), rest),
        Err(error) if error.is_incomplete() => Verdict::Incomplete,
        Err(_) => REFUSED,
    }
}

fn rs(received: &[u8]) -> Verdict {
    use proxy_protocol_rs::{ParseError, parse};

    match parse(received) {
        Ok((info, len)) => Verdict::Header {
            len: Some(len),
            source: info.source_inet(),
            destination: info.destination_inet(),
        },
        Err(ParseError::Incomplete) => Verdict::Incomplete,
        Err(_) => REFUSED,
    }
}
