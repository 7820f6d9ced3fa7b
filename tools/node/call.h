/* Call: one request of the management API, from the check of who asks to the audited answer.
 *
 * A handler ends its call exactly once, now or later, with one of the node_answer functions; the call
 * is then gone. A client that leaves first changes nothing about that: the answer goes nowhere. */
#pragma once

#include "access.h"
#include "node.h"

typedef struct node_call {
    node_self *node;
    cx_exchange *exchange; /* NULL: the client went away */
    const node_route *route;
    cx_identity who;
    char who_text[NODE_WHO_SIZE];
    char from[64]; /* address */
    char id[NODE_ROUTE_ID_SIZE];
    bool is_peer; /* another node of the cluster */
    bool dry_run;
    void (*gone)(struct node_call *call); /* told when the client goes away; may be NULL */
    void *gone_arg;
    /* the answer, while its audit line is written */
    int status;
    json_t *document;
} node_call;

/* The answer's document is taken. A change is audited before it is answered: `result` is "ok",
 * "unchanged" or "failed". */
void node_answer(node_call *call, int status, json_t *document);
void node_answer_changed(node_call *call, bool changed, int status, json_t *document);
void node_answer_error(node_call *call, const cx_err *err);
void node_answer_bytes(node_call *call, int status, const char *content_type, cx_bytes body);

/* The handlers, one a route, in the files named after what they are about. */
void node_put_agent(node_call *call);
void node_get_agents(node_call *call);
void node_get_agent(node_call *call);
void node_delete_agent(node_call *call);
void node_restart_agent(node_call *call);
void node_suspend_agent(node_call *call);
void node_resume_agent(node_call *call);
void node_post_messages(node_call *call);
void node_get_messages(node_call *call);
void node_get_message(node_call *call);
void node_get_stats(node_call *call);
void node_retry_message(node_call *call);
void node_get_queues(node_call *call);
void node_get_healthz(node_call *call);
void node_get_readyz(node_call *call);
void node_get_metrics(node_call *call);
void node_get_node(node_call *call);
void node_get_cluster(node_call *call);
void node_get_keyring(node_call *call);
void node_get_registry(node_call *call);
void node_get_leases(node_call *call);
void node_post_lease(node_call *call);
void node_delete_lease(node_call *call);
void node_post_claims(node_call *call);
void node_get_state(node_call *call);
void node_post_checkpoint(node_call *call);
void node_get_drain(node_call *call);
void node_post_drain(node_call *call);
void node_post_resume(node_call *call);
