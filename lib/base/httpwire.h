/* What a client sends in HTTP/1.1 (RFC 9112), read strictly: a request's head and a chunked body.
 *
 * Strict means that two readers can't understand it differently, which is what request smuggling
 * lives on: lines end in CRLF, no folding, no blank before a colon, one Host, Content-Length or
 * Transfer-Encoding but not both and not twice, only "chunked". A refusal is the HTTP status to answer
 * with; the connection is then closed.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "base/mem.h"

enum {
    CX_HTTPWIRE_FIELDS_MAX = 100, /* header lines, and as many query parameters */
    CX_HTTPWIRE_LINE_MAX = 256,   /* bytes of a chunk's size with extensions, of a trailer line */
    CX_HTTPWIRE_TRAILERS_MAX = 32,
};

typedef struct cx_httpwire_field {
    const char *name, *value;
} cx_httpwire_field;

/* A request's head. The texts point into its own memory. */
typedef struct cx_httpwire_head {
    const char *method;  /* GET HEAD POST PUT DELETE */
    const char *path;    /* decoded; begins with a slash, has no control characters */
    int minor;           /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;     /* the client wants to ask more on this connection */
    bool is_chunked;     /* else content_length bytes follow */
    bool wants_continue; /* Expect: 100-continue */
    uint64_t content_length;
    cx_httpwire_field headers[CX_HTTPWIRE_FIELDS_MAX];
    size_t header_count;
    cx_httpwire_field query[CX_HTTPWIRE_FIELDS_MAX]; /* decoded */
    size_t query_count;
    char *text;
} cx_httpwire_head;

/* text: the head with its closing blank line (the caller bounds its size). 0, or the status of the
 * refusal, after which the head is empty. */
CX_MUST_CHECK int cx_httpwire_parse(cx_bytes text, cx_httpwire_head *head);
void cx_httpwire_head_free(cx_httpwire_head *head);
/* The value of a header (case-insensitive) or query parameter (exact), NULL when absent. */
const char *cx_httpwire_header(const cx_httpwire_head *head, const char *name);
const char *cx_httpwire_query(const cx_httpwire_head *head, const char *name);

/* A chunked body in progress. {0} is the start. */
typedef struct cx_httpwire_chunked {
    enum {
        CX_CHUNKED_SIZE,
        CX_CHUNKED_DATA,
        CX_CHUNKED_DATA_END,
        CX_CHUNKED_TRAILER,
        CX_CHUNKED_DONE,
    } state;
    uint64_t left; /* bytes of the chunk still to come */
    char line[CX_HTTPWIRE_LINE_MAX];
    size_t line_size;
    size_t trailers;
} cx_httpwire_chunked;

/* Takes bytes from the front of *input as far as they belong to the body and adds the content to
 * body, which never gets longer than body_max. 0 (state DONE: the body is whole; else input is used
 * up), or the status of the refusal: 400 or 413. */
CX_MUST_CHECK int cx_httpwire_chunked_take(cx_httpwire_chunked *chunked, cx_bytes *input,
                                           size_t body_max, cx_buffer *body);
