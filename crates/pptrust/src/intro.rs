//! How a connection begins: with a header, from pieces, or without one.
//!
//! Bytes are judged as they were received, the payload behind the header with them, and stay in the
//! caller's buffer: a header that comes whole is held by nobody else and costs no allocation. Only what
//! comes before the last piece is held here.
//! Invariant: what is held are the stream's first bytes; once a header has been found in pieces, its own
//! and no more.

use ppcore::{Decoded, Decoder, Error, Header, Options};

use crate::policy::{Admission, Policy, Refusal};
use crate::received::Received;

/// The header of a connection that is not complete.
///
/// ```
/// use pptrust::ppcore::Options;
/// use pptrust::{Found, Intro, Policy, Received};
///
/// let mut intro = Intro::new(Policy::Require, Options::new());
/// assert_eq!(intro.push(b"PROXY TCP4 203.0.113.7 192.0"), Ok(None));
/// assert_eq!(intro.held(), b"PROXY TCP4 203.0.113.7 192.0");
///
/// let piece = b".2.1 51820 443\r\nhello";
/// let Some(Found::Header { header, taken }) = intro.push(piece)? else { panic!() };
/// assert_eq!((header.source(), &piece[taken..]), ("203.0.113.7:51820".parse().ok(), &b"hello"[..]));
/// // For the moment, or for as long as it takes.
/// assert!(intro.bytes(piece).starts_with(b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n"));
/// let kept: Received = intro.keep(header, piece);
/// assert_eq!(kept.as_bytes().len(), header.len());
/// # Ok::<(), pptrust::Refusal>(())
/// ```
#[derive(Debug)]
pub struct Intro {
    policy: Policy,
    decoder: Decoder,
    held: Vec<u8>,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A header that counts.
    Header {
        /// What it says.
        header: Header,
        /// Bytes of the last piece that are the header's; the payload begins behind them.
        taken: usize,
    },
    /// None that counts: the payload is what is [`held`](Intro::held), and the last piece behind it.
    Plain {
        /// Bytes of the last piece that are not payload, but a header's that was taken off.
        taken: usize,
    },
}

impl Intro {
    /// Begins with nothing read. Only where the policy's [`admission`](Policy::admission) is to look for a
    /// header need anything be read for it: any other answer does not depend on what comes.
    pub const fn new(policy: Policy, options: Options) -> Self {
        Self { policy, decoder: Decoder::new(policy.options(options)), held: Vec::new() }
    }

    /// Takes the next piece of what was received; `None` as long as more is needed, and then the piece is
    /// held.
    ///
    /// # Errors
    /// When the header, or that there is none, is refused. That is final, as any other answer is.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<Found>, Refusal> {
        self.judge(piece, Decoder::decode)
    }

    /// The peer has sent its FIN. What may be a header or not is payload then, where it may.
    ///
    /// ```
    /// use pptrust::ppcore::Options;
    /// use pptrust::{Found, Intro, Policy};
    ///
    /// let mut intro = Intro::new(Policy::Use, Options::new());
    /// assert_eq!(intro.push(b"PRO"), Ok(None));
    /// assert_eq!(intro.finish(), Ok(Some(Found::Plain { taken: 0 })));
    /// assert_eq!(intro.held(), b"PRO");
    /// ```
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Option<Found>, Refusal> {
        self.judge(&[], Decoder::finish)
    }

    fn judge(
        &mut self,
        piece: &[u8],
        decide: fn(&mut Decoder, &[u8]) -> Result<Decoded, Error>,
    ) -> Result<Option<Found>, Refusal> {
        match self.policy.admission() {
            Admission::Header => {}
            Admission::Plain => return Ok(Some(Found::Plain { taken: 0 })),
            Admission::Denied => return Err(Refusal::Denied),
        }
        let before = self.held.len();
        if before > 0 {
            self.held.extend_from_slice(piece);
        }
        let received = if before > 0 { &self.held } else { piece };
        match decide(&mut self.decoder, received)? {
            Decoded::Need(_) => {
                if before == 0 {
                    self.held = piece.to_vec();
                }
                Ok(None)
            }
            Decoded::Absent => {
                self.held.truncate(before);
                Ok(Some(Found::Plain { taken: 0 }))
            }
            Decoded::Header(header) => {
                // What came before was all header.
                let taken = header.len().saturating_sub(before);
                self.held.truncate(header.len());
                Ok(Some(match self.policy.credit(header)? {
                    Some(header) => Found::Header { header, taken },
                    None => {
                        self.held = Vec::new();
                        Found::Plain { taken }
                    }
                }))
            }
        }
    }

    /// Returns what came before the last piece, or with it as long as more is needed; of a header that came
    /// in pieces all of it. It is empty for one that came whole.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Returns the stream's bytes from the first one on, whether they are held or all in the last piece: the
    /// header, of which TLVs are read, or what was refused.
    pub fn bytes<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        if self.held.is_empty() { piece } else { &self.held }
    }

    /// Keeps a header that was found, with its bytes, in one allocation of their size.
    pub fn keep(&mut self, header: Header, piece: &[u8]) -> Received {
        let bytes = match std::mem::take(&mut self.held) {
            none if none.is_empty() => piece.get(..header.len()).unwrap_or(piece).to_vec(),
            held => held,
        };
        Received::new(header, bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Greeting;

    const PAYLOAD: &[u8] = b"payload, and PROXY in it";

    fn headers() -> [Vec<u8>; 3] {
        let (source, destination) = ("1.2.3.4:5".parse().unwrap(), "5.6.7.8:9".parse().unwrap());
        [
            Greeting::v1(source, destination),
            Greeting::v2(source, destination).tlv(0xE0, vec![7; 300]).crc32c(),
            Greeting::local(),
        ]
        .map(|greeting| greeting.to_bytes().unwrap())
    }

    /// Pushes the pieces until the answer is there: the bytes of the header that counts, and the payload,
    /// in the pieces not pushed too.
    fn push_all(policy: Policy, pieces: &[&[u8]]) -> (Option<Vec<u8>>, Vec<u8>) {
        let mut intro = Intro::new(policy, Options::new());
        for (index, piece) in pieces.iter().enumerate() {
            let rest = pieces[index + 1..].concat();
            match intro.push(piece).unwrap() {
                None => {}
                Some(Found::Header { header, taken }) => {
                    let bytes = intro.bytes(piece)[..header.len()].to_vec();
                    assert!(intro.held().is_empty() || intro.held() == bytes);
                    assert_eq!(intro.keep(header, piece).as_bytes(), bytes);
                    return (Some(bytes), [&piece[taken..], &rest].concat());
                }
                Some(Found::Plain { taken }) => {
                    return (None, [intro.held(), &piece[taken..], &rest].concat());
                }
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
                    let (bytes, payload) = push_all(policy, &[&sent[..cut], &sent[cut..]]);
                    assert_eq!(payload, PAYLOAD, "cut at {cut}");
                    assert_eq!(bytes, (policy != Policy::Ignore).then(|| header.clone()));
                }
            }
        }
    }

    #[test]
    fn a_plain_stream_is_all_payload_whatever_its_cut() {
        for plain in [&b"PROXIES and more"[..], b"GET / HTTP/1.1\r\n", b"\r\n\r\n"] {
            for cut in 0..=plain.len() {
                let mut intro = Intro::new(Policy::Use, Options::new());
                let (first, rest) = plain.split_at(cut);
                let pushed = [(first, rest), (rest, &[])];
                let found = pushed.into_iter().find_map(|(piece, behind)| {
                    let found = intro.push(piece).unwrap()?;
                    assert_eq!(found, Found::Plain { taken: 0 });
                    Some([piece, behind].concat())
                });
                let payload = found.unwrap_or_else(|| {
                    assert_eq!(intro.finish(), Ok(Some(Found::Plain { taken: 0 })));
                    Vec::new()
                });
                assert_eq!([intro.held(), &payload].concat(), plain, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_header_that_comes_whole_is_held_by_nobody_else() {
        for header in headers() {
            let mut intro = Intro::new(Policy::Require, Options::new());
            let sent = [&header[..], PAYLOAD].concat();
            let found = intro.push(&sent).unwrap();
            assert!(matches!(found, Some(Found::Header { taken, .. }) if taken == header.len()));
            assert!(intro.held().is_empty() && intro.bytes(&sent).as_ptr() == sent.as_ptr());
        }
    }

    #[test]
    fn what_was_refused_can_be_shown_from_its_first_byte() {
        let mut intro = Intro::new(Policy::Require, Options::new());
        assert_eq!(intro.push(b"PROXY TCP"), Ok(None));
        let piece = b"5 and more";
        let refused = intro.push(piece);
        assert!(matches!(refused, Err(Refusal::Header(error)) if error.offset() == 9));
        assert_eq!(intro.bytes(piece), b"PROXY TCP5 and more");
    }

    #[test]
    fn a_header_is_refused_where_none_may_come_and_payload_where_none_is_looked_for() {
        for header in headers() {
            let push = |policy| Intro::new(policy, Options::new()).push(&header);
            assert_eq!(push(Policy::Reject), Err(Refusal::Forbidden));
            assert_eq!(push(Policy::Deny), Err(Refusal::Denied));
            assert_eq!(push(Policy::Skip), Ok(Some(Found::Plain { taken: 0 })));
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
            let (bytes, rest) = push_all(Policy::Require, &pieces);
            prop_assert_eq!(rest, payload);
            prop_assert_eq!(bytes.as_ref(), Some(header));
        }
    }
}
