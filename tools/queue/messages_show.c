#include "queue.h"

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
    CX_AUTO(queue_close) queue_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_free) char *path = NULL;

    if (!cx_api_check_message_id(run->args[0], err) ||
        !queue_open(run, &option->target, false, &scope, err))
        return false;
    path = cx_format("/api/v1/messages/%s", run->args[0]);
    if (!cx_api_gather(scope.api, &scope.nodes, path, scope.timeout_ms, &gathered, err)) {
        if (err->code == CX_NOT_FOUND && !option->target.all)
            cx_hint(err, "--all looks on every member");
        return false;
    }
    for (size_t i = 0; i < gathered.count; i++)
        if (gathered.answers[i] != NULL)
            return cx_emit(run, gathered.answers[i], err);
    return cx_fail(err, CX_NOT_FOUND, "message %s: no node has it", run->args[0]);
}

const cx_command queue_messages_show = {
    .name = "messages show",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "one message: its state, reply, attempts and hops",
    .options = options,
    .options_size = sizeof(struct show_options),
    .run = show,
};
