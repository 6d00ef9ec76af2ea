//! One connection's header, from the bytes read so far; no socket and no clock.
//!
//! Bytes are taken in bulk, the payload behind the header with them, and what is not the header's is
//! handed back as [`Opening::leftover`]. Invariant: header and leftover, in this order, are the bytes
//! pushed.

use std::net::SocketAddr;

use ppcore::{Decoded, Decoder};

use super::{Config, Refused};
use crate::{Policy, Received};

/// Bytes asked for in one read: a header with its TLVs and a first request or a TLS hello with it.
pub(crate) const READ_LEN: usize = 4096;

/// A connection whose header is not complete.
#[derive(Debug)]
pub(crate) struct Handshake {
    policy: Policy,
    decoder: Decoder,
    received: Vec<u8>,
}

/// How a connection begins.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// The header that counts.
    pub(crate) header: Option<Received>,
    /// Payload that was read with it.
    pub(crate) leftover: Vec<u8>,
}

impl Handshake {
    /// Begins with nothing read; `None` if there is nothing to read either, and the connection stands.
    pub(crate) fn begin(config: &Config, peer: SocketAddr) -> Result<Option<Self>, Refused> {
        let policy = config.policy(peer);
        match policy {
            Policy::Deny => Err(Refused::Denied),
            Policy::Skip => Ok(None),
            Policy::Require | Policy::Use | Policy::Ignore | Policy::Reject => {
                let decoder = Decoder::new(config.options_for(policy));
                Ok(Some(Self { policy, decoder, received: Vec::new() }))
            }
        }
    }

    /// Takes what was read; `None` as long as more is needed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<Opening>, Refused> {
        self.received.extend_from_slice(bytes);
        let decoded = self.decoder.decode(&self.received)?;
        self.judge(decoded)
    }

    /// The peer has sent its FIN.
    pub(crate) fn end(&mut self) -> Result<Option<Opening>, Refused> {
        let decoded = self.decoder.finish(&self.received)?;
        self.judge(decoded)
    }

    fn judge(&mut self, decoded: Decoded) -> Result<Option<Opening>, Refused> {
        let header = match decoded {
            Decoded::Need(_) => return Ok(None),
            Decoded::Absent => None,
            Decoded::Header(_) if self.policy == Policy::Reject => return Err(Refused::Forbidden),
            Decoded::Header(header) => Some(header),
        };
        let mut received = std::mem::take(&mut self.received);
        let leftover = received.split_off(header.map_or(0, |header| header.len()));
        let header = header.filter(|_| self.policy != Policy::Ignore);
        let header = header.map(|header| Received::new(header, received));
        Ok(Some(Opening { header, leftover }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Greeting, Trust};

    const PAYLOAD: &[u8] = b"payload, and PROXY in it";

    fn begin(policy: Policy) -> Handshake {
        let config = Config::new(Trust::by(move |_| policy));
        let peer = "10.0.0.1:1".parse().unwrap();
        Handshake::begin(&config, peer).unwrap().unwrap()
    }

    fn headers() -> [Vec<u8>; 3] {
        let (source, destination) = ("1.2.3.4:5".parse().unwrap(), "5.6.7.8:9".parse().unwrap());
        [
            Greeting::v1(source, destination),
            Greeting::v2(source, destination).tlv(0xE0, vec![7; 300]).crc32c(),
            Greeting::local(),
        ]
        .map(|greeting| greeting.to_bytes().unwrap())
    }

    /// Pushes the pieces until the answer is there: it, and the bytes of the pieces not pushed.
    fn push_all(policy: Policy, pieces: &[&[u8]]) -> (Opening, Vec<u8>) {
        let mut handshake = begin(policy);
        for (index, piece) in pieces.iter().enumerate() {
            if let Some(opening) = handshake.push(piece).unwrap() {
                return (opening, pieces[index + 1..].concat());
            }
        }
        panic!("no answer to {pieces:?}");
    }

    #[test]
    fn every_cut_in_two_gives_the_same_header_and_payload() {
        for header in headers() {
            let sent = [&header[..], PAYLOAD].concat();
            for cut in 0..=sent.len() {
                for policy in [Policy::Require, Policy::Use, Policy::Ignore] {
                    let (opening, rest) = push_all(policy, &[&sent[..cut], &sent[cut..]]);
                    assert_eq!([opening.leftover, rest].concat(), PAYLOAD, "cut at {cut}");
                    let bytes = opening.header.map(|header| header.as_bytes().to_vec());
                    assert_eq!(bytes, (policy != Policy::Ignore).then(|| header.clone()));
                }
            }
        }
    }

    #[test]
    fn a_plain_stream_is_all_leftover_whatever_its_cut() {
        for plain in [&b"PROXIES and more"[..], b"GET / HTTP/1.1\r\n", b"\r\n\r\n"] {
            for cut in 0..=plain.len() {
                let mut handshake = begin(Policy::Use);
                let mut opening = handshake.push(&plain[..cut]).unwrap();
                let mut rest = &plain[cut..];
                if opening.is_none() {
                    opening = handshake.push(rest).unwrap();
                    rest = &[];
                }
                let opening = opening.or_else(|| handshake.end().unwrap()).unwrap();
                assert!(opening.header.is_none());
                assert_eq!([&opening.leftover[..], rest].concat(), plain, "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_payload(
            which in 0..3usize,
            payload in prop::collection::vec(any::<u8>(), 0..64),
            mut cuts in prop::collection::vec(0..480usize, 0..12),
        ) {
            let header = &headers()[which];
            let sent = [&header[..], &payload[..]].concat();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for to in cuts.into_iter().map(|cut| cut.min(sent.len())).chain([sent.len()]) {
                pieces.push(&sent[from..to]);
                from = to;
            }
            let (opening, rest) = push_all(Policy::Require, &pieces);
            prop_assert_eq!([opening.leftover, rest].concat(), payload);
            let bytes = opening.header.map(|header| header.as_bytes().to_vec());
            prop_assert_eq!(bytes.as_ref(), Some(header));
        }
    }
}
