#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "queue.h"

enum { DRAIN_MS = 60000, LOOK_MS = 100, LOOK_MS_MAX = 1000, REMARK_MS = 5000 };

struct drain_options {
    cx_target target;
    const char *agent;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct drain_options, target),
    {"agent", CX_TEXT(struct drain_options, agent), "ID", NULL, "wait for this agent's queue only"},
    {0},
};

/* The queues that are not empty yet; *remaining is what is in them. New reference. */
static json_t *still_full(const cx_gathered *gathered, const cx_api_nodes *nodes, const char *agent,
                          json_int_t *remaining)
{
    CX_AUTO(cx_json_free) json_t *all = cx_gathered_list(gathered, nodes, "queues");
    json_t *full = json_array();
    size_t at;
    json_t *queue;

    *remaining = 0;
    json_array_foreach (all, at, queue) {
        json_int_t waiting = cx_api_count(queue, "queued") + cx_api_count(queue, "in_flight");

        if (waiting == 0 ||
            (agent != NULL && strcmp(cx_json_text_or_empty(queue, "agent"), agent) != 0))
            continue;
        *remaining += waiting;
        json_array_append(full, queue);
    }
    return full;
}

static void say_who(const cx_run *run, const json_t *full, json_int_t remaining)
{
    const json_t *first = json_array_get(full, 0);

    cx_remark(run, "waiting for %" JSON_INTEGER_FORMAT " messages in %zu queues (%s on %s first)",
              remaining, json_array_size(full), cx_json_text_or_empty(first, "agent"),
              cx_json_text_or_empty(first, "node_id"));
}

/* A node that can't be asked may hold messages: then nothing is known to be empty. */
static bool look(queue_scope *scope, const char *agent, int64_t timeout_ms, json_t **full,
                 json_int_t *remaining, cx_err *err)
{
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};

    if (!cx_api_gather(scope->api, &scope->nodes, "/api/v1/queues", timeout_ms, &gathered, err))
        return false;
    for (size_t i = 0; i < gathered.count; i++) {
        if (gathered.answers[i] == NULL) {
            *err = gathered.errors[i];
            return false;
        }
    }
    cx_json_free(full);
    *full = still_full(&gathered, &scope->nodes, agent, remaining);
    return true;
}

static bool drain(cx_run *run, const void *parsed, cx_err *err)
{
    const struct drain_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(cx_json_free) json_t *full = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_int_t remaining = 0;
    int64_t started_ms = cx_now_ms(), remarked_ms = started_ms, now_ms = started_ms;
    int64_t deadline_ms = started_ms + cx_timeout_or(run, DRAIN_MS);
    int64_t pause_ms = LOOK_MS;

    if ((option->agent != NULL && !cx_check_id("agent", option->agent, err)) ||
        !queue_open(run, &option->target, queue_dash(run), &scope, err))
        return false;
    for (;;) {
        if (!look(&scope, option->agent, CX_API_TIMEOUT_MS, &full, &remaining, err))
            return false;
        now_ms = cx_now_ms();
        if (remaining == 0 || now_ms >= deadline_ms)
            break;
        if (now_ms - remarked_ms >= REMARK_MS) {
            say_who(run, full, remaining);
            remarked_ms = now_ms;
        }
        if (!cx_api_pause(pause_ms < deadline_ms - now_ms ? pause_ms : deadline_ms - now_ms, err))
            return false;
        pause_ms = pause_ms * 2 < LOOK_MS_MAX ? pause_ms * 2 : LOOK_MS_MAX;
    }
    document = json_pack("{s:b, s:I, s:o, s:O}", "drained", remaining == 0, "remaining", remaining,
                         "waited_seconds", cx_json_figure((double)(now_ms - started_ms) / 1000),
                         "queues", full);
    run->answer_no = remaining > 0;
    return cx_emit(run, document, err);
}

const cx_command queue_drain = {
    .name = "drain",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "wait until the queues are empty",
    .description = "Refuses nothing and drops nothing: cx-drain enter keeps new work away. Exit "
                   "status 1 and \"remaining\" when --timeout (60s) passes first.",
    .options = options,
    .options_size = sizeof(struct drain_options),
    .run = drain,
};
