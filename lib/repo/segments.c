#include "repo/segments.h"

#include <string.h>

enum { FIRST_CAPACITY = 256 }; /* of the table: a power of two */

struct cx_segments {
    cx_segment_slot *slots; /* in order */
    size_t count, slots_capacity;
    uint32_t *table; /* index + 1; 0: empty */
    size_t capacity;
    uint64_t salt;
};

static size_t place(const cx_segments *set, const uint8_t *id)
{
    uint64_t words[4];
    uint64_t hash = set->salt;

    memcpy(words, id, sizeof words);
    for (size_t i = 0; i < 4; i++) {
        hash = (hash ^ words[i]) * (set->salt | 1);
        hash ^= hash >> 29;
    }
    return (size_t)hash & (set->capacity - 1);
}

/* Where the id is, or where it belongs. */
static uint32_t *seek(const cx_segments *set, const uint8_t *id)
{
    size_t at = place(set, id);

    for (;; at = (at + 1) & (set->capacity - 1)) {
        uint32_t index = set->table[at];

        if (index == 0 || memcmp(set->slots[index - 1].segment.id, id, CX_SEGMENT_ID_SIZE) == 0)
            return &set->table[at];
    }
}

static void grow(cx_segments *set)
{
    cx_free(&set->table);
    set->capacity = set->capacity == 0 ? FIRST_CAPACITY : set->capacity * 2;
    set->table = cx_alloc(set->capacity, sizeof *set->table);
    for (size_t i = 0; i < set->count; i++)
        *seek(set, set->slots[i].segment.id) = (uint32_t)i + 1;
}

cx_segments *cx_segments_open(uint64_t salt)
{
    cx_segments *set = cx_alloc(1, sizeof *set);

    set->salt = salt;
    grow(set);
    return set;
}

void cx_segments_close(cx_segments **owner)
{
    cx_segments *set = CX_TAKE(*owner);

    if (set == NULL)
        return;
    cx_free(&set->slots);
    cx_free(&set->table);
    cx_free(&set);
}

size_t cx_segments_count(const cx_segments *set)
{
    return set->count;
}

cx_segment_slot *cx_segments_find(const cx_segments *set, const uint8_t id[CX_SEGMENT_ID_SIZE])
{
    uint32_t index = *seek(set, id);

    return index == 0 ? NULL : &set->slots[index - 1];
}

cx_segment_slot *cx_segments_add(cx_segments *set, const uint8_t id[CX_SEGMENT_ID_SIZE])
{
    uint32_t *at = seek(set, id);

    if (*at != 0)
        return &set->slots[*at - 1];
    if (set->count >= set->capacity / 2) {
        grow(set);
        at = seek(set, id);
    }
    if (set->count == set->slots_capacity) {
        set->slots_capacity = set->slots_capacity == 0 ? FIRST_CAPACITY : set->slots_capacity * 2;
        set->slots = cx_realloc(set->slots, set->slots_capacity, sizeof *set->slots);
    }
    set->slots[set->count] = (cx_segment_slot){0};
    memcpy(set->slots[set->count].segment.id, id, CX_SEGMENT_ID_SIZE);
    *at = (uint32_t)++set->count;
    return &set->slots[set->count - 1];
}

cx_segment_slot *cx_segments_at(const cx_segments *set, size_t index)
{
    return &set->slots[index];
}
