/* What the files of the SQLite queue share: the loop's side (counts) and the reading of a row. */
#pragma once

#include "base/map.h"
#include "queue.h"

typedef struct lane {
    node_counts counts;
    int64_t accepting; /* on their way to the storage thread */
} lane;

struct node_queue {
    node_storage *storage;
    node_queue_options options;
    cx_map *lanes;
    node_counts sum;
    node_totals totals;
    struct event *purge_timer;
};

#define QUEUE_COLUMNS                                                                          \
    "id, lane, state, receiver, sender, conversation_id, performative, content, reply, error," \
    " attempts, accepted_at, started_at, done_at, hops, node"

enum { QUEUE_PURGE_AGAIN_MS = 100 };

/* The counts, in the loop. */
void queue_add(node_queue *queue, const char *lane, node_message_state state, int64_t number);
void queue_add_totals(node_queue *queue, node_totals *delta);
void queue_tell(node_queue *queue, const char *lane); /* it has something to take */
/* Lanes `to:` are named by agents, so that an empty one must not stay for ever. */
void queue_forget_empty(node_queue *queue, const char *lane);
void queue_on_purge(evutil_socket_t fd, short what, void *arg);

/* In the storage thread. */
CX_MUST_CHECK bool queue_write_totals(cx_db *db, node_totals *delta, cx_err *err);
CX_MUST_CHECK bool queue_find_row(cx_db *db, const char *id, node_message *message, bool *found,
                                  cx_err *err);
/* The row of a SELECT of QUEUE_COLUMNS, copied. */
CX_MUST_CHECK bool queue_read_row(cx_statement *row, node_message *message, cx_err *err);
