//! What a check says first: the header that its endpoint is sent, as of a connection or a datagram of our own.
//!
//! Not what follows it. Invariant: a TLV that tells a client's connection is not said, for there is none.

use ppcore::encode::EncodeError;
use ppcore::tlv::TLV_HEADER_LEN;
use ppcore::{Decoded, Decoder, Header, Options, V1_LEN_MAX};
use pptrust::datagram::Datagram;
use pptrust::{Facts, Greeting, Outgoing, SocketAddrs, TlvValue};

use crate::config::{CheckHeader, Protocol};

/// The first bytes of a check.
#[derive(Debug)]
pub(super) enum Hello {
    /// The same each time: LOCAL, UNKNOWN, or nothing.
    Fixed(Vec<u8>),
    /// With the addresses of the check's own connection.
    Proxy(Outgoing),
    /// With those of its datagram.
    Datagram(Outgoing),
}

impl Hello {
    /// Of an endpoint that is sent this.
    pub(super) fn new(mut send: Outgoing, proxy: CheckHeader, protocol: Protocol) -> Self {
        if let Outgoing::V2 { tlv_set, .. } = &mut send {
            tlv_set.retain(|set| matches!(set.value, TlvValue::Bytes(_)));
        }
        match (proxy, protocol, &send) {
            (CheckHeader::Off, ..) => Self::Fixed(Vec::new()),
            // SPP has no LOCAL.
            (CheckHeader::Proxy, Protocol::Udp, _)
            | (CheckHeader::Auto, Protocol::Udp, Outgoing::Spp { .. }) => Self::Datagram(send),
            (CheckHeader::Auto, ..) => Self::Fixed(local(&send)),
            (CheckHeader::Proxy, Protocol::Tcp, _) => Self::Proxy(send),
        }
    }

    /// Returns what is said on a connection of ours with these addresses, or in front of a datagram.
    pub(super) fn bytes(&self, addrs: Option<SocketAddrs>) -> Vec<u8> {
        match self {
            Self::Fixed(bytes) => bytes.clone(),
            Self::Proxy(send) => compose(send, None, addrs),
            Self::Datagram(send) => addrs.map_or_else(Vec::new, |addrs| of_datagram(send, addrs)),
        }
    }

    /// Whether an answer begins with what its question began with.
    pub(super) const fn comes_back(&self) -> bool {
        matches!(self, Self::Datagram(Outgoing::Spp { .. }))
    }
}

/// Returns what is sent for one who speaks for himself.
fn local(send: &Outgoing) -> Vec<u8> {
    let bytes = Greeting::local().to_bytes().expect("it has no TLV");
    let decoded = Decoder::new(Options::new()).decode(&bytes);
    let Ok(Decoded::Header(header)) = decoded else { unreachable!("it is a header") };
    compose(send, Some((&header, &bytes)), None)
}

fn compose(
    send: &Outgoing,
    received: Option<(&Header, &[u8])>,
    addrs: Option<SocketAddrs>,
) -> Vec<u8> {
    filled(send, |bytes| send.compose(bytes, received, addrs, Facts::default()))
}

fn of_datagram(send: &Outgoing, SocketAddrs { peer, local }: SocketAddrs) -> Vec<u8> {
    let datagram = Datagram::continuing(peer, None, false, &[]);
    filled(send, |bytes| send.compose_datagram(bytes, &datagram, local, Facts::default()))
}

/// Returns the header that is written into room for it.
fn filled(send: &Outgoing, write: impl FnOnce(&mut [u8]) -> Result<usize, EncodeError>) -> Vec<u8> {
    let tlvs = match send {
        Outgoing::Off | Outgoing::V1 { .. } | Outgoing::Spp { .. } => 0,
        Outgoing::V2 { tlv_set, .. } => tlv_set
            .iter()
            .map(|set| match &set.value {
                TlvValue::Bytes(bytes) => TLV_HEADER_LEN + bytes.len(),
                TlvValue::From(_) => 0,
            })
            .sum(),
    };
    // The longest line; of a block that much is addresses and a checksum.
    let mut bytes = vec![0; V1_LEN_MAX + tlvs];
    let len = write(&mut bytes).expect("what is set fits a header");
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use pptrust::{ChecksumSent, Destination, TlvPass, TlvSet, TlvSource};

    use super::*;

    fn v2(tlv_set: Vec<TlvSet>, crc32c: ChecksumSent) -> Outgoing {
        let (destination, tlv_pass) = (Destination::Original, TlvPass::All);
        Outgoing::V2 { destination, tlv_pass, tlv_set, crc32c }
    }

    fn fixed(send: Outgoing, proxy: CheckHeader) -> Vec<u8> {
        let Hello::Fixed(bytes) = Hello::new(send, proxy, Protocol::Tcp) else {
            panic!("it is always the same")
        };
        bytes
    }

    #[test]
    fn a_check_speaks_for_itself_in_the_version_that_is_sent() {
        let v1 = || Outgoing::V1 { destination: Destination::Local };
        let local = Greeting::local().to_bytes().unwrap();
        assert_eq!(fixed(v2(Vec::new(), ChecksumSent::WhenReceived), CheckHeader::Auto), local);
        assert_eq!(fixed(v1(), CheckHeader::Auto), b"PROXY UNKNOWN\r\n");
        assert_eq!(fixed(Outgoing::Off, CheckHeader::Auto), b"");
        assert_eq!(fixed(v1(), CheckHeader::Off), b"");
    }

    #[test]
    fn what_is_set_and_the_checksum_are_sent_and_nobodys_id_is_not() {
        let set = vec![
            TlvSet { kind: 0x05, value: TlvValue::From(TlvSource::Id) },
            TlvSet { kind: 0xE1, value: TlvValue::Bytes(b"edge-1".to_vec()) },
        ];
        let expected = Greeting::local().tlv(0xE1, b"edge-1").crc32c().to_bytes().unwrap();
        assert_eq!(fixed(v2(set, ChecksumSent::Always), CheckHeader::Auto), expected);
        // As long as there is.
        let value = TlvValue::Bytes(vec![0; 65_535 - 36 - 7 - 3]);
        let long = v2(vec![TlvSet { kind: 0xE1, value }], ChecksumSent::Always);
        assert_eq!(fixed(long, CheckHeader::Auto).len(), 16 + 65_535 - 36);
    }

    #[test]
    fn a_proxy_header_has_the_addresses_of_the_checks_own_connection() {
        let [own, theirs] = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
        let addrs = Some(SocketAddrs { peer: own, local: theirs });
        let v1 = Outgoing::V1 { destination: Destination::Local };
        for (send, expected) in [
            (v1, Greeting::v1(own, theirs)),
            (v2(Vec::new(), ChecksumSent::WhenReceived), Greeting::v2(own, theirs)),
        ] {
            let hello = Hello::new(send, CheckHeader::Proxy, Protocol::Tcp);
            assert_eq!(hello.bytes(addrs), expected.to_bytes().unwrap());
        }
        let none = Hello::new(Outgoing::Off, CheckHeader::Proxy, Protocol::Tcp);
        assert_eq!(none.bytes(addrs), b"");
    }

    #[test]
    fn in_front_of_a_datagram_is_local_or_the_addresses_of_its_socket() {
        let [own, theirs] = ["127.0.0.1:1", "127.0.0.1:2"].map(|addr| addr.parse().unwrap());
        let addrs = Some(SocketAddrs { peer: own, local: theirs });
        let of = |send, proxy| Hello::new(send, proxy, Protocol::Udp);
        let v2 = || v2(Vec::new(), ChecksumSent::WhenReceived);
        let local = Greeting::local().to_bytes().unwrap();
        assert_eq!(of(v2(), CheckHeader::Auto).bytes(addrs), local);
        let mut proxy = Greeting::v2(own, theirs).to_bytes().unwrap();
        proxy[13] = 0x12;
        assert_eq!(of(v2(), CheckHeader::Proxy).bytes(addrs), proxy);
        let mut spp = [0; ppcore::spp::LEN];
        ppcore::spp::encode(&mut spp, &ppcore::Addresses::pair(own, theirs)).unwrap();
        for proxy in [CheckHeader::Auto, CheckHeader::Proxy] {
            let hello = of(Outgoing::Spp { destination: Destination::Original }, proxy);
            assert_eq!(hello.bytes(addrs), spp);
            assert!(hello.comes_back());
        }
        let off = of(Outgoing::Spp { destination: Destination::Original }, CheckHeader::Off);
        assert_eq!(off.bytes(addrs), b"");
        assert!(!off.comes_back() && !of(v2(), CheckHeader::Proxy).comes_back());
    }
}
