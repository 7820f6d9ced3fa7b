/* Inside the HTTP server: one client's connection and its current exchange. Only httpd*.c look in
 * here; the contract is base/httpd.h. */
#pragma once

#include <sys/queue.h>

#include <event2/bufferevent.h>

#include "base/httpd.h"
#include "base/httpwire.h"
#include "base/listener.h"

enum { CX_PEER_TEXT_SIZE = 64 };

typedef struct cx_connection cx_connection;

struct cx_httpd {
    struct event_base *loop;
    cx_httpd_options options; /* with the defaults filled in */
    cx_listener *listener;
    bool stopping; /* connections close after their answer */
    uint16_t port;
    size_t connection_count;
    LIST_HEAD(cx_connection_list, cx_connection) connections;
};

struct cx_exchange {
    cx_connection *connection;
    cx_httpwire_head head;
    cx_httpwire_chunked chunked;
    cx_buffer body;
    cx_buffer headers; /* of the answer, added by the handler */
    bool is_head;      /* a HEAD request: no body in the answer */
    bool is_started;   /* a stream's head was sent */
    bool is_raw;       /* a stream to an HTTP/1.0 client: no chunks, it ends by closing */
    bool is_kept;
    void (*gone)(void *arg);
    void *gone_arg;
};

struct cx_connection {
    LIST_ENTRY(cx_connection) link;
    cx_httpd *httpd;
    struct bufferevent *stream;
    void *ssl; /* NULL: plain */
    struct event *timer;
    char peer[CX_PEER_TEXT_SIZE];
    enum cx_phase {
        CX_PHASE_HANDSHAKE,
        CX_PHASE_HEAD, /* before and in a request's head */
        CX_PHASE_BODY,
        CX_PHASE_HANDLER, /* the exchange is the handler's */
        CX_PHASE_FLUSH,   /* the answer is complete, the client has not taken all of it */
        CX_PHASE_LINGER,  /* refused: what the client still sends is dropped, so that the refusal
                             is not lost to a reset */
    } phase;
    int64_t opened_ms;
    int64_t since_ms;   /* start of the phase; HEAD: the first byte, 0 before it */
    int64_t request_ms; /* first byte of the request */
    int64_t moved_ms;   /* the last byte in (HEAD, BODY) or out (HANDLER, FLUSH) */
    size_t flush_size;  /* of the answer at the start of FLUSH */
    size_t scanned;     /* bytes of the head that have no end of it */
    bool close_after;   /* FLUSH */
    bool linger_after;  /* FLUSH */
    cx_exchange *exchange;
};

/* Takes over the socket. */
void cx_connection_open(cx_httpd *httpd, int fd, const char *peer);
void cx_connection_close(cx_connection *connection);
/* True when nothing is under way on it. */
bool cx_connection_is_idle(const cx_connection *connection);
/* True while it has sent no whole request. */
bool cx_connection_waits_for_client(const cx_connection *connection);
/* The exchange's answer is complete: frees the exchange. */
void cx_connection_finish(cx_connection *connection);
/* Bytes are about to go out: the client's time to take them starts if none were waiting. */
void cx_connection_expect_progress(cx_connection *connection);

/* Writes status line and headers. size: of the body; a negative one: chunked, or up to the end of
 * the connection when raw. */
void cx_connection_write_head(cx_connection *connection, int status, const char *content_type,
                              int64_t size, cx_bytes more_headers, bool is_raw);
