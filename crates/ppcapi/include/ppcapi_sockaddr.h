/* The addresses of a header as those of sockets: for C programs that hand them to getnameinfo, connect and
 * the like. Written by hand: the layout of a sockaddr is the platform's, so it is compiled with the program. */
#ifndef PPCAPI_SOCKADDR_H
#define PPCAPI_SOCKADDR_H

#include "ppcapi.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Writes one address of `header`, answer.header.addresses.source or .destination, for a socket of `type`
 * (SOCK_STREAM or SOCK_DGRAM), and returns how long it is.
 *
 * 0: the header carries none that counts for such a socket (LOCAL, UNKNOWN, UNSPEC, UNIX, or the other
 * transport). Then use those of the socket itself: getpeername, getsockname. */
static inline socklen_t pp_to_sockaddr(const pp_header *header, const pp_address *address, int type,
                                       struct sockaddr_storage *to)
{
    uint8_t transport = type == SOCK_DGRAM ? PP_TRANSPORT_DGRAM : PP_TRANSPORT_STREAM;

    memset(to, 0, sizeof *to);
    if (header->transport != transport)
        return 0;
    if (header->addresses.family == PP_FAMILY_INET) {
        struct sockaddr_in in;
        memset(&in, 0, sizeof in);
        in.sin_family = AF_INET;
        in.sin_port = htons(address->port);
        memcpy(&in.sin_addr, address->ip, 4);
        memcpy(to, &in, sizeof in);
        return sizeof in;
    }
    if (header->addresses.family == PP_FAMILY_INET6) {
        struct sockaddr_in6 in6;
        memset(&in6, 0, sizeof in6);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(address->port);
        memcpy(&in6.sin6_addr, address->ip, 16);
        memcpy(to, &in6, sizeof in6);
        return sizeof in6;
    }
    return 0;
}

#endif /* PPCAPI_SOCKADDR_H */
