/* Guard: who may look at the dashboard, and who may change something by it, as far as a request's
 * headers tell. A browser runs pages of strangers: one of them must neither read the cluster's state
 * through a name of its own that leads to this address (DNS rebinding), nor send a change in the
 * operator's name (CSRF).
 *
 * Pure. */
#pragma once

#include "base/err.h"

typedef struct health_guard {
    bool is_open;       /* changes need no token: the address can be reached from this host only */
    bool has_token;     /* neither: changes are refused */
    uint8_t digest[32]; /* SHA-256 of the token */
    cx_list names;      /* of the host, besides addresses and "localhost" */
} health_guard;

/* The headers that count, NULL where there is none. */
typedef struct health_request {
    const char *host, *origin, *fetch_site, *mark, *authorization;
} health_request;

/* What the page sends with each change: a header that a page of another origin may not set. */
extern const char health_guard_mark[];

/* Whether host:port (or host) reaches nobody but this host. */
bool health_guard_is_loopback(const char *address);
/* PERMISSION unless Host is an address, "localhost" or one of the names. */
CX_MUST_CHECK bool health_guard_look(const health_guard *guard, const health_request *request,
                                     cx_err *err);
/* The same, and: from this very page, with the mark and, where one is needed, the token. */
CX_MUST_CHECK bool health_guard_change(const health_guard *guard, const health_request *request,
                                       cx_err *err);
/* "open", "token" or "off": what the page offers. */
const char *health_guard_word(const health_guard *guard);
/* At least 16 bytes without white space at the end. */
CX_MUST_CHECK bool health_guard_set_token(health_guard *guard, cx_bytes token, cx_err *err);
void health_guard_free(health_guard *guard);
