/* Waiters: requests that wait for a message to be finished. */
#pragma once

#include <event2/event.h>

#include "agents.h"

typedef struct node_waiters node_waiters;

/* Called once, from the loop; finished is NULL when the time was over first. */
typedef void node_waited(const node_finished *finished, void *arg);

node_waiters *node_waiters_open(struct event_base *loop);
void node_waiters_close(node_waiters **owner); /* calls nobody any more */
void node_waiters_add(node_waiters *waiters, const char *message_id, int64_t timeout_ms,
                      node_waited *waited, void *arg);
/* Forgets those of this arg: their client went away. */
void node_waiters_cancel(node_waiters *waiters, const char *message_id, const void *arg);
bool node_waiters_has(const node_waiters *waiters, const char *message_id);
void node_waiters_finished(node_waiters *waiters, const node_finished *finished);
