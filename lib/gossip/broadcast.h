/* Broadcast queue: messages that wait to be gossiped, each a limited number of times (section 14).
 *
 * The order is: fewest transmissions first, then longest, then newest. A message may have a slot: a
 * pointer of its owner. A new message for the same slot replaces the old one, and the slot becomes
 * NULL when its message has been sent often enough or was dropped. The queue has a limit; above it
 * the message that was sent most and is oldest goes. Pure. */
#pragma once

#include "base/mem.h"

enum { CX_BROADCAST_PARTS_MAX = 127, CX_BROADCAST_SIZE_MAX = 1365 };

typedef struct cx_broadcast cx_broadcast;

/* {.limit = N} is an empty queue. */
typedef struct cx_broadcasts {
    cx_broadcast **items; /* sorted */
    size_t count, capacity;
    size_t limit;
    uint64_t numbered;
} cx_broadcasts;

/* What goes into one packet: messages one after the other. */
typedef struct cx_parts {
    cx_buffer bytes;
    size_t sizes[CX_BROADCAST_PARTS_MAX];
    size_t count;
} cx_parts;

/* Copies the message; one that is empty or too long ever to be sent is dropped (false). slot may be
 * NULL: nothing replaces it. A slot must outlive its message: see forget. */
bool cx_broadcasts_put(cx_broadcasts *queue, cx_bytes message, cx_broadcast **slot);
/* Drops the message of a slot, if there is one. */
void cx_broadcasts_forget(cx_broadcasts *queue, cx_broadcast **slot);
/* Adds messages to the parts that fit into *budget bytes with `overhead` bytes for each, counts their
 * transmission, and drops those that have now been sent `transmissions` times. */
void cx_broadcasts_take(cx_broadcasts *queue, size_t overhead, size_t *budget,
                        unsigned transmissions, cx_parts *parts);
void cx_broadcasts_free(cx_broadcasts *queue);

void cx_parts_add(cx_parts *parts, cx_bytes message);
cx_bytes cx_parts_at(const cx_parts *parts, size_t at);
void cx_parts_free(cx_parts *parts);
