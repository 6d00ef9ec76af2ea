//! What every function returns: numbers that stay, and their names.

use std::ffi::{CStr, c_char};

use ppcore::encode::EncodeError;
use ppcore::tlv::ValueError;
use ppcore::{Error, ErrorKind};

/// What a function returns. Numbers do not change within a soname; new ones may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done; of a decoder: here is the header.
    Ok = 0,
    /// More bytes are needed.
    Need = 1,
    /// There is no header: all bytes are payload. Only with `may_be_absent`.
    Absent = 2,
    /// There are no more TLVs.
    End = 3,

    /// The bytes begin neither a v1 nor a v2 header that this decoder allows.
    NotProxy = -1,
    /// The peer closed without having sent a byte, as TCP health checks do.
    Empty = -2,
    /// The peer closed, or the datagram ended, inside the header.
    Truncated = -3,
    /// `PROXY` is not followed by exactly one blank.
    V1ExpectedSpace = -10,
    /// The protocol is not `TCP4`, `TCP6` or `UNKNOWN`.
    V1BadProtocol = -11,
    /// The source address is not one of the announced family.
    V1BadSourceAddress = -12,
    /// The destination address is not one of the announced family.
    V1BadDestinationAddress = -13,
    /// The source port is not a decimal of 0 to 65535 without sign and leading zeros.
    V1BadSourcePort = -14,
    /// The destination port is not a decimal of 0 to 65535 without sign and leading zeros.
    V1BadDestinationPort = -15,
    /// The line ends before its last field.
    V1MissingField = -16,
    /// Something follows the destination port.
    V1ExtraField = -17,
    /// A CR or LF stands alone.
    V1BadLineEnd = -18,
    /// The line cannot end within 107 bytes any more.
    V1TooLong = -19,
    /// The version nibble is not 2.
    V2BadVersion = -30,
    /// The command nibble is neither 0 (LOCAL) nor 1 (PROXY).
    V2BadCommand = -31,
    /// The family nibble is above 3.
    V2BadFamily = -32,
    /// The transport nibble is above 2.
    V2BadTransport = -33,
    /// Family or transport is UNSPEC, which these options reject.
    V2UnspecRejected = -34,
    /// The length is less than the address block of the family.
    V2AddressTooShort = -35,
    /// The header is longer than these options allow.
    V2TooLong = -36,
    /// One or two bytes are left where a TLV needs three.
    TlvHeaderTruncated = -37,
    /// A TLV's value runs past the end of the header.
    TlvValueOverrun = -38,
    /// The checksum does not match.
    CrcMismatch = -39,
    /// The CRC32C TLV is not 4 bytes long.
    CrcBadLength = -40,
    /// There are two CRC32C TLVs.
    CrcDuplicate = -41,
    /// There is no CRC32C TLV, where one is required.
    CrcMissing = -42,
    /// A refusal this version of the ABI has no number for.
    OtherRefusal = -49,

    /// A TLV's value is shorter or longer than its type allows.
    TlvValueLength = -50,
    /// A TLV's value is not the text its type demands.
    TlvValueText = -51,
    /// An SSL value says the client used TLS but names no version.
    TlvNoSslVersion = -52,

    /// The room is too small; the length it takes has been written.
    RoomTooSmall = -60,
    /// More than 65535 bytes follow the fixed part of a v2 header, or 65535 an SSL value.
    TooLong = -61,
    /// `pad_to` is less than the header, or one or two bytes more: padding takes three at least.
    Padding = -62,
    /// A UNIX name is longer than 108 bytes.
    UnixName = -63,

    /// A pointer is NULL that may not be.
    NullPointer = -70,
    /// A pointer is not aligned as its type demands.
    Misaligned = -71,
    /// A decoder was not initialised.
    NotInitialised = -72,
    /// A kind, a family, a length or an option is none that the function knows.
    BadArgument = -73,
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotProxy => Self::NotProxy,
            ErrorKind::Empty => Self::Empty,
            ErrorKind::Truncated => Self::Truncated,
            ErrorKind::V1ExpectedSpace => Self::V1ExpectedSpace,
            ErrorKind::V1BadProtocol => Self::V1BadProtocol,
            ErrorKind::V1BadSourceAddress => Self::V1BadSourceAddress,
            ErrorKind::V1BadDestinationAddress => Self::V1BadDestinationAddress,
            ErrorKind::V1BadSourcePort => Self::V1BadSourcePort,
            ErrorKind::V1BadDestinationPort => Self::V1BadDestinationPort,
            ErrorKind::V1MissingField => Self::V1MissingField,
            ErrorKind::V1ExtraField => Self::V1ExtraField,
            ErrorKind::V1BadLineEnd => Self::V1BadLineEnd,
            ErrorKind::V1TooLong => Self::V1TooLong,
            ErrorKind::V2BadVersion => Self::V2BadVersion,
            ErrorKind::V2BadCommand => Self::V2BadCommand,
            ErrorKind::V2BadFamily => Self::V2BadFamily,
            ErrorKind::V2BadTransport => Self::V2BadTransport,
            ErrorKind::V2UnspecRejected => Self::V2UnspecRejected,
            ErrorKind::V2AddressTooShort => Self::V2AddressTooShort,
            ErrorKind::V2TooLong => Self::V2TooLong,
            ErrorKind::TlvHeaderTruncated => Self::TlvHeaderTruncated,
            ErrorKind::TlvValueOverrun => Self::TlvValueOverrun,
            ErrorKind::CrcMismatch => Self::CrcMismatch,
            ErrorKind::CrcBadLength => Self::CrcBadLength,
            ErrorKind::CrcDuplicate => Self::CrcDuplicate,
            ErrorKind::CrcMissing => Self::CrcMissing,
            _ => Self::OtherRefusal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.kind().into()
    }
}

impl From<ValueError> for Status {
    fn from(error: ValueError) -> Self {
        match error {
            ValueError::Length => Self::TlvValueLength,
            ValueError::Text => Self::TlvValueText,
            ValueError::NoSslVersion => Self::TlvNoSslVersion,
            ValueError::Framing(kind) => kind.into(),
            _ => Self::OtherRefusal,
        }
    }
}

impl From<EncodeError> for Status {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::BufferTooSmall { .. } => Self::RoomTooSmall,
            EncodeError::TooLong => Self::TooLong,
            EncodeError::Padding => Self::Padding,
            EncodeError::UnixName => Self::UnixName,
            EncodeError::UniqueId | EncodeError::UnixTransport | _ => Self::BadArgument,
        }
    }
}

/// A function's answer as C sees it.
pub(crate) fn flat(result: Result<Status, Status>) -> Status {
    result.unwrap_or_else(|status| status)
}

/// Returns a stable name of a status, such as "v1_bad_protocol", for logs; "unknown" for a number that
/// is none. The text is static: never free it.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "a C function has a name of its own")]
pub extern "C" fn pp_status_name(status: i32) -> *const c_char {
    name(status).as_ptr()
}

const NAMES: [(Status, &CStr); 42] = [
    (Status::Ok, c"ok"),
    (Status::Need, c"need"),
    (Status::Absent, c"absent"),
    (Status::End, c"end"),
    (Status::NotProxy, c"not_proxy"),
    (Status::Empty, c"empty"),
    (Status::Truncated, c"truncated"),
    (Status::V1ExpectedSpace, c"v1_expected_space"),
    (Status::V1BadProtocol, c"v1_bad_protocol"),
    (Status::V1BadSourceAddress, c"v1_bad_src_addr"),
    (Status::V1BadDestinationAddress, c"v1_bad_dst_addr"),
    (Status::V1BadSourcePort, c"v1_bad_src_port"),
    (Status::V1BadDestinationPort, c"v1_bad_dst_port"),
    (Status::V1MissingField, c"v1_missing_field"),
    (Status::V1ExtraField, c"v1_extra_field"),
    (Status::V1BadLineEnd, c"v1_bad_line_end"),
    (Status::V1TooLong, c"v1_too_long"),
    (Status::V2BadVersion, c"v2_bad_version"),
    (Status::V2BadCommand, c"v2_bad_command"),
    (Status::V2BadFamily, c"v2_bad_family"),
    (Status::V2BadTransport, c"v2_bad_transport"),
    (Status::V2UnspecRejected, c"v2_unspec_rejected"),
    (Status::V2AddressTooShort, c"v2_addr_too_short"),
    (Status::V2TooLong, c"v2_too_long"),
    (Status::TlvHeaderTruncated, c"tlv_header_truncated"),
    (Status::TlvValueOverrun, c"tlv_value_overrun"),
    (Status::CrcMismatch, c"crc_mismatch"),
    (Status::CrcBadLength, c"crc_bad_length"),
    (Status::CrcDuplicate, c"crc_duplicate"),
    (Status::CrcMissing, c"crc_missing"),
    (Status::OtherRefusal, c"other_refusal"),
    (Status::TlvValueLength, c"tlv_value_length"),
    (Status::TlvValueText, c"tlv_value_text"),
    (Status::TlvNoSslVersion, c"tlv_no_ssl_version"),
    (Status::RoomTooSmall, c"room_too_small"),
    (Status::TooLong, c"too_long"),
    (Status::Padding, c"padding"),
    (Status::UnixName, c"unix_name"),
    (Status::NullPointer, c"null_pointer"),
    (Status::Misaligned, c"misaligned"),
    (Status::NotInitialised, c"not_initialised"),
    (Status::BadArgument, c"bad_argument"),
];

fn name(status: i32) -> &'static CStr {
    NAMES.iter().find(|(known, _)| *known as i32 == status).map_or(c"unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_number_of_its_own_and_the_name_that_ppcore_gives_it() {
        let mut seen = HashSet::new();
        for &kind in ErrorKind::ALL {
            let status = Status::from(kind) as i32;
            assert_eq!(name(status).to_str(), Ok(kind.name()));
            assert!(status < 0 && seen.insert(status), "{kind:?}");
        }
        assert_eq!(name(-4), c"unknown");
    }
}
