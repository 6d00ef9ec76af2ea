/* The PROXY protocol (v1, v2, SPP) for C programs. Generated from crates/ppcapi by
 * `cargo xtask capi header`: change it there.
 *
 * No function allocates, blocks, or keeps a pointer beyond its call, but for pp_tlvs, which holds on to
 * the received bytes. There is no global state: any thread may call any function, and one object is
 * for one thread at a time. A pointer and a length describe that many readable (`const`) or writable
 * bytes; the pointer may be NULL only where the length is 0. Output never overlaps input.
 *
 * PP_STATUS_OK is 0; what is above 0 is no failure either; below 0 what a function writes holds nothing
 * of use, unless it says otherwise.
 *
 * C99 or later, or C++. Types, constants and functions stay as they are as long as the library is called
 * libppcapi.so.0; what a later one adds gets names of its own. */


#ifndef PPCAPI_H
#define PPCAPI_H

#include <stddef.h>
#include <stdint.h>

#if defined(_MSC_VER)
#define PP_ALIGNED(n) __declspec(align(n))
#else
#define PP_ALIGNED(n) __attribute__((aligned(n)))
#endif


/**
 * Bytes of a pp_decoder.
 */
#define PP_DECODER_SIZE 256

/**
 * The longest v1 header in bytes.
 */
#define PP_V1_LEN_MAX 107

/**
 * The longest v2 header in bytes.
 */
#define PP_V2_LEN_MAX 65551

/**
 * The bytes of an SPP header.
 */
#define PP_SPP_LEN 38

/**
 * In pp_options: v1 and v2.
 */
#define PP_VERSIONS_BOTH 0

/**
 * In pp_options: v1 only.
 */
#define PP_VERSIONS_V1 1

/**
 * In pp_options: v2 only.
 */
#define PP_VERSIONS_V2 2

/**
 * In pp_options: refuse a CRC32C TLV that does not match, is not 4 bytes long, or stands there twice.
 */
#define PP_CRC32C_VERIFY 0

/**
 * In pp_options: a CRC32C TLV is as any other.
 */
#define PP_CRC32C_IGNORE 1

/**
 * In pp_options: verify, and refuse a v2 header that has none.
 */
#define PP_CRC32C_REQUIRE 2

/**
 * The sender speaks for itself: use the socket's own addresses.
 */
#define PP_COMMAND_LOCAL 0

/**
 * The connection is relayed for the client in the addresses.
 */
#define PP_COMMAND_PROXY 1

/**
 * v1 UNKNOWN: relayed, the client is not known. Use the socket's own addresses.
 */
#define PP_COMMAND_UNKNOWN 2

/**
 * No addresses.
 */
#define PP_FAMILY_UNSPEC 0

/**
 * IPv4.
 */
#define PP_FAMILY_INET 1

/**
 * IPv6.
 */
#define PP_FAMILY_INET6 2

/**
 * UNIX domain sockets; their names are read with pp_unix_names.
 */
#define PP_FAMILY_UNIX 3

/**
 * Not stated.
 */
#define PP_TRANSPORT_UNSPEC 0

/**
 * TCP, or a UNIX stream socket.
 */
#define PP_TRANSPORT_STREAM 1

/**
 * UDP, or a UNIX datagram socket.
 */
#define PP_TRANSPORT_DGRAM 2

/**
 * TLV: application protocol (spec 2.2.1).
 */
#define PP_TLV_ALPN 1

/**
 * TLV: host name the client asked for (spec 2.2.2).
 */
#define PP_TLV_AUTHORITY 2

/**
 * TLV: checksum over the header (spec 2.2.3).
 */
#define PP_TLV_CRC32C 3

/**
 * TLV: padding (spec 2.2.4).
 */
#define PP_TLV_NOOP 4

/**
 * TLV: opaque id, at most 128 bytes (spec 2.2.5).
 */
#define PP_TLV_UNIQUE_ID 5

/**
 * TLV: the client's TLS (spec 2.2.6); read with pp_tlv_ssl.
 */
#define PP_TLV_SSL 32

/**
 * Inside SSL: TLS version.
 */
#define PP_TLV_SSL_VERSION 33

/**
 * Inside SSL: common name of the client's certificate.
 */
#define PP_TLV_SSL_CN 34

/**
 * Inside SSL: cipher.
 */
#define PP_TLV_SSL_CIPHER 35

/**
 * Inside SSL: algorithm that signed the sender's certificate.
 */
#define PP_TLV_SSL_SIG_ALG 36

/**
 * Inside SSL: key algorithm of the sender's certificate.
 */
#define PP_TLV_SSL_KEY_ALG 37

/**
 * Inside SSL: key exchange group.
 */
#define PP_TLV_SSL_GROUP 38

/**
 * Inside SSL: signature scheme of the handshake.
 */
#define PP_TLV_SSL_SIG_SCHEME 39

/**
 * Inside SSL: the client's certificate, DER.
 */
#define PP_TLV_SSL_CLIENT_CERT 40

/**
 * TLV: network namespace (spec 2.2.7).
 */
#define PP_TLV_NETNS 48

/**
 * TLV: Google Cloud, the Private Service Connect connection id: 8 bytes, big-endian.
 */
#define PP_TLV_GCP 224

/**
 * TLV: Amazon Web Services. A first byte of 1 says that the id of the VPC endpoint follows, as text.
 */
#define PP_TLV_AWS 234

/**
 * TLV: Microsoft Azure. A first byte of 1 says that the private endpoint's LINKID follows: 4 bytes,
 * little-endian.
 */
#define PP_TLV_AZURE 238

/**
 * In pp_ssl: the client connected over TLS.
 */
#define PP_CLIENT_SSL 1

/**
 * In pp_ssl: it gave a certificate over this connection.
 */
#define PP_CLIENT_CERT_CONN 2

/**
 * In pp_ssl: it gave a certificate in this TLS session.
 */
#define PP_CLIENT_CERT_SESS 4

/**
 * What a function returns. Numbers do not change within a soname; new ones may come.
 */
typedef enum pp_status {
  /**
   * Done; of a decoder: here is the header.
   */
  PP_STATUS_OK = 0,
  /**
   * More bytes are needed.
   */
  PP_STATUS_NEED = 1,
  /**
   * There is no header: all bytes are payload. Only with `may_be_absent`.
   */
  PP_STATUS_ABSENT = 2,
  /**
   * There are no more TLVs.
   */
  PP_STATUS_END = 3,
  /**
   * The bytes begin neither a v1 nor a v2 header that this decoder allows.
   */
  PP_STATUS_NOT_PROXY = -1,
  /**
   * The peer closed without having sent a byte, as TCP health checks do.
   */
  PP_STATUS_EMPTY = -2,
  /**
   * The peer closed, or the datagram ended, inside the header.
   */
  PP_STATUS_TRUNCATED = -3,
  /**
   * `PROXY` is not followed by exactly one blank.
   */
  PP_STATUS_V1_EXPECTED_SPACE = -10,
  /**
   * The protocol is not `TCP4`, `TCP6` or `UNKNOWN`.
   */
  PP_STATUS_V1_BAD_PROTOCOL = -11,
  /**
   * The source address is not one of the announced family.
   */
  PP_STATUS_V1_BAD_SOURCE_ADDRESS = -12,
  /**
   * The destination address is not one of the announced family.
   */
  PP_STATUS_V1_BAD_DESTINATION_ADDRESS = -13,
  /**
   * The source port is not a decimal of 0 to 65535 without sign and leading zeros.
   */
  PP_STATUS_V1_BAD_SOURCE_PORT = -14,
  /**
   * The destination port is not a decimal of 0 to 65535 without sign and leading zeros.
   */
  PP_STATUS_V1_BAD_DESTINATION_PORT = -15,
  /**
   * The line ends before its last field.
   */
  PP_STATUS_V1_MISSING_FIELD = -16,
  /**
   * Something follows the destination port.
   */
  PP_STATUS_V1_EXTRA_FIELD = -17,
  /**
   * A CR or LF stands alone.
   */
  PP_STATUS_V1_BAD_LINE_END = -18,
  /**
   * The line cannot end within 107 bytes any more.
   */
  PP_STATUS_V1_TOO_LONG = -19,
  /**
   * The version nibble is not 2.
   */
  PP_STATUS_V2_BAD_VERSION = -30,
  /**
   * The command nibble is neither 0 (LOCAL) nor 1 (PROXY).
   */
  PP_STATUS_V2_BAD_COMMAND = -31,
  /**
   * The family nibble is above 3.
   */
  PP_STATUS_V2_BAD_FAMILY = -32,
  /**
   * The transport nibble is above 2.
   */
  PP_STATUS_V2_BAD_TRANSPORT = -33,
  /**
   * Family or transport is UNSPEC, which these options reject.
   */
  PP_STATUS_V2_UNSPEC_REJECTED = -34,
  /**
   * The length is less than the address block of the family.
   */
  PP_STATUS_V2_ADDRESS_TOO_SHORT = -35,
  /**
   * The header is longer than these options allow.
   */
  PP_STATUS_V2_TOO_LONG = -36,
  /**
   * One or two bytes are left where a TLV needs three.
   */
  PP_STATUS_TLV_HEADER_TRUNCATED = -37,
  /**
   * A TLV's value runs past the end of the header.
   */
  PP_STATUS_TLV_VALUE_OVERRUN = -38,
  /**
   * The checksum does not match.
   */
  PP_STATUS_CRC_MISMATCH = -39,
  /**
   * The CRC32C TLV is not 4 bytes long.
   */
  PP_STATUS_CRC_BAD_LENGTH = -40,
  /**
   * There are two CRC32C TLVs.
   */
  PP_STATUS_CRC_DUPLICATE = -41,
  /**
   * There is no CRC32C TLV, where one is required.
   */
  PP_STATUS_CRC_MISSING = -42,
  /**
   * A refusal this version of the ABI has no number for.
   */
  PP_STATUS_OTHER_REFUSAL = -49,
  /**
   * A TLV's value is shorter or longer than its type allows.
   */
  PP_STATUS_TLV_VALUE_LENGTH = -50,
  /**
   * A TLV's value is not the text its type demands.
   */
  PP_STATUS_TLV_VALUE_TEXT = -51,
  /**
   * An SSL value says the client used TLS but names no version.
   */
  PP_STATUS_TLV_NO_SSL_VERSION = -52,
  /**
   * The room is too small; the length it takes has been written.
   */
  PP_STATUS_ROOM_TOO_SMALL = -60,
  /**
   * More than 65535 bytes follow the fixed part of a v2 header, or 65535 an SSL value.
   */
  PP_STATUS_TOO_LONG = -61,
  /**
   * `pad_to` is less than the header, or one or two bytes more: padding takes three at least.
   */
  PP_STATUS_PADDING = -62,
  /**
   * A UNIX name is longer than 108 bytes.
   */
  PP_STATUS_UNIX_NAME = -63,
  /**
   * A pointer is NULL that may not be.
   */
  PP_STATUS_NULL_POINTER = -70,
  /**
   * A pointer is not aligned as its type demands.
   */
  PP_STATUS_MISALIGNED = -71,
  /**
   * A decoder was not initialised.
   */
  PP_STATUS_NOT_INITIALISED = -72,
  /**
   * A kind, a family, a length or an option is none that the function knows.
   */
  PP_STATUS_BAD_ARGUMENT = -73,
} pp_status;

/**
 * A decoder of one stream's header. Its bytes are private and may be moved between calls; it owns
 * nothing, so it is not to be freed.
 */
typedef struct PP_ALIGNED(8) pp_decoder {
  /**
   * Private.
   */
  uint8_t opaque[PP_DECODER_SIZE];
} pp_decoder;

/**
 * What a decoder accepts. All zeros are the options for a server behind a balancer: v1 and v2, any length,
 * checksums verified, TLVs judged when they are walked, UNSPEC accepted, a header required.
 */
typedef struct pp_options {
  /**
   * PP_VERSIONS_BOTH, PP_VERSIONS_V1 or PP_VERSIONS_V2.
   */
  uint8_t versions;
  /**
   * PP_CRC32C_VERIFY, PP_CRC32C_IGNORE or PP_CRC32C_REQUIRE.
   */
  uint8_t crc32c;
  /**
   * Not 0: refuse TLVs that are framed badly at the first byte that makes it certain. 0: the header
   * is good, the walk over its TLVs yields the error.
   */
  uint8_t strict_tlvs;
  /**
   * Not 0: refuse a v2 PROXY header of unspecified family or transport.
   */
  uint8_t reject_unspec;
  /**
   * Not 0: a stream may begin with its payload; the answer is then PP_STATUS_ABSENT. Only for peers
   * that are trusted.
   */
  uint8_t may_be_absent;
  /**
   * Not 0: take the v1 lines that nginx writes behind set_real_ip_from, whose addresses are of two families;
   * the pair is read as IPv6, with the IPv4 one mapped.
   */
  uint8_t mixed_v1_families;
  /**
   * The largest v2 length field to take, in bytes; the whole header may be 16 bytes longer. 0: any.
   */
  uint16_t v2_len_max;
} pp_options;

/**
 * An IP address and a port.
 */
typedef struct pp_address {
  /**
   * Network order; IPv4 takes the first 4 bytes, the rest is 0.
   */
  uint8_t ip[16];
  /**
   * Host order.
   */
  uint16_t port;
} pp_address;

/**
 * The addresses of a header; both are of one family.
 */
typedef struct pp_addresses {
  /**
   * PP_FAMILY_...
   */
  uint8_t family;
  /**
   * The client.
   */
  struct pp_address source;
  /**
   * The address the client connected to.
   */
  struct pp_address destination;
} pp_addresses;

/**
 * A decoded header. It points nowhere: keep it as long as you like.
 */
typedef struct pp_header {
  /**
   * Bytes of the whole header, 15 to 65551: the payload begins behind them.
   */
  size_t len;
  /**
   * Offset of the first TLV; `len` if there is none.
   */
  size_t tlvs_offset;
  /**
   * 1 or 2.
   */
  uint8_t version;
  /**
   * PP_COMMAND_...
   */
  uint8_t command;
  /**
   * PP_FAMILY_... as read, PP_FAMILY_UNSPEC in LOCAL and UNKNOWN; a header may name a family and no
   * transport, and then carries no addresses.
   */
  uint8_t family;
  /**
   * PP_TRANSPORT_...
   */
  uint8_t transport;
  /**
   * The carried addresses, as they were written. They count if their family is PP_FAMILY_INET or
   * PP_FAMILY_INET6 and the transport is that of the socket; otherwise use those of the socket.
   */
  struct pp_addresses addresses;
} pp_header;

/**
 * What a decoder answers; each field is set for the statuses it names, and 0 for all others.
 */
typedef struct pp_answer {
  /**
   * PP_STATUS_NEED: at least this many bytes are missing. Reading just as many never takes a byte of
   * the payload.
   */
  size_t need;
  /**
   * A refusal: the offset of the first byte that has no valid continuation; for a checksum that of
   * its value, for a truncated input its length.
   */
  size_t offset;
  /**
   * PP_STATUS_OK: the header.
   */
  struct pp_header header;
} pp_answer;

/**
 * A UNIX socket's name: bytes inside the received ones, without a terminating NUL.
 */
typedef struct pp_name {
  /**
   * The first byte; NULL if the socket has no name.
   */
  const uint8_t *at;
  /**
   * At most 108; a name in the abstract namespace comes without its leading NUL.
   */
  size_t len;
  /**
   * Not 0: in the abstract namespace.
   */
  uint8_t is_abstract;
} pp_name;

/**
 * A TLV to be written.
 */
typedef struct pp_tlv_value {
  /**
   * The type byte.
   */
  uint8_t kind;
  /**
   * The value; may be NULL if `value_len` is 0.
   */
  const uint8_t *value;
  /**
   * Bytes of the value.
   */
  size_t value_len;
} pp_tlv_value;

/**
 * A v2 header to be written. All zeros is a LOCAL header without anything.
 */
typedef struct pp_v2 {
  /**
   * PP_COMMAND_LOCAL, which carries no addresses, or PP_COMMAND_PROXY.
   */
  uint8_t command;
  /**
   * PP_TRANSPORT_STREAM or PP_TRANSPORT_DGRAM; not looked at without addresses.
   */
  uint8_t transport;
  /**
   * Not 0: add a checksum over the whole header, behind the TLVs.
   */
  uint8_t crc32c;
  /**
   * The addresses; PP_FAMILY_UNIX takes the names below.
   */
  struct pp_addresses addresses;
  /**
   * PP_FAMILY_UNIX: the client's `sun_path`, `source_name_len` bytes.
   */
  const uint8_t *source_name;
  /**
   * At most 108.
   */
  size_t source_name_len;
  /**
   * PP_FAMILY_UNIX: the `sun_path` the client connected to, `destination_name_len` bytes.
   */
  const uint8_t *destination_name;
  /**
   * At most 108.
   */
  size_t destination_name_len;
  /**
   * TLVs in their order; may be NULL if `tlvs_len` is 0.
   */
  const struct pp_tlv_value *tlvs;
  /**
   * Number of TLVs.
   */
  size_t tlvs_len;
  /**
   * Pad with a NOOP TLV until the header is so long; 0: no padding.
   */
  size_t pad_to;
} pp_v2;

/**
 * A walk over TLVs. Its fields are private; it points into the received bytes.
 */
typedef struct pp_tlvs {
  /**
   * Private.
   */
  const uint8_t *rest;
  /**
   * Private.
   */
  size_t rest_len;
  /**
   * Private.
   */
  size_t offset;
} pp_tlvs;

/**
 * One TLV; its value points into the received bytes.
 */
typedef struct pp_tlv {
  /**
   * PP_TLV_... or any other type byte. Types may repeat.
   */
  uint8_t kind;
  /**
   * Whether the value keeps the rule of its type: PP_STATUS_OK, or why not. A header is good all the
   * same.
   */
  enum pp_status value_status;
  /**
   * The value.
   */
  const uint8_t *value;
  /**
   * Bytes of the value, 0 to 65532.
   */
  size_t value_len;
  /**
   * Offset of the type byte from the first byte of the header.
   */
  size_t offset;
} pp_tlv;

/**
 * What the sender knows of the client's TLS.
 */
typedef struct pp_ssl {
  /**
   * PP_CLIENT_... flags.
   */
  uint8_t client;
  /**
   * 0 if the client gave a certificate that was verified.
   */
  uint32_t verify;
  /**
   * A walk over the inner TLVs, for pp_tlvs_next.
   */
  struct pp_tlvs tlvs;
} pp_ssl;

/**
 * Text inside the received bytes, without a terminating NUL; whoever sent it chose every byte.
 */
typedef struct pp_text {
  /**
   * The first byte.
   */
  const uint8_t *at;
  /**
   * Bytes.
   */
  size_t len;
} pp_text;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a decoder of whatever is in `decoder`, for a stream of which nothing has been read. `options`
 * may be NULL: as all zeros.
 *
 * Returns PP_STATUS_OK, PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
 *
 * # Safety
 * `decoder` points to room for a pp_decoder; `options`, unless NULL, to pp_options.
 */
enum pp_status pp_decoder_init(struct pp_decoder *decoder,
                               const struct pp_options *options);

/**
 * Judges all bytes received so far: `received` begins with the stream's first byte, and what an
 * earlier call has seen must not have changed. Call it again each time there are more bytes: it goes
 * on where it stopped. Once the answer is final, more bytes do not alter it.
 *
 * Returns PP_STATUS_OK with the header, PP_STATUS_NEED with the number of bytes that are missing,
 * PP_STATUS_ABSENT, or a refusal with its offset, which is final: close the connection. Or
 * PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED, PP_STATUS_NOT_INITIALISED, PP_STATUS_BAD_ARGUMENT: then the
 * answer, if it can be written, is all 0.
 *
 * # Safety
 * `decoder` points to an initialised pp_decoder, `received` to `received_len` readable bytes, `answer`
 * to room for a pp_answer.
 */
enum pp_status pp_decode(struct pp_decoder *decoder,
                         const uint8_t *received,
                         size_t received_len,
                         struct pp_answer *answer);

/**
 * Judges the bytes of a stream that has ended behind them, as pp_decode does; in place of
 * PP_STATUS_NEED come PP_STATUS_EMPTY, if there are none, PP_STATUS_TRUNCATED, or, where it is allowed,
 * PP_STATUS_ABSENT.
 *
 * # Safety
 * As pp_decode.
 */
enum pp_status pp_finish(struct pp_decoder *decoder,
                         const uint8_t *received,
                         size_t received_len,
                         struct pp_answer *answer);

/**
 * Decodes the v1 or v2 header of one UDP datagram; `options` may be NULL: as all zeros.
 *
 * Returns as pp_decode, but never PP_STATUS_NEED: a datagram that ends inside its header is
 * PP_STATUS_TRUNCATED, and so is an empty one. v1 is a protocol of TCP: that datagrams should carry v2
 * alone is for the options to say.
 *
 * # Safety
 * `options`, unless NULL, points to pp_options, `datagram` to `datagram_len` readable bytes, `answer`
 * to room for a pp_answer.
 */
enum pp_status pp_decode_datagram(const struct pp_options *options,
                                  const uint8_t *datagram,
                                  size_t datagram_len,
                                  struct pp_answer *answer);

/**
 * Decodes the Simple Proxy Protocol header of one UDP datagram, PP_SPP_LEN bytes.
 *
 * Returns PP_STATUS_OK, PP_STATUS_NOT_PROXY, PP_STATUS_TRUNCATED, PP_STATUS_NULL_POINTER,
 * PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
 *
 * # Safety
 * `datagram` points to `datagram_len` readable bytes, `addresses` to room for a pp_addresses.
 */
enum pp_status pp_spp_decode(const uint8_t *datagram,
                             size_t datagram_len,
                             struct pp_addresses *addresses);

/**
 * Reads the names of a header of PP_FAMILY_UNIX; they point into `received`, the bytes that header was
 * decoded from.
 *
 * Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if the bytes are no such header, PP_STATUS_NULL_POINTER or
 * PP_STATUS_MISALIGNED.
 *
 * # Safety
 * `received` points to `received_len` readable bytes, `source` and `destination` each to room for a
 * pp_name.
 */
enum pp_status pp_unix_names(const uint8_t *received,
                             size_t received_len,
                             struct pp_name *source,
                             struct pp_name *destination);

/**
 * Writes a v1 line, 15 to 104 bytes. PP_FAMILY_UNSPEC and PP_FAMILY_UNIX make `PROXY UNKNOWN`.
 *
 * Returns PP_STATUS_OK with the length in `*len`; PP_STATUS_ROOM_TOO_SMALL with the length it takes there,
 * and unspecified bytes in `out`; PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED or PP_STATUS_BAD_ARGUMENT.
 *
 * # Safety
 * `out` points to `room` writable bytes, `addresses` to a pp_addresses, `len` to a size_t.
 */
enum pp_status pp_encode_v1(uint8_t *out,
                            size_t room,
                            const struct pp_addresses *addresses,
                            size_t *len);

/**
 * Writes a v2 header with its TLVs.
 *
 * Returns as pp_encode_v1; and PP_STATUS_TOO_LONG, PP_STATUS_PADDING, PP_STATUS_UNIX_NAME, with unspecified
 * bytes in `out`.
 *
 * # Safety
 * `out` points to `room` writable bytes, `header` to a pp_v2 whose pointers hold what it says, `len` to
 * a size_t.
 */
enum pp_status pp_encode_v2(uint8_t *out,
                            size_t room,
                            const struct pp_v2 *header,
                            size_t *len);

/**
 * Writes the value of a TLV of PP_TLV_SSL: flags, verify result, inner TLVs. Give it to pp_encode_v2 as
 * the value of that type.
 *
 * Returns as pp_encode_v1, and PP_STATUS_TOO_LONG above 65535 bytes.
 *
 * # Safety
 * `out` points to `room` writable bytes, `tlvs` to `tlvs_len` pp_tlv_value whose pointers hold what
 * they say, `len` to a size_t.
 */
enum pp_status pp_encode_ssl(uint8_t *out,
                             size_t room,
                             uint8_t client,
                             uint32_t verify,
                             const struct pp_tlv_value *tlvs,
                             size_t tlvs_len,
                             size_t *len);

/**
 * Writes a Simple Proxy Protocol header, PP_SPP_LEN bytes. Without IP addresses they are `::`, port 0.
 *
 * Returns as pp_encode_v1.
 *
 * # Safety
 * As pp_encode_v1.
 */
enum pp_status pp_spp_encode(uint8_t *out,
                             size_t room,
                             const struct pp_addresses *addresses,
                             size_t *len);

/**
 * Returns a stable name of a status, such as "v1_bad_protocol", for logs; "unknown" for a number that
 * is none. The text is static: never free it.
 */
const char *pp_status_name(int32_t status);

/**
 * Begins a walk over the TLVs of `header`, which was decoded from `received`. The walk points into
 * `received`: keep those bytes for as long as you use it, or a TLV it gave.
 *
 * Returns PP_STATUS_OK, PP_STATUS_NULL_POINTER, PP_STATUS_MISALIGNED, or PP_STATUS_BAD_ARGUMENT if there are
 * fewer bytes than the header has.
 *
 * # Safety
 * `header` points to a pp_header, `received` to `received_len` readable bytes, `tlvs` to room for a
 * pp_tlvs.
 */
enum pp_status pp_tlvs_init(struct pp_tlvs *tlvs,
                            const struct pp_header *header,
                            const uint8_t *received,
                            size_t received_len);

/**
 * Takes the next TLV.
 *
 * Returns PP_STATUS_OK with the TLV, PP_STATUS_END, or PP_STATUS_TLV_HEADER_TRUNCATED or
 * PP_STATUS_TLV_VALUE_OVERRUN, once, if they are framed badly. Or PP_STATUS_NULL_POINTER,
 * PP_STATUS_MISALIGNED, PP_STATUS_BAD_ARGUMENT.
 *
 * # Safety
 * `tlvs` points to a walk that pp_tlvs_init or pp_tlv_ssl began, whose bytes still stand; `tlv` to room
 * for a pp_tlv.
 */
enum pp_status pp_tlvs_next(struct pp_tlvs *tlvs,
                            struct pp_tlv *tlv);

/**
 * Reads a TLV of PP_TLV_SSL. The inner walk points into the same received bytes.
 *
 * Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if it is of another type, PP_STATUS_TLV_VALUE_LENGTH if it
 * is shorter than 5 bytes, PP_STATUS_NULL_POINTER or PP_STATUS_MISALIGNED.
 *
 * # Safety
 * `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `ssl` to room for a pp_ssl.
 */
enum pp_status pp_tlv_ssl(const struct pp_tlv *tlv,
                          struct pp_ssl *ssl);

/**
 * Reads the text of a TLV that is one: ALPN, AUTHORITY, NETNS, the id of a VPC endpoint in PP_TLV_AWS, and those
 * inside SSL but for the certificate. It points into the same received bytes.
 *
 * Returns PP_STATUS_OK, PP_STATUS_BAD_ARGUMENT if it is of another type or subtype, the TLV's value_status if
 * its value breaks the rule of its type, PP_STATUS_NULL_POINTER or PP_STATUS_MISALIGNED.
 *
 * # Safety
 * `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `text` to room for a pp_text.
 */
enum pp_status pp_tlv_text(const struct pp_tlv *tlv,
                           struct pp_text *text);

/**
 * Reads the number of a TLV that is one: CRC32C, the connection id in PP_TLV_GCP, the LINKID in PP_TLV_AZURE.
 *
 * Returns as pp_tlv_text.
 *
 * # Safety
 * `tlv` points to a pp_tlv that pp_tlvs_next wrote, whose bytes still stand; `number` to room for a uint64_t.
 */
enum pp_status pp_tlv_number(const struct pp_tlv *tlv,
                             uint64_t *number);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PPCAPI_H */
