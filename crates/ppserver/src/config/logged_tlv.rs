//! The TLVs of the access log, and the names they have there and in the file.

use std::fmt;

use ppcore::tlv;

/// A TLV of the header that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoggedTlv {
    /// One of this type.
    Type(u8),
    /// One of this type inside SSL; only those with a name can be asked for.
    InSsl(u8),
}

const NAMES: [(&str, LoggedTlv); 10] = [
    ("alpn", LoggedTlv::Type(tlv::ALPN)),
    ("authority", LoggedTlv::Type(tlv::AUTHORITY)),
    ("unique_id", LoggedTlv::Type(tlv::UNIQUE_ID)),
    ("ssl_version", LoggedTlv::InSsl(tlv::SSL_VERSION)),
    ("ssl_cn", LoggedTlv::InSsl(tlv::SSL_CN)),
    ("ssl_cipher", LoggedTlv::InSsl(tlv::SSL_CIPHER)),
    ("netns", LoggedTlv::Type(tlv::NETNS)),
    ("gcp_psc_connection_id", LoggedTlv::Type(tlv::GCP)),
    ("aws_vpc_endpoint_id", LoggedTlv::Type(tlv::AWS)),
    ("azure_link_id", LoggedTlv::Type(tlv::AZURE)),
];

impl LoggedTlv {
    /// The TLV that is called so.
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, tlv)| *tlv)
    }

    /// Its name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, tlv)| *tlv == self).map(|(name, _)| *name)
    }

    /// Every name, in the order of the types.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// Its name, or its type as `0xE1`.
impl fmt::Display for LoggedTlv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Type(kind) | Self::InSsl(kind)) = self;
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{kind:02X}"),
        }
    }
}
