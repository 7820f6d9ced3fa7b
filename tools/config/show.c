/* show: every key with the value that is in force. */
#include "commands.h"

struct show_options {
    bool origin;
};

static const cx_option options[] = {
    {"origin", CX_FLAG(struct show_options, origin), NULL, NULL,
     "also where each value comes from: default, derived, or FILE:LINE:COLUMN"},
    {0},
};

static bool show(cx_run *run, const void *parsed, cx_err *err)
{
    const struct show_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!config_load(run, &config, err))
        return false;
    document = cx_config_to_json(config, option->origin);
    return cx_emit(run, document, err);
}

bool config_load(const cx_run *run, cx_config **config, cx_err *err)
{
    return cx_config_load(run->config_path, run->config_is_default, config, err);
}

const cx_command config_show = {
    .name = "show",
    .summary = "print the configuration that is in force, defaults filled in",
    .description = "What it prints is a configuration file itself: JSON is YAML.",
    .options = options,
    .options_size = sizeof(struct show_options),
    .run = show,
};
