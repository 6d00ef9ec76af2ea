//! ppcore for C programs: the same decoder and encoder behind a C ABI.
//!
//! No rule of the protocol is decided here: each function checks its pointers, calls ppcore and
//! writes the answer in C's types. The state of a decoder lives in the caller's memory; nothing is
//! allocated. All `unsafe` is in `raw` and in the functions' signatures. Invariant: whatever a caller
//! passes, but for a pointer that does not point to what it says, the answer is a status.

mod decode;
mod encode;
mod raw;
mod status;
mod tlvs;
mod types;

pub use decode::{
    pp_decode, pp_decode_datagram, pp_decoder_init, pp_finish, pp_spp_decode, pp_unix_names,
};
pub use encode::{pp_encode_ssl, pp_encode_v1, pp_encode_v2, pp_spp_encode};
pub use status::{Status, pp_status_name};
pub use tlvs::{pp_tlv_number, pp_tlv_ssl, pp_tlv_text, pp_tlvs_init, pp_tlvs_next};
pub use types::{
    Address, Addresses, Answer, DecoderState, Header, Name, Options, Ssl, Text, Tlv, TlvValue,
    Tlvs, V2,
};

/// Bytes of a pp_decoder.
pub const PP_DECODER_SIZE: usize = 256;
/// The longest v1 header in bytes.
pub const PP_V1_LEN_MAX: usize = 107;
/// The longest v2 header in bytes.
pub const PP_V2_LEN_MAX: usize = 65551;
/// The bytes of an SPP header.
pub const PP_SPP_LEN: usize = 38;

const _: () = assert!(PP_V1_LEN_MAX == ppcore::V1_LEN_MAX);
const _: () = assert!(PP_V2_LEN_MAX == ppcore::V2_LEN_MAX);
const _: () = assert!(PP_SPP_LEN == ppcore::spp::LEN);

/// In pp_options: v1 and v2.
pub const PP_VERSIONS_BOTH: u8 = 0;
/// In pp_options: v1 only.
pub const PP_VERSIONS_V1: u8 = 1;
/// In pp_options: v2 only.
pub const PP_VERSIONS_V2: u8 = 2;

/// In pp_options: refuse a CRC32C TLV that does not match, is not 4 bytes long, or stands there twice.
pub const PP_CRC32C_VERIFY: u8 = 0;
/// In pp_options: a CRC32C TLV is as any other.
pub const PP_CRC32C_IGNORE: u8 = 1;
/// In pp_options: verify, and refuse a v2 header that has none.
pub const PP_CRC32C_REQUIRE: u8 = 2;

/// The sender speaks for itself: use the socket's own addresses.
pub const PP_COMMAND_LOCAL: u8 = 0;
/// The connection is relayed for the client in the addresses.
pub const PP_COMMAND_PROXY: u8 = 1;
/// v1 UNKNOWN: relayed, the client is not known. Use the socket's own addresses.
pub const PP_COMMAND_UNKNOWN: u8 = 2;

/// No addresses.
pub const PP_FAMILY_UNSPEC: u8 = 0;
/// IPv4.
pub const PP_FAMILY_INET: u8 = 1;
/// IPv6.
pub const PP_FAMILY_INET6: u8 = 2;
/// UNIX domain sockets; their names are read with pp_unix_names.
pub const PP_FAMILY_UNIX: u8 = 3;

/// Not stated.
pub const PP_TRANSPORT_UNSPEC: u8 = 0;
/// TCP, or a UNIX stream socket.
pub const PP_TRANSPORT_STREAM: u8 = 1;
/// UDP, or a UNIX datagram socket.
pub const PP_TRANSPORT_DGRAM: u8 = 2;

/// TLV: application protocol (spec 2.2.1).
pub const PP_TLV_ALPN: u8 = 0x01;
/// TLV: host name the client asked for (spec 2.2.2).
pub const PP_TLV_AUTHORITY: u8 = 0x02;
/// TLV: checksum over the header (spec 2.2.3).
pub const PP_TLV_CRC32C: u8 = 0x03;
/// TLV: padding (spec 2.2.4).
pub const PP_TLV_NOOP: u8 = 0x04;
/// TLV: opaque id, at most 128 bytes (spec 2.2.5).
pub const PP_TLV_UNIQUE_ID: u8 = 0x05;
/// TLV: the client's TLS (spec 2.2.6); read with pp_tlv_ssl.
pub const PP_TLV_SSL: u8 = 0x20;
/// Inside SSL: TLS version.
pub const PP_TLV_SSL_VERSION: u8 = 0x21;
/// Inside SSL: common name of the client's certificate.
pub const PP_TLV_SSL_CN: u8 = 0x22;
/// Inside SSL: cipher.
pub const PP_TLV_SSL_CIPHER: u8 = 0x23;
/// Inside SSL: algorithm that signed the sender's certificate.
pub const PP_TLV_SSL_SIG_ALG: u8 = 0x24;
/// Inside SSL: key algorithm of the sender's certificate.
pub const PP_TLV_SSL_KEY_ALG: u8 = 0x25;
/// Inside SSL: key exchange group.
pub const PP_TLV_SSL_GROUP: u8 = 0x26;
/// Inside SSL: signature scheme of the handshake.
pub const PP_TLV_SSL_SIG_SCHEME: u8 = 0x27;
/// Inside SSL: the client's certificate, DER.
pub const PP_TLV_SSL_CLIENT_CERT: u8 = 0x28;
/// TLV: network namespace (spec 2.2.7).
pub const PP_TLV_NETNS: u8 = 0x30;
/// TLV: Google Cloud, the Private Service Connect connection id: 8 bytes, big-endian.
pub const PP_TLV_GCP: u8 = 0xE0;
/// TLV: Amazon Web Services. A first byte of 1 says that the id of the VPC endpoint follows, as text.
pub const PP_TLV_AWS: u8 = 0xEA;
/// TLV: Microsoft Azure. A first byte of 1 says that the private endpoint's LINKID follows: 4 bytes,
/// little-endian.
pub const PP_TLV_AZURE: u8 = 0xEE;

/// In pp_ssl: the client connected over TLS.
pub const PP_CLIENT_SSL: u8 = 0x01;
/// In pp_ssl: it gave a certificate over this connection.
pub const PP_CLIENT_CERT_CONN: u8 = 0x02;
/// In pp_ssl: it gave a certificate in this TLS session.
pub const PP_CLIENT_CERT_SESS: u8 = 0x04;

// Written as numbers for cbindgen; ppcore's are the ones that are used.
const _: () = {
    use ppcore::tlv;
    assert!(PP_TLV_ALPN == tlv::ALPN);
    assert!(PP_TLV_AUTHORITY == tlv::AUTHORITY);
    assert!(PP_TLV_CRC32C == tlv::CRC32C);
    assert!(PP_TLV_NOOP == tlv::NOOP);
    assert!(PP_TLV_UNIQUE_ID == tlv::UNIQUE_ID);
    assert!(PP_TLV_SSL == tlv::SSL);
    assert!(PP_TLV_SSL_VERSION == tlv::SSL_VERSION);
    assert!(PP_TLV_SSL_CN == tlv::SSL_CN);
    assert!(PP_TLV_SSL_CIPHER == tlv::SSL_CIPHER);
    assert!(PP_TLV_SSL_SIG_ALG == tlv::SSL_SIG_ALG);
    assert!(PP_TLV_SSL_KEY_ALG == tlv::SSL_KEY_ALG);
    assert!(PP_TLV_SSL_GROUP == tlv::SSL_GROUP);
    assert!(PP_TLV_SSL_SIG_SCHEME == tlv::SSL_SIG_SCHEME);
    assert!(PP_TLV_SSL_CLIENT_CERT == tlv::SSL_CLIENT_CERT);
    assert!(PP_TLV_NETNS == tlv::NETNS);
    assert!(PP_TLV_GCP == tlv::GCP);
    assert!(PP_TLV_AWS == tlv::AWS);
    assert!(PP_TLV_AZURE == tlv::AZURE);
    assert!(PP_CLIENT_SSL == tlv::CLIENT_SSL);
    assert!(PP_CLIENT_CERT_CONN == tlv::CLIENT_CERT_CONN);
    assert!(PP_CLIENT_CERT_SESS == tlv::CLIENT_CERT_SESS);
};
