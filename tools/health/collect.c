#include "collect.h"

#include <string.h>

#include "base/time.h"

enum { SETTLE_LOOK_MS = 200 };

static int64_t left_ms(const health_session *session)
{
    int64_t left = session->deadline_ms - cx_now_ms();

    return left > 1 ? left : 1;
}

/* ---- nodes */

static bool ask(health_session *session, const cx_api_nodes *nodes, const char *path,
                json_t ***documents, cx_err **errors, cx_err *err)
{
    *documents = cx_alloc(nodes->count + 1, sizeof(json_t *));
    *errors = cx_alloc(nodes->count + 1, sizeof(cx_err));
    return nodes->count == 0 || cx_api_call_all(session->api, nodes, "GET", path, NULL,
                                                left_ms(session), *documents, *errors, err);
}

static void free_documents(json_t ***documents, size_t count)
{
    for (size_t i = 0; *documents != NULL && i < count; i++)
        cx_json_free(&(*documents)[i]);
    cx_free(documents);
}

void health_answers_free(health_answers *answers)
{
    size_t count = answers->nodes != NULL ? answers->nodes->count : 0;

    free_documents(&answers->node_documents, count);
    free_documents(&answers->agent_documents, count);
    cx_free(&answers->node_errors);
    cx_free(&answers->agent_errors);
    answers->nodes = NULL;
}

bool health_ask(health_session *session, const cx_api_nodes *nodes, bool agents,
                health_answers *answers, cx_err *err)
{
    *answers = (health_answers){.nodes = nodes};
    return ask(session, nodes, "/api/v1/node", &answers->node_documents, &answers->node_errors,
               err) &&
           (!agents || ask(session, nodes, "/api/v1/agents", &answers->agent_documents,
                           &answers->agent_errors, err));
}

cx_health_node health_answer(const health_answers *answers, size_t at)
{
    const json_t *node = answers->node_documents[at];
    const char *told = cx_json_text_or_empty(node, "node_id");
    bool agents = answers->agent_documents != NULL;

    return (cx_health_node){
        .node_id = told[0] != '\0' ? told : cx_api_node_name(&answers->nodes->items[at]),
        .node = node,
        .agents = agents ? answers->agent_documents[at] : NULL,
        .error = node != NULL && agents ? &answers->agent_errors[at] : &answers->node_errors[at],
    };
}

void health_check_one(const health_session *session, const cx_health_node *node, health_parts parts,
                      int64_t wall_ms, json_t *checks)
{
    if (parts.node)
        cx_health_check_node(session->policy, node, checks);
    if (parts.agents)
        cx_health_check_agents(session->policy, node, checks);
    if (parts.certs)
        cx_health_check_certs(session->policy, node, wall_ms, checks);
    if (parts.backups)
        cx_health_check_backups(session->policy, node, wall_ms, checks);
}

/* ---- the cluster */

void health_members(const json_t *cluster, cx_api_nodes *nodes)
{
    size_t at;
    json_t *member;

    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");

        if (strcmp(status, "left") != 0 && strcmp(status, "leaving") != 0 &&
            cx_api_member_address(member)[0] != '\0')
            cx_api_nodes_add(nodes, cx_json_text_or_empty(member, "node_id"),
                             cx_api_member_address(member), status);
    }
}

/* The alive members that serve the node API: each is asked for its own view. */
static void alive_nodes(const json_t *cluster, cx_api_nodes *nodes)
{
    size_t at;
    json_t *member;

    json_array_foreach (json_object_get(cluster, "members"), at, member)
        if (strcmp(cx_json_text_or_empty(member, "status"), "alive") == 0 &&
            cx_api_member_address(member)[0] != '\0')
            cx_api_nodes_add(nodes, cx_json_text_or_empty(member, "node_id"),
                             cx_api_member_address(member), "alive");
}

/* What the members see: one look. */
struct views {
    json_t *cluster;
    cx_api_nodes nodes;
    json_t **documents;
    cx_err *errors;
};

static void views_free(struct views *views)
{
    cx_json_free(&views->cluster);
    free_documents(&views->documents, views->nodes.count);
    cx_free(&views->errors);
    cx_api_nodes_free(&views->nodes);
}

static bool views_differ(const struct views *views)
{
    const char *digest = cx_json_text_or_empty(views->cluster, "digest");

    for (size_t i = 0; i < views->nodes.count; i++)
        if (views->documents[i] != NULL &&
            strcmp(cx_json_text_or_empty(views->documents[i], "digest"), digest) != 0)
            return true;
    return false;
}

bool health_check_cluster(health_session *session, int64_t settle_ms, json_t **cluster,
                          json_t *checks, cx_err *err)
{
    CX_AUTO(views_free) struct views views = {0};
    CX_AUTO(cx_free) cx_health_node *told = NULL;
    int64_t settled_ms = cx_now_ms() + settle_ms;
    cx_err error = {0};

    for (;;) {
        views_free(&views);
        if (!cx_api_cluster(session->api, left_ms(session), &views.cluster, &error))
            break;
        alive_nodes(views.cluster, &views.nodes);
        if (!ask(session, &views.nodes, "/api/v1/cluster", &views.documents, &views.errors, err))
            return false;
        if (!views_differ(&views) || cx_now_ms() >= settled_ms ||
            left_ms(session) <= SETTLE_LOOK_MS)
            break;
        if (!cx_api_pause(SETTLE_LOOK_MS, err))
            return false;
    }
    if (error.code == CX_INTERRUPTED) {
        *err = error;
        return false;
    }
    told = cx_alloc(views.nodes.count + 1, sizeof *told);
    for (size_t i = 0; i < views.nodes.count; i++)
        told[i] = (cx_health_node){.node_id = views.nodes.items[i].node_id,
                                   .cluster = views.documents[i],
                                   .error = &views.errors[i]};
    cx_health_check_cluster(session->policy, views.cluster, &error, told, views.nodes.count,
                            cx_wall_ms(), checks);
    *cluster = CX_TAKE(views.cluster);
    return true;
}
