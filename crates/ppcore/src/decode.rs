//! The only way in: bytes received so far -> a header, a refusal, or how much is missing.
//!
//! Not a reader: the caller owns the buffer and the socket. The first byte tells the versions apart;
//! [`v1`](crate::v1) and [`v2`](crate::v2) do the rest. Invariant: the answer to a stream does not
//! depend on how it was cut.

use crate::v1::{self, Line};
use crate::v2::{self, Block};
use crate::{Error, ErrorKind, Header, V2_FIXED_LEN, Version};

/// Which wire formats a decoder takes (spec 2: a receiver of v2 should take v1 too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Versions {
    /// v1 and v2.
    Both,
    /// v1 only.
    V1,
    /// v2 only.
    V2,
}

/// Which addresses a v1 line may hold (spec 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum V1Families {
    /// Two of the announced family (the rule).
    Strict,
    /// Also a destination of the other one, which the announced family does not tell, as nginx's stream module
    /// writes where `set_real_ip_from` has changed the client. The IPv4 address of such a pair is taken as a
    /// v4-mapped one.
    Mixed,
}

/// What to do with a CRC32C TLV (spec 2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crc32cPolicy {
    /// Refuse one that does not match, is not 4 bytes long, or stands there twice.
    Verify,
    /// Treat it as any TLV.
    Ignore,
    /// As [`Verify`](Self::Verify), and refuse a v2 header without one, of either command. A v1 line has none to
    /// require: [`Versions`] leaves it out.
    Require,
}

/// What to do with TLVs that are framed badly, behind addresses that are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlvFraming {
    /// The header is good; the walk over its TLVs yields the error.
    Lazy,
    /// Refuse the header, at the first byte that makes it certain.
    Strict,
}

/// What to do with a v2 PROXY header of unspecified family or transport (spec 2.2: free).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unspec {
    /// Accept it, without addresses.
    Accept,
    /// Refuse it.
    Reject,
}

/// Whether a stream may go without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Presence {
    /// Every stream begins with a header (the rule: spec 2).
    Required,
    /// A stream may begin with its payload: the answer is then [`Decoded::Absent`]. Only for peers
    /// that are trusted: whoever can send payload can send a header.
    Optional,
}

/// What a decoder accepts.
///
/// ```
/// use ppcore::{Crc32cPolicy, Options, Presence, TlvFraming, Unspec, V1Families, Versions};
///
/// let strict = Options::new()
///     .versions(Versions::V2)
///     .v1_families(V1Families::Strict)
///     .v2_len_max(536 - 16)
///     .crc32c(Crc32cPolicy::Verify)
///     .tlv_framing(TlvFraming::Strict)
///     .unspec(Unspec::Reject)
///     .presence(Presence::Required);
/// assert_ne!(strict, Options::new());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    pub(crate) versions: Versions,
    pub(crate) v1_families: V1Families,
    pub(crate) v2_len_max: u16,
    pub(crate) crc32c: Crc32cPolicy,
    pub(crate) tlv_framing: TlvFraming,
    pub(crate) unspec: Unspec,
    pub(crate) presence: Presence,
}

impl Options {
    /// Both versions, required, v1 strict, any v2 length, checksums verified, TLV framing lazy, UNSPEC accepted.
    pub const fn new() -> Self {
        Self {
            versions: Versions::Both,
            v1_families: V1Families::Strict,
            v2_len_max: u16::MAX,
            crc32c: Crc32cPolicy::Verify,
            tlv_framing: TlvFraming::Lazy,
            unspec: Unspec::Accept,
            presence: Presence::Required,
        }
    }

    /// Sets the wire formats to take.
    #[must_use]
    pub const fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Sets which addresses a v1 line may hold.
    #[must_use]
    pub const fn v1_families(mut self, v1_families: V1Families) -> Self {
        self.v1_families = v1_families;
        self
    }

    /// Sets the largest v2 length field to take, in bytes: the whole header may be 16 bytes longer.
    #[must_use]
    pub const fn v2_len_max(mut self, v2_len_max: u16) -> Self {
        self.v2_len_max = v2_len_max;
        self
    }

    /// Sets what to do with a CRC32C TLV.
    #[must_use]
    pub const fn crc32c(mut self, crc32c: Crc32cPolicy) -> Self {
        self.crc32c = crc32c;
        self
    }

    /// Sets what to do with TLVs that are framed badly.
    #[must_use]
    pub const fn tlv_framing(mut self, tlv_framing: TlvFraming) -> Self {
        self.tlv_framing = tlv_framing;
        self
    }

    /// Sets what to do with a PROXY header of unspecified family or transport.
    #[must_use]
    pub const fn unspec(mut self, unspec: Unspec) -> Self {
        self.unspec = unspec;
        self
    }

    /// Sets whether a stream may go without a header.
    #[must_use]
    pub const fn presence(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }

    pub(crate) fn judges_tlvs(&self) -> bool {
        self.verifies() || self.tlv_framing == TlvFraming::Strict
    }

    pub(crate) fn verifies(&self) -> bool {
        self.crc32c != Crc32cPolicy::Ignore
    }

    fn takes_v1(&self) -> bool {
        self.versions != Versions::V2
    }

    fn takes_v2(&self) -> bool {
        self.versions != Versions::V1
    }

    /// Returns the length of the shortest header.
    fn len_min(&self) -> usize {
        if self.takes_v1() { v1::LEN_MIN } else { V2_FIXED_LEN }
    }

    /// Only a stream that never committed to a version may turn out to be payload.
    #[cold]
    pub(crate) fn not_proxy(&self, offset: usize) -> Result<Decoded, Error> {
        match self.presence {
            Presence::Required => Err(Error::new(ErrorKind::NotProxy, offset)),
            Presence::Optional => Ok(Decoded::Absent),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// A decoder's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "it may say that bytes are missing"]
pub enum Decoded {
    /// At least this many bytes of the header are missing, 1 or more. Reading just as many never takes
    /// a byte of the payload behind it. With [`Presence::Optional`] do not wait for all of them: what is
    /// there may be payload, and a peer that speaks plainly may have no more to say.
    Need(usize),
    /// The header. [`Header::len`] bytes belong to it.
    Header(Header),
    /// There is no header: all bytes are payload. Only with [`Presence::Optional`].
    Absent,
}

// With a tag of its own: found in a spare value of some field, it would cost every call.
#[derive(Clone, Debug)]
#[repr(u8)]
enum State {
    /// No byte has been seen.
    Start,
    V1(Line),
    V2(Block),
}

/// An incremental decoder of one stream's header.
///
/// Feed it all bytes received so far, each time there are more: it goes on where it stopped. A caller
/// whose buffer moves uses a [`Collector`](crate::Collector).
///
/// ```
/// use ppcore::{Decoded, Decoder, ErrorKind, Options, Version};
///
/// let received = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";
/// let mut decoder = Decoder::new(Options::new());
/// assert_eq!(decoder.decode(&received[..6])?, Decoded::Need(9));
/// assert_eq!(decoder.version(&received[..6]), Some(Version::V1));
/// // The stream ends here: what is missing will not come.
/// assert_eq!(decoder.clone().finish(&received[..6]).unwrap_err().kind(), ErrorKind::Truncated);
/// assert!(matches!(decoder.decode(received)?, Decoded::Header(_)));
/// # Ok::<(), ppcore::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    options: Options,
    state: State,
}

impl Decoder {
    /// Creates a decoder for a stream of which nothing has been read.
    pub const fn new(options: Options) -> Self {
        Self { options, state: State::Start }
    }

    /// Judges all bytes received so far: `received` begins with the stream's first byte, and what an
    /// earlier call has seen must not change. Once the answer is final, more bytes do not alter it.
    ///
    /// # Errors
    /// When no continuation makes the bytes a header that the options accept. The error is final.
    #[inline]
    pub fn decode(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        match &mut self.state {
            State::Start => self.start(received),
            State::V1(line) => line.resume(received),
            State::V2(block) if self.options.crc32c == Crc32cPolicy::Require => {
                block.resume_summed(received, &self.options)
            }
            State::V2(block) => block.resume(received, &self.options),
        }
    }

    #[inline(never)]
    fn start(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        match received.first() {
            Some(b'P') if self.options.takes_v1() => self.start_line(received),
            Some(b'\r') if self.options.takes_v2() => {
                self.state = State::V2(Block::new());
                self.decode(received)
            }
            Some(_) => self.options.not_proxy(0),
            None => Ok(Decoded::Need(self.options.len_min())),
        }
    }

    #[inline(never)]
    fn start_line(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        if let Some(header) = v1::whole(received) {
            return Ok(Decoded::Header(header));
        }
        let Some(line) = Line::open(received, &self.options) else {
            return v1::judge_opening(received, &self.options);
        };
        self.state = State::V1(line);
        self.decode(received)
    }

    /// Judges the bytes of a stream that has ended behind them.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); and [`ErrorKind::Empty`] if there are no bytes,
    /// [`ErrorKind::Truncated`] if the header is incomplete.
    pub fn finish(&mut self, received: &[u8]) -> Result<Decoded, Error> {
        match self.decode(received)? {
            Decoded::Need(_)
                if self.options.presence == Presence::Optional
                    && self.version(received).is_none() =>
            {
                Ok(Decoded::Absent)
            }
            Decoded::Need(_) if received.is_empty() => Err(Error::new(ErrorKind::Empty, 0)),
            Decoded::Need(_) => Err(Error::new(ErrorKind::Truncated, received.len())),
            decided @ (Decoded::Header(_) | Decoded::Absent) => Ok(decided),
        }
    }

    /// Returns the version the sender has committed to: known behind `PROXY` or the v2 signature.
    pub fn version(&self, received: &[u8]) -> Option<Version> {
        if self.options.takes_v1() && received.starts_with(v1::KEYWORD) {
            Some(Version::V1)
        } else if self.options.takes_v2() && received.starts_with(&v2::SIGNATURE) {
            Some(Version::V2)
        } else {
            None
        }
    }
}

/// Decodes the header of one UDP datagram: each stands alone, and none is ever incomplete (spec 2).
///
/// v1 is a protocol of TCP (spec 2.1); that datagrams should carry v2 alone is for the options to say.
///
/// ```
/// use ppcore::{Decoded, Options, decode_datagram};
///
/// let datagram = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xca\x6c\0\x35query";
/// let Decoded::Header(header) = decode_datagram(Options::new(), datagram)? else { panic!() };
/// assert_eq!(header.source(), Some("203.0.113.7:51820".parse().unwrap()));
/// assert_eq!(&datagram[header.len()..], b"query");
/// # Ok::<(), ppcore::Error>(())
/// ```
///
/// # Errors
/// As [`Decoder::decode`]; and [`ErrorKind::Truncated`] if the datagram ends inside the header, or holds
/// nothing.
pub fn decode_datagram(options: Options, datagram: &[u8]) -> Result<Decoded, Error> {
    let decided = Decoder::new(options).finish(datagram);
    // Nobody has closed anything.
    decided.map_err(|error| match error.kind() == ErrorKind::Empty {
        true => Error::new(ErrorKind::Truncated, 0),
        false => error,
    })
}
