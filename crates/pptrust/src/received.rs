//! A header together with its bytes, so that TLVs and UNIX names outlive the connection's buffer.

use std::fmt;
use std::ops::Deref;

use ppcore::tlv::{Ssl, Tlvs, View};
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
#[doc(alias = "header")]
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

    /// Hands out those bytes, in their allocation. With the feature `bytes` a header turns into `bytes::Bytes` without a
    /// copy, as those of an encoded [`Greeting`](crate::Greeting) do anyway.
    ///
    /// ```
    /// use pptrust::{Received, ppcore::Options};
    ///
    /// let header = Received::decode(Options::new(), b"PROXY UNKNOWN\r\n")?.expect("it is whole");
    /// assert_eq!(header.into_bytes(), b"PROXY UNKNOWN\r\n");
    /// # Ok::<(), pptrust::ppcore::Error>(())
    /// ```
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_vec()
    }

    /// Returns an iterator over the TLVs; it yields nothing for v1.
    pub fn tlvs(&self) -> Tlvs<'_> {
        self.header.tlvs(&self.bytes)
    }

    /// Returns the value of the first TLV of this type.
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs().filter_map(Result::ok).find(|tlv| tlv.kind() == kind).map(|tlv| tlv.value())
    }

    /// Returns the host name the client asked for ([`AUTHORITY`](ppcore::tlv::AUTHORITY)), mostly that of TLS's SNI.
    ///
    /// As with all that follow, it is the first value of its type that keeps the type's rules, and `None` too
    /// where each breaks them; [`tlvs`](Self::tlvs) tells which.
    ///
    /// ```
    /// use pptrust::{Greeting, Received, ppcore::{Options, tlv}};
    ///
    /// let sent = Greeting::v2("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?)
    ///     .tlv(tlv::AUTHORITY, b"example.org")
    ///     .tlv(tlv::ALPN, b"h2")
    ///     .unique_id(b"8f14e45f")
    ///     .ssl(tlv::CLIENT_SSL | tlv::CLIENT_CERT_CONN, 0, [
    ///         (tlv::SSL_VERSION, b"TLSv1.3".as_slice()),
    ///         (tlv::SSL_CN, b"alice"),
    ///     ])
    ///     .tlv(tlv::AWS, b"\x01vpce-08d2bf15fac5001c9")
    ///     .tlv(tlv::AZURE, [1, 0xC1, 0x45, 0, 0x21])
    ///     .tlv(tlv::GCP, 42_u64.to_be_bytes())
    ///     .to_bytes()?;
    /// let header = Received::decode(Options::new(), &sent)?.expect("it is whole");
    /// assert_eq!((header.authority(), header.alpn()), (Some("example.org"), Some(&b"h2"[..])));
    /// assert_eq!(header.unique_id(), Some(&b"8f14e45f"[..]));
    /// assert_eq!(header.ssl().and_then(|ssl| ssl.common_name()), Some("alice"));
    /// assert_eq!(header.aws_vpc_endpoint_id(), Some("vpce-08d2bf15fac5001c9"));
    /// assert_eq!((header.azure_link_id(), header.gcp_psc_id()), (Some(0x2100_45C1), Some(42)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "SNI")]
    pub fn authority(&self) -> Option<&str> {
        self.find(|view| if let View::Authority(name) = view { Some(name) } else { None })
    }

    /// Returns the application protocol, such as `h2` ([`ALPN`](ppcore::tlv::ALPN)): bytes, by RFC 7301.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.find(|view| if let View::Alpn(protocol) = view { Some(protocol) } else { None })
    }

    /// Returns the connection's id ([`UNIQUE_ID`](ppcore::tlv::UNIQUE_ID)), at most 128 bytes.
    pub fn unique_id(&self) -> Option<&[u8]> {
        self.find(|view| if let View::UniqueId(id) = view { Some(id) } else { None })
    }

    /// Returns what the sender knows of the client's TLS ([`SSL`](ppcore::tlv::SSL)).
    pub fn ssl(&self) -> Option<Ssl<'_>> {
        self.find(|view| if let View::Ssl(ssl) = view { Some(ssl) } else { None })
    }

    /// Returns the id of the AWS VPC endpoint the client came through, without the subtype in front of it
    /// ([`AWS`](ppcore::tlv::AWS)).
    #[doc(alias = "vpce")]
    pub fn aws_vpc_endpoint_id(&self) -> Option<&str> {
        self.find(|view| if let View::AwsVpcEndpoint(id) = view { Some(id) } else { None })
    }

    /// Returns the LINKID of the Azure private endpoint the client came through ([`AZURE`](ppcore::tlv::AZURE)).
    #[doc(alias = "LINKID")]
    pub fn azure_link_id(&self) -> Option<u32> {
        self.find(|view| if let View::AzureLinkId(id) = view { Some(id) } else { None })
    }

    /// Returns the id of the client's connection through Google Cloud's Private Service Connect
    /// ([`GCP`](ppcore::tlv::GCP)).
    #[doc(alias = "pscConnectionId")]
    pub fn gcp_psc_id(&self) -> Option<u64> {
        self.find(|view| if let View::Gcp(id) = view { Some(id) } else { None })
    }

    fn find<'a, T>(&'a self, pick: impl FnMut(View<'a>) -> Option<T>) -> Option<T> {
        self.tlvs().flatten().filter_map(|tlv| tlv.view().ok()).find_map(pick)
    }

    /// Returns the UNIX names, source first, if the header carries any.
    pub fn unix(&self) -> Option<(UnixAddr<'_>, UnixAddr<'_>)> {
        self.header.unix(&self.bytes)
    }
}

/// Its bytes, in their allocation.
#[cfg(feature = "bytes")]
impl From<Received> for bytes::Bytes {
    fn from(header: Received) -> Self {
        header.bytes.into()
    }
}

impl Deref for Received {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

/// As the [`Header`].
impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.header, f)
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.header, f)
    }
}

#[cfg(test)]
mod tests {
    use ppcore::{Options, tlv};

    use super::*;
    use crate::Greeting;

    #[test]
    fn a_value_that_breaks_the_rule_of_its_type_is_passed_over() {
        let addr = |text: &str| text.parse().unwrap();
        let sent = Greeting::v2(addr("1.2.3.4:5"), addr("6.7.8.9:10"))
            .tlv(tlv::AUTHORITY, b"\xff\xfe")
            .tlv(tlv::AUTHORITY, b"example.org")
            .tlv(tlv::AWS, b"\x02another")
            .tlv(tlv::AWS, b"\x01vpce-0")
            .tlv(tlv::GCP, b"short")
            .tlv(tlv::SSL, [1, 0, 0, 0, 0])
            .to_bytes()
            .unwrap();
        let header = Received::decode(Options::new(), &sent).unwrap().unwrap();
        assert_eq!(header.authority(), Some("example.org"));
        assert_eq!(header.aws_vpc_endpoint_id(), Some("vpce-0"));
        assert_eq!((header.gcp_psc_id(), header.azure_link_id()), (None, None));
        assert!(header.ssl().is_none() && header.unique_id().is_none() && header.alpn().is_none());
    }

    #[test]
    fn a_header_is_shown_in_one_line() {
        let addr = |text: &str| text.parse().unwrap();
        let (source, destination) = (addr("1.2.3.4:5"), addr("6.7.8.9:10"));
        for (greeting, shown) in [
            (Greeting::v1(source, destination), "v1 PROXY TCP 1.2.3.4:5 -> 6.7.8.9:10"),
            (Greeting::v2_datagram(source, destination), "v2 PROXY UDP 1.2.3.4:5 -> 6.7.8.9:10"),
            (Greeting::unix(b"/run/a", b"/run/b"), "v2 PROXY UNIX"),
            (Greeting::unknown(), "v1 UNKNOWN"),
            (Greeting::local(), "v2 LOCAL"),
        ] {
            let sent = greeting.to_bytes().unwrap();
            let header = Received::decode(Options::new(), &sent).unwrap().unwrap();
            assert_eq!((header.to_string().as_str(), header.as_bytes()), (shown, &sent[..]));
        }
    }
}
