/* Every function with what it should refuse, and every encoder with every size of room. */
#include "guard.h"
#include "ppcapi.h"

static unsigned checks;

#define CHECK(condition)                                                                               \
    do {                                                                                               \
        checks++;                                                                                      \
        if (!(condition)) {                                                                            \
            fprintf(stderr, "calls.c:%d: %s\n", __LINE__, #condition);                                 \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)

static const uint8_t LINE[] = "PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";
#define LINE_LEN (sizeof LINE - 1)

/* A pointer that is not aligned for anything but bytes. */
static void *odd(void *at)
{
    return (char *)at + 1;
}

static void decoding_refuses(void)
{
    union {
        pp_decoder decoder;
        char bytes[2 * sizeof(pp_decoder)];
    } room;
    pp_options options;
    pp_answer answer;
    char answers[2 * sizeof answer];
    memset(&options, 0, sizeof options);
    memset(&answer, 0xff, sizeof answer);
    memset(&room, 0xff, sizeof room);
    CHECK(pp_decode(&room.decoder, LINE, LINE_LEN, &answer) == PP_STATUS_NOT_INITIALISED);
    CHECK(answer.need == 0 && answer.offset == 0 && answer.header.len == 0);
    CHECK(pp_finish(&room.decoder, LINE, LINE_LEN, &answer) == PP_STATUS_NOT_INITIALISED);
    CHECK(pp_decoder_init(NULL, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decoder_init(odd(&room), NULL) == PP_STATUS_MISALIGNED);
    CHECK(pp_decoder_init(&room.decoder, odd(answers)) == PP_STATUS_MISALIGNED);
    options.versions = 3;
    CHECK(pp_decoder_init(&room.decoder, &options) == PP_STATUS_BAD_ARGUMENT);
    options.versions = PP_VERSIONS_BOTH;
    options.crc32c = 3;
    CHECK(pp_decoder_init(&room.decoder, &options) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_decoder_init(&room.decoder, NULL) == PP_STATUS_OK);
    CHECK(pp_decode(NULL, LINE, LINE_LEN, &answer) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decode(odd(&room), LINE, LINE_LEN, &answer) == PP_STATUS_MISALIGNED);
    CHECK(pp_decode(&room.decoder, NULL, 1, &answer) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decode(&room.decoder, LINE, (size_t)-1, &answer) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_decode(&room.decoder, LINE, LINE_LEN, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decode(&room.decoder, LINE, LINE_LEN, odd(answers)) == PP_STATUS_MISALIGNED);
    CHECK(pp_finish(NULL, LINE, LINE_LEN, &answer) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decode_datagram(NULL, NULL, 1, &answer) == PP_STATUS_NULL_POINTER);
    CHECK(pp_decode_datagram(&options, LINE, LINE_LEN, &answer) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_decode_datagram(NULL, LINE, LINE_LEN, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_spp_decode(NULL, 38, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_unix_names(LINE, LINE_LEN, NULL, NULL) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_unix_names(NULL, 1, NULL, NULL) == PP_STATUS_NULL_POINTER);
    /* After all that it still works, and stays decided. */
    CHECK(pp_decoder_init(&room.decoder, NULL) == PP_STATUS_OK);
    CHECK(pp_decode(&room.decoder, NULL, 0, &answer) == PP_STATUS_NEED && answer.need == 15);
    CHECK(pp_decode(&room.decoder, LINE, LINE_LEN, &answer) == PP_STATUS_OK);
    CHECK(answer.header.len == LINE_LEN && answer.header.tlvs_offset == LINE_LEN);
    CHECK(answer.header.addresses.source.port == 51820);
    CHECK(pp_decode(&room.decoder, LINE, LINE_LEN, &answer) == PP_STATUS_OK);
    memset(&options, 0, sizeof options);
    options.may_be_absent = 1;
    CHECK(pp_decoder_init(&room.decoder, &options) == PP_STATUS_OK);
    CHECK(pp_decode(&room.decoder, (const uint8_t *)"GET", 3, &answer) == PP_STATUS_ABSENT);
    CHECK(pp_decode_datagram(&options, LINE, 3, &answer) == PP_STATUS_ABSENT);
    CHECK(pp_decode_datagram(NULL, LINE, 3, &answer) == PP_STATUS_TRUNCATED && answer.offset == 3);
    CHECK(pp_decode_datagram(NULL, NULL, 0, &answer) == PP_STATUS_TRUNCATED && answer.offset == 0);
}

/* What is asked for beyond the defaults, and that zeros are those. */
static void options_say_what_is_taken(void)
{
    static const char MIXED[] = "PROXY TCP6 2001:db8::7 192.0.2.1 51820 443\r\n";
    static const uint8_t PLAIN[] = {13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10, 0x20, 0, 0, 3, 4, 0, 0};
    pp_decoder decoder;
    pp_options options;
    pp_answer answer;
    memset(&options, 0, sizeof options);
    CHECK(pp_decoder_init(&decoder, &options) == PP_STATUS_OK);
    CHECK(pp_decode(&decoder, PLAIN, sizeof PLAIN, &answer) == PP_STATUS_OK);
    CHECK(pp_decode_datagram(&options, (const uint8_t *)MIXED, sizeof MIXED - 1, &answer) ==
          PP_STATUS_V1_BAD_DESTINATION_ADDRESS);
    options.mixed_v1_families = 1;
    CHECK(pp_decode_datagram(&options, (const uint8_t *)MIXED, sizeof MIXED - 1, &answer) == PP_STATUS_OK);
    CHECK(answer.header.addresses.family == PP_FAMILY_INET6);
    options.v2_len_max = 2;
    CHECK(pp_decode_datagram(&options, PLAIN, sizeof PLAIN, &answer) == PP_STATUS_V2_TOO_LONG);
    options.v2_len_max = 0;
    options.crc32c = PP_CRC32C_REQUIRE;
    CHECK(pp_decode_datagram(&options, PLAIN, sizeof PLAIN, &answer) < 0);
}

static pp_tlv a_tlv(uint8_t kind, const void *value, size_t value_len)
{
    pp_tlv tlv;
    memset(&tlv, 0, sizeof tlv);
    tlv.kind = kind;
    tlv.value = (const uint8_t *)value;
    tlv.value_len = value_len;
    return tlv;
}

static void values_are_read_by_their_types(void)
{
    pp_tlv alpn = a_tlv(PP_TLV_ALPN, "h2", 2), aws = a_tlv(PP_TLV_AWS, "\1vpce-1", 7);
    pp_tlv other = a_tlv(PP_TLV_AWS, "\2x", 2), host = a_tlv(PP_TLV_AUTHORITY, "\377", 1);
    pp_tlv cn = a_tlv(PP_TLV_SSL_CN, "J\303\266rg", 5), gcp = a_tlv(PP_TLV_GCP, "\0\0\0\0\0\0\1\2", 8);
    pp_tlv azure = a_tlv(PP_TLV_AZURE, "\1\2\1\0\0", 5), nothing = a_tlv(PP_TLV_ALPN, NULL, 1);
    pp_text text;
    uint64_t number = 0;
    CHECK(pp_tlv_text(&alpn, &text) == PP_STATUS_OK && text.len == 2 && memcmp(text.at, "h2", 2) == 0);
    CHECK(pp_tlv_text(&aws, &text) == PP_STATUS_OK && text.len == 6 && memcmp(text.at, "vpce-1", 6) == 0);
    CHECK(pp_tlv_text(&cn, &text) == PP_STATUS_OK && text.len == 5);
    CHECK(pp_tlv_text(&other, &text) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_tlv_text(&gcp, &text) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_tlv_text(&host, &text) == PP_STATUS_TLV_VALUE_TEXT);
    CHECK(pp_tlv_text(&nothing, &text) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlv_text(NULL, &text) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlv_text(&alpn, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlv_number(&gcp, &number) == PP_STATUS_OK && number == 258);
    CHECK(pp_tlv_number(&azure, &number) == PP_STATUS_OK && number == 258);
    CHECK(pp_tlv_number(&alpn, &number) == PP_STATUS_BAD_ARGUMENT);
    gcp.value_len = 7;
    CHECK(pp_tlv_number(&gcp, &number) == PP_STATUS_TLV_VALUE_LENGTH);
    CHECK(pp_tlv_number(NULL, &number) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlv_number(&azure, NULL) == PP_STATUS_NULL_POINTER);
}

static void walks_refuse(void)
{
    pp_header header;
    pp_tlvs tlvs;
    pp_tlv tlv;
    pp_ssl ssl;
    memset(&header, 0, sizeof header);
    header.len = 40;
    header.tlvs_offset = 28;
    CHECK(pp_tlvs_init(&tlvs, &header, LINE, 39) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_tlvs_init(&tlvs, NULL, LINE, 40) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlvs_init(NULL, &header, LINE, 40) == PP_STATUS_NULL_POINTER);
    CHECK(pp_tlvs_init(&tlvs, &header, NULL, 40) == PP_STATUS_NULL_POINTER);
    header.tlvs_offset = 41;
    CHECK(pp_tlvs_init(&tlvs, &header, LINE, 44) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_tlvs_next(NULL, &tlv) == PP_STATUS_NULL_POINTER);
    header.tlvs_offset = 40;
    CHECK(pp_tlvs_init(&tlvs, &header, LINE, 44) == PP_STATUS_OK);
    CHECK(pp_tlvs_next(&tlvs, NULL) == PP_STATUS_END);
    memset(&tlv, 0, sizeof tlv);
    CHECK(pp_tlv_ssl(&tlv, &ssl) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_tlv_ssl(NULL, &ssl) == PP_STATUS_NULL_POINTER);
    tlv.kind = PP_TLV_SSL;
    CHECK(pp_tlv_ssl(&tlv, &ssl) == PP_STATUS_TLV_VALUE_LENGTH);
    tlv.value_len = 5;
    CHECK(pp_tlv_ssl(&tlv, &ssl) == PP_STATUS_NULL_POINTER);
}

static pp_addresses some_addresses(void)
{
    static const uint8_t SOURCE[] = {203, 0, 113, 7};
    static const uint8_t DESTINATION[] = {192, 0, 2, 1};
    pp_addresses addresses;
    memset(&addresses, 0, sizeof addresses);
    addresses.family = PP_FAMILY_INET;
    memcpy(addresses.source.ip, SOURCE, 4);
    memcpy(addresses.destination.ip, DESTINATION, 4);
    addresses.source.port = 51820;
    addresses.destination.port = 443;
    return addresses;
}

static void v1_is_written(void)
{
    pp_addresses addresses = some_addresses();
    size_t len = 0, room;
    for (room = 0; room <= LINE_LEN; room++) {
        unsigned char *out = guarded(room);
        pp_status status = pp_encode_v1(out, room, &addresses, &len);
        CHECK(status == (room < LINE_LEN ? PP_STATUS_ROOM_TOO_SMALL : PP_STATUS_OK));
        CHECK(len == LINE_LEN);
        if (status == PP_STATUS_OK)
            CHECK(memcmp(out, LINE, len) == 0);
        unguard(out, room);
    }
    CHECK(pp_encode_v1(NULL, 1, &addresses, &len) == PP_STATUS_NULL_POINTER);
    CHECK(pp_encode_v1(NULL, 0, &addresses, NULL) == PP_STATUS_NULL_POINTER);
    CHECK(pp_encode_v1(NULL, 0, NULL, &len) == PP_STATUS_NULL_POINTER);
    addresses.family = 9;
    CHECK(pp_encode_v1(NULL, 0, &addresses, &len) == PP_STATUS_BAD_ARGUMENT);
    CHECK(pp_spp_encode(NULL, 0, &addresses, &len) == PP_STATUS_BAD_ARGUMENT);
}

static void v2_is_written_and_read_back(void)
{
    uint8_t inner[64], out[256];
    pp_tlv_value sub[2], tlvs[2];
    pp_v2 header;
    pp_decoder decoder;
    pp_answer answer;
    pp_tlvs walk;
    pp_tlv tlv;
    pp_ssl ssl;
    size_t len = 0, inner_len = 0, room;
    sub[0].kind = PP_TLV_SSL_VERSION;
    sub[0].value = (const uint8_t *)"TLSv1.3";
    sub[0].value_len = 7;
    sub[1].kind = PP_TLV_SSL_CN;
    sub[1].value = NULL;
    sub[1].value_len = 0;
    CHECK(pp_encode_ssl(NULL, 0, PP_CLIENT_SSL, 0, sub, 2, &inner_len) == PP_STATUS_ROOM_TOO_SMALL);
    CHECK(inner_len == 5 + 3 + 7 + 3);
    CHECK(pp_encode_ssl(inner, sizeof inner, PP_CLIENT_SSL, 0, sub, 2, &inner_len) == PP_STATUS_OK);
    CHECK(pp_encode_ssl(out, 3, 0, 0, NULL, 1, &len) == PP_STATUS_NULL_POINTER);
    sub[1].value_len = 1;
    CHECK(pp_encode_ssl(out, 32, 0, 0, sub, 2, &len) == PP_STATUS_NULL_POINTER);
    tlvs[0].kind = PP_TLV_ALPN;
    tlvs[0].value = (const uint8_t *)"h2";
    tlvs[0].value_len = 2;
    tlvs[1].kind = PP_TLV_SSL;
    tlvs[1].value = inner;
    tlvs[1].value_len = inner_len;
    memset(&header, 0, sizeof header);
    header.command = PP_COMMAND_PROXY;
    header.transport = PP_TRANSPORT_STREAM;
    header.addresses = some_addresses();
    header.tlvs = tlvs;
    header.tlvs_len = 2;
    header.crc32c = 1;
    header.pad_to = 100;
    for (room = 0; room <= 100; room++) {
        unsigned char *at = guarded(room);
        pp_status status = pp_encode_v2(at, room, &header, &len);
        CHECK(status == (room < 100 ? PP_STATUS_ROOM_TOO_SMALL : PP_STATUS_OK) && len == 100);
        if (status == PP_STATUS_OK)
            memcpy(out, at, len);
        unguard(at, room);
    }
    CHECK(pp_decoder_init(&decoder, NULL) == PP_STATUS_OK);
    CHECK(pp_decode(&decoder, out, len, &answer) == PP_STATUS_OK);
    CHECK(answer.header.len == 100 && answer.header.tlvs_offset == 28);
    CHECK(answer.header.addresses.destination.port == 443);
    CHECK(pp_tlvs_init(&walk, &answer.header, out, len) == PP_STATUS_OK);
    CHECK(pp_tlvs_next(&walk, &tlv) == PP_STATUS_OK && tlv.kind == PP_TLV_ALPN);
    CHECK(pp_tlvs_next(&walk, &tlv) == PP_STATUS_OK && tlv.kind == PP_TLV_SSL);
    CHECK(tlv.value_status == PP_STATUS_OK && pp_tlv_ssl(&tlv, &ssl) == PP_STATUS_OK);
    CHECK(ssl.client == PP_CLIENT_SSL && ssl.verify == 0);
    CHECK(pp_tlvs_next(&ssl.tlvs, &tlv) == PP_STATUS_OK && memcmp(tlv.value, "TLSv1.3", 7) == 0);
    CHECK(tlv.offset == 28 + 5 + 3 + 5);
    out[20] ^= 1;
    CHECK(pp_decoder_init(&decoder, NULL) == PP_STATUS_OK);
    CHECK(pp_decode(&decoder, out, len, &answer) == PP_STATUS_CRC_MISMATCH);
    header.pad_to = 1;
    CHECK(pp_encode_v2(out, sizeof out, &header, &len) == PP_STATUS_PADDING);
    header.pad_to = 0;
    header.tlvs = NULL;
    CHECK(pp_encode_v2(out, sizeof out, &header, &len) == PP_STATUS_NULL_POINTER);
    header.tlvs_len = 0;
    header.transport = 7;
    CHECK(pp_encode_v2(out, sizeof out, &header, &len) == PP_STATUS_BAD_ARGUMENT);
    header.transport = PP_TRANSPORT_DGRAM;
    header.addresses.family = PP_FAMILY_UNIX;
    header.source_name_len = 109;
    header.source_name = out;
    CHECK(pp_encode_v2(out + 128, 128, &header, &len) == PP_STATUS_UNIX_NAME);
    header.command = 5;
    CHECK(pp_encode_v2(out, sizeof out, &header, &len) == PP_STATUS_BAD_ARGUMENT);
    memset(&header, 0, sizeof header);
    CHECK(pp_encode_v2(out, sizeof out, &header, &len) == PP_STATUS_OK && len == 16);
    CHECK(pp_encode_v2(NULL, 0, NULL, &len) == PP_STATUS_NULL_POINTER);
}

static void spp_is_written_and_read_back(void)
{
    pp_addresses addresses = some_addresses(), back;
    uint8_t out[PP_SPP_LEN];
    size_t len = 0;
    CHECK(pp_spp_encode(out, sizeof out, &addresses, &len) == PP_STATUS_OK && len == PP_SPP_LEN);
    CHECK(pp_spp_decode(out, len, &back) == PP_STATUS_OK);
    CHECK(back.family == PP_FAMILY_INET && back.source.port == 51820);
    CHECK(pp_spp_encode(out, 37, &addresses, &len) == PP_STATUS_ROOM_TOO_SMALL && len == PP_SPP_LEN);
}

int main(void)
{
    CHECK(sizeof(pp_decoder) == PP_DECODER_SIZE);
    CHECK(strcmp(pp_status_name(PP_STATUS_CRC_MISMATCH), "crc_mismatch") == 0);
    CHECK(strcmp(pp_status_name(12345), "unknown") == 0);
    decoding_refuses();
    options_say_what_is_taken();
    values_are_read_by_their_types();
    walks_refuse();
    v1_is_written();
    v2_is_written_and_read_back();
    spp_is_written_and_read_back();
    printf("%u checks\n", checks);
    return 0;
}
