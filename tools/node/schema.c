#include "commands.h"
#include "config/config.h"
#include "storage.h"

static bool schema(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    (void)parsed;
    if (!cx_config_load(run->config_path, true, &config, err) ||
        !node_storage_schema(config->data_dir, &document, err))
        return false;
    run->answer_no = !json_is_true(json_object_get(document, "ok"));
    return cx_emit(run, document, err);
}

const cx_command node_schema = {
    .name = "schema",
    .summary = "can this version read the node's databases?",
    .description =
        "Compares the schema of each database in data_dir with the one that this version "
        "knows. An older one is brought forward when the node starts; exit status 1: a "
        "newer version wrote it, and this one can't read it. Nothing is changed.",
    .run = schema,
};
