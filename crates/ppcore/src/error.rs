//! Why bytes are not a header: final, `Copy`, with the offset of the byte that decided it.
//!
//! Input that may still become a header is not an error: it is `Decoded::Need`.

use crate::Version;

/// A refusal. The same bytes give the same error however they were cut.
///
/// ```
/// use ppcore::{Decoder, Error, ErrorKind, Options, Version};
///
/// let error: Error = Decoder::new(Options::new()).decode(b"PROXY TCP4 203.0.113.07 ").unwrap_err();
/// assert_eq!((error.kind(), error.offset()), (ErrorKind::V1BadSourceAddress, 22));
/// assert_eq!(error.kind().name(), "v1_bad_src_addr");
/// assert_eq!((error.kind().section(), error.kind().version()), ("2.1", Some(Version::V1)));
/// assert!(ErrorKind::ALL.contains(&error.kind()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{kind} (byte {offset}, spec {})", kind.section())]
pub struct Error {
    kind: ErrorKind,
    offset: u32,
}

impl Error {
    #[expect(clippy::cast_possible_truncation, reason = "a header ends below 65,552 bytes")]
    pub(crate) const fn new(kind: ErrorKind, offset: usize) -> Self {
        Self { kind, offset: offset as u32 }
    }

    /// Returns the rule that was broken.
    pub const fn kind(self) -> ErrorKind {
        self.kind
    }

    /// Returns the offset of the first byte that has no valid continuation, counted from 0; for a
    /// checksum that of its TLV's value, for one that is missing the header's length, for a truncated input
    /// its length.
    pub const fn offset(self) -> usize {
        self.offset as usize
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $section:literal, $message:literal;)*) => {
        /// The rule that was broken: always the sender's, or, for `Empty` and `Truncated`, a peer
        /// that went away.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* #[doc = concat!("(spec ", $section, ")")] #[error($message)] $kind,)*
        }

        impl ErrorKind {
            /// Every kind, for tables and counters.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Returns a stable name, as `decode --json` prints it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Returns the section of the specification that states the rule.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$kind => $section,)* }
            }
        }
    };
}

kinds! {
    /// The bytes begin neither a v1 nor a v2 header that this decoder allows.
    NotProxy, "not_proxy", "2.2", "the bytes are not a PROXY protocol header this receiver allows";
    /// The peer closed without having sent a byte, as TCP health checks do.
    Empty, "empty", "2", "the peer closed before the first byte";
    /// The peer closed, or the datagram ended, inside the header.
    Truncated, "truncated", "2.2", "the input ends inside the header";
    /// `PROXY` is not followed by exactly one blank.
    V1ExpectedSpace, "v1_expected_space", "2.1", "expected one blank behind `PROXY`";
    /// The protocol is not `TCP4`, `TCP6` or `UNKNOWN`.
    V1BadProtocol, "v1_bad_protocol", "2.1", "the protocol must be `TCP4`, `TCP6` or `UNKNOWN`";
    /// The source address is not one of the announced family.
    V1BadSourceAddress, "v1_bad_src_addr", "2.1",
        "the source is not an address of the announced family";
    /// The destination address is not one of the announced family.
    V1BadDestinationAddress, "v1_bad_dst_addr", "2.1",
        "the destination is not an address of the announced family";
    /// The source port is not a decimal of 0..=65535 without sign and leading zeros.
    V1BadSourcePort, "v1_bad_src_port", "2.1",
        "the source port must be 0..65535 without sign or leading zeros";
    /// The destination port is not a decimal of 0..=65535 without sign and leading zeros.
    V1BadDestinationPort, "v1_bad_dst_port", "2.1",
        "the destination port must be 0..65535 without sign or leading zeros";
    /// The line ends before its last field.
    V1MissingField, "v1_missing_field", "2.1", "the line ends before its last field";
    /// Something follows the destination port.
    V1ExtraField, "v1_extra_field", "2.1", "the line goes on behind the destination port";
    /// A CR or LF stands alone.
    V1BadLineEnd, "v1_bad_line_end", "2.1", "the line must end with CR LF";
    /// The line cannot end within 107 bytes any more.
    V1TooLong, "v1_too_long", "2.1", "the line cannot end within 107 bytes";
    /// The version nibble is not 2.
    V2BadVersion, "v2_bad_version", "2.2", "the version must be 2";
    /// The command nibble is neither 0 (LOCAL) nor 1 (PROXY).
    V2BadCommand, "v2_bad_command", "2.2", "the command must be LOCAL (0) or PROXY (1)";
    /// The family nibble is above 3.
    V2BadFamily, "v2_bad_family", "2.2", "the address family is not defined";
    /// The transport nibble is above 2.
    V2BadTransport, "v2_bad_transport", "2.2", "the transport is not defined";
    /// Family or transport is UNSPEC, which this receiver rejects.
    V2UnspecRejected, "v2_unspec_rejected", "2.2",
        "the header names no family or transport, which this receiver rejects";
    /// The length is less than the address block of the family.
    V2AddressTooShort, "v2_addr_too_short", "2.2", "the length leaves no room for the addresses";
    /// The header is longer than this receiver allows.
    V2TooLong, "v2_too_long", "2.2", "the header is longer than this receiver allows";
    /// One or two bytes are left where a TLV needs three.
    TlvHeaderTruncated, "tlv_header_truncated", "2.2",
        "one or two bytes are left where a TLV needs three";
    /// A TLV's value runs past the end of the header.
    TlvValueOverrun, "tlv_value_overrun", "2.2", "a TLV runs past the end of the header";
    /// The checksum does not match.
    CrcMismatch, "crc_mismatch", "2.2.3", "the CRC32C does not match the header";
    /// The CRC32C TLV is not 4 bytes long.
    CrcBadLength, "crc_bad_length", "2.2.3", "the CRC32C TLV must hold 4 bytes";
    /// There are two CRC32C TLVs.
    CrcDuplicate, "crc_duplicate", "2.2.3", "the header holds two CRC32C TLVs";
    /// There is no CRC32C TLV, which this receiver requires.
    CrcMissing, "crc_missing", "2.2.3",
        "the header holds no CRC32C TLV, which this receiver requires";
}

impl ErrorKind {
    /// Returns the version the sender had committed to, if the rule belongs to one.
    pub const fn version(self) -> Option<Version> {
        match self {
            Self::NotProxy | Self::Empty | Self::Truncated => None,
            Self::V1ExpectedSpace
            | Self::V1BadProtocol
            | Self::V1BadSourceAddress
            | Self::V1BadDestinationAddress
            | Self::V1BadSourcePort
            | Self::V1BadDestinationPort
            | Self::V1MissingField
            | Self::V1ExtraField
            | Self::V1BadLineEnd
            | Self::V1TooLong => Some(Version::V1),
            Self::V2BadVersion
            | Self::V2BadCommand
            | Self::V2BadFamily
            | Self::V2BadTransport
            | Self::V2UnspecRejected
            | Self::V2AddressTooShort
            | Self::V2TooLong
            | Self::TlvHeaderTruncated
            | Self::TlvValueOverrun
            | Self::CrcMismatch
            | Self::CrcBadLength
            | Self::CrcDuplicate
            | Self::CrcMissing => Some(Version::V2),
        }
    }
}
