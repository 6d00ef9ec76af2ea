//! What a check says first: the header that its endpoint is sent, as of a connection of our own.
//!
//! Not what follows it. Invariant: a TLV that tells a client's connection is not said, for there is none.

use ppcore::tlv::TLV_HEADER_LEN;
use ppcore::{Decoded, Decoder, Header, Options, V1_LEN_MAX};
use pptrust::{Facts, Greeting, Outgoing, SocketAddrs, TlvValue};

use crate::config::CheckHeader;

/// The first bytes of a check.
#[derive(Debug)]
pub(super) enum Hello {
    /// The same each time: LOCAL, UNKNOWN, or nothing.
    Fixed(Vec<u8>),
    /// With the addresses of the check's own connection.
    Proxy(Outgoing),
}

impl Hello {
    /// Of an endpoint that is sent this.
    pub(super) fn new(mut send: Outgoing, proxy: CheckHeader) -> Self {
        if let Outgoing::V2 { tlv_set, .. } = &mut send {
            tlv_set.retain(|set| matches!(set.value, TlvValue::Bytes(_)));
        }
        match proxy {
            CheckHeader::Off => Self::Fixed(Vec::new()),
            CheckHeader::Auto => Self::Fixed(local(&send)),
            CheckHeader::Proxy => Self::Proxy(send),
        }
    }

    /// Returns what is said on a connection of ours with these addresses.
    pub(super) fn bytes(&self, addrs: Option<SocketAddrs>) -> Vec<u8> {
        match self {
            Self::Fixed(bytes) => bytes.clone(),
            Self::Proxy(send) => compose(send, None, addrs),
        }
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
    let len = send
        .compose(&mut bytes, received, addrs, Facts::default())
        .expect("what is set fits a header");
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
        let Hello::Fixed(bytes) = Hello::new(send, proxy) else { panic!("it is always the same") };
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
            let hello = Hello::new(send, CheckHeader::Proxy);
            assert_eq!(hello.bytes(addrs), expected.to_bytes().unwrap());
        }
        let none = Hello::new(Outgoing::Off, CheckHeader::Proxy);
        assert_eq!(none.bytes(addrs), b"");
    }
}
