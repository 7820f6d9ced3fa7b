/* Watchers among themselves: who has been told what, and what is silenced. Mutual TLS; nodes of the
 * cluster may ask and tell, and operators (a watcher beside an operator's certificate calls with that
 * one) who may silence.
 *
 * A notice goes to the next watchers in the order in which they would take over its subject, before
 * and after it is delivered; a watcher that starts asks all others first. So one that takes over
 * knows what was told, and tells only what a lost one had not. */
#include <string.h>

#include "base/http.h"
#include "base/httpd.h"
#include "base/rendezvous.h"
#include "base/text.h"
#include "config/address.h"
#include "pki/tls.h"
#include "watch.h"

enum {
    CALL_MS = 3000,
    FIRST_ASK_MS = 5000, /* so long a start waits for the others' notices */
    HEIRS_MAX = 4,       /* watchers that are told of a notice */
    PARALLEL_MAX = 16,
    CONNECTIONS_MAX = 256,
    BODY_MAX = 4 * 1024 * 1024,
};

static const char notices_path[] = "/api/v1/watch/notices";

struct watch_peers {
    watch_self *watch;
    cx_tls *tls;
    cx_httpd *httpd;
    cx_api *api;
    cx_http_loop *http;
    struct event *first_timer;
    size_t asked; /* first questions that are not answered yet */
    bool asking;
    char *address;
};

/* ---- what others say */

static void hear_notices(watch_self *watch, const json_t *list, bool *news)
{
    size_t at;
    json_t *item;

    json_array_foreach (list, at, item) {
        const cx_alert_notice *own;
        cx_alert_notice notice;
        bool ours_waits;
        cx_err err;

        if (!cx_alert_notice_from_json(item, "notice", &notice, &err)) {
            cx_log_error(&watch->log, CX_WARN, "peer_refused", &err);
            return;
        }
        /* Of what we do ourselves nobody knows better. */
        if (strcmp(notice.by, watch->alerts->self) == 0)
            continue;
        own = cx_alerts_notice(watch->alerts, notice.key);
        ours_waits = own != NULL && !own->delivered && strcmp(own->by, watch->alerts->self) == 0;
        if (!cx_alerts_heard(watch->alerts, &notice))
            continue;
        *news = true;
        if (ours_waits)
            json_array_append_new(watch->superseded, json_string(notice.key));
    }
}

void watch_peers_hear(watch_self *watch, const json_t *document)
{
    json_t *silences = json_object_get(document, "silences");
    bool news = false;

    hear_notices(watch, json_object_get(document, "notices"), &news);
    if (json_is_array(silences) && json_array_size(silences) > 0 &&
        json_array_size(silences) <= CX_HEALTH_SILENCES_MAX)
        watch_keep_silences(watch, silences);
    if (!news)
        return;
    if (watch->peers_known)
        watch_drop_superseded(watch);
    watch_turn(watch);
}

/* ---- the server */

static json_t *all_that_we_know(const watch_self *watch)
{
    json_t *notices = json_array();

    for (size_t i = 0; i < watch->alerts->notice_count; i++)
        json_array_append_new(notices, cx_alert_notice_to_json(watch->alerts->notices[i]));
    return json_pack("{s:o, s:O, s:o, s:b}", "notices", notices, "silences",
                     watch->silence_documents, "watchers", cx_json_texts(&watch->watchers), "blind",
                     watch_is_blind(watch));
}

static bool serve(struct watch_peers *peers, cx_exchange *exchange, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_identity who;

    if (!cx_tls_authenticate(peers->tls, cx_exchange_ssl(exchange), &who, err))
        return false;
    if (who.kind != CX_IDENTITY_NODE && who.role < CX_ROLE_OPERATOR)
        return cx_fail(err, CX_PERMISSION, "this is for watchers: nodes, and operators");
    if (strcmp(cx_exchange_path(exchange), notices_path) != 0)
        return cx_fail(err, CX_NOT_FOUND, "%.64s: not here", cx_exchange_path(exchange));
    if (strcmp(cx_exchange_method(exchange), "GET") == 0) {
        *answer = all_that_we_know(peers->watch);
        return true;
    }
    if (!cx_json_parse(cx_exchange_body(exchange), BODY_MAX, "notices", &document, err))
        return false;
    watch_peers_hear(peers->watch, document);
    *answer = json_pack("{s:b}", "ok", 1);
    return true;
}

static void on_request(cx_exchange *exchange, void *arg)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    cx_err err = {0};

    if (serve(arg, exchange, &answer, &err))
        cx_exchange_answer_json(exchange, 200, answer);
    else
        cx_exchange_answer_error(exchange, &err);
}

/* ---- the client */

static void all_known(struct watch_peers *peers)
{
    if (peers->watch->peers_known || watch_keeps_quiet(peers->watch))
        return;
    event_del(peers->first_timer);
    watch_peers_are_known(peers->watch);
}

static void on_first_answer(json_t **answer, const cx_err *error, void *arg)
{
    struct watch_peers *peers = arg;

    if (*answer != NULL)
        watch_peers_hear(peers->watch, *answer);
    else if (error->code == CX_INTERRUPTED)
        return;
    else
        cx_log_error(&peers->watch->log, CX_WARN, "peer_silent", error);
    if (--peers->asked == 0 && !peers->asking)
        all_known(peers);
}

static void on_first_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    all_known(arg);
}

void watch_peers_ask(watch_self *watch)
{
    struct watch_peers *peers = watch->peers;

    if (peers == NULL || peers->asking || peers->asked > 0 || watch->peers_known ||
        watch_keeps_quiet(watch))
        return;
    peers->asking = true; /* an answer may come at once */
    for (size_t i = 0; i < watch->watcher_nodes.count; i++) {
        const cx_api_node *node = &watch->watcher_nodes.items[i];

        if (strcmp(node->node_id, watch->alerts->self) == 0)
            continue;
        peers->asked++;
        cx_api_call_on(peers->api, peers->http, node, "GET", notices_path, NULL, CALL_MS,
                       on_first_answer, peers);
    }
    peers->asking = false;
    if (peers->asked == 0)
        all_known(peers);
}

void watch_peers_forget(watch_self *watch)
{
    watch->peers_known = false;
    watch_set_timer(watch->peers->first_timer, FIRST_ASK_MS);
}

void watch_peers_get(watch_self *watch, const cx_api_node *node, const char *path,
                     cx_api_done *done, void *arg)
{
    cx_api_call_on(watch->peers->api, watch->peers->http, node, "GET", path, NULL, CALL_MS, done,
                   arg);
}

static void on_told(json_t **answer, const cx_err *error, void *arg)
{
    watch_self *watch = arg;

    if (*answer == NULL && error->code != CX_INTERRUPTED)
        cx_log_error(&watch->log, CX_WARN, "peer_silent", error);
}

static void post(watch_self *watch, const cx_api_node *node, const json_t *document)
{
    struct watch_peers *peers = watch->peers;

    cx_api_call_on(peers->api, peers->http, node, "POST", notices_path, document, CALL_MS, on_told,
                   watch);
}

/* The watchers that would take over a subject, in their order. */
static void tell_heirs(watch_self *watch, const char *subject, const json_t *document)
{
    size_t count = watch->watcher_nodes.count;
    CX_AUTO(cx_free) const char **names = cx_alloc(count + 1, sizeof *names);
    CX_AUTO(cx_free) const cx_api_node **nodes = cx_alloc(count + 1, sizeof *nodes);
    size_t left = 0;

    for (size_t i = 0; i < count; i++)
        if (strcmp(watch->watcher_nodes.items[i].node_id, watch->alerts->self) != 0) {
            names[left] = watch->watcher_nodes.items[i].node_id;
            nodes[left++] = &watch->watcher_nodes.items[i];
        }
    for (size_t told = 0; told < HEIRS_MAX && left > 0; told++) {
        size_t next = cx_rendezvous(subject, names, left);

        post(watch, nodes[next], document);
        left--;
        names[next] = names[left];
        nodes[next] = nodes[left];
    }
}

void watch_peers_tell(watch_self *watch, const json_t *notices)
{
    size_t at;
    json_t *notice;

    if (watch->peers == NULL)
        return;
    json_array_foreach ((json_t *)notices, at, notice) {
        const cx_alert_notice *told =
            cx_alerts_notice(watch->alerts, cx_json_text_or_empty(notice, "key"));

        if (told == NULL || strcmp(told->by, watch->alerts->self) != 0)
            continue;

        CX_AUTO(cx_json_free)
        json_t *document = json_pack("{s:[o]}", "notices", cx_alert_notice_to_json(told));

        tell_heirs(watch, cx_json_text_or_empty(notice, "subject"), document);
    }
}

void watch_peers_tell_silences(watch_self *watch)
{
    CX_AUTO(cx_json_free)
    json_t *document = json_pack("{s:O}", "silences", watch->silence_documents);

    if (watch->peers == NULL)
        return;
    for (size_t i = 0; i < watch->watcher_nodes.count; i++)
        if (strcmp(watch->watcher_nodes.items[i].node_id, watch->alerts->self) != 0)
            post(watch, &watch->watcher_nodes.items[i], document);
}

/* ---- opening */

static bool open_tls(const cx_config *config, cx_tls **tls, cx_err *err)
{
    CX_AUTO(cx_free) char *ca = cx_config_cert(config, "ca.crt");
    CX_AUTO(cx_free) char *cert = cx_config_cert(config, "node.crt");
    CX_AUTO(cx_free) char *key = cx_config_cert(config, "node.key");
    CX_AUTO(cx_free) char *crl = cx_config_cert(config, "crl.pem");

    return cx_tls_open(
        &(cx_tls_files){.ca = ca, .cert = cert, .key = key, .crl = crl, .cluster = config->cluster},
        tls, err);
}

/* Where we listen: the node API's host, a free port unless one is given. */
static bool listen_there(struct watch_peers *peers, const char *wanted, cx_err *err)
{
    const cx_config *config = peers->watch->config;
    CX_AUTO(cx_free) char *own = cx_address_combine(config->api_addr, "x:0");
    CX_AUTO(cx_free) char *bound = NULL;

    if (!cx_httpd_open(peers->watch->loop,
                       &(cx_httpd_options){.address = wanted != NULL ? wanted : own,
                                           .tls = cx_tls_server,
                                           .tls_arg = peers->tls,
                                           .body_max = BODY_MAX,
                                           .connections_max = CONNECTIONS_MAX,
                                           .handler = on_request,
                                           .handler_arg = peers},
                       &peers->httpd, err))
        return false;
    bound = cx_format("x:%u", cx_httpd_port(peers->httpd));
    peers->address = cx_address_combine(config->api_advertise_addr, bound);
    return true;
}

static bool open_peers(struct watch_peers *peers, const char *wanted, cx_err *err)
{
    return open_tls(peers->watch->config, &peers->tls, err) &&
           cx_api_open(peers->watch->config, &peers->api, err) && listen_there(peers, wanted, err);
}

bool watch_peers_open(watch_self *watch, const char *wanted, cx_err *err)
{
    struct watch_peers *peers = cx_alloc(1, sizeof *peers);

    watch->peers = peers;
    peers->watch = watch;
    peers->first_timer = evtimer_new(watch->loop, on_first_late, peers);
    peers->http = cx_http_loop_open(watch->loop, PARALLEL_MAX);
    if (open_peers(peers, wanted, err)) {
        watch_set_timer(peers->first_timer, FIRST_ASK_MS);
        return true;
    }
    if (wanted != NULL)
        return false;
    /* Without a node's certificate it watches alone. */
    cx_log_error(&watch->log, CX_WARN, "no_peers", err);
    watch_peers_close(watch);
    watch->peers_known = true;
    return true;
}

void watch_peers_close(watch_self *watch)
{
    struct watch_peers *peers = watch->peers;

    if (peers == NULL)
        return;
    cx_http_loop_close(&peers->http);
    cx_httpd_close(&peers->httpd);
    event_free(peers->first_timer);
    cx_api_close(&peers->api);
    cx_tls_close(&peers->tls);
    cx_free(&peers->address);
    cx_free(&watch->peers);
}

const char *watch_peers_address(const watch_self *watch)
{
    return watch->peers != NULL ? watch->peers->address : NULL;
}
