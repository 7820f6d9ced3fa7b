/* Bech32 (BIP 173) without its length limit, as age writes recipients and identities.
 *
 * Pure: no I/O. */
#pragma once

#include "base/err.h"

enum { CX_BECH32_MAX = 256 }; /* bytes of a text that is read */

/* Human-readable part (lower case) and data to text; caller owns it and, for a secret, wipes it. */
char *cx_bech32(const char *prefix, cx_bytes data);
/* The data of a text with this prefix: exactly size bytes. All upper or all lower case. INVALID else;
 * the text itself is never in the error, since it may be a secret. */
CX_MUST_CHECK bool cx_from_bech32(const char *text, const char *prefix, uint8_t *data, size_t size,
                                  cx_err *err);
