#include "agents.h"
#include "base/text.h"

struct show_options {
    cx_target target;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct show_options, target),
    {0},
};

static bool show(cx_run *run, const void *parsed, cx_err *err)
{
    const struct show_options *option = parsed;
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_free) char *path = NULL;

    if (!cx_check_id("agent", run->args[0], err) ||
        !agents_open(run, &option->target, false, &scope, err))
        return false;
    path = cx_format("/api/v1/agents/%s", run->args[0]);
    if (!cx_api_gather(scope.api, &scope.nodes, path, scope.timeout_ms, &gathered, err)) {
        if (err->code == CX_NOT_FOUND && !option->target.all)
            cx_hint(err, "--all looks on every member, cx-agents list --all shows who hosts what");
        return false;
    }
    for (size_t i = 0; i < gathered.count; i++) {
        json_t *agent = gathered.answers[i];

        if (agent == NULL)
            continue;
        if (json_object_get(agent, "node_id") == NULL)
            json_object_set_new(agent, "node_id", cx_json_text(scope.nodes.items[i].node_id));
        return cx_emit(run, agent, err);
    }
    return cx_fail(err, CX_NOT_FOUND, "agent %s: no node has it", run->args[0]);
}

const cx_command agents_show = {
    .name = "show",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "all that is known about one agent",
    .options = options,
    .options_size = sizeof(struct show_options),
    .run = show,
};
