#include "api/client.h"
#include "commands.h"

struct status_options {
    cx_target target;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct status_options, target),
    {0},
};

static bool status_of_all(cx_run *run, cx_api *api, const cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *list = json_array();
    CX_AUTO(cx_json_free) json_t *result = NULL;
    CX_AUTO(cx_free) json_t **answers = cx_alloc(nodes->count, sizeof *answers);
    CX_AUTO(cx_free) cx_err *errors = cx_alloc(nodes->count, sizeof *errors);

    if (!cx_api_call_all(api, nodes, "GET", "/api/v1/node", NULL,
                         cx_timeout_or(run, CX_API_TIMEOUT_MS), answers, errors, err))
        return false;
    for (size_t i = 0; i < nodes->count; i++) {
        json_t *item = answers[i];

        if (item == NULL) {
            item = cx_err_to_json(&errors[i]);
            json_object_set_new(item, "node_id", cx_json_text(cx_api_node_name(&nodes->items[i])));
            run->answer_no = true;
        }
        json_array_append_new(list, item);
    }
    result = json_pack("{s:O, s:I}", "nodes", list, "count", (json_int_t)nodes->count);
    return cx_emit(run, result, err);
}

static bool status(cx_run *run, const void *parsed, cx_err *err)
{
    const struct status_options *option = parsed;
    bool from_stdin = run->arg_count > 0;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *result = NULL;

    if (!cx_api_start(run, &config, &api, err) ||
        !cx_api_targets(api, &option->target, from_stdin, &nodes, err))
        return false;
    if (option->target.all || from_stdin)
        return status_of_all(run, api, &nodes, err);
    return cx_api_call(api, &nodes.items[0], "GET", "/api/v1/node", NULL,
                       cx_timeout_or(run, CX_API_TIMEOUT_MS), &result, err) &&
           cx_emit(run, result, err);
}

const cx_command node_status = {
    .name = "status",
    .arguments = "[-]",
    .arguments_max = 1,
    .summary = "what a node is doing: state, agents, messages, system, certificate",
    .description = "With --all or node objects on stdin: {\"nodes\":[…],\"count\":n}; a node that "
                   "can't be reached is listed with its error, and the exit status is 1.",
    .options = options,
    .options_size = sizeof(struct status_options),
    .run = status,
};
