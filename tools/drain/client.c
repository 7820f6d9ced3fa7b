#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "drain.h"

enum { LOOK_LEAST_MS = 1000 };

const char *drain_name(const cx_api_node *node)
{
    return node->node_id[0] ? node->node_id : node->api_addr;
}

bool drain_open(cx_run *run, bool all, cx_config **config, cx_api **api, cx_api_nodes *nodes,
                cx_err *err)
{
    const char *argument = run->arg_count > 0 ? run->args[0] : NULL;
    bool from_stdin = argument && strcmp(argument, "-") == 0;
    cx_target target = {.node = from_stdin ? NULL : argument, .all = all};

    return cx_config_load(run->config_path, false, config, err) && cx_api_open(*config, api, err) &&
           cx_api_targets(*api, &target, from_stdin, nodes, err);
}

bool drain_look(cx_api *api, const cx_api_node *node, int64_t call_ms, json_t **document,
                cx_err *err)
{
    return cx_api_call(api, node, "GET", "/api/v1/node/drain", NULL, call_ms, document, err);
}

int64_t drain_look_ms(int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - cx_now_ms();

    return left_ms < LOOK_LEAST_MS   ? LOOK_LEAST_MS
           : left_ms < DRAIN_CALL_MS ? left_ms
                                     : DRAIN_CALL_MS;
}

bool drain_wrap(cx_err *err, const char *verb, const cx_api_node *node)
{
    const char *name = drain_name(node);
    size_t size = strlen(name);
    bool named = strncmp(err->message, name, size) == 0 && err->message[size] == ':';

    return named ? cx_wrap(err, "%s", verb) : cx_wrap(err, "%s %s", verb, name);
}

bool drain_emit(cx_run *run, json_t *documents, cx_err *err)
{
    bool changed = false;

    if (json_array_size(documents) == 1)
        return cx_emit(run, json_array_get(documents, 0), err);
    for (size_t i = 0; i < json_array_size(documents); i++)
        changed |= json_is_true(json_object_get(json_array_get(documents, i), "changed"));

    CX_AUTO(cx_json_free)
    json_t *result = json_pack("{s:O, s:I}", "nodes", documents, "count",
                               (json_int_t)json_array_size(documents));

    if (run->command->changes)
        json_object_set_new(result, "changed", json_boolean(changed));
    return cx_emit(run, result, err);
}

bool drain_pause(cx_err *err)
{
    if (!cx_interrupted())
        usleep(DRAIN_TURN_MS * 1000);
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted: the node goes on draining");
    return true;
}
