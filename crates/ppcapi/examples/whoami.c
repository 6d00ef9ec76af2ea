/* Accepts one connection behind a load balancer and tells the client its own address.
 *
 *   cc whoami.c $(pkg-config --cflags --libs ppcapi) -o whoami && ./whoami 9000
 *
 * Whoever reaches the port may say who he is: let only the balancer reach it. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <ppcapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof address;
    uint8_t received[PP_V2_LEN_MAX];
    char text[INET6_ADDRSTRLEN];
    pp_decoder decoder;
    pp_answer answer;
    pp_status status;
    size_t have = 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client;

    address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) {
        perror("whoami");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &address_len);
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);

    client = accept(listener, NULL, NULL);
    pp_decoder_init(&decoder, NULL);
    while ((status = pp_decode(&decoder, received, have, &answer)) == PP_STATUS_NEED) {
        /* No more than is missing: what follows is the next protocol's. */
        ssize_t count = read(client, received + have, answer.need);
        if (count <= 0) {
            status = pp_finish(&decoder, received, have, &answer);
            break;
        }
        have += (size_t)count;
    }
    if (status != PP_STATUS_OK) {
        fprintf(stderr, "refused: %s at byte %zu\n", pp_status_name(status), answer.offset);
        return 1;
    }
    /* Addresses of datagrams are nobody's over TCP. */
    switch (answer.header.transport == PP_TRANSPORT_STREAM ? answer.header.addresses.family
                                                           : PP_FAMILY_UNSPEC) {
    case PP_FAMILY_INET:
    case PP_FAMILY_INET6:
        inet_ntop(answer.header.addresses.family == PP_FAMILY_INET ? AF_INET : AF_INET6,
                  answer.header.addresses.source.ip, text, sizeof text);
        dprintf(client, "you are %s port %d\n", text, answer.header.addresses.source.port);
        break;
    default: /* LOCAL, UNKNOWN, a UNIX socket, datagrams: then it is who the socket says. */
        dprintf(client, "you are the balancer itself\n");
    }
    close(client);
    return 0;
}
