#include <string.h>

#include "base/time.h"
#include "gossip.h"
#include "gossip/control.h"
#include "gossip/core.h"

struct monitor_options {
    const char *run_dir;
    const char *events;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct monitor_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {"event", CX_TEXT(struct monitor_options, events), "EVENT,…", NULL,
     "only these events: member_joined, member_suspect, member_failed, member_left, "
     "member_updated, member_reaped, user_event, partition_changed"},
    {0},
};

enum { TURN_MS = 500, OPEN_TIMEOUT_MS = 5000 };

static bool add_event(const char *name, size_t size, json_t *events, cx_err *err)
{
    for (int i = 0; cx_gossip_notice_text((cx_gossip_notice_kind)i); i++) {
        const char *known = cx_gossip_notice_text((cx_gossip_notice_kind)i);

        if (strlen(known) == size && strncmp(known, name, size) == 0) {
            json_array_append_new(events, json_string(known));
            return true;
        }
    }
    return cx_fail(err, CX_USAGE, "unknown event '%.*s'", (int)size, name);
}

static bool parse_events(const char *text, json_t *events, cx_err *err)
{
    while (text) {
        size_t size = strcspn(text, ",");

        if (!add_event(text, size, events, err))
            return false;
        text = text[size] ? text + size + 1 : NULL;
    }
    return true;
}

static bool monitor(cx_run *run, const void *parsed, cx_err *err)
{
    const struct monitor_options *option = parsed;
    CX_AUTO(cx_control_close) cx_control *control = NULL;
    CX_AUTO(cx_free) char *path = NULL;
    CX_AUTO(cx_json_free) json_t *events = json_array();
    CX_AUTO(cx_json_free) json_t *begun = NULL;

    if (!parse_events(option->events, events, err))
        return false;

    CX_AUTO(cx_json_free)
    json_t *request = json_pack("{s:s, s:O}", "command", "monitor", "events", events);

    if (!gossip_socket(run, option->run_dir, &path, err) ||
        !cx_control_open(path, OPEN_TIMEOUT_MS, &control, err) ||
        !cx_control_ask(control, request, OPEN_TIMEOUT_MS, &begun, err))
        return false;

    int64_t end_ms = run->timeout_ms ? cx_now_ms() + run->timeout_ms : INT64_MAX;

    while (cx_now_ms() < end_ms) {
        CX_AUTO(cx_json_free) json_t *line = NULL;
        int64_t left_ms = end_ms - cx_now_ms();
        cx_err waited = {0};

        if (cx_control_next(control, left_ms < TURN_MS ? left_ms : TURN_MS, &line, &waited)) {
            if (!cx_emit_line(run, line, err))
                return false;
        } else if (waited.code == CX_INTERRUPTED) {
            return true; /* the usual end of a stream */
        } else if (waited.code != CX_TIMEOUT) {
            *err = waited;
            return false;
        }
    }
    return true;
}

const cx_command gossip_monitor = {
    .name = "monitor",
    .summary = "print events of the cluster as they happen, one JSON object a line",
    .description = "Ends with --timeout, by a signal, or with an error when the agent ends.",
    .options = options,
    .options_size = sizeof(struct monitor_options),
    .streams = true,
    .run = monitor,
};
