#include "agents.h"

struct list_options {
    cx_target target;
    const char *state;
    const char *priority;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct list_options, target),
    {"state", CX_CHOICE(struct list_options, state), "running|suspended|starting|failed|stopped",
     NULL, "only agents in this state"},
    {"priority", CX_CHOICE(struct list_options, priority), "low|normal|critical", NULL,
     "only agents of this priority"},
    {0},
};

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *agents = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!agents_open(run, &option->target, true, &scope, err))
        return false;

    cx_agent_selection selection = {.ids = scope.ids,
                                    .id_count = scope.id_count,
                                    .state = option->state,
                                    .priority = option->priority};

    if (!agents_gather(&scope, &selection, &gathered, &agents, err))
        return false;
    document =
        json_pack("{s:O, s:I}", "agents", agents, "count", (json_int_t)json_array_size(agents));
    cx_gathered_report(&gathered, &scope.nodes, run, document);
    return agents_emit(run, document, err);
}

const cx_command agents_list = {
    .name = "list",
    .arguments = "[ID…|-]",
    .summary = "agents with their state, load and latency",
    .description = "With several nodes, those that don't answer are named under \"errors\" and the "
                   "exit status is 1.",
    .options = options,
    .options_size = sizeof(struct list_options),
    .run = list,
};
