/* Network addresses as the configuration writes them: `host:port`, `[v6]:port`, host an IP address
 * or a DNS name. Nothing here asks the network or DNS. */
#pragma once

#include "base/err.h"

/* Parses text (port: default_port where it is left out) and writes it in full; caller owns. */
CX_MUST_CHECK bool cx_address_normal(const char *text, uint16_t default_port, char **address,
                                     cx_err *err);
/* 0.0.0.0 or [::] with any port: every address of the host, which no other host can connect to. */
bool cx_address_is_any(const char *address);
/* The port of a normal address. */
uint16_t cx_address_port(const char *address);
/* The host of one normal address with the port of another; caller owns. */
char *cx_address_combine(const char *host_of, const char *port_of);
/* The address by which others most likely reach this host: of the interfaces that are up and no
 * loopback, a private IPv4 address before a public one before IPv6. "127.0.0.1" when there is none.
 * Caller owns. */
char *cx_address_own_host(void);
