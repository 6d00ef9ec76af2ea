//! What a client's ClientHello asks for, read from payload that goes on as it came.
//!
//! rustls reads it, without a provider of cryptography: nothing is answered, and TLS does not end here. Invariant: what
//! is none, breaks a rule or is longer than [`HELLO_BYTES_MAX`] asks for nothing.

#[cfg(test)]
mod written;

use rustls::server::Acceptor;

use crate::core::route;

/// Bytes of payload that are looked at: extensions of 16 KiB, which take two records, and what stands around them.
pub(super) const HELLO_BYTES_MAX: usize = 20 * 1024;
/// The type of a record that a ClientHello begins in (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;

/// A ClientHello, or what has come of one.
#[derive(Default)]
pub(super) struct Hello {
    /// Until it is judged.
    acceptor: Option<Acceptor>,
    /// Bytes that were read.
    read: usize,
    sni: Option<Box<str>>,
    alpn: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("sni", &self.sni).finish_non_exhaustive()
    }
}

impl Hello {
    /// Begins with nothing.
    pub(super) fn new() -> Self {
        Self { acceptor: Some(Acceptor::default()), ..Self::default() }
    }

    /// Goes on with all the payload so far, of which it knows the front.
    pub(super) fn push(&mut self, payload: &[u8]) -> Judged {
        let Some(acceptor) = &mut self.acceptor else { return Judged::Yes };
        let rest = payload.get(self.read..payload.len().min(HELLO_BYTES_MAX)).unwrap_or_default();
        self.read += rest.len();
        let is_tls = payload.first().is_none_or(|first| *first == HANDSHAKE);
        let asked = if is_tls { read(acceptor, rest) } else { Err(()) };
        if let Ok(Some((sni, alpn))) = asked {
            (self.sni, self.alpn, self.acceptor) = (sni, alpn, None);
        } else if asked.is_err() || self.read == HELLO_BYTES_MAX {
            self.acceptor = None;
        }
        match self.acceptor {
            Some(_) => Judged::NotYet,
            None => Judged::Yes,
        }
    }

    /// No more is read of it.
    pub(super) fn give_up(&mut self) {
        self.acceptor = None;
    }

    /// Returns what a route goes by.
    pub(super) fn asked(&self) -> route::Hello<'_> {
        route::Hello { sni: self.sni(), alpn: &self.alpn }
    }

    /// Returns the protocol that is offered first, which the client likes best.
    pub(super) fn first_protocol(&self) -> Option<&[u8]> {
        self.alpn.first().map(Vec::as_slice)
    }

    /// Returns the name that is asked for.
    pub(super) fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }
}

/// Returns what payload asks for that comes in pieces which end at these places, for tests/fuzz: the name, the
/// protocols, and how much of it was looked at.
#[cfg(fuzzing)]
pub fn asked(
    payload: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> (Option<String>, Vec<Vec<u8>>, usize) {
    let mut hello = Hello::new();
    ends.into_iter().find(|end| hello.push(&payload[..*end]) == Judged::Yes);
    hello.give_up();
    (hello.sni().map(str::to_owned), hello.alpn, hello.read)
}

/// Whether more is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    NotYet,
    Yes,
}

/// The name, and the protocols.
type Asked = (Option<Box<str>>, Vec<Vec<u8>>);

/// Reads more, and returns what is asked for once that is known.
fn read(acceptor: &mut Acceptor, mut bytes: &[u8]) -> Result<Option<Asked>, ()> {
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).map_err(drop)?;
        let accepted = acceptor.accept().map_err(drop)?;
        let Some(accepted) = accepted else { continue };
        let hello = accepted.client_hello();
        let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec);
        return Ok(Some((hello.server_name().map(Into::into), alpn.collect())));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::written::{
        PADDING, SERVER_NAME, SIGNATURE_ALGORITHMS, client_hello, extensions, hello, records,
    };
    use super::*;

    /// encrypted_client_hello (RFC 9849).
    const ECH: u16 = 0xFE0D;

    /// What is asked for by payload that comes in pieces of so many bytes, and how much of it was needed.
    fn asked(payload: &[u8], piece: usize) -> (Option<String>, Vec<String>, Option<usize>) {
        let mut hello = Hello::new();
        let ends = (1..=payload.len().div_ceil(piece)).map(|nth| (nth * piece).min(payload.len()));
        let needed = ends.into_iter().find(|end| hello.push(&payload[..*end]) == Judged::Yes);
        hello.give_up();
        let alpn = hello.alpn.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        (hello.sni().map(str::to_owned), alpn.collect(), needed)
    }

    #[test]
    fn a_hello_is_read_in_whatever_pieces_and_records_it_comes() {
        let message = client_hello(&extensions(Some("a.test"), &["h2", "http/1.1"]));
        for record in [1, 5, 100, 1 << 14] {
            let payload = records(&message, record);
            for piece in [1, 2, 7, payload.len()] {
                let (sni, alpn, needed) = asked(&payload, piece);
                assert_eq!((sni.as_deref(), needed), (Some("a.test"), Some(payload.len())));
                assert_eq!(alpn, ["h2", "http/1.1"], "{record} {piece}");
            }
        }
    }

    #[test]
    fn sixteen_kib_of_extensions_are_read_and_more_are_not() {
        let padded = |bytes| {
            let mut all = vec![(PADDING, vec![0; bytes])];
            all.extend(extensions(Some("a.test"), &[]));
            records(&client_hello(&all), 1 << 14)
        };
        assert_eq!(asked(&padded(16 << 10), 1400).0.as_deref(), Some("a.test"));
        let (sni, _, needed) = asked(&padded(40 << 10), 1400);
        assert_eq!(sni, None);
        assert!(needed.is_some_and(|needed| needed < HELLO_BYTES_MAX + 1400), "{needed:?}");
    }

    #[test]
    fn a_hello_without_a_name_asks_for_none_one_with_ech_for_the_outer_name_and_grease_for_nothing()
    {
        let without = records(&client_hello(&extensions(None, &["h2"])), 1 << 14);
        let (sni, alpn, needed) = asked(&without, 9);
        assert_eq!((sni, alpn, needed), (None, vec!["h2".to_owned()], Some(without.len())));
        // What is there to be ignored (RFC 8701) is, also as a protocol.
        let mut all = vec![(0x0A0A, vec![]), (0xFAFA, vec![0])];
        all.extend(extensions(Some("a.test"), &["\u{A}\u{A}", "h2"]));
        let greased = asked(&records(&client_hello(&all), 1 << 14), 7);
        assert_eq!((greased.0.as_deref(), greased.1.len()), (Some("a.test"), 2));
        let mut all = extensions(Some("outer.test"), &[]);
        all.push((ECH, [&[0, 0, 1, 0, 1, 5, 0, 0, 0, 64][..], &[9; 64]].concat()));
        let ech = records(&client_hello(&all), 1 << 14);
        assert_eq!(asked(&ech, 50).0.as_deref(), Some("outer.test"));
    }

    #[test]
    fn what_is_no_hello_is_judged_at_its_first_byte_and_a_broken_one_asks_for_nothing() {
        for (payload, needed) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], 1), (b"\x16\x02\x01", 5)] {
            let (sni, alpn, at) = asked(payload, 1);
            assert_eq!((sni, alpn), (None, Vec::new()));
            assert!(at.is_none_or(|at| at <= needed), "{at:?}");
        }
        // Not one without signatures, which rustls asks for.
        let mut all = extensions(Some("a.test"), &[]);
        all.retain(|(kind, _)| *kind != SIGNATURE_ALGORITHMS);
        let bare = records(&client_hello(&all), 1 << 14);
        assert_eq!(asked(&bare, 10), (None, Vec::new(), Some(bare.len())));
        let mut twice = extensions(Some("a.test"), &[]);
        twice.push((SERVER_NAME, vec![0, 0]));
        assert_eq!(asked(&records(&client_hello(&twice), 1 << 14), 10).0, None);
        // Garbage of every kind ends.
        let good = hello("a.test", &["h2"]);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                asked(&bad, 16);
            }
        }
    }
}
