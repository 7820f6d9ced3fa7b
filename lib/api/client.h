/* Client of the node's management API (share/schemas/node-api.openapi.yaml) over mutual TLS, and
 * the choice of nodes that every client command offers: --node NODE_ID|ADDR, --all, `-`.
 *
 * The certificate: operator.crt and operator.key of $CX_CERT_DIR or cert_dir when they are there
 * and readable, else node.crt and node.key (a node's own certificate rules its own node only). */
#pragma once

#include "base/cli.h"
#include "config/config.h"
#include "pki/tls.h"

enum {
    CX_API_TIMEOUT_MS = 10000, /* of one call, where the user gave no --timeout */
    CX_API_ANSWER_MAX = CX_JSON_DOCUMENT_MAX,
    CX_API_NODES_MAX = 10000,
};

typedef struct cx_api cx_api;

/* The config outlives the client. A missing certificate is NOT_FOUND with a hint how to get one. */
CX_MUST_CHECK bool cx_api_open(const cx_config *config, cx_api **api, cx_err *err);
void cx_api_close(cx_api **owner);
/* What every client command begins with: loads the run's config and opens the client with it. */
CX_MUST_CHECK bool cx_api_start(const cx_run *run, cx_config **config, cx_api **api, cx_err *err);
const cx_config *cx_api_config(const cx_api *api);

/* One node to talk to. */
typedef struct cx_api_node {
    char *node_id;  /* "" when only the address is known: then any node of the cluster will do */
    char *api_addr; /* host:port; "" when the node tells none: calls then fail with UNAVAILABLE */
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
#define CX_TARGET_OPTIONS(type, field)                                              \
    {"node", CX_TEXT(type, field.node), "NODE_ID|ADDR", NULL, "talk to this node"}, \
    {                                                                               \
        "all", CX_FLAG(type, field.all), NULL, NULL, "talk to every alive member"   \
    }

/* Default: the config's own node. A node id is resolved through the gossip agent's socket, else by
 * asking the own node's API. from_stdin: node objects (JSON array, an object with "members" or
 * "nodes", or NDJSON) on stdin. Never empty on success. */
CX_MUST_CHECK bool cx_api_targets(cx_api *api, const cx_target *target, bool from_stdin,
                                  cx_api_nodes *nodes, cx_err *err);
/* The nodes that a text names, as from_stdin reads them. A node object has "node_id", "api_addr" or
 * both; a JSON text is a node id, or an address when it has a colon. Twice the same counts once. */
CX_MUST_CHECK bool cx_api_nodes_parse(cx_bytes text, cx_api_nodes *nodes, cx_err *err);
/* The nodes that arguments name, each an id or an address; ids are resolved. */
CX_MUST_CHECK bool cx_api_named(cx_api *api, const char *const *names, size_t count,
                                cx_api_nodes *nodes, cx_err *err);
/* Membership as GET /api/v1/cluster answers it ({"members","count","digest","status"}), from the
 * gossip agent's socket, else from the own node's API. */
CX_MUST_CHECK bool cx_api_cluster(cx_api *api, int64_t timeout_ms, json_t **cluster, cx_err *err);
/* A member's node API: its "api_addr", else its tag `api`; "" when it serves none. */
const char *cx_api_member_address(const json_t *member);
/* A copy of a node is appended. */
void cx_api_nodes_add(cx_api_nodes *nodes, const char *node_id, const char *api_addr,
                      const char *status);
void cx_api_nodes_free(cx_api_nodes *nodes);
/* Its id, else its address. */
const char *cx_api_node_name(const cx_api_node *node);
/* Puts its name before the message, unless the message begins with it. Returns false. */
bool cx_api_wrap(cx_err *err, const cx_api_node *node);

/* One call: the answer's document, or its {"error"} as err (wrapped with the node's name). body may
 * be NULL. A measured clock skew over 5 s goes into the hint of a failed certificate check. */
CX_MUST_CHECK bool cx_api_call(cx_api *api, const cx_api_node *node, const char *method,
                               const char *path, const json_t *body, int64_t timeout_ms,
                               json_t **answer, cx_err *err);

/* An HTTP answer as it came, whatever its status. */
typedef struct cx_api_answer {
    int status;
    cx_buffer body;
    int64_t retry_after_ms; /* of the Retry-After header; -1 without one */
    int64_t peer_date_ms;   /* wall time of the Date header, 0 when absent */
} cx_api_answer;

/* The same with a raw body and content type (NULL: none); false only when no HTTP answer came. */
CX_MUST_CHECK bool cx_api_call_raw(cx_api *api, const cx_api_node *node, const char *method,
                                   const char *path, const char *content_type, cx_bytes body,
                                   int64_t timeout_ms, cx_api_answer *answer, cx_err *err);
void cx_api_answer_free(cx_api_answer *answer);
/* The document of a good answer, or its error; not yet wrapped with a node's name. */
CX_MUST_CHECK bool cx_api_answer_json(const cx_api_answer *answer, json_t **document, cx_err *err);

/* One call to many nodes in parallel; answers[i] (NULL on failure) or errors[i] for nodes->items[i].
 * False only when it was interrupted. */
CX_MUST_CHECK bool cx_api_call_all(cx_api *api, const cx_api_nodes *nodes, const char *method,
                                   const char *path, const json_t *body, int64_t timeout_ms,
                                   json_t **answers, cx_err *errors, cx_err *err);
/* Different questions (GET) to many nodes in parallel: answers[i], as it came, of questions[i]; its
 * status is 0 where errors[i] says why there is none. A node that hangs delays no other. False only
 * when it was interrupted; answers are the caller's to free in any case. */
typedef struct cx_api_question {
    const cx_api_node *node;
    const char *path;
} cx_api_question;
CX_MUST_CHECK bool cx_api_ask_all(cx_api *api, const cx_api_question *questions, size_t count,
                                  int64_t timeout_ms, cx_api_answer *answers, cx_err *errors,
                                  cx_err *err);
/* One call on a loop: `done` gets the answer (which it may take) or the error, called once, from the
 * loop (at once when the node has no address). The client outlives the
 * http loop; closing that tells INTERRUPTED. */
typedef void cx_api_done(json_t **answer, const cx_err *error, void *arg);
struct cx_http_loop;
void cx_api_call_on(cx_api *api, struct cx_http_loop *http, const cx_api_node *node,
                    const char *method, const char *path, const json_t *body, int64_t timeout_ms,
                    cx_api_done *done, void *arg);
/* Waits between two looks at something that changes; INTERRUPTED when a signal came. */
CX_MUST_CHECK bool cx_api_pause(int64_t ms, cx_err *err);
/* Message ids are sender's choice: 1 to 128 of A-Z a-z 0-9 . _ : -, so they fit a path. */
enum { CX_API_MESSAGE_ID_MAX = 128 };
CX_MUST_CHECK bool cx_api_check_message_id(const char *id, cx_err *err);
/* Clock skew of the last node that answered: its clock minus ours, rounded to seconds. */
int64_t cx_api_skew_ms(const cx_api *api);
