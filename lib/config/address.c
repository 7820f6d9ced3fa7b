#include "config/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/text.h"

enum { DNS_NAME_MAX = 253, DNS_LABEL_MAX = 63 };

static const char letters_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static bool is_ip(int family, const char *host)
{
    struct in6_addr address; /* room for either family */

    return inet_pton(family, host, &address) == 1;
}

/* RFC 1123, and the underscore that many internal names have. */
static bool is_dns_name(const char *host)
{
    size_t size = strlen(host);

    if (size == 0 || size > DNS_NAME_MAX || host[strspn(host, "0123456789.")] == '\0')
        return false;
    while (*host != '\0') {
        size_t label = strcspn(host, ".");
        size_t allowed = strspn(host, letters_digits);

        while (allowed < label && (host[allowed] == '-' || host[allowed] == '_'))
            allowed += 1 + strspn(host + allowed + 1, letters_digits);
        if (label == 0 || label > DNS_LABEL_MAX || allowed < label || host[0] == '-')
            return false;
        host += label + (host[label] == '.');
    }
    return true;
}

static char *write_address(const char *host, uint16_t port)
{
    return strchr(host, ':') != NULL ? cx_format("[%s]:%u", host, port)
                                     : cx_format("%s:%u", host, port);
}

/* A normal address ends with a colon and the port. */
static char *host_of_normal(const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t skip = address[0] == '[';

    return cx_strndup(address + skip, (size_t)(colon - address) - 2 * skip);
}

static bool is_private(in_addr_t address)
{
    uint32_t host = ntohl(address);

    return host >> 24 == 10 || host >> 20 == 0xac1 || host >> 16 == 0xc0a8 || host >> 22 == 0x191;
}

/* 0: of no use to others; else the higher the better. */
static int rank(const struct ifaddrs *interface)
{
    const struct sockaddr *address = interface->ifa_addr;

    if (address == NULL || (interface->ifa_flags & IFF_UP) == 0 ||
        (interface->ifa_flags & IFF_LOOPBACK) != 0)
        return 0;
    if (address->sa_family == AF_INET) {
        in_addr_t host = ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;

        if (ntohl(host) >> 16 == 0xa9fe) /* link-local, 169.254/16 */
            return 0;
        return is_private(host) ? 3 : 2;
    }
    if (address->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL(
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return 0;
}

bool cx_address_normal(const char *text, uint16_t default_port, char **address, cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port = 0;

    if (!cx_parse_host_port(text, default_port, &host, &port, err))
        return false;
    if (!is_ip(AF_INET, host) && !is_ip(AF_INET6, host) && !is_dns_name(host)) {
        cx_fail(err, CX_INVALID, "\"%s\" is neither an IP address nor a host name", host);
        return cx_hint(err, "write HOST:PORT, or [ADDRESS]:PORT for IPv6");
    }
    *address = write_address(host, port);
    return true;
}

bool cx_address_is_any(const char *address)
{
    CX_AUTO(cx_free) char *host = host_of_normal(address);
    struct in6_addr v6;

    return strcmp(host, "0.0.0.0") == 0 ||
           (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6));
}

uint16_t cx_address_port(const char *address)
{
    uint16_t port = 0;

    for (const char *digit = strrchr(address, ':') + 1; *digit != '\0'; digit++)
        port = (uint16_t)(port * 10 + (*digit - '0'));
    return port;
}

char *cx_address_combine(const char *host_of, const char *port_of)
{
    CX_AUTO(cx_free) char *host = host_of_normal(host_of);

    return write_address(host, cx_address_port(port_of));
}

char *cx_address_own_host(void)
{
    struct ifaddrs *interfaces = NULL;
    char best[INET6_ADDRSTRLEN] = "127.0.0.1";
    int best_rank = 0;

    if (getifaddrs(&interfaces) < 0)
        return cx_strdup(best);
    for (const struct ifaddrs *each = interfaces; each != NULL; each = each->ifa_next) {
        const void *address = NULL;

        if (rank(each) <= best_rank)
            continue;
        best_rank = rank(each);
        if (each->ifa_addr->sa_family == AF_INET)
            address = &((const struct sockaddr_in *)(const void *)each->ifa_addr)->sin_addr;
        else
            address = &((const struct sockaddr_in6 *)(const void *)each->ifa_addr)->sin6_addr;
        inet_ntop(each->ifa_addr->sa_family, address, best, sizeof best);
    }
    freeifaddrs(interfaces);
    return cx_strdup(best);
}
