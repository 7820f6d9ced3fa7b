/* Queue: what was accepted and not yet purged, in order for each lane, deduplicated by message id.
 * The embedded engine (queue_sqlite.c, SQLite through the storage thread) stands behind this header;
 * a distributed one can stand beside it.
 *
 * A lane is whose turn decides the order: an agent's id, or `to:RECEIVER` for what an agent here
 * sends to another node (ids hold no colon). Within a lane messages are taken in the order in which
 * they were accepted; one that goes back keeps its place.
 *
 * Calls return at once. Answers come from the loop, exactly once, after what they tell is durable;
 * arguments of a callback are the queue's and are freed after it, unless it says otherwise. */
#pragma once

#include "message.h"
#include "storage.h"

#define NODE_LANE_OUT "to:"

typedef struct node_queue node_queue;

/* Of one lane, or of all. done and failed: those that are still kept. */
typedef struct node_counts {
    int64_t queued, in_flight, done, failed;
} node_counts;

/* Since the databases were made. Every accepted message is either kept or was purged; lost ones
 * would be missing from that sum. */
typedef struct node_totals {
    int64_t accepted, processed, failed, duplicates, forwarded, retried, purged;
    int64_t handed_over; /* of the forwarded: those that were queued for an agent of this node */
} node_totals;

typedef struct node_queue_options {
    int64_t queue_max;    /* waiting messages of one lane; BUSY above it */
    int64_t retention_ms; /* done and failed messages are kept this long */
    /* Told in the loop when a lane has something to take. */
    void (*queued)(const char *lane, void *arg);
    void *arg;
} node_queue_options;

/* Returns what was in flight when the last process ended to its lanes. Blocks: before the loop. */
CX_MUST_CHECK bool node_queue_open(struct event_base *loop, node_storage *storage,
                                   const node_queue_options *options, node_queue **queue,
                                   cx_err *err);
void node_queue_close(node_queue **owner); /* after the storage is closed */
void node_queue_set_limits(node_queue *queue, int64_t queue_max, int64_t retention_ms);

typedef struct node_acceptance {
    cx_err err;     /* code CX_OK: accepted, durably */
    bool duplicate; /* it was known already: `message` is what is kept of the first one */
    node_message message;
} node_acceptance;

/* One that this node gave to another comes back from there (message.node), or from one to which it went
 * on (message.left_ms): it is queued here again, and no duplicate. */
typedef void node_queue_accepted(node_acceptance *results, size_t count, void *arg);
/* Takes the messages over (id, lane and accepted_at_ms are set). results[i] belongs to messages[i];
 * `done` may take results[i].message away. All are committed together. */
void node_queue_accept(node_queue *queue, node_message *messages, size_t count,
                       node_queue_accepted *done, void *arg);

typedef void node_queue_taken(node_message *messages, size_t count, const cx_err *err, void *arg);
/* The next queued messages of a lane become in flight, each with one attempt more. err is NULL on
 * success; `done` may take the messages away. */
void node_queue_take(node_queue *queue, const char *lane, size_t limit, node_queue_taken *done,
                     void *arg);

typedef void node_queue_changed(bool changed, const cx_err *err, void *arg);
/* How a message that was in flight ended. */
typedef struct node_outcome {
    const char *id, *lane;
    node_message_state state; /* DONE, FAILED, or QUEUED: back to its place, for another attempt */
    const char *reply;        /* JSON text, or NULL */
    const char *error;        /* FAILED: why; QUEUED: why the attempt failed; else NULL */
    bool forwarded;           /* DONE: a peer has it now */
    bool aimed;               /* QUEUED: the node that it was sent to may have it */
    bool durable;             /* somebody waits for it: on disk before `done` */
} node_outcome;
void node_queue_finish(node_queue *queue, const node_outcome *outcome, node_queue_changed *done,
                       void *arg);

/* A failed message is queued again, with its attempts forgotten. NOT_FOUND: no such message. */
void node_queue_retry(node_queue *queue, const char *id, node_queue_changed *done, void *arg);
/* One that is in flight goes to another lane, queued, with its attempts forgotten. */
void node_queue_move(node_queue *queue, const char *id, const char *from, const char *to,
                     node_queue_changed *done, void *arg);
/* All queued messages of a lane go to another one, in their order, with their attempts forgotten. */
void node_queue_hand_over(node_queue *queue, const char *from, const char *to,
                          node_queue_changed *done, void *arg);
/* Before they are sent: messages in flight will have gone to this node. Durable. Copies ids. */
void node_queue_aim(node_queue *queue, const char *const *ids, size_t count, const char *node,
                    node_queue_changed *done, void *arg);
/* Another node has it after all (NULL: none has it). */
void node_queue_redirect(node_queue *queue, const char *id, const char *node,
                         node_queue_changed *done, void *arg);
/* All queued messages of a lane fail with this error. */
void node_queue_drop(node_queue *queue, const char *lane, const char *error,
                     node_queue_changed *done, void *arg);

typedef void node_queue_found(node_message *messages, size_t count, const cx_err *err, void *arg);
void node_queue_find(node_queue *queue, const char *id, node_queue_found *done, void *arg);

typedef struct node_query {
    const char *state;        /* a state's word; NULL: any */
    const char *conversation; /* NULL: any */
    const char *lane;         /* NULL: any */
    int64_t limit;
} node_query;
/* The latest first. */
void node_queue_list(node_queue *queue, const node_query *query, node_queue_found *done, void *arg);

/* For each lane in which something waits: since when its first message does. lost: accepted ones that
 * are neither kept nor purged, counted row by row; more than 0 is a fault. */
typedef void node_queue_measured(const cx_list *lanes, const int64_t *oldest_ms, int64_t lost,
                                 const cx_err *err, void *arg);
void node_queue_measure(node_queue *queue, node_queue_measured *done, void *arg);

/* Known to the loop, at once. */
node_counts node_queue_counts(const node_queue *queue, const char *lane);
/* Nothing queued, in flight, or on its way to be accepted. */
bool node_queue_is_empty(const node_queue *queue, const char *lane);
node_counts node_queue_sum(const node_queue *queue);
node_totals node_queue_totals(const node_queue *queue);
/* Walks the lanes that hold anything; *cursor starts at 0. */
bool node_queue_next(const node_queue *queue, size_t *cursor, const char **lane,
                     node_counts *counts);
