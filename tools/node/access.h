/* Access: every route of the management API and who may use it, in one table.
 *
 * Pure. Identities come from verified certificates (pki/identity.h). A node's certificate of this
 * very node rules it; another node's may read and send messages on. */
#pragma once

#include "pki/identity.h"

typedef enum node_action {
    NODE_GET_HEALTHZ,
    NODE_GET_READYZ,
    NODE_GET_METRICS,
    NODE_GET_NODE,
    NODE_GET_AGENTS,
    NODE_GET_AGENT,
    NODE_PUT_AGENT,
    NODE_DELETE_AGENT,
    NODE_RESTART_AGENT,
    NODE_SUSPEND_AGENT,
    NODE_RESUME_AGENT,
    NODE_POST_MESSAGES,
    NODE_GET_STATS,
    NODE_GET_MESSAGES,
    NODE_GET_MESSAGE,
    NODE_RETRY_MESSAGE,
    NODE_GET_QUEUES,
    NODE_GET_CLUSTER,
    NODE_GET_KEYRING,
    NODE_GET_REGISTRY,
    NODE_GET_LEASES,
    NODE_POST_LEASE,
    NODE_DELETE_LEASE,
    NODE_POST_CLAIMS,
    NODE_GET_STATE,
    NODE_CHECKPOINT,
    NODE_GET_DRAIN,
    NODE_POST_DRAIN,
    NODE_POST_RESUME,
} node_action;

typedef struct node_route {
    node_action action;
    const char *method;
    const char *path; /* {id} stands for one segment */
    cx_role role;     /* the least role that may, or NODE_NO_OPERATOR */
    bool peers;       /* other nodes of the cluster may */
    const char *verb; /* its name in the audit log; NULL: a read, not audited when it is allowed */
} node_route;

/* Above every role: for certificates of nodes alone. */
#define NODE_NO_OPERATOR ((cx_role)(CX_ROLE_ADMIN + 1))

enum { NODE_ROUTE_ID_SIZE = 129 };

/* All routes, ended by one whose method is NULL. */
extern const node_route node_routes[];

/* The route of a request, its {id} in id. NOT_FOUND: no such path; USAGE: a path that doesn't know
 * the method (the hint names those that it knows). */
CX_MUST_CHECK bool node_route_find(const char *method, const char *path,
                                   char id[NODE_ROUTE_ID_SIZE], const node_route **route,
                                   cx_err *err);
/* PERMISSION with a message that names who and what. */
CX_MUST_CHECK bool node_access_check(const node_route *route, const cx_identity *who,
                                     const char *cluster, const char *node_id, cx_err *err);
/* "operator/alice", "node/node-2": how the audit log and senders name an identity. */
enum { NODE_WHO_SIZE = CX_ID_SIZE + 16 };
const char *node_who(const cx_identity *identity, char text[NODE_WHO_SIZE]);
