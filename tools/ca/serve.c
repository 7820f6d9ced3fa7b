/* serve: the CA over the network, for hosts that join by token and certificates that end soon. */
#include "serve.h"

#include <signal.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/io.h"
#include "base/time.h"
#include "commands.h"

enum {
    BODY_MAX = 64 * 1024,
    CONNECTIONS_MAX = 128,
    JOBS_MAX = 64,
    UPKEEP_SECONDS = 3600,
    END_MS = 5000, /* for the answers that are under way at the end */
};

static const cx_option options[] = {
    {"listen", CX_TEXT(serve_options, listen), "HOST:PORT", ":8443", "where to listen"},
    {"validity", CX_DURATION(serve_options, validity_ms), "DUR", "90d",
     "how long certificates are valid"},
    {"grace", CX_DURATION(serve_options, grace_ms), "DUR", "30d",
     "an expired certificate may be renewed this long"},
    CA_KEY_OPTIONS(serve_options, ca),
    {0},
};

/* Ends when the last answer was taken, or at the deadline. */
static void on_ending(evutil_socket_t fd, short what, void *arg)
{
    serve_self *self = arg;

    (void)fd, (void)what;
    if (cx_httpd_connections(self->httpd) == 0 || cx_now_ms() >= self->end_by_ms)
        event_base_loopexit(self->loop, NULL);
}

/* The first asks for a clean end, the second breaks the loop. */
static void on_signal(evutil_socket_t number, short what, void *arg)
{
    const struct timeval soon = {.tv_usec = 20 * 1000};
    serve_self *self = arg;

    (void)number, (void)what;
    if (self->ending != NULL) {
        event_base_loopbreak(self->loop);
        return;
    }
    sd_notify(0, "STOPPING=1");
    cx_httpd_stop_accepting(self->httpd);
    self->end_by_ms = cx_now_ms() + END_MS;
    self->ending = event_new(self->loop, -1, EV_PERSIST, on_ending, self);
    event_add(self->ending, &soon);
}

static void on_refused(void *ssl, const char *from, const char *reason, void *arg)
{
    serve_self *self = arg;
    const char *why = cx_tls_refusal(ssl);

    cx_log_write(&self->log, CX_WARN, "tls_refused", "{s:s, s:o}", "from", from, "reason",
                 cx_json_text(why[0] != '\0' ? why : reason));
}

/* ---- upkeep, in the worker */

struct upkeep {
    serve_self *self;
    bool done;
    cx_err err;
};

static void do_upkeep(void *arg)
{
    struct upkeep *upkeep = arg;

    upkeep->done = serve_keep_up(upkeep->self->run, upkeep->self->option, &upkeep->err);
}

static void end_upkeep(void *arg)
{
    struct upkeep *upkeep = arg;

    if (!upkeep->done || !cx_tls_reload(upkeep->self->tls, NULL, &upkeep->err))
        cx_log_error(&upkeep->self->log, CX_ERROR, "upkeep_failed", &upkeep->err);
    cx_free(&upkeep);
}

static void on_upkeep(evutil_socket_t fd, short what, void *arg)
{
    serve_self *self = arg;
    struct upkeep *upkeep = cx_alloc(1, sizeof(*upkeep));

    (void)fd, (void)what;
    upkeep->self = self;
    if (!cx_pool_add(self->pool, do_upkeep, end_upkeep, upkeep))
        cx_free(&upkeep); /* the next hour will do */
}

/* ---- life */

static bool open_tls(serve_self *self, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = cx_path_join(self->place.folder, "serve");
    CX_AUTO(cx_free) char *cert = cx_path_join(folder, "node.crt");
    CX_AUTO(cx_free) char *key = cx_path_join(folder, "node.key");

    return cx_tls_open(
        &(cx_tls_files){.ca = self->place.cert, .cert = cert, .key = key, .crl = self->place.crl},
        &self->tls, err);
}

static bool open_server(serve_self *self, cx_err *err)
{
    self->loop = event_base_new();
    if (self->loop == NULL)
        return cx_fail(err, CX_INTERNAL, "no event loop");
    /* Hosts that join have no certificate yet, hosts that were off for long none that is valid. */
    return cx_pool_open(self->loop, 1, JOBS_MAX, &self->pool, err) &&
           cx_httpd_open(self->loop,
                         &(cx_httpd_options){.address = self->option->listen,
                                             .tls = cx_tls_server_optional,
                                             .tls_arg = self->tls,
                                             .body_max = BODY_MAX,
                                             .connections_max = CONNECTIONS_MAX,
                                             .handler = serve_on_request,
                                             .handler_arg = self,
                                             .refused = on_refused,
                                             .refused_arg = self},
                         &self->httpd, err);
}

static void on_hangup(evutil_socket_t number, short what, void *arg)
{
    serve_self *self = arg;
    cx_err err;

    (void)number, (void)what;
    if (!cx_log_reopen(&self->log, self->log_place, &err))
        cx_log_error(&self->log, CX_ERROR, "log_not_reopened", &err);
}

static bool run_loop(serve_self *self, cx_err *err)
{
    struct event *events[] = {
        evsignal_new(self->loop, SIGTERM, on_signal, self),
        evsignal_new(self->loop, SIGINT, on_signal, self),
        event_new(self->loop, -1, EV_PERSIST, on_upkeep, self),
        evsignal_new(self->loop, SIGHUP, on_hangup, self),
    };
    const struct timeval hour = {.tv_sec = UPKEEP_SECONDS};
    int status;

    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_add(events[i], i == 2 ? &hour : NULL);
    cx_log_write(&self->log, CX_INFO, "ready", "{s:s, s:i, s:o}", "listen", self->option->listen,
                 "port", (int)cx_httpd_port(self->httpd), "ca", cx_json_text(self->place.cert));
    sd_notify(0, "READY=1");
    status = event_base_dispatch(self->loop);
    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_free(events[i]);
    return status >= 0 || cx_fail(err, CX_INTERNAL, "the event loop failed");
}

static void close_self(serve_self *self)
{
    cx_pool_close(&self->pool);
    cx_httpd_close(&self->httpd);
    cx_tls_close(&self->tls);
    ca_place_free(&self->place);
    if (self->ending != NULL)
        event_free(self->ending);
    if (self->loop != NULL)
        event_base_free(self->loop);
}

static bool serve(cx_run *run, const void *parsed, cx_err *err)
{
    serve_self *self = cx_alloc(1, sizeof(*self));
    bool good;

    self->run = run;
    self->option = parsed;
    self->log = (cx_log){.program = "cx-ca", .level = CX_INFO, .fd = STDERR_FILENO};
    self->log_place = cx_log_place(&self->log);
    good = cx_cert_check_validity(self->option->validity_ms, err) &&
           ca_place_find(run, &self->option->ca.place, &self->place, err) &&
           serve_keep_up(run, self->option, err) && open_tls(self, err) && open_server(self, err) &&
           run_loop(self, err);
    close_self(self);
    cx_free(&self->log_place);
    cx_free(&self);
    return good;
}

const cx_command ca_serve = {
    .name = "serve",
    .summary = "let hosts join by token and renew their certificates, over TLS 1.3",
    .description =
        "POST /join, POST /renew, GET /ca.crt, GET /crl.pem. Runs in the foreground; logs "
        "NDJSON on stderr. The CA's key stays on this host. SIGTERM and SIGINT end it; SIGHUP "
        "opens its log file "
        "anew after a rotation.",
    .options = options,
    .options_size = sizeof(serve_options),
    .run = serve,
};
