/* Asking: what nodes and the cluster say of themselves, over the node API, blocking and bounded. Each
 * failure is that node's, not the caller's. For the commands and, in its workers, the watcher. */
#pragma once

#include "api/client.h"
#include "health/check.h"

/* What is looked at. */
typedef struct health_parts {
    bool node, cluster, agents, certs, backups;
} health_parts;

typedef struct health_session {
    cx_api *api;
    const cx_health_policy *policy;
    int64_t deadline_ms; /* monotonic, of all that is asked */
} health_session;

/* What many nodes said of themselves; the nodes belong to the caller. */
typedef struct health_answers {
    const cx_api_nodes *nodes;
    json_t **node_documents,
        **agent_documents; /* [i] of nodes->items[i]; NULL: errors[i] says why */
    cx_err *node_errors, *agent_errors;
} health_answers;

/* GET /api/v1/node of all, and /api/v1/agents where `agents` is set. */
CX_MUST_CHECK bool health_ask(health_session *session, const cx_api_nodes *nodes, bool agents,
                              health_answers *answers, cx_err *err);
void health_answers_free(health_answers *answers);
/* One node of them, for health/check.h; texts live as long as the answers. */
cx_health_node health_answer(const health_answers *answers, size_t at);
/* Appends the checks of one node. */
void health_check_one(const health_session *session, const cx_health_node *node, health_parts parts,
                      int64_t wall_ms, json_t *checks);

/* Every member that should be there and has a node API: a failed one is what a check is for. */
void health_members(const json_t *cluster, cx_api_nodes *nodes);

/* The checks of the cluster; the membership itself in *cluster (new reference, NULL when there is
 * none: then the checks say why). News takes a moment to reach everybody: views that differ are looked
 * at again until settle_ms is over. */
CX_MUST_CHECK bool health_check_cluster(health_session *session, int64_t settle_ms,
                                        json_t **cluster, json_t *checks, cx_err *err);
