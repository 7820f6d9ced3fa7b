#include "gossip.h"

struct status_options {
    const char *run_dir;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct status_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {0},
};

static bool status(cx_run *run, const void *parsed, cx_err *err)
{
    const struct status_options *option = parsed;
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    return gossip_ask(run, option->run_dir, json_pack("{s:s}", "command", "status"), &answer,
                      err) &&
           cx_emit(run, answer, err);
}

const cx_command gossip_status = {
    .name = "status",
    .summary = "the local agent's view: counts, partition state, health score, digest",
    .options = options,
    .options_size = sizeof(struct status_options),
    .run = status,
};
