/* The addresses of headers as those of sockets. */
#define _POSIX_C_SOURCE 200809L
#include "ppcapi_sockaddr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                               \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            fprintf(stderr, "sockaddr.c:%d: %s\n", __LINE__, #condition);                              \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)

static pp_header header(const char *line)
{
    pp_answer answer;
    CHECK(pp_decode_datagram(NULL, (const uint8_t *)line, strlen(line), &answer) == PP_STATUS_OK);
    return answer.header;
}

int main(void)
{
    struct sockaddr_storage to;
    char text[INET6_ADDRSTRLEN];
    pp_header v4 = header("PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n");
    pp_header v6 = header("PROXY TCP6 2001:db8::7 ::1 51820 443\r\n");
    pp_header unknown = header("PROXY UNKNOWN\r\n");

    CHECK(pp_to_sockaddr(&v4, &v4.addresses.source, SOCK_STREAM, &to) == sizeof(struct sockaddr_in));
    CHECK(to.ss_family == AF_INET && ((struct sockaddr_in *)&to)->sin_port == htons(51820));
    inet_ntop(AF_INET, &((struct sockaddr_in *)&to)->sin_addr, text, sizeof text);
    CHECK(strcmp(text, "203.0.113.7") == 0);
    CHECK(pp_to_sockaddr(&v6, &v6.addresses.destination, SOCK_STREAM, &to) == sizeof(struct sockaddr_in6));
    CHECK(to.ss_family == AF_INET6 && ((struct sockaddr_in6 *)&to)->sin6_port == htons(443));
    inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&to)->sin6_addr, text, sizeof text);
    CHECK(strcmp(text, "::1") == 0);
    /* Addresses of a stream are nobody's on a socket of datagrams. */
    CHECK(pp_to_sockaddr(&v4, &v4.addresses.source, SOCK_DGRAM, &to) == 0 && to.ss_family == AF_UNSPEC);
    CHECK(pp_to_sockaddr(&unknown, &unknown.addresses.source, SOCK_STREAM, &to) == 0);
    printf("fine\n");
    return 0;
}
