/* Router: who hosts which agent. Our own agents are known; those of the other nodes are pulled from
 * them over mTLS when their registry revision, a gossip tag, changes. Messages are forwarded here too.
 *
 * A receiver capability:NAME goes to one of the running agents that have it: the same conversation
 * (else the same message id) always to the same one, as long as there are the same agents. */
#pragma once

#include "agents.h"
#include "base/http.h"
#include "pki/tls.h"
#include "registry.h"

typedef struct node_router node_router;

typedef struct node_router_options {
    struct event_base *loop;
    const cx_log *log;
    cx_http_loop *http;
    cx_tls *tls;
    const char *node_id;
    const node_agents *agents;
    int64_t expected;              /* nodes of the cluster, by the configuration */
    const node_registry *registry; /* of the placed agents */
    /* A peer's registry was read: its list of placed agents (NULL: it tells none). */
    void (*learned)(const char *node_id, const json_t *placed, void *arg);
    void *arg;
} node_router_options;

node_router *node_router_open(const node_router_options *options);
/* Starts nothing new: forwards fail, refreshes are done at once. */
void node_router_stop(node_router *router);
/* After the HTTP loop, so that no transfer comes back to it. */
void node_router_close(node_router **owner);
/* What the gossip agent knows: {"members":[…]}; NULL: nothing any more, keep what is known. */
void node_router_members(node_router *router, const json_t *members);

typedef struct node_target {
    enum {
        NODE_TARGET_LOCAL,
        NODE_TARGET_PEER,
        NODE_TARGET_AWAY,    /* the node that hosts it can't be reached now */
        NODE_TARGET_BETWEEN, /* it has placement any, and no node hosts it at this moment */
        NODE_TARGET_UNKNOWN, /* no node is known to host it */
    } kind;
    const char *agent; /* LOCAL, PEER: lives until the loop runs on */
    const char *node;  /* PEER, AWAY */
} node_target;

/* key decides among equals: the conversation, else the message id. */
node_target node_router_find(const node_router *router, const char *receiver, const char *key);

/* Who has not told yet what it hosts, since we started: a receiver that nobody is known to host may
 * be there. NULL: nobody; lives until the loop runs on. */
const char *node_router_unasked(const node_router *router);

/* Asks every live node again what it hosts; `done` is called when all have answered, at the latest
 * after NODE_REFRESH_MS. What was asked within the last half second is asked again after it. */
enum { NODE_REFRESH_MS = 3000 };
void node_router_refresh(node_router *router, void (*done)(void *arg), void *arg);

/* Whether the node's registry was read since this node started. */
bool node_router_is_informed(const node_router *router, const char *node_id);
/* What the node that hosts the agent tells of it in its registry, and which one it is; NULL: none. */
const json_t *node_router_entry(const node_router *router, const char *agent, const char **host);

typedef enum node_reach {
    NODE_REACH_SELF,
    NODE_REACH_THERE,
    NODE_REACH_AWAY, /* it does not answer the gossip agents, or left: it may come back, as after a
                        reboot */
    NODE_REACH_GONE, /* no member any more: removed and pruned, away for a day, or it never was */
} node_reach;
node_reach node_router_reach(const node_router *router, const char *node);

/* Not twice: a message whose forward had no answer may be on that node's disk, and must not go to
 * another one, wherever its agent is meanwhile. Until that node has said what became of it (it knows
 * its messages by their ids), or is no member any more (cx-gossip remove --prune, or away for a day),
 * the message goes there and nowhere else, and a sender that tries again hears 503 with the node's
 * name. This node remembers NODE_MAY_HAVE_MAX ids;
 * what comes above forgets the oldest. The outbox keeps the same in the messages' rows, over restarts.
 * node NULL: settled. */
enum { NODE_MAY_HAVE_MAX = 16384 };
void node_router_set_may_have(node_router *router, const char *message_id, const char *node);
const char *node_router_may_have(const node_router *router, const char *message_id); /* or NULL */

/* Sends NDJSON messages, or one JSON message, on to a node. answer->status 0: it could not be
 * reached, or (answer->sent) nobody knows what it did with them. The query is "" or "?wait=5s". */
typedef void node_forwarded(const cx_http_answer *answer, void *arg);
typedef struct node_forward {
    const char *node;
    const char *content_type;
    const char *query;
    cx_bytes body;
    int64_t timeout_ms;
} node_forward;
void node_router_forward(node_router *router, const node_forward *forward, node_forwarded *done,
                         void *arg);

/* GET of a path of the node's API. answer NULL: err says why. Called once, from the loop. */
typedef void node_router_asked(const json_t *answer, const cx_err *err, void *arg);
void node_router_ask(node_router *router, const char *node, const char *path,
                     node_router_asked *done, void *arg);

json_t *node_router_to_json(const node_router *router); /* for debugging; new reference */
