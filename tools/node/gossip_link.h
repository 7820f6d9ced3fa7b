/* The link to the gossip agent of this host: its control socket, on the loop. It sets the node's tags,
 * follows the members, and answers questions. The node runs without it too, alone. */
#pragma once

#include <event2/event.h>

#include "base/log.h"

typedef struct node_gossip node_gossip;

typedef struct node_gossip_options {
    struct event_base *loop;
    const cx_log *log;
    const char *socket_path;
    json_t *(*tags)(void *arg); /* what this node tells of itself; new reference */
    /* The members changed: the agent's answer {"members":[…],…}. NULL: the link is lost. */
    void (*members)(const json_t *answer, void *arg);
    void *arg;
} node_gossip_options;

node_gossip *node_gossip_open(const node_gossip_options *options); /* connects, and again */
void node_gossip_close(node_gossip **owner); /* open questions get UNAVAILABLE */
bool node_gossip_is_connected(const node_gossip *gossip);
/* The tags are other ones now; told soon, several changes at once. */
void node_gossip_tags_changed(node_gossip *gossip);

/* Takes the question. answer is NULL when err says why; called once, from the loop. */
typedef void node_gossip_answered(const json_t *answer, const cx_err *err, void *arg);
void node_gossip_ask(node_gossip *gossip, json_t *question, node_gossip_answered *answered,
                     void *arg);
