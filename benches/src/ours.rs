//! What ppcore is asked to do: the same calls for the clock and for the count.
//!
//! Invariant: every function does what a caller of the library would do, through its public face,
//! and returns what the caller would go on with.

use std::hint::black_box;

use ppcore::encode::{EncodeError, Encoder, v1};
use ppcore::{Addresses, Decoded, Decoder, Error, Options, tlv};

/// Decodes a header that has arrived whole.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode(received: &[u8]) -> Result<Decoded, Error> {
    Decoder::new(Options::new()).decode(received)
}

/// Decodes a header that arrives one byte at a time.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode_dribbled(received: &[u8]) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(Options::new());
    for len in 1..received.len() {
        if !matches!(decoder.decode(&received[..len])?, Decoded::Need(_)) {
            break;
        }
    }
    decoder.decode(received)
}

/// Decodes a header and looks at every TLV; returns their number and the sum of their types.
///
/// # Errors
/// As [`Decoder::decode`], and the first broken frame.
pub fn decode_and_walk(received: &[u8], options: Options) -> Result<(usize, usize), Error> {
    let decoded = Decoder::new(options).decode(received);
    let (mut count, mut sum) = (0, 0);
    match black_box(&decoded) {
        Ok(Decoded::Header(header)) => {
            for tlv in header.tlvs(received) {
                let tlv = tlv?;
                count += 1;
                sum += usize::from(tlv.kind());
            }
        }
        Ok(Decoded::Need(_) | Decoded::Absent) => {}
        Err(error) => return Err(*error),
    }
    Ok((count, sum))
}

/// Writes a v1 line.
///
/// # Errors
/// As [`v1`].
pub fn encode_v1(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    v1(out, addresses)
}

/// Writes a v2 header without TLVs.
///
/// # Errors
/// As [`Encoder::finish`].
pub fn encode_v2(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    Encoder::stream(out, addresses).finish()
}

/// Writes the header of [`V2_SSL`](crate::input::V2_SSL).
///
/// # Errors
/// As [`Encoder::finish`].
pub fn encode_v2_ssl(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    ssl(out, addresses).finish()
}

/// Writes the same with a checksum behind it.
///
/// # Errors
/// As [`Encoder::finish`].
pub fn encode_v2_ssl_crc(out: &mut [u8], addresses: &Addresses) -> Result<usize, EncodeError> {
    ssl(out, addresses).crc32c().finish()
}

fn ssl<'a>(out: &'a mut [u8], addresses: &Addresses) -> Encoder<'a> {
    let sub_tlvs: &[(u8, &[u8])] = &[
        (tlv::SSL_VERSION, b"TLSv1.3"),
        (tlv::SSL_CN, b"client-certificate.example.com"),
        (tlv::SSL_CIPHER, b"TLS_AES_256_GCM_SHA384"),
        (tlv::SSL_SIG_ALG, b"RSA-SHA256"),
        (tlv::SSL_KEY_ALG, b"RSA2048"),
    ];
    Encoder::stream(out, addresses)
        .tlv(tlv::ALPN, b"h2")
        .tlv(tlv::AUTHORITY, b"www.example.com")
        .ssl(tlv::CLIENT_SSL | tlv::CLIENT_CERT_CONN, 0, sub_tlvs)
}
