#include <string.h>

#include "queue.h"

struct stats_options {
    cx_target target;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct stats_options, target),
    {0},
};

static bool stats(cx_run *run, const void *parsed, cx_err *err)
{
    static const char *const keys[] = {
        "queued",          "in_flight",       "done",         "failed",
        "accepted_total",  "processed_total", "failed_total", "duplicates_total",
        "forwarded_total", "retried_total",   "lost"};
    const struct stats_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *nodes = NULL;

    if (!queue_open(run, &option->target, queue_dash(run), &scope, err) ||
        !cx_api_gather(scope.api, &scope.nodes, "/api/v1/messages/stats", scope.timeout_ms,
                       &gathered, err))
        return false;
    document = json_object();
    for (size_t i = 0; i < CX_COUNT(keys); i++)
        json_object_set_new(document, keys[i],
                            json_integer(cx_gathered_sum(&gathered, NULL, keys[i])));
    nodes = json_array();
    json_object_set_new(document, "nodes", nodes);
    for (size_t i = 0; i < gathered.count; i++) {
        if (gathered.answers[i] == NULL)
            continue;
        if (json_object_get(gathered.answers[i], "node_id") == NULL)
            json_object_set_new(gathered.answers[i], "node_id",
                                cx_json_text(scope.nodes.items[i].node_id));
        json_array_append(nodes, gathered.answers[i]);
    }
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return cx_emit(run, document, err);
}

const cx_command queue_messages_stats = {
    .name = "messages stats",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "counters of messages: accepted, processed, failed, lost",
    .options = options,
    .options_size = sizeof(struct stats_options),
    .run = stats,
};
