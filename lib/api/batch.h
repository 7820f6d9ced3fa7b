/* A batch of messages on its way to a node: lines in, one result a line out, in the same order.
 *
 * A line that is no message has its result at once; the others are pending until the node answers
 * for them. A line whose receiver's node is full or away for now (busy, unavailable, timeout, draining)
 * stays pending, and is sent again. Since every message has an id, sending one twice does no harm.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "base/json.h"
#include "base/text.h"

enum {
    CX_BATCH_LINES_MAX = 1000,            /* the node's bound for one request */
    CX_BATCH_BYTES_MAX = 4 * 1024 * 1024, /* half of the node's bound: lines grow by their ids */
    CX_BATCH_LINE_MAX = 512 * 1024,       /* content has at most 256 KiB */
};

typedef struct cx_batch_line {
    char *message_id;
    char *text;     /* the message as sent, without a newline; NULL once it has a result */
    json_t *result; /* NULL: pending */
} cx_batch_line;

typedef struct cx_batch {
    cx_batch_line *lines;
    size_t count;
    size_t pending;
    size_t bytes;    /* of the texts */
    size_t accepted; /* results that say so */
    size_t failed;   /* results that don't */
    cx_err busy;     /* why lines stayed pending after the last answer; CX_OK: none did */
} cx_batch;

/* Takes one line, the number-th of its input (from 1; errors name it). `receiver` (NULL: none) is for
 * messages that name none, `message_id` for those that have none. The caller keeps to LINES_MAX and
 * BYTES_MAX by asking is_full first. */
void cx_batch_add(cx_batch *batch, cx_bytes line, size_t number, const char *receiver,
                  const char *message_id);
/* A line that was not even kept: it is an error at its place. */
void cx_batch_add_error(cx_batch *batch, size_t number, const cx_err *error);
bool cx_batch_is_full(const cx_batch *batch);
void cx_batch_free(cx_batch *batch); /* leaves an empty batch */

/* The pending messages as NDJSON, for the request. */
void cx_batch_body(const cx_batch *batch, cx_buffer *body);
/* Takes the node's NDJSON: one result a pending message, in order, with its id. Anything else is
 * PROTOCOL, and then none of it is believed. */
CX_MUST_CHECK bool cx_batch_answer(cx_batch *batch, cx_bytes body, cx_err *err);
/* Ends all pending lines: status is "refused" (the node does not have them) or "unacknowledged" (it
 * may have them). */
void cx_batch_end(cx_batch *batch, const char *status, const cx_err *error);
