/* Outbox: what agents here send to agents elsewhere, and what was queued here for an agent that runs
 * elsewhere now. A message waits in the lane `to:RECEIVER`, durably, until the node that hosts the
 * receiver has it; a node that is away is tried again with back-off.
 *
 * Where a message is sent is in its row before it is sent. When no answer comes, that node may have it,
 * so it goes to no other, and holds up its lane, until that node answers or is no member any more. */
#pragma once

#include "queue.h"
#include "router.h"

typedef struct node_outbox node_outbox;

typedef struct node_outbox_options {
    struct event_base *loop;
    const cx_log *log;
    node_queue *queue;
    node_router *router;
    const char *node_id;
    void (*gone)(const char *message_id, const char *node, void *arg); /* that node has it now */
    void *arg;
} node_outbox_options;

node_outbox *node_outbox_open(const node_outbox_options *options);
/* After the storage and the HTTP loop, so that nothing comes back to it. */
void node_outbox_close(node_outbox **owner);
bool node_outbox_owns(const char *lane); /* whether it is a lane `to:` */
void node_outbox_queued(node_outbox *outbox, const char *lane);
void node_outbox_stop(node_outbox *outbox); /* takes nothing more */
/* Somebody is there again, or hosts something new: waiting lanes are tried now. */
void node_outbox_wake(node_outbox *outbox);
