//! Version 2 headers with TLVs, put together from `common::wire`.

use crate::common::wire::{CRC32C, SIGNATURE, crc32c};

/// A LOCAL header without addresses.
pub(crate) fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0x00, 0, 0][..]].concat()
}

/// The header with more TLVs at its end.
pub(crate) fn with_tlvs(mut header: Vec<u8>, tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    for (kind, value) in tlvs {
        let len = u16::try_from(value.len()).expect("a value is at most 65,535 bytes");
        header.push(*kind);
        header.extend_from_slice(&len.to_be_bytes());
        header.extend_from_slice(value);
    }
    let len = u16::try_from(header.len() - 16).expect("a header is at most 65,551 bytes");
    header[14..16].copy_from_slice(&len.to_be_bytes());
    header
}

/// The header with a checksum over all of it at its end.
pub(crate) fn sealed(header: Vec<u8>) -> Vec<u8> {
    let mut header = with_tlvs(header, &[(CRC32C, &[0; 4])]);
    let crc = crc32c(&header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&crc.to_be_bytes());
    header
}
