//! The extensions behind a v2 header's addresses: a lazy walk and typed views (spec 2.2).
//!
//! The walk yields what is framed well and stops at the first break; it judges no value. A [`View`]
//! judges one value. Text stays bytes until it is asked for, so a sender's bad UTF-8 costs nobody a
//! connection. Invariant: every [`Tlv::value`] lies inside the header.
//!
//! ```
//! use ppcore::encode::Encoder;
//! use ppcore::tlv::{self, Ssl, Tlv, Tlvs, ValueError, View};
//! use ppcore::{Decoded, Decoder, Options};
//!
//! let mut bytes = [0; 64];
//! let inner: &[(u8, &[u8])] = &[(tlv::SSL_VERSION, b"TLSv1.3")];
//! let encoder = Encoder::local(&mut bytes).tlv(tlv::AUTHORITY, b"\xff").ssl(tlv::CLIENT_SSL, 1, inner);
//! let len = encoder.finish()?;
//! let Decoded::Header(header) = Decoder::new(Options::new()).decode(&bytes[..len])? else { panic!() };
//!
//! let mut tlvs: Tlvs = header.tlvs(&bytes);
//! let authority: Tlv = tlvs.next().expect("the first")?;
//! assert_eq!((tlv::name(authority.kind()), authority.value()), ("AUTHORITY", &b"\xff"[..]));
//! assert_eq!((authority.offset(), authority.value_offset()), (16, 19));
//! // A host name that is not UTF-8 costs nobody the connection.
//! assert_eq!(authority.view(), Err(ValueError::Text));
//!
//! let View::Ssl(ssl) = tlvs.next().expect("the second")?.view()? else { panic!() };
//! let ssl: Ssl = ssl;
//! assert!(ssl.is_tls() && !ssl.is_verified());
//! assert_eq!((ssl.client(), ssl.verify()), (tlv::CLIENT_SSL, 1));
//! assert_eq!(ssl.text(tlv::SSL_VERSION)?, Some("TLSv1.3"));
//! assert_eq!((ssl.find(tlv::SSL_CN), ssl.tlvs().count()), (None, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::str;

use crate::{Error, ErrorKind};

/// The application protocol, as in TLS ALPN (spec 2.2.1).
pub const ALPN: u8 = 0x01;
/// The host name the client asked for, as in TLS SNI (spec 2.2.2).
pub const AUTHORITY: u8 = 0x02;
/// A checksum over the whole header (spec 2.2.3).
pub const CRC32C: u8 = 0x03;
/// Padding (spec 2.2.4).
pub const NOOP: u8 = 0x04;
/// An opaque id of the connection, at most 128 bytes (spec 2.2.5).
pub const UNIQUE_ID: u8 = 0x05;
/// What the sender knows of the client's TLS (spec 2.2.6).
pub const SSL: u8 = 0x20;
/// Inside SSL: the TLS version.
pub const SSL_VERSION: u8 = 0x21;
/// Inside SSL: the common name of the client's certificate.
pub const SSL_CN: u8 = 0x22;
/// Inside SSL: the cipher.
pub const SSL_CIPHER: u8 = 0x23;
/// Inside SSL: the algorithm that signed the sender's certificate.
pub const SSL_SIG_ALG: u8 = 0x24;
/// Inside SSL: the key algorithm of the sender's certificate.
pub const SSL_KEY_ALG: u8 = 0x25;
/// Inside SSL: the key exchange group.
pub const SSL_GROUP: u8 = 0x26;
/// Inside SSL: the signature scheme of the handshake.
pub const SSL_SIG_SCHEME: u8 = 0x27;
/// Inside SSL: the client's certificate, DER.
pub const SSL_CLIENT_CERT: u8 = 0x28;
/// The network namespace's name (spec 2.2.7).
pub const NETNS: u8 = 0x30;
/// Google Cloud: the Private Service Connect connection id, 8 bytes, big-endian; see [`View::Gcp`].
pub const GCP: u8 = 0xE0;
/// Amazon Web Services: behind a first byte of 1, the VPC endpoint id; see [`View::AwsVpcEndpoint`].
pub const AWS: u8 = 0xEA;
/// Microsoft Azure: behind a first byte of 1, the private endpoint's LINKID, 4 bytes, little-endian; see
/// [`View::AzureLinkId`].
pub const AZURE: u8 = 0xEE;

/// The longest UNIQUE_ID in bytes (spec 2.2.5).
pub const UNIQUE_ID_LEN_MAX: usize = 128;
/// The bytes a TLV takes in front of its value: type and length.
pub const TLV_HEADER_LEN: usize = 3;

/// In [`Ssl::client`]: the client connected over TLS.
pub const CLIENT_SSL: u8 = 0x01;
/// In [`Ssl::client`]: it gave a certificate over this connection.
pub const CLIENT_CERT_CONN: u8 = 0x02;
/// In [`Ssl::client`]: it gave a certificate in this TLS session.
pub const CLIENT_CERT_SESS: u8 = 0x04;

/// Returns the name of a type, top level or inside SSL; ranges have names too.
pub const fn name(kind: u8) -> &'static str {
    match kind {
        ALPN => "ALPN",
        AUTHORITY => "AUTHORITY",
        CRC32C => "CRC32C",
        NOOP => "NOOP",
        UNIQUE_ID => "UNIQUE_ID",
        SSL => "SSL",
        SSL_VERSION => "SSL_VERSION",
        SSL_CN => "SSL_CN",
        SSL_CIPHER => "SSL_CIPHER",
        SSL_SIG_ALG => "SSL_SIG_ALG",
        SSL_KEY_ALG => "SSL_KEY_ALG",
        SSL_GROUP => "SSL_GROUP",
        SSL_SIG_SCHEME => "SSL_SIG_SCHEME",
        SSL_CLIENT_CERT => "SSL_CLIENT_CERT",
        NETNS => "NETNS",
        GCP => "GCP",
        AWS => "AWS",
        AZURE => "AZURE",
        0xE1..=0xE9 | 0xEB..=0xED | 0xEF => "CUSTOM",
        0xF0..=0xF7 => "EXPERIMENT",
        0xF8..=0xFF => "RESERVED",
        _ => "UNKNOWN",
    }
}

/// One TLV: a type, a value, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    kind: u8,
    value: &'a [u8],
    offset: usize,
}

impl<'a> Tlv<'a> {
    /// Makes one of a type and a value that were found elsewhere; its type byte stood at `offset`.
    ///
    /// ```
    /// use ppcore::tlv::{GCP, Tlv, View};
    ///
    /// assert_eq!(Tlv::new(GCP, &7_u64.to_be_bytes(), 28).view(), Ok(View::Gcp(7)));
    /// ```
    pub const fn new(kind: u8, value: &'a [u8], offset: usize) -> Self {
        Self { kind, value, offset }
    }

    /// Returns the type byte. Types may repeat.
    #[inline]
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Returns the value, 0..=65,532 bytes.
    #[inline]
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Returns the offset of the type byte, from the first byte of the header.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the offset of the value, from the first byte of the header.
    pub const fn value_offset(&self) -> usize {
        self.offset + TLV_HEADER_LEN
    }

    /// Reads the value as its type demands.
    ///
    /// # Errors
    /// When the value breaks the rule of its type; the header stays good all the same.
    pub fn view(&self) -> Result<View<'a>, ValueError> {
        let value = self.value;
        Ok(match self.kind {
            ALPN => View::Alpn(value),
            AUTHORITY => View::Authority(text(value)?),
            CRC32C => View::Crc32c(u32::from_be_bytes(exact(value)?)),
            NOOP => View::Noop(value),
            UNIQUE_ID if value.len() > UNIQUE_ID_LEN_MAX => return Err(ValueError::Length),
            UNIQUE_ID => View::UniqueId(value),
            SSL => View::Ssl(Ssl::read(value, self.value_offset())?),
            NETNS => View::Netns(ascii(value)?),
            GCP => View::Gcp(u64::from_be_bytes(exact(value)?)),
            AWS => match value.split_first() {
                Some((1, id)) => View::AwsVpcEndpoint(endpoint_id(id)?),
                Some(_) => View::Other(value),
                None => return Err(ValueError::Length),
            },
            AZURE => match value.split_first() {
                Some((1, id)) => View::AzureLinkId(u32::from_le_bytes(exact(id)?)),
                Some(_) => View::Other(value),
                None => return Err(ValueError::Length),
            },
            _ => View::Other(value),
        })
    }
}

/// What a TLV says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum View<'a> {
    /// The application protocol: bytes, by RFC 7301.
    Alpn(&'a [u8]),
    /// The host name the client asked for.
    Authority(&'a str),
    /// The checksum as sent. Whether it holds: [`Header::crc32c`](crate::Header::crc32c).
    Crc32c(u32),
    /// Padding.
    Noop(&'a [u8]),
    /// An opaque id, at most 128 bytes.
    UniqueId(&'a [u8]),
    /// The client's TLS.
    Ssl(Ssl<'a>),
    /// A network namespace.
    Netns(&'a str),
    /// Google Cloud's Private Service Connect connection id.
    Gcp(u64),
    /// AWS: the id of the VPC endpoint the client came through.
    AwsVpcEndpoint(&'a str),
    /// Azure: the LINKID of the private endpoint the client came through.
    AzureLinkId(u32),
    /// A type, or a vendor's subtype, this crate does not know.
    Other(&'a [u8]),
}

/// A value breaks the rule of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value is shorter or longer than its type allows.
    #[error("the value's length does not fit its type")]
    Length,
    /// The value should be text and is not: UTF-8 or US-ASCII, as the type demands.
    #[error("the value is not the text its type demands")]
    Text,
    /// An SSL value with the SSL flag lacks the version that must follow (spec 2.2.6).
    #[error("the SSL value says the client used TLS but names no version")]
    NoSslVersion,
    /// The TLVs inside an SSL value are framed badly.
    #[error("the TLVs inside the SSL value are broken: {0}")]
    Framing(ErrorKind),
}

fn text(value: &[u8]) -> Result<&str, ValueError> {
    str::from_utf8(value).map_err(|_| ValueError::Text)
}

fn ascii(value: &[u8]) -> Result<&str, ValueError> {
    if value.is_ascii() { text(value) } else { Err(ValueError::Text) }
}

/// AWS documents the id as `vpce-` and hexadecimal digits; go-proxyproto checks the same alphabet.
fn endpoint_id(value: &[u8]) -> Result<&str, ValueError> {
    let is_id = value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if is_id { text(value) } else { Err(ValueError::Text) }
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], ValueError> {
    value.try_into().map_err(|_| ValueError::Length)
}

/// What the sender knows of the client's TLS (spec 2.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl<'a> {
    client: u8,
    verify: u32,
    sub_tlvs: &'a [u8],
    offset: usize,
}

impl<'a> Ssl<'a> {
    /// Bytes in front of the inner TLVs: the flags and the verify result.
    const FIXED_LEN: usize = 5;

    fn read(value: &'a [u8], offset: usize) -> Result<Self, ValueError> {
        let (&client, rest) = value.split_first().ok_or(ValueError::Length)?;
        let (verify, sub_tlvs) = rest.split_first_chunk::<4>().ok_or(ValueError::Length)?;
        let verify = u32::from_be_bytes(*verify);
        let ssl = Self { client, verify, sub_tlvs, offset: offset + Self::FIXED_LEN };
        for sub in ssl.tlvs() {
            sub.map_err(|error| ValueError::Framing(error.kind()))?;
        }
        if ssl.is_tls() && ssl.find(SSL_VERSION).is_none() {
            return Err(ValueError::NoSslVersion);
        }
        Ok(ssl)
    }

    /// Returns the flags: [`CLIENT_SSL`], [`CLIENT_CERT_CONN`], [`CLIENT_CERT_SESS`].
    pub const fn client(&self) -> u8 {
        self.client
    }

    /// Says whether the client connected over TLS.
    pub const fn is_tls(&self) -> bool {
        self.client & CLIENT_SSL != 0
    }

    /// Returns the verify result: 0 if the client gave a certificate that was verified.
    pub const fn verify(&self) -> u32 {
        self.verify
    }

    /// Says whether the client gave a certificate, now or earlier in its session, that was verified.
    pub const fn is_verified(&self) -> bool {
        self.client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0 && self.verify == 0
    }

    /// Returns an iterator over the inner TLVs.
    pub const fn tlvs(&self) -> Tlvs<'a> {
        Tlvs::new(self.sub_tlvs, self.offset)
    }

    /// Returns the value of the first inner TLV of a type, such as [`SSL_CLIENT_CERT`].
    pub fn find(&self, kind: u8) -> Option<&'a [u8]> {
        self.tlvs().flatten().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }

    /// Returns the version of TLS, such as `TLSv1.3`. As all of these it is `None` too where the value is not
    /// the text that it should be; [`text`](Self::text) tells the two apart.
    ///
    /// ```
    /// use ppcore::tlv::{Tlvs, View};
    ///
    /// let framed = b"\x20\0\x1F\x03\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05alice\x23\0\x05TLS_A";
    /// let tlv = Tlvs::new(framed, 28).next().unwrap()?;
    /// let Ok(View::Ssl(ssl)) = tlv.view() else { panic!() };
    /// assert_eq!((ssl.version(), ssl.common_name()), (Some("TLSv1.3"), Some("alice")));
    /// assert_eq!((ssl.cipher(), ssl.client_cert()), (Some("TLS_A"), None));
    /// # Ok::<(), ppcore::Error>(())
    /// ```
    pub fn version(&self) -> Option<&'a str> {
        self.readable(SSL_VERSION)
    }

    /// Returns the common name in the client's certificate. It is worth something if it
    /// [`is_verified`](Self::is_verified).
    #[doc(alias = "CN")]
    pub fn common_name(&self) -> Option<&'a str> {
        self.readable(SSL_CN)
    }

    /// Returns the name of the cipher, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    pub fn cipher(&self) -> Option<&'a str> {
        self.readable(SSL_CIPHER)
    }

    /// Returns the client's certificate, in DER.
    pub fn client_cert(&self) -> Option<&'a [u8]> {
        self.find(SSL_CLIENT_CERT)
    }

    fn readable(&self, kind: u8) -> Option<&'a str> {
        self.text(kind).ok().flatten()
    }

    /// Returns the text of the first inner TLV of a type, such as [`SSL_CN`].
    ///
    /// # Errors
    /// [`ValueError::Text`] if it is not UTF-8 ([`SSL_CN`]) or not US-ASCII (the others).
    pub fn text(&self, kind: u8) -> Result<Option<&'a str>, ValueError> {
        let read = if kind == SSL_CN { text } else { ascii };
        self.find(kind).map(read).transpose()
    }
}

/// A lazy walk over TLVs: each is checked when it is asked for.
///
/// A broken frame yields one error and ends the walk; the TLVs in front of it stand.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Tlvs<'a> {
    /// Walks over bytes that are framed as TLVs; the first stands `offset` bytes behind the start of the
    /// header, which is what [`Tlv::offset`] counts from.
    ///
    /// For values that hold TLVs of a kind this crate does not know;
    /// [`Header::tlvs`](crate::Header::tlvs) and [`Ssl::tlvs`] know where theirs are.
    ///
    /// ```
    /// let mut walk = ppcore::tlv::Tlvs::new(b"\x01\0\x02h2", 28);
    /// assert_eq!(walk.next().unwrap()?.value(), b"h2");
    /// # Ok::<(), ppcore::Error>(())
    /// ```
    pub const fn new(rest: &'a [u8], offset: usize) -> Self {
        Self { rest, offset }
    }

    /// Says whether every TLV is framed well.
    pub(crate) fn is_well_framed(&self) -> bool {
        self.clone().all(|tlv| tlv.is_ok())
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let Some((&[kind, high, low], rest)) = self.rest.split_first_chunk::<TLV_HEADER_LEN>()
        else {
            self.rest = &[];
            return Some(Err(Error::new(ErrorKind::TlvHeaderTruncated, offset)));
        };
        let Some((value, rest)) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())
        else {
            self.rest = &[];
            return Some(Err(Error::new(ErrorKind::TlvValueOverrun, offset)));
        };
        self.rest = rest;
        self.offset += TLV_HEADER_LEN + value.len();
        Some(Ok(Tlv { kind, value, offset }))
    }
}

impl core::iter::FusedIterator for Tlvs<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kind: u8, value: &[u8]) -> Result<View<'_>, ValueError> {
        Tlv { kind, value, offset: 16 }.view()
    }

    #[test]
    fn a_type_is_named_by_its_number() {
        let first_of_each = [
            (0x00, "UNKNOWN"),
            (0x01, "ALPN"),
            (0x02, "AUTHORITY"),
            (0x03, "CRC32C"),
            (0x04, "NOOP"),
            (0x05, "UNIQUE_ID"),
            (0x06, "UNKNOWN"),
            (0x20, "SSL"),
            (0x21, "SSL_VERSION"),
            (0x22, "SSL_CN"),
            (0x23, "SSL_CIPHER"),
            (0x24, "SSL_SIG_ALG"),
            (0x25, "SSL_KEY_ALG"),
            (0x26, "SSL_GROUP"),
            (0x27, "SSL_SIG_SCHEME"),
            (0x28, "SSL_CLIENT_CERT"),
            (0x29, "UNKNOWN"),
            (0x30, "NETNS"),
            (0x31, "UNKNOWN"),
            (0xE0, "GCP"),
            (0xE1, "CUSTOM"),
            (0xEA, "AWS"),
            (0xEB, "CUSTOM"),
            (0xEE, "AZURE"),
            (0xEF, "CUSTOM"),
            (0xF0, "EXPERIMENT"),
            (0xF8, "RESERVED"),
        ];
        for kind in 0..=u8::MAX {
            let (_, expected) = first_of_each.iter().rfind(|(first, _)| *first <= kind).unwrap();
            assert_eq!(name(kind), *expected, "{kind:#04x}");
        }
    }

    #[test]
    fn a_walk_ends_at_the_first_break_and_keeps_what_came_before() {
        let mut walk = Tlvs::new(&[2, 0, 1, b'a', 9, 0, 5, 0], 28);
        assert_eq!(walk.next().unwrap().unwrap().value(), b"a");
        let error = walk.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::TlvValueOverrun, 32));
        assert_eq!(walk.next(), None);
    }

    #[test]
    fn a_trailing_empty_tlv_is_not_missed() {
        assert_eq!(Tlvs::new(&[4, 0, 0], 16).count(), 1);
    }

    #[test]
    fn a_unique_id_holds_at_most_128_bytes() {
        assert_eq!(view(UNIQUE_ID, &[7; 128]), Ok(View::UniqueId(&[7; 128])));
        assert_eq!(view(UNIQUE_ID, &[7; 129]), Err(ValueError::Length));
    }

    #[test]
    fn what_is_not_text_is_shown_as_bytes_or_as_a_number() {
        assert_eq!(view(ALPN, b"h2"), Ok(View::Alpn(b"h2")));
        assert_eq!(view(CRC32C, &[0, 0, 1, 0]), Ok(View::Crc32c(256)));
        assert_eq!(view(NOOP, &[7]), Ok(View::Noop(&[7])));
        assert_eq!(view(0x06, &[7]), Ok(View::Other(&[7])));
    }

    #[test]
    fn text_is_checked_only_when_asked_for() {
        assert_eq!(view(AUTHORITY, b"example.com"), Ok(View::Authority("example.com")));
        assert_eq!(view(AUTHORITY, b"\xff\xfe"), Err(ValueError::Text));
        assert_eq!(view(NETNS, "b\u{fc}ro".as_bytes()), Err(ValueError::Text));
    }

    #[test]
    fn an_ssl_flag_without_a_version_is_an_error() {
        assert_eq!(view(SSL, &[1, 0, 0, 0, 0]), Err(ValueError::NoSslVersion));
        assert!(view(SSL, &[0, 0, 0, 0, 1]).is_ok());
        assert_eq!(view(SSL, &[0, 0]), Err(ValueError::Length));
    }

    #[test]
    fn ssl_sub_tlvs_lie_inside_their_value() {
        let overrun = view(SSL, &[1, 0, 0, 0, 0, 0x21, 0, 7, b'T']);
        assert_eq!(overrun, Err(ValueError::Framing(ErrorKind::TlvValueOverrun)));
        let Ok(View::Ssl(ssl)) = view(SSL, b"\x03\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x04J\xc3\xb6g")
        else {
            panic!("a good SSL value")
        };
        assert!(ssl.is_verified());
        assert_eq!(ssl.text(SSL_VERSION), Ok(Some("TLSv1.3")));
        assert_eq!(ssl.text(SSL_CN), Ok(Some("J\u{f6}g")));
        assert_eq!(ssl.text(SSL_CIPHER), Ok(None));
        let offsets = ssl.tlvs().map(|sub| sub.map(|sub| sub.offset()));
        assert!(offsets.eq([Ok(24), Ok(34)]));
    }

    #[test]
    fn only_a_certificate_that_holds_verifies_a_client() {
        for (client, verify, is_verified) in [
            (0, 0, false),
            (CLIENT_CERT_CONN, 0, true),
            (CLIENT_CERT_SESS, 0, true),
            (CLIENT_CERT_SESS, 256, false),
        ] {
            let [a, b, c, d] = u32::to_be_bytes(verify);
            let value = [client, a, b, c, d];
            let Ok(View::Ssl(ssl)) = view(SSL, &value) else { panic!("{value:?}") };
            assert_eq!((ssl.client(), ssl.verify()), (client, verify));
            assert_eq!(ssl.is_verified(), is_verified, "{value:?}");
        }
    }

    #[test]
    fn the_clouds_values_have_their_own_byte_orders() {
        assert_eq!(view(GCP, &[0, 0, 0, 0, 0, 0, 1, 0]), Ok(View::Gcp(256)));
        assert_eq!(view(AZURE, &[1, 0xc1, 0x45, 0, 0x21]), Ok(View::AzureLinkId(0x2100_45c1)));
        assert_eq!(view(AZURE, &[2, 1]), Ok(View::Other(&[2, 1])));
        assert_eq!(view(AWS, b"\x01vpce-08d2"), Ok(View::AwsVpcEndpoint("vpce-08d2")));
        assert_eq!(view(AWS, b"\x01vpce-!"), Err(ValueError::Text));
        assert_eq!(view(GCP, &[0; 3]), Err(ValueError::Length));
    }
}
