#include "access.h"

#include <stdio.h>
#include <string.h>

const node_route node_routes[] = {
    {NODE_GET_HEALTHZ, "GET", "/healthz", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_READYZ, "GET", "/readyz", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_METRICS, "GET", "/metrics", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_NODE, "GET", "/api/v1/node", CX_ROLE_VIEWER, true, NULL},
    {NODE_CHECKPOINT, "POST", "/api/v1/node/checkpoint", CX_ROLE_OPERATOR, false, "checkpoint"},
    {NODE_GET_DRAIN, "GET", "/api/v1/node/drain", CX_ROLE_VIEWER, true, NULL},
    {NODE_POST_DRAIN, "POST", "/api/v1/node/drain", CX_ROLE_OPERATOR, false, "drain"},
    {NODE_POST_RESUME, "POST", "/api/v1/node/resume", CX_ROLE_OPERATOR, false, "undrain"},
    {NODE_GET_AGENTS, "GET", "/api/v1/agents", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_AGENT, "GET", "/api/v1/agents/{id}", CX_ROLE_VIEWER, true, NULL},
    {NODE_PUT_AGENT, "PUT", "/api/v1/agents/{id}", CX_ROLE_ADMIN, false, "deploy"},
    {NODE_DELETE_AGENT, "DELETE", "/api/v1/agents/{id}", CX_ROLE_ADMIN, false, "remove"},
    {NODE_RESTART_AGENT, "POST", "/api/v1/agents/{id}/restart", CX_ROLE_OPERATOR, false, "restart"},
    {NODE_SUSPEND_AGENT, "POST", "/api/v1/agents/{id}/suspend", CX_ROLE_OPERATOR, false, "suspend"},
    {NODE_RESUME_AGENT, "POST", "/api/v1/agents/{id}/resume", CX_ROLE_OPERATOR, false, "resume"},
    {NODE_POST_MESSAGES, "POST", "/api/v1/messages", CX_ROLE_OPERATOR, true, NULL},
    {NODE_GET_MESSAGES, "GET", "/api/v1/messages", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_STATS, "GET", "/api/v1/messages/stats", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_MESSAGE, "GET", "/api/v1/messages/{id}", CX_ROLE_VIEWER, true, NULL},
    {NODE_RETRY_MESSAGE, "POST", "/api/v1/messages/{id}/retry", CX_ROLE_OPERATOR, false, "retry"},
    {NODE_GET_QUEUES, "GET", "/api/v1/queues", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_CLUSTER, "GET", "/api/v1/cluster", CX_ROLE_VIEWER, true, NULL},
    {NODE_GET_KEYRING, "GET", "/api/v1/cluster/keyring", NODE_NO_OPERATOR, true, "read_keyring"},
    {NODE_GET_REGISTRY, "GET", "/api/v1/registry", CX_ROLE_VIEWER, true, NULL},
    /* Leases audit themselves: a renewal every few seconds is no news. */
    {NODE_GET_LEASES, "GET", "/api/v1/leases", CX_ROLE_VIEWER, true, NULL},
    {NODE_POST_LEASE, "POST", "/api/v1/leases/{id}", CX_ROLE_OPERATOR, true, NULL},
    {NODE_DELETE_LEASE, "DELETE", "/api/v1/leases/{id}", CX_ROLE_OPERATOR, true, NULL},
    {NODE_POST_CLAIMS, "POST", "/api/v1/leases", CX_ROLE_ADMIN, true, NULL},
    {NODE_GET_STATE, "GET", "/api/v1/debug/state", CX_ROLE_VIEWER, true, NULL},
    {0},
};

/* Whether the path has the pattern's shape. An empty or oversized id has not. */
static bool matches(const char *pattern, const char *path, char id[NODE_ROUTE_ID_SIZE])
{
    const char *hole = strstr(pattern, "{id}");

    if (hole == NULL)
        return strcmp(pattern, path) == 0;

    size_t before = (size_t)(hole - pattern);

    if (strncmp(pattern, path, before) != 0)
        return false;

    size_t size = strcspn(path + before, "/");

    if (size == 0 || size >= NODE_ROUTE_ID_SIZE ||
        strcmp(hole + strlen("{id}"), path + before + size) != 0)
        return false;
    memcpy(id, path + before, size);
    id[size] = '\0';
    return true;
}

static bool is_allowed(const node_route *route, const cx_identity *who, const char *cluster,
                       const char *node_id)
{
    if (strcmp(who->cluster, cluster) != 0)
        return false;
    switch (who->kind) {
    case CX_IDENTITY_NODE: return route->peers || strcmp(who->name, node_id) == 0;
    case CX_IDENTITY_OPERATOR: return who->role >= route->role;
    }
    return false;
}

bool node_route_find(const char *method, const char *path, char id[NODE_ROUTE_ID_SIZE],
                     const node_route **route, cx_err *err)
{
    char methods[64] = "";

    id[0] = '\0';
    for (const node_route *each = node_routes; each->method != NULL; each++) {
        if (!matches(each->path, path, id))
            continue;
        if (strcmp(each->method, method) == 0) {
            *route = each;
            return true;
        }
        snprintf(methods + strlen(methods), sizeof methods - strlen(methods), "%s%s",
                 methods[0] == '\0' ? "" : ", ", each->method);
    }
    if (methods[0] == '\0')
        return cx_fail(err, CX_NOT_FOUND, "no such path: %.200s", path);
    return cx_fail(err, CX_USAGE, "%.200s: not by %.16s", path, method) ||
           cx_hint(err, "this path knows %s", methods);
}

bool node_access_check(const node_route *route, const cx_identity *who, const char *cluster,
                       const char *node_id, cx_err *err)
{
    char name[NODE_WHO_SIZE];

    if (is_allowed(route, who, cluster, node_id))
        return true;
    if (route->verb != NULL)
        cx_fail(err, CX_PERMISSION, "%s may not %s", node_who(who, name), route->verb);
    else
        cx_fail(err, CX_PERMISSION, "%s may not %s %s", node_who(who, name), route->method,
                route->path);
    if (who->kind == CX_IDENTITY_NODE)
        return cx_hint(err, "another node's certificate reads and forwards; this needs the role %s",
                       cx_role_word(route->role));
    if (route->role == NODE_NO_OPERATOR)
        return cx_hint(err, "this is for the certificates of nodes alone");
    return cx_hint(err, "its role is %s, this needs %s", cx_role_word(who->role),
                   cx_role_word(route->role));
}

const char *node_who(const cx_identity *identity, char text[NODE_WHO_SIZE])
{
    snprintf(text, NODE_WHO_SIZE, "%s/%s", identity->kind == CX_IDENTITY_NODE ? "node" : "operator",
             identity->name);
    return text;
}
