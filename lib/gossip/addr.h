/* Addresses of members as they are on the wire: 4 or 16 bytes and a port. Pure: no name service. */
#pragma once

#include "base/err.h"

enum { CX_GOSSIP_ADDR_TEXT_SIZE = 56, CX_GOSSIP_PORT = 7946 };

/* size 0: no address. The bytes stay as they came: real peers take ::ffff:10.0.0.1 and 10.0.0.1
 * for two addresses when they look at what a member announces. */
typedef struct cx_gossip_addr {
    uint8_t size; /* 4 or 16 */
    uint8_t bytes[16];
    uint16_t port;
} cx_gossip_addr;

/* Same host and port; an IPv4 address and its mapped IPv6 form are the same host. */
bool cx_gossip_addr_same(const cx_gossip_addr *a, const cx_gossip_addr *b);
bool cx_gossip_addr_same_host(const cx_gossip_addr *a, const cx_gossip_addr *b);
/* "10.0.0.1:7946", "[fe80::1]:7946"; a mapped IPv4 address as IPv4; "" without an address. */
const char *cx_gossip_addr_text(const cx_gossip_addr *addr, char text[CX_GOSSIP_ADDR_TEXT_SIZE]);
/* Numeric "host", "host:port", "[v6]:port"; without a port default_port is taken. INVALID else. */
CX_MUST_CHECK bool cx_gossip_addr_parse(const char *text, uint16_t default_port,
                                        cx_gossip_addr *addr, cx_err *err);
