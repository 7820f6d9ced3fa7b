/* Tenures: the leases of the agents that this node hosts or wants to host: asks the granters (this node
 * and the others, as the gossip agent tells of them), renews, gives back. The decisions are
 * lease/claim.h's. What is due at the same time travels together, one request a node (claims.h).
 *
 * The requests also show which nodes answer: a gossip agent goes on telling that its host is alive
 * while the node itself is gone. */
#pragma once

#include <event2/event.h>

#include "base/log.h"
#include "leases.h"
#include "pki/tls.h"

enum { NODE_TENURE_TTL_MS = 6000 };

typedef struct node_tenures node_tenures;

typedef struct node_tenures_options {
    struct event_base *loop;
    const cx_log *log;
    cx_tls *tls;
    node_leases *leases; /* this node's granter */
    const char *node_id;
    /* A lease is held or lost now, or a node began or ceased to answer. Told from the loop. */
    void (*changed)(void *arg);
    void *arg;
} node_tenures_options;

node_tenures *node_tenures_open(const node_tenures_options *options);
void node_tenures_stop(node_tenures *tenures); /* asks nobody any more; gives nothing back */
void node_tenures_close(node_tenures **owner); /* after the storage, so that nothing comes back */
/* The members (members.h). */
void node_tenures_members(node_tenures *tenures, const json_t *members);
/* Whether nodes are asked now and then even when nothing is due. */
void node_tenures_watch(node_tenures *tenures, bool watch);
/* False: for some seconds it has not answered, or refused to. Unknown ones answer. */
bool node_tenures_answers(const node_tenures *tenures, const char *node_id);

void node_tenures_claim(node_tenures *tenures, const char *agent); /* until it is released */
void node_tenures_release(node_tenures *tenures, const char *agent);
typedef enum node_tenure {
    NODE_TENURE_NONE,
    NODE_TENURE_ASKED,
    NODE_TENURE_HELD,
    NODE_TENURE_LOST, /* the copy must end within NODE_TENURE_GRACE_MS */
} node_tenure;
enum { NODE_TENURE_GRACE_MS = NODE_TENURE_TTL_MS / 4 };
node_tenure node_tenures_of(const node_tenures *tenures, const char *agent);
/* Held, and nobody else can have it yet: a host that slept may count as holder no longer. */
bool node_tenures_is_valid(const node_tenures *tenures, const char *agent);
int64_t node_tenures_fence(const node_tenures *tenures, const char *agent); /* 0: not held */
size_t node_tenures_count(const node_tenures *tenures);
/* At the end: gives all back; done is called when the others know, at the latest after a moment. */
void node_tenures_end(node_tenures *tenures, void (*done)(void *arg), void *arg);
