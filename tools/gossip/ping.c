#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "config/config.h"
#include "gossip.h"
#include "gossip/control.h"

struct ping_options {
    const char *run_dir;
    int64_t count;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct ping_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {"count", CX_INT(struct ping_options, count), "N", "1", "pings of each member"},
    {0},
};

enum { COUNT_MAX = 1000 };

static bool ping_once(cx_run *run, cx_control *control, const char *node, json_t *pings,
                      size_t *lost, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *request = json_pack("{s:s, s:o}", "command", "ping", "node", cx_json_text(node));
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    cx_err failed = {0};

    if (cx_control_ask(control, request, cx_timeout_or(run, GOSSIP_ASK_TIMEOUT_MS), &answer,
                       &failed)) {
        json_object_set_new(answer, "ok", json_true());
        json_array_append(pings, answer);
        return true;
    }
    if (failed.code != CX_TIMEOUT && failed.code != CX_UNAVAILABLE) {
        *err = failed;
        return false;
    }
    (*lost)++;
    json_array_append_new(pings,
                          json_pack("{s:o, s:n, s:b, s:o}", "node_id", cx_json_text(node), "rtt_ms",
                                    "ok", 0, "message", cx_json_text(failed.message)));
    return true;
}

/* The members to ping: the one named, or all that have not left but ourselves. */
static bool choose(cx_run *run, cx_control *control, cx_list *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "members");
    CX_AUTO(cx_json_free) json_t *status_request = json_pack("{s:s}", "command", "status");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    CX_AUTO(cx_json_free) json_t *status = NULL;
    size_t i;
    json_t *member;

    if (run->arg_count > 0) {
        cx_list_add(nodes, run->args[0]);
        return true;
    }
    if (!cx_control_ask(control, request, GOSSIP_ASK_TIMEOUT_MS, &answer, err) ||
        !cx_control_ask(control, status_request, GOSSIP_ASK_TIMEOUT_MS, &status, err))
        return false;
    json_array_foreach (json_object_get(answer, "members"), i, member)
        if (strcmp(cx_json_text_or_empty(member, "status"), "left") != 0 &&
            strcmp(cx_json_text_or_empty(member, "node_id"),
                   cx_json_text_or_empty(status, "node_id")) != 0)
            cx_list_add(nodes, cx_json_text_or_empty(member, "node_id"));
    return true;
}

static bool ping(cx_run *run, const void *parsed, cx_err *err)
{
    const struct ping_options *option = parsed;
    CX_AUTO(cx_control_close) cx_control *control = NULL;
    CX_AUTO(cx_list_free) cx_list nodes = {0};
    CX_AUTO(cx_free) char *path = NULL;
    CX_AUTO(cx_json_free) json_t *pings = json_array();
    size_t lost = 0;

    if (option->count < 1 || option->count > COUNT_MAX)
        return cx_fail(err, CX_USAGE, "--count: 1 to %d", COUNT_MAX);
    if (!gossip_socket(run, option->run_dir, &path, err) ||
        !cx_control_open(path, GOSSIP_ASK_TIMEOUT_MS, &control, err) ||
        !choose(run, control, &nodes, err))
        return false;
    for (int64_t n = 0; n < option->count; n++)
        for (size_t i = 0; i < nodes.count; i++) {
            if (cx_interrupted())
                return cx_fail(err, CX_INTERRUPTED, "interrupted");
            if (!ping_once(run, control, nodes.items[i], pings, &lost, err))
                return false;
        }

    CX_AUTO(cx_json_free)
    json_t *result = json_pack("{s:O, s:I, s:I}", "pings", pings, "sent",
                               (json_int_t)json_array_size(pings), "lost", (json_int_t)lost);

    run->answer_no = lost > 0;
    return cx_emit(run, result, err);
}

const cx_command gossip_ping = {
    .name = "ping",
    .arguments = "[NODE]",
    .arguments_max = 1,
    .summary = "measure the round trip to a member, or to every one",
    .options = options,
    .options_size = sizeof(struct ping_options),
    .run = ping,
};
