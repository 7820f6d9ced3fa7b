/* Show: what is in a PEM file, as JSON that says all that an operator asks openssl for. Never any
 * part of a private key. Input is hostile: a stranger's file is shown, not trusted. */
#pragma once

#include <openssl/x509.h>

#include "base/json.h"

enum { CX_SHOW_ITEMS_MAX = 256 };

/* Appends one object for each PEM block to the array: {"file","type","…"}, type one of certificate,
 * certificate_request, revocation_list, private_key, public_key, other; a block that can't be parsed
 * has "error" with the reason. MALFORMED when there is no block at all; TOO_LARGE. now_ms is for
 * `days_left`. */
CX_MUST_CHECK bool cx_show_pem(cx_bytes pem, const char *file, int64_t now_ms, json_t *items,
                               cx_err *err);
/* A certificate's object without "file". */
json_t *cx_show_certificate(X509 *cert, int64_t now_ms);
