/* Client of the node's management API (share/schemas/node-api.openapi.yaml) over mutual TLS, and
 * the choice of nodes that every client command offers: --node NODE_ID|ADDR, --all, `-`.
 *
 * The certificate: operator.crt and operator.key of $CX_CERT_DIR or cert_dir when they are there
 * and readable, else node.crt and node.key (a node's own certificate rules its own node only). */
#pragma once

#include "base/cli.h"
#include "config/config.h"
#include "pki/tls.h"

typedef struct cx_api cx_api;

CX_MUST_CHECK bool cx_api_open(const cx_config *config, cx_api **api, cx_err *err);
void cx_api_close(cx_api **owner);

/* One node to talk to. */
typedef struct cx_api_node {
    char *node_id;  /* "" when only the address is known: then any node of the cluster will do */
    char *api_addr; /* host:port */
    char *status;   /* gossip status, "" when unknown */
} cx_api_node;
typedef struct cx_api_nodes {
    cx_api_node *items;
    size_t count;
} cx_api_nodes;

/* The --node, --all options as fields of a command's options struct, and their table rows. */
typedef struct cx_target {
    const char *node;
    bool all;
} cx_target;
#define CX_TARGET_OPTIONS(type, field)                                                             \
    {"node", CX_TEXT(type, field.node), "NODE_ID|ADDR", NULL, "talk to this node"},                \
    {"all", CX_FLAG(type, field.all), NULL, NULL, "talk to every alive member"}

/* Default: the config's own node. A node id is resolved through the gossip agent's socket, else by
 * asking the own node's API. from_stdin: node objects (JSON array, an object with "members" or
 * "nodes", or NDJSON) on stdin. Never empty on success. */
CX_MUST_CHECK bool cx_api_targets(cx_api *api, const cx_target *target, bool from_stdin,
                                  cx_api_nodes *nodes, cx_err *err);
void cx_api_nodes_free(cx_api_nodes *nodes);

/* One call: the answer's document, or its {"error"} as err (wrapped with the node's name). body may
 * be NULL. A measured clock skew over 5 s goes into the hint of a failed certificate check. */
CX_MUST_CHECK bool cx_api_call(cx_api *api, const cx_api_node *node, const char *method,
                               const char *path, const json_t *body, int64_t timeout_ms,
                               json_t **answer, cx_err *err);
/* The same with a raw body and content type; *status gets the HTTP status. */
CX_MUST_CHECK bool cx_api_call_raw(cx_api *api, const cx_api_node *node, const char *method,
                                   const char *path, const char *content_type, cx_bytes body,
                                   int64_t timeout_ms, int *status, cx_buffer *answer, cx_err *err);
/* One call to many nodes in parallel; answers[i] or errors[i] for nodes->items[i]. */
CX_MUST_CHECK bool cx_api_call_all(cx_api *api, const cx_api_nodes *nodes, const char *method,
                                   const char *path, const json_t *body, int64_t timeout_ms,
                                   json_t **answers, cx_err *errors, cx_err *err);
