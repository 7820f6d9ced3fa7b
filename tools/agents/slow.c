#include <stdlib.h>

#include "agents.h"

struct slow_options {
    cx_target target;
    int64_t threshold_ms;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct slow_options, target),
    {"threshold", CX_DURATION(struct slow_options, threshold_ms), "DUR", "10s",
     "as slow as this, or slower"},
    {0},
};

static int slowest_first(const void *left, const void *right)
{
    double a = cx_agent_slowness_ms(*(json_t *const *)left);
    double b = cx_agent_slowness_ms(*(json_t *const *)right);

    return (a < b) - (a > b);
}

static json_t *ordered(const json_t *agents)
{
    size_t count = json_array_size(agents);
    CX_AUTO(cx_free) json_t **items = cx_alloc(count + 1, sizeof(json_t *));
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        items[i] = json_array_get(agents, i);
    qsort(items, count, sizeof *items, slowest_first);
    for (size_t i = 0; i < count; i++) {
        json_object_set_new(items[i], "slowness_ms",
                            cx_json_figure(cx_agent_slowness_ms(items[i])));
        json_array_append(list, items[i]);
    }
    return list;
}

static bool slow(cx_run *run, const void *parsed, cx_err *err)
{
    const struct slow_options *option = parsed;
    cx_agent_selection selection = {.slow_threshold_ms = option->threshold_ms};
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *agents = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!agents_open(run, &option->target, true, &scope, err) ||
        !agents_gather(&scope, &selection, &gathered, &agents, err))
        return false;
    document = json_pack("{s:o, s:I, s:I}", "agents", ordered(agents), "count",
                         (json_int_t)json_array_size(agents), "threshold_ms",
                         (json_int_t)option->threshold_ms);
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return agents_emit(run, document, err);
}

const cx_command agents_slow = {
    .name = "slow",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "agents that take long for a message, the slowest first",
    .description = "Slow is whose p99 latency or whose oldest message in work reaches the "
                   "threshold: an agent that hangs completes nothing and is slow all the same.",
    .options = options,
    .options_size = sizeof(struct slow_options),
    .run = slow,
};
