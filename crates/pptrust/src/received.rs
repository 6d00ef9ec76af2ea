//! A header together with its bytes, so that TLVs and UNIX names outlive the connection's buffer.

use std::fmt;
use std::ops::Deref;

use ppcore::tlv::Tlvs;
use ppcore::{Header, UnixAddr};

/// A header as it was received. It dereferences to what it says, and holds the bytes it was said in.
///
/// ```
/// use pptrust::{Greeting, Received};
/// use pptrust::ppcore::{Options, tlv};
///
/// let sent = Greeting::v2("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?)
///     .tlv(tlv::AUTHORITY, b"example.org")
///     .to_bytes()?;
/// let header = Received::decode(Options::new(), &sent)?.expect("it is whole");
/// assert_eq!(header.source(), Some("203.0.113.7:51820".parse()?));
/// assert_eq!(header.tlv(tlv::AUTHORITY), Some(&b"example.org"[..]));
/// assert_eq!(header.as_bytes(), sent);
/// assert_eq!((header.tlvs().count(), header.unix()), (1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Received {
    header: Header,
    /// Exactly the header's bytes: they stay as long as the connection, without the room for its payload.
    bytes: Box<[u8]>,
}

impl Received {
    /// `bytes` are the header's, and no more.
    pub(crate) fn new(header: Header, bytes: Vec<u8>) -> Self {
        debug_assert_eq!(header.len(), bytes.len());
        Self { header, bytes: bytes.into_boxed_slice() }
    }

    /// Decodes the header that `bytes` begin with and keeps a copy of it; `None` if it is incomplete
    /// or absent.
    ///
    /// # Errors
    /// As [`ppcore::Decoder::decode`].
    pub fn decode(options: ppcore::Options, bytes: &[u8]) -> Result<Option<Self>, ppcore::Error> {
        match ppcore::Decoder::new(options).decode(bytes)? {
            ppcore::Decoded::Header(header) => {
                Ok(bytes.get(..header.len()).map(|own| Self::new(header, own.to_vec())))
            }
            ppcore::Decoded::Need(_) | ppcore::Decoded::Absent => Ok(None),
        }
    }

    /// Returns the bytes of the whole header: what to send to pass it on unchanged.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns an iterator over the TLVs; it yields nothing for v1.
    pub fn tlvs(&self) -> Tlvs<'_> {
        self.header.tlvs(&self.bytes)
    }

    /// Returns the value of the first TLV of this type.
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs().filter_map(Result::ok).find(|tlv| tlv.kind() == kind).map(|tlv| tlv.value())
    }

    /// Returns the UNIX names, source first, if the header carries any.
    pub fn unix(&self) -> Option<(UnixAddr<'_>, UnixAddr<'_>)> {
        self.header.unix(&self.bytes)
    }
}

impl Deref for Received {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}
