/* Alternative names: the DNS names and IP addresses of a certificate as texts `DNS:node-1` and
 * `IP:10.0.0.1`, in one canonical writing, so that two lists can be compared as they are. */
#pragma once

#include <openssl/x509v3.h>

#include "base/err.h"

enum { CX_SANS_MAX = 64 };

/* Adds names: one, or several with commas between. `DNS:name`, `IP:address`, or a bare one, which is
 * an address if it looks like one. Names twice count once. INVALID when it is neither, or for a URI:
 * the one URI of a certificate is its identity. */
CX_MUST_CHECK bool cx_sans_add(cx_list *sans, const char *text, cx_err *err);
/* Whether text is a host name (RFC 1123, underscores allowed, no wildcard). */
bool cx_is_dns_name(const char *text);
/* Both hold the same names, in whatever order. */
bool cx_sans_equal(const cx_list *a, const cx_list *b);

/* Between lists and OpenSSL's. uri may be NULL. Names of other kinds are left out of the list. */
CX_MUST_CHECK bool cx_sans_to_names(const cx_list *sans, const char *uri, GENERAL_NAMES **names,
                                    cx_err *err);
void cx_sans_from_names(const GENERAL_NAMES *names, cx_list *sans);
