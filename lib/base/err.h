/* Errors: one type of fixed size on the caller's stack. Functions that can fail return bool, take
 * cx_err *err last and are CX_MUST_CHECK. The code is a stable word for scripts and implies the
 * exit status (sysexits(3)); the message is for people and names the thing that failed. */
#pragma once

#include <sysexits.h>

#include "base/mem.h"

/* The one X-macro that we keep: the enum, the words, the exit statuses and the manual come from it. */
#define CX_CODES(X)                                  \
    X(USAGE, "usage", EX_USAGE)                      \
    X(INVALID, "invalid", EX_DATAERR)                \
    X(MALFORMED, "malformed", EX_DATAERR)            \
    X(CERT_EXPIRED, "cert_expired", EX_DATAERR)      \
    X(CERT_INVALID, "cert_invalid", EX_DATAERR)      \
    X(TOO_LARGE, "too_large", EX_DATAERR)            \
    X(CORRUPT, "corrupt", EX_DATAERR)                \
    X(NOT_FOUND, "not_found", EX_NOINPUT)            \
    X(UNAVAILABLE, "unavailable", EX_UNAVAILABLE)    \
    X(INTERNAL, "internal", EX_SOFTWARE)             \
    X(EXISTS, "exists", EX_CANTCREAT)                \
    X(CANT_CREATE, "cant_create", EX_CANTCREAT)      \
    X(IO, "io", EX_IOERR)                            \
    X(BUSY, "busy", EX_TEMPFAIL)                     \
    X(TIMEOUT, "timeout", EX_TEMPFAIL)               \
    X(DRAINING, "draining", EX_TEMPFAIL)             \
    X(NO_MAJORITY, "no_majority", EX_TEMPFAIL)       \
    X(INTERRUPTED, "interrupted", EX_TEMPFAIL)       \
    X(PROTOCOL, "protocol", EX_PROTOCOL)             \
    X(PERMISSION, "permission", EX_NOPERM)           \
    X(UNAUTHENTICATED, "unauthenticated", EX_NOPERM) \
    X(TOKEN_INVALID, "token_invalid", EX_NOPERM)     \
    X(TOKEN_EXPIRED, "token_expired", EX_NOPERM)     \
    X(TOKEN_USED, "token_used", EX_NOPERM)           \
    X(REVOKED, "revoked", EX_NOPERM)                 \
    X(CONFIG, "config", EX_CONFIG)

typedef enum cx_code {
    CX_OK,
#define CX_CODE_ENUM(name, word, status) CX_##name,
    CX_CODES(CX_CODE_ENUM)
#undef CX_CODE_ENUM
} cx_code;

typedef struct cx_err {
    cx_code code;
    char message[512];
    char hint[256]; /* what to try next, or "" */
} cx_err;

/* All of these return false, so that a failure is one statement: `return cx_fail(err, ...);`
 * err is never NULL. cx_fail clears the hint. */
bool cx_fail(cx_err *err, cx_code code, const char *format, ...) CX_PRINTF(3, 4);
/* Message and code from errno: "format: No such file or directory". */
bool cx_fail_errno(cx_err *err, const char *format, ...) CX_PRINTF(2, 3);
/* Puts context before the message ("context: message"); code and hint pass through. */
bool cx_wrap(cx_err *err, const char *format, ...) CX_PRINTF(2, 3);
bool cx_hint(cx_err *err, const char *format, ...) CX_PRINTF(2, 3);

const char *cx_code_word(cx_code code); /* "ok" for CX_OK */
int cx_code_status(cx_code code);       /* the exit status, 0 for CX_OK */
/* The code of a word that another cx program sent; CX_INTERNAL for an unknown one. */
cx_code cx_code_from_word(const char *word);
cx_code cx_code_from_errno(int number);
/* HTTP status that tells a client of this code, and the code that a client makes of a status. */
int cx_code_to_http(cx_code code);
cx_code cx_code_from_http(int status);
