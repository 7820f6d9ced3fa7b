/* The loop's side of cx-ca serve: routes, limits, and jobs for the worker. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "serve.h"

enum serve_work { JOIN, RENEW };

/* One request on its way through the worker. */
struct job {
    serve_self *self;
    cx_exchange *exchange; /* NULL: the client went away; the work is done all the same */
    enum serve_work work;
    json_t *body;
    char from[64];
    cx_identity who; /* by TLS */
    bool has_who;
    json_t *answer; /* NULL: err */
    cx_err err;
};

static const char *work_word(enum serve_work work)
{
    switch (work) {
    case JOIN: return "join";
    case RENEW: return "renew";
    }
    return NULL;
}

static void free_job(struct job *job)
{
    json_decref(job->body);
    json_decref(job->answer);
    cx_free(&job);
}

static void refuse(serve_self *self, cx_exchange *exchange, const char *action, const cx_err *err)
{
    cx_log_write(&self->log, CX_WARN, "refused", "{s:s, s:s, s:s, s:o}", "action", action, "from",
                 cx_exchange_peer_address(exchange), "code", cx_code_word(err->code), "reason",
                 cx_json_text(err->message));
    cx_exchange_answer_error(exchange, err);
}

/* ---- the worker */

static void do_work(void *arg)
{
    struct job *job = arg;
    const serve_self *self = job->self;
    CX_AUTO(ca_store_close) ca_store *store = NULL;

    if (!ca_store_open(self->run, &self->option->ca, &store, &job->err))
        return;
    snprintf(store->peer, sizeof(store->peer), "%s", job->from);
    switch (job->work) {
    case JOIN:
        if (!serve_join(self, store, job->body, &job->answer, &job->err))
            job->answer = NULL;
        return;
    case RENEW:
        if (!serve_renew(self, store, job->has_who ? &job->who : NULL, job->body, &job->answer,
                         &job->err))
            job->answer = NULL;
        return;
    }
}

/* What goes wrong with the CA itself is for its operator, not for a stranger. */
static void hide_own_fault(struct job *job)
{
    switch (job->err.code) {
    case CX_IO:
    case CX_CORRUPT:
    case CX_INTERNAL:
    case CX_CONFIG:
    case CX_NOT_FOUND:
        cx_log_error(&job->self->log, CX_ERROR, work_word(job->work), &job->err);
        cx_fail(&job->err, CX_UNAVAILABLE, "the CA can't do this now");
        return;
    default: return;
    }
}

static void answer_job(void *arg)
{
    struct job *job = arg;

    if (job->answer == NULL)
        hide_own_fault(job);
    if (job->answer != NULL)
        cx_log_write(&job->self->log, CX_INFO, work_word(job->work), "{s:s, s:O?, s:O?, s:O?}",
                     "from", job->from, "uri", json_object_get(job->answer, "uri"), "serial",
                     json_object_get(job->answer, "serial"), "changed",
                     json_object_get(job->answer, "changed"));
    if (job->exchange != NULL && job->answer != NULL)
        cx_exchange_answer_json(job->exchange, 200, job->answer);
    else if (job->exchange != NULL)
        refuse(job->self, job->exchange, work_word(job->work), &job->err);
    free_job(job);
}

static void on_gone(void *arg)
{
    struct job *job = arg;

    job->exchange = NULL;
}

/* ---- requests */

static void start(serve_self *self, cx_exchange *exchange, enum serve_work work)
{
    cx_bytes body = cx_exchange_body(exchange);
    struct job *job;
    json_t *document = NULL;
    cx_identity who;
    bool has_who;
    cx_err err;

    if (!ca_limit_take(&self->limit, cx_exchange_peer_address(exchange), cx_now_ms())) {
        cx_fail(&err, CX_BUSY, "too many requests from this address");
        cx_exchange_add_header(exchange, "Retry-After", "5");
        refuse(self, exchange, work_word(work), &err);
        return;
    }
    has_who = cx_tls_authenticate(self->tls, cx_exchange_ssl(exchange), &who, &err);
    if (!has_who && err.code != CX_UNAUTHENTICATED) {
        refuse(self, exchange, work_word(work), &err);
        return;
    }
    if (!cx_json_parse(body, body.size, "body", &document, &err)) {
        refuse(self, exchange, work_word(work), &err);
        return;
    }
    job = cx_alloc(1, sizeof(*job));
    job->self = self;
    job->exchange = exchange;
    job->work = work;
    job->body = document;
    snprintf(job->from, sizeof(job->from), "%s", cx_exchange_peer_address(exchange));
    job->has_who = has_who;
    if (has_who)
        job->who = who;
    if (cx_pool_add(self->pool, do_work, answer_job, job)) {
        cx_exchange_keep(exchange, on_gone, job);
        return;
    }
    free_job(job);
    cx_fail(&err, CX_BUSY, "too many requests are waiting");
    cx_exchange_add_header(exchange, "Retry-After", "5");
    refuse(self, exchange, work_word(work), &err);
}

static void answer_file(serve_self *self, cx_exchange *exchange, const char *path)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    cx_err err;

    if (!cx_read_file(path, CX_CERTS_BYTES_MAX, &pem, &err)) {
        cx_fail(&err, CX_NOT_FOUND, "not there");
        refuse(self, exchange, cx_exchange_path(exchange), &err);
        return;
    }
    cx_exchange_answer(exchange, 200, "application/x-pem-file", cx_buffer_bytes(&pem));
}

void serve_on_request(cx_exchange *exchange, void *arg)
{
    serve_self *self = arg;
    const char *method = cx_exchange_method(exchange), *path = cx_exchange_path(exchange);
    bool is_get = strcmp(method, "GET") == 0, is_post = strcmp(method, "POST") == 0;
    cx_err err;

    if (is_get && strcmp(path, "/ca.crt") == 0) {
        answer_file(self, exchange, self->place.cert);
    } else if (is_get && strcmp(path, "/crl.pem") == 0) {
        answer_file(self, exchange, self->place.crl);
    } else if (is_post && strcmp(path, "/join") == 0) {
        start(self, exchange, JOIN);
    } else if (is_post && strcmp(path, "/renew") == 0) {
        start(self, exchange, RENEW);
    } else {
        cx_fail(&err, CX_NOT_FOUND,
                "no such request (GET /ca.crt, GET /crl.pem, POST /join, POST "
                "/renew)");
        refuse(self, exchange, "unknown", &err);
    }
}
