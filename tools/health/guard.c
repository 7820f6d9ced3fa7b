#include "guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "base/text.h"

enum { HOST_MAX = 255, TOKEN_MIN = 16 };

const char health_guard_mark[] = "X-CX-Dashboard";

/* The host of "host", "host:port" or "[v6]:port", lower case, without brackets. */
static bool split_host(const char *address, char host[HOST_MAX + 1])
{
    const char *end = address[0] == '[' ? strchr(address, ']') : NULL;
    size_t size;

    if (address[0] == '[' && end == NULL)
        return false;
    if (address[0] == '[')
        address++;
    else
        end = address + strcspn(address, ":");
    size = (size_t)(end - address);
    if (size == 0 || size > HOST_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        host[i] =
            (char)(address[i] >= 'A' && address[i] <= 'Z' ? address[i] - 'A' + 'a' : address[i]);
    host[size] = '\0';
    return true;
}

bool health_guard_is_loopback(const char *address)
{
    char host[HOST_MAX + 1];
    struct in_addr v4;

    return split_host(address, host) &&
           (strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
            (strncmp(host, "127.", 4) == 0 && inet_pton(AF_INET, host, &v4) == 1));
}

/* An address can't be made to lead elsewhere by whoever owns a name. */
static bool is_our_name(const health_guard *guard, const char *host)
{
    struct in6_addr any;

    if (inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1 ||
        strcmp(host, "localhost") == 0)
        return true;
    for (size_t i = 0; i < guard->names.count; i++)
        if (strcasecmp(guard->names.items[i], host) == 0)
            return true;
    return false;
}

bool health_guard_look(const health_guard *guard, const health_request *request, cx_err *err)
{
    char host[HOST_MAX + 1];

    if (request->host == NULL || !split_host(request->host, host))
        return cx_fail(err, CX_PERMISSION, "the request names no host");
    if (is_our_name(guard, host))
        return true;
    cx_fail(err, CX_PERMISSION, "this is not %.64s", host);
    return cx_hint(err, "--allow-host lets a name in");
}

/* http://HOST or, behind a proxy, https://HOST; a browser always tells it with a change. */
static bool is_from_here(const health_request *request)
{
    const char *origin = request->origin;

    if (request->fetch_site != NULL && strcmp(request->fetch_site, "same-origin") != 0)
        return false;
    if (origin == NULL)
        return true;
    if (strncmp(origin, "http://", 7) == 0)
        return strcasecmp(origin + 7, request->host) == 0;
    return strncmp(origin, "https://", 8) == 0 && strcasecmp(origin + 8, request->host) == 0;
}

static bool has_token(const health_guard *guard, const health_request *request)
{
    static const char scheme[] = "Bearer ";
    uint8_t digest[CX_SHA256_SIZE];

    if (request->authorization == NULL ||
        strncasecmp(request->authorization, scheme, strlen(scheme)) != 0)
        return false;
    /* Of the digests, so that neither content nor size shows in the time. */
    cx_sha256(cx_bytes_of(request->authorization + strlen(scheme)), digest);
    return sodium_memcmp(digest, guard->digest, sizeof digest) == 0;
}

bool health_guard_change(const health_guard *guard, const health_request *request, cx_err *err)
{
    if (!health_guard_look(guard, request, err))
        return false;
    if (!is_from_here(request))
        return cx_fail(err, CX_PERMISSION, "a page of another origin may change nothing here");
    if (request->mark == NULL)
        return cx_fail(err, CX_PERMISSION, "the header %s is missing", health_guard_mark);
    if (guard->has_token) {
        if (has_token(guard, request))
            return true;
        return cx_fail(err, CX_UNAUTHENTICATED, "the token is missing or wrong");
    }
    if (guard->is_open)
        return true;
    cx_fail(err, CX_PERMISSION, "without a token this address is for reading only");
    return cx_hint(err, "cx-health watch --token-file F");
}

const char *health_guard_word(const health_guard *guard)
{
    if (guard->has_token)
        return "token";
    return guard->is_open ? "open" : "off";
}

bool health_guard_set_token(health_guard *guard, cx_bytes token, cx_err *err)
{
    while (token.size > 0 && strchr(" \t\r\n", token.data[token.size - 1]) != NULL)
        token.size--;
    if (token.size < TOKEN_MIN) {
        cx_fail(err, CX_INVALID, "the token is shorter than %d bytes", TOKEN_MIN);
        return cx_hint(err, "openssl rand -hex 32 makes one");
    }
    cx_sha256(token, guard->digest);
    guard->has_token = true;
    return true;
}

void health_guard_free(health_guard *guard)
{
    cx_list_free(&guard->names);
    *guard = (health_guard){0};
}
