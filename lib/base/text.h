/* Text helpers that several modules need: nearest word, identifiers, hex and base64. */
#pragma once

#include "base/err.h"

/* The nearest of count words to `word` by edit distance, or NULL when none is near enough to be a
 * slip of the finger (distance > 1 + length / 4). */
const char *cx_nearest(const char *word, const char *const *words, size_t count);

/* Ids of nodes, agents, clusters, operators: 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit.
 * `what` names it in the error. They are file names, tags and URI parts, hence so strict. */
CX_MUST_CHECK bool cx_check_id(const char *what, const char *text, cx_err *err);

/* "host:port" or "[v6]:port"; port 1..65535. Without a port default_port is taken, if it is not 0.
 * host belongs to the caller. */
CX_MUST_CHECK bool cx_parse_host_port(const char *text, uint16_t default_port, char **host,
                                      uint16_t *port, cx_err *err);

char *cx_hex(cx_bytes bytes); /* lower case; caller owns */
CX_MUST_CHECK bool cx_from_hex(const char *text, uint8_t *data, size_t size, cx_err *err);
char *cx_base64(cx_bytes bytes);    /* standard alphabet with padding; caller owns */
char *cx_base64url(cx_bytes bytes); /* URL alphabet without padding; caller owns */
/* Either alphabet, padding optional; *data belongs to the caller; at most size_max bytes. */
CX_MUST_CHECK bool cx_from_base64(const char *text, size_t size_max, cx_buffer *data, cx_err *err);

/* Appends a text as part of a URL (RFC 3986, and SigV4): all but A-Z a-z 0-9 - . _ ~, and the slash
 * where it is kept, as %XX in upper case. */
void cx_percent_add(cx_buffer *to, const char *text, bool keeps_slash);
char *cx_percent_encoded(const char *text); /* without slashes; caller owns */

/* Whether it can stand as an address in a mail's header and in SMTP as it is: local@domain, without blanks, line
 * ends and whatever separates addresses. */
bool cx_is_mail_address(const char *text);

/* Sortable unique id: 48 bits of wall milliseconds and 80 random bits, as 26 characters of
 * Crockford base32 (the ULID layout). Random bytes come from the kernel. */
enum { CX_ULID_SIZE = 27 };
void cx_ulid(int64_t wall_ms, char text[CX_ULID_SIZE]);
void cx_random(void *data, size_t size); /* from getrandom(2); never fails */

/* SHA-256 (OpenSSL). */
enum { CX_SHA256_SIZE = 32 };
void cx_sha256(cx_bytes bytes, uint8_t digest[CX_SHA256_SIZE]);
