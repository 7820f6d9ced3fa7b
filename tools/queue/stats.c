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
    static const char *const keys[] = {"queued", "in_flight"};
    const struct stats_options *option = parsed;
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *total = NULL;

    if (!queue_open(run, &option->target, queue_dash(run), &scope, err) ||
        !cx_api_gather(scope.api, &scope.nodes, "/api/v1/queues", scope.timeout_ms, &gathered, err))
        return false;
    total = json_object();
    for (size_t i = 0; i < CX_COUNT(keys); i++)
        json_object_set_new(total, keys[i],
                            json_integer(cx_gathered_sum(&gathered, "total", keys[i])));
    document = json_pack("{s:o, s:o}", "queues",
                         cx_gathered_list(&gathered, &scope.nodes, "queues"), "total", total);
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return cx_emit(run, document, err);
}

const cx_command queue_stats = {
    .name = "stats",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "what waits in each agent's queue, and since when",
    .options = options,
    .options_size = sizeof(struct stats_options),
    .run = stats,
};
