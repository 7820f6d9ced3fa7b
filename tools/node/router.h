/* Router: who hosts which agent. Our own agents are known; those of the other nodes are pulled from
 * them over mTLS when their registry revision, a gossip tag, changes. Messages are forwarded here too.
 *
 * A receiver capability:NAME goes to one of the running agents that have it: the same conversation
 * (else the same message id) always to the same one, as long as there are the same agents. */
#pragma once

#include "agents.h"
#include "base/http.h"
#include "pki/tls.h"

typedef struct node_router node_router;

typedef struct node_router_options {
    struct event_base *loop;
    const cx_log *log;
    cx_http_loop *http;
    cx_tls *tls;
    const char *node_id;
    const node_agents *agents;
    bool expects_peers; /* by the configuration this is no cluster of one */
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

/* Sends NDJSON messages, or one JSON message, on to a node. answer->status 0: it could not be
 * reached. The query is "" or "?wait=5s". */
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

json_t *node_router_to_json(const node_router *router); /* for debugging; new reference */
