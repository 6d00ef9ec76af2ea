//! The header an upstream is sent: made of the one that came in, or of the socket's addresses.
//!
//! Pure: bytes and addresses in, bytes out. Rules from docs/protocol.md: LOCAL stays LOCAL, families
//! are never mixed, a checksum is never copied but computed anew.

use std::net::SocketAddr;

use ppcore::encode::{self, EncodeError, Encoder};
use ppcore::{Addresses, Command, Crc32cStatus, Header, Transport, tlv};

use crate::config::{ChecksumSent, Destination, SendHeader, TlvPass};

/// Where a client's connection comes from and goes to, as its socket sees it.
#[derive(Clone, Copy, Debug)]
pub struct SocketAddrs {
    /// The socket's peer.
    pub peer: SocketAddr,
    /// Our own address on it.
    pub local: SocketAddr,
}

/// Says whether [`compose`] needs our own address: asking the kernel for it costs a system call.
pub fn needs_local(send: &SendHeader, header: Option<&Header>) -> bool {
    let carried = header.and_then(carried).is_some();
    let is_local = header.is_some_and(|header| header.command() == Command::Local);
    match send {
        SendHeader::Off => false,
        SendHeader::V1 { destination } | SendHeader::V2 { destination, .. } => {
            !is_local && (!carried || *destination == Destination::Local)
        }
    }
}

/// Writes our header into `out` and returns its length; 0 if none is sent.
///
/// `received` is the header that came in, with its bytes.
///
/// # Errors
/// [`EncodeError::TooLong`] if the TLVs to be passed on do not fit a v2 header, and
/// [`EncodeError::BufferTooSmall`] if `out` is shorter than that.
pub fn compose(
    out: &mut [u8],
    send: &SendHeader,
    received: Option<(&Header, &[u8])>,
    socket: SocketAddrs,
) -> Result<usize, EncodeError> {
    let header = received.map(|(header, _)| header);
    let is_local = header.is_some_and(|header| header.command() == Command::Local);
    match send {
        SendHeader::Off => Ok(0),
        SendHeader::V1 { .. } if is_local => encode::v1(out, &Addresses::None),
        SendHeader::V1 { destination } => encode::v1(out, &addresses(header, *destination, socket)),
        SendHeader::V2 { destination, tlv_pass, crc32c } => {
            let mut encoder = if is_local {
                Encoder::local(out)
            } else {
                Encoder::stream(out, &addresses(header, *destination, socket))
            };
            let mut wants_crc = *crc32c == ChecksumSent::Always;
            if let Some((header, bytes)) = received {
                for tlv in header.tlvs(bytes).flatten() {
                    let is_passed = match tlv_pass {
                        TlvPass::All => true,
                        TlvPass::Types(types) => types.binary_search(&tlv.kind()).is_ok(),
                    };
                    if is_passed && tlv.kind() != tlv::CRC32C {
                        encoder = encoder.tlv(tlv.kind(), tlv.value());
                    }
                }
                wants_crc |= header.crc32c(bytes) != Crc32cStatus::Absent;
            }
            if wants_crc { encoder.crc32c().finish() } else { encoder.finish() }
        }
    }
}

/// What counts for the client's connection, which is one of TCP.
fn carried(header: &Header) -> Option<(SocketAddr, SocketAddr)> {
    header.addresses_for(Transport::Stream)
}

fn addresses(header: Option<&Header>, destination: Destination, socket: SocketAddrs) -> Addresses {
    match (header.and_then(carried), destination) {
        (Some((source, original)), Destination::Original) => Addresses::pair(source, original),
        (Some((source, _)), Destination::Local) => Addresses::pair(source, socket.local),
        (None, Destination::Original | Destination::Local) => {
            Addresses::pair(socket.peer, socket.local)
        }
    }
}

#[cfg(test)]
mod tests {
    use ppcore::{Decoded, Decoder, Options};

    use super::*;

    fn socket() -> SocketAddrs {
        SocketAddrs {
            peer: "127.0.0.1:5000".parse().unwrap(),
            local: "127.0.0.2:443".parse().unwrap(),
        }
    }

    fn decode(bytes: &[u8]) -> Header {
        match Decoder::new(Options::new()).decode(bytes) {
            Ok(Decoded::Header(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    fn v2(tlv_pass: TlvPass) -> SendHeader {
        SendHeader::V2 {
            destination: Destination::Original,
            tlv_pass,
            crc32c: ChecksumSent::WhenReceived,
        }
    }

    fn sent(send: &SendHeader, received: Option<&[u8]>) -> Vec<u8> {
        let header = received.map(decode);
        let mut out = vec![0; ppcore::V2_LEN_MAX];
        let len = compose(&mut out, send, header.as_ref().zip(received), socket()).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn without_carried_addresses_the_sockets_own_are_sent() {
        for received in [None, Some(&b"PROXY UNKNOWN\r\n"[..])] {
            let line = sent(&SendHeader::V1 { destination: Destination::Original }, received);
            assert_eq!(line, b"PROXY TCP4 127.0.0.1 127.0.0.2 5000 443\r\n");
        }
    }

    #[test]
    fn addresses_of_datagrams_are_not_those_of_the_connection() {
        let received =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a";
        let line = sent(&SendHeader::V1 { destination: Destination::Original }, Some(received));
        assert_eq!(line, b"PROXY TCP4 127.0.0.1 127.0.0.2 5000 443\r\n");
    }

    #[test]
    fn the_destination_is_the_original_or_our_own() {
        let received = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n";
        let original = sent(&SendHeader::V1 { destination: Destination::Original }, Some(received));
        assert_eq!(original, received);
        let local = sent(&SendHeader::V1 { destination: Destination::Local }, Some(received));
        assert_eq!(local, b"PROXY TCP4 1.2.3.4 127.0.0.2 9 443\r\n");
    }

    #[test]
    fn local_stays_local() {
        let mut local = [0; 16];
        Encoder::local(&mut local).finish().unwrap();
        assert_eq!(sent(&v2(TlvPass::All), Some(&local)), local);
        let v1 = SendHeader::V1 { destination: Destination::Original };
        assert_eq!(sent(&v1, Some(&local)), b"PROXY UNKNOWN\r\n");
        assert_eq!(sent(&SendHeader::Off, Some(&local)), b"");
    }

    #[test]
    fn tlvs_pass_byte_exact_and_the_checksum_is_made_anew() {
        let addresses =
            Addresses::pair("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let mut bytes = [0; 256];
        let len = Encoder::stream(&mut bytes, &addresses)
            .tlv(tlv::AWS, b"\x01vpce\0\xff")
            .crc32c()
            .tlv(tlv::NOOP, b"")
            .finish()
            .unwrap();
        let received = &bytes[..len];
        let all = sent(&v2(TlvPass::All), Some(received));
        let header = decode(&all);
        let kinds: Vec<u8> = header.tlvs(&all).map(|tlv| tlv.unwrap().kind()).collect();
        assert_eq!(kinds, [tlv::AWS, tlv::NOOP, tlv::CRC32C]);
        assert_eq!(header.crc32c(&all), Crc32cStatus::Valid);
        let one = sent(&v2(TlvPass::Types(vec![tlv::AWS])), Some(received));
        let kinds: Vec<u8> = decode(&one).tlvs(&one).map(|tlv| tlv.unwrap().kind()).collect();
        assert_eq!(kinds, [tlv::AWS, tlv::CRC32C]);
    }

    #[test]
    fn our_own_address_is_asked_for_only_where_it_is_sent() {
        let carried = decode(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n");
        assert!(!needs_local(&v2(TlvPass::All), Some(&carried)));
        assert!(needs_local(&v2(TlvPass::All), None));
        assert!(needs_local(&SendHeader::V1 { destination: Destination::Local }, Some(&carried)));
        assert!(!needs_local(&SendHeader::Off, None));
    }
}
