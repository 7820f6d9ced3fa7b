/* A set of segments by id: what a repository holds, what its manifests name.
 *
 * Pure: no I/O. Ids come from outside as well, so the places in the table depend on a number that the
 * caller picks at random. */
#pragma once

#include "repo/segment.h"

typedef struct cx_segments cx_segments;

typedef struct cx_segment_slot {
    cx_segment segment;
    int64_t mark; /* the caller's; 0 at first */
} cx_segment_slot;

cx_segments *cx_segments_open(uint64_t salt);
void cx_segments_close(cx_segments **owner);
size_t cx_segments_count(const cx_segments *set);
/* NULL when it is not there. Slots move with the next add. */
cx_segment_slot *cx_segments_find(const cx_segments *set, const uint8_t id[CX_SEGMENT_ID_SIZE]);
/* The slot of this id: with only the id set when it is new. */
cx_segment_slot *cx_segments_add(cx_segments *set, const uint8_t id[CX_SEGMENT_ID_SIZE]);
/* Slots in the order in which they were added: 0 .. count - 1. */
cx_segment_slot *cx_segments_at(const cx_segments *set, size_t index);
