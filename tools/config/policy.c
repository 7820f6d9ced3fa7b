/* policy: one policy, completed. */
#include "config/policy.h"

#include "commands.h"

struct policy_options {
    const char *file;
};

static const cx_option options[] = {
    {"file", CX_TEXT(struct policy_options, file), "FILE", NULL,
     "this file instead of the node's own or the installed one; - is stdin"},
    {0},
};

static bool policy(cx_run *run, const void *parsed, cx_err *err)
{
    const struct policy_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (option->file == NULL && !config_load(run, &config, err))
        return false;
    if (!cx_policy_load(run->args[0], option->file, config != NULL ? config->policy_dir : NULL,
                        &document, err))
        return false;
    return cx_emit(run, document, err);
}

const cx_command config_policy = {
    .name = "policy",
    .arguments = "upgrade|backup|health|alerts|maintenance",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "print a policy as JSON, defaults filled in, durations also in seconds",
    .description = "The policy is NAME.yaml in the configuration's policy_dir, else the installed "
                   "one; `source` says which.",
    .options = options,
    .options_size = sizeof(struct policy_options),
    .run = policy,
};
