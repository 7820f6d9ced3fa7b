/* --listen: what the watcher knows, for Prometheus and for its dashboard; and silences, from there. */
#include <string.h>

#include "base/httpd.h"
#include "base/time.h"
#include "health/print.h"
#include "quiet.h"
#include "watch.h"

enum { CONNECTIONS_MAX = 128, BODY_MAX = 4096 };

/* ---- documents */

static json_t *alerts_json(const watch_self *watch)
{
    json_t *alerts = json_array();

    for (size_t i = 0; i < watch->alerts->count; i++)
        json_array_append_new(alerts, cx_alert_to_json(watch->alerts->items[i]));
    return alerts;
}

static json_t *checks_json(const watch_self *watch)
{
    json_t *checks = json_array();

    for (size_t i = 0; i < watch->round_count; i++)
        json_array_extend(checks, watch->rounds[i].checks);
    return checks;
}

static json_t *actions_json(const watch_self *watch)
{
    json_t *actions = json_array();

    for (size_t i = 0; i < watch->lane_count; i++)
        json_array_append_new(
            actions, json_pack("{s:o, s:s, s:b, s:I}", "name", cx_json_text(watch->lanes[i].name),
                               "type", cx_json_text_or_empty(watch->lanes[i].definition, "type"),
                               "settled", watch->lanes[i].settled, "failures",
                               (json_int_t)watch->lanes[i].waiting_failures));
    return actions;
}

static json_t *silences_json(const watch_self *watch)
{
    json_t *silences = json_array();
    int64_t wall_ms = cx_wall_ms();
    size_t at;
    json_t *document;

    json_array_foreach (watch->silence_documents, at, document) {
        cx_silence silence;
        cx_err ignored;

        if (cx_silence_from_json(document, "silence", &silence, &ignored) &&
            wall_ms < silence.until_ms)
            json_array_append(silences, document);
    }
    return silences;
}

/* Why rounds could not look at all: then nobody knows how things are. Or why nothing can be saved:
 * then a restart would forget. */
static json_t *errors_json(const watch_self *watch)
{
    json_t *errors = json_array();

    for (size_t i = 0; i < watch->round_count; i++)
        if (watch->rounds[i].error.code != CX_OK)
            json_array_append_new(errors, cx_json_text(watch->rounds[i].error.message));
    if (watch->save_failures > 0)
        json_array_append_new(errors, cx_json_text(watch->save_error.message));
    return errors;
}

json_t *watch_state(const watch_self *watch)
{
    json_t *checks = checks_json(watch);
    json_t *errors = errors_json(watch);
    cx_health health = cx_health_of(checks);
    bool blind = json_array_size(errors) > 0;
    json_t *members = json_object_get(watch->cluster, "members");

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "cluster",
        watch->config->cluster, "watcher", watch->config->node_id, "started_at",
        cx_json_time(watch->started_wall_ms), "time", cx_json_time(cx_wall_ms()), "status",
        cx_health_word(blind && health < CX_HEALTH_UNKNOWN ? CX_HEALTH_UNKNOWN : health), "members",
        members != NULL ? json_incref(members) : json_array(), "alerts", alerts_json(watch),
        "checks", checks, "silences", silences_json(watch), "watchers",
        cx_json_texts(&watch->watchers), "actions", actions_json(watch), "errors", errors, "nodes",
        health_board_nodes(watch->board), "silencing", watch_page_silencing(watch));
}

static void add_alert_metrics(const watch_self *watch, cx_buffer *text)
{
    size_t failed = 0;

    for (size_t i = 0; i < watch->round_count; i++)
        failed += watch->rounds[i].error.code != CX_OK;
    cx_buffer_addf(
        text,
        "# HELP cx_watch_save_failures Failures in a row to save what must not be forgotten\n"
        "# TYPE cx_watch_save_failures gauge\ncx_watch_save_failures %zu\n",
        watch->save_failures);
    cx_buffer_addf(text,
                   "# HELP cx_watch_rounds_failed Rounds of checks that could not look at all\n"
                   "# TYPE cx_watch_rounds_failed gauge\ncx_watch_rounds_failed %zu\n",
                   failed);
    cx_buffer_add_text(text, "# HELP cx_alerts Alerts by state\n# TYPE cx_alerts gauge\n");
    for (cx_alert_state state = CX_ALERT_PENDING; cx_alert_state_word(state) != NULL; state++) {
        size_t count = 0;

        for (size_t i = 0; i < watch->alerts->count; i++)
            count += watch->alerts->items[i]->state == state;
        cx_buffer_addf(text, "cx_alerts{state=\"%s\"} %zu\n", cx_alert_state_word(state), count);
    }
    /* Names of alerts and nodes are ids: nothing in them needs to be escaped. */
    cx_buffer_add_text(text, "# HELP cx_alert_firing 1 while an alert fires\n"
                             "# TYPE cx_alert_firing gauge\n");
    for (size_t i = 0; i < watch->alerts->count; i++) {
        const cx_alert *alert = watch->alerts->items[i];

        if (alert->state == CX_ALERT_FIRING)
            cx_buffer_addf(text,
                           "cx_alert_firing{name=\"%s\",subject=\"%s\",severity=\"%s\",silenced="
                           "\"%s\"} 1\n",
                           alert->name, alert->subject, alert->severity,
                           alert->silence_id[0] != '\0' ? "true" : "false");
    }
    cx_buffer_add_text(text, "# HELP cx_action_failures Failures in a row of an action\n"
                             "# TYPE cx_action_failures gauge\n");
    for (size_t i = 0; i < watch->lane_count; i++)
        cx_buffer_addf(text, "cx_action_failures{action=\"%s\"} %zu\n", watch->lanes[i].name,
                       watch->lanes[i].waiting_failures);
}

static void add_member_metrics(const watch_self *watch, cx_buffer *text)
{
    size_t at;
    json_t *member;

    cx_buffer_add_text(text,
                       "# HELP cx_member Always 1; status by gossip, state as the node tells\n"
                       "# TYPE cx_member gauge\n");
    json_array_foreach (json_object_get(watch->cluster, "members"), at, member)
        cx_health_sample(
            text, "cx_member", 1,
            (const cx_health_label[]){
                {"node_id", cx_json_text_or_empty(member, "node_id")},
                {"status", cx_json_text_or_empty(member, "status")},
                {"state", cx_json_text_or_empty(json_object_get(member, "tags"), "state")},
                {0}});
    cx_buffer_add_text(text,
                       "# HELP cx_member_quiet 1: nobody is told of this node, it is drained or "
                       "in maintenance\n# TYPE cx_member_quiet gauge\n");
    json_array_foreach (watch->quiet, at, member)
        cx_health_sample(
            text, "cx_member_quiet", 1,
            (const cx_health_label[]){{"node_id", cx_json_text_or_empty(member, "subject")}, {0}});
}

static void answer_metrics(watch_self *watch, cx_exchange *exchange)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_json_free) json_t *checks = checks_json(watch);

    cx_health_prometheus(checks, &text);
    add_alert_metrics(watch, &text);
    add_member_metrics(watch, &text);
    cx_exchange_answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                       cx_buffer_bytes(&text));
}

static void answer_state(watch_self *watch, cx_exchange *exchange)
{
    CX_AUTO(cx_json_free) json_t *state = watch_state(watch);

    cx_exchange_answer_json(exchange, 200, state);
}

static void answer_samples(watch_self *watch, cx_exchange *exchange)
{
    CX_AUTO(cx_json_free)
    json_t *samples = json_pack("{s:o}", "samples", health_board_samples(watch->board));

    cx_exchange_answer_json(exchange, 200, samples);
}

static void answer_ready(watch_self *watch, cx_exchange *exchange)
{
    static const char text[] = "ok\n";

    (void)watch;
    cx_exchange_answer(exchange, 200, "text/plain", cx_bytes_of(text));
}

/* ---- the server */

static const struct route {
    const char *method, *path;
    bool by_any_name; /* for programs, which call us as they like; browsers need a name of ours */
    void (*answer)(watch_self *watch, cx_exchange *exchange);
} routes[] = {
    {"GET", "/metrics", true, answer_metrics},
    {"GET", "/healthz", true, answer_ready},
    {"GET", "/api/v1/state", false, answer_state},
    {"GET", "/api/v1/events", false, watch_events_answer},
    {"GET", "/api/v1/samples", false, answer_samples},
    {"GET", "/api/v1/history", false, watch_history_answer},
    {"POST", "/api/v1/silence", false, watch_silence_answer},
    {"POST", "/api/v1/unsilence", false, watch_unsilence_answer},
};

static bool answer(watch_self *watch, cx_exchange *exchange, cx_err *err)
{
    const char *path = cx_exchange_path(exchange);
    const char *method = cx_exchange_method(exchange);
    const struct route *route = NULL;

    for (size_t i = 0; i < CX_COUNT(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            route = &routes[i];
    if ((route == NULL || !route->by_any_name) && !watch_page_may_look(watch, exchange, err))
        return false;
    if (strcmp(method, route != NULL ? route->method : "GET") != 0)
        return cx_fail(err, CX_PERMISSION, "%.64s: not for %s", path, method);
    if (route != NULL) {
        route->answer(watch, exchange);
        return true;
    }
    return watch_page_answer(watch, exchange) ||
           cx_fail(err, CX_NOT_FOUND, "%.64s: not here", path);
}

static void on_request(cx_exchange *exchange, void *arg)
{
    cx_err err;

    watch_page_protect(exchange);
    if (!answer(arg, exchange, &err))
        cx_exchange_answer_error(exchange, &err);
}

bool watch_serve_open(watch_self *watch, const watch_serve_options *options, cx_err *err)
{
    if (options->address == NULL) {
        if (options->token_file == NULL && options->names->count == 0)
            return true;
        return cx_fail(err, CX_USAGE, "--token-file and --allow-host are for --listen");
    }
    watch_events_open(watch);
    return watch_page_open(watch, options, err) &&
           cx_httpd_open(watch->loop,
                         &(cx_httpd_options){.address = options->address,
                                             .body_max = BODY_MAX,
                                             .connections_max = CONNECTIONS_MAX,
                                             .handler = on_request,
                                             .handler_arg = watch},
                         &watch->httpd, err);
}

void watch_serve_close(watch_self *watch)
{
    cx_httpd_close(&watch->httpd);
    watch_events_close(watch);
    watch_page_close(watch);
}
