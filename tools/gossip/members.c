#include <string.h>

#include "gossip.h"

struct members_options {
    const char *run_dir;
    const char *status;
    cx_list tags;
};

static const cx_option options[] = {
    {"run-dir", CX_TEXT(struct members_options, run_dir), "DIR", NULL,
     "where the agent's socket is; default: run_dir of the configuration"},
    {"status", CX_CHOICE(struct members_options, status), "alive|suspect|failed|left|leaving", NULL,
     "only members of this status"},
    {"tag", CX_LIST(struct members_options, tags), "K=V", NULL, "only members with this tag"},
    {0},
};

static bool has_tags(const json_t *member, const json_t *wanted)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)wanted, key, value)
        if (!json_equal(json_object_get(json_object_get(member, "tags"), key), value))
            return false;
    return true;
}

static bool members(cx_run *run, const void *parsed, cx_err *err)
{
    const struct members_options *option = parsed;
    CX_AUTO(cx_json_free) json_t *wanted = json_object();
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    for (size_t i = 0; i < option->tags.count; i++)
        if (!gossip_parse_tag(option->tags.items[i], wanted, err))
            return false;
    if (!gossip_ask(run, option->run_dir, json_pack("{s:s}", "command", "members"), &answer, err))
        return false;

    json_t *all = json_object_get(answer, "members");
    json_t *chosen = json_array();

    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *member = json_array_get(all, i);

        if (option->status && strcmp(cx_json_text_or_empty(member, "status"), option->status) != 0)
            continue;
        if (has_tags(member, wanted))
            json_array_append(chosen, member);
    }
    json_object_set_new(answer, "count", json_integer((json_int_t)json_array_size(chosen)));
    json_object_set_new(answer, "members", chosen);
    return cx_emit(run, answer, err);
}

const cx_command gossip_members = {
    .name = "members",
    .summary = "list the members that the local agent knows",
    .options = options,
    .options_size = sizeof(struct members_options),
    .run = members,
};
