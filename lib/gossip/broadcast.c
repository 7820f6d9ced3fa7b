#include "gossip/broadcast.h"

#include <assert.h>
#include <string.h>

enum { MESSAGE_SIZE_MIN = 10 }; /* shorter ones do not exist: a packet with less room is full */

struct cx_broadcast {
    cx_bytes message;
    unsigned transmissions;
    uint64_t number; /* grows with age: the newest has the highest */
    cx_broadcast **slot;
};

static int compare(const cx_broadcast *a, const cx_broadcast *b)
{
    if (a->transmissions != b->transmissions)
        return a->transmissions < b->transmissions ? -1 : 1;
    if (a->message.size != b->message.size)
        return a->message.size > b->message.size ? -1 : 1;
    if (a->number != b->number)
        return a->number > b->number ? -1 : 1;
    return 0;
}

/* Where the item is, or where it belongs. */
static size_t place_of(const cx_broadcasts *queue, const cx_broadcast *item)
{
    size_t low = 0, high = queue->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(queue->items[middle], item) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(cx_broadcasts *queue, cx_broadcast *item)
{
    size_t at = place_of(queue, item);

    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 16 : 2 * queue->capacity;
        queue->items = cx_realloc(queue->items, queue->capacity, sizeof(cx_broadcast *));
    }
    memmove(&queue->items[at + 1], &queue->items[at], (queue->count - at) * sizeof(item));
    queue->items[at] = item;
    queue->count++;
}

static void drop(cx_broadcast *item)
{
    if (item->slot != NULL)
        *item->slot = NULL;
    cx_free(&item);
}

static void remove_at(cx_broadcasts *queue, size_t at)
{
    drop(queue->items[at]);
    queue->count--;
    memmove(&queue->items[at], &queue->items[at + 1], (queue->count - at) * sizeof(*queue->items));
}

/* The most sent; among those the oldest. */
static size_t least_wanted(const cx_broadcasts *queue)
{
    size_t worst = queue->count - 1;

    for (size_t i = queue->count - 1; i-- > 0;) {
        if (queue->items[i]->transmissions != queue->items[worst]->transmissions)
            break;
        if (queue->items[i]->number < queue->items[worst]->number)
            worst = i;
    }
    return worst;
}

bool cx_broadcasts_put(cx_broadcasts *queue, cx_bytes message, cx_broadcast **slot)
{
    if (message.size == 0 || message.size > CX_BROADCAST_SIZE_MAX)
        return false;
    if (slot != NULL)
        cx_broadcasts_forget(queue, slot);

    /* The bytes lie behind the struct. */
    cx_broadcast *item = cx_alloc(1, sizeof(*item) + message.size);
    uint8_t *bytes = (uint8_t *)(item + 1);

    memcpy(bytes, message.data, message.size);
    item->message = (cx_bytes){bytes, message.size};
    item->number = ++queue->numbered;
    item->slot = slot;
    if (slot != NULL)
        *slot = item;
    insert(queue, item);
    if (queue->limit > 0 && queue->count > queue->limit)
        remove_at(queue, least_wanted(queue));
    return true;
}

void cx_broadcasts_forget(cx_broadcasts *queue, cx_broadcast **slot)
{
    if (*slot == NULL)
        return;

    size_t at = place_of(queue, *slot);

    assert(at < queue->count && queue->items[at] == *slot);
    remove_at(queue, at);
}

void cx_broadcasts_take(cx_broadcasts *queue, size_t overhead, size_t *budget,
                        unsigned transmissions, cx_parts *parts)
{
    cx_broadcast *taken[CX_BROADCAST_PARTS_MAX];
    size_t taken_count = 0, kept = 0, at = 0;

    for (; at < queue->count; at++) {
        cx_broadcast *item = queue->items[at];

        if (parts->count == CX_BROADCAST_PARTS_MAX || *budget < overhead + MESSAGE_SIZE_MIN)
            break;
        if (item->message.size + overhead > *budget) {
            queue->items[kept++] = item;
            continue;
        }
        *budget -= item->message.size + overhead;
        cx_parts_add(parts, item->message);
        taken[taken_count++] = item;
    }
    if (taken_count == 0)
        return;
    memmove(&queue->items[kept], &queue->items[at], (queue->count - at) * sizeof(*queue->items));
    queue->count -= taken_count;
    /* Put back only now: nothing goes into one packet twice. */
    for (size_t i = 0; i < taken_count; i++) {
        if (++taken[i]->transmissions >= transmissions)
            drop(taken[i]);
        else
            insert(queue, taken[i]);
    }
}

void cx_broadcasts_free(cx_broadcasts *queue)
{
    for (size_t i = 0; i < queue->count; i++)
        drop(queue->items[i]);
    cx_free(&queue->items);
    queue->count = queue->capacity = 0;
}

void cx_parts_add(cx_parts *parts, cx_bytes message)
{
    assert(parts->count < CX_BROADCAST_PARTS_MAX && message.size > 0);
    cx_buffer_add(&parts->bytes, message.data, message.size);
    parts->sizes[parts->count++] = message.size;
}

cx_bytes cx_parts_at(const cx_parts *parts, size_t at)
{
    size_t from = 0;

    for (size_t i = 0; i < at; i++)
        from += parts->sizes[i];
    return (cx_bytes){parts->bytes.data + from, parts->sizes[at]};
}

void cx_parts_free(cx_parts *parts)
{
    cx_buffer_free(&parts->bytes);
    parts->count = 0;
}
