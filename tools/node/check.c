#include "commands.h"
#include "config/config.h"
#include "storage.h"

static bool check(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    (void)parsed;
    if (!cx_config_load(run->config_path, true, &config, err) ||
        !node_storage_check(config->data_dir, &document, err))
        return false;
    run->answer_no = !json_is_true(json_object_get(document, "ok"));
    return cx_emit(run, document, err);
}

const cx_command node_check = {
    .name = "check",
    .summary = "are the node's databases whole, and how many messages are in them?",
    .description =
        "Reads the databases in data_dir themselves, whether or not a node runs on them: of a "
        "dead node this tells what it had accepted. Exit status 1: one is damaged or missing; "
        "messages is null when queues.db is. Nothing is changed.",
    .run = check,
};
