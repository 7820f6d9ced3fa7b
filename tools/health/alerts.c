#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "watch.h"

enum { HISTORY_MAX = 10000 };

struct alerts_options {
    bool active;
    int64_t history_ms;
};

static const cx_option options[] = {
    {"active", CX_FLAG(struct alerts_options, active), NULL, NULL,
     "without those that are resolved"},
    {"history", CX_DURATION(struct alerts_options, history_ms), "DUR", NULL,
     "every change of that time, oldest first (kept for 30 days)"},
    {0},
};

/* The state that was saved last, with the silences of this moment. */
static bool read_alerts(const json_t *state, bool active, json_t *list, const json_t *silences,
                        cx_err *err)
{
    CX_AUTO(cx_alerts_close)
    cx_alerts *alerts = cx_alerts_open(cx_json_text_or_empty(state, "cluster"),
                                       cx_json_text_or_empty(state, "node_id"));
    const json_t *quiet = json_object_get(state, "quiet");
    size_t room = json_array_size(silences) + json_array_size(quiet) + 1;
    CX_AUTO(cx_free) cx_silence *parsed = cx_alloc(room, sizeof *parsed);
    size_t count = 0, at;
    json_t *silence;

    if (!cx_alerts_from_json(alerts, json_object_get(state, "alerts"), err))
        return cx_wrap(err, "health.db");
    json_array_foreach ((json_t *)silences, at, silence)
        if (!cx_silence_from_json(silence, "silence", &parsed[count++], err))
            return cx_wrap(err, "health.db");
    json_array_foreach ((json_t *)quiet, at, silence)
        if (!cx_silence_from_json(silence, "quiet", &parsed[count++], err))
            return cx_wrap(err, "health.db");
    cx_alerts_mute(alerts, parsed, count, cx_wall_ms());
    for (size_t i = 0; i < alerts->count; i++)
        if (!active || alerts->items[i]->state != CX_ALERT_RESOLVED)
            json_array_append_new(list, cx_alert_to_json(alerts->items[i]));
    return true;
}

/* Whether a watcher holds the lock of the folder. */
static bool is_watched(const cx_config *config)
{
    CX_AUTO(cx_free) char *lock = cx_config_data(config, "health.lock");
    int fd = -1;
    cx_err err = {0};
    bool locked = cx_lock(lock, &fd, &err);

    cx_fd_close(&fd);
    return !locked && err.code == CX_BUSY;
}

static bool show(cx_run *run, const struct alerts_options *option, const cx_config *config,
                 cx_health_store *store, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *state = NULL;
    CX_AUTO(cx_json_free) json_t *silences = NULL;
    CX_AUTO(cx_json_free) json_t *waiting = NULL;
    CX_AUTO(cx_json_free) json_t *list = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    int64_t wall_ms = cx_wall_ms();

    if (!cx_health_store_load(store, &state, err) ||
        !cx_health_store_silences(store, false, wall_ms, &silences, err) ||
        !cx_health_store_waiting(store, &waiting, NULL, err))
        return false;
    if (option->history_ms > 0) {
        cx_json_free(&list);
        if (!cx_health_store_history(store, wall_ms - option->history_ms, HISTORY_MAX, &list, err))
            return false;
    } else if (state != NULL && !read_alerts(state, option->active, list, silences, err)) {
        return false;
    }
    document =
        json_pack("{s:O, s:I, s:O, s:b, s:o, s:O}", "alerts", list, "count",
                  (json_int_t)json_array_size(list), "silences", silences, "watched",
                  is_watched(config), "evaluated_at",
                  cx_json_time_or_null(json_integer_value(json_object_get(state, "saved_ms"))),
                  "outbox", waiting);
    return cx_emit(run, document, err);
}

static bool alerts(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;

    return cx_config_load(run->config_path, run->config_is_default, &config, err) &&
           cx_health_store_open(config->data_dir, true, &store, err) &&
           show(run, parsed, config, store, err);
}

const cx_command health_alerts = {
    .name = "alerts",
    .summary = "what this host's watcher sees firing, or what it saw",
    .description =
        "Reads the watcher's file, whether or not it runs: `watched` says so, `evaluated_at` when "
        "it last looked, `outbox` what is still to be sent, by action.",
    .options = options,
    .options_size = sizeof(struct alerts_options),
    .run = alerts,
};
