/* HTTP server on a libevent loop: TLS 1.3 by the caller's SSL_CTX, bounds on everything a stranger
 * can make grow: header, body, connections, time for the handshake, the header and the body.
 *
 * Built on libevent's bufferevents and base/httpwire.h. Not on its evhttp (2.1.12): that one tells
 * nobody of a client that leaves before it is answered or whose handshake fails, has no bound on the
 * number of connections nor on a whole request's time, and ends the process when bytes come in a
 * state that it does not expect. The process must ignore SIGPIPE. One thread: handlers run in the loop and never block; an answer may
 * be given later (the exchange stays open until then). */
#pragma once

#include <event2/event.h>

#include "base/json.h"

typedef struct cx_httpd cx_httpd;
typedef struct cx_exchange cx_exchange; /* one request and its answer */

/* Called in the loop for each whole request. It answers now, or keeps the exchange and answers
 * later. A client that goes away first: `gone` of cx_exchange_keep. */
typedef void cx_httpd_handler(cx_exchange *exchange, void *arg);

typedef struct cx_httpd_options {
    const char *address; /* host:port, ":port" for all addresses; port 0 takes a free one */
    /* Returns the SSL_CTX for a new connection (as void *, with a reference that the server takes
     * over), so a renewed certificate is used without a restart. NULL hook: plain HTTP. */
    void *(*tls)(void *arg);
    void *tls_arg;
    size_t header_max;       /* bytes; default 16 KiB */
    size_t body_max;         /* bytes; default 1 MiB: 413 above it */
    size_t connections_max;  /* default 512: the next one takes the place of the oldest one that has
                                  no whole request for longer than spare_ms, or is closed at once */
    int64_t spare_ms;        /* default 1000 */
    int64_t idle_timeout_ms; /* default 15000: for the whole handshake, between requests, each read,
                                  and for the client to take more of an answer */
    int64_t request_timeout_ms; /* default 30000: from the first byte to the whole body; and for the
                                   client to take the whole answer, 1 s longer for each 32 kB */
    cx_httpd_handler *handler;
    void *handler_arg;
    /* Told of each TLS handshake that failed, while the connection's SSL * (as void *, for the
     * certificate) is still there; the connection is then closed. reason: OpenSSL's words, or that
     * the client left or took too long. Connections without a single byte are not told of. NULL:
     * nobody is told. */
    void (*refused)(void *ssl, const char *peer_address, const char *reason, void *arg);
    void *refused_arg;
} cx_httpd_options;

/* Binds and listens; fails with UNAVAILABLE when the address is taken (the message says so). */
CX_MUST_CHECK bool cx_httpd_open(struct event_base *loop, const cx_httpd_options *options,
                                 cx_httpd **httpd, cx_err *err);
/* Closes all connections at once; kept exchanges get their `gone`. Not from within a handler. */
void cx_httpd_close(cx_httpd **owner);
uint16_t cx_httpd_port(const cx_httpd *httpd);
/* Closes the listening socket and idle connections; the others close after their answer. */
void cx_httpd_stop_accepting(cx_httpd *httpd);
size_t cx_httpd_connections(const cx_httpd *httpd);

/* The request. Texts live as long as the exchange. Other methods never get here (405); a HEAD comes
 * as "GET", and the server leaves the answer's body out. */
const char *cx_exchange_method(const cx_exchange *exchange); /* "GET", "POST", "PUT", "DELETE" */
const char *cx_exchange_path(const cx_exchange *exchange);   /* decoded, without query */
const char *cx_exchange_query(const cx_exchange *exchange, const char *name); /* NULL: absent */
bool cx_exchange_wants_body(const cx_exchange *exchange); /* false: it is a HEAD */
const char *cx_exchange_header(const cx_exchange *exchange, const char *name);
cx_bytes cx_exchange_body(const cx_exchange *exchange);
const char *cx_exchange_peer_address(const cx_exchange *exchange); /* "127.0.0.1:53214" */
/* The connection's SSL * (as void *), NULL on plain HTTP; for the peer's certificate. */
void *cx_exchange_ssl(const cx_exchange *exchange);

/* An exchange that is neither answered nor kept when the handler returns is answered with 500.
 *
 * Keeps the exchange open after the handler returns; gone(arg) is called if the client goes away
 * before the answer, after which the exchange must not be used. */
void cx_exchange_keep(cx_exchange *exchange, void (*gone)(void *arg), void *arg);
/* Adds a header to the answer (before it is given). */
void cx_exchange_add_header(cx_exchange *exchange, const char *name, const char *value);
/* Each of these three ends the exchange. */
void cx_exchange_answer(cx_exchange *exchange, int status, const char *content_type, cx_bytes body);
void cx_exchange_answer_json(cx_exchange *exchange, int status, const json_t *document);
/* Status by cx_code_to_http; the body is cx_err_to_json. */
void cx_exchange_answer_error(cx_exchange *exchange, const cx_err *error);
/* A chunked answer: start, any number of chunks, end. For server-sent events and NDJSON streams.
 * The owner watches pending_bytes and stops (or ends the stream) while the client doesn't keep up; a
 * client that takes nothing for idle_timeout_ms is closed. */
void cx_exchange_start(cx_exchange *exchange, int status, const char *content_type);
void cx_exchange_chunk(cx_exchange *exchange, cx_bytes bytes);
size_t cx_exchange_pending_bytes(const cx_exchange *exchange); /* not yet taken by the client */
void cx_exchange_end(cx_exchange *exchange);
