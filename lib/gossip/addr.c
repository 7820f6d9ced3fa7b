#include "gossip/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* The four bytes of an IPv4 address in either form, NULL for IPv6. */
static const uint8_t *ipv4(const cx_gossip_addr *addr)
{
    if (addr->size == 4)
        return addr->bytes;
    if (addr->size == 16 && memcmp(addr->bytes, MAPPED, sizeof(MAPPED)) == 0)
        return addr->bytes + sizeof(MAPPED);
    return NULL;
}

bool cx_gossip_addr_same_host(const cx_gossip_addr *a, const cx_gossip_addr *b)
{
    const uint8_t *a4 = ipv4(a), *b4 = ipv4(b);

    if (a4 != NULL || b4 != NULL)
        return a4 != NULL && b4 != NULL && memcmp(a4, b4, 4) == 0;
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

bool cx_gossip_addr_same(const cx_gossip_addr *a, const cx_gossip_addr *b)
{
    return a->port == b->port && cx_gossip_addr_same_host(a, b);
}

const char *cx_gossip_addr_text(const cx_gossip_addr *addr, char text[CX_GOSSIP_ADDR_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN];
    const uint8_t *v4 = ipv4(addr);

    text[0] = '\0';
    if (v4 != NULL && inet_ntop(AF_INET, v4, host, sizeof(host)) != NULL)
        snprintf(text, CX_GOSSIP_ADDR_TEXT_SIZE, "%s:%u", host, addr->port);
    else if (addr->size == 16 && inet_ntop(AF_INET6, addr->bytes, host, sizeof(host)) != NULL)
        snprintf(text, CX_GOSSIP_ADDR_TEXT_SIZE, "[%s]:%u", host, addr->port);
    return text;
}

bool cx_gossip_addr_parse(const char *text, uint16_t default_port, cx_gossip_addr *addr,
                          cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    cx_gossip_addr parsed = {0};

    if (!cx_parse_host_port(text, default_port, &host, &parsed.port, err))
        return false;
    if (inet_pton(AF_INET, host, parsed.bytes) == 1)
        parsed.size = 4;
    else if (inet_pton(AF_INET6, host, parsed.bytes) == 1)
        parsed.size = 16;
    else
        return cx_fail(err, CX_INVALID, "%s: not a numeric address", host);
    *addr = parsed;
    return true;
}
