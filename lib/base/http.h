/* HTTP client: libcurl, one request or many at once, each with a deadline and a bounded answer.
 *
 * TLS identity is checked by whoever owns the policy (pki: a peer is accepted by its SPIFFE URI):
 * the owner passes a hook that prepares the SSL_CTX; base knows nothing of it. Each request with a
 * hook has a connection and a TLS session of its own, since the same address may be asked as two
 * different nodes; others share connections.
 *
 * TLS 1.3 at least with a hook, 1.2 with verify_by_name. Redirects are not followed; a proxy of the
 * environment is used with verify_by_name only. Codes: UNAVAILABLE (no connection, or lost), TIMEOUT,
 * TOO_LARGE, PROTOCOL (no HTTP), INVALID (the URL), CERT_INVALID, CERT_EXPIRED, REVOKED (we refused
 * the peer, or it says so of us), UNAUTHENTICATED (it refused us), INTERRUPTED, and the hook's. */
#pragma once

#include "base/json.h"

/* Prepares OpenSSL's SSL_CTX (given as void * so that base needs no header of it) for a transfer.
 * False refuses the transfer with err. `arg` is the cx_http_request's tls_arg. */
typedef bool cx_http_tls_hook(void *ssl_ctx, void *arg, cx_err *err);

typedef struct cx_http_request {
    const char *method;         /* NULL: GET, or POST when there is a body */
    const char *url;            /* https://… or http://… */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
    cx_bytes body;              /* lives until the request is done */
    size_t answer_max;          /* bytes of the answer's body; more fails with TOO_LARGE */
    bool answer_cut;            /* more is left unread, and no failure: who asks needs the status */
    int64_t timeout_ms;         /* the whole exchange; 0: 30 s */
    int64_t connect_timeout_ms; /* 0: timeout_ms */
    cx_http_tls_hook *tls_hook; /* required for https unless verify_by_name */
    void *tls_arg;
    bool verify_by_name; /* usual web PKI: the system's CA store and the host name (webhooks, S3) */
    const char *ca_file; /* with verify_by_name: this CA instead of the system's */
} cx_http_request;

typedef struct cx_http_answer {
    int status; /* 0 when there was no answer: error says why */
    bool sent;  /* some of the request left this host: without an answer nobody knows what the peer
                   did with it */
    cx_buffer body;
    cx_buffer headers; /* raw header lines */
    double seconds;
    int64_t peer_date_ms; /* wall time of the Date header, 0 when absent: clock skew is measured at
                             every contact */
    cx_err error;
} cx_http_answer;

typedef struct cx_http cx_http; /* keeps connections alive between requests */

cx_http *cx_http_open(void);
void cx_http_close(cx_http **owner);

/* True when an HTTP answer came, whatever its status. */
CX_MUST_CHECK bool cx_http_do(cx_http *http, const cx_http_request *request, cx_http_answer *answer,
                              cx_err *err);
/* Runs count requests in parallel (at most parallel_max at a time); answers[i] belongs to
 * requests[i]. Fails only when it is interrupted; each answer has its own error. */
CX_MUST_CHECK bool cx_http_do_all(cx_http *http, const cx_http_request *requests, size_t count,
                                  size_t parallel_max, cx_http_answer *answers, cx_err *err);
void cx_http_answer_free(cx_http_answer *answer);
/* Value of a header (case-insensitive) in new memory, or NULL. */
char *cx_http_header(const cx_http_answer *answer, const char *name);

/* For daemons: the same transfers driven by a libevent loop (curl_multi_socket_action). */
struct event_base;
typedef struct cx_http_loop cx_http_loop;
typedef void cx_http_done(cx_http_answer *answer, void *arg); /* takes nothing: freed after it */

cx_http_loop *cx_http_loop_open(struct event_base *loop, size_t parallel_max);
/* Aborts what is under way: done gets INTERRUPTED, and must not start anything then. Not from within
 * a done. */
void cx_http_loop_close(cx_http_loop **owner);
/* Copies the request, body and headers too. More than parallel_max wait in order. `done` is called
 * from the loop, exactly once, also on failure (answer->error). */
void cx_http_loop_start(cx_http_loop *http, const cx_http_request *request, cx_http_done *done,
                        void *arg);
