#include "api/client.h"
#include "commands.h"

enum { CHECKPOINT_MS = 60000 };

struct checkpoint_options {
    cx_target target;
};

static const cx_option options[] = {
    {"node", CX_TEXT(struct checkpoint_options, target.node), "NODE_ID|ADDR", NULL,
     "checkpoint this node"},
    {0},
};

static bool checkpoint(cx_run *run, const void *parsed, cx_err *err)
{
    const struct checkpoint_options *option = parsed;
    const char *path =
        run->dry_run ? "/api/v1/node/checkpoint?dry_run=1" : "/api/v1/node/checkpoint";
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *result = NULL;

    return cx_api_start(run, &config, &api, err) &&
           cx_api_targets(api, &option->target, false, &nodes, err) &&
           cx_api_call(api, &nodes.items[0], "POST", path, NULL, cx_timeout_or(run, CHECKPOINT_MS),
                       &result, err) &&
           cx_emit(run, result, err);
}

const cx_command node_checkpoint = {
    .name = "checkpoint",
    .summary = "move the databases' write-ahead logs into their files",
    .description = "After it, registry.db and queues.db are whole in themselves: a copy or an "
                   "upgrade starts from there. The node goes on meanwhile.",
    .options = options,
    .options_size = sizeof(struct checkpoint_options),
    .changes = true,
    .run = checkpoint,
};
