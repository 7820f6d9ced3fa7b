/* keys: what a configuration may contain. */
#include "commands.h"

static bool keys(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;

    (void)parsed;
    document = json_pack("{s:o}", "keys", cx_config_keys());
    return cx_emit(run, document, err);
}

const cx_command config_keys = {
    .name = "keys",
    .summary = "list the keys of the configuration with their defaults and meaning",
    .run = keys,
};
