/* join, rejoin, leave, remove: changes of membership, asked of the local agent. */
#include "gossip.h"

struct join_options {
    const char *run_dir;
    bool prune;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct join_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {0},
};

static const cx_option remove_options[] = {
    {"run-dir", CX_TEXT(struct join_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {"prune", CX_FLAG(struct join_options, prune), NULL, NULL,
     "forget the member at once instead of keeping it as left"},
    {0},
};

static bool ask_and_emit(cx_run *run, const struct join_options *option, json_t *request,
                         cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    if (run->dry_run)
        json_object_set_new(request, "dry_run", json_true());
    return gossip_ask(run, option->run_dir, request, &answer, err) && cx_emit(run, answer, err);
}

static bool join(cx_run *run, const void *parsed, cx_err *err)
{
    json_t *addresses = json_array();

    for (size_t i = 0; i < run->arg_count; i++)
        json_array_append_new(addresses, cx_json_text(run->args[i]));
    return ask_and_emit(run, parsed,
                        json_pack("{s:s, s:o}", "command", "join", "addresses", addresses), err);
}

static bool rejoin(cx_run *run, const void *parsed, cx_err *err)
{
    return ask_and_emit(run, parsed, json_pack("{s:s}", "command", "rejoin"), err);
}

static bool leave(cx_run *run, const void *parsed, cx_err *err)
{
    return ask_and_emit(run, parsed, json_pack("{s:s}", "command", "leave"), err);
}

static bool remove_member(cx_run *run, const void *parsed, cx_err *err)
{
    const struct join_options *option = parsed;

    return ask_and_emit(run, option,
                        json_pack("{s:s, s:o, s:b}", "command", "remove", "node",
                                  cx_json_text(run->args[0]), "prune", option->prune),
                        err);
}

const cx_command gossip_join = {
    .name = "join",
    .arguments = "ADDR…",
    .arguments_min = 1,
    .summary = "join a cluster through any of its members",
    .options = options,
    .options_size = sizeof(struct join_options),
    .changes = true,
    .run = join,
};

const cx_command gossip_rejoin = {
    .name = "rejoin",
    .summary = "contact the seeds and every member known before again, after a partition",
    .options = options,
    .options_size = sizeof(struct join_options),
    .changes = true,
    .run = rejoin,
};

const cx_command gossip_leave = {
    .name = "leave",
    .summary = "leave the cluster gracefully and end the local agent",
    .options = options,
    .options_size = sizeof(struct join_options),
    .changes = true,
    .run = leave,
};

const cx_command gossip_remove = {
    .name = "remove",
    .arguments = "NODE",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "declare a failed member as left, cluster-wide",
    .options = remove_options,
    .options_size = sizeof(struct join_options),
    .changes = true,
    .run = remove_member,
};
