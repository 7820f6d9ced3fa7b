#include "server.h"

#include <stdio.h>
#include <string.h>

#include "call.h"

enum {
    BODY_MAX = 8 * 1024 * 1024,
    CONNECTIONS_MAX = 512,
};

static void refuse(node_self *node, const char *who, const char *role, const char *from,
                   const char *action, const char *target, const cx_err *err)
{
    node->refused++;
    cx_log_write(&node->log, CX_WARN, "refused", "{s:o, s:s, s:s, s:o, s:o}", "who",
                 cx_json_text(who), "from", from, "action", action, "target", cx_json_text(target),
                 "reason", cx_json_text(err->message));
    node_audit_refusal(node->audit, &(node_audit_entry){.who = who,
                                                        .role = role,
                                                        .from = from,
                                                        .action = action,
                                                        .target = target,
                                                        .result = "refused",
                                                        .detail = err->message});
}

static void on_tls_refused(void *ssl, const char *from, const char *reason, void *arg)
{
    const char *why = cx_tls_refusal(ssl);
    cx_err err;

    cx_fail(&err, CX_UNAUTHENTICATED, "%s", why[0] == '\0' ? reason : why);
    refuse(arg, "", "", from, "tls_refused", "", &err);
}

static void on_gone(void *arg)
{
    node_call *call = arg;

    call->exchange = NULL;
    if (call->gone != NULL)
        call->gone(call);
}

static void dispatch(node_call *call)
{
    switch (call->route->action) { /* no default: the compiler names a route that we forgot */
    case NODE_GET_HEALTHZ: node_get_healthz(call); return;
    case NODE_GET_READYZ: node_get_readyz(call); return;
    case NODE_GET_METRICS: node_get_metrics(call); return;
    case NODE_GET_NODE: node_get_node(call); return;
    case NODE_GET_AGENTS: node_get_agents(call); return;
    case NODE_GET_AGENT: node_get_agent(call); return;
    case NODE_PUT_AGENT: node_put_agent(call); return;
    case NODE_DELETE_AGENT: node_delete_agent(call); return;
    case NODE_RESTART_AGENT: node_restart_agent(call); return;
    case NODE_SUSPEND_AGENT: node_suspend_agent(call); return;
    case NODE_RESUME_AGENT: node_resume_agent(call); return;
    case NODE_POST_MESSAGES: node_post_messages(call); return;
    case NODE_GET_STATS: node_get_stats(call); return;
    case NODE_GET_MESSAGES: node_get_messages(call); return;
    case NODE_GET_MESSAGE: node_get_message(call); return;
    case NODE_RETRY_MESSAGE: node_retry_message(call); return;
    case NODE_GET_QUEUES: node_get_queues(call); return;
    case NODE_GET_CLUSTER: node_get_cluster(call); return;
    case NODE_GET_KEYRING: node_get_keyring(call); return;
    case NODE_GET_REGISTRY: node_get_registry(call); return;
    case NODE_GET_LEASES: node_get_leases(call); return;
    case NODE_POST_LEASE: node_post_lease(call); return;
    case NODE_DELETE_LEASE: node_delete_lease(call); return;
    case NODE_POST_CLAIMS: node_post_claims(call); return;
    case NODE_GET_STATE: node_get_state(call); return;
    case NODE_CHECKPOINT: node_post_checkpoint(call); return;
    case NODE_GET_DRAIN: node_get_drain(call); return;
    case NODE_POST_DRAIN: node_post_drain(call); return;
    case NODE_POST_RESUME: node_post_resume(call); return;
    }
}

static void answer_refusal(cx_exchange *exchange, const cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(err);

    cx_exchange_answer_json(exchange, err->code == CX_USAGE ? 405 : cx_code_to_http(err->code),
                            document);
}

static bool is_yes(const char *text)
{
    return text != NULL && (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

static node_call *new_call(node_self *node, cx_exchange *exchange, const node_route *route,
                           const cx_identity *who)
{
    node_call *call = cx_alloc(1, sizeof *call);

    call->node = node;
    call->exchange = exchange;
    call->route = route;
    call->who = *who;
    call->is_peer = who->kind == CX_IDENTITY_NODE && strcmp(who->name, node->config->node_id) != 0;
    call->dry_run = is_yes(cx_exchange_query(exchange, "dry_run"));
    snprintf(call->from, sizeof call->from, "%s", cx_exchange_peer_address(exchange));
    return call;
}

/* Maintenance may allow some changes only; reading, entering and leaving it is always allowed. */
static bool mode_allows(const node_self *node, const node_route *route, cx_err *err)
{
    return route->verb == NULL || strcmp(route->method, "GET") == 0 ||
           route->action == NODE_POST_DRAIN || route->action == NODE_POST_RESUME ||
           node_mode_check(&node->mode, node->config->node_id, route->verb, err);
}

static void on_request(cx_exchange *exchange, void *arg)
{
    node_self *node = arg;
    const char *method = cx_exchange_method(exchange);
    const char *path = cx_exchange_path(exchange);
    const char *from = cx_exchange_peer_address(exchange);
    const node_route *route = NULL;
    char id[NODE_ROUTE_ID_SIZE], who_text[NODE_WHO_SIZE] = "";
    cx_identity who;
    cx_err err;
    node_call *call;

    node->requests++;
    if (!cx_tls_authenticate(node->tls, cx_exchange_ssl(exchange), &who, &err)) {
        refuse(node, "", "", from, method, path, &err);
        answer_refusal(exchange, &err);
        return;
    }
    node_who(&who, who_text);
    if (!node_route_find(method, path, id, &route, &err)) {
        answer_refusal(exchange, &err);
        return;
    }
    if (!node_access_check(route, &who, node->config->cluster, node->config->node_id, &err) ||
        !mode_allows(node, route, &err)) {
        refuse(node, who_text, who.kind == CX_IDENTITY_NODE ? "node" : cx_role_word(who.role), from,
               route->verb != NULL ? route->verb : method, id[0] != '\0' ? id : path, &err);
        answer_refusal(exchange, &err);
        return;
    }
    call = new_call(node, exchange, route, &who);
    memcpy(call->id, id, sizeof call->id);
    memcpy(call->who_text, who_text, sizeof call->who_text);
    cx_exchange_keep(exchange, on_gone, call);
    dispatch(call);
}

bool node_server_open(node_self *node, cx_err *err)
{
    return cx_httpd_open(node->loop,
                         &(cx_httpd_options){.address = node->config->api_addr,
                                             .tls = cx_tls_server,
                                             .tls_arg = node->tls,
                                             .body_max = BODY_MAX,
                                             .connections_max = CONNECTIONS_MAX,
                                             .handler = on_request,
                                             .handler_arg = node,
                                             .refused = on_tls_refused,
                                             .refused_arg = node},
                         &node->httpd, err);
}
