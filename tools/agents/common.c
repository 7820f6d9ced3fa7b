#include <string.h>

#include "agents.h"
#include "base/text.h"
#include "base/time.h"

/* What a person wants to see of an agent in a line; `show` has the rest. */
static const char *const columns[] = {"id",        "node_id",  "state",       "priority",
                                      "placement", "queued",   "in_flight",   "processed",
                                      "failed",    "restarts", "last_active", "changed"};

bool agents_open(const cx_run *run, const cx_target *target, bool dash_is_nodes,
                 agents_scope *scope, cx_err *err)
{
    bool from_stdin = false;

    scope->timeout_ms = cx_timeout_or(run, CX_API_TIMEOUT_MS);
    scope->ids = cx_alloc(run->arg_count + 1, sizeof *scope->ids);
    for (size_t i = 0; i < run->arg_count; i++) {
        if (dash_is_nodes && strcmp(run->args[i], "-") == 0)
            from_stdin = true;
        else
            scope->ids[scope->id_count++] = run->args[i];
    }
    return cx_api_start(run, &scope->config, &scope->api, err) &&
           cx_api_targets(scope->api, target, from_stdin, &scope->nodes, err);
}

void agents_close(agents_scope *scope)
{
    cx_api_nodes_free(&scope->nodes);
    cx_api_close(&scope->api);
    cx_config_free(&scope->config);
    cx_free(&scope->ids);
}

bool agents_gather(agents_scope *scope, const cx_agent_selection *selection, cx_gathered *gathered,
                   json_t **agents, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *all = NULL;
    int64_t wall_ms = cx_wall_ms();
    size_t at;
    json_t *agent;

    if (!cx_api_gather(scope->api, &scope->nodes, "/api/v1/agents", scope->timeout_ms, gathered,
                       err))
        return false;
    all = cx_gathered_list(gathered, &scope->nodes, "agents");
    *agents = json_array();
    json_array_foreach (all, at, agent)
        if (cx_agent_selected(agent, selection, wall_ms))
            json_array_append(*agents, agent);
    return true;
}

/* The columns of each agent, for a table. */
static json_t *shortened(const json_t *agents)
{
    json_t *rows = json_array();
    size_t at;
    json_t *agent;

    json_array_foreach (agents, at, agent) {
        json_t *row = json_object();

        for (size_t i = 0; i < CX_COUNT(columns); i++) {
            json_t *value = json_object_get(agent, columns[i]);

            if (value != NULL)
                json_object_set(row, columns[i], value);
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

bool agents_emit(cx_run *run, json_t *document, cx_err *err)
{
    if (run->table)
        json_object_set_new(document, "agents", shortened(json_object_get(document, "agents")));
    return cx_emit(run, document, err);
}
