#include <string.h>

#include "agents.h"
#include "base/text.h"

struct remove_options {
    cx_target target;
    bool force;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct remove_options, target),
    {"force", CX_FLAG(struct remove_options, force), NULL, NULL,
     "even with messages queued: they are dropped"},
    {0},
};

/* DELETE, or with --dry-run a look whether it is there. An absent one is no failure. */
static bool remove_one(cx_run *run, agents_scope *scope, const cx_api_node *node, const char *id,
                       bool force, bool *changed, cx_err *err)
{
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/agents/%s%s", id, force && !run->dry_run ? "?force=1" : "");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    bool answered = cx_api_call(scope->api, node, run->dry_run ? "GET" : "DELETE", path, NULL,
                                scope->timeout_ms, &answer, err);

    *changed = run->dry_run && answered;
    if (!answered)
        return err->code == CX_NOT_FOUND;
    return cx_json_get_bool(answer, "answer", "changed", changed, err);
}

static bool remove_agents(cx_run *run, const void *parsed, cx_err *err)
{
    const struct remove_options *option = parsed;
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(agents_change_free) agents_change change = {0};

    for (size_t i = 0; i < run->arg_count; i++)
        if (!cx_check_id("agent", run->args[i], err))
            return false;
    if (!agents_open(run, &option->target, false, &scope, err))
        return false;
    for (size_t i = 0; i < scope.id_count; i++) {
        for (size_t j = 0; j < scope.nodes.count; j++) {
            bool changed = false;
            cx_err error = {0};

            if (!remove_one(run, &scope, &scope.nodes.items[j], scope.ids[i], option->force,
                            &changed, &error))
                agents_change_fail(&change, &scope.nodes.items[j], scope.ids[i], &error);
            else
                agents_change_add(&change, &scope.nodes.items[j], scope.ids[i], NULL, changed);
        }
    }
    if (change.first.code == CX_BUSY && change.first.hint[0] == '\0')
        cx_hint(&change.first, "wait with cx-queue drain --agent, or drop them with --force");
    return agents_change_emit(run, &change, err);
}

const cx_command agents_remove = {
    .name = "remove",
    .arguments = "ID…",
    .arguments_min = 1,
    .summary = "stop agents and forget them",
    .description = "Refused while messages are queued for the agent (exit status 75), unless "
                   "--force drops them. Removing an absent agent changes nothing.",
    .options = options,
    .options_size = sizeof(struct remove_options),
    .changes = true,
    .run = remove_agents,
};
