#include "debug.h"

/* Every alive member; a host whose gossip agent and node are both silent still looks at itself. */
static bool find_all(debug_scope *scope, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    cx_err why = {0};

    if (!cx_api_targets(scope->api, &(cx_target){.all = true}, false, &scope->nodes, &why))
        return why.code != CX_INTERRUPTED
                   ? cx_api_targets(scope->api, &(cx_target){0}, false, &scope->nodes, err)
                   : cx_fail(err, CX_INTERRUPTED, "%s", why.message);
    if (cx_api_cluster(scope->api, scope->timeout_ms, &cluster, &why)) {
        cx_json_free(&scope->absent);
        scope->absent = cx_api_absent(cluster);
    }
    return true;
}

static bool start(const cx_run *run, debug_scope *scope, cx_err *err)
{
    scope->timeout_ms = cx_timeout_or(run, CX_API_TIMEOUT_MS);
    scope->absent = json_array();
    return cx_api_start(run, &scope->config, &scope->api, err);
}

bool debug_open_all(const cx_run *run, debug_scope *scope, cx_err *err)
{
    return start(run, scope, err) && find_all(scope, err);
}

bool debug_open_one(const cx_run *run, const char *node, debug_scope *scope, cx_err *err)
{
    return start(run, scope, err) &&
           cx_api_targets(scope->api, &(cx_target){.node = node}, false, &scope->nodes, err);
}

void debug_close(debug_scope *scope)
{
    cx_json_free(&scope->absent);
    cx_api_nodes_free(&scope->nodes);
    cx_api_close(&scope->api);
    cx_config_free(&scope->config);
}
