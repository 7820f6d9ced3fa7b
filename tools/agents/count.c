#include "agents.h"

struct count_options {
    cx_target target;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct count_options, target),
    {0},
};

static const char *const states[] = {"running", "suspended", "starting", "failed", "stopped"};

static bool count(cx_run *run, const void *parsed, cx_err *err)
{
    const struct count_options *option = parsed;
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_int_t total = 0, sums[CX_COUNT(states)] = {0};
    json_t *nodes = json_array();

    document = json_object();
    json_object_set_new(document, "nodes", nodes);
    if (!agents_open(run, &option->target, true, &scope, err) ||
        !cx_api_gather(scope.api, &scope.nodes, "/api/v1/node", scope.timeout_ms, &gathered, err))
        return false;
    for (size_t i = 0; i < gathered.count; i++) {
        const json_t *agents = json_object_get(gathered.answers[i], "agents");

        if (gathered.answers[i] == NULL)
            continue;
        total += cx_api_count(agents, "total");
        for (size_t j = 0; j < CX_COUNT(states); j++)
            sums[j] += cx_api_count(agents, states[j]);
        json_array_append_new(
            nodes,
            json_pack("{s:o, s:I, s:I}", "node_id",
                      cx_json_text(cx_json_text_or_empty(gathered.answers[i], "node_id")), "count",
                      cx_api_count(agents, "total"), "max", cx_api_count(agents, "max")));
    }
    json_object_set_new(document, "count", json_integer(total));
    for (size_t j = 0; j < CX_COUNT(states); j++)
        json_object_set_new(document, states[j], json_integer(sums[j]));
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return cx_emit(run, document, err);
}

const cx_command agents_count = {
    .name = "count",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "how many agents there are, by state and node",
    .options = options,
    .options_size = sizeof(struct count_options),
    .run = count,
};
