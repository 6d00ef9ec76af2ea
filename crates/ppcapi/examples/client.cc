// Reads a header from standard input and tells who the client is.
//
//   g++ client.cc $(pkg-config --cflags --libs ppcapi) -o client
//   ppserver encode --src 203.0.113.7:51820 --dst 192.0.2.1:443 --tlv alpn=h2 | ./client
#include <arpa/inet.h>
#include <ppcapi.h>

#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

int main()
{
    const std::vector<uint8_t> received{std::istreambuf_iterator<char>(std::cin), {}};
    pp_decoder decoder;
    pp_answer answer;
    pp_decoder_init(&decoder, nullptr);
    // All there is has come; over a socket it is pp_decode, until it no longer says PP_STATUS_NEED.
    const pp_status status = pp_finish(&decoder, received.data(), received.size(), &answer);
    if (status != PP_STATUS_OK) {
        std::cerr << "refused: " << pp_status_name(status) << " at byte " << answer.offset << '\n';
        return 1;
    }
    const pp_header &header = answer.header;
    const bool is_inet = header.addresses.family == PP_FAMILY_INET;
    if (header.transport != PP_TRANSPORT_STREAM || (!is_inet && header.addresses.family != PP_FAMILY_INET6)) {
        std::cout << "the sender itself\n";
        return 0;
    }
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(is_inet ? AF_INET : AF_INET6, header.addresses.source.ip, ip, sizeof ip);
    std::cout << ip << " port " << header.addresses.source.port;

    pp_tlvs tlvs;
    pp_tlv tlv;
    pp_text text;
    pp_tlvs_init(&tlvs, &header, received.data(), received.size());
    while (pp_tlvs_next(&tlvs, &tlv) == PP_STATUS_OK) {
        if (tlv.kind == PP_TLV_ALPN && pp_tlv_text(&tlv, &text) == PP_STATUS_OK)
            std::cout << ", alpn " << std::string_view(reinterpret_cast<const char *>(text.at), text.len);
    }
    std::cout << ", " << received.size() - header.len << " bytes of payload\n";
    return 0;
}
