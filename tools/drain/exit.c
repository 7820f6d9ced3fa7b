#include <string.h>

#include "base/proc.h"
#include "drain.h"

enum { HEALTH_MS = 30000, HEALTH_BYTES_MAX = 4 * 1024 * 1024 };

/* The health checks of a node that is back at work; null when cx-health can't be run. */
static json_t *health_of(const cx_run *run, const cx_api_node *node)
{
    CX_AUTO(cx_free) char *tool = cx_proc_sibling("cx-health");
    CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
    const char *argv[] = {tool,     "node", drain_name(node), "--config", run->config_path,
                          "--json", NULL};
    json_t *document = NULL;
    cx_err ignored = {0};

    if (!cx_proc_run(
            &(cx_proc_spec){.argv = argv, .timeout_ms = HEALTH_MS, .output_max = HEALTH_BYTES_MAX},
            &result, &ignored) ||
        !cx_json_parse(cx_buffer_bytes(&result.output), HEALTH_BYTES_MAX, "cx-health", &document,
                       &ignored))
        return json_null();
    return document;
}

static bool leave(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *documents = json_array();

    (void)parsed;
    if (!drain_open(run, false, &config, &api, &nodes, err))
        return false;
    for (size_t i = 0; i < nodes.count; i++) {
        json_t *document = NULL;

        if (!cx_api_call(api, &nodes.items[i], "POST",
                         run->dry_run ? "/api/v1/node/resume?dry_run=1" : "/api/v1/node/resume",
                         NULL, cx_timeout_within(run, DRAIN_CALL_MS), &document, err))
            return drain_wrap(err, "exit", &nodes.items[i]);
        json_object_set_new(document, "health",
                            run->dry_run ? json_null() : health_of(run, &nodes.items[i]));
        json_array_append_new(documents, document);
    }
    return drain_emit(run, documents, err);
}

const cx_command drain_exit = {
    .name = "exit",
    .arguments = "[NODE|-]",
    .arguments_max = 1,
    .summary = "take the node back into service: resume its agents, check its health",
    .changes = true,
    .run = leave,
};
