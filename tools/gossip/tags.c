#include "gossip.h"

struct tags_options {
    const char *run_dir;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct tags_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {0},
};

static bool ask_and_emit(cx_run *run, const struct tags_options *option, json_t *request,
                         cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    if (run->dry_run)
        json_object_set_new(request, "dry_run", json_true());
    return gossip_ask(run, option->run_dir, request, &answer, err) && cx_emit(run, answer, err);
}

static bool set(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *tags = json_object();

    for (size_t i = 0; i < run->arg_count; i++)
        if (!gossip_parse_tag(run->args[i], tags, err))
            return false;
    return ask_and_emit(run, parsed, json_pack("{s:s, s:O}", "command", "tags_set", "tags", tags),
                        err);
}

static bool unset(cx_run *run, const void *parsed, cx_err *err)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < run->arg_count; i++)
        json_array_append_new(keys, cx_json_text(run->args[i]));
    return ask_and_emit(run, parsed, json_pack("{s:s, s:o}", "command", "tags_unset", "keys", keys),
                        err);
}

const cx_command gossip_tags_set = {
    .name = "tags set",
    .arguments = "K=V…",
    .arguments_min = 1,
    .summary = "set tags of the local member",
    .options = options,
    .options_size = sizeof(struct tags_options),
    .changes = true,
    .run = set,
};

const cx_command gossip_tags_unset = {
    .name = "tags unset",
    .arguments = "K…",
    .arguments_min = 1,
    .summary = "remove tags of the local member",
    .options = options,
    .options_size = sizeof(struct tags_options),
    .changes = true,
    .run = unset,
};
