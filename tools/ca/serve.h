/* Serve: the CA over the network. The loop takes requests; one worker opens the CA, does one of them
 * and closes it, so that the commands of cx-ca can be used at the same time. */
#pragma once

#include "admission.h"
#include "base/httpd.h"
#include "base/log.h"
#include "base/pool.h"
#include "limit.h"
#include "pki/tls.h"

typedef struct serve_options {
    ca_key_options ca;
    const char *listen;
    int64_t validity_ms;
    int64_t grace_ms;
} serve_options;

typedef struct serve_self {
    const cx_run *run;
    const serve_options *option;
    cx_log log;
    char *log_place; /* of its file, which a rotation may move; NULL: it goes to no file */
    ca_place place;
    struct event_base *loop;
    cx_pool *pool;
    cx_tls *tls;
    cx_httpd *httpd;
    struct event *ending; /* looks whether all is answered; NULL until a signal came */
    int64_t end_by_ms;
    ca_limit limit;
} serve_self;

/* Handler of the HTTP server; arg is serve_self *. */
void serve_on_request(cx_exchange *exchange, void *arg);

/* What a joining host posts, done in the worker: {"token_id","secret","node_id","csr_pem"}. */
CX_MUST_CHECK bool serve_join(const serve_self *self, ca_store *store, const json_t *body,
                              json_t **answer, cx_err *err);
/* {"certificate_pem","csr_pem"}: the old certificate, and a request that proves its key. `who` is who
 * the client is by TLS, NULL when it showed no certificate (an expired one can't be shown). */
CX_MUST_CHECK bool serve_renew(const serve_self *self, ca_store *store, const cx_identity *who,
                               const json_t *body, json_t **answer, cx_err *err);
/* The server's own certificate and the revocation list, made anew in good time. */
CX_MUST_CHECK bool serve_keep_up(const cx_run *run, const serve_options *option, cx_err *err);
