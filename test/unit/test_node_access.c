#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/access.h"

static const cx_identity viewer = {"prod", "v", CX_IDENTITY_OPERATOR, CX_ROLE_VIEWER};
static const cx_identity operator= {"prod", "o", CX_IDENTITY_OPERATOR, CX_ROLE_OPERATOR};
static const cx_identity admin = {"prod", "a", CX_IDENTITY_OPERATOR, CX_ROLE_ADMIN};
static const cx_identity self = {"prod", "node-1", CX_IDENTITY_NODE, CX_ROLE_VIEWER};
static const cx_identity peer = {"prod", "node-2", CX_IDENTITY_NODE, CX_ROLE_VIEWER};

static bool may(const cx_identity *who, const node_route *route)
{
    cx_err err;

    return node_access_check(route, who, "prod", "node-1", &err);
}

/* The contract of the API, said again here so that a slip in the table shows. */
static void each_role_may_what_the_contract_says(void **state)
{
    static const struct {
        node_action action;
        bool viewer, operator, peer;
    } rows[] = {
        {NODE_GET_HEALTHZ, true, true, true},     {NODE_GET_READYZ, true, true, true},
        {NODE_GET_METRICS, true, true, true},     {NODE_GET_NODE, true, true, true},
        {NODE_GET_AGENTS, true, true, true},      {NODE_GET_AGENT, true, true, true},
        {NODE_PUT_AGENT, false, false, false},    {NODE_DELETE_AGENT, false, false, false},
        {NODE_RESTART_AGENT, false, true, false}, {NODE_SUSPEND_AGENT, false, true, false},
        {NODE_RESUME_AGENT, false, true, false},  {NODE_POST_MESSAGES, false, true, true},
        {NODE_GET_STATS, true, true, true},       {NODE_GET_MESSAGES, true, true, true},
        {NODE_GET_MESSAGE, true, true, true},     {NODE_RETRY_MESSAGE, false, true, false},
        {NODE_GET_QUEUES, true, true, true},      {NODE_GET_CLUSTER, true, true, true},
        {NODE_GET_REGISTRY, true, true, true},    {NODE_GET_STATE, true, true, true},
        {NODE_CHECKPOINT, false, true, false},    {NODE_GET_LEASES, true, true, true},
        {NODE_POST_LEASE, false, true, true},     {NODE_DELETE_LEASE, false, true, true},
        {NODE_GET_KEYRING, false, false, true},
    };
    size_t known = 0;

    (void)state;
    for (const node_route *route = node_routes; route->method != NULL; route++) {
        for (size_t i = 0; i < CX_COUNT(rows); i++) {
            if (rows[i].action != route->action)
                continue;
            known++;
            if (may(&viewer, route) != rows[i].viewer ||
                may(&operator, route) != rows[i].operator|| may(&peer, route) != rows[i].peer ||
                may(&admin, route) == (route->action == NODE_GET_KEYRING) || !may(&self, route))
                fail_msg("%s %s", route->method, route->path);
        }
    }
    assert_int_equal(known, CX_COUNT(rows));
}

static void another_cluster_may_nothing(void **state)
{
    cx_identity stranger = admin;
    cx_identity same_name = self;

    (void)state;
    strcpy(stranger.cluster, "test");
    strcpy(same_name.cluster, "test");
    for (const node_route *route = node_routes; route->method != NULL; route++) {
        assert_false(may(&stranger, route));
        assert_false(may(&same_name, route));
    }
}

/* Leases write their own lines: only a new holder is news, a renewal is not. */
static bool audits_itself(const node_route *route)
{
    return route->action == NODE_POST_LEASE || route->action == NODE_DELETE_LEASE ||
           route->action == NODE_POST_CLAIMS;
}

static void a_change_has_a_word_for_the_audit_log(void **state)
{
    (void)state;
    for (const node_route *route = node_routes; route->method != NULL; route++)
        if (strcmp(route->method, "GET") != 0 && route->action != NODE_POST_MESSAGES &&
            !audits_itself(route) && route->verb == NULL)
            fail_msg("%s %s", route->method, route->path);
}

static void paths_are_matched_whole(void **state)
{
    static const struct {
        const char *method, *path;
        int action; /* -1: no such path; -2: not by this method */
        const char *id;
    } rows[] = {
        {"GET", "/healthz", NODE_GET_HEALTHZ, ""},
        {"GET", "/healthz/", -1, ""},
        {"GET", "/", -1, ""},
        {"POST", "/healthz", -2, ""},
        {"GET", "/api/v1/agents", NODE_GET_AGENTS, ""},
        {"GET", "/api/v1/agents/", -1, ""},
        {"GET", "/api/v1/agents/echo", NODE_GET_AGENT, "echo"},
        {"PUT", "/api/v1/agents/echo", NODE_PUT_AGENT, "echo"},
        {"POST", "/api/v1/agents/echo", -2, ""},
        {"POST", "/api/v1/agents/echo/restart", NODE_RESTART_AGENT, "echo"},
        {"POST", "/api/v1/agents/echo/restart/now", -1, ""},
        {"POST", "/api/v1/agents//restart", -1, ""},
        {"GET", "/api/v1/messages/stats", NODE_GET_STATS, ""},
        {"GET", "/api/v1/messages/m:1", NODE_GET_MESSAGE, "m:1"},
        {"POST", "/api/v1/messages/m:1/retry", NODE_RETRY_MESSAGE, "m:1"},
        {"GET", "/api/v1/agents/../node", -1, ""},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        const node_route *route = NULL;
        char id[NODE_ROUTE_ID_SIZE];
        cx_err err = {0};
        bool found = node_route_find(rows[i].method, rows[i].path, id, &route, &err);

        if (rows[i].action >= 0
                ? !found || (int)route->action != rows[i].action || strcmp(id, rows[i].id) != 0
                : found || err.code != (rows[i].action == -1 ? CX_NOT_FOUND : CX_USAGE))
            fail_msg("%s %s", rows[i].method, rows[i].path);
    }
}

static void an_id_that_is_too_long_is_no_path(void **state)
{
    char path[512] = "/api/v1/agents/";
    char id[NODE_ROUTE_ID_SIZE];
    const node_route *route = NULL;
    cx_err err;

    (void)state;
    memset(path + strlen(path), 'x', NODE_ROUTE_ID_SIZE);
    assert_false(node_route_find("GET", path, id, &route, &err));
    path[strlen("/api/v1/agents/") + NODE_ROUTE_ID_SIZE - 1] = '\0';
    assert_true(node_route_find("GET", path, id, &route, &err));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_may_what_the_contract_says),
        cmocka_unit_test(another_cluster_may_nothing),
        cmocka_unit_test(a_change_has_a_word_for_the_audit_log),
        cmocka_unit_test(paths_are_matched_whole),
        cmocka_unit_test(an_id_that_is_too_long_is_no_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
