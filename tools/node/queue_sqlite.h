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
    " attempts, accepted_at, started_at, done_at, hops"

/* The row of a SELECT of QUEUE_COLUMNS, copied. */
CX_MUST_CHECK bool queue_read_row(cx_statement *row, node_message *message, cx_err *err);
