/* Decodes what stands on stdin, a case a line, and answers with a line each.
 *
 *   MODE VERIFY STRICT V2_LEN_MAX HEX       MODE is open, closed, datagram or spp; HEX may be "-"
 *
 * A stream is decoded whole and byte by byte; both must say the same. */
#include "guard.h"
#include "ppcapi.h"

static void fail(const char *what)
{
    fprintf(stderr, "vectors.c: %s\n", what);
    exit(1);
}

static void hex(const unsigned char *bytes, size_t len)
{
    size_t at;
    for (at = 0; at < len; at++)
        printf("%02x", bytes[at]);
}

static void address(const pp_addresses *of, const pp_address *addr)
{
    printf(" ");
    hex(addr->ip, of->family == PP_FAMILY_INET ? 4 : 16);
    printf(":%u", addr->port);
}

static void name(const pp_name *of)
{
    printf(of->at == NULL ? " unnamed" : of->is_abstract ? " abstract:" : " path:");
    hex(of->at, of->len);
}

static void addresses(const pp_addresses *of, const unsigned char *received, size_t len)
{
    pp_name source, destination;
    switch (of->family) {
    case PP_FAMILY_UNSPEC:
        printf(" - -");
        break;
    case PP_FAMILY_UNIX:
        if (pp_unix_names(received, len, &source, &destination) != PP_STATUS_OK)
            fail("no UNIX names");
        name(&source);
        name(&destination);
        break;
    default:
        address(of, &of->source);
        address(of, &of->destination);
    }
}

static void inner(const pp_tlv *tlv)
{
    pp_ssl ssl;
    pp_tlv sub;
    pp_status status = pp_tlv_ssl(tlv, &ssl);
    if ((status == PP_STATUS_OK) != (tlv->value_len >= 5))
        fail("an SSL value is read from 5 bytes on");
    if (status != PP_STATUS_OK)
        return;
    while ((status = pp_tlvs_next(&ssl.tlvs, &sub)) == PP_STATUS_OK)
        if (sub.value + sub.value_len > tlv->value + tlv->value_len)
            fail("an inner TLV leaves its value");
    if (tlv->value_status == PP_STATUS_OK && status != PP_STATUS_END)
        fail("a good SSL value is framed well");
}

static void header(const pp_header *of, const unsigned char *received, size_t len)
{
    static const char *const COMMANDS[] = {"LOCAL", "PROXY", "UNKNOWN"};
    static const char *const FAMILIES[] = {"UNSPEC", "INET", "INET6", "UNIX"};
    static const char *const TRANSPORTS[] = {"UNSPEC", "STREAM", "DGRAM"};
    pp_tlvs tlvs;
    pp_tlv tlv;
    pp_status status;
    printf("ok %d %s %s %s", of->version, COMMANDS[of->command], FAMILIES[of->family],
           TRANSPORTS[of->transport]);
    addresses(&of->addresses, received, len);
    printf(" %lu", (unsigned long)of->len);
    if (pp_tlvs_init(&tlvs, of, received, len) != PP_STATUS_OK)
        fail("no walk");
    while ((status = pp_tlvs_next(&tlvs, &tlv)) == PP_STATUS_OK) {
        if (tlv.value != received + tlv.offset + 3)
            fail("a value lies behind its type and length");
        printf(" %02x=", tlv.kind);
        hex(tlv.value, tlv.value_len);
        if (tlv.kind == PP_TLV_SSL)
            inner(&tlv);
    }
    if (status != PP_STATUS_END) {
        printf(" !%s", pp_status_name(status));
        if (pp_tlvs_next(&tlvs, &tlv) != PP_STATUS_END)
            fail("an error ends the walk");
    }
    printf("\n");
}

static void tell(pp_status status, const pp_answer *answer, const unsigned char *received, size_t len)
{
    if (status == PP_STATUS_OK)
        header(&answer->header, received, len);
    else if (status == PP_STATUS_NEED)
        printf("need %lu\n", (unsigned long)answer->need);
    else
        printf("%s %lu\n", pp_status_name(status), (unsigned long)answer->offset);
}

/* Feeds one byte after the other, each time in memory that ends behind it. */
static pp_status dribbled(const pp_options *options, const unsigned char *bytes, size_t len,
                          int is_closed, pp_answer *answer)
{
    pp_decoder decoder, moved;
    pp_status status = PP_STATUS_NEED;
    size_t have;
    if (pp_decoder_init(&decoder, options) != PP_STATUS_OK)
        fail("no decoder");
    for (have = 0; have <= len && status == PP_STATUS_NEED; have++) {
        unsigned char *piece = guarded(have);
        memcpy(piece, bytes, have);
        memcpy(&moved, &decoder, sizeof moved);
        status = pp_decode(&moved, piece, have, answer);
        memcpy(&decoder, &moved, sizeof moved);
        unguard(piece, have);
    }
    return is_closed && status == PP_STATUS_NEED ? pp_finish(&decoder, bytes, len, answer) : status;
}

static void stream(const pp_options *options, const unsigned char *bytes, size_t len, int is_closed)
{
    pp_decoder decoder;
    pp_answer whole, slow;
    pp_status status;
    if (pp_decoder_init(&decoder, options) != PP_STATUS_OK)
        fail("no decoder");
    status = (is_closed ? pp_finish : pp_decode)(&decoder, bytes, len, &whole);
    if (dribbled(options, bytes, len, is_closed, &slow) != status ||
        whole.need != slow.need || whole.offset != slow.offset ||
        whole.header.len != slow.header.len ||
        memcmp(&whole.header.addresses.source.ip, &slow.header.addresses.source.ip, 16) != 0)
        fail("the answer depends on how the stream was cut");
    tell(status, &whole, bytes, len);
}

static void spp(const unsigned char *bytes, size_t len)
{
    pp_addresses read;
    pp_status status = pp_spp_decode(bytes, len, &read);
    if (status != PP_STATUS_OK) {
        printf("%s\n", pp_status_name(status));
        return;
    }
    printf("spp");
    addresses(&read, bytes, len);
    printf("\n");
}

int main(void)
{
    static char line[400000];
    static char digits[300000];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char mode[16];
        unsigned verify, strict, len_max;
        size_t len, at;
        unsigned char *bytes;
        pp_options options;
        if (sscanf(line, "%15s %u %u %u %299999s", mode, &verify, &strict, &len_max, digits) != 5)
            fail("a line has five words");
        memset(&options, 0, sizeof options);
        options.crc32c = verify ? PP_CRC32C_VERIFY : PP_CRC32C_IGNORE;
        options.strict_tlvs = (uint8_t)strict;
        options.v2_len_max = (uint16_t)len_max;
        len = strcmp(digits, "-") == 0 ? 0 : strlen(digits) / 2;
        bytes = guarded(len);
        for (at = 0; at < len; at++) {
            unsigned byte;
            if (sscanf(digits + 2 * at, "%2x", &byte) != 1)
                fail("no hex");
            bytes[at] = (unsigned char)byte;
        }
        if (strcmp(mode, "spp") == 0) {
            spp(bytes, len);
        } else if (strcmp(mode, "datagram") == 0) {
            pp_answer answer;
            pp_status status = pp_decode_datagram(&options, bytes, len, &answer);
            tell(status, &answer, bytes, len);
        } else {
            stream(&options, bytes, len, strcmp(mode, "closed") == 0);
        }
        unguard(bytes, len);
    }
    return 0;
}
